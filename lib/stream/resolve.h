/* SPDX-License-Identifier: MIT */
/* Looking up names, as connecting by name uses it. */
#ifndef UNRI_RESOLVE_H
#define UNRI_RESOLVE_H

#include <unring/resolve.h>

/* Returns what there is to say of a lookup that has failed, beside its errno; NULL: nothing. */
const char *unri_lookup_words(const struct unr_resolve *failed);

#endif
