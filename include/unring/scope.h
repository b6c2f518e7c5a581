/* SPDX-License-Identifier: MIT */
/* Scopes: an operation in which others are started while it runs, and which ends after them. */
#ifndef UNRING_SCOPE_H
#define UNRING_SCOPE_H

#include <unring/op.h>

UNR_BEGIN

/* A place in a scope's table of members: unring's own, not to be read or written. */
struct unr_scope_member {
    struct unr_op *op;             /* NULL: the place is free */
    unr_done_fn   *done;           /* the member's own */
    bool           honoured_scope; /* the scope's request was the first that the member honoured */
};

/* How many places a scope has without further memory; at most half of them are used. */
enum { UNR_SCOPE_INLINE = 16 };

/* unring's own part of a `struct unr_scope`: not to be read or written. */
struct unr_scope_private {
    struct unr_cancel_request requested; /* the requests to the scope, with the first cause */
    struct unr_scope_member  *members;   /* a hash table, by the address of the operation */
    size_t                    room;      /* how many places it has */
    size_t                    count;     /* how many of them are taken */
    uint64_t                  ended;     /* how many members have ended */
    uint32_t                  moves;     /* how often the table has grown or shrunk */
    uint32_t                  failing;   /* how many members have no place, and end with -ENOMEM */
    uint8_t                   weakest;   /* the weakest guarantee that a member left */
    bool                      closed;
    bool                      cancelled;      /* a request to the scope has ended a member */
    bool                      busy;           /* the `done` of a member runs */
    bool                      several_causes; /* not all requests had the same cause */
    struct unr_scope_member   inline_members[UNR_SCOPE_INLINE];
};

/* A scope, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_scope {
    struct unr_op            op;
    struct unr_scope_private private_fields;
};

/* Describes a scope: it ends when it is closed and each of its members has ended.
 *
 * Members  are started with unr_scope_start(), while the scope is in flight.
 * Result   value: how many members have ended.  error: 0, or -ECANCELED if a request to the scope
 *          ended a member.
 * Cancels  every type is supported.  A request goes to each member in flight and, with the cause
 *          of the first request, to each later member before it begins.  It does not close the
 *          scope: whoever starts members says when there are no more.  The guarantee is the
 *          weakest under which a member was cancelled, and at most PARTIAL if a member has
 *          completed.  A request that ends no member is TOO_LATE.
 * Closing  a loop that is being closed closes its scopes.
 * Memory   allocates nothing while at most eight members are in flight.  Beyond that there is a
 *          table that doubles, shrinks again as members end, and is freed when the scope ends.
 * Returns  `&scope->op`.
 * Threads  the loop's.
 * Source   tests/test_scope.c. */
UNR_API struct unr_op *unr_scope(struct unr_scope *scope);

/* Starts an operation as a member of a scope.
 *
 * scope      in flight, closed or not; anything else is a broken contract, unless the loop is
 *            being closed.
 * described  lent until its `done`.  It is a broken contract to start an operation that is not
 *            described, one that is in flight, and one that a combinator contains.  It may be a
 *            scope.  A multishot operation is a broken contract, too, named when it is submitted
 *            (system.h).
 * done       runs once, when the member has ended; NULL is allowed.  The last member's `done` may
 *            start another member.  It releases what the member was to work with, a descriptor say:
 *            a member that was ended before it began has not even taken its first step.
 * data       the caller's: in the member's `data` when `done` runs.
 * Requests   to cancel reach the member through the scope, and through a slot of its own.
 * Errors     -ENOMEM, in the member's result: there is no memory for one more member, and it did
 *            not begin.
 * Inside     any `done`, task, handler, condition, filter and step.
 * Threads    the loop's. */
UNR_API void unr_scope_start(struct unr_scope *scope, struct unr_op *described, unr_done_fn *done,
                             void *data);

/* Closes a scope: it ends when its members have ended.
 *
 * scope    described, or in flight.  Its members may still start others in it, in their `done`
 *          say.  Without members it ends at once, by way of its `done`.
 * Inside   any `done`, task, handler, condition, filter and step.
 * Threads  the loop's. */
UNR_API void unr_scope_close(struct unr_scope *scope);

UNR_END
#endif
