/* The life of one operation: described, bound, started, asked to cancel, ended, handed back.  What happens in between
 * is its type's affair: uring/ for system calls, timer.c, or a caller's own. */
#include "kernel.h"

static_assert(sizeof(struct unr_op) == 128, "two cache lines");
static_assert(sizeof(struct unr_result) == 24, "");

const char *unri_name(const struct unr_op *op)
{
    bool was_described = op->private_fields.state == UNRI_IDLE || op->private_fields.state == UNRI_DESCRIBED || unri_live(op);
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
    if (__builtin_expect(described->private_fields.state != UNRI_DESCRIBED, 0))
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

static uint8_t strongest(unsigned supports)
{
    for (unsigned type = UNR_CANCEL_TOTAL; type; type >>= 1)
        if (supports & type)
            return (uint8_t)type;
    return UNR_CANCEL_NONE;
}

static void finished(struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    struct unri_fifo      *fifo = &p->loop->finished;
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
            r->guarantee = strongest(p->supports);
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

void unr_finish(struct unr_op *started, int error)
{
    const struct unr_op_private *p = &started->private_fields;
    if ((p->state != UNRI_IN_FLIGHT && p->state != UNRI_CANCELLING) || started->type->private_row || unri_is_timer(started))
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
    unsigned               known = p->flags & UNRI_HONOURED ? r->requested : 0;

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

/* Rules 6 and 10: whether a request that was there before the operation ends it.  `done` runs in the next turn. */
static bool ended_before_it_began(struct unr_loop *loop, struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    if (loop->closing && p->supports && !(p->flags & UNRI_HOUSEKEEPING)) {
        unri_end_unsubmitted(op, (struct unr_request){ UNR_CANCEL_ALL, -ESHUTDOWN });
        return true;
    }
    if (!p->slot)
        return false;
    unr_slot_assign(p->slot, requested_through_slot, op);
    struct unr_request latched = unri_slot_latched(p->slot);
    if (!latched.types)
        return false;
    loop->stats.cancels_asked++;
    if (!take_note(op, &op->result, latched))
        return false;
    unri_end_unsubmitted(op, latched);
    return true;
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

void unri_start(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done, void *data, unsigned flags)
{
    struct unr_op_private *p = unri_private(described);
    unri_check_thread(loop);
    if (__builtin_expect(p->state != UNRI_DESCRIBED, 0))
        unri_broken(unri_live(described) ? "started while it is in flight" : "started though it is not described", described,
                    "an operation is described anew for each start");
    described->data = data;
    described->result.error = (int)unri_turn_ms(loop);
    p->loop = loop;
    p->done = done;
    p->flags |= (uint16_t)flags;
    count_start(loop, described);
    bool is_row = described->type->private_row;
    if (is_row || !unri_is_timer(described)) /* the heap knows all timers */
        unri_peers_add(loop, described, is_row ? unri_row_descriptors(described) : 0);
    if (__builtin_expect(p->slot || loop->closing, 0) && ended_before_it_began(loop, described))
        return;
    if (!is_row)
        unri_set_state(described, UNRI_IN_FLIGHT);
    described->type->start(described);
    if (unri_outside_turn(loop))
        unri_embed_notice(loop);
}

void unr_start(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done, void *data)
{
    unri_start(loop, described, done, data, 0);
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

void unri_run_done(struct unr_loop *loop, struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    unr_done_fn           *done = p->done;
    if (p->peer_at)
        unri_peers_remove(loop, op);
    if (p->slot)
        leave_slot(op);
    if (!(p->flags & UNRI_HOUSEKEEPING)) {
        loop->stats.finished++;
        if (__builtin_expect(op->result.verdict, 0))
            count_verdict(&loop->stats, op->result.verdict);
        if (!(p->flags & UNRI_INNER)) {
            loop->in_flight--;
            loop->ran++;
        }
    }
    unri_set_state(op, UNRI_IDLE);
    if (done)
        done(op);
}

void unri_run_shot(struct unr_loop *loop, struct unr_op *op, int res)
{
    struct unr_result     *r = &op->result;
    struct unr_op_private *p = unri_private(op);
    if (!p->done)
        unri_broken("a shot of a multishot operation without a done", op, "what a shot owns has to reach somebody");
    loop->shot = op;
    loop->shot_saved = *r;
    loop->shot_request = (struct unr_request){ 0 };
    r->error = res < 0 ? res : 0;
    r->value = res < 0 ? 0 : res;
    r->fd = -1;
    r->flags = UNR_MORE;
    if (!(p->flags & UNRI_INNER))
        loop->ran++;
    p->done(op);
    loop->shot = NULL;
    *r = loop->shot_saved;
    if (loop->shot_request.types)
        pass_on(op, loop->shot_request);
}
