/* SPDX-License-Identifier: MIT */
/* The helpers of the examples; common.h says what they do. */
#define _GNU_SOURCE 1
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

bool parse_address(const char *text, struct address *ret_address)
{
    char        host[INET6_ADDRSTRLEN] = "127.0.0.1";
    const char *port = text;

    const char *colon = strrchr(text, ':');
    if (colon) {
        size_t len = (size_t)(colon - text);
        bool   bracketed = len >= 2 && text[0] == '[' && colon[-1] == ']';
        if (bracketed) {
            text++;
            len -= 2;
        }
        if (len == 0 || len >= sizeof host)
            return false;
        memcpy(host, text, len);
        host[len] = '\0';
        if (!bracketed && strchr(host, ':'))
            return false; /* nobody can tell which of the colons begins the port */
        port = colon + 1;
    }

    char *end;
    errno = 0;
    unsigned long number = strtoul(port, &end, 10);
    if (*port < '0' || *port > '9' || *end || errno || number > 65535)
        return false;

    struct address       address = { 0 };
    struct sockaddr_in  *v4 = (struct sockaddr_in *)&address.storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address.storage;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)number);
        address.len = sizeof *v4;
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)number);
        address.len = sizeof *v6;
    } else {
        return false;
    }
    *ret_address = address;
    return true;
}

char *format_address(const struct address *address, char text[ADDRESS_TEXT])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address->storage;
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        snprintf(text, ADDRESS_TEXT, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address->storage;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        snprintf(text, ADDRESS_TEXT, "%s:%u", host, ntohs(v4->sin_port));
    }
    return text;
}

int tcp_socket(const struct address *address)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

int listen_on(const struct address *address)
{
    int fd = tcp_socket(address);
    if (fd < 0)
        return fd;
    /* Else a restart fails while connections of the last run linger in TIME_WAIT. */
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0
        || bind(fd, (const struct sockaddr *)&address->storage, address->len) < 0
        || listen(fd, SOMAXCONN) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

struct address local_address(int fd)
{
    struct address address = { .len = sizeof address.storage };
    if (getsockname(fd, (struct sockaddr *)&address.storage, &address.len) < 0)
        die(errno, "getsockname");
    return address;
}

void send_at_once(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void reset_at_close(int fd)
{
    struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

bool parse_seconds(const char *text, double *ret_seconds)
{
    char  *end;
    double seconds = strtod(text, &end);
    if (end == text || *end || !isfinite(seconds) || seconds <= 0)
        return false;
    *ret_seconds = seconds;
    return true;
}

void die(int error, const char *what)
{
    fprintf(stderr, "%s: %s%s%s\n", program_invocation_short_name, what, error ? ": " : "",
            error ? strerror(abs(error)) : "");
    exit(1);
}

const int interrupts[2] = { SIGINT, SIGTERM };

void block_signals(const int *signals, unsigned n)
{
    sigset_t set;
    sigemptyset(&set);
    for (unsigned i = 0; i < n; i++)
        sigaddset(&set, signals[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        die(errno, "cannot block signals");
}

void block_interrupts(void)
{
    block_signals(interrupts, 2);
}

static int listen_and_tell(const struct address *address)
{
    char text[ADDRESS_TEXT];
    int  listener = listen_on(address);
    if (listener < 0)
        die(listener, "cannot listen");
    struct address chosen = local_address(listener);
    printf("listening on %s\n", format_address(&chosen, text));
    fflush(stdout);
    return listener;
}

int listen_for_seconds(int argc, char **argv, double *seconds)
{
    struct address address;
    if (argc > (seconds ? 3 : 2) || !parse_address(argc > 1 ? argv[1] : "0", &address)) {
        fprintf(stderr,
                "Usage: %s [LISTEN%s]\nLISTEN is [HOST:]PORT with a numeric host, by default "
                "127.0.0.1.\n",
                program_invocation_short_name, seconds ? " [SECONDS]" : "");
        exit(2);
    }
    if (argc == 3 && (!parse_seconds(argv[2], seconds) || *seconds > 1e9))
        die(0, "SECONDS is not a positive number");
    return listen_and_tell(&address);
}

int listen_on_argument(int argc, char **argv)
{
    return listen_for_seconds(argc, argv, NULL);
}

int step_listen(int argc, char **argv, struct address *ret_target, double *seconds)
{
    struct address listen_address;

    if (argc < 3 || argc > (seconds ? 4 : 3)) {
        fprintf(stderr,
                "Usage: %s LISTEN TARGET%s\n"
                "LISTEN and TARGET are [HOST:]PORT with a numeric host, by default 127.0.0.1.\n",
                program_invocation_short_name, seconds ? " [SECONDS]" : "");
        exit(2);
    }
    if (!parse_address(argv[1], &listen_address))
        die(0, "LISTEN is not [HOST:]PORT with a numeric host");
    if (ret_target && !parse_address(argv[2], ret_target))
        die(0, "TARGET is not [HOST:]PORT with a numeric host");
    if (argc == 4 && (!parse_seconds(argv[3], seconds) || *seconds > 1e9))
        die(0, "SECONDS is not a positive number");
    return listen_and_tell(&listen_address);
}
