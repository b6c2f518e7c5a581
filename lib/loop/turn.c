/* SPDX-License-Identifier: MIT */
/* One turn of a loop: one visit to the kernel, then everything that is known to have ended is
 * handed back.  loop.c decides how often a loop turns and until when a turn may wait; uring/turn.c
 * is the part of a turn that talks to the kernel.
 *
 * The order of a turn:
 *   1. The ring submits what was queued, waits, and reaps: each operation whose last completion is
 *      in is on loop->finished.
 *   2. The time is forgotten.  If there are timers it is read, or else when somebody asks.
 *   3. If a timer is due at that time, the ring reaps once more, behind the reading: the thread may
 *      have been kept away between the end of its wait and the reading.
 *   4. Timers that are due at that time end, one chunk of them.  They come behind the reap, so that
 *      an operation which completed before its deadline is reported as completed (rule 3).
 *   5. Tasks of other threads run.  They come before the dispatch, so the `done` of an operation
 *      that a task ends runs in the same turn.
 *   6. Each `done` that is due by now runs: the dispatch.
 *   7. The chunks of timers that are left, each with a dispatch of its own.
 * An operation that ends, and a timer that is started, in one of these `done`s is the next turn's.
 * So a turn comes to an end, whatever the `done`s do (rule 1). */
#include "../../uring/kernel.h"
#include "../core/clock.h"
#include "../core/op.h"
#include "loop.h"

/* Until when this turn may wait; INT64_MIN: not at all, for there is something to do at once, or
 * nothing to wait for.
 *
 * The inbox is looked at after the announcement: a thread that posts, stops or releases the loop
 * behind this look finds the announcement and wakes the loop (inbox.c). */
static unr_time wait_until(struct unr_loop *loop, unr_time deadline)
{
    struct unri_inbox *inbox = unri_inbox(loop);
    if (loop->finished.first || deadline == INT64_MIN)
        return INT64_MIN;
    unr_time timer = unri_timers_next(unri_timers(loop));
    if (timer < deadline)
        deadline = timer;
    if (deadline != UNR_NEVER && deadline <= unri_now(loop))
        return INT64_MIN;
    unri_inbox_announce_sleep(inbox);
    bool called = unri_inbox_has_tasks(inbox) || atomic_load(&inbox->stop);
    bool has_reason_to_wait = loop->in_flight || loop->closing || atomic_load(&inbox->holds);
    return called || !has_reason_to_wait ? INT64_MIN : deadline;
}

/* Hands back the operations that have ended by now.  It works on a snapshot: an operation that ends
 * in one of these `done`s is put on loop->finished, and is the next turn's.  So a `done` that
 * restarts an operation which ends at once starves nobody (rule 1).
 *
 * One exception: a combinator that ends with the child that it is just handed is put in front of
 * the snapshot (queue_for_done() in op.c), which is therefore kept in order while it is emptied. */
static void dispatch(struct unr_loop *loop)
{
    struct unri_fifo *fifo = &loop->handing_back;
    *fifo = loop->finished;
    loop->finished = (struct unri_fifo){ 0 };
    for (struct unr_op *op; (op = fifo->first) != NULL;) {
        fifo->first = op->private_fields.next;
        if (!fifo->first)
            fifo->last = NULL;
        unri_run_done(loop, op);
        loop->handed_to = NULL;
    }
}

/* Ends one more chunk of timers and hands these back, alone: the operations that have ended since
 * the turn's own dispatch are set aside meanwhile, for the next turn, and stay in front of those
 * that end in this dispatch.  True: there may be another chunk. */
static bool dispatch_timers(struct unr_loop *loop, unr_time now, uint64_t serial)
{
    struct unri_fifo later = loop->finished;
    loop->finished = (struct unri_fifo){ 0 };
    bool more = unri_timers_expire(loop, now, serial);
    dispatch(loop);
    if (later.first) {
        later.last->private_fields.next = loop->finished.first;
        loop->finished.first = later.first;
        if (!loop->finished.last)
            loop->finished.last = later.last;
    }
    return more;
}

/* The serial number is read when the ring is done, which runs the shots of multishot operations.  A
 * timer with a higher one was started or moved by the tasks and `done`s of the rest of the turn.
 *
 * The time is read in front of these, too.  Timers that become due while they run are the next
 * turn's, which first reaps what has completed meanwhile (rule 3). */
int unri_loop_turn(struct unr_loop *loop, unr_time deadline)
{
    struct unri_timers *timers = unri_timers(loop);
    struct unri_inbox  *inbox = unri_inbox(loop);
    loop->in_turn = true;
    loop->ran = 0;
    int error = unri_ring_turn(loop, wait_until(loop, deadline));
    unri_forget_time(loop);
    unr_time now = timers->count ? unri_now(loop) : 0;
    bool     due = unri_timers_next(timers) <= now;
    if (due && error == 0)
        error = unri_ring_catch_up(loop);
    uint64_t serial = timers->serial;
    bool     more = due && unri_timers_expire(loop, now, serial);
    if (unri_inbox_has_tasks(inbox))
        unri_inbox_run(inbox);
    dispatch(loop);
    while (unlikely(more))
        more = dispatch_timers(loop, now, serial);
    loop->in_turn = false;
    return error;
}
