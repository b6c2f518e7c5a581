/* SPDX-License-Identifier: MIT */
/* The loop: one ring of io_uring(7), one thread, and all operations that are in flight on it.
 * thread.h has what other threads may do to a loop. */
#ifndef UNRING_LOOP_H
#define UNRING_LOOP_H

#include <stddef.h>
#include <unring/op.h>
#include <unring/time.h>

UNR_BEGIN

/* In unr_loop_options.flags: sets the ring up without SINGLE_ISSUER, DEFER_TASKRUN and
 * COOP_TASKRUN even where the kernel has them; for tests and for comparison. */
#define UNR_LOOP_PLAIN 1u

/* In unr_loop_options.flags: checks what a program lends to unring, and tells of requests that
 * nobody honours.  Builds for development and for tests are best run with it; a loop without it
 * pays two comparisons in each turn, and nothing for an operation.
 *
 * These are broken contracts, and end the process in words that name the operations:
 *   Lent twice   An operation is started, and memory that is written for it or for another one in
 *                flight overlaps with what is lent to the other.  Two operations may read the same
 *                memory.  Looked at is what system calls are lent, what is to be received through a
 *                receiver, and what waits to be sent or received through a channel; not strings,
 *                nor the words of futexes.
 *   Given back   A buffer goes back to its pool, by unr_pool_give() or because all of its bytes were
 *                taken out of a receiver, and an operation in flight is lent memory in it: a send
 *                of what a receiver shows, say.
 *   Closed       A descriptor was closed, or is another file's, while an operation was in flight on
 *                it.  unr_close() and unr_cancel_close() may do so, on a loop with checks.  It is
 *                found when the kernel's completions are taken: that of the operation, or others.
 *                Not found is that a descriptor was closed and then became one of the same inode,
 *                as it may between two eventfds, or two descriptors of one file.
 *   Overwritten  The structure of an operation in flight was freed, moved or overwritten.  It is
 *                found at the same times, and when an operation is started in the same memory.
 *                Memory that was freed looks as before until it is used again; AddressSanitizer
 *                tells, if the program is built with it, at once.
 *
 * A request to cancel that an operation refuses, or a deadline, a signal, unr_cancel_fd() or
 * unr_cancel_close() makes and all refuse, is legal.  It is written to standard error in one line:
 * what was requested, who refused it last, and what that operation supports.
 *
 * Costs     an allocation and two fstat(2) for each operation, half a microsecond besides, and some
 *           hundred bytes while it is in flight.  The cost grows with the logarithm of the number
 *           that is in flight: ten thousand connections can be served.  Of the operations that go
 *           on, each turn looks at 16, at others than the turn before. */
#define UNR_LOOP_CHECKS 2u

/* In unr_loop_options.flags: streams of sockets try each write at its start, as unr_send_now()
 * does: unr_write_some() and what is composed of it, unr_write_all() and unr_relay() say, and
 * streams of receivers.  unr_send() and its like stay what they are.  unr_send_now() says when that
 * pays. */
#define UNR_LOOP_SEND_NOW 4u

/* How a loop is opened.  Options that are zeroed, but for `size`, are the defaults. */
struct unr_loop_options {
    size_t size; /* of this structure */
    /* Of the submission queue; 0: 256.  The kernel rounds it up to a power of two, and down to the
     * most that it allows. */
    unsigned entries;
    unsigned flags; /* UNR_LOOP_* */
    /* Of the completion queue, and not below `entries`, nor below 256 where that is 0; 0: 8192, or
     * twice `entries` if that is more.  It also sets the size of the table in which the kernel
     * looks for an operation to cancel. */
    unsigned completion_entries;
    /* Idle stacks of fibers that are kept, of each size; 0: 1024.  More are given back. */
    unsigned fiber_stacks_kept;
    /* Bytes, for fibers that do not say; 0: 256 KiB.  It is rounded up to 16 KiB times a power of
     * two, at most 64 MiB, and its lowest page is a guard: with pages of 64 KiB the smallest has
     * 128 KiB.  Only what was used of it is memory. */
    size_t fiber_stack;
    /* Nanoseconds; 0: off.  A fiber that runs for so long without waiting keeps its loop from
     * everything else.  It is named on standard error while it does, once until it waits: its name,
     * its function, for how long it has run, and how much of that on the processor; the rest it
     * waited in a system call.  That its thread could run and got no processor, or that the process
     * was stopped, does not count.  A thread of the library's looks, four times in the shortest of
     * these times, from the opening of the first loop that asks for it to the closing of the
     * last.  The simulated kernel has none. */
    unr_time fiber_slow;
};

/* Opens a loop.
 *
 * ret_loop  set on success only; given back with unr_loop_close().
 * options   NULL: the defaults.
 * Returns   0, or a negative errno that unr_explain() puts into words: -ENOSYS and -EPERM
 *           (io_uring is switched off, by sysctl or seccomp), -ENOMEM, -EMFILE, -ENFILE, -EINVAL
 *           (an option), -EOPNOTSUPP (a kernel too old), -EAGAIN (no thread for fiber_slow), and
 *           others of io_uring_setup(2).
 * Memory    the loop, its ring and its tables are allocated here, 0.2 MiB.  Address space is
 *           reserved for four million timers, 64 MiB, and for the table of descriptors, 16 bytes
 *           for each that the hard RLIMIT_NOFILE allows, up to 16 MiB.  It is memory as far as it
 *           was used, also after mlockall(MCL_FUTURE), which locks what is used.  But
 *           mlockall(MCL_CURRENT) makes memory out of all of it if the loop is open already, unless
 *           MCL_ONFAULT is given, too.
 * Limits    RLIMIT_AS, RLIMIT_DATA and, after mlockall(MCL_FUTURE), RLIMIT_MEMLOCK count that
 *           address space.  Where they leave too little, room for a quarter of the timers is
 *           reserved, or a sixteenth, and so on down to 256; with less still, -ENOMEM.  Some
 *           kernels also charge the ring, 150 KiB, to the RLIMIT_MEMLOCK of users other than root.
 *           Linux 6.18 does: of a limit of 8 MiB it lets a user have 55 loops.
 * Threads   any.  The loop belongs to the thread that first runs it, closes it or asks for its
 *           descriptor.  From then on a call from another thread is a broken contract, unless it
 *           is one of thread.h.
 * Source    io_uring_setup(2); tests/test_environment.c. */
UNR_API int unr_loop_open(struct unr_loop **ret_loop, const struct unr_loop_options *options);

/* Runs until nothing is in flight and nobody holds the loop, or it is stopped.
 *
 * Stopped  by unr_loop_stop() of thread.h.
 * Tasks    that were posted already run before it returns.
 * Returns  0, or a negative errno of io_uring_enter(2) or io_uring_register(2) that cannot be
 *          waited out.
 * Broken   calling it inside a `done`, task or handler of this loop is a broken contract.
 * Threads  the loop's. */
UNR_API int unr_loop_run(struct unr_loop *loop);

/* Runs one turn: submits, waits, and runs each `done` that is due.
 *
 * timeout  how many nanoseconds to wait for something to happen; 0 or less: not at all; UNR_NEVER:
 *          without end.
 * Due      a `done` is due if its operation has ended when the wait is over.  The `done` of an
 *          operation that is started in such a `done` is due in the next turn at the earliest.
 * Returns  how many `done` ran, or a negative errno as unr_loop_run().  0 at once if nothing is in
 *          flight, no task is posted and nobody holds the loop.  A signal handler, a task and
 *          unr_loop_stop() end the wait early.
 * Broken   calling it inside a `done`, task or handler of this loop is a broken contract.
 * Threads  the loop's. */
UNR_API int unr_loop_run_once(struct unr_loop *loop, unr_time timeout);

/* Closes a loop: cancels everything on it, waits until all has ended, and frees.
 *
 * loop     NULL is allowed.
 * Cancels  UNR_CANCEL_ALL is requested, with cause -ESHUTDOWN, from every operation in flight:
 *          also from each child, past the filters around it.  An operation that is started
 *          meanwhile ends UNSUBMITTED with that cause; one that supports NONE, as a close, runs.
 * Waits    until the kernel has let go of every buffer and every `done` has run.  An operation
 *          that cannot be cancelled takes its time: one on a disk, or one of a caller's own type
 *          that refuses.  Posted tasks run, and a hold does not delay it.
 * Returns  0, or the negative errno of a ring that failed: then there may be operations whose
 *          `done` never runs, as they are the kernel's, or wait for one that is.  Work is waited
 *          for all the same, and its `done` runs.  The loop is gone either way.
 * Broken   closing a loop inside a `done`, task or handler of its own is a broken contract, and so
 *          is a `done` that goes on and on starting operations.
 * Fork     a child of fork(2) may call this and nothing else: it frees the child's memory and
 *          descriptors.  The loop remains the parent's, and no `done` runs.  A child that neither
 *          calls this nor execve(2) keeps the ring.  What was in flight when the parent died then
 *          stays in flight until the child ends, too, and the peers of the parent's connections see
 *          no end before that.  The second descriptors of closes that a worker has not come to yet
 *          (unr_close(), Waits) stay open in the child until it ends or calls execve(2), also if
 *          it closes the loop.
 * Threads  the loop's. */
UNR_API int unr_loop_close(struct unr_loop *loop);

/* Returns the time of the present turn.
 *
 * The clock is read when the time is first asked for after a turn has begun, and again when it is
 * first asked for after the kernel has returned.  The answer then stays the same for a millisecond
 * at most: after that the clock is read again, in a `done` that computes for long as between two
 * turns.
 *
 * Returns  nanoseconds of CLOCK_MONOTONIC.
 * Threads  the loop's. */
UNR_API unr_time unr_loop_now(const struct unr_loop *loop);

/* Returns a descriptor with which another event loop waits for this loop.
 *
 * Use      poll the descriptor for reading, and when it is readable call
 *          unr_loop_run_once(loop, 0).  It is level-triggered: readable while that call has work,
 *          at times without.  Do not read or close it: it is the loop's, until unr_loop_close().
 * Returns  the same descriptor each time, or a negative errno.
 * Threads  the loop's; the first call makes the loop that of the calling thread.
 * Source   tests/test_embed.c. */
UNR_API int unr_loop_fd(struct unr_loop *loop);

/* Counts the operations in flight that the caller has started.
 *
 * A combinator counts as one operation, whatever it contains.  The members of a scope count beside
 * the scope.
 *
 * Threads  the loop's. */
UNR_API unsigned unr_loop_in_flight(const struct unr_loop *loop);

/* Counts since the loop was opened.
 *
 * A request to cancel counts at the operation that it is made to: by unr_cancel() and its like, a
 * slot, a deadline, the closing of a descriptor or of the loop, and by the condition of a group to
 * members that honour none yet.  What a combinator passes on to its children does not count again.
 * An operation to which a request was made counts one verdict when it ends, its final one.  When
 * nothing is in flight, cancels_asked is the sum of won, too_late, running, unsubmitted, refused
 * and added. */
struct unr_stats {
    uint64_t started, finished; /* operations, children and members included */
    uint64_t enters;            /* calls of io_uring_enter(2) */
    uint64_t cancels_asked;     /* requests to operations in flight, or at their start */
    uint64_t cancels_won, cancels_too_late, cancels_running, cancels_unsubmitted, cancels_refused;
    uint64_t cancels_repeated; /* cancels that were sent again, as the last had no effect */
    uint64_t sq_full;          /* submissions in which not everything found an SQE */
    uint64_t cq_overflows;     /* turns in which the completion queue had been too small */
    uint64_t submitted_again;  /* operations that the kernel gave back without having done anything:
                                  interrupted, or for want of a worker thread or, for an
                                  acceptor, of a descriptor */
    uint64_t cancels_added;    /* requests without a verdict of their own: the operation had been
                                  asked before, or its result tells of no request, because its
                                  cancellation state was reset or its start found no memory, say */
    uint64_t fibers_begun, fibers_ended; /* those that had a stack */
    uint64_t fiber_switches;             /* from the loop to a fiber */
    uint64_t stacks_made;                /* stacks that were given memory */
    uint64_t stacks_kept;                /* of these: idle now */
    uint64_t stacks_given_back;          /* of these: their memory is the system's again */
};

/* Copies the counts of a loop.
 *
 * ret_stats  `size` bytes of it are written.
 * size       sizeof(struct unr_stats) as the program was built.  Of counts that the program does
 *            not know nothing is copied; counts that the library does not know are zeroed.
 * Threads    the loop's. */
UNR_API void unr_loop_stats(const struct unr_loop *loop, struct unr_stats *ret_stats, size_t size);

/* Writes a line for each operation in flight to the descriptor `fd`.
 *
 * A line has the operation's name, descriptor, state, age in milliseconds, and the requests to
 * cancel it.  It is for a person; its form may change.
 *
 * Inside   any `done`, task and handler.
 * Threads  the loop's. */
UNR_API void unr_loop_dump(const struct unr_loop *loop, int fd);

UNR_END
#endif
