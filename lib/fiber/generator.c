/* SPDX-License-Identifier: MIT */
/* Generators: a fiber, whoever waits for its next value, and whoever waits for its end.
 *
 * The fiber is the loop's own while it is suspended: it keeps no loop running, but a loop that is
 * closed waits for it (loop->armed).  Between two resumptions it waits in an operation, `sleep`,
 * that the next one ends.  A closing loop cancels that as everything that is in flight; so does a
 * cancel scope around the yield, whose generator then runs though nobody asked: what it yields is
 * kept for whoever asks while it is suspended there.
 *
 * The phases: READY -> LIVE [next_start], LIVE -> OVER [fiber_done]. */
#include "../core/cancel.h"
#include "../core/contract.h"
#include "../core/op.h"
#include "../core/type.h"
#include "cancel_scope.h"
#include "fiber.h"

#include <unring/generator.h>

enum phase { READY, LIVE, OVER };

static_assert(sizeof(struct unr_generator) <= 896, "");

static struct unr_generator *generator_of_next(struct unr_op *op)
{
    return unr_container_of(op, struct unr_generator, private_fields.next);
}

static struct unr_generator *generator_of_end(struct unr_op *op)
{
    return unr_container_of(op, struct unr_generator, private_fields.end);
}

/* ---- the fiber ---- */

static int run(void *argument)
{
    struct unr_generator *generator = argument;
    return generator->private_fields.fn(generator->private_fields.argument);
}

static void sleep_start(struct unr_op *op)
{
    (void)op; /* whoever resumes the generator ends it */
}

static void sleep_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)request;
    unri_end(op, -ECANCELED);
}

static const struct unr_op_type sleep_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "generator yield",
    .start = sleep_start,
    .cancel = sleep_cancel,
};

/* Tells whether an operation of a generator has begun and not ended. */
static bool goes_on(const struct unr_op *op)
{
    return unri_live(op) && !unri_has_ended(op);
}

/* A request counts for one resumption, so it is forgotten when that is over. */
static void forget_requests(struct unr_fiber *fiber)
{
    unri_cancel_state_forget(&fiber->private_fields.sequence.state);
    fiber->op.result.requested = 0;
    fiber->op.result.verdict = UNR_VERDICT_NONE; /* also that of one that was refused */
    fiber->op.result.cause = 0;
    unri_cancel_scopes_forget(fiber);
}

static void hand_over(struct unr_generator_private *g)
{
    *g->ret_value = g->value;
    g->has_value = false;
    g->next.result.value = 1;
    unri_end(&g->next, 0);
}

int unr_generator_yield(void *value, void **ret_in)
{
    struct unr_fiber *fiber = unri_fiber_check("unr_generator_yield called outside of a fiber");
    if (fiber->private_fields.fn != run)
        unri_broken("unr_generator_yield called outside of a generator", &fiber->op,
                    "a generator yields, in its own fiber");
    struct unr_generator_private *g =
        &((struct unr_generator *)fiber->private_fields.argument)->private_fields;
    g->value = value;
    g->has_value = true;
    g->in = NULL;
    if (goes_on(&g->next))
        hand_over(g);
    if (unri_live(&g->end)) { /* nobody will ask for this value */
        unr_yield();
        return -ECANCELED;
    }
    forget_requests(fiber);
    struct unr_result r = unr_await(unr_describe(&g->sleep, &sleep_type));
    if (ret_in)
        *ret_in = g->in;
    return unr_outcome(&r);
}

static void fiber_done(struct unr_op *op)
{
    struct unr_generator *generator =
        unr_container_of(op, struct unr_generator, private_fields.fiber.op);
    struct unr_generator_private *g = &generator->private_fields;
    g->phase = OVER;
    op->private_fields.loop->armed--;
    if (goes_on(&g->next)) {
        struct unr_result result = op->result;
        result.value = 0;
        unri_end_with_result(&g->next, op, &result);
    }
    if (unri_live(&g->end))
        unri_end(&g->end, 0);
}

/* ---- next ---- */

static void next_start(struct unr_op *op)
{
    struct unr_generator_private *g = &generator_of_next(op)->private_fields;
    struct unr_loop              *loop = op->private_fields.loop;
    switch ((enum phase)g->phase) {
    case READY:
        g->phase = LIVE;
        loop->armed++;
        unri_start_housekeeping(loop, &g->fiber.op, fiber_done);
        return;
    case LIVE:
        if (!goes_on(&g->sleep))
            return; /* a value of before is no more: the block that it lies in may be left first */
        if (g->has_value)
            hand_over(g);
        else
            unri_end(&g->sleep, 0);
        return;
    case OVER: unri_end(op, 0); return;
    }
}

static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    bool honoured = unri_request(&generator_of_next(op)->private_fields.fiber.op, request);
    unri_record_request(op, request, honoured);
    return honoured;
}

static unsigned supports(const struct unr_op *op)
{
    return unr_supports(&generator_of_next((struct unr_op *)op)->private_fields.fiber.op);
}

static const struct unri_combinator next_combinator = { .handle_request = handle_request,
                                                        .supports = supports };

static const struct unr_op_type next_type = {
    .size = sizeof(struct unr_op_type),
    .name = "generator next",
    .start = next_start,
    .private_fields = { .kind = UNRI_COMBINATOR, .combinator = &next_combinator },
};

struct unr_op *unr_generator_next(struct unr_generator *generator, void *in, void **ret_value)
{
    struct unr_generator_private *g = &generator->private_fields;
    unr_describe(&g->next, &next_type);
    unri_set_supports(&g->next, unri_own_supports(&g->fiber.op));
    g->in = in;
    g->ret_value = ret_value;
    return &g->next;
}

/* ---- end ---- */

static void end_start(struct unr_op *op)
{
    struct unr_generator_private *g = &generator_of_end(op)->private_fields;
    if (g->phase == LIVE)
        unri_request(&g->fiber.op, (struct unr_cancel_request){ UNR_CANCEL_ALL, -ECANCELED });
    else
        unri_end(op, 0);
    if (g->phase == LIVE && goes_on(&g->sleep)) /* its state may let nothing in */
        unri_request(&g->sleep, (struct unr_cancel_request){ UNR_CANCEL_ALL, -ECANCELED });
}

static const struct unr_op_type end_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_NONE,
    .name = "generator end",
    .start = end_start,
};

struct unr_op *unr_generator_end(struct unr_generator *generator)
{
    return unr_describe(&generator->private_fields.end, &end_type);
}

void unr_generator_init(struct unr_generator *generator, unr_fiber_fn *fn, void *argument)
{
    struct unr_generator_private *g = &generator->private_fields;
    *generator = (struct unr_generator){ 0 };
    unr_fiber(&g->fiber, run, generator);
    g->fn = fn;
    g->argument = argument;
    g->phase = READY;
}
