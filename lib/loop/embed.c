/* SPDX-License-Identifier: MIT */
/* The descriptor with which another event loop waits for this one: an eventfd.  The kernel signals
 * it when the ring has something to reap, and unring writes to it when there is other work.  The
 * ring's own descriptor will not do: with DEFER_TASKRUN the kernel does not wake a poll that sleeps
 * on it.
 *
 * Three sources of work have to make the descriptor readable while the loop is not in a turn:
 *   completions    The kernel signals the eventfd that is registered with the ring.
 *   other threads  They write to the loop's other eventfd (inbox.c), which completes the loop's own
 *                  read of that eventfd.
 *   time           The alarm: an operation of the kernel's that completes when the first timer is
 *                  due, or when a cancel that had no effect is to be sent again.
 * A fourth source is the caller, who starts and cancels operations between two turns: then
 * unri_notice() writes to the descriptor. */
#include "../../uring/kernel.h"
#include "../core/cancel.h"
#include "../core/op.h"
#include "../core/clock.h"
#include "loop.h"

#include <sys/eventfd.h>

/* The write is for the tasks that were posted and the operations that were started before there was
 * a descriptor.  The announcement comes before the write, so a thread that posts later wakes the
 * loop. */
int unr_loop_fd(struct unr_loop *loop)
{
    int error = unri_loop_own(loop);
    if (error < 0 || loop->embed_fd >= 0)
        return error < 0 ? error : loop->embed_fd;
    int fd = unri_os_wake_open(EFD_NONBLOCK);
    if (fd < 0)
        return fd;
    if ((error = unri_ring_register_eventfd(loop, fd)) < 0) {
        unri_os_wake_close(fd);
        return error;
    }
    loop->embed_fd = fd;
    unri_inbox_announce_sleep(unri_inbox(loop));
    unri_os_wake(fd);
    return fd;
}

/* ---- the alarm ---- */

/* There is nothing to do: the alarm's completion has made the descriptor readable. */
static void alarm_went_off(struct unr_op *op)
{
    (void)op;
}

/* When the loop has work that no completion announces; UNR_NEVER: there is none. */
static unr_time next_alarm(struct unr_loop *loop)
{
    unr_time timer = unri_timers_next(unri_timers(loop)), repeat = unri_ring_next_repeat(loop);
    return timer < repeat ? timer : repeat;
}

/* Sets the alarm, if it is not set early enough already.  An alarm that is set too late is
 * cancelled here, and set anew in front of the turn that its completion brings about.  An alarm
 * that is set too early, for a timer that was cancelled, stays and goes off in vain. */
static void set_alarm(struct unr_loop *loop)
{
    struct unri_whole_loop *whole = unri_whole(loop);
    struct unr_op          *alarm = &whole->alarm.op;
    unr_time                next = next_alarm(loop);
    if (next == UNR_NEVER)
        return;
    if (!unr_in_flight(alarm)) {
        whole->alarm.deadline = next;
        unri_start_housekeeping(loop, unri_alarm(loop, alarm, next, whole->alarm.at),
                                alarm_went_off);
    } else if (next < whole->alarm.deadline) {
        unri_request(alarm, (struct unr_cancel_request){ UNR_CANCEL_ALL, -ECANCELED });
    }
}

/* The alarm is an SQE, and only a turn submits SQEs: so it is set before a turn, for the timers
 * that are there by then.  It counts as inside the turn, so that starting the alarm does not write
 * to the descriptor. */
void unri_embed_begin(struct unr_loop *loop)
{
    loop->in_turn = true;
    set_alarm(loop);
    loop->in_turn = false;
}

/* Tells whether the first timer is due before the alarm goes off: a timer that was started in this
 * turn, say.  Then another turn has to come at once, and the alarm is set in front of it. */
static bool alarm_is_late(struct unr_loop *loop)
{
    struct unri_whole_loop *whole = unri_whole(loop);
    unr_time                next = next_alarm(loop);
    return next != UNR_NEVER && (!unr_in_flight(&whole->alarm.op) || next < whole->alarm.deadline);
}

/* Clear, renew, announce, look: in this order nothing is lost.  A completion, a post or a stop that
 * comes before the look is seen by the look, and the descriptor is written to; one that comes later
 * signals the descriptor itself, which is not cleared any more.
 *
 * Renewing is for a quirk: Linux 6.18 with DEFER_TASKRUN signals a registered eventfd once and then
 * no more, where the completion came about by a write to another eventfd, which is how other
 * threads wake the loop.  If the renewal fails, the descriptor is deaf, so it is left readable: the
 * next turn tries again. */
void unri_embed_end(struct unr_loop *loop)
{
    struct unri_inbox *inbox = unri_inbox(loop);
    unri_os_wake_clear(loop->embed_fd);
    bool is_deaf = unri_ring_renew_eventfd(loop, loop->embed_fd) < 0;
    unri_inbox_announce_sleep(inbox);
    if (is_deaf || loop->finished.first || unri_inbox_has_tasks(inbox) || atomic_load(&inbox->stop)
        || alarm_is_late(loop) || unri_ring_has_work(loop))
        unri_os_wake(loop->embed_fd);
}
