// SPDX-License-Identifier: MIT
// describe.c: descriptions of heaps, for whoever puts one down together with its pages (veil/hooks.h).
//
// Neighbours: gc/describe.c has what the collector knows, named.c the roots. `take` runs in a stop, in the thread that stopped the world: it copies and does nothing else. The
// rest: one thread at a time, any.

#include "runtime/describe.h"
#include <stdlib.h>
#include "gc/describe.h"
#include "runtime/named.h"

enum { SPARE_ROOTS = 1024 };

struct veil_description {
  veil_heap *heap;
  gc_description *gc;
  // As they were when it was taken: `root_count` of them.
  size_t root_room, root_count;
  bool roots_failed;
  uintptr_t *slots;
  rt_name **names;
  // Made when they are asked for.
  veil_root_described *roots;
  veil_type_described *types;
};

static void described_forget(veil_description *d) {
  free(d->roots);
  free(d->types);
  d->roots = NULL;
  d->types = NULL;
}

RT_EXPORT veil_description *veil_description_open(veil_heap *heap) {
  rt_fork_lost(heap, "veil_description_open");
  rt_section_refuse("veil_description_open");
  veil_description *d = calloc(1, sizeof *d);
  if (d != NULL) {
    d->heap = heap;
    d->root_room = 2 * rt_named_hold(heap, true) + SPARE_ROOTS;
    d->slots = malloc(d->root_room * (sizeof *d->slots + sizeof *d->names));
    d->gc = gc_description_open(heap->gc);
  }
  if (d == NULL || d->slots == NULL || d->gc == NULL) {
    rt_error_set("veil_description_open: no memory");
    if (d != NULL && d->gc != NULL) {
      gc_description_close(d->gc);
    }
    if (d != NULL) {
      rt_named_hold(heap, false);
      free(d->slots);
    }
    free(d);
    return NULL;
  }
  d->names = (rt_name **)(d->slots + d->root_room);
  for (size_t i = 0; i < 2 * d->root_room; i++) {
    ((uintptr_t volatile *)d->slots)[i] = 0; // the stop is to meet no fault
  }
  return d;
}

RT_EXPORT void veil_description_close(veil_description *d) {
  if (d == NULL) {
    return;
  }
  rt_named_hold(d->heap, false);
  described_forget(d);
  gc_description_close(d->gc);
  free(d->slots);
  free(d);
}

RT_EXPORT void veil_description_take(veil_description *d) {
  d->root_count = rt_named_count(d->heap);
  d->roots_failed = d->root_count > d->root_room;
  if (d->roots_failed) {
    d->root_count = 0;
  } else {
    rt_named_list(d->heap, d->slots, d->names);
  }
  gc_description_take(d->gc);
}

typedef struct putting {
  veil_status (*put)(void *arg, const char *name, const void *bytes, size_t size);
  void *arg;
} putting;

static int section_put(void *arg, const char *name, const void *bytes, size_t size) {
  const putting *p = arg;
  return (int)p->put(p->arg, name, bytes, size);
}

RT_EXPORT veil_status veil_description_sections(veil_description *d, veil_status (*put)(void *arg, const char *name, const void *bytes, size_t size), void *arg) {
  described_forget(d); // of an earlier instant
  if (!gc_description_is_whole(d->gc) || d->roots_failed) {
    rt_error_set("veil_description_sections: %s", d->roots_failed || d->root_count != 0 ? "the heap has grown by more than there was memory for" : "there was no memory, or nothing was taken");
    return VEIL_NO_MEMORY;
  }
  putting p = {put, arg};
  return (veil_status)gc_description_put(d->gc, section_put, &p);
}

void rt_type_describe(unsigned number, const gc_type *type, veil_type_described *out) {
  _Static_assert(sizeof(size_t) == sizeof(uint64_t), "offsets are described as they are");
  uint64_t encoding = (uint64_t)type->low_tags | (uint64_t)type->high_min << 16 | (uint64_t)type->high_max << 32;
  *out = (veil_type_described){
      .name = type->name,
      .number = number,
      .flags = (uint32_t)type->layout | (type->tagged ? RT_TYPE_TAGGED : 0) | (type->sized ? RT_TYPE_SIZED : 0),
      .size = type->size,
      .encoding = type->tagged ? encoding : 0,
      .fixed = type->fixed,
      .slot_count = type->count,
      .fixed_slot_count = type->fixed_count,
      .slots = (const uint64_t *)type->offsets,
      .fixed_slots = (const uint64_t *)type->fixed_offsets,
  };
}

RT_EXPORT size_t veil_description_types(veil_description *d, const veil_type_described **out) {
  size_t count = 0;
  for (unsigned id = GC_FIRST_TYPE; id < GC_TYPES; id++) { // with gaps, if a heap was restored
    count += gc_type_at(id) != NULL;
  }
  free(d->types);
  d->types = calloc(count != 0 ? count : 1, sizeof *d->types);
  *out = d->types;
  size_t n = 0;
  for (unsigned id = GC_FIRST_TYPE; id < GC_TYPES && d->types != NULL && n < count; id++) {
    if (gc_type_at(id) != NULL) {
      rt_type_describe(id, gc_type_at(id), &d->types[n++]);
    }
  }
  return n;
}

RT_EXPORT size_t veil_description_roots(veil_description *d, const veil_root_described **out) {
  free(d->roots);
  d->roots = calloc(d->root_count != 0 ? d->root_count : 1, sizeof *d->roots);
  *out = d->roots;
  if (d->roots == NULL) {
    return 0;
  }
  for (size_t i = 0; i < d->root_count; i++) {
    d->roots[i] = (veil_root_described){rt_named_text(d->names[i]), d->slots[i]};
  }
  return d->root_count;
}

RT_EXPORT bool veil_description_has(const veil_description *d, size_t page) { return gc_description_has(d->gc, page); }
