/* SPDX-License-Identifier: MIT */
/* Deadlines and delays: who wins when time and the operation race, in each order; what a time-out
 * is told from; and what becomes of the operation inside, of the timers beside it and of its
 * memory. */
#include "support.h"

#include <malloc.h>
#include <netinet/tcp.h>
#include <sys/mman.h>

TestSuite(deadline, .init = open_loop, .timeout = 20);
TestSuite(delay, .init = open_loop, .timeout = 20);

#define FAR UNR_SEC(1000)

/* ---- what a `done` has seen ---- */

struct end {
    int               runs;
    int               order; /* among all ends */
    struct unr_result result;
    void (*then)(struct end *end);
    void *context;
};

static int ends;

static void ended(struct unr_op *op)
{
    struct end *end = op->data;
    end->runs++;
    end->order = ++ends;
    end->result = op->result;
    if (end->then)
        end->then(end);
}

static void begin(struct end *end, struct unr_op *described)
{
    unr_start(loop, described, ended, end);
}

static void turn(void)
{
    cr_assert_geq(unr_loop_run_once(loop, 0), 0);
}

static void until(const struct end *end)
{
    while (end->runs == 0)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
}

static void expect_end(const struct end *end, int error, enum unr_verdict verdict, int cause)
{
    cr_assert_eq(end->runs, 1, "%d runs", end->runs);
    cr_assert_eq(end->result.error, error, "error %d", end->result.error);
    cr_assert_eq(end->result.verdict, verdict, "verdict %u", end->result.verdict);
    cr_assert_eq(end->result.cause, cause, "cause %d", end->result.cause);
    cr_assert_eq(unr_outcome(&end->result), error == -ECANCELED ? cause : error);
}

static void expect_success_of(const struct end *end, uint64_t bytes)
{
    expect_end(end, 0, UNR_VERDICT_NONE, 0);
    cr_assert_eq(end->result.bytes, bytes);
    cr_assert_eq(end->result.requested, 0);
}

static void expect_timed_out(const struct end *end, enum unr_verdict verdict)
{
    expect_end(end, -ECANCELED, verdict, -ETIMEDOUT);
    cr_assert_eq(unr_outcome(&end->result), -ETIMEDOUT);
    cr_assert_eq(end->result.guarantee, UNR_CANCEL_TOTAL);
    cr_assert_eq(end->result.bytes, 0);
    cr_assert_eq(end->result.fd, -1);
    cr_assert(end->result.requested & UNR_CANCEL_TOTAL);
}

/* ---- operations that do as they are told ---- */

struct own {
    struct unr_op             op;
    int                       starts, cancels;
    struct unr_cancel_request asked; /* last */
    unr_time                  started;
    void (*on_cancel)(struct own *own); /* NULL: it goes on as if nothing were */
};

static struct own *own_of(struct unr_op *op)
{
    return unr_container_of(op, struct own, op);
}

static void own_start(struct unr_op *op)
{
    own_of(op)->starts++;
    own_of(op)->started = unr_loop_now(loop);
}

static void own_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct own *own = own_of(op);
    own->cancels++;
    own->asked = request;
    if (own->on_cancel)
        own->on_cancel(own);
}

static void give_in(struct own *own)
{
    unr_finish(&own->op, -ECANCELED);
}

#define OWN_TYPE(name_, supports_)                                                                 \
    static const struct unr_op_type name_ = {                                                      \
        .size = sizeof(struct unr_op_type),                                                        \
        .name = #name_,                                                                            \
        .supports = supports_,                                                                     \
        .start = own_start,                                                                        \
        .cancel = own_cancel,                                                                      \
    }

OWN_TYPE(willing, UNR_CANCEL_ALL);
OWN_TYPE(closer, UNR_CANCEL_TERMINAL);
OWN_TYPE(certain, UNR_CANCEL_NONE);

/* ---- a receive with a deadline ---- */

struct limited {
    struct unr_deadline deadline;
    struct unr_op       recv;
    char                bytes[16];
    int                 fds[2]; /* its own, and the peer's */
    struct end          end;
};

static struct unr_op *recv_of(struct limited *limited)
{
    unix_pair(limited->fds);
    return unr_recv(&limited->recv, limited->fds[0], limited->bytes, sizeof limited->bytes, 0);
}

static void begin_until(struct limited *limited, unr_time when)
{
    begin(&limited->end, unr_cancel_at(&limited->deadline, recv_of(limited), when));
}

static void begin_within(struct limited *limited, unr_time delay)
{
    begin(&limited->end, unr_cancel_after(&limited->deadline, recv_of(limited), delay));
}

static void send_bytes(struct limited *limited, size_t n)
{
    static const char bytes[64];
    cr_assert_eq(write(limited->fds[1], bytes, n), (ssize_t)(n));
}

/* Moves the deadline into the past: it is due in the next turn. */
static void make_due(struct limited *limited)
{
    cr_assert(unr_deadline_move(&limited->deadline, 1));
}

static void close_limited(struct limited *limited)
{
    close_pair(limited->fds);
}

/* A receive that begins later. */
struct delayed {
    struct unr_delay delay;
    struct unr_op    recv;
    char             bytes[16];
    int              fds[2];
    struct end       end;
};

static struct unr_op *delayed_recv(struct delayed *delayed, unr_time pause)
{
    unix_pair(delayed->fds);
    return unr_delay(
        &delayed->delay,
        unr_recv(&delayed->recv, delayed->fds[0], delayed->bytes, sizeof delayed->bytes, 0), pause);
}

/* What the peer has sent is either in the result or still in the socket. */
static void expect_conserved(struct limited *limited, size_t sent)
{
    cr_assert_eq(limited->end.result.bytes + drain(limited->fds[0]), sent);
}

/* ---- who wins ---- */

/* An operation that ends in time ends as it does without a deadline, and nothing waits for the
 * deadline any more. */
Test(deadline, in_time_it_is_as_if_there_were_none)
{
    struct limited at = { 0 }, after = { 0 };
    struct unr_op *described = unr_cancel_at(&at.deadline, recv_of(&at), unr_loop_now(loop) + FAR);
    cr_assert_eq(described, &at.deadline.op);
    cr_assert_eq(unr_supports(described), UNR_CANCEL_ALL);
    cr_assert_not(unr_in_flight(described));
    begin(&at.end, described);
    begin_within(&after, FAR);
    cr_assert_eq(unr_loop_in_flight(loop), 2);
    submit();
    send_bytes(&at, 3);
    send_bytes(&after, 4);
    run();
    expect_success_of(&at.end, 3);
    expect_success_of(&after.end, 4);
    cr_assert_eq(at.recv.result.bytes, 3);
    cr_assert_not(unr_in_flight(&at.recv));
    close_limited(&at);
    close_limited(&after);
    close_loop();
}

/* So does an error of the operation's own. */
Test(deadline, an_error_of_its_own_stays_one)
{
    struct limited limited = { 0 };
    begin(&limited.end, unr_cancel_after(&limited.deadline,
                                         unr_recv(&limited.recv, -1, limited.bytes, 1, 0), FAR));
    run();
    expect_end(&limited.end, -EBADF, UNR_VERDICT_NONE, 0);
    close_loop();
}

/* When the clock has reached the deadline, and not before, the operation is cancelled; what the
 * peer sends afterwards is for the next receive. */
Test(deadline, time_out_ends_it_and_takes_nothing)
{
    struct limited at = { 0 }, after = { 0 };
    unr_time       now = unr_loop_now(loop);
    begin_until(&at, now + UNR_MSEC(20));
    begin_within(&after, UNR_MSEC(25));
    until(&at.end);
    cr_assert_geq(unr_loop_now(loop), now + UNR_MSEC(20));
    run();
    cr_assert_geq(unr_loop_now(loop), now + UNR_MSEC(25));
    expect_timed_out(&at.end, UNR_VERDICT_CANCELLED);
    expect_timed_out(&after.end, UNR_VERDICT_CANCELLED);
    cr_assert_eq(at.recv.result.cause, -ETIMEDOUT);
    send_bytes(&at, 5);
    expect_conserved(&at, 5);
    close_limited(&at);
    close_limited(&after);
    close_loop();
}

/* The structure serves again from its own `done`, in time and too late by turns. */
enum { ROUNDS = 1000 };

static void next_round(struct end *end)
{
    struct limited *limited = end->context;
    bool            late = end->runs % 2 == 0;
    if (late)
        cr_assert_eq(unr_outcome(&end->result), -ETIMEDOUT);
    else
        cr_assert_eq(end->result.bytes, 1);
    if (end->runs == ROUNDS)
        return;
    if (late)
        send_bytes(limited, 1);
    struct unr_op *described = unr_recv(&limited->recv, limited->fds[0], limited->bytes, 1, 0);
    begin(end, unr_cancel_after(&limited->deadline, described, late ? FAR : UNR_MSEC(1) / 100));
}

Test(deadline, used_over_and_over)
{
    struct limited limited = { .end = { .then = next_round, .context = &limited } };
    begin_within(&limited, FAR);
    send_bytes(&limited, 1);
    run();
    cr_assert_eq(limited.end.runs, ROUNDS);
    cr_assert_eq(drain(limited.fds[0]), 0);
    close_limited(&limited);
    close_loop();
}

/* Data and deadline in one turn, the completion known: it stays a success, and the verdict says
 * that the time-out was too late. */
Test(deadline, due_in_the_turn_in_which_it_completes)
{
    struct limited limited = { 0 };
    begin_within(&limited, FAR);
    submit();
    send_bytes(&limited, 6);
    make_due(&limited);
    run();
    expect_end(&limited.end, 0, UNR_VERDICT_TOO_LATE, -ETIMEDOUT);
    cr_assert_eq(limited.end.result.bytes, 6);
    cr_assert_eq(limited.end.result.requested, UNR_CANCEL_ALL);
    close_limited(&limited);
    close_loop();
}

/* Started with its data there and due when the turn comes: the kernel is asked for the data
 * first. */
Test(deadline, due_in_the_turn_that_submits_it)
{
    struct limited limited = { 0 };
    begin_within(&limited, FAR);
    make_due(&limited);
    send_bytes(&limited, 2);
    run();
    expect_end(&limited.end, 0, UNR_VERDICT_TOO_LATE, -ETIMEDOUT);
    expect_conserved(&limited, 2);
    close_limited(&limited);
    close_loop();
}

/* The deadline fires in the turn before the data comes.  Which the kernel then finds first is its
 * affair, but the result is one of the two, and no byte is lost. */
Test(deadline, due_in_the_turn_before_it_completes)
{
    for (int i = 0; i < 200; i++) {
        struct limited limited = { 0 };
        begin_within(&limited, FAR);
        submit();
        make_due(&limited);
        turn();
        cr_assert_eq(limited.end.runs, 0);
        send_bytes(&limited, 7);
        run();
        if (limited.end.result.error)
            expect_timed_out(&limited.end, UNR_VERDICT_CANCELLED);
        else
            cr_assert(limited.end.result.verdict == UNR_VERDICT_TOO_LATE
                      || limited.end.result.verdict == UNR_VERDICT_RUNNING);
        cr_assert_eq(limited.end.result.cause, -ETIMEDOUT);
        expect_conserved(&limited, 7);
        close_limited(&limited);
    }
    close_loop();
}

/* Time against time, both reached in one turn: whose time was earlier wins; on a tie, the deadline,
 * which began first. */
Test(deadline, around_a_timer_that_is_due_in_the_same_turn)
{
    static const struct {
        unr_time timer, deadline;
        bool     in_time;
    } cases[] = { { 10, 20, true }, { 20, 10, false }, { 15, 15, false } };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct unr_deadline deadline = { 0 };
        struct unr_timer    timer = { 0 };
        struct end          end = { 0 };
        begin(&end, unr_cancel_after(&deadline, unr_timer_after(&timer, FAR), FAR));
        cr_assert(unr_deadline_move(&deadline, cases[i].deadline));
        cr_assert(unr_timer_move(&timer, cases[i].timer));
        if (cases[i].timer == cases[i].deadline)
            cr_assert(unr_timer_move(&timer, cases[i].timer));
        cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 1);
        if (cases[i].in_time)
            expect_end(&end, 0, UNR_VERDICT_TOO_LATE, -ETIMEDOUT);
        else
            expect_end(&end, -ECANCELED, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    }
    close_loop();
}

/* Never less than asked: what completes inside its cancel is a success. */
static void succeed(struct own *own)
{
    own->op.result.bytes = 9;
    unr_finish(&own->op, 0);
}

Test(deadline, success_that_the_time_out_brings_forth)
{
    struct unr_deadline deadline = { 0 };
    struct own          own = { .on_cancel = succeed };
    struct end          end = { 0 };
    begin(&end, unr_cancel_after(&deadline, unr_describe(&own.op, &willing), UNR_MSEC(1)));
    run();
    expect_end(&end, 0, UNR_VERDICT_TOO_LATE, -ETIMEDOUT);
    cr_assert_eq(end.result.bytes, 9);
    cr_assert_eq(own.asked.types, UNR_CANCEL_ALL);
    cr_assert_eq(own.asked.cause, -ETIMEDOUT);
    close_loop();
}

/* ---- nested ---- */

struct nested {
    struct unr_deadline outer, inner;
    struct limited      limited;
};

static void begin_nested(struct nested *nested, unr_time outer, unr_time inner)
{
    struct unr_op *described = unr_cancel_after(&nested->inner, recv_of(&nested->limited), inner);
    begin(&nested->limited.end, unr_cancel_after(&nested->outer, described, outer));
}

/* Whichever of two deadlines fires first, the operation ends once, as timed out, and the other is
 * gone. */
Test(deadline, nested_and_either_fires_first)
{
    struct nested outer = { 0 }, inner = { 0 };
    begin_nested(&outer, UNR_MSEC(1), FAR);
    begin_nested(&inner, FAR, UNR_MSEC(1));
    run();
    expect_timed_out(&outer.limited.end, UNR_VERDICT_CANCELLED);
    expect_timed_out(&inner.limited.end, UNR_VERDICT_CANCELLED);
    cr_assert_not(unr_deadline_move(&outer.inner, 1));
    cr_assert_not(unr_deadline_move(&inner.outer, 1));
    close_limited(&outer.limited);
    close_limited(&inner.limited);
    close_loop();
}

/* Both in one turn: still once. */
Test(deadline, nested_and_both_fire)
{
    struct nested nested = { 0 };
    begin_nested(&nested, FAR, FAR);
    submit();
    cr_assert(unr_deadline_move(&nested.inner, 1));
    cr_assert(unr_deadline_move(&nested.outer, 2));
    run();
    expect_timed_out(&nested.limited.end, UNR_VERDICT_CANCELLED);
    close_limited(&nested.limited);
    close_loop();
}

/* And when neither fires, success comes out of both. */
Test(deadline, nested_and_in_time)
{
    struct nested nested = { 0 };
    begin_nested(&nested, FAR, FAR);
    submit();
    send_bytes(&nested.limited, 8);
    run();
    expect_success_of(&nested.limited.end, 8);
    cr_assert_eq(nested.inner.op.result.bytes, 8);
    close_limited(&nested.limited);
    close_loop();
}

/* ---- what a time-out is told from ---- */

enum way {
    OUTER,
    INNER,
    WITH_A_CAUSE,
    THROUGH_THE_OUTER_SLOT,
    THROUGH_THE_INNER_SLOT,
    BY_DESCRIPTOR,
    WAYS
};

static int cancel_in_some_way(enum way way, struct limited *limited, struct unr_signal *signal)
{
    switch (way) {
    case OUTER: cr_assert(unr_cancel(&limited->deadline.op, UNR_CANCEL_TOTAL)); break;
    case INNER: cr_assert(unr_cancel(&limited->recv, UNR_CANCEL_TOTAL)); break;
    case WITH_A_CAUSE:
        cr_assert(unr_cancel_cause(&limited->deadline.op, UNR_CANCEL_TOTAL, -77));
        return -77;
    case BY_DESCRIPTOR:
        cr_assert_eq(unr_cancel_fd(loop, limited->fds[0], UNR_CANCEL_TOTAL), 1);
        break;
    default: cr_assert(unr_signal_emit_cause(signal, UNR_CANCEL_TOTAL, -78)); return -78;
    }
    return -ECANCELED;
}

/* Asio reports a time-out as operation_aborted, like every other cancellation.
 * Here -ETIMEDOUT is a time-out's, and each other way to cancel keeps its own cause,
 * through the outer operation or through the inner. */
Test(deadline, only_a_time_out_reads_as_one)
{
    for (enum way way = 0; way < WAYS; way++) {
        struct unr_signal signal = { 0 };
        struct limited    limited = { 0 };
        struct unr_op    *described = recv_of(&limited);
        if (way == THROUGH_THE_INNER_SLOT)
            unr_bind_slot(described, unr_signal_slot(&signal));
        unr_cancel_after(&limited.deadline, described, FAR);
        if (way == THROUGH_THE_OUTER_SLOT)
            unr_bind_slot(&limited.deadline.op, unr_signal_slot(&signal));
        begin(&limited.end, &limited.deadline.op);
        submit();
        int cause = cancel_in_some_way(way, &limited, &signal);
        run();
        expect_end(&limited.end, -ECANCELED, UNR_VERDICT_CANCELLED, cause);
        cr_assert_eq(limited.end.result.requested, UNR_CANCEL_TOTAL);
        cr_assert_eq(limited.end.result.guarantee, UNR_CANCEL_TOTAL);
        cr_assert_not(unr_slot_has_handler(unr_signal_slot(&signal)));
        cr_assert_not(unr_signal_emit(&signal, UNR_CANCEL_ALL));
        close_limited(&limited);
    }
    close_loop();
}

static void finish_too_late(struct own *own)
{
    unr_finish(&own->op, 0);
}

/* unr_timed_out() is true of what a deadline cancelled; not of an operation that failed with
 * -ETIMEDOUT itself, as a connection does, nor of another cause, nor of a success that came too
 * late to be cancelled. */
Test(deadline, timed_out_tells_a_deadline_from_a_connections_error)
{
    enum { ENDED_BY_IT, FAILED, SUCCEEDED, OTHER_CAUSE, COUNT };
    struct unr_deadline deadlines[COUNT] = { 0 };
    struct own          owns[COUNT] = { [ENDED_BY_IT] = { .on_cancel = give_in },
                                        [SUCCEEDED] = { .on_cancel = finish_too_late },
                                        [OTHER_CAUSE] = { .on_cancel = give_in } };
    struct end          each[COUNT] = { 0 };
    for (int i = 0; i < COUNT; i++)
        begin(&each[i], unr_cancel_after(&deadlines[i], unr_describe(&owns[i].op, &willing), FAR));
    cr_assert(unr_deadline_move(&deadlines[ENDED_BY_IT], 1));
    cr_assert(unr_deadline_move(&deadlines[SUCCEEDED], 1));
    unr_finish(&owns[FAILED].op, -ETIMEDOUT);
    cr_assert(unr_cancel_cause(&deadlines[OTHER_CAUSE].op, UNR_CANCEL_TOTAL, -77));
    run();
    expect_end(&each[FAILED], -ETIMEDOUT, UNR_VERDICT_NONE, 0);
    expect_end(&each[SUCCEEDED], 0, UNR_VERDICT_TOO_LATE, -ETIMEDOUT);
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(unr_timed_out(&each[i].result), i == ENDED_BY_IT, "%d", i);
    cr_assert_eq(unr_outcome(&each[FAILED].result),
                 unr_outcome(&each[ENDED_BY_IT].result)); /* which do not differ in this */
    close_loop();
}

/* Bound to the outer and to the inner, a time-out leaves neither signal with a handler. */
Test(deadline, leaves_both_slots_when_it_fires)
{
    struct unr_signal outer = { 0 }, inner = { 0 };
    struct limited    limited = { 0 };
    unr_bind_slot(recv_of(&limited), unr_signal_slot(&inner));
    begin(&limited.end,
          unr_bind_slot(unr_cancel_after(&limited.deadline, &limited.recv, UNR_MSEC(1)),
                        unr_signal_slot(&outer)));
    cr_assert(unr_slot_has_handler(unr_signal_slot(&outer))
              && unr_slot_has_handler(unr_signal_slot(&inner)));
    run();
    expect_timed_out(&limited.end, UNR_VERDICT_CANCELLED);
    cr_assert_not(unr_slot_has_handler(unr_signal_slot(&outer))
                  || unr_slot_has_handler(unr_signal_slot(&inner)));
    close_limited(&limited);
    close_loop();
}

/* The cause is that of the first request honoured, whether the deadline comes before the other or
 * behind it. */
Test(deadline, first_cause_stays)
{
    struct unr_deadline deadlines[2] = { 0 };
    struct own          owns[2] = { 0 };
    struct end          both[2] = { 0 };
    for (int i = 0; i < 2; i++)
        begin(&both[i], unr_cancel_after(&deadlines[i], unr_describe(&owns[i].op, &willing), FAR));
    cr_assert(unr_cancel_cause(&deadlines[0].op, UNR_CANCEL_TERMINAL, -77));
    for (int i = 0; i < 2; i++)
        cr_assert(unr_deadline_move(&deadlines[i], 1));
    turn();
    cr_assert(unr_cancel_cause(&deadlines[1].op, UNR_CANCEL_TERMINAL, -77));
    /* Each was asked once for what was new. */
    cr_assert(owns[0].cancels == 2 && owns[1].cancels == 1);
    for (int i = 0; i < 2; i++)
        unr_finish(&owns[i].op, -ECANCELED);
    run();
    expect_end(&both[0], -ECANCELED, UNR_VERDICT_CANCELLED, -77);
    expect_end(&both[1], -ECANCELED, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    cr_assert_eq(both[0].result.requested, UNR_CANCEL_ALL);
    close_loop();
}

/* A request that the operation does not honour is reported as refused, and the deadline is as it
 * was. */
Test(deadline, a_refused_request_leaves_the_deadline)
{
    struct unr_deadline deadline = { 0 };
    struct own          own = { .on_cancel = give_in };
    struct end          end = { 0 };
    begin(&end, unr_cancel_after(&deadline, unr_describe(&own.op, &closer), FAR));
    cr_assert_eq(unr_supports(&deadline.op), UNR_CANCEL_TERMINAL);
    cr_assert(unr_cancel_cause(&deadline.op, UNR_CANCEL_TOTAL, -77));
    cr_assert_eq(own.cancels, 0);
    cr_assert(unr_deadline_move(&deadline, 1));
    run();
    expect_end(&end, -ECANCELED, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    cr_assert_eq(end.result.guarantee, UNR_CANCEL_TERMINAL);
    cr_assert_eq(end.result.requested, UNR_CANCEL_ALL);
    close_loop();
}

/* ---- past at the start; the ends of time ---- */

/* A deadline that is past at the start, or a delay of nothing or less, ends the operation before it
 * begins, though its data is there: no byte is taken, no own operation is started, and the kernel
 * is not asked. */
Test(deadline, past_at_the_start)
{
    static const struct {
        bool     relative;
        unr_time when;
    } cases[] = {
        { false, 1 }, { false, 0 },          { false, -1 },       { false, INT64_MIN },
        { true, 0 },  { true, -UNR_SEC(1) }, { true, INT64_MIN }, { true, INT64_MIN + 1 }
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct limited      limited = { 0 };
        struct unr_deadline around = { 0 };
        struct own          own = { 0 };
        struct end          own_end = { 0 };
        struct unr_op *(*describe)(struct unr_deadline *, struct unr_op *, unr_time) =
            cases[i].relative ? unr_cancel_after : unr_cancel_at;
        begin(&limited.end, describe(&limited.deadline, recv_of(&limited), cases[i].when));
        begin(&own_end, describe(&around, unr_describe(&own.op, &willing), cases[i].when));
        send_bytes(&limited, 3);
        cr_assert_eq(limited.end.runs, 0);
        cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 2);
        expect_timed_out(&limited.end, UNR_VERDICT_UNSUBMITTED);
        expect_timed_out(&own_end, UNR_VERDICT_UNSUBMITTED);
        cr_assert_eq(own.starts, 0);
        expect_conserved(&limited, 3);
        close_limited(&limited);
    }
    close_loop();
}

/* Inside a turn the same, by the time of that turn. */
static bool time_stood_still; /* the time of a turn is read anew when it has taken a millisecond */

static void start_past_in_done(struct end *end)
{
    struct limited *limited = end->context;
    unr_time        now = unr_loop_now(loop);
    begin(&limited[0].end, unr_cancel_at(&limited[0].deadline, recv_of(&limited[0]), now));
    begin(&limited[1].end, unr_cancel_at(&limited[1].deadline, recv_of(&limited[1]), now + 1));
    begin(&limited[2].end, unr_cancel_after(&limited[2].deadline, recv_of(&limited[2]), 0));
    time_stood_still = unr_loop_now(loop) == now;
}

Test(deadline, past_at_the_start_in_a_turn)
{
    struct limited limited[3] = { 0 };
    struct unr_op  nop = { 0 };
    struct end     end = { .then = start_past_in_done, .context = limited };
    begin(&end, unr_nop(&nop));
    run();
    expect_timed_out(&limited[0].end, UNR_VERDICT_UNSUBMITTED);
    expect_timed_out(&limited[1].end,
                     time_stood_still ? UNR_VERDICT_CANCELLED : limited[1].end.result.verdict);
    expect_timed_out(&limited[2].end, UNR_VERDICT_UNSUBMITTED);
    for (int i = 0; i < 3; i++)
        close_limited(&limited[i]);
    close_loop();
}

/* What supports no cancellation runs, though its deadline is past: refused. */
Test(deadline, past_at_the_start_does_not_keep_a_close_from_running)
{
    struct unr_deadline deadlines[2] = { 0 };
    struct unr_op       close_op = { 0 };
    struct own          own = { 0 };
    struct end          closed = { 0 }, end = { 0 };
    int                 fds[2];
    unix_pair(fds);
    begin(&closed, unr_cancel_at(&deadlines[0], unr_close(&close_op, fds[0]), 1));
    begin(&end, unr_cancel_at(&deadlines[1], unr_describe(&own.op, &certain), 1));
    until(&closed);
    expect_end(&closed, 0, UNR_VERDICT_REFUSED, -ETIMEDOUT);
    cr_assert_eq(fcntl(fds[0], F_GETFD), -1);
    cr_assert(own.starts == 1 && end.runs == 0);
    unr_finish(&own.op, 0);
    run();
    expect_end(&end, 0, UNR_VERDICT_REFUSED, -ETIMEDOUT);
    cr_assert_eq(own.cancels, 0);
    close(fds[1]);
    close_loop();
}

/* Sums saturate, and what never comes does not come: the loop waits for something else. */
Test(deadline, never_does_not_come)
{
    static const unr_time never[] = { UNR_NEVER, UNR_NEVER - 1, INT64_MAX / 2 * 2 };
    struct limited        limited[LENGTH(never) + 1] = { 0 };
    struct unr_timer      timer = { 0 };
    struct end            soon = { 0 };
    for (size_t i = 0; i < LENGTH(never); i++)
        begin_within(&limited[i], never[i]);
    begin_until(&limited[LENGTH(never)], UNR_NEVER);
    begin(&soon, unr_timer_after(&timer, UNR_MSEC(1)));
    until(&soon);
    for (size_t i = 0; i < LENGTH(limited); i++) {
        cr_assert_eq(limited[i].end.runs, 0);
        send_bytes(&limited[i], 1);
    }
    run();
    for (size_t i = 0; i < LENGTH(limited); i++) {
        expect_success_of(&limited[i].end, 1);
        close_limited(&limited[i]);
    }
    close_loop();
}

/* ---- moved ---- */

/* Earlier, it fires earlier. */
Test(deadline, moved_earlier)
{
    struct limited a = { 0 }, b = { 0 };
    unr_time       soon = unr_loop_now(loop) + UNR_MSEC(2);
    begin_within(&a, FAR);
    begin_within(&b, FAR);
    submit();
    cr_assert(unr_deadline_move(&a.deadline, soon));
    make_due(&b);
    run();
    cr_assert_geq(unr_loop_now(loop), soon);
    expect_timed_out(&a.end, UNR_VERDICT_CANCELLED);
    expect_timed_out(&b.end, UNR_VERDICT_CANCELLED);
    close_limited(&a);
    close_limited(&b);
    close_loop();
}

/* Later, it does not fire at its old time; at its new one it does. */
Test(deadline, moved_later)
{
    /* In larger steps until the machine is quick enough to move it in time. */
    for (unr_time step = UNR_MSEC(1), moved = 0; !moved; step *= 2) {
        struct limited   limited = { 0 };
        struct unr_timer timer = { 0 };
        struct end       passed = { 0 };
        unr_time         old = unr_loop_now(loop) + 2 * step;
        begin_until(&limited, old);
        begin(&passed, unr_timer_at(&timer, old + step));
        moved = unr_deadline_move(&limited.deadline, old + 3 * step);
        until(&passed);
        cr_assert(!moved || limited.end.runs == 0 || unr_loop_now(loop) >= old + 3 * step);
        run();
        expect_timed_out(&limited.end, moved ? UNR_VERDICT_CANCELLED : limited.end.result.verdict);
        cr_assert_geq(unr_loop_now(loop), moved ? old + 3 * step : old);
        close_limited(&limited);
    }
    close_loop();
}

/* Taken away it does not fire, and it can be set again, as often as one likes; one that was never
 * there can be set as well. */
Test(deadline, taken_away_and_set_again)
{
    struct limited a = { 0 }, b = { 0 };
    begin_within(&a, FAR);
    begin_within(&b, UNR_NEVER);
    for (int i = 0; i < 3; i++) {
        make_due(&a);
        make_due(&b);
        cr_assert(unr_deadline_move(&a.deadline, UNR_NEVER));
        cr_assert(unr_deadline_move(&b.deadline, UNR_NEVER));
        cr_assert(unr_deadline_move(&a.deadline, UNR_NEVER));
        turn();
        cr_assert(a.end.runs == 0 && b.end.runs == 0);
        cr_assert_eq(a.recv.result.requested, 0);
    }
    make_due(&a);
    send_bytes(&b, 1);
    run();
    expect_timed_out(&a.end, UNR_VERDICT_CANCELLED);
    expect_success_of(&b.end, 1);
    close_limited(&a);
    close_limited(&b);
    close_loop();
}

/* What has passed is not moved, whatever its operation makes of that. */
Test(deadline, not_moved_when_it_has_passed)
{
    struct unr_deadline past = { 0 }, late = { 0 };
    struct own          owns[2] = { 0 };
    struct end          both[2] = { 0 };
    begin(&both[0], unr_cancel_at(&past, unr_describe(&owns[0].op, &certain), 1));
    cr_assert_not(unr_deadline_move(&past, UNR_NEVER));
    begin(&both[1], unr_cancel_after(&late, unr_describe(&owns[1].op, &willing), FAR));
    cr_assert(unr_deadline_move(&late, 1));
    turn();
    cr_assert_eq(owns[1].cancels, 1);
    cr_assert_not(unr_deadline_move(&late, unr_loop_now(loop) + FAR));
    cr_assert_not(unr_deadline_move(&late, UNR_NEVER));
    cr_assert_not(unr_deadline_move(&late, 1));
    unr_finish(&owns[0].op, 0);
    unr_finish(&owns[1].op, 0);
    run();
    cr_assert_eq(owns[1].cancels, 1);
    expect_end(&both[1], 0, UNR_VERDICT_TOO_LATE, -ETIMEDOUT);
    close_loop();
}

/* Nor one that is not in flight: described, in its `done`, and after. */
static void move_in_done(struct end *end)
{
    cr_assert_not(unr_deadline_move(end->context, 1));
}

Test(deadline, not_moved_when_it_is_not_in_flight)
{
    struct limited limited = { .end = { .then = move_in_done, .context = &limited.deadline } };
    cr_assert_not(unr_deadline_move(&limited.deadline, 1));
    unr_cancel_after(&limited.deadline, recv_of(&limited), FAR);
    cr_assert_not(unr_deadline_move(&limited.deadline, 1));
    begin(&limited.end, &limited.deadline.op);
    send_bytes(&limited, 1);
    run();
    cr_assert_not(unr_deadline_move(&limited.deadline, 1));
    expect_success_of(&limited.end, 1);
    close_limited(&limited);
    close_loop();
}

/* Nor when the operation has ended and its `done` is about to run: that turns no success into a
 * time-out. */
static bool     moved_in_turn;
static unr_time move_to;

static void move_another(struct end *end)
{
    struct limited *another = end->context;
    moved_in_turn = unr_deadline_move(&another->deadline, move_to);
}

static bool either_moved;

static void move_the_other(struct end *end)
{
    move_another(end);
    either_moved |= moved_in_turn;
}

/* Which of the two has its `done` first is the kernel's to say. */
Test(deadline, not_moved_between_the_end_and_done)
{
    struct limited both[2] = { 0 };
    move_to = 1;
    for (int i = 0; i < 2; i++) {
        both[i].end = (struct end){ .then = move_the_other, .context = &both[!i] };
        begin_within(&both[i], FAR);
    }
    submit();
    send_bytes(&both[0], 1);
    send_bytes(&both[1], 1);
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 2);
    cr_assert_not(either_moved);
    for (int i = 0; i < 2; i++) {
        expect_success_of(&both[i].end, 1);
        close_limited(&both[i]);
    }
    close_loop();
}

/* From the `done` of another operation: into the future before it has fired saves it ... */
Test(deadline, moved_later_by_another_done)
{
    struct limited second = { 0 }, first = { .end = { .then = move_another, .context = &second } };
    unr_time       old = unr_loop_now(loop) + UNR_MSEC(5);
    move_to = old + FAR;
    begin_within(&first, FAR);
    begin_until(&second, old);
    submit();
    send_bytes(&first, 1);
    until(&first.end);
    if (second.recv.result.requested == 0) { /* unless the machine was asleep for 5 ms */
        cr_assert(moved_in_turn);
        struct unr_timer timer = { 0 };
        struct end       passed = { 0 };
        begin(&passed, unr_timer_at(&timer, old + 1));
        until(&passed);
        cr_assert_eq(second.end.runs, 0);
        send_bytes(&second, 1);
        run();
        expect_success_of(&second.end, 1);
    }
    run();
    close_limited(&first);
    close_limited(&second);
    close_loop();
}

/* ... and into the past has it fire in the next turn ... */
Test(deadline, moved_into_the_past_by_another_done)
{
    struct limited second = { 0 }, first = { .end = { .then = move_another, .context = &second } };
    move_to = 1;
    begin_within(&first, FAR);
    begin_within(&second, FAR);
    submit();
    send_bytes(&first, 1);
    until(&first.end);
    cr_assert(moved_in_turn);
    cr_assert_eq(second.recv.result.requested, 0);
    run();
    expect_timed_out(&second.end, UNR_VERDICT_CANCELLED);
    close_limited(&first);
    close_limited(&second);
    close_loop();
}

/* ... but in the turn in which it fires, that other `done` comes too late to move it. */
Test(deadline, not_moved_by_another_done_of_the_turn_in_which_it_fires)
{
    struct limited second = { 0 }, first = { .end = { .then = move_another, .context = &second } };
    move_to = UNR_NEVER;
    moved_in_turn = true;
    begin_within(&first, FAR);
    begin_within(&second, FAR);
    submit();
    make_due(&second);
    send_bytes(&first, 1);
    until(&first.end);
    cr_assert_not(moved_in_turn);
    run();
    expect_timed_out(&second.end, UNR_VERDICT_CANCELLED);
    close_limited(&first);
    close_limited(&second);
    close_loop();
}

/* ---- many ---- */

struct many {
    struct unr_deadline deadline;
    struct own          own;
};

static unsigned timed_out, completed, cancelled;

static void one_of_many_ended(struct unr_op *op)
{
    struct many *one = op->data;
    cr_assert_eq(one->own.starts, 1);
    one->own.starts = 0; /* a second end would be seen */
    switch (unr_outcome(&op->result)) {
    case 0: completed++; break;
    case -ETIMEDOUT: timed_out++; break;
    default: cancelled++; break;
    }
}

static long memory_in_use(void)
{
#if SUPPORT_SANITIZED
    return 0; /* malloc is not the C library's */
#else
    return (long)mallinfo2().uordblks;
#endif
}

/* A million outstanding: starting them takes no memory but their own and no system call, and each
 * ends once - a third by its deadline, a third by completing, a third by closing the loop. */
Test(deadline, a_million_outstanding, .timeout = 60)
{
    skip_with_checks();
    enum { COUNT = SUPPORT_SANITIZED ? 200000 : 1000000 };
    struct many     *many = calloc(COUNT, sizeof *many);
    struct unr_stats before, after;
    cr_assert_eq(sizeof(struct unr_timer), sizeof(struct unr_op));
    cr_assert_eq(sizeof(struct unr_deadline), sizeof(struct unr_op));
    cr_assert_eq(sizeof(struct unr_delay), sizeof(struct unr_op));
    submit();
    unr_loop_stats(loop, &before, sizeof before);
    long     memory = memory_in_use();
    unr_time base = unr_loop_now(loop) + FAR;
    for (int i = 0; i < COUNT; i++) {
        many[i].own.on_cancel = give_in;
        unr_start(loop,
                  unr_cancel_at(&many[i].deadline, unr_describe(&many[i].own.op, &willing),
                                base + (int64_t)i * 7919 % COUNT),
                  one_of_many_ended, &many[i]);
    }
    cr_assert_eq(memory_in_use(), memory);
    unr_loop_stats(loop, &after, sizeof after);
    cr_assert_eq(after.enters, before.enters);
    cr_assert_eq(unr_loop_in_flight(loop), COUNT);
    for (int i = 0; i < COUNT; i += 3)
        cr_assert(unr_deadline_move(&many[i].deadline, 1 + (int64_t)i * 104729 % COUNT));
    for (int i = 1; i < COUNT; i += 3)
        unr_finish(&many[i].own.op, 0);
    while (unr_loop_in_flight(loop) > COUNT / 3)
        turn();
    cr_assert_eq(timed_out, (COUNT + 2) / 3);
    cr_assert_eq(completed, (COUNT + 1) / 3);
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(timed_out + completed + cancelled, COUNT);
    cr_assert_eq(many[2].deadline.op.result.cause, -ESHUTDOWN);
    free(many);
}

/* Ten thousand receives with deadlines, of which some are moved, taken away, cancelled and served
 * at random: each ends once, in a way that it was given cause for. */
Test(deadline, random_moves_cancels_and_ends)
{
    enum { COUNT = 10000 };
    static struct unr_deadline deadlines[COUNT];
    static struct own          owns[COUNT];
    static struct end          all[COUNT];
    unsigned                   seed = 11;
    unr_time                   base = unr_loop_now(loop);
    int                        alive = COUNT;
    for (int i = 0; i < COUNT; i++) {
        owns[i].on_cancel = rand_r(&seed) % 4 ? give_in : NULL;
        begin(&all[i], unr_cancel_at(&deadlines[i], unr_describe(&owns[i].op, &willing),
                                     base + rand_r(&seed) % UNR_MSEC(20)));
    }
    for (int step = 0; alive; step++) {
        int i = rand_r(&seed) % COUNT;
        if (step % 256 == 0)
            turn();
        if (step > 20 * COUNT && all[step % COUNT].runs == 0 && owns[step % COUNT].cancels)
            i = step % COUNT; /* time has passed for all */
        bool live = all[i].runs == 0 && unr_in_flight(&owns[i].op);
        switch (rand_r(&seed) % 5) {
        case 0:
            unr_deadline_move(&deadlines[i], unr_loop_now(loop) + rand_r(&seed) % UNR_MSEC(2));
            break;
        case 1:
            unr_deadline_move(&deadlines[i],
                              rand_r(&seed) % 8 || step > 10 * COUNT ? 1 : UNR_NEVER);
            break;
        case 2:
            if (rand_r(&seed) % 16 == 0)
                unr_cancel_cause(&deadlines[i].op, 1u << rand_r(&seed) % 3, -77);
            break;
        default:
            if (live && owns[i].starts && owns[i].cancels && !owns[i].on_cancel) {
                owns[i].starts = 0; /* ends only once */
                unr_finish(&owns[i].op, rand_r(&seed) % 2 ? 0 : -ECANCELED);
            }
        }
        if (step % 4096 == 0) {
            alive = 0;
            for (int k = 0; k < COUNT; k++)
                alive += all[k].runs == 0;
        }
    }
    for (int i = 0; i < COUNT; i++) {
        const struct unr_result *r = &all[i].result;
        cr_assert_eq(all[i].runs, 1);
        cr_assert(r->cause == -77 || r->cause == -ETIMEDOUT
                  || (r->cause == 0 && owns[i].starts == 0));
        cr_assert_eq(r->error == -ECANCELED,
                     r->verdict == UNR_VERDICT_CANCELLED || r->verdict == UNR_VERDICT_UNSUBMITTED);
        cr_assert_eq(owns[i].cancels > 0 || r->verdict == UNR_VERDICT_UNSUBMITTED,
                     r->requested != 0);
    }
    close_loop();
}

/* Time-outs of one length, begun one after another, among which some are moved, end and are freed:
 * nothing of those is touched afterwards, by the others' ends, by a dump or by closing. */
static void free_one(struct unr_op *op)
{
    struct many *one = op->data;
    ends++;
    memset(one, 0xee, sizeof *one);
    free(one);
}

static struct many *begin_one(unr_time delay)
{
    struct many *one = calloc(1, sizeof *one);
    one->own.on_cancel = give_in;
    unr_start(loop, unr_cancel_after(&one->deadline, unr_describe(&one->own.op, &willing), delay),
              free_one, one);
    return one;
}

static void dump_to_nowhere(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    unr_loop_dump(loop, null);
    close(null);
}

Test(deadline, of_one_length_moved_and_freed)
{
    enum { COUNT = 8 };
    int started = 0;
    for (int moved = 0; moved < COUNT; moved++)
        for (int ended_one = 0; ended_one < COUNT; ended_one++) {
            struct many *same[COUNT];
            if (moved == ended_one)
                continue;
            for (int i = 0; i < COUNT; i++, started++)
                same[i] = begin_one(FAR);
            cr_assert(unr_deadline_move(&same[moved]->deadline, unr_loop_now(loop) + 2 * FAR));
            unr_finish(&same[ended_one]->own.op, 0);
            turn();
            dump_to_nowhere();
            cr_assert(unr_deadline_move(&same[moved]->deadline,
                                        moved % 2 ? UNR_NEVER : unr_loop_now(loop) + FAR / 2));
            for (int i = 0; i < COUNT; i += 2)
                if (i != moved && i != ended_one)
                    unr_finish(&same[i]->own.op, 0);
            turn();
            dump_to_nowhere();
        }
    cr_assert_eq(unr_loop_in_flight(loop), (unsigned)(started - ends));
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(ends, started);
}

/* And in the order in which they are due, those of other lengths and those moved among them. */
static unr_time last_due;

static void check_order(struct own *own)
{
    struct many *one = unr_container_of(own, struct many, own);
    cr_assert_geq(one->deadline.private_fields.timer.deadline, last_due);
    last_due = one->deadline.private_fields.timer.deadline;
    unr_finish(&own->op, -ECANCELED);
}

Test(deadline, of_a_few_lengths_fire_in_order)
{
    enum { COUNT = 20000 };
    static struct many many[COUNT];
    unsigned           seed = 9;
    for (int i = 0; i < COUNT; i++) {
        unr_time delay = UNR_MSEC(1) * (1 + rand_r(&seed) % 40) / 2;
        many[i].own.on_cancel = check_order;
        unr_start(
            loop,
            unr_cancel_after(&many[i].deadline, unr_describe(&many[i].own.op, &willing), delay),
            one_of_many_ended, &many[i]);
        struct many *one = &many[rand_r(&seed) % (i + 1)];
        if (i % 3 == 0)
            unr_deadline_move(&one->deadline,
                              unr_loop_now(loop) + UNR_MSEC(25) + rand_r(&seed) % UNR_MSEC(5));
        else if (i % 3 == 1 && one->own.starts && unr_in_flight(&one->own.op)
                 && one->own.cancels == 0 && !one->own.asked.types) {
            one->own.asked.types = UNR_CANCEL_ALL; /* that it is finished once */
            one->own.on_cancel = NULL;
            unr_finish(&one->own.op, 0);
        }
        if (i % 1000 == 0)
            turn();
    }
    run();
    cr_assert_eq(timed_out + completed, COUNT);
    close_loop();
}

/* ---- an inner operation that does not end ---- */

/* One that ignores the time-out goes on until it has really ended, and may then still succeed. */
Test(deadline, waits_for_what_ignores_it)
{
    struct unr_deadline deadline = { 0 };
    struct unr_timer    timer = { 0 };
    struct own          own = { 0 };
    struct end          end = { 0 }, passed = { 0 };
    begin(&end, unr_cancel_after(&deadline, unr_describe(&own.op, &willing), UNR_MSEC(1)));
    begin(&passed, unr_timer_after(&timer, UNR_MSEC(3)));
    until(&passed);
    cr_assert(own.cancels == 1 && end.runs == 0);
    cr_assert(unr_in_flight(&deadline.op));
    unr_finish(&own.op, 0);
    run();
    expect_end(&end, 0, UNR_VERDICT_TOO_LATE, -ETIMEDOUT);
    cr_assert_eq(own.cancels, 1);
    close_loop();
}

/* One that refuses it, a shielded one too, is not ended by it; the verdict tells. */
Test(deadline, waits_for_what_refuses_it)
{
    struct unr_deadline around = { 0 }, of_shielded = { 0 };
    struct unr_filter   shield = { 0 };
    struct limited      limited = { 0 };
    struct own          own = { 0 };
    struct end          end = { 0 };
    begin(&end, unr_cancel_after(&around, unr_describe(&own.op, &certain), FAR));
    begin(&limited.end,
          unr_cancel_after(&of_shielded, unr_shield(&shield, recv_of(&limited)), FAR));
    cr_assert_eq(unr_supports(&of_shielded.op), UNR_CANCEL_NONE);
    submit();
    cr_assert(unr_deadline_move(&around, 1) && unr_deadline_move(&of_shielded, 2));
    turn();
    turn();
    cr_assert(end.runs == 0 && limited.end.runs == 0);
    cr_assert_not(unr_deadline_move(&around, FAR));
    send_bytes(&limited, 4);
    unr_finish(&own.op, -EIO);
    run();
    expect_end(&end, -EIO, UNR_VERDICT_REFUSED, -ETIMEDOUT);
    expect_end(&limited.end, 0, UNR_VERDICT_REFUSED, -ETIMEDOUT);
    cr_assert_eq(limited.end.result.bytes, 4);
    cr_assert_eq(own.cancels, 0);
    close_limited(&limited);
    close_loop();
}

/* What it honours can change while it runs, as a composed operation's state does: requests through
 * the deadline follow. */
static struct own step_own;

static void total_from_its_first_step(struct unr_compose *self, struct unr_op *finished)
{
    if (finished) {
        unr_compose_end(self, finished->result.error);
        return;
    }
    unr_state_reset(unr_compose_state(self), unr_let_total, unr_let_total, NULL);
    step_own.on_cancel = give_in;
    unr_compose_next(self, unr_describe(&step_own.op, &willing));
}

Test(deadline, honours_what_its_operation_honours_by_now)
{
    struct unr_deadline deadline = { 0 };
    struct unr_compose  compose = { 0 };
    struct end          end = { 0 };
    begin(&end, unr_cancel_after(&deadline,
                                 unr_compose(&compose, "two faced", UNR_CANCEL_TERMINAL,
                                             total_from_its_first_step),
                                 FAR));
    cr_assert_eq(unr_supports(&compose.op), UNR_CANCEL_ALL);
    cr_assert(unr_cancel(&deadline.op, UNR_CANCEL_TOTAL));
    turn();
    bool over = end.runs == 1;
    unr_deadline_move(&deadline, 1);
    run();
    cr_assert(over, "the composed operation honours TOTAL, the deadline around it refused it");
    expect_end(&end, -ECANCELED, UNR_VERDICT_CANCELLED, -ECANCELED);
    close_loop();
}

/* ---- around this and that ---- */

static int connect_to(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)address, sizeof *address), 0);
    return fd;
}

/* Around an accept: whoever wins, a connection is either handed over once or still to be
 * accepted. */
Test(deadline, around_accept)
{
    struct sockaddr_in  address;
    struct unr_deadline deadlines[3] = { 0 };
    struct unr_op       accepts[3] = { 0 };
    struct end          in_time = { 0 }, too_late = { 0 }, out = { 0 };
    int                 listener = tcp_listener(&address, 4), clients[3];

    begin(&in_time,
          unr_cancel_after(&deadlines[0],
                           unr_accept(&accepts[0], listener, NULL, NULL, SOCK_CLOEXEC), FAR));
    submit();
    clients[0] = connect_to(&address);
    until(&in_time);
    expect_end(&in_time, 0, UNR_VERDICT_NONE, 0);

    begin(&too_late,
          unr_cancel_after(&deadlines[1],
                           unr_accept(&accepts[1], listener, NULL, NULL, SOCK_CLOEXEC), FAR));
    submit();
    clients[1] = connect_to(&address);
    cr_assert(unr_deadline_move(&deadlines[1], 1));
    until(&too_late);
    expect_end(&too_late, 0, UNR_VERDICT_TOO_LATE, -ETIMEDOUT);
    cr_assert(too_late.result.fd >= 0 && too_late.result.fd != in_time.result.fd);
    cr_assert_eq(fcntl(too_late.result.fd, F_GETFD), FD_CLOEXEC);
    cr_assert_eq(accepts[1].result.fd, too_late.result.fd);

    begin(&out, unr_cancel_after(&deadlines[2],
                                 unr_accept(&accepts[2], listener, NULL, NULL, SOCK_CLOEXEC),
                                 UNR_MSEC(1)));
    run();
    expect_timed_out(&out, UNR_VERDICT_CANCELLED);
    clients[2] = connect_to(&address);
    int left = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    cr_assert_geq(left, 0);

    int fds[] = { in_time.result.fd, too_late.result.fd, left,      listener,
                  clients[0],        clients[1],         clients[2] };
    for (size_t i = 0; i < LENGTH(fds); i++)
        cr_assert_eq(close(fds[i]), 0);
    close_loop(); /* which counts descriptors */
}

/* A composed operation that receives until it has `wanted` bytes. */
struct collect {
    struct unr_compose compose;
    struct unr_op      recv;
    int                fd;
    size_t             wanted;
    char               bytes[16];
};

static void collect_step(struct unr_compose *self, struct unr_op *finished)
{
    struct collect *collect = unr_container_of(self, struct collect, compose);
    if (finished)
        self->op.result.bytes += finished->result.bytes;
    size_t have = self->op.result.bytes;
    if (finished && finished->result.error)
        unr_compose_end(self, finished->result.error);
    else if (have == collect->wanted)
        unr_compose_end(self, 0);
    else
        unr_compose_next(self, unr_recv(&collect->recv, collect->fd, collect->bytes + have,
                                        collect->wanted - have, 0));
}

static struct unr_op *collect(struct collect *collect, int fd, size_t wanted)
{
    collect->fd = fd;
    collect->wanted = wanted;
    return unr_compose(&collect->compose, "collect", UNR_CANCEL_PARTIAL, collect_step);
}

/* Around a composed operation: it ends between its bytes, PARTIAL, and says how many it has; or
 * with all of them. */
Test(deadline, around_a_composed_operation)
{
    int fds[2];
    unix_pair(fds);
    for (int enough = 0; enough <= 1; enough++) {
        struct unr_deadline deadline = { 0 };
        struct collect      mine = { 0 };
        struct end          end = { 0 };
        begin(&end, unr_cancel_after(&deadline, collect(&mine, fds[0], 8), FAR));
        cr_assert_eq(unr_supports(&deadline.op), UNR_CANCEL_PARTIAL | UNR_CANCEL_TERMINAL);
        submit();
        for (int i = 0; i < 2 + enough; i++) {
            cr_assert_eq(write(fds[1], "abc", i < 2 ? 3 : 2), i < 2 ? 3 : 2);
            turn();
            submit();
        }
        if (!enough)
            cr_assert(unr_deadline_move(&deadline, 1));
        run();
        if (enough) {
            expect_success_of(&end, 8);
            continue;
        }
        expect_end(&end, -ECANCELED, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
        cr_assert_eq(end.result.guarantee, UNR_CANCEL_PARTIAL);
        cr_assert_eq(end.result.bytes, 6);
        cr_assert_eq(drain(fds[0]), 0);
    }
    close_pair(fds);
    close_loop();
}

/* A time-out that loses to one step of a composed operation ends it before the next one. */
Test(deadline, loses_to_a_step_and_not_to_the_next)
{
    struct unr_deadline deadline = { 0 };
    struct collect      mine = { 0 };
    struct end          end = { 0 };
    int                 fds[2];
    unix_pair(fds);
    begin(&end, unr_cancel_after(&deadline, collect(&mine, fds[0], 8), FAR));
    submit();
    cr_assert_eq(write(fds[1], "abc", 3), 3);
    cr_assert(unr_deadline_move(&deadline, 1));
    run();
    expect_end(&end, -ECANCELED, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    cr_assert_eq(end.result.bytes, 3);
    close_pair(fds);
    close_loop();
}

/* A deadline inside a composed operation, around one of its steps: the whole ends as timed out,
 * though nobody asked it. */
static struct limited step_limited;

static void limited_step(struct unr_compose *self, struct unr_op *finished)
{
    if (finished)
        unr_compose_end(self, finished->result.error);
    else
        unr_compose_next(
            self, unr_cancel_after(&step_limited.deadline, recv_of(&step_limited), UNR_MSEC(1)));
}

Test(deadline, around_a_step)
{
    struct unr_compose compose = { 0 };
    struct end         end = { 0 };
    begin(&end, unr_compose(&compose, "impatient", UNR_CANCEL_TOTAL, limited_step));
    run();
    expect_end(&end, -ECANCELED, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    close_limited(&step_limited);
    close_loop();
}

/* Around a group, all members end; the whole reads as timed out. */
Test(deadline, around_a_group)
{
    struct unr_deadline deadline = { 0 };
    struct unr_group    group = { 0 };
    struct limited      members[3] = { 0 };
    struct unr_op      *described[3];
    struct end          end = { 0 };
    for (int i = 0; i < 3; i++)
        described[i] = recv_of(&members[i]);
    begin(&end, unr_cancel_after(&deadline, unr_all(&group, described, 3), FAR));
    submit();
    send_bytes(&members[1], 2);
    turn();
    cr_assert(unr_deadline_move(&deadline, 1));
    run();
    expect_end(&end, -ECANCELED, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    cr_assert_eq(end.result.guarantee, UNR_CANCEL_PARTIAL);
    cr_assert_eq(members[1].recv.result.bytes, 2);
    for (int i = 0; i < 3; i++) {
        if (i != 1)
            cr_assert_eq(unr_outcome(&members[i].recv.result), -ETIMEDOUT);
        close_limited(&members[i]);
    }
    close_loop();
}

/* Inside groups.  Of unr_any, a member that times out leaves the others to it; of unr_all, it ends
 * them, and is what the group reports. */
Test(deadline, inside_a_group)
{
    struct limited   any[2] = { 0 }, all[2] = { 0 };
    struct unr_group groups[2] = { 0 };
    struct end       any_end = { 0 }, all_end = { 0 };
    unr_cancel_after(&any[0].deadline, recv_of(&any[0]), UNR_MSEC(1));
    unr_cancel_after(&all[0].deadline, recv_of(&all[0]), UNR_MSEC(1));
    begin(&any_end,
          unr_any(&groups[0], (struct unr_op *[]){ &any[0].deadline.op, recv_of(&any[1]) }, 2));
    begin(&all_end,
          unr_all(&groups[1], (struct unr_op *[]){ &all[0].deadline.op, recv_of(&all[1]) }, 2));
    until(&all_end);
    expect_end(&all_end, -ECANCELED, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    cr_assert_eq(all_end.result.value, 0);
    cr_assert_eq(all[1].recv.result.cause, -ECANCELED);
    cr_assert_eq(any_end.runs, 0);
    send_bytes(&any[1], 1);
    run();
    cr_assert(any_end.runs == 1 && any_end.result.error == 0 && any_end.result.value == 1);
    cr_assert_eq(unr_outcome(&any[0].deadline.op.result), -ETIMEDOUT);
    for (int i = 0; i < 2; i++) {
        close_limited(&any[i]);
        close_limited(&all[i]);
    }
    close_loop();
}

/* ---- latched ---- */

/* What a latched signal has latched ends the operation before it begins, with the signal's cause,
 * not as a time-out; a deadline that is past as well makes no difference. */
Test(deadline, latched_before_the_start)
{
    struct unr_signal stop = { 0 };
    unr_signal_init_latched(&stop);
    unr_signal_emit_cause(&stop, UNR_CANCEL_TOTAL, -77);
    for (int inner = 0; inner <= 1; inner++)
        for (int past = 0; past <= 1; past++) {
            struct limited limited = { 0 };
            recv_of(&limited);
            if (inner)
                unr_bind_slot(&limited.recv, unr_signal_slot(&stop));
            unr_cancel_after(&limited.deadline, &limited.recv, past ? 0 : FAR);
            if (!inner)
                unr_bind_slot(&limited.deadline.op, unr_signal_slot(&stop));
            begin(&limited.end, &limited.deadline.op);
            send_bytes(&limited, 1);
            run();
            expect_end(&limited.end, -ECANCELED, UNR_VERDICT_UNSUBMITTED,
                       inner && past ? -ETIMEDOUT : -77);
            expect_conserved(&limited, 1);
            close_limited(&limited);
        }
    close_loop();
}

/* What was latched may end a part of what is inside and leave the rest running: that still has its
 * deadline. */
Test(deadline, latched_for_a_part_of_a_group)
{
    struct unr_signal   stop = { 0 };
    struct unr_deadline deadline = { 0 };
    struct unr_timer    guard = { 0 };
    struct unr_group    group = { 0 };
    struct own     willing_one = { .on_cancel = give_in }, terminal_one = { .on_cancel = give_in };
    struct unr_op *members[] = { unr_describe(&willing_one.op, &willing),
                                 unr_describe(&terminal_one.op, &closer) };
    struct end     end = { 0 }, passed = { 0 };
    unr_signal_init_latched(&stop);
    unr_signal_emit_cause(&stop, UNR_CANCEL_TOTAL, -77);
    unr_cancel_after(&deadline, unr_group(&group, members, 2, unr_wait_all, NULL), UNR_MSEC(2));
    begin(&end, unr_bind_slot(&deadline.op, unr_signal_slot(&stop)));
    begin(&passed, unr_timer_after(&guard, UNR_MSEC(20)));
    until(&passed);
    bool in_time = end.runs == 1;
    unr_cancel(&terminal_one.op, UNR_CANCEL_TERMINAL);
    run();
    cr_assert_eq(willing_one.op.result.verdict, UNR_VERDICT_UNSUBMITTED);
    cr_assert(in_time, "the deadline of what was asked before it began does not fire");
    cr_assert_eq(unr_outcome(&terminal_one.op.result), -ETIMEDOUT);
    close_loop();
}

/* ---- memory ---- */

/* In its `done` all of it is the caller's: freed there, nothing is touched afterwards, in time and
 * too late. */
static void free_all(struct end *end)
{
    struct limited *limited = end->context;
    close_limited(limited);
    memset(limited, 0xee, sizeof *limited);
    free(limited);
}

Test(deadline, freed_in_its_done)
{
    enum { KINDS = 4 };
    for (int i = 0; i < 4 * KINDS; i++) {
        struct limited *limited = calloc(1, sizeof *limited);
        limited->end.then = free_all;
        limited->end.context = limited;
        begin_within(limited, i % KINDS == 0 ? 0 : i % KINDS == 1 ? UNR_MSEC(1) : FAR);
        if (i % KINDS == 2)
            send_bytes(limited, 1);
        if (i % KINDS == 3)
            unr_cancel(&limited->deadline.op, UNR_CANCEL_ALL);
    }
    run();
    cr_assert_eq(ends, 4 * KINDS);
    close_loop();
}

/* A scope takes members, so it begins also where its deadline is past; they end in its place. */
Test(deadline, past_at_the_start_of_a_scope_ends_its_members)
{
    struct unr_deadline deadline = { 0 };
    struct unr_scope    scope = { 0 };
    struct unr_op       close_op = { 0 };
    struct unr_timer    timer = { 0 };
    struct end          end = { 0 }, member = { 0 }, closed = { 0 };
    int                 fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    begin(&end, unr_cancel_after(&deadline, unr_scope(&scope), 0));
    turn();
    cr_assert(unr_in_flight(&scope.op) && end.runs == 0);
    unr_scope_start(&scope, unr_timer_after(&timer, FAR), ended, &member);
    unr_scope_start(&scope, unr_close(&close_op, fd), ended, &closed);
    unr_scope_close(&scope);
    until(&closed);
    cr_assert_eq(closed.result.error, 0, "it supports NONE, and runs");
    expect_end(&member, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -ETIMEDOUT);
    until(&end);
    expect_end(&end, -ECANCELED, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    cr_assert(unr_timed_out(&end.result));
    cr_assert_eq(end.result.value, 2);

    end.runs = 0; /* without members there is nothing to end */
    begin(&end, unr_cancel_after(&deadline, unr_scope(&scope), 0));
    unr_scope_close(&scope);
    until(&end);
    expect_end(&end, 0, UNR_VERDICT_TOO_LATE, -ETIMEDOUT);
    close_loop();
}

/* ---- closing ---- */

/* Closing the loop ends operations with deadlines, with its own cause; one that refuses is awaited.
 * None is left among the timers. */
static void finish_late(struct end *end)
{
    unr_finish(end->context, 0);
}

Test(deadline, closing_with_some_in_flight)
{
    struct limited      limited[3] = { 0 };
    struct unr_deadline stubborn = { 0 };
    struct unr_timer    timer = { 0 };
    struct own          own = { 0 };
    struct end          end = { 0 }, timer_end = { .then = finish_late, .context = &own.op };
    begin_within(&limited[0], FAR);
    begin_within(&limited[1], UNR_NEVER);
    submit();
    begin_within(&limited[2], FAR);
    begin(&end, unr_cancel_after(&stubborn, unr_describe(&own.op, &certain), FAR));
    begin(&timer_end, unr_timer_after(&timer, FAR));
    cr_assert_eq(unr_loop_close(loop), 0);
    for (int i = 0; i < 3; i++) {
        expect_end(&limited[i].end, -ECANCELED,
                   i < 2 ? UNR_VERDICT_CANCELLED : UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
        close_limited(&limited[i]);
    }
    expect_end(&end, 0, UNR_VERDICT_REFUSED, -ESHUTDOWN);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* Delayed closes of one pause are begun while the loop closes, which moves them in front of the
 * timer: that is cancelled all the same, and not awaited. */
Test(delay, of_one_pause_when_the_loop_closes_behind_a_timer)
{
    enum { COUNT = 3 };
    struct unr_timer timer = { 0 };
    struct unr_delay delays[COUNT] = { 0 };
    struct unr_op    closes[COUNT] = { 0 };
    struct end       timed = { 0 }, closed[COUNT] = { 0 };
    int              fds[COUNT];
    begin(&timed, unr_timer_after(&timer, UNR_SEC(2)));
    for (int i = 0; i < COUNT; i++) {
        fds[i] = dup(0);
        begin(&closed[i], unr_delay(&delays[i], unr_close(&closes[i], fds[i]), FAR));
    }
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_end(&timed, -ECANCELED, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    for (int i = 0; i < COUNT; i++) {
        cr_assert(closed[i].runs == 1 && closed[i].result.error == 0);
        cr_assert_eq(fcntl(fds[i], F_GETFD), -1);
    }
    cr_assert_eq(count_descriptors(), open_descriptors);
}

static struct unr_timer moved_at_start;

static void start_and_move(struct unr_op *op)
{
    cr_assert(unr_timer_move(&moved_at_start, FAR));
    unr_finish(op, 0);
}

static void finish_both_late(struct end *end)
{
    struct own *owns = end->context;
    for (int i = 0; i < 2; i++)
        unr_finish(&owns[i].op, 0);
}

/* What a delay begins while the loop closes may move a timer that waits with it: it and each of
 * those behind it are cancelled. */
Test(delay, that_moves_a_timer_when_the_loop_closes)
{
    static const struct unr_op_type mover = {
        .size = sizeof mover, .name = "mover", .start = start_and_move, .cancel = own_cancel
    };
    const unr_time      pause = UNR_SEC(2); /* one for all: they wait in one queue */
    struct unr_timer    first = { 0 }, last = { 0 };
    struct unr_deadline deadlines[2] = { 0 };
    struct own          certain_ones[2] = { 0 }, willing_one = { 0 };
    struct unr_op       moves = { 0 };
    struct unr_delay    delay = { 0 };
    struct unr_group    group = { 0 };
    struct end first_end = { .then = finish_both_late, .context = certain_ones }, delayed = { 0 },
               moved = { 0 }, last_end = { 0 };
    begin(&first_end, unr_timer_after(&first, pause));
    for (int i = 0; i < 2; i++)
        unr_start(loop,
                  unr_cancel_at(&deadlines[i], unr_describe(&certain_ones[i].op, &certain),
                                unr_loop_now(loop) + pause),
                  NULL, NULL);
    struct unr_op *members[] = { unr_describe(&willing_one.op, &willing),
                                 unr_describe(&moves, &mover) };
    begin(&delayed, unr_delay(&delay, unr_group(&group, members, 2, unr_wait_all, NULL), pause));
    begin(&moved, unr_timer_after(&moved_at_start, pause));
    for (unr_time now = unr_loop_now(loop); unr_loop_now(loop) == now;)
        turn();
    begin(&last_end, unr_timer_after(&last, pause)); /* behind the deadlines */
    cr_assert_eq(unr_loop_close(loop), 0);
    struct end *const timers[] = { &first_end, &moved, &last_end };
    for (size_t i = 0; i < LENGTH(timers); i++)
        expect_end(timers[i], -ECANCELED, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    cr_assert_eq(delayed.runs, 1);
    cr_assert_eq(moves.result.error, 0);
    cr_assert_eq(willing_one.starts, 0);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* ---- no room for a timer ---- */

static bool refuses_memory;
enum { SMALL_HEAP = 1 << 16 };

/* The heap of the timers is the only thing that the library maps whose size is not a power of
 * two. */
void *mmap(void *address, size_t size, int protection, int flags, int of, off_t offset)
{
    if (refuses_memory && flags & MAP_NORESERVE && size > SMALL_HEAP && size & (size - 1)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, address, size, protection, flags, of, offset);
}

void *mremap(void *address, size_t size, size_t new_size, int flags, ...)
{
    if (refuses_memory) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mremap, address, size, new_size, flags, NULL);
}

static struct unr_timer filling[SMALL_HEAP];

/* A loop whose heap is small, may not grow and is full; with how many timers. */
static unsigned open_full_loop(void)
{
    refuses_memory = true;
    cr_assert_eq(unr_loop_close(loop), 0);
    open_loop();
    for (unsigned i = 0; i < LENGTH(filling); i++) {
        unr_start(loop, unr_timer_at(&filling[i], unr_loop_now(loop) + FAR + i), NULL, NULL);
        turn();
        if (!unr_in_flight(&filling[i].op)) {
            cr_assert_eq(filling[i].op.result.error, -ENOMEM);
            return i;
        }
    }
    cr_assert_fail("the heap is never full");
    return 0;
}

static void empty_loop(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        unr_cancel(&filling[i].op, UNR_CANCEL_ALL);
    run();
    refuses_memory = false;
    close_loop();
}

/* Where there is no room for its timer, the operation ends with -ENOMEM and never began; a deadline
 * that needs none works. */
Test(deadline, no_room_for_its_timer)
{
    unsigned       count = open_full_loop();
    struct limited full = { 0 }, never = { 0 }, past = { 0 }, again = { 0 };
    begin_within(&full, FAR);
    send_bytes(&full, 3);
    begin_within(&never, UNR_NEVER);
    begin_within(&past, 0);
    until(&full.end);
    expect_end(&full.end, -ENOMEM, UNR_VERDICT_NONE, 0);
    expect_timed_out(&past.end, UNR_VERDICT_UNSUBMITTED);
    cr_assert_eq(full.recv.result.error, -ENOMEM);
    expect_conserved(&full, 3);

    cr_assert_not(unr_deadline_move(&never.deadline, 1));
    cr_assert_not(unr_deadline_move(&never.deadline, unr_loop_now(loop) + FAR));
    turn();
    cr_assert(never.end.runs == 0 && never.recv.result.requested == 0);
    unr_cancel(&filling[--count].op, UNR_CANCEL_ALL);
    turn();
    cr_assert(unr_deadline_move(&never.deadline, unr_loop_now(loop) + FAR));
    cr_assert(unr_deadline_move(&never.deadline, 1));
    until(&never.end);
    expect_timed_out(&never.end, UNR_VERDICT_CANCELLED);

    begin_within(&again, FAR); /* into the place that is free now */
    send_bytes(&again, 1);
    until(&again.end);
    expect_success_of(&again.end, 1);
    struct limited *all[] = { &full, &never, &past, &again };
    for (size_t i = 0; i < LENGTH(all); i++)
        close_limited(all[i]);
    empty_loop(count);
}

/* What never began for want of room is its caller's again, inner and outer. */
Test(deadline, described_anew_when_there_was_no_room)
{
    unsigned            count = open_full_loop();
    struct unr_deadline deadline = { 0 };
    struct own          own = { .on_cancel = give_in };
    struct end          full = { 0 }, end = { 0 };
    begin(&full, unr_cancel_after(&deadline, unr_describe(&own.op, &willing), FAR));
    until(&full);
    expect_end(&full, -ENOMEM, UNR_VERDICT_NONE, 0);
    cr_assert_eq(own.starts, 0);
    refuses_memory = false;
    begin(&end, unr_cancel_after(&deadline, unr_describe(&own.op, &willing), UNR_MSEC(1)));
    until(&end);
    expect_timed_out(&end, UNR_VERDICT_CANCELLED);
    cr_assert_eq(own.starts, 1);
    empty_loop(count);
}

static int never_called(void *argument)
{
    cr_assert_fail("it never began");
    return *(int *)argument;
}

static void count_disposal(void *count)
{
    ++*(int *)count;
}

/* The argument of work is disposed of, wherever in what never began the work is. */
Test(deadline, work_that_never_began_is_disposed_of)
{
    unsigned            count = open_full_loop();
    struct unr_work     works[3] = { 0 };
    struct unr_deadline deadlines[2] = { 0 };
    struct unr_group    group = { 0 };
    struct unr_filter   shield = { 0 };
    struct end          last[2] = { 0 };
    int                 disposed[3] = { 0 };
    struct unr_op      *op[3];
    for (int i = 0; i < 3; i++)
        op[i] = unr_work_abandonable(&works[i], never_called, &disposed[i], count_disposal);
    op[2] = unr_shield(&shield, op[2]);
    begin(&last[0], unr_cancel_after(&deadlines[0], op[0], FAR));
    begin(&last[1], unr_cancel_after(&deadlines[1], unr_all(&group, op + 1, 2), FAR));
    for (int i = 0; i < 2; i++) {
        until(&last[i]);
        expect_end(&last[i], -ENOMEM, UNR_VERDICT_NONE, 0);
    }
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(disposed[i], 1);
        cr_assert_eq(works[i].op.result.error, -ENOMEM);
    }
    empty_loop(count);
}

/* ---- among timers ---- */

/* Timers behave as they do without deadlines among them: what is due in a turn comes in the order
 * of its time, the timers' `done` and the deadlines' requests alike, whatever was moved. */
static int requests;

static void give_in_and_count(struct own *own)
{
    own->asked.cause = ++requests;
    give_in(own);
}

enum { AMONG = 600 };
static struct unr_deadline among_deadlines[AMONG];
static struct unr_timer    among_timers[AMONG];
static struct own          among_owns[AMONG];
static struct end          ends_of_deadlines[AMONG], ends_of_timers[AMONG];

Test(deadline, in_order_with_timers)
{
    static unr_time of_deadline[AMONG], of_timer[AMONG];
    unsigned        seed = 5;
    unr_time        base = unr_loop_now(loop) + FAR;
    for (int i = 0; i < AMONG; i++) {
        among_owns[i].on_cancel = give_in_and_count;
        begin(&ends_of_deadlines[i],
              unr_cancel_at(&among_deadlines[i], unr_describe(&among_owns[i].op, &willing),
                            base + rand_r(&seed) % 1000));
        begin(&ends_of_timers[i], unr_timer_at(&among_timers[i], base + rand_r(&seed) % 1000));
    }
    for (int i = 0; i < AMONG; i++) {
        of_deadline[i] = 1 + rand_r(&seed) % 1000;
        of_timer[i] = 1 + rand_r(&seed) % 1000;
        cr_assert(unr_deadline_move(&among_deadlines[i], of_deadline[i]));
        cr_assert(unr_timer_move(&among_timers[i], of_timer[i]));
    }
    for (int i = 0; i < AMONG; i += 10) {
        cr_assert(unr_deadline_move(&among_deadlines[i], UNR_NEVER));
        cr_assert(unr_cancel(&among_timers[i].op, UNR_CANCEL_ALL));
    }
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 2 * AMONG - AMONG / 10);
    for (int i = 0; i < AMONG; i++)
        for (int k = 0; k < AMONG; k++) {
            if (i % 10 == 0 || k % 10 == 0)
                continue;
            if (of_timer[i] < of_timer[k])
                cr_assert_lt(ends_of_timers[i].order, ends_of_timers[k].order);
            if (of_deadline[i] < of_deadline[k])
                cr_assert_lt(among_owns[i].asked.cause, among_owns[k].asked.cause);
        }
    for (int i = 0; i < AMONG; i += 10)
        cr_assert(unr_deadline_move(&among_deadlines[i], 1));
    run();
    for (int i = 0; i < AMONG; i++) {
        cr_assert_eq(unr_outcome(&ends_of_deadlines[i].result), -ETIMEDOUT);
        cr_assert_eq(ends_of_timers[i].result.error, i % 10 ? 0 : -ECANCELED);
    }
    close_loop();
}

/* A dump shows what is in flight once, whether it waits for its time, for the kernel, or for
 * both. */
static unsigned occurrences(const char *text, const char *word)
{
    unsigned count = 0;
    for (; (text = strstr(text, word)); text++)
        count++;
    return count;
}

Test(deadline, dumped_once)
{
    static char      text[8192];
    struct limited   limited[2] = { 0 };
    struct unr_delay delay = { 0 };
    struct unr_timer timer = { 0 };
    struct own       own = { 0 };
    struct end       delayed = { 0 }, timed = { 0 };
    int              ends_of_pipe[2];
    begin_within(&limited[0], FAR);
    begin_within(&limited[1], UNR_NEVER);
    begin(&delayed, unr_delay(&delay, unr_describe(&own.op, &willing), FAR));
    begin(&timed, unr_timer_after(&timer, FAR));
    submit();
    cr_assert_eq(pipe2(ends_of_pipe, O_CLOEXEC), 0);
    unr_loop_dump(loop, ends_of_pipe[1]);
    cr_assert_gt(read(ends_of_pipe[0], text, sizeof text - 1), 0);
    close_pair(ends_of_pipe);
    cr_assert_eq(occurrences(text, "recv "), 2, "%s", text);
    cr_assert_eq(occurrences(text, "timer "), 1, "%s", text);
    cr_assert_eq(occurrences(text, "\n"), 1 + 4, "%s", text);
    cr_assert_not_null(strstr(text, "4 in flight"), "%s", text);
    for (int i = 0; i < 2; i++)
        unr_cancel(&limited[i].deadline.op, UNR_CANCEL_ALL);
    unr_cancel(&delay.op, UNR_CANCEL_ALL);
    unr_cancel(&timer.op, UNR_CANCEL_ALL);
    run();
    for (int i = 0; i < 2; i++)
        close_limited(&limited[i]);
    close_loop();
}

/* ---- embedded ---- */

static int fd;

/* As another event loop does. */
static void wait_until_ended(const struct end *end)
{
    while (end->runs == 0) {
        wait_readable(fd);
        cr_assert_geq(unr_loop_run_once(loop, 0), 0);
    }
}

static void settle(void)
{
    for (int turns = 0; readable(fd); turns++) {
        cr_assert_lt(turns, 50, "the descriptor is readable for ever");
        cr_assert_geq(unr_loop_run_once(loop, 0), 0);
    }
}

static void embed(void)
{
    fd = unr_loop_fd(loop);
    cr_assert_geq(fd, 0);
    settle();
}

/* The loop's descriptor wakes its event loop for a deadline, and is quiet until then. */
Test(deadline, wakes_another_event_loop)
{
    struct limited limited = { 0 };
    embed();
    begin_within(&limited, UNR_MSEC(20));
    unr_time due = unr_loop_now(loop);
    cr_assert(readable(fd));
    settle();
    cr_assert(limited.end.runs == 0 || unr_loop_now(loop) >= due);
    wait_until_ended(&limited.end);
    expect_timed_out(&limited.end, UNR_VERDICT_CANCELLED);
    settle();
    close_limited(&limited);
    close_loop();
}

/* So it does for one that is moved to an earlier time, or set where there was none, outside of a
 * turn. */
Test(deadline, wakes_another_event_loop_when_it_is_moved)
{
    embed();
    for (int i = 0; i < 4; i++) {
        struct limited limited = { 0 };
        begin_within(&limited, i % 2 ? UNR_NEVER : FAR);
        settle();
        cr_assert(
            unr_deadline_move(&limited.deadline, i < 2 ? unr_loop_now(loop) + UNR_MSEC(2) : 1));
        wait_until_ended(&limited.end);
        expect_timed_out(&limited.end, UNR_VERDICT_CANCELLED);
        settle();
        close_limited(&limited);
    }
    close_loop();
}

/* And for a delayed operation. */
Test(delay, wakes_another_event_loop)
{
    struct unr_delay delay = { 0 };
    struct unr_op    nop = { 0 };
    struct end       end = { 0 };
    embed();
    begin(&end, unr_delay(&delay, unr_nop(&nop), UNR_MSEC(5)));
    settle();
    wait_until_ended(&end);
    expect_end(&end, 0, UNR_VERDICT_NONE, 0);
    close_loop();
}

/* ---- delays ---- */

/* An operation that begins later begins when the pause is over, and not before; its result is the
 * delay's. */
Test(delay, begins_after_the_pause)
{
    struct unr_delay delay = { 0 };
    struct delayed   delayed = { 0 };
    struct own       own = { 0 };
    struct end       end = { 0 };
    unr_time         now = unr_loop_now(loop);
    begin(&delayed.end, delayed_recv(&delayed, UNR_MSEC(2)));
    begin(&end, unr_delay(&delay, unr_describe(&own.op, &willing), UNR_MSEC(4)));
    cr_assert_eq(write(delayed.fds[1], "abc", 3), 3);
    cr_assert_eq(unr_loop_in_flight(loop), 2);
    cr_assert(unr_in_flight(&delay.op) && !unr_in_flight(&own.op));
    until(&delayed.end);
    cr_assert_geq(unr_loop_now(loop), now + UNR_MSEC(2));
    expect_success_of(&delayed.end, 3);
    while (own.starts == 0)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    cr_assert_geq(own.started, now + UNR_MSEC(4));
    cr_assert_eq(end.runs, 0);
    unr_finish(&own.op, -EIO);
    run();
    expect_end(&end, -EIO, UNR_VERDICT_NONE, 0);
    close_pair(delayed.fds);
    close_loop();
}

/* A pause of nothing or less is over in the next turn; one without end is not over. */
Test(delay, pauses_at_the_ends_of_time)
{
    static const unr_time short_ones[] = { 0, -1, -UNR_SEC(5), INT64_MIN };
    for (size_t i = 0; i < LENGTH(short_ones); i++) {
        struct unr_delay delay = { 0 }, forever = { 0 };
        struct own       own = { 0 }, waits = { 0 };
        struct end       end = { 0 }, cancelled_end = { 0 };
        begin(&end, unr_delay(&delay, unr_describe(&own.op, &willing), short_ones[i]));
        begin(&cancelled_end, unr_delay(&forever, unr_describe(&waits.op, &willing), UNR_NEVER));
        cr_assert_eq(own.starts, 0);
        turn();
        cr_assert(own.starts == 1 && waits.starts == 0);
        unr_finish(&own.op, 0);
        turn();
        expect_end(&end, 0, UNR_VERDICT_NONE, 0);
        cr_assert(unr_cancel(&forever.op, UNR_CANCEL_TOTAL));
        run();
        expect_end(&cancelled_end, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    }
    close_loop();
}

/* Cancelled during the pause it ends before it begins: with every guarantee, and the cause of the
 * request. */
Test(delay, cancelled_in_the_pause)
{
    struct unr_signal signal = { 0 };
    struct unr_delay  delay = { 0 };
    struct delayed    delayed = { 0 };
    struct own        own = { 0 };
    struct end        end = { 0 };
    begin(&delayed.end, unr_bind_slot(delayed_recv(&delayed, FAR), unr_signal_slot(&signal)));
    begin(&end, unr_delay(&delay, unr_describe(&own.op, &closer), FAR));
    cr_assert_eq(write(delayed.fds[1], "abc", 3), 3);
    submit();
    cr_assert(unr_signal_emit_cause(&signal, UNR_CANCEL_TERMINAL, -77));
    cr_assert(unr_cancel(&delay.op, UNR_CANCEL_TERMINAL));
    cr_assert_eq(delayed.end.runs, 0);
    run();
    expect_end(&delayed.end, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -77);
    expect_end(&end, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    cr_assert(delayed.end.result.guarantee == UNR_CANCEL_TOTAL
              && end.result.guarantee == UNR_CANCEL_TOTAL);
    cr_assert_eq(own.starts, 0);
    cr_assert_eq(drain(delayed.fds[0]), 3);
    cr_assert_not(unr_slot_has_handler(unr_signal_slot(&signal)));
    close_pair(delayed.fds);
    close_loop();
}

/* What the operation does not support is refused in the pause too, and it begins when that is
 * over. */
Test(delay, refused_in_the_pause)
{
    struct unr_delay delays[2] = { 0 };
    struct own       terminal_one = { 0 };
    struct unr_op    close_op = { 0 };
    struct end       end = { 0 }, closed = { 0 };
    int              fds[2];
    unr_time         now = unr_loop_now(loop);
    unix_pair(fds);
    begin(&end, unr_delay(&delays[0], unr_describe(&terminal_one.op, &closer), UNR_MSEC(2)));
    begin(&closed, unr_delay(&delays[1], unr_close(&close_op, fds[0]), UNR_MSEC(2)));
    cr_assert_eq(unr_supports(&delays[0].op), UNR_CANCEL_TERMINAL);
    cr_assert(unr_cancel_cause(&delays[0].op, UNR_CANCEL_TOTAL, -77));
    cr_assert(unr_cancel_cause(&delays[1].op, UNR_CANCEL_ALL, -78));
    turn();
    if (unr_loop_now(loop) < now + UNR_MSEC(2))
        cr_assert(terminal_one.starts == 0 && fcntl(fds[0], F_GETFD) >= 0);
    until(&closed);
    expect_end(&closed, 0, UNR_VERDICT_REFUSED, -78);
    cr_assert_eq(fcntl(fds[0], F_GETFD), -1);
    cr_assert_eq(terminal_one.starts, 1);
    unr_finish(&terminal_one.op, 0);
    run();
    expect_end(&end, 0, UNR_VERDICT_REFUSED, -77);
    cr_assert_eq(end.result.requested, UNR_CANCEL_TOTAL);
    close(fds[1]);
    close_loop();
}

/* A filter of the caller's that lets everything through but what is asked next. */
static unsigned refuse_next(void *context, unsigned type)
{
    bool *refuses = context;
    return *refuses ? UNR_CANCEL_NONE : type;
}

/* What a filter answers when the request comes is what counts, not what it answered before: the
 * request is refused, the pause goes on, and the operation begins once, when that is over. */
Test(delay, refused_in_the_pause_after_all)
{
    struct unr_delay  delays[2] = { 0 };
    struct unr_filter filters[2] = { 0 };
    struct own        owns[2] = { 0 };
    struct end        ended_ones[2] = { 0 };
    struct unr_signal latched = { 0 };
    struct unr_op    *ops[2];
    bool              refuses = false;
    for (int i = 0; i < 2; i++) {
        struct unr_op *op = unr_describe(&owns[i].op, &willing);
        ops[i] =
            unr_delay(&delays[i], unr_filter(&filters[i], op, refuse_next, &refuses), UNR_MSEC(2));
    }
    refuses = true;
    unr_signal_init_latched(&latched);
    unr_signal_emit_cause(&latched, UNR_CANCEL_TOTAL, -77);
    unr_time now = unr_loop_now(loop);
    begin(&ended_ones[0], unr_bind_slot(ops[0], unr_signal_slot(&latched)));
    begin(&ended_ones[1], ops[1]);
    unr_cancel_cause(ops[1], UNR_CANCEL_TOTAL, -77);
    cr_assert(owns[0].starts == 0 && owns[1].starts == 0);
    while (owns[0].starts == 0 || owns[1].starts == 0)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    for (int i = 0; i < 2; i++) {
        cr_assert_geq(owns[i].started, now + UNR_MSEC(2));
        unr_finish(&owns[i].op, 0);
    }
    run();
    for (int i = 0; i < 2; i++) {
        expect_end(&ended_ones[i], 0, UNR_VERDICT_REFUSED, -77);
        cr_assert_eq(owns[i].starts, 1);
    }
    close_loop();
}

/* Of a group that waits, each member decides for itself: what honours the request never begins, the
 * others do and end by themselves. */
Test(delay, refused_in_the_pause_by_a_part_of_a_group)
{
    struct unr_delay delay = { 0 };
    struct unr_group group = { 0 };
    struct own       willing_one = { 0 }, terminal_one = { 0 };
    struct unr_op   *members[] = { unr_describe(&willing_one.op, &willing),
                                   unr_describe(&terminal_one.op, &closer) };
    struct end       end = { 0 };
    begin(&end, unr_delay(&delay, unr_group(&group, members, 2, unr_wait_all, NULL), UNR_MSEC(1)));
    cr_assert(unr_cancel(&delay.op, UNR_CANCEL_TOTAL));
    while (terminal_one.starts == 0)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    cr_assert_eq(end.runs, 0);
    unr_finish(&terminal_one.op, 0);
    run();
    cr_assert_eq(willing_one.op.result.verdict, UNR_VERDICT_UNSUBMITTED);
    cr_assert(willing_one.starts == 0 && terminal_one.starts == 1);
    cr_assert(end.runs == 1 && terminal_one.op.result.error == 0);
    close_loop();
}

/* Cancelled after the pause, it is cancelled as without a delay. */
Test(delay, cancelled_after_the_pause)
{
    struct delayed delayed = { 0 };
    begin(&delayed.end, delayed_recv(&delayed, 0));
    turn();
    submit();
    cr_assert(unr_in_flight(&delayed.recv));
    cr_assert(unr_cancel_cause(&delayed.delay.op, UNR_CANCEL_TOTAL, -77));
    run();
    expect_end(&delayed.end, -ECANCELED, UNR_VERDICT_CANCELLED, -77);
    close_pair(delayed.fds);
    close_loop();
}

/* Between the end of the pause and the submission it is still unsubmitted. */
Test(delay, cancelled_when_the_pause_is_over_and_nothing_submitted)
{
    struct delayed delayed = { 0 };
    begin(&delayed.end, delayed_recv(&delayed, 0));
    turn();
    cr_assert(unr_in_flight(&delayed.recv));
    cr_assert(unr_cancel(&delayed.delay.op, UNR_CANCEL_TOTAL));
    run();
    expect_end(&delayed.end, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    close_pair(delayed.fds);
    close_loop();
}

/* What was latched before the start ends it at once, pause or not; what supports none of it waits
 * and runs. */
Test(delay, latched_before_the_start)
{
    struct unr_signal stop = { 0 };
    struct delayed    delayed = { 0 };
    struct unr_delay  delay = { 0 };
    struct own        own = { 0 };
    struct end        end = { 0 };
    unr_signal_init_latched(&stop);
    unr_signal_emit_cause(&stop, UNR_CANCEL_ALL, -77);
    begin(&delayed.end, unr_bind_slot(delayed_recv(&delayed, FAR), unr_signal_slot(&stop)));
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 1);
    expect_end(&delayed.end, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -77);
    begin(&end, unr_bind_slot(unr_delay(&delay, unr_describe(&own.op, &certain), UNR_MSEC(1)),
                              unr_signal_slot(&stop)));
    cr_assert_eq(own.starts, 0);
    while (own.starts == 0)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    unr_finish(&own.op, 0);
    run();
    expect_end(&end, 0, UNR_VERDICT_REFUSED, -77);
    close_pair(delayed.fds);
    close_loop();
}

/* Closing the loop ends what waits before it begins; a close that waits runs at once, under a
 * deadline, another pause and a shield too. */
Test(delay, closing_in_the_pause)
{
    struct delayed      delayed = { 0 };
    struct unr_delay    delays[5] = { 0 };
    struct unr_deadline deadline = { 0 };
    struct unr_filter   shield = { 0 };
    struct unr_op       closes[3] = { 0 }, nop = { 0 };
    struct end          closed[3] = { 0 }, shielded = { 0 };
    int                 fds[4];
    unix_pair(fds);
    unix_pair(fds + 2);
    begin(&delayed.end, delayed_recv(&delayed, FAR));
    begin(&closed[0], unr_delay(&delays[0], unr_close(&closes[0], fds[0]), FAR));
    begin(&closed[1],
          unr_delay(&delays[1], unr_delay(&delays[2], unr_close(&closes[1], fds[1]), FAR),
                    UNR_NEVER));
    begin(&closed[2],
          unr_cancel_after(&deadline, unr_delay(&delays[3], unr_close(&closes[2], fds[2]), FAR),
                           FAR));
    begin(&shielded, unr_delay(&delays[4], unr_shield(&shield, unr_nop(&nop)), FAR));
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_end(&delayed.end, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    cr_assert_eq(shielded.runs, 1);
    for (int i = 0; i < 3; i++) {
        cr_assert(closed[i].runs == 1 && closed[i].result.error == 0);
        cr_assert_eq(fcntl(fds[i], F_GETFD), -1);
    }
    close(fds[3]);
    close_pair(delayed.fds);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* Many of both kinds among timers and deadlines: closing ends each once, and every close is
 * made. */
enum { CLOSERS = 200 };
static struct unr_timer    crowd_timers[CLOSERS];
static struct unr_deadline crowd_deadlines[CLOSERS];
static struct unr_delay    crowd_delays[2 * CLOSERS];
static struct own          crowd_owns[2 * CLOSERS];
static struct unr_op       crowd_closes[CLOSERS];
static struct end          crowd_ends[4 * CLOSERS];

Test(delay, many_among_timers_when_the_loop_closes)
{
    unsigned seed = 3;
    int      fds[CLOSERS];
    for (int i = 0; i < CLOSERS; i++) {
        fds[i] = dup(0);
        crowd_owns[i].on_cancel = give_in;
        for (int k = 0; k < 4; k++) {
            unr_time       when = FAR + rand_r(&seed) % 1000;
            struct unr_op *described =
                k == 0   ? unr_timer_after(&crowd_timers[i], when)
                : k == 1 ? unr_cancel_after(&crowd_deadlines[i],
                                            unr_describe(&crowd_owns[i].op, &willing), when)
                : k == 2 ? unr_delay(&crowd_delays[i], unr_close(&crowd_closes[i], fds[i]), when)
                         : unr_delay(&crowd_delays[CLOSERS + i],
                                     unr_describe(&crowd_owns[CLOSERS + i].op, &willing), when);
            begin(&crowd_ends[4 * i + k], described);
        }
    }
    cr_assert_eq(unr_loop_close(loop), 0);
    for (int i = 0; i < CLOSERS; i++) {
        cr_assert_eq(fcntl(fds[i], F_GETFD), -1);
        for (int k = 0; k < 4; k++) {
            const struct end *end = &crowd_ends[4 * i + k];
            cr_assert_eq(end->runs, 1);
            cr_assert_eq(unr_outcome(&end->result), k == 2 ? 0 : -ESHUTDOWN);
        }
        cr_assert(crowd_owns[i].starts == 1 && crowd_owns[CLOSERS + i].starts == 0);
    }
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* Delays end in the order of their times, among timers. */
Test(delay, in_order_with_timers)
{
    enum { COUNT = 100 };
    struct unr_delay delays[COUNT] = { 0 };
    struct unr_timer timers[COUNT] = { 0 };
    struct own       owns[COUNT] = { 0 };
    struct end       of_timers[COUNT] = { 0 }, of_delays[COUNT] = { 0 };
    for (int i = 0; i < COUNT; i++) {
        begin(&of_delays[i],
              unr_delay(&delays[i], unr_describe(&owns[i].op, &willing), -UNR_SEC(10) * (i + 1)));
        begin(&of_timers[i], unr_timer_after(&timers[i], -UNR_SEC(10) * (i + 1)));
    }
    turn();
    for (int i = 0; i < COUNT; i++) {
        cr_assert_eq(owns[i].starts, 1);
        if (i)
            cr_assert_lt(of_timers[i].order, of_timers[i - 1].order);
        unr_finish(&owns[i].op, 0);
    }
    run();
    cr_assert_eq(ends, 2 * COUNT);
    close_loop();
}

/* A pause is made shorter or longer: the operation begins when that is over, in the order of the
 * new times; in the past means now. */
Test(delay, moved)
{
    enum { EARLIER, LATER, PAST, COUNT };
    struct unr_delay      delays[COUNT] = { 0 };
    struct own            owns[COUNT] = { 0 };
    struct end            each[COUNT] = { 0 };
    static const unr_time pauses[COUNT] = { [EARLIER] = FAR, [LATER] = 0, [PAST] = UNR_NEVER };
    for (int i = 0; i < COUNT; i++)
        begin(&each[i], unr_delay(&delays[i], unr_describe(&owns[i].op, &willing), pauses[i]));
    unr_time soon = unr_loop_now(loop) + UNR_MSEC(2);
    cr_assert(unr_delay_move(&delays[EARLIER], soon));
    cr_assert(unr_delay_move(&delays[LATER], soon + UNR_MSEC(2)));
    cr_assert(unr_delay_move(&delays[PAST], 1));
    cr_assert_eq(owns[PAST].starts, 0);
    turn();
    cr_assert_eq(owns[PAST].starts, 1);
    while (owns[LATER].starts == 0)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    cr_assert_eq(owns[EARLIER].starts, 1);
    cr_assert_geq(owns[EARLIER].started, soon);
    cr_assert_geq(owns[LATER].started, soon + UNR_MSEC(2));
    for (int i = 0; i < COUNT; i++)
        unr_finish(&owns[i].op, 0);
    run();
    for (int i = 0; i < COUNT; i++)
        expect_end(&each[i], 0, UNR_VERDICT_NONE, 0);
    close_loop();
}

static void move_delay_in_done(struct end *end)
{
    cr_assert_not(unr_delay_move(end->context, 1));
}

/* What is not in its pause is not moved: described, begun, cancelled, in its `done`, and after. */
Test(delay, not_moved_when_it_is_not_in_its_pause)
{
    for (int cancelled_one = 0; cancelled_one < 2; cancelled_one++) {
        struct unr_delay delay = { 0 };
        struct own       own = { 0 };
        struct end       end = { .then = move_delay_in_done, .context = &delay };
        cr_assert_not(unr_delay_move(&delay, 1));
        unr_delay(&delay, unr_describe(&own.op, &willing), cancelled_one ? FAR : 0);
        cr_assert_not(unr_delay_move(&delay, 1));
        begin(&end, &delay.op);
        if (cancelled_one)
            cr_assert(unr_cancel(&delay.op, UNR_CANCEL_TOTAL));
        else
            turn();
        cr_assert_not(unr_delay_move(&delay, UNR_NEVER));
        cr_assert_eq(own.starts, !cancelled_one);
        if (!cancelled_one)
            unr_finish(&own.op, 0);
        run();
        expect_end(&end, cancelled_one ? -ECANCELED : 0,
                   cancelled_one ? UNR_VERDICT_UNSUBMITTED : UNR_VERDICT_NONE,
                   cancelled_one ? -ECANCELED : 0);
        cr_assert_not(unr_delay_move(&delay, 1));
    }
    close_loop();
}

/* A deadline around a delay runs during the pause: it ends before it begins what the pause still
 * holds, and cancels what it does not hold any more. */
Test(delay, inside_a_deadline)
{
    struct unr_deadline deadlines[2] = { 0 };
    struct delayed      paused = { 0 }, begun = { 0 };
    begin(&paused.end, unr_cancel_after(&deadlines[0], delayed_recv(&paused, FAR), UNR_MSEC(1)));
    begin(&begun.end, unr_cancel_after(&deadlines[1], delayed_recv(&begun, UNR_MSEC(1)), FAR));
    while (!unr_in_flight(&begun.recv))
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    submit();
    cr_assert(unr_deadline_move(&deadlines[1], 1));
    run();
    expect_timed_out(&paused.end, UNR_VERDICT_UNSUBMITTED);
    expect_timed_out(&begun.end, UNR_VERDICT_CANCELLED);
    close_pair(paused.fds);
    close_pair(begun.fds);
    close_loop();
}

/* Both due in one turn: in the order of their times, on a tie the deadline, which began first. */
Test(delay, inside_a_deadline_that_is_due_with_it)
{
    struct unr_deadline before = { 0 }, behind = { 0 };
    struct unr_delay    delays[2] = { 0 };
    struct own          owns[2] = { 0 };
    struct end          both[2] = { 0 };
    owns[0].on_cancel = owns[1].on_cancel = give_in;
    begin(&both[0],
          unr_cancel_after(&before, unr_delay(&delays[0], unr_describe(&owns[0].op, &willing), -10),
                           FAR));
    begin(&both[1],
          unr_cancel_after(&behind, unr_delay(&delays[1], unr_describe(&owns[1].op, &willing), -10),
                           FAR));
    unr_time now = unr_loop_now(loop);
    cr_assert(unr_deadline_move(&before, 1) && unr_deadline_move(&behind, now));
    run();
    expect_timed_out(&both[0], UNR_VERDICT_UNSUBMITTED);
    expect_timed_out(&both[1], UNR_VERDICT_CANCELLED);
    cr_assert(owns[0].starts == 0 && owns[1].starts == 1);
    close_loop();
}

/* A delay around a deadline: that counts from the end of the pause. */
Test(delay, around_a_deadline)
{
    struct unr_delay delay = { 0 }, cancelled_delay = { 0 };
    struct limited   limited = { 0 }, never_begun = { 0 };
    unr_time         now = unr_loop_now(loop);
    begin(&limited.end,
          unr_delay(&delay, unr_cancel_after(&limited.deadline, recv_of(&limited), UNR_MSEC(3)),
                    UNR_MSEC(3)));
    begin(&never_begun.end,
          unr_delay(&cancelled_delay,
                    unr_cancel_after(&never_begun.deadline, recv_of(&never_begun), UNR_MSEC(3)),
                    FAR));
    cr_assert_not(unr_deadline_move(&limited.deadline, 1)); /* not in flight yet */
    cr_assert(unr_cancel(&cancelled_delay.op, UNR_CANCEL_TOTAL));
    run();
    cr_assert_geq(unr_loop_now(loop), now + UNR_MSEC(6));
    expect_timed_out(&limited.end, UNR_VERDICT_CANCELLED);
    expect_end(&never_begun.end, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    close_limited(&limited);
    close_limited(&never_begun);
    close_loop();
}

/* A second attempt that begins only if the first is slow: a quick first one ends it before it
 * begins, a slow one loses to it. */
Test(delay, as_a_hedge)
{
    for (int quick = 0; quick <= 1; quick++) {
        struct unr_group group = { 0 };
        struct limited   first = { 0 };
        struct delayed   second = { 0 };
        struct end       end = { 0 };
        recv_of(&first);
        delayed_recv(&second, quick ? FAR : UNR_MSEC(1));
        cr_assert_eq(write(second.fds[1], "second", 6), 6);
        begin(&end, unr_any(&group, (struct unr_op *[]){ &first.recv, &second.delay.op }, 2));
        submit();
        if (quick)
            send_bytes(&first, 5);
        run();
        cr_assert(end.runs == 1 && end.result.error == 0 && end.result.value == !quick);
        if (quick) {
            cr_assert_eq(second.recv.result.verdict, UNR_VERDICT_UNSUBMITTED);
            cr_assert_eq(drain(second.fds[0]), 6);
        } else {
            cr_assert_eq(second.recv.result.bytes, 6);
            cr_assert_eq(first.recv.result.error, -ECANCELED);
        }
        close_limited(&first);
        close_pair(second.fds);
    }
    close_loop();
}

/* Freed in its `done`, in the pause and after it. */
static void free_delayed(struct end *end)
{
    struct delayed *delayed = end->context;
    close_pair(delayed->fds);
    memset(delayed, 0xee, sizeof *delayed);
    free(delayed);
}

Test(delay, freed_in_its_done)
{
    for (int i = 0; i < 10; i++) {
        struct delayed *delayed = calloc(1, sizeof *delayed);
        delayed->end = (struct end){ .then = free_delayed, .context = delayed };
        begin(&delayed->end, delayed_recv(delayed, i % 2 ? FAR : 0));
        cr_assert_eq(write(delayed->fds[1], "x", 1), 1);
        if (i % 2)
            unr_cancel(&delayed->delay.op, UNR_CANCEL_ALL);
    }
    run();
    cr_assert_eq(ends, 10);
    close_loop();
}

/* Where there is no room for its timer, it ends with -ENOMEM and never began. */
Test(delay, no_room_for_its_timer)
{
    unsigned         count = open_full_loop();
    struct unr_delay delay = { 0 };
    struct own       own = { 0 };
    struct end       full = { 0 }, end = { 0 };
    begin(&full, unr_delay(&delay, unr_describe(&own.op, &willing), 0));
    until(&full);
    expect_end(&full, -ENOMEM, UNR_VERDICT_NONE, 0);
    cr_assert_eq(own.starts, 0);
    refuses_memory = false;
    begin(&end, unr_delay(&delay, unr_describe(&own.op, &willing), 0));
    turn();
    cr_assert_eq(own.starts, 1);
    unr_finish(&own.op, 0);
    until(&end);
    expect_end(&end, 0, UNR_VERDICT_NONE, 0);
    empty_loop(count);
}
