/* SPDX-License-Identifier: MIT */
/* Receivers: a receiver keeps one operation of the kernel's armed for a socket, a pipe or a
 * terminal, and a read that waits is a pointer in user space.  So a read is cancelled without a
 * system call, at once and always TOTAL, and starting the next one costs none either.
 *
 * There are two kinds, and reads are the same for both:
 *   Without a pool  a poll is armed, and a read is a recv(2) into the caller's memory once there is
 *                   something.  What nobody reads stays in the socket.
 *   With a pool     a receive is armed, of a socket.  What comes is put into buffers of the pool,
 *                   and a read copies from there or looks at it in place, without a system call.
 *                   What nobody reads waits in the receiver, as much as its credit allows.
 *
 * Before Linux 6.7 the kernel does not know the pool.  Reads are the same, and what nobody reads
 * stays in the socket: a read that copies is a recv(2), one that looks a recv(2) into one buffer of
 * the pool, and for one that has found nothing a poll is armed.
 *
 * With a pool is better for many small messages, and for bytes that are looked at or sent on where
 * they are.  Without one it needs no memory of its own, and hands the descriptor on as it is.
 * unr_recv() and unr_read() are the better choice for large transfers, and where reads are neither
 * cancelled nor timed.
 *
 *   what                   armed in the kernel   a cancel costs      what is lost by a cancel
 *   unr_recv()             the receive itself    one SQE, two CQEs   nothing: TOTAL, or completed
 *   unr_receive()          a poll or a receive   nothing             nothing: TOTAL, or completed
 *   unr_recv_multishot()   the receive itself    one SQE, two CQEs   nothing since the last shot */
#ifndef UNRING_RECEIVER_H
#define UNRING_RECEIVER_H

#include <sys/socket.h>
#include <unring/op.h>
#include <unring/pool.h>
#include <unring/stream.h>

UNR_BEGIN

/* unring's own part of a `struct unr_receiver`: not to be read or written. */
struct unr_receiver_private {
    struct unr_op    armed; /* stands for the receiver in flight until it has ended */
    struct unr_op   *read;  /* the read that waits, or NULL */
    struct unr_op   *stop;  /* the unr_receiver_stop() that waits, or NULL */
    struct unr_pool *pool;
    int32_t          fd, error;
    uint32_t         credit, held; /* bytes that may wait unread, and that do */
    uint16_t         first, last;  /* the buffers of the pool in which they are */
    uint8_t          state, source;
    bool             messages; /* datagrams or records, not the bytes of a stream */
};

/* One descriptor's receiver.
 *
 * Memory   the caller's, 176 bytes: embedded, and where it is from unr_receiver_init() until it has
 *          been stopped, or its descriptor or its loop closed.  One with a pool, until
 *          unr_receiver_free() besides. */
struct unr_receiver {
    struct unr_receiver_private private_fields;
};

/* Makes a receiver for a descriptor, and arms it.
 *
 * loop     an armed receiver does not keep it running; a read that waits does.
 * pool     NULL: a receiver without a pool.  Otherwise one of the same loop, which is closed behind
 *          unr_receiver_free().
 * fd       a socket, a pipe or a terminal, the caller's to close; with a pool a socket, else reads
 *          end with -ENOTSOCK.  While the receiver is armed nobody else reads from it: a read of
 *          another kind takes bytes that a receive waits for.  A socket need not be O_NONBLOCK.
 *          Where others read the same pipe or terminal, or a terminal has VMIN above 1, the loop's
 *          thread may wait in read(2) unless it is.
 * credit   with a pool: how many bytes may wait unread; 0: 64 KiB, and 2 GiB at most.  They are
 *          exceeded by less than a buffer; before Linux 6.17, and of datagrams, by all that comes
 *          until the kernel has stopped, once or twice as many buffers as the pool has published. A
 *          datagram counts as a buffer.  When half of the credit is free the kernel goes on; so TCP
 *          holds a peer up whose bytes nobody reads.
 * Lent     the receiver and the descriptor, until the `done` of an unr_receiver_stop() or of an
 *          unr_cancel_close() of the descriptor, or until unr_loop_close() has returned.
 * Closing  unr_close() of the descriptor ends the receiver, too: the read that waits is cancelled
 *          with cause -ESHUTDOWN, because the number may be another file's.  An
 *          unr_receiver_stop() tells when it has ended.  The pool's buffers with what nobody has
 *          read stay with it until unr_receiver_free().
 * Empty    pool: nobody hears of it.  A read that copies goes to the socket itself then, and one
 *          that looks takes a buffer that the pool keeps for that.  A receiver without a read waits
 *          in line, and each buffer that is given back arms the first.
 * Errors   none here: the next read has them.  To initialise a receiver that is armed is a broken
 *          contract.
 * Cost     one SQE and one system call with the loop's next turn, and with a pool two or three more
 *          system calls.  Afterwards the kernel has no more to do for it than for a socket in an
 *          epoll(7).  With a pool a stream of AF_UNIX costs one poll(2) besides, whenever all that
 *          has come was taken.
 * Memory   allocates nothing.
 * Again    a receiver that was stopped, and freed where it has a pool, may be initialised again.
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
 *           on, and with a pool nothing is left in it.
 * Cost      no system call of the ring's.  Without a pool one recv(2) takes the bytes, and one more
 *           finds out that nothing is left, before a read waits.  With a pool before Linux 6.7 the
 *           same, and one SQE for a read that waits, unless one is armed since an earlier read.
 * Threads   the loop's.
 * Source    recv(2), poll(2); tests/test_receiver.c. */
UNR_API struct unr_op *unr_receive(struct unr_op *op, struct unr_receiver *receiver, void *buf,
                                   size_t len);

/* Describes a read of a message with its sender, as recvmsg(2).
 *
 * message  lent until `done`, with all that it points to.  Its name, the lengths and msg_flags are
 *          set when the read succeeds.  With a pool it gets no control data: msg_controllen becomes
 *          0.
 * Result   bytes, as of unr_receive(); a message that is longer than the room has MSG_TRUNC.
 * Stream   of a stream it has bytes as they come, and no name.
 * Cancels  TOTAL, as unr_receive().
 * Errors   as unr_receive(), and those of recvmsg(2).
 * Threads  the loop's.
 * Source   recvmsg(2); tests/test_receiver_pool.c. */
UNR_API struct unr_op *unr_receive_message(struct unr_op *op, struct unr_receiver *receiver,
                                           struct msghdr *message);

/* ---- with a pool: bytes where they are ---- */

/* Describes a read that takes nothing, and ends when there is something to see.
 *
 * receiver  with a pool: without one it is a broken contract.  One read at a time, of any kind.
 * Result    bytes: how many there are to see at least, of a datagram its length; 0 with error 0: the
 *           end, or an empty datagram, which unr_receiver_data() tells apart: of the end it is
 *           NULL.  A connection of records (SOCK_SEQPACKET) ends with empty ones, over and over.
 * Cancels   TOTAL, always, in user space.
 * Errors    as unr_receive().
 * Threads   the loop's.
 * Source    tests/test_receiver_pool.c. */
UNR_API struct unr_op *unr_receive_view(struct unr_op *op, struct unr_receiver *receiver);

/* Returns the first bytes that nobody has taken.
 *
 * ret_len  set to how many lie in one piece there, or to the length of the first datagram.
 * Returns  their address, which stays until they are consumed, kept or read; NULL: there are none.
 * Threads  the loop's. */
UNR_API void *unr_receiver_data(const struct unr_receiver *receiver, size_t *ret_len);

/* Sets pieces to all bytes that nobody has taken, in order; each datagram is one.
 *
 * n        room for so many pieces.
 * Returns  how many were set; 0 without a pool.
 * Threads  the loop's. */
UNR_API unsigned unr_receiver_pieces(const struct unr_receiver *receiver, struct iovec *ret_pieces,
                                     unsigned n);

/* Returns the sender of the first datagram that nobody has taken.
 *
 * ret_len  set to the length of the name; 0: it has none.
 * Returns  its struct sockaddr, which stays as the datagram does; NULL: there is no datagram.
 * Threads  the loop's. */
UNR_API const void *unr_receiver_name(const struct unr_receiver *receiver, socklen_t *ret_len);

/* Takes bytes out, and gives each buffer back that is used up.
 *
 * len      more than there is to see is a broken contract.  Of datagrams the first is taken whole,
 *          whatever `len` is.
 * Inside   any `done`, task and step; not while a read of the same receiver waits, as then there is
 *          nothing to take.
 * Threads  the loop's. */
UNR_API void unr_receiver_consume(struct unr_receiver *receiver, size_t len);

/* Takes the first piece out, and makes its buffer the caller's.
 *
 * ret_len  set to the length of the piece.
 * Returns  its first byte; unr_pool_give() with that address gives the buffer back.  NULL: there is
 *          none.
 * Threads  the loop's. */
UNR_API void *unr_receiver_keep(struct unr_receiver *receiver, size_t *ret_len);

/* Returns how many bytes wait unread in a receiver, as its credit counts them.
 *
 * Returns  0 without a pool; of datagrams the size of their buffers.
 * Threads  the loop's. */
UNR_API size_t unr_receiver_held(const struct unr_receiver *receiver);

/* ---- its end ---- */

/* Disarms a receiver: ends when the kernel has let go of the descriptor.
 *
 * Left     what nobody has read is still in the socket, each byte of it: for unr_recv(), for
 *          splice(2), for kTLS, for another process or loop.  With a pool the first of it may be in
 *          the receiver, and the rest is in the socket: no byte is in neither or in both.
 * Reads    a read that waits is cancelled, TOTAL.  One that is started later has what is in the
 *          receiver, and behind that it ends with -ESHUTDOWN.
 * Result   nothing.
 * Cancels  NONE: it waits for nothing but the kernel.
 * Again    a second stop at the same time is a broken contract.  One of a receiver that is stopped
 *          already ends in the next turn.
 * Threads  the loop's.
 * Source   tests/test_receiver.c. */
UNR_API struct unr_op *unr_receiver_stop(struct unr_op *op, struct unr_receiver *receiver);

/* Drops what is left in a receiver, and gives its buffers back.
 *
 * receiver  stopped, or its descriptor or loop closed; an armed one is a broken contract.  Without a
 *           pool there is nothing to give back, and the call may be left out.
 * Threads   the loop's; once that is closed, any one. */
UNR_API void unr_receiver_free(struct unr_receiver *receiver);

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
