/* What is in flight on each descriptor: a table indexed by it, of lists of operations linked both
 * ways.  Finding the operations on one descriptor costs nothing for those on others.
 *
 * The table is mapped once, for as many descriptors as the process may have, and touched where it
 * is used; above that descriptors share buckets.  An operation on two descriptors (splice, tee,
 * renameat, linkat) has room for one membership only: such operations are on one list of the
 * loop's, and each bucket counts them, so that it is walked only for descriptors that it
 * concerns. */
#include "../../uring/kernel.h"
#include "../../uring/enter.h"

enum { COUNT_MIN = 1 << 8, COUNT_MAX = 1 << 20 };

int unri_descriptors_open(struct unri_descriptors *descriptors)
{
    size_t count = COUNT_MIN, limit = unri_enter_descriptors_max();
    while (count < limit && count < COUNT_MAX)
        count *= 2;
    struct unri_bucket *buckets = unri_enter_map(count * sizeof *buckets, false);
    if (!buckets)
        return -ENOMEM;
    *descriptors = (struct unri_descriptors){ .buckets = buckets, .count = count };
    return 0;
}

void unri_descriptors_close(struct unri_descriptors *descriptors)
{
    if (descriptors->buckets)
        unri_enter_unmap(descriptors->buckets, descriptors->count * sizeof *descriptors->buckets);
}

static void count_pair(struct unri_descriptors *descriptors, int fd, int change)
{
    if (fd >= 0)
        unri_bucket(descriptors, fd)->pairs += (uint32_t)change;
}

void unri_peers_add(struct unr_loop *loop, struct unr_op *op, unsigned descriptors)
{
    struct unri_descriptors *d = &loop->descriptors;
    struct unr_op_private   *p = unri_private(op);
    struct unr_op          **head = &d->others;
    if (descriptors == 2) {
        p->flags |= UNRI_ON_TWO_FDS;
        count_pair(d, p->fd, +1);
        count_pair(d, p->other_fd, +1);
        head = &d->pairs;
    } else if (descriptors == 1 && p->fd >= 0) {
        struct unri_bucket *bucket = unri_bucket(d, p->fd);
        size_t              index = (size_t)(bucket - d->buckets);
        p->flags |= UNRI_ON_FD;
        head = &bucket->first;
        if (index >= d->used)
            d->used = index + 1;
    }
    p->peer = *head;
    p->peer_at = head;
    if (*head)
        (*head)->private_fields.peer_at = &p->peer;
    *head = op;
}

static void left_bucket(struct unr_loop *loop, int fd, const struct unr_op *op)
{
    if (fd >= 0 && unri_bucket(&loop->descriptors, fd)->closers)
        unri_left_bucket_of_closers(loop, fd, op);
}

void unri_peers_remove(struct unr_loop *loop, struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    *p->peer_at = p->peer;
    if (p->peer)
        p->peer->private_fields.peer_at = p->peer_at;
    p->peer_at = NULL;
    if (p->flags & UNRI_ON_TWO_FDS) {
        count_pair(&loop->descriptors, p->fd, -1);
        count_pair(&loop->descriptors, p->other_fd, -1);
        left_bucket(loop, p->other_fd, op);
    }
    if (p->flags & (UNRI_ON_FD | UNRI_ON_TWO_FDS))
        left_bucket(loop, p->fd, op);
}

struct unr_op *unri_peers_next(struct unr_loop *loop, int fd, struct unr_op *behind)
{
    struct unri_bucket *bucket = unri_bucket(&loop->descriptors, fd);
    struct unr_op      *op = behind ? behind->private_fields.peer : bucket->first;
    if (!behind || behind->private_fields.flags & UNRI_ON_FD) {
        for (; op; op = op->private_fields.peer)
            if (op->private_fields.fd == fd)
                return op;
        op = bucket->pairs ? loop->descriptors.pairs : NULL;
    }
    for (; op; op = op->private_fields.peer)
        if (op->private_fields.fd == fd || op->private_fields.other_fd == fd)
            return op;
    return NULL;
}

unsigned unri_request_fd(struct unr_loop *loop, int fd, struct unr_cancel_request request,
                         const struct unr_op *except)
{
    unsigned count = 0;
    for (struct unr_op *op = NULL; (op = unri_peers_next(loop, fd, op)) != NULL;)
        if (op != except && !(op->private_fields.flags & UNRI_HOUSEKEEPING)) {
            count += unri_live(op);
            unri_request(op, request);
        }
    return count;
}

unsigned unr_cancel_fd(struct unr_loop *loop, int fd, unsigned types)
{
    unri_check_thread(loop);
    unri_check_request(types, -ECANCELED);
    return fd < 0
               ? 0
               : unri_request_fd(loop, fd, (struct unr_cancel_request){ types, -ECANCELED }, NULL);
}

static void each_of(struct unr_op *op, void (*visit)(struct unr_op *op, void *context),
                    void          *context)
{
    for (; op; op = op->private_fields.peer)
        if (!(op->private_fields.flags & UNRI_HOUSEKEEPING))
            visit(op, context);
}

void unri_each_in_flight(const struct unr_loop *loop,
                         void (*visit)(struct unr_op *op, void *context), void *context)
{
    const struct unri_descriptors *d = &loop->descriptors;
    for (size_t i = 0; i < d->used; i++)
        each_of(d->buckets[i].first, visit, context);
    each_of(d->pairs, visit, context);
    each_of(d->others, visit, context);
}
