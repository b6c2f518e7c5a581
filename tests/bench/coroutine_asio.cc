/* SPDX-License-Identifier: MIT */
/* What coroutines cost with Boost.Asio: the workloads of coroutine_unring.cc that it has.
 *     coroutine_asio [WINDOWS]
 * await is a post, any a post or a timer; child is a co_await of a coroutine that ends at once, and
 * life a co_spawn of one. */
#include "asio.h"

#include <boost/asio/experimental/awaitable_operators.hpp>

using namespace asio::experimental::awaitable_operators;

static constexpr int BATCH = 64, WINDOW = 4096;

static asio::io_context context(BENCH_ASIO_HINT);

static void run()
{
    context.restart();
    context.run();
}

static asio::awaitable<void> awaits()
{
    for (int i = 0; i < WINDOW / BATCH; i++)
        co_await asio::post(context, asio::use_awaitable);
}

static void await()
{
    for (int i = 0; i < BATCH; i++)
        asio::co_spawn(context, awaits(), asio::detached);
    run();
}

static asio::awaitable<void> any_of_two()
{
    for (int i = 0; i < WINDOW / BATCH; i++) {
        asio::steady_timer timer(context, std::chrono::seconds(5));
        co_await (asio::post(context, asio::use_awaitable) || timer.async_wait(asio::use_awaitable));
    }
}

static void any()
{
    for (int i = 0; i < BATCH; i++)
        asio::co_spawn(context, any_of_two(), asio::detached);
    run();
}

static asio::awaitable<void> nothing()
{
    co_return;
}

static asio::awaitable<void> calls()
{
    for (int i = 0; i < WINDOW; i++)
        co_await nothing();
}

static void child()
{
    asio::co_spawn(context, calls(), asio::detached);
    run();
}

static void life()
{
    for (int i = 0; i < WINDOW; i++)
        asio::co_spawn(context, nothing(), asio::detached);
    run();
}

static const struct {
    const char *name;
    void (*run)();
} workloads[] = {
    { "coroutine.await", await }, { "coroutine.any", any },
    { "coroutine.child", child }, { "coroutine.life", life },
};
enum { WORKLOADS = sizeof workloads / sizeof *workloads };

int main(int argc, char **argv)
{
    long   windows = argc > 1 ? number(argc, argv, 1) : 200;
    double least[WORKLOADS] = {};

    bench_begin();
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
    return 0;
}
