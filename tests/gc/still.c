// SPDX-License-Identifier: MIT
// still.c: blocks that stay where they are, and as they are, from cycle to cycle (gc.still).

#include <criterion/criterion.h>
#include "gc/links.h"
#include "gc/parked.h"
#include "gc/still.h"
#include "gc/table.h"
#include "tests/gc/fake.h"

enum { COUNT = 40000, LIMIT = 256 << 20 }; // some 25 blocks

static uintptr_t was[COUNT];

// COUNT pairs behind the table in root[0], which have been through a cycle, and are to stay.
static void table_settled(fake *f) {
  f->spares = true;
  f->root[0] = fake_array(f, &type_pointer, COUNT);
  for (long i = 0; i < COUNT; i++) {
    pair *p = fake_new(f, &type_pair);
    p->key = i;
    ((pair **)f->root[0])[i] = p;
  }
  fake_cycle(f);
  fake_cycle(f);
  gc_keep_in_place(f->gc, true);
}

static pair *at(const fake *f, size_t i) { return ((pair **)f->root[0])[i]; }

// How many of them have moved since the last call.
static size_t moved(const fake *f) {
  size_t count = 0;
  for (size_t i = 0; i < COUNT; i++) {
    if (at(f, i) != NULL) {
      cr_assert_eq(at(f, i)->key, (long)i);
      count += (uintptr_t)at(f, i) != was[i];
      was[i] = (uintptr_t)at(f, i);
    }
  }
  return count;
}

ON_TRAPPING_BACK_ENDS(still, what_lives_stays_and_its_headers_are_not_written) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_settled(f);
  moved(f);
  fake_cycle(f); // whatever carries the epoch of the cycle after it has to be written
  uint64_t header = fake_object_header(f, at(f, COUNT / 2));
  for (int i = 0; i < 8; i++) {
    fake_cycle(f);
    cr_assert(f->gc->stills);
    cr_assert_eq(moved(f), 0, "cycle %d", i);
    cr_assert_eq(fake_object_header(f, at(f, COUNT / 2)), header, "cycle %d", i);
  }
  gc_keep_in_place(f->gc, false);
  gc_empty_all(f->gc);
  fake_cycle(f);
  cr_assert_geq(moved(f), COUNT - 1000);
  fake_close(f);
}

// New objects are copied, and so carry the epochs of their cycles; each cycle begins with one that nothing carries (fake_finish verifies).
ON_TRAPPING_BACK_ENDS(still, epochs_come_in_the_order_in_which_fewest_headers_are_written) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_settled(f);
  unsigned others = 0, last = f->gc->epoch;
  for (int cycle = 0; cycle < 60; cycle++) {
    for (size_t i = (size_t)cycle * 700; i < (size_t)cycle * 700 + 500 + (size_t)(cycle % 3) * 1500; i++) {
      pair *p = fake_new(f, &type_pair);
      p->key = (long)(i % COUNT);
      ((pair **)f->root[0])[i % COUNT] = p;
    }
    f->word[0] = (uintptr_t)at(f, (size_t)cycle * 911 % COUNT); // a pin, whose header is written
    f->root[1] = at(f, (size_t)cycle * 577 % COUNT);            // and one that the flip copies
    fake_cycle(f);
    cr_assert_neq(f->gc->epoch, last);
    others += f->gc->epoch != last % 3 + 1;
    last = f->gc->epoch;
    moved(f);
  }
  cr_assert_gt(others, 0, "else nothing was chosen");
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(still, weak_references_and_entries_know_what_lives) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_settled(f);
  uint32_t weak[100], table = gc_table_new(f->gc, GC_TABLE_KEYS, (uintptr_t)f->root[0]);
  for (size_t i = 0; i < 100; i++) {
    weak[i] = gc_link_new(f->gc, GC_LINK_WEAK, (uintptr_t)at(f, i * 300), 0, 0);
    cr_assert_neq(weak[i], GC_NONE);
    cr_assert(gc_table_put(f->gc, table, (uintptr_t)at(f, i * 300), (uintptr_t)at(f, i * 300 + 1))); // the value is held by nothing else …
  }
  for (size_t i = 0; i < 100; i++) {
    ((pair **)f->root[0])[i * 300 + 1] = NULL;
    if (i % 2) {
      ((pair **)f->root[0])[i * 300] = NULL; // … nor then is the key by anything
    }
  }
  for (int cycle = 0; cycle < 4; cycle++) {
    fake_cycle(f);
    cr_assert(f->gc->stills);
    for (size_t i = 0; i < 100; i++) {
      pair *p = (pair *)gc_link_read(f->gc, weak[i]);
      cr_assert_eq(p, at(f, i * 300), "%zu in cycle %d", i, cycle);
      pair *value = p != NULL ? (pair *)gc_table_get(f->gc, table, (uintptr_t)p) : NULL;
      cr_assert(p == NULL || value->key == (long)i * 300 + 1);
    }
    cr_assert_eq(at_load(&f->gc->weak.count), 50);
  }
  fake_close(f);
}

// What a mutator is given in mid-cycle, by a weak reference, lives, whoever looks at its block when.
ON_TRAPPING_BACK_ENDS(still, a_weak_reference_that_is_read_in_time_holds) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_settled(f);
  for (size_t round = 0; round < 10; round++) {
    size_t i = round * 1000 + 7;
    uint32_t weak = gc_link_new(f->gc, GC_LINK_WEAK, (uintptr_t)at(f, i), 0, 0);
    at(f, i)->left = at(f, i + 1);
    ((pair **)f->root[0])[i] = ((pair **)f->root[0])[i + 1] = NULL;
    fake_flip(f);
    for (size_t step = 0; step < round; step++) {
      fake_step(f);
    }
    f->root[1] = (void *)gc_link_read(f->gc, weak);
    cr_assert_neq(f->root[1], NULL);
    cr_assert_eq(((pair *)f->root[1])->left->key, (long)i + 1);
    fake_finish(f);
    cr_assert_eq((void *)gc_link_read(f->gc, weak), f->root[1]);
    cr_assert_eq(((pair *)f->root[1])->left->key, (long)i + 1);
  }
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(still, pins_stay_and_what_they_refer_to_lives) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_settled(f);
  for (size_t i = 0; i < 20; i++) {
    at(f, i * 1000)->right = at(f, i * 1000 + 500);
    f->word[i] = (uintptr_t)at(f, i * 1000) + i; // into it
    ((pair **)f->root[0])[i * 1000] = ((pair **)f->root[0])[i * 1000 + 500] = NULL;
  }
  for (int cycle = 0; cycle < 6; cycle++) {
    fake_cycle(f);
    for (size_t i = 0; i < 20; i++) {
      pair *p = (pair *)(f->word[i] - i);
      cr_assert(p->key == (long)i * 1000 && p->right->key == p->key + 500);
    }
  }
  fake_close(f);
}

// Most of what was there once is dead, but most of what is there now lives.
ON_TRAPPING_BACK_ENDS(still, blocks_that_die_as_a_whole_are_no_reason_to_move_the_others) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT, .headroom = 16 << 20);
  table_settled(f);
  for (int round = 0; round < 4; round++) {
    f->root[1] = fake_array(f, &type_pointer, COUNT);
    for (long i = 0; i < COUNT; i++) {
      void *p = fake_new(f, &type_pair);
      ((void **)f->root[1])[i] = p;
    }
    fake_cycle(f);
    f->root[1] = NULL; // nothing of it holds anything else
    moved(f);
    fake_cycle(f);
    cr_assert(f->gc->stills && !f->gc->sparse);
    fake_cycle(f);
    cr_assert(f->gc->stills);
    cr_assert_eq(moved(f), 0);
    cr_assert_geq(at_load(&f->gc->reached_bytes), COUNT * sizeof(pair), "the next cycle is not due at once");
  }
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(still, sparse_blocks_are_emptied_by_the_next_cycle_and_the_others_filled) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_settled(f);
  size_t full = gc_used_bytes(f->gc);
  moved(f);
  for (size_t i = 0; i < COUNT; i++) {
    if (i < COUNT / 2 ? i % 8 != 0 : i % 2 != 0) {
      ((pair **)f->root[0])[i] = NULL;
    }
  }
  fake_cycle(f);
  cr_assert_eq(moved(f), 0);
  fake_cycle(f);
  size_t count = moved(f);
  cr_assert(f->gc->stills && count >= COUNT / 2 / 8 - 500 && count <= COUNT / 2 / 8 + 500, "%zu moved", count);
  cr_assert_leq(gc_used_bytes(f->gc), full / 4 * 3);
  size_t used = gc_used_bytes(f->gc);
  fake_list(f, 1, COUNT / 8); // into the gaps
  cr_assert_leq(gc_used_bytes(f->gc), used + 2 * GC_BLOCK);
  fake_cycle(f);
  cr_assert_eq(fake_list_length(f, 1), COUNT / 8);
  moved(f);
  fake_close(f);
}

// In cycles that move, what a service has called asleep stays where it is, dead neighbours apart, and is not mixed with the rest.
static void asleep_say(const fake *f) {
  for (size_t i = 0; i < COUNT / 2; i++) {
    if (at(f, i) != NULL) {
      gc_asleep(f->gc, gc_block_of(f->gc, (uintptr_t)at(f, i)));
    }
  }
}

ON_TRAPPING_BACK_ENDS(still, what_is_asleep_stays_in_cycles_that_move) {
  enum { EDGE = 3000 }; // what shares a block with the other half
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_settled(f);
  moved(f);
  size_t others = 0;
  for (size_t cycle = 0; cycle < 6; cycle++) { // epochs come round
    for (size_t i = cycle; i < COUNT; i += 40) {
      ((pair **)f->root[0])[i] = NULL;
    }
    f->word[0] = (uintptr_t)at(f, 8 + cycle);
    f->root[1] = at(f, COUNT / 4 + 8);
    asleep_say(f);
    f->gc->still_pace.over = true;
    fake_cycle(f);
    cr_assert(!f->gc->stills);
    for (size_t i = 0; i < COUNT; i++) {
      bool same = at(f, i) == NULL || (uintptr_t)at(f, i) == was[i];
      cr_assert(same || i > COUNT / 2 - EDGE, "%zu has moved in cycle %zu", i, cycle);
      others += !same;
    }
    moved(f);
  }
  cr_assert_geq(others, 2 * (COUNT / 2 / 8 * 7 - EDGE), "they move, but not in the cycle after one in which they have");
  f->word[0] = 0;
  f->gc->still_pace.over = true;
  fake_cycle(f);
  cr_assert_geq(moved(f), COUNT / 8 * 3, "nobody has said so again");
  asleep_say(f);
  gc_empty_all(f->gc);
  fake_cycle(f);
  cr_assert_geq(moved(f), COUNT / 4 * 3, "all garbage was to go");
  fake_close(f);
}

// The sweep looks whether enough lives there, as everywhere.
ON_TRAPPING_BACK_ENDS(still, blocks_that_are_asleep_and_sparse_are_emptied) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_settled(f);
  moved(f);
  for (size_t i = 0; i < COUNT; i++) {
    if (i % 8 != 0) {
      ((pair **)f->root[0])[i] = NULL;
    }
  }
  for (size_t cycle = 0; cycle < 2; cycle++) {
    asleep_say(f);
    f->gc->still_pace.over = true;
    f->gc->sparse = false;
    fake_cycle(f);
    cr_assert(!f->gc->stills);
  }
  size_t count = 0;
  for (size_t i = 0; i < COUNT / 2 - 3000; i++) {
    count += at(f, i) != NULL && (uintptr_t)at(f, i) != was[i];
  }
  cr_assert_geq(count, (COUNT / 2 - 3000) / 8 - 500);
  fake_close(f);
}
