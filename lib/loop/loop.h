/* SPDX-License-Identifier: MIT */
/* The whole of a loop: what operations and the ring know of it (lib/core/loop.h), and what
 * lib/loop/ adds to that. */
#ifndef UNRI_LOOP_H
#define UNRI_LOOP_H

#include "../core/loop.h"
#include "inbox.h"
#include "timer.h"

struct unri_whole_loop {
    struct unr_loop    core; /* first: a pointer to the loop points to this too */
    struct unri_timers timers;
    struct unri_inbox  inbox;

    /* The loop's own read of an eventfd that other threads write to. */
    struct {
        int           fd;
        struct unr_op read;
        uint64_t      count;
    } wake;

    /* The timer that the kernel keeps for the descriptor of an embedded loop. */
    struct {
        struct unr_op op;
        int64_t       at[2]; /* a struct __kernel_timespec */
        unr_time      deadline;
    } alarm;
};

static inline struct unri_whole_loop *unri_whole(const struct unr_loop *loop)
{
    return (struct unri_whole_loop *)loop;
}

static inline struct unri_inbox *unri_inbox(const struct unr_loop *loop)
{
    return &unri_whole(loop)->inbox;
}

static inline struct unri_timers *unri_timers(const struct unr_loop *loop)
{
    return &unri_whole(loop)->timers;
}

/* Makes the loop the calling thread's, and its ring ready, if it is nobody's yet. */
int unri_loop_own(struct unr_loop *loop);

/* Before a turn of an embedded loop: sets the alarm. */
void unri_embed_begin(struct unr_loop *loop);

/* After it: the loop's descriptor is readable exactly if there is work left. */
void unri_embed_end(struct unr_loop *loop);

#endif
