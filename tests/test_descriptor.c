/* SPDX-License-Identifier: MIT */
/* What is not in the arguments of an operation and concerns it all the same: the flags and options
 * of a descriptor, its number, its other users.  The headers say of each what it does; here each is
 * tried on the running kernel. */
#define SUPPORT_KERNEL /* for the liburing that it includes */
#include "support.h"

#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <termios.h>

TestSuite(descriptor, .init = open_loop, .timeout = 60);

static char bytes[1 << 20];

/* ---- places where a call has to wait ---- */

/* `fds` are open, -1 where there are fewer. */
struct place {
    int                     fds[6];
    struct sockaddr_storage address;
    socklen_t               len;
    char                    in[64];
    struct iovec            piece;
    struct msghdr           message;
    struct unr_datagram     datagram;
    struct seen             seen;
};

static void begin(struct place *p)
{
    *p = (struct place){ .fds = { -1, -1, -1, -1, -1, -1 } };
    p->piece = (struct iovec){ p->in, sizeof p->in };
    p->message = (struct msghdr){ .msg_iov = &p->piece, .msg_iovlen = 1 };
}

static void end(struct place *p)
{
    for (size_t i = 0; i < LENGTH(p->fds); i++)
        if (p->fds[i] >= 0)
            close(p->fds[i]);
}

static void set_nonblocking(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);
    cr_assert_eq(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK), 0);
}

static void at_tcp(struct place *p)
{
    tcp_pair(p->fds);
}

static void at_unix_stream(struct place *p)
{
    unix_pair(p->fds);
}

static void at_unix_datagram(struct place *p)
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, p->fds), 0);
}

static void at_unix_seqpacket(struct place *p)
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p->fds), 0);
}

static void at_udp(struct place *p)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    p->fds[0] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(p->fds[0], (struct sockaddr *)&address, sizeof address), 0);
}

static void at_empty_pipe(struct place *p)
{
    cr_assert_eq(pipe2(p->fds, O_CLOEXEC), 0);
}

static void at_two_empty_pipes(struct place *p)
{
    cr_assert_eq(pipe2(p->fds, O_CLOEXEC), 0);
    cr_assert_eq(pipe2(p->fds + 2, O_CLOEXEC), 0);
}

static void fill(int fd, size_t piece)
{
    set_nonblocking(fd, true);
    while (write(fd, bytes, piece) > 0)
        ;
    cr_assert_eq(errno, EAGAIN);
    set_nonblocking(fd, false);
}

/* TCP finds some more room now and then, so it is filled until it has none twice. */
static void at_full_tcp(struct place *p)
{
    tcp_pair(p->fds);
    fill(p->fds[0], sizeof bytes);
    fill(p->fds[0], 1);
}

static void at_full_unix_stream(struct place *p)
{
    unix_pair(p->fds);
    fill(p->fds[0], 4096);
}

static void at_full_unix_datagram(struct place *p)
{
    at_unix_datagram(p);
    fill(p->fds[0], 1);
}

static void at_full_pipe(struct place *p)
{
    cr_assert_eq(pipe2(p->fds + 1, O_CLOEXEC), 0);
    p->fds[0] = p->fds[2]; /* the end to write comes first */
    p->fds[2] = -1;
    fill(p->fds[0], 4096);
}

static void at_eventfd(struct place *p)
{
    p->fds[0] = eventfd(0, EFD_CLOEXEC);
}

static void at_timerfd(struct place *p)
{
    p->fds[0] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
}

static void at_inotify(struct place *p)
{
    p->fds[0] = inotify_init1(IN_CLOEXEC);
}

/* fds[0] is a terminal, fds[1] what types into it.  Where none can be made, fds[0] is -1. */
static void at_terminal(struct place *p)
{
    p->fds[1] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (p->fds[1] >= 0 && grantpt(p->fds[1]) == 0 && unlockpt(p->fds[1]) == 0)
        p->fds[0] = open(ptsname(p->fds[1]), O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static void at_raw_terminal(struct place *p, cc_t min, cc_t time)
{
    struct termios settings;
    at_terminal(p);
    if (p->fds[0] < 0)
        cr_skip_test("no terminal can be made here");
    cr_assert_eq(tcgetattr(p->fds[0], &settings), 0);
    cfmakeraw(&settings);
    settings.c_cc[VMIN] = min;
    settings.c_cc[VTIME] = time;
    cr_assert_eq(tcsetattr(p->fds[0], TCSANOW, &settings), 0);
}

static void at_tcp_listener(struct place *p)
{
    struct sockaddr_in address;
    p->fds[0] = tcp_listener(&address, 4);
}

static int unix_listener(struct place *p, int backlog)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int                fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    p->len = sizeof p->address;
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
    cr_assert_eq(listen(fd, backlog), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&p->address, &p->len), 0);
    return fd;
}

static void at_unix_listener(struct place *p)
{
    p->fds[0] = unix_listener(p, 4);
}

/* fds[0] is a new socket, and `address` that of a listener whose backlog is full. */
static void at_full_tcp_listener(struct place *p)
{
    struct sockaddr_in address;
    p->fds[1] = tcp_listener(&address, 0);
    for (int i = 2; i < 5; i++) {
        p->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(p->fds[i], (struct sockaddr *)&address, sizeof address);
    }
    p->fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    p->len = sizeof address;
    memcpy(&p->address, &address, sizeof address);
}

static void at_full_unix_listener(struct place *p)
{
    p->fds[1] = unix_listener(p, 0);
    p->fds[2] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(p->fds[2], (struct sockaddr *)&p->address, p->len), 0);
    p->fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* ---- the calls ---- */

static struct unr_op *do_recv(struct place *p)
{
    return unr_recv(&p->seen.op, p->fds[0], p->in, sizeof p->in, 0);
}

static struct unr_op *do_recvmsg(struct place *p)
{
    return unr_recvmsg(&p->seen.op, p->fds[0], &p->message, 0);
}

static struct unr_op *do_recvfrom(struct place *p)
{
    return unr_recvfrom(&p->datagram, p->fds[0], p->in, sizeof p->in, 0, NULL, NULL);
}

static struct unr_op *do_read(struct place *p)
{
    return unr_read(&p->seen.op, p->fds[0], p->in, sizeof p->in, -1);
}

static struct unr_op *do_readv(struct place *p)
{
    return unr_readv(&p->seen.op, p->fds[0], &p->piece, 1, -1);
}

static struct unr_op *do_send(struct place *p)
{
    return unr_send(&p->seen.op, p->fds[0], p->in, sizeof p->in, 0);
}

static struct unr_op *do_sendmsg(struct place *p)
{
    return unr_sendmsg(&p->seen.op, p->fds[0], &p->message, 0);
}

static struct unr_op *do_write(struct place *p)
{
    return unr_write(&p->seen.op, p->fds[0], p->in, sizeof p->in, -1);
}

static struct unr_op *do_writev(struct place *p)
{
    return unr_writev(&p->seen.op, p->fds[0], &p->piece, 1, -1);
}

static struct unr_op *do_accept(struct place *p)
{
    return unr_accept(&p->seen.op, p->fds[0], NULL, NULL, SOCK_CLOEXEC);
}

static struct unr_op *do_connect(struct place *p)
{
    return unr_connect(&p->seen.op, p->fds[0], (struct sockaddr *)&p->address, p->len);
}

static struct unr_op *do_splice(struct place *p)
{
    return unr_splice(&p->seen.op, p->fds[0], -1, p->fds[3], -1, 64, 0);
}

static struct unr_op *do_tee(struct place *p)
{
    return unr_tee(&p->seen.op, p->fds[0], p->fds[3], 64, 0);
}

struct call {
    const char *name;
    void (*at)(struct place *p);
    struct unr_op *(*describe)(struct place *p);
};

static const struct call waiting[] = {
    { "recv, TCP", at_tcp, do_recv },
    { "recvmsg, TCP", at_tcp, do_recvmsg },
    { "recvfrom, UDP", at_udp, do_recvfrom },
    { "read, TCP", at_tcp, do_read },
    { "readv, TCP", at_tcp, do_readv },
    { "recv, unix stream", at_unix_stream, do_recv },
    { "recv, unix datagram", at_unix_datagram, do_recv },
    { "recv, unix seqpacket", at_unix_seqpacket, do_recv },
    { "read, pipe", at_empty_pipe, do_read },
    { "readv, pipe", at_empty_pipe, do_readv },
    { "read, eventfd", at_eventfd, do_read },
    { "read, timerfd", at_timerfd, do_read },
    { "read, inotify", at_inotify, do_read },
    { "read, terminal", at_terminal, do_read },
    { "send, TCP", at_full_tcp, do_send },
    { "sendmsg, TCP", at_full_tcp, do_sendmsg },
    { "write, TCP", at_full_tcp, do_write },
    { "writev, TCP", at_full_tcp, do_writev },
    { "send, unix stream", at_full_unix_stream, do_send },
    { "send, unix datagram", at_full_unix_datagram, do_send },
    { "write, unix datagram", at_full_unix_datagram, do_write },
    { "write, pipe", at_full_pipe, do_write },
    { "writev, pipe", at_full_pipe, do_writev },
    { "accept, TCP", at_tcp_listener, do_accept },
    { "accept, unix", at_unix_listener, do_accept },
    { "connect, TCP", at_full_tcp_listener, do_connect },
};

/* Lets time pass on the loop: an operation that a shorter time ends has ended then. */
static void pass(unr_time time)
{
    struct unr_timer timer = { 0 };
    struct seen      passed = { 0 };
    start(&passed, unr_timer_after(&timer, time));
    finish(&passed);
}

/* The call waits, longer than `time`, and is cancelled as if it were alone in the world. */
static void expect_waits(const struct call *call, struct place *p, unr_time time)
{
    start(&p->seen, call->describe(p));
    submit();
    pass(time);
    cr_assert_eq(p->seen.runs, 0, "%s ended: error %d, %llu bytes", call->name,
                 p->seen.result.error, (unsigned long long)p->seen.result.bytes);
    unr_cancel_fd(loop, p->fds[0], UNR_CANCEL_ALL);
    finish(&p->seen);
    cr_assert_eq(p->seen.result.error, -ECANCELED, "%s: error %d", call->name,
                 p->seen.result.error);
    cr_assert_eq(p->seen.result.guarantee, UNR_CANCEL_TOTAL, "%s", call->name);
}

static void expect_error(const struct call *call, struct place *p, int error)
{
    start(&p->seen, call->describe(p));
    finish(&p->seen);
    cr_assert_eq(p->seen.result.error, error, "%s: error %d", call->name, p->seen.result.error);
    cr_assert_eq(p->seen.result.verdict, UNR_VERDICT_NONE);
}

/* ---- O_NONBLOCK ---- */

/* An operation on a descriptor with O_NONBLOCK waits like one on any other, and is cancelled
 * likewise: it does not end with -EAGAIN. */
Test(descriptor, nonblocking_ones_wait_too)
{
    for (size_t i = 0; i < LENGTH(waiting); i++) {
        struct place p;
        begin(&p);
        waiting[i].at(&p);
        if (p.fds[0] >= 0) { /* there are machines without terminals */
            set_nonblocking(p.fds[0], true);
            expect_waits(&waiting[i], &p, UNR_MSEC(1));
        }
        end(&p);
    }
    close_loop();
}

/* The exceptions: a connect over AF_UNIX, and what moves bytes from and to pipes inside the
 * kernel. */
Test(descriptor, nonblocking_ones_end_unix_connects_and_splices)
{
    static const struct call ending[] = {
        { "connect, unix", at_full_unix_listener, do_connect },
        { "splice, pipe", at_two_empty_pipes, do_splice },
        { "tee, pipe", at_two_empty_pipes, do_tee },
    };
    for (size_t i = 0; i < LENGTH(ending); i++) {
        struct place p;
        begin(&p);
        ending[i].at(&p);
        set_nonblocking(p.fds[0], true);
        expect_error(&ending[i], &p, -EAGAIN);
        end(&p);
    }
    close_loop();
}

/* So a program may set O_NONBLOCK for a system call of its own, behind a poll: sendfile(2), while a
 * receive waits on the same socket. */
Test(descriptor, sendfile_beside_poll_and_a_receive_that_waits)
{
    enum { SIZE = 4 << 20 };
    struct seen poll = { 0 }, answer = { 0 };
    size_t      sent = 0, arrived = 0, waits = 0;
    char        in;
    int         fds[2], file = memfd_create("file", MFD_CLOEXEC);
    cr_assert_eq(ftruncate(file, SIZE), 0);
    tcp_pair(fds);
    set_nonblocking(fds[0], true);
    start(&answer, unr_recv(&answer.op, fds[0], &in, 1, 0));
    while (sent < SIZE) {
        ssize_t n = sendfile(fds[0], file, NULL, SIZE - sent);
        if (n > 0) {
            sent += (size_t)n;
            continue;
        }
        cr_assert_eq(errno, EAGAIN);
        waits++;
        poll = (struct seen){ 0 };
        start(&poll, unr_poll(&poll.op, fds[0], POLLOUT));
        submit();
        while (poll.runs == 0) {
            arrived += drain(fds[1]);
            submit();
        }
        cr_assert_eq(answer.runs, 0);
    }
    cr_assert_gt(waits, 0);
    while (arrived < SIZE)
        arrived += drain(fds[1]);
    cr_assert_eq(send(fds[1], "x", 1, 0), 1);
    finish(&answer);
    cr_assert_eq(answer.result.bytes, 1);
    close(file);
    close_pair(fds);
    close_loop();
}

/* ---- SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVLOWAT, VTIME ---- */

static void set_time_outs(int fd)
{
    struct timeval brief = { .tv_usec = 1000 };
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &brief, sizeof brief), 0);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &brief, sizeof brief), 0);
}

/* A socket's own time-outs end neither receives nor sends, accepts nor TCP connects. */
Test(descriptor, time_outs_of_a_socket_end_nothing)
{
    for (size_t i = 0; i < LENGTH(waiting); i++) {
        struct place p;
        int          type;
        begin(&p);
        waiting[i].at(&p);
        if (getsockopt(p.fds[0], SOL_SOCKET, SO_TYPE, &type, &(socklen_t){ sizeof type }) == 0) {
            set_time_outs(p.fds[0]);
            expect_waits(&waiting[i], &p, UNR_MSEC(20));
        }
        end(&p);
    }
    close_loop();
}

static void at_tcp_and_pipe(struct place *p)
{
    tcp_pair(p->fds);
    cr_assert_eq(pipe2(p->fds + 2, O_CLOEXEC), 0);
}

/* They end a splice and a connect over AF_UNIX. */
Test(descriptor, time_outs_of_a_socket_end_unix_connects_and_splices)
{
    static const struct call ending[] = {
        { "connect, unix", at_full_unix_listener, do_connect },
        { "splice, TCP", at_tcp_and_pipe, do_splice },
    };
    for (size_t i = 0; i < LENGTH(ending); i++) {
        struct place p;
        begin(&p);
        ending[i].at(&p);
        set_time_outs(p.fds[0]);
        expect_error(&ending[i], &p, -EAGAIN);
        end(&p);
    }
    close_loop();
}

static void until_readable_bytes(int fd, int count)
{
    int there;
    do
        cr_assert_eq(ioctl(fd, FIONREAD, &there), 0);
    while (there < count);
}

/* With SO_RCVLOWAT a receive takes what is there, however little.  One that waits already waits on
 * a TCP socket until as much is there, as poll(2) does. */
Test(descriptor, low_water_mark_concerns_a_receive_that_waits)
{
    struct place p;
    int          low_water = 4;
    begin(&p);
    tcp_pair(p.fds);
    cr_assert_eq(setsockopt(p.fds[0], SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof low_water), 0);
    cr_assert_eq(send(p.fds[1], "a", 1, 0), 1);
    until_readable_bytes(p.fds[0], 1);
    start(&p.seen, do_recv(&p));
    finish(&p.seen);
    cr_assert_eq(p.seen.result.bytes, 1);

    p.seen = (struct seen){ 0 };
    start(&p.seen, do_recv(&p));
    submit();
    cr_assert_eq(send(p.fds[1], "a", 1, 0), 1);
    until_readable_bytes(p.fds[0], 1);
    pass(UNR_MSEC(20));
    cr_assert_eq(p.seen.runs, 0);
    cr_assert_eq(send(p.fds[1], "bcd", 3, 0), 3);
    finish(&p.seen);
    cr_assert_eq(p.seen.result.bytes, 4);
    end(&p);
    close_loop();
}

/* A read of a terminal waits for a byte where VMIN is 0, whatever VTIME says. */
Test(descriptor, terminal_without_a_least_number_waits_for_a_byte)
{
    for (cc_t time = 0; time < 2; time++) {
        static const struct call read_terminal = { "read, terminal", NULL, do_read };
        struct place             p;
        begin(&p);
        at_raw_terminal(&p, 0, time);
        expect_waits(&read_terminal, &p, UNR_MSEC(150));
        p.seen = (struct seen){ 0 };
        start(&p.seen, do_read(&p));
        submit();
        cr_assert_eq(write(p.fds[1], "x", 1), 1);
        finish(&p.seen);
        cr_assert_eq(p.seen.result.bytes, 1);
        end(&p);
    }
    close_loop();
}

/* With a VMIN above 0, VTIME counts from the first byte on, as in read(2). */
Test(descriptor, terminal_with_a_least_number_ends_after_a_pause)
{
    struct place p;
    begin(&p);
    at_raw_terminal(&p, 5, 1);
    start(&p.seen, do_read(&p));
    submit();
    cr_assert_eq(write(p.fds[1], "x", 1), 1);
    finish(&p.seen);
    cr_assert_eq(p.seen.result.error, 0);
    cr_assert_eq(p.seen.result.bytes, 1);
    end(&p);
    close_loop();
}

/* ---- positions and offsets ---- */

static struct unr_op *read_at_five(struct place *p)
{
    return unr_read(&p->seen.op, p->fds[0], p->in, sizeof p->in, 5);
}

/* A pipe and a terminal ignore an offset, where pread(2) fails; a socket does not. */
Test(descriptor, offsets_where_there_is_no_position)
{
    static const struct {
        struct call call;
        int         error;
    } cases[] = {
        { { "pipe", at_empty_pipe, read_at_five }, 0 },
        { { "terminal", at_terminal, read_at_five }, 0 },
        { { "socket", at_unix_stream, read_at_five }, -ESPIPE },
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct place p;
        begin(&p);
        cases[i].call.at(&p);
        if (p.fds[0] >= 0) {
            cr_assert_eq(write(p.fds[1], "abc\n", 4), 4);
            expect_error(&cases[i].call, &p, cases[i].error);
            cr_assert_eq(p.seen.result.bytes, cases[i].error ? 0 : 4);
        }
        end(&p);
    }
    close_loop();
}

/* Two reads at a file's position may both begin at the same place: each of them reads the position
 * when it is submitted, and they have to wait for the disk.  Where the file is in memory they do
 * not wait, and read one piece after the other. */
Test(descriptor, two_reads_at_the_position_of_a_file)
{
    enum { PIECE = 4096 };
    static char in[2][PIECE];
    struct seen reads[2] = { 0 };
    FILE       *made = tmpfile();
    int         fd = fileno(made);
    memset(bytes, 'a', PIECE);
    memset(bytes + PIECE, 'b', PIECE);
    cr_assert_eq(write(fd, bytes, 2 * PIECE), 2 * PIECE);
    cr_assert_eq(fsync(fd), 0);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
    for (int i = 0; i < 2; i++)
        start(&reads[i], unr_read(&reads[i].op, fd, in[i], PIECE, -1));
    run();
    for (int i = 0; i < 2; i++)
        cr_assert_eq(reads[i].result.bytes, PIECE);
    cr_assert_eq(in[0][0], 'a');
    off_t position = lseek(fd, 0, SEEK_CUR);
    cr_assert_eq(position, in[1][0] == 'a' ? PIECE : 2 * PIECE);
    memset(bytes, 0, 2 * PIECE);
    fclose(made);
    close_loop();
}

/* ---- FIFOs ---- */

static void open_fifo(const char *path, int flags, int error)
{
    struct seen seen = { 0 };
    start(&seen, unr_openat(&seen.op, AT_FDCWD, path, flags | O_CLOEXEC, 0600));
    if (error == -ECANCELED) {
        pass(UNR_MSEC(5));
        cr_assert_eq(seen.runs, 0, "flags %#x: error %d", (unsigned)flags, seen.result.error);
        unr_cancel(&seen.op, UNR_CANCEL_TOTAL);
    }
    finish(&seen);
    cr_assert_eq(seen.result.error, error, "flags %#x: error %d", (unsigned)flags,
                 seen.result.error);
    if (!error)
        close(seen.result.fd);
}

/* With O_NONBLOCK an open of a FIFO waits for no peer.  With O_CREAT or O_TRUNC it waits, and is
 * cancelled. */
Test(descriptor, fifo_is_opened_with_and_without_a_wait)
{
    char folder[] = "/tmp/unring.XXXXXX", path[sizeof folder + 8];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/fifo", folder);
    cr_assert_eq(mkfifo(path, 0600), 0);
    open_fifo(path, O_RDONLY | O_NONBLOCK, 0);
    open_fifo(path, O_WRONLY | O_NONBLOCK, -ENXIO);
    open_fifo(path, O_RDONLY | O_CREAT, -ECANCELED);
    open_fifo(path, O_WRONLY | O_CREAT, -ECANCELED);
    open_fifo(path, O_RDONLY | O_TRUNC, -ECANCELED);
    open_fifo(path, O_WRONLY | O_TRUNC, -ECANCELED);
    unlink(path);
    rmdir(folder);
    close_loop();
}

/* ---- SIGPIPE ---- */

static volatile sig_atomic_t signals;

static void count_signal(int number)
{
    (void)number;
    signals++;
}

/* A worker of the kernel executes them, and it is the worker that a signal would be for. */
Test(descriptor, splice_and_tee_raise_no_sigpipe)
{
    struct unr_op *(*const describe[])(struct place * p) = { do_splice, do_tee };
    signal(SIGPIPE, count_signal);
    for (size_t i = 0; i < LENGTH(describe); i++) {
        struct call  call = { "without a reader", at_two_empty_pipes, describe[i] };
        struct place p;
        begin(&p);
        call.at(&p);
        cr_assert_eq(write(p.fds[1], "abc", 3), 3);
        close(p.fds[2]);
        p.fds[2] = -1;
        expect_error(&call, &p, -EPIPE);
        end(&p);
    }
    cr_assert_eq(signals, 0);
    close_loop();
}

/* ---- a connect that carries bytes ---- */

/* MSG_FASTOPEN without a cookie, on a socket that may block: nothing was sent, the connection is
 * being made, a poll tells when it is there. */
Test(descriptor, fast_open_is_in_progress)
{
    struct sockaddr_in address;
    struct place       p;
    begin(&p);
    p.fds[1] = tcp_listener(&address, 4);
    p.fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    p.message.msg_name = &address;
    p.message.msg_namelen = sizeof address;
    start(&p.seen, unr_sendmsg(&p.seen.op, p.fds[0], &p.message, MSG_FASTOPEN));
    finish(&p.seen);
    if (p.seen.result.error == -EOPNOTSUPP)
        cr_skip_test("net.ipv4.tcp_fastopen does not allow it");
    cr_assert_eq(p.seen.result.error, -EINPROGRESS, "error %d", p.seen.result.error);

    p.seen = (struct seen){ 0 };
    start(&p.seen, unr_poll(&p.seen.op, p.fds[0], POLLOUT));
    finish(&p.seen);
    cr_assert_eq(p.seen.result.events, POLLOUT);
    p.fds[2] = accept4(p.fds[1], NULL, NULL, SOCK_CLOEXEC);
    p.seen = (struct seen){ 0 };
    start(&p.seen, unr_send(&p.seen.op, p.fds[0], "once", 4, 0));
    finish(&p.seen);
    cr_assert_eq(p.seen.result.bytes, 4);
    cr_assert_eq(shutdown(p.fds[0], SHUT_WR), 0);
    cr_assert_eq(recv(p.fds[2], p.in, sizeof p.in, MSG_WAITALL), 4);
    end(&p);
    close_loop();
}

/* ---- two operations on one socket ---- */

/* What arrives of two sends: the bytes of the first are below 128. */
struct mixture {
    unsigned char first[8 << 20], second[4096];
    size_t        from_first, from_second, changes;
    bool          of_second;
};

static void take(struct mixture *m, int fd)
{
    static unsigned char in[65536];
    for (ssize_t n; (n = recv(fd, in, sizeof in, MSG_DONTWAIT)) > 0;)
        for (ssize_t i = 0; i < n; i++) {
            m->changes += m->of_second != (in[i] >= 128);
            m->of_second = in[i] >= 128;
            if (m->of_second)
                cr_assert_eq(in[i], m->second[m->from_second++]);
            else
                cr_assert_eq(in[i], m->first[m->from_first++]);
        }
}

/* Two sends on one socket are no queue: the second takes the room that there is, though the first
 * has waited for it.  No byte is lost, and those of each send are in their order. */
Test(descriptor, two_sends_interleave)
{
    static struct mixture m;
    struct seen           sends[2] = { 0 };
    int                   fds[2];
    for (size_t i = 0; i < sizeof m.first; i++)
        m.first[i] = (unsigned char)(i % 127);
    for (size_t i = 0; i < sizeof m.second; i++)
        m.second[i] = (unsigned char)(128 + i % 127);
    tcp_pair(fds);
    start(&sends[0], unr_send(&sends[0].op, fds[0], m.first, sizeof m.first, MSG_WAITALL));
    submit();
    struct pollfd room = { .fd = fds[0], .events = POLLOUT };
    do
        take(&m, fds[1]);
    while (poll(&room, 1, 1) == 0);
    cr_assert_eq(sends[0].runs, 0);
    start(&sends[1], unr_send(&sends[1].op, fds[0], m.second, sizeof m.second, MSG_WAITALL));
    while (m.from_first + m.from_second < sizeof m.first + sizeof m.second) {
        submit();
        take(&m, fds[1]);
    }
    run();
    cr_assert_eq(sends[0].result.bytes, sizeof m.first);
    cr_assert_eq(sends[1].result.bytes, sizeof m.second);
    /* On a plain ring the first send goes on by itself, as soon as there is room. */
    if (!getenv("UNRING_TEST_PLAIN") && has_feature(loop, "DEFER_TASKRUN"))
        cr_assert_eq(m.changes, 2);
    close_pair(fds);
    close_loop();
}

/* ---- datagrams as a stream ---- */

/* A relay from a socket of datagrams ends at an empty one, with success; another may follow. */
Test(descriptor, relay_ends_at_an_empty_datagram)
{
    struct unr_stream from, to;
    struct unr_relay  relay = { 0 };
    struct seen       seen = { 0 };
    struct place      p;
    begin(&p);
    at_unix_datagram(&p);
    unix_pair(p.fds + 2);
    unr_stream_socket(&from, p.fds[0]);
    unr_stream_socket(&to, p.fds[2]);
    cr_assert_eq(send(p.fds[1], "one", 3, 0), 3);
    cr_assert_eq(send(p.fds[1], "", 0, 0), 0);
    cr_assert_eq(send(p.fds[1], "two", 3, 0), 3);
    start(&seen, unr_relay(&relay, &from, &to));
    finish(&seen);
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.bytes, 3);
    cr_assert_eq(recv(p.fds[0], p.in, sizeof p.in, MSG_DONTWAIT), 3);
    end(&p);
    close_loop();
}

/* It cuts a datagram, or a record of SOCK_SEQPACKET, that is longer than its buffer: 4 KiB at
 * first. */
Test(descriptor, relay_cuts_a_long_datagram)
{
    void (*const places[])(struct place * p) = { at_unix_datagram, at_unix_seqpacket };
    for (size_t i = 0; i < LENGTH(places); i++) {
        struct unr_stream from, to;
        struct unr_relay  relay = { 0 };
        struct seen       seen = { 0 };
        struct place      p;
        begin(&p);
        places[i](&p);
        unix_pair(p.fds + 2);
        unr_stream_socket(&from, p.fds[0]);
        unr_stream_socket(&to, p.fds[2]);
        cr_assert_eq(send(p.fds[1], bytes, 10000, 0), 10000);
        cr_assert_eq(send(p.fds[1], "", 0, 0), 0);
        start(&seen, unr_relay(&relay, &from, &to));
        finish(&seen);
        cr_assert_eq(seen.result.error, 0);
        cr_assert_eq(seen.result.bytes, 4096);
        end(&p);
    }
    close_loop();
}

/* To a transfer, an empty datagram is the end of the stream, too. */
Test(descriptor, transfer_ends_at_an_empty_datagram)
{
    struct unr_stream   from;
    struct unr_transfer transfer = { 0 };
    struct seen         seen = { 0 };
    struct place        p;
    begin(&p);
    at_unix_datagram(&p);
    unr_stream_socket(&from, p.fds[0]);
    cr_assert_eq(send(p.fds[1], "", 0, 0), 0);
    cr_assert_eq(send(p.fds[1], "hello", 5, 0), 5);
    start(&seen, unr_read_exact(&transfer, &from, p.in, 5));
    finish(&seen);
    cr_assert_eq(seen.result.error, -ENODATA);
    end(&p);
    close_loop();
}

/* ---- a number that was closed and given out again ---- */

/* An operation goes on after its descriptor is closed, and is known by the number alone: it is
 * reached together with those of the file that has the number now. */
static void receive_on_both_files(struct seen seen[2], struct place *p)
{
    begin(p);
    unix_pair(p->fds);
    start(&seen[0], unr_recv(&seen[0].op, p->fds[0], p->in, 1, 0));
    submit();
    close(p->fds[0]);
    unix_pair(p->fds + 2);
    cr_assert_eq(p->fds[2], p->fds[0]);
    p->fds[0] = -1;
    start(&seen[1], unr_recv(&seen[1].op, p->fds[2], p->in + 1, 1, 0));
    submit();
    cr_assert_eq(seen[0].runs + seen[1].runs, 0);
}

Test(descriptor, cancel_fd_reaches_both_files_of_a_number)
{
    struct seen  seen[2] = { 0 };
    struct place p;
    receive_on_both_files(seen, &p);
    cr_assert_eq(unr_cancel_fd(loop, p.fds[2], UNR_CANCEL_TOTAL), 2);
    run();
    for (int i = 0; i < 2; i++)
        expect_cancelled(&seen[i], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    end(&p);
    close_loop();
}

Test(descriptor, cancel_close_reaches_both_files_of_a_number)
{
    struct seen  seen[2] = { 0 }, closed = { 0 };
    struct place p;
    receive_on_both_files(seen, &p);
    start(&closed, unr_cancel_close(&closed.op, p.fds[2]));
    run();
    for (int i = 0; i < 2; i++)
        expect_cancelled(&seen[i], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    cr_assert_eq(closed.result.error, 0);
    p.fds[2] = -1;
    end(&p);
    close_loop();
}

/* ---- a child that outlives its parent ---- */

/* In the parent of that child: a receive is in flight on `fds`[0] when it dies.  The child closes
 * its descriptors, and the loop if it is told so; then it waits for the end of `life`. */
struct orphanage {
    int  fds[2], life[2];
    bool closes;
};

static void leave_an_orphan(void *context)
{
    static struct unr_op    op;
    static char             in;
    const struct orphanage *o = context;
    struct unr_loop        *opened;
    struct unr_loop_options options = { .size = sizeof options };
    if (getenv("UNRING_TEST_PLAIN"))
        options.flags = UNR_LOOP_PLAIN;
    close(o->fds[1]);
    close(o->life[1]);
    must(unr_loop_open(&opened, &options) == 0);
    unr_start(opened, unr_recv(&op, o->fds[0], &in, 1, 0), NULL, NULL);
    must(unr_loop_run_once(opened, 0) == 0);
    pid_t child = fork();
    must(child >= 0);
    if (child > 0)
        return;
    close(o->fds[0]);
    close(STDERR_FILENO); /* for whose end in_child() waits */
    if (o->closes)
        unr_loop_close(opened);
    _exit(read(o->life[0], &in, 1) != 0);
}

static struct orphanage make_an_orphan(bool closes)
{
    struct orphanage o = { .closes = closes };
    tcp_pair(o.fds);
    cr_assert_eq(pipe2(o.life, O_CLOEXEC), 0);
    struct death death = in_child(leave_an_orphan, &o);
    expect_success(&death);
    close(o.fds[0]);
    return o;
}

static bool sees_the_end(const struct orphanage *o, int milliseconds)
{
    struct pollfd poll_fd = { .fd = o->fds[1], .events = POLLIN };
    char          in;
    return poll(&poll_fd, 1, milliseconds) == 1 && recv(o->fds[1], &in, 1, 0) <= 0;
}

static void end_orphan(const struct orphanage *o)
{
    close(o->life[0]);
    close(o->life[1]);
    cr_assert(sees_the_end(o, -1));
    close(o->fds[1]);
    close_loop();
}

/* Where a process may have few descriptors, two of them share a place in the loop's table.  They
 * are not taken for one another. */
Test(descriptor, numbers_that_share_a_place)
{
    enum { FAR_APART = 1024 };
    struct rlimit few = { FAR_APART, FAR_APART }, all;
    struct seen   low = { 0 }, high = { 0 };
    int           fds[2];
    char          taken[2];
    unix_pair(fds);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &all), 0);
    all.rlim_cur = all.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &all), 0);
    int far = fcntl(fds[0], F_DUPFD_CLOEXEC, fds[0] + FAR_APART);
    if (far != fds[0] + FAR_APART)
        cr_skip_test("no descriptor above %d may be open here", FAR_APART);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    cr_assert_eq(unr_loop_close(loop), 0);
    loop = open_loop_with(0, 0);
    start(&low, unr_recv(&low.op, fds[0], &taken[0], 1, 0));
    start(&high, unr_recv(&high.op, far, &taken[1], 1, 0));
    submit();
    cr_assert_eq(unr_cancel_fd(loop, far, UNR_CANCEL_ALL), 1);
    finish(&high);
    expect_cancelled(&high, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(low.runs, 0);
    cr_assert_eq(unr_cancel_fd(loop, fds[0], UNR_CANCEL_ALL), 1);
    finish(&low);
    close(far);
    close_pair(fds);
    close_loop();
}

/* A child that leaves the loop open keeps the ring, and with it what was in flight: the peers of
 * the parent's connections see no end before that of the child. */
Test(descriptor, child_without_close_keeps_connections_of_its_dead_parent)
{
    struct orphanage o = make_an_orphan(false);
    cr_assert_not(sees_the_end(&o, 50));
    end_orphan(&o);
}

/* One that closes the loop does not. */
Test(descriptor, child_that_closes_the_loop_keeps_none)
{
    struct orphanage o = make_an_orphan(true);
    cr_assert(sees_the_end(&o, -1));
    end_orphan(&o);
}

static void wait_for_nothing(struct unr_op *op)
{
    (void)op;
}

static void cancelled_in_a_child(struct unr_op *op, struct unr_cancel_request request)
{
    (void)op;
    (void)request;
    _exit(3);
}

/* Nor does it ask what is in flight to cancel: that is the parent's. */
Test(descriptor, child_that_closes_the_loop_cancels_nothing)
{
    static const struct unr_op_type type = { .size = sizeof type,
                                             .name = "waits",
                                             .supports = UNR_CANCEL_ALL,
                                             .start = wait_for_nothing,
                                             .cancel = cancelled_in_a_child };
    struct seen                     seen = { 0 };
    int                             status;
    start(&seen, unr_describe(&seen.op, &type));
    submit();
    pid_t child = fork();
    if (child == 0)
        _exit(unr_loop_close(loop) != 0);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", (unsigned)status);
    unr_finish(&seen.op, 0);
    run();
    close_loop();
}
