/* SPDX-License-Identifier: MIT */
/* Nurseries: children that end before the block does, whatever fails and whoever asks.  What their
 * cancel scope does by itself is in test_cancel_scope.c. */
#include "support.h"

#include <sys/mman.h>

TestSuite(nursery, .init = open_loop, .timeout = 60);
TestSuite(nursery_contract, .timeout = 60);

enum { CHILDREN = 4, FAILURE = -70, OUTSIDE = -60, OWN = -50, FOR_EVER = 1000 };

/* ---- memory, as the library sees it ---- */

#if !SUPPORT_SANITIZED

void         *__libc_calloc(size_t count, size_t size);
static int    refused_after = -1; /* so many allocations succeed; below 0: all do */
static size_t slab_size = 1024 * 1024;

static bool refused(void)
{
    return refused_after >= 0 && refused_after-- == 0 && (refused_after = 0, true);
}

void *calloc(size_t count, size_t size)
{
    return refused() ? NULL : __libc_calloc(count, size);
}

void *mmap(void *address, size_t size, int protection, int flags, int of, off_t offset)
{
    if (flags & MAP_NORESERVE && size >= slab_size && refused()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, address, size, protection, flags, of, offset);
}

#endif

/* ---- a fiber with a nursery ---- */

struct play;

struct child {
    struct play *play;
    int          id, turns, error;  /* it yields so often, and returns that; turns < 0: it waits */
    int          began, ended, saw; /* the latter: the outcome of its wait */
};

struct play {
    struct unr_fiber   fiber;
    struct seen        seen;
    struct unr_nursery nursery;
    struct child       children[CHILDREN];
    int                count, turns, error, how; /* of the body, as of a child */
    int                saw, closed, left; /* what the body saw, what the close and the fiber said */
    unsigned           flags;
    struct unr_op      ops[2];
    int                fds[2];
    char               byte;
};

static int wait_or_yield(int turns)
{
    int error = 0;
    if (turns < 0)
        return unr_sleep(UNR_SEC(FOR_EVER));
    while (turns-- && !error)
        error = unr_yield();
    return error;
}

static int child_runs(void *argument)
{
    struct child *c = argument;
    c->began++;
    c->saw = wait_or_yield(c->turns);
    c->ended++;
    return c->error ? c->error : c->saw;
}

static int body_runs(void *argument)
{
    struct play *p = argument;
    unr_nursery_open(&p->nursery, p->flags);
    for (int i = 0; i < p->count; i++) {
        p->children[i].play = p;
        p->children[i].id = i;
        cr_assert_eq(unr_nursery_spawn(&p->nursery, child_runs, &p->children[i]), 0);
        cr_assert_eq(p->children[i].began, 0, "never inside the spawn");
    }
    cr_assert_eq(unr_nursery_children(&p->nursery), (unsigned)p->count);
    p->saw = wait_or_yield(p->turns);
    p->closed = unr_nursery_close(&p->nursery, p->error ? p->error : p->saw);
    cr_assert_eq(unr_nursery_children(&p->nursery), 0);
    for (int i = 0; i < p->count; i++)
        cr_assert_eq(p->children[i].ended, 1, "all children have ended when it closes");
    return p->closed;
}

static void begin_with(struct play *p, unr_fiber_fn *fn)
{
    p->seen.runs = 0;
    start(&p->seen, unr_fiber(&p->fiber, fn, p));
    submit();
}

static void begin(struct play *p)
{
    begin_with(p, body_runs);
}

static void finish_play(struct play *p)
{
    run();
    cr_assert_eq(p->seen.runs, 1);
}

static struct unr_stats stats(void)
{
    struct unr_stats s;
    unr_loop_stats(loop, &s, sizeof s);
    return s;
}

/* ---- the children end first ---- */

/* Children and body that end after so many turns, in each order. */
Test(nursery, closes_when_all_have_ended)
{
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 4; b++)
            for (int body = 0; body < 4; body++) {
                struct play p = { .count = 2, .turns = body };
                p.children[0].turns = a;
                p.children[1].turns = b;
                begin(&p);
                finish_play(&p);
                cr_assert_eq(p.closed, 0);
                cr_assert_eq(p.seen.result.error, 0);
                cr_assert_eq(p.seen.result.verdict, UNR_VERDICT_NONE);
            }
    cr_assert_eq(stats().fibers_begun, 64 * 3);
    cr_assert_eq(stats().fibers_ended, 64 * 3);
    close_loop();
}

static int opens_and_closes(void *argument)
{
    struct play *p = argument;
    unr_nursery_open(&p->nursery, p->flags);
    p->closed = unr_nursery_close(&p->nursery, p->error);
    return p->closed;
}

/* An empty nursery returns what the body did, also in a fiber that was asked: it injects nothing.
 */
Test(nursery, an_empty_one_injects_nothing)
{
    for (int asked = 0; asked < 2; asked++)
        for (int error = 0; error < 3; error++) {
            struct play p = { .error = (int[]){ 0, 5, FAILURE }[error], .how = asked };
            start(&p.seen, unr_fiber(&p.fiber, opens_and_closes, &p));
            if (asked)
                unr_cancel(&p.fiber.op, UNR_CANCEL_PARTIAL);
            run();
            cr_assert_eq(p.closed, p.error < 0 ? p.error : 0, "%d", p.closed);
        }
    close_loop();
}

static int asked_and_closes(void *argument)
{
    struct play *p = argument;
    unr_cancel_cause(&p->fiber.op, UNR_CANCEL_TERMINAL, OUTSIDE);
    return opens_and_closes(argument);
}

Test(nursery, an_empty_one_in_a_cancelled_fiber)
{
    struct play p = { .count = 0 };
    begin_with(&p, asked_and_closes);
    finish_play(&p);
    cr_assert_eq(p.closed, 0, "nothing was cancelled");
    p = (struct play){ .error = -ECANCELED };
    begin_with(&p, asked_and_closes);
    finish_play(&p);
    cr_assert_eq(p.closed, -ECANCELED);
    close_loop();
}

/* ---- a child always runs ---- */

enum way {
    PLAIN,
    NURSERY_ASKED,
    FIBER_ASKED,
    ASKED_BEFORE_IT_OPENS,
    ASKED_AFTER_THE_SPAWN,
    SIBLING_FAILED,
    LOOP_CLOSED,
    IN_A_CLOSING_LOOP,
    OPENED_IN_A_CLOSING_LOOP,
    WAYS
};

static int spawns_one(void *argument)
{
    struct play  *p = argument;
    struct child *c = &p->children[0];
    int           error = 0;
    c->turns = p->how == PLAIN ? 1 : -1;
    if (p->how == ASKED_BEFORE_IT_OPENS)
        unr_cancel_cause(&p->fiber.op, UNR_CANCEL_TERMINAL, OUTSIDE);
    if (p->how == OPENED_IN_A_CLOSING_LOOP)
        unr_sleep(UNR_SEC(FOR_EVER));
    unr_nursery_open(&p->nursery, 0);
    if (p->how == NURSERY_ASKED)
        cr_assert(unr_nursery_cancel(&p->nursery, UNR_CANCEL_TERMINAL, OWN));
    if (p->how == FIBER_ASKED)
        unr_cancel_cause(&p->fiber.op, UNR_CANCEL_TERMINAL, OUTSIDE);
    if (p->how == IN_A_CLOSING_LOOP)
        error = unr_sleep(UNR_SEC(FOR_EVER));
    if (p->how == SIBLING_FAILED) {
        p->children[1].error = FAILURE;
        cr_assert_eq(unr_nursery_spawn(&p->nursery, child_runs, &p->children[1]), 0);
    }
    cr_assert_eq(unr_nursery_spawn(&p->nursery, child_runs, c), 0);
    if (p->how == ASKED_AFTER_THE_SPAWN)
        unr_nursery_cancel(&p->nursery, UNR_CANCEL_ALL, OWN);
    cr_assert_eq(c->began, 0);
    p->closed = unr_nursery_close(&p->nursery, error);
    cr_assert_eq(c->began, 1, "way %d", p->how);
    cr_assert_eq(c->ended, 1);
    return p->closed;
}

/* Whatever was asked until then, the function runs at least to its first await, which a request
 * that was made before ends. */
Test(nursery, a_spawned_one_runs_to_its_first_await)
{
    for (int way = 0; way < WAYS; way++) {
        bool        closes = way >= LOOP_CLOSED;
        struct play p = { .how = way };
        int         saw[WAYS] = {
                    0, OWN, OUTSIDE, OUTSIDE, OWN, FAILURE, -ESHUTDOWN, -ESHUTDOWN, -ESHUTDOWN
        };
        int closed[WAYS] = { 0,       OWN,        -ECANCELED, -ECANCELED, OWN,
                             FAILURE, -ECANCELED, -ECANCELED, -ECANCELED };
        begin_with(&p, spawns_one);
        if (closes) {
            cr_assert_eq(unr_loop_close(loop), 0);
            open_loop();
        } else {
            finish_play(&p);
        }
        cr_assert_eq(p.seen.runs, 1);
        cr_assert_eq(p.children[0].began, 1);
        cr_assert_eq(p.children[0].saw, saw[way], "way %d: %d", way, p.children[0].saw);
        cr_assert_eq(p.closed, closed[way], "way %d: %d", way, p.closed);
    }
    close_loop();
}

/* ---- what fails ---- */

/* Three children of which some fail after some turns, with a body that fails or waits: all have
 * ended when it closes, and the first failure is what it returns. */
Test(nursery, all_children_have_ended_when_it_closes_whatever_fails_when)
{
    enum { KINDS = 5 }; /* waits; ends after one turn; fails after none, one, two */
    for (int combination = 0; combination < KINDS * KINDS * KINDS * 4; combination++) {
        struct play p = { .count = 3 };
        int         rest = combination, first = 0, first_turn = FOR_EVER;
        for (int i = 0; i < 3; i++) {
            int kind = rest % KINDS;
            rest /= KINDS;
            p.children[i].turns = kind == 0 ? -1 : kind == 1 ? 1 : kind - 2;
            p.children[i].error = kind < 2 ? 0 : FAILURE - i;
            if (kind >= 2 && kind < first_turn) {
                first_turn = kind;
                first = FAILURE - i;
            }
        }
        p.turns = rest < 2 ? -1 : rest; /* it fails, for one half, in the turns of the children */
        p.error = rest == 3 ? OWN : 0;
        bool waits = first == 0; /* for ever, all or some: somebody has to end them */
        begin(&p);
        if (waits)
            unr_nursery_cancel(&p.nursery, UNR_CANCEL_ALL, OWN);
        finish_play(&p);
        cr_assert(p.closed <= 0);
        if (first && rest < 3)
            cr_assert_eq(p.closed, first, "%d: %d, not %d", combination, p.closed, first);
        cr_assert(p.closed == OWN || (first && p.closed == first), "%d: %d", combination, p.closed);
    }
    close_loop();
}

/* The first one is the cause, which the other children, the body and the caller see. */
Test(nursery, two_children_that_fail_in_one_turn)
{
    for (int turn = 0; turn < 2; turn++) {
        struct play p = { .count = 3, .turns = -1 };
        for (int i = 0; i < 2; i++) {
            p.children[i].turns = turn;
            p.children[i].error = FAILURE - i;
        }
        p.children[2].turns = -1;
        begin(&p);
        finish_play(&p);
        cr_assert_eq(p.children[2].saw, FAILURE);
        cr_assert_eq(p.saw, FAILURE);
        cr_assert_eq(p.closed, FAILURE);
        cr_assert_eq(p.seen.result.error, FAILURE);
        cr_assert_eq(p.seen.result.verdict, UNR_VERDICT_NONE, "the fiber itself was not asked");
        cr_assert_eq(unr_cancel_scope_cause(unr_nursery_scope(&p.nursery)), FAILURE);
    }
    close_loop();
}

Test(nursery, a_failing_child_cancels_the_body)
{
    struct play p = { .count = 1, .turns = -1 };
    p.children[0] = (struct child){ .turns = 2, .error = FAILURE };
    begin(&p);
    finish_play(&p);
    cr_assert_eq(p.saw, FAILURE);
    cr_assert_eq(p.closed, FAILURE);
    close_loop();
}

/* A body that fails cancels its children, with its error as the cause. */
Test(nursery, a_failing_body_cancels_the_children)
{
    struct play p = { .count = 2, .turns = 1, .error = FAILURE };
    p.children[0].turns = p.children[1].turns = -1;
    begin(&p);
    finish_play(&p);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(p.children[i].saw, FAILURE);
    cr_assert_eq(p.closed, FAILURE);
    close_loop();
}

/* An error that a child or the body meets while it cleans up is reported, not the cancellation that
 * led there; unless an error came before it. */
Test(nursery, an_error_in_clean_up_is_not_hidden)
{
    struct play p = { .count = 1, .turns = -1 };
    p.children[0] = (struct child){ .turns = -1, .error = FAILURE };
    begin(&p);
    unr_nursery_cancel(&p.nursery, UNR_CANCEL_ALL, OWN);
    finish_play(&p);
    cr_assert_eq(p.closed, FAILURE, "a child's: %d", p.closed);

    p = (struct play){ .count = 1, .turns = -1, .error = FAILURE };
    p.children[0].turns = -1;
    begin(&p);
    unr_cancel_cause(&p.fiber.op, UNR_CANCEL_TERMINAL, OUTSIDE);
    finish_play(&p);
    cr_assert_eq(p.closed, FAILURE, "the body's: %d", p.closed);
    cr_assert_eq(p.seen.result.verdict, UNR_VERDICT_TOO_LATE);

    p = (struct play){ .count = 2, .turns = -1, .error = -1 };
    p.children[0] = (struct child){ .turns = 1, .error = FAILURE };
    p.children[1] = (struct child){ .turns = -1, .error = -2 };
    begin(&p);
    finish_play(&p);
    cr_assert_eq(p.closed, FAILURE, "the first of all: %d", p.closed);
    close_loop();
}

/* A body that succeeds while a request ends a child is no success: whoever asked. */
Test(nursery, children_that_were_cancelled_are_no_success)
{
    enum { BY_ITSELF, ON_PURPOSE, FROM_OUTSIDE, BY_DEADLINE, HOWS };
    static const int closed[HOWS] = { OWN, 0, -ECANCELED, -ETIMEDOUT };
    for (int how = 0; how < HOWS; how++) {
        struct play p = { .count = 2 };
        p.children[0].turns = -1;
        begin(&p); /* the body has returned, and waits in its close */
        cr_assert_eq(unr_nursery_children(&p.nursery), 2);
        submit();
        submit();
        cr_assert_eq(unr_nursery_children(&p.nursery), 1);
        switch (how) {
        case BY_ITSELF: unr_nursery_cancel(&p.nursery, UNR_CANCEL_ALL, OWN); break;
        case ON_PURPOSE: unr_nursery_cancel(&p.nursery, UNR_CANCEL_ALL, -ECANCELED); break;
        case FROM_OUTSIDE: unr_cancel_cause(&p.fiber.op, UNR_CANCEL_TERMINAL, OUTSIDE); break;
        default: cr_assert(unr_cancel_scope_move(unr_nursery_scope(&p.nursery), 1)); break;
        }
        finish_play(&p);
        cr_assert_eq(p.closed, closed[how], "%d: %d", how, p.closed);
        cr_assert_eq(unr_cancel_scope_caught(unr_nursery_scope(&p.nursery)), how != FROM_OUTSIDE);
        if (how == FROM_OUTSIDE)
            expect_cancelled(&p.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, OUTSIDE);
        else
            cr_assert_eq(p.seen.result.verdict, UNR_VERDICT_NONE);
        cr_assert_not(unr_nursery_cancel(&p.nursery, UNR_CANCEL_ALL, OWN), "it is closed");
    }
    close_loop();
}

/* A request that ends nobody leaves a success. */
Test(nursery, a_request_that_came_too_late_is_a_success)
{
    struct play p = { .count = 1 };
    p.children[0].turns = -1;
    p.children[0].error = 1; /* it has succeeded all the same */
    begin(&p);
    submit();
    unr_cancel_cause(&p.fiber.op, UNR_CANCEL_TERMINAL, OUTSIDE);
    finish_play(&p);
    cr_assert_eq(p.closed, 0);
    cr_assert_eq(p.seen.result.verdict, UNR_VERDICT_TOO_LATE);
    close_loop();
}

/* In an independent one a failure is the child's own affair; a failing body still ends them. */
Test(nursery, independent)
{
    struct play p = { .count = 3, .turns = 3, .flags = UNR_NURSERY_INDEPENDENT };
    p.children[0].error = FAILURE;
    p.children[1].turns = 5;
    p.children[2] = (struct child){ .turns = 2, .error = FAILURE };
    begin(&p);
    finish_play(&p);
    cr_assert_eq(p.saw, 0);
    cr_assert_eq(p.children[1].saw, 0);
    cr_assert_eq(p.closed, 0);

    p = (struct play){ .count = 1, .turns = 1, .flags = UNR_NURSERY_INDEPENDENT, .error = OWN };
    p.children[0].turns = -1;
    begin(&p);
    finish_play(&p);
    cr_assert_eq(p.children[0].saw, OWN);
    cr_assert_eq(p.closed, OWN);
    close_loop();
}

/* ---- children that come later ---- */

static int spawns_another(void *argument)
{
    struct child *c = argument;
    c->began++;
    c->saw = unr_yield();
    struct child *next = c + 1;
    if (next < c->play->children + CHILDREN) {
        next->play = c->play;
        cr_assert_eq(unr_nursery_spawn(&c->play->nursery, spawns_another, next), 0);
    }
    c->ended++;
    return c->saw;
}

static int spawns_a_chain(void *argument)
{
    struct play *p = argument;
    unr_nursery_open(&p->nursery, 0);
    p->children[0].play = p;
    cr_assert_eq(unr_nursery_spawn(&p->nursery, spawns_another, p->children), 0);
    p->closed = unr_nursery_close(&p->nursery, p->error);
    for (int i = 0; i < CHILDREN; i++)
        cr_assert_eq(p->children[i].ended, 1, "child %d", i);
    return p->closed;
}

/* What a child spawns while the nursery is being closed is awaited, and asked as all were. */
Test(nursery, a_childs_spawn_during_the_close_is_awaited)
{
    for (int fails = 0; fails < 2; fails++) {
        struct play p = { .error = fails ? FAILURE : 0 };
        begin_with(&p, spawns_a_chain);
        finish_play(&p);
        cr_assert_eq(p.closed, p.error);
        for (int i = 0; i < CHILDREN; i++)
            cr_assert_eq(p.children[i].saw, p.error);
    }
    close_loop();
}

#if !SUPPORT_SANITIZED

static int counts(void *argument)
{
    struct child *c = argument;
    c->began++;
    return 0;
}

static int spawns_when_short(void *argument)
{
    struct play *p = argument;
    int          spawned = 0, error = 0;
    unr_nursery_open(&p->nursery, 0);
    for (int i = 0; i < 40; i++) { /* beyond what a scope has room for, and a slab has stacks */
        refused_after = p->how;
        error = unr_nursery_spawn(&p->nursery, counts, &p->children[0]);
        refused_after = -1;
        cr_assert(error == 0 || error == -ENOMEM);
        spawned += error == 0;
    }
    cr_assert_eq(unr_nursery_children(&p->nursery), (unsigned)spawned);
    p->closed = unr_nursery_close(&p->nursery, 0);
    cr_assert_eq(p->children[0].began, spawned, "those that were taken have run, no others");
    p->count = spawned;
    return p->closed;
}

/* Where the structure, a stack, or a place in the scope is lacking, nothing runs, and the argument
 * stays the caller's. */
Test(nursery, no_memory_for_a_child_leaves_its_argument)
{
    bool refused_one = false, took_one = false;
    for (int calls = 0; calls < 4; calls++) {
        struct unr_loop_options large = { .size = sizeof large, .fiber_stack = 1 << 20 };
        struct play             p = { .how = calls };
        cr_assert_eq(unr_loop_close(loop), 0);
        cr_assert_eq(unr_loop_open(&loop, &large), 0);
        begin_with(&p, spawns_when_short);
        finish_play(&p);
        cr_assert_eq(p.closed, 0);
        refused_one |= p.count < 40;
        took_one |= p.count > 0;
        cr_assert_eq(stats().fibers_begun, stats().fibers_ended);
        cr_assert_eq(stats().fibers_begun, (uint64_t)p.count + 1);
    }
    cr_assert(refused_one && took_one);
    close_loop();
}

#endif

enum { MANY = 1000 };

static int spawns_a_thousand(void *argument)
{
    struct play *p = argument;
    unr_nursery_open(&p->nursery, 0);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(unr_nursery_spawn(&p->nursery, child_runs, &p->children[0]), 0);
    p->closed = unr_nursery_close(&p->nursery, 0);
    cr_assert_eq(p->children[0].ended, MANY);
    return p->closed;
}

Test(nursery, a_thousand_children_cancelled_at_once)
{
    for (int i = 0; i < 2; i++) {
        struct play p = { .count = 0 };
        p.children[0].turns = -1;
        begin_with(&p, spawns_a_thousand);
        submit();
        cr_assert_eq(p.children[0].began, MANY);
        unr_cancel_cause(&p.fiber.op, UNR_CANCEL_TERMINAL, OUTSIDE);
        finish_play(&p);
        cr_assert_eq(p.closed, -ECANCELED);
    }
    cr_assert_eq(stats().fibers_ended, 2 * (MANY + 1));
    close_loop();
}

/* ---- children of the caller's own ---- */

static int starts_operations(void *argument)
{
    struct play     *p = argument;
    struct unr_fiber own = { 0 };
    struct unr_group group = { 0 };
    struct unr_timer timer = { 0 };
    struct child     waits = { .turns = p->turns };
    struct unr_op   *members[] = { unr_recv(&p->ops[1], p->fds[1], &p->byte, 1, 0),
                                   unr_timer_after(&timer, UNR_SEC(FOR_EVER)) };
    unr_nursery_open(&p->nursery, p->flags);
    unr_nursery_start(&p->nursery, unr_recv(&p->ops[0], p->fds[0], &p->byte, 1, 0));
    unr_nursery_start(&p->nursery, unr_any(&group, members, 2));
    unr_nursery_start(&p->nursery, unr_fiber(&own, child_runs, &waits));
    cr_assert_eq(unr_nursery_children(&p->nursery), 3);
    p->closed = unr_nursery_close(&p->nursery, 0);
    cr_assert_eq(waits.ended, waits.began);
    cr_assert_not(unr_in_flight(&p->ops[0]) || unr_in_flight(&group.op) || unr_in_flight(&own.op));
    p->saw = own.op.result.verdict;
    p->left = unr_outcome(&p->ops[0].result);
    return p->closed;
}

/* A read, a group and a fiber of the caller's are children like spawned ones, but for a fiber that
 * is asked before it begins: it never runs. */
Test(nursery, starts_any_operation)
{
    struct play p = { .turns = 1 };
    unix_pair(p.fds);
    begin_with(&p, starts_operations);
    cr_assert_eq(write(p.fds[0], "x", 1), 1);
    cr_assert_eq(write(p.fds[1], "x", 1), 1);
    finish_play(&p);
    cr_assert_eq(p.closed, 0);

    p.turns = -1;
    begin_with(&p, starts_operations);
    unr_nursery_cancel(&p.nursery, UNR_CANCEL_ALL, OWN);
    finish_play(&p);
    cr_assert_eq(p.closed, OWN);
    cr_assert_eq(p.saw, UNR_VERDICT_UNSUBMITTED);
    cr_assert_eq(p.left, OWN);

    begin_with(&p, starts_operations);
    submit();
    unr_cancel_cause(&p.ops[0], UNR_CANCEL_ALL, -9); /* its own affair: it has failed, then */
    finish_play(&p);
    cr_assert_eq(p.closed, -9);
    cr_assert_eq(p.saw, UNR_VERDICT_CANCELLED);
    close_pair(p.fds);
    close_loop();
}

static int named_child(void *argument)
{
    struct unr_stack_use use;
    unr_stack_use(&use, sizeof use);
    cr_assert_eq(use.size >> 10, 64);
    cr_assert_str_eq(unr_fiber_name(unr_fiber_self()), "oarsman");
    *(int *)argument = 1;
    return 0;
}

static int spawns_with_options(void *argument)
{
    struct unr_nursery       nursery;
    struct unr_fiber_options options = { .size = sizeof options,
                                         .name = "oarsman",
                                         .stack = 64 << 10 };
    unr_nursery_open(&nursery, 0);
    cr_assert_eq(unr_nursery_spawn_with(&nursery, named_child, argument, &options), 0);
    return unr_nursery_close(&nursery, 0);
}

Test(nursery, spawns_with_a_name_and_a_size)
{
    struct unr_fiber fiber = { 0 };
    struct seen      seen = { 0 };
    int              ran = 0;
    start(&seen, unr_fiber(&fiber, spawns_with_options, &ran));
    run();
    cr_assert_eq(ran, 1);
    close_loop();
}

/* ---- one inside the other ---- */

static int opens_an_inner_one(void *argument)
{
    struct play       *p = argument;
    struct unr_nursery outer;
    unr_nursery_open(&outer, 0);
    cr_assert_eq(unr_nursery_spawn(&outer, child_runs, &p->children[2]), 0);
    p->error = 0;
    int error = body_runs(p);
    p->left = unr_nursery_close(&outer, error);
    return p->left;
}

/* A failure inside ends the inner one; a failure further out ends both, and is not the inner
 * one's. */
Test(nursery, one_in_another)
{
    struct play p = { .count = 2, .turns = -1 };
    p.children[0].turns = p.children[2].turns = -1;
    p.children[1] = (struct child){ .turns = 2, .error = FAILURE };
    begin_with(&p, opens_an_inner_one);
    finish_play(&p);
    cr_assert_eq(p.closed, FAILURE);
    cr_assert_eq(p.left, FAILURE);
    cr_assert_eq(p.children[2].saw, FAILURE);

    p = (struct play){ .count = 2, .turns = -1 };
    p.children[0].turns = p.children[1].turns = -1;
    p.children[2] = (struct child){ .turns = 2, .error = FAILURE };
    begin_with(&p, opens_an_inner_one);
    finish_play(&p);
    cr_assert_eq(p.saw, FAILURE);
    cr_assert_eq(p.children[0].saw, FAILURE);
    cr_assert_eq(p.closed, -ECANCELED, "it was the outer one's: %d", p.closed);
    cr_assert_eq(p.left, FAILURE);
    close_loop();
}

static int shields_its_children(void *argument)
{
    struct play            *p = argument;
    struct unr_cancel_scope shield;
    unr_cancel_scope_enter_shield(&shield, UNR_NEVER);
    int error = body_runs(p);
    return unr_cancel_scope_leave(&shield, error);
}

/* Requests from outside do not reach the children of a nursery in a shield. */
Test(nursery, in_a_shield)
{
    struct play p = { .count = 1, .turns = 1 };
    p.children[0].turns = 3;
    begin_with(&p, shields_its_children);
    unr_cancel_cause(&p.fiber.op, UNR_CANCEL_TERMINAL, OUTSIDE);
    finish_play(&p);
    cr_assert_eq(p.children[0].saw, 0);
    cr_assert_eq(p.closed, 0);
    close_loop();
}

static int resets_its_state(void *argument)
{
    struct play *p = argument;
    unr_nursery_open(&p->nursery, 0);
    unr_state_reset(unr_fiber_state(), unr_let_none, NULL, NULL);
    cr_assert_eq(unr_nursery_spawn(&p->nursery, child_runs, &p->children[0]), 0);
    cr_assert_eq(unr_yield(), 0);
    unr_cancel_cause(&p->fiber.op, UNR_CANCEL_TERMINAL, OUTSIDE);
    cr_assert_eq(unr_yield(), 0);
    cr_assert_eq(p->children[0].ended, 0);
    unr_state_reset(unr_fiber_state(), NULL, NULL, NULL);
    cr_assert_eq(unr_fiber_cancelled(), OUTSIDE);
    p->closed = unr_nursery_close(&p->nursery, 0);
    return p->closed;
}

/* What the nursery's state let in is for body and children alike, when it is reset as well. */
Test(nursery, a_reset_lets_in_for_the_children)
{
    struct play p = { .count = 0 };
    p.children[0].turns = -1;
    begin_with(&p, resets_its_state);
    finish_play(&p);
    cr_assert_eq(p.children[0].saw, OUTSIDE);
    cr_assert_eq(p.closed, -ECANCELED);
    close_loop();
}

/* ---- soft, then hard ---- */

static int lets_total(void *argument)
{
    struct child *c = argument;
    unr_state_reset(unr_fiber_state(), unr_let_total, NULL, NULL);
    return child_runs(c);
}

static int spawns_soft_and_hard(void *argument)
{
    struct play *p = argument;
    unr_nursery_open(&p->nursery, 0);
    cr_assert_eq(unr_nursery_spawn(&p->nursery, lets_total, &p->children[0]), 0);
    cr_assert_eq(unr_nursery_spawn(&p->nursery, child_runs, &p->children[1]), 0);
    p->closed = unr_nursery_close(&p->nursery, 0);
    return p->closed;
}

/* TOTAL alone ends who lets it in, ALL the others. */
Test(nursery, total_alone_then_all)
{
    struct play p = { .count = 0 };
    p.children[0].turns = p.children[1].turns = -1;
    begin_with(&p, spawns_soft_and_hard);
    submit();
    cr_assert(unr_nursery_cancel(&p.nursery, UNR_CANCEL_TOTAL, OWN));
    submit();
    submit();
    cr_assert_eq(p.children[0].saw, OWN);
    cr_assert_eq(p.children[1].ended, 0);
    cr_assert(unr_nursery_cancel(&p.nursery, UNR_CANCEL_ALL, OUTSIDE));
    finish_play(&p);
    cr_assert_eq(p.children[1].saw, OUTSIDE);
    cr_assert_eq(p.closed, OWN, "the first cause stays");
    close_loop();
}

/* A deadline set once the body has ended ends the children. */
Test(nursery, a_deadline)
{
    struct play p = { .count = 2 };
    p.children[0].turns = -1;
    begin(&p);
    submit();
    cr_assert(unr_cancel_scope_move(unr_nursery_scope(&p.nursery), unr_loop_now(loop) + 1));
    finish_play(&p);
    cr_assert_eq(p.children[0].saw, -ETIMEDOUT);
    cr_assert_eq(p.closed, -ETIMEDOUT);
    close_loop();
}

/* ---- a loop that is closed ---- */

/* Closed after so many turns, with children at each point of their lives. */
Test(nursery, a_closing_loop_ends_them)
{
    for (int turns = 0; turns < 5; turns++)
        for (int body = -1; body < 3; body++) {
            struct play p = { .count = 3, .turns = body };
            p.children[0].turns = -1;
            p.children[1].turns = 2;
            start(&p.seen, unr_fiber(&p.fiber, body_runs, &p));
            for (int i = 0; i < turns; i++)
                submit();
            cr_assert_eq(unr_loop_close(loop), 0);
            cr_assert_eq(p.seen.runs, 1);
            cr_assert_eq(p.seen.result.error, -ECANCELED);
            cr_assert_eq(p.seen.result.cause, -ESHUTDOWN);
            if (turns)
                cr_assert_eq(p.closed, -ECANCELED, "%d, %d: %d", turns, body, p.closed);
            open_loop();
        }
    close_loop();
}

/* ---- the dump ---- */

static const char *dump(void)
{
    static char text[16384];
    int         ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    unr_loop_dump(loop, ends[1]);
    close(ends[1]);
    ssize_t n = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    cr_assert_gt(n, 0);
    text[n] = 0;
    return text;
}

static void expect_line(const char *text, const char *first, const char *const *words)
{
    char        line[1024];
    const char *begin = strstr(text, first);
    cr_assert_not_null(begin, "\"%s\" is missing in: %s", first, text);
    snprintf(line, sizeof line, "%.*s", (int)strcspn(begin, "\n"), begin);
    for (; *words; words++)
        cr_assert_not_null(strstr(line, *words), "\"%s\" is missing in: %s", *words, line);
}

static int waits_in_scopes(void *argument)
{
    struct play            *p = argument;
    struct unr_cancel_scope scopes[2];
    struct unr_nursery      nursery;
    unr_cancel_scope_enter_after(&scopes[0], UNR_SEC(3600));
    unr_nursery_open(&nursery, 0);
    unr_cancel_scope_enter_shield(&scopes[1], UNR_NEVER);
    int64_t n = unr_await_value(unr_recv(&p->ops[0], p->fds[0], &p->byte, 1, 0));
    unr_cancel_scope_leave(&scopes[1], 0);
    unr_nursery_close(&nursery, 0);
    return unr_cancel_scope_leave(&scopes[0], n < 0 ? (int)n : 0);
}

/* The dump lists fibers: by name, with function, scopes and stack, and what each awaits and how
 * long. */
Test(nursery, dump_of_fibers)
{
    struct play              p = { .count = 0 }, q = { .count = 0 };
    struct unr_fiber_options options = { .size = sizeof options,
                                         .name = "oarsman",
                                         .stack = 64 << 10 };
    char                     awaited[64], function[64];
    unr_fiber_fn            *fn = waits_in_scopes;
    void                    *address;
    memcpy(&address, &fn, sizeof address);
    unix_pair(p.fds);
    start(&p.seen, unr_fiber_with(&p.fiber, fn, &p, &options));
    options.name = "not yet";
    submit();
    start(&q.seen, unr_fiber_with(&q.fiber, opens_and_closes, &q, &options));
    const char *text = dump();
    snprintf(awaited, sizeof awaited, "awaits recv %p for ", (void *)&p.ops[0]);
    snprintf(function, sizeof function, "function %p", address);
    expect_line(text, "oarsman",
                (const char *const[]){ awaited, function, ", in scope until +359",
                                       " > nursery > shield", "of 64 KiB", NULL });
    expect_line(text, "not yet", (const char *const[]){ "not begun", NULL });
    unr_cancel_cause(&p.fiber.op, UNR_CANCEL_TERMINAL, OUTSIDE);
    cr_assert_eq(write(p.fds[1], "x", 1), 1);
    run();
    close_pair(p.fds);
    close_loop();
}

/* ---- broken contracts ---- */

#define BREACH(name, ...) BREACH_IN(nursery_contract, open_loop_of_child(), name, __VA_ARGS__)

static struct unr_nursery      first, second;
static struct unr_cancel_scope scope;
static struct unr_op           nop;

static void go(unr_fiber_fn *fn)
{
    static struct unr_fiber fiber;
    unr_start(loop, unr_fiber(&fiber, fn, NULL), NULL, NULL);
    unr_loop_run(loop);
}

BREACH(opened_outside_of_a_fiber, "unr_nursery_open called outside of a fiber")
{
    unr_nursery_open(&first, 0);
}

BREACH(closed_outside_of_a_fiber, "unr_nursery_close outside of a fiber")
{
    unr_nursery_close(&first, 0);
}

static int closes_the_outer_one(void *argument)
{
    (void)argument;
    unr_nursery_open(&first, 0);
    unr_nursery_open(&second, 0);
    return unr_nursery_close(&first, 0);
}

BREACH(closed_out_of_order, "a nursery closed out of order, or by another fiber")
{
    go(closes_the_outer_one);
}

static int closes_in_a_scope(void *argument)
{
    (void)argument;
    unr_nursery_open(&first, 0);
    unr_cancel_scope_enter(&scope);
    return unr_nursery_close(&first, 0);
}

BREACH(closed_in_a_scope, "a nursery closed out of order, or by another fiber")
{
    go(closes_in_a_scope);
}

static int closes_twice(void *argument)
{
    (void)argument;
    unr_nursery_open(&first, 0);
    unr_nursery_close(&first, 0);
    return unr_nursery_close(&first, 0);
}

BREACH(closed_twice, "a nursery closed out of order, or by another fiber")
{
    go(closes_twice);
}

static int closes_anothers(void *argument)
{
    (void)argument;
    return unr_nursery_close(&first, 0);
}

static int spawns_who_closes(void *argument)
{
    (void)argument;
    unr_nursery_open(&first, 0);
    unr_nursery_spawn(&first, closes_anothers, NULL);
    return unr_nursery_close(&first, 0);
}

BREACH(closed_by_a_child, "a nursery closed out of order, or by another fiber")
{
    go(spawns_who_closes);
}

static int spawns_late(void *argument)
{
    (void)argument;
    unr_nursery_open(&first, 0);
    unr_nursery_close(&first, 0);
    return unr_nursery_spawn(&first, closes_anothers, NULL);
}

BREACH(spawned_after_the_close, "spawned in a nursery that is not open", "from its opening")
{
    go(spawns_late);
}

static int starts_late(void *argument)
{
    (void)argument;
    unr_nursery_open(&first, 0);
    unr_nursery_close(&first, 0);
    unr_nursery_start(&first, unr_nop(&nop));
    return 0;
}

BREACH(started_after_the_close, "started in a nursery that is not open")
{
    go(starts_late);
}

static int opens_with_flags(void *argument)
{
    (void)argument;
    unr_nursery_open(&first, 2);
    return 0;
}

BREACH(flags_that_do_not_exist, "a nursery with flags that do not exist")
{
    go(opens_with_flags);
}

static int returns_inside(void *argument)
{
    (void)argument;
    unr_nursery_open(&first, 0);
    return 0;
}

BREACH(left_open, "a fiber that ended inside a cancel scope", "a nursery closed")
{
    go(returns_inside);
}
