/* SPDX-License-Identifier: MIT */
/* Nurseries: a cancel scope whose children are the members of an unr_scope.  That one passes
 * requests on to them, also to those that come later; the nursery decides whose failure ends the
 * others, and waits for all.
 *
 * The wait is an operation that supports NONE.  So nothing pre-empts it, and it goes on while the
 * loop is being closed: the nursery lies in the stack of its fiber, and its children refer to it.
 */
#include "../combine/scope.h"
#include "../core/cancel.h"
#include "../core/contract.h"
#include "../core/op.h"
#include "cancel_scope.h"

#include <stdlib.h>
#include <unring/nursery.h>

static_assert(sizeof(struct unr_nursery) <= 1024, "");

static struct unr_loop *loop_of(const struct unr_nursery *nursery)
{
    return nursery->private_fields.block.private_fields.timer.op.private_fields.loop;
}

static bool is_open(const struct unr_nursery *nursery)
{
    return nursery->private_fields.block.private_fields.fiber;
}

/* ---- the wait ---- */

static void wait_start(struct unr_op *op)
{
    (void)op; /* something is left: unr_nursery_close() has looked */
}

static const struct unr_op_type wait_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_NONE,
    .name = "nursery close",
    .start = wait_start,
};

static bool is_empty(const struct unr_nursery_private *n)
{
    return n->over && n->children == 0;
}

static void end_wait(struct unr_nursery_private *n)
{
    if (n->waits && is_empty(n)) {
        n->waits = false;
        unr_finish(&n->wait, 0);
    }
}

/* ---- children that end ---- */

/* Tells whether a child that has ended was cancelled by a request to the nursery.  If all of these
 * had the same cause, the child's must be that one: another was the child's own affair. */
static bool was_cancelled_by(const struct unr_nursery_private *n, const struct unr_result *r)
{
    const struct unr_scope_private *s = &n->scope.private_fields;
    const struct unr_loop          *loop = n->scope.op.private_fields.loop;
    if (!unri_was_cancelled(r))
        return false;
    if (loop->closing && r->cause == -ESHUTDOWN)
        return true;
    return s->requested.types && (s->several_causes || r->cause == s->requested.cause);
}

static void child_ended(struct unr_nursery *nursery, const struct unr_result *r)
{
    struct unr_nursery_private *n = &nursery->private_fields;
    n->children--;
    if (was_cancelled_by(n, r)) {
        n->child_was_cancelled = true;
    } else if (r->error && !(n->flags & UNR_NURSERY_INDEPENDENT)) {
        int error = unr_outcome(r);
        if (!n->error)
            n->error = error;
        unri_cancel_scope_request(&n->block, (struct unr_cancel_request){ UNR_CANCEL_ALL, error });
    }
    end_wait(n);
}

static void member_done(struct unr_op *op)
{
    child_ended(op->data, &op->result);
}

static void spawned_done(struct unr_op *op)
{
    struct unr_nursery  *nursery = op->data;
    struct unri_fibers  *fibers = loop_of(nursery)->fibers;
    struct unri_spawned *spawned = unr_container_of(op, struct unri_spawned, fiber.op);
    struct unr_result    result = op->result;
    spawned->next = fibers->spare;
    fibers->spare = spawned;
    child_ended(nursery, &result);
}

static void scope_done(struct unr_op *op)
{
    struct unr_nursery *nursery = op->data;
    nursery->private_fields.over = true;
    end_wait(&nursery->private_fields);
}

/* ---- opening, and starting children ---- */

void unr_nursery_open(struct unr_nursery *nursery, unsigned flags)
{
    struct unr_nursery_private *n = &nursery->private_fields;
    unri_fiber_check("unr_nursery_open called outside of a fiber");
    if (flags & ~UNR_NURSERY_INDEPENDENT)
        unri_broken("a nursery with flags that do not exist", NULL,
                    "flags of a nursery are UNR_NURSERY_*");
    n->scope.op = n->wait = (struct unr_op){ 0 };
    n->flags = flags;
    n->children = 0;
    n->error = 0;
    n->over = n->waits = n->child_was_cancelled = false;
    unr_start(unr_fiber_loop(), unr_scope(&n->scope), scope_done, nursery);
    unri_cancel_scope_enter(&n->block, &n->scope.op);
}

static void check_open(const struct unr_nursery *nursery, const char *what)
{
    if (unlikely(!is_open(nursery)))
        unri_broken(what, NULL, "a nursery takes children from its opening to its closing");
    unri_check_thread(loop_of(nursery));
}

static struct unri_spawned *take_spare(struct unri_fibers *fibers)
{
    struct unri_spawned *spawned = fibers->spare;
    if (!spawned)
        return calloc(1, sizeof *spawned);
    fibers->spare = spawned->next;
    return spawned;
}

/* All that may be lacking is made sure of before: a place in the scope, the structure, the stack.
 * For the function is to run, and releases what its argument owns. */
static int spawn(struct unr_nursery *nursery, unr_fiber_fn *fn, void *argument,
                 const struct unr_fiber_options *options)
{
    struct unr_nursery_private *n = &nursery->private_fields;
    check_open(nursery, "spawned in a nursery that is not open");
    struct unri_fibers  *fibers = loop_of(nursery)->fibers; /* its own fiber has begun */
    struct unri_spawned *spawned = unri_scope_make_room(&n->scope) ? take_spare(fibers) : NULL;
    if (!spawned)
        return -ENOMEM;
    struct unr_op *op = options ? unr_fiber_with(&spawned->fiber, fn, argument, options)
                                : unr_fiber(&spawned->fiber, fn, argument);
    int            error = unri_fiber_reserve(&spawned->fiber, loop_of(nursery));
    if (error) {
        spawned->next = fibers->spare;
        fibers->spare = spawned;
        return error;
    }
    n->children++;
    unr_scope_start(&n->scope, op, spawned_done, nursery);
    return 0;
}

int unr_nursery_spawn(struct unr_nursery *nursery, unr_fiber_fn *fn, void *argument)
{
    return spawn(nursery, fn, argument, NULL);
}

int unr_nursery_spawn_with(struct unr_nursery *nursery, unr_fiber_fn *fn, void *argument,
                           const struct unr_fiber_options *options)
{
    return spawn(nursery, fn, argument, options);
}

void unr_nursery_start(struct unr_nursery *nursery, struct unr_op *described)
{
    check_open(nursery, "started in a nursery that is not open");
    nursery->private_fields.children++;
    unr_scope_start(&nursery->private_fields.scope, described, member_done, nursery);
}

/* ---- asking, and closing ---- */

bool unr_nursery_cancel(struct unr_nursery *nursery, unsigned types, int cause)
{
    return unr_cancel_scope_cancel(&nursery->private_fields.block, types, cause);
}

struct unr_cancel_scope *unr_nursery_scope(struct unr_nursery *nursery)
{
    return &nursery->private_fields.block;
}

unsigned unr_nursery_children(const struct unr_nursery *nursery)
{
    return nursery->private_fields.children;
}

/* The body has failed, or was cancelled.  A cancellation is no error of its own: whose it was is
 * told when the cancel scope is left. */
static void end_children(struct unr_nursery_private *n, int error)
{
    struct unr_cancel_request request = { UNR_CANCEL_ALL, error };
    if (unri_cancel_scope_explains(&n->block, error)) {
        if (unri_live(&n->scope.op))
            unri_request(&n->scope.op, request);
        return;
    }
    if (!n->error)
        n->error = error;
    unri_cancel_scope_request(&n->block, request);
}

int unr_nursery_close(struct unr_nursery *nursery, int error)
{
    struct unr_nursery_private *n = &nursery->private_fields;
    struct unr_fiber           *fiber = unri_fiber_check("unr_nursery_close outside of a fiber");
    if (unlikely(fiber->private_fields.innermost != &n->block))
        unri_broken("a nursery closed out of order, or by another fiber", &fiber->op,
                    "the nursery or cancel scope that was entered last is left first");
    if (error < 0)
        end_children(n, error);
    unr_scope_close(&n->scope);
    while (!is_empty(n)) { /* a closing loop may be given more between the end and here */
        n->waits = true;
        unr_await(unr_describe(&n->wait, &wait_type));
    }
    if (error >= 0)
        error = n->child_was_cancelled ? -ECANCELED : 0;
    error = unr_cancel_scope_leave(&n->block, error);
    return n->error ? n->error : error;
}
