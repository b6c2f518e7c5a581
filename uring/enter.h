/* The seam: the functions through which unring leaves the process.  enter.c is the real
 * kernel, reached through liburing; a simulated one implements the same functions over plain
 * memory, reads the same SQEs and posts the same CQEs. */
#ifndef UNRI_ENTER_H
#define UNRI_ENTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <unring/time.h>

struct io_uring;
struct io_uring_params;

/* Sets a ring up as `params` says, its memory not inherited by children of fork(2).  0 or a
 * negative errno. */
int unri_enter_open(struct io_uring *ring, unsigned entries, struct io_uring_params *params);

/* Gives the ring back.  Nothing may be in flight: closing is not draining. */
void unri_enter_close(struct io_uring *ring);

/* In a forked child: gives back what the child has of it. */
void unri_enter_abandon(struct io_uring *ring);

/* Makes a ring that was opened disabled ready, for the calling thread. */
int unri_enter_enable(struct io_uring *ring);

/* io_uring_register(2). */
int unri_enter_register(struct io_uring *ring, unsigned opcode, void *argument, unsigned count);

/* Whether waiting can be told a point in time instead of a duration: IORING_ENTER_ABS_TIMER. */
bool unri_enter_has_absolute(struct io_uring *ring);

/* io_uring_enter(2): submits `to_submit` SQEs and runs what the kernel has deferred; waits until
 * `min_complete` CQEs are there or `deadline` has come, INT64_MIN being past.  The number of SQEs
 * consumed, or a negative errno: -ETIME, -EINTR and others. */
int unri_enter(struct io_uring *ring, unsigned to_submit, unsigned min_complete, unr_time deadline,
               bool absolute);

/* CLOCK_MONOTONIC; and the same in milliseconds, coarse but a quarter as dear: it wraps round after
 * 49 days. */
unr_time unri_enter_clock(void);
uint32_t unri_enter_clock_ms(void);

/* A descriptor that wakes a loop: made with `flags` of eventfd(2), written by any thread, read,
 * closed. */
int  unri_enter_wake_open(int flags);
void unri_enter_wake(int fd);
void unri_enter_wake_clear(int fd);
void unri_enter_wake_close(int fd);

/* Zeroed memory of the loop's own that is used as far as it is touched; NULL: there is none.
 * `wiped` memory is zeroed again in a child of fork(2). */
void *unri_enter_map(size_t size, bool wiped);
void *unri_enter_remap(void *memory, size_t size, size_t new_size);
void  unri_enter_unmap(void *memory, size_t size);

/* How many descriptors the process may have open, now or later. */
size_t unri_enter_descriptors_max(void);

/* Whether writes can be told not to raise SIGPIPE: RWF_NOSIGNAL. */
bool unri_enter_has_nosignal(void);

/* signalfd(2), non-blocking, for signals that the calling thread blocks (-EINVAL: it does not, or
 * there is no such): bit n - 1 stands for signal n. */
int unri_enter_signalfd(uint64_t signals);

/* pidfd_open(2).  And waitid(2) for a child that has ended: reaps it; 0, -EAGAIN while it runs, or
 * -ECHILD. */
int unri_enter_pidfd(pid_t pid);
int unri_enter_reap(pid_t pid, void *ret_siginfo);

#endif
