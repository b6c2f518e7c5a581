/* SPDX-License-Identifier: MIT */
/* Time, as everything in unring counts it. */
#ifndef UNRING_TIME_H
#define UNRING_TIME_H

#include <stdint.h>

/* A duration, or a point in time on CLOCK_MONOTONIC, in nanoseconds. */
typedef int64_t unr_time;

/* A point in time that never comes, or a duration without end.  A sum that unring makes of two
 * times is never more than this. */
#define UNR_NEVER INT64_MAX

/* Durations of `n` microseconds, milliseconds and seconds.
 *
 * n         a number of any type, evaluated once.  A fraction is rounded to the nearest nanosecond:
 *           UNR_SEC(0.5) is 500 milliseconds.
 * Range     a duration that is too long for an unr_time is UNR_NEVER, and a negative one that is
 *           out of range is INT64_MIN.  What is not a number is 0.
 * Constant  if `n` is a constant, the duration may initialize a static object and, in C++, one that
 *           is constexpr.  If `n` is a whole number, too, the duration may also be a `case`, the
 *           size of an array, and whatever else has to be an integer constant expression. */
#define UNR_USEC(n) UNR_TIME_OF(n, 1000)
#define UNR_MSEC(n) UNR_TIME_OF(n, 1000000)
#define UNR_SEC(n)  UNR_TIME_OF(n, 1000000000)

/* ---- unring's own: how the three above are made ---- */

#ifdef __cplusplus
#define UNR_TIME_FUNCTION      constexpr
#define UNR_TIME_CAST(type, n) static_cast<type>(n)
#define UNR_TIME_OF(n, unit)   unr_time_of(+(n), unit)
#else
#define UNR_TIME_FUNCTION      static inline
#define UNR_TIME_CAST(type, n) (type)(n)
#endif

/* A number of units in nanoseconds.  The macros serve constants, and name `n` more than once. */
#define UNR_TIME_SIGNED(n, unit)                                                                   \
    ((n) > INT64_MAX / (unit) ? INT64_MAX : (n) < INT64_MIN / (unit) ? INT64_MIN : (n) * (unit))

/* The same for a number that is not negative, and may be greater than an int64_t. */
#define UNR_TIME_UNSIGNED(n, unit)                                                                 \
    ((n) > UNR_TIME_CAST(uint64_t, INT64_MAX / (unit)) ? INT64_MAX                                 \
                                                       : UNR_TIME_CAST(int64_t, n) * (unit))

/* The same for a number with a fraction, and for what is not a number.  Half a nanosecond more
 * takes no long double below the first limit out of the range of an int64_t. */
#define UNR_TIME_REAL(n, unit)                                                                     \
    ((n) * (unit) >= 9223372036854775807.0L    ? INT64_MAX                                         \
     : (n) * (unit) <= -9223372036854775808.0L ? INT64_MIN                                         \
     : (n) > 0                                 ? UNR_TIME_CAST(int64_t, (n) * (unit) + 0.5L)       \
     : (n) < 0                                 ? UNR_TIME_CAST(int64_t, (n) * (unit)-0.5L)         \
                                               : 0)

UNR_TIME_FUNCTION unr_time unr_time_of_signed(int64_t n, int64_t unit)
{
    return UNR_TIME_SIGNED(n, unit);
}

UNR_TIME_FUNCTION unr_time unr_time_of_unsigned(uint64_t n, int64_t unit)
{
    return UNR_TIME_UNSIGNED(n, unit);
}

UNR_TIME_FUNCTION unr_time unr_time_of_real(long double n, int64_t unit)
{
    return UNR_TIME_REAL(n, UNR_TIME_CAST(long double, unit));
}

#ifdef __cplusplus

extern "C++" {
/* Half of 1 is more than 0 in types that have fractions alone. */
template <typename Number> constexpr unr_time unr_time_of(Number n, int64_t unit)
{
    return Number(1) / 2 > 0 ? unr_time_of_real(static_cast<long double>(n), unit)
           : n > 0           ? unr_time_of_unsigned(static_cast<uint64_t>(n), unit)
                             : unr_time_of_signed(static_cast<int64_t>(n), unit);
}
}

#else

/* A function call is no constant, and a macro would evaluate more than once what is none.  In the
 * branch that is not taken, 0 stands for `n`, for compilers look for mistakes there, too. */
#define UNR_TIME_OF(n, unit)                                                                       \
    __builtin_choose_expr(                                                                         \
        __builtin_constant_p(n),                                                                   \
        UNR_TIME_OF_CONSTANT(__builtin_choose_expr(__builtin_constant_p(n), n, 0), unit),          \
        UNR_TIME_OF_OTHER(n)((n), (unit)))

/* clang-format off */
#define UNR_TIME_OF_CONSTANT(n, unit)                                                              \
    _Generic((n),                                                                                  \
        float:       UNR_TIME_REAL((long double)(n), (long double)(unit)),                         \
        double:      UNR_TIME_REAL((long double)(n), (long double)(unit)),                         \
        long double: UNR_TIME_REAL((long double)(n), (long double)(unit)),                         \
        default:     (n) > 0 ? UNR_TIME_UNSIGNED((uint64_t)(n), unit)                              \
                             : UNR_TIME_SIGNED((int64_t)(n), unit))

#define UNR_TIME_OF_OTHER(n)                                                                       \
    _Generic((n),                                                                                  \
        float:              unr_time_of_real,                                                      \
        double:             unr_time_of_real,                                                      \
        long double:        unr_time_of_real,                                                      \
        unsigned long:      unr_time_of_unsigned,                                                  \
        unsigned long long: unr_time_of_unsigned,                                                  \
        default:            unr_time_of_signed)
/* clang-format on */

#endif

#endif
