/* Waiting for signals, and for child processes to end. */
#ifndef UNRING_PROCESS_H
#define UNRING_PROCESS_H

#include <sys/types.h>
#include <unring/compose.h>

UNR_BEGIN

/* unring's own part of a `struct unr_sigwait`: not to be read or written. */
struct unr_sigwait_private {
    struct unr_compose compose;
    uint64_t           signals; /* bit n - 1: signal n; 0: something that is no set of signals */
    uint64_t           info[16];
    struct unr_op      child;
    int                fd, error;
    unsigned           phase;
};

struct unr_sigwait {
    union {
        struct unr_op              op;
        struct unr_sigwait_private private_fields;
    };
};

/* Waits for one of `n` signals and takes it: sigwait(3).
 *
 * signals  copied.  Each must be blocked in every thread of the process, or another of its threads
 *          may take it: block them in main(), before there are threads, and unblock them in
 *          children.
 * Result   value: the number of the signal, which is not pending any more.  Of several that are,
 *          the kernel picks; as ever, a signal (but a real-time one) that comes twice before it is
 *          taken counts once.
 * Cancels  TOTAL: no signal was taken; what comes later stays pending for the next.  A signal that
 *          was taken is always reported.
 * Errors   -EINVAL: n is 0, there is no such signal, or the thread that starts it does not block
 *          it; -EMFILE, -ENFILE, -ENOMEM: each wait has a signalfd(2) of its own while it lasts.
 * Threads  the loop's, which takes signals sent to the process and to itself alone.
 * Source   lib/process.c, signalfd(2); tests/test_process.c. */
UNR_API struct unr_op *unr_sigwait(struct unr_sigwait *wait, const int *signals, unsigned n);

/* unring's own part of a `struct unr_process`: not to be read or written. */
struct unr_process_private {
    struct unr_compose compose;
    pid_t              pid;
    uint64_t           info[16];
    struct unr_op      child;
    int                fd, error;
    unsigned           phase;
};

struct unr_process {
    union {
        struct unr_op              op;
        struct unr_process_private private_fields;
    };
};

/* Waits until the child process `pid` has ended, and reaps it: waitpid(2).
 *
 * Result   value: the status, for WIFEXITED(), WEXITSTATUS(), WTERMSIG() and the others.
 * Cancels  TOTAL: the child was not reaped; a later wait does that.
 * Errors   -ECHILD: it is no child of this process, or others have reaped it (so does the kernel
 *          where SIGCHLD is ignored); -EINVAL: pid is not above 0.  Before Linux 6.7 also -EMFILE,
 *          -ENFILE, -ENOMEM: it takes a pidfd_open(2).
 * Threads  the loop's; of any thread's child.
 * Source   lib/process.c, waitid(2); tests/test_process.c. */
UNR_API struct unr_op *unr_process_wait(struct unr_process *process, pid_t pid);

UNR_END
#endif
