/* SPDX-License-Identifier: MIT */
/* The time of a turn, which clock.h explains.  The clock itself is the system's: os.c. */
#include "clock.h"

/* The coarse time is forgotten together with the time, so that the two agree (uring/cancel.c). */
unr_time unri_now(struct unr_loop *loop)
{
    uint64_t at = unri_os_ticks();
    if (!loop->now_known || at - loop->now_at > (uint64_t)UNR_MSEC(1)) {
        unri_forget_time(loop);
        loop->now = unri_os_clock();
        loop->now_at = at;
        loop->now_known = true;
    }
    return loop->now;
}

/* Apart from the starts of timers and operations, as unri_read_turn_ms() is: these need no stack of
 * their own. */
__attribute__((noinline)) unr_time unri_loop_time(struct unr_loop *loop)
{
    return loop->in_turn ? unri_now(loop) : unri_os_clock();
}

__attribute__((noinline)) uint32_t unri_read_turn_ms(struct unr_loop *loop)
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
