/* SPDX-License-Identifier: MIT */
/* A loop, as far as operations and the ring need it.  lib/loop/loop.h has the whole of it: timers,
 * inbox, embedding. */
#ifndef UNRI_LOOP_CORE_H
#define UNRI_LOOP_CORE_H

#include <pthread.h>
#include <unring/loop.h>
#include "descriptor.h"
#include "os.h"

/* A page that the kernel zeroes in a forked child: there `owner` is UNRI_FORKED. */
struct unri_guard {
    uintptr_t owner; /* the thread that runs the loop, or one of these */
};
#define UNRI_FORKED  0 /* this process is a child of the one that opened the loop */
#define UNRI_UNOWNED 1 /* no thread has run the loop yet */

/* Operations in the order in which their `done` will run, linked by private_fields.next. */
struct unri_fifo {
    struct unr_op *first, *last;
};

struct unr_loop {
    struct unri_guard *guard;
    struct unri_ring  *ring;    /* uring/'s */
    unr_time           now;     /* the time of this turn, once somebody has asked: clock.h */
    uint32_t           turn_ms; /* the same in milliseconds, coarse */
    bool               now_known, turn_ms_known;
    unsigned           in_flight; /* operations that are no combinator's child */
    unsigned           ran;       /* their `done`s in this turn */
    bool               in_turn;   /* user code runs inside: from entering a turn to leaving it */
    bool               closing;
    uint64_t           starts_left; /* while closing: how many more starts are served */

    struct unri_fifo        finished;     /* what has ended since the turn began to hand back */
    struct unri_fifo        handing_back; /* what had ended when it began */
    const struct unr_op    *handed_to;    /* the combinator whose child_done is running */
    struct unri_descriptors descriptors;
    struct unr_stats        stats;

    /* The multishot operation whose shot is in its `done`.  Until that returns, its result is the
     * caller's to read; what becomes of cancellation requests is kept here meanwhile. */
    struct {
        struct unr_op            *op;
        struct unr_result         result;  /* what the operation's own will be again */
        struct unr_cancel_request request; /* to be passed on to the type; types 0: none */
    } shot;

    int embed_fd; /* -1, or the eventfd that unr_loop_fd() returned */
};

/* Tells another event loop, in which this one is embedded, that there is work: for what is started,
 * asked or finished outside of a turn.  A turn looks for itself before it ends. */
static inline void unri_notice(const struct unr_loop *loop)
{
    if (!loop->in_turn && loop->embed_fd >= 0)
        unri_os_wake(loop->embed_fd);
}

#endif
