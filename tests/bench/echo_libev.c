/* SPDX-License-Identifier: MIT */
/* The echo with libev, as in serve_libev.c: recv(2) and send(2) with one buffer for all. */
#include <ev.h>

#include "echo.h"

static struct ev_loop *loop;
static char           *buffer;
static size_t          buffer_size;

static void on_readable(struct ev_loop *ignored, ev_io *io, int events)
{
    ssize_t n = recv(io->fd, buffer, buffer_size, MSG_DONTWAIT);

    (void)ignored, (void)events;
    if (n <= 0)
        die("recv", n < 0 ? errno : EPROTO);
    echo_sent((size_t)n, send(io->fd, buffer, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL));
}

static void open_server(const int *fds, long n, size_t size)
{
    ev_io *watchers = calloc((size_t)n, sizeof *watchers);
    long   i;

    loop = ev_loop_new(EVBACKEND_EPOLL);
    buffer = malloc(size);
    buffer_size = size;
    for (i = 0; i < n; i++) {
        ev_io_init(&watchers[i], on_readable, fds[i], EV_READ);
        ev_io_start(loop, &watchers[i]);
    }
}

static void turn(void)
{
    ev_run(loop, EVRUN_ONCE);
}

const struct echo_server echo_peer = { "libev", open_server, turn };
