/* SPDX-License-Identifier: MIT */
/* What coroutines cost: each figure is the least of many short windows, taken in turn.
 *     coroutine_unring [WINDOWS]
 * await is a co_await of a nop, and fiber an unr_await of one, 64 of each in flight; any a nop or a
 * timer; child is a co_await of a task that ends at once, and life a spawn of one.
 * percent is await in parts of fiber. */
#include <unring.hpp>

#include "bench.h"

using namespace std::chrono_literals;

static constexpr int BATCH = 64, WINDOW = 4096;

static unr_loop *loop;

static void run_loop()
{
    int error = unr_loop_run(loop);
    if (error)
        die("unr_loop_run", error);
}

/* ---- awaits ---- */

static unring::raw::fiber fibers[BATCH];

static int awaits_in_fiber(void *)
{
    unr_op op{};
    for (int i = 0; i < WINDOW / BATCH; i++)
        unr_await(unr_nop(&op));
    return 0;
}

static void fiber()
{
    for (auto &fiber : fibers)
        unr_start(loop, unr_fiber(&fiber, awaits_in_fiber, nullptr), nullptr, nullptr);
    run_loop();
}

static unring::task<> awaits()
{
    for (int i = 0; i < WINDOW / BATCH; i++)
        co_await unring::nop();
}

static void await()
{
    for (int i = 0; i < BATCH; i++)
        unring::spawn(loop, awaits());
    run_loop();
}

static unring::task<> any_of_two()
{
    for (int i = 0; i < WINDOW / BATCH; i++)
        co_await (unring::nop() || unring::sleep_for(5s));
}

static void any()
{
    for (int i = 0; i < BATCH; i++)
        unring::spawn(loop, any_of_two());
    run_loop();
}

/* ---- lives ---- */

static unring::task<> nothing()
{
    co_return;
}

static unring::task<> calls()
{
    for (int i = 0; i < WINDOW; i++)
        co_await nothing();
}

static void child()
{
    unring::spawn(loop, calls());
    run_loop();
}

static void life()
{
    for (int i = 0; i < WINDOW; i++)
        unring::spawn(loop, nothing());
    run_loop();
}

static const struct {
    const char *name;
    void (*run)();
} workloads[] = {
    { "coroutine.fiber", fiber }, { "coroutine.await", await }, { "coroutine.any", any },
    { "coroutine.child", child }, { "coroutine.life", life },
};
enum { WORKLOADS = sizeof workloads / sizeof *workloads };

int main(int argc, char **argv)
{
    long   windows = argc > 1 ? number(argc, argv, 1) : 200;
    double least[WORKLOADS] = {};

    bench_begin();
    if (int error = unr_loop_open(&loop, nullptr); error)
        die("unr_loop_open", error);
    for (long window = 0; window < windows; window++)
        for (int i = 0; i < WORKLOADS; i++) {
            int64_t begin = cpu_ns();
            workloads[i].run();
            double each = static_cast<double>(cpu_ns() - begin) / WINDOW;
            if (window == 0 || each < least[i])
                least[i] = each;
        }
    for (int i = 0; i < WORKLOADS; i++)
        report(workloads[i].name, least[i], "ns");
    report("coroutine.percent", 100 * least[1] / least[0], "%");
    unr_loop_close(loop);
    return 0;
}
