// SPDX-License-Identifier: MIT
// finalize.c: who calls finalizers: the program, or a thread of ours.
//
// gc/links.c finds what is due, and keeps it in a queue. The thread is a mutator like any other, in brackets while
// nothing is due.

#include <string.h>
#include <sys/prctl.h>
#include "gc/links.h"
#include "runtime/futex.h"
#include "runtime/runtime.h"
#include "veil/weak.h"

RT_EXPORT veil_finalizer veil_finalize(veil_thread *open, void *object, veil_finalizer_fn *fn, void *data) {
  rt_thread *self = rt_self_use(open, "veil_finalize");
  gc_heap *gc = self->heap->gc;
  if (object == NULL || fn == NULL) {
    vm_fatal("veil_finalize: there is no %s", object == NULL ? "object" : "function");
  }
  uint32_t link = rt_link_new(self, GC_LINK_FINAL, object, (uintptr_t)fn, (uintptr_t)data, "veil_finalize");
  veil_finalizer made = link != GC_NONE ? (uint64_t)gc_link_serial(gc, link) << 32 | (link + 1) : 0;
  __asm__ volatile("" ::"r"(object)); // held until here, so it is still the link's serial
  return made;
}

RT_EXPORT bool veil_finalizer_cancel(veil_thread *open, veil_finalizer made) {
  rt_thread *self = rt_self_use(open, "veil_finalizer_cancel");
  rt_enter(self);
  bool found = gc_final_cancel(self->heap->gc, (uint32_t)made - 1, (uint32_t)(made >> 32));
  rt_leave(self);
  return found;
}

static bool one_run(rt_thread *self) {
  gc_final final;
  rt_enter(self);
  bool found = gc_final_take(self->heap->gc, &final);
  void *object = found ? (void *)final.object : NULL;
  rt_leave(self);
  if (found) {
    ((veil_finalizer_fn *)final.owner)(&self->open, object, (void *)final.data);
    at_add(&self->heap->finalized, 1);
  }
  return found;
}

RT_EXPORT size_t veil_finalizers_run(veil_thread *open, size_t most) {
  rt_thread *self = rt_self_use(open, "veil_finalizers_run");
  size_t n = 0;
  while (n < most && one_run(self)) {
    n++;
  }
  return n;
}

RT_EXPORT size_t veil_finalizers_due(veil_heap *heap) { return at_load(&heap->gc->links.count[GC_LINK_READY]); }

// ---- The thread.

void rt_world_finals(void *arg) { rt_post(&((veil_heap *)arg)->finals); }

static void *finalizer_main(void *arg) {
  veil_heap *heap = arg;
  prctl(PR_SET_NAME, "veil-finalizer");
  veil_thread *self = veil_attach(heap);
  for (uint32_t finals; self != NULL && (finals = at32_load_acquire(&heap->finals), !at32_load_acquire(&heap->finalizer_closing));) { // in this order, as a scanner
    if (veil_finalizers_run(self, 256) == 0) {
      sigset_t saved;
      rt_thread *t = (rt_thread *)self;
      rt_enter(t);
      os_signals_block(&saved);
      rt_block(t);
      rt_wait(&heap->finals, finals, 0);
      rt_unblock(t);
      os_signals_restore(&saved);
      rt_leave(t);
    }
  }
  if (self != NULL) {
    veil_detach(self);
  }
  return NULL;
}

// Under the lock of forks: two callers start one thread.
static bool start(veil_heap *heap) {
  sigset_t saved;
  os_signals_block(&saved);
  int error = pthread_create(&heap->finalizer, NULL, finalizer_main, heap);
  os_signals_restore(&saved);
  if (error != 0) {
    rt_error_set("veil_finalizers_start: cannot start a thread: %s", strerror(error));
  }
  heap->finalizer_runs = error == 0;
  return error == 0;
}

RT_EXPORT veil_status veil_finalizers_start(veil_heap *heap) {
  rt_fork_lost(heap, "veil_finalizers_start");
  rt_section_refuse("veil_finalizers_start");
  rt_fork_hold();
  bool done = heap->finalizer_runs || start(heap);
  rt_fork_release();
  return done ? VEIL_OK : VEIL_NO_MEMORY;
}

void rt_finalizer_fork(veil_heap *heap) {
  if (heap->finalizer_runs) {
    start(heap);
  }
}

void rt_finalizer_stop(veil_heap *heap) {
  if (heap->finalizer_runs) {
    at32_store_release(&heap->finalizer_closing, 1);
    rt_post(&heap->finals);
    pthread_join(heap->finalizer, NULL);
    heap->finalizer_runs = false;
  }
}
