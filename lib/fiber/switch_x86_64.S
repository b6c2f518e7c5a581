/* SPDX-License-Identifier: MIT */
/* The switch from one stack to another on x86-64: switch.h.
 *
 * What the System V ABI has a called function preserve is pushed: rbp, rbx and r12 to r15, and
 * below them the control words of SSE and of the x87.  It ends with a jump, because a return would
 * be mispredicted each time.
 *
 * Each push has its CFI, so that a profiler's signal at any instruction unwinds.  Behind the change
 * of rsp the rules hold for the other stack, which was left in the same form.
 *
 * The switch is not compatible with shadow stacks, and this file has no note that says it were; so
 * a linker leaves the mark out of what it links.  It is compatible with indirect branch
 * tracking. */
#include "switch.h"
#ifdef UNRI_SWITCH_X86_64

    .text
    .p2align 5
    .globl unri_switch
    .hidden unri_switch
    .type unri_switch, @function
unri_switch:
    .cfi_startproc
    endbr64
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    pushq %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r12, 0
    pushq %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r13, 0
    pushq %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r14, 0
    pushq %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r15, 0
    subq $8, %rsp
    .cfi_adjust_cfa_offset 8
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    popq %r15
    .cfi_adjust_cfa_offset -8
    .cfi_same_value r15
    popq %r14
    .cfi_adjust_cfa_offset -8
    .cfi_same_value r14
    popq %r13
    .cfi_adjust_cfa_offset -8
    .cfi_same_value r13
    popq %r12
    .cfi_adjust_cfa_offset -8
    .cfi_same_value r12
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_same_value rbx
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_same_value rbp
    popq %rcx
    .cfi_adjust_cfa_offset -8
    .cfi_register rip, rcx
    movq %rdx, %rax
    notrack jmp *%rcx
    .cfi_endproc
    .size unri_switch, . - unri_switch

/* Where a stack begins: the end of every backtrace.  Unwinders look up the byte before a return
 * address, so the first one, unri_fiber_entry, lies behind an instruction of this function. */
    .p2align 4
    .type entry, @function
entry:
    .cfi_startproc
    .cfi_undefined rip
    .cfi_undefined rbp
    nop
    .globl unri_fiber_entry
    .hidden unri_fiber_entry
unri_fiber_entry:
    endbr64
    movq %rax, %rdi
    call unri_fiber_main
    ud2
    .cfi_endproc
    .size entry, . - entry

#if defined(__CET__) && (__CET__ & 1)
    .section .note.gnu.property, "a"
    .p2align 3
    .long 4, 16, 5
    .asciz "GNU"
    .long 0xc0000002, 4, 1, 0 /* indirect branch tracking alone */
#endif
#endif
    .section .note.GNU-stack, "", @progbits
