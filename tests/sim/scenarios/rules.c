/* SPDX-License-Identifier: MIT */
/* The rules of lib/README.md, one scenario each, where the other files do not get to them: timers
 * in virtual time, requests that are or-ed, slots and trees of signals, operation types of a
 * caller's own, multishot and zero copy, descriptors, closing, small queues and calls of the kernel
 * that fail. */
#include "scenario.h"

#include <stddef.h>

#include "../../../uring/ring.h"

/* ---- what most of these need ---- */

enum { TURNS_MAX = 100 };

/* Runs what must end soon, and by itself. */
static void run_to_the_end(struct unr_loop *loop)
{
    for (int turns = 0; unr_loop_in_flight(loop); turns++) {
        unr_sim_check(turns < TURNS_MAX, "it ends within a hundred turns");
        unr_sim_check(unr_loop_run_once(loop, UNR_NEVER) >= 0, "a turn");
    }
}

static void some_turns(struct unr_loop *loop, unsigned max)
{
    for (unsigned turns = unr_sim_choose(max + 1); turns; turns--)
        unr_loop_run_once(loop, 0);
}

static void count_run(struct unr_op *op)
{
    ++*(int *)op->data;
}

static const struct subject_type *type_named(const char *name)
{
    for (unsigned i = 0; i < subject_type_count; i++)
        if (strcmp(subject_types[i]->name, name) == 0)
            return subject_types[i];
    return NULL;
}

static uint64_t repeated(const struct unr_loop *loop)
{
    struct unr_stats stats;
    unr_loop_stats(loop, &stats, sizeof stats);
    return stats.cancels_repeated;
}

/* ---- timers: what fires is always the earliest of those that are left ---- */

enum { TIMERS = 10, SHAPES = 5, CHANGES = 6, MOMENTS = 3 };

struct clock {
    struct unr_loop *loop;
    struct {
        struct unr_timer timer;
        unr_time         deadline;
        unsigned         since; /* settles ties: the last start or move */
        bool             waits;
    } timers[TIMERS];
    unsigned since, fired, cancelled;
    unsigned victim, change, moment;
    bool     ran_once_in_this_turn;
};

static bool is_first(const struct clock *c, unsigned i)
{
    for (unsigned j = 0; j < TIMERS; j++) {
        if (!c->timers[j].waits || j == i)
            continue;
        if (c->timers[j].deadline < c->timers[i].deadline
            || (c->timers[j].deadline == c->timers[i].deadline
                && c->timers[j].since < c->timers[i].since))
            return false;
    }
    return true;
}

static void change_one(struct clock *c)
{
    static const unr_time to[CHANGES] = { 0, 0, 5, 1000, 20, 115 };
    struct unr_timer     *timer = &c->timers[c->victim].timer;
    unr_time              deadline = UNR_SEC(1000) + UNR_MSEC(to[c->change]);
    bool                  waits = c->timers[c->victim].waits;
    switch (c->change) {
    case 0: break;
    case 1:
        unr_sim_check(unr_cancel(&timer->op, UNR_CANCEL_TOTAL) || !waits,
                      "it waits, so it can be cancelled");
        break;
    default:
        if (unr_timer_move(timer, deadline)) {
            unr_sim_check(waits, "only a timer that waits can be moved");
            c->timers[c->victim].deadline = deadline;
            c->timers[c->victim].since = ++c->since;
        } else {
            unr_sim_check(!waits || unr_in_flight(&timer->op), "a timer that waits can be moved");
        }
        break;
    }
}

static void timer_done(struct unr_op *op)
{
    struct clock *c = op->data;
    unsigned      i = 0;
    while (&c->timers[i].timer.op != op)
        i++;
    unr_sim_check(c->timers[i].waits, "a timer ends once");
    if (op->result.error == 0) {
        unr_sim_check(unr_loop_now(c->loop) >= c->timers[i].deadline,
                      "no timer fires before its time");
        unr_sim_check(
            is_first(c, i),
            "timers fire in the order of their deadlines, then of their starts and moves");
        c->fired++;
    } else {
        unr_sim_check(op->result.error == -ECANCELED && i == c->victim && c->change == 1,
                      "only what was cancelled is cancelled");
        unr_sim_check(op->result.guarantee == UNR_CANCEL_TOTAL, "a timer has no side effects");
        c->cancelled++;
    }
    c->timers[i].waits = false;
    if (c->moment == 2 && c->fired == 1)
        change_one(c);
}

/* Ten timers, in heaps of every kind; one is cancelled or moved, before the loop runs, after the
 * first fired, or inside its `done`. */
static void timers_in_order(const struct scenario *scenario)
{
    static const unr_time shapes[SHAPES][TIMERS] = {
        { 0, 100, 10, 20, 30, 110, 120, 130, 140, 11 }, /* the last belongs above those that it may
                                                           replace */
        { 90, 80, 70, 60, 50, 40, 30, 20, 10, 0 },      { 10, 20, 30, 40, 50, 60, 70, 80, 90, 100 },
        { 20, 20, 20, 20, 20, 20, 20, 20, 20, 20 },     { 50, 10, 50, 20, 10, 50, 0, 20, 115, 5 },
    };
    struct clock c = { .loop = open_small_loop() };
    unsigned     n = unr_sim_choose(SHAPES * TIMERS * CHANGES * MOMENTS);
    (void)scenario;
    c.moment = n % MOMENTS;
    c.change = n / MOMENTS % CHANGES;
    c.victim = n / MOMENTS / CHANGES % TIMERS;
    for (unsigned i = 0; i < TIMERS; i++) {
        c.timers[i].deadline = UNR_SEC(1000) + UNR_MSEC(shapes[n / MOMENTS / CHANGES / TIMERS][i]);
        c.timers[i].since = ++c.since;
        c.timers[i].waits = true;
        unr_start(c.loop, unr_timer_at(&c.timers[i].timer, c.timers[i].deadline), timer_done, &c);
    }
    if (c.moment == 1)
        unr_loop_run_once(c.loop, UNR_NEVER);
    if (c.moment != 2)
        change_one(&c);
    run_to_the_end(c.loop);
    unr_sim_check(c.fired + c.cancelled == TIMERS, "each timer ends");
    close_loop(c.loop);
}

/* A delay counts from the start; what is past is due at once; what has ended cannot be moved. */
static void timers_now_and_never(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_timer past = { 0 }, now = { 0 }, soon = { 0 }, never = { 0 };
    int              runs = 0;
    (void)scenario;
    unr_time begin = unr_loop_now(loop);
    unr_start(loop, unr_timer_after(&never, UNR_NEVER), count_run, &runs);
    unr_start(loop, unr_timer_after(&soon, UNR_MSEC(3)), count_run, &runs);
    unr_start(loop, unr_timer_after(&now, 0), count_run, &runs);
    unr_start(loop, unr_timer_at(&past, begin - 1), count_run, &runs);
    unr_sim_check(unr_loop_run_once(loop, 0) == 2 && runs == 2, "two are due at once");
    unr_sim_check(!unr_timer_move(&past, begin + UNR_SEC(1))
                      && !unr_cancel(&past.op, UNR_CANCEL_TOTAL),
                  "that one is over");
    unr_sim_check(unr_in_flight(&soon.op), "no timer fires before its time");
    while (unr_in_flight(&soon.op))
        unr_loop_run_once(loop, UNR_NEVER);
    unr_sim_check(unr_loop_now(loop) == begin + UNR_MSEC(3),
                  "the loop sleeps exactly until the next timer");
    if (unr_sim_choose(2)) {
        unr_cancel(&never.op, UNR_CANCEL_TERMINAL);
    } else {
        unr_sim_check(unr_timer_move(&never, begin), "a timer that waits can be moved");
        unr_sim_check(unr_loop_run_once(loop, 0) == 1, "to the past: it is due at once");
    }
    run_to_the_end(loop);
    unr_sim_check(runs == 4, "each done once");
    close_loop(loop);
}

/* What starts operations with a time-out in its `done`, after it has computed for longer than that.
 */
struct computing {
    struct unr_loop    *loop;
    int                 fds[2];
    struct unr_op       first, recv, inner;
    struct unr_timer    timer;
    struct unr_deadline within, until;
    struct unr_delay    delay;
    char                byte;
    unr_time            began; /* the start of the operations, at the earliest */
    int                 runs;
};

enum { TIMED_OUT_MS = 3 };

static void not_too_early(struct unr_op *op)
{
    struct computing *c = op->data;
    unr_sim_check(unr_loop_now(c->loop) >= c->began + UNR_MSEC(TIMED_OUT_MS),
                  "time counts from the start");
    c->runs++;
}

static void compute_and_start(struct unr_op *op)
{
    struct computing *c = op->data;
    unr_time          limit = UNR_MSEC(TIMED_OUT_MS);
    c->began = unr_loop_now(c->loop) + UNR_MSEC(5);
    unr_sim_compute(UNR_MSEC(5));
    struct unr_op *recv = unr_recv(&c->recv, c->fds[0], &c->byte, 1, 0);
    switch (unr_sim_choose(4)) {
    case 0: unr_start(c->loop, unr_timer_after(&c->timer, limit), not_too_early, c); break;
    case 1: unr_start(c->loop, unr_cancel_after(&c->within, recv, limit), not_too_early, c); break;
    case 2:
        unr_start(c->loop, unr_cancel_at(&c->until, recv, unr_loop_now(c->loop) + limit),
                  not_too_early, c);
        break;
    default: unr_start(c->loop, unr_delay(&c->delay, unr_nop(&c->inner), limit), not_too_early, c);
    }
}

static void timers_from_the_start(const struct scenario *scenario)
{
    struct computing c = { .loop = open_small_loop() };
    (void)scenario;
    unr_sim_socketpair(c.fds, 4);
    unr_start(c.loop, unr_nop(&c.first), compute_and_start, &c);
    run_to_the_end(c.loop);
    unr_sim_check(c.runs == 1, "it has ended once");
    unr_sim_close(c.fds[0]);
    unr_sim_close(c.fds[1]);
    close_loop(c.loop);
}

static void compute_in_turn(struct unr_op *op)
{
    struct computing *c = op->data;
    c->began = unr_loop_now(c->loop);
    unr_sim_compute(UNR_MSEC(5));
}

/* A turn that ends more timers than one chunk of them, and one of these computes: a deadline that
 * passes meanwhile is the next turn's, for what it is about may have completed by now. */
static void timers_due_meanwhile(const struct scenario *scenario)
{
    enum { CHUNK_AND_ONE = 129 };
    static struct unr_timer timers[CHUNK_AND_ONE];
    struct computing        c = { .loop = open_small_loop() };
    (void)scenario;
    unr_sim_socketpair(c.fds, 4);
    unr_time when = unr_loop_now(c.loop) + UNR_MSEC(TIMED_OUT_MS);
    unr_start(c.loop, unr_cancel_at(&c.until, unr_recv(&c.recv, c.fds[0], &c.byte, 1, 0), when),
              count_run, &c.runs);
    unr_start(c.loop, unr_timer_at(&c.timer, when - UNR_SEC(1)), compute_in_turn, &c);
    for (int i = 0; i < CHUNK_AND_ONE; i++)
        unr_start(c.loop, unr_timer_at(&timers[i], when - UNR_SEC(1)), NULL, NULL);
    unr_loop_run_once(c.loop, 0);
    unr_sim_check(c.began >= when || !c.recv.result.requested, "nothing is due that was not");
    run_to_the_end(c.loop);
    unr_sim_check(c.runs == 1 && unr_timed_out(&c.until.op.result), "it is due in the next turn");
    unr_sim_close(c.fds[0]);
    unr_sim_close(c.fds[1]);
    close_loop(c.loop);
}

/* ---- a clock that moves on while the program is stopped ---- */

/* An operation with a time-out, and what it waits for. */
struct timed {
    struct unr_loop    *loop;
    int                 fds[2], runs;
    bool                arrived;
    unr_time            arrived_at;
    struct unr_op       recv;
    struct unr_deadline deadline;
    struct unr_timer    timer;
    struct unr_group    any;
    struct unr_op      *members[2];
    struct unr_stream   stream;
    struct unr_transfer transfer;
    struct unr_reader   reader;
    struct unr_framing  framing;
    struct unr_buffer   buffer;
    char                bytes[3];
};

static struct unr_op *describe_timed(struct timed *t, const char *what, unr_time limit)
{
    struct unr_op *recv = unr_recv(&t->recv, t->fds[0], t->bytes, 3, 0);
    unr_stream_socket(&t->stream, t->fds[0]);
    if (strcmp(what, "any") == 0) {
        t->members[0] = unr_timer_after(&t->timer, limit);
        t->members[1] = recv;
        return unr_any(&t->any, t->members, 2);
    }
    if (strcmp(what, "read_exact") == 0)
        return unr_cancel_after(&t->deadline, unr_read_exact(&t->transfer, &t->stream, t->bytes, 3),
                                limit);
    if (strcmp(what, "read_frame") == 0) {
        unr_framing_delimiter(&t->framing, "\n", 1, 8);
        return unr_cancel_after(
            &t->deadline, unr_read_frame(&t->reader, &t->stream, &t->buffer, &t->framing), limit);
    }
    return unr_cancel_after(&t->deadline, recv, limit);
}

static void arrive(void *timed)
{
    struct timed *t = timed;
    t->arrived = unr_sim_write(t->fds[1], "ab\n", 3) == 3;
    t->arrived_at = unr_sim_clock();
}

static void drive(struct timed *t, unsigned how, unr_time timeout)
{
    int fd = how == 2 ? unr_loop_fd(t->loop) : -1;
    if (how == 0)
        unr_sim_check(unr_loop_run(t->loop) == 0, "it runs");
    for (int turns = 0; t->runs == 0; turns++) {
        unr_sim_check(turns < TURNS_MAX, "it ends within a hundred turns");
        if (how == 2)
            unr_sim_wait_readable(fd);
        unr_sim_check(unr_loop_run_once(t->loop, how == 2 ? 0 : timeout) >= 0, "a turn");
    }
}

/* What arrives before the deadline is a success, however long the program is stopped between any
 * two readings of the clock.  What arrives later is one as well, or stays where it is. */
static void kept_away(const struct scenario *scenario)
{
    struct unr_loop_options options = { .size = sizeof options };
    struct timed            t = { 0 };
    const char             *what = scenario->parameter;
    if (strncmp(what, "plain-", 6) == 0) {
        options.flags = UNR_LOOP_PLAIN;
        what += 6;
    }
    unr_sim_check(unr_loop_open(&t.loop, &options) == 0, "the loop opens");
    unr_buffer_init(&t.buffer, 8);
    unr_sim_socketpair(t.fds, 0);
    unr_time       limit = unr_sim_clock() + UNR_SEC(7200); /* the deadline, at the earliest */
    struct unr_op *op = describe_timed(&t, what, UNR_SEC(7200));
    unr_start(t.loop, op, count_run, &t.runs);
    unr_loop_run_once(t.loop, 0);
    if (unr_sim_choose(2))
        arrive(&t);
    else
        unr_sim_later(arrive, &t);
    drive(&t, unr_sim_choose(3), UNR_SEC(7200));
    const struct unr_result *r = &op->result;
    bool is_any = op == &t.any.op, came = is_any ? t.recv.result.error == 0 : r->error == 0;
    unr_sim_check(!t.arrived || t.arrived_at >= limit || (came && (!is_any || r->value == 1)),
                  "what arrived in time is a success");
    unr_sim_check(came || is_any || unr_timed_out(r), "or else it is late");
    unr_sim_check(unr_sim_read(t.fds[0], t.bytes, 3) == (came || !t.arrived ? -EAGAIN : 3),
                  "and then nothing was taken");
    close_loop(t.loop);
    unr_buffer_free(&t.buffer);
    unr_sim_close(t.fds[0]);
    unr_sim_close(t.fds[1]);
}

/* In a time namespace all that waits for a time waits as long as elsewhere, and asks the kernel no
 * more often. */
static void in_a_time_namespace(const struct scenario *scenario)
{
    static const unr_time shifts[] = { 0, UNR_SEC(1000000), -UNR_SEC(100) };
    struct timed          t = { 0 };
    struct unr_stats      stats;
    (void)scenario;
    unr_sim_shift_clock(shifts[unr_sim_choose(3)]);
    t.loop = open_small_loop();
    unr_sim_socketpair(t.fds, 0);
    unr_time begin = unr_loop_now(t.loop);
    switch (unr_sim_choose(3)) {
    case 0:
        unr_start(t.loop, unr_timer_after(&t.timer, UNR_SEC(5)), count_run, &t.runs);
        drive(&t, unr_sim_choose(3), UNR_NEVER);
        break;
    case 1:
        unr_start(t.loop, describe_timed(&t, "recv", UNR_SEC(5)), count_run, &t.runs);
        drive(&t, unr_sim_choose(3), UNR_NEVER);
        break;
    default:
        unr_start(t.loop, unr_recv(&t.recv, t.fds[0], t.bytes, 3, 0), count_run, &t.runs);
        for (int turns = 0; unr_loop_now(t.loop) < begin + UNR_SEC(5); turns++) {
            unr_sim_check(turns < TURNS_MAX, "it ends within a hundred turns");
            unr_loop_run_once(t.loop, begin + UNR_SEC(5) - unr_loop_now(t.loop));
        }
    }
    unr_time took = unr_loop_now(t.loop) - begin;
    unr_sim_check(took >= UNR_SEC(5) && took < UNR_SEC(6), "it ends when its time has come");
    unr_loop_stats(t.loop, &stats, sizeof stats);
    unr_sim_check(stats.enters < 20, "with a handful of calls of the kernel");
    close_loop(t.loop);
    unr_sim_close(t.fds[0]);
    unr_sim_close(t.fds[1]);
}

/* ---- requests: or-ed, never erased, and told ---- */

struct asked {
    struct subject s;
    unsigned       types;
};

static void ask_for(struct asked *a, unsigned types, int cause)
{
    if (unr_cancel_cause(&a->s.op, types, cause))
        a->types |= types;
    unr_sim_check(!unr_in_flight(&a->s.op) || a->s.op.result.requested == a->types,
                  "requests are or-ed");
}

/* One that is refused, two that are honoured, one that is refused again: nothing that was asked is
 * forgotten, the cause is that of the first that was honoured, and the guarantee is the strongest
 * that it supports. */
static void requests_are_or_ed(const struct scenario *scenario)
{
    struct asked a = { 0 };
    set_up(&a.s, type_named(scenario->parameter), open_small_loop());
    start(&a.s);
    some_turns(a.s.loop, 2);
    ask_for(&a, UNR_CANCEL_TOTAL, -7);
    unr_sim_check(a.s.op.result.verdict == UNR_VERDICT_REFUSED && a.s.op.result.cause == -7,
                  "it cannot be undone wholly");
    some_turns(a.s.loop, 1);
    ask_for(&a, UNR_CANCEL_TERMINAL, -8);
    some_turns(a.s.loop, 1);
    ask_for(&a, UNR_CANCEL_TOTAL, -9);
    some_turns(a.s.loop, 1);
    ask_for(&a, UNR_CANCEL_PARTIAL, -10);
    run_to_the_end(a.s.loop);
    const struct unr_result *r = &a.s.op.result;
    bool                     began = r->verdict != UNR_VERDICT_UNSUBMITTED;
    unr_sim_check(r->error == -ECANCELED, "the second request is honoured");
    unr_sim_check(r->requested == a.types, "requests are or-ed, and none is erased");
    unr_sim_check(r->cause == -8, "the cause is that of the first request that was honoured");
    unr_sim_check(r->guarantee == (began ? UNR_CANCEL_PARTIAL : UNR_CANCEL_TOTAL),
                  "the guarantee is the strongest it can give");
    verify(&a.s);
    tear_down(&a.s);
}

/* What nobody provokes ends by a request, and by one: the kernel answers that it took effect, and
 * nothing is asked again. */
static void request_ends_what_waits(const struct scenario *scenario)
{
    struct subject s;
    set_up(&s, type_named(scenario->parameter), open_small_loop());
    start(&s);
    some_turns(s.loop, 2);
    unr_sim_check(unr_cancel_cause(&s.op, UNR_CANCEL_ALL, -9), "it waits");
    run_to_the_end(s.loop);
    unr_sim_check(s.op.result.error == -ECANCELED && unr_outcome(&s.op.result) == -9,
                  "the request ended it");
    unr_sim_check(s.op.result.guarantee == UNR_CANCEL_TOTAL,
                  "the guarantee is the strongest that it supports");
    unr_sim_check(repeated(s.loop) == 0, "a cancel that took effect is not repeated");
    verify(&s);
    tear_down(&s);
}

/* MSG_WAITALL cut short: a count below what was asked is no success, also when the cancel was lost
 * and had to be repeated. */
static void request_cuts_short(const struct scenario *scenario)
{
    struct subject s;
    set_up(&s, type_named(scenario->parameter), open_small_loop());
    bool reads = !strncmp(s.type->name, "recv", 4), early = unr_sim_choose(2);
    if (reads && early)
        s.sent = (size_t)unr_sim_write(s.fds[1], "01234567", 8);
    start(&s);
    some_turns(s.loop, 3);
    if (reads && !early)
        s.sent = (size_t)unr_sim_write(s.fds[1], "01234567", 8);
    some_turns(s.loop, 1);
    unr_cancel(&s.op, UNR_CANCEL_PARTIAL);
    run_to_the_end(s.loop);
    unr_sim_check(s.op.result.error == -ECANCELED, "cut short is cancelled");
    unr_sim_check(s.op.result.guarantee
                      == (s.op.result.verdict == UNR_VERDICT_UNSUBMITTED ? UNR_CANCEL_TOTAL
                                                                         : UNR_CANCEL_PARTIAL),
                  "and partial, once it began");
    verify(&s);
    tear_down(&s);
}

/* One that goes on to its end: its count is all that was asked. */
static void all_or_cut_short(const struct scenario *scenario)
{
    struct subject s;
    set_up(&s, type_named(scenario->parameter), open_small_loop());
    start(&s);
    unr_sim_later(s.type->provoke, &s);
    some_turns(s.loop, 2);
    unr_cancel(&s.op, UNR_CANCEL_ALL);
    run_to_the_end(s.loop);
    size_t asked = strncmp(s.type->name, "recv", 4) ? (size_t)ROOM : 12;
    unr_sim_check(s.op.result.error == -ECANCELED
                      || (s.op.result.error == 0 && s.op.result.bytes == asked),
                  "a count short of what was asked is no success");
    verify(&s);
    tear_down(&s);
}

struct late {
    struct unr_op first, second;
    unsigned      told;
    int           runs;
};

static void ask_the_second(struct unr_op *op)
{
    struct late *l = op->data;
    l->runs++;
    if (unr_cancel_cause(&l->second, UNR_CANCEL_TOTAL, -7))
        l->told |= UNR_CANCEL_TOTAL;
    if (unr_cancel_cause(&l->second, UNR_CANCEL_PARTIAL, -8))
        l->told |= UNR_CANCEL_PARTIAL;
}

static void second_done(struct unr_op *op)
{
    struct late *l = op->data;
    l->runs++;
    unr_sim_check(!unr_cancel(op, UNR_CANCEL_ALL), "in done there is nothing to cancel");
}

/* Asked inside the `done` of another, of the same turn or not: what answered true says so in its
 * result. */
static void request_between_completion_and_done(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct late      l = { 0 };
    (void)scenario;
    unr_start(loop, unr_nop(&l.first), ask_the_second, &l);
    unr_start(loop, unr_nop(&l.second), second_done, &l);
    run_to_the_end(loop);
    const struct unr_result *r = &l.second.result;
    unr_sim_check(l.runs == 2, "each done once");
    unr_sim_check(r->requested == l.told, "what answered true is in the result");
    unr_sim_check(r->cause == (l.told ? -7 : 0), "with the cause of the first");
    if (r->error == 0)
        unr_sim_check(r->verdict == (l.told ? UNR_VERDICT_TOO_LATE : UNR_VERDICT_NONE),
                      "and with what became of it");
    outcome("error %d told %u", r->error, l.told);
    close_loop(loop);
}

/* What runs in a worker and cannot be interrupted says so; interrupted, it is cancelled, whatever
 * the worker's errno. */
static void request_of_what_runs(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    op = { 0 };
    int              from[2], to[2], runs = 0;
    (void)scenario;
    unr_sim_pipe(from, 0);
    unr_sim_pipe(to, 0);
    unr_start(loop, unr_splice(&op, from[0], -1, to[1], -1, 4, 0), count_run, &runs);
    for (int turns = 0; turns < 6; turns++)
        unr_loop_run_once(loop, 0); /* by now a worker waits in it */
    bool written = unr_sim_choose(2);
    unr_cancel(&op, UNR_CANCEL_TOTAL);
    unsigned turns_before = written ? 0 : unr_sim_choose(3);
    for (unsigned turns = turns_before; turns; turns--)
        unr_loop_run_once(loop, 0);
    unr_sim_write(from[1], "abcd", 4);
    run_to_the_end(loop);
    unr_sim_check(runs == 1, "each done once");
    unr_sim_check(op.result.error == -ECANCELED || (op.result.error == 0 && op.result.bytes == 4),
                  "interrupted is cancelled");
    /* With something to move already, the worker may come to its end before the cancel looks for
     * it. */
    bool may_be_late =
        turns_before == 0 && op.result.error == 0 && op.result.verdict == UNR_VERDICT_TOO_LATE;
    unr_sim_check(may_be_late
                      || op.result.verdict
                             == (op.result.error ? UNR_VERDICT_CANCELLED : UNR_VERDICT_RUNNING),
                  "the kernel's own word");
    close_loop(loop);
    for (int i = 0; i < 2; i++) {
        unr_sim_close(from[i]);
        unr_sim_close(to[i]);
    }
}

/* A connect that was cancelled and is not undone, because its descriptor is gone, promises no more
 * than TERMINAL: where the undoing fails, as another loop has closed the number, and where this
 * loop has, and the number is another connection's, which stays as it is. */
static void undoing_fails(const struct scenario *scenario)
{
    struct unr_loop   *loop = open_small_loop(), *other_loop = open_small_loop();
    struct unr_op      op = { 0 }, closer = { 0 };
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(80),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int listener = unr_sim_listener(80, 0), other = unr_sim_connect(80), fd = unr_sim_socket(),
        runs = 0, pair[2] = { -1, -1 };
    bool             given_out = scenario->parameter;
    struct unr_loop *closes = given_out ? loop : other_loop;
    char             byte;
    unr_start(loop, unr_connect(&op, fd, (struct sockaddr *)&to, sizeof to), count_run, &runs);
    unr_loop_run_once(loop, 0);
    unr_start(closes, unr_close(&closer, fd), NULL, NULL);
    while (unr_in_flight(&closer))
        unr_loop_run_once(closes, 0);
    if (given_out) {
        unr_sim_socketpair(pair, 0);
        unr_sim_check(pair[0] == fd, "the number is given out again");
    }
    unr_cancel(&op, UNR_CANCEL_ALL);
    run_to_the_end(loop);
    unr_sim_check(runs == 1 && op.result.verdict == UNR_VERDICT_CANCELLED, "it was cancelled");
    unr_sim_check(op.result.guarantee == UNR_CANCEL_TERMINAL,
                  "what could not be undone is no total cancellation");
    if (given_out) {
        unr_sim_check(unr_sim_write(pair[0], "x", 1) == 1 && unr_sim_read(pair[1], &byte, 1) == 1,
                      "another connection is left alone");
        unr_sim_close(pair[0]);
        unr_sim_close(pair[1]);
    }
    close_loop(loop);
    close_loop(other_loop);
    unr_sim_close(listener);
    unr_sim_close(other);
}

/* ---- operation types of a caller's own ---- */

struct own {
    struct unr_op      op;
    struct unr_signal  signal;
    struct unr_signal *emits; /* while it starts */
    unsigned           starts, cancels, types;
    int                runs, cause;
    bool               finishes_at_once, ignores;
    unsigned           guarantee; /* that it sets itself; 0: none */
    unsigned           again;     /* how often it is started again in its `done` */
};

static bool inside_a_call; /* of unr_start, unr_cancel or an emit: no `done` runs there */

static struct own *own_of(struct unr_op *op)
{
    return unr_container_of(op, struct own, op);
}

static void own_start(struct unr_op *op)
{
    struct own *o = own_of(op);
    o->starts++;
    if (o->emits)
        unr_signal_emit_cause(o->emits, UNR_CANCEL_TERMINAL, -5);
    if (o->finishes_at_once)
        unr_finish(op, 0);
}

static void own_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct own *o = own_of(op);
    o->cancels++;
    o->types |= request.types;
    if (o->ignores)
        return;
    if (o->guarantee)
        op->result.guarantee = (uint8_t)o->guarantee;
    unr_finish(op, -ECANCELED);
}

static const struct unr_op_type own_type = {
    .size = sizeof own_type,
    .supports = UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL,
    .name = "own",
    .start = own_start,
    .cancel = own_cancel,
};

static void own_done(struct unr_op *op)
{
    struct own *o = own_of(op);
    unr_sim_check(!inside_a_call, "no done runs inside a start, a cancel or an emit");
    o->runs++;
    if (o->again) {
        o->again--;
        unr_start(unr_loop_of(op), unr_describe(op, &own_type), own_done, o);
    }
}

static void start_own(struct unr_loop *loop, struct own *o)
{
    inside_a_call = true;
    unr_start(loop, unr_bind_slot(unr_describe(&o->op, &own_type), unr_signal_slot(&o->signal)),
              own_done, o);
    inside_a_call = false;
}

/* The handler is in the slot before the type's start runs: a request made there reaches it. */
static void handler_is_installed_before_start(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct own       o = { .guarantee = unr_sim_choose(2) ? UNR_CANCEL_TERMINAL : 0 };
    (void)scenario;
    inside_a_call = false;
    o.emits = &o.signal;
    start_own(loop, &o);
    unr_sim_check(o.cancels == 1 && unr_in_flight(&o.op), "the request reached it");
    run_to_the_end(loop);
    unr_sim_check(o.runs == 1 && o.op.result.error == -ECANCELED && o.op.result.cause == -5,
                  "and ended it");
    unr_sim_check(o.op.result.guarantee == (o.guarantee ? o.guarantee : UNR_CANCEL_PARTIAL),
                  "with its own guarantee, or the strongest");
    unr_sim_check(!unr_slot_has_handler(unr_signal_slot(&o.signal)),
                  "the slot is empty afterwards");
    close_loop(loop);
}

/* A type hears of each kind of request once, of none that it does not honour, and may complete all
 * the same. */
static void type_hears_each_request_once(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct own       o = { .ignores = true };
    (void)scenario;
    inside_a_call = false;
    start_own(loop, &o);
    some_turns(loop, 1);
    unr_cancel_cause(&o.op, UNR_CANCEL_TOTAL, -6);
    unr_sim_check(o.cancels == 0, "it supports no total cancellation");
    unr_signal_emit_cause(&o.signal, UNR_CANCEL_PARTIAL, -7);
    unr_cancel_cause(&o.op, UNR_CANCEL_PARTIAL | UNR_CANCEL_TOTAL, -8);
    unr_sim_check(o.cancels == 1, "it was told so already");
    unr_cancel_cause(&o.op, UNR_CANCEL_TERMINAL, -9);
    unr_sim_check(o.cancels == 2, "this is a new type");
    unr_finish(&o.op, 0);
    unr_cancel_cause(&o.op, UNR_CANCEL_ALL, -10);
    unr_sim_check(o.cancels == 2, "what has finished is not asked");
    run_to_the_end(loop);
    unr_sim_check(o.runs == 1 && o.op.result.error == 0
                      && o.op.result.verdict == UNR_VERDICT_TOO_LATE,
                  "finished beats cancelled");
    unr_sim_check(o.op.result.requested == UNR_CANCEL_ALL && o.op.result.cause == -7,
                  "all that was asked is told");
    close_loop(loop);
}

/* Nothing's `done` runs inside a call, whatever that ends. */
static void no_done_inside_a_call(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct own       a = { .finishes_at_once = true }, b = { 0 }, c = { 0 };
    struct unr_timer timer = { 0 };
    (void)scenario;
    inside_a_call = false;
    start_own(loop, &a);
    start_own(loop, &b);
    unr_start(loop, unr_bind_slot(unr_nop(&c.op), unr_signal_slot(&c.signal)), own_done, &c);
    unr_start(loop, unr_timer_after(&timer, UNR_SEC(1)), NULL, NULL);
    unr_sim_check(a.runs == 0, "not yet");
    some_turns(loop, 1);
    inside_a_call = true;
    unr_cancel(&b.op, UNR_CANCEL_ALL);
    unr_signal_emit(&c.signal, UNR_CANCEL_ALL);
    unr_cancel(&timer.op, UNR_CANCEL_ALL);
    inside_a_call = false;
    run_to_the_end(loop);
    unr_sim_check(a.runs == 1 && b.runs == 1 && c.runs == 1, "each done once");
    close_loop(loop);
}

/* One that ends at once and is started again in its `done` starves nobody: a turn runs what was
 * known when it began. */
static void restarting_starves_nobody(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct own       o = { .finishes_at_once = true, .again = 3 };
    (void)scenario;
    inside_a_call = false;
    start_own(loop, &o);
    for (int turns = 1; turns <= 4; turns++)
        unr_sim_check(unr_loop_run_once(loop, UNR_NEVER) == 1 && o.runs == turns,
                      "one done a turn");
    unr_sim_check(unr_loop_in_flight(loop) == 0, "that was all");
    close_loop(loop);
}

/* A tree with a branch beside a deep one, and with a latched signal of its own, comes below a
 * latched signal: what is beside learns of that, and what is below the other latched signal does
 * not. */
static void latched_where(const struct scenario *scenario)
{
    struct unr_loop  *loop = open_small_loop();
    struct own        beside = { 0 }, below = { 0 };
    struct unr_signal root = { 0 }, middle = { 0 }, latched = { 0 }, branch = { 0 }, twig = { 0 },
                      leaf = { 0 };
    (void)scenario;
    inside_a_call = false;
    unr_signal_init_latched(&root);
    unr_signal_init_latched(&latched);
    unr_signal_attach(&beside.signal, &middle);
    unr_signal_attach(&leaf, &twig);
    unr_signal_attach(&twig, &branch);
    unr_signal_attach(&branch, &middle);
    unr_signal_attach(&below.signal, &latched);
    unr_signal_attach(&latched, &middle);
    unr_signal_attach(&middle, &root);
    unr_signal_emit(&root, UNR_CANCEL_PARTIAL);
    start_own(loop, &beside);
    unr_sim_check(beside.op.result.requested == UNR_CANCEL_PARTIAL, "it was asked at start");
    unr_signal_reset(&root);
    start_own(loop, &below);
    unr_sim_check(below.op.result.requested == UNR_CANCEL_PARTIAL, "that one has a memory");
    run_to_the_end(loop);
    unr_sim_check(beside.runs == 1 && below.runs == 1, "each done once");
    close_loop(loop);
}

/* Bound to a latched signal, or to a child of one, that was emitted: it never begins, unless it
 * honours none of it. */
static void latched_above(const struct scenario *scenario)
{
    struct unr_loop  *loop = open_small_loop();
    struct own        o = { 0 };
    struct unr_signal root = { 0 }, middle = { 0 };
    bool              emitted_before = unr_sim_choose(2), honoured = unr_sim_choose(2);
    unsigned          types = honoured ? UNR_CANCEL_PARTIAL : UNR_CANCEL_TOTAL;
    (void)scenario;
    inside_a_call = false;
    unr_signal_init_latched(&root);
    if (emitted_before) {
        unr_signal_emit_cause(&root, types, -7);
        unr_signal_emit_cause(&root, types, -8);
    }
    unr_signal_attach(&o.signal, &middle);
    unr_signal_attach(&middle, &root);
    if (!emitted_before) {
        unr_signal_emit_cause(&root, types, -7);
        unr_signal_emit_cause(&root, types, -8);
    }
    start_own(loop, &o);
    unr_sim_check(o.starts == !honoured, "what a latched request ends never begins");
    unr_sim_check(o.op.result.requested == types, "it was asked at start");
    if (!honoured)
        unr_finish(&o.op, 0);
    run_to_the_end(loop);
    unr_sim_check(o.runs == 1, "each done once");
    unr_sim_check(o.op.result.verdict == (honoured ? UNR_VERDICT_UNSUBMITTED : UNR_VERDICT_REFUSED),
                  "a request at start");
    unr_sim_check(o.op.result.cause == -7, "the cause of the first emit");
    unr_sim_check(!honoured || o.op.result.guarantee == UNR_CANCEL_TOTAL,
                  "what never began left nothing");

    unr_signal_reset(&root);
    start_own(loop, &o);
    unr_sim_check(o.starts == 1u + !honoured, "reset, it begins");
    unr_signal_detach(&middle);
    unr_signal_emit(&root, UNR_CANCEL_ALL);
    unr_sim_check(o.cancels == 0, "what is not attached is not asked");
    unr_signal_attach(&middle, &root);
    unr_sim_check(o.cancels == 1, "what is attached is asked what was latched");
    run_to_the_end(loop);
    unr_sim_check(o.runs == 2, "each done once");
    unr_signal_detach(&o.signal);
    unr_signal_detach(&middle);
    close_loop(loop);
}

/* ---- slots and trees of signals ---- */

struct heard {
    struct tree *tree;
    unsigned     index, count, types;
    int          cause;
};

enum { CHILDREN = 4 };

struct tree {
    struct unr_signal parent, children[CHILDREN], late;
    struct heard      heard[CHILDREN + 2]; /* the parent's, and that of `late` */
    unsigned          at, what, whom;
    bool              done;
};

static bool hear(void *context, struct unr_cancel_request request)
{
    struct heard *h = context;
    struct tree  *t = h->tree;
    h->count++;
    h->types |= request.types;
    h->cause = request.cause;
    if (h->index != t->at || t->done)
        return true;
    t->done = true;
    switch (t->what) {
    case 0: break;
    case 1: unr_signal_detach(&t->children[t->whom]); break;
    case 2: unr_slot_clear(unr_signal_slot(&t->children[t->whom])); break;
    case 3: unr_signal_attach(&t->late, &t->parent); break;
    case 4: unr_signal_emit_cause(&t->children[t->whom], UNR_CANCEL_TERMINAL, -3); break;
    case 5:
        unr_signal_detach(&t->children[t->whom]);
        unr_signal_attach(&t->children[t->whom], &t->parent);
        break;
    case 6:
        for (unsigned i = 0; i < CHILDREN; i++)
            unr_signal_detach(&t->children[i]);
        break;
    }
    return true;
}

/* An emit reaches each child once, whatever the handlers do to the tree meanwhile: what is taken
 * out before its turn is not reached, what is put in is not reached. */
static void emit_while_the_tree_changes(const struct scenario *scenario)
{
    struct tree t = { 0 };
    (void)scenario;
    t.at = unr_sim_choose(CHILDREN);
    t.what = unr_sim_choose(7);
    t.whom = unr_sim_choose(CHILDREN);
    for (unsigned i = 0; i < CHILDREN + 2; i++)
        t.heard[i] = (struct heard){ .tree = &t, .index = i };
    for (unsigned i = 0; i < CHILDREN; i++) {
        unr_slot_assign(unr_signal_slot(&t.children[i]), hear, &t.heard[i]);
        unr_signal_attach(&t.children[i], &t.parent); /* in front: the last is asked first */
    }
    unr_slot_assign(unr_signal_slot(&t.parent), hear, &t.heard[CHILDREN]);
    unr_slot_assign(unr_signal_slot(&t.late), hear, &t.heard[CHILDREN + 1]);
    unr_sim_check(unr_signal_emit_cause(&t.parent, UNR_CANCEL_PARTIAL, -4), "somebody heard it");
    for (unsigned i = 0; i < CHILDREN; i++) {
        bool     concerned = i == t.whom, passed = i >= t.at;
        unsigned expected = 1;
        if (concerned && !passed && (t.what == 1 || t.what == 2 || t.what == 5))
            expected = 0;
        if (concerned && t.what == 4)
            expected = 2;
        if (!passed && t.what == 6)
            expected = 0;
        unr_sim_check(t.heard[i].count == expected, "an emit reaches each that is there, once");
    }
    unr_sim_check(t.heard[CHILDREN].count == 1, "its own handler runs once, last");
    unr_sim_check(t.heard[CHILDREN + 1].count == 0, "what is attached meanwhile is not reached");
    unr_sim_check(t.heard[CHILDREN].types == UNR_CANCEL_PARTIAL && t.heard[CHILDREN].cause == -4,
                  "with types and cause");
}

/* A server's signal, a session's below it, and those of the session's requests. */
struct freed {
    struct unr_signal server, other;
    struct {
        struct unr_signal session, requests[2];
    } memory; /* freed inside an emit */
    unsigned heard, frees_at, order;
    bool     again, freed;
};

static void let_session_go(struct freed *f, unsigned act)
{
    switch (act) {
    case 0: unr_signal_detach(&f->memory.session); break;
    case 1: unr_slot_clear(unr_signal_slot(&f->memory.session)); break;
    default: unr_signal_detach(&f->memory.requests[0]); unr_signal_detach(&f->memory.requests[1]);
    }
}

static bool frees_the_session(void *context, struct unr_cancel_request request)
{
    static const unsigned char orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                                { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    struct freed              *f = context;
    if (f->again) { /* another emit passes through */
        f->again = false;
        unr_signal_emit_cause(&f->memory.session, request.types, request.cause);
        return true;
    }
    unr_sim_check(!f->freed, "what was freed is not reached");
    if (f->heard++ != f->frees_at)
        return true;
    for (unsigned i = 0; i < 3; i++)
        let_session_go(f, orders[f->order][i]);
    memset(&f->memory, 0x5a, sizeof f->memory);
    f->freed = true;
    return true;
}

static bool hears(void *context, struct unr_cancel_request request)
{
    (void)request;
    ++*(unsigned *)context;
    return false;
}

/* A handler lets a signal go through which the emit passes, and frees it: the emit touches it no
 * more, and goes on with the others. */
static void freed_inside_an_emit(const struct scenario *scenario)
{
    struct freed f = { 0 };
    unsigned     others = 0;
    (void)scenario;
    f.frees_at = unr_sim_choose(2);
    f.order = unr_sim_choose(6);
    f.again = unr_sim_choose(2);
    bool listens = unr_sim_choose(2), below = unr_sim_choose(2);
    unr_slot_assign(unr_signal_slot(&f.other), hears, &others);
    unr_signal_attach(&f.other, &f.server);
    if (below)
        unr_signal_attach(&f.memory.session, &f.server);
    for (unsigned i = 0; i < 2; i++) {
        unr_slot_assign(unr_signal_slot(&f.memory.requests[i]), frees_the_session, &f);
        unr_signal_attach(&f.memory.requests[i], &f.memory.session);
    }
    if (listens)
        unr_slot_assign(unr_signal_slot(&f.memory.session), hears, &others);
    bool     again = f.again;
    unsigned count = unr_signal_emit(below ? &f.server : &f.memory.session, UNR_CANCEL_ALL);
    unr_sim_check(f.freed && count == (again ? 1 : f.frees_at + 1),
                  "an emit counts who honoured it");
    for (unsigned i = 0; i < sizeof f.memory; i++)
        unr_sim_check(((unsigned char *)&f.memory)[i] == 0x5a, "what was freed is not touched");
    unr_sim_check(others == below, "the emit goes on with the others");
    unr_signal_detach(&f.other);
}

static bool do_nothing(void *context, struct unr_cancel_request request)
{
    (void)request;
    ++*(int *)context;
    return true;
}

/* A slot that is given to another meanwhile stays the other's, and no request reaches the operation
 * through it any more. */
static void slot_reassigned(const struct scenario *scenario)
{
    struct subject s;
    int            heard = 0;
    set_up(&s, type_named(scenario->parameter), open_small_loop());
    unr_start(s.loop, unr_bind_slot(s.type->describe(&s), unr_signal_slot(&s.signal)), count_run,
              &s.runs);
    some_turns(s.loop, 2);
    unr_sim_check(unr_in_flight(&s.op), "it waits");
    unr_slot_assign(unr_signal_slot(&s.signal), do_nothing, &heard);
    unr_sim_check(unr_signal_emit(&s.signal, UNR_CANCEL_ALL) && heard == 1, "the new one is asked");
    unr_sim_check(s.op.result.requested == 0, "the operation is not");
    unr_cancel(&s.op, UNR_CANCEL_ALL);
    run_to_the_end(s.loop);
    unr_sim_check(s.signal.slot.handler == do_nothing && s.signal.slot.context == &heard,
                  "a slot stays whose it is");
    verify(&s);
    tear_down(&s);
}

/* ---- multishot and zero copy ---- */

struct shots {
    struct unr_loop *loop;
    struct unr_op    op;
    struct shots    *cancels;  /* in its first shot; may be itself */
    struct shots    *provokes; /* in its first `done` */
    int              fds[2];
    unsigned         shots;
    unr_time         not_before; /* the first shot, at the earliest */
    int              ends;
    bool             told;
};

static void fill_poll(void *entry, void *context)
{
    struct io_uring_sqe *sqe = entry;
    *sqe = (struct io_uring_sqe){ .opcode = IORING_OP_POLL_ADD,
                                  .fd = ((struct shots *)context)->fds[0],
                                  .len = IORING_POLL_ADD_MULTI,
                                  .poll32_events = 1 /* POLLIN */ };
}

static void shot_done(struct unr_op *op)
{
    struct shots *s = op->data;
    unr_sim_check(s->ends == 0, "nothing comes behind the last");
    if (op->result.flags & UNR_MORE) {
        unr_sim_check(op->result.error == 0 && op->result.value & 1, "a shot tells what holds");
        unr_sim_check(unr_in_flight(op), "a multishot operation goes on");
        unr_sim_check(unr_loop_now(s->loop) >= s->not_before, "a shot is told what time it is");
        s->shots++;
    } else {
        unr_sim_check(!unr_in_flight(op), "the last is the last");
        s->ends++;
    }
    if (s->provokes && s->shots + (unsigned)s->ends == 1) {
        unr_sim_write(s->provokes->fds[1], "x", 1);
        unr_sim_choose(1); /* the kernel may go on meanwhile */
    }
    if (s->cancels && !s->cancels->told)
        s->cancels->told = unr_cancel_cause(&s->cancels->op, UNR_CANCEL_TOTAL, -7);
}

static void start_shots(struct shots *s, struct unr_loop *loop)
{
    *s = (struct shots){ .loop = loop };
    unr_sim_socketpair(s->fds, 0);
    unr_start(loop, unr_sqe(&s->op, "poll", UNR_CANCEL_ALL, fill_poll, s), shot_done, s);
}

static void verify_shots(struct shots *s)
{
    unr_sim_check(s->ends == 1, "one done is the last");
    unr_sim_check((s->op.result.requested != 0) == s->told, "asked as it was told");
    if (s->op.result.error)
        unr_sim_check(s->op.result.error == -ECANCELED && s->op.result.cause == -7,
                      "ended by the request, and why");
    unr_sim_close(s->fds[0]);
    unr_sim_close(s->fds[1]);
}

static void shot_provoked(void *context)
{
    unr_sim_write(((struct shots *)context)->fds[1], "x", 1);
}

/* A poll that tells again and again, cancelled at any point, or inside a shot of its own: it ends
 * once, and soon. */
static void shots_cancelled(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct shots     s;
    (void)scenario;
    start_shots(&s, loop);
    bool inside = unr_sim_choose(2);
    if (inside) {
        s.cancels = &s;
        unr_sim_write(s.fds[1], "x", 1);
    } else {
        unr_sim_later(shot_provoked, &s);
        some_turns(loop, 3);
        s.told = unr_cancel_cause(&s.op, UNR_CANCEL_TOTAL, -7);
    }
    run_to_the_end(loop);
    close_loop(loop);
    verify_shots(&s);
}

static void shot_provoked_later(void *context)
{
    unr_sim_compute(UNR_USEC(500));
    shot_provoked(context);
}

/* A shot comes out of a wait, in front of which the loop has asked for the time because of a timer:
 * the time in its `done` is not that one, however short the wait was. */
static void shots_after_a_wait(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct shots     s;
    struct unr_timer later = { 0 };
    int              runs = 0;
    (void)scenario;
    start_shots(&s, loop);
    unr_start(loop, unr_timer_after(&later, UNR_SEC(10)), count_run, &runs);
    s.not_before = unr_loop_now(loop) + UNR_USEC(500);
    unr_sim_later(shot_provoked_later, &s);
    while (!s.shots && !runs)
        unr_loop_run_once(loop, UNR_NEVER);
    s.told = unr_cancel_cause(&s.op, UNR_CANCEL_TOTAL, -7);
    unr_cancel(&later.op, UNR_CANCEL_ALL);
    run_to_the_end(loop);
    verify_shots(&s);
    close_loop(loop);
}

/* Two of them, one of which is cancelled inside the other's shot, while its own may be on the
 * way. */
static void shots_of_two(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct shots     a, b;
    (void)scenario;
    start_shots(&a, loop);
    start_shots(&b, loop);
    a.cancels = &b;
    b.cancels = &a;
    shot_provoked(&a);
    if (unr_sim_choose(2))
        shot_provoked(&b);
    for (int turns = 0; turns < 8 && !b.told; turns++)
        unr_loop_run_once(loop, 0);
    if (!a.told)
        a.told = unr_cancel_cause(&a.op, UNR_CANCEL_TOTAL, -7);
    if (!b.told)
        b.told = unr_cancel_cause(&b.op, UNR_CANCEL_TOTAL, -7);
    run_to_the_end(loop);
    close_loop(loop);
    verify_shots(&a);
    verify_shots(&b);
}

/* The shot of another comes while the loop reaps, by what the `done` of the first one does. */
static void shot_within_a_shot(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct shots     a, b;
    (void)scenario;
    start_shots(&a, loop);
    start_shots(&b, loop);
    a.provokes = &b;
    shot_provoked(&a);
    while (!b.shots && !b.ends)
        unr_loop_run_once(loop, UNR_NEVER);
    a.told = unr_cancel_cause(&a.op, UNR_CANCEL_TOTAL, -7);
    b.told = unr_cancel_cause(&b.op, UNR_CANCEL_TOTAL, -7);
    run_to_the_end(loop);
    close_loop(loop);
    verify_shots(&a);
    verify_shots(&b);
}

enum { CALLERS = 2 };

struct door {
    struct unr_op op;
    int           listener, callers[CALLERS], taken;
    int           ends;
};

static void fill_accept(void *entry, void *context)
{
    struct io_uring_sqe *sqe = entry;
    *sqe = (struct io_uring_sqe){ .opcode = IORING_OP_ACCEPT,
                                  .fd = ((struct door *)context)->listener,
                                  .ioprio = IORING_ACCEPT_MULTISHOT };
}

/* What a shot owns is the caller's in every `done`, the last included. */
static void door_done(struct unr_op *op)
{
    struct door *d = op->data;
    if (!(op->result.flags & UNR_MORE))
        d->ends++;
    if (op->result.error == 0) {
        unr_sim_check(unr_sim_close((int)op->result.value) == 0, "a success is a connection");
        d->taken++;
    }
}

/* Accepting again and again, cancelled at any point: each connection is taken once or still waits,
 * and no descriptor is lost. */
static void shots_of_an_accept(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct door      d = { .listener = unr_sim_listener(80, CALLERS) };
    (void)scenario;
    unr_start(loop, unr_sqe(&d.op, "accept", UNR_CANCEL_ALL, fill_accept, &d), door_done, &d);
    some_turns(loop, 1);
    for (int i = 0; i < CALLERS; i++)
        d.callers[i] = unr_sim_connect(80);
    some_turns(loop, 2);
    unr_cancel(&d.op, UNR_CANCEL_TOTAL);
    run_to_the_end(loop);
    unr_sim_check(d.ends == 1, "one done is the last");
    for (int fd; (fd = unr_sim_accept(d.listener)) >= 0; d.taken++)
        unr_sim_close(fd);
    unr_sim_check(d.taken == CALLERS, "each connection is taken once or still waits");
    close_loop(loop);
    unr_sim_close(d.listener);
    for (int i = 0; i < CALLERS; i++)
        unr_sim_close(d.callers[i]);
}

static void fill_send_zc(void *entry, void *subject)
{
    struct io_uring_sqe *sqe = entry;
    struct subject      *s = subject;
    *sqe = (struct io_uring_sqe){
        .opcode = IORING_OP_SEND_ZC, .fd = s->fds[0], .addr = (uintptr_t)s->buf, .len = 8
    };
}

static void use_the_buffer_again(struct unr_op *op)
{
    struct subject *s = op->data;
    s->received += (size_t)op->result.value;
    memset(s->buf, 'z', sizeof s->buf);
    if (++s->runs == 1)
        unr_start(s->loop, unr_sqe(op, "send_zc", UNR_CANCEL_ALL, fill_send_zc, s),
                  use_the_buffer_again, s);
}

/* In `done` the buffer of a zero-copy send is the caller's again, and the operation can be started
 * anew. */
static void zero_copy_again(const struct scenario *scenario)
{
    struct subject s = { .loop = open_small_loop() };
    unsigned char  found[ROOM];
    (void)scenario;
    unr_sim_socketpair(s.fds, 0);
    unr_start(s.loop, unr_sqe(&s.op, "send_zc", UNR_CANCEL_ALL, fill_send_zc, &s),
              use_the_buffer_again, &s);
    some_turns(s.loop, 1);
    unr_cancel(&s.op, UNR_CANCEL_TOTAL);
    run_to_the_end(s.loop);
    unr_sim_check(s.runs == 2, "each done once");
    ssize_t n = unr_sim_read(s.fds[1], found, sizeof found);
    unr_sim_check((n > 0 ? (size_t)n : 0) == s.received, "what it counts has arrived");
    close_loop(s.loop);
    unr_sim_close(s.fds[0]);
    unr_sim_close(s.fds[1]);
}

/* ---- datagrams ---- */

enum { SENDS_MAX = 2 };
static const char greeting[] = "hello";

struct sends {
    struct unr_op op[SENDS_MAX];
    int           fds[2];
    struct iovec  piece;
    struct msghdr message;
    int           runs;
    unsigned      whole, empty; /* datagrams that have arrived */
};

static bool receive(struct sends *s)
{
    char    found[ROOM];
    ssize_t n = unr_sim_read(s->fds[1], found, sizeof found);
    s->whole += n == sizeof greeting && memcmp(found, greeting, sizeof greeting) == 0;
    s->empty += n == 0;
    return n >= 0;
}

/* Another process makes room for one datagram. */
static void receive_one(void *context)
{
    receive(context);
}

static struct unr_op *describe_one_of_three(struct sends *s, struct unr_op *op)
{
    s->piece = (struct iovec){ (char *)greeting, sizeof greeting };
    s->message = (struct msghdr){ .msg_iov = &s->piece, .msg_iovlen = 1 };
    switch (unr_sim_choose(3)) {
    case 0: return unr_send(op, s->fds[0], greeting, sizeof greeting, 0);
    case 1: return unr_sendmsg(op, s->fds[0], &s->message, 0);
    default: return unr_write(op, s->fds[0], greeting, sizeof greeting, -1);
    }
}

static void close_sends(struct unr_loop *loop, struct sends *s)
{
    while (receive(s))
        ;
    close_loop(loop);
    unr_sim_close(s->fds[0]);
    unr_sim_close(s->fds[1]);
}

/* A datagram that finds its receiver's queue full waits for room, and arrives whole; or it is
 * cancelled, and none arrives. */
static void datagram_waits_for_room(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct sends     s = { 0 };
    (void)scenario;
    unr_sim_datagrams(s.fds, 1);
    unr_sim_write(s.fds[0], "x", 1);
    unr_sim_later(receive_one, &s);
    unr_start(loop, describe_one_of_three(&s, &s.op[0]), count_run, &s.runs);
    if (unr_sim_choose(2)) {
        some_turns(loop, 1);
        unr_cancel(&s.op[0], UNR_CANCEL_TOTAL);
    }
    run_to_the_end(loop);
    const struct unr_result *r = &s.op[0].result;
    bool                     sent = r->error == 0;
    close_sends(loop, &s);
    outcome("error %d whole %u empty %u", r->error, s.whole, s.empty);
    unr_sim_check(s.runs == 1 && (sent || r->error == -ECANCELED), "it is sent, or cancelled");
    unr_sim_check(!sent || r->bytes == sizeof greeting, "all of it is sent");
    unr_sim_check(s.whole == sent && s.empty == 0, "what it says has arrived, and nothing else");
}

/* A send that has ended has put a datagram into the queue, which makes way for the next. */
static void end_one_of_two(struct unr_op *op)
{
    struct sends *s = op->data;
    if (++s->runs == 1)
        unr_sim_later(receive_one, s);
}

/* Two senders want one place.  The kernel may lose the datagram of the one that comes second, and
 * then that is its error, also where its number has been closed. */
static void datagrams_for_one_place(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    closer = { 0 };
    struct sends     s = { 0 };
    unsigned         sent = 0, lost = 0;
    unr_sim_datagrams(s.fds, 1);
    unr_sim_write(s.fds[0], "x", 1);
    unr_sim_later(receive_one, &s);
    for (unsigned i = 0; i < SENDS_MAX; i++)
        unr_start(loop, unr_send(&s.op[i], s.fds[0], greeting, sizeof greeting, 0), end_one_of_two,
                  &s);
    if (scenario->parameter)
        unr_start(loop, unr_close(&closer, s.fds[0]), NULL, NULL);
    run_to_the_end(loop);
    for (unsigned i = 0; i < SENDS_MAX; i++) {
        const struct unr_result *r = &s.op[i].result;
        unr_sim_check(r->error == 0 || r->error == -EAGAIN, "it is sent, or lost");
        unr_sim_check(r->bytes == (r->error ? 0 : sizeof greeting), "it counts what was sent");
        sent += r->error == 0;
        lost += r->error == -EAGAIN;
    }
    close_sends(loop, &s);
    outcome("sent %u lost %u", sent, lost);
    unr_sim_check(s.whole == sent && s.empty == lost, "what they say has arrived");
}

/* ---- flags ---- */

/* The kernel's own, for messages of 32-bit programs. */
#define MSG_OF_32_BITS 0x80000000u

static struct unr_op *describe_with_harmful_flag(struct subject *s)
{
    const int  peek = MSG_PEEK | MSG_WAITALL, compat = (int)MSG_OF_32_BITS;
    const int *fds = s->fds;
    s->iov[0] = (struct iovec){ s->buf, sizeof s->buf };
    s->msg = (struct msghdr){ .msg_iov = s->iov, .msg_iovlen = 1 };
    switch (unr_sim_choose(10)) {
    case 0: return unr_recv(&s->op, fds[0], s->buf, ROOM, peek);
    case 1: return unr_recvfrom(&s->datagram, fds[0], s->buf, ROOM, peek, NULL, NULL);
    case 2: return unr_recvmsg(&s->op, fds[0], &s->msg, peek);
    case 3: return unr_recvmsg(&s->op, fds[0], &s->msg, compat);
    case 4: return unr_send(&s->op, fds[0], s->buf, ROOM, MSG_ZEROCOPY);
    case 5: return unr_sendto(&s->op, fds[0], s->buf, ROOM, MSG_ZEROCOPY, NULL, 0);
    case 6: return unr_sendmsg(&s->op, fds[0], &s->msg, MSG_ZEROCOPY);
    case 7: return unr_sendmsg(&s->op, fds[0], &s->msg, compat);
    case 8: return unr_splice(&s->op, fds[0], -1, fds[2], -1, ROOM, SPLICE_F_FD_IN_FIXED);
    default: return unr_tee(&s->op, fds[2], fds[3], ROOM, SPLICE_F_FD_IN_FIXED);
    }
}

/* A flag with which the kernel would harm the program never gets there: nothing is taken, and
 * nothing is sent. */
static void harmful_flags_are_refused(const struct scenario *scenario)
{
    struct subject s = { .loop = open_small_loop() };
    unsigned char  found[ROOM];
    (void)scenario;
    unr_sim_socketpair(s.fds, 0);
    unr_sim_pipe(s.fds + 2, 0);
    unr_sim_write(s.fds[1], "abc", 3);
    unr_start(s.loop, describe_with_harmful_flag(&s), count_run, &s.runs);
    run_to_the_end(s.loop);
    unr_sim_check(s.runs == 1 && s.op.result.error == -EINVAL, "it is refused");
    unr_sim_check(unr_sim_read(s.fds[0], found, ROOM) == 3 && memcmp(found, "abc", 3) == 0,
                  "nothing was taken");
    unr_sim_check(unr_sim_read(s.fds[1], found, ROOM) == -EAGAIN, "nothing was sent");
    close_loop(s.loop);
    for (unsigned i = 0; i < 4; i++)
        unr_sim_close(s.fds[i]);
}

static struct unr_op *describe_receive_all(struct subject *s)
{
    s->iov[0] = (struct iovec){ s->buf, sizeof s->buf };
    s->msg = (struct msghdr){ .msg_iov = s->iov, .msg_iovlen = 1 };
    switch (unr_sim_choose(3)) {
    case 0: return unr_recv(&s->op, s->fds[1], s->buf, ROOM, MSG_WAITALL);
    case 1: return unr_recvfrom(&s->datagram, s->fds[1], s->buf, ROOM, MSG_WAITALL, NULL, NULL);
    default: return unr_recvmsg(&s->op, s->fds[1], &s->msg, MSG_WAITALL);
    }
}

static void send_two_records(void *context)
{
    struct subject *s = context;
    unr_sim_write(s->fds[0], "abc", 3);
    unr_sim_write(s->fds[0], "de", 2);
}

/* A record ends a receive with MSG_WAITALL, whatever room is left and whatever comes behind it. */
static void record_ends_a_receive(const struct scenario *scenario)
{
    struct subject s = { .loop = open_small_loop() };
    (void)scenario;
    unr_sim_records(s.fds, 2);
    if (unr_sim_choose(2))
        send_two_records(&s);
    else
        unr_sim_later(send_two_records, &s);
    unr_start(s.loop, describe_receive_all(&s), count_run, &s.runs);
    run_to_the_end(s.loop);
    unr_sim_check(s.runs == 1 && s.op.result.error == 0, "it is received");
    unr_sim_check(s.op.result.bytes == 3 && memcmp(s.buf, "abc", 3) == 0, "one record");
    unr_sim_check(unr_sim_read(s.fds[1], s.buf, ROOM) == 2 && memcmp(s.buf, "de", 2) == 0,
                  "the next one is there");
    outcome("bytes %llu", (unsigned long long)s.op.result.bytes);
    close_loop(s.loop);
    unr_sim_close(s.fds[0]);
    unr_sim_close(s.fds[1]);
}

static void fill_refused(void *entry, void *context)
{
    struct io_uring_sqe *sqe = entry;
    *sqe =
        (struct io_uring_sqe){ .opcode = IORING_OP_NOP, .flags = *(const unsigned char *)context };
}

/* An SQE that would break the join is refused, and leaves no hole among those before and behind
 * it. */
static void sqe_refused(const struct scenario *scenario)
{
    static const unsigned char flags[] = { IOSQE_IO_LINK, IOSQE_IO_HARDLINK, IOSQE_IO_DRAIN,
                                           IOSQE_CQE_SKIP_SUCCESS };
    struct unr_loop           *loop = open_small_loop();
    struct unr_op              before = { 0 }, op = { 0 }, behind = { 0 };
    int                        runs = 0;
    (void)scenario;
    unr_start(loop, unr_nop(&before), count_run, &runs);
    unr_start(
        loop,
        unr_sqe(&op, "refused", UNR_CANCEL_ALL, fill_refused, (void *)&flags[unr_sim_choose(4)]),
        count_run, &runs);
    if (unr_sim_choose(2))
        unr_start(loop, unr_nop(&behind), count_run, &runs);
    else
        runs++;
    run_to_the_end(loop);
    unr_sim_check(runs == 3 && before.result.error == 0 && behind.result.error == 0,
                  "the others are not concerned");
    unr_sim_check(op.result.error == -EINVAL, "it is refused");
    close_loop(loop);
}

/* ---- what is in flight on each descriptor ---- */

enum { ON_ONE = 4 };

/* Cancelling by descriptor finds all that is in flight on it, as either descriptor of two, and
 * nothing else, also after some of it has ended. */
static void by_descriptor(const struct scenario *scenario)
{
    struct unr_loop_options options = { .size = sizeof options,
                                        .entries = 16,
                                        .completion_entries = 16 };
    struct unr_loop        *loop;
    struct unr_op           ops[ON_ONE] = { { 0 } }, splice = { 0 }, elsewhere = { 0 };
    unsigned char           byte;
    int                     from[2], to[2], runs = 0, gone = (int)unr_sim_choose(ON_ONE + 1);
    (void)scenario;
    unr_sim_check(unr_loop_open(&loop, &options) == 0, "the loop opens");
    unr_sim_pipe(from, 0);
    unr_sim_pipe(to, 0);
    for (int i = 0; i < ON_ONE; i++)
        unr_start(loop, unr_poll(&ops[i], from[0], 1 /* POLLIN */), count_run, &runs);
    unr_start(loop, unr_splice(&splice, from[0], -1, to[1], -1, 1, 0), count_run, &runs);
    unr_start(loop, unr_read(&elsewhere, to[0], &byte, 1, -1), count_run, &runs);
    if (unr_sim_choose(2))
        unr_loop_run_once(loop, 0);
    if (gone < ON_ONE) {
        unr_cancel(&ops[gone], UNR_CANCEL_TOTAL);
        while (unr_in_flight(&ops[gone]))
            unr_loop_run_once(loop, UNR_NEVER);
    }
    bool     second = unr_sim_choose(2);
    int      fd = second ? to[1] : from[0];
    unsigned found = unr_cancel_fd(loop, fd, UNR_CANCEL_ALL);
    unr_sim_check(found == (second ? 1u : ON_ONE + 1u - (gone < ON_ONE)),
                  "it finds all that is in flight on it");
    unr_sim_check(elsewhere.result.requested == 0, "and nothing else");
    unr_sim_check(splice.result.requested == UNR_CANCEL_ALL,
                  "a splice is on both of its descriptors");
    for (int i = 0; i < ON_ONE; i++)
        unr_cancel(&ops[i], UNR_CANCEL_ALL);
    unr_cancel(&elsewhere, UNR_CANCEL_ALL);
    unr_sim_write(from[1], "a", 1); /* a splice that runs cannot always be interrupted */
    run_to_the_end(loop);
    unr_sim_check(runs == ON_ONE + 2, "each done once");
    unr_sim_check(unr_cancel_fd(loop, from[0], UNR_CANCEL_ALL) == 0, "nothing is left on it");
    unr_sim_check(unr_cancel_fd(loop, to[1], UNR_CANCEL_ALL) == 0, "nothing is left on the other");
    close_loop(loop);
    for (int i = 0; i < 2; i++) {
        unr_sim_close(from[i]);
        unr_sim_close(to[i]);
    }
}

struct closing {
    struct unr_loop *loop;
    struct unr_op    in[2], late, closer, second_closer;
    unsigned char    bufs[3][4];
    int              fds[2], runs;
    bool             closed;
};

static void read_done(struct unr_op *op)
{
    struct closing *c = op->data;
    unr_sim_check(!c->closed, "a cancel_close waits for all that is in flight on its descriptor");
    c->runs++;
    if (op == &c->in[0] && unr_in_flight(&c->closer) && unr_in_flight(&c->in[1])
        && !c->late.type) /* while it waits, nothing more begins */
        unr_start(c->loop, unr_recv(&c->late, c->fds[0], c->bufs[2], 4, 0), count_run, &c->runs);
}

static void closer_done(struct unr_op *op)
{
    struct closing *c = op->data;
    unr_sim_check(op->result.error == 0, "it is closed");
    c->closed = true;
    c->runs++;
}

/* cancel_close is the last on its descriptor; what is started meanwhile never begins, a second one
 * finds it closed. */
static void cancel_close_is_last(const struct scenario *scenario)
{
    struct closing c = { .loop = open_small_loop() };
    unr_sim_socketpair(c.fds, 0);
    if (scenario->parameter)
        unr_sim_linger(c.fds[0]);
    for (int i = 0; i < 2; i++)
        unr_start(c.loop, unr_recv(&c.in[i], c.fds[0], c.bufs[i], 4, 0), read_done, &c);
    some_turns(c.loop, 2);
    unr_start(c.loop, unr_cancel_close(&c.closer, c.fds[0]), closer_done, &c);
    unr_start(c.loop, unr_cancel_close(&c.second_closer, c.fds[0]), count_run, &c.runs);
    run_to_the_end(c.loop);
    bool late = c.late.type;
    unr_sim_check(c.runs == 4 + late, "each done once");
    for (int i = 0; i < 2; i++)
        unr_sim_check(c.in[i].result.error == -ECANCELED && c.in[i].result.cause == -ESHUTDOWN,
                      "cancelled, and why");
    unr_sim_check(c.second_closer.result.error == -EBADF, "it is being closed already");
    if (late)
        unr_sim_check(c.late.result.verdict == UNR_VERDICT_UNSUBMITTED
                          && c.late.result.cause == -ESHUTDOWN,
                      "nothing more begins");
    close_loop(c.loop);
    unr_sim_close(c.fds[1]);
}

/* ---- those that start themselves again while their descriptor is being closed ---- */

enum { AGAIN_MAX = 3, AGAIN_ENOUGH = 20 };

/* How one of them ends when it was started behind the cancel_close. */
enum again {
    RECV,    /* refused */
    SPLICE,  /* refused, and on two descriptors */
    INVALID, /* no kernel takes its arguments, whatever is being closed */
    LATCHED, /* ended by the latched signal of its slot */
    SQE,     /* refused when it is filled in */
    CLOSER,  /* a second cancel_close */
    AGAINS
};

struct receiver {
    int           fd;
    unsigned char byte;
};

struct restarted {
    struct unr_loop  *loop;
    struct unr_op     ops[AGAIN_MAX], closer, before;
    enum again        kinds[AGAIN_MAX];
    unsigned          runs[AGAIN_MAX];
    struct unr_signal latched;
    unsigned char     bufs[AGAIN_MAX][4];
    struct receiver   receivers[AGAIN_MAX]; /* of an SQE */
    int               fds[2], pipe[2];
    int               closed, before_runs;
};

static void fill_receiver(void *sqe, void *context)
{
    struct receiver *r = context;
    io_uring_prep_recv(sqe, r->fd, &r->byte, 1, 0);
}

static void restart(struct unr_op *op);

static void start_again(struct restarted *r, unsigned i)
{
    struct unr_op *op = &r->ops[i];
    switch (r->kinds[i]) {
    case RECV: unr_recv(op, r->fds[0], r->bufs[i], 4, 0); break;
    case SPLICE: unr_splice(op, r->fds[0], -1, r->pipe[1], -1, 4, 0); break;
    case INVALID: unr_recv(op, r->fds[0], r->bufs[i], (size_t)INT32_MAX + 1, 0); break;
    case LATCHED:
        unr_bind_slot(unr_recv(op, r->fds[0], r->bufs[i], 4, 0), unr_signal_slot(&r->latched));
        break;
    case SQE:
        r->receivers[i].fd = r->fds[0];
        unr_sqe(op, "recv", UNR_CANCEL_ALL, fill_receiver, &r->receivers[i]);
        break;
    case CLOSER:
        if (unr_in_flight(&r->closer))
            unr_cancel_close(op, r->fds[0]);
        else
            unr_recv(op, r->fds[0], r->bufs[i], 4, 0);
        break;
    case AGAINS: break;
    }
    unr_start(r->loop, op, restart, r);
}

static void restart(struct unr_op *op)
{
    struct restarted *r = op->data;
    unsigned          i = (unsigned)(op - r->ops);
    r->runs[i]++;
    if (r->closed)
        return;
    /* Time stands still while they start again, and a splice that runs is asked again later only.
     */
    bool waits_for_splice = false;
    for (unsigned other = 0; other < AGAIN_MAX; other++)
        waits_for_splice |= unr_in_flight(&r->ops[other]) && r->kinds[other] == SPLICE;
    if (r->runs[i] < AGAIN_ENOUGH)
        start_again(r, i);
    else
        unr_sim_check(waits_for_splice, "it is closed though they start again");
}

/* What was started before the cancel_close finds the descriptor open in its `done`, also where it
 * never began. */
static void before_done(struct unr_op *op)
{
    struct restarted *r = op->data;
    int               probe = unr_sim_file(NULL, 0);
    unr_sim_check(probe != r->fds[0],
                  "the descriptor is open in the done of what was started before");
    unr_sim_close(probe);
    r->before_runs++;
}

/* However many start themselves again, and however each is refused, cancel_close closes. */
static void closed_under_restarts(const struct scenario *scenario)
{
    struct restarted r = { .loop = open_small_loop() };
    unsigned         choice = unr_sim_choose((AGAINS * AGAINS + AGAINS) * 2);
    bool             before = choice % 2;
    unsigned         n = 2;
    (void)scenario;
    choice /= 2;
    r.kinds[0] = (enum again)(choice % AGAINS);
    if (choice / AGAINS < AGAINS) {
        r.kinds[1] = (enum again)(choice / AGAINS);
    } else {
        r.kinds[1] = r.kinds[2] = r.kinds[0];
        n = 3;
    }
    unr_sim_socketpair(r.fds, 0);
    unr_sim_pipe(r.pipe, 0);
    unr_signal_init_latched(&r.latched);
    unr_signal_emit(&r.latched, UNR_CANCEL_TOTAL);
    for (unsigned i = 0; i < n; i++)
        start_again(&r, i);
    some_turns(r.loop, 2);
    if (before) {
        unr_recv(&r.before, r.fds[0], r.bufs[0], 4, 0);
        unr_start(r.loop, unr_bind_slot(&r.before, unr_signal_slot(&r.latched)), before_done, &r);
    }
    unr_start(r.loop, unr_cancel_close(&r.closer, r.fds[0]), count_run, &r.closed);
    while (!r.closed)
        unr_loop_run_once(r.loop, UNR_NEVER);
    for (unsigned i = 0; i < n; i++) /* since the close was submitted, one may have begun */
        unr_cancel(&r.ops[i], UNR_CANCEL_ALL);
    run_to_the_end(r.loop);
    unr_sim_check(r.closed == 1 && r.closer.result.error == 0, "it is closed");
    unr_sim_check(r.before_runs == before, "each done once");
    close_loop(r.loop);
    unr_sim_close(r.fds[1]);
    unr_sim_close(r.pipe[0]);
    unr_sim_close(r.pipe[1]);
}

/* ---- two that close one number ---- */

enum closes { CLOSE, CANCEL_CLOSE, CLOSE_SQE, CLOSES };

struct two_closers {
    struct unr_loop *loop;
    struct unr_op    ops[2], recv;
    unsigned char    byte;
    int              fds[2], number, runs;
    int              reopened; /* -1, or the number, which was closed and given out again */
};

static void fill_close(void *sqe, void *fd)
{
    io_uring_prep_close(sqe, *(int *)fd);
}

/* Another thread opens a file, and keeps it if it has got the number. */
static void reopen(void *context)
{
    struct two_closers *c = context;
    int                 fd = unr_sim_file("x", 1);
    if (fd == c->number)
        c->reopened = fd;
    else
        unr_sim_close(fd);
}

static void one_closed(struct unr_op *op)
{
    struct two_closers *c = op->data;
    c->runs++;
    if (op->result.error == 0)
        reopen(c);
}

static void start_closing(struct two_closers *c, struct unr_op *op, enum closes how)
{
    switch (how) {
    case CLOSE: unr_close(op, c->number); break;
    case CANCEL_CLOSE: unr_cancel_close(op, c->number); break;
    case CLOSE_SQE: unr_sqe(op, "close", UNR_CANCEL_NONE, fill_close, &c->number); break;
    case CLOSES: break;
    }
    unr_start(c->loop, op, one_closed, c);
}

/* Of two that are in flight at a time one closes, and the other leaves alone what was opened since
 * under the same number, also where a worker closes a second number.  (An SQE of the caller's is
 * submitted as it is, so one that closes what lingers waits.) */
static void closed_twice(const struct scenario *scenario)
{
    struct two_closers c = { .loop = open_small_loop(), .reopened = -1 };
    unsigned           kinds = scenario->parameter ? CLOSE_SQE : CLOSES;
    unsigned           choice = unr_sim_choose(kinds * kinds * 2);
    unsigned char      byte;
    unr_sim_socketpair(c.fds, 0);
    c.number = c.fds[0];
    if (scenario->parameter)
        unr_sim_linger(c.number);
    if (choice / (kinds * kinds))
        unr_start(c.loop, unr_recv(&c.recv, c.number, &c.byte, 1, 0), count_run, &c.runs);
    some_turns(c.loop, 1);
    unr_sim_later(reopen, &c);
    start_closing(&c, &c.ops[0], (enum closes)(choice % kinds));
    some_turns(c.loop, 2);
    bool overlap = unr_in_flight(&c.ops[0]);
    if (overlap)
        start_closing(&c, &c.ops[1], (enum closes)(choice / kinds % kinds));
    while (unr_in_flight(&c.ops[0]) || unr_in_flight(&c.ops[1]))
        unr_loop_run_once(c.loop, UNR_NEVER);
    int first = c.ops[0].result.error, second = c.ops[1].result.error;
    unr_sim_check(!overlap || (first == 0 && second == -EBADF) || (first == -EBADF && second == 0),
                  "one of the two closes");
    unr_sim_check(c.reopened == c.number && unr_sim_read(c.reopened, &byte, 1) == 1,
                  "what was opened since is open");
    unr_cancel(&c.recv, UNR_CANCEL_ALL);
    run_to_the_end(c.loop);
    close_loop(c.loop);
    unr_sim_close(c.reopened);
    unr_sim_close(c.fds[1]);
}

/* ---- a close that may wait ---- */

enum { LINGERING = 3 };

struct lingering {
    struct unr_loop *loop;
    struct unr_op    ops[LINGERING];
    int              fds[LINGERING][2], runs;
};

static void lingering_closed(struct unr_op *op)
{
    struct lingering *l = op->data;
    unr_sim_check(op->result.error == 0, "it is closed");
    l->runs++;
}

/* Several at a time, on a ring that has room for one SQE or for four.  The loop's thread waits for
 * none of them.  If the loop is closed meanwhile, it leaves none of their numbers open; and if the
 * loop has run to the end, and there was a worker, their peers need no further turn. */
static void many_linger(const struct scenario *scenario)
{
    struct unr_loop_options options = { .size = sizeof options, .completion_entries = 8 };
    struct lingering        l = { 0 };
    unsigned                choice = unr_sim_choose(8);
    options.entries = choice % 2 ? 4 : 1;
    unr_sim_check(unr_loop_open(&l.loop, &options) == 0, "the loop opens");
    some_turns(l.loop, 1); /* the loop's own operations are in flight then, and none comes behind */
    for (int i = 0; i < LINGERING; i++) {
        unr_sim_socketpair(l.fds[i], 0);
        unr_sim_linger(l.fds[i][0]);
    }
    for (int i = 0; i < LINGERING; i++) {
        struct unr_op *op = &l.ops[i];
        if (choice / 2 % 2)
            unr_cancel_close(op, l.fds[i][0]);
        else
            unr_close(op, l.fds[i][0]);
        unr_start(l.loop, op, lingering_closed, &l);
    }
    if (choice / 4) {
        some_turns(l.loop, 2);
    } else {
        run_to_the_end(l.loop);
        for (int i = 0; i < LINGERING && !scenario->faults; i++)
            unr_sim_wait_readable(l.fds[i][1]);
    }
    close_loop(l.loop);
    unr_sim_check(l.runs == LINGERING, "each done once");
    for (int i = 0; i < LINGERING; i++)
        unr_sim_close(l.fds[i][1]);
}

static void close_in(struct unr_loop *loop, int fd)
{
    struct unr_op op = { 0 };
    unr_start(loop, unr_close(&op, fd), NULL, NULL);
    run_to_the_end(loop);
    unr_sim_check(op.result.error == 0, "it is closed");
}

/* One number is a plain socket's many times, then that of one that lingers.  A loop that has not
 * closed much looks at each; in one that has, a look is old after eight milliseconds, and none
 * holds any more once a socket lingered. */
static void plain_then_lingering(const struct scenario *scenario)
{
    enum { SOON, LATER, LINGERED, WHEN };
    struct unr_loop *loop = open_small_loop();
    unsigned         when = unr_sim_choose(WHEN);
    int              fds[2], number = -1, times = when == SOON ? 3 : 300;
    (void)scenario;
    for (int i = 0; i < times; i++) {
        bool last = i == times - 1;
        unr_sim_socketpair(fds, 0);
        unr_sim_check(number < 0 || fds[0] == number, "the number is given out again");
        number = fds[0];
        if (last || (i == 0 && when == LINGERED))
            unr_sim_linger(number);
        if (last && when == LATER)
            unr_sim_compute(UNR_MSEC(8));
        close_in(loop, number);
        unr_sim_close(fds[1]);
    }
    close_loop(loop);
}

/* A file that no name refers to any more, as one that was unlinked or never had a name. */
static void nameless_file_closed(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    op = { 0 };
    (void)scenario;
    unr_start(loop, unr_openat(&op, AT_FDCWD, "gone", O_RDWR | O_CREAT, 0600), NULL, NULL);
    run_to_the_end(loop);
    int fd = op.result.fd;
    if (unr_sim_choose(2)) {
        close_in(loop, fd); /* with its name, it is closed at once */
        unr_start(loop, unr_openat(&op, AT_FDCWD, "gone", O_RDWR, 0), NULL, NULL);
        run_to_the_end(loop);
        fd = op.result.fd;
    }
    unr_start(loop, unr_unlinkat(&op, AT_FDCWD, "gone", 0), NULL, NULL);
    run_to_the_end(loop);
    close_in(loop, fd);
    close_loop(loop);
}

/* ---- closing the loop ---- */

struct ending {
    struct unr_loop *loop;
    struct unr_timer timers[3];
    struct own       own;
    struct unr_op    recv, again, closer;
    unsigned char    byte;
    int              fds[2], runs;
};

static void ended(struct unr_op *op)
{
    struct ending *e = op->data;
    e->runs++;
    unr_sim_check(unr_loop_now(e->loop) < UNR_SEC(1001), "closing does not wait for timers");
    unr_sim_check(op->result.error == -ECANCELED && op->result.cause == -ESHUTDOWN,
                  "closing cancels all, and says why");
    if (op == &e->recv) {
        unr_start(e->loop, unr_recv(&e->again, e->fds[0], &e->byte, 1, 0), ended, e);
        unr_start(e->loop, unr_close(&e->closer, e->fds[0]), count_run, &e->runs);
    }
}

/* Timers, types of a caller's own, system calls: all are asked to end, all end before the loop is
 * gone; what is started meanwhile never begins, but a close does. */
static void loop_closed(const struct scenario *scenario)
{
    struct ending e = { .loop = open_small_loop() };
    (void)scenario;
    inside_a_call = false;
    unr_sim_socketpair(e.fds, 0);
    for (int i = 0; i < 3; i++)
        unr_start(e.loop, unr_timer_after(&e.timers[i], UNR_SEC(5 - i)), ended, &e);
    start_own(e.loop, &e.own);
    unr_start(e.loop, unr_recv(&e.recv, e.fds[0], &e.byte, 1, 0), ended, &e);
    some_turns(e.loop, 2);
    close_loop(e.loop);
    unr_sim_check(e.runs == 6 && e.own.runs == 1, "each done once, before the loop is gone");
    unr_sim_check(e.own.op.result.cause == -ESHUTDOWN, "types of one's own are asked, too");
    unr_sim_check(e.again.result.verdict == UNR_VERDICT_UNSUBMITTED, "nothing more begins");
    unr_sim_check(e.closer.result.error == 0 && unr_sim_read(e.fds[1], &e.byte, 1) == 0,
                  "but a close");
    unr_sim_close(e.fds[1]);
}

/* ---- small queues, and calls of the kernel that fail ---- */

struct lives {
    struct unr_loop *loop;
    struct unr_op    op;
    unsigned char    byte;
    int              fds[2], runs;
    uint64_t         taken;
};

static void lived(struct unr_op *op)
{
    struct lives *l = op->data;
    l->taken += op->result.bytes;
    if (++l->runs == 1)
        unr_start(l->loop, unr_recv(op, l->fds[0], &l->byte, 1, 0), lived, l);
}

static const unsigned narrow = 2, roomy = 8;

/* An operation is started again in its `done`: no cancel that was meant for its first life hits the
 * second. */
static void no_cancel_hits_the_next_life(const struct scenario *scenario)
{
    unsigned                entries = *(const unsigned *)scenario->parameter;
    struct unr_loop_options options = { .size = sizeof options,
                                        .entries = entries,
                                        .completion_entries = entries };
    struct lives            l = { 0 };
    struct unr_op           nops[3] = { { 0 } };
    unsigned char           rest[4];
    int                     nop_runs = 0;
    unr_sim_check(unr_loop_open(&l.loop, &options) == 0, "the loop opens");
    unr_sim_socketpair(l.fds, 0);
    unr_start(l.loop, unr_recv(&l.op, l.fds[0], &l.byte, 1, 0), lived, &l);
    unr_loop_run_once(l.loop, 0);
    bool early = unr_sim_choose(2);
    if (early)
        unr_sim_write(l.fds[1], "a", 1);
    for (int i = 0; i < 3; i++)
        unr_start(l.loop, unr_nop(&nops[i]), count_run, &nop_runs);
    unr_cancel(&l.op, UNR_CANCEL_TOTAL);
    if (unr_sim_choose(2)) {
        unr_loop_run_once(l.loop, 0);
        if (l.runs == 0)
            unr_cancel(&l.op, UNR_CANCEL_PARTIAL);
    }
    while (l.runs == 0)
        unr_loop_run_once(l.loop, UNR_NEVER);
    some_turns(l.loop, 1);
    unr_sim_write(l.fds[1], early ? "b" : "ab", early ? 1 : 2);
    run_to_the_end(l.loop);
    unr_sim_check(l.runs == 2 && nop_runs == 3, "each done once");
    unr_sim_check(l.op.result.error == 0 && l.op.result.requested == 0 && l.op.result.bytes == 1,
                  "nobody cancelled its second life");
    ssize_t left = unr_sim_read(l.fds[0], rest, sizeof rest);
    unr_sim_check(l.taken + (left > 0 ? (uint64_t)left : 0) == 2, "every byte once");
    close_loop(l.loop);
    unr_sim_close(l.fds[0]);
    unr_sim_close(l.fds[1]);
}

static void overwrite(struct unr_op *op)
{
    ++*(int *)op->data;
    memset(op, 0xff, sizeof *op);
}

static bool is_overwritten(const struct unr_op *op)
{
    struct unr_op same;
    memset(&same, 0xff, sizeof same);
    return memcmp(op, &same, sizeof same) == 0;
}

/* After the last `done` nothing of unring touches the structure: it may be freed, or be anything
 * else. */
static void left_alone_after_done(const struct scenario *scenario)
{
    struct unr_loop_options options = { .size = sizeof options,
                                        .entries = 4,
                                        .completion_entries = 4 };
    struct subject          s = { 0 };
    struct unr_op           recv = { 0 };
    unsigned char           byte;
    int                     runs = 0;
    (void)scenario;
    unr_sim_check(unr_loop_open(&s.loop, &options) == 0, "the loop opens");
    unr_sim_socketpair(s.fds, 0);
    unr_start(s.loop, unr_recv(&recv, s.fds[0], &byte, 1, 0), overwrite, &runs);
    unr_start(s.loop, unr_sqe(&s.op, "send_zc", UNR_CANCEL_ALL, fill_send_zc, &s), overwrite,
              &runs);
    some_turns(s.loop, 1);
    if (unr_sim_choose(2))
        unr_sim_write(s.fds[1], "a", 1);
    for (unsigned requests = 1 + unr_sim_choose(2); requests; requests--) {
        if (!is_overwritten(&recv))
            unr_cancel(&recv, requests == 1 ? UNR_CANCEL_TOTAL : UNR_CANCEL_PARTIAL);
        if (!is_overwritten(&s.op))
            unr_cancel(&s.op, requests == 1 ? UNR_CANCEL_TOTAL : UNR_CANCEL_PARTIAL);
        unr_loop_run_once(s.loop, 0);
    }
    run_to_the_end(s.loop);
    close_loop(s.loop);
    unr_sim_check(runs == 2, "each done once");
    unr_sim_check(is_overwritten(&recv) && is_overwritten(&s.op),
                  "after done nothing touches the structure");
    unr_sim_close(s.fds[0]);
    unr_sim_close(s.fds[1]);
}

enum { MANY = 7 };

/* Far more operations than entries, then cancels for all of them: none is lost, each took effect,
 * and the run goes on whatever the kernel refuses for a moment. */
static void many_on_a_tiny_ring(const struct scenario *scenario)
{
    struct unr_loop_options options = { .size = sizeof options,
                                        .entries = 1,
                                        .completion_entries = 1 };
    struct unr_loop        *loop;
    struct unr_op           ops[MANY] = { { 0 } };
    unsigned char           bytes[MANY];
    int                     fds[2], runs = 0;
    (void)scenario;
    unr_sim_check(unr_loop_open(&loop, &options) == 0, "the loop opens");
    unr_sim_socketpair(fds, 0);
    for (int i = 0; i < MANY; i++)
        unr_start(loop, unr_recv(&ops[i], fds[0], &bytes[i], 1, 0), count_run, &runs);
    for (unsigned turns = unr_sim_choose(2) * 2; turns; turns--)
        unr_sim_check(unr_loop_run_once(loop, 0) >= 0, "a turn");
    for (int i = 0; i < MANY; i++)
        unr_cancel(&ops[i], UNR_CANCEL_TOTAL);
    run_to_the_end(loop);
    unr_sim_check(runs == MANY, "each done once");
    for (int i = 0; i < MANY; i++)
        unr_sim_check(ops[i].result.error == -ECANCELED, "each was cancelled");
    unr_sim_check(repeated(loop) == 0, "each by its first cancel");
    close_loop(loop);
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

/* What finds no SQE is not left behind by a loop that waits: the last of many ends though all
 * before it go on. */
static void all_are_submitted(const struct scenario *scenario)
{
    struct unr_loop_options options = { .size = sizeof options,
                                        .entries = 1,
                                        .completion_entries = 2 };
    struct unr_loop        *loop;
    struct unr_op           ops[MANY] = { { 0 } }, last = { 0 };
    unsigned char           bytes[MANY];
    int                     fds[2], runs = 0;
    (void)scenario;
    unr_sim_check(unr_loop_open(&loop, &options) == 0, "the loop opens");
    unr_sim_socketpair(fds, 0);
    for (int i = 0; i < MANY; i++)
        unr_start(loop, unr_recv(&ops[i], fds[0], &bytes[i], 1, 0), count_run, &runs);
    unr_start(loop, unr_nop(&last), count_run, &runs);
    for (int turns = 0; unr_in_flight(&last); turns++) {
        unr_sim_check(turns < TURNS_MAX, "it ends within a hundred turns");
        unr_sim_check(unr_loop_run_once(loop, UNR_NEVER) >= 0, "a turn");
    }
    unr_sim_check(unr_cancel_fd(loop, fds[0], UNR_CANCEL_ALL) == MANY, "the others wait");
    run_to_the_end(loop);
    unr_sim_check(runs == MANY + 1, "each done once");
    close_loop(loop);
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

/* ---- inside another event loop, which waits for the loop's descriptor alone ---- */

/* One turn of ours for each time that it is readable. */
static void wait_until_ended(struct unr_loop *loop, const struct unr_op *op, int fd)
{
    for (int turns = 0; unr_in_flight(op); turns++) {
        unr_sim_check(turns < TURNS_MAX, "it ends within a hundred turns");
        unr_sim_wait_readable(fd);
        unr_sim_check(unr_loop_run_once(loop, 0) >= 0, "a turn");
    }
}

/* A timer that is started while an alarm is set for a later one wakes the other event loop in
 * time. */
static void embedded_timer_in_time(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_timer late = { 0 }, early = { 0 };
    int              fd = unr_loop_fd(loop), runs = 0;
    (void)scenario;
    unr_time begin = unr_loop_now(loop);
    unr_start(loop, unr_timer_after(&late, UNR_SEC(5)), count_run, &runs);
    for (unsigned turns = unr_sim_choose(3); turns; turns--)
        unr_loop_run_once(loop, 0);
    if (unr_sim_choose(2))
        unr_start(loop, unr_timer_after(&early, UNR_SEC(1)), count_run, &runs);
    else
        unr_timer_move(&late, begin + UNR_SEC(1));
    const struct unr_op *first = early.op.type ? &early.op : &late.op;
    wait_until_ended(loop, first, fd);
    unr_sim_check(unr_loop_now(loop) == begin + UNR_SEC(1), "a timer is in time");
    wait_until_ended(loop, &late.op, fd);
    unr_sim_check(first == &late.op || unr_loop_now(loop) == begin + UNR_SEC(5),
                  "and so is the other");
    close_loop(loop);
}

/* What ends without the kernel, inside a turn or outside, makes the descriptor readable, too. */
static void embedded_ends_in_done(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct own       o = { .finishes_at_once = true, .again = 2 }, other = { .ignores = true };
    int              fd = unr_loop_fd(loop);
    (void)scenario;
    inside_a_call = false;
    start_own(loop, &other);
    if (unr_sim_choose(2))
        unr_loop_run_once(loop, 0);
    start_own(loop, &o);
    for (int turns = 0; o.runs < 3; turns++) {
        unr_sim_check(turns < TURNS_MAX, "it ends within a hundred turns");
        unr_sim_wait_readable(fd);
        unr_loop_run_once(loop, 0);
    }
    unr_loop_run_once(loop, 0);
    unr_finish(&other.op, 0);
    wait_until_ended(loop, &other.op, fd);
    unr_sim_check(o.runs == 3 && other.runs == 1, "each done once");
    close_loop(loop);
}

#define WAITS(op) WAITS_SINCE(op, 0)
#define WAITS_SINCE(op, version)                                                                   \
    {                                                                                              \
        .name = "requests/ends-" op, .run = request_ends_what_waits, .parameter = op,              \
        .since = version                                                                           \
    }
#define CUT_SHORT(op)                                                                              \
    { .name = "requests/cuts-short-" op, .run = request_cuts_short, .parameter = op },             \
    {                                                                                              \
        .name = "requests/all-or-cut-short-" op, .run = all_or_cut_short, .parameter = op,         \
        .deviations_max = 5                                                                        \
    }

#define KEPT_AWAY(op)                                                                              \
    {                                                                                              \
        .name = "timers/kept-away-" op, .run = kept_away, .parameter = op,                         \
        .faults = UNR_FAULT_STOP                                                                   \
    }

const struct scenario *scenarios_rules_table(void)
{
    static const struct scenario table[] = {
        { .name = "timers/in-order", .run = timers_in_order, .deviations_max = 2 },
        { .name = "timers/now-and-never", .run = timers_now_and_never },
        { .name = "timers/from-the-start", .run = timers_from_the_start },
        { .name = "timers/due-meanwhile", .run = timers_due_meanwhile },
        KEPT_AWAY("recv"),
        KEPT_AWAY("any"),
        KEPT_AWAY("read_exact"),
        KEPT_AWAY("read_frame"),
        KEPT_AWAY("plain-recv"),
        KEPT_AWAY("plain-any"),
        { .name = "timers/in-a-time-namespace", .run = in_a_time_namespace },
        { .name = "requests/or-ed", .run = requests_are_or_ed, .parameter = "recv_all" },
        WAITS("recv"),
        WAITS("readv"),
        WAITS("poll"),
        WAITS("accept"),
        WAITS_SINCE("waitid", 607),
        WAITS_SINCE("futex_wait", 607),
        WAITS("sqe_recv"),
        CUT_SHORT("recv_all"),
        CUT_SHORT("recvmsg_all"),
        CUT_SHORT("send_all"),
        CUT_SHORT("sendmsg_all"),
        { .name = "requests/between-completion-and-done",
          .run = request_between_completion_and_done },
        { .name = "requests/of-what-runs", .run = request_of_what_runs, .deviations_max = 4 },
        { .name = "requests/undoing-fails", .run = undoing_fails },
        { .name = "requests/undoing-on-a-closed-number", .run = undoing_fails, .parameter = "" },
        { .name = "types/handler-before-start", .run = handler_is_installed_before_start },
        { .name = "types/hears-each-request-once", .run = type_hears_each_request_once },
        { .name = "types/no-done-inside-a-call", .run = no_done_inside_a_call },
        { .name = "types/restarting-starves-nobody", .run = restarting_starves_nobody },
        { .name = "signals/latched-above", .run = latched_above },
        { .name = "signals/latched-where", .run = latched_where },
        { .name = "signals/tree-changes", .run = emit_while_the_tree_changes },
        { .name = "signals/freed-inside", .run = freed_inside_an_emit },
        { .name = "signals/slot-reassigned", .run = slot_reassigned, .parameter = "recv" },
        { .name = "shots/cancelled", .run = shots_cancelled },
        { .name = "shots/after-a-wait", .run = shots_after_a_wait },
        { .name = "shots/two", .run = shots_of_two, .deviations_max = 5 },
        { .name = "shots/within-a-shot", .run = shot_within_a_shot, .deviations_max = 5 },
        { .name = "shots/within-a-shot-on-a-plain-ring",
          .run = shot_within_a_shot,
          .deviations_max = 5,
          .loop_flags = UNR_LOOP_PLAIN },
        { .name = "shots/two-on-a-plain-ring",
          .run = shots_of_two,
          .deviations_max = 3,
          .loop_flags = UNR_LOOP_PLAIN },
        { .name = "shots/accept", .run = shots_of_an_accept },
        { .name = "resources/accept-shots",
          .run = shots_of_an_accept,
          .deviations_max = 5,
          .faults = UNR_FAULT_RESOURCES },
        { .name = "shots/accept-on-a-plain-ring",
          .run = shots_of_an_accept,
          .loop_flags = UNR_LOOP_PLAIN },
        { .name = "shots/zero-copy-again", .run = zero_copy_again },
        { .name = "datagrams/wait-for-room", .run = datagram_waits_for_room },
        { .name = "datagrams/for-one-place", .run = datagrams_for_one_place, .deviations_max = 6 },
        { .name = "datagrams/on-a-closed-number",
          .run = datagrams_for_one_place,
          .parameter = "",
          .deviations_max = 6 },
        { .name = "flags/harmful-are-refused", .run = harmful_flags_are_refused },
        { .name = "flags/record-ends-a-receive", .run = record_ends_a_receive },
        { .name = "rings/sqe-refused", .run = sqe_refused },
        { .name = "rings/no-cancel-hits-the-next-life",
          .run = no_cancel_hits_the_next_life,
          .parameter = &narrow,
          .deviations_max = 4 },
        { .name = "rings/next-life-with-faults",
          .run = no_cancel_hits_the_next_life,
          .parameter = &roomy,
          .faults = UNR_FAULT_ENTER,
          .deviations_max = 4 },
        { .name = "rings/left-alone-after-done",
          .run = left_alone_after_done,
          .faults = UNR_FAULT_ENTER,
          .deviations_max = 4 },
        { .name = "rings/tiny", .run = many_on_a_tiny_ring, .deviations_max = 4 },
        { .name = "rings/tiny-with-faults",
          .run = many_on_a_tiny_ring,
          .faults = UNR_FAULT_ALL,
          .deviations_max = 4 },
        { .name = "rings/all-are-submitted", .run = all_are_submitted, .deviations_max = 4 },
        { .name = "descriptors/all-on-one", .run = by_descriptor, .deviations_max = 4 },
        { .name = "descriptors/cancel_close-is-last",
          .run = cancel_close_is_last,
          .deviations_max = 6 },
        { .name = "descriptors/closed-under-restarts",
          .run = closed_under_restarts,
          .deviations_max = 3 },
        { .name = "descriptors/lingering-cancel_close-is-last",
          .run = cancel_close_is_last,
          .parameter = "",
          .deviations_max = 4 },
        { .name = "descriptors/closed-twice", .run = closed_twice },
        { .name = "descriptors/lingering-closed-twice", .run = closed_twice, .parameter = "" },
        { .name = "descriptors/many-linger", .run = many_linger, .deviations_max = 5 },
        { .name = "descriptors/many-linger-with-faults",
          .run = many_linger,
          .faults = UNR_FAULT_ENTER,
          .deviations_max = 3 },
        { .name = "descriptors/many-linger-without-workers",
          .run = many_linger,
          .faults = UNR_FAULT_WORKERS,
          .deviations_max = 3 },
        { .name = "descriptors/plain-then-lingering",
          .run = plain_then_lingering,
          .deviations_max = 2 },
        { .name = "descriptors/nameless-file", .run = nameless_file_closed },
        { .name = "closing/all", .run = loop_closed },
        { .name = "embedded/timer-in-time", .run = embedded_timer_in_time },
        { .name = "embedded/ends-in-done", .run = embedded_ends_in_done },
        { .name = NULL },
    };
    return table;
}
