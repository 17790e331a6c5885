// SPDX-License-Identifier: MIT
// rollback.c: a heap in use goes back to what a description says (rollback.h).
//
// Everything that lies beside the pages is taken down and built anew, as when a heap is opened (rebuild.c); only memory stays where it is. One thread, in a stop with all threads at rest.
//
// Keeps gc.rolledback: what is then so and what is not.

#include "gc/rollback.h"
#include <stdio.h>
#include <string.h>
#include "gc/alloc.h"
#include "gc/aside.h"
#include "gc/block.h"
#include "gc/copier.h"
#include "gc/flip.h"
#include "gc/gc.h"
#include "gc/links.h"
#include "gc/parked.h"
#include "gc/rebuild.h"
#include "gc/runs.h"
#include "gc/still.h"
#include "gc/table.h"
#include "gc/young.h"
#include "vm/os.h"

static size_t words_of(size_t pages) { return pages / 64 + 1; }

// ---- What was in use.

bool gc_past_open(gc_past *past, gc_heap *heap, const gc_described *from, char *why, size_t why_bytes) {
  size_t words = words_of(heap->region->pages), kinds = ((size_t)heap->blocks + 7) & ~(size_t)7;
  const uint64_t *n = from->number;
  *past = (gc_past){.heap = heap, .from = from, .bytes = kinds + 2 * words * sizeof(uint64_t)};
  if (n[GC_NUMBER_PAGE_SHIFT] != heap->page_shift || n[GC_NUMBER_BLOCKS] != heap->blocks || n[GC_NUMBER_SMALL_BLOCKS] != heap->small_blocks || n[GC_NUMBER_YOUNG_BLOCKS] != heap->young_blocks) {
    snprintf(why, why_bytes, "the description is of a heap that is laid out otherwise");
    return false;
  }
  uint64_t bytes = (n[GC_NUMBER_USED_BLOCKS] << GC_BLOCK_SHIFT) + (n[GC_NUMBER_LARGE_PAGES] << heap->page_shift);
  if (bytes > at_load(&heap->limit)) {
    snprintf(why, why_bytes, "it took %llu MiB then, and the limit is %llu MiB now", (unsigned long long)bytes >> 20, (unsigned long long)at_load(&heap->limit) >> 20);
    return false;
  }
  past->memory = os_map_private(past->bytes);
  if (past->memory == NULL) {
    snprintf(why, why_bytes, "no memory for a list of its pages");
    return false;
  }
  past->used = past->memory;
  past->got = past->used + words;
  past->kind = (uint8_t *)(past->got + words);
  if (!gc_described_uses(from, heap, past->kind, past->used, why, why_bytes)) {
    gc_past_close(past);
    return false;
  }
  return true;
}

void gc_past_close(gc_past *past) {
  if (past->memory != NULL) {
    os_unmap(past->memory, past->bytes);
    past->memory = NULL;
  }
}

// ---- Memory.

static bool has_memory(const gc_heap *heap, size_t page) { return (at32_load(&heap->region->word[page]) & VM_COMMITTED) != 0; }

// Pages that may have memory, of each zone.
static size_t small_limit(const gc_heap *heap) { return gc_block_page(heap, (uint32_t)at_load(&heap->fresh)); }
static size_t large_first(const gc_heap *heap) { return gc_block_page(heap, heap->small_blocks); }
static size_t large_limit(const gc_heap *heap) { return gc_block_page(heap, at32_load(&heap->large_high)); }

// Whether the page is to have memory: all of a small block, what is in use of a large object.
static bool wants_memory(const gc_past *past, size_t page) {
  const gc_heap *heap = past->heap;
  return page < large_first(heap) ? past->kind[gc_page_block(heap, page)] != GC_KIND_FREE : gc_past_uses(past, page);
}

static bool range_commit(gc_past *past, size_t first, size_t limit) {
  gc_heap *heap = past->heap;
  for (size_t page = first, end; page < limit; page = end) {
    end = page + 1;
    if (!wants_memory(past, page) || has_memory(heap, page)) {
      continue;
    }
    for (; end < limit && end - page < (size_t)VM_HUGE >> heap->page_shift && wants_memory(past, end) && !has_memory(heap, end); end++) {
    }
    if (!vm_commit(heap->region, page, end - page)) {
      return false;
    }
    for (size_t i = page; i < end; i++) {
      past->got[i / 64] |= (uint64_t)1 << i % 64;
    }
    at_add_full(&heap->committed_bytes, (end - page) << heap->page_shift); // what goes out of use is given back, if it is more than the limit
    gc_memory_got(heap, (end - page) << heap->page_shift);
  }
  return true;
}

bool gc_past_commit(gc_past *past) {
  gc_heap *heap = past->heap;
  if (range_commit(past, 0, small_limit(heap)) && range_commit(past, large_first(heap), large_limit(heap))) {
    return true;
  }
  gc_past_uncommit(past);
  return false;
}

void gc_past_uncommit(gc_past *past) {
  gc_heap *heap = past->heap;
  for (size_t word = 0; word < words_of(heap->region->pages); word++) {
    for (uint64_t left = past->got[word]; left != 0; left &= left - 1) {
      vm_release(heap->region, word * 64 + (size_t)__builtin_ctzll(left), 1);
      gc_commit_uncount(heap, heap->page_size);
      gc_memory_returned(heap, heap->page_size);
    }
    past->got[word] = 0;
  }
}

// ---- What is in use now goes out of use.

static void stays_note(gc_past *past, uint32_t block) {
  past->kind[block] |= GC_PAST_STAYS | (gc_flags(past->heap, block) & GC_BLOCK_LEAF ? GC_PAST_LEAF : 0);
}

static void block_forget(gc_heap *heap, uint32_t block) {
  size_t page = gc_block_page(heap, block);
  for (size_t p = page; p < page + heap->block_pages; p++) {
    at32_store(&heap->top[p], 0);
    AO_short_store((unsigned short volatile *)&heap->cover[p], 0);
  }
  AO_char_store((unsigned char volatile *)&heap->flags[block], 0);
  at32_store(&heap->spared[block], 0);
  gc_still_set(heap, block, 0);
  gc_cells_set(heap, block, 0);
}

// Pages that are free may be veiled: a copier has left them over, or all free memory is, in builds with full checks.
static void pages_unveil(gc_heap *heap, size_t page, size_t count) {
  for (size_t p = page; p < page + count; p++) {
    if (vm_claims(heap->region, p) & VM_UNSCANNED) {
      vm_unprot(heap->region, p, 1, VM_UNSCANNED);
    }
  }
}

// What was in use and is keeps its memory, and its claims of services. What was not is free.
static void small_leave(gc_past *past) {
  gc_heap *heap = past->heap;
  for (uint32_t b = 0; b < at_load(&heap->fresh); b++) {
    if (gc_space(heap, b) == 0) {
      continue;
    }
    if (past->kind[b] == GC_KIND_FREE) {
      (b < heap->young_blocks) ? gc_young_free(heap, b) : gc_blocks_free(heap, b, 1, false);
      continue;
    }
    stays_note(past, b);
    block_forget(heap, b);
    pages_unveil(heap, gc_block_page(heap, b), heap->block_pages);
    AO_char_store_release((unsigned char volatile *)&heap->space[b], 0);
    at_add(&heap->used_blocks, (uint64_t)-1);
  }
}

static void block_enter(gc_heap *heap, uint32_t block) {
  block_forget(heap, block);
  vm_unprot(heap->region, gc_block_page(heap, block), heap->block_pages, VM_UNSCANNED);
}

// Blocks that were in use are free no more. The others stay as they are, in the same order.
static void stack_leave(gc_past *past, gc_stack *stack) {
  gc_heap *heap = past->heap;
  uint32_t last = GC_NONE;
  for (uint32_t b; (b = gc_stack_pop(heap, stack)) != GC_NONE;) {
    if (past->kind[b] != GC_KIND_FREE) {
      block_enter(heap, b);
      continue;
    }
    at32_store(&heap->link[b], last);
    last = b;
  }
  for (uint32_t b = last, next; b != GC_NONE; b = next) {
    next = at32_load(&heap->link[b]);
    gc_stack_push(heap, stack, b);
  }
}

static void stacks_leave(gc_past *past) {
  gc_heap *heap = past->heap;
  VM_CHECK(at_load(&heap->trim_lock) == 0, "a heap is rolled back while memory is given back");
  gc_stack *stacks[] = {&heap->ready, &heap->open_free, &heap->veiled_free, &heap->born_ready, &heap->empty, &heap->young_free, &heap->young_empty};
  for (size_t i = 0; i < sizeof stacks / sizeof *stacks; i++) {
    stack_leave(past, stacks[i]);
  }
  gc_stacks_reset(heap->partial, GC_SORTS);
  gc_stack *used[] = {&heap->grey, &heap->large_grey};
  for (size_t i = 0; i < sizeof used / sizeof *used; i++) {
    gc_stack_reset(used[i]);
  }
  for (unsigned i = 0; i < GC_COPIERS; i++) {
    gc_copier_reset(&heap->copiers[i]);
  }
}

static void large_release(gc_past *past, size_t page, size_t count) {
  gc_heap *heap = past->heap;
  if (at_load(&heap->service_claims) != 0) {
    gc_claims_drop(heap, page, count);
  }
  vm_release(heap->region, page, count);
  gc_commit_uncount(heap, count << heap->page_shift);
  gc_memory_returned(heap, count << heap->page_shift);
}

// gc.parked: contents that are given up, or replaced, are not put back: by the tables that are about to change nobody could tell where their references are.
void gc_past_drop(const gc_past *past, const uint64_t *put) {
  gc_heap *heap = past->heap;
  for (size_t page = 0; at_load(&heap->parked_pages) != 0 && page < heap->region->pages; page++) {
    if (gc_is_parked(heap, page) && (!gc_past_uses(past, page) || (put[page / 64] >> page % 64 & 1))) {
      gc_claims_drop(heap, page, 1);
    }
  }
}

// No object is there any more, and no memory but where one was.
static void large_leave(gc_past *past) {
  gc_heap *heap = past->heap;
  uint32_t high = at32_load(&heap->large_high);
  for (uint32_t b = heap->small_blocks; b < high; b++) {
    size_t page = gc_block_page(heap, b);
    if (gc_space(heap, b) != 0) {
      stays_note(past, b); // if it does
    }
    for (size_t p = page; p < page + heap->block_pages; p++) {
      at32_store(&heap->top[p], 0);
    }
    AO_char_store((unsigned char volatile *)&heap->flags[b], 0);
    AO_char_store_release((unsigned char volatile *)&heap->space[b], 0);
    heap->large_size[b - heap->small_blocks] = 0;
    heap->large_pages[b - heap->small_blocks] = 0;
  }
  for (size_t page = large_first(heap), limit = large_limit(heap), end; page < limit; page = end) {
    bool used = gc_past_uses(past, page), memory = has_memory(heap, page);
    for (end = page + 1; end < limit && gc_past_uses(past, end) == used && has_memory(heap, end) == memory; end++) {
    }
    if (used) {
      pages_unveil(heap, page, end - page);
    } else if (memory) {
      large_release(past, page, end - page);
    }
  }
  at_store(&heap->large_bytes, 0);
  gc_runs_reset(heap);
}

// ---- Around what is built anew.

static void roots_clear(gc_heap *heap) {
  gc_flip flip = {.heap = heap, .clears = true};
  heap->world.precise(heap->world.arg, &flip);
}

// System calls may use leaf objects without a word, and services are told of what comes into use.
static void entered_tell(const gc_past *past) {
  gc_heap *heap = past->heap;
  for (uint32_t b = 0; b < at32_load(&heap->large_high); b++) {
    if (b < heap->small_blocks && b >= at_load(&heap->fresh)) {
      b = heap->small_blocks - 1;
      continue;
    }
    if (gc_space(heap, b) == 0) {
      continue;
    }
    if ((gc_flags(heap, b) & GC_BLOCK_LEAF) && !(past->kind[b] & GC_PAST_LEAF) && b >= heap->young_blocks) {
      vm_rouse(heap->region, gc_block_page(heap, b), heap->block_pages);
    }
    if (!(past->kind[b] & GC_PAST_STAYS)) {
      gc_pages_stir(heap, gc_block_page(heap, b), heap->block_pages);
    }
  }
}

void gc_rollback_stopped(gc_past *past) {
  gc_heap *heap = past->heap;
  VM_CHECK(gc_phase_now(heap) == GC_IDLE, "a rollback in phase %d", (int)gc_phase_now(heap));
  roots_clear(heap);
  past->finals = at_load(&heap->links.count[GC_LINK_FINAL]) + at_load(&heap->links.count[GC_LINK_READY]);
  gc_young_rollback(heap); // before the flags of large objects go
  small_leave(past);
  stacks_leave(past);
  large_leave(past);
  gc_tables_rollback(heap);
  gc_links_rollback(heap);
  char why[160];
  VM_CHECK(at_load(&heap->used_blocks) == 0, "%llu blocks are in use, and in no space", (unsigned long long)at_load(&heap->used_blocks));
  bool good = gc_rebuild_again(heap, past->from, why, sizeof why);
  VM_CHECK(good, "a heap cannot be rolled back: %s", why);
  gc_links_rolled_back(heap);
  entered_tell(past);
  size_t committed = at_load(&heap->committed_bytes), limit = at_load(&heap->limit);
  if (committed > limit) {
    gc_free_memory(heap, committed - limit);
  }
}
