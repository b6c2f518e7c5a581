/* SPDX-License-Identifier: MIT */
/* The echo server and the proxy with unring: recv and send, one of them at a time for each
 * direction.  The command line is in bench.h, at serve_options(). */
#include <unring.h>

#include "bench.h"

/* One direction: receives from one socket and sends to another, which for an echo is the same. */
struct pump {
    struct unr_op op;
    struct pump  *opposite; /* of a proxy's session; NULL in an echo, and once that one has ended */
    int           from, to;
    size_t        received, sent;
    char          buffer[];
};

static struct unr_loop     *loop;
static struct serve_options options;
static struct sockaddr_in   target;
static struct unr_op        acceptor;
static int                  listener;
static long                 sessions;

static struct pump *new_pump(int from, int to)
{
    struct pump *pump = malloc(sizeof *pump + (size_t)options.size);

    if (!pump)
        die("malloc", ENOMEM);
    memset(&pump->op, 0, sizeof pump->op);
    pump->opposite = NULL;
    pump->from = from;
    pump->to = to;
    return pump;
}

/* Of a proxy's two directions, the first to end cancels the other, which closes.  `requested` tells
 * the other of it also when the request came too late to cancel anything. */
static void end(struct pump *pump)
{
    if (pump->opposite) {
        unr_cancel(&pump->opposite->op, UNR_CANCEL_ALL);
        pump->opposite->opposite = NULL;
    } else {
        close(pump->from);
        if (pump->to != pump->from)
            close(pump->to);
        if (--sessions == 0)
            unr_loop_stop(loop);
    }
    free(pump);
}

static void on_recv(struct unr_op *op);
static void on_sent(struct unr_op *op);

static void start_recv(struct pump *pump)
{
    unr_start(loop, unr_recv(&pump->op, pump->from, pump->buffer, (size_t)options.size, 0), on_recv,
              pump);
}

static void start_send(struct pump *pump)
{
    const char *rest = pump->buffer + pump->sent;

    unr_start(loop, unr_send(&pump->op, pump->to, rest, pump->received - pump->sent, 0), on_sent,
              pump);
}

static void on_recv(struct unr_op *op)
{
    struct pump *pump = op->data;

    if (op->result.error || op->result.bytes == 0 || op->result.requested) {
        end(pump);
        return;
    }
    pump->received = op->result.bytes;
    pump->sent = 0;
    start_send(pump);
}

static void on_sent(struct unr_op *op)
{
    struct pump *pump = op->data;

    if (op->result.error || op->result.requested) {
        end(pump);
        return;
    }
    pump->sent += op->result.bytes;
    if (pump->sent < pump->received)
        start_send(pump);
    else
        start_recv(pump);
}

static void on_connected(struct unr_op *op)
{
    struct pump *pump = op->data, *opposite;

    if (op->result.error) {
        end(pump);
        return;
    }
    opposite = new_pump(pump->to, pump->from);
    pump->opposite = opposite;
    opposite->opposite = pump;
    start_recv(pump);
    start_recv(opposite);
}

static void start_session(int fd)
{
    struct pump *pump;
    int          out;

    sessions++;
    no_delay(fd);
    if (!options.target_port) {
        start_recv(new_pump(fd, fd));
        return;
    }
    out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    no_delay(out);
    pump = new_pump(fd, out);
    unr_start(loop, unr_connect(&pump->op, out, (struct sockaddr *)&target, sizeof target),
              on_connected, pump);
}

static void on_accept(struct unr_op *op)
{
    if (op->result.error)
        return; /* the loop is being closed */
    start_session(op->result.fd);
    unr_start(loop, unr_accept(op, listener, NULL, NULL, SOCK_CLOEXEC), on_accept, NULL);
}

int main(int argc, char **argv)
{
    int error;

    options = serve_options(argc, argv);
    target = loopback(options.target_port);
    error = unr_loop_open(&loop, NULL);
    if (error)
        die("unr_loop_open", error);
    listener = listen_and_tell(SOCK_CLOEXEC);
    unr_start(loop, unr_accept(&acceptor, listener, NULL, NULL, SOCK_CLOEXEC), on_accept, NULL);
    error = unr_loop_run(loop);
    if (error)
        die("unr_loop_run", error);
    unr_loop_close(loop);
    return 0;
}
