/* SPDX-License-Identifier: MIT */
/* What all rows have in common: how the operation is started, and how it is asked to cancel. */
#include "row.h"
#include "../lib/core/cancel.h"
#include "cancel.h"
#include "enter.h"
#include "pool.h"
#include "repeat.h"

/* ---- a descriptor that is being closed ---- */

bool unri_has_closer(struct unr_loop *loop, int fd)
{
    const struct unri_descriptors *descriptors = &loop->descriptors;
    for (struct unr_op *op = NULL; (op = unri_peers_next(descriptors, fd, op)) != NULL;)
        if (unri_kind(op) == UNRI_CLOSER && op->private_fields.state != UNRI_FINISHED)
            return true;
    return false;
}

bool unri_is_closed_by_another(const struct unr_op *closer)
{
    const struct unr_op_private   *p = &closer->private_fields;
    const struct unri_descriptors *descriptors = &p->loop->descriptors;
    if (p->fd < 0 || unri_bucket(descriptors, p->fd)->closers < 2) /* nearly always: itself */
        return false;
    for (struct unr_op *op = NULL; (op = unri_peers_next(descriptors, p->fd, op)) != NULL;)
        if (op != closer && op->private_fields.flags & UNRI_CLOSES
            && op->private_fields.state != UNRI_FINISHED)
            return true;
    return false;
}

/* ---- start and cancel ---- */

/* A call that takes buffers is described as INVALID with a pool that the kernel does not know. */
static int error_of_invalid(const struct unr_op *op)
{
    return unri_row_of(op)->takes_buffers && !unri_pool_of(op)->provided ? -EOPNOTSUPP : -EINVAL;
}

/* Ends an operation whose call this kernel does not have.  INVALID tells that from the EOPNOTSUPP
 * of a descriptor whose file does not support the call. */
static void end_unsupported(struct unr_op *op)
{
    unri_private(op)->flags |= UNRI_INVALID;
    unri_end(op, -EOPNOTSUPP);
}

void unri_end_too_late(struct unr_op *op)
{
    struct unr_loop *loop = op->private_fields.loop;
    unri_count_request(loop, op);
    unri_end_unsubmitted(op, (struct unr_cancel_request){ UNR_CANCEL_ALL, -ESHUTDOWN });
    unri_peers_leave_closers(&loop->descriptors, op);
}

/* A record ends a receive, however much room is left: recv(2) stops there with MSG_WAITALL, too.
 * io_uring would go on into the next record, so it does not see the flag.  What the socket carries
 * is asked at the start: a describing function may come before there is a socket, and a receive
 * without MSG_WAITALL need not know. */
static void stop_at_record(struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    if (unri_enter_carries(p->fd) == UNRI_CARRIES_RECORDS)
        p->call_flags &= ~(uint32_t)MSG_WAITALL;
}

/* Ends an operation in its start: its arguments are no kernel's, this kernel lacks the call, or its
 * descriptor is being closed.  Apart from the rest, so that all others keep their few instructions.
 */
__attribute__((noinline)) static void end_in_start(struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    if (p->flags & UNRI_INVALID) {
        unri_end(op, error_of_invalid(op));
    } else if (!unri_ring_has(p->loop->ring, unri_row_of(op)->opcode)) {
        end_unsupported(op);
    } else {
        unri_end_too_late(op);
        return;
    }
    unri_peers_leave_closers(&p->loop->descriptors, op);
}

void unri_row_start(struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    if (unlikely(p->flags & UNRI_FILLS_BUFFER))
        stop_at_record(op);
    if (unlikely(p->flags & UNRI_INVALID || !unri_ring_has(p->loop->ring, unri_row_of(op)->opcode)
                 || unri_comes_too_late(op)))
        end_in_start(op);
    else
        unri_enqueue(op);
}

/* The flags are those of one that was submitted before (again.c). */
void unri_take_back(struct unr_op *op)
{
    struct unri_ring *ring = op->private_fields.loop->ring;
    if (unlikely(op->private_fields.flags & UNRI_WANTS_REPEAT))
        unri_take_back_repeat(ring, op);
    else
        unri_queue_remove(&ring->queued, op);
    unri_clear_flags(op, UNRI_AWAITS_TARGET);
}

__attribute__((noinline)) static void end_queued(struct unr_op            *op,
                                                 struct unr_cancel_request request)
{
    unri_take_back(op);
    unri_end_unsubmitted(op, request);
}

/* An operation that is QUEUED and awaits its CQE was submitted before, and waits to be submitted
 * again.  Its file is not the number's any more by then. */
void unri_lose_number(struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    p->flags |= UNRI_FD_CLOSED;
    if (p->state != UNRI_QUEUED || !(p->flags & UNRI_AWAITS_TARGET))
        return;
    unri_take_back(op);
    op->result.bytes = unri_sent_before(op); /* this and `fd` were scratch memory */
    op->result.fd = -1;
    unri_end(op, unri_sent_before(op) ? 0 : -EINTR);
}

void unri_row_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_op_private *p = unri_private(op);
    struct unri_ring      *ring = p->loop->ring;
    if (p->state == UNRI_QUEUED) {
        end_queued(op, request);
        return;
    }
    /* An operation has one cancel under way at a time.  It needs none if a cancel has hit it, or if
     * its own last CQE is in and only the others are missing. */
    const unsigned under_way = UNRI_WANTS_CANCEL | UNRI_WANTS_UNDO | UNRI_WANTS_REPEAT
                               | UNRI_AWAITS_CANCEL | UNRI_CANCEL_HIT;
    if (p->flags & UNRI_AWAITS_TARGET && !(p->flags & under_way)) {
        unri_forget_attempts(op); /* those were the operation's own */
        unri_want_cancel(ring, op);
    }
}
