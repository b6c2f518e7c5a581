/* SPDX-License-Identifier: MIT */
/* The cancellation state, as its owners use it: composed operations (compose.c).  Its filters are
 * the caller's.  <unring/state.h> has the functions for callers, and explains In, Out and Later. */
#ifndef UNRI_STATE_H
#define UNRI_STATE_H

#include <unring/state.h>
#include "../core/base.h"

struct unr_op;

/* Puts each of `types` to a filter by itself, and returns the answers, or-ed. */
unsigned unri_filter_types(unr_filter_fn *filter, void *context, unsigned types);

/* Begins the cancellation state of `op`, which has just been described.  The state lies right
 * behind `op`. */
void unri_cancel_state_init(struct unr_cancel_state *state, struct unr_op *op);

/* Puts a request to the `in` filter, and keeps the types that come through for later children.
 * Returns those types; 0: the request is refused. */
unsigned unri_cancel_state_let_in(struct unr_cancel_state  *state,
                                  struct unr_cancel_request request);

/* Keeps types for later children, past the `in` filter. */
void unri_cancel_state_record(struct unr_cancel_state *state, struct unr_cancel_request request);

/* Forgets what was let in, and in the owner's result which request was honoured. */
void unri_cancel_state_forget(struct unr_cancel_state *state);

/* Puts types that were let in to the `out` filter.  Returns the types that are to be requested of
 * the child in flight. */
unsigned unri_cancel_state_let_out(const struct unr_cancel_state *state, unsigned types);

/* Returns the request that is to be made to a child before it begins: for all types that were let
 * in and pass the `out` filter.  Types 0: there is none. */
struct unr_cancel_request unri_cancel_state_preempting(const struct unr_cancel_state *state);

#endif
