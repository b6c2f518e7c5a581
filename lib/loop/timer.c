/* SPDX-License-Identifier: MIT */
/* The timer as an operation: described, started, cancelled, moved.  timer_queue.c has the heap and
 * the queues in which it waits, and ends it when it is due. */
#include "timer.h"
#include "../core/contract.h"
#include "../core/op.h"
#include "../core/type.h"

static struct unr_timer *timer_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_timer, op);
}

static void timer_start(struct unr_op *op)
{
    struct unr_timer *timer = timer_of(op);
    struct unr_loop  *loop = op->private_fields.loop;
    unr_time          delay = unri_timer_resolve(loop, timer);
    if (!unri_timer_insert(loop, timer, delay))
        unri_end(op, -ENOMEM);
}

/* A timer that waits is always cancelled in time: nothing but the loop's thread ends it. */
static void timer_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)request;
    unri_timer_remove(op->private_fields.loop, timer_of(op));
    unri_end(op, -ECANCELED);
}

static const struct unr_op_type timer_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "timer",
    .start = timer_start,
    .cancel = timer_cancel,
    .private_fields = { .kind = UNRI_TIMER },
};

struct unr_op *unr_timer_at(struct unr_timer *timer, unr_time deadline)
{
    unr_describe(&timer->op, &timer_type);
    unri_timer_set(timer, deadline, false);
    return &timer->op;
}

struct unr_op *unr_timer_after(struct unr_timer *timer, unr_time delay)
{
    unr_describe(&timer->op, &timer_type);
    unri_timer_set(timer, delay, true);
    return &timer->op;
}

bool unr_timer_move(struct unr_timer *started, unr_time deadline)
{
    struct unr_op_private *p = unri_private(&started->op);
    if (p->state != UNRI_IN_FLIGHT || unri_kind(&started->op) != UNRI_TIMER)
        return false;
    unri_check_thread(p->loop);
    return unri_timer_move(p->loop, started, deadline);
}
