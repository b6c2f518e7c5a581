/* SPDX-License-Identifier: MIT */
/* What unring knows of an operation by its type: its kind, the child that a wrapper stands for, and
 * the functions that the type of a combinator has besides. */
#ifndef UNRI_TYPE_H
#define UNRI_TYPE_H

#include <unring/op.h>
#include "base.h"

/* unr_op_type.private_fields.kind */
enum unri_kind {
    UNRI_CALLERS,    /* a caller's own type */
    UNRI_CALL,       /* a system call: a row of uring/, which decides when the operation begins */
    UNRI_CLOSER,     /* the same, and it is unr_cancel_close() */
    UNRI_TIMER,      /* a struct unr_timer: it waits among the timers, and nowhere else */
    UNRI_COMBINATOR, /* it has children */
    UNRI_WRAPPER, /* a combinator of exactly one child, for which it stands: whoever looks for what
                     is in flight finds the child */
    UNRI_DELAY,   /* a wrapper that waits among the timers until its child begins */
};

/* The kind of a described operation.  A type that is shorter than the header of today has it is a
 * caller's own, from a program that was compiled against an older one. */
static inline enum unri_kind unri_kind(const struct unr_op *op)
{
    const struct unr_op_type *type = op->type;
    if (unlikely(type->size < sizeof *type))
        return UNRI_CALLERS;
    return (enum unri_kind)type->private_fields.kind;
}

static inline bool unri_kind_is_call(enum unri_kind kind)
{
    return kind == UNRI_CALL || kind == UNRI_CLOSER;
}

static inline bool unri_is_call(const struct unr_op *op)
{
    return unri_kind_is_call(unri_kind(op));
}

static inline bool unri_is_combinator(const struct unr_op *op)
{
    return unri_kind(op) >= UNRI_COMBINATOR;
}

static inline bool unri_is_wrapper(const struct unr_op *op)
{
    return unri_kind(op) >= UNRI_WRAPPER;
}

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

#endif
