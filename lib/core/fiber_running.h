/* SPDX-License-Identifier: MIT */
/* Which fiber runs on this thread, and when none does though its stack is used.  Fibers themselves
 * are in lib/fiber/. */
#ifndef UNRI_FIBER_RUNNING_H
#define UNRI_FIBER_RUNNING_H

#include <unring/op.h>
#include "base.h"

/* The fiber that runs on this thread, as an operation; NULL: none does.  What unring calls of the
 * caller's while a fiber calls unring - slot handlers, filters, conditions, steps, starts - is not
 * the fiber, although it runs on its stack: it must not wait, because unring is in the middle of
 * something. */
extern _Thread_local struct unr_op *unri_running __attribute__((tls_model("initial-exec")));

/* Says that no fiber runs until unri_return_to_fiber(); around code of the caller's. */
static inline struct unr_op *unri_leave_fiber(void)
{
    struct unr_op *left = unri_running;
    if (unlikely(left != NULL))
        unri_running = NULL;
    return left;
}

static inline void unri_return_to_fiber(struct unr_op *left)
{
    if (unlikely(left != NULL))
        unri_running = left;
}

#endif
