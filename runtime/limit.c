// SPDX-License-Identifier: MIT
// limit.c: what a program says about memory while it runs: the limit, what objects own outside the heap, what to do when there is none.
//
// Any thread; none of it in signal handlers.

#include <stdlib.h>
#include "runtime/runtime.h"

enum { EXTERNAL_STEP = 64 << 10 }; // bytes owned outside, after which a thread looks whether a cycle is due

RT_EXPORT veil_status veil_set_limit(veil_heap *heap, size_t bytes) {
  if (bytes < (size_t)2 << 20 || bytes > heap->options.reserve) {
    rt_error_set("veil_set_limit: %zu is out of range [%zu, %zu] (option reserve)", bytes, (size_t)2 << 20, heap->options.reserve);
    return VEIL_INVALID;
  }
  gc_limit_set(heap->gc, bytes);
  rt_keeper_trim(heap); // what is free and too much by the new limit
  return VEIL_OK;
}

// This thread's attachment to the heap, or NULL.
static rt_thread *attached(veil_heap *heap) {
  rt_thread *self = rt_here;
  while (self != NULL && self->heap != heap) {
    self = self->next_here;
  }
  return self;
}

RT_EXPORT void veil_external(veil_heap *heap, ptrdiff_t bytes) {
  if (!gc_external_add(heap->gc, bytes)) {
    vm_fatal("veil_external: %ld bytes more than the %zu there are: the sum would be below zero or beyond %ld", (long)bytes,
             (size_t)at_load(&heap->gc->external_bytes), (long)PTRDIFF_MAX);
  }
  rt_thread *self = attached(heap);
  // A small object may own a lot: a cycle may be due long before the next buffer. Not where it could not run: in a callback, between brackets.
  if (bytes <= 0 || self == NULL || self->critical != 0 || self->bracketed) {
    return;
  }
  self->external += (size_t)bytes;
  if (self->external >= EXTERNAL_STEP) {
    self->external = 0;
    rt_enter(self);
    rt_pace(self);
    rt_leave(self);
  }
}

// ---- Out of memory.

RT_EXPORT veil_status veil_set_oom_hook(veil_heap *heap, veil_oom_fn *fn, void *arg) {
  rt_section_refuse("veil_set_oom_hook");
  rt_oom_hook *hook = calloc(1, sizeof *hook);
  if (hook == NULL) {
    rt_error_set("veil_set_oom_hook: no memory");
    return VEIL_NO_MEMORY;
  }
  // Function and argument change together: the newest of a list, which is freed when the heap closes.
  hook->fn = fn;
  hook->arg = arg;
  do {
    hook->next = (rt_oom_hook *)at_load_acquire(&heap->oom_hook);
  } while (!at_cas_full(&heap->oom_hook, (uint64_t)hook->next, (uint64_t)hook));
  return VEIL_OK;
}

bool rt_oom_ask(rt_thread *self, size_t bytes) {
  const rt_oom_hook *hook = (const rt_oom_hook *)at_load_acquire(&self->heap->oom_hook);
  if (hook == NULL || hook->fn == NULL || self->in_oom_hook) {
    return false;
  }
  self->in_oom_hook = true;
  bool again = hook->fn(hook->arg, bytes);
  self->in_oom_hook = false;
  return again;
}

RT_EXPORT void veil_oom_hook_left(veil_thread *open) { rt_self_use(open, "veil_oom_hook_left")->in_oom_hook = false; }

void rt_oom_hooks_free(veil_heap *heap) {
  for (rt_oom_hook *hook = (rt_oom_hook *)at_load_acquire(&heap->oom_hook), *next; hook != NULL; hook = next) {
    next = hook->next;
    free(hook);
  }
}
