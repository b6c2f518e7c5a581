/* unr_cancel_close: the one operation on a descriptor that is more than an SQE.  It asks all others
 * on the descriptor to cancel, waits among them until it is alone, and then is submitted as a
 * close. */
#include "ring.h"

static bool is_closer(const struct unr_op *op)
{
    return op->type == &unri_row_cancel_close.type;
}

static bool waits(const struct unr_op *op)
{
    return is_closer(op) && op->private_fields.state == UNRI_IN_FLIGHT
           && !(op->private_fields.flags & UNRI_AWAITS);
}

/* Until its SQE is submitted; afterwards the number may already be another descriptor's. */
static bool has_not_closed(const struct unr_op *op)
{
    return waits(op) || (is_closer(op) && op->private_fields.state == UNRI_QUEUED);
}

static struct unr_op *find(struct unr_loop *loop, int fd, bool (*match)(const struct unr_op *op))
{
    struct unr_op *op = NULL;
    while ((op = unri_peers_next(loop, fd, op)) && !match(op))
        ;
    return op;
}

bool unri_being_closed(struct unr_loop *loop, int fd)
{
    return fd >= 0 && unri_bucket(&loop->descriptors, fd)->closers
           && find(loop, fd, has_not_closed);
}

static bool is_alone(struct unr_loop *loop, int fd, const struct unr_op *closer)
{
    for (const struct unr_op *op = NULL;
         (op = unri_peers_next(loop, fd, (struct unr_op *)op)) != NULL;)
        if (op != closer)
            return false;
    return true;
}

void unri_left_bucket_of_closers(struct unr_loop *loop, int fd, const struct unr_op *op)
{
    if (is_closer(op))
        unri_bucket(&loop->descriptors, fd)->closers--;
    struct unr_op *closer = find(loop, fd, waits);
    if (closer && is_alone(loop, fd, closer))
        unri_enqueue(closer);
}

static void request_others(struct unr_loop *loop, const struct unr_op *closer)
{
    unri_request_fd(loop, closer->private_fields.fd,
                    (struct unr_cancel_request){ UNR_CANCEL_ALL, -ESHUTDOWN }, closer);
}

void unri_cancel_close_start(struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    struct unr_loop       *loop = p->loop;
    bool                   busy = p->fd < 0 || unri_being_closed(loop, p->fd);
    unri_set_state(op, UNRI_IN_FLIGHT);
    if (p->fd >= 0)
        unri_bucket(&loop->descriptors, p->fd)->closers++;
    if (busy) {
        unri_end(op, -EBADF);
        return;
    }
    request_others(loop, op);
    if (is_alone(loop, p->fd, op))
        unri_enqueue(op);
}

/* The descriptor of an unr_sqe() that was queued before is known only since it was filled in: then
 * this waits once more.  One whose `done` is all that it waits for is no reason, or an operation
 * that starts itself again would keep it open. */
bool unri_cancel_close_fill(struct io_uring_sqe *sqe, struct unr_op *op)
{
    struct unr_loop *loop = op->private_fields.loop;
    (void)sqe;
    request_others(loop, op);
    for (struct unr_op *other = NULL;
         (other = unri_peers_next(loop, op->private_fields.fd, other)) != NULL;)
        if (other != op && other->private_fields.state != UNRI_FINISHED) {
            unri_private(op)->flags &= (uint16_t)~UNRI_AWAITS_TARGET;
            return false;
        }
    return true;
}
