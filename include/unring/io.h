/* Reading, writing, waiting for readiness, and closing: the system calls on any descriptor.
 * Sockets have more in net.h, files in file.h.
 *
 * What holds for every system call here and there:
 *   Lent      descriptor, buffers and every structure and string pointed to, until `done` runs,
 *   also after a
 *             cancellation was asked for.  Inside `done` they are the caller's again.
 *   Blocking  descriptors are best left without O_NONBLOCK: with it the kernel reports -EAGAIN, as
 *   the call would.  Cancels   what is queued ends at once, UNSUBMITTED and TOTAL.  What the kernel
 *   is executing in a worker (a
 *             disk, mostly) runs to its end, RUNNING; a worker that waits is interrupted.
 *   Errors    those of the call's man page in result.error; -EOPNOTSUPP where the running kernel
 *   lacks the call in
 *             io_uring, which unr_explain_op() puts into words; -EBADF for a descriptor below 0.
 *   Threads   the loop's.
 *   Tests     each is cancelled in every state by tests/test_table.c. */
#ifndef UNRING_IO_H
#define UNRING_IO_H

#include <sys/uio.h>
#include <unring/op.h>

UNR_BEGIN

/* Does nothing, by way of the kernel.
 * Result value: 0.  Cancels TOTAL.  Source io_uring_prep_nop(3). */
UNR_API struct unr_op *unr_nop(struct unr_op *op);

/* Reads up to `len` bytes from `fd` into `buf`: read(2), or with an `offset` of 0 or more pread(2);
 * -1 is the file's position.  A length over 0x7ffff000 counts as that, as in read(2).
 * Result   bytes: read; 0 with error 0 is the end of the file or stream.
 * Cancels  TOTAL: nothing was taken from the stream, the position has not moved.
 * Errors   as read(2), pread(2); -EINVAL for an offset below -1.
 * Source   io_uring_prep_read(3). */
UNR_API struct unr_op *unr_read(struct unr_op *op, int fd, void *buf, size_t len, int64_t offset);

/* Writes up to `len` bytes of `buf` to `fd`: write(2), or with an `offset` of 0 or more pwrite(2).
 * SIGPIPE  does not come where the kernel has RWF_NOSIGNAL (Linux 6.18).  On older ones a pipe or
 *          socket without a reader raises it, as write(2) does, unless the program ignores it;
 *          unr_send() never does.
 * Result   bytes: written, possibly fewer than `len`; unr_send() and unr_write() are single steps.
 * Cancels  TOTAL: nothing was written.
 * Errors   as write(2), pwrite(2); -EINVAL for an offset below -1.
 * Source   io_uring_prep_write(3). */
UNR_API struct unr_op *unr_write(struct unr_op *op, int fd, const void *buf, size_t len,
                                 int64_t offset);

/* unr_read() and unr_write() with `n` pieces of memory, up to IOV_MAX: readv(2), writev(2) and
 * their forms with an offset.  The array is lent as the memory is. */
UNR_API struct unr_op *unr_readv(struct unr_op *op, int fd, const struct iovec *iov, unsigned n,
                                 int64_t offset);
UNR_API struct unr_op *unr_writev(struct unr_op *op, int fd, const struct iovec *iov, unsigned n,
                                  int64_t offset);

/* Waits until one of `events` (POLLIN, POLLOUT, ...) holds for `fd`: poll(2), once.
 * Result   events: those that hold, POLLERR and POLLHUP among them.
 * Cancels  TOTAL.
 * Errors   as poll(2).
 * Source   io_uring_prep_poll_add(3). */
UNR_API struct unr_op *unr_poll(struct unr_op *op, int fd, uint32_t events);

/* Closes `fd`: close(2).  Operations in flight on it go on undisturbed, as if it were open, and the
 * peer sees no end; unr_cancel_close() is closing as people expect it to be.
 * Result   value: 0.  The descriptor is gone also on error (except -EBADF).
 * Cancels  NONE: it always runs, when the loop is being closed too.
 * Errors   as close(2).
 * Source   io_uring_prep_close(3). */
UNR_API struct unr_op *unr_close(struct unr_op *op, int fd);

/* Requests UNR_CANCEL_ALL with cause -ESHUTDOWN of every operation in flight on `fd`, waits until
 * the last of them is about to run its `done`, then closes `fd`.  What is started on `fd` before it
 * is closed ends UNSUBMITTED with cause -ESHUTDOWN, so a loop of reads that restarts itself cannot
 * keep it open; afterwards it gets -EBADF.
 * Waits    for what cannot be cancelled on `fd` (a disk).
 * Result, Cancels, Errors  as unr_close(); -EBADF also if `fd` is being closed already. */
UNR_API struct unr_op *unr_cancel_close(struct unr_op *op, int fd);

/* Moves up to `len` bytes from one descriptor to another, one of which is a pipe: splice(2).
 * from_offset, to_offset  -1 for a pipe and for the file's position.
 * flags    SPLICE_F_*.
 * Result   bytes: moved; 0 with error 0 is the end of the input.
 * Cancels  TOTAL: nothing was moved.  It runs in a worker of the kernel, where waiting for data is
 *          interrupted.
 * Errors   as splice(2).
 * Source   io_uring_prep_splice(3). */
UNR_API struct unr_op *unr_splice(struct unr_op *op, int from, int64_t from_offset, int to,
                                  int64_t to_offset, size_t len, unsigned flags);

/* Copies up to `len` bytes from the pipe `from` to the pipe `to` without taking them: tee(2).
 * Result, Cancels as unr_splice().  Source io_uring_prep_tee(3). */
UNR_API struct unr_op *unr_tee(struct unr_op *op, int from, int to, size_t len, unsigned flags);

/* Makes a pipe: pipe2(2).
 * fds      set on success: the caller's to close, [0] to read and [1] to write; also when a request
 *          came too late.
 * flags    O_CLOEXEC, O_DIRECT, O_NONBLOCK.
 * Result   value: 0.
 * Cancels  TOTAL: there is no pipe.
 * Errors   as pipe2(2); -EOPNOTSUPP before Linux 6.16.
 * Source   io_uring_prep_pipe(3). */
UNR_API struct unr_op *unr_pipe(struct unr_op *op, int fds[2], int flags);

UNR_END
#endif
