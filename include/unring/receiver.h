/* SPDX-License-Identifier: MIT */
/* Receivers: a receiver keeps one operation of the kernel's armed for a socket, a pipe or a
 * terminal, and a read that waits is a pointer in user space.  So a read is cancelled without a
 * system call, at once and always TOTAL, and starting the next one costs none either.
 *
 * unr_recv() and unr_read() are the better choice for large transfers, and where reads are neither
 * cancelled nor timed: a receiver needs one more operation for each descriptor, and one recv(2) for
 * each read.
 *
 *   what            armed in the kernel   a cancel costs      what is lost by a cancel
 *   unr_recv()      the receive itself    one SQE, two CQEs   nothing: TOTAL, or it has completed
 *   unr_receive()   a poll                nothing             nothing: TOTAL, or it has completed */
#ifndef UNRING_RECEIVER_H
#define UNRING_RECEIVER_H

#include <unring/op.h>
#include <unring/stream.h>

UNR_BEGIN

struct unr_pool;

/* unring's own part of a `struct unr_receiver`: not to be read or written. */
struct unr_receiver_private {
    struct unr_op  armed; /* the multishot, also while it is not armed */
    struct unr_op *read;  /* the read that waits, or NULL */
    struct unr_op *stop;  /* the unr_receiver_stop() that waits, or NULL */
    int32_t        fd;
    uint8_t        state, source;
};

/* One descriptor's receiver.
 *
 * Memory   the caller's: embedded, and where it is from unr_receiver_init() until it has been
 *          stopped, or its descriptor or its loop closed. */
struct unr_receiver {
    struct unr_receiver_private private_fields;
};

/* Makes a receiver for a descriptor, and arms it.  The kernel tells from now on when there is
 * something to read.
 *
 * loop     an armed receiver does not keep it running; a read that waits does.
 * pool     NULL; anything else is a broken contract.
 * fd       a socket, a pipe or a terminal, the caller's to close.  While the receiver is armed
 *          nobody else reads from it: a read of another kind takes bytes that a receive waits for.
 *          A socket need not be O_NONBLOCK.  Where others read the same pipe or terminal, or a
 *          terminal has VMIN above 1, the loop's thread may wait in read(2) unless it is.
 * credit   0: nothing waits outside of the socket.  Another number makes no difference.
 * Lent     the receiver and the descriptor, until the `done` of an unr_receiver_stop() or of an
 *          unr_cancel_close() of the descriptor, or until unr_loop_close() has returned.
 * Closing  unr_close() of the descriptor ends the receiver, too: the read that waits is cancelled
 *          with cause -ESHUTDOWN, because the number may be another file's.
 * Errors   none here: the next read has them.  To initialise a receiver that is armed is a broken
 *          contract.
 * Cost     one SQE and one system call with the loop's next turn.  Afterwards the kernel has no
 *          more to do for it than for a socket in an epoll(7).
 * Memory   allocates nothing.
 * Again    a receiver that was stopped may be initialised again.
 * Threads  the loop's. */
UNR_API void unr_receiver_init(struct unr_receiver *receiver, struct unr_loop *loop,
                               struct unr_pool *pool, int fd, uint32_t credit);

/* Describes a read: what is there, or else what comes first.
 *
 * receiver  one read at a time: a second one is a broken contract.
 * buf       room for `len` bytes, lent until `done`.
 * len       at least 1.
 * Result    bytes: how many were read, at least 1; 0 with error 0: the end, behind all bytes, or an
 *           empty datagram.  A datagram that is longer than the room loses its rest, as with
 *           recv(2).
 * Turn      what is there when it starts ends it in the next turn; behind unr_receiver_init() it
 *           may be the one after that.  What comes later ends it in the turn in which it comes.
 * Cancels   TOTAL, always, in user space: nothing was taken, and what comes stays for the next
 *           read.  Verdict CANCELLED; TOO_LATE between its end and `done`; never RUNNING.
 *           unr_cancel_fd() and unr_cancel_close() of the descriptor reach it.
 * Errors    those of recv(2) and read(2), behind all bytes that came before; those of poll(2);
 *           -EINVAL: `len` is 0; -ESHUTDOWN: the receiver was stopped, from the start of the stop
 *           on.
 * Cost      no system call of the ring's.  One recv(2) takes the bytes; one more finds out that
 *           nothing is left, before a read waits.
 * Threads   the loop's.
 * Source    recv(2), poll(2); tests/test_receiver.c. */
UNR_API struct unr_op *unr_receive(struct unr_op *op, struct unr_receiver *receiver, void *buf,
                                   size_t len);

/* Disarms a receiver: ends when the kernel has let go of the descriptor.
 *
 * Left     what nobody has read is still in the socket, each byte of it: for unr_recv(), for
 *          splice(2), for kTLS, for another process or loop.
 * Reads    a read that waits is cancelled, TOTAL.  One that is started later ends with -ESHUTDOWN.
 * Result   nothing.
 * Cancels  NONE: it waits for nothing but the kernel.
 * Again    a second stop at the same time is a broken contract.  One of a receiver that is stopped
 *          already ends in the next turn.
 * Threads  the loop's.
 * Source   tests/test_receiver.c. */
UNR_API struct unr_op *unr_receiver_stop(struct unr_op *op, struct unr_receiver *receiver);

/* Makes `stream` one of a receiver.
 *
 * Reads     those of unr_receive().
 * Writes    send(2), or write(2) where the descriptor is no socket.
 * receiver  initialised.  It is used until the last operation on the stream has ended.
 * Cost      one getsockopt(2), unless the receiver has read before.
 * Threads   the loop's. */
UNR_API void unr_stream_receiver(struct unr_stream *stream, struct unr_receiver *receiver);

UNR_END
#endif
