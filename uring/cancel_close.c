/* SPDX-License-Identifier: MIT */
/* unr_cancel_close: the one operation on a descriptor that is more than an SQE.  It asks all others
 * on the descriptor to cancel, waits among them until it is alone, and then is submitted as a
 * close. */
#include "../lib/core/cancel.h"
#include "ring.h"
#include "row.h"

static bool waits(const struct unr_op *closer)
{
    const struct unr_op_private *p = &closer->private_fields;
    return p->state == UNRI_IN_FLIGHT && !(p->flags & UNRI_AWAITS);
}

static struct unr_op *next_peer(const struct unr_op *closer, const struct unr_op *behind)
{
    const struct unr_op_private *p = &closer->private_fields;
    struct unr_op               *op = unri_peers_next(&p->loop->descriptors, p->fd, behind);
    return op == closer ? unri_peers_next(&p->loop->descriptors, p->fd, op) : op;
}

static void request_peers(const struct unr_op *closer)
{
    const struct unr_op_private *p = &closer->private_fields;
    unri_request_fd(p->loop, p->fd, (struct unr_cancel_request){ UNR_CANCEL_ALL, -ESHUTDOWN },
                    closer);
}

/* The type's `peer_left`: another operation on the descriptor is about to run its `done`. */
static void peer_left(struct unr_op *closer)
{
    if (waits(closer) && !next_peer(closer, NULL))
        unri_enqueue(closer);
}

static void cancel_close_start(struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    bool                         busy = p->fd < 0 || unri_being_closed(p->loop, p->fd);
    unri_set_op_state(op, UNRI_IN_FLIGHT);
    if (busy) {
        unri_end(op, -EBADF);
        return;
    }
    request_peers(op);
    if (!next_peer(op, NULL))
        unri_enqueue(op);
}

/* The descriptor of an unr_sqe() that was queued before is known only since it was filled in: then
 * this waits once more.  A peer whose `done` alone is missing is no reason to, or an operation that
 * starts itself again would keep the descriptor open. */
static bool cancel_close_fill(struct io_uring_sqe *sqe, struct unr_op *op)
{
    (void)sqe;
    request_peers(op);
    for (struct unr_op *peer = NULL; (peer = next_peer(op, peer)) != NULL;)
        if (peer->private_fields.state != UNRI_FINISHED) {
            unri_clear_flags(op, UNRI_AWAITS_TARGET);
            return false;
        }
    return true;
}

const struct unri_row unri_row_cancel_close = {
    .type = { .size = sizeof(struct unr_op_type),
              .supports = UNR_CANCEL_NONE,
              .name = "cancel_close",
              .start = cancel_close_start,
              .cancel = unri_row_cancel,
              .private_fields = { .kind = UNRI_CLOSER, .descriptors = 1, .peer_left = peer_left } },
    .opcode = IORING_OP_CLOSE,
    .fill = cancel_close_fill,
};
