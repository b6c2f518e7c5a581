/* SPDX-License-Identifier: MIT */
/* The statistics of cancellation: each request counts once, at the operation that it is made to,
 * and so does its verdict, however deep it goes.  Nests of combinators at random, which a seed
 * determines, are asked in every way. */
#include "fixture.h"

#include <sys/socket.h>

TestSuite(balance, .init = open_loop, .timeout = 60);

/* ---- the counts ---- */

static struct unr_stats counts(void)
{
    struct unr_stats stats;
    unr_loop_stats(loop, &stats, sizeof stats);
    return stats;
}

static uint64_t verdicts(const struct unr_stats *s)
{
    return s->cancels_won + s->cancels_too_late + s->cancels_running + s->cancels_unsubmitted
           + s->cancels_refused;
}

static uint64_t of_verdict(const struct unr_stats *s, unsigned verdict)
{
    switch (verdict) {
    case UNR_VERDICT_UNSUBMITTED: return s->cancels_unsubmitted;
    case UNR_VERDICT_CANCELLED: return s->cancels_won;
    case UNR_VERDICT_TOO_LATE: return s->cancels_too_late;
    case UNR_VERDICT_RUNNING: return s->cancels_running;
    case UNR_VERDICT_REFUSED: return s->cancels_refused;
    default: return 0;
    }
}

/* `verdict` is the only one that was counted, for one of `asked` requests. */
static void expect_one(uint64_t asked, unsigned verdict)
{
    struct unr_stats s = counts();
    cr_assert_eq(s.cancels_asked, asked);
    cr_assert_eq(verdicts(&s), 1);
    cr_assert_eq(of_verdict(&s, verdict), 1);
    cr_assert_eq(s.cancels_added, asked - 1);
}

/* ---- one by one ---- */

static struct unr_op *receive(struct unr_op *op, int fd)
{
    static char byte;
    return unr_recv(op, fd, &byte, 1, 0);
}

Test(balance, deadline_counts_once)
{
    struct unr_deadline deadline;
    struct unr_op       recv = { 0 };
    struct seen         seen = { 0 };
    int                 fds[2];
    unix_pair(fds);
    memset(&deadline, 0, sizeof deadline);
    start(&seen, unr_cancel_after(&deadline, receive(&recv, fds[0]), UNR_MSEC(1)));
    run();
    expect_one(1, UNR_VERDICT_CANCELLED);
    close_pair(fds);
    close_loop();
}

Test(balance, past_deadline_counts_once)
{
    struct unr_deadline deadline;
    struct unr_op       recv = { 0 };
    struct seen         seen = { 0 };
    int                 fds[2];
    unix_pair(fds);
    memset(&deadline, 0, sizeof deadline);
    start(&seen, unr_cancel_at(&deadline, receive(&recv, fds[0]), 1));
    run();
    expect_one(1, UNR_VERDICT_UNSUBMITTED);
    close_pair(fds);
    close_loop();
}

/* Asked through the group twice, and each member once by the group. */
Test(balance, group_counts_once)
{
    struct unr_group group;
    struct unr_op    recv[3] = { 0 }, *members[3];
    struct seen      seen = { 0 };
    int              fds[2];
    unix_pair(fds);
    memset(&group, 0, sizeof group);
    for (unsigned i = 0; i < 3; i++)
        members[i] = receive(&recv[i], fds[0]);
    start(&seen, unr_all(&group, members, 3));
    submit();
    cr_assert(unr_cancel(&group.op, UNR_CANCEL_TOTAL));
    cr_assert(unr_cancel(&group.op, UNR_CANCEL_TOTAL));
    run();
    expect_one(2, UNR_VERDICT_CANCELLED);
    close_pair(fds);
    close_loop();
}

/* The condition asks the loser. */
Test(balance, condition_counts_once)
{
    struct unr_group group;
    struct unr_op    recv = { 0 }, nop = { 0 };
    struct unr_op   *members[2];
    struct seen      seen = { 0 };
    int              fds[2];
    unix_pair(fds);
    memset(&group, 0, sizeof group);
    members[0] = receive(&recv, fds[0]);
    members[1] = unr_nop(&nop);
    start(&seen, unr_any(&group, members, 2));
    run();
    cr_assert_eq(seen.result.error, 0);
    expect_one(1, UNR_VERDICT_CANCELLED);
    close_pair(fds);
    close_loop();
}

/* The closing of a descriptor asks those on it, those that come too late as well. */
Test(balance, cancel_close_counts_once)
{
    struct unr_op recv[2] = { 0 };
    struct seen   closer = { 0 }, seen[2] = { 0 };
    int           fds[2];
    unix_pair(fds);
    start(&seen[0], receive(&recv[0], fds[0]));
    submit();
    start(&closer, unr_cancel_close(&closer.op, fds[0]));
    start(&seen[1], receive(&recv[1], fds[0]));
    run();
    struct unr_stats s = counts();
    cr_assert_eq(s.cancels_won, 1);
    cr_assert_eq(s.cancels_unsubmitted, 1);
    cr_assert_eq(verdicts(&s), 2);
    cr_assert_eq(s.cancels_asked, 2 + s.cancels_added);
    close(fds[1]);
    close_loop();
}

/* ---- nests at random ---- */

enum { NODES_MAX = 1024, DEPTH = 4, ROUNDS = 600 };

/* One operation of a nest.  Its `op` is the first member of all these structures. */
struct node {
    union {
        struct unr_op       op;
        struct unr_timer    timer;
        struct unr_deadline deadline;
        struct unr_delay    delay;
        struct unr_filter   filter;
        struct unr_group    group;
        struct unr_compose  compose;
        struct unr_scope    scope;
    } as;
    struct unr_signal signal;
    struct unr_op    *next[2]; /* the steps of a composed operation */
    unsigned          step;
    bool              is_scope;
};

static struct node      nodes[NODES_MAX];
static unsigned         n_nodes;
static uint64_t         random_state;
static bool             outside_only; /* nothing but unr_cancel() of the root makes requests */
static int              pair[2];
static struct unr_stats before, after; /* as the root found them in its `done` */

static unsigned choose(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % n;
}

static unr_filter_fn *any_filter(void)
{
    unr_filter_fn *const filters[] = { unr_let_none, unr_let_terminal, unr_let_partial,
                                       unr_let_total };
    return filters[choose(4)];
}

static unr_time any_time(void)
{
    const unr_time times[] = { 0, UNR_USEC(50), UNR_MSEC(1), UNR_SEC(3600) };
    return times[choose(4)];
}

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct node *node = unr_container_of(self, struct node, as.compose);
    if (finished && !outside_only && choose(4) == 0)
        unr_state_reset(unr_compose_state(self), any_filter(), NULL, NULL);
    if (node->step < 2 && node->next[node->step])
        unr_compose_next(self, node->next[node->step++]);
    else
        unr_compose_end(self, finished && choose(4) ? finished->result.error : 0);
}

static struct unr_op *nest(unsigned depth);

static struct unr_op *leaf(struct node *node)
{
    switch (choose(4)) {
    case 0: return unr_nop(&node->as.op);
    case 1: return unr_timer_after(&node->as.timer, UNR_USEC(choose(500)));
    default: return receive(&node->as.op, pair[0]);
    }
}

static struct unr_op *group(struct node *node, unsigned depth)
{
    unr_group_condition_fn *const conditions[] = { unr_wait_all, unr_wait_one, unr_wait_one_success,
                                                   unr_wait_one_error };
    struct unr_op                *members[3];
    unsigned                      n = 1 + choose(3);
    for (unsigned i = 0; i < n; i++)
        members[i] = nest(depth);
    return unr_group(&node->as.group, members, n, conditions[outside_only ? 0 : choose(4)], NULL);
}

static struct unr_op *combinator(struct node *node, unsigned depth)
{
    switch (choose(6)) {
    case 0:
        return unr_cancel_after(&node->as.deadline, nest(depth),
                                outside_only ? UNR_SEC(3600) : any_time());
    case 1: return unr_delay(&node->as.delay, nest(depth), UNR_USEC(choose(500)));
    case 2: return unr_filter(&node->as.filter, nest(depth), any_filter(), NULL);
    case 3: return group(node, depth);
    case 4:
        node->next[0] = nest(depth);
        node->next[1] = choose(2) ? nest(depth) : NULL;
        return unr_compose(&node->as.compose, "two", choose(UNR_CANCEL_ALL + 1), step);
    default: node->is_scope = true; return unr_scope(&node->as.scope);
    }
}

static struct unr_op *nest(unsigned depth)
{
    cr_assert_lt(n_nodes, NODES_MAX);
    struct node   *node = &nodes[n_nodes++];
    struct unr_op *op = depth && choose(4) ? combinator(node, depth - 1) : leaf(node);
    if (choose(2))
        unr_signal_init_latched(&node->signal);
    if (!outside_only && choose(3) == 0)
        unr_bind_slot(op, unr_signal_slot(&node->signal));
    if (!outside_only && choose(8) == 0)
        unr_signal_emit(&node->signal, 1 + choose(UNR_CANCEL_ALL));
    return op;
}

/* Starts members in the scopes that have begun, and closes all.  A member may be a scope. */
static void fill_scopes(void)
{
    for (unsigned i = 0; i < n_nodes; i++) {
        if (!nodes[i].is_scope)
            continue;
        for (unsigned n = choose(3); n-- && unr_in_flight(&nodes[i].as.op);)
            unr_scope_start(&nodes[i].as.scope, nest(1), NULL, NULL);
        unr_scope_close(&nodes[i].as.scope);
    }
}

static void root_ended(struct seen *seen)
{
    (void)seen;
    after = counts();
}

/* Returns how many requests found the root in flight. */
static unsigned ask(struct unr_op *root)
{
    unsigned asked = 0;
    for (unsigned n = choose(8); n--;) {
        struct node *node = &nodes[choose(n_nodes)];
        switch (choose(outside_only ? 3 : 5)) {
        case 0: submit(); break;
        case 3: unr_cancel(&node->as.op, 1 + choose(UNR_CANCEL_ALL)); break;
        case 4: unr_signal_emit(&node->signal, 1 + choose(UNR_CANCEL_ALL)); break;
        default: asked += unr_cancel(root, 1 + choose(UNR_CANCEL_ALL)); break;
        }
    }
    return asked;
}

/* Closes the loop, or lets everything end by itself. */
static void end_nest(struct seen *root, bool closing)
{
    shutdown(pair[1], SHUT_RDWR);
    if (closing) {
        cr_assert_eq(unr_loop_close(loop), 0);
        loop = open_loop_with(0, 0);
    }
    run();
    cr_assert_eq(root->runs, 1);
    close(pair[0]);
    close(pair[1]);
}

static unsigned play(uint64_t seed, struct seen *root)
{
    random_state = seed * 0x9e3779b97f4a7c15u + 1;
    memset(nodes, 0, sizeof nodes);
    n_nodes = 0;
    unix_pair(pair);
    *root = (struct seen){ .then = root_ended };
    before = counts();
    struct unr_op *op = nest(DEPTH);
    start(root, op);
    fill_scopes();
    unsigned asked = ask(op);
    end_nest(root, !outside_only && choose(8) == 0);
    return asked;
}

Test(balance, everything_that_was_asked_has_one_verdict_or_was_added)
{
    uint64_t all = 0, added = 0;
    for (unsigned seed = 1; seed <= ROUNDS; seed++) {
        struct seen root;
        play(seed, &root);
        cr_assert_eq(after.started, after.finished, "seed %u", seed);
        cr_assert_eq(after.cancels_asked, verdicts(&after) + after.cancels_added, "seed %u", seed);
        all += after.cancels_asked - before.cancels_asked;
        added += after.cancels_added - before.cancels_added;
    }
    cr_assert_gt(all, ROUNDS);
    cr_assert_gt(added, 0);
    close_loop();
}

/* Where the root alone is asked, its verdict alone counts. */
Test(balance, what_is_passed_on_does_not_count_again)
{
    uint64_t decided = 0;
    outside_only = true;
    for (unsigned seed = 1; seed <= ROUNDS; seed++) {
        struct seen root;
        unsigned    asked = play(seed, &root);
        unsigned    verdict = root.result.verdict;
        cr_assert_eq(after.cancels_asked - before.cancels_asked, asked, "seed %u", seed);
        cr_assert_eq(verdicts(&after) - verdicts(&before), asked > 0, "seed %u", seed);
        cr_assert_eq(of_verdict(&after, verdict) - of_verdict(&before, verdict), asked > 0,
                     "seed %u", seed);
        decided += asked > 0;
    }
    cr_assert_gt(decided, ROUNDS / 4);
    close_loop();
}
