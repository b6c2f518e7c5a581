/* SPDX-License-Identifier: MIT */
/* Generators: values in order, and functions that unwind, whoever ends them. */
#include "support.h"

#include <sys/mman.h>

TestSuite(generator, .init = open_loop, .timeout = 20);
TestSuite(generator_contract, .timeout = 20);

enum { CAUSE = -60, FAILURE = -70 };

/* ThreadSanitizer would end a child that starts a thread. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}

/* ---- a generator, and who consumes it ---- */

struct made {
    struct unr_generator generator;
    int                  fds[2];  /* it receives from [0] what it yields, if there is one */
    int                  goal;    /* values */
    int                  returns; /* at its end */
    int                  began, unwound, yields, told; /* the last: by a yield that failed */
    void                *got[8];                       /* the `in` of each resumption */
    void                *never;
    char                 byte;
    struct unr_op        op;
};

static int makes(void *argument)
{
    struct made *m = argument;
    int          error = 0;
    m->began++;
    for (int i = 0; i < m->goal && !error; i++) {
        long value = i;
        if (m->fds[1])
            error = (int)unr_await_value(unr_recv(&m->op, m->fds[0], &m->byte, 1, 0));
        error = error < 0 ? error : 0;
        m->yields++;
        if (!error)
            m->told = error = unr_generator_yield(&value, i < 8 ? &m->got[i] : &m->never);
    }
    m->unwound++;
    return error ? error : m->returns;
}

static void init(struct made *m, int goal)
{
    *m = (struct made){ .goal = goal };
    unr_generator_init(&m->generator, makes, m);
}

/* A consumer, in a fiber of its own. */
struct consumer {
    struct unr_fiber fiber;
    struct seen      seen;
    struct made      made[2];
    int              wants, end, error;
    long             values[16];
    int              count;
};

static struct unr_result next(struct made *m, void *in, long *ret_value)
{
    void             *value = NULL;
    struct unr_result r = unr_await(unr_generator_next(&m->generator, in, &value));
    if (!r.error && r.value)
        *ret_value = *(long *)value;
    return r;
}

static int end(struct made *m)
{
    return (int)unr_await_value(unr_generator_end(&m->generator));
}

static void play(struct consumer *c, unr_fiber_fn *fn)
{
    start(&c->seen, unr_fiber(&c->fiber, fn, c));
    run();
    cr_assert_eq(c->seen.runs, 1);
}

/* ---- values ---- */

static int consumes(void *argument)
{
    struct consumer  *c = argument;
    struct made      *m = &c->made[0];
    static const char ins[8];
    for (int i = 0; i < 5; i++) {
        long              value = -1;
        struct unr_result r = next(m, (void *)(uintptr_t)&ins[i], &value);
        cr_assert_eq(r.error, 0);
        cr_assert_eq(r.value, 1);
        cr_assert_eq(value, i);
        cr_assert_eq(r.verdict, UNR_VERDICT_NONE);
    }
    for (int i = 0; i < 4; i++)
        cr_assert_eq(m->got[i], &ins[i + 1], "the `in` of the resumption that followed");
    long              none;
    struct unr_result r = next(m, NULL, &none);
    cr_assert_eq(r.value, 0);
    cr_assert_eq(r.error, m->returns);
    cr_assert_eq(m->got[4], NULL);
    for (int i = 0; i < 2; i++) {
        r = next(m, NULL, &none);
        cr_assert_eq(r.value, 0);
        cr_assert_eq(r.error, 0, "it has said so");
    }
    cr_assert_eq(end(m), 0, "an end of what has ended");
    return 0;
}

/* Values come in order, `in` goes the other way, and the end tells how the function returned. */
Test(generator, values_in_order)
{
    for (int fails = 0; fails < 2; fails++) {
        struct consumer c = { .count = 0 };
        init(&c.made[0], 5);
        c.made[0].returns = fails ? FAILURE : 0;
        play(&c, consumes);
        cr_assert_eq(c.seen.result.error, 0);
        cr_assert_eq(c.made[0].began, 1);
        cr_assert_eq(c.made[0].unwound, 1);
    }
    close_loop();
}

static int interleaves(void *argument)
{
    struct consumer *c = argument;
    for (int i = 0; i < 6; i++) {
        long value = -1;
        cr_assert_eq(next(&c->made[i & 1], NULL, &value).value, 1);
        cr_assert_eq(value, i / 2);
    }
    return end(&c->made[0]) + end(&c->made[1]);
}

Test(generator, two_interleaved)
{
    struct consumer c = { .count = 0 };
    init(&c.made[0], 100);
    init(&c.made[1], 100);
    play(&c, interleaves);
    cr_assert_eq(c.made[0].unwound, 1);
    cr_assert_eq(c.made[1].told, -ECANCELED);
    close_loop();
}

/* ---- unwound ---- */

static int consumes_some(void *argument)
{
    struct consumer *c = argument;
    long             value;
    for (int i = 0; i < c->wants; i++)
        cr_assert_eq(next(&c->made[0], NULL, &value).value, i < c->made[0].goal);
    return c->end ? end(&c->made[0]) : 0;
}

/* Never begun, suspended, and ended; by its end, or by the loop's, which tells it why. */
Test(generator, a_generator_is_unwound_by_its_end_and_by_the_loops)
{
    for (int wants = 0; wants < 4; wants++)
        for (int ends = 0; ends < 2; ends++) {
            struct consumer c = { .wants = wants, .end = ends };
            init(&c.made[0], 2);
            play(&c, consumes_some);
            cr_assert_eq(c.seen.result.error, 0);
            cr_assert_eq(unr_loop_in_flight(loop), 0, "it keeps no loop running");
            bool suspended = wants == 1 || wants == 2;
            cr_assert_eq(c.made[0].unwound, wants && !(suspended && !ends), "%d, %d", wants, ends);
            cr_assert_eq(unr_loop_close(loop), 0);
            cr_assert_eq(c.made[0].began, wants > 0);
            cr_assert_eq(c.made[0].unwound, wants > 0);
            if (suspended)
                cr_assert_eq(c.made[0].told, ends ? -ECANCELED : -ESHUTDOWN, "%d", c.made[0].told);
            open_loop();
        }
    close_loop();
}

static int yields_while_unwinding(void *argument)
{
    struct made *m = argument;
    int          error = 0, again;
    long         value = 1;
    unr_state_reset(unr_fiber_state(), unr_let_none, NULL, NULL);
    while (!error)
        error = unr_generator_yield(&value, NULL);
    m->told = error;
    for (int i = 0; i < 3; i++) {
        again = unr_generator_yield(&value, &m->got[0]);
        cr_assert_eq(again, m->goal, "%d", again);
    }
    m->unwound++;
    return error;
}

static int consumes_one_and(void *argument)
{
    struct consumer *c = argument;
    long             value;
    cr_assert_eq(next(&c->made[0], NULL, &value).value, 1);
    return c->end ? end(&c->made[0]) : 0;
}

/* One that yields while it is unwound, and whose state lets nothing in, ends all the same. */
Test(generator, yields_during_its_unwinding)
{
    for (int ends = 0; ends < 2; ends++) {
        struct consumer c = { .end = ends };
        c.made[0].goal = ends ? -ECANCELED : -ESHUTDOWN;
        unr_generator_init(&c.made[0].generator, yields_while_unwinding, &c.made[0]);
        play(&c, consumes_one_and);
        cr_assert_eq(c.made[0].unwound, ends);
        cr_assert_eq(unr_loop_close(loop), 0);
        cr_assert_eq(c.made[0].unwound, 1);
        cr_assert_eq(c.made[0].told, c.made[0].goal);
        open_loop();
    }
    close_loop();
}

/* ---- cancelled ---- */

static int goes_on_receiving(void *argument)
{
    struct made *m = argument;
    int          error = 0;
    while (!error) {
        int64_t n = unr_await_value(unr_recv(&m->op, m->fds[0], &m->byte, 1, 0));
        long    value = n;
        m->began++;
        error = unr_generator_yield(&value, NULL);
    }
    m->unwound++;
    return error;
}

static int goes_on_in_a_scope(void *argument)
{
    struct unr_cancel_scope scopes[2];
    unr_cancel_scope_enter(&scopes[0]);
    unr_cancel_scope_enter_after(&scopes[1], UNR_SEC(1000));
    int error = unr_cancel_scope_leave(&scopes[1], goes_on_receiving(argument));
    return unr_cancel_scope_leave(&scopes[0], error);
}

static int is_cancelled_at_each(void *argument)
{
    struct consumer *c = argument;
    struct made     *m = &c->made[0];
    long             begun;
    cr_assert_eq(write(m->fds[1], "x", 1), 1);
    cr_assert_eq(next(m, NULL, &begun).value, 1);
    for (int i = 0; i < 3; i++) {
        struct unr_deadline deadline = { 0 };
        void               *value = NULL;
        struct unr_result   r = unr_await(unr_cancel_after(
              &deadline, unr_generator_next(&m->generator, NULL, &value), i == 1 ? 1000 : 1));
        cr_assert_eq(r.error, 0, "%d", r.error);
        cr_assert_eq(r.verdict, UNR_VERDICT_TOO_LATE, "it yielded after all");
        cr_assert_eq(*(long *)value, -ETIMEDOUT);
        long received = 0;
        cr_assert_eq(write(m->fds[1], "x", 1), 1);
        r = next(m, NULL, &received);
        cr_assert_eq(received, 1, "a request counts for one resumption: %ld", received);
        cr_assert_eq(r.verdict, UNR_VERDICT_NONE);
    }
    return end(m);
}

/* A request to a `next` ends what the generator awaits, and is forgotten when it yields; by the
 * cancel scopes that it is in as well. */
Test(generator, a_request_counts_for_one_resumption)
{
    for (int in_scopes = 0; in_scopes < 2; in_scopes++) {
        struct consumer c = { .count = 0 };
        struct made    *m = &c.made[0];
        unix_pair(m->fds);
        unr_generator_init(&m->generator, in_scopes ? goes_on_in_a_scope : goes_on_receiving, m);
        play(&c, is_cancelled_at_each);
        cr_assert_eq(c.seen.result.error, 0);
        cr_assert_eq(m->began, 7);
        cr_assert_eq(m->unwound, 1);
        close_pair(m->fds);
    }
    close_loop();
}

static int is_cancelled(void *argument)
{
    struct consumer *c = argument;
    struct made     *m = &c->made[0];
    long             value = -1;
    for (int i = 0; i < c->wants; i++) {
        cr_assert_eq(write(m->fds[1], "x", 1), 1);
        cr_assert_eq(next(m, NULL, &value).value, 1);
    }
    struct unr_result r = next(m, NULL, &value);
    c->error = unr_outcome(&r);
    c->count = (int)r.verdict;
    cr_assert_eq(r.value, 0);
    return c->error;
}

/* A generator that returns the cause was cancelled, and so was the `next`. */
Test(generator, cancelled_at_each_await)
{
    for (int at = 0; at < 3; at++)
        for (int early = 0; early < 2; early++) {
            struct consumer c = { .wants = at };
            struct made    *m = &c.made[0];
            init(m, 100);
            unix_pair(m->fds);
            start(&c.seen, unr_fiber(&c.fiber, is_cancelled, &c));
            while (m->yields < at || (!early && !unr_in_flight(&m->op)))
                submit();
            unr_cancel_cause(&c.fiber.op, UNR_CANCEL_TERMINAL, CAUSE);
            run();
            if (at == 0 && early) {
                cr_assert_eq(c.seen.result.verdict, UNR_VERDICT_UNSUBMITTED);
            } else if (!early) {
                cr_assert_eq(c.error, CAUSE, "%d", c.error);
                cr_assert_eq(m->unwound, 1);
                cr_assert_eq(c.count, UNR_VERDICT_CANCELLED);
            }
            cr_assert_eq(unr_loop_close(loop), 0);
            close_pair(m->fds);
            open_loop();
        }
    close_loop();
}

/* ---- a cancel scope around a yield ---- */

static int yields_in_a_scope(void *argument)
{
    struct made            *m = argument;
    struct unr_cancel_scope scope;
    long                    first = 1, last = 3;
    unr_cancel_scope_enter_after(&scope, 1);
    {
        long second = 2;
        m->told = unr_generator_yield(&first, NULL);
        while (!m->told)
            m->told = unr_yield();
        cr_assert_eq(unr_generator_yield(&second, NULL), -ETIMEDOUT, "nobody asked for it");
        second = 99;
    }
    cr_assert_eq(unr_cancel_scope_leave(&scope, m->told), -ETIMEDOUT);
    m->began++;
    unr_sleep(UNR_MSEC(20)); /* somebody asks meanwhile */
    int error = unr_generator_yield(&last, &m->got[0]);
    m->unwound++;
    return error;
}

static int consumes_late(void *argument)
{
    struct consumer *c = argument;
    struct made     *m = &c->made[0];
    long             value = -1;
    cr_assert_eq(next(m, NULL, &value).value, 1);
    cr_assert_eq(value, 1);
    while (!m->began)
        cr_assert_eq(unr_sleep(UNR_MSEC(1)), 0);
    cr_assert_eq(next(m, NULL, &value).value, 1);
    cr_assert_eq(value, 3, "what it is suspended with now: %ld", value);
    cr_assert_eq(next(m, c, &value).value, 0);
    cr_assert_eq(m->got[0], c);
    return 0;
}

/* The deadline of a scope passes while the generator is suspended: it runs though nobody asked. */
Test(generator, a_deadline_passes_while_it_is_suspended)
{
    struct consumer c = { .count = 0 };
    unr_generator_init(&c.made[0].generator, yields_in_a_scope, &c.made[0]);
    play(&c, consumes_late);
    cr_assert_eq(c.seen.result.error, 0);
    cr_assert_eq(c.made[0].unwound, 1);
    close_loop();
}

/* ---- from callbacks ---- */

struct callbacks {
    struct made made;
    struct seen seen;
    void       *value;
    long        sum;
};

static void ask_again(struct seen *seen)
{
    struct callbacks *c = seen->context;
    if (seen->result.value == 0)
        return;
    c->sum += *(long *)c->value;
    start(seen, unr_generator_next(&c->made.generator, NULL, &c->value));
}

Test(generator, used_from_callbacks)
{
    struct callbacks c = { .sum = 0 };
    init(&c.made, 10);
    c.seen = (struct seen){ .then = ask_again, .context = &c };
    start(&c.seen, unr_generator_next(&c.made.generator, NULL, &c.value));
    run();
    cr_assert_eq(c.seen.runs, 11);
    cr_assert_eq(c.sum, 45);
    struct seen ended = { 0 };
    start(&ended, unr_generator_end(&c.made.generator));
    run();
    cr_assert_eq(ended.runs, 1);
    close_loop();
}

/* An end while a `next` is in flight: the awaits of the generator end, and both are told. */
Test(generator, ended_while_somebody_waits)
{
    struct callbacks c = { .sum = 0 };
    struct seen      ended = { 0 };
    init(&c.made, 10);
    unix_pair(c.made.fds);
    start(&c.seen, unr_generator_next(&c.made.generator, NULL, &c.value));
    submit();
    start(&ended, unr_generator_end(&c.made.generator));
    run();
    cr_assert_eq(ended.runs, 1);
    cr_assert_eq(ended.result.error, 0);
    cr_assert_eq(c.seen.runs, 1);
    cr_assert_eq(c.seen.result.error, -ECANCELED);
    cr_assert_eq(c.seen.result.cause, -ECANCELED);
    cr_assert_eq(c.made.unwound, 1);
    close_pair(c.made.fds);
    close_loop();
}

/* A `next` that is asked before the function begins: it never does, and has ended. */
Test(generator, asked_before_it_begins)
{
    struct callbacks c = { .sum = 0 };
    init(&c.made, 10);
    start(&c.seen, unr_generator_next(&c.made.generator, NULL, &c.value));
    unr_cancel_cause(&c.made.generator.private_fields.next, UNR_CANCEL_TERMINAL, CAUSE);
    run();
    expect_cancelled(&c.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, CAUSE);
    cr_assert_eq(c.made.began, 0);
    start(&c.seen, unr_generator_next(&c.made.generator, NULL, &c.value));
    run();
    cr_assert_eq(c.seen.result.value, 0);
    cr_assert_eq(c.seen.result.error, 0);
    close_loop();
}

/* ---- no stack ---- */

static bool refuses_memory;

void *mmap(void *address, size_t size, int protection, int flags, int of, off_t offset)
{
    if (flags & MAP_NORESERVE && refuses_memory) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, address, size, protection, flags, of, offset);
}

Test(generator, no_stack)
{
    struct callbacks c = { .sum = 0 };
    init(&c.made, 10);
    refuses_memory = true;
    start(&c.seen, unr_generator_next(&c.made.generator, NULL, &c.value));
    run();
    refuses_memory = false;
    cr_assert_eq(c.seen.result.error, -ENOMEM);
    cr_assert_eq(c.seen.result.value, 0);
    cr_assert_eq(c.made.began, 0);
    close_loop();
}

/* ---- broken contracts ---- */

#define BREACH(name, ...) BREACH_IN(generator_contract, open_loop_of_child(), name, __VA_ARGS__)

static struct unr_fiber     fiber;
static struct unr_generator generator;
static void                *got;

static int yields(void *argument)
{
    return unr_generator_yield(argument, NULL);
}

BREACH(yield_outside_of_a_fiber, "unr_generator_yield called outside of a fiber")
{
    unr_generator_yield(NULL, NULL);
}

BREACH(yield_outside_of_a_generator, "unr_generator_yield called outside of a generator")
{
    unr_start(loop, unr_fiber(&fiber, yields, NULL), NULL, NULL);
    unr_loop_run(loop);
}

static int sleeps(void *argument)
{
    (void)argument;
    return unr_sleep(UNR_SEC(1000));
}

BREACH(a_second_next_in_flight, "generator next")
{
    unr_generator_init(&generator, sleeps, NULL);
    unr_start(loop, unr_generator_next(&generator, NULL, &got), NULL, NULL);
    unr_start(loop, unr_generator_next(&generator, NULL, &got), NULL, NULL);
}

BREACH(a_second_end_in_flight, "generator end")
{
    unr_generator_init(&generator, sleeps, NULL);
    unr_start(loop, unr_generator_end(&generator), NULL, NULL);
    unr_start(loop, unr_generator_end(&generator), NULL, NULL);
}
