// SPDX-License-Identifier: MIT
// touch.c: pages that the kernel uses are never veiled, not even briefly (gc.pins).
//
// So nothing may be forwarded into them later: every object on such a page of from-space is pinned, at the flip or when the
// page is touched, and `keep` leaves the page out.

#include "gc/alloc.h"
#include "gc/gc.h"
#include "gc/parked.h"
#include "gc/pin.h"

static bool page_is_from_small(const gc_heap *heap, size_t page) {
  uint32_t block = gc_page_block(heap, page);
  return !gc_is_large(heap, block) && gc_space(heap, block) == heap->from_space && gc_top(heap, page) != 0;
}

// The next object at or behind *at that begins before the end of what the page holds, or false.
static bool object_next(const gc_heap *heap, size_t page, char **at, gc_cell *cell, uint64_t *header) {
  char *used = gc_page_alias(heap, page) + gc_top(heap, page);
  for (;;) {
    char *next = gc_cell_next(heap, (gc_cell){*at}, used, cell, header);
    if (next == NULL) {
      return false;
    }
    *at = next;
    if (gc_header_type(*header) != GC_FILLER) {
      return true;
    }
  }
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
    while (page_is_from_small(heap, page) && object_next(heap, page, &at, &cell, &header)) {
      gc_pin_word(heap, gc_cell_ref(heap, cell, header).view);
    }
  }
}

// In mid-cycle: what has not been marked is scanned where it is, and then stays. Others may be scanning the page (if it is kept), or writing objects: those that were reached
// a moment ago, or are marked aside, or later (gc.deferred). So slots are stored by CAS.
static void page_pin(gc_heap *heap, gc_copier *copier, size_t page) {
  char *at = page_start(heap, page);
  bool cold = gc_is_cold(heap, gc_page_block(heap, page));
  gc_cell cell;
  uint64_t header;
  while (object_next(heap, page, &at, &cell, &header)) {
    if ((!cold && gc_is_done(heap, header)) || gc_floor_at(heap, gc_view_of(heap, cell.alias)) != NULL) {
      continue;
    }
    size_t bytes = gc_cell_size(cell, header);
    gc_before_write(heap, cell.alias, bytes);
    gc_cell_scan_shared(heap, copier, cell, header, cell.alias, cell.alias + bytes);
    if (cold) {
      gc_cold_mark(heap, gc_cell_ref(heap, cell, header).view);
    } else {
      gc_mark_in_place(heap, cell);
    }
  }
  gc_flags_set(heap, gc_page_block(heap, page), GC_BLOCK_RETAIN | GC_BLOCK_MORE);
}

void gc_touch_pin(gc_heap *heap, uintptr_t base, uintptr_t limit) {
  for (size_t page = gc_page_at(heap, base); page <= gc_page_at(heap, limit - 1); page++) {
    if (gc_phase_now(heap) != GC_SCANNING || !page_is_from_small(heap, page) ||
        (gc_flags(heap, gc_page_block(heap, page)) & GC_BLOCK_LEAF)) {
      continue;
    }
    // Counted like a grey page, so that the cycle does not end under it (gc.count).
    at_add_full(&heap->opened, 1);
    if (gc_phase_now(heap) == GC_SCANNING) {
      gc_copier *copier = gc_copier_take(heap);
      gc_copier_enter(copier);
      page_pin(heap, copier, page);
      gc_copier_leave(copier);
      gc_copier_give(heap, copier);
    }
    at_add_full(&heap->cleaned, 1);
  }
}

void gc_touch_open(gc_heap *heap, uintptr_t base, uintptr_t limit, bool write) {
  gc_grace_wait(heap); // whoever was about to veil the range had not seen it in world.touched
  for (size_t page = gc_page_at(heap, base); page <= gc_page_at(heap, limit - 1); page++) {
    // UNSAVED for a read too: some back ends cannot forbid writing alone.
    vm_settle(heap->region, page, VM_ABSENT | VM_UNSAVED | VM_UNSCANNED | VM_IDLE | (write ? VM_CLEAN : 0), write, true);
  }
}
