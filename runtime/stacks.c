// SPDX-License-Identifier: MIT
// stacks.c: where the stacks of mutators are, and what on them counts: their own, those of coroutines, alternate ones.
//
// Neighbours: registers_x86_64.c saves registers for veil_stack_switch; roots.c asks in the pause. The list of stacks changes in attached threads, in a
// critical section, under roots_lock; the pause reads it without. What a stop finds in the window between veil_stack_switch and the switch itself is right because
// nobody believes what was said, only where stack pointers are (rt.stacks).

#include <stdlib.h>
#include <string.h>
#include "runtime/dump_format.h"
#include "runtime/registers.h"
#include "veil/roots.h"

// Below where a stack was left: the switch itself may push registers there.
enum { SWITCH_BYTES = 128 };

#define SIGNATURE 0x7665696c2d73746bull

struct veil_stack {
  // Constant.
  uint64_t signature;
  veil_heap *heap;
  char *low, *base;
  // The thread that runs on it, or last did.
  rt_left left;
  rt_thread *volatile runner; // who said that it goes on here; under roots_lock
  void *slot;
  // World stopped.
  char *live; // the stack pointer of the thread that stands on it, or NULL
  // Under roots_lock.
  veil_stack *next;
};

static bool holds(const char *low, const char *base, const char *sp) { return sp >= low && sp < base; }

static char *below(char *sp, char *low) { return sp - low > SWITCH_BYTES ? sp - SWITCH_BYTES : low; }

static veil_stack *stack_under(veil_heap *heap, rt_thread *t, char *sp) {
  if (t->stack != NULL && holds(t->stack->low, t->stack->base, sp)) {
    return t->stack;
  }
  veil_stack *s = heap->stacks;
  while (s != NULL && !holds(s->low, s->base, sp)) {
    s = s->next;
  }
  return s;
}

static char *lower(char *a, char *b) { return a < b ? a : b; }

// A thread on an alternate stack: the frame of the signal that switched holds the old stack pointer, so the stack that it was on is pointed to from there.
// Any other stack is scanned from further down than need be, at worst.
__attribute__((no_sanitize("address", "thread"))) static char *alternate_scan(veil_heap *heap, rt_thread *t) {
  char *own = t->native.sp;
  for (uintptr_t *at = (uintptr_t *)t->alt_base; (char *)(at + 1) <= t->alt_limit; at++) {
    char *word = (char *)*at;
    if (holds(t->stack_low, t->stack_base, word)) {
      own = lower(own, below(word, t->stack_low));
    }
    for (veil_stack *s = heap->stacks; s != NULL; s = s->next) {
      if (holds(s->low, s->base, word)) {
        s->live = lower(s->live ? s->live : s->left.sp, below(word, s->low));
      }
    }
  }
  return own;
}

static void left_scan(gc_flip *flip, const rt_left *left) {
  gc_flip_range(flip, left->registers, left->registers + sizeof left->registers / sizeof *left->registers);
}

void rt_thread_scan(veil_heap *heap, rt_thread *t, gc_flip *flip) {
  gc_flip_note(flip, DUMP_BY_REGISTERS, (uint64_t)t->tid, 0);
  gc_flip_range(flip, t->registers, t->registers + sizeof t->registers / sizeof *t->registers);
  char *sp = t->stopped_sp, *own = sp;
  if (t->alt_base != NULL) {
    left_scan(flip, &t->native);
    gc_flip_note(flip, DUMP_BY_STACK, (uint64_t)t->tid, 0);
    gc_flip_range(flip, t->alt_base, t->alt_limit);
    own = alternate_scan(heap, t);
  } else if (sp < t->stack_low || sp > t->stack_base) {
    veil_stack *s = stack_under(heap, t, sp);
    if (s == NULL) {
      vm_fatal("a collection on a stack that is not the thread's own: detach, or switch back, before it, or register the stack "
               "(veil_stack_open); its stack pointer is %p",
               (void *)sp);
    }
    s->live = s->live ? lower(s->live, sp) : sp;
    own = t->native.sp;
    left_scan(flip, &t->native);
  }
  gc_flip_note(flip, DUMP_BY_STACK, (uint64_t)t->tid, 0);
  gc_flip_range(flip, own, t->stack_base);
}

void rt_stacks_scan(veil_heap *heap, gc_flip *flip) {
  for (veil_stack *s = heap->stacks; s != NULL; s = s->next) {
    gc_flip_note(flip, DUMP_BY_COROUTINE_REGISTERS, (uint64_t)s->base, 0);
    left_scan(flip, &s->left); // of no use to a stack that is in use, and no harm
    gc_flip_note(flip, DUMP_BY_COROUTINE, (uint64_t)s->base, 0);
    gc_flip_range(flip, s->live ? s->live : s->left.sp, s->base);
    s->live = NULL;
  }
}

void rt_stacks_forward(veil_heap *heap, gc_flip *flip) {
  for (veil_stack *s = heap->stacks; s != NULL; s = s->next) {
    gc_flip_note(flip, DUMP_BY_COROUTINE_SLOT, (uint64_t)s->base, 0);
    gc_flip_slots(flip, (uintptr_t *)&s->slot, 1);
  }
}

void rt_stacks_close(veil_heap *heap) {
  while (heap->stacks != NULL) {
    veil_stack *next = heap->stacks->next;
    heap->stacks->signature = 0;
    free(heap->stacks);
    heap->stacks = next;
  }
}

// A thread ends on a stack of its coroutines (pthread_exit): nobody runs there any more.
void rt_stacks_abandon(rt_thread *self) {
  if (self->stack != NULL) {
    self->stack->left.sp = self->stack->base;
    memset(self->stack->left.registers, 0, sizeof self->stack->left.registers);
    self->stack->runner = NULL;
    self->stack = NULL;
  }
}

static void stack_check(rt_thread *self, veil_stack *stack, const char *function) {
  if (stack == NULL || stack->signature != SIGNATURE || stack->heap != self->heap) {
    vm_fatal("%s: %p is no stack of this heap", function, (void *)stack);
  }
}

RT_EXPORT veil_stack *veil_stack_open(veil_thread *open, void *base, size_t bytes) {
  rt_thread *self = rt_self_use(open, "veil_stack_open");
  veil_heap *heap = self->heap;
  char *low = base, *limit = low + bytes;
  if (base == NULL || bytes < sizeof(void *) || limit < low || gc_in_heap(heap->gc, (uintptr_t)low)) {
    rt_error_set("veil_stack_open: [%p, +%zu) is no memory for a stack", base, bytes);
    return NULL;
  }
  veil_stack *stack = calloc(1, sizeof *stack);
  if (stack == NULL) {
    rt_error_set("veil_stack_open: no memory");
    return NULL;
  }
  *stack = (veil_stack){.signature = SIGNATURE, .heap = heap, .low = low, .base = limit, .left = {.sp = limit}};
  rt_enter(self);
  pthread_mutex_lock(&heap->roots_lock);
  bool overlaps = low < self->stack_base && self->stack_low < limit;
  for (veil_stack *s = heap->stacks; s != NULL && !overlaps; s = s->next) {
    overlaps = low < s->base && s->low < limit;
  }
  if (!overlaps) {
    stack->next = heap->stacks;
    heap->stacks = stack;
  }
  pthread_mutex_unlock(&heap->roots_lock);
  rt_leave(self);
  if (overlaps) {
    rt_error_set("veil_stack_open: [%p, +%zu) overlaps another stack", base, bytes);
    free(stack);
    return NULL;
  }
  return stack;
}

// The rest of veil_stack_switch: `saved` as registers_x86_64.c has it.
void rt_stack_switch_saved(veil_thread *open, veil_stack *to, uintptr_t *saved) {
  rt_thread *self = rt_self_use(open, "veil_stack_switch");
  veil_heap *heap = self->heap;
  if (to != NULL) {
    stack_check(self, to, "veil_stack_switch");
  }
  char *sp = (char *)(saved + 7);
  bool strange = false;
  rt_enter(self);
  pthread_mutex_lock(&heap->roots_lock);
  rt_thread *other = to != NULL && to->runner != self ? to->runner : NULL;
  veil_stack *from = stack_under(heap, self, sp); // what is left is where the stack pointer is, whatever was said
  strange = from == NULL && !holds(self->stack_low, self->stack_base, sp);
  if (other == NULL && !strange && (to != self->stack || to != from)) {
    rt_left *left = from != NULL ? &from->left : &self->native;
    left->sp = below(sp, from != NULL ? from->low : self->stack_low);
    memcpy(left->registers, saved + 1, sizeof left->registers);
    if (self->stack != NULL) {
      self->stack->runner = NULL;
    }
    if (to != NULL) {
      to->runner = self;
    }
    self->stack = to;
  }
  pthread_mutex_unlock(&heap->roots_lock);
  rt_leave(self);
  if (strange) {
    vm_fatal("veil_stack_switch: called on a stack that is not registered (veil_stack_open); its stack pointer is %p", (void *)sp);
  }
  if (other != NULL) {
    vm_fatal("veil_stack_switch: another thread runs on the stack %p", (void *)to);
  }
}

RT_EXPORT void veil_stack_drop(veil_thread *open, veil_stack *stack) {
  rt_thread *self = rt_self_use(open, "veil_stack_drop");
  veil_heap *heap = self->heap;
  stack_check(self, stack, "veil_stack_drop");
  rt_enter(self);
  pthread_mutex_lock(&heap->roots_lock);
  bool used = stack->runner != NULL || holds(stack->low, stack->base, (char *)__builtin_frame_address(0));
  for (veil_stack **at = &heap->stacks; *at != NULL && !used; at = &(*at)->next) {
    if (*at == stack) {
      *at = stack->next;
      break;
    }
  }
  pthread_mutex_unlock(&heap->roots_lock);
  rt_leave(self);
  if (used) {
    vm_fatal("veil_stack_drop: a thread runs on the stack %p", (void *)stack);
  }
  stack->signature = 0;
  free(stack);
}

RT_EXPORT void **veil_stack_slot(veil_stack *stack) { return &stack->slot; }
