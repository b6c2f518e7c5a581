/* SPDX-License-Identifier: MIT */
/* What a group of two nops costs more than the two started by themselves.
 *     group_unring all|any BATCH OPERATIONS      keeps BATCH pairs going; `any` decides at the
 *     first, `all` at the last */
#include <unring.h>

#include "more.h"

struct pair {
    struct unr_group group;
    struct unr_op    ops[2];
    int              running;
};

static struct unr_loop *loop;
static struct pair     *pairs;
static long             batch, to_start;
static int              grouped, any;

static void start(struct pair *pair);

static void next(struct pair *pair)
{
    if (to_start > 0) {
        to_start--;
        start(pair);
    }
}

static void on_group_done(struct unr_op *op)
{
    if (op->result.error)
        die("group", op->result.error);
    next(op->data);
}

static void on_done(struct unr_op *op)
{
    struct pair *pair = op->data;

    if (op->result.error)
        die("nop", op->result.error);
    if (--pair->running == 0)
        next(pair);
}

static void start(struct pair *pair)
{
    struct unr_op *a = unr_nop(&pair->ops[0]), *b = unr_nop(&pair->ops[1]);

    if (grouped) {
        struct unr_op *members[] = { a, b };

        unr_start(loop, (any ? unr_any : unr_all)(&pair->group, members, 2), on_group_done, pair);
    } else {
        pair->running = 2;
        unr_start(loop, a, on_done, pair);
        unr_start(loop, b, on_done, pair);
    }
}

static void run(int extra, long operations)
{
    long i;
    int  error;

    grouped = extra;
    to_start = operations - batch;
    for (i = 0; i < batch; i++)
        start(&pairs[i]);
    error = unr_loop_run(loop);
    if (error)
        die("unr_loop_run", error);
}

int main(int argc, char **argv)
{
    const char *mode = argument(argc, argv, 1);
    char        name[32];
    int         error;

    bench_begin();
    any = strcmp(mode, "any") == 0;
    batch = number(argc, argv, 2);
    pairs = calloc((size_t)batch, sizeof *pairs);
    error = unr_loop_open(&loop, NULL);
    if (error)
        die("unr_loop_open", error);
    snprintf(name, sizeof name, "group.%s", mode);
    report_n(name, batch, more_ns(run, number(argc, argv, 3)), "ns");
    unr_loop_close(loop);
    free(pairs);
    return 0;
}
