/* SPDX-License-Identifier: MIT */
/* Buffers that the program gives to the kernel before it asks for anything: rings of provided
 * buffers, from which the kernel chooses, and registered buffers, which it pins.  What stands in a
 * ring is lent from the moment at which the tail says so until a CQE hands it out.
 *
 * The kernel reads a ring's tail where the program has left it, and so the program's writes are
 * seen here at the next look: sim_buffers_check(). */
#include "sim.h"

#include <string.h>

#include "../../uring/newer.h"

/* A buffer that stands in a ring. */
struct provided {
    struct io_uring_buf entry;    /* as the kernel has found or left it */
    unsigned char      *expected; /* what the kernel has left in its memory */
};

struct sim_buffer_ring {
    struct sim_buffer_ring *next;
    const struct sim_ring  *ring;
    struct io_uring_buf    *entries; /* the program's */
    const uint16_t         *tail;    /* the program's, too */
    struct provided        *provided;
    unsigned                count, group;
    uint16_t                head, seen; /* between them stand the buffers that are taken note of */
    bool                    incremental;
};

/* The registered buffers of a ring. */
struct registered {
    struct registered     *next;
    const struct sim_ring *ring;
    struct iovec          *pieces;
    size_t                 count;
};

static struct {
    struct sim_buffer_ring *rings;
    struct registered      *registered;
} buffers;

void sim_buffers_reset(void)
{
    memset(&buffers, 0, sizeof buffers);
}

/* ---- looking at a ring ---- */

static struct provided *provided_at(const struct sim_buffer_ring *of, uint16_t i)
{
    return &of->provided[i & (of->count - 1)];
}

static unsigned char *memory_of(const struct provided *provided)
{
    return (unsigned char *)(uintptr_t)provided->entry.addr;
}

static bool overlap(const void *a, size_t a_len, const void *b, size_t b_len)
{
    return (uintptr_t)a < (uintptr_t)b + b_len && (uintptr_t)b < (uintptr_t)a + a_len;
}

static struct provided *provided_within(const void *at, size_t len)
{
    for (struct sim_buffer_ring *of = buffers.rings; of; of = of->next)
        for (uint16_t i = of->head; i != of->seen; i++)
            if (overlap(memory_of(provided_at(of, i)), provided_at(of, i)->entry.len, at, len))
                return provided_at(of, i);
    return NULL;
}

void sim_buffers_check_apart(const struct sim_request *request)
{
    for (size_t i = 0; i < request->lent_count; i++)
        if (provided_within(request->lent[i].at, request->lent[i].len))
            unri_sim_fail("memory that is lent to %s stands in a ring of provided buffers, too",
                          sim_request_name(request));
}

/* Takes note of a buffer that the program has put into a ring, and fills it with garbage. */
static void take_note(struct sim_buffer_ring *of, const struct io_uring_buf *entry)
{
    void *memory = (void *)(uintptr_t)entry->addr;
    if (!entry->len)
        unri_sim_fail("a provided buffer has no room: to receive into it looks like the end");
    if (provided_within(memory, entry->len))
        unri_sim_fail("buffer %u is provided while its memory stands in a ring", entry->bid);
    if (sim_is_freed(memory, entry->len))
        unri_sim_fail("buffer %u is provided, and its memory is freed", entry->bid);
    sim_kernel_check_provided(memory, entry->len);
    memset(memory, 0xa5, entry->len);
    *provided_at(of, of->seen) =
        (struct provided){ .entry = *entry,
                           .expected = memcpy(sim_alloc(entry->len), memory, entry->len) };
    of->seen++;
}

static void see_what_is_new(struct sim_buffer_ring *of)
{
    uint16_t tail = io_uring_smp_load_acquire(of->tail);
    if ((uint16_t)(tail - of->head) > of->count)
        unri_sim_fail("a ring of %u provided buffers is said to hold %u", of->count,
                      (uint16_t)(tail - of->head));
    while (of->seen != tail)
        take_note(of, &of->entries[of->seen & (of->count - 1)]);
}

static void check_provided(const struct sim_buffer_ring *of, uint16_t i)
{
    const struct provided     *provided = provided_at(of, i);
    const struct io_uring_buf *entry = &of->entries[i & (of->count - 1)];
    if (entry->addr != provided->entry.addr || entry->len != provided->entry.len
        || entry->bid != provided->entry.bid)
        unri_sim_fail("the entry of buffer %u was changed while it was provided",
                      provided->entry.bid);
    if (sim_is_freed(memory_of(provided), provided->entry.len))
        unri_sim_fail("buffer %u was freed while it was provided", provided->entry.bid);
    if (memcmp(memory_of(provided), provided->expected, provided->entry.len) != 0)
        unri_sim_fail("buffer %u was written while it was provided", provided->entry.bid);
}

static void check(struct sim_buffer_ring *of)
{
    if (sim_is_freed(of->entries, of->count * sizeof *of->entries))
        unri_sim_fail("a ring of provided buffers was freed while it was registered");
    for (uint16_t i = of->head; i != of->seen; i++)
        check_provided(of, i);
    see_what_is_new(of);
}

void sim_buffers_check(const struct sim_ring *ring)
{
    for (struct sim_buffer_ring *of = buffers.rings; of; of = of->next)
        if (of->ring == ring)
            check(of);
}

/* ---- choosing ---- */

static struct sim_buffer_ring *find(const struct sim_ring *ring, unsigned group)
{
    for (struct sim_buffer_ring *of = buffers.rings; of; of = of->next)
        if (of->ring == ring && of->group == group)
            return of;
    return NULL;
}

bool sim_buffers_are_there(const struct sim_request *request)
{
    struct sim_buffer_ring *of = find(request->ring, request->sqe.buf_group);
    if (of)
        check(of);
    return of && of->head != of->seen;
}

int sim_buffers_choose(const struct sim_request *request, size_t most, unsigned count,
                       struct sim_chosen *ret_chosen)
{
    if (!sim_buffers_are_there(request))
        return -ENOBUFS;
    struct sim_buffer_ring *of = find(request->ring, request->sqe.buf_group);
    uint16_t                i = of->head;
    size_t                  left = most ? most : SIZE_MAX;
    *ret_chosen = (struct sim_chosen){ .from = of };
    do {
        struct provided *provided = provided_at(of, i++);
        size_t           len = provided->entry.len < left ? provided->entry.len : left;
        ret_chosen->pieces[ret_chosen->count++] = (struct iovec){ memory_of(provided), len };
        left -= len;
    } while (left && i != of->seen && ret_chosen->count < count
             && ret_chosen->count < SIM_CHOSEN_MAX);
    ret_chosen->reaches_the_end = i == of->seen;
    return 0;
}

/* Takes `len` bytes out of the buffer at the head.  True: it is used up. */
static bool use_increment(struct sim_buffer_ring *of, size_t len)
{
    struct io_uring_buf *entry = &of->entries[of->head & (of->count - 1)];
    struct provided     *provided = provided_at(of, of->head);
    bool                 rest = len < entry->len;
    if (rest)
        entry->addr += len;
    entry->len = rest ? entry->len - (uint32_t)len : 0;
    provided->entry.addr = entry->addr;
    provided->entry.len = entry->len;
    provided->expected += len;
    of->head += !rest;
    return !rest;
}

/* Nothing of an incremental buffer is used by a read of nothing, and all of a classic one. */
unsigned sim_buffers_commit(const struct sim_chosen *chosen, size_t len)
{
    struct sim_buffer_ring *of = chosen->from;
    unsigned                flags = IORING_CQE_F_BUFFER
                     | (unsigned)provided_at(of, of->head)->entry.bid << IORING_CQE_BUFFER_SHIFT;
    if (!len && !of->incremental)
        of->head++;
    for (unsigned i = 0; i < chosen->count && len; i++) {
        size_t used = chosen->pieces[i].iov_len < len ? chosen->pieces[i].iov_len : len;
        len -= used;
        if (!of->incremental)
            of->head++;
        else if (!use_increment(of, used))
            flags |= UNRI_CQE_F_BUF_MORE;
    }
    return flags;
}

/* ---- registering ---- */

enum { ENTRIES_MAX = 32768, PAGE = 4096 };

static int register_ring(const struct sim_ring *ring, const struct unri_buf_reg *reg)
{
    unsigned known = sim_kernel_is_before(612) ? 0 : UNRI_PBUF_RING_INC;
    if (reg->resv[0] || reg->resv[1] || reg->resv[2] || reg->flags & ~known)
        return -EINVAL;
    if (!reg->entries || reg->entries > ENTRIES_MAX || reg->entries & (reg->entries - 1))
        return -EINVAL;
    if (find(ring, reg->group))
        return -EEXIST;
    if (!reg->at)
        return -EFAULT;
    if (reg->at % PAGE)
        return -EINVAL;
    struct sim_buffer_ring *made = sim_alloc(sizeof *made);
    *made = (struct sim_buffer_ring){
        .next = buffers.rings,
        .ring = ring,
        .entries = (struct io_uring_buf *)(uintptr_t)reg->at,
        .tail = &((struct io_uring_buf_ring *)(uintptr_t)reg->at)->tail,
        .provided = sim_alloc(reg->entries * sizeof *made->provided),
        .count = reg->entries,
        .group = reg->group,
        .incremental = reg->flags & UNRI_PBUF_RING_INC,
    };
    buffers.rings = made;
    return 0;
}

static int unregister_ring(const struct sim_ring *ring, const struct unri_buf_reg *reg)
{
    struct sim_buffer_ring **at = &buffers.rings;
    if (reg->resv[0] || reg->resv[1] || reg->resv[2] || reg->flags)
        return -EINVAL;
    while (*at && ((*at)->ring != ring || (*at)->group != reg->group))
        at = &(*at)->next;
    if (!*at)
        return -ENOENT;
    check(*at);
    *at = (*at)->next;
    return 0;
}

static struct registered **registered_of(const struct sim_ring *ring)
{
    struct registered **at = &buffers.registered;
    while (*at && (*at)->ring != ring)
        at = &(*at)->next;
    return at;
}

static int register_buffers(const struct sim_ring *ring, const struct iovec *pieces, size_t count)
{
    struct registered **end = registered_of(ring);
    if (*end)
        return -EBUSY;
    if (!count || count > ENTRIES_MAX / 2)
        return -EINVAL;
    struct registered *made = *end = sim_alloc(sizeof *made);
    made->ring = ring;
    made->count = count;
    made->pieces = sim_alloc(count * sizeof *pieces); /* a sparse table: of nothing */
    if (pieces)
        memcpy(made->pieces, pieces, count * sizeof *pieces);
    return 0;
}

static int unregister_buffers(const struct sim_ring *ring)
{
    struct registered **at = registered_of(ring);
    if (!*at)
        return -ENXIO;
    *at = (*at)->next;
    return 0;
}

int sim_buffers_register(const struct sim_ring *ring, unsigned opcode, const void *argument,
                         unsigned count)
{
    const struct io_uring_rsrc_register *rsrc = argument;
    switch (opcode) {
    case IORING_REGISTER_PBUF_RING: return count == 1 ? register_ring(ring, argument) : -EINVAL;
    case IORING_UNREGISTER_PBUF_RING: return count == 1 ? unregister_ring(ring, argument) : -EINVAL;
    case IORING_REGISTER_BUFFERS: return register_buffers(ring, argument, count);
    case IORING_REGISTER_BUFFERS2:
        if (count != sizeof *rsrc)
            return -EINVAL;
        return register_buffers(ring, (const struct iovec *)(uintptr_t)rsrc->data, rsrc->nr);
    default: return unregister_buffers(ring);
    }
}

void sim_buffers_close(const struct sim_ring *ring)
{
    unregister_buffers(ring);
    for (struct sim_buffer_ring **at = &buffers.rings; *at;)
        if ((*at)->ring == ring)
            *at = (*at)->next;
        else
            at = &(*at)->next;
}

/* The real kernel has pinned the pages, and would go on writing to pages that nobody can see any
 * more. */
void sim_buffers_check_unmap(const void *memory, size_t size)
{
    for (struct registered *of = buffers.registered; of; of = of->next)
        for (size_t i = 0; i < of->count; i++)
            if (overlap(of->pieces[i].iov_base, of->pieces[i].iov_len, memory, size))
                unri_sim_fail("the memory of a registered buffer is unmapped");
    for (struct sim_buffer_ring *of = buffers.rings; of; of = of->next) {
        check(of);
        if (overlap(of->entries, of->count * sizeof *of->entries, memory, size))
            unri_sim_fail("a ring of provided buffers is unmapped while it is registered");
    }
    const struct provided *provided = provided_within(memory, size);
    if (provided)
        unri_sim_fail("buffer %u is unmapped while it is provided", provided->entry.bid);
}
