/* SPDX-License-Identifier: MIT */
/* Sends that are tried at once: what goes through is sent inside the start, with one system call
 * and no SQE; what does not waits as any send; and no send overtakes another operation that was
 * started before it on the same number. */
#include "support.h"

#include <limits.h>
#include <liburing.h>

TestSuite(send_now, .init = open_loop, .timeout = 20);

/* ---- the calls of send(2) and sendmsg(2), counted ---- */

/* Those with the flags that unring gives them: the test's runner sends as well. */
static unsigned calls;
static int      interruptions; /* so many calls end with EINTR */

static bool is_interrupted(int flags)
{
    const int unrings = MSG_DONTWAIT | MSG_NOSIGNAL;
    if ((flags & unrings) != unrings)
        return false;
    calls++;
    if (interruptions == 0)
        return false;
    interruptions--;
    errno = EINTR;
    return true;
}

/* These stand in front of the C library's own.  The tests call plain_send(). */
ssize_t seam_send(int fd, const void *buf, size_t len, int flags) __asm__("send");
ssize_t seam_sendmsg(int fd, const struct msghdr *message, int flags) __asm__("sendmsg");

ssize_t seam_send(int fd, const void *buf, size_t len, int flags)
{
    return is_interrupted(flags) ? -1 : syscall(SYS_sendto, fd, buf, len, flags, NULL, 0);
}

ssize_t seam_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return is_interrupted(flags) ? -1 : syscall(SYS_sendmsg, fd, message, flags);
}

static ssize_t plain_send(int fd, const void *buf, size_t len)
{
    return sendto(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
}

/* ---- sockets ---- */

static char filler[4096];

/* Fills a socket until not even a byte has room. */
static size_t fill(int fd)
{
    size_t  total = 0;
    ssize_t n;
    for (size_t len = sizeof filler; len; len = len > 1 ? len / 2 : 0)
        while ((n = plain_send(fd, filler, len)) > 0)
            total += (size_t)n;
    cr_assert_eq(errno, EAGAIN);
    return total;
}

static void expect_there(int fd, const char *text)
{
    char    bytes[64];
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    cr_assert_eq(n, (ssize_t)strlen(text), "%zd bytes, %s", n, n < 0 ? strerror(errno) : "");
    cr_assert_eq(memcmp(bytes, text, strlen(text)), 0);
}

static void expect_nothing_there(int fd)
{
    char byte;
    cr_assert_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    cr_assert_eq(errno, EAGAIN);
}

static uint64_t enters(void)
{
    struct unr_stats s;
    unr_loop_stats(loop, &s, sizeof s);
    return s.enters;
}

/* ---- what goes through ---- */

/* The first turn submits what the loop itself has in flight. */
Test(send_now, is_one_send_and_no_submission)
{
    struct seen seen = { 0 };
    int         fds[2];
    tcp_pair(fds);
    start(&seen, unr_nop(&seen.op));
    run();
    uint64_t before = enters();
    for (int i = 0; i < 100; i++) {
        seen.runs = 0;
        calls = 0;
        start(&seen, unr_send_now(&seen.op, fds[0], "hello", 5, 0));
        cr_assert_eq(seen.runs, 0, "a done never runs inside the start");
        cr_assert_eq(calls, 1);
        cr_assert(unr_in_flight(&seen.op));
        expect_there(fds[1], "hello");
        cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 1);
        cr_assert_eq(seen.runs, 1);
        cr_assert_eq(seen.result.error, 0);
        cr_assert_eq(seen.result.bytes, 5);
        cr_assert_eq(seen.result.verdict, UNR_VERDICT_NONE);
    }
    cr_assert_eq(enters(), before);
    close_pair(fds);
    close_loop();
}

Test(send_now, before_the_loop_has_run)
{
    struct seen seen = { 0 };
    int         fds[2];
    unix_pair(fds);
    start(&seen, unr_send_now(&seen.op, fds[0], "hello", 5, 0));
    expect_there(fds[1], "hello");
    run();
    cr_assert_eq(seen.result.bytes, 5);
    close_pair(fds);
    close_loop();
}

Test(send_now, request_behind_it_is_too_late)
{
    struct seen seen = { 0 };
    int         fds[2];
    unix_pair(fds);
    start(&seen, unr_send_now(&seen.op, fds[0], "hello", 5, 0));
    cr_assert(unr_cancel(&seen.op, UNR_CANCEL_ALL));
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.bytes, 5);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_TOO_LATE);
    expect_there(fds[1], "hello");
    close_pair(fds);
    close_loop();
}

Test(send_now, request_before_the_start_sends_nothing)
{
    struct seen       seen = { 0 };
    struct unr_signal stop = { 0 };
    int               fds[2];
    unix_pair(fds);
    unr_signal_init_latched(&stop);
    unr_signal_emit(&stop, UNR_CANCEL_TOTAL);
    start(&seen,
          unr_bind_slot(unr_send_now(&seen.op, fds[0], "hello", 5, 0), unr_signal_slot(&stop)));
    run();
    expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    cr_assert_eq(calls, 0);
    expect_nothing_there(fds[1]);

    seen.runs = 0; /* and what it refuses does not keep it */
    start(&seen, unr_bind_slot(unr_send_now(&seen.op, fds[0], "hello", 5, MSG_WAITALL),
                               unr_signal_slot(&stop)));
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_REFUSED);
    expect_there(fds[1], "hello");
    close_pair(fds);
    close_loop();
}

Test(send_now, interrupted_is_made_again)
{
    struct seen seen = { 0 };
    int         fds[2];
    unix_pair(fds);
    interruptions = 3;
    start(&seen, unr_send_now(&seen.op, fds[0], "hello", 5, 0));
    cr_assert_eq(calls, 4);
    expect_there(fds[1], "hello");
    run();
    cr_assert_eq(seen.result.bytes, 5);
    close_pair(fds);
    close_loop();
}

Test(send_now, wakes_the_loop_in_which_it_is_embedded)
{
    struct seen seen = { 0 };
    int         fds[2], own = unr_loop_fd(loop);
    unix_pair(fds);
    submit();
    cr_assert_not(readable(own));
    start(&seen, unr_send_now(&seen.op, fds[0], "hello", 5, 0));
    cr_assert(readable(own));
    submit();
    cr_assert_eq(seen.runs, 1);
    close_pair(fds);
    close_loop();
}

static void send_again(struct seen *seen)
{
    if (seen->runs < 1000)
        start(seen, unr_send_now(&seen->op, *(int *)seen->context, "", 0, 0));
}

/* One that starts itself again and again ends once in a turn, so it starves nobody. */
Test(send_now, that_starts_itself_again_starves_nobody)
{
    struct seen seen = { .then = send_again }, other = { 0 };
    int         fds[2], others[2];
    char        byte;
    unix_pair(fds);
    unix_pair(others);
    seen.context = &fds[0];
    start(&other, unr_recv(&other.op, others[0], &byte, 1, 0));
    submit();
    start(&seen, unr_send_now(&seen.op, fds[0], "", 0, 0));
    cr_assert_eq(write(others[1], "x", 1), 1);
    finish(&other);
    cr_assert_lt(seen.runs, 1000);
    run();
    cr_assert_eq(seen.runs, 1000);
    close_pair(fds);
    close_pair(others);
    close_loop();
}

/* ---- what has to wait ---- */

Test(send_now, without_room_waits)
{
    struct seen seen = { 0 };
    int         fds[2];
    unix_pair(fds);
    size_t filled = fill(fds[0]);
    start(&seen, unr_send_now(&seen.op, fds[0], "hello", 5, 0));
    cr_assert_eq(calls, 1);
    submit();
    cr_assert_eq(seen.runs, 0);
    size_t arrived = drain(fds[1]); /* on a plain ring it may be among that already */
    finish(&seen);
    cr_assert_eq(calls, 1);
    cr_assert_eq(seen.result.bytes, 5);
    cr_assert_eq(arrived + drain(fds[1]), filled + 5);
    close_pair(fds);
    close_loop();
}

Test(send_now, without_room_is_cancelled)
{
    struct seen seen = { 0 };
    int         fds[2];
    unix_pair(fds);
    fill(fds[0]);
    start(&seen, unr_send_now(&seen.op, fds[0], "hello", 5, 0));
    unr_cancel(&seen.op, UNR_CANCEL_TOTAL);
    run();
    expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    seen.runs = 0;
    start(&seen, unr_send_now(&seen.op, fds[0], "hello", 5, 0));
    submit();
    unr_cancel(&seen.op, UNR_CANCEL_TOTAL);
    run();
    expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    drain(fds[1]);
    expect_nothing_there(fds[1]);
    close_pair(fds);
    close_loop();
}

Test(send_now, that_is_not_to_wait_does_not)
{
    struct seen seen = { 0 };
    int         fds[2];
    unix_pair(fds);
    fill(fds[0]);
    start(&seen, unr_send_now(&seen.op, fds[0], "hello", 5, MSG_DONTWAIT));
    run();
    cr_assert_eq(seen.result.error, -EAGAIN);
    cr_assert_eq(seen.result.bytes, 0);
    close_pair(fds);
    close_loop();
}

/* ---- MSG_WAITALL: a part goes through at once, the kernel sends the rest ---- */

enum { LARGE = 8 << 20 };

static unsigned char large[LARGE];

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 2654435761u >> 11);
}

static void fill_large(void)
{
    for (size_t i = 0; i < LARGE; i++)
        large[i] = pattern(i);
}

/* Takes what is there, and looks whether it goes on from byte `at`. */
static size_t take(int fd, size_t at)
{
    static unsigned char bytes[65536];
    size_t               total = 0;
    ssize_t              n;
    while ((n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        cr_assert_eq(memcmp(bytes, large + at + total, (size_t)n), 0);
        total += (size_t)n;
    }
    return total;
}

static void send_all_of(int fds[2])
{
    struct seen seen = { 0 };
    size_t      arrived = 0;
    fill_large();
    start(&seen, unr_send_now(&seen.op, fds[0], large, LARGE, MSG_WAITALL));
    cr_assert_eq(calls, 1);
    while (seen.runs == 0) {
        cr_assert_geq(unr_loop_run_once(loop, 0), 0);
        arrived += take(fds[1], arrived);
    }
    cr_assert_eq(calls, 1);
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.bytes, LARGE);
    while (arrived < LARGE)
        arrived += take(fds[1], arrived);
    close_pair(fds);
    close_loop();
}

Test(send_now, counts_both_parts_of_all)
{
    int fds[2];
    tcp_pair(fds);
    send_all_of(fds);
}

Test(send_now, counts_both_parts_of_all_over_unix)
{
    int fds[2];
    unix_pair(fds);
    send_all_of(fds);
}

/* With checks, an operation in flight is not taken for one that was overwritten. */
Test(send_now, counts_both_parts_on_a_loop_with_checks)
{
    int fds[2];
    unr_loop_close(loop);
    loop = open_loop_flagged(UNR_LOOP_CHECKS);
    tcp_pair(fds);
    send_all_of(fds);
}

static void cancel_a_part(int turns)
{
    struct seen seen = { 0 };
    int         fds[2];
    size_t      arrived = 0;
    tcp_pair(fds);
    fill_large();
    start(&seen, unr_send_now(&seen.op, fds[0], large, LARGE, MSG_WAITALL));
    while (turns--)
        submit();
    cr_assert_eq(seen.runs, 0);
    cr_assert(unr_cancel(&seen.op, UNR_CANCEL_PARTIAL));
    finish(&seen);
    expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(seen.result.fd, -1);
    cr_assert_gt(seen.result.bytes, 0);
    shutdown(fds[0], SHUT_WR);
    for (size_t n; arrived < seen.result.bytes; arrived += n) {
        wait_readable(fds[1]);
        n = take(fds[1], arrived);
    }
    cr_assert_eq(arrived, seen.result.bytes);
    wait_readable(fds[1]);
    cr_assert_eq(recv(fds[1], filler, 1, 0), 0, "and no byte more");
    close_pair(fds);
    close_loop();
}

Test(send_now, a_part_that_is_queued_is_cancelled)
{
    cancel_a_part(0);
}

Test(send_now, a_part_in_flight_is_cancelled)
{
    cancel_a_part(2);
}

/* A closing loop cancels it likewise. */
Test(send_now, a_part_on_a_closing_loop)
{
    struct seen seen = { 0 };
    int         fds[2];
    tcp_pair(fds);
    start(&seen, unr_send_now(&seen.op, fds[0], large, LARGE, MSG_WAITALL));
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    cr_assert_gt(seen.result.bytes, 0);
    close_pair(fds);
}

/* An error behind a part is left to the next send, as the kernel does it for unr_send(). */
Test(send_now, error_behind_a_part_is_the_next_ones)
{
    struct seen seen = { 0 };
    int         fds[2];
    unix_pair(fds);
    start(&seen, unr_send_now(&seen.op, fds[0], large, LARGE, MSG_WAITALL));
    submit();
    cr_assert_eq(seen.runs, 0);
    close(fds[1]);
    finish(&seen);
    cr_assert_eq(seen.result.error, 0);
    cr_assert_gt(seen.result.bytes, 0);
    cr_assert_lt(seen.result.bytes, LARGE);
    seen.runs = 0;
    start(&seen, unr_send_now(&seen.op, fds[0], "hello", 5, 0));
    run();
    cr_assert_lt(seen.result.error, 0);
    cr_assert_eq(seen.result.bytes, 0);
    close(fds[0]);
    close_loop();
}

/* Without MSG_WAITALL a part is all. */
Test(send_now, a_part_is_a_success)
{
    struct seen seen = { 0 };
    int         fds[2];
    tcp_pair(fds);
    fill_large();
    start(&seen, unr_send_now(&seen.op, fds[0], large, LARGE, 0));
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_lt(seen.result.bytes, LARGE);
    cr_assert_eq(calls, 1);
    for (size_t arrived = 0, n; arrived < seen.result.bytes; arrived += n) {
        wait_readable(fds[1]);
        n = take(fds[1], arrived);
    }
    close_pair(fds);
    close_loop();
}

/* ---- errors ---- */

static void expect_error(struct unr_op *described, int error)
{
    struct seen seen = { 0 };
    start(&seen, described);
    cr_assert_eq(seen.runs, 0);
    finish(&seen);
    cr_assert_eq(seen.result.error, error, "error %d", seen.result.error);
    cr_assert_eq(seen.result.bytes, 0);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_NONE);
}

Test(send_now, errors_arrive_in_done)
{
    struct unr_op op = { 0 };
    int           fds[2], pipes[2], free_number;
    signal(SIGPIPE, SIG_DFL); /* which would end the test */
    unix_pair(fds);
    cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
    expect_error(unr_send_now(&op, pipes[1], "x", 1, 0), -ENOTSOCK);
    expect_error(unr_send_now(&op, -1, "x", 1, 0), -EBADF);
    free_number = dup(pipes[0]);
    close(free_number);
    expect_error(unr_send_now(&op, free_number, "x", 1, 0), -EBADF);
    expect_error(unr_send_now(&op, fds[0], NULL, 1, 0), -EFAULT);
    shutdown(fds[0], SHUT_WR);
    expect_error(unr_send_now(&op, fds[0], "x", 1, 0), -EPIPE);
    shutdown(fds[0], SHUT_RD);
    close(fds[1]);
    expect_error(unr_send_now(&op, fds[0], "x", 1, 0), -EPIPE);
    calls = 0;
    expect_error(unr_send_now(&op, fds[0], "x", (size_t)INT_MAX + 1, 0), -EINVAL);
    expect_error(unr_send_now(&op, fds[0], "x", 1, MSG_ZEROCOPY), -EINVAL);
    cr_assert_eq(calls, 0, "no kernel sees what none takes");
    close(fds[0]);
    close_pair(pipes);
    close_loop();
}

Test(send_now, reset_connection)
{
    struct unr_op op = { 0 };
    struct linger linger = { .l_onoff = 1 };
    int           fds[2];
    tcp_pair(fds);
    setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fds[1]);
    wait_readable(fds[0]);
    expect_error(unr_send_now(&op, fds[0], "x", 1, 0), -ECONNRESET);
    expect_error(unr_send_now(&op, fds[0], "x", 1, 0), -EPIPE);
    close(fds[0]);
    close_loop();
}

/* ---- datagrams ---- */

static void datagram_pair(int fds[2])
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
}

Test(send_now, datagrams_are_sent_whole)
{
    struct seen   seen = { 0 };
    struct unr_op op = { 0 };
    int           fds[2];
    datagram_pair(fds);
    for (int flags = 0; flags <= MSG_WAITALL; flags += MSG_WAITALL) {
        seen.runs = 0;
        start(&seen, unr_send_now(&seen.op, fds[0], "hello", 5, flags));
        expect_there(fds[1], "hello");
        run();
        cr_assert_eq(seen.result.bytes, 5);
        seen.runs = 0;
        start(&seen, unr_send_now(&seen.op, fds[0], NULL, 0, flags));
        expect_there(fds[1], "");
        run();
        cr_assert_eq(seen.result.error, 0);
        cr_assert_eq(seen.result.bytes, 0);
    }
    expect_error(unr_send_now(&op, fds[0], large, LARGE, 0), -EMSGSIZE);
    close_pair(fds);
    close_loop();
}

/* The attempt without room does not take the bytes, so the datagram that waits is whole. */
Test(send_now, datagram_without_room_waits)
{
    struct seen seen = { 0 };
    char        bytes[64];
    int         fds[2];
    datagram_pair(fds);
    while (plain_send(fds[0], "f", 1) == 1)
        ;
    start(&seen, unr_send_now(&seen.op, fds[0], "hello", 5, 0));
    submit();
    cr_assert_eq(seen.runs, 0);
    ssize_t last = 0;
    while (last != 5) {
        ssize_t n = recv(fds[1], bytes, sizeof bytes, MSG_DONTWAIT);
        cr_assert_neq(n, 0, "an empty one came in its place");
        if (n < 0)
            submit();
        else
            last = n;
    }
    cr_assert_eq(memcmp(bytes, "hello", 5), 0);
    finish(&seen);
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.bytes, 5);
    close_pair(fds);
    close_loop();
}

/* ---- beside other operations ---- */

struct beside {
    int           fds[2], pipes[2];
    struct seen   before, now;
    struct iovec  piece;
    struct msghdr message;
    char          byte;
};

static void set_up(struct beside *b)
{
    *b = (struct beside){ .piece = { (char *)"a", 1 } };
    b->message = (struct msghdr){ .msg_iov = &b->piece, .msg_iovlen = 1 };
    unix_pair(b->fds);
    cr_assert_eq(pipe2(b->pipes, O_CLOEXEC), 0);
    calls = 0;
}

static void tear_down(struct beside *b)
{
    close_pair(b->fds);
    close_pair(b->pipes);
}

/* Another operation is started, and then "b" is sent behind it. */
static void send_behind(struct beside *b, struct unr_op *described, bool submitted)
{
    start(&b->before, described);
    if (submitted)
        submit();
    start(&b->now, unr_send_now(&b->now.op, b->fds[0], "b", 1, 0));
}

static void fill_send(void *entry, void *context)
{
    struct io_uring_sqe *sqe = entry;
    struct beside       *b = context;
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = IORING_OP_SEND;
    sqe->fd = b->fds[0];
    sqe->addr = (uintptr_t) "a";
    sqe->len = 1;
}

/* What may write is not overtaken. */
Test(send_now, is_queued_behind_what_may_write)
{
    for (int which = 0; which < 6; which++) {
        struct beside  b;
        struct unr_op *op = &b.before.op;
        set_up(&b);
        switch (which) {
        case 0: unr_send(op, b.fds[0], "a", 1, 0); break;
        case 1: unr_sendmsg(op, b.fds[0], &b.message, 0); break;
        case 2: unr_sendto(op, b.fds[0], "a", 1, 0, NULL, 0); break;
        case 3: unr_write(op, b.fds[0], "a", 1, -1); break;
        case 4: unr_writev(op, b.fds[0], &b.piece, 1, -1); break;
        case 5:
            cr_assert_eq(write(b.pipes[1], "a", 1), 1);
            unr_splice(op, b.pipes[0], -1, b.fds[0], -1, 1, 0);
            break;
        }
        send_behind(&b, op, false);
        cr_assert_eq(calls, 0, "%d", which);
        expect_nothing_there(b.fds[1]);
        run();
        cr_assert_eq(b.now.result.bytes, 1);
        cr_assert_eq(b.before.result.bytes, 1);
        cr_assert_eq(drain(b.fds[1]), 2);
        tear_down(&b);
    }
    close_loop();
}

/* A send in flight waits for room, which is there by now: the start of the second does not take
 * it.  (In the kernel they are no queue, so in which order they arrive is open.) */
Test(send_now, is_queued_behind_what_waits_in_the_kernel)
{
    for (int which = 0; which < 3; which++) {
        struct beside  b;
        struct unr_op *op = &b.before.op;
        set_up(&b);
        size_t filled = fill(b.fds[0]);
        switch (which) {
        case 0: unr_send(op, b.fds[0], "a", 1, 0); break;
        case 1: unr_send_now(op, b.fds[0], "a", 1, 0); break;
        case 2: unr_sqe(op, "a send", UNR_CANCEL_ALL, fill_send, &b); break;
        }
        start(&b.before, op);
        submit();
        cr_assert_eq(b.before.runs, 0);
        calls = 0;
        size_t arrived = drain(b.fds[1]);
        start(&b.now, unr_send_now(&b.now.op, b.fds[0], "b", 1, 0));
        cr_assert_eq(calls, 0, "%d", which);
        run();
        cr_assert_eq(arrived + drain(b.fds[1]), filled + 2);
        tear_down(&b);
    }
    close_loop();
}

/* A shutdown that was started before it, and a close, come first. */
Test(send_now, is_queued_behind_a_shutdown)
{
    struct beside b;
    set_up(&b);
    signal(SIGPIPE, SIG_DFL);
    start(&b.before, unr_shutdown(&b.before.op, b.fds[0], SHUT_WR));
    start(&b.now, unr_send_now(&b.now.op, b.fds[0], "b", 1, 0));
    cr_assert_eq(calls, 0);
    run();
    tear_down(&b);
    close_loop();
}

Test(send_now, is_queued_behind_a_close)
{
    struct beside b;
    set_up(&b);
    start(&b.before, unr_close(&b.before.op, b.fds[0]));
    start(&b.now, unr_send_now(&b.now.op, b.fds[0], "b", 1, 0));
    cr_assert_eq(calls, 0);
    run();
    cr_assert_eq(b.before.result.error, 0);
    cr_assert_eq(b.now.result.error, -EBADF);
    close(b.fds[1]);
    close_pair(b.pipes);
    close_loop();
}

Test(send_now, comes_too_late_for_a_cancel_close)
{
    struct beside b;
    set_up(&b);
    start(&b.before, unr_cancel_close(&b.before.op, b.fds[0]));
    start(&b.now, unr_send_now(&b.now.op, b.fds[0], "b", 1, 0));
    cr_assert_eq(calls, 0);
    run();
    expect_cancelled(&b.now, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    cr_assert_eq(recv(b.fds[1], &b.byte, 1, 0), 0, "the end, and nothing before it");
    close(b.fds[1]);
    close_pair(b.pipes);
    close_loop();
}

/* What went through is sent before the close. */
Test(send_now, is_awaited_by_a_cancel_close)
{
    struct beside b;
    set_up(&b);
    start(&b.now, unr_send_now(&b.now.op, b.fds[0], "b", 1, 0));
    start(&b.before, unr_cancel_close(&b.before.op, b.fds[0]));
    run();
    cr_assert_eq(b.before.result.error, 0);
    cr_assert_eq(b.now.result.bytes, 1);
    cr_assert_eq(b.now.result.verdict, UNR_VERDICT_TOO_LATE);
    expect_there(b.fds[1], "b");
    close(b.fds[1]);
    close_pair(b.pipes);
    close_loop();
}

static void start_in_done(struct seen *seen)
{
    struct beside *b = seen->context;
    start(&b->now, unr_send_now(&b->now.op, b->fds[0], "b", 1, 0));
}

Test(send_now, on_a_closing_loop_sends_nothing)
{
    struct beside b;
    set_up(&b);
    b.before.then = start_in_done;
    b.before.context = &b;
    start(&b.before, unr_recv(&b.before.op, b.fds[0], &b.byte, 1, 0));
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&b.now, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    cr_assert_eq(calls, 0);
    expect_nothing_there(b.fds[1]);
    tear_down(&b);
}

static void nothing(struct unr_op *op)
{
    (void)op;
}

/* What only reads does not hold it up, and neither does what has ended. */
Test(send_now, is_tried_beside_what_reads)
{
    for (int which = 0; which < 9; which++) {
        struct beside       b;
        struct unr_op      *op = &b.before.op, stop = { 0 };
        struct unr_receiver receiver = { 0 };
        bool                submitted = which % 2;
        set_up(&b);
        switch (which / 2) {
        case 0: send_behind(&b, unr_recv(op, b.fds[0], &b.byte, 1, 0), submitted); break;
        case 1: send_behind(&b, unr_poll(op, b.fds[0], POLLIN), submitted); break;
        case 2: send_behind(&b, unr_poll_multishot(op, b.fds[0], POLLIN), submitted); break;
        case 3:
            unr_receiver_init(&receiver, loop, NULL, b.fds[0], 0);
            send_behind(&b, unr_receive(op, &receiver, &b.byte, 1), submitted);
            break;
        case 4: send_behind(&b, unr_send_now(op, b.fds[0], "a", 1, 0), false); break;
        }
        cr_assert_eq(calls, which == 8 ? 2 : 1, "%d", which);
        expect_there(b.fds[1], which == 8 ? "ab" : "b");
        unr_cancel(&b.before.op, UNR_CANCEL_ALL);
        if (which / 2 == 3)
            unr_start(loop, unr_receiver_stop(&stop, &receiver), nothing, NULL);
        run();
        cr_assert_eq(b.now.result.bytes, 1);
        tear_down(&b);
    }
    close_loop();
}

/* Sends on other numbers do not hold it up, also where these share a place in the loop's table. */
Test(send_now, is_tried_beside_sends_elsewhere)
{
    struct beside b, c;
    set_up(&b);
    set_up(&c);
    fill(c.fds[0]);
    send_behind(&b, unr_send(&b.before.op, c.fds[0], "a", 1, 0), true);
    cr_assert_eq(calls, 1);
    expect_there(b.fds[1], "b");
    unr_cancel(&b.before.op, UNR_CANCEL_ALL);
    run();
    tear_down(&b);
    tear_down(&c);
    close_loop();
}

/* ---- UNR_LOOP_SEND_NOW ---- */

/* Writes one piece, and two, to a stream. */
static void write_to(struct unr_stream *stream, int peer, unsigned expected)
{
    struct unr_transfer transfer = { 0 };
    struct iovec        pieces[2] = { { (char *)"he", 2 }, { (char *)"llo", 3 } };
    struct seen         seen = { 0 };
    calls = 0;
    start(&seen, unr_write_all(&transfer, stream, "hello", 5));
    cr_assert_eq(calls, expected);
    finish(&seen);
    cr_assert_eq(seen.result.bytes, 5);
    expect_there(peer, "hello");
    seen.runs = 0;
    start(&seen, unr_writev_all(&transfer, stream, pieces, 2));
    cr_assert_eq(calls, 2 * expected);
    finish(&seen);
    cr_assert_eq(seen.result.bytes, 5);
    expect_there(peer, "hello");
    cr_assert_eq(calls, 2 * expected);
}

static void write_to_streams(unsigned expected)
{
    struct unr_stream   stream;
    struct unr_receiver receiver = { 0 };
    struct seen         seen = { 0 };
    int                 fds[2];
    unix_pair(fds);
    unr_stream_socket(&stream, fds[0]);
    write_to(&stream, fds[1], expected);
    unr_receiver_init(&receiver, loop, NULL, fds[0], 0);
    unr_stream_receiver(&stream, &receiver);
    write_to(&stream, fds[1], expected);
    start(&seen, unr_send(&seen.op, fds[0], "x", 1, 0)); /* which stays what it is */
    finish(&seen);
    cr_assert_eq(calls, 2 * expected);
    seen.runs = 0;
    start(&seen, unr_receiver_stop(&seen.op, &receiver));
    finish(&seen);
    close_pair(fds);
    close_loop();
}

Test(send_now, streams_do_where_the_loop_is_told)
{
    unr_loop_close(loop);
    loop = open_loop_flagged(UNR_LOOP_SEND_NOW);
    write_to_streams(1);
}

Test(send_now, streams_do_not_without)
{
    write_to_streams(0);
}

/* A transfer that finds no room, and one that finds some: each byte once, in order, and a request
 * says how many. */
static void transfer_large(bool cancel)
{
    struct unr_stream   stream;
    struct unr_transfer transfer = { 0 };
    struct seen         seen = { 0 };
    size_t              arrived = 0;
    int                 fds[2];
    unr_loop_close(loop);
    loop = open_loop_flagged(UNR_LOOP_SEND_NOW);
    tcp_pair(fds);
    fill_large();
    unr_stream_socket(&stream, fds[0]);
    start(&seen, unr_write_all(&transfer, &stream, large, LARGE));
    while (seen.runs == 0) {
        cr_assert_geq(unr_loop_run_once(loop, 0), 0);
        arrived += take(fds[1], arrived);
        if (cancel && arrived > LARGE / 2)
            unr_cancel(&transfer.op, UNR_CANCEL_PARTIAL);
    }
    while (arrived < seen.result.bytes) {
        wait_readable(fds[1]);
        arrived += take(fds[1], arrived);
    }
    cr_assert_eq(arrived, seen.result.bytes);
    if (!cancel)
        cr_assert_eq(arrived, LARGE);
    cr_assert_gt(calls, 1);
    close_pair(fds);
    close_loop();
}

Test(send_now, transfers_send_each_byte_once)
{
    transfer_large(false);
}

Test(send_now, cancelled_transfers_count)
{
    transfer_large(true);
}

Test(send_now, relay_sends_at_once)
{
    struct unr_stream from, to;
    struct unr_relay  relay = { 0 };
    struct seen       seen = { 0 };
    int               in[2], out[2];
    unr_loop_close(loop);
    loop = open_loop_flagged(UNR_LOOP_SEND_NOW);
    unix_pair(in);
    unix_pair(out);
    unr_stream_socket(&from, in[0]);
    unr_stream_socket(&to, out[0]);
    cr_assert_eq(plain_send(in[1], "hello", 5), 5);
    shutdown(in[1], SHUT_WR);
    start(&seen, unr_relay(&relay, &from, &to));
    finish(&seen);
    cr_assert_eq(seen.result.bytes, 5);
    cr_assert_eq(calls, 1);
    expect_there(out[1], "hello");
    close_pair(in);
    close_pair(out);
    close_loop();
}
