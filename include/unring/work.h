/* SPDX-License-Identifier: MIT */
/* Work: functions that block or compute for long, run by threads of the process beside those of its
 * loops.
 *
 * All loops share the threads.  They are made when they are needed, wait ten seconds for more to
 * do, and end.  They are detached, and exit(3) waits for none.  Every signal is blocked in them,
 * and so in the processes that they start, but for those that a fault raises: SIGSEGV and its like.
 * They run on the processors, and with the scheduling, of the threads that have made them, which
 * are those that start work.  A child of fork(2) has none of its parent's threads, and makes its
 * own. */
#ifndef UNRING_WORK_H
#define UNRING_WORK_H

#include <unring/fiber.h>
#include <unring/thread.h>

UNR_BEGIN

/* unring's own part of a `struct unr_work`: not to be read or written.  It is what a thread has to
 * run. */
struct unr_job {
    struct unr_task  task; /* tells the loop that the function has returned */
    struct unr_loop *loop;
    struct unr_job  *next, *previous;      /* among those that wait for a thread */
    void (*run)(struct unr_job *job);      /* on the thread */
    void (*orphaned)(struct unr_job *job); /* on the thread: nobody waits for it any more */
    uint32_t state;
    uint32_t asked; /* the function is to return early; any thread reads it */
};

/* unring's own part of a `struct unr_work`: not to be read or written.  It is one call of the
 * function. */
struct unr_work_call {
    struct unr_job job;
    struct unr_op *op; /* which it ends */
    unr_fiber_fn  *fn;
    void          *argument;
    void (*dispose)(void *argument);
    int returned;
    int cause; /* why the function was first asked to return early; 0: it was not */
};

/* unring's own part of a `struct unr_work`: not to be read or written. */
struct unr_work_private {
    unr_fiber_fn *fn;
    void         *argument;
    void (*dispose)(void *argument);
    struct unr_work_call *call;
    bool                  was_abandoned;
    union {
        struct unr_work_call own;   /* of unr_work() */
        struct unr_op        child; /* of unr_work_abandonable() */
    };
};

/* A piece of work, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_work {
    struct unr_op           op;
    struct unr_work_private private_fields;
};

/* Describes a call of fn(argument) on a thread of the process's pool.
 *
 * argument  lent until `done`.
 * Order     pieces of work begin in the order in which they were started.
 * Result    as the function returns, see unr_fiber_fn: value, or error.  A function that was
 *           not told, and returns -ECANCELED, has cancelled itself: cause -ECANCELED, guarantee
 *           TERMINAL, and a verdict that says what became of the requests that it was not told of:
 *           NONE, RUNNING or TOO_LATE.
 * Cancels   TOTAL while it waits for a thread: the function never runs, and the verdict is
 *           UNSUBMITTED.  While it runs, TERMINAL: unr_work_cancelled() says so to the function,
 *           and if that returns -ECANCELED or the cause, it was cancelled, with the cause of the
 *           request that it was told of first.  If it returns anything else, or no request accepts
 *           TERMINAL, the verdict is RUNNING.
 * Errors    -EAGAIN: there is no thread, and none can be made.
 * Closing   a loop that is being closed asks the function to return, and waits for it.
 * Fork      a child of fork(2) that the function makes may go on in it, and open loops and start
 *           work of its own.  The operation is the parent's: in the child unr_work_cancelled() is
 *           false, and when the function returns, its thread ends.  If it is the last, the child
 *           exits with status 0, pthread_exit(3); threads that have run work of the child's keep
 *           it running for some seconds more.  A child that is to end at once calls _exit(2).
 * Broken    a C++ exception, longjmp(3) or pthread_exit(3) that leaves the function; unr_await()
 *           in it.
 * Memory    allocates nothing but a thread, where one is made.
 * Returns   `&work->op`.
 * Threads   the loop's.
 * Source    tests/test_work.c. */
UNR_API struct unr_op *unr_work(struct unr_work *work, unr_fiber_fn *fn, void *argument);

/* Tells the function of a piece of work that it is to return early.
 *
 * Returns  true once a request that accepts TERMINAL was made to the work, or once the work was
 *          abandoned.  False outside of such a function.
 * Threads  any. */
UNR_API bool unr_work_cancelled(void);

/* Describes work that is not waited for when it is cancelled while it runs.
 *
 * argument  the work's from its start on.  It lies on the heap, say, and `dispose` frees it.
 * dispose   is called once for each start.  If the work was abandoned, on its thread, when the
 *           function has returned; unr_work_cancelled() is true there.  In every other case, also
 *           if the function never ran, on the loop's thread before `done`;
 *           unr_work_cancelled() is false there, also if a function that was asked to return
 *           runs the loop, and what the function has found may be moved to where `done` looks
 *           for it.
 * Result    as unr_work().
 * Cancels   TOTAL while it waits for a thread.  While it runs, TERMINAL: it ends at once, and the
 *           function runs on by itself.  A request that does not accept TERMINAL is honoured only
 *           while it waits, and its verdict is RUNNING otherwise.
 * Kept      a function that runs on keeps its thread: as many as unr_work_limit() allows let no
 *           further work begin until one of them returns.
 * Errors    as unr_work(); -ENOMEM: there is no memory for what the thread keeps.
 * Closing   a loop that is being closed abandons it.
 * Memory    allocates what the thread keeps, at the start.
 * Returns   `&work->op`.
 * Threads   the loop's.
 * Source    tests/test_work.c. */
UNR_API struct unr_op *unr_work_abandonable(struct unr_work *work, unr_fiber_fn *fn, void *argument,
                                            void (*dispose)(void *argument));

/* Sets how many threads of the process work at most.
 *
 * threads  0: as many as there are processors for the calling thread, sched_getaffinity(2), and at
 *          least 4; at first so for the thread that started the first work.
 * Now      what waits begins if the number grew; threads above a smaller number end when they have
 *          run what they are in.
 * Threads  any. */
UNR_API void unr_work_limit(unsigned threads);

UNR_END
#endif
