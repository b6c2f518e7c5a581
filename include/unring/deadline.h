/* Time around one operation: a deadline, and a delay. */
#ifndef UNRING_DEADLINE_H
#define UNRING_DEADLINE_H

#include <unring/timer.h>

UNR_BEGIN

/* unring's own part of a `struct unr_deadline`: not to be read or written. */
struct unr_deadline_private {
    struct unr_timer timer;
};

/* The first member of each structure here is `struct unr_op op`. */
struct unr_deadline {
    union {
        struct unr_op               op;
        struct unr_deadline_private private_fields;
    };
};

/* `inner`, of which UNR_CANCEL_ALL is requested with cause -ETIMEDOUT when the clock has reached
 * `when` (CLOCK_MONOTONIC), or `delay` nanoseconds after the start; UNR_NEVER does not come.  It
 * then goes on until it has really ended, and success that was on its way remains one.
 * unr_timed_out(&result) is true of a time-out, and of what somebody asked for with that cause.
 *
 * inner    described, and from now on the deadline's: it is not started by itself.  Its result
 *          stays in it as well.
 * Result   inner's, and what was asked of the deadline.  A deadline that is past at the start ends
 *          the operation before it begins, UNSUBMITTED; one that supports NONE runs.
 * Cancels  as inner.  The deadline itself asks once; an inner operation that supports NONE is not
 *          ended by it.
 * Errors   as inner; -ENOMEM, and inner never began: there is no room for a timer (see
 *          unr_timer_at()).
 * Cost     no system call and no allocation: the timer is the loop's.
 * Threads  the loop's.
 * Source   lib/deadline.c; tests/test_deadline.c. */
UNR_API struct unr_op *unr_cancel_at(struct unr_deadline *deadline, struct unr_op *inner,
                                     unr_time when);
UNR_API struct unr_op *unr_cancel_after(struct unr_deadline *deadline, struct unr_op *inner,
                                        unr_time delay);

/* Gives a deadline in flight another time, earlier or later; UNR_NEVER takes it away, and it may be
 * set again.
 * Returns  false, and changes nothing, if it has passed already, the operation has ended, or there
 *          is no memory for it. */
UNR_API bool unr_deadline_move(struct unr_deadline *started, unr_time when);

/* unring's own part of a `struct unr_delay`: not to be read or written. */
struct unr_delay_private {
    struct unr_timer timer;
};

struct unr_delay {
    union {
        struct unr_op            op;
        struct unr_delay_private private_fields;
    };
};

/* `inner`, begun `pause` nanoseconds after the start: counted as unr_timer_after() counts.
 *
 * inner    described, and from now on the delay's.
 * Result   inner's.
 * Cancels  as inner; during the pause, what inner honours ends it before it begins: UNSUBMITTED,
 *          TOTAL.  (A group of which some members honour it begins at once for the others.)
 * Errors   as inner; -ENOMEM, and inner never began: there is no room for a timer.
 * Closing  a loop that is closed does not wait for the pause: what supports NONE begins at once.
 * Threads  the loop's.
 * Source   lib/delay.c; tests/test_deadline.c. */
UNR_API struct unr_op *unr_delay(struct unr_delay *delay, struct unr_op *inner, unr_time pause);

/* Lets a delayed operation in flight begin at another time, earlier (now, if `when` is past) or
 * later.
 * Returns  false, and changes nothing, if it has begun or ended already, or there is no memory for
 *          it. */
UNR_API bool unr_delay_move(struct unr_delay *started, unr_time when);

UNR_END
#endif
