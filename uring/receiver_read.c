/* SPDX-License-Identifier: MIT */
/* The read that waits in a receiver, and how it is served: from what a pool's buffers hold, or by
 * recv(2) into its own memory. */
#include "arrivals.h"
#include "lent.h"
#include "message.h"
#include "receiver.h"

#include <string.h>
#include <sys/uio.h>

static bool is_view(const struct unr_op *read)
{
    return read->private_fields.other_fd == UNRI_READ_VIEW;
}

static void *memory_of(const struct unr_op *read)
{
    return (void *)(uintptr_t)read->private_fields.address;
}

/* Sets the pieces into which a read copies, and returns how many there are. */
static unsigned pieces_of(const struct unr_op *read, struct iovec *room,
                          const struct iovec **ret_pieces)
{
    const struct unr_op_private *p = &read->private_fields;
    *room = (struct iovec){ memory_of(read), p->length };
    *ret_pieces = p->other_fd > 0 ? memory_of(read) : room;
    return p->other_fd > 0 ? (unsigned)p->other_fd : 1;
}

void unri_receiver_lend(const struct unr_op *read, const struct unri_lent_visitor *visitor)
{
    const struct unr_op_private *p = &read->private_fields;
    if (p->other_fd == UNRI_READ_MESSAGE)
        unri_lent_message(visitor, memory_of(read), UNRI_FILLS);
    else if (p->other_fd > 0)
        unri_lent_pieces(visitor, memory_of(read), (size_t)p->other_fd, UNRI_FILLS);
    else if (!is_view(read))
        visitor->visit(visitor->context, memory_of(read), p->length, UNRI_FILLS);
}

static void end(struct unr_receiver_private *r, uint64_t bytes, int error)
{
    struct unr_op *read = r->read;
    r->read = NULL;
    read->result.bytes = bytes;
    if (error)
        unri_end_uncancelled(read, error);
    else
        unri_end(read, 0);
}

void unri_receiver_fail(struct unr_receiver_private *r, int error)
{
    if (r->read)
        end(r, 0, error);
}

/* ---- from the pool's buffers ---- */

static size_t take(struct unr_receiver_private *r)
{
    const struct iovec *pieces;
    struct iovec        room;
    if (r->read->private_fields.other_fd == UNRI_READ_MESSAGE)
        return unri_arrivals_take_message(r, memory_of(r->read));
    unsigned n = pieces_of(r->read, &room, &pieces);
    return unri_arrivals_take(r, pieces, n);
}

/* The read is out of the receiver before a buffer goes back: that may arm others, and look here. */
void unri_receiver_serve(struct unr_receiver_private *r)
{
    end(r, is_view(r->read) ? unri_arrivals_shown(r) : take(r), 0);
}

/* ---- by a system call ---- */

static ssize_t receive(struct unr_receiver_private *r)
{
    const struct iovec *pieces;
    struct iovec        room;
    if (r->read->private_fields.other_fd == UNRI_READ_MESSAGE) {
        struct msghdr *message = memory_of(r->read);
        if (r->pool)
            message->msg_controllen = 0;
        return unri_enter_receive_message(r->fd, r->source, message);
    }
    unsigned n = pieces_of(r->read, &room, &pieces);
    return unri_enter_receive(r->fd, r->source, pieces, n);
}

/* Reads into the pool's spare buffer, and leaves there what the kernel would have. */
static ssize_t receive_for_view(struct unr_receiver_private *r, unsigned buffer)
{
    unsigned char              *memory = unri_pool_memory(r->pool, buffer);
    size_t                      start = 0;
    struct io_uring_recvmsg_out head = { 0 };
    struct msghdr               message = unri_arrivals_layout;
    if (r->messages)
        start = unri_message_payload_at(&unri_arrivals_layout);
    struct iovec room = { memory + start, r->pool->size - start };
    if (!r->messages)
        return unri_enter_receive(r->fd, r->source, &room, 1);
    message.msg_name = memory + sizeof head;
    message.msg_iov = &room;
    message.msg_iovlen = 1;
    ssize_t n = unri_enter_receive_message(r->fd, r->source, &message);
    head.namelen = message.msg_namelen;
    head.flags = (uint32_t)message.msg_flags;
    memcpy(memory, &head, sizeof head);
    return n < 0 ? n : n + (ssize_t)start;
}

static bool attempt_view(struct unr_receiver_private *r)
{
    unsigned buffer = unri_pool_spare(r->pool, r->fd);
    if (buffer == UNRI_NO_BUFFER)
        return false;
    ssize_t n = receive_for_view(r, buffer);
    if (n > 0) {
        unri_arrivals_add(r, buffer, (size_t)n);
        unri_receiver_serve(r);
        return true;
    }
    if (n != -EAGAIN)
        unri_receiver_fail(r, (int)n);
    unri_pool_put_spare(r->pool, buffer);
    return n != -EAGAIN;
}

bool unri_receiver_attempt(struct unr_receiver_private *r)
{
    if (r->source == UNRI_SOURCE_UNKNOWN)
        r->source = (uint8_t)unri_enter_source(r->fd);
    if (is_view(r->read))
        return attempt_view(r);
    ssize_t n = receive(r);
    if (n == -EAGAIN)
        return false;
    end(r, n > 0 ? (uint64_t)n : 0, n < 0 ? (int)n : 0);
    return true;
}
