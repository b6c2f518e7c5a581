/* SPDX-License-Identifier: MIT */
/* The timers of a loop.  Deadlines and delays wait among them: each contains a struct unr_timer,
 * with which it begins.  timer_queue.c has the heap and the queues that they wait in. */
#ifndef UNRI_TIMER_H
#define UNRI_TIMER_H

#include <unring/timer.h>
#include "../core/base.h"

struct unri_timer_entry {
    unr_time          deadline;
    struct unr_timer *timer;
};

/* Timers that were started with the same delay, in the order of their deadlines.  The first of them
 * is in the heap, and the others are linked behind it. */
struct unri_timer_queue {
    unr_time          delay;
    struct unr_timer *last; /* NULL: the queue is empty */
};
enum { UNRI_TIMER_QUEUES = 16 };

struct unri_timers {
    struct unri_timer_entry *entries; /* a heap */
    size_t                   count;   /* of the timers in the heap */
    size_t                   room;    /* for so many */
    size_t                   mapped;  /* bytes */
    uint64_t                 serial;  /* the number of the last start or move */
    struct unri_timer_queue  queues[UNRI_TIMER_QUEUES];
};

int  unri_timers_open(struct unri_timers *timers);
void unri_timers_close(struct unri_timers *timers);

/* Ends some of the timers that are due at the time `now`.  serial: a timer that was started or
 * moved later than that waits for the next turn.  True: there may be more to end in this turn. */
bool unri_timers_expire(struct unr_loop *loop, unr_time now, uint64_t serial);

/* Requests the end of all timers and delays.  A delay whose child honours no request begins that
 * child. */
void unri_timers_request_all(struct unr_loop *loop, struct unr_cancel_request request);

/* Calls `visit` for each timer, and for each delay that has not begun its child. */
void unri_timers_each(const struct unr_loop *loop, void (*visit)(struct unr_op *op, void *context),
                      void                  *context);

/* The root of the heap is at 3 and not at 0.  So the four children of i, which begin at
 * 4 * (i - 3) + 4, are in one cache line: at a multiple of 4 entries, which are 64 bytes. */
enum { UNRI_TIMER_ROOT = 3 };

/* The deadline that is due first; UNR_NEVER: none. */
static inline unr_time unri_timers_next(const struct unri_timers *timers)
{
    return timers->count ? timers->entries[UNRI_TIMER_ROOT].deadline : UNR_NEVER;
}

/* ---- one timer, be it an operation of its own or that of a deadline or delay ---- */

/* Sets when a timer that is being described will be due: at a time, or a delay after its start. */
void unri_timer_set(struct unr_timer *timer, unr_time when, bool relative);

/* Turns the delay of a timer that starts now into its deadline, and returns that delay; UNR_NEVER:
 * the timer was described with a time. */
unr_time unri_timer_resolve(struct unr_loop *loop, struct unr_timer *timer);

/* Tells whether the deadline of a timer with this delay, or with none, has passed. */
bool unri_timer_is_past(struct unr_loop *loop, const struct unr_timer *timer, unr_time delay);

/* Puts a timer with this delay, or with none, among those that wait.  Returns false if there is no
 * memory for that. */
bool unri_timer_insert(struct unr_loop *loop, struct unr_timer *timer, unr_time delay);

/* Tells whether a timer is among those that wait. */
bool unri_timer_waits(const struct unr_timer *timer);

/* Gives a timer that waits another deadline.  Returns false if there is no memory for that. */
bool unri_timer_move(struct unr_loop *loop, struct unr_timer *timer, unr_time deadline);

/* Takes a timer from those that wait, before it is due. */
void unri_timer_remove(struct unr_loop *loop, struct unr_timer *timer);

#endif
