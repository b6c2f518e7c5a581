/* SPDX-License-Identifier: MIT */
/* What a receiver keeps armed in the kernel: a multishot poll, or with a pool a multishot receive,
 * or with a pool that the kernel does not know a poll that tells once.
 * One operation stands for the receiver in flight, from its init until it is stopped.  While
 * nothing is armed the operation waits without an SQE, and it is queued again when something is to
 * be armed.
 *
 * The poll tells of what comes, not of what is left.  So READY is kept between two reads until one
 * has found nothing.  Nobody else reads, so a byte that comes afterwards makes the poll tell again.
 * A short recv(2) does not say that nothing is left: an end or an error behind the data came with
 * the data's own news and brings no further one, and recv(2) stops at urgent data, at descriptors
 * that are passed, at a record of kTLS.
 *
 * The receive ends when the receiver's credit is used up: the kernel counts (a limit), or where it
 * cannot, the receive is cancelled.  It is armed again when half of the credit is free.
 *
 * Without a buffer the kernel ends a receive, tells nothing of an end, and would do the same again
 * at once.  A receiver with a read then reads by recv(2), and so it depends on nobody else's
 * buffers; one that finds nothing there is armed to wait for something first.  A receiver without a
 * read waits in line for a buffer, and so does one whose read is to show a buffer where none is
 * left.  Each buffer that comes back arms one of them.
 *
 * With a pool that the kernel does not know, a receiver is without a buffer from the first.  So it
 * is in line unless a read has found nothing and is armed for, and nothing is read for nobody. */
#include "../lib/core/cancel.h"
#include "arrivals.h"
#include "cancel.h"
#include "message.h"
#include "receiver.h"
#include "row.h"

#include <poll.h>

static struct unr_receiver_private *receiver_of(struct unr_op *armed)
{
    return unr_container_of(armed, struct unr_receiver_private, armed);
}

/* Tells whether the operation that stands for the receiver waits without an SQE. */
static bool is_idle(const struct unr_receiver_private *r)
{
    const struct unr_op_private *p = &r->armed.private_fields;
    return (p->state == UNRI_IN_FLIGHT || p->state == UNRI_CANCELLING) && !(p->flags & UNRI_AWAITS);
}

static void arm(struct unr_receiver_private *r)
{
    unri_enqueue_again(&r->armed);
    unri_notice(r->armed.private_fields.loop);
}

/* ---- the line for buffers ---- */

static void leave_line(struct unr_receiver_private *r)
{
    if (r->state & UNRI_RECEIVER_IN_LINE)
        unri_queue_remove(&r->pool->idle, &r->armed);
    else if (r->state & UNRI_RECEIVER_READS_IN_LINE)
        unri_queue_remove(&r->pool->readers, &r->armed);
    r->state &= (uint8_t) ~(UNRI_RECEIVER_IN_LINE | UNRI_RECEIVER_READS_IN_LINE);
}

static void join_line(struct unr_receiver_private *r, bool reads)
{
    leave_line(r);
    r->state |= reads ? UNRI_RECEIVER_READS_IN_LINE : UNRI_RECEIVER_IN_LINE;
    unri_queue_push(reads ? &r->pool->readers : &r->pool->idle, &r->armed);
}

/* Goes on where no buffer is left.  A read that finds nothing in the socket can wait for a poll,
 * which needs no buffer. */
static void go_on_starved(struct unr_receiver_private *r)
{
    if (!r->read) {
        join_line(r, false);
    } else if (r->read->private_fields.other_fd == UNRI_READ_VIEW
               && r->pool->spare == UNRI_NO_BUFFER && !r->pool->published) {
        join_line(r, true);
    } else if (unri_receiver_attempt(r)) {
        if (!(r->state & UNRI_RECEIVER_IN_LINE))
            join_line(r, false);
    } else {
        leave_line(r);
        arm(r);
    }
}

static struct unr_receiver_private *take_from_line(struct unr_op *op)
{
    struct unr_receiver_private *r = receiver_of(op);
    leave_line(r);
    return r;
}

/* A buffer has come back.  As long as the spare one is there, no read waits in line for it. */
static void serve_line(struct unr_pool *pool)
{
    while (pool->readers.first && pool->spare != UNRI_NO_BUFFER)
        go_on_starved(take_from_line(pool->readers.first));
    struct unr_op *op = pool->readers.first ? pool->readers.first : pool->idle.first;
    if (op && pool->published)
        unri_receiver_go_on(take_from_line(op));
}

/* ---- when to arm ---- */

static bool has_credit(const struct unr_receiver_private *r)
{
    return !r->pool || r->read || r->held <= r->credit / 2;
}

void unri_receiver_go_on(struct unr_receiver_private *r)
{
    if (!unri_live(&r->armed) && r->read && !(r->state & UNRI_RECEIVER_STOPPED))
        unri_receiver_begin(r, r->armed.private_fields.loop);
    if (!is_idle(r) || r->armed.private_fields.flags & UNRI_HONOURED
        || r->state & (UNRI_RECEIVER_STOPPED | UNRI_RECEIVER_ENDED) || !has_credit(r))
        return;
    if (r->state & (UNRI_RECEIVER_IN_LINE | UNRI_RECEIVER_READS_IN_LINE)) {
        if (r->read)
            go_on_starved(r);
    } else {
        arm(r);
    }
}

/* ---- the poll ---- */

static bool fill_poll(struct io_uring_sqe *sqe, struct unr_op *op)
{
    (void)op;
    sqe->len = IORING_POLL_ADD_MULTI;
    sqe->poll32_events = POLLIN | POLLRDHUP;
    return true;
}

static int poll_told(struct unr_op *op, int res, unsigned cqe_flags)
{
    struct unr_receiver_private *r = receiver_of(op);
    (void)cqe_flags;
    if (res < 0)
        return res; /* the last one */
    r->state |= UNRI_RECEIVER_READY;
    if (r->read && !unri_receiver_attempt(r))
        r->state &= (uint8_t)~UNRI_RECEIVER_READY;
    return res;
}

/* Because the CQ was full, or a stranger has cancelled the poll, it is armed again for the read
 * that waits, or for the next one; or it ends, as the kernel cannot poll this descriptor. */
static bool poll_goes_on(struct unr_op *op, int res)
{
    struct unr_receiver_private *r = receiver_of(op);
    if (op->private_fields.flags & UNRI_HONOURED)
        return false;
    if (res < 0 && res != -EINTR) {
        unri_receiver_fail(r, res);
        return false;
    }
    if (r->read)
        arm(r);
    return true;
}

/* ---- the receive ---- */

static bool fill_receive(struct io_uring_sqe *sqe, struct unr_op *op)
{
    struct unr_receiver_private *r = receiver_of(op);
    bool limited = !r->messages && op->private_fields.loop->ring->limits != UNRI_LIMITS_MISSING;
    r->state &= (uint8_t)~UNRI_RECEIVER_LIMITED;
    r->state |= limited ? UNRI_RECEIVER_LIMITED : 0;
    unri_pool_select(r->pool, sqe);
    sqe->opcode = r->messages ? IORING_OP_RECVMSG : IORING_OP_RECV;
    sqe->addr = r->messages ? (uintptr_t)&unri_arrivals_layout : 0;
    sqe->off = 0;
    sqe->ioprio = IORING_RECV_MULTISHOT;
    if (!r->pool->published)
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    sqe->splice_fd_in = limited ? (int32_t)(r->credit - r->held) : 0; /* the place of optlen */
    return true;
}

/* Has the kernel end a receive: more has come than may wait, or the end that it does not tell of.
 */
static void stop_receive(struct unr_receiver_private *r)
{
    if (!(r->armed.private_fields.flags & UNRI_CANCEL_UNDER_WAY))
        unri_want_cancel(r->armed.private_fields.loop->ring, &r->armed);
}

static int has_come(struct unr_op *op, int res, unsigned cqe_flags)
{
    struct unr_receiver_private *r = receiver_of(op);
    if (!unri_pool_has_chosen(res, cqe_flags))
        return res;
    unsigned buffer = unri_pool_chosen(r->pool, cqe_flags, r->fd);
    if (res == 0) { /* an end that took one */
        unri_pool_put(r->pool, buffer);
        return res;
    }
    unri_arrivals_add(r, buffer, (size_t)res);
    if (r->read)
        unri_receiver_serve(r);
    if (r->state & UNRI_RECEIVER_LIMITED)
        op->private_fields.loop->ring->limits = UNRI_LIMITS_THERE;
    else if (r->held >= r->credit && cqe_flags & IORING_CQE_F_MORE)
        stop_receive(r);
    if (r->state & UNRI_RECEIVER_LOCAL && unri_may_miss_end(op, cqe_flags))
        stop_receive(r);
    return res;
}

/* Tells whether a kernel that does not know the limit has refused it.  Others may have found that
 * out meanwhile. */
static bool was_refused_for_limit(const struct unr_receiver_private *r, int res)
{
    return res == -EINVAL && r->state & UNRI_RECEIVER_LIMITED
           && r->armed.private_fields.loop->ring->limits != UNRI_LIMITS_THERE;
}

static void came_to_its_end(struct unr_receiver_private *r, int error)
{
    if (r->read) {
        unri_receiver_fail(r, error);
        return;
    }
    r->state |= UNRI_RECEIVER_ENDED;
    r->error = error;
}

/* The read that waits is served in this turn: what has come for it may have come before a deadline
 * that the turn goes on to end. */
static void go_on_without_buffer(struct unr_receiver_private *r)
{
    if (!unri_pool_starved(r->pool)) {
        if (has_credit(r))
            go_on_starved(r);
        return;
    }
    if (r->read)
        unri_receiver_attempt(r);
    unri_receiver_go_on(r);
}

static bool receive_goes_on(struct unr_op *op, int res)
{
    struct unr_receiver_private *r = receiver_of(op);
    if (op->private_fields.flags & UNRI_HONOURED)
        return false;
    if (was_refused_for_limit(r, res)) {
        op->private_fields.loop->ring->limits = UNRI_LIMITS_MISSING;
        arm(r);
    } else if (res == -ENOBUFS) {
        go_on_without_buffer(r);
    } else if (res > 0 || res == -EINTR) {
        unri_receiver_go_on(r);
    } else {
        came_to_its_end(r, res);
        return false;
    }
    return true;
}

/* ---- the poll that tells once ---- */

static void wait_start(struct unr_op *op)
{
    unri_set_op_state(op, UNRI_IN_FLIGHT);
    if (unlikely(unri_comes_too_late(op)))
        unri_end_too_late(op);
    else
        join_line(receiver_of(op), false);
}

static bool fill_wait(struct io_uring_sqe *sqe, struct unr_op *op)
{
    (void)op;
    sqe->off = 0; /* the pool's place */
    sqe->poll32_events = POLLIN | POLLRDHUP;
    return true;
}

static bool wait_goes_on(struct unr_op *op, int res)
{
    struct unr_receiver_private *r = receiver_of(op);
    if (op->private_fields.flags & UNRI_HONOURED)
        return false;
    if (res < 0 && res != -EINTR) {
        came_to_its_end(r, res);
        return false;
    }
    go_on_starved(r);
    return true;
}

/* ---- the operation ---- */

static void armed_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_receiver_private *r = receiver_of(op);
    if (is_idle(r)) {
        leave_line(r);
        unri_end(op, -ECANCELED);
    } else {
        unri_row_cancel(op, request);
    }
}

#define ROW(call, code, starts, fills, looks, on, ...)                                             \
    static const struct unri_row call = { .type = { .size = sizeof(struct unr_op_type),            \
                                                    .supports = UNR_CANCEL_ALL,                    \
                                                    .name = "receiver",                            \
                                                    .start = starts,                               \
                                                    .cancel = armed_cancel,                        \
                                                    .private_fields = { .kind = UNRI_ARMED,        \
                                                                        .descriptors = 1 } },      \
                                          .opcode = code,                                          \
                                          .is_special = true,                                      \
                                          .repeats = true,                                         \
                                          .fill = fills,                                           \
                                          .look = looks,                                           \
                                          .goes_on = on,                                           \
                                          __VA_ARGS__ }
ROW(poll_row, IORING_OP_POLL_ADD, unri_row_start, fill_poll, poll_told, poll_goes_on,
    .yields = UNRI_YIELDS_EVENTS);
ROW(receive_row, IORING_OP_RECV, unri_row_start, fill_receive, has_come, receive_goes_on,
    .yields = UNRI_YIELDS_BYTES, .takes_buffers = true);
ROW(wait_row, IORING_OP_POLL_ADD, wait_start, fill_wait, NULL, wait_goes_on,
    .yields = UNRI_YIELDS_EVENTS, .takes_buffers = true);

void unri_receiver_stopped(struct unr_receiver_private *r)
{
    struct unr_op *stop = r->stop;
    r->state |= UNRI_RECEIVER_STOPPED;
    r->stop = NULL;
    if (stop)
        unri_end(stop, 0);
}

static void armed_done(struct unr_op *op)
{
    struct unr_receiver_private *r = receiver_of(op);
    struct unr_loop             *loop = op->private_fields.loop;
    loop->armed--;
    if (op->private_fields.flags & UNRI_HONOURED || r->stop)
        unri_receiver_stopped(r);
    else if (op->private_fields.flags & UNRI_INVALID)
        unri_receiver_fail(r, op->result.error); /* the kernel lacks the call */
    else
        unri_receiver_go_on(r);
}

/* A closing loop has asked all that is armed to end, once. */
void unri_receiver_begin(struct unr_receiver_private *r, struct unr_loop *loop)
{
    const struct unri_row *row = !r->pool            ? &poll_row
                                 : r->pool->provided ? &receive_row
                                                     : &wait_row;
    struct unr_op_private *p = unri_private(unr_describe(&r->armed, &row->type));
    p->loop = loop;
    if (loop->closing) {
        unri_receiver_stopped(r);
        return;
    }
    p->fd = r->fd;
    p->other_fd = 0;
    p->address = 0;
    p->offset = (uintptr_t)r->pool;
    if (r->pool)
        r->pool->returned = serve_line;
    loop->armed++;
    unri_start_housekeeping(loop, &r->armed, armed_done);
}
