/* SPDX-License-Identifier: MIT */
/* A loop, as far as operations and the ring need it.  The whole of it, with timers, inbox and
 * embedding, is in lib/loop/loop.h. */
#ifndef UNRI_LOOP_CORE_H
#define UNRI_LOOP_CORE_H

#include <unring/loop.h>
#include "descriptor.h"
#include "os.h"

/* A page of its own, which the kernel zeroes in a forked child: there `owner` is UNRI_FORKED. */
struct unri_guard {
    uintptr_t owner; /* the number of the thread that runs the loop, or as thread.h says */
};

/* Finished operations in the order in which their `done` will run, by private_fields.next. */
struct unri_fifo {
    struct unr_op *first, *last;
};

struct unr_loop {
    struct unri_guard *guard;
    struct unri_ring  *ring;    /* uring/'s */
    unr_time           now;     /* the time of this turn, once somebody has asked: clock.h */
    uint64_t           now_at;  /* when that was read, in unri_os_ticks() */
    uint32_t           turn_ms; /* the same in milliseconds, coarse */
    bool               now_known, turn_ms_known;
    unsigned           in_flight; /* started operations whose `done` is the caller's */
    unsigned           ran;       /* their `done`s in this turn */
    unsigned           armed;     /* calls that receivers and acceptors may have in flight */
    bool               in_turn;   /* user code runs inside: from entering a turn to leaving it */
    bool               closing;
    bool               attends_starts; /* a start has more to do: it is closing, or has checks */
    uint64_t           starts_left;    /* while closing: how many more starts are served */

    struct unri_fifo     finished;     /* operations that ended since handing back began */
    struct unri_fifo     handing_back; /* operations that had ended when it began, and still wait */
    const struct unr_op *handed_to;    /* the combinator that hears of a child's end, or NULL */
    struct unri_descriptors descriptors;
    struct unr_stats        stats;

    /* The multishot operation whose shot is in its `done`; NULL: none is.  Until that `done`
     * returns, the operation's own result is the caller's to read, and what becomes of cancellation
     * requests is kept here. */
    struct {
        struct unr_op            *op;
        struct unr_result         result;  /* what the operation's result will be afterwards */
        struct unr_cancel_request request; /* what its type is to be told then; types 0: nothing */
    } shot;

    struct unri_checks *checks; /* check.h; NULL: the loop was opened without */

    struct unri_fibers *fibers; /* lib/fiber/'s; NULL: no fiber has begun */
    void (*close_fibers)(struct unri_fibers *fibers);
    size_t             fiber_stack; /* as in struct unr_loop_options */
    unsigned           fiber_stacks_kept;
    struct unri_watch *watch; /* watchdog.h; NULL: its fibers are not watched */

    int embed_fd; /* -1, or the eventfd that unr_loop_fd() returned */
};

/* Wakes the event loop in which this one is embedded, because an operation was started, was asked
 * to end, or has ended.  Inside a turn that is needless: the turn looks at everything before it
 * ends. */
static inline void unri_notice(const struct unr_loop *loop)
{
    if (!loop->in_turn && loop->embed_fd >= 0)
        unri_os_wake(loop->embed_fd);
}

#endif
