/* What groups and scopes share. */
#ifndef UNRI_GROUP_H
#define UNRI_GROUP_H

#include "internal.h"

/* The weaker of `weakest` and what a member that has ended leaves of it: completed, nothing better than PARTIAL. */
unsigned unri_weakest_guarantee(unsigned weakest, const struct unr_result *member);

/* Whether a member that has ended was ended by the closing of its loop, which asks members and those that they are members of
 * in no particular order. */
static inline bool unri_ended_by_closing(const struct unr_op *member)
{
    return member->private_fields.loop->closing && member->result.error == -ECANCELED && member->result.cause == -ESHUTDOWN;
}

#endif
