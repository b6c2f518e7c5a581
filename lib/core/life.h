/* SPDX-License-Identifier: MIT */
/* What an operation keeps of its own life: its state, its flags, and what its result holds until
 * the result is final. */
#ifndef UNRI_LIFE_H
#define UNRI_LIFE_H

#include <unring/op.h>
#include "base.h"

/* ---- states ---- */

/* The states of an operation, in unr_op_private.state.  The low four bits number them; the rest is
 * a pattern that memory which was never zeroed does not hold, so that such memory cannot pass for
 * an operation in flight.
 *
 *   not in flight -> DESCRIBED   [unr_describe]         IDLE, DESCRIBED, HELD, or other memory
 *   DESCRIBED     -> HELD        [unri_hold]            given to a combinator
 *   HELD          -> DESCRIBED   [adopt_child]          its combinator is about to start it
 *   DESCRIBED     -> QUEUED      [unri_enqueue]         a system call
 *   DESCRIBED     -> IN_FLIGHT   [unri_start_op]        every other operation
 *   DESCRIBED     -> IN_FLIGHT   [start_with_request]   a combinator that was asked to end before
 *   DESCRIBED     -> IN_FLIGHT   [cancel_close_start]   it waits for the others on its descriptor
 *   DESCRIBED     -> IN_FLIGHT   [read_start]           a read of a receiver
 *   DESCRIBED     -> IN_FLIGHT   [accept_start]         an accept from an acceptor
 *   DESCRIBED     -> IN_FLIGHT   [presence_start]       what stands for an acceptor
 *   DESCRIBED     -> IN_FLIGHT   [stop_start]           the stop of either
 *   DESCRIBED     -> IN_FLIGHT   [unri_begin_wait]      for a channel, a mutex and their like
 *   DESCRIBED     -> IN_FLIGHT   [select_start]         for one of several channels
 *   DESCRIBED     -> IN_FLIGHT   [start_call]           a piece of work, for a thread
 *   DESCRIBED     -> IN_FLIGHT   [start_lookup]         a lookup of a name, for a thread
 *   QUEUED        -> IN_FLIGHT   [fill_queued]          it gets its SQE
 *   IN_FLIGHT     -> QUEUED      [unri_enqueue]         a cancel_close is alone on its descriptor
 *   IN_FLIGHT     -> QUEUED      [unri_interrupted]     the kernel has given it back untouched
 *   IN_FLIGHT     -> QUEUED      [unri_enqueue_again]   a multishot call is armed again
 *   IN_FLIGHT     -> CANCELLING  [unri_tell_type]       its type hears of a request
 *   IN_FLIGHT     -> CANCELLING  [unri_record_request]  a combinator has honoured a request
 *   CANCELLING    -> CANCELLING  [unri_tell_type]       its type hears of a further request
 *   DESCRIBED     -> FINISHED    [queue_for_done]       it was started and did not begin
 *   QUEUED        -> FINISHED    [queue_for_done]       cancelled before the kernel saw it
 *   IN_FLIGHT     -> FINISHED    [queue_for_done]       it has ended
 *   CANCELLING    -> FINISHED    [queue_for_done]       it has ended, cancelled or not
 *   FINISHED      -> IDLE        [unri_run_done]        `done` comes next
 *
 * unr_describe() checks its own move, as it may find anything.  Every other move goes through
 * unri_set_op_state(), which asserts that it is in this list.  From its start until its `done` an
 * operation is also among the peers on its descriptor. */
enum unri_op_state {
    /* The operation is the caller's, and on no list. */
    UNRI_IDLE = 0,
    /* It is filled in, and waits for unr_start() or for a combinator; on no list. */
    UNRI_DESCRIBED = 0x6f705d01,
    /* It waits for an SQE, on ring->queued, or on ring->repeats if it was submitted before.  A
     * request ends it at once, UNSUBMITTED (rule 6). */
    UNRI_QUEUED = 0x6f705d02,
    /* It has begun, and the kernel may touch its buffers. */
    UNRI_IN_FLIGHT = 0x6f705d03,
    /* As IN_FLIGHT, and it has honoured a request: its cancel is wanted, under way or answered. */
    UNRI_CANCELLING = 0x6f705d04,
    /* Its result is final; it is on loop->finished, or on loop->handing_back, until `done` runs. */
    UNRI_FINISHED = 0x6f705d05,
    /* As DESCRIBED, but only the combinator that it was given to may start it. */
    UNRI_HELD = 0x6f705d06,
};

static inline unsigned unri_state_bit(uint32_t state)
{
    return 1u << (state & 15);
}

/* The bits of the states that lead to `state`. */
static inline unsigned unri_states_before(enum unri_op_state state)
{
    const unsigned described = unri_state_bit(UNRI_DESCRIBED), held = unri_state_bit(UNRI_HELD),
                   queued = unri_state_bit(UNRI_QUEUED), in_flight = unri_state_bit(UNRI_IN_FLIGHT),
                   cancelling = unri_state_bit(UNRI_CANCELLING),
                   finished = unri_state_bit(UNRI_FINISHED);
    switch (state) {
    case UNRI_IDLE: return finished;
    case UNRI_DESCRIBED: return held; /* unr_describe() checks its own move */
    case UNRI_HELD: return described;
    case UNRI_QUEUED: return described | in_flight;
    case UNRI_IN_FLIGHT: return described | queued;
    case UNRI_CANCELLING: return in_flight | cancelling;
    case UNRI_FINISHED: return described | queued | in_flight | cancelling;
    }
    return 0;
}

static inline void unri_set_op_state(struct unr_op *op, enum unri_op_state state)
{
    assert(unri_states_before(state) & unri_state_bit(op->private_fields.state));
    op->private_fields.state = (uint32_t)state;
}

/* Tells whether the operation is in flight for its caller: from its start until just before its
 * `done`.  The numbers of the states are in this order for it. */
static inline bool unri_live(const struct unr_op *op)
{
    uint32_t state = op->private_fields.state;
    return state >= UNRI_QUEUED && state <= UNRI_FINISHED;
}

/* ---- flags ---- */

/* The low bits of unr_op_private.flags.  The types that the operation supports, and the number of
 * its attempts, share the word with them. */
enum {
    UNRI_CHILD = 1 << 0,        /* its end goes to private_fields.combinator, not to a `done` */
    UNRI_HOUSEKEEPING = 1 << 1, /* the loop's own: neither shown nor counted */
    UNRI_INVALID = 1 << 2,      /* no kernel takes its arguments, and it ends with -EINVAL; or this
                                   kernel lacks the call, and it ends with -EOPNOTSUPP */
    UNRI_HONOURED = 1 << 3,     /* it has honoured a request; verdict and cause tell of that one */
    UNRI_ON_FD = 1 << 4,        /* among the peers of private_fields.fd */
    UNRI_ON_TWO_FDS = 1 << 5,   /* among the operations on two descriptors */

    /* The CQEs that uring/ awaits; the operation is finished when none is missing (rule 7, The
     * join). */
    UNRI_AWAITS_TARGET = 1 << 6, /* its own last CQE */
    UNRI_AWAITS_NOTIF = 1 << 7,  /* the notification of a zero-copy send */
    UNRI_AWAITS_CANCEL = 1 << 8, /* the CQE of its cancel */
    UNRI_AWAITS_UNDO = 1 << 9,   /* the CQE of the call that undoes a connect */
    UNRI_AWAITS = UNRI_AWAITS_TARGET | UNRI_AWAITS_NOTIF | UNRI_AWAITS_CANCEL | UNRI_AWAITS_UNDO,

    /* What uring/ has yet to send for the operation: at most one of these, which names its list. */
    UNRI_WANTS_CANCEL = 1 << 10, /* ring->urgent */
    UNRI_WANTS_UNDO = 1 << 11,   /* ring->urgent */
    UNRI_WANTS_REPEAT = 1 << 12, /* ring->repeats: its cancel, or itself, is sent again later */

    UNRI_CANCEL_HIT = 1 << 13,  /* a cancel's CQE said that it took effect */
    UNRI_UNDO_FAILED = 1 << 14, /* a connect could not be undone: the socket may still connect */
    UNRI_ZERO_COPY = 1 << 15,   /* MORE announces a notification, not another shot */

    UNRI_FILLS_BUFFER = 1 << 16, /* a receive with MSG_WAITALL */
    UNRI_LOCAL_STREAM = 1 << 16, /* a multishot receive, which has no MSG_WAITALL: of AF_UNIX */
    UNRI_LOST_DATA = 1 << 17,    /* a datagram: the kernel took its bytes, and sent none of them */
    UNRI_CLOSES = 1 << 18,       /* it closes private_fields.fd, unless another does before it */
    UNRI_FD_CLOSED = 1 << 19,    /* its descriptor's number is, or will be, another file's */
    UNRI_NO_WORKER = 1 << 20,    /* the kernel made no worker for it, for half a second; or no
                                    thread could be made */
    UNRI_CLOCK_SET = 1 << 21,    /* a read of a timerfd, which said ECANCELED: the clock was set */
    UNRI_MULTISHOT = 1 << 22,    /* it may have shots, and so is nobody's child */
    UNRI_CHECKED = 1 << 23,      /* its loop remembers what it was at its start (check.c) */

    /* What unr_explain_op() has to say of an EAGAIN. */
    UNRI_EXPLAINS = UNRI_LOST_DATA | UNRI_NO_WORKER,

    UNRI_ASKED = 1 << 24, /* a request was made to it, not to its combinator: its verdict counts */

    UNRI_ATTEMPTS_SHIFT = 25, /* four bits */
    UNRI_SUPPORTS_SHIFT = 29, /* three bits, UNR_CANCEL_* */
};

static inline struct unr_op_private *unri_private(struct unr_op *op)
{
    return &op->private_fields;
}

static inline void unri_clear_flags(struct unr_op *op, int flags)
{
    op->private_fields.flags &= ~(uint32_t)flags;
}

/* Returns the types that the operation's own flags name.  For a combinator they may be out of date:
 * unr_supports() asks it, or its child. */
static inline unsigned unri_own_supports(const struct unr_op *op)
{
    return op->private_fields.flags >> UNRI_SUPPORTS_SHIFT & UNR_CANCEL_ALL;
}

static inline void unri_set_supports(struct unr_op *op, unsigned types)
{
    unri_clear_flags(op, (int)(UNR_CANCEL_ALL << UNRI_SUPPORTS_SHIFT));
    op->private_fields.flags |= types << UNRI_SUPPORTS_SHIFT;
}

/* Returns how often a cancel was sent again, as the last had no effect; before a first cancel, how
 * often the operation was. */
static inline unsigned unri_attempts(const struct unr_op *op)
{
    return op->private_fields.flags >> UNRI_ATTEMPTS_SHIFT & 15;
}

static inline void unri_forget_attempts(struct unr_op *op)
{
    unri_clear_flags(op, 15 << UNRI_ATTEMPTS_SHIFT);
}

static inline void unri_count_attempt(struct unr_op *op)
{
    op->private_fields.flags += 1u << UNRI_ATTEMPTS_SHIFT;
}

/* Returns the strongest of a mask of types; NONE of none. */
static inline unsigned unri_strongest(unsigned types)
{
    if (types & UNR_CANCEL_TOTAL)
        return UNR_CANCEL_TOTAL;
    return types & UNR_CANCEL_PARTIAL ? UNR_CANCEL_PARTIAL : types;
}

/* Returns a type together with all weaker ones, which are the bits below it; NONE of NONE. */
static inline unsigned unri_with_weaker(unsigned type)
{
    return type | (type - !!type);
}

/* ---- scratch ---- */

/* While an operation is in flight, three fields of its result serve as scratch memory, through
 * these accessors:
 *
 *   error  When the operation was started; for a system call whose own last CQE is in, the res of
 *          that CQE.
 *   bytes  Of a system call: the operation before it on a list of the ring (uring/queue.h).
 *   fd     Of a system call: when something is, or was, to be sent again for it (uring/repeat.c).
 *
 * `cause`, `requested` and `verdict` collect what becomes of requests.  Operations of a caller's
 * own type have `bytes` and `fd` to themselves. */

/* The start is in milliseconds of unri_turn_ms(). */
static inline uint32_t unri_started_ms(const struct unr_op *op)
{
    return (uint32_t)op->result.error;
}

/* Tells whether an operation still knows when it was started.  When its own last completion is in,
 * the res of that takes the place of the time: unri_res(). */
static inline bool unri_knows_its_start(const struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    if (p->state == UNRI_FINISHED)
        return false;
    return p->flags & UNRI_AWAITS_TARGET || !(p->flags & (UNRI_AWAITS | UNRI_WANTS_UNDO));
}

static inline void unri_set_started_ms(struct unr_op *op, uint32_t ms)
{
    op->result.error = (int)ms;
}

static inline int unri_res(const struct unr_op *op)
{
    return op->result.error;
}

static inline void unri_set_res(struct unr_op *op, int res)
{
    op->result.error = res;
}

#endif
