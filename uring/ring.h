/* The kernel's side of a loop: how an operation becomes an SQE and its CQEs a result.
 *
 *   enter.h, enter.c   the calls that cross into the kernel
 *   rows.c             one table row a system call, and one describing function
 *   ring.c             open, probe, close
 *   submit.c           from the queue into the SQ; cancels; one turn with the kernel
 *   complete.c         from the CQ to a finished operation: the join of rule 7, and the verdict
 *   cancel_close.c     the one row that is more than an SQE
 *   newer.h            constants newer than the oldest liburing that we build with */
#ifndef UNRI_RING_H
#define UNRI_RING_H

#include <liburing.h>
#include "kernel.h"
#include "enter.h"
#include "newer.h"

/* ---- rows: what unring knows of a system call ---- */

/* What a non-negative res is. */
enum unri_yields {
    UNRI_YIELDS_VALUE,
    UNRI_YIELDS_BYTES,
    UNRI_YIELDS_EVENTS,
    UNRI_YIELDS_FD, /* owned by the result */
};

struct unri_row {
    struct unr_op_type type; /* first: an operation's type is its row */
    uint8_t            opcode;
    uint8_t            descriptors; /* how many it is in flight on: none, fd, or fd and other_fd */
    uint8_t            yields;      /* enum unri_yields */
    const char        *needs;       /* where it is newer than Linux 6.1: what has it */
    /* NULL: an operation's arguments are laid out as in the SQE.  Otherwise fills the rest in;
     * false: it is not to be submitted now, and has been seen to. */
    bool (*fill)(struct io_uring_sqe *sqe, struct unr_op *op);
};

extern const struct unri_row *const unri_rows[];
extern const unsigned               unri_row_count;
extern const struct unri_row unri_row_cancel_close, unri_row_connect, unri_row_sqe, unri_row_alarm;

static inline const struct unri_row *unri_row_of(const struct unr_op *op)
{
    return (const struct unri_row *)op->type;
}

/* Two 32-bit arguments as one of 64. */
static inline uint64_t unri_wide(const struct unr_op_private *p)
{
    return (uint64_t)p->call_flags << 32 | p->length;
}

static inline void unri_set_wide(struct unr_op_private *p, uint64_t value)
{
    p->length = (uint32_t)value;
    p->call_flags = (uint32_t)(value >> 32);
}

/* What a MSG_WAITALL transfer was asked to move in all. */
uint64_t unri_bytes_asked(const struct unr_op *op);

/* ---- lists of operations on the ring: linked both ways through `next` and the scratch in
 * result.bytes ---- */

struct unri_queue {
    struct unr_op *first, *last;
};

void unri_queue_push(struct unri_queue *queue, struct unr_op *op);
void unri_queue_remove(struct unri_queue *queue, struct unr_op *op);

/* ---- the ring ---- */

#define UNRI_REPEAT_LEVELS 10 /* after the next reap, after 1 ms, 2, 4, ... 256 ms */

struct unri_ring {
    struct io_uring   io;
    struct unri_queue queued; /* operations without an SQE, in the order of their starts */
    struct unri_queue urgent; /* operations in flight that want a cancel or an undoing sent */
    struct unri_queue
        repeats[UNRI_REPEAT_LEVELS]; /* operations whose cancel had no effect, in order of time */
    unsigned repeating;              /* how many are on those */
    unsigned cancels_filled;         /* among the SQEs of this submission */
    bool     ran_shots;              /* in this turn: user code ran inside a reap */
    uint32_t reaps;                  /* counts them, for repeats[0] */
    unsigned setup;                  /* IORING_SETUP_* that the kernel accepted */
    bool     absolute_wait;
    bool     nosignal_write;
    uint8_t  opcodes[32]; /* a bit for each that the kernel has */
};

/* user_data is the operation's address, whose low bits are free to say which of its CQEs it is. */
enum { UNRI_OWN = 0, UNRI_CANCEL = 1, UNRI_UNDO = 2, UNRI_WHICH = 3 };

static inline uint64_t unri_user_data(const struct unr_op *op, unsigned which)
{
    return (uint64_t)(uintptr_t)op | which;
}

static inline bool unri_ring_has(const struct unri_ring *ring, unsigned opcode)
{
    return ring->opcodes[opcode / 8] >> opcode % 8 & 1;
}

/* ---- what the files of uring/ call of each other ---- */

/* A row's start and cancel. */
void unri_row_start(struct unr_op *op);
void unri_row_cancel(struct unr_op *op, struct unr_cancel_request request);
void unri_cancel_close_start(struct unr_op *op);
bool unri_cancel_close_fill(struct io_uring_sqe *sqe, struct unr_op *op);

/* Queues an operation for an SQE. */
void unri_enqueue(struct unr_op *op);

/* Whether a cancel_close waits for the operations on `fd`: then no more are to be started on it. */
bool unri_being_closed(struct unr_loop *loop, int fd);

/* No cancel needs to be sent for an operation any more. */
void unri_withdraw_cancel(struct unri_ring *ring, struct unr_op *op);

/* How long until an operation on ring->repeats is due, in what its list counts: reaps, or
 * milliseconds that wrap round. */
static inline int32_t unri_until(const struct unr_op *op, uint32_t now)
{
    return (int32_t)((uint32_t)op->result.fd - now);
}

/* Completion: empties the CQ. */
void unri_reap(struct unr_loop *loop);

/* Has a cancel sent for an operation in flight. */
static inline void unri_want_cancel(struct unri_ring *ring, struct unr_op *op)
{
    op->private_fields.flags |= UNRI_WANTS_CANCEL;
    unri_queue_push(&ring->urgent, op);
}

#endif
