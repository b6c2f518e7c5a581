/* SPDX-License-Identifier: MIT */
/* Results that nobody asked for: what the kernel says for itself. */
#ifndef UNRI_AGAIN_H
#define UNRI_AGAIN_H

#include "ring.h"

/* Tells whether `res` is the kernel's word for a request that was interrupted or cancelled:
 * ECANCELED, EINTR, or ERESTARTSYS and its four brothers.  The kernel keeps the last for itself,
 * but they escape when a worker of io_uring is interrupted. */
static inline bool unri_is_interruption(int res)
{
    return res == -ECANCELED || res == -EINTR || (res <= -512 && res >= -516);
}

/* Submits an operation again whose CQE is an interruption, where nobody has asked to cancel it and
 * the kernel has done nothing of it.  False: the CQE is its last, and *res what the operation ends
 * with. */
bool unri_submit_again(struct unr_loop *loop, struct unr_op *op, int *res);

#endif
