/* SPDX-License-Identifier: MIT */
/* Step 0 of the talk's proxy: callbacks and no cancellation.
 *
 * The proxy accepts a connection and connects a socket to the target.  Then two chains run side by
 * side:
 *
 *      accept -> connect -+-> recv from client -> send to target -+     `up`
 *                         |     ^---------------------------------+
 *                         +-> recv from target -> send to client -+     `down`
 *                               ^---------------------------------+
 *
 * A chain has exactly one operation in flight, so one struct unr_op serves it.  It ends when an
 * operation fails or finds the end of the stream.  It then shuts both sockets down, and the other
 * chain's receive finds an end as well.  A program without cancellation can stop a read in no other
 * way, and the socket is of no use afterwards.  The next steps stop a read and go on with its
 * socket.
 *
 *      step0_plain 8080 127.0.0.1:80         # then: curl http://127.0.0.1:8080/ */
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
    unsigned     chains; /* that still run: the last one frees the session */
    struct chain up, down;
};

static struct unr_loop *loop;
static struct address   target;
static int              listener;

static void accept_next(void);
static void start_recv(struct chain *chain);
static void start_send(struct chain *chain);

static void end_session(struct session *session)
{
    close(session->client);
    close(session->server);
    free(session);
}

static void end_chain(struct chain *chain)
{
    struct session *session = chain->session;

    /* The other chain may have an operation in flight, so its sockets must not be closed yet. */
    shutdown(session->client, SHUT_RDWR);
    shutdown(session->server, SHUT_RDWR);
    if (--session->chains == 0)
        end_session(session);
}

static void received(struct unr_op *op)
{
    struct chain *chain = op->data;

    if (op->result.error || op->result.bytes == 0) {
        end_chain(chain);
        return;
    }
    chain->len = op->result.bytes;
    chain->sent = 0;
    start_send(chain);
}

static void start_recv(struct chain *chain)
{
    unr_start(loop, unr_recv(&chain->op, chain->from, chain->buffer, sizeof chain->buffer, 0),
              received, chain);
}

/* A send is a single step and may take less than it was given. */
static void sent(struct unr_op *op)
{
    struct chain *chain = op->data;

    if (op->result.error) {
        end_chain(chain);
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
    session->chains = 2;
    start_recv(&session->up);
    start_recv(&session->down);
}

static void accepted(struct unr_op *op)
{
    int client = op->result.fd;

    if (client < 0)
        die(op->result.error, "accept"); /* proxy.c shows what can be done instead */
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

    /* No chain runs yet, so the operation of one of them is free for the connect. */
    struct unr_op *connect_op =
        unr_connect(&session->up.op, server, (struct sockaddr *)&target.storage, target.len);
    unr_start(loop, connect_op, connected, session);
}

/* The operation is described anew for each start: it is not in flight when accepted() runs. */
static void accept_next(void)
{
    static struct unr_op op;
    unr_start(loop, unr_accept(&op, listener, NULL, NULL, SOCK_CLOEXEC), accepted, NULL);
}

int main(int argc, char **argv)
{
    listener = step_listen(argc, argv, &target, NULL);

    int error = unr_loop_open(&loop, NULL);
    if (error)
        die(0, unr_explain(error));
    accept_next();
    error = unr_loop_run(loop); /* an accept is always in flight, so it returns only on failure */
    die(error, "the loop ended");
}
