/* SPDX-License-Identifier: MIT */
/* Threads that run what blocks, as the simulated kernel has them.  Each pool has as many as its
 * limit allows, which are made when they are needed.  A job begins at any later point, but behind
 * those that were started before it, and when there is a thread for it.  At any point after that
 * its function runs, all at once, and returns. */
#include "../../lib/core/fiber_running.h"
#include "../../lib/loop/thread_pool.h"
#include "sim.h"

/* Jobs, oldest first. */
struct jobs {
    struct unr_job *first, *last;
    unsigned        count;
};

struct pool {
    struct jobs waiting, running;
    unsigned    threads, limit;
    bool        begins; /* one that waits: this is among what other processes are to do */
};

enum { THREADS = 4 };

static struct pool     pools[UNRI_THREAD_POOLS];
static struct unr_job *running;
static bool            looked_before; /* the function that runs has, before it was asked */
static bool            has_left;      /* the job that runs: code of a loop that it runs does */

void sim_thread_pool_reset(void)
{
    running = NULL;
    has_left = false;
    for (unsigned i = 0; i < UNRI_THREAD_POOLS; i++)
        pools[i] = (struct pool){ .limit = THREADS };
}

static void append(struct jobs *jobs, struct unr_job *job)
{
    job->next = NULL;
    job->previous = jobs->last;
    *(jobs->last ? &jobs->last->next : &jobs->first) = job;
    jobs->last = job;
    jobs->count++;
}

static void take_out(struct jobs *jobs, struct unr_job *job)
{
    *(job->previous ? &job->previous->next : &jobs->first) = job->next;
    *(job->next ? &job->next->previous : &jobs->last) = job->previous;
    jobs->count--;
}

/* ---- threads, which come, go and run jobs ---- */

static void begin(void *context);

static bool may_begin(const struct pool *pool)
{
    return pool->waiting.count && pool->running.count < pool->threads;
}

/* Sees to it that the first that waits begins at a later point if it can, and else does not. */
static void look_for_work(struct pool *pool)
{
    if (pool->begins && !may_begin(pool))
        sim_kernel_forget_later(pool);
    else if (!pool->begins && may_begin(pool))
        unr_sim_later(begin, pool);
    pool->begins = may_begin(pool);
}

/* Makes threads for what waits, as far as there is memory. */
static void make_threads(struct pool *pool)
{
    while (pool->waiting.count > pool->threads - pool->running.count && pool->threads < pool->limit
           && !sim_kernel_lacks_memory())
        pool->threads++;
}

/* Ends threads above the limit that have nothing to do. */
static void end_threads(struct pool *pool)
{
    while (pool->threads > pool->limit && pool->threads > pool->running.count)
        pool->threads--;
}

static struct pool *pool_of(const struct unr_job *running_job)
{
    for (struct unr_job *each = pools->running.first; each; each = each->next)
        if (each == running_job)
            return pools;
    return pools + 1;
}

static void run_and_return(void *context)
{
    struct unr_job *job = context;
    struct pool    *pool = pool_of(job);
    struct unr_op  *left = unri_leave_fiber();
    bool            left_before = has_left;
    running = job;
    has_left = false;
    looked_before = job->asked && unri_choose(2);
    job->run(job);
    looked_before = false;
    take_out(&pool->running, job);
    if (job->state == UNRI_JOB_ABANDONED) {
        job->orphaned(job);
    } else {
        job->state = UNRI_JOB_RETURNED;
        unr_loop_post(job->loop, &job->task);
    }
    running = NULL;
    has_left = left_before;
    end_threads(pool);
    look_for_work(pool);
    unri_return_to_fiber(left);
}

static void begin(void *context)
{
    struct pool    *pool = context;
    struct unr_job *job = pool->waiting.first;
    take_out(&pool->waiting, job);
    append(&pool->running, job);
    job->state = UNRI_JOB_RUNS;
    unr_sim_later(run_and_return, job);
    pool->begins = false;
    look_for_work(pool);
}

/* ---- for a loop ---- */

int unri_job_start(enum unri_thread_pool which, struct unr_job *job)
{
    struct pool *pool = &pools[which];
    job->state = UNRI_JOB_WAITS;
    job->asked = false;
    append(&pool->waiting, job);
    make_threads(pool);
    if (pool->threads == 0) {
        take_out(&pool->waiting, job);
        return -EAGAIN;
    }
    look_for_work(pool);
    return 0;
}

static void return_now(struct unr_job *job)
{
    sim_kernel_forget_later(job);
    run_and_return(job);
}

static void begin_now(struct pool *pool)
{
    sim_kernel_forget_later(pool);
    begin(pool);
}

static struct unr_job *choose_running(const struct pool *pool)
{
    struct unr_job *job = pool->running.first;
    for (unsigned i = unri_choose(pool->running.count); i; i--)
        job = job->next;
    return job;
}

/* Threads go on also while the loop's is not in the kernel: with this job, or with those that it
 * waits for. */
static void go_on_meanwhile(struct pool *pool, struct unr_job *job)
{
    while (job->state <= UNRI_JOB_RUNS && unri_choose(2)) {
        if (job->state == UNRI_JOB_RUNS)
            return_now(job);
        else if (may_begin(pool))
            begin_now(pool);
        else
            return_now(choose_running(pool));
    }
}

enum unri_job_state unri_job_cancel(enum unri_thread_pool which, struct unr_job *job,
                                    enum unri_job_cancel how)
{
    struct pool *pool = &pools[which];
    go_on_meanwhile(pool, job);
    enum unri_job_state state = (enum unri_job_state)job->state;
    if (state == UNRI_JOB_WAITS) {
        take_out(&pool->waiting, job);
        look_for_work(pool);
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
    return running && !has_left && running->asked && !looked_before;
}

bool unri_leave_job(void)
{
    bool left_before = has_left;
    has_left = true;
    return left_before;
}

void unri_return_to_job(bool left_before)
{
    has_left = left_before;
}

void unri_workers_limit(unsigned threads)
{
    struct pool *pool = &pools[UNRI_WORKERS];
    pool->limit = threads ? threads : THREADS;
    end_threads(pool);
    make_threads(pool);
    look_for_work(pool);
}

static bool runs_for(const struct unr_loop *loop)
{
    for (const struct pool *pool = pools; pool < pools + UNRI_THREAD_POOLS; pool++)
        for (const struct unr_job *job = pool->running.first; job; job = job->next)
            if (job->loop == loop && job->state == UNRI_JOB_RUNS)
                return true;
    return false;
}

bool unri_jobs_await(struct unr_loop *loop)
{
    if (runs_for(loop))
        sim_kernel_act();
    return runs_for(loop);
}

static bool has_jobs(const struct pool *pool)
{
    return pool->waiting.count || pool->running.count;
}

void unr_sim_join_threads(void)
{
    while (has_jobs(&pools[UNRI_WORKERS]) || has_jobs(&pools[UNRI_RESOLVERS]))
        sim_kernel_act();
}
