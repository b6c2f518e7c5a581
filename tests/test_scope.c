/* SPDX-License-Identifier: MIT */
/* Scopes: when they end, whom a request reaches, what becomes of a member's own done, slot and
 * result, and the table behind it all, which grows, shrinks to none and may find no memory. */
#include "support.h"

#include <sys/eventfd.h>

TestSuite(scope, .init = open_loop, .timeout = 20);

/* ---- memory, counted and refused ---- */

#if !SUPPORT_SANITIZED

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *piece, size_t size);

static _Thread_local volatile long allocations;
static _Thread_local volatile bool refuse;

static bool refused(void)
{
    allocations++;
    return refuse;
}

void *malloc(size_t size)
{
    return refused() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return refused() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *piece, size_t size)
{
    return refused() ? NULL : __libc_realloc(piece, size);
}

#endif

/* ---- members that end when they are told to ---- */

enum { UP_TO_PARTIAL = UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL };

struct own {
    struct unr_op op;
    void (*at_request)(struct own *own); /* NULL: ends with -ECANCELED */
    void (*at_done)(struct own *own);
    void             *context;
    int               starts, requests, runs;
    unsigned          asked;
    struct unr_result result;
};

static struct own *own_of(struct unr_op *op)
{
    return unr_container_of(op, struct own, op);
}

static void own_start(struct unr_op *op)
{
    own_of(op)->starts++;
}

static void own_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct own *own = own_of(op);
    own->requests++;
    own->asked |= request.types;
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

static struct unr_op *brew(struct own *own, unsigned supports)
{
    static const struct unr_op_type types[] = { OWN_TYPE(0), OWN_TYPE(UNR_CANCEL_TERMINAL),
                                                OWN_TYPE(2), OWN_TYPE(UP_TO_PARTIAL),
                                                OWN_TYPE(4), OWN_TYPE(5),
                                                OWN_TYPE(6), OWN_TYPE(UNR_CANCEL_ALL) };
    return unr_describe(&own->op, &types[supports]);
}

static void go_on(struct own *own)
{
    (void)own;
}

static void own_done(struct unr_op *op)
{
    struct own *own = op->data;
    own->runs++;
    own->result = op->result;
    if (own->at_done)
        own->at_done(own);
}

static void end(struct own *own, int error)
{
    unr_finish(&own->op, error);
    submit();
}

/* ---- the scope of a test ---- */

static struct unr_scope  scope;
static int               scope_runs;
static struct unr_result scope_result;

static void scope_saw(struct unr_op *op)
{
    cr_assert_eq(op, &scope.op);
    scope_runs++;
    scope_result = op->result;
}

static void start_scope(void)
{
    scope_runs = 0;
    unr_start(loop, unr_scope(&scope), scope_saw, NULL);
}

static void add(struct own *own, unsigned supports)
{
    unr_scope_start(&scope, brew(own, supports), own_done, own);
}

static void expect_scope(int error, int64_t value)
{
    cr_assert_eq(scope_runs, 1, "%d runs", scope_runs);
    cr_assert_eq(scope_result.error, error, "error %d", scope_result.error);
    cr_assert_eq(scope_result.value, value, "value %d", (int)scope_result.value);
}

static void expect_unasked(void)
{
    cr_assert_eq(scope_result.requested, 0);
    cr_assert_eq(scope_result.verdict, UNR_VERDICT_NONE);
    cr_assert_eq(scope_result.cause, 0);
    cr_assert_eq(scope_result.guarantee, UNR_CANCEL_NONE);
}

static void expect_scope_cancelled(unsigned guarantee, int cause)
{
    cr_assert_eq(scope_runs, 1);
    cr_assert_eq(scope_result.error, -ECANCELED, "error %d", scope_result.error);
    cr_assert_eq(scope_result.guarantee, guarantee, "guarantee %u", scope_result.guarantee);
    cr_assert_eq(scope_result.verdict, UNR_VERDICT_CANCELLED, "verdict %u", scope_result.verdict);
    cr_assert_eq(scope_result.cause, cause, "cause %d", scope_result.cause);
}

static void expect_member(const struct own *own, int error, enum unr_verdict verdict, int cause)
{
    cr_assert_eq(own->runs, 1, "%d runs", own->runs);
    cr_assert_eq(own->result.error, error, "error %d", own->result.error);
    cr_assert_eq(own->result.verdict, verdict, "verdict %u", own->result.verdict);
    cr_assert_eq(own->result.cause, cause, "cause %d", own->result.cause);
}

/* ---- the end ---- */

/* A scope ends when it is closed and empty, whichever comes last, and reports how many ended in
 * it. */
Test(scope, ends_when_it_is_closed_and_empty)
{
    for (int close_first = 0; close_first < 2; close_first++) {
        struct own a = { 0 }, b = { 0 };
        start_scope();
        add(&a, UNR_CANCEL_ALL);
        add(&b, UNR_CANCEL_ALL);
        if (close_first)
            unr_scope_close(&scope);
        end(&a, 0);
        cr_assert_eq(scope_runs, 0);
        end(&b, -EPIPE);
        if (!close_first) {
            submit();
            cr_assert_eq(scope_runs, 0);
            unr_scope_close(&scope);
            cr_assert_eq(scope_runs, 0, "inside unr_scope_close()");
        }
        run();
        expect_scope(0, 2);
        expect_unasked();
        expect_member(&a, 0, UNR_VERDICT_NONE, 0);
        expect_member(&b, -EPIPE, UNR_VERDICT_NONE, 0);
    }
    close_loop();
}

/* Closed without members it ends in the next turn; closing it again changes nothing, before and
 * after. */
Test(scope, closed_without_members_ends_at_once)
{
    start_scope();
    submit();
    unr_scope_close(&scope);
    unr_scope_close(&scope);
    cr_assert_eq(scope_runs, 0);
    run();
    expect_scope(0, 0);
    unr_scope_close(&scope);
    run();
    expect_scope(0, 0);
    close_loop();
}

/* Nothing is reported of a scope that is open, however often it was empty. */
Test(scope, open_and_empty_goes_on)
{
    start_scope();
    for (int i = 0; i < 10; i++) {
        struct own a = { 0 };
        add(&a, UNR_CANCEL_ALL);
        end(&a, 0);
        expect_member(&a, 0, UNR_VERDICT_NONE, 0);
        cr_assert(unr_in_flight(&scope.op));
    }
    unr_scope_close(&scope);
    run();
    expect_scope(0, 10);
    close_loop();
}

static void expect_scope_in_flight(struct own *own)
{
    (void)own;
    cr_assert_eq(scope_runs, 0);
    cr_assert(unr_in_flight(&scope.op));
}

/* The scope's `done` comes after that of each member, in the same turn as the last one's. */
Test(scope, done_comes_behind_the_last_members_in_its_turn)
{
    struct own a = { .at_done = expect_scope_in_flight }, b = { .at_done = expect_scope_in_flight };
    start_scope();
    add(&a, UNR_CANCEL_ALL);
    add(&b, UNR_CANCEL_ALL);
    unr_scope_close(&scope);
    unr_finish(&a.op, 0);
    unr_finish(&b.op, 0);
    cr_assert_eq(unr_loop_run_once(loop, 0), 3);
    expect_scope(0, 2);
    close_loop();
}

static void start_next(struct own *own)
{
    struct own *next = own->context;
    if (next)
        add(next, UNR_CANCEL_ALL);
}

/* A member's `done` may start the next one in the scope, also when it was the last and the scope is
 * closed. */
Test(scope, start_inside_the_done_of_the_last_member_of_a_closed_scope)
{
    struct own owns[5] = { 0 };
    for (int i = 0; i < 5; i++) {
        owns[i].at_done = start_next;
        owns[i].context = i < 4 ? &owns[i + 1] : NULL;
    }
    start_scope();
    add(&owns[0], UNR_CANCEL_ALL);
    unr_scope_close(&scope);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(scope_runs, 0);
        end(&owns[i], 0);
    }
    expect_scope(0, 5);
    close_loop();
}

/* Also what is started after the close from anywhere, as long as something runs. */
Test(scope, start_after_the_close)
{
    struct own a = { 0 }, b = { 0 };
    start_scope();
    add(&a, UNR_CANCEL_ALL);
    unr_scope_close(&scope);
    add(&b, UNR_CANCEL_ALL);
    end(&a, 0);
    cr_assert_eq(scope_runs, 0);
    end(&b, 0);
    expect_scope(0, 2);
    close_loop();
}

static void close_the_scope(struct own *own)
{
    (void)own;
    unr_scope_close(&scope);
    cr_assert(unr_in_flight(&scope.op));
}

/* A member's `done` may close the scope. */
Test(scope, close_inside_the_done_of_the_last_member)
{
    struct own a = { .at_done = close_the_scope };
    start_scope();
    add(&a, UNR_CANCEL_ALL);
    end(&a, 0);
    expect_scope(0, 1);
    close_loop();
}

static void close_and_go_on(struct own *own)
{
    unr_scope_close(&scope);
    unr_cancel_cause(&scope.op, UNR_CANCEL_TOTAL, -71);
    add(own->context, UNR_CANCEL_NONE);
}

/* And then start another in it, even where it was the last and has asked the scope to end as
 * well. */
Test(scope, close_and_start_inside_the_done_of_the_last_member)
{
    struct own b = { 0 }, a = { .at_done = close_and_go_on, .context = &b };
    start_scope();
    add(&a, UNR_CANCEL_ALL);
    end(&a, 0);
    cr_assert_eq(scope_runs, 0);
    cr_assert_eq(b.starts, 1);
    end(&b, 0);
    expect_scope(0, 2);
    cr_assert_eq(scope_result.verdict, UNR_VERDICT_TOO_LATE);
    close_loop();
}

static void free_own(struct own *own)
{
    free(own);
}

/* A member may be freed in its `done`. */
Test(scope, member_freed_in_its_done)
{
    start_scope();
    struct own *owns[30];
    for (int i = 0; i < 30; i++) {
        owns[i] = calloc(1, sizeof *owns[i]);
        owns[i]->at_done = free_own;
        add(owns[i], UNR_CANCEL_ALL);
    }
    for (int i = 0; i < 30; i += 2)
        end(owns[i], 0);
    cr_assert(unr_cancel(&scope.op, UNR_CANCEL_ALL));
    unr_scope_close(&scope);
    run();
    expect_scope(-ECANCELED, 30);
    close_loop();
}

static void free_scope(struct unr_op *op)
{
    (*(int *)op->data)++;
    free(op);
}

/* The scope may be freed in its `done`, also with a table of its own. */
Test(scope, scope_freed_in_its_done)
{
    int               freed = 0;
    struct own        owns[20] = { 0 };
    struct unr_scope *on_heap = calloc(1, sizeof *on_heap);
    unr_start(loop, unr_scope(on_heap), free_scope, &freed);
    for (int i = 0; i < 20; i++)
        unr_scope_start(on_heap, brew(&owns[i], UNR_CANCEL_ALL), own_done, &owns[i]);
    unr_scope_close(on_heap);
    for (int i = 0; i < 20; i++)
        end(&owns[i], 0);
    run();
    cr_assert_eq(freed, 1);
    close_loop();
}

/* A scope is described and used again. */
Test(scope, described_again_and_reused)
{
    for (int i = 0; i < 3; i++) {
        struct own a = { 0 };
        start_scope();
        add(&a, UNR_CANCEL_ALL);
        if (i == 1)
            unr_cancel_cause(&scope.op, UNR_CANCEL_ALL, -71);
        else
            unr_finish(&a.op, 0);
        unr_scope_close(&scope);
        run();
        expect_scope(i == 1 ? -ECANCELED : 0, 1);
    }
    close_loop();
}

/* ---- members are operations of their own ---- */

/* A member has its own done, data, slot, deadline and descriptor, as if it had been started by
 * unr_start(). */
Test(scope, members_keep_what_is_theirs)
{
    struct seen         receive = { 0 }, timed = { 0 }, plain = { 0 };
    struct unr_signal   signal = { 0 };
    struct unr_deadline deadline = { 0 };
    char                in[3];
    int                 fds[2];
    unix_pair(fds);
    start_scope();
    unr_scope_start(
        &scope, unr_bind_slot(unr_recv(&receive.op, fds[0], in, 1, 0), unr_signal_slot(&signal)),
        saw, &receive);
    unr_cancel_after(&deadline, unr_recv(&timed.op, fds[0], &in[1], 1, 0), UNR_MSEC(1));
    unr_scope_start(&scope, &deadline.op, NULL, NULL);
    unr_scope_start(&scope, unr_recv(&plain.op, fds[0], &in[2], 1, 0), NULL, NULL);
    cr_assert_eq(receive.op.data, &receive);
    while (unr_in_flight(&deadline.op))
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    cr_assert_eq(unr_outcome(&deadline.op.result), -ETIMEDOUT);
    cr_assert(unr_signal_emit_cause(&signal, UNR_CANCEL_TOTAL, -77));
    finish(&receive);
    expect_cancelled(&receive, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -77);
    cr_assert_not(unr_slot_has_handler(unr_signal_slot(&signal)));
    cr_assert_eq(unr_cancel_fd(loop, fds[0], UNR_CANCEL_TOTAL), 1);
    unr_scope_close(&scope);
    run();
    cr_assert_eq(plain.op.result.error, -ECANCELED);
    expect_scope(0, 3);
    expect_unasked();
    cr_assert_eq(write(fds[1], "1", 1), 1);
    cr_assert_eq(drain(fds[0]), 1);
    close_pair(fds);
    close_loop();
}

/* Members cancelled one by one end one by one, in any order, and no other is disturbed: the scope
 * is not cancelled. */
Test(scope, members_cancelled_one_by_one)
{
    enum { N = 101 };
    static struct own owns[N];
    start_scope();
    for (int i = 0; i < N; i++)
        add(&owns[i], UNR_CANCEL_ALL);
    for (int i = 0; i < N; i++) {
        struct own *own = &owns[i * 37 % N];
        cr_assert(unr_cancel_cause(&own->op, UNR_CANCEL_ALL, -1 - i));
        submit();
        expect_member(own, -ECANCELED, UNR_VERDICT_CANCELLED, -1 - i);
        cr_assert_eq(unr_loop_in_flight(loop), (unsigned)(N - i));
    }
    unr_scope_close(&scope);
    run();
    expect_scope(0, N);
    expect_unasked();
    close_loop();
}

/* in_flight counts the scope and each member, and run_once counts each `done`. */
Test(scope, in_flight_counts_members)
{
    struct own a = { 0 }, b = { 0 };
    start_scope();
    cr_assert_eq(unr_loop_in_flight(loop), 1);
    add(&a, UNR_CANCEL_ALL);
    add(&b, UNR_CANCEL_ALL);
    cr_assert_eq(unr_loop_in_flight(loop), 3);
    unr_finish(&a.op, 0);
    cr_assert_eq(unr_loop_run_once(loop, 0), 1);
    cr_assert_eq(unr_loop_in_flight(loop), 2);
    unr_scope_close(&scope);
    unr_finish(&b.op, 0);
    cr_assert_eq(unr_loop_run_once(loop, 0), 2);
    cr_assert_eq(unr_loop_in_flight(loop), 0);
    close_loop();
}

/* ---- requests ---- */

/* A request reaches each member; it does not close the scope. */
Test(scope, request_reaches_each_member_and_does_not_close)
{
    struct own a = { 0 }, b = { .at_request = go_on }, c = { 0 };
    start_scope();
    add(&a, UNR_CANCEL_ALL);
    add(&b, UNR_CANCEL_ALL);
    add(&c, UP_TO_PARTIAL);
    cr_assert(unr_cancel_cause(&scope.op, UNR_CANCEL_TOTAL, -71));
    submit();
    expect_member(&a, -ECANCELED, UNR_VERDICT_CANCELLED, -71);
    cr_assert_eq(b.asked, UNR_CANCEL_TOTAL);
    cr_assert_eq(c.requests, 0);
    end(&b, 0);
    expect_member(&b, 0, UNR_VERDICT_TOO_LATE, -71);
    end(&c, 0);
    expect_member(&c, 0, UNR_VERDICT_REFUSED, -71);
    submit();
    cr_assert_eq(scope_runs, 0);
    cr_assert(unr_in_flight(&scope.op));
    unr_scope_close(&scope);
    run();
    expect_scope(-ECANCELED, 3);
    expect_scope_cancelled(UNR_CANCEL_PARTIAL, -71);
    cr_assert_eq(scope_result.requested, UNR_CANCEL_TOTAL);
    close_loop();
}

/* It is sticky: later members end before they begin, but for those that support none of it, so that
 * clean-up can close. */
Test(scope, request_ends_later_members_before_they_begin_but_not_a_close)
{
    struct own  a = { 0 }, b = { 0 };
    struct seen closes = { 0 }, receive = { 0 };
    char        in;
    int         fds[2];
    unix_pair(fds);
    cr_assert_eq(write(fds[1], "12", 2), 2);
    start_scope();
    cr_assert(unr_cancel_cause(&scope.op, UNR_CANCEL_TOTAL, -71));
    unr_scope_start(&scope, unr_recv(&receive.op, fds[0], &in, 1, 0), saw, &receive);
    add(&a, UNR_CANCEL_ALL);
    add(&b, UP_TO_PARTIAL);
    finish(&receive);
    expect_cancelled(&receive, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -71);
    expect_member(&a, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -71);
    cr_assert_eq(a.starts, 0);
    cr_assert(b.starts == 1 && b.runs == 0);
    cr_assert_eq(drain(fds[0]), 2);
    unr_scope_start(&scope, unr_close(&closes.op, fds[0]), saw, &closes);
    finish(&closes);
    cr_assert_eq(closes.result.error, 0);
    cr_assert_eq(closes.result.verdict, UNR_VERDICT_REFUSED);
    cr_assert_eq(read(fds[1], &in, 1), 0);
    unr_scope_close(&scope);
    end(&b, 0);
    run();
    expect_scope(-ECANCELED, 4);
    expect_scope_cancelled(UNR_CANCEL_PARTIAL, -71);
    close(fds[1]);
    close_loop();
}

/* Stronger requests are passed on, what is new of them; and stick. */
Test(scope, request_escalates)
{
    struct own a = { 0 }, b = { .at_request = go_on }, c = { 0 };
    start_scope();
    add(&a, UP_TO_PARTIAL);
    add(&b, UNR_CANCEL_ALL);
    unr_cancel_cause(&scope.op, UNR_CANCEL_TOTAL, -71);
    unr_cancel_cause(&scope.op, UNR_CANCEL_TOTAL, -71);
    cr_assert(a.requests == 0 && b.requests == 1);
    unr_cancel_cause(&scope.op, UNR_CANCEL_PARTIAL, -71);
    cr_assert(a.requests == 1 && b.requests == 2);
    add(&c, UP_TO_PARTIAL);
    cr_assert_eq(c.starts, 0);
    end(&b, 0);
    unr_scope_close(&scope);
    run();
    expect_scope(-ECANCELED, 3);
    expect_scope_cancelled(UNR_CANCEL_PARTIAL, -71);
    cr_assert_eq(scope_result.requested, UNR_CANCEL_TOTAL | UNR_CANCEL_PARTIAL);
    close_loop();
}

/* Whichever of two requests, with causes of their own, ends a member: the scope was cancelled. */
Test(scope, request_that_escalates_with_another_cause_still_cancels_the_scope)
{
    struct own a = { 0 };
    start_scope();
    add(&a, UP_TO_PARTIAL);
    unr_cancel_cause(&scope.op, UNR_CANCEL_TOTAL, -71);
    cr_assert_eq(a.requests, 0);
    unr_cancel_cause(&scope.op, UNR_CANCEL_ALL, -ETIMEDOUT);
    cr_assert_eq(a.requests, 1);
    unr_scope_close(&scope);
    run();
    expect_member(&a, -ECANCELED, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    expect_scope(-ECANCELED, 1);
    expect_scope_cancelled(UNR_CANCEL_PARTIAL, -71);
    close_loop();
}

/* A request that ended nobody leaves the scope a success, TOO_LATE. */
Test(scope, request_that_ends_nobody_is_too_late)
{
    struct own a = { 0 }, b = { 0 };
    start_scope();
    add(&a, UNR_CANCEL_ALL);
    end(&a, -EPIPE);
    unr_cancel_cause(&scope.op, UNR_CANCEL_ALL, -71);
    add(&b, UNR_CANCEL_NONE);
    unr_scope_close(&scope);
    end(&b, 0);
    expect_scope(0, 2);
    cr_assert_eq(scope_result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(scope_result.cause, -71);
    cr_assert_eq(scope_result.guarantee, UNR_CANCEL_NONE);
    close_loop();
}

static unsigned guarantee_of(unsigned a_supports, bool a_completes, unsigned b_supports)
{
    struct own a = { 0 }, b = { 0 };
    start_scope();
    add(&a, a_supports);
    add(&b, b_supports);
    if (a_completes)
        end(&a, 0);
    unr_cancel_cause(&scope.op, UNR_CANCEL_ALL, -71);
    unr_scope_close(&scope);
    run();
    expect_scope(-ECANCELED, 2);
    cr_assert_eq(scope_result.cause, -71);
    return scope_result.guarantee;
}

/* The guarantee is the weakest that a member was cancelled under, and at most PARTIAL once one has
 * completed. */
Test(scope, guarantee_is_the_weakest)
{
    cr_assert_eq(guarantee_of(UNR_CANCEL_ALL, false, UNR_CANCEL_ALL), UNR_CANCEL_TOTAL);
    cr_assert_eq(guarantee_of(UNR_CANCEL_ALL, false, UP_TO_PARTIAL), UNR_CANCEL_PARTIAL);
    cr_assert_eq(guarantee_of(UNR_CANCEL_TERMINAL, false, UNR_CANCEL_ALL), UNR_CANCEL_TERMINAL);
    cr_assert_eq(guarantee_of(UNR_CANCEL_ALL, true, UNR_CANCEL_ALL), UNR_CANCEL_PARTIAL);
    cr_assert_eq(guarantee_of(UNR_CANCEL_ALL, true, UNR_CANCEL_TERMINAL), UNR_CANCEL_TERMINAL);
    close_loop();
}

/* A request that was latched before the scope started ends every member before it begins. */
Test(scope, latched_request_before_the_start)
{
    struct own        a = { 0 }, b = { 0 };
    struct unr_signal stop = { 0 };
    unr_signal_init_latched(&stop);
    unr_signal_emit_cause(&stop, UNR_CANCEL_TOTAL, -71);
    unr_start(loop, unr_bind_slot(unr_scope(&scope), unr_signal_slot(&stop)), scope_saw, NULL);
    submit();
    cr_assert_eq(scope_runs, 0);
    add(&a, UNR_CANCEL_ALL);
    add(&b, UNR_CANCEL_NONE);
    cr_assert(a.starts == 0 && b.starts == 1);
    submit();
    expect_member(&a, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -71);
    unr_scope_close(&scope);
    end(&b, 0);
    expect_scope(-ECANCELED, 2);
    expect_scope_cancelled(UNR_CANCEL_PARTIAL, -71);
    close_loop();
}

struct spawner {
    struct own own;
    struct own spawned[40];
};

static void spawn_forty(struct own *own)
{
    struct spawner *spawner = unr_container_of(own, struct spawner, own);
    for (int i = 0; i < 40; i++)
        add(&spawner->spawned[i], UNR_CANCEL_ALL);
    unr_finish(&own->op, -ECANCELED);
}

/* What a member runs when it is asked to end may start others in the scope, so many that its table
 * moves: those end before they begin, and each that was there is asked once. */
Test(scope, request_whose_handlers_start_members)
{
    enum { N = 7 };
    static struct spawner spawners[N];
    start_scope();
    for (int i = 0; i < N; i++) {
        spawners[i].own.at_request = i % 2 ? spawn_forty : NULL;
        add(&spawners[i].own, UNR_CANCEL_ALL);
    }
    unr_cancel_cause(&scope.op, UNR_CANCEL_ALL, -71);
    unr_scope_close(&scope);
    for (int i = 0; i < N; i++)
        cr_assert_eq(spawners[i].own.requests, 1);
    run();
    for (int i = 0; i < N; i++) {
        expect_member(&spawners[i].own, -ECANCELED, UNR_VERDICT_CANCELLED, -71);
        for (int j = 0; i % 2 && j < 40; j++) {
            cr_assert_eq(spawners[i].spawned[j].starts, 0);
            expect_member(&spawners[i].spawned[j], -ECANCELED, UNR_VERDICT_UNSUBMITTED, -71);
        }
    }
    expect_scope(-ECANCELED, N + 3 * 40);
    expect_scope_cancelled(UNR_CANCEL_TOTAL, -71);
    close_loop();
}

static struct own *to_spawn;

static void spawn_one(struct own *own)
{
    add(to_spawn++, UNR_CANCEL_ALL);
    unr_finish(&own->op, -ECANCELED);
}

/* Wherever the members are in a table that moves while they are asked, all of them are. */
Test(scope, request_that_moves_tables_of_every_kind)
{
    enum { N = 16, TABLES = 200 }; /* the last table that N members fill to its half */
    static struct own own[TABLES][2 * N];
    for (int k = 0; k < TABLES; k++) {
        start_scope();
        for (int i = 0; i < N; i++) {
            own[k][i].at_request = spawn_one;
            add(&own[k][i], UNR_CANCEL_ALL);
        }
        to_spawn = &own[k][N];
        unr_cancel(&scope.op, UNR_CANCEL_ALL);
        unr_scope_close(&scope);
        for (int i = 0; i < N; i++)
            cr_assert_eq(own[k][i].requests, 1);
        run();
    }
    close_loop();
}

static void cancel_the_scope_further(struct own *own)
{
    if (own->requests == 1)
        unr_cancel_cause(&scope.op, UNR_CANCEL_ALL, -72);
    else
        unr_finish(&own->op, -ECANCELED);
}

/* And it may ask the scope for more. */
Test(scope, request_whose_handler_escalates)
{
    struct own a = { .at_request = cancel_the_scope_further }, b = { 0 };
    start_scope();
    add(&a, UNR_CANCEL_ALL);
    add(&b, UP_TO_PARTIAL);
    unr_cancel_cause(&scope.op, UNR_CANCEL_TOTAL, -71);
    cr_assert_eq(a.requests, 2);
    cr_assert_eq(b.requests, 1);
    unr_scope_close(&scope);
    run();
    expect_scope_cancelled(UNR_CANCEL_PARTIAL, -71);
    close_loop();
}

/* ---- nested ---- */

/* A scope in a scope: a request for the outer one reaches the inner one's members, now and later;
 * one for the inner does not leave it. */
Test(scope, scopes_nest)
{
    for (int which = 0; which < 2; which++) {
        struct own       a = { 0 }, b = { 0 }, c = { 0 };
        struct unr_scope inner = { 0 };
        start_scope();
        unr_scope_start(&scope, unr_scope(&inner), NULL, NULL);
        add(&a, UNR_CANCEL_ALL);
        unr_scope_start(&inner, brew(&b, UNR_CANCEL_ALL), own_done, &b);
        cr_assert(unr_cancel_cause(which ? &inner.op : &scope.op, UNR_CANCEL_ALL, -71));
        unr_scope_start(&inner, brew(&c, UNR_CANCEL_ALL), own_done, &c);
        cr_assert_eq(a.requests, !which);
        unr_scope_close(&scope);
        submit();
        submit();
        expect_member(&b, -ECANCELED, UNR_VERDICT_CANCELLED, -71);
        expect_member(&c, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -71);
        cr_assert(unr_in_flight(&inner.op));
        unr_scope_close(&inner);
        if (which)
            unr_finish(&a.op, 0);
        run();
        cr_assert_eq(inner.op.result.error, -ECANCELED);
        cr_assert_eq(inner.op.result.value, 2);
        expect_scope(which ? 0 : -ECANCELED, 2);
    }
    close_loop();
}

/* A scope inside a deadline: what has not ended by then is asked to end, and the whole reads
 * -ETIMEDOUT. */
Test(scope, inside_a_deadline)
{
    struct seen         receive = { 0 };
    struct unr_deadline deadline = { 0 };
    char                in;
    int                 fds[2];
    unix_pair(fds);
    unr_start(loop, unr_cancel_after(&deadline, unr_scope(&scope), UNR_MSEC(1)), NULL, NULL);
    unr_scope_start(&scope, unr_recv(&receive.op, fds[0], &in, 1, 0), saw, &receive);
    unr_scope_close(&scope);
    run();
    cr_assert_eq(unr_outcome(&receive.result), -ETIMEDOUT);
    cr_assert_eq(unr_outcome(&deadline.op.result), -ETIMEDOUT);
    close_pair(fds);
    close_loop();
}

/* ---- the table ---- */

/* Ten thousand members, started and ended in all orders: the table grows, each member is found in
 * it, and when the scope ends nothing is left of it (the sanitizers look). */
Test(scope, ten_thousand_members)
{
    enum { N = 10000 };
    struct own *owns = calloc(N, sizeof *owns);
    for (int how = 0; how < 3; how++) {
        memset(owns, 0, N * sizeof *owns);
        start_scope();
        for (int i = 0; i < N; i++)
            add(&owns[i], UNR_CANCEL_ALL);
        cr_assert_eq(unr_loop_in_flight(loop), N + 1);
        for (int i = 0; i < N / 2; i++)
            unr_finish(&owns[how == 0 ? i : how == 1 ? N - 1 - i : (int)(i * 7919l % N)].op, 0);
        submit();
        cr_assert_eq(unr_loop_in_flight(loop), N / 2 + 1);
        if (how == 2)
            for (int i = N / 2; i < N; i++)
                unr_cancel_cause(&owns[i * 7919l % N].op, UNR_CANCEL_TOTAL, -77);
        else
            unr_cancel_cause(&scope.op, UNR_CANCEL_TOTAL, -71);
        unr_scope_close(&scope);
        run();
        expect_scope(how == 2 ? 0 : -ECANCELED, N);
        for (int i = 0; i < N; i++) {
            cr_assert_eq(owns[i].runs, 1);
            cr_assert_eq(owns[i].requests, owns[i].result.error ? 1 : 0);
        }
    }
    free(owns);
    close_loop();
}

/* A member whose memory is freed and given to the next, over and over, with a few hundred in
 * flight. */
Test(scope, members_come_and_go)
{
    enum { N = 300 };
    static struct own *owns[N];
    unsigned           random = 1;
    start_scope();
    for (int i = 0; i < 20000; i++) {
        random = random * 1103515245u + 12345u;
        struct own **at = &owns[(random >> 8) % N];
        if (*at) {
            unr_finish(&(*at)->op, 0);
            submit();
            cr_assert_eq((*at)->runs, 1);
            free(*at);
            *at = NULL;
        } else {
            *at = calloc(1, sizeof **at);
            add(*at, UNR_CANCEL_ALL);
        }
    }
    unr_cancel(&scope.op, UNR_CANCEL_ALL);
    unr_scope_close(&scope);
    run();
    for (int i = 0; i < N; i++) {
        if (owns[i])
            cr_assert_eq(owns[i]->runs, 1);
        free(owns[i]);
    }
    cr_assert_eq(scope_runs, 1);
    close_loop();
}

static int chain_left;

static void start_itself(struct own *own)
{
    if (chain_left-- > 0) {
        add(own, UNR_CANCEL_ALL);
        unr_finish(&own->op, 0);
    }
}

#if !SUPPORT_SANITIZED

/* No allocation while no more than eight members are in flight, however many come and go. */
Test(scope, nothing_is_allocated_for_eight_members)
{
    skip_with_checks();
    struct own owns[8] = { 0 };
    start_scope();
    submit();
    long before = allocations;
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 8; i++)
            add(&owns[i], UNR_CANCEL_ALL);
        for (int i = 0; i < 8; i++)
            unr_finish(&owns[i].op, 0);
        submit();
    }
    unr_scope_close(&scope);
    run();
    long allocated = allocations - before;
    cr_assert_eq(allocated, 0);
    expect_scope(0, 80);
    close_loop();
}

/* Nor where each of the eight starts the next in its `done`. */
Test(scope, nothing_is_allocated_for_eight_members_that_replace_themselves)
{
    skip_with_checks();
    struct own owns[8] = { 0 };
    chain_left = 100;
    start_scope();
    submit();
    long before = allocations;
    for (int i = 0; i < 8; i++) {
        owns[i].at_done = start_itself;
        add(&owns[i], UNR_CANCEL_ALL);
        unr_finish(&owns[i].op, 0);
    }
    unr_scope_close(&scope);
    run();
    long allocated = allocations - before;
    expect_scope(0, 108);
    cr_assert_eq(allocated, 0, "%ld allocations", allocated);
    close_loop();
}

/* Where there is no memory for one more member, that one ends with -ENOMEM without having begun, in
 * its own `done`; nobody else is disturbed, and later ones are served again. */
Test(scope, no_memory_for_one_more_member)
{
    struct own owns[8] = { 0 }, unlucky = { 0 }, later = { 0 };
    start_scope();
    for (int i = 0; i < 8; i++)
        add(&owns[i], UNR_CANCEL_ALL);
    refuse = true;
    add(&unlucky, UNR_CANCEL_ALL);
    refuse = false;
    cr_assert_eq(unlucky.runs, 0);
    cr_assert_eq(unr_loop_in_flight(loop), 10);
    submit();
    expect_member(&unlucky, -ENOMEM, UNR_VERDICT_NONE, 0);
    cr_assert_eq(unlucky.starts, 0);
    cr_assert_eq(unlucky.result.fd, -1);
    cr_assert_eq(unr_loop_in_flight(loop), 9);
    for (int i = 0; i < 8; i++)
        cr_assert(unr_in_flight(&owns[i].op) && owns[i].requests == 0);
    add(&later, UNR_CANCEL_ALL);
    end(&later, 0);
    expect_member(&later, 0, UNR_VERDICT_NONE, 0);
    unr_cancel_cause(&scope.op, UNR_CANCEL_ALL, -71);
    for (int i = 0; i < 8; i++)
        cr_assert_eq(owns[i].requests, 1);
    unr_scope_close(&scope);
    run();
    cr_assert_eq(scope_result.error, -ECANCELED);
    close_loop();
}

/* Such a member, started on a slot, leaves that as it was. */
Test(scope, no_memory_and_a_slot)
{
    struct own        owns[8] = { 0 }, unlucky = { 0 };
    struct unr_signal signal = { 0 };
    start_scope();
    for (int i = 0; i < 8; i++)
        add(&owns[i], UNR_CANCEL_ALL);
    refuse = true;
    unr_scope_start(&scope, unr_bind_slot(brew(&unlucky, UNR_CANCEL_ALL), unr_signal_slot(&signal)),
                    own_done, &unlucky);
    refuse = false;
    unr_signal_emit(&signal, UNR_CANCEL_ALL);
    submit();
    cr_assert_eq(unlucky.runs, 1);
    cr_assert_eq(unlucky.result.error, -ENOMEM);
    cr_assert_not(unr_slot_has_handler(unr_signal_slot(&signal)));
    unr_cancel(&scope.op, UNR_CANCEL_ALL);
    unr_scope_close(&scope);
    run();
    close_loop();
}

static struct own scarce[9];

static void add_without_memory(struct seen *seen)
{
    (void)seen;
    refuse = true;
    add(&scarce[8], UNR_CANCEL_ALL);
    refuse = false;
}

static void expect_all_done(struct unr_op *op)
{
    scope_saw(op);
    for (int i = 0; i < 9; i++)
        cr_assert_eq(scarce[i].runs, 1, "the scope's done came before that of member %d", i);
}

/* The scope's `done` comes behind that of a member, too, that there was no memory for, though all
 * others end in the turn in which it was started: who frees in the scope's `done` what members
 * share is safe. */
Test(scope, no_memory_and_the_order_of_done)
{
    struct seen nop = { .then = add_without_memory };
    scope_runs = 0;
    start(&nop, unr_nop(&nop.op));
    unr_cancel(&nop.op, UNR_CANCEL_ALL); /* so that it ends first */
    unr_start(loop, unr_scope(&scope), expect_all_done, NULL);
    for (int i = 0; i < 8; i++) {
        add(&scarce[i], UNR_CANCEL_ALL);
        unr_finish(&scarce[i].op, 0);
    }
    unr_scope_close(&scope);
    run();
    cr_assert_eq(scope_runs, 1);
    cr_assert_eq(scarce[8].result.error, -ENOMEM);
    close_loop();
}

#else

/* Members that replace themselves in their own `done`. */
Test(scope, members_that_replace_themselves)
{
    struct own owns[8] = { 0 };
    chain_left = 100;
    start_scope();
    for (int i = 0; i < 8; i++) {
        owns[i].at_done = start_itself;
        add(&owns[i], UNR_CANCEL_ALL);
        unr_finish(&owns[i].op, 0);
    }
    unr_scope_close(&scope);
    run();
    expect_scope(0, 108);
    close_loop();
}

#endif

/* ---- closing the loop ---- */

/* Closing the loop ends the members of an open scope, and the scope. */
Test(scope, closing_the_loop_with_members)
{
    struct own  a = { 0 };
    struct seen receive = { 0 };
    char        in;
    int         fds[2];
    unix_pair(fds);
    start_scope();
    add(&a, UNR_CANCEL_ALL);
    unr_scope_start(&scope, unr_recv(&receive.op, fds[0], &in, 1, 0), saw, &receive);
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_member(&a, -ECANCELED, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    expect_cancelled(&receive, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    expect_scope(-ECANCELED, 2);
    expect_scope_cancelled(UNR_CANCEL_TOTAL, -ESHUTDOWN);
    close_pair(fds);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* An open scope without members does not keep a loop from being closed. */
Test(scope, closing_the_loop_with_an_empty_scope)
{
    start_scope();
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_scope(0, 0);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* A shield does not keep it out. */
Test(scope, closing_the_loop_with_a_shielded_scope)
{
    struct own        a = { 0 };
    struct unr_filter shield = { 0 };
    unr_start(loop, unr_shield(&shield, unr_scope(&scope)), NULL, NULL);
    add(&a, UNR_CANCEL_ALL);
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_member(&a, -ECANCELED, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    cr_assert_eq(scope.op.result.error, -ECANCELED);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

static void start_twice_more(struct own *own)
{
    struct own *next = own->context;
    if (next)
        add(next, UNR_CANCEL_ALL);
}

/* What is started in the scope while the loop is being closed ends before it begins: while the
 * scope is in flight, and when it has ended. */
Test(scope, starts_while_the_loop_closes)
{
    struct own c = { 0 }, b = { .at_done = start_twice_more, .context = &c },
               a = { .at_done = start_twice_more, .context = &b };
    start_scope();
    add(&a, UNR_CANCEL_ALL);
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_member(&a, -ECANCELED, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    expect_member(&b, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    expect_member(&c, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    cr_assert(b.starts == 0 && c.starts == 0);
    expect_scope(-ECANCELED, 3);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

static void start_in_the_ended_scope(struct seen *seen)
{
    cr_assert_eq(unr_in_flight(&scope.op), false);
    add(seen->context, UNR_CANCEL_ALL);
}

/* After its end: it is refused as everything else is that starts then, and not a broken
 * contract. */
Test(scope, start_in_a_scope_that_closing_the_loop_has_ended)
{
    struct own  late = { 0 };
    struct seen ended_later = { .then = start_in_the_ended_scope, .context = &late };
    int         fd = eventfd(0, EFD_CLOEXEC);
    start_scope();
    start(&ended_later,
          unr_poll(&ended_later.op, fd, POLLIN)); /* ends behind the scope, by way of the kernel */
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_scope(0, 0);
    expect_member(&late, -ECANCELED, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    close(fd);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

static void start_the_scope(struct seen *seen)
{
    (void)seen;
    start_scope();
}

/* A scope that is started while the loop is being closed never begins: UNSUBMITTED, -ESHUTDOWN
 * (rule 10). */
Test(scope, started_while_the_loop_closes)
{
    struct seen poll = { .then = start_the_scope };
    int         fd = eventfd(0, EFD_CLOEXEC);
    start(&poll, unr_poll(&poll.op, fd, POLLIN));
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    close(fd);
    cr_assert_eq(count_descriptors(), open_descriptors);
    cr_assert_eq(scope_runs, 1);
    cr_assert_eq(unr_outcome(&scope_result), -ESHUTDOWN, "outcome %d", unr_outcome(&scope_result));
    cr_assert_eq(scope_result.verdict, UNR_VERDICT_UNSUBMITTED);
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
    Test(scope, name)                                                                              \
    {                                                                                              \
        struct death death = in_child(name##_in_child, NULL);                                      \
        expect_abort(&death, (const char *const[]){ "unring: broken contract:",                    \
                                                    "unring: the rule:", __VA_ARGS__, NULL });     \
        close_loop();                                                                              \
    }                                                                                              \
    static void name(void)

#define ENDED_RULE                                                                                 \
    "started in a scope that is not in flight", "until it is closed and empty", "brew"

static struct own broken;

/* Nothing is started in a scope that has ended. */
BREACH(broken_by_a_start_in_an_ended_scope, ENDED_RULE)
{
    unr_start(loop, unr_scope(&scope), NULL, NULL);
    unr_scope_close(&scope);
    must(unr_loop_run(loop) == 0);
    add(&broken, UNR_CANCEL_ALL);
}

/* Nor in one that is closed and empty and waits for its `done`. */
BREACH(broken_by_a_start_between_the_end_and_done, ENDED_RULE)
{
    unr_start(loop, unr_scope(&scope), NULL, NULL);
    unr_scope_close(&scope);
    add(&broken, UNR_CANCEL_ALL);
}

/* Nor before it is started. */
BREACH(broken_by_a_start_in_a_scope_that_is_only_described, ENDED_RULE)
{
    unr_scope(&scope);
    add(&broken, UNR_CANCEL_ALL);
}

/* What is started in it is described. */
BREACH(broken_by_a_start_of_what_is_in_flight, "started while it is in flight", "brew")
{
    unr_start(loop, unr_scope(&scope), NULL, NULL);
    add(&broken, UNR_CANCEL_ALL);
    unr_scope_start(&scope, &broken.op, NULL, NULL);
}
