/* SPDX-License-Identifier: MIT */
/* What the tests of the library share: a loop, pairs of sockets, and operations that remember how
 * they ended.  UNRING_TEST_PLAIN=1 runs them on the plainest ring instead of the best, and
 * UNRING_TEST_CHECKS=1 with the checks of UNR_LOOP_CHECKS. */
#ifndef TESTS_FIXTURE_H
#define TESTS_FIXTURE_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <unring.h>

#include "refusal.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SUPPORT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)                            \
    || __has_feature(memory_sanitizer)
#define SUPPORT_SANITIZED 1
#endif
#endif
#ifndef SUPPORT_SANITIZED
#define SUPPORT_SANITIZED 0
#endif

static struct unr_loop *loop;
static int              open_descriptors;

static inline int count_descriptors(void)
{
    int  count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* Skips the test where io_uring is refused.  A test calls it once it cannot go on without a loop,
 * so that the tests that need none run everywhere. */
static inline void skip_if_refused(void)
{
    const char *reason = uring_refusal();
    if (reason)
        cr_skip_test("io_uring is refused: %s", reason);
}

/* The flags that the environment asks for. */
static inline unsigned test_flags(void)
{
    return (getenv("UNRING_TEST_PLAIN") ? UNR_LOOP_PLAIN : 0)
           | (getenv("UNRING_TEST_CHECKS") ? UNR_LOOP_CHECKS : 0);
}

/* Skips a test of the fact that nothing is allocated, or one that breaks a rule on purpose. */
static inline void skip_with_checks(void)
{
    if (test_flags() & UNR_LOOP_CHECKS)
        cr_skip_test("checks allocate, and end what breaks a rule");
}

static inline struct unr_loop *open_loop_with(unsigned entries, unsigned completions)
{
    struct unr_loop_options options = { .size = sizeof options,
                                        .flags = test_flags(),
                                        .entries = entries,
                                        .completion_entries = completions };
    struct unr_loop        *opened = NULL;
    int                     error = unr_loop_open(&opened, &options);
    if (error)
        skip_if_refused();
    cr_assert_eq(error, 0, "%s", unr_explain(error));
    return opened;
}

static inline void open_loop(void)
{
    open_descriptors = count_descriptors();
    loop = open_loop_with(0, 0);
}

/* At the end of a test's body, as a failing tear-down passes: nothing is left in flight, and no
 * descriptor open. */
static inline void close_loop(void)
{
    struct unr_stats s;
    cr_assert_eq(unr_loop_in_flight(loop), 0);
    unr_loop_stats(loop, &s, sizeof s);
    cr_assert_eq(s.cancels_asked,
                 s.cancels_won + s.cancels_too_late + s.cancels_running + s.cancels_unsubmitted
                     + s.cancels_refused + s.cancels_added,
                 "the statistics balance");
    cr_assert_eq(unr_loop_close(loop), 0);
    loop = NULL;
    cr_assert_eq(count_descriptors(), open_descriptors, "descriptors leak");
}

static inline struct unr_pool *open_pool_of(unsigned count, unsigned buffer_size,
                                            unsigned published)
{
    struct unr_pool_options options = {
        .size = sizeof options, .count = count, .buffer_size = buffer_size, .published = published
    };
    struct unr_pool *opened = NULL;
    int              error = unr_pool_open(&opened, loop, &options);
    cr_assert_eq(error, 0, "%s", unr_explain(error));
    return opened;
}

/* Whether the kernel chooses from the pool's buffers. */
static inline bool is_published(const struct unr_pool *pool)
{
    struct unr_pool_stats stats;
    unr_pool_stats(pool, &stats, sizeof stats);
    return stats.published;
}

static inline void skip_unpublished(const struct unr_pool *pool)
{
    if (!is_published(pool))
        cr_skip_test("the kernel chooses from no pool before Linux 6.7");
}

static inline struct unr_pool *open_published_pool(unsigned count, unsigned buffer_size,
                                                   unsigned published)
{
    struct unr_pool *opened = open_pool_of(count, buffer_size, published);
    skip_unpublished(opened);
    return opened;
}

/* ---- operations that remember ---- */

struct seen {
    struct unr_op     op;
    int               runs;   /* of `done` */
    struct unr_result result; /* of the last */
    void (*then)(struct seen *seen);
    void *context;
};

static inline void saw(struct unr_op *op)
{
    struct seen *seen = op->data; /* the operation may be another than seen->op */
    seen->runs++;
    seen->result = op->result;
    if (seen->then)
        seen->then(seen);
}

static inline void start(struct seen *seen, struct unr_op *described)
{
    unr_start(loop, described, saw, seen);
}

static inline void run(void)
{
    cr_assert_eq(unr_loop_run(loop), 0);
}

/* Lets the kernel have what was started, and takes what is there already. */
static inline void submit(void)
{
    cr_assert_geq(unr_loop_run_once(loop, 0), 0);
}

/* Turns until an operation has ended. */
static inline void finish(struct seen *seen)
{
    while (seen->runs == 0)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
}

static inline void expect_cancelled(const struct seen *seen, unsigned guarantee,
                                    enum unr_verdict verdict, int cause)
{
    cr_assert_eq(seen->runs, 1);
    cr_assert_eq(seen->result.error, -ECANCELED, "error %d", seen->result.error);
    cr_assert_eq(seen->result.guarantee, guarantee, "guarantee %u", seen->result.guarantee);
    cr_assert_eq(seen->result.verdict, verdict, "verdict %u", seen->result.verdict);
    cr_assert_eq(seen->result.cause, cause, "cause %d", seen->result.cause);
}

/* ---- peers ---- */

static inline void unix_pair(int fds[2])
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

/* Makes `far` a number for the file of `fd`, and raises the limit of the numbers for that. */
enum { NUMBERS_APART = 256, NUMBERS_APART_MAX = 16384 };
static inline int dup_far(int fd, int far)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max <= (rlim_t)far)
        cr_skip_test("RLIMIT_NOFILE is no more than %d", far);
    if (limit.rlim_cur <= (rlim_t)far)
        limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_eq(fd = fcntl(fd, F_DUPFD_CLOEXEC, far), far);
    return fd;
}

static inline int tcp_listener(struct sockaddr_in *ret_address, int backlog)
{
    socklen_t len = sizeof *ret_address;
    int       fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *ret_address =
        (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    cr_assert_eq(bind(fd, (struct sockaddr *)ret_address, len), 0);
    cr_assert_eq(listen(fd, backlog), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)ret_address, &len), 0);
    return fd;
}

static inline void tcp_pair(int fds[2])
{
    struct sockaddr_in address;
    int                listener = tcp_listener(&address, 1);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fds[0], (struct sockaddr *)&address, sizeof address), 0);
    fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    cr_assert_geq(fds[1], 0);
    close(listener);
}

static inline void close_pair(const int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

/* Whether a read of `fd`, from which there is nothing to read, can be told not to wait.  Where it
 * cannot, io_uring has a worker wait in it: in a blocking pipe before Linux 6.5, say. */
static inline bool takes_nowait(int fd)
{
    char         buf[128];
    struct iovec piece = { .iov_base = buf, .iov_len = sizeof buf };
    return preadv2(fd, &piece, 1, -1, RWF_NOWAIT) < 0 && errno != EOPNOTSUPP;
}

static inline bool pipes_need_workers(void)
{
    int fds[2];
    cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
    bool need = !takes_nowait(fds[0]);
    close_pair(fds);
    return need;
}

/* How many bytes a socket holds ready to be read; they are taken. */
static inline size_t drain(int fd)
{
    char    bytes[65536];
    size_t  total = 0;
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        total += (size_t)n;
    return total;
}

#endif
