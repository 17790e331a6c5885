// SPDX-License-Identifier: MIT
// census.c: every object, every root and every entry of weak tables, in place: nothing is marked, moved or freed.
//
// Neighbours: runtime/dump.c asks; roots come by the same calls of the world as in a flip (flip.c). The thread that
// stopped the world, and for objects any number of others that it waits for.

#include "gc/census.h"
#include "gc/alloc.h"
#include "gc/flip.h"
#include "gc/scan.h"
#include "gc/table.h"

enum { BLOCKS_AT_ONCE = 16 };

typedef struct gc_roll {
  gc_heap *heap;
  unsigned kind;
  uint64_t owner;
  ptrdiff_t shift; // from a word's address to where it was copied from
  gc_root_fn *fn;
  void *arg;
} gc_roll;

// ---- Objects.

static inline void cell_tell(gc_cell cell, uint64_t header, gc_census_fn *fn, void *arg) {
  if (gc_header_type(header) != GC_FILLER) {
    fn(arg, cell, header);
  }
}

static void page_list(gc_heap *heap, size_t page, gc_census_fn *fn, void *arg) {
  char *at = gc_page_first(heap, page).alias, *used = gc_page_alias(heap, page) + gc_top(heap, page);
  while (at < used) {
    gc_cell cell = {at};
    uint64_t header = gc_header_load(cell);
    if (header != 0) {
      cell_tell(cell, header, fn, arg);
      at += gc_cell_size(cell, header);
    } else {
      at += GC_UNIT;
    }
  }
}

static void small_list(gc_heap *heap, uint32_t block, gc_census_fn *fn, void *arg) {
  // A medium object may end in the next block, which is in the same state.
  gc_before_read(heap, gc_block_alias(heap, block), GC_BLOCK);
  for (size_t page = gc_block_page(heap, block); page < gc_block_page(heap, block + 1); page++) {
    if (at32_load(&heap->top[page]) != 0) {
      page_list(heap, page, fn, arg);
    }
  }
}

static void large_list(gc_heap *heap, uint32_t block, gc_census_fn *fn, void *arg) {
  if (gc_large_head(heap, block) != block) {
    return;
  }
  gc_cell cell = gc_large_cell(heap, block);
  uint64_t header = gc_header_read(heap, cell);
  if (header == 0) {
    return; // being born
  }
  if (!(header & GC_LEAF)) {
    gc_before_read(heap, cell.alias, gc_cell_size(cell, header));
  }
  cell_tell(cell, header, fn, arg);
}

void gc_census_begin(gc_heap *heap, gc_census *census) {
  VM_CHECK(gc_phase_now(heap) == GC_IDLE, "a census in phase %d", (int)gc_phase_now(heap));
  uint64_t fresh = at_load(&heap->fresh);
  census->heap = heap;
  census->small = (uint32_t)(fresh < heap->small_blocks ? fresh : heap->small_blocks);
  census->large = at32_load(&heap->large_high);
  at_store(&census->next, 0);
}

bool gc_census_some(gc_census *census, gc_census_fn *fn, void *arg) {
  gc_heap *heap = census->heap;
  uint64_t small = census->small, end = small + (census->large - heap->small_blocks);
  uint64_t first = at_add_full(&census->next, BLOCKS_AT_ONCE);
  gc_copier *copier = gc_copier_take(heap); // services wait for us, as for any collector thread
  gc_copier_enter(copier);
  for (uint64_t i = first; i < first + BLOCKS_AT_ONCE && i < end; i++) {
    uint32_t block = (uint32_t)(i < small ? i : heap->small_blocks + (i - small));
    if (gc_space(heap, block) != 0) {
      (i < small ? small_list : large_list)(heap, block, fn, arg);
    }
  }
  gc_copier_leave(copier);
  gc_copier_give(heap, copier);
  return first < end;
}

// ---- Roots.

void gc_flip_note(gc_flip *flip, unsigned kind, uint64_t owner, ptrdiff_t shift) {
  if (flip->roll != NULL) {
    flip->roll->kind = kind;
    flip->roll->owner = owner;
    flip->roll->shift = shift;
  }
}

bool gc_flip_lists(const gc_flip *flip) { return flip->roll != NULL; }

static void roll_tell(const gc_roll *roll, uintptr_t where, uintptr_t word, uintptr_t object) {
  roll->fn(roll->arg, &(gc_root){roll->kind, roll->owner, where + (uintptr_t)roll->shift, word, object});
}

void gc_roll_word(gc_roll *roll, uintptr_t where, uintptr_t word) {
  gc_cell cell;
  uint64_t header;
  // As gc_pin_word: of an object that is being born there may be nothing but the address of its cell.
  if (gc_find_cell(roll->heap, word, &cell, &header)) {
    roll_tell(roll, where, word, gc_cell_ref(roll->heap, cell, header).view);
  }
  if ((word & (GC_UNIT - 1)) == 8 && gc_find_cell(roll->heap, word + 1, &cell, &header) &&
      gc_view_of(roll->heap, cell.alias) == word) {
    roll_tell(roll, where, word, gc_cell_ref(roll->heap, cell, header).view);
  }
}

void gc_roll_touched(gc_roll *roll, uintptr_t base) {
  gc_cell cell;
  uint64_t header;
  if (gc_find_cell(roll->heap, base + 1, &cell, &header)) {
    roll_tell(roll, base, base, gc_cell_ref(roll->heap, cell, header).view);
  }
}

void gc_roll_slots(gc_roll *roll, const uintptr_t *slots, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (gc_in_heap(roll->heap, slots[i])) {
      roll_tell(roll, (uintptr_t)&slots[i], slots[i], slots[i]);
    }
  }
}

void gc_roots_list(gc_heap *heap, gc_root_fn *fn, void *arg) {
  gc_copier *copier = gc_copier_take(heap);
  gc_copier_enter(copier);
  gc_roll roll = {.heap = heap, .fn = fn, .arg = arg};
  gc_flip flip = {.heap = heap, .copier = copier, .roll = &roll};
  heap->world.ambiguous(heap->world.arg, &flip);
  heap->world.precise(heap->world.arg, &flip);
  gc_copier_leave(copier);
  gc_copier_give(heap, copier);
}

// ---- Entries of weak tables: nobody is in the middle of one, for the stop waits for critical sections.

void gc_entries_list(gc_heap *heap, gc_held_fn *fn, void *arg) {
  VM_CHECK(gc_phase_now(heap) == GC_IDLE, "a census in phase %d", (int)gc_phase_now(heap));
  uint64_t high = at_load_acquire(&heap->weak.high);
  for (uint64_t i = 0; i < high; i++) {
    const gc_pair *pair = &heap->weak.pairs[i];
    uint32_t table = at32_load_acquire(&pair->table);
    if (table != GC_NONE) {
      gc_held entry = {gc_table_kind_of(heap, table), gc_table_owner(heap, table), at_load(&pair->key),
                       at_load(&pair->value)};
      if (entry.kind != GC_TABLE_DEAD && entry.table != 0) {
        fn(arg, &entry);
      }
    }
  }
}
