/* SPDX-License-Identifier: MIT */
/* Scopes: an operation in which others are started while it runs, and which ends after them.
 * group.c has the operations that are described together and end together, group.h what the two
 * share.
 *
 * A member has a `done` of its own.  The scope stands between, as the member's combinator, and
 * keeps that `done` in a table, where requests find the members too.  Three more words in each
 * operation would save the table, but cancelling one of a million timers took 28 % longer with
 * them.
 *
 * A scope ends when it is closed and nothing is left in it.  end_if_over() sees to that, and is
 * called where one of these has changed:
 *
 *   count           +1 [unr_scope_start]  -1 [free_place]
 *                   The members in the table.
 *   failing         +1 [fail_member]  -1 [remove_member]
 *                   Members for which there was no memory: each ends with -ENOMEM, without a place.
 *   busy            false -> true -> false [child_done]
 *                   A member's `done` runs, and may start another member.  It is never set twice,
 *                   because no `done` runs inside another.
 *   closed          false -> true [unr_scope_close]
 *                   A closing loop counts as well; its request brings handle_request() here.
 *
 * These never go back until the scope is described anew:
 *
 *   requested       0 -> more types [handle_request]
 *                   Before the members are asked, so that a member that is started meanwhile or
 *                   later is asked at its start (rule 12, Stickiness).
 *   moves           +1 [move_table]
 *                   The table has moved: a pointer into it, and a walk over it, is void.
 *   honoured_scope  false -> true [request_member, start_member]
 *                   Of a member: the first request that it honoured came through the scope.
 *   cancelled       false -> true [remove_member]
 *                   One of the requests to the scope has ended a member. */
#include "scope.h"
#include "../core/cancel.h"
#include "../core/combinator.h"
#include "../core/contract.h"
#include "../loop/loop.h"
#include "group.h"

#include <stdlib.h>
#include <string.h>

static struct unr_scope *scope_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_scope, op);
}

/* ---- the table: open addressing, never more than half full ---- */

/* Where the search for an operation begins.  Operations that are embedded in structures of one
 * size differ in few bits of their addresses, which the multiplication spreads. */
static size_t first_place(const struct unr_scope_private *s, const struct unr_op *op)
{
    return (size_t)(((uint64_t)(uintptr_t)op * 0x9e3779b97f4a7c15u) >> 32) & (s->room - 1);
}

static size_t next_place(const struct unr_scope_private *s, size_t index)
{
    return (index + 1) & (s->room - 1);
}

/* Returns the place of an operation, or the free place where it belongs.  There is always a free
 * place, so the search ends. */
static struct unr_scope_member *find_place(struct unr_scope_private *s, const struct unr_op *op)
{
    size_t index = first_place(s, op);
    while (s->members[index].op && s->members[index].op != op)
        index = next_place(s, index);
    return &s->members[index];
}

/* Moves the members to a table with `room` places.  False: there is no memory for that, and the
 * table is as it was. */
static bool move_table(struct unr_scope_private *s, size_t room)
{
    struct unr_scope_member *old = s->members, *members = s->inline_members;
    size_t                   old_room = s->room;
    if (room == UNR_SCOPE_INLINE)
        memset(members, 0, sizeof s->inline_members);
    else
        members = calloc(room, sizeof *members);
    if (!members)
        return false;
    s->members = members;
    s->room = room;
    s->moves++;
    for (size_t i = 0; i < old_room; i++)
        if (old[i].op)
            *find_place(s, old[i].op) = old[i];
    if (old != s->inline_members)
        free(old);
    return true;
}

/* Doubles the table if half of it is full. */
static bool make_room(struct unr_scope_private *s)
{
    return s->count < s->room / 2 || move_table(s, s->room * 2);
}

bool unri_scope_make_room(struct unr_scope *scope)
{
    return make_room(&scope->private_fields);
}

/* Halves the table if an eighth of it is full or less, because a request goes through all places.
 * It is then a quarter full, so that a member more or less does not move it again. */
static void give_back_room(struct unr_scope_private *s)
{
    if (unlikely(s->room > UNR_SCOPE_INLINE && s->count <= s->room / 8))
        move_table(s, s->room / 2); /* without memory for that, it stays as it is */
}

/* Frees a place, and closes the gap: a search ends at the first free place, so none may come
 * between the first place of a member and the place where it is.  Each member behind the gap whose
 * way from its first place leads across the gap moves into it, and leaves a gap in its turn. */
static void free_place(struct unr_scope_private *s, struct unr_scope_member *member)
{
    struct unr_scope_member *members = s->members;
    size_t                   gap = (size_t)(member - members);
    for (size_t i = next_place(s, gap); members[i].op; i = next_place(s, i)) {
        size_t way = (i - first_place(s, members[i].op)) & (s->room - 1);
        if (way >= ((i - gap) & (s->room - 1))) {
            members[gap] = members[i];
            gap = i;
        }
    }
    members[gap] = (struct unr_scope_member){ 0 };
    s->count--;
}

/* ---- the scope ---- */

/* Ends the scope if it is closed and nothing is left in it.  It may have ended already: a request
 * runs code of the caller's, which may close the scope before the request has come to its end. */
static void end_if_over(struct unr_scope *scope)
{
    struct unr_scope_private *s = &scope->private_fields;
    struct unr_op_private    *p = unri_private(&scope->op);
    bool                      closed = s->closed || p->loop->closing;
    if (!closed || s->count || s->failing || s->busy || p->state == UNRI_FINISHED)
        return;
    if (s->members != s->inline_members)
        free(s->members);
    s->members = s->inline_members;
    s->room = UNR_SCOPE_INLINE;
    scope->op.result.value = (int64_t)s->ended;
    scope->op.result.guarantee = s->weakest;
    unri_end(&scope->op, s->cancelled ? -ECANCELED : 0);
}

/* Makes a request to the member in one place of the table; `op` is NULL where that place is free.
 *
 * The request may run code of the caller's that starts members, and then the table moves.  So the
 * member is looked up again to keep that it honoured the request.  It is still there: a member
 * leaves the table in child_done() alone. */
static void request_member(struct unr_scope_private *s, struct unr_op *op,
                           struct unr_cancel_request request)
{
    bool first = false;
    if (op)
        unri_request_first(op, request, &first);
    if (first)
        find_place(s, op)->honoured_scope = true;
}

/* A scope honours every request, also while it has no members, for later members will be asked.
 *
 * The walk begins anew when the table has moved under it, because the members are in other places
 * then.  Some are asked twice: the same request adds nothing.  A member that is started during the
 * walk is asked at its start, whether the walk comes to it or not. */
static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_scope         *scope = scope_of(op);
    struct unr_scope_private *s = &scope->private_fields;
    unri_record_request(op, request, true);
    unri_add_request(&s->requested, &s->several_causes, request);
    uint32_t moves;
    do {
        moves = s->moves;
        for (size_t i = 0; i < s->room && moves == s->moves; i++)
            request_member(s, s->members[i].op, request);
    } while (moves != s->moves);
    end_if_over(scope);
    return true;
}

static void scope_start(struct unr_op *op)
{
    end_if_over(scope_of(op));
}

/* A scope takes members, so a request that was made before its start does not keep it from
 * beginning; the request is remembered for the members.  On a closing loop nothing begins (rule
 * 10, Close), and the scope ends UNSUBMITTED. */
static bool start_with_request(struct unr_op *op, struct unr_cancel_request asked)
{
    if (op->private_fields.loop->closing) {
        unri_end_unsubmitted(op, asked);
        return true;
    }
    return handle_request(op, asked);
}

/* Removes a member that has ended, and returns its own `done`. */
static unr_done_fn *remove_member(struct unr_scope_private *s, const struct unr_op *op)
{
    struct unr_scope_member *member = find_place(s, op);
    unr_done_fn             *done = member->done;
    if (!member->op) { /* unr_scope_start() had no memory for it, and kept its `done` elsewhere */
        s->failing--;
        return (unr_done_fn *)(uintptr_t)op->private_fields.address;
    }
    bool honoured = member->honoured_scope;
    s->cancelled |= unri_was_ended_by(op, honoured, &s->requested, s->several_causes);
    free_place(s, member);
    give_back_room(s);
    return done;
}

/* Hands a member back to its own `done`, as an operation that was never in a scope.
 *
 * The member is out of the table before its `done` runs, which may free it or start it again, in
 * this scope too (rule 1, Once).  The scope outlives that `done` even if it is closed and this was
 * its last member: `busy` keeps it.  It then ends in the same turn. */
static void child_done(struct unr_op *combinator, struct unr_op *op)
{
    struct unr_scope         *scope = scope_of(combinator);
    struct unr_scope_private *s = &scope->private_fields;
    unri_private(op)->done = remove_member(s, op);
    unri_clear_flags(op, UNRI_CHILD);
    s->ended++;
    s->weakest = (uint8_t)unri_weaker_guarantee(s->weakest, &op->result);
    s->busy = true;
    unri_hand_back(combinator->private_fields.loop, op);
    s->busy = false;
    end_if_over(scope);
}

static const struct unri_combinator combinator = {
    .child_done = child_done,
    .handle_request = handle_request,
    .start_with_request = start_with_request,
};

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "scope",
    .start = scope_start,
    .private_fields = { .kind = UNRI_COMBINATOR, .combinator = &combinator },
};

struct unr_op *unr_scope(struct unr_scope *scope)
{
    struct unr_scope_private *s = &scope->private_fields;
    unr_describe(&scope->op, &type);
    s->requested = (struct unr_cancel_request){ 0 };
    s->members = s->inline_members;
    for (unsigned i = 0; i < UNR_SCOPE_INLINE; i++)
        s->inline_members[i] = (struct unr_scope_member){ 0 };
    s->room = UNR_SCOPE_INLINE;
    s->count = 0;
    s->ended = 0;
    s->moves = 0;
    s->weakest = UNR_CANCEL_TOTAL;
    s->failing = 0;
    s->closed = s->cancelled = s->busy = s->several_causes = false;
    return &scope->op;
}

/* Ends a member that has no place in the table with -ENOMEM.  Its `done` is kept with the
 * arguments of the operation, which never began and needs them no more; but only after
 * unri_fail_child(), to which they say what the child of a wrapper is. */
static void fail_member(struct unr_scope *scope, struct unr_op *described, unr_done_fn *done)
{
    scope->private_fields.failing++;
    unri_fail_child(&scope->op, described, -ENOMEM);
    unri_private(described)->address = (uintptr_t)done;
}

/* Starts a member that has a place in the table.  Its start may run code of the caller's that
 * starts further members, so it is looked up again afterwards. */
static void start_member(struct unr_scope *scope, struct unr_op *described)
{
    struct unr_scope_private *s = &scope->private_fields;
    if (unri_start_child(&scope->op, described, s->requested))
        find_place(s, described)->honoured_scope = true;
}

void unr_scope_start(struct unr_scope *scope, struct unr_op *described, unr_done_fn *done,
                     void *data)
{
    struct unr_scope_private *s = &scope->private_fields;
    struct unr_op_private    *p = unri_private(&scope->op);
    bool                      over = !unri_live(&scope->op) || p->state == UNRI_FINISHED;
    if (over && p->loop && p->loop == unri_loop_closing) { /* else it may be freed */
        unr_start(p->loop, described, done, data); /* ends at once, as everything that starts now */
        return;
    }
    if (over)
        unri_broken("started in a scope that is not in flight", described,
                    "a scope takes operations from its start until it is closed and empty");
    unri_check_thread(p->loop);
    unri_hold(described);
    described->data = data;
    /* A start counts no child, but this child's `done` is the caller's, and is counted off. */
    p->loop->in_flight++;
    if (!make_room(s)) {
        fail_member(scope, described, done);
        return;
    }
    *find_place(s, described) = (struct unr_scope_member){ .op = described, .done = done };
    s->count++;
    start_member(scope, described);
}

/* A scope that is closed before its start ends in its start. */
void unr_scope_close(struct unr_scope *scope)
{
    bool live = unri_live(&scope->op);
    if (live)
        unri_check_thread(scope->op.private_fields.loop);
    scope->private_fields.closed = true;
    if (live)
        end_if_over(scope);
}
