/* SPDX-License-Identifier: MIT */
/* Threads that run what blocks.  One lock guards all pools, and the states of all jobs.  It is held
 * for a few instructions, and while a thread is made or a loop is woken; never while a job runs.
 *
 * A thread posts a job to its loop while it holds the lock.  The loop's thread takes the lock once,
 * in unri_job_arrived(), before it ends the job's operation: so the thread has left the loop by
 * then, and the loop may be closed and freed. */
#include "thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

struct pool {
    const char     *name; /* of its threads, at most 15 characters */
    pthread_cond_t  more; /* jobs, or a smaller limit */
    struct unr_job *first, *last;
    unsigned        waiting; /* jobs */
    struct unr_job *runs;    /* the jobs that are not abandoned, newest first */
    unsigned        threads, busy;
    unsigned        limit; /* 0, until it is first needed: workers_by_default() */
};

enum { IDLE_SECONDS = 10, WORKERS_MIN = 4, RESOLVERS = 4, STACK_MIN = 1 << 20 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  returned = PTHREAD_COND_INITIALIZER; /* a job has, and is over */
static struct pool     pools[UNRI_THREAD_POOLS] = {
        [UNRI_WORKERS] = { .name = "unring-work" },
        [UNRI_RESOLVERS] = { .name = "unring-names", .limit = RESOLVERS },
};

/* What this thread runs; NULL: nothing, as the threads of loops.  A child of fork(2) runs no job:
 * if one has forked, its function goes on in the child, and the job is the parent's. */
static _Thread_local struct unr_job *running;
static _Thread_local bool has_left; /* it, between unri_leave_job() and its counterpart */

/* ---- once, and in a child of fork(2) ---- */

static unsigned processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1;
}

static unsigned workers_by_default(void)
{
    unsigned n = processors();
    return n > WORKERS_MIN ? n : WORKERS_MIN;
}

/* Waiting is by CLOCK_MONOTONIC, which nobody sets. */
static void prepare_conditions(void)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    for (unsigned i = 0; i < UNRI_THREAD_POOLS; i++)
        pthread_cond_init(&pools[i].more, &attributes);
    pthread_cond_init(&returned, &attributes);
    pthread_condattr_destroy(&attributes);
}

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

/* The child has this one thread.  The jobs are the parent's. */
static void in_child(void)
{
    running = NULL;
    prepare_conditions();
    for (unsigned i = 0; i < UNRI_THREAD_POOLS; i++) {
        struct pool *pool = &pools[i];
        pool->first = pool->last = pool->runs = NULL;
        pool->waiting = pool->threads = pool->busy = 0;
    }
    pthread_mutex_unlock(&lock);
}

/* Runs before the program's own constructors.  At the first start it would be too late: another
 * thread may fork in the middle of it, and in the child it would never end. */
__attribute__((constructor(101))) static void prepare(void)
{
    prepare_conditions();
    pthread_atfork(before_fork, in_parent, in_child);
}

/* ---- a thread ---- */

static void append(struct pool *pool, struct unr_job *job)
{
    job->next = NULL;
    job->previous = pool->last;
    if (pool->last)
        pool->last->next = job;
    else
        pool->first = job;
    pool->last = job;
    pool->waiting++;
}

static void take_out(struct pool *pool, struct unr_job *job)
{
    if (job->previous)
        job->previous->next = job->next;
    else
        pool->first = job->next;
    if (job->next)
        job->next->previous = job->previous;
    else
        pool->last = job->previous;
    pool->waiting--;
}

static void enter_runs(struct pool *pool, struct unr_job *job)
{
    job->previous = NULL;
    job->next = pool->runs;
    if (job->next)
        job->next->previous = job;
    pool->runs = job;
}

static void leave_runs(struct pool *pool, struct unr_job *job)
{
    if (job->previous)
        job->previous->next = job->next;
    else
        pool->runs = job->next;
    if (job->next)
        job->next->previous = job->previous;
}

/* Calls one of the functions of the job that this thread runs, without the lock.  False: the
 * function has forked, and this is the child, which has to do with neither the job nor the thread:
 * the lock is not held. */
static bool call(void (*function)(struct unr_job *job), struct unr_job *job)
{
    pthread_mutex_unlock(&lock);
    function(job);
    if (!running)
        return false;
    pthread_mutex_lock(&lock);
    return true;
}

/* Runs a job.  The lock is held before and after.  False: as call(). */
static bool run(struct pool *pool, struct unr_job *job)
{
    job->state = UNRI_JOB_RUNS;
    enter_runs(pool, job);
    running = job;
    pool->busy++;
    if (!call(job->run, job))
        return false;
    if (job->state == UNRI_JOB_ABANDONED) {
        if (!call(job->orphaned, job))
            return false;
    } else {
        leave_runs(pool, job);
        job->state = UNRI_JOB_RETURNED;
        unr_loop_post(job->loop, &job->task);
    }
    running = NULL;
    pool->busy--;
    pthread_cond_broadcast(&returned);
    return true;
}

static struct timespec from_now(unr_time delay)
{
    struct timespec when;
    clock_gettime(CLOCK_MONOTONIC, &when);
    unr_time ns = when.tv_nsec + delay;
    when.tv_sec += (time_t)(ns / UNR_SEC(1));
    when.tv_nsec = (long)(ns % UNR_SEC(1));
    return when;
}

/* Waits for a job.  False: there was none for so long that the thread is to end. */
static bool wait_for_job(struct pool *pool)
{
    struct timespec until = from_now(UNR_SEC(IDLE_SECONDS));
    int             error = 0;
    while (!pool->first && pool->threads <= pool->limit && error != ETIMEDOUT)
        error = pthread_cond_timedwait(&pool->more, &lock, &until);
    return pool->first;
}

static void *run_jobs(void *argument)
{
    struct pool *pool = argument;
    pthread_mutex_lock(&lock);
    while (pool->threads <= pool->limit && (pool->first || wait_for_job(pool))) {
        struct unr_job *job = pool->first;
        take_out(pool, job);
        if (!run(pool, job))
            return NULL;
    }
    pool->threads--;
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* The signals that are blocked in a thread: all, because a program expects them in its own threads,
 * but those that a fault in the thread itself raises.  The kernel ends the process for one of these
 * where it is blocked, and whatever handles faults, a sanitizer say, would not be called. */
static void signals_to_block(sigset_t *ret_set)
{
    static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS };
    sigfillset(ret_set);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(ret_set, faults[i]);
}

/* Makes a thread.  The stacks of musl are too small for what a caller may run. */
static bool make_thread(struct pool *pool)
{
    pthread_attr_t attributes;
    pthread_t      thread;
    sigset_t       blocked, before;
    size_t         stack;
    signals_to_block(&blocked);
    if (pthread_attr_init(&attributes))
        return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_attr_getstacksize(&attributes, &stack) == 0 && stack < STACK_MIN)
        pthread_attr_setstacksize(&attributes, STACK_MIN);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = pthread_create(&thread, &attributes, run_jobs, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error)
        return false;
    pthread_setname_np(thread, pool->name);
    pool->threads++;
    return true;
}

/* Sees to it that each job that waits is looked for, by a thread that has nothing to do or by a new
 * one. */
static void man(struct pool *pool)
{
    while (pool->waiting > pool->threads - pool->busy && pool->threads < pool->limit)
        if (!make_thread(pool))
            break;
    pthread_cond_signal(&pool->more);
}

/* ---- for a loop ---- */

int unri_job_start(enum unri_thread_pool which, struct unr_job *job)
{
    struct pool *pool = &pools[which];
    int          error = 0;
    job->state = UNRI_JOB_WAITS;
    job->asked = false;
    pthread_mutex_lock(&lock);
    if (!pool->limit)
        pool->limit = workers_by_default();
    append(pool, job);
    man(pool);
    if (pool->threads == 0) {
        take_out(pool, job);
        error = -EAGAIN;
    }
    pthread_mutex_unlock(&lock);
    return error;
}

enum unri_job_state unri_job_cancel(enum unri_thread_pool which, struct unr_job *job,
                                    enum unri_job_cancel how)
{
    struct pool *pool = &pools[which];
    pthread_mutex_lock(&lock);
    enum unri_job_state state = (enum unri_job_state)job->state;
    if (state == UNRI_JOB_WAITS) {
        take_out(pool, job);
    } else if (state == UNRI_JOB_RUNS && how != UNRI_JOB_LET) {
        __atomic_store_n(&job->asked, true, __ATOMIC_RELEASE);
        if (how == UNRI_JOB_ABANDON) {
            leave_runs(pool, job);
            job->state = UNRI_JOB_ABANDONED;
        }
    }
    pthread_mutex_unlock(&lock);
    return state;
}

void unri_job_arrived(void)
{
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
}

bool unri_job_is_asked(void)
{
    return running && !has_left && __atomic_load_n(&running->asked, __ATOMIC_ACQUIRE);
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

static bool has_jobs_that_run(const struct unr_loop *loop)
{
    for (const struct pool *pool = pools; pool < pools + UNRI_THREAD_POOLS; pool++)
        for (const struct unr_job *job = pool->runs; job; job = job->next)
            if (job->loop == loop)
                return true;
    return false;
}

bool unri_jobs_await(struct unr_loop *loop)
{
    struct timespec until = from_now(UNR_MSEC(1));
    pthread_mutex_lock(&lock);
    if (has_jobs_that_run(loop))
        pthread_cond_timedwait(&returned, &lock, &until);
    bool more = has_jobs_that_run(loop);
    pthread_mutex_unlock(&lock);
    return more;
}

void unri_jobs_join(void)
{
    pthread_mutex_lock(&lock);
    for (struct pool *pool = pools; pool < pools + UNRI_THREAD_POOLS; pool++)
        while (pool->waiting + pool->busy > 0)
            pthread_cond_wait(&returned, &lock);
    pthread_mutex_unlock(&lock);
}

void unri_workers_limit(unsigned threads)
{
    struct pool *pool = &pools[UNRI_WORKERS];
    pthread_mutex_lock(&lock);
    pool->limit = threads ? threads : workers_by_default();
    if (pool->waiting)
        man(pool);
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&lock);
}
