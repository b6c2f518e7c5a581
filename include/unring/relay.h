/* SPDX-License-Identifier: MIT */
/* Relays: passing the bytes of one stream on to another. */
#ifndef UNRING_RELAY_H
#define UNRING_RELAY_H

#include <unring/buffer.h>
#include <unring/compose.h>
#include <unring/stream.h>

UNR_BEGIN

/* unring's own part of a `struct unr_relay`: not to be read or written. */
struct unr_relay_private {
    struct unr_compose compose;
    struct unr_stream *from, *to;
    struct unr_some    some;  /* the read or write in flight */
    struct iovec       piece; /* lent to it */
};

/* A relay, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_relay {
    union {
        struct unr_op            op;
        struct unr_relay_private private_fields;
    };
    struct unr_buffer rest; /* bytes taken and not delivered; valid in `done` and after it */
};

/* Moves bytes from one stream to another, until the end of the first.
 *
 * from, to  sockets, pipes, files from their offsets on, and layers, in any pairing; a socket may
 *           be both.  Both are lent until `done`, `from` for reading and `to` for writing alone.
 *           They are neither shut down nor closed.
 * Result    bytes: how many were delivered to `to`.  error 0: all up to the end of `from` was
 *           delivered.
 * Records   of a socket that has datagrams are not kept apart.  An empty datagram ends the relay
 *           with error 0.  One that is longer than the buffer is cut: at 4,096 bytes, or later once
 *           the bytes come in bulk.
 * Rest      relay->rest holds the bytes that were taken from `from` and not delivered, in order;
 *           none with error 0.  `bytes` and the rest together are all that was taken.  The rest is
 *           the caller's from `done` on, who gives it back with unr_buffer_free(), unless it is
 *           empty.  Describing the relay again forgets it.
 * Views     of a receiver with a pool are written from where they are, and no buffer is allocated.
 *           Bytes leave the receiver when they were delivered: what was not is still there, and the
 *           rest is empty.
 * Cancels   PARTIAL: `bytes` were delivered, and all other bytes that were taken are in
 *           relay->rest.
 * Errors    those of reading `from` and of writing to `to`; -EIO: a write moved nothing; -ENOMEM:
 *           there is no memory for the buffer.
 * SIGPIPE   never comes from a socket; from a pipe as unr_write() says.
 * Memory    a buffer of 4 KiB from malloc(3), and up to 64 KiB once the bytes come in bulk; it is
 *           kept while the relay waits.  No descriptor.
 * Workers   of the kernel are at work only where unr_read() and unr_write() need one: for a file on
 *           a disk, and on Linux 6.1 for a pipe without O_NONBLOCK.
 * Splice    is not used: the kernel gives splice(2) to a worker thread each time, which waits for
 *           a blocking socket in spite of SPLICE_F_NONBLOCK, and a copy through a buffer is as
 *           fast or faster.
 * Returns   `&relay->op`.
 * Threads   the loop's.
 * Source    tests/test_relay.c. */
UNR_API struct unr_op *unr_relay(struct unr_relay *relay, struct unr_stream *from,
                                 struct unr_stream *to);

UNR_END
#endif
