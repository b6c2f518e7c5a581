/* SPDX-License-Identifier: MIT */
/* Multishot operations: one start, and a `done` for each thing that comes, until it is cancelled or
 * fails.
 *
 * What holds for each of them:
 *   Shots     `done` runs once for each shot, with UNR_MORE in result.flags, and a last time without
 *             it.  It must not be NULL.  A shot is a completed operation of its own: it is handed
 * out whatever was requested meanwhile, and what it brings is the caller's.
 *   The last  may be a shot, too: with error 0 it is like the others.  The operation has ended all
 *             the same: the completion queue was full, say.  It is described and started again
 * where more is wanted.
 *   Cancels   TOTAL: since the last shot nothing was taken.  The verdict is that of the last `done`.
 *   Inside    a shot's `done` the operation is in flight: it may be cancelled there, and not be
 *             described.
 *   Given     to no combinator (a deadline, a group, a scope, a filter, a composed operation, a
 *             join): that is a broken contract, named when it is given.  It may be bound to a slot.
 *   Threads   The loop's. */
#ifndef UNRING_MULTISHOT_H
#define UNRING_MULTISHOT_H

#include <unring/op.h>

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

UNR_END
#endif
