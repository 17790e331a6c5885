// SPDX-License-Identifier: MIT
// touch.c: pages that the kernel uses are never veiled, not even briefly (gc.pins).
//
// So nothing may be forwarded into them later: every object on such a page of from-space is pinned, at the flip or when the
// page is touched, and `keep` leaves the page out.

#include "gc/alloc.h"
#include "gc/gc.h"
#include "gc/pin.h"

static bool page_is_from_small(const gc_heap *heap, size_t page) {
  uint32_t block = gc_page_block(heap, page);
  return !gc_is_large(heap, block) && gc_space(heap, block) == heap->from_space && gc_top(heap, page) != 0;
}

// The next object at or behind *at that reaches into the page, or false.
static bool cell_next(const gc_heap *heap, size_t page, char **at, gc_cell *cell, uint64_t *header) {
  char *used = gc_page_alias(heap, page) + gc_top(heap, page);
  while (*at < used) {
    *cell = (gc_cell){*at};
    *header = gc_header_read(heap, *cell);
    *at += *header ? gc_cell_size(*cell, *header) : GC_UNIT;
    if (*header != 0 && gc_header_type(*header) != GC_FILLER) {
      return true;
    }
  }
  return false;
}

static char *page_start(const gc_heap *heap, size_t page) {
  gc_cell covering = gc_page_covering(heap, page);
  return covering.alias != NULL ? covering.alias : gc_page_first(heap, page).alias;
}

void gc_pin_touched(gc_heap *heap, uintptr_t base, uintptr_t limit) {
  if (gc_is_large(heap, gc_block_of(heap, base))) {
    gc_pin_word(heap, base + 1);
    return;
  }
  for (size_t page = gc_page_at(heap, base); page <= gc_page_at(heap, limit - 1); page++) {
    char *at = page_start(heap, page);
    gc_cell cell;
    uint64_t header;
    while (page_is_from_small(heap, page) && cell_next(heap, page, &at, &cell, &header)) {
      gc_pin_word(heap, gc_cell_ref(heap, cell, header).view);
    }
  }
}

// In mid-cycle: what has not been forwarded is reached by no mutator, so it is scanned in the open page, and then stays.
static void page_pin(gc_heap *heap, gc_copier *copier, size_t page) {
  char *at = page_start(heap, page);
  gc_cell cell;
  uint64_t header;
  while (cell_next(heap, page, &at, &cell, &header)) {
    if (gc_is_done(heap, header) || at > gc_page_alias(heap, page) + heap->page_size + GC_MEDIUM_MAX) {
      continue;
    }
    gc_before_write(heap, cell.alias, gc_cell_size(cell, header));
    gc_cell_scan(heap, copier, cell, header, cell.alias, cell.alias + gc_cell_size(cell, header));
    gc_queue_drain(heap, copier);
    gc_mark_in_place(heap, cell);
  }
  gc_flags_set(heap, gc_page_block(heap, page), GC_BLOCK_RETAIN);
}

void gc_touch_range(gc_heap *heap, uintptr_t base, uintptr_t limit, bool write) {
  for (size_t page = gc_page_at(heap, base); page <= gc_page_at(heap, limit - 1); page++) {
    if (gc_phase_now(heap) == GC_SCANNING && page_is_from_small(heap, page) &&
        !(gc_flags(heap, gc_page_block(heap, page)) & GC_BLOCK_LEAF)) {
      // Counted like a grey page, so that the cycle does not end under it (gc.count).
      at_add_full(&heap->opened, 1);
      if (gc_phase_now(heap) == GC_SCANNING) {
        gc_copier *copier = gc_copier_take(heap, false);
        gc_copier_enter(copier);
        page_pin(heap, copier, page);
        gc_copier_leave(copier);
        gc_copier_give(heap, copier);
      }
      at_add_full(&heap->cleaned, 1);
    }
    vm_settle(heap->region, page, VM_ABSENT | VM_UNSCANNED | (write ? VM_UNSAVED | VM_CLEAN : 0), write, true);
  }
}
