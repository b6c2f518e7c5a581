/* SPDX-License-Identifier: MIT */
/* The clock, as far as it may mislead a loop.  A time namespace shifts it from the kernel's own:
 * what waits for a time waits as long as elsewhere. */
#include "support.h"

#include <sys/mount.h>
#include <time.h>

TestSuite(clock, .timeout = 60);

static unr_time now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return UNR_SEC(at.tv_sec) + at.tv_nsec;
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
