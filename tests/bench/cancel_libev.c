/* SPDX-License-Identifier: MIT */
/* The nearest that libev has to read-and-cancel: watching a descriptor for readability, and ceasing
 * to.  No operation of the kernel's is begun or cancelled, so this is less than cancel_unring does.
 *     cancel_libev batch|recent|random N OPERATIONS      as in cancel_unring.c, on N descriptors */
#include <ev.h>

#include "bench.h"

static struct ev_loop *loop;
static ev_io          *watchers;
static long            count;

static void on_readable(struct ev_loop *ignored, ev_io *watcher, int events)
{
    (void)ignored, (void)watcher, (void)events;
    die("an idle descriptor became readable", EIO);
}

static void batches(long operations)
{
    long done, i;

    for (done = 0; done < operations; done += count) {
        for (i = 0; i < count; i++)
            ev_io_start(loop, &watchers[i]);
        ev_run(loop, EVRUN_NOWAIT); /* the kernel learns of them */
        for (i = 0; i < count; i++)
            ev_io_stop(loop, &watchers[i]);
        ev_run(loop, EVRUN_NOWAIT);
    }
}

static void outstanding(long operations, int recent)
{
    long victim = 0;

    while (operations-- > 0) {
        ev_io_stop(loop, &watchers[victim]);
        ev_run(loop, EVRUN_NOWAIT);
        ev_io_start(loop, &watchers[victim]);
        victim = recent ? !victim : (long)random_below((uint32_t)count);
    }
}

int main(int argc, char **argv)
{
    const char *mode = argument(argc, argv, 1);
    long        operations = number(argc, argv, 3), i;
    int64_t     begin;
    int        *fds;

    bench_begin();
    count = number(argc, argv, 2);
    fds = open_idle(count, EFD_NONBLOCK);
    loop = ev_loop_new(EVBACKEND_EPOLL);
    watchers = calloc((size_t)count, sizeof *watchers);
    for (i = 0; i < count; i++)
        ev_io_init(&watchers[i], on_readable, fds[i], EV_READ);
    begin = cpu_ns();
    if (strcmp(mode, "batch") == 0) {
        batches(operations);
    } else {
        for (i = 0; i < count; i++)
            ev_io_start(loop, &watchers[i]);
        ev_run(loop, EVRUN_NOWAIT);
        begin = cpu_ns();
        outstanding(operations, strcmp(mode, "recent") == 0);
    }
    report_n(mode, count, (double)(cpu_ns() - begin) / (double)operations, "ns");
    return 0;
}
