// SPDX-License-Identifier: MIT
// registers.h: where the callee-saved registers are, for the scan of roots.

#ifndef RT_REGISTERS_H
#define RT_REGISTERS_H

#include "runtime/runtime.h"

// Called by the entry points of registers_x86_64.c; `saved` as described there.
void rt_bracket_begin(veil_thread *self, uintptr_t *saved);
void rt_block_saved(rt_thread *self, uintptr_t *saved);
void rt_stack_switch_saved(veil_thread *self, struct veil_stack *to, uintptr_t *saved);

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

// While a thread waits for a lock of one heap, or stops its mutators, it counts as blocked in its others: each might be stopped by
// somebody who waits for this one (rt.heaps). Signals are blocked until rt_others_unblock. The caller stays active until then. `self` may be NULL.
void rt_others_block_saved(rt_thread *self, const uintptr_t *registers, void *sp);
void rt_others_unblock(bool blocked, const sigset_t *saved);
static inline __attribute__((always_inline)) bool rt_others_block(rt_thread *self, sigset_t *saved) {
  if (rt_here == NULL || (rt_here == self && self->next_here == NULL)) {
    return false;
  }
  uintptr_t registers[6];
  void *sp = rt_registers_save(registers);
  os_signals_block(saved);
  rt_others_block_saved(self, registers, sp);
  return true;
}

#endif
