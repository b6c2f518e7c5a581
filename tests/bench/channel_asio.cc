/* SPDX-License-Identifier: MIT */
/* A value through Boost.Asio's experimental channel, which is told that one thread uses it.
 *     channel_asio CAPACITY BATCH VALUES, channel_asio try VALUES     as in channel_unring.c */
#include "asio.h"

#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/experimental/channel_traits.hpp>

using channel_type = asio::experimental::channel<asio::io_context::executor_type, void(error_code, long)>;

static asio::io_context context(BENCH_ASIO_HINT);
static channel_type    *channel;
static long             to_send, to_receive, sum;

static void send()
{
    if (to_send <= 0)
        return;
    channel->async_send(error_code(), to_send--, [](error_code error) {
        if (error)
            die("send", error.value());
        send();
    });
}

static void receive()
{
    if (to_receive <= 0)
        return;
    to_receive--;
    channel->async_receive([](error_code error, long value) {
        if (error)
            die("receive", error.value());
        sum += value;
        receive();
    });
}

static void run(long batch, long values)
{
    to_send = to_receive = values;
    for (long i = 0; i < batch; i++) {
        send();
        receive();
    }
    context.run();
}

static void run_trying(long values)
{
    for (; values; values--) {
        bool sent = channel->try_send(error_code(), values);
        bool received = channel->try_receive([](error_code, long value) { sum += value; });

        if (!sent || !received)
            die("try", EAGAIN);
    }
}

int main(int argc, char **argv)
{
    const char *mode = argument(argc, argv, 1);
    bool        tries = strcmp(mode, "try") == 0;
    long        capacity = tries ? 64 : atol(mode), values = number(argc, argv, tries ? 2 : 3);
    char        name[32];

    bench_begin();
    channel = new channel_type(context.get_executor(), (size_t)capacity);
    int64_t begin = cpu_ns();
    if (tries) {
        run_trying(values);
        report("channel.try", (double)(cpu_ns() - begin) / (2.0 * (double)values), "ns");
    } else {
        run(number(argc, argv, 2), values);
        snprintf(name, sizeof name, "channel.%ld", capacity);
        report_n(name, number(argc, argv, 2), (double)(cpu_ns() - begin) / (double)values, "ns");
    }
    if (sum != values * (values + 1) / 2)
        die("a value was lost", EIO);
    delete channel;
    return 0;
}
