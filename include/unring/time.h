/* Time: signed nanoseconds, either a duration or a point on CLOCK_MONOTONIC. */
#ifndef UNRING_TIME_H
#define UNRING_TIME_H

#include <stdint.h>

typedef int64_t unr_time;

#define UNR_MSEC(n) ((unr_time)(n)*1000000)
#define UNR_SEC(n)  ((unr_time)(n)*1000000000)

/* As a point in time, one that never comes; as a duration, without end.  Sums saturate here. */
#define UNR_NEVER INT64_MAX

#endif
