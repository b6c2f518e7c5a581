/* SPDX-License-Identifier: MIT */
/* The loop's descriptor for another event loop: an eventfd that the kernel signals when the ring
 * has something to reap, and that unring writes to when there is work which the kernel does not
 * know of.  (The ring's own descriptor will not do: a poll that sleeps on it is not woken with
 * DEFER_TASKRUN.) */
#include "../../uring/kernel.h"
#include "../core/cancel.h"
#include "../core/clock.h"
#include "loop.h"

#include <sys/eventfd.h>

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
    unri_os_wake(fd); /* for what was started and posted before */
    return fd;
}

static void alarm_went(struct unr_op *op)
{
    (void)op;
}

static unr_time next_alarm(struct unr_loop *loop)
{
    unr_time timer = unri_timers_next(unri_timers(loop)), repeat = unri_ring_next_repeat(loop);
    return timer < repeat ? timer : repeat;
}

/* Has the kernel signal the descriptor when the first timer is due, or a lost cancel is to be sent
 * again.  An alarm that is set for later is cancelled, and set anew when that is through; one that
 * is set for earlier goes off in vain. */
static void set_alarm(struct unr_loop *loop)
{
    unr_time next = next_alarm(loop);
    if (next == UNR_NEVER)
        return;
    if (!unr_in_flight(&unri_whole(loop)->alarm.op)) {
        unri_whole(loop)->alarm.deadline = next;
        unri_whole(loop)->alarm.at[0] = next > 0 ? next / UNR_SEC(1) : 0;
        unri_whole(loop)->alarm.at[1] = next > 0 ? next % UNR_SEC(1) : 0;
        unri_start_housekeeping(
            loop, unri_alarm(&unri_whole(loop)->alarm.op, unri_whole(loop)->alarm.at), alarm_went);
    } else if (next < unri_whole(loop)->alarm.deadline) {
        unri_request(&unri_whole(loop)->alarm.op,
                     (struct unr_cancel_request){ UNR_CANCEL_ALL, -ECANCELED });
    }
}

void unri_embed_begin(struct unr_loop *loop)
{
    loop->in_turn = true;
    set_alarm(loop);
    loop->in_turn = false;
}

static bool alarm_is_late(struct unr_loop *loop)
{
    unr_time next = next_alarm(loop);
    return next != UNR_NEVER
           && (!unr_in_flight(&unri_whole(loop)->alarm.op)
               || next < unri_whole(loop)->alarm.deadline);
}

void unri_embed_end(struct unr_loop *loop)
{
    unri_os_wake_clear(loop->embed_fd);
    /* Where that fails, the next turn tries again. */
    bool deaf = unri_ring_renew_eventfd(loop, loop->embed_fd) < 0;
    /* From here on until the next turn, whoever pushes wakes the loop; what was pushed before is
     * seen here. */
    unri_inbox_announce_sleep(unri_inbox(loop));
    if (deaf || loop->finished.first || unri_inbox_has_tasks(unri_inbox(loop))
        || atomic_load(&unri_inbox(loop)->stop) || alarm_is_late(loop) || unri_ring_has_work(loop))
        unri_os_wake(loop->embed_fd);
}
