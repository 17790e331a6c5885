// SPDX-License-Identifier: MIT
// alloc.c: buffers and medium cells for mutators.
//
// Runs in the mutator, in the slow half, where it is not stopped. Memory is zeroed through the view, so that a service's claim
// on a page traps as it would for the program.

#include "gc/alloc.h"
#include <sched.h>
#include <string.h>
#include "gc/aside.h"
#include "gc/block.h"
#include "gc/gc.h"
#include "gc/nursery.h"
#include "gc/parked.h"
#include "gc/runs.h"
#include "gc/young.h"

// Memory that large objects have left makes room (gc.kept), or that the nursery does not use.
uint32_t gc_alloc_block(gc_heap *heap) {
  gc_kept_yield(heap);
  uint64_t trims = at_load_acquire(&heap->trims);
  uint32_t block = gc_block_take_open(heap);
  while (block == GC_NONE && gc_trims(heap, &trims)) {
    sched_yield(); // whoever has them waits for nobody
    block = gc_block_take_open(heap);
  }
  while (block == GC_NONE && (gc_kept_bytes(heap) != 0 || at_load(&heap->young_free.count) != 0) && gc_free_memory(heap, GC_BLOCK)) {
    block = gc_block_take_open(heap);
  }
  if (heap->world.low != NULL && gc_wants_open(heap)) {
    heap->world.low(heap->world.arg);
  }
  return block;
}

static void lane_set(gc_alloc_lane *lane, uint32_t block) {
  lane->block = block;
  lane->cursor = 0;
}

static bool lane_block_take(gc_heap *heap, gc_alloc_lane *lane, unsigned sort, bool partial) {
  if (lane->reserve != NULL) {
    lane_set(lane, gc_reserve_block(heap, lane->reserve, sort));
    return true;
  }
  if (!gc_young_is_on(heap)) {
    gc_nursery_look(heap);
  }
  if (gc_young_is_on(heap) && gc_may_allocate(heap, GC_BLOCK)) {
    uint32_t young = gc_young_take(heap, sort, partial);
    if (young != GC_NONE) {
      lane_set(lane, young);
      return true;
    }
    at_add(&heap->young_taken, 1); // the zone is full: what is born elsewhere meanwhile counts too
  }
  uint32_t block = partial ? gc_stack_pop(heap, &heap->partial[sort]) : GC_NONE;
  while (block != GC_NONE && !(sort & GC_SORT_LEAF) && !gc_parked_fill(heap, block)) { // of a leaf block it is asked page by page
    block = gc_stack_pop(heap, &heap->partial[sort]); // that one has parked pages: its gaps are for later (gc.parked)
  }
  if (block != GC_NONE && (sort & GC_SORT_LEAF)) {
    at32_store(&heap->spared[block], 0); // from here on it is filled
  }
  if (block == GC_NONE) {
    if (!gc_may_allocate(heap, GC_BLOCK)) {
      return false;
    }
    block = gc_alloc_block(heap);
    if (block == GC_NONE) {
      return false;
    }
    gc_block_dedicate(heap, block, sort);
    if (sort & GC_SORT_LEAF) {
      gc_cells_set(heap, block, at8_load(&heap->leaves_stay) ? GC_CELLS_KNOWN : 0); // none; where most die, nobody is going to ask
    }
  }
  lane_set(lane, block);
  return true;
}

static void born_count(gc_heap *heap, uint32_t block, size_t bytes) {
  if (block >= heap->young_blocks) {
    at_add(&heap->born_bytes, bytes);
  }
  at_add(&heap->allocated_bytes, bytes);
}

// The next run of free space in a page that holds objects, from `at` on: [*base, *limit), or false.
static bool gap_find(gc_heap *heap, char *at, char *end, size_t need, char **base, char **limit) {
  while (at < end) {
    char *gap = at;
    while (at < end && *(uint64_t volatile *)at == 0) {
      at += GC_UNIT;
    }
    if ((size_t)(at - gap) >= need) {
      *base = gap;
      *limit = at - gap > GC_MEDIUM_MAX ? gap + GC_MEDIUM_MAX : at;
      return true;
    }
    while (at < end && *(uint64_t volatile *)at != 0) {
      // Size and layout are the same seen from the view.
      at += gc_cell_size((gc_cell){at}, *(uint64_t volatile *)at);
    }
  }
  return false;
}

// As gc_page_first, but through the view: a mutator is in no copier, so a service may take the page away while it reads the alias.
static char *view_first(const gc_heap *heap, size_t page) {
  gc_cell covering = gc_page_covering(heap, page);
  if (covering.alias != NULL) {
    char *at = (char *)gc_view_of(heap, covering.alias);
    uint64_t header = *(uint64_t volatile *)at;
    if (header != 0) { // or the sweep has just cleared it
      return at + gc_cell_size((gc_cell){at}, header);
    }
  }
  return vm_page_view(heap->region, page) + 8;
}

// gc.filled. Of other blocks it was asked when they were taken, and nothing is parked in the nursery, nor in what has not been through a cycle.
static bool may_fill(gc_heap *heap, uint32_t block, size_t page) {
  return !(gc_flags(heap, block) & GC_BLOCK_LEAF) || block < heap->young_blocks || !(at8_load(&heap->still[block]) & GC_SETTLED) || gc_parked_fill_page(heap, page);
}

// The rest of the page at the lane's cursor, if it has room.
static bool page_buffer(gc_heap *heap, gc_alloc_lane *lane, size_t page, size_t need, char **base, char **limit) {
  size_t in_page = lane->cursor & (heap->page_size - 1);
  uint32_t top = at32_load(&heap->top[page]);
  if ((top & GC_CLOSED) || !may_fill(heap, lane->block, page)) {
    return false;
  }
  char *view = vm_page_view(heap->region, page);
  char *end = view + heap->page_size - 8;
  if (top == 0) {
    if (vm_claims(heap->region, page) & VM_UNSCANNED) {
      vm_unprot(heap->region, page, 1, VM_UNSCANNED); // a page that the copier of this block left over
    }
    memset(view, 0, heap->page_size);
    at32_store_release(&heap->top[page], (uint32_t)heap->page_size);
    *base = view + 8;
    // No larger than what may move: the inline half puts anything that fits into a buffer.
    *limit = end - *base > GC_MEDIUM_MAX ? *base + GC_MEDIUM_MAX : end;
    return true;
  }
  char *first = view_first(heap, page);
  char *from = view + in_page > first ? view + in_page : first;
  return gap_find(heap, from, end, need, base, limit);
}

bool gc_alloc_buffer(gc_heap *heap, gc_alloc_lane *lane, unsigned sort, size_t need, char **base, char **limit) {
  need = need < GC_GAP_MIN ? GC_GAP_MIN : need;
  for (;;) {
    if (lane->block == GC_NONE && !lane_block_take(heap, lane, sort, true)) {
      return false;
    }
    while (lane->cursor < GC_BLOCK) {
      size_t page = gc_block_page(heap, lane->block) + (lane->cursor >> heap->page_shift);
      uint32_t page_end = (lane->cursor | ((uint32_t)heap->page_size - 1)) + 1;
      if (page_buffer(heap, lane, page, need, base, limit)) {
        uint32_t cursor = (uint32_t)(*limit - vm_page_view(heap->region, gc_block_page(heap, lane->block)));
        lane->cursor = *limit >= vm_page_view(heap->region, page) + heap->page_size - 8 ? page_end : cursor;
        born_count(heap, lane->block, (size_t)(*limit - *base));
        return true;
      }
      lane->cursor = page_end;
    }
    lane->block = GC_NONE;
  }
}

// Through the view, as in all of this file. The cells are in the caches of who has made them; the sweep would miss each.
void gc_buffer_leave(gc_heap *heap, const char *start, const char *free) {
  if (start == free || !gc_cells_known(heap, gc_block_of(heap, (uintptr_t)start))) {
    return;
  }
  unsigned cells = 0;
  for (gc_cell at = {(char *)(uintptr_t)start}; at.alias < free;) {
    uint64_t header = gc_header_load(at);
    cells += gc_header_type(header) != GC_FILLER;
    at.alias += gc_cell_size(at, header);
  }
  gc_cells_add(heap, gc_block_of(heap, (uintptr_t)start), cells);
}

void gc_lane_leave(gc_heap *heap, const gc_alloc_lane *lane) {
  if (lane->block != GC_NONE && GC_BLOCK - lane->cursor >= GC_GAPS_MIN) {
    gc_cells_set(heap, lane->block, 0);
  }
}

void gc_lane_drop(gc_heap *heap, gc_alloc_lane *lane, unsigned sort) {
  gc_lane_leave(heap, lane);
  if (lane->block != GC_NONE && lane->cursor < GC_BLOCK) {
    gc_stack_push(heap, lane->block < heap->young_blocks ? &heap->young_partial[sort] : &heap->partial[sort], lane->block);
  }
  lane->block = GC_NONE;
}

void gc_raw_open(gc_heap *heap, size_t page, size_t count) {
  uint32_t consumers = at32_load(&heap->dirty_mask);
  for (size_t p = page; p < page + count; p++) {
    if (consumers != 0) {
      vm_dirty_note(heap->region, p, consumers);
    }
    if ((vm_claims(heap->region, p) & (VM_ABSENT | VM_UNSAVED | VM_CLEAN)) == VM_CLEAN) { // with others it is the end of the cell before: the header goes there
      vm_settle(heap->region, p, VM_CLEAN, true, true);
    }
  }
  vm_open(heap->region, page, count);
}

// Whoever finds the cell by a page's top finds it whole: the header stands before the tops are raised.
static void medium_begin(gc_heap *heap, char *cell, const gc_wanted *want, size_t page, size_t last) {
  if (!want->raw) {
    memset(cell, 0, want->cell);
  } else {
    gc_raw_open(heap, page, last + 1 - page);
  }
  gc_cell_begin(cell, want);
}

// Blocks are aligned to more than any object is.
static size_t medium_lead(const gc_alloc_lane *lane, size_t align) { return -(size_t)(lane->cursor + 8) & (align - 1); }

char *gc_alloc_medium(gc_heap *heap, gc_alloc_lane *lane, const gc_wanted *want) {
  size_t cell_bytes = want->cell;
  size_t align = gc_header_align(want->header), lead = medium_lead(lane, align);
  if (lane->block == GC_NONE || lane->cursor + lead + cell_bytes > GC_BLOCK - 8) {
    gc_alloc_lane left = *lane;
    if (!lane_block_take(heap, lane, gc_header_sort(want->header), false)) {
      return NULL;
    }
    gc_lane_leave(heap, &left);
    lane->cursor = 8;
    lead = medium_lead(lane, align);
  }
  size_t first = gc_block_page(heap, lane->block);
  if (lead != 0) { // the tops that say so are raised with the cell's own
    gc_cell_fill((gc_cell){vm_page_view(heap->region, first) + lane->cursor}, lead);
    lane->cursor += (uint32_t)lead;
  }
  char *cell = vm_page_view(heap->region, first) + lane->cursor;
  size_t end = lane->cursor + cell_bytes;
  size_t page = first + (lane->cursor >> heap->page_shift);
  size_t last = first + (end >> heap->page_shift);
  medium_begin(heap, cell, want, page, last);
  for (size_t p = page; p <= last; p++) {
    if (p > page) {
      size_t back = (size_t)(vm_page_view(heap->region, p) - cell);
      AO_short_store((unsigned short volatile *)&heap->cover[p], (unsigned short)((back + 8) / GC_UNIT));
    }
    size_t used = p < last ? heap->page_size : end & (heap->page_size - 1);
    at32_store_release(&heap->top[p], (uint32_t)used | GC_CLOSED);
  }
  lane->cursor = (uint32_t)end;
  gc_cells_add(heap, lane->block, 1);
  born_count(heap, lane->block, lead + cell_bytes);
  return cell;
}
