/* SPDX-License-Identifier: MIT */
/* Waiting for signals and for child processes.  Each wait opens the descriptor that it needs, if
 * any, and has closed it before `done`.  The system calls behind it are lib/core/os.c's and
 * uring/'s.
 *
 * A signal that was taken, and a child process that was reaped, cannot be given back.  So either is
 * reported as a success, whatever was requested meanwhile (rules 3 and 11).  The closes support no
 * cancellation, so they always run. */
#include "../core/os.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unring.h>

/* ---- signals ---- */

enum phase { POLLING, READING, WAITING, CLOSING };

static struct unr_sigwait *sigwait_of(struct unr_compose *self)
{
    return unr_container_of(self, struct unr_sigwait, private_fields.compose);
}

static void sigwait_next(struct unr_sigwait *wait, enum phase phase, struct unr_op *described)
{
    wait->private_fields.phase = phase;
    unr_compose_next(&wait->private_fields.compose, described);
}

static void sigwait_close(struct unr_sigwait *wait, int error)
{
    struct unr_sigwait_private *p = &wait->private_fields;
    p->error = error;
    sigwait_next(wait, CLOSING, unr_close(&p->child, p->fd));
}

static void sigwait_poll(struct unr_sigwait *wait)
{
    struct unr_sigwait_private *p = &wait->private_fields;
    sigwait_next(wait, POLLING, unr_poll(&p->child, p->fd, POLLIN));
}

static void sigwait_read(struct unr_sigwait *wait)
{
    struct unr_sigwait_private *p = &wait->private_fields;
    static_assert(sizeof(struct signalfd_siginfo) <= sizeof p->info, "");
    sigwait_next(wait, READING,
                 unr_read(&p->child, p->fd, p->info, sizeof(struct signalfd_siginfo), -1));
}

static void sigwait_open(struct unr_sigwait *wait)
{
    struct unr_sigwait_private *p = &wait->private_fields;
    int                         fd = p->signals ? unri_os_signalfd(p->signals) : -EINVAL;
    if (fd < 0) {
        unr_compose_end(&p->compose, fd);
        return;
    }
    p->fd = fd;
    sigwait_read(wait);
}

/* After a read.  -EAGAIN: somebody else has taken the signal since the kernel looked.  (The
 * descriptor does not block, or the kernel could wait for the next signal in the loop's thread.
 * Newer kernels do not report -EAGAIN, but go on waiting without that thread.) */
static void sigwait_was_read(struct unr_sigwait *wait, int error)
{
    const struct signalfd_siginfo *info = (const void *)wait->private_fields.info;
    if (error == -EAGAIN) {
        sigwait_poll(wait);
        return;
    }
    if (!error)
        wait->op.result.value = info->ssi_signo;
    sigwait_close(wait, error);
}

static void sigwait_step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_sigwait *wait = sigwait_of(self);
    enum phase          phase = wait->private_fields.phase;
    if (!finished)
        sigwait_open(wait);
    else if (phase == READING)
        sigwait_was_read(wait, finished->result.error);
    else if (phase == CLOSING)
        unr_compose_end(self, wait->private_fields.error);
    else if (finished->result.error)
        sigwait_close(wait, finished->result.error);
    else
        sigwait_read(wait);
}

/* Returns the set of some signals: bit n - 1 stands for signal n.  0: one of them is no signal. */
static uint64_t set_of(const int *signals, unsigned n)
{
    uint64_t set = 0;
    for (unsigned i = 0; i < n; i++) {
        if (signals[i] < 1 || signals[i] > 64)
            return 0;
        set |= UINT64_C(1) << (signals[i] - 1);
    }
    return set;
}

static const char *sigwait_explain(const struct unr_op *op)
{
    const struct unr_sigwait *wait = (const struct unr_sigwait *)op;
    if (op->result.error != -EINVAL)
        return NULL;
    return wait->private_fields.signals
               ? "each signal must be blocked in the thread that waits: pthread_sigmask(3)"
               : "no signal is named, or one that does not exist";
}

struct unr_op *unr_sigwait(struct unr_sigwait *wait, const int *signals, unsigned n)
{
    struct unr_sigwait_private *p = &wait->private_fields;
    struct unr_op *op = unr_compose(&p->compose, "sigwait", UNR_CANCEL_TOTAL, sigwait_step);
    p->signals = set_of(signals, n);
    p->compose.private_fields.explain = sigwait_explain;
    return op;
}

/* ---- child processes ---- */

static struct unr_process *process_of(struct unr_compose *self)
{
    return unr_container_of(self, struct unr_process, private_fields.compose);
}

static void process_next(struct unr_process *process, enum phase phase, struct unr_op *described)
{
    process->private_fields.phase = phase;
    unr_compose_next(&process->private_fields.compose, described);
}

static siginfo_t *info_of(struct unr_process *process)
{
    static_assert(sizeof(siginfo_t) <= sizeof process->private_fields.info, "");
    return (siginfo_t *)process->private_fields.info;
}

enum { CORE_DUMPED = 0x80 }; /* WCOREFLAG, which musl lacks */

/* Turns the answer of waitid(2) into the status of waitpid(2). */
static int status_of(const siginfo_t *info)
{
    switch (info->si_code) {
    case CLD_EXITED: return (info->si_status & 0xff) << 8;
    case CLD_DUMPED: return info->si_status | CORE_DUMPED;
    default: return info->si_status;
    }
}

static void process_close(struct unr_process *process, int error)
{
    struct unr_process_private *p = &process->private_fields;
    p->error = error;
    process_next(process, CLOSING, unr_close(&p->child, p->fd));
}

/* Before Linux 6.7, whose ring has no waitid: a pidfd, which is readable once the child process has
 * ended.  It is not reaped before that, so a cancelled poll leaves no trace. */
static void try_to_reap(struct unr_process *process)
{
    struct unr_process_private *p = &process->private_fields;
    int                         error = unri_os_reap(p->pid, info_of(process));
    if (error == -EAGAIN) {
        process_next(process, POLLING, unr_poll(&p->child, p->fd, POLLIN));
        return;
    }
    if (!error)
        process->op.result.value = status_of(info_of(process));
    process_close(process, error);
}

static void process_open(struct unr_process *process)
{
    struct unr_process_private *p = &process->private_fields;
    int                         fd = unri_os_pidfd(p->pid);
    if (fd < 0) {
        unr_compose_end(&p->compose, fd == -ESRCH ? -ECHILD : fd);
        return;
    }
    p->fd = fd;
    try_to_reap(process);
}

static void process_wait(struct unr_process *process)
{
    struct unr_process_private *p = &process->private_fields;
    unsigned                    pid = (unsigned)p->pid;
    process_next(process, WAITING, unr_waitid(&p->child, P_PID, pid, info_of(process), WEXITED));
}

static void process_was_waited_for(struct unr_process *process, int error)
{
    if (error == -EOPNOTSUPP) {
        process_open(process);
        return;
    }
    if (!error)
        process->op.result.value = status_of(info_of(process));
    unr_compose_end(&process->private_fields.compose, error);
}

static void process_step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_process *process = process_of(self);
    enum phase          phase = process->private_fields.phase;
    if (!finished)
        process_wait(process);
    else if (phase == WAITING)
        process_was_waited_for(process, finished->result.error);
    else if (phase == CLOSING)
        unr_compose_end(self, process->private_fields.error);
    else if (finished->result.error)
        process_close(process, finished->result.error);
    else
        try_to_reap(process);
}

struct unr_op *unr_process_wait(struct unr_process *process, pid_t pid)
{
    struct unr_process_private *p = &process->private_fields;
    struct unr_op *op = unr_compose(&p->compose, "process_wait", UNR_CANCEL_TOTAL, process_step);
    p->pid = pid;
    return op;
}
