/* SPDX-License-Identifier: MIT */
/* Mutexes, semaphores, events and conditions.  line.h has the lines in which operations wait for
 * them; channel.c has channels.
 *
 * Whoever gives something gives it to the first in line, if there is one.  So these are never true
 * at the same time: somebody waits for a mutex, and it is not locked; somebody waits for a
 * semaphore, and its count is not 0; somebody waits for an event, and it is set.  That is why a
 * try_ function overtakes nobody. */
#include <limits.h>
#include "../core/life.h"
#include "fiber.h"
#include "line.h"

static_assert(sizeof(struct unr_waiter) == 160, "as sync.h says");
static_assert(sizeof(struct unr_mutex) == 24 && sizeof(struct unr_semaphore) == 24, "");
static_assert(sizeof(struct unr_event) == 24 && sizeof(struct unr_condition) == 16, "");

/* ---- mutexes ---- */

/* The owner of a mutex that is locked is a fiber, by its address, or somebody else: a `done`, say.
 * The fiber may be gone, so it is not looked at; but with UNR_LOOP_CHECKS it counts what it holds,
 * until its end, and the address is marked. */
#define SOMEBODY ((uintptr_t)1)
#define COUNTED  ((uintptr_t)2)

/* Returns the fiber that waits for an operation, by itself or inside of others; NULL: none does. */
static struct unr_fiber *fiber_of(const struct unr_op *op)
{
    while (op->private_fields.flags & UNRI_CHILD) {
        struct unr_op *outer = op->private_fields.combinator;
        if (unri_is_fiber(outer))
            return unri_fiber_of(outer);
        op = outer;
    }
    return NULL;
}

/* `fiber`: NULL, somebody else. */
static void own(struct unr_mutex_private *m, struct unr_fiber *fiber)
{
    m->owner = fiber ? (uintptr_t)fiber : SOMEBODY;
    if (fiber && unlikely(fiber->op.private_fields.loop->checks != NULL)) {
        m->owner |= COUNTED;
        fiber->private_fields.locks++;
    }
}

static void disown(struct unr_mutex_private *m)
{
    if (unlikely(m->owner & COUNTED))
        ((struct unr_fiber *)(m->owner & ~COUNTED))->private_fields.locks--;
    m->owner = 0;
}

static bool is_another_fibers(const struct unr_mutex_private *m, const struct unr_fiber *fiber)
{
    return fiber && m->owner != SOMEBODY && (m->owner & ~COUNTED) != (uintptr_t)fiber;
}

static struct unr_mutex_private *mutex_of(const struct unr_op *lock)
{
    return unr_container_of(unri_line_of(lock), struct unr_mutex_private, waiting);
}

static bool try_lock(struct unr_mutex_private *m, struct unr_fiber *fiber)
{
    if (m->owner)
        return false;
    own(m, fiber);
    return true;
}

static void end_with_lock(struct unr_op *op);

static void unlock(struct unr_mutex_private *m)
{
    struct unr_op *next = unri_line_serve(&m->waiting);
    disown(m);
    if (!next)
        return;
    own(m, fiber_of(next));
    end_with_lock(next);
}

static void lock_start(struct unr_op *op)
{
    unri_begin_wait(op, try_lock(mutex_of(op), fiber_of(op)) ? 0 : -EAGAIN);
}

static const struct unr_op_type lock_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "mutex_lock",
    .start = lock_start,
    .cancel = unri_cancel_wait,
    .private_fields = { .kind = UNRI_PARKED },
};

struct unr_op *unr_mutex_lock(struct unr_waiter *waiter, struct unr_mutex *mutex)
{
    return unri_describe_waiter(waiter, &lock_type, &mutex->private_fields.waiting, NULL);
}

bool unr_mutex_try_lock(struct unr_mutex *mutex)
{
    return try_lock(&mutex->private_fields, unr_fiber_self());
}

void unr_mutex_unlock(struct unr_mutex *mutex)
{
    if (unlikely(!mutex->private_fields.owner))
        unri_broken("unr_mutex_unlock of a mutex that is not locked", NULL,
                    "whoever has locked a mutex unlocks it, once");
    if (unlikely(is_another_fibers(&mutex->private_fields, unr_fiber_self())))
        unri_broken("unr_mutex_unlock of a mutex that another fiber has locked",
                    &unr_fiber_self()->op, "whoever has locked a mutex unlocks it, once");
    unlock(&mutex->private_fields);
}

/* ---- semaphores ---- */

static struct unr_semaphore_private *semaphore_of(const struct unr_op *wait)
{
    return unr_container_of(unri_line_of(wait), struct unr_semaphore_private, waiting);
}

static bool try_take(struct unr_semaphore_private *s)
{
    if (s->count == 0)
        return false;
    s->count--;
    return true;
}

static void semaphore_start(struct unr_op *op)
{
    unri_begin_wait(op, try_take(semaphore_of(op)) ? 0 : -EAGAIN);
}

static const struct unr_op_type semaphore_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "semaphore_wait",
    .start = semaphore_start,
    .cancel = unri_cancel_wait,
    .private_fields = { .kind = UNRI_PARKED },
};

void unr_semaphore_init(struct unr_semaphore *semaphore, unsigned count)
{
    semaphore->private_fields = (struct unr_semaphore_private){ .count = count };
}

struct unr_op *unr_semaphore_wait(struct unr_waiter *waiter, struct unr_semaphore *semaphore)
{
    return unri_describe_waiter(waiter, &semaphore_type, &semaphore->private_fields.waiting, NULL);
}

bool unr_semaphore_try_wait(struct unr_semaphore *semaphore)
{
    return try_take(&semaphore->private_fields);
}

void unr_semaphore_post(struct unr_semaphore *semaphore)
{
    struct unr_semaphore_private *s = &semaphore->private_fields;
    struct unr_op                *next = unri_line_serve(&s->waiting);
    if (next)
        unri_end(next, 0);
    else if (unlikely(s->count++ == UINT_MAX))
        unri_broken("unr_semaphore_post beyond UINT_MAX", NULL,
                    "the count of a semaphore is an unsigned int");
}

/* ---- events ---- */

static struct unr_event_private *event_of(const struct unr_op *wait)
{
    return unr_container_of(unri_line_of(wait), struct unr_event_private, waiting);
}

static void event_start(struct unr_op *op)
{
    unri_begin_wait(op, event_of(op)->set ? 0 : -EAGAIN);
}

static const struct unr_op_type event_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "event_wait",
    .start = event_start,
    .cancel = unri_cancel_wait,
    .private_fields = { .kind = UNRI_PARKED },
};

struct unr_op *unr_event_wait(struct unr_waiter *waiter, struct unr_event *event)
{
    return unri_describe_waiter(waiter, &event_type, &event->private_fields.waiting, NULL);
}

void unr_event_set(struct unr_event *event)
{
    struct unr_event_private *e = &event->private_fields;
    e->set = true;
    for (struct unr_op *op; (op = unri_line_serve(&e->waiting)) != NULL;)
        unri_end(op, 0);
}

void unr_event_reset(struct unr_event *event)
{
    event->private_fields.set = false;
}

bool unr_event_is_set(const struct unr_event *event)
{
    return event->private_fields.set;
}

/* ---- conditions ----
 *
 * A wait for a condition is first in the line of the condition, and then, woken or cancelled, in
 * that of the mutex.  It keeps the mutex where a system call has its address, and the reason for
 * which the first wait ended in call_flags, which are 0 when it is described, and 0 for a lock. */

enum ended_by { NOBODY, A_SIGNAL, A_REQUEST };

static struct unr_mutex_private *mutex_of_condition(const struct unr_op *wait)
{
    return (struct unr_mutex_private *)(uintptr_t)wait->private_fields.address;
}

/* Ends a lock, or a wait for a condition, that has got the mutex.  A request that came to the
 * latter behind a signal is TOO_LATE. */
static void end_with_lock(struct unr_op *op)
{
    unri_end(op, op->private_fields.call_flags == A_REQUEST ? -ECANCELED : 0);
}

static void lock_again(struct unr_op *op, enum ended_by ended_by)
{
    struct unr_mutex_private *m = mutex_of_condition(op);
    unri_private(op)->call_flags = ended_by;
    if (try_lock(m, fiber_of(op)))
        end_with_lock(op);
    else
        unri_line_join(&m->waiting, unri_place_of(op));
}

static void condition_start(struct unr_op *op)
{
    struct unr_mutex_private *m = mutex_of_condition(op);
    if (unlikely(!m->owner))
        unri_broken("started with a mutex that is not locked", op,
                    "a wait for a condition begins and ends with its mutex locked");
    if (unlikely(is_another_fibers(m, fiber_of(op))))
        unri_broken("started with a mutex that another fiber has locked", op,
                    "whoever has locked a mutex unlocks it, once");
    unri_begin_wait(op, -EAGAIN);
    unlock(m);
}

static void condition_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)request;
    if (op->private_fields.call_flags != NOBODY)
        return; /* it waits for the mutex, which it ends with in any case */
    unri_line_leave(unri_line_of(op), unri_place_of(op));
    lock_again(op, A_REQUEST);
}

static const struct unr_op_type condition_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "condition_wait",
    .start = condition_start,
    .cancel = condition_cancel,
    .private_fields = { .kind = UNRI_PARKED },
};

struct unr_op *unr_condition_wait(struct unr_waiter *waiter, struct unr_condition *condition,
                                  struct unr_mutex *mutex)
{
    unri_describe_waiter(waiter, &condition_type, &condition->private_fields.waiting, NULL);
    unri_private(&waiter->op)->address = (uintptr_t)&mutex->private_fields;
    return &waiter->op;
}

void unr_condition_signal(struct unr_condition *condition)
{
    struct unr_op *first = unri_line_serve(&condition->private_fields.waiting);
    if (first)
        lock_again(first, A_SIGNAL);
}

void unr_condition_broadcast(struct unr_condition *condition)
{
    for (struct unr_op *op; (op = unri_line_serve(&condition->private_fields.waiting)) != NULL;)
        lock_again(op, A_SIGNAL);
}
