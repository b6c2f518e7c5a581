/* SPDX-License-Identifier: MIT */
/* Timers.  A timer waits in its loop, not in the kernel: it needs no SQE, and no system call but
 * the wait that the loop makes anyway. */
#ifndef UNRING_TIMER_H
#define UNRING_TIMER_H

#include <unring/op.h>
#include <unring/time.h>

UNR_BEGIN

/* A timer, which is an operation, and no larger than one.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_timer {
    __extension__ union {
        struct unr_op op;
        struct {
            unsigned char before_deadline[96]; /* unring's: not to be read or written */
            unr_time      deadline;            /* on CLOCK_MONOTONIC; valid from the start on */
            unsigned char behind_deadline[24]; /* unring's, too */
        };
    };
};

/* Completes when the clock has reached `deadline`.
 *
 * deadline  on CLOCK_MONOTONIC.  A point in the past is allowed: the timer is then due at once.
 *           UNR_NEVER does not come.
 * Order     a timer completes in the first turn after it is due.  Timers that are due in one turn
 *           complete in the order of their deadlines; those with the same deadline in the order in
 *           which they were started or moved.
 * Result    value: 0.
 * Cancels   TOTAL: the timer has not fired.  A timer that is due is cancelled, too, as long as the
 *           loop has not come to it.
 * Errors    -ENOMEM: there are more timers than room was reserved for, four million or as many as
 *           the limits of the process allow (unr_loop_open()), and no memory to map room for more.
 * Memory    a start allocates nothing up to that number.
 * Threads   the loop's.
 * Source    tests/test_timer.c. */
UNR_API struct unr_op *unr_timer_at(struct unr_timer *timer, unr_time deadline);

/* Completes `delay` nanoseconds after its start.
 *
 * delay    counts from the start: inside a turn of the loop from unr_loop_now(), which is at most
 *          a millisecond old, and outside from a fresh reading of the clock.  0 or less is due at
 *          once.  UNR_NEVER does not come.
 * Order    as for unr_timer_at(), by the deadline that follows from `delay`.
 * Result   value: 0.
 * Cancels  TOTAL: the timer has not fired.  A timer that is due is cancelled, too, as long as the
 *          loop has not come to it.
 * Errors   -ENOMEM: there are more timers than room was reserved for, four million or as many as
 *          the limits of the process allow (unr_loop_open()), and no memory to map room for more.
 * Memory   a start allocates nothing up to that number.
 * Threads  the loop's.
 * Source   tests/test_timer.c. */
UNR_API struct unr_op *unr_timer_after(struct unr_timer *timer, unr_time delay);

/* Gives a timer in flight another deadline, earlier or later.
 *
 * started  keeps its `done`, its data and its binding.
 * Returns  true; or false, and nothing is changed: the timer is not in flight, has fired or was
 *          cancelled, or there is no memory to map room for another timer.
 * Cost     a third of the instructions of a cancellation and a new start.  The timer stays in
 *          flight, so nothing of an operation's life is paid for: it is not described, started or
 *          ended, no `done` runs, and no turn is needed.  This is the cheaper way to put a time-out
 *          off.
 * Inside   any `done`, task, handler, condition, filter and step.
 * Threads  the loop's. */
UNR_API bool unr_timer_move(struct unr_timer *started, unr_time deadline);

UNR_END
#endif
