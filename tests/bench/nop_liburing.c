/* SPDX-License-Identifier: MIT */
/* A nop's round trip on plain liburing.
 *     nop_liburing BATCH OPERATIONS      keeps BATCH nops in flight until OPERATIONS have
 *     completed */
#include "ring.h"

static void submit_nops(struct io_uring *ring, long n)
{
    struct io_uring_sqe *sqe;

    while (n-- > 0) {
        sqe = ring_sqe(ring);
        io_uring_prep_nop(sqe);
        io_uring_sqe_set_data64(sqe, 1);
    }
}

/* Reaps what has completed.  A program has to look at its completions: here at `res`. */
static long reap(struct io_uring *ring)
{
    struct io_uring_cqe *cqe;
    unsigned             head, n = 0;

    io_uring_for_each_cqe(ring, head, cqe) {
        if (cqe->res < 0)
            die("nop", cqe->res);
        n++;
    }
    io_uring_cq_advance(ring, n);
    return n;
}

int main(int argc, char **argv)
{
    long batch = number(argc, argv, 1), operations = number(argc, argv, 2), started = batch,
         finished = 0, n;
    struct io_uring ring;
    int64_t         begin;

    bench_begin();
    ring_open(&ring);
    begin = cpu_ns();
    submit_nops(&ring, batch);
    while (finished < operations) {
        ring_wait(&ring, 1);
        n = reap(&ring);
        finished += n;
        if (n > operations - started)
            n = operations - started;
        submit_nops(&ring, n);
        started += n;
    }
    report_n("nop", batch, (double)(cpu_ns() - begin) / (double)finished, "ns");
    io_uring_queue_exit(&ring);
    return 0;
}
