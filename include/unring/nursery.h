/* SPDX-License-Identifier: MIT */
/* Nurseries: blocks in a fiber (fiber.h) whose children end before the block does.
 *
 * A nursery is a cancel scope (cancel_scope.h) with children: fibers that the loop has the memory
 * of, or any described operations.  It nests with cancel scopes.  Whoever is given a pointer to it
 * may start children in it while it is open, its children too.
 *
 * The first child that fails of its own cancels the others and the body: UNR_CANCEL_ALL, the error
 * as the cause.  A body that fails, and one that is cancelled, does the same to the children.  A
 * child that was cancelled because the nursery was asked has not failed.
 *
 *     struct unr_nursery nursery;
 *     unr_nursery_open(&nursery, 0);
 *     error = unr_nursery_spawn(&nursery, heartbeat, session);
 *     if (error == 0)
 *         error = serve(session);
 *     unr_nursery_cancel(&nursery, UNR_CANCEL_ALL, -ECANCELED);
 *     error = unr_nursery_close(&nursery, error); */
#ifndef UNRING_NURSERY_H
#define UNRING_NURSERY_H

#include <unring/cancel_scope.h>
#include <unring/fiber.h>
#include <unring/scope.h>

UNR_BEGIN

/* unring's own part of a `struct unr_nursery`: not to be read or written. */
struct unr_nursery_private {
    struct unr_cancel_scope block;
    struct unr_scope        scope;    /* its children are the members */
    struct unr_op           wait;     /* for their end */
    unsigned                flags;    /* UNR_NURSERY_* */
    unsigned                children; /* in flight */
    int                     error;    /* the first; 0: there was none */
    bool                    over;     /* the scope has ended */
    bool                    waits;
    bool                    child_was_cancelled; /* by a request to the nursery */
};

/* A nursery.
 *
 * Memory   the caller's, in the stack of its fiber or elsewhere; it need not be zeroed.  It stays
 *          where it is until it is closed. */
struct unr_nursery {
    struct unr_nursery_private private_fields;
};

/* In the flags of a nursery: a child's failure is its own affair, as in a server's connections. */
#define UNR_NURSERY_INDEPENDENT 1u

/* Opens a nursery, and enters its cancel scope.
 *
 * flags    UNR_NURSERY_*, or 0; other bits are a broken contract.
 * Broken   a call outside of a fiber.
 * Threads  the loop's. */
UNR_API void unr_nursery_open(struct unr_nursery *nursery, unsigned flags);

/* Starts a fiber in a nursery.
 *
 * Memory    its structure and its stack are the loop's, and go when it ends.
 * nursery   open.  Anything else is a broken contract.
 * argument  the function's from here on: it always runs, at least to its first await, also in a
 *           nursery that was asked to end, and on a loop that is being closed.
 * Returns   0; -ENOMEM: it does not run, and the argument remains the caller's.  -EOPNOTSUPP as in
 *           unr_fiber().
 * Inside    any fiber, `done`, task, handler, condition, filter and step of the loop.
 * Threads   the loop's. */
UNR_API int unr_nursery_spawn(struct unr_nursery *nursery, unr_fiber_fn *fn, void *argument);

/* Starts a fiber in a nursery, with options.
 *
 * options   as for unr_fiber_with(); a name lasts as long as the fiber.
 * argument  the function's from here on, if 0 is returned.
 * Returns   0, -ENOMEM or -EOPNOTSUPP, as unr_nursery_spawn().
 * Inside    any fiber, `done`, task, handler, condition, filter and step of the loop.
 * Threads   the loop's. */
UNR_API int unr_nursery_spawn_with(struct unr_nursery *nursery, unr_fiber_fn *fn, void *argument,
                                   const struct unr_fiber_options *options);

/* Starts a described operation in a nursery.
 *
 * nursery    open.  Anything else is a broken contract.
 * described  lent until it has ended; its result stays in it.  Its `data` is overwritten.
 * Errors     -ENOMEM in its result: there was no memory for one more child, and it did not begin.
 * Inside     any fiber, `done`, task, handler, condition, filter and step of the loop.
 * Threads    the loop's. */
UNR_API void unr_nursery_start(struct unr_nursery *nursery, struct unr_op *described);

/* Makes a request to a nursery: to its body and all its children.
 *
 * Later    children are asked, too, before they begin.
 * types    a mask of UNR_CANCEL_*, not 0.  UNR_CANCEL_TOTAL alone, say, ends idle reads and lets
 *          work under way go on; UNR_CANCEL_ALL may follow.
 * cause    below 0.  -ECANCELED: on purpose, and the nursery's close has nothing to report.
 * Returns  false if the nursery was closed.
 * Inside   any fiber, `done`, task, handler, condition, filter and step of the loop.
 * Threads  the loop's. */
UNR_API bool unr_nursery_cancel(struct unr_nursery *nursery, unsigned types, int cause);

/* Returns the nursery as a cancel scope.
 *
 * Use      its deadline, its cause and its state.
 * Threads  the loop's. */
UNR_API struct unr_cancel_scope *unr_nursery_scope(struct unr_nursery *nursery);

/* Returns how many children of a nursery are in flight.
 *
 * Threads  the loop's. */
UNR_API unsigned unr_nursery_children(const struct unr_nursery *nursery);

/* Waits until all children have ended, and closes a nursery.
 *
 * Leaves    its cancel scope.
 * Requests  go to the children meanwhile, and do not end the wait.  Children may start others.
 * error     how the body ended; below 0 it cancels the children.
 * Returns   the first error of the body or of a child, in the order in which they came, whatever was
 *           requested.  If there was none, but a request ended the body or a child: what
 *           unr_cancel_scope_leave() makes of -ECANCELED.  Else 0.
 * Broken    a nursery that is not the innermost scope; a call by another fiber.
 * Threads   the loop's. */
UNR_API int unr_nursery_close(struct unr_nursery *nursery, int error);

UNR_END
#endif
