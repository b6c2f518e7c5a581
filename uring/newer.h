/* SPDX-License-Identifier: MIT */
/* Constants of io_uring that are newer than liburing 2.3, the oldest that unring builds with.  They
 * are the kernel's own numbers (include/uapi/linux/io_uring.h, fs.h), named here so that nothing
 * depends on the installed header. */
#ifndef UNRI_NEWER_H
#define UNRI_NEWER_H

#define UNRI_OP_READ_MULTISHOT 49
#define UNRI_OP_WAITID         50
#define UNRI_OP_FUTEX_WAIT     51
#define UNRI_OP_FUTEX_WAKE     52
#define UNRI_OP_FUTEX_WAITV    53
#define UNRI_OP_FTRUNCATE      55
#define UNRI_OP_BIND           56
#define UNRI_OP_LISTEN         57
#define UNRI_OP_RECV_ZC        58
#define UNRI_OP_EPOLL_WAIT     59
#define UNRI_OP_PIPE           62

#define UNRI_ENTER_ABS_TIMER (1U << 5)

#define UNRI_RWF_NOSIGNAL 0x100

/* A flag of the kernel's own for messages of 32-bit programs, MSG_CMSG_COMPAT; no header has it. */
#define UNRI_MSG_OF_32_BITS 0x80000000u

#define UNRI_TIMEOUT_MULTISHOT   (1U << 6)
#define UNRI_RECVSEND_BUNDLE     (1U << 4)
#define UNRI_URING_CMD_MULTISHOT (1U << 1)

#define UNRI_PBUF_RING_INC  2
#define UNRI_CQE_F_BUF_MORE (1U << 4)

/* struct io_uring_buf_reg, whose `flags` have another name before liburing 2.4. */
struct unri_buf_reg {
    unsigned long long at; /* of the ring: page-aligned */
    unsigned           entries;
    unsigned short     group, flags;
    unsigned long long resv[3];
};

#endif
