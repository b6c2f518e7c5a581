/* Streams: what composed operations read from and write to.  A socket, a pipe, a file with an
 * offset, or a layer of the caller's own on top of another stream. */
#ifndef UNRING_STREAM_H
#define UNRING_STREAM_H

#include <sys/socket.h>
#include <sys/uio.h>
#include <unring/op.h>

UNR_BEGIN

struct unr_stream;

/* unring's own part of a `struct unr_some`: not to be read or written. */
struct unr_some_private {
    struct msghdr message;
};

/* Room for one read or write of some bytes: embedded by whoever calls unr_read_some() or
 * unr_write_some(). */
struct unr_some {
    struct unr_op           op;
    struct unr_some_private private_fields;
};

/* A kind of stream.  Static; shared by all streams of the kind. */
struct unr_stream_type {
    uint32_t    size; /* of this structure */
    const char *name; /* for messages: a noun */
    /* Describe an operation that moves at least one byte, and at most what the `n` pieces (never 0
     * pieces, and none of them empty) hold: in `some`, or in a structure of the stream's own, as
     * there is one read and one write at a time.  The array is lent as the memory is.
     * result.bytes: what was moved, also on error and on cancellation; 0 with error 0 is the end of
     * what can be read.  NULL: it cannot be read, or written. */
    struct unr_op *(*read_some)(struct unr_stream *stream, struct unr_some *some,
                                const struct iovec *iov, unsigned n);
    struct unr_op *(*write_some)(struct unr_stream *stream, struct unr_some *some,
                                 const struct iovec *iov, unsigned n);
    /* One of these operations has ended, and moved so many bytes.  NULL: there is nothing to do.  A
     * layer that returns the operation of the stream below as its own passes that on to
     * unr_stream_moved(). */
    void (*moved)(struct unr_stream *stream, uint64_t bytes);
};

/* The caller's; it stays where it is, and its descriptor open, while an operation uses it.  The
 * descriptor is best left without O_NONBLOCK: with it a step ends with -EAGAIN where there is
 * nothing to do at once.  At most one operation reads from it and at most one writes to it at a
 * time; on a file, at most one in all, as they share the offset. */
struct unr_stream {
    const struct unr_stream_type *type;
    int                           fd; /* -1: a layer */
    int64_t offset; /* of a file: where the next operation begins; -1: it has none. */
};

/* Makes `stream` one of a socket: recv(2) and send(2), which never raise SIGPIPE. */
UNR_API void unr_stream_socket(struct unr_stream *stream, int fd);

/* Of a pipe, a terminal or another descriptor without a position: read(2) and write(2); on SIGPIPE
 * see unr_write(). */
UNR_API void unr_stream_pipe(struct unr_stream *stream, int fd);

/* Of a file from `offset` (0 or more) on: pread(2) and pwrite(2).  The offset moves with what is
 * transferred, also when an operation fails or is cancelled; the file's own position is not
 * used. */
UNR_API void unr_stream_file(struct unr_stream *stream, int fd, int64_t offset);

/* Of a type of the caller's own; embed `stream` in the structure of the layer and find that with
 * unr_container_of(). */
UNR_API void unr_stream_layer(struct unr_stream *stream, const struct unr_stream_type *type);

/* One read or write on a stream, for layers and composed operations: describes it and returns it.
 * some     lives until it has ended.
 * iov      `n` pieces (at least 1, at most IOV_MAX; none of them empty), lent with their array.
 * Result   bytes: moved, at least 1; 0 with error 0 is the end of the stream.
 * Cancels  TOTAL on a socket, pipe or file; a layer as it documents.
 * Errors   as recv(2), send(2), read(2), write(2) and their forms; -EOPNOTSUPP where a layer has no
 *          such direction.
 * Moved    whoever starts it says how many bytes it moved, with unr_stream_moved(), when it has
 *          ended: a file's offset follows. */
UNR_API struct unr_op *unr_read_some(struct unr_some *some, struct unr_stream *stream,
                                     const struct iovec *iov, unsigned n);
UNR_API struct unr_op *unr_write_some(struct unr_some *some, struct unr_stream *stream,
                                      const struct iovec *iov, unsigned n);
UNR_API void           unr_stream_moved(struct unr_stream *stream, uint64_t bytes);

UNR_END
#endif
