/* SPDX-License-Identifier: MIT */
/* Multishot operations: one start, and a `done` for each thing that comes, until it is cancelled or
 * fails.
 *
 * What holds for each of them:
 *   Shots     `done` runs once for each shot, with UNR_MORE in result.flags, and a last time without
 *             it.  It must not be NULL.  A shot is a completed operation of its own.  It is handed
 *             out whatever was requested meanwhile, and what it brings is the caller's.
 *   The last  may be a shot, too: with error 0 it is like the others.  The operation has ended all
 *             the same, because the completion queue was full, say.  Whoever wants more describes
 *             and starts it again.
 *   Cancels   TOTAL: since the last shot nothing was taken.  The verdict is that of the last `done`.
 *   Inside    a shot's `done` the operation is in flight: it may be cancelled there, and not be
 *             described.
 *   Given     to no combinator (a deadline, a group, a scope, a filter, a composed operation, a
 *             join): that is a broken contract, named when it is given.  It may be bound to a slot.
 *   Threads   The loop's. */
#ifndef UNRING_MULTISHOT_H
#define UNRING_MULTISHOT_H

#include <sys/socket.h>
#include <unring/op.h>
#include <unring/pool.h>

UNR_BEGIN

/* Accepts each connection that comes.
 *
 * fd       a listening socket.
 * flags    as for accept4(2): SOCK_CLOEXEC, SOCK_NONBLOCK.
 * Result   fd: a connection, the caller's to close, in each shot.
 * Bound    it has none: all of a backlog may come in one turn.  An acceptor (acceptor.h) takes no
 *          more than a few that nobody has asked for.
 * Cancels  TOTAL: no connection was taken since the last shot.
 * Errors   those of accept4(2), in the last `done`.  A connection for which there was no descriptor
 *          (EMFILE) is still in the backlog.
 * Source   accept4(2), io_uring_prep_multishot_accept(3); tests/test_multishot.c. */
UNR_API struct unr_op *unr_accept_multishot(struct unr_op *op, int fd, int flags);

/* Tells each time that something happens on a descriptor.
 *
 * fd       anything that poll(2) can wait for.
 * events   POLLIN, POLLOUT, ...; POLLERR and POLLHUP are always reported.
 * Result   events: those that held, in each shot.
 * Tells    at once if something holds already; later when something new comes, and not for as long
 *          as it holds: what came together is one shot.  So read until nothing is left.
 * Cancels  TOTAL: no event is lost, as the next poll begins with what holds.
 * Errors   those of poll(2), in the last `done`; -EBADF.
 * Source   poll(2), io_uring_prep_poll_multishot(3); tests/test_multishot.c. */
UNR_API struct unr_op *unr_poll_multishot(struct unr_op *op, int fd, uint32_t events);

/* ---- shots that bring a buffer of a pool ---- */

/* What holds for each operation with a pool:
 *   Buffer   the kernel chooses one when something has come, and unr_shot_data() tells which.  It
 *            is the caller's from then on, who gives it back to the pool.  A `done` without a
 *            buffer (an end, an error) has none to give back.
 *   Pool     of the same loop, open until the last `done`.
 *   Before   Linux 6.7 each ends with -EOPNOTSUPP: pool.h says why.  A receiver serves there.
 *   Errors   -ENOBUFS: no buffer is left but the one that the pool keeps for receivers.  Nothing was
 *            taken, and an end of the stream is not seen either.  It may come at once behind the
 *            shot with the last buffer, and an operation that is started without a buffer in the
 *            pool ends with it at once.  One whose descriptor unr_close() has closed ends with it
 *            also where a buffer has come back meanwhile. */

/* Receives what comes on a socket.
 *
 * fd       a socket.  On one for datagrams a shot is a datagram; the rest of one that is longer than
 *          a buffer is lost.  An empty datagram is a last shot.
 * limit    0: none.  Otherwise the kernel ends the operation, with a shot and error 0, once it has
 *          taken so many bytes, and less than a buffer more.
 * flags    MSG_* of recv(2), but for MSG_WAITALL, MSG_PEEK and MSG_TRUNC.
 * Result   bytes: so many are in the buffer.  The end of the stream is a last `done` with error 0,
 *          0 bytes and no buffer.
 * Cancels  TOTAL: since the last shot nothing was taken from the socket.
 * Errors   of recv(2), behind all bytes that came before; -ENOBUFS; -EINVAL: one of those
 *          flags; or the kernel knows no limit, which came with Linux 6.17.
 * Cost     one or two getsockopt(2) at its start.  A stream of AF_UNIX costs one poll(2) besides,
 *          whenever all that has come was taken.
 * Source   recv(2), io_uring_prep_recv_multishot(3); tests/test_multishot.c. */
UNR_API struct unr_op *unr_recv_multishot(struct unr_op *op, int fd, struct unr_pool *pool,
                                          uint32_t limit, int flags);

/* Receives each datagram that comes, with its sender.
 *
 * layout   lent until the last `done`.  Its msg_namelen and msg_controllen say how much room each
 *          buffer keeps for name and control data; everything else in it is 0.  Control data is
 *          aligned where msg_namelen is a multiple of 8, as that of a struct sockaddr_storage.
 * flags    MSG_* of recvmsg(2), but for MSG_WAITALL and MSG_PEEK.
 * Result   bytes: the length of the datagram, as far as it is in the buffer.  That has room for the
 *          buffer size of the pool without 16 bytes and without what `layout` keeps.
 * Ends     with an empty datagram, with error 0 and a buffer.  So does a connection of records
 *          (SOCK_SEQPACKET) that has ended.
 * Cancels  TOTAL: since the last shot no datagram was taken.
 * Errors   of recvmsg(2); -ENOBUFS; -EINVAL: one of those flags.
 * Source   recvmsg(2), io_uring_prep_recvmsg_multishot(3); tests/test_multishot.c. */
UNR_API struct unr_op *unr_recvmsg_multishot(struct unr_op *op, int fd, struct unr_pool *pool,
                                             struct msghdr *layout, int flags);

/* Reads what comes on a file that poll(2) can wait for.
 *
 * fd       a pipe, a terminal, an eventfd, a timerfd, a device.
 * Result   bytes: so many are in the buffer.  The end of a pipe is a last `done` with error 0 and 0
 *          bytes, perhaps with a buffer.
 * Cancels  TOTAL: since the last shot nothing was read.
 * Errors   of read(2); -ENOBUFS; -EBADFD: the file cannot be polled.
 * Source   read(2), io_uring_prep_read_multishot(3); tests/test_multishot.c. */
UNR_API struct unr_op *unr_read_multishot(struct unr_op *op, int fd, struct unr_pool *pool);

/* Returns the bytes that a shot has brought.
 *
 * op       in its `done`, or behind its last one.
 * Returns  result.bytes of them, in a buffer that any address inside of it gives back; of a datagram
 *          its payload.  NULL: this `done` has no buffer. */
UNR_API void *unr_shot_data(const struct unr_op *op);

/* Returns the payload of a datagram, and its other parts.
 *
 * op         an unr_recvmsg_multishot(), in its `done`; one of another kind has no other parts.
 * ret_parts  set to where name and control data are, in the same buffer, how long they are, and
 *            msg_flags: MSG_TRUNC and others.  It has no pieces.  NULL is fine.
 * Returns    as unr_shot_data(). */
UNR_API void *unr_shot_datagram(const struct unr_op *op, struct msghdr *ret_parts);

UNR_END
#endif
