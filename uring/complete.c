/* From the CQ to a finished operation.  An operation has up to four kinds of CQE: its own last one,
 * a zero-copy send's notification, the answer to its cancel, the answer to a connect's undoing.  It
 * is finished when none that was submitted is missing, in whichever order they come (rule 7); only
 * then is the verdict known, and only then can no CQE refer to its memory any more. */
#include "complete.h"
#include "cancel.h"
#include "row.h"

/* ---- the result ---- */

/* ERESTARTSYS and its like, which the kernel keeps for itself but lets escape when a worker is
 * interrupted. */
static bool is_restart(int res)
{
    return res <= -512 && res >= -516;
}

static bool is_cancelled(int res)
{
    return res == -ECANCELED || res == -EINTR || is_restart(res);
}

/* What a MSG_WAITALL transfer was asked to move in all.  Asked before `done`, while the arguments
 * are lent. */
static uint64_t bytes_asked(const struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    unsigned                     opcode = unri_row_of(op)->opcode;
    if (opcode != IORING_OP_RECVMSG && opcode != IORING_OP_SENDMSG)
        return p->length;
    const struct msghdr *msg = (const struct msghdr *)(uintptr_t)p->address;
    uint64_t             total = 0;
    for (size_t i = 0; i < (size_t)msg->msg_iovlen; i++)
        total += msg->msg_iov[i].iov_len;
    return total;
}

/* The kernel reports a MSG_WAITALL transfer that was cut short by a cancel with its count. */
static bool was_cut_short(const struct unr_op *op, int res)
{
    const struct unr_op_private *p = &op->private_fields;
    return p->flags & UNRI_CANCEL_HIT
           && (unri_own_supports(op) & (UNR_CANCEL_PARTIAL | UNR_CANCEL_TOTAL))
                  == UNR_CANCEL_PARTIAL
           && unri_row_of(op)->yields == UNRI_YIELDS_BYTES && (uint64_t)res < bytes_asked(op);
}

static int error_of(const struct unr_op *op, int res)
{
    bool honoured = op->private_fields.flags & UNRI_HONOURED;
    if (honoured && (res < 0 ? is_cancelled(res) : was_cut_short(op, res)))
        return -ECANCELED;
    if (res >= 0)
        return 0;
    if (res == -ECANCELED)
        return -EIO; /* nobody asked for it */
    return is_restart(res) ? -EINTR : res;
}

static void yield_result(struct unr_result *r, enum unri_yields yields, int res)
{
    r->value = 0;
    r->fd = -1;
    if (res < 0)
        return;
    switch (yields) {
    case UNRI_YIELDS_FD: r->fd = res; break;
    case UNRI_YIELDS_EVENTS: r->events = (uint32_t)res; break;
    case UNRI_YIELDS_BYTES: r->bytes = (uint64_t)res; break;
    case UNRI_YIELDS_NOTHING:
    case UNRI_YIELDS_VALUE: r->value = res; break;
    }
}

static void finish(struct unr_op *op)
{
    const struct unri_row *row = unri_row_of(op);
    int                    res = unri_res(op);
    int                    error = error_of(op, res);
    yield_result(&op->result, row->yields, res);
    if (res >= 0 && row->completed)
        row->completed(op);
    if (error == -ECANCELED && op->private_fields.flags & UNRI_UNDO_FAILED)
        op->result.guarantee = UNR_CANCEL_TERMINAL;
    unri_end(op, error);
}

/* ---- its own CQEs ---- */

/* A cancelled connect of a stream socket may have left it connecting.  (AF_UNIX has no such
 * state.) */
static bool needs_undoing(const struct unr_op *op, int res)
{
    const struct unr_op_private *p = &op->private_fields;
    if (unri_row_of(op)->opcode != IORING_OP_CONNECT || !(p->flags & UNRI_HONOURED)
        || !is_cancelled(res))
        return false;
    return p->offset >= sizeof(sa_family_t)
           && ((const struct sockaddr *)(uintptr_t)p->address)->sa_family != AF_UNIX;
}

static void target_arrived(struct unri_ring *ring, struct unr_op *op, int res)
{
    struct unr_op_private *p = unri_private(op);
    if (unlikely(op->private_fields.flags & (UNRI_WANTS_CANCEL | UNRI_WANTS_REPEAT)))
        unri_withdraw_cancel(ring, op);
    unri_clear_flags(op, UNRI_AWAITS_TARGET);
    unri_set_res(op, res);
    if (unlikely(p->flags & UNRI_HONOURED) && needs_undoing(op, res)) {
        p->flags |= UNRI_WANTS_UNDO;
        unri_queue_push(&ring->urgent, op);
    }
}

/* A shot of a multishot operation: its result is the caller's while `done` runs, so the scratch in
 * it is put aside. */
static void shot(struct unr_loop *loop, struct unr_op *op, int res)
{
    struct unri_ring      *ring = loop->ring;
    struct unr_op_private *p = unri_private(op);
    bool                   wanted = p->flags & (UNRI_WANTS_CANCEL | UNRI_WANTS_REPEAT);
    unri_withdraw_cancel(ring, op);
    unri_run_shot(loop, op, res);
    ring->ran_shots = true;
    if (wanted && !(p->flags & UNRI_WANTS_CANCEL)) {
        unri_want_cancel(ring, op);
    }
}

static void own_cqe(struct unr_loop *loop, struct unr_op *op, int res, unsigned flags)
{
    struct unr_op_private *p = unri_private(op);
    if (unri_row_of(op) == &unri_row_sqe && !(flags & IORING_CQE_F_NOTIF))
        p->other_fd = (int32_t)flags;
    if (flags & IORING_CQE_F_NOTIF) {
        p->flags ^= UNRI_AWAITS_NOTIF; /* of the two CQEs the first sets it, the second clears it */
    } else if (!(flags & IORING_CQE_F_MORE)) {
        target_arrived(loop->ring, op, res);
    } else if (p->flags & UNRI_ZERO_COPY) {
        target_arrived(loop->ring, op, res);
        p->flags ^= UNRI_AWAITS_NOTIF;
    } else {
        shot(loop, op, res);
    }
}

/* ---- the answers to what was sent about it ---- */

static void undo_cqe(struct unr_op *op, int res)
{
    struct unr_op_private *p = unri_private(op);
    unri_clear_flags(op, UNRI_AWAITS_UNDO);
    if (res < 0)
        p->flags |= UNRI_UNDO_FAILED;
}

/* ---- reaping ---- */

/* The way of nearly all: one CQE, a success, and nobody asked to cancel. */
static bool is_plain(const struct unr_op *op, const struct io_uring_cqe *cqe)
{
    const unsigned flags = UNRI_AWAITS | UNRI_HONOURED | UNRI_ZERO_COPY;
    return (cqe->user_data & UNRI_WHICH) == UNRI_OWN && cqe->res >= 0
           && !unri_row_of(op)->is_special
           && (op->private_fields.flags & flags) == UNRI_AWAITS_TARGET;
}

static void cqe_arrived(struct unr_loop *loop, const struct io_uring_cqe *cqe)
{
    struct unr_op *op = (struct unr_op *)(uintptr_t)(cqe->user_data & ~(uint64_t)UNRI_WHICH);
    if (likely(is_plain(op, cqe))) {
        unri_private(op)->flags ^= UNRI_AWAITS_TARGET;
        yield_result(&op->result, unri_row_of(op)->yields, cqe->res);
        unri_end(op, 0);
        return;
    }
    switch (cqe->user_data & UNRI_WHICH) {
    case UNRI_OWN: own_cqe(loop, op, cqe->res, cqe->flags); break;
    case UNRI_CANCEL: unri_cancel_answered(loop, op, cqe->res); break;
    case UNRI_UNDO: undo_cqe(op, cqe->res); break;
    }
    if (!(op->private_fields.flags & (UNRI_AWAITS | UNRI_WANTS_UNDO)))
        finish(op);
}

void unri_reap(struct unr_loop *loop)
{
    struct io_uring     *io = &loop->ring->io;
    struct io_uring_cqe *cqe;
    unsigned             head, count = 0;
    loop->ring->reaps++;
    io_uring_for_each_cqe(io, head, cqe) {
        cqe_arrived(loop, cqe);
        count++;
    }
    io_uring_cq_advance(io, count);
}
