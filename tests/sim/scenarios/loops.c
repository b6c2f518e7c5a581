/* SPDX-License-Identifier: MIT */
/* The loop: storms on small queues, what other threads do, calls of the kernel that fail, another
 * event loop around it. */
#include "scenario.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>

static void count_run(struct unr_op *op)
{
    ++*(int *)op->data;
}

/* ---- storms ---- */

enum { STORM = 5 };

/* More operations and cancels than either queue holds, in any order: each is handed back once, and
 * every byte is accounted for. */
static void storm(const struct scenario *scenario)
{
    struct unr_loop_options options = { .size = sizeof options,
                                        .entries = 2,
                                        .completion_entries = 2 };
    struct unr_loop        *loop;
    struct unr_op           ops[STORM] = { { 0 } };
    struct unr_stats        stats;
    unsigned char           bufs[STORM], rest[STORM];
    int                     fds[2], runs = 0, taken = 0, won = 0;
    (void)scenario;
    unr_sim_check(unr_loop_open(&loop, &options) == 0, "the loop opens");
    unr_sim_socketpair(fds, 0);
    for (int i = 0; i < STORM; i++)
        unr_start(loop, unr_recv(&ops[i], fds[0], &bufs[i], 1, 0), count_run, &runs);
    if (unr_sim_choose(2))
        unr_loop_run_once(loop, 0);
    unr_sim_write(fds[1], "ab", 2);
    for (int i = 0; i < STORM; i++)
        unr_cancel(&ops[unr_sim_choose(2) ? i : STORM - 1 - i], UNR_CANCEL_TOTAL);
    for (int i = 0; i < STORM; i++)
        unr_cancel(&ops[i], UNR_CANCEL_TOTAL);
    unr_loop_run(loop);
    unr_sim_check(runs == STORM, "each done once");
    for (int i = 0; i < STORM; i++) {
        taken += ops[i].result.error == 0;
        won += ops[i].result.verdict == UNR_VERDICT_CANCELLED;
    }
    ssize_t left = unr_sim_read(fds[0], rest, sizeof rest);
    unr_sim_check(taken + (left > 0 ? (int)left : 0) == 2, "every byte once");
    unr_loop_stats(loop, &stats, sizeof stats);
    unr_sim_check(stats.cancels_won == (uint64_t)won, "the statistics say the same");
    unr_sim_check(stats.started == stats.finished, "what was started has finished");
    outcome("taken %d", taken);
    close_loop(loop);
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

/* ---- other threads ---- */

struct poster {
    struct unr_loop  *loop;
    struct unr_task   task;
    struct unr_remote remote;
    struct unr_signal signal;
    int               ran;
};

static void ran(struct unr_task *task)
{
    unr_container_of(task, struct poster, task)->ran++;
}

static void post(void *context)
{
    struct poster *p = context;
    unr_loop_post(p->loop, &p->task);
}

static void emit(void *context)
{
    unr_remote_emit(&((struct poster *)context)->remote, UNR_CANCEL_TOTAL, -7);
}

static void emit_and_post(void *context)
{
    emit(context);
    post(context);
}

static void stop_and_release(void *context)
{
    struct poster *p = context;
    if (unr_sim_choose(2))
        unr_loop_release(p->loop);
    else
        unr_loop_stop(p->loop);
}

/* Whatever another thread does, at any moment, reaches a loop that waits: none is lost between its
 * look and its sleep. */
static void other_threads(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct poster    p = { .loop = loop, .task.run = ran };
    struct unr_op    recv = { 0 };
    unsigned char    byte;
    int              fds[2], runs = 0;
    (void)scenario;
    unr_sim_socketpair(fds, 0);
    unr_remote_init(&p.remote, loop, &p.signal);
    unr_start(loop, unr_bind_slot(unr_recv(&recv, fds[0], &byte, 1, 0), unr_signal_slot(&p.signal)),
              count_run, &runs);
    bool both = unr_sim_choose(2);
    unr_sim_later(both ? emit_and_post : emit, &p);
    unr_loop_run(loop);
    unr_sim_check(runs == 1 && recv.result.error == -ECANCELED && recv.result.cause == -7,
                  "the remote emit cancelled it");
    if (both && !p.ran)
        unr_loop_run(loop); /* posted as run was returning: the next run has it */
    unr_sim_check(p.ran == both, "the task ran");
    unr_remote_disarm(&p.remote);

    unr_loop_hold(loop);
    unr_sim_later(stop_and_release, &p);
    unr_loop_run(loop);
    close_loop(loop);
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

/* A remote that is disarmed while its emit waits in the inbox delivers nothing. */
static void remote_disarmed(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct poster    p = { .loop = loop, .task.run = ran };
    struct unr_op    nop = { 0 };
    int              runs = 0;
    (void)scenario;
    unr_remote_init(&p.remote, loop, &p.signal);
    unr_start(loop, unr_bind_slot(unr_nop(&nop), unr_signal_slot(&p.signal)), count_run, &runs);
    post(&p);
    emit(&p);
    unr_remote_disarm(&p.remote);
    emit(&p);
    unr_loop_run(loop);
    unr_sim_check(runs == 1 && nop.result.error == 0 && nop.result.requested == 0,
                  "nothing was delivered");
    unr_sim_check(p.ran == 1, "what was posted before it ran");
    close_loop(loop);
}

/* ---- calls that fail ---- */

/* The kernel is interrupted, short of memory, busy, and takes fewer SQEs than shown: nothing is
 * lost or done twice. */
static void faults(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    ops[3] = { { 0 } };
    unsigned char    buf[4], rest[4];
    int              fds[2], runs = 0;
    (void)scenario;
    unr_sim_socketpair(fds, 0);
    unr_start(loop, unr_recv(&ops[0], fds[0], buf, sizeof buf, 0), count_run, &runs);
    unr_start(loop, unr_nop(&ops[1]), count_run, &runs);
    unr_start(loop, unr_send(&ops[2], fds[1], "abc", 3, 0), count_run, &runs);
    unr_loop_run_once(loop, 0);
    unr_cancel(&ops[0], UNR_CANCEL_TOTAL);
    unr_loop_run(loop);
    unr_sim_check(runs == 3, "each done once");
    ssize_t left = unr_sim_read(fds[0], rest, sizeof rest);
    unr_sim_check(ops[0].result.bytes + (left > 0 ? (uint64_t)left : 0) == ops[2].result.bytes,
                  "every byte once");
    close_loop(loop);
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

/* ---- another event loop ---- */

static void peer_writes_byte(void *fd)
{
    unr_sim_write(*(int *)fd, "x", 1);
}

static void start_another(struct unr_op *op)
{
    struct unr_op **next = op->data;
    unr_start(unr_loop_of(op) ? unr_loop_of(op) : NULL, unr_nop(*next), NULL, NULL);
}

/* Whatever there is to do, the descriptor is readable: an event loop that waits for it alone never
 * waits in vain. */
static void embedded(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    recv = { 0 }, nop = { 0 }, next = { 0 }, *chained = &next;
    struct unr_timer late = { 0 }, early = { 0 };
    struct poster    p = { .loop = loop, .task.run = ran };
    unsigned char    byte;
    int              fds[2], fd = unr_loop_fd(loop);
    (void)scenario;
    unr_sim_check(fd >= 0, "it has a descriptor");
    unr_sim_socketpair(fds, 0);
    unr_start(loop, unr_recv(&recv, fds[0], &byte, 1, 0), NULL, NULL);
    unr_start(loop, unr_timer_after(&late, UNR_SEC(5)), NULL, NULL);
    bool write = unr_sim_choose(2);
    if (write)
        unr_sim_later(peer_writes_byte, &fds[1]);
    unr_sim_later(post, &p);
    if (unr_sim_choose(2)) {
        unr_sim_wait_readable(fd);
        unr_loop_run_once(loop, 0);
    }
    unr_start(loop, unr_nop(&nop), start_another, &chained);
    unr_start(loop, unr_timer_after(&early, UNR_SEC(1)), NULL, NULL);
    if (!write)
        unr_cancel(&recv, UNR_CANCEL_TOTAL);
    while (unr_loop_in_flight(loop) || !p.ran) {
        unr_sim_wait_readable(fd);
        unr_sim_check(unr_loop_run_once(loop, 0) >= 0, "a turn");
    }
    unr_sim_check(early.op.result.error == 0 && late.op.result.error == 0
                      && recv.result.error == (write ? 0 : -ECANCELED),
                  "all that was started has ended");
    close_loop(loop);
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

static void wait_and_turn(struct unr_loop *loop, int fd)
{
    unr_sim_wait_readable(fd);
    unr_sim_check(unr_loop_run_once(loop, 0) >= 0, "a turn");
}

/* What another thread posts makes it readable, and does so again after each turn; so does what a
 * worker has done, at whatever moment of a turn. */
static void embedded_again(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    sync = { 0 };
    struct poster    p = { .loop = loop, .task.run = ran };
    int              file = unr_sim_file(NULL, 0), fd = unr_loop_fd(loop);
    (void)scenario;
    unr_start(loop, unr_fsync(&sync, file, 0), NULL, NULL);
    for (int posts = 1; posts <= 2; posts++) {
        unr_sim_later(post, &p);
        while (p.ran < posts)
            wait_and_turn(loop, fd);
    }
    while (unr_loop_in_flight(loop))
        wait_and_turn(loop, fd);
    unr_sim_check(sync.result.error == 0, "the file is written");
    close_loop(loop);
    unr_sim_close(file);
}

/* ---- a plain ring, whose completions come at any time ---- */

enum { MANY = 10 };

/* More completions than the CQ holds come between two turns.  Turns that do not wait fetch them all
 * the same. */
static void plain_overflow(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    ops[MANY] = { { 0 } };
    char             bytes[MANY];
    int              fds[2], runs = 0;
    (void)scenario;
    unr_sim_socketpair(fds, 0);
    for (int i = 0; i < MANY; i++)
        unr_start(loop, unr_recv(&ops[i], fds[0], &bytes[i], 1, 0), count_run, &runs);
    unr_loop_run_once(loop, 0);
    unr_sim_write(fds[1], "abcdefghij", MANY);
    for (int turns = 0; runs < MANY; turns++) {
        unr_sim_choose(1); /* a moment, in which completions come */
        unr_sim_check(unr_loop_run_once(loop, 0) >= 0 && turns < 100, "a turn brings some");
    }
    unr_sim_check(unr_sim_read(fds[0], bytes, 1) == -EAGAIN, "every byte once");
    close_loop(loop);
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

/* ---- short of descriptors and memory ---- */

/* A loop that has not opened leaves nothing open, and one that has no descriptor to be waited for
 * is as it was: it runs, and it can be asked again. */
static void short_of_all(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    recv = { 0 };
    struct poster    p = { .loop = loop, .task.run = ran };
    char             byte;
    int              fds[2], fd = unr_loop_fd(loop);
    (void)scenario;
    unr_sim_socketpair(fds, 0);
    unr_start(loop, unr_recv(&recv, fds[0], &byte, 1, 0), NULL, NULL);
    unr_sim_later(peer_writes_byte, &fds[1]);
    if (fd < 0) {
        unr_sim_check(is_shortage(fd), "it says what it is short of");
        unr_sim_check(unr_loop_run(loop) == 0 && recv.result.bytes == 1, "it runs all the same");
    }
    while (fd < 0)
        fd = unr_loop_fd(loop);
    unr_sim_later(post, &p);
    while (unr_loop_in_flight(loop) || !p.ran)
        wait_and_turn(loop, fd);
    unr_sim_check(recv.result.error == 0 && recv.result.bytes == 1, "the byte was received");
    close_loop(loop);
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

enum { TIMERS = 600 }; /* more than twice what a loop has room for when it opens */

static void expires_or_never_began(struct unr_op *op)
{
    unr_sim_check(op->result.error == 0 || is_shortage(op->result.error),
                  "a timer that finds no room says so");
    ++*(int *)op->data;
}

/* Timers that find no room for them end at once, and all others in their time, which has come. */
static void short_of_timers(const struct scenario *scenario)
{
    static struct unr_timer timers[TIMERS];
    struct unr_loop        *loop = open_small_loop();
    int                     runs = 0;
    (void)scenario;
    memset(timers, 0, sizeof timers);
    for (int i = 0; i < TIMERS; i++)
        unr_start(loop, unr_timer_after(&timers[i], UNR_MSEC(1) + i), expires_or_never_began,
                  &runs);
    unr_sim_compute(UNR_SEC(1));
    unr_loop_run(loop);
    unr_sim_check(runs == TIMERS, "each done once");
    close_loop(loop);
}

/* ---- a signalfd ---- */

static void signal_comes(void *context)
{
    (void)context;
    unr_sim_raise(SIGUSR1);
}

/* A signal that a cancelled read has not taken is there for the next read. */
static void signal_is_taken_once(const struct scenario *scenario)
{
    struct unr_loop        *loop = open_small_loop();
    struct unr_op           read = { 0 };
    struct signalfd_siginfo info, left;
    int                     fd = unr_sim_signalfd(UINT64_C(1) << (SIGUSR1 - 1)), runs = 0;
    (void)scenario;
    unr_start(loop, unr_read(&read, fd, &info, sizeof info, -1), count_run, &runs);
    unr_sim_later(signal_comes, NULL);
    for (unsigned turns = unr_sim_choose(3); turns; turns--)
        unr_loop_run_once(loop, 0);
    unr_cancel(&read, UNR_CANCEL_TOTAL);
    unr_loop_run(loop);
    unr_sim_check(runs == 1, "each done once");
    if (read.result.error == 0)
        unr_sim_check(read.result.bytes == sizeof info && info.ssi_signo == SIGUSR1,
                      "the signal was read");
    else
        unr_sim_check(read.result.error == -ECANCELED, "or the read was cancelled");
    close_loop(loop);
    if (read.result.error == 0)
        unr_sim_check(unr_sim_read(fd, &left, sizeof left) == -EAGAIN, "it is taken once");
    unr_sim_close(fd);
}

const struct scenario *scenarios_loops_table(void)
{
    static const struct scenario table[] = {
        { .name = "loop/storm", .run = storm, .deviations_max = 3 },
        { .name = "loop/other-threads", .run = other_threads },
        { .name = "loop/remote-disarmed", .run = remote_disarmed },
        { .name = "loop/faults", .run = faults, .faults = UNR_FAULT_ALL, .deviations_max = 5 },
        { .name = "loop/signal-is-taken-once", .run = signal_is_taken_once },
        { .name = "loop/embedded", .run = embedded, .deviations_max = 5 },
        { .name = "loop/embedded-again", .run = embedded_again, .deviations_max = 5 },
        { .name = "resources/timers",
          .run = short_of_timers,
          .faults = UNR_FAULT_RESOURCES,
          .deviations_max = 2 },
        { .name = "resources/loop",
          .run = short_of_all,
          .faults = UNR_FAULT_RESOURCES,
          .deviations_max = 5 },
        { .name = "plain/overflow",
          .run = plain_overflow,
          .deviations_max = 2,
          .loop_flags = UNR_LOOP_PLAIN },
        { .name = "plain/embedded",
          .run = embedded,
          .deviations_max = 4,
          .loop_flags = UNR_LOOP_PLAIN },
        { .name = "plain/embedded-again",
          .run = embedded_again,
          .deviations_max = 4,
          .loop_flags = UNR_LOOP_PLAIN },
        { .name = "plain/other-threads",
          .run = other_threads,
          .deviations_max = 5,
          .loop_flags = UNR_LOOP_PLAIN },
        { .name = "plain/faults",
          .run = faults,
          .faults = UNR_FAULT_ALL,
          .deviations_max = 4,
          .loop_flags = UNR_LOOP_PLAIN },
        { .name = NULL },
    };
    return table;
}
