/* SPDX-License-Identifier: MIT */
/* What the tests of a loop's surroundings share, on top of fixture.h: children that break a rule,
 * threads that wait until another sleeps, and - with SUPPORT_KERNEL defined before the include -
 * the kernel as this process sees it: hooks through which each of liburing's calls that leave the
 * process can be refused, cut short or changed. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include "fixture.h"

#include <criterion/parameterized.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* ---- loops ---- */

static inline struct unr_loop *open_loop_flagged(unsigned flags)
{
    struct unr_loop_options options = { .size = sizeof options,
                                        .flags = flags | (test_flags() & UNR_LOOP_CHECKS) };
    struct unr_loop        *opened = NULL;
    int                     error = unr_loop_open(&opened, &options);
    if (error)
        skip_if_refused();
    cr_assert_eq(error, 0, "%s", unr_explain(error));
    return opened;
}

/* Whether the loop has the feature whose name begins with `name`. */
static inline bool has_feature(const struct unr_loop *of, const char *name)
{
    const char *found, *needs;
    bool        has;
    for (unsigned i = 0; unr_loop_feature(of, i, &found, &needs, &has); i++)
        if (strncmp(found, name, strlen(name)) == 0)
            return has;
    return false;
}

/* ---- events ---- */

static inline bool readable(int fd)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    return poll(&poll_fd, 1, 0) == 1;
}

static inline void wait_readable(int fd)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    while (poll(&poll_fd, 1, -1) != 1)
        cr_assert_eq(errno, EINTR);
}

/* Returns when the thread `tid` of this process sleeps in the kernel, as far as /proc knows. */
static inline void until_asleep(pid_t tid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    for (bool asleep = false; !asleep;) {
        int     fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = read(fd, text, sizeof text - 1);
        close(fd);
        if (n <= 0)
            return; /* it has ended */
        text[n] = 0;
        const char *state = strrchr(text, ')');
        asleep = state && state[2] == 'S';
        if (!asleep)
            sched_yield();
    }
}

static inline pid_t thread_id(void)
{
    return (pid_t)syscall(SYS_gettid);
}

/* ---- children ---- */

enum { CHILD_SECONDS = 30, MUST_STATUS = 99 };

struct death {
    int  status;      /* of waitpid(2) */
    char words[4096]; /* what it said on standard error */
};

/* Runs `body` in a child, whose standard error is kept.  In there no cr_* works: check with
 * must(). */
static inline struct death in_child(void (*body)(void *context), void *context)
{
    struct death death = { 0 };
    int          ends[2];
    size_t       len = 0;
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        alarm(CHILD_SECONDS); /* or it would outlive a test that is timed out, and keep the runner
                                 from ending */
        setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        body(context);
        _exit(0);
    }
    close(ends[1]);
    for (ssize_t n; len < sizeof death.words - 1; len += (size_t)n)
        if ((n = read(ends[0], death.words + len, sizeof death.words - 1 - len)) <= 0)
            break;
    close(ends[0]);
    cr_assert_eq(waitpid(child, &death.status, 0), child);
    /* Where io_uring is refused, it is its loop that it must have and cannot open. */
    if (WIFEXITED(death.status) && WEXITSTATUS(death.status) == MUST_STATUS)
        skip_if_refused();
    return death;
}

/* What cr_assert is elsewhere. */
#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            dprintf(STDERR_FILENO, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                 \
            _exit(MUST_STATUS);                                                                    \
        }                                                                                          \
    } while (0)

static inline void expect_success(const struct death *death)
{
    cr_assert_eq(death->status, 0, "status %#x: %s", (unsigned)death->status, death->words);
}

/* It was ended by abort(), and its words hold each of `words`, of which NULL is the last. */
static inline void expect_abort(const struct death *death, const char *const *words)
{
    int signal_number = WIFSIGNALED(death->status) ? WTERMSIG(death->status) : 0;
    cr_assert_eq(signal_number, SIGABRT, "status %#x: %s", (unsigned)death->status, death->words);
    for (; *words; words++)
        cr_assert_not_null(strstr(death->words, *words), "\"%s\" is missing in: %s", *words,
                           death->words);
}

/* Ends a child by exit(3), where a sanitizer would look for threads of the parent. */
static inline _Noreturn void end_process(void)
{
    if (SUPPORT_SANITIZED)
        _exit(0);
    exit(0);
}

/* Opens a loop in a child. */
static inline void open_loop_of_child(void)
{
    must(unr_loop_open(&loop, NULL) == 0);
}

/* Begins the body of a test of `suite` that breaks a rule in a child, behind `opens`: the child is
 * to end with these words. */
#define BREACH_IN(suite, opens, name, ...)                                                         \
    static void name(void);                                                                        \
    static void name##_in_child(void *context)                                                     \
    {                                                                                              \
        (void)context;                                                                             \
        opens;                                                                                     \
        name();                                                                                    \
    }                                                                                              \
    Test(suite, name)                                                                              \
    {                                                                                              \
        struct death death = in_child(name##_in_child, NULL);                                      \
        expect_abort(&death, (const char *const[]){ "unring: broken contract:",                    \
                                                    "unring: the rule:", __VA_ARGS__, NULL });     \
    }                                                                                              \
    static void name(void)

/* ---- the kernel, hooked ---- */

#ifdef SUPPORT_KERNEL

#include <dlfcn.h>
#include <liburing.h>

typedef int enter_fn(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
                     void *argument, size_t size);
typedef int register_fn(unsigned fd, unsigned opcode, const void *argument, unsigned count);
typedef int init_fn(unsigned entries, struct io_uring *ring, struct io_uring_params *params);

/* NULL: straight to the kernel. */
static enter_fn    *hook_enter;
static register_fn *hook_register;
static init_fn     *hook_init;

static struct io_uring *latest_ring; /* set up last */

static inline int result_of(long result)
{
    return result < 0 ? -errno : (int)result;
}

static inline int kernel_enter(unsigned fd, unsigned to_submit, unsigned min_complete,
                               unsigned flags, void *argument, size_t size)
{
    return result_of(
        syscall(__NR_io_uring_enter, fd, to_submit, min_complete, flags, argument, size));
}

static inline int kernel_register(unsigned fd, unsigned opcode, const void *argument,
                                  unsigned count)
{
    return result_of(syscall(__NR_io_uring_register, fd, opcode, argument, count));
}

static inline int kernel_init(unsigned entries, struct io_uring *ring,
                              struct io_uring_params *params)
{
    init_fn *init = (init_fn *)(uintptr_t)dlsym(RTLD_NEXT, "io_uring_queue_init_params");
    return init(entries, ring, params);
}

/* These stand in front of liburing's own.  (By their assembler names: the types of the parameters
 * in <liburing.h> have changed between its versions.) */
enter_fn    seam_enter __asm__("io_uring_enter2");
register_fn seam_register __asm__("io_uring_register");
init_fn     seam_init __asm__("io_uring_queue_init_params");

int seam_enter(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
               void *argument, size_t size)
{
    return (hook_enter ? hook_enter : kernel_enter)(fd, to_submit, min_complete, flags, argument,
                                                    size);
}

int seam_register(unsigned fd, unsigned opcode, const void *argument, unsigned count)
{
    return (hook_register ? hook_register : kernel_register)(fd, opcode, argument, count);
}

int seam_init(unsigned entries, struct io_uring *ring, struct io_uring_params *params)
{
    int error = (hook_init ? hook_init : kernel_init)(entries, ring, params);
    if (error >= 0)
        latest_ring = ring;
    return error;
}

/* A kernel that knows none of the set-up flags `unknown_setup`. */
static unsigned unknown_setup;

static inline int init_without(unsigned entries, struct io_uring *ring,
                               struct io_uring_params *params)
{
    return params->flags & unknown_setup ? -EINVAL : kernel_init(entries, ring, params);
}

static inline void forget_setup(unsigned flags)
{
    unknown_setup = flags;
    hook_init = init_without;
}

/* A kernel before Linux 6.7, of which a pool knows that by the lack of a multishot read. */
static inline int register_before_6_7(unsigned fd, unsigned opcode, const void *argument,
                                      unsigned count)
{
    enum { OP_READ_MULTISHOT = 49 };
    int error = kernel_register(fd, opcode, argument, count);
    cr_assert_neq(opcode, IORING_REGISTER_PBUF_RING, "it is told of no ring of buffers");
    if (opcode == IORING_REGISTER_PROBE && error >= 0)
        ((struct io_uring_probe *)(uintptr_t)argument)->ops[OP_READ_MULTISHOT].flags = 0;
    return error;
}

/* A kernel that does not find what the next `cancels_to_lose` cancels are for, as if it were on its
 * way from one of its tables to another. */
static unsigned cancels_to_lose, cancels_lost;

static inline int enter_losing(unsigned fd, unsigned to_submit, unsigned min_complete,
                               unsigned flags, void *argument, size_t size)
{
    struct io_uring_sq *sq = &latest_ring->sq;
    if (fd == (unsigned)latest_ring->enter_ring_fd)
        for (unsigned i = *sq->khead; to_submit && i != *sq->ktail; i++) {
            struct io_uring_sqe *sqe = &sq->sqes[i & sq->ring_mask];
            if (sqe->opcode == IORING_OP_ASYNC_CANCEL && cancels_lost < cancels_to_lose) {
                sqe->addr = 0;
                cancels_lost++;
            }
        }
    return kernel_enter(fd, to_submit, min_complete, flags, argument, size);
}

static inline void lose_cancels(unsigned count)
{
    cancels_to_lose = count;
    cancels_lost = 0;
    hook_enter = enter_losing;
}

#endif
#endif
