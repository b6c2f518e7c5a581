/* SPDX-License-Identifier: MIT */
/* Fibers: how they begin and end, what they wait for, and which requests reach them.  Cancel scopes
 * are in test_cancel_scope.c, stacks in test_stack.c. */
#include "support.h"

#include <dlfcn.h>
#include <fenv.h>
#include <pthread.h>
#include <semaphore.h>
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

TestSuite(fiber, .init = open_loop, .timeout = 20);
TestSuite(fiber_contract, .timeout = 20);

/* ThreadSanitizer would end a child that starts a thread: for it the runner, of which the child is
 * a copy, has several. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}

static struct unr_stats stats(void)
{
    struct unr_stats s;
    unr_loop_stats(loop, &s, sizeof s);
    return s;
}

/* ---- a fiber that receives ---- */

/* Receives a byte `goal` times; ends on an error, unless a hook says otherwise. */
struct reader {
    union {
        struct unr_op    op; /* result.bytes: received */
        struct unr_fiber fiber;
    };
    struct seen              seen;
    struct unr_op            child;
    struct unr_cancel_state *state;
    int                      fds[2]; /* received from [0] */
    int                      goal, flags;
    int                      receives; /* begun */
    int                      ran;      /* how often the function was called */
    unr_filter_fn           *in, *out; /* set first, if there is one */
    struct unr_signal       *stop;     /* bound to its slot; NULL: to none */
    void                    *context;
    bool (*survives)(struct reader *reader); /* asked where a receive was cancelled: whether the
                                                next one is begun */
    char buf[8];
};

static int read_all(void *argument)
{
    struct reader *r = argument;
    size_t         len = r->flags & MSG_WAITALL ? sizeof r->buf : 1;
    int            error = 0;
    r->ran++;
    r->state = unr_fiber_state();
    if (r->in || r->out)
        unr_state_reset(r->state, r->in, r->out, r->context);
    while (!error && (int)r->op.result.bytes < r->goal) {
        r->receives++;
        struct unr_result result = unr_await(unr_recv(&r->child, r->fds[0], r->buf, len, r->flags));
        r->op.result.bytes += result.bytes;
        error = result.error;
        if (error == -ECANCELED && r->survives && r->survives(r))
            error = 0;
    }
    return error;
}

static struct unr_op *described(struct reader *r)
{
    r->receives = r->ran = 0;
    return unr_fiber(&r->fiber, read_all, r);
}

/* Starts a reader, and lets it wait in its first receive. */
static void start_reader(struct reader *r, unr_filter_fn *in, unr_filter_fn *out)
{
    r->in = in;
    r->out = out;
    r->seen.runs = 0;
    described(r);
    if (r->stop)
        unr_bind_slot(&r->op, unr_signal_slot(r->stop));
    start(&r->seen, &r->op);
    submit();
    cr_assert_eq(r->receives, 1);
}

static struct unr_cancel_state *state_of(const struct reader *r)
{
    return r->state;
}

static int receives_of(const struct reader *r)
{
    return r->receives;
}

static void give(struct reader *r, const char *bytes)
{
    cr_assert_eq(write(r->fds[1], bytes, strlen(bytes)), (ssize_t)strlen(bytes));
}

static void until_receives(struct reader *r, int receives)
{
    while (r->receives < receives)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
}

#include "filters.h"

/* ---- beginning ---- */

static int count_up(void *argument)
{
    ++*(int *)argument;
    return 0;
}

/* A fiber begins in the next turn, and never inside its start. */
Test(fiber, begins_in_the_next_turn)
{
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    int              ran = 0;
    start(&seen, unr_fiber(&fiber, count_up, &ran));
    cr_assert_eq(ran, 0);
    submit();
    cr_assert_eq(ran, 1);
    run();
    cr_assert_eq(seen.runs, 1);
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_NONE);
    close_loop();
}

/* In whichever way it is asked before it begins, the function never runs. */
Test(fiber, a_fiber_asked_before_it_begins_never_runs)
{
    enum { BY_CANCEL, BY_SIGNAL, LATCHED, BY_DEADLINE, BY_GROUP, WAYS };
    for (int way = 0; way < WAYS; way++) {
        struct unr_fiber    fiber = { 0 };
        struct unr_signal   stop = { 0 };
        struct unr_deadline deadline = { 0 };
        struct unr_group    group = { 0 };
        struct seen         seen = { 0 };
        int                 ran = 0;
        struct unr_op      *outermost = unr_fiber(&fiber, count_up, &ran);
        if (way == LATCHED) {
            unr_signal_init_latched(&stop);
            unr_signal_emit_cause(&stop, UNR_CANCEL_ALL, -61);
        }
        if (way == LATCHED || way == BY_SIGNAL)
            unr_bind_slot(outermost, unr_signal_slot(&stop));
        if (way == BY_DEADLINE)
            outermost = unr_cancel_at(&deadline, outermost, 1);
        if (way == BY_GROUP)
            outermost = unr_all(&group, &outermost, 1);
        start(&seen, outermost);
        if (way == BY_CANCEL || way == BY_GROUP)
            cr_assert(unr_cancel_cause(outermost, UNR_CANCEL_TERMINAL, -61));
        if (way == BY_SIGNAL)
            cr_assert(unr_signal_emit_cause(&stop, UNR_CANCEL_TERMINAL, -61));
        run();
        cr_assert_eq(ran, 0, "way %d", way);
        cr_assert_eq(fiber.op.result.error, -ECANCELED);
        cr_assert_eq(fiber.op.result.verdict, UNR_VERDICT_UNSUBMITTED);
        cr_assert_eq(fiber.op.result.guarantee, UNR_CANCEL_TOTAL);
        cr_assert_eq(fiber.op.result.cause, way == BY_DEADLINE ? -ETIMEDOUT : -61);
        cr_assert_eq(seen.runs, 1);
    }
    cr_assert_eq(stats().fibers_begun, 0);
    cr_assert_eq(stats().stacks_made, 0);
    close_loop();
}

/* TERMINAL alone is what it supports at first: what it refuses does not keep it from beginning. */
Test(fiber, a_request_that_is_refused_before_it_begins_lets_it_run)
{
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    int              ran = 0;
    start(&seen, unr_fiber(&fiber, count_up, &ran));
    cr_assert_eq(unr_supports(&fiber.op), UNR_CANCEL_TERMINAL);
    unr_cancel(&fiber.op, UNR_CANCEL_TOTAL | UNR_CANCEL_PARTIAL);
    run();
    cr_assert_eq(ran, 1);
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_REFUSED);
    close_loop();
}

/* A loop that is closed before a fiber begins ends it unsubmitted, too. */
Test(fiber, a_closing_loop_ends_what_has_not_begun)
{
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    int              ran = 0;
    start(&seen, unr_fiber(&fiber, count_up, &ran));
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(ran, 0);
    expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
}

/* ---- awaiting ---- */

static int await_nops(void *argument)
{
    struct unr_op op = { 0 };
    for (int i = 0; i < *(int *)argument; i++)
        cr_assert_eq(unr_await(unr_nop(&op)).error, 0);
    return 7;
}

/* What a fiber returns above 0 is its value. */
Test(fiber, returns_a_value)
{
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    int              count = 3;
    start(&seen, unr_fiber(&fiber, await_nops, &count));
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.value, 7);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_NONE);
    cr_assert_eq(seen.result.fd, -1);
    close_loop();
}

static int await_a_fiber(void *argument)
{
    struct unr_fiber child = { 0 }; /* in the stack of who awaits it */
    int64_t          value = unr_await_value(unr_fiber(&child, await_nops, argument));
    return (int)value + 1;
}

/* A fiber awaits another, which lies in its stack. */
Test(fiber, awaits_a_fiber)
{
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    int              count = 2;
    start(&seen, unr_fiber(&fiber, await_a_fiber, &count));
    run();
    cr_assert_eq(seen.result.value, 8);
    cr_assert_eq(stats().fibers_begun, 2);
    close_loop();
}

static int values(void *argument)
{
    const int    *fds = argument;
    struct unr_op op = { 0 };
    char          buf[4];
    int64_t       fd = unr_await_value(unr_openat(&op, AT_FDCWD, "/", O_RDONLY | O_CLOEXEC, 0));
    cr_assert_geq(fd, 0);
    cr_assert_eq(unr_await_value(unr_close(&op, (int)fd)), 0);
    cr_assert_eq(unr_await_value(unr_send(&op, fds[1], "abc", 3, 0)), 3);
    cr_assert_eq(unr_await_value(unr_recv(&op, fds[0], buf, 4, 0)), 3);
    cr_assert_eq(unr_await_value(unr_poll(&op, fds[1], POLLOUT)), POLLOUT);
    cr_assert_eq(unr_await_value(unr_read(&op, -1, buf, 4, 0)), -EBADF);
    unr_cancel_cause(&unr_fiber_self()->op, UNR_CANCEL_TERMINAL, -61);
    cr_assert_eq(unr_await_value(unr_recv(&op, fds[0], buf, 4, 0)), -61);
    return 0;
}

/* One number, as a system call: a descriptor, a count, events, an error, or the cause. */
Test(fiber, await_value_is_one_number)
{
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    int              fds[2];
    unix_pair(fds);
    start(&seen, unr_fiber(&fiber, values, fds));
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_TOO_LATE);
    close_pair(fds);
    close_loop();
}

/* ---- cancelled ---- */

/* A peer that writes, and somebody who asks: a cancel, a signal, a deadline, a group around it; at
 * each receive, before and after its bytes.  Every byte is received, or still in the socket. */
Test(fiber, a_fiber_cancelled_at_each_await_in_each_order)
{
    enum { BY_CANCEL, BY_SIGNAL, BY_DEADLINE, BY_GROUP, WAYS, GOAL = 4 };
    for (int way = 0; way < WAYS; way++)
        for (int at = 0; at < GOAL; at++)
            for (int order = 0; order < 3; order++) {
                struct reader       r = { .goal = GOAL };
                struct unr_signal   stop = { 0 };
                struct unr_deadline deadline = { 0 };
                struct unr_group    group = { 0 };
                struct unr_timer    gate = { 0 };
                struct unr_op      *outermost = described(&r);
                unix_pair(r.fds);
                if (way == BY_SIGNAL)
                    unr_bind_slot(outermost, unr_signal_slot(&stop));
                if (way == BY_DEADLINE)
                    outermost = unr_cancel_at(&deadline, outermost, UNR_NEVER);
                if (way == BY_GROUP)
                    outermost = unr_any(
                        &group, (struct unr_op *[]){ outermost, unr_timer_at(&gate, UNR_NEVER) },
                        2);
                start(&r.seen, outermost);
                submit();
                for (int i = 0; i < at; i++) {
                    give(&r, "x");
                    until_receives(&r, i + 2);
                }
                int given = at;
                if (order > 0) { /* the byte comes first */
                    give(&r, "y");
                    given++;
                }
                if (order > 1)
                    give(&r, "z"), given++;
                switch (way) {
                case BY_CANCEL: unr_cancel(&r.op, UNR_CANCEL_TERMINAL); break;
                case BY_SIGNAL: unr_signal_emit(&stop, UNR_CANCEL_ALL); break;
                case BY_DEADLINE: unr_deadline_move(&deadline, 1); break;
                case BY_GROUP: unr_timer_move(&gate, 1); break;
                default: break;
                }
                if (order == 0)
                    give(&r, "y"), given++;
                run();
                cr_assert_eq(r.seen.runs, 1);
                cr_assert_eq(r.ran, 1);
                cr_assert_eq(r.op.result.bytes + drain(r.fds[0]), (size_t)given,
                             "way %d, receive %d, order %d", way, at, order);
                if (r.op.result.error)
                    cr_assert_eq(r.op.result.error, -ECANCELED);
                else
                    cr_assert_eq(r.op.result.bytes, GOAL);
                if (r.op.result.error && way == BY_DEADLINE)
                    cr_assert_eq(r.op.result.cause, -ETIMEDOUT);
                close_pair(r.fds);
            }
    close_loop();
}

static int goes_on(void *argument)
{
    int             *fds = argument;
    struct unr_op    op = { 0 };
    char             byte;
    struct unr_timer timer = { 0 };
    cr_assert_eq(unr_fiber_cancelled(), 0);
    cr_assert_eq(unr_await_value(unr_recv(&op, fds[0], &byte, 1, 0)), -61);
    cr_assert_eq(unr_fiber_cancelled(), -61);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(unr_await_value(unr_recv(&op, fds[0], &byte, 1, 0)), -61);
        cr_assert_eq(op.result.verdict, UNR_VERDICT_UNSUBMITTED);
    }
    cr_assert_eq(unr_yield(), -61);
    cr_assert_eq(unr_sleep(0), -61);
    cr_assert_eq(unr_sleep_until(1), -61);
    cr_assert_eq(unr_await_value(unr_timer_after(&timer, 0)), -61);
    unr_state_reset(unr_fiber_state(), NULL, NULL, NULL);
    cr_assert_eq(unr_fiber_cancelled(), 0);
    cr_assert_eq(unr_yield(), 0);
    cr_assert_eq(unr_sleep(0), 0);
    cr_assert_eq(unr_await_value(unr_recv(&op, fds[0], &byte, 1, 0)), 1);
    return 0;
}

/* What was let in ends each later wait before it begins, until the state is reset. */
Test(fiber, a_request_stays_until_reset)
{
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    int              fds[2];
    unix_pair(fds);
    start(&seen, unr_fiber(&fiber, goes_on, fds));
    submit();
    cr_assert(unr_cancel_cause(&fiber.op, UNR_CANCEL_TERMINAL, -61));
    cr_assert_eq(write(fds[1], "", 1), 1);
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_NONE, "the request was dealt with");
    cr_assert_eq(seen.result.requested, UNR_CANCEL_TERMINAL);
    close_pair(fds);
    close_loop();
}

static int lets_begin(void *argument)
{
    int          *fds = argument;
    struct unr_op op = { 0 };
    char          byte;
    cr_assert_eq(unr_await_value(unr_recv(&op, fds[0], &byte, 1, 0)), -61);
    unr_state_preempt(unr_fiber_state(), false);
    cr_assert_eq(unr_fiber_cancelled(), 0);
    cr_assert_eq(unr_await_value(unr_send(&op, fds[0], "bye", 3, 0)), 3);
    unr_state_preempt(unr_fiber_state(), true);
    cr_assert_eq(unr_await_value(unr_send(&op, fds[0], "bye", 3, 0)), -61);
    return -61;
}

/* ... or does not, where it was told not to. */
Test(fiber, later_awaits_are_let_begin)
{
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    int              fds[2];
    unix_pair(fds);
    start(&seen, unr_fiber(&fiber, lets_begin, fds));
    submit();
    cr_assert(unr_cancel_cause(&fiber.op, UNR_CANCEL_TERMINAL, -61));
    run();
    expect_cancelled(&seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -61);
    cr_assert_eq(drain(fds[1]), 3);
    close_pair(fds);
    close_loop();
}

static void cancel_context(struct seen *seen)
{
    struct unr_op *op = seen->context;
    cr_assert(unr_cancel_cause(op, UNR_CANCEL_TERMINAL, -61));
}

/* A request that comes when a receive has ended, and before the fiber goes on, ends the next one;
 * the byte stays received. */
Test(fiber, no_request_is_lost_between_two_awaits)
{
    for (int i = 0; i < 20; i++) {
        struct reader r = { .goal = 2 }, asker = { .goal = 1 };
        unix_pair(r.fds);
        unix_pair(asker.fds);
        asker.seen.then = cancel_context;
        asker.seen.context = &r.op;
        start(&asker.seen,
              unr_recv(&asker.child, asker.fds[0], asker.buf, 1, 0)); /* is done in the same turn */
        start_reader(&r, NULL, NULL);
        give(&asker, "a");
        give(&r, "x");
        run();
        expect_cancelled(&r.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -61);
        cr_assert_eq(r.receives, r.op.result.bytes ? 2 : 1);
        cr_assert_eq(r.op.result.bytes + drain(r.fds[0]), 1);
        if (r.receives == 2)
            cr_assert_eq(r.child.result.verdict, UNR_VERDICT_UNSUBMITTED);
        close_pair(r.fds);
        close_pair(asker.fds);
    }
    close_loop();
}

static int asks_itself(void *argument)
{
    struct reader *r = argument;
    struct unr_op  op = { 0 };
    cr_assert_eq(unr_await(unr_nop(&op)).error, 0);
    unr_cancel_cause(&unr_fiber_self()->op, UNR_CANCEL_TERMINAL, -62);
    cr_assert_eq(unr_fiber_cancelled(), -62);
    r->ran++;
    return unr_await(unr_nop(&op)).error;
}

/* So does one that the fiber makes to itself. */
Test(fiber, a_fiber_cancels_itself)
{
    struct reader r = { 0 };
    start(&r.seen, unr_fiber(&r.fiber, asks_itself, &r));
    run();
    cr_assert_eq(r.ran, 1);
    expect_cancelled(&r.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -62);
    close_loop();
}

static int closes_late(void *argument)
{
    int              *fds = argument;
    struct unr_op     op = { 0 };
    char              byte;
    struct unr_result r = unr_await(unr_recv(&op, fds[0], &byte, 1, 0));
    cr_assert_eq(r.error, -ECANCELED);
    cr_assert_eq(unr_await(unr_close(&op, fds[0])).error, 0);
    return r.error;
}

/* An operation that supports NONE runs in a fiber that was cancelled, also while its loop is
 * closed. */
Test(fiber, an_await_that_supports_none_still_runs)
{
    for (int closing = 0; closing < 2; closing++) {
        struct unr_fiber fiber = { 0 };
        struct seen      seen = { 0 };
        int              fds[2];
        unix_pair(fds);
        start(&seen, unr_fiber(&fiber, closes_late, fds));
        submit();
        if (closing)
            cr_assert_eq(unr_loop_close(loop), 0);
        else
            unr_cancel(&fiber.op, UNR_CANCEL_TERMINAL), run();
        expect_cancelled(&seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED,
                         closing ? -ESHUTDOWN : -ECANCELED);
        cr_assert_eq(fcntl(fds[0], F_GETFD), -1);
        close(fds[1]);
    }
    cr_assert_eq(count_descriptors(), open_descriptors);
}

struct taker {
    struct unr_fiber fiber;
    struct seen      seen;
    int              listener, taken;
};

static int takes_one(void *argument)
{
    struct taker     *t = argument;
    struct unr_op     op = { 0 };
    struct unr_result r = unr_await(unr_accept(&op, t->listener, NULL, NULL, SOCK_CLOEXEC));
    if (r.error)
        return r.error;
    cr_assert_geq(r.fd, 0);
    t->taken++;
    cr_assert_eq(unr_await(unr_close(&op, r.fd)).error, 0);
    return 0;
}

/* Where a request comes too late for an accept, the await succeeds and its descriptor is the
 * fiber's: a connection is taken, or still there to be taken, and no descriptor leaks. */
Test(fiber, success_that_raced_a_request_is_a_success_and_owns_its_descriptor)
{
    int successes = 0;
    for (int i = 0; i < 40; i++) {
        struct sockaddr_in address;
        struct taker       t = { .listener = tcp_listener(&address, 4) };
        struct reader      asker = { 0 };
        int                client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        unix_pair(asker.fds);
        asker.seen.then = cancel_context;
        asker.seen.context = &t.fiber.op;
        start(&asker.seen, unr_recv(&asker.child, asker.fds[0], asker.buf, 1, 0));
        start(&t.seen, unr_fiber(&t.fiber, takes_one, &t));
        submit();
        give(&asker, "a");
        cr_assert_eq(connect(client, (struct sockaddr *)&address, sizeof address), 0);
        run();
        fcntl(t.listener, F_SETFL, O_NONBLOCK);
        int left = accept4(t.listener, NULL, NULL, SOCK_CLOEXEC);
        if (t.seen.result.error) {
            expect_cancelled(&t.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -61);
            cr_assert_geq(left, 0);
            close(left);
        } else {
            cr_assert_eq(left, -1);
            cr_assert_eq(t.seen.result.verdict, UNR_VERDICT_TOO_LATE);
        }
        cr_assert_eq(t.taken, t.seen.result.error ? 0 : 1);
        successes += t.taken;
        close(client);
        close(t.listener);
        close_pair(asker.fds);
    }
    cr_log_info("%d of 40 were successes\n", successes);
    close_loop();
}

struct returner {
    struct unr_fiber fiber;
    struct seen      seen;
    int              how, fd;
};
enum { CODE = 4711 };

static int returns(void *argument)
{
    struct returner  *t = argument;
    struct unr_op     op = { 0 };
    char              byte;
    struct unr_result r = unr_await(unr_recv(&op, t->fd, &byte, 1, 0));
    switch (t->how) {
    case 0: return r.error;
    case 1: return unr_outcome(&r);
    case 2: return -61;
    case 3: return -EIO;
    case 4: return 0;
    default: return CODE;
    }
}

/* -ECANCELED and the cause both say that the cancellation took effect; all else is what the
 * function made of it. */
Test(fiber, returning_the_cause_is_being_cancelled)
{
    for (int how = 0; how < 6; how++) {
        struct returner t = { .how = how };
        int             fds[2];
        unix_pair(fds);
        t.fd = fds[0];
        start(&t.seen, unr_fiber(&t.fiber, returns, &t));
        submit();
        unr_cancel_cause(&t.fiber.op, UNR_CANCEL_TERMINAL, -61);
        run();
        if (how < 3) {
            expect_cancelled(&t.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -61);
            cr_assert_eq(unr_outcome(&t.seen.result), -61);
        } else {
            cr_assert_eq(t.seen.result.error, how == 3 ? -EIO : 0);
            cr_assert_eq(t.seen.result.verdict, UNR_VERDICT_TOO_LATE);
            cr_assert_eq(t.seen.result.guarantee, UNR_CANCEL_NONE);
            cr_assert_eq(t.seen.result.value, how == 5 ? CODE : 0);
        }
        close_pair(fds);
    }
    close_loop();
}

/* An error that nobody has asked for is an error, though it is the number of a cause. */
static int fails(void *argument)
{
    return *(int *)argument;
}

Test(fiber, an_error_without_a_request_is_an_error)
{
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    int              error = -ETIMEDOUT;
    start(&seen, unr_fiber(&fiber, fails, &error));
    run();
    cr_assert_eq(seen.result.error, -ETIMEDOUT);
    cr_assert_not(unr_timed_out(&seen.result));
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_NONE);
    close_loop();
}

/* ---- nobody is starved ---- */

struct ignorant {
    struct unr_fiber fiber;
    struct seen      seen, nops;
    int              awaits, limit;
};

static int ignores(void *argument)
{
    struct ignorant *t = argument;
    struct unr_op    op = { 0 };
    while (t->awaits < t->limit) {
        t->awaits++;
        (void)unr_await(unr_nop(&op));
    }
    return 0;
}

static void once_more(struct seen *seen)
{
    struct ignorant *t = seen->context;
    if (unr_in_flight(&t->fiber.op))
        start(seen, unr_nop(&seen->op));
}

/* A fiber that goes on after it was cancelled has each await go through a turn: a chain of
 * operations beside it comes as far. */
Test(fiber, a_fiber_that_ignores_its_cancellation_starves_nobody)
{
    struct ignorant t = { .limit = 1000 };
    t.nops.then = once_more;
    t.nops.context = &t;
    start(&t.seen, unr_fiber(&t.fiber, ignores, &t));
    submit();
    unr_cancel(&t.fiber.op, UNR_CANCEL_TERMINAL);
    start(&t.nops, unr_nop(&t.nops.op));
    run();
    cr_assert_eq(t.awaits, 1000);
    cr_assert_geq(t.nops.runs, 900, "%d", t.nops.runs);
    close_loop();
}

static int yields(void *argument)
{
    int *count = argument;
    for (int i = 0; i < 10; i++) {
        ++*count;
        cr_assert_eq(unr_yield(), 0);
    }
    return 0;
}

/* Fibers that yield take turns. */
Test(fiber, yield_lets_all_others_run_once)
{
    struct unr_fiber fibers[3] = { 0 };
    struct seen      seen[3] = { 0 };
    int              counts[3] = { 0 };
    for (int i = 0; i < 3; i++)
        start(&seen[i], unr_fiber(&fibers[i], yields, &counts[i]));
    for (int turns = 1; turns <= 10; turns++) {
        submit();
        for (int i = 0; i < 3; i++)
            cr_assert_eq(counts[i], turns);
    }
    run();
    close_loop();
}

static int sleeps(void *argument)
{
    unr_time *slept = argument;
    unr_time  begin = unr_loop_now(unr_fiber_loop());
    cr_assert_eq(unr_sleep(UNR_MSEC(20)), 0);
    *slept = unr_loop_now(unr_fiber_loop()) - begin;
    cr_assert_eq(unr_sleep_until(unr_loop_now(unr_fiber_loop()) + UNR_MSEC(1)), 0);
    return 0;
}

Test(fiber, sleeps_as_long_as_it_says)
{
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    unr_time         slept = 0;
    start(&seen, unr_fiber(&fiber, sleeps, &slept));
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_geq(slept, UNR_MSEC(19));
    close_loop();
}

/* ---- Asio's filters ---- */

/* Here and below, what a test that only plays something states is in filters.h. */
Test(fiber, filters_as_in_asio)
{
    play_each_filter_against_each_type();
}

/* Without filters it lets TERMINAL in, as Asio's coroutines do. */
Test(fiber, filters_as_in_asio_are_terminal_at_first)
{
    for (size_t j = 0; j < LENGTH(emitted); j++) {
        struct reader r = { .goal = 1 };
        unix_pair(r.fds);
        start_reader(&r, NULL, NULL);
        cr_assert_eq(unr_supports(&r.op), UNR_CANCEL_TERMINAL);
        unr_cancel(&r.op, emitted[j]);
        bool lets_in = emitted[j] & UNR_CANCEL_TERMINAL;
        cr_assert_eq(unr_state_cancelled(r.state), lets_in ? UNR_CANCEL_TERMINAL : 0);
        give(&r, lets_in ? "" : "x");
        run();
        cr_assert_eq(r.seen.result.error, lets_in ? -ECANCELED : 0);
        close_pair(r.fds);
    }
    close_loop();
}

Test(fiber, filter_makes_total_partial_on_the_way_in_or_out)
{
    play_total_to_partial();
}

Test(fiber, child_that_supports_none_of_what_is_passed_on_runs)
{
    play_child_that_supports_none();
}

Test(fiber, in_total_out_none_records_and_interrupts_nothing)
{
    play_in_total_out_none();
}

Test(fiber, filters_are_asked_bit_by_bit)
{
    play_filters_bit_by_bit();
}

static unsigned while_open(void *open, unsigned type)
{
    return *(bool *)open ? type : 0;
}

/* A filter may change its mind between the requests: what it refuses is forgotten, and honoured
 * when it is asked again. */
Test(fiber, filter_that_changes_its_mind_refuses_and_then_lets_in)
{
    bool          open = true;
    struct reader r = { .goal = 1, .context = &open };
    unix_pair(r.fds);
    start_reader(&r, while_open, NULL);
    open = false;
    unr_cancel_cause(&r.op, UNR_CANCEL_TOTAL, -64);
    cr_assert_eq(unr_state_cancelled(r.state), 0);
    open = true;
    unr_cancel_cause(&r.op, UNR_CANCEL_TOTAL, -65);
    cr_assert_eq(unr_state_cancelled(r.state), UNR_CANCEL_TOTAL);
    run();
    expect_cancelled(&r.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -65);
    close_pair(r.fds);
    close_loop();
}

/* What is let in is or-ed, with the cause of the first; what is refused erases nothing. */
Test(fiber, keeps_all_types_and_the_first_cause)
{
    struct reader r = { .goal = 1 };
    unix_pair(r.fds);
    start_reader(&r, unr_let_partial, unr_let_none);
    unr_cancel_cause(&r.op, UNR_CANCEL_TERMINAL, -66);
    unr_cancel_cause(&r.op, UNR_CANCEL_PARTIAL, -67);
    unr_cancel_cause(&r.op, UNR_CANCEL_TOTAL, -68);
    cr_assert_eq(unr_state_cancelled(r.state), UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL);
    cr_assert_eq(unr_state_cause(r.state), -66);
    give(&r, "x");
    run();
    cr_assert_eq(r.seen.result.cause, -66);
    cr_assert_eq(r.seen.result.verdict, UNR_VERDICT_TOO_LATE);
    close_pair(r.fds);
    close_loop();
}

/* TOTAL is refused, by the filter or by the child in flight; then TERMINAL or PARTIAL honoured. */
Test(fiber, escalation_is_honoured_after_a_refusal)
{
    struct reader r = { .goal = 1 };
    unix_pair(r.fds);
    start_reader(&r, unr_let_terminal, unr_let_terminal);
    unr_cancel_cause(&r.op, UNR_CANCEL_TOTAL, -70);
    submit();
    cr_assert_eq(r.seen.runs, 0);
    unr_cancel_cause(&r.op, UNR_CANCEL_TERMINAL, -71);
    run();
    expect_cancelled(&r.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -71);
    cr_assert_eq(r.seen.result.requested, UNR_CANCEL_TOTAL | UNR_CANCEL_TERMINAL);

    r.goal = 8;
    r.flags = MSG_WAITALL;
    start_reader(&r, unr_let_total, NULL);
    unr_cancel(&r.op, UNR_CANCEL_TOTAL);
    submit();
    cr_assert_eq(r.seen.runs, 0);
    unr_cancel(&r.op, UNR_CANCEL_PARTIAL);
    run();
    expect_cancelled(&r.seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(r.child.result.requested, UNR_CANCEL_TOTAL | UNR_CANCEL_PARTIAL);
    close_pair(r.fds);
    close_loop();
}

static bool heartbeat(struct reader *r)
{
    cr_assert_eq(unr_state_cancelled(r->state), UNR_CANCEL_TOTAL);
    cr_assert_eq(unr_state_cause(r->state), -100 - r->receives);
    unr_state_reset(r->state, unr_let_total, NULL, NULL);
    cr_assert_eq(unr_state_cancelled(r->state), 0);
    cr_assert_eq(unr_state_cause(r->state), 0);
    return true;
}

/* A reset forgets, and the same type asked again is honoured again: a heartbeat that interrupts a
 * receive over and over (the talk's step 3); alone, inside a deadline, and inside a filter. */
Test(fiber, reset_forgets_and_the_same_type_is_honoured_again)
{
    for (int inside = 0; inside < 3; inside++) {
        struct unr_signal   beat = { 0 };
        struct unr_deadline deadline = { 0 };
        struct unr_filter   filter = { 0 };
        struct reader       r = { .goal = 1, .in = unr_let_total, .survives = heartbeat };
        struct unr_op      *outermost = described(&r);
        unix_pair(r.fds);
        if (inside == 1)
            outermost = unr_cancel_at(&deadline, outermost, UNR_NEVER);
        if (inside == 2)
            outermost = unr_filter(&filter, outermost, unr_let_total, NULL);
        start(&r.seen, unr_bind_slot(outermost, unr_signal_slot(&beat)));
        for (int i = 1; i <= 10; i++) {
            until_receives(&r, i);
            submit();
            cr_assert(unr_signal_emit_cause(&beat, UNR_CANCEL_TOTAL, -100 - i));
            cr_assert_eq(unr_state_cancelled(r.state), UNR_CANCEL_TOTAL, "heartbeat %d", i);
        }
        until_receives(&r, 11);
        give(&r, "x");
        run();
        cr_assert_eq(r.seen.result.error, 0);
        cr_assert_eq(r.op.result.bytes, 1);
        close_pair(r.fds);
    }
    close_loop();
}

/* Without a reset nothing is forgotten: a fiber that survives the end of its receive has the next
 * one end before it begins. */
static bool three_times(struct reader *r)
{
    return r->receives < 4;
}

Test(fiber, without_a_reset_each_later_await_is_preempted)
{
    struct reader r = { .goal = 1, .survives = three_times };
    unix_pair(r.fds);
    start_reader(&r, NULL, NULL);
    unr_cancel(&r.op, UNR_CANCEL_TERMINAL);
    run();
    cr_assert_eq(r.receives, 4);
    expect_cancelled(&r.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(r.child.result.verdict, UNR_VERDICT_UNSUBMITTED);
    close_pair(r.fds);
    close_loop();
}

static int resets_each_time(void *argument)
{
    static const int  order[] = { 0, 3, 1, 2 };
    struct reader    *r = argument;
    struct unr_result result = { 0 };
    r->state = unr_fiber_state();
    while (!result.error) {
        int i = order[r->receives++ % 4];
        unr_state_reset(r->state, lets[i], NULL, NULL);
        cr_assert_eq(unr_supports(&r->op), masks[i]);
        result = unr_await(unr_recv(&r->child, r->fds[0], r->buf, 1, 0));
    }
    return result.error;
}

/* The filters may be other ones at each await, and what the fiber supports follows; also for a
 * deadline around it: the talk's step 8. */
Test(fiber, supports_follows_the_filters)
{
    struct unr_deadline deadline = { 0 };
    struct reader       r = { 0 };
    unix_pair(r.fds);
    start(&r.seen, unr_cancel_at(&deadline, unr_fiber(&r.fiber, resets_each_time, &r), UNR_NEVER));
    submit();
    cr_assert_eq(unr_supports(&deadline.op), 0);
    unr_cancel(&deadline.op, UNR_CANCEL_ALL);
    give(&r, "1");
    until_receives(&r, 2);
    cr_assert_eq(unr_supports(&deadline.op), UNR_CANCEL_ALL);
    give(&r, "2");
    until_receives(&r, 3);
    cr_assert_eq(unr_supports(&deadline.op), UNR_CANCEL_TERMINAL);
    unr_cancel(&deadline.op, UNR_CANCEL_PARTIAL);
    cr_assert_eq(unr_state_cancelled(r.state), 0);
    give(&r, "3");
    until_receives(&r, 4);
    unr_cancel_cause(&deadline.op, UNR_CANCEL_PARTIAL, -72);
    run();
    expect_cancelled(&r.seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -72);
    close_pair(r.fds);
    close_loop();
}

struct busy {
    struct unr_signal *own, *others;
    struct seen        nop;
    bool               on;
};

static unsigned emit_and_start(void *context, unsigned type)
{
    struct busy *busy = context;
    cr_assert_null(unr_fiber_self());
    if (busy->on) {
        busy->on = false;
        unr_signal_emit_cause(busy->others, UNR_CANCEL_TOTAL, -73);
        unr_signal_emit_cause(busy->own, UNR_CANCEL_TOTAL, -74);
        start(&busy->nop, unr_nop(&busy->nop.op));
    }
    return type;
}

/* A filter may emit, also to the fiber that it is asked about, and start operations: the in filter
 * and the out filter. */
Test(fiber, filter_may_emit_and_start)
{
    for (int out = 0; out < 2; out++) {
        struct unr_signal stop = { 0 }, other_stop = { 0 };
        struct reader     other = { .goal = 1, .in = unr_let_total };
        struct busy       busy = { .own = &stop, .others = &other_stop };
        struct reader     r = { .goal = 1,
                                .in = out ? unr_let_total : emit_and_start,
                                .out = out ? emit_and_start : NULL,
                                .context = &busy };
        unix_pair(r.fds);
        unix_pair(other.fds);
        start(&other.seen, unr_bind_slot(described(&other), unr_signal_slot(&other_stop)));
        start(&r.seen, unr_bind_slot(described(&r), unr_signal_slot(&stop)));
        submit();
        busy.on = true;
        cr_assert(unr_signal_emit_cause(&stop, UNR_CANCEL_TERMINAL, -75));
        cr_assert_eq(r.seen.runs + other.seen.runs + busy.nop.runs, 0);
        cr_assert_eq(unr_state_cancelled(r.state), UNR_CANCEL_TERMINAL | UNR_CANCEL_TOTAL);
        run();
        /* What is asked from inside the in filter is let in before what it is asked about. */
        expect_cancelled(&r.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, out ? -75 : -74);
        expect_cancelled(&other.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -73);
        cr_assert_eq(busy.nop.runs, 1);
        close_pair(r.fds);
        close_pair(other.fds);
    }
    close_loop();
}

/* Lets nothing but TOTAL out; when it is asked about TERMINAL for the second time, for a child that
 * is about to begin, it asks for TOTAL itself. */
static unsigned request_before_the_second(void *context, unsigned type)
{
    struct reader *r = context;
    if (type == UNR_CANCEL_TERMINAL && r->receives == 2)
        unr_cancel_cause(&r->op, UNR_CANCEL_TOTAL, -76);
    return type == UNR_CANCEL_TOTAL ? type : 0;
}

/* A request from inside the out filter that is asked before a child begins counts for that child:
 * it never begins. */
Test(fiber, filter_may_request_while_it_is_asked_for_the_next_child)
{
    struct reader r = { .goal = 2, .context = &r };
    unix_pair(r.fds);
    start_reader(&r, unr_let_total, request_before_the_second);
    unr_cancel_cause(&r.op, UNR_CANCEL_TERMINAL, -77); /* let in, and not passed on */
    submit();
    cr_assert_eq(r.seen.runs, 0);
    give(&r, "xy");
    run();
    expect_cancelled(&r.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -77);
    cr_assert_eq(r.seen.result.requested, UNR_CANCEL_TERMINAL | UNR_CANCEL_TOTAL);
    cr_assert_eq(r.child.result.verdict, UNR_VERDICT_UNSUBMITTED);
    cr_assert_eq(r.op.result.bytes, 1);
    cr_assert_eq(drain(r.fds[0]), 1);
    close_pair(r.fds);
    close_loop();
}

/* ---- as any other operation ---- */

static int races(void *argument)
{
    struct reader    *rs = argument;
    struct unr_group  group = { 0 };
    struct unr_timer  timer = { 0 };
    struct unr_result r =
        unr_await(unr_any(&group,
                          (struct unr_op *[]){ described(&rs[0]), described(&rs[1]),
                                               unr_timer_at(&timer, UNR_NEVER) },
                          3));
    cr_assert_eq(r.error, 0);
    cr_assert_eq(unr_group_first(&group), &rs[1].op);
    return 0;
}

/* Fibers race in a group, which a fiber awaits: the first success ends the others, and each result
 * is in its member. */
Test(fiber, fibers_in_a_group)
{
    struct reader    rs[2] = { { .goal = 2 }, { .goal = 1 } };
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    unix_pair(rs[0].fds);
    unix_pair(rs[1].fds);
    start(&seen, unr_fiber(&fiber, races, rs));
    while (rs[1].receives < 1)
        submit();
    give(&rs[0], "a");
    until_receives(&rs[0], 2);
    give(&rs[1], "b");
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(rs[0].op.result.error, -ECANCELED);
    cr_assert_eq(rs[0].op.result.bytes, 1, "its bytes are not lost");
    cr_assert_eq(rs[1].op.result.error, 0);
    close_pair(rs[0].fds);
    close_pair(rs[1].fds);
    close_loop();
}

static int has_deadline(void *argument)
{
    struct reader      *r = argument;
    struct unr_deadline deadline = { 0 };
    r->context = &deadline;
    struct unr_result result = unr_await(unr_cancel_after(&deadline, described(r), UNR_SEC(1000)));
    cr_assert_eq(unr_fiber_cancelled(), 0, "its own is another deadline");
    cr_assert_eq(unr_timed_out(&result), true);
    return unr_outcome(&result);
}

/* A fiber awaits another under a deadline: the time-out is an error of its own. */
Test(fiber, a_fiber_with_a_deadline)
{
    struct reader    r = { .goal = 2 };
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    unix_pair(r.fds);
    give(&r, "x");
    start(&seen, unr_fiber(&fiber, has_deadline, &r));
    until_receives(&r, 2);
    cr_assert(unr_deadline_move(r.context, 1));
    run();
    cr_assert_eq(seen.result.error, -ETIMEDOUT);
    cr_assert_not(unr_timed_out(&seen.result));
    cr_assert_eq(r.op.result.bytes, 1);
    close_pair(r.fds);
    close_loop();
}

/* Behind a shield a fiber is not asked; behind a filter it is asked for what that lets out. */
Test(fiber, a_fiber_behind_a_filter)
{
    struct unr_filter filter = { 0 };
    struct reader     r = { .goal = 1 };
    unix_pair(r.fds);
    start(&r.seen, unr_shield(&filter, described(&r)));
    submit();
    unr_cancel(&filter.op, UNR_CANCEL_ALL);
    cr_assert_eq(unr_state_cancelled(r.state), 0);
    give(&r, "x");
    run();
    cr_assert_eq(r.seen.result.error, 0);
    cr_assert_eq(r.seen.result.verdict, UNR_VERDICT_REFUSED);

    r.seen.runs = 0;
    start(&r.seen, unr_filter(&filter, described(&r), unr_let_terminal, NULL));
    submit();
    unr_cancel(&filter.op, UNR_CANCEL_ALL);
    cr_assert_eq(unr_state_cancelled(r.state), UNR_CANCEL_TERMINAL);
    run();
    expect_cancelled(&r.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    close_pair(r.fds);
    close_loop();
}

/* A delayed fiber begins later, or never. */
Test(fiber, a_fiber_that_is_delayed)
{
    struct unr_delay delay = { 0 };
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    int              ran = 0;
    start(&seen, unr_delay(&delay, unr_fiber(&fiber, count_up, &ran), UNR_SEC(1000)));
    submit();
    cr_assert_eq(ran, 0);
    cr_assert(unr_delay_move(&delay, 1));
    run();
    cr_assert_eq(ran, 1);
    start(&seen, unr_delay(&delay, unr_fiber(&fiber, count_up, &ran), UNR_SEC(1000)));
    submit();
    unr_cancel(&delay.op, UNR_CANCEL_TERMINAL);
    run();
    cr_assert_eq(ran, 1);
    cr_assert_eq(seen.result.error, -ECANCELED);
    cr_assert_eq(fiber.op.result.error, -ECANCELED);
    close_loop();
}

static int joins(void *argument)
{
    struct unr_join join = { 0 };
    return (int)unr_await_value(unr_join(&join, argument));
}

/* A fiber is joined, and joins: a joiner that is cancelled leaves what it joined alone. */
Test(fiber, a_fiber_that_is_joined)
{
    struct reader    r = { .goal = 2 };
    struct unr_fiber joiners[2] = { 0 };
    struct seen      seen[2] = { 0 };
    unix_pair(r.fds);
    start_reader(&r, NULL, NULL);
    for (int i = 0; i < 2; i++)
        start(&seen[i], unr_fiber(&joiners[i], joins, &r.op));
    submit();
    unr_cancel(&joiners[0].op, UNR_CANCEL_TERMINAL);
    finish(&seen[0]);
    expect_cancelled(&seen[0], UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(r.seen.runs, 0);
    give(&r, "xy");
    run();
    cr_assert_eq(r.seen.result.error, 0);
    cr_assert_eq(seen[1].result.value, 2);
    close_pair(r.fds);
    close_loop();
}

/* Fibers are members of a scope, which awaits them when it is closed and asks them. */
Test(fiber, fibers_in_a_scope)
{
    struct unr_scope scope = { 0 };
    struct reader    rs[3] = { { .goal = 1 }, { .goal = 1 }, { .goal = 1 } };
    struct seen      seen = { 0 };
    start(&seen, unr_scope(&scope));
    for (int i = 0; i < 3; i++) {
        unix_pair(rs[i].fds);
        unr_scope_start(&scope, described(&rs[i]), saw, &rs[i].seen);
    }
    submit();
    give(&rs[0], "x");
    finish(&rs[0].seen);
    unr_cancel_cause(&scope.op, UNR_CANCEL_TERMINAL, -61);
    unr_scope_close(&scope);
    run();
    cr_assert_eq(rs[0].seen.result.error, 0);
    for (int i = 1; i < 3; i++)
        expect_cancelled(&rs[i].seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -61);
    cr_assert_eq(seen.runs, 1);
    for (int i = 0; i < 3; i++)
        close_pair(rs[i].fds);
    close_loop();
}

static int bound(void *argument)
{
    struct reader    *r = argument;
    struct unr_signal stop = { 0 };
    struct unr_timer  timer = { 0 };
    unr_bind_slot(described(r), unr_signal_slot(&stop));
    start(&r->seen, &r->op);
    cr_assert_eq(unr_yield(), 0);
    cr_assert_eq(unr_await(unr_timer_after(&timer, UNR_MSEC(1))).error, 0);
    cr_assert(unr_signal_emit(&stop, UNR_CANCEL_TERMINAL));
    while (unr_in_flight(&r->op))
        cr_assert_eq(unr_yield(), 0);
    return r->seen.result.error;
}

/* A fiber that starts another and binds it to a slot of its own: what it started beside is not
 * asked what it is asked. */
Test(fiber, a_fiber_in_a_slot_of_anothers_stack)
{
    struct reader    r = { .goal = 1 };
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    unix_pair(r.fds);
    start(&seen, unr_fiber(&fiber, bound, &r));
    run();
    expect_cancelled(&r.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(seen.result.error, -ECANCELED);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_NONE, "nobody has asked the outer one");
    close_pair(r.fds);
    close_loop();
}

/* ---- who runs ---- */

static void no_fiber(struct seen *seen)
{
    (void)seen;
    cr_assert_null(unr_fiber_self());
    cr_assert_null(unr_fiber_loop());
}

static int looks_around(void *argument)
{
    struct seen *nop = argument;
    cr_assert_eq(unr_fiber_self(), (struct unr_fiber *)nop->context);
    cr_assert_eq(unr_fiber_loop(), loop);
    nop->then = no_fiber;
    start(nop, unr_nop(&nop->op));
    while (!nop->runs)
        cr_assert_eq(unr_yield(), 0);
    cr_assert_eq(unr_fiber_self(), (struct unr_fiber *)nop->context);
    return 0;
}

/* The fiber that runs is known inside it, and none is known outside. */
Test(fiber, knows_itself)
{
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { .then = no_fiber }, nop = { .context = &fiber };
    cr_assert_null(unr_fiber_self());
    start(&seen, unr_fiber(&fiber, looks_around, &nop));
    run();
    cr_assert_null(unr_fiber_self());
    cr_assert_eq(seen.runs, 1);
    close_loop();
}

Test(fiber, has_a_name)
{
    struct unr_fiber         fiber = { 0 };
    struct unr_fiber_options options = { .size = sizeof options, .name = "ferry" };
    unr_fiber(&fiber, count_up, NULL);
    cr_assert_str_eq(unr_fiber_name(&fiber), "fiber");
    unr_fiber_with(&fiber, count_up, NULL, &options);
    cr_assert_str_eq(unr_fiber_name(&fiber), "ferry");
    options.name = NULL;
    unr_fiber_with(&fiber, count_up, NULL, &options);
    cr_assert_str_eq(unr_fiber_name(&fiber), "fiber");
    unr_fiber(&fiber, count_up, NULL);
    cr_assert_str_eq(unr_fiber_name(&fiber), "fiber");
    close_loop();
}

Test(fiber, stats)
{
    struct unr_fiber fibers[2] = { 0 };
    struct seen      seen[2] = { 0 };
    int              count = 3;
    for (int i = 0; i < 2; i++)
        start(&seen[i], unr_fiber(&fibers[i], await_nops, &count));
    submit();
    struct unr_stats s = stats();
    cr_assert_eq(s.fibers_begun, 2);
    cr_assert_eq(s.fibers_ended, 0);
    cr_assert_eq(s.stacks_made, 2);
    cr_assert_eq(s.stacks_kept, 0);
    run();
    s = stats();
    cr_assert_eq(s.fibers_ended, 2);
    cr_assert_eq(s.fiber_switches, 2u * ((unsigned)count + 1));
    cr_assert_eq(s.stacks_kept, 2);
    cr_assert_eq(s.stacks_given_back, 0);
    cr_assert_eq(s.started, s.finished);
    close_loop();
}

/* ---- unr_run_fiber ---- */

static int returns_it(void *argument)
{
    int error = unr_yield();
    return error ? error : *(int *)argument;
}

static int runs_another(void *argument)
{
    struct unr_fiber *self = unr_fiber_self();
    int               returned = unr_run_fiber(NULL, returns_it, argument);
    cr_assert_eq(unr_fiber_self(), self);
    cr_assert_eq(unr_yield(), 0);
    return returned;
}

/* A main() of three lines, also in a fiber; what it returns is what the function returned. */
Test(fiber, run_fiber)
{
    int                     code = 42;
    struct unr_loop_options options = { .size = sizeof options, .flags = test_flags() };
    skip_if_refused();
    cr_assert_eq(unr_run_fiber(NULL, returns_it, &code), 42);
    cr_assert_eq(unr_run_fiber(&options, returns_it, &code), 42);
    cr_assert_eq(unr_run_fiber(&options, runs_another, &code), 42);
    code = -EPIPE;
    cr_assert_eq(unr_run_fiber(NULL, returns_it, &code), -EPIPE);
    options.flags = 1u << 31;
    cr_assert_eq(unr_run_fiber(&options, returns_it, &code), -EINVAL);
    close_loop();
}

struct inner_loop {
    struct unr_fiber fiber;
    struct seen      seen;
    struct unr_loop *inner;
    struct unr_fiber inner_fibers[3];
    struct reader    outer_reader;
};

static int runs_a_loop(void *argument)
{
    struct inner_loop *t = argument;
    int                counts[3] = { 0 }, turns = 0;
    for (int i = 0; i < 3; i++)
        unr_start(t->inner, unr_fiber(&t->inner_fibers[i], yields, &counts[i]), NULL, NULL);
    while (unr_loop_in_flight(t->inner)) {
        cr_assert_geq(unr_loop_run_once(t->inner, UNR_SEC(10)), 0);
        cr_assert_eq(unr_fiber_loop(), loop);
        if (turns++ % 2)
            cr_assert_eq(unr_yield(), 0);
    }
    for (int i = 0; i < 3; i++)
        cr_assert_eq(counts[i], 10);
    return unr_yield();
}

/* A fiber turns another loop, which has fibers of its own that begin on one side and go on on the
 * other: outside of fibers, and inside one. */
Test(fiber, a_loop_inside_a_fiber_of_another_loop)
{
    struct inner_loop t = { 0 };
    struct unr_fiber  first = { 0 };
    int               count = 0;
    t.inner = open_loop_with(0, 0);
    unr_start(t.inner, unr_fiber(&first, yields, &count), NULL, NULL);
    for (int i = 0; i < 3; i++)
        cr_assert_geq(unr_loop_run_once(t.inner, 0), 0);
    start(&t.seen, unr_fiber(&t.fiber, runs_a_loop, &t));
    run();
    cr_assert_eq(t.seen.result.error, 0);
    cr_assert_eq(count, 10);
    cr_assert_eq(unr_loop_close(t.inner), 0);
    close_loop();
}

/* ---- the machine ---- */

/* The mode that divisions have; what fegetround(3) reads may be that of another unit. */
static int rounding(void)
{
    volatile double one = 1, three = 3, ten = 10;
    if (one / three > 0x1.5555555555555p-2)
        return FE_UPWARD;
    if (-one / three < -0x1.5555555555555p-2)
        return FE_DOWNWARD;
    return one / ten < 0x1.999999999999ap-4 ? FE_TOWARDZERO : FE_TONEAREST;
}

static int rounds_up(void *argument)
{
    int *modes = argument;
    modes[0] = fegetround();
    modes[1] = rounding();
    fesetround(FE_UPWARD);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(unr_yield(), 0);
        cr_assert_eq(fegetround(), FE_UPWARD);
        cr_assert_eq(rounding(), FE_UPWARD);
    }
    fesetround(modes[2]);
    cr_assert_eq(unr_yield(), 0);
    cr_assert_eq(fegetround(), modes[2]);
    cr_assert_eq(rounding(), modes[2]);
    return 0;
}

/* A rounding mode stays with its fiber, and a new one has the loop's. */
Test(fiber, rounding_modes_stay_with_their_fiber)
{
    struct unr_fiber fibers[2] = { 0 };
    struct seen      seen[2] = { 0 };
    if (RUNNING_ON_VALGRIND)
        cr_skip_test("valgrind's processor has one rounding mode");
    int modes[2][3] = { { 0, 0, FE_TOWARDZERO }, { 0, 0, FE_DOWNWARD } };
    fesetround(FE_TOWARDZERO);
    for (int i = 0; i < 2; i++)
        start(&seen[i], unr_fiber(&fibers[i], rounds_up, modes[i]));
    submit();
    cr_assert_eq(fegetround(), FE_TOWARDZERO);
    run();
    cr_assert_eq(fegetround(), FE_TOWARDZERO);
    fesetround(FE_TONEAREST);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(modes[i][0], FE_TOWARDZERO);
        cr_assert_eq(modes[i][1], FE_TOWARDZERO);
    }
    int late[3] = { 0, 0, FE_UPWARD };
    start(&seen[0], unr_fiber(&fibers[0], rounds_up, late)); /* on a stack that was used */
    run();
    cr_assert_eq(late[0], FE_TONEAREST);
    cr_assert_eq(late[1], FE_TONEAREST);
    cr_assert_eq(rounding(), FE_TONEAREST);
    close_loop();
}

static _Thread_local int of_thread;

/* Not what a compiler knows from before a switch. */
static __attribute__((noinline)) void *address_of_it(void)
{
    __asm__ volatile("");
    return &of_thread;
}

static int looks_at_addresses(void *argument)
{
    int *errno_before = &errno, *before = &of_thread;
    (void)argument;
    for (int i = 0; i < 2000; i++) {
        of_thread++;
        errno = i;
        cr_assert_eq(unr_yield(), 0);
        cr_assert_eq(&errno, errno_before);
        cr_assert_eq(&of_thread, before);
        cr_assert_eq(address_of_it(), before);
    }
    return 0;
}

static void *runs_fibers(void *argument)
{
    struct unr_loop *mine = argument;
    struct unr_fiber fibers[4] = { 0 };
    for (int i = 0; i < 4; i++)
        unr_start(mine, unr_fiber(&fibers[i], looks_at_addresses, NULL), NULL, NULL);
    cr_assert_eq(unr_loop_run(mine), 0);
    cr_assert_eq(of_thread, 4 * 2000);
    cr_assert_eq(unr_loop_close(mine), 0);
    return NULL;
}

/* The addresses of thread-local variables, errno's among them, stay right across an await: a fiber
 * stays on its thread. */
Test(fiber, thread_local_addresses_with_two_loops)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, runs_fibers, open_loop_with(0, 0)), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    close_loop();
}

static int saw_in_parent;

static int forks(void *argument)
{
    int *ends = argument;
    must(unr_yield() == 0);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        must(unr_fiber_self() != NULL);
        dprintf(STDERR_FILENO, "the child goes on\n");
        unr_yield();
        _exit(1);
    }
    int status;
    must(waitpid(child, &status, 0) == child);
    must(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    struct unr_op op = { 0 };
    must(unr_await_value(unr_send(&op, ends[1], "x", 1, 0)) == 1);
    saw_in_parent++;
    return 0;
}

static void fork_in_a_fiber(void *context)
{
    struct unr_fiber fiber = { 0 };
    int              ends[2];
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    unr_start(loop, unr_fiber(&fiber, forks, ends), NULL, NULL);
    must(unr_loop_run(loop) == 0);
    must(saw_in_parent == 1);
    must(unr_loop_close(loop) == 0);
}

/* A child that is forked in a fiber goes on on its copy of the stack, until it awaits: that is
 * named, and the parent's fiber knows of nothing. */
Test(fiber_contract, a_child_forked_in_a_fiber)
{
    struct death death = in_child(fork_in_a_fiber, NULL);
    expect_success(&death);
    cr_assert_not_null(strstr(death.words, "the child goes on"));
    cr_assert_not_null(strstr(death.words, "a loop used in a forked child"), "%s", death.words);
}

/* ---- values of a fiber's own ---- */

static int destroyed[8], destroyed_count;

static void destroy(void *value)
{
    cr_assert_eq(unr_yield(), 0);
    destroyed[destroyed_count++] = *(int *)value;
}

static const struct unr_local keys[6] = { { destroy }, { destroy }, { destroy },
                                          { destroy }, { destroy }, { NULL } };

static void destroy_and_set(void *value)
{
    cr_assert_eq(unr_local_set(&keys[0], value), 0);
}
static const struct unr_local sets_another = { destroy_and_set };

static int has_values(void *argument)
{
    int *numbers = argument;
    for (int i = 0; i < 6; i++)
        cr_assert_null(unr_local_get(&keys[i]));
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(unr_local_set(&keys[i], &numbers[i]), 0);
        cr_assert_eq(unr_yield(), 0);
    }
    for (int i = 0; i < 6; i++)
        cr_assert_eq(unr_local_get(&keys[i]), &numbers[i]);
    cr_assert_eq(unr_local_set(&keys[1], NULL), 0);
    cr_assert_eq(unr_local_set(&keys[2], &numbers[5]), 0);
    cr_assert_null(unr_local_get(&keys[1]));
    return 0;
}

/* Each fiber has its own; their destructors run on its stack, and may await.  What was set to NULL
 * or overwritten is not destroyed. */
Test(fiber, values_of_its_own)
{
    struct unr_fiber fibers[2] = { 0 };
    struct seen      seen[2] = { 0 };
    int              numbers[2][6] = { { 1, 2, 3, 4, 5, 6 }, { 1, 2, 3, 4, 5, 6 } };
    for (int i = 0; i < 2; i++) {
        destroyed_count = 0;
        start(&seen[i], unr_fiber(&fibers[i], has_values, numbers[i]));
        run();
        cr_assert_eq(destroyed_count, 4);
        cr_assert_eq(destroyed[0], 5);
        cr_assert_eq(destroyed[1], 4);
        cr_assert_eq(destroyed[2], 6);
        cr_assert_eq(destroyed[3], 1);
    }
    destroyed_count = 0;
    for (int i = 0; i < 2; i++)
        start(&seen[i], unr_fiber(&fibers[i], has_values, numbers[i]));
    run();
    cr_assert_eq(destroyed_count, 8);
    close_loop();
}

static int has_one_that_sets(void *argument)
{
    cr_assert_eq(unr_local_set(&sets_another, argument), 0);
    return 0;
}

/* A destructor may set a value, which is destroyed as well. */
Test(fiber, a_destructor_may_set_a_value)
{
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    int              number = 9;
    destroyed_count = 0;
    start(&seen, unr_fiber(&fiber, has_one_that_sets, &number));
    run();
    cr_assert_eq(destroyed_count, 1);
    cr_assert_eq(destroyed[0], 9);
    close_loop();
}

#if !SUPPORT_SANITIZED

static bool refuses_memory;
void       *__libc_malloc(size_t size);
void       *__libc_realloc(void *memory, size_t size);

void *malloc(size_t size)
{
    if (!refuses_memory)
        return __libc_malloc(size);
    errno = ENOMEM;
    return NULL;
}

void *realloc(void *memory, size_t size)
{
    if (!refuses_memory)
        return __libc_realloc(memory, size);
    errno = ENOMEM;
    return NULL;
}

static int has_four_values(void *argument)
{
    static int numbers[6];
    refuses_memory = true;
    for (int i = 1; i < 5; i++)
        must(unr_local_set(&keys[i], &numbers[i]) == 0);
    must(unr_local_set(&keys[5], &numbers[5]) == -ENOMEM);
    must(unr_local_set(&keys[1], NULL) == 0); /* it is there already */
    refuses_memory = false;
    must(unr_local_get(&keys[5]) == NULL);
    for (int i = 2; i < 5; i++)
        must(unr_local_get(&keys[i]) == &numbers[i]);
    must(unr_local_set(&keys[5], argument) == 0);
    must(unr_local_get(&keys[4]) == &numbers[4]);
    must(unr_local_get(&keys[5]) == argument);
    return 0;
}

/* Four values need no memory; where there is none for a fifth, nothing is set. */
Test(fiber, four_values_fit)
{
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    start(&seen, unr_fiber(&fiber, has_four_values, &seen));
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(destroyed_count, 3);
    close_loop();
}

#endif

/* ---- broken contracts ---- */

#define BREACH(name, ...) BREACH_IN(fiber_contract, open_loop_of_child(), name, __VA_ARGS__)

#define AWAIT_BREACH                                                                               \
    "unr_await called outside of a fiber",                                                         \
        "only a fiber waits, and not inside a done, a step, a slot handler, a filter, a "          \
        "condition or the start of an operation"

static struct unr_op nop, second;

static void go(unr_fiber_fn *fn)
{
    static struct unr_fiber fiber;
    unr_start(loop, unr_fiber(&fiber, fn, NULL), NULL, NULL);
    unr_loop_run(loop);
}

BREACH(await_outside_of_a_fiber, AWAIT_BREACH)
{
    unr_await(unr_nop(&nop));
}

BREACH(yield_outside_of_a_fiber, "unr_yield called outside of a fiber")
{
    unr_yield();
}

BREACH(sleep_outside_of_a_fiber, AWAIT_BREACH)
{
    unr_sleep(1);
}

BREACH(state_outside_of_a_fiber, "unr_fiber_state called outside of a fiber")
{
    unr_fiber_state();
}

BREACH(cancelled_outside_of_a_fiber, "unr_fiber_cancelled called outside of a fiber")
{
    unr_fiber_cancelled();
}

static const struct unr_local no_destroy;

BREACH(value_got_outside_of_a_fiber, "unr_local_get called outside of a fiber")
{
    unr_local_get(&no_destroy);
}

BREACH(value_set_outside_of_a_fiber, "unr_local_set called outside of a fiber")
{
    unr_local_set(&no_destroy, NULL);
}

BREACH(stack_trimmed_outside_of_a_fiber, "unr_stack_trim called outside of a fiber")
{
    unr_stack_trim();
}

BREACH(stack_use_outside_of_a_fiber, "unr_stack_use called outside of a fiber")
{
    struct unr_stack_use use;
    unr_stack_use(&use, sizeof use);
}

static void awaits_in_done(struct unr_op *op)
{
    (void)op;
    unr_await(unr_nop(&second));
}

static int starts_with_done(void *argument)
{
    (void)argument;
    unr_start(loop, unr_nop(&nop), awaits_in_done, NULL);
    return unr_yield();
}

/* In a `done`, though a fiber has started the operation and waits, */
BREACH(await_in_a_done, AWAIT_BREACH)
{
    go(starts_with_done);
}

static void awaits_in_step(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_await(unr_nop(&second));
    unr_compose_end(self, 0);
}

static struct unr_compose composed;

static int starts_composed(void *argument)
{
    (void)argument;
    unr_start(loop, unr_compose(&composed, "brew", UNR_CANCEL_TOTAL, awaits_in_step), NULL, NULL);
    return 0;
}

/* in a first step, which runs on the fiber's stack: of what it starts, */
BREACH(await_in_a_first_step, AWAIT_BREACH)
{
    go(starts_composed);
}

static int awaits_composed(void *argument)
{
    (void)argument;
    return unr_await(unr_compose(&composed, "brew", UNR_CANCEL_TOTAL, awaits_in_step)).error;
}

/* and of what it awaits, */
BREACH(await_in_a_first_step_that_is_awaited, AWAIT_BREACH)
{
    go(awaits_composed);
}

static void step_then_await(struct unr_compose *self, struct unr_op *finished)
{
    if (finished)
        unr_await(unr_nop(&second));
    unr_compose_next(self, unr_nop(&nop));
}

static int awaits_two_steps(void *argument)
{
    (void)argument;
    return unr_await(unr_compose(&composed, "brew", UNR_CANCEL_TOTAL, step_then_await)).error;
}

/* in a later one, */
BREACH(await_in_a_later_step, AWAIT_BREACH)
{
    go(awaits_two_steps);
}

static bool awaits_in_handler(void *context, struct unr_cancel_request request)
{
    (void)context, (void)request;
    unr_await(unr_nop(&second));
    return true;
}

static int emits(void *argument)
{
    static struct unr_signal signal;
    (void)argument;
    unr_slot_assign(unr_signal_slot(&signal), awaits_in_handler, NULL);
    unr_signal_emit(&signal, UNR_CANCEL_TOTAL);
    return 0;
}

/* in a handler of a slot, to which the fiber has emitted, */
BREACH(await_in_a_handler, AWAIT_BREACH)
{
    go(emits);
}

static unsigned awaits_in_filter(void *context, unsigned type)
{
    (void)context;
    unr_await(unr_nop(&second));
    return type;
}

static int sets_a_filter(void *argument)
{
    (void)argument;
    unr_state_reset(unr_fiber_state(), awaits_in_filter, NULL, NULL);
    return 0;
}

/* in an in filter when it is set, */
BREACH(await_in_an_in_filter, AWAIT_BREACH)
{
    go(sets_a_filter);
}

static int looks_through_a_filter(void *argument)
{
    (void)argument;
    unr_state_reset(unr_fiber_state(), NULL, awaits_in_filter, NULL);
    unr_cancel(&unr_fiber_self()->op, UNR_CANCEL_TERMINAL);
    return unr_fiber_cancelled();
}

/* in an out filter, when the fiber asks, */
BREACH(await_in_an_out_filter, AWAIT_BREACH)
{
    go(looks_through_a_filter);
}

static unsigned awaits_in_condition(void *context, const struct unr_op *finished)
{
    (void)context, (void)finished;
    unr_await(unr_nop(&second));
    return 0;
}

static int awaits_a_group(void *argument)
{
    static struct unr_group group;
    (void)argument;
    return unr_await(unr_group(&group, (struct unr_op *[]){ unr_nop(&nop) }, 1, awaits_in_condition,
                               NULL))
        .error;
}

/* in a condition, */
BREACH(await_in_a_condition, AWAIT_BREACH)
{
    go(awaits_a_group);
}

static void start_that_awaits(struct unr_op *op)
{
    (void)op;
    unr_await(unr_nop(&second));
}

static void cancel_that_awaits(struct unr_op *op, struct unr_cancel_request request)
{
    (void)op, (void)request;
    unr_await(unr_nop(&second));
}

static void start_that_waits(struct unr_op *op)
{
    (void)op;
}

static const struct unr_op_type awaits_at_its_start = { .size = sizeof(struct unr_op_type),
                                                        .supports = UNR_CANCEL_TOTAL,
                                                        .name = "brew",
                                                        .start = start_that_awaits,
                                                        .cancel = cancel_that_awaits };
static const struct unr_op_type awaits_when_asked = { .size = sizeof(struct unr_op_type),
                                                      .supports = UNR_CANCEL_TOTAL,
                                                      .name = "brew",
                                                      .start = start_that_waits,
                                                      .cancel = cancel_that_awaits };

static int starts_a_callers(void *argument)
{
    (void)argument;
    unr_start(loop, unr_describe(&nop, &awaits_at_its_start), NULL, NULL);
    return 0;
}

/* in the start of an operation of a caller's own, */
BREACH(await_in_the_start_of_an_operation, AWAIT_BREACH)
{
    go(starts_a_callers);
}

static int cancels_a_callers(void *argument)
{
    (void)argument;
    unr_start(loop, unr_describe(&nop, &awaits_when_asked), NULL, NULL);
    unr_cancel(&nop, UNR_CANCEL_TOTAL);
    return 0;
}

/* and where that is asked to end. */
BREACH(await_in_the_cancel_of_an_operation, AWAIT_BREACH)
{
    go(cancels_a_callers);
}

static int awaits_undescribed(void *argument)
{
    (void)argument;
    return unr_await(&nop).error;
}

BREACH(await_of_what_is_not_described, "not described")
{
    go(awaits_undescribed);
}

static int awaits_shots(void *argument)
{
    int fds[2];
    (void)argument;
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    must(write(fds[1], "", 1) == 1);
    return unr_await(unr_poll_multishot(&nop, fds[0], POLLIN)).error;
}

BREACH(await_of_a_multishot_operation, "multishot", "given to no combinator")
{
    go(awaits_shots);
}

static int never_ends(void *argument)
{
    while (!argument)
        (void)unr_await(unr_nop(&nop));
    return 0;
}

/* A fiber that goes on awaiting in a closing loop is named. */
BREACH(awaits_over_and_over_while_its_loop_is_closed,
       "started over and over while its loop is being closed")
{
    static struct unr_fiber fiber;
    unr_start(loop, unr_fiber(&fiber, never_ends, NULL), NULL, NULL);
    must(unr_loop_run_once(loop, 0) >= 0);
    unr_loop_close(loop);
}

BREACH(options_of_another_size, "fiber options of another size")
{
    static struct unr_fiber fiber;
    unr_fiber_with(&fiber, never_ends, NULL, &(struct unr_fiber_options){ 0 });
}

BREACH(a_stack_that_is_too_large, "a stack that is too large", "at most 64 MiB")
{
    static struct unr_fiber fiber;
    unr_fiber_with(&fiber, never_ends, NULL,
                   &(struct unr_fiber_options){ .size = sizeof(struct unr_fiber_options),
                                                .stack = (64 << 20) + 1 });
}

static int leaves_a_receive(void *argument)
{
    struct unr_op local = { 0 };
    int           fds[2];
    char          buf[1];
    (void)argument;
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    unr_start(loop, unr_recv(&local, fds[0], buf, 1, 0), NULL, NULL);
    return unr_yield();
}

static void go_with_checks(unr_fiber_fn *fn)
{
    struct unr_loop_options options = { .size = sizeof options, .flags = UNR_LOOP_CHECKS };
    must(unr_loop_close(loop) == 0);
    must(unr_loop_open(&loop, &options) == 0);
    go(fn);
}

/* It is on no descriptor. */
static int leaves_a_timer(void *argument)
{
    struct unr_timer local = { 0 };
    (void)argument;
    unr_start(loop, unr_timer_after(&local, UNR_SEC(1000)), NULL, NULL);
    return unr_yield();
}

static void left_in_its_stack(void *context)
{
    must(unr_loop_open(&loop, NULL) == 0);
    go_with_checks((unr_fiber_fn *)(uintptr_t)context);
}

/* With checks, what is in flight in the stack of a fiber that ends is found. */
Test(fiber_contract, ends_with_an_operation_in_its_stack)
{
    if (SUPPORT_SANITIZED)
        cr_skip_test("a sanitizer may have the operation elsewhere, and free it at the return");
    unr_fiber_fn *const leave[] = { leaves_a_receive, leaves_a_timer };
    for (size_t i = 0; i < LENGTH(leave); i++) {
        struct death death = in_child(left_in_its_stack, (void *)(uintptr_t)leave[i]);
        expect_abort(&death, (const char *const[]){
                                 "fiber: ended with an operation in flight in its stack", NULL });
    }
}

static int awaits_forever(void *argument)
{
    (void)argument;
    return unr_sleep(UNR_SEC(1000));
}

static void *cancels_from_a_thread(void *argument)
{
    unr_cancel(argument, UNR_CANCEL_TERMINAL);
    return NULL;
}

static void resumed_by_a_thread(void *context)
{
    static struct unr_fiber fiber;
    pthread_t               thread;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, unr_fiber(&fiber, awaits_forever, NULL), NULL, NULL);
    must(unr_loop_run_once(loop, 0) >= 0);
    must(pthread_create(&thread, NULL, cancels_from_a_thread, &fiber.op) == 0);
    pthread_join(thread, NULL);
}

/* A fiber is asked on its own thread. */
Test(fiber_contract, asked_by_another_thread)
{
    struct death death = in_child(resumed_by_a_thread, NULL);
    expect_abort(&death, (const char *const[]){ "a loop used from a second thread", NULL });
}

/* ---- fork(2) while another thread holds a lock ---- */

#if !SUPPORT_SANITIZED

static _Thread_local unsigned
                  unlocks_left; /* until the thread has another one fork; 0: it does not */
static atomic_int forker;       /* the other one, once it waits */
static atomic_int forks_now;
static sem_t      is_locked;

/* The library's locks are given back by this. */
int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    int (*real)(pthread_mutex_t *) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
    if (unlocks_left && --unlocks_left == 0) {
        sem_post(&is_locked);
        while (!forks_now)
            sched_yield();
        until_asleep(forker);
    }
    return real(mutex);
}

static int returns_at_once(void *argument)
{
    (void)argument;
    return 0;
}

static void use_a_loop(void)
{
    struct unr_fiber fiber = { 0 };
    struct unr_loop *own;
    must(unr_loop_open(&own, NULL) == 0);
    unr_start(own, unr_fiber(&fiber, returns_at_once, NULL), NULL, NULL);
    must(unr_loop_run(own) == 0);
    must(unr_loop_close(own) == 0);
}

static void *forks_when_locked(void *argument)
{
    int status;
    forker = thread_id();
    while (sem_wait(&is_locked) < 0)
        ;
    forks_now = 1;
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        alarm(CHILD_SECONDS);
        use_a_loop();
        _exit(0);
    }
    must(waitpid(child, &status, 0) == child && status == 0);
    return argument;
}

/* Forks while this thread holds its n-th lock.  Exits with 1 if there is none. */
static void forks_beside_lock(void *n)
{
    pthread_t thread;
    sem_init(&is_locked, 0, 0);
    must(pthread_create(&thread, NULL, forks_when_locked, NULL) == 0);
    while (!forker)
        sched_yield();
    until_asleep(forker);
    unlocks_left = (unsigned)(uintptr_t)n;
    use_a_loop();
    if (unlocks_left)
        _exit(1);
    must(pthread_join(thread, NULL) == 0);
}

/* A child has loops and fibers, whatever another thread was in the middle of. */
Test(fiber_contract, a_child_of_a_fork_beside_a_lock_has_fibers)
{
    uintptr_t n = 0;
    bool      more;
    do {
        struct death death = in_child(forks_beside_lock, (void *)++n);
        more = !WIFEXITED(death.status) || WEXITSTATUS(death.status) != 1;
        if (more)
            expect_success(&death);
    } while (more);
    cr_assert_gt(n, 4, "%ju locks", (uintmax_t)n - 1); /* two of the loop's, two of its stacks' */
}

#endif
