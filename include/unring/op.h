/* Operations: how one is described, bound to a slot, started and cancelled, and what its result
 * says.  The operations themselves are in io.h, net.h, file.h, system.h and timer.h. */
#ifndef UNRING_OP_H
#define UNRING_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unring/cancel.h>

UNR_BEGIN

struct unr_loop;
struct unr_op;

/* The fate of the request that was honoured; REFUSED only when none was. */
enum unr_verdict {
    UNR_VERDICT_NONE,        /* no request reached it */
    UNR_VERDICT_UNSUBMITTED, /* cancelled before it began: the kernel never saw it */
    UNR_VERDICT_CANCELLED,   /* cancelled after it had begun, in the kernel or above it */
    UNR_VERDICT_TOO_LATE,    /* it had completed already */
    UNR_VERDICT_RUNNING,     /* it was executing and ran to its end (the kernel said EALREADY) */
    UNR_VERDICT_REFUSED,     /* it supports none of the types asked for */
};

/* What completed is never reported as cancelled, and a count is valid whatever `error` says. */
struct unr_result {
    int error; /* 0, or a negative errno; -ECANCELED exactly when a cancellation took effect */
    int cause; /* of the first request honoured; if none was, of the last one refused; else 0 */
    union {
        uint64_t bytes;  /* transferred so far, also on error and on cancellation */
        uint32_t events; /* poll */
        int64_t  value;  /* everything else */
    };
    int     fd;        /* accept, open, socket: the caller's to close; -1 unless one was produced */
    uint8_t requested; /* mask: the types asked for while it ran, honoured or not */
    uint8_t guarantee; /* what it was cancelled under, one bit; NONE when it was not */
    uint8_t verdict;   /* enum unr_verdict */
    uint8_t flags;     /* UNR_MORE: a multishot operation goes on, and `done` runs again */
};
#define UNR_MORE 1

/* One number to test: the cause if the operation was cancelled, otherwise the error.  A time-out
 * reads -ETIMEDOUT here and no other cancellation does; the kernel's own ETIMEDOUT, of a TCP
 * connection, reads the same. */
UNR_API int unr_outcome(const struct unr_result *result);

/* Whether it was cancelled, and the cause is -ETIMEDOUT: a deadline's. */
UNR_API bool unr_timed_out(const struct unr_result *result);

/* Called once for each start (a multishot operation: once per shot, the last without UNR_MORE), on
 * the loop's thread from within unr_loop_run(), unr_loop_run_once() or unr_loop_close(), never
 * inside unr_start(), unr_cancel() or an emit.  Inside it the operation is the caller's again,
 * unless its result says UNR_MORE: its memory and its buffers may be freed, or described and
 * started anew. */
typedef void unr_done_fn(struct unr_op *op);

/* unring's own part of a `struct unr_op_type`: not to be read or written. */
struct unr_op_type_private {
    const struct unri_combinator *combinator; /* NULL: it has no children */
    /* Another operation on the descriptor of a cancel_close has left. */
    void (*peer_left)(struct unr_op *op);
    uint8_t kind;        /* enum unri_kind; 0: a caller's own */
    uint8_t descriptors; /* how many it works on: none, fd, or fd and other_fd */
};

/* A kind of operation.  Static; shared by all operations of the kind.  unring's own are its system
 * calls and timers; a caller's own is described with unr_describe() and ended with unr_finish(). */
struct unr_op_type {
    uint32_t size; /* of this structure */
    uint32_t
        supports;     /* UNR_CANCEL_*, copied into each operation, where describing may narrow it */
    const char *name; /* for messages: a verb */
    /* Begins the operation; called from unr_start().  May call unr_finish(). */
    void (*start)(struct unr_op *op);
    /* A request that `supports` honours, while the operation is in flight; asked again only for
     * types that were not asked for before.  May call unr_finish(), or do so later, or complete all
     * the same. */
    void (*cancel)(struct unr_op *op, struct unr_cancel_request request);
    /* The operation's own name where it differs from its type's; NULL if it never does. */
    const char *(*name_of)(const struct unr_op *op);
    struct unr_op_type_private private_fields;
};

/* unring's own part of an operation: not to be read or written. */
struct unr_op_private {
    struct unr_loop *loop;
    union {
        unr_done_fn   *done;       /* the caller's */
        struct unr_op *combinator; /* of a child: whose it is */
    };
    struct unr_slot *slot;
    struct unr_op   *next;    /* behind this one on the list that `state` and `flags` name */
    struct unr_op   *peer;    /* behind this one among those in flight on its descriptor */
    struct unr_op  **peer_at; /* what points at this one there; NULL: on no such list */
    uint32_t         state;
    uint32_t         flags; /* and what it supports, and the cancels that had no effect */
    int32_t          fd, other_fd;
    uint32_t         length, call_flags;
    uint64_t         address, offset;
};

/* One operation.  The structure is the caller's: zeroed once, embedded where it is needed,
 * described anew for each start, never moved between start and `done`.  In between, it, its buffers
 * and its descriptors are lent to unring, also after a cancellation was asked for.  Describing
 * empties the result: in a `done` that starts the operation anew, take out of it (a descriptor,
 * say) first. */
struct unr_op {
    void                     *data;   /* as given to unr_start() */
    struct unr_result         result; /* valid in `done` and after */
    const struct unr_op_type *type;
    struct unr_op_private     private_fields;
};

/* The structure of the caller's that `ptr` is the member `member` of. */
#define unr_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Hands a described operation over to the loop.
 *
 * described  what a describing function returned.  Describing or starting what is in flight,
 *            starting a description twice and starting what a combinator holds are broken
 *            contracts.
 * done       runs once, later; NULL is allowed: then the caller looks at unr_in_flight() and the
 *            result, and what the result owns stays in it.
 * data       the caller's, in op->data when `done` runs.
 * Errors     none here: what is wrong with the arguments arrives in the result.
 * Memory     allocates nothing.
 * Threads    the loop's; any one thread before the loop has first run. */
UNR_API void unr_start(struct unr_loop *loop, struct unr_op *described, unr_done_fn *done,
                       void *data);

/* Associates a slot with a described operation: at start the operation's handler goes into it.  The
 * last binding wins, describing again drops it, binding what is in flight is a broken contract.
 * Returns the operation. */
UNR_API struct unr_op *unr_bind_slot(struct unr_op *described, struct unr_slot *slot);

/* Requests cancellation of one operation, without a slot.
 *
 * types    mask of UNR_CANCEL_*; 0 or a bit outside UNR_CANCEL_ALL is a broken contract.
 * cause    negative; unr_cancel() gives -ECANCELED.
 * Returns  true from start until just before `done`, whether the request was honoured, refused, too
 *          late or a repetition: the result will tell.  False for what is idle, described, or in
 *          its `done`.
 * Threads  the loop's.  Runs no `done`; costs no system call of its own. */
UNR_API bool unr_cancel(struct unr_op *op, unsigned types);
UNR_API bool unr_cancel_cause(struct unr_op *op, unsigned types, int cause);

/* True from start until just before `done`. */
UNR_API bool unr_in_flight(const struct unr_op *op);

/* The types that a described or started operation honours. */
UNR_API unsigned unr_supports(const struct unr_op *op);

/* unr_cancel() for every operation in flight on the descriptor `fd`, as either descriptor where it
 * has two.  Returns how many that unr_cancel() would have answered true to.
 * Cost     nothing for operations on other descriptors, except that where `fd` is one of the two
 *          descriptors of an operation (splice, tee, renameat, linkat), all such operations are
 *          looked at.
 * Threads  the loop's. */
UNR_API unsigned unr_cancel_fd(struct unr_loop *loop, int fd, unsigned types);

/* ---- operation types of one's own ---- */

/* Describes `op` as an operation of `type`.  Returns it.  The result begins as 0 bytes and
 * descriptor -1; the type may set bytes, value and fd while it runs. */
UNR_API struct unr_op *unr_describe(struct unr_op *op, const struct unr_op_type *type);

/* The loop of an operation in flight. */
UNR_API struct unr_loop *unr_loop_of(const struct unr_op *started);

/* Says that an operation of a caller's own type has completed, with 0 or a negative errno; `done`
 * runs in the loop's next turn, never inside this call.  Legal inside the type's start and cancel.
 * unring sets verdict, requested and cause, and for -ECANCELED the guarantee, unless the type has.
 * Threads  the loop's. */
UNR_API void unr_finish(struct unr_op *started, int error);

UNR_END
#endif
