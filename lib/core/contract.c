/* SPDX-License-Identifier: MIT */
/* The end of a process that broke a rule of the library: memory is at stake then, and an errno
 * would be ignored.  Each check is where its rule is kept; the checks that many files need are in
 * contract.h. */
#include "contract.h"
#include "life.h"
#include "name.h"

#include <stdio.h>
#include <stdlib.h>

void unri_broken(const char *what, const struct unr_op *op, const char *rule)
{
    const struct unr_op *inside = NULL;
    if (op && unri_live(op) && op->private_fields.flags & UNRI_CHILD)
        inside = op->private_fields.combinator;
    if (inside)
        fprintf(stderr, "unring: broken contract: %s: %s (operation %p, inside %s)\n",
                unri_name(op), what, (const void *)op, unri_name(inside));
    else if (op)
        fprintf(stderr, "unring: broken contract: %s: %s (operation %p)\n", unri_name(op), what,
                (const void *)op);
    else
        fprintf(stderr, "unring: broken contract: %s\n", what);
    fprintf(stderr, "unring: the rule: %s\n", rule);
    abort();
}

void unri_wrong_thread(const struct unr_loop *loop)
{
    if (loop->guard->owner == UNRI_FORKED)
        unri_broken("a loop used in a forked child", NULL,
                    "a loop remains the parent's after fork(2); the child may only call "
                    "unr_loop_close()");
    unri_broken("a loop used from a second thread", NULL,
                "a loop belongs to the thread that first runs it; other threads post tasks and "
                "emit through unr_remote");
}
