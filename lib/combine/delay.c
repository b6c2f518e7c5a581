/* SPDX-License-Identifier: MIT */
/* An operation that begins later: it waits among the timers, and what ends it meanwhile is its
 * child's own end before it began. */
#include "../core/cancel.h"
#include "../core/combinator.h"
#include "../core/contract.h"
#include "../loop/timer.h"

#include <unring/deadline.h>

static struct unr_delay *delay_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_delay, op);
}

static void due(struct unr_op *op)
{
    unri_start_child(op, unri_child(op), (struct unr_cancel_request){ 0 });
}

static void delay_start(struct unr_op *op)
{
    struct unr_delay *delay = delay_of(op);
    struct unr_loop  *loop = op->private_fields.loop;
    unri_timer_resolve(loop, &delay->private_fields.timer);
    if (loop->closing) {
        due(op);
    } else if (!unri_timer_insert(loop, &delay->private_fields.timer)) {
        unri_fail_wrapper(op, -ENOMEM);
    }
}

/* During the pause: what the child honours begins it, for it to end before it has
 * begun. */
static bool end_pause(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_delay *delay = delay_of(op);
    if (!(request.types & unr_supports(op))) {
        unri_record_request(op, request, false);
        return false;
    }
    if (unri_timer_waits(&delay->private_fields.timer))
        unri_timer_remove(op->private_fields.loop, &delay->private_fields.timer);
    return unri_start_child(op, unri_child(op), request);
}

static bool start_with_request(struct unr_op *op, struct unr_cancel_request asked)
{
    bool honoured = end_pause(op, asked);
    if (!honoured)
        delay_start(op);
    return honoured;
}

static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    return unri_timer_waits(&delay_of(op)->private_fields.timer)
               ? end_pause(op, request)
               : unri_request(unri_child(op), request);
}

static const struct unri_combinator combinator = {
    .child_done = unri_end_as_child,
    .handle_request = handle_request,
    .start_with_request = start_with_request,
    .due = due,
};

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .name = "delay",
    .start = delay_start,
    .private_fields = { .kind = UNRI_DELAY, .combinator = &combinator },
};

struct unr_op *unr_delay(struct unr_delay *delay, struct unr_op *child, unr_time pause)
{
    unri_describe_wrapper(&delay->op, &type, child);
    unri_timer_set(&delay->private_fields.timer, pause, true);
    return &delay->op;
}

bool unr_delay_move(struct unr_delay *started, unr_time when)
{
    struct unr_op_private *p = unri_private(&started->op);
    if (started->op.type != &type || !unri_live(&started->op)
        || !unri_timer_waits(&started->private_fields.timer))
        return false;
    unri_check_thread(p->loop);
    return unri_timer_move(p->loop, &started->private_fields.timer, when);
}
