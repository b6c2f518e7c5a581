/* SPDX-License-Identifier: MIT */
/* Multishot operations: system calls of which each completion but the last announces another.
 * complete.c hands their shots out. */
#include "cancel.h"
#include "enter.h"
#include "message.h"
#include "newer.h"
#include "pool.h"
#include "row.h"

#include <unring/multishot.h>

/* Whoever starts it is told at once that its shots would reach nobody. */
static void start(struct unr_op *op)
{
    unri_check_shots(op);
    unri_row_start(op);
}

static bool fill_accept(struct io_uring_sqe *sqe, struct unr_op *op)
{
    (void)op;
    sqe->ioprio = IORING_ACCEPT_MULTISHOT;
    return true;
}

static bool fill_poll(struct io_uring_sqe *sqe, struct unr_op *op)
{
    (void)op;
    sqe->len = IORING_POLL_ADD_MULTI;
    return true;
}

/* ---- shots that bring a buffer ---- */

/* The flags of the CQEs, and so the buffer, are kept where a system call has its other descriptor,
 * and the pool where it has its offset.  A receive has what is left of its limit where others have
 * their flags, as that may change, and its flags where they have their length. */
static unsigned buffer_of(const struct unr_op *op)
{
    return (unsigned)op->private_fields.other_fd >> IORING_CQE_BUFFER_SHIFT;
}

static bool has_buffer(const struct unr_op *op)
{
    return unri_row_of(op)->takes_buffers
           && (unsigned)op->private_fields.other_fd & IORING_CQE_F_BUFFER;
}

static const struct msghdr *layout_of(const struct unr_op *op)
{
    return (const struct msghdr *)(uintptr_t)op->private_fields.address;
}

static int look(struct unr_op *op, int res, unsigned cqe_flags)
{
    struct unr_op_private *p = unri_private(op);
    p->other_fd = unri_pool_has_chosen(res, cqe_flags) ? (int32_t)cqe_flags : 0;
    if (has_buffer(op))
        unri_pool_chosen(unri_pool_of(op), cqe_flags, p->fd);
    return res;
}

/* What has come counts against the limit, also if the operation is submitted again behind it. */
static int look_at_bytes(struct unr_op *op, int res, unsigned cqe_flags)
{
    struct unr_op_private *p = unri_private(op);
    uint32_t              *limit = &p->call_flags;
    if (res > 0 && *limit)
        *limit = (uint32_t)res < *limit ? *limit - (uint32_t)res : 1;
    if (res > 0 && p->flags & UNRI_LOCAL_STREAM && unri_may_miss_end(op, cqe_flags))
        unri_want_cancel(p->loop->ring, op);
    return look(op, res, cqe_flags);
}

/* The kernel counts the head, and the room for name and control data, among the bytes. */
static int look_at_message(struct unr_op *op, int res, unsigned cqe_flags)
{
    look(op, res, cqe_flags);
    if (!has_buffer(op))
        return res;
    return (int)unri_message_payload(layout_of(op), (size_t)res);
}

/* Where the kernel found no buffer and there is one now, the want of one ends nothing: the
 * operation is submitted again, of which nobody hears, or it is the request that ends it.  The
 * number of a descriptor that was closed may be another file's by now, so that operation ends with
 * -ENOBUFS. */
static bool goes_on(struct unr_op *op, int res)
{
    if (res != -ENOBUFS || !unri_pool_starved(unri_pool_of(op)))
        return false;
    if (op->private_fields.flags & UNRI_HONOURED)
        unri_set_res(op, -ECANCELED);
    if (op->private_fields.flags & (UNRI_HONOURED | UNRI_FD_CLOSED))
        return false;
    unri_enqueue_again(op);
    return true;
}

/* A cancel that nobody has asked for was sent by look_at_bytes(): the receive begins anew. */
static bool receive_goes_on(struct unr_op *op, int res)
{
    const unsigned flags = UNRI_CANCEL_HIT | UNRI_HONOURED | UNRI_FD_CLOSED;
    if (res != -EINTR || (op->private_fields.flags & flags) != UNRI_CANCEL_HIT)
        return goes_on(op, res);
    unri_enqueue_again(op);
    return true;
}

static bool fill_with_buffers(struct io_uring_sqe *sqe, struct unr_op *op)
{
    unri_pool_select(unri_pool_of(op), sqe);
    sqe->splice_fd_in = 0;
    sqe->off = (uint64_t)-1; /* of a file that has no position */
    sqe->len = 0;
    return true;
}

static bool fill_message(struct io_uring_sqe *sqe, struct unr_op *op)
{
    fill_with_buffers(sqe, op);
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->off = 0;
    return true;
}

/* The limit has the place of `optlen`, which older headers have not. */
static bool fill_receive(struct io_uring_sqe *sqe, struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    if (!(p->flags & UNRI_LOCAL_STREAM) && unri_enter_is_local_stream(p->fd))
        p->flags |= UNRI_LOCAL_STREAM;
    fill_message(sqe, op);
    sqe->msg_flags = p->length;
    sqe->splice_fd_in = (int32_t)p->call_flags;
    return true;
}

/* ---- rows ---- */

#define ROW(call, code, result, fills, ...)                                                        \
    static const struct unri_row call##_multishot = {                                              \
        .type = { .size = sizeof(struct unr_op_type),                                              \
                  .supports = UNR_CANCEL_ALL,                                                      \
                  .name = #call "_multishot",                                                      \
                  .start = start,                                                                  \
                  .cancel = unri_row_cancel,                                                       \
                  .private_fields = { .kind = UNRI_CALL, .descriptors = 1 } },                     \
        .opcode = code,                                                                            \
        .yields = UNRI_YIELDS_##result,                                                            \
        .is_special = true,                                                                        \
        .repeats = true,                                                                           \
        .fill = fills,                                                                             \
        __VA_ARGS__                                                                                \
    }
#define BUFFERS(looks, on) .takes_buffers = true, .look = looks, .goes_on = on
ROW(accept, IORING_OP_ACCEPT, FD, fill_accept, .takes_buffers = false);
ROW(poll, IORING_OP_POLL_ADD, EVENTS, fill_poll, .takes_buffers = false);
ROW(recv, IORING_OP_RECV, BYTES, fill_receive, .needs = "6.7",
    BUFFERS(look_at_bytes, receive_goes_on));
ROW(recvmsg, IORING_OP_RECVMSG, BYTES, fill_message, .needs = "6.7",
    BUFFERS(look_at_message, goes_on));
ROW(read, UNRI_OP_READ_MULTISHOT, BYTES, fill_with_buffers, .needs = "6.7", BUFFERS(look, goes_on));

static struct unr_op *describe(struct unr_op *op, const struct unri_row *row, int fd,
                               uint32_t flags)
{
    struct unr_op_private *p = unri_private(unr_describe(op, &row->type));
    p->flags |= UNRI_MULTISHOT;
    p->fd = fd;
    p->other_fd = 0;
    p->call_flags = flags;
    p->address = p->offset = 0;
    return op;
}

struct unr_op *unr_accept_multishot(struct unr_op *op, int fd, int flags)
{
    return describe(op, &accept_multishot, fd, (uint32_t)flags);
}

struct unr_op *unr_poll_multishot(struct unr_op *op, int fd, uint32_t events)
{
    return describe(op, &poll_multishot, fd, events);
}

static struct unr_op_private *describe_with(struct unr_op *op, const struct unri_row *row, int fd,
                                            struct unr_pool *pool, int flags)
{
    struct unr_op_private *p = unri_private(describe(op, row, fd, (uint32_t)flags));
    p->offset = (uintptr_t)pool;
    if (!pool->provided)
        p->flags |= UNRI_INVALID;
    return p;
}

/* With MSG_PEEK each shot would bring the same bytes, without end; with MSG_TRUNC the kernel counts
 * bytes of a datagram that are not in the buffer; UNRI_MSG_OF_32_BITS is as for unr_recvmsg(). */
static void refuse(struct unr_op_private *p, unsigned flags)
{
    if (flags)
        p->flags |= UNRI_INVALID;
}

struct unr_op *unr_recv_multishot(struct unr_op *op, int fd, struct unr_pool *pool, uint32_t limit,
                                  int flags)
{
    struct unr_op_private *p = describe_with(op, &recv_multishot, fd, pool, (int)limit);
    p->length = (uint32_t)flags;
    refuse(p, (unsigned)flags & (MSG_WAITALL | MSG_PEEK | MSG_TRUNC));
    return op;
}

struct unr_op *unr_recvmsg_multishot(struct unr_op *op, int fd, struct unr_pool *pool,
                                     struct msghdr *layout, int flags)
{
    struct unr_op_private *p = describe_with(op, &recvmsg_multishot, fd, pool, flags);
    p->address = (uintptr_t)layout;
    refuse(p, (unsigned)flags & (MSG_WAITALL | MSG_PEEK | UNRI_MSG_OF_32_BITS));
    return op;
}

struct unr_op *unr_read_multishot(struct unr_op *op, int fd, struct unr_pool *pool)
{
    describe_with(op, &read_multishot, fd, pool, 0);
    return op;
}

/* ---- what a shot has brought ---- */

void *unr_shot_data(const struct unr_op *op)
{
    return unr_shot_datagram(op, NULL);
}

void *unr_shot_datagram(const struct unr_op *op, struct msghdr *ret_parts)
{
    if (ret_parts)
        *ret_parts = (struct msghdr){ 0 };
    if (!has_buffer(op))
        return NULL;
    unsigned char *memory = unri_pool_memory(unri_pool_of(op), buffer_of(op));
    if (unri_row_of(op) != &recvmsg_multishot)
        return memory;
    return memory + unri_message_parts(memory, layout_of(op), ret_parts);
}
