/* SPDX-License-Identifier: MIT */
/* Numbers for threads, in the order in which they first ask. */
#include "thread.h"

#include <stdatomic.h>

_Thread_local uintptr_t unri_thread_number = UNRI_UNNUMBERED;

uintptr_t unri_number_thread(void)
{
    static atomic_uintptr_t last = UNRI_UNNUMBERED;
    if (unri_thread_number == UNRI_UNNUMBERED)
        unri_thread_number = atomic_fetch_add(&last, 1) + 1;
    return unri_thread_number;
}
