/* SPDX-License-Identifier: MIT */
/* The whole of a loop: the part that operations and the ring know (lib/core/loop_core.h), and what
 * lib/loop/ adds to it. */
#ifndef UNRI_LOOP_H
#define UNRI_LOOP_H

#include "../core/loop_core.h"
#include "inbox.h"
#include "timer.h"

struct unri_whole_loop {
    struct unr_loop    core; /* first, so that a pointer to it points to the whole */
    struct unri_timers timers;
    struct unri_inbox  inbox;

    /* An eventfd that other threads write to, and the loop's own read of it.  Its completion ends
     * the wait in the kernel (owner.c). */
    struct {
        int           fd;
        struct unr_op read;
        uint64_t      count; /* lent to the read */
    } wake;

    /* The timer that the kernel keeps for an embedded loop, while that is outside of its turns
     * (embed.c). */
    struct {
        struct unr_op op;
        int64_t       at[2];    /* a struct __kernel_timespec, lent to it */
        unr_time      deadline; /* when it goes off, if it is in flight */
    } alarm;

    struct unri_whole_loop *next_loop, *previous_loop; /* unri_loops */
};

/* Puts a loop among all loops of the process, and takes it out again. */
void unri_loops_enter(struct unri_whole_loop *whole);
void unri_loops_leave(struct unri_whole_loop *whole);

/* The core of a loop is all that other floors see; in lib/loop/ it is always part of a whole. */
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

/* Makes the calling thread the owner of a loop that nobody owns yet, and makes the ring ready. */
int unri_loop_own(struct unr_loop *loop);

/* Runs one turn, which waits until `deadline` at most (INT64_MIN: not at all).  Returns 0, or a
 * negative errno that ends the run; loop->ran is how many `done`s have run. */
int unri_loop_turn(struct unr_loop *loop, unr_time deadline);

/* Sets the alarm of an embedded loop, before a turn, which then submits it. */
void unri_embed_begin(struct unr_loop *loop);

/* Makes the descriptor of an embedded loop readable exactly if there is work left, after a turn. */
void unri_embed_end(struct unr_loop *loop);

/* The loop that this thread is closing; NULL: none.  A scope that is over tells by it whether its
 * loop is there still, which may have been freed since. */
extern _Thread_local struct unr_loop *unri_loop_closing;

#endif
