// SPDX-License-Identifier: MIT
// runs.h: free runs of blocks in the large zone, and the memory that they keep. Not in traps.

#ifndef GC_RUNS_H
#define GC_RUNS_H

#include "gc/heap.h"

// Blocks that nobody else has: taken out of the free runs, or about to be put there.
typedef struct gc_run {
  uint32_t block, count; // count 0: none
} gc_run;

void gc_runs_open(gc_heap *heap);
// While the heap opens: what no object has is free, and has no memory. Objects' sizes are there, and large_high.
void gc_runs_rebuild(gc_heap *heap);
// With the world stopped: there is no object any more, and what has memory is nobody's concern. To be followed by gc_runs_rebuild.
void gc_runs_reset(gc_heap *heap);

void gc_large_lock(gc_heap *heap);
void gc_large_unlock(gc_heap *heap);

// `count` blocks for an object, rather some that have memory. None: no free run is so long.
gc_run gc_run_take(gc_heap *heap, uint32_t count);
// A free run that has memory, whole: a long one, long unused. None: there is none.
gc_run gc_run_take_kept(gc_heap *heap);
// Puts blocks back. Their memory, as `large_pages` has it, is kept.
void gc_run_put(gc_heap *heap, gc_run run);

// Pages of the block that have memory.
static inline uint8_t *gc_run_pages(const gc_heap *heap, uint32_t block) {
  return &heap->large_pages[block - heap->small_blocks];
}

// What the large zone holds without need, in bytes.
static inline uint64_t gc_kept_bytes(const gc_heap *heap) { return at_load(&heap->kept_free) + at_load(&heap->kept_tails); }

// Aborts if runs, bins and counts do not agree. World stopped; others may be taking and putting.
void gc_runs_verify(gc_heap *heap, const char *when);

// ---- kept.c

// Gives back at least so many bytes of what is kept, if there are so many: free runs first, then tails. How many. Under trim_lock.
size_t gc_kept_release_locked(gc_heap *heap, size_t bytes);
// The sweep is over: what lay unused since the last but one is due.
void gc_kept_swept(gc_heap *heap);

#endif
