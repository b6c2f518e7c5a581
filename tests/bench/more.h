/* SPDX-License-Identifier: MIT */
/* What one way to do something costs more than another, measured in turns so that what disturbs the
 * machine meets both. */
#ifndef BENCH_MORE_H
#define BENCH_MORE_H

#include "bench.h"

#define MORE_TURNS 9

static int more_ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* `run` does so many operations, in the costlier way if `extra` is 1.  The median of the
 * differences, in ns of processor time per operation. */
static double more_ns(void (*run)(int extra, long operations), long operations)
{
    double  more[MORE_TURNS];
    int64_t begin, ns[2];
    long    slice = operations / (2 * MORE_TURNS);
    int     turn, k, extra;

    run(0, slice / 4);
    run(1, slice / 4);
    for (turn = 0; turn < MORE_TURNS; turn++) {
        for (k = 0; k < 2; k++) {
            extra = (turn + k) % 2;
            begin = cpu_ns();
            run(extra, slice);
            ns[extra] = cpu_ns() - begin;
        }
        more[turn] = (double)(ns[1] - ns[0]) / (double)slice;
    }
    qsort(more, MORE_TURNS, sizeof *more, more_ascending);
    return more[MORE_TURNS / 2];
}

/* Descriptors from which a read always brings something at once: semaphores that nobody
 * exhausts. */
static inline int *more_readable(long n, int flags)
{
    int     *fds = open_idle(n, EFD_SEMAPHORE | flags);
    uint64_t plenty = UINT64_MAX - 1;
    long     i;

    for (i = 0; i < n; i++)
        if (write(fds[i], &plenty, sizeof plenty) < 0)
            die("eventfd", errno);
    return fds;
}

#endif
