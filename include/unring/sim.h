/* The simulated kernel: a program that is linked with libunring-sim in place of libunring runs on a
 * kernel whose every choice is enumerated.  Write a function that uses unring as ever, on simulated
 * descriptors, and have it explored: it is called once for each schedule, from a clean world each
 * time, until one fails or all have been seen.
 *
 *     static void scenario(void *context) { ... unr_loop_open, unr_start, unr_loop_run,
 *     unr_loop_close ... } struct unr_exploration found;
 *     if (unr_explore(scenario, NULL, NULL, &found) < 0)
 *         fprintf(stderr, "%s\nreplay: %s\n", found.failure, found.schedule);
 *
 * A schedule fails when the scenario says so (unr_sim_check), when a broken contract or an
 * assertion aborts, when memory that is lent is touched, when nothing can happen though something
 * is in flight, and when it ends with something in flight, a loop or a descriptor open, or bytes
 * unaccounted for.  One process explores in one thread. */
#ifndef UNRING_SIM_H
#define UNRING_SIM_H

#include <sys/socket.h>
#include <sys/types.h>
#include <unring/loop.h>

UNR_BEGIN

/* What is explored: called once for each schedule, with what unr_explore() was given.  It opens its
 * loops and descriptors and closes them again; memory of its own it frees, but a schedule that
 * fails leaves it in the middle. */
typedef void unr_scenario_fn(void *context);

enum unr_driver {
    UNR_EXHAUSTIVE, /* every schedule within the bounds, the kernel's kindest first */
    UNR_RANDOM,     /* each choice at random */
    UNR_PCT, /* few deviations from the kindest, at random places (after Burckhardt et al., ASPLOS
                2010) */
    UNR_REPLAY, /* the one schedule that `replay` says */
};

/* Zeroed options, but for `size`, are the defaults. */
struct unr_explore_options {
    size_t          size; /* of this structure */
    enum unr_driver driver;
    uint64_t        schedules_max;  /* 0: a million */
    unsigned        depth_max;      /* choices behind this many are the kindest; 0: 1000 */
    unsigned        deviations_max; /* of one schedule from the kindest; 0: no bound (UNR_PCT: 3) */
    uint64_t        seed;           /* of UNR_RANDOM and UNR_PCT */
    const char     *replay;         /* a schedule such as "2.0.1.3" */
    unsigned        faults; /* UNR_FAULT_*: what the kernel may do beside its ordinary choices */
};

#define UNR_FAULT_ENTER                                                                            \
    1u /* io_uring_enter(2) is interrupted, takes fewer SQEs than shown, or none (EAGAIN, EBUSY)   \
        */
#define UNR_FAULT_TRANSFER 2u /* transfers are short where they could be complete */
#define UNR_FAULT_ALL      3u

struct unr_exploration {
    uint64_t schedules;      /* how many ran */
    uint64_t choices;        /* made in all of them */
    unsigned depth;          /* choices in the longest */
    bool     complete;       /* UNR_EXHAUSTIVE: there are no others within the bounds */
    char     schedule[1024]; /* the one that failed, shrunk: for UNR_REPLAY; "" if none did */
    char     failure[512];   /* why, in words */
};

/* Explores.  `options` may be NULL, ret_found too.
 * Returns  0: no schedule failed.  -EBADMSG: one did.  -EINVAL: an option. */
UNR_API int unr_explore(unr_scenario_fn *scenario, void *context,
                        const struct unr_explore_options *options,
                        struct unr_exploration           *ret_found);

/* Ends the schedule as failed unless `holds`. */
UNR_API void unr_sim_check(bool holds, const char *what);

/* A choice of the scenario's own among `n`: every one is explored. */
UNR_API unsigned unr_sim_choose(unsigned n);

/* Has `action` happen at any later point, as if another process did it: while a loop is in the
 * kernel.  Every point is explored; one that has not happened when nothing else can, happens
 * then. */
UNR_API void unr_sim_later(void (*action)(void *context), void *context);

/* ---- simulated descriptors, and what other processes do to them ---- */

/* Made at once, unlike by an operation; the lowest free numbers.  Buffers of sockets and pipes hold
 * `capacity` bytes (0: 64), so that they fill soon.  They return 0, or a descriptor. */
UNR_API void unr_sim_socketpair(int ret_fds[2], size_t capacity);
UNR_API void unr_sim_pipe(int ret_fds[2], size_t capacity);
UNR_API int  unr_sim_listener(uint16_t port, int backlog); /* AF_INET, any address */
UNR_API int  unr_sim_socket(void);                         /* AF_INET, unconnected */
UNR_API int  unr_sim_file(const void *data, size_t len);
UNR_API int  unr_sim_eventfd(uint64_t count);

/* A signalfd(2) for a set of signals, bit n - 1 standing for signal n, and a signal sent to the
 * process: it stays pending until a signalfd that is for it is read. */
UNR_API int  unr_sim_signalfd(uint64_t signals);
UNR_API void unr_sim_raise(int signal);

/* read(2), write(2), shutdown(2), close(2), connect(2) and accept(2) without blocking, as another
 * process would do them: a count or descriptor, or a negative errno, -EAGAIN where it would
 * block. */
UNR_API ssize_t unr_sim_read(int fd, void *buf, size_t len);
UNR_API ssize_t unr_sim_write(int fd, const void *buf, size_t len);
UNR_API int     unr_sim_shutdown(int fd, int how);
UNR_API int     unr_sim_close(int fd);
UNR_API int     unr_sim_connect(uint16_t port); /* a new socket, connected */
UNR_API int     unr_sim_accept(int fd);

/* Waits, as poll(2) in another event loop does, until `fd` is readable, while other processes and
 * the kernel's workers go on; no loop is in the kernel meanwhile.  If nothing can make it readable
 * any more, the schedule has failed. */
UNR_API void unr_sim_wait_readable(int fd);

/* A child process that exits: what waitid waits for. */
UNR_API pid_t unr_sim_child(void);
UNR_API void  unr_sim_child_exit(pid_t pid, int status);

UNR_END
#endif
