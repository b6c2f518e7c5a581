/* SPDX-License-Identifier: MIT */
/* Stacks for fibers, and the pools of a loop in which they wait.  A part of the seam: stack.c takes
 * them from the system, and the simulated kernel has its own. */
#ifndef UNRI_STACK_H
#define UNRI_STACK_H

#include <unring/loop.h>
#include "switch.h"

/* The stacks of a loop. */
struct unri_stacks;

/* One stack.  The structure lies at its top, whose page is in use anyway. */
struct unri_stack {
    struct unri_context context;  /* the bounds are without this structure and without the guard */
    struct unri_stack  *next;     /* behind it in its pool */
    struct unri_slab   *slab;     /* from which it was cut */
    const char         *owner;    /* the name of the fiber that has it */
    unsigned            valgrind; /* what valgrind calls it */
    bool                has_no_guard;
};

/* Opens the pools of a loop, or takes those that another loop has left behind.  At most `kept` idle
 * stacks of each size stay in them; counts go to `stats`.  NULL: there is no memory. */
struct unri_stacks *unri_stacks_open(unsigned kept, struct unr_stats *stats);
void                unri_stacks_close(struct unri_stacks *stacks);

/* Rounds the size of a stack up to one that there is; 0: there is none that large. */
size_t unri_stack_size(size_t size);

/* Sees to it that a stack of a size that there is can be taken later.  False: there is no memory.
 */
bool unri_stack_reserve(struct unri_stacks *stacks, size_t size);

/* Takes a stack of a size that there is.  `reserved`: one that was reserved, which there always is.
 * NULL: there is no memory. */
struct unri_stack *unri_stack_take(struct unri_stacks *stacks, size_t size, bool reserved);
void               unri_stack_give(struct unri_stacks *stacks, struct unri_stack *stack);

/* The address at which the first frame of a stack begins. */
void *unri_stack_top(const struct unri_stack *stack);

/* Its size, guard and structure included. */
size_t unri_stack_whole_size(const struct unri_stack *stack);

/* Gives the memory below `frame` back to the system. */
void unri_stack_trim(struct unri_stack *stack, const void *frame);

/* How many bytes of it have memory, in pages. */
size_t unri_stack_touched(const struct unri_stack *stack);

/* Tells of a stack without a guard whether something was written at its low end. */
bool unri_stack_overflowed(const struct unri_stack *stack);

/* Finds the stack in whose guard `address` is; NULL: in none.  For a signal handler. */
const struct unri_stack *unri_stack_guarding(const void *address);

#endif
