// SPDX-License-Identifier: MIT
// young_large.c: large objects have an age, too: they stay in place, but a minor cycle frees those that it does not
// reach.
//
// Their pages are told by Dirty like old ones, so that a minor cycle looks at what was written there since the last
// one, and at no more; only that it does so when the object is reached. The list of them is filled by mutators, and
// emptied and filled anew in the pause. A flip makes all of them old.

#include "gc/alloc.h"
#include "gc/block.h"
#include "gc/forward.h"
#include "gc/minor.h"

uint8_t gc_young_large_born(gc_heap *heap, uint32_t head, size_t bytes) {
  if (!gc_young_is_on(heap)) {
    return 0;
  }
  heap->young_large[at_add(&heap->young_large_count, 1)] = head;
  // It counts as what is born in the nursery; but not so that each very large one is followed by a minor cycle.
  size_t most = at_load(&heap->nursery) / 4;
  at_add(&heap->young_taken, (bytes < most ? bytes : most) / GC_BLOCK);
  return GC_BLOCK_YOUNG;
}

static void flags_clear(gc_heap *heap, uint32_t head) {
  AO_char_and_full((unsigned char volatile *)&heap->flags[head], (uint8_t) ~(GC_BLOCK_YOUNG | GC_BLOCK_AGED));
}

void gc_young_large_flip(gc_heap *heap) {
  for (uint64_t i = 0; i < at_load(&heap->young_large_count); i++) {
    flags_clear(heap, heap->young_large[i]);
  }
  at_store(&heap->young_large_count, 0);
}

void gc_young_large_begin(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  gc_stack_reset(&heap->minor_large);
  minor->large_base = heap->base + ((size_t)heap->small_blocks << GC_BLOCK_SHIFT);
  minor->large_span = at_load(&heap->young_large_count) != 0 ? heap->base + heap->span - minor->large_base : 0;
}

static uint64_t with_epoch(uint64_t header, unsigned epoch) {
  return (header & ~(GC_PEER_MASK | GC_EPOCH_MASK)) | (uint64_t)epoch << GC_EPOCH_SHIFT;
}

void gc_young_large_reach(gc_minor *minor, gc_cell cell, uint64_t header) {
  gc_heap *heap = minor->heap;
  gc_before_write(heap, cell.alias, 8);
  if (gc_minor_is_done(header) ||
      !at_cas_full((AO_t volatile *)cell.alias, header, with_epoch(header, GC_MINOR_DONE))) {
    return; // another worker's
  }
  if (!(header & GC_LEAF)) {
    gc_stack_push(heap, &heap->minor_large, gc_block_of(heap, gc_view_of(heap, cell.alias)));
  }
}

bool gc_young_large_scan(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  uint32_t head = gc_stack_pop(heap, &heap->minor_large);
  if (head == GC_NONE) {
    return false;
  }
  size_t page = gc_block_page(heap, head),
         limit = page + (heap->large_size[head - heap->small_blocks] >> heap->page_shift);
  for (; page < limit; page++) {
    if (at_load(&heap->remembered[page / 64]) >> page % 64 & 1) {
      at_and_full(&heap->remembered[page / 64], ~((uint64_t)1 << page % 64));
      gc_remembered_page(minor, page);
    }
  }
  gc_minor_drain(minor);
  return true;
}

static void die(gc_heap *heap, uint32_t head) {
  size_t blocks = (heap->large_size[head - heap->small_blocks] + GC_BLOCK - 1) >> GC_BLOCK_SHIFT;
  for (uint32_t b = head; b < head + blocks; b++) {
    AO_char_store_release((unsigned char volatile *)&heap->space[b], 0); // nobody finds it from here on
  }
  gc_stack_push(heap, &heap->young_large_dead, head);
}

void gc_young_large_end(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  uint64_t left = 0;
  for (uint64_t i = 0; i < at_load(&heap->young_large_count); i++) {
    uint32_t head = heap->young_large[i];
    gc_cell cell = gc_large_cell(heap, head);
    uint64_t header = gc_header_read(heap, cell);
    if (!gc_minor_is_done(header)) {
      die(heap, head);
      continue;
    }
    gc_before_write(heap, cell.alias, 8);
    at_store((AO_t volatile *)cell.alias, with_epoch(header, 0));
    if (gc_flags(heap, head) & GC_BLOCK_AGED) {
      flags_clear(heap, head);
    } else {
      gc_flags_set(heap, head, GC_BLOCK_AGED);
      heap->young_large[left++] = head;
    }
  }
  at_store(&heap->young_large_count, left);
}

void gc_minor_free(gc_heap *heap) {
  if (!gc_has_young(heap)) {
    return;
  }
  for (uint32_t head; (head = gc_stack_pop(heap, &heap->young_large_dead)) != GC_NONE;) {
    at_add(&heap->born_bytes, -heap->large_size[head - heap->small_blocks]); // since the last flip: else it would be old
    gc_large_free(heap, head);
  }
}
