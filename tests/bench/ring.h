/* SPDX-License-Identifier: MIT */
/* What the programs on plain liburing share: a ring set up as well as the kernel offers, and as
 * unring sets up its own, so that a difference between the two is unring's. */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <liburing.h>

#include "bench.h"

#define RING_ENTRIES 256
#define RING_CQ_ENTRIES                                                                            \
    8192 /* also fixes the size of the kernel's table of what can be cancelled */

static inline void ring_open(struct io_uring *ring)
{
    struct io_uring_params params;
    int                    error;

    memset(&params, 0, sizeof params);
    params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER
                   | IORING_SETUP_DEFER_TASKRUN;
    params.cq_entries = RING_CQ_ENTRIES;
    error = io_uring_queue_init_params(RING_ENTRIES, ring, &params);
    if (error < 0)
        die("io_uring_queue_init_params", error);
    io_uring_register_ring_fd(
        ring); /* saves a look-up on each entry; a kernel that refuses does without */
}

/* An SQE, submitting what is there when the queue is full. */
static inline struct io_uring_sqe *ring_sqe(struct io_uring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    int                  n;

    while (!sqe) {
        n = io_uring_submit(ring);
        if (n < 0)
            die("io_uring_submit", n);
        sqe = io_uring_get_sqe(ring);
    }
    return sqe;
}

static inline void ring_wait(struct io_uring *ring, unsigned completions)
{
    int n = io_uring_submit_and_wait(ring, completions);

    if (n < 0 && n != -EINTR)
        die("io_uring_submit_and_wait", n);
}

#endif
