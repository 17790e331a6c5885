// SPDX-License-Identifier: MIT
// cold.c: blocks of which something is parked, or that are asleep: which they are, and how what lives there is marked (gc.parked, gc.asleep).
//
// Neighbours: parked.c has the notes; flip.c and sweep.c decide; forward.h, pin.c and touch.c mark.

#include "gc/alloc.h"
#include "gc/gc.h"
#include "gc/parked.h"
#include "gc/wait.h"

bool gc_parked_fill(gc_heap *heap, uint32_t block) {
  at8_or_full(&heap->parked[block], GC_FILLED);
  return (at8_load(&heap->parked[block]) & GC_PARKED_PAGES) == 0; // or whoever parks sees the bit
}

bool gc_parked_fill_page(gc_heap *heap, size_t page) {
  size_t first, end;
  gc_cold_group(heap, page, &first, &end);
  at32_or_full(&heap->filled[gc_page_block(heap, page)], gc_held_bit(heap, page)); // first this, then the claims: who parks does it the other way round
  unsigned claims = 0;
  for (; first < end; first++) {
    claims |= vm_claims(heap->region, first);
  }
  return !(claims & VM_ABSENT);
}

bool gc_is_filled(const gc_heap *heap, size_t page) {
  uint32_t filled = at32_load_acquire(&heap->filled[gc_page_block(heap, page)]), bits = 0;
  size_t first, end;
  if (filled == 0) {
    return false;
  }
  gc_cold_group(heap, page, &first, &end);
  for (; first < end; first++) {
    bits |= gc_held_bit(heap, first);
  }
  return (filled & bits) != 0;
}

void gc_parked_close(gc_heap *heap) {
  at_store(&heap->parking_closed, 1);
  at_fence_full();
  for (unsigned looks = 0; at_load_acquire(&heap->parking) != 0;) {
    gc_wait(&looks);
  }
}

// Weak references, finalizers and weak tables want to know of each object whether it lives.
static bool asks_nobody(const gc_heap *heap) {
  uint64_t asks = at_load(&heap->weak.table_count);
  for (unsigned kind = 0; kind < GC_LINK_KINDS; kind++) {
    asks += kind == GC_LINK_HANDLE ? 0 : at_load(&heap->links.count[kind]);
  }
  return asks == 0;
}

void gc_parked_flip(gc_heap *heap) {
  heap->colds = false;
  heap->wholes = asks_nobody(heap);
  if (at_load(&heap->parked_pages) == 0) {
    return;
  }
  for (uint32_t b = heap->young_blocks; b < heap->small_blocks && b < at_load(&heap->fresh); b++) {
    if (at8_load(&heap->parked[b]) & GC_PARKED_PAGES) { // others may have them back at this moment
      at8_or_full(&heap->parked[b], GC_COLD);
      gc_flags_set(heap, b, GC_BLOCK_RETAIN);
      heap->colds = true;
    }
  }
}

void gc_asleep(gc_heap *heap, uint32_t block) {
  if (!gc_is_large(heap, block) && !(at8_load(&heap->still[block]) & GC_ASLEEP)) { // large objects never move
    at8_or_full(&heap->still[block], GC_ASLEEP);
  }
}

// What is said of a block that is free, or begins anew, means nothing: it is not settled.
static bool is_asleep(const gc_heap *heap, uint32_t block) {
  unsigned wanted = GC_SETTLED | GC_ASLEEP;
  return (at8_load(&heap->still[block]) & wanted) == wanted && gc_space(heap, block) == heap->from_space && !(gc_flags(heap, block) & GC_BLOCK_FLOOR);
}

void gc_asleep_flip(gc_heap *heap) {
  for (uint32_t b = heap->young_blocks; b < heap->small_blocks && b < at_load(&heap->fresh); b++) {
    if (is_asleep(heap, b)) {
      at8_or_full(&heap->parked[b], GC_COLD);
      gc_flags_set(heap, b, GC_BLOCK_RETAIN);
      heap->colds = true;
    }
  }
}

void gc_cold_group(const gc_heap *heap, size_t page, size_t *first, size_t *end) {
  size_t base = gc_block_page(heap, gc_page_block(heap, page)), limit = base + heap->block_pages;
  *first = page;
  *end = page + 1;
  while (*first > base && gc_page_covering(heap, *first).alias != NULL) {
    --*first;
  }
  while (*end < limit && gc_page_covering(heap, *end).alias != NULL) {
    ++*end;
  }
}

bool gc_cold_any(const gc_heap *heap, size_t first, size_t end) {
  size_t words = heap->page_size / GC_UNIT / 64;
  uint64_t any = 0;
  for (size_t i = first * words; i < end * words; i++) {
    any |= at_load(&heap->aside[i]);
  }
  return any != 0;
}

static void block_queue(gc_heap *heap, uint32_t block) {
  uint8_t volatile *at = &heap->parked[block];
  for (uint8_t old = at8_load(at); !(old & GC_QUEUED); old = at8_load(at)) {
    if (at8_cas_full(at, old, old | GC_QUEUED)) {
      gc_stack_push(heap, &heap->grey, block);
    }
  }
}

static void group_veil(gc_heap *heap, size_t first, size_t end) {
  bool in_force = true;
  for (size_t p = first; p < end; p++) {
    in_force &= vm_is_stamped(heap->region, p, gc_stamp(heap)) || at32_load(&heap->top[p]) == 0;
  }
  if (!in_force) {
    gc_veil_once(heap, first, end - first);
    block_queue(heap, gc_page_block(heap, first));
  }
}

// Of pages of which one is parked all stays if anything does. So if nobody asks for more, all is marked at once, and no reference there is looked at any more. What a system call uses is not
// veiled: there the pause scans what it marks, one by one (pin.c).
static bool is_whole(const gc_heap *heap, size_t first, size_t end) {
  bool parked = false, touched = false;
  for (size_t p = first; p < end && heap->wholes; p++) {
    parked |= gc_is_parked(heap, p);
    touched |= heap->world.touched(heap->world.arg, p);
  }
  return parked && !touched;
}

// In this order: the veil, marks, the bits that say so. What others mark meanwhile is marked anyway.
static void group_hold(gc_heap *heap, size_t page) {
  size_t first, end, words = heap->page_size / GC_UNIT / 64;
  uint32_t block = gc_page_block(heap, page), bits = 0;
  gc_cold_group(heap, page, &first, &end);
  if (!(gc_flags(heap, block) & GC_BLOCK_LEAF)) {
    group_veil(heap, first, end);
  }
  bool whole = is_whole(heap, first, end);
  for (size_t i = first * words; whole && i < end * words; i++) {
    at_store(&heap->aside[i], UINT64_MAX);
  }
  for (size_t p = first; p < end; p++) {
    bits |= gc_held_bit(heap, p);
  }
  at32_or_full(&heap->held[block], whole ? bits | bits << 16 : bits);
}

void gc_cold_mark(gc_heap *heap, uintptr_t view) {
  if (gc_is_held_whole(heap, view) || gc_aside_is_marked(heap, view)) {
    return;
  }
  size_t page = gc_page_at(heap, view - 8 - (view & 8));
  if (!(at32_load_acquire(&heap->held[gc_page_block(heap, page)]) & gc_held_bit(heap, page))) {
    group_hold(heap, page);
  }
  at_or_full(gc_aside_word(heap, view), gc_aside_bit(heap, view));
}
