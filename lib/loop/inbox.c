/* SPDX-License-Identifier: MIT */
/* What other threads may do to a loop: tasks, remote emits, stop, hold and release.
 *
 * A push goes onto a stack that the loop's thread takes over whole and turns round.  Whoever pushes
 * wakes the loop if it announced that it may sleep: `sleeping` is set before the loop looks at the
 * stack for the last time, and cleared by the first who wakes it.  Both sides are sequentially
 * consistent, so one of them sees the other. */
#include "../core/contract.h"
#include "loop.h"

#include <sched.h>

static void wake(struct unr_loop *loop)
{
    if (atomic_exchange(&unri_inbox(loop)->sleeping, false))
        unri_os_wake(unri_whole(loop)->wake.fd);
}

void unr_loop_post(struct unr_loop *loop, struct unr_task *task)
{
    struct unri_inbox *inbox = unri_inbox(loop);
    struct unr_task   *newest = atomic_load_explicit(&inbox->pushed, memory_order_relaxed);
    do
        task->next = newest;
    while (!atomic_compare_exchange_weak(&inbox->pushed, &newest, task));
    wake(loop);
}

void unr_loop_stop(struct unr_loop *loop)
{
    atomic_store(&unri_inbox(loop)->stop, true);
    wake(loop);
}

void unr_loop_hold(struct unr_loop *loop)
{
    atomic_fetch_add(&unri_inbox(loop)->holds, 1);
}

void unr_loop_release(struct unr_loop *loop)
{
    unsigned holds = atomic_fetch_sub(&unri_inbox(loop)->holds, 1);
    if (holds == 0)
        unri_broken("a loop released that nobody holds", NULL,
                    "each unr_loop_release has its unr_loop_hold");
    if (holds == 1)
        wake(loop);
}

/* ---- the loop's side ---- */

/* Appends what was pushed since, in the order in which it was pushed. */
static void take_over(struct unri_inbox *inbox)
{
    struct unr_task *task = atomic_exchange(&inbox->pushed, NULL), *oldest = NULL, *newest = task;
    while (task) {
        struct unr_task *older = task->next;
        task->next = oldest;
        oldest = task;
        task = older;
    }
    if (!oldest)
        return;
    if (inbox->last)
        inbox->last->next = oldest;
    else
        inbox->first = oldest;
    inbox->last = newest;
}

static struct unr_task *pop(struct unri_inbox *inbox)
{
    struct unr_task *task = inbox->first;
    inbox->first = task->next;
    if (!inbox->first)
        inbox->last = NULL;
    return task;
}

static bool remove_task(struct unri_inbox *inbox, struct unr_task *task)
{
    struct unr_task *previous = NULL;
    for (struct unr_task *t = inbox->first; t; previous = t, t = t->next) {
        if (t != task)
            continue;
        if (previous)
            previous->next = t->next;
        else
            inbox->first = t->next;
        if (inbox->last == t)
            inbox->last = previous;
        return true;
    }
    return false;
}

void unri_inbox_run(struct unri_inbox *inbox)
{
    take_over(inbox);
    for (const struct unr_task *last = inbox->last; inbox->first;) {
        struct unr_task *task = pop(inbox);
        bool             end = task == last;
        task->run(task);
        if (end)
            break;
    }
}

/* ---- remotes ---- */

/* private_fields[0]: what was emitted and not delivered; a 32-bit cause above, types and two flags
 * below. */
#define PENDING  8u /* the task is in the inbox, or about to be */
#define DISARMED 16u

static uint64_t merged(uint64_t pending, unsigned types, int cause)
{
    if (!(pending & UNR_CANCEL_ALL))
        pending |= (uint64_t)(uint32_t)cause << 32;
    return pending | types | PENDING;
}

static void deliver(struct unr_task *task)
{
    struct unr_remote *remote = unr_container_of(task, struct unr_remote, task);
    struct unr_signal *signal = remote->signal;
    uint64_t pending = __atomic_exchange_n(&remote->private_fields[0], 0, __ATOMIC_ACQ_REL);
    /* The last thing: a handler may disarm and free the remote. */
    unr_signal_emit_cause(signal, (unsigned)pending & UNR_CANCEL_ALL, (int)(pending >> 32));
}

void unr_remote_init(struct unr_remote *remote, struct unr_loop *loop, struct unr_signal *signal)
{
    *remote = (struct unr_remote){ .task.run = deliver, .loop = loop, .signal = signal };
}

void unr_remote_emit(struct unr_remote *remote, unsigned types, int cause)
{
    unri_check_request(types, cause);
    uint64_t pending = __atomic_load_n(&remote->private_fields[0], __ATOMIC_RELAXED);
    do
        if (pending & DISARMED)
            return;
    while (!__atomic_compare_exchange_n(&remote->private_fields[0], &pending,
                                        merged(pending, types, cause), true, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED));
    if (!(pending & PENDING))
        unr_loop_post(remote->loop, &remote->task);
}

void unr_remote_disarm(struct unr_remote *remote)
{
    unri_check_thread(remote->loop);
    struct unri_inbox *inbox = unri_inbox(remote->loop);
    uint64_t pending = __atomic_exchange_n(&remote->private_fields[0], DISARMED, __ATOMIC_ACQ_REL);
    if (!(pending & PENDING))
        return;
    /* Another thread may be between its mark and its push: a few instructions. */
    for (take_over(inbox); !remove_task(inbox, &remote->task); take_over(inbox))
        sched_yield();
}
