/* SPDX-License-Identifier: MIT */
/* Joins: waiting for what somebody else started, and what that one still gets. */
#include "support.h"

#include <sys/eventfd.h>

TestSuite(join, .init = open_loop, .timeout = 20);

struct joiner {
    struct unr_join   join;
    int               runs;
    struct unr_result result;
    void (*then)(struct joiner *joiner);
    void *context;
};

static int order; /* of `done`: each takes the next number */

static void joined(struct unr_op *op)
{
    struct joiner *joiner = unr_container_of(op, struct joiner, join.op);
    joiner->runs++;
    joiner->result = op->result;
    if (joiner->then)
        joiner->then(joiner);
}

static void join(struct joiner *joiner, struct unr_op *started)
{
    unr_start(loop, unr_join(&joiner->join, started), joined, NULL);
}

static void expect_same(const struct joiner *joiner, const struct unr_result *result)
{
    cr_assert_eq(joiner->runs, 1, "%d runs", joiner->runs);
    cr_assert_eq(joiner->result.error, result->error, "error %d, not %d", joiner->result.error,
                 result->error);
    cr_assert_eq(joiner->result.bytes, result->bytes);
    cr_assert_eq(joiner->result.cause, result->cause);
    cr_assert_eq(joiner->result.requested, result->requested);
    cr_assert_eq(joiner->result.guarantee, result->guarantee);
    cr_assert_eq(joiner->result.verdict, result->verdict);
    cr_assert_eq(joiner->result.fd, -1);
}

static void expect_join_cancelled(const struct joiner *joiner, enum unr_verdict verdict, int cause)
{
    cr_assert_eq(joiner->runs, 1);
    cr_assert_eq(joiner->result.error, -ECANCELED, "error %d", joiner->result.error);
    cr_assert_eq(joiner->result.guarantee, UNR_CANCEL_TOTAL);
    cr_assert_eq(joiner->result.verdict, verdict, "verdict %u", joiner->result.verdict);
    cr_assert_eq(joiner->result.cause, cause, "cause %d", joiner->result.cause);
}

/* An operation that ends when the test says so. */
static void brew_start(struct unr_op *op)
{
    (void)op;
}

static void brew_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)request;
    unr_finish(op, -ECANCELED);
}

static struct unr_op *brew(struct unr_op *op)
{
    static const struct unr_op_type type = { .size = sizeof type,
                                             .supports = UNR_CANCEL_ALL,
                                             .name = "brew",
                                             .start = brew_start,
                                             .cancel = brew_cancel };
    return unr_describe(op, &type);
}

/* ---- what can be joined ---- */

/* A system call: the join has its result, and the operation its own `done`, each once. */
Test(join, waits_for_a_system_call)
{
    struct seen   receive = { 0 };
    struct joiner joiner = { 0 };
    char          in[8];
    int           fds[2];
    unix_pair(fds);
    start(&receive, unr_recv(&receive.op, fds[0], in, sizeof in, 0));
    join(&joiner, &receive.op);
    submit();
    cr_assert_eq(unr_loop_in_flight(loop), 2);
    cr_assert_eq(joiner.runs, 0);
    cr_assert_eq(write(fds[1], "12345", 5), 5);
    run();
    cr_assert_eq(receive.runs, 1);
    cr_assert_eq(receive.result.bytes, 5);
    cr_assert_eq(receive.op.data, &receive);
    expect_same(&joiner, &receive.result);
    close_pair(fds);
    close_loop();
}

/* A timer. */
Test(join, waits_for_a_timer)
{
    struct unr_timer timer = { 0 };
    struct joiner    joiner = { 0 };
    unr_start(loop, unr_timer_after(&timer, UNR_MSEC(1)), NULL, NULL);
    join(&joiner, &timer.op);
    run();
    expect_same(&joiner, &timer.op.result);
    cr_assert_eq(joiner.result.error, 0);
    close_loop();
}

/* A group. */
Test(join, waits_for_a_group)
{
    struct unr_op    members[2] = { 0 };
    struct unr_group group = { 0 };
    struct joiner    joiner = { 0 };
    unr_start(loop, unr_any(&group, (struct unr_op *[]){ brew(&members[0]), brew(&members[1]) }, 2),
              NULL, NULL);
    join(&joiner, &group.op);
    unr_finish(&members[1], 0);
    run();
    cr_assert_eq(joiner.result.value, 1);
    expect_same(&joiner, &group.op.result);
    close_loop();
}

static struct unr_op child;

static void two_steps(struct unr_compose *self, struct unr_op *finished)
{
    self->op.result.bytes++;
    if (self->op.result.bytes == 3)
        unr_compose_end(self, finished->result.error);
    else
        unr_compose_next(self, brew(&child));
}

/* A composed operation, and while it runs its child of the moment. */
Test(join, waits_for_a_composed_operation_and_for_its_child)
{
    struct unr_compose composed = { 0 };
    struct joiner      whole = { 0 }, step = { 0 };
    unr_start(loop, unr_compose(&composed, "compose", UNR_CANCEL_PARTIAL, two_steps), NULL, NULL);
    join(&whole, &composed.op);
    join(&step, &child);
    unr_finish(&child, 0);
    submit();
    cr_assert(step.runs == 1 && whole.runs == 0);
    unr_finish(&child, -EPIPE);
    run();
    cr_assert_eq(step.runs, 1);
    cr_assert_eq(whole.result.bytes, 3);
    cr_assert_eq(whole.result.error, -EPIPE);
    expect_same(&whole, &composed.op.result);
    close_loop();
}

/* A member of a group: the group has it as well, and its condition is asked. */
Test(join, waits_for_a_member_of_a_group)
{
    struct unr_op    members[2] = { 0 };
    struct unr_group group = { 0 };
    struct joiner    winner = { 0 }, loser = { 0 };
    unr_start(loop, unr_any(&group, (struct unr_op *[]){ brew(&members[0]), brew(&members[1]) }, 2),
              NULL, NULL);
    join(&winner, &members[1]);
    join(&loser, &members[0]);
    unr_finish(&members[1], 0);
    run();
    expect_same(&winner, &members[1].result);
    expect_same(&loser, &members[0].result);
    cr_assert_eq(loser.result.error, -ECANCELED);
    cr_assert_eq(group.op.result.error, 0);
    cr_assert_eq(group.op.result.value, 1);
    cr_assert_eq(unr_group_first(&group), &members[1]);
    cr_assert_eq(unr_group_next(&members[1]), &members[0]);
    close_loop();
}

/* A member of a scope, whose `done` is its own; the scope counts it. */
Test(join, waits_for_a_member_of_a_scope)
{
    struct seen      member = { 0 };
    struct unr_scope scope = { 0 };
    struct joiner    first = { 0 }, second = { 0 };
    unr_start(loop, unr_scope(&scope), NULL, NULL);
    unr_scope_start(&scope, brew(&member.op), saw, &member);
    join(&first, &member.op);
    join(&second, &member.op);
    unr_scope_close(&scope);
    unr_cancel_cause(&scope.op, UNR_CANCEL_ALL, -71);
    run();
    expect_cancelled(&member, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -71);
    expect_same(&first, &member.result);
    expect_same(&second, &member.result);
    cr_assert_eq(scope.op.result.value, 1);
    cr_assert_eq(scope.op.result.error, -ECANCELED);
    close_loop();
}

/* A sibling in the same group. */
Test(join, waits_for_its_sibling_in_a_group)
{
    struct unr_op    op = { 0 };
    struct unr_join  waits = { 0 };
    struct unr_group group = { 0 };
    for (int how = 0; how < 2; how++) {
        unr_start(loop, unr_all(&group, (struct unr_op *[]){ brew(&op), unr_join(&waits, &op) }, 2),
                  NULL, NULL);
        if (how)
            unr_cancel_cause(&group.op, UNR_CANCEL_ALL, -71);
        else
            unr_finish(&op, 0);
        run();
        cr_assert_eq(unr_outcome(&group.op.result), how ? -71 : 0);
        cr_assert_eq(waits.op.result.error, op.result.error);
    }
    close_loop();
}

/* Another join. */
Test(join, waits_for_a_join)
{
    struct seen   op = { 0 };
    struct joiner first = { 0 }, second = { 0 };
    start(&op, brew(&op.op));
    join(&first, &op.op);
    join(&second, &first.join.op);
    unr_finish(&op.op, -EPIPE);
    run();
    expect_same(&first, &op.result);
    expect_same(&second, &op.result);
    close_loop();
}

/* What ended before the join: it ends at once, with the result that is there, as often as it is
 * asked. */
Test(join, of_what_has_ended_already_ends_at_once)
{
    struct seen   op = { 0 };
    struct joiner joiner = { 0 };
    start(&op, brew(&op.op));
    unr_cancel_cause(&op.op, UNR_CANCEL_ALL, -77);
    run();
    for (int i = 0; i < 3; i++) {
        joiner.runs = 0;
        join(&joiner, &op.op);
        cr_assert_eq(joiner.runs, 0);
        run();
        expect_same(&joiner, &op.result);
        cr_assert_eq(unr_outcome(&joiner.result), -77);
    }
    cr_assert_eq(op.runs, 1);
    close_loop();
}

/* What has ended, and whose `done` has not run yet: the join has what that one is going to see, a
 * late request included. */
Test(join, between_the_end_and_done)
{
    struct seen   op = { 0 };
    struct joiner joiner = { 0 };
    start(&op, brew(&op.op));
    unr_finish(&op.op, -EPIPE);
    join(&joiner, &op.op);
    cr_assert(unr_cancel_cause(&op.op, UNR_CANCEL_TOTAL, -77));
    run();
    cr_assert_eq(op.runs, 1);
    cr_assert_eq(op.result.verdict, UNR_VERDICT_TOO_LATE);
    expect_same(&joiner, &op.result);
    close_loop();
}

static void join_it(struct seen *seen)
{
    join(seen->context, &seen->op);
}

/* Inside its `done`. */
Test(join, inside_the_done_of_what_is_joined)
{
    struct joiner joiner = { 0 };
    struct seen   op = { .then = join_it, .context = &joiner };
    start(&op, brew(&op.op));
    unr_finish(&op.op, -EPIPE);
    run();
    expect_same(&joiner, &op.result);
    close_loop();
}

/* A descriptor is its owner's: in the `done` of what is joined, and not in the join. */
Test(join, leaves_the_descriptor_to_its_owner)
{
    struct seen   opens = { 0 };
    struct joiner before = { 0 }, after = { 0 };
    start(&opens, unr_socket(&opens.op, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    join(&before, &opens.op);
    run();
    cr_assert_geq(opens.result.fd, 0);
    join(&after, &opens.op);
    run();
    cr_assert_eq(before.result.fd, -1);
    cr_assert_eq(after.result.fd, -1);
    cr_assert(before.result.error == 0 && after.result.error == 0);
    close(opens.result.fd);
    close_loop();
}

/* A joined operation without a `done`: its result stays in it. */
Test(join, of_an_operation_without_a_done)
{
    struct unr_op op = { 0 };
    struct joiner joiner = { 0 };
    unr_start(loop, unr_socket(&op, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), NULL, NULL);
    join(&joiner, &op);
    run();
    cr_assert_geq(op.result.fd, 0);
    cr_assert_eq(joiner.runs, 1);
    close(op.result.fd);
    close_loop();
}

/* ---- several joins, and order ---- */

struct ordered {
    struct seen   op;
    struct joiner joiners[4];
    int           at[5]; /* when each `done` ran; the last is the operation's */
};

static void number_op(struct seen *seen)
{
    *(int *)seen->context = ++order;
}

static void number_join(struct joiner *joiner)
{
    *(int *)joiner->context = ++order;
}

static void start_ordered(struct ordered *ordered)
{
    memset(ordered, 0, sizeof *ordered);
    order = 0;
    ordered->op.then = number_op;
    ordered->op.context = &ordered->at[4];
    start(&ordered->op, brew(&ordered->op.op));
    for (int i = 0; i < 4; i++) {
        ordered->joiners[i].then = number_join;
        ordered->joiners[i].context = &ordered->at[i];
        join(&ordered->joiners[i], &ordered->op.op);
    }
}

/* Any number of joins wait for one operation; all of them, and its `done`, run once and in one
 * turn. */
Test(join, several_of_one_operation)
{
    struct ordered ordered;
    start_ordered(&ordered);
    cr_assert_eq(unr_loop_in_flight(loop), 5);
    unr_finish(&ordered.op.op, -EPIPE);
    cr_assert_eq(unr_loop_run_once(loop, 0), 5);
    for (int i = 0; i < 4; i++)
        expect_same(&ordered.joiners[i], &ordered.op.result);
    cr_assert_eq(ordered.op.runs, 1);
    cr_assert_eq(order, 5);
    close_loop();
}

static void *deepest;

static void expect_to_be_next(struct joiner *joiner)
{
    cr_assert_eq(joiner->context, (void *)(uintptr_t)order, "%d", order);
    order++;
}

static void note_depth(struct seen *seen)
{
    (void)seen;
    deepest = __builtin_frame_address(0);
}

/* A hundred thousand joins of one operation end in one turn and in the order in which they came,
 * and none of them costs stack. */
Test(join, a_hundred_thousand_of_one_operation)
{
    enum { N = 100000, STACK = 65536 };
    struct seen    op = { .then = note_depth };
    struct joiner *joiners = calloc(N, sizeof *joiners);
    order = 0;
    start(&op, brew(&op.op));
    for (int i = 0; i < N; i++) {
        joiners[i].then = expect_to_be_next;
        joiners[i].context = (void *)(uintptr_t)i;
        join(&joiners[i], &op.op);
    }
    unr_finish(&op.op, -EPIPE);
    cr_assert_eq(unr_loop_run_once(loop, 0), N + 1);
    cr_assert_eq(op.runs, 1);
    for (int i = 0; i < N; i++)
        expect_same(&joiners[i], &op.result);
    ptrdiff_t depth = (char *)__builtin_frame_address(0) - (char *)deepest;
    cr_assert(depth > 0 && depth < STACK, "%td bytes of stack", depth);
    free(joiners);
    close_loop();
}

/* Joins are cancelled in any place of the line and in any order; the others and the operation know
 * nothing of it. */
Test(join, several_of_which_some_are_cancelled)
{
    for (unsigned gone = 1; gone < 16; gone++)
        for (int backwards = 0; backwards < 2; backwards++) {
            struct ordered ordered;
            start_ordered(&ordered);
            for (int i = 0; i < 4; i++) {
                int which = backwards ? 3 - i : i;
                if (gone & 1u << which)
                    cr_assert(unr_cancel_cause(&ordered.joiners[which].join.op, UNR_CANCEL_TOTAL,
                                               -71 - which));
            }
            submit();
            for (int i = 0; i < 4; i++)
                cr_assert_eq(ordered.joiners[i].runs, gone >> i & 1);
            cr_assert(unr_in_flight(&ordered.op.op));
            unr_finish(&ordered.op.op, -EPIPE);
            run();
            cr_assert_eq(ordered.op.runs, 1);
            cr_assert_eq(ordered.op.result.error, -EPIPE);
            cr_assert_eq(ordered.op.result.requested, 0);
            for (int i = 0; i < 4; i++)
                if (gone & 1u << i)
                    expect_join_cancelled(&ordered.joiners[i], UNR_VERDICT_CANCELLED, -71 - i);
                else
                    expect_same(&ordered.joiners[i], &ordered.op.result);
        }
    close_loop();
}

/* The same where the operation is a group's member, and where its joins were joined behind a
 * cancelled one. */
Test(join, several_of_a_member_of_which_some_are_cancelled)
{
    for (unsigned gone = 0; gone < 8; gone++) {
        struct unr_op    member = { 0 };
        struct unr_group group = { 0 };
        struct joiner    joiners[3] = { 0 }, late = { 0 };
        unr_start(loop, unr_all(&group, (struct unr_op *[]){ brew(&member) }, 1), NULL, NULL);
        for (int i = 0; i < 3; i++)
            join(&joiners[i], &member);
        for (int i = 0; i < 3; i++)
            if (gone & 1u << i)
                unr_cancel(&joiners[i].join.op, UNR_CANCEL_ALL);
        join(&late, &member);
        unr_finish(&member, -EPIPE);
        run();
        cr_assert_eq(group.op.result.error, -EPIPE);
        expect_same(&late, &member.result);
        for (int i = 0; i < 3; i++)
            cr_assert_eq(joiners[i].result.error, gone & 1u << i ? -ECANCELED : -EPIPE);
    }
    close_loop();
}

/* ---- requests ---- */

/* Cancelling the join ends the wait alone, TOTAL: the receive goes on, and the bytes arrive at its
 * own `done`. */
Test(join, cancelled_leaves_the_operation_running)
{
    struct seen       receive = { 0 };
    struct joiner     joiner = { 0 };
    struct unr_signal signal = { 0 };
    char              in[8];
    int               fds[2];
    unix_pair(fds);
    start(&receive, unr_recv(&receive.op, fds[0], in, sizeof in, 0));
    unr_start(loop, unr_bind_slot(unr_join(&joiner.join, &receive.op), unr_signal_slot(&signal)),
              joined, NULL);
    submit();
    cr_assert(unr_signal_emit_cause(&signal, UNR_CANCEL_TOTAL, -71));
    submit();
    expect_join_cancelled(&joiner, UNR_VERDICT_CANCELLED, -71);
    cr_assert(unr_in_flight(&receive.op));
    cr_assert_eq(write(fds[1], "12345", 5), 5);
    run();
    cr_assert_eq(receive.result.bytes, 5);
    cr_assert_eq(receive.result.requested, 0);
    cr_assert_eq(joiner.runs, 1);
    close_pair(fds);
    close_loop();
}

/* It supports all types, and each of them alone ends the wait. */
Test(join, honours_each_type)
{
    struct seen op = { 0 };
    start(&op, brew(&op.op));
    for (unsigned type = UNR_CANCEL_TERMINAL; type <= UNR_CANCEL_TOTAL; type <<= 1) {
        struct joiner joiner = { 0 };
        cr_assert_eq(unr_supports(unr_join(&joiner.join, &op.op)), UNR_CANCEL_ALL);
        unr_start(loop, &joiner.join.op, joined, NULL);
        cr_assert(unr_cancel_cause(&joiner.join.op, type, -71));
        submit();
        expect_join_cancelled(&joiner, UNR_VERDICT_CANCELLED, -71);
    }
    unr_finish(&op.op, 0);
    run();
    cr_assert_eq(op.runs, 1);
    close_loop();
}

/* A latched request ends it before it begins, and the operation knows nothing. */
Test(join, cancelled_before_it_begins)
{
    struct seen       op = { 0 };
    struct joiner     joiner = { 0 };
    struct unr_signal stop = { 0 };
    unr_signal_init_latched(&stop);
    unr_signal_emit_cause(&stop, UNR_CANCEL_ALL, -71);
    start(&op, brew(&op.op));
    unr_start(loop, unr_bind_slot(unr_join(&joiner.join, &op.op), unr_signal_slot(&stop)), joined,
              NULL);
    unr_finish(&op.op, 0);
    run();
    expect_join_cancelled(&joiner, UNR_VERDICT_UNSUBMITTED, -71);
    cr_assert(op.runs == 1 && op.result.error == 0);
    close_loop();
}

/* The joined operation is cancelled: both say so, the join with that one's cause and verdict. */
Test(join, mirrors_the_cancellation_of_what_is_joined)
{
    struct seen   receive = { 0 };
    struct joiner joiner = { 0 };
    char          in;
    int           fds[2];
    unix_pair(fds);
    start(&receive, unr_recv(&receive.op, fds[0], &in, 1, 0));
    join(&joiner, &receive.op);
    submit();
    cr_assert(unr_cancel_cause(&receive.op, UNR_CANCEL_TOTAL, -77));
    run();
    expect_cancelled(&receive, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -77);
    expect_same(&joiner, &receive.result);
    close_pair(fds);
    close_loop();
}

/* Both end in one turn, the join cancelled and the operation completed, in each order. */
Test(join, cancelled_in_the_turn_in_which_the_operation_ends)
{
    for (int end_first = 0; end_first < 2; end_first++) {
        struct seen   op = { 0 };
        struct joiner joiner = { 0 };
        start(&op, brew(&op.op));
        join(&joiner, &op.op);
        if (end_first)
            unr_finish(&op.op, -EPIPE);
        cr_assert(unr_cancel_cause(&joiner.join.op, UNR_CANCEL_TOTAL, -71));
        if (!end_first)
            unr_finish(&op.op, -EPIPE);
        run();
        cr_assert(op.runs == 1 && op.result.error == -EPIPE && op.result.requested == 0);
        expect_join_cancelled(&joiner, UNR_VERDICT_CANCELLED, -71);
    }
    close_loop();
}

static void cancel_the_join(struct seen *seen)
{
    struct joiner *joiner = seen->context;
    cr_assert_eq(joiner->runs, 0);
    cr_assert(unr_in_flight(&joiner->join.op));
    cr_assert(unr_cancel_cause(&joiner->join.op, UNR_CANCEL_TOTAL, -71));
}

/* In the `done` of what it waits for it is too late to cancel the join, which has that one's
 * result. */
Test(join, cancelled_in_the_done_of_what_is_joined_is_too_late)
{
    struct joiner joiner = { 0 };
    struct seen   op = { .then = cancel_the_join, .context = &joiner };
    start(&op, brew(&op.op));
    join(&joiner, &op.op);
    unr_finish(&op.op, 0);
    run();
    cr_assert_eq(joiner.runs, 1);
    cr_assert_eq(joiner.result.error, 0);
    cr_assert_eq(joiner.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(joiner.result.cause, -71);
    cr_assert_eq(joiner.result.requested, UNR_CANCEL_TOTAL);
    close_loop();
}

/* ---- memory ---- */

static void free_it(struct unr_op *op)
{
    ++*(int *)op->data;
    free(op);
}

/* The joined operation may be freed in its `done`, which runs before the joins' own. */
Test(join, done_of_what_is_joined_frees_it)
{
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        int            freed = 0;
        struct unr_op *op = calloc(1, sizeof *op);
        struct joiner  joiners[2] = { 0 };
        unr_start(loop, brew(op), free_it, &freed);
        join(&joiners[0], op);
        join(&joiners[1], op);
        if (cancelled)
            unr_cancel(&joiners[0].join.op, UNR_CANCEL_ALL);
        unr_finish(op, -EPIPE);
        run();
        cr_assert_eq(freed, 1);
        cr_assert_eq(joiners[1].result.error, -EPIPE);
    }
    close_loop();
}

static void free_joiner(struct joiner *joiner)
{
    ++*(int *)joiner->context;
    free(joiner);
}

/* A join may be freed in its `done`, ended or cancelled, with others in the line before it and
 * behind. */
Test(join, freed_in_its_done)
{
    for (int cancelled = 0; cancelled < 8; cancelled++) {
        int            freed = 0;
        struct seen    op = { 0 };
        struct joiner *joiners[3];
        start(&op, brew(&op.op));
        for (int i = 0; i < 3; i++) {
            joiners[i] = calloc(1, sizeof *joiners[i]);
            joiners[i]->then = free_joiner;
            joiners[i]->context = &freed;
            join(joiners[i], &op.op);
        }
        for (int i = 0; i < 3; i++)
            if (cancelled & 1 << i)
                unr_cancel(&joiners[i]->join.op, UNR_CANCEL_ALL);
        submit();
        unr_finish(&op.op, 0);
        run();
        cr_assert_eq(freed, 3);
        cr_assert_eq(op.runs, 1);
    }
    close_loop();
}

static void start_over(struct seen *seen)
{
    int *left = seen->context;
    if ((*left)-- > 0)
        start(seen, brew(&seen->op));
}

/* In its `done` the joined operation may be started again: the join has the result of the time that
 * it waited for. */
Test(join, done_of_what_is_joined_starts_it_again)
{
    int           left = 1;
    struct seen   op = { .then = start_over, .context = &left };
    struct joiner first = { 0 }, second = { 0 };
    start(&op, brew(&op.op));
    join(&first, &op.op);
    unr_finish(&op.op, -EPIPE);
    submit();
    cr_assert_eq(first.runs, 1);
    cr_assert_eq(first.result.error, -EPIPE);
    join(&second, &op.op);
    unr_finish(&op.op, -EIO);
    run();
    cr_assert_eq(first.runs, 1);
    cr_assert_eq(second.result.error, -EIO);
    close_loop();
}

/* ---- combined, closed ---- */

/* A join beside a timer: waiting for somebody else's operation, but not for ever; it is not
 * disturbed. */
Test(join, beside_a_timer)
{
    for (int in_time = 0; in_time < 2; in_time++) {
        struct seen      receive = { 0 };
        struct unr_join  waits = { 0 };
        struct unr_timer timer = { 0 };
        struct unr_group group = { 0 };
        char             in[4];
        int              fds[2];
        unix_pair(fds);
        start(&receive, unr_recv(&receive.op, fds[0], in, sizeof in, 0));
        unr_start(loop,
                  unr_any(&group,
                          (struct unr_op *[]){
                              unr_join(&waits, &receive.op),
                              unr_timer_after(&timer, in_time ? UNR_SEC(3600) : UNR_MSEC(1)) },
                          2),
                  NULL, NULL);
        submit();
        if (in_time)
            cr_assert_eq(write(fds[1], "123", 3), 3);
        while (unr_in_flight(&group.op))
            cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
        cr_assert_eq(group.op.result.error, 0);
        cr_assert_eq(group.op.result.value, !in_time);
        cr_assert_eq(receive.runs, in_time);
        if (!in_time) {
            cr_assert(unr_in_flight(&receive.op));
            cr_assert_eq(waits.op.result.error, -ECANCELED);
            cr_assert_eq(write(fds[1], "123", 3), 3);
        }
        run();
        cr_assert_eq(receive.result.bytes, 3);
        close_pair(fds);
    }
    close_loop();
}

/* A deadline around a join: the wait reads -ETIMEDOUT, and the operation goes on. */
Test(join, inside_a_deadline)
{
    struct seen         op = { 0 };
    struct unr_join     waits = { 0 };
    struct unr_deadline deadline = { 0 };
    start(&op, brew(&op.op));
    unr_start(loop, unr_cancel_after(&deadline, unr_join(&waits, &op.op), UNR_MSEC(1)), NULL, NULL);
    while (unr_in_flight(&deadline.op))
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    cr_assert_eq(unr_outcome(&deadline.op.result), -ETIMEDOUT);
    cr_assert(unr_in_flight(&op.op));
    unr_finish(&op.op, 0);
    run();
    cr_assert_eq(op.runs, 1);
    close_loop();
}

/* Closing the loop ends joins and what they wait for, whichever it comes to first. */
Test(join, closing_the_loop)
{
    struct seen   receive = { 0 }, op = { 0 };
    struct joiner joiners[4] = { 0 };
    char          in;
    int           fds[2];
    unix_pair(fds);
    start(&receive, unr_recv(&receive.op, fds[0], &in, 1, 0));
    start(&op, brew(&op.op));
    for (int i = 0; i < 4; i++)
        join(&joiners[i], i % 2 ? &receive.op : &op.op);
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&receive, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    expect_cancelled(&op, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    for (int i = 0; i < 4; i++)
        expect_join_cancelled(&joiners[i], UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    close_pair(fds);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

static void join_while_closing(struct seen *seen)
{
    join(seen->context, &seen[1].op);
}

/* A join that is started while the loop is being closed ends before it begins. */
Test(join, started_while_the_loop_closes)
{
    struct joiner joiner = { 0 };
    struct seen   ops[2] = { [0] = { .then = join_while_closing, .context = &joiner } };
    start(&ops[0], brew(&ops[0].op));
    start(&ops[1], brew(&ops[1].op));
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert(ops[0].runs == 1 && ops[1].runs == 1);
    expect_join_cancelled(&joiner, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
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
    Test(join, name)                                                                               \
    {                                                                                              \
        struct death death = in_child(name##_in_child, NULL);                                      \
        expect_abort(&death, (const char *const[]){ "unring: broken contract:",                    \
                                                    "unring: the rule:", __VA_ARGS__, NULL });     \
        close_loop();                                                                              \
    }                                                                                              \
    static void name(void)

static struct unr_op   broken;
static struct unr_join waiting;

/* What is only described is not waited for: nobody may ever start it. */
BREACH(broken_by_a_join_of_what_is_only_described, "joined though it is not started", "brew",
       "in flight, or reads an idle one")
{
    unr_start(loop, unr_join(&waiting, brew(&broken)), NULL, NULL);
}

/* Nor what a combinator holds and has not started. */
BREACH(broken_by_a_join_of_what_a_group_holds, "joined though it is not started", "brew")
{
    static struct unr_group group;
    unr_all(&group, (struct unr_op *[]){ brew(&broken) }, 1);
    unr_start(loop, unr_join(&waiting, &broken), NULL, NULL);
}

/* A join is started on the loop of what it waits for. */
BREACH(broken_by_a_join_from_another_loop, "joined from another loop", "brew",
       "the loop of the operation")
{
    struct unr_loop *other;
    must(unr_loop_open(&other, NULL) == 0);
    unr_start(loop, brew(&broken), NULL, NULL);
    unr_start(other, unr_join(&waiting, &broken), NULL, NULL);
}
