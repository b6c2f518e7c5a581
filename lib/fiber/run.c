/* SPDX-License-Identifier: MIT */
/* What surrounds a fiber: the main() of a program of fibers, and its stack as its user sees it. */
#include "../core/contract.h"
#include "fiber.h"

#include <string.h>

int unr_run_fiber(const struct unr_loop_options *options, unr_fiber_fn *fn, void *argument)
{
    struct unr_loop *loop;
    struct unr_fiber fiber = { 0 };
    int              error = unr_loop_open(&loop, options);
    if (error < 0)
        return error;
    unr_start(loop, unr_fiber(&fiber, fn, argument), NULL, NULL);
    error = unr_loop_run(loop);
    int close_error = unr_loop_close(loop);
    if (error == 0)
        error = close_error;
    if (error == 0)
        error = unr_outcome(&fiber.op.result);
    return error ? error : (int)fiber.op.result.value;
}

/* They are taken all at once, and given back. */
int unr_loop_prepare_stacks(struct unr_loop *loop, unsigned n, size_t size)
{
    unri_check_thread(loop);
    struct unri_fibers *fibers = unri_fibers(loop);
    size_t              rounded = unri_stack_size(size ? size : loop->fiber_stack);
    struct unri_stack  *taken = NULL, *stack;
    int                 error = 0;
    if (!rounded)
        return -EINVAL;
    if (!fibers)
        return -ENOMEM;
    for (unsigned i = 0; i < n && error == 0; i++) {
        stack = unri_stack_take(fibers->stacks, rounded, false);
        error = stack ? 0 : -ENOMEM;
        if (stack) {
            stack->next = taken;
            taken = stack;
        }
    }
    while ((stack = taken) != NULL) {
        taken = stack->next;
        unri_stack_give(fibers->stacks, stack);
    }
    return error;
}

void unr_stack_trim(void)
{
    struct unr_fiber *fiber = unri_fiber_check("unr_stack_trim called outside of a fiber");
    enum { FRAME = 512 }; /* this function's own, and the red zone */
    unri_stack_trim(fiber->private_fields.stack, (char *)__builtin_frame_address(0) - FRAME);
}

void unr_stack_use(struct unr_stack_use *ret_use, size_t size)
{
    struct unr_fiber        *fiber = unri_fiber_check("unr_stack_use called outside of a fiber");
    const struct unri_stack *stack = fiber->private_fields.stack;
    struct unr_stack_use     use = {
            .size = unri_stack_whole_size(stack),
            .left = (size_t)((char *)__builtin_frame_address(0) - (char *)stack->context.bounds.low),
            .touched = unri_stack_touched(stack),
    };
    size_t known = size < sizeof use ? size : sizeof use;
    memcpy(ret_use, &use, known);
    memset((char *)ret_use + known, 0, size - known);
}
