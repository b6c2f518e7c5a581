/* SPDX-License-Identifier: MIT */
/* Sockets.  The top of io.h says what holds for every system call: what is lent until when, which
 * errors all of them have, and what becomes of a request before the kernel has seen the call.
 *
 * What holds for every call that sends, here and in io.h:
 *   Datagrams  A datagram over AF_UNIX whose receiver's queue is full waits for room, and is sent
 *              whole, where the socket is connected.  Where the socket is not connected the kernel
 *              loses it: when there is room, it sends an empty datagram in its place.  Then the
 *              operation ends with -EAGAIN, and unr_explain_op() says why.  The same happens where
 *              another sender takes the room first.  It can happen to the first datagram on a
 *              number that close(2) took from a stream before, as the loop knows a stream by its
 *              number.  With MSG_DONTWAIT a datagram without room ends with -EAGAIN at once, and
 *              nothing is sent in its place.
 *   Source     tests/test_datagram.c.
 *
 * What holds for operations side by side on one socket:
 *   Order      They are no queue.  Of two sends the second may take the room for which the first
 *              waits, also amid the bytes of the first if that has MSG_WAITALL, and of two receives
 *              the second may get the earlier bytes.  A transfer of transfer.h is alone on its
 *              stream.
 *   Low water  With SO_RCVLOWAT a receive takes what is there, however little.  Only a receive that
 *              waits on a TCP socket goes on waiting until so much is there, as poll(2) does.
 *   Source     tests/test_descriptor.c.
 *
 * What holds for every call that takes MSG_*:
 *   Flags      A flag does what it does in the plain call, but for those below.  A flag that is newer
 *              than Linux 6.18 is passed on.
 *   Refused    -EINVAL, and the kernel does not see the call: MSG_ZEROCOPY of a call that sends, as
 *              the kernel reads the memory after `done`; MSG_PEEK with MSG_WAITALL, as the kernel
 *              fills the buffer with the same bytes again and again; in a message the kernel's bit
 *              0x80000000, which recvmsg(2) and sendmsg(2) refuse as well.
 *   Waiting    MSG_DONTWAIT ends with -EAGAIN where the call would wait.  MSG_ERRQUEUE waits for an
 *              error, which recv(2) does not; where there is something else to receive it ends with
 *              -EAGAIN.
 *   Records    With MSG_WAITALL a receive from a SOCK_SEQPACKET socket ends with its record, as in
 *              recv(2).  To tell such a socket, its start calls getsockopt(2).
 *   Connects   MSG_FASTOPEN ends with -EINPROGRESS where the bytes cannot go with the SYN, also on
 *              a socket without O_NONBLOCK, on which sendmsg(2) waits.  Nothing was sent, and the
 *              connection is being made.  A poll for POLLOUT ends when the connection is there.
 *   Source     tests/test_flags.c tries each flag with each call. */
#ifndef UNRING_NET_H
#define UNRING_NET_H

#include <sys/socket.h>
#include <unring/op.h>

UNR_BEGIN

/* Makes a socket: socket(2).
 *
 * type     SOCK_STREAM and others, with SOCK_CLOEXEC where that is wanted.
 * Result   fd: the socket, the caller's to close, also when a request to cancel came too late.
 * Cancels  TOTAL: there is no socket.  The kernel completes it at once, so a request in flight is
 *          too late.
 * Errors   as socket(2).
 * Source   io_uring_prep_socket(3). */
UNR_API struct unr_op *unr_socket(struct unr_op *op, int domain, int type, int protocol);

/* Gives the socket `fd` its address: bind(2).
 *
 * addr     lent, `len` bytes.
 * Result   value: 0.
 * Cancels  TOTAL: the socket has no address.  The kernel completes it at once, so a request in
 *          flight is too late.
 * Errors   as bind(2); -EOPNOTSUPP before Linux 6.11.
 * Source   io_uring_prep_bind(3). */
UNR_API struct unr_op *unr_bind(struct unr_op *op, int fd, const struct sockaddr *addr,
                                socklen_t len);

/* Makes the socket `fd` accept connections: listen(2).
 *
 * backlog  as in listen(2).
 * Result   value: 0.
 * Cancels  TOTAL: the socket does not listen.  The kernel completes it at once, so a request in
 *          flight is too late.
 * Errors   as listen(2); -EOPNOTSUPP before Linux 6.11.
 * Source   io_uring_prep_listen(3). */
UNR_API struct unr_op *unr_listen(struct unr_op *op, int fd, int backlog);

/* Takes one connection from the listening socket `fd`: accept4(2).
 *
 * addr, len  the peer's address, and the room for it, as in accept(2); both may be NULL.
 * flags      SOCK_CLOEXEC, SOCK_NONBLOCK.
 * Result     fd: the connection, the caller's to close, also when a request to cancel came too
 *            late.
 * Cancels    TOTAL: no connection was taken; a peer that is waiting is there for the next accept.
 * Errors     as accept4(2).
 * Source     io_uring_prep_accept(3); tests/test_op.c, ownership_a_connection_is_never_lost. */
UNR_API struct unr_op *unr_accept(struct unr_op *op, int fd, struct sockaddr *addr, socklen_t *len,
                                  int flags);

/* Connects the socket `fd` to an address: connect(2).
 *
 * addr     lent, `len` bytes.
 * Result   value: 0.
 * Cancels  TOTAL for the local socket: it is as new and may connect again.  A port to which it was
 *          bound by number is kept; a port that the kernel chose is not.  The peer may have seen a
 *          connection that is reset.  TERMINAL, in result.guarantee, where the kernel refuses to
 *          undo the connect, or unr_close() has closed `fd` meanwhile: then the socket may only be
 *          closed.
 * Undoing  the kernel leaves a TCP socket whose connect was cancelled in a state in which it may
 *          still connect.  unring takes it out of that before `done`: a connect to AF_UNSPEC.
 * Errors   as connect(2).  Over AF_UNIX, where the backlog of the peer is full, -EAGAIN at the end
 *          of the socket's SO_SNDTIMEO, and at once with O_NONBLOCK.  -EINPROGRESS of connect(2)
 *          does not come: the operation ends when the connection is there.
 * Source   io_uring_prep_connect(3); tests/test_op.c, connect_*. */
UNR_API struct unr_op *unr_connect(struct unr_op *op, int fd, const struct sockaddr *addr,
                                   socklen_t len);

/* Reads up to `len` bytes from the socket `fd` into `buf`: recv(2).
 *
 * flags    MSG_* of recv(2).  With MSG_WAITALL the kernel goes on until `buf` is full.
 * Result   bytes: how many were received; 0 with error 0: the end of the stream, or an empty
 *          datagram.
 * Cancels  TOTAL: nothing was taken from the socket.  With MSG_WAITALL PARTIAL: `bytes`, 0 or
 *          more, were taken, and are in `buf`.
 * Errors   as recv(2); -EINVAL for a length above INT_MAX.
 * Source   io_uring_prep_recv(3); tests/test_op.c, counts_of_a_waitall_recv_*. */
UNR_API struct unr_op *unr_recv(struct unr_op *op, int fd, void *buf, size_t len, int flags);

/* Sends up to `len` bytes of `buf` on the socket `fd`: send(2).
 *
 * flags    MSG_* of send(2).  With MSG_WAITALL the kernel goes on until all of `buf` is sent.
 * Result   bytes: how many the socket took, perhaps fewer than `len`; unr_write_all() sends the
 *          rest.
 * Cancels  TOTAL: nothing was sent.  With MSG_WAITALL PARTIAL: `bytes`, 0 or more, were sent.
 * Errors   as send(2), -EPIPE among them; -EAGAIN: a datagram was lost, see Datagrams above;
 *          -EINVAL for a length above INT_MAX.
 * SIGPIPE  never comes.
 * Source   io_uring_prep_send(3); tests/test_op.c, counts_of_a_waitall_send_cut_short. */
UNR_API struct unr_op *unr_send(struct unr_op *op, int fd, const void *buf, size_t len, int flags);

/* Sends as unr_send() does, and tries to at its start already: send(2).
 *
 * flags    MSG_* of send(2).  With MSG_WAITALL the kernel sends what did not go through at once.
 * At once  what the socket has room for is sent inside unr_start(), also before the loop has run.
 *          `done` runs in a turn, as always.  Where there is no room the operation is queued, and
 *          waits as unr_send() does.
 * Order    it is queued without being tried where it might go before another operation in flight
 *          on the same number: a send, a write, a shutdown, a connect, a close, an unr_sqe() that
 *          is submitted, anything on two descriptors.  Receives, polls and accepts do not hold it
 *          up.  Not seen are other numbers of the same socket, and an unr_sqe() that is not
 *          submitted yet.  It does go before what is queued on other descriptors.
 * Result   bytes: how many the socket took, at once and afterwards.
 * Cancels  TOTAL: nothing was sent.  With MSG_WAITALL PARTIAL: `bytes`, 0 or more, were sent.  What
 *          has gone through at once is complete, and a request behind it is TOO_LATE; of a part
 *          that has, the verdict is CANCELLED, never UNSUBMITTED.
 * Errors   those of unr_send().
 * SIGPIPE  never comes.
 * Pays     where one message is on its way at a time: send(2) takes the place of a submission.  The
 *          server's part of an echo of 64 bytes took 6 % less with it.  It does not pay where a
 *          turn has many sends, which share one system call otherwise: with 64 connections it took
 *          twice as long for messages of 64 bytes, and 1.6 times for 16 KiB, on a machine on which
 *          a system call takes a microsecond.  `make bench ONLY=alone` tells how it is on another.
 *          Nor does it pay where the peer is slow, as the attempt is in vain.
 * Source   send(2), io_uring_prep_send(3); tests/test_send_now.c. */
UNR_API struct unr_op *unr_send_now(struct unr_op *op, int fd, const void *buf, size_t len,
                                    int flags);

/* Sends up to `len` bytes of `buf` to an address: sendto(2).
 *
 * addr     lent; NULL, with `addrlen` 0, for a socket that is connected.
 * flags    MSG_* of sendto(2).  With MSG_WAITALL the kernel goes on until all of `buf` is sent.
 * Result   bytes: how many the socket took; a datagram is never cut.
 * Cancels  TOTAL: nothing was sent.  With MSG_WAITALL PARTIAL: `bytes`, 0 or more, were sent.
 * Errors   as sendto(2); -EAGAIN: a datagram was lost, see Datagrams above; -EINVAL for a length
 *          above INT_MAX and an address above 65,535 bytes.
 * SIGPIPE  never comes.
 * Source   io_uring_prep_send_set_addr(3). */
UNR_API struct unr_op *unr_sendto(struct unr_op *op, int fd, const void *buf, size_t len, int flags,
                                  const struct sockaddr *addr, socklen_t addrlen);

/* unring's own part of a `struct unr_datagram`: not to be read or written. */
struct unr_datagram_private {
    struct msghdr message;
    struct iovec  piece;
    socklen_t    *addrlen; /* NULL: nobody asked for the address */
};

/* Room for unr_recvfrom(), which is a recvmsg(2) to the kernel.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_datagram {
    struct unr_op               op;
    struct unr_datagram_private private_fields;
};

/* Receives up to `len` bytes with the address of their sender: recvfrom(2).
 *
 * addr     lent, with `addrlen`; both may be NULL.
 * addrlen  the size of `addr` when the operation is submitted; set to that of the address when it
 *          has received something, which is larger where the address was cut.
 * flags    MSG_* of recvfrom(2).  With MSG_WAITALL the kernel goes on until all of `buf` is full.
 * Result   bytes: how many were received; of a datagram that is longer the rest is lost, and with
 *          MSG_TRUNC in `flags` this is its whole length.  0 with error 0: an empty datagram, or
 *          the end of a stream.
 * Cancels  TOTAL: nothing was taken from the socket, and neither `addr` nor `addrlen` was touched.
 *          With MSG_WAITALL PARTIAL: `bytes`, 0 or more, were taken, and are in `buf`.
 * Errors   as recvfrom(2); -EINVAL for a length above INT_MAX, and for an `addr` without `addrlen`.
 * Returns  &datagram->op, described.
 * Source   io_uring_prep_recvmsg(3). */
UNR_API struct unr_op *unr_recvfrom(struct unr_datagram *datagram, int fd, void *buf, size_t len,
                                    int flags, struct sockaddr *addr, socklen_t *addrlen);

/* Receives a message into pieces of memory, with its sender's address: recvmsg(2).
 *
 * msg      lent, with all that it points to; msg_flags and the lengths in it are set when `done`
 *          runs.
 * flags    MSG_* of recvmsg(2).  With MSG_WAITALL the kernel goes on until all pieces are full.
 * Result   bytes: how many were received; 0 with error 0: the end of a stream, or an empty
 *          datagram.
 * Cancels  TOTAL: nothing was taken from the socket.  With MSG_WAITALL PARTIAL: `bytes`, 0 or
 *          more, were taken, and are in the pieces.
 * Errors   as recvmsg(2).
 * Source   io_uring_prep_recvmsg(3). */
UNR_API struct unr_op *unr_recvmsg(struct unr_op *op, int fd, struct msghdr *msg, int flags);

/* Sends a message from pieces of memory, to an address if it has one: sendmsg(2).
 *
 * msg      lent, with all that it points to.
 * flags    MSG_* of sendmsg(2).  With MSG_WAITALL the kernel goes on until all pieces are sent.
 * Result   bytes: how many the socket took, perhaps fewer than the pieces hold.
 * Cancels  TOTAL: nothing was sent.  With MSG_WAITALL PARTIAL: `bytes`, 0 or more, were sent.
 * Errors   as sendmsg(2), -EPIPE among them; -EAGAIN: a datagram was lost, see Datagrams above.
 * SIGPIPE  never comes.
 * Source   io_uring_prep_sendmsg(3). */
UNR_API struct unr_op *unr_sendmsg(struct unr_op *op, int fd, const struct msghdr *msg, int flags);

/* Shuts down one or both directions of the socket `fd`: shutdown(2).
 *
 * how      SHUT_RD, SHUT_WR or SHUT_RDWR.
 * Result   value: 0.
 * Cancels  TOTAL: nothing was shut down.  A worker of the kernel executes it, so a request in
 *          flight is mostly too late.
 * Errors   as shutdown(2).
 * Source   io_uring_prep_shutdown(3). */
UNR_API struct unr_op *unr_shutdown(struct unr_op *op, int fd, int how);

UNR_END
#endif
