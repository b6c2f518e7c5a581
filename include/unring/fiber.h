/* SPDX-License-Identifier: MIT */
/* Fibers: operations that run a function on a stack of its own, in which straight-line code waits
 * for other operations.
 *
 * Inside a fiber unr_await() starts a described operation and waits for it.  So straight-line code
 * has everything that operations have: deadlines, groups, slots, verdicts.  A request to cancel the
 * fiber goes through its cancellation state to what it awaits, and stays: each further await ends
 * at once, until the function has returned, has opened a shield (cancel_scope.h), or has reset the
 * state. */
#ifndef UNRING_FIBER_H
#define UNRING_FIBER_H

#include <unring/loop.h>
#include <unring/op.h>
#include <unring/state.h>
#include <unring/time.h>

UNR_BEGIN

struct unr_cancel_scope;

/* What a fiber runs.
 *
 * argument  as given to unr_fiber().
 * Returns   0 or a number above it, which is the fiber's result.value; or a negative errno.
 *           -ECANCELED, and the cause of a request that was let in, both say that the cancellation
 *           took effect: the result is then -ECANCELED with that cause.  So does -ESHUTDOWN on a
 *           loop that is being closed.  So `return r.error` and `return unr_outcome(&r)` both tell
 *           the truth.  Any other return is a completion, whatever was requested.
 * Inside    everything is allowed that is allowed in a `done`, and awaiting.
 * Kept      errno, the signal mask and the locale of uselocale(3) are the thread's: an await does
 *           not preserve them.  The rounding mode is the fiber's own, and begins as the loop's.
 *           Locks of pthreads must not be held across an await: another fiber of the same thread
 *           would wait for ever.
 * Leaving   by an exception, longjmp(3) or pthread_exit(3) is a broken contract.  An exception may
 *           be thrown and caught inside, and a catch block may await. */
typedef int unr_fiber_fn(void *argument);

/* unring's own part of a `struct unr_fiber`: not to be read or written. */
struct unr_fiber_private {
    struct unr_sequence      sequence; /* right behind the operation */
    struct unr_op            pause;    /* with which it begins and yields */
    unr_fiber_fn            *fn;
    void                    *argument;
    void                    *stack;     /* NULL: it has not begun, or has ended */
    struct unr_cancel_scope *innermost; /* of those that it is in; NULL: it is in none */
    struct unr_cancel_scope *outermost;
    void                    *locals; /* values of its own */
    size_t                   stack_size;
    int32_t                  returned;
    bool                     always_begins;
    uint16_t                 locks; /* mutexes that it has locked; with UNR_LOOP_CHECKS */
};

/* A fiber, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`.  It may
 *          lie in the stack of the fiber that awaits it.
 * Result   bytes, value, fd and guarantee of `op.result` are the function's to set while it runs;
 *          a number above 0 that it returns becomes the value. */
struct unr_fiber {
    struct unr_op            op;
    struct unr_fiber_private private_fields;
};

/* Describes a fiber, which runs fn(argument) on the loop that it is started on.
 *
 * Begins   in the loop's next turn, never inside unr_start().  Until then a request that it honours
 *          ends it UNSUBMITTED: the function never runs, and `done` releases what the argument
 *          owned.  A loop that is being closed does the same.
 * Thread   the loop's, for its whole life.
 * Result   as the function returns: unr_fiber_fn.
 * Cancels  UNR_CANCEL_TERMINAL, until the function sets other filters: unr_fiber_state().
 * Stack    taken from the loop's pool when it begins, and given back when it ends; so fibers that
 *          do not wait share one.  Its size is unr_loop_options.fiber_stack.  A frame that is
 *          larger than the guard, a page, may step over it where the program is compiled without
 *          -fstack-clash-protection; gcc for aarch64 wants with that
 *          --param=stack-clash-protection-guard-size=12, as it takes guards for 64 KiB.
 * Errors   -ENOMEM: there was no stack.  -EOPNOTSUPP: there is no switch of stacks for this
 *          processor and C library.  The function never ran.
 * Memory   none of its own but the stack.
 * Broken   a cancel scope or nursery that the function left open.  With UNR_LOOP_CHECKS also an
 *          operation that is in flight in its stack when it ends, and a mutex that it has locked.
 * Returns  `&fiber->op`.
 * Threads  the loop's.
 * Source   tests/test_fiber.c. */
UNR_API struct unr_op *unr_fiber(struct unr_fiber *fiber, unr_fiber_fn *fn, void *argument);

/* How a fiber is made.  Options that are zeroed, but for `size`, are the defaults. */
struct unr_fiber_options {
    size_t      size; /* of this structure */
    const char *name; /* for messages, dumps and debuggers; lasts as long as the fiber.  NULL:
                         "fiber" */
    size_t stack;     /* bytes, rounded up to 16 KiB times a power of two, at most 64 MiB.  0:
                         unr_loop_options.fiber_stack.  The smallest has 32 KiB where the kernel
                         saves over 4 KiB of registers for a signal handler, as on aarch64 */
};

/* Describes a fiber with options.
 *
 * options  read at once.  A `size` or a stack that does not exist is a broken contract.
 * Cancels  UNR_CANCEL_TERMINAL, until the function sets other filters: unr_fiber_state().
 * Else     as unr_fiber().
 * Returns  `&fiber->op`.
 * Threads  the loop's.
 * Source   tests/test_fiber.c. */
UNR_API struct unr_op *unr_fiber_with(struct unr_fiber *fiber, unr_fiber_fn *fn, void *argument,
                                      const struct unr_fiber_options *options);

/* Opens a loop, runs one fiber in it, and closes the loop.
 *
 * Use      the main() of a program of fibers.
 * options  of the loop; NULL: the defaults.
 * Returns  what the function returned, or a negative errno of unr_loop_open() or unr_loop_run().
 *          Returns when nothing is left in flight on the loop.
 * Threads  any. */
UNR_API int unr_run_fiber(const struct unr_loop_options *options, unr_fiber_fn *fn, void *argument);

/* Returns the fiber that runs.
 *
 * Returns  NULL outside of fibers: in a `done`, a task, another thread; and in what a fiber calls
 *          while unring runs it: a slot handler, a filter, a condition, a step, a start.
 * Threads  any. */
UNR_API struct unr_fiber *unr_fiber_self(void);

/* Returns the loop of the fiber that runs.
 *
 * Returns  NULL outside of fibers.
 * Threads  any. */
UNR_API struct unr_loop *unr_fiber_loop(void);

/* Returns the name of a fiber.
 *
 * Threads  the loop's. */
UNR_API const char *unr_fiber_name(const struct unr_fiber *fiber);

/* ---- waiting ---- */

/* Starts a described operation, and waits until it has ended.
 *
 * described  any operation but a multishot operation.  It is started as a child of the fiber, under
 *            its cancellation state: what was let in is requested of it before it begins.
 * Turns      other things run meanwhile, also where the operation ends at once.  So a fiber that
 *            ignores its cancellation starves nobody.
 * Owned      what the result owns, a descriptor, is the fiber's, also where a request came too
 *            late.
 * Returns    the result, which stays in the operation as well.
 * Broken     a call outside of a fiber; and one in a step, a slot handler, a filter, a condition or
 *            the start of an operation, which the fiber's own call runs.
 * Threads    the loop's. */
UNR_API struct unr_result unr_await(struct unr_op *described);

/* Awaits an operation, and returns one number, as system calls do.
 *
 * Returns  the descriptor if one was produced, or else the value, bytes or events; below 0 what
 *          unr_outcome() says.  A count that came before an error is in the operation's result.
 * Broken   as unr_await().
 * Threads  the loop's. */
UNR_API int64_t unr_await_value(struct unr_op *described);

/* Lets everything else that is ready run once.
 *
 * Use      in a fiber that computes for long.  unr_loop_options.fiber_slow names those that do not.
 * Returns  0, or the cause of a request that was let in, and that ends this wait as any other.
 * Broken   as unr_await().
 * Threads  the loop's. */
UNR_API int unr_yield(void);

/* Sleeps.
 *
 * delay    nanoseconds.
 * Returns  0, or below 0 what ended the sleep: the cause of a request, or -ENOMEM.
 * Broken   as unr_await().
 * Threads  the loop's. */
UNR_API int unr_sleep(unr_time delay);

/* Sleeps until a time of CLOCK_MONOTONIC: unr_loop_now().
 *
 * Returns  0, or below 0 what ended the sleep: the cause of a request, or -ENOMEM.
 * Broken   as unr_await().
 * Threads  the loop's. */
UNR_API int unr_sleep_until(unr_time when);

/* ---- the cancellation state ---- */

/* Returns the cancellation state of the innermost cancel scope of this fiber.
 *
 * Without  a cancel scope it is the state of the fiber itself, which lets TERMINAL in and passes it
 *          on, as Asio's does.  That of a cancel scope lets everything in.
 * Reset    inside a cancel scope sets the filters of that scope, and forgets what came through its
 *          state from outside.  Then it lets in again, through the new filters, what the scopes
 *          around it still keep.  The scope's own requests stay.  In the fiber's own state a reset
 *          forgets all.
 * Asio     reset_cancellation_state(f) is unr_state_reset(unr_fiber_state(), f, f, context);
 *          (co_await cancellation_state).cancelled() is unr_state_cancelled(unr_fiber_state());
 *          throw_if_cancelled(false) is unr_state_preempt(unr_fiber_state(), false).
 * Broken   a call outside of a fiber.
 * Threads  the loop's. */
UNR_API struct unr_cancel_state *unr_fiber_state(void);

/* Tells whether the next await would end before it begins: for loops that compute.
 *
 * Returns  0, or the cause of the request that would end it, below 0.
 * Broken   a call outside of a fiber.
 * Threads  the loop's. */
UNR_API int unr_fiber_cancelled(void);

/* ---- stacks ---- */

/* Makes stacks ready, and touches the first page of each.
 *
 * Use      fibers then begin without a system call and without a page fault.
 * n        how many; no more than unr_loop_options.fiber_stacks_kept stay ready.
 * size     of each; 0: unr_loop_options.fiber_stack.
 * Returns  0; -ENOMEM, and those that there was memory for are ready; -EINVAL: above 64 MiB.
 * Threads  the loop's. */
UNR_API int unr_loop_prepare_stacks(struct unr_loop *loop, unsigned n, size_t size);

/* Gives the memory of this fiber's stack back, below the caller's frame.
 *
 * Use      before a long wait at the end of deep work.
 * Cost     about a microsecond, and a page fault for each page that is touched again.
 * Broken   a call outside of a fiber.
 * Threads  the loop's. */
UNR_API void unr_stack_trim(void);

/* How much of a stack is used. */
struct unr_stack_use {
    size_t size;    /* of the stack */
    size_t left;    /* below the caller's frame */
    size_t touched; /* has memory now, in whole pages: how deep it was used since it was trimmed */
};

/* Tells how much of the stack of this fiber is used.
 *
 * ret_use  `size` bytes of it are written.
 * Broken   a call outside of a fiber.
 * Threads  the loop's. */
UNR_API void unr_stack_use(struct unr_stack_use *ret_use, size_t size);

/* ---- values of a fiber's own ---- */

/* A key, of which each fiber has a value: static, its address counts. */
struct unr_local {
    void (*destroy)(void *value); /* runs when the fiber ends, on its stack; it may await.  NULL:
                                     nothing runs */
};

/* Returns this fiber's value of a key.
 *
 * Returns  NULL if it was never set.
 * Broken   a call outside of a fiber.
 * Threads  the loop's. */
UNR_API void *unr_local_get(const struct unr_local *key);

/* Sets this fiber's value of a key.
 *
 * value    destroyed when the fiber ends, unless it is NULL.  A value that was set before is not.
 * Returns  0; -ENOMEM, and nothing was set.
 * Memory   four values fit into the fiber's stack; for more of them memory is allocated.
 * Broken   a call outside of a fiber.
 * Threads  the loop's. */
UNR_API int unr_local_set(const struct unr_local *key, void *value);

UNR_END
#endif
