/* SPDX-License-Identifier: MIT */
/* The operations that close a descriptor.  unr_close() does at once, unless another of them is
 * going to: the number would be another file's by then.  unr_cancel_close() asks all others on its
 * descriptor to cancel, and waits among them until it is alone.  Only then is it submitted, as a
 * close. */
#include "../lib/core/cancel.h"
#include "ring.h"
#include "row.h"

/* Tells whether a cancel_close has begun, and its close was not queued yet. */
static bool waits(const struct unr_op *closer)
{
    const struct unr_op_private *p = &closer->private_fields;
    return p->state == UNRI_IN_FLIGHT && !(p->flags & UNRI_AWAITS);
}

/* Returns the next operation on the descriptor, as unri_peers_next() does, but never the closer. */
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

/* The type's `peer_left`: another operation has left the descriptor, and its `done` comes next.  If
 * it was the last one, the close is queued. */
static void peer_left(struct unr_op *closer)
{
    if (waits(closer) && !next_peer(closer, NULL))
        unri_enqueue(closer);
}

/* Ends a closer whose descriptor another one closes. */
static void end_closed(struct unr_op *closer)
{
    unri_end(closer, -EBADF);
    unri_peers_leave_closers(&closer->private_fields.loop->descriptors, closer);
}

static void cancel_close_start(struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    bool                         busy = p->fd < 0 || unri_is_closed_by_another(op);
    unri_set_op_state(op, UNRI_IN_FLIGHT);
    if (busy) {
        end_closed(op);
        return;
    }
    request_peers(op);
    if (!next_peer(op, NULL))
        unri_enqueue(op);
}

/* Looks once more for others on the descriptor: the descriptor of an unr_sqe() that was queued
 * before this close has become known only when its SQE was filled in.  If there is one, the close
 * waits again.  An operation whose `done` alone is missing does not count: otherwise one that
 * starts itself again in its `done` would keep the descriptor open. */
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

/* What is in flight on the descriptor keeps its file, and not its number. */
void unri_number_is_closed(const struct unr_op *closer)
{
    for (struct unr_op *peer = NULL; (peer = next_peer(closer, peer)) != NULL;)
        unri_private(peer)->flags |= UNRI_FD_CLOSED;
}

static void close_start(struct unr_op *op)
{
    if (unlikely(unri_is_closed_by_another(op))) {
        end_closed(op);
        return;
    }
    unri_number_is_closed(op);
    unri_row_start(op);
}

const struct unri_row unri_row_close = {
    .type = { .size = sizeof(struct unr_op_type),
              .supports = UNR_CANCEL_NONE,
              .name = "close",
              .start = close_start,
              .cancel = unri_row_cancel,
              .private_fields = { .kind = UNRI_CALL, .descriptors = 1 } },
    .opcode = IORING_OP_CLOSE,
};
