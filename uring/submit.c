/* From the queue into the SQ.  SQEs are filled when they are flushed, from the operation's own
 * arguments: until then an operation is on a list, and cancelling it is taking it off.  What finds
 * no SQE stays on its list: nothing is lost when the SQ is full (rule 8).  A turn submits, waits
 * and times out with one system call. */
#include "ring.h"

/* ---- lists ---- */

static struct unr_op *previous(const struct unr_op *op)
{
    return (struct unr_op *)(uintptr_t)op->result.bytes;
}

static void set_previous(struct unr_op *op, struct unr_op *before)
{
    op->result.bytes = (uintptr_t)before;
}

void unri_queue_push(struct unri_queue *queue, struct unr_op *op)
{
    unri_private(op)->next = NULL;
    set_previous(op, queue->last);
    if (queue->last)
        unri_private(queue->last)->next = op;
    else
        queue->first = op;
    queue->last = op;
}

void unri_queue_remove(struct unri_queue *queue, struct unr_op *op)
{
    struct unr_op *next = unri_private(op)->next, *before = previous(op);
    if (before)
        unri_private(before)->next = next;
    else
        queue->first = next;
    if (next)
        set_previous(next, before);
    else
        queue->last = before;
    set_previous(op, NULL);
}

/* ---- start and cancel of a row ---- */

void unri_enqueue(struct unr_op *op)
{
    unri_set_state(op, UNRI_QUEUED);
    unri_queue_push(&op->private_fields.loop->ring->queued, op);
}

static void end_unsupported(struct unr_op *op)
{
    unri_private(op)->flags |=
        UNRI_INVALID; /* on this kernel; a descriptor's own EOPNOTSUPP is another matter */
    unri_end(op, -EOPNOTSUPP);
}

void unri_row_start(struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    struct unr_loop       *loop = p->loop;
    const struct unri_row *row = unri_row_of(op);

    bool closing = row->descriptors && p->supports
                   && (unri_being_closed(loop, p->fd)
                       || (row->descriptors == 2 && unri_being_closed(loop, p->other_fd)));
    if (__builtin_expect(p->flags & UNRI_INVALID, 0))
        unri_end(op, -EINVAL);
    else if (__builtin_expect(!unri_ring_has(loop->ring, row->opcode), 0))
        end_unsupported(op);
    else if (__builtin_expect(closing, 0))
        unri_end_unsubmitted(op, (struct unr_cancel_request){ UNR_CANCEL_ALL, -ESHUTDOWN });
    else
        unri_enqueue(op);
}

void unri_row_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_op_private *p = unri_private(op);
    struct unri_ring      *ring = p->loop->ring;
    if (p->state == UNRI_QUEUED) {
        unri_queue_remove(&ring->queued, op);
        unri_end_unsubmitted(op, request);
        return;
    }
    /* One cancel at a time; and none for what only awaits its other CQEs, or has been hit. */
    const unsigned under_way = UNRI_WANTS_CANCEL | UNRI_WANTS_UNDO | UNRI_WANTS_REPEAT
                               | UNRI_AWAITS_CANCEL | UNRI_CANCEL_HIT;
    if (p->flags & UNRI_AWAITS_TARGET && !(p->flags & under_way)) {
        unri_want_cancel(ring, op);
    }
}

/* ---- filling SQEs ---- */

static void fill_row(struct io_uring_sqe *sqe, const struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    *sqe = (struct io_uring_sqe){
        .opcode = unri_row_of(op)->opcode,
        .fd = p->fd,
        .off = p->offset,
        .addr = p->address,
        .len = p->length,
        .rw_flags = (__kernel_rwf_t)p->call_flags,
        .splice_fd_in = p->other_fd,
    };
}

/* Gives the operation at the head of the queue an SQE. */
static void fill_queued(struct unri_ring *ring, struct io_uring_sqe *sqe)
{
    struct unr_op         *op = ring->queued.first;
    const struct unri_row *row = unri_row_of(op);
    unri_queue_remove(&ring->queued, op);
    fill_row(sqe, op);
    /* In flight already while it is filled: a caller's function may request its cancellation. */
    unri_set_state(op, UNRI_IN_FLIGHT);
    unri_private(op)->flags |= UNRI_AWAITS_TARGET;
    if (row->fill && __builtin_expect(!row->fill(sqe, op), 0)) {
        ring->io.sq.sqe_tail--; /* the SQE is handed back */
        return;
    }
    sqe->user_data = unri_user_data(op, UNRI_OWN);
}

static void fill_cancel(struct io_uring_sqe *sqe, const struct unr_op *op)
{
    *sqe = (struct io_uring_sqe){
        .opcode = IORING_OP_ASYNC_CANCEL,
        .fd = -1,
        .addr = unri_user_data(op, UNRI_OWN),
        .user_data = unri_user_data(op, UNRI_CANCEL),
    };
}

/* Takes a TCP socket out of SYN_SENT: connect(2) to AF_UNSPEC. */
static void fill_undo(struct io_uring_sqe *sqe, const struct unr_op *op)
{
    static const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
    *sqe = (struct io_uring_sqe){
        .opcode = IORING_OP_CONNECT,
        .fd = op->private_fields.fd,
        .addr = (uintptr_t)&nowhere,
        .off = sizeof nowhere,
        .user_data = unri_user_data(op, UNRI_UNDO),
    };
}

static void fill_urgent(struct unri_ring *ring, struct io_uring_sqe *sqe)
{
    struct unr_op         *op = ring->urgent.first;
    struct unr_op_private *p = unri_private(op);
    unri_queue_remove(&ring->urgent, op);
    if (p->flags & UNRI_WANTS_CANCEL) {
        fill_cancel(sqe, op);
        ring->cancels_filled++;
        p->flags ^= UNRI_WANTS_CANCEL | UNRI_AWAITS_CANCEL;
    } else {
        fill_undo(sqe, op);
        p->flags ^= UNRI_WANTS_UNDO | UNRI_AWAITS_UNDO;
    }
}

/* Fills SQEs, those about operations in flight first; filling one may bring forth another
 * (unr_sqe).  True if the SQ is full and something was left. */
static bool fill(struct unri_ring *ring)
{
    ring->cancels_filled = 0;
    while (ring->urgent.first || ring->queued.first) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->io);
        if (!sqe)
            return true;
        if (__builtin_expect(ring->urgent.first != NULL, 0))
            fill_urgent(ring, sqe);
        else
            fill_queued(ring, sqe);
    }
    return false;
}

/* Shows the kernel what was filled.  How many SQEs it has not taken yet. */
static unsigned publish(struct unri_ring *ring)
{
    struct io_uring_sq *sq = &ring->io.sq;
    /* Release: the kernel sees the SQEs when it sees the tail. */
    io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
    return sq->sqe_tail - io_uring_smp_load_acquire(sq->khead);
}

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

/* ---- cancels that had no effect ---- */

static void repeat(struct unr_loop *loop, unsigned level, struct unr_op *op)
{
    struct unr_op_private *p = unri_private(op);
    unri_queue_remove(&loop->ring->repeats[level], op);
    loop->ring->repeating--;
    p->flags &= (uint16_t)~UNRI_WANTS_REPEAT;
    if (p->attempts < UNRI_REPEAT_LEVELS - 1)
        p->attempts++;
    unri_want_cancel(loop->ring, op);
    loop->stats.cancels_repeated++;
}

/* After a reap: the first repetition waits for just that, the others for a time.  Each list is in
 * order of time. */
static void repeat_cancels(struct unr_loop *loop)
{
    struct unri_ring *ring = loop->ring;
    for (unsigned level = 0; level < UNRI_REPEAT_LEVELS && ring->repeating; level++) {
        uint32_t now = level == 0 ? ring->reaps : unri_turn_ms(loop);
        for (struct unr_op *op; (op = ring->repeats[level].first) && unri_until(op, now) <= 0;)
            repeat(loop, level, op);
    }
}

unr_time unri_ring_next_repeat(struct unr_loop *loop)
{
    const struct unri_ring *ring = loop->ring;
    unr_time                deadline = UNR_NEVER;
    if (!ring->repeating)
        return deadline;
    if (ring->repeats[0].first)
        return INT64_MIN;
    for (unsigned level = 1; level < UNRI_REPEAT_LEVELS; level++) {
        const struct unr_op *op = ring->repeats[level].first;
        unr_time             at =
            op ? unri_now(loop) + UNR_MSEC(unri_until(op, unri_turn_ms(loop))) : UNR_NEVER;
        if (at < deadline)
            deadline = at;
    }
    return deadline;
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
    return enter(loop, 0, 1, unri_enter_clock() + UNR_MSEC(1), &refused);
}

int unri_ring_turn(struct unr_loop *loop, unr_time deadline)
{
    struct unri_ring *ring = loop->ring;
    int               error = 0;
    bool              refused = false;

    unr_time repeat = unri_ring_next_repeat(loop);
    if (repeat < deadline)
        deadline = repeat;
    if (kernel_flags(ring) & IORING_SQ_CQ_OVERFLOW)
        loop->stats.cq_overflows++;
    ring->ran_shots = false;
    for (bool more = true; more && !refused && error == 0 && !ring->ran_shots;) {
        more = fill(ring);
        loop->stats.sq_full += more;
        unsigned to_submit = publish(ring);
        bool     wait =
            deadline != INT64_MIN && !more && !completions_ready(ring) && !loop->finished.first;
        if (to_submit || wait || must_enter(ring))
            error = enter(loop, to_submit, completions_to_ask_for(ring, wait),
                          wait ? deadline : INT64_MIN, &refused);
        if (__builtin_expect(refused && error == 0, 0))
            error = let_it_recover(loop);
        unri_reap(loop);
        deadline = INT64_MIN; /* what was reaped may have to be seen to at once */
    }
    if (__builtin_expect(ring->repeating, 0))
        repeat_cancels(loop);
    return error;
}
