/* SPDX-License-Identifier: MIT */
/* What fibers cost: each figure is the least of many short windows, taken in turn.
 *     fiber_unring [WINDOWS]
 * callback is a nop started by its own `done`, await the same in a fiber; 64 of each are in flight.
 * switch is a round trip between two stacks and nothing else. */
#include <unring.h>

#include "bench.h"

enum { BATCH = 64, WINDOW = 4096 };

static struct unr_loop *loop;
static long             left;

static void run_loop(void)
{
    int error = unr_loop_run(loop);
    if (error)
        die("unr_loop_run", error);
}

/* ---- callbacks ---- */

static struct unr_op    ops[BATCH];
static struct unr_fiber fibers[BATCH];

static void nop_done(struct unr_op *op)
{
    if (left-- > 0)
        unr_start(loop, unr_nop(op), nop_done, NULL);
}

static void callback(void)
{
    left = WINDOW - BATCH;
    for (int i = 0; i < BATCH; i++)
        unr_start(loop, unr_nop(&ops[i]), nop_done, NULL);
    run_loop();
}

/* ---- awaits ---- */

static int awaits(void *argument)
{
    (void)argument;
    struct unr_op op = { 0 };
    for (int i = 0; i < WINDOW / BATCH; i++)
        unr_await(unr_nop(&op));
    return 0;
}

static void in_fibers(unr_fiber_fn *fn, int n)
{
    for (int i = 0; i < n; i++)
        unr_start(loop, unr_fiber(&fibers[i], fn, NULL), NULL, NULL);
    run_loop();
}

static void await(void)
{
    in_fibers(awaits, BATCH);
}

static int yields(void *argument)
{
    (void)argument;
    for (int i = 0; i < WINDOW / BATCH; i++)
        unr_yield();
    return 0;
}

static void yield_ready(void)
{
    in_fibers(yields, BATCH);
}

static int yields_alone(void *argument)
{
    (void)argument;
    for (int i = 0; i < WINDOW; i++)
        unr_yield();
    return 0;
}

static void yield_alone(void)
{
    in_fibers(yields_alone, 1);
}

static int any(void *argument)
{
    (void)argument;
    for (int i = 0; i < WINDOW / BATCH; i++) {
        struct unr_op    op = { 0 };
        struct unr_timer timer = { 0 };
        struct unr_group group = { 0 };
        struct unr_op   *both[] = { unr_nop(&op), unr_timer_after(&timer, UNR_SEC(5)) };
        unr_await(unr_any(&group, both, 2));
    }
    return 0;
}

static void await_any(void)
{
    in_fibers(any, BATCH);
}

/* ---- lives ---- */

static int nothing(void *argument)
{
    (void)argument;
    return 0;
}

static void fiber_done(struct unr_op *op)
{
    if (left-- > 0)
        unr_start(loop, unr_fiber(unr_container_of(op, struct unr_fiber, op), nothing, NULL),
                  fiber_done, NULL);
}

static void life(void)
{
    left = WINDOW - BATCH;
    for (int i = 0; i < BATCH; i++)
        unr_start(loop, unr_fiber(&fibers[i], nothing, NULL), fiber_done, NULL);
    run_loop();
}

static int awaits_fibers(void *argument)
{
    (void)argument;
    struct unr_fiber fiber = { 0 };
    for (int i = 0; i < WINDOW / BATCH; i++)
        unr_await(unr_fiber(&fiber, nothing, NULL));
    return 0;
}

static void life_awaited(void)
{
    in_fibers(awaits_fibers, BATCH);
}

static int spawns(void *argument)
{
    (void)argument;
    struct unr_nursery nursery;
    for (int i = 0; i < WINDOW / BATCH; i++) {
        unr_nursery_open(&nursery, 0);
        for (int j = 0; j < BATCH; j++)
            unr_nursery_spawn(&nursery, nothing, NULL);
        unr_nursery_close(&nursery, 0);
    }
    return 0;
}

static void spawn(void)
{
    in_fibers(spawns, 1);
}

/* ---- blocks ---- */

static int enters(void *argument)
{
    (void)argument;
    struct unr_cancel_scope scope;
    for (int i = 0; i < WINDOW; i++) {
        unr_cancel_scope_enter(&scope);
        unr_cancel_scope_leave(&scope, 0);
    }
    return 0;
}

static void scope(void)
{
    in_fibers(enters, 1);
}

static int enters_timed(void *argument)
{
    (void)argument;
    struct unr_cancel_scope scope;
    for (int i = 0; i < WINDOW; i++) {
        unr_cancel_scope_enter_after(&scope, UNR_SEC(5));
        unr_cancel_scope_leave(&scope, 0);
    }
    return 0;
}

static void scope_timed(void)
{
    in_fibers(enters_timed, 1);
}

static int opens(void *argument)
{
    (void)argument;
    struct unr_nursery nursery;
    for (int i = 0; i < WINDOW; i++) {
        unr_nursery_open(&nursery, 0);
        unr_nursery_close(&nursery, 0);
    }
    return 0;
}

static void nursery(void)
{
    in_fibers(opens, 1);
}

static const struct workload {
    const char *name;
    void (*run)(void);
} workloads[] = {
    { "fiber.callback", callback },
    { "fiber.await", await },
    { "fiber.yield.64", yield_ready },
    { "fiber.yield.1", yield_alone },
    { "fiber.any", await_any },
    { "fiber.life", life },
    { "fiber.life.awaited", life_awaited },
    { "fiber.life.spawned", spawn },
    { "fiber.scope", scope },
    { "fiber.scope.timed", scope_timed },
    { "fiber.nursery", nursery },
};
enum { WORKLOADS = sizeof workloads / sizeof *workloads };

int main(int argc, char **argv)
{
    long   windows = argc > 1 ? number(argc, argv, 1) : 200;
    double least[WORKLOADS];
    int    error;

    bench_begin();
    error = unr_loop_open(&loop, NULL);
    if (error)
        die("unr_loop_open", error);
    for (long window = 0; window < windows; window++)
        for (int i = 0; i < WORKLOADS; i++) {
            int64_t begin = cpu_ns();
            workloads[i].run();
            double each = (double)(cpu_ns() - begin) / WINDOW;
            if (window == 0 || each < least[i])
                least[i] = each;
        }
    for (int i = 0; i < WORKLOADS; i++)
        report(workloads[i].name, least[i], "ns");
    unr_loop_close(loop);
    return 0;
}
