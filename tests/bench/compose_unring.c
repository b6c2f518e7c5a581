/* SPDX-License-Identifier: MIT */
/* What the steps of a composed operation cost more than operations restarted from their `done`:
 * nops, STEPS of them in each.
 *     compose_unring BATCH OPERATIONS      keeps BATCH composed operations going; the figure is per
 *     step
 * Also how many pieces of memory were allocated meanwhile. */
#include <unring.h>

#include "more.h"

#define STEPS 100

struct chain {
    struct unr_compose compose;
    struct unr_op      op;
    int                steps;
};

static struct unr_loop *loop;
static struct chain    *chains;
static long             batch, to_start, allocated;
static int              composed;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *piece, size_t size);

void *malloc(size_t size)
{
    allocated++;
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    allocated++;
    return __libc_calloc(n, size);
}

void *realloc(void *piece, size_t size)
{
    allocated++;
    return __libc_realloc(piece, size);
}

static void start(struct chain *chain);

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct chain *chain = unr_container_of(self, struct chain, compose);

    if (finished && finished->result.error)
        unr_compose_end(self, finished->result.error);
    else if (chain->steps-- > 0)
        unr_compose_next(self, unr_nop(&chain->op));
    else
        unr_compose_end(self, 0);
}

static void next(struct chain *chain)
{
    if (to_start > 0) {
        to_start -= STEPS;
        start(chain);
    }
}

static void on_composed_done(struct unr_op *op)
{
    if (op->result.error)
        die("compose", op->result.error);
    next(op->data);
}

static void on_done(struct unr_op *op)
{
    struct chain *chain = op->data;

    if (op->result.error)
        die("nop", op->result.error);
    if (--chain->steps > 0)
        unr_start(loop, unr_nop(op), on_done, chain);
    else
        next(chain);
}

static void start(struct chain *chain)
{
    chain->steps = STEPS;
    if (composed)
        unr_start(loop, unr_compose(&chain->compose, "chain", UNR_CANCEL_TOTAL, step),
                  on_composed_done, chain);
    else
        unr_start(loop, unr_nop(&chain->op), on_done, chain);
}

static void run(int extra, long operations)
{
    long i;
    int  error;

    composed = extra;
    to_start = operations - batch * STEPS;
    for (i = 0; i < batch; i++)
        start(&chains[i]);
    error = unr_loop_run(loop);
    if (error)
        die("unr_loop_run", error);
}

int main(int argc, char **argv)
{
    long   before;
    double more;
    int    error;

    bench_begin();
    batch = number(argc, argv, 1);
    chains = calloc((size_t)batch, sizeof *chains);
    error = unr_loop_open(&loop, NULL);
    if (error)
        die("unr_loop_open", error);
    before = allocated;
    more = more_ns(run, number(argc, argv, 2));
    before = allocated - before;
    report_n("compose", batch, more, "ns");
    report_n("compose.allocated", batch, (double)before, "-");
    unr_loop_close(loop);
    return 0;
}
