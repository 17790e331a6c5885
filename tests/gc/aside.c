// SPDX-License-Identifier: MIT
// aside.c: leaf objects that are marked beside the heap (gc.aside).

#include <criterion/criterion.h>
#include "gc/aside.h"
#include "gc/block.h"
#include "gc/pin.h"
#include "tests/gc/fake.h"

enum { COUNT = 40000, BYTES = 100, LIMIT = 256 << 20 }; // some 70 blocks

static uintptr_t was[2 * COUNT];

// As many leaf objects behind the table in root[0], which also hold their numbers.
static void leaves_make(fake *f, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) {
    char *bytes = fake_array(f, &type_byte, BYTES);
    cr_assert_neq(bytes, NULL);
    fake_fill(bytes, BYTES, (unsigned)i);
    ((char **)f->root[0])[i] = bytes;
  }
}

static void leaves_note(fake *f, size_t count) {
  for (size_t i = 0; i < count; i++) {
    was[i] = ((uintptr_t *)f->root[0])[i];
  }
}

// Those that are there are whole. How many have moved.
static size_t leaves_moved(fake *f, size_t count) {
  size_t moved = 0;
  for (size_t i = 0; i < count; i++) {
    char *bytes = ((char **)f->root[0])[i];
    if (bytes != NULL) {
      cr_assert(fake_filled(bytes, BYTES, (unsigned)i), "object %zu", i);
      moved += (uintptr_t)bytes != was[i];
      was[i] = (uintptr_t)bytes;
    }
  }
  return moved;
}

static void leaves_drop(fake *f, size_t count, size_t keep_one_in) {
  for (size_t i = 0; i < count; i++) {
    if (i % keep_one_in != 0) {
      ((char **)f->root[0])[i] = NULL;
    }
  }
}

static void no_marks(const fake *f) {
  for (size_t i = 0; i < (size_t)f->gc->small_blocks * GC_ASIDE_WORDS; i++) {
    cr_assert_eq(at_load(&f->gc->aside[i]), 0);
  }
}

static void table_open(fake *f, size_t count) {
  f->spares = true;
  f->root[0] = fake_array(f, &type_pointer, count);
}

// COUNT leaf objects that have been copied once, and then stayed. Bytes in use.
static size_t table_settled(fake *f) {
  table_open(f, COUNT);
  leaves_make(f, 0, COUNT);
  fake_cycle(f);
  fake_cycle(f);
  leaves_note(f, COUNT);
  return gc_used_bytes(f->gc);
}

ON_TRAPPING_BACK_ENDS(aside, what_lives_in_dense_blocks_stays) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_open(f, 2 * COUNT);
  leaves_make(f, 0, COUNT);
  leaves_note(f, COUNT);
  fake_cycle(f); // nothing is known of what lives how long
  cr_assert_geq(leaves_moved(f, COUNT), COUNT - 1000);
  for (int i = 0; i < 5; i++) {
    fake_cycle(f);
    cr_assert_leq(leaves_moved(f, COUNT), 1000); // what was in the block that is being filled
    no_marks(f);
  }
  leaves_make(f, COUNT, 2 * COUNT); // now it is: what mutators have filled stays, too, but for the block that is being filled
  leaves_note(f, 2 * COUNT);
  for (int i = 0; i < 5; i++) {
    fake_cycle(f);
    cr_assert_leq(leaves_moved(f, 2 * COUNT), 1000);
  }
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(aside, sparse_blocks_are_emptied_by_the_next_cycle) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  size_t full = table_settled(f);
  leaves_drop(f, COUNT, 4);
  fake_cycle(f);
  cr_assert_leq(leaves_moved(f, COUNT), 100);
  fake_cycle(f);
  cr_assert_geq(leaves_moved(f, COUNT), COUNT / 4 - 1000);
  cr_assert_leq(gc_used_bytes(f->gc), full / 2);
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(aside, the_sparse_ones_among_many_dense_ones_too) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_open(f, 2 * COUNT);
  leaves_make(f, 0, COUNT);
  fake_cycle(f);
  leaves_make(f, COUNT, 2 * COUNT);
  fake_buffers_drop(f);
  leaves_note(f, 2 * COUNT);
  for (size_t i = COUNT; i < COUNT + COUNT / 5; i++) {
    if (i % 4 != 0) {
      ((char **)f->root[0])[i] = NULL;
    }
  }
  fake_cycle(f);
  cr_assert_leq(leaves_moved(f, 2 * COUNT), 1000);
  size_t full = gc_used_bytes(f->gc);
  fake_cycle(f);
  size_t moved = leaves_moved(f, 2 * COUNT);
  cr_assert(moved >= COUNT / 5 / 4 - 200 && moved <= COUNT / 5 / 4 + 1000, "%zu moved", moved);
  cr_assert_leq(gc_used_bytes(f->gc), full - COUNT / 5 * BYTES / 2);
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(aside, gaps_are_filled_again) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_open(f, COUNT);
  for (int round = 0; round < 6; round++) {
    leaves_make(f, 0, COUNT);
    fake_buffers_drop(f);
    leaves_note(f, COUNT);
    fake_cycle(f);
    leaves_moved(f, COUNT);
    for (size_t i = round % 3; i < COUNT; i += 3) {
      ((char **)f->root[0])[i] = NULL;
    }
    fake_cycle(f);
    leaves_moved(f, COUNT);
    for (size_t i = round % 3; i < COUNT; i += 3) {
      leaves_make(f, i, i + 1); // many of them where others have died
    }
    for (int i = 0; i < round; i++) {
      fake_cycle(f);
      leaves_moved(f, COUNT);
    }
  }
  no_marks(f);
  fake_close(f);
}

// Headers of copies say in which cycle they were made, and there are only three numbers.
ON_TRAPPING_BACK_ENDS(aside, blocks_may_be_emptied_after_any_number_of_cycles) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_open(f, COUNT);
  leaves_make(f, 0, COUNT);
  for (int rest = 0; rest < 8; rest++) {
    f->spares = false;
    fake_cycle(f);
    leaves_note(f, COUNT);
    f->spares = true;
    for (int i = 0; i < rest; i++) {
      fake_cycle(f);
      cr_assert_leq(leaves_moved(f, COUNT), 1000); // what was in the block that is being filled
    }
    f->spares = false;
    fake_cycle(f);
    cr_assert_geq(leaves_moved(f, COUNT), COUNT - 1000);
  }
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(aside, ambiguous_words_hold_what_they_point_into) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_open(f, COUNT);
  leaves_make(f, 0, COUNT);
  fake_cycle(f);
  leaves_note(f, COUNT);
  for (size_t i = 0; i < 50; i++) {
    f->word[i] = was[700 * i] + 50;
    ((char **)f->root[0])[700 * i] = NULL;
  }
  for (int i = 0; i < 4; i++) {
    fake_cycle(f);
    for (size_t k = 0; k < 50; k++) {
      cr_assert(fake_filled((char *)f->word[k] - 50, BYTES, (unsigned)(700 * k)));
    }
  }
  fake_close(f);
}

// A few dead objects stay where they are; but not when they have become many, one by one.
ON_TRAPPING_BACK_ENDS(aside, the_dead_are_cleared_away_when_they_are_some) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  size_t full = table_settled(f);
  for (size_t gone = 0; gone < 40; gone++) {
    for (size_t i = gone; i < COUNT; i += 50) {
      ((char **)f->root[0])[i] = NULL;
    }
    fake_cycle(f);
    leaves_moved(f, COUNT);
  }
  fake_cycle(f);
  cr_assert_leq(gc_used_bytes(f->gc), full / 2);
  fake_close(f);
}

// ---- Cells that are known without a walk.

// What mutators fill stays, but nothing that they have filled is there.
static void leaves_settled(fake *f) {
  table_open(f, 2 * COUNT);
  leaves_make(f, 0, COUNT);
  fake_buffers_drop(f);
  for (int i = 0; i < 3; i++) {
    fake_cycle(f);
  }
  cr_assert(f->gc->leaves_stay);
}

// As many cells as are known are there, in each block. Buffers have been dropped. How many blocks are known.
static size_t counts_right(const fake *f) {
  const gc_heap *gc = f->gc;
  size_t known = 0;
  for (uint32_t b = 0; b < at_load(&gc->fresh) && b < gc->small_blocks; b++) {
    if (gc_space(gc, b) == 0 || !gc_cells_known(gc, b)) {
      continue;
    }
    unsigned cells = 0;
    for (size_t page = gc_block_page(gc, b); page < gc_block_page(gc, b + 1); page++) {
      const char *limit = gc_page_alias(gc, page) + gc_top(gc, page);
      uint64_t header;
      gc_cell at;
      for (char *next = gc_page_first(gc, page).alias; next != NULL && next < limit;) {
        next = gc_cell_next(gc, (gc_cell){next}, limit, &at, &header);
        cells += next != NULL && gc_header_type(header) != GC_FILLER;
      }
    }
    cr_assert_eq(cells, gc_cells_count(gc, b), "block %u: %u cells, %u are known", b, cells, gc_cells_count(gc, b));
    known++;
  }
  return known;
}

// The next block that a mutator gets is a fresh one.
static void partial_take(fake *f) {
  while (gc_stack_pop(f->gc, &f->gc->partial[1]) != GC_NONE) {
    // It stays with nobody.
  }
}

ON_TRAPPING_BACK_ENDS(aside, what_mutators_have_filled_is_not_walked) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  leaves_settled(f);
  cr_assert_leq(at_load(&f->gc->aside_walked), 1);
  leaves_make(f, COUNT, 2 * COUNT);
  fake_buffers_drop(f);
  leaves_note(f, 2 * COUNT);
  cr_assert_geq(counts_right(f), 140);
  for (int i = 0; i < 3; i++) {
    fake_cycle(f);
    cr_assert_leq(leaves_moved(f, 2 * COUNT), 1000);
    cr_assert_geq(at_load(&f->gc->aside_blocks), 140);
    cr_assert_leq(at_load(&f->gc->aside_walked), 2); // the last, which is not full, and one that had gaps
    cr_assert_geq(counts_right(f), 140);
  }
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(aside, but_it_is_when_some_of_it_has_died) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  leaves_settled(f);
  leaves_make(f, COUNT, 2 * COUNT);
  fake_buffers_drop(f);
  for (size_t gone = 0; gone < 3; gone++) { // of 40
    for (size_t i = COUNT + gone; i < 2 * COUNT; i += 40) {
      ((char **)f->root[0])[i] = NULL;
    }
    fake_cycle(f);
    size_t walked = at_load(&f->gc->aside_walked);
    cr_assert(gone < 2 ? walked <= 2 : walked >= 60, "%zu blocks after %zu", walked, gone);
    leaves_moved(f, 2 * COUNT);
    counts_right(f);
  }
  fake_close(f);
}

// Where most of it dies the cells are not even counted.
ON_TRAPPING_BACK_ENDS(aside, where_most_leaves_die_nobody_counts) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_open(f, 2 * COUNT);
  leaves_make(f, 0, COUNT);
  fake_buffers_drop(f);
  cr_assert_not(f->gc->leaves_stay);
  cr_assert_eq(counts_right(f), 0);
  fake_close(f);
}

// A medium object that does not fit into the rest of a block leaves it empty: the sweep finds that.
ON_TRAPPING_BACK_ENDS(aside, what_medium_leaves_do_not_fill_is_used_again) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  leaves_settled(f);
  enum { MANY = 200, THIRD = 22 << 10, TENTH = 6 << 10 };
  f->root[1] = fake_array(f, &type_pointer, 2 * MANY);
  for (size_t i = 0; i < MANY; i++) {
    char *bytes = fake_array(f, &type_byte, TENTH);
    ((char **)f->root[1])[MANY + i] = bytes;
  }
  cr_assert_geq(counts_right(f), 80 + MANY / 10 - 1);
  for (size_t i = 0; i < MANY; i++) {
    char *bytes = fake_array(f, &type_byte, THIRD);
    ((char **)f->root[1])[i] = bytes;
  }
  counts_right(f);
  fake_cycle(f);
  size_t walked = at_load(&f->gc->aside_walked);
  cr_assert(walked >= MANY / 2 && walked <= MANY / 2 + 2, "%zu", walked);
  cr_assert_geq(at_load(&f->gc->partial[1].count), MANY / 2);
  counts_right(f);
  fake_close(f);
}

static void medium_make(fake *f, size_t slot) { f->root[slot] = fake_array(f, &type_byte, 6 << 10); }

// Nor is a block believed to be dense that a flip, or the end of its thread, has cut short.
ON_TRAPPING_BACK_ENDS(aside, blocks_that_are_not_filled_to_their_ends_are_used_again) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  leaves_settled(f);
  for (f->now = 0; f->now < FAKE_MUTATORS; f->now++) {
    fake_mutator *m = &f->mutator[f->now];
    gc_lane_drop(f->gc, &m->lane[1], true);
    partial_take(f);
    medium_make(f, 1 + f->now);
    leaves_make(f, COUNT + f->now, COUNT + f->now + 1);
    fake_buffers_drop(f);
  }
  f->now = 0;
  for (int i = 0; i < 2; i++) { // two end, and others may go on with their blocks, but do not
    gc_lane_drop(f->gc, &f->mutator[i].lane[1], true);
    gc_lane_drop(f->gc, &f->mutator[i].medium[1], true);
  }
  fake_cycle(f);
  cr_assert_geq(at_load(&f->gc->aside_walked), 2 * FAKE_MUTATORS);
  cr_assert_geq(at_load(&f->gc->partial[1].count), 2 * FAKE_MUTATORS);
  fake_close(f);
}

// A block's last buffer ends without a next one in a child of fork, and at a flip that finds it full.
ON_TRAPPING_BACK_ENDS(aside, the_last_buffer_of_a_block_is_counted) {
  enum { CELL = 48, BLOCK = 16 * 85, BLOCKS = 40 }; // with pages of 4096 bytes nothing is left
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  leaves_settled(f);
  fake_buffers_drop(f);
  partial_take(f);
  f->now = 1;
  f->root[1] = fake_array(f, &type_pointer, BLOCKS * BLOCK);
  for (size_t i = 0; i < BLOCKS * BLOCK; i++) {
    char *bytes = fake_array(f, &type_byte, CELL - 16);
    ((char **)f->root[1])[i] = bytes;
  }
  fake_mutator *m = &f->mutator[1];
  cr_assert_eq(m->free[1], m->limit[1]);
  uint32_t block = gc_block_of(f->gc, (uintptr_t)m->start[1]);
  cr_assert(gc_cells_known(f->gc, block));
  cr_assert_eq(gc_cells_count(f->gc, block), BLOCK - 85);
  gc_fork_buffer(f->gc, m->start[1], m->limit[1]);
  cr_assert_eq(gc_cells_count(f->gc, block), BLOCK);
  gc_cells_set(f->gc, block, GC_CELLS_KNOWN | (BLOCK - 85)); // that was in the child
  fake_cycle(f);
  cr_assert_eq(gc_cells_count(f->gc, block), BLOCK);
  cr_assert_geq(counts_right(f), BLOCKS);
  cr_assert_leq(at_load(&f->gc->aside_walked), 1);
  fake_close(f);
}

// Above a floor a mutator goes on in a block that the sweep may be at: nothing is known of it.
ON_TRAPPING_BACK_ENDS(aside, blocks_with_floors_are_not_known) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  leaves_settled(f);
  fake_buffers_drop(f);
  partial_take(f);
  f->now = 1;
  size_t born = COUNT;
  do { // as good as full
    leaves_make(f, born, born + 1);
    born++;
  } while (GC_BLOCK - f->mutator[1].lane[1].cursor >= GC_GAPS_MIN);
  uint32_t block = gc_block_of(f->gc, (uintptr_t)f->mutator[1].start[1]);
  cr_assert(gc_cells_known(f->gc, block));
  fake_flip(f);
  cr_assert_not(gc_cells_known(f->gc, block));
  leaves_make(f, born, born + 10);
  fake_finish(f);
  leaves_make(f, born + 10, COUNT + 2000);
  fake_buffers_drop(f);
  for (int i = 0; i < 4; i++) {
    fake_cycle(f);
    leaves_moved(f, COUNT + 2000);
    counts_right(f);
  }
  fake_close(f);
}
