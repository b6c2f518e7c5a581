/* SPDX-License-Identifier: MIT */
/* Random trees of groups, deadlines, delays and filters over reads, timers, nops and operations of
 * an own type, asked to cancel at random at any node, joined, half of them in a scope.  When a tree
 * has ended, everything in it has, once; each group's result is worked out again from its members'
 * as group.h says, each wrapper's from what it holds; and the memory is as it was.  Then a million
 * deadlines at once, each of which ends once, none too early, in little memory. */
#include "stress.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

enum { CANCELS = 2000000, FEW_CANCELS = 40000, DEADLINES = 1000000, FEW_DEADLINES = 50000 };
enum {
    TREES = 48,
    NODES = 32,
    MEMBERS = 6,
    JOINS = 16,
    SLACK = 4096 /* of the heap: the loop's own tables find their size */
};
enum { NODE_CAUSE = -2000, SCOPE_CAUSE = -4000 };

enum kind { NOP, READ, TIMER, OWN, ANY, ALL, WAIT_ALL, WAIT_ONE, CUSTOM, DEADLINE, DELAY, FILTER };

struct node {
    enum kind    kind;
    struct tree *tree;
    struct node *parent;
    union {
        struct unr_op       op;
        struct unr_timer    timer;
        struct unr_group    group;
        struct unr_deadline deadline;
        struct unr_delay    delay;
        struct unr_filter   filter;
    };
    struct unr_signal signal;
    struct node      *members[MEMBERS];
    unsigned          count;
    bool              asked; /* by itself */

    /* OWN */
    struct unr_op_type type;
    unsigned           starts, ends, life; /* turns until it ends by itself; 0: never */
    enum { OBEYS, DAWDLES, IGNORES } manner;

    /* a group's condition, as it was asked */
    unsigned answers[MEMBERS], answered;
    char     memory[8];
};

struct tree {
    struct node nodes[NODES];
    unsigned    used, starts, ends, joins, age;
    bool        scoped;
    unsigned    asked; /* of it by its scope */
};

struct waiter {
    struct unr_join join;
    struct tree    *tree;
    struct node    *node;
    bool            asked;
};

static struct tree      trees[TREES];
static struct waiter    waiters[JOINS];
static struct unr_scope scope;
static bool             scope_open, scope_asked, scope_hit;
static unsigned         scope_starts, scope_ends, scope_types;
static int              event;
static uint64_t tree_count, node_count, group_checks, join_count, scope_count, requests, woken,
    taken;
static bool stopping;

static bool is_group(const struct node *n)
{
    return n->kind >= ANY && n->kind <= CUSTOM;
}

static bool is_leaf(const struct node *n)
{
    return n->kind <= OWN;
}

/* ---- an own type: ends after some turns, or when it is asked, or does not care ---- */

static struct node *node_of(struct unr_op *op)
{
    return unr_container_of(op, struct node, op);
}

static void own_start(struct unr_op *op)
{
    struct node *n = node_of(op);
    n->starts++;
    if (one_in(8)) {
        n->ends++;
        unr_finish(op, one_in(2) ? 0 : -EIO);
    }
}

static void own_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct node *n = node_of(op);
    check(request.types & unr_supports(op));
    if (n->ends || n->manner == IGNORES)
        return;
    if (n->manner == DAWDLES) {
        n->life = 1 + below(4);
        return;
    }
    n->ends++;
    unr_finish(op, -ECANCELED);
}

static void own_turn(struct node *n)
{
    if (n->kind != OWN || !n->starts || n->ends || n->life == 0 || --n->life)
        return;
    bool was_asked = n->op.result.requested & unr_supports(&n->op);
    n->ends++;
    unr_finish(&n->op, was_asked && n->manner == DAWDLES ? -ECANCELED : one_in(2) ? 0 : -EIO);
}

static struct unr_op *describe_own(struct node *n, bool bounded)
{
    static const unsigned supports[] = { 7, 7, 3, 1, 0 };
    n->type = (struct unr_op_type){ .size = sizeof n->type,
                                    .supports = supports[below(5)],
                                    .name = "own",
                                    .start = own_start,
                                    .cancel = own_cancel };
    n->manner = below(3);
    n->life = bounded || n->type.supports == 0 || n->manner == IGNORES ? 1 + below(20) : 0;
    return unr_describe(&n->op, &n->type);
}

/* ---- growing a tree ---- */

static struct node *new_node(struct tree *tree, struct node *parent)
{
    struct node *n = &tree->nodes[tree->used++];
    check(!unr_in_flight(&n->op) && !unr_slot_has_handler(unr_signal_slot(&n->signal)));
    memset(n, 0, sizeof *n);
    n->tree = tree;
    n->parent = parent;
    node_count++;
    return n;
}

/* Several types, or none, at times: it escalates. */
static unsigned custom(void *context, const struct unr_op *finished)
{
    struct node *n = context;
    (void)finished;
    check(n->answered < n->count);
    unsigned types = one_in(3) ? 1 + below(7) : 0;
    n->answers[n->answered++] = types;
    return types;
}

static unsigned swapped(void *context, unsigned type)
{
    (void)context;
    return type == UNR_CANCEL_TOTAL      ? UNR_CANCEL_PARTIAL | UNR_CANCEL_TERMINAL
           : type == UNR_CANCEL_TERMINAL ? 0
                                         : type;
}

static struct unr_op *grow(struct tree *tree, struct node *parent, unsigned depth, bool bounded,
                           struct node **ret_node);

static struct unr_op *grow_group(struct node *n, unsigned depth, bool bounded)
{
    struct unr_op *members[MEMBERS];
    unsigned       wanted = one_in(16) ? 0 : 1 + below(MEMBERS);
    while (n->count < wanted && n->tree->used + MEMBERS < NODES) {
        members[n->count] = grow(n->tree, n, depth + 1, bounded, &n->members[n->count]);
        n->count++;
    }
    switch (n->kind) {
    case ANY: return unr_any(&n->group, members, n->count);
    case ALL: return unr_all(&n->group, members, n->count);
    case WAIT_ALL: return unr_group(&n->group, members, n->count, unr_wait_all, NULL);
    case WAIT_ONE: return unr_group(&n->group, members, n->count, unr_wait_one, NULL);
    default: return unr_group(&n->group, members, n->count, custom, n);
    }
}

static unr_time random_delay(void)
{
    return one_in(4) ? 0 : (unr_time)below(one_in(2) ? 20000 : 500000);
}

static struct unr_op *grow_wrapper(struct node *n, unsigned depth, bool bounded)
{
    static unr_filter_fn *const filters[] = { unr_let_none, unr_let_terminal, unr_let_partial,
                                              unr_let_total, swapped };
    struct unr_op              *inner =
        grow(n->tree, n, depth + 1, bounded || n->kind == FILTER, &n->members[0]);
    n->count = 1;
    switch (n->kind) {
    case DEADLINE:
        return unr_cancel_after(&n->deadline, inner, one_in(6) ? UNR_NEVER : random_delay());
    case DELAY: return unr_delay(&n->delay, inner, random_delay());
    default: return unr_filter(&n->filter, inner, filters[below(5)], NULL);
    }
}

static struct unr_op *grow_leaf(struct node *n, bool bounded)
{
    switch (n->kind) {
    case NOP: return unr_nop(&n->op);
    case READ: return unr_read(&n->op, event, n->memory, sizeof n->memory, -1);
    case TIMER:
        return unr_timer_after(&n->timer, !bounded && one_in(3) ? UNR_NEVER : random_delay());
    default: return describe_own(n, bounded);
    }
}

static struct unr_op *grow(struct tree *tree, struct node *parent, unsigned depth, bool bounded,
                           struct node **ret_node)
{
    struct node   *n = new_node(tree, parent);
    struct unr_op *op;
    bool           is_deep = depth > 3 || tree->used + MEMBERS + 1 >= NODES;
    *ret_node = n;
    n->kind = is_deep || one_in(3) ? below(OWN + 1) : ANY + below(FILTER - ANY + 1);
    if (bounded && n->kind == READ)
        n->kind = NOP;
    op = is_leaf(n)    ? grow_leaf(n, bounded)
         : is_group(n) ? grow_group(n, depth, bounded)
                       : grow_wrapper(n, depth, bounded);
    check(op == &n->op);
    if (one_in(4))
        unr_bind_slot(op, unr_signal_slot(&n->signal));
    return op;
}

/* ---- what must hold: groups ---- */

static void show(const struct node *n, int depth)
{
    static const char *const names[] = { "nop",    "read",     "timer",    "own",
                                         "any",    "all",      "wait_all", "wait_one",
                                         "custom", "deadline", "delay",    "filter" };
    const struct unr_result *r = &n->op.result;
    fprintf(
        stderr,
        "%*s%td %s: error %d, cause %d, verdict %u, guarantee %u, requested %#x, supports %#x%s\n",
        depth * 3, "", n - n->tree->nodes, names[n->kind], r->error, r->cause, r->verdict,
        r->guarantee, r->requested, unr_supports(&n->op), n->asked ? ", asked" : "");
    for (unsigned i = 0; i < n->count; i++)
        show(n->members[i], depth + 1);
}

static bool is_below(const struct node *n, const struct node *above)
{
    for (; n; n = n->parent)
        if (n == above)
            return true;
    return false;
}

static bool has(const struct node *n, enum kind first, enum kind last)
{
    if (n->kind >= first && n->kind <= last && !(first == ANY && n->kind == WAIT_ALL))
        return true;
    for (unsigned i = 0; i < n->count; i++)
        if (has(n->members[i], first, last))
            return true;
    return false;
}

static bool is_under(const struct node *n, enum kind first, enum kind last)
{
    for (n = n->parent; n; n = n->parent)
        if (n->kind >= first && n->kind <= last && !(first == ANY && n->kind == WAIT_ALL))
            return true;
    return false;
}

/* Whether a request that came to the group from outside has this cause; one to a node below it has
 * not. */
static bool is_outside(const struct node *group, int cause)
{
    if (cause == -ETIMEDOUT)
        return is_under(group, DEADLINE, DEADLINE);
    if (cause == -ECANCELED)
        return is_under(group, ANY, CUSTOM);
    if (cause <= NODE_CAUSE && cause > NODE_CAUSE - NODES)
        return is_below(group, &group->tree->nodes[NODE_CAUSE - cause]);
    return true;
}

static unsigned answer(const struct node *group, unsigned index, const struct unr_op *member)
{
    switch (group->kind) {
    case ANY: return member->result.error ? 0 : UNR_CANCEL_ALL;
    case ALL: return member->result.error ? UNR_CANCEL_ALL : 0;
    case WAIT_ALL: return 0;
    case WAIT_ONE: return UNR_CANCEL_ALL;
    default: return group->answers[index];
    }
}

static int64_t index_of(const struct node *group, const struct unr_op *member)
{
    for (unsigned i = 0; i < group->count; i++)
        if (&group->members[i]->op == member)
            return (int64_t)i;
    fail("a group lists what is none of its members");
}

struct expected {
    const struct unr_op *decider, *first, *last;
    bool                 outside; /* it ended a member */
    unsigned             weakest, own, ended;
    bool may_be_either; /* a member was ending of its own, and asked from outside meanwhile */
};

static void look_at(struct expected *e, const struct node *group, const struct unr_op *member)
{
    const struct unr_result *r = &member->result;
    bool                     is_cancelled = r->error == -ECANCELED;
    bool                     by_group = is_cancelled && e->own && r->cause == -ECANCELED;
    bool                     by_outside = is_cancelled && is_outside(group, r->cause);
    unsigned                 types = answer(group, e->ended++, member);
    if (e->own & ~r->requested)
        fail("a group asked %#x of its members, and one that ended later heard %#x", e->own,
             r->requested);
    unsigned proven = is_cancelled ? r->guarantee : UNR_CANCEL_PARTIAL;
    e->may_be_either |= is_cancelled && !by_group && !by_outside && group->op.result.requested
                        && !is_leaf(node_of((void *)member));
    e->first = e->first ? e->first : member;
    e->last = member;
    e->outside |= by_outside && !by_group;
    e->weakest = proven < e->weakest ? proven : e->weakest;
    if (types && !e->decider && !by_group && !by_outside)
        e->decider = member;
    e->own |= types;
}

/* Requests of two origins may have the same cause, and cannot be told apart then. */
static bool is_ambiguous(const struct node *group)
{
    return (is_under(group, DEADLINE, DEADLINE) && has(group, DEADLINE, DEADLINE))
           || (is_under(group, ANY, CUSTOM) && has(group, ANY, CUSTOM));
}

static void check_group(const struct node *n)
{
    const struct unr_result *r = &n->op.result;
    struct expected          e = { .weakest = UNR_CANCEL_TOTAL };
    unsigned                 seen = 0;
    for (struct unr_op *member = unr_group_first(&n->group); member;
         member = unr_group_next(member)) {
        unsigned bit = 1u << index_of(n, member);
        if (seen & bit)
            fail("a member ended twice");
        seen |= bit;
        look_at(&e, n, member);
    }
    if (seen != (1u << n->count) - 1)
        fail("a group of %u ended, and of its members %#x", n->count, seen);
    check(n->kind != CUSTOM || n->answered == n->count);
    if (n->count == 0 || is_ambiguous(n) || (e.may_be_either && !getenv("STRICT")))
        return;
    group_checks++;
    const struct unr_op *decider = e.decider;
    if (!decider && !e.outside)
        decider = n->kind == ANY ? e.first : e.last;
    int     error = !decider                           ? -ECANCELED
                    : n->kind == ANY || n->kind == ALL ? decider->result.error
                                                       : 0;
    int64_t value = decider ? index_of(n, decider) : -1;
    bool    right = r->error == error && r->value == value;
    if (error == -ECANCELED)
        right &= r->guarantee == e.weakest && r->cause < 0;
    else
        right &= r->guarantee == 0;
    if (right)
        return;
    fprintf(stderr, "group %td, whose members ended in this order:", n - n->tree->nodes);
    for (struct unr_op *member = unr_group_first(&n->group); member;
         member = unr_group_next(member))
        fprintf(stderr, " %td", node_of(member) - n->tree->nodes);
    fputs("\n", stderr);
    show(n, 0);
    fail("a group ended with error %d, value %" PRId64 ", guarantee %u, cause %d, not %d, %" PRId64
         ", %u",
         r->error, r->value, r->guarantee, r->cause, error, value, e.weakest);
}

/* ---- what must hold: the others ---- */

static void check_wrapper(const struct node *n)
{
    const struct unr_result *r = &n->op.result, *inner = &n->members[0]->op.result;
    if (r->error != inner->error || r->value != inner->value || r->fd != inner->fd)
        fail("%s: error %d around error %d", n->op.type->name, r->error, inner->error);
    if (n->kind != FILTER && r->guarantee != inner->guarantee)
        fail("%s: guarantee %u around %u", n->op.type->name, r->guarantee, inner->guarantee);
}

static bool may_be_cancelled(const struct node *n, int cause)
{
    if (cause == -ETIMEDOUT)
        return n->kind == DEADLINE || is_under(n, DEADLINE, DEADLINE);
    if (cause == -ECANCELED)
        return is_under(n, ANY, CUSTOM);
    if (cause <= NODE_CAUSE && cause > NODE_CAUSE - NODES)
        return n->tree->nodes[NODE_CAUSE - cause].asked;
    return cause == SCOPE_CAUSE && n->tree->scoped && scope_asked;
}

static void check_leaf(const struct node *n)
{
    const struct unr_result *r = &n->op.result;
    bool                     is_cancelled = r->error == -ECANCELED;
    bool right = r->error == 0 || is_cancelled || (n->kind == OWN && r->error == -EIO);
    right &= is_cancelled
             == (r->verdict == UNR_VERDICT_CANCELLED || r->verdict == UNR_VERDICT_UNSUBMITTED);
    right &= is_cancelled == (r->guarantee != 0);
    if (is_cancelled)
        right &= may_be_cancelled(n, r->cause) && (r->requested & unr_supports(&n->op));
    if (r->verdict == UNR_VERDICT_UNSUBMITTED)
        right &= r->guarantee == UNR_CANCEL_TOTAL && n->starts == 0;
    else if (n->kind == OWN)
        right &= n->starts == 1 && n->ends == 1;
    if (r->verdict == UNR_VERDICT_REFUSED)
        right &= !(r->requested & unr_supports(&n->op));
    if (n->kind == READ && r->error == 0)
        right &= r->bytes == 8, taken++;
    if (!right)
        fail("node %td, started %u, ended %u, cause %d: %s", n - n->tree->nodes, n->starts, n->ends,
             r->cause, unr_explain_op(&n->op));
}

/* What never began is in nothing that did, and has left no trace. */
static bool began(const struct node *n)
{
    bool any = is_leaf(n) && n->op.result.verdict != UNR_VERDICT_UNSUBMITTED;
    for (unsigned i = 0; i < n->count; i++)
        any |= began(n->members[i]);
    return any;
}

static void check_unsubmitted(const struct node *n)
{
    const struct unr_result *r = &n->op.result;
    if (r->verdict != UNR_VERDICT_UNSUBMITTED
        || (r->guarantee == UNR_CANCEL_TOTAL && r->error == -ECANCELED && !began(n)))
        return;
    show(n, 0);
    fail("node %td is said never to have begun", n - n->tree->nodes);
}

static void check_tree(struct tree *tree)
{
    for (unsigned i = 0; i < tree->used; i++) {
        const struct node *n = &tree->nodes[i];
        if (unr_in_flight(&n->op))
            fail("a tree ended, and its %s is in flight", n->op.type->name);
        check(!unr_slot_has_handler(&n->signal.slot));
        check_unsubmitted(n);
        if (is_leaf(n))
            check_leaf(n);
        else if (is_group(n))
            check_group(n);
        else
            check_wrapper(n);
    }
}

static void tree_ended(struct unr_op *op)
{
    struct tree *tree = op->data;
    check(op == &tree->nodes[0].op);
    tree->ends++;
    check(tree->ends == tree->starts);
    check_tree(tree);
    if (tree->scoped) {
        if (tree->asked & ~op->result.requested)
            fail("a scope was asked %#x, and a member of it %#x", tree->asked,
                 op->result.requested);
        scope_ends++;
        scope_hit |= op->result.error == -ECANCELED && op->result.cause == SCOPE_CAUSE;
    }
}

/* ---- joins ---- */

static void joined(struct unr_op *op)
{
    struct waiter           *w = op->data;
    const struct unr_result *r = &op->result, *of = &w->node->op.result;
    w->tree->joins--;
    join_count++;
    if (w->asked && r->error == -ECANCELED && r->cause == -1
        && (r->verdict == UNR_VERDICT_CANCELLED || r->verdict == UNR_VERDICT_UNSUBMITTED))
        check(r->guarantee == UNR_CANCEL_TOTAL);
    else if (unr_in_flight(&w->node->op) || r->error != of->error || r->value != of->value
             || r->guarantee != of->guarantee)
        fail("a join ended with error %d, what it waited for with %d", r->error, of->error);
}

static void join_some(struct waiter *w)
{
    struct tree *tree = &trees[below(TREES)];
    if (unr_in_flight(&w->join.op)) {
        if (one_in(16)) {
            w->asked = true;
            unr_cancel_cause(&w->join.op, UNR_CANCEL_ALL, -1);
        }
        return;
    }
    if (tree->used == 0)
        return;
    struct node *n = &tree->nodes[one_in(2) ? 0 : below(tree->used)];
    if (!unr_in_flight(&n->op))
        return;
    w->tree = tree;
    w->node = n;
    w->asked = false;
    tree->joins++;
    unr_start(loop, unr_join(&w->join, &n->op), joined, w);
}

/* ---- scopes ---- */

static void scope_over(struct unr_op *op)
{
    check(scope_ends == scope_starts && op->result.value == (int64_t)scope_ends);
    if (op->result.error != (scope_hit ? -ECANCELED : 0))
        fail("a scope ended with error %d, though a request %s a member", op->result.error,
             scope_hit ? "ended" : "ended not");
    scope_open = false;
    scope_count++;
}

static void ask_scope(unsigned types)
{
    scope_asked = true;
    scope_types |= types;
    for (unsigned i = 0; i < TREES; i++)
        if (trees[i].scoped && unr_in_flight(&trees[i].nodes[0].op))
            trees[i].asked |= types;
    requests++;
    unr_cancel_cause(&scope.op, types, SCOPE_CAUSE);
}

static void use_scope(void)
{
    if (!scope_open && !stopping) {
        for (unsigned i = 0; i < TREES; i++)
            if (trees[i].scoped && unr_in_flight(&trees[i].nodes[0].op))
                return;
        scope_starts = scope_ends = 0;
        scope_asked = scope_hit = false;
        scope_types = 0;
        scope_open = true;
        unr_start(loop, unr_scope(&scope), scope_over, NULL);
    } else if (scope_open && (stopping || scope_starts > 40)) {
        unr_scope_close(&scope);
    } else if (scope_open && one_in(100)) {
        ask_scope(random_types());
    }
}

/* ---- a forest ---- */

static void start_tree(struct tree *tree)
{
    struct node *root;
    tree->used = tree->age = 0;
    tree->scoped = scope_open && scope_starts <= 40 && one_in(2);
    struct unr_op *op = grow(tree, NULL, 0, false, &root);
    tree->starts++;
    tree_count++;
    tree->asked = tree->scoped ? scope_types : 0;
    if (tree->scoped) {
        scope_starts++;
        unr_scope_start(&scope, op, tree_ended, tree);
    } else {
        unr_start(loop, op, tree_ended, tree);
    }
}

static void ask(struct node *n, unsigned types)
{
    int cause = NODE_CAUSE - (int)(n - n->tree->nodes);
    n->asked = true;
    requests++;
    if (one_in(2) && unr_slot_has_handler(&n->signal.slot))
        check(unr_signal_emit_cause(&n->signal, types, cause) <= 1);
    else if (unr_in_flight(&n->op))
        check(unr_cancel_cause(&n->op, types, cause));
}

static void move_some(struct node *n)
{
    if (n->kind == DEADLINE && unr_in_flight(&n->op))
        unr_deadline_move(&n->deadline,
                          one_in(2) ? UNR_NEVER : unr_loop_now(loop) + random_delay());
    else if (n->kind == TIMER && unr_in_flight(&n->op))
        unr_timer_move(&n->timer, unr_loop_now(loop) + random_delay());
}

static bool run_tree(struct tree *tree)
{
    struct node *root = &tree->nodes[0];
    if (!unr_in_flight(&root->op)) {
        if (tree->joins || stopping)
            return false;
        start_tree(tree);
        return true;
    }
    for (unsigned i = 0; i < tree->used; i++)
        own_turn(&tree->nodes[i]);
    if (one_in(12))
        ask(&tree->nodes[below(tree->used)], random_types());
    if (one_in(12))
        move_some(&tree->nodes[below(tree->used)]);
    if (++tree->age > 50 && tree->age % 16 == 0)
        ask(root, UNR_CANCEL_ALL);
    return true;
}

static bool run_forest(void)
{
    bool going_on = scope_open;
    for (unsigned i = 0; i < TREES; i++)
        going_on |= run_tree(&trees[i]);
    for (unsigned i = 0; i < JOINS; i++) {
        if (!stopping)
            join_some(&waiters[i]);
        going_on |= unr_in_flight(&waiters[i].join.op);
    }
    use_scope();
    if (one_in(8)) {
        unsigned n = 1 + below(16);
        must(eventfd_write(event, n));
        woken += n;
    }
    turn(0);
    return going_on;
}

static size_t memory_used(void)
{
#ifdef __GLIBC__
    return mallinfo2().uordblks;
#else
    return 0;
#endif
}

static void play_trees(uint64_t cancels)
{
    double           begin = seconds();
    struct unr_stats stats;
    eventfd_t        count;
    snprintf(where, sizeof where, "trees");
    guard(cancels);
    seed_random(1);
    event = must(eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC));
    open_loop((struct unr_loop_options){ .flags = options.seed % 2 ? UNR_LOOP_PLAIN : 0 });
    size_t before = 0;
    do {
        run_forest();
        stats = stats_of_loop();
        if (!before && stats.cancels_won > cancels / 2 && !scope_open)
            before = memory_used();
    } while (stats.cancels_won < cancels);
    stopping = true;
    while (run_forest())
        ;
    check(unr_loop_in_flight(loop) == 0);
    stats = stats_of_loop();
    check(stats.started == stats.finished);
    size_t after = memory_used();
    if (before && after > before + SLACK)
        fail("the heap held %zu bytes halfway, and holds %zu", before, after);
    must(fcntl(event, F_SETFL, O_NONBLOCK));
    while (eventfd_read(event, &count) == 0)
        taken++;
    if (taken != woken)
        fail("%" PRIu64 " were written to the event, and %" PRIu64 " found", woken, taken);
    close(event);
    check(unr_loop_close(loop) == 0);
    loop = NULL;
    alarm(0);
    printf("trees     %" PRIu64 " trees of %" PRIu64 " nodes, %" PRIu64
           " groups worked out, %" PRIu64 " joins, %" PRIu64 " scopes, %" PRIu64
           " requests: cancelled in flight %" PRIu64 ", before %" PRIu64 ", too late %" PRIu64
           ", refused %" PRIu64 "; heap %+td bytes; %.1f s\n",
           tree_count, node_count, group_checks, join_count, scope_count, requests,
           stats.cancels_won, stats.cancels_unsubmitted, stats.cancels_too_late,
           stats.cancels_refused, (ptrdiff_t)(after - before), seconds() - begin);
    fflush(stdout);
}

/* ---- a million deadlines ---- */

struct patient {
    struct unr_deadline deadline;
    struct unr_op       op;
};

static uint64_t patients_ended, timed_out, asked_to_end;

static void patient_start(struct unr_op *op)
{
    (void)op;
}

static void patient_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)request;
    unr_finish(op, -ECANCELED);
}

static const struct unr_op_type patient_type = { .size = sizeof patient_type,
                                                 .supports = UNR_CANCEL_ALL,
                                                 .name = "patient",
                                                 .start = patient_start,
                                                 .cancel = patient_cancel };

static void patient_ended(struct unr_op *op)
{
    struct patient *p = op->data;
    int             outcome = unr_outcome(&op->result);
    check(op == &p->deadline.op && !unr_in_flight(&p->op));
    check(outcome == -ETIMEDOUT || outcome == -7);
    if (outcome == -ETIMEDOUT && unr_loop_now(loop) < p->deadline.private_fields.timer.deadline)
        fail("a deadline came too early");
    timed_out += outcome == -ETIMEDOUT;
    patients_ended++;
}

static size_t resident(void)
{
    size_t pages = 0, all = 0;
    FILE  *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%zu %zu", &all, &pages) != 2)
        pages = 0;
    if (file)
        fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void start_patients(struct patient *patients, uint64_t n)
{
    unr_time now = unr_loop_now(loop);
    for (uint64_t i = 0; i < n; i++) {
        struct patient *p = &patients[i];
        unr_time        when = now + UNR_MSEC(one_in(3) ? 3600000 : 500 + below(2000));
        unr_start(loop, unr_cancel_at(&p->deadline, unr_describe(&p->op, &patient_type), when),
                  patient_ended, p);
    }
}

static void play_deadlines(uint64_t n)
{
    double          begin = seconds();
    struct patient *patients = mmap(NULL, n * sizeof *patients, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    snprintf(where, sizeof where, "deadlines");
    guard(n);
    seed_random(2);
    check(patients != MAP_FAILED);
    open_loop((struct unr_loop_options){ 0 });
    size_t before = resident();
    start_patients(patients, n);
    size_t   after = resident();
    double   each = after > before ? (double)(after - before) / (double)n : 0;
    unsigned before_end = unr_loop_in_flight(loop);
    check(before_end == n);
    double started = seconds();
    while (unr_loop_in_flight(loop) > 0) {
        for (unsigned i = 0; i < 2000; i++) {
            struct patient *p = &patients[below((unsigned)n)];
            if (!unr_in_flight(&p->deadline.op))
                continue;
            if (one_in(4)) {
                asked_to_end += unr_cancel_cause(&p->deadline.op, UNR_CANCEL_ALL, -7);
            } else {
                unr_deadline_move(&p->deadline, unr_loop_now(loop) + UNR_MSEC(below(300)));
            }
        }
        turn(UNR_MSEC(1));
        /* What is far away is called in one after another. */
        static uint64_t next;
        for (unsigned i = 0; i < 4000; i++, next++)
            if (seconds() - started > 2.6 || i < 200)
                unr_deadline_move(&patients[next % n].deadline, unr_loop_now(loop));
    }
    check(patients_ended == n);
    struct unr_stats stats = stats_of_loop();
    check(stats.started == 2 * n && stats.finished == 2 * n);
    check(unr_loop_close(loop) == 0);
    loop = NULL;
    munmap(patients, n * sizeof *patients);
    alarm(0);
    printf("deadlines %" PRIu64 " outstanding, %.0f bytes of the loop's each; %" PRIu64
           " timed out, %" PRIu64 " cancelled before, each once; started in %.2f s; %.1f s\n",
           n, each, timed_out, n - timed_out, started - begin, seconds() - begin);
    check(each < 64 || n < DEADLINES);
}

int main(int argc, char **argv)
{
    int  names = read_options(argc, argv, CANCELS, FEW_CANCELS);
    bool few = options.cancels < CANCELS;
    bool trees_wanted = names == 0, deadlines_wanted = names == 0;
    for (int j = 0; j < names; j++) {
        trees_wanted |= strcmp(argv[j], "trees") == 0;
        deadlines_wanted |= strcmp(argv[j], "deadlines") == 0;
    }
    if (trees_wanted)
        play_trees(options.cancels);
    if (deadlines_wanted)
        play_deadlines(few ? FEW_DEADLINES : DEADLINES);
    return 0;
}
