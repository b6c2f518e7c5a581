/* SPDX-License-Identifier: MIT */
/* Step 8 of the talk again, with the library's own message reader: no composed operation, no state,
 * no filter.
 *
 * unr_read_frame() reads until a whole frame is at the front of the buffer, and consumes nothing.
 * So it can be cancelled at any byte, under any types, TOTAL included, and the next call goes on
 * where it stopped.  A framing says what a frame is: here the bytes up to a '|'.  A length in front
 * would do as well.
 *
 *      step8_frame 8080                      # then: socat - TCP:127.0.0.1:8080
 *                                            # and type "one|tw", Enter, wait, "o|" */
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <unring.h>

#define MESSAGE_MAX 4096
#define PATIENCE    UNR_SEC(5)

struct session {
    struct unr_reader   reader;
    struct unr_stream   stream;
    struct unr_buffer   buffer;
    struct unr_deadline deadline;
    int                 fd;
};

static struct unr_loop   *loop;
static int                listener;
static struct unr_framing messages;

static void accept_next(void);

static void read_next(struct session *session);

static void end_session(struct session *session)
{
    unr_buffer_free(&session->buffer);
    close(session->fd);
    free(session);
}

static void message_read(struct unr_op *op)
{
    struct session *session = op->data;

    if (unr_outcome(&op->result) == -ETIMEDOUT) {
        printf("timed out\n");
        fflush(stdout);
        read_next(session);
        return;
    }
    if (op->result.error) {
        printf("session over: %s\n", unr_explain_op(&session->reader.op));
        fflush(stdout);
        end_session(session);
        return;
    }
    size_t len;
    char  *message = unr_frame_payload(&messages, &session->buffer, op->result.bytes, &len);
    printf("received: %.*s\n", (int)len, message);
    fflush(stdout);
    unr_buffer_consume(&session->buffer, op->result.bytes);
    read_next(session);
}

static void read_next(struct session *session)
{
    struct unr_op *read_op =
        unr_read_frame(&session->reader, &session->stream, &session->buffer, &messages);
    unr_start(loop, unr_cancel_after(&session->deadline, read_op, PATIENCE), message_read, session);
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
    unr_stream_socket(&session->stream, session->fd);
    unr_buffer_init(&session->buffer, MESSAGE_MAX);
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
    unr_framing_delimiter(&messages, "|", 1, MESSAGE_MAX);

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
