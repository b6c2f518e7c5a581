/* SPDX-License-Identifier: MIT */
/* Scopes.  A member is an operation as any other, with its own `done`; the scope stands between as
 * its combinator and keeps that `done` in a table of its own, where requests find the members too.
 */
#include "group.h"
#include "../core/cancel.h"
#include "../core/combinator.h"
#include "../core/contract.h"

#include <stdlib.h>
#include <unring/scope.h>

static struct unr_scope *scope_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_scope, op);
}

/* ---- the table: open addressing, never more than half full ---- */

static size_t first_place(const struct unr_scope *scope, const struct unr_op *op)
{
    return (size_t)(((uint64_t)(uintptr_t)op * 0x9e3779b97f4a7c15u) >> 32)
           & (scope->private_fields.room - 1);
}

static size_t next_place(const struct unr_scope *scope, size_t index)
{
    return (index + 1) & (scope->private_fields.room - 1);
}

static struct unr_scope_member *find_place(struct unr_scope *scope, const struct unr_op *op)
{
    size_t index = first_place(scope, op);
    while (scope->private_fields.members[index].op && scope->private_fields.members[index].op != op)
        index = next_place(scope, index);
    return &scope->private_fields.members[index];
}

static bool make_room(struct unr_scope *scope)
{
    if (scope->private_fields.count < scope->private_fields.room / 2)
        return true;
    struct unr_scope_member *old = scope->private_fields.members;
    struct unr_scope_member *members = calloc(scope->private_fields.room * 2, sizeof *members);
    if (!members)
        return false;
    size_t room = scope->private_fields.room;
    scope->private_fields.members = members;
    scope->private_fields.room = room * 2;
    scope->private_fields.growths++;
    for (size_t i = 0; i < room; i++)
        if (old[i].op)
            *find_place(scope, old[i].op) = old[i];
    if (old != scope->private_fields.inline_members)
        free(old);
    return true;
}

/* Closes the gap: moves up what would not be found behind it. */
static void free_place(struct unr_scope *scope, struct unr_scope_member *member)
{
    struct unr_scope_member *members = scope->private_fields.members;
    size_t                   gap = (size_t)(member - members);
    for (size_t i = next_place(scope, gap); members[i].op; i = next_place(scope, i)) {
        size_t way = (i - first_place(scope, members[i].op)) & (scope->private_fields.room - 1);
        if (way >= ((i - gap) & (scope->private_fields.room - 1))) {
            members[gap] = members[i];
            gap = i;
        }
    }
    members[gap] = (struct unr_scope_member){ 0 };
    scope->private_fields.count--;
}

/* ---- the scope ---- */

static void end_if_over(struct unr_scope *scope)
{
    struct unr_op_private *p = unri_private(&scope->op);
    bool                   closed = scope->private_fields.closed || p->loop->closing;
    if (!closed || scope->private_fields.count || scope->private_fields.failing
        || scope->private_fields.busy || p->state == UNRI_FINISHED)
        return;
    if (scope->private_fields.members != scope->private_fields.inline_members)
        free(scope->private_fields.members);
    scope->private_fields.members = scope->private_fields.inline_members;
    scope->private_fields.room = UNR_SCOPE_INLINE;
    scope->op.result.value = (int64_t)scope->private_fields.ended;
    scope->op.result.guarantee = scope->private_fields.weakest;
    unri_end(&scope->op, scope->private_fields.cancelled ? -ECANCELED : 0);
}

/* The table may have grown when it returns: what a member runs when it is asked may start
 * others. */
static void request_member(struct unr_scope *scope, struct unr_op *op,
                           struct unr_cancel_request request)
{
    bool first = false;
    if (op)
        unri_request_first(op, request, &first);
    if (first)
        find_place(scope, op)->asked = true;
}

static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_scope *scope = scope_of(op);
    unri_record_request(op, request, true);
    unri_add_request(&scope->private_fields.requested, &scope->private_fields.several_causes,
                     request);
    /* Those that are started meanwhile are asked at their start. */
    uint32_t growths;
    do {
        growths = scope->private_fields.growths;
        for (size_t i = 0;
             i < scope->private_fields.room && growths == scope->private_fields.growths; i++)
            request_member(scope, scope->private_fields.members[i].op, request);
    } while (growths != scope->private_fields.growths);
    end_if_over(scope);
    return true;
}

static void scope_start(struct unr_op *op)
{
    end_if_over(scope_of(op));
}

static bool start_with_request(struct unr_op *op, struct unr_cancel_request asked)
{
    if (op->private_fields.loop->closing) {
        unri_end_unsubmitted(op, asked);
        return true;
    }
    return handle_request(op, asked);
}

/* Takes a member that has ended out of the table.  Its own `done`. */
static unr_done_fn *remove_member(struct unr_scope *scope, const struct unr_op *op)
{
    struct unr_scope_member *member = find_place(scope, op);
    unr_done_fn             *done = member->done;
    if (!member->op) { /* there was no memory for it in the table */
        scope->private_fields.failing--;
        return (unr_done_fn *)(uintptr_t)op->private_fields.address;
    }
    scope->private_fields.cancelled |= unri_was_ended_by(
        op, member->asked, &scope->private_fields.requested, scope->private_fields.several_causes);
    free_place(scope, member);
    return done;
}

static void child_done(struct unr_op *combinator, struct unr_op *op)
{
    struct unr_scope *scope = scope_of(combinator);
    unri_private(op)->done = remove_member(scope, op);
    unri_clear_flags(op, UNRI_CHILD);
    scope->private_fields.ended++;
    scope->private_fields.weakest =
        (uint8_t)unri_weaker_guarantee(scope->private_fields.weakest, &op->result);
    /* The scope outlives the `done` of its last member, which may start another in it, but ends in
     * the same turn. */
    scope->private_fields.busy = true;
    unri_hand_back(combinator->private_fields.loop, op);
    scope->private_fields.busy = false;
    end_if_over(scope);
}

static const struct unri_combinator combinator = { .child_done = child_done,
                                                   .handle_request = handle_request,
                                                   .start_with_request = start_with_request };

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "scope",
    .start = scope_start,
    .private_fields = { .kind = UNRI_COMBINATOR, .combinator = &combinator },
};

struct unr_op *unr_scope(struct unr_scope *scope)
{
    unr_describe(&scope->op, &type);
    scope->private_fields.requested = (struct unr_cancel_request){ 0 };
    scope->private_fields.members = scope->private_fields.inline_members;
    for (unsigned i = 0; i < UNR_SCOPE_INLINE; i++)
        scope->private_fields.inline_members[i] = (struct unr_scope_member){ 0 };
    scope->private_fields.room = UNR_SCOPE_INLINE;
    scope->private_fields.count = 0;
    scope->private_fields.ended = 0;
    scope->private_fields.growths = 0;
    scope->private_fields.weakest = UNR_CANCEL_TOTAL;
    scope->private_fields.failing = 0;
    scope->private_fields.closed = scope->private_fields.cancelled = scope->private_fields.busy =
        scope->private_fields.several_causes = false;
    return &scope->op;
}

void unr_scope_start(struct unr_scope *scope, struct unr_op *described, unr_done_fn *done,
                     void *data)
{
    struct unr_op_private *p = unri_private(&scope->op);
    bool                   over = !unri_live(&scope->op) || p->state == UNRI_FINISHED;
    if (over && p->loop && p->loop->closing) {
        unr_start(p->loop, described, done, data); /* ends at once, as everything that starts now */
        return;
    }
    if (over)
        unri_broken("started in a scope that is not in flight", described,
                    "a scope takes operations from its start until it is closed and empty");
    unri_check_thread(p->loop);
    unri_hold(described);
    described->data = data;
    p->loop->in_flight++; /* its `done` is the caller's */
    if (!make_room(scope)) {
        scope->private_fields.failing++;
        unri_fail_child(&scope->op, described, -ENOMEM);
        unri_private(described)->address =
            (uintptr_t)done; /* it never began, and needs no arguments */
        return;
    }
    *find_place(scope, described) = (struct unr_scope_member){ .op = described, .done = done };
    scope->private_fields.count++;
    if (unri_start_child(&scope->op, described, scope->private_fields.requested))
        find_place(scope, described)->asked = true;
}

void unr_scope_close(struct unr_scope *scope)
{
    bool live = unri_live(&scope->op);
    if (live)
        unri_check_thread(scope->op.private_fields.loop);
    scope->private_fields.closed = true;
    if (live)
        end_if_over(scope);
}
