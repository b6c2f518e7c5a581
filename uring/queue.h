/* SPDX-License-Identifier: MIT */
/* Lists of operations on a ring, linked both ways: forward by private_fields.next, and back by
 * `bytes` of the result, which is scratch memory until the operation is finished. */
#ifndef UNRI_QUEUE_H
#define UNRI_QUEUE_H

#include "../lib/core/op.h"

struct unri_queue {
    struct unr_op *first, *last;
};

static inline struct unr_op *unri_queue_previous(const struct unr_op *op)
{
    return (struct unr_op *)(uintptr_t)op->result.bytes;
}

static inline void unri_queue_set_previous(struct unr_op *op, struct unr_op *before)
{
    op->result.bytes = (uintptr_t)before;
}

static inline void unri_queue_push(struct unri_queue *queue, struct unr_op *op)
{
    unri_private(op)->next = NULL;
    unri_queue_set_previous(op, queue->last);
    if (queue->last)
        unri_private(queue->last)->next = op;
    else
        queue->first = op;
    queue->last = op;
}

static inline void unri_queue_remove(struct unri_queue *queue, struct unr_op *op)
{
    struct unr_op *next = unri_private(op)->next, *before = unri_queue_previous(op);
    if (before)
        unri_private(before)->next = next;
    else
        queue->first = next;
    if (next)
        unri_queue_set_previous(next, before);
    else
        queue->last = before;
    unri_queue_set_previous(op, NULL);
}

#endif
