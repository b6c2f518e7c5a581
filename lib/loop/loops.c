/* SPDX-License-Identifier: MIT */
/* All loops of the process, for debuggers: ../unring-gdb.py finds them by the name unri_loops. */
#include "../core/lock.h"
#include "loop.h"

static struct unri_whole_loop *unri_loops; /* guarded by the lock of the process */

void unri_loops_enter(struct unri_whole_loop *whole)
{
    unri_lock_process();
    whole->next_loop = unri_loops;
    whole->previous_loop = NULL;
    if (unri_loops)
        unri_loops->previous_loop = whole;
    unri_loops = whole;
    unri_unlock_process();
}

void unri_loops_leave(struct unri_whole_loop *whole)
{
    unri_lock_process();
    if (whole->next_loop)
        whole->next_loop->previous_loop = whole->previous_loop;
    if (whole->previous_loop)
        whole->previous_loop->next_loop = whole->next_loop;
    else
        unri_loops = whole->next_loop;
    unri_unlock_process();
}
