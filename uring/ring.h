/* SPDX-License-Identifier: MIT */
/* The ring of a loop.  lib/README.md has the map of the files, README.md the kernel's facts that
 * they rely on. */
#ifndef UNRI_RING_H
#define UNRI_RING_H

#include <liburing.h>
#include "../lib/core/loop_core.h"
#include "kernel.h"
#include "queue.h"

/* ---- the ring ---- */

#define UNRI_REPEAT_LEVELS 10 /* after the next reap, after 1 ms, 2, 4, ... 256 ms */

/* What is known of the descriptor that a send is on.  The loop does not hear of a close(2), so the
 * number may have become another file's: that what it takes for SAFE is none shows when a datagram
 * is lost, and that something is no longer LOSSY costs some sends a look too many. */
enum {
    UNRI_SEND_UNKNOWN = 0, /* the next send asks */
    UNRI_SEND_LOSSY = 32,  /* from this number down: how many sends pass until one asks again */
    UNRI_SEND_SAFE = 255,  /* a send that waits is sent whole */
};

/* What is known of the number of a descriptor.  Numbers that are UNRI_NUMBERS apart share a place,
 * which holds what is known of the one that was used last. */
enum { UNRI_NUMBERS = 16384 };
struct unri_number {
    uint32_t quick_at; /* when it was seen that closing it is quick, in unri_turn_ms() */
    uint16_t block;    /* which of those that share the place: the number / UNRI_NUMBERS */
    uint8_t  send;     /* UNRI_SEND_* */
};

/* Whether the kernel ends a multishot receive by itself after so many bytes: Linux 6.17 does. */
enum { UNRI_LIMITS_UNKNOWN, UNRI_LIMITS_THERE, UNRI_LIMITS_MISSING };

struct unri_ring {
    struct io_uring   io;
    struct unri_queue queued; /* operations without an SQE, in the order of their starts */
    struct unri_queue urgent; /* operations in flight that want a cancel or an undoing sent */
    /* Operations for which something is sent again, in order of time; and how many there are. */
    struct unri_queue  repeats[UNRI_REPEAT_LEVELS];
    unsigned           repeating;
    uint32_t           closes_seen;    /* by unri_repeat_after_close() */
    unsigned           cancels_filled; /* among the SQEs of this submission */
    bool               ran_shots;      /* in this turn: user code ran inside a reap */
    uint32_t           reaps;          /* counts them, for repeats[0] */
    unsigned           setup;          /* IORING_SETUP_* that the kernel accepted */
    bool               absolute_times; /* the kernel and the process have the same clock */
    bool               has_abs_timer;  /* ABS_TIMER: a wait can end at a point in time */
    bool               absolute_wait;  /* both: waits end at a point in time */
    bool               nosignal_write; /* writes can be told not to raise SIGPIPE */
    bool               sends_at_once;  /* UNR_LOOP_SEND_NOW: so do streams */
    uint8_t            opcodes[32];    /* a bit for each that the kernel has */
    unsigned           releasing;      /* second numbers whose close is missing: close.c */
    int                unreleased;     /* the one of them that waits for an SQE; -1: none does */
    uint32_t           look_lasts; /* for how long a `quick_at` is believed: milliseconds, or 0 */
    unsigned           looks_left; /* so many looks until that is not 0; 0: it stays */
    struct unr_pool   *pools;      /* in the order of their groups */
    uint8_t            limits;     /* UNRI_LIMITS_* */
    struct unri_number numbers[UNRI_NUMBERS];
};

/* user_data is the operation's address, whose low bits are free to say which of its CQEs it is. */
enum { UNRI_OWN = 0, UNRI_CANCEL = 1, UNRI_UNDO = 2, UNRI_WHICH = 3 };

/* The fourth value of the low bits belongs to no operation: a second number, which stands in the
 * bits above, is closed. */
enum { UNRI_RELEASE = 3, UNRI_WHICH_BITS = 2 };

static inline uint64_t unri_user_data(const struct unr_op *op, unsigned which)
{
    return (uint64_t)(uintptr_t)op | which;
}

static inline bool unri_ring_has(const struct unri_ring *ring, unsigned opcode)
{
    return ring->opcodes[opcode / 8] >> opcode % 8 & 1;
}

/* What is known of `fd`: nothing, if its place was another number's. */
static inline struct unri_number *unri_number(struct unri_ring *ring, int fd)
{
    struct unri_number *number = &ring->numbers[(unsigned)fd % UNRI_NUMBERS];
    uint16_t            block = (uint16_t)((unsigned)fd / UNRI_NUMBERS);
    if (unlikely(number->block != block))
        *number = (struct unri_number){ .block = block };
    return number;
}

#endif
