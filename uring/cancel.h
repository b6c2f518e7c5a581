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

/* Flags of an operation for which no further cancel is to be sent unasked. */
enum {
    UNRI_CANCEL_UNDER_WAY =
        UNRI_HONOURED | UNRI_WANTS_CANCEL | UNRI_WANTS_REPEAT | UNRI_AWAITS_CANCEL | UNRI_CANCEL_HIT
};

/* Tells, behind a shot of a receive from a stream of AF_UNIX, whether the kernel may never tell of
 * the end of that stream.  Since Linux 6.17 it goes back to waiting when it has taken all bytes, as
 * a stream of AF_UNIX counts them and not its end: and if the end has come with them, nothing wakes
 * it any more (github.com/axboe/liburing, issue 1549).  TCP counts its end.  A receive that is
 * submitted anew finds it. */
bool unri_may_miss_end(const struct unr_op *op, unsigned cqe_flags);

/* Takes back a cancel that was asked for and not sent.  A cancel that was sent is still awaited. */
void unri_withdraw_cancel(struct unri_ring *ring, struct unr_op *op);

/* Fills an SQE with the cancel that an operation wants. */
void unri_fill_cancel(struct unri_ring *ring, struct io_uring_sqe *sqe, struct unr_op *op);

/* Keeps the kernel's answer to a cancel, the `res` of its CQE.  If the cancel had no effect, has it
 * sent again later. */
void unri_cancel_answered(struct unr_loop *loop, struct unr_op *op, int res);

#endif
