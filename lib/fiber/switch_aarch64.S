/* SPDX-License-Identifier: MIT */
/* The switch from one stack to another on aarch64: switch.h.
 *
 * What the procedure call standard has a called function preserve is stored: x19 to x30, d8 to d15,
 * and the control register of floating point.  It ends with `ret`: a `br` to a return address would
 * fault under branch target identification. */
#include "switch.h"
#ifdef UNRI_SWITCH_AARCH64

    .text
    .p2align 4
    .globl unri_switch
    .hidden unri_switch
    .type unri_switch, %function
unri_switch:
    .cfi_startproc
    hint #34 /* bti c */
    stp x29, x30, [sp, #-176]!
    .cfi_adjust_cfa_offset 176
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    stp x19, x20, [sp, #16]
    .cfi_rel_offset x19, 16
    .cfi_rel_offset x20, 24
    stp x21, x22, [sp, #32]
    .cfi_rel_offset x21, 32
    .cfi_rel_offset x22, 40
    stp x23, x24, [sp, #48]
    .cfi_rel_offset x23, 48
    .cfi_rel_offset x24, 56
    stp x25, x26, [sp, #64]
    .cfi_rel_offset x25, 64
    .cfi_rel_offset x26, 72
    stp x27, x28, [sp, #80]
    .cfi_rel_offset x27, 80
    .cfi_rel_offset x28, 88
    stp d8, d9, [sp, #96]
    .cfi_rel_offset d8, 96
    .cfi_rel_offset d9, 104
    stp d10, d11, [sp, #112]
    .cfi_rel_offset d10, 112
    .cfi_rel_offset d11, 120
    stp d12, d13, [sp, #128]
    .cfi_rel_offset d12, 128
    .cfi_rel_offset d13, 136
    stp d14, d15, [sp, #144]
    .cfi_rel_offset d14, 144
    .cfi_rel_offset d15, 152
    mrs x9, fpcr
    str x9, [sp, #160]
    mov x10, sp
    str x10, [x0]
    mov sp, x1
    ldr x10, [sp, #160]
    msr fpcr, x10
    ldp d14, d15, [sp, #144]
    ldp d12, d13, [sp, #128]
    ldp d10, d11, [sp, #112]
    ldp d8, d9, [sp, #96]
    ldp x27, x28, [sp, #80]
    ldp x25, x26, [sp, #64]
    ldp x23, x24, [sp, #48]
    ldp x21, x22, [sp, #32]
    ldp x19, x20, [sp, #16]
    ldp x29, x30, [sp], #176
    .cfi_adjust_cfa_offset -176
    .cfi_same_value x19
    .cfi_same_value x20
    .cfi_same_value x21
    .cfi_same_value x22
    .cfi_same_value x23
    .cfi_same_value x24
    .cfi_same_value x25
    .cfi_same_value x26
    .cfi_same_value x27
    .cfi_same_value x28
    .cfi_same_value x29
    .cfi_same_value x30
    .cfi_same_value d8
    .cfi_same_value d9
    .cfi_same_value d10
    .cfi_same_value d11
    .cfi_same_value d12
    .cfi_same_value d13
    .cfi_same_value d14
    .cfi_same_value d15
    mov x0, x2
    ret
    .cfi_endproc
    .size unri_switch, . - unri_switch

/* Where a stack begins: the end of every backtrace.  Unwinders look up the byte before a return
 * address, so the first one, unri_fiber_entry, lies behind an instruction of this function. */
    .p2align 4
    .type entry, %function
entry:
    .cfi_startproc
    .cfi_undefined x29
    .cfi_undefined x30
    nop
    .globl unri_fiber_entry
    .hidden unri_fiber_entry
unri_fiber_entry:
    hint #36 /* bti j */
    bl unri_fiber_main
    brk #1
    .cfi_endproc
    .size entry, . - entry

#if defined(__ARM_FEATURE_BTI_DEFAULT)
    .section .note.gnu.property, "a"
    .p2align 3
    .long 4, 16, 5
    .asciz "GNU"
    .long 0xc0000000, 4, 1, 0 /* branch target identification */
#endif
#endif
    .section .note.GNU-stack, "", %progbits
