/* SPDX-License-Identifier: MIT */
/* What lib/loop/ asks of uring/: a ring for a loop, and turns with the kernel.  lib/ knows no SQE;
 * everything else about a system call it sees through its operation's type. */
#ifndef UNRI_KERNEL_H
#define UNRI_KERNEL_H

#include "../lib/core/loop_core.h"

int  unri_ring_open(struct unr_loop *loop, const struct unr_loop_options *options);
void unri_ring_close(struct unr_loop *loop);
void unri_ring_abandon(struct unr_loop *loop); /* in a forked child */

/* Makes the ring the calling thread's. */
int unri_ring_enable(struct unr_loop *loop);

/* Has the kernel signal the eventfd `fd` when the ring has something to reap. */
int unri_ring_register_eventfd(struct unr_loop *loop, int fd);

/* Says so again, where the kernel would not signal it any more: Linux 6.18 with DEFER_TASKRUN
 * signals a registered eventfd once and then no more, where the completion came about by a write to
 * another eventfd. */
int unri_ring_renew_eventfd(struct unr_loop *loop, int fd);

/* Submits what is queued, waits for a CQE until `deadline` (INT64_MIN: not at all), and reaps:
 * whatever has ended is on loop->finished afterwards.  0, or a negative errno that ends the run. */
int unri_ring_turn(struct unr_loop *loop, unr_time deadline);

/* Whether a turn that does not wait would find something to do. */
bool unri_ring_has_work(const struct unr_loop *loop);

/* When the next cancel that had no effect is to be sent again; UNR_NEVER: there is none. */
unr_time unri_ring_next_repeat(struct unr_loop *loop);

/* The version of Linux that has the system call of `op` in io_uring. */
const char *unri_row_needs(const struct unr_op *op);

/* An operation that ends at a time of CLOCK_MONOTONIC, kept by the kernel; `at` is lent, seconds
 * and nanoseconds. */
struct unr_op *unri_alarm(struct unr_op *op, const int64_t at[2]);

#endif
