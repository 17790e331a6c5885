// SPDX-License-Identifier: MIT
// pin.c: from an ambiguous word to the object it may point into.
//
// World stopped, or the caller holds the object otherwise.

#include "gc/pin.h"
#include "gc/alloc.h"
#include "gc/gc.h"
#include "gc/parked.h"
#include "gc/queue.h"
#include "gc/young.h"

// A mutator may be allocating in the free space that is walked over: then what comes behind it may be the contents of an object
// born meanwhile. Objects are born from the start of a free run, header first, so that its first word tells.
char *gc_cell_next(const gc_heap *heap, gc_cell at, const char *limit, gc_cell *cell, uint64_t *header) {
  char *run = NULL; // where the free space began
  while (at.alias < limit) {
    uint64_t word = gc_header_read(heap, at);
    if (word == 0) {
      run = run ? run : at.alias;
      at.alias += GC_UNIT;
    } else if (run != NULL && gc_header_read(heap, (gc_cell){run}) != 0) {
      at.alias = run;
      run = NULL;
    } else {
      *cell = at;
      *header = word;
      return at.alias + gc_cell_size(at, word);
    }
  }
  return NULL;
}

bool gc_find_cell(const gc_heap *heap, uintptr_t address, gc_cell *cell, uint64_t *header) {
  // Inside, or one past the end: since the next cell begins with its header, the byte before decides both.
  address--;
  if (!gc_in_heap(heap, address)) {
    return false;
  }
  uint32_t block = gc_block_of(heap, address);
  if (gc_space(heap, block) == 0) {
    return false;
  }
  char *wanted = (char *)(address + heap->delta);
  if (gc_is_large(heap, block)) {
    *cell = gc_large_cell(heap, gc_large_head(heap, block));
    *header = gc_header_read(heap, *cell);
    return *header != 0 && wanted < cell->alias + gc_cell_size(*cell, *header) && wanted >= cell->alias;
  }
  size_t page = gc_page_at(heap, address);
  char *end = gc_page_alias(heap, page) + gc_top(heap, page);
  gc_cell at = gc_page_covering(heap, page);
  if (at.alias == NULL || wanted >= gc_page_first(heap, page).alias) {
    at = gc_page_first(heap, page);
    if (wanted >= end) {
      return false;
    }
  } else if (gc_is_parked(heap, gc_page_at(heap, gc_view_of(heap, at.alias)))) { // its header is away
    *cell = at;
    *header = gc_page_cover(heap, page).header;
    return *header != 0 && gc_header_type(*header) != GC_FILLER;
  }
  while (at.alias <= wanted) {
    *cell = at;
    char *next = gc_cell_next(heap, at, wanted + 1, cell, header);
    if (next == NULL || cell->alias > wanted) {
      return false;
    }
    if (wanted < next) {
      return gc_header_type(*header) != GC_FILLER;
    }
    at.alias = next;
  }
  return false;
}

static void pin_remember(gc_heap *heap, gc_cell cell) {
  VM_CHECK(heap->pin_count < heap->pin_limit, "more than %zu pins", heap->pin_limit);
  heap->pins[heap->pin_count++] = cell;
}

static bool is_group_touched(const gc_heap *heap, size_t page) {
  size_t first, end;
  bool touched = false;
  gc_cold_group(heap, page, &first, &end);
  for (; first < end; first++) {
    touched |= heap->world.touched(heap->world.arg, first);
  }
  return touched;
}

// In a cold block: it is marked, and its page veiled, so it need not be scanned now; but for what a system call uses, which is not veiled (touch.c).
static void cold_pin(gc_heap *heap, uintptr_t word) {
  gc_cell cell;
  uint64_t header;
  if (gc_parked_find(heap, word - 1, &cell) ? cell.alias == NULL : !gc_find_cell(heap, word, &cell, &header)) {
    return;
  }
  uintptr_t view = gc_view_of(heap, cell.alias) + 8; // as good as the object's own address, which is an array's if its header says so
  if (gc_aside_is_marked(heap, view)) {
    return;
  }
  at_add(&heap->pinned_objects, 1);
  gc_cold_mark(heap, view);
  if (!(gc_flags(heap, gc_block_of(heap, view)) & GC_BLOCK_LEAF) && is_group_touched(heap, gc_page_at(heap, view - 8))) {
    pin_remember(heap, cell);
  }
}

static bool is_cold_word(const gc_heap *heap, uintptr_t word) {
  return heap->colds && gc_in_heap(heap, word - 1) && gc_is_cold(heap, gc_block_of(heap, word - 1));
}

static void word_pin(gc_heap *heap, uintptr_t word) {
  gc_cell cell;
  uint64_t header;
  if (__builtin_expect(is_cold_word(heap, word), 0)) {
    cold_pin(heap, word);
    return;
  }
  if (!gc_find_cell(heap, word, &cell, &header)) {
    return;
  }
  uint32_t block = gc_block_of(heap, gc_view_of(heap, cell.alias));
  if (gc_space(heap, block) != heap->from_space) {
    return; // born since the flip began
  }
  uintptr_t view = gc_cell_ref(heap, cell, header).view;
  bool aside = gc_is_aside(heap, block);
  if (aside ? gc_aside_is_marked(heap, view) : gc_is_done(heap, header)) {
    return;
  }
  at_add(&heap->pinned_objects, 1);
  if (aside) {
    gc_aside_mark(heap, view);
    return;
  }
  if (gc_is_large(heap, block)) {
    gc_large_mark(heap, cell, header);
    if (!(header & GC_LEAF)) {
      pin_remember(heap, cell); // its touched pages are not veiled
    }
    return;
  }
  gc_mark_in_place(heap, cell);
  uint32_t last = gc_block_of(heap, gc_view_of(heap, cell.alias) + gc_cell_size(cell, header) - 1);
  for (uint32_t b = block; b <= last; b++) {
    gc_flags_set(heap, b, GC_BLOCK_RETAIN);
  }
  if (!(header & GC_LEAF)) {
    pin_remember(heap, cell);
  }
}

void gc_pin_word(gc_heap *heap, uintptr_t word) {
  word_pin(heap, word);
  if ((word & (GC_UNIT - 1)) == 8) {
    // It may be a cell's own address: of an object whose allocation was stopped between its header and its return.
    word_pin(heap, word + 1);
  }
}

// Of a large object only what a system call uses is scanned in the pause: the rest is veiled.
static void large_touched_scan(gc_heap *heap, gc_copier *copier, gc_cell cell, uint64_t header) {
  size_t page = gc_page_at(heap, gc_view_of(heap, cell.alias));
  for (size_t i = 0; i < gc_large_pages(heap, cell, header); i++) {
    if (heap->world.touched(heap->world.arg, page + i)) {
      char *base = gc_page_alias(heap, page + i);
      gc_before_write(heap, base, heap->page_size);
      gc_cell_scan_shared(heap, copier, cell, header, base, base + heap->page_size);
    }
  }
}

static bool is_touched(const gc_heap *heap, gc_cell cell, size_t bytes) {
  uintptr_t view = gc_view_of(heap, cell.alias);
  for (size_t page = gc_page_at(heap, view); page <= gc_page_at(heap, view + bytes - 1); page++) {
    if (heap->world.touched(heap->world.arg, page)) {
      return true;
    }
  }
  return false;
}

void gc_pins_scan(gc_heap *heap, gc_copier *copier) {
  for (size_t i = 0; i < heap->pin_count; i++) {
    gc_cell cell = heap->pins[i];
    uint64_t header = gc_header_read(heap, cell);
    if (gc_is_large(heap, gc_block_of(heap, gc_view_of(heap, cell.alias)))) {
      large_touched_scan(heap, copier, cell, header);
      continue;
    }
    size_t bytes = gc_cell_size(cell, header);
    gc_before_write(heap, cell.alias, bytes);
    (is_touched(heap, cell, bytes) ? gc_cell_scan_shared
                                   : gc_cell_scan)(heap, copier, cell, header, cell.alias, cell.alias + bytes);
  }
  gc_queue_drain(heap, copier);
  // What stays in the nursery's zone may be given pointers to what is young, unseen: Dirty does not look there.
  for (size_t i = 0; i < heap->pin_count; i++) {
    if (gc_in_young_zone(heap, gc_view_of(heap, heap->pins[i].alias))) {
      heap->pins[heap->flip_pins++] = heap->pins[i];
    }
  }
  heap->pin_count = heap->flip_pins;
}
