/* SPDX-License-Identifier: MIT */
/* What coroutines cost with Boost.Asio: the workloads of fiber_unring.c that it has.
 *     fiber_asio [WINDOWS]
 * life is a co_spawn that ends at once, yield a post, any a post or a timer. */
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

static asio::awaitable<void> nothing()
{
    co_return;
}

static void life()
{
    for (int i = 0; i < WINDOW; i++)
        asio::co_spawn(context, nothing(), asio::detached);
    run();
}

static asio::awaitable<void> awaits_coroutines()
{
    for (int i = 0; i < WINDOW / BATCH; i++)
        co_await asio::co_spawn(context, nothing(), asio::use_awaitable);
}

static void life_awaited()
{
    for (int i = 0; i < BATCH; i++)
        asio::co_spawn(context, awaits_coroutines(), asio::detached);
    run();
}

static asio::awaitable<void> posts(int n)
{
    for (int i = 0; i < n; i++)
        co_await asio::post(context, asio::use_awaitable);
}

static void yield_ready()
{
    for (int i = 0; i < BATCH; i++)
        asio::co_spawn(context, posts(WINDOW / BATCH), asio::detached);
    run();
}

static void yield_alone()
{
    asio::co_spawn(context, posts(WINDOW), asio::detached);
    run();
}

static asio::awaitable<void> any()
{
    for (int i = 0; i < WINDOW / BATCH; i++) {
        asio::steady_timer timer(context, std::chrono::seconds(5));
        co_await (asio::post(context, asio::use_awaitable) || timer.async_wait(asio::use_awaitable));
    }
}

static void await_any()
{
    for (int i = 0; i < BATCH; i++)
        asio::co_spawn(context, any(), asio::detached);
    run();
}

static const struct {
    const char *name;
    void (*run)();
} workloads[] = {
    {"fiber.yield.64", yield_ready},      {"fiber.yield.1", yield_alone}, {"fiber.any", await_any},
    {"fiber.life", life},                 {"fiber.life.awaited", life_awaited},
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
            double each = (double)(cpu_ns() - begin) / WINDOW;
            if (window == 0 || each < least[i])
                least[i] = each;
        }
    for (int i = 0; i < WORKLOADS; i++)
        report(workloads[i].name, least[i], "ns");
    return 0;
}
