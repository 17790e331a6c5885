// SPDX-License-Identifier: MIT
// young.c: the nursery's blocks: where they come from and go to.
//
// Neighbours: alloc.c takes, minor.c empties, flip.c hands over to a major cycle, sweep.c gives back.

#include "gc/young.h"
#include "gc/alloc.h"
#include "gc/block.h"
#include "gc/gc.h"
#include "gc/minor.h"
#include "gc/nursery.h"

enum { CHUNK_BLOCKS = VM_HUGE / GC_BLOCK };

// gc_heap.young_tracking. While nothing is young, writes need not be told: but to lift the protection of all that is
// old takes too long for a pause.
enum { TRACKED, TRACKED_IN_VAIN, UNTRACKING, UNTRACKED, PREPARED /* a flip will need it */ };

void gc_young_size(gc_heap *heap) {
  if (heap->config.generations == GC_GENERATIONS_OFF) {
    return;
  }
  size_t nursery = gc_nursery_limit(&heap->config);
  // What is born, what is aged and what is being copied; and, while a major cycle has them under way, once more what is
  // born and aged.
  size_t zone = (5 * nursery + VM_HUGE - 1) / VM_HUGE * VM_HUGE;
  heap->young_blocks = (uint32_t)(zone >> GC_BLOCK_SHIFT);
  heap->young_span = zone;
}

static void births_reset(gc_heap *heap) {
  for (unsigned i = 0; i < GC_WORKERS; i++) {
    heap->promoted[i][0] = heap->promoted[i][1] = (gc_birth){GC_NONE, NULL, NULL, NULL};
  }
}

bool gc_young_open(gc_heap *heap) {
  gc_stack_reset(&heap->young_free);
  gc_stack_reset(&heap->young_partial[0]);
  gc_stack_reset(&heap->young_partial[1]);
  gc_stack_reset(&heap->young_large_dead);
  gc_stack_reset(&heap->young_empty);
  births_reset(heap);
  at_store(&heap->fresh, heap->young_blocks);
  if (!gc_has_young(heap)) {
    return true;
  }
  if (heap->config.generations == GC_GENERATIONS_AUTO) {
    at_store(&heap->young_tracking, UNTRACKED); // see gc_nursery_open
    return true;
  }
  heap->young_consumer = vm_dirty_open(heap->region);
  if (heap->young_consumer < 0) {
    return false;
  }
  at_store(&heap->young_tracking, TRACKED);
  at32_store(&heap->young_mask, 1u << heap->young_consumer);
  return true;
}

void gc_young_untrack(gc_heap *heap) {
  at32_store(&heap->young_mask, 0);
  at_store(&heap->born_wanted, 0);
  at_store_release(&heap->young_tracking, TRACKED_IN_VAIN);
}

bool gc_young_unsettled(const gc_heap *heap) {
  return at_load(&heap->young_tracking) == TRACKED_IN_VAIN || (gc_young_is_on(heap) && vm_wants_rest(heap->region));
}

bool gc_young_settle(gc_heap *heap) {
  gc_harvest_wait(heap);
  if (gc_young_is_on(heap) && vm_rest(heap->region)) {
    return true;
  }
  if (gc_phase_now(heap) != GC_IDLE || !at_cas_full(&heap->young_tracking, TRACKED_IN_VAIN, UNTRACKING)) {
    return false;
  }
  vm_dirty_close(heap->region, heap->young_consumer);
  at_store_release(&heap->young_tracking, UNTRACKED);
  return true;
}

void gc_young_prepare(gc_heap *heap) {
  if (!gc_has_young(heap) || !gc_nursery_wants_trial(heap) || at_cas_full(&heap->young_tracking, TRACKED_IN_VAIN, PREPARED) ||
      at_load_acquire(&heap->young_tracking) != UNTRACKED) {
    return;
  }
  int consumer = vm_dirty_open(heap->region);
  if (consumer >= 0) {
    heap->young_consumer = consumer;
    at_store_release(&heap->young_tracking, PREPARED);
  }
}

bool gc_young_track(gc_heap *heap) {
  if (!at_cas_full(&heap->young_tracking, PREPARED, TRACKED)) {
    return false;
  }
  at32_store(&heap->young_mask, 1u << heap->young_consumer);
  return true;
}

// Memory that was given back is had block by block.
static uint32_t empty_commit(gc_heap *heap) {
  if (at_load(&heap->young_empty.count) == 0 || !gc_commit_count(heap, GC_BLOCK)) {
    return GC_NONE;
  }
  uint32_t block = gc_stack_pop(heap, &heap->young_empty);
  if (block == GC_NONE || !vm_commit(heap->region, gc_block_page(heap, block), heap->block_pages)) {
    gc_commit_uncount(heap, GC_BLOCK);
    if (block != GC_NONE) {
      gc_stack_push(heap, &heap->young_empty, block);
    }
    return GC_NONE;
  }
  gc_memory_got(heap, GC_BLOCK);
  vm_open(heap->region, gc_block_page(heap, block), heap->block_pages);
  return block;
}

// The zone gets memory as it is needed: a chunk in one huge page, or a block.
static uint32_t fresh_commit(gc_heap *heap) {
  for (;;) {
    uint64_t block = at_load(&heap->young_fresh);
    if (block >= heap->young_blocks) {
      return GC_NONE;
    }
    bool huge = block % CHUNK_BLOCKS == 0 && vm_huge_works(heap->region) && gc_commit_count(heap, VM_HUGE);
    uint32_t count = huge ? CHUNK_BLOCKS : 1;
    if (!huge && !gc_commit_count(heap, GC_BLOCK)) {
      return GC_NONE;
    }
    if (!at_cas_full(&heap->young_fresh, block, block + count)) {
      gc_commit_uncount(heap, count * GC_BLOCK);
      continue;
    }
    size_t page = gc_block_page(heap, (uint32_t)block), pages = (size_t)count * heap->block_pages;
    if (!(huge && vm_commit_huge(heap->region, page)) && !vm_commit(heap->region, page, pages)) {
      gc_commit_uncount(heap, count * GC_BLOCK);
      at_cas_full(&heap->young_fresh, block + count,
                  block); // unless somebody took what comes behind it: then it is lost
      return GC_NONE;
    }
    gc_memory_got(heap, count * GC_BLOCK);
    vm_open(heap->region, page, pages);
    for (uint32_t b = (uint32_t)block + count; b-- > block + 1;) {
      gc_stack_push(heap, &heap->young_free, b);
    }
    return (uint32_t)block;
  }
}

static uint32_t take(gc_heap *heap, bool leaf, uint8_t space) {
  uint32_t block = gc_stack_pop(heap, &heap->young_free);
  block = block != GC_NONE ? block : empty_commit(heap);
  block = block != GC_NONE ? block : fresh_commit(heap);
  if (block == GC_NONE) {
    return GC_NONE;
  }
  size_t page = gc_block_page(heap, block);
  for (unsigned i = 0; i < heap->block_pages; i++) {
    at32_store(&heap->top[page + i], 0);
    AO_short_store((unsigned short volatile *)&heap->cover[page + i], 0);
  }
  if (VM_FULL_CHECKS) {
    vm_unprot(heap->region, page, heap->block_pages, VM_UNSCANNED);
    vm_open(heap->region, page, heap->block_pages);
  }
  AO_char_store((unsigned char volatile *)&heap->flags[block], leaf ? GC_BLOCK_LEAF : 0);
  AO_char_store_release((unsigned char volatile *)&heap->space[block], space);
  at_add(&heap->used_blocks, 1);
  return block;
}

uint32_t gc_young_take(gc_heap *heap, bool leaf, bool partial) {
  uint32_t block = partial ? gc_stack_pop(heap, &heap->young_partial[leaf]) : GC_NONE;
  block = block != GC_NONE ? block : take(heap, leaf, GC_EDEN);
  if (block != GC_NONE) {
    at_add(&heap->young_taken, 1);
  }
  return block;
}

uint32_t gc_young_take_survivor(gc_heap *heap, bool leaf) { return take(heap, leaf, GC_SURVIVOR); }

void gc_young_free(gc_heap *heap, uint32_t block) {
  size_t page = gc_block_page(heap, block);
  for (unsigned i = 0; i < heap->block_pages; i++) {
    at32_store_release(&heap->top[page + i], 0); // no service may claim the page from here on
  }
  at_fence_full();
  if (at_load(&heap->service_claims) != 0) {
    gc_claims_drop(heap, page, heap->block_pages);
  }
  AO_char_store((unsigned char volatile *)&heap->flags[block], 0);
  AO_char_store_release((unsigned char volatile *)&heap->space[block], 0);
  at32_store(&heap->died[block], heap->cycle);
  at_add(&heap->used_blocks, (uint64_t)-1);
  if (VM_FULL_CHECKS) { // as gc_blocks_free does: a stale pointer is to be noticed
    for (size_t i = 0; i < GC_BLOCK / 8; i++) {
      ((uint64_t volatile *)gc_block_alias(heap, block))[i] = 0xdeadf00ddeadf00dull;
    }
    vm_prot(heap->region, page, heap->block_pages, VM_UNSCANNED, 0);
  }
  gc_stack_push(heap, &heap->young_free, block);
}

static uint32_t zone_limit(const gc_heap *heap) {
  uint64_t fresh = at_load(&heap->young_fresh);
  return (uint32_t)(fresh < heap->young_blocks ? fresh : heap->young_blocks);
}

bool gc_young_unhold(gc_heap *heap) {
  if (gc_phase_now(heap) != GC_IDLE) {
    return false; // what the cycle pinned is no young object yet
  }
  heap->flip_pins = heap->pin_count = 0;
  for (uint32_t b = 0; b < zone_limit(heap); b++) {
    if (gc_space(heap, b) != GC_HELD) {
      continue;
    }
    uint8_t flags = gc_flags(heap, b);
    AO_char_store((unsigned char volatile *)&heap->flags[b], flags & GC_BLOCK_LEAF);
    AO_char_store_release((unsigned char volatile *)&heap->space[b], GC_EDEN);
    if (flags & GC_BLOCK_GAPS) {
      gc_stack_push(heap, &heap->young_partial[(flags & GC_BLOCK_LEAF) != 0], b);
    }
  }
  return true;
}

void gc_young_flip(gc_heap *heap) {
  if (!gc_has_young(heap)) {
    return;
  }
  for (uint32_t b = 0; b < zone_limit(heap); b++) {
    if (gc_space(heap, b) != 0) {
      AO_char_store((unsigned char volatile *)&heap->space[b], heap->from_space);
    }
  }
  gc_stack_reset(&heap->young_partial[0]);
  gc_stack_reset(&heap->young_partial[1]);
  births_reset(heap);
  gc_young_large_flip(heap);
  gc_hot_flip(heap);
  gc_nursery_flip(heap);
  at_store(&heap->young_taken, 0);
  for (size_t word = 0; word * 64 < at_load(&heap->region->top); word++) {
    at_store(&heap->remembered[word], 0); // all old pages are from-space: their copies, or who scans them, will say
  }
}
