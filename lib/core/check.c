/* SPDX-License-Identifier: MIT */
/* The checks of UNR_LOOP_CHECKS.  For every operation in flight, the loop remembers where it is,
 * what memory is lent for it, which files its descriptors were, and those of its fields that nobody
 * changes before its end.
 *
 * What is remembered is never in the operation, whose memory is what is in doubt.  It is found by
 * address, in three trees of spans: the operations themselves, the memory that is read, and the
 * memory that is written.  In the third only spans of one operation may overlap. */
#include "check.h"
#include "contract.h"
#include "life.h"
#include "name.h"
#include "type.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- trees of spans ---- */

struct watched;

/* A span of memory, in a search tree by `begin` that is a heap by a hash of the address: it stays
 * shallow whatever the order in which spans come and go. */
struct span {
    uintptr_t       begin, end;
    uintptr_t       last; /* the greatest `end` of the spans at and below this one */
    struct span    *left, *right;
    struct watched *watched; /* whose it is */
    enum unri_use   use;
};

static uint64_t priority(const struct span *span)
{
    return ((uintptr_t)span >> 4) * 0x9e3779b97f4a7c15;
}

/* Spans that begin at the same place are told apart by their own addresses. */
static bool is_before(const struct span *a, const struct span *b)
{
    return a->begin < b->begin || (a->begin == b->begin && (uintptr_t)a < (uintptr_t)b);
}

static struct span *with_last(struct span *span)
{
    span->last = span->end;
    if (span->left && span->left->last > span->last)
        span->last = span->left->last;
    if (span->right && span->right->last > span->last)
        span->last = span->right->last;
    return span;
}

static struct span *merge(struct span *low, struct span *high)
{
    if (!low || !high)
        return low ? low : high;
    if (priority(low) > priority(high)) {
        low->right = merge(low->right, high);
        return with_last(low);
    }
    high->left = merge(low, high->left);
    return with_last(high);
}

static void split(struct span *tree, const struct span *at, struct span **ret_low,
                  struct span **ret_high)
{
    if (!tree) {
        *ret_low = *ret_high = NULL;
    } else if (is_before(tree, at)) {
        split(tree->right, at, &tree->right, ret_high);
        *ret_low = with_last(tree);
    } else {
        split(tree->left, at, ret_low, &tree->left);
        *ret_high = with_last(tree);
    }
}

static void add(struct span **tree, struct span *span)
{
    struct span *low, *high;
    split(*tree, span, &low, &high);
    span->left = span->right = NULL;
    *tree = merge(merge(low, with_last(span)), high);
}

static struct span *without(struct span *tree, const struct span *span)
{
    if (tree == span)
        return merge(tree->left, tree->right);
    if (is_before(span, tree))
        tree->left = without(tree->left, span);
    else
        tree->right = without(tree->right, span);
    return with_last(tree);
}

/* Returns a span of the tree that shares memory with `span`.  If none to the left does, although
 * one there ends behind the beginning of `span`, that one begins behind its end; and so does all
 * that is to the right. */
static struct span *find_overlap(struct span *tree, const struct span *span)
{
    while (tree && (tree->begin >= span->end || span->begin >= tree->end))
        tree = tree->left && tree->left->last > span->begin ? tree->left : tree->right;
    return tree;
}

/* Returns the first span that begins behind `address`. */
static struct span *find_behind(struct span *tree, uintptr_t address)
{
    struct span *found = NULL;
    while (tree) {
        if (tree->begin > address)
            found = tree;
        tree = tree->begin > address ? tree->left : tree->right;
    }
    return found;
}

/* ---- what is remembered ---- */

/* The fields that stay as they are from the start to the end.  Of an operation that memory may be
 * lent to these are also its arguments, but for those that the row of a system call may still
 * change. */
struct lasting {
    const struct unr_op_type *type;
    struct unr_loop          *loop;
    struct unr_slot          *slot;
    uint64_t                  address, offset;
    uint32_t                  length;
    int32_t                   fd;
};

/* A descriptor in flight: which file it was at the start. */
struct descriptor {
    int      fd; /* -1: none, or it was not open */
    uint64_t file[2];
    uint32_t closed; /* how often unring had closed the number before */
};

struct watched {
    struct unr_op    *op;
    const char       *name;
    struct lasting    lasting;
    struct descriptor descriptors[2];
    int               closes;  /* the descriptor that it closes; -1: none */
    size_t            count;   /* of the spans */
    struct span       spans[]; /* the first is the operation itself */
};

struct unri_checks {
    unri_lend_fn *lend;
    struct span  *operations, *read, *written;
    uintptr_t     looked_at; /* by unri_check_some(): the last operation */
};

int unri_checks_open(struct unr_loop *loop, unri_lend_fn *lend)
{
    loop->checks = calloc(1, sizeof *loop->checks);
    if (!loop->checks)
        return -ENOMEM;
    loop->checks->lend = lend;
    loop->attends_starts = true;
    return 0;
}

static void forget_all(struct span *operations)
{
    if (!operations)
        return;
    forget_all(operations->left);
    forget_all(operations->right);
    free(operations->watched);
}

void unri_checks_close(struct unr_loop *loop)
{
    if (loop->checks)
        forget_all(loop->checks->operations);
    free(loop->checks);
    loop->checks = NULL;
}

/* ---- what is lent ---- */

static void lend_parked(const void *described, unri_lent_fn *visit, void *context)
{
    const struct unr_op           *op = described;
    const struct unri_lent_visitor visitor = { visit, context };
    op->type->private_fields.lend(op, &visitor);
}

/* Returns what knows of the memory that is lent to an operation; NULL: none is. */
static unri_lend_fn *lend_of(const struct unr_loop *loop, const struct unr_op *op)
{
    enum unri_kind kind = unri_kind(op);
    if (unri_kind_is_call(kind))
        return loop->checks->lend;
    return kind == UNRI_PARKED && op->type->private_fields.lend ? lend_parked : NULL;
}

static struct lasting lasting_of(const struct unr_op *op, bool has_arguments)
{
    const struct unr_op_private *p = &op->private_fields;
    struct lasting               l = { .type = op->type, .loop = p->loop, .slot = p->slot };
    if (has_arguments) {
        l.address = p->address;
        l.offset = p->offset;
        l.length = p->length;
        l.fd = p->fd;
    }
    return l;
}

static bool are_same(const struct lasting *a, const struct lasting *b)
{
    return a->type == b->type && a->loop == b->loop && a->slot == b->slot
           && a->address == b->address && a->offset == b->offset && a->length == b->length
           && a->fd == b->fd;
}

/* Returns what is remembered of an operation; NULL: nothing. */
static struct watched *find(const struct unri_checks *checks, const struct unr_op *op)
{
    struct span *span = find_behind(checks->operations, (uintptr_t)op - 1);
    return span && span->begin == (uintptr_t)op ? span->watched : NULL;
}

/* Ends the process. */
_Noreturn static void broken(const struct watched *watched, const char *what, const char *rule)
{
    static char words[400];
    snprintf(words, sizeof words, "%s (operation %p) %s", watched->name, (void *)watched->op, what);
    unri_broken(words, NULL, rule);
}

/* ---- descriptors that are closed in flight ---- */

/* unr_close() may close a descriptor while other operations are in flight on it, on this loop or on
 * another.  So all loops with checks count together, by the number of the descriptor modulo this:
 * how many operations are about to close it, and how many have done so. */
enum { NUMBERS = 256 };

static _Atomic uint32_t closing[NUMBERS], closed[NUMBERS];

static unsigned number_of(int fd)
{
    return (unsigned)fd % NUMBERS;
}

static struct descriptor descriptor_in_flight(int fd)
{
    struct descriptor d = { .fd = -1 };
    if (fd < 0 || !unri_os_file(fd, d.file))
        return d;
    d.fd = fd;
    d.closed = atomic_load(&closed[number_of(fd)]);
    return d;
}

/* A close is counted as done before it is no longer about to be, so whoever looks in the other
 * order finds one of the two. */
static bool was_closed_by_unring(const struct descriptor *d)
{
    return atomic_load(&closing[number_of(d->fd)])
           || atomic_load(&closed[number_of(d->fd)]) != d->closed;
}

static void check_descriptor(const struct watched *watched, const struct descriptor *d)
{
    uint64_t file[2];
    if (d->fd < 0 || (unri_os_file(d->fd, file) && file[0] == d->file[0] && file[1] == d->file[1])
        || was_closed_by_unring(d))
        return;
    char words[80];
    snprintf(words, sizeof words, "is in flight on descriptor %d, which was closed", d->fd);
    broken(watched, words,
           "a descriptor is lent from start until done; unr_cancel_close() and unr_close() may "
           "close it meanwhile");
}

/* ---- operations whose memory was freed or overwritten ---- */

/* AddressSanitizer knows which memory is freed; NULL where the program is built without it. */
extern void *__asan_region_is_poisoned(void *begin, size_t size) __attribute__((weak));

static bool is_freed(struct unr_op *op)
{
    return __asan_region_is_poisoned && __asan_region_is_poisoned(op, sizeof *op);
}

_Noreturn static void broken_memory(const struct watched *watched)
{
    broken(watched, "was freed, moved or overwritten while it was in flight",
           "an operation is unring's from start until its done");
}

static void check_memory(const struct watched *watched)
{
    if (is_freed(watched->op))
        broken_memory(watched);
    if (!unri_live(watched->op))
        broken_memory(watched);
    bool has_arguments =
        watched->op->type == watched->lasting.type && lend_of(watched->lasting.loop, watched->op);
    struct lasting now = lasting_of(watched->op, has_arguments);
    if (!are_same(&now, &watched->lasting))
        broken_memory(watched);
}

/* The descriptors come second: those of an operation whose memory is broken are closed as well.
 * Each costs a system call. */
static void check(const struct watched *watched)
{
    check_memory(watched);
    if (watched->op->private_fields.state == UNRI_FINISHED)
        return;
    check_descriptor(watched, &watched->descriptors[0]);
    check_descriptor(watched, &watched->descriptors[1]);
}

void unri_check_memory(struct unr_loop *loop, const struct unr_op *op)
{
    const struct watched *watched = find(loop->checks, op);
    if (watched)
        check_memory(watched);
}

void unri_check_completed(struct unr_loop *loop, const struct unr_op *op)
{
    const struct watched *watched = find(loop->checks, op);
    if (watched)
        check(watched);
}

/* As many as a turn has time for: what stays in flight is looked at again and again. */
void unri_check_some(struct unr_loop *loop)
{
    enum { AT_ONCE = 16 };
    struct unri_checks *checks = loop->checks;
    const struct span  *first = NULL;
    for (unsigned i = 0; i < AT_ONCE; i++) {
        const struct span *span = find_behind(checks->operations, checks->looked_at);
        if (!span)
            span = find_behind(checks->operations, 0);
        if (!span || span == first)
            return;
        first = first ? first : span;
        checks->looked_at = span->begin;
        check(span->watched);
    }
}

bool unri_check_holds_operation(const struct unr_loop *loop, const void *low, const void *high)
{
    const struct span *first = find_behind(loop->checks->operations, (uintptr_t)low - 1);
    return first && first->begin < (uintptr_t)high;
}

/* ---- memory that is lent twice ---- */

static bool is_written(enum unri_use use)
{
    return use != UNRI_READS;
}

static bool is_operation(const struct span *span)
{
    return span == span->watched->spans;
}

static void check_apart(struct span *tree, const struct span *span)
{
    const struct span *other = find_overlap(tree, span);
    if (!other)
        return;
    if (is_operation(other) && is_operation(span))
        broken_memory(other->watched);
    const struct watched *watched = span->watched;
    char                  words[300];
    snprintf(words, sizeof words,
             "is lent memory that %s %s (operation %p) as well, and it is written for one: "
             "%p to %p and %p to %p",
             is_operation(other) ? "belongs to" : "is lent to", other->watched->name,
             (void *)other->watched->op, (void *)span->begin, (void *)(span->end - 1),
             (void *)other->begin, (void *)(other->end - 1));
    broken(watched, words,
           "memory is lent from start until done, and to one operation at a time if it is written");
}

static struct span **tree_of(struct unri_checks *checks, const struct span *span)
{
    if (is_operation(span))
        return &checks->operations;
    return is_written(span->use) ? &checks->written : &checks->read;
}

/* What is written is apart from everything, and an operation is written to. */
static void check_spans(struct unri_checks *checks, const struct watched *watched)
{
    for (const struct span *span = watched->spans; span < watched->spans + watched->count; span++) {
        check_apart(checks->written, span);
        if (!is_written(span->use))
            continue;
        check_apart(checks->operations, span);
        check_apart(checks->read, span);
    }
}

void unri_check_given_back(const struct unr_loop *loop, const void *memory, size_t len)
{
    const struct span  given = { .begin = (uintptr_t)memory, .end = (uintptr_t)memory + len };
    const struct span *lent = find_overlap(loop->checks->read, &given);
    char               words[160];
    if (!lent)
        lent = find_overlap(loop->checks->written, &given);
    if (!lent)
        return;
    snprintf(words, sizeof words, "is lent memory that is given back to its pool: %p to %p",
             (void *)lent->begin, (void *)(lent->end - 1));
    broken(
        lent->watched, words,
        "a buffer is given back, and what a receiver shows is consumed, when the operations that "
        "it is lent to have ended");
}

/* ---- start and end ---- */

static void count_span(void *context, void *at, size_t len, enum unri_use use)
{
    size_t *count = context;
    (void)use;
    *count += at && len;
}

static void set_span(void *context, void *at, size_t len, enum unri_use use)
{
    struct watched *watched = context;
    uintptr_t       begin = (uintptr_t)at, end;
    if (!at || !len)
        return;
    if (__builtin_add_overflow(begin, len, &end))
        end = UINTPTR_MAX;
    watched->spans[watched->count++] =
        (struct span){ .begin = begin, .end = end, .use = use, .watched = watched };
}

/* Which descriptors an operation is in flight on is known from its flags, once it is among its
 * peers. */
static void take_descriptors(struct watched *watched)
{
    const struct unr_op_private *p = &watched->op->private_fields;
    bool                         closes = p->flags & UNRI_CLOSES, two = p->flags & UNRI_ON_TWO_FDS;
    watched->closes = closes ? p->fd : -1;
    if (watched->closes >= 0)
        atomic_fetch_add(&closing[number_of(p->fd)], 1);
    watched->descriptors[0] =
        descriptor_in_flight(!closes && p->flags & (UNRI_ON_FD | UNRI_ON_TWO_FDS) ? p->fd : -1);
    watched->descriptors[1] = descriptor_in_flight(two ? p->other_fd : -1);
}

/* An operation for which there is no memory is not checked. */
static void watch(struct unr_loop *loop, struct unr_op *op, unri_lend_fn *lend, const void *lender)
{
    struct unri_checks *checks = loop->checks;
    size_t              count = 1;
    if (op->private_fields.flags & UNRI_INVALID)
        lend = NULL; /* it ends at once, and its arguments may be anything */
    if (lend)
        lend(lender, count_span, &count);
    struct watched *watched = malloc(sizeof *watched + count * sizeof *watched->spans);
    if (!watched)
        return;
    watched->op = op;
    watched->name = unri_name(op);
    watched->lasting = lasting_of(op, lend_of(loop, op));
    watched->count = 0;
    set_span(watched, op, sizeof *op, UNRI_FILLS);
    if (lend)
        lend(lender, set_span, watched);
    check_spans(checks, watched);
    take_descriptors(watched);
    for (size_t i = 0; i < watched->count; i++)
        add(tree_of(checks, &watched->spans[i]), &watched->spans[i]);
    op->private_fields.flags |= UNRI_CHECKED;
}

static void forget(struct unri_checks *checks, struct watched *watched)
{
    for (size_t i = 0; i < watched->count; i++) {
        struct span **tree = tree_of(checks, &watched->spans[i]);
        *tree = without(*tree, &watched->spans[i]);
    }
    if (watched->closes >= 0) {
        atomic_fetch_add(&closed[number_of(watched->closes)], 1);
        atomic_fetch_sub(&closing[number_of(watched->closes)], 1);
    }
    watched->op->private_fields.flags &= ~(uint32_t)UNRI_CHECKED;
    free(watched);
}

void unri_check_start(struct unr_loop *loop, struct unr_op *described)
{
    if (!(described->private_fields.flags & UNRI_HOUSEKEEPING)
        || unri_stands_for_structure(described))
        watch(loop, described, lend_of(loop, described), described);
}

void unri_check_again(struct unr_op *op, unri_lend_fn *lend, const void *lender)
{
    struct unr_loop *loop = op->private_fields.loop;
    struct watched  *watched = find(loop->checks, op);
    if (watched)
        forget(loop->checks, watched);
    watch(loop, op, lend, lender);
}

void unri_check_end(struct unr_loop *loop, struct unr_op *op)
{
    struct watched *watched = find(loop->checks, op);
    if (!watched)
        return;
    check_memory(watched);
    forget(loop->checks, watched);
}
