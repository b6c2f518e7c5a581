/* SPDX-License-Identifier: MIT */
/* Timers: when they fire, in which order, and what moving and cancelling them does to the
 * others. */
#include "fixture.h"

#include <time.h>

TestSuite(timer, .init = open_loop, .timeout = 20);

struct seen_timer {
    struct unr_timer timer;
    int              order; /* the how-manieth it was; 0: it has not ended */
    int              error;
    unr_time         fired; /* by the loop's clock */
};

static int ended;

static void timer_ended(struct unr_op *op)
{
    struct seen_timer *seen = op->data;
    seen->order = ++ended;
    seen->error = op->result.error;
    seen->fired = unr_loop_now(loop);
}

static void start_timer(struct seen_timer *seen, struct unr_op *described)
{
    unr_start(loop, described, timer_ended, seen);
}

/* A timer fires when the clock has reached its deadline, and not before. */
Test(timer, fires_at_its_deadline_and_not_before)
{
    struct seen_timer at = { 0 }, after = { 0 };
    unr_time          now = unr_loop_now(loop);
    start_timer(&at, unr_timer_at(&at.timer, now + UNR_MSEC(3)));
    start_timer(&after, unr_timer_after(&after.timer, UNR_MSEC(5)));
    run();
    cr_assert(at.order == 1 && after.order == 2);
    cr_assert_geq(at.fired, now + UNR_MSEC(3));
    cr_assert_eq(at.timer.deadline, now + UNR_MSEC(3));
    cr_assert_geq(after.fired, after.timer.deadline);
    cr_assert_geq(after.timer.deadline, now + UNR_MSEC(5));
    cr_assert_eq(at.error, 0);
    close_loop();
}

/* A deadline that is past, and a delay of nothing or less, are due in the next turn. */
Test(timer, past_deadlines_are_due_at_once)
{
    struct seen_timer past = { 0 }, zero = { 0 }, negative = { 0 }, earliest = { 0 };
    start_timer(&past, unr_timer_at(&past.timer, 1));
    start_timer(&zero, unr_timer_after(&zero.timer, 0));
    start_timer(&negative, unr_timer_after(&negative.timer, -UNR_MSEC(1)));
    start_timer(&earliest, unr_timer_at(&earliest.timer, INT64_MIN));
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 4);
    cr_assert(earliest.order == 1 && past.order == 2);
    close_loop();
}

/* More of them than a turn ends at once are due in one turn.  They all end in it, in order, and
 * what one of them starts is the next turn's, however early it is due. */
enum { MANY = 500 };

static struct seen_timer crowd[MANY], next_turns;

static void started_another(struct unr_op *op)
{
    start_timer(&next_turns, unr_timer_at(&next_turns.timer, MANY + 1));
    timer_ended(op);
}

Test(timer, many_that_are_due_in_one_turn)
{
    for (int i = 0; i < MANY; i++) {
        struct seen_timer *seen = &crowd[i * 7 % MANY]; /* in some order */
        unr_start(loop, unr_timer_at(&seen->timer, 1 + i * 7 % MANY),
                  i * 7 % MANY == 0 ? started_another : timer_ended, seen);
    }
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), MANY);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(crowd[i].order, i + 1);
    cr_assert_eq(next_turns.order, 0);
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 1);
    cr_assert_eq(next_turns.order, MANY + 1);
    close_loop();
}

/* Sums saturate: a delay without end never comes, and the loop waits for something else. */
Test(timer, never_does_not_come)
{
    struct seen_timer never = { 0 }, soon = { 0 };
    start_timer(&never, unr_timer_after(&never.timer, UNR_NEVER));
    start_timer(&soon, unr_timer_after(&soon.timer, UNR_MSEC(1)));
    cr_assert_eq(never.timer.deadline, UNR_NEVER);
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 1);
    cr_assert_eq(never.order, 0);
    cr_assert(unr_cancel(&never.timer.op, UNR_CANCEL_TOTAL));
    run();
    cr_assert_eq(never.error, -ECANCELED);
    close_loop();
}

/* Durations out of a configuration: what is too long is UNR_NEVER, what has a fraction is rounded,
 * and the number is evaluated once. */
Test(timer, durations_saturate_and_round)
{
    volatile long long          seconds = 10000000000, most = INT64_MAX, least = INT64_MIN;
    volatile unsigned long long without_end = UINT64_MAX;
    volatile unsigned           many = UINT32_MAX;
    volatile double             half = 0.5, huge = 1e300, nothing = 0.0;
    volatile float              less = -0.25f;
    short                       few = 3;
    int                         read = 7;
    cr_assert(UNR_SEC(seconds) == UNR_NEVER && UNR_SEC(-seconds) == INT64_MIN);
    cr_assert(UNR_MSEC(1000 * seconds) == UNR_NEVER && UNR_USEC(most) == UNR_NEVER);
    cr_assert(UNR_SEC(least) == INT64_MIN && UNR_MSEC(without_end) == UNR_NEVER);
    cr_assert_eq(UNR_SEC(many), 4294967295000000000);
    cr_assert(UNR_SEC(half) == 500000000 && UNR_MSEC(half / 5) == 100000 && UNR_USEC(few) == 3000);
    cr_assert(UNR_SEC(huge) == UNR_NEVER && UNR_SEC(-huge) == INT64_MIN);
    cr_assert(UNR_SEC(less) == -250000000 && UNR_MSEC(nothing / nothing) == 0);
    cr_assert(UNR_USEC(half / 1000) == 1 && UNR_USEC(-half / 1000) == -1);
    cr_assert(UNR_MSEC(read++) == 7000000 && read == 8);
    close_loop();
}

static unr_time clock_reading(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return UNR_SEC(now.tv_sec) + now.tv_nsec;
}

/* Computes for longer than the time-out that it then starts. */
static void compute(struct unr_op *op)
{
    struct seen_timer *late = op->data;
    unr_time           begin = unr_loop_now(loop), now;
    do
        now = clock_reading();
    while (now < begin + UNR_MSEC(5));
    cr_assert_geq(unr_loop_now(loop), now - UNR_MSEC(1));
    start_timer(late, unr_timer_after(&late->timer, UNR_MSEC(2)));
    cr_assert_geq(late->timer.deadline, now + UNR_MSEC(1));
}

/* The time of a turn is no older than a millisecond, however long a `done` computes; and a delay
 * counts from its start. */
Test(timer, counts_from_the_start_in_a_done_that_computes)
{
    struct seen_timer late = { 0 };
    struct unr_op     first = { 0 };
    unr_start(loop, unr_nop(&first), compute, &late);
    run();
    cr_assert_geq(late.fired, late.timer.deadline);
    close_loop();
}

/* Those due in one turn complete in the order of their deadlines, ties in the order in which they
 * were started. */
Test(timer, order_of_deadlines_then_of_starts)
{
    enum { COUNT = 500 };
    static struct seen_timer timers[COUNT];
    unr_time                 base = unr_loop_now(loop) - UNR_SEC(1);
    unsigned                 seed = 7;
    for (int i = 0; i < COUNT; i++)
        start_timer(&timers[i], unr_timer_at(&timers[i].timer, base + rand_r(&seed) % 20));
    run();
    for (int i = 0; i < COUNT; i++)
        for (int j = i + 1; j < COUNT; j++) {
            unr_time a = timers[i].timer.deadline, b = timers[j].timer.deadline;
            cr_assert_eq(timers[i].order < timers[j].order, a <= b);
        }
    close_loop();
}

/* A cancelled timer ends in the next turn, with its verdict, and takes nothing from the others. */
Test(timer, cancelled_one_of_three)
{
    struct seen_timer t[3] = { 0 };
    for (int i = 0; i < 3; i++)
        start_timer(&t[i], unr_timer_after(&t[i].timer, UNR_MSEC(1 + i)));
    cr_assert(unr_cancel_cause(&t[1].timer.op, UNR_CANCEL_TERMINAL, -7));
    cr_assert_eq(t[1].order, 0);
    run();
    const struct unr_result *r = &t[1].timer.op.result;
    cr_assert_eq(t[1].order, 1);
    cr_assert(r->error == -ECANCELED && r->cause == -7 && r->verdict == UNR_VERDICT_CANCELLED
              && r->guarantee == UNR_CANCEL_TOTAL);
    cr_assert(t[0].order == 2 && t[0].error == 0 && t[2].order == 3 && t[2].error == 0);
    close_loop();
}

/* A timer that has fired is too late to cancel and to move. */
static struct seen_timer *second_of_two;
static void               first_of_two(struct unr_op *op)
{
    timer_ended(op);
    cr_assert_not(unr_timer_move(&second_of_two->timer, UNR_NEVER));
    cr_assert(unr_cancel(&second_of_two->timer.op, UNR_CANCEL_ALL));
}

Test(timer, too_late_when_it_has_fired)
{
    struct seen_timer t[2] = { 0 };
    second_of_two = &t[1];
    unr_start(loop, unr_timer_at(&t[0].timer, 1), first_of_two, &t[0]);
    start_timer(&t[1], unr_timer_at(&t[1].timer, 2));
    run();
    cr_assert_eq(t[1].error, 0);
    cr_assert_eq(t[1].timer.op.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_not(unr_timer_move(&t[1].timer, UNR_NEVER));
    close_loop();
}

/* Moved earlier or later, it keeps its binding and `done`. */
Test(timer, moved_earlier_and_later)
{
    struct unr_signal stop = { 0 };
    struct seen_timer a = { 0 }, b = { 0 }, c = { 0 };
    unr_time          now = unr_loop_now(loop);
    start_timer(&a,
                unr_bind_slot(unr_timer_after(&a.timer, UNR_SEC(1000)), unr_signal_slot(&stop)));
    start_timer(&b, unr_timer_after(&b.timer, UNR_SEC(500)));
    start_timer(&c, unr_timer_at(&c.timer, now));
    cr_assert(unr_timer_move(&c.timer, now + UNR_SEC(1000)));
    cr_assert(unr_timer_move(&a.timer, now));
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 1);
    cr_assert_eq(a.order, 1);
    cr_assert_eq(a.timer.deadline, now);
    cr_assert_not(unr_slot_has_handler(unr_signal_slot(&stop)));
    cr_assert(unr_timer_move(&b.timer, now));
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 1);
    cr_assert(b.order == 2 && c.order == 0);
    cr_assert(unr_timer_move(&c.timer, now));
    run();
    cr_assert_eq(c.order, 3);
    close_loop();
}

/* Inside a turn, delays count from unr_loop_now(). */
static struct seen_timer restarted;
static void              start_inside(struct unr_op *op)
{
    unr_time before = unr_loop_now(loop);
    start_timer(&restarted, unr_timer_after(&restarted.timer, 1000));
    unr_time after = unr_loop_now(loop);
    cr_assert_geq(restarted.timer.deadline, before + 1000);
    cr_assert_leq(restarted.timer.deadline, after + 1000);
    (void)op;
}

Test(timer, delays_count_from_the_turn)
{
    struct unr_op nop = { 0 };
    unr_start(loop, unr_nop(&nop), start_inside, NULL);
    run();
    cr_assert_eq(restarted.error, 0);
    cr_assert_eq(restarted.order, 1);
    close_loop();
}

/* A hundred thousand timers started, moved, cancelled and started again at random, some with delays
 * of a few lengths, which share a queue, others with a deadline each: what is left fires in the
 * order of the deadlines, and those with the same one in the order in which they were started or
 * moved. */
Test(timer, random_starts_moves_and_cancels_keep_the_order)
{
    enum { COUNT = 100000 };
    static struct seen_timer timers[COUNT], *by_order[COUNT + 1];
    static int               touched[COUNT];
    unsigned                 seed = 42;
    unr_time                 base = unr_loop_now(loop) - UNR_SEC(10);
    int                      touches = 0;
    for (int i = 0; i < COUNT; i++) {
        struct unr_timer *timer = &timers[i].timer;
        bool              of_a_few = rand_r(&seed) % 4;
        start_timer(&timers[i], of_a_few ? unr_timer_after(timer, -UNR_MSEC(rand_r(&seed) % 20))
                                         : unr_timer_at(timer, base + rand_r(&seed) % UNR_MSEC(1)));
        touched[i] = ++touches;
    }
    for (int i = 0; i < COUNT; i++) {
        int                k = rand_r(&seed) % COUNT;
        struct seen_timer *t = &timers[k];
        if (rand_r(&seed) % 3 == 0) {
            unr_cancel(&t->timer.op, UNR_CANCEL_ALL);
        } else if (unr_timer_move(&t->timer, base + rand_r(&seed) % UNR_MSEC(1))) {
            touched[k] = ++touches;
        }
    }
    run();
    cr_assert_eq(ended, COUNT);
    for (int i = 0; i < COUNT; i++)
        by_order[timers[i].order] = &timers[i];
    const struct seen_timer *last = NULL;
    for (int i = 1; i <= COUNT; i++) {
        const struct seen_timer *t = by_order[i];
        if (t->error == -ECANCELED)
            continue;
        if (last) {
            cr_assert_geq(t->timer.deadline, last->timer.deadline);
            if (t->timer.deadline == last->timer.deadline)
                cr_assert_gt(touched[t - timers], touched[last - timers]);
        }
        last = t;
    }
    close_loop();
}

/* Time-outs of one length: any of them can be taken from their queue, its first and its last, and
 * those that are left come in order; a queue that ran empty serves another length. */
Test(timer, delays_of_one_length)
{
    for (int round = 0; round < 2 << 5; round++) {
        int               mask = round / 2;
        struct seen_timer timers[5] = { 0 }, later = { 0 };
        ended = 0;
        for (int i = 0; i < 5; i++)
            start_timer(&timers[i], unr_timer_after(&timers[i].timer, -UNR_MSEC(mask)));
        start_timer(&later, unr_timer_after(&later.timer, UNR_SEC(100)));
        for (int i = 0; i < 5; i++)
            if (mask & 1 << i)
                unr_cancel(&timers[i].timer.op, UNR_CANCEL_ALL);
        unr_timer_move(&later.timer, 0);
        run();
        cr_assert_eq(ended, 6);
        int last = 0;
        for (int i = 0; i < 5; i++) {
            cr_assert_eq(timers[i].error, mask & 1 << i ? -ECANCELED : 0);
            if (timers[i].error)
                continue;
            cr_assert_gt(timers[i].order, last);
            last = timers[i].order;
        }
    }
    close_loop();
}

/* A time-out that is moved leaves those of its length alone: they may be freed, and it waits on. */
Test(timer, moved_away_from_those_of_its_length)
{
    struct seen_timer moved = { 0 }, *behind = calloc(1, sizeof *behind);
    start_timer(&moved, unr_timer_after(&moved.timer, UNR_SEC(3600)));
    start_timer(behind, unr_timer_after(&behind->timer, UNR_SEC(3600)));
    cr_assert(unr_timer_move(&moved.timer, unr_loop_now(loop) + UNR_SEC(1800)));
    unr_cancel(&behind->timer.op, UNR_CANCEL_ALL);
    submit();
    cr_assert_eq(behind->order, 1);
    memset(behind, 0xff, sizeof *behind); /* what was freed holds anything */
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(moved.error, -ECANCELED);
    free(behind);
}

static void start_again(struct unr_op *op)
{
    struct seen_timer *seen = op->data;
    start_timer(seen, unr_timer_after(&seen->timer, UNR_SEC(3600)));
}

/* A timer that is started again by its `done`, in front of another that ended in the same turn, has
 * nothing behind it: when it is cancelled, the other one stays ended. */
Test(timer, started_again_in_front_of_one_that_ended)
{
    struct seen_timer first = { 0 }, second = { 0 };
    unr_start(loop, unr_timer_at(&first.timer, 1), start_again, &first);
    start_timer(&second, unr_timer_at(&second.timer, 2));
    cr_assert_eq(unr_loop_run_once(loop, 0), 2);
    cr_assert(unr_in_flight(&first.timer.op) && second.order == 1);
    cr_assert(unr_cancel(&first.timer.op, UNR_CANCEL_TOTAL));
    run();
    cr_assert(first.order == 2 && first.error == -ECANCELED);
    cr_assert_eq(second.order, 1);
    close_loop();
}

/* Closing a loop ends a timer that waits behind a deadline of its length, which has to wait for a
 * child of its own. */
Test(timer, behind_a_deadline_when_the_loop_closes)
{
    struct unr_timer    child = { 0 };
    struct unr_deadline deadline = { 0 };
    struct seen_timer   behind = { 0 };
    struct unr_op      *described = unr_timer_after(&child, UNR_SEC(1800));
    unr_start(loop, unr_cancel_after(&deadline, described, UNR_SEC(3600)), NULL, NULL);
    start_timer(&behind, unr_timer_after(&behind.timer, UNR_SEC(3600)));
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(behind.error, -ECANCELED);
}

/* A million timers outstanding: none is submitted to the kernel, and closing the loop ends them
 * all. */
Test(timer, a_million_outstanding_without_a_system_call, .timeout = 60)
{
    enum { COUNT = 1000000 };
    struct unr_timer *timers = calloc(COUNT, sizeof *timers);
    struct unr_stats  before, after;
    submit();
    unr_loop_stats(loop, &before, sizeof before);
    for (int i = 0; i < COUNT; i++)
        unr_start(loop, unr_timer_after(&timers[i], UNR_SEC(1000) + (int64_t)i * 7919 % COUNT),
                  NULL, NULL);
    unr_loop_stats(loop, &after, sizeof after);
    cr_assert_eq(unr_loop_in_flight(loop), COUNT);
    cr_assert_eq(after.enters, before.enters);
    cr_assert_eq(unr_loop_close(loop), 0);
    for (int i = 0; i < COUNT; i++)
        cr_assert(timers[i].op.result.error == -ECANCELED
                  && timers[i].op.result.cause == -ESHUTDOWN);
    free(timers);
}

/* A timer and a receive due in the same turn both complete; the receive first, as the kernel said
 * so. */
Test(timer, due_in_the_turn_in_which_something_else_completes)
{
    int               fds[2];
    char              byte;
    struct seen       recv = { 0 };
    struct seen_timer due = { 0 };
    unix_pair(fds);
    start(&recv, unr_recv(&recv.op, fds[0], &byte, 1, 0));
    submit();
    start_timer(&due, unr_timer_at(&due.timer, 1));
    cr_assert_eq(write(fds[1], "x", 1), 1);
    run();
    cr_assert_eq(recv.result.bytes, 1);
    cr_assert_eq(due.error, 0);
    close_pair(fds);
    close_loop();
}
