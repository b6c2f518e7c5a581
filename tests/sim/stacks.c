/* SPDX-License-Identifier: MIT */
/* Stacks for fibers as the simulated kernel has them: each one taken is a choice where memory may
 * be lacking, whatever is idle, so that every schedule meets the same choices.  The memory outlives
 * a schedule: what it costs to map and touch would be most of a schedule's time. */
#include <stdlib.h>
#include <sys/mman.h>

#include "../../lib/fiber/stack.h"
#include "sim.h"

enum { PAGE = 4096, SIZE_MIN = 16 << 10, SIZE_MAX_ = 64 << 20 };

struct unri_stacks {
    struct unr_stats *stats;
};

struct unri_slab {
    size_t             size;
    struct unri_stack *stack;
    struct unri_slab  *next;
    bool               taken;
};

/* All that there ever were. */
static struct unri_slab *slabs;

void sim_stacks_reset(void)
{
    for (struct unri_slab *slab = slabs; slab; slab = slab->next)
        if (slab->taken) {
            unri_context_tell_idle(&slab->stack->context.bounds);
            slab->taken = false;
        }
}

struct unri_stacks *unri_stacks_open(unsigned kept, struct unr_stats *stats)
{
    (void)kept;
    struct unri_stacks *stacks = calloc(1, sizeof *stacks);
    if (stacks)
        stacks->stats = stats;
    return stacks;
}

void unri_stacks_close(struct unri_stacks *stacks)
{
    free(stacks);
}

size_t unri_stack_size(size_t size)
{
    size_t rounded = SIZE_MIN;
    while (rounded < size)
        rounded *= 2;
    return size > SIZE_MAX_ ? 0 : rounded;
}

static struct unri_slab *make(size_t size)
{
    struct unri_slab *slab = calloc(1, sizeof *slab);
    char             *low = mmap(NULL, size, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!slab || low == MAP_FAILED)
        abort();
    mprotect(low, PAGE, PROT_NONE);
    slab->size = size;
    slab->stack = (struct unri_stack *)(low + size) - 1;
    slab->stack->slab = slab;
    slab->stack->context.bounds.low = low + PAGE;
    slab->stack->context.bounds.size = (size_t)((char *)slab->stack - low) - PAGE;
    unri_context_tell_made(&slab->stack->context.bounds);
    slab->next = slabs;
    return slabs = slab;
}

bool unri_stack_reserve(struct unri_stacks *stacks, size_t size)
{
    (void)stacks, (void)size;
    return !sim_kernel_lacks_memory();
}

struct unri_stack *unri_stack_take(struct unri_stacks *stacks, size_t size, bool reserved)
{
    struct unri_slab *slab = slabs;
    if (!reserved && sim_kernel_lacks_memory())
        return NULL;
    while (slab && (slab->taken || slab->size != size))
        slab = slab->next;
    if (!slab)
        slab = make(size);
    slab->taken = true;
    stacks->stats->stacks_made++;
    return slab->stack;
}

void unri_stack_give(struct unri_stacks *stacks, struct unri_stack *stack)
{
    stacks->stats->stacks_given_back++;
    unri_context_tell_idle(&stack->context.bounds);
    stack->slab->taken = false;
}

void *unri_stack_top(const struct unri_stack *stack)
{
    return (void *)(uintptr_t)stack;
}

size_t unri_stack_whole_size(const struct unri_stack *stack)
{
    return stack->slab->size;
}

void unri_stack_trim(struct unri_stack *stack, const void *frame)
{
    (void)stack, (void)frame;
}

size_t unri_stack_touched(const struct unri_stack *stack)
{
    (void)stack;
    return PAGE;
}

bool unri_stack_overflowed(const struct unri_stack *stack)
{
    (void)stack;
    return false;
}

const struct unri_stack *unri_stack_guarding(const void *address)
{
    for (const struct unri_slab *slab = slabs; slab; slab = slab->next) {
        const char *low = (const char *)(slab->stack + 1) - slab->size;
        if ((const char *)address >= low && (const char *)address < low + PAGE)
            return slab->stack;
    }
    return NULL;
}
