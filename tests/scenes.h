/* SPDX-License-Identifier: MIT */
/* Scenes for the system calls, and the table that says how each of them is played.
 *
 * A scene is what a call works on: descriptors, peers, a folder, a child.  A row of the table
 * `rows` says how to set it so that the call waits, if it can wait; what event lets it complete;
 * and how to tell from the scene what the call did: after a success `verify` finds the effect,
 * after a cancellation it finds by plain system calls that everything is still there to be had. */
#ifndef TESTS_SCENES_H
#define TESTS_SCENES_H

#include "../lib/loop/loop.h"
#include "../uring/ring.h"
#include "../lib/core/cancel.h"
#include "../uring/row.h"
#include "fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>

enum {
    SIZE = 64,     /* bytes that a small transfer moves */
    LARGE = 65536, /* more than any full pipe or socket of ours */
    UNTOUCHED = 0xee,
    RACES = 40,
    CAUSE = -4711, /* of a requester's own */
};

/* ---- what is asserted, and what is taken for granted ---- */

static char where[160]; /* row and situation, for messages */

/* Not in the racing thread: a failing assertion jumps. */
#define check(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            cr_assert_fail("%s: %s", where, #condition);                                           \
    } while (0)
#define check_is(value, expected)                                                                  \
    do {                                                                                           \
        long long is_ = (long long)(value), expected_ = (long long)(expected);                     \
        if (is_ != expected_)                                                                      \
            cr_assert_fail("%s: %s is %lld, not %s (%lld)", where, #value, is_, #expected,         \
                           expected_);                                                             \
    } while (0)

/* Ends the test when the environment refuses what is taken for granted; else what the call
 * returned. */
#define must(call) must_not_fail((call), #call, __LINE__)

static int must_not_fail(long result, const char *call, int line)
{
    if (result < 0) {
        fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, line, call, strerror(errno));
        abort();
    }
    return (int)result;
}

/* ---- scenes ---- */

struct scene {
    int      fd;     /* what the call works on; -1: nothing that unr_cancel_fd() would find it on */
    int      peer;   /* at the other end of that */
    int      second; /* the other descriptor of a call on two, or another listener */
    int      second_peer;
    int      mine[12]; /* to be closed */
    unsigned count;
    bool     happened; /* the event that lets the call complete has been brought about */

    struct sockaddr_storage address;
    socklen_t               address_len;
    char                    folder[64];
    struct iovec            iov[2];
    struct msghdr           msg;
    struct statx            statx;
    siginfo_t               siginfo;
    pid_t                   child;
    uint32_t                futex;
    long                    woken;
    int                     pipe[2];
    size_t                  ready;   /* bytes that are there to be read from the start */
    size_t                  full;    /* bytes that keep a call from writing */
    size_t                  drained; /* bytes that the other end has taken since */
    size_t                  asked;   /* bytes that the call is to write */
    unsigned char           buffer[SIZE];
};

struct row {
    const char *name;    /* as in the library's table */
    const char *variant; /* "" for the plain form */
    unsigned    supports;
    void (*set_up)(struct scene *s);
    struct unr_op *(*describe)(struct unr_op *op, struct scene *s);
    /* Brings about what lets the call complete.  NULL: it waits for nothing.  Runs in another
     * thread, too. */
    void (*happen)(struct scene *s);
    /* Finds what `op`, which has ended, says that it did; `done`: it succeeded. */
    void (*verify)(struct scene *s, const struct unr_op *op, bool done);
    /* Describes an operation that is in flight before this one starts.  NULL: none. */
    struct unr_op *(*companion)(struct unr_op *op, struct scene *s);
};

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i % 251 + 1);
}

static unsigned char patterned[LARGE]; /* what is written, and read */

static int own(struct scene *s, int fd)
{
    s->mine[s->count++] = fd;
    return fd;
}

static void disown(struct scene *s, int fd)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->mine[i] == fd)
            s->mine[i] = -1;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static bool is_readable(int fd)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    return poll(&poll_fd, 1, 0) == 1;
}

static void set_nonblocking(int fd, bool on)
{
    must(fcntl(fd, F_SETFL, on ? O_NONBLOCK : 0));
}

/* What event the call waits for happens, unless it has. */
static void let_happen(const struct row *row, struct scene *s)
{
    if (row->happen && !s->happened)
        row->happen(s);
    s->happened = true;
}

static void nothing(struct scene *s)
{
    (void)s;
}

/* ---- nop ---- */

static struct unr_op *describe_nop(struct unr_op *op, struct scene *s)
{
    (void)s;
    return unr_nop(op);
}

static void verify_nothing(struct scene *s, const struct unr_op *op, bool done)
{
    (void)s, (void)op, (void)done;
}

/* ---- reading from a pipe or a socket ---- */

static void set_pipe(struct scene *s)
{
    int ends[2];
    must(pipe2(ends, O_CLOEXEC));
    s->fd = own(s, ends[0]);
    s->peer = own(s, ends[1]);
}

static void set_sockets(struct scene *s)
{
    int ends[2];
    unix_pair(ends);
    s->fd = own(s, ends[0]);
    s->peer = own(s, ends[1]);
}

static void set_tcp(struct scene *s)
{
    int                 ends[2];
    const struct linger none = { .l_onoff = 1 };
    tcp_pair(ends);
    s->fd = own(s, ends[0]);
    s->peer = own(s, ends[1]);
    must(setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none));
}

/* A part of what MSG_WAITALL waits for is there. */
static void set_half(struct scene *s)
{
    set_sockets(s);
    s->ready = must(write(s->peer, patterned, SIZE / 2));
}

static void set_half_tcp(struct scene *s)
{
    set_tcp(s);
    s->ready = must(write(s->peer, patterned, SIZE / 2));
}

static void happen_bytes(struct scene *s)
{
    must(write(s->peer, patterned + s->ready, SIZE - s->ready));
}

/* Byte by byte: with MSG_WAITALL the kernel goes on after each, and while it is about to, a cancel
 * does not find it. */
static void happen_dribble(struct scene *s)
{
    for (size_t i = s->ready; i < SIZE; i++)
        must(write(s->peer, patterned + i, 1));
}

static struct iovec *pieces(struct scene *s)
{
    s->iov[0] = (struct iovec){ s->buffer, SIZE / 4 };
    s->iov[1] = (struct iovec){ s->buffer + SIZE / 4, SIZE - SIZE / 4 };
    return s->iov;
}

static struct msghdr *message(struct scene *s)
{
    s->msg = (struct msghdr){ .msg_iov = pieces(s), .msg_iovlen = 2 };
    return &s->msg;
}

static struct unr_op *describe_read(struct unr_op *op, struct scene *s)
{
    return unr_read(op, s->fd, s->buffer, SIZE, -1);
}

static struct unr_op *describe_readv(struct unr_op *op, struct scene *s)
{
    return unr_readv(op, s->fd, pieces(s), 2, -1);
}

static struct unr_op *describe_read_with(struct unr_op *op, struct scene *s)
{
    return unr_read_with(op, s->fd, pieces(s), 2, -1, 0);
}

static struct unr_op *describe_recv(struct unr_op *op, struct scene *s)
{
    return unr_recv(op, s->fd, s->buffer, SIZE, 0);
}

static struct unr_op *describe_recv_all(struct unr_op *op, struct scene *s)
{
    return unr_recv(op, s->fd, s->buffer, SIZE, MSG_WAITALL);
}

static struct unr_op *describe_recvmsg(struct unr_op *op, struct scene *s)
{
    return unr_recvmsg(op, s->fd, message(s), 0);
}

static struct unr_op *describe_recvmsg_all(struct unr_op *op, struct scene *s)
{
    return unr_recvmsg(op, s->fd, message(s), MSG_WAITALL);
}

static void fill_recv(void *sqe, void *context)
{
    struct scene *s = context;
    io_uring_prep_recv(sqe, s->fd, s->buffer, SIZE, 0);
}

static struct unr_op *describe_sqe(struct unr_op *op, struct scene *s)
{
    return unr_sqe(op, "our recv", UNR_CANCEL_ALL, fill_recv, s);
}

static struct unr_op *describe_sqe_partial(struct unr_op *op, struct scene *s)
{
    return unr_sqe(op, "our recv", UNR_CANCEL_PARTIAL | UNR_CANCEL_TERMINAL, fill_recv, s);
}

static struct unr_op *describe_sqe_terminal(struct unr_op *op, struct scene *s)
{
    return unr_sqe(op, "our recv", UNR_CANCEL_TERMINAL, fill_recv, s);
}

static struct unr_op *describe_sqe_none(struct unr_op *op, struct scene *s)
{
    return unr_sqe(op, "our recv", UNR_CANCEL_NONE, fill_recv, s);
}

static size_t moved(const struct unr_op *op, bool done)
{
    if (op->type != &unri_row_sqe.type)
        return op->result.bytes;
    return done ? (size_t)op->result.value : 0;
}

static bool is_untouched(const void *memory, size_t len)
{
    const unsigned char *bytes = memory;
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != UNTOUCHED)
            return false;
    return true;
}

/* Takes what is left in a stream, which has `len` bytes or will have them at once. */
static size_t take_rest(int fd, unsigned char *rest, size_t len)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    size_t        taken = 0;
    while (taken < len && poll(&poll_fd, 1, 5000) == 1)
        taken += must(read(fd, rest + taken, len - taken));
    return taken;
}

/* Each byte was either read, or is still there. */
static void verify_bytes(struct scene *s, const struct unr_op *op, bool done)
{
    unsigned char rest[SIZE];
    size_t        n = moved(op, done);
    check(n <= SIZE);
    check(memcmp(s->buffer, patterned, n) == 0);
    check(is_untouched(s->buffer + n, SIZE - n));
    check_is(take_rest(s->fd, rest, SIZE - n), SIZE - n);
    check(memcmp(rest, patterned + n, SIZE - n) == 0);
    check(!is_readable(s->fd));
}

static void set_eventfd(struct scene *s)
{
    s->fd = own(s, must(eventfd(0, EFD_CLOEXEC)));
}

static void happen_event(struct scene *s)
{
    must(eventfd_write(s->fd, 7));
}

static struct unr_op *describe_read_event(struct unr_op *op, struct scene *s)
{
    return unr_read(op, s->fd, s->buffer, sizeof(eventfd_t), -1);
}

/* The count was either taken, or is still there. */
static void verify_event_taken(struct scene *s, const struct unr_op *op, bool done)
{
    eventfd_t count = 0;
    check_is(op->result.bytes, done ? sizeof count : 0);
    check(done || is_untouched(s->buffer, SIZE));
    check(is_readable(s->fd) == !done);
    if (done)
        memcpy(&count, s->buffer, sizeof count);
    else
        must(eventfd_read(s->fd, &count));
    check_is(count, 7);
}

static struct unr_op *describe_poll(struct unr_op *op, struct scene *s)
{
    return unr_poll(op, s->fd, POLLIN);
}

static void verify_event_seen(struct scene *s, const struct unr_op *op, bool done)
{
    check_is(op->result.events, done ? POLLIN : 0);
    check(is_readable(s->fd));
}

/* ---- datagrams ---- */

static int udp_socket(struct scene *s, struct sockaddr_in *ret_address)
{
    socklen_t len = sizeof *ret_address;
    int       fd = own(s, must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)));
    *ret_address =
        (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    must(bind(fd, (struct sockaddr *)ret_address, len));
    must(getsockname(fd, (struct sockaddr *)ret_address, &len));
    return fd;
}

static struct sockaddr_in own_address, peer_address; /* of the two */

static void set_udp(struct scene *s)
{
    s->fd = udp_socket(s, &own_address);
    s->peer = udp_socket(s, &peer_address);
}

static void happen_datagram(struct scene *s)
{
    must(sendto(s->peer, patterned, SIZE, 0, (struct sockaddr *)&own_address, sizeof own_address));
}

static struct unr_op *describe_recvfrom(struct unr_op *op, struct scene *s)
{
    memset(&s->address, UNTOUCHED, sizeof s->address);
    s->address_len = sizeof s->address;
    return unr_recvfrom((struct unr_datagram *)op, s->fd, s->buffer, SIZE, 0,
                        (struct sockaddr *)&s->address, &s->address_len);
}

static bool has_datagram(int fd, const struct sockaddr_in *from)
{
    unsigned char      bytes[SIZE + 1];
    struct sockaddr_in sender;
    socklen_t          len = sizeof sender;
    ssize_t n = recvfrom(fd, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&sender, &len);
    return n == SIZE && memcmp(bytes, patterned, SIZE) == 0 && sender.sin_port == from->sin_port;
}

/* The datagram was either received, whole and with its sender, or is still there. */
static void verify_recvfrom(struct scene *s, const struct unr_op *op, bool done)
{
    check_is(op->result.bytes, done ? SIZE : 0);
    check_is(s->address_len, done ? sizeof peer_address : sizeof s->address);
    if (done) {
        check(memcmp(s->buffer, patterned, SIZE) == 0);
        check(memcmp(&s->address, &peer_address, sizeof peer_address) == 0);
    } else {
        check(is_untouched(s->buffer, SIZE) && is_untouched(&s->address, sizeof s->address));
        check(has_datagram(s->fd, &peer_address));
    }
    check(!is_readable(s->fd));
}

static struct unr_op *describe_sendto_address(struct unr_op *op, struct scene *s)
{
    return unr_sendto(op, s->fd, patterned, SIZE, 0, (struct sockaddr *)&peer_address,
                      sizeof peer_address);
}

static void verify_sendto_address(struct scene *s, const struct unr_op *op, bool done)
{
    check_is(op->result.bytes, done ? SIZE : 0);
    check_is(has_datagram(s->peer, &own_address), done);
}

/* ---- epoll ---- */

/* What is reported once is reported to one. */
static void set_epoll(struct scene *s)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT };
    s->peer = own(s, must(eventfd(0, EFD_CLOEXEC)));
    s->fd = own(s, must(epoll_create1(EPOLL_CLOEXEC)));
    must(epoll_ctl(s->fd, EPOLL_CTL_ADD, s->peer, &event));
}

static void happen_epoll(struct scene *s)
{
    must(eventfd_write(s->peer, 7));
}

static struct unr_op *describe_epoll_wait(struct unr_op *op, struct scene *s)
{
    return unr_epoll_wait(op, s->fd, (struct epoll_event *)s->buffer, 2);
}

/* The event was either taken, or is still to be. */
static void verify_epoll_wait(struct scene *s, const struct unr_op *op, bool done)
{
    struct epoll_event event;
    check_is(op->result.value, done);
    check(done || is_untouched(s->buffer, SIZE));
    check_is(epoll_wait(s->fd, &event, 1, 0), !done);
}

/* ---- writing to a pipe or a socket ---- */

static void fill_up(struct scene *s)
{
    unsigned char junk[256];
    memset(junk, UNTOUCHED, sizeof junk);
    set_nonblocking(s->fd, true);
    for (ssize_t n; (n = write(s->fd, junk, sizeof junk)) > 0;)
        s->full += (size_t)n;
    set_nonblocking(s->fd, false);
}

static void set_writer(struct scene *s, int fd, int peer)
{
    s->fd = own(s, fd);
    s->peer = own(s, peer);
    s->asked = SIZE;
    set_nonblocking(s->peer, true);
}

static void set_full_pipe(struct scene *s)
{
    int ends[2];
    must(pipe2(ends, O_CLOEXEC));
    must(fcntl(ends[1], F_SETPIPE_SZ, 4096));
    set_writer(s, ends[1], ends[0]);
    fill_up(s);
}

static void set_narrow_sockets(struct scene *s)
{
    const int size = 4096;
    int       ends[2];
    unix_pair(ends);
    must(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    set_writer(s, ends[0], ends[1]);
}

static void set_full_socket(struct scene *s)
{
    set_narrow_sockets(s);
    fill_up(s);
}

/* Half as much again as goes in at once. */
static void set_too_much(struct scene *s)
{
    unsigned char byte;
    set_narrow_sockets(s);
    set_nonblocking(s->fd, true);
    s->asked = (size_t)must(write(s->fd, patterned, LARGE)) * 3 / 2;
    set_nonblocking(s->fd, false);
    while (read(s->peer, &byte, 1) == 1)
        ;
}

/* The other end takes what there is: first what was in the way, then what the call has written. */
static void happen_drain(struct scene *s)
{
    unsigned char bytes[1024];
    for (ssize_t n; (n = read(s->peer, bytes, sizeof bytes)) > 0;)
        for (ssize_t i = 0; i < n; i++, s->drained++)
            if (bytes[i] != (s->drained < s->full ? UNTOUCHED : pattern(s->drained - s->full)))
                must(-1);
}

static void verify_drained(struct scene *s, const struct unr_op *op, bool done)
{
    happen_drain(s);
    check_is(s->drained - s->full, op->result.bytes);
    check(!done || op->result.bytes == s->asked);
}

static struct unr_op *describe_write(struct unr_op *op, struct scene *s)
{
    return unr_write(op, s->fd, patterned, s->asked, -1);
}

static struct iovec *patterned_pieces(struct scene *s)
{
    s->iov[0] = (struct iovec){ patterned, s->asked / 4 };
    s->iov[1] = (struct iovec){ patterned + s->asked / 4, s->asked - s->asked / 4 };
    return s->iov;
}

static struct msghdr *patterned_message(struct scene *s)
{
    s->msg = (struct msghdr){ .msg_iov = patterned_pieces(s), .msg_iovlen = 2 };
    return &s->msg;
}

static struct unr_op *describe_writev(struct unr_op *op, struct scene *s)
{
    return unr_writev(op, s->fd, patterned_pieces(s), 2, -1);
}

static struct unr_op *describe_write_with(struct unr_op *op, struct scene *s)
{
    return unr_write_with(op, s->fd, patterned_pieces(s), 2, -1, 0);
}

static struct unr_op *describe_write_synced(struct unr_op *op, struct scene *s)
{
    return unr_write_with(op, s->fd, patterned_pieces(s), 2, -1, RWF_DSYNC);
}

static struct unr_op *describe_sendto(struct unr_op *op, struct scene *s)
{
    return unr_sendto(op, s->fd, patterned, s->asked, 0, NULL, 0);
}

static struct unr_op *describe_send(struct unr_op *op, struct scene *s)
{
    return unr_send(op, s->fd, patterned, s->asked, 0);
}

static struct unr_op *describe_send_all(struct unr_op *op, struct scene *s)
{
    return unr_send(op, s->fd, patterned, s->asked, MSG_WAITALL);
}

static struct unr_op *describe_send_now(struct unr_op *op, struct scene *s)
{
    return unr_send_now(op, s->fd, patterned, s->asked, 0);
}

static struct unr_op *describe_send_now_all(struct unr_op *op, struct scene *s)
{
    return unr_send_now(op, s->fd, patterned, s->asked, MSG_WAITALL);
}

static struct unr_op *describe_sendmsg(struct unr_op *op, struct scene *s)
{
    return unr_sendmsg(op, s->fd, patterned_message(s), 0);
}

static struct unr_op *describe_sendmsg_all(struct unr_op *op, struct scene *s)
{
    return unr_sendmsg(op, s->fd, patterned_message(s), MSG_WAITALL);
}

/* ---- from one pipe to another ---- */

static void set_two_pipes(struct scene *s)
{
    int ends[2];
    set_pipe(s);
    must(pipe2(ends, O_CLOEXEC));
    s->second = own(s, ends[1]);
    s->second_peer = own(s, ends[0]);
}

static struct unr_op *describe_splice(struct unr_op *op, struct scene *s)
{
    return unr_splice(op, s->fd, -1, s->second, -1, SIZE, 0);
}

static struct unr_op *describe_tee(struct unr_op *op, struct scene *s)
{
    return unr_tee(op, s->fd, s->second, SIZE, 0);
}

static void verify_stream(int fd, size_t from, size_t to)
{
    unsigned char rest[SIZE];
    check_is(take_rest(fd, rest, to - from), to - from);
    check(memcmp(rest, patterned + from, to - from) == 0);
    check(!is_readable(fd));
}

static void verify_splice(struct scene *s, const struct unr_op *op, bool done)
{
    size_t n = op->result.bytes;
    check(done ? n > 0 && n <= SIZE : n == 0);
    verify_stream(s->second_peer, 0, n);
    verify_stream(s->fd, n, SIZE);
}

static void verify_tee(struct scene *s, const struct unr_op *op, bool done)
{
    size_t n = op->result.bytes;
    check(done ? n > 0 && n <= SIZE : n == 0);
    verify_stream(s->second_peer, 0, n);
    verify_stream(s->fd, 0, SIZE);
}

/* ---- sockets ---- */

/* A TCP socket that shares its port with whoever asks to, and vanishes without lingering. */
static int tcp_socket(struct scene *s, struct sockaddr_in *address, in_port_t port)
{
    const int           one = 1;
    const struct linger none = { .l_onoff = 1 };
    socklen_t           len = sizeof *address;
    int                 fd = own(s, must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    *address = (struct sockaddr_in){ .sin_family = AF_INET,
                                     .sin_port = port,
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    must(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one));
    must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none));
    must(bind(fd, (struct sockaddr *)address, len));
    must(getsockname(fd, (struct sockaddr *)address, &len));
    return fd;
}

static in_port_t port_of(int fd)
{
    struct sockaddr_in address;
    socklen_t          len = sizeof address;
    must(getsockname(fd, (struct sockaddr *)&address, &len));
    return address.sin_port;
}

static void connect_to(int fd, const struct scene *s)
{
    must(connect(fd, (const struct sockaddr *)&s->address, s->address_len));
}

static void set_address(struct scene *s, const void *address, size_t len)
{
    memcpy(&s->address, address, len);
    s->address_len = (socklen_t)len;
}

static int unix_listener(struct scene *s, int backlog)
{
    static unsigned    serial;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int len = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "unring-table-%d-%u",
                       (int)getpid(), serial++);
    int fd = own(s, must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    set_address(s, &address, offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
    must(bind(fd, (struct sockaddr *)&s->address, s->address_len));
    must(listen(fd, backlog));
    return fd;
}

static void set_listener(struct scene *s)
{
    struct sockaddr_in address;
    s->fd = tcp_socket(s, &address, 0);
    set_address(s, &address, sizeof address);
    must(listen(s->fd, 4));
    s->peer = tcp_socket(s, &address, 0);
}

static void set_unix_listener(struct scene *s)
{
    s->fd = unix_listener(s, 4);
    s->peer = own(s, must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
}

static void happen_client(struct scene *s)
{
    connect_to(s->peer, s);
}

static struct unr_op *describe_accept(struct unr_op *op, struct scene *s)
{
    return unr_accept(op, s->fd, NULL, NULL, SOCK_CLOEXEC);
}

/* The one connection there is was either accepted, or can be. */
static void verify_accept(struct scene *s, const struct unr_op *op, bool done)
{
    unsigned char byte;
    struct pollfd poll_fd = { .fd = s->fd, .events = POLLIN };
    int           fd = op->result.fd;
    if (!done) {
        check_is(poll(&poll_fd, 1, 5000), 1);
        fd = must(accept4(s->fd, NULL, NULL, SOCK_CLOEXEC));
    }
    own(s, fd);
    check(!is_readable(s->fd));
    must(write(s->peer, patterned, 1));
    check_is(take_rest(fd, &byte, 1), 1);
}

static struct unr_op *describe_connect(struct unr_op *op, struct scene *s)
{
    return unr_connect(op, s->fd, (struct sockaddr *)&s->address, s->address_len);
}

/* The listener's backlog is full, so that it drops what comes; `peer` has its port as well. */
static void set_full_tcp(struct scene *s)
{
    struct sockaddr_in address;
    int                listener = tcp_socket(s, &address, 0);
    set_address(s, &address, sizeof address);
    must(listen(listener, 0));
    connect_to(tcp_socket(s, &address, 0), s);
    s->peer = tcp_socket(s, &address, ((struct sockaddr_in *)&s->address)->sin_port);
    s->second = tcp_socket(s, &address, 0);
    /* To keep its port it must have asked for one; this one is free, but for the socket that found
     * that out. */
    tcp_socket(s, &address, 0);
    s->fd = tcp_socket(s, &address, address.sin_port);
    must(listen(s->second, 4));
}

/* A simultaneous open: the socket that waits for an answer to its SYN gets a SYN from where it sent
 * that.  Or, when it waits no more, a reset. */
static void happen_answer(struct scene *s)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    address.sin_port = port_of(s->fd);
    if (connect(s->peer, (struct sockaddr *)&address, sizeof address) != 0 && errno != ECONNREFUSED
        && errno != ECONNRESET)
        must(-1);
}

/* It is connected; or as new, still bound to its port, and can be connected to another listener. */
static void verify_connect(struct scene *s, const struct unr_op *op, bool done)
{
    unsigned char      byte;
    struct sockaddr_in address;
    socklen_t          len = sizeof address;
    in_port_t          port = port_of(s->fd);
    int                peer = s->peer;
    (void)op;
    check((getpeername(s->fd, (struct sockaddr *)&address, &len) == 0) == done);
    if (!done) {
        address = (struct sockaddr_in){ .sin_family = AF_INET,
                                        .sin_port = port_of(s->second),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        must(connect(s->fd, (struct sockaddr *)&address, sizeof address));
        check_is(port_of(s->fd), port);
        peer = own(s, must(accept4(s->second, NULL, NULL, SOCK_CLOEXEC)));
    }
    must(write(s->fd, patterned, 1));
    check_is(take_rest(peer, &byte, 1), 1);
}

static void set_full_unix(struct scene *s)
{
    s->second = unix_listener(s, 0);
    connect_to(own(s, must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))), s);
    s->fd = own(s, must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
}

static void happen_room(struct scene *s)
{
    s->peer = own(s, must(accept4(s->second, NULL, NULL, SOCK_CLOEXEC)));
}

static void verify_connect_unix(struct scene *s, const struct unr_op *op, bool done)
{
    unsigned char byte;
    (void)op;
    check(is_readable(s->second) == done);
    if (!done)
        connect_to(s->fd, s);
    int peer = own(s, must(accept4(s->second, NULL, NULL, SOCK_CLOEXEC)));
    must(write(s->fd, patterned, 1));
    check_is(take_rest(peer, &byte, 1), 1);
}

static struct unr_op *describe_shutdown(struct unr_op *op, struct scene *s)
{
    return unr_shutdown(op, s->fd, SHUT_WR);
}

static void verify_shutdown(struct scene *s, const struct unr_op *op, bool done)
{
    unsigned char byte;
    (void)op;
    ssize_t n = recv(s->peer, &byte, 1, MSG_DONTWAIT);
    check(done ? n == 0 : n < 0 && errno == EAGAIN);
}

static struct unr_op *describe_socket(struct unr_op *op, struct scene *s)
{
    (void)s;
    return unr_socket(op, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void verify_socket(struct scene *s, const struct unr_op *op, bool done)
{
    if (done)
        must(listen(own(s, op->result.fd), 1));
}

static void set_unbound(struct scene *s)
{
    const struct sockaddr_in address = { .sin_family = AF_INET,
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    s->fd = own(s, must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    set_address(s, &address, sizeof address);
}

static struct unr_op *describe_bind(struct unr_op *op, struct scene *s)
{
    return unr_bind(op, s->fd, (struct sockaddr *)&s->address, s->address_len);
}

static void verify_bind(struct scene *s, const struct unr_op *op, bool done)
{
    (void)op;
    check((port_of(s->fd) != 0) == done);
}

static struct unr_op *describe_listen(struct unr_op *op, struct scene *s)
{
    return unr_listen(op, s->fd, 1);
}

static void verify_listen(struct scene *s, const struct unr_op *op, bool done)
{
    int       listens = -1;
    socklen_t len = sizeof listens;
    (void)op;
    must(getsockopt(s->fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len));
    check(listens == done);
}

/* ---- descriptors ---- */

static struct unr_op *describe_close(struct unr_op *op, struct scene *s)
{
    return unr_close(op, s->fd);
}

static struct unr_op *describe_cancel_close(struct unr_op *op, struct scene *s)
{
    return unr_cancel_close(op, s->fd);
}

static void verify_close(struct scene *s, const struct unr_op *op, bool done)
{
    (void)op;
    check(done);
    check(!is_open(s->fd));
    disown(s, s->fd);
}

static struct unr_op *describe_pipe(struct unr_op *op, struct scene *s)
{
    s->pipe[0] = s->pipe[1] = -1;
    return unr_pipe(op, s->pipe, O_CLOEXEC);
}

static void verify_pipe(struct scene *s, const struct unr_op *op, bool done)
{
    unsigned char byte;
    (void)op;
    check((s->pipe[0] >= 0) == done && (s->pipe[1] >= 0) == done);
    if (done) {
        must(write(own(s, s->pipe[1]), patterned, 1));
        must(read(own(s, s->pipe[0]), &byte, 1));
    }
}

/* ---- files ---- */

static bool exists(const struct scene *s, const char *name)
{
    struct stat stat;
    return fstatat(s->fd, name, &stat, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A folder with a file named "old". */
static void set_folder(struct scene *s)
{
    const char *parent = getenv("TMPDIR");
    snprintf(s->folder, sizeof s->folder, "%s/unring-XXXXXX", parent ? parent : P_tmpdir);
    must(mkdtemp(s->folder) ? 0 : -1);
    s->fd = own(s, must(open(s->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    s->second = own(s, must(open(s->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    int file = must(openat(s->fd, "old", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
    must(write(file, patterned, SIZE));
    close(file);
}

static void remove_folder(struct scene *s)
{
    if (!s->folder[0])
        return;
    int folder = must(open(s->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    unlinkat(folder, "old", 0);
    unlinkat(folder, "new", 0);
    unlinkat(folder, "new", AT_REMOVEDIR);
    close(folder);
    must(rmdir(s->folder));
}

/* The file in the folder; its position is at its begin. */
static void set_file(struct scene *s)
{
    set_folder(s);
    s->fd = own(s, must(openat(s->fd, "old", O_RDWR | O_CLOEXEC)));
    s->asked = SIZE;
}

static off_t size_of(int fd)
{
    struct stat stat;
    must(fstat(fd, &stat));
    return stat.st_size;
}

static void verify_read_file(struct scene *s, const struct unr_op *op, bool done)
{
    check_is(op->result.bytes, done ? SIZE : 0);
    check(done ? memcmp(s->buffer, patterned, SIZE) == 0 : is_untouched(s->buffer, SIZE));
    check_is(lseek(s->fd, 0, SEEK_CUR), op->result.bytes);
}

static void set_empty_file(struct scene *s)
{
    set_file(s);
    must(ftruncate(s->fd, 0));
}

static void verify_write_file(struct scene *s, const struct unr_op *op, bool done)
{
    check_is(op->result.bytes, done ? SIZE : 0);
    check_is(lseek(s->fd, 0, SEEK_CUR), op->result.bytes);
    check_is(size_of(s->fd), op->result.bytes);
}

static struct unr_op *describe_fsync(struct unr_op *op, struct scene *s)
{
    return unr_fsync(op, s->fd, 0);
}

static struct unr_op *describe_statx(struct unr_op *op, struct scene *s)
{
    memset(&s->statx, UNTOUCHED, sizeof s->statx);
    return unr_statx(op, s->fd, "old", 0, STATX_SIZE, &s->statx);
}

static void verify_statx(struct scene *s, const struct unr_op *op, bool done)
{
    (void)op;
    check(done ? s->statx.stx_size == SIZE : is_untouched(&s->statx, sizeof s->statx));
}

static void set_attribute(struct scene *s)
{
    set_file(s);
    if (fsetxattr(s->fd, "user.unring", patterned, 5, 0) < 0)
        cr_skip_test("no user attributes on the file system of the temporary folder");
}

static const char *path_of_old(const struct scene *s)
{
    static char path[sizeof s->folder + sizeof "/old"];
    snprintf(path, sizeof path, "%s/old", s->folder);
    return path;
}

static struct unr_op *describe_getxattr(struct unr_op *op, struct scene *s)
{
    return unr_getxattr(op, path_of_old(s), "user.unring", s->buffer, SIZE);
}

static struct unr_op *describe_fgetxattr(struct unr_op *op, struct scene *s)
{
    return unr_fgetxattr(op, s->fd, "user.unring", s->buffer, SIZE);
}

static void verify_attribute(struct scene *s, const struct unr_op *op, bool done)
{
    check_is(op->result.value, done ? 5 : 0);
    check(done ? memcmp(s->buffer, patterned, 5) == 0 : is_untouched(s->buffer, SIZE));
}

static struct unr_op *describe_setxattr(struct unr_op *op, struct scene *s)
{
    return unr_setxattr(op, path_of_old(s), "user.unring", patterned + 5, 10, XATTR_REPLACE);
}

static void verify_setxattr(struct scene *s, const struct unr_op *op, bool done)
{
    check_is(op->result.value, 0);
    check_is(fgetxattr(s->fd, "user.unring", s->buffer, SIZE), done ? 10 : 5);
    check(memcmp(s->buffer, done ? patterned + 5 : patterned, done ? 10 : 5) == 0);
}

static struct unr_op *describe_ftruncate(struct unr_op *op, struct scene *s)
{
    return unr_ftruncate(op, s->fd, 10);
}

static void verify_ftruncate(struct scene *s, const struct unr_op *op, bool done)
{
    (void)op;
    check_is(size_of(s->fd), done ? 10 : SIZE);
}

static struct unr_op *describe_fallocate(struct unr_op *op, struct scene *s)
{
    return unr_fallocate(op, s->fd, 0, 0, 4096);
}

static void verify_fallocate(struct scene *s, const struct unr_op *op, bool done)
{
    (void)op;
    check_is(size_of(s->fd), done ? 4096 : SIZE);
}

static struct unr_op *describe_fadvise(struct unr_op *op, struct scene *s)
{
    return unr_fadvise(op, s->fd, 0, SIZE, POSIX_FADV_WILLNEED);
}

static struct unr_op *describe_sync_file_range(struct unr_op *op, struct scene *s)
{
    return unr_sync_file_range(op, s->fd, 0, SIZE, SYNC_FILE_RANGE_WRITE);
}

static void set_fifo(struct scene *s)
{
    set_folder(s);
    must(mkfifoat(s->fd, "new", 0600));
}

/* With O_CREAT it goes to a worker of the kernel, and waits there for a writer. */
static struct unr_op *describe_openat_fifo(struct unr_op *op, struct scene *s)
{
    return unr_openat(op, s->fd, "new", O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
}

static void happen_writer(struct scene *s)
{
    own(s, must(openat(s->fd, "new", O_RDWR | O_NONBLOCK | O_CLOEXEC)));
}

static void verify_openat_fifo(struct scene *s, const struct unr_op *op, bool done)
{
    struct stat stat;
    int fd = own(s, done ? op->result.fd : must(openat(s->fd, "new", O_RDONLY | O_CLOEXEC)));
    must(fstat(fd, &stat));
    check(S_ISFIFO(stat.st_mode));
}

static struct unr_op *describe_openat_old(struct unr_op *op, struct scene *s)
{
    return unr_openat(op, s->fd, "old", O_RDONLY | O_CLOEXEC, 0);
}

static struct unr_op *describe_openat_new(struct unr_op *op, struct scene *s)
{
    return unr_openat(op, s->fd, "new", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

static void verify_openat_old(struct scene *s, const struct unr_op *op, bool done)
{
    if (done)
        check_is(size_of(own(s, op->result.fd)), SIZE);
}

static void verify_openat_new(struct scene *s, const struct unr_op *op, bool done)
{
    check(exists(s, "new") == done);
    if (done)
        check_is(size_of(own(s, op->result.fd)), 0);
}

static struct unr_op *describe_unlinkat(struct unr_op *op, struct scene *s)
{
    return unr_unlinkat(op, s->fd, "old", 0);
}

static void verify_unlinkat(struct scene *s, const struct unr_op *op, bool done)
{
    (void)op;
    check(exists(s, "old") == !done);
}

static struct unr_op *describe_renameat(struct unr_op *op, struct scene *s)
{
    return unr_renameat(op, s->fd, "old", s->second, "new", 0);
}

static void verify_renameat(struct scene *s, const struct unr_op *op, bool done)
{
    (void)op;
    check(exists(s, "old") == !done && exists(s, "new") == done);
}

static struct unr_op *describe_linkat(struct unr_op *op, struct scene *s)
{
    return unr_linkat(op, s->fd, "old", s->second, "new", 0);
}

static struct unr_op *describe_symlinkat(struct unr_op *op, struct scene *s)
{
    return unr_symlinkat(op, "old", s->fd, "new");
}

static struct unr_op *describe_mkdirat(struct unr_op *op, struct scene *s)
{
    return unr_mkdirat(op, s->fd, "new", 0700);
}

static void verify_new(struct scene *s, const struct unr_op *op, bool done)
{
    (void)op;
    check(exists(s, "old") && exists(s, "new") == done);
}

/* ---- processes and futexes ---- */

static void set_child(struct scene *s)
{
    s->child = must(fork());
    if (s->child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when the test fails */
        syscall(SYS_close_range, 0, ~0U, 0);
        for (;;)
            pause();
    }
}

static void happen_death(struct scene *s)
{
    must(kill(s->child, SIGKILL));
}

static struct unr_op *describe_waitid(struct unr_op *op, struct scene *s)
{
    memset(&s->siginfo, UNTOUCHED, sizeof s->siginfo);
    return unr_waitid(op, P_PID, (unsigned)s->child, &s->siginfo, WEXITED);
}

/* The child was either reaped, or can be. */
static void verify_waitid(struct scene *s, const struct unr_op *op, bool done)
{
    (void)op;
    pid_t child = waitpid(s->child, NULL, 0);
    if (done) {
        check(child < 0 && errno == ECHILD);
        check_is(s->siginfo.si_pid, s->child);
        check_is(s->siginfo.si_status, SIGKILL);
    } else {
        check_is(child, s->child);
        check(s->siginfo.si_pid != s->child);
    }
}

enum {
    FUTEX_FLAGS = 0x02 | 0x80,
    MATCH_ANY = -1,
    WAKE_PRIVATE = 1 | 128
}; /* FUTEX2_SIZE_U32 | FUTEX2_PRIVATE */

static struct unr_op *describe_futex_wait(struct unr_op *op, struct scene *s)
{
    return unr_futex_wait(op, &s->futex, 0, (uint32_t)MATCH_ANY, FUTEX_FLAGS);
}

static void happen_wake(struct scene *s)
{
    s->woken = must(syscall(SYS_futex, &s->futex, WAKE_PRIVATE, 1, NULL, NULL, 0));
}

/* The wake found it waiting, or nobody. */
static void verify_futex_wait(struct scene *s, const struct unr_op *op, bool done)
{
    (void)op;
    check(s->woken == done);
}

static struct unr_op *describe_futex_wake(struct unr_op *op, struct scene *s)
{
    return unr_futex_wake(op, &s->futex, 8, (uint32_t)MATCH_ANY, FUTEX_FLAGS);
}

/* One waits, and was woken by this or waits on. */
static void verify_futex_wake(struct scene *s, const struct unr_op *op, bool done)
{
    check(!done || op->result.value == 1);
    if (loop) /* else it waits no more in any case */
        check(syscall(SYS_futex, &s->futex, WAKE_PRIVATE, 1, NULL, NULL, 0) == !done);
}

/* ---- the table ---- */

#define ALL      UNR_CANCEL_ALL
#define PARTIAL  (UNR_CANCEL_PARTIAL | UNR_CANCEL_TERMINAL)
#define TERMINAL UNR_CANCEL_TERMINAL
#define NONE     UNR_CANCEL_NONE

static const struct row rows[] = {
    { "nop", "", ALL, nothing, describe_nop, NULL, verify_nothing, NULL },

    { "read", "", ALL, set_pipe, describe_read, happen_bytes, verify_bytes, NULL },
    { "read", "from a socket", ALL, set_tcp, describe_read, happen_bytes, verify_bytes, NULL },
    { "read", "from an eventfd", ALL, set_eventfd, describe_read_event, happen_event,
      verify_event_taken, NULL },
    { "read", "from a file", ALL, set_file, describe_read, NULL, verify_read_file, NULL },
    { "readv", "", ALL, set_pipe, describe_readv, happen_bytes, verify_bytes, NULL },
    { "readv", "from a file", ALL, set_file, describe_readv, NULL, verify_read_file, NULL },
    { "write", "", ALL, set_full_pipe, describe_write, happen_drain, verify_drained, NULL },
    { "write", "to a socket", ALL, set_full_socket, describe_write, happen_drain, verify_drained,
      NULL },
    { "write", "to a file", ALL, set_empty_file, describe_write, NULL, verify_write_file, NULL },
    { "writev", "", ALL, set_full_pipe, describe_writev, happen_drain, verify_drained, NULL },
    { "writev", "to a file", ALL, set_empty_file, describe_writev, NULL, verify_write_file, NULL },

    { "read_with", "", ALL, set_pipe, describe_read_with, happen_bytes, verify_bytes, NULL },
    { "write_with", "", ALL, set_full_pipe, describe_write_with, happen_drain, verify_drained,
      NULL },
    { "write_with", "to a file, RWF_DSYNC", ALL, set_empty_file, describe_write_synced, NULL,
      verify_write_file, NULL },

    { "recv", "", ALL, set_sockets, describe_recv, happen_bytes, verify_bytes, NULL },
    { "recv", "over TCP", ALL, set_tcp, describe_recv, happen_bytes, verify_bytes, NULL },
    { "recv", "MSG_WAITALL", PARTIAL, set_sockets, describe_recv_all, happen_dribble, verify_bytes,
      NULL },
    { "recv", "MSG_WAITALL, half of it there", PARTIAL, set_half, describe_recv_all, happen_dribble,
      verify_bytes, NULL },
    { "recv", "MSG_WAITALL, half there, TCP", PARTIAL, set_half_tcp, describe_recv_all,
      happen_dribble, verify_bytes, NULL },
    { "recvmsg", "", ALL, set_sockets, describe_recvmsg, happen_bytes, verify_bytes, NULL },
    { "recvmsg", "MSG_WAITALL, half of it there", PARTIAL, set_half, describe_recvmsg_all,
      happen_dribble, verify_bytes, NULL },
    { "send", "", ALL, set_full_socket, describe_send, happen_drain, verify_drained, NULL },
    { "send", "MSG_WAITALL, too much", PARTIAL, set_too_much, describe_send_all, happen_drain,
      verify_drained, NULL },
    { "send_now", "", ALL, set_full_socket, describe_send_now, happen_drain, verify_drained, NULL },
    { "send_now", "MSG_WAITALL", PARTIAL, set_full_socket, describe_send_now_all, happen_drain,
      verify_drained, NULL },
    { "sendmsg", "", ALL, set_full_socket, describe_sendmsg, happen_drain, verify_drained, NULL },
    { "sendmsg", "MSG_WAITALL, too much", PARTIAL, set_too_much, describe_sendmsg_all, happen_drain,
      verify_drained, NULL },

    { "recvfrom", "", ALL, set_udp, describe_recvfrom, happen_datagram, verify_recvfrom, NULL },
    { "sendto", "", ALL, set_full_socket, describe_sendto, happen_drain, verify_drained, NULL },
    { "sendto", "an address", ALL, set_udp, describe_sendto_address, NULL, verify_sendto_address,
      NULL },

    { "accept", "", ALL, set_listener, describe_accept, happen_client, verify_accept, NULL },
    { "accept", "on a unix socket", ALL, set_unix_listener, describe_accept, happen_client,
      verify_accept, NULL },
    { "connect", "", ALL, set_full_tcp, describe_connect, happen_answer, verify_connect, NULL },
    { "connect", "of a unix socket", ALL, set_full_unix, describe_connect, happen_room,
      verify_connect_unix, NULL },
    { "poll", "", ALL, set_eventfd, describe_poll, happen_event, verify_event_seen, NULL },
    { "epoll_wait", "", ALL, set_epoll, describe_epoll_wait, happen_epoll, verify_epoll_wait,
      NULL },
    { "shutdown", "", ALL, set_sockets, describe_shutdown, NULL, verify_shutdown, NULL },
    { "socket", "", ALL, nothing, describe_socket, NULL, verify_socket, NULL },
    { "bind", "", ALL, set_unbound, describe_bind, NULL, verify_bind, NULL },
    { "listen", "", ALL, set_unbound, describe_listen, NULL, verify_listen, NULL },

    { "close", "", NONE, set_pipe, describe_close, NULL, verify_close, NULL },
    { "cancel_close", "", NONE, set_pipe, describe_cancel_close, NULL, verify_close, NULL },
    { "cancel_close", "of a pipe being read", NONE, set_pipe, describe_cancel_close, NULL,
      verify_close, describe_read },
    { "pipe", "", ALL, nothing, describe_pipe, NULL, verify_pipe, NULL },
    { "splice", "", ALL, set_two_pipes, describe_splice, happen_bytes, verify_splice, NULL },
    { "tee", "", ALL, set_two_pipes, describe_tee, happen_bytes, verify_tee, NULL },

    { "openat", "", ALL, set_fifo, describe_openat_fifo, happen_writer, verify_openat_fifo, NULL },
    { "openat", "of a file", ALL, set_folder, describe_openat_old, NULL, verify_openat_old, NULL },
    { "openat", "of a new file", ALL, set_folder, describe_openat_new, NULL, verify_openat_new,
      NULL },
    { "fsync", "", ALL, set_file, describe_fsync, NULL, verify_nothing, NULL },
    { "statx", "", ALL, set_folder, describe_statx, NULL, verify_statx, NULL },
    { "ftruncate", "", ALL, set_file, describe_ftruncate, NULL, verify_ftruncate, NULL },
    { "fallocate", "", ALL, set_file, describe_fallocate, NULL, verify_fallocate, NULL },
    { "fadvise", "", ALL, set_file, describe_fadvise, NULL, verify_nothing, NULL },
    { "sync_file_range", "", ALL, set_file, describe_sync_file_range, NULL, verify_nothing, NULL },
    { "unlinkat", "", ALL, set_folder, describe_unlinkat, NULL, verify_unlinkat, NULL },
    { "renameat", "", ALL, set_folder, describe_renameat, NULL, verify_renameat, NULL },
    { "linkat", "", ALL, set_folder, describe_linkat, NULL, verify_new, NULL },
    { "symlinkat", "", ALL, set_folder, describe_symlinkat, NULL, verify_new, NULL },
    { "mkdirat", "", ALL, set_folder, describe_mkdirat, NULL, verify_new, NULL },

    { "waitid", "", ALL, set_child, describe_waitid, happen_death, verify_waitid, NULL },
    { "futex_wait", "", ALL, nothing, describe_futex_wait, happen_wake, verify_futex_wait, NULL },
    { "futex_wake", "", ALL, nothing, describe_futex_wake, NULL, verify_futex_wake,
      describe_futex_wait },

    { "sqe", "", ALL, set_sockets, describe_sqe, happen_bytes, verify_bytes, NULL },
    { "sqe", "that promises PARTIAL", PARTIAL, set_sockets, describe_sqe_partial, happen_bytes,
      verify_bytes, NULL },
    { "sqe", "that promises TERMINAL", TERMINAL, set_sockets, describe_sqe_terminal, happen_bytes,
      verify_bytes, NULL },
    { "sqe", "that promises NONE", NONE, set_sockets, describe_sqe_none, happen_bytes, verify_bytes,
      NULL },

    /* Last, as they are skipped on some file systems, and a test of several rows with them. */
    { "getxattr", "", ALL, set_attribute, describe_getxattr, NULL, verify_attribute, NULL },
    { "fgetxattr", "", ALL, set_attribute, describe_fgetxattr, NULL, verify_attribute, NULL },
    { "setxattr", "", ALL, set_attribute, describe_setxattr, NULL, verify_setxattr, NULL },
};
enum { ROWS = sizeof rows / sizeof *rows };

#endif
