// SPDX-License-Identifier: MIT
// aside.c: leaf objects that are marked beside the heap (gc.aside).

#include <criterion/criterion.h>
#include "gc/aside.h"
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

static fake *table_open(fake *f, size_t count) {
  f->spares = true;
  f->root[0] = fake_array(f, &type_pointer, count);
  return f;
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
  table_open(f, COUNT);
  leaves_make(f, 0, COUNT);
  fake_cycle(f);
  fake_cycle(f);
  leaves_note(f, COUNT);
  size_t full = gc_used_bytes(f->gc);
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
  table_open(f, COUNT);
  leaves_make(f, 0, COUNT);
  fake_cycle(f);
  fake_cycle(f);
  leaves_note(f, COUNT);
  size_t full = gc_used_bytes(f->gc);
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
