/* What every header of unring begins with: the linkage of a C library in C++, and which names a
 * program linked against the shared library can see. */
#ifndef UNRING_COMMON_H
#define UNRING_COMMON_H

/* The library's version: below 1.0, one with another minor number promises neither API nor ABI. */
#define UNR_VERSION "0.1.0"

#ifdef __cplusplus
#define UNR_BEGIN extern "C" {
#define UNR_END   }
#else
#define UNR_BEGIN
#define UNR_END
#endif

#if defined(__GNUC__)
#define UNR_API __attribute__((visibility("default")))
#else
#define UNR_API
#endif

#endif
