/* SPDX-License-Identifier: MIT */
/* Cancellation state: filters, and what was let in. */
#include "state.h"
#include "../core/contract.h"
#include "../core/op.h"

unsigned unr_let_none(void *context, unsigned type)
{
    (void)context, (void)type;
    return UNR_CANCEL_NONE;
}

unsigned unr_let_terminal(void *context, unsigned type)
{
    (void)context;
    return type & UNR_CANCEL_TERMINAL;
}

unsigned unr_let_partial(void *context, unsigned type)
{
    (void)context;
    return type & (UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL);
}

unsigned unr_let_total(void *context, unsigned type)
{
    (void)context;
    return type & UNR_CANCEL_ALL;
}

unsigned unri_filter_types(unr_filter_fn *filter, void *context, unsigned types)
{
    unsigned let = 0;
    for (unsigned type = UNR_CANCEL_TERMINAL; type <= UNR_CANCEL_TOTAL; type <<= 1)
        if (types & type)
            let |= filter(context, type);
    if (let & ~UNR_CANCEL_ALL)
        unri_broken("a filter that answers with types that do not exist", NULL,
                    "a filter returns a mask of UNR_CANCEL_*");
    return let;
}

void unri_cancel_state_init(struct unr_cancel_state *state, struct unr_op *op)
{
    *state = (struct unr_cancel_state){ .private_fields.op = op,
                                        .private_fields.supports = (uint8_t)unri_own_supports(op) };
}

static unsigned filter_in(const struct unr_cancel_state *state, unsigned types)
{
    return state->private_fields.in
               ? unri_filter_types(state->private_fields.in, state->private_fields.context, types)
               : types & state->private_fields.supports;
}

unsigned unri_cancel_state_let_out(const struct unr_cancel_state *state, unsigned types)
{
    return state->private_fields.out
               ? unri_filter_types(state->private_fields.out, state->private_fields.context, types)
               : types;
}

unsigned unri_cancel_state_let_in(struct unr_cancel_state *state, struct unr_cancel_request request)
{
    unsigned let = filter_in(state, request.types);
    if (let && !state->private_fields.let_in.types)
        state->private_fields.let_in.cause = request.cause;
    state->private_fields.let_in.types |= let;
    return let;
}

struct unr_cancel_request unri_cancel_state_preempting(const struct unr_cancel_state *state)
{
    unsigned let_in, passed;
    do { /* while it is asked, the filter may let in more */
        let_in = state->private_fields.let_in.types;
        passed = let_in && !state->private_fields.lets_children_begin
                     ? unri_cancel_state_let_out(state, let_in)
                     : 0;
    } while (let_in != state->private_fields.let_in.types);
    return (struct unr_cancel_request){ passed, state->private_fields.let_in.cause };
}

unsigned unr_state_cancelled(const struct unr_cancel_state *state)
{
    return state->private_fields.let_in.types;
}

int unr_state_cause(const struct unr_cancel_state *state)
{
    return state->private_fields.let_in.cause;
}

void unr_state_reset(struct unr_cancel_state *state, unr_filter_fn *in, unr_filter_fn *out,
                     void *context)
{
    struct unr_op_private *p = unri_private(state->private_fields.op);
    state->private_fields.let_in = (struct unr_cancel_request){ 0 };
    state->private_fields.in = in;
    state->private_fields.out = out;
    state->private_fields.context = context;
    /* What was honoured so far has been dealt with; what ends the operation in the end is what
     * comes now. */
    if (p->flags & UNRI_HONOURED) {
        unri_clear_flags(state->private_fields.op, UNRI_HONOURED);
        state->private_fields.op->result.verdict = UNR_VERDICT_NONE;
        state->private_fields.op->result.cause = 0;
    }
    unsigned supports = 0;
    for (unsigned type = UNR_CANCEL_TERMINAL; type <= UNR_CANCEL_TOTAL; type <<= 1)
        if (filter_in(state, type))
            supports |= type;
    unri_set_supports(state->private_fields.op, supports);
}

void unr_state_preempt(struct unr_cancel_state *state, bool on)
{
    state->private_fields.lets_children_begin = !on;
}
