/* SPDX-License-Identifier: MIT */
/* One turn with the kernel: it submits, waits and times out with one system call, and reaps. */
#include "../lib/core/check.h"
#include "../lib/core/clock.h"
#include "../lib/core/contract.h"
#include "complete.h"
#include "enter.h"
#include "repeat.h"
#include "submit.h"

/* ---- the kernel's news ---- */

static unsigned kernel_flags(const struct unri_ring *ring)
{
    return IO_URING_READ_ONCE(*ring->io.sq.kflags);
}

static bool completions_ready(const struct unri_ring *ring)
{
    return io_uring_cq_ready(&ring->io) != 0;
}

/* Tells whether there are completions that reach the CQ only when the kernel is called.  With
 * DEFER_TASKRUN they wait as work of this thread; where the CQ was full, the kernel keeps those
 * that had no room.  A plain ring posts its completions without such a call. */
static bool must_enter(const struct unri_ring *ring)
{
    return kernel_flags(ring) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

bool unri_ring_has_work(const struct unr_loop *loop)
{
    const struct unri_ring *ring = loop->ring;
    bool unsubmitted = ring->io.sq.sqe_tail != io_uring_smp_load_acquire(ring->io.sq.khead);
    bool closed = ring->repeating && ring->closes_seen != loop->descriptors.closes;
    return ring->queued.first || ring->urgent.first || ring->repeats[0].first || closed
           || unsubmitted || ring->unreleased >= 0 || completions_ready(ring) || must_enter(ring);
}

/* ---- the turn ---- */

/* The kernel runs deferred work for as many CQEs as it is asked for, and for so many at least. */
enum { DEFERRED_WORK_AT_ONCE = 20 };

/* Returns how many CQEs a call asks for.  A cancel's own CQE is there as soon as the cancel is
 * submitted, and the CQE of its target is deferred work.  So a call that submits a storm of cancels
 * asks for as many CQEs, which brings those of the targets along. */
static unsigned completions_to_ask_for(const struct unri_ring *ring, bool wait)
{
    return ring->cancels_filled > DEFERRED_WORK_AT_ONCE ? ring->cancels_filled : wait;
}

enum { REFUSED = 1 };

/* Calls the kernel once.  Returns 0, REFUSED if the kernel took none of the SQEs that it was shown,
 * or a negative errno that ends the run. */
static int enter(struct unr_loop *loop, unsigned to_submit, unsigned min_complete,
                 unr_time deadline)
{
    int n =
        unri_enter(&loop->ring->io, to_submit, min_complete, deadline, loop->ring->absolute_wait);
    loop->stats.enters++;
    unri_forget_time(loop); /* the `done` of a shot, which runs before the turn goes on, may ask */
    if (likely(n > 0))
        return 0;
    switch (n) {
    /* The wait has ended. */
    case -ETIME:
    case -EINTR: return 0;
    /* The SQEs stay for the next call, because the kernel has no memory for I/O requests now
     * (EAGAIN), or because too many completions wait (EBUSY). */
    case -EAGAIN:
    case -EBUSY:
    case 0: return to_submit ? REFUSED : 0;
    case -EBADR:
        unri_broken("the kernel dropped completions for want of memory (EBADR)", NULL,
                    "operations whose completion is lost can never be handed back");
    default: return n;
    }
}

/* Gives the kernel, which takes no SQEs now, up to a millisecond in which something completes. */
static int let_kernel_recover(struct unr_loop *loop)
{
    return enter(loop, 0, 1, unri_os_clock() + UNR_MSEC(1));
}

/* Looks at each operation that waits for an SQE, before the list is followed through it: a
 * structure that was a function's own, say, is overwritten by now. */
__attribute__((noinline)) static void check_queued(struct unr_loop *loop)
{
    for (const struct unr_op *op = loop->ring->queued.first; op; op = op->private_fields.next)
        unri_check_memory(loop, op);
}

/* The kernel is called more than once only where the SQ was too small for everything that waits for
 * an SQE: before the turn waits, everything that was queued before it has been submitted.  A `done`
 * that ran for a shot ends the turn, because the operations that it may have queued belong to the
 * next one. */
int unri_ring_turn(struct unr_loop *loop, unr_time deadline)
{
    struct unri_ring *ring = loop->ring;
    int               error = 0;

    if (unlikely(loop->checks != NULL))
        check_queued(loop);
    if (unlikely(ring->repeating)) {
        unri_repeat_after_close(loop);
        unr_time repeat = unri_ring_next_repeat(loop);
        if (repeat < deadline)
            deadline = repeat;
    }
    if (kernel_flags(ring) & IORING_SQ_CQ_OVERFLOW)
        loop->stats.cq_overflows++;
    ring->ran_shots = false;
    for (bool more = true; more && error == 0 && !ring->ran_shots;) {
        more = unri_fill(ring);
        loop->stats.sq_full += more;
        unsigned to_submit = unri_publish(ring);
        bool     wait =
            deadline != INT64_MIN && !more && !completions_ready(ring) && !loop->finished.first;
        if (to_submit || wait || must_enter(ring))
            error = enter(loop, to_submit, completions_to_ask_for(ring, wait),
                          wait ? deadline : INT64_MIN);
        if (unlikely(error == REFUSED)) {
            error = let_kernel_recover(loop);
            more = false;
        }
        unri_reap(loop);
        deadline = INT64_MIN; /* the loop must look at once at the operations that were reaped */
    }
    if (unlikely(ring->repeating))
        unri_repeat_due(loop);
    return error;
}

/* Nothing is submitted here, so what is in flight becomes less with each call, but for a multishot
 * operation whose shots come without end.  For its sake the calls are counted: there are as many as
 * the CQEs of all that is in flight may need. */
int unri_ring_catch_up(struct unr_loop *loop)
{
    struct unri_ring *ring = loop->ring;
    unsigned at_once = ring->io.cq.ring_entries < DEFERRED_WORK_AT_ONCE ? ring->io.cq.ring_entries
                                                                        : DEFERRED_WORK_AT_ONCE;
    uint64_t calls = (loop->stats.started - loop->stats.finished + loop->armed) / at_once + 1;
    int      error = 0;
    if (completions_ready(ring))
        unri_reap(loop);
    for (; error == 0 && must_enter(ring) && calls; calls--) {
        error = enter(loop, 0, 0, INT64_MIN);
        unri_reap(loop);
    }
    return error;
}
