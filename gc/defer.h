// SPDX-License-Identifier: MIT
// defer.h: marks that a trap puts off (gc.deferred).
//
// A page of references may lead to hundreds of objects, each in a cache line of its own. Where an object is known to stay where it is, the slot that leads
// to it needs no change, so whoever traps on the page need not look at the object: it writes down the reference, and a scanner marks it later.

#ifndef GC_DEFER_H
#define GC_DEFER_H

#include "gc/forward.h"

enum {
  GC_DEFERRED = 1024,     // buffers
  GC_DEFERRED_REFS = 510, // of each
};

typedef struct gc_deferred {
  uint32_t volatile next; // index + 1
  unsigned count;
  uintptr_t view[GC_DEFERRED_REFS]; // of from-space
} gc_deferred;

// A buffer for the trap that holds this copier, if there is one, and this cycle puts marks off. Async-signal-safe, as all here.
void gc_deferred_take(gc_heap *heap, gc_copier *copier);
// Hands it to the scanners, if anything is in it. The page that it came from is still grey.
void gc_deferred_give(gc_heap *heap, gc_copier *copier);
// Marks what one buffer has. False: there is none. `pressing`: only if there are many.
bool gc_deferred_mark(gc_heap *heap, gc_copier *copier, bool pressing);

// Whether every object of this block of from-space that can be reached stays where it is.
static inline bool gc_is_unmoved(const gc_heap *heap, uint32_t block) {
  if (gc_is_large(heap, block) || gc_is_cold(heap, block)) { // in a cold block each page is veiled by itself
    return false;
  }
  return gc_is_aside(heap, block) || (gc_is_spared(heap, block) && block >= heap->young_blocks && !(gc_flags(heap, block) & (GC_BLOCK_FLOOR | GC_BLOCK_LEAF)) &&
                                      !(at8_load(&heap->still[block]) & GC_MIXED));
}

// Whether the reference was put down. Its block is veiled by then, for a mutator is going to see it.
static inline bool gc_defer(gc_heap *heap, gc_copier *copier, uintptr_t view) {
  gc_deferred *d = copier->deferred;
  uint32_t block = gc_block_of(heap, view);
  if (d->count == GC_DEFERRED_REFS || !gc_is_unmoved(heap, block)) {
    return false;
  }
  if (!gc_is_aside(heap, block) && !gc_is_veiled_block(heap, block)) {
    gc_block_keep(heap, block, false);
  }
  d->view[d->count++] = view;
  return true;
}

#endif
