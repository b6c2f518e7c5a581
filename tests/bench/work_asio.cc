/* SPDX-License-Identifier: MIT */
/* Calls of a function that returns at once, on the four threads of an asio::thread_pool; each posts
 * its end back to the context.
 *     work_asio BATCH CALLS     as in work_unring.c */
#include "asio.h"

static asio::io_context   *context;
static asio::thread_pool  *pool;
static long                to_start, ended;

static void start()
{
    asio::post(*pool, [] {
        asio::post(*context, [] {
            ended++;
            if (to_start-- > 0)
                start();
        });
    });
}

int main(int argc, char **argv)
{
    long             batch = number(argc, argv, 1), calls = number(argc, argv, 2);
    asio::io_context ours; /* with its locks: other threads post to it */
    asio::thread_pool theirs(4);

    bench_begin();
    context = &ours;
    pool = &theirs;
    auto guard = asio::make_work_guard(ours);
    to_start = calls - batch;
    int64_t begin = now_ns();
    for (long i = 0; i < batch; i++)
        start();
    while (ended < calls)
        ours.run_one();
    report_n("work", batch, (double)(now_ns() - begin) / (double)calls, "ns");
    theirs.join();
    return 0;
}
