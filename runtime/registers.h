// SPDX-License-Identifier: MIT
// registers.h: where the callee-saved registers are, for the scan of roots.

#ifndef RT_REGISTERS_H
#define RT_REGISTERS_H

#include "runtime/runtime.h"

// Called by the entry points of registers_x86_64.c; `saved` as described there.
void rt_bracket_begin(veil_thread *self, uintptr_t *saved);
void rt_block_saved(rt_thread *self, uintptr_t *saved);

// For a function that stays active while its thread is stopped: its own pushes lie at or above its stack pointer.
static inline __attribute__((always_inline)) void *rt_registers_save(uintptr_t *to) {
  void *sp;
  __asm__ volatile("movq %%rbx, 0(%1)\n\tmovq %%rbp, 8(%1)\n\tmovq %%r12, 16(%1)\n\t"
                   "movq %%r13, 24(%1)\n\tmovq %%r14, 32(%1)\n\tmovq %%r15, 40(%1)\n\tmovq %%rsp, %0"
                   : "=&r"(sp)
                   : "r"(to)
                   : "memory");
  return sp;
}

#endif
