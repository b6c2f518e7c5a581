/* SPDX-License-Identifier: MIT */
/* Lines in which operations wait for a channel, a mutex and their like, linked both ways: first
 * come, first served, and cancelled by leaving.  A place in a line is in the operation's own
 * structure, or in a case of a select, which has several.
 *
 * An operation that is IN_FLIGHT or CANCELLING is in line, and whoever serves it takes it out and
 * ends it.  So nothing is in line that has ended, and a request that finds an operation in line is
 * in time.  No code of the caller's runs in between. */
#ifndef UNRI_LINE_H
#define UNRI_LINE_H

#include <errno.h>
#include <unring/sync.h>
#include "../core/contract.h"
#include "../core/op.h"
#include "../core/type.h"

/* Describes an operation that may have to wait in `line`. */
static inline struct unr_op *unri_describe_waiter(struct unr_waiter        *waiter,
                                                  const struct unr_op_type *type,
                                                  struct unr_line *line, void *memory)
{
    unr_describe(&waiter->op, type);
    unri_private(&waiter->op)->offset = (uintptr_t)line;
    waiter->private_fields.op = &waiter->op;
    waiter->private_fields.memory = memory;
    return &waiter->op;
}

static inline struct unr_line *unri_line_of(const struct unr_op *op)
{
    return (struct unr_line *)(uintptr_t)op->private_fields.offset;
}

static inline struct unr_waiter_private *unri_place_of(const struct unr_op *op)
{
    return &unr_container_of(op, struct unr_waiter, op)->private_fields;
}

static inline void unri_line_join(struct unr_line *line, struct unr_waiter_private *place)
{
    struct unr_waiter_private *last = line->last;
    if (unlikely(last && last->op->private_fields.loop != place->op->private_fields.loop))
        unri_broken("waits beside an operation of another loop", place->op,
                    "a channel, a mutex and their like are one loop's");
    place->next = NULL;
    place->previous = last;
    if (last)
        last->next = place;
    else
        line->first = place;
    line->last = place;
}

/* The neighbours are compared first: they no longer point here if the memory of the line was used
 * again. */
static inline void unri_line_leave(struct unr_line *line, struct unr_waiter_private *place)
{
    struct unr_waiter_private **from = place->previous ? &place->previous->next : &line->first;
    struct unr_waiter_private **back = place->next ? &place->next->previous : &line->last;
    if (unlikely(*from != place || *back != place))
        unri_broken("waits for an object whose memory was used again", place->op,
                    "a channel, a mutex and their like stay where and what they are while "
                    "somebody waits");
    *from = place->next;
    *back = place->previous;
}

/* Begins an operation: it ends with `error`, or with -EAGAIN it waits in its line. */
static inline void unri_begin_wait(struct unr_op *op, int error)
{
    unri_set_op_state(op, UNRI_IN_FLIGHT);
    if (error == -EAGAIN)
        unri_line_join(unri_line_of(op), unri_place_of(op));
    else
        unri_end(op, error);
}

/* Ends an operation that waits in its line, and is cancelled: nobody has served it. */
static inline void unri_cancel_wait(struct unr_op *op, struct unr_cancel_request request)
{
    (void)request;
    unri_line_leave(unri_line_of(op), unri_place_of(op));
    unri_end(op, -ECANCELED);
}

/* Takes whoever is first out of a line, to be ended by the caller; NULL: nobody waits. */
static inline struct unr_op *unri_line_serve(struct unr_line *line)
{
    struct unr_waiter_private *place = line->first;
    if (!place)
        return NULL;
    unri_check_thread(place->op->private_fields.loop);
    unri_line_leave(line, place);
    return place->op;
}

#endif
