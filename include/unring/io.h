/* SPDX-License-Identifier: MIT */
/* Reading, writing, waiting for readiness, and closing: the system calls on any descriptor.
 * Sockets have more in net.h, files in file.h.
 *
 * What holds for every system call, here and in those headers:
 *   Memory    `op` is the caller's, zeroed once.  Describing an operation in flight is a broken
 *             contract.  Each function returns `op`.
 *   Lent      The descriptor, the buffer, and every structure and string that an argument points
 *             to, from the start until `done` runs, also after a request to cancel.  Inside `done`
 *             they are the caller's again.
 *   Waiting   An operation waits until it can be done, or until it is cancelled.  O_NONBLOCK of its
 *             descriptor does not change that, nor do SO_RCVTIMEO and SO_SNDTIMEO of its
 *             socket.  So a program may set these for system calls of its own, such as sendfile(2)
 *             behind a unr_poll().  Three operations end with -EAGAIN by them: unr_splice(),
 *             unr_tee(), and unr_connect() over AF_UNIX.  tests/test_descriptor.c tries them all.
 *   Position  An operation at a file's position reads that when it is submitted, and moves it when
 *             it ends.  So two in flight may read the same bytes, or write to the same place.
 *   Cancels   An operation that the kernel has not seen yet ends at once, UNSUBMITTED and TOTAL.
 *             The entry of each function says what is true after an operation in flight was
 *             cancelled.  A call that a worker of the kernel executes (most on files) runs to its
 *             end, RUNNING; but a worker that waits is interrupted.
 *   Errors    Those of the call's man page, in result.error.  -EOPNOTSUPP: the running kernel
 *             lacks the call in io_uring; unr_explain_op() puts that into words.  -EBADF: a
 *             descriptor below 0, except AT_FDCWD for a directory.
 *   Unasked   The kernel interrupts calls when the process is stopped and continued, and ends
 *             those for which it can make no worker thread.  A call that has done nothing is
 *             submitted again: at once, then after 1 ms, 2, ... 256 ms, and it can be cancelled
 *             meanwhile.  -EAGAIN with words in unr_explain_op(): half a second has brought no
 *             worker.  -EINTR: the call may have done something (unlinkat, renameat, linkat,
 *             symlinkat, mkdirat, setxattr, fallocate, openat with O_EXCL, connect over TCP, which
 *             goes on); or unr_close(), on the same loop, has closed its descriptor meanwhile; or
 *             somebody else cancelled it, as an unr_sqe() of IORING_OP_ASYNC_CANCEL can.  Where
 *             that looks as if a worker had been missing, the call is submitted again instead:
 *             whatever a worker executes, and a read or write of anything but a socket or an
 *             eventfd.
 *   Threads   The loop's.
 *   Source    tests/test_table.c cancels each of them in every state. */
#ifndef UNRING_IO_H
#define UNRING_IO_H

#include <sys/uio.h>
#include <unring/op.h>

struct epoll_event;

UNR_BEGIN

/* Does nothing, by way of the kernel.
 *
 * Result   value: 0.
 * Cancels  TOTAL: there is nothing to undo.  The kernel completes it at once, so a request in
 *          flight is too late.
 * Source   io_uring_prep_nop(3). */
UNR_API struct unr_op *unr_nop(struct unr_op *op);

/* Reads up to `len` bytes from `fd` into `buf`: read(2) or pread(2).
 *
 * len      more than 0x7ffff000 counts as that, as in read(2).
 * offset   where in the file to begin, the file's position being left alone.  -1: at the position,
 *          and from a pipe, a socket or a terminal.
 * Result   bytes: how many were read; 0 with error 0 at the end of the file or stream.
 * Cancels  TOTAL: nothing was taken from the stream, and the position has not moved.
 * VMIN     0, of a terminal without O_NONBLOCK: the read waits for a byte, whatever VTIME is.
 * Errors   as read(2) and pread(2); -EINVAL for an offset below -1.  A pipe and a terminal ignore
 *          an offset; only a socket says -ESPIPE.  -ECANCELED with the guarantee NONE: `fd` is a
 *          timerfd of TFD_TIMER_CANCEL_ON_SET, and the clock was set.  What contains the read takes
 *          that for a failure, and no cancellation.
 * Source   io_uring_prep_read(3). */
UNR_API struct unr_op *unr_read(struct unr_op *op, int fd, void *buf, size_t len, int64_t offset);

/* Writes up to `len` bytes of `buf` to `fd`: write(2) or pwrite(2).
 *
 * len      more than 0x7ffff000 counts as that, as in write(2).
 * offset   where in the file to begin, the file's position being left alone.  -1: at the position,
 *          and to a pipe, a socket or a terminal.
 * Result   bytes: how many were written, perhaps fewer than `len`; unr_write_all() writes the
 *          rest.
 * Cancels  TOTAL: nothing was written, and the position has not moved.
 * Errors   as write(2) and pwrite(2); -EINVAL for an offset below -1.  A pipe and a terminal
 *          ignore an offset; only a socket says -ESPIPE.
 * SIGPIPE  does not come where the kernel has RWF_NOSIGNAL (Linux 6.18).  On older kernels a pipe
 *          or socket without a reader may raise it, as with write(2), unless the program ignores
 *          it.  unr_send() never raises it.
 * Source   io_uring_prep_write(3). */
UNR_API struct unr_op *unr_write(struct unr_op *op, int fd, const void *buf, size_t len,
                                 int64_t offset);

/* Reads from `fd` into `n` pieces of memory: readv(2) or preadv(2).
 *
 * iov      lent, and so are the pieces.  `n` is at most IOV_MAX.
 * offset   where in the file to begin, the file's position being left alone.  -1: at the position,
 *          and from a pipe, a socket or a terminal.
 * Result   bytes: how many were read; 0 with error 0 at the end of the file or stream.
 * Cancels  TOTAL: nothing was taken from the stream, and the position has not moved.
 * Errors   as readv(2) and preadv(2); -EINVAL for an offset below -1 and for too many pieces.
 * Source   io_uring_prep_readv(3). */
UNR_API struct unr_op *unr_readv(struct unr_op *op, int fd, const struct iovec *iov, unsigned n,
                                 int64_t offset);

/* Writes `n` pieces of memory to `fd`: writev(2) or pwritev(2).
 *
 * iov      lent, and so are the pieces.  `n` is at most IOV_MAX.
 * offset   where in the file to begin, the file's position being left alone.  -1: at the position,
 *          and to a pipe, a socket or a terminal.
 * Result   bytes: how many were written, perhaps fewer than the pieces hold; unr_writev_all()
 *          writes the rest.
 * Cancels  TOTAL: nothing was written, and the position has not moved.
 * Errors   as writev(2) and pwritev(2); -EINVAL for an offset below -1 and for too many pieces.
 * SIGPIPE  as unr_write() says: none where the kernel has RWF_NOSIGNAL.
 * Source   io_uring_prep_writev(3). */
UNR_API struct unr_op *unr_writev(struct unr_op *op, int fd, const struct iovec *iov, unsigned n,
                                  int64_t offset);

/* Reads from `fd` into `n` pieces of memory with flags: preadv2(2).
 *
 * iov      lent, and so are the pieces.  `n` is at most IOV_MAX.
 * offset   where in the file to begin, the file's position being left alone.  -1: at the position,
 *          and of a pipe, a socket or a terminal.
 * rwf      RWF_* of preadv2(2).  With RWF_NOWAIT nothing is waited for, and the operation ends with
 *          -EAGAIN, also on a file system that cannot tell.  RWF_HIPRI is -EINVAL, as it is for
 *          rings that poll.
 * Result   bytes: how many were read, perhaps fewer than the pieces hold; 0 with error 0 at the end.
 * Cancels  TOTAL: nothing was taken, and the position has not moved.
 * Errors   as preadv2(2), -EOPNOTSUPP for a flag that the kernel or the file does not know;
 *          -EINVAL for an offset below -1 and for too many pieces.
 * Source   io_uring_prep_readv2(3). */
UNR_API struct unr_op *unr_read_with(struct unr_op *op, int fd, const struct iovec *iov, unsigned n,
                                     int64_t offset, int rwf);

/* Writes `n` pieces of memory to `fd` with flags: pwritev2(2).
 *
 * iov      lent, and so are the pieces.  `n` is at most IOV_MAX.
 * offset   where in the file to begin, the file's position being left alone.  -1: at the position,
 *          and to a pipe, a socket or a terminal.
 * rwf      RWF_* of pwritev2(2): RWF_DSYNC and RWF_SYNC end with the data on the disk, RWF_APPEND
 *          writes at the end, RWF_ATOMIC writes all or nothing.  With RWF_NOWAIT nothing is waited
 *          for, and the operation ends with -EAGAIN, also on a file system that cannot tell.
 *          RWF_HIPRI is -EINVAL.
 * Result   bytes: how many were written, perhaps fewer than the pieces hold.
 * Cancels  TOTAL: nothing was written, and the position has not moved.
 * Errors   as pwritev2(2), -EOPNOTSUPP for a flag that the kernel or the file does not know;
 *          -EINVAL for an offset below -1 and for too many pieces.
 * SIGPIPE  as unr_write() says: none where the kernel has RWF_NOSIGNAL.
 * Source   io_uring_prep_writev2(3). */
UNR_API struct unr_op *unr_write_with(struct unr_op *op, int fd, const struct iovec *iov,
                                      unsigned n, int64_t offset, int rwf);

/* Waits once until `fd` is ready for one of `events`: poll(2).
 *
 * events   POLLIN, POLLOUT and others of poll(2).
 * Result   events: the events that hold, POLLERR and POLLHUP among them.
 * Cancels  TOTAL: only the wait ends; `fd` is as it was.
 * Errors   as poll(2); -EBADF, where poll(2) says POLLNVAL.
 * Source   io_uring_prep_poll_add(3). */
UNR_API struct unr_op *unr_poll(struct unr_op *op, int fd, uint32_t events);

/* Waits until an epoll instance has events, and takes them: epoll_wait(2).
 *
 * epfd     the epoll instance.
 * events   lent: room for `max` of them, which is above 0.  Set on success only.
 * Result   value: how many events were taken, 1 or more.
 * Cancels  TOTAL: no event was taken, so one that is reported once (EPOLLET, EPOLLONESHOT) is still
 *          to come.
 * Errors   as epoll_wait(2); -EINVAL: `max` is not above 0; -EOPNOTSUPP before Linux 6.15, where
 *          unr_poll() on `epfd` and epoll_wait(2) do the same.
 * Source   io_uring_prep_epoll_wait(3). */
UNR_API struct unr_op *unr_epoll_wait(struct unr_op *op, int epfd, struct epoll_event *events,
                                      int max);

/* Closes the descriptor `fd`: close(2).
 *
 * Others   operations in flight on `fd` go on undisturbed, as if it were open, and the peer of a
 *          socket sees no end as long as they do.  unr_cancel_close() ends them first.  A splice or
 *          tee for which no worker of the kernel has begun yet is not in flight on its `from`: it
 *          looks that number up when it begins.  An operation that waits to be submitted again
 *          (Unasked, above) ends with -EINTR, and a connect that is cancelled afterwards is not
 *          undone: the number may be another file's.  For the same reason a receiver or acceptor
 *          on `fd` ends, and what waits in it is cancelled, cause -ESHUTDOWN.  All of this holds on
 *          the same loop.  What is in flight on another loop has to end before its descriptor is
 *          closed.
 * Waits    not in the loop's thread.  A worker of the kernel closes what may make close(2) wait: a
 *          socket with SO_LINGER and a time above 0; a regular file that has no name any more; a
 *          block device; a terminal.  Until the worker has come to it, the file has a second
 *          descriptor, close-on-exec, which unr_loop_close() waits for.  `fd` itself is free in
 *          `done`, as ever.  But what a close ends may end a moment after `done`, when the worker
 *          comes to it: flock(2) and ETXTBSY of such a file, the connection that a peer sees, and
 *          all locks of fcntl(2) that the process has on the file by then.
 * Remains  The loop's thread waits all the same for a file with a name, where its file system has
 *          something to do: on ext4, for one that was cut to nothing and written anew, 0.5 ms with
 *          16 MiB and 300 ms with 1 GiB.  A worker could drop locks there that were taken after
 *          `done`.  And it waits where no second descriptor is to be had (EMFILE), or no worker;
 *          where operations in flight outlast the close; and for a socket of AF_PACKET.  A worker
 *          that waits is one of few (4 for each processor): other calls on files queue up behind
 *          them.
 *          A loop that has closed 256 descriptors, and has seen no socket linger, looks at a
 *          number only if its last look at it, which found a socket or pipe that does not wait, is
 *          8 ms old.  If the number is another file's meanwhile, its close may wait in the loop.
 * Result   value: 0.
 * Cancels  NONE: a close always runs, also while its loop is being closed.
 * Errors   as close(2).  The descriptor is gone after an error, too, except after -EBADF.  -EBADF
 *          also if another unr_close(), an unr_cancel_close() or a close by unr_sqe() of `fd` is in
 *          flight: the number may be another file's by the time this close would run.
 * Source   io_uring_prep_close(3). */
UNR_API struct unr_op *unr_close(struct unr_op *op, int fd);

/* Cancels all operations on `fd`, waits until they have ended, then closes `fd`.
 *
 * Others   UNR_CANCEL_ALL is requested, with cause -ESHUTDOWN, from every operation in flight on
 *          `fd`.  The close is submitted in the turn after the last of them has run its `done`.
 *          Until `fd` is closed an operation that is started on it ends UNSUBMITTED with that
 *          cause, so operations that start themselves again do not keep `fd` open.
 * Number   operations are known by the number of their descriptor.  If `fd` was closed with some in
 *          flight, and the number given to another file, the operations on both are cancelled and
 *          waited for.
 * Waits    for operations on `fd` that cannot be cancelled, such as one on a disk.  The close
 *          itself waits as unr_close() does, in a worker, but it looks at `fd` each time.
 * Result   value: 0.
 * Cancels  NONE: the close always runs, also while its loop is being closed.
 * Errors   as close(2), and the descriptor is gone after an error, too, except after -EBADF.
 *          -EBADF also if another unr_cancel_close(), an unr_close() or a close by unr_sqe() is
 *          in flight on `fd`.
 * Source   tests/test_op.c, cancel_close_*. */
UNR_API struct unr_op *unr_cancel_close(struct unr_op *op, int fd);

/* Moves up to `len` bytes between two descriptors, one of them a pipe: splice(2).
 *
 * offsets  `from_offset` and `to_offset` say where in a file to begin.  -1: at the file's
 *          position, and for a pipe.
 * len      more than 0x7ffff000 counts as that.
 * flags    SPLICE_F_* of splice(2).
 * Result   bytes: how many were moved; 0 with error 0 at the end of the input.
 * Cancels  TOTAL: nothing was moved.  A worker of the kernel executes it, and is interrupted while
 *          it waits for data or for room.
 * Errors   as splice(2); -EAGAIN instead of a wait where one of the two descriptors has O_NONBLOCK,
 *          and at the end of a socket's SO_RCVTIMEO or SO_SNDTIMEO; -EINVAL for an offset below -1,
 *          and for SPLICE_F_FD_IN_FIXED.
 * SIGPIPE  never comes.
 * Source   io_uring_prep_splice(3). */
UNR_API struct unr_op *unr_splice(struct unr_op *op, int from, int64_t from_offset, int to,
                                  int64_t to_offset, size_t len, unsigned flags);

/* Copies up to `len` bytes from one pipe to another: tee(2).
 *
 * from     keeps the bytes.
 * len      more than 0x7ffff000 counts as that.
 * flags    SPLICE_F_* of tee(2).
 * Result   bytes: how many were copied; 0 with error 0 at the end of the input.
 * Cancels  TOTAL: nothing was copied.  A worker of the kernel executes it, and is interrupted
 *          while it waits for data or for room.
 * Errors   as tee(2); -EAGAIN instead of a wait where one of the two pipes has O_NONBLOCK; -EINVAL
 *          for SPLICE_F_FD_IN_FIXED.
 * SIGPIPE  never comes.
 * Source   io_uring_prep_tee(3). */
UNR_API struct unr_op *unr_tee(struct unr_op *op, int from, int to, size_t len, unsigned flags);

/* Makes a pipe: pipe2(2).
 *
 * fds      set on success, also when a request to cancel came too late: the caller's to close,
 *          fds[0] to read and fds[1] to write.
 * flags    O_CLOEXEC, O_DIRECT, O_NONBLOCK.
 * Result   value: 0.
 * Cancels  TOTAL: there is no pipe.  The kernel completes it at once, so a request in flight is
 *          too late.
 * Errors   as pipe2(2); -EOPNOTSUPP before Linux 6.16.
 * Source   io_uring_prep_pipe(3). */
UNR_API struct unr_op *unr_pipe(struct unr_op *op, int fds[2], int flags);

UNR_END
#endif
