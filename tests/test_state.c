/* SPDX-License-Identifier: MIT */
/* Cancellation state: what its filters let in and pass on, how long that is kept, and what is
 * forgotten.  The operation that has the state is a composed one; where requests find that is in
 * test_compose.c. */
#include "support.h"

TestSuite(state, .init = open_loop, .timeout = 20);
TestSuite(state_contract, .timeout = 20);

static void record(struct unr_op *op)
{
    struct seen *seen = op->data;
    seen->runs++;
    seen->result = op->result;
    if (seen->then)
        seen->then(seen);
}

/* As start(), for what has a structure of its own. */
static void begin(struct seen *seen, struct unr_op *described)
{
    seen->runs = 0;
    unr_start(loop, described, record, seen);
}

/* Receives a byte `goal` times; ends on an error, unless a hook says otherwise. */
struct reader {
    union {
        struct unr_op      op; /* result.bytes: received */
        struct unr_compose compose;
    };
    struct seen   seen;
    struct unr_op child;
    int           fds[2]; /* received from [0] */
    int           goal, flags, steps;
    unsigned      supports;                  /* 0: ALL */
    bool (*survives)(struct reader *reader); /* asked where a receive was cancelled: whether the
                                                next one is begun */
    struct unr_signal *stop;                 /* bound to its slot; NULL: to none */
    void              *context;
    char               buf[8];
};

static struct unr_cancel_state *state_of(struct reader *reader)
{
    return unr_compose_state(&reader->compose);
}

static void reader_step(struct unr_compose *self, struct unr_op *finished)
{
    struct reader *reader = unr_container_of(self, struct reader, compose);
    int            error = finished ? finished->result.error : 0;
    size_t         len = reader->flags & MSG_WAITALL ? sizeof reader->buf : 1;
    reader->steps++;
    self->op.result.bytes += finished ? finished->result.bytes : 0;
    if (error == -ECANCELED && reader->survives && reader->survives(reader))
        error = 0;
    if (error || (int)self->op.result.bytes >= reader->goal)
        unr_compose_end(self, error);
    else
        unr_compose_next(self,
                         unr_recv(&reader->child, reader->fds[0], reader->buf, len, reader->flags));
}

static struct unr_op *described(struct reader *reader)
{
    reader->steps = 0;
    return unr_compose(&reader->compose, "reader",
                       reader->supports ? reader->supports : UNR_CANCEL_ALL, reader_step);
}

static void start_reader(struct reader *reader, unr_filter_fn *in, unr_filter_fn *out)
{
    described(reader);
    if (reader->stop)
        unr_bind_slot(&reader->op, unr_signal_slot(reader->stop));
    unr_state_reset(state_of(reader), in, out, reader->context);
    begin(&reader->seen, &reader->op);
    submit();
}

static void give(struct reader *reader, const char *bytes)
{
    cr_assert_eq(write(reader->fds[1], bytes, strlen(bytes)), (ssize_t)strlen(bytes));
}

static void until_steps(struct reader *reader, int steps)
{
    while (reader->steps < steps)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
}

/* The first step begins the first, and the last one none. */
static int receives_of(const struct reader *reader)
{
    return reader->steps - 1;
}

#include "filters.h"

/* ---- Asio's matrix ---- */

/* Here and below, what a test that only plays something states is in filters.h. */
Test(state, each_filter_against_each_type)
{
    play_each_filter_against_each_type();
}

/* Without filters the same holds for what the operation supports. */
Test(state, without_filters_lets_in_what_the_operation_supports)
{
    for (unsigned supports = UNR_CANCEL_TERMINAL; supports <= UNR_CANCEL_TOTAL; supports <<= 1)
        for (size_t j = 0; j < LENGTH(emitted); j++) {
            struct reader r = { .goal = 1, .supports = supports };
            unsigned      mask = supports | (supports - 1);
            unix_pair(r.fds);
            begin(&r.seen, described(&r));
            submit();
            unr_cancel(&r.op, emitted[j]);
            cr_assert_eq(unr_state_cancelled(state_of(&r)), mask & emitted[j]);
            give(&r, mask & emitted[j] ? "" : "x");
            run();
            cr_assert_eq(r.seen.result.error, mask & emitted[j] ? -ECANCELED : 0);
            close_pair(r.fds);
        }
    close_loop();
}

/* A latched request meets the filters that are set before the start: refused, the operation
 * runs. */
Test(state, filters_are_asked_about_what_is_latched_before_the_start)
{
    for (size_t i = 0; i < LENGTH(lets); i++) {
        struct unr_signal stop = { 0 };
        struct reader     r = { .goal = 1 };
        unix_pair(r.fds);
        give(&r, "x");
        unr_signal_init_latched(&stop);
        unr_signal_emit(&stop, UNR_CANCEL_PARTIAL);
        unr_bind_slot(described(&r), unr_signal_slot(&stop));
        unr_state_reset(state_of(&r), lets[i], NULL, NULL);
        begin(&r.seen, &r.op);
        run();
        if (masks[i] & UNR_CANCEL_PARTIAL) {
            expect_cancelled(&r.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
            cr_assert_eq(r.steps, 0);
        } else {
            cr_assert_eq(r.seen.result.error, 0);
            cr_assert_eq(r.seen.result.verdict, UNR_VERDICT_REFUSED);
        }
        close_pair(r.fds);
    }
    close_loop();
}

/* ---- filters of the caller's own ---- */

Test(state, filter_makes_total_partial_on_the_way_in_or_out)
{
    play_total_to_partial();
}

Test(state, child_that_supports_none_of_what_is_passed_on_runs)
{
    play_child_that_supports_none();
}

Test(state, in_total_out_none_records_and_interrupts_nothing)
{
    play_in_total_out_none();
}

static void look_then_end(struct unr_compose *self, struct unr_op *finished)
{
    struct reader *reader = unr_container_of(self, struct reader, compose);
    if (finished && unr_state_cancelled(unr_compose_state(self)))
        unr_compose_end(self, -ECANCELED);
    else
        unr_compose_next(self, unr_recv(&reader->child, reader->fds[0], reader->buf, 1, 0));
}

/* ... and end the operation at a point of its own choice: nothing was cut off, and the cause is the
 * request's. */
Test(state, in_total_out_none_ends_where_the_step_chooses)
{
    struct reader r = { 0 };
    unix_pair(r.fds);
    unr_compose(&r.compose, "look", UNR_CANCEL_TOTAL, look_then_end);
    unr_state_reset(unr_compose_state(&r.compose), unr_let_total, unr_let_none, NULL);
    begin(&r.seen, &r.op);
    submit();
    unr_cancel_cause(&r.op, UNR_CANCEL_TERMINAL, -63);
    submit();
    cr_assert_eq(r.seen.runs, 0);
    give(&r, "xy");
    run();
    expect_cancelled(&r.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -63);
    cr_assert_eq(drain(r.fds[0]), 1);
    close_pair(r.fds);
    close_loop();
}

Test(state, filters_are_asked_bit_by_bit)
{
    play_filters_bit_by_bit();
}

static unsigned while_open(void *open, unsigned type)
{
    return *(bool *)open ? type : 0;
}

/* A filter may change its mind between the requests.  What it refuses is REFUSED, like what any
 * filter refuses, and forgotten: asked again when the filter lets it in, it is honoured. */
Test(state, filter_that_changes_its_mind_refuses_and_then_lets_in)
{
    bool          open = true;
    struct reader r = { .goal = 1, .context = &open };
    unix_pair(r.fds);
    start_reader(&r, while_open, NULL);
    open = false;
    unr_cancel_cause(&r.op, UNR_CANCEL_TOTAL, -64);
    cr_assert_eq(unr_state_cancelled(state_of(&r)), 0);
    open = true;
    unr_cancel_cause(&r.op, UNR_CANCEL_TOTAL, -65);
    cr_assert_eq(unr_state_cancelled(state_of(&r)), UNR_CANCEL_TOTAL);
    give(&r, unr_state_cancelled(state_of(&r)) ? "" : "x");
    run();
    expect_cancelled(&r.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -65);
    close_pair(r.fds);
    close_loop();
}

/* ... and one that stays shut leaves the verdict REFUSED. */
Test(state, filter_that_has_changed_its_mind_refuses)
{
    bool          open = true;
    struct reader r = { .goal = 1, .context = &open };
    unix_pair(r.fds);
    start_reader(&r, while_open, NULL);
    open = false;
    unr_cancel_cause(&r.op, UNR_CANCEL_TOTAL, -64);
    give(&r, "x");
    run();
    cr_assert_eq(r.seen.result.error, 0);
    cr_assert_eq(r.seen.result.verdict, UNR_VERDICT_REFUSED, "verdict %u", r.seen.result.verdict);
    cr_assert_eq(r.seen.result.cause, -64);
    close_pair(r.fds);
    close_loop();
}

/* ---- what is kept ---- */

/* What is let in is or-ed, with the cause of the first. */
Test(state, keeps_all_types_and_the_first_cause)
{
    struct reader r = { .goal = 1 };
    unix_pair(r.fds);
    start_reader(&r, unr_let_total, unr_let_none);
    unr_cancel_cause(&r.op, UNR_CANCEL_TERMINAL, -66);
    unr_cancel_cause(&r.op, UNR_CANCEL_TOTAL, -67);
    cr_assert_eq(unr_state_cancelled(state_of(&r)), UNR_CANCEL_TERMINAL | UNR_CANCEL_TOTAL);
    cr_assert_eq(unr_state_cause(state_of(&r)), -66);
    give(&r, "x");
    run();
    cr_assert_eq(r.seen.result.cause, -66);
    close_pair(r.fds);
    close_loop();
}

/* A request that is refused erases nothing.  In Asio it does: cancelled() is what the filter made
 * of the last one. */
Test(state, refused_request_erases_nothing)
{
    struct reader r = { .goal = 1 };
    unix_pair(r.fds);
    start_reader(&r, unr_let_terminal, unr_let_none);
    unr_cancel_cause(&r.op, UNR_CANCEL_TERMINAL, -68);
    unr_cancel_cause(&r.op, UNR_CANCEL_TOTAL, -69);
    cr_assert_eq(unr_state_cancelled(state_of(&r)), UNR_CANCEL_TERMINAL);
    cr_assert_eq(unr_state_cause(state_of(&r)), -68);
    give(&r, "x");
    run();
    cr_assert_eq(r.seen.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(r.seen.result.cause, -68);
    cr_assert_eq(r.seen.result.requested, UNR_CANCEL_TERMINAL | UNR_CANCEL_TOTAL);
    close_pair(r.fds);
    close_loop();
}

/* ... nor does one that a filter refuses which has let in others before. */
Test(state, filter_that_has_changed_its_mind_erases_nothing)
{
    bool          open = true;
    struct reader r = { .goal = 1, .context = &open };
    unix_pair(r.fds);
    described(&r);
    unr_state_reset(state_of(&r), while_open, NULL, &open);
    begin(&r.seen, &r.op);
    submit();
    unr_cancel_cause(&r.op, UNR_CANCEL_TERMINAL, -68);
    open = false;
    unr_cancel_cause(&r.op, UNR_CANCEL_TOTAL, -69);
    cr_assert_eq(unr_state_cancelled(state_of(&r)), UNR_CANCEL_TERMINAL);
    cr_assert_eq(unr_state_cause(state_of(&r)), -68);
    run();
    expect_cancelled(&r.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -68);
    close_pair(r.fds);
    close_loop();
}

/* TOTAL is refused, then TERMINAL honoured: each request is looked at. */
Test(state, escalation_is_honoured_after_a_refusal)
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
    cr_assert_eq(unr_state_cause(state_of(&r)), -71);
    close_pair(r.fds);
    close_loop();
}

/* What reached a child as TOTAL and was refused there may still reach it as PARTIAL. */
Test(state, escalation_reaches_the_child_in_flight)
{
    struct reader r = { .goal = 8, .flags = MSG_WAITALL };
    unix_pair(r.fds);
    start_reader(&r, NULL, NULL);
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

/* ---- what is forgotten ---- */

static bool heartbeat(struct reader *reader)
{
    cr_assert_eq(unr_state_cancelled(state_of(reader)), UNR_CANCEL_TOTAL);
    cr_assert_eq(unr_state_cause(state_of(reader)), -100 - reader->steps);
    unr_state_reset(state_of(reader), NULL, NULL, NULL);
    cr_assert_eq(unr_state_cancelled(state_of(reader)), 0);
    cr_assert_eq(unr_state_cause(state_of(reader)), 0);
    return true;
}

/* A reset forgets, and the same type asked again is honoured again: a heartbeat that interrupts a
 * receive over and over (the talk's step 3).  The receive that is interrupted takes no byte with
 * it. */
Test(state, reset_forgets_and_the_same_type_is_honoured_again)
{
    struct unr_signal beat = { 0 };
    struct reader     r = { .goal = 1, .survives = heartbeat };
    unix_pair(r.fds);
    begin(&r.seen, unr_bind_slot(described(&r), unr_signal_slot(&beat)));
    for (int i = 1; i <= 10; i++) {
        submit();
        cr_assert(unr_signal_emit_cause(&beat, UNR_CANCEL_TOTAL, -101 - i));
        until_steps(&r, i + 1);
    }
    give(&r, "x");
    run();
    cr_assert_eq(r.steps, 12);
    cr_assert_eq(r.seen.result.error, 0);
    cr_assert_eq(r.seen.result.bytes, 1);
    close_pair(r.fds);
    close_loop();
}

static bool is_heartbeat(struct reader *reader)
{
    if (unr_state_cancelled(state_of(reader)) != UNR_CANCEL_TOTAL)
        return false;
    unr_state_reset(state_of(reader), NULL, NULL, NULL);
    return true;
}

/* The same inside a deadline that does not come: a combinator around the operation that has the
 * state lets through what the operation honours again. */
Test(state, reset_inside_a_deadline_honours_the_same_type_again)
{
    struct unr_signal   beat = { 0 };
    struct unr_deadline deadline = { 0 };
    struct reader       r = { .goal = 1, .survives = is_heartbeat };
    unix_pair(r.fds);
    begin(&r.seen, unr_bind_slot(unr_cancel_at(&deadline, described(&r), UNR_NEVER),
                                 unr_signal_slot(&beat)));
    for (int i = 1; i <= 3; i++) {
        submit();
        cr_assert(unr_signal_emit(&beat, UNR_CANCEL_TOTAL));
        cr_assert_eq(unr_state_cancelled(state_of(&r)), UNR_CANCEL_TOTAL,
                     "heartbeat %d did not arrive", i);
        until_steps(&r, i + 1);
    }
    give(&r, "x");
    run();
    cr_assert_eq(r.seen.result.error, 0);
    close_pair(r.fds);
    close_loop();
}

/* ... and inside a filter. */
Test(state, reset_inside_a_filter_honours_the_same_type_again)
{
    struct unr_signal beat = { 0 };
    struct unr_filter filter = { 0 };
    struct reader     r = { .goal = 1, .survives = is_heartbeat };
    unix_pair(r.fds);
    begin(&r.seen, unr_bind_slot(unr_filter(&filter, described(&r), unr_let_total, NULL),
                                 unr_signal_slot(&beat)));
    for (int i = 1; i <= 3; i++) {
        submit();
        cr_assert(unr_signal_emit(&beat, UNR_CANCEL_TOTAL));
        cr_assert_eq(unr_state_cancelled(state_of(&r)), UNR_CANCEL_TOTAL,
                     "heartbeat %d did not arrive", i);
        until_steps(&r, i + 1);
    }
    give(&r, "x");
    run();
    cr_assert_eq(r.seen.result.error, 0);
    close_pair(r.fds);
    close_loop();
}

/* Without a reset nothing is forgotten: a step that survives its child's end has the next one end
 * before it begins. */
static bool three_times(struct reader *reader)
{
    return reader->steps < 4;
}

Test(state, without_a_reset_each_later_child_is_preempted)
{
    struct reader r = { .goal = 1, .survives = three_times };
    unix_pair(r.fds);
    begin(&r.seen, described(&r));
    submit();
    unr_cancel(&r.op, UNR_CANCEL_PARTIAL);
    give(&r, "");
    run();
    cr_assert_eq(r.steps, 4);
    expect_cancelled(&r.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(r.child.result.verdict, UNR_VERDICT_UNSUBMITTED);
    close_pair(r.fds);
    close_loop();
}

static void reset_each_step(struct unr_compose *self, struct unr_op *finished)
{
    static const int order[] = { 0, 3, 1, 2 };
    struct reader   *reader = unr_container_of(self, struct reader, compose);
    int              i = order[reader->steps++ % 4];
    if (finished && finished->result.error) {
        unr_compose_end(self, finished->result.error);
        return;
    }
    unr_state_reset(unr_compose_state(self), lets[i], NULL, NULL);
    cr_assert_eq(unr_supports(&self->op), masks[i]);
    unr_compose_next(self, unr_recv(&reader->child, reader->fds[0], reader->buf, 1, 0));
}

/* The filters may be other ones at each step, and what the operation supports follows. */
Test(state, supports_follows_the_filters_at_each_step)
{
    struct reader r = { 0 };
    unix_pair(r.fds);
    begin(&r.seen, unr_compose(&r.compose, "resets", UNR_CANCEL_NONE, reset_each_step));
    cr_assert_eq(unr_supports(&r.op), 0);
    unr_cancel(&r.op, UNR_CANCEL_ALL);
    give(&r, "1");
    until_steps(&r, 2);
    cr_assert_eq(unr_supports(&r.op), UNR_CANCEL_ALL);
    give(&r, "2");
    until_steps(&r, 3);
    cr_assert_eq(unr_supports(&r.op), UNR_CANCEL_TERMINAL);
    unr_cancel(&r.op, UNR_CANCEL_PARTIAL);
    cr_assert_eq(unr_state_cancelled(unr_compose_state(&r.compose)), 0);
    give(&r, "3");
    until_steps(&r, 4);
    unr_cancel_cause(&r.op, UNR_CANCEL_PARTIAL, -72);
    run();
    expect_cancelled(&r.seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -72);
    close_pair(r.fds);
    close_loop();
}

static void widen_in_the_first_step(struct unr_compose *self, struct unr_op *finished)
{
    struct reader *reader = unr_container_of(self, struct reader, compose);
    unr_state_reset(unr_compose_state(self), total_to_partial, NULL, NULL);
    if (finished)
        unr_compose_end(self, finished->result.error);
    else
        unr_compose_next(self, unr_recv(&reader->child, reader->fds[0], reader->buf, 1, 0));
}

/* ... also for a deadline around it, which cancels as what is inside does: the talk's step 8, where
 * a reader whose default is terminal only lets total in from its first step on. */
Test(state, supports_follows_the_filters_through_a_deadline)
{
    struct unr_deadline deadline = { 0 };
    struct reader       r = { 0 };
    unix_pair(r.fds);
    unr_compose(&r.compose, "widens", UNR_CANCEL_TERMINAL, widen_in_the_first_step);
    begin(&r.seen, unr_cancel_at(&deadline, &r.op, UNR_NEVER));
    submit();
    cr_assert_eq(unr_supports(&r.op), UNR_CANCEL_ALL);
    unr_cancel(&deadline.op, UNR_CANCEL_TOTAL);
    cr_assert_eq(unr_state_cancelled(unr_compose_state(&r.compose)), UNR_CANCEL_PARTIAL,
                 "the request did not arrive");
    run();
    cr_assert_eq(r.seen.result.error, -ECANCELED);
    close_pair(r.fds);
    close_loop();
}

/* Without an in filter of its own, a reset goes back to what the operation was described with;
 * describing again has no filters at all. */
Test(state, reset_without_filters_is_as_at_the_beginning)
{
    struct reader r = { .supports = UNR_CANCEL_PARTIAL };
    described(&r);
    unr_state_reset(state_of(&r), unr_let_total, unr_let_none, NULL);
    cr_assert_eq(unr_supports(&r.op), UNR_CANCEL_ALL);
    unr_state_reset(state_of(&r), NULL, NULL, NULL);
    cr_assert_eq(unr_supports(&r.op), UNR_CANCEL_PARTIAL | UNR_CANCEL_TERMINAL);
    unr_state_reset(state_of(&r), unr_let_none, NULL, NULL);
    described(&r);
    cr_assert_eq(unr_supports(&r.op), UNR_CANCEL_PARTIAL | UNR_CANCEL_TERMINAL);
    close_loop();
}

/* ---- from inside a filter ---- */

struct busy {
    struct unr_signal *own, *others;
    struct seen        nop;
    bool               on;
};

static unsigned emit_and_start(void *context, unsigned type)
{
    struct busy *busy = context;
    if (busy->on) {
        busy->on = false;
        unr_signal_emit_cause(busy->others, UNR_CANCEL_TOTAL, -73);
        unr_signal_emit_cause(busy->own, UNR_CANCEL_TOTAL, -74);
        start(&busy->nop, unr_nop(&busy->nop.op));
    }
    return type;
}

/* A filter may emit, also to what it is being asked about, and start operations: the in filter and
 * the out filter. */
Test(state, filter_may_emit_and_start)
{
    for (int out = 0; out < 2; out++) {
        struct unr_signal stop = { 0 }, other_stop = { 0 };
        struct reader     r = { .goal = 1 }, other = { .goal = 1 };
        struct busy       busy = { .own = &stop, .others = &other_stop };
        unix_pair(r.fds);
        unix_pair(other.fds);
        begin(&other.seen, unr_bind_slot(described(&other), unr_signal_slot(&other_stop)));
        unr_bind_slot(described(&r), unr_signal_slot(&stop));
        unr_state_reset(state_of(&r), out ? NULL : emit_and_start, out ? emit_and_start : NULL,
                        &busy);
        begin(&r.seen, &r.op);
        submit();
        busy.on = true;
        cr_assert(unr_signal_emit_cause(&stop, UNR_CANCEL_TERMINAL, -75));
        cr_assert_eq(r.seen.runs + other.seen.runs + busy.nop.runs, 0);
        cr_assert_eq(unr_state_cancelled(state_of(&r)), UNR_CANCEL_TERMINAL | UNR_CANCEL_TOTAL);
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
    struct reader *reader = context;
    if (type == UNR_CANCEL_TERMINAL && reader->steps == 2)
        unr_cancel_cause(&reader->op, UNR_CANCEL_TOTAL, -76);
    return type == UNR_CANCEL_TOTAL ? type : 0;
}

/* A request from inside the out filter that is asked before a child begins counts for that child:
 * it never begins. */
Test(state, filter_may_request_while_it_is_asked_for_the_next_child)
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
    cr_assert_eq(r.seen.result.bytes, 1);
    cr_assert_eq(drain(r.fds[0]), 1);
    close_pair(r.fds);
    close_loop();
}

/* ---- broken contracts ---- */

#define BREACH(name, ...) BREACH_IN(state_contract, open_loop_of_child(), name, __VA_ARGS__)

#define FILTER_BREACH                                                                              \
    "a filter that answers with types that do not exist", "a filter returns a mask of "            \
                                                          "UNR_CANCEL_*"

static unsigned unknown_types(void *context, unsigned type)
{
    (void)context;
    return type << 3;
}

static void one_nop(struct unr_compose *self, struct unr_op *finished)
{
    static struct unr_op nop;
    if (finished)
        unr_compose_end(self, finished->result.error);
    else
        unr_compose_next(self, unr_nop(&nop));
}

/* A filter knows the types that there are: the in filter is found out when it is set, */
BREACH(in_filter_with_unknown_types, FILTER_BREACH)
{
    static struct unr_compose composed;
    unr_compose(&composed, "brew", UNR_CANCEL_TOTAL, one_nop);
    unr_state_reset(unr_compose_state(&composed), unknown_types, NULL, NULL);
}

/* the out filter when it is asked. */
BREACH(out_filter_with_unknown_types, FILTER_BREACH)
{
    static struct unr_compose composed;
    unr_compose(&composed, "brew", UNR_CANCEL_TOTAL, one_nop);
    unr_state_reset(unr_compose_state(&composed), NULL, unknown_types, NULL);
    unr_start(loop, &composed.op, NULL, NULL);
    unr_cancel(&composed.op, UNR_CANCEL_TOTAL);
}
