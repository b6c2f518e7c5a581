/* SPDX-License-Identifier: MIT */
/* The inbox of a loop, in every order in which three threads may use it: a loop's thread, A and B.
 * inbox.c, loop.c, turn.c and owner.c of lib/loop/ are the sources that ship.  What is below them,
 * the ring, the eventfd and the operations, is here, in a few lines each.
 *
 *     inbox                          some hundred programs, each in all orders
 *     inbox --all                    those with more pushes, too, which takes a quarter of an hour
 *     inbox 'rd PR ER' [SCHEDULE]    one program, or one schedule of it, told step by step
 *
 * A program is a word for each thread, and a letter for each action:
 *     loop   r  unr_loop_run()
 *            d  unr_remote_disarm() of remote 0, e  of remote 1
 *            c  unr_loop_close(), while A and B are at work; the `done` of an operation waits for
 *               them
 *            h  from now on the handler of remote 0 posts a task and disarms both remotes
 *     A, B   P  unr_loop_post() of a task that starts an operation
 *            E  unr_remote_emit() through remote 0, F  through remote 1
 *            R  unr_loop_release() of a hold that the loop had from its opening
 *            H  unr_loop_hold()
 *            S  unr_loop_stop()
 * Where there is an E, an operation is in flight that only the signal of remote 0 ends, or whoever
 * disarms that.  At the end the loop's thread joins the others, and closes the loop.
 *
 * What holds in all of them:
 *   - each task runs once, those of a thread in the order in which it posted them;
 *   - a task that is posted inside a turn is the next turn's;
 *   - each emit is delivered before the end, unless its remote was disarmed;
 *   - nothing is delivered by a remote that was disarmed, and nothing of it is touched any more but
 *     the word that an emit looks at; nothing at all of a loop that was closed;
 *   - a run without a stop returns no earlier than the last hold was released and what was posted
 *     under a hold has run, and with nothing in flight;
 *   - no thread waits for ever: so the loop does not sleep on work, a hold or a stop. */
#include "../../lib/core/cancel.h"
#include "../../lib/core/clock.h"
#include "../../lib/core/contract.h"
#include "../../lib/core/op.h"
#include "../../lib/core/watchdog.h"
#include "../../lib/loop/loop.h"
#include "../../lib/loop/thread_pool.h"
#include "../../uring/kernel.h"
#include "model.h"

#include <unring/io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LOOP, A, B, ACTIONS = 2, REMOTES = 2 };

static const char *script[MODEL_THREADS]; /* the program */

struct item {
    struct unr_task task;
    struct unr_op   op; /* that the task starts */
    unsigned        ran;
};

static struct world {
    _Alignas(64) unsigned char memory[sizeof(struct unri_whole_loop)]; /* the loop is in it */
    struct unri_guard guard;
    struct unr_loop  *loop;
    struct unr_signal signals[REMOTES];
    struct unr_remote remotes[REMOTES];
    struct item       items[2][ACTIONS]; /* A's and B's */
    struct unr_op     waits;             /* until the signal of remote 0 is emitted */
    struct unr_op     joins;             /* its `done` waits for the threads */
    struct unr_task   own_task;          /* which the loop's thread posts */
    uint64_t          eventfd;

    /* The books of the test. */
    unsigned held, stops, done_count, started_count, own_ran;
    unsigned emitted[REMOTES], delivered[REMOTES];
    bool     disarmed[REMOTES], handler_disarms, own_is_new, joined, closed;
} world;

static bool has(unsigned thread, char action)
{
    return strchr(script[thread], action) != NULL;
}

static bool anybody_has(char action)
{
    return has(A, action) || has(B, action);
}

/* ---- operations; of their states IDLE, QUEUED, IN_FLIGHT and FINISHED are enough ---- */

static void finish(struct unr_op *op)
{
    struct unri_fifo *fifo = &world.loop->finished;
    op->private_fields.next = NULL;
    op->private_fields.state = UNRI_FINISHED;
    if (fifo->first)
        fifo->last->private_fields.next = op;
    else
        fifo->first = op;
    fifo->last = op;
}

static void count_done(struct unr_op *op)
{
    (void)op;
    world.done_count++;
}

static void start(struct unr_op *op, unr_done_fn *done)
{
    world.started_count++;
    world.loop->in_flight++;
    op->private_fields.done = done;
    op->private_fields.state = UNRI_IN_FLIGHT;
    if (world.loop->closing)
        finish(op);
}

static struct unr_op *read_of_loop(void)
{
    return &unri_whole(world.loop)->wake.read;
}

bool unr_in_flight(const struct unr_op *op)
{
    return op->private_fields.state != UNRI_IDLE;
}

void unri_count_request(struct unr_loop *loop, struct unr_op *op)
{
    (void)loop;
    (void)op;
}

bool unri_request(struct unr_op *op, struct unr_cancel_request request)
{
    if (op->private_fields.state != UNRI_QUEUED && op->private_fields.state != UNRI_IN_FLIGHT)
        return false;
    op->result.requested = (uint8_t)request.types;
    finish(op);
    return true;
}

void unri_each_in_flight(const struct unri_descriptors *descriptors,
                         void (*visit)(struct unr_op *op, void *context), void *context)
{
    (void)descriptors;
    visit(&world.waits, context);
    visit(&world.joins, context);
    for (unsigned i = 0; i < 2 * ACTIONS; i++)
        visit(&world.items[i / ACTIONS][i % ACTIONS].op, context);
}

void unri_run_done(struct unr_loop *loop, struct unr_op *op)
{
    op->private_fields.state = UNRI_IDLE;
    loop->in_flight -= op != read_of_loop();
    op->private_fields.done(op);
}

struct unr_op *unr_read(struct unr_op *op, int fd, void *buf, size_t len, int64_t offset)
{
    (void)fd;
    (void)buf;
    (void)len;
    (void)offset;
    op->result = (struct unr_result){ 0 };
    return op;
}

void unri_start_housekeeping(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done)
{
    described->data = loop;
    described->private_fields.done = done;
    described->private_fields.state = UNRI_QUEUED;
}

/* ---- the kernel ---- */

MODEL_UNSEEN void unri_os_wake(int fd)
{
    (void)fd;
    model_step("writes to the eventfd");
    world.eventfd++;
    model_release(&world.eventfd);
}

MODEL_UNSEEN static bool is_readable(void)
{
    return world.eventfd && read_of_loop()->private_fields.state == UNRI_IN_FLIGHT;
}

/* Takes what the eventfd counts.  True: the loop's read of it has completed. */
MODEL_UNSEEN static bool read_completes(void)
{
    bool readable = is_readable();
    model_saw(readable);
    if (readable) {
        model_acquire(&world.eventfd);
        world.eventfd = 0;
    }
    return readable;
}

/* An operation that a task has started ends in the next turn. */
static bool end_started(void)
{
    bool any = false;
    for (unsigned i = 0; i < 2 * ACTIONS; i++) {
        struct unr_op *op = &world.items[i / ACTIONS][i % ACTIONS].op;
        if (op->private_fields.state != UNRI_IN_FLIGHT)
            continue;
        finish(op);
        any = true;
    }
    return any;
}

int unri_ring_turn(struct unr_loop *loop, unr_time deadline)
{
    struct unr_op *read = read_of_loop();
    if (read->private_fields.state == UNRI_QUEUED)
        read->private_fields.state = UNRI_IN_FLIGHT;
    bool waits = !end_started() && deadline != INT64_MIN && !loop->finished.first;
    world.own_is_new = false;
    model_stack_is(waits);
    if (waits)
        model_wait(is_readable, "sleeps, and is woken");
    else
        model_step("enters the kernel");
    if (read_completes())
        finish(read);
    return 0;
}

/* ---- the rest of what the loop asks for ---- */

void *model_calloc(size_t count, size_t size);
void  model_free(void *memory);

void *model_calloc(size_t count, size_t size)
{
    return count == 1 && size == sizeof world.memory ? world.memory : NULL;
}

void model_free(void *memory)
{
    if (unr_in_flight(read_of_loop()))
        model_fail("the loop is freed while the kernel reads into it");
    model_kill(memory, sizeof world.memory);
}

void *unri_os_map(size_t size, bool wiped)
{
    return size == sizeof world.guard && wiped ? &world.guard : NULL;
}

void unri_broken(const char *what, const struct unr_op *op, const char *rule)
{
    (void)op;
    (void)rule;
    model_fail("broken contract: %s", what);
}

void unri_wrong_thread(const struct unr_loop *loop)
{
    (void)loop;
    model_fail("the wrong thread");
}

int unri_os_wake_open(int flags)
{
    (void)flags;
    return 3;
}

int unri_ring_open(struct unr_loop *loop, const struct unr_loop_options *options)
{
    (void)loop;
    (void)options;
    return 0;
}

/* The loop's thread alone asks whose the loop is. */
_Thread_local uintptr_t      unri_thread_number = UNRI_UNNUMBERED + 1;
_Thread_local struct unr_op *unri_running;

uintptr_t unri_number_thread(void)
{
    return unri_thread_number;
}

/* There are no timers, and there is no time. */
#define NOTHING(result, function, ...)                                                             \
    result function(__VA_ARGS__)                                                                   \
    {                                                                                              \
        return (result)0;                                                                          \
    }

#pragma GCC diagnostic ignored "-Wunused-parameter"
NOTHING(int, unri_ring_enable, struct unr_loop *loop)
NOTHING(int, unri_ring_catch_up, struct unr_loop *loop)
NOTHING(void, unri_ring_close, struct unr_loop *loop)
NOTHING(void, unri_loops_enter, struct unri_whole_loop *whole)
NOTHING(void, unri_loops_leave, struct unri_whole_loop *whole)
NOTHING(void, unri_ring_abandon, struct unr_loop *loop)
NOTHING(void, unri_os_unmap, void *memory, size_t size)
NOTHING(void, unri_os_wake_close, int fd)
NOTHING(int, unri_watch_open, struct unri_watch **ret_watch, unr_time limit)
NOTHING(void, unri_watch_close, struct unri_watch *watch, bool forked)
NOTHING(bool, unri_jobs_await, struct unr_loop *loop)
NOTHING(void, unri_watch_this_thread, struct unri_watch *watch)
NOTHING(int, unri_checks_open, struct unr_loop *loop, unri_lend_fn *lend)
NOTHING(void, unri_checks_close, struct unr_loop *loop)
NOTHING(void, unri_lend, const void *described, unri_lent_fn *visit, void *context)
NOTHING(int, unri_timers_open, struct unri_timers *timers)
NOTHING(void, unri_timers_close, struct unri_timers *timers)
NOTHING(bool, unri_timers_expire, struct unr_loop *loop, unr_time now, uint64_t serial)
NOTHING(void, unri_timers_request_all, struct unr_loop *loop, struct unr_cancel_request request)
NOTHING(int, unri_descriptors_open, struct unri_descriptors *descriptors)
NOTHING(void, unri_descriptors_close, struct unri_descriptors *descriptors)
NOTHING(unr_time, unri_now, struct unr_loop *loop)
NOTHING(void, unri_embed_begin, struct unr_loop *loop)
NOTHING(void, unri_embed_end, struct unr_loop *loop)

/* ---- what the loop's thread does ---- */

static void disarm(unsigned i)
{
    struct unr_remote *remote = &world.remotes[i];
    if (world.disarmed[i])
        return;
    unr_remote_disarm(remote);
    world.disarmed[i] = true;
    model_kill(remote, offsetof(struct unr_remote, private_fields.pending));
    model_kill(&remote->private_fields.previous, sizeof remote->private_fields.previous);
    if (i == 0 && world.waits.private_fields.state == UNRI_IN_FLIGHT)
        finish(&world.waits);
}

MODEL_UNSEEN static void book_delivery(unsigned i, unsigned types, int cause)
{
    if (world.disarmed[i])
        model_fail("remote %u delivers though it is disarmed", i);
    if (!types || types & ~world.emitted[i] || !(types & (unsigned)-cause))
        model_fail("remote %u delivers what nobody emitted", i);
    world.delivered[i] |= types;
}

static void run_own(struct unr_task *task)
{
    (void)task;
    if (world.own_is_new && !world.stops)
        model_fail("a task that was posted in a turn runs in that turn");
    world.own_ran++;
}

static void post_own(void)
{
    world.own_task.run = run_own;
    world.own_is_new = true;
    unr_loop_post(world.loop, &world.own_task);
}

/* The handlers of both signals. */
unsigned unr_signal_emit_cause(struct unr_signal *signal, unsigned types, int cause)
{
    unsigned i = (unsigned)(signal - world.signals);
    book_delivery(i, types, cause);
    if (i == 0 && world.waits.private_fields.state == UNRI_IN_FLIGHT)
        finish(&world.waits);
    if (i == 0 && world.handler_disarms) {
        if (!world.own_task.run)
            post_own();
        disarm(0);
        disarm(1);
    }
    return 1;
}

static void run_task(struct unr_task *task)
{
    struct item *item = unr_container_of(task, struct item, task);
    unsigned     i = (unsigned)(item - world.items[0]), thread = A + i / ACTIONS, at = i % ACTIONS;
    if (item->ran++)
        model_fail("a task runs twice");
    task->next = NULL; /* it is the caller's again */
    if (at == 1 && script[thread][0] == 'P' && !world.items[thread - A][0].ran)
        model_fail("a task runs in front of one that its thread posted earlier");
    start(&item->op, count_done);
}

MODEL_UNSEEN static void check_run(int error)
{
    if (error)
        model_fail("the run failed");
    if (world.stops)
        return;
    if (world.held)
        model_fail("the run returned though the loop is held");
    if (world.loop->in_flight)
        model_fail("the run returned with something in flight");
    for (unsigned thread = A; thread <= B; thread++)
        if (script[thread][0] == 'P' && script[thread][1] == 'R' && !world.items[thread - A][0].ran)
            model_fail("the run returned before a task that was posted under a hold");
}

static void join_done(struct unr_op *op)
{
    model_join();
    world.joined = true;
    count_done(op);
}

static void close_loop(void)
{
    if (unr_loop_close(world.loop))
        model_fail("the loop does not close");
    world.closed = true;
}

static void loop_does(char action)
{
    switch (action) {
    case 'r': model_action("run"); return check_run(unr_loop_run(world.loop));
    case 'd': model_action("disarm 0"); return disarm(0);
    case 'e': model_action("disarm 1"); return disarm(1);
    case 'h': world.handler_disarms = true; return;
    case 'c':
        model_action("close");
        start(&world.joins, join_done);
        return close_loop();
    }
}

/* ---- what the others do ---- */

MODEL_UNSEEN static void book_emit(unsigned thread, unsigned i)
{
    world.emitted[i] |= thread;
}

MODEL_UNSEEN static void book_held(int change)
{
    world.held += (unsigned)change;
}

MODEL_UNSEEN static void book_stop(void)
{
    world.stops++;
}

/* A emits the type 1 and B the type 2, each with a cause of its own. */
static void other_does(unsigned thread, unsigned at, char action)
{
    switch (action) {
    case 'P':
        model_action("post");
        return unr_loop_post(world.loop, &world.items[thread - A][at].task);
    case 'E':
    case 'F':
        model_action(action == 'E' ? "emit 0" : "emit 1");
        book_emit(thread, action == 'F');
        return unr_remote_emit(&world.remotes[action == 'F'], thread, -(int)thread);
    case 'R':
        model_action("release");
        book_held(-1);
        return unr_loop_release(world.loop);
    case 'H':
        model_action("hold");
        unr_loop_hold(world.loop);
        return book_held(1);
    case 'S':
        model_action("stop");
        book_stop();
        return unr_loop_stop(world.loop);
    }
}

/* ---- the program ---- */

/* A loop that is to be stopped once has one hold more, so that only the stop ends its run. */
static unsigned holds_at_first(void)
{
    unsigned holds = 0;
    for (unsigned thread = A; thread <= B; thread++)
        for (unsigned i = 0; i < ACTIONS; i++)
            if (script[thread][i] == 'R' && !(i == 1 && script[thread][0] == 'H'))
                holds++;
    const char *run = strchr(script[LOOP], 'r');
    return holds + (anybody_has('S') && run && !strchr(run + 1, 'r'));
}

static void begin(void)
{
    if (unr_loop_open(&world.loop, NULL))
        model_fail("the loop does not open");
    for (unsigned i = 0; i < REMOTES; i++)
        unr_remote_init(&world.remotes[i], world.loop, &world.signals[i]);
    for (unsigned i = 0; i < 2 * ACTIONS; i++)
        world.items[i / ACTIONS][i % ACTIONS].task.run = run_task;
    for (unsigned holds = holds_at_first(); holds; holds--) {
        unr_loop_hold(world.loop);
        world.held++;
    }
    if (anybody_has('E'))
        start(&world.waits, count_done);
}

static void body(unsigned thread)
{
    for (unsigned i = 0; i < ACTIONS; i++)
        if (thread == LOOP)
            loop_does(script[thread][i]);
        else
            other_does(thread, i, script[thread][i]);
    if (thread != LOOP)
        return;
    if (!world.joined) {
        model_action("join");
        model_join();
    }
    if (!world.closed) {
        model_action("close");
        close_loop();
    }
}

static void end(void)
{
    for (unsigned thread = A; thread <= B; thread++)
        for (unsigned i = 0; i < ACTIONS; i++)
            if (script[thread][i] == 'P' && world.items[thread - A][i].ran != 1)
                model_fail("a task was lost");
    for (unsigned i = 0; i < REMOTES; i++)
        if (!world.disarmed[i] && world.emitted[i] != world.delivered[i])
            model_fail("an emit was lost");
    if (world.own_task.run && world.own_ran != 1)
        model_fail("the task of the loop's thread was lost, or ran twice");
    if (world.done_count != world.started_count)
        model_fail("an operation was lost");
}

static void name(const void *address, char *text, size_t size)
{
    const struct unri_inbox *inbox = unri_inbox(world.loop);
    const struct {
        const void *begin;
        size_t      size;
        const char *name;
    } parts[] = {
        { &inbox->pushed, sizeof inbox->pushed, "pushed" },
        { &inbox->sleeping, sizeof inbox->sleeping, "sleeping" },
        { &inbox->stop, sizeof inbox->stop, "stop" },
        { &inbox->holds, sizeof inbox->holds, "holds" },
        { &world.items[0][0], sizeof(struct item), "A's first task" },
        { &world.items[0][1], sizeof(struct item), "A's second task" },
        { &world.items[1][0], sizeof(struct item), "B's first task" },
        { &world.items[1][1], sizeof(struct item), "B's second task" },
        { &world.remotes[0], sizeof(struct unr_remote), "remote 0" },
        { &world.remotes[1], sizeof(struct unr_remote), "remote 1" },
        { world.memory, sizeof world.memory, "the loop" },
        { &world, sizeof world, "world" },
    };
    for (unsigned i = 0;; i++) {
        size_t offset = (size_t)((const char *)address - (const char *)parts[i].begin);
        if (offset >= parts[i].size)
            continue;
        if (offset && parts[i].size > sizeof(void *))
            snprintf(text, size, "%s + %zu", parts[i].name, offset);
        else
            snprintf(text, size, "%s", parts[i].name);
        return;
    }
}

MODEL_UNSEEN static bool is_own(const void *address)
{
    return address == &unri_loop_closing;
}

static const struct model inbox = { .world = &world,
                                    .size = sizeof world,
                                    .begin = begin,
                                    .body = body,
                                    .end = end,
                                    .is_own = is_own,
                                    .name = name,
                                    .threads = { "loop", "A", "B" } };

/* ---- all programs ---- */

static struct {
    unsigned programs;
    size_t   states, steps, depth;
} total;

/* Explores one program.  If it fails, tells the schedule. */
static bool check(const char *loop, const char *a, const char *b, const char *schedule)
{
    struct model_found found;
    script[LOOP] = loop;
    script[A] = a;
    script[B] = b;
    bool passed = model_explore(&inbox, schedule, &found);
    if (getenv("MODEL_VERBOSE"))
        printf("%s %s %s: %zu states, %zu steps\n", loop, a, b, found.states, found.steps);
    total.programs++;
    total.states += found.states;
    total.steps += found.steps;
    if (found.depth > total.depth)
        total.depth = found.depth;
    if (!passed && !schedule) {
        char failed[sizeof found.schedule];
        memcpy(failed, found.schedule, sizeof failed);
        printf("inbox/%s-%s-%s %zu FAILED\n    %s\n    inbox '%s %s %s' %s\n", loop, a, b,
               total.states, found.failure, loop, a, b, failed);
        model_explore(&inbox, failed, &found);
    }
    if (schedule)
        printf("    %s\n", passed ? "passed" : found.failure);
    return passed;
}

/* What A or B may do: two actions each.  A hold that is never released would keep the loop. */
static unsigned list_words(char words[][ACTIONS + 1])
{
    static const char letters[] = "PERS";
    unsigned          count = 0;
    for (const char *first = letters; *first; first++)
        for (const char *second = letters; *second; second++)
            snprintf(words[count++], ACTIONS + 1, "%c%c", *first, *second);
    snprintf(words[count++], ACTIONS + 1, "HR");
    return count;
}

/* Posts and emits take the most accesses: four of them in one program have millions of states. */
static unsigned pushes(const char *a, const char *b)
{
    unsigned count = 0;
    for (unsigned i = 0; i < ACTIONS; i++)
        count += (unsigned)(!!strchr("PEF", a[i]) + !!strchr("PEF", b[i]));
    return count;
}

static bool check_pair(const char *a, const char *b)
{
    static const char *const loops[] = { "rr", "rc", "rd", "dr", "dc" };
    bool                     has_remote = strchr(a, 'E') || strchr(b, 'E');
    for (unsigned i = 0; i < sizeof loops / sizeof *loops; i++)
        if ((has_remote || !strchr(loops[i], 'd')) && !check(loops[i], a, b, NULL))
            return false;
    return true;
}

/* A and B do the same kinds of things, so a pair is checked in one order. */
static bool check_pairs(unsigned pushes_max)
{
    static char words[40][ACTIONS + 1];
    unsigned    count = list_words(words);
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = i; j < count; j++)
            if (pushes(words[i], words[j]) <= pushes_max && !check_pair(words[i], words[j]))
                return false;
    return true;
}

/* Some of those with more pushes, and some with both remotes. */
static bool check_chosen(void)
{
    static const char *const chosen[][MODEL_THREADS] = {
        { "rd", "EE", "EE" }, { "rd", "PE", "RE" }, { "er", "FP", "RP" },
        { "ed", "EF", "FE" }, { "ed", "PF", "PE" }, { "hr", "EE", "RE" },
        { "hr", "EF", "FE" }, { "hr", "ES", "FS" }, { "hr", "EF", "RR" },
    };
    for (unsigned i = 0; i < sizeof chosen / sizeof *chosen; i++)
        if (!check(chosen[i][LOOP], chosen[i][A], chosen[i][B], NULL))
            return false;
    return true;
}

int main(int argc, char **argv)
{
    char    loop[8], a[8], b[8];
    clock_t began = clock();
    bool    passed;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1 && !strcmp(argv[1], "--all")) {
        passed = check_pairs(2 * ACTIONS) && check_chosen();
    } else if (argc > 1) {
        if (sscanf(argv[1], "%7s %7s %7s", loop, a, b) != 3)
            return 2;
        passed = check(loop, a, b, argc > 2 ? argv[2] : NULL);
    } else {
        passed = check_chosen() && check_pairs(2);
    }
    printf("inbox: %u programs, %zu states, %zu steps, %zu steps deep at most, %.1f s\n",
           total.programs, total.states, total.steps, total.depth,
           (double)(clock() - began) / CLOCKS_PER_SEC);
    return !passed;
}
