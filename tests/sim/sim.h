/* SPDX-License-Identifier: MIT */
/* What the files of the simulated kernel share.
 *
 *   choose.c       the stream of choices, and the drivers behind it
 *   explore.c      unr_explore: one schedule after another, failures caught, shrunk and replayed
 *   kernel.c       uring/enter.h over plain memory: rings, requests, cancels, time
 *   calls.c        what each opcode does to descriptors, buffers and names
 *   buffers.c      rings of provided buffers, and registered buffers
 *   stacks.c       stacks of fibers
 *   thread_pool.c  threads that run what blocks
 *   names.c        names and their addresses
 *   world.c        descriptors and what is behind them; what other processes do */
#ifndef UNRI_SIM_H
#define UNRI_SIM_H

#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unring.h>
#include <unring/sim.h>

#include "../../lib/core/check.h"
#include "choose.h"

/* Whether this is the run whose failure is reported, after shrinking.  Only this run prints details
 * for a person. */
bool unri_sim_is_last_run(void);

/* Ends the schedule as failed. */
_Noreturn void unri_sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- the world: descriptors and what they stand for ---- */

enum {
    SIM_FDS = 256,
    SIM_FILES = 256,
    SIM_CHILDREN = 16,
    SIM_NAMES = 32,
    SIM_QUEUE = 64,
    SIM_DATAGRAMS_MAX = 16
};

/* A bounded queue of bytes. */
struct sim_bytes {
    unsigned char *data;
    size_t         capacity, first, count;
};

enum sim_kind {
    SIM_SOCKET = 1,
    SIM_DATAGRAMS, /* a unix datagram socket */
    SIM_PIPE_READER,
    SIM_PIPE_WRITER,
    SIM_REGULAR,
    SIM_EVENTFD,
    SIM_SIGNALFD,
    SIM_LISTENER,
    SIM_EPOLL,
    SIM_PIDFD
};

struct sim_pipe {
    struct sim_bytes bytes;
    unsigned         readers, writers;
    unsigned         came, left; /* as in struct sim_file */
};

/* An open file description.  It lives while a descriptor or a request refers to it. */
struct sim_file {
    enum sim_kind kind;
    unsigned      references;
    unsigned      came, left; /* counts what wakes who polls for POLLIN, and for POLLOUT */

    /* SIM_SOCKET */
    struct sim_bytes *incoming;
    struct sim_file  *peer; /* NULL: never connected, or gone */
    bool              connected, end_of_input, shut_read, shut_write, reset;
    bool              lingers;       /* who closes it last waits */
    bool              may_wait;      /* the loop, too: there was nobody else */
    struct sim_file  *connecting_to; /* SYN_SENT */
    uint16_t          port;

    /* SIM_DATAGRAMS: `peer` is the receiver, and `incoming` holds the datagrams one behind the
     * other. */
    size_t   lengths[SIM_DATAGRAMS_MAX]; /* of the datagrams that nobody has received yet */
    unsigned datagrams, datagrams_max;   /* how many there are, and may be */
    bool     records;                    /* SOCK_SEQPACKET */

    /* SIM_LISTENER */
    int              backlog;
    struct sim_file *waiting[SIM_QUEUE]; /* connections to be accepted */
    unsigned         waiting_count;

    struct sim_pipe *pipe;

    /* SIM_REGULAR */
    struct sim_inode *inode;
    int64_t           position;

    /* SIM_EPOLL */
    struct sim_file *watched;
    unsigned         events;

    const struct sim_child *child; /* SIM_PIDFD */

    uint64_t counter; /* SIM_EVENTFD */
    uint64_t signals; /* SIM_SIGNALFD: its set, bit n - 1 for signal n */
};

struct sim_inode {
    unsigned char *data;
    size_t         len, room;
    unsigned       links;
    char           attribute[32]; /* its name; "": there is none */
    unsigned char  attribute_value[64];
    size_t         attribute_len;
};

struct sim_name {
    char              path[64];
    struct sim_inode *inode; /* NULL: a directory */
    bool              used, directory;
};

struct sim_child {
    pid_t pid;
    bool  exited, reaped;
    int   status;
};

struct sim_world {
    struct sim_file *fds[SIM_FDS];
    unsigned         open_fds;
    unsigned         maps;
    struct sim_file *listeners[16];
    struct sim_name  names[SIM_NAMES];
    struct sim_child children[SIM_CHILDREN];
    unsigned         children_count;
    uint64_t         pending_signals;
    unsigned         raised;      /* counts the signals */
    unr_time         now;         /* the kernel's */
    unr_time         clock_shift; /* how far the program's clock is ahead of it */
};

extern struct sim_world sim_world;

/* The child process with the number `pid` that nobody has reaped; NULL: there is none. */
struct sim_child *sim_child_of(pid_t pid);

/* Reaps a child process.  False: it runs yet. */
bool sim_child_reap(struct sim_child *child, siginfo_t *ret_info);

/* Memory that lasts until the schedule ends. */
void *sim_alloc(size_t size);

void             sim_world_reset(void);
struct sim_file *sim_file_of(int fd);                /* NULL: not open */
int              sim_fd_open(struct sim_file *file); /* the lowest free number; -EMFILE */
int              sim_fd_close(int fd);
struct sim_file *sim_file_new(enum sim_kind kind);
void             sim_file_hold(struct sim_file *file);
void             sim_file_release(struct sim_file *file);
struct sim_pipe *sim_pipe_new(size_t capacity);
struct sim_file *sim_socket_new(size_t capacity);
void             sim_socket_pair(struct sim_file *a, struct sim_file *b);
struct sim_file *sim_listener_at(uint16_t port);
int              sim_listen(struct sim_file *file, int backlog);

/* The handshake of a socket in SYN_SENT: 0, -EAGAIN while the backlog is full, or -ECONNREFUSED. */
int sim_handshake(struct sim_file *file);

/* connect(2) to AF_UNSPEC: the socket is as new, and a peer that it had is reset. */
void sim_disconnect(struct sim_file *file);

size_t sim_bytes_put(struct sim_bytes *bytes, const void *data, size_t len);
size_t sim_bytes_get(struct sim_bytes *bytes, void *data, size_t len, bool peek);

/* One non-blocking step of a transfer: a count, -EAGAIN, or another errno. */
ssize_t  sim_read(struct sim_file *file, void *buf, size_t len, int64_t offset, bool peek);
ssize_t  sim_write(struct sim_file *file, const void *buf, size_t len, int64_t offset);
unsigned sim_poll(const struct sim_file *file); /* POLLIN, POLLOUT, ... that hold */

/* Counts what has woken those who poll for `events`. */
unsigned sim_wakes(const struct sim_file *file, unsigned events);

/* ---- requests ---- */

/* Where the kernel has a request.  It decides what a cancel finds: cancel() in kernel.c. */
enum sim_stage {
    SIM_ARMED,   /* waits for its descriptor, in a table in which cancels look */
    SIM_ARMING,  /* between two attempts, in no table: a cancel does not find it, and is lost */
    SIM_READY,   /* woken; the next attempt waits for the task to enter the kernel */
    SIM_PENDING, /* waits for a worker */
    SIM_RUNNING, /* a worker executes it */
    SIM_ISSUED,  /* a device executes it: in no table, so a cancel does not find it */
    SIM_DONE,    /* its own CQE is posted; the notification of a zero-copy send may be missing */
};

/* One piece of memory that a request is lent. */
struct sim_lent {
    unsigned char *at;
    size_t         len;
    enum unri_use  use;
    unsigned char *expected; /* what the kernel has left in it; NULL for UNRI_READS */
    unsigned char *before;   /* UNRI_SETS: what was in it when the request was submitted */
};

struct sim_request {
    struct sim_request *next;
    struct sim_ring    *ring;
    struct io_uring_sqe sqe;
    enum sim_stage      stage;
    struct sim_file    *file, *other;
    uint32_t            moved;       /* bytes, if it goes on after a part; else: 1 once begun */
    bool                cancelled;   /* a cancel has found it: it ends with -ECANCELED */
    bool                interrupted; /* a cancel has found it in a worker, where it waits */
    bool                notification_due;
    bool                taken; /* a send's bytes, by an attempt that found no room */
    struct sim_lent    *lent;  /* all that the kernel writes or sends */
    size_t              lent_count;
    void               *sent; /* a copy of the bytes to be sent, made when it was submitted */
    size_t              sent_len;
    unr_time            due; /* of a time-out */
    uint32_t            futex_wakes;
    unsigned            cqe_flags;   /* of the CQE that the last attempt makes: its buffer */
    bool                is_last;     /* it makes the last CQE of a multishot request */
    uint32_t            limit_left;  /* bytes; 0: there is none, or it is reached */
    bool                was_missed;  /* by a cancel, which has not found it */
    uint32_t            head_len;    /* what stands before the payload of a multishot message */
    unsigned            wakes_seen;  /* sim_wakes() at the last shot, where that matters */
    bool                misses_end;  /* it waits, until something wakes it again */
    unsigned            wakes_extra; /* shots of it without a cause that are still to come */
    unsigned            wakes_made;  /* how many of these there were */
    bool                error_told;  /* a poll has told of an error */
    bool                told_a_part; /* and not yet of what else holds */
    unsigned            passed_over; /* how many times it could have gone on and did not */
    unsigned            looks;       /* likewise, how often the program looked at its ring */
};

/* The outcome of an attempt at a call: a res, or SIM_WAIT if the call has to wait. */
#define SIM_WAIT INT32_MIN

void sim_calls_configure(bool short_transfers);

/* Where the kernel puts a request first: READY, ARMED or PENDING. */
enum sim_stage sim_call_begins(const struct sim_request *request);

/* Whether the simulation has the call. */
bool sim_call_is_known(unsigned opcode);

/* Whether closing the last descriptor of a file makes its thread wait. */
bool sim_close_waits(const struct sim_file *file);

/* Makes one attempt. */
int sim_call(struct sim_request *request);

/* Sends from outside of a ring: a count or a negative errno, as send(2) with MSG_DONTWAIT. */
ssize_t sim_call_send(struct sim_file *file, const struct iovec *iov, size_t count);

/* Whether another attempt would end the call or move it on. */
bool sim_call_ready(struct sim_request *request);

/* Whether the request is to wait for its descriptor before the first attempt:
 * IORING_RECVSEND_POLL_FIRST. */
bool sim_call_polls_first(const struct sim_request *request);

/* Whether the first attempt is made while the request is submitted.  The real kernel closes then
 * and no later; of closes that wait for nothing it does not matter. */
bool sim_call_is_at_once(const struct sim_request *request);

/* Whether more than one CQE may come of the request. */
bool sim_call_is_multishot(const struct sim_request *request);

/* Whether the kernel chooses the buffer. */
bool sim_call_takes_provided(const struct sim_request *request);

/* Whether a multishot receive, after a shot, looks for the next buffer before it looks for data:
 * the kernel does that where it does not know whether there is data. */
bool sim_call_looks_again(const struct sim_request *request);

/* Whether a receive has left bytes in the socket, and its CQE says so. */
bool sim_call_leaves_bytes(const struct sim_request *request);

/* Whether UNR_FAULT_MISSED_END concerns a multishot receive after a shot: it waits for more where
 * no bytes are left, and an end of AF_UNIX is none. */
bool sim_call_may_miss_end(const struct sim_request *request);

/* What the kernel finds wrong in an SQE with flags of receives: -EINVAL, or 0. */
int sim_call_refused(const struct sim_request *request);

/* How much a transfer that goes on after a part has moved so far; 0 for all other calls. */
uint32_t sim_call_moved(const struct sim_request *request);

/* Whether a worker may wait in the call, and be interrupted there. */
bool sim_call_blocks(const struct sim_request *request);

/* Whether a cancel interrupts a worker in the call: where it waits, and in a fallocate. */
bool sim_call_is_interruptible(const struct sim_request *request);

/* Ends a call that is interrupted.  Returns its res: what has moved, or an interruption.  Whether a
 * fallocate has done a part by then is a choice. */
int sim_call_interrupted(struct sim_request *request);

/* Whether the call waits for its descriptor first, and is then made by a worker: reads and writes
 * of pipes before Linux 6.5. */
bool sim_call_polls_then_works(const struct sim_request *request);

/* The memory that a request is lent: takes note of it; checks that no other request is lent it;
 * writes garbage into what the kernel is to write; checks that nobody has changed it; gives it back
 * when the request ends with `res`. */
void sim_call_lend(struct sim_request *request);
void sim_call_check_apart(const struct sim_request *request, const struct sim_request *other);
void sim_call_scribble(struct sim_request *request);
void sim_call_check_lent(const struct sim_request *request);
void sim_call_give_back(struct sim_request *request, int res);

/* ---- buffers that are given to the kernel beforehand ---- */

enum { SIM_CHOSEN_MAX = 16 };

/* The provided buffers that one attempt may fill. */
struct sim_chosen {
    struct sim_buffer_ring *from;
    struct iovec            pieces[SIM_CHOSEN_MAX];
    unsigned                count;
    bool                    reaches_the_end; /* the last of them is the last in the ring */
};

void sim_buffers_reset(void);

/* Chooses up to `count` buffers with up to `most` bytes (0: any number): 0 or -ENOBUFS. */
int  sim_buffers_choose(const struct sim_request *request, size_t most, unsigned count,
                        struct sim_chosen *ret_chosen);
bool sim_buffers_are_there(const struct sim_request *request);

/* Hands out the first `len` bytes of what was chosen.  Returns what the CQE says of it. */
unsigned sim_buffers_commit(const struct sim_chosen *chosen, size_t len);

/* io_uring_register(2), with the opcodes of rings of provided buffers and of registered buffers. */
int  sim_buffers_register(const struct sim_ring *ring, unsigned opcode, const void *argument,
                          unsigned count);
void sim_buffers_close(const struct sim_ring *ring);

/* Fails the schedule if the program has changed or freed what stands in the rings of provided
 * buffers, has put a buffer there twice, or lends it to a request, too. */
void sim_buffers_check(const struct sim_ring *ring);
void sim_buffers_check_apart(const struct sim_request *request);

/* Fails the schedule if memory that is unmapped is registered or provided. */
void sim_buffers_check_unmap(const void *memory, size_t size);

/* Fails the schedule if memory that is provided is lent to a request in flight. */
void sim_kernel_check_provided(const void *memory, size_t len);

/* The name of the operation that a request belongs to, for messages. */
const char *sim_request_name(const struct sim_request *request);

/* Whether AddressSanitizer, if the program is built with it, knows of memory that is freed. */
bool sim_is_freed(const void *memory, size_t len);

/* The first request that waits for the futex at `address`; NULL: there is none. */
struct sim_request *sim_futex_waiter(uint64_t address, uint64_t mask);

/* Fails the schedule if the open descriptor `fd` is lent to a request in flight. */
void sim_kernel_check_close(int fd);

/* Takes an action of another process back that was to be called with `context`. */
void sim_kernel_forget_later(void *context);

/* Has another process act, of those that are still to. */
void sim_kernel_act(void);

/* The kernel's own. */
void sim_kernel_reset(const struct unr_explore_options *options);
bool sim_kernel_is_before(unsigned linux_version);
void sim_kernel_meanwhile(void);

/* Whether memory is lacking now: a choice, in explorations with UNR_FAULT_RESOURCES. */
bool sim_kernel_lacks_memory(void);

/* Takes all stacks of fibers back: those of a schedule that failed, too. */
void sim_stacks_reset(void);

/* Forgets the jobs of the schedule before. */
void sim_thread_pool_reset(void);

/* Forgets the names of the schedule before. */
void sim_names_reset(void);

/* How many addresses were found and not given back. */
unsigned sim_names_found(void);

/* What a call that opens a descriptor is short of, by choice: -EMFILE, -ENOMEM, or 0 for nothing.
 */
int      sim_kernel_shortage(void);
unsigned sim_kernel_rings(void);    /* how many are open */
unsigned sim_kernel_requests(void); /* how many are in flight */

#endif
