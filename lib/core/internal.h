/* What the files of lib/ and uring/ share: the states of an operation, the loop's structure, and
 * the functions through which one file calls another.  lib/README.md is the tour.
 *
 *   op.c          describe, bind, start, request, end: the life of one operation
 *   signal.c      slots and signals
 *   loop.c        open, the turn, run, close
 *   embed.c       the loop's descriptor for another event loop
 *   inbox.c       what other threads may do
 *   timer.c       timers; timer_queue.c: what they wait in
 *   state.c       what a composed operation was asked for, and its filters
 *   compose.c     operations made of steps
 *   group.c       operations side by side; scope.c: any number of them, added while it runs
 *   deadline.c filter.c delay.c join.c   around one operation
 *   stream.c transfer.c buffer.c reader.c frame.c connect.c relay.c   composed operations
 *   process.c     signals and child processes
 *   descriptor.c  what is in flight on each descriptor
 *   explain.c     words for a person
 *   contract.c    the end of a process that broke a rule
 *   ../uring/     the kernel: ring.h lists its files */
#ifndef UNRI_INTERNAL_H
#define UNRI_INTERNAL_H

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unring.h>

/* ---- the life of an operation ---- */

/* The low four bits number the states, for the table of legal moves; the rest is a pattern that
 * memory which was never zeroed does not hold.  Changed only by unri_set_state(), which checks the
 * move. */
enum unri_state {
    UNRI_IDLE = 0, /* the caller's; on no list */
    UNRI_DESCRIBED =
        0x6f705d01, /* filled in, waiting for unr_start() or for a combinator; on no list */
    UNRI_QUEUED =
        0x6f705d02, /* waiting for an SQE, on ring->queued; cancel: ends at once, UNSUBMITTED */
    UNRI_IN_FLIGHT =
        0x6f705d03, /* the kernel may touch its buffers; among the peers on its descriptor */
    UNRI_CANCELLING = 0x6f705d04, /* as IN_FLIGHT, and a request was honoured: its cancel is wanted,
                                     out or back */
    UNRI_FINISHED = 0x6f705d05,   /* result final, on loop->finished; `done` has not run yet */
    UNRI_HELD = 0x6f705d06,       /* as DESCRIBED, and a combinator's to start */
};

/* unr_op_private.flags */
enum {
    UNRI_INNER =
        1 << 0, /* a child or a member: handed back to private_fields.holder, not to a `done` */
    UNRI_HOUSEKEEPING = 1 << 1, /* the loop's own: not shown or counted anywhere */
    UNRI_INVALID = 1 << 2,    /* described with arguments that no kernel takes: ends with -EINVAL */
    UNRI_HONOURED = 1 << 3,   /* a request was honoured */
    UNRI_ON_FD = 1 << 4,      /* among the peers of private_fields.fd */
    UNRI_ON_TWO_FDS = 1 << 5, /* among the operations on two descriptors */

    /* What uring/ still awaits of the kernel for this operation; finished when none is left (rule
     * 7). */
    UNRI_AWAITS_TARGET = 1 << 6, /* its own last CQE */
    UNRI_AWAITS_NOTIF = 1 << 7,  /* a zero-copy send's notification */
    UNRI_AWAITS_CANCEL = 1 << 8, /* the CQE of its cancel */
    UNRI_AWAITS_UNDO = 1 << 9,   /* the CQE of a connect's undoing */
    UNRI_AWAITS = UNRI_AWAITS_TARGET | UNRI_AWAITS_NOTIF | UNRI_AWAITS_CANCEL | UNRI_AWAITS_UNDO,

    /* What uring/ still wants to send for it: at most one of these, and it says on which list it
     * is. */
    UNRI_WANTS_CANCEL = 1 << 10, /* on ring->urgent */
    UNRI_WANTS_UNDO = 1 << 11,   /* on ring->urgent */
    UNRI_WANTS_REPEAT = 1 << 12, /* on ring->repeats[attempts]: a cancel had no effect */

    UNRI_CANCEL_HIT = 1 << 13, /* a cancel's CQE said that it took effect */
    UNRI_UNDO_FAILED = 1 << 14,
    UNRI_ZERO_COPY = 1 << 15, /* MORE announces a notification, not another shot */
};

/* While an operation is in flight, parts of its result serve as scratch (design.md, Budget):
 *   error   when it was started, unri_turn_ms(); for a system call whose CQE is in, its res
 *   bytes   system calls on a list of the ring: the operation before it there
 *   fd      on ring->repeats: when it is due
 * cause, requested and verdict collect what becomes of requests.  A caller's own type has bytes and
 * fd to itself. */

static inline struct unr_op_private *unri_private(struct unr_op *op)
{
    return &op->private_fields;
}

static inline unsigned unri_state_number(uint32_t state)
{
    return state & 15;
}

/* Which states lead to `state`, as bits of their numbers. */
static inline unsigned unri_states_before(enum unri_state state)
{
    enum {
        DESCRIBED = 1 << 1,
        QUEUED = 1 << 2,
        IN_FLIGHT = 1 << 3,
        CANCELLING = 1 << 4,
        FINISHED = 1 << 5,
        HELD = 1 << 6
    };
    switch (state) {
    case UNRI_IDLE: return FINISHED;
    case UNRI_DESCRIBED: return HELD; /* and from anything but a live one: unr_describe() looks */
    case UNRI_HELD: return DESCRIBED;
    case UNRI_QUEUED:
        return DESCRIBED | IN_FLIGHT; /* in flight: a cancel_close whose descriptor is free now */
    case UNRI_IN_FLIGHT: return DESCRIBED | QUEUED;
    case UNRI_CANCELLING: return IN_FLIGHT | CANCELLING;
    case UNRI_FINISHED: return DESCRIBED | QUEUED | IN_FLIGHT | CANCELLING;
    }
    return 0;
}

static inline void unri_set_state(struct unr_op *op, enum unri_state state)
{
    assert(unri_states_before(state) & 1u << unri_state_number(op->private_fields.state));
    op->private_fields.state = (uint32_t)state;
}

static inline bool unri_live(const struct unr_op *op)
{
    uint32_t state = op->private_fields.state;
    return state >= UNRI_QUEUED && state <= UNRI_FINISHED;
}

const char *unri_name(const struct unr_op *op);

/* unr_start() for the loop's own operations. */
void unri_start_housekeeping(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done);

/* Delivers a request, as unr_cancel_cause() does, without checking the caller's arguments.  Whether
 * it was honoured, or came too late for that: false for what is refused, and for what is not in
 * flight. */
bool unri_request(struct unr_op *op, struct unr_cancel_request request);
/* Keeps in the result that a request was honoured, or refused. */
void unri_note(struct unr_op *op, struct unr_cancel_request request, bool honoured);
/* unri_request(), which tells too whether that is the first that it honours, and it has not
 * completed: the one that will be the cause. */
bool unri_request_first(struct unr_op *op, struct unr_cancel_request request, bool *ret_first);

/* The ways in which a started operation becomes FINISHED: it never began, it ended with `error`, or
 * a cancellation took effect on it that only its child was asked for. */
void unri_end_unsubmitted(struct unr_op *op, struct unr_cancel_request request);
void unri_end(struct unr_op *op, int error);
void unri_end_cancelled(struct unr_op *op, int cause, unsigned verdict);

/* The strongest of a mask of types; NONE of none. */
static inline unsigned unri_strongest(unsigned types)
{
    return types & UNR_CANCEL_TOTAL     ? UNR_CANCEL_TOTAL
           : types & UNR_CANCEL_PARTIAL ? UNR_CANCEL_PARTIAL
                                        : types;
}

/* ---- operations that hold others ---- */

/* What the type of a combinator has besides: private_fields.holder of its unr_op_type. */
struct unri_holder {
    /* What it held, or started, has ended and is its caller's again. */
    void (*child_done)(struct unr_op *holder, struct unr_op *child);
    /* In place of its type's cancel: passes a request on, every one, and notes what became of it.
     * Those that it is passed on to know what they were asked before.  True if it was honoured.
     * NULL: its type's cancel will do. */
    bool (*deliver)(struct unr_op *holder, struct unr_cancel_request request);
    /* In place of its type's start where something was requested of it before; likewise. */
    bool (*start_asked)(struct unr_op *holder, struct unr_cancel_request asked);
    /* What it supports while it is described or in flight.  NULL: of a wrapper, what its inner
     * operation does; of others, what was true when it was described. */
    unsigned (*supports)(const struct unr_op *holder);
    /* It waits among the timers, and the time has come.  NULL: it never does. */
    void (*due)(struct unr_op *holder);
    /* It stands for one operation, unri_inner(), which is found among those in flight, or among the
     * timers until it begins: no need to find the wrapper too. */
    bool is_wrapper;
};

static inline const struct unri_holder *unri_holder_of(const struct unr_op *op)
{
    return op->type->private_fields.holder;
}

static inline bool unri_is_wrapper(const struct unr_op *op)
{
    const struct unri_holder *holder = unri_holder_of(op);
    return holder && holder->is_wrapper;
}

/* What a wrapper holds, and the name of that also when it is gone: kept where a system call has its
 * arguments. */
static inline struct unr_op *unri_inner(const struct unr_op *wrapper)
{
    return (struct unr_op *)(uintptr_t)wrapper->private_fields.address;
}

static inline const char *unri_name_of_inner(const struct unr_op *wrapper)
{
    return (const char *)(uintptr_t)wrapper->private_fields.offset;
}

/* Describes a wrapper of `inner`, which it holds and supports the types of. */
void unri_wrap(struct unr_op *op, const struct unr_op_type *type, struct unr_op *inner);
/* Ends a wrapper that there is no memory to begin, and what it holds. */
void unri_fail_wrapper(struct unr_op *op, int error);
/* The child_done of a wrapper that has nothing to add to the result of what it held. */
void unri_unwrap(struct unr_op *holder, struct unr_op *inner);

/* Takes a described operation for a combinator that is being described: nobody else may start it
 * any more. */
void unri_hold(struct unr_op *described);
/* Starts a child or member that it holds.  `asked` (types 0: nothing) is requested of it before it
 * begins; true if it honours that. */
bool unri_start_child(struct unr_op *holder, struct unr_op *child, struct unr_cancel_request asked);
/* The same for one that cannot begin: it ends with `error`. */
void unri_fail_child(struct unr_op *holder, struct unr_op *child, int error);
/* Ends an operation with the result of the only one that it held. */
void unri_end_as(struct unr_op *op, const struct unr_result *inner);
/* Runs the `done` of an operation that is taken out of everything already, or lets its holder have
 * it. */
void unri_hand_back(struct unr_loop *loop, struct unr_op *op);

/* What a filter makes of a mask of types: it is asked for each alone. */
unsigned unri_filtered(unr_filter_fn *filter, void *context, unsigned types);

/* Takes a finished operation out of everything and runs its `done`. */
void unri_run_done(struct unr_loop *loop, struct unr_op *op);

/* One shot of a multishot operation, which stays in flight: runs `done` with `res` and UNR_MORE. */
void unri_run_shot(struct unr_loop *loop, struct unr_op *op, int res);

/* The latched request that waits for whatever starts on `slot`; types 0 if there is none. */
struct unr_cancel_request unri_slot_latched(const struct unr_slot *slot);

/* ---- descriptors: what is in flight on each ---- */

struct unri_bucket {
    struct unr_op *first; /* the operations on descriptors that share this bucket, nearly always one
                             descriptor */
    uint32_t pairs;       /* how many of the operations on two descriptors have one of them here */
    uint32_t closers;     /* how many of `first` and those behind it are a cancel_close */
};

struct unri_descriptors {
    struct unri_bucket *buckets; /* indexed by the descriptor, modulo their number */
    size_t              count;   /* a power of two */
    size_t              used;    /* buckets at and above it were never used */
    struct unr_op      *others;  /* operations on no descriptor */
    struct unr_op      *pairs;   /* operations on two descriptors */
};

int  unri_descriptors_open(struct unri_descriptors *descriptors);
void unri_descriptors_close(struct unri_descriptors *descriptors);
/* Puts an operation that starts among its peers: those on private_fields.fd, or with two
 * `descriptors` on other_fd as well. */
void unri_peers_add(struct unr_loop *loop, struct unr_op *op, unsigned descriptors);
void unri_peers_remove(struct unr_loop *loop, struct unr_op *op);
/* The operation on `fd` that comes behind another; NULL begins, and ends. */
struct unr_op *unri_peers_next(struct unr_loop *loop, int fd, struct unr_op *behind);
/* Calls `visit` for every operation in flight, timers excepted.  It may start, cancel and finish
 * operations, which takes none off the lists: that is done just before their `done`. */
void unri_each_in_flight(const struct unr_loop *loop,
                         void (*visit)(struct unr_op *op, void *context), void *context);
/* Delivers a request to every operation on `fd` but `except`; how many were in flight. */
unsigned unri_request_fd(struct unr_loop *loop, int fd, struct unr_cancel_request request,
                         const struct unr_op *except);

static inline struct unri_bucket *unri_bucket(struct unri_descriptors *descriptors, int fd)
{
    return &descriptors->buckets[(size_t)fd & (descriptors->count - 1)];
}

/* ---- timers ---- */

struct unri_timer_entry {
    unr_time          deadline;
    struct unr_timer *timer;
};

/* Timers with the same delay, in the order of their deadlines; the first is in the heap. */
struct unri_timer_queue {
    unr_time          delay;
    struct unr_timer *last; /* NULL: empty */
};
enum { UNRI_TIMER_QUEUES = 16 };

struct unri_timers {
    struct unri_timer_entry *entries; /* a heap */
    size_t                   count, room;
    size_t                   mapped; /* bytes */
    uint64_t                 serial; /* of the last start or move: settles ties of deadlines */
    struct unri_timer_queue  queues[UNRI_TIMER_QUEUES];
};

bool unri_is_timer(const struct unr_op *op);
bool unri_is_delay(const struct unr_op *op);
int  unri_timers_open(struct unri_timers *timers);
void unri_timers_close(struct unri_timers *timers);
/* Ends some timers that are due and were started or moved no later than `serial`; true: there may
 * be more of them. */
bool unri_timers_expire(struct unr_loop *loop, uint64_t serial);
/* Requests the end of all timers, and lets those operations begin that are waiting for their time
 * and honour no request. */
void unri_timers_request_all(struct unr_loop *loop, struct unr_cancel_request request);

/* For what begins with a struct unr_timer without being one, whose type's `due` is called instead
 * of its end.  When it is due, set when it is described; on a start, the deadline that follows, and
 * whether that is past; then in among the timers (false: there is no room for it), moved, and
 * out. */
void unri_timer_set(struct unr_timer *timer, unr_time when, bool relative);
void unri_timer_resolve(struct unr_loop *loop, struct unr_timer *timer);
bool unri_timer_is_past(struct unr_loop *loop, const struct unr_timer *timer);
bool unri_timer_insert(struct unr_loop *loop, struct unr_timer *timer);
bool unri_timer_waits(const struct unr_timer *timer);
bool unri_timer_move(struct unr_loop *loop, struct unr_timer *timer, unr_time deadline);
void unri_timer_remove(struct unr_loop *loop, struct unr_timer *timer);
void unri_timers_each(const struct unr_loop *loop, void (*visit)(struct unr_op *op, void *context),
                      void                  *context);

/* The root of the heap is not at 0 but at 3, so that the children of i, 4 * (i - 3) + 4 ..., begin
 * at a multiple of 4 entries: 64 bytes. */
enum { UNRI_TIMER_ROOT = 3 };

/* The deadline that is due first; UNR_NEVER: none. */
static inline unr_time unri_timers_next(const struct unri_timers *timers)
{
    return timers->count ? timers->entries[UNRI_TIMER_ROOT].deadline : UNR_NEVER;
}

/* ---- the loop ---- */

/* A page that the kernel zeroes in a forked child: there `owner` is UNRI_FORKED. */
struct unri_guard {
    uintptr_t owner;
};
#define UNRI_FORKED  0 /* this process is a child of the one that opened the loop */
#define UNRI_UNOWNED 1 /* no thread has run it yet */

struct unri_inbox {
    _Atomic(struct unr_task *) pushed; /* by other threads, newest first */
    struct unr_task           *first;  /* taken over by the loop's thread, oldest first */
    struct unr_task           *last;
    atomic_bool sleeping; /* the loop waits, or may: the next who pushes wakes it and clears this */
    atomic_bool stop;
    atomic_uint holds;
};

struct unri_fifo {
    struct unr_op *first, *last;
};

struct unr_loop {
    struct unri_guard *guard;
    struct unri_ring  *ring;
    unr_time           now;     /* of this turn, once somebody has asked for it: unri_now() */
    uint32_t           turn_ms; /* the same in milliseconds, coarse: unri_turn_ms() */
    bool               now_known, turn_ms_known;
    unsigned           in_flight; /* outermost operations */
    unsigned           ran;       /* outermost `done` in this turn */
    bool               in_turn; /* between entering a turn and leaving it: user code runs inside */
    bool               closing;
    struct unri_fifo   finished;
    struct unri_fifo   handing_back; /* what was finished when this turn came to it */
    const struct unr_op *handed_to;  /* the combinator that is being given a child or member back */
    struct unr_stats     stats;
    struct unri_descriptors descriptors;
    struct unri_timers      timers;
    uint64_t                starts_left; /* while closing: how many starts are served yet */
    struct unri_inbox       inbox;

    /* The multishot operation whose shot is in its `done`.  Its result is the caller's to read
     * until that returns, so what becomes of requests is kept here meanwhile, with the one that is
     * to be passed on. */
    struct unr_op            *shot;
    struct unr_result         shot_saved;
    struct unr_cancel_request shot_request;

    int           wake_fd; /* an eventfd that other threads write to and `wake` reads */
    struct unr_op wake;
    uint64_t      wake_count;

    int           embed_fd;    /* -1, or the eventfd that unr_loop_fd() returned */
    struct unr_op alarm;       /* wakes embed_fd for the timer that is due first */
    int64_t       alarm_at[2]; /* a struct __kernel_timespec */
    unr_time      alarm_deadline;
};

/* Makes the loop the calling thread's, and its ring ready, if it is nobody's yet. */
int unri_loop_own(struct unr_loop *loop);
/* The time of this turn.  Reading the clock costs as much as half an operation, so it is read when
 * it is first asked for: by a timer or by the caller. */
unr_time unri_now(struct unr_loop *loop);
uint32_t unri_read_turn_ms(struct unr_loop *loop);
/* The time that delays count from: that of the turn, outside of one a fresh reading. */
unr_time unri_loop_time(struct unr_loop *loop);

void unri_inbox_run(struct unr_loop *loop);

static inline bool unri_inbox_has_tasks(const struct unr_loop *loop)
{
    return loop->inbox.first || atomic_load(&loop->inbox.pushed);
}

/* Before the last look into the inbox: whoever pushes behind that look wakes the loop.  Nobody but
 * who wakes it clears the mark, so that a loop without other threads pays for the barrier once. */
static inline void unri_inbox_announce_sleep(struct unr_loop *loop)
{
    if (!atomic_load_explicit(&loop->inbox.sleeping, memory_order_relaxed))
        atomic_store(&loop->inbox.sleeping, true);
}

static inline bool unri_inbox_take_stop(struct unr_loop *loop)
{
    return atomic_load_explicit(&loop->inbox.stop, memory_order_relaxed)
           && atomic_exchange(&loop->inbox.stop, false);
}

void unri_embed_begin(struct unr_loop *loop); /* before a turn: sets the alarm */
void unri_embed_end(struct unr_loop *loop);   /* after it: readable exactly if there is work left */
void unri_embed_notice(
    struct unr_loop *loop); /* something was started or requested outside a turn */

/* For ages and for repeated cancels. */
static inline uint32_t unri_turn_ms(struct unr_loop *loop)
{
    return loop->turn_ms_known ? loop->turn_ms : unri_read_turn_ms(loop);
}

/* ---- broken contracts ---- */

/* Ends the process: prints what was broken, the operation (may be NULL) and the rule. */
_Noreturn void unri_broken(const char *what, const struct unr_op *op, const char *rule);
_Noreturn void unri_wrong_thread(const struct unr_loop *loop);

static inline bool unri_is_owner(const struct unr_loop *loop)
{
    return loop->guard->owner == (uintptr_t)pthread_self();
}

/* One comparison: is this the thread of the loop, or is the loop nobody's yet? */
static inline void unri_check_thread(const struct unr_loop *loop)
{
    if (__builtin_expect(!unri_is_owner(loop), 0) && loop->guard->owner != UNRI_UNOWNED)
        unri_wrong_thread(loop);
}

static inline void unri_check_request(unsigned types, int cause)
{
    if (__builtin_expect(types == 0 || (types & ~UNR_CANCEL_ALL) != 0, 0))
        unri_broken("a request for types that do not exist", NULL,
                    "types is a mask of UNR_CANCEL_*, and not 0");
    if (__builtin_expect(cause >= 0, 0))
        unri_broken("a request whose cause is not negative", NULL,
                    "a cause is -ECANCELED, -ETIMEDOUT, or negative and one's own");
}

static inline unr_time unri_sum(unr_time a, unr_time b)
{
    unr_time sum;
    if (__builtin_add_overflow(a, b, &sum))
        return a > 0 ? UNR_NEVER : INT64_MIN;
    return sum;
}

static inline bool unri_outside_turn(const struct unr_loop *loop)
{
    return !loop->in_turn && loop->embed_fd >= 0;
}

#endif
