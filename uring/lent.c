/* SPDX-License-Identifier: MIT */
/* Which memory a system call lends to the kernel, by its SQE.  The checks of UNR_LOOP_CHECKS read
 * it here, and so does the simulated kernel. */
#include "lent.h"
#include "row.h"

#include <limits.h>
#include <linux/stat.h>
#include <signal.h>
#include <sys/epoll.h>

/* Whoever hears of what is lent. */
struct lender {
    unri_lent_fn *visit;
    void         *context;
};

static void lend(const struct lender *lender, uint64_t at, uint64_t len, enum unri_use use)
{
    if (at && len)
        lender->visit(lender->context, (void *)(uintptr_t)at, (size_t)len, use);
}

/* The kernel refuses more than IOV_MAX pieces, and reads none then. */
static void lend_pieces(const struct lender *lender, const struct iovec *pieces, size_t count,
                        enum unri_use use)
{
    if (!pieces || count > IOV_MAX)
        return;
    lend(lender, (uintptr_t)pieces, count * sizeof *pieces, UNRI_READS);
    for (size_t i = 0; i < count; i++)
        lend(lender, (uintptr_t)pieces[i].iov_base, pieces[i].iov_len, use);
}

/* Of a message that is received, the kernel writes the lengths of address and control data and the
 * flags. */
static void lend_message(const struct lender *lender, struct msghdr *message, enum unri_use use)
{
    enum unri_use beside = use == UNRI_READS ? UNRI_READS : UNRI_ADJUSTS;
    if (!message)
        return;
    lend(lender, (uintptr_t)message, sizeof *message, beside);
    lend(lender, (uintptr_t)message->msg_name, message->msg_namelen, beside);
    lend(lender, (uintptr_t)message->msg_control, message->msg_controllen, beside);
    lend_pieces(lender, message->msg_iov, (size_t)message->msg_iovlen, use);
}

static void lend_peer_address(const struct lender *lender, uint64_t address, socklen_t *len)
{
    if (!address || !len)
        return;
    lend(lender, address, *len, UNRI_SETS);
    lend(lender, (uintptr_t)len, sizeof *len, UNRI_ADJUSTS);
}

void unri_lent_by_sqe(const void *of_sqe, unri_lent_fn *visit, void *context)
{
    const struct io_uring_sqe *sqe = of_sqe;
    const struct lender        lender = { visit, context };
    void                      *address = (void *)(uintptr_t)sqe->addr;
    if (sqe->flags & IOSQE_BUFFER_SELECT)
        return; /* the kernel takes a buffer that it was given before */
    switch (sqe->opcode) {
    case IORING_OP_READ:
    case IORING_OP_READ_FIXED:
    case IORING_OP_RECV: lend(&lender, sqe->addr, sqe->len, UNRI_FILLS); break;
    case IORING_OP_WRITE:
    case IORING_OP_WRITE_FIXED: lend(&lender, sqe->addr, sqe->len, UNRI_READS); break;
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
        lend(&lender, sqe->addr, sqe->len, UNRI_READS);
        lend(&lender, sqe->addr2, sqe->addr_len, UNRI_READS);
        break;
    case IORING_OP_READV: lend_pieces(&lender, address, sqe->len, UNRI_FILLS); break;
    case IORING_OP_WRITEV: lend_pieces(&lender, address, sqe->len, UNRI_READS); break;
    case IORING_OP_RECVMSG: lend_message(&lender, address, UNRI_FILLS); break;
    case IORING_OP_SENDMSG:
    case IORING_OP_SENDMSG_ZC: lend_message(&lender, address, UNRI_READS); break;
    case IORING_OP_ACCEPT:
        lend_peer_address(&lender, sqe->addr, (socklen_t *)(uintptr_t)sqe->addr2);
        break;
    case IORING_OP_CONNECT:
    case UNRI_OP_BIND: lend(&lender, sqe->addr, sqe->addr2, UNRI_READS); break;
    case IORING_OP_STATX: lend(&lender, sqe->addr2, sizeof(struct statx), UNRI_SETS); break;
    case UNRI_OP_WAITID: lend(&lender, sqe->addr2, sizeof(siginfo_t), UNRI_SETS); break;
    case UNRI_OP_PIPE: lend(&lender, sqe->addr, 2 * sizeof(int), UNRI_SETS); break;
    case UNRI_OP_EPOLL_WAIT:
        lend(&lender, sqe->addr, sqe->len * sizeof(struct epoll_event), UNRI_SETS);
        break;
    case IORING_OP_GETXATTR:
    case IORING_OP_FGETXATTR: lend(&lender, sqe->addr2, sqe->len, UNRI_SETS); break;
    case IORING_OP_SETXATTR:
    case IORING_OP_FSETXATTR: lend(&lender, sqe->addr2, sqe->len, UNRI_READS); break;
    default: break;
    }
}
