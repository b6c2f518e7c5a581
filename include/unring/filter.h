/* SPDX-License-Identifier: MIT */
/* Filters: a wrapper that decides which requests to cancel reach its child. */
#ifndef UNRING_FILTER_H
#define UNRING_FILTER_H

#include <unring/op.h>
#include <unring/state.h>

UNR_BEGIN

/* unring's own part of a `struct unr_filter`: not to be read or written. */
struct unr_filter_private {
    unr_filter_fn *out;
    void          *context;
    uint8_t        answers[3]; /* of `out` for each type, when it was asked last */
    uint8_t        early; /* the types that `out` let through while it was asked at the start */
};

/* A filter, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_filter {
    struct unr_op             op;
    struct unr_filter_private private_fields;
};

/* Describes `child` behind a filter, which translates each request to cancel it.
 *
 * child    described; anything else is a broken contract.  The filter starts it, and it is lent
 *          until `done`.  Requests through a slot of its own, and unr_cancel_fd(), reach it
 *          unfiltered.
 * out      asked for each type in this call, to learn what the filter supports, and again at each
 *          request.  The last answer for a type counts.  For a request that comes before `child`
 *          has begun, in the pause of a delay say, it may be asked once more at the start: what
 *          one of the two answers lets through is passed on.
 * context  `out` is called with it; lent until `done`.
 * Result   that of `child`, but in the terms of the requester: `requested` has the types before
 *          they were translated, and `guarantee` is the strongest type for which `out` asked for
 *          no more than the guarantee under which `child` was cancelled.
 * Cancels  the guarantee of `child`.  A request for types for which `out` returns no type that
 *          `child` supports is REFUSED; any other is passed on.  The entry Cancels of the function
 *          that described `child` says what is true of it under the guarantee in its own result.
 * Closing  a loop that is being closed asks `child` itself, past the filter.
 * Memory   allocates nothing.
 * Returns  `&filter->op`.
 * Threads  the loop's.
 * Source   tests/test_filter.c. */
UNR_API struct unr_op *unr_filter(struct unr_filter *filter, struct unr_op *child,
                                  unr_filter_fn *out, void *context);

/* Describes `child` behind a shield, which refuses every request: unr_filter().
 *
 * child    described; anything else is a broken contract.  The shield starts it, and it is lent
 *          until `done`.  Requests through a slot of its own, and unr_cancel_fd(), reach it all
 *          the same.
 * Result   that of `child`; the verdict is REFUSED if the shield was asked and `child` was not.
 * Cancels  NONE: every request is REFUSED, and `child` goes on.
 * Closing  a loop that is being closed asks `child` itself, past the shield.
 * Memory   allocates nothing.
 * Returns  `&filter->op`.
 * Threads  the loop's.
 * Source   tests/test_filter.c. */
UNR_API struct unr_op *unr_shield(struct unr_filter *filter, struct unr_op *child);

UNR_END
#endif
