/* Waiting for an operation that somebody else started. */
#ifndef UNRING_JOIN_H
#define UNRING_JOIN_H

#include <unring/op.h>

UNR_BEGIN

/* unring's own part of a `struct unr_join`: not to be read or written. */
struct unr_join_private {
    struct unr_op   *joined;
    struct unr_join *above; /* the one that came after this and is told before it */
    union {
        unr_done_fn   *done;
        struct unr_op *combinator;
    };
    bool was_child;
};

struct unr_join {
    struct unr_op           op;
    struct unr_join_private private_fields;
};

/* Ends when `started` has ended, with the result that this had then; `done` comes right behind that
 * operation's, in the same turn.  Any number of joins may wait for one operation.
 *
 * started  in flight when the join is started, or idle: then the join ends with the result that it
 *          holds.  It keeps its `done`, its `data` and its slot.  It stays where it is until it or
 *          the join has ended.  Not a multishot operation.
 * Result   that of `started`, but for its fd, which is its owner's.
 * Cancels  TOTAL: only the wait ends, and unr_in_flight(started) stays true.
 * Threads  the loop's, which is that of `started`.
 * Source   lib/join.c; tests/test_join.c. */
UNR_API struct unr_op *unr_join(struct unr_join *join, struct unr_op *started);

UNR_END
#endif
