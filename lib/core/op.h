/* SPDX-License-Identifier: MIT */
/* The functions that start an operation, end it and hand it back.  life.h has its states and flags,
 * cancel.h what becomes of a request to cancel it, combinator.h what a combinator does with its
 * children. */
#ifndef UNRI_OP_H
#define UNRI_OP_H

#include <unring/op.h>
#include "life.h"

/* ---- start ---- */

/* unr_start() without its checks.  `asked` (types 0: nothing) is requested of the operation before
 * it begins.  True if it honours that. */
bool unri_start_op(struct unr_loop *loop, struct unr_op *described,
                   struct unr_cancel_request asked);

/* unr_start() for the loop's own operations. */
void unri_start_housekeeping(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done);

/* Counts a start. */
void unri_count_start(struct unr_loop *loop, const struct unr_op *op);

/* Ends the process: `op` was not described when it was started or given to a combinator. */
_Noreturn void unri_not_described(const struct unr_op *op);

/* ---- end: the ways in which a started operation becomes FINISHED ---- */

/* It never began. */
void unri_end_unsubmitted(struct unr_op *op, struct unr_cancel_request request);

/* It ended with `error`; -ECANCELED: a cancellation took effect. */
void unri_end(struct unr_op *op, int error);

/* A cancellation took effect on it that was requested of its child alone. */
void unri_end_cancelled(struct unr_op *op, int cause, unsigned verdict);

/* It ended with its only child, and has that one's result. */
void unri_end_with_result(struct unr_op *op, const struct unr_result *child);

/* ---- done ---- */

/* Takes a finished operation out of everything, and hands it back. */
void unri_run_done(struct unr_loop *loop, struct unr_op *op);

/* Runs the `done` of an operation that is out of everything, or gives a child to its combinator. */
void unri_hand_back(struct unr_loop *loop, struct unr_op *op);

/* Runs `done` with `res` and UNR_MORE: one shot of a multishot operation, which stays in flight. */
void unri_run_shot(struct unr_loop *loop, struct unr_op *op, int res);

#endif
