/* SPDX-License-Identifier: MIT */
/* Children one after another, under one cancellation state.  Who decides which child comes next is
 * in compose.c and in lib/fiber/; the cancellation state itself is in state.c. */
#include "sequence.h"
#include "../core/cancel.h"
#include "../core/combinator.h"
#include "../core/loop_core.h"

static_assert(offsetof(struct unri_sequence, private_fields.state) == sizeof(struct unr_op), "");

void unri_sequence_init(struct unri_sequence *sequence)
{
    struct unr_sequence *s = &sequence->private_fields;
    unri_cancel_state_init(&s->state, &sequence->op);
    s->child_cause = 0;
    s->child_failed = false;
    s->proven = UNR_CANCEL_TOTAL;
    s->phase = UNRI_NOT_BEGUN;
}

unsigned unri_sequence_let_in(struct unri_sequence *sequence, struct unr_cancel_request request)
{
    unsigned let_in = unri_cancel_state_let_in(&sequence->private_fields.state, request);
    unri_record_request(&sequence->op, request, let_in);
    return let_in;
}

void unri_sequence_ask_child(struct unri_sequence *sequence, unsigned types, int cause)
{
    if (types && sequence->private_fields.phase == UNRI_WAITING)
        unri_request(unri_sequence_child(sequence), (struct unr_cancel_request){ types, cause });
}

/* A request that is let in ends the operation before its first step.  A closing loop ends it as
 * well if the `in` filter refuses, because no cancellation state can shield from that (rule 10,
 * Close); but an operation that supports NONE runs. */
bool unri_sequence_ends_early(struct unri_sequence *sequence, struct unr_cancel_request asked)
{
    struct unr_op *op = &sequence->op;
    bool           closing = op->private_fields.loop->closing && unri_own_supports(op);
    bool           let_in = unri_cancel_state_let_in(&sequence->private_fields.state, asked);
    let_in |= unr_state_cancelled(&sequence->private_fields.state) != 0; /* while it was held */
    unri_record_request(op, asked, let_in);
    return let_in || closing;
}

/* The cancellation state keeps what it has let in until the start. */
bool unri_sequence_request_while_held(struct unr_op *held, struct unr_cancel_request request)
{
    struct unr_cancel_state *state = &unri_sequence_of(held)->private_fields.state;
    return unri_cancel_state_let_in(state, request) || unr_state_cancelled(state);
}

/* The order matters, because two of these calls run code of the caller's.  The `out` filter may
 * cancel the operation: that is before WAITING, so the request is not made to the child, which has
 * not begun, but added to `asked`.  The start of the child may cancel the operation too: that is
 * after WAITING, and the request is made to the child. */
void unri_sequence_next(struct unri_sequence *sequence, const struct unr_cancel_state *state,
                        struct unr_op *described)
{
    struct unr_cancel_request asked = { 0 };
    unri_hold(described);
    if (unlikely(unr_state_cancelled(state)))
        asked = unri_cancel_state_preempting(state);
    sequence->private_fields.phase = UNRI_WAITING;
    unri_private(&sequence->op)->address = (uintptr_t)described;
    unri_start_child(&sequence->op, described, asked);
}

void unri_sequence_child_ended(struct unri_sequence *sequence, const struct unr_op *child)
{
    struct unr_sequence *s = &sequence->private_fields;
    if (child->result.error == -ECANCELED)
        s->child_failed = !unri_was_cancelled(&child->result);
    if (unri_was_cancelled(&child->result)) {
        s->child_cause = child->result.cause;
        if (child->result.guarantee < s->proven)
            s->proven = child->result.guarantee;
    }
}

/* Ends the operation as cancelled: under the guarantee that it supports, or the weakest that a
 * child has proved, if that is weaker; unless the caller's code has set one.  Where the operation
 * supports NONE, or has honoured no request, somebody asked the child alone, a deadline around it
 * say, and cause and verdict are those of that cancellation. */
static void end_cancelled(struct unri_sequence *sequence)
{
    const struct unr_sequence *s = &sequence->private_fields;
    struct unr_op             *op = &sequence->op;
    unsigned                   guarantee = unri_strongest(unri_own_supports(op));
    if (!guarantee)
        guarantee = UNR_CANCEL_TERMINAL;
    if (s->proven < guarantee)
        guarantee = s->proven;
    if (!op->result.guarantee)
        op->result.guarantee = (uint8_t)guarantee;
    if (op->private_fields.flags & UNRI_HONOURED || !s->child_cause)
        unri_end(op, -ECANCELED);
    else
        unri_end_cancelled(op, s->child_cause, UNR_VERDICT_CANCELLED);
}

void unri_sequence_end(struct unri_sequence *sequence, int error)
{
    struct unr_op *op = &sequence->op;
    sequence->private_fields.phase = UNRI_ENDED;
    bool honoured = op->private_fields.flags & UNRI_HONOURED;
    if (error == -ECANCELED && (honoured || !sequence->private_fields.child_failed))
        end_cancelled(sequence);
    else
        unri_end_uncancelled(op, error);
}
