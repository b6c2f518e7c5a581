/* SPDX-License-Identifier: MIT */
/* The growable buffer: its bytes, its memory, its limit.  reader.c and frame.c search it, and fill
 * it from a stream; buffer.h has what these need besides the public functions.
 *
 * The bytes lie from `begin` to `end` in a memory of `room` bytes and one more: the zero behind the
 * last byte has a place even where the bytes fill all of the room. */
#include "buffer.h"
#include "../core/contract.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 4096, EAGER_ROOM = 65536 };

/* The largest limit: the size of the largest memory, twice that and a byte, is still a size_t. */
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
    const struct unr_buffer_private *p = &buffer->private_fields;
    if (ret_len)
        *ret_len = size_of(buffer);
    return p->memory ? p->memory + p->begin : &no_bytes;
}

/* An empty buffer begins at the front again, so that nothing has to be moved there. */
void unr_buffer_consume(struct unr_buffer *buffer, size_t len)
{
    struct unr_buffer_private *p = &buffer->private_fields;
    if (unlikely(len > size_of(buffer)))
        unri_broken("unr_buffer_consume of more bytes than the buffer holds", NULL,
                    "what is consumed is part of what unr_buffer_data() shows");
    p->begin += len;
    if (p->begin == p->end) {
        p->begin = p->end = 0;
        terminate(buffer);
    }
}

/* A delimiter that ends behind the first `seen` bytes may have begun among the last of these. */
size_t unri_find(const void *data, size_t len, size_t seen, const void *delimiter,
                 size_t delimiter_len)
{
    size_t      from = seen < delimiter_len ? 0 : seen - delimiter_len + 1;
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

/* ---- room behind the bytes ---- */

/* How many bytes may be written behind `end`: as many as the memory has room for and the limit
 * allows. */
static size_t writable(const struct unr_buffer *buffer)
{
    return min(buffer->private_fields.room - buffer->private_fields.end, unr_buffer_left(buffer));
}

/* The zero behind the bytes moves along. */
static void move_to_front(struct unr_buffer *buffer)
{
    struct unr_buffer_private *p = &buffer->private_fields;
    size_t                     size = size_of(buffer);
    memmove(p->memory, p->memory + p->begin, size + 1);
    p->begin = 0;
    p->end = size;
}

/* How large the memory becomes when it grows, for a buffer that is to hold `need` bytes.
 *
 * It doubles until there is room for the limit, which is room for every byte that the buffer may
 * hold.  It grows once more if the buffer is kept nearly full, whose bytes would otherwise be moved
 * to the front again and again: to twice the limit, and that is enough.  For if bytes that the
 * limit allows do not fit behind `end` then, more bytes than the limit were consumed since the last
 * move.  These are at least as many as are to be moved, and pay for it. */
static size_t next_room(const struct unr_buffer *buffer, size_t need)
{
    const struct unr_buffer_private *p = &buffer->private_fields;
    if (p->room >= p->limit)
        return 2 * p->limit;
    return min(max(max(2 * p->room, FIRST_ROOM), need), p->limit);
}

/* Without memory to grow into, the buffer stays as it is. */
static void grow(struct unr_buffer *buffer, size_t need)
{
    struct unr_buffer_private *p = &buffer->private_fields;
    size_t                     room = next_room(buffer, need);
    char                      *memory = realloc(p->memory, room + 1);
    if (!memory)
        return;
    p->memory = memory;
    p->room = room;
    terminate(buffer);
}

/* Tells whether the buffer should grow although there is room.  If the last read has filled all the
 * room that it was offered, the bytes come in bulk, and larger reads take them with fewer calls. */
static bool is_eager(const struct unr_buffer *buffer)
{
    const struct unr_buffer_private *p = &buffer->private_fields;
    return p->filled && p->room < min(EAGER_ROOM, p->limit);
}

/* Makes room for `want` bytes behind `end`, as many as the limit allows at most.  It moves the
 * bytes to the front only if at least as many were consumed, so that each moved byte is paid for by
 * a consumed one; otherwise it grows.  If there is no memory to grow into, it moves the bytes all
 * the same, as long as that makes enough room. */
static int make_room(struct unr_buffer *buffer, size_t want)
{
    struct unr_buffer_private *p = &buffer->private_fields;
    size_t                     size = size_of(buffer), behind = p->room - p->end;
    bool                       can_move = p->begin >= size && want <= p->room - size;
    if ((want > behind && !can_move) || is_eager(buffer))
        grow(buffer, size + want);
    if (want > p->room - size)
        return -ENOMEM;
    if (want > p->room - p->end)
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
    *ret_room = (struct iovec){ memory + size_of(buffer), writable(buffer) };
    return 0;
}

void unr_buffer_commit(struct unr_buffer *buffer, size_t len)
{
    struct unr_buffer_private *p = &buffer->private_fields;
    if (unlikely(len > writable(buffer)))
        unri_broken(
            "unr_buffer_commit of more bytes than there was room for", NULL,
            "what is committed was written into the room that unr_buffer_prepare() returned");
    p->end += len;
    p->filled = p->end == p->room;
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
