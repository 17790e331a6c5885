// SPDX-License-Identifier: MIT
// describe.c: descriptions of heaps, for whoever puts one down together with its pages (veil/hooks.h).
//
// Neighbours: gc/describe.c has what the collector knows, named.c the roots. `take` and `again` run in a stop, in the thread that stopped the world: they copy and do nothing else. The
// rest: one thread at a time, any.

#include "runtime/describe.h"
#include <stdlib.h>
#include <string.h>
#include "gc/describe.h"
#include "runtime/named.h"

enum { SPARE_ROOTS = 1024 };

struct veil_description {
  veil_heap *heap;
  gc_description *gc;
  // As they were when it was taken: `root_count` of them.
  size_t root_room, root_count;
  bool roots_failed;
  rt_named_hold hold;
  uint64_t roots_seen[3]; // what told that they may have changed: roots_take_changed
  bool roots_told;        // they are as veil_description_roots has told last
  uint64_t types_told;    // how many types there were when veil_description_types told of them, plus 1; 0: it has not
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
    d->root_room = 2 * rt_named_hold_begin(heap, &d->hold) + SPARE_ROOTS;
    d->slots = malloc(d->root_room * (sizeof *d->slots + sizeof *d->names));
    d->gc = gc_description_open(heap->gc);
  }
  if (d == NULL || d->slots == NULL || d->gc == NULL) {
    rt_error_set("veil_description_open: no memory");
    if (d != NULL && d->gc != NULL) {
      gc_description_close(d->gc);
    }
    if (d != NULL) {
      rt_named_hold_end(heap, &d->hold);
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
  rt_named_hold_end(d->heap, &d->hold);
  described_forget(d);
  gc_description_close(d->gc);
  free(d->slots);
  free(d);
}

static void roots_take(veil_description *d) {
  size_t count = rt_named_count(d->heap);
  bool other = count != d->root_count;
  d->root_count = count;
  d->roots_failed = count > d->root_room;
  if (d->roots_failed) {
    d->root_count = 0;
  } else {
    other |= rt_named_list(d->heap, d->slots, d->names);
  }
  d->roots_told = d->roots_told && !other;
}

// The program changes roots, and cycles move what they refer to.
static void roots_take_changed(veil_description *d) {
  const gc_heap *gc = d->heap->gc;
  const uint64_t now[] = {d->heap->named_changes, gc->cycle, at_load(&gc->minor_cycles)};
  if (memcmp(now, d->roots_seen, sizeof now) != 0 || d->roots_failed) {
    memcpy(d->roots_seen, now, sizeof now);
    roots_take(d);
    d->hold.seen = now[0]; // the list has no name that went before
  }
}

RT_EXPORT void veil_description_take(veil_description *d) {
  d->roots_seen[0] = UINT64_MAX; // as of no other time
  roots_take_changed(d);
  gc_description_take(d->gc);
}

RT_EXPORT void veil_description_again(veil_description *d, const size_t *pages, size_t count) {
  roots_take_changed(d);
  gc_description_again(d->gc, pages, count);
}

typedef struct putting {
  veil_status (*put)(void *arg, const char *name, const void *bytes, size_t size);
  void *arg;
} putting;

static int section_put(void *arg, const char *name, const void *bytes, size_t size) {
  const putting *p = arg;
  return (int)p->put(p->arg, name, bytes, size);
}

static bool whole_check(const veil_description *d, const char *function) {
  if (gc_description_is_whole(d->gc) && !d->roots_failed) {
    return true;
  }
  rt_error_set("%s: %s", function, d->roots_failed || d->root_count != 0 ? "the heap has grown by more than there was memory for" : "there was no memory, or nothing was taken");
  return false;
}

RT_EXPORT veil_status veil_description_sections(veil_description *d, veil_status (*put)(void *arg, const char *name, const void *bytes, size_t size), void *arg) {
  described_forget(d); // of an earlier instant
  rt_named_tidy(d->heap);
  putting p = {put, arg};
  return whole_check(d, "veil_description_sections") ? (veil_status)gc_description_put(d->gc, section_put, &p) : VEIL_NO_MEMORY;
}

RT_EXPORT veil_status veil_description_changes(veil_description *d, veil_status (*put)(void *arg, const char *name, const void *bytes, size_t size), void *arg) {
  described_forget(d);
  rt_named_tidy(d->heap);
  putting p = {put, arg};
  return whole_check(d, "veil_description_changes") ? (veil_status)gc_description_changes(d->gc, section_put, &p) : VEIL_NO_MEMORY;
}

void rt_type_describe(unsigned number, const gc_type *type, veil_type_described *out) {
  _Static_assert(sizeof(size_t) == sizeof(uint64_t), "offsets are described as they are");
  uint64_t encoding = (uint64_t)type->low_tags | (uint64_t)type->high_min << 16 | (uint64_t)type->high_max << 32;
  *out = (veil_type_described){
      .name = type->name,
      .number = number,
      .flags = (uint32_t)type->layout | (type->tagged ? RT_TYPE_TAGGED : 0) | (type->sized ? RT_TYPE_SIZED : 0) | (type->transient ? RT_TYPE_TRANSIENT : 0),
      .size = type->size,
      .encoding = type->tagged ? encoding : 0,
      .fixed = type->fixed,
      .slot_count = type->count,
      .fixed_slot_count = type->fixed_count,
      .slots = (const uint64_t *)type->declared,
      .fixed_slots = (const uint64_t *)(type->declared != NULL ? type->declared + type->count : NULL),
  };
}

RT_EXPORT size_t veil_description_types(veil_description *d, const veil_type_described **out) {
  uint64_t known = at_load_acquire(&gc_types_known); // first: what comes meanwhile is told of once more
  size_t count = 0;
  for (unsigned id = GC_FIRST_TYPE; id < GC_TYPES; id++) { // with gaps, if a heap was restored
    count += gc_type_at(id) != NULL;
  }
  free(d->types);
  d->types = calloc(count != 0 ? count : 1, sizeof *d->types);
  *out = d->types;
  d->types_told = d->types != NULL ? known + 1 : 0;
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
  d->roots_told = d->roots != NULL;
  if (d->roots == NULL) {
    return 0;
  }
  size_t count = 0;
  for (size_t i = 0; i < d->root_count; i++) {
    if (gc_description_tells(d->gc, d->slots[i])) { // or it is transient
      d->roots[count++] = (veil_root_described){rt_named_text(d->names[i]), d->slots[i]};
    }
  }
  return count;
}

RT_EXPORT bool veil_description_types_changed(const veil_description *d) { return d->types_told != at_load_acquire(&gc_types_known) + 1; }

RT_EXPORT bool veil_description_roots_changed(const veil_description *d) { return !d->roots_told; }

RT_EXPORT bool veil_description_has(const veil_description *d, size_t page) { return gc_description_has(d->gc, page); }

typedef struct telling {
  const void *(*contents)(void *arg, size_t page);
  void *arg;
  bool lost; // they could not be had
} telling;

static const void *contents_tell(void *arg, size_t page) {
  telling *t = arg;
  const void *contents = t->contents(t->arg, page);
  t->lost |= contents == NULL;
  return contents;
}

RT_EXPORT bool veil_description_blanks(void) { return at_load_acquire(&gc_types_transient) != 0; }

RT_EXPORT veil_status veil_description_blank(veil_description *d, size_t page, void *copy, const void *(*contents)(void *arg, size_t page), void *arg) {
  telling t = {contents, arg, false};
  if (at_load_acquire(&gc_types_transient) == 0 || gc_description_blank(d->gc, page, copy, contents_tell, &t)) {
    return VEIL_OK;
  }
  if (!t.lost) {
    rt_error_set("veil_description_blank: no memory for a copy of an object with a trace callback");
  }
  return t.lost ? VEIL_IO : VEIL_NO_MEMORY;
}
