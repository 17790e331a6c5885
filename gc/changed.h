// SPDX-License-Identifier: MIT
// changed.h: when words outside of the heap were changed last, group by group: what a description has to look at again (describe.c).
//
// Neighbours: links.c and table.c. Keeps gc.changed.

#ifndef GC_CHANGED_H
#define GC_CHANGED_H

#include "gc/heap.h"

enum { GC_CHANGES_GROUP = 128 }; // links, entries or tables

static inline void gc_changed(const gc_heap *heap, gc_changes *changes, uint64_t number) {
  uint64_t now = at_load(&heap->described);
  AO_t *at = &changes->at[number / GC_CHANGES_GROUP];
  if (at_load(at) != now) { // hardly ever: the word may be in all processors' caches
    at_store(at, now);
    at_store(&changes->last, now);
  }
}

#endif
