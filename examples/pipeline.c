/* SPDX-License-Identifier: MIT */
/* A pipeline over channels: it reads names of files, one a line, and writes how many lines and
 * bytes each has, in the order of the names, as `wc -lc` counts them.
 *
 *      +--> idle --> reader --> work --> workers
 *      |                |                   :
 *      |                +----> ordered ---> writer --+
 *      +---------------------------------------------+
 *
 * What goes round are blocks: the names that one read has brought, and what there is to say of
 * them.  The reader puts each block into two channels.  From the one a worker takes it, when one
 * has time.  From the other the writer takes it, in the order in which it was read, waits until it
 * is counted, writes, and puts it where the reader finds it.  So while one worker waits for a slow
 * disk, the others go on; but never further ahead than there are blocks.  That is the
 * back-pressure: where nobody takes the output, nothing is read any more.
 *
 * All of them are fibers in one nursery, and the first that fails ends the others: the writer, when
 * nobody reads its output any longer; a watcher that sees that before there is something to write;
 * another at Ctrl-C or SIGTERM.  The line that is being written then is written to its end, for a
 * second at most.
 *
 *      find . -type f | pipeline 8 */
#define _GNU_SOURCE 1
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <unring.h>

#define BLOCK_BYTES 4096 /* and so a name is shorter than that */
#define BLOCKS      16

struct block {
    struct unr_event  counted;
    size_t            len;
    char              names[BLOCK_BYTES]; /* each with its newline */
    struct unr_buffer output;
};

static struct block       blocks[BLOCKS];
static struct block      *in_idle[BLOCKS], *in_work[BLOCKS], *in_order[BLOCKS];
static struct unr_channel idle, work, ordered; /* each has room for all blocks */
static struct unr_nursery nursery;
static long               workers = 8;
static int                signalled;
static bool               file_failed;

static int put(struct unr_channel *channel, struct block *block)
{
    struct unr_waiter waiter = { 0 };
    return (int)unr_await_value(unr_channel_send(&waiter, channel, &block));
}

/* Returns 1; 0 where the channel is closed; or a negative errno. */
static int take(struct unr_channel *channel, struct block **ret_block)
{
    struct unr_waiter waiter = { 0 };
    return (int)unr_await_value(unr_channel_receive(&waiter, channel, ret_block));
}

/* ---- the reader ---- */

/* Reads until there is a whole line, or the end.  Returns how many bytes are whole lines; 0 at the
 * end; or a negative errno. */
static int64_t read_lines(struct unr_stream *input, struct unr_buffer *buffer)
{
    struct unr_reader reader = { 0 };
    size_t            len;
    const char       *last;

    do {
        int64_t n = unr_await_value(unr_read_more(&reader, input, buffer));
        if (n == -ENODATA && unr_buffer_data(buffer, &len) && len > 0)
            n = unr_buffer_append(buffer, "\n", 1); /* the last line has none */
        if (n < 0)
            return n == -ENODATA ? 0 : n;
        const char *text = unr_buffer_data(buffer, &len);
        last = memrchr(text, '\n', len);
        if (last)
            len = (size_t)(last - text) + 1;
    } while (!last);
    return (int64_t)len;
}

static int read_blocks(void *argument)
{
    struct unr_stream input;
    struct unr_buffer buffer;
    struct block     *block;
    int64_t           n;

    (void)argument;
    unr_stream_pipe(&input, STDIN_FILENO);
    unr_buffer_init(&buffer, BLOCK_BYTES);
    while ((n = take(&idle, &block)) > 0 && (n = read_lines(&input, &buffer)) > 0) {
        block->len = (size_t)n;
        memcpy(block->names, unr_buffer_data(&buffer, NULL), block->len);
        unr_buffer_consume(&buffer, block->len);
        if ((n = put(&work, block)) < 0 || (n = put(&ordered, block)) < 0)
            break;
    }
    unr_buffer_free(&buffer);
    unr_channel_close(&work);
    unr_channel_close(&ordered);
    return (int)n;
}

/* ---- the workers ---- */

static int count_bytes(int fd, uint64_t *ret_lines, uint64_t *ret_bytes)
{
    struct unr_op op = { 0 };
    uint64_t      lines = 0, bytes = 0;
    char          text[16384];
    int64_t       n;

    while ((n = unr_await_value(unr_read(&op, fd, text, sizeof text, -1))) > 0) {
        bytes += (uint64_t)n;
        for (const char *at = text; (at = memchr(at, '\n', (size_t)(text + n - at))); at++)
            lines++;
    }
    *ret_lines = lines;
    *ret_bytes = bytes;
    return (int)n;
}

static int count_file(struct unr_buffer *output, const char *name)
{
    struct unr_op op = { 0 };
    char          text[64];
    uint64_t      lines, bytes;

    int fd = (int)unr_await_value(unr_openat(&op, AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0));
    if (fd < 0)
        return fd;
    int error = count_bytes(fd, &lines, &bytes);
    unr_await(unr_close(&op, fd)); /* it supports NONE: it runs whatever was requested */
    if (error)
        return error;
    int len = snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 " ", lines, bytes);
    if ((error = unr_buffer_append(output, text, (size_t)len)) == 0
        && (error = unr_buffer_append(output, name, strlen(name))) == 0)
        error = unr_buffer_append(output, "\n", 1);
    return error;
}

static int count_blocks(void *argument)
{
    struct block *block;
    int           n;

    (void)argument;
    while ((n = take(&work, &block)) > 0) {
        char *rest = block->names, *end = block->names + block->len;
        while (rest < end) {
            char *name = rest;
            rest = memchr(name, '\n', (size_t)(end - name));
            *rest++ = '\0';
            int error = count_file(&block->output, name);
            if (unr_fiber_cancelled())
                return unr_fiber_cancelled();
            if (error) { /* the file's */
                fprintf(stderr, "pipeline: %s: %s\n", name, strerror(-error));
                file_failed = true;
            }
        }
        unr_event_set(&block->counted);
    }
    return n;
}

/* ---- the writer ---- */

static int write_output(struct unr_stream *output, const char *text, size_t len)
{
    struct unr_transfer transfer = { 0 };
    struct unr_result   r = unr_await(unr_write_all(&transfer, output, text, len));

    if (r.error == -ECANCELED && r.bytes > 0 && text[r.bytes - 1] != '\n') {
        struct unr_cancel_scope last_line;
        const char             *end = memchr(text + r.bytes, '\n', len - r.bytes);
        unr_cancel_scope_enter_shield(&last_line, UNR_SEC(1));
        unr_await(
            unr_write_all(&transfer, output, text + r.bytes, (size_t)(end + 1 - text) - r.bytes));
        unr_cancel_scope_leave(&last_line, 0);
    }
    return unr_outcome(&r);
}

static int write_blocks(void *argument)
{
    struct unr_waiter waiter = { 0 };
    struct unr_stream output;
    struct block     *block;
    int64_t           n;

    (void)argument;
    unr_stream_pipe(&output, STDOUT_FILENO);
    while ((n = take(&ordered, &block)) > 0) {
        size_t len;
        if ((n = unr_await_value(unr_event_wait(&waiter, &block->counted))) < 0)
            break;
        const char *text = unr_buffer_data(&block->output, &len);
        if ((n = write_output(&output, text, len)) < 0)
            break;
        unr_buffer_consume(&block->output, len);
        unr_event_reset(&block->counted);
        if ((n = put(&idle, block)) < 0)
            break;
    }
    if (n == 0) /* all is written: the watchers end */
        unr_nursery_cancel(&nursery, UNR_CANCEL_ALL, -ECANCELED);
    return (int)n;
}

/* ---- those who watch ---- */

static int watch_signals(void *argument)
{
    struct unr_sigwait wait = { 0 };
    int64_t            number = unr_await_value(unr_sigwait(&wait, interrupts, 2));

    (void)argument;
    if (number < 0)
        return (int)number;
    signalled = (int)number;
    return -EINTR;
}

/* A poll for nothing ends when the other end of a pipe or socket has gone.  Files have none, and
 * the poll fails. */
static int watch_output(void *argument)
{
    struct unr_op op = { 0 };
    int64_t       n = unr_await_value(unr_poll(&op, STDOUT_FILENO, 0));

    (void)argument;
    if (n < 0)
        return unr_fiber_cancelled();
    return -EPIPE;
}

/* ---- all of them ---- */

static int run(void *argument)
{
    unr_fiber_fn *const fns[] = { read_blocks, write_blocks, watch_signals, watch_output };
    int                 error = 0;

    (void)argument;
    unr_channel_init(&idle, in_idle, sizeof *in_idle, BLOCKS);
    unr_channel_init(&work, in_work, sizeof *in_work, BLOCKS);
    unr_channel_init(&ordered, in_order, sizeof *in_order, BLOCKS);
    for (int i = 0; i < BLOCKS && error == 0; i++) {
        unr_buffer_init(&blocks[i].output, 64 * BLOCK_BYTES);
        error = put(&idle, &blocks[i]);
    }
    unr_nursery_open(&nursery, 0);
    for (int i = 0; i < 4 && error == 0; i++)
        error = unr_nursery_spawn(&nursery, fns[i], NULL);
    for (long i = 0; i < workers && error == 0; i++)
        error = unr_nursery_spawn(&nursery, count_blocks, NULL);
    error = unr_nursery_close(&nursery, error);
    for (int i = 0; i < BLOCKS; i++)
        unr_buffer_free(&blocks[i].output);
    return error;
}

/* Ends the process by a signal that it blocks or ignores, so that a shell is told what happened. */
static void end_by(int number)
{
    sigset_t set;

    signal(number, SIG_DFL);
    raise(number);
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int main(int argc, char **argv)
{
    char *end = NULL;

    if (argc > 1)
        workers = strtol(argv[1], &end, 10);
    if (argc > 2 || (end && *end) || workers < 1 || workers > 1000)
        die(0, "Usage: pipeline [WORKERS], at most 1000; names of files are its input");
    signal(SIGPIPE, SIG_IGN); /* the writer is told */
    block_interrupts();
    int error = unr_run_fiber(NULL, run, NULL);
    if (error == -EINTR)
        end_by(signalled);
    if (error == -EPIPE)
        end_by(SIGPIPE);
    if (error < 0)
        die(error == -ENOBUFS ? 0 : error, error == -ENOBUFS ? "a name is too long" : "pipeline");
    return file_failed ? 1 : 0;
}
