/* SPDX-License-Identifier: MIT */
/* The system calls: a line of the list for each, and a function that describes it.  close.c, sqe.c
 * and send.c have the rows that are more than that.
 *
 * A description holds the fields of the SQE - fd, off, addr, len, the call's flags, splice_fd_in -
 * in the places that io_uring_prep_*(3) gives them, so that filling an SQE is copying them.  A row
 * whose SQE differs has a `fill`. */
#include "enter.h"
#include "lent.h"
#include "row.h"
#include "send.h"

#include <limits.h>
#include <unring.h>

/* ---- rows whose SQE is more than their arguments ---- */

/* renameat(2) and linkat(2) have their second descriptor in len.  In the operation it is in
 * other_fd, as for every operation on two descriptors. */
static bool fill_two_directories(struct io_uring_sqe *sqe, struct unr_op *op)
{
    sqe->len = (uint32_t)op->private_fields.other_fd;
    sqe->splice_fd_in = 0;
    return true;
}

/* The mask has 64 bits, for which the operation has two fields of 32. */
static bool fill_futex(struct io_uring_sqe *sqe, struct unr_op *op)
{
    sqe->len = 0;
    sqe->rw_flags = 0;
    sqe->addr3 = unri_wide(unri_private(op));
    return true;
}

/* A write to a pipe or socket without a reader raises SIGPIPE where the kernel cannot be told not
 * to. */
static bool fill_write(struct io_uring_sqe *sqe, struct unr_op *op)
{
    if (op->private_fields.loop->ring->nosignal_write)
        sqe->rw_flags |= UNRI_RWF_NOSIGNAL;
    return true;
}

/* recvfrom(2) is a recvmsg(2) with a message of its own, whose length of the address is the
 * caller's before the call and after it. */
static bool fill_recvfrom(struct io_uring_sqe *sqe, struct unr_op *op)
{
    struct unr_datagram_private *d = &((struct unr_datagram *)op)->private_fields;
    (void)sqe;
    d->message.msg_namelen = d->addrlen ? *d->addrlen : 0;
    return true;
}

static void complete_recvfrom(struct unr_op *op)
{
    struct unr_datagram_private *d = &((struct unr_datagram *)op)->private_fields;
    if (d->addrlen)
        *d->addrlen = d->message.msg_namelen;
}

/* An SQE has 16 bits for the length of an address, where other calls have a descriptor of 32. */
static bool fill_sendto(struct io_uring_sqe *sqe, struct unr_op *op)
{
    sqe->splice_fd_in = 0;
    sqe->addr_len = (uint16_t)op->private_fields.other_fd;
    return unri_fill_send(sqe, op);
}

/* getxattr(2) and setxattr(2) have three pointers and a length, and no descriptor: the operation
 * keeps the path where others have two descriptors. */
static void set_path(struct unr_op_private *p, const char *path)
{
    p->fd = (int32_t)(uint32_t)(uintptr_t)path;
    p->other_fd = (int32_t)((uint64_t)(uintptr_t)path >> 32);
}

static bool fill_xattr(struct io_uring_sqe *sqe, struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    sqe->fd = 0;
    sqe->splice_fd_in = 0;
    sqe->addr3 = (uint64_t)(uint32_t)p->other_fd << 32 | (uint32_t)p->fd;
    return true;
}

/* ---- the list ---- */

/* All system calls, and the one place that lists them.  A CALL is defined from its line; an OTHER
 * has a row of its own elsewhere.
 *
 *   name     of the operation, for messages and for whoever looks it up
 *   cancels  what it supports until a describing function narrows that
 *   opcode   several may share one
 *   fds      how many descriptors it is in flight on: none, fd, or fd and other_fd
 *   yields   what a res of 0 or more is: see enum unri_yields
 *   EINTR    what an interruption that nobody asked for means: nothing was done, and the call is
 *            made AGAIN; or it ENDS the call, which may have done something.  (Two depend on their
 *            arguments: again.c.)
 *   runs in  a WORKER, whatever it is on; or the TASK that owns the loop, but for a transfer that
 *            waits for a file
 * and behind those, where it applies:
 *   .needs   the version of Linux that has it in io_uring, where that is newer than 6.1
 *   .fill    what its SQE has besides the arguments as describe() lays them out */
/* clang-format off */
#define CALLS(CALL, OTHER) \
    /*   name             cancels opcode                   fds yields   EINTR  runs in */ \
    CALL(nop,             TOTAL, IORING_OP_NOP,             0, NOTHING, ENDS,  TASK) \
    CALL(read,            TOTAL, IORING_OP_READ,            1, BYTES,   AGAIN, TASK) \
    CALL(write,           TOTAL, IORING_OP_WRITE,           1, SENT,    AGAIN, TASK, .fill = fill_write) \
    CALL(readv,           TOTAL, IORING_OP_READV,           1, BYTES,   AGAIN, TASK) \
    CALL(writev,          TOTAL, IORING_OP_WRITEV,          1, SENT,    AGAIN, TASK, .fill = fill_write) \
    CALL(read_with,       TOTAL, IORING_OP_READV,           1, BYTES,   AGAIN, TASK) \
    CALL(write_with,      TOTAL, IORING_OP_WRITEV,          1, SENT,    AGAIN, TASK, .fill = fill_write) \
    CALL(recv,            TOTAL, IORING_OP_RECV,            1, BYTES,   AGAIN, TASK) \
    CALL(send,            TOTAL, IORING_OP_SEND,            1, SENT,    AGAIN, TASK, .fill = unri_fill_send) \
    CALL(recvfrom,        TOTAL, IORING_OP_RECVMSG,         1, BYTES,   AGAIN, TASK, .fill = fill_recvfrom, \
                                                           .completed = complete_recvfrom, .is_special = true) \
    OTHER(send_now) \
    CALL(sendto,          TOTAL, IORING_OP_SEND,            1, SENT,    AGAIN, TASK, .fill = fill_sendto) \
    CALL(recvmsg,         TOTAL, IORING_OP_RECVMSG,         1, BYTES,   AGAIN, TASK) \
    CALL(sendmsg,         TOTAL, IORING_OP_SENDMSG,         1, SENT,    AGAIN, TASK, .fill = unri_fill_send) \
    CALL(accept,          TOTAL, IORING_OP_ACCEPT,          1, FD,      AGAIN, TASK) \
    CALL(connect,         TOTAL, IORING_OP_CONNECT,         1, NOTHING, ENDS,  TASK) \
    CALL(poll,            TOTAL, IORING_OP_POLL_ADD,        1, EVENTS,  AGAIN, TASK) \
    CALL(epoll_wait,      TOTAL, UNRI_OP_EPOLL_WAIT,        1, VALUE,   AGAIN, TASK, .needs = "6.15") \
    CALL(shutdown,        TOTAL, IORING_OP_SHUTDOWN,        1, NOTHING, ENDS,  WORKER) \
    OTHER(close) \
    OTHER(cancel_close) \
    CALL(socket,          TOTAL, IORING_OP_SOCKET,          0, FD,      AGAIN, TASK) \
    CALL(bind,            TOTAL, UNRI_OP_BIND,              1, NOTHING, ENDS,  TASK, .needs = "6.11") \
    CALL(listen,          TOTAL, UNRI_OP_LISTEN,            1, NOTHING, ENDS,  TASK, .needs = "6.11") \
    CALL(pipe,            TOTAL, UNRI_OP_PIPE,              0, NOTHING, AGAIN, TASK, .needs = "6.16") \
    CALL(splice,          TOTAL, IORING_OP_SPLICE,          2, BYTES,   AGAIN, WORKER) \
    CALL(tee,             TOTAL, IORING_OP_TEE,             2, BYTES,   AGAIN, WORKER) \
    CALL(openat,          TOTAL, IORING_OP_OPENAT,          1, FD,      AGAIN, WORKER) \
    CALL(fsync,           TOTAL, IORING_OP_FSYNC,           1, NOTHING, AGAIN, WORKER) \
    CALL(statx,           TOTAL, IORING_OP_STATX,           1, NOTHING, AGAIN, WORKER) \
    CALL(getxattr,        TOTAL, IORING_OP_GETXATTR,        0, VALUE,   AGAIN, WORKER, .fill = fill_xattr) \
    CALL(fgetxattr,       TOTAL, IORING_OP_FGETXATTR,       1, VALUE,   AGAIN, WORKER) \
    CALL(setxattr,        TOTAL, IORING_OP_SETXATTR,        0, NOTHING, ENDS,  WORKER, .fill = fill_xattr) \
    CALL(ftruncate,       TOTAL, UNRI_OP_FTRUNCATE,         1, NOTHING, AGAIN, WORKER, .needs = "6.9") \
    CALL(fallocate,       TOTAL, IORING_OP_FALLOCATE,       1, NOTHING, ENDS,  WORKER) \
    CALL(fadvise,         TOTAL, IORING_OP_FADVISE,         1, NOTHING, AGAIN, WORKER) \
    CALL(sync_file_range, TOTAL, IORING_OP_SYNC_FILE_RANGE, 1, NOTHING, AGAIN, WORKER) \
    CALL(unlinkat,        TOTAL, IORING_OP_UNLINKAT,        1, NOTHING, ENDS,  WORKER) \
    CALL(renameat,        TOTAL, IORING_OP_RENAMEAT,        2, NOTHING, ENDS,  WORKER, .fill = fill_two_directories) \
    CALL(linkat,          TOTAL, IORING_OP_LINKAT,          2, NOTHING, ENDS,  WORKER, .fill = fill_two_directories) \
    CALL(symlinkat,       TOTAL, IORING_OP_SYMLINKAT,       1, NOTHING, ENDS,  WORKER) \
    CALL(mkdirat,         TOTAL, IORING_OP_MKDIRAT,         1, NOTHING, ENDS,  WORKER) \
    CALL(waitid,          TOTAL, UNRI_OP_WAITID,            0, NOTHING, AGAIN, TASK, .needs = "6.7") \
    CALL(futex_wait,      TOTAL, UNRI_OP_FUTEX_WAIT,        0, NOTHING, AGAIN, TASK, .needs = "6.7", .fill = fill_futex) \
    CALL(futex_wake,      TOTAL, UNRI_OP_FUTEX_WAKE,        0, VALUE,   ENDS,  TASK, .needs = "6.7", .fill = fill_futex) \
    OTHER(sqe)
/* clang-format on */

#define TOTAL UNR_CANCEL_ALL
#define NONE  UNR_CANCEL_NONE

#define AGAIN  true
#define ENDS   false
#define WORKER true
#define TASK   false

#define ROW(call, cancels, code, fds, result, after_eintr, runs_in, ...)                           \
    static const struct unri_row unri_row_##call = {                                               \
        .type = { .size = sizeof(struct unr_op_type),                                              \
                  .supports = cancels,                                                             \
                  .name = #call,                                                                   \
                  .start = unri_row_start,                                                         \
                  .cancel = unri_row_cancel,                                                       \
                  .private_fields = { .kind = UNRI_CALL, .descriptors = fds } },                   \
        .opcode = code,                                                                            \
        .yields = UNRI_YIELDS_##result,                                                            \
        .repeats = after_eintr,                                                                    \
        .in_worker = runs_in,                                                                      \
        __VA_ARGS__                                                                                \
    };
#define ADDRESS(call, ...) &unri_row_##call,
#define NOT_HERE(call)

CALLS(ROW, NOT_HERE)

/* The loop's own; see unri_alarm(). */
ROW(alarm, TOTAL, IORING_OP_TIMEOUT, 0, NOTHING, ENDS, TASK)

const struct unri_row *const unri_rows[] = { CALLS(ADDRESS, ADDRESS) };
const unsigned               unri_row_count = sizeof unri_rows / sizeof *unri_rows;

const char *unri_row_needs(const struct unr_op *op)
{
    const char *needs = unri_row_of(op)->needs;
    return needs ? needs : "6.1";
}

/* The message of a recvfrom does not have the length of its address before fill_recvfrom(). */
void unri_lend(const void *described, unri_lent_fn *visit, void *context)
{
    const struct unr_op               *op = described;
    const struct unr_datagram_private *d =
        &((const struct unr_datagram *)described)->private_fields;
    struct io_uring_sqe sqe;
    unri_fill_row(&sqe, op);
    if (unri_row_of(op)->takes_buffers) {
        sqe.flags = IOSQE_BUFFER_SELECT;
        sqe.ioprio = IORING_RECV_MULTISHOT;
    }
    unri_lent_by_sqe(&sqe, visit, context);
    if (op->type == &unri_row_recvfrom.type && d->addrlen) {
        visit(context, d->message.msg_name, *d->addrlen, UNRI_SETS);
        visit(context, d->addrlen, sizeof *d->addrlen, UNRI_ADJUSTS);
    }
}

/* ---- describing ---- */

static struct unr_op_private *describe(struct unr_op *op, const struct unri_row *row, int fd,
                                       const void *address, uint64_t length, uint64_t offset)
{
    unr_describe(op, &row->type);
    struct unr_op_private *p = unri_private(op);
    p->fd = fd;
    p->other_fd = 0;
    p->length = (uint32_t)length;
    p->call_flags = 0;
    p->address = (uintptr_t)address;
    p->offset = offset;
    return p;
}

static struct unr_op *with_flags(struct unr_op *op, unsigned flags)
{
    unri_private(op)->call_flags = flags;
    return op;
}

static struct unr_op *invalid_if(struct unr_op *op, bool invalid)
{
    if (unlikely(invalid))
        unri_private(op)->flags |= UNRI_INVALID;
    return op;
}

/* The kernel's MAX_RW_COUNT: read(2) and write(2) move no more at once whatever they are asked
 * for. */
static uint32_t transfer_length(size_t len)
{
    return len < 0x7ffff000 ? (uint32_t)len : 0x7ffff000;
}

/* With MSG_WAITALL the kernel goes on after a part has moved, so the operation can promise nothing
 * better than PARTIAL. */
static struct unr_op *narrow(struct unr_op *op, int flags)
{
    if (flags & MSG_WAITALL)
        unri_set_supports(op, UNR_CANCEL_PARTIAL | UNR_CANCEL_TERMINAL);
    return with_flags(op, (unsigned)flags);
}

/* The kernel repeats a receive with MSG_WAITALL until the buffer is full.  With MSG_PEEK each
 * repetition finds the same bytes again, so both flags together are refused. */
static struct unr_op *receive(struct unr_op *op, int flags)
{
    if (flags & MSG_WAITALL)
        unri_private(op)->flags |= UNRI_FILLS_BUFFER;
    return invalid_if(narrow(op, flags), flags & MSG_WAITALL && flags & MSG_PEEK);
}

/* With MSG_ZEROCOPY the kernel reads the memory after the send has completed.  The error queue of
 * the socket says until when, which is after `done`. */
static struct unr_op *transmit(struct unr_op *op, int flags)
{
    return invalid_if(narrow(op, flags | MSG_NOSIGNAL), flags & MSG_ZEROCOPY);
}

/* recvmsg(2) and sendmsg(2) refuse it.  io_uring does not, and hands received descriptors over in a
 * form that the program does not find them in. */
static struct unr_op *invalid_if_of_32_bits(struct unr_op *op, int flags)
{
    return invalid_if(op, (unsigned)flags & UNRI_MSG_OF_32_BITS);
}

struct unr_op *unr_nop(struct unr_op *op)
{
    describe(op, &unri_row_nop, -1, NULL, 0, 0);
    return op;
}

struct unr_op *unr_read(struct unr_op *op, int fd, void *buf, size_t len, int64_t offset)
{
    describe(op, &unri_row_read, fd, buf, transfer_length(len), (uint64_t)offset);
    return invalid_if(op, offset < -1);
}

struct unr_op *unr_write(struct unr_op *op, int fd, const void *buf, size_t len, int64_t offset)
{
    describe(op, &unri_row_write, fd, buf, transfer_length(len), (uint64_t)offset);
    return invalid_if(op, offset < -1);
}

struct unr_op *unr_readv(struct unr_op *op, int fd, const struct iovec *iov, unsigned n,
                         int64_t offset)
{
    describe(op, &unri_row_readv, fd, iov, n, (uint64_t)offset);
    return invalid_if(op, offset < -1);
}

struct unr_op *unr_writev(struct unr_op *op, int fd, const struct iovec *iov, unsigned n,
                          int64_t offset)
{
    describe(op, &unri_row_writev, fd, iov, n, (uint64_t)offset);
    return invalid_if(op, offset < -1);
}

struct unr_op *unr_read_with(struct unr_op *op, int fd, const struct iovec *iov, unsigned n,
                             int64_t offset, int rwf)
{
    describe(op, &unri_row_read_with, fd, iov, n, (uint64_t)offset);
    return invalid_if(with_flags(op, (unsigned)rwf), offset < -1);
}

struct unr_op *unr_write_with(struct unr_op *op, int fd, const struct iovec *iov, unsigned n,
                              int64_t offset, int rwf)
{
    describe(op, &unri_row_write_with, fd, iov, n, (uint64_t)offset);
    return invalid_if(with_flags(op, (unsigned)rwf), offset < -1);
}

struct unr_op *unr_recv(struct unr_op *op, int fd, void *buf, size_t len, int flags)
{
    describe(op, &unri_row_recv, fd, buf, len, 0);
    return invalid_if(receive(op, flags), len > INT_MAX);
}

struct unr_op *unr_send(struct unr_op *op, int fd, const void *buf, size_t len, int flags)
{
    describe(op, &unri_row_send, fd, buf, len, 0);
    return invalid_if(transmit(op, flags), len > INT_MAX);
}

struct unr_op *unr_send_now(struct unr_op *op, int fd, const void *buf, size_t len, int flags)
{
    describe(op, &unri_row_send_now, fd, buf, len, 0);
    return invalid_if(transmit(op, flags), len > INT_MAX);
}

struct unr_op *unri_send_step(struct unr_op *op, int fd, const void *buf, size_t len)
{
    describe(op, &unri_row_send_step, fd, buf, len, 0);
    return transmit(op, 0);
}

struct unr_op *unri_sendmsg_step(struct unr_op *op, int fd, const struct msghdr *msg)
{
    describe(op, &unri_row_sendmsg_step, fd, msg, 1, 0);
    return transmit(op, 0);
}

struct unr_op *unr_recvfrom(struct unr_datagram *datagram, int fd, void *buf, size_t len, int flags,
                            struct sockaddr *addr, socklen_t *addrlen)
{
    struct unr_datagram_private *d = &datagram->private_fields;
    describe(&datagram->op, &unri_row_recvfrom, fd, &d->message, 1, 0);
    d->piece = (struct iovec){ .iov_base = buf, .iov_len = len };
    d->message = (struct msghdr){ .msg_name = addr, .msg_iov = &d->piece, .msg_iovlen = 1 };
    d->addrlen = addr ? addrlen : NULL;
    return invalid_if(receive(&datagram->op, flags), len > INT_MAX || (addr && !addrlen));
}

struct unr_op *unr_sendto(struct unr_op *op, int fd, const void *buf, size_t len, int flags,
                          const struct sockaddr *addr, socklen_t addrlen)
{
    describe(op, &unri_row_sendto, fd, buf, len, (uintptr_t)addr)->other_fd = (int32_t)addrlen;
    return invalid_if(transmit(op, flags), len > INT_MAX || addrlen > UINT16_MAX);
}

struct unr_op *unr_recvmsg(struct unr_op *op, int fd, struct msghdr *msg, int flags)
{
    describe(op, &unri_row_recvmsg, fd, msg, 1, 0);
    return invalid_if_of_32_bits(receive(op, flags), flags);
}

struct unr_op *unr_sendmsg(struct unr_op *op, int fd, const struct msghdr *msg, int flags)
{
    describe(op, &unri_row_sendmsg, fd, msg, 1, 0);
    return invalid_if_of_32_bits(transmit(op, flags), flags);
}

struct unr_op *unr_accept(struct unr_op *op, int fd, struct sockaddr *addr, socklen_t *len,
                          int flags)
{
    describe(op, &unri_row_accept, fd, addr, 0, (uintptr_t)len);
    return with_flags(op, (unsigned)flags);
}

struct unr_op *unr_connect(struct unr_op *op, int fd, const struct sockaddr *addr, socklen_t len)
{
    describe(op, &unri_row_connect, fd, addr, 0, len);
    return op;
}

struct unr_op *unr_poll(struct unr_op *op, int fd, uint32_t events)
{
    describe(op, &unri_row_poll, fd, NULL, 0, 0);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    events = events << 16 | events >> 16; /* the kernel's order of the two halves */
#endif
    return with_flags(op, events);
}

struct unr_op *unr_epoll_wait(struct unr_op *op, int epfd, struct epoll_event *events, int max)
{
    describe(op, &unri_row_epoll_wait, epfd, events, (unsigned)max, 0);
    return invalid_if(op, max <= 0);
}

struct unr_op *unr_shutdown(struct unr_op *op, int fd, int how)
{
    describe(op, &unri_row_shutdown, fd, NULL, (unsigned)how, 0);
    return op;
}

struct unr_op *unr_fsync(struct unr_op *op, int fd, unsigned flags)
{
    describe(op, &unri_row_fsync, fd, NULL, 0, 0);
    return with_flags(op, flags);
}

struct unr_op *unr_openat(struct unr_op *op, int dirfd, const char *path, int flags, mode_t mode)
{
    describe(op, &unri_row_openat, dirfd, path, mode, 0);
    return with_flags(op, (unsigned)flags);
}

struct unr_op *unr_close(struct unr_op *op, int fd)
{
    describe(op, &unri_row_close, fd, NULL, 0, 0)->flags |= UNRI_CLOSES;
    return op;
}

struct unr_op *unr_cancel_close(struct unr_op *op, int fd)
{
    describe(op, &unri_row_cancel_close, fd, NULL, 0, 0)->flags |= UNRI_CLOSES;
    return op;
}

struct unr_op *unr_socket(struct unr_op *op, int domain, int type, int protocol)
{
    describe(op, &unri_row_socket, domain, NULL, (unsigned)protocol, (unsigned)type);
    return op;
}

struct unr_op *unr_bind(struct unr_op *op, int fd, const struct sockaddr *addr, socklen_t len)
{
    describe(op, &unri_row_bind, fd, addr, 0, len);
    return op;
}

struct unr_op *unr_listen(struct unr_op *op, int fd, int backlog)
{
    describe(op, &unri_row_listen, fd, NULL, (unsigned)backlog, 0);
    return op;
}

struct unr_op *unr_pipe(struct unr_op *op, int fds[2], int flags)
{
    describe(op, &unri_row_pipe, 0, fds, 0, 0);
    return with_flags(op, (unsigned)flags);
}

/* `from_offset` is where other calls have an address, as in the SQE (splice_off_in).
 *
 * With SPLICE_F_FD_IN_FIXED, which splice(2) and tee(2) do not know, io_uring would take `from` for
 * an index into a table that a loop does not have. */
struct unr_op *unr_splice(struct unr_op *op, int from, int64_t from_offset, int to,
                          int64_t to_offset, size_t len, unsigned flags)
{
    struct unr_op_private *p =
        describe(op, &unri_row_splice, to, NULL, transfer_length(len), (uint64_t)to_offset);
    p->address = (uint64_t)from_offset;
    p->other_fd = from;
    with_flags(op, flags);
    return invalid_if(op, from_offset < -1 || to_offset < -1 || flags & SPLICE_F_FD_IN_FIXED);
}

struct unr_op *unr_tee(struct unr_op *op, int from, int to, size_t len, unsigned flags)
{
    describe(op, &unri_row_tee, to, NULL, transfer_length(len), 0)->other_fd = from;
    return invalid_if(with_flags(op, flags), flags & SPLICE_F_FD_IN_FIXED);
}

struct unr_op *unr_statx(struct unr_op *op, int dirfd, const char *path, int flags, unsigned mask,
                         struct statx *ret_stat)
{
    describe(op, &unri_row_statx, dirfd, path, mask, (uintptr_t)ret_stat);
    return with_flags(op, (unsigned)flags);
}

struct unr_op *unr_getxattr(struct unr_op *op, const char *path, const char *name, void *value,
                            size_t len)
{
    set_path(describe(op, &unri_row_getxattr, -1, name, len, (uintptr_t)value), path);
    return invalid_if(op, len > UINT32_MAX);
}

struct unr_op *unr_fgetxattr(struct unr_op *op, int fd, const char *name, void *value, size_t len)
{
    describe(op, &unri_row_fgetxattr, fd, name, len, (uintptr_t)value);
    return invalid_if(op, len > UINT32_MAX);
}

struct unr_op *unr_setxattr(struct unr_op *op, const char *path, const char *name,
                            const void *value, size_t size, int flags)
{
    set_path(describe(op, &unri_row_setxattr, -1, name, size, (uintptr_t)value), path);
    return invalid_if(with_flags(op, (unsigned)flags), size > UINT32_MAX);
}

struct unr_op *unr_ftruncate(struct unr_op *op, int fd, int64_t len)
{
    describe(op, &unri_row_ftruncate, fd, NULL, 0, (uint64_t)len);
    return op;
}

struct unr_op *unr_fallocate(struct unr_op *op, int fd, int mode, int64_t offset, int64_t len)
{
    describe(op, &unri_row_fallocate, fd, NULL, (unsigned)mode, (uint64_t)offset)->address =
        (uint64_t)len;
    return op;
}

struct unr_op *unr_fadvise(struct unr_op *op, int fd, int64_t offset, int64_t len, int advice)
{
    describe(op, &unri_row_fadvise, fd, NULL, (uint64_t)len, (uint64_t)offset);
    with_flags(op, (unsigned)advice);
    return invalid_if(op, len < 0 || len > UINT32_MAX);
}

struct unr_op *unr_sync_file_range(struct unr_op *op, int fd, int64_t offset, int64_t len,
                                   unsigned flags)
{
    describe(op, &unri_row_sync_file_range, fd, NULL, (uint64_t)len, (uint64_t)offset);
    with_flags(op, flags);
    return invalid_if(op, len < 0 || len > UINT32_MAX);
}

struct unr_op *unr_unlinkat(struct unr_op *op, int dirfd, const char *path, int flags)
{
    describe(op, &unri_row_unlinkat, dirfd, path, 0, 0);
    return with_flags(op, (unsigned)flags);
}

struct unr_op *unr_renameat(struct unr_op *op, int from_dirfd, const char *from, int to_dirfd,
                            const char *to, unsigned flags)
{
    describe(op, &unri_row_renameat, from_dirfd, from, 0, (uintptr_t)to)->other_fd = to_dirfd;
    return with_flags(op, flags);
}

struct unr_op *unr_linkat(struct unr_op *op, int from_dirfd, const char *from, int to_dirfd,
                          const char *to, int flags)
{
    describe(op, &unri_row_linkat, from_dirfd, from, 0, (uintptr_t)to)->other_fd = to_dirfd;
    return with_flags(op, (unsigned)flags);
}

struct unr_op *unr_symlinkat(struct unr_op *op, const char *target, int dirfd, const char *path)
{
    describe(op, &unri_row_symlinkat, dirfd, target, 0, (uintptr_t)path);
    return op;
}

struct unr_op *unr_mkdirat(struct unr_op *op, int dirfd, const char *path, mode_t mode)
{
    describe(op, &unri_row_mkdirat, dirfd, path, mode, 0);
    return op;
}

struct unr_op *unr_waitid(struct unr_op *op, int id_type, unsigned id, void *ret_siginfo,
                          int options)
{
    struct unr_op_private *p =
        describe(op, &unri_row_waitid, (int)id, NULL, (unsigned)id_type, (uintptr_t)ret_siginfo);
    p->other_fd = options; /* the SQE's file_index is its splice_fd_in */
    return op;
}

struct unr_op *unr_futex_wait(struct unr_op *op, uint32_t *futex, uint64_t expected, uint64_t mask,
                              uint32_t flags)
{
    unri_set_wide(describe(op, &unri_row_futex_wait, (int)flags, futex, 0, expected), mask);
    return op;
}

struct unr_op *unr_futex_wake(struct unr_op *op, uint32_t *futex, uint64_t count, uint64_t mask,
                              uint32_t flags)
{
    unri_set_wide(describe(op, &unri_row_futex_wake, (int)flags, futex, 0, count), mask);
    return op;
}

struct unr_op *unri_alarm(struct unr_loop *loop, struct unr_op *op, unr_time deadline,
                          int64_t room[2])
{
    bool     absolute = loop->ring->absolute_times;
    unr_time time = absolute ? deadline : unri_time_left(deadline);
    room[0] = time > 0 ? time / UNR_SEC(1) : 0;
    room[1] = time > 0 ? time % UNR_SEC(1) : 0;
    describe(op, &unri_row_alarm, -1, room, 1, 0);
    return with_flags(op, absolute ? IORING_TIMEOUT_ABS : 0);
}
