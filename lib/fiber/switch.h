/* SPDX-License-Identifier: MIT */
/* The switch from one stack to another.  switch_x86_64.S and switch_aarch64.S have it for these
 * two; elsewhere, and where the build asks for it (make FIBER=ucontext), it is swapcontext(3) of
 * glibc. Where there is neither, no fiber begins.
 *
 * Not preserved: errno, the signal mask, the locale of uselocale(3). */
#ifndef UNRI_SWITCH_H
#define UNRI_SWITCH_H

#if defined(__x86_64__) && defined(__LP64__) && !defined(UNRI_UCONTEXT)
#define UNRI_SWITCH_X86_64 1
#elif defined(__aarch64__) && defined(__LP64__) && !defined(UNRI_UCONTEXT)
#define UNRI_SWITCH_AARCH64 1
#endif

#ifndef __ASSEMBLER__

#include "../core/base.h"

/* A stack, as the switch and the sanitizers know it. */
struct unri_stack_bounds {
    void  *low; /* its lowest address */
    size_t size;
    void  *tsan; /* what ThreadSanitizer calls it */
};

/* A stack that another is switched to and from: that of a loop, or of a fiber. */
struct unri_context {
    void                    *sp; /* while it does not run */
    struct unri_stack_bounds bounds;
};

/* Tells whether this machine has a switch. */
bool unri_context_exists(void);

/* Prepares a stack whose highest address is `top`, a multiple of 16, to run
 * unri_fiber_main(argument) when it is first switched to.  Rounding modes are those of now. */
void unri_context_make(struct unri_context *context, void *top);

/* Tells whether the program is linked with a sanitizer that is to be told of each switch. */
bool unri_context_is_watched(void);

/* The bare switch: saves what a called function preserves, and the stack pointer in *save, and goes
 * on at `to`.  Returns, there, `argument`. */
void *unri_switch(void **save, void *to, void *argument);

/* Puts the running stack aside in `from`, and goes on where `to` was put aside.  What a stack keeps
 * of C++ exceptions goes with it; *cxa is where the runtime of C++ has it for this thread, or NULL.
 * `ends`: `from` is never gone on with.  `argument` is unri_fiber_main()'s. */
void unri_context_switch(struct unri_context *from, struct unri_context *to, bool ends,
                         uint64_t *cxa, void *argument);

/* Says, on a stack that was switched to for the first time, that the switch is over.  `from` is the
 * context from which it was switched. */
void unri_context_entered(struct unri_context *from, uint64_t *cxa);

/* Has the thread leave the stack `from` for `to` by a longjmp(3): the first is called before it,
 * the second behind it. */
void unri_context_leave(struct unri_context *to, uint64_t *cxa);
void unri_context_left(void);

/* Where the runtime of C++ keeps the exceptions of this thread: two words.  NULL: there is none. */
uint64_t *unri_context_cxa(void);

/* What ThreadSanitizer and the others are told of a stack when it is made, is given back to its
 * pool, and goes. */
void unri_context_tell_made(struct unri_stack_bounds *bounds);
void unri_context_tell_idle(struct unri_stack_bounds *bounds);
void unri_context_tell_gone(struct unri_stack_bounds *bounds);

/* What runs on a new stack.  It ends with a switch that never comes back. */
_Noreturn void unri_fiber_main(void *argument);

#endif
#endif
