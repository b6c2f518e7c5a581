/* Waiting for processes and futexes, and any SQE that has no function of its own.  What holds for
 * every system call is said at the top of io.h. */
#ifndef UNRING_SYSTEM_H
#define UNRING_SYSTEM_H

#include <unring/op.h>

UNR_BEGIN

/* Waits for a child process to change state: waitid(2).
 * id_type  P_PID, P_PGID, P_ALL or P_PIDFD.
 * ret_siginfo  a siginfo_t, meaningful on success only; NULL is allowed.
 * options  WEXITED, WSTOPPED, WCONTINUED, WNOHANG, WNOWAIT.
 * Result   value: 0.
 * Cancels  TOTAL: no child was reaped.
 * Errors   as waitid(2); -EOPNOTSUPP before Linux 6.7.   Source  io_uring_prep_waitid(3). */
UNR_API struct unr_op *unr_waitid(struct unr_op *op, int id_type, unsigned id, void *ret_siginfo,
                                  int options);

/* Waits on a futex while it holds `expected`: futex_wait(2).
 * mask     which wakes concern it: FUTEX_BITSET_MATCH_ANY for all.
 * flags    FUTEX2_SIZE_U32, with FUTEX2_PRIVATE where it is not shared.
 * Result   value: 0: woken.
 * Cancels  TOTAL: no wake was consumed.
 * Errors   -EAGAIN: it held another value; -EOPNOTSUPP before Linux 6.7.   Source
 *          io_uring_prep_futex_wait(3). */
UNR_API struct unr_op *unr_futex_wait(struct unr_op *op, uint32_t *futex, uint64_t expected,
                                      uint64_t mask, uint32_t flags);

/* Wakes up to `count` of those that wait on a futex.
 * Result   value: how many were woken.   Cancels  TOTAL.   Source  io_uring_prep_futex_wake(3). */
UNR_API struct unr_op *unr_futex_wake(struct unr_op *op, uint32_t *futex, uint64_t count,
                                      uint64_t mask, uint32_t flags);

/* Fills a struct io_uring_sqe *, zeroed, and sets all of it but user_data.  Called once for each
 * start, when the operation is submitted: not at all if it is cancelled before. */
typedef void unr_fill_fn(void *sqe, void *context);

/* Any other SQE, as cancellable as the rest: sent, cancelled, joined and reported alike.
 *
 * name     for messages, static: unr_explain_op() reads it after `done` too.   context  lent until
 *          `done`.
 * supports the caller's promise: what a cancelled request of this kind leaves behind.
 * Result   value: the CQE's res, or error, if that is negative; unr_sqe_flags() its flags.  With
 *          IORING_CQE_F_MORE it is a multishot operation, whose `done`, which must not be NULL,
 *          runs for each CQE; SEND_ZC and SENDMSG_ZC end with their notification.  A request made
 *          inside the `done` of a shot takes effect when that returns.
 * Errors   -EINVAL for IOSQE_CQE_SKIP_SUCCESS, IOSQE_IO_LINK, IOSQE_IO_HARDLINK and IOSQE_IO_DRAIN:
 *          an operation ends by its own CQE, and a cancel behind a drain never arrives.
 * Descriptor  unr_cancel_fd() and unr_cancel_close() see it from its submission on, when sqe->fd is
 *             known.  MSG_WAITALL: a
 *          transfer that a cancel cuts short is a success with its count, as the library does not
 *          know what was asked.
 * Owns     what the CQE produced (a descriptor, a provided buffer) is the caller's, in every
 *          `done`. */
UNR_API struct unr_op *unr_sqe(struct unr_op *op, const char *name, unsigned supports,
                               unr_fill_fn *fill, void *context);

/* The flags of the CQE with which an operation of unr_sqe() completed: IORING_CQE_F_*, and above
 * bit 16 the id of a provided buffer. */
UNR_API uint32_t unr_sqe_flags(const struct unr_op *op);

UNR_END
#endif
