/* SPDX-License-Identifier: MIT */
/* unr_sqe(): an operation whose SQE a function of the caller's fills in.  That function runs when
 * the operation gets its SQE; before that, unring knows neither the opcode nor the descriptor.
 *
 * The operation keeps the function in `address`, the function's context in `offset`, and its own
 * name in the wide argument (unri_wide()).  Once it is submitted, `offset` has how many bytes were
 * asked for. */
#include "../lib/core/cancel.h"
#include "cancel.h"
#include "lent.h"
#include "row.h"

#include <unring/system.h>

static const char *name_of_caller(const struct unr_op *op)
{
    return (const char *)(uintptr_t)unri_wide(&op->private_fields);
}

/* From its submission on, other_fd holds the flags of the operation's CQEs: unring follows no
 * second descriptor of an SQE that it does not know. */
uint32_t unr_sqe_flags(const struct unr_op *op)
{
    return (uint32_t)op->private_fields.other_fd;
}

/* Takes back that an operation awaits its CQE, which fill_queued() has set: the kernel will not see
 * the operation.  A cancel that the caller's function has asked for is not sent either. */
static void do_not_submit(struct unr_op *op)
{
    unri_clear_flags(op, UNRI_AWAITS_TARGET);
    unri_withdraw_cancel(op->private_fields.loop->ring, op);
}

/* Tells whether sqe->fd is a descriptor.  These few opcodes do not use it, or use it for something
 * else. */
static bool has_fd(const struct io_uring_sqe *sqe)
{
    switch (sqe->opcode) {
    case IORING_OP_NOP:
    case IORING_OP_TIMEOUT:
    case IORING_OP_TIMEOUT_REMOVE:
    case IORING_OP_LINK_TIMEOUT:
    case IORING_OP_ASYNC_CANCEL:
    case IORING_OP_FILES_UPDATE:
    case IORING_OP_MADVISE:
    case IORING_OP_PROVIDE_BUFFERS:
    case IORING_OP_REMOVE_BUFFERS:
    case IORING_OP_SOCKET:
    case IORING_OP_GETXATTR:
    case IORING_OP_SETXATTR:
    case UNRI_OP_WAITID:
    case UNRI_OP_FUTEX_WAIT:
    case UNRI_OP_FUTEX_WAKE:
    case UNRI_OP_FUTEX_WAITV:
    case UNRI_OP_PIPE: return false;
    case IORING_OP_CLOSE: return !sqe->file_index; /* else it closes a registered file */
    default: return true;
    }
}

/* Tells whether more than one CQE may come of the SQE itself.  Of a send each bundle of buffers is
 * a shot.  The notification of a zero-copy send is none. */
static bool is_multishot(const struct io_uring_sqe *sqe)
{
    switch (sqe->opcode) {
    case UNRI_OP_READ_MULTISHOT: return true;
    case IORING_OP_POLL_ADD: return sqe->len & IORING_POLL_ADD_MULTI;
    case IORING_OP_ACCEPT: return sqe->ioprio & IORING_ACCEPT_MULTISHOT;
    case IORING_OP_RECV:
    case IORING_OP_RECVMSG:
    case UNRI_OP_RECV_ZC: return sqe->ioprio & IORING_RECV_MULTISHOT;
    case IORING_OP_SEND: return sqe->ioprio & UNRI_RECVSEND_BUNDLE;
    case IORING_OP_TIMEOUT: return sqe->timeout_flags & UNRI_TIMEOUT_MULTISHOT;
    case IORING_OP_URING_CMD: return sqe->cancel_flags & UNRI_URING_CMD_MULTISHOT;
    default: return false;
    }
}

/* The descriptor is known only now, so the operation was among the peers on no descriptor, and
 * moves to the peers on this one. */
static void move_to_descriptor(struct unr_op *op, const struct io_uring_sqe *sqe)
{
    struct unr_op_private *p = unri_private(op);
    unri_peers_remove(&p->loop->descriptors, op);
    p->fd = sqe->fd;
    if (sqe->opcode == IORING_OP_CLOSE)
        p->flags |= UNRI_CLOSES;
    unri_peers_add(&p->loop->descriptors, op, 1);
}

/* Ends an operation that comes too late for its descriptor, as a start does: where a cancel_close
 * waits for the others there, or where it is itself the second that closes it. */
static bool may_be_submitted(struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    bool                   too_late = unri_own_supports(op) && unri_being_closed(p->loop, p->fd);
    if (!too_late && !(p->flags & UNRI_CLOSES && unri_is_closed_by_another(op))) {
        if (p->flags & UNRI_CLOSES)
            unri_number_is_closed(op);
        return true;
    }
    do_not_submit(op);
    if (too_late) {
        unri_count_request(p->loop, op);
        unri_end_unsubmitted(op, (struct unr_cancel_request){ UNR_CANCEL_ALL, -ESHUTDOWN });
    } else {
        unri_end(op, -EBADF);
    }
    return false;
}

/* Returns how many bytes a transfer is asked to move; 0 where the SQE does not say: a message has
 * its own lengths, and of provided buffers the kernel takes what it likes. */
static uint32_t bytes_asked(const struct io_uring_sqe *sqe)
{
    switch (sqe->opcode) {
    case IORING_OP_READ:
    case IORING_OP_WRITE:
    case IORING_OP_READ_FIXED:
    case IORING_OP_WRITE_FIXED:
    case IORING_OP_RECV:
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC: return sqe->flags & IOSQE_BUFFER_SELECT ? 0 : sqe->len;
    default: return 0;
    }
}

static bool fill_of_caller(struct io_uring_sqe *sqe, struct unr_op *op)
{
    const unsigned breaks_the_join =
        IOSQE_CQE_SKIP_SUCCESS | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_IO_DRAIN;
    struct unr_op_private *p = unri_private(op);
    *sqe = (struct io_uring_sqe){ 0 };
    ((unr_fill_fn *)(uintptr_t)p->address)(sqe, (void *)(uintptr_t)p->offset);
    if (is_multishot(sqe)) {
        p->flags |= UNRI_MULTISHOT;
        unri_check_shots(op);
    }
    if (sqe->flags & breaks_the_join) {
        do_not_submit(op);
        unri_end(op, -EINVAL);
        return false;
    }
    if (sqe->opcode == IORING_OP_SEND_ZC || sqe->opcode == IORING_OP_SENDMSG_ZC)
        p->flags |= UNRI_ZERO_COPY;
    p->other_fd = 0;
    p->offset = bytes_asked(sqe); /* the context has served */
    bool on_descriptor = has_fd(sqe) && !(sqe->flags & IOSQE_FIXED_FILE);
    if (on_descriptor)
        move_to_descriptor(op, sqe);
    bool submitted = !on_descriptor || may_be_submitted(op);
    if (unlikely(p->flags & UNRI_CHECKED))
        unri_check_again(op, submitted ? unri_lent_by_sqe : NULL, sqe);
    return submitted;
}

/* The notification of a zero-copy send leaves the flags of the send. */
static int keep_flags(struct unr_op *op, int res, unsigned cqe_flags)
{
    if (!(cqe_flags & IORING_CQE_F_NOTIF))
        unri_private(op)->other_fd = (int32_t)cqe_flags;
    return res;
}

const struct unri_row unri_row_sqe = {
    .type = { .size = sizeof(struct unr_op_type),
              .supports = UNR_CANCEL_ALL,
              .name = "sqe",
              .start = unri_row_start,
              .cancel = unri_row_cancel,
              .name_of = name_of_caller,
              .private_fields = { .kind = UNRI_CALL } },
    .opcode = IORING_OP_NOP,
    .yields = UNRI_YIELDS_VALUE,
    .is_special = true,
    .fill = fill_of_caller,
    .look = keep_flags,
};

struct unr_op *unr_sqe(struct unr_op *op, const char *name, unsigned supports, unr_fill_fn *fill,
                       void *context)
{
    struct unr_op_private *p = unri_private(op);
    unr_describe(op, &unri_row_sqe.type);
    unri_set_supports(op, supports & UNR_CANCEL_ALL);
    p->fd = -1;
    p->other_fd = 0;
    p->address = (uintptr_t)fill;
    p->offset = (uintptr_t)context;
    unri_set_wide(p, (uintptr_t)name);
    return op;
}
