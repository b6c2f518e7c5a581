/* SPDX-License-Identifier: MIT */
/* Whose a loop is: the thread's that first runs it. */
#include "../../uring/kernel.h"
#include "../core/contract.h"
#include "../core/op.h"
#include "loop.h"

#include <unring/io.h>

static struct unr_op *read_of_wake(struct unr_loop *loop)
{
    struct unri_whole_loop *whole = unri_whole(loop);
    return unr_read(&whole->wake.read, whole->wake.fd, &whole->wake.count, sizeof whole->wake.count,
                    -1);
}

/* The loop's own read of its eventfd: what other threads write there ends its wait. */
static void wake_arrived(struct unr_op *op)
{
    struct unr_loop *loop = op->data;
    if (!op->result.requested) /* the loop is not being closed */
        unri_start_housekeeping(loop, read_of_wake(loop), wake_arrived);
}

int unri_loop_own(struct unr_loop *loop)
{
    unri_check_thread(loop);
    if (unri_is_owner(loop))
        return 0;
    int error = unri_ring_enable(loop);
    if (error < 0)
        return error;
    loop->guard->owner = (uintptr_t)pthread_self();
    unri_start_housekeeping(loop, read_of_wake(loop), wake_arrived);
    return 0;
}
