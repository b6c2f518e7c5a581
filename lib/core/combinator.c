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
    if (unlikely(described->private_fields.flags & UNRI_MULTISHOT))
        unri_broken("a multishot operation given to a combinator", described,
                    "a multishot operation may be bound to a slot, but is given to no combinator");
    unri_set_op_state(described, UNRI_HELD);
}

/* ---- combinators in combinators ----
 *
 * A start, a request and unr_supports() go from a combinator to its children by calling themselves.
 * So the stack limits how many combinators may be one in the other, and there is a bound that a
 * stack of 1 MiB has room for.  Two counts share the word `length` of a system call: the lower half
 * says how many combinators there are in a combinator, from its description on and without those
 * that it starts later; the upper half says how many there are around it, from its start on. */

enum { COMBINATORS_MAX = 1000, AROUND_SHIFT = 16 };

static uint32_t inside(const struct unr_op *combinator)
{
    return combinator->private_fields.length & ((1u << AROUND_SHIFT) - 1);
}

static uint32_t around(const struct unr_op *combinator)
{
    return combinator->private_fields.length >> AROUND_SHIFT;
}

static void check_depth(uint32_t depth, const struct unr_op *op)
{
    if (unlikely(depth >= COMBINATORS_MAX))
        unri_broken("more than 1000 combinators, one in the other", op,
                    "combinators call their children, and the stack has an end");
}

void unri_count_inside(struct unr_op *combinator, const struct unr_op *child)
{
    if (!unri_is_combinator(child) || inside(child) < inside(combinator))
        return;
    unri_private(combinator)->length = inside(child) + 1;
    check_depth(inside(combinator), combinator);
}

static void count_around(const struct unr_op *combinator, struct unr_op *child)
{
    if (!unri_is_combinator(child))
        return;
    unri_private(child)->length = inside(child) | (around(combinator) + 1) << AROUND_SHIFT;
    check_depth(around(child), child);
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
    count_around(combinator, child);
}

bool unri_start_child(struct unr_op *combinator, struct unr_op *child,
                      struct unr_cancel_request asked)
{
    adopt_child(combinator, child);
    return unri_start_op(combinator->private_fields.loop, child, asked);
}

bool unri_request_held(struct unr_op *held, struct unr_cancel_request request)
{
    const struct unri_combinator *combinator = unri_combinator_of(held);
    if (combinator && combinator->request_while_held)
        return combinator->request_while_held(held, request);
    if (unri_is_wrapper(held))
        return unri_request_held(unri_child(held), request);
    return request.types & unr_supports(held);
}

/* ---- failing in place of beginning ----
 *
 * What fails so fails together with what it contains, whose results have the error too, as if it
 * had been started. */

void unri_tell_never_began(struct unr_op *op, int error)
{
    const struct unri_combinator *combinator = unri_combinator_of(op);
    op->result.error = error;
    if (combinator && combinator->never_began)
        combinator->never_began(op, error);
    else if (unri_is_wrapper(op))
        unri_tell_never_began(unri_child(op), error);
}

void unri_fail_unbegun(struct unr_op *op, int error)
{
    unri_tell_never_began(op, error);
    unri_end(op, error);
}

void unri_fail_child(struct unr_op *combinator, struct unr_op *child, int error)
{
    struct unr_loop *loop = combinator->private_fields.loop;
    adopt_child(combinator, child);
    unri_private(child)->loop = loop;
    unri_count_start(loop, child);
    unri_fail_unbegun(child, error);
}

/* ---- wrappers ---- */

void unri_describe_wrapper(struct unr_op *op, const struct unr_op_type *type, struct unr_op *child)
{
    struct unr_op_private *p = unri_private(op);
    unri_hold(child);
    unr_describe(op, type);
    unri_count_inside(op, child);
    unri_set_supports(op, unri_own_supports(child));
    p->address = (uintptr_t)child;
    p->offset = (uintptr_t)unri_name(child);
}

void unri_end_as_child(struct unr_op *wrapper, struct unr_op *child)
{
    unri_end_with_result(wrapper, child, &child->result);
}
