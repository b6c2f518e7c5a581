/* SPDX-License-Identifier: MIT */
/* What the timer programs do, whatever their library:
 *     timers_LIBRARY restart N OPERATIONS    among N outstanding, cancels one after another and
 *     starts it anew timers_LIBRARY another N OPERATIONS    beside N outstanding, starts others and
 *     cancels them timers_LIBRARY move N OPERATIONS       the same in one step, where the library
 *     has one (Asio has none) timers_LIBRARY fire N                  N timers that are all due:
 *     what each costs until its callback has run
 * The figure is processor time.  Deadlines are random, far away for the first three and nearby for
 * the last. */
#ifndef BENCH_TIMERS_H
#define BENCH_TIMERS_H

#include "bench.h"

#define TIMERS_FAR_MS  3600000 /* after one to two of these: never reached */
#define TIMERS_NEAR_MS 100     /* all reached by the time the last of them has been started */
#define TIMERS_BATCH                                                                               \
    64 /* cancelled in one turn, where cancelling ends in a callback that takes one */

/* The timers are visited in strides: none twice in a turn, and none in the order of memory or
 * deadline. */
static inline long timers_next(long i, long n)
{
    return (i + 611953) % n;
}

static inline long timers_near_ms(void)
{
    return 1 + random_below(TIMERS_NEAR_MS);
}

static inline long timers_far_ms(void)
{
    return TIMERS_FAR_MS + random_below(TIMERS_FAR_MS);
}

/* With a fraction, for libraries that count nanoseconds. */
static inline int64_t timers_near_ns(void)
{
    return timers_near_ms() * 1000000 + random_below(1000000);
}

static inline int64_t timers_far_ns(void)
{
    return timers_far_ms() * 1000000 + random_below(1000000);
}

/* Until every timer that was started with a random near deadline is due. */
static inline void timers_sleep_until_due(void)
{
    sleep_until(now_ns() + (TIMERS_NEAR_MS + 5) * (int64_t)1000000);
}

#endif
