/* SPDX-License-Identifier: MIT */
/* Streams: one read or write on a socket, a pipe, a file or a layer.  It is described here, as a
 * system call of uring/rows.c or in the way of the layer; transfer.c, reader.c and relay.c start
 * one after another. */
#include "stream.h"
#include "../../uring/receiver.h"
#include "../../uring/send.h"
#include "../core/contract.h"

#include <unring.h>

#include <limits.h>

/* ---- sockets, pipes and files ---- */

/* unr_recv() and unr_send() take no more at once; the rest is left to the next step. */
static size_t at_most_int(size_t len)
{
    return len < INT_MAX ? len : INT_MAX;
}

/* Describes several pieces to the kernel, in `some`, which lasts as long as the operation. */
static struct msghdr *message(struct unr_some *some, const struct iovec *iov, unsigned n)
{
    struct msghdr *message = &some->private_fields.message;
    *message = (struct msghdr){ .msg_iov = (struct iovec *)iov };
    message->msg_iovlen = (__typeof__(message->msg_iovlen))n; /* size_t in glibc, int in musl */
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
        return unri_send_step(&some->op, stream->fd, iov->iov_base, at_most_int(iov->iov_len));
    return unri_sendmsg_step(&some->op, stream->fd, message(some, iov, n));
}

/* Also for pipes, whose offset is -1: the kernel takes that for a descriptor without a position. */
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

/* ---- receivers ---- */

static struct unr_op *receiver_read(struct unr_stream *stream, struct unr_some *some,
                                    const struct iovec *iov, unsigned n)
{
    struct unr_receiver *receiver = stream->private_fields.receiver;
    if (n == 1)
        return unr_receive(&some->op, receiver, iov->iov_base, iov->iov_len);
    return unri_receive_pieces(&some->op, receiver, iov, n);
}

/* ---- kinds ---- */

#define TYPE(kind, reads, writes, moves)                                                           \
    static const struct unr_stream_type kind = { .size = sizeof(struct unr_stream_type),           \
                                                 .name = #kind,                                    \
                                                 .read_some = reads,                               \
                                                 .write_some = writes,                             \
                                                 .moved = moves }
TYPE(socket_stream, socket_read, socket_write, NULL);
TYPE(pipe_stream, file_read, file_write, NULL);
TYPE(file_stream, file_read, file_write, file_moved);

TYPE(receiver_of_socket, receiver_read, socket_write, NULL);
TYPE(receiver_of_pipe, receiver_read, file_write, NULL);

void unr_stream_socket(struct unr_stream *stream, int fd)
{
    *stream = (struct unr_stream){ &socket_stream, fd, -1, { .is_read = false } };
}

void unr_stream_pipe(struct unr_stream *stream, int fd)
{
    *stream = (struct unr_stream){ &pipe_stream, fd, -1, { .is_read = false } };
}

void unr_stream_file(struct unr_stream *stream, int fd, int64_t offset)
{
    /* -1 would stand for the file's own position; below that a step ends with -EINVAL. */
    *stream = (struct unr_stream){
        &file_stream, fd, offset < 0 ? INT64_MIN : offset, { .is_read = false }
    };
}

void unr_stream_receiver(struct unr_stream *stream, struct unr_receiver *receiver)
{
    bool is_file = unri_receiver_source(receiver) == UNRI_SOURCE_FILE;
    *stream = (struct unr_stream){ is_file ? &receiver_of_pipe : &receiver_of_socket,
                                   receiver->private_fields.fd,
                                   -1,
                                   { .receiver = receiver } };
}

void unr_stream_layer(struct unr_stream *stream, const struct unr_stream_type *type)
{
    *stream = (struct unr_stream){ type, -1, -1, { .is_read = false } };
}

/* ---- one read, one write ---- */

/* Tells whether a type has a member: a type that was compiled against an older header may end
 * before it. */
#define HAS(type, member)                                                                          \
    ((type)->size >= offsetof(struct unr_stream_type, member) + sizeof(type)->member               \
     && (type)->member)

static void check_type(const struct unr_stream *stream)
{
    if (unlikely(!stream->type))
        unri_broken("a stream that was never made", NULL,
                    "unr_stream_socket() or one of its kind makes a stream before it is used");
}

/* The operation where a stream cannot be read, or not be written to.  It ends with an error, so
 * that its starter needs no second way to fail. */
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
    struct unr_op *described = NULL;
    check_type(stream);
    if (HAS(stream->type, read_some))
        described = stream->type->read_some(stream, some, iov, n);
    return or_not_supported(described, some);
}

struct unr_op *unr_write_some(struct unr_some *some, struct unr_stream *stream,
                              const struct iovec *iov, unsigned n)
{
    struct unr_op *described = NULL;
    check_type(stream);
    if (HAS(stream->type, write_some))
        described = stream->type->write_some(stream, some, iov, n);
    return or_not_supported(described, some);
}

void unr_stream_moved(struct unr_stream *stream, uint64_t bytes)
{
    check_type(stream);
    if (HAS(stream->type, moved))
        stream->type->moved(stream, bytes);
}

/* ---- the steps of unring's own operations ---- */

static void check_free(const struct unr_op *op, const struct unr_stream *stream, bool in_use)
{
    const struct unr_stream_private *s = &stream->private_fields;
    if (stream->type == &file_stream)
        in_use = s->is_read || s->is_written;
    if (unlikely(in_use))
        unri_broken("a second operation on a stream", op,
                    "at most one operation reads from a stream and one writes to it; on a file "
                    "it is one in all");
}

struct unr_op *unri_step_read(const struct unr_op *op, struct unr_some *some,
                              struct unr_stream *stream, const struct iovec *iov, unsigned n)
{
    check_free(op, stream, stream->private_fields.is_read);
    stream->private_fields.is_read = true;
    return unr_read_some(some, stream, iov, n);
}

struct unr_op *unri_step_write(const struct unr_op *op, struct unr_some *some,
                               struct unr_stream *stream, const struct iovec *iov, unsigned n)
{
    check_free(op, stream, stream->private_fields.is_written);
    stream->private_fields.is_written = true;
    return unr_write_some(some, stream, iov, n);
}

struct unr_receiver *unri_shows(const struct unr_stream *stream)
{
    struct unr_receiver *receiver = stream->private_fields.receiver;
    if (stream->type != &receiver_of_socket || !receiver->private_fields.pool
        || receiver->private_fields.messages)
        return NULL;
    return receiver;
}

struct unr_op *unri_step_view(const struct unr_op *op, struct unr_some *some,
                              struct unr_stream *stream)
{
    check_free(op, stream, stream->private_fields.is_read);
    stream->private_fields.is_read = true;
    return unr_receive_view(&some->op, stream->private_fields.receiver);
}

void unri_was_read(struct unr_stream *stream, uint64_t bytes)
{
    stream->private_fields.is_read = false;
    unr_stream_moved(stream, bytes);
}

void unri_was_written(struct unr_stream *stream, uint64_t bytes)
{
    stream->private_fields.is_written = false;
    unr_stream_moved(stream, bytes);
}
