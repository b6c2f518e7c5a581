/* SPDX-License-Identifier: MIT */
/* The cancellation state: the requests that were let in, and the filters through which they came in
 * and go out to the children.  Who makes requests to the children, and when, is in sequence.c. */
#include "state.h"
#include "../core/contract.h"
#include "../core/fiber_running.h"
#include "../core/op.h"
#include "../core/type.h"

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
    unsigned       let = 0;
    struct unr_op *left = unri_leave_fiber();
    for (unsigned type = UNR_CANCEL_TERMINAL; type <= UNR_CANCEL_TOTAL; type <<= 1)
        if (types & type)
            let |= filter(context, type);
    unri_return_to_fiber(left);
    if (let & ~UNR_CANCEL_ALL)
        unri_broken("a filter that answers with types that do not exist", NULL,
                    "a filter returns a mask of UNR_CANCEL_*");
    return let;
}

/* A cancellation state lies right behind its operation. */
struct owner {
    struct unr_op           op;
    struct unr_cancel_state state;
};

static struct unr_op *owner_of(struct unr_cancel_state *state)
{
    return &unr_container_of(state, struct owner, state)->op;
}

void unri_cancel_state_init(struct unr_cancel_state *state, struct unr_op *op)
{
    assert(owner_of(state) == op);
    *state = (struct unr_cancel_state){ 0 };
    state->private_fields.supports = (uint8_t)unri_own_supports(op);
}

/* Returns what the `in` filter makes of types.  Without one, the types come through that the
 * operation supported when it was described. */
static unsigned filter_in(const struct unr_cancel_state_private *s, unsigned types)
{
    return s->in ? unri_filter_types(s->in, s->context, types) : types & s->supports;
}

unsigned unri_cancel_state_let_out(const struct unr_cancel_state *state, unsigned types)
{
    const struct unr_cancel_state_private *s = &state->private_fields;
    return s->out ? unri_filter_types(s->out, s->context, types) : types;
}

/* Rule 12, Stickiness: types are or-ed to those of earlier requests, and the first cause stays. */
void unri_cancel_state_record(struct unr_cancel_state *state, struct unr_cancel_request request)
{
    struct unr_cancel_state_private *s = &state->private_fields;
    if (!s->let_in)
        s->cause = request.cause;
    s->let_in |= (uint8_t)request.types;
}

/* A request leaves no trace here if none of its types comes through. */
unsigned unri_cancel_state_let_in(struct unr_cancel_state *state, struct unr_cancel_request request)
{
    request.types = filter_in(&state->private_fields, request.types);
    if (request.types)
        unri_cancel_state_record(state, request);
    return request.types;
}

/* The `out` filter is the caller's code and may cancel the operation (rule 9, Re-entrancy).  That
 * request is let in, but passed on to no child, for none is in flight.  The child that is about to
 * begin must be asked for it as well, so the filter is asked again until no type was added. */
struct unr_cancel_request unri_cancel_state_preempting(const struct unr_cancel_state *state)
{
    const struct unr_cancel_state_private *s = &state->private_fields;
    unsigned                               let_in, passed;
    do {
        let_in = s->let_in;
        passed = 0;
        if (let_in && !s->lets_children_begin)
            passed = unri_cancel_state_let_out(state, let_in);
    } while (let_in != s->let_in);
    return (struct unr_cancel_request){ passed, s->cause };
}

unsigned unr_state_cancelled(const struct unr_cancel_state *state)
{
    return state->private_fields.let_in;
}

int unr_state_cause(const struct unr_cancel_state *state)
{
    return state->private_fields.cause;
}

/* Makes the result forget which request was honoured: whoever resets the cancellation state has
 * dealt with that request, and verdict and cause are to tell of the one that ends the operation.
 * `requested` keeps its types, for it tells everything that was asked (rule 3, Truth). */
static void forget_honoured(struct unr_op *op)
{
    if (op->private_fields.flags & UNRI_HONOURED) {
        unri_clear_flags(op, UNRI_HONOURED);
        op->result.verdict = UNR_VERDICT_NONE;
        op->result.cause = 0;
    }
}

void unri_cancel_state_forget(struct unr_cancel_state *state)
{
    state->private_fields.let_in = 0;
    state->private_fields.cause = 0;
    forget_honoured(owner_of(state));
}

/* The filters are set before the new `in` filter is asked, type by type, what the operation
 * supports from now on (rule 5, Guarantees). */
void unr_state_reset(struct unr_cancel_state *state, unr_filter_fn *in, unr_filter_fn *out,
                     void *context)
{
    struct unr_cancel_state_private *s = &state->private_fields;
    unri_cancel_state_forget(state);
    s->in = in;
    s->out = out;
    s->context = context;
    unsigned supports = 0;
    for (unsigned type = UNR_CANCEL_TERMINAL; type <= UNR_CANCEL_TOTAL; type <<= 1)
        if (filter_in(s, type))
            supports |= type;
    unri_set_supports(owner_of(state), supports);
    const struct unri_combinator *combinator = unri_combinator_of(owner_of(state));
    if (combinator->state_was_reset)
        combinator->state_was_reset(owner_of(state));
}

void unr_state_preempt(struct unr_cancel_state *state, bool on)
{
    state->private_fields.lets_children_begin = !on;
}
