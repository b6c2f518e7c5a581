/* SPDX-License-Identifier: MIT */
/* Cancel scopes, as nurseries use them. */
#ifndef UNRI_CANCEL_SCOPE_H
#define UNRI_CANCEL_SCOPE_H

#include "fiber.h"

/* Enters a cancel scope; `children` are asked what passes through it. */
void unri_cancel_scope_enter(struct unr_cancel_scope *scope, struct unr_op *children);

/* Makes a scope's own request. */
void unri_cancel_scope_request(struct unr_cancel_scope *scope, struct unr_cancel_request request);

/* Tells whether a block that ends with `error` was cancelled, and has not failed of its own. */
bool unri_cancel_scope_explains(const struct unr_cancel_scope *scope, int error);

/* Has the cancel scopes of a fiber, whose own state was cleared, forget what came from outside;
 * what they were asked by themselves stays. */
void unri_cancel_scopes_forget(struct unr_fiber *fiber);

#endif
