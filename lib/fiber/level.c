/* SPDX-License-Identifier: MIT */
/* The levels of a fiber: its own cancellation state at the bottom, and above it those of the cancel
 * scopes that it is in.
 *
 * A request from outside enters at the bottom and climbs: in filter, recorded, out filter, next.
 * What reaches the top is requested of what the fiber awaits.  Each level keeps what it has let in,
 * so the innermost alone decides about the next await; entering a scope is the only moment at which
 * an outer record has to be let in.  A scope's own request starts at its level, behind its in
 * filter.  A shield is a level that no request from further out enters.  The levels further out
 * have recorded that request, and it counts again when the shield is left. */
#include "../core/cancel.h"
#include "../core/contract.h"
#include "fiber.h"

struct unr_fiber *unri_fiber_check(const char *what)
{
    struct unr_op *op = unri_running;
    if (unlikely(!op))
        unri_broken(what, NULL,
                    "only a fiber waits, and not inside a done, a step, a slot handler, a filter, "
                    "a condition or the start of an operation");
    return unri_fiber_of(op);
}

struct unr_cancel_state *unri_fiber_state_at(struct unr_fiber        *fiber,
                                             struct unr_cancel_scope *scope)
{
    return scope ? &scope->private_fields.state : &fiber->private_fields.sequence.state;
}

struct unr_cancel_state *unri_fiber_state_of(struct unr_fiber *fiber)
{
    return unri_fiber_state_at(fiber, fiber->private_fields.innermost);
}

/* Filters run in here, which may make further requests.  The levels stay the same meanwhile,
 * because only the fiber enters and leaves them, and it waits, or has called this. */
void unri_fiber_pass_on(struct unr_fiber *fiber, struct unr_cancel_scope *from, unsigned types,
                        int cause)
{
    struct unr_cancel_scope *scope = from, *inner;
    for (;; scope = inner) {
        types = unri_cancel_state_let_out(unri_fiber_state_at(fiber, scope), types);
        if (types && scope && scope->private_fields.children)
            unri_request(scope->private_fields.children,
                         (struct unr_cancel_request){ types, cause });
        inner = scope ? scope->private_fields.inner : fiber->private_fields.outermost;
        if (!types || !inner)
            break;
        if (inner->private_fields.is_shield)
            return;
        types = unri_cancel_state_let_in(&inner->private_fields.state,
                                         (struct unr_cancel_request){ types, cause });
    }
    unri_sequence_ask_child(unri_fiber_sequence(fiber), types, cause);
}
