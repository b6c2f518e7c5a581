/* One turn with the kernel: it submits, waits and times out with one system call, and reaps. */
#include "../lib/core/contract.h"
#include "cancel.h"
#include "complete.h"
#include "enter.h"
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

/* Completions that only a call of the kernel brings forth.  (A plain ring's are posted without
 * one.) */
static bool must_enter(const struct unri_ring *ring)
{
    return kernel_flags(ring) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

bool unri_ring_has_work(const struct unr_loop *loop)
{
    const struct unri_ring *ring = loop->ring;
    bool unsubmitted = ring->io.sq.sqe_tail != io_uring_smp_load_acquire(ring->io.sq.khead);
    return ring->queued.first || ring->urgent.first || ring->repeats[0].first || unsubmitted
           || completions_ready(ring) || must_enter(ring);
}

/* ---- the turn ---- */

/* How many CQEs to ask for.  The kernel runs deferred work for as many as that, or 20: after a
 * storm of cancels, whose own CQEs are there as soon as they are submitted, asking for those brings
 * their targets' along with the same call. */
static unsigned completions_to_ask_for(const struct unri_ring *ring, bool wait)
{
    enum { DEFERRED_WORK_AT_ONCE = 20 };
    return ring->cancels_filled > DEFERRED_WORK_AT_ONCE ? ring->cancels_filled : wait;
}

/* One call of the kernel.  0, or an errno that ends the run; *ret_refused: it took none of the SQEs
 * it was shown. */
static int enter(struct unr_loop *loop, unsigned to_submit, unsigned min_complete,
                 unr_time deadline, bool *ret_refused)
{
    int n =
        unri_enter(&loop->ring->io, to_submit, min_complete, deadline, loop->ring->absolute_wait);
    loop->stats.enters++;
    *ret_refused = to_submit && n <= 0 && n != -EINTR && n != -ETIME;
    if (n >= 0)
        return 0;
    switch (n) {
    /* The wait ended; the kernel has no memory for requests now, or too many completions are
     * waiting, and the SQEs stay. */
    case -ETIME:
    case -EINTR:
    case -EAGAIN:
    case -EBUSY: return 0;
    case -EBADR:
        unri_broken("the kernel dropped completions for want of memory (EBADR)", NULL,
                    "operations whose completion is lost can never be handed back");
    default: return n;
    }
}

/* The kernel takes no SQEs: gives it up to a millisecond in which something completes. */
static int let_it_recover(struct unr_loop *loop)
{
    bool refused;
    return enter(loop, 0, 1, unri_os_clock() + UNR_MSEC(1), &refused);
}

int unri_ring_turn(struct unr_loop *loop, unr_time deadline)
{
    struct unri_ring *ring = loop->ring;
    int               error = 0;
    bool              refused = false;

    if (unlikely(ring->repeating)) {
        unr_time repeat = unri_ring_next_repeat(loop);
        if (repeat < deadline)
            deadline = repeat;
    }
    if (kernel_flags(ring) & IORING_SQ_CQ_OVERFLOW)
        loop->stats.cq_overflows++;
    ring->ran_shots = false;
    for (bool more = true; more && !refused && error == 0 && !ring->ran_shots;) {
        more = unri_fill(ring);
        loop->stats.sq_full += more;
        unsigned to_submit = unri_publish(ring);
        bool     wait =
            deadline != INT64_MIN && !more && !completions_ready(ring) && !loop->finished.first;
        if (to_submit || wait || must_enter(ring))
            error = enter(loop, to_submit, completions_to_ask_for(ring, wait),
                          wait ? deadline : INT64_MIN, &refused);
        if (unlikely(refused && error == 0))
            error = let_it_recover(loop);
        unri_reap(loop);
        deadline = INT64_MIN; /* what was reaped may have to be seen to at once */
    }
    if (unlikely(ring->repeating))
        unri_repeat_cancels(loop);
    return error;
}
