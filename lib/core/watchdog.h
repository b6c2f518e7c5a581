/* SPDX-License-Identifier: MIT */
/* A watchdog: a thread of the process that names on standard error what runs for too long.  A part
 * of the seam: watchdog.c is the real one.  The simulated kernel has none, as no time passes there
 * while a fiber computes, and as its schedules are decided by their choices alone. */
#ifndef UNRI_WATCHDOG_H
#define UNRI_WATCHDOG_H

#include <stdatomic.h>
#include <time.h>
#include "base.h"

/* What is watched of a loop: its runs, one after another.  A run is of a fiber, from where the loop
 * resumes it to where it waits. */
struct unri_watch {
    /* The loop's.  `run` is 0 while nothing runs; else a number that no other run has, with a mark
     * in its lowest bit while the watchdog reads the next two. */
    _Atomic uint64_t run;
    const char      *name;
    void            *function;
    uint64_t         last_run;

    /* The loop's thread; written in front of its first run. */
    int       thread;
    clockid_t clock; /* of its processor time */

    /* The watchdog's, under its lock. */
    unr_time           limit;
    uint64_t           seen;      /* the run that it saw last */
    unr_time           lasted;    /* how long that had run by then */
    unr_time           processor; /* the thread's processor time then, */
    unr_time           at_first;  /* and when it saw that run for the first time */
    bool               slept;     /* the thread was waiting in a system call then */
    bool               told;      /* of that run */
    struct unri_watch *next, *previous;
};

/* Has runs named that take `limit`; the first watch of the process starts the thread.  0, or a
 * negative errno.  *ret_watch is NULL where there is no watchdog. */
int unri_watch_open(struct unri_watch **ret_watch, unr_time limit);

/* Ends that; the last watch ends the thread.  `forked`: this is a child of the process that opened
 * it. */
void unri_watch_close(struct unri_watch *watch, bool forked);

/* Says that the calling thread is the one that is watched. */
void unri_watch_this_thread(struct unri_watch *watch);

/* Says that a run begins, and that it has ended.  Neither reads a clock. */
void unri_watch_begin(struct unri_watch *watch, const char *name, void *function);
void unri_watch_end(struct unri_watch *watch);

#endif
