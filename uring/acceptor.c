/* SPDX-License-Identifier: MIT */
/* Acceptors: single accepts stay armed for a listening socket, and whoever asks for a connection
 * waits in user space; so asking is cancelled by leaving a line.  (A multishot accept has no bound:
 * it takes all of a backlog at once.)
 *
 * A slot is idle, or its accept is in flight, or it holds a connection: then it is on `parked`, and
 * the connection is in its result.  So no more connections wait than there are slots.  Connections
 * and operations never wait at the same time.
 *
 * An operation of its own, the presence, stands on the descriptor for the acceptor, which may have
 * nothing in flight.  A request to it stops the acceptor.  It ends when no slot is in flight any
 * more, and each connection that waited is handed over or closed: a slot closes what it holds. */
#include "../lib/core/cancel.h"
#include "../lib/core/contract.h"
#include "repeat.h"
#include "row.h"

#include <string.h>
#include <unring/acceptor.h>
#include <unring/io.h>

enum { PARKED_DEFAULT = 8 };

/* The attempts with which an accept that found no descriptor begins: it waits 8 ms.  Then up to
 * 256, the longest. */
enum { BACKOFF_MIN = 4, BACKOFF_MAX = UNRI_REPEAT_LEVELS - 1 };

static struct unr_acceptor_private *acceptor_of_presence(struct unr_op *presence)
{
    return unr_container_of(presence, struct unr_acceptor_private, presence);
}

/* The acceptor of a slot, from its start on. */
static struct unr_acceptor_private *acceptor_of_slot(const struct unr_op *slot)
{
    return slot->data;
}

/* The acceptor of an accept or a stop is kept where a system call has its offset. */
static struct unr_acceptor_private *acceptor_of(const struct unr_op *op)
{
    return (struct unr_acceptor_private *)(uintptr_t)op->private_fields.offset;
}

static struct unr_loop *loop_of(const struct unr_acceptor_private *a)
{
    return a->presence.private_fields.loop;
}

/* ---- lines ---- */

static void join(struct unr_acceptor_line *line, struct unr_op *op)
{
    struct unri_queue queue = { line->first, line->last };
    unri_queue_push(&queue, op);
    *line = (struct unr_acceptor_line){ queue.first, queue.last };
}

static void leave(struct unr_acceptor_line *line, struct unr_op *op)
{
    struct unri_queue queue = { line->first, line->last };
    unri_queue_remove(&queue, op);
    *line = (struct unr_acceptor_line){ queue.first, queue.last };
}

static void park(struct unr_acceptor_private *a, struct unr_op *slot)
{
    a->holding++;
    join(&a->parked, slot);
}

/* Takes the connection that has waited longest.  Its slot is idle then. */
static int unpark(struct unr_acceptor_private *a)
{
    struct unr_op *slot = a->parked.first;
    int            fd = slot->result.fd;
    leave(&a->parked, slot);
    slot->result.fd = -1;
    a->holding--;
    return fd;
}

/* Gives the connection of a slot to whoever has waited longest. */
static void hand_out(struct unr_acceptor_private *a, struct unr_op *slot)
{
    struct unr_op *op = a->waiting.first;
    leave(&a->waiting, op);
    op->result.fd = slot->result.fd;
    slot->result.fd = -1;
    unri_end(op, 0);
}

/* ---- the armed accepts ---- */

/* The accept has succeeded, and ends when this returns.  Who waits hears of the connection in this
 * turn, and not a turn later. */
static void slot_completed(struct unr_op *slot)
{
    struct unr_acceptor_private *a = acceptor_of_slot(slot);
    if (a->waiting.first)
        hand_out(a, slot);
}

static const struct unri_row armed_accept = {
    .type = { .size = sizeof(struct unr_op_type),
              .supports = UNR_CANCEL_ALL,
              .name = "acceptor",
              .start = unri_row_start,
              .cancel = unri_row_cancel,
              .private_fields = { .kind = UNRI_ARMED, .descriptors = 1 } },
    .opcode = IORING_OP_ACCEPT,
    .yields = UNRI_YIELDS_FD,
    .is_special = true,
    .repeats = true,
    .completed = slot_completed,
};

static void start_slot(struct unr_acceptor_private *a, struct unr_op *slot, unr_done_fn *done)
{
    a->in_flight++;
    unri_start_housekeeping(loop_of(a), slot, done);
    slot->data = a;
}

static void slot_done(struct unr_op *slot);

static void arm_slot(struct unr_acceptor_private *a, struct unr_op *slot)
{
    struct unr_op_private *p = unri_private(unr_describe(slot, &armed_accept.type));
    p->fd = a->fd;
    p->other_fd = 0;
    p->call_flags = (uint32_t)a->flags;
    p->address = p->offset = 0;
    start_slot(a, slot, slot_done);
}

/* Arms each slot that is idle.  During a shortage one slot alone tries. */
static void arm(struct unr_acceptor_private *a)
{
    if (a->stopped || a->backoff)
        return;
    for (unsigned i = 0; a->in_flight + a->holding < a->slots_used; i++)
        if (!unri_live(&a->slots[i]) && a->slots[i].result.fd < 0)
            arm_slot(a, &a->slots[i]);
}

/* ---- errors ---- */

static bool is_shortage(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

/* Tells whether an error is that of a connection, and not of the listening socket: accept(2) names
 * them.  EOPNOTSUPP is not among them here, because a socket that cannot listen says so each time.
 */
static bool is_of_connection(int error)
{
    switch (error) {
    case -ECONNABORTED:
    case -EINTR:
    case -EPROTO:
    case -ENOPROTOOPT:
    case -ENETDOWN:
    case -ENETUNREACH:
    case -ENONET:
    case -EHOSTDOWN:
    case -EHOSTUNREACH: return true;
    default: return false;
    }
}

static bool waits_to_be_repeated(const struct unr_acceptor_private *a)
{
    for (unsigned i = 0; i < a->slots_used; i++)
        if (unri_live(&a->slots[i]) && a->slots[i].private_fields.flags & UNRI_WANTS_REPEAT)
            return true;
    return false;
}

/* The connections stay in the backlog.  An accept that waits for the next one does not hear of
 * those that are there, so one slot tries again later, unless another is going to. */
static void try_later(struct unr_acceptor_private *a, struct unr_op *slot)
{
    struct unr_loop *loop = loop_of(a);
    if (waits_to_be_repeated(a))
        return;
    if (a->backoff < BACKOFF_MAX)
        a->backoff = a->backoff ? a->backoff + 1 : BACKOFF_MIN;
    arm_slot(a, slot);
    if (slot->private_fields.state != UNRI_QUEUED)
        return;
    unri_queue_remove(&loop->ring->queued, slot);
    for (unsigned i = 0; i < a->backoff; i++)
        unri_count_attempt(slot);
    unri_repeat_later(loop, slot);
}

/* ---- how an accept ends ---- */

static void settle(struct unr_acceptor_private *a);

static void fail(struct unr_acceptor_private *a, int error)
{
    struct unr_op *op = a->waiting.first;
    if (op) {
        leave(&a->waiting, op);
        unri_end(op, error);
    }
    if (a->waiting.first)
        arm(a);
}

static void slot_done(struct unr_op *slot)
{
    struct unr_acceptor_private *a = acceptor_of_slot(slot);
    int                          error = slot->result.error;
    a->in_flight--;
    if (error == 0 && slot->result.fd >= 0) {
        if (a->waiting.first)
            hand_out(a, slot);
        else
            park(a, slot);
    }
    if (a->stopped) {
        settle(a);
    } else if (is_shortage(error)) {
        try_later(a, slot);
    } else {
        a->backoff = 0;
        if (error == 0 || is_of_connection(error))
            arm(a);
        else
            fail(a, error);
    }
}

/* ---- one connection ---- */

static void check_loop(const struct unr_acceptor_private *a, const struct unr_op *op)
{
    if (unlikely(op->private_fields.loop != loop_of(a)))
        unri_broken("started on another loop than its acceptor's", op, "an acceptor is one loop's");
}

static void accept_start(struct unr_op *op)
{
    struct unr_acceptor_private *a = acceptor_of(op);
    unri_set_op_state(op, UNRI_IN_FLIGHT);
    check_loop(a, op);
    if (unlikely(unri_comes_too_late(op))) {
        unri_end_too_late(op);
    } else if (unlikely(a->stopped)) {
        unri_end(op, -ESHUTDOWN);
    } else {
        if (a->parked.first) {
            op->result.fd = unpark(a);
            unri_end(op, 0);
        } else {
            join(&a->waiting, op);
        }
        arm(a);
    }
}

static void accept_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)request;
    leave(&acceptor_of(op)->waiting, op);
    unri_end(op, -ECANCELED);
}

static const struct unr_op_type accept_from = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "accept_from",
    .start = accept_start,
    .cancel = accept_cancel,
    .private_fields = { .kind = UNRI_PARKED, .descriptors = 1 },
};

static struct unr_op_private *describe(struct unr_op *op, const struct unr_op_type *type,
                                       struct unr_acceptor *acceptor)
{
    struct unr_acceptor_private *a = &acceptor->private_fields;
    struct unr_op_private       *p = unri_private(unr_describe(op, type));
    p->fd = a->fd;
    p->offset = (uintptr_t)a;
    return p;
}

struct unr_op *unr_accept_from(struct unr_op *op, struct unr_acceptor *acceptor)
{
    describe(op, &accept_from, acceptor);
    return op;
}

/* ---- its end ---- */

typedef void each_fn(void *context, int fd);

/* What a stop hands connections to; NULL: nothing. */
static each_fn *each_of(const struct unr_op *stop)
{
    return stop ? (each_fn *)(uintptr_t)stop->private_fields.address : NULL;
}

static void close_done(struct unr_op *slot)
{
    struct unr_acceptor_private *a = acceptor_of_slot(slot);
    a->in_flight--;
    settle(a);
}

/* An accept that is cancelled may win all the same, so this comes behind all of them. */
static void close_parked(struct unr_acceptor_private *a)
{
    while (a->parked.first) {
        struct unr_op *slot = a->parked.first;
        unr_close(slot, unpark(a));
        start_slot(a, slot, close_done);
    }
}

/* Goes on with the end of an acceptor that was stopped, if no slot is in flight any more. */
static void settle(struct unr_acceptor_private *a)
{
    if (a->in_flight)
        return;
    if (a->parked.first && !each_of(a->stop))
        close_parked(a);
    else
        unri_end(&a->presence, -ECANCELED);
}

static void presence_start(struct unr_op *presence)
{
    unri_set_op_state(presence, UNRI_IN_FLIGHT);
    if (unri_comes_too_late(presence)) {
        acceptor_of_presence(presence)->stopped = true;
        unri_end_too_late(presence);
    }
}

static void presence_cancel(struct unr_op *presence, struct unr_cancel_request request)
{
    struct unr_acceptor_private *a = acceptor_of_presence(presence);
    a->stopped = true;
    for (unsigned i = 0; i < a->slots_used; i++)
        unri_request(&a->slots[i], request);
    settle(a);
}

static void presence_done(struct unr_op *presence)
{
    struct unr_acceptor_private *a = acceptor_of_presence(presence);
    struct unr_op               *stop = a->stop;
    loop_of(a)->armed -= a->slots_used;
    while (a->parked.first)
        each_of(stop)((void *)(uintptr_t)unri_wide(&stop->private_fields), unpark(a));
    a->stop = NULL;
    if (stop)
        unri_end(stop, 0);
}

static const struct unr_op_type presence_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "acceptor",
    .start = presence_start,
    .cancel = presence_cancel,
    .private_fields = { .kind = UNRI_PARKED, .descriptors = 1 },
};

void unr_acceptor_init(struct unr_acceptor *acceptor, struct unr_loop *loop, int fd,
                       unsigned parked, unsigned flags)
{
    struct unr_acceptor_private *a = &acceptor->private_fields;
    unri_check_thread(loop);
    if (unlikely(unri_live(&a->presence)))
        unri_broken("an acceptor that is initialised while it is armed", NULL,
                    "an acceptor is stopped first");
    memset(a, 0, sizeof *a);
    a->fd = fd;
    a->flags = (int32_t)(flags | SOCK_CLOEXEC);
    a->slots_used = PARKED_DEFAULT;
    if (parked)
        a->slots_used =
            parked < UNR_ACCEPTOR_PARKED_MAX ? (uint8_t)parked : UNR_ACCEPTOR_PARKED_MAX;
    for (unsigned i = 0; i < a->slots_used; i++)
        a->slots[i].result.fd = -1;
    a->stopped = loop->closing; /* which has asked all that is armed to end, once */
    a->presence.private_fields.loop = loop;
    if (a->stopped)
        return;
    unr_describe(&a->presence, &presence_type)->private_fields.fd = fd;
    loop->armed += a->slots_used;
    unri_start_housekeeping(loop, &a->presence, presence_done);
    arm(a);
}

static void stop_start(struct unr_op *op)
{
    const struct unr_cancel_request request = { UNR_CANCEL_ALL, -ECANCELED };
    struct unr_acceptor_private    *a = acceptor_of(op);
    unri_set_op_state(op, UNRI_IN_FLIGHT);
    check_loop(a, op);
    if (unlikely(a->stop != NULL))
        unri_broken("a second stop of an acceptor", op, "an acceptor is stopped once");
    if (!unri_live(&a->presence)) {
        unri_end(op, 0);
        return;
    }
    a->stop = op;
    a->stopped = true;
    while (a->waiting.first)
        unri_request_in_time(a->waiting.first, request);
    unri_request(&a->presence, request);
}

static const struct unr_op_type acceptor_stop = {
    .size = sizeof(struct unr_op_type),
    .name = "acceptor_stop",
    .start = stop_start,
    .private_fields = { .kind = UNRI_PARKED, .descriptors = 1 },
};

struct unr_op *unr_acceptor_stop(struct unr_op *op, struct unr_acceptor *acceptor, each_fn *each,
                                 void *context)
{
    struct unr_op_private *p = describe(op, &acceptor_stop, acceptor);
    p->address = (uintptr_t)each;
    unri_set_wide(p, (uintptr_t)context);
    return op;
}
