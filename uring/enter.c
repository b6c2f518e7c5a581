/* The real kernel: every call here crosses into it. */
#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "enter.h"
#include "newer.h"

int unri_enter_open(struct io_uring *ring, unsigned entries, struct io_uring_params *params)
{
    int error = io_uring_queue_init_params(entries, ring, params);
    if (error < 0)
        return error;
    /* A child of fork(2) could otherwise submit into the parent's ring. */
    if ((error = io_uring_ring_dontfork(ring)) < 0)
        io_uring_queue_exit(ring);
    return error;
}

void unri_enter_close(struct io_uring *ring)
{
    io_uring_queue_exit(ring);
}

void unri_enter_abandon(struct io_uring *ring)
{
    close(ring->ring_fd); /* its memory was not inherited */
}

int unri_enter_enable(struct io_uring *ring)
{
    int error = 0;
    /* By its opcode: Debian's liburing.so 2.3 does not export io_uring_enable_rings(). */
    if (ring->flags & IORING_SETUP_R_DISABLED)
        error = unri_enter_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    /* A thread may register 16 rings, which saves each call the look-up of the descriptor; others
     * do without. */
    if (error >= 0)
        io_uring_register_ring_fd(ring);
    return error < 0 ? error : 0;
}

int unri_enter_register(struct io_uring *ring, unsigned opcode, void *argument, unsigned count)
{
    return io_uring_register((unsigned)ring->ring_fd, opcode, argument, count);
}

bool unri_enter_has_absolute(struct io_uring *ring)
{
    /* Unknown flags are refused before the descriptor, which is not one here, is looked at. */
    (void)ring;
    return io_uring_enter2((unsigned)-1, 0, 0, UNRI_ENTER_ABS_TIMER, NULL, 0) != -EINVAL;
}

static unr_time time_left(unr_time deadline)
{
    unr_time now = unri_enter_clock();
    return deadline > now ? deadline - now : 0;
}

int unri_enter(struct io_uring *ring, unsigned to_submit, unsigned min_complete, unr_time deadline,
               bool absolute)
{
    unsigned flags = IORING_ENTER_GETEVENTS;
    if (ring->enter_ring_fd != ring->ring_fd)
        flags |= IORING_ENTER_REGISTERED_RING;
    if (!min_complete || deadline == UNR_NEVER)
        return io_uring_enter2((unsigned)ring->enter_ring_fd, to_submit, min_complete, flags, NULL,
                               _NSIG / 8);

    unr_time                 at = absolute ? (deadline > 0 ? deadline : 0) : time_left(deadline);
    struct __kernel_timespec time = { .tv_sec = at / UNR_SEC(1), .tv_nsec = at % UNR_SEC(1) };
    struct io_uring_getevents_arg argument = { .sigmask_sz = _NSIG / 8, .ts = (uintptr_t)&time };
    flags |= IORING_ENTER_EXT_ARG | (absolute ? UNRI_ENTER_ABS_TIMER : 0);
    return io_uring_enter2((unsigned)ring->enter_ring_fd, to_submit, min_complete, flags,
                           (sigset_t *)&argument, sizeof argument);
}

unr_time unri_enter_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return UNR_SEC(now.tv_sec) + now.tv_nsec;
}

uint32_t unri_enter_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint32_t)now.tv_sec * 1000u + (uint32_t)now.tv_nsec / 1000000u;
}

int unri_enter_wake_open(int flags)
{
    int fd = eventfd(0, EFD_CLOEXEC | flags);
    return fd < 0 ? -errno : fd;
}

void unri_enter_wake(int fd)
{
    /* Cannot fail but for a signal: the counter would have to reach 2^64. */
    while (eventfd_write(fd, 1) != 0 && errno == EINTR)
        ;
}

void unri_enter_wake_clear(int fd)
{
    eventfd_t count;
    while (eventfd_read(fd, &count) != 0 && errno == EINTR)
        ;
}

void unri_enter_wake_close(int fd)
{
    close(fd);
}

void *unri_enter_map(size_t size, bool wiped)
{
    int   flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (wiped && madvise(memory, size, MADV_WIPEONFORK) != 0) {
        munmap(memory, size);
        return NULL;
    }
    return memory;
}

void *unri_enter_remap(void *memory, size_t size, size_t new_size)
{
    void *moved = mremap(memory, size, new_size, MREMAP_MAYMOVE);
    return moved == MAP_FAILED ? NULL : moved;
}

void unri_enter_unmap(void *memory, size_t size)
{
    munmap(memory, size);
}

size_t unri_enter_descriptors_max(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : 0;
}

bool unri_enter_has_nosignal(void)
{
    int fd = memfd_create("unring", MFD_CLOEXEC);
    if (fd < 0)
        return false;
    char         zero = 0;
    struct iovec byte = { .iov_base = &zero, .iov_len = 1 };
#ifdef __GLIBC__
    bool has = pwritev2(fd, &byte, 1, 0, UNRI_RWF_NOSIGNAL) == 1;
#else
    bool has = syscall(SYS_pwritev2, fd, &byte, 1, 0, 0, UNRI_RWF_NOSIGNAL) == 1;
#endif
    close(fd);
    return has;
}

int unri_enter_signalfd(uint64_t signals)
{
    sigset_t set, blocked;
    sigemptyset(&set);
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    for (int number = 1; number <= 64; number++)
        if (signals >> (number - 1) & 1
            && (sigismember(&blocked, number) != 1 || sigaddset(&set, number) != 0))
            return -EINVAL;
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int unri_enter_pidfd(pid_t pid)
{
    long fd = syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : (int)fd;
}

int unri_enter_reap(pid_t pid, void *ret_siginfo)
{
    siginfo_t *info = ret_siginfo;
    info->si_pid = 0;
    while (waitid(P_PID, (id_t)pid, info, WEXITED | WNOHANG) != 0)
        if (errno != EINTR)
            return -errno;
    return info->si_pid ? 0 : -EAGAIN;
}
