/* Sockets.  What holds for every system call is said at the top of io.h. */
#ifndef UNRING_NET_H
#define UNRING_NET_H

#include <sys/socket.h>
#include <unring/op.h>

UNR_BEGIN

/* Makes a socket: socket(2).
 * type     with SOCK_CLOEXEC where that is wanted; best without SOCK_NONBLOCK.
 * Result   fd: the caller's to close, also when a request came too late.
 * Cancels  TOTAL: there is no socket.
 * Errors   as socket(2).
 * Source   io_uring_prep_socket(3). */
UNR_API struct unr_op *unr_socket(struct unr_op *op, int domain, int type, int protocol);

/* Gives a socket its address: bind(2).
 * Result   value: 0.   Cancels  TOTAL.   Errors  as bind(2); -EOPNOTSUPP before Linux 6.11.
 * Source   io_uring_prep_bind(3). */
UNR_API struct unr_op *unr_bind(struct unr_op *op, int fd, const struct sockaddr *addr,
                                socklen_t len);

/* Makes a socket accept connections: listen(2).
 * Result   value: 0.   Cancels  TOTAL.   Errors  as listen(2); -EOPNOTSUPP before Linux 6.11.
 * Source   io_uring_prep_listen(3). */
UNR_API struct unr_op *unr_listen(struct unr_op *op, int fd, int backlog);

/* Takes one connection from the listening socket `fd`: accept4(2).
 * addr, len  may both be NULL.
 * flags    SOCK_CLOEXEC, SOCK_NONBLOCK.
 * Result   fd: the connection, the caller's to close, also when a request came too late.
 * Cancels  TOTAL: no connection was taken; whoever is waiting is there for the next accept.
 * Errors   as accept4(2).
 * Source   io_uring_prep_accept(3). */
UNR_API struct unr_op *unr_accept(struct unr_op *op, int fd, struct sockaddr *addr, socklen_t *len,
                                  int flags);

/* Connects a socket: connect(2).
 * Result   value: 0.
 * Cancels  TOTAL for the local socket: it is as new and may connect again; a port that it was bound
 *          to by number is kept, one that the kernel chose is not.  (A cancelled connect leaves a
 *          TCP socket where it may still connect; unring undoes that with a connect to AF_UNSPEC
 *          before `done`.)  The peer may have seen a connection that is reset.  Where the undoing
 *          fails, result.guarantee says TERMINAL.
 * Errors   as connect(2).
 * Source   io_uring_prep_connect(3). */
UNR_API struct unr_op *unr_connect(struct unr_op *op, int fd, const struct sockaddr *addr,
                                   socklen_t len);

/* Reads up to `len` bytes from the socket `fd` into `buf`: recv(2).
 * flags    MSG_*.  With MSG_WAITALL the kernel goes on until all of `buf` is full; see Cancels.
 * Result   bytes: received; 0 with error 0 is the end of the stream.
 * Cancels  TOTAL: nothing was taken from the socket.  With MSG_WAITALL PARTIAL: `bytes` were, and
 *          are in `buf`.
 * Errors   as recv(2); -EINVAL for a length over INT_MAX.
 * Source   io_uring_prep_recv(3). */
UNR_API struct unr_op *unr_recv(struct unr_op *op, int fd, void *buf, size_t len, int flags);

/* Sends up to `len` bytes of `buf` on the socket `fd`: send(2).  Never raises SIGPIPE.
 * flags    MSG_*.  With MSG_WAITALL the kernel goes on until all is sent; see Cancels.
 * Result   bytes: handed to the socket, possibly fewer than `len`.
 * Cancels  TOTAL: nothing was sent.  With MSG_WAITALL PARTIAL: `bytes` were.
 * Errors   as send(2), -EPIPE among them; -EINVAL for a length over INT_MAX.
 * Source   io_uring_prep_send(3). */
UNR_API struct unr_op *unr_send(struct unr_op *op, int fd, const void *buf, size_t len, int flags);

/* recvmsg(2) and sendmsg(2): the same with addresses, several pieces of memory and control
 * messages.  `msg` and all that it points to are lent; recvmsg's fields are set when `done` runs.
 * Cancels as recv and send. */
UNR_API struct unr_op *unr_recvmsg(struct unr_op *op, int fd, struct msghdr *msg, int flags);
UNR_API struct unr_op *unr_sendmsg(struct unr_op *op, int fd, const struct msghdr *msg, int flags);

/* Shuts one or both directions down: shutdown(2), SHUT_RD, SHUT_WR or SHUT_RDWR.
 * Result   value: 0.   Cancels  TOTAL.   Errors  as shutdown(2).   Source
 *          io_uring_prep_shutdown(3). */
UNR_API struct unr_op *unr_shutdown(struct unr_op *op, int fd, int how);

UNR_END
#endif
