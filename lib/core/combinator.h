/* SPDX-License-Identifier: MIT */
/* Combinators, and the children that they are made of.  In groups and scopes a child is called a
 * member.  The combinators themselves are in lib/combine/.
 *
 * A child is given to its combinator while it is described: unri_hold().  From then on nobody but
 * the combinator may start it: unri_start_child().  When the child has ended, the combinator hears
 * of it in child_done(), in place of a `done`. */
#ifndef UNRI_COMBINATOR_H
#define UNRI_COMBINATOR_H

#include "op.h"
#include "type.h"

/* ---- children ---- */

/* Takes a described operation for a combinator: from now on nobody else may start it.  Anything but
 * a described operation is a broken contract. */
void unri_hold(struct unr_op *described);

/* Tells a combinator, which was just described, of a child that it was described with. */
void unri_count_inside(struct unr_op *combinator, const struct unr_op *child);

/* Starts a child.  `asked` is requested of it before it begins; types 0: nothing is.  Returns true
 * if the child honours `asked`: see unri_start_op(). */
bool unri_start_child(struct unr_op *combinator, struct unr_op *child,
                      struct unr_cancel_request asked);

/* Makes a request to a child that its combinator is going to start.  True: the child honours it, if
 * it is started with the same request.  False: it refuses. */
bool unri_request_held(struct unr_op *held, struct unr_cancel_request request);

/* Ends a child with `error`, in place of starting it: there is no memory for its beginning. */
void unri_fail_child(struct unr_op *combinator, struct unr_op *child, int error);

/* Ends an operation with `error`, in place of beginning, and with it what it contains. */
void unri_fail_unbegun(struct unr_op *op, int error);

/* Tells an operation that it, and what it contains, never begins because of `error`.  Its result
 * has the error, and whoever contains it ends it. */
void unri_tell_never_began(struct unr_op *op, int error);

/* ---- wrappers ---- */

/* Describes `op` as a wrapper of `child`, and takes the child for it. */
void unri_describe_wrapper(struct unr_op *op, const struct unr_op_type *type, struct unr_op *child);

/* Ends a wrapper with its child's result: the child_done() of wrappers that add nothing to it. */
void unri_end_as_child(struct unr_op *wrapper, struct unr_op *child);

#endif
