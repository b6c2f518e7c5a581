/* SPDX-License-Identifier: MIT */
/* A nop's round trip with unring.
 *     nop_unring BATCH OPERATIONS      keeps BATCH nops in flight until OPERATIONS have
 *     completed */
#include <unring.h>

#include "bench.h"

static struct unr_loop *loop;
static long             to_start;

/* The loop's run returns when this stops starting nops. */
static void on_done(struct unr_op *op)
{
    if (op->result.error)
        die("nop", op->result.error);
    if (to_start > 0) {
        to_start--;
        unr_start(loop, unr_nop(op), on_done, NULL);
    }
}

static void run(struct unr_op *ops, long batch)
{
    long i;
    int  error;

    for (i = 0; i < batch; i++)
        unr_start(loop, unr_nop(&ops[i]), on_done, NULL);
    error = unr_loop_run(loop);
    if (error)
        die("unr_loop_run", error);
}

int main(int argc, char **argv)
{
    long           batch = number(argc, argv, 1), operations = number(argc, argv, 2);
    struct unr_op *ops = calloc((size_t)batch, sizeof *ops);
    int64_t        begin;
    int            error;

    bench_begin();
    error = unr_loop_open(&loop, NULL);
    if (error)
        die("unr_loop_open", error);
    to_start = operations - batch;
    begin = cpu_ns();
    run(ops, batch);
    report_n("nop", batch, (double)(cpu_ns() - begin) / (double)operations, "ns");
    unr_loop_close(loop);
    free(ops);
    return 0;
}
