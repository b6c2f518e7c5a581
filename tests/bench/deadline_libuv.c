/* SPDX-License-Identifier: MIT */
/* What a deadline that does not fire costs with libuv, which has none: a timer that is started
 * before a read and stopped behind it.
 *     deadline_libuv BATCH OPERATIONS      as in deadline_unring.c, on BATCH descriptors that are
 *     watched */
#include <uv.h>

#include "more.h"

struct watched {
    uv_poll_t  poll;
    uv_timer_t timer;
    int        fd;
};

static uv_loop_t      *loop;
static struct watched *watched;
static long            batch, left;
static int             limited;

static void on_timeout(uv_timer_t *timer)
{
    (void)timer;
    die("a deadline fired", ETIMEDOUT);
}

static void start(struct watched *one)
{
    if (limited)
        uv_timer_start(&one->timer, on_timeout, 30000, 0);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct watched *one = (struct watched *)poll;
    uint64_t        value;

    (void)status, (void)events;
    if (read(one->fd, &value, sizeof value) != sizeof value)
        die("read", errno);
    if (limited)
        uv_timer_stop(&one->timer);
    left--;
    start(one);
}

static void run(int extra, long operations)
{
    long i;

    limited = extra;
    left = operations;
    for (i = 0; i < batch; i++)
        start(&watched[i]);
    while (left > 0)
        uv_run(loop, UV_RUN_NOWAIT);
    for (i = 0; i < batch; i++)
        uv_timer_stop(&watched[i].timer);
}

int main(int argc, char **argv)
{
    long i;
    int *fds, error;

    bench_begin();
    batch = number(argc, argv, 1);
    fds = more_readable(batch, EFD_NONBLOCK);
    watched = calloc((size_t)batch, sizeof *watched);
    loop = uv_default_loop();
    for (i = 0; i < batch; i++) {
        watched[i].fd = fds[i];
        uv_timer_init(loop, &watched[i].timer);
        error = uv_poll_init(loop, &watched[i].poll, fds[i]);
        if (error)
            die("uv_poll_init", error);
        uv_poll_start(&watched[i].poll, UV_READABLE, on_readable);
    }
    report_n("deadline", batch, more_ns(run, number(argc, argv, 2)), "ns");
    return 0;
}
