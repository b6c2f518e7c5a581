/* SPDX-License-Identifier: MIT */
/* What other threads have left for a loop. */
#ifndef UNRI_INBOX_H
#define UNRI_INBOX_H

#include <stdatomic.h>
#include <unring/thread.h>
#include "../core/base.h"

struct unri_inbox {
    _Atomic(struct unr_task *) pushed;       /* by other threads, newest first */
    struct unr_task           *first, *last; /* taken over by the loop's thread, oldest first */
    atomic_bool                sleeping;     /* the loop waits, or may: who pushes next wakes it */
    atomic_bool                stop;
    atomic_uint                holds;
};

/* Runs the tasks that are there now; one that posts itself again waits for the next turn. */
void unri_inbox_run(struct unri_inbox *inbox);

static inline bool unri_inbox_has_tasks(const struct unri_inbox *inbox)
{
    return inbox->first || atomic_load(&inbox->pushed);
}

/* Before the last look into the inbox: whoever pushes behind that look wakes the loop.  Only who
 * wakes it clears the mark, so that a loop without other threads pays for the barrier once. */
static inline void unri_inbox_announce_sleep(struct unri_inbox *inbox)
{
    if (!atomic_load_explicit(&inbox->sleeping, memory_order_relaxed))
        atomic_store(&inbox->sleeping, true);
}

static inline bool unri_inbox_take_stop(struct unri_inbox *inbox)
{
    return atomic_load_explicit(&inbox->stop, memory_order_relaxed)
           && atomic_exchange(&inbox->stop, false);
}

#endif
