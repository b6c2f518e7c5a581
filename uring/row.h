/* SPDX-License-Identifier: MIT */
/* Rows: what unring knows of a system call.  rows.c has all of them. */
#ifndef UNRI_ROW_H
#define UNRI_ROW_H

#include "../lib/core/clock.h"
#include "../lib/core/type.h"
#include "newer.h"
#include "ring.h"

#include <sys/socket.h>

/* What a `res` of 0 or more is. */
enum unri_yields {
    UNRI_YIELDS_NOTHING, /* 0 */
    UNRI_YIELDS_VALUE,   /* a number that the call's documentation explains */
    UNRI_YIELDS_BYTES,
    UNRI_YIELDS_EVENTS,
    UNRI_YIELDS_FD,   /* owned by the result */
    UNRI_YIELDS_SENT, /* bytes that were sent or written */
};

struct unri_row {
    struct unr_op_type type; /* first: an operation's type is its row */
    uint8_t            opcode;
    uint8_t            yields;     /* enum unri_yields */
    bool               is_special; /* is_plain() is not for it: it has one of the functions below */
    bool               takes_buffers; /* of a pool: unri_pool_of() */
    bool               counts_on;     /* other_fd counts what it has sent before it was queued */
    bool               repeats;   /* interrupted, the call has done nothing: it is called again */
    bool               in_worker; /* a worker executes it, whatever it is on */
    const char        *needs;     /* the version of Linux that has the call; NULL: 6.1 has it */
    /* Fills in what the SQE has besides the operation's arguments.  False: the SQE is not to be
     * submitted, because this function has ended the operation or has let it wait.  NULL: the SQE
     * has the arguments alone. */
    bool (*fill)(struct io_uring_sqe *sqe, struct unr_op *op);
    /* Does what is left to do after a success of the kernel, before the operation ends.  NULL:
     * nothing is left. */
    void (*completed)(struct unr_op *op);
    /* Looks at each CQE of the operation's own, the last one too, before it is believed.  Returns
     * its res, or what is to stand for that.  NULL: nobody looks. */
    int (*look)(struct unr_op *op, int res, unsigned cqe_flags);
    /* Asked when all CQEs are in: true, if the operation goes on all the same.  It has been queued
     * again, or waits in flight without an SQE.  NULL: it ends. */
    bool (*goes_on)(struct unr_op *op, int res);
};

extern const struct unri_row *const unri_rows[];
extern const unsigned               unri_row_count;
extern const struct unri_row        unri_row_close, unri_row_cancel_close, unri_row_sqe;
extern const struct unri_row        unri_row_send_now, unri_row_send_step, unri_row_sendmsg_step;

static inline const struct unri_row *unri_row_of(const struct unr_op *op)
{
    return (const struct unri_row *)op->type;
}

/* The address family of a connect; AF_UNIX for an address that is too short to have one, which
 * connects to nothing. */
static inline sa_family_t unri_family_of_connect(const struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    return p->offset < sizeof(sa_family_t)
               ? AF_UNIX
               : ((const struct sockaddr *)(uintptr_t)p->address)->sa_family;
}

/* The wide argument: two of 32 bits that together hold one of 64, in operations that have no use
 * for the two. */
static inline uint64_t unri_wide(const struct unr_op_private *p)
{
    return (uint64_t)p->call_flags << 32 | p->length;
}

static inline void unri_set_wide(struct unr_op_private *p, uint64_t value)
{
    p->length = (uint32_t)value;
    p->call_flags = (uint32_t)(value >> 32);
}

/* Copies an operation's arguments, which a describing function has put where the SQE has them. */
static inline void unri_fill_row(struct io_uring_sqe *sqe, const struct unr_op *op)
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

/* Returns how many bytes an operation had sent before it was queued. */
static inline uint32_t unri_sent_before(const struct unr_op *op)
{
    return unri_row_of(op)->counts_on ? (uint32_t)op->private_fields.other_fd : 0;
}

/* The fill of a send and a sendmsg. */
bool unri_fill_send(struct io_uring_sqe *sqe, struct unr_op *op);

/* Ends, in its start, an operation that comes too late. */
void unri_end_too_late(struct unr_op *op);

/* The start and the cancel of a row's type. */
void unri_row_start(struct unr_op *op);
void unri_row_cancel(struct unr_op *op, struct unr_cancel_request request);

/* Takes a QUEUED operation off its list. */
void unri_take_back(struct unr_op *op);

/* Queues an operation for an SQE. */
static inline void unri_enqueue(struct unr_op *op)
{
    unri_set_op_state(op, UNRI_QUEUED);
    unri_queue_push(&op->private_fields.loop->ring->queued, op);
}

/* Queues an operation again whose CQEs are all in, and of which nothing was requested.  The last of
 * them has taken the place of its start, which is now. */
static inline void unri_enqueue_again(struct unr_op *op)
{
    unri_set_started_ms(op, unri_turn_ms(op->private_fields.loop));
    unri_clear_flags(op, UNRI_CANCEL_HIT);
    unri_forget_attempts(op);
    unri_enqueue(op);
}

/* Looks through the operations on `fd` for a cancel_close whose CQE is missing: until it has come,
 * the file may be open, for a worker may be closing it. */
bool unri_has_closer(struct unr_loop *loop, int fd);

/* Tells whether another operation in flight is going to close the descriptor that `closer` is to
 * close, and its CQE is missing.  `closer` ends with -EBADF then: the number may be another file's
 * by the time it would close it. */
bool unri_is_closed_by_another(const struct unr_op *closer);

/* Tells the other operations on the descriptor that `closer` is to close that nothing is to be
 * asked of its number, or submitted on it, any more. */
void unri_number_is_closed(const struct unr_op *closer);

/* Marks an operation whose descriptor's number is being closed, and ends it if it waits to be
 * submitted again. */
void unri_lose_number(struct unr_op *op);

/* Tells whether a cancel_close waits until no other operation is on `fd`: no operation that can be
 * cancelled is to be started there then. */
static inline bool unri_being_closed(struct unr_loop *loop, int fd)
{
    return fd >= 0 && unlikely(unri_bucket(&loop->descriptors, fd)->closers)
           && unri_has_closer(loop, fd);
}

/* Tells whether a cancel_close waits on a descriptor of this operation: the operation must not make
 * it wait longer.  An operation that supports NONE cannot be ended, so it begins. */
static inline bool unri_comes_too_late(const struct unr_op *op)
{
    const struct unr_op_private *p = &op->private_fields;
    unsigned                     descriptors = op->type->private_fields.descriptors;
    if (!descriptors || !unri_own_supports(op))
        return false;
    return unri_being_closed(p->loop, p->fd)
           || (descriptors == 2 && unri_being_closed(p->loop, p->other_fd));
}

#endif
