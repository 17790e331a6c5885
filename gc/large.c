// SPDX-License-Identifier: MIT
// large.c: objects above 32 KiB: whole blocks of their own, in the large zone; they never move.
//
// Allocation and freeing: mutators in their slow half and the sweeper, never a trap. Blocks come from runs.c, and go back there with their
// memory if that is worth keeping (gc.kept). Marking is lock-free.

#include <string.h>
#include "gc/alloc.h"
#include "gc/block.h"
#include "gc/forward.h"
#include "gc/gc.h"
#include "gc/pace.h"
#include "gc/runs.h"
#include "gc/young.h"

// Blocks that were taken for an object, and how many of their pages it needs.
typedef struct place {
  gc_run run;
  size_t page, pages;
} place;

static inline size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

// Pages of the run's i-th block that the object needs, and those of them that have memory: kept, from an object that died.
static size_t block_need(const gc_heap *heap, const place *at, uint32_t i) {
  return min_size(heap->block_pages, at->pages - (size_t)i * heap->block_pages);
}
static size_t block_kept(const gc_heap *heap, const place *at, uint32_t i) {
  return min_size(*gc_run_pages(heap, at->run.block + i), block_need(heap, at, i));
}

static size_t kept_pages(const gc_heap *heap, const place *at) {
  size_t kept = 0;
  for (uint32_t i = 0; i < at->run.count; i++) {
    kept += block_kept(heap, at, i);
  }
  return kept;
}

// Has memory for the pages that have none.
static bool place_commit(gc_heap *heap, const place *at) {
  size_t bytes = (at->pages - kept_pages(heap, at)) << heap->page_shift;
  if (bytes == 0) {
    return true;
  }
  while (!gc_commit_count(heap, bytes)) {
    // Memory that waits in free runs and blocks, for a cycle to come, makes room.
    if (!gc_free_memory(heap, bytes)) {
      return false;
    }
  }
  if (!vm_commit_for_view(heap->region, at->page, at->pages)) {
    gc_commit_uncount(heap, bytes);
    return false;
  }
  gc_memory_got(heap, bytes);
  return true;
}

// Makes the view ready for the object. What was kept holds what died there.
static void place_clear(gc_heap *heap, const place *at, bool raw) {
  if (VM_FULL_CHECKS) {
    vm_unprot(heap->region, at->page, at->pages, VM_UNSCANNED); // the veil of the dead
  }
  if (raw) {
    gc_raw_open(heap, at->page, at->pages);
    return;
  }
  vm_open(heap->region, at->page, at->pages);
  for (uint32_t i = 0; i < at->run.count; i++) {
    size_t kept = block_kept(heap, at, i);
    if (kept != 0) {
      // Through the view, as the program would: claims of services trap, and who watches writes sees them.
      memset(vm_page_view(heap->region, at->page + (size_t)i * heap->block_pages), 0, kept << heap->page_shift);
    }
  }
}

// What the last block holds beyond the object is kept too: from here on memory is released by who looks for objects (kept.c).
static void place_settle(gc_heap *heap, const place *at) {
  size_t tail = 0;
  for (uint32_t i = 0; i < at->run.count; i++) {
    size_t need = block_need(heap, at, i);
    uint8_t *pages = gc_run_pages(heap, at->run.block + i);
    tail += *pages > need ? *pages - need : 0;
    *pages = *pages > need ? *pages : (uint8_t)need;
  }
  gc_large_lock(heap);
  heap->large_size[at->run.block - heap->small_blocks] = at->pages << heap->page_shift;
  at_store(&heap->kept_tails, at_load(&heap->kept_tails) + (tail << heap->page_shift));
  gc_large_unlock(heap);
}

// The blocks belong to nobody else, but they hold nothing yet: link first, then the space, the head last, so that nobody finds an object without its
// header.
static void place_publish(gc_heap *heap, const place *at, size_t lead, uint64_t header) {
  uint32_t head = at->run.block;
  AO_short_store((unsigned short volatile *)&heap->large_lead[head - heap->small_blocks], (unsigned short)lead);
  uint8_t leaf = header & GC_LEAF ? GC_BLOCK_LEAF : 0, young = gc_young_large_born(heap, head, at->pages << heap->page_shift);
  at32_store(&heap->large_scan[head - heap->small_blocks], 0);
  for (uint32_t b = head + at->run.count; b > head; b--) {
    at32_store(&heap->large_head[b - 1 - heap->small_blocks], head);
    at8_store(&heap->transient[b - 1], (header & GC_TRANSIENT) != 0);
    AO_char_store((unsigned char volatile *)&heap->flags[b - 1], b - 1 == head ? leaf | young : leaf);
    AO_char_store_release((unsigned char volatile *)&heap->space[b - 1], heap->to_space);
  }
  gc_pages_stir(heap, at->page, at->pages);
  if (header & GC_LEAF) {
    vm_rouse(heap->region, at->page, at->pages); // as gc_block_leaf
  }
  for (size_t p = at->page; p < at->page + at->pages; p++) {
    at32_store_release(&heap->top[p], (uint32_t)heap->page_size);
  }
}

// In front of the cell.
static size_t lead_of(const gc_wanted *want) { return gc_header_align(want->header) - 8; }
static size_t pages_of(const gc_heap *heap, const gc_wanted *want) {
  return (lead_of(want) + want->cell + 8 + heap->page_size - 1) >> heap->page_shift;
}

// The object, where there is memory for it.
static char *place_fill(gc_heap *heap, const place *at, const gc_wanted *want) {
  place_clear(heap, at, want->raw);
  char *cell = vm_page_view(heap->region, at->page) + lead_of(want);
  gc_cell_begin(cell, want);
  place_settle(heap, at);
  place_publish(heap, at, lead_of(want), want->header);
  size_t bytes = at->pages << heap->page_shift;
  at_add(&heap->large_bytes, bytes);
  at_add(&heap->born_bytes, bytes);
  at_add(&heap->allocated_bytes, bytes);
  return cell;
}

char *gc_alloc_large(gc_heap *heap, const gc_wanted *want) {
  size_t page_count = pages_of(heap, want);
  size_t bytes = page_count << heap->page_shift;
  size_t block_count = (bytes + GC_BLOCK - 1) >> GC_BLOCK_SHIFT;
  if (block_count > heap->blocks - heap->small_blocks || !gc_may_allocate(heap, bytes)) {
    return NULL;
  }
  place at = {gc_run_take(heap, (uint32_t)block_count), 0, page_count};
  if (at.run.count == 0) {
    return NULL;
  }
  at.page = gc_block_page(heap, at.run.block);
  if (!place_commit(heap, &at)) {
    gc_run_put(heap, at.run);
    return NULL;
  }
  char *cell = place_fill(heap, &at, want);
  gc_kept_yield(heap);
  return cell;
}

bool gc_large_reserve(gc_heap *heap, gc_reserve *reserve, uint32_t blocks) {
  place at = {gc_run_take(heap, blocks), 0, (size_t)blocks * heap->block_pages};
  if (at.run.count == 0) {
    return false;
  }
  at.page = gc_block_page(heap, at.run.block);
  if (!place_commit(heap, &at)) {
    gc_run_put(heap, at.run);
    return false;
  }
  for (uint32_t i = 0; i < blocks; i++) {
    *gc_run_pages(heap, at.run.block + i) = (uint8_t)heap->block_pages;
  }
  at_add(&heap->large_bytes, (uint64_t)blocks << GC_BLOCK_SHIFT);
  reserve->run_block = at.run.block;
  reserve->run_count = blocks;
  return true;
}

char *gc_reserve_large(gc_heap *heap, gc_reserve *reserve, const gc_wanted *want) {
  size_t page_count = pages_of(heap, want);
  uint32_t blocks = (uint32_t)((page_count + heap->block_pages - 1) / heap->block_pages);
  VM_CHECK(blocks <= reserve->run_count, "the run set aside for a mutator does not suffice: %u blocks of %u", blocks, reserve->run_count);
  place at = {{reserve->run_block, blocks}, gc_block_page(heap, reserve->run_block), page_count};
  reserve->run_block += blocks;
  reserve->run_count -= blocks;
  at_add(&heap->large_bytes, -((uint64_t)blocks << GC_BLOCK_SHIFT)); // it counts as the object's
  return place_fill(heap, &at, want);
}

// Its memory goes back to the system, or is kept for another.
static void run_release(gc_heap *heap, gc_run run, size_t page, size_t count) {
  vm_release(heap->region, page, (size_t)run.count * heap->block_pages);
  memset(gc_run_pages(heap, run.block), 0, run.count);
  gc_commit_uncount(heap, count << heap->page_shift);
  gc_memory_returned(heap, count << heap->page_shift);
}

static void run_keep(gc_heap *heap, size_t page, size_t count, bool leaf) {
  if (VM_FULL_CHECKS) { // as gc_blocks_free does: who uses it now is to die
    for (size_t i = 0; i < (count << heap->page_shift) / 8; i++) {
      ((uint64_t volatile *)gc_page_alias(heap, page))[i] = 0xdeadf00ddeadf00dull;
    }
    vm_prot(heap->region, page, count, VM_UNSCANNED, 0);
  }
  if (!leaf) {
    vm_stamp(heap->region, page, count, 0); // or a later object would not be veiled in the cycle that has the same stamp
  }
}

// The object is none from here on: nobody else releases a tail of it. Pages of the run that have memory, its tail included.
static size_t object_end(gc_heap *heap, gc_run run) {
  size_t pages = 0;
  gc_large_lock(heap);
  uint64_t *size = &heap->large_size[run.block - heap->small_blocks];
  for (uint32_t b = run.block; b < run.block + run.count; b++) {
    pages += *gc_run_pages(heap, b);
  }
  at_store(&heap->kept_tails, at_load(&heap->kept_tails) - ((pages << heap->page_shift) - *size));
  *size = 0;
  gc_large_unlock(heap);
  return pages;
}

void gc_large_free(gc_heap *heap, uint32_t head) {
  size_t bytes = heap->large_size[head - heap->small_blocks]; // only we change it: the object is ours
  gc_run run = {head, (uint32_t)((bytes + GC_BLOCK - 1) >> GC_BLOCK_SHIFT)};
  size_t page = gc_block_page(heap, head), page_count = bytes >> heap->page_shift;
  bool leaf = (gc_flags(heap, head) & GC_BLOCK_LEAF) != 0;
  for (size_t p = page; p < page + page_count; p++) {
    at32_store_release(&heap->top[p], 0); // from here on no service may claim the page
  }
  at_fence_full();
  if (at_load(&heap->service_claims) != 0) {
    gc_claims_drop(heap, page, page_count);
  }
  for (uint32_t b = head; b < head + run.count; b++) {
    at32_store(&heap->died[b], heap->cycle);
    AO_char_store((unsigned char volatile *)&heap->flags[b], 0);
    AO_char_store_release((unsigned char volatile *)&heap->space[b], 0);
  }
  size_t held = object_end(heap, run);
  at_add(&heap->large_bytes, -bytes);
  uint64_t kept = gc_kept_bytes(heap) + (held << heap->page_shift);
  if (kept <= gc_pace_kept(heap, kept)) {
    run_keep(heap, page, held, leaf);
  } else {
    run_release(heap, run, page, held);
  }
  gc_run_put(heap, run);
}

void gc_large_mark(gc_heap *heap, gc_cell cell, uint64_t header) {
  uint32_t head = gc_block_of(heap, gc_view_of(heap, cell.alias));
  if (header & GC_LEAF) {
    gc_mark_in_place(heap, cell);
    return;
  }
  size_t page = gc_block_page(heap, head);
  size_t pages = gc_large_pages(heap, cell, header);
  // Veil first, then publish. The stamp makes this idempotent: each page is laid once in the cycle, by whoever comes first
  // (edge FROM → GREY).
  gc_veil_once(heap, page, pages);
  if (gc_mark_in_place(heap, cell)) {
    at32_store(&heap->large_scan[head - heap->small_blocks], 0);
    gc_stack_push(heap, &heap->large_grey, head);
  }
}
