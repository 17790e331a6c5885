// SPDX-License-Identifier: MIT
// alloc.c: the slow half of allocation: new buffers, arrays, medium and large objects, and what happens when there is no memory.
//
// Runs in the mutator, in a critical section: a stop waits for its end.

#include "runtime/note.h"

enum {
  OOM_CYCLES = 100, // full cycles in which other threads are always quicker
  KEPT_CYCLES = 8,  // full cycles in which there was not room for all copies: each makes more of it
};

static uint64_t random_next(rt_thread *self) {
  self->random ^= self->random << 13;
  self->random ^= self->random >> 7;
  self->random ^= self->random << 17;
  return self->random;
}

// Before memory is handed out: starts a cycle if one is due, helps if the scanners do not keep up.
void rt_pace(rt_thread *self) {
  veil_heap *heap = self->heap;
  rt_safepoint(self);
  rt_note_memory(heap);
  rt_keeper_wake(heap);
  if (gc_wants_minor(heap->gc)) {
    rt_minor(self, false);
  } else if (gc_wants_trial(heap->gc)) {
    rt_trial(self);
  }
  if (gc_wants_cycle(heap->gc) || at32_load(&heap->cycle_wanted)) {
    rt_cycle_start(self);
  }
  if (heap->options.torture && random_next(self) % heap->options.torture == 0) {
    rt_cycle_start(self);
  }
  if (heap->options.torture && heap->options.generations != VEIL_GENERATIONS_OFF && random_next(self) % heap->options.torture == 0) {
    rt_minor(self, true);
    gc_trial_demand(heap->gc);
  }
  // At most a few units per buffer, so that no allocation takes long.
  bool idle = false;
  for (int i = 0; i < 2 && !idle && gc_wants_assist(heap->gc); i++) {
    idle = !rt_assist(self);
  }
  if (gc_wants_wait(heap->gc, idle)) {
    rt_nap(self);
  }
}

// NULL: not now; never in a section (veil_critical_begin).
static char *cell_try(rt_thread *self, const gc_wanted *want) {
  gc_heap *gc = self->heap->gc;
  unsigned sort = gc_header_sort(want->header);
  if (want->cell > GC_MEDIUM_MAX) {
    return self->section.depth != 0 ? gc_reserve_large(gc, &self->section.reserve, want) : gc_alloc_large(gc, want);
  }
  size_t align = GC_UNIT, lead = 0;
  if (__builtin_expect((want->header & GC_ALIGN_MASK) != 0, 0)) {
    align = gc_header_align(want->header);
    lead = gc_align_lead(self->open.tlab[sort].free, align);
  }
  if (want->cell > GC_SMALL_MAX || align == GC_ALIGN_MOST) { // a buffer may be no longer than a page, where such an object has no place
    return gc_alloc_medium(gc, &self->medium[sort], want);
  }
  veil_tlab *tlab = &self->open.tlab[sort];
  if ((size_t)(tlab->limit - tlab->free) < lead + want->cell) {
    char *base, *limit;
    if (!gc_alloc_buffer(gc, &self->lane[sort], sort, want->cell + align - GC_UNIT, &base, &limit)) {
      return NULL;
    }
    rt_section_buffer(self, sort, base);
    gc_buffer_leave(gc, self->tlab_start[sort], tlab->free);
    self->tlab_start[sort] = base;
    *tlab = (veil_tlab){base, limit};
    lead = align != GC_UNIT ? gc_align_lead(base, align) : 0;
  }
  if (lead != 0) {
    gc_cell_fill((gc_cell){tlab->free}, lead);
  }
  char *cell = tlab->free + lead;
  tlab->free = cell + want->cell;
  gc_cell_begin(cell, want);
  return cell;
}

void rt_out_of_memory(rt_thread *self, size_t bytes, const char *what) {
  veil_heap *heap = self->heap;
  if (heap->options.oom == VEIL_OOM_NULL) {
    rt_error_set("out of memory: %zu bytes wanted, %llu of %zu in use after a full collection", bytes,
                 (unsigned long long)gc_used_bytes(heap->gc), (size_t)at_load(&heap->gc->limit));
    return;
  }
  vm_fatal("out of memory: %s of %zu bytes does not fit: %zu of %zu bytes are in use after a full collection "
           "(option limit)",
           what, bytes, gc_used_bytes(heap->gc), (size_t)at_load(&heap->gc->limit));
}

bool rt_memory_find(rt_thread *self, size_t bytes, bool (*attempt)(rt_thread *self, void *arg), void *arg) {
  veil_heap *heap = self->heap;
  bool found = false;
  at_add(&heap->limit_reached, 1);
  rt_note_it(heap, RT_NOTE_LIMIT, bytes, 0, 0);
  if (at_load(&heap->gc->young_taken) != 0) {
    rt_minor(self, true);
    found = attempt(self, arg);
  }
  for (int cycles = 0; !found && cycles < OOM_CYCLES; cycles++) {
    gc_empty_all(heap->gc);
    // Whatever is under way may free enough; then a cycle of our own. Other threads may take what it frees: then again.
    if (gc_phase_now(heap->gc) == GC_IDLE && cycles > 0) {
      rt_cycle_start(self);
    }
    rt_cycle_wait(self);
    // Crumbs would do for this buffer, and then a cycle for each: a hang in all but name.
    bool exhausted = gc_exhausted(heap->gc, bytes);
    if (exhausted && cycles > 0 && (cycles >= KEPT_CYCLES || !gc_kept_some(heap->gc))) {
      break;
    }
    found = !exhausted && attempt(self, arg);
  }
  if (!found) {
    at_add(&heap->out_of_memory, 1);
    rt_note_it(heap, RT_NOTE_OOM, bytes, 0, 0);
  }
  return found;
}

typedef struct wish {
  const gc_wanted *want;
  char *cell;
} wish;

static bool wish_try(rt_thread *self, void *arg) {
  wish *w = arg;
  w->cell = cell_try(self, w->want);
  return w->cell != NULL;
}

// NULL: there is no memory, whatever is done.
static void *allocate_once(rt_thread *self, const gc_wanted *want) {
  wish w = {want, NULL};
  rt_enter(self);
  if (__builtin_expect(self->section.depth != 0, 0)) {
    rt_section_use(self, want);
  } else {
    rt_pace(self);
  }
  w.cell = cell_try(self, want);
  if (w.cell == NULL && self->section.depth != 0) { // all else was set aside for it
    vm_fatal("out of memory: a critical section (veil_critical_begin) allocates an object of a transient type, of which there was none in the process when it began");
  }
  if (w.cell == NULL) {
    rt_memory_find(self, want->cell, wish_try, &w);
  }
  char *object = w.cell ? w.cell + gc_header_bytes(want->header) : NULL;
  // A stop may come in rt_leave: what the stack holds then has to be the object.
  __asm__ volatile("" : "+r"(object) : : "memory");
  rt_leave(self);
  __asm__ volatile("" : "+r"(object));
  return object;
}

static __attribute__((noinline)) void section_refuse(const rt_thread *self) {
  if (self->section.depth == 0) {
    rt_section_refuse("allocation in another heap");
  }
}

static void *allocate(rt_thread *self, const gc_wanted *want) {
  if (self->next_here != NULL || rt_here != self) { // it is attached to several heaps
    section_refuse(self);
  }
  void *object = allocate_once(self, want);
  while (object == NULL && rt_oom_ask(self, want->cell)) {
    object = allocate_once(self, want);
  }
  if (object == NULL) {
    rt_out_of_memory(self, want->cell, "an object");
  }
  return object;
}

RT_EXPORT void *veil_alloc_slow_(veil_thread *open, veil_type *type) {
  rt_thread *self = rt_self_steady(open, "veil_new");
  if (type->fixed != NULL) {
    vm_fatal("veil_new: %s is a flexible array: use veil_new_flexible, which takes a length", type->name);
  }
  if (at_load_acquire((AO_t volatile *)&type->header) == 0) {
    rt_type_register(self, type);
  }
  gc_wanted want = {type->header, gc_round_cell(8 + type->size), 1, false, false};
  return allocate(self, &want);
}

static uint64_t aligned(uint64_t header, size_t alignment, const char *function) {
  if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > GC_ALIGN_MOST) {
    vm_fatal("%s: %zu is no alignment: a power of two up to %d is", function, alignment, (int)GC_ALIGN_MOST);
  }
  return alignment > GC_UNIT ? gc_header_aligned(header, alignment) : header;
}

RT_EXPORT void *veil_alloc_aligned(veil_thread *open, veil_type *type, size_t alignment) {
  rt_thread *self = rt_self_steady(open, "veil_new_aligned");
  if (type->fixed != NULL) {
    vm_fatal("veil_new_aligned: %s is a flexible array, which cannot be aligned", type->name);
  }
  if (at_load_acquire((AO_t volatile *)&type->header) == 0) {
    rt_type_register(self, type);
  }
  gc_wanted want = {aligned(type->header, alignment, "veil_new_aligned"), gc_round_cell(8 + type->size), 1, false, false};
  return allocate(self, &want);
}

RT_EXPORT void *veil_alloc_bytes_aligned(veil_thread *open, size_t length, size_t alignment) {
  rt_thread *self = rt_self_steady(open, "veil_new_bytes_aligned");
  uint64_t bits = aligned(0, alignment, "veil_new_bytes_aligned");
  gc_wanted want = {.length = length, .sized = true};
  if (!rt_type_sized(self, &want)) {
    if (self->heap->options.oom == VEIL_OOM_NULL) {
      rt_error_set("out of memory: %zu aligned bytes are too many for one object", length);
      return NULL;
    }
    vm_fatal("out of memory: %zu aligned bytes are too many for one object", length);
  }
  want.header |= bits;
  return allocate(self, &want);
}

static void *array_allocate(rt_thread *self, veil_type *type, size_t length, bool raw) {
  if (at_load_acquire((AO_t volatile *)&type->array_header) == 0) {
    rt_type_register(self, type);
  }
  size_t bytes, fixed = type->fixed != NULL ? type->fixed->offsets[0] : 0;
  if (__builtin_mul_overflow(length, type->size, &bytes) || bytes > SIZE_MAX / 4) {
    if (self->heap->options.oom == VEIL_OOM_NULL) {
      rt_error_set("out of memory: an array of %zu elements of %zu bytes overflows", length, type->size);
      return NULL;
    }
    vm_fatal("out of memory: an array of %zu elements of %zu bytes (%s) overflows", length, type->size, type->name);
  }
  gc_wanted want = {type->array_header, gc_round_cell(16 + fixed + bytes), length, raw, false};
  return allocate(self, &want);
}

RT_EXPORT void *veil_alloc_array(veil_thread *open, veil_type *type, size_t length) {
  rt_thread *self = rt_self_steady(open, "veil_new_array");
  if (type->fixed != NULL) {
    vm_fatal("veil_new_array: %s is a flexible array: use veil_new_flexible", type->name);
  }
  return array_allocate(self, type, length, false);
}

RT_EXPORT void *veil_alloc_flexible(veil_thread *open, veil_type *type, size_t length) {
  rt_thread *self = rt_self_steady(open, "veil_new_flexible");
  if (type->fixed == NULL) {
    vm_fatal("veil_new_flexible: %s is no flexible array (VEIL_TYPE_FLEXIBLE)", type->name);
  }
  return array_allocate(self, type, length, false);
}

RT_EXPORT void *veil_alloc_bytes_raw(veil_thread *open, size_t length) {
  return array_allocate(rt_self_steady(open, "veil_new_bytes_raw"), &veil_type_byte_, length, true);
}

RT_EXPORT size_t veil_length(veil_heap *heap, const void *object) {
  gc_heap *gc = heap->gc;
  if (!gc_in_heap(gc, (uintptr_t)object)) {
    vm_fatal("veil_length: %p is not in the heap", object);
  }
  // Through the view: this is the program's own access, and may trap like one.
  gc_cell cell = {gc_ref_cell(gc, (gc_ref){(uintptr_t)object}).alias - gc->delta};
  uint64_t header = gc_header_load(cell);
  if (header & GC_ARRAY) {
    return gc_cell_length(cell);
  }
  return gc_type_at(gc_header_type(header))->sized ? gc_data_bytes(cell, header) : 1;
}
