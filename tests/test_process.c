/* SPDX-License-Identifier: MIT */
/* Waiting for signals, and for children in both ways: with waitid in the ring, and without it as
 * before Linux 6.7. */
#define SUPPORT_KERNEL
#include "support.h"
#include "../uring/newer.h"

#include <sys/signalfd.h>

TestSuite(sigwait, .init = open_loop, .timeout = 20);

/* ---- signals ---- */

struct wait {
    struct unr_sigwait wait;
    int                runs;
    struct unr_result  result;
};

static void signal_came(struct unr_op *op)
{
    struct wait *wait = unr_container_of(op, struct wait, wait.op);
    wait->runs++;
    wait->result = op->result;
}

static void block(const int *signals, unsigned n)
{
    sigset_t set;
    sigemptyset(&set);
    for (unsigned i = 0; i < n; i++)
        sigaddset(&set, signals[i]);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static bool pending(int signal_number)
{
    sigset_t set;
    sigpending(&set);
    return sigismember(&set, signal_number);
}

static void start_wait(struct wait *wait, const int *signals, unsigned n)
{
    *wait = (struct wait){ 0 };
    unr_start(loop, unr_sigwait(&wait->wait, signals, n), signal_came, NULL);
}

static void finish_wait(struct wait *wait)
{
    while (!wait->runs)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    cr_assert_eq(wait->runs, 1);
}

static void expect_signal(struct wait *wait, int signal_number)
{
    finish_wait(wait);
    cr_assert_eq(wait->result.error, 0, "error %d", wait->result.error);
    cr_assert_eq(wait->result.value, signal_number);
    cr_assert_not(pending(signal_number));
}

/* The value is the number of the signal that came, whichever of those waited for it is, and it is
 * taken. */
Test(sigwait, value_is_the_signal)
{
    const int all[] = { SIGHUP,  SIGINT,  SIGUSR1,  SIGUSR2, SIGALRM,
                        SIGTERM, SIGCHLD, SIGRTMIN, SIGRTMAX };
    block(all, LENGTH(all));
    for (unsigned i = 0; i < LENGTH(all); i++) {
        struct wait wait;
        start_wait(&wait, all, LENGTH(all));
        submit();
        submit();
        cr_assert_eq(wait.runs, 0);
        kill(getpid(), all[i]);
        expect_signal(&wait, all[i]);
    }
    close_loop();
}

/* One that is pending already ends it at once; of two each ends one wait, and the next one
 * waits. */
Test(sigwait, two_that_are_pending)
{
    const int   both[] = { SIGUSR1, SIGUSR2 };
    struct wait first, second, third;
    block(both, 2);
    kill(getpid(), SIGUSR2);
    kill(getpid(), SIGUSR1);
    start_wait(&first, both, 2);
    finish_wait(&first);
    start_wait(&second, both, 2);
    finish_wait(&second);
    cr_assert_eq(first.result.value + second.result.value, SIGUSR1 + SIGUSR2);
    cr_assert_neq(first.result.value, second.result.value);
    start_wait(&third, both, 2);
    submit();
    unr_cancel(&third.wait.op, UNR_CANCEL_TOTAL);
    finish_wait(&third);
    cr_assert_eq(third.result.error, -ECANCELED);
    close_loop();
}

/* Of two waits for the same signal one gets it; the other goes on, and neither blocks the loop. */
Test(sigwait, two_waits_and_one_signal)
{
    const int   usr[] = { SIGUSR1 };
    struct wait waits[2];
    block(usr, 1);
    for (int i = 0; i < 2; i++)
        start_wait(&waits[i], usr, 1);
    submit();
    kill(getpid(), SIGUSR1);
    while (waits[0].runs + waits[1].runs == 0)
        unr_loop_run_once(loop, UNR_SEC(10));
    for (int i = 0; i < 5; i++)
        submit();
    cr_assert_eq(waits[0].runs + waits[1].runs, 1);
    kill(getpid(), SIGUSR1);
    run();
    cr_assert(waits[0].result.value == SIGUSR1 && waits[1].result.value == SIGUSR1);
    close_loop();
}

/* A kernel that reports what a non-blocking descriptor does not have yet, as those before
 * FMODE_NOWAIT for signalfd did. */
static int enter_not_waiting(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
                             void *argument, size_t size)
{
    struct io_uring_sq *sq = &latest_ring->sq;
    for (unsigned i = *sq->khead; to_submit && i != *sq->ktail; i++) {
        struct io_uring_sqe *sqe = &sq->sqes[i & sq->ring_mask];
        if (sqe->opcode == IORING_OP_READ && sqe->len == sizeof(struct signalfd_siginfo))
            sqe->rw_flags = RWF_NOWAIT;
    }
    return kernel_enter(fd, to_submit, min_complete, flags, argument, size);
}

/* There it polls, and reads again. */
Test(sigwait, on_a_kernel_that_says_again)
{
    const int   usr[] = { SIGUSR1 };
    struct wait waits[2];
    block(usr, 1);
    sigset_t none;
    sigemptyset(&none);
    int empty = signalfd(-1, &none, SFD_CLOEXEC);
    if (takes_nowait(empty)) /* else this is such a kernel */
        hook_enter = enter_not_waiting;
    close(empty);
    for (int i = 0; i < 2; i++)
        start_wait(&waits[i], usr, 1);
    for (int i = 0; i < 5; i++)
        submit();
    for (int raised = 1; raised <= 2; raised++) {
        kill(getpid(), SIGUSR1);
        while (waits[0].runs + waits[1].runs < raised)
            cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
        for (int i = 0; i < 5; i++)
            submit();
        cr_assert_eq(waits[0].runs + waits[1].runs, raised);
    }
    cr_assert(waits[0].result.value == SIGUSR1 && waits[1].result.value == SIGUSR1);
    close_loop();
}

/* The array may go once it is described. */
Test(sigwait, signals_are_copied)
{
    int         usr[] = { SIGUSR1 };
    struct wait wait = { 0 };
    block(usr, 1);
    struct unr_op *op = unr_sigwait(&wait.wait, usr, 1);
    usr[0] = -1;
    unr_start(loop, op, signal_came, NULL);
    kill(getpid(), SIGUSR1);
    expect_signal(&wait, SIGUSR1);
    close_loop();
}

static void expect_invalid(const int *signals, unsigned n)
{
    struct wait wait;
    start_wait(&wait, signals, n);
    finish_wait(&wait);
    cr_assert_eq(wait.result.error, -EINVAL, "error %d", wait.result.error);
    const char *words = unr_explain_op(&wait.wait.op);
    bool        exist = strstr(words, "no signal is named") == NULL;
    cr_assert_not_null(strstr(words, exist ? "blocked in the thread" : "does not exist"), "%s",
                       words);
    cr_assert_eq(wait.result.value, 0);
}

/* No signals, what is none, what cannot be blocked and what is not. */
Test(sigwait, invalid_sets)
{
    const int blocked[] = { SIGUSR1, 1, 63,
                            64 }; /* with what numbers out of range could be mistaken for */
    block(blocked, LENGTH(blocked));
    expect_invalid(NULL, 0);
    expect_invalid((const int[]){ 0 }, 1);
    expect_invalid((const int[]){ -1 }, 1);
    expect_invalid((const int[]){ 65 }, 1);
    expect_invalid((const int[]){ SIGKILL }, 1);
    expect_invalid((const int[]){ SIGUSR1, SIGUSR2 }, 2);
    close_loop();
}

/* TOTAL: what comes after a cancellation stays pending, and the next wait takes it. */
Test(sigwait, cancelled_and_then_raised)
{
    const int   usr[] = { SIGUSR1 };
    struct wait wait, next;
    block(usr, 1);
    start_wait(&wait, usr, 1);
    submit();
    unr_cancel(&wait.wait.op, UNR_CANCEL_TOTAL);
    finish_wait(&wait);
    cr_assert_eq(wait.result.error, -ECANCELED);
    cr_assert_eq(wait.result.guarantee, UNR_CANCEL_TOTAL);
    cr_assert_eq(wait.result.verdict, UNR_VERDICT_CANCELLED);
    kill(getpid(), SIGUSR1);
    cr_assert(pending(SIGUSR1));
    start_wait(&next, usr, 1);
    expect_signal(&next, SIGUSR1);
    close_loop();
}

/* Asked before it began, it opens nothing and takes nothing. */
Test(sigwait, cancelled_before_the_start)
{
    const int         usr[] = { SIGUSR1 };
    struct unr_signal stop = { 0 };
    struct wait       wait = { 0 };
    block(usr, 1);
    kill(getpid(), SIGUSR1);
    unr_signal_init_latched(&stop);
    unr_signal_emit(&stop, UNR_CANCEL_TOTAL);
    unr_start(loop, unr_bind_slot(unr_sigwait(&wait.wait, usr, 1), unr_signal_slot(&stop)),
              signal_came, NULL);
    finish_wait(&wait);
    cr_assert_eq(wait.result.error, -ECANCELED);
    cr_assert_eq(wait.result.verdict, UNR_VERDICT_UNSUBMITTED);
    cr_assert(pending(SIGUSR1));
    close_loop();
}

struct turns {
    struct seen    nop;
    int            left;
    struct unr_op *target;
};

static void next_turn(struct seen *nop)
{
    struct turns *turns = unr_container_of(nop, struct turns, nop);
    if (turns->left-- > 0)
        start(nop, unr_nop(&nop->op));
    else
        unr_cancel(turns->target, UNR_CANCEL_ALL);
}

/* The operation is asked in its `turn`th turn, before what completes in that is handed back. */
static void cancel_in_turn(struct turns *turns, int turn, struct unr_op *target)
{
    *turns = (struct turns){ .nop = { .then = next_turn }, .left = turn, .target = target };
    start(&turns->nop, unr_nop(&turns->nop.op));
}

/* The signal comes, and a cancellation before it or in any turn around it: either the signal is
 * reported, or it is pending still.  Never both, and never neither. */
Test(sigwait, raced_in_every_turn)
{
    const int usr[] = { SIGUSR1 };
    int       won = 0, asked_too_late = 0;
    block(usr, 1);
    for (int turn = -1; turn < 8; turn++) {
        struct wait  wait;
        struct turns turns;
        cancel_in_turn(&turns, turn, &wait.wait.op);
        start_wait(&wait, usr, 1);
        if (turn < 0) {
            submit();
            unr_cancel(&wait.wait.op, UNR_CANCEL_ALL);
            submit();
        }
        kill(getpid(), SIGUSR1);
        finish_wait(&wait);
        run();
        bool reported = wait.result.error == 0;
        cr_assert(reported ? wait.result.value == SIGUSR1 : wait.result.error == -ECANCELED);
        cr_assert_eq(pending(SIGUSR1), !reported, "turn %d", turn);
        won += reported;
        asked_too_late += wait.result.verdict == UNR_VERDICT_TOO_LATE;
        if (!reported) {
            struct wait next;
            start_wait(&next, usr, 1);
            expect_signal(&next, SIGUSR1);
        }
    }
    cr_assert(won > 0 && won < 9, "won %d", won);
    cr_assert_gt(asked_too_late, 0);
    close_loop();
}

/* The loop's end ends it. */
Test(sigwait, loop_closed_meanwhile)
{
    const int   usr[] = { SIGUSR1 };
    struct wait wait;
    block(usr, 1);
    start_wait(&wait, usr, 1);
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(wait.runs, 1);
    cr_assert_eq(unr_outcome(&wait.result), -ESHUTDOWN);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* ---- children ---- */

static int register_without_waitid(unsigned fd, unsigned opcode, const void *argument,
                                   unsigned count)
{
    int error = kernel_register(fd, opcode, argument, count);
    if (opcode == IORING_REGISTER_PROBE && error >= 0)
        ((struct io_uring_probe *)argument)->ops[UNRI_OP_WAITID].flags = 0;
    return error;
}

static void open_loop_of_an_older_kernel(void)
{
    hook_register = register_without_waitid;
    open_loop();
}

TestSuite(child, .timeout = 20);

struct child {
    struct unr_process child;
    int                runs;
    struct unr_result  result;
};

static void child_ended(struct unr_op *op)
{
    struct child *child = unr_container_of(op, struct child, child.op);
    child->runs++;
    child->result = op->result;
}

/* A child that exits with `code`, or where that is negative waits to be killed. */
static pid_t make_child(int code)
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(CHILD_SECONDS);
        setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
        signal(SIGABRT, SIG_DFL);
        while (code < 0)
            pause();
        _exit(code);
    }
    return pid;
}

static void start_process_wait(struct child *child, pid_t pid)
{
    *child = (struct child){ 0 };
    unr_start(loop, unr_process_wait(&child->child, pid), child_ended, NULL);
}

static void finish_process_wait(struct child *child)
{
    while (!child->runs)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    cr_assert_eq(child->runs, 1);
}

static bool is_zombie(pid_t pid)
{
    siginfo_t info = { 0 };
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

static bool is_child(pid_t pid)
{
    siginfo_t info = { 0 };
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void wait_zombie(pid_t pid)
{
    siginfo_t info;
    cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

/* Until it has ended.  A wait that is in flight may have reaped it by then: the work of a plain
 * ring is done as this thread enters the kernel for anything. */
static void wait_ended(pid_t pid)
{
    siginfo_t info;
    cr_assert(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0 || errno == ECHILD);
}

static int status_of(pid_t pid)
{
    struct child child;
    start_process_wait(&child, pid);
    finish_process_wait(&child);
    cr_assert_eq(child.result.error, 0, "error %d", child.result.error);
    cr_assert_not(is_child(pid), "it was not reaped");
    return (int)child.result.value;
}

/* Every test of this part runs in both ways. */
#define BOTH_WAYS(name)                                                                            \
    static void name(void);                                                                        \
    Test(child, name##_with_waitid, .init = open_loop)                                             \
    {                                                                                              \
        if (!has_feature(loop, "waitid"))                                                          \
            cr_skip("no IORING_OP_WAITID here: it needs Linux 6.7");                               \
        name();                                                                                    \
        close_loop();                                                                              \
    }                                                                                              \
    Test(child, name##_without_waitid, .init = open_loop_of_an_older_kernel)                       \
    {                                                                                              \
        cr_assert_not(has_feature(loop, "waitid"));                                                \
        name();                                                                                    \
        close_loop();                                                                              \
    }                                                                                              \
    static void name(void)

/* The value is what waitpid(2) would have said, and the child is reaped. */
BOTH_WAYS(exit_status)
{
    const int codes[] = { 0, 1, 42, 255 };
    for (unsigned i = 0; i < LENGTH(codes); i++) {
        int status = status_of(make_child(codes[i]));
        cr_assert(WIFEXITED(status));
        cr_assert_eq(WEXITSTATUS(status), codes[i]);
    }
}

BOTH_WAYS(killed)
{
    const int signals[] = { SIGKILL, SIGTERM, SIGABRT };
    for (unsigned i = 0; i < LENGTH(signals); i++) {
        struct child child;
        pid_t        pid = make_child(-1);
        start_process_wait(&child, pid);
        submit();
        submit();
        cr_assert_eq(child.runs, 0);
        kill(pid, signals[i]);
        finish_process_wait(&child);
        cr_assert_eq(child.result.error, 0);
        cr_assert(WIFSIGNALED((int)child.result.value));
        cr_assert_eq(WTERMSIG((int)child.result.value), signals[i]);
        cr_assert_not(is_child(pid));
    }
}

/* Of those that a signal kills this says that they have dumped core, as they would where cores are
 * written.  It stands in front of the C library's own. */
static bool cores_are_dumped;

int waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    int result = (int)syscall(__NR_waitid, type, id, info, options, NULL);
    if (result == 0 && cores_are_dumped && info->si_code == CLD_KILLED)
        info->si_code = CLD_DUMPED;
    return result;
}

/* Of a child that has dumped core, the status says so. */
Test(child, dumped_core_without_waitid, .init = open_loop_of_an_older_kernel)
{
    pid_t pid = make_child(-1);
    kill(pid, SIGABRT);
    cores_are_dumped = true;
    int status = status_of(pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && WCOREDUMP(status));
    close_loop();
}

/* A child that has ended already. */
BOTH_WAYS(ended_before_the_start)
{
    pid_t pid = make_child(7);
    wait_zombie(pid);
    cr_assert_eq(WEXITSTATUS(status_of(pid)), 7);
}

/* TOTAL: cancelled, it leaves the child a zombie, which a later wait reaps. */
BOTH_WAYS(cancelled_leaves_it_to_a_later_wait)
{
    struct child child;
    pid_t        pid = make_child(-1);
    start_process_wait(&child, pid);
    submit();
    submit();
    unr_cancel(&child.child.op, UNR_CANCEL_TOTAL);
    finish_process_wait(&child);
    cr_assert_eq(child.result.error, -ECANCELED);
    cr_assert_eq(child.result.guarantee, UNR_CANCEL_TOTAL);
    kill(pid, SIGKILL);
    wait_zombie(pid);
    cr_assert_eq(WTERMSIG(status_of(pid)), SIGKILL);
}

/* It ends, and a cancellation comes in any turn: either it is reported and reaped, or it is a
 * zombie still. */
BOTH_WAYS(raced_in_every_turn)
{
    int won = 0, lost = 0;
    for (int turn = -1; turn < 8; turn++) {
        struct child child;
        struct turns turns;
        pid_t        pid = make_child(-1);
        start_process_wait(&child, pid);
        submit();
        submit();
        if (turn < 0) {
            unr_cancel(&child.child.op, UNR_CANCEL_ALL);
            submit();
        }
        kill(pid, SIGKILL);
        wait_ended(pid);
        cancel_in_turn(&turns, turn, &child.child.op);
        finish_process_wait(&child);
        run();
        bool reported = child.result.error == 0;
        cr_assert(reported || child.result.error == -ECANCELED);
        cr_assert_eq(is_child(pid), !reported, "turn %d", turn);
        if (!reported) {
            cr_assert(is_zombie(pid));
            status_of(pid);
        }
        won += reported;
        lost += !reported;
    }
    cr_assert_gt(won, 0);
    cr_assert_gt(lost, 0);
}

/* No child of this process, a child that is reaped already, and numbers that are none. */
BOTH_WAYS(no_such_child)
{
    struct child child;
    pid_t        reaped = make_child(0);
    waitpid(reaped, NULL, 0);
    const struct {
        pid_t pid;
        int   error;
    } cases[] = {
        { 1, -ECHILD }, { getpid(), -ECHILD }, { reaped, -ECHILD }, { 0, -EINVAL }, { -1, -EINVAL }
    };
    for (unsigned i = 0; i < LENGTH(cases); i++) {
        start_process_wait(&child, cases[i].pid);
        finish_process_wait(&child);
        cr_assert_eq(child.result.error, cases[i].error, "case %u: error %d", i,
                     child.result.error);
    }
}

/* Where SIGCHLD is ignored the kernel reaps, and the status is lost. */
BOTH_WAYS(reaped_by_the_kernel)
{
    struct child child;
    signal(SIGCHLD, SIG_IGN);
    pid_t pid = make_child(-1);
    start_process_wait(&child, pid);
    submit();
    submit();
    kill(pid, SIGKILL);
    finish_process_wait(&child);
    cr_assert_eq(child.result.error, -ECHILD);
}
