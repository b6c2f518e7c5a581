/* SPDX-License-Identifier: MIT */
/* Calls of a function that returns at once, on libuv's four threads: uv_queue_work().
 *     work_libuv BATCH CALLS     as in work_unring.c */
#include <uv.h>

#include "bench.h"

static uv_loop_t *loop;
static long       to_start, ended;

static void returns(uv_work_t *work)
{
    (void)work;
}

static void on_done(uv_work_t *work, int status)
{
    if (status)
        die("work", EIO);
    ended++;
    if (to_start-- > 0)
        uv_queue_work(loop, work, returns, on_done);
}

int main(int argc, char **argv)
{
    long       batch = number(argc, argv, 1), calls = number(argc, argv, 2), i;
    uv_work_t *works = calloc((size_t)batch, sizeof *works);
    int64_t    begin;

    bench_begin();
    loop = uv_default_loop();
    to_start = calls - batch;
    begin = now_ns();
    for (i = 0; i < batch; i++)
        uv_queue_work(loop, &works[i], returns, on_done);
    uv_run(loop, UV_RUN_DEFAULT);
    report_n("work", batch, (double)(now_ns() - begin) / (double)calls, "ns");
    if (ended != calls)
        die("a call was lost", EIO);
    uv_loop_close(loop);
    free(works);
    return 0;
}
