/* SPDX-License-Identifier: MIT */
/* What every header of unring begins with: the library's version, the linkage of a C library in
 * C++, and the mark of a function that programs can see in the shared library. */
#ifndef UNRING_COMMON_H
#define UNRING_COMMON_H

/* The version of the headers.  Below 1.0 two versions whose minor numbers differ need not agree in
 * API or ABI. */
#define UNR_VERSION "0.1.0"

/* The numbers of that version, for programs that compile against several. */
#define UNR_VERSION_MAJOR 0
#define UNR_VERSION_MINOR 1
#define UNR_VERSION_PATCH 0

/* Around the declarations of a header: they have C linkage in C++, too.  g++ -Wshadow complains of
 * a function that has the name of a structure, as stat(2) has; in system headers it is silent. */
#if defined(__cplusplus) && defined(__GNUC__) && !defined(__clang__)
#define UNR_BEGIN                                                                                  \
    _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wshadow\"") extern "C"       \
    {
#define UNR_END                                                                                    \
    }                                                                                              \
    _Pragma("GCC diagnostic pop")
#elif defined(__cplusplus)
#define UNR_BEGIN extern "C" {
#define UNR_END   }
#else
#define UNR_BEGIN
#define UNR_END
#endif

/* In front of each function that programs can see in the shared library. */
#if defined(__GNUC__)
#define UNR_API __attribute__((visibility("default")))
#else
#define UNR_API
#endif

#endif
