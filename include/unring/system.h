/* SPDX-License-Identifier: MIT */
/* Waiting for processes and futexes, and any SQE that has no function of its own.  The top of io.h
 * says what holds for every system call: what is lent until when, which errors all of them have,
 * and what becomes of a request before the kernel has seen the call. */
#ifndef UNRING_SYSTEM_H
#define UNRING_SYSTEM_H

#include <unring/op.h>

UNR_BEGIN

/* Waits for a child process to change state: waitid(2).
 *
 * id_type      P_PID, P_PGID, P_ALL or P_PIDFD, which says what `id` is.
 * ret_siginfo  a siginfo_t, lent, and meaningful on success only; NULL is allowed.
 * options      WEXITED, WSTOPPED, WCONTINUED, WNOHANG, WNOWAIT.
 * Result       value: 0.
 * Cancels      TOTAL: no child process was reaped.
 * Errors       as waitid(2); -EOPNOTSUPP before Linux 6.7, where unr_process_wait() still works.
 * Source       io_uring_prep_waitid(3). */
UNR_API struct unr_op *unr_waitid(struct unr_op *op, int id_type, unsigned id, void *ret_siginfo,
                                  int options);

/* Waits for a wake-up on a futex, while the futex holds `expected`: futex_wait(2).
 *
 * mask     the wake-ups that concern it; FUTEX_BITSET_MATCH_ANY: all.
 * flags    FUTEX2_SIZE_U32, with FUTEX2_PRIVATE where the futex is not shared between processes.
 * Result   value: 0, after a wake-up.
 * Cancels  TOTAL: no wake-up was consumed.
 * Errors   -EAGAIN: the futex held another value; -EOPNOTSUPP before Linux 6.7.
 * Source   io_uring_prep_futex_wait(3). */
UNR_API struct unr_op *unr_futex_wait(struct unr_op *op, uint32_t *futex, uint64_t expected,
                                      uint64_t mask, uint32_t flags);

/* Wakes up to `count` waiters of a futex, threads or operations: futex_wake(2).
 *
 * mask     the waits that are meant; FUTEX_BITSET_MATCH_ANY: all.
 * flags    FUTEX2_SIZE_U32, with FUTEX2_PRIVATE where the futex is not shared between processes.
 * Result   value: how many were woken.
 * Cancels  TOTAL: nobody was woken.  The kernel completes it at once, so a request in flight is
 *          too late.
 * Errors   as futex_wake(2); -EOPNOTSUPP before Linux 6.7.
 * Source   io_uring_prep_futex_wake(3). */
UNR_API struct unr_op *unr_futex_wake(struct unr_op *op, uint32_t *futex, uint64_t count,
                                      uint64_t mask, uint32_t flags);

/* Fills an SQE in.  It is called once for each start, when the operation is submitted; not at all
 * if the operation is cancelled before that.
 *
 * sqe      a struct io_uring_sqe *, zeroed.  The function sets all of it but user_data.
 * context  as given to unr_sqe().
 * Threads  the loop's, inside a turn. */
typedef void unr_fill_fn(void *sqe, void *context);

/* Submits an SQE of the caller's, with everything that unring does for its own.
 *
 * name      for messages.  The text is static: unr_explain_op() reads it after `done`, too.
 * supports  a mask of UNR_CANCEL_*: the strongest guarantee that a cancellation gives, and all
 *           weaker ones.  It is the caller's promise: it says what an operation that the kernel
 *           has cancelled leaves behind.  Other bits are dropped.
 * fill      called when the operation is submitted; see unr_fill_fn.
 * context   lent until `done`, and so is all that the SQE points to.
 * Result    value: the CQE's res, unless that is negative and so the error.  unr_sqe_flags() has
 *           the CQE's flags.
 * Owned     a descriptor in `value` and a provided buffer are the caller's, from each `done` on.
 * Shots     as long as CQEs come with IORING_CQE_F_MORE it is a multishot operation: `done`, which
 *           must not be NULL, runs for each of them with UNR_MORE.  A request to cancel that is
 *           made inside such a `done` takes effect when that has returned.
 * Broken    a multishot operation inside a combinator, or with a `done` of NULL, is a broken
 *           contract.  It is named when the operation is submitted, before the kernel sees it, by
 *           what the SQE says: IORING_POLL_ADD_MULTI, IORING_ACCEPT_MULTISHOT,
 *           IORING_RECV_MULTISHOT, IORING_TIMEOUT_MULTISHOT, IORING_URING_CMD_MULTISHOT,
 *           IORING_OP_READ_MULTISHOT, and a send with IORING_RECVSEND_BUNDLE.  A multishot
 *           operation of a later kernel is named at its first shot.
 * Cancels   the strongest guarantee of `supports`: the caller's promise is true then.  A transfer
 *           that supports PARTIAL and not TOTAL, and that a cancellation cuts short, is cancelled
 *           with its count in `value`.  For messages and provided buffers the SQE does not say how
 *           much was asked for: there a count above 0 is a success, with the verdict CANCELLED
 *           where the kernel says that the cancel took effect.
 * Flags     of the SQE are passed on as they are, also MSG_* that unring's own calls refuse, and a
 *           `res` of 0 for a datagram that was lost stays a success: see net.h.
 * Unasked   where the kernel interrupts it, or has no worker thread for it, the error is -EINTR:
 *           unring does not submit it again.  A close is done in the loop's thread then.
 * Waits     SEND_ZC and SENDMSG_ZC end with their notification, which no request hastens.  An
 *           IORING_OP_CLOSE is submitted as it is, and waits in the loop's thread: see unr_close().
 * Reached   by unr_cancel_fd() and unr_cancel_close() from its submission on, when sqe->fd is
 *           known.
 * Errors    -EINVAL for IOSQE_CQE_SKIP_SUCCESS, IOSQE_IO_LINK, IOSQE_IO_HARDLINK and
 *           IOSQE_IO_DRAIN: an operation ends by a CQE of its own, and a cancel behind a drain
 *           never arrives.  Others as the kernel reports them.
 * Source    io_uring_enter(2); tests/test_op.c, sqe_*. */
UNR_API struct unr_op *unr_sqe(struct unr_op *op, const char *name, unsigned supports,
                               unr_fill_fn *fill, void *context);

/* Returns the flags of the last CQE of an operation that unr_sqe() described.
 *
 * op       in its `done`, or finished.
 * Returns  IORING_CQE_F_*, and above bit 16 the id of a provided buffer. */
UNR_API uint32_t unr_sqe_flags(const struct unr_op *op);

UNR_END
#endif
