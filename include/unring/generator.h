/* SPDX-License-Identifier: MIT */
/* Generators: fibers (fiber.h) that hand over one value after another to whoever asks for the next.
 *
 *     static int squares(void *argument)
 *     {
 *         for (long i = 0; i < 10; i++) {
 *             long square = i * i;
 *             int  error = unr_generator_yield(&square, NULL);
 *             if (error)
 *                 return error;
 *         }
 *         return 0;
 *     }
 *
 *     while (unr_await_value(unr_generator_next(&generator, NULL, &value)) > 0) ... */
#ifndef UNRING_GENERATOR_H
#define UNRING_GENERATOR_H

#include <unring/fiber.h>

UNR_BEGIN

/* unring's own part of a `struct unr_generator`: not to be read or written. */
struct unr_generator_private {
    struct unr_fiber fiber;
    struct unr_op    next;  /* who waits for a value */
    struct unr_op    end;   /* who waits for the end */
    struct unr_op    sleep; /* what the fiber waits in, between two resumptions */
    unr_fiber_fn    *fn;
    void            *argument;
    void            *in, *value;
    void           **ret_value;
    uint8_t          phase;
    bool             has_value; /* one that nobody has asked for yet */
};

/* A generator.
 *
 * Memory   the caller's.  It stays where it is from the first unr_generator_next() until the
 *          function has returned: a `next` has said so, or unr_generator_end() has ended, or the
 *          loop was closed. */
struct unr_generator {
    struct unr_generator_private private_fields;
};

/* Prepares a generator.
 *
 * Runs       fn(argument), from the first unr_generator_next() on.
 * Suspended  it keeps no loop running.  A loop that is closed resumes it with -ESHUTDOWN, so that
 *            its function unwinds.
 * Threads    any. */
UNR_API void unr_generator_init(struct unr_generator *generator, unr_fiber_fn *fn, void *argument);

/* Describes the resumption of a generator until its next value.
 *
 * in         for the generator: the `ret_in` of the yield that it is resumed from.
 * ret_value  set when a value was yielded; what it points to is the generator's, and valid until
 *            the next resumption.
 * Result     value 1: *ret_value was yielded.  value 0: the function has returned, with its error;
 *            each further `next` gives 0 and no error.
 * Cancels    the types that the generator's state lets in, TERMINAL at first.  The request is the
 *            generator's for this resumption, and its awaits end.  It is TOO_LATE if the generator
 *            yields after all.  One that is cancelled before the function begins ends the
 *            generator.
 * Errors     as unr_fiber(): there was no stack.
 * Broken     a second `next` while one is in flight.
 * Returns    the operation, which lies in the generator.
 * Threads    the loop's.
 * Source     tests/test_generator.c. */
UNR_API struct unr_op *unr_generator_next(struct unr_generator *generator, void *in,
                                          void **ret_value);

/* Yields a value, inside a generator, and sleeps until the next resumption.
 *
 * value    lent until the next resumption.  Where a cancel scope has resumed the generator, nobody
 *          may have asked: the next unr_generator_next() takes the value if the generator still
 *          sleeps in this yield by then.
 * ret_in   set to the `in` of that resumption; NULL is allowed.
 * Returns  0; or below 0 the cause of a request to end, and `in` is NULL: by unr_generator_end(), by
 *          a loop that is being closed, or by a cancel scope that the generator is in.
 * Broken   a call outside of a generator.
 * Threads  the loop's. */
UNR_API int unr_generator_yield(void *value, void **ret_in);

/* Describes the end of a generator, which is resumed and asked to end.
 *
 * Use        before the memory of a generator goes that has not returned.
 * Requests   UNR_CANCEL_ALL, cause -ECANCELED, of the generator.
 * Result     0, when its function has returned, or at once if it was never resumed.
 * Cancels    UNR_CANCEL_NONE.
 * Broken     a second `end` while one is in flight.
 * Returns    the operation, which lies in the generator.
 * Threads    the loop's.
 * Source     tests/test_generator.c. */
UNR_API struct unr_op *unr_generator_end(struct unr_generator *generator);

UNR_END
#endif
