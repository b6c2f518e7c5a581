/* Composed operations of one's own: a state machine that does one operation after another and is
 * itself one. */
#ifndef UNRING_COMPOSE_H
#define UNRING_COMPOSE_H

#include <unring/op.h>
#include <unring/state.h>

UNR_BEGIN

struct unr_compose;

/* Called when the operation is started, with NULL, and then with each child that has ended; it must
 * begin the next child with unr_compose_next() or end the operation with unr_compose_end(), one of
 * them and once.
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
 * operation was asked to end, the child in flight and each later one ends with -ECANCELED.
 * Threads  the loop's.  The first step runs inside unr_start(), the others inside a turn. */
typedef void unr_step_fn(struct unr_compose *self, struct unr_op *finished);

/* unring's own part of a `struct unr_compose`: not to be read or written. */
struct unr_compose_private {
    struct unr_cancel_state state;
    unr_step_fn            *step;
    const char             *name;
    struct unr_op          *child;
    int32_t                 child_cause; /* of the last child that was cancelled */
    uint8_t                 proven; /* the weakest guarantee that a child was cancelled under */
    uint8_t                 phase;
};

/* Embedded as the first member, or in a union with a struct unr_op of the name that its users
 * see. */
struct unr_compose {
    struct unr_op              op;
    struct unr_compose_private private_fields;
};

/* Describes a composed operation.
 *
 * name      for messages: a verb.
 * supports  the strongest guarantee that the composition can give, UNR_CANCEL_*; the weaker ones
 *           follow from it.  What it lets in and passes on can be set in its state at each step:
 *           unr_compose_state().  Children are asked for just what was asked of it.  So if
 *           `supports` is more than a child can promise, as for a frame made of reads that are
 *           PARTIAL, an out filter must ask that child for less; or it runs on, and only later ones
 *           are ended.
 * Result    error: as the last step says.  bytes, value, fd: what the steps set in op.result.
 * Cancels   as `supports` says.  Ended with -ECANCELED, the guarantee is the strongest that the
 *           operation supports, but no stronger than what a cancelled child proved; a step that
 *           knows better sets op.result.guarantee.  The cause is that of the request, or of the
 *           child's if only the child was asked (its own deadline, say).
 * Memory    allocates nothing. */
UNR_API struct unr_op *unr_compose(struct unr_compose *self, const char *name, unsigned supports,
                                   unr_step_fn *step);

/* Inside a step: begins the next child.  It is any described operation, a composed one and a
 * combinator too, that lives until it has ended.  Its `data` is left as it is. */
UNR_API void unr_compose_next(struct unr_compose *self, struct unr_op *described);

/* Inside a step: ends the operation with 0 or a negative errno.  Success is success though a
 * cancellation was asked for (the verdict tells); pass -ECANCELED on where a child ended with
 * it. */
UNR_API void unr_compose_end(struct unr_compose *self, int error);

/* The state, to read and reset in a step, or before the start. */
UNR_API struct unr_cancel_state *unr_compose_state(struct unr_compose *self);

UNR_END
#endif
