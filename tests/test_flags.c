/* SPDX-License-Identifier: MIT */
/* Each flag that Linux 6.18 knows, for each call that takes flags: what it does here.
 *
 * The table at the end has a line for each.  Most lines say SAME: the operation ends with what the
 * plain system call returns in the same place, and leaves the same behind.  That is tried with
 * both, so such a line holds on a kernel that does not know the flag, too.  The others say what
 * differs. A flag that is not in the table is passed on: each call has a line for a bit that no
 * kernel knows today. */
#define SUPPORT_KERNEL
#include "../uring/row.h"
#include "support.h"

#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/stat.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/xattr.h>

TestSuite(flags, .timeout = 60);

/* ---- flags that the C library's headers may lack ---- */

enum {
    F_MSG_PROBE = 0x10,
    F_MSG_NO_SHARED_FRAGS = 0x80000,
    F_MSG_SENDPAGE_DECRYPTED = 0x100000,
    F_MSG_SOCK_DEVMEM = 0x2000000,
    F_MSG_SPLICE_PAGES = 0x8000000,
    F_MSG_UNKNOWN = 0x400000,
    F_RWF_NOAPPEND = 0x20,
    F_RWF_ATOMIC = 0x40,
    F_RWF_DONTCACHE = 0x80,
    F_RWF_NOSIGNAL = 0x100,
    F_RWF_UNKNOWN = 0x40000000,
    F_FALLOC_WRITE_ZEROES = 0x80,
};
#define F_MSG_CMSG_COMPAT 0x80000000u
#define F_FD_IN_FIXED     0x80000000u

/* ---- a place: where a call is made ---- */

enum { ROOM = 32 };

struct place {
    int  fds[6]; /* -1: none; closed at the end */
    int  made;   /* a descriptor that the call made; -1: none */
    int  pair[2];
    char buffer[ROOM];
    _Alignas(16) char control[64];
    struct iovec            piece;
    struct msghdr           message;
    struct sockaddr_storage address;
    socklen_t               address_len;
    char                    folder[32];
    char                    path[64], other[64];
    struct statx            stat;
    siginfo_t               info;
    pid_t                   child;
    _Alignas(16) uint32_t futex[4];
    union {
        struct unr_op       op;
        struct unr_datagram datagram;
    } call;
    char left[256]; /* what the call has left behind, as text */
};

static void left(struct place *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void left(struct place *p, const char *format, ...)
{
    size_t  used = strlen(p->left);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(p->left + used, sizeof p->left - used, format, arguments);
    va_end(arguments);
}

static void left_bytes(struct place *p, const char *bytes, ssize_t n)
{
    left(p, "[%zd:%.*s]", n, n > 0 ? (int)n : 0, bytes);
}

static void clear_place(struct place *p)
{
    memset(p, 0, sizeof *p);
    for (size_t i = 0; i < LENGTH(p->fds); i++)
        p->fds[i] = -1;
    p->made = p->pair[0] = p->pair[1] = -1;
    memset(p->buffer, '-', sizeof p->buffer);
    p->piece = (struct iovec){ p->buffer, 4 };
    p->message = (struct msghdr){ .msg_iov = &p->piece, .msg_iovlen = 1 };
}

static void leave_place(struct place *p)
{
    for (size_t i = 0; i < LENGTH(p->fds); i++)
        if (p->fds[i] >= 0)
            close(p->fds[i]);
    if (p->made >= 0)
        close(p->made);
    for (int i = 0; i < 2; i++)
        if (p->pair[i] >= 0)
            close(p->pair[i]);
    if (p->child > 0) {
        kill(p->child, SIGKILL);
        waitpid(p->child, NULL, 0);
    }
    if (p->folder[0]) {
        unlink(p->path);
        rmdir(p->path);
        unlink(p->other);
        rmdir(p->folder);
    }
}

/* ---- places to receive in ---- */

static void say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void at_empty_stream(struct place *p)
{
    tcp_pair(p->fds);
}

static void at_stream(struct place *p)
{
    tcp_pair(p->fds);
    say(p->fds[1], "0123456789");
    wait_readable(p->fds[0]);
}

/* More is asked for than there is. */
static void at_short_stream(struct place *p)
{
    at_stream(p);
    p->piece.iov_len = ROOM;
}

static void at_urgent_byte(struct place *p)
{
    at_stream(p);
    cr_assert_eq(send(p->fds[1], "!", 1, MSG_OOB), 1);
    struct pollfd urgent = { .fd = p->fds[0], .events = POLLPRI };
    cr_assert_eq(poll(&urgent, 1, -1), 1);
}

static void at_unix_pair(struct place *p, int type)
{
    cr_assert_eq(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, p->fds), 0);
    say(p->fds[1], "0123456789");
    say(p->fds[1], "abc");
}

static void at_datagrams(struct place *p)
{
    at_unix_pair(p, SOCK_DGRAM);
}

static void at_datagrams_with_room(struct place *p)
{
    at_datagrams(p);
    p->piece.iov_len = ROOM;
}

static void at_records(struct place *p)
{
    at_unix_pair(p, SOCK_SEQPACKET);
    p->piece.iov_len = ROOM;
}

/* A datagram was sent to a port at which nobody is. */
static void at_error(struct place *p)
{
    struct sockaddr_in nobody = { .sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t          len = sizeof nobody;
    int                yes = 1, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&nobody, len), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&nobody, &len), 0);
    close(fd);
    p->fds[0] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(setsockopt(p->fds[0], IPPROTO_IP, IP_RECVERR, &yes, sizeof yes), 0);
    cr_assert_eq(connect(p->fds[0], (struct sockaddr *)&nobody, len), 0);
    cr_assert_eq(send(p->fds[0], "lost", 4, 0), 4);
    struct pollfd error = { .fd = p->fds[0] };
    cr_assert_eq(poll(&error, 1, -1), 1);
}

static void at_rights(struct place *p)
{
    _Alignas(16) char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec      piece = { (char *)"r", 1 };
    struct msghdr     message = {
            .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control
    };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    unix_pair(p->fds);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &p->fds[0], sizeof(int));
    cr_assert_eq(sendmsg(p->fds[1], &message, 0), 1);
    p->message.msg_control = p->control;
    p->message.msg_controllen = sizeof p->control;
}

static long plain_recv(struct place *p, unsigned flags)
{
    return result_of(recv(p->fds[0], p->buffer, p->piece.iov_len, (int)flags));
}

static struct unr_op *describe_recv(struct place *p, unsigned flags)
{
    return unr_recv(&p->call.op, p->fds[0], p->buffer, p->piece.iov_len, (int)flags);
}

static struct unr_op *describe_recvfrom(struct place *p, unsigned flags)
{
    return unr_recvfrom(&p->call.datagram, p->fds[0], p->buffer, p->piece.iov_len, (int)flags, NULL,
                        NULL);
}

static long plain_recvmsg(struct place *p, unsigned flags)
{
    return result_of(syscall(SYS_recvmsg, p->fds[0], &p->message, flags));
}

static struct unr_op *describe_recvmsg(struct place *p, unsigned flags)
{
    return unr_recvmsg(&p->call.op, p->fds[0], &p->message, (int)flags);
}

/* The buffer, what the message says, and how much is still to be had. */
static void look_at_received(struct place *p)
{
    char rest[ROOM];
    left_bytes(p, p->buffer, ROOM);
    left(p, "%#x %zu ", p->message.msg_flags, p->message.msg_controllen);
    struct cmsghdr *header = p->message.msg_control ? CMSG_FIRSTHDR(&p->message) : NULL;
    if (header && header->cmsg_type == SCM_RIGHTS) {
        memcpy(&p->made, CMSG_DATA(header), sizeof p->made);
        left(p, "cloexec %d ", fcntl(p->made, F_GETFD));
    }
    left_bytes(p, rest, recv(p->fds[0], rest, sizeof rest, MSG_DONTWAIT));
}

/* ---- places to send in ---- */

static void at_sender(struct place *p)
{
    tcp_pair(p->fds);
    memcpy(p->buffer, "send", 4);
}

static void at_full_sender(struct place *p)
{
    unix_pair(p->fds);
    static const char bytes[4096];
    while (send(p->fds[0], bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
    memcpy(p->buffer, "send", 4);
}

static void at_sender_of(struct place *p, int type)
{
    cr_assert_eq(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, p->fds), 0);
    memcpy(p->buffer, "send", 4);
}

static void at_sender_of_datagrams(struct place *p)
{
    at_sender_of(p, SOCK_DGRAM);
}

static void at_sender_of_records(struct place *p)
{
    at_sender_of(p, SOCK_SEQPACKET);
}

static void at_sender_of_udp(struct place *p)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t          len = sizeof address;
    for (int i = 0; i < 2; i++)
        p->fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(p->fds[1], (struct sockaddr *)&address, len), 0);
    cr_assert_eq(getsockname(p->fds[1], (struct sockaddr *)&address, &len), 0);
    cr_assert_eq(connect(p->fds[0], (struct sockaddr *)&address, len), 0);
    memcpy(p->buffer, "send", 4);
}

/* A TCP socket that is not connected, and somebody to connect to. */
static void at_sender_without_connection(struct place *p)
{
    p->address_len = sizeof(struct sockaddr_in);
    p->fds[1] = tcp_listener((struct sockaddr_in *)&p->address, 1);
    p->fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    p->message.msg_name = &p->address;
    p->message.msg_namelen = p->address_len;
    memcpy(p->buffer, "send", 4);
}

static const struct sockaddr *to(const struct place *p)
{
    return p->address_len ? (const struct sockaddr *)&p->address : NULL;
}

static long plain_send(struct place *p, unsigned flags)
{
    return result_of(
        sendto(p->fds[0], p->buffer, 4, (int)flags | MSG_NOSIGNAL, to(p), p->address_len));
}

static struct unr_op *describe_send(struct place *p, unsigned flags)
{
    return unr_send(&p->call.op, p->fds[0], p->buffer, 4, (int)flags);
}

static struct unr_op *describe_send_now(struct place *p, unsigned flags)
{
    return unr_send_now(&p->call.op, p->fds[0], p->buffer, 4, (int)flags);
}

static struct unr_op *describe_sendto(struct place *p, unsigned flags)
{
    return unr_sendto(&p->call.op, p->fds[0], p->buffer, 4, (int)flags, to(p), p->address_len);
}

static long plain_sendmsg(struct place *p, unsigned flags)
{
    return result_of(syscall(SYS_sendmsg, p->fds[0], &p->message, flags | MSG_NOSIGNAL));
}

static struct unr_op *describe_sendmsg(struct place *p, unsigned flags)
{
    return unr_sendmsg(&p->call.op, p->fds[0], &p->message, (int)flags);
}

/* What the peer has: of a stream when it is over, so that nothing is still on its way. */
static void look_at_sent(struct place *p)
{
    char      bytes[ROOM];
    int       mark = -1, type;
    socklen_t len = sizeof type;
    if (p->address_len)
        return;
    getsockopt(p->fds[0], SOL_SOCKET, SO_TYPE, &type, &len);
    shutdown(p->fds[0], SHUT_WR);
    left_bytes(p, bytes,
               recv(p->fds[1], bytes, sizeof bytes, type == SOCK_DGRAM ? MSG_DONTWAIT : 0));
    ioctl(p->fds[1], SIOCATMARK, &mark);
    left(p, "%d", mark);
}

/* ---- descriptors that a call makes ---- */

static void look_at_made(struct place *p)
{
    for (int i = 0; i < 3; i++) {
        int fd = i ? p->pair[i - 1] : p->made;
        if (fd >= 0)
            left(p, "(%#x %#x)", (unsigned)fcntl(fd, F_GETFD), (unsigned)fcntl(fd, F_GETFL));
    }
    if (p->folder[0]) {
        struct stat stat = { 0 };
        left(p, "%d", lstat(p->path, &stat));
        left(p, " %ld", (long)stat.st_size);
    }
}

static void at_listener(struct place *p)
{
    struct sockaddr_in address;
    p->fds[0] = tcp_listener(&address, 1);
    p->fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(p->fds[1], (struct sockaddr *)&address, sizeof address), 0);
}

static long plain_accept(struct place *p, unsigned flags)
{
    return result_of(p->made = accept4(p->fds[0], NULL, NULL, (int)flags));
}

static struct unr_op *describe_accept(struct place *p, unsigned flags)
{
    return unr_accept(&p->call.op, p->fds[0], NULL, NULL, (int)flags);
}

static void at_nothing(struct place *p)
{
    (void)p;
}

static long plain_socket(struct place *p, unsigned flags)
{
    return result_of(p->made = socket(AF_INET, (int)(SOCK_STREAM | flags), 0));
}

static struct unr_op *describe_socket(struct place *p, unsigned flags)
{
    return unr_socket(&p->call.op, AF_INET, (int)(SOCK_STREAM | flags), 0);
}

static long plain_pipe(struct place *p, unsigned flags)
{
    return result_of(pipe2(p->pair, (int)flags));
}

static struct unr_op *describe_pipe(struct place *p, unsigned flags)
{
    return unr_pipe(&p->call.op, p->pair, (int)flags);
}

/* ---- files ---- */

static void at_folder(struct place *p)
{
    strcpy(p->folder, "/tmp/unring-flags-XXXXXX");
    cr_assert_not_null(mkdtemp(p->folder));
    snprintf(p->path, sizeof p->path, "%s/a", p->folder);
    snprintf(p->other, sizeof p->other, "%s/b", p->folder);
}

static void put(const char *path, const char *text, size_t len)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    cr_assert_eq(write(fd, text, len), (ssize_t)len);
    close(fd);
}

static void at_file(struct place *p)
{
    at_folder(p);
    put(p->path, "0123456789", 10);
    p->fds[0] = open(p->path, O_RDWR | O_CLOEXEC);
    memcpy(p->buffer, "rite", 4);
}

static void at_two_files(struct place *p)
{
    at_file(p);
    put(p->other, "other", 5);
}

/* A file of many blocks, for what works on blocks alone. */
static void at_large_file(struct place *p)
{
    static const char blocks[1 << 16] = { 1 };
    at_folder(p);
    put(p->path, blocks, sizeof blocks);
    p->fds[0] = open(p->path, O_RDWR | O_CLOEXEC);
}

static void at_subfolder(struct place *p)
{
    at_folder(p);
    cr_assert_eq(mkdir(p->path, 0700), 0);
}

static void at_link(struct place *p)
{
    at_folder(p);
    put(p->other, "other", 5);
    cr_assert_eq(symlink("b", p->path), 0);
}

static void look_at_file(struct place *p, const char *path)
{
    char        bytes[ROOM];
    struct stat stat = { 0 };
    int         fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    left_bytes(p, bytes, fd >= 0 ? read(fd, bytes, sizeof bytes) : -errno);
    if (fd >= 0)
        close(fd);
    if (lstat(path, &stat) == 0)
        left(p, "%#o %ld %ld %ld ", (unsigned)stat.st_mode, (long)stat.st_size, (long)stat.st_nlink,
             (long)stat.st_blocks);
}

static void look_at_files(struct place *p)
{
    look_at_made(p);
    look_at_file(p, p->path);
    look_at_file(p, p->other);
    left_bytes(p, p->buffer, 8);
}

static long plain_read_with(struct place *p, unsigned flags)
{
    return result_of(syscall(SYS_preadv2, p->fds[0], &p->piece, 1, 2L, 0L, flags));
}

static struct unr_op *describe_read_with(struct place *p, unsigned flags)
{
    return unr_read_with(&p->call.op, p->fds[0], &p->piece, 1, 2, (int)flags);
}

static long plain_write_with(struct place *p, unsigned flags)
{
    return result_of(syscall(SYS_pwritev2, p->fds[0], &p->piece, 1, 2L, 0L, flags));
}

static struct unr_op *describe_write_with(struct place *p, unsigned flags)
{
    return unr_write_with(&p->call.op, p->fds[0], &p->piece, 1, 2, (int)flags);
}

static void at_empty_pipe(struct place *p)
{
    cr_assert_eq(pipe2(p->fds, O_CLOEXEC), 0);
}

static long plain_read_pipe_with(struct place *p, unsigned flags)
{
    return result_of(syscall(SYS_preadv2, p->fds[0], &p->piece, 1, -1L, -1L, flags));
}

static struct unr_op *describe_read_pipe_with(struct place *p, unsigned flags)
{
    return unr_read_with(&p->call.op, p->fds[0], &p->piece, 1, -1, (int)flags);
}

static void look_at_buffer(struct place *p)
{
    left_bytes(p, p->buffer, 8);
}

/* ---- splice and tee ---- */

static void at_pipes(struct place *p)
{
    cr_assert_eq(pipe2(p->fds, O_CLOEXEC), 0);
    cr_assert_eq(pipe2(p->fds + 2, O_CLOEXEC), 0);
    cr_assert_eq(write(p->fds[1], "0123456789", 10), 10);
}

static void at_empty_pipes(struct place *p)
{
    cr_assert_eq(pipe2(p->fds, O_CLOEXEC), 0);
    cr_assert_eq(pipe2(p->fds + 2, O_CLOEXEC), 0);
}

static long plain_splice(struct place *p, unsigned flags)
{
    return result_of(splice(p->fds[0], NULL, p->fds[3], NULL, 4, flags));
}

static struct unr_op *describe_splice(struct place *p, unsigned flags)
{
    return unr_splice(&p->call.op, p->fds[0], -1, p->fds[3], -1, 4, flags);
}

static long plain_tee(struct place *p, unsigned flags)
{
    return result_of(tee(p->fds[0], p->fds[3], 4, flags));
}

static struct unr_op *describe_tee(struct place *p, unsigned flags)
{
    return unr_tee(&p->call.op, p->fds[0], p->fds[3], 4, flags);
}

static void look_at_pipes(struct place *p)
{
    char bytes[ROOM];
    for (int i = 0; i < 4; i += 2) {
        fcntl(p->fds[i], F_SETFL, O_NONBLOCK);
        left_bytes(p, bytes, read(p->fds[i], bytes, sizeof bytes));
    }
}

/* ---- calls on names and files ---- */

static long plain_openat(struct place *p, unsigned flags)
{
    return result_of(p->made = (int)syscall(SYS_openat, AT_FDCWD, p->path, flags, 0600));
}

static struct unr_op *describe_openat(struct place *p, unsigned flags)
{
    return unr_openat(&p->call.op, AT_FDCWD, p->path, (int)flags, 0600);
}

static long plain_open_folder(struct place *p, unsigned flags)
{
    return result_of(p->made = (int)syscall(SYS_openat, AT_FDCWD, p->folder, flags, 0600));
}

static struct unr_op *describe_open_folder(struct place *p, unsigned flags)
{
    return unr_openat(&p->call.op, AT_FDCWD, p->folder, (int)flags, 0600);
}

static long plain_fsync(struct place *p, unsigned flags)
{
    return result_of(flags ? fdatasync(p->fds[0]) : fsync(p->fds[0]));
}

static struct unr_op *describe_fsync(struct place *p, unsigned flags)
{
    return unr_fsync(&p->call.op, p->fds[0], flags);
}

static long plain_statx(struct place *p, unsigned flags)
{
    return result_of(syscall(SYS_statx, AT_FDCWD, p->path, flags, STATX_BASIC_STATS, &p->stat));
}

static struct unr_op *describe_statx(struct place *p, unsigned flags)
{
    return unr_statx(&p->call.op, AT_FDCWD, p->path, (int)flags, STATX_BASIC_STATS, &p->stat);
}

static long plain_statx_mask(struct place *p, unsigned mask)
{
    return result_of(syscall(SYS_statx, AT_FDCWD, p->path, 0, mask, &p->stat));
}

static struct unr_op *describe_statx_mask(struct place *p, unsigned mask)
{
    return unr_statx(&p->call.op, AT_FDCWD, p->path, 0, mask, &p->stat);
}

static long plain_statx_of_fd(struct place *p, unsigned flags)
{
    return result_of(syscall(SYS_statx, p->fds[0], "", flags, STATX_BASIC_STATS, &p->stat));
}

static struct unr_op *describe_statx_of_fd(struct place *p, unsigned flags)
{
    return unr_statx(&p->call.op, p->fds[0], "", (int)flags, STATX_BASIC_STATS, &p->stat);
}

static void look_at_stat(struct place *p)
{
    left(p, "%#x %#o %llu", p->stat.stx_mask, p->stat.stx_mode,
         (unsigned long long)p->stat.stx_size);
}

static long plain_fallocate(struct place *p, unsigned mode)
{
    return result_of(fallocate(p->fds[0], (int)mode, 4096, 8192));
}

static struct unr_op *describe_fallocate(struct place *p, unsigned mode)
{
    return unr_fallocate(&p->call.op, p->fds[0], (int)mode, 4096, 8192);
}

static long plain_fallocate_behind(struct place *p, unsigned mode)
{
    return result_of(fallocate(p->fds[0], (int)mode, 1 << 16, 8192));
}

static struct unr_op *describe_fallocate_behind(struct place *p, unsigned mode)
{
    return unr_fallocate(&p->call.op, p->fds[0], (int)mode, 1 << 16, 8192);
}

static long plain_fadvise(struct place *p, unsigned advice)
{
    return -posix_fadvise(p->fds[0], 0, 4096, (int)advice);
}

static struct unr_op *describe_fadvise(struct place *p, unsigned advice)
{
    return unr_fadvise(&p->call.op, p->fds[0], 0, 4096, (int)advice);
}

static long plain_sync_file_range(struct place *p, unsigned flags)
{
    return result_of(sync_file_range(p->fds[0], 0, 4096, flags));
}

static struct unr_op *describe_sync_file_range(struct place *p, unsigned flags)
{
    return unr_sync_file_range(&p->call.op, p->fds[0], 0, 4096, flags);
}

static long plain_unlinkat(struct place *p, unsigned flags)
{
    return result_of(unlinkat(AT_FDCWD, p->path, (int)flags));
}

static struct unr_op *describe_unlinkat(struct place *p, unsigned flags)
{
    return unr_unlinkat(&p->call.op, AT_FDCWD, p->path, (int)flags);
}

static long plain_setxattr(struct place *p, unsigned flags)
{
    return result_of(setxattr(p->path, "user.unring", "12", 2, (int)flags));
}

static struct unr_op *describe_setxattr(struct place *p, unsigned flags)
{
    return unr_setxattr(&p->call.op, p->path, "user.unring", "12", 2, (int)flags);
}

static void look_at_attribute(struct place *p)
{
    char bytes[ROOM];
    left_bytes(p, bytes, getxattr(p->path, "user.unring", bytes, sizeof bytes));
}

static long plain_renameat(struct place *p, unsigned flags)
{
    return result_of(syscall(SYS_renameat2, AT_FDCWD, p->path, AT_FDCWD, p->other, flags));
}

static struct unr_op *describe_renameat(struct place *p, unsigned flags)
{
    return unr_renameat(&p->call.op, AT_FDCWD, p->path, AT_FDCWD, p->other, flags);
}

static long plain_linkat(struct place *p, unsigned flags)
{
    return result_of(linkat(AT_FDCWD, p->path, AT_FDCWD, p->other, (int)flags));
}

static struct unr_op *describe_linkat(struct place *p, unsigned flags)
{
    return unr_linkat(&p->call.op, AT_FDCWD, p->path, AT_FDCWD, p->other, (int)flags);
}

static long plain_linkat_of_fd(struct place *p, unsigned flags)
{
    return result_of(linkat(p->fds[0], "", AT_FDCWD, p->other, (int)flags));
}

static struct unr_op *describe_linkat_of_fd(struct place *p, unsigned flags)
{
    return unr_linkat(&p->call.op, p->fds[0], "", AT_FDCWD, p->other, (int)flags);
}

static long plain_shutdown(struct place *p, unsigned how)
{
    return result_of(shutdown(p->fds[0], (int)how));
}

static struct unr_op *describe_shutdown(struct place *p, unsigned how)
{
    return unr_shutdown(&p->call.op, p->fds[0], (int)how);
}

/* ---- processes, futexes, readiness ---- */

static void fork_child(struct place *p, bool ends)
{
    p->child = fork();
    cr_assert_geq(p->child, 0);
    if (p->child == 0) {
        if (ends)
            _exit(7);
        for (;;)
            pause();
    }
    if (ends)
        cr_assert_eq(waitid(P_PID, (id_t)p->child, &p->info, WEXITED | WNOWAIT), 0);
    memset(&p->info, 0, sizeof p->info);
}

static void at_ended_child(struct place *p)
{
    fork_child(p, true);
}

static void at_running_child(struct place *p)
{
    fork_child(p, false);
}

static long plain_waitid(struct place *p, unsigned options)
{
    return result_of(syscall(SYS_waitid, P_PID, p->child, &p->info, options, NULL));
}

static struct unr_op *describe_waitid(struct place *p, unsigned options)
{
    return unr_waitid(&p->call.op, P_PID, (unsigned)p->child, &p->info, (int)options);
}

/* Each type of id, for the same process. */
static unsigned id_of(struct place *p, unsigned type)
{
    if (type == P_PIDFD && p->fds[0] < 0)
        p->fds[0] = (int)syscall(SYS_pidfd_open, p->child, 0);
    return type == P_PIDFD  ? (unsigned)p->fds[0]
           : type == P_PGID ? (unsigned)getpgid(p->child)
                            : (unsigned)p->child;
}

static long plain_waitid_of(struct place *p, unsigned type)
{
    return result_of(syscall(SYS_waitid, type, id_of(p, type), &p->info, WEXITED, NULL));
}

static struct unr_op *describe_waitid_of(struct place *p, unsigned type)
{
    return unr_waitid(&p->call.op, (int)type, id_of(p, type), &p->info, WEXITED);
}

static void look_at_child(struct place *p)
{
    left(p, "%d %d %d ", p->info.si_pid == p->child, p->info.si_code, p->info.si_status);
    left(p, "still there: %d", kill(p->child, 0));
    if (kill(p->child, 0) < 0)
        p->child = 0;
}

#ifndef SYS_futex_wake
#define SYS_futex_wake 454
#define SYS_futex_wait 455
#endif

/* It holds another value, so that a wait ends at once. */
static long plain_futex_wait(struct place *p, unsigned flags)
{
    return result_of(
        syscall(SYS_futex_wait, p->futex, 1UL, ~0UL & UINT32_MAX, flags, NULL, CLOCK_MONOTONIC));
}

static struct unr_op *describe_futex_wait(struct place *p, unsigned flags)
{
    return unr_futex_wait(&p->call.op, p->futex, 1, UINT32_MAX, flags);
}

static long plain_futex_wake(struct place *p, unsigned flags)
{
    return result_of(syscall(SYS_futex_wake, p->futex, (unsigned long)UINT32_MAX, 1, flags));
}

static struct unr_op *describe_futex_wake(struct place *p, unsigned flags)
{
    return unr_futex_wake(&p->call.op, p->futex, 1, UINT32_MAX, flags);
}

static long plain_poll(struct place *p, unsigned events)
{
    struct pollfd poll_fd = { .fd = p->fds[0], .events = (short)(events & 0xffff) };
    int           n = poll(&poll_fd, 1, -1);
    return n < 0 ? -errno : poll_fd.revents;
}

static struct unr_op *describe_poll(struct place *p, unsigned events)
{
    return unr_poll(&p->call.op, p->fds[0], events);
}

static void look_at_nothing(struct place *p)
{
    (void)p;
}

/* ---- the table ---- */

enum what {
    SAME,    /* it ends as the plain call does, and leaves the same behind */
    REFUSED, /* -EINVAL: the kernel does not see it */
    WAITS,   /* it waits, where the plain call does not */
    GIVES,   /* it ends with `result`, where the plain call does not */
    EITHER,  /* SAME, or with `result`: that depends on the file system, or on a sysctl */
};

struct line {
    const char *flag;
    unsigned    flags;
    enum what   what;
    long        result;
};

struct call {
    const char *name, *where;
    void (*set_up)(struct place *p);
    long (*plain)(struct place *p, unsigned flags);
    struct unr_op *(*describe)(struct place *p, unsigned flags);
    void (*look)(struct place *p);
    const struct line *lines; /* to one without a name */
};

/* clang-format off */
#define LINE(flag, what, result) { #flag, flag, what, result }
#define AS(flag)  { #flag, flag, SAME, 0 }
#define NOT(flag) { #flag, flag, REFUSED, 0 }
#define END { NULL, 0, SAME, 0 }

/* What each MSG_* does to a receive on a stream with more bytes than it asks for. */
#define RECEIVE_LINES \
    AS(0), AS(MSG_OOB), AS(MSG_PEEK), AS(MSG_DONTROUTE), AS(MSG_CTRUNC), AS(F_MSG_PROBE), \
    AS(MSG_TRUNC), AS(MSG_DONTWAIT), AS(MSG_EOR), AS(MSG_WAITALL), AS(MSG_FIN), AS(MSG_SYN), \
    AS(MSG_CONFIRM), AS(MSG_RST), AS(MSG_ERRQUEUE), AS(MSG_NOSIGNAL), AS(MSG_MORE), \
    AS(MSG_WAITFORONE), AS(MSG_BATCH), AS(F_MSG_NO_SHARED_FRAGS), AS(F_MSG_SENDPAGE_DECRYPTED), \
    AS(F_MSG_SOCK_DEVMEM), AS(MSG_ZEROCOPY), AS(F_MSG_SPLICE_PAGES), AS(MSG_FASTOPEN), \
    AS(MSG_CMSG_CLOEXEC), AS(F_MSG_UNKNOWN)

static const struct line receive_lines[] = { RECEIVE_LINES,
    AS(F_MSG_CMSG_COMPAT),
    NOT(MSG_PEEK | MSG_WAITALL),
    AS(MSG_TRUNC | MSG_WAITALL),
    AS(MSG_TRUNC | MSG_PEEK),
    AS(MSG_OOB | MSG_WAITALL),
    AS(MSG_ERRQUEUE | MSG_WAITALL),
    AS(MSG_DONTWAIT | MSG_WAITALL), END };
static const struct line receive_message_lines[] = { RECEIVE_LINES,
    NOT(F_MSG_CMSG_COMPAT),
    NOT(MSG_PEEK | MSG_WAITALL), END };
static const struct line receive_short_lines[] = {
    AS(0), AS(MSG_PEEK), AS(MSG_TRUNC),
    AS(MSG_DONTWAIT | MSG_WAITALL),
    NOT(MSG_PEEK | MSG_WAITALL), END };
static const struct line receive_nothing_lines[] = {
    AS(MSG_DONTWAIT), AS(MSG_DONTWAIT | MSG_WAITALL), AS(MSG_DONTWAIT | MSG_PEEK),
    AS(MSG_ERRQUEUE | MSG_DONTWAIT),
    LINE(MSG_ERRQUEUE, WAITS, 0), AS(MSG_OOB), END };
static const struct line receive_urgent_lines[] = {
    AS(0), AS(MSG_OOB), AS(MSG_OOB | MSG_PEEK),
    AS(MSG_OOB | MSG_WAITALL), END };
static const struct line receive_datagram_lines[] = {
    AS(0), AS(MSG_PEEK), AS(MSG_TRUNC), AS(MSG_TRUNC | MSG_PEEK),
    AS(MSG_WAITALL), AS(MSG_TRUNC | MSG_WAITALL), AS(MSG_OOB),
    AS(MSG_ERRQUEUE), AS(MSG_EOR), END };
static const struct line receive_error_lines[] = {
    AS(MSG_ERRQUEUE), AS(MSG_ERRQUEUE | MSG_PEEK), AS(MSG_ERRQUEUE | MSG_DONTWAIT),
    AS(MSG_ERRQUEUE | MSG_WAITALL), END };
static const struct line receive_rights_lines[] = {
    AS(0), AS(MSG_CMSG_CLOEXEC), NOT(F_MSG_CMSG_COMPAT), END };

#define SEND_LINES \
    AS(0), AS(MSG_OOB), AS(MSG_PEEK), AS(MSG_DONTROUTE), \
    AS(MSG_CTRUNC), AS(F_MSG_PROBE), AS(MSG_TRUNC), AS(MSG_DONTWAIT), \
    AS(MSG_EOR), AS(MSG_WAITALL), AS(MSG_FIN), AS(MSG_SYN), \
    AS(MSG_CONFIRM), AS(MSG_RST), AS(MSG_ERRQUEUE), AS(MSG_NOSIGNAL), \
    AS(MSG_MORE), AS(MSG_WAITFORONE), AS(MSG_BATCH), \
    AS(F_MSG_NO_SHARED_FRAGS), AS(F_MSG_SENDPAGE_DECRYPTED), \
    AS(F_MSG_SOCK_DEVMEM), AS(F_MSG_SPLICE_PAGES), \
    AS(MSG_CMSG_CLOEXEC), AS(F_MSG_UNKNOWN), \
    NOT(MSG_ZEROCOPY), NOT(MSG_ZEROCOPY | MSG_WAITALL)

static const struct line send_lines[] = { SEND_LINES,
    AS(F_MSG_CMSG_COMPAT), AS(MSG_FASTOPEN), END };
static const struct line send_message_lines[] = { SEND_LINES,
    NOT(F_MSG_CMSG_COMPAT), AS(MSG_FASTOPEN), END };
static const struct line send_full_lines[] = {
    AS(MSG_DONTWAIT), AS(MSG_DONTWAIT | MSG_WAITALL), END };
static const struct line send_connecting_lines[] = {
    AS(0), LINE(MSG_FASTOPEN, EITHER, -EINPROGRESS), END };

static const struct line accept_lines[] = {
    AS(0), AS(SOCK_CLOEXEC), AS(SOCK_NONBLOCK),
    AS(SOCK_CLOEXEC | SOCK_NONBLOCK), { "unknown", 0x400, SAME, 0 }, END };
static const struct line pipe_lines[] = {
    AS(0), AS(O_CLOEXEC), AS(O_NONBLOCK), AS(O_DIRECT),
    AS(O_CLOEXEC | O_NONBLOCK | O_DIRECT), AS(O_EXCL), AS(O_APPEND), END };

static const struct line read_lines[] = {
    AS(0), LINE(RWF_HIPRI, GIVES, -EINVAL), AS(RWF_DSYNC), AS(RWF_SYNC),
    LINE(RWF_NOWAIT, EITHER, -EAGAIN), AS(RWF_APPEND), AS(F_RWF_NOAPPEND),
    AS(F_RWF_ATOMIC), AS(F_RWF_DONTCACHE), AS(F_RWF_NOSIGNAL),
    AS(F_RWF_UNKNOWN), END };
static const struct line read_pipe_lines[] = { AS(RWF_NOWAIT), END };
static const struct line splice_lines[] = {
    AS(0), AS(SPLICE_F_MOVE), AS(SPLICE_F_NONBLOCK), AS(SPLICE_F_MORE),
    AS(SPLICE_F_GIFT), { "unknown", 16, SAME, 0 }, NOT(F_FD_IN_FIXED), END };
static const struct line splice_nothing_lines[] = { AS(SPLICE_F_NONBLOCK), END };

static const struct line open_lines[] = {
    AS(O_RDONLY), AS(O_WRONLY), AS(O_RDWR), AS(O_ACCMODE),
    AS(O_CREAT), AS(O_CREAT | O_EXCL), AS(O_EXCL), AS(O_NOCTTY),
    AS(O_RDWR | O_TRUNC), AS(O_APPEND | O_WRONLY), AS(O_NONBLOCK),
    AS(O_DSYNC | O_WRONLY), AS(O_SYNC | O_WRONLY), AS(FASYNC), AS(O_DIRECT),
    { "O_LARGEFILE", 0100000, SAME, 0 }, AS(O_DIRECTORY), AS(O_NOFOLLOW), AS(O_NOATIME),
    AS(O_CLOEXEC), AS(O_PATH), AS(O_PATH | O_NOFOLLOW | O_CLOEXEC),
    { "unknown", 0x40000000, SAME, 0 }, END };
static const struct line open_new_lines[] = {
    AS(O_RDONLY), AS(O_CREAT | O_RDWR), AS(O_CREAT | O_EXCL | O_CLOEXEC), END };
static const struct line open_folder_lines[] = {
    AS(O_DIRECTORY), AS(O_TMPFILE | O_RDWR), AS(O_TMPFILE),
    AS(O_TMPFILE | O_RDWR | O_EXCL), AS(O_PATH | O_DIRECTORY), AS(O_RDWR), END };

static const struct line fsync_lines[] = {
    AS(0), AS(IORING_FSYNC_DATASYNC), { "unknown", 2, GIVES, -EINVAL }, END };
static const struct line statx_lines[] = {
    AS(0), AS(AT_SYMLINK_NOFOLLOW), AS(AT_NO_AUTOMOUNT), AS(AT_EMPTY_PATH),
    AS(AT_STATX_FORCE_SYNC), AS(AT_STATX_DONT_SYNC), AS(AT_STATX_SYNC_TYPE),
    AS(AT_SYMLINK_FOLLOW), AS(AT_REMOVEDIR), AS(AT_RECURSIVE),
    { "unknown", 0x40000000, SAME, 0 }, END };
static const struct line statx_fd_lines[] = { AS(0), AS(AT_EMPTY_PATH), END };
static const struct line statx_mask_lines[] = {
    AS(0), AS(STATX_TYPE), AS(STATX_BASIC_STATS), AS(STATX_BTIME),
    AS(STATX_MNT_ID), { "STATX_DIOALIGN", 0x2000, SAME, 0 },
    { "STATX_MNT_ID_UNIQUE", 0x4000, SAME, 0 },
    { "STATX_SUBVOL", 0x8000, SAME, 0 }, { "STATX_WRITE_ATOMIC", 0x10000, SAME, 0 },
    { "STATX_DIO_READ_ALIGN", 0x20000, SAME, 0 }, { "unknown", 0x40000000, SAME, 0 },
    { "STATX__RESERVED", 0x80000000u, SAME, 0 }, END };
static const struct line fallocate_lines[] = {
    AS(0), AS(FALLOC_FL_KEEP_SIZE), AS(FALLOC_FL_PUNCH_HOLE),
    AS(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE), { "FALLOC_FL_NO_HIDE_STALE", 4, SAME, 0 },
    AS(FALLOC_FL_COLLAPSE_RANGE), AS(FALLOC_FL_ZERO_RANGE),
    AS(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE), AS(FALLOC_FL_INSERT_RANGE),
    AS(FALLOC_FL_UNSHARE_RANGE), AS(F_FALLOC_WRITE_ZEROES), { "unknown", 0x100, SAME, 0 }, END };
static const struct line fallocate_behind_lines[] = { AS(0), AS(FALLOC_FL_KEEP_SIZE), END };
static const struct line fadvise_lines[] = {
    AS(POSIX_FADV_NORMAL), AS(POSIX_FADV_RANDOM), AS(POSIX_FADV_SEQUENTIAL),
    AS(POSIX_FADV_WILLNEED), AS(POSIX_FADV_DONTNEED), AS(POSIX_FADV_NOREUSE),
    { "unknown", 8, SAME, 0 }, END };
static const struct line sync_range_lines[] = {
    AS(0), AS(SYNC_FILE_RANGE_WAIT_BEFORE), AS(SYNC_FILE_RANGE_WRITE),
    AS(SYNC_FILE_RANGE_WAIT_AFTER), AS(SYNC_FILE_RANGE_WRITE_AND_WAIT),
    { "unknown", 8, SAME, 0 }, END };
static const struct line unlink_lines[] = {
    AS(0), AS(AT_REMOVEDIR), AS(AT_SYMLINK_NOFOLLOW), { "unknown", 0x40000000, SAME, 0 }, END };
static const struct line setxattr_lines[] = {
    AS(0), AS(XATTR_CREATE), AS(XATTR_REPLACE), AS(XATTR_CREATE | XATTR_REPLACE),
    { "unknown", 8, SAME, 0 }, END };
static const struct line rename_lines[] = {
    AS(0), AS(RENAME_NOREPLACE), AS(RENAME_EXCHANGE), AS(RENAME_WHITEOUT),
    AS(RENAME_NOREPLACE | RENAME_EXCHANGE), AS(RENAME_WHITEOUT | RENAME_EXCHANGE),
    { "unknown", 8, SAME, 0 }, END };
static const struct line link_lines[] = {
    AS(0), AS(AT_SYMLINK_FOLLOW), AS(AT_EMPTY_PATH), AS(AT_SYMLINK_NOFOLLOW),
    { "unknown", 0x40000000, SAME, 0 }, END };
static const struct line link_fd_lines[] = { AS(0), AS(AT_EMPTY_PATH), END };
static const struct line shutdown_lines[] = {
    AS(SHUT_RD), AS(SHUT_WR), AS(SHUT_RDWR), { "unknown", 3, SAME, 0 }, END };

static const struct line wait_lines[] = {
    AS(WEXITED), AS(WEXITED | WNOHANG), AS(WEXITED | WNOWAIT), AS(0), AS(WNOHANG),
    AS(WNOWAIT), AS(WSTOPPED | WNOHANG), AS(WCONTINUED | WNOHANG),
    AS(WEXITED | WSTOPPED | WCONTINUED), AS(WEXITED | __WALL), AS(WEXITED | __WNOTHREAD),
    AS(WEXITED | __WCLONE | WNOHANG), { "unknown", WEXITED | 0x10, SAME, 0 }, END };
static const struct line wait_id_lines[] = {
    AS(P_PID), AS(P_ALL), AS(P_PGID), AS(P_PIDFD), { "unknown", 9, SAME, 0 }, END };
static const struct line wait_running_lines[] = {
    AS(WEXITED | WNOHANG), AS(WSTOPPED | WNOHANG), AS(WEXITED | WNOHANG | WNOWAIT), END };
static const struct line futex_lines[] = {
    { "FUTEX2_SIZE_U8", 0, SAME, 0 }, { "FUTEX2_SIZE_U16", 1, SAME, 0 },
    { "FUTEX2_SIZE_U32", 2, SAME, 0 },
    { "FUTEX2_SIZE_U64", 3, SAME, 0 }, { "FUTEX2_NUMA", 2 | 4, SAME, 0 },
    { "FUTEX2_MPOL", 2 | 8, SAME, 0 },
    { "FUTEX2_PRIVATE", 2 | 128, SAME, 0 }, { "unknown", 2 | 0x40, SAME, 0 },
    { "unknown", 2 | 0x10000, SAME, 0 }, END };
static const struct line poll_lines[] = {
    AS(POLLIN), AS(POLLIN | POLLPRI), AS(POLLIN | POLLOUT), AS(POLLIN | POLLERR),
    AS(POLLIN | POLLHUP), AS(POLLRDNORM), AS(POLLIN | POLLRDBAND), AS(POLLIN | POLLWRNORM),
    AS(POLLIN | POLLWRBAND), AS(POLLIN | POLLMSG), AS(POLLIN | POLLRDHUP),
    AS(POLLIN | POLLNVAL), { "POLL_BUSY_LOOP", POLLIN | 0x8000, SAME, 0 }, AS(POLLIN | EPOLLET),
    AS(POLLIN | EPOLLONESHOT), AS(POLLIN | EPOLLEXCLUSIVE), AS(POLLIN | EPOLLWAKEUP),
    { "unknown", POLLIN | 0x4000000, SAME, 0 }, END };

#define RECEIVE(name, where, set_up, plain, lines) \
    { #name, where, set_up, plain, describe_##name, look_at_received, lines }
#define RECEIVES(name, plain, lines) \
    RECEIVE(name, "a stream", at_stream, plain, lines), \
    RECEIVE(name, "a stream with less", at_short_stream, plain, receive_short_lines), \
    RECEIVE(name, "a stream with nothing", at_empty_stream, plain, receive_nothing_lines), \
    RECEIVE(name, "an urgent byte", at_urgent_byte, plain, receive_urgent_lines), \
    RECEIVE(name, "datagrams", at_datagrams, plain, receive_datagram_lines), \
    RECEIVE(name, "shorter datagrams", at_datagrams_with_room, plain, receive_datagram_lines), \
    RECEIVE(name, "records", at_records, plain, receive_datagram_lines), \
    RECEIVE(name, "an error", at_error, plain, receive_error_lines)
#define SEND(name, where, set_up, plain, look, lines) \
    { #name, where, set_up, plain, describe_##name, look, lines }
#define SENDS(name, plain, lines) \
    SEND(name, "a stream", at_sender, plain, look_at_sent, lines), \
    SEND(name, "unix datagrams", at_sender_of_datagrams, plain, look_at_sent, lines), \
    SEND(name, "records", at_sender_of_records, plain, look_at_sent, lines), \
    SEND(name, "UDP", at_sender_of_udp, plain, look_at_sent, lines), \
    SEND(name, "a full stream", at_full_sender, plain, look_at_nothing, send_full_lines)
/* clang-format on */

static const struct call calls[] = {
    RECEIVES(recv, plain_recv, receive_lines),
    RECEIVES(recvfrom, plain_recv, receive_lines),
    RECEIVES(recvmsg, plain_recvmsg, receive_message_lines),
    { "recvmsg", "a descriptor", at_rights, plain_recvmsg, describe_recvmsg, look_at_received,
      receive_rights_lines },
    SENDS(send, plain_send, send_lines),
    SENDS(send_now, plain_send, send_lines),
    SENDS(sendto, plain_send, send_lines),
    SENDS(sendmsg, plain_sendmsg, send_message_lines),
    { "sendto", "no connection", at_sender_without_connection, plain_send, describe_sendto,
      look_at_sent, send_connecting_lines },
    { "sendmsg", "no connection", at_sender_without_connection, plain_sendmsg, describe_sendmsg,
      look_at_sent, send_connecting_lines },
    { "accept", "a connection", at_listener, plain_accept, describe_accept, look_at_made,
      accept_lines },
    { "socket", "", at_nothing, plain_socket, describe_socket, look_at_made, accept_lines },
    { "pipe", "", at_nothing, plain_pipe, describe_pipe, look_at_made, pipe_lines },
    { "read_with", "a file", at_file, plain_read_with, describe_read_with, look_at_files,
      read_lines },
    { "read_with", "an empty pipe", at_empty_pipe, plain_read_pipe_with, describe_read_pipe_with,
      look_at_buffer, read_pipe_lines },
    { "write_with", "a file", at_file, plain_write_with, describe_write_with, look_at_files,
      read_lines },
    { "splice", "pipes", at_pipes, plain_splice, describe_splice, look_at_pipes, splice_lines },
    { "splice", "empty pipes", at_empty_pipes, plain_splice, describe_splice, look_at_pipes,
      splice_nothing_lines },
    { "tee", "pipes", at_pipes, plain_tee, describe_tee, look_at_pipes, splice_lines },
    { "tee", "empty pipes", at_empty_pipes, plain_tee, describe_tee, look_at_pipes,
      splice_nothing_lines },
    { "openat", "a file", at_file, plain_openat, describe_openat, look_at_files, open_lines },
    { "openat", "a link", at_link, plain_openat, describe_openat, look_at_files, open_lines },
    { "openat", "a new name", at_folder, plain_openat, describe_openat, look_at_files,
      open_new_lines },
    { "openat", "a folder", at_file, plain_open_folder, describe_open_folder, look_at_files,
      open_folder_lines },
    { "fsync", "a file", at_file, plain_fsync, describe_fsync, look_at_files, fsync_lines },
    { "statx", "a link", at_link, plain_statx, describe_statx, look_at_stat, statx_lines },
    { "statx", "a file", at_file, plain_statx_mask, describe_statx_mask, look_at_stat,
      statx_mask_lines },
    { "statx", "a descriptor", at_file, plain_statx_of_fd, describe_statx_of_fd, look_at_stat,
      statx_fd_lines },
    { "fallocate", "a file", at_large_file, plain_fallocate, describe_fallocate, look_at_files,
      fallocate_lines },
    { "fallocate", "behind a file", at_large_file, plain_fallocate_behind,
      describe_fallocate_behind, look_at_files, fallocate_behind_lines },
    { "fadvise", "a file", at_large_file, plain_fadvise, describe_fadvise, look_at_files,
      fadvise_lines },
    { "sync_file_range", "a file", at_large_file, plain_sync_file_range, describe_sync_file_range,
      look_at_files, sync_range_lines },
    { "unlinkat", "a file", at_file, plain_unlinkat, describe_unlinkat, look_at_files,
      unlink_lines },
    { "unlinkat", "a folder", at_subfolder, plain_unlinkat, describe_unlinkat, look_at_files,
      unlink_lines },
    { "setxattr", "a new attribute", at_file, plain_setxattr, describe_setxattr, look_at_attribute,
      setxattr_lines },
    { "renameat", "two files", at_two_files, plain_renameat, describe_renameat, look_at_files,
      rename_lines },
    { "renameat", "a file", at_file, plain_renameat, describe_renameat, look_at_files,
      rename_lines },
    { "linkat", "a file", at_file, plain_linkat, describe_linkat, look_at_files, link_lines },
    { "linkat", "a descriptor", at_file, plain_linkat_of_fd, describe_linkat_of_fd, look_at_files,
      link_fd_lines },
    { "shutdown", "a stream", at_stream, plain_shutdown, describe_shutdown, look_at_nothing,
      shutdown_lines },
    { "waitid", "one that has ended", at_ended_child, plain_waitid, describe_waitid, look_at_child,
      wait_lines },
    { "waitid", "each type of id", at_ended_child, plain_waitid_of, describe_waitid_of,
      look_at_child, wait_id_lines },
    { "waitid", "one that runs", at_running_child, plain_waitid, describe_waitid, look_at_child,
      wait_running_lines },
    { "futex_wait", "another value", at_nothing, plain_futex_wait, describe_futex_wait,
      look_at_nothing, futex_lines },
    { "futex_wake", "nobody", at_nothing, plain_futex_wake, describe_futex_wake, look_at_nothing,
      futex_lines },
    { "poll", "a stream", at_stream, plain_poll, describe_poll, look_at_nothing, poll_lines },
};

/* Calls without flags. */
static const char *const without[] = { "nop",          "read",      "write",      "readv",
                                       "writev",       "connect",   "epoll_wait", "close",
                                       "cancel_close", "bind",      "listen",     "getxattr",
                                       "fgetxattr",    "ftruncate", "symlinkat",  "mkdirat",
                                       "sqe" };

/* ---- walking it ---- */

static unsigned submitted;

static int count_submitted(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
                           void *argument, size_t size)
{
    submitted += to_submit;
    return kernel_enter(fd, to_submit, min_complete, flags, argument, size);
}

static long outcome(struct place *p, const struct unr_result *r)
{
    if (r->error)
        return r->error;
    if (r->fd >= 0)
        p->made = r->fd;
    return r->fd >= 0 ? 0 : (long)r->value;
}

/* One that waits although it is not to ends the test by its time-out, and says nothing else. */
static long run_it(struct place *p, const struct call *call, const struct line *line)
{
    struct seen seen = { 0 };
    submitted = 0;
    hook_enter = count_submitted;
    start(&seen, call->describe(p, line->flags));
    submit();
    if (line->what == WAITS) {
        cr_expect_eq(seen.runs, 0, "%s on %s, %s: it does not wait", call->name, call->where,
                     line->flag);
        unr_cancel(&p->call.op, UNR_CANCEL_ALL);
    }
    finish(&seen);
    return outcome(p, &seen.result);
}

static void walk_line(const struct call *call, const struct line *line)
{
    static struct place here, plain;
    char                name[128];
    snprintf(name, sizeof name, "%s on %s, %s", call->name, call->where, line->flag);
    clear_place(&here);
    call->set_up(&here);
    long result = run_it(&here, call, line);
    if (line->what == REFUSED) {
        cr_expect(result == -EINVAL && submitted == 0, "%s: %ld, not refused", name, result);
    } else if (line->what == GIVES) {
        cr_expect_eq(result, line->result, "%s: %ld", name, result);
    } else if (line->what == SAME || line->what == EITHER) {
        clear_place(&plain);
        call->set_up(&plain);
        long expected = call->plain(&plain, line->flags);
        if (plain.made >= 0)
            expected = 0;
        call->look(&here);
        call->look(&plain);
        bool ends = result == expected || (line->what == EITHER && result == line->result);
        cr_expect(ends && strcmp(here.left, plain.left) == 0, "%s: %ld, not %ld; left %s, not %s",
                  name, result, expected, here.left, plain.left);
        leave_place(&plain);
    }
    leave_place(&here);
}

static struct criterion_test_params every_call(void)
{
    static unsigned indexes[LENGTH(calls)];
    size_t          n = 0;
    for (unsigned i = 0; i < LENGTH(calls); i++)
        indexes[n++] = i;
    return cr_make_param_array(unsigned, indexes, n);
}

ParameterizedTestParameters(flags, do_what_the_table_says)
{
    return every_call();
}

/* Each line of a call in one place is as the table has it. */
ParameterizedTest(unsigned *index, flags, do_what_the_table_says)
{
    const struct call *call = &calls[*index];
    open_loop();
    for (unsigned i = 0; i < unri_row_count; i++)
        if (strcmp(unri_rows[i]->type.name, call->name) == 0
            && !unri_ring_has(loop->ring, unri_rows[i]->opcode))
            cr_skip_test("this kernel's io_uring has no %s", call->name);
    for (const struct line *line = call->lines; line->flag; line++)
        walk_line(call, line);
    close_loop();
}

static bool is_here(const char *name)
{
    for (size_t i = 0; i < LENGTH(calls); i++)
        if (strcmp(calls[i].name, name) == 0)
            return true;
    for (size_t i = 0; i < LENGTH(without); i++)
        if (strcmp(without[i], name) == 0)
            return true;
    return false;
}

/* No call of the library is missing from the table. */
Test(flags, of_every_call_are_here)
{
    for (unsigned i = 0; i < unri_row_count; i++)
        if (!is_here(unri_rows[i]->type.name))
            cr_expect_fail("%s has no lines here", unri_rows[i]->type.name);
}
