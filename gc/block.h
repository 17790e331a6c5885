// SPDX-License-Identifier: MIT
// block.h: blocks of 64 KiB: where they come from and go to. Lock-free; in traps too.

#ifndef GC_BLOCK_H
#define GC_BLOCK_H

#include "gc/heap.h"

void gc_stack_reset(gc_stack *stack);
static inline void gc_stacks_reset(gc_stack *stacks, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    gc_stack_reset(&stacks[i]);
  }
}
void gc_stack_push(gc_heap *heap, gc_stack *stack, uint32_t block);
uint32_t gc_stack_pop(gc_heap *heap, gc_stack *stack); // GC_NONE: empty

// A block with memory for to-space objects, all its pages FREE and veiled; GC_NONE: no memory.
uint32_t gc_block_take_veiled(gc_heap *heap);
// The same, accessible: for leaf copies and for allocation. Contents are stale.
uint32_t gc_block_take_open(gc_heap *heap);
// The same for what is promoted, in the pause: one that was made ready, if there is one. What Dirty knows of it is old news.
uint32_t gc_block_take_born(gc_heap *heap);
// A block with new memory, zero, never mapped in the view; not in any space. GC_NONE: no memory.
uint32_t gc_block_commit(gc_heap *heap);
// Puts a run of blocks back, veiled or not. Claims of services on them are settled or discarded first.
void gc_blocks_free(gc_heap *heap, uint32_t block, uint32_t count, bool veiled);
// Gives back what large objects have left of memory, then that of free blocks, `bytes` if there are so many. False: none can be given back. Not in traps.
bool gc_free_memory(gc_heap *heap, size_t bytes);

// Somebody has free blocks in his hands, to give them back or to make them ready, or has had since `trims` was filled in, which is done anew: so a block that was not
// there may be now.
bool gc_trims(const gc_heap *heap, uint64_t *trims);

// Few blocks are at hand for mutators, where they do not take those of the nursery (gc.ready).
bool gc_wants_open(const gc_heap *heap);

// Counts memory against the limit. False: the limit would be passed.
bool gc_commit_count(gc_heap *heap, size_t bytes);
void gc_commit_uncount(gc_heap *heap, size_t bytes);
// To map memory, or to protect it, takes the lock of the address space, which each part of a minor cycle's harvest needs, too: the pause would be
// longer by some milliseconds. Whoever does so in the background, and holds no page, waits: a harvest may wait for who holds one.
void gc_harvest_wait(const gc_heap *heap);

void gc_flags_set(gc_heap *heap, uint32_t block, uint8_t flags);
// It is being filled with what has survived, and will be dense: the next flip need not empty it (gc.spared).
void gc_block_spare(gc_heap *heap, uint32_t block);
// After pages have come into use: services are told of them, whether they are written or not (gc.news).
static inline void gc_pages_stir(gc_heap *heap, size_t page, size_t count) {
  at_fence_full();
  uint32_t consumers = at32_load(&heap->dirty_mask);
  if (consumers != 0) {
    vm_dirty_stir(heap->region, page, count, consumers);
  }
}
// The block, which was just taken, is going to hold objects of this sort. Leaf objects: system calls may use them without a word, so writing there is never forbidden again (vm.rest-touched).
void gc_block_dedicate(gc_heap *heap, uint32_t block, unsigned sort);

// A service's claims: contents present before the collector reads, saved before it writes (gc.alias).
void gc_claims_settle_slow(gc_heap *heap, const char *alias, size_t bytes, unsigned claims);
static inline void gc_before_read(gc_heap *heap, const char *alias, size_t bytes) {
  // Acquire: when the last claim is gone, its service has put the contents back.
  if (__builtin_expect(at_load_acquire(&heap->service_claims) != 0, 0)) {
    gc_claims_settle_slow(heap, alias, bytes, VM_ABSENT);
  }
}
static inline void gc_before_write(gc_heap *heap, const char *alias, size_t bytes) {
  if (__builtin_expect(at_load_acquire(&heap->service_claims) != 0, 0)) {
    gc_claims_settle_slow(heap, alias, bytes, VM_ABSENT | VM_UNSAVED);
  }
}

// A header that may lie on a page which the caller does not hold: a service may have its contents away.
uint64_t gc_header_read_slow(gc_heap *heap, gc_cell cell);
static inline uint64_t gc_header_read(const gc_heap *heap, gc_cell cell) {
  if (__builtin_expect(at_load_acquire(&heap->service_claims) != 0, 0)) {
    bool away = vm_claims(heap->region, gc_page_at(heap, gc_view_of(heap, cell.alias))) & VM_ABSENT;
    uint64_t header = away ? GC_ARRAY : gc_header_load(cell);
    return header & GC_ARRAY ? gc_header_read_slow((gc_heap *)heap, cell) : header; // that asks for an array's length, too
  }
  return gc_header_load(cell);
}

#endif
