/* SPDX-License-Identifier: MIT */
/* What a deadline that does not fire costs with unring: reads that have something at once, with one
 * and without.
 *     deadline_unring BATCH OPERATIONS      keeps BATCH reads going */
#include <unring.h>

#include "more.h"

struct limited_read {
    struct unr_deadline deadline;
    struct unr_op       op;
    uint64_t            value;
    int                 fd;
};

static struct unr_loop     *loop;
static struct limited_read *reads;
static long                 batch, to_start;
static int                  limited;

static void on_done(struct unr_op *op);

static void start(struct limited_read *read)
{
    struct unr_op *described = unr_read(&read->op, read->fd, &read->value, sizeof read->value, -1);

    if (limited)
        described = unr_cancel_after(&read->deadline, described, UNR_SEC(30));
    unr_start(loop, described, on_done, read);
}

static void on_done(struct unr_op *op)
{
    if (op->result.error)
        die("read", op->result.error);
    if (to_start > 0) {
        to_start--;
        start(op->data);
    }
}

static void run(int extra, long operations)
{
    long i;
    int  error;

    limited = extra;
    to_start = operations - batch;
    for (i = 0; i < batch; i++)
        start(&reads[i]);
    error = unr_loop_run(loop);
    if (error)
        die("unr_loop_run", error);
}

int main(int argc, char **argv)
{
    long operations = number(argc, argv, 2), i;
    int  error, *fds;

    bench_begin();
    batch = number(argc, argv, 1);
    fds = more_readable(batch, 0);
    reads = calloc((size_t)batch, sizeof *reads);
    for (i = 0; i < batch; i++)
        reads[i].fd = fds[i];
    error = unr_loop_open(&loop, NULL);
    if (error)
        die("unr_loop_open", error);
    report_n("deadline", batch, more_ns(run, operations), "ns");
    unr_loop_close(loop);
    return 0;
}
