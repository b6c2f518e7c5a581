/* SPDX-License-Identifier: MIT */
/* Streams: one read or write on a socket, a pipe, a file or a layer of the caller's. */
#include <unring.h>

#include <limits.h>

/* ---- the three kinds that there are ---- */

static size_t at_most_int(size_t len)
{
    return len < INT_MAX ? len : INT_MAX;
}

static struct msghdr *message(struct unr_some *some, const struct iovec *iov, unsigned n)
{
    struct msghdr *message = &some->private_fields.message;
    *message = (struct msghdr){ .msg_iov = (struct iovec *)iov };
    message->msg_iovlen = (__typeof__(message->msg_iovlen))n; /* size_t, or int */
    return message;
}

static struct unr_op *socket_read(struct unr_stream *stream, struct unr_some *some,
                                  const struct iovec *iov, unsigned n)
{
    if (n == 1)
        return unr_recv(&some->op, stream->fd, iov->iov_base, at_most_int(iov->iov_len), 0);
    return unr_recvmsg(&some->op, stream->fd, message(some, iov, n), 0);
}

static struct unr_op *socket_write(struct unr_stream *stream, struct unr_some *some,
                                   const struct iovec *iov, unsigned n)
{
    if (n == 1)
        return unr_send(&some->op, stream->fd, iov->iov_base, at_most_int(iov->iov_len), 0);
    return unr_sendmsg(&some->op, stream->fd, message(some, iov, n), 0);
}

/* A pipe's offset is -1, which is what a file that has no position is read with. */
static struct unr_op *file_read(struct unr_stream *stream, struct unr_some *some,
                                const struct iovec *iov, unsigned n)
{
    if (n == 1)
        return unr_read(&some->op, stream->fd, iov->iov_base, iov->iov_len, stream->offset);
    return unr_readv(&some->op, stream->fd, iov, n, stream->offset);
}

static struct unr_op *file_write(struct unr_stream *stream, struct unr_some *some,
                                 const struct iovec *iov, unsigned n)
{
    if (n == 1)
        return unr_write(&some->op, stream->fd, iov->iov_base, iov->iov_len, stream->offset);
    return unr_writev(&some->op, stream->fd, iov, n, stream->offset);
}

static void file_moved(struct unr_stream *stream, uint64_t bytes)
{
    stream->offset += (int64_t)bytes;
}

#define TYPE(kind, reads, writes, moves)                                                           \
    static const struct unr_stream_type kind = { .size = sizeof(struct unr_stream_type),           \
                                                 .name = #kind,                                    \
                                                 .read_some = reads,                               \
                                                 .write_some = writes,                             \
                                                 .moved = moves }
TYPE(socket_stream, socket_read, socket_write, NULL);
TYPE(pipe_stream, file_read, file_write, NULL);
TYPE(file_stream, file_read, file_write, file_moved);

void unr_stream_socket(struct unr_stream *stream, int fd)
{
    *stream = (struct unr_stream){ &socket_stream, fd, -1 };
}

void unr_stream_pipe(struct unr_stream *stream, int fd)
{
    *stream = (struct unr_stream){ &pipe_stream, fd, -1 };
}

void unr_stream_file(struct unr_stream *stream, int fd, int64_t offset)
{
    *stream = (struct unr_stream){ &file_stream, fd,
                                   offset < 0 ? INT64_MIN : offset }; /* below -1: -EINVAL */
}

void unr_stream_layer(struct unr_stream *stream, const struct unr_stream_type *type)
{
    *stream = (struct unr_stream){ type, -1, -1 };
}

/* ---- one read, one write ---- */

/* Whether a type has a member: one that was compiled against an older header may end before it. */
#define HAS(type, member)                                                                          \
    ((type)->size >= offsetof(struct unr_stream_type, member) + sizeof(type)->member               \
     && (type)->member)

static void no_direction_start(struct unr_op *op)
{
    unr_finish(op, -EOPNOTSUPP);
}

static void no_direction_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)op, (void)request;
}

static const struct unr_op_type no_direction = {
    .size = sizeof(struct unr_op_type),
    .name = "a direction that the stream does not have",
    .start = no_direction_start,
    .cancel = no_direction_cancel,
};

static struct unr_op *or_not_supported(struct unr_op *described, struct unr_some *some)
{
    return described ? described : unr_describe(&some->op, &no_direction);
}

struct unr_op *unr_read_some(struct unr_some *some, struct unr_stream *stream,
                             const struct iovec *iov, unsigned n)
{
    return or_not_supported(
        HAS(stream->type, read_some) ? stream->type->read_some(stream, some, iov, n) : NULL, some);
}

struct unr_op *unr_write_some(struct unr_some *some, struct unr_stream *stream,
                              const struct iovec *iov, unsigned n)
{
    return or_not_supported(
        HAS(stream->type, write_some) ? stream->type->write_some(stream, some, iov, n) : NULL,
        some);
}

void unr_stream_moved(struct unr_stream *stream, uint64_t bytes)
{
    if (HAS(stream->type, moved))
        stream->type->moved(stream, bytes);
}
