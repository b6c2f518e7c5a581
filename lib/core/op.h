/* SPDX-License-Identifier: MIT */
/* The functions that start an operation, end it and hand it back.  life.h has its states and flags,
 * cancel.h what becomes of a request to cancel it, combinator.h what a combinator does with its
 * children. */
#ifndef UNRI_OP_H
#define UNRI_OP_H

#include <unring/op.h>
#include "life.h"

/* ---- start ---- */

/* Starts an operation, as unr_start() does after its checks.  `asked` is a request that is made to
 * the operation before it begins; types 0: none is.  Returns true if the operation honours `asked`:
 * that tells whose request ended it, and not whether it has begun. */
bool unri_start_op(struct unr_loop *loop, struct unr_op *described,
                   struct unr_cancel_request asked);

/* Starts an operation of the loop's own. */
void unri_start_housekeeping(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done);

/* Counts a start in the statistics and, unless it is a child's, in loop->in_flight. */
void unri_count_start(struct unr_loop *loop, const struct unr_op *op);

/* Ends the process: `op` was started, or given to a combinator, and was not described. */
_Noreturn void unri_not_described(const struct unr_op *op);

/* ---- end: these functions make a started operation FINISHED ---- */

/* Ends an operation that never began, because of `request`. */
void unri_end_unsubmitted(struct unr_op *op, struct unr_cancel_request request);

/* Tells whether a cancellation took effect.  A read of a timerfd fails with -ECANCELED when the
 * clock was set, and so does what contains it; that has no guarantee. */
static inline bool unri_was_cancelled(const struct unr_result *result)
{
    return result->error == -ECANCELED && result->guarantee != UNR_CANCEL_NONE;
}

/* Ends an operation with `error`.  -ECANCELED: a cancellation took effect. */
void unri_end(struct unr_op *op, int error);

/* Ends an operation with `error`, which may be an -ECANCELED that is no cancellation. */
void unri_end_uncancelled(struct unr_op *op, int error);

/* Ends an operation that was cancelled under `cause` and with `verdict`, which need not be those of
 * the first request that it has honoured: a combinator's are those of its child. */
void unri_end_cancelled(struct unr_op *op, int cause, unsigned verdict);

/* Ends an operation with `result`, which is that of another one, its child say, or made of it.
 * Requests that came to itself are added.  What unr_explain_op() has to say of the child's error is
 * copied, because the child may be freed by then. */
void unri_end_with_result(struct unr_op *op, const struct unr_op *child,
                          const struct unr_result *result);

/* ---- done ---- */

/* Takes a finished operation from its peers and out of its slot, and hands it back. */
void unri_run_done(struct unr_loop *loop, struct unr_op *op);

/* Hands back an operation that is idle: gives it to its combinator, if it is a child, or runs its
 * `done`. */
void unri_hand_back(struct unr_loop *loop, struct unr_op *op);

/* Ends the process if the shots of a multishot operation would reach nobody: a combinator hears of
 * its child's end alone, and without a `done` nobody hears. */
void unri_check_shots(const struct unr_op *op);

/* Runs `done` for one shot of a multishot operation, which is `shot` with UNR_MORE.  The operation
 * stays in flight. */
void unri_run_shot(struct unr_loop *loop, struct unr_op *op, const struct unr_result *shot);

#endif
