/* SPDX-License-Identifier: MIT */
/* What UNR_LOOP_CHECKS looks for, on loops that were opened with it: memory that is lent twice, or
 * given back while it is lent, descriptors that were closed in flight, and operations that were
 * freed or overwritten in flight. (Requests that nobody honours are in refusal.h.)  A loop without
 * the flag pays two comparisons in each turn: the start and the end of an operation are looked at
 * on the ways that operations with a slot, and the loop's own, take. */
#ifndef UNRI_CHECK_H
#define UNRI_CHECK_H

#include "loop_core.h"

/* What the kernel does with lent memory. */
enum unri_use {
    UNRI_READS,  /* reads it, as late as it likes */
    UNRI_FILLS,  /* writes any part of it, at any time */
    UNRI_SETS,   /* writes it when the call succeeds, and leaves it alone otherwise */
    UNRI_ADJUSTS /* reads it first, and writes it when the call succeeds */
};

/* Hears of one piece of memory that the kernel is lent. */
typedef void unri_lent_fn(void *context, void *at, size_t len, enum unri_use use);

/* Calls `visit` for each piece of memory that the kernel is lent for `lender`: an operation, or
 * what else the function knows. */
typedef void unri_lend_fn(const void *lender, unri_lent_fn *visit, void *context);

/* For unr_op_type_private.lend, which tells the same of an operation that waits in user space:
 * unring reads and writes that memory, or a call of its own does. */
struct unri_lent_visitor {
    unri_lent_fn *visit;
    void         *context;
};

/* Has a loop check its operations.  `lend` knows what each system call is lent. */
int  unri_checks_open(struct unr_loop *loop, unri_lend_fn *lend);
void unri_checks_close(struct unr_loop *loop);

/* Looks at memory that is given back to a pool, which hands it to others. */
void unri_check_given_back(const struct unr_loop *loop, const void *memory, size_t len);

/* Looks at an operation that is being started, and remembers it until its end. */
void unri_check_start(struct unr_loop *loop, struct unr_op *described);

/* Looks again at an operation in flight, of which more has become known: what `lend` tells of
 * `lender`, and its descriptor.  `lend` NULL: nothing. */
void unri_check_again(struct unr_op *op, unri_lend_fn *lend, const void *lender);

/* Looks at the memory of an operation that the loop is about to use. */
void unri_check_memory(struct unr_loop *loop, const struct unr_op *op);

/* Looks at an operation whose own completion has come: at its memory and its descriptors. */
void unri_check_completed(struct unr_loop *loop, const struct unr_op *op);

/* Looks at some of the operations in flight, at others each time. */
void unri_check_some(struct unr_loop *loop);

/* Tells whether an operation that is in flight lies in this memory. */
bool unri_check_holds_operation(const struct unr_loop *loop, const void *low, const void *high);

/* Looks at an operation for the last time, just before its `done`. */
void unri_check_end(struct unr_loop *loop, struct unr_op *op);

#endif
