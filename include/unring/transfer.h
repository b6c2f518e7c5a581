/* Transfers: as many reads or writes on a stream, one after another, as it takes to move all of the
 * bytes, or those that a condition asks for.  A single read or write is unr_read_some() and
 * unr_write_some() in stream.h.
 *
 * What holds for every transfer here:
 *   Lent      the stream, the memory and an array of pieces, from describing until `done` runs,
 *   also after a cancellation was
 *             asked for.  The array is not written to.  An array may be of any length and pieces
 *             may be empty.
 *   Result    bytes: transferred so far, kept up to date, and right whatever `error` says.  error:
 *   0 if the goal was reached
 *             or the memory is used up - though a cancellation was asked for, or a layer's last
 *             step failed after moving what was missing.
 *   Cancels   PARTIAL: `bytes` were transferred, in order, and no more; the next transfer can go on
 *   behind them.  A request
 *             ends the step in flight and each later one before it begins, so none is lost between
 *             two steps.
 *   Errors    as recv(2), send(2), read(2) and write(2) or the layer's; -EOPNOTSUPP where a layer
 *   has no such direction.
 *             -ENODATA: the stream ended before the goal was reached.  -EIO: a write moved nothing,
 *             and said no more.
 *   Empty     what has no room for a byte ends at once, with 0 and 0 bytes: by way of `done`,
 *   without a system call.  SIGPIPE   none on sockets; on pipes see unr_write().
 *   Memory    allocates nothing.
 *   Threads   the loop's.
 *   Source    lib/transfer.c; tests/test_transfer.c. */
#ifndef UNRING_TRANSFER_H
#define UNRING_TRANSFER_H

#include <unring/compose.h>
#include <unring/stream.h>

UNR_BEGIN

/* How many bytes the next step may move at most; 0: the transfer ends.  Asked before the first
 * step, with (0, 0), and after each one, with that step's error and the bytes transferred so far.
 * (A step of a layer's that moved bytes and failed counts as two: it is asked about the bytes with
 * error 0, then about the error.)
 *
 * Ending after an error, the transfer has that error.  An answer but 0 to an error is to try again,
 * except where there is nothing to go on with: -ECANCELED, -ENODATA (the stream ended before), and
 * -EIO for a write that moved nothing.
 * Threads  the loop's; first inside unr_start(), then inside turns.  It may emit and start
 *          operations. */
typedef size_t unr_condition_fn(void *context, int error, size_t bytes);

/* Asio's three: until the memory is used up, `context` is not looked at; until at least, and until
 * exactly so many bytes were transferred, `context` is (void *)(uintptr_t)bytes.  Each ends at an
 * error. */
UNR_API size_t unr_transfer_all(void *context, int error, size_t bytes);
UNR_API size_t unr_transfer_at_least(void *context, int error, size_t bytes);
UNR_API size_t unr_transfer_exactly(void *context, int error, size_t bytes);

enum unr_direction { UNR_READ, UNR_WRITE };

enum { UNR_TRANSFER_PIECES = 16 }; /* at most in one step */

/* unring's own part of a `struct unr_transfer`: not to be read or written. */
struct unr_transfer_private {
    struct unr_compose  compose;
    struct unr_stream  *stream;
    unr_condition_fn   *condition;
    void               *context;
    const struct iovec *pieces; /* `count` of them are not used up, and of the first */
    size_t              used;   /* so many bytes are */
    size_t              asked;  /* of the step in flight */
    unsigned            count;
    enum unr_direction  direction;
    struct iovec        whole; /* where there is no array */
    struct iovec        window[UNR_TRANSFER_PIECES];
    struct unr_some     some;
};

struct unr_transfer {
    union {
        struct unr_op               op;
        struct unr_transfer_private private_fields;
    };
};

/* Writes all `len` bytes of `buf`.  On cancellation or error the first `bytes` of them were
 * written. */
UNR_API struct unr_op *unr_write_all(struct unr_transfer *transfer, struct unr_stream *stream,
                                     const void *buf, size_t len);

/* Reads exactly `len` bytes into `buf`.  On cancellation or error `bytes` of them are in there, and
 * none behind them was taken from the stream. */
UNR_API struct unr_op *unr_read_exact(struct unr_transfer *transfer, struct unr_stream *stream,
                                      void *buf, size_t len);

/* Reads until at least `at_least` bytes are in `buf`, and up to `len` if they are there with the
 * last of those.
 * at_least  beyond `len` it counts as `len`; 0 reads nothing.
 * Otherwise as unr_read_exact(). */
UNR_API struct unr_op *unr_read_at_least(struct unr_transfer *transfer, struct unr_stream *stream,
                                         void *buf, size_t len, size_t at_least);

/* unr_write_all() and unr_read_exact() with the memory in `n` pieces. */
UNR_API struct unr_op *unr_writev_all(struct unr_transfer *transfer, struct unr_stream *stream,
                                      const struct iovec *iov, unsigned n);
UNR_API struct unr_op *unr_readv_exact(struct unr_transfer *transfer, struct unr_stream *stream,
                                       const struct iovec *iov, unsigned n);

/* Reads into the `n` pieces, or writes what is in them, for as long as a condition says.
 * condition  one of unring's or the caller's own; `context` is passed to it, and lent until `done`
 *            runs.  It never gets more moved than there is room for. */
UNR_API struct unr_op *unr_transfer_while(struct unr_transfer *transfer, struct unr_stream *stream,
                                          enum unr_direction direction, const struct iovec *iov,
                                          unsigned n, unr_condition_fn *condition, void *context);

UNR_END
#endif
