/* SPDX-License-Identifier: MIT */
/* The standard headers that every file of the library needs, branch hints, and the sum of two
 * times. */
#ifndef UNRI_BASE_H
#define UNRI_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unring/time.h>

/* Hints for the path of an operation that nobody cancels. */
#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* Returns the sum of two times; where it is out of range, the end of the range. */
static inline unr_time unri_sum(unr_time a, unr_time b)
{
    unr_time sum;
    if (__builtin_add_overflow(a, b, &sum))
        return a > 0 ? UNR_NEVER : INT64_MIN;
    return sum;
}

#endif
