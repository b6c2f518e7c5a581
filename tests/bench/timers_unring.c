/* SPDX-License-Identifier: MIT */
/* Timers of unring.  What is measured and the command line are in timers.h. */
#include <unring.h>

#include "timers.h"

static struct unr_loop  *loop;
static struct unr_timer *timers;
static long              count, fired;
static int               restarting; /* what was cancelled is started again */

static void turn(void)
{
    int n = unr_loop_run_once(loop, 0);

    if (n < 0)
        die("unr_loop_run_once", n);
}

static void on_cancelled(struct unr_op *op);

static void start_far(struct unr_timer *timer)
{
    unr_start(loop, unr_timer_at(timer, unr_loop_now(loop) + timers_far_ns()), on_cancelled, timer);
}

static void on_cancelled(struct unr_op *op)
{
    if (restarting)
        start_far(op->data);
}

static void restart(long operations)
{
    long done, i = 0, k;

    restarting = 1;
    for (done = 0; done < operations; done += TIMERS_BATCH) {
        for (k = 0; k < TIMERS_BATCH; k++, i = timers_next(i, count))
            unr_cancel(&timers[i].op, UNR_CANCEL_TOTAL);
        turn();
    }
    restarting = 0;
}

static void another(long operations)
{
    static struct unr_timer others[TIMERS_BATCH];
    long                    done, k;

    for (done = 0; done < operations; done += TIMERS_BATCH) {
        for (k = 0; k < TIMERS_BATCH; k++)
            start_far(&others[k]);
        for (k = 0; k < TIMERS_BATCH; k++)
            unr_cancel(&others[k].op, UNR_CANCEL_TOTAL);
        turn();
    }
}

static void move(long operations)
{
    long i = 0;

    for (; operations > 0; operations--, i = timers_next(i, count))
        unr_timer_move(&timers[i], unr_loop_now(loop) + timers_far_ns());
}

static void on_fired(struct unr_op *op)
{
    if (op->result.error)
        die("timer", op->result.error);
    fired++;
}

static void start_near(void)
{
    long i;

    for (i = 0; i < count; i++)
        unr_start(loop, unr_timer_at(&timers[i], unr_loop_now(loop) + timers_near_ns()), on_fired,
                  NULL);
}

static double measure(const char *mode, long operations)
{
    int64_t begin;
    long    i;

    if (strcmp(mode, "fire") == 0) {
        start_near();
        timers_sleep_until_due();
        operations = count;
        begin = cpu_ns();
        while (fired < count)
            turn();
    } else {
        for (i = 0; i < count; i++)
            start_far(&timers[i]);
        turn();
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
    int         error;

    bench_begin();
    count = number(argc, argv, 2);
    timers = calloc((size_t)count, sizeof *timers);
    error = unr_loop_open(&loop, NULL);
    if (error)
        die("unr_loop_open", error);
    report_n(mode, count, measure(mode, argc > 3 ? number(argc, argv, 3) : count), "ns");
    unr_loop_close(loop);
    free(timers);
    return 0;
}
