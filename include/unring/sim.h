/* SPDX-License-Identifier: MIT */
/* The simulated kernel: a program that is linked with libunring-sim in place of libunring runs on
 * a kernel whose every choice is enumerated.  Write a function that uses unring as ever, on
 * simulated descriptors, and have it explored: it is called once for each schedule, from a clean
 * world each time, until one fails or all have been seen.
 *
 *     static void scenario(void *context)
 *     {
 *         ... unr_loop_open, unr_start, unr_loop_run, unr_loop_close ...
 *     }
 *
 *     struct unr_exploration found;
 *     if (unr_explore(scenario, NULL, NULL, &found) < 0)
 *         fprintf(stderr, "%s\nreplay: %s\n", found.failure, found.schedule);
 *
 * Words:
 *   scenario   The function that is explored.
 *   choice     A moment at which the kernel, another process or the scenario may do one of several
 *              things.
 *   kindest    The way that a choice takes first: what can happen happens, whole and in order.
 *   schedule   One run of the scenario: the choices that were made in it, as "2.0.1.3".
 *   deviation  A choice that does not take the kindest way.
 *
 * A schedule fails when
 *   - the scenario says so, with unr_sim_check();
 *   - a broken contract or an assertion aborts, or a signal such as SIGSEGV comes;
 *   - the program changes or frees memory that is lent: what a write or send takes from, what a
 *     read or receive writes into, and each result that the kernel sets, such as an address or a
 *     siginfo_t;
 *   - memory is lent to two operations at a time, and the kernel writes it for one of them;
 *   - a buffer that stands in a ring of provided buffers is changed, freed, lent or provided once
 *     more, or its ring is changed; memory is unmapped while it is registered with the kernel;
 *   - a descriptor that is lent is closed by close(2), which unr_sim_close() stands for; by
 *     unr_close() it may be;
 *   - it submits an SQE whose opcode the simulation does not have;
 *   - a loop waits in a close: see unr_sim_linger();
 *   - a loop waits, or unr_sim_wait_readable() does, and nothing can happen any more;
 *   - it does not come to an end;
 *   - it ends with a loop or a descriptor open, or with something in flight.
 * Memory that the kernel is to write is filled with garbage meanwhile, so that a scenario which
 * looks at it too early sees that.  The garbage is verified before an operation completes, and at
 * each call of the kernel.  A result that is set on success only is as it was after a failure.
 *
 * The completions of a loop come while it is in the kernel.  With UNR_LOOP_PLAIN they come outside
 * of it, too: whenever the loop reads the clock, calls the kernel or wakes itself, and at each
 * unr_sim_choose().  The descriptor of unr_loop_fd() is signalled no more often than the real
 * kernel does it: once for all that waits for the next turn.
 *
 * A sanitizer such as AddressSanitizer ends the process where it finds a fault: then the schedule
 * so far is printed to standard error, as "replay: 2.0.1", and is not made shorter.
 *
 * One process explores in one thread.  Each function here but unr_explore() is called inside a
 * scenario, and every descriptor is a simulated one.  A scenario that asks for more descriptors,
 * ports or child processes than the simulation has fails. */
#ifndef UNRING_SIM_H
#define UNRING_SIM_H

#include <sys/socket.h>
#include <sys/types.h>
#include <unring/loop.h>

UNR_BEGIN

/* Runs once for each schedule: the scenario.  It opens its loops and descriptors, and closes them
 * again.  It frees the memory of its own, too; but a schedule that fails leaves the function in
 * the middle.
 *
 * context  as given to unr_explore(). */
typedef void unr_scenario_fn(void *context);

/* Who makes the choices. */
enum unr_driver {
    UNR_EXHAUSTIVE, /* every schedule within the bounds, the kindest first */
    UNR_RANDOM,     /* each choice at random */
    UNR_PCT,        /* few deviations, at random places (after Burckhardt et al., ASPLOS 2010) */
    UNR_REPLAY,     /* the one schedule that `replay` says */
};

/* How a scenario is explored.  Options that are zeroed, but for `size`, are the defaults. */
struct unr_explore_options {
    size_t          size; /* of this structure */
    enum unr_driver driver;
    uint64_t        schedules_max;  /* how many at most; 0: a million */
    unsigned        depth_max;      /* choices behind so many take the kindest way; 0: 1000 */
    unsigned        deviations_max; /* in one schedule; 0: any number, for UNR_PCT 3 */
    uint64_t        seed;           /* of UNR_RANDOM and UNR_PCT */
    const char     *replay;         /* for UNR_REPLAY: a schedule, as unr_exploration has it */
    unsigned        faults;         /* UNR_FAULT_*; 0: none */
    unsigned        linux_version;  /* 601: as Linux 6.1; 0: the newest */
};

/* What unr_explore_options.linux_version changes.
 *
 * Calls  that came later end with -EOPNOTSUPP; an unr_sqe() with the opcode of one, with -EINVAL.
 * Order  before 6.12, what has become ready since the last turn completes last-first in the kindest
 *        schedule.
 * Flags  a multishot receive has a limit or a length since 6.17, and ends with -EINVAL before;
 *        likewise a bundle before 6.10, and incremental provided buffers before 6.12.
 * Pipes  before 6.5, a read or write waits until the pipe is ready, and then goes to a worker.  A
 *        write stays there until all of it is written.  A cancellation cuts it short: error 0, the
 *        bytes that were written, UNR_VERDICT_RUNNING. */

/* What the kernel may do besides its ordinary choices; in unr_explore_options.faults.
 *
 * UNR_FAULT_ENTER      io_uring_enter(2) is interrupted, takes fewer SQEs than it is shown, or none
 *                      (EAGAIN, EBUSY).
 * UNR_FAULT_TRANSFER   transfers on sockets and pipes are short where they could be complete.
 * UNR_FAULT_STOP       the program is stopped for an hour when it is about to read the clock, as by
 *                      SIGSTOP or a debugger; meanwhile another process may act.
 * UNR_FAULT_RESOURCES  what opens a descriptor ends with -EMFILE or -ENOMEM: unr_accept(),
 *                      unr_socket(), unr_pipe(), unr_openat(), unr_loop_open(), unr_loop_fd(), and
 *                      each operation that opens one of its own.  A loop finds no memory to open,
 *                      or for more timers.
 * UNR_FAULT_INTERRUPT  the program is stopped and continued: calls that wait in a worker are
 *                      interrupted.
 * UNR_FAULT_WORKERS    no worker can be made for a call, once or for the rest of the schedule.
 * UNR_FAULT_MISSED_END a multishot receive on a stream of AF_UNIX may never tell of an end that
 *                      came with the last bytes, as on Linux 6.17 (liburing, issue 1549).
 *
 * A schedule has two of these faults at most, not counting short transfers, missing workers and
 * missed ends.
 * UNR_FAULT_ALL is the first three: a scenario has to expect the others. */
#define UNR_FAULT_ENTER      1u
#define UNR_FAULT_TRANSFER   2u
#define UNR_FAULT_STOP       4u
#define UNR_FAULT_RESOURCES  16u
#define UNR_FAULT_INTERRUPT  32u
#define UNR_FAULT_WORKERS    64u
#define UNR_FAULT_MISSED_END 128u
#define UNR_FAULT_ALL        7u

/* The result of an exploration. */
struct unr_exploration {
    uint64_t schedules;      /* how many ran, without those that made a failure shorter */
    uint64_t choices;        /* how many were made in all of them */
    unsigned depth;          /* how many were made in the longest */
    bool     complete;       /* of UNR_EXHAUSTIVE: there are no other schedules within the bounds */
    char     schedule[1024]; /* the one that failed, made shorter: for UNR_REPLAY; "": none did */
    char     failure[512];   /* why it failed, in words; "": none did */
};

/* Explores a scenario until a schedule fails, within the bounds of `options`.
 *
 * context    `scenario` is called with it.
 * options    NULL: the defaults.
 * ret_found  written unless an option is wrong; NULL is allowed.
 * Returns    0: no schedule failed.  -EBADMSG: one did.  -EINVAL: an option.
 * Shorter    a schedule that fails is run again with kinder and fewer choices, as long as it
 *            fails.
 * Signals    SIGABRT, SIGSEGV, SIGBUS and SIGFPE are caught meanwhile. */
UNR_API int unr_explore(unr_scenario_fn *scenario, void *context,
                        const struct unr_explore_options *options,
                        struct unr_exploration           *ret_found);

/* Fails the schedule unless `holds`.
 *
 * what     what ought to hold, for unr_exploration.failure.
 * Returns  only if it holds. */
UNR_API void unr_sim_check(bool holds, const char *what);

/* Makes a choice of the scenario's own: every one is explored.
 *
 * Returns  one of the numbers from 0 to n - 1; 0 is the kindest. */
UNR_API unsigned unr_sim_choose(unsigned n);

/* Has `action` happen at some later point, while a loop is in the kernel.
 *
 * action   stands for another process: it calls functions of this header.  It is called once.
 *          Every point is explored; the kindest is that at which nothing else can happen.  An
 *          action that finds no such point before the scenario ends does not happen.
 * context  `action` is called with it; valid until then. */
UNR_API void unr_sim_later(void (*action)(void *context), void *context);

/* ---- simulated descriptors ---- */

/* Makes two connected stream sockets.
 *
 * ret_fds   the lowest free numbers; to be closed with unr_close(), unr_cancel_close() or
 *           unr_sim_close().
 * capacity  how many bytes each holds that its owner has not read yet; 0: 64, so that it is full
 *           soon. */
UNR_API void unr_sim_socketpair(int ret_fds[2], size_t capacity);

/* Makes two unix datagram sockets, of which the first is connected to the second.
 *
 * ret_fds   [0] to send and [1] to receive, the lowest free numbers; to be closed with unr_close(),
 *           unr_cancel_close() or unr_sim_close().
 * capacity  how many datagrams [1] holds that nobody has received yet, at most 16. */
UNR_API void unr_sim_datagrams(int ret_fds[2], unsigned capacity);

/* Makes two connected unix sockets that carry records: SOCK_SEQPACKET.
 *
 * ret_fds   [0] to send and [1] to receive, the lowest free numbers; to be closed with unr_close(),
 *           unr_cancel_close() or unr_sim_close().
 * capacity  how many records [1] holds that nobody has received yet, at most 16. */
UNR_API void unr_sim_records(int ret_fds[2], unsigned capacity);

/* Makes a pipe.
 *
 * ret_fds   [0] to read and [1] to write, the lowest free numbers; to be closed with unr_close(),
 *           unr_cancel_close() or unr_sim_close().
 * capacity  how many bytes the pipe holds; 0: 64, so that it is full soon. */
UNR_API void unr_sim_pipe(int ret_fds[2], size_t capacity);

/* Makes a listening socket (AF_INET, at any address).
 *
 * port     in the byte order of the machine.
 * backlog  as in listen(2), at most 63.
 * Returns  the descriptor, the lowest free number. */
UNR_API int unr_sim_listener(uint16_t port, int backlog);

/* Makes a stream socket (AF_INET) that is not connected.
 *
 * Returns  the descriptor, the lowest free number. */
UNR_API int unr_sim_socket(void);

/* Makes a file that holds `len` bytes.
 *
 * data     copied; with `len` 0 it may be NULL.
 * Returns  the descriptor, the lowest free number; its position is 0. */
UNR_API int unr_sim_file(const void *data, size_t len);

/* Makes an eventfd(2) whose counter is `count`.
 *
 * Returns  the descriptor, the lowest free number. */
UNR_API int unr_sim_eventfd(uint64_t count);

/* Makes an epoll(7) instance that watches one descriptor, level-triggered.
 *
 * fd       what it watches: any simulated descriptor.
 * events   EPOLLIN, EPOLLOUT.
 * Returns  the descriptor, the lowest free number. */
UNR_API int unr_sim_epoll(int fd, uint32_t events);

/* Makes a signalfd(2).
 *
 * signals  which it is for: bit n - 1 stands for signal n.
 * Returns  the descriptor, the lowest free number. */
UNR_API int unr_sim_signalfd(uint64_t signals);

/* ---- what other processes do; none of it blocks ---- */

/* Reads from `fd` at its position, as another process would: read(2).
 *
 * Returns  how many bytes, 0 at the end, or a negative errno; -EAGAIN: there is nothing to read
 *          yet. */
UNR_API ssize_t unr_sim_read(int fd, void *buf, size_t len);

/* Writes to `fd` at its position, as another process would: write(2).
 *
 * Returns  how many bytes, or a negative errno; -EAGAIN: there is no room now. */
UNR_API ssize_t unr_sim_write(int fd, const void *buf, size_t len);

/* Shuts down a socket, as another process would: shutdown(2).
 *
 * how      SHUT_RD, SHUT_WR or SHUT_RDWR.
 * Returns  0, or -ENOTCONN. */
UNR_API int unr_sim_shutdown(int fd, int how);

/* Closes a descriptor: close(2).
 *
 * Returns  0, or -EBADF. */
UNR_API int unr_sim_close(int fd);

/* Has close(2) of a socket wait for its peer: SO_LINGER with a time above 0.  The schedule fails if
 * a loop waits there.
 *
 * fd  a socket. */
UNR_API void unr_sim_linger(int fd);

/* Connects a new socket to a simulated listener: connect(2).
 *
 * port     in the byte order of the machine.
 * Returns  the descriptor of the new socket; -ECONNREFUSED: nobody listens there; -EAGAIN: the
 *          backlog is full. */
UNR_API int unr_sim_connect(uint16_t port);

/* Takes a connection from a simulated listener: accept(2).
 *
 * Returns  the descriptor of the connection; -EAGAIN: there is none; -EINVAL: `fd` does not
 *          listen. */
UNR_API int unr_sim_accept(int fd);

/* Sends a signal to the process.
 *
 * signal   1 to 64.  It is pending until a signalfd that is for it is read; no handler runs. */
UNR_API void unr_sim_raise(int signal);

/* Makes a child process, for unr_waitid() and unr_process_wait().
 *
 * Returns  its number.  It runs until unr_sim_child_exit(). */
UNR_API pid_t unr_sim_child(void);

/* Ends a child process with an exit status.
 *
 * pid      of unr_sim_child(); any other number is passed over. */
UNR_API void unr_sim_child_exit(pid_t pid, int status);

/* Reads the kernel's CLOCK_MONOTONIC, as another process would. */
UNR_API unr_time unr_sim_clock(void);

/* Has lookups of a name find an address, behind those that they find already.
 *
 * name     lent until the schedule ends, as is `address`.  Names that nobody has named are not
 *          found.
 * address  a number: "127.0.0.1", "::1". */
UNR_API void unr_sim_host(const char *name, const char *address);

/* Waits until the functions of all work have returned, abandoned ones included.
 *
 * Meanwhile  other processes go on; no loop is in the kernel. */
UNR_API void unr_sim_join_threads(void);

/* Waits until `fd` is readable, as another event loop would with poll(2).
 *
 * fd         unr_loop_fd(), say.
 * Meanwhile  other processes and the kernel's workers go on, and time passes; no loop is in the
 *            kernel.
 * Fails      the schedule if nothing can make `fd` readable any more. */
UNR_API void unr_sim_wait_readable(int fd);

/* Has time pass, as a `done` does that computes for so long.
 *
 * duration   0 or more.
 * Meanwhile  nothing happens: other processes and the kernel do not go on. */
UNR_API void unr_sim_compute(unr_time duration);

/* Puts the program into a time namespace: time_namespaces(7).
 *
 * shift  how far the program's CLOCK_MONOTONIC is ahead of the kernel's, or behind it if it is
 *        negative: at most 1000 seconds behind.
 * When   no loop is open. */
UNR_API void unr_sim_shift_clock(unr_time shift);

UNR_END
#endif
