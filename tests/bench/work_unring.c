/* SPDX-License-Identifier: MIT */
/* Calls of a function that returns at once, on unring's threads.
 *     work_unring BATCH CALLS     BATCH at a time, each of which starts again when it has ended:
 *     elapsed ns per call */
#include <unring.h>

#include "bench.h"

static struct unr_loop *loop;
static long             to_start, ended;

static int returns(void *argument)
{
    (void)argument;
    return 1;
}

static void on_done(struct unr_op *op)
{
    struct unr_work *work = unr_container_of(op, struct unr_work, op);

    if (op->result.error)
        die("work", op->result.error);
    ended += op->result.value;
    if (to_start-- > 0)
        unr_start(loop, unr_work(work, returns, NULL), on_done, NULL);
}

int main(int argc, char **argv)
{
    long             batch = number(argc, argv, 1), calls = number(argc, argv, 2), i;
    struct unr_work *works = calloc((size_t)batch, sizeof *works);
    int64_t          begin;
    int              error;

    bench_begin();
    error = unr_loop_open(&loop, NULL);
    if (error)
        die("unr_loop_open", error);
    unr_work_limit(4);
    to_start = calls - batch;
    begin = now_ns();
    for (i = 0; i < batch; i++)
        unr_start(loop, unr_work(&works[i], returns, NULL), on_done, NULL);
    error = unr_loop_run(loop);
    if (error)
        die("unr_loop_run", error);
    report_n("work", batch, (double)(now_ns() - begin) / (double)calls, "ns");
    if (ended != calls)
        die("a call was lost", EIO);
    unr_loop_close(loop);
    free(works);
    return 0;
}
