/* SPDX-License-Identifier: MIT */
/* The buffers of a receiver with a pool.  Each is linked to the next by its number.
 *
 * A peer that sends byte by byte would fill a buffer with each of them.  So what fits behind the
 * bytes that came last is copied there, and its own buffer goes back.  Then any two neighbours have
 * together more than one buffer holds, and a receiver keeps two buffers for each that its bytes
 * would fill, and one more at most.  Bytes that somebody waits for are never copied so. */
#include "arrivals.h"
#include "message.h"

#include <string.h>
#include <sys/uio.h>

const struct msghdr unri_arrivals_layout = { .msg_namelen = sizeof(struct sockaddr_storage) };

void unri_arrivals_init(struct unr_receiver_private *r)
{
    r->first = r->last = UNRI_NO_BUFFER;
    r->held = 0;
}

static struct unri_buffer *first_of(const struct unr_receiver_private *r)
{
    return &r->pool->buffers[r->first];
}

static unsigned char *bytes_of(const struct unr_receiver_private *r)
{
    return unri_pool_memory(r->pool, r->first) + first_of(r)->start;
}

/* A message counts as the buffer that it fills. */
static uint32_t weight(const struct unr_receiver_private *r, uint32_t len)
{
    return r->messages ? r->pool->size : len;
}

/* ---- coming ---- */

static bool fits_behind_the_last(const struct unr_receiver_private *r, size_t bytes)
{
    const struct unri_buffer *last = &r->pool->buffers[r->last];
    return !r->messages && last->start + last->length + bytes <= r->pool->size;
}

static void append(struct unr_receiver_private *r, unsigned buffer)
{
    r->pool->buffers[buffer].next = UNRI_NO_BUFFER;
    if (r->first == UNRI_NO_BUFFER)
        r->first = (uint16_t)buffer;
    else
        r->pool->buffers[r->last].next = (uint16_t)buffer;
    r->last = (uint16_t)buffer;
}

void unri_arrivals_add(struct unr_receiver_private *r, unsigned buffer, size_t bytes)
{
    struct unri_buffer *b = &r->pool->buffers[buffer];
    b->start = r->messages ? (uint32_t)unri_message_payload_at(&unri_arrivals_layout) : 0;
    b->length =
        (uint32_t)(r->messages ? unri_message_payload(&unri_arrivals_layout, bytes) : bytes);
    r->held += weight(r, b->length);
    if (r->first != UNRI_NO_BUFFER && fits_behind_the_last(r, bytes)) {
        struct unri_buffer *last = &r->pool->buffers[r->last];
        memcpy(unri_pool_memory(r->pool, r->last) + last->start + last->length,
               unri_pool_memory(r->pool, buffer), bytes);
        last->length += (uint32_t)bytes;
        unri_pool_put(r->pool, buffer);
    } else {
        append(r, buffer);
    }
}

size_t unri_arrivals_shown(const struct unr_receiver_private *r)
{
    return r->messages ? first_of(r)->length : r->held;
}

/* ---- going ---- */

unsigned unri_arrivals_detach(struct unr_receiver_private *r)
{
    unsigned buffer = r->first;
    r->held -= weight(r, first_of(r)->length);
    r->first = first_of(r)->next;
    return buffer;
}

static void drop_first(struct unr_receiver_private *r)
{
    unri_pool_put(r->pool, unri_arrivals_detach(r));
}

static void take_bytes(struct unr_receiver_private *r, size_t len)
{
    first_of(r)->start += (uint32_t)len;
    first_of(r)->length -= (uint32_t)len;
    r->held -= (uint32_t)len;
    if (!first_of(r)->length)
        drop_first(r);
}

void unri_arrivals_consume(struct unr_receiver_private *r, size_t len)
{
    if (r->messages) {
        drop_first(r);
        return;
    }
    while (len) {
        size_t part = unri_at_most(len, first_of(r)->length);
        take_bytes(r, part);
        len -= part;
    }
}

/* Copies into one piece from the first buffer, or buffers. */
static size_t fill(struct unr_receiver_private *r, const struct iovec *piece)
{
    size_t done = 0;
    while (done < piece->iov_len && unri_arrivals_exist(r)) {
        size_t part = unri_at_most(piece->iov_len - done, first_of(r)->length);
        memcpy((unsigned char *)piece->iov_base + done, bytes_of(r), part);
        take_bytes(r, part);
        done += part;
    }
    return done;
}

static size_t copy_message(const struct unr_receiver_private *r, const struct iovec *pieces,
                           size_t n)
{
    size_t done = 0;
    for (; n && done < first_of(r)->length; pieces++, n--) {
        size_t part = unri_at_most(pieces->iov_len, first_of(r)->length - done);
        if (part)
            memcpy(pieces->iov_base, bytes_of(r) + done, part);
        done += part;
    }
    return done;
}

size_t unri_arrivals_take(struct unr_receiver_private *r, const struct iovec *pieces, unsigned n)
{
    size_t done = 0;
    if (r->messages) {
        done = copy_message(r, pieces, n);
        drop_first(r);
    }
    for (; !r->messages && n && unri_arrivals_exist(r); pieces++, n--)
        done += fill(r, pieces);
    return done;
}

size_t unri_arrivals_take_message(struct unr_receiver_private *r, struct msghdr *message)
{
    struct msghdr parts = { 0 };
    size_t        length = first_of(r)->length;
    if (!r->messages) {
        message->msg_namelen = 0;
        message->msg_controllen = 0;
        message->msg_flags = 0;
        return unri_arrivals_take(r, message->msg_iov, (unsigned)message->msg_iovlen);
    }
    unri_message_parts(unri_pool_memory(r->pool, r->first), &unri_arrivals_layout, &parts);
    if (message->msg_name)
        memcpy(message->msg_name, parts.msg_name,
               unri_at_most(parts.msg_namelen, message->msg_namelen));
    message->msg_namelen = message->msg_name ? parts.msg_namelen : 0;
    message->msg_controllen = 0;
    message->msg_flags = parts.msg_flags;
    size_t done = copy_message(r, message->msg_iov, (size_t)message->msg_iovlen);
    if (done < length)
        message->msg_flags |= MSG_TRUNC;
    drop_first(r);
    return done;
}

/* ---- looking ---- */

void *unr_receiver_data(const struct unr_receiver *receiver, size_t *ret_len)
{
    const struct unr_receiver_private *r = &receiver->private_fields;
    bool                               any = r->pool && unri_arrivals_exist(r);
    *ret_len = any ? first_of(r)->length : 0;
    return any ? bytes_of(r) : NULL;
}

unsigned unr_receiver_pieces(const struct unr_receiver *receiver, struct iovec *ret_pieces,
                             unsigned n)
{
    const struct unr_receiver_private *r = &receiver->private_fields;
    unsigned                           count = 0;
    unsigned                           i = r->pool ? r->first : UNRI_NO_BUFFER;
    for (; i != UNRI_NO_BUFFER && count < n; i = r->pool->buffers[i].next) {
        ret_pieces[count].iov_base = unri_pool_memory(r->pool, i) + r->pool->buffers[i].start;
        ret_pieces[count++].iov_len = r->pool->buffers[i].length;
    }
    return count;
}

size_t unr_receiver_held(const struct unr_receiver *receiver)
{
    return receiver->private_fields.held;
}

const void *unr_receiver_name(const struct unr_receiver *receiver, socklen_t *ret_len)
{
    const struct unr_receiver_private *r = &receiver->private_fields;
    struct msghdr                      parts;
    *ret_len = 0;
    if (!r->pool || !r->messages || !unri_arrivals_exist(r))
        return NULL;
    unri_message_parts(unri_pool_memory(r->pool, r->first), &unri_arrivals_layout, &parts);
    *ret_len = parts.msg_namelen;
    return parts.msg_name;
}
