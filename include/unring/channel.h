/* SPDX-License-Identifier: MIT */
/* Channels: values go from senders to receivers, in the order in which they were sent, on one loop.
 * A channel holds up senders that are faster than its receivers.
 *
 * To send and to receive are operations like any other, which wait in user space; what sync.h says
 * of its operations holds for them, too: first come, first served, in time that does not depend on
 * how many wait, without memory or system calls of their own.  Nothing is lost by a cancellation: a
 * value is received once, or its sender is told that it was not. */
#ifndef UNRING_CHANNEL_H
#define UNRING_CHANNEL_H

#include <unring/sync.h>

UNR_BEGIN

/* unring's own part of a `struct unr_channel`: not to be read or written. */
struct unr_channel_private {
    struct unr_line senders, receivers; /* the operations that wait */
    unsigned char  *storage;
    size_t          size, capacity; /* of a value; how many there is room for */
    size_t          oldest, count;  /* of the values in the storage */
    bool            closed;
};

/* A channel.
 *
 * Memory   the caller's, 80 bytes: where it is from unr_channel_init() until nobody uses it any
 *          more.  There is nothing to free. */
struct unr_channel {
    struct unr_channel_private private_fields;
};

/* Makes a channel that is open and empty.
 *
 * channel   nobody waits for it: whoever does is forgotten, and its operation never ends.
 * storage   room for `capacity` values, the caller's, as long as the channel is used.
 * size      of a value in bytes.  0 is allowed: then only the number of values matters.
 * capacity  how many values may have been sent and not received.  0: `storage` is NULL, and each
 *           sender waits for a receiver.
 * Broken    a capacity without storage is a broken contract, unless the size is 0.
 * Threads   the loop's. */
UNR_API void unr_channel_init(struct unr_channel *channel, void *storage, size_t size,
                              size_t capacity);

/* Sends a value: hands it to a receiver that waits, or puts it into the storage.
 *
 * waiter   lent until `done`.
 * value    `size` bytes, lent until `done`: they are copied when the operation ends.
 * Result   error 0: the value was received, or is in the storage for a later receiver.
 * Cancels  TOTAL: the value was not sent, and is still the caller's.  Where it was sent before the
 *          request, the request is TOO_LATE.
 * Errors   -EPIPE: the channel was closed, before the start or while the sender waited, and the
 *          value is still the caller's.
 * Memory   allocates nothing.
 * Returns  `&waiter->op`.
 * Threads  the loop's.
 * Source   tests/test_channel.c. */
UNR_API struct unr_op *unr_channel_send(struct unr_waiter *waiter, struct unr_channel *channel,
                                        const void *value);

/* Receives the oldest value, or waits for one.
 *
 * waiter     lent until `done`.
 * ret_value  room for `size` bytes, lent until `done`.
 * Result     value: 1, and the value is in `*ret_value`; 0: the channel is closed, and all that was
 *            sent has been received.
 * Cancels    TOTAL: nothing was received.  A value that came before the request has been received,
 *            and the request is TOO_LATE.  That holds in a group, too: of two receives in an
 *            unr_any(), both may have a value, so look at both; unr_channel_select() receives
 *            exactly one.  And it holds for a loop that is being closed.
 * Memory     allocates nothing.
 * Returns    `&waiter->op`.
 * Threads    the loop's.
 * Source     tests/test_channel.c. */
UNR_API struct unr_op *unr_channel_receive(struct unr_waiter *waiter, struct unr_channel *channel,
                                           void *ret_value);

/* Sends a value if that is possible at once.
 *
 * value    `size` bytes, which are copied.
 * Returns  0: the value was received, or is in the storage.  -EAGAIN: there is no room, and no
 *          receiver that waits.  -EPIPE: the channel is closed.
 * Order    the senders that wait are not overtaken: where one waits there is no room.
 * Inside   any `done`, task, handler, condition, filter and step.  It runs no `done`.
 * Threads  the loop's. */
UNR_API int unr_channel_try_send(struct unr_channel *channel, const void *value);

/* Receives the oldest value if there is one.
 *
 * ret_value  room for `size` bytes; untouched unless 1 is returned.
 * Returns    1: a value is in `*ret_value`.  0: the channel is closed, and all that was sent has
 *            been received.  -EAGAIN: there is none, and no sender that waits.
 * Order      the receivers that wait are not overtaken: where one waits there is no value.
 * Inside     any `done`, task, handler, condition, filter and step.  It runs no `done`.
 * Threads    the loop's. */
UNR_API int unr_channel_try_receive(struct unr_channel *channel, void *ret_value);

/* Closes a channel: nobody sends any more.
 *
 * Senders    that wait end with -EPIPE, and keep their values.
 * Receivers  that wait end with value 0.  Later receivers first get the values in the storage.
 * Again      to close a closed channel does nothing.
 * Inside     any `done`, task, handler, condition, filter and step.  It runs no `done`.
 * Threads    the loop's. */
UNR_API void unr_channel_close(struct unr_channel *channel);

/* Returns how many values are in the storage: sent, and not received. */
UNR_API size_t unr_channel_count(const struct unr_channel *channel);

/* ---- one of several ---- */

/* One of the sends and receives among which unr_channel_select() chooses: `channel`, and `send` or
 * `receive`, are the caller's to set, the others unring's. */
struct unr_channel_case {
    struct unr_channel       *channel;
    const void               *send;    /* the value to send; NULL: this case receives */
    void                     *receive; /* the room for a value to receive */
    bool                      closed;  /* it is this case because its channel is closed */
    struct unr_waiter_private private_fields;
};

/* A choice among sends and receives, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_select {
    struct unr_op op;
};

/* Does exactly one of several sends and receives.
 *
 * cases    `n` of them, lent until `done`, with their values and rooms.  Several may be of one
 *          channel.
 * Order    of several that are possible at the start, the first in the array is done.  If none is
 *          possible then, the case is done that becomes possible first.
 * Result   value: the index of the case that was done.  `closed` of that case tells that nothing
 *          was sent or received, because its channel is closed; it is false in all others.
 * Cancels  TOTAL: none of them was done.  Where one was done before the request, the request is
 *          TOO_LATE.
 * Errors   -EPIPE: the case is a send, and its channel is closed; value is its index all the same.
 *          -EINVAL: `n` is 0.
 * Cost     each start and end takes time in proportion to `n`.
 * Memory   allocates nothing.
 * Returns  `&select->op`.
 * Threads  the loop's.
 * Source   tests/test_channel.c. */
UNR_API struct unr_op *unr_channel_select(struct unr_select *select, struct unr_channel_case *cases,
                                          unsigned n);

UNR_END
#endif
