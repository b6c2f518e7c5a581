/* SPDX-License-Identifier: MIT */
/* Waiting for somebody else's operation: the join steps in as its combinator and, when it is handed
 * back, hands it on.  Several joins of one operation stand in line, the last to come first. */
#include "../core/cancel.h"
#include "../core/combinator.h"
#include "../core/contract.h"

#include <unring/join.h>

static struct unr_join *join_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_join, op);
}

/* Where `joined` goes when this join has seen it. */
static void give_back(struct unr_join *join, struct unr_op *joined)
{
    struct unr_op_private *p = unri_private(joined);
    if (join->private_fields.was_child) {
        p->combinator = join->private_fields.combinator;
    } else {
        unri_clear_flags(joined, UNRI_CHILD);
        p->done = join->private_fields.done;
    }
}

static void end_as_joined(struct unr_join *join, const struct unr_op *joined)
{
    struct unr_result result = joined->result;
    result.fd = -1;
    unri_end_with_result(&join->op, &result);
}

static const struct unr_op_type type;

/* Whether another join is told after this one. */
static bool has_earlier_join(const struct unr_join *join)
{
    return join->private_fields.was_child && join->private_fields.combinator->type == &type;
}

static void join_start(struct unr_op *op)
{
    struct unr_join       *join = join_of(op);
    struct unr_op         *joined = join->private_fields.joined;
    struct unr_op_private *p = unri_private(joined);
    if (p->state == UNRI_DESCRIBED || p->state == UNRI_HELD)
        unri_broken("joined though it is not started", joined,
                    "a join waits for an operation in flight, or reads an idle one");
    if (!unri_live(joined)) {
        end_as_joined(join, joined);
        return;
    }
    if (p->loop != op->private_fields.loop)
        unri_broken("joined from another loop", joined,
                    "a join is started on the loop of the operation that it waits for");
    join->private_fields.later = NULL;
    join->private_fields.was_child = p->flags & UNRI_CHILD;
    if (join->private_fields.was_child)
        join->private_fields.combinator = p->combinator;
    else
        join->private_fields.done = p->done;
    if (has_earlier_join(join))
        join_of(join->private_fields.combinator)->private_fields.later = join;
    p->combinator = op;
    p->flags |= UNRI_CHILD;
}

static void join_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)request;
    struct unr_join *join = join_of(op), *later = join->private_fields.later;
    if (has_earlier_join(join))
        join_of(join->private_fields.combinator)->private_fields.later = later;
    if (!later) {
        give_back(join, join->private_fields.joined);
    } else {
        later->private_fields.was_child = join->private_fields.was_child;
        if (join->private_fields.was_child)
            later->private_fields.combinator = join->private_fields.combinator;
        else
            later->private_fields.done = join->private_fields.done;
    }
    unri_end(op, -ECANCELED);
}

static void child_done(struct unr_op *combinator, struct unr_op *joined)
{
    struct unr_loop *loop = combinator->private_fields.loop;
    for (struct unr_join *join = join_of(combinator), *earlier; join; join = earlier) {
        earlier = has_earlier_join(join) ? join_of(join->private_fields.combinator) : NULL;
        loop->handed_to = &join->op;
        give_back(join, joined);
        end_as_joined(join, joined);
    }
    unri_hand_back(loop, joined);
}

static const struct unri_combinator combinator = { .child_done = child_done };

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "join",
    .start = join_start,
    .cancel = join_cancel,
    .private_fields = { .kind = UNRI_COMBINATOR, .combinator = &combinator },
};

struct unr_op *unr_join(struct unr_join *join, struct unr_op *started)
{
    unr_describe(&join->op, &type);
    join->private_fields.joined = started;
    return &join->op;
}
