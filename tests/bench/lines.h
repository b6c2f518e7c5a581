/* SPDX-License-Identifier: MIT */
/* What the programs that read lines share:
 *     lines_LIBRARY bulk|single OPERATIONS      lines of 64 bytes, which arrive 1024 at a time or
 *     each by itself lines_unring bulk_found OPERATIONS        the same as bulk, but what is in the
 *     buffer already is looked for by the caller
 * Whoever reads writes them too, into the other end of a pair of sockets, when all are read. */
#ifndef BENCH_LINES_H
#define BENCH_LINES_H

#include "bench.h"

#define LINES_LENGTH 64
#define LINES_BULK   1024

static int  lines_fds[2]; /* read from the first */
static char lines_text[LINES_LENGTH * LINES_BULK];
static long lines_read, lines_written, lines_at_once, lines_wanted;

static inline void lines_begin(int argc, char **argv)
{
    long i;

    bench_begin();
    lines_at_once = strncmp(argument(argc, argv, 1), "bulk", 4) == 0 ? LINES_BULK : 1;
    lines_wanted = number(argc, argv, 2) / lines_at_once * lines_at_once;
    memset(lines_text, 'x', sizeof lines_text);
    for (i = 1; i <= LINES_BULK; i++)
        lines_text[i * LINES_LENGTH - 1] = '\n';
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, lines_fds) < 0)
        die("socketpair", errno);
}

static inline void lines_write_some(void)
{
    ssize_t size = LINES_LENGTH * lines_at_once;

    if (write(lines_fds[1], lines_text, (size_t)size) != size)
        die("write", errno);
    lines_written += lines_at_once;
}

/* One line has come: is there another? */
static inline int lines_took(const char *line, size_t len)
{
    if (len != LINES_LENGTH || line[0] != 'x')
        die("a line of another length", EPROTO);
    if (++lines_read == lines_wanted)
        return 0;
    if (lines_read == lines_written)
        lines_write_some();
    return 1;
}

static inline void lines_report(int argc, char **argv, int64_t begin)
{
    char name[32];

    snprintf(name, sizeof name, "lines.%s", argument(argc, argv, 1));
    report(name, (double)lines_read * 1e6 / (double)(cpu_ns() - begin), "thousands/s");
}

#endif
