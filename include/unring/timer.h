/* Timers.  They live in the loop, not in the kernel: no SQE, and no system call but the wait that
 * the loop makes anyway. */
#ifndef UNRING_TIMER_H
#define UNRING_TIMER_H

#include <unring/op.h>
#include <unring/time.h>

UNR_BEGIN

struct unr_timer {
    struct unr_op op;
    unr_time      deadline; /* on CLOCK_MONOTONIC; valid from start on */
    uint64_t      private_fields[4];
};

/* Completes when the clock has reached `deadline`, in the first turn after it; one that is past is
 * legal.  Timers due in one turn complete in the order of their deadlines, those with the same one
 * in the order in which they were started or moved.
 *
 * Result   error 0.
 * Cancels  TOTAL, also when it is due already, as long as the loop has not come to it.
 * Errors   -ENOMEM: more timers than the loop has room for (four million without a further
 *          mapping).
 * Threads  the loop's.
 * Source   lib/timer.c; tests/test_timer.c. */
UNR_API struct unr_op *unr_timer_at(struct unr_timer *timer, unr_time deadline);

/* The same after `delay` nanoseconds, counted at start: from unr_loop_now() inside a turn, from a
 * fresh reading of the clock outside.  A delay of 0 or less is due at once; UNR_NEVER does not
 * come. */
UNR_API struct unr_op *unr_timer_after(struct unr_timer *timer, unr_time delay);

/* Gives a timer in flight another deadline, earlier or later; its binding and `done` stay.
 * Returns  false, and changes nothing, if it has fired or was cancelled, or there is no room for
 *          another timer. */
UNR_API bool unr_timer_move(struct unr_timer *started, unr_time deadline);

UNR_END
#endif
