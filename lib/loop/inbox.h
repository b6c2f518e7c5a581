/* SPDX-License-Identifier: MIT */
/* The inbox of a loop: what other threads have left for it.  inbox.c has the order in which they
 * and the loop write and look. */
#ifndef UNRI_INBOX_H
#define UNRI_INBOX_H

#include <stdatomic.h>
#include <unring/thread.h>
#include "../core/base.h"

struct unri_inbox {
    _Atomic(struct unr_task *) pushed; /* tasks that were posted, newest first; any thread's */
    struct unr_task *first, *last;     /* tasks taken over, oldest first; the loop's thread's */
    struct unr_task *turn_ends;        /* the last of these that this turn runs; NULL: none does */
    atomic_bool      sleeping;         /* announced, and no thread has woken the loop since */
    atomic_bool      stop;             /* was asked for, and has ended no run yet */
    atomic_uint      holds;
};

/* Runs the tasks that have been posted by now. */
void unri_inbox_run(struct unri_inbox *inbox);

static inline bool unri_inbox_has_tasks(const struct unri_inbox *inbox)
{
    return inbox->first || atomic_load(&inbox->pushed);
}

/* Announces that the loop may sleep; called before the last look into the inbox.  A thread that
 * pushes after that look finds the mark, clears it and wakes the loop.  Nobody else clears it, so a
 * loop without other threads pays for the barrier once.  If the mark that is read here is being
 * cleared at this moment, no harm is done: the thread that clears it writes to the eventfd, and the
 * loop does not sleep. */
static inline void unri_inbox_announce_sleep(struct unri_inbox *inbox)
{
    if (!atomic_load_explicit(&inbox->sleeping, memory_order_relaxed))
        atomic_store(&inbox->sleeping, true);
}

/* Tells whether a stop was asked for, and takes it back: one stop ends one run. */
static inline bool unri_inbox_take_stop(struct unri_inbox *inbox)
{
    return atomic_load_explicit(&inbox->stop, memory_order_relaxed)
           && atomic_exchange(&inbox->stop, false);
}

#endif
