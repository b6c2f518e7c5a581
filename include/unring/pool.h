/* SPDX-License-Identifier: MIT */
/* Pools: equal buffers from which the kernel chooses one when something has come.  So a socket that
 * waits needs no buffer: ten thousand idle connections need none, and those that are busy share a
 * few that stay in the processor's cache.
 *
 * multishot.h and receiver.h take buffers from a pool.  Before Linux 6.7 the kernel chooses none:
 * receivers read into the buffers themselves, and the multishot operations end with -EOPNOTSUPP.  A
 * kernel of 6.1 writes into buffers that it was not given once a ring of them was empty. */
#ifndef UNRING_POOL_H
#define UNRING_POOL_H

#include <stddef.h>
#include <stdint.h>
#include <unring/common.h>

UNR_BEGIN

struct unr_loop;
struct unr_pool;

/* In unr_pool_options.flags: the buffers are registered with the kernel, too, which pins their
 * memory.  A loop has one pool of this kind at most. */
#define UNR_POOL_REGISTERED 1u

/* In unr_pool_options.flags: huge pages, where the system has some to give. */
#define UNR_POOL_HUGE 2u

/* How a pool is opened.  Options that are zeroed, but for `size`, are the defaults. */
struct unr_pool_options {
    size_t   size;        /* of this structure */
    unsigned count;       /* of buffers: a power of two from 2 to 32,768; 0: 1,024 */
    unsigned buffer_size; /* of each: a multiple of 512 bytes, up to 1 GiB; 0: 16 KiB */
    /* How many buffers the kernel may choose from, those that were given back last; 0: 64.  It is
     * doubled while arrivals find none, up to all, and halved after 256 turns without that.  Before
     * Linux 6.7 it is none, whatever stands here. */
    unsigned published;
    unsigned flags;         /* UNR_POOL_* */
    unsigned abandoned_max; /* 0; anything else is -EINVAL */
};

/* Opens a pool for one loop.
 *
 * ret_pool  set on success only; given back with unr_pool_close().
 * options   NULL: the defaults.
 * Returns   0, or a negative errno: -EINVAL (an option; more than 1 GiB in a registered pool),
 *           -ENOMEM, -EPERM (a registered pool:
 *           RLIMIT_MEMLOCK does not allow its memory to be pinned), -EBUSY (a second registered
 *           pool of the loop), -ENOSPC (65,536 pools).
 * Memory    all buffers are mapped here.  Those that nobody has used yet cost address space alone,
 *           but for a registered pool.  Besides, each buffer has 32 bytes.
 * Limits    some kernels charge 16 of these 32 bytes, in pages, to the RLIMIT_MEMLOCK of users other
 *           than root, Linux 6.18 does: -ENOMEM where it leaves too little.
 * Fork      a child has a copy of the buffers as they are at the time of fork(2), and does not use
 *           them.
 * Threads   the loop's, or any one before the loop has first run.
 * Source    io_uring_register_buf_ring(3); tests/test_pool.c. */
UNR_API int unr_pool_open(struct unr_pool **ret_pool, struct unr_loop *loop,
                          const struct unr_pool_options *options);

/* Gives all memory of a pool back.
 *
 * pool     NULL is fine.  Each buffer has been given back, and nothing that takes buffers from it
 *          is in flight; otherwise it is a broken contract, which is named: whose buffer was not
 *          given back.
 * Order    before the loop is closed or after that.
 * Threads  the loop's; once the loop is closed, any. */
UNR_API void unr_pool_close(struct unr_pool *pool);

/* Takes a buffer for the caller's own use.
 *
 * Returns  its memory, of the pool's buffer size; NULL: there is none but those that the kernel may
 *          choose from, and one that is kept for starved receivers.
 * Threads  the loop's. */
UNR_API void *unr_pool_take(struct unr_pool *pool);

/* Gives a buffer back, which a shot, a receiver or unr_pool_take() has handed out.
 *
 * buffer   any address inside of it.  An address outside of the pool, or in a buffer that is not
 *          handed out, is a broken contract.
 * Arms     the receiver that has waited longest for a buffer.
 * Threads  the loop's; once the loop is closed, any one. */
UNR_API void unr_pool_give(struct unr_pool *pool, void *buffer);

/* What a pool has done, and how it is now. */
struct unr_pool_stats {
    uint64_t taken;     /* buffers that were handed out, to whomever */
    uint64_t given;     /* and that came back */
    uint64_t starved;   /* arrivals that found none; 0 before Linux 6.7 */
    unsigned held;      /* buffers that are handed out */
    unsigned abandoned; /* 0 */
    unsigned published; /* as many the kernel may choose from at present, at most */
};

/* Copies the counters.
 *
 * size     that of the caller's structure.
 * Threads  the loop's. */
UNR_API void unr_pool_stats(const struct unr_pool *pool, struct unr_pool_stats *ret_stats,
                            size_t size);

UNR_END
#endif
