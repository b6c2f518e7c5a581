/* SPDX-License-Identifier: MIT */
/* What belongs to a thread: its number, in the order in which threads first ask; and the fiber that
 * runs. */
#include "thread.h"
#include "fiber_running.h"

#include <stdatomic.h>

_Thread_local uintptr_t      unri_thread_number = UNRI_UNNUMBERED;
_Thread_local struct unr_op *unri_running;

uintptr_t unri_number_thread(void)
{
    static atomic_uintptr_t last = UNRI_UNNUMBERED;
    if (unri_thread_number == UNRI_UNNUMBERED)
        unri_thread_number = atomic_fetch_add(&last, 1) + 1;
    return unri_thread_number;
}
