/* SPDX-License-Identifier: MIT */
/* Combinators, and the children that they are made of.  In groups and scopes a child is called a
 * member.
 *
 * A child is given to its combinator while it is described (unri_hold), which alone may then start
 * it (unri_start_child).  When it has ended it is handed back to the combinator, in place of a
 * `done`. */
#ifndef UNRI_COMBINATOR_H
#define UNRI_COMBINATOR_H

#include "op.h"

/* What the type of a combinator has besides: unr_op_type.private_fields.combinator. */
struct unri_combinator {
    /* A child has ended, and is the caller's again. */
    void (*child_done)(struct unr_op *combinator, struct unr_op *child);

    /* Replaces the type's cancel: passes every request on to the children, for each of them must
     * know what was asked, and notes what became of it.  True if the request was honoured.  NULL:
     * the type's cancel will do. */
    bool (*handle_request)(struct unr_op *combinator, struct unr_cancel_request request);

    /* Replaces the type's start where something was requested before the start, likewise. */
    bool (*start_with_request)(struct unr_op *combinator, struct unr_cancel_request asked);

    /* The types that the combinator supports while it is described or in flight.  NULL: a wrapper
     * supports what its child does, the others what they did when they were described. */
    unsigned (*supports)(const struct unr_op *combinator);

    /* The time has come for which the combinator waits among the timers.  NULL: it never waits. */
    void (*due)(struct unr_op *combinator);
};

/* NULL: the operation is no combinator. */
static inline const struct unri_combinator *unri_combinator_of(const struct unr_op *op)
{
    return unri_is_combinator(op) ? op->type->private_fields.combinator : NULL;
}

/* ---- children ---- */

/* Takes a described operation for a combinator: from now on nobody else may start it. */
void unri_hold(struct unr_op *described);

/* Starts a child.  `asked` (types 0: nothing) is requested of it before it begins; true if it
 * honours that. */
bool unri_start_child(struct unr_op *combinator, struct unr_op *child,
                      struct unr_cancel_request asked);

/* Ends a child with `error`, because it cannot begin. */
void unri_fail_child(struct unr_op *combinator, struct unr_op *child, int error);

/* ---- wrappers ---- */

/* The child of a wrapper, and that child's name, which outlives the child: both are kept where a
 * system call has its arguments. */
static inline struct unr_op *unri_child(const struct unr_op *wrapper)
{
    return (struct unr_op *)(uintptr_t)wrapper->private_fields.address;
}

static inline const char *unri_name_of_child(const struct unr_op *wrapper)
{
    return (const char *)(uintptr_t)wrapper->private_fields.offset;
}

/* Describes a wrapper of `child`, and takes the child for it. */
void unri_describe_wrapper(struct unr_op *op, const struct unr_op_type *type, struct unr_op *child);

/* Ends a wrapper for whose beginning there is no memory, and its child. */
void unri_fail_wrapper(struct unr_op *op, int error);

/* The child_done of a wrapper that adds nothing to its child's result. */
void unri_end_as_child(struct unr_op *wrapper, struct unr_op *child);

#endif
