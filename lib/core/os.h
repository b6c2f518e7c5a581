/* SPDX-License-Identifier: MIT */
/* One half of the seam: what the library asks of the system besides a ring.  The other half, the
 * ring, is uring/enter.h.  os.c is the real system; the simulated kernel has its own. */
#ifndef UNRI_OS_H
#define UNRI_OS_H

#include <sys/types.h>
#include "base.h"

/* Reads CLOCK_MONOTONIC. */
unr_time unri_os_clock(void);

/* Returns how long it is until `deadline`; 0: it has come. */
static inline unr_time unri_time_left(unr_time deadline)
{
    unr_time now = unri_os_clock();
    return deadline > now ? deadline - now : 0;
}

/* Tells whether the kernel's CLOCK_MONOTONIC is known to be this process's: no time namespace
 * shifts it (time_namespaces(7)). */
bool unri_os_clock_is_kernels(void);

/* Reads a counter that goes up by at least 1 in a nanosecond, on fast processors by 5.  It costs a
 * third of unri_os_clock(), and tells only that little time has passed. */
uint64_t unri_os_ticks(void);

/* Reads CLOCK_MONOTONIC_COARSE in milliseconds, which costs a quarter of unri_os_clock().  The
 * number wraps round after 49 days. */
uint32_t unri_os_clock_ms(void);

/* A descriptor that wakes a loop: an eventfd(2) made with `flags`.  Any thread may write to it. */
int  unri_os_wake_open(int flags);
void unri_os_wake(int fd);
void unri_os_wake_clear(int fd);
void unri_os_wake_close(int fd);

/* Maps zeroed memory; only the pages that are touched cost any.  Returns NULL if there is none.
 * The kernel zeroes `wiped` memory again in a child of fork(2). */
void *unri_os_map(size_t size, bool wiped);
void *unri_os_remap(void *memory, size_t size, size_t new_size);
void  unri_os_unmap(void *memory, size_t size);

/* Asks for huge pages, and does without where there are none. */
void unri_os_prefer_huge(void *memory, size_t size);

/* How many descriptors the process may have open, now or later. */
size_t unri_os_descriptors_max(void);

/* Sets two numbers by which the file of a descriptor is told from others: those of its device and
 * its inode.  What has no inode of its own, as an eventfd, has that of its kind.  False: the
 * descriptor is not open. */
bool unri_os_file(int fd, uint64_t ret_file[2]);

/* Opens a non-blocking signalfd(2) for signals that the calling thread blocks: bit n - 1 stands for
 * signal n.  -EINVAL: the thread does not block one of them, or there is no such signal. */
int unri_os_signalfd(uint64_t signals);

/* Opens a pidfd_open(2). */
int unri_os_pidfd(pid_t pid);

/* Looks a name up, as getaddrinfo(3), and gives back what was found, as freeaddrinfo(3).  Any
 * thread may do so. */
struct addrinfo;
int  unri_os_lookup(const char *host, const char *service, const struct addrinfo *hints,
                    struct addrinfo **ret_found);
void unri_os_lookup_free(struct addrinfo *found);

/* Reaps a child process that has ended: waitid(2).  0; -EAGAIN while the child runs; -ECHILD. */
int unri_os_reap(pid_t pid, void *ret_siginfo);

#endif
