/* SPDX-License-Identifier: MIT */
/* Timers of libuv, which count milliseconds.  What is measured and the command line are in
 * timers.h. */
#include <uv.h>

#include "timers.h"

static uv_loop_t  *loop;
static uv_timer_t *timers;
static long        count, fired;

static void on_fired(uv_timer_t *timer)
{
    (void)timer;
    fired++;
}

static void start_all(long (*delay_ms)(void))
{
    long i;

    for (i = 0; i < count; i++) {
        uv_timer_init(loop, &timers[i]);
        uv_timer_start(&timers[i], on_fired, (uint64_t)delay_ms(), 0);
    }
}

static void restart(long operations)
{
    long i = 0;

    for (; operations > 0; operations--, i = timers_next(i, count)) {
        uv_timer_stop(&timers[i]);
        uv_timer_start(&timers[i], on_fired, (uint64_t)timers_far_ms(), 0);
    }
}

static void another(long operations)
{
    static uv_timer_t others[TIMERS_BATCH];
    long              done, k;

    for (k = 0; k < TIMERS_BATCH; k++)
        uv_timer_init(loop, &others[k]);
    for (done = 0; done < operations; done += TIMERS_BATCH) {
        for (k = 0; k < TIMERS_BATCH; k++)
            uv_timer_start(&others[k], on_fired, (uint64_t)timers_far_ms(), 0);
        for (k = 0; k < TIMERS_BATCH; k++)
            uv_timer_stop(&others[k]);
    }
}

/* uv_timer_start() moves a timer that runs. */
static void move(long operations)
{
    long i = 0;

    for (; operations > 0; operations--, i = timers_next(i, count))
        uv_timer_start(&timers[i], on_fired, (uint64_t)timers_far_ms(), 0);
}

static double measure(const char *mode, long operations)
{
    int64_t begin;

    if (strcmp(mode, "fire") == 0) {
        start_all(timers_near_ms);
        timers_sleep_until_due();
        operations = count;
        begin = cpu_ns();
        while (fired < count)
            uv_run(loop, UV_RUN_NOWAIT);
    } else {
        start_all(timers_far_ms);
        begin = cpu_ns();
        if (strcmp(mode, "restart") == 0)
            restart(operations);
        else if (strcmp(mode, "another") == 0)
            another(operations);
        else
            move(operations);
    }
    return (double)(cpu_ns() - begin) / (double)operations;
}

int main(int argc, char **argv)
{
    const char *mode = argument(argc, argv, 1);

    bench_begin();
    count = number(argc, argv, 2);
    timers = calloc((size_t)count, sizeof *timers);
    loop = uv_default_loop();
    report_n(mode, count, measure(mode, argc > 3 ? number(argc, argv, 3) : count), "ns");
    return 0;
}
