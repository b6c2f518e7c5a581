/* A filter around one operation: what of the requests for it arrives there. */
#ifndef UNRING_FILTER_H
#define UNRING_FILTER_H

#include <unring/op.h>
#include <unring/state.h>

UNR_BEGIN

/* unring's own part of a `struct unr_filter`: not to be read or written. */
struct unr_filter_private {
    unr_filter_fn *out;
    void          *context;
    uint8_t        answers[3]; /* what it made of each type when it was asked last */
    uint8_t        early;      /* what it let through while it was asked at the start */
};

struct unr_filter {
    struct unr_op             op;
    struct unr_filter_private private_fields;
};

/* `inner`, of which what `out` makes of a request is requested: the other types, fewer or none.
 *
 * inner    described, and from now on the filter's.  A slot that it is bound to itself reaches it
 *          unfiltered.
 * out      asked when this is called, for each type, to learn what the whole supports, and at each
 *          request; its last answers count.  `context` lives until then.
 * Result   inner's, but in the terms of the requests from outside: guarantee is the strongest type
 *          that, passed through `out`, asks for no more than what inner was cancelled under.
 * Cancels  the types of which `out` makes one that inner supports; others are REFUSED.  Closing the
 *          loop cannot be filtered.
 * Threads  the loop's.
 * Source   lib/filter.c; tests/test_filter.c. */
UNR_API struct unr_op *unr_filter(struct unr_filter *filter, struct unr_op *inner,
                                  unr_filter_fn *out, void *context);

/* unr_filter() with unr_let_none: nothing from outside cancels `inner`. */
UNR_API struct unr_op *unr_shield(struct unr_filter *filter, struct unr_op *inner);

UNR_END
#endif
