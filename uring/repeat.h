/* SPDX-License-Identifier: MIT */
/* What is sent to the kernel again, after a while. */
#ifndef UNRI_REPEAT_H
#define UNRI_REPEAT_H

#include "ring.h"

/* Plans that something is sent again for an operation: after the next reap the first time, then
 * after 1 ms, 2, 4, ... 256 ms.  Where the operation is QUEUED that is the operation itself; else
 * it is the cancel of the operation, which had no effect.  The operation counts its attempts. */
void unri_repeat_later(struct unr_loop *loop, struct unr_op *op);

/* Forgets the attempts of an operation if it has lasted for longer than the longest of these times
 * since it was submitted again: what ends it now has nothing to do with what ended it then. */
void unri_repeat_anew(struct unr_loop *loop, struct unr_op *op);

/* Takes back what unri_repeat_later() has planned. */
void unri_take_back_repeat(struct unri_ring *ring, struct unr_op *op);

/* Queues what is due to be sent again. */
void unri_repeat_due(struct unr_loop *loop);

/* Queues at once each armed accept that is to be sent again, if the loop has closed a descriptor
 * since the last call. */
void unri_repeat_after_close(struct unr_loop *loop);

#endif
