/* SPDX-License-Identifier: MIT */
/* Readers: reads into a buffer that go on until something is found: a delimiter, a match, a whole
 * frame.
 *
 * What holds for each of them:
 *   Memory    The reader is the caller's: zeroed once, and where it is from its description until
 *             `done`.
 *   Lent      Reader, stream, buffer, and delimiter, context or framing, from the description
 *             until `done`.
 *   Buffer    It is searched first: a match that is there already ends the operation in the next
 *             turn, without a system call.  Then reads into the buffer and searches take turns.
 *             Nothing is taken out of it: that is for the caller to do, with unr_buffer_consume().
 *             The bytes behind the match are the first that the next call searches.
 *   Reads     Each takes as much as the buffer has room for: 4 KiB at first, doubled as long as
 *             reads fill it, up to 64 KiB and the buffer's limit.
 *   Order     The bytes that have arrived are searched before an error or a cancellation counts: a
 *             match is a success.
 *   Errors    Those of the stream's reads, and
 *               -ENOBUFS  the buffer is full, and there is no match in it
 *               -ENODATA  the stream ended before a match; the bytes that came are in the buffer
 *               -ENOMEM   there is no memory for the buffer to grow
 *               -EINVAL   the delimiter or the framing cannot be
 *             After each of them the buffer holds all that was read, and a later call goes on from
 *             there.
 *   Memory    Nothing is allocated but the buffer's memory, which grows with the bytes that
 *             arrive, not with the length that a frame announces.
 *   Cost      One call looks at each byte once, except with unr_match_regex(); the next call
 *             begins at the front again.
 *   Threads   The loop's. */
#ifndef UNRING_READER_H
#define UNRING_READER_H

#include <sys/types.h>
#include <unring/buffer.h>
#include <unring/compose.h>
#include <unring/stream.h>

UNR_BEGIN

struct unr_framing;

/* Looks for the end of a match in the bytes that have arrived.  It is called when there is a byte,
 * and again each time that more have arrived.
 *
 * context  as given to unr_read_match().
 * data     the `len` bytes in the buffer, and behind them a zero that does not count.
 * seen     how many of these bytes the function was shown before, in this operation; 0 at first.
 * Returns  0: there is no match yet.  n, at most `len`: the match ends behind the first n bytes;
 *          more than `len` is a broken contract.  A negative errno: the operation ends with that
 *          error.
 * Inside   the function may emit, cancel and start operations.  It leaves the buffer as it is.
 * Threads  the loop's. */
typedef ssize_t unr_match_fn(void *context, const void *data, size_t len, size_t seen);

struct unr_reader;

/* unring's own part of a `struct unr_reader`: not to be read or written. */
struct unr_reader_private {
    struct unr_compose compose;
    struct unr_some    some;
    struct iovec       room; /* lent to the read in flight */
    struct unr_stream *stream;
    struct unr_buffer *buffer;
    /* Looks for the end of a match, as an unr_match_fn does. */
    ssize_t (*search)(const struct unr_reader *reader, const void *data, size_t len, size_t seen);
    union { /* what it looks for */
        unr_match_fn *match;
        size_t        delimiter_len;
    };
    union {
        void                     *context;
        const void               *delimiter;
        const struct unr_framing *framing;
    };
};

/* A reader, which is an operation: one read at a time. */
struct unr_reader {
    union {
        struct unr_op             op;
        struct unr_reader_private private_fields;
    };
};

/* Reads until the buffer holds a delimiter.
 *
 * delimiter  `len` bytes, 1 or more; lent until `done`.
 * Result     bytes: how many there are up to and with the first delimiter, all of them in the
 *            buffer.  On an error and on cancellation: how many bytes this operation has added to
 *            the buffer.
 * Cancels    PARTIAL: `bytes` were added, and the buffer holds all that was taken from the stream.
 *            Whoever keeps the buffer for the next call loses nothing, and may let TOTAL through
 *            as PARTIAL, with unr_filter().
 * Errors     those of every reader, at the top of this header; -EINVAL: the delimiter is empty.
 * Returns    `&reader->op`.
 * Source     tests/test_reader.c. */
UNR_API struct unr_op *unr_read_until(struct unr_reader *reader, struct unr_stream *stream,
                                      struct unr_buffer *buffer, const void *delimiter, size_t len);

/* Reads at least one byte into the buffer.  An idle session waits in it, whatever the buffer holds.
 *
 * Result   bytes: how many bytes were added to the buffer.
 * Cancels  TOTAL: nothing was taken from the stream.
 * Errors   those of every reader, at the top of this header.
 * Returns  `&reader->op`.
 * Source   tests/test_reader.c. */
UNR_API struct unr_op *unr_read_more(struct unr_reader *reader, struct unr_stream *stream,
                                     struct unr_buffer *buffer);

/* Reads until a function finds an end in the buffer.
 *
 * match    unr_match_regex(), or the caller's own.
 * context  `match` is called with it; lent until `done`.
 * Result   bytes: the number that `match` returned; so many are in the buffer, up to the end of
 *          the match.  On an error and on cancellation: how many bytes this operation has added to
 *          the buffer.
 * Cancels  PARTIAL: `bytes` were added, and the buffer holds all that was taken from the stream.
 *          Whoever keeps the buffer for the next call loses nothing, and may let TOTAL through as
 *          PARTIAL, with unr_filter().
 * Errors   those of every reader, at the top of this header, and those that `match` returns.
 * Returns  `&reader->op`.
 * Source   tests/test_reader.c. */
UNR_API struct unr_op *unr_read_match(struct unr_reader *reader, struct unr_stream *stream,
                                      struct unr_buffer *buffer, unr_match_fn *match,
                                      void *context);

/* Matches a regular expression: for unr_read_match().
 *
 * context  a regex_t of <regex.h>, compiled without REG_NOSUB.
 * Returns  the end of the leftmost and longest match in the `len` bytes; 0: there is none.  A
 *          pattern that could go on matching finds as much as one read happened to bring, so let
 *          it end in a delimiter: "[0-9]+\r\n".  -ENOMEM; -EOVERFLOW: there are more bytes than a
 *          regoff_t counts; -EINVAL: regexec(3) fails otherwise.
 * Empty    matches at the beginning do not count, and `$` does not match at the end of the bytes.
 * Zeros    are bytes as others are where the C library has REG_STARTEND (glibc, the BSDs).
 *          Elsewhere (musl) no match reaches over a zero byte, and `^` matches at the beginning
 *          alone.
 * Cost     all bytes are searched anew after each read. */
UNR_API ssize_t unr_match_regex(void *context, const void *data, size_t len, size_t seen);

/* ---- frames ---- */

/* The order of the bytes in a number. */
enum unr_byte_order { UNR_BIG_ENDIAN, UNR_LITTLE_ENDIAN };

/* unring's own part of a `struct unr_framing`: not to be read or written. */
struct unr_framing_private {
    const void         *delimiter; /* NULL: frames begin with their length */
    size_t              delimiter_len;
    size_t              offset, size;
    enum unr_byte_order order;
    int64_t             adjustment;
    size_t              limit;
};

/* How a stream is cut into frames.
 *
 * Memory   the caller's.  Any number of reads may share it; it is lent to those in flight. */
struct unr_framing {
    struct unr_framing_private private_fields;
};

/* Says that each frame ends in a delimiter.
 *
 * framing    overwritten.
 * delimiter  `len` bytes, 1 or more; valid as long as the framing.
 * limit      how many bytes a frame may have, its delimiter included. */
UNR_API void unr_framing_delimiter(struct unr_framing *framing, const void *delimiter, size_t len,
                                   size_t limit);

/* Says that each frame has its length in its header.
 *
 * framing       overwritten.
 * offset, size  the length is an unsigned number of `size` bytes (1 to 8), which begins `offset`
 *               bytes behind the beginning of the frame.  All up to the end of that number is the
 *               header.
 * adjustment    added to the number it gives the length of the whole frame: 0 if the number is
 *               that length, offset + size if the number is the length of the part behind the
 *               header.
 * limit         how many bytes a whole frame may have. */
UNR_API void unr_framing_length(struct unr_framing *framing, size_t offset, unsigned size,
                                enum unr_byte_order order, int64_t adjustment, size_t limit);

/* Reads until a whole frame is at the front of the buffer.
 *
 * framing  lent until `done`.
 * Result   bytes: the length of the frame, header and delimiter included; 0 on an error and on
 *          cancellation.
 * Cancels  TOTAL: no part of a frame was consumed.  The bytes that have arrived are in the buffer,
 *          and the next call goes on where this one stopped.  So a frame may arrive through any
 *          number of cancelled calls, each with a deadline say.
 * Layers   whose reads support PARTIAL at most are cancelled by a request for TOTAL, too: the
 *          bytes that they have read are in the buffer.
 * Errors   those of every reader, at the top of this header.  -ENODATA with an empty buffer is an
 *          end between two frames, with any other buffer an end in the middle of one; -ENOBUFS
 *          comes as soon as the length is known.  And
 *            -EMSGSIZE  the frame is longer than the framing's limit.  This is found out, before
 *                       anything is allocated or read for the rest, when the length has arrived,
 *                       or so many bytes without a delimiter.
 *            -EBADMSG   the length is less than that of the header
 *            -EINVAL    the delimiter is empty, or the size of the length is not 1 to 8
 * Returns  `&reader->op`.
 * Source   tests/test_frame.c. */
UNR_API struct unr_op *unr_read_frame(struct unr_reader *reader, struct unr_stream *stream,
                                      struct unr_buffer *buffer, const struct unr_framing *framing);

/* Shows a frame in the buffer without its header and delimiter.
 *
 * frame_len  result.bytes of unr_read_frame(); the frame is still at the front of the buffer.  A
 *            frame that is not there is a broken contract.
 * ret_len    how many bytes the payload has; NULL is allowed.
 * Returns    the first byte of the payload.  Valid until the buffer is changed or lent. */
UNR_API void *unr_frame_payload(const struct unr_framing *framing, const struct unr_buffer *buffer,
                                size_t frame_len, size_t *ret_len);

UNR_END
#endif
