/* SPDX-License-Identifier: MIT */
/* Whose a loop is: it belongs to the thread that first runs it, closes it or asks for its
 * descriptor.  From then on other threads wake it through its eventfd, whose read is here too;
 * inbox.c decides when they do. */
#include "../../uring/kernel.h"
#include "../core/contract.h"
#include "../core/op.h"
#include "../core/watchdog.h"
#include "loop.h"

#include <unring/io.h>

static struct unr_op *read_of_wake(struct unr_loop *loop)
{
    struct unri_whole_loop *whole = unri_whole(loop);
    return unr_read(&whole->wake.read, whole->wake.fd, &whole->wake.count, sizeof whole->wake.count,
                    -1);
}

/* Another thread has written to the eventfd, which has ended the loop's wait: the read is armed
 * again.  With a request in its result it ended because the loop is being closed. */
static void wake_arrived(struct unr_op *op)
{
    struct unr_loop *loop = op->data;
    if (!op->result.requested)
        unri_start_housekeeping(loop, read_of_wake(loop), wake_arrived);
}

/* The ring is enabled by the thread that it will belong to (SINGLE_ISSUER), and the loop is given
 * to that thread only if this succeeds: after a failure it is still nobody's. */
int unri_loop_own(struct unr_loop *loop)
{
    unri_check_thread(loop);
    if (unri_is_owner(loop))
        return 0;
    int error = unri_ring_enable(loop);
    if (error < 0)
        return error;
    loop->guard->owner = unri_number_thread();
    if (loop->watch)
        unri_watch_this_thread(loop->watch);
    unri_start_housekeeping(loop, read_of_wake(loop), wake_arrived);
    return 0;
}
