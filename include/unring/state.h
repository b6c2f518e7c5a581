/* Cancellation state: what a composed operation was asked for, and the filters that decide what it
 * lets in and what it passes on.  One mechanism for everything that is made of operations one after
 * another. */
#ifndef UNRING_STATE_H
#define UNRING_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <unring/cancel.h>

UNR_BEGIN

struct unr_op;

/* What a request for one type becomes; 0: it is refused.  A mask of types is put to a filter one by
 * one, and the answers are or-ed.  A type that does not exist is a broken contract.
 * Threads  the loop's.  It may emit and start operations. */
typedef unsigned unr_filter_fn(void *context, unsigned type);

/* Asio's four, which let nothing through, terminal alone, that and partial, everything; `context`
 * is not looked at. */
UNR_API unsigned unr_let_none(void *context, unsigned type);
UNR_API unsigned unr_let_terminal(void *context, unsigned type);
UNR_API unsigned unr_let_partial(void *context, unsigned type);
UNR_API unsigned unr_let_total(void *context, unsigned type);

/* unring's own part of a `struct unr_cancel_state`: not to be read or written. */
struct unr_cancel_state_private {
    struct unr_cancel_request let_in;
    unr_filter_fn            *in, *out;
    void                     *context;
    struct unr_op            *op;
    uint8_t                   supports; /* without an in filter */
    bool                      lets_children_begin;
};

/* A request passes the in filter, where it may be refused; what comes out is let in: or-ed to what
 * was let in before, and kept, with the first cause, until the state is reset.  It then passes the
 * out filter and is requested of the child in flight, and of every later child before that begins -
 * so a request that loses to the completion of one child still ends the whole before the next.  A
 * child that supports none of it runs; so one that supports NONE, closing a descriptor say, always
 * does.
 *
 * Whoever sets no filter lets in what the operation supports and passes on the same. */
struct unr_cancel_state {
    struct unr_cancel_state_private private_fields;
};

/* The types that were let in, and the cause of the first; 0 if none was. */
UNR_API unsigned unr_state_cancelled(const struct unr_cancel_state *state);
UNR_API int      unr_state_cause(const struct unr_cancel_state *state);

/* Forgets what was let in, and sets the filters; NULL is what a state begins with.  With an `in` of
 * its own the operation supports exactly the types of which that lets something in.  What was asked
 * before may be asked again. (`in` total, `out` none: requests are recorded, and interrupt
 * nothing.)
 * Threads  the loop's. */
UNR_API void unr_state_reset(struct unr_cancel_state *state, unr_filter_fn *in, unr_filter_fn *out,
                             void *context);

/* Off: later children do begin whatever was let in, to clean up after a cancellation; the child in
 * flight is still asked.  On at the beginning. */
UNR_API void unr_state_preempt(struct unr_cancel_state *state, bool on);

UNR_END
#endif
