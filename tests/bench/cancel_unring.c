/* SPDX-License-Identifier: MIT */
/* Read-and-cancel with unring: reads that wait on idle eventfds, cancelled one by one.
 *
 *     cancel_unring batch N OPERATIONS     N reads are armed in one turn, and cancelled in the next
 *     cancel_unring recent N OPERATIONS    N reads are outstanding; the newest is cancelled
 *     cancel_unring random N OPERATIONS    the same, any one of them
 *
 * A read that was cancelled is started again from its `done`, with the next cancel.  With RECEIVERS
 * defined the reads are unr_receive(): cancel_receivers.  With POOLED the receivers have a pool,
 * and wait on sockets: cancel_pooled. */
#include <unring.h>

#include "bench.h"

struct waiting_read {
    struct unr_op op;
    uint64_t      value;
    int           fd;
#ifdef RECEIVERS
    struct unr_receiver receiver;
#endif
};

static struct unr_loop *loop;
#ifdef RECEIVERS
static struct unr_pool *pool; /* NULL without POOLED */
#endif
static struct waiting_read *reads;
static long                 count, to_cancel;
static int                  recent;

static void check(const struct unr_op *op)
{
    if (op->result.error != -ECANCELED || op->result.verdict != UNR_VERDICT_CANCELLED)
        die("read and cancel", op->result.error);
}

static struct unr_op *describe(struct waiting_read *read)
{
#ifdef RECEIVERS
    return unr_receive(&read->op, &read->receiver, &read->value, sizeof read->value);
#else
    return unr_read(&read->op, read->fd, &read->value, sizeof read->value, -1);
#endif
}

static void prepare(struct waiting_read *read)
{
#ifdef RECEIVERS
    unr_receiver_init(&read->receiver, loop, pool, read->fd, 0);
#else
    (void)read;
#endif
}

/* What the reads wait on, and their pool. */
static int *open_all(void)
{
#ifdef POOLED
    int *fds = calloc((size_t)count + 1, sizeof *fds), error;
    long i;

    raise_fd_limit(count + 1);
    for (i = 0; i < count; i += 2) /* both ends of a pair wait */
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, &fds[i]) < 0)
            die("socketpair", errno);
    error = unr_pool_open(&pool, loop, NULL);
    if (error)
        die("unr_pool_open", error);
    return fds;
#else
    return open_idle(count, 0);
#endif
}

static void start(struct waiting_read *read, unr_done_fn *done)
{
    unr_start(loop, describe(read), done, read);
}

static void turn(unr_time timeout)
{
    int n = unr_loop_run_once(loop, timeout);

    if (n < 0)
        die("unr_loop_run_once", n);
}

/* ---- batch ---- */

static void on_done(struct unr_op *op)
{
    check(op);
}

static void batches(long operations)
{
    long done, i;

    for (done = 0; done < operations; done += count) {
        for (i = 0; i < count; i++)
            start(&reads[i], on_done);
        turn(0); /* the kernel arms them */
        for (i = 0; i < count; i++)
            unr_cancel(&reads[i].op, UNR_CANCEL_TOTAL);
        while (unr_loop_in_flight(loop))
            turn(UNR_NEVER);
    }
}

/* ---- recent, random ---- */

static long another(long than)
{
    long i = random_below((uint32_t)count - 1);

    return i < than ? i : i + 1;
}

/* The victims of `recent` alternate: while one is armed again, the other is the last that the
 * kernel has seen. */
static void on_victim_done(struct unr_op *op)
{
    long i = (struct waiting_read *)op->data - reads;

    if (to_cancel == 0)
        return; /* measured already: the loop is being closed */
    check(op);
    if (--to_cancel == 0) {
        unr_loop_stop(loop);
        return;
    }
    start(&reads[i], on_victim_done);
    unr_cancel(&reads[recent ? !i : another(i)].op, UNR_CANCEL_TOTAL);
}

static void outstanding(void)
{
    int error;

    unr_cancel(&reads[0].op, UNR_CANCEL_TOTAL);
    error = unr_loop_run(loop);
    if (error)
        die("unr_loop_run", error);
}

int main(int argc, char **argv)
{
    const char *mode = argument(argc, argv, 1);
    long        operations = number(argc, argv, 3), i;
    int64_t     begin;
    int         error, *fds;

    bench_begin();
    count = number(argc, argv, 2);
    recent = strcmp(mode, "recent") == 0;
    to_cancel = operations;
    reads = calloc((size_t)count, sizeof *reads);
    error = unr_loop_open(&loop, NULL);
    if (error)
        die("unr_loop_open", error);
    fds = open_all();
    for (i = 0; i < count; i++) {
        reads[i].fd = fds[i];
        prepare(&reads[i]);
    }
    if (strcmp(mode, "batch") == 0) {
        begin = cpu_ns();
        batches(operations);
    } else {
        for (i = count - 1; i >= 0; i--)
            start(&reads[i], on_victim_done);
        turn(0);
        begin = cpu_ns();
        outstanding();
    }
    report_n(mode, count, (double)(cpu_ns() - begin) / (double)operations, "ns");
    unr_loop_close(loop);
    return 0;
}
