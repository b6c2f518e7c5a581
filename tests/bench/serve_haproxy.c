/* SPDX-License-Identifier: MIT */
/* HAProxy in place of a proxy of ours, one thread, TCP mode: becomes it, with the listening socket
 * inherited.  The command line is in bench.h, at serve_options(); there is no echo, and it does not
 * end by itself: `run` ends it, or the alarm, which survives an exec. */
#include "bench.h"

static const char configuration[] = "global\n"
                                    "    nbthread 1\n"
                                    "    maxconn 1000\n"
                                    "defaults\n"
                                    "    mode tcp\n"
                                    "    timeout connect 10s\n"
                                    "    timeout client 60s\n"
                                    "    timeout server 60s\n"
                                    "frontend clients\n"
                                    "    bind fd@%d\n"
                                    "    default_backend target\n"
                                    "backend target\n"
                                    "    server echo 127.0.0.1:%d\n";

/* An unnamed file, so that nothing is left behind. */
static int write_configuration(int listener, int target_port)
{
    FILE *file = tmpfile();

    if (!file)
        die("tmpfile", errno);
    fprintf(file, configuration, listener, target_port);
    fflush(file);
    return fileno(file);
}

int main(int argc, char **argv)
{
    struct serve_options options = serve_options(argc, argv);
    char  path[32], program[] = "haproxy", flag[] = "-f", foreground[] = "-db", quiet[] = "-q";
    char *arguments[] = { program, quiet, foreground, flag, path, NULL };
    int   listener;

    if (!options.target_port) {
        fprintf(stderr, "bench: HAProxy does not echo\n");
        return 2;
    }
    listener = listen_and_tell(0);
    snprintf(path, sizeof path, "/dev/fd/%d", write_configuration(listener, options.target_port));
    execvp(program, arguments);
    die("haproxy", errno);
}
