/* SPDX-License-Identifier: MIT */
/* What all combinators share: taking, starting and failing their children, and describing and
 * ending wrappers.  How a child that has ended gets back to its combinator is unri_hand_back() in
 * op.c; the combinators themselves are in lib/combine/. */
#include "combinator.h"
#include "contract.h"
#include "name.h"

void unri_hold(struct unr_op *described)
{
    uint32_t state = described->private_fields.state;
    if (unlikely(state == UNRI_HELD))
        unri_broken("given to two combinators", described,
                    "what was given to a combinator is started by that alone");
    if (unlikely(state != UNRI_DESCRIBED))
        unri_not_described(described);
    unri_set_op_state(described, UNRI_HELD);
}

/* Makes a child, which its combinator is about to start, DESCRIBED again, and marks it as a child
 * of that combinator.  A caller that has described the child anew since it was given to the
 * combinator has broken the contract, and is found out here. */
static void adopt_child(struct unr_op *combinator, struct unr_op *child)
{
    struct unr_op_private *p = unri_private(child);
    if (unlikely(p->state != UNRI_HELD))
        unri_broken("described anew though a combinator holds it", child,
                    "what was given to a combinator is that combinator's");
    unri_set_op_state(child, UNRI_DESCRIBED);
    p->combinator = combinator;
    p->flags |= UNRI_CHILD;
}

bool unri_start_child(struct unr_op *combinator, struct unr_op *child,
                      struct unr_cancel_request asked)
{
    adopt_child(combinator, child);
    return unri_start_op(combinator->private_fields.loop, child, asked);
}

/* A child that is a wrapper fails together with its own child, whose result has the error too, as
 * if it had been started. */
void unri_fail_child(struct unr_op *combinator, struct unr_op *child, int error)
{
    struct unr_loop *loop = combinator->private_fields.loop;
    adopt_child(combinator, child);
    unri_private(child)->loop = loop;
    unri_count_start(loop, child);
    if (unri_is_wrapper(child))
        unri_fail_wrapper(child, error);
    else
        unri_end(child, error);
}

/* ---- wrappers ---- */

void unri_describe_wrapper(struct unr_op *op, const struct unr_op_type *type, struct unr_op *child)
{
    struct unr_op_private *p = unri_private(op);
    unri_hold(child);
    unr_describe(op, type);
    unri_set_supports(op, unri_own_supports(child));
    p->address = (uintptr_t)child;
    p->offset = (uintptr_t)unri_name(child);
}

void unri_fail_wrapper(struct unr_op *op, int error)
{
    unri_child(op)->result.error = error;
    unri_end(op, error);
}

void unri_end_as_child(struct unr_op *wrapper, struct unr_op *child)
{
    unri_end_with_result(wrapper, &child->result);
}
