/* SPDX-License-Identifier: MIT */
/* What lib/loop/ asks of uring/: a ring for a loop, and turns with the kernel.  lib/ knows no SQE;
 * everything else about a system call it sees through its operation's type. */
#ifndef UNRI_KERNEL_H
#define UNRI_KERNEL_H

#include "../lib/core/check.h"
#include "../lib/core/loop_core.h"

int  unri_ring_open(struct unr_loop *loop, const struct unr_loop_options *options);
void unri_ring_close(struct unr_loop *loop);
void unri_ring_abandon(struct unr_loop *loop); /* in a forked child */

/* Makes the ring that of the calling thread. */
int unri_ring_enable(struct unr_loop *loop);

/* Has the kernel signal the eventfd `fd` when the ring has something to reap. */
int unri_ring_register_eventfd(struct unr_loop *loop, int fd);

/* Registers the eventfd anew on a ring with DEFER_TASKRUN.  There Linux 6.18 signals a registered
 * eventfd once and then no more, if the completion came about by a write to another eventfd. */
int unri_ring_renew_eventfd(struct unr_loop *loop, int fd);

/* Submits the operations that are queued, waits for a CQE until `deadline` (INT64_MIN: not at all),
 * and reaps: each operation that has ended is on loop->finished afterwards.  Returns 0, or a
 * negative errno that ends the run. */
int unri_ring_turn(struct unr_loop *loop, unr_time deadline);

/* Reaps what has completed since the turn's reap, and asks the kernel for it where the ring's flags
 * say that there is something.  It is called between the reading of the clock by which timers end
 * and their end, so that whatever completed before that reading ends before them (rule 3).  Returns
 * 0, or a negative errno that ends the run. */
int unri_ring_catch_up(struct unr_loop *loop);

/* Tells whether a turn that does not wait would find something to do. */
bool unri_ring_has_work(const struct unr_loop *loop);

/* Returns when the next cancel or operation is to be sent again; UNR_NEVER: there is none. */
unr_time unri_ring_next_repeat(struct unr_loop *loop);

/* Calls `visit` for each piece of memory that the kernel is lent for a described system call. */
void unri_lend(const void *described, unri_lent_fn *visit, void *context);

/* Returns the version of Linux that has the system call of `op` in io_uring. */
const char *unri_row_needs(const struct unr_op *op);

/* Describes an operation that ends at the time `deadline` and is to be started at once; the kernel
 * waits for it.  `room` is for the kernel's form of that time, and lent until `done`. */
struct unr_op *unri_alarm(struct unr_loop *loop, struct unr_op *op, unr_time deadline,
                          int64_t room[2]);

#endif
