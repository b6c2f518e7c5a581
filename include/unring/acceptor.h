/* SPDX-License-Identifier: MIT */
/* Acceptors: an acceptor keeps several accepts armed for a listening socket, and an operation that
 * waits for a connection is a pointer in user space.  So it is cancelled without a system call, at
 * once and always TOTAL.  A connection that has come is there for the next that asks.
 *
 * An acceptor bounds what it takes: whoever does not ask for connections stops accepting after a
 * few.  It goes on where a process has no descriptor left.  A program that accepts one connection
 * after another, and never cancels, needs unr_accept() alone. */
#ifndef UNRING_ACCEPTOR_H
#define UNRING_ACCEPTOR_H

#include <unring/op.h>

UNR_BEGIN

/* The most connections that may wait in an acceptor. */
#define UNR_ACCEPTOR_PARKED_MAX 32

/* unring's own: a line of operations. */
struct unr_acceptor_line {
    struct unr_op *first, *last;
};

/* unring's own part of a `struct unr_acceptor`: not to be read or written. */
struct unr_acceptor_private {
    struct unr_op  presence;          /* in flight on the descriptor until the acceptor has ended */
    struct unr_op *stop;              /* the unr_acceptor_stop() that waits, or NULL */
    struct unr_acceptor_line waiting; /* each unr_accept_from() that waits */
    struct unr_acceptor_line parked;  /* each of the slots that holds a connection */
    int32_t                  fd, flags;
    uint8_t                  slots_used, in_flight, holding; /* how many of the slots */
    uint8_t                  backoff; /* 0, or how late accepting is tried again */
    bool                     stopped;
    struct unr_op            slots[UNR_ACCEPTOR_PARKED_MAX];
};

/* One listening socket's acceptor.
 *
 * Memory   the caller's, somewhat more than 4 KiB: embedded, and where it is from
 *          unr_acceptor_init() until it has been stopped, or its descriptor or its loop closed. */
struct unr_acceptor {
    struct unr_acceptor_private private_fields;
};

/* Makes an acceptor for a listening socket.  From now on the kernel accepts.
 *
 * loop     an armed acceptor does not keep it running; an unr_accept_from() that waits does.
 * fd       listens, and is the caller's to close.  Other loops and processes may accept from it,
 *          too.
 * parked   how many connections may wait accepted, for nobody has asked yet: so many accepts are
 *          armed.  0 means 8.  More than UNR_ACCEPTOR_PARKED_MAX means that many.
 * flags    SOCK_NONBLOCK, or 0: of the connections.  They are SOCK_CLOEXEC always.
 * Lent     the acceptor and the descriptor, until the `done` of an unr_acceptor_stop() or of an
 *          unr_cancel_close() of the descriptor, or until unr_loop_close() has returned.
 * Closing  unr_cancel_close() or unr_close() of the descriptor and unr_loop_close() close the
 *          connections that wait: nobody is left to take them.  unr_acceptor_stop() hands them
 *          over.
 * Errors   none here: whoever asks for a connection has them.
 * Cost     one SQE for each connection, as with unr_accept().
 * Memory   allocates nothing.
 * Again    an acceptor that was stopped may be initialised again.
 * Threads  the loop's. */
UNR_API void unr_acceptor_init(struct unr_acceptor *acceptor, struct unr_loop *loop, int fd,
                               unsigned parked, unsigned flags);

/* Describes taking one connection: one that waits, or else the first that comes.
 *
 * acceptor  any number may wait: they are served in the order of their starts.
 * Result    fd: the connection, the caller's to close, also when a request to cancel came too late.
 * Turn      a connection that waits ends it in the next turn, one that comes later in the turn in
 *           which it comes.
 * Cancels   TOTAL, always, in user space: no connection was taken, and one that comes is the next
 *           one's.  Verdict CANCELLED; TOO_LATE between its end and `done`; never RUNNING.
 *           unr_cancel_fd() and unr_cancel_close() of the listening socket reach it.
 * Errors    those of accept4(2) that concern the listening socket: -EBADF, -EINVAL, -ENOTSOCK and
 *           others, for one operation each; -ESHUTDOWN: the acceptor was stopped.  A connection
 *           that failed before it was accepted (ECONNABORTED, EPROTO and what accept(2) names
 *           beside these) is passed over.
 * Shortage  without a descriptor or memory left (EMFILE, ENFILE, ENOBUFS, ENOMEM) the connections
 *           stay in the backlog, and it waits.  The acceptor tries again after each unr_close() and
 *           unr_cancel_close() of this loop, else after 8 ms, then 16, ... 256.
 * Cost      no system call of the ring's.
 * Threads   the loop's.
 * Source    accept4(2); tests/test_acceptor.c. */
UNR_API struct unr_op *unr_accept_from(struct unr_op *op, struct unr_acceptor *acceptor);

/* Describes the end of an acceptor.  It ends when the kernel accepts for it no longer.
 *
 * each     is called for each connection that waits, in the order in which they came, before `done`
 *          and inside a turn: `fd` is its to close.  Connections that were accepted while the
 *          accepts were being cancelled are among them.  NULL: they are closed.
 * context  `each` is called with it.
 * Waiting  each unr_accept_from() that waits is cancelled, TOTAL.  One that is started later ends
 *          with -ESHUTDOWN.
 * Left     what nobody has accepted is still in the backlog.
 * Result   nothing.
 * Cancels  NONE: it waits for nothing but the kernel.
 * Again    a second stop at the same time is a broken contract.  One of an acceptor that is stopped
 *          already ends in the next turn.
 * Threads  the loop's.
 * Source   tests/test_acceptor.c. */
UNR_API struct unr_op *unr_acceptor_stop(struct unr_op *op, struct unr_acceptor    *acceptor,
                                         void (*each)(void *context, int fd), void *context);

UNR_END
#endif
