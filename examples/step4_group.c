/* SPDX-License-Identifier: MIT */
/* Step 4 of the talk's proxy: step 3, with a group in the place of the signal.  While the target is
 * silent, the client gets a line "<heartbeat N>" every second, as before.
 *
 * Waiting for the target is now one operation made of two: the receive, or a timer, whichever comes
 * first.  The group ends when both have ended; result.value is the index of the member that
 * decided.  So the second timer chain of step 3 is gone.  With it go the signal, the cause that
 * told one cancellation from another, and a part of the session to be counted.
 *
 * A condition says what is requested of the others when a member has ended; unr_wait_one() asks for
 * ALL.  The group's own result does not mention what the group asks of its members.  So the test of
 * step 2 is as simple as before, if it is made of the group.  And stop() has to ask the group, too:
 * when the receive has ended and the timer has not, nothing of the group is in flight on a
 * descriptor.
 *
 * A timer that decided does not mean that nothing was received.  The receive may complete before
 * its cancellation gets there.  Then both members have succeeded, and a program that looks at the
 * index alone loses what the target has said.  (The talk's step 4 does.)  The results stay in the
 * members, so the bytes of the receive are sent, whoever decided.
 *
 * unr_cancel_after() would do here, too: a time-out of the receive that reads -ETIMEDOUT.  A group
 * is for all the rest.
 *
 * This step and the next ones end on SIGINT as a program should.  unr_loop_close() cancels the
 * operations in flight and runs each `done`, so the sessions free themselves as they always do.
 *
 *      socat TCP-LISTEN:9000,reuseaddr,fork SYSTEM:'sleep 3; echo hello'
 *      step4_group 8080 9000 5               # then: socat - TCP:127.0.0.1:8080 */
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
    struct chain up, down; /* up: from the client to the target */
    struct unr_timer watchdog;
    unr_time         deadline; /* when the session ends if nothing arrives until then */

    struct unr_group target_or_heartbeat; /* its members: down.op and this timer */
    struct unr_timer heartbeat;
    unsigned         heartbeats; /* since the target last said something */
};

static struct unr_loop *loop;
static struct address   target;
static int              listener;
static unr_time         patience;

#define INTERVAL UNR_SEC(1)

enum { TARGET, HEARTBEAT }; /* the members, by index */

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
    unr_cancel(&session->target_or_heartbeat.op, UNR_CANCEL_ALL);
    unr_cancel(&session->watchdog.op, UNR_CANCEL_ALL);
}

/* Whether stop() has reached this operation, in time or not. */
static bool is_stopped(const struct unr_op *op)
{
    return op->result.requested != 0;
}

/* A chain and the watchdog end with this call. */
static void leave(struct session *session)
{
    stop(session);
    if (--session->pending == 0)
        end_session(session);
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

/* The `done` of a receive, alone or in the group. */
static void received(struct unr_op *op)
{
    struct chain            *chain = op->data;
    struct session          *session = chain->session;
    const struct unr_result *result = &chain->op.result;
    bool                     in_group = chain == &session->down;

    if (is_stopped(op)) {
        leave(session);
    } else if (in_group && op->result.value == HEARTBEAT && result->error == -ECANCELED) {
        /* The deadline stays: a silent target ends the session all the same. */
        int len = snprintf(chain->buffer, sizeof chain->buffer, "<heartbeat %u>\r\n",
                           ++session->heartbeats);
        chain->len = (size_t)len;
        chain->sent = 0;
        start_send(chain);
    } else if (result->error || result->bytes == 0) {
        leave(session);
    } else {
        session->deadline = unr_loop_now(loop) + patience;
        if (in_group)
            session->heartbeats = 0;
        chain->len = result->bytes;
        chain->sent = 0;
        start_send(chain);
    }
}

static void start_recv(struct chain *chain)
{
    struct session *session = chain->session;
    struct unr_op  *recv_op =
        unr_recv(&chain->op, chain->from, chain->buffer, sizeof chain->buffer, 0);

    if (chain == &session->up) {
        unr_start(loop, recv_op, received, chain);
    } else {
        struct unr_op *members[] = { recv_op, unr_timer_after(&session->heartbeat, INTERVAL) };
        unr_start(loop, unr_group(&session->target_or_heartbeat, members, 2, unr_wait_one, NULL),
                  received, chain);
    }
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
    session->pending = 3; /* two chains and the watchdog */
    session->deadline = unr_loop_now(loop) + patience;
    watch(session);
    start_recv(&session->up);
    start_recv(&session->down);
}

static void accepted(struct unr_op *op)
{
    int client = op->result.fd;

    if (op->result.error == -ECANCELED)
        return; /* the loop is being closed */
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

static void interrupted(struct unr_op *op)
{
    (void)op;
    unr_loop_stop(loop);
}

int main(int argc, char **argv)
{
    static struct unr_sigwait interrupt;
    double                    seconds = 5;
    listener = step_listen(argc, argv, &target, &seconds);
    patience = (unr_time)(seconds * 1e9);

    block_interrupts();
    int error = unr_loop_open(&loop, NULL);
    if (error)
        die(0, unr_explain(error));
    unr_start(loop, unr_sigwait(&interrupt, interrupts, 2), interrupted, NULL);
    accept_next();
    error = unr_loop_run(loop);
    int close_error = unr_loop_close(loop);
    close(listener);
    return error || close_error ? 1 : 0;
}
