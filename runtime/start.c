// SPDX-License-Identifier: MIT
// start.c: threads that are given an object, and give one back.
//
// Nothing that is scanned holds what pthread_create and pthread_join carry, so it waits in a slot: first for the new thread, then for who
// joins it. The starter waits until the new thread is attached, or could not be.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/dump_format.h"
#include "runtime/futex.h"
#include "runtime/runtime.h"
#include "veil/start.h"

typedef enum phase {
  STARTING = 0,
  ATTACHED, // the object is the thread's
  FAILED,   // it could not attach, and has ended
  WRITTEN,  // *out is written: fn may begin
} phase;

typedef struct rt_start {
  // Constant once ATTACHED.
  veil_heap *heap;
  veil_thread_fn *fn;
  bool detached;
  pthread_t thread;
  char why[200];
  // Precise: the object until fn has it, its result then.
  void *slot;
  // The thread, before it ends; who joins.
  bool returned; // fn has, and did not leave by pthread_exit
  uint32_t volatile phase;
  // Under roots_lock.
  bool joining;
  struct rt_start *next;
} rt_start;

void rt_starts_forward(veil_heap *heap, gc_flip *flip) {
  gc_flip_note(flip, DUMP_BY_START, 0, 0);
  for (rt_start *s = heap->starts; s != NULL; s = s->next) {
    gc_flip_slots(flip, (uintptr_t *)&s->slot, 1);
  }
}

void rt_starts_close(veil_heap *heap) {
  while (heap->starts != NULL) {
    rt_start *next = heap->starts->next;
    free(heap->starts);
    heap->starts = next;
  }
}

// Those of other threads are not there to be joined; what they were given or have returned dies. The structures go when the heap closes.
void rt_starts_fork(veil_heap *heap) {
  for (rt_start *s = heap->starts; s != NULL; s = s->next) {
    s->slot = NULL;
    s->joining = true;
  }
}

static void list_change(rt_thread *self, rt_start *start, bool add) {
  veil_heap *heap = self->heap;
  rt_enter(self);
  pthread_mutex_lock(&heap->roots_lock);
  if (add) {
    start->next = heap->starts;
    heap->starts = start;
  }
  for (rt_start **at = &heap->starts; *at != NULL && !add; at = &(*at)->next) {
    if (*at == start) {
      *at = start->next;
      break;
    }
  }
  pthread_mutex_unlock(&heap->roots_lock);
  rt_leave(self);
}

// The waiting half of a hand-shake. Stops do not wait for this thread meanwhile.
static void phase_wait(rt_thread *self, rt_start *start, phase left) {
  sigset_t saved;
  os_signals_block(&saved);
  rt_block(self);
  while (at32_load_acquire(&start->phase) == left) {
    rt_wait(&start->phase, left, 0);
  }
  rt_unblock(self);
  os_signals_restore(&saved);
}

static void phase_set(rt_start *start, phase now) {
  at32_store_release(&start->phase, now);
  os_wake_all(&start->phase);
}

static void *thread_main(void *arg) {
  rt_start *start = arg;
  start->thread = pthread_self();
  veil_thread *open = veil_attach(start->heap);
  if (open == NULL) {
    snprintf(start->why, sizeof start->why, "%s", veil_error());
    phase_set(start, FAILED); // the starter's from here on
    return NULL;
  }
  rt_thread *self = (rt_thread *)open;
  void *object = start->slot; // on our stack from here on
  start->slot = NULL;
  phase_set(start, ATTACHED);
  phase_wait(self, start, ATTACHED);
  void *result = start->fn(open, object);
  rt_thread *here = rt_here;
  while (here != NULL && here != self) {
    here = here->next_here;
  }
  if (here == NULL) {
    vm_fatal("veil_thread_start: the function detached its thread, which veil does when it returns");
  }
  if (start->detached) {
    list_change(self, start, false);
    free(start);
  } else {
    start->slot = result;
    start->returned = true;
  }
  veil_detach(open);
  return NULL;
}

static bool is_detached(const pthread_attr_t *attr) {
  int state;
  return attr != NULL && pthread_attr_getdetachstate(attr, &state) == 0 && state == PTHREAD_CREATE_DETACHED;
}

RT_EXPORT veil_status veil_thread_start(veil_thread *open, pthread_t *out, const pthread_attr_t *attr, veil_thread_fn *fn,
                                        void *object) {
  rt_thread *self = rt_self_use(open, "veil_thread_start");
  if (out == NULL || fn == NULL) {
    rt_error_set("veil_thread_start: no place for the thread, or no function");
    return VEIL_INVALID;
  }
  rt_start *start = calloc(1, sizeof *start);
  if (start == NULL) {
    rt_error_set("veil_thread_start: no memory");
    return VEIL_NO_MEMORY;
  }
  start->heap = self->heap;
  start->fn = fn;
  start->detached = is_detached(attr);
  start->slot = object;
  list_change(self, start, true);
  pthread_t thread;
  int error = pthread_create(&thread, attr, thread_main, start);
  if (error == 0) {
    phase_wait(self, start, STARTING);
    if (at32_load_acquire(&start->phase) == ATTACHED) {
      *out = thread;
      phase_set(start, WRITTEN); // a detached one frees `start` soon
      return VEIL_OK;
    }
    if (!start->detached) {
      pthread_join(thread, NULL);
    }
  }
  list_change(self, start, false);
  rt_error_set("veil_thread_start: %s", error != 0 ? strerror(error) : start->why);
  free(start);
  return error == 0 || error == EAGAIN || error == ENOMEM ? VEIL_NO_MEMORY : VEIL_INVALID;
}

static rt_start *join_claim(rt_thread *self, pthread_t thread) {
  veil_heap *heap = self->heap;
  rt_enter(self);
  pthread_mutex_lock(&heap->roots_lock);
  rt_start *start = heap->starts;
  while (start != NULL && (at32_load_acquire(&start->phase) != WRITTEN || start->detached || start->joining ||
                           !pthread_equal(start->thread, thread))) {
    start = start->next;
  }
  if (start != NULL) {
    start->joining = true;
  }
  pthread_mutex_unlock(&heap->roots_lock);
  rt_leave(self);
  return start;
}

RT_EXPORT veil_status veil_thread_join(veil_thread *open, pthread_t thread, void **result) {
  rt_thread *self = rt_self_use(open, "veil_thread_join");
  rt_start *start = pthread_equal(thread, self->pthread) ? NULL : join_claim(self, thread);
  if (start == NULL) {
    rt_error_set("veil_thread_join: the thread was not started by veil_thread_start in this heap, is detached, joined already, or the caller");
    return VEIL_INVALID;
  }
  void *given = NULL;
  veil_block_begin(open);
  pthread_join(thread, &given);
  veil_block_end(open);
  // The slot is a root until the result is on our stack.
  void *volatile held = start->returned ? start->slot : given;
  list_change(self, start, false);
  free(start);
  if (result != NULL) {
    *result = held;
  }
  return VEIL_OK;
}
