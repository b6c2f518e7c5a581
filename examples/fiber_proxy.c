/* SPDX-License-Identifier: MIT */
/* The proxy of the talk with fibers: both directions and an overall deadline in a three-way `||`,
 * and a deadline for each direction that moves with what passes.
 *
 * Whichever of the three ends first ends the session: a direction whose side has said its last
 * word, one that nothing has passed for thirty seconds or as many as are given, or the hour.
 * proxy.c is the larger one, in callbacks, which also serves half-closed connections.
 *
 *      fiber_proxy 8080 9000 30              # then: socat - TCP:127.0.0.1:8080 */
#include "common.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <unring.h>

static int    listener;
static char   host[256], service[32];
static double seconds = 30; /* for which nothing may pass in a direction */

static unr_time deadline(void)
{
    return unr_loop_now(unr_fiber_loop()) + (unr_time)(seconds * 1e9);
}

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

    unr_cancel_scope_enter_at(&idle, deadline());
    while ((n = unr_await_value(unr_recv(&op, d->from, buf, sizeof buf, 0))) > 0) {
        struct unr_transfer transfer = { 0 };
        struct unr_stream   to;
        unr_stream_socket(&to, d->to);
        if ((n = unr_await_value(unr_write_all(&transfer, &to, buf, (size_t)n))) < 0)
            break;
        d->passed += (uint64_t)n;
        unr_cancel_scope_move(&idle, deadline());
    }
    return unr_cancel_scope_leave(&idle, (int)n);
}

/* A socket that is connected to the target, or a negative errno. */
static int connect_to_target(void)
{
    struct unr_connect_name connect = { 0 };
    struct unr_deadline     patience = { 0 };
    return (int)unr_await_value(
        unr_cancel_after(&patience, unr_connect_name(&connect, host, service), UNR_SEC(5)));
}

enum { THERE, BACK, HOUR }; /* the members, by index */

/* What ended a session. */
static const char *reason(const struct unr_result *group, struct unr_op *const *members)
{
    if (group->error)
        return "the proxy ends";
    if (group->value == HOUR)
        return "its hour is over";
    int error = unr_outcome(&members[group->value]->result);
    if (error == -ETIMEDOUT)
        return group->value == THERE ? "nothing passed there" : "nothing passed back";
    return error ? strerror(-error) : "one side is done";
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
               (unsigned long long)back.passed, reason(&r, any));
        unr_await(unr_close(&op, server)); /* it supports NONE: it runs whatever was requested */
    } else {
        printf("%d: no connection to the target: %s\n", client, strerror(-server));
    }
    unr_await(unr_close(&op, client));
    return 0;
}

static int accept_all(void *argument)
{
    struct unr_nursery *sessions = argument;
    struct unr_op       op = { 0 };
    int64_t             fd;

    while ((fd = unr_await_value(unr_accept(&op, listener, NULL, NULL, SOCK_CLOEXEC))) >= 0)
        if (unr_nursery_spawn(sessions, session, (void *)(intptr_t)fd) < 0)
            unr_await(unr_close(&op, (int)fd));
    return (int)fd;
}

/* Until a signal comes, or the listener fails; then all sessions are cancelled. */
static int serve(void *argument)
{
    struct unr_nursery sessions;
    struct unr_fiber   acceptor = { 0 };
    struct unr_sigwait interrupt = { 0 };
    struct unr_group   group = { 0 };

    (void)argument;
    unr_nursery_open(&sessions, UNR_NURSERY_INDEPENDENT);
    struct unr_op    *either[] = { unr_fiber(&acceptor, accept_all, &sessions),
                                   unr_sigwait(&interrupt, interrupts, 2) };
    struct unr_result r = unr_await(unr_group(&group, either, 2, unr_wait_one, NULL));
    unr_nursery_cancel(&sessions, UNR_CANCEL_ALL, -ECANCELED);
    return unr_nursery_close(&sessions, r.error ? r.error : either[r.value]->result.error);
}

/* Reads "HOST:SERVICE" or, of this machine, "SERVICE". */
static bool parse_target(const char *text)
{
    const char *colon = strrchr(text, ':'), *name = colon ? text : "localhost";
    size_t      len = colon ? (size_t)(colon - text) : strlen(name);
    if (len > 1 && name[0] == '[' && name[len - 1] == ']') { /* a number of IPv6 */
        name++;
        len -= 2;
    }
    const char *after = colon ? colon + 1 : text;
    if (!len || len >= sizeof host || !*after || strlen(after) >= sizeof service)
        return false;
    memcpy(host, name, len);
    memcpy(service, after, strlen(after));
    return true;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    listener = step_listen(argc, argv, NULL, &seconds);
    if (!parse_target(argv[2]))
        die(0, "TARGET is not [HOST:]SERVICE");
    block_interrupts();
    int error = unr_run_fiber(NULL, serve, NULL);
    close(listener);
    if (error < 0)
        die(error, "fiber_proxy");
    return 0;
}
