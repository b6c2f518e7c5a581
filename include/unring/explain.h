/* SPDX-License-Identifier: MIT */
/* Words for a person: why a loop could not be opened, what became of an operation, and which
 * features this kernel has. */
#ifndef UNRING_EXPLAIN_H
#define UNRING_EXPLAIN_H

#include <unring/loop.h>

UNR_BEGIN

/* Says in words why unr_loop_open() failed, and what its caller can do about it.
 *
 * error    what unr_loop_open() returned.  The reason is looked for on this machine (sysctl,
 *          seccomp, limits).  0 and above reads "no error".
 * Returns  a text that lasts until the thread calls this function again; never NULL.
 * Threads  any. */
UNR_API const char *unr_explain(int error);

/* Says in words what became of an operation.
 *
 * op       finished: the text has its name, its result and its verdict, and for -EOPNOTSUPP the
 *          Linux version that it needs.  Of an operation that is described, held by a
 *          combinator or in flight the text says just that; inside the `done` of a shot it has the
 *          shot's result, too.
 * Length   at most 511 bytes; a longer text is cut, and ends in "...".
 * Returns  a text that lasts until the thread calls this function again; never NULL.
 * Threads  any that may look at `op`. */
UNR_API const char *unr_explain_op(const struct unr_op *op);

/* Tells of one feature of a loop and its kernel.
 *
 * index      from 0 on: features of the ring first, then each system call that has a function.
 * ret_name   the feature; a static text.
 * ret_needs  the Linux version that brought the feature; for a system call at least 6.1, the
 *            oldest kernel that unring runs on.  A static text.
 * ret_has    whether this loop has the feature.
 * Returns    true; or false behind the last feature, and nothing is set. */
UNR_API bool unr_loop_feature(const struct unr_loop *loop, unsigned index, const char **ret_name,
                              const char **ret_needs, bool *ret_has);

/* ---- names, for logs ---- */

/* Returns the name of an operation.
 *
 * It is "recv" for unr_recv(), "write_all" for unr_write_all(), or a name of the caller's own.
 *
 * op       described, in flight or finished.
 * Returns  a text that lasts as long as the operation's type, or the name that was given when the
 *          operation was described; never NULL.  Of memory that holds no operation it says so.
 * Threads  any that may look at `op`. */
UNR_API const char *unr_op_name(const struct unr_op *op);

/* Returns the name of a verdict: "unsubmitted", "too late" and so on.
 *
 * verdict  enum unr_verdict, as unr_result.verdict has it.
 * Returns  a static text; "unknown" for any other number.
 * Threads  any. */
UNR_API const char *unr_verdict_name(unsigned verdict);

/* Returns the name of a guarantee: "none", "terminal", "partial", "total".
 *
 * guarantee  one of UNR_CANCEL_*, as unr_result.guarantee has it.
 * Returns    a static text; "unknown" for any other number and for a mask of several.
 * Threads    any. */
UNR_API const char *unr_guarantee_name(unsigned guarantee);

/* Returns the version of the library; UNR_VERSION is that of the headers.
 *
 * Threads  any. */
UNR_API const char *unr_version(void);

UNR_END
#endif
