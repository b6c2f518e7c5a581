/* Signals and child processes: each wait opens the descriptor that it needs, if any, and has closed it before `done`. */
#include "internal.h"
#include "../uring/enter.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

/* ---- signals ---- */

enum phase { POLLING, READING, WAITING, CLOSING };

static struct unr_sigwait *sigwait_of(struct unr_compose *self)
{
    return unr_container_of(self, struct unr_sigwait, private_compose);
}

static void sigwait_next(struct unr_sigwait *wait, enum phase phase, struct unr_op *described)
{
    wait->private_phase = phase;
    unr_compose_next(&wait->private_compose, described);
}

static void sigwait_close(struct unr_sigwait *wait, int error)
{
    wait->private_error = error;
    sigwait_next(wait, CLOSING, unr_close(&wait->private_child, wait->private_fd));
}

static void sigwait_poll(struct unr_sigwait *wait)
{
    sigwait_next(wait, POLLING, unr_poll(&wait->private_child, wait->private_fd, POLLIN));
}

static void sigwait_read(struct unr_sigwait *wait)
{
    struct signalfd_siginfo *info = (struct signalfd_siginfo *)wait->private_info;
    static_assert(sizeof *info <= sizeof wait->private_info, "");
    sigwait_next(wait, READING, unr_read(&wait->private_child, wait->private_fd, info, sizeof *info, -1));
}

static void sigwait_open(struct unr_sigwait *wait)
{
    int fd = wait->private_signals ? unri_enter_signalfd(wait->private_signals) : -EINVAL;
    if (fd < 0) {
        unr_compose_end(&wait->private_compose, fd);
        return;
    }
    wait->private_fd = fd;
    sigwait_read(wait);
}

/* The descriptor does not block: the kernel could otherwise wait in the loop's thread, where somebody else had taken the signal
 * since it looked.  Older kernels report that as -EAGAIN, newer ones go on waiting themselves. */
static void sigwait_step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_sigwait            *wait = sigwait_of(self);
    const struct signalfd_siginfo *info = (const struct signalfd_siginfo *)wait->private_info;
    int                            error = finished ? finished->result.error : 0;
    if (!finished) {
        sigwait_open(wait);
    } else if (wait->private_phase == CLOSING) {
        unr_compose_end(self, wait->private_error);
    } else if (wait->private_phase == READING && error == -EAGAIN) {
        sigwait_poll(wait);
    } else if (wait->private_phase == READING || error) {
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
    struct unr_op *op = unr_compose(&wait->private_compose, "sigwait", UNR_CANCEL_TOTAL, sigwait_step);
    wait->private_signals = set_of(signals, n);
    return op;
}

/* ---- children ---- */

static struct unr_child *child_of(struct unr_compose *self)
{
    return unr_container_of(self, struct unr_child, private_compose);
}

static void child_next(struct unr_child *child, enum phase phase, struct unr_op *described)
{
    child->private_phase = phase;
    unr_compose_next(&child->private_compose, described);
}

static siginfo_t *info_of(struct unr_child *child)
{
    static_assert(sizeof(siginfo_t) <= sizeof child->private_info, "");
    return (siginfo_t *)child->private_info;
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

static void child_close(struct unr_child *child, int error)
{
    child->private_error = error;
    child_next(child, CLOSING, unr_close(&child->private_child, child->private_fd));
}

/* Where the ring has no waitid: a pidfd is readable once the child has ended. */
static void look(struct unr_child *child)
{
    int error = unri_enter_reap(child->private_pid, info_of(child));
    if (error == -EAGAIN) {
        child_next(child, POLLING, unr_poll(&child->private_child, child->private_fd, POLLIN));
        return;
    }
    if (!error)
        child->op.result.value = status_of(info_of(child));
    child_close(child, error);
}

static void child_open(struct unr_child *child)
{
    int fd = unri_enter_pidfd(child->private_pid);
    if (fd < 0) {
        unr_compose_end(&child->private_compose, fd == -ESRCH ? -ECHILD : fd);
        return;
    }
    child->private_fd = fd;
    look(child);
}

static void waited(struct unr_child *child, int error)
{
    if (error == -EOPNOTSUPP) {
        child_open(child);
        return;
    }
    if (!error)
        child->op.result.value = status_of(info_of(child));
    unr_compose_end(&child->private_compose, error);
}

static void child_step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_child *child = child_of(self);
    int               error = finished ? finished->result.error : 0;
    if (!finished)
        child_next(child, WAITING,
                   unr_waitid(&child->private_child, P_PID, (unsigned)child->private_pid, info_of(child), WEXITED));
    else if (child->private_phase == WAITING)
        waited(child, error);
    else if (child->private_phase == CLOSING)
        unr_compose_end(self, child->private_error);
    else if (error)
        child_close(child, error);
    else
        look(child);
}

struct unr_op *unr_child_wait(struct unr_child *child, pid_t pid)
{
    struct unr_op *op = unr_compose(&child->private_compose, "child_wait", UNR_CANCEL_TOTAL, child_step);
    child->private_pid = pid;
    return op;
}
