/* SPDX-License-Identifier: MIT */
/* Fibers, as the files of this floor share them. */
#ifndef UNRI_FIBER_H
#define UNRI_FIBER_H

#include <unring/cancel_scope.h>
#include <unring/fiber.h>
#include "../combine/sequence.h"
#include "../core/fiber_running.h"
#include "../core/loop_core.h"
#include "stack.h"

/* A fiber that a nursery has spawned (nursery.c).  Those that have ended wait to be used again. */
struct unri_spawned {
    struct unr_fiber     fiber;
    struct unri_spawned *next;
};

/* What a loop has for its fibers, from the beginning of its first one on. */
struct unri_fibers {
    struct unri_context home;        /* the loop's own stack, while a fiber runs */
    bool                has_begun;   /* a fiber has, and the rest is known */
    bool                is_listened; /* somebody is to be told of each switch */
    struct unri_watch  *watch;       /* the loop's; NULL: runs are not watched */
    uint64_t           *cxa;         /* unri_context_cxa() */
    struct unri_stacks *stacks;
    void               *alternate_stack; /* unri_overflow_watch() */

    struct unri_spawned *spare;
};

struct unri_local {
    const struct unr_local *key;
    void                   *value;
};

/* A fiber's own values, at the top of its stack: so many fit there, and more are allocated. */
enum { UNRI_LOCALS_FIT = 4 };
struct unri_locals {
    unsigned           count, room;
    struct unri_local *values; /* `first`, or allocated */
    struct unri_local  first[UNRI_LOCALS_FIT];
};

static inline struct unr_fiber *unri_fiber_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_fiber, op);
}

static inline struct unri_sequence *unri_fiber_sequence(struct unr_fiber *fiber)
{
    return unri_sequence_of(&fiber->op);
}

bool unri_is_fiber(const struct unr_op *op);

/* Has the thread leave the stack of a fiber, by a longjmp(3) that follows, and the fiber for ever.
 * False: it is on none.  Behind the jump comes unri_context_left(). */
bool unri_fiber_abandon(void);

/* Returns the fiber that runs.  Outside of one, ends the process with the words `what`. */
struct unr_fiber *unri_fiber_check(const char *what);

/* What a loop has for its fibers; made, if it is not there.  NULL: there is no memory. */
struct unri_fibers *unri_fibers(struct unr_loop *loop);

/* Makes sure that a described fiber begins, whatever is requested until then: it runs at least to
 * its first wait.  0, or why it could not begin. */
int unri_fiber_reserve(struct unr_fiber *fiber, struct unr_loop *loop);

/* Describes the fiber's own child that ends at once. */
struct unr_op *unri_fiber_pause(struct unr_fiber *fiber);

/* Puts a fiber that has begun a child aside, until that has ended. */
void unri_fiber_suspend(struct unr_fiber *fiber);

/* The cancellation state of a cancel scope that a fiber is in, or its own (NULL). */
struct unr_cancel_state *unri_fiber_state_at(struct unr_fiber        *fiber,
                                             struct unr_cancel_scope *scope);

/* The cancellation state of the innermost cancel scope of a fiber, or its own. */
struct unr_cancel_state *unri_fiber_state_of(struct unr_fiber *fiber);

/* Passes a request on from `from`, a cancel scope that has let `types` in, or the fiber itself
 * (NULL): through the scopes further in to what the fiber awaits. */
void unri_fiber_pass_on(struct unr_fiber *fiber, struct unr_cancel_scope *from, unsigned types,
                        int cause);

/* A fiber has no value yet. */
static inline void unri_locals_init(struct unri_locals *locals)
{
    locals->count = 0;
    locals->room = UNRI_LOCALS_FIT;
    locals->values = locals->first;
}

/* Runs the destructors of a fiber's own values, on its stack. */
void unri_locals_destroy(struct unri_locals *locals);

#endif
