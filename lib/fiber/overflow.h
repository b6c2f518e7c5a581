/* SPDX-License-Identifier: MIT */
/* Naming the fiber whose stack has overflowed. */
#ifndef UNRI_OVERFLOW_H
#define UNRI_OVERFLOW_H

/* Has a fault in the guard of a stack say whose stack that is, unless the program handles SIGSEGV
 * itself, or a sanitizer does.  Returns the alternate stack that this thread was given for it,
 * which unri_overflow_forget() takes back; NULL: it had one. */
void *unri_overflow_watch(void);
void  unri_overflow_forget(void *alternate);

#endif
