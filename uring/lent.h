/* SPDX-License-Identifier: MIT */
/* Which memory an SQE, or a read of a receiver, lends. */
#ifndef UNRI_LENT_H
#define UNRI_LENT_H

#include "../lib/core/check.h"

#include <sys/socket.h>

/* Calls `visit` for each piece of memory that `sqe`, a struct io_uring_sqe, lends to the kernel
 * until its last CQE: what is read and written, and the structures that say where that is.  Strings
 * and futexes are left out. */
void unri_lent_by_sqe(const void *sqe, unri_lent_fn *visit, void *context);

/* Visits pieces of memory, and the array that says where they are. */
void unri_lent_pieces(const struct unri_lent_visitor *visitor, const struct iovec *pieces,
                      size_t count, enum unri_use use);

/* Visits a message and all that it points to. */
void unri_lent_message(const struct unri_lent_visitor *visitor, struct msghdr *message,
                       enum unri_use use);

#endif
