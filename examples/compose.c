/* SPDX-License-Identifier: MIT */
/* A composed operation of one's own: connect to a Redis server, send PING, read one line, close.
 *
 * The step function is called with NULL first, and then with each child that has ended.  Each time
 * it begins the next child or ends the whole.  It knows nothing of cancellation; it stops at the
 * first error, and that is enough.  A request ends the child in flight.  If that child completes
 * all the same, the next one ends before it begins.
 *
 * The last child is an exception: unr_close() supports no cancellation, so it always runs.
 * Whatever goes wrong, and at whichever step, the connection is closed before `done` runs.
 *
 * The composed operation is an operation as any other.  Here it has a deadline.  It could as well
 * be a member of a group, or a child of another composed operation.
 *
 *      compose                               # or with another address, and seconds:
 *      compose 127.0.0.1:6380 0.5
 *
 * A server for each of them, one that answers and one that does not:
 *
 *      socat TCP-LISTEN:6379,reuseaddr,fork SYSTEM:'read x; echo +PONG'
 *      socat TCP-LISTEN:6380,reuseaddr,fork SYSTEM:'sleep 9' */
#include "common.h"

#include <stdio.h>
#include <string.h>
#include <unring.h>

struct ping {
    union {
        struct unr_op      op;
        struct unr_compose compose;
    };
    struct address      address;
    struct unr_op       socket, connect, close;
    struct unr_transfer write;
    struct unr_reader   read;
    struct unr_stream   stream;
    struct unr_buffer   answer;
    int                 fd, error;
};

/* Every way to the end leads through here: first the connection is closed. */
static void close_and_end(struct ping *ping, int error)
{
    ping->error = error;
    if (ping->fd >= 0)
        unr_compose_next(&ping->compose, unr_close(&ping->close, ping->fd));
    else
        unr_compose_end(&ping->compose, error);
}

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct ping           *ping = unr_container_of(self, struct ping, compose);
    const struct sockaddr *address = (struct sockaddr *)&ping->address.storage;

    if (!finished) {
        unr_compose_next(
            self, unr_socket(&ping->socket, address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    } else if (finished == &ping->close) {
        unr_compose_end(self, ping->error);
    } else if (finished->result.error) {
        close_and_end(ping, finished->result.error);
    } else if (finished == &ping->socket) {
        ping->fd = finished->result.fd;
        unr_stream_socket(&ping->stream, ping->fd);
        unr_compose_next(self, unr_connect(&ping->connect, ping->fd, address, ping->address.len));
    } else if (finished == &ping->connect) {
        unr_compose_next(self, unr_write_all(&ping->write, &ping->stream, "PING\r\n", 6));
    } else if (finished == &ping->write.op) {
        unr_compose_next(self,
                         unr_read_until(&ping->read, &ping->stream, &ping->answer, "\r\n", 2));
    } else {
        ping->op.result.bytes = finished->result.bytes;
        close_and_end(ping, 0);
    }
}

/* Pings the server at `address`.
 * Result   bytes: the length of the answer, at the front of `ping->answer`, which is the caller's
 *          to free.
 * Cancels  TERMINAL: the connection is closed, and the server may have been pinged. */
static struct unr_op *ping_server(struct ping *ping, const struct address *address)
{
    ping->address = *address;
    ping->fd = -1;
    unr_buffer_init(&ping->answer, 512);
    return unr_compose(&ping->compose, "ping", UNR_CANCEL_TERMINAL, step);
}

/* ---- one ping, with a deadline ---- */

static struct unr_loop    *loop;
static struct ping         ping;
static struct unr_deadline deadline;
static struct unr_sigwait  interrupt;

static void pinged(struct unr_op *op)
{
    if (op->result.error == 0)
        printf("%.*s", (int)op->result.bytes, (char *)unr_buffer_data(&ping.answer, NULL));
    else
        fprintf(stderr, "compose: %s\n", strerror(-unr_outcome(&op->result)));
    unr_buffer_free(&ping.answer);
    unr_cancel(&interrupt.op, UNR_CANCEL_ALL);
}

static void interrupted(struct unr_op *op)
{
    (void)op;
    unr_cancel(&deadline.op, UNR_CANCEL_ALL);
}

int main(int argc, char **argv)
{
    struct address address;
    double         seconds = 1;

    if (!parse_address(argc > 1 ? argv[1] : "6379", &address)
        || (argc > 2 && (!parse_seconds(argv[2], &seconds) || seconds > 1e9)))
        die(0, "Usage: compose [[HOST:]PORT [SECONDS]]");
    block_interrupts();
    int error = unr_loop_open(&loop, NULL);
    if (error)
        die(0, unr_explain(error));
    unr_start(loop, unr_sigwait(&interrupt, interrupts, 2), interrupted, NULL);
    unr_start(loop,
              unr_cancel_after(&deadline, ping_server(&ping, &address), (unr_time)(seconds * 1e9)),
              pinged, NULL);
    error = unr_loop_run(loop);
    return unr_loop_close(loop) || error || ping.op.result.error ? 1 : 0;
}
