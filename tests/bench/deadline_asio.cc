/* SPDX-License-Identifier: MIT */
/* What a deadline that does not fire costs with Boost.Asio.  Its cancel_after (from 1.31, Boost 1.86 on) starts a wait on a timer
 * and the operation, cancels the one when the other has ended, and completes when both have: that is written out here.
 *     deadline_asio BATCH OPERATIONS      as in deadline_unring.c */
#include "asio.h"
#include "more.h"

#include <deque>

struct limited_read {
    asio::posix::stream_descriptor descriptor;
    asio::steady_timer             timer;
    uint64_t                       value;
    int                            running;

    limited_read(asio::io_context &context, int fd) : descriptor(context, fd), timer(context), value(0), running(0)
    {
    }
};

static asio::io_context         context(BENCH_ASIO_HINT);
static std::deque<limited_read> reads;
static long                     batch, to_start;
static bool                     limited;

static void start(limited_read &read);

static void ended(limited_read &read)
{
    if (--read.running > 0 || to_start <= 0)
        return;
    to_start--;
    start(read);
}

static void start(limited_read &read)
{
    read.running = 1;
    if (limited) {
        read.running = 2;
        read.timer.expires_after(std::chrono::seconds(30));
        read.timer.async_wait([&read](error_code error) {
            if (error != asio::error::operation_aborted)
                die("a deadline fired", ETIMEDOUT);
            ended(read);
        });
    }
    read.descriptor.async_read_some(asio::buffer(&read.value, sizeof read.value), [&read](error_code error, size_t) {
        if (error)
            die("read", error.value());
        if (limited)
            read.timer.cancel();
        ended(read);
    });
}

static void run(int extra, long operations)
{
    limited = extra;
    to_start = operations - batch;
    for (limited_read &read : reads)
        start(read);
    context.restart();
    context.run();
}

int main(int argc, char **argv)
{
    int *fds;

    bench_begin();
    batch = number(argc, argv, 1);
    fds = more_readable(batch, EFD_NONBLOCK);
    for (long i = 0; i < batch; i++)
        reads.emplace_back(context, fds[i]);
    report_n("deadline", batch, more_ns(run, number(argc, argv, 2)), "ns");
    fflush(stdout);
    _exit(0);
}
