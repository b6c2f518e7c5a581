/* SPDX-License-Identifier: MIT */
/* Time around one operation: wrappers that end their child at a deadline, or begin it after a
 * pause. */
#ifndef UNRING_DEADLINE_H
#define UNRING_DEADLINE_H

#include <unring/timer.h>

UNR_BEGIN

/* unring's own part of a `struct unr_deadline`: not to be read or written. */
struct unr_deadline_private {
    struct unr_timer timer;
};

/* A multishot operation has more than one end, and is given to no deadline and no delay: that is a
 * broken contract.  An unr_sqe() is known for one when it is submitted (system.h). */

/* A deadline, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_deadline {
    union {
        struct unr_op               op;
        struct unr_deadline_private private_fields;
    };
};

/* Describes `child` with a deadline at the time `when`.
 *
 * child    described; anything else is a broken contract.  The deadline starts it, and it is lent
 *          until `done`.  Its own result stays in `child` as well.
 * when     on CLOCK_MONOTONIC: when it has come, UNR_CANCEL_ALL is requested from `child`, once,
 *          with cause -ETIMEDOUT.  UNR_NEVER does not come.  A deadline that is past at the start
 *          ends `child` before it begins, UNSUBMITTED, unless `child` supports NONE.  A scope
 *          begins all the same, and its members end so, except those that support NONE.
 * Ends     when `child` has really ended: a success that was on its way stays a success, and a
 *          `child` that supports NONE runs to its end.
 * Result   that of `child`.  unr_timed_out(&result) tells a time-out from other cancellations.
 * Cancels  the guarantee of `child`, to which every request is passed on.  The entry Cancels of
 *          the function that described `child` says what is true of it afterwards.
 * Errors   those of `child`; -ENOMEM, and `child` did not begin: there is no room for a timer
 *          (unr_timer_at()).
 * Cost     no system call and no allocation: the timer is the loop's.
 * Returns  `&deadline->op`.
 * Threads  the loop's.
 * Source   tests/test_deadline.c. */
UNR_API struct unr_op *unr_cancel_at(struct unr_deadline *deadline, struct unr_op *child,
                                     unr_time when);

/* Describes `child` with a deadline `delay` nanoseconds after its start.
 *
 * child    described; anything else is a broken contract.  The deadline starts it, and it is lent
 *          until `done`.  Its own result stays in `child` as well.
 * delay    when it is over, UNR_CANCEL_ALL is requested from `child`, once, with cause -ETIMEDOUT.
 *          It counts from the start: inside a turn of the loop from unr_loop_now(), which is at
 *          most a millisecond old, and outside from a fresh reading of the clock.  UNR_NEVER does
 *          not end.  A delay of 0 or less ends `child` before it begins, UNSUBMITTED, unless
 *          `child` supports NONE.  A scope begins all the same, and its members end so, except
 *          those that support NONE.
 * Ends     when `child` has really ended: a success that was on its way stays a success, and a
 *          `child` that supports NONE runs to its end.
 * Result   that of `child`.  unr_timed_out(&result) tells a time-out from other cancellations.
 * Cancels  the guarantee of `child`, to which every request is passed on.  The entry Cancels of
 *          the function that described `child` says what is true of it afterwards.
 * Errors   those of `child`; -ENOMEM, and `child` did not begin: there is no room for a timer
 *          (unr_timer_at()).
 * Cost     no system call and no allocation: the timer is the loop's.
 * Returns  `&deadline->op`.
 * Threads  the loop's.
 * Source   tests/test_deadline.c. */
UNR_API struct unr_op *unr_cancel_after(struct unr_deadline *deadline, struct unr_op *child,
                                        unr_time delay);

/* Gives a deadline in flight another time, earlier or later.
 *
 * when     on CLOCK_MONOTONIC.  UNR_NEVER takes the deadline away, and it may be set again.
 * Returns  true; or false, and nothing is changed: the operation is not in flight or has ended,
 *          the deadline has passed already, or there is no room for a timer.
 * Inside   any `done`, task, handler, condition, filter and step.
 * Threads  the loop's. */
UNR_API bool unr_deadline_move(struct unr_deadline *started, unr_time when);

/* unring's own part of a `struct unr_delay`: not to be read or written. */
struct unr_delay_private {
    struct unr_timer timer;
};

/* A delay, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_delay {
    union {
        struct unr_op            op;
        struct unr_delay_private private_fields;
    };
};

/* Describes `child` to begin `pause` nanoseconds after the start.
 *
 * child    described; anything else is a broken contract.  The delay starts it, and it is lent
 *          until `done`.
 * pause    counts from the start: inside a turn of the loop from unr_loop_now(), which is at most
 *          a millisecond old, and outside from a fresh reading of the clock.  0 or less ends in
 *          the next turn; UNR_NEVER does not end.
 * Result   that of `child`.
 * Cancels  during the pause TOTAL: a request that `child` honours ends it before it begins,
 *          UNSUBMITTED; of a group whose members do not all honour it, the others begin at once.
 *          A request that `child` refuses leaves the pause as it is.
 *          After the pause the guarantee of `child`, to which every request is passed on.  The
 *          entry Cancels of the function that described `child` says what is true of it
 *          afterwards.
 * Errors   those of `child`; -ENOMEM, and `child` did not begin: there is no room for a timer
 *          (unr_timer_at()).
 * Closing  a loop that is being closed does not wait for the pause: a `child` that supports NONE
 *          begins at once.
 * Cost     no system call and no allocation: the timer is the loop's.
 * Returns  `&delay->op`.
 * Threads  the loop's.
 * Source   tests/test_deadline.c, delay. */
UNR_API struct unr_op *unr_delay(struct unr_delay *delay, struct unr_op *child, unr_time pause);

/* Lets a delayed operation in flight begin at another time, earlier or later.
 *
 * when     on CLOCK_MONOTONIC; a point in the past: in the next turn.
 * Returns  true; or false, and nothing is changed: the operation is not in flight, has begun or
 *          ended, or there is no room for a timer.
 * Inside   any `done`, task, handler, condition, filter and step.
 * Threads  the loop's. */
UNR_API bool unr_delay_move(struct unr_delay *started, unr_time when);

UNR_END
#endif
