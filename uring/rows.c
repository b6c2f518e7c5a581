/* The system calls: one table row each, and one function that describes it.
 *
 * A description holds the SQE's own fields - fd, off, addr, len, the call's flags, splice_fd_in -
 * in the places that io_uring_prep_*(3) gives them, so that filling an SQE is copying them.  A row
 * whose SQE differs has a `fill`. */
#include "row.h"
#include "cancel.h"

#include <limits.h>
#include <unring.h>

/* ---- rows whose SQE is more than their arguments ---- */

/* Both descriptors of an operation on two are kept in fd and other_fd; these have the second in
 * len. */
static bool fill_two_directories(struct io_uring_sqe *sqe, struct unr_op *op)
{
    sqe->len = (uint32_t)op->private_fields.other_fd;
    sqe->splice_fd_in = 0;
    return true;
}

static bool fill_futex(struct io_uring_sqe *sqe, struct unr_op *op)
{
    sqe->len = 0;
    sqe->rw_flags = 0;
    sqe->addr3 = unri_wide(unri_private(op));
    return true;
}

static bool fill_write(struct io_uring_sqe *sqe, struct unr_op *op)
{
    if (op->private_fields.loop->ring->nosignal_write)
        sqe->rw_flags = UNRI_RWF_NOSIGNAL;
    return true;
}

static bool        fill_of_caller(struct io_uring_sqe *sqe, struct unr_op *op);
static const char *name_of_caller(const struct unr_op *op);

/* ---- the table ---- */

#define TYPE(call, cancels, fds)                                                                   \
    .type = { .size = sizeof(struct unr_op_type),                                                  \
              .supports = cancels,                                                                 \
              .name = #call,                                                                       \
              .start = unri_row_start,                                                             \
              .cancel = unri_row_cancel,                                                           \
              .private_fields = { .kind = UNRI_CALL, .descriptors = fds } }
#define TOTAL UNR_CANCEL_ALL
#define NONE  UNR_CANCEL_NONE

extern const struct unri_row unri_row_nop, unri_row_read, unri_row_write, unri_row_readv,
    unri_row_writev, unri_row_recv, unri_row_send, unri_row_recvmsg, unri_row_sendmsg,
    unri_row_accept, unri_row_poll, unri_row_shutdown, unri_row_fsync, unri_row_openat,
    unri_row_socket, unri_row_bind, unri_row_listen, unri_row_pipe, unri_row_splice, unri_row_tee,
    unri_row_statx, unri_row_ftruncate, unri_row_fallocate, unri_row_fadvise,
    unri_row_sync_file_range, unri_row_unlinkat, unri_row_renameat, unri_row_linkat,
    unri_row_symlinkat, unri_row_mkdirat, unri_row_waitid, unri_row_futex_wait, unri_row_futex_wake;

#define ROW(call, cancels, code, fds, result, ...)                                                 \
    const struct unri_row unri_row_##call = { TYPE(call, cancels, fds), .opcode = code,            \
                                              .yields = UNRI_YIELDS_##result, __VA_ARGS__ }

/* clang-format off */
/*  call             cancels  opcode                      fds  yields */
ROW(nop,             TOTAL, IORING_OP_NOP,             0,   VALUE);
ROW(read,            TOTAL, IORING_OP_READ,            1,   BYTES);
ROW(write,           TOTAL, IORING_OP_WRITE,           1,   BYTES, .fill = fill_write);
ROW(readv,           TOTAL, IORING_OP_READV,           1,   BYTES);
ROW(writev,          TOTAL, IORING_OP_WRITEV,          1,   BYTES, .fill = fill_write);
ROW(recv,            TOTAL, IORING_OP_RECV,            1,   BYTES);
ROW(send,            TOTAL, IORING_OP_SEND,            1,   BYTES);
ROW(recvmsg,         TOTAL, IORING_OP_RECVMSG,         1,   BYTES);
ROW(sendmsg,         TOTAL, IORING_OP_SENDMSG,         1,   BYTES);
ROW(accept,          TOTAL, IORING_OP_ACCEPT,          1,   FD);
ROW(connect,         TOTAL, IORING_OP_CONNECT,         1,   VALUE);
ROW(poll,            TOTAL, IORING_OP_POLL_ADD,        1,   EVENTS);
ROW(shutdown,        TOTAL, IORING_OP_SHUTDOWN,        1,   VALUE);
ROW(fsync,           TOTAL, IORING_OP_FSYNC,           1,   VALUE);
ROW(openat,          TOTAL, IORING_OP_OPENAT,          1,   FD);
ROW(close,           NONE,  IORING_OP_CLOSE,           1,   VALUE);
ROW(socket,          TOTAL, IORING_OP_SOCKET,          0,   FD);
ROW(bind,            TOTAL, UNRI_OP_BIND,              1,   VALUE, .needs = "6.11");
ROW(listen,          TOTAL, UNRI_OP_LISTEN,            1,   VALUE, .needs = "6.11");
ROW(pipe,            TOTAL, UNRI_OP_PIPE,              0,   VALUE, .needs = "6.16");
ROW(splice,          TOTAL, IORING_OP_SPLICE,          2,   BYTES);
ROW(tee,             TOTAL, IORING_OP_TEE,             2,   BYTES);
ROW(statx,           TOTAL, IORING_OP_STATX,           1,   VALUE);
ROW(ftruncate,       TOTAL, UNRI_OP_FTRUNCATE,         1,   VALUE, .needs = "6.9");
ROW(fallocate,       TOTAL, IORING_OP_FALLOCATE,       1,   VALUE);
ROW(fadvise,         TOTAL, IORING_OP_FADVISE,         1,   VALUE);
ROW(sync_file_range, TOTAL, IORING_OP_SYNC_FILE_RANGE, 1,   VALUE);
ROW(unlinkat,        TOTAL, IORING_OP_UNLINKAT,        1,   VALUE);
ROW(renameat,        TOTAL, IORING_OP_RENAMEAT,        2,   VALUE, .fill = fill_two_directories);
ROW(linkat,          TOTAL, IORING_OP_LINKAT,          2,   VALUE, .fill = fill_two_directories);
ROW(symlinkat,       TOTAL, IORING_OP_SYMLINKAT,       1,   VALUE);
ROW(mkdirat,         TOTAL, IORING_OP_MKDIRAT,         1,   VALUE);
ROW(waitid,          TOTAL, UNRI_OP_WAITID,            0,   VALUE, .needs = "6.7");
ROW(futex_wait,      TOTAL, UNRI_OP_FUTEX_WAIT,        0,   VALUE, .needs = "6.7", .fill = fill_futex);
ROW(futex_wake,      TOTAL, UNRI_OP_FUTEX_WAKE,        0,   VALUE, .needs = "6.7", .fill = fill_futex);
/* The loop's own; see unri_alarm(). */
ROW(alarm,           TOTAL, IORING_OP_TIMEOUT,         0,   VALUE);
/* clang-format on */

/* Whatever the caller fills in.  Its opcode and descriptor are known when it has; see
 * fill_of_caller(). */
const struct unri_row unri_row_sqe = {
    .type = { .size = sizeof(struct unr_op_type),
              .supports = TOTAL,
              .name = "sqe",
              .start = unri_row_start,
              .cancel = unri_row_cancel,
              .name_of = name_of_caller,
              .private_fields = { .kind = UNRI_CALL } },
    .opcode = IORING_OP_NOP,
    .is_callers = true,
    .fill = fill_of_caller,
};

/* clang-format off */
const struct unri_row *const unri_rows[] = {
    &unri_row_nop,       &unri_row_read,      &unri_row_write,      &unri_row_readv,    &unri_row_writev,
    &unri_row_recv,      &unri_row_send,      &unri_row_recvmsg,    &unri_row_sendmsg,  &unri_row_accept,
    &unri_row_connect,   &unri_row_poll,      &unri_row_shutdown,   &unri_row_fsync,    &unri_row_openat,
    &unri_row_close,     &unri_row_cancel_close, &unri_row_socket,  &unri_row_bind, &unri_row_listen,
    &unri_row_pipe,      &unri_row_splice,    &unri_row_tee,        &unri_row_statx,    &unri_row_ftruncate,
    &unri_row_fallocate, &unri_row_fadvise,   &unri_row_sync_file_range, &unri_row_unlinkat, &unri_row_renameat,
    &unri_row_linkat,    &unri_row_symlinkat, &unri_row_mkdirat,    &unri_row_waitid,   &unri_row_futex_wait,
    &unri_row_futex_wake, &unri_row_sqe,
};
/* clang-format on */
const unsigned unri_row_count = sizeof unri_rows / sizeof *unri_rows;

const char *unri_row_needs(const struct unr_op *op)
{
    const char *needs = unri_row_of(op)->needs;
    return needs ? needs : "6.1";
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

/* MSG_WAITALL: the kernel goes on after a part has moved, so nothing better than PARTIAL can be
 * promised. */
static struct unr_op *narrow(struct unr_op *op, int flags)
{
    if (flags & MSG_WAITALL)
        unri_set_supports(op, UNR_CANCEL_PARTIAL | UNR_CANCEL_TERMINAL);
    return with_flags(op, (unsigned)flags);
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

struct unr_op *unr_recv(struct unr_op *op, int fd, void *buf, size_t len, int flags)
{
    describe(op, &unri_row_recv, fd, buf, len, 0);
    return invalid_if(narrow(op, flags), len > INT_MAX);
}

struct unr_op *unr_send(struct unr_op *op, int fd, const void *buf, size_t len, int flags)
{
    describe(op, &unri_row_send, fd, buf, len, 0);
    return invalid_if(narrow(op, flags | MSG_NOSIGNAL), len > INT_MAX);
}

struct unr_op *unr_recvmsg(struct unr_op *op, int fd, struct msghdr *msg, int flags)
{
    describe(op, &unri_row_recvmsg, fd, msg, 1, 0);
    return narrow(op, flags);
}

struct unr_op *unr_sendmsg(struct unr_op *op, int fd, const struct msghdr *msg, int flags)
{
    describe(op, &unri_row_sendmsg, fd, msg, 1, 0);
    return narrow(op, flags | MSG_NOSIGNAL);
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
    describe(op, &unri_row_close, fd, NULL, 0, 0);
    return op;
}

struct unr_op *unr_cancel_close(struct unr_op *op, int fd)
{
    describe(op, &unri_row_cancel_close, fd, NULL, 0, 0);
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

/* What comes from `from_offset` stands where other calls have an address (splice_off_in). */
struct unr_op *unr_splice(struct unr_op *op, int from, int64_t from_offset, int to,
                          int64_t to_offset, size_t len, unsigned flags)
{
    struct unr_op_private *p =
        describe(op, &unri_row_splice, to, NULL, transfer_length(len), (uint64_t)to_offset);
    p->address = (uint64_t)from_offset;
    p->other_fd = from;
    with_flags(op, flags);
    return invalid_if(op, from_offset < -1 || to_offset < -1);
}

struct unr_op *unr_tee(struct unr_op *op, int from, int to, size_t len, unsigned flags)
{
    describe(op, &unri_row_tee, to, NULL, transfer_length(len), 0)->other_fd = from;
    return with_flags(op, flags);
}

struct unr_op *unr_statx(struct unr_op *op, int dirfd, const char *path, int flags, unsigned mask,
                         struct statx *ret_stat)
{
    describe(op, &unri_row_statx, dirfd, path, mask, (uintptr_t)ret_stat);
    return with_flags(op, (unsigned)flags);
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

struct unr_op *unri_alarm(struct unr_op *op, const int64_t at[2])
{
    describe(op, &unri_row_alarm, -1, at, 1, 0);
    return with_flags(op, IORING_TIMEOUT_ABS);
}

/* ---- any other SQE: `address` holds the filling function, `offset` its context, the wide argument
 * the name ---- */

struct unr_op *unr_sqe(struct unr_op *op, const char *name, unsigned supports, unr_fill_fn *fill,
                       void *context)
{
    struct unr_op_private *p = describe(op, &unri_row_sqe, -1, NULL, 0, (uintptr_t)context);
    p->address = (uintptr_t)fill;
    unri_set_supports(op, supports & UNR_CANCEL_ALL);
    unri_set_wide(p, (uintptr_t)name);
    return op;
}

static const char *name_of_caller(const struct unr_op *op)
{
    return (const char *)(uintptr_t)unri_wide(&op->private_fields);
}

/* When an SQE is known, other_fd holds the flags of its CQEs: it has no second descriptor that we
 * would follow. */
uint32_t unr_sqe_flags(const struct unr_op *op)
{
    return (uint32_t)op->private_fields.other_fd;
}

static void do_not_submit(struct unr_op *op)
{
    unri_clear_flags(op, UNRI_AWAITS_TARGET);
    unri_withdraw_cancel(op->private_fields.loop->ring, op);
}

/* Whether sqe->fd is a descriptor: the few opcodes for which it is none, or something else. */
static bool has_fd(unsigned opcode)
{
    switch (opcode) {
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
    case UNRI_OP_WAITID:
    case UNRI_OP_FUTEX_WAIT:
    case UNRI_OP_FUTEX_WAKE:
    case UNRI_OP_FUTEX_WAITV:
    case UNRI_OP_PIPE: return false;
    default: return true;
    }
}

static bool fill_of_caller(struct io_uring_sqe *sqe, struct unr_op *op)
{
    const unsigned breaks_the_join =
        IOSQE_CQE_SKIP_SUCCESS | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_IO_DRAIN;
    struct unr_op_private *p = unri_private(op);
    *sqe = (struct io_uring_sqe){ 0 };
    ((unr_fill_fn *)(uintptr_t)p->address)(sqe, (void *)(uintptr_t)p->offset);
    if (sqe->flags & breaks_the_join) {
        do_not_submit(op);
        unri_end(op, -EINVAL);
        return false;
    }
    if (sqe->opcode == IORING_OP_SEND_ZC || sqe->opcode == IORING_OP_SENDMSG_ZC)
        p->flags |= UNRI_ZERO_COPY;
    p->other_fd = 0;
    if (has_fd(sqe->opcode) && !(sqe->flags & IOSQE_FIXED_FILE)) {
        /* Only now is its descriptor known: it moves from the operations on none to those on this
         * one. */
        unri_peers_remove(&p->loop->descriptors, op);
        p->fd = sqe->fd;
        unri_peers_add_on_one(&p->loop->descriptors, op);
        if (unri_own_supports(op) && unri_being_closed(p->loop, p->fd)) {
            do_not_submit(op);
            unri_end_unsubmitted(op, (struct unr_cancel_request){ UNR_CANCEL_ALL, -ESHUTDOWN });
            return false;
        }
    }
    return true;
}
