/* SPDX-License-Identifier: MIT */
/* Timers of Boost.Asio.  What is measured and the command line are in timers.h. */
#include "asio.h"
#include "timers.h"

#include <deque>

static asio::io_context               context(BENCH_ASIO_HINT);
static std::deque<asio::steady_timer> timers;
static long                           count, fired;

static void start_far(long i)
{
    timers[i].expires_after(std::chrono::nanoseconds(timers_far_ns()));
    timers[i].async_wait([i](error_code error) {
        if (error != asio::error::operation_aborted)
            die("timer", error.value());
        start_far(i);
    });
}

static void restart(long operations)
{
    long i = 0;

    for (long done = 0; done < operations; done += TIMERS_BATCH) {
        for (long k = 0; k < TIMERS_BATCH; k++, i = timers_next(i, count))
            timers[i].cancel();
        context.poll();
    }
}

static void another(long operations)
{
    std::deque<asio::steady_timer> others;

    for (long k = 0; k < TIMERS_BATCH; k++)
        others.emplace_back(context);
    for (long done = 0; done < operations; done += TIMERS_BATCH) {
        for (asio::steady_timer &timer : others) {
            timer.expires_after(std::chrono::nanoseconds(timers_far_ns()));
            timer.async_wait([](error_code) {});
        }
        for (asio::steady_timer &timer : others)
            timer.cancel();
        context.poll();
    }
}

static void start_near(long i)
{
    timers[i].expires_after(std::chrono::nanoseconds(timers_near_ns()));
    timers[i].async_wait([](error_code error) {
        if (error)
            die("timer", error.value());
        fired++;
    });
}

static double measure(const char *mode, long operations)
{
    int64_t begin;

    for (long i = 0; i < count; i++)
        timers.emplace_back(context);
    if (strcmp(mode, "fire") == 0) {
        for (long i = 0; i < count; i++)
            start_near(i);
        timers_sleep_until_due();
        operations = count;
        begin      = cpu_ns();
        while (fired < count)
            context.poll();
    } else {
        for (long i = 0; i < count; i++)
            start_far(i);
        context.poll();
        begin = cpu_ns();
        if (strcmp(mode, "restart") == 0)
            restart(operations);
        else
            another(operations);
    }
    return (double)(cpu_ns() - begin) / (double)operations;
}

int main(int argc, char **argv)
{
    const char *mode = argument(argc, argv, 1);

    if (strcmp(mode, "move") == 0)
        return 0; /* Asio moves no timer: to give it another time cancels its wait */
    bench_begin();
    count = number(argc, argv, 2);
    report_n(mode, count, measure(mode, argc > 3 ? number(argc, argv, 3) : count), "ns");
    fflush(stdout);
    _exit(0); /* a million handlers need not be destroyed one by one */
}
