/* SPDX-License-Identifier: MIT */
/* Channels.  line.h has the lines in which senders and receivers wait, sync.c mutexes and their
 * like.
 *
 * Whoever sends serves the first receiver that waits, and whoever receives the first sender.  So
 * these hold between any two calls, which is why a try_ function overtakes nobody:
 *
 *   A receiver waits    the storage is empty, and no sender waits
 *   A sender waits      the storage is full, and no receiver waits
 *   It is closed        nobody waits
 *
 * With one exception: a select that both sends to and receives from a channel of capacity 0 waits
 * in both lines, by itself.  It never meets itself, for it joins lines only where neither is
 * possible, and leaves all of them when one of its cases is done. */
#include <string.h>
#include <unring/channel.h>
#include "../core/check.h"
#include "line.h"

static_assert(sizeof(struct unr_channel) == 80, "as channel.h says");

/* ---- values ---- */

static void copy(const struct unr_channel_private *c, void *to, const void *from)
{
    if (c->size)
        memcpy(to, from, c->size);
}

static void *stored(const struct unr_channel_private *c, size_t index)
{
    size_t at = c->oldest + index;
    if (at >= c->capacity)
        at -= c->capacity;
    return c->size ? c->storage + at * c->size : NULL;
}

static void store(struct unr_channel_private *c, const void *value)
{
    copy(c, stored(c, c->count), value);
    c->count++;
}

static void take_oldest(struct unr_channel_private *c, void *room)
{
    copy(c, room, stored(c, 0));
    c->count--;
    if (++c->oldest == c->capacity)
        c->oldest = 0;
}

/* ---- operations that wait ---- */

static const struct unr_op_type select_type;

static void select_done(struct unr_waiter_private *place, bool closed);

static bool is_select(const struct unr_op *op)
{
    return op->type == &select_type;
}

/* Why an operation that waits ends. */
enum outcome { SENT, RECEIVED, CLOSED_FOR_SENDERS, CLOSED_FOR_RECEIVERS };

/* Ends whoever is first in a line.  A select leaves its other lines. */
static void serve(struct unr_line *line, enum outcome outcome)
{
    struct unr_waiter_private *place = line->first;
    struct unr_op             *op = place->op;
    if (is_select(op)) {
        unri_check_thread(op->private_fields.loop);
        select_done(place, outcome >= CLOSED_FOR_SENDERS);
    } else {
        unri_line_serve(line);
        op->result.value = outcome == RECEIVED;
    }
    unri_end(op, outcome == CLOSED_FOR_SENDERS ? -EPIPE : 0);
}

/* ---- to send and to receive at once ---- */

static int try_send(struct unr_channel_private *c, const void *value)
{
    if (c->closed)
        return -EPIPE;
    if (c->receivers.first) {
        copy(c, c->receivers.first->memory, value);
        serve(&c->receivers, RECEIVED);
    } else if (c->count < c->capacity) {
        store(c, value);
    } else {
        return -EAGAIN;
    }
    return 0;
}

/* The value of the first sender that waits takes the room that has become free. */
static int try_receive(struct unr_channel_private *c, void *room)
{
    struct unr_waiter_private *sender = c->senders.first;
    if (c->count) {
        take_oldest(c, room);
        if (sender)
            store(c, sender->memory);
    } else if (sender) {
        copy(c, room, sender->memory);
    } else {
        return c->closed ? 0 : -EAGAIN;
    }
    if (sender)
        serve(&c->senders, SENT);
    return 1;
}

/* ---- one send, one receive ---- */

static void lend_value(const struct unr_op *send, const struct unri_lent_visitor *visitor)
{
    const struct unr_channel_private *c =
        unr_container_of(unri_line_of(send), struct unr_channel_private, senders);
    visitor->visit(visitor->context, unri_place_of(send)->memory, c->size, UNRI_READS);
}

static void lend_room(const struct unr_op *receive, const struct unri_lent_visitor *visitor)
{
    const struct unr_channel_private *c =
        unr_container_of(unri_line_of(receive), struct unr_channel_private, receivers);
    visitor->visit(visitor->context, unri_place_of(receive)->memory, c->size, UNRI_SETS);
}

static void send_start(struct unr_op *op)
{
    struct unr_channel_private *c =
        unr_container_of(unri_line_of(op), struct unr_channel_private, senders);
    unri_begin_wait(op, try_send(c, unri_place_of(op)->memory));
}

static const struct unr_op_type send_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "channel_send",
    .start = send_start,
    .cancel = unri_cancel_wait,
    .private_fields = { .kind = UNRI_PARKED, .lend = lend_value },
};

static void receive_start(struct unr_op *op)
{
    struct unr_channel_private *c =
        unr_container_of(unri_line_of(op), struct unr_channel_private, receivers);
    int received = try_receive(c, unri_place_of(op)->memory);
    op->result.value = received > 0;
    unri_begin_wait(op, received == -EAGAIN ? -EAGAIN : 0);
}

static const struct unr_op_type receive_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "channel_receive",
    .start = receive_start,
    .cancel = unri_cancel_wait,
    .private_fields = { .kind = UNRI_PARKED, .lend = lend_room },
};

/* ---- the channel ---- */

void unr_channel_init(struct unr_channel *channel, void *storage, size_t size, size_t capacity)
{
    if (unlikely(!storage && size && capacity))
        unri_broken("unr_channel_init with a capacity and without storage", NULL,
                    "the values of a channel wait in the caller's memory");
    channel->private_fields =
        (struct unr_channel_private){ .storage = storage, .size = size, .capacity = capacity };
}

struct unr_op *unr_channel_send(struct unr_waiter *waiter, struct unr_channel *channel,
                                const void *value)
{
    return unri_describe_waiter(waiter, &send_type, &channel->private_fields.senders,
                                (void *)(uintptr_t)value);
}

struct unr_op *unr_channel_receive(struct unr_waiter *waiter, struct unr_channel *channel,
                                   void *ret_value)
{
    return unri_describe_waiter(waiter, &receive_type, &channel->private_fields.receivers,
                                ret_value);
}

int unr_channel_try_send(struct unr_channel *channel, const void *value)
{
    return try_send(&channel->private_fields, value);
}

int unr_channel_try_receive(struct unr_channel *channel, void *ret_value)
{
    return try_receive(&channel->private_fields, ret_value);
}

void unr_channel_close(struct unr_channel *channel)
{
    struct unr_channel_private *c = &channel->private_fields;
    c->closed = true;
    while (c->senders.first)
        serve(&c->senders, CLOSED_FOR_SENDERS);
    while (c->receivers.first)
        serve(&c->receivers, CLOSED_FOR_RECEIVERS);
}

size_t unr_channel_count(const struct unr_channel *channel)
{
    return channel->private_fields.count;
}

/* ---- one of several ----
 *
 * A select keeps its cases where a system call has its address, and their number in `length`.  Each
 * case has a place, in the line of its own channel. */

static struct unr_channel_case *cases_of(const struct unr_op *select)
{
    return (struct unr_channel_case *)(uintptr_t)select->private_fields.address;
}

static struct unr_line *line_of(const struct unr_channel_case *one)
{
    struct unr_channel_private *c = &one->channel->private_fields;
    return one->send ? &c->senders : &c->receivers;
}

static void lend_cases(const struct unr_op *select, const struct unri_lent_visitor *visitor)
{
    struct unr_channel_case *cases = cases_of(select);
    size_t                   n = select->private_fields.length;
    visitor->visit(visitor->context, cases, n * sizeof *cases, UNRI_FILLS);
    for (size_t i = 0; i < n; i++) {
        size_t      size = cases[i].channel->private_fields.size;
        const void *value = cases[i].send;
        if (value)
            visitor->visit(visitor->context, (void *)(uintptr_t)value, size, UNRI_READS);
        else
            visitor->visit(visitor->context, cases[i].receive, size, UNRI_SETS);
    }
}

static void leave_all(const struct unr_op *select)
{
    struct unr_channel_case *cases = cases_of(select);
    for (unsigned i = 0; i < select->private_fields.length; i++)
        unri_line_leave(line_of(&cases[i]), &cases[i].private_fields);
}

static void select_done(struct unr_waiter_private *place, bool closed)
{
    struct unr_op           *select = place->op;
    struct unr_channel_case *done =
        unr_container_of(place, struct unr_channel_case, private_fields);
    leave_all(select);
    done->closed = closed;
    select->result.value = done - cases_of(select);
}

/* Returns what the select ends with, or -EAGAIN. */
static int try_case(struct unr_channel_case *one)
{
    struct unr_channel_private *c = &one->channel->private_fields;
    int done = one->send ? try_send(c, one->send) : try_receive(c, one->receive);
    one->closed = one->send ? done == -EPIPE : done == 0;
    return done > 0 ? 0 : done;
}

static void select_wait(struct unr_op *op)
{
    struct unr_channel_case *cases = cases_of(op);
    for (unsigned i = 0; i < op->private_fields.length; i++) {
        struct unr_channel_case   *one = &cases[i];
        struct unr_waiter_private *place = &one->private_fields;
        place->op = op;
        place->memory = one->send ? (void *)(uintptr_t)one->send : one->receive;
        unri_line_join(line_of(one), place);
    }
}

static void select_start(struct unr_op *op)
{
    struct unr_channel_case *cases = cases_of(op);
    unsigned                 n = op->private_fields.length, i = 0;
    int                      error = n ? -EAGAIN : -EINVAL;
    unri_set_op_state(op, UNRI_IN_FLIGHT);
    for (unsigned k = 0; k < n; k++)
        cases[k].closed = false;
    while (i < n && (error = try_case(&cases[i])) == -EAGAIN)
        i++;
    if (error == -EAGAIN) {
        select_wait(op);
        return;
    }
    op->result.value = i;
    unri_end(op, error);
}

static void select_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)request;
    leave_all(op);
    unri_end(op, -ECANCELED);
}

static const struct unr_op_type select_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "channel_select",
    .start = select_start,
    .cancel = select_cancel,
    .private_fields = { .kind = UNRI_PARKED, .lend = lend_cases },
};

struct unr_op *unr_channel_select(struct unr_select *select, struct unr_channel_case *cases,
                                  unsigned n)
{
    struct unr_op_private *p = unri_private(unr_describe(&select->op, &select_type));
    p->address = (uintptr_t)cases;
    p->length = n;
    return &select->op;
}
