/* SPDX-License-Identifier: MIT */
/* The real system: every call here leaves the process, but for the clock. */
#include "os.h"

#include <netdb.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

unr_time unri_os_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return UNR_SEC(now.tv_sec) + now.tv_nsec;
}

/* The initial time namespace, which shifts no clock, has the same number in every kernel.  Of the
 * others it is not known whether they shift this clock: /proc/self/timens_offsets tells of the
 * namespace of the children.  So the answer is no in each of them, and where there is no /proc. */
bool unri_os_clock_is_kernels(void)
{
    static const char initial[] = "time:[4026531834]";
    char              found[sizeof initial];
    ssize_t           len = readlink("/proc/self/ns/time", found, sizeof found);
    return len == sizeof initial - 1 && memcmp(found, initial, sizeof initial - 1) == 0;
}

/* CLOCK_MONOTONIC_COARSE would be cheaper still.  But it stands still for 4 milliseconds at a time
 * on most kernels, and for 10 on some.  The counter of x86-64 has the nominal frequency of the
 * processor, which is 1 GHz or more; that of aarch64 says what it has. */
uint64_t unri_os_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t count, frequency;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(count));
    __asm__("mrs %0, cntfrq_el0" : "=r"(frequency));
    return count * (frequency ? 1000000000 / frequency + 1 : 1);
#else
    return (uint64_t)unri_os_clock();
#endif
}

uint32_t unri_os_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint32_t)now.tv_sec * 1000u + (uint32_t)now.tv_nsec / 1000000u;
}

int unri_os_wake_open(int flags)
{
    int fd = eventfd(0, EFD_CLOEXEC | flags);
    return fd < 0 ? -errno : fd;
}

void unri_os_wake(int fd)
{
    /* Cannot fail but for a signal: the counter would have to reach 2^64. */
    while (eventfd_write(fd, 1) != 0 && errno == EINTR)
        ;
}

void unri_os_wake_clear(int fd)
{
    eventfd_t count;
    while (eventfd_read(fd, &count) != 0 && errno == EINTR)
        ;
}

void unri_os_wake_close(int fd)
{
    close(fd);
}

/* After mlockall(MCL_FUTURE) the kernel provides all pages of what is mapped, and most of these are
 * never touched.  It provides none that may not be accessed, though.  So memory is mapped without
 * access, and told to be locked page by page as it is touched, before it may be accessed.  Locked
 * memory is found out by MADV_DONTNEED, which it refuses. */
static int make_accessible(void *memory, size_t size)
{
    if (madvise(memory, size, MADV_DONTNEED) != 0 && errno == EINVAL)
        mlock2(memory, size, MLOCK_ONFAULT);
    return mprotect(memory, size, PROT_READ | PROT_WRITE);
}

void *unri_os_map(size_t size, bool wiped)
{
    int   flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *memory = mmap(NULL, size, PROT_NONE, flags, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (make_accessible(memory, size) != 0
        || (wiped && madvise(memory, size, MADV_WIPEONFORK) != 0)) {
        munmap(memory, size);
        return NULL;
    }
    return memory;
}

void *unri_os_remap(void *memory, size_t size, size_t new_size)
{
    void *moved = mremap(memory, size, new_size, MREMAP_MAYMOVE);
    return moved == MAP_FAILED ? NULL : moved;
}

void unri_os_unmap(void *memory, size_t size)
{
    munmap(memory, size);
}

void unri_os_prefer_huge(void *memory, size_t size)
{
    madvise(memory, size, MADV_HUGEPAGE);
}

size_t unri_os_descriptors_max(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : 0;
}

bool unri_os_file(int fd, uint64_t ret_file[2])
{
    struct stat stat;
    if (fstat(fd, &stat) != 0)
        return false;
    ret_file[0] = stat.st_dev;
    ret_file[1] = stat.st_ino;
    return true;
}

int unri_os_signalfd(uint64_t signals)
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

int unri_os_pidfd(pid_t pid)
{
    long fd = syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : (int)fd;
}

int unri_os_reap(pid_t pid, void *ret_siginfo)
{
    siginfo_t *info = ret_siginfo;
    info->si_pid = 0;
    while (waitid(P_PID, (id_t)pid, info, WEXITED | WNOHANG) != 0)
        if (errno != EINTR)
            return -errno;
    return info->si_pid ? 0 : -EAGAIN;
}

int unri_os_lookup(const char *host, const char *service, const struct addrinfo *hints,
                   struct addrinfo **ret_found)
{
    return getaddrinfo(host, service, hints, ret_found);
}

void unri_os_lookup_free(struct addrinfo *found)
{
    freeaddrinfo(found);
}
