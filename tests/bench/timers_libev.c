/* SPDX-License-Identifier: MIT */
/* Timers of libev.  What is measured and the command line are in timers.h. */
#include <ev.h>

#include "timers.h"

static struct ev_loop *loop;
static ev_timer       *timers;
static long            count, fired;

static void on_fired(struct ev_loop *ignored, ev_timer *timer, int events)
{
    (void)ignored, (void)timer, (void)events;
    fired++;
}

static void start_all(int64_t (*delay_ns)(void))
{
    long i;

    for (i = 0; i < count; i++) {
        ev_timer_init(&timers[i], on_fired, (double)delay_ns() / 1e9, 0.);
        ev_timer_start(loop, &timers[i]);
    }
}

static void restart(long operations)
{
    long i = 0;

    for (; operations > 0; operations--, i = timers_next(i, count)) {
        ev_timer_stop(loop, &timers[i]);
        ev_timer_set(&timers[i], (double)timers_far_ns() / 1e9, 0.);
        ev_timer_start(loop, &timers[i]);
    }
}

static void another(long operations)
{
    static ev_timer others[TIMERS_BATCH];
    long            done, k;

    for (done = 0; done < operations; done += TIMERS_BATCH) {
        for (k = 0; k < TIMERS_BATCH; k++) {
            ev_timer_init(&others[k], on_fired, (double)timers_far_ns() / 1e9, 0.);
            ev_timer_start(loop, &others[k]);
        }
        for (k = 0; k < TIMERS_BATCH; k++)
            ev_timer_stop(loop, &others[k]);
    }
}

/* ev_timer_again() moves a timer that runs to `repeat` from now. */
static void move(long operations)
{
    long i = 0;

    for (; operations > 0; operations--, i = timers_next(i, count)) {
        timers[i].repeat = (double)timers_far_ns() / 1e9;
        ev_timer_again(loop, &timers[i]);
    }
}

static double measure(const char *mode, long operations)
{
    int64_t begin;

    if (strcmp(mode, "fire") == 0) {
        start_all(timers_near_ns);
        timers_sleep_until_due();
        operations = count;
        begin = cpu_ns();
        while (fired < count)
            ev_run(loop, EVRUN_NOWAIT);
    } else {
        start_all(timers_far_ns);
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
    loop = ev_loop_new(EVBACKEND_EPOLL);
    report_n(mode, count, measure(mode, argc > 3 ? number(argc, argv, 3) : count), "ns");
    return 0;
}
