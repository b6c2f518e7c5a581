/* SPDX-License-Identifier: MIT */
/* Mutexes, semaphores, events and conditions on the real kernel, whose part in them is small: it
 * wakes nobody. */
#include "support.h"

#include <limits.h>
#include <pthread.h>

TestSuite(sync, .init = open_loop);

struct party {
    struct seen       seen;
    struct unr_waiter waiter;
};

static struct unr_mutex     mutex;
static struct unr_semaphore semaphore;
static struct unr_event     event;
static struct unr_condition condition;

static void lock(struct party *p)
{
    start(&p->seen, unr_mutex_lock(&p->waiter, &mutex));
}

static void wait_for_count(struct party *p)
{
    start(&p->seen, unr_semaphore_wait(&p->waiter, &semaphore));
}

static void wait_for_event(struct party *p)
{
    start(&p->seen, unr_event_wait(&p->waiter, &event));
}

static void wait_for_signal(struct party *p)
{
    start(&p->seen, unr_condition_wait(&p->waiter, &condition, &mutex));
}

static bool succeeded(const struct party *p)
{
    return p->seen.runs == 1 && p->seen.result.error == 0;
}

static bool too_late(const struct party *p)
{
    return succeeded(p) && p->seen.result.verdict == UNR_VERDICT_TOO_LATE;
}

static bool cancelled(const struct party *p)
{
    const struct unr_result *r = &p->seen.result;
    return p->seen.runs == 1 && r->error == -ECANCELED && r->verdict == UNR_VERDICT_CANCELLED
           && r->guarantee == UNR_CANCEL_TOTAL;
}

static void cancel(struct party *p)
{
    cr_assert(unr_cancel(&p->waiter.op, UNR_CANCEL_TOTAL));
}

/* ---- mutexes ---- */

/* One holds it at a time, and what nobody holds is locked at once, in the next turn. */
Test(sync, mutex_is_held_by_one)
{
    struct party a = { .seen.runs = 0 }, b = { .seen.runs = 0 };
    lock(&a);
    lock(&b);
    cr_assert_eq(a.seen.runs, 0, "nothing ends inside a start");
    cr_assert(!unr_mutex_try_lock(&mutex), "it is locked from the start on");
    submit();
    cr_assert(succeeded(&a));
    cr_assert_eq(b.seen.runs, 0);
    unr_mutex_unlock(&mutex);
    cr_assert_eq(b.seen.runs, 0, "nor inside an unlock");
    run();
    cr_assert(succeeded(&b));
    unr_mutex_unlock(&mutex);
    cr_assert(unr_mutex_try_lock(&mutex));
    cr_assert(!unr_mutex_try_lock(&mutex));
    unr_mutex_unlock(&mutex);
    close_loop();
}

/* It is handed on: whoever tries between an unlock and the `done` of the next does not get it. */
Test(sync, mutex_is_handed_on)
{
    struct party next = { .seen.runs = 0 };
    cr_assert(unr_mutex_try_lock(&mutex));
    lock(&next);
    unr_mutex_unlock(&mutex);
    cr_assert(!unr_mutex_try_lock(&mutex));
    run();
    cr_assert(succeeded(&next));
    close_loop();
}

/* Whoever was given the lock before a request has it, and is told that the request came too late;
 * whoever was not does not have it, and nobody else's turn changes. */
Test(sync, a_lock_granted_before_a_cancellation_is_held)
{
    struct party a = { .seen.runs = 0 }, b = a, c = a;
    cr_assert(unr_mutex_try_lock(&mutex));
    lock(&a);
    lock(&b);
    lock(&c);
    unr_mutex_unlock(&mutex);
    cancel(&a);
    cancel(&b);
    submit();
    cr_assert(too_late(&a));
    cr_assert(cancelled(&b));
    cr_assert_eq(c.seen.runs, 0);
    cr_assert(!unr_mutex_try_lock(&mutex), "it is held");
    unr_mutex_unlock(&mutex);
    run();
    cr_assert(succeeded(&c));
    unr_mutex_unlock(&mutex);

    a = b; /* cancelled in the turn in which it would have been locked, from the start on */
    a.seen.runs = 0;
    lock(&a);
    cancel(&a);
    run();
    cr_assert(too_late(&a));
    cr_assert(!unr_mutex_try_lock(&mutex));
    close_loop();
}

/* First come, first served; whoever is cancelled leaves the line, wherever it
 * stands. */
static int order[8], ended;

static void note_order(struct seen *seen)
{
    order[ended++] = (int)(intptr_t)seen->context;
}

static void stand_in_line(void (*begin)(struct party *), void (*serve)(void), int gone)
{
    struct party parties[4];
    memset(parties, 0, sizeof parties);
    ended = 0;
    for (int i = 0; i < 4; i++) {
        parties[i].seen.context = (void *)(intptr_t)i;
        begin(&parties[i]);
        submit();
        cr_assert_eq(parties[i].seen.runs, 0);
    }
    cancel(&parties[gone]);
    submit();
    cr_assert(cancelled(&parties[gone]));
    for (int i = 0; i < 4; i++)
        parties[i].seen.then = note_order;
    for (int i = 0; i < 3; i++) {
        serve();
        submit();
        cr_assert_eq(ended, i + 1);
        cr_assert_eq(order[i], i < gone ? i : i + 1);
    }
}

static void unlock(void)
{
    unr_mutex_unlock(&mutex);
}

static void post(void)
{
    unr_semaphore_post(&semaphore);
}

Test(sync, first_come_first_served)
{
    for (int gone = 0; gone < 4; gone++) {
        cr_assert(unr_mutex_try_lock(&mutex));
        stand_in_line(lock, unlock, gone);
        unr_mutex_unlock(&mutex);
        stand_in_line(wait_for_count, post, gone);
    }
    close_loop();
}

/* ---- semaphores ---- */

Test(sync, semaphore_counts)
{
    struct party a = { .seen.runs = 0 }, b = a, c = a;
    unr_semaphore_init(&semaphore, 2);
    wait_for_count(&a);
    cr_assert(unr_semaphore_try_wait(&semaphore));
    cr_assert(!unr_semaphore_try_wait(&semaphore));
    wait_for_count(&b);
    wait_for_count(&c);
    submit();
    cr_assert(succeeded(&a));
    cr_assert_eq(b.seen.runs + c.seen.runs, 0);
    unr_semaphore_post(&semaphore);
    cr_assert(!unr_semaphore_try_wait(&semaphore), "it is the first one's that waits");
    cancel(&b);
    cancel(&c);
    run();
    cr_assert(too_late(&b));
    cr_assert(cancelled(&c));
    unr_semaphore_post(&semaphore);
    cr_assert(unr_semaphore_try_wait(&semaphore));
    cr_assert(!unr_semaphore_try_wait(&semaphore), "and a cancelled wait has taken nothing");
    close_loop();
}

/* ---- events ---- */

Test(sync, event_lets_all_pass_until_it_is_reset)
{
    struct party a = { .seen.runs = 0 }, b = a, c = a, d = a;
    cr_assert(!unr_event_is_set(&event));
    wait_for_event(&a);
    wait_for_event(&b);
    wait_for_event(&c);
    cancel(&b);
    submit();
    cr_assert(cancelled(&b));
    unr_event_set(&event);
    cr_assert(unr_event_is_set(&event));
    unr_event_reset(&event); /* whoever waited when it was set has passed */
    cancel(&c);
    run();
    cr_assert(succeeded(&a));
    cr_assert(too_late(&c));
    wait_for_event(&d);
    submit();
    cr_assert_eq(d.seen.runs, 0);
    unr_event_set(&event);
    unr_event_set(&event); /* again: it is set already */
    run();
    cr_assert(succeeded(&d));
    d.seen.runs = 0;
    wait_for_event(&d);
    run();
    cr_assert(succeeded(&d), "whoever comes later does not wait");
    close_loop();
}

/* ---- conditions ---- */

/* Its end comes with the lock, whether a signal, a request, a deadline or its closing loop ended
 * it, and whoever holds the mutex meanwhile. */
static void expect_locked_once(void)
{
    cr_assert(!unr_mutex_try_lock(&mutex), "it ends locked");
    unr_mutex_unlock(&mutex);
    cr_assert(unr_mutex_try_lock(&mutex), "once");
    unr_mutex_unlock(&mutex);
}

Test(sync, a_condition_ends_locked)
{
    for (int held = 0; held < 2; held++)
        for (int how = 0; how < 3; how++) {
            struct party        p = { .seen.runs = 0 };
            struct unr_deadline deadline;
            memset(&deadline, 0, sizeof deadline);
            cr_assert(unr_mutex_try_lock(&mutex));
            start(&p.seen,
                  unr_cancel_after(&deadline, unr_condition_wait(&p.waiter, &condition, &mutex),
                                   UNR_NEVER));
            submit();
            cr_assert_eq(p.seen.runs, 0);
            cr_assert(unr_mutex_try_lock(&mutex), "it has given the mutex back");
            if (!held)
                unr_mutex_unlock(&mutex);
            if (how == 0)
                unr_condition_signal(&condition);
            else if (how == 1)
                unr_cancel(&p.waiter.op, UNR_CANCEL_TERMINAL);
            else
                cr_assert(unr_deadline_move(&deadline, unr_loop_now(loop)));
            if (held) {
                submit();
                cr_assert_eq(p.seen.runs, 0, "it waits for the mutex");
                unr_cancel(&p.waiter.op, UNR_CANCEL_ALL);
                submit();
                cr_assert_eq(p.seen.runs, 0, "and no further request ends that");
                unr_mutex_unlock(&mutex);
            }
            run();
            cr_assert_eq(p.seen.runs, 1);
            cr_assert_eq(p.seen.result.error, how == 0 ? 0 : -ECANCELED);
            cr_assert_eq(p.seen.result.verdict, how    ? UNR_VERDICT_CANCELLED
                                                : held ? UNR_VERDICT_TOO_LATE
                                                       : UNR_VERDICT_NONE);
            cr_assert_eq(p.seen.result.guarantee, how ? UNR_CANCEL_TOTAL : UNR_CANCEL_NONE);
            cr_assert_eq(unr_timed_out(&p.seen.result), how == 2);
            expect_locked_once();
        }
    close_loop();
}

/* A request that comes before it begins leaves the mutex as it is: locked. */
Test(sync, a_condition_that_never_began_is_locked)
{
    struct party      p = { .seen.runs = 0 };
    struct unr_signal stop;
    unr_signal_init_latched(&stop);
    unr_signal_emit(&stop, UNR_CANCEL_TOTAL);
    cr_assert(unr_mutex_try_lock(&mutex));
    start(&p.seen,
          unr_bind_slot(unr_condition_wait(&p.waiter, &condition, &mutex), unr_signal_slot(&stop)));
    run();
    expect_cancelled(&p.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    expect_locked_once();
    close_loop();
}

/* A signal wakes the first, which gets in line for the mutex; a request that came before it takes
 * no signal, and one that came behind it takes none back. */
Test(sync, a_signal_is_never_lost)
{
    struct party parties[3];
    memset(parties, 0, sizeof parties);
    for (int i = 0; i < 3; i++) {
        cr_assert(unr_mutex_try_lock(&mutex));
        wait_for_signal(&parties[i]);
    }
    submit();
    cr_assert(unr_mutex_try_lock(&mutex));
    cancel(&parties[0]);
    unr_condition_signal(&condition); /* the second one's */
    cancel(&parties[1]);
    submit();
    cr_assert_eq(parties[0].seen.runs + parties[1].seen.runs + parties[2].seen.runs, 0);
    unr_mutex_unlock(&mutex);
    submit();
    cr_assert(cancelled(&parties[0]), "who came first for the mutex has it first");
    cr_assert_eq(parties[1].seen.runs, 0);
    unr_mutex_unlock(&mutex);
    submit();
    cr_assert(too_late(&parties[1]));
    unr_mutex_unlock(&mutex);
    unr_condition_signal(&condition);
    run();
    cr_assert(succeeded(&parties[2]));
    unr_mutex_unlock(&mutex);
    unr_condition_signal(&condition); /* for nobody: it is not kept */
    close_loop();
}

/* All are woken, and have the mutex one after another, in the order in which they came. */
static void note_and_unlock(struct seen *seen)
{
    note_order(seen);
    cr_assert(!unr_mutex_try_lock(&mutex));
    unr_mutex_unlock(&mutex);
}

Test(sync, a_broadcast_wakes_all_in_order)
{
    struct party parties[4];
    memset(parties, 0, sizeof parties);
    ended = 0;
    for (int i = 0; i < 4; i++) {
        parties[i].seen.context = (void *)(intptr_t)i;
        parties[i].seen.then = note_and_unlock;
        cr_assert(unr_mutex_try_lock(&mutex));
        wait_for_signal(&parties[i]);
    }
    unr_condition_broadcast(&condition);
    run();
    cr_assert_eq(ended, 4);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(order[i], i);
    cr_assert(unr_mutex_try_lock(&mutex));
    close_loop();
}

/* The classic: consumers wait until there is something, and each thing is consumed once. */
enum { THINGS = 40, CONSUMERS = 3 };
static int          things, consumed, produced;
static struct party consumers[CONSUMERS], producer;

static void consume(struct seen *seen)
{
    struct party *p = unr_container_of(seen, struct party, seen);
    cr_assert_eq(seen->result.error, 0);
    if (things == 0 && consumed < THINGS) {
        wait_for_signal(p);
        return;
    }
    if (things) {
        things--;
        consumed++;
    }
    unr_mutex_unlock(&mutex);
    if (consumed < THINGS)
        lock(p);
    else
        unr_condition_broadcast(&condition);
}

static void produce(struct seen *seen)
{
    things++;
    produced++;
    unr_condition_signal(&condition);
    unr_mutex_unlock(&mutex);
    if (produced < THINGS)
        lock(unr_container_of(seen, struct party, seen));
}

Test(sync, producers_and_consumers)
{
    producer.seen.then = produce;
    for (int i = 0; i < CONSUMERS; i++) {
        consumers[i].seen.then = consume;
        lock(&consumers[i]);
    }
    lock(&producer);
    run();
    cr_assert_eq(consumed, THINGS);
    cr_assert_eq(things, 0);
    cr_assert(unr_mutex_try_lock(&mutex));
    close_loop();
}

/* ---- in other operations, and closing ---- */

/* A group over several kinds of waits: a wait that was served before the group's request stays so.
 */
Test(sync, in_a_group)
{
    struct party     p[3];
    struct seen      seen = { .runs = 0 };
    struct unr_group group;
    struct unr_op   *all[3];
    memset(p, 0, sizeof p);
    memset(&group, 0, sizeof group);
    cr_assert(unr_mutex_try_lock(&mutex));
    all[0] = unr_mutex_lock(&p[0].waiter, &mutex);
    all[1] = unr_semaphore_wait(&p[1].waiter, &semaphore);
    all[2] = unr_event_wait(&p[2].waiter, &event);
    start(&seen, unr_any(&group, all, 3));
    submit();
    unr_event_set(&event);
    unr_mutex_unlock(&mutex);
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.value, 2);
    cr_assert_eq(all[0]->result.error, 0, "the lock is held, and is to be unlocked");
    cr_assert_eq(all[1]->result.error, -ECANCELED);
    cr_assert(!unr_mutex_try_lock(&mutex));
    close_loop();
}

static void unlock_then(struct seen *seen)
{
    (void)seen;
    unr_mutex_unlock(&mutex);
}

/* A loop that is closed ends all of them, a condition with its mutex, which an operation in flight
 * holds until then. */
Test(sync, closing_loop_ends_those_that_wait)
{
    struct party waits = { .seen.runs = 0 }, locks = waits, counts = waits, for_event = waits;
    struct seen  holder = { .then = unlock_then };
    int          ends[2];
    char         byte;
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    cr_assert(unr_mutex_try_lock(&mutex));
    wait_for_signal(&waits);
    cr_assert(unr_mutex_try_lock(&mutex));
    start(&holder, unr_read(&holder.op, ends[0], &byte, 1, -1));
    lock(&locks);
    wait_for_count(&counts);
    wait_for_event(&for_event);
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&holder, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    expect_cancelled(&waits.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    expect_cancelled(&locks.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    expect_cancelled(&counts.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    expect_cancelled(&for_event.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    expect_locked_once();
    close(ends[0]);
    close(ends[1]);
}

Test(sync, dump_names_those_that_wait)
{
    struct party waits = { .seen.runs = 0 }, locks = waits, counts = waits, for_event = waits;
    char         text[2048] = { 0 };
    int          ends[2];
    cr_assert(unr_mutex_try_lock(&mutex));
    wait_for_signal(&waits);
    cr_assert(unr_mutex_try_lock(&mutex));
    lock(&locks);
    wait_for_count(&counts);
    wait_for_event(&for_event);
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    unr_loop_dump(loop, ends[1]);
    cr_assert_gt(read(ends[0], text, sizeof text - 1), 0);
    close(ends[0]);
    close(ends[1]);
    cr_assert_not_null(strstr(text, "condition_wait "), "%s", text);
    cr_assert_not_null(strstr(text, "mutex_lock "), "%s", text);
    cr_assert_not_null(strstr(text, "semaphore_wait "), "%s", text);
    cr_assert_not_null(strstr(text, "event_wait "), "%s", text);
    cancel(&locks);
    cancel(&counts);
    cancel(&for_event);
    unr_condition_signal(&condition);
    unr_mutex_unlock(&mutex);
    run();
    cr_assert(succeeded(&waits));
    close_loop();
}

/* ---- broken contracts ---- */

static void unlock_what_is_not_locked(void *context)
{
    (void)context;
    unr_mutex_unlock(&mutex);
}

static void wait_without_the_lock(void *context)
{
    static struct party p;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    wait_for_signal(&p);
}

static void count_too_far(void *context)
{
    (void)context;
    unr_semaphore_init(&semaphore, UINT_MAX);
    unr_semaphore_post(&semaphore);
}

static void reuse_memory(void *context)
{
    static struct party p[2];
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    wait_for_event(&p[0]);
    wait_for_event(&p[1]);
    memset(&event, 0, sizeof event);
    unr_cancel(&p[1].waiter.op, UNR_CANCEL_ALL);
}

static void *unlock_in_thread(void *context)
{
    unr_mutex_unlock(&mutex);
    return context;
}

static void unlock_in_another_thread(void *context)
{
    static struct party p;
    pthread_t           thread;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    must(unr_mutex_try_lock(&mutex));
    lock(&p);
    must(unr_loop_run_once(loop, 0) == 0);
    must(pthread_create(&thread, NULL, unlock_in_thread, NULL) == 0);
    pthread_join(thread, NULL);
}

/* ---- whose a mutex is, in fibers ---- */

/* Locks with a deadline and as one of several, that is inside of other operations. */
static int locks_inside(void *argument)
{
    struct unr_waiter   waiter = { 0 };
    struct unr_deadline deadline = { 0 };
    struct unr_group    group = { 0 };
    struct unr_op      *one = unr_mutex_lock(&waiter, &mutex);
    (void)argument;
    must(unr_await(unr_any(&group, &one, 1)).error == 0);
    must(unr_yield() == 0);
    unr_mutex_unlock(&mutex);
    must(unr_await(unr_cancel_after(&deadline, unr_mutex_lock(&waiter, &mutex), UNR_NEVER)).error
         == 0);
    must(unr_yield() == 0);
    unr_mutex_unlock(&mutex);
    return 0;
}

static int waits_for_condition(void *argument)
{
    struct unr_waiter waiter = { 0 };
    (void)argument;
    while (!unr_mutex_try_lock(&mutex))
        must(unr_yield() == 0);
    must(unr_await(unr_condition_wait(&waiter, &condition, &mutex)).error == 0);
    unr_mutex_unlock(&mutex);
    return 0;
}

static void unlock_in_done(struct unr_op *op)
{
    (void)op;
    unr_mutex_unlock(&mutex);
}

/* A fiber has a mutex unlocked by a `done`, and unlocks what a `done` has locked. */
static int shares_with_callbacks(void *argument)
{
    struct unr_op nop = { 0 };
    (void)argument;
    while (!unr_mutex_try_lock(&mutex))
        must(unr_yield() == 0);
    unr_start(loop, unr_nop(&nop), unlock_in_done, NULL);
    while (unr_in_flight(&nop))
        must(unr_yield() == 0);
    return 0;
}

static int unlocks(void *argument)
{
    (void)argument;
    unr_mutex_unlock(&mutex);
    return 0;
}

static void go(unr_fiber_fn *const *functions, unsigned count)
{
    enum { TURNS = 1000 }; /* far more than any of them takes that ends */
    struct unr_fiber fibers[3] = { 0 };
    for (unsigned i = 0; i < count; i++)
        unr_start(loop, unr_fiber(&fibers[i], functions[i], NULL), NULL, NULL);
    for (unsigned i = 0; i < TURNS && unr_loop_in_flight(loop); i++) {
        must(unr_loop_run_once(loop, 0) >= 0);
        unr_condition_signal(&condition);
    }
    must(unr_loop_in_flight(loop) == 0);
    for (unsigned i = 0; i < count; i++)
        must(fibers[i].op.result.error == 0);
}

static void open_with_checks(void)
{
    struct unr_loop_options options = { .size = sizeof options, .flags = UNR_LOOP_CHECKS };
    must(unr_loop_open(&loop, &options) == 0);
}

static void unlock_rightly(void *context)
{
    open_with_checks();
    (void)context;
    for (unsigned i = 0; i < 2; i++) {
        go((unr_fiber_fn *[]){ locks_inside, locks_inside, waits_for_condition }, 3);
        go((unr_fiber_fn *[]){ waits_for_condition, shares_with_callbacks, locks_inside }, 3);
    }
    must(unr_mutex_try_lock(&mutex));
    go((unr_fiber_fn *[]){ unlocks }, 1);
    must(unr_loop_close(loop) == 0);
}

/* Whoever awaits a lock owns the mutex, also inside of other operations, and when it is handed on.
 * With checks, a fiber is told only of what it holds at its end. */
Test(sync, a_mutex_is_the_fibers_that_awaited_it)
{
    struct death death = in_child(unlock_rightly, NULL);
    expect_success(&death);
    close_loop();
}

static int locks_and_sleeps(void *argument)
{
    struct unr_waiter   waiter = { 0 };
    struct unr_deadline deadline = { 0 };
    struct unr_op *lock = unr_cancel_after(&deadline, unr_mutex_lock(&waiter, &mutex), UNR_NEVER);
    (void)argument;
    must(unr_await(lock).error == 0);
    return unr_sleep_until(UNR_NEVER);
}

static int waits_with_the_lock_of_another(void *argument)
{
    struct unr_waiter waiter = { 0 };
    (void)argument;
    must(unr_yield() == 0);
    return unr_await(unr_condition_wait(&waiter, &condition, &mutex)).error;
}

static int yields_and_unlocks(void *argument)
{
    must(unr_yield() == 0);
    return unlocks(argument);
}

static int locks_and_ends(void *argument)
{
    (void)argument;
    return unr_mutex_try_lock(&mutex) ? 0 : -EBUSY;
}

static void unlock_by_another_fiber(void *context)
{
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    go((unr_fiber_fn *[]){ locks_and_sleeps, yields_and_unlocks }, 2);
}

/* The first in line has it from the unlock on, before it runs. */
static void unlock_what_was_handed_on(void *context)
{
    static struct unr_fiber waits;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    must(unr_mutex_try_lock(&mutex));
    unr_start(loop, unr_fiber(&waits, locks_and_sleeps, NULL), NULL, NULL);
    must(unr_loop_run_once(loop, 0) == 0);
    unr_mutex_unlock(&mutex);
    go((unr_fiber_fn *[]){ unlocks }, 1);
}

static void wait_with_the_lock_of_another(void *context)
{
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    go((unr_fiber_fn *[]){ locks_and_sleeps, waits_with_the_lock_of_another }, 2);
}

static void end_with_the_lock(void *context)
{
    (void)context;
    open_with_checks();
    go((unr_fiber_fn *[]){ locks_and_ends }, 1);
}

Test(sync, mistakes_are_named)
{
    static const struct {
        void (*body)(void *context);
        const char *what;
    } mistakes[] = {
        { unlock_what_is_not_locked, "a mutex that is not locked" },
        { wait_without_the_lock, "with a mutex that is not locked" },
        { count_too_far, "beyond UINT_MAX" },
        { reuse_memory, "memory was used again" },
        { unlock_in_another_thread, "used from a second thread" },
        { unlock_by_another_fiber, "of a mutex that another fiber has locked" },
        { unlock_what_was_handed_on, "of a mutex that another fiber has locked" },
        { wait_with_the_lock_of_another, "with a mutex that another fiber has locked" },
        { end_with_the_lock, "a fiber that ended with a mutex locked" },
    };
    for (unsigned i = 0; i < LENGTH(mistakes); i++) {
        struct death death = in_child(mistakes[i].body, NULL);
        expect_abort(&death,
                     (const char *const[]){ "unring: broken contract:", mistakes[i].what, NULL });
    }
    close_loop();
}
