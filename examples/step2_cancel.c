/* SPDX-License-Identifier: MIT */
/* Step 2 of the talk's proxy: the watchdog of step 1 cancels the operations in flight on both
 * sockets, and leaves the sockets as they are.
 *
 * unr_cancel_fd() cancels object-wide: every operation on a descriptor, whoever started it.
 *
 * Without the close the race is in the open: a receive may have completed when its cancellation is
 * asked for.  It then reports the bytes that it received, as unring never discards a success.  A
 * chain that looks at the error alone sends those bytes, receives again, and goes on for ever, as
 * nobody cancels it a second time.  The talk closes the hole with a flag `stopped_` that each
 * callback tests.  Here the result itself tells: `requested` says what was asked of this very
 * operation, honoured or not.  A chain always has one operation in flight, so one test in each
 * callback is enough.  The test also stands between the sends of a message that takes several,
 * where the talk needs a completion condition.
 *
 * A latched signal is the alternative.  Each chain binds every operation that it starts to a child
 * of the signal:
 *
 *      described = unr_bind_slot(unr_recv(...), unr_signal_slot(&chain->stop));
 *      unr_start(loop, described, received, chain);
 *
 * The latch ends each operation that starts after the emit, before it begins, so no callback can
 * forget a test.  That is the better way where operations come and go; a scope does the same for
 * its members.  A signal reaches only the operations that are bound to it, though.  Here the object
 * is the socket, and `requested` costs no state at all.
 *
 * When a session ends, it prints how often a cancellation lost the race.  To see a loss, have
 * clients end their input while the target sends as fast as it can.  Of a hundred clients, one or
 * two find it:
 *
 *      socat TCP-LISTEN:9000,reuseaddr,fork SYSTEM:yes
 *      step2_cancel 8080 9000
 *      for i in $(seq 100); do sleep 0.05 | socat - TCP:127.0.0.1:8080 | wc -c; done */
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
    int          client, server;
    unsigned     pending;  /* chains and watchdog that still run: the last one frees the session */
    unsigned     too_late; /* cancellations that lost the race against a completion */
    struct chain up, down;
    struct unr_timer watchdog;
    unr_time         deadline; /* when the session ends if nothing arrives until then */
};

static struct unr_loop *loop;
static struct address   target;
static int              listener;
static unr_time         patience;

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
}

/* Whether stop() has reached this operation, in time or not. */
static bool is_stopped(struct session *session, const struct unr_op *op)
{
    if (op->result.verdict == UNR_VERDICT_TOO_LATE)
        session->too_late++;
    return op->result.requested != 0;
}

/* A chain and the watchdog end with this call. */
static void leave(struct session *session)
{
    stop(session);
    if (--session->pending > 0)
        return;
    printf("session over, %u cancellations came too late\n", session->too_late);
    fflush(stdout);
    end_session(session);
}

static void watch(struct session *session);

static void watched(struct unr_op *op)
{
    struct session *session = op->data;

    if (!is_stopped(session, op) && session->deadline > unr_loop_now(loop))
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
    struct chain *chain = op->data;

    if (is_stopped(chain->session, op) || op->result.error || op->result.bytes == 0) {
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
    unr_start(loop, unr_recv(&chain->op, chain->from, chain->buffer, sizeof chain->buffer, 0),
              received, chain);
}

static void sent(struct unr_op *op)
{
    struct chain *chain = op->data;

    if (is_stopped(chain->session, op) || op->result.error) {
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
