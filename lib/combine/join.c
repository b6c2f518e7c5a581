/* SPDX-License-Identifier: MIT */
/* Joins: waiting for an operation that somebody else has started.  A join puts itself between that
 * operation and whoever it is to be handed back to, as if it were its combinator; handing back in
 * general is unri_hand_back() in ../core/op.c.
 *
 * Several joins of one operation form a chain, linked in both directions:
 *
 *   joined --combinator--> last join --combinator--> ... --combinator--> first join --> the target
 *                          last join <----later----- ... <----later----- first join
 *
 * The target is where the operation was to go before anybody joined it: its own combinator, or its
 * own `done`.  `was_child` says which of the two a join keeps; for every join but the first it is
 * the join before it. */
#include "../core/cancel.h"
#include "../core/combinator.h"
#include "../core/contract.h"

#include <unring/join.h>

static struct unr_join *join_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_join, op);
}

/* Makes the joined operation point to what `join` kept: an earlier join, or the target. */
static void give_back(struct unr_join *join, struct unr_op *joined)
{
    struct unr_join_private *j = &join->private_fields;
    struct unr_op_private   *p = unri_private(joined);
    if (j->was_child) {
        p->combinator = j->combinator;
    } else {
        unri_clear_flags(joined, UNRI_CHILD);
        p->done = j->done;
    }
}

/* A descriptor in the result belongs to the joined operation's owner (rule 11, Ownership). */
static void end_as_joined(struct unr_join *join, const struct unr_op *joined)
{
    struct unr_result result = joined->result;
    result.fd = -1;
    unri_end_with_result(&join->op, joined, &result);
}

static const struct unr_op_type type;

/* Tells whether the next in the chain is another join, and not the target. */
static bool has_earlier_join(const struct unr_join *join)
{
    return join->private_fields.was_child && join->private_fields.combinator->type == &type;
}

static void join_start(struct unr_op *op)
{
    struct unr_join         *join = join_of(op);
    struct unr_join_private *j = &join->private_fields;
    struct unr_op           *joined = j->joined;
    struct unr_op_private   *p = unri_private(joined);
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
    j->later = NULL;
    j->was_child = p->flags & UNRI_CHILD;
    if (j->was_child)
        j->combinator = p->combinator;
    else
        j->done = p->done;
    if (has_earlier_join(join))
        join_of(j->combinator)->private_fields.later = join;
    p->combinator = op;
    p->flags |= UNRI_CHILD;
    if (unlikely(p->flags & UNRI_MULTISHOT))
        unri_check_shots(joined);
}

/* Takes a join out of its chain, and ends it; the joined operation is not asked.  Both neighbours
 * are told: the earlier join, if there is one, who is later than it now; and the one that points to
 * this join, which is a later join or the joined operation itself, where to go on. */
static void join_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)request;
    struct unr_join               *join = join_of(op);
    const struct unr_join_private *j = &join->private_fields;
    struct unr_join               *later = j->later;
    if (has_earlier_join(join))
        join_of(j->combinator)->private_fields.later = later;
    if (!later) {
        give_back(join, j->joined);
    } else {
        later->private_fields.was_child = j->was_child;
        if (j->was_child)
            later->private_fields.combinator = j->combinator;
        else
            later->private_fields.done = j->done;
    }
    unri_end(op, -ECANCELED);
}

/* The joined operation has ended, and comes to the last join first.  All joins end here, before the
 * operation is handed to its target: its `done` may free it, and with it the result.
 *
 * Each join counts as the combinator to which the operation is handed (`handed_to`), so each is
 * queued in front of those before it.  From the last to the first, they come out in the order in
 * which they were started, after the operation's own `done` and in the same turn. */
static void child_done(struct unr_op *combinator, struct unr_op *joined)
{
    struct unr_loop *loop = combinator->private_fields.loop;
    struct unr_join *join = join_of(combinator), *earlier;
    for (; join; join = earlier) {
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
