/* SPDX-License-Identifier: MIT */
/* Deadlines: a wrapper with a timer, which requests of its child to end when the time has come.
 * delay.c has the wrapper that begins its child later; where both wait is ../loop/timer_queue.c.
 *
 * The wrapper itself waits among the timers, without an operation of its own for the timer.  So a
 * deadline that is not reached costs a place in the heap and no more. */
#include "../core/cancel.h"
#include "../core/combinator.h"
#include "../core/contract.h"
#include "../loop/timer.h"

#include <unring/deadline.h>

static struct unr_deadline *deadline_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_deadline, op);
}

static const struct unr_cancel_request timed_out = { UNR_CANCEL_ALL, -ETIMEDOUT };

/* Adds the time-out to a request that is made before the start.  The cause is that of the first of
 * the two which the child honours. */
static struct unr_cancel_request add_time_out(const struct unr_op      *child,
                                              struct unr_cancel_request asked)
{
    if (!(asked.types & unr_supports(child)))
        asked.cause = timed_out.cause;
    asked.types |= timed_out.types;
    return asked;
}

/* Starts the child, with the request that was made before and, if the deadline is past, with the
 * time-out: both may end the child before it begins (rule 6), or be refused.  A deadline that is
 * still to come is among the timers before the child starts, because the child's start may run code
 * of the caller's, which may move it.  It stays there even if the child ends at once, until
 * child_done(). */
static bool start_with_request(struct unr_op *op, struct unr_cancel_request asked)
{
    struct unr_loop  *loop = op->private_fields.loop;
    struct unr_timer *timer = &deadline_of(op)->private_fields.timer;
    unr_time          delay = unri_timer_resolve(loop, timer);
    if (unri_timer_is_past(loop, timer, delay)) {
        unri_count_request(loop, unri_child(op));
        asked = add_time_out(unri_child(op), asked);
    } else if (timer->deadline != UNR_NEVER && !unri_timer_insert(loop, timer, delay)) {
        unri_fail_unbegun(op, -ENOMEM);
        return false;
    }
    return unri_start_child(op, unri_child(op), asked);
}

static void deadline_start(struct unr_op *op)
{
    start_with_request(op, (struct unr_cancel_request){ 0 });
}

/* Passes every request on, and records none: the child's result will tell of them, and becomes that
 * of the deadline. */
static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    return unri_request(unri_child(op), request);
}

static void due(struct unr_op *op)
{
    unri_count_request(op->private_fields.loop, unri_child(op));
    unri_request_alone(unri_child(op), timed_out);
}

static void child_done(struct unr_op *combinator, struct unr_op *child)
{
    struct unr_timer *timer = &deadline_of(combinator)->private_fields.timer;
    if (unri_timer_waits(timer))
        unri_timer_remove(combinator->private_fields.loop, timer);
    unri_end_as_child(combinator, child);
}

static const struct unri_combinator combinator = {
    .child_done = child_done,
    .handle_request = handle_request,
    .start_with_request = start_with_request,
    .due = due,
};

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .name = "deadline",
    .start = deadline_start,
    .private_fields = { .kind = UNRI_WRAPPER, .combinator = &combinator },
};

static struct unr_op *describe(struct unr_deadline *deadline, struct unr_op *child, unr_time when,
                               bool relative)
{
    unri_describe_wrapper(&deadline->op, &type, child);
    unri_timer_set(&deadline->private_fields.timer, when, relative);
    return &deadline->op;
}

struct unr_op *unr_cancel_at(struct unr_deadline *deadline, struct unr_op *child, unr_time when)
{
    return describe(deadline, child, when, false);
}

struct unr_op *unr_cancel_after(struct unr_deadline *deadline, struct unr_op *child, unr_time delay)
{
    return describe(deadline, child, delay, true);
}

/* Puts the deadline among the timers again.  If there is no room it stays away, as it was. */
static bool set_again(struct unr_loop *loop, struct unr_timer *timer, unr_time when)
{
    unri_timer_set(timer, when, false);
    if (!unri_timer_insert(loop, timer, UNR_NEVER)) {
        timer->deadline = UNR_NEVER;
        return false;
    }
    unri_notice(loop);
    return true;
}

/* A deadline that is not among the timers has passed, or was set to UNR_NEVER and may be set
 * again; its time tells which. */
bool unr_deadline_move(struct unr_deadline *started, unr_time when)
{
    struct unr_op_private *p = unri_private(&started->op);
    struct unr_timer      *timer = &started->private_fields.timer;
    if (started->op.type != &type || (p->state != UNRI_IN_FLIGHT && p->state != UNRI_CANCELLING))
        return false;
    unri_check_thread(p->loop);
    bool waits = unri_timer_waits(timer);
    bool has_passed = !waits && timer->deadline != UNR_NEVER;
    if (has_passed || unri_has_ended(&started->op))
        return false;
    if (when != UNR_NEVER)
        return waits ? unri_timer_move(p->loop, timer, when) : set_again(p->loop, timer, when);
    if (waits)
        unri_timer_remove(p->loop, timer);
    timer->deadline = UNR_NEVER;
    return true;
}
