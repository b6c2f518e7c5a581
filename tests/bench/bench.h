/* SPDX-License-Identifier: MIT */
/* What the benchmark programs share, in C and in C++: clocks, the line that the driver reads,
 * limits, random numbers, loopback sockets.  What only the programs on plain liburing share is in
 * ring.h; which program runs when, and what becomes of its lines, is in `run`. */
#ifndef BENCH_H
#define BENCH_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BENCH_MAX_RUN_S                                                                            \
    120 /* a program that hangs is ended by its own alarm, see bench_begin()                       \
         */

static inline void die(const char *what, int error)
{
    fprintf(stderr, "bench: %s: %s\n", what, strerror(error < 0 ? -error : error));
    exit(1);
}

/* Every program begins with this: nothing that is started here outlives the benchmark. */
static inline void bench_begin(void)
{
    alarm(BENCH_MAX_RUN_S);
    signal(SIGPIPE, SIG_IGN);
}

/* One figure, in the form that `run` collects. */
static inline void report(const char *name, double value, const char *unit)
{
    printf("%s %.2f %s\n", name, value, unit);
}

/* The same for names made of a word and a number: random.1000. */
static inline void report_n(const char *name, long n, double value, const char *unit)
{
    printf("%s.%ld %.2f %s\n", name, n, value, unit);
}

/* ---- arguments ---- */

static inline const char *argument(int argc, char **argv, int i)
{
    if (i >= argc) {
        fprintf(stderr, "bench: %s: argument %d is missing; see the first lines of its source\n",
                argv[0], i);
        exit(2);
    }
    return argv[i];
}

static inline long number(int argc, char **argv, int i)
{
    return atol(argument(argc, argv, i));
}

/* ---- clocks ---- */

static inline int64_t read_clock(clockid_t id)
{
    struct timespec t;

    if (clock_gettime(id, &t) < 0)
        die("clock_gettime", errno);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

/* Processor time of this process, user and system: what a run costs, also when it has to share the
 * machine. */
static inline int64_t cpu_ns(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

static inline void sleep_until(int64_t when_ns)
{
    struct timespec t;

    t.tv_sec = when_ns / 1000000000;
    t.tv_nsec = when_ns % 1000000000;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

/* ---- random numbers: xorshift, the same sequence in every program ---- */

static inline uint32_t random_below(uint32_t n)
{
    static uint64_t x = 88172645463325252u;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)(((x >> 32) * n) >> 32);
}

/* ---- limits and processors ---- */

/* Descriptors for `n` connections, as far as the hard limit lets us, which only a privileged
 * process raises.  Where it does not, the call that finds no descriptor says so. */
static inline void raise_fd_limit(long n)
{
    struct rlimit limit;
    rlim_t        wanted = (rlim_t)n + 64; /* standard streams, rings, listening sockets */

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        die("getrlimit", errno);
    if (wanted <= limit.rlim_cur)
        return;
    limit.rlim_cur = wanted;
    if (limit.rlim_max < wanted)
        limit.rlim_max = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        return;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Keeps this process on one processor: the server under test on the first of those that are
 * allowed, everything that drives it on the last.  Without that the scheduler's moves are most of
 * what an echo measures. */
enum place { PLACE_SERVER, PLACE_DRIVER };

static inline void pin(enum place place)
{
    cpu_set_t allowed, one;
    int       cpu, chosen = -1;

    if (sched_getaffinity(0, sizeof allowed, &allowed) < 0)
        return;
    for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && (chosen < 0 || place == PLACE_DRIVER))
            chosen = cpu;
    CPU_ZERO(&one);
    CPU_SET(chosen, &one);
    sched_setaffinity(0, sizeof one, &one);
}

/* ---- descriptors that stay idle: what the reads that are cancelled wait for ---- */

static inline int *open_idle(long n, int flags)
{
    int *fds = (int *)calloc((size_t)n, sizeof *fds);
    long i;

    raise_fd_limit(n);
    for (i = 0; i < n; i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC | flags);
        if (fds[i] < 0)
            die("eventfd", errno);
    }
    return fds;
}

/* ---- sockets: all on the loopback address ---- */

static inline struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address;

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static inline void no_delay(int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* A listening socket on a free port, which is printed for the driver. */
static inline int listen_and_tell(int type_flags)
{
    struct sockaddr_in address = loopback(0);
    socklen_t          len = sizeof address;
    int                fd = socket(AF_INET, SOCK_STREAM | type_flags, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, 4096) < 0
        || getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        die("listen", errno);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

/* What every server is asked on its command line:
 *     SERVER echo SIZE              sends back what it receives, up to SIZE bytes at a time
 *     SERVER target SIZE            the same, as what a proxy relays to: beside the clients, not
 *     beside the proxy SERVER proxy SIZE TARGET      connects each client to the port TARGET and
 *     relays in both directions
 * It prints "port N" and ends when its last client has gone. */
struct serve_options {
    long size;
    int  target_port; /* 0: echo */
};

static inline struct serve_options serve_options(int argc, char **argv)
{
    const char          *mode = argument(argc, argv, 1);
    struct serve_options options;

    options.size = number(argc, argv, 2);
    options.target_port = strcmp(mode, "proxy") == 0 ? (int)number(argc, argv, 3) : 0;
    bench_begin();
    raise_fd_limit(10100);
    pin(strcmp(mode, "target") == 0 ? PLACE_DRIVER : PLACE_SERVER);
    return options;
}

#endif
