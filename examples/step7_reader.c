/* SPDX-License-Identifier: MIT */
/* Step 7 of the talk: messages that end in '|', read by a composed operation.
 *
 * A stream knows no messages: one receive may bring half a message, or three and a half.  So the
 * bytes are kept in a buffer that lives as long as the connection.  unr_read_until() reads into it
 * until there is a '|'.  The bytes behind that stay in the buffer, and the next message begins with
 * them.
 *
 * read_message() is an operation of its own.  It has a single step here, as a place for the work
 * that a protocol does around it.  It has no answer to a cancellation yet, so it promises the
 * least, TERMINAL: afterwards the connection may only be closed.
 *
 *      step7_reader 8080                     # then: socat - TCP:127.0.0.1:8080
 *                                            # and type "one|two|thr", Enter, "ee|" */
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <unring.h>

#define MESSAGE_MAX 4096

struct message_reader {
    union {
        struct unr_op      op;
        struct unr_compose compose;
    };
    struct unr_stream stream;
    struct unr_buffer buffer;
    struct unr_reader until;
    size_t            taken; /* of the buffer: the message that was read last, with its '|' */
};

struct session {
    struct message_reader reader;
    int                   fd;
};

static struct unr_loop *loop;
static int              listener;

static void accept_next(void);

/* ---- the message reader ---- */

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct message_reader *reader = unr_container_of(self, struct message_reader, compose);

    if (!finished) {
        unr_buffer_consume(&reader->buffer, reader->taken);
        reader->taken = 0;
        unr_compose_next(self,
                         unr_read_until(&reader->until, &reader->stream, &reader->buffer, "|", 1));
    } else if (finished->result.error) {
        unr_compose_end(self, finished->result.error);
    } else {
        reader->taken = finished->result.bytes;
        reader->op.result.bytes = finished->result.bytes - 1;
        unr_compose_end(self, 0);
    }
}

/* Reads the next message.
 * Result   bytes: its length, without the '|'.  It is at the front of the buffer until the next one
 *          is read.
 * Cancels  TERMINAL.
 * Errors   as unr_read_until(). */
static struct unr_op *read_message(struct message_reader *reader)
{
    return unr_compose(&reader->compose, "read_message", UNR_CANCEL_TERMINAL, step);
}

/* ---- a session for each connection ---- */

static void read_next(struct session *session);

static void end_session(struct session *session)
{
    unr_buffer_free(&session->reader.buffer);
    close(session->fd);
    free(session);
}

static void message_read(struct unr_op *op)
{
    struct session *session = op->data;

    if (op->result.error) {
        printf("session over: %s\n", unr_explain_op(&session->reader.op));
        fflush(stdout);
        end_session(session);
        return;
    }
    printf("received: %.*s\n", (int)op->result.bytes,
           (char *)unr_buffer_data(&session->reader.buffer, NULL));
    fflush(stdout);
    read_next(session);
}

static void read_next(struct session *session)
{
    unr_start(loop, read_message(&session->reader), message_read, session);
}

static void accepted(struct unr_op *op)
{
    if (op->result.error == -ECANCELED)
        return; /* the loop is being closed */
    if (op->result.error)
        die(op->result.error, "accept");
    int fd = op->result.fd; /* the next accept is described in the same place */
    accept_next();

    struct session *session = calloc(1, sizeof *session);
    if (!session)
        die(-ENOMEM, "no memory for a connection");
    session->fd = fd;
    unr_stream_socket(&session->reader.stream, session->fd);
    unr_buffer_init(&session->reader.buffer, MESSAGE_MAX);
    read_next(session);
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
    listener = listen_on_argument(argc, argv);

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
