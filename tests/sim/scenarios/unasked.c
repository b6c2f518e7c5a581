/* SPDX-License-Identifier: MIT */
/* Results that nobody asked for: the kernel interrupts what waits in a worker, has no worker, or
 * executes where no cancel reaches. */
#include "scenario.h"

#include <errno.h>
#include <liburing.h>

static void count_run(struct unr_op *op)
{
    ++*(int *)op->data;
}

static void write_later(void *fd)
{
    unr_sim_write(*(int *)fd, "abcd", 4);
}

/* ---- interrupted ---- */

/* A splice waits in a worker, which is interrupted.  It goes on, and can be cancelled at each point
 * of that: what was to be moved is where it was, or has been moved. */
static void interrupted(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    op = { 0 };
    int              from[2], to[2], runs = 0;
    bool             cancels = scenario->parameter;
    unr_sim_pipe(from, 0);
    unr_sim_pipe(to, 0);
    unr_start(loop, unr_splice(&op, from[0], -1, to[1], -1, 4, 0), count_run, &runs);
    unr_sim_later(write_later, &from[1]);
    for (unsigned turns = 2 + unr_sim_choose(4); turns; turns--)
        unr_loop_run_once(loop, 0);
    if (cancels)
        unr_cancel(&op, UNR_CANCEL_TOTAL);
    unr_sim_check(unr_loop_run(loop) == 0, "the loop runs to its end");
    unr_sim_check(runs == 1, "each done once");
    if (op.result.error == 0) {
        unr_sim_check(op.result.bytes > 0, "what was there is moved");
    } else {
        unr_sim_check(cancels && op.result.error == -ECANCELED, "an interruption is no result");
        unr_sim_check(op.result.guarantee == UNR_CANCEL_TOTAL, "nothing was moved");
    }
    outcome("error %d", op.result.error);
    close_loop(loop);
    for (int i = 0; i < 2; i++) {
        unr_sim_close(from[i]);
        unr_sim_close(to[i]);
    }
}

/* A splice that is interrupted a second time, long after it went on for the first time, goes on at
 * once, as if it were the first. */
static void interrupted_long_after(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    op = { 0 };
    struct unr_stats before, after;
    int              from[2], to[2], runs = 0;
    (void)scenario;
    unr_sim_pipe(from, 0);
    unr_sim_pipe(to, 0);
    unr_start(loop, unr_splice(&op, from[0], -1, to[1], -1, 4, 0), count_run, &runs);
    for (int turns = 0; turns < 4; turns++)
        unr_loop_run_once(loop, UNR_MSEC(1));
    unr_loop_stats(loop, &before, sizeof before);
    unr_sim_compute(UNR_SEC(1));
    unr_sim_later(write_later, &from[1]);
    unr_time begin = unr_sim_clock();
    unr_sim_check(unr_loop_run(loop) == 0, "the loop runs to its end");
    unr_loop_stats(loop, &after, sizeof after);
    unr_sim_check(runs == 1 && op.result.error == 0, "it goes on");
    if (before.submitted_again == 1 && after.submitted_again == 2)
        unr_sim_check(unr_sim_clock() == begin, "and at once");
    close_loop(loop);
    for (int i = 0; i < 2; i++) {
        unr_sim_close(from[i]);
        unr_sim_close(to[i]);
    }
}

/* The number of a descriptor that unr_close() has closed may be another's: what is interrupted on
 * it ends, and what the other has is left alone. */
static void interrupted_on_a_closed_number(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    op = { 0 }, closer = { 0 };
    int              from[2], to[2], others[2], runs = 0, closed = 0;
    (void)scenario;
    unr_sim_pipe(from, 0);
    unr_sim_pipe(to, 0);
    unr_start(loop, unr_splice(&op, from[0], -1, to[1], -1, 4, 0), count_run, &runs);
    for (int turns = 0; turns < 3; turns++)
        unr_loop_run_once(loop, 0); /* by now a worker may wait in it */
    unr_start(loop, unr_close(&closer, from[0]), count_run, &closed);
    while (!closed)
        unr_loop_run_once(loop, UNR_MSEC(1));
    unr_sim_pipe(others, 0);
    unr_sim_write(others[1], "1234", 4);
    unr_sim_later(write_later, &from[1]);
    unr_sim_check(unr_loop_run(loop) == 0, "the loop runs to its end");
    if (op.result.error == 0) {
        char    moved[4] = { 0 };
        ssize_t bytes = (ssize_t)op.result.bytes;
        unr_sim_check(bytes > 0, "what was there is moved");
        unr_sim_check(unr_sim_read(to[0], moved, 4) == bytes
                          && memcmp(moved, "abcd", (size_t)bytes) == 0,
                      "from the file that the operation was started on");
    } else {
        unr_sim_check(op.result.error == -EINTR || op.result.error == -EPIPE,
                      "interrupted, and not begun again");
    }
    close_loop(loop);
    unr_sim_close(from[1]);
    for (int i = 0; i < 2; i++) {
        unr_sim_close(to[i]);
        unr_sim_close(others[i]);
    }
}

/* ---- no worker ---- */

enum call { FSYNC, FSYNC_IN_TIME, WRITE, CLOSE };

static void fill_close(void *sqe, void *fd)
{
    io_uring_prep_close(sqe, *(int *)fd);
    ((struct io_uring_sqe *)sqe)->flags = IOSQE_ASYNC;
}

/* No worker can be made for a call: it is done all the same once there is one, and ends with EAGAIN
 * if there is none for long; or it is cancelled meanwhile, and has not begun. */
static void without_workers(const struct scenario *scenario)
{
    struct unr_loop    *loop = open_small_loop();
    struct unr_op       child = { 0 }, *op = &child;
    struct unr_deadline deadline = { 0 };
    int                 fd = unr_sim_file("01234567", 8), runs = 0;
    enum call           call = *(const enum call *)scenario->parameter;
    switch (call) {
    case FSYNC: unr_fsync(op, fd, 0); break;
    case FSYNC_IN_TIME: op = unr_cancel_after(&deadline, unr_fsync(op, fd, 0), UNR_SEC(10)); break;
    case WRITE: unr_write(op, fd, "abcd", 4, 0); break;
    case CLOSE: unr_sqe(op, "close", 0, fill_close, &fd); break;
    }
    unr_start(loop, op, count_run, &runs);
    unsigned turns = unr_sim_choose(5);
    if (turns) {
        for (; turns > 1; turns--)
            unr_loop_run_once(loop, UNR_MSEC(1));
        unr_cancel(op, UNR_CANCEL_TOTAL);
    }
    unr_sim_check(unr_loop_run(loop) == 0, "the loop runs to its end");
    unr_sim_check(runs == 1, "each done once");
    const struct unr_result *r = &op->result;
    unr_sim_check(r->error == 0 || r->error == -EAGAIN || r->error == -ECANCELED,
                  "done, not begun, or cancelled");
    struct unr_stats stats;
    unr_loop_stats(loop, &stats, sizeof stats);
    unr_sim_check(r->error != -EAGAIN || stats.submitted_again >= 10, "given up, but not at once");
    unr_sim_check(call != CLOSE || r->error == 0, "a close needs no worker");
    if (op != &child)
        child = (struct unr_op){ 0 }; /* it is the caller's by now */
    unr_sim_check(r->error != -EAGAIN || strstr(unr_explain_op(op), "no worker"), "in words");
    if (call == CLOSE) {
        unr_sim_check(unr_sim_close(fd) == -EBADF, "closed");
    } else {
        char data[8];
        unr_sim_check(unr_sim_read(fd, data, 8) == 8, "the file is as long as it was");
        bool written = memcmp(data, "abcd", 4) == 0;
        unr_sim_check(written == (call == WRITE && r->error == 0), "written if it says so");
        unr_sim_close(fd);
    }
    outcome("error %d verdict %u", r->error, r->verdict);
    close_loop(loop);
}

/* What waits to be submitted again, as there was no worker, ends when its number is closed, by
 * unr_close() or by an SQE: the number may be another file's. */
static void again_on_a_closed_number(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    op = { 0 }, closer = { 0 };
    int              fd = unr_sim_file("01234567", 8), runs = 0, closed = 0;
    char             data[8];
    (void)scenario;
    unr_start(loop, unr_write(&op, fd, "abcd", 4, 0), count_run, &runs);
    for (unsigned turns = 1 + unr_sim_choose(4); turns; turns--)
        unr_loop_run_once(loop, UNR_MSEC(1));
    if (unr_sim_choose(2))
        unr_sqe(&closer, "close", 0, fill_close, &fd);
    else
        unr_close(&closer, fd);
    unr_start(loop, &closer, count_run, &closed);
    while (!closed)
        unr_loop_run_once(loop, UNR_MSEC(1));
    int other = unr_sim_file("01234567", 8);
    unr_sim_check(unr_loop_run(loop) == 0, "the loop runs to its end");
    unr_sim_check(runs == 1, "done once");
    unr_sim_check(op.result.error == 0 || op.result.error == -EINTR, "written, or not again");
    unr_sim_check(unr_sim_read(other, data, 8) == 8 && memcmp(data, "01234567", 8) == 0,
                  "what has the number now is left alone");
    outcome("error %d", op.result.error);
    close_loop(loop);
    unr_sim_close(other);
}

/* Before Linux 6.5 a worker reads a pipe, too. */
static void pipe_without_workers(const struct scenario *scenario)
{
    struct unr_loop         *loop = open_small_loop();
    struct unr_op            op = { 0 };
    const struct unr_result *r = &op.result;
    int                      pipe[2], runs = 0;
    char                     buf[4];
    (void)scenario;
    unr_sim_pipe(pipe, 0);
    unr_sim_write(pipe[1], "abcd", 4);
    unr_start(loop, unr_read(&op, pipe[0], buf, 4, -1), count_run, &runs);
    unr_sim_check(unr_loop_run(loop) == 0, "the loop runs to its end");
    unr_sim_check(runs == 1, "each done once");
    bool given_up = r->error == -EAGAIN && strstr(unr_explain_op(&op), "no worker");
    unr_sim_check(given_up || (r->error == 0 && r->bytes > 0), "read, or given up in words");
    outcome("error %d", r->error);
    close_loop(loop);
    unr_sim_close(pipe[0]);
    unr_sim_close(pipe[1]);
}

/* ---- somebody else ---- */

static void fill_cancel(void *sqe, void *victim)
{
    io_uring_prep_cancel(sqe, victim, 0);
}

/* A cancel that unring has not sent is no cancellation.  What it hits on a socket was interrupted;
 * on a pipe a worker may have been missing, and it goes on. */
static void cancelled_by_a_stranger(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    op = { 0 }, stranger = { 0 };
    int              fds[2], runs = 0;
    char             buf[4];
    bool             is_socket = !scenario->parameter;
    if (is_socket)
        unr_sim_socketpair(fds, 0);
    else
        unr_sim_pipe(fds, 0);
    unr_sim_later(write_later, &fds[1]);
    unr_start(loop, unr_read(&op, fds[0], buf, 4, -1), count_run, &runs);
    unr_loop_run_once(loop, 0);
    unr_start(loop, unr_sqe(&stranger, "cancel", UNR_CANCEL_NONE, fill_cancel, &op), count_run,
              &runs);
    unr_sim_check(unr_loop_run(loop) == 0, "the loop runs to its end");
    unr_sim_check(runs == 2, "each done once");
    unr_sim_check(op.result.error == (is_socket && stranger.result.error == 0 ? -EINTR : 0),
                  "interrupted if it was hit on a socket");
    unr_sim_check(op.result.verdict == UNR_VERDICT_NONE && op.result.cause == 0,
                  "and nobody of ours has asked");
    close_loop(loop);
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

/* ---- a transfer of the caller's own SQE, cut short ---- */

struct transfer {
    int           fd;
    char          buf[8];
    struct iovec  piece;
    struct msghdr message;
};

static void fill_recv_all(void *sqe, void *context)
{
    struct transfer *t = context;
    io_uring_prep_recv(sqe, t->fd, t->buf, sizeof t->buf, MSG_WAITALL);
}

static void fill_recvmsg_all(void *sqe, void *context)
{
    struct transfer *t = context;
    io_uring_prep_recvmsg(sqe, t->fd, &t->message, MSG_WAITALL);
}

/* An operation that supports PARTIAL and not TOTAL, and gets four of eight bytes: it is cancelled
 * with its count, or where the SQE does not say that they were eight, the verdict is. */
static void sqe_cut_short(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct transfer  t = { 0 };
    struct unr_op    op = { 0 };
    int              fds[2], runs = 0;
    bool             known = !scenario->parameter;
    unr_sim_socketpair(fds, 0);
    t.fd = fds[0];
    t.piece = (struct iovec){ t.buf, sizeof t.buf };
    t.message = (struct msghdr){ .msg_iov = &t.piece, .msg_iovlen = 1 };
    unr_sim_write(fds[1], "abcd", 4);
    unr_start(loop,
              unr_sqe(&op, "receive", UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL,
                      known ? fill_recv_all : fill_recvmsg_all, &t),
              count_run, &runs);
    unr_loop_run_once(loop, 0);
    unr_cancel(&op, UNR_CANCEL_PARTIAL);
    unr_sim_check(unr_loop_run(loop) == 0, "the loop runs to its end");
    const struct unr_result *r = &op.result;
    unr_sim_check(runs == 1 && r->verdict == UNR_VERDICT_CANCELLED, "cut short by the request");
    unr_sim_check(r->error == (known || r->value == 0 ? -ECANCELED : 0), "an error if it is known");
    char    left[8];
    ssize_t rest = unr_sim_read(fds[0], left, sizeof left);
    unr_sim_check((rest > 0 ? rest : 0) + r->value == 4, "no byte is lost");
    outcome("error %d value %d", r->error, (int)r->value);
    close_loop(loop);
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

/* ---- where no cancel reaches ---- */

/* A read that a device executes is in none of the kernel's tables.  A cancel that was answered
 * twice without effect, with the read still out, says so. */
static void read_from_a_device(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    op = { 0 };
    struct unr_stats stats;
    char             buf[4];
    int              fd = unr_sim_file("01234567", 8), runs = 0;
    bool             ran_on = false;
    (void)scenario;
    unr_start(loop, unr_read(&op, fd, buf, 4, 0), count_run, &runs);
    unr_loop_run_once(loop, 0);
    unr_cancel(&op, UNR_CANCEL_TOTAL);
    while (!runs) {
        unr_loop_stats(loop, &stats, sizeof stats);
        unr_loop_run_once(loop, UNR_MSEC(1));
        ran_on |= !runs && stats.cancels_repeated;
    }
    if (op.result.error == 0)
        unr_sim_check(!ran_on || op.result.verdict == UNR_VERDICT_RUNNING,
                      "that it ran to its end is said");
    outcome("error %d verdict %u", op.result.error, op.result.verdict);
    close_loop(loop);
    unr_sim_close(fd);
}

static const enum call fsync_call = FSYNC, fsync_in_time = FSYNC_IN_TIME, write_call = WRITE,
                       close_call = CLOSE;

const struct scenario *scenarios_unasked_table(void)
{
    static const struct scenario table[] = {
        { .name = "unasked/interrupted", .run = interrupted, .faults = UNR_FAULT_INTERRUPT },
        { .name = "unasked/interrupted-and-cancelled",
          .run = interrupted,
          .parameter = "",
          .faults = UNR_FAULT_INTERRUPT },
        { .name = "unasked/interrupted-long-after",
          .run = interrupted_long_after,
          .faults = UNR_FAULT_INTERRUPT },
        { .name = "unasked/interrupted-on-a-closed-number",
          .run = interrupted_on_a_closed_number,
          .faults = UNR_FAULT_INTERRUPT },
        { .name = "unasked/fsync-without-workers",
          .run = without_workers,
          .parameter = &fsync_call,
          .faults = UNR_FAULT_WORKERS },
        { .name = "unasked/fsync-in-time-without-workers",
          .run = without_workers,
          .parameter = &fsync_in_time,
          .faults = UNR_FAULT_WORKERS },
        { .name = "unasked/write-without-workers",
          .run = without_workers,
          .parameter = &write_call,
          .faults = UNR_FAULT_WORKERS },
        { .name = "unasked/close-without-workers",
          .run = without_workers,
          .parameter = &close_call,
          .faults = UNR_FAULT_WORKERS },
        { .name = "unasked/again-on-a-closed-number",
          .run = again_on_a_closed_number,
          .deviations_max = 6,
          .faults = UNR_FAULT_WORKERS },
        { .name = "unasked/pipe-without-workers",
          .run = pipe_without_workers,
          .faults = UNR_FAULT_WORKERS,
          .linux_version = 601 },
        { .name = "unasked/cancelled-by-a-stranger", .run = cancelled_by_a_stranger },
        { .name = "unasked/cancelled-by-a-stranger-on-a-pipe",
          .run = cancelled_by_a_stranger,
          .parameter = "" },
        { .name = "unasked/sqe-cut-short", .run = sqe_cut_short },
        { .name = "unasked/sqe-of-a-message-cut-short", .run = sqe_cut_short, .parameter = "" },
        { .name = "unasked/read-from-a-device", .run = read_from_a_device },
        { .name = NULL },
    };
    return table;
}
