/* SPDX-License-Identifier: MIT */
/* Transfers: reads or writes on a stream, one after another, until a condition ends them.  stream.c
 * has the single read or write, reader.c the reads that look for something in the bytes. */
#include "../core/contract.h"
#include "stream.h"

#include <unring.h>

/* How many pieces fit the window, which is lent to a step where the caller's array cannot be. */
enum { WINDOW = sizeof((struct unr_transfer_private *)0)->window / sizeof(struct iovec) };

static_assert(sizeof(struct unr_transfer) <= 496, "each connection has one");

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

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* `first` is what is left of the piece that is next; it has a byte to move, unless nothing is left
 * at all.  The others are behind it, in the caller's array. */

static bool is_used_up(const struct unr_transfer_private *p)
{
    return !p->first.iov_len;
}

/* Moves on by `bytes` in the pieces, and past the empty ones that follow. */
static void use_up(struct unr_transfer *transfer, size_t bytes)
{
    struct unr_transfer_private *p = &transfer->private_fields;
    while (p->behind_left && bytes >= p->first.iov_len) {
        bytes -= p->first.iov_len;
        p->first = *p->behind++;
        p->behind_left--;
    }
    if (bytes)
        p->first.iov_base = (char *)p->first.iov_base + bytes;
    p->first.iov_len -= bytes;
}

/* Fills the window, a copy that may be lent to the next step, with the next `limit` bytes at most.
 * Returns how many pieces it has: none of them empty. */
static unsigned fill_window(struct unr_transfer_private *p, size_t limit)
{
    unsigned filled = 1;
    size_t   room = limit - min(limit, p->first.iov_len);
    p->window[0] = (struct iovec){ p->first.iov_base, limit - room };
    for (unsigned i = 0; i < p->behind_left && filled < WINDOW && room; i++) {
        const struct iovec *piece = &p->behind[i];
        size_t              len = min(room, piece->iov_len);
        if (len)
            p->window[filled++] = (struct iovec){ piece->iov_base, len };
        room -= len;
    }
    p->asked = limit - room;
    return filled;
}

/* Counts the pieces that may be lent to the next step where they are, in the caller's array, with
 * `limit` bytes at most.  The array is not written to, so there are none if the first piece is used
 * up in part; and no empty piece is lent, nor one that the limit cuts off. */
static unsigned count_in_array(struct unr_transfer_private *p, size_t limit)
{
    const struct iovec *pieces = p->behind - 1;
    unsigned            n = 0;
    size_t              room = limit;
    if (pieces->iov_base != p->first.iov_base)
        return 0;
    while (n <= p->behind_left && n < UNR_TRANSFER_PIECES && pieces[n].iov_len
           && pieces[n].iov_len <= room)
        room -= pieces[n++].iov_len;
    p->asked = limit - room;
    return n;
}

/* Chooses the pieces of the next step, 16 at most: those in the caller's array, unless the window
 * has room for as many. */
static unsigned next_pieces(struct unr_transfer_private *p, size_t limit,
                            const struct iovec **ret_pieces)
{
    unsigned n = p->behind_left < WINDOW ? 0 : count_in_array(p, limit);
    *ret_pieces = n > WINDOW ? p->behind - 1 : p->window;
    return n > WINDOW ? n : fill_window(p, limit);
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

/* Asks the condition how many bytes the next step may move; 0 also where nothing is left.  The
 * condition is called in either case: its contract is a call after each step. */
static size_t ask_condition(struct unr_transfer *transfer, int error)
{
    struct unr_transfer_private *p = &transfer->private_fields;
    size_t limit = p->condition(p->context, error, (size_t)transfer->op.result.bytes);
    return is_used_up(p) ? 0 : limit;
}

static struct unr_op *next_step(struct unr_transfer *transfer, size_t limit)
{
    struct unr_transfer_private *p = &transfer->private_fields;
    const struct iovec          *pieces;
    unsigned                     n = next_pieces(p, limit, &pieces);
    return p->direction == UNR_READ
               ? unri_step_read(&transfer->op, &p->some, p->stream, pieces, n)
               : unri_step_write(&transfer->op, &p->some, p->stream, pieces, n);
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
    p->first = (struct iovec){ NULL, 0 };
    p->behind = iov;
    p->behind_left = n;
    use_up(transfer, 0);
    return &transfer->op;
}

static struct unr_op *with_buffer(struct unr_transfer *transfer, const void *buf, size_t len)
{
    struct unr_transfer_private *p = &transfer->private_fields;
    p->first = (struct iovec){ (void *)buf, len };
    p->behind_left = 0;
    return &transfer->op;
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
