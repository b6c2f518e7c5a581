/* SPDX-License-Identifier: MIT */
/* A scenario: a few lines that use the library on simulated descriptors, and say what must hold
 * afterwards.  Scenarios run on the simulated kernel, every schedule of them, and on the real one,
 * many times (../real.c), where each outcome must be one that the simulated kernel produces too.
 *
 *   main.c         runs them: exhaustively, at random, for coverage of outcomes, or one schedule
 *                  again
 *   operations.c   every system call, started and cancelled at every point, on older kernels too
 *   pairs.c        two operations, on one descriptor and on two
 *   loops.c        closing, storms, other threads, faults of io_uring_enter
 *   lent.c         what is lent to the kernel, and not left alone
 *   unasked.c      results that nobody asked for
 *   checks.c       loops that find such things themselves
 *   receivers.c    receivers: reads that wait in user space
 *   sends.c        sends that are tried at once
 *   acceptors.c    acceptors: connections that are waited for in user space
 *   channels.c     channels, mutexes and their like
 *   pools.c        pools, and what takes buffers from them: multishot operations, receivers
 *   sessions.c     what users write: the talk's race, the proxy
 *   rules.c        the rules of lib/README.md that the others do not get to: timers, slots, types,
 *                  shots, descriptors
 *   combinators.c  composed operations, deadlines, delays, filters, groups, scopes, joins
 *   shots.c        multishot requests and provided buffers
 *   fibers.c       fibers and cancel scopes
 *   nurseries.c    nurseries and generators
 *   work.c         work on other threads
 *   composed.c     the library's own composed operations: transfers, readers, frames, connect_any,
 *                  relay, processes */
#ifndef UNRI_SCENARIO_H
#define UNRI_SCENARIO_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <unring.h>
#include <unring/sim.h>

struct scenario {
    const char *name;
    void (*run)(const struct scenario *scenario);
    const void *parameter;
    unsigned    faults;         /* UNR_FAULT_* that it is explored with, exhaustively */
    unsigned    deviations_max; /* 0: all schedules */
    unsigned    linux_version;  /* as in unr_explore_options; 0: as the command line says */
    unsigned    loop_flags;     /* of its small loops: UNR_LOOP_PLAIN */
    unsigned    since;          /* the first version that has all it needs: left out before */
    bool        sampled;        /* too many schedules: at random and by PCT only */
    const char *fails_with;     /* NULL, or: it is meant to fail, with these words */
};

/* The tables of the files above, each ended by an entry without a name. */
const struct scenario *scenarios_operations_table(void), *scenarios_pairs_table(void),
    *scenarios_loops_table(void), *scenarios_sessions_table(void), *scenarios_rules_table(void),
    *scenarios_combinators_table(void), *scenarios_composed_table(void),
    *scenarios_lent_table(void), *scenarios_unasked_table(void), *scenarios_checks_table(void),
    *scenarios_shots_table(void), *scenarios_receivers_table(void),
    *scenarios_acceptors_table(void), *scenarios_pools_table(void), *scenarios_sends_table(void),
    *scenarios_channels_table(void), *scenarios_fibers_table(void),
    *scenarios_nurseries_table(void), *scenarios_work_table(void);

/* Says how a schedule ended; on the real kernel, how a run did.  Compared between the two. */
void outcome(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- the fixture of most scenarios: an operation, and all that it is lent ---- */

enum { ROOM = 16 };

struct subject {
    const struct subject_type *type;
    struct unr_loop           *loop;
    union {
        struct unr_op       op;
        struct unr_datagram datagram; /* which begins with one */
    };
    struct unr_signal  signal;
    int                runs;
    int                fds[4];
    unsigned char      buf[ROOM];
    unsigned char      arrived[ROOM];  /* at the other end */
    size_t             sent, received; /* by the other end, bytes */
    bool               provoked;
    struct iovec       iov[2];
    struct msghdr      msg;
    struct sockaddr_in address;
    uint32_t           futex;
    uint64_t           stat[32]; /* a struct statx */
    int                child;
};

struct subject_type {
    const char *name;
    void (*set_up)(struct subject *s);
    struct unr_op *(*describe)(struct subject *s);
    void (*provoke)(void *subject); /* another process makes it complete; NULL: it does by itself */
    void (*verify)(struct subject *s); /* that what the result says is what happened */
    void (*tear_down)(struct subject *s);
    unsigned
        deviations_max; /* where the other end may go on for ever: of a schedule from the kindest */
    unsigned since;     /* as in struct scenario */
};

extern const struct subject_type *const subject_types[];
extern const unsigned                   subject_type_count;

/* Whether an error is one of UNR_FAULT_RESOURCES, in a scenario that has them. */
bool             is_shortage(int error);
struct unr_loop *open_small_loop(void);
void             set_up(struct subject *s, const struct subject_type *type, struct unr_loop *loop);
void             start(struct subject *s); /* bound to its signal */
void             tear_down(struct subject *s);
/* What must hold of every result, whatever the operation: see lib/README.md, rules 1 to 6. */
void verify(struct subject *s);
void close_loop(struct unr_loop *loop);

#endif
