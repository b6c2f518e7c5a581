/* SPDX-License-Identifier: MIT */
/* The other half of the seam: the calls that cross into io_uring.  lib/core/os.h has the first
 * half, the rest of the system.  enter.c is the real kernel, reached through liburing; the
 * simulated one implements the same functions over plain memory, reads the same SQEs and posts the
 * same CQEs. */
#ifndef UNRI_ENTER_H
#define UNRI_ENTER_H

#include <stdbool.h>
#include <sys/types.h>
#include <unring/time.h>

struct iovec;
struct msghdr;
struct io_uring;
struct io_uring_params;

/* What a descriptor carries, as far as the kernel's ways with MSG_* depend on it. */
enum unri_carries {
    UNRI_CARRIES_BYTES = 1,       /* a stream, or something that is no socket */
    UNRI_CARRIES_RECORDS,         /* SOCK_SEQPACKET */
    UNRI_CARRIES_DATAGRAMS,       /* SOCK_DGRAM, and what else is neither of the two */
    UNRI_CARRIES_LOCAL_DATAGRAMS, /* SOCK_DGRAM of AF_UNIX */
};

/* Where the kernel waits in a read or write. */
enum unri_waits {
    UNRI_WAITS_IN_WORKER = 1, /* or may: as no poll can wait, or no attempt may end with EAGAIN */
    UNRI_WAITS_IN_TASK,       /* a socket, an eventfd: never in a worker */
    UNRI_WAITS_FOR_CLOCK,     /* a timerfd, to which ECANCELED says that the clock was set */
};

/* What closing a descriptor is.  The order matters: from WAITS on the thread may wait. */
enum unri_closing {
    UNRI_CLOSING_IS_QUICK = 1, /* it is no file: a socket, a pipe, an eventfd */
    UNRI_CLOSING_IS_QUICK_NOW, /* a file that may lose its name */
    UNRI_CLOSING_WAITS,        /* a file without a name, a disk, a terminal */
    UNRI_CLOSING_LINGERS,      /* a socket with SO_LINGER and a time above 0 */
};

/* What a descriptor is for whoever reads from it without waiting. */
enum unri_source {
    UNRI_SOURCE_UNKNOWN, /* nobody has asked yet */
    UNRI_SOURCE_SOCKET,
    UNRI_SOURCE_FILE, /* a pipe, a terminal, ... */
};

/* Sets a ring up as `params` says, its memory not inherited by children of fork(2).  0 or a
 * negative errno. */
int unri_enter_open(struct io_uring *ring, unsigned entries, struct io_uring_params *params);

/* Gives the ring back.  Nothing may be in flight: closing is not draining. */
void unri_enter_close(struct io_uring *ring);

/* Gives back what a forked child has of its parent's ring. */
void unri_enter_abandon(struct io_uring *ring);

/* Makes a ring that was opened disabled ready, for the calling thread. */
int unri_enter_enable(struct io_uring *ring);

/* io_uring_register(2). */
int unri_enter_register(struct io_uring *ring, unsigned opcode, void *argument, unsigned count);

/* Tells whether a wait can end at a point in time, not after a duration: IORING_ENTER_ABS_TIMER.
 * 1 is yes and 0 no; a negative errno says that io_uring_enter(2) is forbidden. */
int unri_enter_has_absolute(struct io_uring *ring);

/* Calls io_uring_enter(2): submits `to_submit` SQEs, runs the work that the kernel has deferred,
 * and waits until `min_complete` CQEs are there or `deadline` has come (INT64_MIN is always past).
 * Returns how many SQEs the kernel took, or a negative errno: -ETIME, -EINTR and others. */
int unri_enter(struct io_uring *ring, unsigned to_submit, unsigned min_complete, unr_time deadline,
               bool absolute);

/* Tells whether writes can be told not to raise SIGPIPE: RWF_NOSIGNAL. */
bool unri_enter_has_nosignal(void);

/* Where the kernel waits in a read or write of `fd`, as far as that can be told: fstat(2), and what
 * /proc says. */
enum unri_waits unri_enter_waits(int fd);

/* Closes `fd` here and now: close(2).  0 or a negative errno. */
int unri_enter_close_now(int fd);

/* What the descriptor `fd` carries: getsockopt(2). */
enum unri_carries unri_enter_carries(int fd);

/* What `fd` is to be read as: getsockopt(2). */
enum unri_source unri_enter_source(int fd);

/* Tells whether `fd` is a stream of AF_UNIX: getsockopt(2). */
bool unri_enter_is_local_stream(int fd);

/* Tells whether the peer of a socket will send no more: poll(2). */
bool unri_enter_peer_has_ended(int fd);

/* Reads what is there into the pieces, and does not wait: recv(2), recvmsg(2), or poll(2) and
 * readv(2).  Returns a count, 0 at the end, or a negative errno; -EAGAIN: nothing is there.  A file
 * that a poll calls readable and that waits all the same, as a terminal with VMIN, waits here. */
ssize_t unri_enter_receive(int fd, enum unri_source source, const struct iovec *pieces, unsigned n);

/* The same with the name of the sender, control data and flags: recvmsg(2).  A file has none. */
ssize_t unri_enter_receive_message(int fd, enum unri_source source, struct msghdr *message);

/* Sends what the pieces hold, as far as there is room, and does not wait: send(2), sendmsg(2) with
 * MSG_DONTWAIT.  Returns a count or a negative errno; -EAGAIN: there is no room. */
ssize_t unri_enter_send(int fd, const struct iovec *pieces, unsigned n, unsigned flags);

/* Tells what closing `fd` does to the thread that closes it.  That costs a socket one system call,
 * other files two or three. */
enum unri_closing unri_enter_closing(int fd);

/* Returns a second number for the file of `fd`, close-on-exec: fcntl(2).  Negative: none is left.
 */
int unri_enter_second_number(int fd);

#endif
