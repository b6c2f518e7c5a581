/* SPDX-License-Identifier: MIT */
/* Receivers: one call stays armed for a descriptor, and a read is a pointer in user space; so it is
 * cancelled by being forgotten.  receiver.h has the map of the other files. */
#include "receiver.h"
#include "../lib/core/cancel.h"
#include "../lib/core/contract.h"
#include "arrivals.h"
#include "row.h"

#include <limits.h>
#include <sys/uio.h>

static_assert(sizeof(struct unr_receiver) <= 192, "three cache lines");

enum { CREDIT = 65536 };

/* The receiver of a read or a stop is kept where a system call has its offset. */
static struct unr_receiver_private *receiver_of(const struct unr_op *op)
{
    return (struct unr_receiver_private *)(uintptr_t)op->private_fields.offset;
}

static void check_loop(const struct unr_receiver_private *r, const struct unr_op *op)
{
    if (unlikely(op->private_fields.loop != r->armed.private_fields.loop))
        unri_broken("started on another loop than its receiver's", op, "a receiver is one loop's");
}

/* ---- a read ---- */

static void wait_for_news(struct unr_receiver_private *r)
{
    unri_receiver_go_on(r);
    if (r->state & UNRI_RECEIVER_READY && !unri_receiver_attempt(r))
        r->state &= (uint8_t)~UNRI_RECEIVER_READY;
}

/* The end is told once, and the next read asks the kernel again. */
static void tell_end(struct unr_receiver_private *r)
{
    r->state &= (uint8_t)~UNRI_RECEIVER_ENDED;
    unri_receiver_fail(r, r->error);
}

static void read_start(struct unr_op *op)
{
    struct unr_receiver_private *r = receiver_of(op);
    unri_set_op_state(op, UNRI_IN_FLIGHT);
    check_loop(r, op);
    if (unlikely(r->read != NULL))
        unri_broken("a second read of a receiver", op, "a receiver serves one read at a time");
    if (unlikely(unri_comes_too_late(op))) {
        unri_end_too_late(op);
        return;
    }
    if (unlikely(!op->private_fields.length)) {
        unri_end(op, -EINVAL);
        return;
    }
    r->read = op;
    if (r->pool && unri_arrivals_exist(r)) {
        unri_receiver_serve(r);
        unri_receiver_go_on(r);
    } else if (unlikely(r->state & UNRI_RECEIVER_STOPPED
                        || r->armed.private_fields.flags & UNRI_HONOURED)) {
        unri_receiver_fail(r, -ESHUTDOWN);
    } else if (unlikely(r->state & UNRI_RECEIVER_ENDED)) {
        tell_end(r);
    } else {
        wait_for_news(r);
    }
}

static void read_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)request;
    receiver_of(op)->read = NULL;
    unri_end(op, -ECANCELED);
}

static const struct unr_op_type receive = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "receive",
    .start = read_start,
    .cancel = read_cancel,
    .private_fields = { .kind = UNRI_PARKED, .descriptors = 1, .lend = unri_receiver_lend },
};

static struct unr_op *describe(struct unr_op *op, const struct unr_op_type *type,
                               struct unr_receiver *receiver)
{
    struct unr_receiver_private *r = &receiver->private_fields;
    struct unr_op_private       *p = unri_private(unr_describe(op, type));
    p->fd = r->fd;
    p->other_fd = 0;
    p->address = 0;
    p->offset = (uintptr_t)r;
    return op;
}

static struct unr_op *describe_read(struct unr_op *op, struct unr_receiver *receiver,
                                    const void *memory, size_t len, int what)
{
    struct unr_op_private *p = unri_private(describe(op, &receive, receiver));
    p->address = (uintptr_t)memory;
    p->length = len < INT_MAX ? (uint32_t)len : INT_MAX;
    p->other_fd = what;
    return op;
}

struct unr_op *unr_receive(struct unr_op *op, struct unr_receiver *receiver, void *buf, size_t len)
{
    return describe_read(op, receiver, buf, len, UNRI_READ_BUFFER);
}

struct unr_op *unr_receive_message(struct unr_op *op, struct unr_receiver *receiver,
                                   struct msghdr *message)
{
    return describe_read(op, receiver, message, 1, UNRI_READ_MESSAGE);
}

struct unr_op *unri_receive_pieces(struct unr_op *op, struct unr_receiver *receiver,
                                   const struct iovec *pieces, unsigned n)
{
    size_t len = 0;
    for (unsigned i = 0; i < n; i++)
        len += pieces[i].iov_len;
    return describe_read(op, receiver, pieces, len, (int)n);
}

struct unr_op *unr_receive_view(struct unr_op *op, struct unr_receiver *receiver)
{
    if (unlikely(!receiver->private_fields.pool))
        unri_broken("unr_receive_view without a pool", NULL,
                    "a receiver without a pool keeps no bytes: unr_receive() copies them");
    return describe_read(op, receiver, NULL, 1, UNRI_READ_VIEW);
}

/* ---- taking what was shown ---- */

static struct unr_receiver_private *that_keeps_bytes(struct unr_receiver *receiver)
{
    struct unr_receiver_private *r = &receiver->private_fields;
    if (unlikely(!r->pool))
        unri_broken("bytes taken out of a receiver without a pool", NULL,
                    "a receiver without a pool keeps no bytes: unr_receive() copies them");
    if (likely(r->pool->loop != NULL))
        unri_check_thread(r->pool->loop);
    return r;
}

void unr_receiver_consume(struct unr_receiver *receiver, size_t len)
{
    struct unr_receiver_private *r = that_keeps_bytes(receiver);
    if (unlikely(r->messages ? !unri_arrivals_exist(r) : len > r->held))
        unri_broken("unr_receiver_consume of more than there is", NULL,
                    "what is consumed is what unr_receiver_data() and unr_receiver_pieces() show");
    unri_arrivals_consume(r, len);
    unri_receiver_go_on(r);
}

void *unr_receiver_keep(struct unr_receiver *receiver, size_t *ret_len)
{
    struct unr_receiver_private *r = that_keeps_bytes(receiver);
    void                        *data = unr_receiver_data(receiver, ret_len);
    if (data) {
        unri_arrivals_detach(r);
        unri_receiver_go_on(r);
    }
    return data;
}

/* ---- its begin and its end ---- */

void unr_receiver_init(struct unr_receiver *receiver, struct unr_loop *loop, struct unr_pool *pool,
                       int fd, uint32_t credit)
{
    struct unr_receiver_private *r = &receiver->private_fields;
    unri_check_thread(loop);
    if (unlikely(unri_live(&r->armed)))
        unri_broken("a receiver that is initialised while it is armed", NULL,
                    "a receiver is stopped first");
    if (unlikely(pool && pool->loop != loop))
        unri_broken("a receiver with the pool of another loop", NULL, "a pool is one loop's");
    *r = (struct unr_receiver_private){ .pool = pool, .fd = fd };
    r->credit = credit ? credit : CREDIT;
    if (r->credit > INT32_MAX)
        r->credit = INT32_MAX;
    if (pool) {
        unri_arrivals_init(r);
        r->source = UNRI_SOURCE_SOCKET;
        r->messages = unri_enter_carries(fd) != UNRI_CARRIES_BYTES;
        if (!r->messages && unri_enter_is_local_stream(fd))
            r->state |= UNRI_RECEIVER_LOCAL;
    }
    unri_receiver_begin(r, loop);
}

enum unri_source unri_receiver_source(struct unr_receiver *receiver)
{
    struct unr_receiver_private *r = &receiver->private_fields;
    if (r->source == UNRI_SOURCE_UNKNOWN)
        r->source = (uint8_t)unri_enter_source(r->fd);
    return r->source;
}

static void stop_start(struct unr_op *op)
{
    const struct unr_cancel_request request = { UNR_CANCEL_ALL, -ECANCELED };
    struct unr_receiver_private    *r = receiver_of(op);
    unri_set_op_state(op, UNRI_IN_FLIGHT);
    check_loop(r, op);
    if (unlikely(r->stop != NULL))
        unri_broken("a second stop of a receiver", op, "a receiver is stopped once");
    r->stop = op;
    if (r->read)
        unri_request_in_time(r->read, request);
    if (unri_live(&r->armed))
        unri_request(&r->armed, request);
    else
        unri_receiver_stopped(r);
}

static const struct unr_op_type receiver_stop = {
    .size = sizeof(struct unr_op_type),
    .name = "receiver_stop",
    .start = stop_start,
    .private_fields = { .kind = UNRI_PARKED, .descriptors = 1 },
};

struct unr_op *unr_receiver_stop(struct unr_op *op, struct unr_receiver *receiver)
{
    return describe(op, &receiver_stop, receiver);
}

void unr_receiver_free(struct unr_receiver *receiver)
{
    struct unr_receiver_private *r = &receiver->private_fields;
    if (unlikely(unri_live(&r->armed)))
        unri_broken("unr_receiver_free of a receiver that is armed", NULL,
                    "a receiver is freed when it was stopped, or its descriptor or loop closed");
    while (r->pool && unri_arrivals_exist(r))
        unri_pool_put(r->pool, unri_arrivals_detach(r));
}
