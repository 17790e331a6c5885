// SPDX-License-Identifier: MIT
// roots.c: where the collector begins: buffers, stacks and registers, registered slots, callbacks.
//
// The rt_world_* functions run in the pause, in the thread that flips. Registration runs in attached
// threads, in a critical section, so that the lists are whole whenever the world is stopped.

#include <stdlib.h>
#include <string.h>
#include "runtime/dump_format.h"
#include "runtime/named.h"
#include "veil/roots.h"

struct veil_root_visitor {
  gc_flip *flip;
  bool precise; // the second asking
};

void rt_world_buffers(void *arg, gc_flip *flip) {
  veil_heap *heap = arg;
  for (rt_thread *t = heap->threads; t != NULL; t = t->next) {
    for (int i = 0; i < GC_SORTS; i++) {
      t->tlab_start[i] = gc_flip_buffer(flip, t->tlab_start[i], t->open.tlab[i].free, t->open.tlab[i].limit);
      gc_flip_lane(flip, &t->lane[i]);
      gc_flip_lane(flip, &t->medium[i]);
    }
  }
}

static void callbacks_run(veil_heap *heap, gc_flip *flip, bool precise) {
  veil_root_visitor visitor = {flip, precise};
  for (rt_roots *r = heap->roots; r != NULL; r = r->next) {
    if (r->slots == NULL) {
      gc_flip_note(flip, precise ? DUMP_BY_CALLBACK_SLOT : DUMP_BY_CALLBACK, (uint64_t)r->fn, 0);
      r->fn(r->arg, &visitor);
    }
  }
}

// In a flip: how many objects this holder holds, which none before it does. `before`: those. Returns the sum.
static uint64_t held_count(veil_heap *heap, enum rt_holder holder, uint64_t before) {
  uint64_t all = at_load(&heap->gc->pinned_objects);
  if (gc_phase_now(heap->gc) == GC_FLIPPING) {
    at_store(&heap->pinned_by[holder], all - before);
  }
  return all;
}

void rt_world_ambiguous(void *arg, gc_flip *flip) {
  veil_heap *heap = arg;
  for (rt_thread *t = heap->threads; t != NULL; t = t->next) {
    if (pthread_equal(t->pthread, pthread_self())) {
      memcpy(t->registers, t->asked_registers, sizeof t->registers);
      t->stopped_sp = t->asked_sp; // the thread that flips
      t->alt_base = t->alt_limit = NULL;
    }
    rt_thread_scan(heap, t, flip);
  }
  uint64_t pinned = held_count(heap, RT_BY_STACKS, 0);
  rt_stacks_scan(heap, flip);
  pinned = held_count(heap, RT_BY_COROUTINES, pinned);
  rt_segments_scan(heap, flip);
  pinned = held_count(heap, RT_BY_VARIABLES, pinned);
  rt_touch_flip(heap, flip);
  pinned = held_count(heap, RT_BY_SYSTEM_CALLS, pinned);
  rt_pins_scan(heap, flip);
  pinned = held_count(heap, RT_BY_PINS, pinned);
  callbacks_run(heap, flip, false);
  held_count(heap, RT_BY_CALLBACKS, pinned);
}

void rt_world_precise(void *arg, gc_flip *flip) {
  veil_heap *heap = arg;
  for (rt_roots *r = heap->roots; r != NULL; r = r->next) {
    if (r->slots != NULL) {
      gc_flip_note(flip, DUMP_BY_SLOTS, (uint64_t)r->slots, 0);
      gc_flip_slots(flip, r->slots, r->count);
    }
  }
  for (rt_thread *t = heap->threads; t != NULL; t = t->next) {
    for (rt_roots *r = t->own_roots; r != NULL; r = r->next) {
      gc_flip_note(flip, DUMP_BY_THREAD_SLOTS, (uint64_t)t->tid, 0);
      gc_flip_slots(flip, r->slots, r->count);
    }
  }
  rt_named_forward(heap, flip);
  rt_stacks_forward(heap, flip);
  rt_starts_forward(heap, flip);
  callbacks_run(heap, flip, true);
}

RT_EXPORT void veil_root_slot(veil_root_visitor *visitor, void *slot) {
  if (visitor->precise) {
    gc_flip_slots(visitor->flip, slot, 1);
  }
}

RT_EXPORT void veil_root_range(veil_root_visitor *visitor, const void *base, const void *limit) {
  if (!visitor->precise) {
    gc_flip_range(visitor->flip, base, limit);
  }
}

static rt_thread *self_in(veil_heap *heap, const char *function) {
  rt_fork_lost(heap, function);
  rt_section_refuse(function);
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (t->heap == heap) {
      return t;
    }
  }
  vm_fatal("%s: this thread is not attached to the heap", function);
}

static veil_status roots_add(veil_heap *heap, const char *function, rt_roots roots) {
  rt_thread *self = self_in(heap, function);
  rt_roots *entry = malloc(sizeof *entry);
  if (entry == NULL) {
    rt_error_set("%s: no memory", function);
    return VEIL_NO_MEMORY;
  }
  *entry = roots;
  rt_enter(self);
  pthread_mutex_lock(&heap->roots_lock);
  entry->next = heap->roots;
  heap->roots = entry;
  pthread_mutex_unlock(&heap->roots_lock);
  rt_leave(self);
  return VEIL_OK;
}

static void roots_remove(veil_heap *heap, const char *function, rt_roots roots) {
  rt_thread *self = self_in(heap, function);
  rt_roots *found = NULL;
  rt_enter(self);
  pthread_mutex_lock(&heap->roots_lock);
  for (rt_roots **at = &heap->roots; *at != NULL && found == NULL;) {
    if ((*at)->slots == roots.slots && (*at)->fn == roots.fn && (*at)->arg == roots.arg) {
      found = *at;
      *at = found->next;
    } else {
      at = &(*at)->next;
    }
  }
  pthread_mutex_unlock(&heap->roots_lock);
  rt_leave(self);
  if (found == NULL) {
    vm_fatal("%s: these roots are not registered", function);
  }
  free(found);
}

static bool slots_check(veil_heap *heap, const char *function, void *slots, size_t count) {
  if (slots == NULL || (uintptr_t)slots % sizeof(void *) != 0 || count > SIZE_MAX / sizeof(void *)) {
    rt_error_set("%s: %p with %zu slots is no array of pointers", function, slots, count);
    return false;
  }
  if (gc_in_heap(heap->gc, (uintptr_t)slots)) {
    rt_error_set("%s: %p lies inside the heap: objects are no roots", function, slots);
    return false;
  }
  return true;
}

RT_EXPORT veil_status veil_add_roots(veil_heap *heap, void *slots, size_t count) {
  if (!slots_check(heap, "veil_add_roots", slots, count)) {
    return VEIL_INVALID;
  }
  return roots_add(heap, "veil_add_roots", (rt_roots){.slots = slots, .count = count});
}

RT_EXPORT void veil_remove_roots(veil_heap *heap, void *slots) {
  roots_remove(heap, "veil_remove_roots", (rt_roots){.slots = slots});
}

RT_EXPORT veil_status veil_add_roots_callback(veil_heap *heap, veil_roots_fn *fn, void *arg) {
  if (fn == NULL) {
    rt_error_set("veil_add_roots_callback: no callback");
    return VEIL_INVALID;
  }
  return roots_add(heap, "veil_add_roots_callback", (rt_roots){.fn = fn, .arg = arg});
}

RT_EXPORT void veil_remove_roots_callback(veil_heap *heap, veil_roots_fn *fn, void *arg) {
  roots_remove(heap, "veil_remove_roots_callback", (rt_roots){.fn = fn, .arg = arg});
}

// ---- Slots of a thread: its list changes in the thread itself, in a critical section.

RT_EXPORT veil_status veil_add_thread_roots(veil_thread *open, void *slots, size_t count) {
  rt_thread *self = rt_self_use(open, "veil_add_thread_roots");
  if (!slots_check(self->heap, "veil_add_thread_roots", slots, count)) {
    return VEIL_INVALID;
  }
  rt_roots *entry = malloc(sizeof *entry);
  if (entry == NULL) {
    rt_error_set("veil_add_thread_roots: no memory");
    return VEIL_NO_MEMORY;
  }
  rt_enter(self);
  *entry = (rt_roots){.slots = slots, .count = count, .next = self->own_roots};
  self->own_roots = entry;
  rt_leave(self);
  return VEIL_OK;
}

RT_EXPORT void veil_remove_thread_roots(veil_thread *open, void *slots) {
  rt_thread *self = rt_self_use(open, "veil_remove_thread_roots");
  rt_roots *found = NULL;
  rt_enter(self);
  for (rt_roots **at = &self->own_roots; *at != NULL; at = &(*at)->next) {
    if ((*at)->slots == slots) {
      found = *at;
      *at = found->next;
      break;
    }
  }
  rt_leave(self);
  if (found == NULL) {
    vm_fatal("veil_remove_thread_roots: these roots are not registered by this thread");
  }
  free(found);
}
