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

static inline gc_ref gc_forward(gc_heap *heap, gc_copier *copier, gc_ref ref) {
  if (gc_is_aside(heap, gc_block_of(heap, ref.view))) {
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

// The stamp that vm_prot gets in this cycle.
static inline uint8_t gc_stamp(const gc_heap *heap) { return (uint8_t)(heap->cycle % 255 + 1); }

#endif
