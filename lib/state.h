/* The cancellation state as those who have one use it: composed operations. */
#ifndef UNRI_STATE_H
#define UNRI_STATE_H

#include "internal.h"

/* The state of an operation that has just been described. */
void unri_state_init(struct unr_cancel_state *state, struct unr_op *op);
/* Lets a request in.  What is to be requested of the child in flight; types 0: nothing. */
struct unr_request unri_state_request(struct unr_cancel_state *state, struct unr_request request);
/* What is to be requested of a child before it begins. */
struct unr_request unri_state_preempting(const struct unr_cancel_state *state);

#endif
