/* SPDX-License-Identifier: MIT */
/* Every system call, started and cancelled at every point: the subjects, what must hold of each,
 * and the scenarios. */
#include "../../../lib/core/cancel.h"
#include "scenario.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "../../../uring/newer.h"
#include "../../../uring/row.h"

/* ---- what the other end does and finds ---- */

static const unsigned char pattern[] = "0123456789abcdef";

static void peer_writes(void *subject)
{
    struct subject *s = subject;
    ssize_t         n = unr_sim_write(s->fds[1], pattern + s->sent, 8);
    s->provoked = true;
    if (n > 0)
        s->sent += (size_t)n;
}

static void peer_reads(void *subject)
{
    struct subject *s = subject;
    ssize_t         n = unr_sim_read(s->fds[1], s->arrived + s->received, ROOM - s->received);
    s->provoked = true;
    if (n > 0)
        s->received += (size_t)n;
}

static uint64_t bytes_done(const struct subject *s)
{
    return s->op.result.bytes;
}

/* What was written by the other end was read by the operation, or is still there. */
static void verify_read(struct subject *s)
{
    unsigned char rest[ROOM + 8];
    ssize_t       n = unr_sim_read(s->fds[0], rest, sizeof rest);
    size_t        left = n > 0 ? (size_t)n : 0;
    unr_sim_check(bytes_done(s) + left == s->sent, "every byte was read once or is still there");
    unr_sim_check(memcmp(s->buf, pattern, bytes_done(s)) == 0, "what was read is what was sent");
    unr_sim_check(memcmp(rest, pattern + bytes_done(s), left) == 0,
                  "what is left is what comes next");
}

/* What the operation counts is what the other end finds. */
static void verify_write(struct subject *s)
{
    for (ssize_t n;
         (n = unr_sim_read(s->fds[1], s->arrived + s->received, ROOM - s->received)) > 0;)
        s->received += (size_t)n;
    unr_sim_check(bytes_done(s) == s->received, "the bytes counted are the bytes that arrived");
    unr_sim_check(memcmp(s->arrived, pattern, s->received) == 0, "what arrived is what was sent");
}

static void verify_behind_stuffing(struct subject *s)
{
    s->op.result.bytes += s->sent;
    verify_write(s);
    s->op.result.bytes -= s->sent;
}

static void pair(struct subject *s)
{
    unr_sim_socketpair(s->fds, 12);
}

static void full_pair(struct subject *s)
{
    unr_sim_socketpair(s->fds, 12);
    memcpy(s->buf, pattern, ROOM);
}

/* With room for all that is to be sent, for a part of it, or for none: `sent` counts what is there.
 */
static void stuffed_pair(struct subject *s)
{
    static const size_t rooms[][2] = { { ROOM, 0 }, { 12, 4 }, { 12, 12 } };
    const size_t       *room = rooms[unr_sim_choose(3)];
    unr_sim_socketpair(s->fds, room[0]);
    memcpy(s->buf, pattern, ROOM);
    s->sent = room[1];
    if (s->sent)
        unr_sim_write(s->fds[0], pattern, s->sent);
}

static void pipe_to_read(struct subject *s)
{
    unr_sim_pipe(s->fds, 12);
}

static void pipe_to_write(struct subject *s)
{
    int fds[2];
    unr_sim_pipe(fds, 12);
    s->fds[0] = fds[1];
    s->fds[1] = fds[0];
    memcpy(s->buf, pattern, ROOM);
}

static void close_both(struct subject *s)
{
    unr_sim_close(s->fds[0]);
    unr_sim_close(s->fds[1]);
}

static struct iovec *two_pieces(struct subject *s)
{
    s->iov[0] = (struct iovec){ s->buf, 3 };
    s->iov[1] = (struct iovec){ s->buf + 3, ROOM - 3 };
    return s->iov;
}

static struct msghdr *message(struct subject *s)
{
    s->msg = (struct msghdr){ .msg_iov = two_pieces(s), .msg_iovlen = 2 };
    return &s->msg;
}

static struct unr_op *d_nop(struct subject *s)
{
    return unr_nop(&s->op);
}
static struct unr_op *d_recv(struct subject *s)
{
    return unr_recv(&s->op, s->fds[0], s->buf, ROOM, 0);
}
static struct unr_op *d_recv_all(struct subject *s)
{
    return unr_recv(&s->op, s->fds[0], s->buf, 12, MSG_WAITALL);
}
static struct unr_op *d_send(struct subject *s)
{
    return unr_send(&s->op, s->fds[0], s->buf, ROOM, 0);
}
static struct unr_op *d_send_all(struct subject *s)
{
    return unr_send(&s->op, s->fds[0], s->buf, ROOM, MSG_WAITALL);
}
static struct unr_op *d_read(struct subject *s)
{
    return unr_read(&s->op, s->fds[0], s->buf, ROOM, -1);
}
static struct unr_op *d_write(struct subject *s)
{
    return unr_write(&s->op, s->fds[0], s->buf, ROOM, -1);
}
static struct unr_op *d_readv(struct subject *s)
{
    return unr_readv(&s->op, s->fds[0], two_pieces(s), 2, -1);
}
static struct unr_op *d_writev(struct subject *s)
{
    return unr_writev(&s->op, s->fds[0], two_pieces(s), 2, -1);
}
static struct unr_op *d_recvmsg(struct subject *s)
{
    return unr_recvmsg(&s->op, s->fds[0], message(s), 0);
}
static struct unr_op *d_send_now(struct subject *s)
{
    return unr_send_now(&s->op, s->fds[0], s->buf + s->sent, ROOM - s->sent, 0);
}
static struct unr_op *d_send_now_all(struct subject *s)
{
    return unr_send_now(&s->op, s->fds[0], s->buf, ROOM, MSG_WAITALL);
}
static struct unr_op *d_sendmsg(struct subject *s)
{
    return unr_sendmsg(&s->op, s->fds[0], message(s), 0);
}
static struct unr_op *d_recvmsg_all(struct subject *s)
{
    message(s)->msg_iov[1].iov_len = 9;
    return unr_recvmsg(&s->op, s->fds[0], &s->msg, MSG_WAITALL);
}
static struct unr_op *d_sendmsg_all(struct subject *s)
{
    return unr_sendmsg(&s->op, s->fds[0], message(s), MSG_WAITALL);
}

/* Two writes, so that MSG_WAITALL is between its steps. */
static void peer_writes_twice(void *subject)
{
    struct subject *s = subject;
    peer_writes(s);
    if (s->sent == 8 && s->type->describe != d_recv)
        unr_sim_later(peer_writes, s);
}

/* As often as it takes. */
static void peer_goes_on_reading(void *subject)
{
    struct subject *s = subject;
    peer_reads(s);
    if (s->runs == 0)
        unr_sim_later(peer_goes_on_reading, s);
}

/* ---- poll ---- */

static struct unr_op *d_poll(struct subject *s)
{
    return unr_poll(&s->op, s->fds[0], POLLIN);
}

static void verify_poll(struct subject *s)
{
    unsigned char rest[ROOM];
    ssize_t       n = unr_sim_read(s->fds[0], rest, sizeof rest);
    unr_sim_check((n > 0 ? (size_t)n : 0) == s->sent, "a poll takes nothing");
    if (s->op.result.error == 0)
        unr_sim_check(s->op.result.events & POLLIN, "it tells what holds");
}

/* ---- accept and connect ---- */

static void listening(struct subject *s)
{
    s->fds[0] = unr_sim_listener(80, 2);
    s->fds[1] = -1;
}

static struct unr_op *d_accept(struct subject *s)
{
    return unr_accept(&s->op, s->fds[0], NULL, NULL, SOCK_CLOEXEC);
}

static void peer_connects(void *subject)
{
    struct subject *s = subject;
    s->provoked = true;
    s->fds[1] = unr_sim_connect(80);
}

/* A connection was taken by the operation, or waits for the next accept. */
static void verify_accept(struct subject *s)
{
    int waiting = unr_sim_accept(s->fds[0]);
    unr_sim_check((s->op.result.fd >= 0) + (waiting >= 0) == (s->fds[1] >= 0),
                  "a connection is taken once or still waits");
    if (waiting >= 0)
        unr_sim_close(waiting);
}

static void close_accepted(struct subject *s)
{
    if (s->op.result.fd >= 0)
        unr_sim_close(s->op.result.fd);
    if (s->fds[1] >= 0)
        unr_sim_close(s->fds[1]);
    unr_sim_close(s->fds[0]);
}

static void to_connect(struct subject *s)
{
    s->fds[0] = unr_sim_socket();
    s->fds[1] = unr_sim_listener(80, 0);
    s->fds[2] = unr_sim_connect(80);
    s->fds[3] = -1;
    s->address = (struct sockaddr_in){ .sin_family = AF_INET,
                                       .sin_port = htons(80),
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static struct unr_op *d_connect(struct subject *s)
{
    return unr_connect(&s->op, s->fds[0], (struct sockaddr *)&s->address, sizeof s->address);
}

static void peer_accepts(void *subject)
{
    struct subject *s = subject;
    s->provoked = true;
    if (s->fds[3] < 0)
        s->fds[3] = unr_sim_accept(s->fds[1]);
}

/* Connected, or as new: then it can be connected at once. */
static void verify_connect(struct subject *s)
{
    struct unr_op again = { 0 };
    if (s->op.result.error == 0) {
        unr_sim_check(unr_sim_write(s->fds[0], "x", 1) == 1,
                      "a connect that succeeded is connected");
        return;
    }
    if (s->fds[3] < 0)
        s->fds[3] = unr_sim_accept(s->fds[1]);
    if (s->op.result.guarantee != UNR_CANCEL_TOTAL)
        return;
    unr_start(s->loop,
              unr_connect(&again, s->fds[0], (struct sockaddr *)&s->address, sizeof s->address),
              NULL, NULL);
    unr_loop_run(s->loop);
    unr_sim_check(again.result.error == 0, "a socket whose connect was cancelled connects again");
}

static void close_connected(struct subject *s)
{
    for (int i = 0; i < 4; i++)
        if (s->fds[i] >= 0)
            unr_sim_close(s->fds[i]);
}

/* ---- closing ---- */

static struct unr_op *d_close(struct subject *s)
{
    return unr_close(&s->op, s->fds[0]);
}
static struct unr_op *d_cancel_close(struct subject *s)
{
    return unr_cancel_close(&s->op, s->fds[0]);
}

static void verify_close(struct subject *s)
{
    char byte;
    unr_sim_check(s->op.result.error == 0, "a close always runs");
    unr_sim_check(unr_sim_read(s->fds[1], &byte, 1) == 0, "the peer sees the end");
}

static void close_peer(struct subject *s)
{
    unr_sim_close(s->fds[1]);
}

/* ---- splice and tee ---- */

static void two_pipes(struct subject *s)
{
    int from[2], to[2];
    unr_sim_pipe(from, 12);
    unr_sim_pipe(to, 12);
    s->fds[0] = from[0];
    s->fds[1] = from[1];
    s->fds[2] = to[1];
    s->fds[3] = to[0];
}

static struct unr_op *d_splice(struct subject *s)
{
    return unr_splice(&s->op, s->fds[0], -1, s->fds[2], -1, ROOM, 0);
}
static struct unr_op *d_tee(struct subject *s)
{
    return unr_tee(&s->op, s->fds[0], s->fds[2], ROOM, 0);
}

static void verify_splice(struct subject *s)
{
    unsigned char left[ROOM], moved[ROOM];
    ssize_t       n = unr_sim_read(s->fds[0], left, ROOM), m = unr_sim_read(s->fds[3], moved, ROOM);
    n = n > 0 ? n : 0;
    m = m > 0 ? m : 0;
    unr_sim_check((uint64_t)m == bytes_done(s), "what it counts has moved");
    unr_sim_check((size_t)(n + m) == s->sent
                      || (s->type->describe == d_tee && (size_t)n == s->sent),
                  "nothing is lost");
}

static void close_four(struct subject *s)
{
    for (int i = 0; i < 4; i++)
        unr_sim_close(s->fds[i]);
}

/* ---- what completes by itself ---- */

static void regular_file(struct subject *s)
{
    s->fds[0] = unr_sim_file(pattern, 8);
    s->fds[1] = -1;
    memcpy(s->buf, pattern, ROOM);
}

static void close_one(struct subject *s)
{
    unr_sim_close(s->fds[0]);
}

static struct unr_op *d_pread(struct subject *s)
{
    return unr_read(&s->op, s->fds[0], s->buf, ROOM, 0);
}
static struct unr_op *d_pwrite(struct subject *s)
{
    return unr_write(&s->op, s->fds[0], s->buf, ROOM, 0);
}
static struct unr_op *d_fsync(struct subject *s)
{
    return unr_fsync(&s->op, s->fds[0], 0);
}
static struct unr_op *d_ftruncate(struct subject *s)
{
    return unr_ftruncate(&s->op, s->fds[0], 4);
}
static struct unr_op *d_fallocate(struct subject *s)
{
    return unr_fallocate(&s->op, s->fds[0], 0, 0, 32);
}
static struct unr_op *d_fadvise(struct subject *s)
{
    return unr_fadvise(&s->op, s->fds[0], 0, 0, POSIX_FADV_WILLNEED);
}
static struct unr_op *d_sync_range(struct subject *s)
{
    return unr_sync_file_range(&s->op, s->fds[0], 0, 0, 0);
}

static size_t file_size(const struct subject *s)
{
    unsigned char bytes[64];
    size_t        total = 0;
    for (ssize_t n; (n = unr_sim_read(s->fds[0], bytes, sizeof bytes)) > 0;)
        total += (size_t)n;
    return total;
}

static void verify_pread(struct subject *s)
{
    unr_sim_check(bytes_done(s) == (s->op.result.error ? 0u : 8u), "all of the file, or nothing");
    unr_sim_check(memcmp(s->buf, pattern, bytes_done(s)) == 0, "what was read is what is there");
}

static void verify_pwrite(struct subject *s)
{
    unr_sim_check(file_size(s) == (s->op.result.error ? 8u : (unsigned)ROOM),
                  "all was written, or nothing");
}

static void verify_ftruncate(struct subject *s)
{
    unr_sim_check(file_size(s) == (s->op.result.error ? 8u : 4u), "cut, or as it was");
}

static void verify_fallocate(struct subject *s)
{
    const struct unr_result *r = &s->op.result;
    size_t                   size = file_size(s);
    bool                     a_part = r->guarantee == UNR_CANCEL_TERMINAL && size == 16;
    unr_sim_check(size == (r->error ? 8u : 32u) || a_part, "larger, or as it was");
}

static void verify_nothing(struct subject *s)
{
    (void)s;
}

static void no_descriptor(struct subject *s)
{
    s->fds[0] = s->fds[1] = s->fds[2] = s->fds[3] = -1;
}

static struct unr_op *d_socket(struct subject *s)
{
    return unr_socket(&s->op, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}
static struct unr_op *d_pipe(struct subject *s)
{
    return unr_pipe(&s->op, s->fds, O_CLOEXEC);
}

static void verify_produced(struct subject *s)
{
    unr_sim_check((s->op.result.error == 0) == (s->op.result.fd >= 0),
                  "a descriptor exactly with success");
}

static void verify_pipe(struct subject *s)
{
    unr_sim_check((s->op.result.error == 0) == (s->fds[0] >= 0), "a pipe exactly with success");
}

static void close_produced(struct subject *s)
{
    if (s->op.result.fd >= 0)
        unr_sim_close(s->op.result.fd);
    close_connected(s);
}

static void one_socket(struct subject *s)
{
    no_descriptor(s);
    s->fds[0] = unr_sim_socket();
    s->address =
        (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static struct unr_op *d_bind(struct subject *s)
{
    return unr_bind(&s->op, s->fds[0], (struct sockaddr *)&s->address, sizeof s->address);
}
static struct unr_op *d_listen(struct subject *s)
{
    return unr_listen(&s->op, s->fds[0], 2);
}
static struct unr_op *d_shutdown(struct subject *s)
{
    return unr_shutdown(&s->op, s->fds[0], SHUT_WR);
}

static void verify_shutdown(struct subject *s)
{
    char    byte;
    ssize_t n = unr_sim_read(s->fds[1], &byte, 1);
    unr_sim_check(n == (s->op.result.error ? -EAGAIN : 0), "shut, or as it was");
}

/* ---- processes and futexes ---- */

static void a_child(struct subject *s)
{
    no_descriptor(s);
    s->child = unr_sim_child();
}

static void child_exits(void *subject)
{
    struct subject *s = subject;
    s->provoked = true;
    unr_sim_child_exit(s->child, 7);
}

static struct unr_op *d_waitid(struct subject *s)
{
    return unr_waitid(&s->op, P_PID, (unsigned)s->child, NULL, WEXITED);
}

static void verify_waitid(struct subject *s)
{
    struct unr_op again = { 0 };
    if (s->op.result.error == 0 || s->op.result.error == -EOPNOTSUPP)
        return;
    if (!s->provoked)
        child_exits(s);
    unr_start(s->loop, unr_waitid(&again, P_PID, (unsigned)s->child, NULL, WEXITED), NULL, NULL);
    unr_loop_run(s->loop);
    unr_sim_check(again.result.error == 0 || again.result.error == -EOPNOTSUPP,
                  "a child that was not reported is there for the next wait");
}

static struct unr_op *d_futex_wake(struct subject *s)
{
    return unr_futex_wake(&s->op, &s->futex, 1, UINT32_MAX, 2 /* FUTEX2_SIZE_U32 */);
}

/* ---- one read and one write with flags, one datagram call on a stream ---- */

static struct unr_op *d_read_with(struct subject *s)
{
    return unr_read_with(&s->op, s->fds[0], two_pieces(s), 2, -1, 0);
}
static struct unr_op *d_write_with(struct subject *s)
{
    return unr_write_with(&s->op, s->fds[0], two_pieces(s), 2, -1, 0);
}
static struct unr_op *d_recvfrom(struct subject *s)
{
    return unr_recvfrom(&s->datagram, s->fds[0], s->buf, ROOM, 0, NULL, NULL);
}
static struct unr_op *d_sendto(struct subject *s)
{
    return unr_sendto(&s->op, s->fds[0], s->buf, ROOM, 0, NULL, 0);
}

/* ---- epoll ---- */

static void watched_pair(struct subject *s)
{
    pair(s);
    s->fds[2] = s->fds[0];
    s->fds[0] = unr_sim_epoll(s->fds[2], EPOLLIN);
}

static struct unr_op *d_epoll_wait(struct subject *s)
{
    return unr_epoll_wait(&s->op, s->fds[0], (struct epoll_event *)s->stat, 1);
}

static void verify_epoll_wait(struct subject *s)
{
    unr_sim_check(s->op.result.value == (s->op.result.error == 0), "one event, or none");
}

static void close_watched(struct subject *s)
{
    unr_sim_close(s->fds[2]);
    close_both(s);
}

/* ---- extended attributes ---- */

#define ATTRIBUTE       "user.unring"
#define ATTRIBUTE_VALUE "value"

static void fill_fsetxattr(void *entry, void *subject)
{
    struct io_uring_sqe *sqe = entry;
    struct subject      *s = subject;
    io_uring_prep_fsetxattr(sqe, s->fds[0], ATTRIBUTE, ATTRIBUTE_VALUE, 0, 5);
}

static void file_with_attribute(struct subject *s)
{
    struct unr_op set = { 0 };
    regular_file(s);
    unr_start(s->loop, unr_sqe(&set, "fsetxattr", UNR_CANCEL_ALL, fill_fsetxattr, s), NULL, NULL);
    unr_loop_run(s->loop);
    unr_sim_check(set.result.error == 0, "the attribute is set");
}

static struct unr_op *d_fgetxattr(struct subject *s)
{
    return unr_fgetxattr(&s->op, s->fds[0], ATTRIBUTE, s->buf, ROOM);
}

static void verify_fgetxattr(struct subject *s)
{
    bool done = s->op.result.error == 0;
    unr_sim_check(s->op.result.value == (done ? 5 : 0), "its length is the value");
    unr_sim_check(!done || memcmp(s->buf, ATTRIBUTE_VALUE, 5) == 0, "the value is in the buffer");
}

static struct unr_op *d_getxattr(struct subject *s)
{
    return unr_getxattr(&s->op, "old", ATTRIBUTE, s->buf, ROOM);
}

/* It finds the path, and no attribute there. */
static void verify_getxattr(struct subject *s)
{
    unr_sim_check(s->op.result.error == -ENODATA || s->op.result.error == -ECANCELED,
                  "the file has no such attribute");
}

static struct unr_op *d_setxattr(struct subject *s)
{
    return unr_setxattr(&s->op, "old", ATTRIBUTE, ATTRIBUTE_VALUE, 5, XATTR_CREATE);
}

/* The attribute is there exactly with success. */
static void verify_setxattr(struct subject *s)
{
    struct unr_op get = { 0 };
    unr_start(s->loop, unr_getxattr(&get, "old", ATTRIBUTE, s->buf, ROOM), NULL, NULL);
    unr_loop_run(s->loop);
    if (s->op.result.error) {
        unr_sim_check(s->op.result.error == -ECANCELED, "nothing else keeps it from success");
        unr_sim_check(get.result.error == -ENODATA, "there is no attribute");
        return;
    }
    unr_sim_check(get.result.value == 5, "its length is what was set");
    unr_sim_check(memcmp(s->buf, ATTRIBUTE_VALUE, 5) == 0, "its value is what was set");
}

/* ---- the table of subjects ---- */

#define SUBJECT(name, set_up, provoke, verify, tear_down)                                          \
    SINCE(name, set_up, provoke, verify, tear_down, 0, 0)
#define BOUNDED(name, set_up, provoke, verify, tear_down, deviations_max)                          \
    SINCE(name, set_up, provoke, verify, tear_down, deviations_max, 0)
#define SINCE(name, set_up, provoke, verify, tear_down, deviations_max, since)                     \
    static const struct subject_type subject_##name = {                                            \
        #name, set_up, d_##name, provoke, verify, tear_down, deviations_max, since                 \
    }

/* Before 6.5 a write stays until all of it is written, and the peer of these three reads once:
 * subject_whole_write has one that reads on. */
#define PIPE_WRITE(name) SINCE(name, pipe_to_write, peer_reads, verify_write, close_both, 0, 605)

SUBJECT(nop, no_descriptor, NULL, verify_nothing, NULL);
SUBJECT(recv, pair, peer_writes, verify_read, close_both);
SUBJECT(recv_all, pair, peer_writes_twice, verify_read, close_both);
SUBJECT(recvmsg, pair, peer_writes, verify_read, close_both);
SUBJECT(recvmsg_all, pair, peer_writes_twice, verify_read, close_both);
SUBJECT(send, full_pair, peer_reads, verify_write, close_both);
BOUNDED(send_all, full_pair, peer_goes_on_reading, verify_write, close_both, 5);
BOUNDED(send_now, stuffed_pair, peer_goes_on_reading, verify_behind_stuffing, close_both, 5);
BOUNDED(send_now_all, full_pair, peer_goes_on_reading, verify_write, close_both, 5);
SUBJECT(sendmsg, full_pair, peer_reads, verify_write, close_both);
BOUNDED(sendmsg_all, full_pair, peer_goes_on_reading, verify_write, close_both, 5);
SUBJECT(read, pipe_to_read, peer_writes, verify_read, close_both);
SUBJECT(readv, pipe_to_read, peer_writes, verify_read, close_both);
PIPE_WRITE(write);
PIPE_WRITE(writev);
SUBJECT(read_with, pipe_to_read, peer_writes, verify_read, close_both);
PIPE_WRITE(write_with);
SUBJECT(recvfrom, pair, peer_writes, verify_read, close_both);
SUBJECT(sendto, full_pair, peer_reads, verify_write, close_both);
SUBJECT(epoll_wait, watched_pair, peer_writes, verify_epoll_wait, close_watched);
SUBJECT(fgetxattr, file_with_attribute, NULL, verify_fgetxattr, close_one);
SUBJECT(poll, pair, peer_writes, verify_poll, close_both);
SUBJECT(accept, listening, peer_connects, verify_accept, close_accepted);
BOUNDED(connect, to_connect, peer_accepts, verify_connect, close_connected, 8);
SUBJECT(close, pair, NULL, verify_close, close_peer);
SUBJECT(cancel_close, pair, NULL, verify_close, close_peer);
SUBJECT(splice, two_pipes, peer_writes, verify_splice, close_four);
SUBJECT(tee, two_pipes, peer_writes, verify_splice, close_four);
SUBJECT(pread, regular_file, NULL, verify_pread, close_one);
SUBJECT(pwrite, regular_file, NULL, verify_pwrite, close_one);
SUBJECT(fsync, regular_file, NULL, verify_nothing, close_one);
SUBJECT(ftruncate, regular_file, NULL, verify_ftruncate, close_one);
SUBJECT(fallocate, regular_file, NULL, verify_fallocate, close_one);
SUBJECT(fadvise, regular_file, NULL, verify_nothing, close_one);
SUBJECT(sync_range, regular_file, NULL, verify_nothing, close_one);
SUBJECT(socket, no_descriptor, NULL, verify_produced, close_produced);
SUBJECT(pipe, no_descriptor, NULL, verify_pipe, close_connected);
SUBJECT(bind, one_socket, NULL, verify_nothing, close_one);
SUBJECT(listen, one_socket, NULL, verify_nothing, close_one);
SUBJECT(shutdown, pair, NULL, verify_shutdown, close_both);
SUBJECT(waitid, a_child, child_exits, verify_waitid, NULL);
SUBJECT(futex_wake, no_descriptor, NULL, verify_nothing, NULL);

/* ---- names: each begins with a file "old", and ends with what there is being looked at ---- */

static bool exists(struct subject *s, const char *path)
{
    struct unr_op op = { 0 };
    struct statx  stat;
    unr_start(s->loop, unr_statx(&op, AT_FDCWD, path, 0, STATX_BASIC_STATS, &stat), NULL, NULL);
    unr_loop_run(s->loop);
    return op.result.error == 0;
}

static void make_old(struct subject *s)
{
    struct unr_op open = { 0 };
    no_descriptor(s);
    unr_start(s->loop, unr_openat(&open, AT_FDCWD, "old", O_CREAT | O_RDWR | O_CLOEXEC, 0600), NULL,
              NULL);
    unr_loop_run(s->loop);
    unr_sim_check(open.result.fd >= 0, "the file is made");
    unr_sim_close(open.result.fd);
}

static struct unr_op *d_openat(struct subject *s)
{
    return unr_openat(&s->op, AT_FDCWD, "new", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
}
static struct unr_op *d_statx(struct subject *s)
{
    return unr_statx(&s->op, AT_FDCWD, "old", 0, STATX_BASIC_STATS, (struct statx *)s->stat);
}
static struct unr_op *d_unlinkat(struct subject *s)
{
    return unr_unlinkat(&s->op, AT_FDCWD, "old", 0);
}
static struct unr_op *d_renameat(struct subject *s)
{
    return unr_renameat(&s->op, AT_FDCWD, "old", AT_FDCWD, "new", 0);
}
static struct unr_op *d_linkat(struct subject *s)
{
    return unr_linkat(&s->op, AT_FDCWD, "old", AT_FDCWD, "new", 0);
}
static struct unr_op *d_symlinkat(struct subject *s)
{
    return unr_symlinkat(&s->op, "old", AT_FDCWD, "new");
}
static struct unr_op *d_mkdirat(struct subject *s)
{
    return unr_mkdirat(&s->op, AT_FDCWD, "new", 0700);
}

static void verify_new(struct subject *s)
{
    unr_sim_check(exists(s, "new") == (s->op.result.error == 0), "made exactly with success");
}

static void verify_openat(struct subject *s)
{
    verify_produced(s);
    verify_new(s);
}

static void verify_unlinkat(struct subject *s)
{
    unr_sim_check(exists(s, "old") == (s->op.result.error != 0), "gone exactly with success");
}

static void verify_renameat(struct subject *s)
{
    verify_new(s);
    verify_unlinkat(s);
}

SUBJECT(getxattr, make_old, NULL, verify_getxattr, NULL);
SUBJECT(setxattr, make_old, NULL, verify_setxattr, NULL);
SUBJECT(openat, no_descriptor, NULL, verify_openat, close_produced);
SUBJECT(statx, make_old, NULL, verify_nothing, NULL);
SUBJECT(unlinkat, make_old, NULL, verify_unlinkat, NULL);
SUBJECT(renameat, make_old, NULL, verify_renameat, NULL);
SUBJECT(linkat, make_old, NULL, verify_new, NULL);
SUBJECT(symlinkat, make_old, NULL, verify_new, NULL);
SUBJECT(mkdirat, no_descriptor, NULL, verify_new, NULL);

/* ---- futex_wait needs a wake, which is an operation ---- */

static struct unr_op *d_futex_wait(struct subject *s)
{
    return unr_futex_wait(&s->op, &s->futex, 0, UINT32_MAX, 2 /* FUTEX2_SIZE_U32 */);
}

static void expect_no_waiter(struct subject *s)
{
    struct unr_op wake = { 0 };
    unr_start(s->loop, unr_futex_wake(&wake, &s->futex, 1, UINT32_MAX, 2), NULL, NULL);
    unr_loop_run(s->loop);
    unr_sim_check(wake.result.value == 0, "nobody waits any more");
}

SUBJECT(futex_wait, no_descriptor, NULL, expect_no_waiter, NULL);

/* ---- through unr_sqe ---- */

static void fill_recv(void *entry, void *subject)
{
    struct io_uring_sqe *sqe = entry;
    struct subject      *s = subject;
    io_uring_prep_recv(sqe, s->fds[0], s->buf, ROOM, 0);
}

static void fill_send_zc(void *entry, void *subject)
{
    struct io_uring_sqe *sqe = entry;
    struct subject      *s = subject;
    io_uring_prep_send(sqe, s->fds[0], s->buf, ROOM, 0);
    sqe->opcode = IORING_OP_SEND_ZC;
}

static struct unr_op *d_sqe_recv(struct subject *s)
{
    return unr_sqe(&s->op, "recv", UNR_CANCEL_ALL, fill_recv, s);
}
static struct unr_op *d_send_zc(struct subject *s)
{
    return unr_sqe(&s->op, "send_zc", UNR_CANCEL_ALL, fill_send_zc, s);
}

SUBJECT(sqe_recv, pair, peer_writes, verify_read, close_both);
SUBJECT(send_zc, full_pair, peer_reads, verify_write, close_both);

const struct subject_type *const subject_types[] = {
    &subject_nop,         &subject_recv,         &subject_recv_all,   &subject_recvmsg,
    &subject_recvmsg_all, &subject_send,         &subject_send_all,   &subject_sendmsg,
    &subject_sendmsg_all, &subject_read,         &subject_readv,      &subject_write,
    &subject_writev,      &subject_poll,         &subject_accept,     &subject_connect,
    &subject_close,       &subject_cancel_close, &subject_splice,     &subject_tee,
    &subject_pread,       &subject_pwrite,       &subject_fsync,      &subject_ftruncate,
    &subject_fallocate,   &subject_fadvise,      &subject_sync_range, &subject_socket,
    &subject_pipe,        &subject_bind,         &subject_listen,     &subject_shutdown,
    &subject_openat,      &subject_statx,        &subject_unlinkat,   &subject_renameat,
    &subject_linkat,      &subject_symlinkat,    &subject_mkdirat,    &subject_waitid,
    &subject_futex_wait,  &subject_futex_wake,   &subject_read_with,  &subject_write_with,
    &subject_recvfrom,    &subject_sendto,       &subject_epoll_wait, &subject_getxattr,
    &subject_fgetxattr,   &subject_setxattr,     &subject_sqe_recv,   &subject_send_zc,
    &subject_send_now,    &subject_send_now_all,
};
const unsigned subject_type_count = sizeof subject_types / sizeof *subject_types;

/* ---- the scenarios ---- */

/* What ends only when somebody provokes it must be cancelled in the end, or the run would wait for
 * ever. */
static bool ends_by_itself(const struct subject *s)
{
    return s->type->provoke || s->type != &subject_futex_wait;
}

static unsigned some_types(void)
{
    static const unsigned types[] = { UNR_CANCEL_ALL, UNR_CANCEL_TOTAL, UNR_CANCEL_PARTIAL,
                                      UNR_CANCEL_TERMINAL };
    return types[unr_sim_choose(4)];
}

static void ask(struct subject *s, unsigned types)
{
    bool live = unr_in_flight(&s->op);
    bool honours = live && !unri_has_ended(&s->op) && types & unr_supports(&s->op);
    if (unr_sim_choose(2))
        unr_sim_check(unr_signal_emit(&s->signal, types) == honours,
                      "an emit counts whoever honours it and has not completed");
    else
        unr_sim_check(unr_cancel(&s->op, types) == live,
                      "a request is heard exactly while the operation is in flight");
}

/* The name of the row of the library that a subject is an operation of. */
static const char *row_of(const struct subject_type *type)
{
    struct subject s = { .type = type };
    return type->describe(&s)->type->name;
}

/* Each system call of the library is a subject here.  (unr_sqe() is, under a name of the caller's.)
 */
static void every_call_is_a_subject(const struct scenario *scenario)
{
    (void)scenario;
    for (unsigned i = 0; i < unri_row_count; i++) {
        const char *name = unri_rows[i]->type.name;
        unsigned    subject = 0;
        while (subject < subject_type_count && strcmp(row_of(subject_types[subject]), name) != 0)
            subject++;
        char missing[80];
        snprintf(missing, sizeof missing, "%s is a subject of tests/sim/scenarios/operations.c",
                 name);
        unr_sim_check(subject < subject_type_count, missing);
    }
}

/* Started, perhaps asked to cancel at any point, with any types, once or twice, completing when it
 * will. */
static void cancelled_at_every_point(const struct scenario *scenario)
{
    struct subject s;
    set_up(&s, scenario->parameter, open_small_loop());
    start(&s);
    if (s.type->provoke)
        unr_sim_later(s.type->provoke, &s);
    unsigned turns = unr_sim_choose(3), requests = ends_by_itself(&s) ? unr_sim_choose(3) : 1;
    for (unsigned i = 0; i < turns; i++)
        unr_loop_run_once(s.loop, 0);
    for (unsigned i = 0; i < requests; i++)
        ask(&s, ends_by_itself(&s) ? some_types() : UNR_CANCEL_ALL);
    unr_loop_run(s.loop);
    verify(&s);
    tear_down(&s);
}

/* Closing the loop at any point ends it, with -ESHUTDOWN if it was not over. */
static void closed_at_every_point(const struct scenario *scenario)
{
    struct subject s;
    set_up(&s, scenario->parameter, open_small_loop());
    start(&s);
    if (s.type->provoke)
        unr_sim_later(s.type->provoke, &s);
    for (unsigned turns = unr_sim_choose(3); turns; turns--)
        unr_loop_run_once(s.loop, 0);
    bool live = unr_in_flight(&s.op);
    close_loop(s.loop);
    unr_sim_check(s.runs == 1, "closing runs each done");
    if (live && s.op.result.error == -ECANCELED)
        unr_sim_check(s.op.result.cause == -ESHUTDOWN, "closing says why");
    s.loop = open_small_loop();
    verify(&s);
    tear_down(&s);
}

struct in_done {
    struct subject *subject;
    struct unr_op   op;
};

static void ask_in_done(struct unr_op *op)
{
    struct in_done *other = op->data;
    ask(other->subject, UNR_CANCEL_ALL);
}

/* Asked from inside another operation's `done`, which may be of the same turn. */
static void cancelled_inside_a_done(const struct scenario *scenario)
{
    struct subject s;
    struct in_done nop = { .subject = &s };
    set_up(&s, scenario->parameter, open_small_loop());
    if (unr_sim_choose(2)) {
        unr_start(s.loop, unr_nop(&nop.op), ask_in_done, &nop);
        start(&s);
    } else {
        start(&s);
        unr_start(s.loop, unr_nop(&nop.op), ask_in_done, &nop);
    }
    if (s.type->provoke)
        unr_sim_later(s.type->provoke, &s);
    unr_loop_run(s.loop);
    verify(&s);
    tear_down(&s);
}

/* Latched before it starts: it never begins, unless it honours nothing of it. */
static void latched_before_it_starts(const struct scenario *scenario)
{
    struct subject s;
    unsigned       types = some_types();
    set_up(&s, scenario->parameter, open_small_loop());
    unr_signal_init_latched(&s.signal);
    unr_signal_emit(&s.signal, types);
    unsigned supports = unr_supports(s.type->describe(&s));
    if (!(types & supports) && !ends_by_itself(&s))
        types = UNR_CANCEL_ALL;
    start(&s);
    if (s.type->provoke)
        unr_sim_later(s.type->provoke, &s);
    unr_loop_run(s.loop);
    unr_sim_check(s.op.result.verdict
                      == (types & supports ? UNR_VERDICT_UNSUBMITTED : UNR_VERDICT_REFUSED),
                  "a latched request is one made at start");
    verify(&s);
    tear_down(&s);
}

/* Cancelled by descriptor, and closed under it by unr_cancel_close. */
static void its_descriptor_cancelled(const struct scenario *scenario)
{
    struct subject s;
    set_up(&s, scenario->parameter, open_small_loop());
    start(&s);
    if (s.type->provoke)
        unr_sim_later(s.type->provoke, &s);
    for (unsigned turns = unr_sim_choose(3); turns; turns--)
        unr_loop_run_once(s.loop, 0);
    bool     live = unr_in_flight(&s.op);
    unsigned count = s.fds[0] >= 0 ? unr_cancel_fd(s.loop, s.fds[0], UNR_CANCEL_ALL) : 0;
    unr_sim_check(count <= live, "as many as are in flight");
    if (!count && live && !ends_by_itself(&s))
        unr_cancel(&s.op, UNR_CANCEL_ALL);
    unr_loop_run(s.loop);
    verify(&s);
    tear_down(&s);
}

/* ---- on older kernels ---- */

/* A call that the kernel lacks ends in its start, with an error of its own.  The kernel never sees
 * it, so nothing is cancelled, and what it would have waited for is not waited for. */
static void lacks_the_call(const struct scenario *scenario)
{
    struct subject s;
    set_up(&s, scenario->parameter, open_small_loop());
    start(&s);
    unsigned requests = unr_sim_choose(2);
    if (requests)
        ask(&s, UNR_CANCEL_ALL);
    unr_loop_run(s.loop);
    unr_sim_check(s.op.result.error == -EOPNOTSUPP, "a call that the kernel lacks says so");
    unr_sim_check(s.op.result.fd == -1, "nothing was produced");
    verify(&s);
    tear_down(&s);
}

/* An SQE of the caller's is the kernel's to refuse. */
static void fill_later_call(void *entry, void *data)
{
    struct io_uring_sqe *sqe = entry;
    io_uring_prep_nop(sqe);
    sqe->opcode = *(const uint8_t *)data;
}

static void lacks_the_opcode(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    op = { 0 };
    uint8_t          opcode = UNRI_OP_PIPE;
    (void)scenario;
    unr_start(loop, unr_sqe(&op, "pipe", UNR_CANCEL_ALL, fill_later_call, &opcode), NULL, NULL);
    unr_loop_run(loop);
    unr_sim_check(op.result.error == -EINVAL, "an SQE that the kernel does not know is refused");
    close_loop(loop);
}

static struct unr_op *d_whole_write(struct subject *s)
{
    return d_write(s);
}

BOUNDED(whole_write, pipe_to_write, peer_goes_on_reading, verify_write, close_both, 5);

enum { KINDS = 6, TYPES_MAX = 64, OLDER_MAX = 4, SHORT_MAX = 4, PLAIN_DEVIATIONS_MAX = 5 };

static struct scenario all[1 + (KINDS + 1) * TYPES_MAX + OLDER_MAX + SHORT_MAX + 1];
static char            names[1 + (KINDS + 1) * TYPES_MAX][40];

/* Of the subjects, those whose call is newer than Linux 6.1; what 6.1 does otherwise; and those
 * that open descriptors. */
static void add_others(unsigned n)
{
    for (unsigned i = 0; i < subject_type_count; i++) {
        struct subject         s = { .type = subject_types[i] };
        const struct unri_row *row = unri_row_of(s.type->describe(&s));
        if (!row->needs)
            continue;
        snprintf(names[n], sizeof names[n], "older/lacks-%s", subject_types[i]->name);
        all[n] = (struct scenario){ .name = names[n],
                                    .run = lacks_the_call,
                                    .parameter = subject_types[i],
                                    .linux_version = 601 };
        n++;
    }
    const struct scenario older[OLDER_MAX] = {
        { .name = "older/lacks-opcode", .run = lacks_the_opcode },
        { .name = "older/cancel-write", .run = cancelled_at_every_point },
        { .name = "older/close-write", .run = closed_at_every_point },
        { .name = "older/in-done-write", .run = cancelled_inside_a_done },
    };
    const struct scenario short_of[SHORT_MAX] = {
        { .name = "resources/accept", .parameter = &subject_accept },
        { .name = "resources/socket", .parameter = &subject_socket },
        { .name = "resources/pipe", .parameter = &subject_pipe },
        { .name = "resources/openat", .parameter = &subject_openat },
    };
    for (unsigned i = 0; i < SHORT_MAX; i++) {
        all[n] = short_of[i];
        all[n].run = cancelled_at_every_point;
        all[n].deviations_max = 5;
        all[n++].faults = UNR_FAULT_RESOURCES;
    }
    for (unsigned i = 0; i < OLDER_MAX; i++) {
        all[n] = older[i];
        all[n].linux_version = 601;
        all[n].parameter = &subject_whole_write;
        all[n++].deviations_max = subject_whole_write.deviations_max;
    }
}

const struct scenario *scenarios_operations_table(void)
{
    static const struct {
        const char *prefix;
        void (*run)(const struct scenario *scenario);
        unsigned loop_flags;
    } kinds[KINDS] = {
        { "cancel", cancelled_at_every_point, 0 },
        { "close", closed_at_every_point, 0 },
        { "in-done", cancelled_inside_a_done, 0 },
        { "latched", latched_before_it_starts, 0 },
        { "by-fd", its_descriptor_cancelled, 0 },
        { "plain", cancelled_at_every_point, UNR_LOOP_PLAIN },
    };
    unsigned n = 0;
    all[n++] =
        (struct scenario){ .name = "every-call/is-a-subject", .run = every_call_is_a_subject };
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (unsigned i = 0; i < subject_type_count; i++, n++) {
            snprintf(names[n], sizeof names[n], "%s/%s", kinds[kind].prefix,
                     subject_types[i]->name);
            all[n] = (struct scenario){ .name = names[n],
                                        .run = kinds[kind].run,
                                        .parameter = subject_types[i],
                                        .deviations_max = subject_types[i]->deviations_max,
                                        .loop_flags = kinds[kind].loop_flags,
                                        .since = subject_types[i]->since };
            if (kinds[kind].loop_flags & UNR_LOOP_PLAIN)
                all[n].deviations_max = PLAIN_DEVIATIONS_MAX;
        }
    add_others(n);
    return all;
}
