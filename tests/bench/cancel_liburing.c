/* SPDX-License-Identifier: MIT */
/* Read-and-cancel on plain liburing: reads that wait on idle eventfds, each cancelled by an SQE of
 * its own.
 *     cancel_liburing batch N OPERATIONS       N reads are armed by one system call and cancelled
 *     by the next cancel_liburing recent N OPERATIONS      N reads are outstanding; the one armed
 *     last is cancelled cancel_liburing random N OPERATIONS      the same, any one of them
 * A read that was cancelled is armed again by the system call that brings the next cancel. */
#include "ring.h"

#define CANCEL_TAG 0u /* user_data of the cancels; a read's is its index plus one */

static struct io_uring ring;
static int            *fds;
static long            fd_count;
static uint64_t       *values;

static void arm(long i)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    io_uring_prep_read(sqe, fds[i % fd_count], &values[i], sizeof values[i], -1);
    io_uring_sqe_set_data64(sqe, (uint64_t)i + 1);
}

static void cancel(long i)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    io_uring_prep_cancel64(sqe, (uint64_t)i + 1, 0);
    io_uring_sqe_set_data64(sqe, CANCEL_TAG);
}

/* Reaps until `n` reads and their cancels have both completed. */
static void reap(long n)
{
    struct io_uring_cqe *cqe;
    unsigned             head, seen;
    long                 left = 2 * n;

    for (;;) {
        seen = 0;
        io_uring_for_each_cqe(&ring, head, cqe) {
            if (cqe->res != (cqe->user_data == CANCEL_TAG ? 0 : -ECANCELED))
                die("read and cancel", cqe->res);
            seen++;
        }
        io_uring_cq_advance(&ring, seen);
        left -= seen;
        if (left <= 0)
            return;
        ring_wait(&ring, (unsigned)left);
    }
}

static void batches(long n, long operations)
{
    long done, i;

    for (done = 0; done < operations; done += n) {
        for (i = 0; i < n; i++)
            arm(i);
        io_uring_submit(&ring);
        for (i = 0; i < n; i++)
            cancel(i);
        ring_wait(&ring, (unsigned)(2 * n));
        reap(n);
    }
}

static long another(long n, long than)
{
    long i = random_below((uint32_t)n - 1);

    return i < than ? i : i + 1;
}

/* The victims of `recent` alternate: while one is armed again, the other is the last that the
 * kernel has seen. */
static void outstanding(long n, long operations, int recent)
{
    long victim = 0, previous;

    while (operations-- > 0) {
        cancel(victim);
        ring_wait(&ring, 2);
        reap(1);
        previous = victim;
        victim = recent ? !previous : another(n, previous);
        arm(previous);
    }
}

int main(int argc, char **argv)
{
    const char *mode = argument(argc, argv, 1);
    long        n = number(argc, argv, 2), operations = number(argc, argv, 3), i;
    int64_t     begin;

    bench_begin();
    fd_count = n < 10000 ? n : 10000;
    fds = open_idle(fd_count, 0);
    values = calloc((size_t)n, sizeof *values);
    ring_open(&ring);
    if (strcmp(mode, "batch") == 0) {
        begin = cpu_ns();
        batches(n, operations);
    } else {
        for (i = n - 1; i >= 0; i--)
            arm(i);
        io_uring_submit(&ring);
        begin = cpu_ns();
        outstanding(n, operations, strcmp(mode, "recent") == 0);
    }
    report_n(mode, n, (double)(cpu_ns() - begin) / (double)operations, "ns");
    io_uring_queue_exit(&ring);
    return 0;
}
