// SPDX-License-Identifier: MIT
// still.h: blocks that stay where they are, and as they are, from cycle to cycle (gc.still).
//
// Where somebody writes down what changes (a checkpointer), a cycle that moves objects, or marks them in their headers, costs as much
// as a program that has written to all of them. So while a service asks for it, what lives in a block that has been through a cycle is
// marked aside (aside.h), whatever it holds. Any thread that forwards; flip and sweep decide.

#ifndef GC_STILL_H
#define GC_STILL_H

#include "gc/heap.h"

// In gc_heap.still: whether the block has been through a cycle, and was not sparse then; 1 << e for each epoch e that its headers may
// carry; whether some may carry that of the cycle under way, though the block stays still; and whether a service has said since the last sweep that it is asleep.
enum { GC_SETTLED = 1, GC_EPOCHS = 1 << 1 | 1 << 2 | 1 << 3, GC_MIXED = 1 << 4, GC_ASLEEP = 1 << 5 };

static inline uint8_t gc_still_epoch(unsigned epoch) { return (uint8_t)(1u << epoch); }
static inline void gc_still_set(gc_heap *heap, uint32_t block, unsigned bits) {
  at8_store(&heap->still[block], (uint8_t)bits);
}

static inline bool gc_stays_still(const gc_heap *heap, uint32_t block) {
  return heap->stills && !gc_is_large(heap, block) && block >= heap->young_blocks && !(gc_flags(heap, block) & GC_BLOCK_FLOOR) &&
         (at8_load(&heap->still[block]) & GC_SETTLED);
}
// Whether it does, and holds objects that refer to others: not before the flip is over, since what roots lead to is copied in it.
static inline bool gc_is_still(const gc_heap *heap, uint32_t block) { return heap->spares && gc_stays_still(heap, block); }

// gc.parked: whether the block has had parked pages when the cycle began, or is asleep while others move (gc.asleep): what lives in it is marked aside, and its headers are not asked.
enum { GC_COLD = 64 };
static inline bool gc_is_cold(const gc_heap *heap, uint32_t block) { return heap->colds && (at8_load(&heap->parked[block]) & GC_COLD); }

// Whether all on the page of this address is marked, and what can be reached with it veiled.
static inline uint32_t gc_held_bit(const gc_heap *heap, size_t page) { return 1u << (page & (heap->block_pages - 1)); }
static inline bool gc_is_held_whole(const gc_heap *heap, uintptr_t view) {
  size_t offset = view - heap->base;
  uint32_t block = (uint32_t)(offset >> GC_BLOCK_SHIFT);
  return block < heap->small_blocks && (at32_load_acquire(&heap->held[block]) >> 16 & gc_held_bit(heap, offset >> heap->page_shift)) != 0;
}

// A header of the block is about to carry this cycle's epoch: the flip copies or pins the object, or a system call is given its page.
static inline void gc_still_mix(gc_heap *heap, uint32_t block) {
  if (heap->mixes && !gc_is_large(heap, block) && !(at8_load(&heap->still[block]) & GC_MIXED)) {
    at8_or_full(&heap->still[block], GC_MIXED);
  }
}

#endif
