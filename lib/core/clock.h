/* SPDX-License-Identifier: MIT */
/* The time of a turn.  Reading the clock costs as much as half an operation.  So a turn reads it
 * when somebody first asks, and its time then stands still until the loop comes back from the
 * kernel, or for a millisecond: a `done` that computes for long, and then starts an operation with
 * a time-out, has the whole of that time-out before it.  A counter of the processor, which costs
 * less than the clock, tells whether the millisecond may be over.  The clock itself is
 * unri_os_clock() in os.h; what waits for a time is in lib/loop/timer_queue.c. */
#ifndef UNRI_CLOCK_H
#define UNRI_CLOCK_H

#include "loop_core.h"

/* Returns the time of this turn, reading the clock if nobody has asked for a millisecond. */
unr_time unri_now(struct unr_loop *loop);

/* Returns the time from which delays count: the time of this turn or, outside of a turn, a fresh
 * reading. */
unr_time unri_loop_time(struct unr_loop *loop);

/* Forgets the time of the turn, because the loop was in the kernel or outside of unring. */
static inline void unri_forget_time(struct unr_loop *loop)
{
    loop->now_known = loop->turn_ms_known = false;
}

/* Reads the coarse clock, for unri_turn_ms(). */
uint32_t unri_read_turn_ms(struct unr_loop *loop);

/* Returns the time of this turn in milliseconds, from the coarse clock: for the age of operations,
 * and for repeated cancels. */
static inline uint32_t unri_turn_ms(struct unr_loop *loop)
{
    return loop->turn_ms_known ? loop->turn_ms : unri_read_turn_ms(loop);
}

#endif
