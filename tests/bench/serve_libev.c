/* SPDX-License-Identifier: MIT */
/* The echo server and the proxy with libev.  The command line is in bench.h, at serve_options().
 * Reading happens when there is something to read, so all connections share one buffer, which is
 * sent at once; only what a socket does not take is copied and sent later, reading being stopped
 * meanwhile. */
#include <ev.h>

#include "bench.h"

/* A client's or a target's socket, which for an echo is its own opposite. */
struct side {
    ev_io        io;       /* receives; in a target's, it first awaits the connection */
    ev_io        rest_io;  /* awaits that the opposite takes the rest */
    struct side *opposite; /* where to send what is received */
    char        *rest;
    size_t       rest_len, rest_sent;
};

static struct ev_loop      *loop;
static ev_io                listener;
static struct serve_options options;
static struct sockaddr_in   target;
static char                *buffer;
static long                 sides;

static void close_side(struct side *side)
{
    ev_io_stop(loop, &side->io);
    ev_io_stop(loop, &side->rest_io);
    close(side->io.fd);
    free(side->rest);
    free(side);
    if (--sides == 0)
        ev_break(loop, EVBREAK_ALL);
}

static void close_session(struct side *side)
{
    if (side->opposite != side)
        close_side(side->opposite);
    close_side(side);
}

/* ---- relaying ---- */

/* Sends what the socket takes.  Returns how much, or a negative errno. */
static ssize_t send_some(int fd, const char *data, size_t len)
{
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    return n;
}

static void on_rest_writable(struct ev_loop *ignored, ev_io *io, int events)
{
    struct side *from = io->data;
    ssize_t n = send_some(io->fd, from->rest + from->rest_sent, from->rest_len - from->rest_sent);

    (void)ignored, (void)events;
    if (n < 0) {
        close_session(from);
        return;
    }
    from->rest_sent += (size_t)n;
    if (from->rest_sent < from->rest_len)
        return;
    ev_io_stop(loop, &from->rest_io);
    free(from->rest);
    from->rest = NULL;
    ev_io_start(loop, &from->io);
}

static void keep_rest(struct side *from, const char *data, size_t len)
{
    ev_io_stop(loop, &from->io);
    from->rest = malloc(len);
    memcpy(from->rest, data, len);
    from->rest_len = len;
    from->rest_sent = 0;
    ev_io_set(&from->rest_io, from->opposite->io.fd, EV_WRITE);
    ev_io_start(loop, &from->rest_io);
}

static void on_readable(struct ev_loop *ignored, ev_io *io, int events)
{
    struct side *from = io->data;
    ssize_t      n = recv(io->fd, buffer, (size_t)options.size, 0), sent;

    (void)ignored, (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close_session(from);
        return;
    }
    sent = send_some(from->opposite->io.fd, buffer, (size_t)n);
    if (sent < 0)
        close_session(from);
    else if (sent < n)
        keep_rest(from, buffer + sent, (size_t)(n - sent));
}

/* ---- the beginning of a session ---- */

static struct side *new_side(int fd)
{
    struct side *side = malloc(sizeof *side);

    if (!side)
        die("malloc", ENOMEM);
    sides++;
    no_delay(fd);
    side->opposite = side;
    side->rest = NULL;
    ev_io_init(&side->io, on_readable, fd, EV_READ);
    ev_io_init(&side->rest_io, on_rest_writable, fd, EV_WRITE);
    side->io.data = side->rest_io.data = side;
    return side;
}

static void on_connected(struct ev_loop *ignored, ev_io *io, int events)
{
    struct side *out = io->data;

    (void)ignored, (void)events;
    ev_io_stop(loop, &out->io);
    ev_io_init(&out->io, on_readable, out->io.fd, EV_READ);
    ev_io_start(loop, &out->io);
    ev_io_start(loop, &out->opposite->io);
}

static void start_connect(struct side *client)
{
    struct side *out = new_side(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));

    out->opposite = client;
    client->opposite = out;
    if (connect(out->io.fd, (struct sockaddr *)&target, sizeof target) < 0 && errno != EINPROGRESS)
        die("connect", errno);
    ev_io_init(&out->io, on_connected, out->io.fd, EV_WRITE);
    ev_io_start(loop, &out->io);
}

static void on_connection(struct ev_loop *ignored, ev_io *io, int events)
{
    struct side *client;
    int          fd;

    (void)ignored, (void)events;
    while ((fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        client = new_side(fd);
        if (options.target_port)
            start_connect(client);
        else
            ev_io_start(loop, &client->io);
    }
}

int main(int argc, char **argv)
{
    options = serve_options(argc, argv);
    target = loopback(options.target_port);
    buffer = malloc((size_t)options.size);
    loop = ev_loop_new(EVBACKEND_EPOLL);
    ev_io_init(&listener, on_connection, listen_and_tell(SOCK_CLOEXEC | SOCK_NONBLOCK), EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
    return 0;
}
