/* A growable buffer: bytes are put in behind, looked at in one piece, and taken out in front.
 * reader.h fills it from a stream. */
#ifndef UNRING_BUFFER_H
#define UNRING_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>
#include <unring/common.h>

UNR_BEGIN

/* unring's own part of a `struct unr_buffer`: not to be read or written. */
struct unr_buffer_private {
    char  *memory; /* one byte more than `room` */
    size_t begin, end, room;
    size_t limit;
    bool   filled; /* the last commit left no room */
};

/* The caller's; zeroed memory, and unr_buffer_init().  While an operation uses it, it is lent to
 * that.
 * Memory   malloc(3), from the first byte on: doubled as the bytes need it, and given back by
 *          unr_buffer_free() alone.  The bytes are moved to the front when no more of them are left
 *          than were consumed, so that putting in and taking out cost O(1) a byte, whatever the
 *          pattern; a buffer that is kept nearly full takes up to twice its limit for that.
 * Threads  one at a time.
 * Source   lib/buffer.c; tests/test_buffer.c. */
struct unr_buffer {
    struct unr_buffer_private private_fields;
};

/* Makes zeroed memory an empty buffer, which allocates nothing yet.
 * limit    the most bytes that it may hold. */
UNR_API void unr_buffer_init(struct unr_buffer *buffer, size_t limit);

/* Gives the memory back; what was in it is gone, and the buffer is as unr_buffer_init() left it.
 * Zeroed memory is fine. */
UNR_API void unr_buffer_free(struct unr_buffer *buffer);

/* The bytes in it: `*ret_len` of them (`ret_len` may be NULL), and behind them a zero that does not
 * count, so that text can be given to string functions.  Never NULL.  Valid until the buffer is
 * changed or lent. */
UNR_API void *unr_buffer_data(const struct unr_buffer *buffer, size_t *ret_len);

/* Takes `len` bytes out in front; more than it holds is a broken contract. */
UNR_API void unr_buffer_consume(struct unr_buffer *buffer, size_t len);

/* Up to and with the first place where it holds the `len` bytes of `delimiter`, 1 or more: how many
 * bytes; 0: it is not there.  Looking here for what one read brought beside the first line costs a
 * quarter of unr_read_until() for each. */
UNR_API size_t unr_buffer_find(const struct unr_buffer *buffer, const void *delimiter, size_t len);

/* How many more bytes it may hold. */
UNR_API size_t unr_buffer_left(const struct unr_buffer *buffer);

/* Changes the limit; below what it holds it keeps that, and takes no more. */
UNR_API void unr_buffer_set_limit(struct unr_buffer *buffer, size_t limit);

/* Puts `len` bytes in behind: all of them, or on an error none.
 * Errors   -ENOBUFS: there is not so much left of the limit; -ENOMEM. */
UNR_API int unr_buffer_append(struct unr_buffer *buffer, const void *data, size_t len);

/* unr_buffer_append() without a copy: memory behind the bytes that is to be filled, and then how
 * much of it was.
 * want      the least that is needed; what is there besides is offered as well, up to the limit.
 * ret_room  the memory; untouched on an error.  It is the caller's until the buffer is used in
 *           another way.
 * Returns   0, -ENOBUFS or -ENOMEM, and nothing is lost.
 * commit    0 too, if something was written; more than the room was is a broken contract. */
UNR_API int  unr_buffer_prepare(struct unr_buffer *buffer, size_t want, struct iovec *ret_room);
UNR_API void unr_buffer_commit(struct unr_buffer *buffer, size_t len);

UNR_END
#endif
