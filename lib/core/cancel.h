/* SPDX-License-Identifier: MIT */
/* Requests to cancel an operation: how one arrives, and what becomes of it.  uring/cancel.c is
 * where a system call's cancel goes to the kernel. */
#ifndef UNRI_CANCEL_H
#define UNRI_CANCEL_H

#include <unring/op.h>
#include "base.h"

/* Delivers a request as unr_cancel_cause() does, without its checks.  True if the operation
 * honoured it or had completed; false if it refused, or was not in flight. */
bool unri_request(struct unr_op *op, struct unr_cancel_request request);

/* unri_request().  *ret_first: the operation had not completed, and this request is the first that
 * it honours, whose cause will be its result's. */
bool unri_request_first(struct unr_op *op, struct unr_cancel_request request, bool *ret_first);

/* unri_request() for every operation on `fd` but `except`.  Returns how many were in flight. */
unsigned unri_request_fd(struct unr_loop *loop, int fd, struct unr_cancel_request request,
                         const struct unr_op *except);

/* Keeps in the result that a request was honoured, or refused. */
void unri_record_request(struct unr_op *op, struct unr_cancel_request request, bool honoured);

/* Passes a request on to the type of an operation, which has been told of none of its types yet. */
void unri_tell_type(struct unr_op *op, struct unr_cancel_request request);

/* What is requested of an operation just before it begins: by whoever starts it (`asked`), by the
 * closing of its loop, by the latched signal that its slot belongs to. */
struct unr_cancel_request unri_collect_requests(const struct unr_loop    *loop,
                                                const struct unr_op      *op,
                                                struct unr_cancel_request asked);

/* Puts the operation into its slot, and takes it out if it is still there. */
void unri_enter_slot(struct unr_op *op);
void unri_leave_slot(struct unr_op *op);

#endif
