/* SPDX-License-Identifier: MIT */
/* Sends that are tried at once, and what becomes of those that have to wait.
 *
 * A send that is tried at once calls send(2) in its start, which does not wait.  Where that has
 * moved all or has failed, the operation is over.  Where there is no room, it is queued like any
 * other call.  With MSG_WAITALL a part may have moved: `other_fd` counts it, the SQE has the rest,
 * and the result counts both. */
#include "../lib/core/op.h"
#include "enter.h"
#include "row.h"

#include <sys/uio.h>

/* ---- sends that wait ---- */

/* Whether a send is to wait before its first attempt, as far as the number of its descriptor tells.
 * Asks what a number is that is not known. */
static bool may_be_lost(struct unri_ring *ring, int fd)
{
    uint8_t *known = &unri_number(ring, fd)->send;
    if (*known == UNRI_SEND_UNKNOWN)
        *known = unri_enter_carries(fd) == UNRI_CARRIES_LOCAL_DATAGRAMS ? UNRI_SEND_LOSSY
                                                                        : UNRI_SEND_SAFE;
    if (*known == UNRI_SEND_SAFE)
        return false;
    --*known;
    return true;
}

/* Apart from the rest, so that a send on a stream keeps its few instructions. */
__attribute__((noinline)) static bool fill_unsafe_send(struct io_uring_sqe *sqe,
                                                       struct unri_ring    *ring)
{
    if (!(sqe->msg_flags & MSG_DONTWAIT) && may_be_lost(ring, sqe->fd))
        sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
    return true;
}

/* A unix datagram that finds its receiver's queue full is lost: the attempt has taken the bytes,
 * and the next one sends an empty datagram.  So the kernel waits for room before the first attempt,
 * which it can for a socket that is connected.  (With MSG_DONTWAIT it would end the send instead,
 * without an attempt.)  A stream is not to pay for that: it loses nothing, and is known by its
 * number. */
bool unri_fill_send(struct io_uring_sqe *sqe, struct unr_op *op)
{
    struct unri_ring *ring = op->private_fields.loop->ring;
    if (likely(unri_number(ring, op->private_fields.fd)->send == UNRI_SEND_SAFE))
        return true;
    return fill_unsafe_send(sqe, ring);
}

/* ---- sends that are tried at once ---- */

/* Tells whether an operation in flight may write to its descriptor, or close it, shut it down or
 * connect it: what an unr_sqe() does is not known. */
static bool may_write(const struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    if (p->state == UNRI_FINISHED || unri_kind(op) == UNRI_PARKED)
        return false;
    if (p->flags & UNRI_ON_TWO_FDS)
        return true;
    switch (unri_row_of(op)->yields) {
    case UNRI_YIELDS_BYTES:
    case UNRI_YIELDS_EVENTS:
    case UNRI_YIELDS_FD: return false;
    default: return true;
    }
}

/* Tells whether a send would overtake another operation.  One that starts is the first of its
 * peers, so those behind it were there before. */
static bool would_overtake(const struct unr_op *op)
{
    const struct unr_op_private   *p = &op->private_fields;
    const struct unri_descriptors *descriptors = &p->loop->descriptors;
    for (const struct unr_op *peer = op;
         (peer = unri_peers_next(descriptors, p->fd, peer)) != NULL;)
        if (may_write(peer))
            return true;
    return false;
}

/* Tries to send, and ends the operation if anything came of that.  An operation that comes too late
 * has a peer that closes the descriptor. */
static bool send_at_once(struct unr_op *op, const struct iovec *pieces, unsigned n)
{
    struct unr_op_private *p = unri_private(op);
    if (p->flags & UNRI_INVALID || p->fd < 0 || would_overtake(op))
        return false;
    ssize_t sent = unri_enter_send(p->fd, pieces, n, p->call_flags & ~(unsigned)MSG_WAITALL);
    if (sent == -EAGAIN)
        return false;
    if (p->call_flags & MSG_WAITALL && sent >= 0 && sent < (ssize_t)p->length) {
        p->other_fd = (int32_t)sent;
        return false;
    }
    op->result.bytes = sent > 0 ? (uint64_t)sent : 0;
    unri_end_uncancelled(op, sent < 0 ? (int)sent : 0);
    return true;
}

static void send_now_start(struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    const struct iovec           piece = { (void *)(uintptr_t)p->address, p->length };
    if (!send_at_once(op, &piece, 1))
        unri_row_start(op);
}

/* What has moved cannot be taken back, so the operation has begun. */
static void send_now_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    if (op->private_fields.state == UNRI_QUEUED && unri_sent_before(op)) {
        unri_take_back(op);
        op->result.bytes = unri_sent_before(op);
        op->result.fd = -1; /* this and `bytes` were scratch memory */
        unri_end(op, -ECANCELED);
    } else {
        unri_row_cancel(op, request);
    }
}

static bool send_now_fill(struct io_uring_sqe *sqe, struct unr_op *op)
{
    sqe->addr += unri_sent_before(op);
    sqe->len -= unri_sent_before(op);
    sqe->splice_fd_in = 0;
    return unri_fill_send(sqe, op);
}

/* The kernel knows the rest alone.  An error behind a part is left to the next send, as the kernel
 * does it itself. */
static int count_on(struct unr_op *op, int res, unsigned cqe_flags)
{
    int before = (int)unri_sent_before(op);
    (void)cqe_flags;
    return before ? before + (res > 0 ? res : 0) : res;
}

const struct unri_row unri_row_send_now = {
    .type = { .size = sizeof(struct unr_op_type),
              .supports = UNR_CANCEL_ALL,
              .name = "send_now",
              .start = send_now_start,
              .cancel = send_now_cancel,
              .private_fields = { .kind = UNRI_CALL, .descriptors = 1 } },
    .opcode = IORING_OP_SEND,
    .yields = UNRI_YIELDS_SENT,
    .is_special = true,
    .counts_on = true,
    .repeats = true,
    .fill = send_now_fill,
    .look = count_on,
};

/* ---- the steps of streams ---- */

static void send_step_start(struct unr_op *op)
{
    if (op->private_fields.loop->ring->sends_at_once)
        send_now_start(op);
    else
        unri_row_start(op);
}

static void sendmsg_step_start(struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    const struct msghdr         *message = (const struct msghdr *)(uintptr_t)p->address;
    if (!p->loop->ring->sends_at_once
        || !send_at_once(op, message->msg_iov, (unsigned)message->msg_iovlen))
        unri_row_start(op);
}

#define STEP(call, code)                                                                           \
    const struct unri_row unri_row_##call##_step = {                                               \
        .type = { .size = sizeof(struct unr_op_type),                                              \
                  .supports = UNR_CANCEL_ALL,                                                      \
                  .name = #call,                                                                   \
                  .start = call##_step_start,                                                      \
                  .cancel = unri_row_cancel,                                                       \
                  .private_fields = { .kind = UNRI_CALL, .descriptors = 1 } },                     \
        .opcode = code,                                                                            \
        .yields = UNRI_YIELDS_SENT,                                                                \
        .repeats = true,                                                                           \
        .fill = unri_fill_send,                                                                    \
    }
STEP(send, IORING_OP_SEND);
STEP(sendmsg, IORING_OP_SENDMSG);
