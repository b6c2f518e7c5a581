/* SPDX-License-Identifier: MIT */
/* Threads of the process beside those of loops, for what blocks.  A part of the seam: thread_pool.c
 * has the real ones, and the simulated kernel its own.
 *
 * A job waits for a thread, is run by it, and is posted to its loop, whose thread has it from then
 * on; or it is abandoned meanwhile, and the thread that runs it has it. */
#ifndef UNRI_THREAD_POOL_H
#define UNRI_THREAD_POOL_H

#include <unring/work.h>
#include "../core/base.h"

/* The pools, whose threads do not do each other's jobs. */
enum unri_thread_pool {
    UNRI_WORKERS,   /* for what callers want to be done */
    UNRI_RESOLVERS, /* for names, which may take long to be answered */
    UNRI_THREAD_POOLS
};

/* What becomes of a job: unr_job.state. */
enum unri_job_state {
    UNRI_JOB_WAITS,     /* for a thread */
    UNRI_JOB_RUNS,      /* on a thread */
    UNRI_JOB_ABANDONED, /* and runs yet */
    UNRI_JOB_RETURNED,  /* its task is in the inbox of its loop */
};

/* How far a job that runs is to be cancelled. */
enum unri_job_cancel {
    UNRI_JOB_LET,     /* not at all */
    UNRI_JOB_ASK,     /* its function is told */
    UNRI_JOB_ABANDON, /* its function is told, and nobody waits for it: `orphaned` is called */
};

/* Has `job` run, whose loop, task.run, run and orphaned are set.  0; or -EAGAIN: there is no
 * thread, and none can be made. */
int unri_job_start(enum unri_thread_pool pool, struct unr_job *job);

/* Cancels a job, and returns in which state it was: if it waited, it never runs. */
enum unri_job_state unri_job_cancel(enum unri_thread_pool pool, struct unr_job *job,
                                    enum unri_job_cancel how);

/* Waits until the threads that have posted a job are done with its loop, which may be closed and
 * freed then.  Called first in task.run. */
void unri_job_arrived(void);

/* Tells what runs on this thread as a job whether it was asked to return. */
bool unri_job_is_asked(void);

/* Waits for a job of the loop's that runs, and is not abandoned, to return, but a millisecond at
 * most.  Returns whether one still runs; those that do not are posted. */
bool unri_jobs_await(struct unr_loop *loop);

/* Says that unri_job_is_asked() is false on this thread until unri_return_to_job(), which takes
 * what this returns; around code of the caller's that is not the job's, though the job may run the
 * loop that calls it. */
bool unri_leave_job(void);
void unri_return_to_job(bool left_before);

/* Waits until no job waits or runs, abandoned ones included: for tests. */
void unri_jobs_join(void);

/* As unr_work_limit(). */
void unri_workers_limit(unsigned threads);

#endif
