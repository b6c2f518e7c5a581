/* Reads that go on until something is found: a delimiter, a match, a whole frame.
 *
 * What holds for each of them:
 *   Lent      reader, stream, buffer, and what is looked for, until `done` runs.
 *   Buffer    is searched first: what is there already ends the operation in the next turn, without
 *   a system call.  Then it is
 *             read into and searched in turn.  Nothing is taken out of it: that is the caller's to
 *             do, with unr_buffer_consume(), and what lies behind the match is the begin of what
 *             the next call finds.
 *   Reads     as much as the buffer has room for, 4 KiB at first; while reads fill all of that it
 *   is doubled, up to 64 KiB
 *             and the buffer's limit.
 *   Order     what has arrived is searched before an error or a cancellation is looked at: what was
 *   found is a success.  Errors    those of the stream's reads, and
 *               -ENOBUFS  the buffer is full, and it is not in there
 *               -ENODATA  the stream ended before it came; what came is in the buffer
 *               -ENOMEM   no memory for the buffer to grow
 *               -EINVAL   it cannot be looked for
 *             after each of which the buffer holds all that was read, and a later call goes on from
 *             there.
 *   Memory    allocates nothing but the buffer's, which grows with what arrives, not with what a
 *   frame announces.  Cost      one call looks at each byte once, with unr_match_regex excepted;
 *   the next call begins at the front again.  Threads   the loop's. */
#ifndef UNRING_READER_H
#define UNRING_READER_H

#include <sys/types.h>
#include <unring/buffer.h>
#include <unring/compose.h>
#include <unring/stream.h>

UNR_BEGIN

struct unr_framing;

/* Looks for the end of what is read.  Not called before there is a byte, nor again before there is
 * another one.
 * data     the `len` bytes that the buffer holds, and behind them a zero that does not count.
 * seen     how many of them it was shown before in this operation; 0 at first.
 * Returns  0: not yet; n, at most `len`: it is the first n bytes; a negative errno ends the
 *          operation with that.  More than `len` is a broken contract.
 * It may emit, start and cancel; the buffer stays as it is. */
typedef ssize_t unr_match_fn(void *context, const void *data, size_t len, size_t seen);

/* unring's own part of a `struct unr_reader`: not to be read or written. */
struct unr_reader_private {
    struct unr_compose        compose;
    struct unr_some           some;
    struct iovec              room; /* lent to the read in flight */
    struct unr_stream        *stream;
    struct unr_buffer        *buffer;
    unr_match_fn             *match;
    void                     *context;
    const void               *delimiter;
    size_t                    delimiter_len;
    const struct unr_framing *framing;
    size_t                    seen;
    uint64_t                  added;
};

/* One read at a time. */
struct unr_reader {
    union {
        struct unr_op             op;
        struct unr_reader_private private_fields;
    };
};

/* Reads until the buffer holds the `len` bytes of `delimiter`.
 * Result   bytes: up to and with the first delimiter, all in the buffer.  On an error and on
 *          cancellation: how many bytes this operation added to it.
 * Cancels  PARTIAL: the buffer holds all that was taken from the stream.  (In unr_filter() one may
 *          ask for TOTAL: whoever keeps the buffer for the next call loses nothing.)
 * Errors   see above; -EINVAL: the delimiter is empty.
 * Source   lib/reader.c; tests/test_reader.c. */
UNR_API struct unr_op *unr_read_until(struct unr_reader *reader, struct unr_stream *stream,
                                      struct unr_buffer *buffer, const void *delimiter, size_t len);

/* Reads until `match`, called with `context`, finds an end.
 * Result, Cancels  as unr_read_until().
 * Errors   see above, and those that `match` returns. */
UNR_API struct unr_op *unr_read_match(struct unr_reader *reader, struct unr_stream *stream,
                                      struct unr_buffer *buffer, unr_match_fn *match,
                                      void *context);

/* A match of a regular expression; `context`: a regex_t of <regex.h>, compiled without REG_NOSUB.
 * Result   the end of the leftmost and longest match in what has arrived.  A pattern that could go
 *          on matching finds as much as one read happened to bring, so let it end in a delimiter:
 *          "[0-9]+\r\n".
 * `$`      does not match at the end of what has arrived, nor does the empty string at its begin
 * count.
 * NUL      is a byte as others are where the C library has REG_STARTEND (glibc, the BSDs);
 *          elsewhere (musl) no match reaches over one, and `^` matches at the begin alone.
 * Errors   -ENOMEM; -EOVERFLOW: more bytes than a regoff_t counts; -EINVAL: regexec(3) fails
 *          otherwise.
 * Cost     all bytes are searched anew after each read. */
UNR_API ssize_t unr_match_regex(void *context, const void *data, size_t len, size_t seen);

/* ---- frames ---- */

enum unr_byte_order { UNR_BIG_ENDIAN, UNR_LITTLE_ENDIAN };

/* unring's own part of a `struct unr_framing`: not to be read or written. */
struct unr_framing_private {
    const void         *delimiter; /* NULL: a length */
    size_t              delimiter_len;
    size_t              offset, size;
    enum unr_byte_order order;
    int64_t             adjustment;
    size_t              limit;
};

/* How a stream is cut into frames.  Shared by any number of reads, and lent to those in flight. */
struct unr_framing {
    struct unr_framing_private private_fields;
};

/* Frames that end in a delimiter of `len` bytes, 1 or more, which lives as long as the framing.
 * limit  of a frame, its delimiter included. */
UNR_API void unr_framing_delimiter(struct unr_framing *framing, const void *delimiter, size_t len,
                                   size_t limit);

/* Frames that begin with their length: an unsigned number of `size` bytes (1 to 8) that begins at
 * `offset`.  All up to the end of that field is the header.
 * adjustment  what is to be added to the number to get the length of the whole frame: 0 if it
 *             counts that, offset + size if it counts what follows it.
 * limit       of a whole frame. */
UNR_API void unr_framing_length(struct unr_framing *framing, size_t offset, unsigned size,
                                enum unr_byte_order order, int64_t adjustment, size_t limit);

/* Reads until a whole frame is at the front of the buffer.
 * Result   bytes: its length, header and delimiter included; 0 on an error and on cancellation.
 * Cancels  TOTAL: no part of a frame was consumed, and the next call goes on where this one
 *          stopped.  So it can be cancelled again and again, by a deadline say, while a frame
 *          arrives.  Of a layer below, PARTIAL is asked then too, and is enough.
 * Errors   see above, where -ENODATA with an empty buffer is an end between two frames, and with
 *          any other one in the middle of one, and -ENOBUFS comes as soon as the length is known.
 *          Besides
 *            -EMSGSIZE  the frame is longer than the framing's limit: found out as soon as its
 *            length, or so many bytes
 *                       without a delimiter, have arrived, before anything is allocated or read for
 *                       the rest
 *            -EBADMSG   the length is less than that of its own header
 *            -EINVAL    the delimiter is empty, or the size of the length is not 1 to 8
 * Source   lib/frame.c; tests/test_frame.c. */
UNR_API struct unr_op *unr_read_frame(struct unr_reader *reader, struct unr_stream *stream,
                                      struct unr_buffer *buffer, const struct unr_framing *framing);

/* The payload of the frame of `frame_len` bytes at the front of the buffer: what is left of it
 * without header and delimiter.  `ret_len` may be NULL.  Valid until the buffer is changed or lent.
 * A frame that is not there is a broken contract. */
UNR_API void *unr_frame_payload(const struct unr_framing *framing, const struct unr_buffer *buffer,
                                size_t frame_len, size_t *ret_len);

UNR_END
#endif
