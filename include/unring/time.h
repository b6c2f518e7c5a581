/* SPDX-License-Identifier: MIT */
/* Time, as everything in unring counts it. */
#ifndef UNRING_TIME_H
#define UNRING_TIME_H

#include <stdint.h>

/* A duration, or a point in time on CLOCK_MONOTONIC, in nanoseconds. */
typedef int64_t unr_time;

/* Durations of `n` milliseconds and of `n` seconds. */
#define UNR_MSEC(n) ((unr_time)(n)*1000000)
#define UNR_SEC(n)  ((unr_time)(n)*1000000000)

/* A point in time that never comes, or a duration without end.  A sum that unring makes of two
 * times is never more than this. */
#define UNR_NEVER INT64_MAX

#endif
