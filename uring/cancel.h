/* SPDX-License-Identifier: MIT */
/* The way of a cancel: IORING_OP_ASYNC_CANCEL for one operation's own SQE. */
#ifndef UNRI_URING_CANCEL_H
#define UNRI_URING_CANCEL_H

#include "ring.h"

/* Has a cancel sent for an operation in flight. */
void unri_want_cancel(struct unri_ring *ring, struct unr_op *op);

/* No cancel needs to be sent for an operation any more. */
void unri_withdraw_cancel(struct unri_ring *ring, struct unr_op *op);

/* Fills the SQE of a cancel that is wanted. */
void unri_fill_cancel(struct unri_ring *ring, struct io_uring_sqe *sqe, struct unr_op *op);

/* The CQE of a cancel has come, with `res`. */
void unri_cancel_answered(struct unr_loop *loop, struct unr_op *op, int res);

/* Sends the cancels again that had no effect and whose time has come. */
void unri_repeat_cancels(struct unr_loop *loop);

#endif
