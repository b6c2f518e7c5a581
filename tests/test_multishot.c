/* SPDX-License-Identifier: MIT */
/* Multishot operations on the real kernel.  What the simulated one enumerates is in
 * tests/sim/scenarios/shots.c. */
#include "support.h"

#include <sys/eventfd.h>

TestSuite(multishot, .init = open_loop, .timeout = 60);

/* ---- accept ---- */

struct host {
    struct unr_op      op;
    struct sockaddr_in address;
    int                listener;
    unsigned           shots, ends;
    int                fds[1024];
    struct unr_result  last;
    void (*then)(struct host *host);
};

static void came(struct unr_op *op)
{
    struct host             *h = op->data;
    const struct unr_result *r = &op->result;
    if (r->error == 0)
        h->fds[h->shots++] = r->fd;
    cr_assert_eq(unr_in_flight(op), (r->flags & UNR_MORE) != 0);
    if (!(r->flags & UNR_MORE)) {
        h->ends++;
        h->last = *r;
    }
    if (h->then)
        h->then(h);
}

static void invite(struct host *h)
{
    unr_start(loop, unr_accept_multishot(&h->op, h->listener, SOCK_CLOEXEC), came, h);
}

static int call(const struct host *h)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)&h->address, sizeof h->address), 0);
    return fd;
}

static void close_all(struct host *h)
{
    for (unsigned i = 0; i < h->shots; i++)
        close(h->fds[i]);
    close(h->listener);
}

Test(multishot, each_connection_is_a_shot)
{
    enum { MANY = 100 };
    static struct host h;
    int                callers[MANY];
    h.listener = tcp_listener(&h.address, MANY);
    invite(&h);
    for (int i = 0; i < MANY; i++)
        callers[i] = call(&h);
    while (h.shots < MANY)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    for (int i = 0; i < MANY; i++) {
        cr_assert(fcntl(h.fds[i], F_GETFD) & FD_CLOEXEC);
        cr_assert_eq(write(callers[i], "x", 1), 1);
    }
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(drain(h.fds[i]), 1, "each once");
    cr_assert_eq(unr_loop_in_flight(loop), h.ends ? 0 : 1);
    unr_cancel(&h.op, UNR_CANCEL_TOTAL);
    run();
    cr_assert_eq(h.ends, 1);
    cr_assert_eq(h.last.error, -ECANCELED);
    cr_assert_eq(h.last.guarantee, UNR_CANCEL_TOTAL);
    cr_assert_eq(h.last.fd, -1);
    for (int i = 0; i < MANY; i++)
        close(callers[i]);
    close_all(&h);
    close_loop();
}

/* Cancelled and started again while connections come: each is taken once. */
Test(multishot, cancelled_accept_loses_no_connection)
{
    enum { MANY = 500 };
    static struct host h;
    static int         callers[MANY];
    unsigned           state = 9;
    h.listener = tcp_listener(&h.address, MANY);
    for (int i = 0; i < MANY; i++) {
        state = state * 1103515245 + 12345;
        if (!unr_in_flight(&h.op))
            invite(&h);
        callers[i] = call(&h);
        if (state >> 16 & 1)
            submit();
        if (state >> 17 & 1)
            unr_cancel(&h.op, UNR_CANCEL_ALL);
        if (state >> 18 & 1)
            submit();
    }
    while (h.shots < MANY) {
        if (!unr_in_flight(&h.op))
            invite(&h);
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    }
    unr_cancel(&h.op, UNR_CANCEL_ALL);
    run();
    cr_assert_eq(h.shots, MANY);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(write(callers[i], "x", 1), 1);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(drain(h.fds[i]), 1);
    for (int i = 0; i < MANY; i++)
        close(callers[i]);
    close_all(&h);
    close_loop();
}

static void cancel_it(struct host *h)
{
    if (unr_in_flight(&h->op))
        unr_cancel(&h->op, UNR_CANCEL_TOTAL);
}

/* The connections that the kernel had taken by then are handed out. */
Test(multishot, cancelled_in_its_first_shot)
{
    static struct host h = { .then = cancel_it };
    int                callers[4];
    h.listener = tcp_listener(&h.address, 8);
    for (int i = 0; i < 4; i++)
        callers[i] = call(&h);
    invite(&h);
    run();
    cr_assert_eq(h.ends, 1);
    cr_assert_geq(h.shots, 1);
    int left = 0;
    fcntl(h.listener, F_SETFL, O_NONBLOCK);
    for (int fd; (fd = accept(h.listener, NULL, NULL)) >= 0; left++)
        close(fd);
    cr_assert_eq(h.shots + (unsigned)left, 4, "taken once, or in the backlog");
    for (int i = 0; i < 4; i++)
        close(callers[i]);
    close_all(&h);
    close_loop();
}

/* Where the CQ is full it ends, perhaps with a connection; nothing is lost. */
Test(multishot, ends_where_the_cq_is_full)
{
    enum { MANY = 64 };
    static struct host h;
    static int         callers[MANY];
    struct unr_loop   *outer = loop;
    loop = open_loop_with(4, 4);
    h.listener = tcp_listener(&h.address, MANY);
    for (int i = 0; i < MANY; i++)
        callers[i] = call(&h);
    while (h.shots < MANY) {
        if (!unr_in_flight(&h.op)) {
            cr_assert_eq(h.last.error, 0);
            invite(&h);
        }
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    }
    cr_assert_eq(unr_loop_close(loop), 0);
    loop = outer;
    cr_assert_eq(h.shots, MANY);
    for (int i = 0; i < MANY; i++)
        close(callers[i]);
    close_all(&h);
    close_loop();
}

Test(multishot, errors_come_in_the_last_done)
{
    static struct host h;
    h.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    invite(&h);
    run();
    cr_assert_eq(h.shots, 0);
    cr_assert_eq(h.ends, 1);
    cr_assert_eq(h.last.error, -EINVAL);
    close_all(&h);
    close_loop();
}

Test(multishot, closing_loop_ends_it)
{
    static struct host h;
    h.listener = tcp_listener(&h.address, 4);
    invite(&h);
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(h.ends, 1);
    cr_assert_eq(h.last.cause, -ESHUTDOWN);
    close_all(&h);
}

/* ---- poll ---- */

struct watcher {
    struct unr_op op;
    unsigned      shots, ends;
    uint32_t      events;
    int           error;
};

static void told(struct unr_op *op)
{
    struct watcher *w = op->data;
    if (op->result.flags & UNR_MORE) {
        w->shots++;
        w->events |= op->result.events;
    } else {
        w->ends++;
        w->error = op->result.error;
    }
}

Test(multishot, poll_tells_each_time)
{
    struct watcher w = { .shots = 0 };
    uint64_t       one = 1, value;
    int            fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    unr_start(loop, unr_poll_multishot(&w.op, fd, POLLIN), told, &w);
    submit();
    cr_assert_eq(w.shots, 0);
    for (unsigned i = 1; i <= 3; i++) {
        cr_assert_eq(write(fd, &one, sizeof one), (ssize_t)sizeof one);
        while (w.shots < i)
            cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
        cr_assert_eq(read(fd, &value, sizeof value), (ssize_t)sizeof value);
    }
    cr_assert_eq(w.events, (uint32_t)POLLIN);
    unr_cancel_fd(loop, fd, UNR_CANCEL_TOTAL);
    run();
    cr_assert_eq(w.ends, 1);
    cr_assert_eq(w.error, -ECANCELED);
    close(fd);
    close_loop();
}

/* ---- what it may not be given to ---- */

static struct unr_op *described(struct unr_op *op)
{
    return unr_poll_multishot(op, 0, POLLIN);
}

static void in_deadline(void *context)
{
    static struct unr_deadline deadline;
    static struct unr_op       op;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    unr_cancel_after(&deadline, described(&op), UNR_SEC(1)); /* given, and not even started */
}

static void in_group(void *context)
{
    static struct unr_group group;
    static struct unr_op    op;
    struct unr_op          *members[] = { described(&op) };
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, unr_any(&group, members, 1), NULL, NULL);
}

static void in_scope(void *context)
{
    static struct unr_scope scope;
    static struct unr_op    op;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, unr_scope(&scope), NULL, NULL);
    unr_scope_start(&scope, described(&op), NULL, NULL);
}

static void without_done(void *context)
{
    static struct unr_op op;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, described(&op), NULL, NULL);
}

Test(multishot, given_to_a_combinator_is_named)
{
    void (*const breaches[])(void *) = { in_deadline, in_group, in_scope, without_done };
    for (unsigned i = 0; i < LENGTH(breaches); i++) {
        struct death death = in_child(breaches[i], NULL);
        expect_abort(&death, (const char *const[]){ "unring: broken contract:", "poll_multishot",
                                                    "a multishot operation", NULL });
    }
    close_loop();
}
