/* SPDX-License-Identifier: MIT */
/* Joins: waiting for an operation that somebody else has started. */
#ifndef UNRING_JOIN_H
#define UNRING_JOIN_H

#include <unring/op.h>

UNR_BEGIN

/* unring's own part of a `struct unr_join`: not to be read or written. */
struct unr_join_private {
    struct unr_op   *joined;
    struct unr_join *later; /* the next join of the same operation to be started; NULL: none */
    /* What `joined` pointed to when the join was started: its own `done`; or, if `was_child`, its
     * combinator, which may be the join before this one. */
    union {
        unr_done_fn   *done;
        struct unr_op *combinator;
    };
    bool was_child;
};

/* A join, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_join {
    struct unr_op           op;
    struct unr_join_private private_fields;
};

/* Describes a wait for `started`, an operation that somebody else has started.
 *
 * started  in flight when the join is started; or idle, and then the join ends at once, with the
 *          result that is there.  It is a broken contract to join an operation that is only
 *          described, one that a combinator has not started yet, and one of another loop.  It is
 *          no multishot operation.
 * Owner    `started` keeps its `done`, its `data` and its slot.  It stays where it is until it or
 *          the join has ended.
 * Result   that of `started`, except fd, which stays with its owner: -1.
 * Order    the `done` of `started` runs first, then, in the same turn, the `done` of each join, in
 *          the order in which the joins were started.
 * Cancels  TOTAL: only the wait has ended.  `started` is in flight, and was not asked.
 * Memory   allocates nothing.
 * Returns  `&join->op`.
 * Threads  the loop's.
 * Source   tests/test_join.c. */
UNR_API struct unr_op *unr_join(struct unr_join *join, struct unr_op *started);

UNR_END
#endif
