/* Words for a person: why a loop could not be opened, what became of an operation, what this kernel
 * has. */
#ifndef UNRING_EXPLAIN_H
#define UNRING_EXPLAIN_H

#include <unring/loop.h>

UNR_BEGIN

/* Why unr_loop_open() failed with the negative errno `error`, as far as this machine tells (sysctl,
 * seccomp, limits), and what the reader can do about it.
 * Returns  a text that lasts until the thread's next call. */
UNR_API const char *unr_explain(int error);

/* What became of a finished operation: its name, its result, the verdict, and for -EOPNOTSUPP what
 * it needs.
 * Returns  a text that lasts until the thread's next call. */
UNR_API const char *unr_explain_op(const struct unr_op *op);

/* The features of a loop and its kernel, one at a time.
 *
 * index    from 0 on.
 * Returns  false behind the last one.
 * ret_name, ret_needs  static texts: the feature, and the Linux version that brought it.
 * ret_has  whether this loop has it. */
UNR_API bool unr_loop_feature(const struct unr_loop *loop, unsigned index, const char **ret_name,
                              const char **ret_needs, bool *ret_has);

UNR_END
#endif
