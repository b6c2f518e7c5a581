/* What groups and scopes share. */
#ifndef UNRI_GROUP_H
#define UNRI_GROUP_H

#include "internal.h"

/* The weaker of `weakest` and what a member that has ended leaves of it: completed, nothing better than PARTIAL. */
unsigned unri_weakest_guarantee(unsigned weakest, const struct unr_result *member);

#endif
