/* SPDX-License-Identifier: MIT */
/* What groups and scopes share: collecting the requests that they pass on to their members, and
 * telling afterwards what those requests did.  Their own files, group.c and scope.c, hold the
 * rest; what all combinators share is in ../core/combinator.h. */
#ifndef UNRI_GROUP_H
#define UNRI_GROUP_H

#include <unring/group.h>
#include "../core/loop_core.h"
#include "../core/op.h"

/* Returns the guarantee that is left of `weakest` when a member has ended with `result`: its own
 * guarantee if it was cancelled, PARTIAL if it has completed, and `weakest` if that is weaker. */
unsigned unri_weaker_guarantee(unsigned weakest, const struct unr_result *result);

/* Or-s a request into `all`, the requests that a group or scope has passed on to its members.  The
 * cause of the first stays; *several_causes becomes true if a later request has another one. */
static inline void unri_add_request(struct unr_cancel_request *all, bool *several_causes,
                                    struct unr_cancel_request request)
{
    *several_causes |= all->types && all->cause != request.cause;
    if (!all->types)
        all->cause = request.cause;
    all->types |= request.types;
}

/* Tells whether the requests in `all` ended a member, which has ended.
 *
 * The member must have been cancelled, and one of these requests must have been the first that it
 * honoured (`honoured_first`).  The cause is compared as well, because something inside the
 * member, a deadline say, may have been ending it already.  With several causes in `all` only the
 * first is known, and nothing is left to compare.
 *
 * A closing loop makes its request to everything in flight, in no particular order.  It may come
 * to the member before it comes to the group, and then `honoured_first` is false although the
 * group was asked the same. */
static inline bool unri_was_ended_by(const struct unr_op *member, bool honoured_first,
                                     const struct unr_cancel_request *all, bool several_causes)
{
    const struct unr_result *r = &member->result;
    if (!unri_was_cancelled(r))
        return false;
    bool by_closing = member->private_fields.loop->closing && r->cause == -ESHUTDOWN;
    return by_closing || (honoured_first && (several_causes || r->cause == all->cause));
}

#endif
