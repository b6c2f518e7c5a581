/* SPDX-License-Identifier: MIT */
/* The loop: what a turn does and does not do, when run returns, what closing means. */
#include "../uring/ring.h"
#include "fixture.h"

#include <sys/eventfd.h>

TestSuite(loop, .init = open_loop, .timeout = 20);

/* With nothing in flight, run and run_once return 0 at once, whatever the time-out. */
Test(loop, nothing_to_do_returns_at_once)
{
    cr_assert_eq(unr_loop_run(loop), 0);
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 0);
    cr_assert_eq(unr_loop_run_once(loop, 0), 0);
    close_loop();
}

/* run_once polls with a time-out of 0, and with one it returns 0 when that has passed. */
Test(loop, run_once_polls_and_times_out)
{
    int         fds[2];
    char        byte;
    struct seen recv = { 0 };
    unix_pair(fds);
    start(&recv, unr_recv(&recv.op, fds[0], &byte, 1, 0));
    cr_assert_eq(unr_loop_run_once(loop, 0), 0);
    unr_time before = unr_loop_now(loop);
    cr_assert_eq(unr_loop_run_once(loop, UNR_MSEC(5)), 0);
    cr_assert_geq(unr_loop_now(loop), before + UNR_MSEC(5));
    cr_assert_eq(write(fds[1], "x", 1), 1);
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 1);
    cr_assert_eq(recv.result.bytes, 1);
    close_pair(fds);
    close_loop();
}

static void stop_loop(struct seen *seen)
{
    (void)seen;
    unr_loop_stop(loop);
}

/* One stop ends one run: what is in flight stays so, and the next run goes on. */
Test(loop, stop_ends_one_run)
{
    int         fds[2];
    char        byte;
    struct seen recv = { 0 }, nop = { .then = stop_loop };
    unix_pair(fds);
    start(&recv, unr_recv(&recv.op, fds[0], &byte, 1, 0));
    start(&nop, unr_nop(&nop.op));
    run();
    cr_assert(nop.runs == 1 && recv.runs == 0);
    cr_assert_eq(unr_loop_in_flight(loop), 1);
    cr_assert_eq(write(fds[1], "x", 1), 1);
    run();
    cr_assert_eq(recv.runs, 1);
    unr_loop_stop(loop);
    nop = (struct seen){ 0 };
    start(&nop, unr_nop(&nop.op));
    run();
    cr_assert_eq(nop.runs, 0);
    run();
    cr_assert_eq(nop.runs, 1);
    close_pair(fds);
    close_loop();
}

/* A stop ends one run_once too, and not the run behind it. */
Test(loop, stop_ends_one_run_once)
{
    struct seen nop = { .then = stop_loop }, other = { 0 };
    start(&nop, unr_nop(&nop.op));
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 1);
    start(&other, unr_nop(&other.op));
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 1);
    cr_assert_eq(other.runs, 1);
    close_loop();
}

/* in_flight counts from start until `done` begins. */
static void expect_none_in_flight(struct seen *seen)
{
    (void)seen;
    cr_assert_eq(unr_loop_in_flight(loop), 0);
}

Test(loop, in_flight_counts_from_start_to_done)
{
    struct seen nop = { .then = expect_none_in_flight };
    start(&nop, unr_nop(&nop.op));
    cr_assert_eq(unr_loop_in_flight(loop), 1);
    run();
    close_loop();
}

/* A turn costs one system call, to submit, wait and reap together, however many operations it
 * has. */
Test(loop, turn_is_one_system_call)
{
    struct unr_stats   before, after;
    static struct seen nops[64];
    submit();
    start(&nops[0], unr_nop(&nops[0].op));
    run();
    unr_loop_stats(loop, &before, sizeof before);
    for (int i = 0; i < 64; i++) {
        nops[i].runs = 0;
        start(&nops[i], unr_nop(&nops[i].op));
    }
    run();
    unr_loop_stats(loop, &after, sizeof after);
    cr_assert_eq(after.enters - before.enters, 1);
    cr_assert_eq(after.finished - before.finished, 64);
    close_loop();
}

/* 256 cancels are one submission. */
Test(loop, many_cancels_are_one_submission)
{
    static struct seen reads[256];
    static uint64_t    words[256];
    struct unr_stats   before, after;
    int                fd = eventfd(0, EFD_CLOEXEC);
    for (int i = 0; i < 256; i++)
        start(&reads[i], unr_read(&reads[i].op, fd, &words[i], 8, -1));
    submit();
    unr_loop_stats(loop, &before, sizeof before);
    for (int i = 0; i < 256; i++)
        unr_cancel(&reads[i].op, UNR_CANCEL_TOTAL);
    run();
    unr_loop_stats(loop, &after, sizeof after);
    cr_assert_leq(after.enters - before.enters, 1);
    cr_assert_eq(after.cancels_won, 256);
    close(fd);
    close_loop();
}

/* ---- close ---- */

/* Closing NULL, and a loop that never ran. */
Test(loop, close_of_nothing)
{
    cr_assert_eq(unr_loop_close(NULL), 0);
    close_loop();
}

/* Closing cancels what is in flight, with ALL and -ESHUTDOWN, and runs every `done`. */
Test(loop, close_cancels_and_drains)
{
    int              fds[2];
    char             bytes[2];
    struct seen      recv = { 0 }, queued = { 0 }, done = { 0 };
    struct unr_timer timer = { 0 };
    unix_pair(fds);
    start(&recv, unr_recv(&recv.op, fds[0], &bytes[0], 1, 0));
    submit();
    start(&queued, unr_recv(&queued.op, fds[0], &bytes[1], 1, 0));
    start(&done, unr_close(&done.op, dup(fds[0])));
    unr_start(loop, unr_timer_after(&timer, UNR_SEC(1000)), NULL, NULL);
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&recv, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    expect_cancelled(&queued, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    cr_assert_eq(recv.result.requested, UNR_CANCEL_ALL);
    cr_assert_eq(timer.op.result.cause, -ESHUTDOWN);
    cr_assert_eq(done.result.error, 0);
    close_pair(fds);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* A loop that was opened and never run has its operations handed back too. */
Test(loop, close_without_ever_running)
{
    struct seen nop = { 0 }, closes = { 0 };
    start(&nop, unr_nop(&nop.op));
    start(&closes, unr_close(&closes.op, dup(0)));
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&nop, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    cr_assert_eq(closes.result.error, 0);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

static struct seen late_recv, late_close;
static void        clean_up(struct seen *seen)
{
    int fd = *(int *)seen->context;
    start(&late_recv, unr_recv(&late_recv.op, fd, &late_recv, 0, 0));
    start(&late_close, unr_close(&late_close.op, fd));
}

/* What is started while it closes ends UNSUBMITTED with -ESHUTDOWN, except what supports NONE: so
 * clean-up can close. */
Test(loop, close_refuses_new_work_but_lets_it_clean_up)
{
    int         fds[2];
    char        byte;
    struct seen recv = { .then = clean_up, .context = &fds[0] };
    unix_pair(fds);
    start(&recv, unr_recv(&recv.op, fds[0], &byte, 1, 0));
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&late_recv, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    cr_assert_eq(late_close.runs, 1);
    cr_assert_eq(late_close.result.error, 0);
    close(fds[1]);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

static void count_task(struct unr_task *task);
struct counted {
    struct unr_task task;
    int             runs;
};
static void count_task(struct unr_task *task)
{
    unr_container_of(task, struct counted, task)->runs++;
}

/* Tasks already posted run, before run returns and when the loop is closed; a hold does not delay
 * closing. */
Test(loop, close_runs_posted_tasks_and_ignores_holds)
{
    struct counted first = { .task.run = count_task }, second = { .task.run = count_task };
    unr_loop_post(loop, &first.task);
    run();
    cr_assert_eq(first.runs, 1);
    unr_loop_hold(loop);
    unr_loop_post(loop, &second.task);
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(second.runs, 1);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* Closing waits for what cannot be cancelled, and its buffer is the kernel's until then: written in
 * full. */
Test(loop, close_waits_for_what_runs)
{
    enum { SIZE = 8 << 20 };
    char        path[] = "unring-test-XXXXXX";
    int         fd = mkostemp(path, 02000000);
    char       *buf = malloc(SIZE);
    struct seen write = { 0 };
    cr_assert_geq(fd, 0);
    unlink(path);
    memset(buf, 'x', SIZE);
    start(&write, unr_write(&write.op, fd, buf, SIZE, 0));
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(write.runs, 1);
    if (write.result.error == 0)
        cr_assert_eq((uint64_t)lseek(fd, 0, SEEK_END), write.result.bytes);
    else
        cr_assert_eq(lseek(fd, 0, SEEK_END), 0);
    free(buf);
    close(fd);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* Two loops, one of which is closed while the other goes on. */
Test(loop, two_loops_in_one_thread)
{
    struct unr_loop *other = open_loop_with(0, 0);
    struct unr_op    op = { 0 };
    struct seen      nop = { 0 };
    unr_start(other, unr_nop(&op), NULL, NULL);
    start(&nop, unr_nop(&nop.op));
    cr_assert_eq(unr_loop_run(other), 0);
    cr_assert_eq(nop.runs, 0);
    cr_assert_eq(unr_loop_close(other), 0);
    run();
    cr_assert_eq(nop.runs, 1);
    close_loop();
}
