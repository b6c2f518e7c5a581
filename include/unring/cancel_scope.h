/* SPDX-License-Identifier: MIT */
/* Cancel scopes: blocks in a fiber (fiber.h) with a cancellation state of their own, and so with a
 * deadline, a filter or a shield, and with the answer to "was it this block that was cancelled?".
 *
 * (A struct unr_scope is something else: an operation in which others are started.)
 *
 *     struct unr_cancel_scope scope;
 *     unr_cancel_scope_enter_after(&scope, UNR_SEC(5));
 *     error = unr_cancel_scope_leave(&scope, handshake(session));
 *     if (error == -ETIMEDOUT) ...
 *
 * Cancel scopes nest: the last that was entered is left first.  What is awaited inside is asked
 * what any of them is asked, through the states of those further in.  Requests come from outside -
 * to the fiber, or to a scope further out - through the in filter of the scope's state; or they are
 * the scope's own: its deadline, and unr_cancel_scope_cancel(), which no filter and no shield keeps
 * out.  Both are let in for good, until the scope is left. */
#ifndef UNRING_CANCEL_SCOPE_H
#define UNRING_CANCEL_SCOPE_H

#include <stdbool.h>
#include <unring/fiber.h>
#include <unring/timer.h>

UNR_BEGIN

/* unring's own part of a `struct unr_cancel_scope`: not to be read or written. */
struct unr_cancel_scope_private {
    struct unr_timer          timer; /* of its deadline */
    struct unr_cancel_state   state; /* right behind that */
    struct unr_cancel_scope  *outer, *inner;
    struct unr_fiber         *fiber;    /* that is in it; NULL: it was left */
    struct unr_op            *children; /* of a nursery; NULL: it is none */
    struct unr_cancel_request own;      /* its own requests, with the first cause */
    bool                      is_shield, caught;
};

/* A cancel scope.
 *
 * Memory   the caller's, in the stack of its fiber; it need not be zeroed.  It stays where it is
 *          until it is left. */
struct unr_cancel_scope {
    struct unr_cancel_scope_private private_fields;
};

/* Enters a cancel scope without a deadline.
 *
 * Broken   a call outside of a fiber.
 * Threads  the loop's. */
UNR_API void unr_cancel_scope_enter(struct unr_cancel_scope *scope);

/* Enters a cancel scope that requests UNR_CANCEL_ALL of itself, cause -ETIMEDOUT.
 *
 * when     a time of CLOCK_MONOTONIC; UNR_NEVER: it does not.
 * Errors   where there is no memory for the timer, the request is made at once, cause -ENOMEM.
 * Broken   a call outside of a fiber.
 * Threads  the loop's. */
UNR_API void unr_cancel_scope_enter_at(struct unr_cancel_scope *scope, unr_time when);

/* Enters a cancel scope with a deadline, as unr_cancel_scope_enter_at() does.
 *
 * delay    from now, in nanoseconds; UNR_NEVER: there is no deadline.
 * Errors   where there is no memory for the timer, the request is made at once, cause -ENOMEM.
 * Broken   a call outside of a fiber.
 * Threads  the loop's. */
UNR_API void unr_cancel_scope_enter_after(struct unr_cancel_scope *scope, unr_time delay);

/* Enters a shield: requests from outside wait outside until it is left.
 *
 * Use      a clean-up that has I/O of its own to do.
 * grace    nanoseconds, after which the shield requests UNR_CANCEL_ALL of itself, cause -ETIMEDOUT;
 *          UNR_NEVER: it does not.  A shield in a shield ends no later than that.
 * Closing  a loop goes through every shield: only what supports NONE still runs.
 * Broken   a call outside of a fiber.
 * Threads  the loop's. */
UNR_API void unr_cancel_scope_enter_shield(struct unr_cancel_scope *scope, unr_time grace);

/* Leaves a cancel scope, and tells whose cancellation ended its block.
 *
 * error    how the block ended: 0 or more, or a negative errno, as -ECANCELED or as the cause
 *          (unr_outcome()).
 * Returns  -ECANCELED if a request from outside ended the block: it is meant for the caller, and
 *          for whoever is further out.  The cause of the scope's own request if that ended the
 *          block and nothing was requested from outside; but 0 where that cause is -ECANCELED: the
 *          block was stopped on purpose, and there is nothing to report.  `error` in all other
 *          cases: success stays success.
 * Broken   a scope that is not the innermost; a call by another fiber.
 * Threads  the loop's. */
UNR_API int unr_cancel_scope_leave(struct unr_cancel_scope *scope, int error);

/* Makes a request to a cancel scope, which no filter and no shield keeps out.
 *
 * types    a mask of UNR_CANCEL_*, not 0.
 * cause    below 0.
 * Returns  false if the scope was left.
 * Inside   any fiber, `done`, task, handler, condition, filter and step of the loop.
 * Threads  the loop's. */
UNR_API bool unr_cancel_scope_cancel(struct unr_cancel_scope *scope, unsigned types, int cause);

/* Gives a cancel scope another deadline, or its first.
 *
 * when     a time of CLOCK_MONOTONIC; UNR_NEVER: none.
 * Returns  false, and nothing has changed, if the scope was left, if its deadline has passed, or if
 *          there is no memory.
 * Inside   any fiber, `done`, task, handler, condition, filter and step of the loop.
 * Threads  the loop's. */
UNR_API bool unr_cancel_scope_move(struct unr_cancel_scope *scope, unr_time when);

/* Returns the cause of the scope's own request.
 *
 * Returns  0: there was none.  Also after the scope was left.
 * Threads  the loop's. */
UNR_API int unr_cancel_scope_cause(const struct unr_cancel_scope *scope);

/* Tells whether it was the scope's own request that ended its block.
 *
 * left     a scope that was left.
 * Threads  the loop's. */
UNR_API bool unr_cancel_scope_caught(const struct unr_cancel_scope *left);

UNR_END
#endif
