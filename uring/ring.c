/* SPDX-License-Identifier: MIT */
/* The ring of a loop: it is set up with the best flags that the kernel takes, asked what it
 * supports, and closed. */
#include "enter.h"
#include "pool.h"
#include "ring.h"
#include "row.h"

#include <unring/explain.h>

#include <stdlib.h>
#include <string.h>

enum { ENTRIES = 256, COMPLETION_ENTRIES = 8192, LOOKS_AT_FIRST = 256 };

/* Combinations of flags, from the best to none; the first that the kernel takes is used.  The first
 * two begin disabled, so that the ring belongs to the thread that runs it and not to the one that
 * opens it. */
static const unsigned setups[] = {
    IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER
        | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER
        | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_SUBMIT_ALL,
    0,
};
enum { FIRST_PLAIN = 2 };

static int set_up(struct unri_ring *ring, const struct unr_loop_options *options)
{
    unsigned entries = options->entries ? options->entries : ENTRIES;
    unsigned completions = options->completion_entries;
    if (!completions)
        completions = entries > COMPLETION_ENTRIES / 2 ? entries * 2 : COMPLETION_ENTRIES;

    int error = -EINVAL;
    for (unsigned i = options->flags & UNR_LOOP_PLAIN ? FIRST_PLAIN : 0;
         i < sizeof setups / sizeof *setups; i++) {
        struct io_uring_params params = { .cq_entries = completions };
        params.flags = setups[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
        error = unri_enter_open(&ring->io, entries, &params);
        ring->setup = setups[i];
        if (error != -EINVAL)
            break;
    }
    return error;
}

/* Asks the kernel which opcodes it has. */
static int probe(struct unri_ring *ring)
{
    enum { OPCODES = 256 };
    size_t size = sizeof(struct io_uring_probe) + OPCODES * sizeof(struct io_uring_probe_op);
    struct io_uring_probe *found = calloc(1, size);
    if (!found)
        return -ENOMEM;
    int error = unri_enter_register(&ring->io, IORING_REGISTER_PROBE, found, OPCODES);
    for (unsigned i = 0; error >= 0 && i < found->ops_len; i++)
        if (found->ops[i].flags & IO_URING_OP_SUPPORTED)
            ring->opcodes[found->ops[i].op / 8] |= (uint8_t)(1 << found->ops[i].op % 8);
    free(found);
    return error;
}

static int open_ring(struct unri_ring *ring, const struct unr_loop_options *options)
{
    const unsigned needed = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_RW_CUR_POS;
    int            error = set_up(ring, options);
    if (error < 0)
        return error;
    error = (ring->io.features & needed) == needed ? probe(ring) : -EOPNOTSUPP;
    /* A filter may allow all calls but io_uring_enter(2). */
    if (error >= 0)
        error = unri_enter_has_absolute(&ring->io);
    if (error < 0)
        unri_enter_close(&ring->io);
    ring->has_abs_timer = error > 0;
    return error;
}

int unri_ring_open(struct unr_loop *loop, const struct unr_loop_options *options)
{
    struct unri_ring *ring = calloc(1, sizeof *ring);
    if (!ring)
        return -ENOMEM;
    /* The look at RWF_NOSIGNAL takes a descriptor for a moment.  It comes first, because the ring
     * may take the last one. */
    ring->nosignal_write = unri_enter_has_nosignal();
    int error = open_ring(ring, options);
    if (error < 0) {
        free(ring);
        return error;
    }
    /* Kernels before 7.1 take a point in time for one of their own clock, from which a time
     * namespace may shift that of the process.  Then they are told durations. */
    ring->absolute_times = unri_os_clock_is_kernels();
    ring->absolute_wait = ring->absolute_times && ring->has_abs_timer;
    ring->unreleased = -1;
    ring->looks_left = LOOKS_AT_FIRST;
    ring->sends_at_once = options->flags & UNR_LOOP_SEND_NOW;
    loop->ring = ring;
    return 0;
}

int unri_ring_enable(struct unr_loop *loop)
{
    return unri_enter_enable(&loop->ring->io);
}

int unri_ring_register_eventfd(struct unr_loop *loop, int fd)
{
    int error = unri_enter_register(&loop->ring->io, IORING_REGISTER_EVENTFD, &fd, 1);
    return error < 0 ? error : 0;
}

int unri_ring_renew_eventfd(struct unr_loop *loop, int fd)
{
    if (!(loop->ring->setup & IORING_SETUP_DEFER_TASKRUN))
        return 0;
    unri_enter_register(&loop->ring->io, IORING_UNREGISTER_EVENTFD, NULL, 0);
    return unri_ring_register_eventfd(loop, fd);
}

/* A ring that is closed cancels what waits for a worker: a second number would stay open. */
void unri_ring_close(struct unr_loop *loop)
{
    while (loop->ring->releasing && unri_ring_turn(loop, UNR_NEVER) == 0)
        ;
    unri_pools_leave(loop->ring);
    unri_enter_close(&loop->ring->io);
    free(loop->ring);
}

void unri_ring_abandon(struct unr_loop *loop)
{
    unri_pools_leave(loop->ring);
    unri_enter_abandon(&loop->ring->io);
    free(loop->ring);
}

/* ---- what this kernel has, in words ---- */

bool unr_loop_feature(const struct unr_loop *loop, unsigned index, const char **ret_name,
                      const char **ret_needs, bool *ret_has)
{
    const struct unri_ring *ring = loop->ring;
    const struct {
        const char *name, *needs;
        bool        has;
    } features[] = {
        { "DEFER_TASKRUN: completions when the loop asks for them", "6.1",
          ring->setup & IORING_SETUP_DEFER_TASKRUN },
        { "SINGLE_ISSUER: the ring knows its thread", "6.0",
          ring->setup & IORING_SETUP_SINGLE_ISSUER },
        { "SUBMIT_ALL: a bad SQE does not stop its batch", "5.18",
          ring->setup & IORING_SETUP_SUBMIT_ALL },
        { "ABS_TIMER: waits until a point in time", "6.12", ring->has_abs_timer },
        { "RWF_NOSIGNAL: unr_write raises no SIGPIPE", "6.18", ring->nosignal_write },
    };
    const unsigned count = sizeof features / sizeof *features;
    if (index < count) {
        *ret_name = features[index].name;
        *ret_needs = features[index].needs;
        *ret_has = features[index].has;
        return true;
    }
    index -= count;
    if (index >= unri_row_count)
        return false;
    const struct unri_row *row = unri_rows[index];
    *ret_name = row->type.name;
    *ret_needs = row->needs ? row->needs : "6.1";
    *ret_has = unri_ring_has(ring, row->opcode);
    return true;
}
