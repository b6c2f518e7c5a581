/* SPDX-License-Identifier: MIT */
/* What a fiber calls: to wait, and to ask about itself. */
#include "../core/contract.h"
#include "fiber.h"

#include <unring/timer.h>

/* Inlined, because each return behind a switch is predicted wrongly. */
__attribute__((always_inline)) static inline const struct unr_result *
await_result(struct unr_op *described)
{
    struct unr_fiber *fiber = unri_fiber_check("unr_await called outside of a fiber");
    unri_check_thread(fiber->op.private_fields.loop);
    unri_sequence_next(unri_fiber_sequence(fiber), unri_fiber_state_of(fiber), described);
    unri_fiber_suspend(fiber);
    return &described->result;
}

struct unr_result unr_await(struct unr_op *described)
{
    return *await_result(described);
}

int64_t unr_await_value(struct unr_op *described)
{
    const struct unr_result *r = await_result(described);
    if (r->error)
        return unr_outcome(r);
    return r->fd >= 0 ? r->fd : r->value;
}

static inline int await_outcome(struct unr_op *described)
{
    return unr_outcome(await_result(described));
}

int unr_yield(void)
{
    struct unr_fiber *fiber = unri_fiber_check("unr_yield called outside of a fiber");
    return await_outcome(unri_fiber_pause(fiber));
}

int unr_sleep_until(unr_time when)
{
    struct unr_timer timer = { 0 };
    return await_outcome(unr_timer_at(&timer, when));
}

int unr_sleep(unr_time delay)
{
    struct unr_timer timer = { 0 };
    return await_outcome(unr_timer_after(&timer, delay));
}

/* ---- about itself ---- */

struct unr_fiber *unr_fiber_self(void)
{
    return unri_running ? unri_fiber_of(unri_running) : NULL;
}

struct unr_loop *unr_fiber_loop(void)
{
    return unri_running ? unri_running->private_fields.loop : NULL;
}

struct unr_cancel_state *unr_fiber_state(void)
{
    return unri_fiber_state_of(unri_fiber_check("unr_fiber_state called outside of a fiber"));
}

/* A closing loop goes through every state. */
int unr_fiber_cancelled(void)
{
    struct unr_fiber *fiber = unri_fiber_check("unr_fiber_cancelled called outside of a fiber");
    struct unr_cancel_request asked = unri_cancel_state_preempting(unri_fiber_state_of(fiber));
    if (asked.types)
        return asked.cause;
    return fiber->op.private_fields.loop->closing ? -ESHUTDOWN : 0;
}
