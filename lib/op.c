/* The life of one operation: described, bound, started, asked to cancel, ended, handed back.  What happens in between
 * is its type's affair: uring/ for system calls, timer.c, or a caller's own. */
#include "kernel.h"

static_assert(sizeof(struct unr_op) == 128, "two cache lines");
static_assert(sizeof(struct unr_result) == 24, "");

const char *unri_name(const struct unr_op *op)
{
    bool was_described = op->private_fields.state == UNRI_IDLE || op->private_fields.state == UNRI_DESCRIBED
                         || op->private_fields.state == UNRI_HELD || unri_live(op);
    if (!was_described || !op->type)
        return "an operation that was never described";
    const char *own = op->type->name_of ? op->type->name_of(op) : NULL;
    return own ? own : op->type->name;
}

/* ---- describe ---- */

struct unr_op *unr_describe(struct unr_op *op, const struct unr_op_type *type)
{
    if (__builtin_expect(unri_live(op), 0))
        unri_broken("described while it is in flight", op, "an operation is unring's from start until its done");
    /* Field by field: what start sets is left, and the compiler's way to zero the whole costs more than all of this. */
    struct unr_op_private *p = unri_private(op);
    op->result = (struct unr_result){ .fd = -1 };
    op->type = type;
    p->slot = NULL;
    p->peer_at = NULL;
    p->state = UNRI_DESCRIBED;
    p->flags = 0;
    p->supports = (uint8_t)type->supports;
    p->attempts = 0;
    return op;
}

struct unr_op *unr_bind(struct unr_op *described, struct unr_slot *slot)
{
    uint32_t state = described->private_fields.state;
    if (__builtin_expect(state != UNRI_DESCRIBED && state != UNRI_HELD, 0))
        unri_broken("bound to a slot though it is not described", described, "describe, bind, then start");
    described->private_fields.slot = slot;
    return described;
}

unsigned unr_supports(const struct unr_op *op)
{
    return op->private_fields.supports;
}

bool unr_in_flight(const struct unr_op *op)
{
    return unri_live(op);
}

struct unr_loop *unr_loop_of(const struct unr_op *started)
{
    return started->private_fields.loop;
}

int unr_outcome(const struct unr_result *result)
{
    return result->error == -ECANCELED && result->cause ? result->cause : result->error;
}

/* ---- end ---- */

/* What is being handed back its last child or member ends in the same turn as that; everything else in the next. */
static void finished(struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    struct unri_fifo      *fifo = op == p->loop->handed_to ? &p->loop->handing_back : &p->loop->finished;
    unri_set_state(op, UNRI_FINISHED);
    p->next = NULL;
    if (fifo->last)
        fifo->last->private_fields.next = op;
    else
        fifo->first = op;
    fifo->last = op;
    if (unri_outside_turn(p->loop))
        unri_embed_notice(p->loop);
}

void unri_end_unsubmitted(struct unr_op *op, struct unr_request request)
{
    struct unr_result *r = &op->result;
    r->error = -ECANCELED;
    r->cause = request.cause;
    r->bytes = 0;
    r->fd = -1;
    r->requested |= (uint8_t)request.types;
    r->guarantee = UNR_CANCEL_TOTAL;
    r->verdict = UNR_VERDICT_UNSUBMITTED;
    unri_private(op)->flags |= UNRI_HONOURED;
    finished(op);
}

void unri_end(struct unr_op *op, int error)
{
    struct unr_result     *r = &op->result;
    struct unr_op_private *p = unri_private(op);
    r->error = error;
    if (error == -ECANCELED) {
        if (!r->guarantee)
            r->guarantee = (uint8_t)unri_strongest(p->supports);
        if (p->flags & UNRI_HONOURED)
            r->verdict = UNR_VERDICT_CANCELLED;
        else
            r->cause = -ECANCELED; /* a caller's own type passes on what only its child was asked for */
    } else {
        r->guarantee = UNR_CANCEL_NONE;
        if (p->flags & UNRI_HONOURED && r->verdict != UNR_VERDICT_RUNNING)
            r->verdict = UNR_VERDICT_TOO_LATE;
    }
    finished(op);
}

void unri_end_cancelled(struct unr_op *op, int cause, unsigned verdict)
{
    unri_end(op, -ECANCELED);
    op->result.cause = cause;
    op->result.verdict = (uint8_t)verdict;
}

void unri_end_as(struct unr_op *op, const struct unr_result *inner)
{
    struct unr_result asked = op->result;
    op->result = *inner;
    op->result.requested |= asked.requested;
    if (inner->verdict == UNR_VERDICT_NONE) {
        op->result.verdict = asked.verdict;
        op->result.cause = asked.cause;
    }
    finished(op);
}

void unr_finish(struct unr_op *started, int error)
{
    const struct unr_op_private *p = &started->private_fields;
    if ((p->state != UNRI_IN_FLIGHT && p->state != UNRI_CANCELLING) || started->type->private_row
        || started->type->private_holder || unri_is_timer(started))
        unri_broken("finished though it is not in flight", started,
                    "unr_finish is called once for each start, for operations of a caller's own type");
    unri_check_thread(p->loop);
    if (error > 0)
        unri_broken("finished with a positive error", started, "an error is 0 or a negative errno");
    unri_end(started, error);
}

/* ---- request ---- */

/* Rule 2: between completion and `done` it is too late, which is worth knowing unless more is known. */
static void late_request(struct unr_op *op, struct unr_request request)
{
    struct unr_result *r = &op->result;
    r->requested |= (uint8_t)request.types;
    if (r->verdict == UNR_VERDICT_NONE || r->verdict == UNR_VERDICT_REFUSED) {
        r->verdict = UNR_VERDICT_TOO_LATE;
        r->cause = request.cause;
    }
}

/* Or-s a request into what was asked before.  True if the operation honours it and has not been told of all its
 * types yet. */
static bool take_note(struct unr_op *op, struct unr_result *r, struct unr_request request)
{
    struct unr_op_private *p = unri_private(op);
    unsigned               honoured = request.types & p->supports;
    unsigned               known = op->type->private_row ? (p->flags & UNRI_HONOURED ? r->requested : 0) : p->told;

    r->requested |= (uint8_t)request.types;
    if (!honoured) {
        if (!(p->flags & UNRI_HONOURED)) {
            r->verdict = UNR_VERDICT_REFUSED;
            r->cause = request.cause;
        }
        return false;
    }
    if (!(p->flags & UNRI_HONOURED)) {
        p->flags |= UNRI_HONOURED;
        r->verdict = UNR_VERDICT_NONE;
        r->cause = request.cause;
    }
    if (!op->type->private_row)
        p->told |= (uint8_t)honoured;
    return (honoured & ~known) != 0;
}

/* Passes on to the type what was taken note of. */
static void pass_on(struct unr_op *op, struct unr_request request)
{
    struct unr_op_private *p = unri_private(op);
    if (p->state != UNRI_QUEUED)
        unri_set_state(op, UNRI_CANCELLING);
    op->type->cancel(op, request);
    if (unri_outside_turn(p->loop))
        unri_embed_notice(p->loop);
}

bool unri_request(struct unr_op *op, struct unr_request request)
{
    if (!unri_live(op))
        return false;
    struct unr_loop *loop = op->private_fields.loop;
    loop->stats.cancels_asked++;
    if (op->private_fields.state == UNRI_FINISHED) {
        late_request(op, request);
    } else if (loop->shot == op) {
        if (take_note(op, &loop->shot_saved, request)) {
            loop->shot_request.types |= request.types;
            loop->shot_request.cause = request.cause;
        }
    } else if (take_note(op, &op->result, request)) {
        pass_on(op, request);
    }
    return true;
}

bool unr_cancel_cause(struct unr_op *op, unsigned types, int cause)
{
    unri_check_request(types, cause);
    if (!unri_live(op))
        return false;
    unri_check_thread(op->private_fields.loop);
    return unri_request(op, (struct unr_request){ types, cause });
}

bool unr_cancel(struct unr_op *op, unsigned types)
{
    return unr_cancel_cause(op, types, -ECANCELED);
}

/* What an operation puts into its slot. */
static void requested_through_slot(void *context, struct unr_request request)
{
    struct unr_op *op = context;
    unri_check_thread(op->private_fields.loop);
    unri_request(op, request);
}

/* ---- start ---- */

/* Rules 6 and 10: the request that ends the operation before it begins; types 0 if there is none. */
static struct unr_request asked_before_it_began(struct unr_loop *loop, struct unr_op *op, struct unr_request asked)
{
    struct unr_op_private *p = unri_private(op);
    struct unr_request     honoured = { 0 };
    if (loop->closing && p->supports && !(p->flags & UNRI_HOUSEKEEPING))
        asked = (struct unr_request){ UNR_CANCEL_ALL, -ESHUTDOWN };
    else if (asked.types)
        loop->stats.cancels_asked++;
    if (asked.types && take_note(op, &op->result, asked))
        honoured = asked;
    if (!p->slot)
        return honoured;
    unr_slot_assign(p->slot, requested_through_slot, op);
    struct unr_request latched = unri_slot_latched(p->slot);
    if (!latched.types)
        return honoured;
    loop->stats.cancels_asked++;
    if (take_note(op, &op->result, latched) && !honoured.types)
        honoured = latched;
    return honoured;
}

static void count_start(struct unr_loop *loop, const struct unr_op *op)
{
    if (op->private_fields.flags & UNRI_HOUSEKEEPING)
        return;
    loop->stats.started++;
    if (!(op->private_fields.flags & UNRI_INNER))
        loop->in_flight++;
    if (__builtin_expect(loop->closing, 0) && loop->starts_left-- == 0)
        unri_broken("started over and over while its loop is being closed", op,
                    "what a closing loop reports as cancelled with -ESHUTDOWN is not to be started again");
}

/* What was asked of it before it began: it ends there, or passes it on to those that it holds. */
static void start_asked(struct unr_op *op, struct unr_request asked)
{
    const struct unri_holder *holder = unri_holder_of(op);
    if (!holder || !holder->start_asked) {
        unri_end_unsubmitted(op, asked);
        return;
    }
    unri_set_state(op, UNRI_IN_FLIGHT);
    unri_set_state(op, UNRI_CANCELLING);
    holder->start_asked(op, asked);
}

/* Whether the peers know it; the heap knows all timers. */
static bool is_listed(const struct unr_op *op)
{
    const struct unri_holder *holder = unri_holder_of(op);
    return holder ? !holder->is_wrapper : !unri_is_timer(op);
}

static void start(struct unr_loop *loop, struct unr_op *described, struct unr_request asked)
{
    struct unr_op_private *p = unri_private(described);
    described->result.error = (int)unri_turn_ms(loop);
    p->loop = loop;
    count_start(loop, described);
    bool is_row = described->type->private_row;
    if (is_row || is_listed(described))
        unri_peers_add(loop, described, is_row ? unri_row_descriptors(described) : 0);
    if (__builtin_expect(p->slot || loop->closing || asked.types, 0)) {
        asked = asked_before_it_began(loop, described, asked);
        if (asked.types) {
            start_asked(described, asked);
            return;
        }
    }
    if (!is_row)
        unri_set_state(described, UNRI_IN_FLIGHT);
    described->type->start(described);
    if (unri_outside_turn(loop))
        unri_embed_notice(loop);
}

_Noreturn static void not_described(const struct unr_op *op)
{
    if (op->private_fields.state == UNRI_HELD)
        unri_broken("started though a combinator holds it", op, "what was given to a combinator is started by that alone");
    unri_broken(unri_live(op) ? "started while it is in flight" : "started though it is not described", op,
                "an operation is described anew for each start");
}

void unr_start(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done, void *data)
{
    unri_check_thread(loop);
    if (__builtin_expect(described->private_fields.state != UNRI_DESCRIBED, 0))
        not_described(described);
    described->data = data;
    described->private_fields.done = done;
    start(loop, described, (struct unr_request){ 0 });
}

void unri_start_housekeeping(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done)
{
    described->data = loop;
    described->private_fields.done = done;
    described->private_fields.flags |= UNRI_HOUSEKEEPING;
    start(loop, described, (struct unr_request){ 0 });
}

void unri_start_failed(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done, int error)
{
    unri_set_state(described, UNRI_DESCRIBED);
    described->private_fields.loop = loop;
    described->private_fields.done = done;
    count_start(loop, described);
    unri_end(described, error);
}

/* ---- children and members ---- */

void unri_hold(struct unr_op *described)
{
    uint32_t state = described->private_fields.state;
    if (__builtin_expect(state == UNRI_HELD, 0))
        unri_broken("given to two combinators", described, "what was given to a combinator is started by that alone");
    if (__builtin_expect(state != UNRI_DESCRIBED, 0))
        not_described(described);
    unri_set_state(described, UNRI_HELD);
}

void unri_start_child(struct unr_op *holder, struct unr_op *child, struct unr_request asked)
{
    struct unr_op_private *p = unri_private(child);
    if (__builtin_expect(p->state != UNRI_HELD, 0))
        unri_broken("described anew though a combinator holds it", child,
                    "what was given to a combinator is that combinator's");
    unri_set_state(child, UNRI_DESCRIBED);
    p->holder = holder;
    p->flags |= UNRI_INNER;
    start(holder->private_fields.loop, child, asked);
}

/* ---- done ---- */

static void count_verdict(struct unr_stats *stats, unsigned verdict)
{
    switch (verdict) {
    case UNR_VERDICT_UNSUBMITTED: stats->cancels_unsubmitted++; break;
    case UNR_VERDICT_CANCELLED: stats->cancels_won++; break;
    case UNR_VERDICT_TOO_LATE: stats->cancels_too_late++; break;
    case UNR_VERDICT_RUNNING: stats->cancels_running++; break;
    case UNR_VERDICT_REFUSED: stats->cancels_refused++; break;
    default: break;
    }
}

/* Only the handler that is still the operation's own goes: the slot may have been given another meanwhile. */
static void leave_slot(struct unr_op *op)
{
    struct unr_slot *slot = op->private_fields.slot;
    if (slot->handler == requested_through_slot && slot->context == op)
        unr_slot_clear(slot);
}

void unri_hand_back(struct unr_loop *loop, struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    if (p->flags & UNRI_INNER) {
        struct unr_op *holder = p->holder;
        loop->handed_to = holder;
        unri_holder_of(holder)->child_done(holder, op);
        loop->handed_to = NULL;
        return;
    }
    if (!(p->flags & UNRI_HOUSEKEEPING)) {
        loop->in_flight--;
        loop->ran++;
    }
    if (p->done)
        p->done(op);
}

void unri_run_done(struct unr_loop *loop, struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    if (p->peer_at)
        unri_peers_remove(loop, op);
    if (p->slot)
        leave_slot(op);
    if (!(p->flags & UNRI_HOUSEKEEPING)) {
        loop->stats.finished++;
        if (__builtin_expect(op->result.verdict, 0))
            count_verdict(&loop->stats, op->result.verdict);
    }
    unri_set_state(op, UNRI_IDLE);
    unri_hand_back(loop, op);
}

void unri_run_shot(struct unr_loop *loop, struct unr_op *op, int res)
{
    struct unr_result     *r = &op->result;
    struct unr_op_private *p = unri_private(op);
    if (p->flags & UNRI_INNER)
        unri_broken("a shot of a multishot operation inside a combinator", op,
                    "a multishot operation may be bound to a slot, but is given to no combinator");
    if (!p->done)
        unri_broken("a shot of a multishot operation without a done", op, "what a shot owns has to reach somebody");
    loop->shot = op;
    loop->shot_saved = *r;
    loop->shot_request = (struct unr_request){ 0 };
    r->error = res < 0 ? res : 0;
    r->value = res < 0 ? 0 : res;
    r->fd = -1;
    r->flags = UNR_MORE;
    loop->ran++;
    p->done(op);
    loop->shot = NULL;
    *r = loop->shot_saved;
    if (loop->shot_request.types)
        pass_on(op, loop->shot_request);
}
