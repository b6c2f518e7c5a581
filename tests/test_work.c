/* SPDX-License-Identifier: MIT */
/* Work on other threads: where it runs, what a request does to it before, while and after it runs,
 * and what becomes of it when its loop is closed or the process ends. */
#include "support.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>

TestSuite(work, .init = open_loop);
TestSuite(work_contract);

enum { RESULT = 7, CAUSE = -40 };

/* A piece of work that waits inside its function until it is let go. */
struct blocker {
    struct seen     seen;
    struct unr_work work;
    sem_t           begun, go, disposed;
    int             returns;
    bool            looks; /* for a request, until there is one */
    pthread_t       thread, disposer;
    bool            was_told, told_at_disposal;
    atomic_int      calls;
};

static void init_blocker(struct blocker *b)
{
    sem_init(&b->begun, 0, 0);
    sem_init(&b->go, 0, 0);
    sem_init(&b->disposed, 0, 0);
    b->returns = RESULT;
}

static void await(sem_t *semaphore)
{
    while (sem_wait(semaphore) < 0)
        cr_assert_eq(errno, EINTR);
}

static int blocks(void *argument)
{
    struct blocker *b = argument;
    b->calls++;
    b->thread = pthread_self();
    sem_post(&b->begun);
    if (b->looks)
        while (!unr_work_cancelled())
            sched_yield();
    else
        while (sem_wait(&b->go) < 0)
            ;
    b->was_told = unr_work_cancelled();
    return b->returns;
}

static void dispose(void *argument)
{
    struct blocker *b = argument;
    b->disposer = pthread_self();
    b->told_at_disposal = unr_work_cancelled();
    sem_post(&b->disposed);
}

static int count_disposals(struct blocker *b)
{
    int count;
    sem_getvalue(&b->disposed, &count);
    return count;
}

static bool was_disposed_of(struct blocker *b)
{
    return count_disposals(b) == 1 && pthread_equal(b->disposer, pthread_self());
}

static void start_blocker(struct blocker *b)
{
    init_blocker(b);
    start(&b->seen, unr_work(&b->work, blocks, b));
}

static void start_abandonable(struct blocker *b)
{
    init_blocker(b);
    start(&b->seen, unr_work_abandonable(&b->work, blocks, b, dispose));
}

static int returns_its_argument(void *argument)
{
    return (int)(intptr_t)argument;
}

static int of_number(struct unr_work *work, int number)
{
    struct seen seen = { .runs = 0 };
    start(&seen, unr_work(work, returns_its_argument, (void *)(intptr_t)number));
    finish(&seen);
    return seen.result.error ? seen.result.error : (int)seen.result.value;
}

/* ---- what it says ---- */

Test(work, runs_on_another_thread_and_says_what_it_returned)
{
    struct blocker b = { .calls = 0 };
    start_blocker(&b);
    await(&b.begun); /* while this thread is not even in its loop */
    sem_post(&b.go);
    finish(&b.seen);
    cr_assert_not(pthread_equal(b.thread, pthread_self()));
    cr_assert_eq(b.seen.result.error, 0);
    cr_assert_eq(b.seen.result.value, RESULT);
    cr_assert_eq(b.seen.result.verdict, UNR_VERDICT_NONE);
    close_loop();
}

Test(work, an_error_is_its_result)
{
    struct unr_work work = { 0 };
    cr_assert_eq(of_number(&work, -ENOENT), -ENOENT);
    cr_assert_eq(of_number(&work, 0), 0);
    cr_assert_eq(of_number(&work, 5), 5);
    close_loop();
}

static int blocked_signals(void *argument)
{
    return pthread_sigmask(SIG_SETMASK, NULL, argument);
}

Test(work, signals_are_left_to_the_programs_threads)
{
    struct unr_work work = { 0 };
    struct seen     seen = { .runs = 0 };
    sigset_t        theirs, own;
    start(&seen, unr_work(&work, blocked_signals, &theirs));
    finish(&seen);
    cr_assert(sigismember(&theirs, SIGTERM) && sigismember(&theirs, SIGCHLD));
    cr_assert_not(sigismember(&theirs, SIGSEGV), "a fault is the thread's own");
    pthread_sigmask(SIG_SETMASK, NULL, &own);
    cr_assert_not(sigismember(&own, SIGTERM), "the loop's thread has its mask back");
    close_loop();
}

static int in_a_fiber(void *argument)
{
    struct unr_work work = { 0 };
    (void)argument;
    return (int)unr_await_value(unr_work(&work, returns_its_argument, (void *)(intptr_t)RESULT));
}

Test(work, a_fiber_awaits_it)
{
    struct seen      seen = { .runs = 0 };
    struct unr_fiber fiber = { 0 };
    start(&seen, unr_fiber(&fiber, in_a_fiber, NULL));
    run();
    cr_assert_eq(seen.result.value, RESULT);
    close_loop();
}

/* ---- while it waits for a thread ---- */

Test(work, queued_work_is_cancelled_totally)
{
    struct blocker first = { .calls = 0 }, second = { .calls = 0 };
    unr_work_limit(1);
    start_blocker(&first);
    await(&first.begun);
    start_blocker(&second);
    cr_assert(unr_cancel_cause(&second.work.op, UNR_CANCEL_TOTAL, CAUSE));
    finish(&second.seen);
    expect_cancelled(&second.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, CAUSE);
    cr_assert_eq(first.seen.runs, 0, "and nothing was waited for");
    sem_post(&first.go);
    run();
    cr_assert_eq(first.seen.result.value, RESULT);
    struct unr_work work = { 0 };
    cr_assert_eq(of_number(&work, RESULT), RESULT, "the thread goes on with what comes");
    cr_assert_eq(second.calls, 0, "it never ran");
    close_loop();
}

enum { PIECES = 8 };
static atomic_int order[PIECES], ordered;

static int notes_its_number(void *argument)
{
    order[ordered++] = (int)(intptr_t)argument;
    return 0;
}

Test(work, pieces_begin_in_the_order_of_their_starts)
{
    struct blocker  first = { .calls = 0 };
    struct seen     seen[PIECES] = { { .runs = 0 } };
    struct unr_work works[PIECES] = { 0 };
    unr_work_limit(1);
    start_blocker(&first);
    await(&first.begun);
    for (int i = 0; i < PIECES; i++)
        start(&seen[i], unr_work(&works[i], notes_its_number, (void *)(intptr_t)i));
    unr_cancel(&works[0].op, UNR_CANCEL_TOTAL); /* first, last and one between */
    unr_cancel(&works[4].op, UNR_CANCEL_TOTAL);
    unr_cancel(&works[PIECES - 1].op, UNR_CANCEL_TOTAL);
    sem_post(&first.go);
    run();
    const int expected[] = { 1, 2, 3, 5, 6 };
    cr_assert_eq(ordered, 5);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(order[i], expected[i]);
    close_loop();
}

static pthread_barrier_t barrier;

static int meets_others(void *argument)
{
    (void)argument;
    pthread_barrier_wait(&barrier);
    return 0;
}

Test(work, as_many_run_at_once_as_the_limit_says)
{
    enum { THREADS = 6 };
    struct seen     seen[THREADS] = { { .runs = 0 } };
    struct unr_work works[THREADS] = { 0 };
    struct blocker  first = { .calls = 0 };
    unr_work_limit(1);
    start_blocker(&first);
    await(&first.begun);
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        start(&seen[i], unr_work(&works[i], meets_others, NULL));
    unr_work_limit(THREADS + 1); /* what waits begins now, beside the first */
    for (int i = 0; i < THREADS; i++)
        finish(&seen[i]);
    cr_assert_eq(first.seen.runs, 0);
    unr_work_limit(1);
    sem_post(&first.go);
    run();
    struct unr_work work = { 0 };
    cr_assert_eq(of_number(&work, RESULT), RESULT, "one thread is left");
    unr_work_limit(0);
    close_loop();
}

/* ---- while it runs ---- */

Test(work, running_work_runs_to_its_end)
{
    struct blocker b = { .calls = 0 };
    start_blocker(&b);
    await(&b.begun);
    cr_assert(unr_cancel_cause(&b.work.op, UNR_CANCEL_ALL, CAUSE));
    cr_assert_geq(unr_loop_run_once(loop, 0), 0);
    cr_assert_eq(b.seen.runs, 0);
    cr_assert_str_eq(unr_explain_op(&b.work.op),
                     "work is in flight: a cancellation found it executing, and it ends when that "
                     "is over");
    sem_post(&b.go);
    run();
    cr_assert(b.was_told);
    cr_assert_eq(b.seen.result.error, 0);
    cr_assert_eq(b.seen.result.value, RESULT);
    cr_assert_eq(b.seen.result.verdict, UNR_VERDICT_RUNNING);
    cr_assert_eq(b.seen.result.cause, CAUSE);
    close_loop();
}

Test(work, a_function_that_looks_is_cancelled)
{
    const int returns[] = { -ECANCELED, CAUSE };
    for (int i = 0; i < 2; i++) {
        struct blocker b = { .looks = true };
        start_blocker(&b);
        b.returns = returns[i];
        await(&b.begun);
        unr_cancel_cause(&b.work.op, UNR_CANCEL_ALL, CAUSE);
        run();
        expect_cancelled(&b.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, CAUSE);
        cr_assert(strstr(unr_explain_op(&b.work.op),
                         "work was cancelled with the guarantee terminal: its function had begun, "
                         "and has returned"));
    }
    close_loop();
}

/* It may know why it was told, and says that of the first request. */
Test(work, a_later_cause_does_not_take_the_place_of_the_first)
{
    struct blocker b = { .calls = 0 };
    start_blocker(&b);
    b.returns = CAUSE;
    await(&b.begun);
    unr_cancel_cause(&b.work.op, UNR_CANCEL_TERMINAL, CAUSE);
    unr_cancel_cause(&b.work.op, UNR_CANCEL_ALL, -ETIMEDOUT);
    sem_post(&b.go);
    run();
    expect_cancelled(&b.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, CAUSE);
    close_loop();
}

/* Its function may stop anywhere, which is no more than TERMINAL. */
Test(work, a_function_is_not_told_of_what_it_cannot_honour)
{
    struct blocker b = { .calls = 0 };
    start_blocker(&b);
    await(&b.begun);
    unr_cancel(&b.work.op, UNR_CANCEL_TOTAL);
    unr_cancel(&b.work.op, UNR_CANCEL_PARTIAL);
    sem_post(&b.go);
    run();
    cr_assert_not(b.was_told);
    cr_assert_eq(b.seen.result.verdict, UNR_VERDICT_RUNNING);
    cr_assert_eq(b.seen.result.value, RESULT);

    struct blocker then = { .looks = true };
    start_blocker(&then);
    then.returns = -ECANCELED;
    await(&then.begun);
    unr_cancel(&then.work.op, UNR_CANCEL_TOTAL);
    unr_cancel(&then.work.op, UNR_CANCEL_TERMINAL);
    run();
    expect_cancelled(&then.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    close_loop();
}

/* No request has ended it: neither one that it is not told of, nor one behind its return. */
Test(work, a_function_that_was_not_told_cancels_itself)
{
    struct blocker unasked = { .calls = 0 }, running = { .calls = 0 };
    start_blocker(&unasked);
    unasked.returns = -ECANCELED;
    sem_post(&unasked.go);
    run();
    expect_cancelled(&unasked.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_NONE, -ECANCELED);

    start_blocker(&running);
    running.returns = -ECANCELED;
    await(&running.begun);
    unr_cancel_cause(&running.work.op, UNR_CANCEL_TOTAL, -ETIMEDOUT);
    sem_post(&running.go);
    run();
    expect_cancelled(&running.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_RUNNING, -ECANCELED);
    cr_assert_not(unr_timed_out(&running.seen.result), "the time-out has ended nothing");
    close_loop();
}

Test(work, it_was_cancelled_by_the_request_that_it_was_told_of)
{
    struct blocker told = { .looks = true }, abandoned = { .calls = 0 };
    start_blocker(&told);
    told.returns = -ECANCELED;
    start_abandonable(&abandoned);
    await(&told.begun);
    await(&abandoned.begun);
    unr_cancel_cause(&told.work.op, UNR_CANCEL_TOTAL, CAUSE);
    unr_cancel_cause(&told.work.op, UNR_CANCEL_ALL, -ETIMEDOUT);
    unr_cancel_cause(&abandoned.work.op, UNR_CANCEL_TOTAL, CAUSE);
    unr_cancel_cause(&abandoned.work.op, UNR_CANCEL_ALL, -ETIMEDOUT);
    run();
    expect_cancelled(&told.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    expect_cancelled(&abandoned.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    sem_post(&abandoned.go);
    await(&abandoned.disposed);
    close_loop();
}

Test(work, a_deadline_says_that_it_timed_out)
{
    struct blocker      b = { .looks = true };
    struct unr_deadline deadline = { 0 };
    init_blocker(&b);
    b.returns = -ECANCELED;
    unr_work_limit(0);
    start(&b.seen, unr_cancel_after(&deadline, unr_work(&b.work, blocks, &b), UNR_SEC(1000)));
    await(&b.begun);
    unr_deadline_move(&deadline, unr_loop_now(loop));
    run();
    cr_assert(unr_timed_out(&b.seen.result));
    cr_assert_null(strstr(unr_explain_op(&deadline.op), "may only be closed"));
    close_loop();
}

/* There is one thread: once it has begun the second, the first is in the loop's inbox. */
Test(work, a_request_behind_the_return_is_too_late)
{
    struct unr_work work = { 0 };
    struct seen     seen = { .runs = 0 };
    struct blocker  second = { .calls = 0 };
    unr_work_limit(1);
    start(&seen, unr_work(&work, returns_its_argument, (void *)(intptr_t)RESULT));
    start_blocker(&second);
    await(&second.begun);
    unr_cancel_cause(&work.op, UNR_CANCEL_ALL, CAUSE);
    finish(&seen);
    cr_assert_eq(seen.result.value, RESULT);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(seen.result.cause, CAUSE);
    sem_post(&second.go);
    run();

    struct blocker third = { .calls = 0 }; /* the same, of a function that cancels itself */
    seen.runs = 0;
    start(&seen, unr_work(&work, returns_its_argument, (void *)(intptr_t)-ECANCELED));
    start_blocker(&third);
    await(&third.begun);
    unr_cancel_cause(&work.op, UNR_CANCEL_ALL, CAUSE);
    finish(&seen);
    expect_cancelled(&seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_TOO_LATE, -ECANCELED);
    sem_post(&third.go);
    run();
    close_loop();
}

/* ---- abandoned ---- */

Test(work, abandoned_work_ends_at_once)
{
    struct blocker b = { .calls = 0 };
    start_abandonable(&b);
    await(&b.begun);
    cr_assert(unr_cancel_cause(&b.work.op, UNR_CANCEL_TERMINAL, CAUSE));
    run();
    expect_cancelled(&b.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, CAUSE);
    cr_assert(strstr(unr_explain_op(&b.work.op), "its function had begun, and goes on by itself"));
    cr_assert_eq(count_disposals(&b), 0, "its function runs yet");
    close_loop();
    sem_post(&b.go);
    await(&b.disposed);
    cr_assert(pthread_equal(b.disposer, b.thread));
    cr_assert(b.was_told && b.told_at_disposal);
}

Test(work, abandonable_work_is_not_abandoned_for_a_stronger_promise)
{
    struct blocker b = { .calls = 0 };
    start_abandonable(&b);
    await(&b.begun);
    unr_cancel(&b.work.op, UNR_CANCEL_TOTAL);
    sem_post(&b.go);
    run();
    cr_assert_not(b.was_told);
    cr_assert_eq(b.seen.result.value, RESULT);
    cr_assert_eq(b.seen.result.verdict, UNR_VERDICT_RUNNING);
    close_loop();
}

static void is_disposed_of(struct seen *seen)
{
    struct blocker *b = seen->context;
    cr_assert(was_disposed_of(b), "right before its done");
    cr_assert_not(b->told_at_disposal);
}

/* Completed; cancelled while it waits; cancelled before it begins. */
Test(work, what_is_not_abandoned_is_disposed_of_by_its_loop)
{
    struct blocker    first = { .calls = 0 }, second = { .calls = 0 }, third = { .calls = 0 };
    struct unr_signal latched = { 0 };
    unr_work_limit(1);
    unr_signal_init_latched(&latched);
    unr_signal_emit_cause(&latched, UNR_CANCEL_ALL, CAUSE);
    first.seen.then = second.seen.then = third.seen.then = is_disposed_of;
    first.seen.context = &first;
    second.seen.context = &second;
    third.seen.context = &third;
    start_abandonable(&first);
    await(&first.begun);
    start_abandonable(&second);
    unr_cancel(&second.work.op, UNR_CANCEL_ALL);
    init_blocker(&third);
    start(&third.seen, unr_bind_slot(unr_work_abandonable(&third.work, blocks, &third, dispose),
                                     unr_signal_slot(&latched)));
    finish(&second.seen);
    finish(&third.seen);
    expect_cancelled(&second.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    expect_cancelled(&third.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, CAUSE);
    sem_post(&first.go);
    run();
    cr_assert_eq(first.seen.result.value, RESULT);
    cr_assert_eq(second.calls + third.calls, 0);
    close_loop();
}

/* Runs a loop once it was asked to return: work that completes, and work that never begins. */
static int runs_a_loop(void *argument)
{
    struct blocker   *inner = argument;
    struct unr_signal latched = { 0 };
    struct unr_loop  *of_its_own;
    unr_signal_init_latched(&latched);
    unr_signal_emit(&latched, UNR_CANCEL_ALL);
    sem_post(&inner[1].begun);
    while (!unr_work_cancelled())
        sched_yield();
    if (unr_loop_open(&of_its_own, NULL) < 0)
        return -1;
    unr_start(of_its_own, unr_work_abandonable(&inner[0].work, blocks, &inner[0], dispose), NULL,
              NULL);
    unr_start(of_its_own,
              unr_bind_slot(unr_work_abandonable(&inner[1].work, blocks, &inner[1], dispose),
                            unr_signal_slot(&latched)),
              NULL, NULL);
    unr_loop_run(of_its_own);
    unr_loop_close(of_its_own);
    return unr_work_cancelled() ? RESULT : 0;
}

Test(work, a_disposal_on_the_loop_of_a_function_that_was_asked_to_return_is_not_told)
{
    struct blocker  inner[2] = { { .told_at_disposal = true }, { .told_at_disposal = true } };
    struct seen     seen = { .runs = 0 };
    struct unr_work outer = { 0 };
    for (int i = 0; i < 2; i++)
        init_blocker(&inner[i]);
    sem_post(&inner[0].go);
    start(&seen, unr_work(&outer, runs_a_loop, inner));
    await(&inner[1].begun); /* which the outer function posts */
    unr_cancel(&outer.op, UNR_CANCEL_ALL);
    finish(&seen);
    cr_assert_eq(seen.result.value, RESULT, "the function is told before and after");
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(count_disposals(&inner[i]), 1);
        cr_assert_not(inner[i].told_at_disposal);
    }
    cr_assert_eq(inner[0].calls, 1);
    cr_assert_eq(inner[1].calls, 0);
    close_loop();
}

/* ---- the end of its loop ---- */

Test(work, a_loop_that_closes_waits_for_it)
{
    struct blocker b = { .looks = true };
    start_blocker(&b);
    await(&b.begun);
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(b.seen.runs, 1);
    cr_assert_eq(b.seen.result.verdict, UNR_VERDICT_RUNNING);
    cr_assert_eq(b.seen.result.cause, -ESHUTDOWN);
    cr_assert_eq(b.seen.result.value, RESULT);
}

Test(work, a_loop_that_closes_abandons_it)
{
    struct blocker b = { .calls = 0 };
    start_abandonable(&b);
    await(&b.begun);
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&b.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    sem_post(&b.go);
    await(&b.disposed);
}

/* The thread that has woken a loop is out of it before the loop goes.  The rings are small, as the
 * kernel gives the memory of each back later than it is closed. */
Test(work, a_loop_goes_as_soon_as_its_work_is_done)
{
    close_loop();
    for (int i = 0; i < 200; i++) {
        struct unr_work work = { 0 };
        open_descriptors = count_descriptors();
        loop = open_loop_with(4, 8);
        cr_assert_eq(of_number(&work, RESULT), RESULT);
        close_loop();
    }
}

enum { LOOPS = 4, EACH = 2000, AT_ONCE = 16 };

static atomic_long sum;

static int adds(void *argument)
{
    sum += (long)(intptr_t)argument;
    return 1;
}

static void *works(void *argument)
{
    struct unr_loop *own = NULL;
    struct unr_work  pieces[AT_ONCE] = { 0 };
    long             ended = 0;
    (void)argument;
    if (unr_loop_open(&own, NULL) < 0)
        return NULL;
    for (int i = 0; i < EACH; i++) {
        struct unr_work *work = &pieces[i % AT_ONCE];
        while (unr_in_flight(&work->op))
            unr_loop_run_once(own, UNR_NEVER);
        if (i >= AT_ONCE)
            ended += work->op.result.value;
        unr_start(own, unr_work(work, adds, (void *)(intptr_t)i), NULL, NULL);
        if (i % 5 == 0)
            unr_cancel(&work->op, UNR_CANCEL_TOTAL); /* which may be too late */
        if (i % 7 == 0)
            unr_loop_run_once(own, 0);
    }
    unr_loop_run(own);
    for (int i = 0; i < AT_ONCE; i++)
        ended += pieces[i].op.result.value;
    unr_loop_close(own);
    return (void *)(intptr_t)ended;
}

/* Each piece has run once, or says that it never did. */
Test(work, loops_in_threads_share_the_pool)
{
    pthread_t threads[LOOPS];
    void     *ended;
    long      all = 0;
    for (int i = 0; i < LOOPS; i++)
        pthread_create(&threads[i], NULL, works, NULL);
    for (int i = 0; i < LOOPS; i++) {
        pthread_join(threads[i], &ended);
        all += (intptr_t)ended;
    }
    cr_assert_gt(all, LOOPS * EACH / 2);
    cr_assert_leq(all, LOOPS * EACH);
    cr_assert_leq(sum, (long)LOOPS * EACH * (EACH - 1) / 2);
    cr_assert_gt(sum, 0);
    close_loop();
}

static void forks(void *context)
{
    (void)context;
    struct unr_work work = { 0 };
    open_loop_of_child();
    must(of_number(&work, RESULT) == RESULT);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        loop = NULL;
        open_loop_of_child();
        must(of_number(&work, RESULT + 1) == RESULT + 1);
        must(unr_loop_close(loop) == 0);
        _exit(0);
    }
    int status;
    must(waitpid(child, &status, 0) == child && status == 0);
    must(of_number(&work, RESULT) == RESULT);
    must(unr_loop_close(loop) == 0);
}

Test(work_contract, a_child_of_fork_has_threads_of_its_own)
{
    struct death death = in_child(forks, NULL);
    expect_success(&death);
}

/* ---- fork(2) inside of work ---- */

/* How a child that has returned from a function of its parent's ends. */
enum { SEEN_TO_GO_ON = 42, MEET = 3 };

static pthread_key_t at_the_end; /* of the thread that has returned */
static sem_t         has_ended;

static void tells_of_its_end(void *value)
{
    (void)value;
    sem_post(&has_ended);
}

/* In the child, when it has no other thread: as many threads as are wanted work for it. */
static void *works_afterwards(void *argument)
{
    struct unr_work works[MEET] = { 0 }, work = { 0 };
    struct seen     seen[MEET] = { { .runs = 0 } };
    while (sem_wait(&has_ended) < 0)
        ;
    unr_work_limit(MEET);
    open_loop_of_child();
    must(of_number(&work, RESULT) == RESULT);
    pthread_barrier_init(&barrier, NULL, MEET);
    for (int i = 0; i < MEET; i++)
        start(&seen[i], unr_work(&works[i], meets_others, NULL));
    must(unr_loop_run(loop) == 0);
    must(unr_loop_close(loop) == 0);
    _exit(SEEN_TO_GO_ON);
    return argument;
}

/* Returns in both processes: in the parent the child's number. */
static int forks_and_returns(void *argument)
{
    pthread_t       thread;
    struct unr_work work = { 0 };
    pid_t           child = fork();
    (void)argument;
    if (child)
        return child;
    alarm(CHILD_SECONDS);
    must(!unr_work_cancelled());
    open_loop_of_child();
    must(of_number(&work, RESULT) == RESULT); /* also in here */
    must(unr_loop_close(loop) == 0);
    sem_init(&has_ended, 0, 0);
    must(pthread_key_create(&at_the_end, tells_of_its_end) == 0);
    must(pthread_setspecific(at_the_end, &at_the_end) == 0);
    must(pthread_create(&thread, NULL, works_afterwards, NULL) == 0);
    return 0;
}

static void must_go_on(pid_t child)
{
    int status;
    must(child > 0);
    must(waitpid(child, &status, 0) == child);
    must(WIFEXITED(status) && WEXITSTATUS(status) == SEEN_TO_GO_ON);
}

static void forks_in_work(void *context)
{
    struct unr_work work = { 0 };
    struct seen     seen = { .runs = 0 };
    (void)context;
    open_loop_of_child();
    start(&seen, unr_work(&work, forks_and_returns, NULL));
    must(unr_loop_run(loop) == 0);
    must(seen.result.error == 0);
    must_go_on((pid_t)seen.result.value);
    must(of_number(&work, RESULT) == RESULT);
    must(unr_loop_close(loop) == 0);
}

/* The job and the counts of the threads are the parent's: in the child the thread ends, and work
 * that is started there finds threads. */
Test(work_contract, a_function_that_forks_returns_in_the_child)
{
    struct death death = in_child(forks_in_work, NULL);
    expect_success(&death);
}

static atomic_int disposers_child;

static void forks_at_disposal(void *argument)
{
    struct blocker *b = argument;
    int             child = forks_and_returns(NULL);
    if (child)
        disposers_child = child;
    if (child)
        sem_post(&b->disposed);
}

static void forks_in_disposal(void *context)
{
    struct blocker  b = { .looks = true };
    struct unr_work work = { 0 };
    (void)context;
    open_loop_of_child();
    init_blocker(&b);
    start(&b.seen, unr_work_abandonable(&b.work, blocks, &b, forks_at_disposal));
    while (sem_wait(&b.begun) < 0)
        ;
    must(unr_cancel(&b.work.op, UNR_CANCEL_ALL));
    must(unr_loop_run(loop) == 0);
    while (sem_wait(&b.disposed) < 0)
        ;
    must_go_on(disposers_child);
    must(of_number(&work, RESULT) == RESULT);
    must(unr_loop_close(loop) == 0);
}

Test(work_contract, a_disposal_that_forks_returns_in_the_child)
{
    struct death death = in_child(forks_in_disposal, NULL);
    expect_success(&death);
}

/* ---- fork(2) beside the first start ---- */

static atomic_int forker; /* the thread that forks while the first piece is started; 0: none */
static atomic_int forks_now;
static sem_t      is_starting;

/* The first start asks how many processors there are, and has taken the pool's lock by then. */
int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
    if (forker) {
        sem_post(&is_starting);
        while (!forks_now)
            sched_yield();
        until_asleep(forker);
        forker = 0;
    }
    memset(set, 0, size);
    return syscall(SYS_sched_getaffinity, pid, size, set) < 0 ? -1 : 0;
}

static void *forks_beside(void *argument)
{
    int status;
    forker = thread_id();
    while (sem_wait(&is_starting) < 0)
        ;
    forks_now = 1;
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        struct unr_work work = { 0 };
        alarm(CHILD_SECONDS);
        open_loop_of_child();
        must(of_number(&work, RESULT) == RESULT);
        child = fork();
        must(child >= 0);
        if (child == 0)
            _exit(0);
        must(waitpid(child, &status, 0) == child && status == 0);
        must(unr_loop_close(loop) == 0);
        _exit(0);
    }
    must(waitpid(child, &status, 0) == child && status == 0);
    return argument;
}

static void forks_beside_first_start(void *context)
{
    struct unr_work work = { 0 };
    pthread_t       thread;
    (void)context;
    open_loop_of_child();
    sem_init(&is_starting, 0, 0);
    must(pthread_create(&thread, NULL, forks_beside, NULL) == 0);
    while (!forker)
        sched_yield();
    must(of_number(&work, RESULT) == RESULT);
    must(pthread_join(thread, NULL) == 0);
    must(of_number(&work, RESULT) == RESULT);
    must(unr_loop_close(loop) == 0);
}

Test(work_contract, a_child_of_a_fork_beside_the_first_start_has_threads)
{
#ifdef __SANITIZE_ADDRESS__
    cr_skip_test("the sanitizer's own locks stay held in a child that is forked beside threads");
#endif
    struct death death = in_child(forks_beside_first_start, NULL);
    expect_success(&death);
}

/* ---- the end of the process ---- */

static struct blocker endless;

static void exits(void *context)
{
    (void)context;
    open_loop_of_child();
    start_abandonable(&endless);
    while (sem_wait(&endless.begun) < 0)
        ;
    must(unr_cancel(&endless.work.op, UNR_CANCEL_ALL));
    must(unr_loop_run(loop) == 0);
    must(unr_loop_close(loop) == 0);
    end_process(); /* while it runs, and for ever */
}

Test(work_contract, exit_waits_for_nobody)
{
    struct death death = in_child(exits, NULL);
    expect_success(&death);
}

/* ---- there is no thread ---- */

/* The limit of threads is one of the user's, and root has none. */
static void lacks_threads(void *context)
{
    enum { NOBODY = 65534 };
    struct unr_work work = { 0 };
    struct blocker  b = { .calls = 0 };
    struct rlimit   before, none;
    (void)context;
    open_loop_of_child();
    must(getuid() != 0 || setuid(NOBODY) == 0);
    must(getrlimit(RLIMIT_NPROC, &before) == 0);
    none = (struct rlimit){ 0, before.rlim_max };
    must(setrlimit(RLIMIT_NPROC, &none) == 0);
    must(of_number(&work, RESULT) == -EAGAIN);
    must(strstr(unr_explain_op(&work.op), "RLIMIT_NPROC"));
    start_abandonable(&b);
    must(unr_loop_run(loop) == 0);
    must(b.seen.result.error == -EAGAIN && was_disposed_of(&b));
    must(setrlimit(RLIMIT_NPROC, &before) == 0);
    must(of_number(&work, RESULT) == RESULT);
    must(setrlimit(RLIMIT_NPROC, &none) == 0);
    must(of_number(&work, RESULT) == RESULT); /* one is there */
    must(unr_loop_close(loop) == 0);
}

Test(work_contract, without_a_thread_it_says_so)
{
    struct death death = in_child(lacks_threads, NULL);
    expect_success(&death);
}

/* ---- rules ---- */

#define FINISH_RULE "unr_finish is called once for each start"

static struct blocker broken;

/* It is ended by unring, when its function has returned: while that runs, ... */
BREACH_IN(work_contract, open_loop_of_child(), finished_while_it_runs, "work", FINISH_RULE)
{
    start_blocker(&broken);
    await(&broken.begun);
    unr_finish(&broken.work.op, 0);
}

/* ... and while it waits for a thread. */
BREACH_IN(work_contract, open_loop_of_child(), finished_while_it_waits, "work", FINISH_RULE)
{
    static struct unr_work work;
    unr_work_limit(1);
    start_blocker(&broken);
    await(&broken.begun);
    unr_start(loop, unr_work(&work, returns_its_argument, NULL), NULL, NULL);
    unr_finish(&work.op, 0);
}

BREACH_IN(work_contract, open_loop_of_child(), abandonable_finished, "work", FINISH_RULE)
{
    start_abandonable(&broken);
    await(&broken.begun);
    unr_finish(&broken.work.op, 0);
}

static int awaits(void *argument)
{
    (void)argument;
    return unr_yield();
}

BREACH_IN(work_contract, open_loop_of_child(), awaits_in_work, "outside of a fiber")
{
    struct unr_work work = { 0 };
    unr_start(loop, unr_work(&work, awaits, NULL), NULL, NULL);
    unr_loop_run(loop);
}
