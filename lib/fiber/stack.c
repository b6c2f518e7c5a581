/* SPDX-License-Identifier: MIT */
/* Stacks for fibers.
 *
 * Slabs.  Stacks of one size are cut from slabs of 4 MiB, one mapping each; what is above a quarter
 * of that has a slab to itself.  Only the pages that are touched cost memory.  Huge pages would
 * make memory of all of it, and are switched off.
 *
 * Guards.  The lowest page of a stack faults.  MADV_GUARD_INSTALL (Linux 6.13) does that within the
 * mapping.  Before, and in locked memory, it is mprotect(2), which splits the mapping and so takes
 * two of those that a process may have (vm.max_map_count): a quarter of them become guards at most.
 * A stack beyond that has no guard, but a line at its low end that is looked at each time the fiber
 * waits.
 *
 * Pools.  An idle stack keeps its memory and is taken again first, the last that was given first.
 * One that was used far down is trimmed before.  Beyond `kept` idle ones a stack is cold: it gives
 * all of its memory back, and its place in the slab is a bit.  A slab whose stacks are all cold is
 * unmapped, unless it is the last of its size that has any, because that of its page tables comes
 * back no other way.
 *
 * A loop that is closed leaves its pools to the next one. */
#include "stack.h"
#include "../core/lock.h"
#include "../core/os.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(low, high) 0u
#define VALGRIND_STACK_DEREGISTER(id)      (void)(id)
#endif

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum {
    PAGE_MIN = 4096,
    SIZE_MIN = 16 << 10,
    SIZE_MAX_ = 64 << 20,
    SIZES = 13, /* powers of two, from the one to the other */
    SLAB = 4 << 20,
    STACKS_MAX = SLAB / SIZE_MIN, /* in a slab */
    WORDS = STACKS_MAX / 64,
    LEFT_BEHIND_MAX = 4,  /* pools of closed loops */
    LEFT_BEHIND_KEPT = 64 /* idle stacks of each size in them */
};
static_assert(SIZE_MIN << (SIZES - 1) == SIZE_MAX_, "");

struct unri_slab {
    _Atomic(char *)   base; /* NULL: unmapped; the record waits to be used again */
    size_t            stack_size;
    unsigned          count, cold_count;
    unsigned          protects;        /* guards of it that are mprotect(2)'s */
    uint64_t          cold[WORDS];     /* a bit for each stack that has no memory */
    uint64_t          guarded[WORDS];  /* its guard is there */
    struct unri_slab *next, *previous; /* those of its size with cold stacks */
    struct unri_slab *next_record;     /* all that there ever were */
    bool              is_taken;        /* the record; under the lock */
};

struct pool {
    struct unri_stack *idle;
    unsigned           idle_count, cold_count;
    unsigned           reserved; /* of these */
    struct unri_slab  *slabs;    /* with cold stacks */
};

struct unri_stacks {
    struct pool         pools[SIZES];
    unsigned            kept;
    struct unr_stats   *stats;
    struct unri_stacks *next; /* left behind */
};

/* That of the kernel: on aarch64 there are some of 16 and of 64 KiB. */
static size_t page_size(void)
{
    static _Atomic size_t known;
    size_t                size = atomic_load_explicit(&known, memory_order_relaxed);
    if (likely(size != 0))
        return size;
    size = (size_t)sysconf(_SC_PAGESIZE);
    atomic_store_explicit(&known, size, memory_order_relaxed);
    return size;
}

static size_t at_page(size_t size)
{
    return size & ~(page_size() - 1);
}

/* ---- the slabs of the process ---- */

/* Records are never freed, because a signal handler walks through them.  The lock of the process
 * is for the records of slabs that are gone, for what closed loops have left behind, and for how
 * many guards may be made. */
static _Atomic(struct unri_slab *) records;
static struct unri_stacks         *left_behind;
static unsigned                    left_behind_count;

static struct unri_slab *take_record(void)
{
    struct unri_slab *slab;
    unri_lock_process();
    for (slab = atomic_load(&records); slab && slab->is_taken; slab = slab->next_record)
        ;
    if (!slab && (slab = calloc(1, sizeof *slab)) != NULL) {
        slab->next_record = atomic_load(&records);
        atomic_store(&records, slab);
    }
    if (slab)
        slab->is_taken = true;
    unri_unlock_process();
    return slab;
}

static void free_record(struct unri_slab *slab)
{
    unri_lock_process();
    atomic_store(&slab->base, NULL);
    slab->is_taken = false;
    unri_unlock_process();
}

static size_t slab_size(const struct unri_slab *slab)
{
    return slab->count * slab->stack_size;
}

static struct unri_slab *map_slab(size_t stack_size)
{
    struct unri_slab *slab = take_record();
    if (!slab)
        return NULL;
    unsigned count = stack_size > SLAB / 4 ? 1 : (unsigned)(SLAB / stack_size);
    char    *base = unri_os_map(count * stack_size, false);
    if (!base) {
        free_record(slab);
        return NULL;
    }
    madvise(base, count * stack_size, MADV_NOHUGEPAGE);
    slab->stack_size = stack_size;
    slab->count = slab->cold_count = count;
    slab->protects = 0;
    for (unsigned i = 0; i < WORDS; i++)
        slab->guarded[i] = slab->cold[i] = 0;
    for (unsigned i = 0; i < count; i++)
        slab->cold[i / 64] |= UINT64_C(1) << i % 64;
    atomic_store(&slab->base, base);
    return slab;
}

const struct unri_stack *unri_stack_guarding(const void *address)
{
    for (struct unri_slab *slab = atomic_load(&records); slab; slab = slab->next_record) {
        char *base = atomic_load(&slab->base);
        if (!base || (const char *)address < base
            || (const char *)address >= base + slab_size(slab))
            continue;
        size_t offset = (size_t)((const char *)address - base) % slab->stack_size;
        char  *low = (char *)(uintptr_t)address - offset;
        return offset < page_size() ? (struct unri_stack *)(low + slab->stack_size) - 1 : NULL;
    }
    return NULL;
}

/* ---- guards ---- */

/* How many more guards may be made by mprotect(2). */
static atomic_long protects_left;

static long count_protects(void)
{
    long  count = 65530;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    if (file) {
        if (fscanf(file, "%ld", &count) != 1)
            count = 65530;
        fclose(file);
    }
    return count / 4;
}

static void count_protects_once(void)
{
    static bool counted;
    unri_lock_process();
    if (!counted)
        atomic_store(&protects_left, count_protects());
    counted = true;
    unri_unlock_process();
}

static bool protect(struct unri_slab *slab, char *page)
{
    count_protects_once();
    if (atomic_fetch_sub(&protects_left, 1) > 0 && mprotect(page, page_size(), PROT_NONE) == 0) {
        slab->protects++;
        return true;
    }
    atomic_fetch_add(&protects_left, 1);
    return false;
}

static bool guard(struct unri_slab *slab, char *page)
{
    return madvise(page, page_size(), MADV_GUARD_INSTALL) == 0 || protect(slab, page);
}

/* Its guards may be made anew elsewhere. */
static void unmap_slab(struct unri_slab *slab)
{
    char  *base = atomic_load(&slab->base);
    size_t size = slab_size(slab);
    atomic_fetch_add(&protects_left, slab->protects);
    free_record(slab);
    unri_os_unmap(base, size);
}

/* ---- one stack ---- */

static unsigned index_of(const struct unri_stack *stack)
{
    const char *base = atomic_load_explicit(&stack->slab->base, memory_order_relaxed);
    return (unsigned)((size_t)((const char *)stack - base) / stack->slab->stack_size);
}

static char *low_of(const struct unri_stack *stack)
{
    return (char *)(uintptr_t)(stack + 1) - stack->slab->stack_size;
}

/* Stacks whose frames begin at the same offset share the sets of a cache.  They begin at 16
 * different lines in turn, so that also those of a slab that holds few do. */
void *unri_stack_top(const struct unri_stack *stack)
{
    enum { LINE = 64, COLOURS = 16 };
    return (char *)(uintptr_t)stack - index_of(stack) % COLOURS * LINE;
}

size_t unri_stack_whole_size(const struct unri_stack *stack)
{
    return stack->slab->stack_size;
}

static void discard(char *from, const char *to)
{
    if (from < to)
        madvise(from, (size_t)(to - from), MADV_DONTNEED);
}

void unri_stack_trim(struct unri_stack *stack, const void *frame)
{
    discard(low_of(stack) + page_size(), (char *)at_page((uintptr_t)frame));
}

size_t unri_stack_touched(const struct unri_stack *stack)
{
    unsigned char pages[256];
    const size_t  page = page_size(), most = sizeof pages * page;
    size_t        touched = 0;
    char         *end = low_of(stack) + stack->slab->stack_size;
    for (char *at = low_of(stack) + page; at < end; at += most) {
        size_t len = (size_t)(end - at) < most ? (size_t)(end - at) : most;
        if (mincore(at, len, pages) != 0)
            return 0;
        for (size_t i = 0; i < len / page; i++)
            touched += pages[i] & 1 ? page : 0;
    }
    return touched;
}

/* Untouched memory is zero, and reading it costs none. */
__attribute__((no_sanitize("address", "thread"))) static bool was_written(const char *line)
{
    const uint64_t *words = (const uint64_t *)line;
    uint64_t        all = 0;
    for (unsigned i = 0; i < 8; i++)
        all |= words[i];
    return all;
}

bool unri_stack_overflowed(const struct unri_stack *stack)
{
    return was_written(low_of(stack) + page_size());
}

/* ---- the pools ---- */

/* The smallest stack has room for a signal handler, for the registers that the kernel saves for it,
 * which are 3 KiB on most processors and above 10 KiB on some, and for a guard of a page. */
static size_t smallest(void)
{
    enum { HANDLER = 12 << 10 };
    static _Atomic size_t known;
    size_t                size = atomic_load_explicit(&known, memory_order_relaxed);
    if (likely(size != 0))
        return size;
    size = SIZE_MIN;
    while (size < page_size() - PAGE_MIN + getauxval(AT_MINSIGSTKSZ) + HANDLER)
        size *= 2;
    atomic_store_explicit(&known, size, memory_order_relaxed);
    return size;
}

size_t unri_stack_size(size_t size)
{
    if (size > SIZE_MAX_)
        return 0;
    size_t rounded = smallest();
    while (rounded < size)
        rounded *= 2;
    return rounded;
}

static struct pool *pool_of(struct unri_stacks *stacks, size_t size)
{
    return &stacks->pools[__builtin_ctzll(size) - __builtin_ctz(SIZE_MIN)];
}

static void link_slab(struct pool *pool, struct unri_slab *slab)
{
    slab->previous = NULL;
    slab->next = pool->slabs;
    if (slab->next)
        slab->next->previous = slab;
    pool->slabs = slab;
}

static void unlink_slab(struct pool *pool, struct unri_slab *slab)
{
    if (slab->previous)
        slab->previous->next = slab->next;
    else
        pool->slabs = slab->next;
    if (slab->next)
        slab->next->previous = slab->previous;
}

/* Warms a cold stack up: it gets its guard, once, and its structure. */
static struct unri_stack *warm(struct pool *pool, struct unri_slab *slab)
{
    unsigned i = 0;
    while (!slab->cold[i / 64])
        i += 64;
    i += (unsigned)__builtin_ctzll(slab->cold[i / 64]);
    uint64_t bit = UINT64_C(1) << i % 64;
    slab->cold[i / 64] &= ~bit;
    pool->cold_count--;
    if (--slab->cold_count == 0)
        unlink_slab(pool, slab);
    char *low = atomic_load(&slab->base) + i * slab->stack_size;
    if (!(slab->guarded[i / 64] & bit) && guard(slab, low))
        slab->guarded[i / 64] |= bit;

    const size_t       page = page_size();
    struct unri_stack *stack = (struct unri_stack *)(low + slab->stack_size) - 1;
    *stack = (struct unri_stack){ .slab = slab,
                                  .has_no_guard = !(slab->guarded[i / 64] & bit),
                                  .context.bounds.low = low + page,
                                  .context.bounds.size = (size_t)((char *)stack - low) - page };
    unri_context_tell_made(&stack->context.bounds);
    stack->valgrind = VALGRIND_STACK_REGISTER(low + page, stack);
    return stack;
}

/* Maps another slab if all stacks that do not run are reserved. */
static bool make_one_free(struct pool *pool, size_t size)
{
    if (likely(pool->idle_count + pool->cold_count > pool->reserved))
        return true;
    struct unri_slab *slab = map_slab(size);
    if (!slab)
        return false;
    link_slab(pool, slab);
    pool->cold_count += slab->count;
    return true;
}

bool unri_stack_reserve(struct unri_stacks *stacks, size_t size)
{
    struct pool *pool = pool_of(stacks, size);
    if (!make_one_free(pool, size))
        return false;
    pool->reserved++;
    return true;
}

struct unri_stack *unri_stack_take(struct unri_stacks *stacks, size_t size, bool reserved)
{
    struct pool *pool = pool_of(stacks, size);
    if (reserved)
        pool->reserved--;
    else if (unlikely(!make_one_free(pool, size)))
        return NULL;
    struct unri_stack *stack = pool->idle;
    if (likely(stack != NULL)) {
        pool->idle = stack->next;
        pool->idle_count--;
        stacks->stats->stacks_kept--;
        return stack;
    }
    stacks->stats->stacks_made++;
    return warm(pool, pool->slabs);
}

/* Tells whether a slab whose stacks are all cold is needed: for those that are reserved, or as the
 * last one, so that a single stack that comes and goes does not map it each time. */
static bool is_needed(const struct pool *pool, const struct unri_slab *slab)
{
    return (!slab->next && !slab->previous)
           || pool->idle_count + pool->cold_count - slab->count < pool->reserved;
}

static void cool(struct unri_stacks *stacks, struct pool *pool, struct unri_stack *stack)
{
    struct unri_slab *slab = stack->slab;
    unsigned          i = index_of(stack);
    char             *low = low_of(stack);
    unri_context_tell_gone(&stack->context.bounds);
    VALGRIND_STACK_DEREGISTER(stack->valgrind);
    discard(low + page_size(), low + slab->stack_size);
    slab->cold[i / 64] |= UINT64_C(1) << i % 64;
    pool->cold_count++;
    if (slab->cold_count++ == 0)
        link_slab(pool, slab);
    if (slab->cold_count == slab->count && !is_needed(pool, slab)) {
        pool->cold_count -= slab->count;
        unlink_slab(pool, slab);
        unmap_slab(slab);
    }
    stacks->stats->stacks_given_back++;
}

/* A stack that was used beyond its first 16 KiB, or two pages, as a line there tells, is trimmed to
 * less than these. */
static void trim_idle(struct unri_stack *stack)
{
    const size_t page = page_size(), kept = 2 * page > SIZE_MIN ? 2 * page : SIZE_MIN;
    char        *line = (char *)(stack + 1) - kept;
    if (stack->slab->stack_size > kept && was_written(line))
        discard(low_of(stack) + page, line + page);
}

void unri_stack_give(struct unri_stacks *stacks, struct unri_stack *stack)
{
    struct pool *pool = pool_of(stacks, stack->slab->stack_size);
    unri_context_tell_idle(&stack->context.bounds);
    stack->owner = NULL;
    if (unlikely(pool->idle_count >= stacks->kept)) {
        cool(stacks, pool, stack);
        return;
    }
    trim_idle(stack);
    stack->next = pool->idle;
    pool->idle = stack;
    pool->idle_count++;
    stacks->stats->stacks_kept++;
}

/* ---- of a loop ---- */

static void keep_at_most(struct unri_stacks *stacks, unsigned kept)
{
    for (unsigned i = 0; i < SIZES; i++)
        while (stacks->pools[i].idle_count > kept) {
            struct unri_stack *stack = stacks->pools[i].idle;
            stacks->pools[i].idle = stack->next;
            stacks->pools[i].idle_count--;
            stacks->stats->stacks_kept--;
            cool(stacks, &stacks->pools[i], stack);
        }
}

static struct unri_stacks *take_left_behind(void)
{
    unri_lock_process();
    struct unri_stacks *stacks = left_behind;
    if (stacks) {
        left_behind = stacks->next;
        left_behind_count--;
    }
    unri_unlock_process();
    return stacks;
}

struct unri_stacks *unri_stacks_open(unsigned kept, struct unr_stats *stats)
{
    struct unri_stacks *stacks = take_left_behind();
    if (!stacks && !(stacks = calloc(1, sizeof *stacks)))
        return NULL;
    stacks->kept = kept;
    stacks->stats = stats;
    for (unsigned i = 0; i < SIZES; i++)
        stats->stacks_kept += stacks->pools[i].idle_count;
    keep_at_most(stacks, kept);
    return stacks;
}

static bool leave_behind(struct unri_stacks *stacks)
{
    unri_lock_process();
    bool room = left_behind_count < LEFT_BEHIND_MAX;
    if (room) {
        stacks->next = left_behind;
        left_behind = stacks;
        left_behind_count++;
    }
    unri_unlock_process();
    return room;
}

void unri_stacks_close(struct unri_stacks *stacks)
{
    keep_at_most(stacks, stacks->kept < LEFT_BEHIND_KEPT ? stacks->kept : LEFT_BEHIND_KEPT);
    if (leave_behind(stacks))
        return;
    keep_at_most(stacks, 0);
    for (unsigned i = 0; i < SIZES; i++)
        if (stacks->pools[i].slabs) /* the last of its size */
            unmap_slab(stacks->pools[i].slabs);
    free(stacks);
}
