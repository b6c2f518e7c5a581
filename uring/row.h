/* SPDX-License-Identifier: MIT */
/* Rows: what unring knows of a system call.  rows.c has all of them. */
#ifndef UNRI_ROW_H
#define UNRI_ROW_H

#include "../lib/core/type.h"
#include "newer.h"
#include "ring.h"

/* What a res that is no error is. */
enum unri_yields {
    UNRI_YIELDS_NOTHING, /* 0 */
    UNRI_YIELDS_VALUE,   /* a number that the call's documentation explains */
    UNRI_YIELDS_BYTES,
    UNRI_YIELDS_EVENTS,
    UNRI_YIELDS_FD, /* owned by the result */
};

struct unri_row {
    struct unr_op_type type; /* first: an operation's type is its row */
    uint8_t            opcode;
    uint8_t            yields; /* enum unri_yields */
    bool is_special;           /* its CQE is more than a result: it has `completed`, or the CQE's
                                  flags are kept (unr_sqe) */
    const char *needs;         /* the version of Linux that has the call; NULL: 6.1 has it */
    /* NULL: an operation's arguments are laid out as in the SQE.  Otherwise fills the rest in;
     * false: the SQE is not to be submitted now, and the operation has been seen to. */
    bool (*fill)(struct io_uring_sqe *sqe, struct unr_op *op);
    /* NULL, or what is left to do when the kernel has done what it was asked to. */
    void (*completed)(struct unr_op *op);
};

extern const struct unri_row *const unri_rows[];
extern const unsigned               unri_row_count;
extern const struct unri_row        unri_row_cancel_close, unri_row_sqe;

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

/* The start and the cancel of a row's type. */
void unri_row_start(struct unr_op *op);
void unri_row_cancel(struct unr_op *op, struct unr_cancel_request request);

/* Queues an operation for an SQE. */
static inline void unri_enqueue(struct unr_op *op)
{
    unri_set_op_state(op, UNRI_QUEUED);
    unri_queue_push(&op->private_fields.loop->ring->queued, op);
}

bool unri_has_closer(struct unr_loop *loop, int fd);

/* Whether a cancel_close waits for the operations on `fd`: then no more are to be started on it. */
static inline bool unri_being_closed(struct unr_loop *loop, int fd)
{
    return fd >= 0 && unlikely(unri_bucket(&loop->descriptors, fd)->closers)
           && unri_has_closer(loop, fd);
}

#endif
