/* SPDX-License-Identifier: MIT */
/* Delays: a wrapper that waits among the timers, and begins its child when the pause is over.
 * deadline.c has the wrapper that ends its child; where both wait is ../loop/timer_queue.c.
 *
 * A delay in flight has two phases, which the state of its child tells apart.  During the pause the
 * child is held; afterwards it is in flight. */
#include "../core/cancel.h"
#include "../core/combinator.h"
#include "../core/contract.h"
#include "../loop/timer.h"

#include <unring/deadline.h>

static struct unr_delay *delay_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_delay, op);
}

/* Ends the pause, and starts the child.  The timer is removed first: the start may run code of the
 * caller's, which must not find it waiting. */
static void begin(struct unr_op *op, struct unr_cancel_request asked)
{
    struct unr_timer *timer = &delay_of(op)->private_fields.timer;
    if (unri_timer_waits(timer))
        unri_timer_remove(op->private_fields.loop, timer);
    unri_start_child(op, unri_child(op), asked);
}

static void due(struct unr_op *op)
{
    begin(op, (struct unr_cancel_request){ 0 });
}

/* A closing loop does not wait for the pause (rule 10, Close).  A child that could be ended has
 * been ended by start_with_request() then; any other begins at once. */
static void delay_start(struct unr_op *op)
{
    struct unr_loop  *loop = op->private_fields.loop;
    struct unr_timer *timer = &delay_of(op)->private_fields.timer;
    unr_time          delay = unri_timer_resolve(loop, timer);
    if (loop->closing)
        due(op);
    else if (!unri_timer_insert(loop, timer, delay))
        unri_fail_unbegun(op, -ENOMEM);
}

/* Ends the pause if the child honours a request that is made during or before it.  The child is
 * started with the request and ends UNSUBMITTED (rule 6, Before it begins), so that its result, and
 * with it the delay's, is the same as without a delay.  If the child refuses, the pause goes on,
 * except on a closing loop, which does not wait for it (rule 10, Close).
 *
 * The child is asked while it is held, and its answer holds.  What its start answers decides
 * nothing: a start that refuses has begun, and nothing could take it back.  While the child is
 * asked, code of the caller's may make another request, which has ended the pause then. */
static bool end_pause(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_op *child = unri_child(op);
    bool           honours = unri_request_held(child, request);
    if (child->private_fields.state != UNRI_HELD)
        return unri_request(child, request);
    if (honours) {
        begin(op, request);
        return true;
    }
    unri_record_request(op, request, false);
    if (op->private_fields.loop->closing)
        due(op);
    return false;
}

static bool start_with_request(struct unr_op *op, struct unr_cancel_request asked)
{
    bool honoured = end_pause(op, asked);
    if (unri_child(op)->private_fields.state == UNRI_HELD)
        delay_start(op);
    return honoured;
}

/* After the pause every request is passed on, and the child's result tells of it. */
static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_op *child = unri_child(op);
    if (child->private_fields.state == UNRI_HELD)
        return end_pause(op, request);
    return unri_request(child, request);
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
    struct unr_timer      *timer = &started->private_fields.timer;
    if (started->op.type != &type || !unri_live(&started->op) || !unri_timer_waits(timer))
        return false;
    unri_check_thread(p->loop);
    return unri_timer_move(p->loop, timer, when);
}
