/* The loop: one ring of io_uring(7), one thread, and everything that is in flight on it.  What
 * other threads may do to a loop is in thread.h. */
#ifndef UNRING_LOOP_H
#define UNRING_LOOP_H

#include <stddef.h>
#include <unring/op.h>
#include <unring/time.h>

UNR_BEGIN

/* Sets the ring up without SINGLE_ISSUER, DEFER_TASKRUN and COOP_TASKRUN even where the kernel has
 * them; for tests and for comparison. */
#define UNR_LOOP_PLAIN 1u

/* Zeroed options, but for `size`, are the defaults. */
struct unr_loop_options {
    size_t size; /* of this structure */
    unsigned
        entries; /* of the submission queue; 0: 256.  Rounded up to a power of two by the kernel */
    unsigned flags; /* UNR_LOOP_* */
    unsigned
        completion_entries; /* of the completion queue; 0: 8192, or twice `entries` if that is more.
                               Its size fixes that of the kernel's table of what can be cancelled */
};

/* Opens a loop.
 *
 * ret_loop  set on success only.
 * options   NULL: the defaults.
 * Returns   0, or a negative errno that unr_explain() puts into words: -ENOSYS, -EPERM (io_uring is
 *           switched off, by sysctl or seccomp), -ENOMEM, -EMFILE, -ENFILE, -EINVAL (an option),
 *           -EOPNOTSUPP (a kernel too old).
 * Threads   opened in any thread; the loop belongs to the thread that first runs it, closes it or
 *           asks for its descriptor.  From then on a call from another thread is a broken contract,
 *           but for thread.h.
 * Source    io_uring_setup(2). */
UNR_API int unr_loop_open(struct unr_loop **ret_loop, const struct unr_loop_options *options);

/* Closes a loop: requests UNR_CANCEL_ALL with cause -ESHUTDOWN of what is in flight, waits until
 * the kernel has let go of every buffer and every `done` has run, then frees.  What is started
 * meanwhile ends UNSUBMITTED with cause -ESHUTDOWN, except what supports NONE (a close), which
 * runs.  Tasks already posted run.  A hold does not delay it.
 *
 * Waits     for what cannot be cancelled: a disk, a caller's own type that refuses.
 * NULL      is 0.
 * Returns   0, or the negative errno of a ring that failed; the loop is gone either way.
 * Broken    inside a `done`, task or handler of this loop; a `done` that keeps starting new work.
 * Fork      in a child of fork(2) it only frees the child's memory and descriptors: the loop
 *           remains the parent's, and no `done` runs. */
UNR_API int unr_loop_close(struct unr_loop *loop);

/* Runs until nothing is in flight and nobody holds the loop, or until unr_loop_stop().  Tasks
 * already posted run before it returns.
 * Returns   0, or a negative errno of io_uring_enter(2) that cannot be waited out. */
UNR_API int unr_loop_run(struct unr_loop *loop);

/* One turn: submits what is queued, waits up to `timeout` nanoseconds for something to happen, then
 * runs each `done` that is known at that moment.  0 polls, UNR_NEVER waits.  With nothing in
 * flight, and the loop not held, it returns 0 at once.
 * Returns   how many `done` ran, or a negative errno.  A signal handler, a task or unr_loop_stop()
 *           makes it return early, possibly with 0. */
UNR_API int unr_loop_run_once(struct unr_loop *loop, unr_time timeout);

/* The time of the present turn, the same however often it is asked for: the clock is read when it
 * is first needed after entering run or run_once and after each return from the kernel. */
UNR_API unr_time unr_loop_now(const struct unr_loop *loop);

/* A descriptor for another event loop: level-triggered, readable while unr_loop_run_once(loop, 0)
 * has work, spuriously at times.  Poll it and call that; do not read or close it.  The first call
 * makes the loop belong to the calling thread.
 * Returns   the descriptor, or a negative errno. */
UNR_API int unr_loop_fd(struct unr_loop *loop);

/* Started operations whose `done` has not begun, outermost ones only. */
UNR_API unsigned unr_loop_in_flight(const struct unr_loop *loop);

/* Counts since the loop was opened; of cancels, one for each operation by its final verdict. */
struct unr_stats {
    uint64_t started, finished; /* operations, members and children included */
    uint64_t enters;            /* io_uring_enter(2) */
    uint64_t cancels_asked;     /* requests that found an operation in flight */
    uint64_t cancels_won, cancels_too_late, cancels_running, cancels_unsubmitted, cancels_refused;
    uint64_t cancels_repeated; /* cancels sent again, as the first had had no effect */
    uint64_t sq_full;          /* submissions in which not everything found an SQE */
    uint64_t cq_overflows;     /* turns in which the CQ had been too small */
};

/* Copies the counts, as many bytes of them as `size` says, so that a program built against a
 * smaller structure goes on working; what a larger one has beside them is zeroed. */
UNR_API void unr_loop_stats(const struct unr_loop *loop, struct unr_stats *ret_stats, size_t size);

/* Writes a line for each operation in flight to the descriptor `fd`: name, descriptor, state, age,
 * requests.  For a person; the form may change. */
UNR_API void unr_loop_dump(const struct unr_loop *loop, int fd);

UNR_END
#endif
