/* SPDX-License-Identifier: MIT */
/* Results that nobody asked for.  The kernel ends a request with EINTR, ERESTARTSYS or ECANCELED
 * though no cancel was sent for it:
 *
 *   - The process was stopped and continued: by job control, a debugger, or the freezer of its
 *     cgroup.  The workers that wait in a call are interrupted.
 *   - The kernel could not make a worker: RLIMIT_NPROC, a cgroup's pids.max.  The call has not
 *     begun.
 *   - Somebody else cancelled: an unr_sqe() of IORING_OP_ASYNC_CANCEL, say.
 *   - A timerfd of TFD_TIMER_CANCEL_ON_SET reports that the clock was set.
 *
 * Where nothing was done, the operation is submitted again, as if the kernel had not answered: it
 * is QUEUED until then, so a request ends it without a system call. */
#include "again.h"
#include "enter.h"
#include "repeat.h"
#include "row.h"

#include <fcntl.h>
#include <sys/socket.h>

/* Over TCP a connect goes on, as connect(2) has it. */
bool unri_did_nothing(const struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    const struct unri_row       *row = unri_row_of(op);
    switch (row->opcode) {
    case IORING_OP_CONNECT: return unri_family_of_connect(op) == AF_UNIX;
    case IORING_OP_OPENAT: return !(p->call_flags & O_EXCL); /* it may have made the file */
    default: return row->repeats;
    }
}

/* Tells whether a worker executes the operation, or would have, so that ECANCELED means that there
 * was none.  A cancel by somebody else looks alike; no harm is done if the call is made again then.
 *
 * A worker waits in a connect over AF_UNIX, in a send of a unix datagram, for which no poll can
 * wait, and in a read or write of nearly all that is no socket: of files, of devices that have no
 * poll, and of pipes and timers before Linux 6.5 and 6.10. */
static bool needs_worker(const struct unr_op *op)
{
    const struct unri_row *row = unri_row_of(op);
    int                    fd = op->private_fields.fd;
    if (row->opcode == IORING_OP_CONNECT)
        return unri_family_of_connect(op) == AF_UNIX;
    if (row->in_worker || (row->yields != UNRI_YIELDS_BYTES && row->yields != UNRI_YIELDS_SENT))
        return row->in_worker;
    return unri_enter_waits(fd) == UNRI_WAITS_IN_WORKER
           || (row->yields == UNRI_YIELDS_SENT
               && unri_enter_carries(fd) == UNRI_CARRIES_LOCAL_DATAGRAMS);
}

static bool is_read(const struct unr_op *op)
{
    uint8_t opcode = unri_row_of(op)->opcode;
    return opcode == IORING_OP_READ || opcode == IORING_OP_READV;
}

/* What an ECANCELED means that ends an operation. */
static int res_of_cancelled(struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    if (p->flags & UNRI_CLOSES)
        return unri_enter_close_now(p->fd); /* a close is owed, and no worker takes it */
    if (needs_worker(op)) {
        p->flags |= UNRI_NO_WORKER;
        return -EAGAIN;
    }
    if (is_read(op) && unri_enter_waits(p->fd) == UNRI_WAITS_FOR_CLOCK) {
        p->flags |= UNRI_CLOCK_SET;
        return -ECANCELED;
    }
    return -EINTR;
}

/* An interruption is waited out for ever, as a thread would that calls again.  For a worker it
 * waits half a second. */
int unri_interrupted(struct unr_loop *loop, struct unr_op *op, int res)
{
    const struct unr_op_private *p = &op->private_fields;
    if (p->flags & UNRI_FD_CLOSED)
        return -EINTR;     /* nothing is asked of a number that may be another file's */
    if (res != -ECANCELED) /* with which the call has not begun, and cannot have lasted */
        unri_repeat_anew(loop, op);
    bool again = res == -ECANCELED ? needs_worker(op) : unri_did_nothing(op);
    if (res == -ECANCELED && unri_attempts(op) == UNRI_REPEAT_LEVELS)
        again = false;
    if (again && !(p->flags & UNRI_CLOSES)) {
        unri_set_op_state(op, UNRI_QUEUED);
        unri_repeat_later(loop, op);
        return UNRI_AGAIN;
    }
    return res == -ECANCELED ? res_of_cancelled(op) : -EINTR;
}
