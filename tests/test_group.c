/* SPDX-License-Identifier: MIT */
/* Groups: who decides, who is asked, what is reported and what is kept.  Members that end when the
 * test says so are of a type of the test's own; where the kernel has a part in it, system calls,
 * and bytes counted at the peer. */
#include "../uring/ring.h"
#include "support.h"

#include <sys/eventfd.h>

TestSuite(group, .init = open_loop, .timeout = 20);

/* ---- members that end when they are told to ---- */

struct own {
    struct unr_op op;
    void (*at_start)(struct own *own);
    void (*at_request)(struct own *own); /* NULL: ends with -ECANCELED */
    void                     *context;
    int                       starts, requests;
    unsigned                  asked; /* all types together */
    struct unr_cancel_request latest;
};

static struct own *own_of(struct unr_op *op)
{
    return unr_container_of(op, struct own, op);
}

static void own_start(struct unr_op *op)
{
    struct own *own = own_of(op);
    own->starts++;
    if (own->at_start)
        own->at_start(own);
}

static void own_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct own *own = own_of(op);
    own->requests++;
    own->asked |= request.types;
    own->latest = request;
    if (own->at_request)
        own->at_request(own);
    else
        unr_finish(op, -ECANCELED);
}

#define OWN_TYPE(mask)                                                                             \
    {                                                                                              \
        .size = sizeof(struct unr_op_type), .supports = mask, .name = "brew", .start = own_start,  \
        .cancel = own_cancel                                                                       \
    }

enum {
    TERMINAL_ONLY = UNR_CANCEL_TERMINAL,
    UP_TO_PARTIAL = UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL
};

static struct unr_op *brew(struct own *own, unsigned supports)
{
    static const struct unr_op_type types[] = { OWN_TYPE(0), OWN_TYPE(TERMINAL_ONLY),
                                                OWN_TYPE(2), OWN_TYPE(UP_TO_PARTIAL),
                                                OWN_TYPE(4), OWN_TYPE(5),
                                                OWN_TYPE(6), OWN_TYPE(UNR_CANCEL_ALL) };
    own->starts = own->requests = 0;
    own->asked = 0;
    return unr_describe(&own->op, &types[supports]);
}

static void go_on(struct own *own)
{
    (void)own; /* what was asked of it is ignored */
}

static void end_well(struct own *own)
{
    unr_finish(&own->op, 0);
}

/* Ends a member from outside and lets the loop know. */
static void end(struct own *own, int error)
{
    unr_finish(&own->op, error);
    submit();
}

struct grouped {
    struct unr_group  group;
    int               runs;
    struct unr_result result;
};

static void group_saw(struct unr_op *op)
{
    struct grouped *grouped = op->data;
    grouped->runs++;
    grouped->result = op->result;
}

static void start_group(struct grouped *grouped, struct unr_op *described)
{
    unr_start(loop, described, group_saw, grouped);
}

static void until_over(struct grouped *grouped)
{
    while (grouped->runs == 0)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
}

static void expect(const struct grouped *grouped, int error, int64_t value)
{
    cr_assert_eq(grouped->runs, 1, "runs %d", grouped->runs);
    cr_assert_eq(grouped->result.error, error, "error %d, not %d", grouped->result.error, error);
    cr_assert_eq(grouped->result.value, value, "value %d, not %d", (int)grouped->result.value,
                 (int)value);
}

/* It was not asked for anything from outside, so nothing of cancellation is in its result. */
static void expect_unasked(const struct grouped *grouped)
{
    cr_assert_eq(grouped->result.requested, 0);
    cr_assert_eq(grouped->result.guarantee, UNR_CANCEL_NONE);
    cr_assert_eq(grouped->result.verdict, UNR_VERDICT_NONE);
    cr_assert_eq(grouped->result.cause, 0);
}

static void expect_group_cancelled(const struct grouped *grouped, unsigned guarantee,
                                   enum unr_verdict verdict, int cause)
{
    cr_assert_eq(grouped->runs, 1);
    cr_assert_eq(grouped->result.error, -ECANCELED, "error %d", grouped->result.error);
    cr_assert_eq(grouped->result.guarantee, guarantee, "guarantee %u", grouped->result.guarantee);
    cr_assert_eq(grouped->result.verdict, verdict, "verdict %u", grouped->result.verdict);
    cr_assert_eq(grouped->result.cause, cause, "cause %d", grouped->result.cause);
}

static void expect_result(const struct unr_op *op, int error, enum unr_verdict verdict, int cause)
{
    cr_assert_eq(op->result.error, error, "error %d, not %d", op->result.error, error);
    cr_assert_eq(op->result.verdict, verdict, "verdict %u, not %u", op->result.verdict, verdict);
    cr_assert_eq(op->result.cause, cause, "cause %d, not %d", op->result.cause, cause);
}

/* ---- the conditions ---- */

enum obedience { OBEYS, GOES_ON };

struct match {
    const char             *name;
    unr_group_condition_fn *condition;
    int                     first, second; /* how they end, unless the second is cancelled */
    enum obedience          obedience;     /* of the second */
    bool                    asks;          /* the second is asked to end */
    int                     error;
    int64_t                 value;
};

/* Of two members the second one ends first, so that no index is an order. */
static const struct match matches[] = {
    { "all, both succeed", unr_wait_all, 0, 0, OBEYS, false, 0, 0 },
    { "all, first fails", unr_wait_all, -EPIPE, 0, OBEYS, false, 0, 0 },
    { "all, second fails", unr_wait_all, 0, -EIO, OBEYS, false, 0, 0 },
    { "all, both fail", unr_wait_all, -EPIPE, -EIO, OBEYS, false, 0, 0 },
    { "one, succeeds", unr_wait_one, 0, 0, OBEYS, true, 0, 1 },
    { "one, fails", unr_wait_one, -EPIPE, 0, OBEYS, true, 0, 1 },
    { "one, the other succeeds too", unr_wait_one, 0, 0, GOES_ON, true, 0, 1 },
    { "one, fails, the other succeeds", unr_wait_one, -EPIPE, 0, GOES_ON, true, 0, 1 },
    { "one success, at once", unr_wait_one_success, 0, 0, OBEYS, true, 0, 1 },
    { "one success, both", unr_wait_one_success, 0, 0, GOES_ON, true, 0, 1 },
    { "one success, the other fails", unr_wait_one_success, 0, -EIO, GOES_ON, true, 0, 1 },
    { "one success, the second", unr_wait_one_success, -EPIPE, 0, OBEYS, false, 0, 0 },
    { "one success, none", unr_wait_one_success, -EPIPE, -EIO, OBEYS, false, -EPIPE, 1 },
    { "one error, none", unr_wait_one_error, 0, 0, OBEYS, false, 0, 0 },
    { "one error, the second", unr_wait_one_error, 0, -EIO, OBEYS, false, -EIO, 0 },
    { "one error, the first", unr_wait_one_error, -EPIPE, 0, OBEYS, true, -EPIPE, 1 },
    { "one error, the first, the other succeeds", unr_wait_one_error, -EPIPE, 0, GOES_ON, true,
      -EPIPE, 1 },
    { "one error, both", unr_wait_one_error, -EPIPE, -EIO, GOES_ON, true, -EPIPE, 1 },
};

static void play(const struct match *match, unsigned n, unsigned supports)
{
    struct own     others[8] = { 0 }, first = { 0 };
    struct unr_op *members[9];
    struct grouped grouped = { 0 };
    for (unsigned i = 0; i < n; i++) {
        others[i].at_request = match->obedience == OBEYS ? NULL : go_on;
        members[i] = brew(&others[i], supports);
    }
    members[n] = brew(&first, UNR_CANCEL_ALL);
    start_group(&grouped, unr_group(&grouped.group, members, n + 1, match->condition, NULL));
    submit();
    cr_assert_eq(grouped.runs, 0);
    end(&first, match->first);
    for (unsigned i = 0; i < n; i++) {
        cr_assert_eq(others[i].requests, match->asks ? 1 : 0, "%s: asked %d times", match->name,
                     others[i].requests);
        if (match->asks && match->obedience == OBEYS) {
            submit();
            continue;
        }
        cr_assert_eq(grouped.runs, 0, "%s: over before its members", match->name);
        end(&others[i], i + 1 == n || !match->second ? match->second : -EIO);
    }
    cr_assert_eq(grouped.runs, 1, "%s: not over", match->name);
    cr_assert_eq(grouped.result.error, match->error, "%s: error %d", match->name,
                 grouped.result.error);
    int64_t value = match->value                                             ? (int64_t)n
                    : match->condition == unr_wait_one_error && match->error ? 0
                                                                             : (int64_t)n - 1;
    if (match->condition == unr_wait_one_success && !match->value)
        value = 0; /* the first of the others succeeds */
    cr_assert_eq(grouped.result.value, value, "%s: value %d, not %d", match->name,
                 (int)grouped.result.value, (int)value);
    expect_unasked(&grouped);
    for (unsigned i = 0; i < n; i++)
        if (match->asks && match->obedience == OBEYS)
            expect_result(&others[i].op, -ECANCELED, UNR_VERDICT_CANCELLED, -ECANCELED);
}

/* Each condition with whoever ends first, succeeding or failing, and a sibling that obeys or goes
 * on: error, value, and whether the sibling was asked.  A group that nobody asked anything has no
 * verdict, cause or guarantee. */
Test(group, conditions_decide_by_who_ends_first_and_how)
{
    for (unsigned i = 0; i < LENGTH(matches); i++)
        play(&matches[i], 1, UNR_CANCEL_ALL);
    close_loop();
}

/* The same with members that support less: the conditions ask for all types, so one that supports
 * any is ended. */
Test(group, conditions_ask_for_all_types)
{
    for (unsigned supports = UNR_CANCEL_TERMINAL; supports <= UNR_CANCEL_ALL; supports++)
        for (unsigned i = 0; i < LENGTH(matches); i++)
            play(&matches[i], 1, supports);
    close_loop();
}

/* Many siblings are asked alike. */
Test(group, conditions_ask_every_sibling_once)
{
    for (unsigned i = 0; i < LENGTH(matches); i++)
        if (matches[i].asks && matches[i].obedience == OBEYS)
            play(&matches[i], 8, UNR_CANCEL_ALL);
    close_loop();
}

/* ---- conditions of one's own ---- */

struct counting {
    unsigned             until; /* answers from this member on */
    unsigned             calls;
    unsigned             answer[8];
    const struct unr_op *finished[8];
};

static unsigned count_ends(void *context, const struct unr_op *finished)
{
    struct counting *counting = context;
    counting->finished[counting->calls] = finished;
    return counting->answer[counting->calls++];
}

/* A condition is asked once for each member, in order of completion and after it was handed back,
 * also for those that it ended itself; the first answer decides. */
Test(group, condition_of_ones_own_by_count)
{
    struct own      a = { 0 }, b = { 0 }, c = { 0 };
    struct grouped  grouped = { 0 };
    struct counting counting = { .answer = { 0, UNR_CANCEL_ALL, UNR_CANCEL_ALL } };
    struct unr_op  *members[] = { brew(&a, UNR_CANCEL_ALL), brew(&b, UNR_CANCEL_ALL),
                                  brew(&c, UNR_CANCEL_ALL) };
    start_group(&grouped, unr_group(&grouped.group, members, 3, count_ends, &counting));
    end(&c, -EPIPE);
    cr_assert_eq(a.requests + b.requests, 0);
    end(&a, 0);
    cr_assert_eq(b.requests, 1);
    run();
    cr_assert_eq(counting.calls, 3);
    cr_assert(counting.finished[0] == &c.op && counting.finished[1] == &a.op
              && counting.finished[2] == &b.op);
    expect(&grouped, 0, 0);
    expect_unasked(&grouped);
    close_loop();
}

static unsigned timers_decide(void *timer, const struct unr_op *finished)
{
    return finished->type == ((struct unr_op *)timer)->type ? UNR_CANCEL_ALL : UNR_CANCEL_NONE;
}

/* A condition may look at what kind of operation has ended. */
Test(group, condition_of_ones_own_by_type)
{
    struct own       a = { 0 }, b = { 0 };
    struct unr_timer timer = { 0 };
    struct grouped   grouped = { 0 };
    struct unr_op   *members[] = { brew(&a, UNR_CANCEL_ALL), unr_timer_after(&timer, 0),
                                   brew(&b, UNR_CANCEL_ALL) };
    start_group(&grouped, unr_group(&grouped.group, members, 3, timers_decide, &timer.op));
    unr_finish(&a.op, -EPIPE);
    run();
    expect(&grouped, 0, 1);
    expect_result(&b.op, -ECANCELED, UNR_VERDICT_CANCELLED, -ECANCELED);
    close_loop();
}

/* A condition that asks for TOTAL first, and for more when another member has ended: what is new is
 * asked of those that are left, and who was first to be answered remains the one who decided. */
Test(group, condition_escalates)
{
    struct own      a = { 0 }, b = { 0 }, c = { 0 };
    struct grouped  grouped = { 0 };
    struct counting counting = { .answer = { UNR_CANCEL_TOTAL, UNR_CANCEL_TOTAL | UP_TO_PARTIAL,
                                             UNR_CANCEL_ALL } };
    struct unr_op  *members[] = { brew(&a, UNR_CANCEL_ALL), brew(&b, UP_TO_PARTIAL),
                                  brew(&c, UNR_CANCEL_ALL) };
    start_group(&grouped, unr_group(&grouped.group, members, 3, count_ends, &counting));
    end(&c, 0);
    cr_assert_eq(a.asked, UNR_CANCEL_TOTAL);
    cr_assert_eq(b.requests, 0);
    submit();
    cr_assert_eq(b.asked, UP_TO_PARTIAL);
    run();
    cr_assert_eq(b.requests, 1);
    expect(&grouped, 0, 2);
    expect_result(&a.op, -ECANCELED, UNR_VERDICT_CANCELLED, -ECANCELED);
    expect_result(&b.op, -ECANCELED, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(a.op.result.guarantee, UNR_CANCEL_TOTAL);
    cr_assert_eq(b.op.result.guarantee, UNR_CANCEL_PARTIAL);
    close_loop();
}

/* Who refuses the types that the condition asks for holds the group until it has ended by
 * itself. */
Test(group, condition_refused_waits_for_the_member)
{
    struct own      a = { 0 }, b = { 0 };
    struct grouped  grouped = { 0 };
    struct counting counting = { .answer = { UNR_CANCEL_TOTAL, 0 } };
    struct unr_op  *members[] = { brew(&a, UP_TO_PARTIAL), brew(&b, UNR_CANCEL_ALL) };
    start_group(&grouped, unr_group(&grouped.group, members, 2, count_ends, &counting));
    end(&b, 0);
    for (int i = 0; i < 3; i++)
        submit();
    cr_assert_eq(grouped.runs, 0);
    cr_assert_eq(a.requests, 0);
    end(&a, 0);
    expect(&grouped, 0, 1);
    expect_result(&a.op, 0, UNR_VERDICT_REFUSED, -ECANCELED);
    cr_assert_eq(a.op.result.requested, UNR_CANCEL_TOTAL);
    close_loop();
}

/* ---- any ---- */

struct duel {
    int           fds[2][2];
    struct unr_op receives[2];
    char          in[2][16];
};

static void open_duel(struct duel *duel)
{
    memset(duel, 0, sizeof *duel);
    unix_pair(duel->fds[0]);
    unix_pair(duel->fds[1]);
}

static void close_duel(struct duel *duel)
{
    close_pair(duel->fds[0]);
    close_pair(duel->fds[1]);
}

static struct unr_op *receive(struct duel *duel, int i)
{
    return unr_recv(&duel->receives[i], duel->fds[i][0], duel->in[i], sizeof duel->in[i], 0);
}

/* The loser of unr_any is cancelled in the kernel, TOTAL: what its peer sends later is still
 * there. */
Test(group, any_cancels_the_loser_without_a_trace)
{
    for (int winner = 0; winner < 2; winner++) {
        struct duel    duel;
        struct grouped grouped = { 0 };
        open_duel(&duel);
        start_group(&grouped,
                    unr_any(&grouped.group,
                            (struct unr_op *[]){ receive(&duel, 0), receive(&duel, 1) }, 2));
        submit();
        cr_assert_eq(write(duel.fds[winner][1], "12345", 5), 5);
        run();
        expect(&grouped, 0, winner);
        expect_unasked(&grouped);
        cr_assert_eq(duel.receives[winner].result.bytes, 5);
        expect_result(&duel.receives[!winner], -ECANCELED, UNR_VERDICT_CANCELLED, -ECANCELED);
        cr_assert_eq(write(duel.fds[!winner][1], "123", 3), 3);
        cr_assert_eq(drain(duel.fds[!winner][0]), 3);
        close_duel(&duel);
    }
    close_loop();
}

/* The loser that completed all the same keeps its result, and nothing is lost: each byte that was
 * sent is in a buffer or still in its socket.  (Asio's || drops the loser's value:
 * chriskohlhoff/asio, issue 1041, is about messages that it loses.) */
Test(group, any_loses_no_message)
{
    for (int ready_before = 0; ready_before < 2; ready_before++) {
        struct duel    duel;
        struct grouped grouped = { 0 };
        open_duel(&duel);
        if (ready_before)
            cr_assert(write(duel.fds[0][1], "12345", 5) == 5
                      && write(duel.fds[1][1], "123", 3) == 3);
        start_group(&grouped,
                    unr_any(&grouped.group,
                            (struct unr_op *[]){ receive(&duel, 0), receive(&duel, 1) }, 2));
        if (!ready_before) {
            submit();
            cr_assert(write(duel.fds[0][1], "12345", 5) == 5
                      && write(duel.fds[1][1], "123", 3) == 3);
        }
        run();
        cr_assert_eq(grouped.result.error, 0);
        struct unr_op *winner = &duel.receives[grouped.result.value];
        cr_assert_eq(winner, unr_group_first(&grouped.group));
        cr_assert_eq(duel.receives[0].result.bytes + drain(duel.fds[0][0]), 5);
        cr_assert_eq(duel.receives[1].result.bytes + drain(duel.fds[1][0]), 3);
        if (ready_before) {
            cr_assert_eq(duel.receives[0].result.error, 0);
            cr_assert_eq(duel.receives[1].result.error, 0);
            cr_assert_eq(memcmp(duel.in[1], "123", 3), 0);
        }
        close_duel(&duel);
    }
    close_loop();
}

/* A descriptor that the loser accepted stays in the member. */
Test(group, any_leaves_the_losers_descriptor_in_it)
{
    struct sockaddr_in addresses[2];
    struct unr_op      accepts[2] = { 0 };
    struct grouped     grouped = { 0 };
    int                listeners[2], peers[2];
    for (int i = 0; i < 2; i++) {
        listeners[i] = tcp_listener(&addresses[i], 1);
        peers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert_eq(connect(peers[i], (struct sockaddr *)&addresses[i], sizeof addresses[i]), 0);
    }
    start_group(&grouped,
                unr_any(&grouped.group,
                        (struct unr_op *[]){
                            unr_accept(&accepts[0], listeners[0], NULL, NULL, SOCK_CLOEXEC),
                            unr_accept(&accepts[1], listeners[1], NULL, NULL, SOCK_CLOEXEC) },
                        2));
    run();
    expect(&grouped, 0, 0);
    cr_assert_eq(grouped.result.fd, -1);
    for (int i = 0; i < 2; i++) {
        char in;
        cr_assert_eq(accepts[i].result.error, 0);
        cr_assert_eq(write(peers[i], "x", 1), 1);
        cr_assert_eq(read(accepts[i].result.fd, &in, 1), 1);
        close(accepts[i].result.fd);
        close(peers[i]);
        close(listeners[i]);
    }
    close_loop();
}

/* If all members of unr_any fail, the error is that of the first to end, whatever its index. */
Test(group, any_that_all_fail_reports_the_first_to_end)
{
    for (unsigned first = 0; first < 3; first++) {
        struct own     owns[3] = { 0 };
        struct unr_op *members[3];
        struct grouped grouped = { 0 };
        for (unsigned i = 0; i < 3; i++)
            members[i] = brew(&owns[i], UNR_CANCEL_ALL);
        start_group(&grouped, unr_any(&grouped.group, members, 3));
        for (unsigned i = 0; i < 3; i++)
            end(&owns[(first + i) % 3], -100 - (int)i);
        expect(&grouped, -100, first);
        expect_unasked(&grouped);
    }
    close_loop();
}

/* A time-out inside is a failure like others: the others go on, and the one that succeeds
 * decides. */
Test(group, any_survives_a_members_time_out)
{
    struct duel         duel;
    struct unr_deadline deadline = { 0 };
    struct grouped      grouped = { 0 };
    open_duel(&duel);
    start_group(&grouped, unr_any(&grouped.group,
                                  (struct unr_op *[]){
                                      unr_cancel_after(&deadline, receive(&duel, 0), UNR_MSEC(1)),
                                      receive(&duel, 1) },
                                  2));
    while (!unr_group_first(&grouped.group))
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    cr_assert_eq(unr_group_first(&grouped.group), &deadline.op);
    cr_assert_eq(unr_outcome(&deadline.op.result), -ETIMEDOUT);
    cr_assert_eq(grouped.runs, 0);
    cr_assert_eq(write(duel.fds[1][1], "1", 1), 1);
    run();
    expect(&grouped, 0, 1);
    expect_unasked(&grouped);
    close_duel(&duel);
    close_loop();
}

/* If all members time out, the group reads -ETIMEDOUT, as Asio's operation_aborted never does. */
Test(group, any_of_members_that_time_out_reads_timed_out)
{
    struct duel         duel;
    struct unr_deadline deadlines[2] = { 0 };
    struct grouped      grouped = { 0 };
    open_duel(&duel);
    start_group(&grouped,
                unr_any(&grouped.group,
                        (struct unr_op *[]){
                            unr_cancel_after(&deadlines[0], receive(&duel, 0), UNR_MSEC(5)),
                            unr_cancel_after(&deadlines[1], receive(&duel, 1), UNR_MSEC(1)) },
                        2));
    run();
    /* On a slow machine both time out in one turn, and the kernel says which ends first. */
    expect(&grouped, -ECANCELED, (int)grouped.result.value);
    cr_assert_eq(unr_outcome(&grouped.result), -ETIMEDOUT);
    cr_assert_eq(unr_outcome(&deadlines[0].op.result), -ETIMEDOUT);
    expect_group_cancelled(&grouped, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    close_duel(&duel);
    close_loop();
}

/* A time-out and a failure: the first to end is reported, in both orders. */
Test(group, any_of_a_time_out_and_a_failure_reports_the_first)
{
    for (int timeout_first = 0; timeout_first < 2; timeout_first++) {
        struct own          late = { 0 }, failing = { 0 };
        struct unr_deadline deadline = { 0 };
        struct grouped      grouped = { 0 };
        struct unr_op      *members[] = { unr_cancel_after(&deadline, brew(&late, UNR_CANCEL_ALL),
                                                           UNR_MSEC(1)),
                                          brew(&failing, UNR_CANCEL_ALL) };
        start_group(&grouped, unr_any(&grouped.group, members, 2));
        if (!timeout_first)
            end(&failing, -EPIPE);
        while (unr_in_flight(&late.op))
            cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
        if (timeout_first)
            end(&failing, -EPIPE);
        until_over(&grouped);
        cr_assert_eq(unr_outcome(&grouped.result), timeout_first ? -ETIMEDOUT : -EPIPE);
        cr_assert_eq(grouped.result.value, !timeout_first);
    }
    close_loop();
}

/* ---- all ---- */

/* What the group itself does to the siblings of a failure never masks it: wherever the failing one
 * stands and whoever is handed back first.  (Asio's && rethrows in the order of the operands, and
 * so may report the sibling's operation_aborted instead.) */
Test(group, all_reports_the_failure_and_not_the_cancellation_that_it_caused)
{
    for (unsigned failing = 0; failing < 3; failing++) {
        struct duel    duel;
        struct own     fails = { 0 };
        struct unr_op *members[3];
        struct grouped grouped = { 0 };
        open_duel(&duel);
        for (unsigned i = 0, next = 0; i < 3; i++)
            members[i] = i == failing ? brew(&fails, UNR_CANCEL_ALL) : receive(&duel, (int)next++);
        start_group(&grouped, unr_all(&grouped.group, members, 3));
        submit();
        unr_finish(&fails.op, -ECONNRESET);
        run();
        expect(&grouped, -ECONNRESET, failing);
        expect_unasked(&grouped);
        for (int i = 0; i < 2; i++)
            expect_result(&duel.receives[i], -ECANCELED, UNR_VERDICT_CANCELLED, -ECANCELED);
        close_duel(&duel);
    }
    close_loop();
}

static void fail_when_asked(struct own *own)
{
    unr_finish(&own->op, -EIO);
}

/* A second failure, behind the first or caused by the cancellation, is not reported. */
Test(group, all_reports_the_first_failure_in_order_of_completion)
{
    for (unsigned failing = 0; failing < 2; failing++) {
        struct own     owns[2] = { { .at_request = fail_when_asked },
                                   { .at_request = fail_when_asked } };
        struct grouped grouped = { 0 };
        struct unr_op *members[] = { brew(&owns[0], UNR_CANCEL_ALL),
                                     brew(&owns[1], UNR_CANCEL_ALL) };
        start_group(&grouped, unr_all(&grouped.group, members, 2));
        end(&owns[failing], -EPIPE);
        run();
        expect(&grouped, -EPIPE, failing);
        cr_assert_eq(owns[!failing].op.result.error, -EIO);
    }
    close_loop();
}

/* A member that times out is a failure of its own, and reads -ETIMEDOUT; its sibling's end is the
 * group's doing. */
Test(group, all_reads_a_members_time_out)
{
    struct duel         duel;
    struct unr_deadline deadline = { 0 };
    struct grouped      grouped = { 0 };
    open_duel(&duel);
    start_group(&grouped, unr_all(&grouped.group,
                                  (struct unr_op *[]){
                                      receive(&duel, 0),
                                      unr_cancel_after(&deadline, receive(&duel, 1), UNR_MSEC(1)) },
                                  2));
    run();
    expect(&grouped, -ECANCELED, 1);
    expect_group_cancelled(&grouped, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    cr_assert_eq(grouped.result.requested, 0);
    expect_result(&duel.receives[0], -ECANCELED, UNR_VERDICT_CANCELLED, -ECANCELED);
    close_duel(&duel);
    close_loop();
}

/* A member that was cancelled through its own slot is a failure of its own too, with its own
 * cause. */
Test(group, all_reads_a_members_own_cancellation)
{
    struct own        a = { 0 }, b = { 0 };
    struct unr_signal signal = { 0 };
    struct grouped    grouped = { 0 };
    struct unr_op    *members[] = { brew(&a, UNR_CANCEL_ALL),
                                    unr_bind_slot(brew(&b, UP_TO_PARTIAL), unr_signal_slot(&signal)) };
    start_group(&grouped, unr_all(&grouped.group, members, 2));
    cr_assert(unr_signal_emit_cause(&signal, UNR_CANCEL_ALL, -77));
    run();
    expect(&grouped, -ECANCELED, 1);
    expect_group_cancelled(&grouped, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -77);
    close_loop();
}

/* ---- guarantees ---- */

static unsigned guarantee_of(unsigned a_supports, int a_error, unsigned b_supports)
{
    struct own     a = { 0 }, b = { 0 };
    struct grouped grouped = { 0 };
    struct unr_op *members[] = { brew(&a, a_supports), brew(&b, b_supports) };
    start_group(&grouped, unr_group(&grouped.group, members, 2, unr_wait_all, NULL));
    if (a_error != -ECANCELED)
        end(&a, a_error);
    cr_assert(unr_cancel_cause(&grouped.group.op, UNR_CANCEL_ALL, -71));
    run();
    expect(&grouped, -ECANCELED, -1);
    cr_assert_eq(grouped.result.cause, -71);
    cr_assert_eq(grouped.result.verdict, UNR_VERDICT_CANCELLED);
    cr_assert_eq(grouped.result.requested, UNR_CANCEL_ALL);
    return grouped.result.guarantee;
}

/* The guarantee is the weakest of the members'; once one has completed, by success or failure, at
 * most PARTIAL. */
Test(group, guarantee_is_the_weakest)
{
    cr_assert_eq(guarantee_of(UNR_CANCEL_ALL, -ECANCELED, UNR_CANCEL_ALL), UNR_CANCEL_TOTAL);
    cr_assert_eq(guarantee_of(UNR_CANCEL_ALL, -ECANCELED, UP_TO_PARTIAL), UNR_CANCEL_PARTIAL);
    cr_assert_eq(guarantee_of(TERMINAL_ONLY, -ECANCELED, UNR_CANCEL_ALL), UNR_CANCEL_TERMINAL);
    cr_assert_eq(guarantee_of(TERMINAL_ONLY, -ECANCELED, UP_TO_PARTIAL), UNR_CANCEL_TERMINAL);
    cr_assert_eq(guarantee_of(UNR_CANCEL_ALL, 0, UNR_CANCEL_ALL), UNR_CANCEL_PARTIAL);
    cr_assert_eq(guarantee_of(UNR_CANCEL_ALL, -EPIPE, UNR_CANCEL_ALL), UNR_CANCEL_PARTIAL);
    cr_assert_eq(guarantee_of(UNR_CANCEL_ALL, 0, TERMINAL_ONLY), UNR_CANCEL_TERMINAL);
    close_loop();
}

/* A member that supports nothing, and ended as cancelled, proves the least: TERMINAL. */
Test(group, guarantee_of_a_member_that_supports_nothing_is_terminal)
{
    struct own       a = { 0 };
    struct unr_timer timer = { 0 };
    struct grouped   grouped = { 0 };
    struct unr_op   *members[] = { brew(&a, UNR_CANCEL_NONE),
                                   unr_timer_after(&timer, UNR_SEC(3600)) };
    start_group(&grouped, unr_all(&grouped.group, members, 2));
    end(&a, -ECANCELED);
    run();
    expect(&grouped, -ECANCELED, 0);
    cr_assert_eq(a.op.result.guarantee, UNR_CANCEL_TERMINAL);
    cr_assert_eq(timer.op.result.guarantee, UNR_CANCEL_TOTAL);
    cr_assert_eq(grouped.result.guarantee, UNR_CANCEL_TERMINAL);
    close_loop();
}

/* A group supports what any of its members does. */
Test(group, supports_what_any_member_does)
{
    for (unsigned a_supports = 0; a_supports <= UNR_CANCEL_ALL; a_supports++)
        for (unsigned b_supports = 0; b_supports <= UNR_CANCEL_ALL; b_supports++) {
            struct own       a = { 0 }, b = { 0 };
            struct unr_group group = { 0 };
            struct unr_op   *members[] = { brew(&a, a_supports), brew(&b, b_supports) };
            cr_assert_eq(unr_supports(unr_all(&group, members, 2)), a_supports | b_supports);
        }
    close_loop();
}

/* ---- order of completion ---- */

/* unr_group_first() and unr_group_next() give the members that have ended, in that order, while the
 * group runs and in its done. */
Test(group, order_of_completion_in_every_order)
{
    static const unsigned orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                          { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    for (unsigned o = 0; o < LENGTH(orders); o++) {
        struct own     owns[3] = { 0 };
        struct unr_op *members[3];
        struct grouped grouped = { 0 };
        for (unsigned i = 0; i < 3; i++)
            members[i] = brew(&owns[i], UNR_CANCEL_ALL);
        start_group(&grouped, unr_group(&grouped.group, members, 3, unr_wait_all, NULL));
        cr_assert_null(unr_group_first(&grouped.group));
        for (unsigned ended = 1; ended <= 3; ended++) {
            end(&owns[orders[o][ended - 1]], 0);
            struct unr_op *op = unr_group_first(&grouped.group);
            for (unsigned i = 0; i < ended; i++, op = unr_group_next(op))
                cr_assert_eq(op, &owns[orders[o][i]].op);
            cr_assert_null(op);
        }
        expect(&grouped, 0, orders[o][2]);
    }
    close_loop();
}

/* Of those that end in one turn the order is that in which they ended; what else ends in it is not
 * on the list. */
Test(group, order_of_completion_within_one_turn)
{
    for (int second_first = 0; second_first < 2; second_first++) {
        struct own     owns[2] = { 0 }, foreign = { 0 };
        struct grouped grouped = { 0 };
        struct unr_op *members[] = { brew(&owns[0], UNR_CANCEL_ALL),
                                     brew(&owns[1], UNR_CANCEL_ALL) };
        start_group(&grouped, unr_any(&grouped.group, members, 2));
        unr_start(loop, brew(&foreign, UNR_CANCEL_ALL), NULL, NULL);
        unr_finish(&owns[second_first].op, 0);
        unr_finish(&owns[!second_first].op, 0);
        unr_finish(&foreign.op, 0);
        submit();
        expect(&grouped, 0, second_first);
        cr_assert_eq(unr_group_first(&grouped.group), &owns[second_first].op);
        cr_assert_eq(unr_group_next(&owns[second_first].op), &owns[!second_first].op);
        cr_assert_null(unr_group_next(&owns[!second_first].op));
        expect_result(&owns[!second_first].op, 0, UNR_VERDICT_TOO_LATE, -ECANCELED);
    }
    close_loop();
}

/* ---- during the launch ---- */

enum { ASKED_MAX = 8 };
static const struct own *asked[ASKED_MAX];
static int               asked_count;

static void note_the_request(struct own *own)
{
    cr_assert_lt(asked_count, ASKED_MAX);
    asked[asked_count++] = own;
}

/* Asks the group once more, inside its request. */
static void note_and_ask_again(struct own *own)
{
    note_the_request(own);
    if (own->requests == 1)
        unr_cancel(own->context, UNR_CANCEL_PARTIAL);
}

/* The member that was started last is asked first: with many polls on one file, the kernel walks
 * to the end of its list for each in the other order.  So it is too if a member makes a further
 * request to the group meanwhile; and the index of the member that decides remains its own. */
Test(group, newest_is_asked_first)
{
    for (int again = 0; again < 2; again++) {
        struct own     owns[4] = { 0 };
        struct unr_op *members[4];
        struct grouped grouped = { 0 };
        asked_count = 0;
        for (int i = 0; i < 4; i++) {
            owns[i].at_request = again && i == 2 ? note_and_ask_again : note_the_request;
            owns[i].context = &grouped.group.op;
            members[i] = brew(&owns[i], UNR_CANCEL_ALL);
        }
        start_group(&grouped, unr_any(&grouped.group, members, 4));
        cr_assert(unr_cancel(&grouped.group.op, UNR_CANCEL_TERMINAL));
        static const int once[] = { 3, 2, 1, 0 }, twice[] = { 3, 2, 3, 2, 1, 0, 1, 0 };
        cr_assert_eq(asked_count, again ? 8 : 4);
        for (int i = 0; i < asked_count; i++)
            cr_assert_eq(asked[i], &owns[again ? twice[i] : once[i]]);
        for (int i = 0; i < 4; i++)
            unr_finish(members[i], i == 1 ? 0 : -EIO);
        until_over(&grouped);
        expect(&grouped, 0, 1);
    }
    close_loop();
}

/* A member that ends inside its start: the others are still started, and `done` does not run inside
 * unr_start(). */
Test(group, launch_goes_on_when_a_member_ends_in_it)
{
    for (unsigned at = 0; at < 3; at++) {
        struct own     owns[3] = { 0 };
        struct unr_op *members[3];
        struct grouped grouped = { 0 };
        for (unsigned i = 0; i < 3; i++) {
            owns[i].at_start = i == at ? end_well : NULL;
            members[i] = brew(&owns[i], UNR_CANCEL_ALL);
        }
        start_group(&grouped, unr_any(&grouped.group, members, 3));
        cr_assert_eq(grouped.runs, 0);
        cr_assert(owns[0].starts == 1 && owns[1].starts == 1 && owns[2].starts == 1);
        run();
        expect(&grouped, 0, at);
        for (unsigned i = 0; i < 3; i++)
            cr_assert_eq(owns[i].op.result.error, i == at ? 0 : -ECANCELED);
    }
    close_loop();
}

/* All of them ending inside their start. */
Test(group, launch_in_which_all_members_end)
{
    struct own     owns[3] = { { .at_start = end_well },
                               { .at_start = end_well },
                               { .at_start = end_well } };
    struct unr_op *members[3];
    struct grouped grouped = { 0 };
    for (unsigned i = 0; i < 3; i++)
        members[i] = brew(&owns[i], UNR_CANCEL_ALL);
    start_group(&grouped, unr_all(&grouped.group, members, 3));
    cr_assert_eq(grouped.runs, 0);
    run();
    expect(&grouped, 0, 2);
    close_loop();
}

/* Members that need no waiting: nops, and a call whose arguments no kernel takes. */
Test(group, launch_of_nops_and_of_an_invalid_argument)
{
    struct unr_op  nops[2] = { 0 }, invalid = { 0 };
    struct grouped grouped = { 0 };
    char           in;
    start_group(&grouped, unr_all(&grouped.group,
                                  (struct unr_op *[]){ unr_nop(&nops[0]), unr_nop(&nops[1]) }, 2));
    run();
    expect(&grouped, 0, 1);
    grouped.runs = 0;
    struct unr_op *members[] = { unr_nop(&nops[0]),
                                 unr_recv(&invalid, 0, &in, (size_t)INT32_MAX + 1, 0),
                                 unr_nop(&nops[1]) };
    start_group(&grouped, unr_all(&grouped.group, members, 3));
    run();
    expect(&grouped, -EINVAL, 1);
    close_loop();
}

static void cancel_the_group(struct own *own)
{
    cr_assert(unr_cancel_cause(own->context, UNR_CANCEL_ALL, -71));
}

/* A member whose start cancels the group: who was started is ended, and who was not never
 * begins. */
Test(group, launch_in_which_a_member_cancels_the_group)
{
    for (unsigned at = 0; at < 3; at++) {
        struct own     owns[3] = { 0 };
        struct unr_op *members[3];
        struct grouped grouped = { 0 };
        for (unsigned i = 0; i < 3; i++) {
            if (i == at)
                owns[i] =
                    (struct own){ .at_start = cancel_the_group, .context = &grouped.group.op };
            members[i] = brew(&owns[i], UNR_CANCEL_ALL);
        }
        start_group(&grouped, unr_all(&grouped.group, members, 3));
        for (unsigned i = 0; i < 3; i++)
            cr_assert_eq(owns[i].starts, i <= at);
        run();
        expect(&grouped, -ECANCELED, -1);
        expect_group_cancelled(&grouped, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -71);
        for (unsigned i = 0; i < 3; i++)
            expect_result(members[i], -ECANCELED,
                          i <= at ? UNR_VERDICT_CANCELLED : UNR_VERDICT_UNSUBMITTED, -71);
    }
    close_loop();
}

/* The same where that member ends well in its start first. */
static void end_well_and_cancel_the_group(struct own *own)
{
    unr_finish(&own->op, 0);
    cr_assert(unr_cancel_cause(own->context, UNR_CANCEL_ALL, -71));
}

Test(group, launch_in_which_a_member_ends_and_cancels_the_group)
{
    struct own     a = { .at_start = end_well_and_cancel_the_group }, b = { 0 };
    struct grouped grouped = { 0 };
    a.context = &grouped.group.op;
    struct unr_op *members[] = { brew(&a, UNR_CANCEL_ALL), brew(&b, UNR_CANCEL_ALL) };
    start_group(&grouped, unr_any(&grouped.group, members, 2));
    run();
    expect(&grouped, 0, 0);
    cr_assert_eq(grouped.result.verdict, UNR_VERDICT_TOO_LATE);
    expect_result(&a.op, 0, UNR_VERDICT_TOO_LATE, -71);
    expect_result(&b.op, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -71);
    close_loop();
}

/* ---- requests from outside ---- */

/* A latched request ends members before they begin, the kernel never sees them; a close, which
 * supports nothing, runs. */
Test(group, request_before_the_start_ends_members_before_they_begin_but_not_a_close)
{
    struct duel       duel;
    struct unr_op     closes = { 0 };
    struct unr_signal stop = { 0 };
    struct grouped    grouped = { 0 };
    open_duel(&duel);
    cr_assert_eq(write(duel.fds[0][1], "12", 2), 2);
    int closed = dup(duel.fds[0][0]);
    unr_signal_init_latched(&stop);
    unr_signal_emit_cause(&stop, UNR_CANCEL_TOTAL, -71);
    struct unr_op *members[] = { receive(&duel, 0), unr_close(&closes, closed), receive(&duel, 1) };
    start_group(&grouped, unr_bind_slot(unr_group(&grouped.group, members, 3, unr_wait_all, NULL),
                                        unr_signal_slot(&stop)));
    run();
    expect(&grouped, -ECANCELED, -1);
    expect_group_cancelled(&grouped, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -71);
    expect_result(&duel.receives[0], -ECANCELED, UNR_VERDICT_UNSUBMITTED, -71);
    expect_result(&duel.receives[1], -ECANCELED, UNR_VERDICT_UNSUBMITTED, -71);
    expect_result(&closes, 0, UNR_VERDICT_REFUSED, -71);
    cr_assert_eq(fcntl(closed, F_GETFD), -1);
    cr_assert_eq(drain(duel.fds[0][0]), 2);
    close_duel(&duel);
    close_loop();
}

/* A group of which no member began was never submitted either (rule 6). */
Test(group, request_before_the_start_that_ends_all_members_is_unsubmitted)
{
    struct duel       duel;
    struct unr_signal stop = { 0 };
    struct grouped    grouped = { 0 };
    open_duel(&duel);
    unr_signal_init_latched(&stop);
    unr_signal_emit_cause(&stop, UNR_CANCEL_ALL, -71);
    start_group(
        &grouped,
        unr_bind_slot(
            unr_any(&grouped.group, (struct unr_op *[]){ receive(&duel, 0), receive(&duel, 1) }, 2),
            unr_signal_slot(&stop)));
    run();
    expect(&grouped, -ECANCELED, -1);
    expect_group_cancelled(&grouped, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -71);
    close_duel(&duel);
    close_loop();
}

/* Before there is a decision, a request prevents one: -ECANCELED, nobody's index, the cause of the
 * request; for each condition. */
Test(group, request_before_a_decision_prevents_it)
{
    static unr_group_condition_fn *const conditions[] = { unr_wait_all, unr_wait_one,
                                                          unr_wait_one_success,
                                                          unr_wait_one_error };
    for (unsigned i = 0; i < LENGTH(conditions); i++) {
        struct duel       duel;
        struct unr_signal stop = { 0 };
        struct grouped    grouped = { 0 };
        open_duel(&duel);
        start_group(&grouped, unr_bind_slot(unr_group(&grouped.group,
                                                      (struct unr_op *[]){ receive(&duel, 0),
                                                                           receive(&duel, 1) },
                                                      2, conditions[i], NULL),
                                            unr_signal_slot(&stop)));
        submit();
        cr_assert(unr_signal_emit_cause(&stop, UNR_CANCEL_TOTAL, -71));
        run();
        expect(&grouped, -ECANCELED, -1);
        expect_group_cancelled(&grouped, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -71);
        cr_assert_eq(grouped.result.requested, UNR_CANCEL_TOTAL);
        cr_assert_eq(write(duel.fds[0][1], "123", 3), 3);
        cr_assert_eq(drain(duel.fds[0][0]), 3);
        close_duel(&duel);
    }
    close_loop();
}

/* A request that comes while one has ended well already, which decides unr_any: success is not
 * discarded. */
Test(group, request_that_loses_to_a_success_leaves_it_one)
{
    struct own     a = { 0 }, b = { 0 };
    struct grouped grouped = { 0 };
    struct unr_op *members[] = { brew(&a, UNR_CANCEL_ALL), brew(&b, UNR_CANCEL_ALL) };
    start_group(&grouped, unr_any(&grouped.group, members, 2));
    unr_finish(&b.op, 0);
    cr_assert(unr_cancel_cause(&grouped.group.op, UNR_CANCEL_ALL, -71));
    run();
    expect(&grouped, 0, 1);
    cr_assert_eq(grouped.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(grouped.result.cause, -71);
    cr_assert_eq(grouped.result.guarantee, UNR_CANCEL_NONE);
    expect_result(&a.op, -ECANCELED, UNR_VERDICT_CANCELLED, -71);
    close_loop();
}

/* A failure of a member's own is reported by unr_all though a request ends the others. */
Test(group, request_that_loses_to_a_failure_leaves_it_one)
{
    for (int failure_first = 0; failure_first < 2; failure_first++) {
        struct own     a = { 0 }, b = { .at_request = go_on };
        struct grouped grouped = { 0 };
        struct unr_op *members[] = { brew(&a, UNR_CANCEL_ALL), brew(&b, UNR_CANCEL_ALL) };
        start_group(&grouped, unr_all(&grouped.group, members, 2));
        if (failure_first)
            unr_finish(&b.op, -EPIPE);
        cr_assert(unr_cancel_cause(&grouped.group.op, UNR_CANCEL_ALL, -71));
        if (!failure_first)
            end(&b, -EPIPE);
        run();
        expect(&grouped, -EPIPE, 1);
        cr_assert_eq(grouped.result.verdict, UNR_VERDICT_TOO_LATE);
    }
    close_loop();
}

/* Behind the condition's own request, which a member refused, a stronger one from outside is passed
 * on (Asio drops it), and the decision stands. */
Test(group, request_after_the_conditions_own_escalates)
{
    struct own      a = { 0 }, b = { 0 };
    struct grouped  grouped = { 0 };
    struct counting counting = { .answer = { UNR_CANCEL_TOTAL, 0 } };
    struct unr_op  *members[] = { brew(&a, UNR_CANCEL_ALL), brew(&b, UP_TO_PARTIAL) };
    start_group(&grouped, unr_group(&grouped.group, members, 2, count_ends, &counting));
    end(&a, 0);
    cr_assert_eq(b.requests, 0);
    cr_assert(unr_cancel_cause(&grouped.group.op, UNR_CANCEL_ALL, -71));
    cr_assert_eq(b.requests, 1);
    run();
    expect(&grouped, 0, 0);
    cr_assert_eq(grouped.result.verdict, UNR_VERDICT_TOO_LATE);
    expect_result(&b.op, -ECANCELED, UNR_VERDICT_CANCELLED, -71);
    close_loop();
}

/* A member that was asked by the condition and goes on is told of the types that are new. */
Test(group, request_after_the_conditions_own_tells_what_is_new)
{
    struct own      a = { 0 }, b = { .at_request = go_on };
    struct grouped  grouped = { 0 };
    struct counting counting = { .answer = { UNR_CANCEL_TOTAL, 0 } };
    struct unr_op  *members[] = { brew(&a, UNR_CANCEL_ALL), brew(&b, UNR_CANCEL_ALL) };
    start_group(&grouped, unr_group(&grouped.group, members, 2, count_ends, &counting));
    end(&a, 0);
    cr_assert_eq(b.asked, UNR_CANCEL_TOTAL);
    cr_assert(unr_cancel(&grouped.group.op, UNR_CANCEL_TOTAL)); /* nothing new */
    cr_assert_eq(b.requests, 1);
    cr_assert(unr_cancel(&grouped.group.op, UNR_CANCEL_TERMINAL));
    cr_assert_eq(b.requests, 2);
    cr_assert_eq(b.latest.types, UNR_CANCEL_TERMINAL);
    end(&b, 0);
    expect(&grouped, 0, 0);
    close_loop();
}

struct late {
    struct seen     seen;
    struct grouped *grouped;
    bool            answer;
};

static void cancel_late(struct seen *seen)
{
    struct late *late = seen->context;
    late->answer = unr_cancel_cause(&late->grouped->group.op, UNR_CANCEL_TOTAL, -71);
}

/* When the last member has ended it is too late, also before it has been handed back. */
Test(group, request_after_the_last_member_is_too_late)
{
    struct own     a = { 0 };
    struct grouped grouped = { 0 };
    struct late    late = { .grouped = &grouped };
    late.seen = (struct seen){ .then = cancel_late, .context = &late };
    start_group(&grouped,
                unr_all(&grouped.group, (struct unr_op *[]){ brew(&a, UNR_CANCEL_ALL) }, 1));
    start(&late.seen, unr_nop(&late.seen.op));
    unr_cancel(&late.seen.op,
               UNR_CANCEL_ALL); /* so that it ends right before the member is handed back */
    unr_finish(&a.op, 0);
    run();
    expect(&grouped, 0, 0);
    cr_assert(late.answer);
    cr_assert_eq(grouped.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(grouped.result.cause, -71);
    cr_assert_eq(grouped.result.requested, UNR_CANCEL_TOTAL);
    cr_assert_eq(unr_cancel(&grouped.group.op, UNR_CANCEL_ALL), false);
    close_loop();
}

/* TOTAL ends those who support it; a receive with MSG_WAITALL, which does not, goes on and loses no
 * byte, and the group waits. */
Test(group, request_for_total_is_refused_by_a_partial_member)
{
    struct duel       duel;
    struct unr_timer  timer = { 0 };
    struct unr_signal stop = { 0 };
    struct grouped    grouped = { 0 };
    open_duel(&duel);
    struct unr_op *members[] = {
        receive(&duel, 0), unr_recv(&duel.receives[1], duel.fds[1][0], duel.in[1], 8, MSG_WAITALL),
        unr_timer_after(&timer, UNR_SEC(3600))
    };
    start_group(&grouped, unr_bind_slot(unr_group(&grouped.group, members, 3, unr_wait_all, NULL),
                                        unr_signal_slot(&stop)));
    submit();
    cr_assert_eq(write(duel.fds[1][1], "1234", 4), 4);
    cr_assert(unr_signal_emit_cause(&stop, UNR_CANCEL_TOTAL, -71));
    while (unr_in_flight(&duel.receives[0]) || unr_in_flight(&timer.op))
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    submit();
    cr_assert_eq(grouped.runs, 0);
    cr_assert_eq(write(duel.fds[1][1], "5678", 4), 4);
    run();
    expect(&grouped, -ECANCELED, -1);
    expect_group_cancelled(&grouped, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -71);
    expect_result(&duel.receives[1], 0, UNR_VERDICT_REFUSED, -71);
    cr_assert_eq(duel.receives[1].result.bytes, 8);
    cr_assert_eq(memcmp(duel.in[1], "12345678", 8), 0);
    close_duel(&duel);
    close_loop();
}

/* A request that no member honours is refused, and changes nothing. */
Test(group, request_that_no_member_supports_is_refused)
{
    struct own     a = { 0 }, b = { 0 };
    struct grouped grouped = { 0 };
    struct unr_op *members[] = { brew(&a, UNR_CANCEL_NONE), brew(&b, TERMINAL_ONLY) };
    start_group(&grouped, unr_all(&grouped.group, members, 2));
    cr_assert(unr_cancel_cause(&grouped.group.op, UNR_CANCEL_TOTAL, -71));
    cr_assert_eq(a.requests + b.requests, 0);
    end(&a, 0);
    end(&b, 0);
    expect(&grouped, 0, 1);
    cr_assert_eq(grouped.result.verdict, UNR_VERDICT_REFUSED);
    cr_assert_eq(grouped.result.cause, -71);
    close_loop();
}

/* A first request that a member refuses, and a second that ends it with a cause of its own: it was
 * ended from outside, and the group says so whatever the first cause was. */
Test(group, request_that_escalates_with_another_cause_is_still_one_from_outside)
{
    static unr_group_condition_fn *const conditions[] = { unr_wait_all, unr_wait_one_error };
    for (unsigned i = 0; i < LENGTH(conditions); i++) {
        struct own     a = { .at_request = go_on }, b = { 0 };
        struct grouped grouped = { 0 };
        struct unr_op *members[] = { brew(&a, UNR_CANCEL_ALL), brew(&b, UP_TO_PARTIAL) };
        start_group(&grouped, unr_group(&grouped.group, members, 2, conditions[i], NULL));
        cr_assert(unr_cancel_cause(&grouped.group.op, UNR_CANCEL_TOTAL, -71));
        cr_assert(unr_cancel_cause(&grouped.group.op, UNR_CANCEL_ALL, -ETIMEDOUT));
        end(&a, 0);
        run();
        expect_result(&b.op, -ECANCELED, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
        expect(&grouped, -ECANCELED, -1);
        expect_group_cancelled(&grouped, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -71);
    }
    close_loop();
}

/* A member that was cancelled alone, before anything was asked of the group, was not ended by what
 * is asked of it later. */
Test(group, request_is_not_blamed_for_a_member_cancelled_alone_before_it)
{
    struct own     a = { 0 }, b = { .at_request = go_on };
    struct grouped grouped = { 0 };
    struct unr_op *members[] = { brew(&a, UNR_CANCEL_ALL), brew(&b, UNR_CANCEL_ALL) };
    start_group(&grouped, unr_group(&grouped.group, members, 2, unr_wait_all, NULL));
    cr_assert(unr_cancel(&a.op, UNR_CANCEL_ALL));
    submit();
    cr_assert_eq(unr_in_flight(&a.op), false);
    cr_assert(unr_cancel(&grouped.group.op, UNR_CANCEL_ALL));
    end(&b, 0);
    expect(&grouped, 0, 1);
    cr_assert_eq(grouped.result.verdict, UNR_VERDICT_TOO_LATE);
    close_loop();
}

/* Two requests that wait for a group at its start, one through the group around it and one latched
 * in its own slot: members are asked for both. */
Test(group, request_through_the_outer_group_and_a_latched_one_are_both_passed_on)
{
    struct own        a = { 0 }, b = { 0 }, c = { 0 };
    struct unr_signal outer_stop = { 0 }, inner_stop = { 0 };
    struct unr_group  inner = { 0 };
    struct grouped    grouped = { 0 };
    unr_signal_init_latched(&outer_stop);
    unr_signal_init_latched(&inner_stop);
    unr_signal_emit_cause(&outer_stop, UNR_CANCEL_TOTAL, -71);
    unr_signal_emit_cause(&inner_stop, UNR_CANCEL_ALL, -72);
    struct unr_op *inner_members[] = { brew(&a, UNR_CANCEL_ALL), brew(&b, UP_TO_PARTIAL) };
    struct unr_op *members[] = { unr_bind_slot(
                                     unr_group(&inner, inner_members, 2, unr_wait_all, NULL),
                                     unr_signal_slot(&inner_stop)),
                                 brew(&c, UNR_CANCEL_ALL) };
    start_group(&grouped, unr_bind_slot(unr_group(&grouped.group, members, 2, unr_wait_all, NULL),
                                        unr_signal_slot(&outer_stop)));
    submit();
    int starts = b.starts;
    if (starts) /* or it would stay in flight, for a test that has failed */
        end(&b, 0);
    cr_assert_eq(starts, 0, "the latched request did not reach it");
    run();
    expect(&grouped, -ECANCELED, -1);
    close_loop();
}

/* ---- inside the condition ---- */

struct emitter {
    struct unr_signal signal;
    unsigned          calls;
};

static unsigned emit_inside(void *context, const struct unr_op *finished)
{
    struct emitter *emitter = context;
    (void)finished;
    if (emitter->calls++ == 0)
        cr_assert(unr_signal_emit_cause(&emitter->signal, UNR_CANCEL_TOTAL, -71));
    return UNR_CANCEL_NONE;
}

/* A condition may emit to its own group: that is a request from outside like any other. */
Test(group, condition_may_emit_to_its_own_group)
{
    struct own     a = { 0 }, b = { 0 };
    struct emitter emitter = { 0 };
    struct grouped grouped = { 0 };
    struct unr_op *members[] = { brew(&a, UNR_CANCEL_ALL), brew(&b, UNR_CANCEL_ALL) };
    start_group(&grouped,
                unr_bind_slot(unr_group(&grouped.group, members, 2, emit_inside, &emitter),
                              unr_signal_slot(&emitter.signal)));
    end(&a, 0);
    run();
    cr_assert_eq(emitter.calls, 2);
    expect(&grouped, -ECANCELED, -1);
    expect_group_cancelled(&grouped, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -71);
    close_loop();
}

/* Also when it is asked for the last member: then it is too late. */
Test(group, condition_may_emit_for_the_last_member)
{
    struct own     a = { 0 };
    struct emitter emitter = { 0 };
    struct grouped grouped = { 0 };
    start_group(&grouped, unr_bind_slot(unr_group(&grouped.group,
                                                  (struct unr_op *[]){ brew(&a, UNR_CANCEL_ALL) },
                                                  1, emit_inside, &emitter),
                                        unr_signal_slot(&emitter.signal)));
    end(&a, 0);
    expect(&grouped, 0, 0);
    cr_assert_eq(grouped.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(grouped.result.cause, -71);
    close_loop();
}

static unsigned start_inside(void *context, const struct unr_op *finished)
{
    struct seen *nop = context;
    (void)finished;
    if (nop->runs == 0 && !unr_in_flight(&nop->op))
        start(nop, unr_nop(&nop->op));
    return UNR_CANCEL_NONE;
}

/* And it may start operations. */
Test(group, condition_may_start_operations)
{
    struct own     a = { 0 };
    struct seen    nop = { 0 };
    struct grouped grouped = { 0 };
    start_group(&grouped, unr_group(&grouped.group, (struct unr_op *[]){ brew(&a, UNR_CANCEL_ALL) },
                                    1, start_inside, &nop));
    end(&a, 0);
    run();
    expect(&grouped, 0, 0);
    cr_assert_eq(nop.runs, 1);
    close_loop();
}

/* ---- nested ---- */

struct nest {
    struct own       a, b, c, d;
    struct unr_group both, either;
    struct grouped   all; /* ((a && b) || c) && d */
};

static void start_nest(struct nest *nest)
{
    memset(nest, 0, sizeof *nest);
    struct unr_op *ab[] = { brew(&nest->a, UNR_CANCEL_ALL), brew(&nest->b, UNR_CANCEL_ALL) };
    struct unr_op *abc[] = { unr_all(&nest->both, ab, 2), brew(&nest->c, UNR_CANCEL_ALL) };
    struct unr_op *abcd[] = { unr_any(&nest->either, abc, 2), brew(&nest->d, UNR_CANCEL_ALL) };
    start_group(&nest->all, unr_all(&nest->all.group, abcd, 2));
}

/* Groups nest: ((a && b) || c) && d comes out as it would on paper. */
Test(group, nested_groups_come_out_as_on_paper)
{
    for (unsigned successes = 0; successes < 16; successes++) {
        struct nest nest;
        bool        a = successes & 1, b = successes & 2, c = successes & 4, d = successes & 8;
        start_nest(&nest);
        struct own *owns[] = { &nest.a, &nest.b, &nest.c, &nest.d };
        for (unsigned i = 0; i < 4; i++)
            if (unr_in_flight(&owns[i]->op)) {
                end(owns[i], successes & 1u << i ? 0 : -EPIPE - (int)i);
                submit(); /* whom that ended has ended then */
                submit();
            }
        run();
        cr_assert_eq(nest.all.runs, 1);
        cr_assert_eq(nest.all.result.error == 0, ((a && b) || c) && d, "%x: error %d", successes,
                     nest.all.result.error);
        expect_unasked(&nest.all);
    }
    close_loop();
}

/* What ends the outermost in one turn ends in that turn, however deep the last member was. */
Test(group, nested_groups_end_in_the_turn_of_their_last_member)
{
    struct nest nest;
    start_nest(&nest);
    end(&nest.d, 0);
    end(&nest.a, 0);
    unr_finish(&nest.b.op, 0);
    submit(); /* a && b is over, and c is asked */
    submit();
    expect(&nest.all, 0, 0);
    cr_assert_eq(nest.either.op.result.value, 0);
    expect_result(&nest.c.op, -ECANCELED, UNR_VERDICT_CANCELLED, -ECANCELED);
    close_loop();
}

/* A request reaches the innermost members with its types and its cause, and each group says
 * -ECANCELED. */
Test(group, nested_groups_pass_requests_on)
{
    struct nest nest;
    start_nest(&nest);
    cr_assert(unr_cancel_cause(&nest.all.group.op, UNR_CANCEL_TOTAL, -71));
    run();
    struct own *owns[] = { &nest.a, &nest.b, &nest.c, &nest.d };
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(owns[i]->latest.types, UNR_CANCEL_TOTAL);
        expect_result(&owns[i]->op, -ECANCELED, UNR_VERDICT_CANCELLED, -71);
    }
    expect(&nest.all, -ECANCELED, -1);
    expect_result(&nest.both.op, -ECANCELED, UNR_VERDICT_CANCELLED, -71);
    expect_result(&nest.either.op, -ECANCELED, UNR_VERDICT_CANCELLED, -71);
    expect_group_cancelled(&nest.all, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -71);
    close_loop();
}

/* An inner group may be cancelled alone: its own failure, to the outer one. */
Test(group, nested_group_cancelled_alone)
{
    struct nest nest;
    start_nest(&nest);
    cr_assert(unr_cancel_cause(&nest.both.op, UNR_CANCEL_ALL, -71));
    submit();
    cr_assert_eq(nest.c.requests, 0);
    end(&nest.c, 0);
    end(&nest.d, 0);
    expect(&nest.all, 0, 1);
    cr_assert_eq(nest.either.op.result.value, 1);
    cr_assert_eq(nest.both.op.result.value, -1);
    close_loop();
}

/* What has ended supports nothing: a request that only ended members of an inner group would have
 * honoured is refused, by each group. */
Test(group, nested_group_whose_willing_member_has_ended_refuses)
{
    struct own       ended = { 0 }, stays = { 0 }, beside = { 0 };
    struct unr_group inner = { 0 };
    struct grouped   outer = { 0 };
    struct unr_op   *members[] = { brew(&ended, UNR_CANCEL_ALL), brew(&stays, UNR_CANCEL_NONE) };
    unr_group(&inner, members, 2, unr_wait_all, NULL);
    start_group(&outer, unr_group(&outer.group,
                                  (struct unr_op *[]){ &inner.op, brew(&beside, UNR_CANCEL_NONE) },
                                  2, unr_wait_all, NULL));
    cr_assert_eq(unr_supports(&inner.op), UNR_CANCEL_ALL);
    end(&ended, 0);
    cr_assert_eq(unr_supports(&inner.op), UNR_CANCEL_NONE);
    unr_cancel_cause(&outer.group.op, UNR_CANCEL_TOTAL, -71);
    end(&stays, 0);
    end(&beside, 0);
    run();
    expect(&outer, 0, 1);
    cr_assert_eq(outer.result.verdict, UNR_VERDICT_REFUSED);
    expect_result(&inner.op, 0, UNR_VERDICT_REFUSED, -71);
    expect_result(&ended.op, 0, UNR_VERDICT_NONE, 0);
    close_loop();
}

/* A request from inside the launch of an inner group, when one member has ended in its start and
 * the other has not begun: it ends that before it begins, and to both groups it is one from outside
 * and no member's failure. */
Test(group, nested_group_cancelled_in_its_launch)
{
    struct own     a = { .at_start = end_well_and_cancel_the_group }, b = { 0 };
    struct nest    nest = { 0 };
    struct unr_op *members[] = { brew(&a, UNR_CANCEL_NONE), brew(&b, UNR_CANCEL_ALL) };
    a.context = &nest.all.group.op;
    unr_group(&nest.both, members, 2, unr_wait_all, NULL);
    start_group(&nest.all, unr_all(&nest.all.group, (struct unr_op *[]){ &nest.both.op }, 1));
    run();
    expect(&nest.all, -ECANCELED, -1);
    expect_group_cancelled(&nest.all, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -71);
    expect_result(&nest.both.op, -ECANCELED, UNR_VERDICT_CANCELLED, -71);
    cr_assert_eq(nest.both.op.result.value, -1);
    expect_result(&b.op, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -71);
    cr_assert_eq(b.starts, 0);
    close_loop();
}

/* A group inside a deadline: the time-out reaches all members, and the whole reads -ETIMEDOUT. */
Test(group, group_inside_a_deadline_times_out_as_a_whole)
{
    struct duel         duel;
    struct unr_group    group = { 0 };
    struct unr_deadline deadline = { 0 };
    struct grouped      grouped = { 0 };
    open_duel(&duel);
    unr_any(&group, (struct unr_op *[]){ receive(&duel, 0), receive(&duel, 1) }, 2);
    start_group(&grouped, unr_cancel_after(&deadline, &group.op, UNR_MSEC(1)));
    run();
    expect(&grouped, -ECANCELED, -1);
    cr_assert_eq(unr_outcome(&grouped.result), -ETIMEDOUT);
    for (int i = 0; i < 2; i++)
        expect_result(&duel.receives[i], -ECANCELED, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    close_duel(&duel);
    close_loop();
}

/* A group that ends in time leaves no deadline behind: the loop has nothing more to wait for. */
Test(group, group_inside_a_deadline_that_is_in_time)
{
    struct own          a = { 0 };
    struct unr_group    group = { 0 };
    struct unr_deadline deadline = { 0 };
    struct grouped      grouped = { 0 };
    unr_any(&group, (struct unr_op *[]){ brew(&a, UNR_CANCEL_ALL) }, 1);
    start_group(&grouped, unr_cancel_after(&deadline, &group.op, UNR_SEC(3600)));
    unr_finish(&a.op, 0);
    run();
    expect(&grouped, 0, 0);
    expect_unasked(&grouped);
    close_loop();
}

/* A filter inside a group keeps the group's requests from its member, in the terms of the
 * filter. */
Test(group, filter_inside_a_group)
{
    struct own        a = { 0 }, b = { 0 };
    struct unr_filter shield = { 0 };
    struct grouped    grouped = { 0 };
    struct unr_op    *members[] = { brew(&a, UNR_CANCEL_ALL),
                                    unr_shield(&shield, brew(&b, UNR_CANCEL_ALL)) };
    start_group(&grouped, unr_any(&grouped.group, members, 2));
    end(&a, 0);
    cr_assert(unr_cancel(&grouped.group.op, UNR_CANCEL_ALL));
    cr_assert_eq(b.requests, 0);
    cr_assert_eq(grouped.runs, 0);
    end(&b, -EPIPE);
    expect(&grouped, 0, 0);
    expect_result(&shield.op, -EPIPE, UNR_VERDICT_REFUSED, -ECANCELED);
    close_loop();
}

static void widening_step(struct unr_compose *self, struct unr_op *finished)
{
    static struct unr_timer timer;
    if (finished) {
        unr_compose_end(self, finished->result.error);
        return;
    }
    unr_state_reset(unr_compose_state(self), unr_let_total, unr_let_total, NULL);
    unr_compose_next(self, unr_timer_after(&timer, UNR_SEC(3600)));
}

/* A composed member whose state lets in more than it began with, as in step 8 of the talk: what it
 * honours alone reaches it inside a group too (rule 5: a state's filters change what an operation
 * supports). */
Test(group, member_whose_state_lets_in_more_later)
{
    struct unr_compose composed = { 0 };
    struct grouped     grouped = { 0 };
    unr_compose(&composed, "widen", UNR_CANCEL_TERMINAL, widening_step);
    start_group(&grouped, unr_any(&grouped.group, (struct unr_op *[]){ &composed.op }, 1));
    submit();
    cr_assert_eq(unr_supports(&composed.op), UNR_CANCEL_ALL);
    unr_cancel_cause(&grouped.group.op, UNR_CANCEL_TOTAL, -71);
    submit();
    submit();
    bool reached = grouped.runs == 1;
    unr_cancel(&composed.op, UNR_CANCEL_TOTAL); /* or it would wait for its hour */
    run();
    cr_assert(reached, "TOTAL did not reach the member through the group");
    cr_assert_eq(grouped.result.cause, -71);
    close_loop();
}

/* ---- size, memory, reuse ---- */

/* A thousand receives, of which the one in the middle wins. */
Test(group, a_thousand_members)
{
    enum { N = 1000, WINNER = 613 };
    struct unr_op *ops = calloc(N, sizeof *ops), **members = calloc(N, sizeof *members);
    struct grouped grouped = { 0 };
    int            fds[2], quiet[2];
    char           in[N];
    unix_pair(fds);
    unix_pair(quiet);
    for (int i = 0; i < N; i++)
        members[i] = unr_recv(&ops[i], i == WINNER ? fds[0] : quiet[0], &in[i], 1, 0);
    start_group(&grouped, unr_any(&grouped.group, members, N));
    free(members);
    submit();
    cr_assert_eq(unr_loop_in_flight(loop), 1);
    cr_assert_eq(write(fds[1], "x", 1), 1);
    run();
    expect(&grouped, 0, WINNER);
    cr_assert_eq(ops[WINNER].result.bytes, 1);
    unsigned ended = 0;
    for (struct unr_op *op = unr_group_first(&grouped.group); op; op = unr_group_next(op), ended++)
        cr_assert_eq(op->result.error, op == &ops[WINNER] ? 0 : -ECANCELED);
    cr_assert_eq(ended, N);
    cr_assert_eq(write(quiet[1], "x", 1), 1);
    cr_assert_eq(drain(quiet[0]), 1);
    close_pair(fds);
    close_pair(quiet);
    free(ops);
    close_loop();
}

/* An empty group ends in the next turn; Asio's waits for ever, or refuses (issue 1375).  A latched
 * request has nobody to end. */
Test(group, an_empty_one_ends_at_once)
{
    static unr_group_condition_fn *const conditions[] = { unr_wait_all, unr_wait_one,
                                                          unr_wait_one_success,
                                                          unr_wait_one_error };
    struct unr_signal                    stop = { 0 };
    unr_signal_init_latched(&stop);
    for (int latched = 0; latched < 2; latched++) {
        for (unsigned i = 0; i < LENGTH(conditions); i++) {
            struct grouped grouped = { 0 };
            start_group(&grouped,
                        unr_bind_slot(unr_group(&grouped.group, NULL, 0, conditions[i], NULL),
                                      unr_signal_slot(&stop)));
            cr_assert_eq(grouped.runs, 0);
            run();
            cr_assert_eq(grouped.runs, 1);
            cr_assert_eq(grouped.result.error, 0);
            cr_assert_eq(grouped.result.verdict, latched ? UNR_VERDICT_REFUSED : UNR_VERDICT_NONE);
            cr_assert_null(unr_group_first(&grouped.group));
        }
        unr_signal_emit(&stop, UNR_CANCEL_ALL);
    }
    close_loop();
}

struct heap {
    struct unr_group *group;
    struct unr_op    *ops[3];
    int              *freed;
};

static void free_all(struct unr_op *op)
{
    struct heap *heap = op->data;
    ++*heap->freed;
    for (unsigned i = 0; i < LENGTH(heap->ops); i++)
        free(heap->ops[i]);
    free(heap->group);
    free(heap);
}

/* The group's `done` may free the group, its members and whatever is around, also when all of them
 * end in one turn. */
Test(group, done_may_free_the_group_and_its_members)
{
    int         freed = 0, fds[2];
    static char in[2];
    unix_pair(fds);
    for (int how = 0; how < 4; how++) {
        struct heap *heap = calloc(1, sizeof *heap);
        heap->group = calloc(1, sizeof *heap->group);
        heap->freed = &freed;
        for (unsigned i = 0; i < LENGTH(heap->ops); i++)
            heap->ops[i] = calloc(1, sizeof *heap->ops[i]);
        struct unr_op *members[] = {
            how == 3 ? unr_nop(heap->ops[0]) : unr_recv(heap->ops[0], fds[0], &in[0], 1, 0),
            how == 1 ? unr_recv(heap->ops[1], fds[0], &in[1], 1, 0) : unr_nop(heap->ops[1]),
            unr_nop(heap->ops[2])
        };
        unr_start(loop, unr_any(heap->group, members, 3), free_all, heap);
        if (how == 2)
            unr_cancel(&heap->group->op, UNR_CANCEL_ALL);
        run();
    }
    cr_assert_eq(freed, 4);
    close_pair(fds);
    close_loop();
}

static struct unr_op *__attribute__((noinline))
grouped_from_the_stack(struct unr_group *group, struct own *owns)
{
    struct unr_op *volatile members[3];
    for (int i = 0; i < 3; i++)
        members[i] = brew(&owns[i], UNR_CANCEL_ALL);
    struct unr_op *described = unr_all(group, (struct unr_op *const *)members, 3);
    for (int i = 0; i < 3; i++)
        members[i] = NULL;
    return described;
}

/* The array of members may go at once. */
Test(group, array_of_members_may_go_at_once)
{
    struct own     owns[3] = { 0 };
    struct grouped grouped = { 0 };
    start_group(&grouped, grouped_from_the_stack(&grouped.group, owns));
    for (int i = 2; i >= 0; i--)
        end(&owns[i], 0);
    expect(&grouped, 0, 0);
    close_loop();
}

struct again {
    struct unr_group group;
    struct own       owns[2];
    int              left, cancelled;
};

static void again(struct unr_op *op)
{
    struct again *round = op->data;
    round->cancelled += op->result.error == -ECANCELED;
    if (round->left-- == 0)
        return;
    bool odd = round->left & 1;
    round->owns[0].at_start = odd ? end_well : NULL;
    round->owns[1].at_start = NULL;
    struct unr_op *members[] = { brew(&round->owns[odd], UNR_CANCEL_ALL),
                                 brew(&round->owns[!odd], UNR_CANCEL_ALL) };
    unr_start(loop, unr_any(&round->group, members, 2), again, round);
    if (!odd)
        unr_cancel(&round->group.op, UNR_CANCEL_ALL);
}

/* A group and its members are described again and used again, also inside its `done`, and nothing
 * of the time before shows. */
Test(group, described_again_and_reused)
{
    struct again round = { .left = 100 };
    struct own   one = { .at_start = end_well };
    unr_start(loop, unr_any(&round.group, (struct unr_op *[]){ brew(&one, UNR_CANCEL_ALL) }, 1),
              again, &round);
    run();
    cr_assert_eq(round.left, -1);
    cr_assert_eq(round.cancelled, 50);
    close_loop();
}

#if !SUPPORT_SANITIZED

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *piece, size_t size);

static _Thread_local volatile long allocations;

void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *piece, size_t size)
{
    allocations++;
    return __libc_realloc(piece, size);
}

/* From start to `done` a group allocates nothing, whatever its size, its nesting and its end. */
Test(group, nothing_is_allocated)
{
    skip_with_checks();
    enum { N = 200 };
    static struct own   owns[N];
    struct unr_op      *members[N];
    struct unr_group    inner = { 0 };
    struct unr_deadline deadline = { 0 };
    struct grouped      grouped = { 0 };
    submit();
    long before = allocations;
    for (int round = 0; round < 3; round++) {
        grouped.runs = 0;
        for (int i = 0; i < N; i++)
            members[i] = brew(&owns[i], UNR_CANCEL_ALL);
        members[N / 2] = unr_any(&inner, &members[N / 2], N / 2);
        start_group(
            &grouped,
            unr_cancel_after(&deadline, unr_all(&grouped.group, members, N / 2 + 1), UNR_SEC(10)));
        if (round == 0)
            unr_finish(&owns[0].op, -EPIPE);
        else
            unr_cancel(&deadline.op, UNR_CANCEL_ALL);
        run();
        if (grouped.runs != 1)
            break;
    }
    long allocated = allocations - before;
    cr_assert_eq(grouped.runs, 1);
    cr_assert_eq(allocated, 0);
    close_loop();
}

#endif

/* in_flight counts the group, not its members; nor does run_once count their ends. */
Test(group, in_flight_counts_the_group_alone)
{
    struct own     a = { 0 }, b = { 0 };
    struct grouped grouped = { 0 };
    struct unr_op *members[] = { brew(&a, UNR_CANCEL_ALL), brew(&b, UNR_CANCEL_ALL) };
    start_group(&grouped, unr_all(&grouped.group, members, 2));
    cr_assert_eq(unr_loop_in_flight(loop), 1);
    unr_finish(&a.op, 0);
    cr_assert_eq(unr_loop_run_once(loop, 0), 0);
    cr_assert_eq(unr_loop_in_flight(loop), 1);
    unr_finish(&b.op, 0);
    cr_assert_eq(unr_loop_run_once(loop, 0), 1);
    cr_assert_eq(unr_loop_in_flight(loop), 0);
    close_loop();
}

/* A member in flight may be cancelled alone. */
Test(group, member_cancelled_alone)
{
    struct duel    duel;
    struct grouped grouped = { 0 };
    open_duel(&duel);
    start_group(&grouped, unr_any(&grouped.group,
                                  (struct unr_op *[]){ receive(&duel, 0), receive(&duel, 1) }, 2));
    submit();
    cr_assert(unr_cancel_cause(&duel.receives[0], UNR_CANCEL_TOTAL, -77));
    while (unr_in_flight(&duel.receives[0]))
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    cr_assert_eq(grouped.runs, 0);
    cr_assert_eq(unr_cancel(&duel.receives[0], UNR_CANCEL_TOTAL), false);
    cr_assert_eq(write(duel.fds[1][1], "1", 1), 1);
    run();
    expect(&grouped, 0, 1);
    expect_result(&duel.receives[0], -ECANCELED, UNR_VERDICT_CANCELLED, -77);
    close_duel(&duel);
    close_loop();
}

/* Closing the loop ends a group in flight, with cause -ESHUTDOWN; its `done` runs, and a close in
 * it has closed. */
Test(group, closing_the_loop_ends_it)
{
    struct duel       duel;
    struct unr_filter shield = { 0 };
    struct unr_group  inner = { 0 };
    struct unr_op     nop = { 0 };
    struct grouped    grouped = { 0 };
    open_duel(&duel);
    unr_all(&inner, (struct unr_op *[]){ receive(&duel, 0), unr_nop(&nop) }, 2);
    start_group(&grouped,
                unr_any(&grouped.group,
                        (struct unr_op *[]){ unr_shield(&shield, &inner.op), receive(&duel, 1) },
                        2));
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect(&grouped, -ECANCELED, -1);
    cr_assert_eq(grouped.result.cause, -ESHUTDOWN);
    cr_assert_eq(unr_outcome(&duel.receives[0].result), -ESHUTDOWN);
    close_duel(&duel);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* Receives a byte and, when that has ended, closes what it owns. */
struct session {
    struct unr_compose compose;
    struct unr_op      child;
    int                fd, from, steps;
    char               in;
};

static void session_step(struct unr_compose *self, struct unr_op *finished)
{
    struct session *session = unr_container_of(self, struct session, compose);
    (void)finished;
    switch (++session->steps) {
    case 1:
        unr_compose_next(self, unr_recv(&session->child, session->from, &session->in, 1, 0));
        break;
    case 2: unr_compose_next(self, unr_close(&session->child, session->fd)); break;
    default: unr_compose_end(self, -ECANCELED);
    }
}

/* A loop that closes lets each of many members clean up, though to the loop they are one
 * operation. */
Test(group, closing_the_loop_lets_many_members_clean_up)
{
    enum { N = 1200 };
    struct session *sessions = calloc(N, sizeof *sessions);
    struct unr_op **members = calloc(N, sizeof *members);
    struct grouped  grouped = { 0 };
    struct rlimit   limit;
    int             fds[2];
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    unix_pair(fds);
    for (int i = 0; i < N; i++) {
        sessions[i].from = fds[0];
        sessions[i].fd = dup(fds[0]);
        cr_assert_geq(sessions[i].fd, 0);
        members[i] = unr_compose(&sessions[i].compose, "session", UNR_CANCEL_PARTIAL, session_step);
    }
    start_group(&grouped, unr_group(&grouped.group, members, N, unr_wait_all, NULL));
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect(&grouped, -ECANCELED, -1);
    cr_assert_eq(grouped.result.cause, -ESHUTDOWN);
    for (int i = 0; i < N; i++) {
        expect_result(members[i], -ECANCELED, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
        cr_assert_eq(sessions[i].child.result.error, 0); /* of the close */
    }
    close_pair(fds);
    cr_assert_eq(count_descriptors(), open_descriptors);
    free(members);
    free(sessions);
}

struct during_close {
    struct duel    duel;
    struct unr_op  closes;
    struct grouped grouped;
};

static void start_group_in_done(struct seen *seen)
{
    struct during_close *close = seen->context;
    start_group(&close->grouped,
                unr_all(&close->grouped.group,
                        (struct unr_op *[]){ receive(&close->duel, 0), receive(&close->duel, 1) },
                        2));
}

/* A group that is started while the loop is being closed never begins: UNSUBMITTED, -ESHUTDOWN
 * (rule 10). */
Test(group, started_while_the_loop_closes)
{
    struct during_close during = { 0 };
    struct seen         timer_seen = { .then = start_group_in_done, .context = &during };
    int                 fd = eventfd(0, EFD_CLOEXEC);
    open_duel(&during.duel);
    start(&timer_seen, unr_poll(&timer_seen.op, fd, POLLIN));
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect(&during.grouped, -ECANCELED, -1);
    for (int i = 0; i < 2; i++)
        expect_result(&during.duel.receives[i], -ECANCELED, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    expect_group_cancelled(&during.grouped, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    close_duel(&during.duel);
    close(fd);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* ---- broken contracts ---- */

/* A test whose body, run in a child with an open loop, ends in abort() with words that contain all
 * of the strings given. */
#define BREACH(name, ...)                                                                          \
    static void name(void);                                                                        \
    static void name##_in_child(void *context)                                                     \
    {                                                                                              \
        (void)context;                                                                             \
        must(unr_loop_open(&loop, NULL) == 0);                                                     \
        name();                                                                                    \
    }                                                                                              \
    Test(group, name)                                                                              \
    {                                                                                              \
        struct death death = in_child(name##_in_child, NULL);                                      \
        expect_abort(&death, (const char *const[]){ "unring: broken contract:",                    \
                                                    "unring: the rule:", __VA_ARGS__, NULL });     \
        close_loop();                                                                              \
    }                                                                                              \
    static void name(void)

static struct own broken[2];

static unsigned answer_nonsense(void *context, const struct unr_op *finished)
{
    (void)context, (void)finished;
    return UNR_CANCEL_ALL + 1;
}

/* A condition answers with types that exist. */
BREACH(broken_by_a_condition_with_unknown_types, "condition", "group", "mask of UNR_CANCEL_*")
{
    static struct unr_group group;
    struct unr_op          *members[] = { brew(&broken[0], UNR_CANCEL_ALL),
                                          brew(&broken[1], UNR_CANCEL_ALL) };
    unr_start(loop, unr_group(&group, members, 2, answer_nonsense, NULL), NULL, NULL);
    unr_finish(&broken[0].op, 0);
    unr_loop_run(loop);
}

/* A member is given once. */
BREACH(broken_by_a_member_given_twice, "given to two combinators", "brew")
{
    static struct unr_group group;
    struct unr_op          *member = brew(&broken[0], UNR_CANCEL_ALL);
    unr_all(&group, (struct unr_op *[]){ member, member }, 2);
}

BREACH(broken_by_a_member_of_two_groups, "given to two combinators", "brew")
{
    static struct unr_group groups[2];
    struct unr_op          *member = brew(&broken[0], UNR_CANCEL_ALL);
    unr_all(&groups[0], &member, 1);
    unr_any(&groups[1], &member, 1);
}

/* What a group holds is started by it alone. */
BREACH(broken_by_a_member_started_by_itself, "started though a combinator holds it", "brew")
{
    static struct unr_group group;
    struct unr_op          *member = brew(&broken[0], UNR_CANCEL_ALL);
    unr_all(&group, &member, 1);
    unr_start(loop, member, NULL, NULL);
}

/* Also where somebody else would start it: a scope. */
BREACH(broken_by_a_member_started_in_a_scope, "given to two combinators", "brew")
{
    static struct unr_group group;
    static struct unr_scope scope;
    struct unr_op          *member = brew(&broken[0], UNR_CANCEL_ALL);
    unr_start(loop, unr_scope(&scope), NULL, NULL);
    unr_all(&group, &member, 1);
    unr_scope_start(&scope, member, NULL, NULL);
}

static void begin_a_held_member(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_compose_next(self, &broken[0].op);
}

/* Or a composed operation. */
BREACH(broken_by_a_member_begun_as_a_child, "given to two combinators", "brew")
{
    static struct unr_group   group;
    static struct unr_compose composed;
    struct unr_op            *member = brew(&broken[0], UNR_CANCEL_ALL);
    unr_all(&group, &member, 1);
    unr_start(loop, unr_compose(&composed, "compose", UNR_CANCEL_TERMINAL, begin_a_held_member),
              NULL, NULL);
}

/* A member is described. */
BREACH(broken_by_a_member_that_is_not_described, "not described")
{
    static struct unr_group group;
    static struct unr_op    op;
    unr_all(&group, (struct unr_op *[]){ &op }, 1);
}

BREACH(broken_by_a_member_in_flight, "in flight", "brew")
{
    static struct unr_group group;
    struct unr_op          *member = brew(&broken[0], UNR_CANCEL_ALL);
    unr_start(loop, member, NULL, NULL);
    unr_all(&group, &member, 1);
}

/* Members are described anew for each start of a group. */
BREACH(broken_by_members_used_again_without_a_description, "not described", "brew")
{
    static struct unr_group group;
    struct unr_op          *member = brew(&broken[0], UNR_CANCEL_ALL);
    unr_start(loop, unr_all(&group, &member, 1), NULL, NULL);
    unr_finish(member, 0);
    must(unr_loop_run(loop) == 0);
    unr_all(&group, &member, 1);
}

static void fill_multishot_poll(void *sqe, void *fd)
{
    io_uring_prep_poll_multishot(sqe, *(int *)fd, POLLIN);
}

/* A multishot operation is given to no combinator. */
BREACH(broken_by_a_members_shot, "shot", "combinator", "multishot")
{
    static struct unr_group group;
    static struct unr_op    poll;
    static int              fd;
    fd = eventfd(1, EFD_CLOEXEC);
    struct unr_op *member = unr_sqe(&poll, "multishot", UNR_CANCEL_ALL, fill_multishot_poll, &fd);
    unr_start(loop, unr_all(&group, &member, 1), NULL, NULL);
    unr_loop_run(loop);
}
