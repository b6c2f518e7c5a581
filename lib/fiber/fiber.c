/* SPDX-License-Identifier: MIT */
/* Fibers: described, begun, put aside, gone on with, ended.  What a fiber calls to wait is in
 * await.c, what it shares with composed operations in lib/combine/sequence.c, and how requests pass
 * through the cancel scopes that it is in, in level.c.
 *
 * A fiber is a combinator whose code runs on a stack of its own.  Its start only begins a child,
 * its `pause`, which ends at once; so the function begins in the next turn, in child_done().  From
 * there the loop's stack switches to the fiber's, and the fiber's switches back when it has begun a
 * child and waits, or has ended.  Only the loop's stack resumes fibers, so no fiber runs inside
 * another. */
#include "fiber.h"
#include "../core/cancel.h"
#include "../core/check.h"
#include "../core/combinator.h"
#include "../core/contract.h"
#include "../core/name.h"
#include "../core/os.h"
#include "../core/type.h"
#include "../core/watchdog.h"
#include "overflow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(sizeof(struct unr_fiber) <= 384, "");
static_assert(offsetof(struct unr_fiber, private_fields.sequence) == sizeof(struct unr_op), "");

/* ---- what a loop has for its fibers ---- */

static void close_fibers(struct unri_fibers *fibers)
{
    for (struct unri_spawned *spawned; (spawned = fibers->spare) != NULL;) {
        fibers->spare = spawned->next;
        free(spawned);
    }
    unri_overflow_forget(fibers->alternate_stack);
    unri_stacks_close(fibers->stacks);
    free(fibers);
}

struct unri_fibers *unri_fibers(struct unr_loop *loop)
{
    if (likely(loop->fibers != NULL))
        return loop->fibers;
    struct unri_fibers *fibers = calloc(1, sizeof *fibers);
    if (!fibers)
        return NULL;
    fibers->stacks = unri_stacks_open(loop->fiber_stacks_kept, &loop->stats);
    if (!fibers->stacks) {
        free(fibers);
        return NULL;
    }
    loop->fibers = fibers;
    loop->close_fibers = close_fibers;
    return fibers;
}

/* What is this thread's is known when the first fiber begins: until then the loop is no thread's.
 */
static void prepare_thread(struct unri_fibers *fibers, struct unri_watch *watch)
{
    fibers->cxa = unri_context_cxa();
    fibers->watch = watch;
    fibers->is_listened = fibers->cxa || watch || unri_context_is_watched();
    fibers->alternate_stack = unri_overflow_watch();
    fibers->has_begun = true;
}

/* ---- the two sides of a switch ---- */

static struct unri_stack *stack_of(const struct unr_fiber *fiber)
{
    return fiber->private_fields.stack;
}

static inline void switch_to_loop(struct unri_fibers *fibers, struct unri_stack *stack, bool ends)
{
    if (unlikely(fibers->is_listened))
        unri_context_switch(&stack->context, &fibers->home, ends, fibers->cxa, NULL);
    else
        unri_switch(&stack->context.sp, fibers->home.sp, NULL);
}

static void *function_of(const struct unr_fiber *fiber)
{
    void *function = NULL;
    memcpy(&function, &fiber->private_fields.fn, sizeof function);
    return function;
}

static void switch_to_listened(struct unri_fibers *fibers, struct unr_fiber *fiber)
{
    if (fibers->watch)
        unri_watch_begin(fibers->watch, unr_fiber_name(fiber), function_of(fiber));
    unri_context_switch(&fibers->home, &stack_of(fiber)->context, false, fibers->cxa, fiber);
    if (fibers->watch) /* the fiber may be gone */
        unri_watch_end(fibers->watch);
}

static inline void switch_to_fiber(struct unri_fibers *fibers, struct unr_fiber *fiber)
{
    if (unlikely(fibers->is_listened))
        switch_to_listened(fibers, fiber);
    else
        unri_switch(&fibers->home.sp, stack_of(fiber)->context.sp, fiber);
}

void unri_fiber_suspend(struct unr_fiber *fiber)
{
    struct unri_fibers *fibers = fiber->op.private_fields.loop->fibers;
    struct unri_stack  *stack = stack_of(fiber);
    if (unlikely(stack->has_no_guard) && unri_stack_overflowed(stack))
        unri_broken("the stack of a fiber has overflowed", &fiber->op,
                    "give it a larger one: unr_fiber_options.stack");
    switch_to_loop(fibers, stack, false);
}

/* What the loop whose fiber has the present stack has for its fibers; NULL: the stack is no
 * fiber's. The fiber itself is not running while unring is in the middle of something:
 * unri_running. */
static _Thread_local struct unri_fibers *resumed __attribute__((tls_model("initial-exec")));

/* Runs the fiber until it waits or has ended.  Inlined, as go_on() is, because each return behind a
 * switch is predicted wrongly. */
__attribute__((always_inline)) static inline void resume(struct unr_fiber *fiber)
{
    struct unr_loop    *loop = fiber->op.private_fields.loop;
    struct unri_fibers *fibers = loop->fibers, *outer = resumed;
    loop->stats.fiber_switches++;
    fiber->private_fields.sequence.phase = UNRI_STEPPING;
    unri_running = &fiber->op;
    resumed = fibers;
    switch_to_fiber(fibers, fiber);
    resumed = outer;
    unri_running = NULL;
}

bool unri_fiber_abandon(void)
{
    struct unri_fibers *fibers = resumed;
    if (fibers)
        unri_context_leave(&fibers->home, fibers->cxa);
    unri_running = NULL;
    resumed = NULL;
    return fibers;
}

_Noreturn void unri_fiber_main(void *argument)
{
    struct unr_fiber         *fiber = argument;
    struct unr_fiber_private *f = &fiber->private_fields;
    struct unri_fibers       *fibers = fiber->op.private_fields.loop->fibers;
    struct unri_locals        locals;
    unri_context_entered(&fibers->home, fibers->cxa);
    unri_locals_init(&locals);
    f->locals = &locals;
    f->returned = f->fn(f->argument);
    if (unlikely(locals.count != 0))
        unri_locals_destroy(&locals);
    f->sequence.phase = UNRI_ENDED;
    switch_to_loop(fibers, stack_of(fiber), true);
    __builtin_unreachable();
}

/* ---- the end ---- */

/* What a loop with checks looks at. */
static void check_end(const struct unr_fiber *fiber, const struct unri_stack *stack)
{
    const struct unr_loop *loop = fiber->op.private_fields.loop;
    if (fiber->private_fields.locks)
        unri_broken("a fiber that ended with a mutex locked", &fiber->op,
                    "whoever has locked a mutex unlocks it, once");
    if (unri_check_holds_operation(loop, stack->context.bounds.low, stack))
        unri_broken("ended with an operation in flight in its stack", &fiber->op,
                    "a fiber awaits what it starts in its stack, or starts it in a nursery");
}

/* The result that the function has returned.  The cause of a request that was let in says the same
 * as -ECANCELED. */
static void end(struct unr_fiber *fiber)
{
    struct unr_fiber_private      *f = &fiber->private_fields;
    struct unr_loop               *loop = fiber->op.private_fields.loop;
    struct unri_stack             *stack = stack_of(fiber);
    const struct unr_cancel_state *state = &f->sequence.state;
    int                            error = f->returned < 0 ? f->returned : 0;
    if (unlikely(f->innermost != NULL))
        unri_broken("a fiber that ended inside a cancel scope", &fiber->op,
                    "a cancel scope is left, and a nursery closed, by the fiber that entered it");
    if (unlikely(loop->checks != NULL))
        check_end(fiber, stack);
    f->stack = NULL;
    unri_stack_give(loop->fibers->stacks, stack);
    loop->stats.fibers_ended++;
    if (f->returned > 0)
        fiber->op.result.value = f->returned;
    bool is_cause = unr_state_cancelled(state) && error == unr_state_cause(state);
    if (is_cause || (error == -ESHUTDOWN && loop->closing)) /* which goes past every state */
        error = -ECANCELED;
    unri_sequence_end(unri_fiber_sequence(fiber), error);
}

__attribute__((always_inline)) static inline void go_on(struct unr_fiber *fiber)
{
    resume(fiber);
    if (fiber->private_fields.sequence.phase == UNRI_ENDED)
        end(fiber);
}

/* ---- the pause, with which a fiber begins and yields ---- */

static void pause_start(struct unr_op *op)
{
    unri_end(op, 0);
}

/* It has ended when somebody asks. */
static void pause_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)op, (void)request;
}

static const struct unr_op_type pause_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "yield",
    .start = pause_start,
    .cancel = pause_cancel,
};

struct unr_op *unri_fiber_pause(struct unr_fiber *fiber)
{
    return unr_describe(&fiber->private_fields.pause, &pause_type);
}

/* ---- the beginning ---- */

static size_t size_of_stack(const struct unr_fiber *fiber, const struct unr_loop *loop)
{
    size_t size = fiber->private_fields.stack_size;
    return unri_stack_size(size ? size : loop->fiber_stack);
}

/* Gives a fiber its stack.  0, or why it cannot begin. */
static int give_stack(struct unr_fiber *fiber)
{
    struct unr_fiber_private *f = &fiber->private_fields;
    struct unr_loop          *loop = fiber->op.private_fields.loop;
    struct unri_fibers       *fibers = unri_fibers(loop);
    struct unri_stack        *stack = NULL;
    if (!unri_context_exists())
        return -EOPNOTSUPP;
    if (likely(fibers != NULL))
        stack = unri_stack_take(fibers->stacks, size_of_stack(fiber, loop), f->always_begins);
    if (!stack)
        return -ENOMEM;
    unri_context_make(&stack->context, unri_stack_top(stack));
    if (unlikely(!fibers->has_begun))
        prepare_thread(fibers, loop->watch);
    stack->owner = unr_fiber_name(fiber);
    f->stack = stack;
    return 0;
}

/* Rule 6, Before it begins: requests that were let in since the start end the fiber here. */
static void begin(struct unr_fiber *fiber)
{
    struct unr_fiber_private *f = &fiber->private_fields;
    const unsigned            let_in = unr_state_cancelled(&f->sequence.state);
    if (let_in && !f->always_begins) {
        const int cause = unr_state_cause(&f->sequence.state);
        unri_end_unsubmitted(&fiber->op, (struct unr_cancel_request){ let_in, cause });
        return;
    }
    int error = give_stack(fiber);
    if (error) {
        unri_end(&fiber->op, error);
        return;
    }
    fiber->op.private_fields.loop->stats.fibers_begun++;
    go_on(fiber);
}

static void child_done(struct unr_op *combinator, struct unr_op *child)
{
    struct unr_fiber *fiber = unri_fiber_of(combinator);
    if (fiber->private_fields.sequence.phase == UNRI_NOT_BEGUN) {
        begin(fiber);
        return;
    }
    unri_sequence_child_ended(unri_fiber_sequence(fiber), child);
    go_on(fiber);
}

/* The pause is no child in flight: whoever asks meanwhile asks the cancellation state, and the
 * phase stays NOT_BEGUN. */
static void fiber_start(struct unr_op *op)
{
    struct unr_op *pause = unri_fiber_pause(unri_fiber_of(op));
    unri_hold(pause);
    unri_start_child(op, pause, (struct unr_cancel_request){ 0 });
}

/* ---- requests ---- */

static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_fiber *fiber = unri_fiber_of(op);
    unsigned          let_in = unri_sequence_let_in(unri_fiber_sequence(fiber), request);
    if (let_in)
        unri_fiber_pass_on(fiber, NULL, let_in, request.cause);
    return let_in;
}

static bool start_with_request(struct unr_op *op, struct unr_cancel_request asked)
{
    struct unr_fiber *fiber = unri_fiber_of(op);
    bool              ends = unri_sequence_ends_early(unri_fiber_sequence(fiber), asked);
    if (ends && !fiber->private_fields.always_begins) {
        unri_end_unsubmitted(op, asked);
        return true;
    }
    fiber_start(op);
    return ends;
}

/* ---- describing ---- */

static const char *name_of(const struct unr_op *op)
{
    return (const char *)(uintptr_t)op->private_fields.offset;
}

/* ---- the dump ---- */

static void dump_scope(const struct unr_cancel_scope *scope, int fd)
{
    const struct unr_cancel_scope_private *s = &scope->private_fields;
    dprintf(fd, "%s", s->children ? "nursery" : s->is_shield ? "shield" : "scope");
    if (s->timer.deadline != UNR_NEVER)
        dprintf(fd, " until %+lld ms",
                (long long)((s->timer.deadline - unri_os_clock()) / UNR_MSEC(1)));
    if (s->own.types)
        dprintf(fd, " asked to end (%d)", s->own.cause);
}

static void dump(const struct unr_op *op, int fd)
{
    const struct unr_fiber_private *f = &((const struct unr_fiber *)op)->private_fields;
    const struct unr_op            *child = unri_sequence_child((const struct unri_sequence *)op);
    dprintf(fd, ", function %p", function_of((const struct unr_fiber *)op));
    if (!f->stack) {
        dprintf(fd, ", not begun");
        return;
    }
    if (f->sequence.phase == UNRI_WAITING) {
        dprintf(fd, ", awaits %s %p", unri_name(child), (const void *)child);
        if (unri_knows_its_start(child))
            dprintf(fd, " for %u ms", unri_os_clock_ms() - unri_started_ms(child));
    }
    for (const struct unr_cancel_scope *scope = f->outermost; scope;
         scope = scope->private_fields.inner) {
        dprintf(fd, scope == f->outermost ? ", in " : " > ");
        dump_scope(scope, fd);
    }
    dprintf(fd, ", stack %zu of %zu KiB", unri_stack_touched(f->stack) / 1024,
            unri_stack_whole_size(f->stack) / 1024);
}

/* Only of a fiber that never ran is it unring's error; otherwise the function has returned it. */
static const char *explain(const struct unr_op *op)
{
    const struct unr_fiber_private *f = &((const struct unr_fiber *)op)->private_fields;
    if (f->sequence.phase != UNRI_NOT_BEGUN)
        return NULL;
    if (op->result.error == -ENOMEM)
        return "its function never ran, as there was no memory for its stack "
               "(RLIMIT_AS, vm.overcommit_memory, vm.max_map_count)";
    if (op->result.error == -EOPNOTSUPP)
        return "its function never ran, as there is no switch of stacks for this processor and C "
               "library";
    return NULL;
}

static const struct unri_combinator combinator = {
    .dump = dump,
    .child_done = child_done,
    .handle_request = handle_request,
    .start_with_request = start_with_request,
    .request_while_held = unri_sequence_request_while_held,
};

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_TERMINAL,
    .name = "fiber",
    .start = fiber_start,
    .name_of = name_of,
    .private_fields = { .kind = UNRI_COMBINATOR, .combinator = &combinator, .explain = explain },
};

bool unri_is_fiber(const struct unr_op *op)
{
    return op->type == &type;
}

struct unr_op *unr_fiber(struct unr_fiber *fiber, unr_fiber_fn *fn, void *argument)
{
    struct unr_fiber_private *f = &fiber->private_fields;
    unr_describe(&fiber->op, &type);
    unri_sequence_init(unri_fiber_sequence(fiber));
    unri_private(&fiber->op)->offset = 0;
    f->fn = fn;
    f->argument = argument;
    f->stack = NULL;
    f->innermost = f->outermost = NULL;
    f->locals = NULL;
    f->stack_size = 0;
    f->always_begins = false;
    f->locks = 0;
    return &fiber->op;
}

struct unr_op *unr_fiber_with(struct unr_fiber *fiber, unr_fiber_fn *fn, void *argument,
                              const struct unr_fiber_options *options)
{
    struct unr_op *op = unr_fiber(fiber, fn, argument);
    if (options->size != sizeof *options)
        unri_broken("fiber options of another size", op,
                    "`size` of a struct unr_fiber_options is that of the structure");
    if (options->stack && !unri_stack_size(options->stack))
        unri_broken("a fiber with a stack that is too large", op, "a stack has at most 64 MiB");
    unri_private(op)->offset = (uintptr_t)options->name;
    fiber->private_fields.stack_size = options->stack;
    return op;
}

int unri_fiber_reserve(struct unr_fiber *fiber, struct unr_loop *loop)
{
    struct unri_fibers *fibers = unri_fibers(loop);
    if (!unri_context_exists())
        return -EOPNOTSUPP;
    if (!fibers || !unri_stack_reserve(fibers->stacks, size_of_stack(fiber, loop)))
        return -ENOMEM;
    fiber->private_fields.always_begins = true;
    return 0;
}

const char *unr_fiber_name(const struct unr_fiber *fiber)
{
    const char *name = name_of(&fiber->op);
    return name ? name : type.name;
}
