/* SPDX-License-Identifier: MIT */
/* Combinators, and the children that they are made of.  In groups and scopes a child is called a
 * member.
 *
 * A child is given to its combinator while it is described (unri_hold), which alone may then start
 * it (unri_start_child).  When it has ended it is handed back to the combinator, in place of a
 * `done`. */
#ifndef UNRI_COMBINATOR_H
#define UNRI_COMBINATOR_H

#include "op.h"
#include "type.h"

/* ---- children ---- */

/* Takes a described operation for a combinator: from now on nobody else may start it. */
void unri_hold(struct unr_op *described);

/* Starts a child.  `asked` (types 0: nothing) is requested of it before it begins; true if it
 * honours that. */
bool unri_start_child(struct unr_op *combinator, struct unr_op *child,
                      struct unr_cancel_request asked);

/* Ends a child with `error`, because it cannot begin. */
void unri_fail_child(struct unr_op *combinator, struct unr_op *child, int error);

/* ---- wrappers ---- */

/* Describes a wrapper of `child`, and takes the child for it. */
void unri_describe_wrapper(struct unr_op *op, const struct unr_op_type *type, struct unr_op *child);

/* Ends a wrapper for whose beginning there is no memory, and its child. */
void unri_fail_wrapper(struct unr_op *op, int error);

/* The child_done of a wrapper that adds nothing to its child's result. */
void unri_end_as_child(struct unr_op *wrapper, struct unr_op *child);

#endif
