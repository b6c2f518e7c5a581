/* SPDX-License-Identifier: MIT */
/* Naming the fiber whose stack has overflowed: a handler of SIGSEGV, on a stack of its own, looks
 * the address up among the guards.  Then it restores the default and returns, and the same
 * instruction faults again; so what is left, a core say, shows the frame that overflowed.
 *
 * The handler calls nothing that takes a lock or allocates. */
#include "overflow.h"
#include "stack.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

static void add(char *text, size_t size, const char *more)
{
    size_t len = strlen(text), more_len = strlen(more);
    if (more_len > size - 1 - len)
        more_len = size - 1 - len;
    memcpy(text + len, more, more_len);
    text[len + more_len] = '\0';
}

static void add_number(char *text, size_t size, size_t number)
{
    char  digits[24] = { 0 };
    char *first = digits + sizeof digits - 1;
    do
        *--first = (char)('0' + number % 10);
    while (number /= 10);
    add(text, size, first);
}

static void tell(const struct unri_stack *stack)
{
    char text[512] = "unring: the stack of a fiber has overflowed: ";
    add(text, sizeof text, stack->owner ? stack->owner : "one that has ended");
    add(text, sizeof text, ", which has ");
    add_number(text, sizeof text, unri_stack_whole_size(stack) / 1024);
    add(text, sizeof text, " KiB; unr_fiber_options.stack gives it more\n");
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
}

static void faulted(int number, siginfo_t *info, void *context)
{
    (void)context;
    bool                     was_sent = info->si_code <= 0; /* by kill(2): nothing faults again */
    const struct unri_stack *stack = was_sent ? NULL : unri_stack_guarding(info->si_addr);
    if (stack)
        tell(stack);
    signal(number, SIG_DFL);
    if (was_sent)
        raise(number); /* it is blocked until this returns */
}

extern __attribute__((weak)) void __asan_init(void);
extern __attribute__((weak)) void __tsan_init(void);

static void install(void)
{
    struct sigaction present,
        own = { .sa_sigaction = faulted, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    if (sigaction(SIGSEGV, NULL, &present) == 0 && !(present.sa_flags & SA_SIGINFO)
        && present.sa_handler == SIG_DFL)
        sigaction(SIGSEGV, &own, NULL);
}

void *unri_overflow_watch(void)
{
    stack_t present;
    if (__asan_init || __tsan_init)
        return NULL;
    install();
    if (sigaltstack(NULL, &present) != 0 || !(present.ss_flags & SS_DISABLE))
        return NULL;
    enum { OWN = 16 << 10 };
    size_t  size = OWN + getauxval(AT_MINSIGSTKSZ);
    stack_t alternate = { .ss_sp = malloc(size), .ss_size = size };
    if (alternate.ss_sp && sigaltstack(&alternate, NULL) != 0) {
        free(alternate.ss_sp);
        return NULL;
    }
    return alternate.ss_sp;
}

/* The thread may have been given another since; a handler does not run on this one now. */
void unri_overflow_forget(void *alternate)
{
    stack_t present, none = { .ss_flags = SS_DISABLE };
    if (alternate && sigaltstack(NULL, &present) == 0 && present.ss_sp == alternate)
        sigaltstack(&none, NULL);
    free(alternate);
}
