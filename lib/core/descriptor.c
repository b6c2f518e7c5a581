/* SPDX-License-Identifier: MIT */
/* The operations in flight, by descriptor: a table indexed by it, of lists that are linked both
 * ways.  Finding the operations on one descriptor costs nothing for those on others.  What is
 * requested of them is in cancel.c, and who waits for them in uring/close.c.
 *
 * The table is mapped once, for as many descriptors as the process may have, and only the parts
 * that are used cost memory.  Descriptors above its size share buckets with lower ones.
 *
 * An operation has room for one membership only.  So all operations on two descriptors (splice,
 * tee, renameat, linkat) are on one list, `pairs`, and each bucket counts the pairs that concern
 * it: the list is walked only for descriptors whose count is not 0. */
#include "descriptor.h"
#include "life.h"
#include "os.h"
#include "type.h"

enum { COUNT_MIN = 1 << 8, COUNT_MAX = 1 << 20 };

int unri_descriptors_open(struct unri_descriptors *descriptors)
{
    size_t count = COUNT_MIN, limit = unri_os_descriptors_max();
    while (count < limit && count < COUNT_MAX)
        count *= 2;
    struct unri_bucket *buckets = unri_os_map(count * sizeof *buckets, false);
    if (!buckets)
        return -ENOMEM;
    *descriptors = (struct unri_descriptors){ .buckets = buckets, .count = count };
    return 0;
}

void unri_descriptors_close(struct unri_descriptors *descriptors)
{
    if (descriptors->buckets)
        unri_os_unmap(descriptors->buckets, descriptors->count * sizeof *descriptors->buckets);
}

/* ---- adding and removing ---- */

static void link_at(struct unr_op **head, struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    p->peer = *head;
    p->peer_at = head;
    if (*head)
        (*head)->private_fields.peer_at = &p->peer;
    *head = op;
}

static void add_on_one(struct unri_descriptors *descriptors, struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    if (p->fd < 0) {
        link_at(&descriptors->others, op);
        return;
    }
    struct unri_bucket *bucket = unri_bucket(descriptors, p->fd);
    size_t              index = (size_t)(bucket - descriptors->buckets);
    p->flags |= UNRI_ON_FD;
    bucket->closers += (p->flags & UNRI_CLOSES) != 0;
    if (index >= descriptors->used)
        descriptors->used = index + 1;
    link_at(&bucket->first, op);
}

static void count_pair(struct unri_descriptors *descriptors, int fd)
{
    if (fd >= 0)
        unri_bucket(descriptors, fd)->pairs++;
}

static void add_on_two(struct unri_descriptors *descriptors, struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    p->flags |= UNRI_ON_TWO_FDS;
    count_pair(descriptors, p->fd);
    count_pair(descriptors, p->other_fd);
    link_at(&descriptors->pairs, op);
}

void unri_peers_add(struct unri_descriptors *descriptors, struct unr_op *op, unsigned count)
{
    switch (count) {
    case 0: link_at(&descriptors->others, op); break;
    case 1: add_on_one(descriptors, op); break;
    default: add_on_two(descriptors, op); break;
    }
}

/* Tells each cancel_close of `fd` that an operation on `fd` has left: the cancel_close may be alone
 * now, and be submitted. */
static void tell_closers(const struct unri_bucket *bucket, int fd)
{
    for (struct unr_op *op = bucket->first; op; op = op->private_fields.peer)
        if (unri_kind(op) == UNRI_CLOSER && op->private_fields.fd == fd)
            op->type->private_fields.peer_left(op);
}

static void uncount_pair(struct unri_descriptors *descriptors, int fd)
{
    if (fd < 0)
        return;
    struct unri_bucket *bucket = unri_bucket(descriptors, fd);
    bucket->pairs--;
    if (bucket->closers)
        tell_closers(bucket, fd);
}

static bool has_closers(const struct unri_descriptors *descriptors, int fd)
{
    return fd >= 0 && unri_bucket(descriptors, fd)->closers;
}

void unri_peers_leave_closers(struct unri_descriptors *descriptors, struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    bool                         on_two = p->flags & UNRI_ON_TWO_FDS;
    if ((on_two || p->flags & UNRI_ON_FD)
        && (has_closers(descriptors, p->fd) || (on_two && has_closers(descriptors, p->other_fd))))
        unri_peers_remove(descriptors, op);
}

/* Apart from the rest, so that nearly all operations keep their few instructions. */
__attribute__((noinline)) static void leave_closers(struct unri_descriptors *descriptors,
                                                    struct unri_bucket      *bucket,
                                                    const struct unr_op     *op)
{
    bool closes = op->private_fields.flags & UNRI_CLOSES;
    bucket->closers -= closes;
    descriptors->closes += closes;
    tell_closers(bucket, op->private_fields.fd);
}

__attribute__((noinline)) static void uncount_pairs(struct unri_descriptors *descriptors,
                                                    const struct unr_op     *op)
{
    uncount_pair(descriptors, op->private_fields.other_fd);
    uncount_pair(descriptors, op->private_fields.fd);
}

/* The cancel_closes are told when the operation is on no list any more, so that they do not count
 * it. */
void unri_peers_remove(struct unri_descriptors *descriptors, struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    *p->peer_at = p->peer;
    if (p->peer)
        p->peer->private_fields.peer_at = p->peer_at;
    p->peer_at = NULL;
    if (p->flags & UNRI_ON_FD) {
        struct unri_bucket *bucket = unri_bucket(descriptors, p->fd);
        if (unlikely(bucket->closers))
            leave_closers(descriptors, bucket, op);
    } else if (p->flags & UNRI_ON_TWO_FDS) {
        uncount_pairs(descriptors, op);
    }
}

/* ---- finding ---- */

/* The operations on `fd` are in two lists: first the bucket's, then, if the bucket counts any, that
 * of all operations on two descriptors.  The flags of `behind` tell in which of the two it is. */
struct unr_op *unri_peers_next(const struct unri_descriptors *descriptors, int fd,
                               const struct unr_op *behind)
{
    const struct unri_bucket *bucket = unri_bucket(descriptors, fd);
    struct unr_op            *op = behind ? behind->private_fields.peer : bucket->first;
    if (!behind || behind->private_fields.flags & UNRI_ON_FD) {
        for (; op; op = op->private_fields.peer)
            if (op->private_fields.fd == fd)
                return op;
        op = bucket->pairs ? descriptors->pairs : NULL;
    }
    for (; op; op = op->private_fields.peer)
        if (op->private_fields.fd == fd || op->private_fields.other_fd == fd)
            return op;
    return NULL;
}

static void visit_list(struct unr_op *op, unri_visit_fn *visit, void *context)
{
    for (; op; op = op->private_fields.peer)
        visit(op, context);
}

void unri_each_in_flight(const struct unri_descriptors *descriptors, unri_visit_fn *visit,
                         void *context)
{
    for (size_t i = 0; i < descriptors->used; i++)
        visit_list(descriptors->buckets[i].first, visit, context);
    visit_list(descriptors->pairs, visit, context);
    visit_list(descriptors->others, visit, context);
}
