/* SPDX-License-Identifier: MIT */
/* The nearest that libuv has to read-and-cancel: watching a descriptor for readability, and ceasing
 * to.  No operation of the kernel's is begun or cancelled, so this is less than cancel_unring does.
 *     cancel_libuv batch|recent|random N OPERATIONS      as in cancel_unring.c, on N descriptors */
#include <uv.h>

#include "bench.h"

static uv_loop_t *loop;
static uv_poll_t *polls;
static long       count;

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)poll, (void)status, (void)events;
    die("an idle descriptor became readable", EIO);
}

static void batches(long operations)
{
    long done, i;

    for (done = 0; done < operations; done += count) {
        for (i = 0; i < count; i++)
            uv_poll_start(&polls[i], UV_READABLE, on_readable);
        uv_run(loop, UV_RUN_NOWAIT); /* the kernel learns of them */
        for (i = 0; i < count; i++)
            uv_poll_stop(&polls[i]);
        uv_run(loop, UV_RUN_NOWAIT);
    }
}

static void outstanding(long operations, int recent)
{
    long victim = 0;

    while (operations-- > 0) {
        uv_poll_stop(&polls[victim]);
        uv_run(loop, UV_RUN_NOWAIT);
        uv_poll_start(&polls[victim], UV_READABLE, on_readable);
        victim = recent ? !victim : (long)random_below((uint32_t)count);
    }
}

int main(int argc, char **argv)
{
    const char *mode = argument(argc, argv, 1);
    long        operations = number(argc, argv, 3), i;
    int64_t     begin;
    int        *fds, error;

    bench_begin();
    count = number(argc, argv, 2);
    fds = open_idle(count, EFD_NONBLOCK);
    loop = uv_default_loop();
    polls = calloc((size_t)count, sizeof *polls);
    for (i = 0; i < count; i++) {
        error = uv_poll_init(loop, &polls[i], fds[i]);
        if (error)
            die("uv_poll_init", error);
    }
    begin = cpu_ns();
    if (strcmp(mode, "batch") == 0) {
        batches(operations);
    } else {
        for (i = 0; i < count; i++)
            uv_poll_start(&polls[i], UV_READABLE, on_readable);
        uv_run(loop, UV_RUN_NOWAIT);
        begin = cpu_ns();
        outstanding(operations, strcmp(mode, "recent") == 0);
    }
    report_n(mode, count, (double)(cpu_ns() - begin) / (double)operations, "ns");
    return 0;
}
