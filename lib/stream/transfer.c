/* SPDX-License-Identifier: MIT */
/* Transfers: reads or writes on a stream, one after another, until a condition ends them.  stream.c
 * has the single read or write, reader.c the reads that look for something in the bytes. */
#include "../core/contract.h"
#include "stream.h"

#include <unring.h>

/* ---- conditions ---- */

size_t unr_transfer_all(void *context, int error, size_t bytes)
{
    (void)context, (void)bytes;
    return error ? 0 : SIZE_MAX;
}

size_t unr_transfer_at_least(void *context, int error, size_t bytes)
{
    return error || bytes >= (uintptr_t)context ? 0 : SIZE_MAX;
}

size_t unr_transfer_exactly(void *context, int error, size_t bytes)
{
    size_t goal = (uintptr_t)context;
    return error || bytes >= goal ? 0 : goal - bytes;
}

/* ---- the pieces ---- */

/* Moves on by `bytes` in the caller's pieces, and past the empty ones that follow: so the first
 * piece that is left always has a byte to move. */
static void use_up(struct unr_transfer *transfer, size_t bytes)
{
    struct unr_transfer_private *p = &transfer->private_fields;
    size_t                       used = p->first_used + bytes;
    while (p->pieces_left && used >= p->pieces->iov_len) {
        used -= p->pieces->iov_len;
        p->pieces++;
        p->pieces_left--;
    }
    p->first_used = used;
}

/* Fills the window, which is lent to the next step, with the next `limit` bytes at most.  The
 * window is a copy, because its first piece may be used up in part and its last cut off by the
 * limit, and the caller's array is not written to.  Returns how many pieces it has: none of them
 * empty, and 16 at most. */
static unsigned fill_window(struct unr_transfer *transfer, size_t limit)
{
    struct unr_transfer_private *p = &transfer->private_fields;
    unsigned                     filled = 0;
    size_t                       used = p->first_used, room = limit;
    for (unsigned i = 0; i < p->pieces_left && filled < UNR_TRANSFER_PIECES && room; i++) {
        const struct iovec *piece = &p->pieces[i];
        size_t              len = piece->iov_len - used < room ? piece->iov_len - used : room;
        if (len)
            p->window[filled++] = (struct iovec){ (char *)piece->iov_base + used, len };
        room -= len;
        used = 0;
    }
    p->asked = limit - room;
    return filled;
}

/* ---- the steps ---- */

/* Accounts for the bytes that a step has moved: in the result, in the stream, in the pieces. */
static void count(struct unr_transfer *transfer, uint64_t bytes)
{
    if (bytes > transfer->private_fields.asked)
        unri_broken("a step that moved more than it was asked to", &transfer->op,
                    "a stream's read_some and write_some move at most what their pieces hold");
    transfer->op.result.bytes += bytes;
    if (transfer->private_fields.direction == UNR_READ)
        unri_was_read(transfer->private_fields.stream, bytes);
    else
        unri_was_written(transfer->private_fields.stream, bytes);
    use_up(transfer, (size_t)bytes);
}

/* Asks the condition how many bytes the next step may move; 0 also where no piece is left.  The
 * condition is called in either case: its contract is a call after each step. */
static size_t ask_condition(struct unr_transfer *transfer, int error)
{
    struct unr_transfer_private *p = &transfer->private_fields;
    size_t limit = p->condition(p->context, error, (size_t)transfer->op.result.bytes);
    return p->pieces_left ? limit : 0;
}

static struct unr_op *next_step(struct unr_transfer *transfer, size_t limit)
{
    struct unr_transfer_private *p = &transfer->private_fields;
    unsigned                     n = fill_window(transfer, limit);
    return p->direction == UNR_READ
               ? unri_step_read(&transfer->op, &p->some, p->stream, p->window, n)
               : unri_step_write(&transfer->op, &p->some, p->stream, p->window, n);
}

/* Begins the next step, or ends with `error` if the step may move nothing. */
static void go_on(struct unr_transfer *transfer, size_t limit, int error)
{
    struct unr_compose *self = &transfer->private_fields.compose;
    if (limit)
        unr_compose_next(self, next_step(transfer, limit));
    else
        unr_compose_end(self, error);
}

/* A request that was let in ends the transfer between two steps.  The next step would be ended
 * before it begins (rule 12), but only if it honours requests, and a step of a layer may honour
 * none.  The condition hears of the cancellation, and has no say in it. */
static void go_on_unless_cancelled(struct unr_transfer *transfer, size_t limit)
{
    if (limit && unr_state_cancelled(unr_compose_state(&transfer->private_fields.compose))) {
        ask_condition(transfer, -ECANCELED);
        go_on(transfer, 0, -ECANCELED);
    } else {
        go_on(transfer, limit, 0);
    }
}

/* A step that moved nothing and gave no reason: a read has come to the end of the stream, and a
 * write must not do so, or the transfer would go round and round. */
static int error_of(const struct unr_transfer *transfer, const struct unr_result *r)
{
    if (r->error || r->bytes)
        return r->error;
    return transfer->private_fields.direction == UNR_READ ? -ENODATA : -EIO;
}

/* Bytes beat errors: a step may have moved bytes and ended with an error, and the condition is
 * asked about the bytes first.  If these were all that it wanted, the transfer is a success, though
 * it was cancelled or its last step failed (rule 3).  Then the condition is asked about the error,
 * and may have the step tried again, unless the error is one behind which nothing can come. */
static void after_step(struct unr_transfer *transfer, const struct unr_result *r)
{
    int  error = error_of(transfer, r);
    bool is_over = !r->error || error == -ECANCELED || error == -ENODATA;
    count(transfer, r->bytes);
    if (r->bytes) {
        size_t limit = ask_condition(transfer, 0);
        if (!limit || !error) {
            go_on_unless_cancelled(transfer, limit);
            return;
        }
    }
    size_t limit = ask_condition(transfer, error);
    go_on(transfer, is_over ? 0 : limit, error);
}

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_transfer *transfer =
        unr_container_of(self, struct unr_transfer, private_fields.compose);
    if (finished)
        after_step(transfer, &finished->result);
    else
        go_on(transfer, ask_condition(transfer, 0), 0);
}

/* ---- describing ---- */

static void describe(struct unr_transfer *transfer, const char *name, struct unr_stream *stream,
                     enum unr_direction direction, unr_condition_fn *condition, void *context)
{
    struct unr_transfer_private *p = &transfer->private_fields;
    unr_compose(&p->compose, name, UNR_CANCEL_PARTIAL, step);
    p->stream = stream;
    p->direction = direction;
    p->condition = condition;
    p->context = context;
}

static struct unr_op *with_pieces(struct unr_transfer *transfer, const struct iovec *iov,
                                  unsigned n)
{
    struct unr_transfer_private *p = &transfer->private_fields;
    p->pieces = iov;
    p->pieces_left = n;
    p->first_used = 0;
    use_up(transfer, 0);
    return &transfer->op;
}

static struct unr_op *with_buffer(struct unr_transfer *transfer, const void *buf, size_t len)
{
    struct unr_transfer_private *p = &transfer->private_fields;
    p->only_piece = (struct iovec){ (void *)buf, len };
    return with_pieces(transfer, &p->only_piece, 1);
}

struct unr_op *unr_write_all(struct unr_transfer *transfer, struct unr_stream *stream,
                             const void *buf, size_t len)
{
    describe(transfer, "write_all", stream, UNR_WRITE, unr_transfer_all, NULL);
    return with_buffer(transfer, buf, len);
}

struct unr_op *unr_read_exact(struct unr_transfer *transfer, struct unr_stream *stream, void *buf,
                              size_t len)
{
    describe(transfer, "read_exact", stream, UNR_READ, unr_transfer_all, NULL);
    return with_buffer(transfer, buf, len);
}

struct unr_op *unr_read_at_least(struct unr_transfer *transfer, struct unr_stream *stream,
                                 void *buf, size_t len, size_t at_least)
{
    describe(transfer, "read_at_least", stream, UNR_READ, unr_transfer_at_least,
             (void *)(uintptr_t)at_least);
    return with_buffer(transfer, buf, len);
}

struct unr_op *unr_writev_all(struct unr_transfer *transfer, struct unr_stream *stream,
                              const struct iovec *iov, unsigned n)
{
    describe(transfer, "writev_all", stream, UNR_WRITE, unr_transfer_all, NULL);
    return with_pieces(transfer, iov, n);
}

struct unr_op *unr_readv_exact(struct unr_transfer *transfer, struct unr_stream *stream,
                               const struct iovec *iov, unsigned n)
{
    describe(transfer, "readv_exact", stream, UNR_READ, unr_transfer_all, NULL);
    return with_pieces(transfer, iov, n);
}

struct unr_op *unr_transfer_while(struct unr_transfer *transfer, struct unr_stream *stream,
                                  enum unr_direction direction, const struct iovec *iov, unsigned n,
                                  unr_condition_fn *condition, void *context)
{
    describe(transfer, "transfer_while", stream, direction, condition, context);
    return with_pieces(transfer, iov, n);
}
