/* SPDX-License-Identifier: MIT */
/* Waiting for signals of the operating system, and for child processes to end. */
#ifndef UNRING_PROCESS_H
#define UNRING_PROCESS_H

#include <sys/types.h>
#include <unring/compose.h>

UNR_BEGIN

/* unring's own part of a `struct unr_sigwait`: not to be read or written. */
struct unr_sigwait_private {
    struct unr_compose compose;
    uint64_t           signals;  /* bit n - 1: signal n; 0: the arguments were no set of signals */
    uint64_t           info[16]; /* room for a struct signalfd_siginfo */
    struct unr_op      child;
    int                fd, error;
    unsigned           phase;
};

/* A wait for signals, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_sigwait {
    union {
        struct unr_op              op;
        struct unr_sigwait_private private_fields;
    };
};

/* Waits for one of `n` signals and takes it: sigwait(3).
 *
 * signals  copied here.  Each must be blocked in every thread of the process, or another thread
 *          may take it: block them in main(), before there are threads, and unblock them in child
 *          processes.
 * Result   value: the number of the signal, which is not pending any more.  Of several that are
 *          pending the kernel picks one.  A signal that comes twice before it is taken counts
 *          once, unless it is a real-time signal.
 * Cancels  TOTAL: no signal was taken; a signal that comes later stays pending.  A signal that was
 *          taken is always reported, as a success.
 * Errors   -EINVAL: `n` is 0, there is no such signal, or the thread that starts the wait does not
 *          block it.  -EMFILE, -ENFILE, -ENOMEM: each wait has a signalfd(2) of its own as long as
 *          it lasts.
 * Memory   allocates nothing.
 * Returns  `&wait->op`.
 * Threads  the loop's.  The signals taken are those sent to the process, and to this thread.
 * Source   signalfd(2); tests/test_process.c. */
UNR_API struct unr_op *unr_sigwait(struct unr_sigwait *wait, const int *signals, unsigned n);

/* unring's own part of a `struct unr_process`: not to be read or written. */
struct unr_process_private {
    struct unr_compose compose;
    pid_t              pid;
    uint64_t           info[16]; /* room for a siginfo_t */
    struct unr_op      child;
    int                fd, error; /* a pidfd, where the ring has no waitid */
    unsigned           phase;
};

/* A wait for a child process, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_process {
    union {
        struct unr_op              op;
        struct unr_process_private private_fields;
    };
};

/* Waits until the child process `pid` has ended, and reaps it: waitpid(2).
 *
 * pid      a child process of this process, whichever thread made it.
 * Result   value: the status, for WIFEXITED(), WEXITSTATUS(), WTERMSIG() and others of waitpid(2).
 * Cancels  TOTAL: the child process was not reaped; a later wait does that.
 * Errors   -ECHILD: `pid` is no child of this process, or was reaped by others (by the kernel,
 *          where SIGCHLD is ignored).  -EINVAL: `pid` is not above 0.  Before Linux 6.7 also
 *          -EMFILE, -ENFILE and -ENOMEM of pidfd_open(2).
 * Memory   allocates nothing.
 * Returns  `&process->op`.
 * Threads  the loop's.
 * Source   waitid(2), pidfd_open(2); tests/test_process.c. */
UNR_API struct unr_op *unr_process_wait(struct unr_process *process, pid_t pid);

UNR_END
#endif
