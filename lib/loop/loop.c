/* SPDX-License-Identifier: MIT */
/* A loop as its user sees it: opened, run turn by turn, asked how it is, closed.  turn.c is what
 * happens in one turn, owner.c whose thread the loop belongs to. */
#include "../../uring/kernel.h"
#include "../core/cancel.h"
#include "../core/check.h"
#include "../core/clock.h"
#include "../core/contract.h"
#include "../core/fiber_running.h"
#include "../core/life.h"
#include "../core/type.h"
#include "../core/watchdog.h"
#include "loop.h"
#include "thread_pool.h"

#include <stdlib.h>
#include <string.h>

/* ---- open ---- */

/* Frees all that a loop has but its ring, which is closed or abandoned by now, or was never opened.
 * The loop may be half opened. */
static void free_loop(struct unr_loop *loop)
{
    struct unri_whole_loop *whole = unri_whole(loop);
    if (loop->fibers)
        loop->close_fibers(loop->fibers);
    if (loop->watch)
        unri_watch_close(loop->watch, loop->guard->owner == UNRI_FORKED);
    unri_checks_close(loop);
    unri_timers_close(&whole->timers);
    unri_descriptors_close(&loop->descriptors);
    if (loop->embed_fd >= 0)
        unri_os_wake_close(loop->embed_fd);
    if (whole->wake.fd >= 0)
        unri_os_wake_close(whole->wake.fd);
    if (loop->guard)
        unri_os_unmap(loop->guard, sizeof *loop->guard);
    free(whole);
}

/* Opens the parts of a loop, the ring last: on an error there is no ring to close. */
static int open_parts(struct unr_loop *loop, const struct unr_loop_options *options)
{
    struct unri_whole_loop *whole = unri_whole(loop);
    int                     error;
    loop->guard = unri_os_map(sizeof *loop->guard, true);
    if (!loop->guard)
        return -ENOMEM;
    loop->guard->owner = UNRI_UNOWNED;
    if ((error = unri_timers_open(&whole->timers)) < 0)
        return error;
    if ((error = unri_descriptors_open(&loop->descriptors)) < 0)
        return error;
    if (options->flags & UNR_LOOP_CHECKS && (error = unri_checks_open(loop, unri_lend)) < 0)
        return error;
    if (options->fiber_slow && (error = unri_watch_open(&loop->watch, options->fiber_slow)) < 0)
        return error;
    if ((whole->wake.fd = unri_os_wake_open(0)) < 0)
        return whole->wake.fd;
    return unri_ring_open(loop, options);
}

static void set_fiber_options(struct unr_loop *loop, const struct unr_loop_options *options)
{
    loop->fiber_stack = options->fiber_stack ? options->fiber_stack : 256 << 10;
    loop->fiber_stacks_kept = options->fiber_stacks_kept ? options->fiber_stacks_kept : 1024;
}

int unr_loop_open(struct unr_loop **ret_loop, const struct unr_loop_options *options)
{
    enum { STACK_MAX = 64 << 20 };
    struct unr_loop_options known = { 0 };
    if (options) {
        if (options->size < offsetof(struct unr_loop_options, entries)
            || options->size > sizeof known)
            return -EINVAL;
        memcpy(&known, options, options->size);
    }
    if (known.flags & ~(UNR_LOOP_PLAIN | UNR_LOOP_CHECKS | UNR_LOOP_SEND_NOW)
        || known.fiber_stack > STACK_MAX || known.fiber_slow < 0)
        return -EINVAL;

    struct unri_whole_loop *whole = calloc(1, sizeof *whole);
    if (!whole)
        return -ENOMEM;
    struct unr_loop *loop = &whole->core;
    whole->wake.fd = loop->embed_fd = -1;
    int error = open_parts(loop, &known);
    if (error < 0) {
        free_loop(loop);
        return error;
    }
    set_fiber_options(loop, &known);
    unri_forget_time(loop);
    unri_loops_enter(whole);
    *ret_loop = loop;
    return 0;
}

/* ---- run ---- */

static bool is_idle(const struct unr_loop *loop)
{
    return loop->in_flight == 0 && !loop->finished.first && !unri_inbox_has_tasks(unri_inbox(loop));
}

/* Whether a run may return for want of work.  The holds are read before the inbox: a thread that
 * posts a task and then releases the loop is seen to hold it, or its task is seen. */
static bool may_leave(const struct unr_loop *loop)
{
    return atomic_load(&unri_inbox(loop)->holds) == 0 && is_idle(loop);
}

/* What running a loop begins with: the loop becomes the thread's, and the time that it knew is
 * forgotten, for the caller was outside of the loop. */
static int enter_run(struct unr_loop *loop, const char *call)
{
    int error = unri_loop_own(loop);
    if (error < 0)
        return error;
    if (loop->in_turn)
        unri_broken(call, NULL,
                    "a loop is not run or closed from inside its own done, task or handler");
    unri_forget_time(loop);
    return 0;
}

/* A stop is looked at between two turns, and taken back: it ends one run.  The tasks that were
 * posted before it run all the same, in front of the return.  A run that leaves for want of work
 * runs no task then: one that is posted behind the last look may start an operation, and is the
 * next run's. */
static int run(struct unr_loop *loop)
{
    struct unri_inbox *inbox = unri_inbox(loop);
    int error = enter_run(loop, "unr_loop_run called inside a turn of the same loop");
    if (error < 0)
        return error;
    while (error == 0 && !unri_inbox_take_stop(inbox)) {
        if (may_leave(loop))
            return 0;
        error = unri_loop_turn(loop, UNR_NEVER);
    }
    loop->in_turn = true; /* tasks run inside the loop */
    if (unri_inbox_has_tasks(inbox))
        unri_inbox_run(inbox);
    loop->in_turn = false;
    return error;
}

/* A fiber of another loop may run this one; what runs in here is not that fiber. */
int unr_loop_run(struct unr_loop *loop)
{
    struct unr_op *left = unri_leave_fiber();
    int            error = run(loop);
    unri_return_to_fiber(left);
    return error;
}

__attribute__((noinline, cold)) static int run_once_outside_of_fiber(struct unr_loop *loop,
                                                                     unr_time         timeout)
{
    struct unr_op *left = unri_leave_fiber();
    int            ran = unr_loop_run_once(loop, timeout);
    unri_return_to_fiber(left);
    return ran;
}

/* An embedded loop turns also when it is idle: its turn is what resets its descriptor.  A stop that
 * comes during the turn has ended this call, and must not end the next one. */
int unr_loop_run_once(struct unr_loop *loop, unr_time timeout)
{
    if (unlikely(unri_running != NULL))
        return run_once_outside_of_fiber(loop, timeout);
    struct unri_inbox *inbox = unri_inbox(loop);
    int error = enter_run(loop, "unr_loop_run_once called inside a turn of the same loop");
    if (error < 0 || unri_inbox_take_stop(inbox))
        return error;
    if (loop->embed_fd >= 0)
        unri_embed_begin(loop);
    else if (may_leave(loop))
        return 0;
    unr_time deadline = UNR_NEVER;
    if (timeout <= 0)
        deadline = INT64_MIN;
    else if (timeout != UNR_NEVER)
        deadline = unri_sum(unri_now(loop), timeout);
    error = unri_loop_turn(loop, deadline);
    unri_inbox_take_stop(inbox);
    if (loop->embed_fd >= 0)
        unri_embed_end(loop);
    return error < 0 ? error : (int)loop->ran;
}

unsigned unr_loop_in_flight(const struct unr_loop *loop)
{
    return loop->in_flight;
}

void unr_loop_stats(const struct unr_loop *loop, struct unr_stats *ret_stats, size_t size)
{
    size_t known = size < sizeof loop->stats ? size : sizeof loop->stats;
    memcpy(ret_stats, &loop->stats, known);
    memset((char *)ret_stats + known, 0, size - known);
}

/* ---- close ---- */

static void request_shutdown(struct unr_op *op, void *context)
{
    (void)context;
    if (unr_in_flight(op)) /* those of the loop's own operations perhaps are not */
        unri_count_request(op->private_fields.loop, op);
    unri_request(op, (struct unr_cancel_request){ UNR_CANCEL_ALL, -ESHUTDOWN });
}

/* The loop's own operations go on, but for those that stand for a caller's structure. */
static void request_shutdown_of_callers(struct unr_op *op, void *context)
{
    if (!(op->private_fields.flags & UNRI_HOUSEKEEPING) || unri_stands_for_structure(op))
        request_shutdown(op, context);
}

static void request_all(struct unr_loop *loop)
{
    unri_timers_request_all(loop, (struct unr_cancel_request){ UNR_CANCEL_ALL, -ESHUTDOWN });
    unri_each_in_flight(&loop->descriptors, request_shutdown_of_callers, NULL);
}

_Thread_local struct unr_loop *unri_loop_closing;

/* How many operations may be started while the loop is being closed.  A `done` may start some, one
 * after another, to clean up; a `done` that starts one operation over and over would go on
 * for ever, and is named as the broken contract that it is (unri_count_start). */
static uint64_t served_starts(const struct unr_loop *loop)
{
    return 1000 + 100 * (loop->stats.started - loop->stats.finished); /* children and members too */
}

static bool housekeeping_is_in_flight(const struct unri_whole_loop *whole)
{
    return unr_in_flight(&whole->wake.read) || unr_in_flight(&whole->alarm.op) || whole->core.armed;
}

/* Ends on a loop whose ring has failed what needs no ring: jobs return, tasks and `done`s run.
 * Threads would post to a loop that is gone, and functions work for callers that believe that all
 * is over.  A job may wait for a task that it has posted, and nothing wakes this loop for that any
 * more, so it looks.  The turns report the failure again. */
static void drain_without_ring(struct unr_loop *loop)
{
    bool more;
    do {
        more = unri_jobs_await(loop);
        unri_loop_turn(loop, INT64_MIN);
    } while (more || loop->finished.first || unri_inbox_has_tasks(unri_inbox(loop)));
}

/* Ends everything that is in flight, and turns until it is over (rule 10).
 *
 * From `closing` on each start ends UNSUBMITTED, so `closing` is set before the requests are made:
 * handlers that run inside them may start operations.  The loop's own operations, the read that
 * other threads wake it through and the alarm, are cancelled when all others have ended: until
 * then other threads may still post tasks.  A stop is taken back before each turn, for with one
 * pending the turn would not wait. */
static int drain(struct unr_loop *loop)
{
    struct unri_whole_loop *whole = unri_whole(loop);
    struct unr_loop        *outer = unri_loop_closing; /* in whose `done` this one is closed */
    int                     error = unri_loop_own(loop);
    unri_forget_time(loop);
    unri_loop_closing = loop;
    loop->closing = loop->attends_starts = true;
    loop->starts_left = served_starts(loop);
    loop->in_turn = true; /* handlers run inside the loop */
    request_all(loop);
    loop->in_turn = false;
    while (error == 0 && !is_idle(loop)) {
        unri_inbox_take_stop(&whole->inbox);
        error = unri_loop_turn(loop, UNR_NEVER);
    }
    request_shutdown(&whole->wake.read, NULL);
    request_shutdown(&whole->alarm.op, NULL);
    while (error == 0 && (!is_idle(loop) || housekeeping_is_in_flight(whole))) {
        unri_inbox_take_stop(&whole->inbox);
        error = unri_loop_turn(loop, UNR_NEVER);
    }
    if (error)
        drain_without_ring(loop);
    unri_loop_closing = outer;
    return error;
}

int unr_loop_close(struct unr_loop *loop)
{
    int error = 0;
    if (!loop)
        return 0;
    if (loop->guard->owner == UNRI_FORKED) {
        unri_ring_abandon(loop);
    } else {
        unri_check_thread(loop);
        if (loop->in_turn)
            unri_broken("unr_loop_close called inside a turn of the loop", NULL,
                        "a loop is not run or closed from inside its own done, task or handler");
        struct unr_op *left = unri_leave_fiber();
        error = drain(loop);
        unri_return_to_fiber(left);
        unri_ring_close(loop);
    }
    unri_loops_leave(unri_whole(loop));
    free_loop(loop);
    return error;
}
