/* SPDX-License-Identifier: MIT */
/* A value through a channel of unring's.
 *     channel_unring CAPACITY BATCH VALUES     BATCH senders and as many receivers, each of which
 *     starts again when it has ended
 *     channel_unring try VALUES                one value at a time, by the functions that do not
 *     wait: ns per call */
#include <unring.h>

#include "bench.h"

static struct unr_loop   *loop;
static struct unr_channel channel;
static long               to_send, to_receive;
static long               sum;

struct party {
    struct unr_waiter waiter;
    long              value;
};

static void on_sent(struct unr_op *op)
{
    struct party *party = op->data;

    if (op->result.error)
        die("send", op->result.error);
    if (to_send > 0) {
        party->value = to_send--;
        unr_start(loop, unr_channel_send(&party->waiter, &channel, &party->value), on_sent, party);
    }
}

static void on_received(struct unr_op *op)
{
    struct party *party = op->data;

    if (op->result.error || !op->result.value)
        die("receive", op->result.error);
    sum += party->value;
    if (to_receive > 0) {
        to_receive--;
        unr_start(loop, unr_channel_receive(&party->waiter, &channel, &party->value), on_received,
                  party);
    }
}

/* The loop's run returns when the last value has been received. */
static void run(long batch, long values)
{
    struct party *senders = calloc((size_t)batch, sizeof *senders);
    struct party *receivers = calloc((size_t)batch, sizeof *receivers);
    long          i;
    int           error;

    to_send = values;
    to_receive = values - batch;
    for (i = 0; i < batch; i++) {
        senders[i].value = to_send--;
        unr_start(loop, unr_channel_send(&senders[i].waiter, &channel, &senders[i].value), on_sent,
                  &senders[i]);
        unr_start(loop, unr_channel_receive(&receivers[i].waiter, &channel, &receivers[i].value),
                  on_received, &receivers[i]);
    }
    error = unr_loop_run(loop);
    if (error)
        die("unr_loop_run", error);
    free(senders);
    free(receivers);
}

static void run_trying(long values)
{
    long value;

    for (; values; values--)
        if (unr_channel_try_send(&channel, &values)
            || unr_channel_try_receive(&channel, &value) != 1)
            die("try", EAGAIN);
        else
            sum += value;
}

int main(int argc, char **argv)
{
    const char *mode = argument(argc, argv, 1);
    int         tries = strcmp(mode, "try") == 0;
    long        capacity = tries ? 64 : atol(mode), values = number(argc, argv, tries ? 2 : 3);
    long       *storage = calloc((size_t)capacity + 1, sizeof *storage);
    char        name[32];
    int64_t     begin;
    int         error;

    bench_begin();
    error = unr_loop_open(&loop, NULL);
    if (error)
        die("unr_loop_open", error);
    unr_channel_init(&channel, storage, sizeof *storage, (size_t)capacity);
    begin = cpu_ns();
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
    unr_loop_close(loop);
    free(storage);
    return 0;
}
