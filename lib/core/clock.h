/* SPDX-License-Identifier: MIT */
/* The time of a turn.  Reading the clock costs as much as half an operation, so a turn reads it
 * when somebody first asks, and the time then stands still until the loop comes back from the
 * kernel. */
#ifndef UNRI_CLOCK_H
#define UNRI_CLOCK_H

#include "loop_core.h"

/* The time of this turn. */
unr_time unri_now(struct unr_loop *loop);

/* The time that delays count from: that of the turn, or outside of a turn a fresh reading. */
unr_time unri_loop_time(struct unr_loop *loop);

/* Forgets the time of the turn: the loop was in the kernel, or outside of unring. */
void unri_forget_time(struct unr_loop *loop);

uint32_t unri_read_turn_ms(struct unr_loop *loop);

/* The time of this turn in milliseconds, for ages and for repeated cancels. */
static inline uint32_t unri_turn_ms(struct unr_loop *loop)
{
    return loop->turn_ms_known ? loop->turn_ms : unri_read_turn_ms(loop);
}

#endif
