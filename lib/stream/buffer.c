/* SPDX-License-Identifier: MIT */
/* The growable buffer.  The bytes lie from `begin` to `end` in memory of `room` bytes and one,
 * which holds the zero behind them when they reach its end. */
#include "buffer.h"
#include "../core/contract.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 4096, EAGER_ROOM = 65536 };

/* Twice that, and a byte, is a size yet. */
#define LIMIT_MAX (SIZE_MAX / 4)

static char no_bytes; /* the zero behind the bytes of a buffer that has no memory yet */

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t max(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t size_of(const struct unr_buffer *buffer)
{
    return buffer->private_fields.end - buffer->private_fields.begin;
}

static void terminate(struct unr_buffer *buffer)
{
    if (buffer->private_fields.memory)
        buffer->private_fields.memory[buffer->private_fields.end] = 0;
}

void unr_buffer_init(struct unr_buffer *buffer, size_t limit)
{
    *buffer = (struct unr_buffer){ .private_fields.limit = min(limit, LIMIT_MAX) };
}

void unr_buffer_free(struct unr_buffer *buffer)
{
    free(buffer->private_fields.memory);
    unr_buffer_init(buffer, buffer->private_fields.limit);
}

void *unr_buffer_data(const struct unr_buffer *buffer, size_t *ret_len)
{
    if (ret_len)
        *ret_len = size_of(buffer);
    return buffer->private_fields.memory
               ? buffer->private_fields.memory + buffer->private_fields.begin
               : &no_bytes;
}

void unr_buffer_consume(struct unr_buffer *buffer, size_t len)
{
    if (unlikely(len > size_of(buffer)))
        unri_broken("unr_buffer_consume of more bytes than the buffer holds", NULL,
                    "what is consumed is part of what unr_buffer_data() shows");
    buffer->private_fields.begin += len;
    if (buffer->private_fields.begin == buffer->private_fields.end) {
        buffer->private_fields.begin = buffer->private_fields.end = 0;
        terminate(buffer);
    }
}

size_t unri_find(const void *data, size_t len, size_t seen, const void *delimiter,
                 size_t delimiter_len)
{
    size_t      from = seen < delimiter_len
                           ? 0
                           : seen - delimiter_len + 1; /* it may have begun in what was seen */
    const char *found = memmem((const char *)data + from, len - from, delimiter, delimiter_len);
    return found ? (size_t)(found - (const char *)data) + delimiter_len : 0;
}

size_t unr_buffer_find(const struct unr_buffer *buffer, const void *delimiter, size_t len)
{
    size_t size;
    void  *data = unr_buffer_data(buffer, &size);
    return len ? unri_find(data, size, 0, delimiter, len) : 0;
}

size_t unr_buffer_left(const struct unr_buffer *buffer)
{
    return buffer->private_fields.limit - min(buffer->private_fields.limit, size_of(buffer));
}

void unr_buffer_set_limit(struct unr_buffer *buffer, size_t limit)
{
    buffer->private_fields.limit = min(limit, LIMIT_MAX);
}

static size_t offered(const struct unr_buffer *buffer)
{
    return min(buffer->private_fields.room - buffer->private_fields.end, unr_buffer_left(buffer));
}

static void move_to_front(struct unr_buffer *buffer)
{
    size_t size = size_of(buffer);
    memmove(buffer->private_fields.memory,
            buffer->private_fields.memory + buffer->private_fields.begin, size + 1);
    buffer->private_fields.begin = 0;
    buffer->private_fields.end = size;
}

/* Room for the limit is enough for every byte.  With twice that, and no less, as many bytes as
 * there are were consumed whenever the rest of the room is too small for what the limit leaves, and
 * moving them is paid for. */
static size_t next_room(const struct unr_buffer *buffer, size_t need)
{
    if (buffer->private_fields.room >= buffer->private_fields.limit)
        return 2 * buffer->private_fields.limit;
    return min(max(max(2 * buffer->private_fields.room, FIRST_ROOM), need),
               buffer->private_fields.limit);
}

static void grow(struct unr_buffer *buffer, size_t need)
{
    size_t room = next_room(buffer, need);
    char  *memory = realloc(buffer->private_fields.memory, room + 1);
    if (!memory)
        return;
    buffer->private_fields.memory = memory;
    buffer->private_fields.room = room;
    terminate(buffer);
}

/* What fills all of its room comes in bulk, and is better taken in larger pieces. */
static bool is_eager(const struct unr_buffer *buffer)
{
    return buffer->private_fields.filled
           && buffer->private_fields.room < min(EAGER_ROOM, buffer->private_fields.limit);
}

static int make_room(struct unr_buffer *buffer, size_t want)
{
    size_t size = size_of(buffer);
    size_t behind = buffer->private_fields.room - buffer->private_fields.end;
    bool   can_move =
        buffer->private_fields.begin >= size && want <= buffer->private_fields.room - size;
    if ((want > behind && !can_move) || is_eager(buffer))
        grow(buffer, size + want);
    if (want > buffer->private_fields.room - size)
        return -ENOMEM;
    if (want > buffer->private_fields.room - buffer->private_fields.end)
        move_to_front(buffer);
    return 0;
}

int unr_buffer_prepare(struct unr_buffer *buffer, size_t want, struct iovec *ret_room)
{
    if (want > unr_buffer_left(buffer))
        return -ENOBUFS;
    int error = make_room(buffer, want);
    if (error)
        return error;
    char *memory = unr_buffer_data(buffer, NULL);
    *ret_room = (struct iovec){ memory + size_of(buffer), offered(buffer) };
    return 0;
}

void unr_buffer_commit(struct unr_buffer *buffer, size_t len)
{
    if (unlikely(len > offered(buffer)))
        unri_broken(
            "unr_buffer_commit of more bytes than there was room for", NULL,
            "what is committed was written into the room that unr_buffer_prepare() returned");
    buffer->private_fields.end += len;
    buffer->private_fields.filled = buffer->private_fields.end == buffer->private_fields.room;
    terminate(buffer);
}

int unr_buffer_append(struct unr_buffer *buffer, const void *data, size_t len)
{
    struct iovec room;
    int          error = unr_buffer_prepare(buffer, len, &room);
    if (error || !len)
        return error;
    memcpy(room.iov_base, data, len);
    unr_buffer_commit(buffer, len);
    return 0;
}
