/* SPDX-License-Identifier: MIT */
/* The proxy of the talk with fibers: both directions and an overall deadline in a three-way `||`,
 * and a deadline for each direction that moves with what passes.
 *
 * Whichever of the three ends first ends the session: a direction whose side has said its last
 * word or that nothing has passed for thirty seconds, or the hour.  proxy.c is the larger one, in
 * callbacks, which also serves half-closed connections.
 *
 *      fiber_proxy 8080 9000                 # then: socat - TCP:127.0.0.1:8080 */
#include "common.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unring.h>

static int            listener;
static struct address target;

struct direction {
    int      from, to;
    uint64_t passed;
};

static int pump(void *argument)
{
    struct direction       *d = argument;
    struct unr_op           op = { 0 };
    struct unr_cancel_scope idle; /* of this direction */
    char                    buf[16384];
    int64_t                 n;

    unr_cancel_scope_enter_after(&idle, UNR_SEC(30));
    while ((n = unr_await_value(unr_recv(&op, d->from, buf, sizeof buf, 0))) > 0) {
        struct unr_transfer transfer = { 0 };
        struct unr_stream   to;
        unr_stream_socket(&to, d->to);
        if ((n = unr_await_value(unr_write_all(&transfer, &to, buf, (size_t)n))) < 0)
            break;
        d->passed += (uint64_t)n;
        unr_cancel_scope_move(&idle, unr_loop_now(unr_fiber_loop()) + UNR_SEC(30));
    }
    return unr_cancel_scope_leave(&idle, (int)n);
}

/* A socket that is connected to the target, or a negative errno. */
static int connect_to_target(void)
{
    struct unr_op           op = { 0 };
    struct unr_cancel_scope patience;
    int                     fd = tcp_socket(&target);

    if (fd < 0)
        return fd;
    unr_cancel_scope_enter_after(&patience, UNR_SEC(5));
    int64_t connected =
        unr_await_value(unr_connect(&op, fd, (const struct sockaddr *)&target.storage, target.len));
    int error = unr_cancel_scope_leave(&patience, (int)connected);
    if (error < 0) {
        unr_await(unr_close(&op, fd));
        return error;
    }
    return fd;
}

static int session(void *argument)
{
    int              client = (int)(intptr_t)argument;
    struct unr_op    op = { 0 };
    int              server = connect_to_target();
    struct direction there = { .from = client, .to = server };
    struct direction back = { .from = server, .to = client };

    if (server >= 0) {
        struct unr_fiber  forth = { 0 }, home = { 0 };
        struct unr_timer  overall = { 0 };
        struct unr_group  group = { 0 };
        struct unr_op    *any[] = { unr_fiber(&forth, pump, &there), unr_fiber(&home, pump, &back),
                                    unr_timer_after(&overall, UNR_SEC(3600)) };
        struct unr_result r = unr_await(unr_group(&group, any, 3, unr_wait_one, NULL));
        printf("%d: %llu bytes there, %llu back; %s\n", client, (unsigned long long)there.passed,
               (unsigned long long)back.passed,
               r.value == 2 ? "its hour is over" : "one side is done");
        unr_await(unr_close(&op, server)); /* it supports NONE: it runs whatever was requested */
    } else {
        printf("%d: no connection to the target: %s\n", client, strerror(-server));
    }
    unr_await(unr_close(&op, client));
    return 0;
}

static int serve(void *argument)
{
    struct unr_op      op = { 0 };
    struct unr_nursery sessions;
    int64_t            fd;

    (void)argument;
    unr_nursery_open(&sessions, UNR_NURSERY_INDEPENDENT);
    while ((fd = unr_await_value(unr_accept(&op, listener, NULL, NULL, SOCK_CLOEXEC))) >= 0)
        if (unr_nursery_spawn(&sessions, session, (void *)(intptr_t)fd) < 0)
            unr_await(unr_close(&op, (int)fd));
    return unr_nursery_close(&sessions, (int)fd);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 3 || !parse_address(argv[2], &target))
        die(0, "usage: fiber_proxy LISTEN TARGET");
    listener = listen_on_argument(2, argv);
    int error = unr_run_fiber(NULL, serve, NULL);
    if (error < 0)
        die(error, "fiber_proxy");
    return 0;
}
