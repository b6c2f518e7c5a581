/* SPDX-License-Identifier: MIT */
/* The real kernel: every call here crosses into it. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../lib/core/os.h"
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
    /* A registered ring saves each call the look-up of its descriptor.  A thread may register 16
     * rings, and its other rings do without. */
    if (error >= 0)
        io_uring_register_ring_fd(ring);
    return error < 0 ? error : 0;
}

int unri_enter_register(struct io_uring *ring, unsigned opcode, void *argument, unsigned count)
{
    return io_uring_register((unsigned)ring->ring_fd, opcode, argument, count);
}

int unri_enter_has_absolute(struct io_uring *ring)
{
    /* The kernel refuses an unknown flag before it looks at the descriptor, and -1 is none. */
    (void)ring;
    int error = io_uring_enter2((unsigned)-1, 0, 0, UNRI_ENTER_ABS_TIMER, NULL, 0);
    return error == -EBADF ? 1 : error == -EINVAL ? 0 : error;
}

/* Apart from the rest, which needs no stack of its own. */
__attribute__((noinline)) static int enter_until(struct io_uring *ring, unsigned to_submit,
                                                 unsigned flags, unsigned min_complete,
                                                 unr_time deadline, bool absolute)
{
    unr_time at = absolute ? deadline : unri_time_left(deadline);
    at = at > 0 ? at : 0;
    struct __kernel_timespec      time = { .tv_sec = at / UNR_SEC(1), .tv_nsec = at % UNR_SEC(1) };
    struct io_uring_getevents_arg argument = { .sigmask_sz = _NSIG / 8, .ts = (uintptr_t)&time };
    flags |= IORING_ENTER_EXT_ARG | (absolute ? UNRI_ENTER_ABS_TIMER : 0);
    return io_uring_enter2((unsigned)ring->enter_ring_fd, to_submit, min_complete, flags,
                           (sigset_t *)&argument, sizeof argument);
}

int unri_enter(struct io_uring *ring, unsigned to_submit, unsigned min_complete, unr_time deadline,
               bool absolute)
{
    unsigned flags = IORING_ENTER_GETEVENTS;
    if (ring->enter_ring_fd != ring->ring_fd)
        flags |= IORING_ENTER_REGISTERED_RING;
    if (min_complete && deadline != UNR_NEVER)
        return enter_until(ring, to_submit, flags, min_complete, deadline, absolute);
    return io_uring_enter2((unsigned)ring->enter_ring_fd, to_submit, min_complete, flags, NULL,
                           _NSIG / 8);
}

/* A read at the end of an empty file, for which the kernel looks at the flag as it does for a
 * write.  A write would raise SIGXFSZ where RLIMIT_FSIZE is 0. */
bool unri_enter_has_nosignal(void)
{
    int fd = memfd_create("unring", MFD_CLOEXEC);
    if (fd < 0)
        return false;
    char         room;
    struct iovec byte = { .iov_base = &room, .iov_len = 1 };
#ifdef __GLIBC__
    bool has = preadv2(fd, &byte, 1, 0, UNRI_RWF_NOSIGNAL) == 0;
#else
    bool        has = syscall(SYS_preadv2, fd, &byte, 1, 0, 0, UNRI_RWF_NOSIGNAL) == 0;
#endif
    close(fd);
    return has;
}

/* Reads what proc(5) has of a descriptor; nothing where there is no /proc. */
static void read_fdinfo(int fd, char *text, size_t size)
{
    char path[48];
    snprintf(path, sizeof path, "/proc/thread-self/fdinfo/%d", fd);
    int     info = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = info < 0 ? 0 : read(info, text, size - 1);
    text[n > 0 ? n : 0] = 0;
    if (info >= 0)
        close(info);
}

/* Tells whether a read of `fd` may report that the clock was set. */
static bool may_report_the_clock(int fd, const char *info)
{
    static const char key[] = "settime flags:";
    const char       *flags = strstr(info, key);
    struct itimerspec left;
    if (flags)
        return strtoul(flags + sizeof key - 1, NULL, 8) & TFD_TIMER_CANCEL_ON_SET;
    return timerfd_gettime(fd, &left) == 0;
}

enum unri_waits unri_enter_waits(int fd)
{
    char        info[512];
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
        return UNRI_WAITS_IN_TASK;
    read_fdinfo(fd, info, sizeof info);
    if (may_report_the_clock(fd, info))
        return UNRI_WAITS_FOR_CLOCK;
    return strstr(info, "eventfd-count:") ? UNRI_WAITS_IN_TASK : UNRI_WAITS_IN_WORKER;
}

int unri_enter_close_now(int fd)
{
    return close(fd) < 0 ? -errno : 0;
}

enum unri_carries unri_enter_carries(int fd)
{
    int       type, domain;
    socklen_t len = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type == SOCK_STREAM)
        return UNRI_CARRIES_BYTES;
    if (type == SOCK_SEQPACKET)
        return UNRI_CARRIES_RECORDS;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX)
        return UNRI_CARRIES_DATAGRAMS;
    return UNRI_CARRIES_LOCAL_DATAGRAMS;
}

struct looks {
    mode_t   mode;
    uint64_t links;
};

/* DONT_SYNC: a file system on the network is not asked, or the question itself would wait.  (An
 * older musl has no statx().) */
static bool look_at(int fd, struct looks *ret_looks)
{
#ifdef STATX_NLINK
    const unsigned mask = STATX_TYPE | STATX_NLINK;
    struct statx   stat;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, mask, &stat) < 0)
        return false;
    *ret_looks = (struct looks){ stat.stx_mode, stat.stx_nlink };
#else
    struct stat stat;
    if (fstat(fd, &stat) < 0)
        return false;
    *ret_looks = (struct looks){ stat.st_mode, stat.st_nlink };
#endif
    return true;
}

static enum unri_closing closing_no_socket(int fd)
{
    struct looks file;
    if (!look_at(fd, &file))
        return UNRI_CLOSING_IS_QUICK_NOW;
    switch (file.mode & S_IFMT) {
    /* ext4 and others allocate blocks in the close of a file with a name, if it was cut to nothing
     * and written anew, which takes time.  But the close of its second number, by a worker, would
     * drop the locks of fcntl(2) that the program may have taken anew by then. */
    case S_IFREG: return file.links == 0 ? UNRI_CLOSING_WAITS : UNRI_CLOSING_IS_QUICK_NOW;
    case S_IFBLK: return UNRI_CLOSING_WAITS;
    case S_IFCHR: return isatty(fd) ? UNRI_CLOSING_WAITS : UNRI_CLOSING_IS_QUICK_NOW;
    default: return UNRI_CLOSING_IS_QUICK;
    }
}

enum unri_closing unri_enter_closing(int fd)
{
    struct linger linger;
    socklen_t     len = sizeof linger;
    if (getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len) == 0)
        return linger.l_onoff && linger.l_linger > 0 ? UNRI_CLOSING_LINGERS : UNRI_CLOSING_IS_QUICK;
    return errno == ENOTSOCK ? closing_no_socket(fd) : UNRI_CLOSING_IS_QUICK_NOW;
}

enum unri_source unri_enter_source(int fd)
{
    int       type;
    socklen_t len = sizeof type;
    bool      is_file = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 && errno == ENOTSOCK;
    return is_file ? UNRI_SOURCE_FILE : UNRI_SOURCE_SOCKET;
}

bool unri_enter_is_local_stream(int fd)
{
    int       domain;
    socklen_t len = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX
           && unri_enter_carries(fd) == UNRI_CARRIES_BYTES;
}

bool unri_enter_peer_has_ended(int fd)
{
    struct pollfd look = { .fd = fd, .events = POLLRDHUP };
    return poll(&look, 1, 0) == 1 && look.revents & (POLLRDHUP | POLLHUP);
}

static struct msghdr message_of(const struct iovec *pieces, unsigned n)
{
    struct msghdr message = { .msg_iov = (struct iovec *)pieces };
    message.msg_iovlen = (__typeof__(message.msg_iovlen))n; /* size_t in glibc, int in musl */
    return message;
}

static ssize_t receive(int fd, const struct iovec *pieces, unsigned n)
{
    struct msghdr message = message_of(pieces, n);
    return n == 1 ? recv(fd, pieces->iov_base, pieces->iov_len, MSG_DONTWAIT)
                  : recvmsg(fd, &message, MSG_DONTWAIT);
}

/* Other files need not be O_NONBLOCK, nor be made so behind the back of those who share them. */
static ssize_t read_if_ready(int fd, const struct iovec *pieces, unsigned n)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    int           ready = poll(&poll_fd, 1, 0);
    if (ready == 0)
        errno = EAGAIN;
    return ready > 0 ? readv(fd, pieces, (int)n) : -1;
}

ssize_t unri_enter_receive(int fd, enum unri_source source, const struct iovec *pieces, unsigned n)
{
    ssize_t count;
    do
        count = source == UNRI_SOURCE_FILE ? read_if_ready(fd, pieces, n) : receive(fd, pieces, n);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

ssize_t unri_enter_receive_message(int fd, enum unri_source source, struct msghdr *message)
{
    ssize_t count;
    if (source == UNRI_SOURCE_FILE) {
        message->msg_namelen = 0;
        message->msg_controllen = 0;
        message->msg_flags = 0;
        return unri_enter_receive(fd, source, message->msg_iov, (unsigned)message->msg_iovlen);
    }
    do
        count = recvmsg(fd, message, MSG_DONTWAIT);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

ssize_t unri_enter_send(int fd, const struct iovec *pieces, unsigned n, unsigned flags)
{
    const struct msghdr message = message_of(pieces, n);
    ssize_t             count;
    flags |= MSG_DONTWAIT;
    do
        count = n == 1 ? send(fd, pieces->iov_base, pieces->iov_len, (int)flags)
                       : sendmsg(fd, &message, (int)flags);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

int unri_enter_second_number(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}
