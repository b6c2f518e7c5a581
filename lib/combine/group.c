/* SPDX-License-Identifier: MIT */
/* Operations side by side.  Members are linked by their `data`, which nobody else needs while they
 * are held, and those that have ended by the `next` that the loop has no use for any more: so a
 * group of any size needs no memory.  The low bits of the link tell who ended a member. */
#include "group.h"
#include "../core/cancel.h"
#include "../core/combinator.h"
#include "../core/contract.h"

unsigned unr_wait_all(void *context, const struct unr_op *finished)
{
    (void)context, (void)finished;
    return UNR_CANCEL_NONE;
}

unsigned unr_wait_one(void *context, const struct unr_op *finished)
{
    (void)context, (void)finished;
    return UNR_CANCEL_ALL;
}

unsigned unr_wait_one_success(void *context, const struct unr_op *finished)
{
    (void)context;
    return finished->result.error ? UNR_CANCEL_NONE : UNR_CANCEL_ALL;
}

unsigned unr_wait_one_error(void *context, const struct unr_op *finished)
{
    (void)context;
    return finished->result.error ? UNR_CANCEL_ALL : UNR_CANCEL_NONE;
}

static struct unr_group *group_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_group, op);
}

/* ---- the members ---- */

/* Whose request was the first that a member honoured. */
enum asker { NOBODY, OUTSIDE, CONDITION, ASKERS = 3 };

static struct unr_op *next_member(const struct unr_op *member)
{
    return (struct unr_op *)((uintptr_t)member->data & ~(uintptr_t)ASKERS);
}

static enum asker asker_of(const struct unr_op *member)
{
    return (enum asker)((uintptr_t)member->data & ASKERS);
}

static void set_asker(struct unr_op *member, enum asker asker)
{
    member->data = (void *)((uintptr_t)next_member(member) | asker);
}

static bool has_not_ended(const struct unr_op *member)
{
    return unri_live(member) || member->private_fields.state == UNRI_HELD;
}

static unsigned supports(const struct unr_op *op)
{
    unsigned supports = 0;
    for (struct unr_op *member = ((const struct unr_group *)op)->private_fields.members; member;
         member = next_member(member))
        if (has_not_ended(member))
            supports |= unr_supports(member);
    return supports;
}

/* ---- requests ---- */

/* True if one of them honours it, or will: what the launch has not come to yet is asked when it
 * does. */
static bool request_members(struct unr_group *group, struct unr_cancel_request request,
                            enum asker asker)
{
    bool honoured = false;
    for (struct unr_op *member = group->private_fields.members; member;
         member = next_member(member)) {
        bool first = false;
        if (member->private_fields.state == UNRI_HELD)
            honoured |= (request.types & unr_supports(member)) != 0;
        else
            honoured |= unri_request_first(member, request, &first);
        if (first)
            set_asker(member, asker);
    }
    return honoured;
}

static void add_outside_request(struct unr_group *group, struct unr_cancel_request request)
{
    unri_add_request(&group->private_fields.outside, &group->private_fields.several_causes,
                     request);
}

static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_group *group = group_of(op);
    add_outside_request(group, request);
    bool honoured = request_members(group, request, OUTSIDE);
    if (!group->private_fields.left) /* too late, not refused */
        honoured = request.types & unri_own_supports(op);
    unri_record_request(op, request, honoured);
    return honoured;
}

/* ---- launch ---- */

/* No member is done with before a later turn, but what it runs at its start may cancel the
 * group. */
static bool launch(struct unr_group *group)
{
    bool honoured = false;
    for (struct unr_op *member = group->private_fields.members; member;
         member = next_member(member))
        if (unri_start_child(&group->op, member, group->private_fields.outside)) {
            set_asker(member, OUTSIDE);
            honoured = true;
        }
    return honoured;
}

static void end_empty(struct unr_group *group)
{
    group->op.result.value = -1;
    unri_end(&group->op, 0);
}

static void group_start(struct unr_op *op)
{
    struct unr_group *group = group_of(op);
    if (group->private_fields.members)
        launch(group);
    else
        end_empty(group);
}

static bool start_with_request(struct unr_op *op, struct unr_cancel_request asked)
{
    struct unr_group *group = group_of(op);
    add_outside_request(group, asked);
    bool honoured = launch(group);
    unri_record_request(op, asked, honoured);
    if (!group->private_fields.members)
        end_empty(group);
    return honoured;
}

/* ---- the end ---- */

static int64_t index_of(const struct unr_group *group, const struct unr_op *decider)
{
    int64_t index = 0;
    for (const struct unr_op *member = group->private_fields.members; member != decider;
         member = next_member(member))
        index++;
    return index;
}

static bool ended_by_outside(const struct unr_group *group, const struct unr_op *member)
{
    return unri_was_ended_by(member, asker_of(member) == OUTSIDE, &group->private_fields.outside,
                             group->private_fields.several_causes);
}

static bool ended_by_condition(const struct unr_op *member)
{
    return asker_of(member) == CONDITION && member->result.error == -ECANCELED
           && member->result.cause == -ECANCELED;
}

unsigned unri_weaker_guarantee(unsigned weakest, const struct unr_result *member)
{
    unsigned proven = member->error == -ECANCELED ? member->guarantee : UNR_CANCEL_PARTIAL;
    return proven < weakest ? proven : weakest;
}

/* The first member that a request from outside ended. */
static const struct unr_op *first_ended_by_outside(const struct unr_group *group)
{
    const struct unr_op *member = group->private_fields.first;
    while (member && !ended_by_outside(group, member))
        member = unr_group_next(member);
    return member;
}

static void end_cancelled(struct unr_group *group, int cause)
{
    unsigned weakest = UNR_CANCEL_TOTAL;
    bool     unsubmitted = true;
    for (const struct unr_op *member = group->private_fields.first; member;
         member = unr_group_next(member)) {
        weakest = unri_weaker_guarantee(weakest, &member->result);
        unsubmitted &= member->result.verdict == UNR_VERDICT_UNSUBMITTED;
    }
    group->op.result.guarantee = (uint8_t)weakest;
    unri_end_cancelled(&group->op, cause,
                       unsubmitted ? UNR_VERDICT_UNSUBMITTED : UNR_VERDICT_CANCELLED);
}

static void end_decided(struct unr_group *group, const struct unr_op *decider)
{
    bool reports = group->private_fields.condition == unr_wait_one_success
                   || group->private_fields.condition == unr_wait_one_error;
    int error = reports ? decider->result.error : 0;
    group->op.result.value = index_of(group, decider);
    if (error == -ECANCELED)
        end_cancelled(group, decider->result.cause);
    else
        unri_end(&group->op, error);
}

static void end_group(struct unr_group *group)
{
    const struct unr_op *decider = group->private_fields.decider,
                        *ended = decider ? NULL : first_ended_by_outside(group);
    if (ended) { /* before there was a decision */
        group->op.result.value = -1;
        bool honoured = group->op.private_fields.flags & UNRI_HONOURED;
        end_cancelled(group, honoured ? group->op.result.cause : ended->result.cause);
        return;
    }
    if (!decider)
        decider = group->private_fields.condition == unr_wait_one_success
                      ? group->private_fields.first
                      : group->private_fields.last;
    end_decided(group, decider);
}

/* Success and failure of its own decide; what a request through the group did to a member does
 * not. */
static bool decides(const struct unr_group *group, const struct unr_op *member, unsigned types)
{
    return types && !group->private_fields.decider && !ended_by_outside(group, member)
           && !ended_by_condition(member);
}

static void child_done(struct unr_op *combinator, struct unr_op *member)
{
    struct unr_group *group = group_of(combinator);
    unri_private(member)->next = NULL;
    if (group->private_fields.last)
        unri_private(group->private_fields.last)->next = member;
    else
        group->private_fields.first = member;
    group->private_fields.last = member;
    group->private_fields.left--;

    unsigned types = group->private_fields.condition(group->private_fields.context, member);
    if (types & ~UNR_CANCEL_ALL)
        unri_broken("a condition that answers with types that do not exist", combinator,
                    "a condition returns a mask of UNR_CANCEL_*");
    if (decides(group, member, types))
        group->private_fields.decider = member;
    unsigned unasked = types & ~group->private_fields.condition_types;
    if (unasked && group->private_fields.left) {
        group->private_fields.condition_types |= types;
        request_members(group, (struct unr_cancel_request){ unasked, -ECANCELED }, CONDITION);
    }
    if (!group->private_fields.left)
        end_group(group);
}

struct unr_op *unr_group_first(const struct unr_group *group)
{
    return group->private_fields.first;
}

struct unr_op *unr_group_next(const struct unr_op *member)
{
    return member->private_fields.next;
}

/* ---- describe ---- */

static const struct unri_combinator combinator = {
    .child_done = child_done,
    .handle_request = handle_request,
    .start_with_request = start_with_request,
    .supports = supports,
};

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .name = "group",
    .start = group_start,
    .private_fields = { .kind = UNRI_COMBINATOR, .combinator = &combinator },
};

struct unr_op *unr_group(struct unr_group *group, struct unr_op *const *members, unsigned n,
                         unr_group_condition_fn *condition, void *context)
{
    struct unr_op *first = NULL;
    unsigned       supports = 0;
    for (unsigned i = n; i-- > 0;) {
        unri_hold(members[i]);
        members[i]->data = first;
        first = members[i];
        supports |= unri_own_supports(members[i]);
    }
    unr_describe(&group->op, &type);
    unri_set_supports(&group->op, supports);
    group->private_fields.condition = condition;
    group->private_fields.context = context;
    group->private_fields.members = first;
    group->private_fields.first = group->private_fields.last = group->private_fields.decider = NULL;
    group->private_fields.outside = (struct unr_cancel_request){ 0 };
    group->private_fields.left = n;
    group->private_fields.condition_types = 0;
    group->private_fields.several_causes = false;
    return &group->op;
}

struct unr_op *unr_any(struct unr_group *group, struct unr_op *const *members, unsigned n)
{
    return unr_group(group, members, n, unr_wait_one_success, NULL);
}

struct unr_op *unr_all(struct unr_group *group, struct unr_op *const *members, unsigned n)
{
    return unr_group(group, members, n, unr_wait_one_error, NULL);
}
