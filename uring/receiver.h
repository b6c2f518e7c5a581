/* SPDX-License-Identifier: MIT */
/* What the files of receivers share, and what streams use of a receiver besides its public
 * functions.
 *
 *   arrivals.c        what has come into a receiver with a pool
 *   receiver_read.c   the read that waits, and how it is served
 *   receiver_arm.c    what is armed in the kernel, and when
 *   receiver.c        the public functions */
#ifndef UNRI_RECEIVER_H
#define UNRI_RECEIVER_H

#include <unring/receiver.h>
#include "enter.h"

/* ---- for streams ---- */

/* As unr_receive(), into `n` pieces, which are lent until `done`, and so is their array. */
struct unr_op *unri_receive_pieces(struct unr_op *op, struct unr_receiver *receiver,
                                   const struct iovec *pieces, unsigned n);

/* What the receiver's descriptor is. */
enum unri_source unri_receiver_source(struct unr_receiver *receiver);

/* ---- a read ---- */

/* What a read is for, in private_fields.other_fd; a number above 0: so many pieces. */
enum {
    UNRI_READ_BUFFER = 0,
    UNRI_READ_MESSAGE = -1,
    UNRI_READ_VIEW = -2, /* it takes nothing, and ends when there is something to see */
};

/* Ends the read that waits with what has come into the receiver. */
void unri_receiver_serve(struct unr_receiver_private *r);

/* Tries to read for the read that waits, and ends it if anything came of that.  Returns false if
 * nothing is there, or no memory is there for a view. */
bool unri_receiver_attempt(struct unr_receiver_private *r);

/* Ends the read that waits, if there is one, with an error, or with 0: the end. */
void unri_receiver_fail(struct unr_receiver_private *r, int error);

/* Visits the memory into which a read is going to be copied. */
void unri_receiver_lend(const struct unr_op *read, const struct unri_lent_visitor *visitor);

/* ---- the armed call ---- */

/* In unr_receiver_private.state. */
enum {
    UNRI_RECEIVER_READY = 1 << 0,         /* without a pool: something may be there */
    UNRI_RECEIVER_STOPPED = 1 << 1,       /* it is not to be armed again */
    UNRI_RECEIVER_ENDED = 1 << 2,         /* `error`, or the end, stands behind all that has come */
    UNRI_RECEIVER_IN_LINE = 1 << 3,       /* it waits for a buffer, among pool->idle */
    UNRI_RECEIVER_READS_IN_LINE = 1 << 4, /* the same, among pool->readers */
    UNRI_RECEIVER_LIMITED = 1 << 5,       /* the kernel was given a limit */
    UNRI_RECEIVER_LOCAL = 1 << 6,         /* with a pool: it is a stream of AF_UNIX */
};

/* Starts what stands for the receiver in flight, and arms it. */
void unri_receiver_begin(struct unr_receiver_private *r, struct unr_loop *loop);

/* Arms a receiver that is not, if it may be, or tries to read at once where no buffer is left.  One
 * whose call has come to its end begins anew, for the read that waits.
 * Called when a read has begun to wait and when bytes were taken. */
void unri_receiver_go_on(struct unr_receiver_private *r);

/* The receiver has ended: no call is armed for it, nor will be. */
void unri_receiver_stopped(struct unr_receiver_private *r);

#endif
