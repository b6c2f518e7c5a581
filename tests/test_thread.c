/* SPDX-License-Identifier: MIT */
/* What other threads may do to a loop - post, emit, stop, hold, release - in each order relative to
 * the loop's sleep, and to which thread a loop belongs.  Silent under ThreadSanitizer. */
#define SUPPORT_KERNEL
#include "support.h"

#include <pthread.h>
#include <time.h>

TestSuite(thread, .init = open_loop, .timeout = 20);

static pthread_t start_thread(void *(*body)(void *), void *context)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, body, context), 0);
    return thread;
}

static void *join(pthread_t thread)
{
    void *result;
    cr_assert_eq(pthread_join(thread, &result), 0);
    return result;
}

/* ---- posting ---- */

enum { POSTERS = 4, TASKS = 2000 };

struct numbered {
    struct unr_task task;
    struct poster  *poster;
    int             number;
};

struct poster {
    struct numbered tasks[TASKS];
    int             next; /* number that is to run */
    int            *left; /* of all posters */
};

static void run_numbered(struct unr_task *task)
{
    struct numbered *numbered = unr_container_of(task, struct numbered, task);
    cr_assert_eq(numbered->number, numbered->poster->next++);
    if (--*numbered->poster->left == 0)
        unr_loop_release(loop);
}

static void *post_all(void *context)
{
    struct poster *poster = context;
    for (int i = 0; i < TASKS; i++) {
        poster->tasks[i] =
            (struct numbered){ .task.run = run_numbered, .poster = poster, .number = i };
        unr_loop_post(loop, &poster->tasks[i].task);
    }
    return NULL;
}

/* Tasks of several threads run once each, those of one thread in the order in which it posted
 * them. */
Test(thread, tasks_run_once_and_in_the_order_of_their_thread)
{
    static struct poster posters[POSTERS];
    pthread_t            threads[POSTERS];
    int                  left = POSTERS * TASKS;
    unr_loop_hold(loop);
    for (int i = 0; i < POSTERS; i++) {
        posters[i].left = &left;
        threads[i] = start_thread(post_all, &posters[i]);
    }
    run();
    for (int i = 0; i < POSTERS; i++) {
        join(threads[i]);
        cr_assert_eq(posters[i].next, TASKS);
    }
    cr_assert_eq(left, 0);
    close_loop();
}

struct again {
    struct unr_task task;
    int             runs, limit;
};

static void run_again(struct unr_task *task)
{
    struct again *again = unr_container_of(task, struct again, task);
    if (++again->runs < again->limit)
        unr_loop_post(loop, task);
}

/* A task may post itself again; that waits for the next turn, so other work is not starved. */
Test(thread, task_that_posts_itself_starves_nobody)
{
    struct again again = { .task.run = run_again, .limit = 1000000000 };
    struct seen  nop = { 0 };
    start(&nop, unr_nop(&nop.op));
    unr_loop_post(loop, &again.task);
    finish(&nop);
    cr_assert_leq(again.runs, 10);
    again.limit = 0;
    run();
    close_loop();
}

static void run_and_free(struct unr_task *task)
{
    unr_loop_release(loop);
    free(task);
}

/* A task may be freed inside its run. */
Test(thread, task_freed_while_it_runs)
{
    for (int i = 0; i < 100; i++) {
        struct unr_task *task = calloc(1, sizeof *task);
        task->run = run_and_free;
        unr_loop_hold(loop);
        unr_loop_post(loop, task);
    }
    run();
    close_loop();
}

/* Tasks that wait when the loop is closed run; so does one that such a task posts. */
Test(thread, close_runs_what_was_posted)
{
    struct again again = { .task.run = run_again, .limit = 3 };
    unr_loop_post(loop, &again.task);
    close_loop();
    cr_assert_eq(again.runs, 3);
}

/* ---- each act in each order relative to the loop's sleep ---- */

enum act { POST, EMIT, STOP, RELEASE, ACTS };

struct actor {
    enum act          act;
    struct unr_task   task; /* releases the loop */
    struct unr_signal signal;
    struct unr_remote remote;
    struct seen       receive; /* what the signal ends */
    char              byte;
    pid_t             sleeper; /* who is to be asleep; 0: nobody */
};

static void run_release(struct unr_task *task)
{
    (void)task;
    unr_loop_release(loop);
}

static void *act(void *context)
{
    struct actor *actor = context;
    if (actor->sleeper)
        until_asleep(actor->sleeper);
    switch (actor->act) {
    case POST: unr_loop_post(loop, &actor->task); break;
    case EMIT: unr_remote_emit(&actor->remote, UNR_CANCEL_TOTAL, -ETIMEDOUT); break;
    case STOP: unr_loop_stop(loop); break;
    default: unr_loop_release(loop); break;
    }
    return NULL;
}

/* Gives the loop what the act will take away: something that keeps it running. */
static void before(struct actor *actor, int fd)
{
    actor->task = (struct unr_task){ .run = run_release };
    if (actor->act != EMIT) {
        unr_loop_hold(loop);
        return;
    }
    actor->receive.runs = 0;
    start(&actor->receive, unr_bind_slot(unr_recv(&actor->receive.op, fd, &actor->byte, 1, 0),
                                         unr_signal_slot(&actor->signal)));
}

static void after(struct actor *actor)
{
    if (actor->act == STOP)
        unr_loop_release(loop);
    if (actor->act == EMIT) {
        cr_assert_eq(actor->receive.runs, 1);
        cr_assert_eq(unr_outcome(&actor->receive.result), -ETIMEDOUT);
    }
}

#define EACH_ACT(name)                                                                             \
    static void name(struct actor *actor, int fd);                                                 \
    ParameterizedTestParameters(thread, name)                                                      \
    {                                                                                              \
        static enum act acts[] = { POST, EMIT, STOP, RELEASE };                                    \
        return cr_make_param_array(enum act, acts, ACTS);                                          \
    }                                                                                              \
    ParameterizedTest(enum act *which, thread, name)                                               \
    {                                                                                              \
        struct actor actor = { .act = *which };                                                    \
        int          fds[2];                                                                       \
        unix_pair(fds);                                                                            \
        unr_remote_init(&actor.remote, loop, &actor.signal);                                       \
        name(&actor, fds[0]);                                                                      \
        unr_remote_disarm(&actor.remote);                                                          \
        close_pair(fds);                                                                           \
        close_loop();                                                                              \
    }                                                                                              \
    static void name(struct actor *actor, int fd)

/* What was done before the run began is seen by it. */
EACH_ACT(act_before_the_loop_sleeps)
{
    for (int i = 0; i < 20; i++) {
        before(actor, fd);
        join(start_thread(act, actor));
        run();
        after(actor);
    }
}

/* What is done while the loop sleeps wakes it. */
EACH_ACT(act_while_the_loop_sleeps)
{
    actor->sleeper = thread_id();
    for (int i = 0; i < 20; i++) {
        before(actor, fd);
        pthread_t actors = start_thread(act, actor);
        run();
        join(actors);
        after(actor);
    }
}

/* Likewise for run_once. */
EACH_ACT(act_while_run_once_sleeps)
{
    actor->sleeper = thread_id();
    for (int i = 0; i < 20; i++) {
        before(actor, fd);
        pthread_t actors = start_thread(act, actor);
        cr_assert_geq(unr_loop_run_once(loop, UNR_NEVER), 0);
        join(actors);
        if (actor->act == EMIT || actor->act == POST)
            run();
        after(actor);
    }
}

static struct actor *inside;

static void act_inside(struct seen *seen)
{
    (void)seen;
    act(inside);
}

/* What is done from inside a `done` is seen before the loop sleeps again. */
EACH_ACT(act_inside_a_done)
{
    struct seen nop = { .then = act_inside };
    inside = actor;
    for (int i = 0; i < 20; i++) {
        before(actor, fd);
        start(&nop, unr_nop(&nop.op));
        run();
        after(actor);
    }
}

static int enter_acting(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
                        void *argument, size_t size)
{
    if (inside && min_complete) {
        struct actor *actor = inside;
        inside = NULL;
        act(actor);
    }
    return kernel_enter(fd, to_submit, min_complete, flags, argument, size);
}

/* What is done when the loop has made up its mind to sleep, and is about to enter the kernel, wakes
 * it. */
EACH_ACT(act_at_the_last_moment_before_the_sleep)
{
    hook_enter = enter_acting;
    for (int i = 0; i < 20; i++) {
        before(actor, fd);
        inside = actor;
        run();
        cr_assert_null(inside);
        after(actor);
    }
}

static struct actor *acts_at_the_clock;

int clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    if (acts_at_the_clock && clock == CLOCK_MONOTONIC) {
        struct actor *actor = acts_at_the_clock;
        acts_at_the_clock = NULL;
        act(actor);
    }
    return (int)syscall(SYS_clock_gettime, clock, ret_now);
}

/* What is done when the loop has seen that there is reason to wait, and reads the clock to know
 * until when, is not lost. */
EACH_ACT(act_while_the_loop_reads_the_clock)
{
    for (int i = 0; i < 20; i++) {
        before(actor, fd);
        acts_at_the_clock = actor;
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(1000)), 0);
        cr_assert_null(acts_at_the_clock);
        if (actor->act == EMIT || actor->act == POST)
            run();
        after(actor);
    }
}

enum { ROUNDS = 20000 };

struct race {
    struct actor *actor;
    atomic_int    round;
};

static void spin(int times)
{
    for (volatile int i = 0; i < times; i++)
        ;
}

static void *act_at_any_time(void *context)
{
    struct race *race = context;
    for (int i = 1; i <= ROUNDS; i++) {
        for (int spins = 0; atomic_load_explicit(&race->round, memory_order_acquire) < i; spins++)
            if (spins > 1000)
                sched_yield();
        spin(i % 31);
        act(race->actor);
    }
    return NULL;
}

/* Whenever it is done - before the run, at the edge of its sleep, in it - nothing is lost. */
EACH_ACT(act_at_any_time_relative_to_the_sleep)
{
    struct race race = { .actor = actor };
    pthread_t   racing = start_thread(act_at_any_time, &race);
    for (int i = 1; i <= ROUNDS; i++) {
        before(actor, fd);
        atomic_store_explicit(&race.round, i, memory_order_release);
        spin(i / 31 % 199); /* the two come to every distance from one another, as one thread takes
                               a while to hear of it */
        run();
        after(actor);
    }
    join(racing);
}

/* ---- stop, hold and release ---- */

/* One stop ends one run; the next goes on where that one left off. */
Test(thread, one_stop_ends_one_run)
{
    struct seen seen = { 0 };
    char        byte;
    int         fds[2];
    unix_pair(fds);
    start(&seen, unr_recv(&seen.op, fds[0], &byte, 1, 0));
    unr_loop_stop(loop);
    run();
    cr_assert_eq(seen.runs, 0);
    unr_loop_stop(loop);
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 0);
    cr_assert_eq(write(fds[1], "x", 1), 1);
    run();
    cr_assert_eq(seen.runs, 1);
    close_pair(fds);
    close_loop();
}

static void post_and_stop(struct seen *seen)
{
    struct again *again = seen->context;
    unr_loop_post(loop, &again->task);
    unr_loop_stop(loop);
}

/* Tasks that were posted before a stop run before the stopped run returns; one that posts itself
 * does not keep it. */
Test(thread, what_was_posted_before_a_stop_runs)
{
    struct again again = { .task.run = run_again, .limit = 1000000000 };
    struct seen  nop = { .then = post_and_stop, .context = &again };
    start(&nop, unr_nop(&nop.op));
    run();
    cr_assert_geq(again.runs, 1);
    again.limit = 0;
    run();
    cr_assert_eq(unr_loop_in_flight(loop), 0);
    close_loop();
}

/* A stop that nothing has taken yet does not keep the loop from being closed. */
Test(thread, stop_before_close)
{
    unr_loop_stop(loop);
    close_loop();
}

static void stop_once_more(struct seen *seen)
{
    (void)seen;
    unr_loop_stop(loop);
}

/* Nor does one that is made while it is being closed. */
Test(thread, stop_during_close)
{
    struct seen seen = { .then = stop_once_more };
    char        byte;
    int         fds[2];
    unix_pair(fds);
    start(&seen, unr_recv(&seen.op, fds[0], &byte, 1, 0));
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    close_pair(fds);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* Holds are counted: the loop runs on until the last one is released. */
Test(thread, holds_are_counted)
{
    struct unr_task first = { .run = run_release }, second = { .run = run_release };
    unr_loop_hold(loop);
    unr_loop_hold(loop);
    unr_loop_post(loop, &first);
    cr_assert_eq(unr_loop_run_once(loop, 0), 0);
    cr_assert_eq(unr_loop_run_once(loop, 0), 0);
    unr_loop_post(loop, &second);
    run();
    close_loop();
}

/* A hold does not delay closing. */
Test(thread, close_of_a_held_loop)
{
    unr_loop_hold(loop);
    close_loop();
}

/* ---- emitting from other threads ---- */

struct delivered {
    int                       count;
    struct unr_cancel_request last;
};

static bool deliver(void *context, struct unr_cancel_request request)
{
    struct delivered *delivered = context;
    delivered->count++;
    delivered->last = request;
    return true;
}

/* Emits that have not been delivered merge: the types are or-ed, the first cause stays; after
 * delivery a new one begins. */
Test(thread, emits_merge_until_they_are_delivered)
{
    struct delivered  delivered = { 0 };
    struct unr_signal signal = { 0 };
    struct unr_remote remote = { 0 };
    unr_slot_assign(unr_signal_slot(&signal), deliver, &delivered);
    unr_remote_init(&remote, loop, &signal);
    unr_remote_emit(&remote, UNR_CANCEL_TERMINAL, -EPIPE);
    unr_remote_emit(&remote, UNR_CANCEL_TOTAL, -ETIMEDOUT);
    cr_assert_eq(delivered.count, 0);
    run();
    cr_assert_eq(delivered.count, 1);
    cr_assert_eq(delivered.last.types, UNR_CANCEL_TERMINAL | UNR_CANCEL_TOTAL);
    cr_assert_eq(delivered.last.cause, -EPIPE);
    unr_remote_emit(&remote, UNR_CANCEL_PARTIAL, -ETIMEDOUT);
    run();
    cr_assert_eq(delivered.count, 2);
    cr_assert_eq(delivered.last.types, UNR_CANCEL_PARTIAL);
    cr_assert_eq(delivered.last.cause, -ETIMEDOUT);
    unr_remote_disarm(&remote);
    close_loop();
}

/* Causes are carried whole, down to the least int. */
Test(thread, emits_carry_any_cause)
{
    static const int  causes[] = { -1, -4096, INT32_MIN };
    struct delivered  delivered = { 0 };
    struct unr_signal signal = { 0 };
    struct unr_remote remote = { 0 };
    unr_slot_assign(unr_signal_slot(&signal), deliver, &delivered);
    unr_remote_init(&remote, loop, &signal);
    for (size_t i = 0; i < LENGTH(causes); i++) {
        unr_remote_emit(&remote, UNR_CANCEL_ALL, causes[i]);
        run();
        cr_assert_eq(delivered.last.cause, causes[i]);
    }
    unr_remote_disarm(&remote);
    close_loop();
}

/* Disarming drops what was emitted and not delivered; later emits do nothing. */
Test(thread, disarmed_remote_delivers_nothing)
{
    struct delivered   delivered = { 0 };
    struct unr_signal *signal = calloc(1, sizeof *signal);
    struct unr_remote *remote = calloc(1, sizeof *remote);
    unr_slot_assign(unr_signal_slot(signal), deliver, &delivered);
    unr_remote_init(remote, loop, signal);
    unr_remote_emit(remote, UNR_CANCEL_ALL, -EPIPE);
    unr_remote_disarm(remote);
    free(signal);
    run();
    unr_remote_emit(remote, UNR_CANCEL_ALL, -EPIPE);
    run();
    unr_remote_disarm(remote);
    free(remote);
    cr_assert_eq(unr_loop_run_once(loop, 0), 0);
    cr_assert_eq(delivered.count, 0);
    close_loop();
}

struct disarming {
    struct unr_task   task;
    struct unr_remote remote;
    struct unr_signal signal;
    struct delivered  delivered;
    struct unr_task   others[2];
    int              *others_ran;
};

static void run_disarm(struct unr_task *task)
{
    unr_remote_disarm(&unr_container_of(task, struct disarming, task)->remote);
}

static struct disarming *disarming;

static void count_other(struct unr_task *task)
{
    (void)task;
    ++*disarming->others_ran;
}

/* A task may disarm a remote whose delivery stands behind it, last or not; what stands behind that
 * runs. */
Test(thread, disarmed_by_a_task_ahead_of_the_delivery)
{
    for (int behind = 0; behind < 2; behind++) {
        int others_ran = 0;
        disarming = calloc(1, sizeof *disarming);
        *disarming =
            (struct disarming){ .task.run = run_disarm,
                                .others = { { .run = count_other }, { .run = count_other } },
                                .others_ran = &others_ran };
        unr_slot_assign(unr_signal_slot(&disarming->signal), deliver, &disarming->delivered);
        unr_remote_init(&disarming->remote, loop, &disarming->signal);
        unr_loop_post(loop, &disarming->task);
        unr_loop_post(loop, &disarming->others[0]);
        unr_remote_emit(&disarming->remote, UNR_CANCEL_ALL, -EPIPE);
        if (behind)
            unr_loop_post(loop, &disarming->others[1]);
        run();
        cr_assert_eq(disarming->delivered.count, 0);
        cr_assert_eq(others_ran, 1 + behind);
        free(disarming);
    }
    close_loop();
}

static bool disarm_and_free(void *context, struct unr_cancel_request request)
{
    (void)request;
    struct disarming *d = context;
    unr_remote_disarm(&d->remote);
    ++*d->others_ran;
    free(d);
    return true;
}

/* A handler may disarm and free the remote and the signal through which it was called. */
Test(thread, disarmed_and_freed_inside_its_delivery)
{
    int ran = 0;
    for (int i = 0; i < 10; i++) {
        struct disarming *d = calloc(1, sizeof *d);
        d->others_ran = &ran;
        unr_slot_assign(unr_signal_slot(&d->signal), disarm_and_free, d);
        unr_remote_init(&d->remote, loop, &d->signal);
        unr_remote_emit(&d->remote, UNR_CANCEL_ALL, -EPIPE);
    }
    run();
    cr_assert_eq(ran, 10);
    close_loop();
}

enum { EMITTERS = 3, DISARMINGS = 50 };

struct emitters {
    struct unr_remote remote;
    pthread_barrier_t begin, end; /* of a round */
    atomic_bool       quiet;
};

static void *emit_on_and_on(void *context)
{
    struct emitters *emitters = context;
    for (int round = 0; round < DISARMINGS; round++) {
        pthread_barrier_wait(&emitters->begin);
        while (!atomic_load(&emitters->quiet)) {
            unr_remote_emit(&emitters->remote, UNR_CANCEL_TOTAL, -EPIPE);
            sched_yield();
        }
        pthread_barrier_wait(&emitters->end);
    }
    return NULL;
}

/* Disarmed while other threads emit on and on, a remote delivers nothing more, and is not in the
 * inbox any more. */
Test(thread, disarmed_while_others_emit)
{
    struct emitters   emitters = { 0 };
    struct delivered  delivered = { 0 };
    struct unr_signal signal = { 0 };
    pthread_t         threads[EMITTERS];
    unr_slot_assign(unr_signal_slot(&signal), deliver, &delivered);
    pthread_barrier_init(&emitters.begin, NULL, EMITTERS + 1);
    pthread_barrier_init(&emitters.end, NULL, EMITTERS + 1);
    for (int i = 0; i < EMITTERS; i++)
        threads[i] = start_thread(emit_on_and_on, &emitters);
    for (int round = 0; round < DISARMINGS; round++) {
        unr_remote_init(&emitters.remote, loop, &signal);
        atomic_store(&emitters.quiet, false);
        pthread_barrier_wait(&emitters.begin);
        for (int before_it = delivered.count; delivered.count < before_it + 3;)
            submit();
        unr_remote_disarm(&emitters.remote);
        int so_far = delivered.count;
        for (int i = 0; i < 3; i++)
            submit();
        cr_assert_eq(delivered.count, so_far);
        atomic_store(&emitters.quiet, true);
        pthread_barrier_wait(&emitters.end);
        /* Nobody emits now: the memory may go, if nothing points to it. */
        memset(&emitters.remote, 0xa5, sizeof emitters.remote);
        submit();
    }
    for (int i = 0; i < EMITTERS; i++)
        join(threads[i]);
    cr_assert_eq(delivered.last.types, UNR_CANCEL_TOTAL);
    cr_assert_eq(delivered.last.cause, -EPIPE);
    close_loop();
}

/* ---- to whom a loop belongs ---- */

static void *open_one(void *context)
{
    (void)context;
    struct unr_loop *opened = NULL;
    return unr_loop_open(&opened, NULL) == 0 ? opened : NULL;
}

/* A loop that was opened in a thread which has ended since runs in another, though its ring has a
 * single issuer. */
Test(thread, opened_in_one_thread_and_run_in_another)
{
    struct seen      nop = { 0 };
    struct unr_loop *other = join(start_thread(open_one, NULL));
    cr_assert_not_null(other);
    unr_start(other, unr_nop(&nop.op), saw, &nop);
    cr_assert_eq(unr_loop_run(other), 0);
    cr_assert_eq(nop.runs, 1);
    cr_assert_eq(unr_loop_close(other), 0);
    close_loop();
}

struct owner {
    struct seen      nop, receive, cancelled;
    struct unr_timer timer;
    char             bytes[2];
    pthread_t        ran_in;
    int              error;
};

static struct owner *owner_of;

static void ran_here(struct seen *seen)
{
    (void)seen;
    owner_of->ran_in = pthread_self();
}

static void *own_and_close(void *context)
{
    struct owner *owner = context;
    owner->error = unr_loop_run(loop);
    if (owner->error == 0)
        owner->error = unr_loop_close(loop);
    return NULL;
}

/* Before the loop is anyone's, one thread may start and cancel; what was started runs in the thread
 * that takes the loop. */
Test(thread, started_before_the_loop_is_owned)
{
    struct owner owner = { .nop.then = ran_here };
    int          fds[2];
    owner_of = &owner;
    unix_pair(fds);
    start(&owner.nop, unr_nop(&owner.nop.op));
    start(&owner.receive, unr_recv(&owner.receive.op, fds[0], &owner.bytes[0], 1, 0));
    start(&owner.cancelled, unr_recv(&owner.cancelled.op, fds[0], &owner.bytes[1], 1, 0));
    unr_start(loop, unr_timer_after(&owner.timer, UNR_MSEC(1)), NULL, NULL);
    cr_assert(unr_cancel(&owner.cancelled.op, UNR_CANCEL_TOTAL));
    cr_assert_eq(write(fds[1], "x", 1), 1);
    pthread_t thread = start_thread(own_and_close, &owner);
    join(thread);
    cr_assert_eq(owner.error, 0);
    cr_assert_eq(pthread_equal(owner.ran_in, thread), 1);
    cr_assert_eq(owner.receive.result.bytes, 1);
    cr_assert_eq(owner.timer.op.result.error, 0);
    expect_cancelled(&owner.cancelled, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    close_pair(fds);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* A loop that never ran may be closed by any thread; what was started ends UNSUBMITTED. */
Test(thread, closed_without_having_run)
{
    struct owner owner = { 0 };
    char         byte;
    int          fds[2];
    unix_pair(fds);
    start(&owner.receive, unr_recv(&owner.receive.op, fds[0], &byte, 1, 0));
    unr_start(loop, unr_timer_after(&owner.timer, UNR_SEC(3600)), NULL, NULL);
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&owner.receive, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    cr_assert_eq(unr_outcome(&owner.timer.op.result), -ESHUTDOWN);
    close_pair(fds);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* ---- two loops in two threads ---- */

enum { EXCHANGES = 2000, HEARTBEATS = 16 };

struct side {
    struct unr_loop   *loop;
    int                fd;
    struct unr_op      receive, send;
    uint32_t           in, out;
    bool               begins;
    int                exchanged, interrupted;
    struct unr_signal  interrupt; /* ends the receive that is in flight */
    struct unr_remote  by_peer;
    struct side       *peer;
    int                error;
    pthread_barrier_t *both_ran; /* then nobody emits any more */
};

static void receive(struct side *side);

static void wrong(struct side *side, int error)
{
    side->error = error ? error : -EBADMSG;
    shutdown(side->fd, SHUT_RDWR);
}

static void sent(struct unr_op *op)
{
    struct side *side = op->data;
    if (op->result.error || op->result.bytes != sizeof side->out)
        wrong(side, op->result.error);
}

static void send_next(struct side *side)
{
    side->out = (uint32_t)side->exchanged * 2 + !side->begins;
    unr_start(side->loop, unr_send(&side->send, side->fd, &side->out, sizeof side->out, 0), sent,
              side);
}

/* A number of the peer's, which one's own follows; or the peer has cancelled this very receive. */
static void received(struct unr_op *op)
{
    struct side *side = op->data;
    if (op->result.error == -ECANCELED && op->result.cause == -EINTR) {
        side->interrupted++;
        receive(side);
        return;
    }
    if (op->result.error || op->result.bytes != sizeof side->in) {
        if (op->result.error || side->exchanged != EXCHANGES)
            wrong(side, op->result.error);
        return;
    }
    if (side->in != (uint32_t)(side->exchanged - (side->begins ? 1 : 0)) * 2 + side->begins)
        wrong(side, 0);
    if (side->exchanged % HEARTBEATS == 0)
        unr_remote_emit(&side->peer->by_peer, UNR_CANCEL_TOTAL, -EINTR);
    if (side->exchanged == EXCHANGES) {
        shutdown(side->fd, SHUT_WR);
        return;
    }
    send_next(side);
    side->exchanged++;
    receive(side);
}

static void receive(struct side *side)
{
    unr_start(side->loop,
              unr_bind_slot(unr_recv(&side->receive, side->fd, &side->in, sizeof side->in, 0),
                            unr_signal_slot(&side->interrupt)),
              received, side);
}

static void *run_side(void *context)
{
    struct side *side = context;
    if (side->begins) {
        send_next(side);
        side->exchanged++;
    }
    receive(side);
    int run_error = unr_loop_run(side->loop);
    pthread_barrier_wait(side->both_ran);
    unr_remote_disarm(&side->by_peer);
    int close_error = unr_loop_close(side->loop);
    if (!side->error)
        side->error = run_error ? run_error : close_error;
    return NULL;
}

/* Two loops in two threads exchange numbers and cancel one another's receives all the while; no
 * number is lost or doubled. */
Test(thread, two_loops_exchange_and_cancel)
{
    struct side       sides[2] = { { .begins = true }, { 0 } };
    pthread_t         threads[2];
    pthread_barrier_t both_ran;
    int               fds[2];
    unix_pair(fds);
    pthread_barrier_init(&both_ran, NULL, 2);
    for (int i = 0; i < 2; i++) {
        sides[i].both_ran = &both_ran;
        sides[i].loop = open_loop_flagged(0);
        sides[i].fd = fds[i];
        sides[i].peer = &sides[!i];
        unr_remote_init(&sides[i].by_peer, sides[i].loop, &sides[i].interrupt);
    }
    for (int i = 0; i < 2; i++)
        threads[i] = start_thread(run_side, &sides[i]);
    for (int i = 0; i < 2; i++)
        join(threads[i]);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(sides[i].error, 0, "error %d", sides[i].error);
        cr_assert_eq(sides[i].exchanged, EXCHANGES);
    }
    close_pair(fds);
    close_loop();
}
