/* SPDX-License-Identifier: MIT */
/* What becomes of a request to cancel an operation, wherever it comes from: unr_cancel(), the slot,
 * unr_cancel_fd(), a combinator, the closing of the loop.  It is or-ed to the requests before, and
 * honoured if the operation supports one of its types; the type is told of it once.
 *
 * How the cancel of a system call goes to the kernel is in uring/cancel.c; how combinators ask
 * their children is in lib/combine/. */
#include "cancel.h"
#include "contract.h"
#include "fiber_running.h"
#include "life.h"
#include "op.h"
#include "refusal.h"
#include "signal.h"
#include "type.h"

/* ---- the result records requests ---- */

/* Rule 2, Slots: a request between completion and `done` is TOO_LATE.  A verdict that tells what
 * became of an earlier request says more, and stays; and so does the cause of what was cancelled,
 * though no request did it. */
static void record_late_request(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_result *r = &op->result;
    r->requested |= (uint8_t)request.types;
    if (r->verdict == UNR_VERDICT_NONE || r->verdict == UNR_VERDICT_REFUSED) {
        r->verdict = UNR_VERDICT_TOO_LATE;
        if (!unri_was_cancelled(r))
            r->cause = request.cause;
    }
}

/* Records a request in `r`, the operation's result or, during a shot, what that will be again.
 *
 * Rule 5, Guarantees: types are or-ed and never erased.  Cause and verdict tell of the first
 * request that is honoured, and later ones only add their types; until then they tell of the last
 * that was refused. */
static void record_in(struct unr_result *r, struct unr_op *op, struct unr_cancel_request request,
                      bool honoured)
{
    struct unr_op_private *p = unri_private(op);
    r->requested |= (uint8_t)request.types;
    if (p->flags & UNRI_HONOURED)
        return;
    if (honoured)
        p->flags |= UNRI_HONOURED;
    r->verdict = honoured ? UNR_VERDICT_NONE : UNR_VERDICT_REFUSED;
    r->cause = request.cause;
}

void unri_record_request(struct unr_op *op, struct unr_cancel_request request, bool honoured)
{
    record_in(&op->result, op, request, honoured);
    if (honoured && op->private_fields.state == UNRI_IN_FLIGHT)
        unri_set_op_state(op, UNRI_CANCELLING);
}

/* How an operation answers a request. */
enum answer {
    REFUSES,         /* it supports none of the types */
    HONOURED_BEFORE, /* it honours the request, and its type was told the same before */
    HONOURS,         /* it honours the request, and its type is to be told */
};

/* Decides how an operation answers a request, and records request and answer in `r`.  What its type
 * was told of is read first, because recording adds to it.  Before the first request that is
 * honoured, the type was told of nothing. */
static enum answer decide_on_request(struct unr_op *op, struct unr_result *r,
                                     struct unr_cancel_request request)
{
    unsigned honoured = request.types & unri_own_supports(op);
    unsigned told = op->private_fields.flags & UNRI_HONOURED ? r->requested : 0;
    record_in(r, op, request, honoured);
    if (!honoured)
        return REFUSES;
    return honoured & ~told ? HONOURS : HONOURED_BEFORE;
}

/* ---- a request arrives ---- */

void unri_count_request(struct unr_loop *loop, struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    if (p->flags & UNRI_HOUSEKEEPING)
        return;
    loop->stats.cancels_asked++;
    if (unlikely(p->flags & UNRI_ASKED))
        loop->stats.cancels_added++;
    p->flags |= UNRI_ASKED;
}

/* Apart from the rest, which keeps its few instructions. */
__attribute__((noinline, cold)) static void tell_outside_of_fiber(struct unr_op            *op,
                                                                  struct unr_cancel_request request)
{
    struct unr_op *left = unri_leave_fiber();
    op->type->cancel(op, request);
    unri_return_to_fiber(left);
}

void unri_tell_type(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_op_private *p = unri_private(op);
    if (p->state != UNRI_QUEUED)
        unri_set_op_state(op, UNRI_CANCELLING);
    if (unlikely(unri_running != NULL))
        tell_outside_of_fiber(op, request);
    else
        op->type->cancel(op, request);
    unri_notice(p->loop);
}

/* Makes a request to the operation whose shot is in its `done`.  Its type is told when that `done`
 * has returned, because its result is the caller's to read until then: unri_run_shot(). */
static bool request_during_shot(struct unr_loop *loop, struct unr_op *op,
                                struct unr_cancel_request request)
{
    enum answer answer = decide_on_request(op, &loop->shot.result, request);
    if (answer == HONOURS) {
        loop->shot.request.types |= request.types;
        loop->shot.request.cause = request.cause;
    }
    return answer != REFUSES;
}

/* The order of the cases matters.  Whatever its type, an operation that is FINISHED is told nothing
 * any more.  During a shot, a request must not touch the result.  And a combinator is asked before
 * types are compared, because it passes on every request, not new types alone: a child whose
 * cancellation state was reset honours the same types again. */
bool unri_request(struct unr_op *op, struct unr_cancel_request request)
{
    if (!unri_live(op))
        return false;
    struct unr_loop              *loop = op->private_fields.loop;
    const struct unri_combinator *combinator = unri_combinator_of(op);
    if (op->private_fields.state == UNRI_FINISHED) {
        record_late_request(op, request);
        return true;
    }
    if (loop->shot.op == op)
        return request_during_shot(loop, op, request);
    if (combinator && combinator->handle_request)
        return combinator->handle_request(op, request);
    enum answer answer = decide_on_request(op, &op->result, request);
    if (answer == HONOURS)
        unri_tell_type(op, request);
    return answer != REFUSES;
}

/* Tells whether an operation has honoured a request already.  Some wrappers record nothing while
 * their child is in flight, so their children are looked at. */
static bool has_honoured(const struct unr_op *op)
{
    while (unri_is_wrapper(op) && !(op->private_fields.flags & UNRI_HONOURED))
        op = unri_child(op);
    return op->private_fields.flags & UNRI_HONOURED;
}

bool unri_is_open(const struct unr_op *op)
{
    return unri_live(op) && op->private_fields.state != UNRI_FINISHED && !has_honoured(op);
}

/* Whether the operation was open to a first request is read before the request changes it. */
bool unri_request_first(struct unr_op *op, struct unr_cancel_request request, bool *ret_first)
{
    bool is_open = unri_is_open(op);
    bool honoured = unri_request(op, request);
    *ret_first = honoured && is_open;
    return honoured;
}

bool unri_has_ended(const struct unr_op *op)
{
    while (op->private_fields.state != UNRI_FINISHED && unri_is_wrapper(op))
        op = unri_child(op);
    return op->private_fields.state == UNRI_FINISHED;
}

bool unri_request_in_time(struct unr_op *op, struct unr_cancel_request request)
{
    bool is_live = unri_live(op), has_ended = is_live && unri_has_ended(op);
    if (is_live)
        unri_count_request(op->private_fields.loop, op);
    bool honoured = unri_request(op, request);
    if (unlikely(!honoured && is_live) && op->private_fields.loop->checks)
        unri_note_refusal(op);
    return honoured && !has_ended;
}

/* Apart from unr_cancel_cause(), which keeps its few instructions. */
__attribute__((noinline)) void unri_request_alone(struct unr_op            *op,
                                                  struct unr_cancel_request request)
{
    struct unr_loop *loop = op->private_fields.loop;
    if (!unri_request(op, request) && loop->checks)
        unri_tell_refused(op, request);
}

static inline bool cancel(struct unr_op *op, struct unr_cancel_request request)
{
    unri_check_request(request.types, request.cause);
    if (!unri_live(op))
        return false;
    unri_check_thread(op->private_fields.loop);
    unri_count_request(op->private_fields.loop, op);
    if (unlikely(op->private_fields.loop->checks != NULL))
        unri_request_alone(op, request);
    else
        unri_request(op, request);
    return true;
}

bool unr_cancel_cause(struct unr_op *op, unsigned types, int cause)
{
    return cancel(op, (struct unr_cancel_request){ types, cause });
}

bool unr_cancel(struct unr_op *op, unsigned types)
{
    return cancel(op, (struct unr_cancel_request){ types, -ECANCELED });
}

/* The walk may go on from an operation that was asked: a request takes none off the lists that it
 * finds there, which happens just before a `done`. */
unsigned unri_request_fd(struct unr_loop *loop, int fd, struct unr_cancel_request request,
                         const struct unr_op *closer)
{
    struct unri_refusal before = unri_take_refusal();
    unsigned            count = 0;
    for (struct unr_op *op = NULL; (op = unri_peers_next(&loop->descriptors, fd, op)) != NULL;)
        if (op != closer
            && (!(op->private_fields.flags & UNRI_HOUSEKEEPING)
                || (closer && unri_stands_for_structure(op))))
            count += unri_request_in_time(op, request);
    unri_tell_of_refusal(request, count, before);
    return count;
}

unsigned unr_cancel_fd(struct unr_loop *loop, int fd, unsigned types)
{
    const struct unr_cancel_request request = { types, -ECANCELED };
    unri_check_thread(loop);
    unri_check_request(types, request.cause);
    if (fd < 0)
        return 0;
    return unri_request_fd(loop, fd, request, NULL);
}

/* ---- through the slot, and before the start ---- */

static bool requested_through_slot(void *context, struct unr_cancel_request request)
{
    struct unr_op *op = context;
    unri_check_thread(op->private_fields.loop);
    return unri_request_in_time(op, request);
}

void unri_enter_slot(struct unr_op *op)
{
    unr_slot_assign(op->private_fields.slot, requested_through_slot, op);
}

/* Rule 2, Slots: a handler that somebody has put into the slot meanwhile stays there. */
void unri_leave_slot(struct unr_op *op)
{
    struct unr_slot *slot = op->private_fields.slot;
    if (slot->handler == requested_through_slot && slot->context == op)
        unr_slot_clear(slot);
}

/* Rule 6, Before it begins: what was requested before the start is made into one request at the
 * start. `asked` comes from a combinator that passes on what was requested of it; then comes what
 * the latched signal of the slot has latched.  The types are or-ed.  The cause is that of the first
 * of the two which the operation honours; if it honours neither, that of the first.
 *
 * Rule 10, Close: a closing loop requests ALL of everything that starts, in place of `asked`.  It
 * requests nothing of an operation that supports NONE, which therefore runs. */
struct unr_cancel_request unri_collect_requests(struct unr_loop *loop, struct unr_op *op,
                                                struct unr_cancel_request asked)
{
    unsigned supports = unri_own_supports(op);
    if (loop->closing && supports && !(op->private_fields.flags & UNRI_HOUSEKEEPING)) {
        if (!asked.types) /* else its combinator was asked, and counts */
            unri_count_request(loop, op);
        asked = (struct unr_cancel_request){ UNR_CANCEL_ALL, -ESHUTDOWN };
    }
    if (!op->private_fields.slot)
        return asked;
    struct unr_cancel_request latched = unri_slot_latched(op->private_fields.slot);
    if (latched.types)
        unri_count_request(loop, op);
    if (!asked.types || (!(asked.types & supports) && latched.types & supports))
        asked.cause = latched.cause;
    asked.types |= latched.types;
    return asked;
}
