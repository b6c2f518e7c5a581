/* SPDX-License-Identifier: MIT */
/* Work as an operation: what the loop's thread does with what another thread runs.  Which thread
 * that is, and when, is a matter of thread_pool.c.
 *
 * A call is what both threads see of it.  That of unr_work() lies in the operation, which waits for
 * the function.  That of unr_work_abandonable() lies on the heap, because the function may outlast
 * the operation; whoever of the two is last frees it.
 *
 * unr_work_abandonable() is a wrapper, for `dispose`: a wrapper hears of the end of its child
 * however that ends, also if it never began, and right before its own `done`. */
#include "../core/cancel.h"
#include "../core/combinator.h"
#include "../core/fiber_running.h"
#include "loop.h"
#include "thread_pool.h"

#include <stdlib.h>

/* ---- a call, on its thread ---- */

static struct unr_work_call *call_of(struct unr_job *job)
{
    return unr_container_of(job, struct unr_work_call, job);
}

static void run(struct unr_job *job)
{
    struct unr_work_call *call = call_of(job);
    call->returned = call->fn(call->argument);
}

static void orphaned(struct unr_job *job)
{
    struct unr_work_call *call = call_of(job);
    call->dispose(call->argument);
    free(call);
}

/* ---- an operation, on its loop's ---- */

/* Ends an operation whose function says that it was cancelled.  If the function was told of a
 * request, that has ended it, whatever was requested before.  Else it says so of its own: no
 * request has ended it, and the verdict is what became of those that there were (rule 3, Truth). */
static void end_cancelled(struct unr_op *op, int told_cause)
{
    struct unr_result *r = &op->result;
    unsigned           verdict = r->verdict;
    if (told_cause)
        verdict = UNR_VERDICT_CANCELLED;
    else if (r->requested && verdict != UNR_VERDICT_RUNNING)
        verdict = UNR_VERDICT_TOO_LATE;
    r->guarantee = UNR_CANCEL_TERMINAL;
    unri_end_cancelled(op, told_cause ? told_cause : -ECANCELED, verdict);
}

/* Ends the operation as the function has returned.  The cause for which it was asked to return says
 * the same as -ECANCELED. */
static void returned(struct unr_task *task)
{
    struct unr_work_call *call = call_of(unr_container_of(task, struct unr_job, task));
    struct unr_op        *op = call->op;
    int                   error = call->returned < 0 ? call->returned : 0;
    unri_job_arrived();
    if (call->returned > 0)
        op->result.value = call->returned;
    if (error == -ECANCELED || (error && error == call->cause))
        end_cancelled(op, call->cause);
    else
        unri_end(op, error);
}

/* The request is honoured, for TOTAL is supported.  A function that runs is told of it if the
 * request accepts TERMINAL.  Where the function has returned, the operation completes, and the
 * request was too late.  Returns true if the call was abandoned: it is the thread's. */
static bool cancel(struct unr_op *op, struct unr_work_call *call, struct unr_cancel_request request)
{
    enum unri_job_cancel how = UNRI_JOB_LET;
    if (request.types & UNR_CANCEL_TERMINAL)
        how = call->dispose ? UNRI_JOB_ABANDON : UNRI_JOB_ASK;
    enum unri_job_state was = unri_job_cancel(UNRI_WORKERS, &call->job, how);
    if (was == UNRI_JOB_WAITS) {
        unri_end_unsubmitted(op, request);
    } else if (was == UNRI_JOB_RUNS && how == UNRI_JOB_ABANDON) {
        end_cancelled(op, request.cause);
        return true;
    } else if (was == UNRI_JOB_RUNS) {
        op->result.verdict = UNR_VERDICT_RUNNING;
        if (how == UNRI_JOB_ASK && !call->cause)
            call->cause = request.cause;
    }
    return false;
}

static void start_call(struct unr_op *op, struct unr_work_call *call,
                       const struct unr_work_private *work)
{
    unri_set_op_state(op, UNRI_IN_FLIGHT);
    *call = (struct unr_work_call){
        .op = op, .fn = work->fn, .argument = work->argument, .dispose = work->dispose
    };
    call->job.task.run = returned;
    call->job.loop = op->private_fields.loop;
    call->job.run = run;
    call->job.orphaned = orphaned;
    int error = unri_job_start(UNRI_WORKERS, &call->job);
    if (error) {
        unri_private(op)->flags |= UNRI_NO_WORKER;
        unri_end(op, error);
    }
}

/* ---- unr_work() ---- */

static const char *explain(const struct unr_op *cancelled)
{
    bool was_cancelled = cancelled->result.error == -ECANCELED;
    return was_cancelled ? "its function had begun, and has returned" : NULL;
}

static struct unr_work *work_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_work, op);
}

static void work_start(struct unr_op *op)
{
    struct unr_work_private *p = &work_of(op)->private_fields;
    start_call(op, &p->own, p);
}

static void work_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    cancel(op, &work_of(op)->private_fields.own, request);
}

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "work",
    .start = work_start,
    .cancel = work_cancel,
    .private_fields = { .kind = UNRI_PARKED, .explain = explain },
};

struct unr_op *unr_work(struct unr_work *work, unr_fiber_fn *fn, void *argument)
{
    unr_describe(&work->op, &type);
    work->private_fields.fn = fn;
    work->private_fields.argument = argument;
    work->private_fields.dispose = NULL;
    return &work->op;
}

/* ---- unr_work_abandonable() ---- */

static struct unr_work *parent_of(struct unr_op *child)
{
    return unr_container_of(child, struct unr_work, private_fields.child);
}

static void child_start(struct unr_op *child)
{
    struct unr_work_private *p = &parent_of(child)->private_fields;
    p->call = malloc(sizeof *p->call);
    if (p->call)
        start_call(child, p->call, p);
    else
        unri_end(child, -ENOMEM);
}

static void child_cancel(struct unr_op *child, struct unr_cancel_request request)
{
    struct unr_work_private *p = &parent_of(child)->private_fields;
    p->was_abandoned = cancel(child, p->call, request);
}

static const struct unr_op_type child_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "work",
    .start = child_start,
    .cancel = child_cancel,
    .private_fields = { .kind = UNRI_PARKED },
};

static bool start_with_request(struct unr_op *op, struct unr_cancel_request asked)
{
    return unri_start_child(op, unri_child(op), asked);
}

static void abandonable_start(struct unr_op *op)
{
    unri_start_child(op, unri_child(op), (struct unr_cancel_request){ 0 });
}

static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    return unri_request(unri_child(op), request);
}

/* The function of the caller's is called neither by a fiber, though it may be on its stack, nor by
 * the function of other work, though that may run the loop. */
static void dispose_on_loop(const struct unr_work_private *p)
{
    struct unr_op *left = unri_leave_fiber();
    bool           left_before = unri_leave_job();
    p->dispose(p->argument);
    unri_return_to_job(left_before);
    unri_return_to_fiber(left);
}

static void child_done(struct unr_op *op, struct unr_op *child)
{
    struct unr_work_private *p = &work_of(op)->private_fields;
    if (!p->was_abandoned) {
        free(p->call);
        dispose_on_loop(p);
    }
    unri_end_as_child(op, child);
}

static void never_began(struct unr_op *op, int error)
{
    struct unr_work_private *p = &work_of(op)->private_fields;
    p->child.result.error = error;
    dispose_on_loop(p);
}

static const struct unri_combinator combinator = {
    .child_done = child_done,
    .handle_request = handle_request,
    .start_with_request = start_with_request,
    .never_began = never_began,
};

static const char *explain_abandonable(const struct unr_op *ended)
{
    const struct unr_work *work = (const struct unr_work *)ended;
    if (work->private_fields.was_abandoned)
        return "its function had begun, and goes on by itself";
    return explain(ended);
}

static const struct unr_op_type abandonable_type = {
    .size = sizeof(struct unr_op_type),
    .name = "work",
    .start = abandonable_start,
    .private_fields = { .kind = UNRI_WRAPPER,
                        .combinator = &combinator,
                        .explain = explain_abandonable },
};

struct unr_op *unr_work_abandonable(struct unr_work *work, unr_fiber_fn *fn, void *argument,
                                    void (*dispose)(void *argument))
{
    struct unr_work_private *p = &work->private_fields;
    unri_describe_wrapper(&work->op, &abandonable_type, unr_describe(&p->child, &child_type));
    p->fn = fn;
    p->argument = argument;
    p->dispose = dispose;
    p->call = NULL;
    p->was_abandoned = false;
    return &work->op;
}

/* ---- what the function and the program call ---- */

bool unr_work_cancelled(void)
{
    return unri_job_is_asked();
}

void unr_work_limit(unsigned threads)
{
    unri_workers_limit(threads);
}
