/* SPDX-License-Identifier: MIT */
/* Which memory an SQE lends to the kernel. */
#ifndef UNRI_LENT_H
#define UNRI_LENT_H

#include "../lib/core/check.h"

struct io_uring_sqe;

/* Calls `visit` for each piece of memory that `sqe`, a struct io_uring_sqe, lends to the kernel
 * until its last CQE: what is read and written, and the structures that say where that is.  Strings
 * and futexes are left out. */
void unri_lent_by_sqe(const void *sqe, unri_lent_fn *visit, void *context);

#endif
