/* SPDX-License-Identifier: MIT */
/* Transfers: reads or writes on a stream, one after another, until a condition ends them. */
#include "../core/contract.h"

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

/* ---- the memory ---- */

/* Takes `bytes`, and empty pieces behind them, off what is left. */
static void use_up(struct unr_transfer *transfer, size_t bytes)
{
    size_t used = transfer->private_fields.used + bytes;
    while (transfer->private_fields.count && used >= transfer->private_fields.pieces->iov_len) {
        used -= transfer->private_fields.pieces->iov_len;
        transfer->private_fields.pieces++;
        transfer->private_fields.count--;
    }
    transfer->private_fields.used = used;
}

/* Fills the window with what comes next, at most `limit` bytes.  How many pieces that are. */
static unsigned fill_window(struct unr_transfer *transfer, size_t limit)
{
    unsigned filled = 0;
    size_t   used = transfer->private_fields.used, room = limit;
    for (unsigned i = 0; i < transfer->private_fields.count && filled < UNR_TRANSFER_PIECES && room;
         i++, used = 0) {
        const struct iovec *piece = &transfer->private_fields.pieces[i];
        size_t              len = piece->iov_len - used < room ? piece->iov_len - used : room;
        if (!len)
            continue;
        transfer->private_fields.window[filled++] =
            (struct iovec){ (char *)piece->iov_base + used, len };
        room -= len;
    }
    transfer->private_fields.asked = limit - room;
    return filled;
}

/* ---- the steps ---- */

static void count(struct unr_transfer *transfer, uint64_t bytes)
{
    if (bytes > transfer->private_fields.asked)
        unri_broken("a step that moved more than it was asked to", &transfer->op,
                    "a stream's read_some and write_some move at most what their pieces hold");
    transfer->op.result.bytes += bytes;
    unr_stream_moved(transfer->private_fields.stream, bytes);
    use_up(transfer, (size_t)bytes);
}

/* What the condition lets the next step move; nothing where there is no memory for it. */
static size_t ask(struct unr_transfer *transfer, int error)
{
    size_t limit = transfer->private_fields.condition(transfer->private_fields.context, error,
                                                      (size_t)transfer->op.result.bytes);
    return transfer->private_fields.count ? limit : 0;
}

static struct unr_op *next_step(struct unr_transfer *transfer, size_t limit)
{
    unsigned n = fill_window(transfer, limit);
    return transfer->private_fields.direction == UNR_READ
               ? unr_read_some(&transfer->private_fields.some, transfer->private_fields.stream,
                               transfer->private_fields.window, n)
               : unr_write_some(&transfer->private_fields.some, transfer->private_fields.stream,
                                transfer->private_fields.window, n);
}

static void go_on(struct unr_transfer *transfer, size_t limit, int error)
{
    if (limit)
        unr_compose_next(&transfer->private_fields.compose, next_step(transfer, limit));
    else
        unr_compose_end(&transfer->private_fields.compose, error);
}

/* A request ends it here, before the next step does: a layer's steps may honour none. */
static void go_on_unless_cancelled(struct unr_transfer *transfer, size_t limit)
{
    if (limit && unr_state_cancelled(unr_compose_state(&transfer->private_fields.compose))) {
        ask(transfer, -ECANCELED);
        go_on(transfer, 0, -ECANCELED);
    } else {
        go_on(transfer, limit, 0);
    }
}

static int error_of(const struct unr_transfer *transfer, const struct unr_result *r)
{
    if (r->error || r->bytes)
        return r->error;
    return transfer->private_fields.direction == UNR_READ ? -ENODATA : -EIO;
}

/* Finished beats cancelled, and failed: what was moved is asked about before the error is. */
static void after_step(struct unr_transfer *transfer, const struct unr_result *r)
{
    int  error = error_of(transfer, r);
    bool nothing_to_go_on_with = !r->error || error == -ECANCELED || error == -ENODATA;
    count(transfer, r->bytes);
    if (r->bytes) {
        size_t limit = ask(transfer, 0);
        if (!limit || !error) {
            go_on_unless_cancelled(transfer, limit);
            return;
        }
    }
    size_t limit = ask(transfer, error);
    go_on(transfer, nothing_to_go_on_with ? 0 : limit, error);
}

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_transfer *transfer =
        unr_container_of(self, struct unr_transfer, private_fields.compose);
    if (finished)
        after_step(transfer, &finished->result);
    else
        go_on(transfer, ask(transfer, 0), 0);
}

/* ---- describing ---- */

static void describe(struct unr_transfer *transfer, const char *name, struct unr_stream *stream,
                     enum unr_direction direction, unr_condition_fn *condition, void *context)
{
    unr_compose(&transfer->private_fields.compose, name, UNR_CANCEL_PARTIAL, step);
    transfer->private_fields.stream = stream;
    transfer->private_fields.direction = direction;
    transfer->private_fields.condition = condition;
    transfer->private_fields.context = context;
}

static struct unr_op *with_pieces(struct unr_transfer *transfer, const struct iovec *iov,
                                  unsigned n)
{
    transfer->private_fields.pieces = iov;
    transfer->private_fields.count = n;
    transfer->private_fields.used = 0;
    use_up(transfer, 0);
    return &transfer->op;
}

static struct unr_op *with_buffer(struct unr_transfer *transfer, const void *buf, size_t len)
{
    transfer->private_fields.whole = (struct iovec){ (void *)buf, len };
    return with_pieces(transfer, &transfer->private_fields.whole, 1);
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
