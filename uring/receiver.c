/* SPDX-License-Identifier: MIT */
/* Receivers: a multishot poll stays armed for a descriptor, and tells when there is something to
 * read.  A read waits in user space, and takes what is there with recv(2); so it is cancelled by
 * being forgotten.
 *
 * The poll tells of what comes, not of what is left.  So READY is kept between two reads until one
 * has found nothing.  Nobody else reads, so a byte that comes afterwards makes the poll tell again.
 * A short recv(2) does not say that nothing is left: an end or an error behind the data came with
 * the data's own news and brings no further one, and recv(2) stops at urgent data, at descriptors
 * that are passed, at a record of kTLS. */
#include "../lib/core/cancel.h"
#include "../lib/core/contract.h"
#include "enter.h"
#include "receiver.h"
#include "row.h"

#include <limits.h>
#include <poll.h>
#include <sys/uio.h>

/* ---- states ---- */

/* In unr_receiver_private.state. */
enum {
    ARMED = 1 << 0,   /* `armed` is in flight, until armed_done() */
    READY = 1 << 1,   /* something may be there */
    STOPPED = 1 << 2, /* it is not to be armed again */
};

static struct unr_receiver_private *receiver_of_armed(struct unr_op *armed)
{
    return unr_container_of(armed, struct unr_receiver_private, armed);
}

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

/* Tries to read for the read that waits, and ends it if anything came of that. */
static void attempt(struct unr_receiver_private *r)
{
    struct unr_op               *op = r->read;
    const struct unr_op_private *p = &op->private_fields;
    void                        *address = (void *)(uintptr_t)p->address;
    struct iovec                 room = { address, p->length };
    if (r->source == UNRI_SOURCE_UNKNOWN)
        r->source = (uint8_t)unri_enter_source(r->fd);
    ssize_t n = p->other_fd ? unri_enter_receive(r->fd, r->source, address, (unsigned)p->other_fd)
                            : unri_enter_receive(r->fd, r->source, &room, 1);
    if (n == -EAGAIN) {
        r->state &= (uint8_t)~READY;
        return;
    }
    r->read = NULL;
    op->result.bytes = n > 0 ? (uint64_t)n : 0;
    if (n < 0)
        unri_end_uncancelled(op, (int)n);
    else
        unri_end(op, 0);
}

static void arm(struct unr_receiver_private *r);

static void read_start(struct unr_op *op)
{
    struct unr_receiver_private *r = receiver_of(op);
    unri_set_op_state(op, UNRI_IN_FLIGHT);
    check_loop(r, op);
    if (unlikely(r->read != NULL))
        unri_broken("a second read of a receiver", op, "a receiver serves one read at a time");
    if (unlikely(unri_comes_too_late(op))) {
        unri_end_too_late(op);
    } else if (unlikely(r->state & STOPPED || r->armed.private_fields.flags & UNRI_HONOURED)) {
        unri_end(op, -ESHUTDOWN);
    } else if (unlikely(!op->private_fields.length)) {
        unri_end(op, -EINVAL);
    } else {
        r->read = op;
        if (unlikely(!(r->state & ARMED)))
            arm(r);
        if (r->state & READY)
            attempt(r);
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
    .private_fields = { .kind = UNRI_PARKED, .descriptors = 1 },
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

struct unr_op *unr_receive(struct unr_op *op, struct unr_receiver *receiver, void *buf, size_t len)
{
    struct unr_op_private *p = unri_private(describe(op, &receive, receiver));
    p->address = (uintptr_t)buf;
    p->length = len < INT_MAX ? (uint32_t)len : INT_MAX;
    return op;
}

struct unr_op *unri_receive_pieces(struct unr_op *op, struct unr_receiver *receiver,
                                   const struct iovec *pieces, unsigned n)
{
    struct unr_op_private *p = unri_private(describe(op, &receive, receiver));
    size_t                 len = 0;
    for (unsigned i = 0; i < n; i++)
        len += pieces[i].iov_len;
    p->address = (uintptr_t)pieces;
    p->other_fd = (int32_t)n;
    p->length = len < INT_MAX ? (uint32_t)len : INT_MAX;
    return op;
}

/* ---- the poll ---- */

static bool fill_poll(struct io_uring_sqe *sqe, struct unr_op *op)
{
    (void)op;
    sqe->len = IORING_POLL_ADD_MULTI;
    sqe->poll32_events = POLLIN | POLLRDHUP;
    return true;
}

static void poll_shot(struct unr_op *op, int res, unsigned cqe_flags)
{
    struct unr_receiver_private *r = receiver_of_armed(op);
    (void)cqe_flags;
    if (res < 0)
        return; /* the last one: armed_done() has its error */
    r->state |= READY;
    if (r->read)
        attempt(r);
}

static const struct unri_row poll_row = {
    .type = { .size = sizeof(struct unr_op_type),
              .supports = UNR_CANCEL_ALL,
              .name = "receiver",
              .start = unri_row_start,
              .cancel = unri_row_cancel,
              .private_fields = { .kind = UNRI_ARMED, .descriptors = 1 } },
    .opcode = IORING_OP_POLL_ADD,
    .yields = UNRI_YIELDS_EVENTS,
    .is_special = true,
    .repeats = true,
    .fill = fill_poll,
    .shot = poll_shot,
};

static void stop(struct unr_receiver_private *r)
{
    struct unr_op *op = r->stop;
    r->state |= STOPPED;
    r->stop = NULL;
    if (op)
        unri_end(op, 0);
}

/* The kernel has let go: because it was asked to; because the CQ was full, or a stranger has
 * cancelled the poll, and it is armed again; or because it cannot poll this descriptor. */
static void armed_done(struct unr_op *op)
{
    struct unr_receiver_private *r = receiver_of_armed(op);
    int                          error = op->result.error;
    r->state &= (uint8_t)~ARMED;
    op->private_fields.loop->armed--;
    if (r->stop || error == -ECANCELED) {
        stop(r);
    } else if (error && error != -EINTR) {
        struct unr_op *read = r->read;
        r->read = NULL;
        if (read)
            unri_end(read, error);
    } else if (r->read) {
        arm(r);
    }
}

/* A closing loop has asked all that is armed to end, once. */
static void arm(struct unr_receiver_private *r)
{
    struct unr_loop       *loop = r->armed.private_fields.loop;
    struct unr_op_private *p = unri_private(unr_describe(&r->armed, &poll_row.type));
    if (loop->closing) {
        stop(r);
        return;
    }
    p->fd = r->fd;
    p->other_fd = 0;
    p->address = p->offset = 0;
    r->state |= ARMED;
    loop->armed++;
    unri_start_housekeeping(loop, &r->armed, armed_done);
}

void unr_receiver_init(struct unr_receiver *receiver, struct unr_loop *loop, struct unr_pool *pool,
                       int fd, uint32_t credit)
{
    struct unr_receiver_private *r = &receiver->private_fields;
    (void)credit;
    unri_check_thread(loop);
    if (unlikely(unri_live(&r->armed)))
        unri_broken("a receiver that is initialised while it is armed", NULL,
                    "a receiver is stopped first");
    if (pool)
        unri_broken("a receiver with a pool", NULL, "there are no pools yet");
    *r = (struct unr_receiver_private){ .fd = fd };
    r->armed.private_fields.loop = loop;
    arm(r);
}

enum unri_source unri_receiver_source(struct unr_receiver *receiver)
{
    struct unr_receiver_private *r = &receiver->private_fields;
    if (r->source == UNRI_SOURCE_UNKNOWN)
        r->source = (uint8_t)unri_enter_source(r->fd);
    return r->source;
}

/* ---- its end ---- */

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
    if (r->state & ARMED)
        unri_request(&r->armed, request);
    else
        stop(r);
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
