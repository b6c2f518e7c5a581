/* SPDX-License-Identifier: MIT */
/* A pool as those see it who take buffers from it: multishot operations and receivers. */
#ifndef UNRI_POOL_H
#define UNRI_POOL_H

#include <unring/pool.h>
#include "queue.h"
#include "ring.h"

#include <sys/types.h>

enum { UNRI_NO_BUFFER = 0xffff };

/* What is known of one buffer. */
struct unri_buffer {
    uint32_t start, length; /* the bytes in it that its receiver has not given out */
    int32_t  fd;            /* on what it was handed out; -1: for unr_pool_take() */
    uint16_t next;          /* the buffer behind it, on the stack or in its receiver */
    bool     held;          /* it is handed out */
};

/* A buffer is handed out, or stands in the ring of provided buffers, or is the spare one, or is on
 * the stack: then there are as many in the ring as the kernel may choose from, and a spare one.  A
 * pool that is not provided has none in the ring. */
struct unr_pool {
    struct unr_loop          *loop; /* NULL: that is closed */
    struct unr_pool          *next; /* of the loop's pools */
    struct io_uring_buf_ring *ring; /* with the buffers behind it in one mapping */
    unsigned char            *memory;
    struct unri_buffer       *buffers;
    unsigned                  count, size;
    unsigned                  limit, limit_min; /* so many stand in the ring, if there are any */
    unsigned                  published;        /* so many do, and no completion has one of them */
    uint32_t                  starved_at;       /* the reap in which an arrival found none */
    uint16_t                  tail, group;
    uint16_t                  stack;    /* the buffer that was given back last */
    uint16_t                  spare;    /* is for a receiver that finds no other */
    bool                      provided; /* the kernel knows the ring */
    bool                      registered;
    struct unr_pool_stats     stats;
    /* Receivers that found no buffer, by what stands for them in flight: those with a read that
     * needs one, and those without. */
    struct unri_queue readers, idle;
    void (*returned)(struct unr_pool *pool); /* serves them when a buffer has come back */
};

static inline unsigned char *unri_pool_memory(const struct unr_pool *pool, unsigned buffer)
{
    return pool->memory + (size_t)buffer * pool->size;
}

/* The pool of an operation whose row takes buffers. */
static inline struct unr_pool *unri_pool_of(const struct unr_op *op)
{
    return (struct unr_pool *)(uintptr_t)op->private_fields.offset;
}

/* Gives the SQE of a call that takes buffers what it needs for that. */
static inline void unri_pool_select(const struct unr_pool *pool, struct io_uring_sqe *sqe)
{
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = pool->group;
}

/* Tells whether a CQE has a buffer.  Linux 6.1 says so beside an error, too, and there is none. */
static inline bool unri_pool_has_chosen(int res, unsigned cqe_flags)
{
    return res >= 0 && cqe_flags & IORING_CQE_F_BUFFER;
}

/* Takes note of the buffer that the kernel has chosen for a call on `fd`; it comes from the flags
 * of the CQE.  Returns its number. */
unsigned unri_pool_chosen(struct unr_pool *pool, unsigned cqe_flags, int fd);

/* An arrival found no buffer.  Returns true if there are some now. */
bool unri_pool_starved(struct unr_pool *pool);

/* Takes the spare buffer for a call on `fd`; UNRI_NO_BUFFER: it is handed out. */
unsigned unri_pool_spare(struct unr_pool *pool, int fd);

/* Puts the spare buffer back, which was not used. */
void unri_pool_put_spare(struct unr_pool *pool, unsigned buffer);

/* Gives a buffer back. */
void unri_pool_put(struct unr_pool *pool, unsigned buffer);

/* Lets go of a loop that is being closed. */
void unri_pools_leave(struct unri_ring *ring);

#endif
