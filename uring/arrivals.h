/* SPDX-License-Identifier: MIT */
/* What has come into a receiver with a pool, and nobody has taken yet: bytes of a stream or
 * messages, in buffers of the pool, one behind the other. */
#ifndef UNRI_ARRIVALS_H
#define UNRI_ARRIVALS_H

#include <unring/receiver.h>
#include "pool.h"

struct iovec;
struct msghdr;

/* How the kernel puts a message into a buffer for a receiver. */
extern const struct msghdr unri_arrivals_layout;

void unri_arrivals_init(struct unr_receiver_private *r);

static inline bool unri_arrivals_exist(const struct unr_receiver_private *r)
{
    return r->first != UNRI_NO_BUFFER;
}

/* Adds what the kernel has put into `buffer`, so many bytes by its count. */
void unri_arrivals_add(struct unr_receiver_private *r, unsigned buffer, size_t bytes);

/* How many bytes there are to see: all of a stream, or the first message. */
size_t unri_arrivals_shown(const struct unr_receiver_private *r);

/* Takes bytes of a stream, as many as there is room for in `n` pieces, or the first message; what
 * finds no room of that is lost.  Returns how many. */
size_t unri_arrivals_take(struct unr_receiver_private *r, const struct iovec *pieces, unsigned n);

/* Takes the first message with its name and flags, as recvmsg(2) does.  Returns its length, or as
 * much as there was room for. */
size_t unri_arrivals_take_message(struct unr_receiver_private *r, struct msghdr *message);

/* Takes `len` bytes of a stream, or the first message whole. */
void unri_arrivals_consume(struct unr_receiver_private *r, size_t len);

/* Takes the first buffer out, which is the caller's then. */
unsigned unri_arrivals_detach(struct unr_receiver_private *r);

#endif
