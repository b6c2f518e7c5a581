/* SPDX-License-Identifier: MIT */
/* Composed operations: one child after another, which a step function of the caller's describes,
 * under one cancellation state.  The cancellation state itself is in state.c; operations side by
 * side are in group.c and scope.c.
 *
 * The phase of a composed operation in flight:
 *
 *   DESCRIBED -> STEPPING    [run_step]         at the start; the first step runs
 *   STEPPING  -> WAITING     [unr_compose_next] the step has begun a child
 *   WAITING   -> STEPPING    [run_step]         the child has ended; the next step runs
 *   STEPPING  -> ENDED       [unr_compose_end]  the step has ended the operation
 *
 * It stays DESCRIBED if a request ends it before its first step.  A child is in flight, and can be
 * asked, in the phase WAITING alone.  A request in any other phase is kept in the cancellation
 * state and made to the next child before that begins (rule 12, Stickiness).  So a request that
 * loses to the end of one child still ends the operation. */
#include "../core/cancel.h"
#include "../core/combinator.h"
#include "../core/contract.h"
#include "state.h"

#include <unring/compose.h>

static_assert(sizeof(struct unr_compose) <= 184, "part of what each connection has");
static_assert(offsetof(struct unr_compose, private_fields.state) == sizeof(struct unr_op), "");

enum phase { DESCRIBED, STEPPING, WAITING, ENDED };

static const char step_rule[] =
    "each step begins one child with unr_compose_next() or ends with unr_compose_end()";

static struct unr_compose *compose_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_compose, op);
}

/* The child that was begun last, and the name of the operation, are kept where a system call has
 * its arguments. */
static struct unr_op *child_of(const struct unr_compose *self)
{
    return (struct unr_op *)(uintptr_t)self->op.private_fields.address;
}

static const char *name_of(const struct unr_op *op)
{
    return (const char *)(uintptr_t)op->private_fields.offset;
}

/* Runs one step.  A child that the step begins is not handed back inside it (rule 1, Once), so the
 * phase afterwards is the one in which this step left the operation. */
static void run_step(struct unr_compose *self, struct unr_op *finished)
{
    self->private_fields.phase = STEPPING;
    self->private_fields.step(self, finished);
    if (self->private_fields.phase == STEPPING)
        unri_broken("a step that neither went on nor ended", &self->op, step_rule);
}

static void compose_start(struct unr_op *op)
{
    run_step(compose_of(op), NULL);
}

/* Lets a request in, and asks the child in flight for what passes the `out` filter.
 *
 * The operation honours what it lets in, even if the filter passes nothing on: a later child, or
 * the step, which can look at the cancellation state, may end it.  The request is recorded before
 * the `out` filter and the child are asked: code of the caller's may make another request there,
 * which is the later one. */
static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_compose         *self = compose_of(op);
    struct unr_compose_private *c = &self->private_fields;
    unsigned                    let_in = unri_cancel_state_let_in(&c->state, request);
    unri_record_request(op, request, let_in);
    unsigned passed = let_in ? unri_cancel_state_let_out(&c->state, let_in) : 0;
    if (passed && c->phase == WAITING)
        unri_request(child_of(self), (struct unr_cancel_request){ passed, request.cause });
    return let_in;
}

/* Rule 6, Before it begins: a request that is let in ends the operation before its first step.  A
 * closing loop ends it as well if the `in` filter refuses, because no cancellation state can shield
 * from that (rule 10, Close); but an operation that supports NONE runs. */
static bool start_with_request(struct unr_op *op, struct unr_cancel_request asked)
{
    struct unr_compose *self = compose_of(op);
    bool                closing = op->private_fields.loop->closing && unri_own_supports(op);
    bool                let_in = unri_cancel_state_let_in(&self->private_fields.state, asked);
    let_in |= unr_state_cancelled(&self->private_fields.state) != 0; /* while it was held */
    unri_record_request(op, asked, let_in);
    if (let_in || closing) {
        unri_end_unsubmitted(op, asked);
        return true;
    }
    run_step(self, NULL);
    return false;
}

/* The cancellation state keeps what it has let in until the start. */
static bool request_while_held(struct unr_op *held, struct unr_cancel_request request)
{
    struct unr_cancel_state *state = &compose_of(held)->private_fields.state;
    return unri_cancel_state_let_in(state, request) || unr_state_cancelled(state);
}

/* Keeps what a cancelled child has proved, for unr_compose_end(), and runs the next step: in this
 * order, because the step may describe the child anew, and its result is gone then. */
static void child_done(struct unr_op *combinator, struct unr_op *child)
{
    struct unr_compose         *self = compose_of(combinator);
    struct unr_compose_private *c = &self->private_fields;
    if (child->result.error == -ECANCELED)
        c->child_failed = !unri_was_cancelled(&child->result);
    if (unri_was_cancelled(&child->result)) {
        c->child_cause = child->result.cause;
        if (child->result.guarantee < c->proven)
            c->proven = child->result.guarantee;
    }
    run_step(self, child);
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
    .request_while_held = request_while_held,
    .explain = explain,
};

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
    struct unr_compose_private *c = &self->private_fields;
    unr_describe(&self->op, &type);
    unri_set_supports(&self->op, unri_with_weaker(unri_strongest(supports)));
    unri_cancel_state_init(&c->state, &self->op);
    unri_private(&self->op)->offset = (uintptr_t)name;
    c->step = step;
    c->explain = NULL;
    c->child_cause = 0;
    c->child_failed = false;
    c->proven = UNR_CANCEL_TOTAL;
    c->phase = DESCRIBED;
    return &self->op;
}

static void check_in_step(const struct unr_compose *self, const char *what)
{
    if (unlikely(self->private_fields.phase != STEPPING))
        unri_broken(what, &self->op, step_rule);
}

/* The order matters, because two of these calls run code of the caller's.  The `out` filter may
 * cancel the operation: that is before WAITING, so the request is not made to the child, which has
 * not begun, but added to `asked`.  The start of the child may cancel the operation too: that is
 * after WAITING, and the request is made to the child. */
void unr_compose_next(struct unr_compose *self, struct unr_op *described)
{
    struct unr_compose_private *c = &self->private_fields;
    check_in_step(self, "unr_compose_next called outside of a step, or twice in one");
    unri_hold(described);
    struct unr_cancel_request asked = unri_cancel_state_preempting(&c->state);
    c->phase = WAITING;
    unri_private(&self->op)->address = (uintptr_t)described;
    unri_start_child(&self->op, described, asked);
}

/* Ends the operation as cancelled: under the guarantee that it supports, or the weakest that a
 * child has proved, if that is weaker; unless the step has set one.  Where the operation supports
 * NONE, or has honoured no request, somebody asked the child alone, a deadline around it say, and
 * cause and verdict are those of that cancellation. */
static void end_cancelled(struct unr_compose *self)
{
    struct unr_compose_private *c = &self->private_fields;
    struct unr_result          *r = &self->op.result;
    unsigned                    guarantee = unri_strongest(unri_own_supports(&self->op));
    if (!guarantee)
        guarantee = UNR_CANCEL_TERMINAL;
    if (c->proven < guarantee)
        guarantee = c->proven;
    if (!r->guarantee)
        r->guarantee = (uint8_t)guarantee;
    if (self->op.private_fields.flags & UNRI_HONOURED || !c->child_cause)
        unri_end(&self->op, -ECANCELED);
    else
        unri_end_cancelled(&self->op, c->child_cause, UNR_VERDICT_CANCELLED);
}

void unr_compose_end(struct unr_compose *self, int error)
{
    check_in_step(self, "unr_compose_end called outside of a step, or after it began a child");
    if (error > 0)
        unri_broken("ended with a positive error", &self->op, "an error is 0 or a negative errno");
    self->private_fields.phase = ENDED;
    bool honoured = self->op.private_fields.flags & UNRI_HONOURED;
    if (error == -ECANCELED && (honoured || !self->private_fields.child_failed))
        end_cancelled(self);
    else
        unri_end_uncancelled(&self->op, error);
}

struct unr_cancel_state *unr_compose_state(struct unr_compose *self)
{
    return &self->private_fields.state;
}
