/* SPDX-License-Identifier: MIT */
/* What composed operations (compose.c) and fibers (lib/fiber/) share: children that come one after
 * another, under one cancellation state.
 *
 * The phase of such an operation in flight:
 *
 *   NOT_BEGUN -> STEPPING   code of the caller's runs: a step, or the function of the fiber
 *   STEPPING  -> WAITING    [unri_sequence_next]   that code has begun a child
 *   WAITING   -> STEPPING   the child has ended, and the code goes on
 *   STEPPING  -> ENDED      the code has ended the operation
 *
 * It stays NOT_BEGUN if a request ends it before that code runs.  A child is in flight, and can be
 * asked, in the phase WAITING alone.  A request in any other phase is kept in the cancellation
 * state and made to the next child before that begins (rule 12, Stickiness).  So a request that
 * loses to the end of one child still ends the operation. */
#ifndef UNRI_SEQUENCE_H
#define UNRI_SEQUENCE_H

#include <unring/op.h>
#include "state.h"

enum unri_phase { UNRI_NOT_BEGUN, UNRI_STEPPING, UNRI_WAITING, UNRI_ENDED };

/* What a struct unr_compose and a struct unr_fiber begin with. */
struct unri_sequence {
    struct unr_op       op;
    struct unr_sequence private_fields;
};

static inline struct unri_sequence *unri_sequence_of(struct unr_op *op)
{
    return (struct unri_sequence *)op;
}

/* The child that was begun last, which is kept where a system call has its arguments. */
static inline struct unr_op *unri_sequence_child(const struct unri_sequence *sequence)
{
    return (struct unr_op *)(uintptr_t)sequence->op.private_fields.address;
}

/* Prepares an operation that was just described. */
void unri_sequence_init(struct unri_sequence *sequence);

/* Lets a request in, and records it.  Returns the types that were let in. */
unsigned unri_sequence_let_in(struct unri_sequence *sequence, struct unr_cancel_request request);

/* Requests `types`, which have passed every filter, of the child in flight, if there is one. */
void unri_sequence_ask_child(struct unri_sequence *sequence, unsigned types, int cause);

/* Lets in what was requested before the start, and records it.  Returns true if the operation is to
 * end before it begins (rule 6). */
bool unri_sequence_ends_early(struct unri_sequence *sequence, struct unr_cancel_request asked);

/* For unri_combinator.request_while_held. */
bool unri_sequence_request_while_held(struct unr_op *held, struct unr_cancel_request request);

/* Begins the next child: in phase STEPPING.  It is asked for what `state` keeps. */
void unri_sequence_next(struct unri_sequence *sequence, const struct unr_cancel_state *state,
                        struct unr_op *described);

/* Keeps what a child that has ended has proved, for unri_sequence_end(). */
void unri_sequence_child_ended(struct unri_sequence *sequence, const struct unr_op *child);

/* Ends the operation. */
void unri_sequence_end(struct unri_sequence *sequence, int error);

#endif
