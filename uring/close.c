/* SPDX-License-Identifier: MIT */
/* The operations that close a descriptor.  unr_close() does at once, unless another of them is
 * going to: the number would be another file's by then.  unr_cancel_close() asks all others on its
 * descriptor to cancel, and waits among them until it is alone.  Only then is it submitted, as a
 * close.
 *
 * A close may wait: a socket with SO_LINGER for its peer, a file that no name refers to any more
 * for its blocks to be freed, a terminal for its output.  The loop's thread is not to wait there.
 * So of such a file a second number is taken before the first is closed.  Closing the first waits
 * for nothing then, because the file stays open, and a worker of the kernel closes the second.  The
 * operation ends with the close of the first: its number is open until the SQE is submitted and
 * free from its CQE on, as the number of every other close.  (If a worker closed it, it would be
 * free before anybody knew, and what got it next could not be told from what had it before.)
 *
 * The second number belongs to the ring.  The loop is not closed before a worker has closed it.  A
 * forked child has it too, and nobody there knows it. */
#include "../lib/core/cancel.h"
#include "enter.h"
#include "ring.h"
#include "row.h"
#include "submit.h"

static void fill_release(struct io_uring_sqe *sqe, int fd)
{
    *sqe = (struct io_uring_sqe){
        .opcode = IORING_OP_CLOSE,
        .flags = IOSQE_ASYNC,
        .fd = fd,
        .user_data = (uint64_t)fd << UNRI_WHICH_BITS | UNRI_RELEASE,
    };
}

/* The SQE has to come behind that of the first number, or the first would be the last. */
void unri_release(struct unri_ring *ring, int fd)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->io);
    ring->unreleased = sqe ? -1 : fd;
    if (sqe)
        fill_release(sqe, fd);
}

/* ECANCELED says that no worker could be made: the loop's thread closes the number then. */
void unri_released(struct unri_ring *ring, int fd, int res)
{
    ring->releasing--;
    if (res == -ECANCELED)
        unri_enter_close_now(fd);
}

enum { LOOK_LASTS_MS = 8 };

/* Looks at what is to be closed, and takes a second number of a file whose close may wait.  Apart
 * from the rest, so that nearly all closes keep their few instructions. */
__attribute__((noinline)) static bool look_and_fill(struct unri_ring *ring, struct unr_op *op)
{
    int               fd = op->private_fields.fd;
    enum unri_closing closing = unri_enter_closing(fd);
    if (closing == UNRI_CLOSING_LINGERS)
        ring->look_lasts = ring->looks_left = 0;
    else if (closing == UNRI_CLOSING_IS_QUICK)
        unri_number(ring, fd)->quick_at = unri_started_ms(op);
    if (ring->looks_left && --ring->looks_left == 0)
        ring->look_lasts = LOOK_LASTS_MS;
    int second = closing >= UNRI_CLOSING_WAITS ? unri_enter_second_number(fd) : -1;
    if (second >= 0) {
        ring->releasing++;
        unri_release(ring, second);
    }
    return true;
}

/* A system call for each close would make closing a socket slower by a quarter and more.  So a
 * number that was seen to be a plain socket's, or a pipe's, is taken to be one still for a few
 * milliseconds: a busy loop looks at a number some hundred times in a second.  A loop that has not
 * closed much looks each time, and so does one that has seen a socket linger.  Files are looked at
 * each time. */
static bool close_fill(struct io_uring_sqe *sqe, struct unr_op *op)
{
    struct unri_ring *ring = op->private_fields.loop->ring;
    (void)sqe;
    if (likely(unri_started_ms(op) - unri_number(ring, op->private_fields.fd)->quick_at
               < ring->look_lasts))
        return true;
    return look_and_fill(ring, op);
}

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
    return look_and_fill(op->private_fields.loop->ring, op);
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
        if (!unri_stands_for_structure(peer))
            unri_lose_number(peer);
        else if (unri_own_supports(peer)) /* a stop ends with what it stops */
            unri_request_in_time(peer, (struct unr_cancel_request){ UNR_CANCEL_ALL, -ESHUTDOWN });
}

/* Only a kernel that lacks the call ends it in its start besides: no argument is refused, and it
 * supports NONE. */
static void close_start(struct unr_op *op)
{
    if (unlikely(unri_is_closed_by_another(op))) {
        end_closed(op);
        return;
    }
    unri_number_is_closed(op);
    if (likely(unri_ring_has(op->private_fields.loop->ring, IORING_OP_CLOSE)))
        unri_enqueue(op);
    else
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
    .fill = close_fill,
};
