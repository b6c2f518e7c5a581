/* SPDX-License-Identifier: MIT */
/* Pools: rings of provided buffers.  The kernel takes buffers from the ring in the order in which
 * they were put there, so all of them would be used in turn, and none would stay in a cache.
 * Therefore only some stand in the ring, and the others lie on a stack: the one that was given back
 * last is used next. */
#include "pool.h"
#include "../lib/core/check.h"
#include "../lib/core/contract.h"
#include "enter.h"
#include "newer.h"
#include "row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    COUNT = 1024,
    COUNT_MAX = 32768,
    SIZE = 16384,
    SIZE_UNIT = 512,
    PUBLISHED = 64,
    GROUPS = 65536,
    PAGE = 4096,
    CALM_TURNS = 256,
};

#define REGISTERED_MAX (1ull << 30)
#define SIZE_MAXIMUM   (1u << 30)

/* ---- the ring and the stack ---- */

static void publish(struct unr_pool *pool, unsigned buffer)
{
    struct io_uring_buf *entries = (struct io_uring_buf *)(void *)pool->ring;
    struct io_uring_buf *entry = &entries[pool->tail & (pool->count - 1)];
    entry->addr = (uintptr_t)unri_pool_memory(pool, buffer);
    entry->len = pool->size;
    entry->bid = (uint16_t)buffer;
    io_uring_smp_store_release(&pool->ring->tail, ++pool->tail);
    pool->published++;
}

static void push(struct unr_pool *pool, unsigned buffer)
{
    pool->buffers[buffer].next = pool->stack;
    pool->stack = (uint16_t)buffer;
}

static unsigned pop(struct unr_pool *pool)
{
    unsigned buffer = pool->stack;
    if (buffer != UNRI_NO_BUFFER)
        pool->stack = pool->buffers[buffer].next;
    return buffer;
}

/* Puts as many buffers into the ring as the kernel may choose from. */
static void publish_more(struct unr_pool *pool)
{
    while (pool->published < pool->limit && pool->stack != UNRI_NO_BUFFER)
        publish(pool, pop(pool));
}

/* ---- handing out and taking back ---- */

static void hand_out(struct unr_pool *pool, unsigned buffer, int fd)
{
    pool->buffers[buffer].held = true;
    pool->buffers[buffer].fd = fd;
    pool->stats.held++;
    pool->stats.taken++;
}

unsigned unri_pool_chosen(struct unr_pool *pool, unsigned cqe_flags, int fd)
{
    unsigned buffer = cqe_flags >> IORING_CQE_BUFFER_SHIFT;
    pool->published--;
    hand_out(pool, buffer, fd);
    publish_more(pool);
    return buffer;
}

unsigned unri_pool_spare(struct unr_pool *pool, int fd)
{
    unsigned buffer = pool->spare;
    pool->spare = (uint16_t)pop(pool);
    if (buffer != UNRI_NO_BUFFER)
        hand_out(pool, buffer, fd);
    return buffer;
}

void unri_pool_put_spare(struct unr_pool *pool, unsigned buffer)
{
    pool->buffers[buffer].held = false;
    pool->stats.held--;
    pool->stats.taken--;
    if (pool->spare != UNRI_NO_BUFFER)
        push(pool, pool->spare);
    pool->spare = (uint16_t)buffer;
}

void *unr_pool_take(struct unr_pool *pool)
{
    if (pool->loop)
        unri_check_thread(pool->loop);
    unsigned buffer = pop(pool);
    if (buffer == UNRI_NO_BUFFER)
        return NULL;
    hand_out(pool, buffer, -1);
    return unri_pool_memory(pool, buffer);
}

/* The limit is doubled once in a reap, however many arrivals find no buffer in it. */
bool unri_pool_starved(struct unr_pool *pool)
{
    uint32_t reap = pool->loop->ring->reaps;
    pool->stats.starved++;
    if (pool->starved_at != reap) {
        pool->starved_at = reap;
        pool->limit = pool->limit < pool->count / 2 ? 2 * pool->limit : pool->count;
        publish_more(pool);
    }
    return pool->published > 0;
}

static void calm_down(struct unr_pool *pool)
{
    uint32_t reap = pool->loop->ring->reaps;
    if (likely(pool->limit == pool->limit_min) || reap - pool->starved_at <= CALM_TURNS)
        return;
    pool->starved_at = reap;
    pool->limit = pool->limit / 2 > pool->limit_min ? pool->limit / 2 : pool->limit_min;
}

void unri_pool_put(struct unr_pool *pool, unsigned buffer)
{
    pool->buffers[buffer].held = false;
    pool->stats.held--;
    pool->stats.given++;
    if (unlikely(!pool->loop)) {
        push(pool, buffer);
        return;
    }
    if (unlikely(pool->loop->checks != NULL))
        unri_check_given_back(pool->loop, unri_pool_memory(pool, buffer), pool->size);
    calm_down(pool);
    if (unlikely(pool->spare == UNRI_NO_BUFFER))
        pool->spare = (uint16_t)buffer;
    else if (pool->published < pool->limit)
        publish(pool, buffer);
    else
        push(pool, buffer);
    if (unlikely(pool->readers.first || pool->idle.first))
        pool->returned(pool);
}

void unr_pool_give(struct unr_pool *pool, void *buffer)
{
    uintptr_t offset = (uintptr_t)buffer - (uintptr_t)pool->memory;
    if (pool->loop)
        unri_check_thread(pool->loop);
    if (unlikely(offset >= (size_t)pool->count * pool->size))
        unri_broken("unr_pool_give of memory that is not the pool's", NULL,
                    "a buffer is given back to its own pool, by an address inside of it");
    if (unlikely(!pool->buffers[offset / pool->size].held))
        unri_broken("unr_pool_give of a buffer that is not handed out", NULL,
                    "a buffer is given back once");
    unri_pool_put(pool, (unsigned)(offset / pool->size));
}

void unr_pool_stats(const struct unr_pool *pool, struct unr_pool_stats *ret_stats, size_t size)
{
    struct unr_pool_stats stats = pool->stats;
    size_t                known = size < sizeof stats ? size : sizeof stats;
    stats.published = pool->limit;
    memset(ret_stats, 0, size);
    memcpy(ret_stats, &stats, known);
}

/* ---- open ---- */

/* Sets the options; false: they make no sense. */
static bool set_options(struct unr_pool_options *known, const struct unr_pool_options *options)
{
    if (options) {
        if (options->size < offsetof(struct unr_pool_options, count)
            || options->size > sizeof *known)
            return false;
        memcpy(known, options, options->size);
    }
    known->count = known->count ? known->count : COUNT;
    known->buffer_size = known->buffer_size ? known->buffer_size : SIZE;
    known->published = known->published ? known->published : PUBLISHED;
    if (known->published > known->count)
        known->published = known->count;
    return known->count >= 2 && known->count <= COUNT_MAX && !(known->count & (known->count - 1))
           && known->buffer_size % SIZE_UNIT == 0 && known->buffer_size <= SIZE_MAXIMUM
           && !(known->flags & ~(UNR_POOL_REGISTERED | UNR_POOL_HUGE)) && !known->abandoned_max;
}

/* Finds a number for the pool that no other pool of the loop has.  The list begins with the
 * highest; once that is the last one, there may be free ones below. */
static int add_to_loop(struct unr_pool *pool)
{
    struct unr_pool **at = &pool->loop->ring->pools;
    int               group = *at ? (*at)->group + 1 : 0;
    if (group == GROUPS)
        for (group--; *at && (*at)->group == group; at = &(*at)->next)
            group--;
    if (group < 0)
        return -ENOSPC;
    pool->group = (uint16_t)group;
    pool->next = *at;
    *at = pool;
    return 0;
}

static void leave_loop(struct unr_pool *pool)
{
    struct unr_pool **at = &pool->loop->ring->pools;
    while (*at != pool)
        at = &(*at)->next;
    *at = pool->next;
}

static size_t ring_size(const struct unr_pool *pool)
{
    size_t size = pool->count * sizeof(struct io_uring_buf);
    return (size + PAGE - 1) & ~(size_t)(PAGE - 1);
}

static size_t mapping_size(const struct unr_pool *pool)
{
    return ring_size(pool) + (size_t)pool->count * pool->size;
}

static int register_ring(struct unr_pool *pool, unsigned opcode)
{
    struct unri_buf_reg reg = { .group = pool->group };
    if (!pool->provided)
        return 0;
    if (opcode == IORING_REGISTER_PBUF_RING) {
        reg.at = (uintptr_t)pool->ring;
        reg.entries = pool->count;
    }
    int error = unri_enter_register(&pool->loop->ring->io, opcode, &reg, 1);
    return error < 0 ? error : 0;
}

static int register_buffers(struct unr_pool *pool)
{
    struct iovec all = { pool->memory, (size_t)pool->count * pool->size };
    if (all.iov_len > REGISTERED_MAX)
        return -EINVAL;
    int error = unri_enter_register(&pool->loop->ring->io, IORING_REGISTER_BUFFERS, &all, 1);
    if (error == -ENOMEM)
        return -EPERM; /* the kernel says so of RLIMIT_MEMLOCK */
    pool->registered = error >= 0;
    return error < 0 ? error : 0;
}

static int map(struct unr_pool *pool, unsigned flags)
{
    pool->ring = unri_os_map(mapping_size(pool), false);
    pool->buffers = calloc(pool->count, sizeof *pool->buffers);
    if (!pool->ring || !pool->buffers)
        return -ENOMEM;
    pool->memory = (unsigned char *)pool->ring + ring_size(pool);
    if (flags & UNR_POOL_HUGE)
        unri_os_prefer_huge(pool->ring, mapping_size(pool));
    return 0;
}

static void free_pool(struct unr_pool *pool)
{
    if (pool->ring)
        unri_os_unmap(pool->ring, mapping_size(pool));
    free(pool->buffers);
    free(pool);
}

static int register_all(struct unr_pool *pool, unsigned flags)
{
    int error = add_to_loop(pool);
    if (error < 0)
        return error;
    error = register_ring(pool, IORING_REGISTER_PBUF_RING);
    if (error == 0 && flags & UNR_POOL_REGISTERED && (error = register_buffers(pool)) < 0)
        register_ring(pool, IORING_UNREGISTER_PBUF_RING);
    if (error < 0)
        leave_loop(pool);
    return error;
}

/* On Linux 6.1 a call that finds an empty ring takes an entry of it all the same, and says so
 * beside its -ENOBUFS.  Calls behind it then find entries that nobody has put there, and the kernel
 * writes into buffers that are handed out.  So it is told of no ring there: the buffers stay on the
 * stack, and receivers read into them.  Whether a kernel has a multishot read, which came with 6.7,
 * tells it from those on which that was not seen. */
static void provide(struct unr_pool *pool, unsigned published)
{
    pool->provided = unri_ring_has(pool->loop->ring, UNRI_OP_READ_MULTISHOT);
    pool->limit = pool->limit_min = pool->provided ? published : 0;
}

int unr_pool_open(struct unr_pool **ret_pool, struct unr_loop *loop,
                  const struct unr_pool_options *options)
{
    struct unr_pool_options known = { 0 };
    unri_check_thread(loop);
    if (!set_options(&known, options))
        return -EINVAL;
    struct unr_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return -ENOMEM;
    pool->loop = loop;
    pool->count = known.count;
    pool->size = known.buffer_size;
    provide(pool, known.published);
    pool->starved_at = loop->ring->reaps - 1;
    pool->stack = UNRI_NO_BUFFER;
    int error = map(pool, known.flags);
    if (error == 0)
        error = register_all(pool, known.flags);
    if (error < 0) {
        free_pool(pool);
        return error;
    }
    pool->spare = 0;
    for (unsigned i = pool->count - 1; i; i--) /* so that the first ones are used first */
        push(pool, i);
    publish_more(pool);
    *ret_pool = pool;
    return 0;
}

/* ---- close ---- */

static void check_unused(struct unr_op *op, void *context)
{
    if (unri_is_call(op) && unri_row_of(op)->takes_buffers && unri_pool_of(op) == context)
        unri_broken("unr_pool_close while an operation takes buffers from it", op,
                    "a pool is closed when nothing that uses it is in flight");
}

static void check_given_back(const struct unr_pool *pool)
{
    char     what[160];
    unsigned i = 0;
    if (likely(!pool->stats.held))
        return;
    while (!pool->buffers[i].held)
        i++;
    if (pool->buffers[i].fd < 0)
        snprintf(what, sizeof what,
                 "unr_pool_close with %u buffers not given back, one of unr_pool_take()",
                 pool->stats.held);
    else
        snprintf(what, sizeof what,
                 "unr_pool_close with %u buffers not given back, one that came on descriptor %d",
                 pool->stats.held, pool->buffers[i].fd);
    unri_broken(what, NULL, "each buffer is given back, and each receiver freed, before the pool");
}

void unr_pool_close(struct unr_pool *pool)
{
    if (!pool)
        return;
    if (pool->loop) {
        unri_check_thread(pool->loop);
        unri_each_in_flight(&pool->loop->descriptors, check_unused, pool);
    }
    check_given_back(pool);
    if (pool->loop) {
        register_ring(pool, IORING_UNREGISTER_PBUF_RING);
        if (pool->registered)
            unri_enter_register(&pool->loop->ring->io, IORING_UNREGISTER_BUFFERS, NULL, 0);
        leave_loop(pool);
    }
    free_pool(pool);
}

void unri_pools_leave(struct unri_ring *ring)
{
    while (ring->pools) {
        ring->pools->loop = NULL;
        ring->pools = ring->pools->next;
    }
}
