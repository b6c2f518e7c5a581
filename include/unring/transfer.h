/* SPDX-License-Identifier: MIT */
/* Transfers: as many reads or writes on a stream, one after another, as it takes to move all of
 * the bytes, or as many as a condition asks for.  A single read or write is unr_read_some() or
 * unr_write_some() of stream.h.
 *
 * What holds for every transfer here:
 *   Memory    The transfer is the caller's: zeroed once, and where it is from its description
 *             until `done`.  Nothing is allocated.
 *   Lent      The stream, the bytes and an array of pieces, from the description until `done`,
 *             also after a request to cancel.  The array is not written to.  It may be of any
 *             length, and pieces may be empty.
 *   Result    bytes: how many were transferred so far, kept up to date, and right whatever `error`
 *             says.  error: 0 if the goal was reached, or the memory is used up; also if a
 *             cancellation was asked for meanwhile, or if a layer's last step failed after it had
 *             moved the bytes that were missing.
 *   Cancels   A request ends the step in flight, and each later step before it begins: it is not
 *             lost between two steps.
 *   Errors    Those of recv(2), send(2), read(2) and write(2), or the layer's.  -EOPNOTSUPP: the
 *             stream cannot be read, or not be written to.  -ENODATA: the stream ended before the
 *             goal was reached.  -EIO: a write moved nothing, and said no more.
 *   Empty     A transfer without room for a byte ends with 0 bytes and error 0, by way of `done`,
 *             without a system call.
 *   Cost      A step moves up to 16 pieces.  If one of these is empty, was moved in part before or
 *             is cut off by the condition, the step moves the pieces before that one, or 4 pieces
 *             if they are fewer.
 *   SIGPIPE   It never comes from a socket; from a pipe as unr_write() says.
 *   Threads   The loop's.
 *   Source    tests/test_transfer.c. */
#ifndef UNRING_TRANSFER_H
#define UNRING_TRANSFER_H

#include <unring/compose.h>
#include <unring/stream.h>

UNR_BEGIN

/* Says how many bytes the next step of a transfer may move at most.
 *
 * It is called before the first step, with error 0 and bytes 0, and after each step.  A step of a
 * layer that moved bytes and failed counts as two: the condition is called for the bytes, with
 * error 0, and then for the error.
 *
 * context  as given to unr_transfer_while().
 * error    of the step that has ended.
 * bytes    how many were transferred so far.
 * Returns  how many bytes the next step may move, however many there is room for.  0: the transfer
 *          ends, with `error`.  After an error any other answer is to try again, except after
 *          -ECANCELED, -ENODATA and the -EIO of a write that moved nothing: these end the
 *          transfer.
 * Inside   it may emit, cancel and start operations.
 * Threads  the loop's: the first call where the transfer is started, the others inside turns. */
typedef size_t unr_condition_fn(void *context, int error, size_t bytes);

/* Which way a transfer goes. */
enum unr_direction { UNR_READ, UNR_WRITE };

/* How many pieces one step moves at most. */
enum { UNR_TRANSFER_PIECES = 16 };

/* unring's own part of a `struct unr_transfer`: not to be read or written. */
struct unr_transfer_private {
    struct unr_compose  compose;
    struct unr_stream  *stream;
    unr_condition_fn   *condition;
    void               *context;
    struct iovec        first;       /* what is left of the piece that is next; 0 bytes: nothing */
    const struct iovec *behind;      /* the caller's pieces behind that one ... */
    unsigned            behind_left; /* ... and how many they are */
    enum unr_direction  direction;
    size_t              asked;     /* how many bytes the step in flight may move */
    struct iovec        window[4]; /* lent to a step that cannot be lent the caller's array */
    struct unr_some     some;
};

/* A transfer, which is an operation. */
struct unr_transfer {
    union {
        struct unr_op               op;
        struct unr_transfer_private private_fields;
    };
};

/* Writes all `len` bytes of `buf`.
 *
 * Result   bytes: `len`; on an error and on cancellation how many were written.
 * Cancels  PARTIAL: the first `bytes` of `buf` were written, and no more; the next transfer can go
 *          on behind them.
 * Errors   those of every transfer, at the top of this header.
 * Returns  `&transfer->op`. */
UNR_API struct unr_op *unr_write_all(struct unr_transfer *transfer, struct unr_stream *stream,
                                     const void *buf, size_t len);

/* Reads exactly `len` bytes into `buf`.
 *
 * Result   bytes: `len`; on an error and on cancellation how many were read.
 * Cancels  PARTIAL: the first `bytes` of `buf` were read, and no more was taken from the stream;
 *          the next transfer can go on behind them.
 * Errors   those of every transfer, at the top of this header; -ENODATA: the stream ended before.
 * Returns  `&transfer->op`. */
UNR_API struct unr_op *unr_read_exact(struct unr_transfer *transfer, struct unr_stream *stream,
                                      void *buf, size_t len);

/* Reads until at least `at_least` bytes are in `buf`, and up to `len`.
 *
 * at_least  0 reads nothing; more than `len` counts as `len`.
 * Result    bytes: how many were read.  More than `at_least` if the last step found more.
 * Cancels   PARTIAL: the first `bytes` of `buf` were read, and no more was taken from the stream;
 *           the next transfer can go on behind them.
 * Errors    those of every transfer, at the top of this header; -ENODATA: the stream ended before.
 * Returns   `&transfer->op`. */
UNR_API struct unr_op *unr_read_at_least(struct unr_transfer *transfer, struct unr_stream *stream,
                                         void *buf, size_t len, size_t at_least);

/* Writes all bytes of `n` pieces of memory, one piece after another.
 *
 * iov      any number of pieces, empty ones among them; lent until `done`.
 * Result   bytes: all; on an error and on cancellation how many were written.
 * Cancels  PARTIAL: the first `bytes` of the pieces were written, and no more; the next transfer
 *          can go on behind them.
 * Errors   those of every transfer, at the top of this header.
 * Returns  `&transfer->op`. */
UNR_API struct unr_op *unr_writev_all(struct unr_transfer *transfer, struct unr_stream *stream,
                                      const struct iovec *iov, unsigned n);

/* Reads until `n` pieces of memory are full, one piece after another.
 *
 * iov      any number of pieces, empty ones among them; lent until `done`.
 * Result   bytes: all; on an error and on cancellation how many were read.
 * Cancels  PARTIAL: the first `bytes` of the pieces were read, and no more was taken from the
 *          stream; the next transfer can go on behind them.
 * Errors   those of every transfer, at the top of this header; -ENODATA: the stream ended before.
 * Returns  `&transfer->op`. */
UNR_API struct unr_op *unr_readv_exact(struct unr_transfer *transfer, struct unr_stream *stream,
                                       const struct iovec *iov, unsigned n);

/* Reads into `n` pieces of memory, or writes them, as long as a condition says.
 *
 * direction  UNR_READ or UNR_WRITE.
 * iov        any number of pieces, empty ones among them; lent until `done`.
 * condition  one of unr_transfer_*() below, or the caller's own.  No more is moved than there is
 *            room for, whatever it returns.
 * context    `condition` is called with it; lent until `done`.
 * Result     bytes: how many were transferred.
 * Cancels    PARTIAL: the first `bytes` of the pieces were transferred, and no more; the next
 *            transfer can go on behind them.
 * Errors     those of every transfer, at the top of this header; the condition may go on after an
 *            error.
 * Returns    `&transfer->op`. */
UNR_API struct unr_op *unr_transfer_while(struct unr_transfer *transfer, struct unr_stream *stream,
                                          enum unr_direction direction, const struct iovec *iov,
                                          unsigned n, unr_condition_fn *condition, void *context);

/* Goes on until the memory is used up: a condition.
 *
 * context  is not looked at.
 * Error    it ends the transfer. */
UNR_API size_t unr_transfer_all(void *context, int error, size_t bytes);

/* Goes on until at least so many bytes are transferred: a condition.
 *
 * context  how many: (void *)(uintptr_t)count.
 * Error    it ends the transfer. */
UNR_API size_t unr_transfer_at_least(void *context, int error, size_t bytes);

/* Goes on until exactly so many bytes are transferred: a condition.
 *
 * context  how many: (void *)(uintptr_t)count.
 * Error    it ends the transfer. */
UNR_API size_t unr_transfer_exactly(void *context, int error, size_t bytes);

UNR_END
#endif
