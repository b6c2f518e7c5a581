/* SPDX-License-Identifier: MIT */
/* An echo in one process, of which the server's part alone is measured: echo.c writes what the
 * clients say, lets a server answer all of it, and reads the answers.  Each server is one of the
 * structures below, in an echo_*.c.  Those of other libraries are echo_peer, each in a program of
 * its own with echo.c, which `echo` starts. */
#ifndef BENCH_ECHO_H
#define BENCH_ECHO_H

#include "bench.h"

struct echo_server {
    const char *name;
    /* Takes `n` connected sockets, on each of which `size` bytes come in a round, and then as many
     * when these were answered. */
    void (*open)(const int *fds, long n, size_t size);
    /* Waits for what comes and answers it, once. */
    void (*turn)(void);
};

extern const struct echo_server echo_liburing, echo_liburing_recv, echo_epoll, echo_unring,
    echo_receiver, echo_receiver_copy, echo_receiver_view, echo_send_now, echo_multishot, echo_peer;

/* Buffers of a server that has a ring of them: each of this size. */
#define ECHO_BUFFER 16384

/* Tells how many bytes were to be sent, and how many the kernel has taken.  Returns whether all
 * that came in this round is answered. */
int echo_sent(size_t asked, int64_t sent);

#endif
