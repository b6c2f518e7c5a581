/* SPDX-License-Identifier: MIT */
/* What waits for a time: timers, deadlines and delays, all of which begin with a struct unr_timer.
 */
#ifndef UNRI_TIMER_H
#define UNRI_TIMER_H

#include <unring/timer.h>
#include "../core/base.h"

struct unri_timer_entry {
    unr_time          deadline;
    struct unr_timer *timer;
};

/* Timers with the same delay, in the order of their deadlines; the first is in the heap. */
struct unri_timer_queue {
    unr_time          delay;
    struct unr_timer *last; /* NULL: empty */
};
enum { UNRI_TIMER_QUEUES = 16 };

struct unri_timers {
    struct unri_timer_entry *entries; /* a heap */
    size_t                   count, room;
    size_t                   mapped; /* bytes */
    uint64_t                 serial; /* of the last start or move: settles ties of deadlines */
    struct unri_timer_queue  queues[UNRI_TIMER_QUEUES];
};

int  unri_timers_open(struct unri_timers *timers);
void unri_timers_close(struct unri_timers *timers);

/* Ends some of the timers that are due, and were started or moved no later than `serial`.  True:
 * there may be more of them. */
bool unri_timers_expire(struct unr_loop *loop, uint64_t serial);

/* Requests the end of all timers.  Of the operations that wait for their time, those begin that
 * honour no request. */
void unri_timers_request_all(struct unr_loop *loop, struct unr_cancel_request request);

/* Calls `visit` for each timer, and for each delay that has not begun its child. */
void unri_timers_each(const struct unr_loop *loop, void (*visit)(struct unr_op *op, void *context),
                      void                  *context);

/* The root of the heap is not at 0 but at 3, so that the children of i, 4 * (i - 3) + 4 ..., begin
 * at a multiple of 4 entries: 64 bytes. */
enum { UNRI_TIMER_ROOT = 3 };

/* The deadline that is due first; UNR_NEVER: none. */
static inline unr_time unri_timers_next(const struct unri_timers *timers)
{
    return timers->count ? timers->entries[UNRI_TIMER_ROOT].deadline : UNR_NEVER;
}

/* ---- one that waits: a timer, or a combinator whose `due` is called instead of its end ---- */

/* When it is described: sets when it will be due. */
void unri_timer_set(struct unr_timer *timer, unr_time when, bool relative);

/* When it starts: turns a delay into a deadline. */
void unri_timer_resolve(struct unr_loop *loop, struct unr_timer *timer);

/* Whether its deadline has passed. */
bool unri_timer_is_past(struct unr_loop *loop, const struct unr_timer *timer);

/* Begins to wait; false: there is no memory for that. */
bool unri_timer_insert(struct unr_loop *loop, struct unr_timer *timer);

/* Whether it waits; gives it another deadline; ends its wait. */
bool unri_timer_waits(const struct unr_timer *timer);
bool unri_timer_move(struct unr_loop *loop, struct unr_timer *timer, unr_time deadline);
void unri_timer_remove(struct unr_loop *loop, struct unr_timer *timer);

#endif
