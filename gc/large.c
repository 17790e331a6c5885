// SPDX-License-Identifier: MIT
// large.c: objects above 32 KiB: whole blocks of their own, in the large zone; they never move.
//
// Allocation and freeing take `large_lock`: mutators in their slow half and the sweeper, never a trap and never a
// stopped thread. Marking is lock-free.

#include <sched.h>
#include "gc/alloc.h"
#include "gc/block.h"
#include "gc/forward.h"
#include "gc/gc.h"

static void large_lock(gc_heap *heap) {
  while (!at_cas_full(&heap->large_lock, 0, 1)) {
    sched_yield();
  }
}

static void large_unlock(gc_heap *heap) { at_store_release(&heap->large_lock, 0); }

// Next fit over the space table. The zone is far larger than what may be held, so holes matter little.
static uint32_t run_find_locked(gc_heap *heap, uint32_t count) {
  uint32_t base = heap->large_cursor;
  for (int pass = 0; pass < 2; pass++) {
    uint32_t run = 0;
    for (uint32_t b = base; b < heap->blocks; b++) {
      run = gc_space(heap, b) == 0 ? run + 1 : 0;
      if (run == count) {
        heap->large_cursor = b + 1;
        return b + 1 - count;
      }
    }
    base = heap->small_blocks;
  }
  return GC_NONE;
}

char *gc_alloc_large(gc_heap *heap, uint64_t header, size_t cell_bytes, size_t length) {
  size_t page_count = (cell_bytes + 16 + heap->page_size - 1) >> heap->page_shift;
  size_t bytes = page_count << heap->page_shift;
  size_t block_count = (bytes + GC_BLOCK - 1) >> GC_BLOCK_SHIFT;
  if (block_count > heap->blocks - heap->small_blocks || !gc_may_allocate(heap, bytes)) {
    return NULL;
  }
  while (!gc_commit_count(heap, bytes)) {
    // Memory that waits in free blocks, for a cycle to come, makes room.
    if (!gc_free_memory(heap, bytes)) {
      return NULL;
    }
  }
  large_lock(heap);
  uint32_t head = run_find_locked(heap, (uint32_t)block_count);
  if (head == GC_NONE) {
    large_unlock(heap);
    gc_commit_uncount(heap, bytes);
    return NULL;
  }
  heap->large_size[head - heap->small_blocks] = bytes;
  if (head + block_count > at32_load(&heap->large_high)) {
    at32_store(&heap->large_high, head + (uint32_t)block_count);
  }
  // The blocks are ours from here on, but they hold nothing yet: link first, then the space, the head last, so that
  // nobody finds an object without its header. The sweeper takes the lock too.
  size_t page = gc_block_page(heap, head);
  bool ok = vm_commit(heap->region, page, page_count);
  if (ok) {
    vm_open(heap->region, page, page_count);
    char *alias = gc_block_alias(heap, head) + 8;
    if (header & GC_ARRAY) {
      at_store((AO_t volatile *)(alias + 8), length);
    }
    at_store_release((AO_t volatile *)alias, header);
    at32_store(&heap->large_scan[head - heap->small_blocks], 0);
    for (uint32_t b = head + (uint32_t)block_count; b > head; b--) {
      at32_store(&heap->large_head[b - 1 - heap->small_blocks], head);
      AO_char_store((unsigned char volatile *)&heap->flags[b - 1], header & GC_LEAF ? GC_BLOCK_LEAF : 0);
      AO_char_store_release((unsigned char volatile *)&heap->space[b - 1], heap->to_space);
    }
    for (size_t p = page; p < page + page_count; p++) {
      at32_store_release(&heap->top[p], (uint32_t)heap->page_size);
    }
  }
  large_unlock(heap);
  if (!ok) {
    gc_commit_uncount(heap, bytes);
    return NULL;
  }
  gc_memory_got(heap, bytes);
  at_add(&heap->large_bytes, bytes);
  at_add(&heap->born_bytes, bytes);
  at_add(&heap->allocated_bytes, bytes);
  return (char *)(heap->base + ((size_t)head << GC_BLOCK_SHIFT) + 8);
}

void gc_large_free(gc_heap *heap, uint32_t head) {
  large_lock(heap);
  size_t bytes = heap->large_size[head - heap->small_blocks];
  size_t block_count = (bytes + GC_BLOCK - 1) >> GC_BLOCK_SHIFT;
  size_t page = gc_block_page(heap, head);
  size_t page_count = bytes >> heap->page_shift;
  for (size_t p = page; p < page + page_count; p++) {
    at32_store_release(&heap->top[p], 0); // from here on no service may claim the page
  }
  at_fence_full();
  if (at_load(&heap->service_claims) != 0) {
    gc_claims_drop(heap, page, page_count);
  }
  vm_release(heap->region, page, page_count);
  for (uint32_t b = head; b < head + block_count; b++) {
    at32_store(&heap->died[b], heap->cycle);
    AO_char_store((unsigned char volatile *)&heap->flags[b], 0);
    AO_char_store_release((unsigned char volatile *)&heap->space[b], 0);
  }
  large_unlock(heap);
  gc_commit_uncount(heap, bytes);
  gc_memory_returned(heap, bytes);
  at_add(&heap->large_bytes, -bytes);
}

void gc_large_mark(gc_heap *heap, gc_cell cell, uint64_t header) {
  uint32_t head = gc_block_of(heap, gc_view_of(heap, cell.alias));
  if (header & GC_LEAF) {
    gc_mark_in_place(heap, cell);
    return;
  }
  size_t page = gc_block_page(heap, head);
  size_t pages = gc_large_pages(heap, cell, header);
  // Veil first, then publish. The stamp makes this idempotent: each page is laid once in the cycle, by whoever comes first
  // (edge FROM → GREY).
  gc_veil_once(heap, page, pages);
  if (gc_mark_in_place(heap, cell)) {
    at32_store(&heap->large_scan[head - heap->small_blocks], 0);
    gc_stack_push(heap, &heap->large_grey, head);
  }
}
