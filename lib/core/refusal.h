/* SPDX-License-Identifier: MIT */
/* Requests that nobody honours: with UNR_LOOP_CHECKS a line on standard error tells of each. */
#ifndef UNRI_REFUSAL_H
#define UNRI_REFUSAL_H

#include <unring/op.h>
#include "base.h"

/* An operation that has refused a request; name NULL: none has. */
struct unri_refusal {
    const char *name;
    unsigned    supports;
};

/* Takes note that `op` refuses a request, which others may honour.  The note is the calling
 * thread's, and the latest is kept. */
void unri_note_refusal(const struct unr_op *op);

/* Forgets what was noted, and returns it: what comes before a request that many may hear. */
struct unri_refusal unri_take_refusal(void);

/* Writes the line if somebody has refused `request`, and nobody honoured it.  `before` is what was
 * taken before the request, and is noted again. */
void unri_tell_of_refusal(struct unr_cancel_request request, bool honoured,
                          struct unri_refusal before);

/* Writes the line: the operation, which alone was made the request, has refused it. */
void unri_tell_refused(const struct unr_op *op, struct unr_cancel_request request);

#endif
