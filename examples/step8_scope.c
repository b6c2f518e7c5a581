/* SPDX-License-Identifier: MIT */
/* Step 8 of the talk once more, with a cancel scope in place of a second fiber: its deadline is the
 * timer of step8_fiber.c, and its state has the filter.
 *
 * The state belongs to the block.  So nothing is reset when the message has come, and what the
 * session itself was asked is not forgotten: leaving the block tells the two apart.
 *
 *      step8_scope 8080                      # then: socat - TCP:127.0.0.1:8080
 *                                            # and type "one|tw", Enter, wait, "o|" */
#include "common.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <unring.h>

#define MESSAGE_MAX 4096

struct message_reader {
    struct unr_stream stream;
    struct unr_buffer buffer;
    struct unr_reader until;
    size_t            taken; /* of the buffer: the message that was read last, with its '|' */
};

static int    listener;
static double seconds = 5;

static unsigned total_is_partial(void *context, unsigned type)
{
    (void)context;
    return type == UNR_CANCEL_TOTAL ? UNR_CANCEL_PARTIAL : type;
}

/* Returns the length of the message with its '|'; -ETIMEDOUT: what has come of it stays in the
 * buffer; any other negative errno: the session is over. */
static int read_message(struct message_reader *reader)
{
    struct unr_cancel_scope patience;

    unr_buffer_consume(&reader->buffer, reader->taken);
    reader->taken = 0;
    unr_cancel_scope_enter_after(&patience, (unr_time)(seconds * 1e9));
    unr_state_reset(unr_fiber_state(), NULL, total_is_partial, NULL);
    struct unr_result r =
        unr_await(unr_read_until(&reader->until, &reader->stream, &reader->buffer, "|", 1));
    if (r.error == 0)
        reader->taken = r.bytes;
    return unr_cancel_scope_leave(&patience, r.error ? unr_outcome(&r) : (int)r.bytes);
}

static int read_messages(struct message_reader *reader)
{
    for (;;) {
        int len = read_message(reader);
        if (len == -ETIMEDOUT)
            printf("timed out\n");
        else if (len < 0)
            return len == -ENODATA ? 0 : len;
        else
            printf("received: %.*s\n", len - 1, (char *)unr_buffer_data(&reader->buffer, NULL));
    }
}

static int session(void *argument)
{
    int                   fd = (int)(intptr_t)argument;
    struct message_reader reader = { .taken = 0 };
    struct unr_op         op = { 0 };

    unr_stream_socket(&reader.stream, fd);
    unr_buffer_init(&reader.buffer, MESSAGE_MAX);
    int error = read_messages(&reader);
    printf("session over: %s\n", error ? strerror(-error) : "the stream has ended");
    unr_buffer_free(&reader.buffer);
    unr_await(unr_close(&op, fd)); /* it supports NONE: it runs whatever was requested */
    return error;
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
    listener = listen_for_seconds(argc, argv, &seconds);
    block_interrupts();
    int error = unr_run_fiber(NULL, serve, NULL);
    close(listener);
    if (error < 0)
        die(error, "step8_scope");
    return 0;
}
