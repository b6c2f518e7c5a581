/* What any thread may do to a loop: stop, hold and release it, have a task run on its thread, and
 * emit a signal there.  They touch the loop until they return: it is closed only afterwards. */
#ifndef UNRING_THREAD_H
#define UNRING_THREAD_H

#include <unring/loop.h>

UNR_BEGIN

/* Ends one run or run_once, the present one or the next, after the turn it is in.  Threads: any. */
UNR_API void unr_loop_stop(struct unr_loop *loop);

/* While a loop is held, run does not return for want of work.  Holds are counted.  Threads: any. */
UNR_API void unr_loop_hold(struct unr_loop *loop);
UNR_API void unr_loop_release(struct unr_loop *loop);

/* A function to run on the loop's thread.  The structure is the caller's, lent until `run` is
 * called, and may be freed or posted again inside it. */
struct unr_task {
    void (*run)(struct unr_task *task);
    struct unr_task *next;
};

/* Has `task` run in the loop's next turn; tasks of one thread run in the order in which it posted
 * them.  Posting a task that is waiting already is not allowed.
 * Memory   allocates nothing.   Threads  any. */
UNR_API void unr_loop_post(struct unr_loop *loop, struct unr_task *task);

/* Emits a signal from other threads.  Zeroed, then initialised; not moved until disarmed. */
struct unr_remote {
    struct unr_task    task;
    struct unr_loop   *loop;
    struct unr_signal *signal;
    uint64_t           private_fields[2];
};

/* Connects `remote` with a signal of the loop's thread. */
UNR_API void unr_remote_init(struct unr_remote *remote, struct unr_loop *loop,
                             struct unr_signal *signal);

/* Has the signal emitted on the loop's thread.  Emitting again before delivery merges: the types
 * are or-ed, the first cause stays.  After unr_remote_disarm() it does nothing, as long as the
 * memory is there.
 * types, cause  as unr_signal_emit_cause().   Threads  any. */
UNR_API void unr_remote_emit(struct unr_remote *remote, unsigned types, int cause);

/* Disconnects: what was emitted and not delivered is dropped, and afterwards remote and signal may
 * be freed, once no other thread will emit again.   Threads  the loop's. */
UNR_API void unr_remote_disarm(struct unr_remote *remote);

UNR_END
#endif
