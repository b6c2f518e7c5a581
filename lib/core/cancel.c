/* SPDX-License-Identifier: MIT */
/* What becomes of a request to cancel an operation, wherever it comes from: unr_cancel(), the slot,
 * unr_cancel_fd(), a combinator, the closing of the loop.  It is or-ed to what was asked before,
 * and honoured if the operation supports one of its types; the type then hears of it once. */
#include "cancel.h"
#include "contract.h"
#include "life.h"
#include "signal.h"
#include "type.h"

/* ---- the result keeps what was asked ---- */

/* Rule 2: between completion and `done` it is too late, which is worth knowing unless more is
 * known. */
static void record_late_request(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_result *r = &op->result;
    r->requested |= (uint8_t)request.types;
    if (r->verdict == UNR_VERDICT_NONE || r->verdict == UNR_VERDICT_REFUSED) {
        r->verdict = UNR_VERDICT_TOO_LATE;
        r->cause = request.cause;
    }
}

/* Rule 5: a request that is honoured replaces those that were refused before, and is the one that
 * the result's cause and verdict tell of; later ones only add their types. */
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

/* What an operation makes of a request: it supports none of the types; it honours the request and
 * has been told of all of them before; it honours it, and the type is yet to hear of one of them.
 */
enum answer { REFUSES, HONOURED_BEFORE, HONOURS };

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

void unri_tell_type(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_op_private *p = unri_private(op);
    if (p->state != UNRI_QUEUED)
        unri_set_op_state(op, UNRI_CANCELLING);
    op->type->cancel(op, request);
    unri_notice(p->loop);
}

/* The operation whose shot is in its `done`: its type hears of the request when that has returned.
 */
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

bool unri_request(struct unr_op *op, struct unr_cancel_request request)
{
    if (!unri_live(op))
        return false;
    struct unr_loop              *loop = op->private_fields.loop;
    const struct unri_combinator *combinator = unri_combinator_of(op);
    loop->stats.cancels_asked++;
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

/* Whether a request was honoured already: for a wrapper its child knows, if it does not. */
static bool has_honoured(const struct unr_op *op)
{
    while (unri_is_wrapper(op) && !(op->private_fields.flags & UNRI_HONOURED))
        op = unri_child(op);
    return op->private_fields.flags & UNRI_HONOURED;
}

bool unri_request_first(struct unr_op *op, struct unr_cancel_request request, bool *ret_first)
{
    bool is_open = unri_live(op) && op->private_fields.state != UNRI_FINISHED && !has_honoured(op);
    bool honoured = unri_request(op, request);
    *ret_first = honoured && is_open;
    return honoured;
}

bool unr_cancel_cause(struct unr_op *op, unsigned types, int cause)
{
    unri_check_request(types, cause);
    if (!unri_live(op))
        return false;
    unri_check_thread(op->private_fields.loop);
    unri_request(op, (struct unr_cancel_request){ types, cause });
    return true;
}

bool unr_cancel(struct unr_op *op, unsigned types)
{
    return unr_cancel_cause(op, types, -ECANCELED);
}

unsigned unri_request_fd(struct unr_loop *loop, int fd, struct unr_cancel_request request,
                         const struct unr_op *except)
{
    unsigned count = 0;
    for (struct unr_op *op = NULL; (op = unri_peers_next(&loop->descriptors, fd, op)) != NULL;)
        if (op != except && !(op->private_fields.flags & UNRI_HOUSEKEEPING)) {
            count += unri_live(op);
            unri_request(op, request);
        }
    return count;
}

unsigned unr_cancel_fd(struct unr_loop *loop, int fd, unsigned types)
{
    const struct unr_cancel_request request = { types, -ECANCELED };
    unri_check_thread(loop);
    unri_check_request(types, request.cause);
    return fd < 0 ? 0 : unri_request_fd(loop, fd, request, NULL);
}

/* ---- through the slot, and before the start ---- */

static void requested_through_slot(void *context, struct unr_cancel_request request)
{
    struct unr_op *op = context;
    unri_check_thread(op->private_fields.loop);
    unri_request(op, request);
}

void unri_enter_slot(struct unr_op *op)
{
    unr_slot_assign(op->private_fields.slot, requested_through_slot, op);
}

/* The slot may have been given another handler meanwhile, which stays. */
void unri_leave_slot(struct unr_op *op)
{
    struct unr_slot *slot = op->private_fields.slot;
    if (slot->handler == requested_through_slot && slot->context == op)
        unr_slot_clear(slot);
}

/* Rules 6 and 10.  The cause is that of the first request which the operation honours; if it
 * honours none, the first one's. */
struct unr_cancel_request unri_collect_requests(const struct unr_loop    *loop,
                                                const struct unr_op      *op,
                                                struct unr_cancel_request asked)
{
    unsigned supports = unri_own_supports(op);
    if (loop->closing && supports && !(op->private_fields.flags & UNRI_HOUSEKEEPING))
        asked = (struct unr_cancel_request){ UNR_CANCEL_ALL, -ESHUTDOWN };
    if (!op->private_fields.slot)
        return asked;
    struct unr_cancel_request latched = unri_slot_latched(op->private_fields.slot);
    if (!asked.types || (!(asked.types & supports) && latched.types & supports))
        asked.cause = latched.cause;
    asked.types |= latched.types;
    return asked;
}
