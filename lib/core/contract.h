/* SPDX-License-Identifier: MIT */
/* Broken contracts: the checks that end the process, because memory is at stake.  Errors that the
 * caller's environment can cause end in a result instead. */
#ifndef UNRI_CONTRACT_H
#define UNRI_CONTRACT_H

#include "loop_core.h"
#include "thread.h"

/* Prints what was broken, the operation (NULL: none) and the rule, and ends the process. */
_Noreturn void unri_broken(const char *what, const struct unr_op *op, const char *rule);

/* Ends the process: the calling thread does not own the loop, or this is a forked child. */
_Noreturn void unri_wrong_thread(const struct unr_loop *loop);

static inline bool unri_is_owner(const struct unr_loop *loop)
{
    return loop->guard->owner == unri_thread_number;
}

/* Ends the process if the loop belongs to another thread.  A loop that no thread has run yet
 * belongs to whoever calls.  In the owner's thread this is one comparison. */
static inline void unri_check_thread(const struct unr_loop *loop)
{
    if (unlikely(!unri_is_owner(loop)) && loop->guard->owner != UNRI_UNOWNED)
        unri_wrong_thread(loop);
}

static inline void unri_check_request(unsigned types, int cause)
{
    if (unlikely(types == 0 || (types & ~UNR_CANCEL_ALL) != 0))
        unri_broken("a request for types that do not exist", NULL,
                    "types is a mask of UNR_CANCEL_*, and not 0");
    if (unlikely(cause >= 0))
        unri_broken("a request whose cause is not negative", NULL,
                    "a cause is -ECANCELED, -ETIMEDOUT, or negative and one's own");
}

#endif
