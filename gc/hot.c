// SPDX-License-Identifier: MIT
// hot.c: old blocks that are written in many minor cycles running: their pages are looked at in each, and not tracked
// meanwhile.
//
// A page that Dirty tells of costs the program a first write after every cycle, and the harvest an arming. Where most
// pages of a block are written between any two cycles, to look at all of them is cheaper. [gc.hot] Nobody harvests a
// hot block: what was written since it was last harvested stays news to Dirty, so when the block has calmed down the
// next harvest has it. In the pause, its owner alone.

#include "gc/alloc.h"
#include "gc/minor.h"

enum {
  HEATING = 4, // cycles running in which it is written a lot, and it is hot
  COOLING = 3, // cycles running in which few of its pages held anything young, and it is not
  HOT = 0xff,
};

// Pages of a block that are worth it. A first write, and to ask for it, takes twice as long as a look; where it traps, so much longer that few are enough.
static unsigned threshold(const gc_heap *heap) {
  unsigned share = heap->region->kernel_dirty ? 3 : 8;
  return (heap->block_pages + share - 1) / share;
}

static uint64_t block_bits(const gc_heap *heap, uint32_t block) {
  return (((uint64_t)1 << heap->block_pages) - 1) << gc_block_page(heap, block) % 64;
}
static AO_t volatile *block_word(const gc_heap *heap, uint32_t block) {
  return &heap->remembered[gc_block_page(heap, block) / 64];
}

bool gc_is_hot(const gc_heap *heap, uint32_t block) { return heap->heat[block].count == HOT; }

void gc_hot_flip(gc_heap *heap) {
  for (size_t i = 0; i < heap->hot_count; i++) {
    heap->heat[heap->hot[i]] = (gc_heat){0, 0};
  }
  heap->hot_count = 0;
}

void gc_hot_written(gc_heap *heap, uint32_t block, unsigned pages) {
  gc_heat *heat = &heap->heat[block];
  uint8_t now = (uint8_t)at_load(&heap->minor_cycles);
  if (pages < threshold(heap)) {
    heat->count = 0;
    return;
  }
  heat->count = (uint8_t)(heat->count != 0 && heat->cycle == (uint8_t)(now - 1) ? heat->count + 1 : 1);
  heat->cycle = now;
  if (heat->count == HEATING) {
    *heat = (gc_heat){HOT, 0};
    heap->hot[heap->hot_count++] = block;
  }
}

// Whether minor cycles look at it at all: it may have been freed, and used for something else.
static bool is_looked_at(const gc_heap *heap, uint32_t block) {
  if (gc_space(heap, block) != heap->to_space || (gc_flags(heap, block) & GC_BLOCK_LEAF)) {
    return false;
  }
  return !gc_is_large(heap, block) || !(gc_flags(heap, gc_large_head(heap, block)) & GC_BLOCK_YOUNG);
}

static void cool(gc_heap *heap, size_t *i) {
  heap->heat[heap->hot[*i]] = (gc_heat){0, 0};
  heap->hot[(*i)--] = heap->hot[--heap->hot_count];
}

void gc_hot_begin(gc_heap *heap) {
  for (size_t i = 0; i < heap->hot_count; i++) {
    uint32_t block = heap->hot[i];
    if (is_looked_at(heap, block)) {
      at_or_full(block_word(heap, block), block_bits(heap, block));
    } else {
      cool(heap, &i);
    }
  }
}

void gc_hot_end(gc_heap *heap) {
  for (size_t i = 0; i < heap->hot_count; i++) {
    uint32_t block = heap->hot[i];
    uint64_t left = at_load(block_word(heap, block)) & block_bits(heap, block);
    gc_heat *heat = &heap->heat[block];
    heat->cycle = (unsigned)__builtin_popcountll(left) < threshold(heap) ? heat->cycle + 1 : 0;
    if (heat->cycle == COOLING) {
      cool(heap, &i);
    }
  }
}
