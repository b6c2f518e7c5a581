/* SPDX-License-Identifier: MIT */
/* Composed operations of one's own: a state machine that starts one operation after another, and
 * is itself an operation. */
#ifndef UNRING_COMPOSE_H
#define UNRING_COMPOSE_H

#include <unring/op.h>
#include <unring/state.h>

UNR_BEGIN

struct unr_compose;

/* Takes one step of a composed operation.
 *
 * finished  NULL in the first step; then the child that has ended.  It is the caller's again, and
 *           may be described anew in this step.
 * Calls     exactly one of unr_compose_next(), which begins the next child, and unr_compose_end(),
 *           which ends the operation.  Neither, and more than one call, is a broken contract.
 * Inside    everything is allowed that is allowed inside a `done`.
 * Threads   the loop's.  The first step runs where the operation is started, the others inside a
 *           turn.  An operation that is cancelled before it begins takes no step, so what it was to
 *           work with is released by its `done`, not by its last step.
 *
 *     static void step(struct unr_compose *self, struct unr_op *finished)
 *     {
 *         if (finished && finished->result.error)
 *             unr_compose_end(self, finished->result.error);
 *         else if (...)
 *             unr_compose_next(self, unr_recv(&mine->op, ...));
 *         else
 *             unr_compose_end(self, 0);
 *     }
 *
 * A step that knows nothing of cancellation is right as long as it ends on an error: once the
 * operation was asked to end, the child in flight and each later child are asked, too, and the
 * first of them that honours it ends with -ECANCELED. */
typedef void unr_step_fn(struct unr_compose *self, struct unr_op *finished);

/* unring's own part of a `struct unr_compose`: not to be read or written. */
struct unr_compose_private {
    struct unr_sequence sequence;
    unr_step_fn        *step;
    const char *(*explain)(const struct unr_op *op); /* NULL: unr_explain_op() knows no more */
};

/* The part of a composed operation that unring works on.
 *
 * Memory   the caller's: the first member of the structure in which the operation keeps its state,
 *          which the step finds with unr_container_of().  Or in a union with a struct unr_op that
 *          its users see.  It stays where it is from its description until `done`. */
struct unr_compose {
    struct unr_op              op;
    struct unr_compose_private private_fields;
};

/* Describes a composed operation.
 *
 * name      a verb, for messages; the text lasts as long as `self`.
 * supports  the strongest guarantee that the composition can give: a mask of UNR_CANCEL_*, of
 *           which the strongest counts.  All weaker ones are supported, too.
 * step      called at the start, and when a child has ended.
 * Result    error: as given to unr_compose_end().  bytes, value, fd: as the steps have set them in
 *           op.result.
 * Cancels   the guarantee `supports`, or the weakest under which a child was cancelled, if that is
 *           weaker; a step that knows better sets op.result.guarantee.  What is true afterwards is
 *           the author's to promise.  The cause is that of the request, or of the child if only
 *           the child was asked: by its own deadline, say.
 * Children  are asked for the types that were asked of the operation, and for no others.  So if
 *           `supports` is more than a child can promise, as for a frame made of reads that are
 *           PARTIAL, an `out` filter has to ask that child for less: unr_state_reset().  Otherwise
 *           the child runs on, and only the children behind it are ended.
 * Memory    allocates nothing.
 * Returns   `&self->op`.
 * Threads   the loop's.
 * Source    tests/test_compose.c. */
UNR_API struct unr_op *unr_compose(struct unr_compose *self, const char *name, unsigned supports,
                                   unr_step_fn *step);

/* Begins the next child, inside a step.
 *
 * described  any operation but a multishot operation; composed operations and other combinators,
 *            too.  It is lent until the next step.  Its `data` is left as it is.
 * Broken     a call outside of a step, and a second call in a step, are broken contracts.
 * Threads    the loop's. */
UNR_API void unr_compose_next(struct unr_compose *self, struct unr_op *described);

/* Ends the operation, inside a step.
 *
 * error    0 or a negative errno; above 0 is a broken contract.  Success stays success though a
 *          cancellation was asked for: the verdict tells.  -ECANCELED is for a step whose child
 *          ended with that.
 * Done     runs later; until then `self` stays where it is.
 * Broken   a call outside of a step, and a call after unr_compose_next() in the same step, are
 *          broken contracts.
 * Threads  the loop's. */
UNR_API void unr_compose_end(struct unr_compose *self, int error);

/* Returns the cancellation state of a composed operation.
 *
 * Use      read and reset it inside a step, or between description and start: describing begins a
 *          new state.
 * Threads  the loop's. */
UNR_API struct unr_cancel_state *unr_compose_state(struct unr_compose *self);

UNR_END
#endif
