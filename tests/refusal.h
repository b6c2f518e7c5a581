/* SPDX-License-Identifier: MIT */
/* Whether io_uring is refused to this process: by the seccomp filter of a container, by the sysctl
 * kernel.io_uring_disabled, by a security module, or by a kernel that has none.  There the tests
 * leave out what needs a loop and say why.  With REQUIRE_URING=1, which continuous integration
 * sets, they leave nothing out, and fail. */
#ifndef TESTS_REFUSAL_H
#define TESTS_REFUSAL_H

#include <errno.h>
#include <linux/io_uring.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unring.h>

/* The reason, or NULL where nothing is to be left out.  It asks the kernel and not the library, so
 * that a library that cannot open a loop for a reason of its own is not excused. */
static inline const char *uring_refusal(void)
{
    const char *required = getenv("REQUIRE_URING");
    if (required && *required)
        return NULL;
    struct io_uring_params params = { 0 };
    long                   fd = syscall(__NR_io_uring_setup, 1, &params);
    if (fd >= 0) {
        close((int)fd);
        return NULL;
    }
    bool refused = errno == EPERM || errno == EACCES || errno == ENOSYS;
    return refused ? unr_explain(-errno) : NULL;
}

#endif
