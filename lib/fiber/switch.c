/* SPDX-License-Identifier: MIT */
/* The switch from one stack to another, with all who are to be told: the runtime of C++, and the
 * sanitizers, whichever the program is linked with.  This file itself is compiled without
 * sanitizers.
 *
 * C++: what __cxa_get_globals() points to, the exceptions that are being handled and the number of
 * those that are being thrown, belongs to a stack and not to a thread.  So a fiber may await inside
 * a catch block. */
#include "switch.h"

#include <dlfcn.h>
#include <string.h>

#ifdef UNRI_SWITCH_X86_64
#define HAS_ASSEMBLY 1
#elif defined(UNRI_SWITCH_AARCH64)
#define HAS_ASSEMBLY 1
#elif defined(__GLIBC__)
#include <ucontext.h>
#endif

/* ---- the bare switch ---- */

bool unri_context_exists(void)
{
#if defined(HAS_ASSEMBLY) || defined(__GLIBC__)
    return true;
#else
    return false;
#endif
}

#if defined(HAS_ASSEMBLY)

extern const char unri_fiber_entry[];

void unri_context_make(struct unri_context *context, void *top)
{
    uint64_t *sp = top;
#if defined(UNRI_SWITCH_X86_64)
    uint16_t x87;
    __asm__("fnstcw %0" : "=m"(x87));
    *--sp = 0; /* where a return address would be, for who looks */
    *--sp = 0;
    *--sp = (uint64_t)(uintptr_t)unri_fiber_entry;
    sp -= 6; /* the registers */
    memset(sp, 0, 6 * sizeof *sp);
    *--sp = __builtin_ia32_stmxcsr() | (uint64_t)x87 << 32;
#else
    uint64_t fpcr;
    __asm__("mrs %0, fpcr" : "=r"(fpcr));
    sp -= 22;
    memset(sp, 0, 22 * sizeof *sp);
    sp[1] = (uint64_t)(uintptr_t)unri_fiber_entry;
    sp[20] = fpcr;
#endif
    context->sp = sp;
}

#elif defined(__GLIBC__)

static _Thread_local void *passed;

static void enter(void)
{
    unri_fiber_main(passed);
}

/* The context of a stack that does not run lies on that stack. */
void unri_context_make(struct unri_context *context, void *top)
{
    ucontext_t *made = (ucontext_t *)(((uintptr_t)top - sizeof *made) & ~(uintptr_t)63);
    getcontext(made);
    made->uc_link = NULL;
    made->uc_stack.ss_sp = context->bounds.low;
    made->uc_stack.ss_size = (size_t)((char *)made - (char *)context->bounds.low);
    makecontext(made, enter, 0);
    context->sp = made;
}

void *unri_switch(void **save, void *to, void *argument)
{
    ucontext_t here;
    *save = &here;
    passed = argument;
    swapcontext(&here, to);
    return passed;
}

#else

void unri_context_make(struct unri_context *context, void *top)
{
    (void)context, (void)top;
}

void *unri_switch(void **save, void *to, void *argument)
{
    (void)save, (void)to;
    return argument;
}

#endif

/* ---- who is to be told: NULL where the program is linked without ---- */

#define WEAK __attribute__((weak))

extern WEAK void *__cxa_get_globals(void);
extern WEAK void  __sanitizer_start_switch_fiber(void **save, const void *low, size_t size);
extern WEAK void  __sanitizer_finish_switch_fiber(void *saved, const void **low, size_t *size);
extern WEAK void  __asan_unpoison_memory_region(const volatile void *at, size_t size);
extern WEAK void  __lsan_register_root_region(const void *at, size_t size);
extern WEAK void  __lsan_unregister_root_region(const void *at, size_t size);
extern WEAK void *__tsan_create_fiber(unsigned flags);
extern WEAK void *__tsan_get_current_fiber(void);
extern WEAK void  __tsan_switch_to_fiber(void *fiber, unsigned flags);
extern WEAK void  __tsan_destroy_fiber(void *fiber);

uint64_t *unri_context_cxa(void)
{
    if (__cxa_get_globals)
        return __cxa_get_globals();
    void *(*find)(void) = NULL;
    *(void **)&find = dlsym(RTLD_DEFAULT, "__cxa_get_globals"); /* it was loaded later */
    return find ? find() : NULL;
}

/* AddressSanitizer knows the bounds of the stack that was left for this one.  It is a thread's own
 * perhaps, or that of a fiber which runs another loop, and so not always the same. */
static void finish_switch(void *fake_stack, struct unri_context *left)
{
    const void *low = NULL;
    if (!__sanitizer_finish_switch_fiber)
        return;
    __sanitizer_finish_switch_fiber(fake_stack, &low, &left->bounds.size);
    left->bounds.low = (void *)(uintptr_t)low;
}

bool unri_context_is_watched(void)
{
    return __sanitizer_start_switch_fiber || __tsan_switch_to_fiber;
}

enum { NO_SYNCHRONISATION = 0 }; /* a switch orders what was before it and what is behind it */

void unri_context_switch(struct unri_context *from, struct unri_context *to, bool ends,
                         uint64_t *cxa, void *argument)
{
    void    *fake_stack = NULL;
    uint64_t exceptions[2] = { 0, 0 };
    if (cxa)
        memcpy(exceptions, cxa, sizeof exceptions);
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(ends ? NULL : &fake_stack, to->bounds.low, to->bounds.size);
    if (__tsan_switch_to_fiber) {
        from->bounds.tsan = __tsan_get_current_fiber();
        __tsan_switch_to_fiber(to->bounds.tsan, NO_SYNCHRONISATION);
    }
    unri_switch(&from->sp, to->sp, argument);
    finish_switch(fake_stack, to);
    if (cxa)
        memcpy(cxa, exceptions, sizeof exceptions);
}

void unri_context_entered(struct unri_context *from, uint64_t *cxa)
{
    finish_switch(NULL, from);
    if (cxa)
        memset(cxa, 0, 2 * sizeof *cxa);
}

void unri_context_leave(struct unri_context *to, uint64_t *cxa)
{
    if (cxa)
        memset(cxa, 0, 2 * sizeof *cxa);
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(NULL, to->bounds.low, to->bounds.size);
    if (__tsan_switch_to_fiber)
        __tsan_switch_to_fiber(to->bounds.tsan, NO_SYNCHRONISATION);
}

void unri_context_left(void)
{
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
}

void unri_context_tell_made(struct unri_stack_bounds *bounds)
{
    if (__tsan_create_fiber)
        bounds->tsan = __tsan_create_fiber(0);
    if (__lsan_register_root_region)
        __lsan_register_root_region(bounds->low, bounds->size);
}

void unri_context_tell_idle(struct unri_stack_bounds *bounds)
{
    if (__asan_unpoison_memory_region)
        __asan_unpoison_memory_region(bounds->low, bounds->size);
}

/* A handle that was never current is not destroyed cleanly. */
void unri_context_tell_gone(struct unri_stack_bounds *bounds)
{
    if (__lsan_unregister_root_region)
        __lsan_unregister_root_region(bounds->low, bounds->size);
    if (__tsan_destroy_fiber && bounds->tsan) {
        void *now = __tsan_get_current_fiber();
        __tsan_switch_to_fiber(bounds->tsan, NO_SYNCHRONISATION);
        __tsan_switch_to_fiber(now, NO_SYNCHRONISATION);
        __tsan_destroy_fiber(bounds->tsan);
    }
}
