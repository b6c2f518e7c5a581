/* SPDX-License-Identifier: MIT */
/* From the CQ to a finished operation.  An operation has up to four kinds of CQE: its own last one,
 * the notification of a zero-copy send, the answer to its cancel, and the answer to the undoing of
 * a connect.  The operation is finished when each of these that was submitted has come, in
 * whichever order (rule 7, The join).  Only then is the verdict known, and only then does no CQE
 * refer to the operation's memory any more.  What the answer to a cancel means is decided in
 * cancel.c. */
#include "complete.h"
#include "../lib/core/check.h"
#include "again.h"
#include "cancel.h"
#include "enter.h"
#include "row.h"
#include "submit.h"

/* ---- the result ---- */

static uint64_t bytes_in(const struct iovec *pieces, size_t count)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += pieces[i].iov_len;
    return total;
}

/* Returns how many bytes a transfer was asked to move.  It reads the caller's message or pieces,
 * which are lent until `done`. */
static uint64_t bytes_asked(const struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    const void                  *address = (const void *)(uintptr_t)p->address;
    const struct msghdr         *msg = address;
    switch (unri_row_of(op)->opcode) {
    case IORING_OP_RECVMSG:
    case IORING_OP_SENDMSG: return bytes_in(msg->msg_iov, (size_t)msg->msg_iovlen);
    case IORING_OP_WRITEV: return bytes_in(address, p->length);
    case IORING_OP_NOP: return p->offset; /* unr_sqe(): 0, where that does not know */
    default: return p->length;
    }
}

static bool yields_bytes(const struct unri_row *row)
{
    return row->yields == UNRI_YIELDS_BYTES || row->yields == UNRI_YIELDS_SENT
           || row == &unri_row_sqe;
}

/* Tells whether a cancel has hit a transfer that goes on after a part has moved. */
static bool was_hit_on_its_way(const struct unr_op *op)
{
    return op->private_fields.flags & UNRI_CANCEL_HIT
           && (unri_own_supports(op) & (UNR_CANCEL_PARTIAL | UNR_CANCEL_TOTAL))
                  == UNR_CANCEL_PARTIAL;
}

/* Rule 4, Counts: a MSG_WAITALL transfer that has moved a part when a cancel hits it ends with that
 * count, and not with an error.  Nothing else tells such a transfer from one that completed. */
static bool was_cut_short(const struct unr_op *op, int res)
{
    return was_hit_on_its_way(op) && yields_bytes(unri_row_of(op))
           && (uint64_t)res < bytes_asked(op);
}

/* Returns the error of an operation whose own last CQE said `res`.  A success stays a success
 * whatever was requested (rule 3, Truth).  -ECANCELED stands for a request that took effect (rule
 * 4, Counts): an interruption that nobody has asked for does not get here, but for the one of a
 * timerfd, see own_cqe(). */
static int error_of(const struct unr_op *op, int res)
{
    bool honoured = op->private_fields.flags & UNRI_HONOURED;
    if (honoured && (res < 0 ? unri_is_interruption(res) : was_cut_short(op, res)))
        return -ECANCELED;
    return res < 0 ? res : 0;
}

/* The error of an operation that has sent nothing, by a CQE that says 0.  Where it was given bytes
 * to send on a socket that carries datagrams, they are lost, and an empty datagram may have gone
 * out in their place: see unri_fill_send().  That happens where the socket is not connected, so
 * that the kernel cannot wait for room; where another sender was quicker; and where the socket was
 * taken for something else, which the next send asks again.
 *
 * A number that was closed meanwhile may be another file's, and is not asked.  It does not have to
 * be: streams and files take at least a byte of what they are given, or say why not.
 *
 * Apart from the rest, so that all other operations keep their few instructions. */
__attribute__((noinline)) static int error_of_nothing_sent(struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    if (!bytes_asked(op))
        return 0;
    if (!(p->flags & UNRI_FD_CLOSED)) {
        if (unri_enter_carries(p->fd) < UNRI_CARRIES_DATAGRAMS)
            return 0;
        unri_number(p->loop->ring, p->fd)->send = UNRI_SEND_UNKNOWN;
    }
    p->flags |= UNRI_LOST_DATA;
    return -EAGAIN;
}

/* Makes the result of `res`, but for the error.  Returns false where the kernel has sent nothing,
 * which it calls a success: then error_of_nothing_sent() tells. */
static bool yield_result(struct unr_result *r, enum unri_yields yields, int res)
{
    r->value = 0;
    r->fd = -1;
    if (res < 0)
        return true;
    switch (yields) {
    case UNRI_YIELDS_FD: r->fd = res; break;
    case UNRI_YIELDS_EVENTS: r->events = (uint32_t)res; break;
    case UNRI_YIELDS_SENT: r->bytes = (uint64_t)res; return res > 0;
    case UNRI_YIELDS_BYTES: r->bytes = (uint64_t)res; break;
    case UNRI_YIELDS_NOTHING:
    case UNRI_YIELDS_VALUE: r->value = res; break;
    }
    return true;
}

/* Ends an operation of two kinds, for which unri_end() alone does not do.
 *
 * Apart from the rest, as few are. */
__attribute__((noinline)) static void end_specially(struct unr_op *op, int error)
{
    struct unr_result *r = &op->result;
    if (op->private_fields.flags & UNRI_CLOCK_SET) {
        unri_end_uncancelled(op, error);
        return;
    }
    unri_end(op, error);
    /* The SQE did not say how much was asked for, so the count stays a success. */
    if (r->error == 0 && r->value > 0 && !bytes_asked(op) && was_hit_on_its_way(op))
        r->verdict = UNR_VERDICT_CANCELLED;
}

/* Tells whether the socket of a cancelled connect may go on connecting: the kernel ends the I/O
 * request, and leaves a TCP socket in SYN_SENT.  (AF_UNIX has no such state.) */
static bool needs_undoing(const struct unr_op *op, int res)
{
    return unri_row_of(op)->opcode == IORING_OP_CONNECT && unri_is_interruption(res)
           && unri_family_of_connect(op) != AF_UNIX;
}

/* Tells whether a call that a request has ended, with the CQE `res`, may have done something all
 * the same: a worker was in it, and was interrupted.  What an unr_sqe() does is its caller's to
 * say.
 *
 * Apart from the rest, as few are interrupted. */
__attribute__((noinline)) static bool may_have_done_something(const struct unr_op *op, int res)
{
    if (needs_undoing(op, res))
        return op->private_fields.flags & UNRI_UNDO_FAILED;
    return res < 0 && res != -ECANCELED && unri_row_of(op) != &unri_row_sqe
           && !unri_did_nothing(op);
}

/* Ends an operation whose last missing CQE has come.  Its result is made of what was kept of all
 * its CQEs. */
static void finish(struct unr_op *op)
{
    const struct unri_row *row = unri_row_of(op);
    if (row->goes_on && row->goes_on(op, unri_res(op)))
        return;
    int res = unri_res(op);
    int error = error_of(op, res);
    if (!yield_result(&op->result, row->yields, res) && !error)
        error = error_of_nothing_sent(op);
    if (res >= 0 && row->completed)
        row->completed(op);
    if (error == -ECANCELED
        && unlikely(res != -ECANCELED || op->private_fields.flags & UNRI_UNDO_FAILED)
        && may_have_done_something(op, res))
        op->result.guarantee = UNR_CANCEL_TERMINAL;
    if (unlikely(row == &unri_row_sqe || op->private_fields.flags & UNRI_CLOCK_SET))
        end_specially(op, error);
    else
        unri_end(op, error);
}

/* ---- its own CQEs ---- */

/* Takes an operation's own last CQE, and keeps its `res`.  A cancel that was not sent yet is taken
 * back; a cancel that was sent is still awaited. */
static void target_arrived(struct unri_ring *ring, struct unr_op *op, int res)
{
    struct unr_op_private *p = unri_private(op);
    if (unlikely(op->private_fields.flags & (UNRI_WANTS_CANCEL | UNRI_WANTS_REPEAT)))
        unri_withdraw_cancel(ring, op);
    unri_clear_flags(op, UNRI_AWAITS_TARGET);
    unri_set_res(op, res);
    if (unlikely(p->flags & UNRI_HONOURED) && needs_undoing(op, res)) {
        if (p->flags & UNRI_FD_CLOSED) { /* the number may be another connection's */
            p->flags |= UNRI_UNDO_FAILED;
            return;
        }
        p->flags |= UNRI_WANTS_UNDO;
        unri_queue_push(&ring->urgent, op);
    }
}

/* Runs the `done` of one shot of a multishot operation.  The whole result is the caller's to read
 * meanwhile, also the fields that link the operation into a list of the ring.  So a cancel that
 * waits on such a list is taken back first, and asked for again afterwards.
 *
 * Apart from the rest, so that all other operations keep their few instructions. */
__attribute__((noinline)) static void hand_out_shot(struct unr_loop *loop, struct unr_op *op,
                                                    int res)
{
    struct unri_ring      *ring = loop->ring;
    struct unr_op_private *p = unri_private(op);
    bool                   wanted = p->flags & (UNRI_WANTS_CANCEL | UNRI_WANTS_REPEAT);
    struct unr_result      shot = { .error = res < 0 ? res : 0 };
    yield_result(&shot, unri_row_of(op)->yields, res);
    unri_withdraw_cancel(ring, op);
    unri_run_shot(loop, op, &shot);
    ring->ran_shots = true;
    if (wanted && !(p->flags & UNRI_WANTS_CANCEL))
        unri_want_cancel(ring, op);
}

/* Takes a CQE of the operation itself.  With the flag MORE it announces that another will come: of
 * a zero-copy send its notification, of every other operation a further shot. */
static void own_cqe(struct unr_loop *loop, struct unr_op *op, int res, unsigned flags)
{
    struct unr_op_private *p = unri_private(op);
    if (unlikely(unri_row_of(op)->look != NULL))
        res = unri_row_of(op)->look(op, res, flags);
    if (!(p->flags & UNRI_HONOURED) && unlikely(unri_is_interruption(res))
        && (res = unri_interrupted(loop, op, res)) == UNRI_AGAIN)
        return;
    if (flags & IORING_CQE_F_NOTIF) {
        p->flags ^= UNRI_AWAITS_NOTIF; /* the first of the two CQEs sets it, the second clears it */
    } else if (!(flags & IORING_CQE_F_MORE)) {
        target_arrived(loop->ring, op, res);
    } else if (p->flags & UNRI_ZERO_COPY) {
        target_arrived(loop->ring, op, res);
        p->flags ^= UNRI_AWAITS_NOTIF;
    } else if (unri_kind(op) != UNRI_ARMED) {
        hand_out_shot(loop, op, res);
    }
}

/* Takes the answer to the undoing of a connect. */
static void undo_cqe(struct unr_op *op, int res)
{
    struct unr_op_private *p = unri_private(op);
    unri_clear_flags(op, UNRI_AWAITS_UNDO);
    if (res < 0)
        p->flags |= UNRI_UNDO_FAILED;
}

/* ---- reaping ---- */

/* Tells whether an operation takes the short way, as nearly all do: its only CQE has come and is a
 * success, and nobody asked to cancel. */
static bool is_plain(const struct unr_op *op, const struct io_uring_cqe *cqe)
{
    const unsigned flags = UNRI_AWAITS | UNRI_HONOURED | UNRI_ZERO_COPY;
    return (cqe->user_data & UNRI_WHICH) == UNRI_OWN && cqe->res >= 0
           && !unri_row_of(op)->is_special
           && (op->private_fields.flags & flags) == UNRI_AWAITS_TARGET;
}

static struct unr_op *op_of(const struct io_uring_cqe *cqe)
{
    return (struct unr_op *)(uintptr_t)(cqe->user_data & ~(uint64_t)UNRI_WHICH);
}

/* Takes one CQE, and ends its operation if that awaits no other. */
static void cqe_arrived(struct unr_loop *loop, const struct io_uring_cqe *cqe)
{
    struct unr_op *op = op_of(cqe);
    if (likely(is_plain(op, cqe))) {
        unri_private(op)->flags ^= UNRI_AWAITS_TARGET;
        if (likely(yield_result(&op->result, unri_row_of(op)->yields, cqe->res)))
            unri_end(op, 0);
        else
            unri_end(op, error_of_nothing_sent(op));
        return;
    }
    unsigned which = cqe->user_data & UNRI_WHICH;
    if (which == UNRI_OWN) {
        own_cqe(loop, op, cqe->res, cqe->flags);
    } else if (which == UNRI_CANCEL) {
        unri_cancel_answered(loop, op, cqe->res);
    } else if (which == UNRI_UNDO) {
        undo_cqe(op, cqe->res);
    } else {
        unri_released(loop->ring, (int)(cqe->user_data >> UNRI_WHICH_BITS), cqe->res);
        return;
    }
    if (!(op->private_fields.flags & (UNRI_AWAITS | UNRI_WANTS_UNDO)))
        finish(op);
}

/* Looks at each operation of which a CQE has come, before the CQE is believed: its `user_data` may
 * be the address of memory that is another's by now.  And at some of those that go on. */
__attribute__((noinline)) static void check_operations(struct unr_loop *loop)
{
    struct io_uring     *io = &loop->ring->io;
    struct io_uring_cqe *cqe;
    unsigned             head;
    io_uring_for_each_cqe(io, head, cqe) {
        if ((cqe->user_data & UNRI_WHICH) == UNRI_OWN)
            unri_check_completed(loop, op_of(cqe));
        else
            unri_check_memory(loop, op_of(cqe));
    }
    unri_check_some(loop);
}

/* Takes the CQEs that are there when it begins.  A plain ring gets others meanwhile, by system
 * calls of the `done`s of shots, and they are the next reap's: each of them might bring one more,
 * and the turn would never end.
 *
 * The head of the CQ moves once, at the end, so that the kernel does not reuse an entry that is
 * still being read. */
void unri_reap(struct unr_loop *loop)
{
    struct io_uring     *io = &loop->ring->io;
    struct io_uring_cqe *cqe;
    unsigned             head, count = 0, ready = io_uring_cq_ready(io);
    loop->ring->reaps++;
    if (unlikely(loop->checks != NULL))
        check_operations(loop);
    io_uring_for_each_cqe(io, head, cqe) {
        if (count == ready)
            break;
        cqe_arrived(loop, cqe);
        count++;
    }
    io_uring_cq_advance(io, count);
}
