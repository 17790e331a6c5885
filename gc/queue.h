// SPDX-License-Identifier: MIT
// queue.h: slots between their discovery and their forwarding.

#ifndef GC_QUEUE_H
#define GC_QUEUE_H

#include "gc/defer.h"

// Asks for the referents of the slots just found; forwards those that were asked for before.
void gc_queue_turn(gc_heap *heap, gc_copier *copier);

// `word` is what the slot held: a reference to from-space, perhaps with tags. The slot belongs to a page that the
// caller holds, or to an object that no mutator writes.
static inline void gc_queue_add(gc_heap *heap, gc_copier *copier, gc_slot slot, uint64_t word) {
  if (__builtin_expect(heap->colds, 0) && gc_is_held_whole(heap, word & GC_ADDRESS_MASK)) {
    return; // it is marked, and stays
  }
  if (__builtin_expect(copier->deferred != NULL, 0) && gc_defer(heap, copier, word & GC_ADDRESS_MASK)) {
    return;
  }
  gc_batch *found = &copier->batch[copier->finding];
  found->seen[found->count++] = (gc_seen){slot, word};
  if (found->count == GC_BATCH) {
    gc_queue_turn(heap, copier);
  }
}

// Forwards what is left.
void gc_queue_drain(gc_heap *heap, gc_copier *copier);

static inline bool gc_queue_is_empty(const gc_copier *copier) {
  return copier->batch[0].count + copier->batch[1].count == 0;
}

#endif
