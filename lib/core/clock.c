/* SPDX-License-Identifier: MIT */
/* The time of a turn, which clock.h explains.  The clock itself is the system's: os.c. */
#include "clock.h"

unr_time unri_now(struct unr_loop *loop)
{
    if (!loop->now_known) {
        loop->now = unri_os_clock();
        loop->now_known = true;
    }
    return loop->now;
}

unr_time unri_loop_time(struct unr_loop *loop)
{
    return loop->in_turn ? unri_now(loop) : unri_os_clock();
}

void unri_forget_time(struct unr_loop *loop)
{
    loop->now_known = loop->turn_ms_known = false;
}

uint32_t unri_read_turn_ms(struct unr_loop *loop)
{
    loop->turn_ms = unri_os_clock_ms();
    loop->turn_ms_known = true;
    return loop->turn_ms;
}

unr_time unr_loop_now(const struct unr_loop *loop)
{
    /* Reading the clock late is no change that the caller could see. */
    return unri_now((struct unr_loop *)loop);
}
