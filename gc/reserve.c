// SPDX-License-Identifier: MIT
// reserve.c: memory set aside for a mutator that is not going to wait: blocks for whatever it allocates, and a run for
// large objects.
//
// The mutator's slow half, in a critical section from gc_reserve_take to gc_reserve_give: no stop comes between, so no
// block of it becomes from-space. What is set aside counts as in use. alloc.c and large.c take from it.

#include "gc/alloc.h"
#include "gc/block.h"
#include "gc/gc.h"
#include "gc/runs.h"
#include "gc/young.h"

static uint32_t block_find(gc_heap *heap) {
  uint32_t block = GC_NONE;
  if (gc_young_is_on(heap)) {
    block = gc_young_take(heap, 0, false);
    at_add(&heap->young_taken, block != GC_NONE ? (uint64_t)-1 : 0); // it counts as taken when it is used
  }
  return block != GC_NONE ? block : gc_alloc_block(heap);
}

bool gc_reserve_take(gc_heap *heap, gc_reserve *reserve, size_t blocks, size_t large_blocks) {
  *reserve = (gc_reserve){.first = GC_NONE};
  if (blocks > heap->blocks || large_blocks > heap->blocks ||
      !gc_may_allocate(heap, (blocks + large_blocks) * GC_BLOCK)) {
    return false;
  }
  for (size_t i = 0; i < blocks; i++) {
    uint32_t block = block_find(heap);
    if (block == GC_NONE) {
      gc_reserve_give(heap, reserve);
      return false;
    }
    at32_store(&heap->link[block], reserve->first);
    reserve->first = block;
  }
  if (large_blocks != 0 && !gc_large_reserve(heap, reserve, (uint32_t)large_blocks)) {
    gc_reserve_give(heap, reserve);
    return false;
  }
  return true;
}

uint32_t gc_reserve_block(gc_heap *heap, gc_reserve *reserve, unsigned sort) {
  uint32_t block = reserve->first;
  VM_CHECK(block != GC_NONE, "what was set aside for a mutator does not suffice");
  reserve->first = at32_load(&heap->link[block]);
  if (gc_young_is_on(heap)) {
    at_add(&heap->young_taken, 1); // what is born elsewhere counts too
  }
  gc_block_dedicate(heap, block, sort);
  return block;
}

void gc_reserve_give(gc_heap *heap, gc_reserve *reserve) {
  while (reserve->first != GC_NONE) {
    uint32_t block = reserve->first;
    reserve->first = at32_load(&heap->link[block]);
    if (block < heap->young_blocks) {
      gc_young_free(heap, block);
    } else {
      gc_blocks_free(heap, block, 1, false);
    }
  }
  if (reserve->run_count != 0) {
    at_add(&heap->large_bytes, -((uint64_t)reserve->run_count << GC_BLOCK_SHIFT));
    gc_run_put(heap, (gc_run){reserve->run_block, reserve->run_count});
    reserve->run_count = 0;
    gc_kept_yield(heap);
  }
}
