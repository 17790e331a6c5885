// SPDX-License-Identifier: MIT
// sweep.h: blocks that something holds in place: what else is there goes.

#ifndef GC_SWEEP_H
#define GC_SWEEP_H

#include <sched.h>
#include "gc/heap.h"
#include "gc/wait.h"

// A block of the nursery at the end of a minor cycle, world stopped: what does not carry `epoch` and its own place goes, but for what lies behind a
// floor; the rest is eden.
void gc_sweep_young(gc_heap *heap, uint32_t block, unsigned epoch, const gc_floor *floors, unsigned floor_count);

// Held while the sweep changes a block or frees a large object, if there are minor cycles: they go on meanwhile, and look at what stays.
static inline void gc_sweep_lock(gc_heap *heap) {
  if (at_cas_full(&heap->sweep_lock, 0, 1)) {
    return;
  }
  at_add(&heap->sweep_wanted, 1);
  while (!at_cas_full(&heap->sweep_lock, 0, 1)) {
    sched_yield(); // who has it waits for nobody, but may have lost the processor
  }
  at_add(&heap->sweep_wanted, (uint64_t)-1);
}
// The sweep takes it for one block after the other: others come first.
static inline void gc_sweep_lock_last(gc_heap *heap) {
  for (unsigned looks = 0; at_load(&heap->sweep_wanted) != 0;) {
    gc_wait(&looks);
  }
  gc_sweep_lock(heap);
}
static inline void gc_sweep_unlock(gc_heap *heap) { at_store_release(&heap->sweep_lock, 0); }

#endif
