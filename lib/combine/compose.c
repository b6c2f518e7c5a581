/* SPDX-License-Identifier: MIT */
/* Operations made of steps: one child after another, under one cancellation state. */
#include "../core/cancel.h"
#include "../core/combinator.h"
#include "../core/contract.h"
#include "state.h"

#include <unring/compose.h>

enum phase { DESCRIBED, STEPPING, WAITING, ENDED };

static struct unr_compose *compose_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_compose, op);
}

static void run_step(struct unr_compose *self, struct unr_op *finished)
{
    self->private_fields.phase = STEPPING;
    self->private_fields.step(self, finished);
    if (self->private_fields.phase == STEPPING)
        unri_broken(
            "a step that neither went on nor ended", &self->op,
            "each step begins one child with unr_compose_next() or ends with unr_compose_end()");
}

static void compose_start(struct unr_op *op)
{
    run_step(compose_of(op), NULL);
}

static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_compose *self = compose_of(op);
    unsigned            let_in = unri_cancel_state_let_in(&self->private_fields.state, request);
    unri_record_request(op, request, let_in);
    unsigned passed = let_in ? unri_cancel_state_let_out(&self->private_fields.state, let_in) : 0;
    if (passed && self->private_fields.phase == WAITING)
        unri_request(self->private_fields.child,
                     (struct unr_cancel_request){ passed, request.cause });
    return let_in;
}

/* What it lets in ends it before its first step. */
static bool start_with_request(struct unr_op *op, struct unr_cancel_request asked)
{
    struct unr_compose *self = compose_of(op);
    bool                closing = op->private_fields.loop->closing && unri_own_supports(op);
    bool                let_in = unri_cancel_state_let_in(&self->private_fields.state, asked);
    unri_record_request(op, asked, let_in);
    if (let_in || closing) {
        unri_end_unsubmitted(op, asked);
        return true;
    }
    run_step(self, NULL);
    return false;
}

static void child_done(struct unr_op *combinator, struct unr_op *child)
{
    struct unr_compose *self = compose_of(combinator);
    if (child->result.error == -ECANCELED) {
        self->private_fields.child_cause = child->result.cause;
        if (child->result.guarantee < self->private_fields.proven)
            self->private_fields.proven = child->result.guarantee;
    }
    run_step(self, child);
}

static const char *name_of(const struct unr_op *op)
{
    return ((const struct unr_compose *)op)->private_fields.name;
}

static const struct unri_combinator combinator = { .child_done = child_done,
                                                   .handle_request = handle_request,
                                                   .start_with_request = start_with_request };

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .name = "compose",
    .start = compose_start,
    .name_of = name_of,
    .private_fields = { .kind = UNRI_COMBINATOR, .combinator = &combinator },
};

struct unr_op *unr_compose(struct unr_compose *self, const char *name, unsigned supports,
                           unr_step_fn *step)
{
    unr_describe(&self->op, &type);
    unsigned strongest = unri_strongest(supports);
    unri_set_supports(&self->op, strongest | (strongest - !!strongest));
    unri_cancel_state_init(&self->private_fields.state, &self->op);
    self->private_fields.step = step;
    self->private_fields.name = name;
    self->private_fields.child = NULL;
    self->private_fields.child_cause = 0;
    self->private_fields.proven = UNR_CANCEL_TOTAL;
    self->private_fields.phase = DESCRIBED;
    return &self->op;
}

static void check_in_step(const struct unr_compose *self, const char *what)
{
    if (unlikely(self->private_fields.phase != STEPPING))
        unri_broken(
            what, &self->op,
            "each step begins one child with unr_compose_next() or ends with unr_compose_end()");
}

void unr_compose_next(struct unr_compose *self, struct unr_op *described)
{
    check_in_step(self, "unr_compose_next called outside of a step, or twice in one");
    unri_hold(described);
    struct unr_cancel_request asked = unri_cancel_state_preempting(&self->private_fields.state);
    self->private_fields.phase = WAITING;
    self->private_fields.child = described;
    unri_start_child(&self->op, described, asked);
}

void unr_compose_end(struct unr_compose *self, int error)
{
    struct unr_result *r = &self->op.result;
    check_in_step(self, "unr_compose_end called outside of a step, or after it began a child");
    if (error > 0)
        unri_broken("ended with a positive error", &self->op, "an error is 0 or a negative errno");
    self->private_fields.phase = ENDED;
    if (error != -ECANCELED) {
        unri_end(&self->op, error);
        return;
    }
    unsigned supported = unri_strongest(unri_own_supports(&self->op));
    if (!supported)
        supported = UNR_CANCEL_TERMINAL; /* only its child was asked */
    if (!r->guarantee)
        r->guarantee =
            (uint8_t)(supported < self->private_fields.proven ? supported
                                                              : self->private_fields.proven);
    if (self->op.private_fields.flags & UNRI_HONOURED || !self->private_fields.child_cause)
        unri_end(&self->op, error);
    else
        unri_end_cancelled(&self->op, self->private_fields.child_cause, UNR_VERDICT_CANCELLED);
}

struct unr_cancel_state *unr_compose_state(struct unr_compose *self)
{
    return &self->private_fields.state;
}
