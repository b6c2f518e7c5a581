/* SPDX-License-Identifier: MIT */
/* What groups and scopes share. */
#ifndef UNRI_GROUP_H
#define UNRI_GROUP_H

#include <unring/group.h>
#include "../core/loop_core.h"

/* The weaker of `weakest` and what a member that has ended leaves of it: completed, nothing better
 * than PARTIAL. */
unsigned unri_weaker_guarantee(unsigned weakest, const struct unr_result *member);

/* Or-s a request to those that were passed on to the members before; notes when one has another
 * cause. */
static inline void unri_add_request(struct unr_cancel_request *asked, bool *several_causes,
                                    struct unr_cancel_request request)
{
    *several_causes |= asked->types && asked->cause != request.cause;
    if (!asked->types)
        asked->cause = request.cause;
    asked->types |= request.types;
}

/* Whether a member that has ended was ended by what was `asked`, of `it` too: it may have been
 * ending for a reason of its own already, which its cause tells.  The closing of a loop asks
 * members and those that they are members of in no particular order. */
static inline bool unri_was_ended_by(const struct unr_op *member, bool it,
                                     const struct unr_cancel_request *asked, bool several_causes)
{
    const struct unr_result *r = &member->result;
    if (r->error != -ECANCELED)
        return false;
    bool by_closing = member->private_fields.loop->closing && r->cause == -ESHUTDOWN;
    return by_closing || (it && (several_causes || r->cause == asked->cause));
}

#endif
