/* SPDX-License-Identifier: MIT */
/* What timers wait in: a 4-ary heap, and queues of timers that were started with the same delay.
 *
 * The heap's entries hold the deadline beside the timer, so that comparing touches no timer, and
 * the four children of one entry share a cache line.  A start goes to the end and rises past few
 * ancestors (a time-out is mostly later than most of what waits), a cancel fills the hole from the
 * end: both touch a handful of cache lines, at a million timers as at a thousand, and only the
 * removal of the first goes all the way down (10 levels at a million).  A wheel would need none of
 * that, but wakes the loop to cascade; a heap knows exactly when to sleep until.
 *
 * But most timers of a server are time-outs of the same few lengths, which end in the order in
 * which they began and are cancelled before.  Of such a queue only the first is in the heap; behind
 * it starting is appending and cancelling unlinking (libevent's common timeouts).  A delay takes a
 * queue that is empty; with none for it the heap will do.
 *
 * Starting a timer must not allocate, so the heap is address space reserved when the loop is
 * opened, of which the kernel gives what is touched. */
#include "../core/cancel.h"
#include "../core/clock.h"
#include "../core/combinator.h"
#include "loop.h"

enum { ROOT = UNRI_TIMER_ROOT, ARITY = 4, RESERVED = 1 << 22, RESERVED_MIN = 1 << 8 };

static_assert(sizeof(struct unri_timer_entry) == 16, "four to a cache line");
static_assert(sizeof(struct unr_timer) == sizeof(struct unr_op) + 40, "");

/* private_fields of a timer */
enum {
    INDEX, /* in the heap; BEHIND: in a queue, not its first; 0: it does not wait */
    ORDER, /* when it was started or last moved, which settles ties of deadlines, and the number of
              its queue */
    NEXT,  /* while it waits, in its queue */
    PREVIOUS,
    RELATIVE = NEXT,  /* before that: whether it was described with a delay */
    DELAY = PREVIOUS, /* and with which */
};
#define BEHIND UINT64_MAX

enum { NUMBER_BITS = 5 };
static_assert(UNRI_TIMER_QUEUES < 1 << NUMBER_BITS, "");

int unri_timers_open(struct unri_timers *timers)
{
    *timers = (struct unri_timers){ 0 };
    for (size_t room = RESERVED; !timers->entries && room >= RESERVED_MIN; room /= 4) {
        timers->room = room;
        timers->mapped = (room + ROOT) * sizeof *timers->entries;
        timers->entries = unri_os_map(timers->mapped, false);
    }
    return timers->entries ? 0 : -ENOMEM;
}

void unri_timers_close(struct unri_timers *timers)
{
    if (timers->entries)
        unri_os_unmap(timers->entries, timers->mapped);
}

/* More timers than were reserved for: the one place where a start may map memory. */
static bool make_room(struct unri_timers *timers)
{
    if (timers->count < timers->room)
        return true;
    size_t bytes = (timers->room * 2 + ROOT) * sizeof *timers->entries;
    void  *entries = unri_os_remap(timers->entries, timers->mapped, bytes);
    if (!entries)
        return false;
    timers->entries = entries;
    timers->mapped = bytes;
    timers->room *= 2;
    return true;
}

/* ---- the heap ---- */

/* 0: it is not in the heap. */
static size_t index_of(const struct unr_timer *timer)
{
    uint64_t index = timer->private_fields[INDEX];
    return index == BEHIND ? 0 : index;
}

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
    if (likely(a->deadline != b->deadline))
        return a->deadline < b->deadline;
    return a->timer->private_fields[ORDER] < b->timer->private_fields[ORDER];
}

static void put(struct unri_timers *timers, size_t index, struct unri_timer_entry entry)
{
    timers->entries[index] = entry;
    entry.timer->private_fields[INDEX] = index; /* not read: the timer is in no cache, mostly */
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
    rise(timers, timers->count++ + ROOT, (struct unri_timer_entry){ timer->deadline, timer });
}

static void fill_hole(struct unri_timers *timers, size_t index)
{
    struct unri_timer_entry last = timers->entries[--timers->count + ROOT];
    if (index != timers->count + ROOT)
        settle(timers, index, last);
}

/* ---- the queues ---- */

/* The number of its queue; 0: it is in none. */
static unsigned queue_of(const struct unr_timer *timer)
{
    return timer->private_fields[ORDER] & ((1u << NUMBER_BITS) - 1);
}

static void set_order(struct unri_timers *timers, struct unr_timer *timer, unsigned number)
{
    timer->private_fields[ORDER] = ++timers->serial << NUMBER_BITS | number;
}

static struct unr_timer *next_in_queue(const struct unr_timer *timer)
{
    return (struct unr_timer *)(uintptr_t)timer->private_fields[NEXT];
}

static struct unr_timer *previous_in_queue(const struct unr_timer *timer)
{
    return (struct unr_timer *)(uintptr_t)timer->private_fields[PREVIOUS];
}

/* The number, from 1, of the queue for a delay: one of a few, its own or an empty one; 0: others
 * wait in all of them. */
static unsigned queue_for(const struct unri_timers *timers, unr_time delay, unr_time deadline)
{
    enum { CANDIDATES = 4 };
    unsigned first = (unsigned)(((uint64_t)delay >> 9) * 0x9e3779b97f4a7c15u >> 60), empty = 0;
    for (unsigned i = 0; i < CANDIDATES; i++) {
        unsigned                       index = (first + i) % UNRI_TIMER_QUEUES;
        const struct unri_timer_queue *queue = &timers->queues[index];
        if (queue->last && queue->delay == delay)
            return queue->last->deadline <= deadline ? index + 1 : 0;
        if (!queue->last && !empty)
            empty = index + 1;
    }
    return empty;
}

/* Behind the last; false: there is none, and it goes into the heap. */
static bool append(struct unri_timer_queue *queue, struct unr_timer *timer)
{
    struct unr_timer *last = queue->last;
    queue->last = timer;
    timer->private_fields[PREVIOUS] = (uintptr_t)last;
    if (last)
        last->private_fields[NEXT] = (uintptr_t)timer;
    return last;
}

static void leave_queue(struct unri_timers *timers, struct unr_timer *timer, unsigned number)
{
    struct unr_timer *next = next_in_queue(timer), *previous = previous_in_queue(timer);
    if (previous)
        previous->private_fields[NEXT] = (uintptr_t)next;
    if (next)
        next->private_fields[PREVIOUS] = (uintptr_t)previous;
    else
        timers->queues[number - 1].last = previous;
}

static void take_out(struct unri_timers *timers, struct unr_timer *timer)
{
    unsigned          number = queue_of(timer);
    size_t            index = index_of(timer);
    struct unr_timer *next = number ? next_in_queue(timer) : NULL;
    timer->private_fields[INDEX] = 0;
    if (number)
        leave_queue(timers, timer, number);
    if (index && next)
        sink(timers, index, (struct unri_timer_entry){ next->deadline, next });
    else if (index)
        fill_hole(timers, index);
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

void unri_timer_resolve(struct unr_loop *loop, struct unr_timer *timer)
{
    if (timer->private_fields[RELATIVE])
        timer->deadline = unri_sum(unri_loop_time(loop), (unr_time)timer->private_fields[DELAY]);
}

bool unri_timer_is_past(struct unr_loop *loop, const struct unr_timer *timer)
{
    if (timer->private_fields[RELATIVE])
        return (unr_time)timer->private_fields[DELAY] <= 0;
    return timer->deadline <= unri_loop_time(loop);
}

bool unri_timer_insert(struct unr_loop *loop, struct unr_timer *timer)
{
    struct unri_timers *timers = unri_timers(loop);
    if (!make_room(timers))
        return false;
    unr_time delay =
        timer->private_fields[RELATIVE] ? (unr_time)timer->private_fields[DELAY] : UNR_NEVER;
    unsigned number = delay != UNR_NEVER ? queue_for(timers, delay, timer->deadline) : 0;
    set_order(timers, timer, number);
    timer->private_fields[NEXT] = 0;
    if (number) {
        timers->queues[number - 1].delay = delay;
        if (append(&timers->queues[number - 1], timer)) {
            timer->private_fields[INDEX] = BEHIND;
            return true;
        }
    }
    insert(timers, timer);
    return true;
}

bool unri_timer_waits(const struct unr_timer *timer)
{
    return timer->private_fields[INDEX] != 0;
}

bool unri_timer_move(struct unr_loop *loop, struct unr_timer *timer, unr_time deadline)
{
    struct unri_timers *timers = unri_timers(loop);
    bool                in_queue = queue_of(timer);
    bool                leaves_a_place = index_of(timer) && !(in_queue && next_in_queue(timer));
    if (!leaves_a_place && !make_room(timers))
        return false;
    if (in_queue)
        take_out(timers, timer);
    timer->private_fields[NEXT] = 0;
    timer->deadline = deadline;
    set_order(timers, timer, 0);
    if (in_queue)
        insert(timers, timer);
    else
        settle(timers, index_of(timer), (struct unri_timer_entry){ deadline, timer });
    unri_notice(loop);
    return true;
}

void unri_timer_remove(struct unr_loop *loop, struct unr_timer *timer)
{
    take_out(unri_timers(loop), timer);
}

/* ---- all that wait ---- */

/* A chunk at a time, so that each `done` finds its timer still in the cache.  What those start or
 * move has a higher serial and waits for the next turn, and so does what is due behind it. */
bool unri_timers_expire(struct unr_loop *loop, uint64_t serial)
{
    enum { CHUNK = 128 };
    struct unri_timers *timers = unri_timers(loop);
    unr_time            now = unri_now(loop);
    for (unsigned i = 0; timers->count && timers->entries[ROOT].deadline <= now; i++) {
        struct unr_timer *timer = timers->entries[ROOT].timer;
        if (i == CHUNK || timer->private_fields[ORDER] >> NUMBER_BITS > serial)
            return i == CHUNK;
        take_out(timers, timer);
        __builtin_prefetch(timers->entries[ROOT].timer);
        if (likely(unri_kind(&timer->op) == UNRI_TIMER))
            unri_end(&timer->op, 0);
        else
            unri_combinator_of(&timer->op)->due(&timer->op);
    }
    return false;
}

static void request_or_hurry(struct unr_loop *loop, struct unr_timer *timer,
                             struct unr_cancel_request request)
{
    bool pauses = unri_kind(&timer->op) == UNRI_DELAY;
    if (unri_kind(&timer->op) == UNRI_TIMER || (pauses && unr_supports(&timer->op)))
        unri_request(&timer->op, request);
    else if (pauses && timer->deadline != INT64_MIN)
        unri_timer_move(loop, timer, INT64_MIN);
}

/* Those behind the first of a queue; none of them is in the heap. */
static void request_behind(struct unr_loop *loop, struct unr_timer *first,
                           struct unr_cancel_request request)
{
    for (struct unr_timer *timer = next_in_queue(first), *next; timer; timer = next) {
        next = next_in_queue(timer);
        request_or_hurry(loop, timer, request);
        if (next && !unri_timer_waits(next))
            next = next_in_queue(first); /* somebody took that out meanwhile */
    }
}

/* From the last place to the first.  What leaves one is replaced by what was not looked at or needs
 * nothing, so the same place is looked at again. */
static void request_all_once(struct unr_loop *loop, struct unr_cancel_request request)
{
    struct unri_timers *timers = unri_timers(loop);
    for (size_t left = timers->count; left; left = left < timers->count ? left : timers->count) {
        struct unr_timer *timer = timers->entries[left - 1 + ROOT].timer;
        request_behind(loop, timer, request);
        request_or_hurry(loop, timer, request);
        if (left <= timers->count && timers->entries[left - 1 + ROOT].timer == timer)
            left--;
    }
}

/* Again, when something was started or moved meanwhile, which may have put others where it had
 * looked already. */
void unri_timers_request_all(struct unr_loop *loop, struct unr_cancel_request request)
{
    uint64_t serial;
    do {
        serial = unri_timers(loop)->serial;
        request_all_once(loop, request);
    } while (serial != unri_timers(loop)->serial);
}

void unri_timers_each(const struct unr_loop *loop, void (*visit)(struct unr_op *op, void *context),
                      void                  *context)
{
    for (size_t i = 0; i < unri_timers(loop)->count; i++)
        for (struct unr_timer *timer = unri_timers(loop)->entries[i + ROOT].timer; timer;
             timer = next_in_queue(timer))
            if (unri_kind(&timer->op) == UNRI_TIMER
                || unri_kind(&timer->op)
                       == UNRI_DELAY) /* what has a deadline is among the peers, or here */
                visit(&timer->op, context);
}
