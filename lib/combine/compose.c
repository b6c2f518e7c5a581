/* SPDX-License-Identifier: MIT */
/* Composed operations: one child after another, which a step function of the caller's describes.
 * sequence.c has what they share with fibers: the phases, requests, and the end. */
#include "../core/combinator.h"
#include "../core/contract.h"
#include "../core/fiber_running.h"
#include "sequence.h"

#include <unring/compose.h>

static_assert(sizeof(struct unr_compose) <= 184, "part of what each connection has");

static const char step_rule[] =
    "each step begins one child with unr_compose_next() or ends with unr_compose_end()";

static struct unr_compose *compose_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_compose, op);
}

static struct unri_sequence *sequence_of(struct unr_compose *self)
{
    return unri_sequence_of(&self->op);
}

static uint8_t *phase_of(struct unr_compose *self)
{
    return &self->private_fields.sequence.phase;
}

/* The name of the operation is kept where a system call has its arguments. */
static const char *name_of(const struct unr_op *op)
{
    return (const char *)(uintptr_t)op->private_fields.offset;
}

/* Runs one step.  A child that the step begins is not handed back inside it (rule 1, Once), so the
 * phase afterwards is the one in which this step left the operation. */
static void run_step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_op *left = unri_leave_fiber();
    *phase_of(self) = UNRI_STEPPING;
    self->private_fields.step(self, finished);
    unri_return_to_fiber(left);
    if (*phase_of(self) == UNRI_STEPPING)
        unri_broken("a step that neither went on nor ended", &self->op, step_rule);
}

static void compose_start(struct unr_op *op)
{
    run_step(compose_of(op), NULL);
}

/* The operation honours what it lets in, even if the filter passes nothing on: a later child, or
 * the step, which can look at the cancellation state, may end it.  The request is recorded before
 * the `out` filter and the child are asked: code of the caller's may make another request there,
 * which is the later one. */
static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    struct unri_sequence *sequence = unri_sequence_of(op);
    unsigned              let_in = unri_sequence_let_in(sequence, request);
    if (let_in) {
        unsigned types = unri_cancel_state_let_out(&sequence->private_fields.state, let_in);
        unri_sequence_ask_child(sequence, types, request.cause);
    }
    return let_in;
}

static bool start_with_request(struct unr_op *op, struct unr_cancel_request asked)
{
    if (unri_sequence_ends_early(unri_sequence_of(op), asked)) {
        unri_end_unsubmitted(op, asked);
        return true;
    }
    run_step(compose_of(op), NULL);
    return false;
}

/* What the child has proved is kept before the next step, because the step may describe the child
 * anew, and its result is gone then. */
static void child_done(struct unr_op *combinator, struct unr_op *child)
{
    unri_sequence_child_ended(unri_sequence_of(combinator), child);
    run_step(compose_of(combinator), child);
}

static const char *explain(const struct unr_op *op)
{
    const struct unr_compose_private *c = &((const struct unr_compose *)op)->private_fields;
    return c->explain ? c->explain(op) : NULL;
}

static const struct unri_combinator combinator = {
    .child_done = child_done,
    .handle_request = handle_request,
    .start_with_request = start_with_request,
    .request_while_held = unri_sequence_request_while_held,
};

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .name = "compose",
    .start = compose_start,
    .name_of = name_of,
    .private_fields = { .kind = UNRI_COMBINATOR, .combinator = &combinator, .explain = explain },
};

struct unr_op *unr_compose(struct unr_compose *self, const char *name, unsigned supports,
                           unr_step_fn *step)
{
    unr_describe(&self->op, &type);
    unri_set_supports(&self->op, unri_with_weaker(unri_strongest(supports)));
    unri_sequence_init(sequence_of(self));
    unri_private(&self->op)->offset = (uintptr_t)name;
    self->private_fields.step = step;
    self->private_fields.explain = NULL;
    return &self->op;
}

static void check_in_step(struct unr_compose *self, const char *what)
{
    if (unlikely(*phase_of(self) != UNRI_STEPPING))
        unri_broken(what, &self->op, step_rule);
}

void unr_compose_next(struct unr_compose *self, struct unr_op *described)
{
    check_in_step(self, "unr_compose_next called outside of a step, or twice in one");
    unri_sequence_next(sequence_of(self), unr_compose_state(self), described);
}

void unr_compose_end(struct unr_compose *self, int error)
{
    check_in_step(self, "unr_compose_end called outside of a step, or after it began a child");
    if (error > 0)
        unri_broken("ended with a positive error", &self->op, "an error is 0 or a negative errno");
    unri_sequence_end(sequence_of(self), error);
}

struct unr_cancel_state *unr_compose_state(struct unr_compose *self)
{
    return &self->private_fields.sequence.state;
}
