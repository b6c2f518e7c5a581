/* SPDX-License-Identifier: MIT */
/* The switch from one stack to another, instruction by instruction: a profiler's signal comes at
 * any of them, and unwinds.  tests/test_gdb.sh has the debugger do so. */
#include "support.h"

#if __has_include(<execinfo.h>)
#include <execinfo.h>
#endif
#include <ucontext.h>
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

TestSuite(switching, .timeout = 20);

#if defined(__x86_64__) && defined(__GLIBC__)

/* ---- where it is ---- */

/* The assembly: the switch, and behind it the entry.  NULL: stacks are switched by swapcontext(3).
 */
extern const char unri_switch[] __attribute__((weak, visibility("hidden")));
extern const char unri_fiber_entry[] __attribute__((weak, visibility("hidden")));

enum { ENTRY_SIZE = 14, FRAMES = 64, FUNCTION_SIZE = 512 };

static bool is_in_assembly(const void *address)
{
    const char *at = address;
    return at >= unri_switch && at < unri_fiber_entry + ENTRY_SIZE;
}

static bool is_in_entry(const void *address)
{
    const char *at = address;
    return at >= unri_fiber_entry && at < unri_fiber_entry + ENTRY_SIZE;
}

/* ---- what is run: no more than FUNCTION_SIZE each ---- */

static __attribute__((noinline)) int yields(void *argument)
{
    bool *is_inside = argument;
    int   error = 0;
    *is_inside = true;
    for (int i = 0; i < 2; i++)
        error |= unr_yield();
    *is_inside = false;
    return error;
}

static __attribute__((noinline)) int runs(void)
{
    int error = unr_loop_run(loop);
    return error | (unr_fiber_self() != NULL); /* the call is not the last */
}

/* ---- an unwinding at each instruction ---- */

static struct {
    volatile bool steps;
    const char   *loop_stack;                  /* an address on it */
    bool          is_inside;                   /* the fiber's function */
    unsigned      of_loop, of_fiber, in_entry; /* instructions at which it was unwound */
    const char   *wrong;
    long          at; /* of the switch */
} look;

static bool is_called_by(void *const *frames, int count, const void *function)
{
    for (int i = 0; i < count; i++)
        if ((char *)frames[i] > (const char *)function
            && (char *)frames[i] <= (const char *)function + FUNCTION_SIZE)
            return true;
    return false;
}

static const char *judge(void *const *frames, int count, const char *sp)
{
    enum { NEAR = 64 << 10 };
    bool on_loop = sp < look.loop_stack && sp > look.loop_stack - NEAR;
    if (count == FRAMES)
        return "it does not come to an end";
    if (on_loop) {
        look.of_loop++;
        return is_called_by(frames, count, (void *)(uintptr_t)runs) ? NULL : "the loop is lost";
    }
    look.of_fiber++;
    if (!is_in_entry(frames[count - 1]))
        return "it does not end at the entry";
    if (look.is_inside && !is_called_by(frames, count, (void *)(uintptr_t)yields))
        return "the fiber is lost";
    return NULL;
}

/* After each instruction.  The trap flag is that of what was interrupted. */
static void stepped(int number, siginfo_t *info, void *context)
{
    enum { TRAP_FLAG = 0x100 };
    greg_t     *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const char *pc = (const char *)registers[REG_RIP], *wrong;
    void       *frames[FRAMES];
    (void)number, (void)info;
    registers[REG_EFL] &= ~TRAP_FLAG;
    if (look.steps)
        registers[REG_EFL] |= TRAP_FLAG;
    if (!is_in_assembly(pc) || look.wrong)
        return;
    look.in_entry += is_in_entry(pc);
    if ((wrong = judge(frames, backtrace(frames, FRAMES), (const char *)registers[REG_RSP]))
        != NULL) {
        look.wrong = wrong;
        look.at = pc - unri_switch;
    }
}

/* The loop's stack unwinds to the loop's caller, and a fiber's to the entry of the fiber, at each
 * instruction of the switch to and from a fiber that begins, goes on, and ends. */
Test(switching, backtraces_end_at_the_entry)
{
    struct unr_fiber fiber = { 0 };
    struct sigaction action = { .sa_sigaction = stepped, .sa_flags = SA_SIGINFO }, before;
    void            *frames[FRAMES];
    if (!unri_fiber_entry)
        cr_skip_test("stacks are switched by swapcontext(3)");
    if (SUPPORT_SANITIZED || RUNNING_ON_VALGRIND)
        cr_skip_test("a sanitizer keeps signals back, and valgrind steps over traps");
    open_loop();
    unr_start(loop, unr_fiber(&fiber, yields, &look.is_inside), NULL, NULL);
    look.loop_stack = (const char *)&action;
    backtrace(frames, FRAMES); /* which allocates memory the first time */
    cr_assert_eq(sigaction(SIGTRAP, &action, &before), 0);
    look.steps = true;
    raise(SIGTRAP);
    int error = runs();
    look.steps = false;
    raise(SIGTRAP);
    sigaction(SIGTRAP, &before, NULL);
    cr_assert_eq(error, 0);
    cr_assert_eq(fiber.op.result.error, 0);
    if (!look.of_loop)
        cr_skip_test("this processor does not step");
    cr_assert_null(look.wrong, "%s, %ld bytes into the switch", look.wrong, look.at);
    /* Three times to the fiber, and three times back. */
    cr_assert_eq(look.in_entry, 3);
    cr_assert_eq((look.of_loop + look.of_fiber - look.in_entry) % 6, 0, "%u, %u", look.of_loop,
                 look.of_fiber);
    close_loop();
}

#else

Test(switching, backtraces_end_at_the_entry)
{
    cr_skip_test("this processor has no trap flag, or this C library no backtrace(3)");
}

#endif
