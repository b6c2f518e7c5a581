/* SPDX-License-Identifier: MIT */
/* Operations: how one is described, bound to a slot, started and cancelled, and what its result
 * says.  The operations themselves are in io.h, net.h, file.h, system.h and timer.h, and
 * operations that are made of other operations in compose.h, group.h and other headers.
 *
 * The words that all headers use:
 *   described        A function such as unr_read() has filled the operation in; nothing has begun.
 *   started          unr_start() or a combinator has handed the operation to a loop.
 *   in flight        The operation is started, and its `done` has not begun.
 *   lent             Memory or a descriptor is unring's and the kernel's to use; its owner keeps
 *                    it valid and leaves it alone.
 *   turn             One round of a loop: it submits, waits, and runs each `done` that is due.
 *   honoured         A request to cancel is honoured if the operation supports a type asked for.
 *   guarantee        What a cancellation promises about side effects: TERMINAL, PARTIAL or TOTAL.
 *   verdict          What became of the requests to cancel an operation: enum unr_verdict.
 *   broken contract  A mistake of the caller that endangers memory.  In every build, a function
 *                    that sees one prints the broken rule on standard error and calls abort().
 *                    The headers name those that functions look for.  Not seen are lent memory
 *                    that is written, moved or freed, a lent descriptor that is closed, and a
 *                    structure that was not zeroed: UNR_LOOP_CHECKS (loop.h) and the simulated
 *                    kernel (sim.h) find most of them.  Functions that change a loop or an
 *                    operation in flight see a wrong thread, and so does an emit that reaches an
 *                    operation; those that describe an operation do not, nor those of slots, states
 *                    and buffers.
 *   combinator       An operation that contains other operations, and starts them.  A child may be
 *                    a combinator, too, and so on; more than 1000, one in the other, are a broken
 *                    contract.
 *   child            An operation that a combinator contains.
 *   member           A child of a group or of a scope.
 *   wrapper          A combinator around exactly one child. */
#ifndef UNRING_OP_H
#define UNRING_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unring/cancel.h>

UNR_BEGIN

struct unr_loop;
struct unr_op;
struct unr_op_type;

/* ---- the result ---- */

/* What became of the requests to cancel an operation.  Where the operation honoured a request, the
 * verdict is about that request. */
enum unr_verdict {
    UNR_VERDICT_NONE,        /* no request reached the operation */
    UNR_VERDICT_UNSUBMITTED, /* cancelled before it began: the kernel never saw the operation */
    UNR_VERDICT_CANCELLED,   /* cancelled after it had begun, in the kernel or above the kernel */
    UNR_VERDICT_TOO_LATE,    /* the operation completed, or failed of its own, all the same */
    UNR_VERDICT_RUNNING,     /* the kernel was executing it, and it ran to its end */
    UNR_VERDICT_REFUSED,     /* the operation supports none of the types that were asked for */
};

/* The result of an operation.  An operation that has completed is never reported as cancelled, and
 * a count is valid whatever `error` says. */
struct unr_result {
    /* 0, or a negative errno; -ECANCELED exactly when a cancellation took effect.  With one
     * exception, which has the guarantee NONE: a timerfd reports to its unr_read() that the clock
     * was set, and what contains that read may fail with it.  The function of a fiber or of work
     * that returns -ECANCELED says itself that it was cancelled, also where nobody asked. */
    int error;
    /* The cause of the first request that was honoured; of work, of the first that its function was
     * told of; of what has cancelled itself, -ECANCELED.  Where none of these is: of the first that
     * came after completion, else of the last that was refused, else 0. */
    int cause;
    union {
        uint64_t bytes;  /* transferred so far, also on an error and on cancellation */
        uint32_t events; /* of unr_poll() */
        int64_t  value;  /* any other number: the Result of the operation says which */
    };
    int     fd;        /* a new descriptor, the caller's to close; -1: there is none */
    uint8_t requested; /* the types asked for from start to `done`, honoured or not */
    uint8_t guarantee; /* the one guarantee of the cancellation, which may be weaker than what the
                          operation supports: see its Cancels; NONE: it was not cancelled */
    uint8_t verdict;   /* enum unr_verdict */
    uint8_t flags;     /* UNR_MORE, or 0 */
};

/* In unr_result.flags: a multishot operation goes on, and `done` will run again.
 *
 * A multishot operation needs a `done`.  It may be bound to a slot, but it is given to no
 * combinator (a group, a scope, a deadline, a filter, a composed operation, a join): those wait for
 * one end.  Either is a broken contract. */
#define UNR_MORE 1

/* Returns the cause of a cancelled operation, and the error of any other.
 *
 * A time-out reads -ETIMEDOUT.  So does a failure with the kernel's own ETIMEDOUT, which a TCP
 * connection may end with; unr_timed_out() tells the two apart. */
UNR_API int unr_outcome(const struct unr_result *result);

/* Tells whether the operation was cancelled with cause -ETIMEDOUT.
 *
 * A deadline (deadline.h) gives that cause, and anybody else may. */
UNR_API bool unr_timed_out(const struct unr_result *result);

/* ---- the operation ---- */

/* Hears that an operation has ended.  It is called once for each start; for a multishot operation
 * once for each shot, the last time without UNR_MORE.
 *
 * op       the caller's again, unless its result says UNR_MORE: the operation, its buffers and its
 *          descriptors may be freed and closed, or described and started anew.
 * Inside   everything is allowed but running and closing the loop: unr_loop_run(),
 *          unr_loop_run_once() and unr_loop_close() are a broken contract there.
 * Returns  always.  If a longjmp(3), a C++ exception or a pthread_exit(3) leaves it, the loop is
 *          inside its turn for ever, and running or closing the loop is a broken contract.
 * Threads  the loop's, inside unr_loop_run(), unr_loop_run_once() or unr_loop_close(); never
 *          inside unr_start(), unr_cancel() or an emit. */
typedef void unr_done_fn(struct unr_op *op);

/* unring's own part of a `struct unr_op`: not to be read or written. */
struct unr_op_private {
    struct unr_loop *loop; /* on which it was started last */
    union {
        unr_done_fn   *done;       /* of an outermost operation: the caller's */
        struct unr_op *combinator; /* of a child: whose it is */
    };
    struct unr_slot *slot; /* to which it is bound; NULL: to none */
    struct unr_op   *next; /* the operation behind it, on the list that state and flags name */
    union {
        struct unr_op *peer;  /* the operation behind it on the same descriptor */
        uint64_t       order; /* of what waits among the timers: its turn there */
    };
    union {
        struct unr_op **peer_at;  /* the pointer to it on that list; NULL: it is on no such list */
        struct unr_op  *previous; /* among the timers: the one before it in its queue, or NULL */
    };
    uint32_t state;
    /* Flags; the types that it supports; how often something was sent again for it. */
    uint32_t flags;
    /* The arguments of a system call, where its SQE has them.  A timer has its deadline in place of
     * the two descriptors, and its place in the heap in call_flags. */
    int32_t  fd, other_fd;
    uint32_t length, call_flags;
    uint64_t address, offset;
};

/* One operation.
 *
 * Memory    the caller's, zeroed once, embedded where the operation is needed.  The structure
 *           stays where it is from its description until `done`.
 * Lent      from its start until `done`, with its buffers and its descriptors; also after a
 *           request to cancel it.
 * Repeated  it is described anew for each start.  Describing empties the result: a `done` that
 *           starts the operation again first takes its descriptor, if it has one, out of the
 *           result. */
struct unr_op {
    void                     *data;   /* as given to unr_start() */
    struct unr_result         result; /* valid in `done` and after it */
    const struct unr_op_type *type;   /* set by the function that describes it */
    struct unr_op_private     private_fields;
};

/* Finds the caller's structure of which `ptr` points to the member `member`. */
#define unr_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Binds a described operation to a slot: requests that arrive there reach it.
 *
 * described  described and not started; anything else is a broken contract.  A child that a
 *            combinator has not started yet may be bound, too.
 * slot       valid until `done`.  NULL takes an earlier binding back.
 * Lasts      for one start: the last binding wins, and describing again drops it.
 * Returns    `described`. */
UNR_API struct unr_op *unr_bind_slot(struct unr_op *described, struct unr_slot *slot);

/* Hands a described operation over to a loop.
 *
 * described  lent until `done`.  It is a broken contract to start an operation that is not
 *            described, one that is in flight, and one that a combinator contains.
 * done       runs once, later.  NULL is allowed: the caller then looks at unr_in_flight(), and at
 *            the result, in which a descriptor stays.
 * data       the caller's: in `op->data` when `done` runs.
 * Errors     none here: wrong arguments of an operation arrive in its result.
 * Memory     allocates nothing.
 * Inside     any `done`, task, handler, condition, filter and step.
 * Threads    the loop's; any one thread before the loop has first run. */
UNR_API void unr_start(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done,
                       void *data);

/* Requests cancellation of one operation, with cause -ECANCELED.
 *
 * op       needs no slot.  A child or member in flight is allowed, too.
 * types    the guarantees that the requester accepts: a mask of UNR_CANCEL_*.  0 and bits outside
 *          UNR_CANCEL_ALL are a broken contract.
 * Returns  true for an operation in flight, whether it honours the request, refuses it, has
 *          completed, or was asked before: the result will tell.  False for an operation that is
 *          idle, described, or in its `done`.
 * Cost     no system call of its own: the loop's next turn tells the kernel.
 * Inside   any `done`, task, handler, condition, filter and step.  It runs no `done`.
 * Threads  the loop's. */
UNR_API bool unr_cancel(struct unr_op *op, unsigned types);

/* Requests cancellation of one operation, with a cause.
 *
 * op       needs no slot.  A child or member in flight is allowed, too.
 * types    the guarantees that the requester accepts: a mask of UNR_CANCEL_*.  0 and bits outside
 *          UNR_CANCEL_ALL are a broken contract.
 * cause    why: negative, for unr_result.cause.  0 and above is a broken contract.
 * Returns  true for an operation in flight, whether it honours the request, refuses it, has
 *          completed, or was asked before: the result will tell.  False for an operation that is
 *          idle, described, or in its `done`.
 * Cost     no system call of its own: the loop's next turn tells the kernel.
 * Inside   any `done`, task, handler, condition, filter and step.  It runs no `done`.
 * Threads  the loop's. */
UNR_API bool unr_cancel_cause(struct unr_op *op, unsigned types, int cause);

/* Requests cancellation of every operation in flight on a descriptor.
 *
 * fd       either descriptor of an operation that has two.  Below 0 nothing is asked.
 * Number   operations are known by the number of their descriptor.  If that was closed with some in
 *          flight, and given to another file, the operations on both are asked.
 * types    as for unr_cancel(): a mask of UNR_CANCEL_*, not 0.  The cause is -ECANCELED.
 * Reaches  system calls, children and members too, and unr_sqe() once it is submitted.
 * Returns  how many operations honoured the request, for the first time or again; one that had
 *          completed does not count.
 * Cost     nothing for operations on other descriptors.  But where `fd` is one of the two
 *          descriptors of an operation (splice, tee, renameat, linkat), all operations on two
 *          descriptors are looked at.
 * Inside   any `done`, task, handler, condition, filter and step.  It runs no `done`.
 * Threads  the loop's. */
UNR_API unsigned unr_cancel_fd(struct unr_loop *loop, int fd, unsigned types);

/* Tells whether an operation is in flight.
 *
 * It is from its start until just before its `done`, or for a multishot operation its last `done`.
 * Inside that `done` the answer is false. */
UNR_API bool unr_in_flight(const struct unr_op *op);

/* Returns the types that a described or started operation honours.
 *
 * Returns  a mask of UNR_CANCEL_*; 0: the operation refuses every request. */
UNR_API unsigned unr_supports(const struct unr_op *op);

/* Returns the loop of an operation that is in flight or in its `done`. */
UNR_API struct unr_loop *unr_loop_of(const struct unr_op *started);

/* ---- operation types of one's own ---- */

struct unri_lent_visitor;

/* unring's own part of a `struct unr_op_type`: not to be read or written. */
struct unr_op_type_private {
    const struct unri_combinator *combinator; /* NULL: operations of this type have no children */
    void (*peer_left)(struct unr_op *op);     /* another operation on its descriptor has left */
    /* Visits the memory that is lent to an operation which waits in user space; NULL: none is. */
    void (*lend)(const struct unr_op *op, const struct unri_lent_visitor *visitor);
    /* Returns what else unr_explain_op() is to say of an operation that has failed, or was
     * cancelled under TERMINAL; NULL: nothing. */
    const char *(*explain)(const struct unr_op *ended);
    uint8_t kind;        /* enum unri_kind; 0: a caller's own type */
    uint8_t descriptors; /* on how many it works: none, fd, or fd and other_fd */
};

/* A kind of operation: static, and shared by all operations of the kind.  unring has types for its
 * system calls, timers and combinators.  An operation of a caller's own type is described with
 * unr_describe() and ended with unr_finish(). */
struct unr_op_type {
    uint32_t    size;     /* of this structure; members behind it are taken for 0 */
    uint32_t    supports; /* UNR_CANCEL_*: its strongest guarantee and all weaker ones */
    const char *name;     /* a verb, for messages */
    /* Begins the operation: called when unr_start() or a combinator starts it.  It may call
     * unr_finish(). */
    void (*start)(struct unr_op *op);
    /* Hears of a request that the operation honours, while it is in flight; of a further request
     * only if that has a type, among those supported, that was not asked for before.  It may call
     * unr_finish() with -ECANCELED at once or later, or let the operation complete all the same.
     * Not called where `supports` is UNR_CANCEL_NONE. */
    void (*cancel)(struct unr_op *op, struct unr_cancel_request request);
    /* Returns the name of one operation of the kind, or NULL for that of the kind.  NULL: each has
     * the name of the kind. */
    const char *(*name_of)(const struct unr_op *op);
    struct unr_op_type_private private_fields;
};

/* Describes `op` as an operation of the caller's own type.
 *
 * type     static; its `start` is called when the operation is started.
 * Result   begins with 0 bytes and descriptor -1; the type may set bytes, value and fd until it
 *          calls unr_finish().
 * Cancels  the strongest guarantee of type->supports: `cancel` is called, and decides.  An
 *          operation that its type finishes with -ECANCELED was cancelled under that guarantee, or
 *          under the one that the type has put into result.guarantee.
 * Broken   describing an operation in flight is a broken contract.
 * Returns  `op`.
 * Source   tests/test_op.c, own_type_*. */
UNR_API struct unr_op *unr_describe(struct unr_op *op, const struct unr_op_type *type);

/* Says that an operation of the caller's own type has ended.
 *
 * started  in flight, of a type that was given to unr_describe().  Anything else, and a second
 *          call for one start, is a broken contract.
 * error    0 or a negative errno, -ECANCELED where a cancellation took effect; above 0 is a broken
 *          contract.
 * Result   unring sets verdict, requested and cause, and for -ECANCELED the guarantee, unless the
 *          type has set that.
 * Done     runs later, in this turn of the loop or in the next; never inside this call.
 * Inside   any `done`, task, handler, condition, filter and step; also `start` and `cancel` of the
 *          type.
 * Threads  the loop's. */
UNR_API void unr_finish(struct unr_op *started, int error);

UNR_END
#endif
