/* SPDX-License-Identifier: MIT */
/* What becomes of sends that have to wait. */
#include "enter.h"
#include "row.h"

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
