/* SPDX-License-Identifier: MIT */
/* An echo server: each client gets back what it sends, until it ends its stream or is silent for
 * ten seconds.
 *
 * A connection is one operation that is composed of others: receive, write all of that, and again.
 * The deadline around it is put off at each step.  The connections and the accept run in a scope.
 *
 * Ctrl-C asks the scope to end under TOTAL, and that is the whole shutdown.  The accept, and each
 * receive that waits, can end without a trace, so they do.  A write cannot once a part of it is
 * sent, so it goes on; the receive behind it ends before it begins.  No echo is left half written.
 *
 *      echo 7000               # then: socat - TCP:127.0.0.1:7000 */
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <unring.h>

#define PATIENCE UNR_SEC(10)

struct connection {
    struct unr_compose  echo;
    struct unr_deadline idle;
    struct unr_stream   stream;
    struct unr_op       recv;
    struct unr_transfer write;
    char                buffer[4096];
};

static struct unr_loop *loop;
static struct unr_scope scope;
static int              listener;

static void echo(struct unr_compose *self, struct unr_op *finished)
{
    struct connection *c = unr_container_of(self, struct connection, echo);
    size_t             len = finished ? finished->result.bytes : 0;

    unr_deadline_move(&c->idle, unr_loop_now(loop) + PATIENCE);
    if (finished && (finished->result.error || len == 0))
        unr_compose_end(self, finished->result.error);
    else if (finished == &c->recv)
        unr_compose_next(self, unr_write_all(&c->write, &c->stream, c->buffer, len));
    else
        unr_compose_next(self, unr_recv(&c->recv, c->stream.fd, c->buffer, sizeof c->buffer, 0));
}

static void echo_ended(struct unr_op *op)
{
    struct connection *c = op->data;
    puts(unr_explain_op(op));
    close(c->stream.fd);
    free(c);
}

static void accepted(struct unr_op *op)
{
    if (op->result.error) {
        puts(unr_explain_op(op));
        return;
    }
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        die(-ENOMEM, "no memory for a connection");
    unr_stream_socket(&c->stream, op->result.fd);
    struct unr_op *connection = unr_compose(&c->echo, "echo", UNR_CANCEL_TOTAL, echo);
    unr_scope_start(&scope, unr_cancel_after(&c->idle, connection, PATIENCE), echo_ended, c);
    unr_scope_start(&scope, unr_accept(op, listener, NULL, NULL, SOCK_CLOEXEC), accepted, NULL);
}

static void interrupted(struct unr_op *op)
{
    (void)op;
    unr_cancel(&scope.op, UNR_CANCEL_TOTAL);
    unr_scope_close(&scope);
}

int main(int argc, char **argv)
{
    static struct unr_sigwait interrupt;
    static struct unr_op      accept;

    listener = listen_on_argument(argc, argv);
    block_interrupts();
    int error = unr_loop_open(&loop, NULL);
    if (error)
        die(0, unr_explain(error));
    unr_start(loop, unr_scope(&scope), NULL, NULL);
    unr_scope_start(&scope, unr_accept(&accept, listener, NULL, NULL, SOCK_CLOEXEC), accepted,
                    NULL);
    unr_start(loop, unr_sigwait(&interrupt, interrupts, 2), interrupted, NULL);
    error = unr_loop_run(loop);
    return unr_loop_close(loop) || error;
}
