/* SPDX-License-Identifier: MIT */
/* What every file of the library begins with. */
#ifndef UNRI_BASE_H
#define UNRI_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unring/time.h>

/* Which way a branch nearly always goes, on the way of an operation that nobody cancels. */
#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* The sum of two times; one that is out of range stays at the end of the range. */
static inline unr_time unri_sum(unr_time a, unr_time b)
{
    unr_time sum;
    if (__builtin_add_overflow(a, b, &sum))
        return a > 0 ? UNR_NEVER : INT64_MIN;
    return sum;
}

#endif
