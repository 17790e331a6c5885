// SPDX-License-Identifier: MIT
// aside.h: leaf objects that stay, and all objects of blocks that stay still, are marked beside the heap, by a bit for each unit (gc.aside).
//
// A page of references may lead to hundreds of leaf objects, none of which has to be looked at if its block stays: its
// marks share cache lines, and the sweep need not walk a block where nothing has died. Any thread that forwards; the
// sweep reads and clears; mutators count cells. What is marked so, when, and when not: gc/README.md.

#ifndef GC_ASIDE_H
#define GC_ASIDE_H

#include "gc/still.h"

enum {
  GC_ASIDE_WORDS = GC_BLOCK / GC_UNIT / 64, // of marks, per block
  // In gc_heap.spared: a leaf block of which much is dead. Less than any cycle that it could be spared until.
  GC_SPARSE = 1,
};

// How many cells a leaf block, or one that stays still, has, fillers apart, if that is known (gc.cells): so the sweep need not walk it to see
// that hardly any of them has died.
enum { GC_CELLS_KNOWN = 1 << 15 };

static inline void gc_cells_set(gc_heap *heap, uint32_t block, unsigned cells) {
  AO_short_store((unsigned short volatile *)&heap->cells[block], (unsigned short)cells);
}
static inline bool gc_cells_known(const gc_heap *heap, uint32_t block) {
  return (AO_short_load((unsigned short volatile *)&heap->cells[block]) & GC_CELLS_KNOWN) != 0;
}
// If they are known.
static inline unsigned gc_cells_count(const gc_heap *heap, uint32_t block) {
  return AO_short_load((unsigned short volatile *)&heap->cells[block]) & (GC_CELLS_KNOWN - 1u);
}
static inline void gc_cells_add(gc_heap *heap, uint32_t block, unsigned cells) {
  if (gc_cells_known(heap, block)) {
    gc_cells_set(heap, block, (GC_CELLS_KNOWN | gc_cells_count(heap, block)) + cells);
  }
}

// Whether the marks of this block of from-space are aside in this cycle. Constant from the moment on in which all floors are known.
static inline bool gc_is_aside(const gc_heap *heap, uint32_t block) {
  if (!heap->asides || gc_is_large(heap, block) ||
      (gc_flags(heap, block) & (GC_BLOCK_LEAF | GC_BLOCK_FLOOR)) != GC_BLOCK_LEAF || block < heap->young_blocks) {
    return false;
  }
  uint32_t spared = at32_load(&heap->spared[block]);
  return spared > heap->cycle || (spared == 0 && at8_load(&heap->leaves_stay)) || gc_stays_still(heap, block);
}

// An object's bit is that of the unit in which it, or an array's length, begins: so its address is enough.
static inline AO_t volatile *gc_aside_word(const gc_heap *heap, uintptr_t view) {
  return &heap->aside[(view - heap->base) / GC_UNIT / 64];
}
static inline uint64_t gc_aside_bit(const gc_heap *heap, uintptr_t view) {
  return (uint64_t)1 << (view - heap->base) / GC_UNIT % 64;
}

static inline bool gc_aside_is_marked(const gc_heap *heap, uintptr_t view) {
  return (at_load(gc_aside_word(heap, view)) & gc_aside_bit(heap, view)) != 0;
}

// gc.still: whether an object whose header tells nothing is known to stay where it is.
static inline bool gc_still_is_marked(const gc_heap *heap, uintptr_t view) {
  uint32_t block = gc_block_of(heap, view);
  return (gc_is_still(heap, block) || gc_is_cold(heap, block)) && gc_aside_is_marked(heap, view);
}

// A check only: a service may have the page away, and then what is there is no header. So TSan need not look.
__attribute__((no_sanitize("thread"))) static inline void gc_aside_check(const gc_heap *heap, uintptr_t view) {
  uint64_t header = *(uint64_t volatile *)gc_ref_cell(heap, (gc_ref){view}).alias;
  bool may = (header & GC_LEAF) || gc_is_still(heap, gc_block_of(heap, view));
  VM_CHECK(may || at_load(&heap->service_claims) != 0, "%p is no leaf object: its header is %lx", (void *)view, (unsigned long)header);
}

// Idempotent.
static inline void gc_aside_mark(gc_heap *heap, uintptr_t view) {
  if (VM_FULL_CHECKS && at_load(&heap->service_claims) == 0) {
    gc_aside_check(heap, view);
  }
  if (!gc_aside_is_marked(heap, view)) {
    at_or_full(gc_aside_word(heap, view), gc_aside_bit(heap, view));
  }
}

// Sweep: how many are marked, and none from here on.
static inline unsigned gc_aside_count(const gc_heap *heap, uint32_t block) {
  unsigned count = 0;
  for (size_t i = 0; i < GC_ASIDE_WORDS; i++) {
    count += (unsigned)__builtin_popcountll(at_load(&heap->aside[(size_t)block * GC_ASIDE_WORDS + i]));
  }
  return count;
}
static inline void gc_aside_clear(gc_heap *heap, uint32_t block) {
  for (size_t i = 0; i < GC_ASIDE_WORDS; i++) {
    at_store(&heap->aside[(size_t)block * GC_ASIDE_WORDS + i], 0);
  }
}

#endif
