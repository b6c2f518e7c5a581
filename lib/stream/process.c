/* SPDX-License-Identifier: MIT */
/* Signals and child processes: each wait opens the descriptor that it needs, if any, and has closed
 * it before `done`. */
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
    wait->private_fields.error = error;
    sigwait_next(wait, CLOSING, unr_close(&wait->private_fields.child, wait->private_fields.fd));
}

static void sigwait_poll(struct unr_sigwait *wait)
{
    sigwait_next(wait, POLLING,
                 unr_poll(&wait->private_fields.child, wait->private_fields.fd, POLLIN));
}

static void sigwait_read(struct unr_sigwait *wait)
{
    struct signalfd_siginfo *info = (struct signalfd_siginfo *)wait->private_fields.info;
    static_assert(sizeof *info <= sizeof wait->private_fields.info, "");
    sigwait_next(
        wait, READING,
        unr_read(&wait->private_fields.child, wait->private_fields.fd, info, sizeof *info, -1));
}

static void sigwait_open(struct unr_sigwait *wait)
{
    int fd =
        wait->private_fields.signals ? unri_os_signalfd(wait->private_fields.signals) : -EINVAL;
    if (fd < 0) {
        unr_compose_end(&wait->private_fields.compose, fd);
        return;
    }
    wait->private_fields.fd = fd;
    sigwait_read(wait);
}

/* The descriptor does not block: the kernel could otherwise wait in the loop's thread, where
 * somebody else had taken the signal since it looked.  Older kernels report that as -EAGAIN, newer
 * ones go on waiting themselves. */
static void sigwait_step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_sigwait            *wait = sigwait_of(self);
    const struct signalfd_siginfo *info =
        (const struct signalfd_siginfo *)wait->private_fields.info;
    int error = finished ? finished->result.error : 0;
    if (!finished) {
        sigwait_open(wait);
    } else if (wait->private_fields.phase == CLOSING) {
        unr_compose_end(self, wait->private_fields.error);
    } else if (wait->private_fields.phase == READING && error == -EAGAIN) {
        sigwait_poll(wait);
    } else if (wait->private_fields.phase == READING || error) {
        if (!error)
            wait->op.result.value = info->ssi_signo;
        sigwait_close(wait, error);
    } else {
        sigwait_read(wait);
    }
}

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

struct unr_op *unr_sigwait(struct unr_sigwait *wait, const int *signals, unsigned n)
{
    struct unr_op *op =
        unr_compose(&wait->private_fields.compose, "sigwait", UNR_CANCEL_TOTAL, sigwait_step);
    wait->private_fields.signals = set_of(signals, n);
    return op;
}

/* ---- children ---- */

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

/* What waitpid(2) says, from what waitid(2) says. */
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
    process->private_fields.error = error;
    process_next(process, CLOSING,
                 unr_close(&process->private_fields.child, process->private_fields.fd));
}

/* Where the ring has no waitid: a pidfd is readable once the child has ended. */
static void look(struct unr_process *process)
{
    int error = unri_os_reap(process->private_fields.pid, info_of(process));
    if (error == -EAGAIN) {
        process_next(process, POLLING,
                     unr_poll(&process->private_fields.child, process->private_fields.fd, POLLIN));
        return;
    }
    if (!error)
        process->op.result.value = status_of(info_of(process));
    process_close(process, error);
}

static void process_open(struct unr_process *process)
{
    int fd = unri_os_pidfd(process->private_fields.pid);
    if (fd < 0) {
        unr_compose_end(&process->private_fields.compose, fd == -ESRCH ? -ECHILD : fd);
        return;
    }
    process->private_fields.fd = fd;
    look(process);
}

static void waited(struct unr_process *process, int error)
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
    int                 error = finished ? finished->result.error : 0;
    if (!finished)
        process_next(process, WAITING,
                     unr_waitid(&process->private_fields.child, P_PID,
                                (unsigned)process->private_fields.pid, info_of(process), WEXITED));
    else if (process->private_fields.phase == WAITING)
        waited(process, error);
    else if (process->private_fields.phase == CLOSING)
        unr_compose_end(self, process->private_fields.error);
    else if (error)
        process_close(process, error);
    else
        look(process);
}

struct unr_op *unr_process_wait(struct unr_process *process, pid_t pid)
{
    struct unr_op *op = unr_compose(&process->private_fields.compose, "process_wait",
                                    UNR_CANCEL_TOTAL, process_step);
    process->private_fields.pid = pid;
    return op;
}
