// SPDX-License-Identifier: MIT
// young.h: the nursery's zone: where objects are born, in blocks of their own at the heap's start, and where what
// survived once waits.
//
// Nothing there is ever veiled. A block is free, eden, aged; from a flip on it belongs to from-space like any other,
// and what is reached there is copied out by the major cycle; only what the flip pinned stays, and is eden again when
// that cycle is over (GC_HELD until the next stop). Between two minor cycles every young object has epoch 0.
//
// Free blocks are taken by mutators and in the pause, put back in the pause and by the sweep: lock-free.

#ifndef GC_YOUNG_H
#define GC_YOUNG_H

#include "gc/heap.h"

// Sets young_blocks and young_span from the options, before the region is opened.
void gc_young_size(gc_heap *heap);
// False: Dirty cannot be had.
bool gc_young_open(gc_heap *heap);

static inline bool gc_has_young(const gc_heap *heap) { return heap->young_blocks != 0; }

// Whether an address lies in the zone, whatever is there.
static inline bool gc_in_young_zone(const gc_heap *heap, uintptr_t view) {
  return view - heap->base < heap->young_span;
}
// Whether the address is that of a large object that is young, or lies in its first block.
static inline bool gc_is_young_large(const gc_heap *heap, uintptr_t view) {
  if (!gc_in_heap(heap, view)) {
    return false;
  }
  uint32_t block = gc_block_of(heap, view);
  return gc_is_large(heap, block) && (gc_flags(heap, block) & GC_BLOCK_YOUNG);
}
// Whether what is there is young: a minor cycle may move it, or free it.
static inline bool gc_is_young(const gc_heap *heap, uintptr_t view) {
  if (!gc_in_young_zone(heap, view)) {
    return gc_is_young_large(heap, view);
  }
  uint8_t space = gc_space(heap, gc_block_of(heap, view));
  return space == GC_EDEN || space == GC_AGED;
}

// gc_heap.trial_due, but for 0.
enum { GC_TRIAL_DUE = 1, GC_TRIAL_ASKED /* and a background thread was told */ };

// Whether what is born is young: not while generations do not pay.
static inline bool gc_young_is_on(const gc_heap *heap) { return at_load(&heap->young_on) != 0; }
// Bytes of blocks that were taken from the zone since the last minor cycle.
static inline uint64_t gc_young_born_bytes(const gc_heap *heap) {
  uint64_t taken = at_load(&heap->young_taken) * GC_BLOCK, nursery = at_load(&heap->nursery);
  return !gc_young_is_on(heap) ? 0 : taken < nursery ? taken : nursery;
}
// In the pause: no old page need be tracked any more. gc_young_settle (gc.h) does the rest.
void gc_young_untrack(gc_heap *heap);
bool gc_young_unsettled(const gc_heap *heap);
// Bytes of the zone's blocks that are no free ones.
size_t gc_young_zone_used(const gc_heap *heap);
// Whether the page is grey, and no mutator has been there since the flip. In a kept block one may have: before it was kept, at what a
// flip has pinned there, or in a buffer. (The flag comes before the veil.)
static inline bool gc_is_untouched(const gc_heap *heap, size_t page) {
  return (vm_claims(heap->region, page) & VM_UNSCANNED) && !(gc_flags(heap, gc_page_block(heap, page)) & GC_BLOCK_KEPT);
}
// A page that no mutator has written since the flip, nor can before the caller opens it, was scanned: what is there is
// no news to minor cycles.
static inline void gc_young_forget(gc_heap *heap, size_t page) {
  uint32_t mask = at32_load(&heap->young_mask);
  if (mask != 0 && !(gc_flags(heap, gc_page_block(heap, page)) & GC_BLOCK_KEPT)) {
    vm_dirty_forget(heap->region, page, 1, mask);
  }
}

// A large object of so many bytes was born, in blocks from `head` on that nobody knows yet: the flag that its first
// block is to have.
uint8_t gc_young_large_born(gc_heap *heap, uint32_t head, size_t bytes);
// In a flip: they are old.
void gc_young_large_flip(gc_heap *heap);

// A block for mutators to allocate in: with gaps, if `partial` and there is one. GC_NONE: the zone is full, or memory
// is.
uint32_t gc_young_take(gc_heap *heap, unsigned sort, bool partial);
// A block for what survives.
uint32_t gc_young_take_survivor(gc_heap *heap, unsigned sort);
// Its contents are dead.
void gc_young_free(gc_heap *heap, uint32_t block);

// In a stop, before a minor cycle and before a flip: blocks that a major cycle held are eden again. False: it is not
// over.
bool gc_young_unhold(gc_heap *heap);
// In a flip: the zone's blocks become from-space.
void gc_young_flip(gc_heap *heap);
// In a stop between two cycles: nothing is young any more, nor remembered; what is in the zone is about to go out of use (rollback.c).
void gc_young_rollback(gc_heap *heap);

// The page holds, or may hold, a pointer into the zone.
static inline void gc_remember(gc_heap *heap, size_t page) {
  AO_t volatile *word = &heap->remembered[page / 64];
  uint64_t bit = (uint64_t)1 << page % 64;
  if (!(at_load(word) & bit)) {
    at_or_full(word, bit);
  }
}
// A slot of an old page was given this reference by the collector, whose writes Dirty does not see.
static inline void gc_remember_slot(gc_heap *heap, AO_t volatile *slot, uintptr_t view) {
  if (__builtin_expect(gc_in_young_zone(heap, view), 0)) {
    gc_remember(heap, gc_page_at(heap, gc_view_of(heap, (const void *)slot)));
  }
}

#endif
