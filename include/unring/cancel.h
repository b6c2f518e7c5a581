/* Cancellation, the requester's side: the guarantees that can be asked for, the slot through which
 * a request reaches an operation, and the signal that emits requests.  What an operation does with
 * one, and how it reports that, is in op.h. */
#ifndef UNRING_CANCEL_H
#define UNRING_CANCEL_H

#include <errno.h>
#include <stdbool.h>
#include <unring/common.h>

UNR_BEGIN

/* The guarantees that a requester accepts, weakest first.  An operation's `supports` holds the
 * strongest one it can give and all weaker ones; it honours a request that shares a bit with it,
 * and no other. */
#define UNR_CANCEL_NONE     0u
#define UNR_CANCEL_TERMINAL 1u /* afterwards the object may only be closed */
#define UNR_CANCEL_PARTIAL  2u /* side effects are well defined, and the result tells them */
#define UNR_CANCEL_TOTAL    4u /* no side effect can be seen */
#define UNR_CANCEL_ALL      7u

struct unr_cancel_request {
    unsigned types; /* mask of UNR_CANCEL_*, never 0 */
    int      cause; /* why: -ECANCELED, -ETIMEDOUT, or a negative number of the requester's own */
};

/* What a slot holds.  Runs on the loop's thread inside the emit; it may emit, start operations,
 * attach and detach signals, and clear or reassign the very slot it was called through. */
typedef void unr_cancel_fn(void *context, struct unr_cancel_request request);

/* unring's own part of a `struct unr_slot`: not to be read or written. */
struct unr_slot_private {
    void *latch; /* the latched signal that this slot belongs to, its own or an ancestor */
};

/* Where a request arrives.  Holds exactly one handler; assigning another replaces it.  An operation
 * installs its handler when it starts and takes it out just before its `done`, if it is still its
 * own: a slot never points at a finished operation.  Zeroed memory is an empty slot.  A slot is a
 * signal's, or the caller's own, to which the caller delivers by calling the handler. */
struct unr_slot {
    unr_cancel_fn          *handler; /* NULL: empty */
    void                   *context;
    struct unr_slot_private private_fields;
};

/* Puts `handler` into the slot in place of whatever it holds.  Assigning over a live operation's
 * handler disconnects that operation: it runs on, and the request no longer reaches it.
 * Threads  the loop's. */
UNR_API void unr_slot_assign(struct unr_slot *slot, unr_cancel_fn *handler, void *context);

/* Empties the slot.  Threads: the loop's. */
UNR_API void unr_slot_clear(struct unr_slot *slot);

UNR_API bool unr_slot_has_handler(const struct unr_slot *slot);

/* unring's own part of a `struct unr_signal`: not to be read or written. */
struct unr_signal_private {
    bool is_cursor; /* not a signal: where an emit stands among the children */
};

/* The producer's side of one slot.  Zeroed memory is an idle, edge-triggered signal: a request that
 * finds no handler has no effect.  A latched signal (unr_signal_init_latched) remembers what it was
 * emitted: until unr_signal_reset() that is requested of whatever starts on the slot.
 *
 * Signals form trees.  A child receives what its parent is emitted, a latched request included, and
 * may be emitted alone: one emit, any number of operations.  Children come first (the one attached
 * last foremost), the signal's own handler last, and nothing of a signal is touched after its own
 * handler, which may therefore free it, unless it is attached or a parent.
 *
 * A signal belongs to one thread, that of the loop whose operations are bound to it; unr_remote
 * (thread.h) emits from others.  It stays where it is while an operation is bound to it, while it
 * is attached and while it is a parent. */
struct unr_signal {
    struct unr_slot           slot;
    struct unr_cancel_request latched_request;
    bool                      latches;
    struct unr_signal        *parent, *first_child, *next_sibling, *previous_sibling;
    struct unr_signal_private private_fields;
};

/* Makes zeroed memory, or an idle signal, a latched signal with nothing latched. */
UNR_API void unr_signal_init_latched(struct unr_signal *signal);

/* The slot to bind an operation to: unr_bind_slot(described, unr_signal_slot(&signal)).
 * Reuse    a slot serves one operation at a time, and any number after one another. */
UNR_API struct unr_slot *unr_signal_slot(struct unr_signal *signal);

/* Requests cancellation of what is bound to the signal and to its descendants.
 *
 * types    mask of UNR_CANCEL_*; 0 or a bit outside UNR_CANCEL_ALL is a broken contract.
 * cause    negative; arrives in unr_result.cause.  unr_signal_emit() gives -ECANCELED.
 * Returns  true if a handler ran anywhere in the tree, whatever its operation made of the request.
 * Threads  the loop's; allowed inside any `done`, handler, condition and filter.  Runs no
 *          `done`. */
UNR_API bool unr_signal_emit(struct unr_signal *signal, unsigned types);
UNR_API bool unr_signal_emit_cause(struct unr_signal *signal, unsigned types, int cause);

/* Forgets what a latched signal has latched.  A latched child keeps its own copy until its own
 * reset. */
UNR_API void unr_signal_reset(struct unr_signal *signal);

/* Makes `child` a child of `parent`.  What the parent has latched is requested of it and its
 * descendants at once; an emit of an edge-triggered parent that is under way does not reach it.
 * Broken contract: a child that is attached already, and a circle. */
UNR_API void unr_signal_attach(struct unr_signal *child, struct unr_signal *parent);

/* Takes `child` with all its own children out of its parent's; nothing if it has no parent. */
UNR_API void unr_signal_detach(struct unr_signal *child);

UNR_END
#endif
