/* SPDX-License-Identifier: MIT */
/* Requests to cancel an operation: how a request arrives, and what becomes of it.  How the cancel
 * of a system call goes to the kernel is in uring/cancel.c, how combinators ask their children in
 * lib/combine/. */
#ifndef UNRI_CANCEL_H
#define UNRI_CANCEL_H

#include <unring/op.h>
#include "base.h"

/* Counts a request to an operation, and has the operation's verdict counted at its end.  Whoever
 * makes a request calls this first.  A combinator that passes one on does not, for its own verdict
 * counts: so a request is counted once, and so is a verdict. */
void unri_count_request(struct unr_loop *loop, struct unr_op *op);

/* Makes a request to an operation, as unr_cancel_cause() does after its checks.  Returns true if
 * the operation honours it or has completed; false if it refuses, or is not in flight. */
bool unri_request(struct unr_op *op, struct unr_cancel_request request);

/* Makes a request to an operation in flight, and to nobody else.  If the operation refuses it, a
 * loop with checks says so: refusal.h. */
void unri_request_alone(struct unr_op *op, struct unr_cancel_request request);

/* Tells whether an operation is in flight, has not completed, and has honoured no request. */
bool unri_is_open(const struct unr_op *op);

/* Makes a request, and returns the same as unri_request().  *ret_first becomes true if this request
 * is the first that the operation honours, and it had not completed: its result will then tell of
 * this request. */
bool unri_request_first(struct unr_op *op, struct unr_cancel_request request, bool *ret_first);

/* Counts and makes a request that others may be made as well.  Tells whether the operation honours
 * it and had not completed before. */
bool unri_request_in_time(struct unr_op *op, struct unr_cancel_request request);

/* Tells whether a started operation has completed: a wrapper has when its child has. */
bool unri_has_ended(const struct unr_op *started);

/* Makes a request to every operation on `fd`.  A closer is not asked itself, and asks what stands
 * for a receiver or an acceptor as well; NULL: nobody closes `fd`.  Returns how many honoured it in
 * time. */
unsigned unri_request_fd(struct unr_loop *loop, int fd, struct unr_cancel_request request,
                         const struct unr_op *closer);

/* Records in the result of an operation that it honours a request, or refuses it. */
void unri_record_request(struct unr_op *op, struct unr_cancel_request request, bool honoured);

/* Tells the type of an operation that a request was honoured.  The request has a type, among those
 * supported, that the operation's type was not told of before. */
void unri_tell_type(struct unr_op *op, struct unr_cancel_request request);

/* Returns what is requested of an operation before it begins, in one request: `asked` by whoever
 * starts it, and more by the closing of its loop and by the latched signal of its slot. */
struct unr_cancel_request unri_collect_requests(struct unr_loop *loop, struct unr_op *op,
                                                struct unr_cancel_request asked);

/* Puts the operation's handler into its slot, and takes it out if it is still there (rule 2). */
void unri_enter_slot(struct unr_op *op);
void unri_leave_slot(struct unr_op *op);

#endif
