// SPDX-License-Identifier: MIT
// kept.c: when memory of large objects that died is given back (gc.kept).
//
// Asking the system for each large object, and giving it back when it dies, costs several times what the program does with it. So it is kept;
// but it must not cost anybody else memory, nor stay for good. Mutators in their slow half, scanners and the keeper; never in traps.

#include "gc/alloc.h"
#include "gc/block.h"
#include "gc/gc.h"
#include "gc/pace.h"
#include "gc/runs.h"

enum { YIELD_LEAST = 1 << 20 }; // bytes given back at once

static void memory_release(gc_heap *heap, size_t page, size_t count, size_t bytes) {
  vm_release(heap->region, page, count);
  gc_commit_uncount(heap, bytes);
  gc_memory_returned(heap, bytes);
}

// The memory of blocks [from, limit) of a run that the caller has taken goes.
static void blocks_release(gc_heap *heap, uint32_t from, uint32_t limit) {
  for (uint32_t first = from, b = from; b < limit; first = b) {
    size_t pages = 0;
    for (; b < limit && *gc_run_pages(heap, b) != 0; b++) {
      pages += *gc_run_pages(heap, b);
      *gc_run_pages(heap, b) = 0;
    }
    if (pages != 0) {
      memory_release(heap, gc_block_page(heap, first), (size_t)(b - first) * heap->block_pages, pages << heap->page_shift);
    }
    for (; b < limit && *gc_run_pages(heap, b) == 0; b++) {
    }
  }
}

// From the end of a run, which the next object that fits gets last.
static size_t run_release(gc_heap *heap, gc_run run, size_t wanted) {
  uint32_t high = at32_load(&heap->large_high), limit = run.block + run.count < high ? run.block + run.count : high;
  uint32_t from = limit;
  size_t bytes = 0;
  while (from > run.block && bytes < wanted) {
    bytes += (size_t)*gc_run_pages(heap, --from) << heap->page_shift;
  }
  blocks_release(heap, from, limit);
  return bytes;
}

// The next object from *block on that has a tail loses it. The lock is held over the system call: nobody else may touch that block.
static size_t tail_release(gc_heap *heap, uint32_t *block) {
  size_t bytes = 0;
  gc_large_lock(heap);
  for (uint32_t high = at32_load(&heap->large_high); *block < high && bytes == 0;) {
    size_t size = heap->large_size[*block - heap->small_blocks];
    if (size == 0) {
      ++*block;
      continue;
    }
    *block += (uint32_t)((size + GC_BLOCK - 1) >> GC_BLOCK_SHIFT);
    size_t used = ((size - 1) & (GC_BLOCK - 1)) + 1;
    uint8_t *pages = gc_run_pages(heap, *block - 1);
    bytes = ((size_t)*pages << heap->page_shift) - used;
    if (bytes != 0) {
      *pages = (uint8_t)(used >> heap->page_shift);
      at_store(&heap->kept_tails, at_load(&heap->kept_tails) - bytes);
      memory_release(heap, gc_block_page(heap, *block - 1) + *pages, bytes >> heap->page_shift, bytes);
    }
  }
  gc_large_unlock(heap);
  return bytes;
}

size_t gc_kept_release_locked(gc_heap *heap, size_t bytes) {
  size_t freed = 0;
  while (freed < bytes) {
    gc_run run = gc_run_take_kept(heap);
    if (run.count == 0) {
      break;
    }
    freed += run_release(heap, run, bytes - freed);
    gc_run_put(heap, run);
  }
  uint32_t block = heap->small_blocks;
  while (freed < bytes && at_load(&heap->kept_tails) != 0 && block < at32_load(&heap->large_high)) {
    freed += tail_release(heap, &block);
  }
  uint64_t due = at_load(&heap->kept_due);
  at_store(&heap->kept_due, due > freed ? due - freed : 0);
  return freed;
}

void gc_kept_yield(gc_heap *heap) {
  uint64_t kept = gc_kept_bytes(heap), room = kept != 0 ? gc_pace_kept_room(heap, kept) : 0;
  // If somebody is at it already, he makes room.
  if (kept > room && at_cas_full(&heap->trim_lock, 0, 1)) {
    gc_kept_release_locked(heap, kept - room > YIELD_LEAST ? kept - room : YIELD_LEAST);
    at_store_release(&heap->trim_lock, 0);
  }
}

void gc_kept_swept(gc_heap *heap) {
  gc_large_lock(heap);
  // What one cycle happens not to find of the right size the next one needs: only what two did not need is due.
  at_store(&heap->kept_due, heap->kept_low < heap->kept_low_before ? heap->kept_low : heap->kept_low_before);
  heap->kept_low_before = heap->kept_low;
  heap->kept_low = at_load(&heap->kept_free);
  gc_large_unlock(heap);
}
