// SPDX-License-Identifier: MIT
// forward.h: where an object of from-space is now, copying it if nobody has.

#ifndef GC_FORWARD_H
#define GC_FORWARD_H

#include "gc/aside.h"
#include "gc/copier.h"

// The to-space reference for `ref`, which points to the start of an object of from-space. `header` is what was read at its cell: not done.
gc_ref gc_forward_slow(gc_heap *heap, gc_copier *copier, gc_ref ref, gc_cell cell, uint64_t header);

// Whether the object is to be forwarded at all: the first question of every scan.
static inline bool gc_is_from(const gc_heap *heap, uintptr_t view) {
  return gc_in_heap(heap, view) && gc_space(heap, gc_block_of(heap, view)) == heap->from_space;
}

// gc.born: whether a block that mutators have filled stays. Not one that they go on filling: it is far from dense.
static inline bool gc_is_born_spared(const gc_heap *heap, uint32_t block) {
  return heap->spares_born && block >= heap->young_blocks && !(gc_flags(heap, block) & (GC_BLOCK_LEAF | GC_BLOCK_FLOOR));
}
// gc.spared: whether the block is kept although there is memory for copies of what lives in it.
static inline bool gc_is_spared(const gc_heap *heap, uint32_t block) {
  if (!heap->spares) {
    return false;
  }
  uint32_t spared = at32_load(&heap->spared[block]);
  return spared > heap->cycle || (spared == 0 && gc_is_born_spared(heap, block)) || gc_stays_still(heap, block);
}

// The stamp that vm_prot gets in this cycle.
static inline uint8_t gc_stamp(const gc_heap *heap) { return (uint8_t)(heap->cycle % 255 + 1); }

// Whether all pages of a block that is kept in this cycle are veiled, or have been scanned.
static inline bool gc_is_veiled_block(const gc_heap *heap, uint32_t block) { return at8_load_acquire(&heap->veiled[block]) == gc_stamp(heap); }

// Whether a mark beside the heap is all there is to an object of this block of from-space: its header need not be asked. Of a block that stays
// still it is, once its pages are veiled.
static inline bool gc_marks_aside(const gc_heap *heap, uint32_t block) {
  return gc_is_aside(heap, block) || (gc_is_still(heap, block) && !(at8_load(&heap->still[block]) & GC_MIXED) && gc_is_veiled_block(heap, block));
}

// Marks an object of a cold block, and veils what can be reached with it: its page, and those with which that hangs together by cells that cross, unless it is a leaf
// block. In force when it returns. Idempotent; reads nothing of the object (gc.parked).
void gc_cold_mark(gc_heap *heap, uintptr_t view);

static inline gc_ref gc_forward(gc_heap *heap, gc_copier *copier, gc_ref ref) {
  uint32_t block = gc_block_of(heap, ref.view);
  if (__builtin_expect(gc_is_cold(heap, block), 0)) {
    gc_cold_mark(heap, ref.view);
    return ref;
  }
  if (gc_marks_aside(heap, block)) {
    gc_aside_mark(heap, ref.view);
    return ref;
  }
  gc_cell cell = gc_ref_cell(heap, ref);
  uint64_t header = gc_header_read(heap, cell);
  if (gc_is_done(heap, header)) {
    return gc_cell_ref(heap, gc_peer_cell(heap, header), header);
  }
  return gc_forward_slow(heap, copier, ref, cell, header);
}

// Marks an object that stays where it is: CAS its header to itself. True if this call did it.
bool gc_mark_in_place(gc_heap *heap, gc_cell cell);

// Veils a large object's pages (once per cycle) and marks it. The pages are veiled when it returns.
void gc_large_mark(gc_heap *heap, gc_cell cell, uint64_t header);
// Veils pages of from-space, each once per cycle, but not those that a system call uses. In force when it returns.
void gc_veil_once(gc_heap *heap, size_t page, size_t count);
// Frees a large object by its first block; settles or discards claims.
void gc_large_free(gc_heap *heap, uint32_t head);

// Keeps a block of from-space where it is: veils all its pages (once per cycle).
void gc_block_keep(gc_heap *heap, uint32_t block, bool leaf);

#endif
