/* The real kernel: every call here crosses into it. */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
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

static struct __kernel_timespec timespec_of(unr_time time)
{
    return (struct __kernel_timespec){ .tv_sec = time / UNR_SEC(1), .tv_nsec = time % UNR_SEC(1) };
}

int unri_enter(struct io_uring *ring, unsigned to_submit, bool wait, unr_time deadline, bool absolute)
{
    unsigned flags = IORING_ENTER_GETEVENTS;
    if (!wait || deadline == UNR_NEVER)
        return io_uring_enter2((unsigned)ring->enter_ring_fd, to_submit, wait, flags, NULL, _NSIG / 8);

    if (absolute) {
        flags |= UNRI_ENTER_ABS_TIMER;
    } else {
        deadline -= unri_enter_clock();
        if (deadline < 0)
            deadline = 0;
    }
    struct __kernel_timespec      time     = timespec_of(deadline);
    struct io_uring_getevents_arg argument = { .sigmask_sz = _NSIG / 8, .ts = (uintptr_t)&time };
    return io_uring_enter2((unsigned)ring->enter_ring_fd, to_submit, 1, flags | IORING_ENTER_EXT_ARG, (sigset_t *)&argument,
                           sizeof argument);
}

unr_time unri_enter_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return UNR_SEC(now.tv_sec) + now.tv_nsec;
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

bool unri_enter_has_nosignal(void)
{
    int fd = memfd_create("unring", MFD_CLOEXEC);
    if (fd < 0)
        return false;
    struct iovec byte = { .iov_base = "", .iov_len = 1 };
    bool         has  = pwritev2(fd, &byte, 1, 0, UNRI_RWF_NOSIGNAL) == 1;
    close(fd);
    return has;
}
