/* Timers, and the structure that they wait in: a 4-ary heap whose entries hold the deadline beside the timer, so that
 * comparing touches no timer, and whose four children of one entry share a cache line.  A start goes to the end
 * and rises past few ancestors (a time-out is mostly later than most of what waits), a cancel fills the hole from the
 * end: both touch a handful of cache lines, at a million timers as at a thousand, and only the removal of the first
 * goes all the way down (10 levels at a million).  A wheel would need none of that, but wakes the loop to cascade;
 * a heap knows exactly when to sleep until.
 *
 * Starting a timer must not allocate, so the heap is address space reserved when the loop is opened, of which the kernel
 * gives what is touched. */
#include "internal.h"
#include "../uring/enter.h"

enum { ROOT = UNRI_TIMER_ROOT, ARITY = 4, RESERVED = 1 << 22, RESERVED_MIN = 1 << 8 };

static_assert(sizeof(struct unri_timer_entry) == 16, "four to a cache line");
static_assert(sizeof(struct unr_timer) == sizeof(struct unr_op) + 40, "");

/* private_fields of a timer */
enum { INDEX, SERIAL, RELATIVE, DELAY };

int unri_timers_open(struct unri_timers *timers)
{
    *timers = (struct unri_timers){ 0 };
    for (size_t room = RESERVED; !timers->entries && room >= RESERVED_MIN; room /= 4) {
        timers->room = room;
        timers->mapped = (room + ROOT) * sizeof *timers->entries;
        timers->entries = unri_enter_map(timers->mapped, false);
    }
    return timers->entries ? 0 : -ENOMEM;
}

void unri_timers_close(struct unri_timers *timers)
{
    if (timers->entries)
        unri_enter_unmap(timers->entries, timers->mapped);
}

/* More timers than were reserved for: the one place where a start may map memory. */
static bool make_room(struct unri_timers *timers)
{
    if (timers->count < timers->room)
        return true;
    size_t bytes = (timers->room * 2 + ROOT) * sizeof *timers->entries;
    void  *entries = unri_enter_remap(timers->entries, timers->mapped, bytes);
    if (!entries)
        return false;
    timers->entries = entries;
    timers->mapped = bytes;
    timers->room *= 2;
    return true;
}

/* ---- the heap ---- */

static size_t parent_of(size_t index)
{
    return (index - ARITY) / ARITY + ROOT;
}

static size_t first_child_of(size_t index)
{
    return (index - ROOT) * ARITY + ARITY;
}

static bool before(const struct unri_timer_entry *a, const struct unri_timer_entry *b)
{
    if (__builtin_expect(a->deadline != b->deadline, 1))
        return a->deadline < b->deadline;
    return a->timer->private_fields[SERIAL] < b->timer->private_fields[SERIAL];
}

static void put(struct unri_timers *timers, size_t index, struct unri_timer_entry entry)
{
    timers->entries[index] = entry;
    entry.timer->private_fields[INDEX] = index;
}

static void rise(struct unri_timers *timers, size_t index, struct unri_timer_entry entry)
{
    while (index > ROOT) {
        size_t parent = parent_of(index);
        if (!before(&entry, &timers->entries[parent]))
            break;
        put(timers, index, timers->entries[parent]);
        index = parent;
    }
    put(timers, index, entry);
}

static void sink(struct unri_timers *timers, size_t index, struct unri_timer_entry entry)
{
    size_t end = timers->count + ROOT;
    for (size_t child; (child = first_child_of(index)) < end;) {
        size_t last = child + ARITY < end ? child + ARITY : end;
        size_t least = child;
        for (size_t i = child + 1; i < last; i++)
            if (before(&timers->entries[i], &timers->entries[least]))
                least = i;
        if (!before(&timers->entries[least], &entry))
            break;
        put(timers, index, timers->entries[least]);
        index = least;
    }
    put(timers, index, entry);
}

static void settle(struct unri_timers *timers, size_t index, struct unri_timer_entry entry)
{
    if (index > ROOT && before(&entry, &timers->entries[parent_of(index)]))
        rise(timers, index, entry);
    else
        sink(timers, index, entry);
}

static void insert(struct unri_timers *timers, struct unr_timer *timer)
{
    timer->private_fields[SERIAL] = ++timers->serial;
    rise(timers, timers->count++ + ROOT, (struct unri_timer_entry){ timer->deadline, timer });
}

static void take_out(struct unri_timers *timers, struct unr_timer *timer)
{
    size_t                  index = timer->private_fields[INDEX];
    struct unri_timer_entry last = timers->entries[--timers->count + ROOT];
    timer->private_fields[INDEX] = 0;
    if (last.timer != timer)
        settle(timers, index, last);
}

/* ---- for timers, and for what only waits like one ---- */

void unri_timer_set(struct unr_timer *timer, unr_time when, bool relative)
{
    timer->private_fields[INDEX] = 0;
    timer->private_fields[RELATIVE] = relative;
    if (relative)
        timer->private_fields[DELAY] = (uint64_t)when;
    else
        timer->deadline = when;
}

unr_time unri_timer_resolve(struct unr_loop *loop, struct unr_timer *timer)
{
    if (timer->private_fields[RELATIVE])
        timer->deadline = unri_sum(unri_loop_time(loop), (unr_time)timer->private_fields[DELAY]);
    return timer->deadline;
}

bool unri_timer_insert(struct unr_loop *loop, struct unr_timer *timer)
{
    if (!make_room(&loop->timers))
        return false;
    insert(&loop->timers, timer);
    return true;
}

bool unri_timer_waits(const struct unr_timer *timer)
{
    return timer->private_fields[INDEX] != 0;
}

void unri_timer_move(struct unr_loop *loop, struct unr_timer *timer, unr_time deadline)
{
    timer->deadline = deadline;
    timer->private_fields[SERIAL] = ++loop->timers.serial;
    settle(&loop->timers, timer->private_fields[INDEX], (struct unri_timer_entry){ deadline, timer });
    if (unri_outside_turn(loop))
        unri_embed_notice(loop);
}

void unri_timer_remove(struct unr_loop *loop, struct unr_timer *timer)
{
    take_out(&loop->timers, timer);
}

/* ---- the operation ---- */

static struct unr_timer *timer_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_timer, op);
}

static void timer_start(struct unr_op *op)
{
    struct unr_timer *timer = timer_of(op);
    struct unr_loop  *loop = op->private_fields.loop;
    unri_timer_resolve(loop, timer);
    if (!unri_timer_insert(loop, timer))
        unri_end(op, -ENOMEM);
}

static void timer_cancel(struct unr_op *op, struct unr_request request)
{
    (void)request;
    take_out(&op->private_fields.loop->timers, timer_of(op));
    unri_end(op, -ECANCELED);
}

static const struct unr_op_type timer_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "timer",
    .start = timer_start,
    .cancel = timer_cancel,
};

bool unri_is_timer(const struct unr_op *op)
{
    return op->type == &timer_type;
}

struct unr_op *unr_timer_at(struct unr_timer *timer, unr_time deadline)
{
    unr_describe(&timer->op, &timer_type);
    unri_timer_set(timer, deadline, false);
    return &timer->op;
}

struct unr_op *unr_timer_after(struct unr_timer *timer, unr_time delay)
{
    unr_describe(&timer->op, &timer_type);
    unri_timer_set(timer, delay, true);
    return &timer->op;
}

bool unr_timer_move(struct unr_timer *started, unr_time deadline)
{
    struct unr_op_private *p = unri_private(&started->op);
    if (p->state != UNRI_IN_FLIGHT || !unri_is_timer(&started->op))
        return false;
    unri_check_thread(p->loop);
    unri_timer_move(p->loop, started, deadline);
    return true;
}

/* A chunk at a time, so that each `done` finds its timer still in the cache.  What those start or move has a higher serial and
 * waits for the next turn, and so does what is due behind it. */
bool unri_timers_expire(struct unr_loop *loop, uint64_t serial)
{
    enum { CHUNK = 128 };
    struct unri_timers *timers = &loop->timers;
    unr_time            now = unri_now(loop);
    for (unsigned i = 0; timers->count && timers->entries[ROOT].deadline <= now; i++) {
        struct unr_timer *timer = timers->entries[ROOT].timer;
        if (i == CHUNK || timer->private_fields[SERIAL] > serial)
            return i == CHUNK;
        take_out(timers, timer);
        __builtin_prefetch(timers->entries[ROOT].timer);
        if (__builtin_expect(unri_is_timer(&timer->op), 1))
            unri_end(&timer->op, 0);
        else
            unri_holder_of(&timer->op)->due(&timer->op);
    }
    return false;
}

/* From the last to the first.  A request takes the timer out and fills its place with one that was not looked at or needs
 * nothing, so the same place is looked at again. */
void unri_timers_request_all(struct unr_loop *loop, struct unr_request request)
{
    struct unri_timers *timers = &loop->timers;
    for (size_t left = timers->count; left; left = left < timers->count ? left : timers->count) {
        struct unr_timer *timer = timers->entries[left - 1 + ROOT].timer;
        if (unri_is_timer(&timer->op))
            unri_request(&timer->op, request);
        else if (unri_delays_a_certain_start(&timer->op) && timer->deadline != INT64_MIN)
            unri_timer_move(loop, timer, INT64_MIN);
        else
            left--;
    }
}

void unri_timers_each(const struct unr_loop *loop, void (*visit)(struct unr_op *op, void *context), void *context)
{
    for (size_t i = 0; i < loop->timers.count; i++) {
        struct unr_op *op = &loop->timers.entries[i + ROOT].timer->op;
        if (unri_is_timer(op)) /* the others are among the peers too */
            visit(op, context);
    }
}
