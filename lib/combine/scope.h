/* SPDX-License-Identifier: MIT */
/* Scopes, as nurseries use them. */
#ifndef UNRI_SCOPE_H
#define UNRI_SCOPE_H

#include <unring/scope.h>

/* Makes sure that there is memory for one more member.  False: there is not. */
bool unri_scope_make_room(struct unr_scope *scope);

#endif
