/* SPDX-License-Identifier: MIT */
/* Threads that run what blocks, as the simulated kernel has them: a job begins at any later point,
 * and at any point after that its function runs, all at once, and returns.  There are as many
 * threads as jobs. */
#include "../../lib/core/fiber_running.h"
#include "../../lib/loop/thread_pool.h"
#include "sim.h"

static struct unr_job *running;
static bool            looked_before; /* the function that runs has, before it was asked */
static unsigned        jobs;          /* which wait or run */

void sim_thread_pool_reset(void)
{
    running = NULL;
    jobs = 0;
}

static void run_and_return(void *context)
{
    struct unr_job *job = context;
    struct unr_op  *left = unri_leave_fiber();
    running = job;
    looked_before = job->asked && unri_choose(2);
    job->run(job);
    looked_before = false;
    jobs--;
    if (job->state == UNRI_JOB_ABANDONED) {
        job->orphaned(job);
    } else {
        job->state = UNRI_JOB_RETURNED;
        unr_loop_post(job->loop, &job->task);
    }
    running = NULL;
    unri_return_to_fiber(left);
}

static void begin(void *context)
{
    struct unr_job *job = context;
    job->state = UNRI_JOB_RUNS;
    unr_sim_later(run_and_return, job);
}

int unri_job_start(enum unri_thread_pool which, struct unr_job *job)
{
    (void)which;
    if (sim_kernel_lacks_memory())
        return -EAGAIN;
    job->state = UNRI_JOB_WAITS;
    job->asked = false;
    jobs++;
    unr_sim_later(begin, job);
    return 0;
}

/* Threads go on also while the loop's is not in the kernel. */
static void go_on_meanwhile(struct unr_job *job)
{
    static void (*const next[])(
        void *) = { [UNRI_JOB_WAITS] = begin, [UNRI_JOB_RUNS] = run_and_return };
    while (job->state <= UNRI_JOB_RUNS && unri_choose(2)) {
        sim_kernel_forget_later(job);
        next[job->state](job);
    }
}

enum unri_job_state unri_job_cancel(enum unri_thread_pool which, struct unr_job *job,
                                    enum unri_job_cancel how)
{
    (void)which;
    go_on_meanwhile(job);
    enum unri_job_state state = (enum unri_job_state)job->state;
    if (state == UNRI_JOB_WAITS) {
        sim_kernel_forget_later(job);
        jobs--;
    } else if (state == UNRI_JOB_RUNS && how != UNRI_JOB_LET) {
        job->asked = true;
        if (how == UNRI_JOB_ABANDON)
            job->state = UNRI_JOB_ABANDONED;
    }
    return state;
}

void unri_job_arrived(void)
{
}

bool unri_job_is_asked(void)
{
    return running && running->asked && !looked_before;
}

void unri_workers_limit(unsigned threads)
{
    (void)threads;
}

void unr_sim_join_threads(void)
{
    while (jobs > 0)
        sim_kernel_act();
}
