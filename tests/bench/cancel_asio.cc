/* SPDX-License-Identifier: MIT */
/* Read-and-cancel with Boost.Asio: reads that wait on idle eventfds, each with a cancellation slot of its own.
 *     cancel_asio batch|recent|random N OPERATIONS      as in cancel_unring.c, on N descriptors, as Asio lets the
 *                                                       kernel see one read of a descriptor at a time */
#include "asio.h"

#include <deque>

struct waiting_read {
    asio::posix::stream_descriptor descriptor;
    asio::cancellation_signal      signal;
    uint64_t                       value;

    waiting_read(asio::io_context &context, int fd) : descriptor(context, fd), value(0)
    {
    }
};

static asio::io_context         context(BENCH_ASIO_HINT);
static std::deque<waiting_read> reads;
static long                     count, to_cancel;
static bool                     recent;

static void check(const error_code &error)
{
    if (error != asio::error::operation_aborted)
        die("read and cancel", error.value());
}

template <class Handler> static void start(waiting_read &read, Handler handler)
{
    read.descriptor.async_read_some(asio::buffer(&read.value, sizeof read.value),
                                    asio::bind_cancellation_slot(read.signal.slot(), handler));
}

static void cancel(long i)
{
    reads[i].signal.emit(asio::cancellation_type::total);
}

static void batches(long operations)
{
    auto work    = asio::make_work_guard(context); /* or it counts as stopped between batches */
    long running = 0;

    for (long done = 0; done < operations; done += count) {
        for (waiting_read &read : reads)
            start(read, [&running](error_code error, size_t) { check(error), running--; });
        running = count;
        context.poll(); /* the kernel arms them */
        for (long i = 0; i < count; i++)
            cancel(i);
        while (running)
            context.run_one();
    }
}

static long another(long than)
{
    long i = random_below((uint32_t)count - 1);

    return i < than ? i : i + 1;
}

static void restart(long i)
{
    start(reads[i], [i](error_code error, size_t) {
        check(error);
        if (--to_cancel == 0)
            return context.stop();
        restart(i);
        cancel(recent ? !i : another(i));
    });
}

int main(int argc, char **argv)
{
    const char *mode       = argument(argc, argv, 1);
    long        operations = number(argc, argv, 3);
    int64_t     begin;
    int        *fds;

    bench_begin();
    count     = number(argc, argv, 2);
    recent    = strcmp(mode, "recent") == 0;
    to_cancel = operations;
    fds       = open_idle(count, EFD_NONBLOCK);
    for (long i = 0; i < count; i++)
        reads.emplace_back(context, fds[i]);
    if (strcmp(mode, "batch") == 0) {
        begin = cpu_ns();
        batches(operations);
    } else {
        for (long i = count - 1; i >= 0; i--)
            restart(i);
        context.poll();
        begin = cpu_ns();
        cancel(0);
        context.run();
    }
    report_n(mode, count, (double)(cpu_ns() - begin) / (double)operations, "ns");
    fflush(stdout);
    _exit(0); /* what is outstanding goes with the process: Asio would wait for each read in turn */
}
