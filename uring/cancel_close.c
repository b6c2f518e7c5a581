/* unr_cancel_close: the one operation on a descriptor that is more than an SQE.  It asks all others on the descriptor to
 * cancel, waits among them until it is alone, and then is submitted as a close. */
#include "ring.h"

static bool waits(const struct unr_op *op)
{
    return op->type == &unri_row_cancel_close.type && op->private_fields.state == UNRI_IN_FLIGHT
           && !(op->private_fields.flags & UNRI_AWAITS);
}

/* The cancel_close that waits for `fd` to be free of others. */
static struct unr_op *closer_of(struct unr_loop *loop, int fd)
{
    struct unr_op *op = NULL;
    while ((op = unri_peers_next(loop, fd, op)) && !waits(op))
        ;
    return op;
}

bool unri_being_closed(struct unr_loop *loop, int fd)
{
    return fd >= 0 && unri_bucket(&loop->descriptors, fd)->closers && closer_of(loop, fd);
}

static bool is_alone(struct unr_loop *loop, int fd, const struct unr_op *closer)
{
    for (const struct unr_op *op = NULL; (op = unri_peers_next(loop, fd, (struct unr_op *)op)) != NULL;)
        if (op != closer)
            return false;
    return true;
}

static void submit(struct unr_loop *loop, struct unr_op *closer)
{
    unri_bucket(&loop->descriptors, closer->private_fields.fd)->closers--;
    unri_enqueue(closer);
}

void unri_closers_check(struct unr_loop *loop, int fd)
{
    struct unr_op *closer = closer_of(loop, fd);
    if (closer && is_alone(loop, fd, closer))
        submit(loop, closer);
}

void unri_cancel_close_start(struct unr_op *op)
{
    struct unr_loop       *loop = op->private_fields.loop;
    struct unr_op_private *p    = unri_private(op);
    unri_set_state(op, UNRI_IN_FLIGHT);
    if (p->fd < 0 || unri_being_closed(loop, p->fd)) {
        unri_peers_add(loop, op, 0);
        unri_end(op, -EBADF);
        return;
    }
    unri_request_fd(loop, p->fd, (struct unr_request){ UNR_CANCEL_ALL, -ESHUTDOWN }, NULL);
    unri_peers_add(loop, op, 1);
    unri_bucket(&loop->descriptors, p->fd)->closers++;
    if (is_alone(loop, p->fd, op))
        submit(loop, op);
}
