/* SPDX-License-Identifier: MIT */
/* Cancellation state: the requests that a composed operation (compose.h) has let in, and the
 * filters that decide which types it lets in and which it passes on to its children.  A request is
 * here always a request to cancel. */
#ifndef UNRING_STATE_H
#define UNRING_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <unring/cancel.h>

UNR_BEGIN

/* Translates one type of a request.  A request for several types is put to the filter type by
 * type, and the answers are or-ed.
 *
 * context  as given to unr_state_reset() or unr_filter().
 * type     one bit: UNR_CANCEL_TERMINAL, UNR_CANCEL_PARTIAL or UNR_CANCEL_TOTAL.
 * Returns  a mask of UNR_CANCEL_*; 0: this type is refused.  A bit outside UNR_CANCEL_ALL is a
 *          broken contract.
 * Inside   it may emit, cancel and start operations.
 * Threads  the loop's. */
typedef unsigned unr_filter_fn(void *context, unsigned type);

/* Lets no request through: a filter that returns 0.  `context` is not looked at. */
UNR_API unsigned unr_let_none(void *context, unsigned type);

/* Lets TERMINAL through, as it is, and no other type.  `context` is not looked at. */
UNR_API unsigned unr_let_terminal(void *context, unsigned type);

/* Lets TERMINAL and PARTIAL through, as they are, and not TOTAL.  `context` is not looked at. */
UNR_API unsigned unr_let_partial(void *context, unsigned type);

/* Lets each type through as it is.  `context` is not looked at. */
UNR_API unsigned unr_let_total(void *context, unsigned type);

/* unring's own part of a `struct unr_cancel_state`: not to be read or written. */
struct unr_cancel_state_private {
    unr_filter_fn *in, *out;            /* NULL: unring's own */
    void          *context;             /* of both filters */
    int32_t        cause;               /* of the first request let in since the reset */
    uint8_t        let_in;              /* all types let in since the reset */
    uint8_t        supports;            /* what the operation supports without an `in` filter */
    bool           lets_children_begin; /* unr_state_preempt(state, false) */
};

/* The cancellation state of a composed operation: unr_compose_state().
 *
 * In       a request is first put to the `in` filter.  A type that the filter refuses has no
 *          further effect.  The types that the filter returns are let in: the state keeps them,
 *          or-ed to those of earlier requests, with the cause of the first, until
 *          unr_state_reset().  Without an `in` filter the types that the operation supports are
 *          let in.
 * Out      the types that were let in are then put to the `out` filter, and the child in flight is
 *          asked for the types that this filter returns.  Without an `out` filter they are passed
 *          on as they are.
 * Later    each later child is asked, before it begins, for all types that were let in by then and
 *          that the `out` filter passes on.  So a request that loses to the completion of one
 *          child still ends the operation before the next child.
 * Runs     a child that supports none of the types that are passed on begins, and goes on.  So a
 *          child that supports NONE, one that closes a descriptor say, always runs. */
struct unr_cancel_state {
    struct unr_cancel_state_private private_fields;
};

/* What a composed operation, and a fiber, keep of their children, which come one after another:
 * unring's own, not to be read or written. */
struct unr_sequence {
    struct unr_cancel_state state;        /* right behind the operation */
    int32_t                 child_cause;  /* of the last child that was cancelled; 0: none was */
    uint8_t                 proven;       /* the weakest guarantee that a child has proved */
    uint8_t                 phase;        /* between which of its children it is */
    bool                    child_failed; /* the last -ECANCELED of a child was no cancellation */
};

/* Returns the types that were let in since the last reset: a mask of UNR_CANCEL_*.
 *
 * Returns  0: no request was let in.
 * Threads  the loop's. */
UNR_API unsigned unr_state_cancelled(const struct unr_cancel_state *state);

/* Returns the cause of the first request that was let in since the last reset.
 *
 * Returns  0: no request was let in.
 * Threads  the loop's. */
UNR_API int unr_state_cause(const struct unr_cancel_state *state);

/* Forgets the requests that were let in, and sets the filters.
 *
 * in, out  NULL: as at the beginning, without that filter.  With `in` unr_let_total() and `out`
 *          unr_let_none(), requests are recorded and interrupt nothing.
 * context  both filters are called with it; valid as long as they are set.
 * Changes  with an `in` filter the operation supports exactly the types for which that filter
 *          returns something but 0; the filter is asked for each type here.  A type that was asked
 *          for before may be asked for again, and be honoured again.
 * Inside   a step of the operation; or between its description and its start.
 * Threads  the loop's. */
UNR_API void unr_state_reset(struct unr_cancel_state *state, unr_filter_fn *in, unr_filter_fn *out,
                             void *context);

/* Sets whether earlier requests end later children before they begin.
 *
 * on       true, as at the beginning: each later child is asked for the types that were let in,
 *          and mostly ends before it begins.  False: later children begin, to clean up after a
 *          cancellation.  A request that is let in later is passed on to the child in flight
 *          either way.
 * Threads  the loop's. */
UNR_API void unr_state_preempt(struct unr_cancel_state *state, bool on);

UNR_END
#endif
