/* SPDX-License-Identifier: MIT */
/* The lock of what a process has once: the list of its loops, the records of its stacks. */
#ifndef UNRI_LOCK_H
#define UNRI_LOCK_H

/* It is held for a moment: whoever holds it waits for nothing but memory and a file of /proc.  A
 * child of fork(2) finds it free, and what it guards whole, whatever another thread was in the
 * middle of. */
void unri_lock_process(void);
void unri_unlock_process(void);

#endif
