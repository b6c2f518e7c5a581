/* SPDX-License-Identifier: MIT */
/* Mutexes, semaphores, events and conditions, for callbacks and fibers of one loop.  With these,
 * one part of a program waits for what another part does.  channel.h has channels, which hand
 * values over.
 *
 * To wait is an operation like any other: it has deadlines, slots, verdicts, and a place in groups.
 * It needs neither a system call nor memory of its own.
 *
 * What all of these operations have in common:
 *   Order    first come, first served.  Whoever is served is no longer in line: a mutex that is
 *            unlocked, for example, belongs to the first that waits at once, before the `done` of
 *            that one runs.  So nobody overtakes, and neither does a try_ function, which succeeds
 *            only where nobody waits.
 *   Turn     an operation that can end at its start ends in the next turn.
 *   Truth    an operation that was served before a request to cancel it has succeeded, and the
 *            request is TOO_LATE: a lock is held then, and is to be unlocked.
 *   Cost     to start, to serve and to cancel one operation takes the same time however many wait.
 *   Loop     all who use an object are on one loop.  To serve an operation whose loop is another
 *            thread's, and to wait beside an operation of another loop, is a broken contract.
 *   Memory   an object may be freed when nobody waits for it.  Memory that was used again while
 *            somebody waited is named as a broken contract when such an operation is served or
 *            cancelled, and its neighbours in line are not what they were. */
#ifndef UNRING_SYNC_H
#define UNRING_SYNC_H

#include <unring/op.h>

UNR_BEGIN

/* unring's own part of a `struct unr_waiter`: not to be read or written. */
struct unr_waiter_private {
    struct unr_waiter_private *next, *previous; /* in line, while it waits */
    struct unr_op             *op;              /* which waits in this place */
    void                      *memory;          /* a channel's: the value, or the room for one */
};

/* unring's own: the operations that wait, in the order in which they came. */
struct unr_line {
    struct unr_waiter_private *first, *last;
};

/* An operation that waits for an object of this header, or for a channel.
 *
 * Memory   the caller's, 160 bytes: zeroed once, and where it is from its description until
 *          `done`. */
struct unr_waiter {
    struct unr_op             op;
    struct unr_waiter_private private_fields;
};

/* ---- mutexes ---- */

/* unring's own part of a `struct unr_mutex`: not to be read or written. */
struct unr_mutex_private {
    struct unr_line waiting;
    uintptr_t       owner; /* 0: it is not locked; a fiber, or 1: somebody else */
};

/* A mutex: at most one holds it.  It protects data, or a connection, over several operations.
 *
 * Memory   the caller's, 24 bytes.  Zeroed memory is a mutex that is not locked. */
struct unr_mutex {
    struct unr_mutex_private private_fields;
};

/* Locks a mutex, or waits until it can.
 *
 * waiter   lent until `done`.
 * Result   error 0: the mutex is locked, and whoever started the operation is to unlock it.  Where a
 *          fiber awaited it, by itself or inside of other operations, the fiber is to.
 * Cancels  TOTAL: the mutex was not locked.  A mutex that was handed over before the request is
 *          locked, and the request is TOO_LATE.
 * Again    who holds the mutex and locks it a second time waits for itself.
 * Memory   allocates nothing.
 * Returns  `&waiter->op`.
 * Threads  the loop's.
 * Source   tests/test_sync.c. */
UNR_API struct unr_op *unr_mutex_lock(struct unr_waiter *waiter, struct unr_mutex *mutex);

/* Locks a mutex if nobody holds it.
 *
 * Returns  true: it is locked.  False: somebody holds it.
 * Inside   any `done`, task, handler, condition, filter and step.
 * Threads  the loop's. */
UNR_API bool unr_mutex_try_lock(struct unr_mutex *mutex);

/* Unlocks a mutex, and hands it to the first that waits.
 *
 * Broken   to unlock a mutex that is not locked is a broken contract; and in a fiber, to unlock one
 *          that another fiber has locked.  With UNR_LOOP_CHECKS it is one, too, if a fiber ends
 *          with a mutex that it has locked.
 * Inside   any `done`, task, handler, condition, filter and step.  It runs no `done`.
 * Threads  the loop's. */
UNR_API void unr_mutex_unlock(struct unr_mutex *mutex);

/* ---- semaphores ---- */

/* unring's own part of a `struct unr_semaphore`: not to be read or written. */
struct unr_semaphore_private {
    struct unr_line waiting;
    unsigned        count;
};

/* A semaphore: a count that is taken from and added to, of requests under way, for example.
 *
 * Memory   the caller's, 24 bytes.  Zeroed memory is a semaphore with a count of 0. */
struct unr_semaphore {
    struct unr_semaphore_private private_fields;
};

/* Makes a semaphore with a count.
 *
 * semaphore  nobody waits for it: whoever does is forgotten, and its operation never ends.
 * Threads    the loop's. */
UNR_API void unr_semaphore_init(struct unr_semaphore *semaphore, unsigned count);

/* Takes one from a semaphore's count, or waits until somebody adds one.
 *
 * waiter   lent until `done`.
 * Result   error 0: one was taken.
 * Cancels  TOTAL: nothing was taken.  Where one was taken before the request, the request is
 *          TOO_LATE.
 * Memory   allocates nothing.
 * Returns  `&waiter->op`.
 * Threads  the loop's.
 * Source   tests/test_sync.c. */
UNR_API struct unr_op *unr_semaphore_wait(struct unr_waiter    *waiter,
                                          struct unr_semaphore *semaphore);

/* Takes one from a semaphore's count if that is not 0.
 *
 * Returns  true: one was taken.  False: the count is 0.
 * Inside   any `done`, task, handler, condition, filter and step.
 * Threads  the loop's. */
UNR_API bool unr_semaphore_try_wait(struct unr_semaphore *semaphore);

/* Adds one to a semaphore's count, or gives it to the first that waits.
 *
 * Broken   a count above UINT_MAX is a broken contract.
 * Inside   any `done`, task, handler, condition, filter and step.  It runs no `done`.
 * Threads  the loop's. */
UNR_API void unr_semaphore_post(struct unr_semaphore *semaphore);

/* ---- events ---- */

/* unring's own part of a `struct unr_event`: not to be read or written. */
struct unr_event_private {
    struct unr_line waiting;
    bool            set;
};

/* An event: it is set once it has happened, and lets all pass until it is reset.
 *
 * Memory   the caller's, 24 bytes.  Zeroed memory is an event that is not set. */
struct unr_event {
    struct unr_event_private private_fields;
};

/* Waits until an event is set.
 *
 * waiter   lent until `done`.
 * Result   error 0: the event was set.  It may have been reset since.
 * Cancels  TOTAL: only the wait ends.  Where the event was set before the request, the request is
 *          TOO_LATE.
 * Memory   allocates nothing.
 * Returns  `&waiter->op`.
 * Threads  the loop's.
 * Source   tests/test_sync.c. */
UNR_API struct unr_op *unr_event_wait(struct unr_waiter *waiter, struct unr_event *event);

/* Sets an event: all that wait end, and whoever comes later does not wait.
 *
 * Inside   any `done`, task, handler, condition, filter and step.  It runs no `done`.
 * Threads  the loop's. */
UNR_API void unr_event_set(struct unr_event *event);

/* Resets an event: whoever comes later waits.
 *
 * Inside   any `done`, task, handler, condition, filter and step.
 * Threads  the loop's. */
UNR_API void unr_event_reset(struct unr_event *event);

/* Tells whether an event is set. */
UNR_API bool unr_event_is_set(const struct unr_event *event);

/* ---- conditions ---- */

/* unring's own part of a `struct unr_condition`: not to be read or written. */
struct unr_condition_private {
    struct unr_line waiting;
};

/* A condition: operations wait for it until somebody has changed the data that a mutex protects.
 *
 * Memory   the caller's, 16 bytes.  Zeroed memory is a condition. */
struct unr_condition {
    struct unr_condition_private private_fields;
};

/* Unlocks a mutex, waits for a signal, and ends with the mutex locked again.
 *
 * waiter   lent until `done`.
 * mutex    locked when the operation starts; anything else is a broken contract, and so is a fiber
 *          that waits with a mutex which another fiber has locked.  It is locked when the operation
 *          ends, whatever the result says, and is the waiter's to unlock.
 * Result   error 0: a signal was taken.  Others may have had the mutex since the signal, so the
 *          caller looks again whether it has to wait.
 * Cancels  TOTAL: no signal was taken.  The operation ends once it has the mutex again, which may
 *          be later than a deadline says.  Where a signal was taken before the request, the request
 *          is TOO_LATE.  A request before it begins ends it at once, with the mutex still locked.
 * Closing  a loop that is closed waits until the operation has the mutex again, so whoever holds
 *          the mutex unlocks it in a `done`.
 * Memory   allocates nothing.
 * Returns  `&waiter->op`.
 * Threads  the loop's.
 * Source   pthread_cond_wait(3); tests/test_sync.c. */
UNR_API struct unr_op *unr_condition_wait(struct unr_waiter    *waiter,
                                          struct unr_condition *condition, struct unr_mutex *mutex);

/* Wakes the first that waits for a condition, if anybody does.
 *
 * Mutex    the operation that is woken gets in line for its mutex.  The caller need not hold it.
 * Inside   any `done`, task, handler, condition, filter and step.  It runs no `done`.
 * Threads  the loop's. */
UNR_API void unr_condition_signal(struct unr_condition *condition);

/* Wakes all that wait for a condition.
 *
 * Mutex    the operations that are woken get in line for their mutex.  The caller need not
 *          hold it.
 * Inside   any `done`, task, handler, condition, filter and step.  It runs no `done`.
 * Threads  the loop's. */
UNR_API void unr_condition_broadcast(struct unr_condition *condition);

UNR_END
#endif
