/* SPDX-License-Identifier: MIT */
/* Step 1 of the talk's proxy: step 0, and a watchdog that ends a session on which nothing has
 * arrived for a while.
 *
 * The deadline is only a variable.  Bytes that arrive move it, which costs a store, and the timer
 * knows nothing of that.  When the timer fires too early, it is set to the deadline of that moment.
 * So a busy session pays for one timer in each time-out's length, however much it transfers.
 * (unr_timer_move() would be cheap as well: it enters no kernel and wakes nobody.)
 *
 * The watchdog stops the session by closing its sockets.  A plain close(2) would not do, as the
 * operations in flight would go on as if nothing had happened.  unr_cancel_close() cancels them,
 * waits for them and closes.
 *
 * A cancellation can come too late: a chain whose receive has just completed will try to send.  As
 * in the talk, the state of the sockets catches it.  stop() sets the descriptors to -1, and an
 * operation that is started on -1 ends with -EBADF.  The close changes that state for good; step 2
 * cancels without it.
 *
 *      step1_watchdog 8080 127.0.0.1:80 5    # then: socat - TCP:127.0.0.1:8080   and wait */
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <unring.h>

struct chain {
    struct unr_op   op; /* the one in flight: recv or send */
    struct session *session;
    const int      *from, *to; /* the session's descriptors, -1 once it was stopped */
    size_t          len, sent; /* of what is in the buffer */
    char            buffer[16384];
};

struct session {
    int          client, server; /* -1: stopped */
    unsigned     pending; /* chains, watchdog and closes that still run: the last one frees it */
    struct chain up, down;
    struct unr_timer watchdog;
    unr_time         deadline; /* when the session ends if nothing arrives until then */
    struct unr_op    close_client, close_server;
};

static struct unr_loop *loop;
static struct address   target;
static int              listener;
static unr_time         patience;

static void accept_next(void);
static void start_recv(struct chain *chain);
static void start_send(struct chain *chain);

static void end_part(struct session *session)
{
    if (--session->pending == 0)
        free(session);
}

static void closed(struct unr_op *op)
{
    end_part(op->data);
}

static bool is_stopped(const struct session *session)
{
    return session->client < 0;
}

static void stop(struct session *session)
{
    if (is_stopped(session))
        return;
    session->pending += 2;
    unr_start(loop, unr_cancel_close(&session->close_client, session->client), closed, session);
    unr_start(loop, unr_cancel_close(&session->close_server, session->server), closed, session);
    session->client = session->server = -1;
    unr_cancel(&session->watchdog.op, UNR_CANCEL_ALL);
}

/* A chain and the watchdog end with this call. */
static void leave(struct session *session)
{
    stop(session);
    end_part(session);
}

static void watch(struct session *session);

static void watched(struct unr_op *op)
{
    struct session *session = op->data;

    if (!is_stopped(session) && session->deadline > unr_loop_now(loop)) {
        watch(session); /* something has arrived since the timer was set */
        return;
    }
    if (!is_stopped(session)) {
        printf("nothing has arrived in time: closing\n");
        fflush(stdout);
    }
    leave(session);
}

static void watch(struct session *session)
{
    unr_start(loop, unr_timer_at(&session->watchdog, session->deadline), watched, session);
}

static void received(struct unr_op *op)
{
    struct chain *chain = op->data;

    if (op->result.error || op->result.bytes == 0) {
        leave(chain->session);
        return;
    }
    chain->session->deadline = unr_loop_now(loop) + patience;
    chain->len = op->result.bytes;
    chain->sent = 0;
    start_send(chain);
}

static void start_recv(struct chain *chain)
{
    unr_start(loop, unr_recv(&chain->op, *chain->from, chain->buffer, sizeof chain->buffer, 0),
              received, chain);
}

static void sent(struct unr_op *op)
{
    struct chain *chain = op->data;

    if (op->result.error) {
        leave(chain->session);
        return;
    }
    chain->sent += op->result.bytes;
    if (chain->sent < chain->len)
        start_send(chain);
    else
        start_recv(chain);
}

static void start_send(struct chain *chain)
{
    struct unr_op *send_op =
        unr_send(&chain->op, *chain->to, chain->buffer + chain->sent, chain->len - chain->sent, 0);
    unr_start(loop, send_op, sent, chain);
}

static void connected(struct unr_op *op)
{
    struct session *session = op->data;

    if (op->result.error) {
        fprintf(stderr, "cannot connect: %s\n", unr_explain_op(op));
        close(session->client);
        close(session->server);
        free(session);
        return;
    }
    session->pending = 3; /* two chains and the watchdog */
    session->deadline = unr_loop_now(loop) + patience;
    watch(session);
    start_recv(&session->up);
    start_recv(&session->down);
}

static void accepted(struct unr_op *op)
{
    int client = op->result.fd;

    if (client < 0)
        die(op->result.error, "accept");
    accept_next();

    int server = tcp_socket(&target);
    if (server < 0)
        die(server, "no socket for a connection");
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        die(-ENOMEM, "no memory for a connection");
    session->client = client;
    session->server = server;
    session->up.session = session->down.session = session;
    session->up.from = session->down.to = &session->client;
    session->up.to = session->down.from = &session->server;
    struct unr_op *connect_op =
        unr_connect(&session->up.op, server, (struct sockaddr *)&target.storage, target.len);
    unr_start(loop, connect_op, connected, session);
}

static void accept_next(void)
{
    static struct unr_op op;
    unr_start(loop, unr_accept(&op, listener, NULL, NULL, SOCK_CLOEXEC), accepted, NULL);
}

int main(int argc, char **argv)
{
    double seconds = 5;
    listener = step_listen(argc, argv, &target, &seconds);
    patience = (unr_time)(seconds * 1e9);

    int error = unr_loop_open(&loop, NULL);
    if (error)
        die(0, unr_explain(error));
    accept_next();
    error = unr_loop_run(loop); /* an accept is always in flight, so it returns only on failure */
    die(error, "the loop ended");
}
