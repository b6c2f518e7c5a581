/* SPDX-License-Identifier: MIT */
/* What other threads may do to a loop: post tasks, emit through a remote, stop it, hold and release
 * it.  Both sides are here, that of any thread and that of the loop's own.  owner.c has the read
 * that a waking thread completes, embed.c the descriptor for another event loop.
 *
 * Tasks: a thread pushes its task onto a stack, newest first.  The loop's thread takes the whole
 * stack with one exchange and turns it round, so the tasks of one thread run in the order in which
 * it posted them.
 *
 * Waking is "announce, then look" on one side and "push, then look" on the other.  Before the loop
 * sleeps, it sets `sleeping`, and only then looks at the inbox for the last time.  A thread pushes
 * its task first (or sets `stop`, or takes back the last hold), and only then looks at `sleeping`.
 * These accesses are sequentially consistent, so at least one side sees the other: the loop finds
 * the task and does not sleep, or the thread finds the mark and writes to the loop's eventfd.  In
 * any other order both could look too early, and the loop would sleep on a task.  The thread that
 * finds the mark also clears it, so of many posts to one sleeping loop only the first pays for a
 * system call. */
#include "../core/contract.h"
#include "loop.h"

#include <sched.h>

/* Wakes the loop if it has announced that it sleeps.  Called after the change that the loop is to
 * see, never before it. */
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

/* A hold only keeps the loop where it is, so there is nothing to wake it for. */
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

static void deliver(struct unr_task *task);

/* Notes which task is in front of one that was taken over, NULL for the first.  Only a remote,
 * whose task may be disarmed from the middle of the list, has room for it and need of it: in
 * private_fields.previous, with a mark that the task was taken over. */
#define TAKEN ((uint64_t)1)

static void set_previous(struct unr_task *task, const struct unr_task *previous)
{
    if (task->run == deliver)
        unr_container_of(task, struct unr_remote, task)->private_fields.previous =
            (uintptr_t)previous | TAKEN;
}

/* Appends the tasks that were pushed since the last call, oldest first. */
static void take_over(struct unri_inbox *inbox)
{
    struct unr_task *task = atomic_exchange(&inbox->pushed, NULL), *oldest = NULL, *newest = task;
    while (task) {
        struct unr_task *older = task->next;
        task->next = oldest;
        set_previous(task, older ? older : inbox->last);
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

/* Takes a task out from behind `previous`; NULL: it is the first. */
static void take_out(struct unri_inbox *inbox, struct unr_task *task, struct unr_task *previous)
{
    struct unr_task *next = task->next;
    if (previous)
        previous->next = next;
    else
        inbox->first = next;
    if (next)
        set_previous(next, previous);
    else
        inbox->last = previous;
    if (inbox->turn_ends == task)
        inbox->turn_ends = previous;
}

/* Ends with the task that was the last when it began, or the one in front of it if that was
 * disarmed meanwhile.  A task that is posted meanwhile is on the stack, or behind that one, and
 * waits for the next turn.  Each task is taken out before it runs: inside `run` it may be freed or
 * posted again. */
void unri_inbox_run(struct unri_inbox *inbox)
{
    take_over(inbox);
    inbox->turn_ends = inbox->last;
    while (inbox->turn_ends) {
        struct unr_task *task = inbox->first;
        take_out(inbox, task, NULL);
        task->run(task);
    }
}

/* ---- remotes ---- */

/* private_fields.pending holds the emits of a remote that are not delivered yet: their types in the
 * low three bits, two flags above these, and the first cause in the upper 32 bits.  It is one word,
 * so that any number of threads merge their emits into it without a lock. */
#define PENDING  8u  /* the task is in the inbox, or a thread is about to push it */
#define DISARMED 16u /* no emit has an effect any more */

static uint64_t merged(uint64_t pending, unsigned types, int cause)
{
    if (!(pending & UNR_CANCEL_ALL))
        pending |= (uint64_t)(uint32_t)cause << 32;
    return pending | types | PENDING;
}

/* The word is emptied before the signal is emitted: an emit that comes later posts the task again,
 * and none is lost.  The emit is last, because a handler may disarm the remote and free it. */
static void deliver(struct unr_task *task)
{
    struct unr_remote *remote = unr_container_of(task, struct unr_remote, task);
    struct unr_signal *signal = remote->signal;
    remote->private_fields.previous = 0;
    uint64_t pending = __atomic_exchange_n(&remote->private_fields.pending, 0, __ATOMIC_ACQ_REL);
    unr_signal_emit_cause(signal, (unsigned)pending & UNR_CANCEL_ALL, (int)(pending >> 32));
}

void unr_remote_init(struct unr_remote *remote, struct unr_loop *loop, struct unr_signal *signal)
{
    *remote = (struct unr_remote){ .task.run = deliver, .loop = loop, .signal = signal };
}

void unr_remote_emit(struct unr_remote *remote, unsigned types, int cause)
{
    uint64_t *word = &remote->private_fields.pending;
    unri_check_request(types, cause);
    uint64_t pending = __atomic_load_n(word, __ATOMIC_RELAXED);
    do
        if (pending & DISARMED)
            return;
    while (!__atomic_compare_exchange_n(word, &pending, merged(pending, types, cause), true,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    if (!(pending & PENDING))
        unr_loop_post(remote->loop, &remote->task);
}

void unr_remote_disarm(struct unr_remote *remote)
{
    uint64_t *word = &remote->private_fields.pending, *taken = &remote->private_fields.previous;
    unri_check_thread(remote->loop);
    struct unri_inbox *inbox = unri_inbox(remote->loop);
    uint64_t           pending = __atomic_exchange_n(word, DISARMED, __ATOMIC_ACQ_REL);
    if (!(pending & PENDING))
        return;
    /* The task is in the inbox, or another thread has set PENDING and not pushed it yet.  The
     * caller may free the remote next, so the task has to be out: wait for the push, which is a few
     * instructions away. */
    for (take_over(inbox); !(*taken & TAKEN); take_over(inbox))
        sched_yield();
    take_out(inbox, &remote->task, (struct unr_task *)(uintptr_t)(*taken & ~(uint64_t)TAKEN));
}
