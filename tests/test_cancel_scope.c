/* SPDX-License-Identifier: MIT */
/* Cancel scopes: whose request ends what, and who is told.  Fibers themselves are in
 * test_fiber.c. */
#include "../lib/loop/loop.h"
#include "support.h"

#include <sys/mman.h>

TestSuite(cancel_scope, .init = open_loop, .timeout = 20);
TestSuite(cancel_scope_contract, .timeout = 20);

enum {
    CAUSE = -60, /* of a request from outside; a scope at depth n has CAUSE - n */
    DEPTH = 3
};

/* A fiber in one of these tests. */
struct play {
    struct unr_fiber        fiber;
    struct seen             seen;
    int                     fds[2]; /* it receives from [0] */
    struct unr_op           child;
    struct unr_cancel_scope scopes[DEPTH + 1]; /* from 1 on */
    int                     errors[DEPTH + 1]; /* as they were left */
    int                     how, error, step;
};

static void begin(struct play *p, unr_fiber_fn *fn)
{
    unix_pair(p->fds);
    start(&p->seen, unr_fiber(&p->fiber, fn, p));
    submit();
}

static void ask(struct play *p, int level)
{
    if (level == 0)
        cr_assert(unr_cancel_cause(&p->fiber.op, UNR_CANCEL_TERMINAL, CAUSE));
    else
        cr_assert(unr_cancel_scope_cancel(&p->scopes[level], UNR_CANCEL_TERMINAL, CAUSE - level));
}

static void finish_play(struct play *p)
{
    run();
    cr_assert_eq(p->seen.runs, 1);
    close_pair(p->fds);
}

static struct unr_result receive(struct play *p)
{
    static char byte;
    return unr_await(unr_recv(&p->child, p->fds[0], &byte, 1, 0));
}

static void give(struct play *p)
{
    cr_assert_eq(write(p->fds[1], "x", 1), 1);
}

/* ---- whose cancellation it was ---- */

static int in_three(void *argument)
{
    struct play *p = argument;
    for (int i = 1; i <= DEPTH; i++)
        unr_cancel_scope_enter(&p->scopes[i]);
    struct unr_result r = receive(p);
    cr_assert_eq(r.error, -ECANCELED);
    cr_assert_neq(unr_fiber_cancelled(), 0);
    int error = p->how ? unr_outcome(&r) : r.error;
    for (int i = DEPTH; i > 0; i--)
        error = p->errors[i] = unr_cancel_scope_leave(&p->scopes[i], error);
    return error;
}

/* The levels `asked`, in this order; the block returns -ECANCELED, or the cause that it saw. */
static void three_deep(const int *asked, int n, int how)
{
    struct play p = { .how = how };
    int         outermost = DEPTH;
    begin(&p, in_three);
    for (int i = 0; i < n; i++) {
        ask(&p, asked[i]);
        if (asked[i] < outermost)
            outermost = asked[i];
    }
    finish_play(&p);
    for (int i = DEPTH; i > 0; i--) {
        int expected = i > outermost ? -ECANCELED : CAUSE - outermost;
        cr_assert_eq(p.errors[i], expected, "scope %d: %d, not %d", i, p.errors[i], expected);
        cr_assert_eq(unr_cancel_scope_caught(&p.scopes[i]), i == outermost);
        cr_assert_not(unr_cancel_scope_cancel(&p.scopes[i], UNR_CANCEL_ALL, -1), "it was left");
    }
    if (outermost == 0) {
        expect_cancelled(&p.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, CAUSE);
    } else {
        cr_assert_eq(p.seen.result.error, CAUSE - outermost);
        cr_assert_eq(p.seen.result.verdict, UNR_VERDICT_NONE);
    }
}

static void permute(int *asked, int n, int how)
{
    if (n > 0)
        three_deep(asked, n, how);
    for (int level = 0; level <= DEPTH; level++) {
        bool is_new = true;
        for (int i = 0; i < n; i++)
            is_new &= asked[i] != level;
        if (is_new) {
            asked[n] = level;
            permute(asked, n + 1, how);
        }
    }
}

/* Three scopes and the fiber around them, each asked or not, in each order: the outermost that was
 * asked catches, and what is further in is told -ECANCELED, which is not its own. */
Test(cancel_scope, three_deep_each_asked_in_each_order)
{
    int asked[DEPTH + 1];
    permute(asked, 0, 0);
    permute(asked, 0, 1);
    close_loop();
}

static int in_one(void *argument)
{
    struct play *p = argument;
    unr_cancel_scope_enter(&p->scopes[1]);
    (void)receive(p);
    p->errors[1] = unr_cancel_scope_leave(&p->scopes[1], p->error);
    return 0;
}

/* What leaving says, by who was asked and how the block ended. */
Test(cancel_scope, whose_cancellation_it_was)
{
    enum { OWN = 1, OUTSIDE = 2 };
    static const struct {
        int who, own_cause, error, left, caught;
    } rows[] = {
        { 0, 0, 0, 0, 0 },
        { 0, 0, 5, 5, 0 },
        { 0, 0, -EIO, -EIO, 0 },
        { 0, 0, -ECANCELED, -ECANCELED, 0 }, /* of something else */
        { OWN, -61, 0, 0, 0 },
        { OWN, -61, 5, 5, 0 },
        { OWN, -61, -EIO, -EIO, 0 },
        { OWN, -61, -ECANCELED, -61, 1 },
        { OWN, -61, -61, -61, 1 },
        { OWN, -61, CAUSE, CAUSE, 0 },
        { OWN, -ECANCELED, -ECANCELED, 0, 1 },
        { OWN, -ECANCELED, 0, 0, 0 },
        { OWN, -ECANCELED, -EIO, -EIO, 0 },
        { OUTSIDE, 0, 0, 0, 0 },
        { OUTSIDE, 0, -EIO, -EIO, 0 },
        { OUTSIDE, 0, -ECANCELED, -ECANCELED, 0 },
        { OUTSIDE, 0, CAUSE, -ECANCELED, 0 },
        { OWN | OUTSIDE, -61, 0, 0, 0 },
        { OWN | OUTSIDE, -61, -EIO, -EIO, 0 },
        { OWN | OUTSIDE, -61, -61, -ECANCELED, 0 },
        { OWN | OUTSIDE, -61, -ECANCELED, -ECANCELED, 0 },
        { OWN | OUTSIDE, -ECANCELED, -ECANCELED, -ECANCELED, 0 },
    };
    for (size_t i = 0; i < LENGTH(rows); i++) {
        struct play p = { .error = rows[i].error };
        begin(&p, in_one);
        if (rows[i].who & OWN)
            cr_assert(unr_cancel_scope_cancel(&p.scopes[1], UNR_CANCEL_ALL, rows[i].own_cause));
        if (rows[i].who & OUTSIDE)
            ask(&p, 0);
        cr_assert_eq(unr_cancel_scope_cause(&p.scopes[1]), rows[i].own_cause);
        if (!rows[i].who)
            give(&p);
        finish_play(&p);
        cr_assert_eq(p.errors[1], rows[i].left, "row %zu: %d", i, p.errors[1]);
        cr_assert_eq(unr_cancel_scope_caught(&p.scopes[1]), rows[i].caught, "row %zu", i);
        cr_assert_eq(unr_cancel_scope_cause(&p.scopes[1]), rows[i].own_cause);
    }
    close_loop();
}

/* A request from outside wins over the scope's own, whichever came first. */
Test(cancel_scope, the_outer_one_wins)
{
    for (int first = 0; first < 2; first++) {
        struct play p = { .error = -ECANCELED };
        begin(&p, in_one);
        ask(&p, first);
        ask(&p, 1 - first);
        finish_play(&p);
        cr_assert_eq(p.errors[1], -ECANCELED);
        cr_assert_not(unr_cancel_scope_caught(&p.scopes[1]));
        cr_assert_eq(p.child.result.cause, first ? CAUSE - 1 : CAUSE, "the wait saw the first");
    }
    close_loop();
}

static int with_time_out(struct play *p, unr_time when)
{
    unr_cancel_scope_enter_at(&p->scopes[2], when);
    struct unr_result r = receive(p);
    return unr_cancel_scope_leave(&p->scopes[2], unr_outcome(&r));
}

static int calls_with_time_out(void *argument)
{
    struct play *p = argument;
    unr_cancel_scope_enter_after(&p->scopes[1], p->how ? 0 : UNR_SEC(1000));
    p->errors[2] = with_time_out(p, p->how > 1 ? UNR_NEVER : 1);
    cr_assert_eq(unr_fiber_cancelled(), p->how ? -ETIMEDOUT : 0);
    p->errors[1] = unr_cancel_scope_leave(&p->scopes[1], p->errors[2]);
    return p->errors[1];
}

/* A function's own deadline is an error to its caller, and not the caller's deadline; and the
 * caller's is not reported as the function's, whether the function has one that passes, too, or
 * none. */
Test(cancel_scope, the_inner_deadline_is_not_the_callers)
{
    for (int how = 0; how < 3; how++) {
        struct play p = { .how = how };
        begin(&p, calls_with_time_out);
        finish_play(&p);
        cr_assert_eq(p.errors[2], how ? -ECANCELED : -ETIMEDOUT);
        cr_assert_eq(unr_cancel_scope_caught(&p.scopes[2]), !how);
        cr_assert_eq(p.errors[1], -ETIMEDOUT);
        cr_assert_eq(unr_cancel_scope_caught(&p.scopes[1]), how > 0);
        cr_assert_eq(unr_cancel_scope_cause(&p.scopes[1]), how ? -ETIMEDOUT : 0);
        cr_assert_eq(p.seen.result.error, -ETIMEDOUT);
        cr_assert_not(unr_timed_out(&p.seen.result), "nobody has asked the fiber");
    }
    close_loop();
}

static int computes(void *argument)
{
    struct play *p = argument;
    unr_cancel_scope_enter(&p->scopes[1]);
    unr_cancel_scope_enter(&p->scopes[2]);
    cr_assert_eq(unr_fiber_cancelled(), 0);
    cr_assert(unr_cancel_scope_cancel(&p->scopes[1], UNR_CANCEL_TOTAL, -61));
    cr_assert_eq(unr_fiber_cancelled(), -61);
    cr_assert_eq(unr_yield(), -61);
    p->errors[2] = unr_cancel_scope_leave(&p->scopes[2], -61);
    cr_assert_eq(unr_fiber_cancelled(), -61);
    p->errors[1] = unr_cancel_scope_leave(&p->scopes[1], p->errors[2]);
    cr_assert_eq(unr_fiber_cancelled(), 0);
    return unr_yield();
}

/* A fiber asks a scope that it is in itself; behind the scope it goes on. */
Test(cancel_scope, asked_by_the_fiber_that_is_in_it)
{
    struct play p = { 0 };
    begin(&p, computes);
    finish_play(&p);
    cr_assert_eq(p.errors[2], -ECANCELED);
    cr_assert_eq(p.errors[1], -61);
    cr_assert_eq(p.seen.result.error, 0);
    close_loop();
}

static int enters_cancelled(void *argument)
{
    struct play *p = argument;
    cr_assert_eq(receive(p).error, -ECANCELED);
    unr_cancel_scope_enter(&p->scopes[1]);
    cr_assert_eq(unr_fiber_cancelled(), CAUSE);
    cr_assert_eq(unr_yield(), CAUSE);
    p->errors[1] = unr_cancel_scope_leave(&p->scopes[1], CAUSE);
    return p->errors[1];
}

/* A scope that is entered when its fiber was cancelled is cancelled from outside. */
Test(cancel_scope, entered_by_a_cancelled_fiber)
{
    struct play p = { 0 };
    begin(&p, enters_cancelled);
    ask(&p, 0);
    finish_play(&p);
    cr_assert_eq(p.errors[1], -ECANCELED);
    expect_cancelled(&p.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, CAUSE);
    close_loop();
}

/* ---- shields ---- */

static int cleans_up(void *argument)
{
    struct play      *p = argument;
    struct unr_op     op = { 0 };
    struct unr_result r = receive(p);
    cr_assert_eq(r.error, -ECANCELED);
    unr_cancel_scope_enter_shield(&p->scopes[1], UNR_SEC(1000));
    cr_assert_eq(unr_fiber_cancelled(), 0);
    cr_assert_eq(unr_await_value(unr_send(&op, p->fds[0], "bye", 3, 0)), 3);
    cr_assert_eq(unr_sleep(1), 0);
    p->errors[1] = unr_cancel_scope_leave(&p->scopes[1], 0);
    cr_assert_eq(unr_await_value(unr_send(&op, p->fds[0], "bye", 3, 0)), CAUSE);
    return r.error;
}

/* A fiber that was cancelled says good-bye behind a shield; in front of it, nothing begins. */
Test(cancel_scope, a_shield_lets_clean_up_do_io)
{
    struct play p = { 0 };
    begin(&p, cleans_up);
    ask(&p, 0);
    run();
    cr_assert_eq(p.errors[1], 0);
    cr_assert_eq(drain(p.fds[1]), 3);
    expect_cancelled(&p.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, CAUSE);
    close_pair(p.fds);
    close_loop();
}

static int is_shielded(void *argument)
{
    struct play *p = argument;
    unr_cancel_scope_enter(&p->scopes[1]);
    unr_cancel_scope_enter_shield(&p->scopes[2], UNR_NEVER);
    cr_assert_eq(receive(p).error, 0);
    cr_assert_eq(unr_fiber_cancelled(), 0);
    p->errors[2] = unr_cancel_scope_leave(&p->scopes[2], 0);
    p->error = unr_fiber_cancelled();
    cr_assert_eq(unr_yield(), p->error);
    p->errors[1] = unr_cancel_scope_leave(&p->scopes[1], p->error);
    return p->errors[1];
}

/* What comes during a shield waits outside: for the fiber, or for a scope between. */
Test(cancel_scope, a_request_that_came_during_a_shield_counts_after_it)
{
    for (int level = 0; level < 2; level++) {
        struct play p = { 0 };
        begin(&p, is_shielded);
        ask(&p, level);
        submit();
        cr_assert_eq(p.seen.runs, 0);
        give(&p);
        finish_play(&p);
        cr_assert_eq(p.child.result.requested, 0);
        cr_assert_eq(p.errors[2], 0);
        cr_assert_eq(p.error, CAUSE - level);
        cr_assert_eq(p.errors[1], level ? CAUSE - 1 : -ECANCELED);
        cr_assert_eq(p.seen.result.error, level ? CAUSE - 1 : -ECANCELED);
    }
    close_loop();
}

static int asked_shield(void *argument)
{
    struct play *p = argument;
    unr_cancel_scope_enter_shield(&p->scopes[1], UNR_NEVER);
    struct unr_result r = receive(p);
    p->errors[1] = unr_cancel_scope_leave(&p->scopes[1], r.error);
    return p->errors[1];
}

/* A shield keeps out nothing of its own. */
Test(cancel_scope, a_shield_is_asked_itself)
{
    struct play p = { 0 };
    begin(&p, asked_shield);
    ask(&p, 1);
    finish_play(&p);
    cr_assert_eq(p.errors[1], CAUSE - 1);
    cr_assert(unr_cancel_scope_caught(&p.scopes[1]));
    close_loop();
}

static int nests_shields(void *argument)
{
    struct play *p = argument;
    unr_cancel_scope_enter_shield(&p->scopes[1], p->how ? UNR_NEVER : UNR_MSEC(2));
    unr_cancel_scope_enter(&p->scopes[2]);
    unr_cancel_scope_enter_shield(&p->scopes[3], p->how == 2 ? UNR_NEVER : UNR_SEC(1000));
    struct unr_result r = receive(p);
    int               error = unr_outcome(&r);
    for (int i = DEPTH; i > 0; i--)
        error = p->errors[i] = unr_cancel_scope_leave(&p->scopes[i], error);
    return error;
}

/* A shield in a shield ends no later than that: by the grace of the outer one, or because that is
 * moved. */
Test(cancel_scope, nested_shields_share_one_grace)
{
    for (int how = 0; how < 3; how++) {
        struct play p = { .how = how };
        begin(&p, nests_shields);
        ask(&p, 0);
        if (how)
            cr_assert(unr_cancel_scope_move(&p.scopes[1], unr_loop_now(loop) + UNR_MSEC(1)));
        finish_play(&p);
        cr_assert_eq(p.errors[3], -ECANCELED, "%d", p.errors[3]);
        cr_assert_eq(p.errors[2], -ECANCELED);
        cr_assert_eq(p.errors[1], -ECANCELED, "the fiber was asked, too");
        cr_assert_eq(unr_cancel_scope_cause(&p.scopes[3]), -ETIMEDOUT);
        cr_assert_eq(unr_cancel_scope_cause(&p.scopes[1]), -ETIMEDOUT);
    }
    close_loop();
}

static int moves_inner(void *argument)
{
    struct play *p = argument;
    unr_cancel_scope_enter_shield(&p->scopes[1], UNR_MSEC(p->how));
    unr_cancel_scope_enter_shield(&p->scopes[2], UNR_NEVER);
    p->error = unr_cancel_scope_move(&p->scopes[2], UNR_NEVER) ? 0 : -ETIME;
    struct unr_result r = receive(p);
    p->errors[2] = unr_cancel_scope_leave(&p->scopes[2], unr_outcome(&r));
    return unr_cancel_scope_leave(&p->scopes[1], p->errors[2]);
}

/* Nor is an inner shield moved behind the end of the outer one, which a slow machine may reach
 * before the move. */
Test(cancel_scope, an_inner_shield_is_not_moved_further)
{
    int error = -ETIME;
    for (int grace = 2; error; grace *= 2) {
        struct play p = { .how = grace };
        begin(&p, moves_inner);
        finish_play(&p);
        cr_assert_eq(p.errors[2], -ECANCELED);
        cr_assert_eq(p.seen.result.error, -ETIMEDOUT);
        error = p.error;
    }
    close_loop();
}

/* A request of an inner shield's own does not free it of the outer one's end. */
Test(cancel_scope, an_inner_shield_that_was_asked_shares_the_grace)
{
    struct play p = { .how = 1 };
    begin(&p, nests_shields);
    p.child.result.requested = 0;
    cr_assert(unr_state_cancelled(&p.scopes[3].private_fields.state) == 0);
    unr_state_reset(&p.scopes[3].private_fields.state, NULL, unr_let_none, NULL);
    unr_cancel_scope_cancel(&p.scopes[3], UNR_CANCEL_TERMINAL, -63); /* interrupts nothing */
    submit();
    cr_assert_eq(p.seen.runs, 0);
    unr_state_reset(&p.scopes[3].private_fields.state, NULL, NULL, NULL);
    unr_state_preempt(&p.scopes[3].private_fields.state, false);
    cr_assert(unr_cancel_scope_move(&p.scopes[1], unr_loop_now(loop) + UNR_MSEC(1)));
    finish_play(&p);
    cr_assert_eq(p.errors[1], -ETIMEDOUT, "%d", p.errors[1]);
    close_loop();
}

static int shielded_for_ever(void *argument)
{
    struct play  *p = argument;
    struct unr_op op = { 0 };
    unr_cancel_scope_enter_shield(&p->scopes[1], UNR_NEVER);
    struct unr_result r = receive(p);
    p->error = unr_outcome(&r);
    cr_assert_eq(unr_fiber_cancelled(), -ESHUTDOWN);
    cr_assert_eq(unr_await_value(unr_send(&op, p->fds[0], "bye", 3, 0)), -ESHUTDOWN);
    cr_assert_eq(unr_await(unr_close(&op, p->fds[0])).error, 0);
    p->errors[1] = unr_cancel_scope_leave(&p->scopes[1], r.error);
    return p->errors[1];
}

/* A loop that is closed goes through shields: what waits in one ends, and nothing begins that can
 * be cancelled. */
Test(cancel_scope, a_closing_loop_goes_through_shields)
{
    struct play p = { 0 };
    begin(&p, shielded_for_ever);
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(p.error, -ESHUTDOWN);
    cr_assert_eq(p.errors[1], -ECANCELED);
    expect_cancelled(&p.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    cr_assert_eq(drain(p.fds[1]), 0);
    close(p.fds[1]);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* ---- the state of a scope ---- */

static int resets(void *argument)
{
    struct play *p = argument;
    unr_cancel_scope_enter(&p->scopes[1]);
    unr_cancel_scope_enter(&p->scopes[2]);
    cr_assert_eq(receive(p).error, -ECANCELED);
    unr_state_reset(unr_fiber_state(), NULL, NULL, NULL);
    p->error = unr_fiber_cancelled();
    cr_assert_eq(unr_yield(), p->error);
    unr_state_reset(unr_fiber_state(), unr_let_none, NULL, NULL);
    p->step = unr_fiber_cancelled(); /* what is left is its own */
    p->errors[2] = unr_cancel_scope_leave(&p->scopes[2], p->error);
    p->errors[1] = unr_cancel_scope_leave(&p->scopes[1], p->errors[2]);
    unr_state_reset(unr_fiber_state(), NULL, NULL, NULL);
    cr_assert_eq(unr_fiber_cancelled(), 0, "in the fiber's own state it forgets all");
    cr_assert_eq(unr_yield(), 0);
    return p->errors[1];
}

/* A reset inside a scope keeps what those around it have let in, through the new filter, and what
 * it was asked by itself. */
Test(cancel_scope, reset_in_a_scope_keeps_the_outer_request)
{
    for (int level = 0; level <= 2; level++) {
        struct play p = { 0 };
        begin(&p, resets);
        ask(&p, level);
        finish_play(&p);
        cr_assert_eq(p.error, CAUSE - level);
        cr_assert_eq(p.step, level == 2 ? CAUSE - 2 : 0);
        cr_assert_eq(p.errors[2], level == 2 ? CAUSE - 2 : -ECANCELED);
        cr_assert_eq(p.errors[1], level == 0 ? -ECANCELED : CAUSE - level);
    }
    close_loop();
}

static unsigned to_partial(void *context, unsigned type)
{
    ++*(int *)context;
    return type == UNR_CANCEL_TOTAL ? UNR_CANCEL_PARTIAL : 0;
}

static int filtered(void *argument)
{
    struct play *p = argument;
    unr_state_reset(unr_fiber_state(), unr_let_total, NULL, NULL);
    unr_cancel_scope_enter(&p->scopes[1]);
    unr_state_reset(unr_fiber_state(), to_partial, NULL, &p->step);
    struct unr_result r = receive(p);
    p->errors[1] = unr_cancel_scope_leave(&p->scopes[1], r.error);
    return p->errors[1];
}

/* Requests from outside go through the scope's in filter; its own do not. */
Test(cancel_scope, in_filter_is_for_what_comes_from_outside)
{
    struct play p = { 0 };
    begin(&p, filtered);
    unr_cancel_cause(&p.fiber.op, UNR_CANCEL_TERMINAL, CAUSE); /* refused on its way */
    submit();
    cr_assert_eq(p.seen.runs, 0);
    cr_assert_eq(unr_cancel_scope_cause(&p.scopes[1]), 0);
    unr_cancel_cause(&p.fiber.op, UNR_CANCEL_TOTAL, CAUSE - 5);
    run();
    cr_assert_eq(p.child.result.requested, UNR_CANCEL_PARTIAL);
    cr_assert_eq(p.errors[1], -ECANCELED);
    close_pair(p.fds);

    p = (struct play){ 0 };
    begin(&p, filtered);
    p.step = 0;
    unr_cancel_scope_cancel(&p.scopes[1], UNR_CANCEL_TERMINAL, -61);
    cr_assert_eq(p.step, 0, "the filter is not asked");
    finish_play(&p);
    cr_assert_eq(p.child.result.requested, UNR_CANCEL_TERMINAL);
    cr_assert_eq(p.errors[1], -61);
    close_loop();
}

/* ---- deadlines ---- */

static int waits_until(void *argument)
{
    struct play *p = argument;
    unr_cancel_scope_enter_after(&p->scopes[1], UNR_SEC(1000));
    struct unr_result r = receive(p);
    p->error = unr_outcome(&r);
    p->errors[1] = unr_cancel_scope_leave(&p->scopes[1], p->error);
    return p->errors[1];
}

/* A deadline is moved: nearer, away, and back; the past is now.  Not when it has passed, or the
 * scope was left. */
Test(cancel_scope, move)
{
    struct play p = { 0 };
    begin(&p, waits_until);
    cr_assert(unr_cancel_scope_move(&p.scopes[1], UNR_NEVER));
    cr_assert(unr_cancel_scope_move(&p.scopes[1], unr_loop_now(loop) + UNR_SEC(500)));
    cr_assert(unr_cancel_scope_move(&p.scopes[1], unr_loop_now(loop) + UNR_SEC(2000)));
    submit();
    cr_assert_eq(p.seen.runs, 0);
    cr_assert(unr_cancel_scope_move(&p.scopes[1], unr_loop_now(loop) + UNR_MSEC(2)));
    finish_play(&p);
    cr_assert_eq(p.errors[1], -ETIMEDOUT);
    cr_assert(unr_cancel_scope_caught(&p.scopes[1]));
    cr_assert_not(unr_cancel_scope_move(&p.scopes[1], UNR_NEVER), "it was left");

    p = (struct play){ 0 };
    begin(&p, in_one);
    p.error = -ECANCELED;
    cr_assert(unr_cancel_scope_move(&p.scopes[1], 1), "its first");
    cr_assert_eq(unr_cancel_scope_cause(&p.scopes[1]), -ETIMEDOUT);
    cr_assert_not(unr_cancel_scope_move(&p.scopes[1], UNR_NEVER), "it has passed");
    finish_play(&p);
    cr_assert_eq(p.errors[1], -ETIMEDOUT);
    close_loop();
}

static int is_past(void *argument)
{
    struct play *p = argument;
    unr_cancel_scope_enter_at(&p->scopes[1], 1);
    cr_assert_eq(unr_fiber_cancelled(), -ETIMEDOUT);
    struct unr_result r = receive(p);
    cr_assert_eq(r.verdict, UNR_VERDICT_UNSUBMITTED);
    p->errors[1] = unr_cancel_scope_leave(&p->scopes[1], r.error);
    unr_cancel_scope_enter_after(&p->scopes[1], UNR_NEVER);
    unr_cancel_scope_enter_at(&p->scopes[2], UNR_NEVER);
    cr_assert_eq(receive(p).error, 0);
    p->errors[2] = unr_cancel_scope_leave(&p->scopes[2], 0);
    return unr_cancel_scope_leave(&p->scopes[1], p->errors[2]);
}

/* A deadline in the past ends the next wait before it begins; one at UNR_NEVER does not come. */
Test(cancel_scope, past_and_never)
{
    struct play p = { 0 };
    begin(&p, is_past);
    give(&p);
    finish_play(&p);
    cr_assert_eq(p.errors[1], -ETIMEDOUT);
    cr_assert_eq(p.seen.result.error, 0);
    close_loop();
}

static int uses_scopes(void *argument)
{
    (void)argument;
    for (int i = 0; i < 1000; i++) {
        struct unr_cancel_scope scope; /* on purpose not zeroed */
        memset(&scope, 0xee, sizeof scope);
        unr_cancel_scope_enter_after(&scope, UNR_SEC(1000));
        cr_assert_eq(unr_yield(), 0);
        cr_assert_eq(unr_cancel_scope_leave(&scope, i), i);
        cr_assert_not(unr_cancel_scope_caught(&scope));
        cr_assert_eq(unr_cancel_scope_cause(&scope), 0);
    }
    return 0;
}

/* A scope starts no operation, keeps no loop from ending and leaves nothing behind. */
Test(cancel_scope, costs_no_operation)
{
    struct play      p = { 0 };
    struct unr_stats s;
    begin(&p, uses_scopes);
    finish_play(&p);
    unr_loop_stats(loop, &s, sizeof s);
    cr_assert_eq(s.started, s.finished);
    cr_assert_leq(s.started, 1 + 1 + 1000, "%llu", (unsigned long long)s.started);
    cr_assert_eq(unri_timers(loop)->count, 0);
    close_loop();
}

static int asks_a_neighbour(void *argument)
{
    struct play *p = argument;
    cr_assert_eq(unr_yield(), 0);
    cr_assert(unr_cancel_scope_cancel(&p->scopes[1], UNR_CANCEL_TERMINAL, -61));
    return 0;
}

/* Another fiber of the loop asks a scope. */
Test(cancel_scope, asked_by_another_fiber)
{
    struct play      p = { .error = -ECANCELED };
    struct unr_fiber other = { 0 };
    struct seen      seen = { 0 };
    begin(&p, in_one);
    start(&seen, unr_fiber(&other, asks_a_neighbour, &p));
    finish_play(&p);
    cr_assert_eq(p.errors[1], -61);
    cr_assert_eq(seen.result.error, 0);
    close_loop();
}

/* ---- no memory for the timer ---- */

static bool refuses_memory;

/* The heap of the timers is the only thing that the library asks to be larger. */
void *mremap(void *address, size_t size, size_t new_size, int flags, ...)
{
    if (refuses_memory) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mremap, address, size, new_size, flags, NULL);
}

static int has_no_timer(void *argument)
{
    struct play *p = argument;
    unr_cancel_scope_enter_after(&p->scopes[1], UNR_SEC(1000));
    cr_assert_eq(unr_fiber_cancelled(), -ENOMEM);
    cr_assert_eq(unr_yield(), -ENOMEM);
    p->errors[1] = unr_cancel_scope_leave(&p->scopes[1], -ENOMEM);
    unr_cancel_scope_enter_shield(&p->scopes[1], UNR_SEC(1000));
    cr_assert_eq(unr_fiber_cancelled(), -ENOMEM);
    cr_assert_eq(unr_cancel_scope_leave(&p->scopes[1], -ECANCELED), -ENOMEM);
    unr_cancel_scope_enter(&p->scopes[1]);
    cr_assert_not(unr_cancel_scope_move(&p->scopes[1], unr_loop_now(loop) + UNR_SEC(1000)));
    cr_assert_eq(unr_fiber_cancelled(), 0, "nothing has changed");
    cr_assert_eq(unr_cancel_scope_leave(&p->scopes[1], 0), 0);
    return p->errors[1];
}

/* Where there is no memory for a deadline, the scope is asked at once, and never is there none. */
Test(cancel_scope, no_memory_for_the_timer)
{
    struct play         p = { 0 };
    struct unri_timers *timers = unri_timers(loop);
    size_t              room = timers->room;
    refuses_memory = true;
    timers->room = 0;
    begin(&p, has_no_timer);
    finish_play(&p);
    timers->room = room;
    refuses_memory = false;
    cr_assert_eq(p.errors[1], -ENOMEM);
    cr_assert_eq(p.seen.result.error, -ENOMEM);
    close_loop();
}

/* ---- broken contracts ---- */

#define BREACH(name, ...) BREACH_IN(cancel_scope_contract, open_loop_of_child(), name, __VA_ARGS__)

static struct unr_cancel_scope outer, inner;

static void go(unr_fiber_fn *fn)
{
    static struct unr_fiber fiber;
    unr_start(loop, unr_fiber(&fiber, fn, NULL), NULL, NULL);
    unr_loop_run(loop);
}

#define OUT_OF_ORDER "a cancel scope left out of order, or by another fiber"

static int leaves_the_outer_one(void *argument)
{
    (void)argument;
    unr_cancel_scope_enter(&outer);
    unr_cancel_scope_enter(&inner);
    return unr_cancel_scope_leave(&outer, 0);
}

BREACH(leaving_out_of_order_is_named, OUT_OF_ORDER, "entered last is left first")
{
    go(leaves_the_outer_one);
}

static int leaves_twice(void *argument)
{
    (void)argument;
    unr_cancel_scope_enter(&outer);
    unr_cancel_scope_leave(&outer, 0);
    return unr_cancel_scope_leave(&outer, 0);
}

BREACH(leaving_twice_is_named, OUT_OF_ORDER)
{
    go(leaves_twice);
}

static int returns_inside(void *argument)
{
    (void)argument;
    unr_cancel_scope_enter(&outer);
    return 0;
}

BREACH(returning_inside_one_is_named, "a fiber that ended inside a cancel scope")
{
    go(returns_inside);
}

static int stays_inside(void *argument)
{
    (void)argument;
    unr_cancel_scope_enter(&outer);
    return unr_sleep(UNR_SEC(1000));
}

static int leaves_anothers(void *argument)
{
    (void)argument;
    return unr_cancel_scope_leave(&outer, 0);
}

BREACH(leaving_anothers_is_named, OUT_OF_ORDER)
{
    static struct unr_fiber fiber;
    unr_start(loop, unr_fiber(&fiber, stays_inside, NULL), NULL, NULL);
    go(leaves_anothers);
}

BREACH(entering_outside_of_a_fiber, "a cancel scope entered outside of a fiber")
{
    unr_cancel_scope_enter(&outer);
}

BREACH(entering_with_a_deadline_outside_of_a_fiber, "a cancel scope entered outside of a fiber")
{
    unr_cancel_scope_enter_after(&outer, 1);
}

BREACH(leaving_outside_of_a_fiber, "a cancel scope left outside of a fiber")
{
    unr_cancel_scope_leave(&outer, 0);
}

static int asks_for_nothing(void *argument)
{
    (void)argument;
    unr_cancel_scope_enter(&outer);
    unr_cancel_scope_cancel(&outer, 0, -1);
    return 0;
}

BREACH(asked_for_no_types, "types")
{
    go(asks_for_nothing);
}
