/* SPDX-License-Identifier: MIT */
/* The cancellation state as those who have one use it: composed operations. */
#ifndef UNRI_STATE_H
#define UNRI_STATE_H

#include <unring/state.h>
#include "../core/base.h"

/* What a filter makes of a mask of types: it is asked for each alone. */
unsigned unri_filter_types(unr_filter_fn *filter, void *context, unsigned types);

/* The state of an operation that has just been described. */
void unri_cancel_state_init(struct unr_cancel_state *state, struct unr_op *op);
/* Lets a request in, and keeps it: the types that came through; 0: it is refused. */
unsigned unri_cancel_state_let_in(struct unr_cancel_state  *state,
                                  struct unr_cancel_request request);
/* What of them is to be requested of the child in flight. */
unsigned unri_cancel_state_let_out(const struct unr_cancel_state *state, unsigned types);
/* What is to be requested of a child before it begins. */
struct unr_cancel_request unri_cancel_state_preempting(const struct unr_cancel_state *state);

#endif
