/* SPDX-License-Identifier: MIT */
/* A message in a provided buffer, as a multishot recvmsg puts it there: a head, room for the name
 * of the sender, room for control data, and the payload.  A `layout` says how large the rooms are.
 */
#ifndef UNRI_MESSAGE_H
#define UNRI_MESSAGE_H

#include <liburing.h>
#include <string.h>
#include <sys/socket.h>

static inline size_t unri_message_payload_at(const struct msghdr *layout)
{
    return sizeof(struct io_uring_recvmsg_out) + layout->msg_namelen + layout->msg_controllen;
}

/* How long the payload is of a message of which the kernel has counted `bytes`. */
static inline size_t unri_message_payload(const struct msghdr *layout, size_t bytes)
{
    size_t start = unri_message_payload_at(layout);
    return bytes > start ? bytes - start : 0;
}

static inline size_t unri_at_most(size_t n, size_t most)
{
    return n < most ? n : most;
}

/* Sets name, control data and flags of a message, as recvmsg(2) does, but for lengths beyond the
 * rooms.  Returns where the payload begins. */
static inline size_t unri_message_parts(void *memory, const struct msghdr *layout,
                                        struct msghdr *ret_parts)
{
    struct io_uring_recvmsg_out head;
    unsigned char              *name = (unsigned char *)memory + sizeof head;
    if (ret_parts) {
        memcpy(&head, memory, sizeof head);
        ret_parts->msg_name = name;
        ret_parts->msg_namelen = (socklen_t)unri_at_most(head.namelen, layout->msg_namelen);
        ret_parts->msg_control = name + layout->msg_namelen;
        ret_parts->msg_controllen = (__typeof__(ret_parts->msg_controllen))unri_at_most(
            head.controllen, layout->msg_controllen);
        ret_parts->msg_flags = (int)head.flags;
    }
    return unri_message_payload_at(layout);
}

#endif
