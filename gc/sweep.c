// SPDX-License-Identifier: MIT
// sweep.c: the end of a cycle. From-space is freed; blocks that something holds in place stay, and the space between is used again.
//
// One thread, beside running mutators: none of them can reach what is freed here (gc.tospace).

#include "gc/alloc.h"
#include "gc/aside.h"
#include "gc/gc.h"
#include "gc/outer.h"
#include "gc/pace.h"
#include "gc/parked.h"
#include "gc/scan.h"
#include "gc/block.h"
#include "gc/runs.h"
#include "gc/sweep.h"
#include "gc/young.h"
#include "vm/os.h"

enum {
  ALL_EPOCHS = 15, // and none
  LOOSE = 4,       // a leaf block stays unless one in so many of its bytes is dead, and nobody uses them again
  THIN = 4,        // a block stays in place if more than one in so many of its bytes lives
};

bool gc_sweep_begin(gc_heap *heap) {
  if (!gc_scan_finished(heap) || !gc_outer_finish(heap) || !at_cas_full(&heap->phase, GC_SCANNING, GC_SWEEPING)) {
    return false;
  }
  if (gc_scan_finished(heap) && gc_outer_finished(heap)) {
    return true;
  }
  // Who counts himself in `opened` without a grey page looks at the phase after that: he was first.
  at_store_release(&heap->phase, GC_SCANNING);
  return false;
}

typedef struct sweeper {
  gc_heap *heap;
  unsigned epoch;   // what stays carries it, and its own place
  const gc_floor *floor;
  unsigned floor_count;
  unsigned drop;    // 1 << e for each epoch that nothing that stays may carry
  bool still;       // pages where all lives stay as they are (gc.still)
  bool aside;       // its marks are aside
  bool floors;      // the page has a floor
  size_t free, live; // bytes
  size_t stale;      // bytes above the tops of pages that stay as they are
  unsigned cells;   // that stay
  char *gap;        // where the free space before `at` began
} sweeper;

// What the sweep has seen of small blocks, for pacing.
typedef struct tally {
  uint64_t emptied, dense;    // that had been dense, and are free now; that are still
  uint64_t asides;            // marked aside
  uint64_t leaves, leaf_live; // leaf blocks that mutators had filled; bytes that live where they were
  uint64_t born, born_live;   // their other blocks, likewise
  uint64_t gaps;              // bytes that are not in use in blocks that stay still
} tally;

static void gap_zero(sweeper *sweep, char *end) {
  if (sweep->gap < end) {
    gc_before_write(sweep->heap, sweep->gap, (size_t)(end - sweep->gap));
    // From the end to the start: whoever walks here now (veil_touch) and reads a header of the dead finds what he expects behind
    // it, or zeroes.
    for (char *at = end - 8; at >= sweep->gap; at -= 8) {
      at_store_release((AO_t volatile *)at, 0);
    }
    sweep->free += (size_t)(end - sweep->gap);
  }
}

static bool is_live(const sweeper *sweep, gc_cell cell) {
  const gc_heap *heap = sweep->heap;
  uint64_t header = gc_header_load(cell);
  if (header == 0 || gc_header_type(header) == GC_FILLER) {
    return false;
  }
  bool marked = sweep->aside && gc_aside_is_marked(heap, gc_cell_ref(heap, cell, header).view);
  return marked || (sweep->epoch != 0 && gc_header_epoch(header) == sweep->epoch && (header & GC_PEER_MASK) == gc_cell_peer(heap, cell));
}

static void epoch_drop(const sweeper *sweep, gc_cell cell, uint64_t header) {
  if ((sweep->drop >> gc_header_epoch(header) & 1) && (header & (GC_PEER_MASK | GC_EPOCH_MASK)) != 0) {
    gc_before_write(sweep->heap, cell.alias, 8);
    while (!at_cas_full((AO_t volatile *)cell.alias, header, header & ~(GC_PEER_MASK | GC_EPOCH_MASK))) {
      header = gc_header_load(cell); // a mutator has asked for its hash
    }
  }
}

// Clears what lies between the page's cells that stay. False: none does, and nothing is changed.
static bool page_walk(sweeper *sweep, size_t page) {
  gc_heap *heap = sweep->heap;
  char *base = gc_page_alias(heap, page);
  char *limit = base + heap->page_size;
  char *used = base + gc_top(heap, page);
  gc_cell covering = gc_page_covering(heap, page);
  char *at = gc_page_first(heap, page).alias;
  bool any = false;
  sweep->gap = base;
  if (covering.alias != NULL && is_live(sweep, covering)) {
    any = true;
    sweep->gap = at;
    sweep->live += (size_t)((at < limit ? at : limit) - base);
  }
  while (at < used && at < limit) {
    gc_cell cell = {at};
    const gc_floor *floor = sweep->floors ? gc_floor_find(sweep->floor, sweep->floor_count, gc_view_of(heap, at)) : NULL;
    uint64_t header = gc_header_load(cell);
    char *next = at + (header ? gc_cell_size(cell, header) : GC_UNIT);
    bool live = floor != NULL || is_live(sweep, cell);
    if (floor != NULL) {
      next = floor->limit + heap->delta;
    }
    if (live) {
      any = true;
      gap_zero(sweep, at);
      sweep->live += (size_t)((next < limit ? next : limit) - at);
      sweep->cells++;
      if (floor == NULL) {
        epoch_drop(sweep, cell, header);
      }
      sweep->gap = next;
    }
    at = next;
  }
  if (any) {
    gap_zero(sweep, limit);
  }
  return any;
}

// Whether something lives on the page, and nothing has died: then it stays as it is, but for epochs.
static bool page_stays_whole(sweeper *sweep, size_t page) {
  gc_heap *heap = sweep->heap;
  char *base = gc_page_alias(heap, page), *used = base + gc_top(heap, page);
  gc_cell covering = gc_page_covering(heap, page);
  bool any = covering.alias != NULL;
  size_t free = 0;
  unsigned cells = 0;
  if (any && !is_live(sweep, covering)) {
    return false;
  }
  for (gc_cell cell = gc_page_first(heap, page); cell.alias < used;) {
    uint64_t header = gc_header_load(cell);
    bool filler = header != 0 && gc_header_type(header) == GC_FILLER;
    if (header != 0 && !filler && !is_live(sweep, cell)) {
      return false;
    }
    cells += header != 0 && !filler;
    free += header == 0 ? GC_UNIT : 0;
    cell.alias += header != 0 ? gc_cell_size(cell, header) : GC_UNIT;
  }
  if (!any && cells == 0) {
    return false;
  }
  sweep->cells += cells;
  sweep->free += free;
  size_t stale = (size_t)(base + heap->page_size - used);
  sweep->stale += stale;
  sweep->live += heap->page_size - free - stale;
  // Above a top below the page's end memory is stale, as in a page of copies; else there may be gaps, and a scan has closed them. Where there are none nobody need look.
  at32_store_release(&heap->top[page], (uint32_t)(used - base) | (stale != 0 || free < GC_GAP_MIN ? GC_CLOSED : 0));
  return true;
}

static void page_epochs_drop(const sweeper *sweep, size_t page) {
  const gc_heap *heap = sweep->heap;
  char *used = gc_page_alias(heap, page) + gc_top(heap, page);
  for (gc_cell cell = gc_page_first(heap, page); cell.alias < used;) {
    uint64_t header = gc_header_load(cell);
    if (header != 0 && gc_header_type(header) != GC_FILLER) {
      epoch_drop(sweep, cell, header);
    }
    cell.alias += header != 0 ? gc_cell_size(cell, header) : GC_UNIT;
  }
}

static bool page_has_floor(const sweeper *sweep, size_t page) {
  for (unsigned i = 0; i < sweep->floor_count; i++) {
    if (gc_page_at(sweep->heap, (uintptr_t)sweep->floor[i].limit - 1) == page) {
      return true;
    }
  }
  return false;
}

static void page_sweep(sweeper *sweep, size_t page, bool floors) {
  gc_heap *heap = sweep->heap;
  if (at32_load(&heap->top[page]) == 0) {
    sweep->free += heap->page_size;
    return;
  }
  sweep->floors = floors && page_has_floor(sweep, page);
  if (sweep->still && !sweep->floors && page_stays_whole(sweep, page)) {
    if (sweep->drop != 0) {
      page_epochs_drop(sweep, page);
    }
    return;
  }
  size_t free = sweep->free;
  if (!page_walk(sweep, page)) {
    at32_store(&heap->top[page], 0);
    AO_short_store((unsigned short volatile *)&heap->cover[page], 0);
    sweep->free += heap->page_size;
    return;
  }
  gc_cell covering = gc_page_covering(heap, page);
  if (covering.alias != NULL && !is_live(sweep, covering)) {
    AO_short_store((unsigned short volatile *)&heap->cover[page], 0);
  }
  // A mutator owns the rest of its buffer: nobody else allocates in that page. Nor would anybody find room where hardly anything is free: so nobody looks, and the page gets no younger by it.
  bool closed = sweep->floors || sweep->free - free < GC_GAP_MIN;
  at32_store_release(&heap->top[page], (uint32_t)heap->page_size | (closed ? GC_CLOSED : 0));
}

// From last page to first: a page asks the header of the object that covers its start, which lies further down.
static void pages_sweep(sweeper *sweep, uint32_t block) {
  gc_heap *heap = sweep->heap;
  size_t first = gc_block_page(heap, block);
  bool floors = (gc_flags(heap, block) & GC_BLOCK_FLOOR) != 0;
  gc_before_read(heap, gc_block_alias(heap, block), GC_BLOCK);
  for (size_t page = first + heap->block_pages; page-- > first;) {
    page_sweep(sweep, page, floors);
  }
}

// What is dead in a leaf block holds nothing else: as long as the block is dense it need not move.
static void leaf_decide(gc_heap *heap, uint32_t block, bool stays, size_t live) {
  if (live < GC_BLOCK - GC_BLOCK / LOOSE) {
    at32_store(&heap->spared[block], GC_SPARSE);
  } else if (stays) {
    gc_block_spare(heap, block);
  }
}

// gc.born: a block that mutators have filled, and that has been through a cycle, is like one that was filled with what had survived, if it is as dense.
static void born_decide(gc_heap *heap, uint32_t block, size_t live) {
  if (!heap->spares_born || at32_load(&heap->spared[block]) != 0 || (gc_flags(heap, block) & GC_BLOCK_FLOOR)) {
    return;
  }
  if (live >= GC_BLOCK - GC_BLOCK / LOOSE) {
    gc_block_spare(heap, block);
  } else {
    at32_store(&heap->spared[block], GC_SPARSE);
  }
}

// gc.aside: where hardly anything has died since the cells were counted there is nothing worth a walk.
static bool is_dense_still(const gc_heap *heap, uint32_t block, unsigned marked) {
  enum { DEAD = 16 }; // one in so many cells
  unsigned cells = gc_cells_count(heap, block);
  if (!gc_cells_known(heap, block)) {
    return false;
  }
  VM_CHECK(marked <= cells, "block %u: %u marks of %u cells [gc.aside]", block, marked, cells);
  return (cells - marked) * DEAD <= cells;
}

// Returns how many bytes of it live, roughly.
static size_t aside_sweep(gc_heap *heap, uint32_t block, unsigned marked) {
  size_t live = GC_BLOCK;
  bool gaps = false;
  if (!is_dense_still(heap, block, marked)) {
    sweeper sweep = {heap, .drop = ALL_EPOCHS, .aside = true}; // an epoch would come back in three cycles
    pages_sweep(&sweep, block);
    at_store(&heap->aside_walked, at_load(&heap->aside_walked) + 1);
    live = sweep.live;
    gaps = sweep.free >= GC_GAPS_MIN;
    gc_cells_set(heap, block, gaps ? 0 : GC_CELLS_KNOWN | sweep.cells); // gaps are filled
  }
  gc_aside_clear(heap, block);
  gc_still_set(heap, block, live >= GC_BLOCK / THIN ? GC_SETTLED : 0);
  at8_store(&heap->parked[block], 0);
  at32_store(&heap->filled[block], 0);
  leaf_decide(heap, block, true, live);
  AO_char_store((unsigned char volatile *)&heap->flags[block], GC_BLOCK_LEAF);
  AO_char_store_release((unsigned char volatile *)&heap->space[block], heap->to_space);
  if (gaps) {
    gc_stack_push(heap, &heap->partial[gc_block_sort(heap, block)], block);
  }
  return live;
}

static void veils_end(gc_heap *heap, uint32_t block) {
  if (gc_flags(heap, block) & GC_BLOCK_KEPT) {
    vm_stamp(heap->region, gc_block_page(heap, block), heap->block_pages, 0);
    at8_store(&heap->veiled[block], 0);
  }
}

// All that was on its pages lives: those that a scan has closed, though nothing is stale there, may be filled again.
static void tops_reopen(gc_heap *heap, uint32_t block) {
  for (size_t page = gc_block_page(heap, block); page < gc_block_page(heap, block + 1); page++) {
    if (gc_top(heap, page) == heap->page_size) {
      at32_store_release(&heap->top[page], (uint32_t)heap->page_size);
    }
  }
}

// The block is none of from-space any more. First that, then the flags: a minor cycle's harvest takes no lock, and asks in from-space for what has RETAIN, elsewhere for all (gc.harvest). The other way round
// there is a moment in which it is asked for nothing, and what was written there since the flip would be lost.
static void space_give(gc_heap *heap, uint32_t block, uint8_t leaf) {
  AO_char_store_release((unsigned char volatile *)&heap->space[block], heap->to_space);
  os_point();
  AO_char_store_release((unsigned char volatile *)&heap->flags[block], leaf);
}

// gc.still. Returns how many bytes of it live, roughly.
static size_t still_sweep(gc_heap *heap, uint32_t block, unsigned marked, tally *seen) {
  uint8_t leaf = gc_flags(heap, block) & GC_BLOCK_LEAF, known = at8_load(&heap->still[block]);
  unsigned drop = gc_still_epoch(heap->epoch) | gc_still_epoch(heap->next_epoch), carried = known & GC_EPOCHS & ~drop;
  drop = known & (drop | GC_MIXED) ? drop : 0;
  sweeper sweep = {heap, .epoch = heap->epoch, .drop = drop, .still = true, .aside = true};
  if (drop == 0 && gc_cells_known(heap, block) && marked == gc_cells_count(heap, block)) {
    sweep.live = GC_BLOCK;
    sweep.cells = marked;
    tops_reopen(heap, block);
  } else {
    pages_sweep(&sweep, block);
  }
  gc_aside_clear(heap, block);
  veils_end(heap, block);
  if (sweep.free == GC_BLOCK) {
    gc_blocks_free(heap, block, 1, false);
    return 0;
  }
  bool gaps = sweep.free >= GC_GAPS_MIN, settled = sweep.live >= GC_BLOCK / THIN;
  gc_still_set(heap, block, carried | (settled ? GC_SETTLED : 0));
  at8_store(&heap->parked[block], 0);
  at32_store(&heap->filled[block], 0);
  seen->dense += settled;
  seen->gaps += GC_BLOCK - sweep.live;
  bool filled = sweep.free + sweep.stale < GC_GAPS_MIN; // gc.cells
  gc_cells_set(heap, block, filled && (carried == 0 || !leaf) ? GC_CELLS_KNOWN | sweep.cells : 0);
  if (leaf) {
    leaf_decide(heap, block, true, sweep.live);
  }
  space_give(heap, block, leaf);
  if (gaps) {
    gc_stack_push(heap, &heap->partial[gc_block_sort(heap, block)], block);
  }
  return sweep.live;
}

// Nothing lives on these pages of a cold block, and no cell reaches out of them: what is parked need not come back.
static void group_discard(sweeper *sweep, size_t first, size_t end) {
  gc_heap *heap = sweep->heap;
  for (size_t page = first; page < end; page++) {
    at32_store_release(&heap->top[page], 0); // as gc_blocks_free
  }
  at_fence_full();
  gc_claims_drop(heap, first, end - first);
  for (size_t page = first; page < end; page++) {
    AO_short_store((unsigned short volatile *)&heap->cover[page], 0);
  }
  sweep->free += (end - first) << heap->page_shift;
}

// Pages of a cold block that hang together. Those with a floor keep their bit in gc_heap.filled.
static void group_sweep(sweeper *sweep, size_t first, size_t end) {
  gc_heap *heap = sweep->heap;
  bool parked = false, floors = sweep->floor_count != 0;
  uint32_t filled = 0;
  for (size_t page = first; page < end; page++) {
    parked |= gc_is_parked(heap, page);
    filled |= floors && page_has_floor(sweep, page) ? gc_held_bit(heap, page) : 0;
  }
  VM_CHECK(!parked || filled == 0, "pages %zu to %zu hang together, and somebody fills one of which another is parked [gc.filled]", first, end);
  at32_or_full(&heap->filled[gc_page_block(heap, first)], filled);
  if (parked && !gc_cold_any(heap, first, end)) {
    group_discard(sweep, first, end);
    return;
  }
  for (size_t page = end; page-- > first;) {
    if (!parked) {
      gc_before_read(heap, gc_page_alias(heap, page), heap->page_size);
      page_sweep(sweep, page, floors);
    } else {
      sweep->live += heap->page_size; // all stays as it is, what is dead, too: it was scanned
      if (sweep->drop != 0 && at32_load(&heap->top[page]) != 0 && !gc_is_parked(heap, page)) {
        gc_before_read(heap, gc_page_alias(heap, page), heap->page_size);
        page_epochs_drop(sweep, page);
      }
    }
  }
}

// gc.parked. Something of it lives, or a mutator goes on there (gc.filled).
static void cold_sweep(gc_heap *heap, uint32_t block) {
  bool floors = (gc_flags(heap, block) & GC_BLOCK_FLOOR) != 0;
  uint8_t leaf = gc_flags(heap, block) & GC_BLOCK_LEAF, known = at8_load(&heap->still[block]);
  unsigned drop = gc_still_epoch(heap->epoch) | gc_still_epoch(heap->next_epoch), carried = known & GC_EPOCHS & ~drop;
  sweeper sweep = {heap, .drop = known & drop ? drop : 0, .still = true, .aside = true, .floor = heap->floors, .floor_count = floors ? heap->floor_count : 0};
  at32_store(&heap->filled[block], 0);
  size_t base = gc_block_page(heap, block), first, end;
  for (size_t page = base + heap->block_pages; page > base; page = first) {
    gc_cold_group(heap, page - 1, &first, &end);
    group_sweep(&sweep, first, end);
  }
  gc_aside_clear(heap, block);
  at32_store(&heap->held[block], 0);
  vm_stamp(heap->region, base, heap->block_pages, 0);
  bool parked = (at8_load(&heap->parked[block]) & GC_PARKED_PAGES) != 0;
  gc_still_set(heap, block, carried | (parked || sweep.live >= GC_BLOCK / THIN ? GC_SETTLED : 0));
  gc_cells_set(heap, block, 0);
  space_give(heap, block, leaf);
  at8_and_full(&heap->parked[block], GC_PARKED_PAGES); // pages may be coming back at this moment
  if (sweep.free >= GC_GAPS_MIN && (leaf || (at8_load(&heap->parked[block]) & GC_PARKED_PAGES) == 0)) {
    gc_stack_push(heap, &heap->partial[gc_block_sort(heap, block)], block);
  }
}

// Returns how many bytes of it live, if it is not young.
static size_t block_sweep(gc_heap *heap, uint32_t block) {
  uint8_t flags = gc_flags(heap, block), leaf = flags & GC_BLOCK_LEAF;
  bool young = block < heap->young_blocks;
  sweeper sweep = {heap, .epoch = heap->epoch, .floor = heap->floors, .floor_count = heap->floor_count, .drop = young ? ALL_EPOCHS : 0};
  pages_sweep(&sweep, block);
  veils_end(heap, block);
  bool gaps = sweep.free >= GC_GAPS_MIN;
  if (young) {
    AO_char_store((unsigned char volatile *)&heap->flags[block], (flags & (GC_BLOCK_LEAF | GC_BLOCK_MORE)) | (gaps ? GC_BLOCK_GAPS : 0));
    AO_char_store_release((unsigned char volatile *)&heap->space[block], GC_HELD);
    return 0;
  }
  if (sweep.free == GC_BLOCK && !(flags & GC_BLOCK_FLOOR)) {
    gc_blocks_free(heap, block, 1, false); // kept for want of memory, and nothing on it was reached
    return 0;
  }
  gc_still_set(heap, block, gc_still_epoch(heap->epoch) | (sweep.live >= GC_BLOCK / THIN ? GC_SETTLED : 0));
  at8_store(&heap->parked[block], flags & GC_BLOCK_FLOOR ? GC_FILLED : 0); // a mutator goes on there
  at32_store(&heap->filled[block], 0);
  gc_cells_set(heap, block, 0);
  if (leaf) {
    leaf_decide(heap, block, heap->spares && at32_load(&heap->spared[block]) > heap->cycle, sweep.live);
  } else {
    born_decide(heap, block, sweep.live);
  }
  space_give(heap, block, leaf);
  if (gaps) {
    gc_stack_push(heap, &heap->partial[gc_block_sort(heap, block)], block);
  }
  return sweep.live;
}

void gc_sweep_young(gc_heap *heap, uint32_t block, unsigned epoch, const gc_floor *floors, unsigned floor_count) {
  uint8_t flags = gc_flags(heap, block), leaf = flags & GC_BLOCK_LEAF;
  sweeper sweep = {heap, .epoch = epoch, .floor = floors, .floor_count = floor_count, .drop = ALL_EPOCHS};
  pages_sweep(&sweep, block);
  AO_char_store((unsigned char volatile *)&heap->flags[block], leaf);
  AO_char_store_release((unsigned char volatile *)&heap->space[block], GC_EDEN);
  if (sweep.free >= GC_GAPS_MIN) {
    gc_stack_push(heap, &heap->young_partial[gc_block_sort(heap, block)], block);
  }
}

static void large_sweep(gc_heap *heap, gc_copier *copier) {
  for (uint32_t b = heap->small_blocks; b < at32_load(&heap->large_high); b++) {
    if (gc_space(heap, b) != heap->from_space || gc_large_head(heap, b) != b) {
      continue;
    }
    gc_copier_enter(copier);
    gc_cell cell = gc_large_cell(heap, b);
    uint64_t header = gc_header_read(heap, cell);
    if (!gc_is_done(heap, header)) {
      gc_sweep_lock(heap);
      gc_large_free(heap, b);
      gc_sweep_unlock(heap);
    } else {
      size_t blocks = (gc_large_pages(heap, cell, header) + heap->block_pages - 1) / heap->block_pages;
      for (uint32_t i = 0; i < blocks; i++) {
        AO_char_store((unsigned char volatile *)&heap->space[b + i], heap->to_space);
      }
    }
    gc_copier_leave(copier);
  }
}

// What copiers have left of their blocks goes to the mutators.
static void copiers_sweep(gc_heap *heap) {
  for (unsigned i = 0; i < GC_COPIERS; i++) {
    for (unsigned sort = 0; sort < GC_SORTS; sort++) {
      uint32_t block = at32_load(&heap->copiers[i].lane[sort].block);
      if (block == GC_NONE) {
        continue;
      }
      size_t first = gc_block_page(heap, block);
      size_t free = 0;
      for (size_t page = first; page < first + heap->block_pages; page++) {
        if (at32_load(&heap->top[page]) != 0) {
          at32_or_full(&heap->top[page], GC_CLOSED); // above its top a page of copies is stale, not zero
        } else {
          free++;
        }
      }
      gc_copier_reset_lane(&heap->copiers[i].lane[sort]);
      if (free) {
        gc_stack_push(heap, &heap->partial[sort], block);
      }
    }
  }
}

static void run_free(gc_heap *heap, uint32_t block, uint32_t count, int64_t *reserve) {
  // As many as the next cycle will copy into are veiled now, in few calls; the rest stays accessible for allocation.
  uint32_t veiled = *reserve <= 0 ? 0 : (*reserve < count ? (uint32_t)*reserve : count);
  *reserve -= veiled;
  at_add_full(&heap->from_left, -(uint64_t)count); // before they count as free
  if (veiled) {
    gc_blocks_free(heap, block, veiled, true);
  }
  if (count > veiled) {
    gc_blocks_free(heap, block + veiled, count - veiled, false);
  }
}

static bool is_filled(const gc_heap *heap, uint32_t block, bool leaf) {
  return block >= heap->young_blocks && ((gc_flags(heap, block) & GC_BLOCK_LEAF) != 0) == leaf && at32_load(&heap->spared[block]) == 0;
}

// Whether anything stays in a block of from-space.
static bool is_retained(const gc_heap *heap, uint32_t block, tally *seen, unsigned *marked) {
  if (gc_is_cold(heap, block)) {
    *marked = gc_aside_count(heap, block);
    return true; // a minor cycle may be looking at it (sweep_lock)
  }
  bool aside = gc_is_aside(heap, block), still = gc_is_still(heap, block);
  *marked = aside || still ? gc_aside_count(heap, block) : 0;
  bool retain = *marked != 0 || (!aside && (gc_flags(heap, block) & GC_BLOCK_RETAIN) != 0);
  seen->emptied += !retain && at32_load(&heap->spared[block]) > GC_SPARSE;
  seen->asides += aside || *marked != 0;
  seen->leaves += is_filled(heap, block, true);
  seen->born += is_filled(heap, block, false);
  return retain;
}

static void block_retain(gc_heap *heap, uint32_t block, unsigned marked, tally *seen) {
  bool leaf = (gc_flags(heap, block) & GC_BLOCK_LEAF) != 0, filled = is_filled(heap, block, true), born = is_filled(heap, block, false);
  if (gc_is_cold(heap, block)) {
    if (marked != 0 || (gc_flags(heap, block) & GC_BLOCK_FLOOR)) {
      cold_sweep(heap, block);
    } else {
      gc_blocks_free(heap, block, 1, false);
    }
    return;
  }
  if (gc_is_still(heap, block) && !(marked != 0 && leaf && is_dense_still(heap, block, marked))) {
    size_t live = still_sweep(heap, block, marked, seen);
    seen->leaf_live += filled ? live : 0;
    seen->born_live += born ? live : 0;
    return;
  }
  if (marked != 0) {
    size_t live = aside_sweep(heap, block, marked);
    seen->leaf_live += filled ? live : 0;
  } else {
    size_t live = block_sweep(heap, block);
    seen->born_live += born ? live : 0;
  }
  seen->dense += at32_load(&heap->spared[block]) > heap->cycle + 1;
}

static void retained_sweep(gc_heap *heap, gc_copier *copier, uint32_t block, unsigned marked, tally *seen) {
  at_add_full(&heap->from_left, (uint64_t)-1);
  gc_copier_enter(copier);
  gc_sweep_lock_last(heap);
  block_retain(heap, block, marked, seen);
  gc_sweep_unlock(heap);
  gc_copier_leave(copier);
  gc_provide_born(heap); // there may be thousands, and minor cycles meanwhile
}

// gc.still: the epoch of the next cycle. Whatever stays and carries it has to be written, so it is the one that fewer blocks may carry.
static unsigned epoch_after(const gc_heap *heap) {
  unsigned one = heap->epoch % 3 + 1, other = one % 3 + 1;
  size_t ones = 0, others = 0;
  for (uint32_t b = heap->young_blocks; (heap->stills || heap->colds) && b < at_load(&heap->fresh) && b < heap->small_blocks; b++) {
    if (gc_space(heap, b) == heap->from_space && (gc_is_still(heap, b) || gc_is_cold(heap, b))) {
      unsigned carried = at8_load(&heap->still[b]);
      ones += (carried & gc_still_epoch(one)) != 0;
      others += (carried & gc_still_epoch(other)) != 0;
    }
  }
  return others < ones ? other : one;
}

void gc_sweep(gc_heap *heap) {
  uint64_t veiled_ns = vm_now() - at_load(&heap->flip_ns);
  at_add(&heap->veiled_total_ns, veiled_ns);
  if (veiled_ns > at_load(&heap->veiled_max_ns)) {
    at_store(&heap->veiled_max_ns, veiled_ns);
  }
  gc_phase_tell(heap, GC_SWEEPING);
  gc_outer_settle(heap);
  gc_copier *copier = gc_copier_take(heap);
  copiers_sweep(heap);
  heap->next_epoch = epoch_after(heap);
  at_store(&heap->aside_walked, 0);
  uint64_t used = at_load(&heap->used_blocks), from = at_load(&heap->from_blocks);
  uint64_t live = used > from ? used - from : 0;
  // Where generations keep what is young, it is no copy of the next cycle's.
  uint64_t copies = at_load(&heap->young_pays) ? gc_pace_copies(at_load(&heap->copied_blocks)) : live + live / 16 + 4;
  int64_t reserve = (int64_t)copies - (int64_t)at_load(&heap->veiled_free.count);
  uint32_t high = (uint32_t)at_load(&heap->fresh);
  high = high < heap->small_blocks ? high : heap->small_blocks;
  uint32_t run = 0;
  tally seen = {0};
  enum { RUN_MAX = 64 }; // blocks freed at a time: memory is wanted soon
  for (uint32_t b = 0; b <= high; b++) {
    unsigned marked = 0;
    bool from_space = b < high && gc_space(heap, b) == heap->from_space;
    bool retain = from_space && is_retained(heap, b, &seen, &marked);
    if (run && (!from_space || retain || run == RUN_MAX)) {
      gc_copier_enter(copier);
      run_free(heap, b - run, run, &reserve);
      gc_copier_leave(copier);
      run = 0;
    }
    if (retain) {
      retained_sweep(heap, copier, b, marked, &seen);
    } else if (from_space && b < heap->young_blocks) {
      at_add_full(&heap->from_left, (uint64_t)-1); // before it counts as free
      gc_copier_enter(copier);
      gc_young_free(heap, b);
      gc_copier_leave(copier);
    } else if (from_space) {
      run++;
    }
  }
  large_sweep(heap, copier);
  gc_kept_swept(heap);
  gc_copier_give(heap, copier);
  uint64_t live_bytes = gc_used_bytes(heap), born = at_load(&heap->born_bytes) + gc_young_born_bytes(heap);
  at_store(&heap->live_bytes, live_bytes);
  at_store(&heap->large_live_bytes, at_load(&heap->large_bytes));
  at_store(&heap->survived_bytes, live_bytes > born ? live_bytes - born : 0);
  gc_pace_stills(heap, seen.emptied);
  gc_pace_spared(heap, seen.emptied, seen.dense, seen.gaps);
  gc_pace_leaves(heap, seen.leaves * GC_BLOCK, seen.leaf_live + at_load(&heap->leaf_copied));
  gc_pace_born(heap, seen.born * GC_BLOCK, seen.born_live + at_load(&heap->born_copied));
  at_store(&heap->aside_blocks, seen.asides);
  at_store(&heap->staying_blocks, at_load(&heap->copied_blocks) + seen.dense);
  gc_pace_swept(heap);
  gc_phase_tell(heap, GC_IDLE); // first, so that who sees the phase knows that it was told
  at_store_release(&heap->phase, GC_IDLE);
}
