/* SPDX-License-Identifier: MIT */
/* Streams: what composed operations read from and write to.  A stream is a socket, a pipe, a file
 * with an offset, or a layer: a stream of the caller's own type on top of another stream. */
#ifndef UNRING_STREAM_H
#define UNRING_STREAM_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unring/op.h>

UNR_BEGIN

struct unr_receiver;
struct unr_stream;

/* unring's own part of a `struct unr_some`: not to be read or written. */
struct unr_some_private {
    struct msghdr message; /* of a socket's read or write of several pieces */
};

/* Room for one read or write: what unr_read_some() and unr_write_some() fill in.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_some {
    struct unr_op           op;
    struct unr_some_private private_fields;
};

/* A kind of stream: static, and shared by all streams of the kind.  The caller's own kinds are
 * layers. */
struct unr_stream_type {
    uint32_t    size; /* of this structure; members behind it are taken for 0 */
    const char *name; /* a noun, for messages */
    /* Describes a read of at least one byte, and of at most as many as the `n` pieces hold.  There
     * is at least one piece, and none is empty.  The array is lent, and so are the pieces.  The
     * operation is in `some`, or in a structure of the stream's own: there is one read at a time.
     * Its result.bytes counts the bytes that were read, also on an error and on cancellation; 0
     * with error 0 is the end of the stream.  NULL: these streams cannot be read. */
    struct unr_op *(*read_some)(struct unr_stream *stream, struct unr_some *some,
                                const struct iovec *iov, unsigned n);
    /* Describes a write; otherwise as read_some.  NULL: these streams cannot be written to. */
    struct unr_op *(*write_some)(struct unr_stream *stream, struct unr_some *some,
                                 const struct iovec *iov, unsigned n);
    /* Hears how many bytes such an operation has moved, when it has ended.  A layer whose
     * operation is that of the stream below calls unr_stream_moved() for that stream.  NULL: there
     * is nothing to do. */
    void (*moved)(struct unr_stream *stream, uint64_t bytes);
};

/* unring's own part of a `struct unr_stream`: not to be read or written. */
struct unr_stream_private {
    bool                 is_read, is_written; /* a step of an operation of unring's is in flight */
    struct unr_receiver *receiver;            /* whose stream it is, or NULL */
};

/* A stream, which unr_stream_socket() or one of the functions below it makes.
 *
 * Memory    the caller's.  It stays where it is, and its descriptor open, while an operation uses
 *           it.
 * At once   at most one operation reads from a stream, and at most one writes to it.  On a file it
 *           is one in all, as both would use the one offset.  A second transfer, reader or relay
 *           is a broken contract, which ends the process.
 * Records   are no stream.  A socket of SOCK_DGRAM or SOCK_SEQPACKET is at its end where it has an
 *           empty datagram, and of one for which a read has too little room the rest is lost. */
struct unr_stream {
    const struct unr_stream_type *type;
    int                           fd;     /* -1: a layer has none */
    int64_t                       offset; /* where in a file the next step begins; else -1 */
    struct unr_stream_private     private_fields;
};

/* Makes `stream` one of a socket: recv(2) and send(2).
 *
 * fd       stays the caller's to close.
 * SIGPIPE  never comes. */
UNR_API void unr_stream_socket(struct unr_stream *stream, int fd);

/* Makes `stream` one of a pipe or terminal: read(2) and write(2).
 *
 * fd       any descriptor without a position.  It stays the caller's to close.
 * SIGPIPE  as unr_write() says: none where the kernel has RWF_NOSIGNAL. */
UNR_API void unr_stream_pipe(struct unr_stream *stream, int fd);

/* Makes `stream` one of a file: pread(2) and pwrite(2).
 *
 * fd       stays the caller's to close.  The file's own position is not used.
 * offset   where in the file the first step begins; below 0 each step ends with -EINVAL.  It moves
 *          with the bytes that are transferred, also when an operation fails or is cancelled. */
UNR_API void unr_stream_file(struct unr_stream *stream, int fd, int64_t offset);

/* Makes `stream` a layer: a stream of the caller's own type.
 *
 * stream   embedded in the structure of the layer, which the type finds with unr_container_of().
 * type     static. */
UNR_API void unr_stream_layer(struct unr_stream *stream, const struct unr_stream_type *type);

/* Describes one read from a stream, for layers and composed operations.
 *
 * some     lent until `done`.
 * iov      `n` pieces, at least 1 and at most IOV_MAX, none of them empty.  They are lent, and so
 *          is the array.
 * Result   bytes: how many were read, at least 1; 0 with error 0 at the end of the stream.
 * Cancels  TOTAL on a socket, pipe or file: nothing was taken from it.  On a layer the guarantee
 *          is the layer's, and `bytes` says what was read.
 * Errors   as recv(2), read(2) and pread(2), or the layer's; -EOPNOTSUPP: the stream cannot be
 *          read.
 * Moved    when the operation has ended, whoever started it calls unr_stream_moved().
 * Returns  the described operation, which need not be `&some->op`.
 * Threads  the loop's.
 * Source   unr_recv(), unr_recvmsg(), unr_read(), unr_readv(); tests/test_stream.c. */
UNR_API struct unr_op *unr_read_some(struct unr_some *some, struct unr_stream *stream,
                                     const struct iovec *iov, unsigned n);

/* Describes one write to a stream, for layers and composed operations.
 *
 * some     lent until `done`.
 * iov      `n` pieces, at least 1 and at most IOV_MAX, none of them empty.  They are lent, and so
 *          is the array.
 * Result   bytes: how many were written, at least 1 unless there is an error.
 * Cancels  TOTAL on a socket, pipe or file: nothing was written.  On a layer the guarantee is the
 *          layer's, and `bytes` says what was written.
 * Errors   as send(2), write(2) and pwrite(2), or the layer's; -EOPNOTSUPP: the stream cannot be
 *          written to.
 * Moved    when the operation has ended, whoever started it calls unr_stream_moved().
 * Returns  the described operation, which need not be `&some->op`.
 * Threads  the loop's.
 * Source   unr_send(), unr_sendmsg(), unr_write(), unr_writev(); tests/test_stream.c. */
UNR_API struct unr_op *unr_write_some(struct unr_some *some, struct unr_stream *stream,
                                      const struct iovec *iov, unsigned n);

/* Tells a stream how many bytes a read or write has moved, when that has ended.
 *
 * bytes    result.bytes of the operation that unr_read_some() or unr_write_some() described, also
 *          on an error and on cancellation.  The offset of a file moves by as much.
 * Threads  the loop's. */
UNR_API void unr_stream_moved(struct unr_stream *stream, uint64_t bytes);

UNR_END
#endif
