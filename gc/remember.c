// SPDX-License-Identifier: MIT
// remember.c: which old pages may point into the nursery's zone: the harvest, and the scan of those pages
// (gc.remembered, gc.zone).
//
// In the pause of a minor cycle, beside scanners and a sweep.

#include "gc/alloc.h"
#include "gc/aside.h"
#include "gc/block.h"
#include "gc/gc.h"
#include "gc/minor.h"
#include "gc/parked.h"
#include "gc/pin.h"
#include "gc/sweep.h"
#include "vm/os.h"

enum {
  SHARED_PAGES = 128, // so many to scan are worth waking other threads
  TAKEN_PAGES = 16,   // a worker takes at a time
};

static void written_end(gc_minor *minor, uint32_t next) {
  if (minor->written_block != GC_NONE) {
    gc_hot_written(minor->heap, minor->written_block, minor->written_pages);
  }
  minor->written_block = next;
  minor->written_pages = 0;
}

static void page_dirty(void *arg, size_t page) {
  gc_minor *minor = arg;
  if (gc_is_untouched(minor->heap, page)) {
    return; // grey: no mutator has been there since the flip, nor can before it is armed; and who scans it remembers
  }
  uint32_t block = gc_page_block(minor->heap, page);
  if (block != minor->written_block) {
    written_end(minor, block);
  }
  minor->written_pages++;
  at_add(&minor->heap->minor_dirty_pages, 1);
  gc_remember(minor->heap, page);
}

static bool is_tracked(const gc_heap *heap, uint32_t block) {
  return gc_space(heap, block) != 0 && !(gc_flags(heap, block) & GC_BLOCK_LEAF);
}

// In from-space of a major cycle that is where something stays: nobody can have written elsewhere. Should something be
// kept there later, it is veiled first.
static bool is_written(const gc_heap *heap, uint32_t block) {
  bool retains = (AO_char_load_acquire((unsigned char volatile *)&heap->flags[block]) & GC_BLOCK_RETAIN) != 0; // before the space (gc.harvest)
  os_point();
  return is_tracked(heap, block) && !gc_is_hot(heap, block) &&
         (retains || gc_space(heap, block) != heap->from_space || gc_is_large(heap, block));
}

static void range_harvest(gc_heap *heap, uint32_t from, uint32_t to, bool (*is_asked)(const gc_heap *heap, uint32_t block),
                          void (*visit)(void *arg, size_t page), void *arg) {
  for (uint32_t b = from; b < to; b++) {
    uint32_t first = b;
    while (b < to && is_asked(heap, b)) {
      b++;
    }
    if (first < b) {
      vm_dirty(heap->region, heap->young_consumer, gc_block_page(heap, first), (size_t)(b - first) * heap->block_pages,
               visit, arg);
    }
  }
}

void gc_remembered_harvest(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  gc_hot_begin(heap);
  minor->written_block = GC_NONE;
  range_harvest(heap, heap->young_blocks, (uint32_t)at_load(&heap->fresh), is_written, page_dirty, minor);
  range_harvest(heap, heap->small_blocks, at32_load(&heap->large_high), is_written, page_dirty, minor);
  written_end(minor, GC_NONE);
}

static void page_ignore(void *arg, size_t page) {
  (void)arg;
  (void)page;
}

uint32_t gc_remembered_arm(gc_heap *heap, uint32_t from, uint32_t count) {
  uint32_t fresh = (uint32_t)at_load(&heap->fresh), high = at32_load(&heap->large_high);
  from = from < heap->young_blocks ? heap->young_blocks : from;
  from = from >= fresh && from < heap->small_blocks ? heap->small_blocks : from;
  uint32_t end = from < heap->small_blocks ? fresh : high;
  if (from >= end) {
    return GC_NONE;
  }
  end = end - from > count ? from + count : end;
  range_harvest(heap, from, end, is_tracked, page_ignore, NULL);
  return end;
}

// In from-space of a major cycle a mutator can reach only what stays: that is all that may have been written. The rest
// may go at any moment. Or it stays after all, when the page has been scanned long since, whole, for its block is kept:
// so what the scanner remembered is remembered until the object is reached, or the cycle over.
static inline void cell_scan(gc_minor *minor, size_t page, bool from, gc_cell cell, uint64_t header) {
  gc_heap *heap = minor->heap;
  char *base = gc_page_alias(heap, page);
  if (gc_header_type(header) == GC_FILLER) {
    return;
  }
  if (!from || gc_is_kept_in_place(heap, cell, header) || gc_still_is_marked(heap, gc_cell_ref(heap, cell, header).view) ||
      gc_floor_at(heap, gc_view_of(heap, cell.alias)) != NULL) {
    gc_minor_cell(minor, cell, header, base, base + heap->page_size);
  } else if (minor->old && !gc_is_done(heap, header)) {
    gc_remember(heap, page);
  }
}

// The part that a cell has on the page whose own page is parked: of from-space it counts if it is marked.
static void cover_scan(gc_minor *minor, size_t page, bool from) {
  gc_heap *heap = minor->heap;
  gc_cover cover = gc_page_cover(heap, page);
  char *base = gc_page_alias(heap, page);
  if (!from || gc_still_is_marked(heap, gc_cell_ref(heap, cover.cell, cover.header).view)) {
    gc_minor_cover(minor, &cover, base, base + heap->page_size);
  } else if (minor->old) {
    gc_remember(heap, page); // as cell_scan
  }
}

static void cells_scan(gc_minor *minor, uint32_t block, size_t page, bool from) {
  gc_heap *heap = minor->heap;
  char *base = gc_page_alias(heap, page);
  minor->scanned++;
  gc_before_read(heap, base, heap->page_size);
  if (gc_is_large(heap, block)) {
    gc_cell cell = gc_large_cell(heap, gc_large_head(heap, block));
    uint64_t header = gc_header_read(heap, cell);
    if (header != 0) {
      cell_scan(minor, page, from, cell, header);
    }
    return;
  }
  gc_cell cell = gc_page_covering(heap, page);
  if (cell.alias != NULL && gc_is_parked(heap, gc_page_at(heap, gc_view_of(heap, cell.alias)))) {
    cover_scan(minor, page, from);
  } else if (cell.alias != NULL) {
    uint64_t header = gc_header_read(heap, cell);
    if (header != 0) {
      cell_scan(minor, page, from, cell, header);
    }
  }
  char *end = base + gc_top(heap, page);
  gc_cell at = gc_page_first(heap, page);
  uint64_t header;
  for (char *next; (next = gc_cell_next(heap, at, end, &cell, &header)) != NULL; at.alias = next) {
    cell_scan(minor, page, from, cell, header);
  }
}

void gc_remembered_page(gc_minor *minor, size_t page) {
  gc_heap *heap = minor->heap;
  uint32_t block = gc_page_block(heap, page);
  if (gc_is_parked(heap, page)) {
    return; // it referred to nothing young when it was parked, and nobody has written there since
  }
  minor->old = true;
  minor->fresh = false;
  bool locked = gc_space(heap, block) == heap->from_space;
  if (locked) {
    gc_sweep_lock(heap); // a sweep may be about to free it; it may be over as well
  }
  // In from-space of a major cycle, what is not marked may be gone at any moment; nothing of it can have been written.
  bool from = gc_space(heap, block) == heap->from_space;
  bool stays = !from || gc_is_large(heap, block) || (gc_flags(heap, block) & GC_BLOCK_RETAIN);
  if (stays && is_tracked(heap, block) && at32_load_acquire(&heap->top[page]) != 0) {
    cells_scan(minor, block, page, from);
  }
  if (locked) {
    gc_sweep_unlock(heap);
  }
}

// The bits go before the first page is scanned: from then on any worker may set one.
static void word_list(gc_heap *heap, size_t word, size_t *count) {
  uint64_t taken = 0;
  for (uint64_t bits = at_load(&heap->remembered[word]); bits != 0; bits &= bits - 1) {
    size_t page = word * 64 + (size_t)__builtin_ctzll(bits);
    uint32_t block = gc_page_block(heap, page);
    if (gc_is_untouched(heap, page)) {
      continue; // grey: no mutator has been there since the flip, and who scans it remembers
    }
    if (gc_is_large(heap, block) && gc_space(heap, block) != 0 &&
        (gc_flags(heap, gc_large_head(heap, block)) & GC_BLOCK_YOUNG)) {
      continue; // if it is reached
    }
    taken |= bits & -bits;
    if (block >= heap->young_blocks) {
      heap->minor_list[(*count)++] = (uint32_t)page;
    }
  }
  if (taken != 0) {
    at_and_full(&heap->remembered[word], ~taken);
  }
}

static void range_list(gc_heap *heap, uint32_t from, uint32_t to, size_t *count) {
  for (size_t i = gc_block_page(heap, from) / 64; i * 64 < gc_block_page(heap, to); i++) {
    if (at_load(&heap->remembered[i]) != 0) {
      word_list(heap, i, count);
    }
  }
}

void gc_remembered_list(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  size_t count = 0;
  range_list(heap, 0, (uint32_t)at_load(&heap->fresh), &count);
  range_list(heap, heap->small_blocks, at32_load(&heap->large_high), &count);
  at_store(&heap->minor_next, 0);
  at_store(&heap->minor_listed, count);
  minor->listed = true;
  if (count >= SHARED_PAGES || (uint32_t)at_load(&heap->minor_full.head) != GC_NONE) {
    gc_crew_open(minor);
  }
}

static void range_none(gc_heap *heap, uint32_t from, uint32_t to) {
  for (size_t i = gc_block_page(heap, from) / 64; i * 64 < gc_block_page(heap, to); i++) {
    at_store(&heap->remembered[i], 0);
  }
}

void gc_remembered_none(gc_heap *heap) {
  range_none(heap, 0, (uint32_t)at_load(&heap->fresh));
  range_none(heap, heap->small_blocks, at32_load(&heap->large_high));
}

static void page_prefetch(const gc_heap *heap, size_t page) {
  enum { LINE = 64, LINES = 4 }; // the processor finds the others by itself
  const char *base = gc_page_alias(heap, page);
  for (size_t i = 0; i < LINES; i++) {
    __builtin_prefetch(base + i * LINE);
  }
}

void gc_remembered_scan(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  uint64_t count = at_load(&heap->minor_listed);
  for (uint64_t i; (i = at_load(&heap->minor_next)) < count;) {
    uint64_t to = i + TAKEN_PAGES < count ? i + TAKEN_PAGES : count;
    if (!at_cas_full(&heap->minor_next, i, to)) {
      continue;
    }
    for (; i < to; i++) {
      if (i + 1 < count) {
        page_prefetch(heap, heap->minor_list[i + 1]);
      }
      gc_remembered_page(minor, heap->minor_list[i]);
    }
  }
  gc_minor_drain(minor);
}

// gc.remembered: whatever is not going to be scanned points to nothing young. Between major cycles only: else scanners
// are at it.
static void slot_check(void *arg, gc_seen seen, uintptr_t view) {
  gc_heap *heap = arg;
  if (gc_is_young(heap, view & GC_ADDRESS_MASK)) {
    vm_fatal("verify at a minor cycle: slot %p of an old page that is neither REMEMBERED nor dirty holds %p, which is "
             "young [gc.remembered]",
             (void *)gc_view_of(heap, (const void *)seen.slot.alias), (void *)(view & GC_ADDRESS_MASK));
  }
}

void gc_remembered_check(gc_heap *heap) {
  for (uint32_t b = heap->young_blocks; b < at32_load(&heap->large_high); b++) {
    b = b == at_load(&heap->fresh) ? heap->small_blocks : b;
    for (size_t page = gc_block_page(heap, b); is_tracked(heap, b) && page < gc_block_page(heap, b + 1); page++) {
      if (at32_load(&heap->top[page]) == 0 || gc_is_parked(heap, page) || (at_load(&heap->remembered[page / 64]) >> page % 64 & 1)) {
        continue;
      }
      char *base = gc_page_alias(heap, page), *limit = base + heap->page_size;
      gc_before_read(heap, base, heap->page_size);
      gc_cell cell = gc_is_large(heap, b) ? gc_large_cell(heap, gc_large_head(heap, b)) : gc_page_covering(heap, page);
      gc_cover cover = cell.alias != NULL ? gc_page_cover_slow(heap, cell) : (gc_cover){cell, 0, 0};
      uint64_t header = cover.header;
      if (header != 0) {
        gc_cover_visit(heap, cover, base, limit, slot_check, heap);
      }
      gc_cell at = gc_page_first(heap, page);
      for (char *next;
           !gc_is_large(heap, b) && (next = gc_cell_next(heap, at, base + gc_top(heap, page), &cell, &header)) != NULL;
           at.alias = next) {
        gc_cell_visit(heap, cell, header, base, limit, slot_check, heap);
      }
    }
  }
}

// What was born in the zone since the flip, in buffers that threads had then, and what stays there, pinned by the flip
// or later (touch.c, gc.memory): it counts as old until the major cycle is over, but Dirty does not look there. Or what was there when generations were
// switched on.
void gc_flip_survivors_scan(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  minor->old = minor->fresh = false;
  if (minor->unheld) {
    return; // these are young
  }
  for (size_t i = 0; i < heap->flip_pins; i++) {
    gc_minor_cell_whole(minor, heap->pins[i], gc_header_read(heap, heap->pins[i]));
  }
  for (uint32_t b = 0; b < heap->young_blocks; b++) {
    if (!(gc_flags(heap, b) & GC_BLOCK_MORE)) {
      continue;
    }
    gc_sweep_lock(heap); // it may be swept just now; then all that is left there stays
    bool from = gc_space(heap, b) == heap->from_space;
    for (size_t page = gc_block_page(heap, b); page < gc_block_page(heap, b + 1); page++) {
      if (at32_load_acquire(&heap->top[page]) != 0) {
        cells_scan(minor, b, page, from);
      }
    }
    gc_sweep_unlock(heap);
  }
  for (unsigned i = 0; i < heap->floor_count; i++) {
    char *at = heap->floors[i].base;
    if (!gc_in_young_zone(heap, (uintptr_t)at)) {
      continue;
    }
    while (at < heap->floors[i].limit) {
      gc_cell cell = {at + heap->delta};
      uint64_t header = gc_header_read(heap, cell);
      if (header == 0) {
        break;
      }
      gc_minor_cell_whole(minor, cell, header);
      at += gc_cell_size(cell, header);
    }
  }
  gc_minor_drain(minor);
}
