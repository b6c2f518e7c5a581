/* SPDX-License-Identifier: MIT */
/* From the lists of a ring into its SQ. */
#ifndef UNRI_SUBMIT_H
#define UNRI_SUBMIT_H

#include "ring.h"

/* Fills SQEs from the lists.  Returns true if the SQ is full and the lists are not empty. */
bool unri_fill(struct unri_ring *ring);

/* Has a worker close the second number of a file (close.c), at once or as soon as there is an SQE;
 * and takes the answer to that. */
void unri_release(struct unri_ring *ring, int fd);
void unri_released(struct unri_ring *ring, int fd, int res);

/* Shows the kernel the SQEs that were filled.  Returns how many of them it has not taken yet. */
static inline unsigned unri_publish(struct unri_ring *ring)
{
    struct io_uring_sq *sq = &ring->io.sq;
    /* Release: the kernel sees the SQEs when it sees the tail. */
    io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
    return sq->sqe_tail - io_uring_smp_load_acquire(sq->khead);
}

#endif
