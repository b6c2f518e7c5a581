/* SPDX-License-Identifier: MIT */
/* Which memory a system call lends to the kernel, by its SQE; and a read of a receiver.  The checks
 * of UNR_LOOP_CHECKS read it here, and so does the simulated kernel. */
#include "lent.h"
#include "row.h"

#include <limits.h>
#include <linux/stat.h>
#include <signal.h>
#include <sys/epoll.h>

static void lend(const struct unri_lent_visitor *visitor, uint64_t at, uint64_t len,
                 enum unri_use use)
{
    if (at && len)
        visitor->visit(visitor->context, (void *)(uintptr_t)at, (size_t)len, use);
}

/* The kernel refuses more than IOV_MAX pieces, and reads none then. */
void unri_lent_pieces(const struct unri_lent_visitor *visitor, const struct iovec *pieces,
                      size_t count, enum unri_use use)
{
    if (!pieces || count > IOV_MAX)
        return;
    lend(visitor, (uintptr_t)pieces, count * sizeof *pieces, UNRI_READS);
    for (size_t i = 0; i < count; i++)
        lend(visitor, (uintptr_t)pieces[i].iov_base, pieces[i].iov_len, use);
}

/* Of a message that is received, the kernel writes the lengths of address and control data and the
 * flags. */
void unri_lent_message(const struct unri_lent_visitor *visitor, struct msghdr *message,
                       enum unri_use use)
{
    enum unri_use beside = use == UNRI_READS ? UNRI_READS : UNRI_ADJUSTS;
    if (!message)
        return;
    lend(visitor, (uintptr_t)message, sizeof *message, beside);
    lend(visitor, (uintptr_t)message->msg_name, message->msg_namelen, beside);
    lend(visitor, (uintptr_t)message->msg_control, message->msg_controllen, beside);
    unri_lent_pieces(visitor, message->msg_iov, (size_t)message->msg_iovlen, use);
}

static void lend_peer_address(const struct unri_lent_visitor *visitor, uint64_t address,
                              socklen_t *len)
{
    if (!address || !len)
        return;
    lend(visitor, address, *len, UNRI_SETS);
    lend(visitor, (uintptr_t)len, sizeof *len, UNRI_ADJUSTS);
}

/* The kernel takes a buffer that it was given before.  A message says how it is to be used, and is
 * written by a receive that has one shot. */
static void lend_layout(const struct unri_lent_visitor *visitor, const struct io_uring_sqe *sqe)
{
    if (sqe->opcode == IORING_OP_RECVMSG)
        lend(visitor, sqe->addr, sizeof(struct msghdr),
             sqe->ioprio & IORING_RECV_MULTISHOT ? UNRI_READS : UNRI_ADJUSTS);
}

void unri_lent_by_sqe(const void *of_sqe, unri_lent_fn *visit, void *context)
{
    const struct io_uring_sqe     *sqe = of_sqe;
    const struct unri_lent_visitor visitor = { visit, context };
    void                          *address = (void *)(uintptr_t)sqe->addr;
    if (sqe->flags & IOSQE_BUFFER_SELECT) {
        lend_layout(&visitor, sqe);
        return;
    }
    switch (sqe->opcode) {
    case IORING_OP_READ:
    case IORING_OP_READ_FIXED:
    case IORING_OP_RECV: lend(&visitor, sqe->addr, sqe->len, UNRI_FILLS); break;
    case IORING_OP_WRITE:
    case IORING_OP_WRITE_FIXED: lend(&visitor, sqe->addr, sqe->len, UNRI_READS); break;
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
        lend(&visitor, sqe->addr, sqe->len, UNRI_READS);
        lend(&visitor, sqe->addr2, sqe->addr_len, UNRI_READS);
        break;
    case IORING_OP_READV: unri_lent_pieces(&visitor, address, sqe->len, UNRI_FILLS); break;
    case IORING_OP_WRITEV: unri_lent_pieces(&visitor, address, sqe->len, UNRI_READS); break;
    case IORING_OP_RECVMSG: unri_lent_message(&visitor, address, UNRI_FILLS); break;
    case IORING_OP_SENDMSG:
    case IORING_OP_SENDMSG_ZC: unri_lent_message(&visitor, address, UNRI_READS); break;
    case IORING_OP_ACCEPT:
        lend_peer_address(&visitor, sqe->addr, (socklen_t *)(uintptr_t)sqe->addr2);
        break;
    case IORING_OP_CONNECT:
    case UNRI_OP_BIND: lend(&visitor, sqe->addr, sqe->addr2, UNRI_READS); break;
    case IORING_OP_STATX: lend(&visitor, sqe->addr2, sizeof(struct statx), UNRI_SETS); break;
    case UNRI_OP_WAITID: lend(&visitor, sqe->addr2, sizeof(siginfo_t), UNRI_SETS); break;
    case UNRI_OP_PIPE: lend(&visitor, sqe->addr, 2 * sizeof(int), UNRI_SETS); break;
    case UNRI_OP_EPOLL_WAIT:
        lend(&visitor, sqe->addr, sqe->len * sizeof(struct epoll_event), UNRI_SETS);
        break;
    case IORING_OP_GETXATTR:
    case IORING_OP_FGETXATTR: lend(&visitor, sqe->addr2, sqe->len, UNRI_SETS); break;
    case IORING_OP_SETXATTR:
    case IORING_OP_FSETXATTR: lend(&visitor, sqe->addr2, sqe->len, UNRI_READS); break;
    default: break;
    }
}
