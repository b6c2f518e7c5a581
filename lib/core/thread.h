/* SPDX-License-Identifier: MIT */
/* The number of the calling thread, by which a loop knows its owner. */
#ifndef UNRI_THREAD_H
#define UNRI_THREAD_H

#include "base.h"

/* What the owner of a loop is besides a thread's number, which is above all of these. */
#define UNRI_FORKED     0 /* this process is a child of the one that opened the loop */
#define UNRI_UNOWNED    1 /* no thread has run the loop yet */
#define UNRI_UNNUMBERED 2 /* no owner: the number of a thread that has not asked for one */

/* No number is given twice.  pthread_self() is the next thread's once a thread has ended, and a
 * thread that came later would pass for the owner.  Initial-exec: reading it is one instruction. */
extern _Thread_local uintptr_t unri_thread_number __attribute__((tls_model("initial-exec")));

/* Returns the calling thread's number, which it is given if it has none. */
uintptr_t unri_number_thread(void);

#endif
