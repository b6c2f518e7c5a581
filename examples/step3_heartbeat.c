/* SPDX-License-Identifier: MIT */
/* Step 3 of the talk's proxy: step 2, and a heartbeat.  While the target is silent, the client gets
 * a line "<heartbeat N>" every second.
 *
 * The chain that may write to the client waits in its receive from the target.  So the heartbeat
 * cancels that one receive, and no other operation, through a slot: the receive is bound to the
 * slot of a signal, and the timer emits.  It asks for TOTAL.  A receive that was cancelled so has
 * taken nothing from the socket, and can be started again as if nothing had been.  The sends are
 * bound to nothing, and the heartbeat does not touch them.
 *
 * An emit can meet three situations.  The receive is cancelled: the chain finds the heartbeat's own
 * cause in unr_outcome(), writes the line and receives again.  The receive has just completed: it
 * reports the bytes that it received, as ever.  The chain is sending: the slot is empty, the emit
 * finds nothing, and the next heartbeat will do.
 *
 * The test of step 2 becomes finer, as "something was asked of this operation" no longer means
 * "stop".  The types tell: the heartbeat accepts TOTAL only, stop() accepts anything, TERMINAL
 * included.
 *
 *      socat TCP-LISTEN:9000,reuseaddr,fork SYSTEM:'sleep 3; echo hello'
 *      step3_heartbeat 8080 9000 5           # then: socat - TCP:127.0.0.1:8080 */
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <unring.h>

struct chain {
    struct unr_op   op; /* the one in flight: recv or send */
    struct session *session;
    int             from, to;
    size_t          len, sent; /* of what is in the buffer */
    char            buffer[16384];
};

struct session {
    int              client, server;
    unsigned         pending; /* chains and timers that still run: the last one frees the session */
    struct chain     up, down; /* up: from the client to the target */
    struct unr_timer watchdog;
    unr_time         deadline; /* when the session ends if nothing arrives until then */

    struct unr_timer  heartbeat;
    struct unr_signal silence;    /* to its slot each receive from the target is bound */
    unsigned          heartbeats; /* since the target last said something */
};

static struct unr_loop *loop;
static struct address   target;
static int              listener;
static unr_time         patience;

#define INTERVAL UNR_SEC(1)

/* A cause is any negative number; this one is outside the range of errno. */
#define CAUSE_HEARTBEAT (-10001)

static void accept_next(void);
static void start_recv(struct chain *chain);
static void start_send(struct chain *chain);

static void end_session(struct session *session)
{
    close(session->client);
    close(session->server);
    free(session);
}

/* Each part that ends calls it again, and it finds less and less in flight. */
static void stop(struct session *session)
{
    unr_cancel_fd(loop, session->client, UNR_CANCEL_ALL);
    unr_cancel_fd(loop, session->server, UNR_CANCEL_ALL);
    unr_cancel(&session->watchdog.op, UNR_CANCEL_ALL);
    unr_cancel(&session->heartbeat.op, UNR_CANCEL_ALL);
}

/* Whether stop() has reached this operation, in time or not. */
static bool is_stopped(const struct unr_op *op)
{
    return op->result.requested & UNR_CANCEL_TERMINAL;
}

/* A chain and a timer end with this call. */
static void leave(struct session *session)
{
    stop(session);
    if (--session->pending == 0)
        end_session(session);
}

static void start_heartbeat(struct session *session);

static void heartbeat(struct unr_op *op)
{
    struct session *session = op->data;

    if (is_stopped(op)) {
        leave(session);
        return;
    }
    unr_signal_emit_cause(&session->silence, UNR_CANCEL_TOTAL, CAUSE_HEARTBEAT);
    start_heartbeat(session);
}

static void start_heartbeat(struct session *session)
{
    unr_start(loop, unr_timer_after(&session->heartbeat, INTERVAL), heartbeat, session);
}

static void watch(struct session *session);

static void watched(struct unr_op *op)
{
    struct session *session = op->data;

    if (!is_stopped(op) && session->deadline > unr_loop_now(loop))
        watch(session); /* something has arrived since the timer was set */
    else
        leave(session);
}

static void watch(struct session *session)
{
    unr_start(loop, unr_timer_at(&session->watchdog, session->deadline), watched, session);
}

static void received(struct unr_op *op)
{
    struct chain   *chain = op->data;
    struct session *session = chain->session;

    if (is_stopped(op)) {
        leave(session);
    } else if (unr_outcome(&op->result) == CAUSE_HEARTBEAT) {
        /* The deadline stays: a silent target ends the session all the same. */
        int len = snprintf(chain->buffer, sizeof chain->buffer, "<heartbeat %u>\r\n",
                           ++session->heartbeats);
        chain->len = (size_t)len;
        chain->sent = 0;
        start_send(chain);
    } else if (op->result.error || op->result.bytes == 0) {
        leave(session);
    } else {
        session->deadline = unr_loop_now(loop) + patience;
        if (chain == &session->down)
            session->heartbeats = 0;
        chain->len = op->result.bytes;
        chain->sent = 0;
        start_send(chain);
    }
}

static void start_recv(struct chain *chain)
{
    struct unr_op *recv_op =
        unr_recv(&chain->op, chain->from, chain->buffer, sizeof chain->buffer, 0);

    if (chain == &chain->session->down)
        unr_bind_slot(recv_op, unr_signal_slot(&chain->session->silence));
    unr_start(loop, recv_op, received, chain);
}

static void sent(struct unr_op *op)
{
    struct chain *chain = op->data;

    if (is_stopped(op) || op->result.error) {
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
        unr_send(&chain->op, chain->to, chain->buffer + chain->sent, chain->len - chain->sent, 0);
    unr_start(loop, send_op, sent, chain);
}

static void connected(struct unr_op *op)
{
    struct session *session = op->data;

    if (op->result.error) {
        fprintf(stderr, "cannot connect: %s\n", unr_explain_op(op));
        end_session(session);
        return;
    }
    session->pending = 4; /* two chains, watchdog and heartbeat */
    session->deadline = unr_loop_now(loop) + patience;
    watch(session);
    start_heartbeat(session);
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
    session->up.from = session->down.to = client;
    session->up.to = session->down.from = server;
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
