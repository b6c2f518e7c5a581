/* SPDX-License-Identifier: MIT */
/* Groups: operations side by side, which are described together, launched together, and waited for
 * together.  scope.c has the operations that are added while it runs, and group.h what the two
 * share.
 *
 * A group needs no memory, however many members it has.  All members are linked by their `data`,
 * which is the group's to use until it ends; the low bits of that pointer keep who made the first
 * request that the member honoured.  The members that have ended are linked, in that order, by
 * `next`, which the loop has no use for any more.
 *
 * What changes while a group is in flight; all but newest_first never go back until it is described
 * anew:
 *
 *   left             n -> ... -> 0 [child_done]
 *                    The members that were not handed back yet.  The group ends at 0, not before.
 *   first, last      NULL -> a member [append_ended]
 *                    The ends of the list of ended members.
 *   decider          NULL -> a member [child_done]
 *                    Once: a later member does not take its place.
 *   condition_types  0 -> more types [child_done]
 *                    The types that the condition has requested.
 *   outside          0 -> more types [handle_request, start_with_request]
 *                    Before the members are asked, so that a launch under way passes the request on
 *                    to the members that it has not come to.
 *   newest_first     false -> true -> false [request_members]
 *                    The list of members is turned round while they are asked.
 *   asker            NOBODY -> OUTSIDE [launch, request_members], NOBODY -> CONDITION
 *                    [request_members]
 *                    Of a member: set by the first request that it honours.
 *
 * Requests run filters, handlers and other code of the caller's, which may make a request to this
 * very group (rule 9, Re-entrancy).  That is safe: it runs no child_done(), so `left`, the list of
 * ended members and the decider stay as they are meanwhile. */
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

/* Who made the first request that a member honoured: somebody outside of the group, through the
 * group, or its condition.  NOBODY: the member has honoured no request, or the first came to the
 * member itself, by its own slot say. */
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

/* Members that have ended honour nothing any more, so they do not count. */
static unsigned supports(const struct unr_op *op)
{
    const struct unr_group *group = (const struct unr_group *)op;
    unsigned                supports = 0;
    for (struct unr_op *member = group->private_fields.members; member;
         member = next_member(member))
        if (has_not_ended(member))
            supports |= unr_supports(member);
    return supports;
}

/* ---- requests ---- */

/* Turns the list of members round. */
static void turn_round(struct unr_group_private *g)
{
    struct unr_op *turned = NULL, *next;
    for (struct unr_op *member = g->members; member; member = next) {
        next = next_member(member);
        member->data = (void *)((uintptr_t)turned | asker_of(member));
        turned = member;
    }
    g->members = turned;
    g->newest_first = !g->newest_first;
}

/* Makes a request to each member.  Returns true if a member honours it, or will: a launch that is
 * under way has not started the later members, and makes the request, which is part of `outside`,
 * to each of them when it does.  A member that supports one of the types is taken to honour it.
 *
 * Who asks is kept only with members for which this is the first request that they honour: a
 * member that was ending before does not end because of it.  For the same reason a request of the
 * condition counts only at members that honour none yet.
 *
 * The member that was started last is asked first.  In that order the kernel finds each of many
 * polls on one file at the head of the file's list; in the other, at its end.  A request may run
 * code of the caller's that makes another request to this group, which finds the list turned round
 * already, and leaves it so. */
static bool request_members(struct unr_group *group, struct unr_cancel_request request,
                            enum asker asker)
{
    struct unr_group_private *g = &group->private_fields;
    bool                      honoured = false, outermost = !g->newest_first;
    if (outermost)
        turn_round(g);
    for (struct unr_op *member = g->members; member; member = next_member(member)) {
        bool first = false;
        if (asker == CONDITION && unri_is_open(member))
            unri_count_request(group->op.private_fields.loop, member);
        if (member->private_fields.state == UNRI_HELD)
            honoured |= unri_request_held(member, request);
        else
            honoured |= unri_request_first(member, request, &first);
        if (first)
            set_asker(member, asker);
    }
    if (outermost)
        turn_round(g);
    return honoured;
}

static void add_outside_request(struct unr_group *group, struct unr_cancel_request request)
{
    struct unr_group_private *g = &group->private_fields;
    unri_add_request(&g->outside, &g->several_causes, request);
}

/* Every request is passed on, also one for types that were requested before: a member may have
 * been reset since (unr_state_reset()), and honour it now.
 *
 * No member is left while the condition looks at the last one.  A request that the condition makes
 * then finds nobody to honour it; it counts as honoured all the same, so that it is told as
 * TOO_LATE, not as REFUSED. */
static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_group *group = group_of(op);
    add_outside_request(group, request);
    bool honoured = request_members(group, request, OUTSIDE);
    if (!group->private_fields.left)
        honoured = request.types & unri_own_supports(op);
    unri_record_request(op, request, honoured);
    return honoured;
}

/* Every member is asked, and those that honour the request end when the group is launched with it.
 */
static bool request_while_held(struct unr_op *held, struct unr_cancel_request request)
{
    bool honours = false;
    for (struct unr_op *member = group_of(held)->private_fields.members; member;
         member = next_member(member))
        honours |= unri_request_held(member, request);
    return honours;
}

/* ---- launch ---- */

/* Starts the members, each with the requests for the group so far.  Returns true if a member
 * honours them.
 *
 * A member's start may run code of the caller's, which may cancel the group.  So `outside` is read
 * anew for each member.  But no member is handed back inside a start (rule 1, Once), so the group
 * cannot end in here. */
static bool launch(struct unr_group *group)
{
    struct unr_group_private *g = &group->private_fields;
    bool                      honoured = false;
    for (struct unr_op *member = g->members; member; member = next_member(member))
        if (unri_start_child(&group->op, member, g->outside)) {
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

/* Rule 6, Before it begins, applies to each member by itself: it ends UNSUBMITTED, or refuses and
 * runs.  An empty group has no member to honour the request; it refuses, and ends at once. */
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
    int64_t              index = 0;
    const struct unr_op *member = group->private_fields.members;
    for (; member != decider; member = next_member(member))
        index++;
    return index;
}

static bool ended_by_outside(const struct unr_group *group, const struct unr_op *member)
{
    const struct unr_group_private *g = &group->private_fields;
    return unri_was_ended_by(member, asker_of(member) == OUTSIDE, &g->outside, g->several_causes);
}

/* The cause is that of the requests in child_done(): with another one, a deadline inside the
 * member ended it. */
static bool ended_by_condition(const struct unr_op *member)
{
    return asker_of(member) == CONDITION && unri_was_cancelled(&member->result)
           && member->result.cause == -ECANCELED;
}

unsigned unri_weaker_guarantee(unsigned weakest, const struct unr_result *result)
{
    unsigned proven = unri_was_cancelled(result) ? result->guarantee : UNR_CANCEL_PARTIAL;
    return proven < weakest ? proven : weakest;
}

static const struct unr_op *first_ended_by_outside(const struct unr_group *group)
{
    const struct unr_op *member = group->private_fields.first;
    while (member && !ended_by_outside(group, member))
        member = unr_group_next(member);
    return member;
}

/* Ends the group as cancelled.  It is UNSUBMITTED only if none of its members has begun. */
static void end_cancelled(struct unr_group *group, int cause)
{
    const struct unr_op *member = group->private_fields.first;
    unsigned             weakest = UNR_CANCEL_TOTAL;
    bool                 unsubmitted = true;
    for (; member; member = unr_group_next(member)) {
        weakest = unri_weaker_guarantee(weakest, &member->result);
        unsubmitted &= member->result.verdict == UNR_VERDICT_UNSUBMITTED;
    }
    unsigned verdict = unsubmitted ? UNR_VERDICT_UNSUBMITTED : UNR_VERDICT_CANCELLED;
    group->op.result.guarantee = (uint8_t)weakest;
    unri_end_cancelled(&group->op, cause, verdict);
}

/* Ends the group with the index of `decider`.  Its error becomes the group's under the two
 * conditions that ask for a success or for a failure; under all others a group succeeds when its
 * members have ended, however they did. */
static void end_decided(struct unr_group *group, const struct unr_op *decider)
{
    const struct unr_group_private *g = &group->private_fields;
    bool reports = g->condition == unr_wait_one_success || g->condition == unr_wait_one_error;
    group->op.result.value = index_of(group, decider);
    if (reports && unri_was_cancelled(&decider->result))
        end_cancelled(group, decider->result.cause);
    else
        unri_end_uncancelled(&group->op, reports ? decider->result.error : 0);
}

/* Ends the group without a decision: a request from outside ended the member `ended` before there
 * was one.  The group itself may have refused that request, because a closing loop also asks what
 * is behind a member's filter; then the cause is that of the member. */
static void end_undecided(struct unr_group *group, const struct unr_op *ended)
{
    bool honoured = group->op.private_fields.flags & UNRI_HONOURED;
    group->op.result.value = -1;
    end_cancelled(group, honoured ? group->op.result.cause : ended->result.cause);
}

/* Ends the group when its last member has been handed back.  Without a decision, `value` names the
 * first member to end where a success was asked for, and else the last. */
static void end_group(struct unr_group *group)
{
    const struct unr_group_private *g = &group->private_fields;
    const struct unr_op            *decider = g->decider;
    const struct unr_op            *ended = decider ? NULL : first_ended_by_outside(group);
    if (ended) {
        end_undecided(group, ended);
        return;
    }
    if (!decider)
        decider = g->condition == unr_wait_one_success ? g->first : g->last;
    end_decided(group, decider);
}

/* Tells whether a member that has ended is the one that decided.  It is if the condition wants the
 * others to end because of it (`types`), nobody has decided before, and it succeeded or failed of
 * its own: a member that a request through the group has ended decides nothing. */
static bool decides(const struct unr_group *group, const struct unr_op *member, unsigned types)
{
    return types && !group->private_fields.decider && !ended_by_outside(group, member)
           && !ended_by_condition(member);
}

static void append_ended(struct unr_group_private *g, struct unr_op *member)
{
    unri_private(member)->next = NULL;
    if (g->last)
        unri_private(g->last)->next = member;
    else
        g->first = member;
    g->last = member;
}

/* The order matters.  The member is on the list of ended members, and counted, before the
 * condition is called: the condition may walk that list, and may cancel the group, which looks at
 * `left` then.  The others are asked next, for the types that they were not asked for before.  The
 * group ends last. */
static void child_done(struct unr_op *combinator, struct unr_op *member)
{
    struct unr_group         *group = group_of(combinator);
    struct unr_group_private *g = &group->private_fields;
    append_ended(g, member);
    g->left--;

    unsigned types = g->condition(g->context, member);
    if (types & ~UNR_CANCEL_ALL)
        unri_broken("a condition that answers with types that do not exist", combinator,
                    "a condition returns a mask of UNR_CANCEL_*");
    if (decides(group, member, types))
        g->decider = member;
    unsigned unasked = types & ~g->condition_types;
    if (unasked && g->left) {
        g->condition_types |= types;
        request_members(group, (struct unr_cancel_request){ unasked, -ECANCELED }, CONDITION);
    }
    if (!g->left)
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

static void never_began(struct unr_op *op, int error)
{
    struct unr_op *member = group_of(op)->private_fields.members;
    for (; member; member = next_member(member))
        unri_tell_never_began(member, error);
}

static const struct unri_combinator combinator = {
    .child_done = child_done,
    .handle_request = handle_request,
    .start_with_request = start_with_request,
    .request_while_held = request_while_held,
    .never_began = never_began,
    .supports = supports,
};

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .name = "group",
    .start = group_start,
    .private_fields = { .kind = UNRI_COMBINATOR, .combinator = &combinator },
};

/* The members are linked from the last to the first, so that the list has their order. */
struct unr_op *unr_group(struct unr_group *group, struct unr_op *const *members, unsigned n,
                         unr_group_condition_fn *condition, void *context)
{
    struct unr_group_private *g = &group->private_fields;
    struct unr_op            *first = NULL;
    unsigned                  supports = 0;
    for (unsigned i = n; i-- > 0;) {
        unri_hold(members[i]);
        members[i]->data = first;
        first = members[i];
        supports |= unri_own_supports(members[i]);
    }
    unr_describe(&group->op, &type);
    for (unsigned i = 0; i < n; i++)
        unri_count_inside(&group->op, members[i]);
    unri_set_supports(&group->op, supports);
    g->condition = condition;
    g->context = context;
    g->members = first;
    g->first = g->last = g->decider = NULL;
    g->outside = (struct unr_cancel_request){ 0 };
    g->left = n;
    g->condition_types = 0;
    g->several_causes = g->newest_first = false;
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
