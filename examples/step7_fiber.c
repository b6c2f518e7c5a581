/* SPDX-License-Identifier: MIT */
/* Step 7 of the talk with fibers: messages that end in '|'.  step7_reader.c is the same in
 * callbacks.
 *
 * A stream knows no messages: one receive may bring half a message, or three and a half.  So the
 * bytes are kept in a buffer that lives as long as the connection.  unr_read_until() reads into it
 * until there is a '|'.  The bytes behind that stay in the buffer, and the next message begins with
 * them.
 *
 * In callbacks read_message() is an operation, so that others can be made of it.  Here it is a
 * function that the session's fiber calls, as what it awaits is awaited by that fiber.  It need not
 * be an operation before something else is to go on beside it, which is step 8.
 *
 *      step7_fiber 8080                      # then: socat - TCP:127.0.0.1:8080
 *                                            # and type "one|two|thr", Enter, "ee|" */
#include "common.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <unring.h>

#define MESSAGE_MAX 4096

struct message_reader {
    struct unr_stream stream;
    struct unr_buffer buffer;
    struct unr_reader until;
    size_t            taken; /* of the buffer: the message that was read last, with its '|' */
};

static int listener;

/* Reads the next message.
 * Result  bytes: its length, without the '|'.  It is at the front of the buffer until the next one
 *         is read.  error: as unr_read_until(). */
static struct unr_result read_message(struct message_reader *reader)
{
    unr_buffer_consume(&reader->buffer, reader->taken);
    reader->taken = 0;
    struct unr_result r =
        unr_await(unr_read_until(&reader->until, &reader->stream, &reader->buffer, "|", 1));
    if (r.error == 0) {
        reader->taken = r.bytes;
        r.bytes--;
    }
    return r;
}

static int session(void *argument)
{
    int                   fd = (int)(intptr_t)argument;
    struct message_reader reader = { .taken = 0 };
    struct unr_op         op = { 0 };

    unr_stream_socket(&reader.stream, fd);
    unr_buffer_init(&reader.buffer, MESSAGE_MAX);
    struct unr_result r;
    while ((r = read_message(&reader)).error == 0)
        printf("received: %.*s\n", (int)r.bytes, (char *)unr_buffer_data(&reader.buffer, NULL));
    printf("session over: %s\n", unr_explain_op(&reader.until.op));
    unr_buffer_free(&reader.buffer);
    unr_await(unr_close(&op, fd)); /* it supports NONE: it runs whatever was requested */
    return unr_outcome(&r);
}

static int accept_all(void *argument)
{
    struct unr_nursery *sessions = argument;
    struct unr_op       op = { 0 };
    int64_t             fd;

    while ((fd = unr_await_value(unr_accept(&op, listener, NULL, NULL, SOCK_CLOEXEC))) >= 0)
        if (unr_nursery_spawn(sessions, session, (void *)(intptr_t)fd) < 0)
            unr_await(unr_close(&op, (int)fd));
    return (int)fd;
}

/* Until a signal comes, or the listener fails; then all sessions are cancelled. */
static int serve(void *argument)
{
    struct unr_nursery sessions;
    struct unr_fiber   acceptor = { 0 };
    struct unr_sigwait interrupt = { 0 };
    struct unr_group   group = { 0 };

    (void)argument;
    unr_nursery_open(&sessions, UNR_NURSERY_INDEPENDENT);
    struct unr_op    *either[] = { unr_fiber(&acceptor, accept_all, &sessions),
                                   unr_sigwait(&interrupt, interrupts, 2) };
    struct unr_result r = unr_await(unr_group(&group, either, 2, unr_wait_one, NULL));
    unr_nursery_cancel(&sessions, UNR_CANCEL_ALL, -ECANCELED);
    return unr_nursery_close(&sessions, r.error ? r.error : either[r.value]->result.error);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    listener = listen_on_argument(argc, argv);
    block_interrupts();
    int error = unr_run_fiber(NULL, serve, NULL);
    close(listener);
    if (error < 0)
        die(error, "step7_fiber");
    return 0;
}
