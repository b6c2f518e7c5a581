/* SPDX-License-Identifier: MIT */
/* The rules of an operation's life, each with tests named after it.  tests/test_table.c has every
 * system call in every state; here are the rules themselves, on the few calls that show them
 * best. */
#include "../uring/enter.h"
#include "../uring/ring.h"
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

TestSuite(op, .init = open_loop, .timeout = 20);

/* ---- rule 1: once ---- */

static void expect_not_run(const struct seen *seen)
{
    cr_assert_eq(seen->runs, 0);
}

/* `done` does not run inside unr_start, unr_cancel or an emit, but in the next turn. */
Test(op, once_done_never_runs_inside_start_cancel_or_emit)
{
    struct unr_signal stop = { 0 };
    struct seen       a = { 0 }, b = { 0 }, c = { 0 };
    unr_signal_init_latched(&stop);
    start(&a, unr_bind_slot(unr_nop(&a.op), unr_signal_slot(&stop)));
    cr_assert(unr_signal_emit(&stop, UNR_CANCEL_TOTAL));
    expect_not_run(&a);
    start(&b, unr_nop(&b.op));
    cr_assert(unr_cancel(&b.op, UNR_CANCEL_TOTAL));
    expect_not_run(&b);
    unr_slot_clear(unr_signal_slot(&stop));
    start(&c, unr_bind_slot(unr_nop(&c.op), unr_signal_slot(&stop)));
    expect_not_run(&c);
    run();
    cr_assert(a.runs == 1 && b.runs == 1 && c.runs == 1);
    close_loop();
}

static void start_again(struct seen *seen)
{
    int *left = seen->context;
    if ((*left)-- > 0)
        start(seen, unr_nop(&seen->op));
}

/* An operation may be described and started again inside its own `done`. */
Test(op, once_for_each_start_and_started_again_inside_done)
{
    int         left = 100;
    struct seen nop = { .then = start_again, .context = &left };
    start(&nop, unr_nop(&nop.op));
    run();
    cr_assert_eq(nop.runs, 101);
    close_loop();
}

static void free_it(struct unr_op *op)
{
    (*(int *)op->data)++;
    free(op);
}

/* Inside `done` an operation that was cancelled in flight may be freed: nothing of unring or of the
 * kernel refers to it. */
Test(op, once_and_free_inside_done)
{
    int fds[2], freed = 0;
    unix_pair(fds);
    for (int i = 0; i < 100; i++) {
        char          *buf = malloc(100);
        struct unr_op *op = calloc(1, sizeof *op);
        unr_start(loop, unr_recv(op, fds[0], buf, 100, 0), free_it, &freed);
        submit();
        unr_cancel(op, UNR_CANCEL_TOTAL);
        run();
        free(buf);
    }
    cr_assert_eq(freed, 100);
    close_pair(fds);
    close_loop();
}

static void restart_unless_stopped(struct seen *seen)
{
    struct unr_signal *stop = seen->context;
    if (seen[1].runs == 0)
        start(seen, unr_bind_slot(unr_nop(&seen->op), unr_signal_slot(stop)));
}

/* What ends at once and is started again each time, without the kernel ever being asked, does not
 * keep the loop from everything else. */
Test(op, once_a_turn_so_that_nothing_is_starved)
{
    struct unr_signal stop = { 0 };
    struct seen       ops[2] = { [0] = { .then = restart_unless_stopped, .context = &stop } };
    unr_signal_init_latched(&stop);
    unr_signal_emit(&stop, UNR_CANCEL_ALL);
    start(&ops[0], unr_bind_slot(unr_nop(&ops[0].op), unr_signal_slot(&stop)));
    start(&ops[1], unr_nop(&ops[1].op));
    run();
    cr_assert_eq(ops[1].runs, 1);
    cr_assert_geq(ops[0].runs, 1);
    close_loop();
}

/* A NULL `done`: the result stays in the operation, for the caller who looks at unr_in_flight(). */
Test(op, once_without_a_done_the_result_stays)
{
    struct unr_op op = { 0 };
    unr_start(loop, unr_socket(&op, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), NULL, NULL);
    cr_assert(unr_in_flight(&op));
    while (unr_in_flight(&op))
        unr_loop_run_once(loop, UNR_NEVER);
    cr_assert_eq(op.result.error, 0);
    cr_assert_geq(op.result.fd, 0);
    close(op.result.fd);
    close_loop();
}

/* ---- rule 1: multishot ---- */

static void fill_multishot_poll(void *sqe, void *fd)
{
    io_uring_prep_poll_multishot(sqe, *(int *)fd, POLLIN);
}

static void read_event(struct seen *seen)
{
    eventfd_t count;
    if (seen->result.flags & UNR_MORE) {
        cr_assert_eq(seen->result.error, 0);
        cr_assert_eq(seen->result.value & POLLIN, POLLIN);
        eventfd_read(*(int *)seen->context, &count);
    }
}

/* A multishot operation runs `done` once a shot, with UNR_MORE, and a last time without. */
Test(op, once_a_shot_and_the_last_without_more)
{
    int         fd = eventfd(0, EFD_CLOEXEC);
    struct seen poll = { .then = read_event, .context = &fd };
    start(&poll, unr_sqe(&poll.op, "poll_multishot", UNR_CANCEL_ALL, fill_multishot_poll, &fd));
    for (int i = 1; i <= 10; i++) {
        eventfd_write(fd, 1);
        while (poll.runs < i)
            cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
        cr_assert(poll.result.flags & UNR_MORE);
        cr_assert(unr_in_flight(&poll.op));
    }
    cr_assert_eq(unr_loop_in_flight(loop), 1);
    unr_cancel(&poll.op, UNR_CANCEL_TOTAL);
    run();
    cr_assert_eq(poll.runs, 11);
    cr_assert_eq(poll.result.flags, 0);
    cr_assert_eq(poll.result.error, -ECANCELED);
    cr_assert_eq(poll.result.verdict, UNR_VERDICT_CANCELLED);
    close(fd);
    close_loop();
}

static void cancel_inside_the_shot(struct seen *seen)
{
    int64_t before = seen->op.result.value;
    read_event(seen);
    if (!(seen->result.flags & UNR_MORE))
        return;
    cr_assert(unr_cancel(&seen->op, UNR_CANCEL_TOTAL));
    cr_assert_eq(seen->op.result.value, before);
    cr_assert_eq(seen->op.result.flags, UNR_MORE);
}

/* A request inside the `done` of a shot leaves that shot's result alone, and ends the operation
 * afterwards. */
Test(op, a_request_inside_a_shot_takes_effect_behind_it)
{
    int         fd = eventfd(1, EFD_CLOEXEC);
    struct seen poll = { .then = cancel_inside_the_shot, .context = &fd };
    start(&poll, unr_sqe(&poll.op, "poll_multishot", UNR_CANCEL_ALL, fill_multishot_poll, &fd));
    run();
    cr_assert_eq(poll.runs, 2);
    cr_assert_eq(poll.result.error, -ECANCELED);
    close(fd);
    close_loop();
}

static void refuse_then_ask_inside_the_shot(struct seen *seen)
{
    read_event(seen);
    if (!(seen->result.flags & UNR_MORE))
        return;
    unr_cancel_cause(&seen->op, UNR_CANCEL_TOTAL, -1);
    unr_cancel_cause(&seen->op, UNR_CANCEL_TERMINAL, -2);
}

/* Two requests inside a shot: the cause is that of the first that was honoured, and each is counted
 * once. */
Test(op, requests_inside_a_shot_keep_their_causes)
{
    int              fd = eventfd(1, EFD_CLOEXEC);
    struct seen      poll = { .then = refuse_then_ask_inside_the_shot, .context = &fd };
    struct unr_stats stats;
    start(&poll,
          unr_sqe(&poll.op, "poll_multishot", UNR_CANCEL_TERMINAL, fill_multishot_poll, &fd));
    run();
    expect_cancelled(&(struct seen){ .runs = 1, .result = poll.result }, UNR_CANCEL_TERMINAL,
                     UNR_VERDICT_CANCELLED, -2);
    unr_loop_stats(loop, &stats, sizeof stats);
    cr_assert_eq(stats.cancels_asked, 2);
    close(fd);
    close_loop();
}

static void cancel_self(void *sqe, void *op)
{
    io_uring_prep_poll_add(sqe, 0, 0);
    unr_cancel(op, UNR_CANCEL_ALL);
}

/* The function that fills an SQE may cancel the very operation: it ends once. */
Test(op, once_when_it_is_cancelled_while_it_is_filled)
{
    int         fd = eventfd(0, EFD_CLOEXEC);
    struct seen poll = { 0 };
    start(&poll, unr_sqe(&poll.op, "poll", UNR_CANCEL_ALL, cancel_self, &poll.op));
    run();
    cr_assert_eq(poll.runs, 1);
    cr_assert_eq(poll.result.requested, UNR_CANCEL_ALL);
    close(fd);
    close_loop();
}

/* ---- rule 2: slots ---- */

static void expect_empty_slot(struct seen *seen)
{
    struct unr_signal *signal = seen->context;
    cr_assert_not(unr_slot_has_handler(unr_signal_slot(signal)));
    cr_assert_not(unr_signal_emit(signal, UNR_CANCEL_ALL));
    cr_assert_not(unr_cancel(&seen->op, UNR_CANCEL_ALL));
}

/* The handler is there from start until just before `done`; an emit after it finds nothing. */
Test(op, slot_is_installed_at_start_and_empty_in_done)
{
    struct unr_signal signal = { 0 };
    struct seen       nop = { .then = expect_empty_slot, .context = &signal };
    unr_bind_slot(unr_nop(&nop.op), unr_signal_slot(&signal));
    cr_assert_not(unr_slot_has_handler(unr_signal_slot(&signal)));
    cr_assert_not(unr_signal_emit(&signal, UNR_CANCEL_ALL));
    start(&nop, &nop.op);
    cr_assert(unr_slot_has_handler(unr_signal_slot(&signal)));
    run();
    cr_assert_eq(nop.runs, 1);
    cr_assert_eq(nop.result.error, 0);
    cr_assert_eq(nop.result.verdict, UNR_VERDICT_NONE);
    close_loop();
}

static bool count_request(void *context, struct unr_cancel_request request)
{
    (void)request;
    ++*(int *)context;
    return true;
}

/* A slot that was given another handler meanwhile keeps it: the operation takes out only its
 * own. */
Test(op, slot_keeps_a_handler_that_replaced_the_operations)
{
    int               requests = 0;
    struct unr_signal signal = { 0 };
    struct seen       nop = { 0 };
    start(&nop, unr_bind_slot(unr_nop(&nop.op), unr_signal_slot(&signal)));
    unr_slot_assign(unr_signal_slot(&signal), count_request, &requests);
    cr_assert(unr_signal_emit(&signal, UNR_CANCEL_ALL));
    run();
    cr_assert_eq(nop.result.error, 0);
    cr_assert_eq(nop.result.requested, 0);
    cr_assert(unr_signal_emit(&signal, UNR_CANCEL_ALL));
    cr_assert_eq(requests, 2);
    close_loop();
}

/* The last binding wins, and describing again drops it. */
Test(op, slot_of_the_last_binding_and_none_when_described_again)
{
    struct unr_signal first = { 0 }, second = { 0 };
    struct seen       nop = { 0 };
    unr_bind_slot(unr_bind_slot(unr_nop(&nop.op), unr_signal_slot(&first)),
                  unr_signal_slot(&second));
    start(&nop, &nop.op);
    cr_assert_not(unr_slot_has_handler(unr_signal_slot(&first)));
    cr_assert(unr_slot_has_handler(unr_signal_slot(&second)));
    run();
    unr_bind_slot(unr_nop(&nop.op), unr_signal_slot(&first));
    start(&nop, unr_nop(&nop.op));
    cr_assert_not(unr_slot_has_handler(unr_signal_slot(&first)));
    run();
    close_loop();
}

/* A slot of the caller's own, without a signal, delivers like any other. */
Test(op, slot_may_be_the_callers_own)
{
    struct unr_slot slot = { 0 };
    struct seen     nop = { 0 };
    start(&nop, unr_bind_slot(unr_nop(&nop.op), &slot));
    slot.handler(slot.context, (struct unr_cancel_request){ UNR_CANCEL_TOTAL, -1234 });
    run();
    expect_cancelled(&nop, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -1234);
    cr_assert_eq(unr_outcome(&nop.result), -1234);
    close_loop();
}

static void cancel_the_other(struct seen *seen)
{
    struct seen *other = seen->context;
    if (other->runs == 0)
        cr_assert(unr_cancel_cause(&other->op, UNR_CANCEL_TERMINAL, -77));
}

/* Between completion and `done` a request adds to `requested` and is TOO_LATE; success stays
 * success. */
Test(op, slot_request_between_completion_and_done_is_too_late)
{
    struct seen a = { .then = cancel_the_other }, b = { .then = cancel_the_other };
    a.context = &b;
    b.context = &a;
    start(&a, unr_nop(&a.op));
    start(&b, unr_nop(&b.op));
    run();
    cr_assert_eq(a.result.verdict, UNR_VERDICT_NONE);
    cr_assert_eq(b.result.error, 0);
    cr_assert_eq(b.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(b.result.requested, UNR_CANCEL_TERMINAL);
    cr_assert_eq(b.result.cause, -77);
    cr_assert_eq(b.result.guarantee, UNR_CANCEL_NONE);
    close_loop();
}

/* ... but a verdict that says more stays as it was, and so does its cause. */
Test(op, slot_request_after_a_cancellation_keeps_its_verdict)
{
    struct seen a = { .then = cancel_the_other }, b = { 0 };
    a.context = &b;
    start(&a, unr_nop(&a.op));
    start(&b, unr_nop(&b.op));
    unr_cancel_cause(&a.op, UNR_CANCEL_TOTAL, -55);
    unr_cancel_cause(&b.op, UNR_CANCEL_TOTAL, -66);
    run();
    expect_cancelled(&b, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -66);
    cr_assert_eq(b.result.requested, UNR_CANCEL_TOTAL | UNR_CANCEL_TERMINAL);
    close_loop();
}

/* ---- rule 3: truth ---- */

/* A request that loses to the data is reported beside the success, in either order of the two. */
Test(op, truth_success_is_never_discarded)
{
    for (int round = 0; round < 200; round++) {
        int         fds[2];
        char        buf[8] = { 0 };
        struct seen recv = { 0 };
        unix_pair(fds);
        start(&recv, unr_recv(&recv.op, fds[0], buf, sizeof buf, 0));
        submit();
        if (round % 2)
            cr_assert_eq(write(fds[1], "hello", 5), 5);
        unr_cancel(&recv.op, UNR_CANCEL_TOTAL);
        if (round % 4 == 2)
            submit();
        if (!(round % 2))
            cr_assert_eq(write(fds[1], "hello", 5), 5);
        finish(&recv);
        cr_assert_eq(recv.result.requested, UNR_CANCEL_TOTAL);
        if (recv.result.error == -ECANCELED) {
            cr_assert_eq(recv.result.bytes, 0);
            cr_assert_eq(drain(fds[0]), 5);
        } else {
            cr_assert_eq(recv.result.error, 0);
            cr_assert_eq(recv.result.bytes, 5);
            cr_assert_eq(memcmp(buf, "hello", 5), 0);
            cr_assert(recv.result.verdict == UNR_VERDICT_TOO_LATE
                      || recv.result.verdict == UNR_VERDICT_RUNNING);
            cr_assert_eq(drain(fds[0]), 0);
        }
        close_pair(fds);
    }
    close_loop();
}

/* ---- rule 4: counts ---- */

/* A transfer with MSG_WAITALL that is cut short reports what was moved; the rest is still there for
 * the next. */
Test(op, counts_of_a_waitall_recv_cut_short)
{
    int         fds[2];
    char        buf[100];
    struct seen recv = { 0 };
    tcp_pair(fds);
    start(&recv, unr_recv(&recv.op, fds[0], buf, sizeof buf, MSG_WAITALL));
    cr_assert_eq(unr_supports(&recv.op), UNR_CANCEL_PARTIAL | UNR_CANCEL_TERMINAL);
    submit();
    cr_assert_eq(write(fds[1], "0123456789", 10), 10);
    submit();
    submit();
    unr_cancel(&recv.op, UNR_CANCEL_PARTIAL);
    run();
    cr_assert_eq(recv.result.error, -ECANCELED);
    cr_assert_eq(recv.result.guarantee, UNR_CANCEL_PARTIAL);
    cr_assert_eq(recv.result.bytes + drain(fds[0]), 10);
    close_pair(fds);
    close_loop();
}

/* A send with MSG_WAITALL that is cut short has sent just what its peer finds. */
Test(op, counts_of_a_waitall_send_cut_short)
{
    enum { SIZE = 16 << 20 };
    int         fds[2];
    char       *buf = calloc(1, SIZE);
    struct seen send = { 0 };
    tcp_pair(fds);
    start(&send, unr_send(&send.op, fds[0], buf, SIZE, MSG_WAITALL));
    submit();
    submit();
    unr_cancel(&send.op, UNR_CANCEL_ALL);
    finish(&send);
    expect_cancelled(&send, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_gt(send.result.bytes, 0);
    cr_assert_lt(send.result.bytes, SIZE);
    shutdown(fds[0], SHUT_WR);
    uint64_t received = 0;
    for (ssize_t n; (n = read(fds[1], buf, SIZE)) > 0;)
        received += (uint64_t)n;
    cr_assert_eq(received, send.result.bytes);
    free(buf);
    close_pair(fds);
    close_loop();
}

/* With nothing moved yet, it is an ordinary cancellation, under the strongest guarantee that it
 * supports. */
Test(op, counts_of_a_waitall_recv_with_nothing_yet)
{
    int         fds[2];
    char        buf[100];
    struct seen recv = { 0 };
    unix_pair(fds);
    start(&recv, unr_recv(&recv.op, fds[0], buf, sizeof buf, MSG_WAITALL));
    submit();
    unr_cancel(&recv.op, UNR_CANCEL_ALL);
    run();
    expect_cancelled(&recv, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(recv.result.bytes, 0);
    close_pair(fds);
    close_loop();
}

/* The stream ends before all of a MSG_WAITALL is there: a short count, and no cancellation. */
Test(op, counts_of_a_waitall_recv_at_the_end_of_the_stream)
{
    int         fds[2];
    char        buf[100];
    struct seen recv = { 0 };
    unix_pair(fds);
    start(&recv, unr_recv(&recv.op, fds[0], buf, sizeof buf, MSG_WAITALL));
    submit();
    cr_assert_eq(write(fds[1], "0123456789", 10), 10);
    close(fds[1]);
    finish(&recv);
    cr_assert_eq(recv.result.error, 0);
    cr_assert_eq(recv.result.bytes, 10);
    cr_assert_eq(recv.result.guarantee, UNR_CANCEL_NONE);
    close(fds[0]);
    close_loop();
}

/* A splice waits in a worker of the kernel, which is interrupted and answers with a number of its
 * own (ERESTARTSYS): that is a cancellation too. */
Test(op, counts_an_interrupted_worker_as_cancelled)
{
    for (int round = 0; round < 20; round++) {
        int         from[2], to[2];
        struct seen splice = { 0 };
        cr_assert_eq(pipe2(from, O_CLOEXEC), 0);
        cr_assert_eq(pipe2(to, O_CLOEXEC), 0);
        start(&splice, unr_splice(&splice.op, from[0], -1, to[1], -1, 100, 0));
        submit();
        unr_cancel(&splice.op, UNR_CANCEL_TOTAL);
        run();
        expect_cancelled(&splice, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        close_pair(from);
        close_pair(to);
    }
    close_loop();
}

static bool has_blocks(int fd)
{
    struct stat st;
    cr_assert_eq(fstat(fd, &st), 0);
    return st.st_blocks > 0;
}

/* Cancels a fallocate that a worker has begun.  Returns false if it runs to its end all the same.
 * tmpfs looks for an interruption at each page. */
static bool interrupts_a_fallocate(void)
{
    struct seen seen = { 0 };
    int         fd = memfd_create("unring", MFD_CLOEXEC);
    cr_assert_geq(fd, 0);
    start(&seen, unr_fallocate(&seen.op, fd, 0, 0, 64 << 20));
    while (!has_blocks(fd) && unr_in_flight(&seen.op))
        submit();
    unr_cancel(&seen.op, UNR_CANCEL_TOTAL);
    run();
    bool interrupted = seen.result.error == -ECANCELED;
    if (interrupted)
        expect_cancelled(&seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    else
        cr_assert_eq(seen.result.error, 0);
    close(fd);
    return interrupted;
}

/* A call that a worker has begun may have done something when it is interrupted, whatever it
 * promises otherwise. */
Test(op, counts_an_interrupted_fallocate_as_terminal)
{
    int attempts = 50;
    while (!interrupts_a_fallocate())
        if (!--attempts)
            cr_skip_test("each of them ran to its end");
    close_loop();
}

/* What the kernel cancels though nobody asked was interrupted: -ECANCELED always means a
 * cancellation. */
Test(op, counts_a_cancellation_that_nobody_asked_for_as_eintr)
{
    int         fds[2];
    char        buf[8];
    struct seen recv = { 0 };
    unix_pair(fds);
    start(&recv, unr_recv(&recv.op, fds[0], buf, sizeof buf, 0));
    submit();
    struct io_uring_sync_cancel_reg behind_our_back = {
        .addr = (uintptr_t)&recv.op, .fd = -1, .timeout = { .tv_sec = -1, .tv_nsec = -1 }
    };
    cr_assert_eq(
        unri_enter_register(&loop->ring->io, IORING_REGISTER_SYNC_CANCEL, &behind_our_back, 1), 0);
    run();
    cr_assert_eq(recv.result.error, -EINTR);
    cr_assert_eq(recv.result.verdict, UNR_VERDICT_NONE);
    close_pair(fds);
    close_loop();
}

/* ---- rule 5: guarantees ---- */

/* A request is honoured if it shares a type with what the operation supports; refused ones are
 * remembered, and a later one is honoured. */
Test(op, guarantees_refused_then_honoured)
{
    int         fds[2];
    char        buf[100];
    struct seen recv = { 0 };
    unix_pair(fds);
    start(&recv, unr_recv(&recv.op, fds[0], buf, sizeof buf, MSG_WAITALL));
    submit();
    cr_assert(unr_cancel_cause(&recv.op, UNR_CANCEL_TOTAL, -41));
    submit();
    expect_not_run(&recv);
    cr_assert(unr_cancel_cause(&recv.op, UNR_CANCEL_TERMINAL, -42));
    run();
    expect_cancelled(&recv, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -42);
    cr_assert_eq(recv.result.requested, UNR_CANCEL_TOTAL | UNR_CANCEL_TERMINAL);
    close_pair(fds);
    close_loop();
}

/* A request that is refused and followed by none that is honoured is REFUSED, with the last
 * cause. */
Test(op, guarantees_refused_has_the_last_cause)
{
    int         fds[2];
    char        buf[4];
    struct seen recv = { 0 };
    unix_pair(fds);
    start(&recv, unr_recv(&recv.op, fds[0], buf, sizeof buf, MSG_WAITALL));
    submit();
    unr_cancel_cause(&recv.op, UNR_CANCEL_TOTAL, -41);
    unr_cancel_cause(&recv.op, UNR_CANCEL_TOTAL, -43);
    cr_assert_eq(write(fds[1], "abcd", 4), 4);
    run();
    cr_assert_eq(recv.result.error, 0);
    cr_assert_eq(recv.result.bytes, 4);
    cr_assert_eq(recv.result.verdict, UNR_VERDICT_REFUSED);
    cr_assert_eq(recv.result.cause, -43);
    close_pair(fds);
    close_loop();
}

/* A close refuses every request, before and after it is submitted, and closes. */
Test(op, guarantees_a_close_always_runs)
{
    int         fds[2];
    struct seen closes = { 0 };
    unix_pair(fds);
    start(&closes, unr_close(&closes.op, fds[0]));
    cr_assert(unr_cancel(&closes.op, UNR_CANCEL_ALL));
    run();
    cr_assert_eq(closes.result.error, 0);
    cr_assert_eq(closes.result.verdict, UNR_VERDICT_REFUSED);
    char byte;
    cr_assert_eq(read(fds[1], &byte, 1), 0);
    close(fds[1]);
    close_loop();
}

/* ---- rule 6: before it begins ---- */

/* What the kernel has not seen ends without a system call. */
Test(op, before_it_begins_no_system_call_is_made)
{
    struct unr_stats before, after;
    struct seen      nop = { 0 };
    submit(); /* the loop's own read is submitted once */
    start(&nop, unr_nop(&nop.op));
    run();
    unr_loop_stats(loop, &before, sizeof before);
    nop.runs = 0;
    start(&nop, unr_nop(&nop.op));
    unr_cancel(&nop.op, UNR_CANCEL_PARTIAL);
    run();
    unr_loop_stats(loop, &after, sizeof after);
    expect_cancelled(&nop, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    cr_assert_eq(after.enters, before.enters);
    cr_assert_eq(after.cancels_unsubmitted, 1);
    close_loop();
}

/* A latched request is an ordinary one made at start: it ends what honours it, and what does not
 * runs, REFUSED. */
Test(op, before_it_begins_a_latched_request_counts)
{
    int               fds[2];
    char              buf[4];
    struct unr_signal stop = { 0 };
    struct seen       recv = { 0 }, all = { 0 }, closes = { 0 };
    unix_pair(fds);
    unr_signal_init_latched(&stop);
    cr_assert_not(unr_signal_emit_cause(&stop, UNR_CANCEL_TOTAL, -9));
    cr_assert_eq(write(fds[1], "abcd", 4), 4);

    start(&recv, unr_bind_slot(unr_recv(&recv.op, fds[0], buf, 4, 0), unr_signal_slot(&stop)));
    run();
    expect_cancelled(&recv, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -9);

    start(&all,
          unr_bind_slot(unr_recv(&all.op, fds[0], buf, 4, MSG_WAITALL), unr_signal_slot(&stop)));
    run();
    cr_assert_eq(all.result.error, 0);
    cr_assert_eq(all.result.bytes, 4);
    cr_assert_eq(all.result.verdict, UNR_VERDICT_REFUSED);
    cr_assert_eq(all.result.cause, -9);

    start(&closes, unr_bind_slot(unr_close(&closes.op, fds[0]), unr_signal_slot(&stop)));
    run();
    cr_assert_eq(closes.result.error, 0);
    cr_assert_eq(closes.result.verdict, UNR_VERDICT_REFUSED);
    close(fds[1]);
    close_loop();
}

/* ---- rule 7: the join ---- */

static void fill_recv_of_lost_cancel(void *entry, void *context)
{
    struct io_uring_sqe *sqe = entry;
    struct iovec        *data = context;
    io_uring_prep_recv(sqe, *(int *)data[1].iov_base, data[0].iov_base, (unsigned)data[0].iov_len,
                       MSG_WAITALL);
    sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
}

/* Between liburing and the kernel: submits, but leaves what the kernel has deferred for the next
 * call. */
static bool defers_work;

int io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
                    sigset_t *sig, size_t size)
{
    if (defers_work)
        flags &= ~IORING_ENTER_GETEVENTS;
    long n = syscall(__NR_io_uring_enter, fd, to_submit, min_complete, flags, sig, size);
    return n < 0 ? -errno : (int)n;
}

/* The kernel loses this cancel: the socket holds half of what a MSG_WAITALL wants, so the receive
 * is between two of its tables when it is looked for, the answer is -ENOENT, and it would wait for
 * ever.  It is asked again until it ends. */
Test(op, join_repeats_a_cancel_that_the_kernel_lost)
{
    int              fds[2];
    char             buf[100] = { 0 };
    struct unr_stats stats;
    struct seen      recv = { 0 };
    unix_pair(fds);
    struct iovec data[2] = { { buf, sizeof buf }, { &fds[0], sizeof fds[0] } };
    submit();
    cr_assert_eq(write(fds[1], buf, 50), 50);
    start(&recv, unr_sqe(&recv.op, "recv", UNR_CANCEL_ALL, fill_recv_of_lost_cancel, data));
    defers_work = true;
    submit();
    defers_work = false;
    unr_cancel(&recv.op, UNR_CANCEL_ALL);
    run();
    cr_assert_eq(recv.runs, 1);
    unr_loop_stats(loop, &stats, sizeof stats);
    if (loop->ring->setup & IORING_SETUP_DEFER_TASKRUN)
        cr_assert_gt(stats.cancels_repeated, 0);
    cr_assert_eq(recv.result.requested, UNR_CANCEL_ALL);
    cr_assert(recv.result.error == -ECANCELED || recv.result.value == 50);
    close_pair(fds);
    close_loop();
}

static void fill_zero_copy(void *sqe, void *context)
{
    struct iovec *data = context;
    io_uring_prep_send_zc(sqe, *(int *)data[1].iov_base, data[0].iov_base, data[0].iov_len, 0, 0);
}

/* A zero-copy send is finished when its notification is in: only then is its buffer free. */
Test(op, join_waits_for_the_notification)
{
    static char buf[1 << 20];
    int         fds[2];
    struct seen send = { 0 };
    tcp_pair(fds);
    struct iovec data[2] = { { buf, sizeof buf }, { &fds[0], sizeof fds[0] } };
    start(&send, unr_sqe(&send.op, "send_zc", UNR_CANCEL_ALL, fill_zero_copy, data));
    uint64_t received = 0;
    while (send.runs == 0) {
        cr_assert_geq(unr_loop_run_once(loop, 0), 0);
        received += drain(fds[1]);
    }
    cr_assert_eq(send.result.error, 0);
    cr_assert_eq(send.result.flags, 0);
    shutdown(fds[0], SHUT_WR);
    char byte[4096];
    for (ssize_t n; (n = read(fds[1], byte, sizeof byte)) > 0;)
        received += (uint64_t)n;
    cr_assert_eq(received, (uint64_t)send.result.value);
    close_pair(fds);
    close_loop();
}

/* Whether the kernel still owes an operation more than the notification of what it has sent. */
static bool awaits_more_than_notification(const struct seen *send)
{
    const unsigned awaited =
        UNRI_WANTS_CANCEL | UNRI_WANTS_REPEAT | UNRI_AWAITS_TARGET | UNRI_AWAITS_CANCEL;
    return send->runs == 0 && send->op.private_fields.flags & awaited;
}

/* ... also when it was cancelled on a full socket.  TCP may find room for a part of a send after
 * the socket said that it is full; that send is then too late to be cancelled, and waits for its
 * notification until the peer reads.  So sends are cancelled until one has found no room. */
Test(op, join_waits_for_the_notification_of_a_cancelled_send)
{
    enum { SENDS = 256 };
    static char        buf[1 << 20];
    static struct seen sends[SENDS];
    int                fds[2], count = 0;
    uint64_t           sent = 0, received = 0;
    tcp_pair(fds);
    cr_assert_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    for (ssize_t n; (n = write(fds[0], buf, sizeof buf)) > 0;)
        sent += (uint64_t)n;
    cr_assert_eq(fcntl(fds[0], F_SETFL, 0), 0);
    struct iovec data[2] = { { buf, sizeof buf }, { &fds[0], sizeof fds[0] } };
    for (bool cancelled = false; !cancelled; count++) {
        cr_assert_lt(count, SENDS);
        struct seen *send = &sends[count];
        start(send, unr_sqe(&send->op, "send_zc", UNR_CANCEL_ALL, fill_zero_copy, data));
        submit();
        expect_not_run(send);
        unr_cancel(&send->op, UNR_CANCEL_TOTAL);
        while (awaits_more_than_notification(send))
            cr_assert_geq(unr_loop_run_once(loop, UNR_NEVER), 0);
        cancelled = send->runs == 1;
    }
    expect_cancelled(&sends[count - 1], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    while (unr_loop_in_flight(loop) > 0) {
        received += drain(fds[1]);
        cr_assert_geq(unr_loop_run_once(loop, 0), 0);
    }
    for (int i = 0; i < count - 1; i++) {
        cr_assert_eq(sends[i].result.error, 0);
        sent += (uint64_t)sends[i].result.value;
    }
    shutdown(fds[0], SHUT_WR);
    for (ssize_t n; (n = read(fds[1], buf, sizeof buf)) > 0;)
        received += (uint64_t)n;
    cr_assert_eq(received, sent);
    close_pair(fds);
    close_loop();
}

/* However often it is asked, an operation has one cancel under way, and the first cause stays. */
Test(op, join_merges_further_requests)
{
    int              fds[2];
    char             buf[4];
    struct unr_stats stats;
    struct seen      recv = { 0 };
    unix_pair(fds);
    start(&recv, unr_recv(&recv.op, fds[0], buf, sizeof buf, 0));
    submit();
    unr_cancel_cause(&recv.op, UNR_CANCEL_TERMINAL, -1);
    for (int i = 2; i < 100; i++)
        cr_assert(unr_cancel_cause(&recv.op, UNR_CANCEL_ALL, -i));
    run();
    expect_cancelled(&recv, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -1);
    cr_assert_eq(recv.result.requested, UNR_CANCEL_ALL);
    unr_loop_stats(loop, &stats, sizeof stats);
    cr_assert_eq(stats.cancels_asked, 99);
    cr_assert_eq(stats.cancels_won, 1);
    close_pair(fds);
    close_loop();
}

/* ---- rule 8: queues ---- */

/* More operations and cancels than the SQ has entries, and more completions than the CQ: all are
 * handed back. */
Test(op, queues_lose_nothing_when_they_are_full)
{
    enum { COUNT = 1000 };
    static struct seen reads[COUNT];
    static uint64_t    words[COUNT];
    struct unr_stats   stats;
    int                fd = eventfd(0, EFD_CLOEXEC);
    unr_loop_close(loop);
    loop = open_loop_with(4, 8);
    for (int i = 0; i < COUNT; i++)
        start(&reads[i], unr_read(&reads[i].op, fd, &words[i], 8, -1));
    submit();
    for (int i = 0; i < COUNT; i++)
        cr_assert(unr_cancel(&reads[i].op, UNR_CANCEL_TOTAL));
    run();
    for (int i = 0; i < COUNT; i++)
        expect_cancelled(&reads[i], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    unr_loop_stats(loop, &stats, sizeof stats);
    cr_assert_eq(stats.cancels_won, COUNT);
    cr_assert_gt(stats.sq_full, 0);
    close(fd);
    close_loop();
}

/* What the kernel keeps because the CQ is full is fetched by turns that do not wait, too: more
 * polls end by one write than the CQ holds. */
Test(op, queues_fetch_what_the_cq_had_no_room_for)
{
    enum { COUNT = 100 };
    static struct seen polls[COUNT];
    uint64_t           one = 1;
    struct unr_stats   stats;
    int                fd = eventfd(0, EFD_CLOEXEC), ended = 0;
    unr_loop_close(loop);
    loop = open_loop_with(4, 8);
    for (int i = 0; i < COUNT; i++)
        start(&polls[i], unr_poll(&polls[i].op, fd, POLLIN));
    submit();
    cr_assert_eq(write(fd, &one, sizeof one), sizeof one);
    for (int turn = 0; turn < COUNT && ended < COUNT; turn++)
        ended += unr_loop_run_once(loop, 0);
    cr_assert_eq(ended, COUNT);
    unr_loop_stats(loop, &stats, sizeof stats);
    if (getenv("UNRING_TEST_PLAIN"))
        cr_assert_gt(stats.cq_overflows, 0);
    close(fd);
    close_loop();
}

/* ---- rule 9: re-entrancy ---- */

static void cancel_all_and_restart(struct seen *seen)
{
    struct seen *all = seen->context;
    for (int i = 0; i < 3; i++)
        unr_cancel(&all[i].op, UNR_CANCEL_ALL);
    if (seen->runs < 3)
        start(seen, unr_nop(&seen->op));
}

/* Cancelling, starting and restarting inside any `done`, the operation's own among them. */
Test(op, reentrant_cancels_and_starts_inside_done)
{
    struct seen ops[3];
    for (int i = 0; i < 3; i++) {
        ops[i] = (struct seen){ .then = cancel_all_and_restart, .context = ops };
        start(&ops[i], unr_nop(&ops[i].op));
    }
    run();
    for (int i = 0; i < 3; i++)
        cr_assert_eq(ops[i].runs, 3);
    close_loop();
}

/* ---- rule 11: ownership ---- */

/* A connection whose accept was asked to cancel is either taken, and then in the result, or left
 * for the next accept. */
Test(op, ownership_a_connection_is_never_lost)
{
    struct sockaddr_in address;
    int                listener = tcp_listener(&address, 16);
    for (int round = 0; round < 100; round++) {
        struct seen accept = { 0 };
        int         client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        start(&accept, unr_accept(&accept.op, listener, NULL, NULL, SOCK_CLOEXEC));
        submit();
        if (round % 2)
            cr_assert_eq(connect(client, (struct sockaddr *)&address, sizeof address), 0);
        unr_cancel(&accept.op, UNR_CANCEL_TOTAL);
        if (!(round % 2))
            cr_assert_eq(connect(client, (struct sockaddr *)&address, sizeof address), 0);
        finish(&accept);
        if (accept.result.error == -ECANCELED) {
            cr_assert_eq(accept.result.fd, -1);
            accept = (struct seen){ 0 };
            start(&accept, unr_accept(&accept.op, listener, NULL, NULL, SOCK_CLOEXEC));
            finish(&accept);
        }
        cr_assert_eq(accept.result.error, 0);
        cr_assert_geq(accept.result.fd, 0);
        close(accept.result.fd);
        close(client);
    }
    close(listener);
    close_loop();
}

/* ---- connect ---- */

/* Fills a listener's backlog, so that a further connect stays in SYN_SENT. */
static int stuffed_listener(struct sockaddr_in *ret_address, int fillers[3])
{
    int listener = tcp_listener(ret_address, 0);
    for (int i = 0; i < 3; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(fillers[i], (struct sockaddr *)ret_address, sizeof *ret_address);
    }
    return listener;
}

/* A connect that nobody answers is cancelled with TOTAL: its socket is as new and connects
 * elsewhere, at once. */
Test(op, connect_cancelled_leaves_a_socket_that_connects)
{
    struct sockaddr_in silent, answering;
    int                fillers[3];
    int                stuffed = stuffed_listener(&silent, fillers);
    int                listener = tcp_listener(&answering, 4);
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct seen        connect = { 0 };
    start(&connect, unr_connect(&connect.op, fd, (struct sockaddr *)&silent, sizeof silent));
    submit();
    expect_not_run(&connect);
    unr_cancel(&connect.op, UNR_CANCEL_TOTAL);
    finish(&connect);
    expect_cancelled(&connect, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    connect = (struct seen){ 0 };
    start(&connect, unr_connect(&connect.op, fd, (struct sockaddr *)&answering, sizeof answering));
    finish(&connect);
    cr_assert_eq(connect.result.error, 0);
    for (int i = 0; i < 3; i++)
        close(fillers[i]);
    close(fd);
    close(listener);
    close(stuffed);
    close_loop();
}

/* A connect whose number unr_close() has closed is not undone when it is cancelled: the number is
 * another connection's by then, which stays as it is. */
Test(op, connect_cancelled_on_a_closed_number)
{
    struct sockaddr_in silent;
    int                fillers[3], pair[2];
    int                stuffed = stuffed_listener(&silent, fillers);
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct seen        connect = { 0 }, closer = { 0 };
    start(&connect, unr_connect(&connect.op, fd, (struct sockaddr *)&silent, sizeof silent));
    submit();
    start(&closer, unr_close(&closer.op, fd));
    finish(&closer);
    tcp_pair(pair);
    cr_assert_eq(dup3(pair[0], fd, O_CLOEXEC), fd);
    unr_cancel(&connect.op, UNR_CANCEL_TOTAL);
    finish(&connect);
    expect_cancelled(&connect, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(write(fd, "x", 1), 1);
    for (int i = 0; i < 3; i++)
        close(fillers[i]);
    close(fd);
    close_pair(pair);
    close(stuffed);
    close_loop();
}

static void fill_nop_and_cancel(void *sqe, void *op)
{
    io_uring_prep_nop(sqe);
    unr_cancel(op, UNR_CANCEL_TOTAL);
}

/* A connect that won the race against its cancel stays connected: nothing undoes it.  It surely
 * wins where its SQE and its cancel's are submitted together. */
Test(op, connect_that_won_stays_connected)
{
    struct sockaddr_in address;
    int                listener = tcp_listener(&address, 16);
    for (int round = 0; round < 50; round++) {
        struct seen connect = { 0 };
        struct seen nop = { 0 };
        int         fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        start(&connect, unr_connect(&connect.op, fd, (struct sockaddr *)&address, sizeof address));
        if (round % 3 == 2) {
            start(&nop, unr_sqe(&nop.op, "nop", 0, fill_nop_and_cancel, &connect.op));
            finish(&connect);
        } else if (round % 3 == 1) {
            nop.then = cancel_the_other;
            nop.context = &connect;
            start(&nop, unr_nop(&nop.op));
            finish(&connect);
        } else {
            submit();
            unr_cancel(&connect.op, UNR_CANCEL_TOTAL);
            finish(&connect);
        }
        if (connect.result.error == 0)
            cr_assert_eq(write(fd, "x", 1), 1);
        else
            expect_cancelled(&connect, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED,
                             connect.result.cause);
        run();
        close(fd);
        int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (accepted >= 0)
            close(accepted);
    }
    close(listener);
    close_loop();
}

/* ---- descriptors ---- */

/* unr_cancel_fd() reaches what is in flight on one descriptor, queued or submitted, as either end
 * of a splice, and nothing else. */
Test(op, cancel_fd_reaches_all_on_the_descriptor_and_no_other)
{
    int         fds[2], pipes[2], others[2];
    char        buf[8], buf_of_other[8], buf_of_queued[8];
    struct seen recv = { 0 }, poll = { 0 }, splice = { 0 }, queued = { 0 }, other = { 0 };
    unix_pair(fds);
    unix_pair(others);
    cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
    start(&recv, unr_recv(&recv.op, fds[0], buf, sizeof buf, 0));
    start(&poll, unr_poll(&poll.op, fds[0], POLLIN));
    start(&splice, unr_splice(&splice.op, fds[0], -1, pipes[1], -1, 100, 0));
    start(&other, unr_recv(&other.op, others[0], buf_of_other, sizeof buf_of_other, 0));
    submit();
    start(&queued, unr_recv(&queued.op, fds[0], buf_of_queued, sizeof buf_of_queued, 0));
    cr_assert_eq(unr_cancel_fd(loop, fds[1], UNR_CANCEL_TOTAL), 0);
    cr_assert_eq(unr_cancel_fd(loop, fds[0], UNR_CANCEL_TOTAL), 4);
    while (recv.runs + poll.runs + splice.runs + queued.runs < 4)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    cr_assert_eq(other.runs, 0);
    cr_assert_eq(splice.result.error, -ECANCELED);
    expect_cancelled(&queued, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    cr_assert_eq(unr_cancel_fd(loop, others[0], UNR_CANCEL_TOTAL), 1);
    run();
    close_pair(fds);
    close_pair(others);
    close_pair(pipes);
    close_loop();
}

static void recv_again(struct seen *seen)
{
    cr_assert_neq(seen->result.error, 0);
    if (seen->runs == 1)
        expect_cancelled(seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    if (seen->runs == 2)
        cr_assert_eq(seen->result.verdict, UNR_VERDICT_UNSUBMITTED);
    if (seen->runs < 5)
        start(seen, unr_recv(&seen->op, *(int *)seen->context, seen + 1, 1, 0));
}

/* unr_cancel_close() ends all on the descriptor, an operation that is started over and over too,
 * then closes it: the peer sees the end. */
Test(op, cancel_close_ends_all_then_closes)
{
    int fds[2];
    unix_pair(fds);
    struct {
        struct seen seen;
        char        byte;
    } naive = { .seen = { .then = recv_again, .context = &fds[0] } };
    struct seen closes = { 0 }, twice = { 0 };
    start(&naive.seen, unr_recv(&naive.seen.op, fds[0], &naive.byte, 1, 0));
    submit();
    start(&closes, unr_cancel_close(&closes.op, fds[0]));
    cr_assert(unr_cancel(&closes.op, UNR_CANCEL_ALL));
    start(&twice, unr_cancel_close(&twice.op, fds[0]));
    run();
    cr_assert_eq(naive.seen.runs, 5);
    cr_assert_eq(naive.seen.result.error, -EBADF);
    cr_assert_eq(closes.result.error, 0);
    cr_assert_eq(closes.result.verdict, UNR_VERDICT_REFUSED);
    cr_assert_eq(twice.result.error, -EBADF);
    char byte;
    cr_assert_eq(read(fds[1], &byte, 1), 0);
    close(fds[1]);
    close_loop();
}

static void fill_recv_on(void *sqe, void *fd)
{
    static char byte;
    io_uring_prep_recv(sqe, *(int *)fd, &byte, 1, 0);
}

/* ... whatever it is: a splice from the descriptor, and an unr_sqe() that was started before the
 * closing or after it, whose descriptor is known only when it is submitted. */
Test(op, cancel_close_ends_splices_and_any_other_sqe)
{
    int         fds[2], pipes[2];
    char        byte;
    struct seen before = { 0 }, recv = { 0 }, closes = { 0 }, splice = { 0 }, after = { 0 };
    unix_pair(fds);
    cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
    start(&recv, unr_recv(&recv.op, fds[0], &byte, 1, 0));
    submit();
    start(&before, unr_sqe(&before.op, "recv", UNR_CANCEL_ALL, fill_recv_on, &fds[0]));
    start(&closes, unr_cancel_close(&closes.op, fds[0]));
    start(&splice, unr_splice(&splice.op, fds[0], -1, pipes[1], -1, 8, 0));
    start(&after, unr_sqe(&after.op, "recv", UNR_CANCEL_ALL, fill_recv_on, &fds[0]));
    run();
    cr_assert_eq(recv.result.cause, -ESHUTDOWN);
    cr_assert_eq(before.result.cause, -ESHUTDOWN);
    expect_cancelled(&splice, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    expect_cancelled(&after, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    cr_assert_eq(closes.result.error, 0);
    close(fds[1]);
    close_pair(pipes);
    close_loop();
}

/* ... and an unr_sqe() on it that is queued in front of the close. */
Test(op, cancel_close_waits_for_an_sqe_queued_before_it)
{
    int         fds[2];
    struct seen queued = { 0 }, closes = { 0 };
    unix_pair(fds);
    start(&queued, unr_sqe(&queued.op, "recv", UNR_CANCEL_ALL, fill_recv_on, &fds[0]));
    start(&closes, unr_cancel_close(&closes.op, fds[0]));
    run();
    cr_assert_eq(queued.result.error, -ECANCELED);
    cr_assert_eq(closes.result.error, 0);
    close(fds[1]);
    close_loop();
}

/* If that honours no request, it says that it was asked. */
Test(op, cancel_close_asks_an_sqe_queued_before_it)
{
    int         fds[2];
    struct seen queued = { 0 }, closes = { 0 };
    unix_pair(fds);
    start(&queued, unr_sqe(&queued.op, "recv", UNR_CANCEL_NONE, fill_recv_on, &fds[0]));
    start(&closes, unr_cancel_close(&closes.op, fds[0]));
    submit();
    cr_assert_eq(closes.runs, 0);
    cr_assert_eq(write(fds[1], "x", 1), 1);
    run();
    cr_assert_eq(queued.result.error, 0);
    cr_assert_eq(queued.result.verdict, UNR_VERDICT_REFUSED);
    cr_assert_eq(closes.result.error, 0);
    close(fds[1]);
    close_loop();
}

enum { AGAINS = 4 };

struct again {
    struct seen seen[AGAINS];
    struct seen closes;
    int         fds[2], pipes[2];
    char        bytes[AGAINS];
};

static void start_receiver_or_splice(struct seen *seen)
{
    struct again *again = seen->context;
    int           i = (int)(seen - again->seen);
    if (again->closes.runs)
        return;
    cr_assert_lt(seen->runs, 10000, "it does not close");
    start(seen, i % 2 ? unr_splice(&seen->op, again->fds[0], -1, again->pipes[1], -1, 8, 0)
                      : unr_recv(&seen->op, again->fds[0], &again->bytes[i], 1, 0));
}

/* It closes however many start themselves again meanwhile: each is refused, and one of them is
 * always waiting for its `done`. */
Test(op, cancel_close_closes_while_several_start_again)
{
    for (int n = 2; n <= AGAINS; n++) {
        struct again again = { 0 };
        unix_pair(again.fds);
        cr_assert_eq(pipe2(again.pipes, O_CLOEXEC), 0);
        for (int i = 0; i < n; i++) {
            again.seen[i] = (struct seen){ .then = start_receiver_or_splice, .context = &again };
            if (i % 2 == 0)
                start_receiver_or_splice(&again.seen[i]);
        }
        submit(); /* but the splices: a worker might not be interrupted before all those runs */
        for (int i = 1; i < n; i += 2)
            start_receiver_or_splice(&again.seen[i]);
        start(&again.closes, unr_cancel_close(&again.closes.op, again.fds[0]));
        run();
        cr_assert_eq(again.closes.result.error, 0);
        close(again.fds[1]);
        close_pair(again.pipes);
    }
    close_loop();
}

enum closer { CLOSE, CANCEL_CLOSE, CLOSE_SQE, CLOSERS };

static void fill_close(void *sqe, void *fd)
{
    io_uring_prep_close(sqe, *(int *)fd);
}

static void start_closer(struct seen *seen, enum closer how, int *fd)
{
    switch (how) {
    case CLOSE: unr_close(&seen->op, *fd); break;
    case CANCEL_CLOSE: unr_cancel_close(&seen->op, *fd); break;
    case CLOSE_SQE: unr_sqe(&seen->op, "close", UNR_CANCEL_NONE, fill_close, fd); break;
    case CLOSERS: break;
    }
    start(seen, &seen->op);
}

static void open_in_its_place(struct seen *seen)
{
    int *fd = seen->context;
    if (seen->result.error)
        return;
    cr_assert_eq(fcntl(*fd, F_GETFD), -1);
    int file = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (file != *fd) {
        cr_assert_eq(dup3(file, *fd, O_CLOEXEC), *fd);
        close(file);
    }
}

static void set_linger(int fd, int seconds)
{
    struct linger linger = { .l_onoff = 1, .l_linger = seconds };
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
}

/* Of two that are to close one number the second ends with -EBADF, in whichever order they are
 * started, and what was opened in between under that number stays open.  A socket that lingers is
 * no exception, though a worker closes it. */
Test(op, closed_twice_leaves_what_was_opened_in_between)
{
    const int pairs = CLOSERS * CLOSERS * 2;
    for (int i = 0; i < pairs * 2; i++) {
        int         fds[2];
        char        byte;
        struct seen first = { .then = open_in_its_place, .context = &fds[0] }, second = first;
        struct seen recv = { 0 };
        unix_pair(fds);
        if (i >= pairs)
            set_linger(fds[0], 1);
        if (i % 2) {
            start(&recv, unr_recv(&recv.op, fds[0], &byte, 1, 0));
            submit();
        }
        start_closer(&first, (enum closer)(i / 2 % CLOSERS), &fds[0]);
        start_closer(&second, (enum closer)(i / 2 / CLOSERS % CLOSERS), &fds[0]);
        finish(&first);
        finish(&second);
        cr_assert(first.result.error + second.result.error == -EBADF
                      && (first.result.error == 0 || second.result.error == 0),
                  "errors %d and %d of pair %d", first.result.error, second.result.error, i / 2);
        cr_assert_eq(write(fds[0], "x", 1), 1, "what was opened in between was closed");
        unr_cancel(&recv.op, UNR_CANCEL_ALL);
        run();
        close_pair(fds);
    }
    close_loop();
}

/* Fills what a TCP connection has room for on its way to a peer that does not read, so that a close
 * with SO_LINGER waits. */
static void linger_for_an_hour(int fd)
{
    static const char bytes[1 << 16];
    while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
    set_linger(fd, 3600);
}

/* A close that lingers does not keep the loop: its number is free in `done`, and the loop goes on,
 * also to its own end.  The peer still gets all, and the end behind it. */
Test(op, close_that_lingers_does_not_keep_the_loop)
{
    for (int i = 0; i < 4; i++) {
        int         fds[2], plain[2];
        char        byte;
        struct seen before = { 0 }, recv = { 0 }, closes = { 0 }, nop = { 0 };
        tcp_pair(fds);
        if (i % 2) { /* a plain socket has the number just before */
            unix_pair(plain);
            close(plain[1]);
            start(&before, unr_close(&before.op, plain[0]));
            finish(&before);
            cr_assert_eq(dup3(fds[0], plain[0], O_CLOEXEC), plain[0]);
            close(fds[0]);
            fds[0] = plain[0];
        }
        linger_for_an_hour(fds[0]);
        if (i / 2) {
            start(&recv, unr_recv(&recv.op, fds[0], &byte, 1, 0));
            submit();
            start(&closes, unr_cancel_close(&closes.op, fds[0]));
        } else {
            start(&closes, unr_close(&closes.op, fds[0]));
        }
        finish(&closes);
        cr_assert_eq(closes.result.error, 0);
        start(&nop, unr_nop(&nop.op));
        run();
        unr_loop_close(loop);
        loop = NULL;
        cr_assert(fcntl(fds[0], F_GETFD) == -1 && errno == EBADF);
        cr_assert_gt(drain(fds[1]), 0);
        close(fds[1]);
        open_loop();
    }
    close_loop();
}

/* A number that was seen to be a pipe's tells nothing of one far away, whose socket lingers: also
 * in a loop that has closed much, and does not look at each number any more. */
Test(op, close_that_lingers_on_a_number_far_away)
{
    enum { CLOSED_MANY = 300 };
    for (int apart = NUMBERS_APART; apart <= NUMBERS_APART_MAX; apart *= 2) {
        int         fds[2], ends[2];
        struct seen plain = { 0 }, lingers = { 0 };
        cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
        for (int i = 0; i < CLOSED_MANY; i++) {
            struct seen seen = { 0 };
            start(&seen, unr_close(&seen.op, fcntl(ends[1], F_DUPFD_CLOEXEC, 0)));
            finish(&seen);
        }
        tcp_pair(fds);
        linger_for_an_hour(fds[0]);
        int far = dup_far(fds[0], ends[0] + apart);
        close(fds[0]);
        start(&plain, unr_close(&plain.op, ends[0]));
        start(&lingers, unr_close(&lingers.op, far));
        run(); /* would not come to an end */
        cr_assert(plain.result.error == 0 && lingers.result.error == 0);
        cr_assert_gt(drain(fds[1]), 0);
        close(fds[1]);
        close(ends[1]);
        unr_loop_close(loop); /* one that has seen a socket linger looks at each again */
        loop = open_loop_with(0, 0);
    }
    close_loop();
}

/* Whether this process has a worker of io_uring. */
static bool has_worker(void)
{
    bool           has = false;
    DIR           *tasks = opendir("/proc/self/task");
    struct dirent *task;
    while ((task = readdir(tasks)) != NULL) {
        char path[64], name[16] = "";
        snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", task->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        has |= read(fd, name, sizeof name - 1) > 0 && strncmp(name, "iou-wrk", 7) == 0;
        close(fd);
    }
    closedir(tasks);
    return has;
}

/* A worker closes a file that no name refers to any more, for freeing its blocks takes time.  The
 * loop's thread closes what is closed in no time, sockets and pipes, and files that have a name,
 * however large: a worker would drop the locks that were taken after `done`. */
Test(op, close_of_a_nameless_file_is_left_to_a_worker)
{
    char        path[] = "/tmp/unring-XXXXXX";
    int         fds[6], named;
    struct seen last = { 0 };
    unix_pair(fds);
    set_linger(fds[1], 0);
    cr_assert_eq(pipe2(fds + 2, O_CLOEXEC), 0);
    fds[4] = eventfd(0, EFD_CLOEXEC);
    fds[5] = named = mkostemp(path, O_CLOEXEC);
    cr_assert(fds[4] >= 0 && fds[5] >= 0);
    cr_assert_eq(posix_fallocate(named, 0, 32 << 20), 0);
    for (int i = 0; i < 6; i++) {
        struct seen closes = { 0 };
        start(&closes, unr_close(&closes.op, fds[i]));
        finish(&closes);
        cr_assert_eq(closes.result.error, 0);
        unr_loop_close(loop); /* which waits for what workers close */
        cr_assert_not(has_worker(), "descriptor %d of 6", i);
        loop = open_loop_with(0, 0);
    }
    named = open(path, O_RDWR | O_CLOEXEC);
    unlink(path);
    start(&last, unr_close(&last.op, named));
    finish(&last);
    cr_assert_eq(last.result.error, 0);
    while (!has_worker()) /* one that has nothing to do any more stays for seconds */
        submit();
    close_loop();
}

static void fill_close_direct(void *sqe, void *slot)
{
    io_uring_prep_close_direct(sqe, *(unsigned *)slot);
}

/* A registered file has a slot of the ring and no number, so its close is none of descriptor 0. */
Test(op, closed_twice_does_not_concern_registered_files)
{
    unsigned    slots[2] = { 0, 1 };
    struct seen closes[2] = { 0 };
    for (int i = 0; i < 2; i++)
        start(&closes[i],
              unr_sqe(&closes[i].op, "close", UNR_CANCEL_NONE, fill_close_direct, &slots[i]));
    run();
    for (int i = 0; i < 2; i++) /* of the kernel: there are no such slots */
        cr_assert_eq(closes[i].result.error, -ENXIO, "error %d", closes[i].result.error);
    close_loop();
}

/* What a latched signal ends at start is in flight until its `done`: unr_cancel_fd() reaches it,
 * and does not count it, as it has completed. */
Test(op, cancel_fd_reaches_what_ended_at_start)
{
    int               fds[2];
    char              byte;
    struct unr_signal stop = { 0 };
    struct seen       recv = { 0 };
    unix_pair(fds);
    unr_signal_init_latched(&stop);
    unr_signal_emit(&stop, UNR_CANCEL_TOTAL);
    start(&recv, unr_bind_slot(unr_recv(&recv.op, fds[0], &byte, 1, 0), unr_signal_slot(&stop)));
    cr_assert_eq(unr_cancel_fd(loop, fds[0], UNR_CANCEL_TERMINAL), 0);
    run();
    cr_assert_eq(recv.result.requested, UNR_CANCEL_TOTAL | UNR_CANCEL_TERMINAL);
    close_pair(fds);
    close_loop();
}

/* ---- arguments ---- */

/* What no kernel could take arrives as an error in the result. */
Test(op, wrong_arguments_arrive_in_the_result)
{
    char        byte;
    struct seen long_recv = { 0 }, offset = { 0 }, descriptor = { 0 };
    start(&long_recv, unr_recv(&long_recv.op, 0, &byte, (size_t)INT32_MAX + 1, 0));
    start(&offset, unr_read(&offset.op, 0, &byte, 1, -2));
    start(&descriptor, unr_recv(&descriptor.op, -1, &byte, 1, 0));
    run();
    cr_assert_eq(long_recv.result.error, -EINVAL);
    cr_assert_eq(offset.result.error, -EINVAL);
    cr_assert_eq(descriptor.result.error, -EBADF);
    close_loop();
}

static void fill_linked(void *entry, void *flags)
{
    io_uring_prep_nop(entry);
    ((struct io_uring_sqe *)entry)->flags = *(uint8_t *)flags;
}

/* An SQE whose flags would break the join is refused, and the ones behind it run. */
Test(op, sqe_with_flags_that_break_the_join_is_refused)
{
    static uint8_t flags[] = { IOSQE_CQE_SKIP_SUCCESS, IOSQE_IO_LINK, IOSQE_IO_HARDLINK,
                               IOSQE_IO_DRAIN, 0 };
    struct seen    ops[5];
    for (int i = 0; i < 5; i++) {
        ops[i] = (struct seen){ 0 };
        start(&ops[i], unr_sqe(&ops[i].op, "linked", UNR_CANCEL_ALL, fill_linked, &flags[i]));
    }
    run();
    for (int i = 0; i < 5; i++)
        cr_assert_eq(ops[i].result.error, flags[i] ? -EINVAL : 0);
    close_loop();
}

/* ---- a type of the caller's own ---- */

struct own {
    struct unr_op op;
    int           cancels;
    unsigned      last_types;
    bool          ends_when_asked;
};

static void own_start(struct unr_op *op)
{
    (void)op;
}

static void own_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct own *own = unr_container_of(op, struct own, op);
    own->cancels++;
    own->last_types = request.types;
    if (own->ends_when_asked)
        unr_finish(op, -ECANCELED);
}

static void own_done(struct unr_op *op)
{
    ++*(int *)op->data;
}

static void end_at_once(struct unr_op *op)
{
    unr_finish(op, 0);
}

static void never_asked(struct unr_op *op, struct unr_cancel_request request)
{
    (void)op, (void)request;
}

static const char *not_to_be_called(const struct unr_op *op)
{
    (void)op;
    abort();
}

/* The type of a program that was compiled against an older header is shorter: what lies behind its
 * size is not looked at, whatever it holds. */
Test(op, type_that_is_shorter_is_taken_for_what_it_has)
{
    struct unr_op_type older = { .size = offsetof(struct unr_op_type, name_of),
                                 .supports = UNR_CANCEL_ALL,
                                 .name = "older",
                                 .start = end_at_once,
                                 .cancel = never_asked };
    struct seen        seen = { 0 };
    older.name_of = not_to_be_called;
    memset(&older.private_fields, 0x5a, sizeof older.private_fields);
    start(&seen, unr_describe(&seen.op, &older));
    cr_assert_str_eq(unr_op_name(&seen.op), "older");
    run();
    cr_assert_eq(seen.runs, 1);
    cr_assert_eq(seen.result.error, 0);
    cr_assert(strstr(unr_explain_op(&seen.op), "older"));
    close_loop();
}

/* A caller's own type is asked once for each type, ends when it says so, and has its verdict
 * set. */
Test(op, own_type_is_asked_escalated_and_finished)
{
    static const struct unr_op_type type = { .size = sizeof type,
                                             .supports = UNR_CANCEL_ALL,
                                             .name = "own",
                                             .start = own_start,
                                             .cancel = own_cancel };
    struct own                      own = { 0 };
    int                             done = 0;
    unr_start(loop, unr_describe(&own.op, &type), own_done, &done);
    cr_assert_eq(unr_loop_of(&own.op), loop);
    cr_assert_eq(unr_loop_in_flight(loop), 1);
    unr_cancel_cause(&own.op, UNR_CANCEL_TOTAL, -1);
    unr_cancel_cause(&own.op, UNR_CANCEL_TOTAL, -2);
    cr_assert_eq(own.cancels, 1);
    unr_cancel_cause(&own.op, UNR_CANCEL_TOTAL | UNR_CANCEL_TERMINAL, -3);
    cr_assert_eq(own.cancels, 2);
    cr_assert_eq(own.last_types, UNR_CANCEL_TOTAL | UNR_CANCEL_TERMINAL);
    own.op.result.bytes = 7;
    unr_finish(&own.op, 0);
    run();
    cr_assert_eq(done, 1);
    cr_assert_eq(own.op.result.error, 0);
    cr_assert_eq(own.op.result.bytes, 7);
    cr_assert_eq(own.op.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(own.op.result.cause, -1);
    close_loop();
}

/* One that its type finishes with -ECANCELED unasked was cancelled by nobody: the cause of a
 * request that comes too late is not why. */
Test(op, own_type_that_cancels_itself_has_no_cause_of_a_late_request)
{
    static const struct unr_op_type type = { .size = sizeof type,
                                             .supports = UNR_CANCEL_ALL,
                                             .name = "own",
                                             .start = own_start,
                                             .cancel = own_cancel };
    struct own                      own = { 0 };
    int                             done = 0;
    unr_start(loop, unr_describe(&own.op, &type), own_done, &done);
    unr_finish(&own.op, -ECANCELED);
    unr_cancel_cause(&own.op, UNR_CANCEL_ALL, -ETIMEDOUT);
    run();
    cr_assert_eq(done, 1);
    cr_assert_eq(own.op.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(own.op.result.requested, UNR_CANCEL_ALL);
    cr_assert_eq(own.op.result.cause, -ECANCELED);
    cr_assert_not(unr_timed_out(&own.op.result));
    close_loop();
}

/* Finishing inside its own cancel. */
Test(op, own_type_finishes_inside_cancel)
{
    static const struct unr_op_type type = { .size = sizeof type,
                                             .supports = UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL,
                                             .name = "own",
                                             .start = own_start,
                                             .cancel = own_cancel };
    struct own                      own = { .ends_when_asked = true };
    int                             done = 0;
    unr_start(loop, unr_describe(&own.op, &type), own_done, &done);
    unr_cancel_cause(&own.op, UNR_CANCEL_TOTAL, -1);
    cr_assert_eq(own.cancels, 0);
    unr_cancel_cause(&own.op, UNR_CANCEL_ALL, -2);
    cr_assert_eq(done, 0);
    run();
    cr_assert_eq(done, 1);
    cr_assert_eq(own.op.result.error, -ECANCELED);
    cr_assert_eq(own.op.result.guarantee, UNR_CANCEL_PARTIAL);
    cr_assert_eq(own.op.result.verdict, UNR_VERDICT_CANCELLED);
    cr_assert_eq(own.op.result.cause, -2);
    close_loop();
}
