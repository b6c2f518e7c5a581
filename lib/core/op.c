/* SPDX-License-Identifier: MIT */
/* The life of one operation: described, bound, started, ended, handed back.  What it does between
 * start and end is up to its type: a row of uring/, a timer, a combinator or a caller's own.  What
 * becomes of requests to cancel it is in cancel.c. */
#include "op.h"
#include "cancel.h"
#include "check.h"
#include "clock.h"
#include "contract.h"
#include "fiber_running.h"
#include "name.h"
#include "type.h"

#include <stdio.h>

static_assert(sizeof(struct unr_op) == 128, "two cache lines");
static_assert(sizeof(struct unr_result) == 24, "");

/* ---- describe ---- */

struct unr_op *unr_describe(struct unr_op *op, const struct unr_op_type *type)
{
    if (unlikely((uintptr_t)op % _Alignof(struct unr_op)))
        unri_broken("an operation at an address that is not aligned", NULL,
                    "a struct unr_op is aligned as its type is: by malloc(), or by the compiler");
    if (unlikely(unri_live(op)))
        unri_broken("described while it is in flight", op,
                    "an operation is unring's from start until its done");
    /* Only the fields that the start does not set.  The compiler's way of zeroing the whole
     * structure costs more than this whole function. */
    struct unr_op_private *p = unri_private(op);
    op->result = (struct unr_result){ .fd = -1 };
    op->type = type;
    p->slot = NULL;
    p->peer_at = NULL;
    p->state = UNRI_DESCRIBED;
    p->length = p->call_flags = 0; /* of a combinator: combinator.c */
    p->flags = type->supports << UNRI_SUPPORTS_SHIFT;
    return op;
}

struct unr_op *unr_bind_slot(struct unr_op *described, struct unr_slot *slot)
{
    uint32_t state = described->private_fields.state;
    if (unlikely(state != UNRI_DESCRIBED && state != UNRI_HELD))
        unri_broken("bound to a slot though it is not described", described,
                    "describe, bind, then start");
    described->private_fields.slot = slot;
    return described;
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
    return unri_was_cancelled(result) && result->cause == -ETIMEDOUT;
}

int unr_outcome(const struct unr_result *result)
{
    return unri_was_cancelled(result) && result->cause ? result->cause : result->error;
}

/* ---- end ---- */

/* Makes an operation FINISHED, and queues it for its `done`; nothing runs in here (rule 1, Once).
 *
 * It goes behind all others on loop->finished.  A turn hands back the operations that are there
 * when it begins to hand back; operations that end meanwhile wait for the next turn.  So a `done`
 * that starts the same operation again, which ends at once, starves nobody.
 *
 * A combinator that ends in its child_done() goes in front of the operations that are being handed
 * back: its `done` is the next to run.  So an operation that is deep inside combinators ends them
 * all in the turn in which it ended itself. */
static void queue_for_done(struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    struct unr_loop       *loop = p->loop;
    bool                   comes_next = op == loop->handed_to;
    struct unri_fifo      *fifo = comes_next ? &loop->handing_back : &loop->finished;
    unri_set_op_state(op, UNRI_FINISHED);
    p->next = comes_next ? fifo->first : NULL;
    if (comes_next || !fifo->last)
        fifo->first = op;
    else
        fifo->last->private_fields.next = op;
    if (!p->next)
        fifo->last = op;
    unri_notice(loop);
}

/* Rule 6, Before it begins.  `bytes` and `fd` are set because they may have been scratch memory of
 * a system call that was queued. */
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
    queue_for_done(op);
}

/* Rule 3, Truth.  A request that was honoured, and ended nothing, was TOO_LATE, unless the kernel
 * has said that it was RUNNING the operation. */
static inline void end_uncancelled(struct unr_op *op, int error)
{
    struct unr_result *r = &op->result;
    r->error = error;
    r->guarantee = UNR_CANCEL_NONE;
    if (op->private_fields.flags & UNRI_HONOURED && r->verdict != UNR_VERDICT_RUNNING)
        r->verdict = UNR_VERDICT_TOO_LATE;
    queue_for_done(op);
}

/* Rule 4, Counts.  The guarantee is the strongest that the operation supports, unless its type has
 * set another one before.
 *
 * An operation may end with -ECANCELED though it has honoured no request, because somebody has
 * cancelled its child alone.  It may even support NONE, and promises TERMINAL then, the least. */
static inline void end_cancelled(struct unr_op *op)
{
    struct unr_result *r = &op->result;
    unsigned           supports = unri_own_supports(op);
    r->error = -ECANCELED;
    if (!r->guarantee)
        r->guarantee = (uint8_t)unri_strongest(supports ? supports : UNR_CANCEL_TERMINAL);
    if (op->private_fields.flags & UNRI_HONOURED)
        r->verdict = UNR_VERDICT_CANCELLED;
    else
        r->cause = -ECANCELED;
    queue_for_done(op);
}

void unri_end(struct unr_op *op, int error)
{
    if (error == -ECANCELED)
        end_cancelled(op);
    else
        end_uncancelled(op, error);
}

void unri_end_uncancelled(struct unr_op *op, int error)
{
    end_uncancelled(op, error);
}

void unri_end_cancelled(struct unr_op *op, int cause, unsigned verdict)
{
    unri_end(op, -ECANCELED);
    op->result.cause = cause;
    op->result.verdict = (uint8_t)verdict;
}

/* The verdict is the child's, with one exception: if the child was never asked, because its wrapper
 * has refused every request, the verdict is the wrapper's. */
void unri_end_with_result(struct unr_op *op, const struct unr_op *child,
                          const struct unr_result *result)
{
    struct unr_result asked = op->result;
    op->result = *result;
    op->result.requested |= asked.requested;
    unri_private(op)->flags |= child->private_fields.flags & UNRI_EXPLAINS;
    if (result->verdict == UNR_VERDICT_NONE && asked.verdict == UNR_VERDICT_REFUSED) {
        op->result.verdict = asked.verdict;
        op->result.cause = asked.cause;
    }
    queue_for_done(op);
}

void unr_finish(struct unr_op *started, int error)
{
    const struct unr_op_private *p = &started->private_fields;
    bool in_flight = p->state == UNRI_IN_FLIGHT || p->state == UNRI_CANCELLING;
    if (!in_flight || unri_kind(started) != UNRI_CALLERS)
        unri_broken("finished though it is not in flight", started,
                    "unr_finish is called once for each start, for operations of a caller's own "
                    "type");
    unri_check_thread(p->loop);
    if (error > 0)
        unri_broken("finished with a positive error", started, "an error is 0 or a negative errno");
    unri_end(started, error);
}

/* ---- start ---- */

static inline void count_start(struct unr_loop *loop, const struct unr_op *op)
{
    if (op->private_fields.flags & UNRI_HOUSEKEEPING)
        return;
    loop->stats.started++;
    if (!(op->private_fields.flags & UNRI_CHILD))
        loop->in_flight++;
    if (unlikely(loop->closing) && loop->starts_left-- == 0)
        unri_broken("started over and over while its loop is being closed", op,
                    "what a closing loop reports as cancelled with -ESHUTDOWN is not to be started "
                    "again");
}

void unri_count_start(struct unr_loop *loop, const struct unr_op *op)
{
    count_start(loop, op);
}

/* Tells whether an operation is put among the peers on its descriptor.  A timer is not, because it
 * is in the heap, nor a wrapper, because its child stands for it. */
static bool has_peers(enum unri_kind kind)
{
    return kind != UNRI_TIMER && kind < UNRI_WRAPPER;
}

/* Makes a request to an operation that has not begun (rule 6, Before it begins).  An operation that
 * honours the request ends, and its type's start is never called.
 *
 * A combinator asks its children instead, and when this returns it has ended or begun.  It is
 * IN_FLIGHT before, because its filters and the starts of its children may run code of the caller's
 * that makes further requests to it (rule 9, Re-entrancy). */
static bool start_with_request(struct unr_loop *loop, struct unr_op *described,
                               struct unr_cancel_request asked)
{
    const struct unri_combinator *combinator = unri_combinator_of(described);
    if (combinator && combinator->start_with_request) {
        unri_set_op_state(described, UNRI_IN_FLIGHT);
        return combinator->start_with_request(described, asked);
    }
    bool honoured = asked.types & unri_own_supports(described);
    unri_record_request(described, asked, honoured);
    if (honoured) {
        unri_end_unsubmitted(described, asked);
        unri_peers_leave_closers(&loop->descriptors, described);
    }
    return honoured;
}

/* Starts an operation of a caller's own type.  It ends the process if the type leaves `size` out:
 * without it nobody knows whether the type has a `name_of`, and the members behind that. */
static void start_callers(struct unr_op *described)
{
    if (described->type->size < offsetof(struct unr_op_type, name_of))
        unri_broken("started with a type that does not say its size", described,
                    "`size` of a struct unr_op_type is that of the structure");
    struct unr_op *left = unri_leave_fiber();
    described->type->start(described);
    unri_return_to_fiber(left);
}

/* Tells whether an operation that has honoured what was requested before its start has honoured
 * `asked` in particular: other requests came through its slot, or from its closing loop.  The
 * children of a combinator have been asked for all of them together, so it counts as having
 * honoured each. */
static bool honours_in_particular(const struct unr_op *op, struct unr_cancel_request asked)
{
    return asked.types & (unri_is_combinator(op) ? UNR_CANCEL_ALL : unri_own_supports(op));
}

/* Puts an operation into its slot, and makes the requests to it that were there before its start.
 * Returns true if it honours `asked`.  Apart from the rest, so that an operation without any keeps
 * its few instructions; the checks of a loop that has them are here for the same reason. */
__attribute__((noinline)) static bool make_early_requests(struct unr_loop          *loop,
                                                          struct unr_op            *described,
                                                          struct unr_cancel_request asked)
{
    if (loop->checks)
        unri_check_start(loop, described);
    if (described->private_fields.slot)
        unri_enter_slot(described);
    struct unr_cancel_request all = unri_collect_requests(loop, described, asked);
    return all.types && start_with_request(loop, described, all)
           && honours_in_particular(described, asked);
}

/* The order matters, because code of the caller's may run in here: filters in start_with_request(),
 * and then the type's start, which is a first step, say.
 *
 * The operation is put among its peers, and its handler into its slot, before any of that runs.  A
 * request that such code makes to the operation, in whichever way, finds it.
 *
 * start_with_request() may have ended a combinator, or begun it; then the state is not DESCRIBED
 * any more, and the type's start is not called.  A system call stays DESCRIBED until its start has
 * queued it.
 *
 * An operation without a slot, on a loop that is not closing and has no checks, pays one comparison
 * for all of it. */
bool unri_start_op(struct unr_loop *loop, struct unr_op *described, struct unr_cancel_request asked)
{
    struct unr_op_private *p = unri_private(described);
    enum unri_kind         kind = unri_kind(described);
    bool                   honoured = false;
    unri_set_started_ms(described, unri_turn_ms(loop));
    p->loop = loop;
    count_start(loop, described);
    if (has_peers(kind))
        unri_peers_add(&loop->descriptors, described,
                       unri_kind_begins_itself(kind) ? described->type->private_fields.descriptors
                                                     : 0);
    if (unlikely(p->slot || loop->attends_starts || asked.types))
        honoured = make_early_requests(loop, described, asked);
    if (p->state == UNRI_DESCRIBED) {
        if (!unri_kind_begins_itself(kind)) {
            unri_set_op_state(described, UNRI_IN_FLIGHT);
        }
        if (unlikely(kind == UNRI_CALLERS))
            start_callers(described);
        else
            described->type->start(described);
    }
    unri_notice(loop);
    return honoured;
}

_Noreturn void unri_not_described(const struct unr_op *op)
{
    if (op->private_fields.state == UNRI_HELD)
        unri_broken("started though a combinator holds it", op,
                    "what was given to a combinator is started by that alone");
    const char *what = "started though it is not described";
    if (unri_live(op))
        what = "started while it is in flight";
    unri_broken(what, op, "an operation is described anew for each start");
}

void unr_start(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done, void *data)
{
    unri_check_thread(loop);
    if (unlikely(described->private_fields.state != UNRI_DESCRIBED))
        unri_not_described(described);
    described->data = data;
    described->private_fields.done = done;
    unri_start_op(loop, described, (struct unr_cancel_request){ 0 });
}

void unri_start_housekeeping(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done)
{
    described->data = loop;
    described->private_fields.done = done;
    described->private_fields.flags |= UNRI_HOUSEKEEPING;
    unri_start_op(loop, described, (struct unr_cancel_request){ 0 });
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
    default: stats->cancels_added++; break; /* its cancellation state was reset, say */
    }
}

/* `handed_to` tells queue_for_done() which combinator is hearing of a child's end, until the next
 * operation is handed back (dispatch() in turn.c).  Nothing of `op` is used after child_done() or
 * `done`: it may be freed or started again by then (rule 1, Once).
 *
 * Both are the last that is called.  A fiber comes back from child_done() by way of another stack,
 * and each return to a caller that follows is one that the processor predicts wrongly. */
void unri_hand_back(struct unr_loop *loop, struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    if (p->flags & UNRI_CHILD) {
        struct unr_op *combinator = p->combinator;
        loop->handed_to = combinator;
        unri_combinator_of(combinator)->child_done(combinator, op);
        return;
    }
    if (!(p->flags & UNRI_HOUSEKEEPING)) {
        loop->in_flight--;
        loop->ran++;
    }
    if (p->done)
        p->done(op);
}

/* Looks at the end of an operation on a loop with checks.  Tells whether the end is counted, which
 * those of the loop's own operations are not. */
__attribute__((noinline)) static bool attend_end(struct unr_loop *loop, struct unr_op *op)
{
    if (op->private_fields.flags & UNRI_CHECKED)
        unri_check_end(loop, op);
    return !(op->private_fields.flags & UNRI_HOUSEKEEPING);
}

/* Everything that knows the operation forgets it before it is handed back, because it is the
 * caller's then.  Its handler leaves the slot just before `done`, so that an emit inside `done`
 * finds nothing (rule 2, Slots). */
void unri_run_done(struct unr_loop *loop, struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    if (p->peer_at)
        unri_peers_remove(&loop->descriptors, op);
    if (p->slot)
        unri_leave_slot(op);
    if (likely(!(p->flags & (UNRI_HOUSEKEEPING | UNRI_CHECKED))) || attend_end(loop, op)) {
        loop->stats.finished++;
        if (unlikely(p->flags & UNRI_ASKED))
            count_verdict(&loop->stats, op->result.verdict);
    }
    unri_set_op_state(op, UNRI_IDLE);
    unri_hand_back(loop, op);
}

void unri_check_shots(const struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    if (unlikely(p->flags & UNRI_CHILD)) {
        char what[128];
        snprintf(what, sizeof what, "a multishot operation inside a combinator, which is a %s",
                 unri_name(p->combinator));
        unri_broken(what, op,
                    "a multishot operation may be bound to a slot, but is given to no combinator");
    }
    if (unlikely(!p->done))
        unri_broken("a multishot operation without a done", op,
                    "what a shot owns has to reach somebody");
}

/* The operation stays in flight and, unlike after its last `done`, is used afterwards.
 *
 * Its result is lent to the caller meanwhile, so the fields that serve as scratch memory or collect
 * requests are put aside, in loop->shot.  Requests that `done` makes to this operation are
 * collected there too (cancel.c), and its type is told of them at the end: once, and with its own
 * result in place. */
void unri_run_shot(struct unr_loop *loop, struct unr_op *op, const struct unr_result *shot)
{
    struct unr_result     *r = &op->result;
    struct unr_op_private *p = unri_private(op);
    unri_check_shots(op);
    loop->shot.op = op;
    loop->shot.result = *r;
    loop->shot.request = (struct unr_cancel_request){ 0 };
    r->error = shot->error;
    r->value = shot->value;
    r->fd = shot->fd;
    r->flags = UNR_MORE;
    loop->ran++;
    p->done(op);
    loop->shot.op = NULL;
    *r = loop->shot.result;
    if (loop->shot.request.types)
        unri_tell_type(op, loop->shot.request);
}
