/* SPDX-License-Identifier: MIT */
/* What unring knows of an operation by its type: its kind, the child that a wrapper stands for, and
 * the functions that the type of a combinator has besides. */
#ifndef UNRI_TYPE_H
#define UNRI_TYPE_H

#include <unring/op.h>
#include "base.h"

/* The kinds of types, in unr_op_type.private_fields.kind.  The order matters: combinators come
 * last, and wrappers last of all. */
enum unri_kind {
    UNRI_CALLERS, /* a caller's own type, whose private_fields are zero */
    UNRI_PARKED,  /* it waits in user space: for what an armed call brings, for the end of that, for
                     what another part of the program does, or for a thread */
    UNRI_CALL,    /* a system call: its row in uring/ decides when the operation begins */
    UNRI_ARMED,   /* a system call of unring's own, for a receiver or an acceptor: housekeeping,
                     which ends when its descriptor or its loop is closed */
    UNRI_CLOSER,  /* a system call that closes its descriptor; with a peer_left it waits for that */
    UNRI_TIMER,   /* a struct unr_timer: it waits among the timers, and is on no other list */
    UNRI_COMBINATOR, /* a combinator that is no wrapper */
    UNRI_WRAPPER,    /* a wrapper: whoever walks what is in flight meets its child instead */
    UNRI_DELAY,      /* a wrapper that waits among the timers until its child begins */
};

/* Returns the kind of a described operation.  A type that is shorter than today's structure is a
 * caller's own: its program was compiled against an older header. */
static inline enum unri_kind unri_kind(const struct unr_op *op)
{
    const struct unr_op_type *type = op->type;
    if (unlikely(type->size < sizeof *type))
        return UNRI_CALLERS;
    return (enum unri_kind)type->private_fields.kind;
}

static inline bool unri_kind_is_call(enum unri_kind kind)
{
    return kind >= UNRI_CALL && kind <= UNRI_CLOSER;
}

/* Tells whether a type says on how many descriptors its operations are, and gives an operation its
 * first state itself. */
static inline bool unri_kind_begins_itself(enum unri_kind kind)
{
    return kind >= UNRI_PARKED && kind <= UNRI_CLOSER;
}

static inline bool unri_is_call(const struct unr_op *op)
{
    return unri_kind_is_call(unri_kind(op));
}

/* Tells of an operation of the loop's own whether it stands for a caller's receiver or acceptor: it
 * ends when that one's descriptor or loop is closed. */
static inline bool unri_stands_for_structure(const struct unr_op *op)
{
    return unri_kind(op) == UNRI_ARMED || unri_kind(op) == UNRI_PARKED;
}

static inline bool unri_is_combinator(const struct unr_op *op)
{
    return unri_kind(op) >= UNRI_COMBINATOR;
}

static inline bool unri_is_wrapper(const struct unr_op *op)
{
    return unri_kind(op) >= UNRI_WRAPPER;
}

/* The child of a wrapper, and the name of that child, which outlives it.  Both are kept where a
 * system call has its arguments. */
static inline struct unr_op *unri_child(const struct unr_op *wrapper)
{
    return (struct unr_op *)(uintptr_t)wrapper->private_fields.address;
}

static inline const char *unri_name_of_child(const struct unr_op *wrapper)
{
    return (const char *)(uintptr_t)wrapper->private_fields.offset;
}

/* What a combinator's type has in addition: unr_op_type.private_fields.combinator. */
struct unri_combinator {
    /* Hears that a child has ended.  The child is the caller's again, so the combinator reads its
     * result before it runs code of the caller's, which may describe the child anew.  If the
     * combinator ends in here, its `done` runs in the same turn. */
    void (*child_done)(struct unr_op *combinator, struct unr_op *child);

    /* Replaces the type's cancel.  It is called for every request, not once for each type: the
     * combinator passes the request on to its children, each of which knows what it was asked
     * before, and records what became of it.  True: the request was honoured.  NULL: the type's
     * cancel is called, as for other types. */
    bool (*handle_request)(struct unr_op *combinator, struct unr_cancel_request request);

    /* Replaces the type's start if something was requested before the start (rule 6, Before it
     * begins): it either starts the children with that request or ends the combinator.  True: the
     * request was honoured.  NULL: the combinator is treated as an operation without children. */
    bool (*start_with_request)(struct unr_op *combinator, struct unr_cancel_request asked);

    /* Makes a request before the start, when the start itself comes later: tells whether the
     * combinator is going to honour it then, and keeps that answer, for filters of the caller's may
     * answer differently when they are asked again.  NULL: what it supports tells. */
    bool (*request_while_held)(struct unr_op *held, struct unr_cancel_request request);

    /* Returns the types that the combinator supports while it is described or in flight.  NULL: a
     * wrapper supports what its child does, any other combinator what it did when it was
     * described. */
    unsigned (*supports)(const struct unr_op *combinator);

    /* Hears that the time has come for which the combinator waits among the timers.  NULL: it never
     * waits there. */
    void (*due)(struct unr_op *combinator);

    /* Hears that the combinator, and with it its children, fails with `error` in place of
     * beginning. NULL: a wrapper's child is told, and nobody else. */
    void (*never_began)(struct unr_op *combinator, int error);

    /* Writes to `fd`, behind what unr_loop_dump() says of every operation, what else there is to
     * say.  NULL: nothing. */
    void (*dump)(const struct unr_op *combinator, int fd);

    /* Hears that the cancellation state behind it was reset: it lets in again what that is not to
     * forget.  NULL: a reset forgets everything. */
    void (*state_was_reset)(struct unr_op *owner);
};

/* NULL: the operation is no combinator. */
static inline const struct unri_combinator *unri_combinator_of(const struct unr_op *op)
{
    return unri_is_combinator(op) ? op->type->private_fields.combinator : NULL;
}

#endif
