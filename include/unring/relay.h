/* Passing on what comes from one stream to another. */
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
    struct unr_some    some;
    struct iovec       piece;
    bool               writing;
};

struct unr_relay {
    union {
        struct unr_op            op;
        struct unr_relay_private private_fields;
    };
    struct unr_buffer rest; /* see Rest; valid in `done` and after */
};

/* Moves what `from` has to `to`, until the end of `from`: sockets, pipes, files from their offsets
 * on, and layers, in any pairing; a socket may be both.  It shuts nothing down and closes nothing.
 *
 * Result   bytes: delivered to `to`.  Error 0: at the end of `from`, with all of it delivered.
 * Rest     relay->rest holds what was taken from `from` and not delivered, in order: with error 0
 *          nothing; otherwise bytes and the rest together are what was taken.  It is the caller's
 *          from `done` on, who gives it back with unr_buffer_free(), which may be left out only
 *          where it is empty.  Describing the relay again forgets it.
 * Cancels  PARTIAL: bytes and rest tell how far it came.
 * Errors   as reading `from` and writing to `to`; -EIO: a write that moved nothing; -ENOMEM for the
 *          buffer.
 * SIGPIPE  as unr_stream_socket() and unr_stream_pipe() say: none from a socket.
 * Memory   a buffer of 4 KiB, and 64 KiB once the bytes come in bulk, from malloc(3); no
 *          descriptor, no thread, also while it waits.  (Not splice(2): the kernel gives that to a
 *          worker thread each time, where it waits for a blocking socket in spite of
 *          SPLICE_F_NONBLOCK, and a copy through a buffer is as fast or faster.)
 * Threads  the loop's.
 * Source   lib/relay.c; tests/test_relay.c. */
UNR_API struct unr_op *unr_relay(struct unr_relay *relay, struct unr_stream *from,
                                 struct unr_stream *to);

UNR_END
#endif
