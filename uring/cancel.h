/* SPDX-License-Identifier: MIT */
/* The way of a cancel: IORING_OP_ASYNC_CANCEL for one operation's own SQE. */
#ifndef UNRI_URING_CANCEL_H
#define UNRI_URING_CANCEL_H

#include "ring.h"

/* Asks for a cancel to be sent for an operation in flight, before anything else that is queued. */
static inline void unri_want_cancel(struct unri_ring *ring, struct unr_op *op)
{
    op->private_fields.flags |= UNRI_WANTS_CANCEL;
    unri_queue_push(&ring->urgent, op);
}

/* Takes back a cancel that was asked for and not sent.  A cancel that was sent is still awaited. */
void unri_withdraw_cancel(struct unri_ring *ring, struct unr_op *op);

/* Fills an SQE with the cancel that an operation wants. */
void unri_fill_cancel(struct unri_ring *ring, struct io_uring_sqe *sqe, struct unr_op *op);

/* Keeps the kernel's answer to a cancel, the `res` of its CQE.  If the cancel had no effect, has it
 * sent again later. */
void unri_cancel_answered(struct unr_loop *loop, struct unr_op *op, int res);

#endif
