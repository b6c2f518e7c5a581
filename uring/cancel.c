/* SPDX-License-Identifier: MIT */
/* The way of a cancel, from the operation that wants it to the kernel's answer.
 *
 *   wanted     unri_want_cancel: on ring->urgent, WANTS_CANCEL
 *   sent       unri_fill_cancel: AWAITS_CANCEL
 *   answered   unri_cancel_answered: CANCEL_HIT, or the verdict RUNNING, or no effect
 *   repeated   while the operation's own CQE is missing after a cancel that had no effect: on
 *              ring->repeats, WANTS_REPEAT, then wanted again
 *   withdrawn  unri_withdraw_cancel: the operation's own CQE has come first
 *
 * An operation has one cancel under way at a time, however often it is asked.  What its result
 * says in the end is decided in complete.c. */
#include "../lib/core/clock.h"
#include "cancel.h"

void unri_want_cancel(struct unri_ring *ring, struct unr_op *op)
{
    op->private_fields.flags |= UNRI_WANTS_CANCEL;
    unri_queue_push(&ring->urgent, op);
}

void unri_withdraw_cancel(struct unri_ring *ring, struct unr_op *op)
{
    unsigned flags = op->private_fields.flags;
    if (flags & UNRI_WANTS_CANCEL) {
        unri_queue_remove(&ring->urgent, op);
    } else if (flags & UNRI_WANTS_REPEAT) {
        unri_queue_remove(&ring->repeats[unri_attempts(op)], op);
        ring->repeating--;
    }
    unri_clear_flags(op, UNRI_WANTS_CANCEL | UNRI_WANTS_REPEAT);
}

/* The cancel names its target by user_data alone, which is the target's address.  The memory there
 * stays the target's until this cancel's own CQE has come.  CQE_SKIP is not set, because the answer
 * is part of the verdict.  IOSQE_ASYNC is not set, because a cancel that runs later could meet
 * another operation at that address. */
void unri_fill_cancel(struct unri_ring *ring, struct io_uring_sqe *sqe, struct unr_op *op)
{
    *sqe = (struct io_uring_sqe){
        .opcode = IORING_OP_ASYNC_CANCEL,
        .fd = -1,
        .addr = unri_user_data(op, UNRI_OWN),
        .user_data = unri_user_data(op, UNRI_CANCEL),
    };
    op->private_fields.flags ^= UNRI_WANTS_CANCEL | UNRI_AWAITS_CANCEL;
    ring->cancels_filled++;
}

/* ---- cancels that had no effect ---- */

/* Keeps when the cancel of an operation on ring->repeats is due, in `fd` of the result, which is
 * scratch memory.  The first of these lists counts reaps, the others count milliseconds, and both
 * numbers wrap round. */
static void set_due(struct unr_op *op, uint32_t due)
{
    op->result.fd = (int)due;
}

static int32_t time_until_due(const struct unr_op *op, uint32_t now)
{
    return (int32_t)((uint32_t)op->result.fd - now);
}

/* -ENOENT and -EALREADY do not promise that the target will end: it may have been on its way from
 * one of the kernel's tables to another.  As long as the target's CQE is missing, the cancel is
 * sent again, after the next reap and then at growing intervals. */
static void plan_repeat(struct unr_loop *loop, struct unr_op *op)
{
    struct unri_ring *ring = loop->ring;
    unsigned          level = unri_attempts(op);
    op->private_fields.flags |= UNRI_WANTS_REPEAT;
    set_due(op, level == 0 ? ring->reaps + 1 : unri_turn_ms(loop) + (1u << (level - 1)));
    unri_queue_push(&ring->repeats[level], op);
    ring->repeating++;
}

void unri_cancel_answered(struct unr_loop *loop, struct unr_op *op, int res)
{
    unri_clear_flags(op, UNRI_AWAITS_CANCEL);
    if (res >= 0) /* waitid's and futex's say 1 */
        op->private_fields.flags |= UNRI_CANCEL_HIT;
    else if (res == -EALREADY)
        op->result.verdict = UNR_VERDICT_RUNNING;
    if (res < 0 && op->private_fields.flags & UNRI_AWAITS_TARGET)
        plan_repeat(loop, op);
}

static void repeat(struct unr_loop *loop, unsigned level, struct unr_op *op)
{
    unri_queue_remove(&loop->ring->repeats[level], op);
    loop->ring->repeating--;
    unri_clear_flags(op, UNRI_WANTS_REPEAT);
    if (unri_attempts(op) < UNRI_REPEAT_LEVELS - 1)
        unri_count_attempt(op);
    unri_want_cancel(loop->ring, op);
    loop->stats.cancels_repeated++;
}

/* Each list is in the order in which its cancels are due, so the first one that is not due ends the
 * walk over its list.  This is called after a reap, for which the first list waits. */
void unri_repeat_cancels(struct unr_loop *loop)
{
    struct unri_ring *ring = loop->ring;
    for (unsigned level = 0; level < UNRI_REPEAT_LEVELS && ring->repeating; level++) {
        uint32_t now = level == 0 ? ring->reaps : unri_turn_ms(loop);
        for (struct unr_op *op;
             (op = ring->repeats[level].first) != NULL && time_until_due(op, now) <= 0;)
            repeat(loop, level, op);
    }
}

unr_time unri_ring_next_repeat(struct unr_loop *loop)
{
    const struct unri_ring *ring = loop->ring;
    unr_time                next = UNR_NEVER;
    if (!ring->repeating)
        return next;
    if (ring->repeats[0].first)
        return INT64_MIN;
    unr_time now = unri_now(loop); /* first: it may read both clocks anew */
    for (unsigned level = 1; level < UNRI_REPEAT_LEVELS; level++) {
        const struct unr_op *op = ring->repeats[level].first;
        if (!op)
            continue;
        unr_time at = now + UNR_MSEC(time_until_due(op, unri_turn_ms(loop)));
        if (at < next)
            next = at;
    }
    return next;
}
