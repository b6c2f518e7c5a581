/* SPDX-License-Identifier: MIT */
/* Where timers wait: a 4-ary heap, and queues of timers that were started with the same delay.
 * timer.c has the operation; lib/combine/ has the deadlines and delays, which wait here as well.
 *
 * The heap.  An entry holds the deadline beside the timer, so comparing two entries touches no
 * timer, and the four children of an entry share a cache line.  A start goes to the end and rises
 * past few ancestors, because a new time-out is mostly later than the timers that wait already; a
 * cancel fills the hole from the end.  Both touch a handful of cache lines, at a million timers as
 * at a thousand.  Only the removal of the first goes all the way down: 10 levels at a million.  A
 * timer wheel has no levels to go down, but wakes the loop to cascade; the heap knows exactly how
 * long the loop may sleep.
 *
 * The queues.  Most timers of a server are time-outs of a few lengths.  Timers of one length are
 * due in the order in which they were started, and most are cancelled before.  So they wait in a
 * queue, of which only the first is in the heap: behind it a start appends and a cancel unlinks.
 * (libevent calls this common timeouts.)  A delay that finds no queue for itself uses the heap.
 *
 * The serial number.  Each start and each move takes the next one, which the timer keeps in its
 * `order`.  It settles the order of timers that are due at the same time, and it tells a turn which
 * timers were there before the turn began to hand back: later ones wait for the next turn (rule 1).
 *
 * Starting a timer must not allocate.  So the heap is address space, reserved when the loop is
 * opened, whose pages the kernel provides as they are touched. */
#include "../core/cancel.h"
#include "../core/clock.h"
#include "../core/combinator.h"
#include "loop.h"

enum { ROOT = UNRI_TIMER_ROOT, ARITY = 4, RESERVED = 1 << 22, RESERVED_MIN = 1 << 8 };

static_assert(sizeof(struct unri_timer_entry) == 16, "four to a cache line");

/* The memory of a timer is that of its operation.  A timer keeps its own in private fields that
 * neither a timer nor a wrapper uses otherwise, all of them in one cache line: its place in the
 * heap in call_flags, its deadline in fd and other_fd, its order, and in a queue its neighbours. */
static_assert(sizeof(struct unr_timer) == sizeof(struct unr_op), "");
static_assert(offsetof(struct unr_timer, deadline) == offsetof(struct unr_op, private_fields.fd),
              "in place of the descriptors");

/* Where a timer is.  Any other number is its index in the heap. */
enum {
    NOWHERE = 0,
    DESCRIBED_WITH_DELAY = 1, /* it has not started, and its deadline counts from the start */
};
#define BEHIND UINT32_MAX /* in a queue behind another timer, and not in the heap */

/* The low bits of a timer's order are the number of its queue, from 1; 0: it is in none. */
enum { NUMBER_BITS = 5 };
static_assert(UNRI_TIMER_QUEUES < 1 << NUMBER_BITS, "");

static uint32_t place_of(const struct unr_timer *timer)
{
    return timer->op.private_fields.call_flags;
}

static void set_place(struct unr_timer *timer, uint32_t place)
{
    timer->op.private_fields.call_flags = place;
}

static struct unr_timer *next_of(const struct unr_timer *timer)
{
    return (struct unr_timer *)timer->op.private_fields.next;
}

static void set_next(struct unr_timer *timer, struct unr_timer *next)
{
    timer->op.private_fields.next = (struct unr_op *)next;
}

static struct unr_timer *previous_of(const struct unr_timer *timer)
{
    return (struct unr_timer *)timer->op.private_fields.previous;
}

static void set_previous(struct unr_timer *timer, struct unr_timer *previous)
{
    timer->op.private_fields.previous = (struct unr_op *)previous;
}

/* ---- room ---- */

/* Where so much address space is not to be had (RLIMIT_AS), a quarter of it will do, and so on. */
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

/* Doubles the heap when more timers wait than were reserved for: the one place where a start may
 * map memory.  An index has 32 bits. */
__attribute__((noinline)) static bool double_room(struct unri_timers *timers)
{
    if (timers->room > UINT32_MAX / 2)
        return false;
    size_t bytes = (timers->room * 2 + ROOT) * sizeof *timers->entries;
    void  *entries = unri_os_remap(timers->entries, timers->mapped, bytes);
    if (!entries)
        return false;
    timers->entries = entries;
    timers->mapped = bytes;
    timers->room *= 2;
    return true;
}

static bool make_room(struct unri_timers *timers)
{
    return likely(timers->count < timers->room) || double_room(timers);
}

/* ---- the heap ---- */

/* Its place in the heap; 0: it is not there. */
static size_t index_of(const struct unr_timer *timer)
{
    uint32_t place = place_of(timer);
    return place == BEHIND ? 0 : place;
}

static size_t parent_of(size_t index)
{
    return (index - ARITY) / ARITY + ROOT;
}

static size_t first_child_of(size_t index)
{
    return (index - ROOT) * ARITY + ARITY;
}

static uint64_t order_of(const struct unr_timer *timer)
{
    return timer->op.private_fields.order;
}

static bool before(const struct unri_timer_entry *a, const struct unri_timer_entry *b)
{
    if (likely(a->deadline != b->deadline))
        return a->deadline < b->deadline;
    return order_of(a->timer) < order_of(b->timer);
}

/* The timer is written to and not read: mostly it is in no cache, and a read would wait for it. */
static void put(struct unri_timers *timers, size_t index, struct unri_timer_entry entry)
{
    timers->entries[index] = entry;
    set_place(entry.timer, (uint32_t)index);
}

/* Puts an entry where it belongs, at `index` or nearer to the root; the entries that it passes move
 * down. */
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

/* Puts an entry where it belongs, at `index` or below it; the entries that it passes move up. */
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

/* Closes the place of a timer that has left, with the last entry.  That may come from another
 * branch, and so belong nearer to the root as well as below. */
static void fill_hole(struct unri_timers *timers, size_t index)
{
    struct unri_timer_entry last = timers->entries[--timers->count + ROOT];
    if (index != timers->count + ROOT)
        settle(timers, index, last);
}

/* ---- the queues ---- */

static unsigned queue_number(const struct unr_timer *timer)
{
    return order_of(timer) & ((1u << NUMBER_BITS) - 1);
}

static void set_order(struct unri_timers *timers, struct unr_timer *timer, unsigned number)
{
    timer->op.private_fields.order = ++timers->serial << NUMBER_BITS | number;
}

/* The number of the queue for a timer that starts; 0: it goes into the heap.  A delay has four
 * candidates, and takes the one that is its own, or else one that is empty.
 *
 * A queue stays in the order of its deadlines.  The time that a delay counts from is that of the
 * turn, or a later reading of the clock outside of a turn; so a timer may be due before one that
 * was started with the same delay earlier, and then goes into the heap. */
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

/* Appends a timer.  True: another is before it; false: it is the first, and goes into the heap. */
static bool append(struct unri_timer_queue *queue, struct unr_timer *timer)
{
    struct unr_timer *last = queue->last;
    queue->last = timer;
    set_previous(timer, last);
    if (last)
        set_next(last, timer);
    return last;
}

static void leave_queue(struct unri_timers *timers, struct unr_timer *timer, unsigned number)
{
    struct unr_timer *next = next_of(timer), *previous = previous_of(timer);
    set_previous(timer, NULL);
    if (previous)
        set_next(previous, next);
    if (next)
        set_previous(next, previous);
    else
        timers->queues[number - 1].last = previous;
}

/* Ends the wait of a timer.  The place of the first of a queue goes to the timer behind it, which
 * is due no earlier and so never belongs nearer to the root. */
static void take_out(struct unri_timers *timers, struct unr_timer *timer)
{
    unsigned          number = queue_number(timer);
    size_t            index = index_of(timer);
    struct unr_timer *next = number ? next_of(timer) : NULL;
    set_place(timer, NOWHERE);
    if (number)
        leave_queue(timers, timer, number);
    if (index && next)
        sink(timers, index, (struct unri_timer_entry){ next->deadline, next });
    else if (index)
        fill_hole(timers, index);
}

/* ---- one timer ---- */

void unri_timer_set(struct unr_timer *timer, unr_time when, bool relative)
{
    timer->deadline = when;
    set_place(timer, relative ? DESCRIBED_WITH_DELAY : NOWHERE);
}

unr_time unri_timer_resolve(struct unr_loop *loop, struct unr_timer *timer)
{
    unr_time delay = timer->deadline;
    if (place_of(timer) != DESCRIBED_WITH_DELAY)
        return UNR_NEVER;
    timer->deadline = unri_sum(unri_loop_time(loop), delay);
    return delay;
}

bool unri_timer_is_past(struct unr_loop *loop, const struct unr_timer *timer, unr_time delay)
{
    if (delay != UNR_NEVER)
        return delay <= 0;
    return timer->deadline <= unri_loop_time(loop);
}

bool unri_timer_insert(struct unr_loop *loop, struct unr_timer *timer, unr_time delay)
{
    struct unri_timers *timers = unri_timers(loop);
    if (!make_room(timers))
        return false;
    unsigned number = delay != UNR_NEVER ? queue_for(timers, delay, timer->deadline) : 0;
    set_order(timers, timer, number);
    set_next(timer, NULL);
    if (number) {
        struct unri_timer_queue *queue = &timers->queues[number - 1];
        queue->delay = delay;
        if (append(queue, timer)) {
            set_place(timer, BEHIND);
            return true;
        }
    }
    insert(timers, timer);
    return true;
}

bool unri_timer_waits(const struct unr_timer *timer)
{
    return place_of(timer) > DESCRIBED_WITH_DELAY;
}

/* A timer that is moved leaves its queue for good, and waits in the heap.  Only a timer that leaves
 * no place there needs room for another; that room is made first, so that a failure changes
 * nothing. */
bool unri_timer_move(struct unr_loop *loop, struct unr_timer *timer, unr_time deadline)
{
    struct unri_timers *timers = unri_timers(loop);
    bool                in_queue = queue_number(timer);
    bool                leaves_a_place = index_of(timer) && !(in_queue && next_of(timer));
    if (!leaves_a_place && !make_room(timers))
        return false;
    if (in_queue)
        take_out(timers, timer);
    set_next(timer, NULL);
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

/* ---- all timers ---- */

/* Ends a chunk of at most 128 timers; of deadlines and delays it calls `due` instead.  The `done`s
 * of one chunk run before the next is taken, and so find their timers still in the cache.
 *
 * It stops in front of the first timer whose serial number is higher than `serial`.  That timer was
 * started or moved after the turn began to hand back, by one of these `done`s say, and waits for
 * the next turn, with all timers that are due behind it (rule 1). */
bool unri_timers_expire(struct unr_loop *loop, unr_time now, uint64_t serial)
{
    enum { CHUNK = 128 };
    struct unri_timers *timers = unri_timers(loop);
    for (unsigned i = 0; timers->count && timers->entries[ROOT].deadline <= now; i++) {
        struct unr_timer *timer = timers->entries[ROOT].timer;
        if (i == CHUNK || order_of(timer) >> NUMBER_BITS > serial)
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

/* What closing a loop does to one timer (rule 10).  A timer is cancelled.  A delay whose child
 * honours requests is asked, and ends with that child; one whose child honours none is due at once
 * instead, for the child has to run.  A deadline has nothing to be asked: its child is found among
 * the operations in flight, or here. */
static void request_or_hurry(struct unr_loop *loop, struct unr_timer *timer,
                             struct unr_cancel_request request)
{
    bool pauses = unri_kind(&timer->op) == UNRI_DELAY;
    if (unri_kind(&timer->op) == UNRI_TIMER || (pauses && unr_supports(&timer->op))) {
        unri_count_request(loop, &timer->op);
        unri_request(&timer->op, request);
    } else if (pauses && timer->deadline != INT64_MIN) {
        unri_timer_move(loop, timer, INT64_MIN);
    }
}

/* Asks the timers that wait in a queue behind its first, which are not in the heap.  A request may
 * run a handler that takes out the timer which comes next.  Then it begins again behind the first:
 * the timers that it meets twice have nothing left to be asked. */
static void request_behind(struct unr_loop *loop, struct unr_timer *first,
                           struct unr_cancel_request request)
{
    struct unr_timer *next;
    for (struct unr_timer *timer = next_of(first); timer; timer = next) {
        next = next_of(timer);
        request_or_hurry(loop, timer, request);
        if (next && !unri_timer_waits(next))
            next = next_of(first);
    }
}

/* From the last place of the heap to the first.  A timer that leaves its place is replaced by one
 * that was not looked at yet, or that has nothing left to be asked; so the place is looked at again
 * until its timer stays. */
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

/* Again, as long as timers are started or moved meanwhile: they may be in places that were looked
 * at already. */
void unri_timers_request_all(struct unr_loop *loop, struct unr_cancel_request request)
{
    uint64_t serial;
    do {
        serial = unri_timers(loop)->serial;
        request_all_once(loop, request);
    } while (serial != unri_timers(loop)->serial);
}

/* Tells whether an operation in flight is found here and nowhere else.  The child of a deadline is
 * among the peers on its descriptor, or is a timer itself. */
static bool is_found_here(const struct unr_timer *timer)
{
    return unri_kind(&timer->op) == UNRI_TIMER || unri_kind(&timer->op) == UNRI_DELAY;
}

void unri_timers_each(const struct unr_loop *loop, void (*visit)(struct unr_op *op, void *context),
                      void                  *context)
{
    const struct unri_timers *timers = unri_timers(loop);
    for (size_t i = 0; i < timers->count; i++) {
        struct unr_timer *timer = timers->entries[i + ROOT].timer;
        for (; timer; timer = next_of(timer))
            if (is_found_here(timer))
                visit(&timer->op, context);
    }
}
