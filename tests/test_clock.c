/* SPDX-License-Identifier: MIT */
/* The clock, as far as it may mislead a loop.  It moves on while the thread is kept away from it:
 * what has completed before its deadline is a success all the same.  And a time namespace shifts it
 * from the kernel's own: what waits for a time waits as long as elsewhere. */
#define SUPPORT_KERNEL
#include "support.h"

#include <inttypes.h>
#include <pthread.h>
#include <sys/mount.h>
#include <time.h>

TestSuite(clock, .timeout = 60);

static unr_time now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return UNR_SEC(at.tv_sec) + at.tv_nsec;
}

static void sleep_until(unr_time when)
{
    struct timespec at = { .tv_sec = when / UNR_SEC(1), .tv_nsec = when % UNR_SEC(1) };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

/* ---- operations with a time-out, of which each waits for three bytes ---- */

enum what { RECV, ANY, READ_EXACT, READ_FRAME, WHATS };

struct timed {
    struct unr_op       recv;
    struct unr_deadline deadline;
    struct unr_timer    timer;
    struct unr_group    any;
    struct unr_op      *members[2];
    struct unr_stream   stream;
    struct unr_transfer transfer;
    struct unr_reader   reader;
    struct unr_framing  framing;
    struct unr_buffer   buffer;
    char                bytes[3];
};

static struct unr_op *describe(struct timed *t, enum what what, int fd, unr_time deadline)
{
    struct unr_op *recv = unr_recv(&t->recv, fd, t->bytes, 3, 0);
    unr_stream_socket(&t->stream, fd);
    unr_buffer_init(&t->buffer, 64);
    switch (what) {
    case ANY:
        t->members[0] = unr_timer_at(&t->timer, deadline);
        t->members[1] = recv;
        return unr_any(&t->any, t->members, 2);
    case READ_EXACT:
        return unr_cancel_at(&t->deadline, unr_read_exact(&t->transfer, &t->stream, t->bytes, 3),
                             deadline);
    case READ_FRAME:
        unr_framing_delimiter(&t->framing, "\n", 1, 64);
        return unr_cancel_at(&t->deadline,
                             unr_read_frame(&t->reader, &t->stream, &t->buffer, &t->framing),
                             deadline);
    default: return unr_cancel_at(&t->deadline, recv, deadline);
    }
}

static bool succeeded(enum what what, const struct unr_result *r)
{
    return r->error == 0 && (what == ANY ? r->value == 1 : r->bytes == 3);
}

/* ---- kept away from before the deadline until after it ---- */

enum setup { DEFERRED, COOPERATIVE, PLAIN, SETUPS };
enum drive { RUN, RUN_ONCE, EMBEDDED, DRIVES };

struct way {
    enum setup setup;
    enum what  what;
    enum drive drive;
};

static struct {
    volatile sig_atomic_t expected; /* it is to happen at the next occasion */
    bool                  too_late; /* the machine was slow: it says nothing */
    int                   fd;       /* the other end */
    unr_time              deadline;
} away;

/* The data arrives, and the thread comes back when the deadline has passed. */
static void stay_away(void)
{
    away.expected = false;
    bool wrote = write(away.fd, "ab\n", 3) == 3;
    away.too_late = !wrote || now() >= away.deadline;
    sleep_until(away.deadline + UNR_MSEC(1));
}

static int enter_and_stay_away(unsigned ring, unsigned to_submit, unsigned min_complete,
                               unsigned flags, void *argument, size_t size)
{
    int taken = kernel_enter(ring, to_submit, min_complete, flags, argument, size);
    if (away.expected)
        stay_away();
    return taken;
}

static void handle(int number)
{
    (void)number;
    if (away.expected)
        stay_away();
}

static void open_for(const struct way *way)
{
    open_descriptors = count_descriptors();
    forget_setup(way->setup == COOPERATIVE ? IORING_SETUP_DEFER_TASKRUN : 0);
    loop = open_loop_flagged(way->setup == PLAIN ? UNR_LOOP_PLAIN : 0);
}

static void drive_to_the_end(const struct way *way, const struct seen *seen)
{
    int fd = way->drive == EMBEDDED ? unr_loop_fd(loop) : -1;
    if (way->drive == RUN)
        run();
    while (seen->runs == 0) {
        if (way->drive == EMBEDDED)
            wait_readable(fd);
        cr_assert_geq(unr_loop_run_once(loop, way->drive == EMBEDDED ? 0 : UNR_SEC(10)), 0);
    }
}

/* One attempt: false if the machine was too slow for it to say anything. */
static bool kept_away(const struct way *way, unr_time limit, void (*provoke)(void))
{
    struct timed t = { 0 };
    struct seen  seen = { 0 };
    int          pair[2];
    unix_pair(pair);
    submit(); /* the loop is this thread's, and asleep but for what follows */
    away.fd = pair[1];
    away.deadline = now() + limit;
    start(&seen, describe(&t, way->what, pair[0], away.deadline));
    away.too_late = true;
    away.expected = true;
    provoke();
    drive_to_the_end(way, &seen);
    if (!away.too_late)
        cr_assert(succeeded(way->what, &seen.result), "%d of %d by %d: error %d, value %" PRIi64,
                  way->what, way->setup, way->drive, seen.result.error, seen.result.value);
    away.expected = false;
    unr_buffer_free(&t.buffer);
    close_pair(pair);
    return !away.too_late;
}

/* Again with more time, until the machine was quick enough. */
static void must_succeed(const struct way *way, void (*provoke)(void))
{
    for (unr_time limit = UNR_MSEC(10); !kept_away(way, limit, provoke); limit *= 2)
        cr_assert_lt(limit, UNR_SEC(10));
}

static struct way *every_way(size_t *ret_count)
{
    static struct way ways[SETUPS * WHATS * DRIVES];
    for (unsigned i = 0; i < LENGTH(ways); i++)
        ways[i] = (struct way){ i % SETUPS, i / SETUPS % WHATS, i / SETUPS / WHATS };
    *ret_count = LENGTH(ways);
    return ways;
}

static struct seen nop;

/* What makes the loop come back from the kernel at once. */
static void start_nop(void)
{
    nop = (struct seen){ 0 };
    start(&nop, unr_nop(&nop.op));
}

/* Data that arrives between the loop's return from the kernel and its look at the clock, in time,
 * is a success. */
ParameterizedTestParameters(clock, kept_away_behind_the_kernel)
{
    size_t      count;
    struct way *ways = every_way(&count);
    return cr_make_param_array(struct way, ways, count);
}

ParameterizedTest(struct way *way, clock, kept_away_behind_the_kernel)
{
    open_for(way);
    hook_enter = enter_and_stay_away;
    must_succeed(way, start_nop);
    hook_enter = NULL;
    run();
    close_loop();
}

static pid_t main_id;

static void *interrupt(void *thread)
{
    until_asleep(main_id);
    pthread_kill(*(pthread_t *)thread, SIGUSR1);
    return NULL;
}

static pthread_t interrupter, self;
static bool      interrupts;

static void end_interrupter(void)
{
    if (interrupts)
        cr_assert_eq(pthread_join(interrupter, NULL), 0);
    interrupts = false;
}

static void start_interrupter(void)
{
    end_interrupter();
    cr_assert_eq(pthread_create(&interrupter, NULL, interrupt, &self), 0);
    interrupts = true;
}

/* Data that arrives while a signal handler keeps the thread away from its wait is a success. */
ParameterizedTestParameters(clock, kept_away_by_a_signal_handler)
{
    size_t      count;
    struct way *ways = every_way(&count);
    return cr_make_param_array(struct way, ways, count);
}

ParameterizedTest(struct way *way, clock, kept_away_by_a_signal_handler)
{
    struct sigaction action = { .sa_handler = handle };
    sigaction(SIGUSR1, &action, NULL);
    self = pthread_self();
    main_id = thread_id();
    open_for(way);
    must_succeed(way, start_interrupter);
    end_interrupter();
    close_loop();
}

/* ---- stopped by SIGSTOP ---- */

static bool sleeps(pid_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    cr_assert_gt(n, 0);
    text[n] = 0;
    const char *state = strrchr(text, ')');
    return state && state[2] == 'S';
}

/* Its status tells how it ended. */
static _Noreturn void be_stopped(enum what what, int fd, unr_time deadline)
{
    static struct timed t;
    static struct seen  seen;
    struct unr_loop    *own;
    alarm(CHILD_SECONDS);
    must(unr_loop_open(&own, NULL) == 0);
    unr_start(own, describe(&t, what, fd, deadline), saw, &seen);
    must(unr_loop_run(own) == 0 && seen.runs == 1);
    _exit(succeeded(what, &seen.result) ? 0 : 1);
}

static bool stopped(enum what what, unr_time limit)
{
    int pair[2], status;
    unix_pair(pair);
    unr_time deadline = now() + limit;
    pid_t    child = fork();
    cr_assert_geq(child, 0);
    if (child == 0)
        be_stopped(what, pair[0], deadline);
    while (!sleeps(child) && now() < deadline)
        sched_yield();
    kill(child, SIGSTOP);
    cr_assert_eq(waitpid(child, &status, WUNTRACED), child);
    cr_assert_eq(write(pair[1], "ab\n", 3), 3);
    bool in_time = WIFSTOPPED(status) && now() < deadline;
    if (WIFSTOPPED(status)) {
        sleep_until(deadline + UNR_MSEC(1));
        kill(child, SIGCONT);
        cr_assert_eq(waitpid(child, &status, 0), child);
    }
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) != MUST_STATUS, "status %#x",
              (unsigned)status);
    cr_assert(!in_time || WEXITSTATUS(status) == 0, "%d ended with a time-out", what);
    close_pair(pair);
    return in_time;
}

/* Data that arrives while the process is stopped, in time, is a success. */
Test(clock, stopped_until_the_deadline_has_passed)
{
    skip_if_refused();
    for (enum what what = RECV; what < WHATS; what++)
        for (unr_time limit = UNR_MSEC(50); !stopped(what, limit); limit *= 2)
            cr_assert_lt(limit, UNR_SEC(10));
}

/* ---- what it costs ---- */

/* A timer costs one call of the kernel, the one that waits for it, with something in flight and
 * without. */
Test(clock, a_timer_costs_one_call)
{
    struct seen      waits = { 0 };
    struct unr_timer timer = { 0 };
    struct unr_stats stats;
    int              pair[2];
    char             byte;
    open_loop();
    unix_pair(pair);
    submit();
    for (int i = 0; i < 40; i++) {
        if (i == 20) {
            start(&waits, unr_recv(&waits.op, pair[0], &byte, 1, 0));
            submit();
        }
        unr_loop_stats(loop, &stats, sizeof stats);
        uint64_t before = stats.enters;
        unr_start(loop, unr_timer_after(&timer, UNR_MSEC(1)), NULL, NULL);
        while (unr_in_flight(&timer.op))
            cr_assert_geq(unr_loop_run_once(loop, UNR_NEVER), 0);
        unr_loop_stats(loop, &stats, sizeof stats);
        cr_assert_leq(stats.enters - before, 1);
    }
    unr_cancel(&waits.op, UNR_CANCEL_ALL);
    run();
    close_pair(pair);
    close_loop();
}

/* ---- in a time namespace ---- */

enum { NO_NAMESPACE = 77 };

struct shifted {
    long shift; /* of its clock from the kernel's, in seconds */
    bool without_proc;
};

/* All that waits for a time, for 20 ms each. */
static void wait_for_times(void)
{
    struct unr_loop    *own;
    struct unr_timer    timer = { 0 };
    struct unr_op       read = { 0 };
    struct unr_deadline deadline = { 0 };
    struct unr_stats    stats;
    int                 ends[2];
    char                byte;
    unr_time            limit = UNR_MSEC(20), begin = now();
    must(pipe2(ends, O_CLOEXEC) == 0);
    must(unr_loop_open(&own, NULL) == 0);
    unr_start(own, unr_timer_after(&timer, limit), NULL, NULL);
    must(unr_loop_run(own) == 0);
    must(timer.op.result.error == 0 && now() >= begin + limit);

    begin = now();
    unr_start(own, unr_cancel_after(&deadline, unr_read(&read, ends[0], &byte, 1, -1), limit), NULL,
              NULL);
    must(unr_loop_run(own) == 0);
    must(unr_timed_out(&deadline.op.result) && now() >= begin + limit);

    begin = now();
    unr_start(own, unr_read(&read, ends[0], &byte, 1, -1), NULL, NULL);
    must(unr_loop_run_once(own, limit) == 0);
    must(now() >= begin + limit);

    begin = now();
    unr_start(own, unr_timer_after(&timer, limit), NULL, NULL);
    struct pollfd poll_fd = { .fd = unr_loop_fd(own), .events = POLLIN };
    must(poll_fd.fd >= 0);
    while (unr_in_flight(&timer.op)) {
        must(poll(&poll_fd, 1, -1) == 1);
        must(unr_loop_run_once(own, 0) >= 0);
    }
    must(timer.op.result.error == 0 && now() >= begin + limit);

    unr_loop_stats(own, &stats, sizeof stats);
    must(stats.enters < 30);
    must(unr_loop_close(own) == 0);
}

static bool write_to(const char *path, const char *text)
{
    int     fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = write(fd, text, strlen(text));
    close(fd);
    return n == (ssize_t)strlen(text);
}

/* A new namespace is for the children of who makes it. */
static void enter_namespace(void *context)
{
    const struct shifted *shifted = context;
    char                  offset[64];
    snprintf(offset, sizeof offset, "monotonic %ld 0\n", shifted->shift);
    if (unshare(CLONE_NEWUSER | CLONE_NEWTIME | CLONE_NEWNS) != 0
        || !write_to("/proc/self/timens_offsets", offset))
        _exit(NO_NAMESPACE);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        alarm(CHILD_SECONDS / 2);
        if (shifted->without_proc && mount("none", "/proc", "tmpfs", 0, NULL) != 0)
            _exit(NO_NAMESPACE);
        wait_for_times();
        _exit(0);
    }
    int status;
    must(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status))
        dprintf(STDERR_FILENO, "it does not end: signal %d\n", WTERMSIG(status));
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : MUST_STATUS);
}

/* Whether the clock is ahead of the kernel's or behind it, time-outs are as long as elsewhere, and
 * cost no more calls of the kernel. */
Test(clock, in_a_time_namespace)
{
    static struct shifted namespaces[] = {
        { 1000000, false }, { -100, false }, { 0, false }, { 1000000, true }
    };
    skip_if_refused();
    for (size_t i = 0; i < LENGTH(namespaces); i++) {
        struct death death = in_child(enter_namespace, &namespaces[i]);
        if (WIFEXITED(death.status) && WEXITSTATUS(death.status) == NO_NAMESPACE)
            cr_skip_test("a time namespace with an offset of %ld s is refused here",
                         namespaces[i].shift);
        expect_success(&death);
    }
}
