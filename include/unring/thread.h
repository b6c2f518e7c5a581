/* SPDX-License-Identifier: MIT */
/* What any thread may do to a loop: stop it, hold and release it, have a task run on its thread,
 * and emit a signal there.  Each function touches the loop until it returns, so the loop is closed
 * only after that. */
#ifndef UNRING_THREAD_H
#define UNRING_THREAD_H

#include <unring/loop.h>

UNR_BEGIN

/* Ends one unr_loop_run() or unr_loop_run_once() after the turn that it is in.
 *
 * Which    the call that is under way; if there is none, the next one, which returns at once.  Two
 *          stops before either takes effect are one.
 * Threads  any. */
UNR_API void unr_loop_stop(struct unr_loop *loop);

/* Keeps unr_loop_run() from returning for want of work.
 *
 * Holds are counted: the loop is held until each has been released.
 *
 * Threads  any. */
UNR_API void unr_loop_hold(struct unr_loop *loop);

/* Takes one unr_loop_hold() back.
 *
 * Broken   releasing a loop that nobody holds is a broken contract.
 * Threads  any. */
UNR_API void unr_loop_release(struct unr_loop *loop);

/* A function to be run on a loop's thread.
 *
 * Memory   the caller's, lent from unr_loop_post() until `run` is called; inside `run` the task
 *          may be freed or posted again. */
struct unr_task {
    void (*run)(struct unr_task *task); /* set by the caller */
    struct unr_task *next;              /* unring's */
};

/* Has `task` run on the loop's thread, in this turn of the loop or in the next.
 *
 * task     not waiting to be run already.
 * Order    the tasks of one thread run in the order in which that thread posted them.
 * Memory   allocates nothing.
 * Threads  any. */
UNR_API void unr_loop_post(struct unr_loop *loop, struct unr_task *task);

/* unring's own part of a `struct unr_remote`: not to be read or written. */
struct unr_remote_private {
    uint64_t pending;  /* emits that are not delivered yet: types, flags and the first cause */
    uint64_t previous; /* while the task is in the inbox of the loop: the task in front of it */
};

/* Emits a signal of a loop's thread from other threads.
 *
 * Memory   the caller's; it stays where it is from unr_remote_init() until unr_remote_disarm(). */
struct unr_remote {
    struct unr_task           task;   /* unring's */
    struct unr_loop          *loop;   /* unring's */
    struct unr_signal        *signal; /* unring's */
    struct unr_remote_private private_fields;
};

/* Connects `remote` with a signal that belongs to the thread of `loop`.
 *
 * remote   overwritten.
 * signal   stays where it is until unr_remote_disarm(). */
UNR_API void unr_remote_init(struct unr_remote *remote, struct unr_loop *loop,
                             struct unr_signal *signal);

/* Has the signal emitted on the loop's thread.
 *
 * types    the guarantees that the requester accepts: a mask of UNR_CANCEL_*.  0 and bits outside
 *          UNR_CANCEL_ALL are a broken contract.
 * cause    why: negative.  0 and above is a broken contract.
 * Merged   with an earlier emit that is not delivered yet: the types are or-ed, and the first
 *          cause stays.
 * Ended    after unr_remote_disarm() it does nothing, as long as the memory of `remote` is there.
 * Memory   allocates nothing.
 * Threads  any. */
UNR_API void unr_remote_emit(struct unr_remote *remote, unsigned types, int cause);

/* Disconnects `remote` from its signal.
 *
 * Dropped  an emit that is not delivered yet has no effect any more.
 * Memory   the signal may be freed afterwards; `remote`, too, once no other thread will call
 *          unr_remote_emit() on it again.
 * Inside   any `done`, task and handler, the one that the remote emits to included.
 * Threads  the loop's. */
UNR_API void unr_remote_disarm(struct unr_remote *remote);

UNR_END
#endif
