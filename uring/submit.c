/* SPDX-License-Identifier: MIT */
/* From the lists of a ring into its SQ.  An operation keeps its arguments itself and waits on a
 * list; its SQE is filled just before the kernel is called.  So an operation that is cancelled
 * before that is taken off its list, and the kernel never sees it.  An operation that finds no SQE
 * stays on its list, so nothing is lost when the SQ is full (rule 8, Queues). */
#include "submit.h"
#include "cancel.h"
#include "row.h"

/* ---- filling SQEs ---- */

/* Gives the SQE to the operation at the head of the queue. */
static void fill_queued(struct unri_ring *ring, struct io_uring_sqe *sqe)
{
    struct unr_op         *op = ring->queued.first;
    const struct unri_row *row = unri_row_of(op);
    unri_queue_remove(&ring->queued, op);
    unri_fill_row(sqe, op);
    /* The operation is in flight before its `fill` runs: that may run a function of the caller's,
     * which may request to cancel this very operation. */
    unri_set_op_state(op, UNRI_IN_FLIGHT);
    unri_private(op)->flags |= UNRI_AWAITS_TARGET;
    if (row->fill && unlikely(!row->fill(sqe, op))) {
        ring->io.sq.sqe_tail--; /* the next operation gets this SQE */
        return;
    }
    sqe->user_data = unri_user_data(op, UNRI_OWN);
}

/* Takes a TCP socket out of SYN_SENT: connect(2) to AF_UNSPEC. */
static void fill_undo(struct io_uring_sqe *sqe, struct unr_op *op)
{
    static const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
    *sqe = (struct io_uring_sqe){
        .opcode = IORING_OP_CONNECT,
        .fd = op->private_fields.fd,
        .addr = (uintptr_t)&nowhere,
        .off = sizeof nowhere,
        .user_data = unri_user_data(op, UNRI_UNDO),
    };
    op->private_fields.flags ^= UNRI_WANTS_UNDO | UNRI_AWAITS_UNDO;
}

/* Gives the SQE to the first cancel or undoing that is wanted. */
static void fill_urgent(struct unri_ring *ring, struct io_uring_sqe *sqe)
{
    struct unr_op *op = ring->urgent.first;
    unri_queue_remove(&ring->urgent, op);
    if (op->private_fields.flags & UNRI_WANTS_CANCEL)
        unri_fill_cancel(ring, sqe, op);
    else
        fill_undo(sqe, op);
}

/* Cancels and undoings come before new operations, because they let lent memory go.  The caller's
 * function of an unr_sqe() may make requests that need further cancels; they get their SQEs in the
 * same call. */
bool unri_fill(struct unri_ring *ring)
{
    ring->cancels_filled = 0;
    if (unlikely(ring->unreleased >= 0))
        unri_release(ring, ring->unreleased);
    while (ring->urgent.first || ring->queued.first) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->io);
        if (!sqe)
            return true;
        if (unlikely(ring->urgent.first != NULL))
            fill_urgent(ring, sqe);
        else
            fill_queued(ring, sqe);
    }
    return unlikely(ring->unreleased >= 0);
}
