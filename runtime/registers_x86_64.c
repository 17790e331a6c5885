// SPDX-License-Identifier: MIT
// registers_x86_64.c: the callee-saved registers of a caller, which may hold its references.
//
// A C function cannot save them in time: by its first statement it may have pushed some into a frame that is gone when it
// returns, while the thread goes on being blocked. So the entry points of blocking are written here.

#include "runtime/registers.h"

// NAME(self, …) calls TARGET(self, …, saved), with `saved` in the register SAVED: saved[0] being padding, saved[1..6] the registers, and above them the return address and
// the caller's frame.
#define RT_ENTRY(NAME, TARGET, SAVED)                                                                                         \
  __asm__(".text\n.globl " #NAME "\n.type " #NAME ", @function\n" #NAME ":\n"                                          \
          ".cfi_startproc\n"                                                                                           \
          "pushq %rbx\n.cfi_adjust_cfa_offset 8\npushq %rbp\n.cfi_adjust_cfa_offset 8\n"                               \
          "pushq %r12\n.cfi_adjust_cfa_offset 8\npushq %r13\n.cfi_adjust_cfa_offset 8\n"                               \
          "pushq %r14\n.cfi_adjust_cfa_offset 8\npushq %r15\n.cfi_adjust_cfa_offset 8\n"                               \
          "subq $8, %rsp\n.cfi_adjust_cfa_offset 8\n"                                                                  \
          "movq %rsp, %" SAVED "\ncall " #TARGET "\n"                                                                        \
          "addq $56, %rsp\n.cfi_adjust_cfa_offset -56\nret\n.cfi_endproc\n.size " #NAME ", .-" #NAME "\n")

RT_ENTRY(veil_block_begin, rt_bracket_begin, "rsi");
RT_ENTRY(rt_block, rt_block_saved, "rsi");
RT_ENTRY(veil_stack_switch, rt_stack_switch_saved, "rdx"); // after its two arguments
__asm__(".hidden rt_block\n.hidden rt_bracket_begin\n.hidden rt_block_saved\n.hidden rt_stack_switch_saved\n");
