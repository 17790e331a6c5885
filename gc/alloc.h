// SPDX-License-Identifier: MIT
// alloc.h: what allocation, sweeping and pacing share.

#ifndef GC_ALLOC_H
#define GC_ALLOC_H

#include "gc/gc.h"

enum {
  GC_GAP_MIN = 256,           // bytes of free space between objects that are worth a buffer
  GC_GAPS_MIN = GC_BLOCK / 8, // bytes of a block's free space that are worth filling
};

// The lane's block is not filled any further by who has it: if much of it is empty, the sweep has to see that (gc.cells).
void gc_lane_leave(gc_heap *heap, const gc_alloc_lane *lane);

// A block for a mutator, accessible, with stale contents; GC_NONE: not now.
uint32_t gc_alloc_block(gc_heap *heap);
// One of those that are set aside. There has to be one.
uint32_t gc_reserve_block(gc_heap *heap, gc_reserve *reserve, unsigned sort);
// A run of the large zone is set aside. False: not now.
bool gc_large_reserve(gc_heap *heap, gc_reserve *reserve, uint32_t blocks);

// Whether a mutator may have `bytes` more: what the cycle under way, or the next, still needs for copies is kept back.
bool gc_may_allocate(const gc_heap *heap, size_t bytes);

static inline void gc_phase_tell(gc_heap *heap, gc_phase phase) {
  if (__builtin_expect(at32_load(&heap->listening) != 0, 0)) {
    heap->world.events->phase(heap->world.arg, phase);
  }
}

// Memory was had from the system, or given back: counted, and told.
static inline void gc_memory_got(gc_heap *heap, size_t bytes) {
  at_add(&heap->got_bytes, bytes);
  if (__builtin_expect(at32_load(&heap->listening) != 0, 0)) {
    heap->world.events->committed(heap->world.arg, bytes);
  }
}
static inline void gc_memory_returned(gc_heap *heap, size_t bytes) {
  at_add(&heap->returned_bytes, bytes);
  if (__builtin_expect(at32_load(&heap->listening) != 0, 0)) {
    heap->world.events->returned(heap->world.arg, bytes);
  }
}

// Settles UNSAVED and discards ABSENT on pages whose contents die.
void gc_claims_drop(gc_heap *heap, size_t page, size_t count);
// True in a thread that is doing so: an ABSENT claim is then discarded, not settled.
bool gc_discarding(void);

static inline size_t gc_large_pages(const gc_heap *heap, gc_cell cell, uint64_t header) {
  size_t from = gc_view_of(heap, cell.alias) & (GC_BLOCK - 1); // it begins in its first block
  return (from + gc_cell_size(cell, header) + 8 + heap->page_size - 1) >> heap->page_shift;
}

// Pages of a new object that nobody clears: news all the same to who knew them when they were free. And open for writing, whatever an instant or a harvest has made of them
// since, because the program may hand them to the system before it has touched them.
void gc_raw_open(gc_heap *heap, size_t page, size_t count);

// The floor that has this view address inside, or NULL.
static inline const gc_floor *gc_floor_find(const gc_floor *floors, unsigned count, uintptr_t view) {
  for (unsigned i = 0; i < count; i++) {
    if (view >= (uintptr_t)floors[i].base && view < (uintptr_t)floors[i].limit) {
      return &floors[i];
    }
  }
  return NULL;
}
// Of the last flip's.
static inline const gc_floor *gc_floor_at(const gc_heap *heap, uintptr_t view) {
  return gc_floor_find(heap->floors, heap->floor_count, view);
}

// The large object whose block this is: its first block.
static inline uint32_t gc_large_head(const gc_heap *heap, uint32_t block) {
  return at32_load(&heap->large_head[block - heap->small_blocks]);
}
static inline gc_cell gc_large_cell(const gc_heap *heap, uint32_t head) {
  unsigned lead = AO_short_load((unsigned short volatile *)&heap->large_lead[head - heap->small_blocks]);
  return (gc_cell){(char *)heap->base + heap->delta + ((size_t)head << GC_BLOCK_SHIFT) + lead};
}

// The first cell that starts in a page: behind the object that covers its beginning, if one does.
gc_cell gc_page_first(const gc_heap *heap, size_t page);
// The cell that covers the page's first byte; alias NULL if none does.
static inline gc_cell gc_page_covering(const gc_heap *heap, size_t page) {
  unsigned cover = AO_short_load((unsigned short volatile *)&heap->cover[page]);
  char *start = (char *)heap->base + heap->delta + (page << heap->page_shift);
  return (gc_cell){cover ? start - (cover * GC_UNIT - 8) : NULL};
}

#endif
