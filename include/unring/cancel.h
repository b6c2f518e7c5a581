/* SPDX-License-Identifier: MIT */
/* Cancellation, the requester's side: the guarantees that a requester accepts, the slot through
 * which a request reaches an operation, and the signal that emits requests.  A request is here
 * always a request to cancel.  What an operation does with a request, and what its result says of
 * it, is in op.h, which also explains the words that all headers use. */
#ifndef UNRING_CANCEL_H
#define UNRING_CANCEL_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <unring/common.h>

UNR_BEGIN

/* The guarantees that a cancellation can give, weakest first: bits of a mask.  A requester names
 * each guarantee that it accepts.  An operation supports the strongest guarantee that it can give
 * and all weaker ones.  It honours a request that names at least one guarantee that it supports,
 * and refuses every other request. */
#define UNR_CANCEL_NONE     0u /* none: the operation cannot be cancelled */
#define UNR_CANCEL_TERMINAL 1u /* afterwards the object of the operation may only be closed */
#define UNR_CANCEL_PARTIAL  2u /* side effects are well defined, and the result tells them */
#define UNR_CANCEL_TOTAL    4u /* no side effect can be seen */
#define UNR_CANCEL_ALL      7u /* any of the three */

/* A request to cancel. */
struct unr_cancel_request {
    unsigned types; /* the guarantees that the requester accepts: UNR_CANCEL_*, never 0 */
    int      cause; /* why: -ECANCELED, -ETIMEDOUT, or a negative number of the requester's own */
};

/* Handles a request that has arrived at a slot.
 *
 * context  as given to unr_slot_assign().
 * Returns  true if the request is honoured, false if it is refused: whoever emits it is told how
 *          many honoured it.
 * Inside   it may emit, start operations, attach and detach signals, and clear or reassign the
 *          very slot through which it was called.
 * Threads  the loop's: the handler runs inside the emit. */
typedef bool unr_cancel_fn(void *context, struct unr_cancel_request request);

/* unring's own part of a `struct unr_slot`: not to be read or written. */
struct unr_slot_private {
    /* The latched signal that the slot belongs to, its own or an ancestor; the low bit is set
     * while an emit passes through the slot's own signal. */
    uintptr_t latch;
};

/* The place where requests for one operation arrive.  A slot holds one handler at most; assigning
 * another handler replaces it.  An operation that is bound to the slot puts its handler there when
 * it starts.  Just before its `done` the operation takes that handler out again, unless another
 * handler has replaced it.  So a slot never points at a finished operation.
 *
 * A slot belongs to a signal, or it is the caller's own.  To a slot of its own the caller delivers
 * a request by calling the handler, with types and cause as for unr_cancel_cause().  Zeroed memory
 * is an empty slot. */
struct unr_slot {
    unr_cancel_fn          *handler; /* NULL: the slot is empty */
    void                   *context; /* passed to the handler */
    struct unr_slot_private private_fields;
};

/* Puts `handler` into the slot, in place of the handler that is there.
 *
 * handler   called for each request that arrives; NULL empties the slot.
 * context   the caller's; valid as long as the handler is in the slot.
 * Replaced  an operation in flight whose handler is replaced goes on, and requests through this
 *           slot do not reach it any more.
 * Threads   the loop's. */
UNR_API void unr_slot_assign(struct unr_slot *slot, unr_cancel_fn *handler, void *context);

/* Empties the slot.
 *
 * Replaced  an operation in flight whose handler was in the slot goes on, and requests through
 *           this slot do not reach it any more.
 * Threads   the loop's. */
UNR_API void unr_slot_clear(struct unr_slot *slot);

/* Tells whether the slot holds a handler.
 *
 * Threads  the loop's. */
UNR_API bool unr_slot_has_handler(const struct unr_slot *slot);

/* unring's own part of a `struct unr_signal`: not to be read or written. */
struct unr_signal_private {
    bool is_cursor; /* this is no signal: it marks how far an emit has come among the children */
};

/* The producer's side of one slot.  Zeroed memory is an idle, edge-triggered signal: a request
 * that finds no handler has no effect.  A latched signal (unr_signal_init_latched()) remembers the
 * requests that it has emitted: until unr_signal_reset() they are also made to each operation that
 * starts on its slot.
 *
 * Signals form trees.  A child receives each request that its parent emits or has latched, and can
 * be emitted alone.  An emit serves the children first, beginning with the child that was attached
 * last, and then the handler of the signal itself.
 *
 * Memory   the caller's.  A signal stays where it is while its slot holds a handler, that of an
 *          operation that is bound to it or another; while it is attached; and while it is a
 *          parent.  When none of these holds any more it may be freed, also by a handler inside an
 *          emit that passes through it: that emit touches it no more.  A handler of its own may
 *          free it too, unless it is attached or a parent.
 * Threads  a signal belongs to the thread of the loop whose operations are bound to it.  Other
 *          threads emit it with unr_remote_emit() of thread.h. */
struct unr_signal {
    struct unr_slot           slot;            /* unr_signal_slot() */
    struct unr_cancel_request latched_request; /* types 0: nothing is latched */
    bool                      latches;         /* set by unr_signal_init_latched() */
    /* Written by unr_signal_attach() and unr_signal_detach() alone. */
    struct unr_signal        *parent, *first_child, *next_sibling, *previous_sibling;
    struct unr_signal_private private_fields;
};

/* Makes `signal` a latched signal that has latched nothing.
 *
 * signal   overwritten: zeroed memory, or a signal to which no operation is bound and which is
 *          neither attached nor a parent. */
UNR_API void unr_signal_init_latched(struct unr_signal *signal);

/* Returns the slot of a signal, for unr_bind_slot().
 *
 * Reuse    a slot serves one operation at a time, and any number of operations one after another.
 * Returns  a pointer into `signal`. */
UNR_API struct unr_slot *unr_signal_slot(struct unr_signal *signal);

/* Requests cancellation of every operation bound to a signal.
 *
 * Reaches  the operation on the signal's slot and those on the slots of all its descendants; and
 *          the caller's own handlers there.  The cause is -ECANCELED.
 * types    the guarantees that the requester accepts: a mask of UNR_CANCEL_*.  0 and bits outside
 *          UNR_CANCEL_ALL are a broken contract.
 * Returns  how many honoured the request: operations, and handlers of the caller's own that
 *          returned true.  An operation that honours it again counts; one that had completed does
 *          not.  0: nobody was there, or everybody refused, so that nothing will end for it.
 * Inside   any `done`, handler, condition and filter.  An emit runs no `done`.
 * Threads  the loop's. */
UNR_API unsigned unr_signal_emit(struct unr_signal *signal, unsigned types);

/* Requests cancellation of every operation bound to a signal, with a cause.
 *
 * Reaches  the operation on the signal's slot and those on the slots of all its descendants; and
 *          the caller's own handlers there.
 * types    the guarantees that the requester accepts: a mask of UNR_CANCEL_*.  0 and bits outside
 *          UNR_CANCEL_ALL are a broken contract.
 * cause    why: a negative number, which the result of an operation that is cancelled has as its
 *          cause.  0 and above is a broken contract.
 * Returns  how many honoured the request: operations, and handlers of the caller's own that
 *          returned true.  An operation that honours it again counts; one that had completed does
 *          not.  0: nobody was there, or everybody refused, so that nothing will end for it.
 * Inside   any `done`, handler, condition and filter.  An emit runs no `done`.
 * Threads  the loop's. */
UNR_API unsigned unr_signal_emit_cause(struct unr_signal *signal, unsigned types, int cause);

/* Makes a latched signal forget the requests that it has latched.
 *
 * A latched child keeps the requests that it has latched itself, until its own reset.  Resetting
 * an edge-triggered signal changes nothing.
 *
 * Threads  the loop's. */
UNR_API void unr_signal_reset(struct unr_signal *signal);

/* Makes `child` a child of `parent`.
 *
 * Latched  the requests that a latched `parent` has latched are made to `child` and its
 *          descendants at once.  An emit of an edge-triggered `parent` that is under way does not
 *          reach `child`.
 * Broken   attaching a signal that has a parent, attaching a signal below itself, and a tree of more
 *          than 1000 levels are broken contracts.
 * Inside   any `done`, handler, condition and filter.
 * Threads  the loop's. */
UNR_API void unr_signal_attach(struct unr_signal *child, struct unr_signal *parent);

/* Takes `child`, together with its own children, away from its parent.
 *
 * A signal without a parent stays as it is.
 *
 * Inside   any `done`, handler, condition and filter.
 * Threads  the loop's. */
UNR_API void unr_signal_detach(struct unr_signal *child);

UNR_END
#endif
