/* The life of one operation: described, bound, started, asked to cancel, ended, handed back.  What
 * happens in between is its type's affair: uring/ for system calls, timer.c, or a caller's own. */
#include "../../uring/kernel.h"

static_assert(sizeof(struct unr_op) == 128, "two cache lines");
static_assert(sizeof(struct unr_result) == 24, "");

const char *unri_name(const struct unr_op *op)
{
    bool was_described = op->private_fields.state == UNRI_IDLE
                         || op->private_fields.state == UNRI_DESCRIBED
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
        unri_broken("described while it is in flight", op,
                    "an operation is unring's from start until its done");
    /* Field by field: what start sets is left, and the compiler's way to zero the whole costs more
     * than all of this. */
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

struct unr_op *unr_bind_slot(struct unr_op *described, struct unr_slot *slot)
{
    uint32_t state = described->private_fields.state;
    if (__builtin_expect(state != UNRI_DESCRIBED && state != UNRI_HELD, 0))
        unri_broken("bound to a slot though it is not described", described,
                    "describe, bind, then start");
    described->private_fields.slot = slot;
    return described;
}

unsigned unr_supports(const struct unr_op *op)
{
    uint32_t                  state = op->private_fields.state;
    const struct unri_holder *holder =
        state == UNRI_IDLE || state == UNRI_FINISHED ? NULL : unri_holder_of(op);
    if (holder && holder->supports)
        return holder->supports(op);
    return holder && holder->is_wrapper ? unr_supports(unri_inner(op))
                                        : op->private_fields.supports;
}

bool unr_in_flight(const struct unr_op *op)
{
    return unri_live(op);
}

struct unr_loop *unr_loop_of(const struct unr_op *started)
{
    return started->private_fields.loop;
}

bool unr_timed_out(const struct unr_result *result)
{
    return result->error == -ECANCELED && result->cause == -ETIMEDOUT;
}

int unr_outcome(const struct unr_result *result)
{
    return result->error == -ECANCELED && result->cause ? result->cause : result->error;
}

/* ---- end ---- */

/* What is being handed back its last child or member comes next in the same turn; everything else
 * in the next turn. */
static void finished(struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    struct unr_loop       *loop = p->loop;
    bool                   comes_next = op == loop->handed_to;
    struct unri_fifo      *fifo = comes_next ? &loop->handing_back : &loop->finished;
    unri_set_state(op, UNRI_FINISHED);
    p->next = comes_next ? fifo->first : NULL;
    if (comes_next || !fifo->last)
        fifo->first = op;
    else
        fifo->last->private_fields.next = op;
    if (!p->next)
        fifo->last = op;
    if (unri_outside_turn(loop))
        unri_embed_notice(loop);
}

void unri_end_unsubmitted(struct unr_op *op, struct unr_cancel_request request)
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
            r->guarantee = (uint8_t)unri_strongest(p->supports ? p->supports : UNR_CANCEL_TERMINAL);
        if (p->flags & UNRI_HONOURED)
            r->verdict = UNR_VERDICT_CANCELLED;
        else
            r->cause =
                -ECANCELED; /* a caller's own type passes on what only its child was asked for */
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
    if (inner->verdict == UNR_VERDICT_NONE && asked.verdict == UNR_VERDICT_REFUSED) {
        op->result.verdict = asked.verdict;
        op->result.cause = asked.cause;
    }
    finished(op);
}

void unr_finish(struct unr_op *started, int error)
{
    const struct unr_op_private *p = &started->private_fields;
    if ((p->state != UNRI_IN_FLIGHT && p->state != UNRI_CANCELLING)
        || started->type->private_fields.row || started->type->private_fields.holder
        || unri_is_timer(started))
        unri_broken(
            "finished though it is not in flight", started,
            "unr_finish is called once for each start, for operations of a caller's own type");
    unri_check_thread(p->loop);
    if (error > 0)
        unri_broken("finished with a positive error", started, "an error is 0 or a negative errno");
    unri_end(started, error);
}

/* ---- request ---- */

/* Rule 2: between completion and `done` it is too late, which is worth knowing unless more is
 * known. */
static void late_request(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_result *r = &op->result;
    r->requested |= (uint8_t)request.types;
    if (r->verdict == UNR_VERDICT_NONE || r->verdict == UNR_VERDICT_REFUSED) {
        r->verdict = UNR_VERDICT_TOO_LATE;
        r->cause = request.cause;
    }
}

static void note(struct unr_op *op, struct unr_result *r, struct unr_cancel_request request,
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

void unri_note(struct unr_op *op, struct unr_cancel_request request, bool honoured)
{
    note(op, &op->result, request, honoured);
    if (honoured && op->private_fields.state == UNRI_IN_FLIGHT)
        unri_set_state(op, UNRI_CANCELLING);
}

enum answer { REFUSES, KNOWS, HONOURS };

/* Or-s a request into what was asked before.  KNOWS: the operation honours it, and has been told of
 * all its types. */
static enum answer take_note(struct unr_op *op, struct unr_result *r,
                             struct unr_cancel_request request)
{
    unsigned honoured = request.types & op->private_fields.supports;
    unsigned known = op->private_fields.flags & UNRI_HONOURED ? r->requested : 0;
    note(op, r, request, honoured);
    return !honoured ? REFUSES : honoured & ~known ? HONOURS : KNOWS;
}

/* Passes on to the type what was taken note of. */
static void pass_on(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_op_private *p = unri_private(op);
    if (p->state != UNRI_QUEUED)
        unri_set_state(op, UNRI_CANCELLING);
    op->type->cancel(op, request);
    if (unri_outside_turn(p->loop))
        unri_embed_notice(p->loop);
}

/* The operation whose shot is in its `done`: told when that has returned. */
static bool request_during_shot(struct unr_loop *loop, struct unr_op *op,
                                struct unr_cancel_request request)
{
    enum answer answer = take_note(op, &loop->shot_saved, request);
    if (answer == HONOURS) {
        loop->shot_request.types |= request.types;
        loop->shot_request.cause = request.cause;
    }
    return answer;
}

bool unri_request(struct unr_op *op, struct unr_cancel_request request)
{
    if (!unri_live(op))
        return false;
    struct unr_loop          *loop = op->private_fields.loop;
    const struct unri_holder *holder = unri_holder_of(op);
    loop->stats.cancels_asked++;
    if (op->private_fields.state == UNRI_FINISHED) {
        late_request(op, request);
        return true;
    }
    if (loop->shot == op)
        return request_during_shot(loop, op, request);
    if (holder && holder->deliver)
        return holder->deliver(op, request);
    enum answer answer = take_note(op, &op->result, request);
    if (answer == HONOURS)
        pass_on(op, request);
    return answer;
}

static bool is_asked(const struct unr_op *op)
{
    while (unri_is_wrapper(op) && !(op->private_fields.flags & UNRI_HONOURED))
        op = unri_inner(op);
    return op->private_fields.flags & UNRI_HONOURED;
}

bool unri_request_first(struct unr_op *op, struct unr_cancel_request request, bool *ret_first)
{
    bool unasked = unri_live(op) && op->private_fields.state != UNRI_FINISHED && !is_asked(op);
    bool honoured = unri_request(op, request);
    *ret_first = honoured && unasked;
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

/* What an operation puts into its slot. */
static void requested_through_slot(void *context, struct unr_cancel_request request)
{
    struct unr_op *op = context;
    unri_check_thread(op->private_fields.loop);
    unri_request(op, request);
}

/* ---- start ---- */

/* Puts the operation into its slot.  What was asked of it before it began (rules 6 and 10): by
 * whoever starts it, by a loop that is being closed, by a latched signal. */
static struct unr_cancel_request asked_before(struct unr_loop *loop, struct unr_op *op,
                                              struct unr_cancel_request asked)
{
    struct unr_op_private *p = unri_private(op);
    if (loop->closing && p->supports && !(p->flags & UNRI_HOUSEKEEPING))
        asked = (struct unr_cancel_request){ UNR_CANCEL_ALL, -ESHUTDOWN };
    if (!p->slot)
        return asked;
    unr_slot_assign(p->slot, requested_through_slot, op);
    struct unr_cancel_request latched = unri_slot_latched(p->slot);
    /* The first that it honours is the cause. */
    if (!asked.types || (!(asked.types & p->supports) && latched.types & p->supports))
        asked.cause = latched.cause;
    asked.types |= latched.types;
    return asked;
}

static void count_start(struct unr_loop *loop, const struct unr_op *op)
{
    if (op->private_fields.flags & UNRI_HOUSEKEEPING)
        return;
    loop->stats.started++;
    if (!(op->private_fields.flags & UNRI_INNER))
        loop->in_flight++;
    if (__builtin_expect(loop->closing, 0) && loop->starts_left-- == 0)
        unri_broken(
            "started over and over while its loop is being closed", op,
            "what a closing loop reports as cancelled with -ESHUTDOWN is not to be started again");
}

/* Whether the peers know it; the heap knows all timers. */
static bool is_listed(const struct unr_op *op)
{
    const struct unri_holder *holder = unri_holder_of(op);
    return holder ? !holder->is_wrapper : !unri_is_timer(op);
}

/* True if it honours what was asked of it before it began. */
static bool start_asked(struct unr_loop *loop, struct unr_op *described,
                        struct unr_cancel_request asked)
{
    const struct unri_holder *holder = unri_holder_of(described);
    loop->stats.cancels_asked++;
    if (holder && holder->start_asked) {
        unri_set_state(described, UNRI_IN_FLIGHT);
        return holder->start_asked(described, asked);
    }
    if (take_note(described, &described->result, asked) == REFUSES)
        return false;
    unri_end_unsubmitted(described, asked);
    return true;
}

static bool start(struct unr_loop *loop, struct unr_op *described, struct unr_cancel_request asked)
{
    struct unr_op_private *p = unri_private(described);
    bool                   honoured = false;
    described->result.error = (int)unri_turn_ms(loop);
    p->loop = loop;
    count_start(loop, described);
    bool is_row = described->type->private_fields.row;
    if (is_row || is_listed(described))
        unri_peers_add(loop, described, is_row ? unri_row_descriptors(described) : 0);
    if (__builtin_expect(p->slot || loop->closing || asked.types, 0)) {
        asked = asked_before(loop, described, asked);
        if (asked.types)
            honoured = start_asked(loop, described, asked);
    }
    if (p->state == UNRI_DESCRIBED) {
        if (!is_row)
            unri_set_state(described, UNRI_IN_FLIGHT);
        described->type->start(described);
    }
    if (unri_outside_turn(loop))
        unri_embed_notice(loop);
    return honoured;
}

_Noreturn static void not_described(const struct unr_op *op)
{
    if (op->private_fields.state == UNRI_HELD)
        unri_broken("started though a combinator holds it", op,
                    "what was given to a combinator is started by that alone");
    unri_broken(unri_live(op) ? "started while it is in flight"
                              : "started though it is not described",
                op, "an operation is described anew for each start");
}

void unr_start(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done, void *data)
{
    unri_check_thread(loop);
    if (__builtin_expect(described->private_fields.state != UNRI_DESCRIBED, 0))
        not_described(described);
    described->data = data;
    described->private_fields.done = done;
    start(loop, described, (struct unr_cancel_request){ 0 });
}

void unri_start_housekeeping(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done)
{
    described->data = loop;
    described->private_fields.done = done;
    described->private_fields.flags |= UNRI_HOUSEKEEPING;
    start(loop, described, (struct unr_cancel_request){ 0 });
}

/* ---- children and members ---- */

void unri_hold(struct unr_op *described)
{
    uint32_t state = described->private_fields.state;
    if (__builtin_expect(state == UNRI_HELD, 0))
        unri_broken("given to two combinators", described,
                    "what was given to a combinator is started by that alone");
    if (__builtin_expect(state != UNRI_DESCRIBED, 0))
        not_described(described);
    unri_set_state(described, UNRI_HELD);
}

static void take_child(struct unr_op *holder, struct unr_op *child)
{
    struct unr_op_private *p = unri_private(child);
    if (__builtin_expect(p->state != UNRI_HELD, 0))
        unri_broken("described anew though a combinator holds it", child,
                    "what was given to a combinator is that combinator's");
    unri_set_state(child, UNRI_DESCRIBED);
    p->holder = holder;
    p->flags |= UNRI_INNER;
}

bool unri_start_child(struct unr_op *holder, struct unr_op *child, struct unr_cancel_request asked)
{
    take_child(holder, child);
    return start(holder->private_fields.loop, child, asked);
}

void unri_wrap(struct unr_op *op, const struct unr_op_type *type, struct unr_op *inner)
{
    struct unr_op_private *p = unri_private(op);
    unri_hold(inner);
    unr_describe(op, type);
    p->supports = inner->private_fields.supports;
    p->address = (uintptr_t)inner;
    p->offset = (uintptr_t)unri_name(inner);
}

void unri_fail_wrapper(struct unr_op *op, int error)
{
    unri_inner(op)->result.error = error;
    unri_end(op, error);
}

void unri_unwrap(struct unr_op *holder, struct unr_op *inner)
{
    unri_end_as(holder, &inner->result);
}

void unri_fail_child(struct unr_op *holder, struct unr_op *child, int error)
{
    take_child(holder, child);
    unri_private(child)->loop = holder->private_fields.loop;
    count_start(holder->private_fields.loop, child);
    if (unri_is_wrapper(child))
        unri_fail_wrapper(child, error);
    else
        unri_end(child, error);
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

/* Only the handler that is still the operation's own goes: the slot may have been given another
 * meanwhile. */
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
        unri_broken("a shot of a multishot operation without a done", op,
                    "what a shot owns has to reach somebody");
    loop->shot = op;
    loop->shot_saved = *r;
    loop->shot_request = (struct unr_cancel_request){ 0 };
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
