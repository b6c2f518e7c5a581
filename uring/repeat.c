/* SPDX-License-Identifier: MIT */
/* What is sent to the kernel again: a cancel that had no effect, for as long as its target's CQE is
 * missing, and an operation that the kernel has given back without having done anything (again.c).
 * An operation is never both: only a cancel that it honoured is sent, and from then on it is not
 * submitted again. */
#include "repeat.h"
#include "../lib/core/clock.h"
#include "../lib/core/type.h"
#include "cancel.h"

/* Keeps when an operation on ring->repeats is due, in `fd` of the result, which is scratch memory.
 * The first of these lists counts reaps, the others count milliseconds, and both numbers wrap
 * round. */
static void set_due(struct unr_op *op, uint32_t due)
{
    op->result.fd = (int)due;
}

static int32_t time_until_due(const struct unr_op *op, uint32_t now)
{
    return (int32_t)((uint32_t)op->result.fd - now);
}

/* The list that an operation with so many attempts waits on. */
static unsigned level_of(const struct unr_op *op)
{
    unsigned attempts = unri_attempts(op);
    return attempts < UNRI_REPEAT_LEVELS ? attempts : UNRI_REPEAT_LEVELS - 1;
}

void unri_repeat_later(struct unr_loop *loop, struct unr_op *op)
{
    struct unri_ring *ring = loop->ring;
    unsigned          level = level_of(op);
    op->private_fields.flags |= UNRI_WANTS_REPEAT;
    set_due(op, level == 0 ? ring->reaps + 1 : unri_turn_ms(loop) + (1u << (level - 1)));
    unri_queue_push(&ring->repeats[level], op);
    ring->repeating++;
}

void unri_take_back_repeat(struct unri_ring *ring, struct unr_op *op)
{
    unri_queue_remove(&ring->repeats[level_of(op)], op);
    unri_clear_flags(op, UNRI_WANTS_REPEAT);
    ring->repeating--;
}

static void repeat(struct unr_loop *loop, struct unr_op *op)
{
    unri_take_back_repeat(loop->ring, op);
    if (unri_attempts(op) < UNRI_REPEAT_LEVELS)
        unri_count_attempt(op);
    if (op->private_fields.state == UNRI_QUEUED) {
        set_due(op, unri_turn_ms(loop)); /* for unri_repeat_anew() */
        unri_queue_push(&loop->ring->queued, op);
        loop->stats.submitted_again++;
    } else {
        unri_want_cancel(loop->ring, op);
        loop->stats.cancels_repeated++;
    }
}

void unri_repeat_anew(struct unr_loop *loop, struct unr_op *op)
{
    const uint32_t longest = 1u << (UNRI_REPEAT_LEVELS - 2);
    if (unri_attempts(op) && (uint32_t)-time_until_due(op, unri_turn_ms(loop)) > longest)
        unri_forget_attempts(op);
}

/* Each list is in the order in which its operations are due, so the first one that is not due ends
 * the walk over its list.  This is called after a reap, for which the first list waits. */
void unri_repeat_due(struct unr_loop *loop)
{
    struct unri_ring *ring = loop->ring;
    for (unsigned level = 0; level < UNRI_REPEAT_LEVELS && ring->repeating; level++) {
        uint32_t now = level == 0 ? ring->reaps : unri_turn_ms(loop);
        for (struct unr_op *op;
             (op = ring->repeats[level].first) != NULL && time_until_due(op, now) <= 0;)
            repeat(loop, op);
    }
}

/* Nothing else that is armed waits long on these lists, and it may be sent again early. */
void unri_repeat_after_close(struct unr_loop *loop)
{
    struct unri_ring *ring = loop->ring;
    if (ring->closes_seen == loop->descriptors.closes)
        return;
    ring->closes_seen = loop->descriptors.closes;
    for (unsigned level = 0; level < UNRI_REPEAT_LEVELS && ring->repeating; level++)
        for (struct unr_op *op = ring->repeats[level].first, *next; op; op = next) {
            next = op->private_fields.next;
            if (unri_kind(op) == UNRI_ARMED && op->private_fields.state == UNRI_QUEUED)
                repeat(loop, op);
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
