/* SPDX-License-Identifier: MIT */
/* What a deadline that does not fire costs on plain liburing, where it is a linked time-out of the
 * kernel's: an SQE and a CQE more.
 *     deadline_liburing BATCH OPERATIONS      as in deadline_unring.c */
#include "more.h"
#include "ring.h"

#define TIMEOUT_TAG UINT64_MAX /* user_data of the time-outs; a read's is its index */

static struct io_uring ring;
static int            *fds;
static uint64_t       *values;
static long            batch;

static void start(long i, int extra)
{
    static struct __kernel_timespec thirty_seconds = { .tv_sec = 30 };
    struct io_uring_sqe            *sqe;

    if (io_uring_sq_space_left(&ring) < 2) /* the two are submitted together */
        io_uring_submit(&ring);
    sqe = ring_sqe(&ring);
    io_uring_prep_read(sqe, fds[i], &values[i], sizeof values[i], (uint64_t)-1);
    io_uring_sqe_set_data64(sqe, (uint64_t)i);
    if (!extra)
        return;
    io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
    sqe = ring_sqe(&ring);
    io_uring_prep_link_timeout(sqe, &thirty_seconds, 0);
    io_uring_sqe_set_data64(sqe, TIMEOUT_TAG);
}

static void run(int extra, long operations)
{
    struct io_uring_cqe *cqe;
    unsigned             head, seen;
    long                 left = operations, waiting = 0, to_start = operations - batch, i;

    for (i = 0; i < batch; i++)
        start(i, extra);
    waiting = extra ? operations : 0; /* for the end of so many time-outs */
    while (left > 0 || waiting > 0) {
        ring_wait(&ring, 1);
        seen = 0;
        io_uring_for_each_cqe(&ring, head, cqe) {
            seen++;
            if (cqe->user_data == TIMEOUT_TAG) {
                waiting--;
                continue;
            }
            if (cqe->res != sizeof *values)
                die("read", cqe->res);
            left--;
            if (to_start > 0) {
                to_start--;
                start((long)cqe->user_data, extra);
            }
        }
        io_uring_cq_advance(&ring, seen);
    }
}

int main(int argc, char **argv)
{
    bench_begin();
    batch = number(argc, argv, 1);
    fds = more_readable(batch, 0);
    values = calloc((size_t)batch, sizeof *values);
    ring_open(&ring);
    report_n("deadline", batch, more_ns(run, number(argc, argv, 2)), "ns");
    io_uring_queue_exit(&ring);
    return 0;
}
