/* SPDX-License-Identifier: MIT */
/* <unring/sim.h> over the real kernel: the scenarios, linked with this, lib/, uring/ and liburing
 * in place of the simulated kernel, run on the kernel that is there, many times, with other
 * processes acting at random moments.  What they end with must be something that the simulated
 * kernel can produce: ../conformance compares.
 *
 * The calls into the kernel are interposed: io_uring_enter2(), to act before, during and after it;
 * and io_uring_queue_init_params(), to refuse setups, so that all kinds of rings are seen.  For
 * that liburing is linked as a shared library. */
#undef _FORTIFY_SOURCE /* its longjmp(3) knows one stack, and a run may fail on a fiber's */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include <unring/sim.h>

#include "../../../lib/fiber/fiber.h"
#include "../../../lib/loop/thread_pool.h"
#include "../../../uring/newer.h"

enum { FDS = 1024, RUNS = 300, RUN_SECONDS_MAX = 10, CHILDREN = 16, LATERS = 64, PORTS = 16 };

/* ---- failing ---- */

static struct {
    sigjmp_buf  failed, action_failed;
    pthread_t   thread; /* of the scenario */
    bool        running, on_fiber;
    atomic_bool failed_elsewhere;
    char        failure[sizeof((struct unr_exploration *)0)->failure];
} run;

/* Leaves the run from where it is, the stack of a fiber perhaps. */
static _Noreturn void leave_run(void)
{
    run.on_fiber = unri_fiber_abandon();
    siglongjmp(run.failed, 1);
}

static _Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(run.failure, sizeof run.failure, format, arguments);
    va_end(arguments);
    if (!run.running) {
        fprintf(stderr, "outside of unr_explore: %s\n", run.failure);
        abort();
    }
    if (pthread_equal(pthread_self(), run.thread))
        leave_run();
    atomic_store(&run.failed_elsewhere, true);
    siglongjmp(run.action_failed, 1);
}

void unr_sim_check(bool holds, const char *what)
{
    if (!holds)
        fail("%s", what);
}

static int need(int n, const char *what)
{
    if (n < 0)
        fail("%s: %s", what, strerror(errno));
    return n;
}

/* ---- chance ---- */

static _Atomic uint64_t chance;

static uint64_t next_random(void)
{
    /* splitmix64 */
    uint64_t z = atomic_fetch_add(&chance, 0x9e3779b97f4a7c15u) + 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

unsigned unr_sim_choose(unsigned n)
{
    return n < 2 ? 0 : (unsigned)(next_random() % n);
}

static bool one_in(unsigned n)
{
    return unr_sim_choose(n) == 0;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Lets a time pass that is mostly none, at times long enough for a worker of the kernel to begin or
 * to end. */
static void dawdle(void)
{
    switch (unr_sim_choose(24)) {
    case 0: usleep(100 + unr_sim_choose(200)); break;
    case 1: sched_yield(); break;
    case 2:
    case 3:
    case 4:
        for (int64_t end = now_ns() + unr_sim_choose(20000); now_ns() < end;)
            ;
        break;
    default: break;
    }
}

/* ---- what is known of the descriptors that scenarios made ---- */

static struct fd_info {
    ino_t    inode; /* of what it was made for: the number may be another's by now */
    int      peer;  /* the other end */
    size_t   capacity;
    size_t   filler;    /* bytes to be read from here that the scenario knows nothing of */
    unsigned datagrams; /* as filler, of a socket that receives datagrams */
    bool     read_by_operations;
    bool     tcp;
} infos[FDS];

static ino_t inode_of(int fd)
{
    struct stat stat;
    return fstat(fd, &stat) == 0 ? stat.st_ino : 0;
}

static struct fd_info *info_of(int fd)
{
    return fd >= 0 && fd < FDS && infos[fd].inode && infos[fd].inode == inode_of(fd) ? &infos[fd]
                                                                                     : NULL;
}

static void note_pair(int a, int b, size_t capacity, bool tcp)
{
    need(a < FDS && b < FDS ? 0 : -1, "descriptors");
    infos[a] =
        (struct fd_info){ .inode = inode_of(a), .peer = b, .capacity = capacity, .tcp = tcp };
    infos[b] =
        (struct fd_info){ .inode = inode_of(b), .peer = a, .capacity = capacity, .tcp = tcp };
}

static mode_t mode_of(int fd)
{
    struct stat stat;
    return fstat(fd, &stat) == 0 ? stat.st_mode & S_IFMT : 0;
}

static bool is_ready(int fd, short events, int timeout_ms)
{
    struct pollfd poll_fd = { .fd = fd, .events = events };
    return poll(&poll_fd, 1, timeout_ms) == 1;
}

/* Pipes take RWF_NOWAIT since Linux 6.5: before, the same pipe is opened once more, not to block.
 */
static ssize_t fifo_now(int fd, struct iovec *iov, bool writes)
{
    ssize_t n = writes ? pwritev2(fd, iov, 1, -1, RWF_NOWAIT) : preadv2(fd, iov, 1, -1, RWF_NOWAIT);
    if (n >= 0 || errno != EOPNOTSUPP)
        return n;
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, (writes ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_CLOEXEC);
    if (again < 0)
        return errno = errno == ENXIO ? EPIPE : errno, -1;
    n = writes ? writev(again, iov, 1) : readv(again, iov, 1);
    int error = errno;
    close(again);
    errno = error;
    return n;
}

static ssize_t read_now(int fd, void *buf, size_t len)
{
    struct iovec iov = { buf, len };
    ssize_t      n;
    switch (mode_of(fd)) {
    case S_IFSOCK: n = recv(fd, buf, len, MSG_DONTWAIT); break;
    case S_IFIFO: n = fifo_now(fd, &iov, false); break;
    case S_IFREG: n = read(fd, buf, len); break;
    default: n = is_ready(fd, POLLIN, 0) ? read(fd, buf, len) : (errno = EAGAIN, -1); break;
    }
    return n < 0 ? -errno : n;
}

static ssize_t write_now(int fd, const void *buf, size_t len)
{
    struct iovec iov = { (void *)(uintptr_t)buf, len };
    ssize_t      n;
    switch (mode_of(fd)) {
    case S_IFSOCK: n = send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL); break;
    case S_IFIFO: n = fifo_now(fd, &iov, true); break;
    case S_IFREG: n = write(fd, buf, len); break;
    default: n = is_ready(fd, POLLOUT, 0) ? write(fd, buf, len) : (errno = EAGAIN, -1); break;
    }
    return n < 0 ? -errno : n;
}

/* ---- fullness ----
 *
 * The kernel's buffers cannot be as small as the simulation's, so what is to find them full finds
 * them filled: with bytes that are taken out again before the scenario, or an operation, looks at
 * the other end. */

static void drain(struct fd_info *info)
{
    char bytes[4096];
    int  fd = (int)(info - infos);
    while (info->filler) {
        ssize_t n = read_now(fd, bytes, info->filler < sizeof bytes ? info->filler : sizeof bytes);
        if (n > 0)
            info->filler -= (size_t)n;
        else if (n != -EAGAIN || !info->tcp || !is_ready(fd, POLLIN, 300))
            info->filler = 0;
    }
}

static void drain_all(void)
{
    for (int fd = 0; fd < FDS; fd++)
        if (infos[fd].filler && info_of(fd))
            drain(&infos[fd]);
}

static bool any_filler(void)
{
    for (int fd = 0; fd < FDS; fd++)
        if (infos[fd].filler && info_of(fd))
            return true;
    return false;
}

/* Writes until no more fits, at most `most` bytes; how many did.  TCP keeps the last of them to
 * itself, so that what comes next is appended to them. */
static size_t stuff(int fd, const struct fd_info *info, size_t most)
{
    static const char bytes[4096];
    bool              unix_socket =
        mode_of(fd) == S_IFSOCK && !info->tcp; /* it counts messages rather than bytes */
    size_t sum = 0;
    for (ssize_t n; sum < most; sum += (size_t)n) {
        size_t len = unix_socket ? 1 : sizeof bytes < most - sum ? sizeof bytes : most - sum;
        n = info->tcp ? send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE)
                      : write_now(fd, bytes, len);
        if (n <= 0)
            break;
    }
    return sum;
}

static void tcp_pair(int fds[2]);

/* How many bytes leave a TCP connection that nobody reads with room for just `capacity`; SIZE_MAX:
 * that is not known.  It differs between kernels, not between connections. */
static size_t tcp_stuffing(size_t capacity)
{
    static const struct fd_info tcp = { .tcp = true };
    static size_t               full, tested;
    char                        bytes[256] = { 0 };
    int                         fds[2];
    if (tested == capacity)
        return full;
    tcp_pair(fds);
    for (full = 0; send(fds[0], bytes, 1, MSG_DONTWAIT | MSG_MORE) == 1;)
        full++;
    close(fds[0]);
    close(fds[1]);
    tcp_pair(fds);
    full = stuff(fds[0], &tcp, full - capacity);
    tested = capacity;
    if (write_now(fds[0], bytes, sizeof bytes) != (ssize_t)capacity)
        full = SIZE_MAX;
    close(fds[0]);
    close(fds[1]);
    return full;
}

/* Pipes and unix sockets take a small write whole or not at all.  TCP can be left with room for a
 * part. */
static void fill_up(int fd, const struct fd_info *info)
{
    struct fd_info *peer = info_of(info->peer);
    if (!peer || peer->read_by_operations)
        return;
    peer->filler +=
        stuff(fd, info, info->tcp && !one_in(3) ? tcp_stuffing(info->capacity) : SIZE_MAX);
}

static size_t bytes_waiting(int fd)
{
    int n = 0;
    return ioctl(fd, FIONREAD, &n) == 0 && n > 0 ? (size_t)n : 0;
}

/* Bytes that TCP has taken and not sent yet. */
static bool on_its_way(int fd)
{
    int n = 0;
    return ioctl(fd, SIOCOUTQNSD, &n) == 0 && n > 0;
}

/* Takes out all that the scenario knows nothing of. */
static void empty(struct fd_info *info)
{
    drain(info);
    for (; info->datagrams; info->datagrams--)
        need((int)recv((int)(info - infos), (char[1]){ 0 }, 1, MSG_DONTWAIT), "recv");
}

ssize_t unr_sim_read(int fd, void *buf, size_t len)
{
    struct fd_info *info = info_of(fd);
    if (info)
        empty(info);
    ssize_t n = read_now(fd, buf, len);
    if (n == -EAGAIN && info && info->tcp && is_ready(fd, POLLIN, on_its_way(info->peer) ? 300 : 1))
        n = read_now(fd, buf, len);
    return n;
}

ssize_t unr_sim_write(int fd, const void *buf, size_t len)
{
    struct fd_info *info = info_of(fd), *peer = info ? info_of(info->peer) : NULL;
    if (peer && info->capacity) {
        size_t waiting = bytes_waiting(info->peer) - peer->filler;
        size_t room = waiting < info->capacity ? info->capacity - waiting : 0;
        if (!room && len)
            return -EAGAIN;
        len = len < room ? len : room;
    }
    return write_now(fd, buf, len);
}

/* ---- what scenarios make ---- */

static void tcp_pair(int fds[2])
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t          len = sizeof address;
    int listener = need(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"), yes = 1,
        smallest = 0, small = 4096;
    need(bind(listener, (struct sockaddr *)&address, sizeof address), "bind");
    need(listen(listener, 1), "listen");
    need(getsockname(listener, (struct sockaddr *)&address, &len), "getsockname");
    fds[0] = need(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    for (int i = 0; i < 2; i++) {
        setsockopt(i ? listener : fds[0], SOL_SOCKET, SO_SNDBUF, &smallest, sizeof smallest);
        setsockopt(i ? listener : fds[0], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    }
    need(connect(fds[0], (struct sockaddr *)&address, sizeof address), "connect");
    fds[1] = need(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept");
    close(listener);
    for (int i = 0; i < 2; i++)
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

void unr_sim_socketpair(int ret_fds[2], size_t capacity)
{
    int  smallest = 0;
    bool tcp = one_in(4);
    if (tcp)
        tcp_pair(ret_fds);
    else
        need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_fds), "socketpair");
    for (int i = 0; i < 2 && !tcp; i++)
        setsockopt(ret_fds[i], SOL_SOCKET, SO_SNDBUF, &smallest, sizeof smallest);
    note_pair(ret_fds[0], ret_fds[1], capacity ? capacity : 64, tcp);
}

/* The queue of a receiver holds as many as the system says, so all but `capacity` of its places are
 * taken by datagrams that the scenario knows nothing of. */
void unr_sim_datagrams(int ret_fds[2], unsigned capacity)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    socklen_t          len = sizeof address;
    size_t             places = 0;
    for (unsigned attempt = 0; attempt < 2; attempt++) {
        for (int i = 0; i < 2; i++)
            ret_fds[i] = need(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
        need(bind(ret_fds[1], (struct sockaddr *)&address, sizeof(sa_family_t)), "bind");
        need(getsockname(ret_fds[1], (struct sockaddr *)&address, &len), "getsockname");
        need(connect(ret_fds[0], (struct sockaddr *)&address, len), "connect");
        if (attempt)
            break;
        while (send(ret_fds[0], "", 1, MSG_DONTWAIT) == 1)
            places++;
        close(ret_fds[0]);
        close(ret_fds[1]);
    }
    note_pair(ret_fds[0], ret_fds[1], 0, false);
    for (; places > capacity; places--) {
        need((int)send(ret_fds[0], "", 1, MSG_DONTWAIT), "send");
        infos[ret_fds[1]].datagrams++;
    }
}

void unr_sim_records(int ret_fds[2], unsigned capacity)
{
    (void)capacity; /* the kernel holds more */
    need(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds), "socketpair");
    note_pair(ret_fds[0], ret_fds[1], 0, false);
}

void unr_sim_pipe(int ret_fds[2], size_t capacity)
{
    need(pipe2(ret_fds, O_CLOEXEC), "pipe");
    fcntl(ret_fds[0], F_SETPIPE_SZ, 4096);
    note_pair(ret_fds[0], ret_fds[1], capacity ? capacity : 64, false);
}

int unr_sim_socket(void)
{
    return need(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
}

/* The ports of the scenarios stand for those that were free. */
static struct {
    uint16_t wanted, given;
} ports[PORTS];
static unsigned port_count;

static uint16_t port_given(uint16_t wanted)
{
    for (unsigned i = port_count; i-- > 0;)
        if (ports[i].wanted == wanted)
            return ports[i].given;
    return wanted;
}

/* A TCP handshake that finds the backlog full is tried again after a second.  So that is rare
 * here. */
int unr_sim_listener(uint16_t port, int backlog)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t          len = sizeof address;
    int                fd = unr_sim_socket();
    need(bind(fd, (struct sockaddr *)&address, sizeof address), "bind");
    need(listen(fd, one_in(25) ? backlog : backlog + 8), "listen");
    need(getsockname(fd, (struct sockaddr *)&address, &len), "getsockname");
    ports[port_count].wanted = port;
    ports[port_count++].given = ntohs(address.sin_port);
    return fd;
}

int unr_sim_connect(uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(port_given(port)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int       fd = need(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
    int       error = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
    socklen_t len = sizeof error;
    if (error == EINPROGRESS) {
        error = is_ready(fd, POLLOUT, 100) ? 0 : EAGAIN;
        if (!error)
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    }
    if (error) {
        close(fd);
        return -error;
    }
    fcntl(fd, F_SETFL, 0);
    return fd;
}

int unr_sim_accept(int fd)
{
    if (!is_ready(fd, POLLIN, 1))
        return -EAGAIN;
    int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    return accepted < 0 ? -errno : accepted;
}

int unr_sim_file(const void *data, size_t len)
{
    int fd = one_in(2) ? memfd_create("scenario", MFD_CLOEXEC)
                       : open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    /* Files in memory have extended attributes since Linux 6.6. */
    if (fgetxattr(fd, "user.unring", NULL, 0) < 0 && errno == EOPNOTSUPP) {
        close(fd);
        fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    }
    if (fd < 0)
        fd = memfd_create("scenario", MFD_CLOEXEC);
    need(fd, "a file");
    need(pwrite(fd, data, len, 0) == (ssize_t)len ? 0 : -1, "pwrite");
    return fd;
}

int unr_sim_eventfd(uint64_t count)
{
    return need(eventfd((unsigned)count, EFD_CLOEXEC), "eventfd");
}

int unr_sim_epoll(int fd, uint32_t events)
{
    struct epoll_event event = { .events = events };
    int                epoll = need(epoll_create1(EPOLL_CLOEXEC), "epoll");
    need(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    return epoll;
}

int unr_sim_signalfd(uint64_t signals)
{
    sigset_t set;
    sigemptyset(&set);
    for (int signal = 1; signal <= 64; signal++)
        if (signals >> (signal - 1) & 1)
            sigaddset(&set, signal);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* threads that are made from here on inherit it */
    int                     fd = need(signalfd(-1, &set, SFD_CLOEXEC), "signalfd");
    struct signalfd_siginfo earlier; /* what an earlier run has left pending */
    while (is_ready(fd, POLLIN, 0) && read(fd, &earlier, sizeof earlier) > 0)
        ;
    return fd;
}

void unr_sim_raise(int signal)
{
    kill(getpid(), signal);
}

int unr_sim_shutdown(int fd, int how)
{
    return shutdown(fd, how) == 0 ? 0 : -errno;
}

void unr_sim_linger(int fd)
{
    struct linger linger = { .l_onoff = 1, .l_linger = 1 };
    need(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), "SO_LINGER");
}

int unr_sim_close(int fd)
{
    return close(fd) == 0 ? 0 : -errno;
}

/* ---- children: each exits with the byte that it reads ---- */

static struct {
    pid_t pid;
    int   pipe;
} children[CHILDREN];
static unsigned child_count;

static _Noreturn void be_a_child(int told, int tells)
{
    unsigned char status = 0;
    /* Or the descriptors of the scenario would stay open in here. */
    int low = told < tells ? told : tells, high = told < tells ? tells : told;
    close_range(0, (unsigned)low - 1, 0);
    close_range((unsigned)low + 1, (unsigned)high - 1, 0);
    close_range((unsigned)high + 1, ~0u, 0);
    close(write(tells, "", 1) == 1 ? tells : -1);
    _exit(read(told, &status, 1) == 1 ? status : 255);
}

pid_t unr_sim_child(void)
{
    int  told[2], tells[2];
    char byte;
    need(child_count < CHILDREN ? 0 : -1, "children");
    need(pipe2(told, O_CLOEXEC), "pipe");
    need(pipe2(tells, O_CLOEXEC), "pipe");
    pid_t pid = need(fork(), "fork");
    if (pid == 0)
        be_a_child(told[0], tells[1]);
    close(told[0]);
    close(tells[1]);
    need(read(tells[0], &byte, 1) == 1 ? 0 : -1, "the child");
    close(tells[0]);
    children[child_count].pid = pid;
    children[child_count++].pipe = told[1];
    return pid;
}

void unr_sim_child_exit(pid_t pid, int status)
{
    unsigned char byte = (unsigned char)status;
    siginfo_t     info;
    for (unsigned i = 0; i < child_count; i++)
        if (children[i].pid == pid)
            need(write(children[i].pipe, &byte, 1) == 1 || errno == EPIPE ? 0 : -1,
                 "the child"); /* or it has exited before */
    if (one_in(2))             /* at once; or when it gets round to it */
        waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
}

static void end_children(void)
{
    for (unsigned i = 0; i < child_count; i++) {
        close(children[i].pipe);
        if (waitpid(children[i].pid, NULL, WNOHANG) == 0) {
            kill(children[i].pid, SIGKILL);
            waitpid(children[i].pid, NULL, 0);
        }
    }
    child_count = 0;
}

/* ---- other processes ----
 *
 * What is to happen later happens while the loop is in the kernel: before the system call, after
 * it, or during it, by another thread.  That one does nothing outside of the call, so that
 * scenarios need no locks. */

struct later {
    void (*action)(void *context);
    void *context;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t  changed;
    bool            started, in_kernel, awake, acting;
    struct later    laters[LATERS];
    unsigned        count;
} others = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

void unr_sim_later(void (*action)(void *context), void *context)
{
    pthread_mutex_lock(&others.lock);
    unsigned count = others.count;
    if (count < LATERS)
        others.laters[others.count++] = (struct later){ action, context };
    pthread_mutex_unlock(&others.lock);
    need(count < LATERS ? 0 : -1, "actions");
}

static bool take_later(struct later *ret_later)
{
    if (!others.count)
        return false;
    unsigned i = unr_sim_choose(others.count);
    *ret_later = others.laters[i];
    others.laters[i] = others.laters[--others.count];
    return true;
}

/* By the scenario's own thread. */
static bool act_now(void)
{
    struct later later;
    pthread_mutex_lock(&others.lock);
    bool taken = take_later(&later);
    pthread_mutex_unlock(&others.lock);
    if (taken)
        later.action(later.context);
    return taken;
}

static void wait_a_while(void)
{
    static const unsigned longest_ns[] = { 500, 4000, 30000 };
    unsigned              which = unr_sim_choose(4);
    if (which == 3)
        usleep(30 + unr_sim_choose(150));
    else
        for (int64_t end = now_ns() + unr_sim_choose(longest_ns[which]); now_ns() < end;)
            ;
}

/* One action; or, when none is left, what they would have found full is made empty.  Called and
 * returns locked. */
static void act_during(void)
{
    struct later later = { 0 };
    others.acting = true;
    bool taken = take_later(&later);
    pthread_mutex_unlock(&others.lock);
    if (!taken)
        drain_all();
    else if (sigsetjmp(run.action_failed, 1) == 0)
        later.action(later.context);
    pthread_mutex_lock(&others.lock);
    others.acting = false;
    pthread_cond_broadcast(&others.changed);
}

static void *be_the_others(void *unused)
{
    pthread_mutex_lock(&others.lock);
    for (;;) {
        while (!others.in_kernel) {
            others.awake = false;
            pthread_cond_wait(&others.changed, &others.lock);
        }
        others.awake = true;
        pthread_cond_broadcast(&others.changed);
        bool any = others.count;
        pthread_mutex_unlock(&others.lock);
        if (any)
            wait_a_while();
        else
            usleep(2000);
        pthread_mutex_lock(&others.lock);
        if (others.in_kernel)
            act_during();
    }
    return unused;
}

static bool start_thread(void)
{
    pthread_t thread;
    sigset_t  all, mask;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask); /* signals are the scenario's */
    bool started = pthread_create(&thread, NULL, be_the_others, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return started;
}

static void let_others_act(bool at_once)
{
    pthread_mutex_lock(&others.lock);
    if (!others.started)
        others.started = start_thread();
    others.in_kernel = true;
    pthread_cond_broadcast(&others.changed);
    while (at_once && !others.awake)
        pthread_cond_wait(&others.changed, &others.lock);
    pthread_mutex_unlock(&others.lock);
}

static void stop_others(void)
{
    pthread_mutex_lock(&others.lock);
    others.in_kernel = false;
    while (others.acting)
        pthread_cond_wait(&others.changed, &others.lock);
    pthread_mutex_unlock(&others.lock);
    if (atomic_load(&run.failed_elsewhere))
        leave_run();
}

static bool others_have_plans(void)
{
    pthread_mutex_lock(&others.lock);
    bool any = others.count;
    pthread_mutex_unlock(&others.lock);
    return any;
}

void unr_sim_compute(unr_time duration)
{
    struct timespec left = { .tv_sec = duration / UNR_SEC(1), .tv_nsec = duration % UNR_SEC(1) };
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

unr_time unr_sim_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return UNR_SEC(now.tv_sec) + now.tv_nsec;
}

/* The real kernel's namespaces are for tests/test_clock.c. */
void unr_sim_shift_clock(unr_time shift)
{
    (void)shift;
}

static const char *hosts[8][2];
static unsigned    hosts_count;

void unr_sim_host(const char *name, const char *address)
{
    need(hosts_count < 8 ? 0 : -1, "names");
    hosts[hosts_count][0] = name;
    hosts[hosts_count++][1] = address;
}

/* Takes the place of the C library's, which is asked for numbers only: no server is. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret_found)
{
    static __typeof__(getaddrinfo) *real;
    struct addrinfo               **end = ret_found;
    if (!real)
        real = (__typeof__(real))(uintptr_t)dlsym(RTLD_NEXT, "getaddrinfo");
    *ret_found = NULL;
    if (hints && hints->ai_flags & AI_NUMERICHOST)
        return real(host, service, hints, ret_found);
    for (unsigned i = 0; i < hosts_count; i++)
        if (strcmp(hosts[i][0], host) == 0 && real(hosts[i][1], service, hints, end) == 0)
            while (*end)
                end = &(*end)->ai_next;
    return *ret_found ? 0 : EAI_NONAME;
}

void unr_sim_join_threads(void)
{
    unri_jobs_join();
}

void unr_sim_wait_readable(int fd)
{
    while (!is_ready(fd, POLLIN, others_have_plans() ? 0 : -1))
        if (one_in(2))
            act_now();
}

/* ---- the calls into the kernel ---- */

static struct io_uring *rings[16]; /* that are open */
static unsigned         ring_kind; /* of this run: how many of the better setups are refused */

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p)
{
    static int (*real)(unsigned, struct io_uring *, struct io_uring_params *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "io_uring_queue_init_params");
    if ((ring_kind > 0 && p->flags & IORING_SETUP_DEFER_TASKRUN)
        || (ring_kind > 1 && p->flags & IORING_SETUP_COOP_TASKRUN)
        || (ring_kind > 2 && p->flags & IORING_SETUP_SUBMIT_ALL))
        return -EINVAL;
    int error = real(entries, ring, p);
    for (unsigned i = 0; error == 0 && i < sizeof rings / sizeof *rings; i++)
        if (!rings[i]) {
            rings[i] = ring;
            break;
        }
    return error;
}

void io_uring_queue_exit(struct io_uring *ring)
{
    static void (*real)(struct io_uring *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "io_uring_queue_exit");
    for (unsigned i = 0; i < sizeof rings / sizeof *rings; i++)
        if (rings[i] == ring)
            rings[i] = NULL;
    real(ring);
}

/* The ring that is entered by `fd`, its descriptor or its index among the thread's registered
 * rings. */
static struct io_uring *ring_entered(unsigned fd)
{
    for (unsigned i = 0; i < sizeof rings / sizeof *rings; i++)
        if (rings[i] && rings[i]->enter_ring_fd == (int)fd)
            return rings[i];
    return NULL;
}

static bool takes_from(const struct io_uring_sqe *sqe)
{
    switch (sqe->opcode) {
    case IORING_OP_READ:
    case IORING_OP_READV:
    case IORING_OP_RECV:
    case IORING_OP_RECVMSG:
    case UNRI_OP_READ_MULTISHOT:
    case IORING_OP_POLL_ADD: return true;
    default: return false;
    }
}

static void before_reading(int fd)
{
    struct fd_info *info = info_of(fd);
    if (!info)
        return;
    empty(info);
    info->read_by_operations = true;
}

static size_t bytes_of(const struct iovec *iov, size_t count)
{
    size_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += iov[i].iov_len;
    return sum;
}

static size_t puts_into(const struct io_uring_sqe *sqe)
{
    const void          *address = (const void *)(uintptr_t)sqe->addr;
    const struct msghdr *msg = address;
    switch (sqe->opcode) {
    case IORING_OP_WRITE:
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC: return sqe->len;
    case IORING_OP_WRITEV: return bytes_of(address, sqe->len);
    case IORING_OP_SENDMSG:
    case IORING_OP_SENDMSG_ZC: return bytes_of(msg->msg_iov, msg->msg_iovlen);
    default: return 0;
    }
}

/* Only TCP sends without copying. */
static void replace_by_tcp(int fd, int peer)
{
    int pair[2];
    tcp_pair(pair);
    need(dup3(pair[0], fd, O_CLOEXEC), "dup");
    need(dup3(pair[1], peer, O_CLOEXEC), "dup");
    close(pair[0]);
    close(pair[1]);
    note_pair(fd, peer, infos[fd].capacity, true);
}

/* What would fill the simulation's buffer may find the kernel's filled. */
static void before_writing(const struct io_uring_sqe *sqe)
{
    struct fd_info *info = info_of(sqe->fd);
    if (info && !info->tcp
        && (sqe->opcode == IORING_OP_SEND_ZC || sqe->opcode == IORING_OP_SENDMSG_ZC)) {
        replace_by_tcp(sqe->fd, info->peer);
        info = info_of(sqe->fd);
    }
    if (info && puts_into(sqe) > info->capacity && !bytes_waiting(info->peer) && !one_in(3))
        fill_up(sqe->fd, info);
}

static void map_port(struct io_uring_sqe *sqe)
{
    static struct sockaddr_in given[16];
    static unsigned           next;
    const struct sockaddr_in *wanted = (const struct sockaddr_in *)(uintptr_t)sqe->addr;
    if (wanted->sin_family != AF_INET || (wanted >= given && wanted < given + 16))
        return;
    struct sockaddr_in *mapped = &given[next++ % 16];
    *mapped = *wanted;
    mapped->sin_port = htons(port_given(ntohs(wanted->sin_port)));
    sqe->addr = (uintptr_t)mapped;
}

static void look_at_submission(struct io_uring *io)
{
    unsigned head = io_uring_smp_load_acquire(io->sq.khead), tail = *io->sq.ktail;
    for (unsigned i = head; i != tail; i++) {
        struct io_uring_sqe *sqe = &io->sq.sqes[i & *io->sq.kring_mask];
        if (takes_from(sqe))
            before_reading(sqe->fd);
        else if (sqe->opcode == IORING_OP_SPLICE || sqe->opcode == IORING_OP_TEE)
            before_reading(sqe->splice_fd_in);
        else if (sqe->opcode == IORING_OP_CONNECT)
            map_port(sqe);
    }
    for (unsigned i = head; i != tail; i++)
        before_writing(&io->sq.sqes[i & *io->sq.kring_mask]);
}

int io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
                    sigset_t *sig, size_t size)
{
    struct io_uring *ring = ring_entered(fd);
    if (!ring || !pthread_equal(pthread_self(), run.thread))
        goto plain;
    if (to_submit)
        look_at_submission(ring);
    dawdle();
    while (one_in(4) && act_now())
        ;
    bool race = others_have_plans() && one_in(4);
    bool during = race || (min_complete && (others_have_plans() || any_filler()));
    if (during)
        let_others_act(race);
    long n = syscall(__NR_io_uring_enter, fd, to_submit, min_complete, flags, sig, size);
    int  error = errno;
    if (during)
        stop_others();
    if (one_in(8))
        act_now();
    dawdle();
    return n < 0 ? -error : (int)n;
plain:
    n = syscall(__NR_io_uring_enter, fd, to_submit, min_complete, flags, sig, size);
    return n < 0 ? -errno : (int)n;
}

/* ---- a place of its own: names and, where that is allowed, a network ---- */

static char directory[64];

static void remove_names(void)
{
    DIR *names = opendir(".");
    for (struct dirent *entry; names && (entry = readdir(names));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0
            && unlinkat(dirfd(names), entry->d_name, 0) != 0)
            unlinkat(dirfd(names), entry->d_name, AT_REMOVEDIR);
    if (names)
        closedir(names);
}

static void leave_directory(void)
{
    remove_names();
    rmdir(directory);
}

static void own_network(void)
{
    struct ifreq interface = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    if (unshare(CLONE_NEWNET) != 0)
        return;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ioctl(fd, SIOCSIFFLAGS, &interface);
    close(fd);
}

static void settle(void)
{
    const char *parent = getenv("TMPDIR");
    if (directory[0])
        return;
    snprintf(directory, sizeof directory, "%s/unring-XXXXXX",
             parent && strlen(parent) < 40 ? parent : "/tmp");
    if (!mkdtemp(directory) || chdir(directory) != 0) {
        perror(directory);
        exit(2);
    }
    atexit(leave_directory);
    own_network();
}

/* ---- one run after another ---- */

enum { WATCHED = 128 }; /* descriptors */

static void see_descriptors(bool open[WATCHED])
{
    for (int fd = 0; fd < WATCHED; fd++)
        open[fd] = fcntl(fd, F_GETFD) >= 0;
}

static unsigned left_open(const bool before[WATCHED])
{
    bool     after[WATCHED];
    unsigned count = 0;
    see_descriptors(after);
    for (int fd = 0; fd < WATCHED; fd++)
        count += after[fd] && !before[fd];
    return count;
}

static void clean_up(void)
{
    pthread_mutex_lock(&others.lock);
    others.in_kernel = false; /* a run that failed may have been there */
    while (others.acting)
        pthread_cond_wait(&others.changed, &others.lock);
    others.count = 0;
    pthread_mutex_unlock(&others.lock);
    end_children();
    remove_names();
    memset(infos, 0, sizeof infos);
    memset(rings, 0, sizeof rings);
    port_count = 0;
}

static bool run_once(unr_scenario_fn *scenario, void *context, uint64_t seed)
{
    static const unsigned ring_kinds[] = { 0, 0, 0, 0, 0, 1, 2, 3 };
    bool                  before[WATCHED];
    see_descriptors(before);
    atomic_store(&chance, seed * 0x2545f4914f6cdd1du);
    atomic_store(&run.failed_elsewhere, false);
    ring_kind = ring_kinds[unr_sim_choose(8)];
    hosts_count = 0;
    run.running = true;
    alarm(RUN_SECONDS_MAX);
    bool passed = sigsetjmp(run.failed, 1) == 0;
    if (passed) {
        scenario(context);
        clean_up();
        unsigned left = left_open(before);
        if (left)
            fail("%u descriptors were not closed", left);
    } else {
        if (run.on_fiber)
            unri_context_left();
        clean_up();
    }
    alarm(0);
    run.running = false;
    return passed;
}

static void caught(int number)
{
    fail("the program was ended by signal %d (%s); what it printed says more", number,
         strsignal(number));
}

static void hung(int number)
{
    (void)number;
    fail("deadlock, or nearly: a run did not end in %d seconds", RUN_SECONDS_MAX);
}

static void catch_signals(void)
{
    static const int numbers[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE };
    struct sigaction action = { .sa_handler = caught, .sa_flags = SA_NODEFER };
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, NULL);
    action.sa_handler = hung;
    sigaction(SIGALRM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int unr_explore(unr_scenario_fn *scenario, void *context, const struct unr_explore_options *options,
                struct unr_exploration *ret_found)
{
    struct unr_exploration found = { 0 };
    uint64_t               runs = options && options->schedules_max ? options->schedules_max : RUNS;
    uint64_t               seed = (options ? options->seed : 1) * 1000000;
    bool                   again = options && options->driver == UNR_REPLAY && options->replay;
    int                    error = 0;
    run.thread = pthread_self();
    settle();
    catch_signals();
    while (error == 0 && found.schedules < runs) {
        uint64_t of_run = again ? strtoull(options->replay, NULL, 10) : seed + found.schedules;
        found.schedules++;
        if (run_once(scenario, context, of_run))
            continue;
        error = -EBADMSG;
        snprintf(found.schedule, sizeof found.schedule, "%llu", (unsigned long long)of_run);
        memcpy(found.failure, run.failure, sizeof found.failure);
    }
    if (ret_found)
        *ret_found = found;
    return error;
}
