/* SPDX-License-Identifier: MIT */
/* The loop: opened, run turn by turn, closed.  A turn is one visit to the kernel, then everything
 * that is known to have ended is handed back. */
#include "../../uring/kernel.h"
#include "../core/cancel.h"
#include "../core/clock.h"
#include "../core/contract.h"
#include "loop.h"

#include <stdlib.h>
#include <string.h>

/* ---- open ---- */

/* Frees whatever a loop has of its own, also when it was half opened; its ring is closed or
 * abandoned already. */
static void free_loop(struct unr_loop *loop)
{
    unri_timers_close(unri_timers(loop));
    unri_descriptors_close(&loop->descriptors);
    if (loop->embed_fd >= 0)
        unri_os_wake_close(loop->embed_fd);
    if (unri_whole(loop)->wake.fd >= 0)
        unri_os_wake_close(unri_whole(loop)->wake.fd);
    if (loop->guard)
        unri_os_unmap(loop->guard, sizeof *loop->guard);
    free(loop);
}

static int open_parts(struct unr_loop *loop, const struct unr_loop_options *options)
{
    int error;
    loop->guard = unri_os_map(sizeof *loop->guard, true);
    if (!loop->guard)
        return -ENOMEM;
    loop->guard->owner = UNRI_UNOWNED;
    if ((error = unri_timers_open(unri_timers(loop))) < 0)
        return error;
    if ((error = unri_descriptors_open(&loop->descriptors)) < 0)
        return error;
    if ((unri_whole(loop)->wake.fd = unri_os_wake_open(0)) < 0)
        return unri_whole(loop)->wake.fd;
    return unri_ring_open(loop, options);
}

int unr_loop_open(struct unr_loop **ret_loop, const struct unr_loop_options *options)
{
    struct unr_loop_options known = { 0 };
    if (options) {
        if (options->size < offsetof(struct unr_loop_options, entries)
            || options->size > sizeof known)
            return -EINVAL;
        memcpy(&known, options, options->size);
    }
    if (known.flags & ~UNR_LOOP_PLAIN)
        return -EINVAL;

    struct unri_whole_loop *whole = calloc(1, sizeof *whole);
    if (!whole)
        return -ENOMEM;
    struct unr_loop *loop = &whole->core;
    whole->wake.fd = loop->embed_fd = -1;
    int error = open_parts(loop, &known);
    if (error < 0) {
        free_loop(loop);
        return error;
    }
    unri_forget_time(loop);
    *ret_loop = loop;
    return 0;
}

/* ---- the turn ---- */

/* Hands back what has ended by now.  What the `done` end or start meanwhile is the next turn's, so
 * one that restarts what ends at once starves nobody. */
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
    }
}

/* Until when this turn may wait; INT64_MIN: it has something to do at once. */
static unr_time wait_until(struct unr_loop *loop, unr_time deadline)
{
    if (loop->finished.first || deadline == INT64_MIN)
        return INT64_MIN;
    unr_time timer = unri_timers_next(unri_timers(loop));
    if (timer < deadline)
        deadline = timer;
    if (deadline != UNR_NEVER && deadline <= unri_now(loop))
        return INT64_MIN;
    unri_inbox_announce_sleep(unri_inbox(loop));
    bool called = unri_inbox_has_tasks(unri_inbox(loop)) || atomic_load(&unri_inbox(loop)->stop);
    bool needless =
        loop->in_flight == 0 && !loop->closing && !atomic_load(&unri_inbox(loop)->holds);
    return called || needless ? INT64_MIN : deadline;
}

/* Hands back a chunk of timers that are due, and nothing that has ended since the turn's own
 * dispatch: that is the next turn's. */
static bool dispatch_timers(struct unr_loop *loop, uint64_t serial)
{
    struct unri_fifo later = loop->finished;
    loop->finished = (struct unri_fifo){ 0 };
    bool more = unri_timers_expire(loop, serial);
    dispatch(loop);
    if (later.first) {
        later.last->private_fields.next = loop->finished.first;
        loop->finished.first = later.first;
        if (!loop->finished.last)
            loop->finished.last = later.last;
    }
    return more;
}

static int turn(struct unr_loop *loop, unr_time deadline)
{
    loop->in_turn = true;
    loop->ran = 0;
    int error = unri_ring_turn(loop, wait_until(loop, deadline));
    unri_forget_time(loop);
    uint64_t serial = unri_timers(loop)->serial;
    bool     more = unri_timers(loop)->count && unri_timers_expire(loop, serial);
    if (unri_inbox_has_tasks(unri_inbox(loop)))
        unri_inbox_run(unri_inbox(loop));
    dispatch(loop);
    while (unlikely(more))
        more = dispatch_timers(loop, serial);
    loop->in_turn = false;
    return error;
}

static bool idle(struct unr_loop *loop)
{
    return loop->in_flight == 0 && !loop->finished.first && !unri_inbox_has_tasks(unri_inbox(loop));
}

static int enter_run(struct unr_loop *loop, const char *call)
{
    int error = unri_loop_own(loop);
    if (error < 0)
        return error;
    if (loop->in_turn)
        unri_broken(call, NULL,
                    "a loop is not run or closed from inside its own done, task or handler");
    unri_forget_time(loop);
    return 0;
}

int unr_loop_run(struct unr_loop *loop)
{
    int error = enter_run(loop, "unr_loop_run called inside a turn of the same loop");
    if (error < 0)
        return error;
    while (error == 0 && !unri_inbox_take_stop(unri_inbox(loop))
           && (!idle(loop) || atomic_load(&unri_inbox(loop)->holds)))
        error = turn(loop, UNR_NEVER);
    loop->in_turn = true; /* a stop leaves no task behind that was posted before it */
    if (unri_inbox_has_tasks(unri_inbox(loop)))
        unri_inbox_run(unri_inbox(loop));
    loop->in_turn = false;
    return error;
}

int unr_loop_run_once(struct unr_loop *loop, unr_time timeout)
{
    int error = enter_run(loop, "unr_loop_run_once called inside a turn of the same loop");
    if (error < 0 || unri_inbox_take_stop(unri_inbox(loop)))
        return error;
    if (loop->embed_fd >= 0)
        unri_embed_begin(loop);
    else if (idle(loop) && !atomic_load(&unri_inbox(loop)->holds))
        return 0;
    error = turn(loop, timeout == UNR_NEVER ? UNR_NEVER
                       : timeout <= 0       ? INT64_MIN
                                            : unri_sum(unri_now(loop), timeout));
    unri_inbox_take_stop(unri_inbox(loop));
    if (loop->embed_fd >= 0)
        unri_embed_end(loop);
    return error < 0 ? error : (int)loop->ran;
}

unsigned unr_loop_in_flight(const struct unr_loop *loop)
{
    return loop->in_flight;
}

void unr_loop_stats(const struct unr_loop *loop, struct unr_stats *ret_stats, size_t size)
{
    size_t known = size < sizeof loop->stats ? size : sizeof loop->stats;
    memcpy(ret_stats, &loop->stats, known);
    memset((char *)ret_stats + known, 0, size - known);
}

/* ---- close ---- */

static void request_shutdown(struct unr_op *op, void *context)
{
    (void)context;
    unri_request(op, (struct unr_cancel_request){ UNR_CANCEL_ALL, -ESHUTDOWN });
}

static void request_all(struct unr_loop *loop)
{
    unri_timers_request_all(loop, (struct unr_cancel_request){ UNR_CANCEL_ALL, -ESHUTDOWN });
    unri_each_in_flight(&loop->descriptors, request_shutdown, NULL);
}

/* A `done` may start a few operations in turn to clean up; one that starts what is refused for ever
 * never ends. */
static uint64_t served_starts(const struct unr_loop *loop)
{
    return 1000 + 100 * (loop->stats.started - loop->stats.finished); /* children and members too */
}

static int drain(struct unr_loop *loop)
{
    int error = unri_loop_own(loop);
    unri_forget_time(loop);
    loop->closing = true;
    loop->starts_left = served_starts(loop);
    loop->in_turn = true; /* handlers that run inside the requests are inside the loop */
    request_all(loop);
    loop->in_turn = false;
    while (error == 0 && !idle(loop)) {
        unri_inbox_take_stop(unri_inbox(loop));
        error = turn(loop, UNR_NEVER);
    }
    request_shutdown(&unri_whole(loop)->wake.read, NULL);
    request_shutdown(&unri_whole(loop)->alarm.op, NULL);
    while (error == 0
           && (!idle(loop) || unr_in_flight(&unri_whole(loop)->wake.read)
               || unr_in_flight(&unri_whole(loop)->alarm.op))) {
        unri_inbox_take_stop(unri_inbox(loop));
        error = turn(loop, UNR_NEVER);
    }
    return error;
}

int unr_loop_close(struct unr_loop *loop)
{
    int error = 0;
    if (!loop)
        return 0;
    if (loop->guard->owner == UNRI_FORKED) {
        unri_ring_abandon(loop);
    } else {
        unri_check_thread(loop);
        if (loop->in_turn)
            unri_broken("unr_loop_close called inside a turn of the loop", NULL,
                        "a loop is not run or closed from inside its own done, task or handler");
        error = drain(loop);
        unri_ring_close(loop);
    }
    free_loop(loop);
    return error;
}
