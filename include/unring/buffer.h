/* SPDX-License-Identifier: MIT */
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

/* A buffer.  Zeroed memory is a buffer that may hold nothing: unr_buffer_init() sets a limit.
 *
 * Memory   the structure is the caller's.  The bytes are in memory of malloc(3), from the first
 *          byte on: it is doubled as the bytes need it, and given back by unr_buffer_free() alone.
 * Lent     while an operation uses the buffer: no other call is allowed then.
 * Cost     O(1) for each byte, whatever the order of the calls: the bytes are moved to the front
 *          only when no more are left than were taken out.  For that a buffer that is kept nearly
 *          full takes up to twice its limit.
 * Threads  one at a time, for each buffer.
 * Source   tests/test_buffer.c. */
struct unr_buffer {
    struct unr_buffer_private private_fields;
};

/* Makes an empty buffer, which has no memory yet.
 *
 * buffer   overwritten.
 * limit    how many bytes it may hold at most. */
UNR_API void unr_buffer_init(struct unr_buffer *buffer, size_t limit);

/* Frees the memory of a buffer; the bytes in it are gone.
 *
 * buffer   is empty afterwards, and keeps its limit.  Zeroed memory is allowed. */
UNR_API void unr_buffer_free(struct unr_buffer *buffer);

/* Shows the bytes in the buffer.
 *
 * ret_len  how many there are; NULL is allowed.
 * Returns  the first byte; never NULL.  Behind the last byte is a zero that does not count, so
 *          that text can be given to string functions.  Valid until the buffer is changed or lent.
 *          The bytes may be changed in place. */
UNR_API void *unr_buffer_data(const struct unr_buffer *buffer, size_t *ret_len);

/* Takes the first `len` bytes out.
 *
 * len      at most as many as there are; more is a broken contract. */
UNR_API void unr_buffer_consume(struct unr_buffer *buffer, size_t len);

/* Finds the first place at which the buffer holds a delimiter.
 *
 * delimiter  `len` bytes, 1 or more.
 * Returns    how many bytes there are up to and with the delimiter; 0: it is not there.
 * Use        for the lines that one read has brought besides the first: it costs less than half of
 *            unr_read_until(). */
UNR_API size_t unr_buffer_find(const struct unr_buffer *buffer, const void *delimiter, size_t len);

/* Returns how many more bytes the buffer may hold. */
UNR_API size_t unr_buffer_left(const struct unr_buffer *buffer);

/* Changes how many bytes the buffer may hold at most.
 *
 * limit    may be below what the buffer holds: it keeps its bytes then, and takes no more. */
UNR_API void unr_buffer_set_limit(struct unr_buffer *buffer, size_t limit);

/* Puts `len` bytes in behind.
 *
 * Returns  0; or an error, and nothing was put in: -ENOBUFS: the limit does not allow so many;
 *          -ENOMEM. */
UNR_API int unr_buffer_append(struct unr_buffer *buffer, const void *data, size_t len);

/* Makes room behind the bytes, for the caller to write into.
 *
 * want      how many bytes are needed at least.  More is offered if it is there, up to the limit.
 * ret_room  the room; untouched on an error.  It is the caller's until the next call for this
 *           buffer, which is unr_buffer_commit() if anything was written.
 * Returns   0; or an error, and no byte is lost: -ENOBUFS: the limit does not allow so many;
 *           -ENOMEM. */
UNR_API int unr_buffer_prepare(struct unr_buffer *buffer, size_t want, struct iovec *ret_room);

/* Counts bytes that were written into the room of unr_buffer_prepare().
 *
 * len      how many of them, from the beginning of the room on; more than the room is a broken
 *          contract.  If bytes were written and none counts, it is called with 0: that restores
 *          the zero behind the last byte. */
UNR_API void unr_buffer_commit(struct unr_buffer *buffer, size_t len);

UNR_END
#endif
