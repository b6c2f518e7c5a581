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

/* Tells whether a call that was interrupted has done nothing, so that it may be called again. */
bool unri_did_nothing(const struct unr_op *op);

/* Takes an interruption that nobody has asked for.  Where the kernel has done nothing of the
 * operation it is submitted again: UNRI_AGAIN.  Else that was its last CQE, and the res is returned
 * with which the operation ends. */
enum { UNRI_AGAIN = INT32_MAX };
int unri_interrupted(struct unr_loop *loop, struct unr_op *op, int res);

#endif
