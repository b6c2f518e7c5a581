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
#include "cancel.h"
#include "enter.h"
#include "repeat.h"

bool unri_may_miss_end(const struct unr_op *op, unsigned cqe_flags)
{
    const struct unr_op_private *p = &op->private_fields;
    return cqe_flags & IORING_CQE_F_MORE && !(cqe_flags & IORING_CQE_F_SOCK_NONEMPTY)
           && !(p->flags & (UNRI_CANCEL_UNDER_WAY | UNRI_FD_CLOSED))
           && unri_enter_peer_has_ended(p->fd);
}

void unri_withdraw_cancel(struct unri_ring *ring, struct unr_op *op)
{
    if (op->private_fields.flags & UNRI_WANTS_CANCEL)
        unri_queue_remove(&ring->urgent, op);
    else if (op->private_fields.flags & UNRI_WANTS_REPEAT)
        unri_take_back_repeat(ring, op);
    unri_clear_flags(op, UNRI_WANTS_CANCEL);
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

/* A first answer without effect does not say where the target is: it may have completed, or be on
 * its way from one of the kernel's tables to another.  A target that is still out after the second
 * has been in none of them twice: the kernel executes it where no cancel reaches, as a read that
 * waits for a disk. */
void unri_cancel_answered(struct unr_loop *loop, struct unr_op *op, int res)
{
    unri_clear_flags(op, UNRI_AWAITS_CANCEL);
    if (res >= 0) { /* waitid's and futex's say 1 */
        op->private_fields.flags |= UNRI_CANCEL_HIT;
        return;
    }
    bool is_out = op->private_fields.flags & UNRI_AWAITS_TARGET;
    bool is_asked = op->private_fields.flags & UNRI_HONOURED;
    if (is_asked && (res == -EALREADY || (is_out && unri_attempts(op))))
        op->result.verdict = UNR_VERDICT_RUNNING;
    if (is_out)
        unri_repeat_later(loop, op);
}
