/* SPDX-License-Identifier: MIT */
/* Cancel scopes: entered, asked by themselves, left.  How requests from outside pass through them
 * is in level.c.
 *
 * The deadline of a scope waits among the loop's timers.  It is no operation in flight: its type
 * has only `due`, and the operation that the timer is has the scope's cancellation state behind it.
 */
#include "cancel_scope.h"
#include "../core/cancel.h"
#include "../core/clock.h"
#include "../core/contract.h"
#include "../core/op.h"
#include "../core/type.h"
#include "../loop/timer.h"

static_assert(sizeof(struct unr_cancel_scope) <= 288, "");
static_assert(offsetof(struct unr_cancel_scope, private_fields.state) == sizeof(struct unr_op), "");

static struct unr_cancel_scope *scope_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_cancel_scope, private_fields.timer.op);
}

static struct unr_loop *loop_of(const struct unr_cancel_scope *scope)
{
    return scope->private_fields.fiber->op.private_fields.loop;
}

/* ---- its own requests ---- */

void unri_cancel_scope_request(struct unr_cancel_scope *scope, struct unr_cancel_request request)
{
    struct unr_cancel_scope_private *s = &scope->private_fields;
    if (!s->own.types)
        s->own.cause = request.cause;
    s->own.types |= request.types;
    unri_cancel_state_record(&s->state, request);
    unri_fiber_pass_on(s->fiber, scope, request.types, request.cause);
}

bool unr_cancel_scope_cancel(struct unr_cancel_scope *scope, unsigned types, int cause)
{
    unri_check_request(types, cause);
    if (!scope->private_fields.fiber)
        return false;
    unri_check_thread(loop_of(scope));
    unri_cancel_scope_request(scope, (struct unr_cancel_request){ types, cause });
    return true;
}

static void due(struct unr_op *op)
{
    unri_cancel_scope_request(scope_of(op),
                              (struct unr_cancel_request){ UNR_CANCEL_ALL, -ETIMEDOUT });
}

/* ---- entering ---- */

/* What the levels further out would request of the next await. */
static struct unr_cancel_request from_outside(struct unr_fiber        *fiber,
                                              struct unr_cancel_scope *outer)
{
    return unri_cancel_state_preempting(unri_fiber_state_at(fiber, outer));
}

/* The children of a nursery are asked as well: those that it has, and with that all later ones. */
static void ask_children(struct unr_cancel_scope *scope, struct unr_cancel_request request)
{
    struct unr_cancel_scope_private *s = &scope->private_fields;
    request.types = unri_cancel_state_let_out(&s->state, request.types);
    if (request.types)
        unri_request(s->children, request);
}

static void let_outside_in(struct unr_cancel_scope *scope)
{
    struct unr_cancel_scope_private *s = &scope->private_fields;
    if (s->is_shield)
        return;
    struct unr_cancel_request asked = from_outside(s->fiber, s->outer);
    if (!asked.types)
        return;
    asked.types = unri_cancel_state_let_in(&s->state, asked);
    if (asked.types && s->children)
        ask_children(scope, asked);
}

static void state_was_reset(struct unr_op *owner)
{
    struct unr_cancel_scope *scope = scope_of(owner);
    if (!scope->private_fields.fiber)
        return;
    let_outside_in(scope);
    if (scope->private_fields.own.types)
        unri_cancel_state_record(&scope->private_fields.state, scope->private_fields.own);
}

void unri_cancel_scopes_forget(struct unr_fiber *fiber)
{
    struct unr_cancel_scope *scope = fiber->private_fields.outermost;
    for (; scope; scope = scope->private_fields.inner) {
        unri_cancel_state_forget(&scope->private_fields.state);
        state_was_reset(&scope->private_fields.timer.op);
    }
}

static const struct unri_combinator combinator = { .due = due, .state_was_reset = state_was_reset };

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "cancel scope",
    .private_fields = { .kind = UNRI_COMBINATOR, .combinator = &combinator },
};

static void enter(struct unr_cancel_scope *scope, struct unr_op *children, bool is_shield)
{
    struct unr_cancel_scope_private *s = &scope->private_fields;
    struct unr_fiber *fiber = unri_fiber_check("a cancel scope entered outside of a fiber");
    *scope = (struct unr_cancel_scope){ 0 };
    unr_describe(&s->timer.op, &type);
    unri_private(&s->timer.op)->loop = fiber->op.private_fields.loop;
    unri_timer_set(&s->timer, UNR_NEVER, false);
    unri_cancel_state_init(&s->state, &s->timer.op);
    s->outer = fiber->private_fields.innermost;
    s->fiber = fiber;
    s->children = children;
    s->is_shield = is_shield;
    let_outside_in(scope);
    if (s->outer)
        s->outer->private_fields.inner = scope;
    else
        fiber->private_fields.outermost = scope;
    fiber->private_fields.innermost = scope;
}

void unri_cancel_scope_enter(struct unr_cancel_scope *scope, struct unr_op *children)
{
    enter(scope, children, false);
}

/* ---- the deadline ---- */

/* Takes the deadline of a scope away. */
static void stop_timer(struct unr_cancel_scope *scope)
{
    struct unr_timer *timer = &scope->private_fields.timer;
    if (unri_timer_waits(timer))
        unri_timer_remove(loop_of(scope), timer);
    timer->deadline = UNR_NEVER;
}

/* A deadline that has come already is requested at once: the next await is pre-empted. */
static bool set_timer(struct unr_cancel_scope *scope, unr_time when)
{
    struct unr_timer *timer = &scope->private_fields.timer;
    struct unr_loop  *loop = loop_of(scope);
    if (when == UNR_NEVER) {
        stop_timer(scope);
        return true;
    }
    bool has_come = when <= unri_loop_time(loop);
    if (unri_timer_waits(timer) && !has_come)
        return unri_timer_move(loop, timer, when);
    stop_timer(scope);
    unri_timer_set(timer, when, false);
    if (has_come) {
        due(&timer->op);
        return true;
    }
    bool inserted = unri_timer_insert(loop, timer, UNR_NEVER);
    if (inserted)
        unri_notice(loop);
    else
        timer->deadline = UNR_NEVER;
    return inserted;
}

/* Sets the deadline of a scope, which is to end then in any case. */
static void end_at(struct unr_cancel_scope *scope, unr_time when)
{
    if (!set_timer(scope, when))
        unri_cancel_scope_request(scope, (struct unr_cancel_request){ UNR_CANCEL_ALL, -ENOMEM });
}

static unr_time after(unr_time delay)
{
    return delay == UNR_NEVER ? UNR_NEVER : unri_sum(unr_loop_now(unr_fiber_loop()), delay);
}

void unr_cancel_scope_enter(struct unr_cancel_scope *scope)
{
    enter(scope, NULL, false);
}

void unr_cancel_scope_enter_at(struct unr_cancel_scope *scope, unr_time when)
{
    enter(scope, NULL, false);
    end_at(scope, when);
}

void unr_cancel_scope_enter_after(struct unr_cancel_scope *scope, unr_time delay)
{
    enter(scope, NULL, false);
    end_at(scope, after(delay));
}

/* When the shields around a scope end. */
static unr_time end_of_shields(const struct unr_cancel_scope *scope)
{
    unr_time                       end = UNR_NEVER;
    const struct unr_cancel_scope *outer = scope;
    while ((outer = outer->private_fields.outer) != NULL)
        if (outer->private_fields.is_shield && outer->private_fields.timer.deadline < end)
            end = outer->private_fields.timer.deadline;
    return end;
}

void unr_cancel_scope_enter_shield(struct unr_cancel_scope *scope, unr_time grace)
{
    enter(scope, NULL, true);
    unr_time when = after(grace), end = end_of_shields(scope);
    end_at(scope, when < end ? when : end);
}

static bool deadline_has_passed(const struct unr_cancel_scope *scope)
{
    const struct unr_timer *timer = &scope->private_fields.timer;
    return !unri_timer_waits(timer) && timer->deadline != UNR_NEVER;
}

/* The shields further in end no later: at once, where there is no memory for their timers. */
static void end_inner_shields(struct unr_cancel_scope *scope, unr_time when)
{
    struct unr_cancel_scope *inner = scope;
    while ((inner = inner->private_fields.inner) != NULL)
        if (inner->private_fields.is_shield && inner->private_fields.timer.deadline > when
            && !deadline_has_passed(inner))
            end_at(inner, when);
}

bool unr_cancel_scope_move(struct unr_cancel_scope *scope, unr_time when)
{
    struct unr_cancel_scope_private *s = &scope->private_fields;
    if (!s->fiber)
        return false;
    unri_check_thread(loop_of(scope));
    if (deadline_has_passed(scope))
        return false;
    if (s->is_shield) {
        unr_time end = end_of_shields(scope);
        when = when < end ? when : end;
    }
    if (!set_timer(scope, when))
        return false;
    if (s->is_shield)
        end_inner_shields(scope, when);
    return true;
}

/* ---- leaving ---- */

bool unri_cancel_scope_explains(const struct unr_cancel_scope *scope, int error)
{
    const struct unr_cancel_scope_private *s = &scope->private_fields;
    if (error == -ECANCELED || (s->own.types && error == s->own.cause))
        return true;
    struct unr_cancel_request outside = from_outside(s->fiber, s->outer);
    return outside.types && error == outside.cause;
}

int unr_cancel_scope_leave(struct unr_cancel_scope *scope, int error)
{
    struct unr_cancel_scope_private *s = &scope->private_fields;
    struct unr_fiber *fiber = unri_fiber_check("a cancel scope left outside of a fiber");
    if (unlikely(fiber->private_fields.innermost != scope))
        unri_broken("a cancel scope left out of order, or by another fiber", &fiber->op,
                    "the cancel scope that was entered last is left first");
    if (unri_timer_waits(&s->timer))
        unri_timer_remove(loop_of(scope), &s->timer);
    fiber->private_fields.innermost = s->outer;
    if (s->outer)
        s->outer->private_fields.inner = NULL;
    else
        fiber->private_fields.outermost = NULL;
    s->fiber = NULL;
    struct unr_cancel_request outside = from_outside(fiber, s->outer);
    bool by_own = s->own.types && (error == -ECANCELED || error == s->own.cause);
    bool by_outside = outside.types && (error == -ECANCELED || error == outside.cause);
    if (outside.types)
        return by_own || by_outside ? -ECANCELED : error;
    s->caught = by_own;
    if (!by_own)
        return error;
    return s->own.cause == -ECANCELED ? 0 : s->own.cause;
}

int unr_cancel_scope_cause(const struct unr_cancel_scope *scope)
{
    return scope->private_fields.own.cause;
}

bool unr_cancel_scope_caught(const struct unr_cancel_scope *left)
{
    return left->private_fields.caught;
}
