// SPDX-License-Identifier: MIT
// floors.c: buffers that a mutator holds at a flip (gc.tlab).

#include <criterion/criterion.h>
#include "tests/gc/fake.h"

ON_ALL_BACK_ENDS(floors, a_mutator_goes_on_in_the_buffer_it_held_at_the_flip) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  pair *old = f->root[0] = fake_new(f, &type_pair);
  old->key = 1;
  char *free = f->mutator[0].free[0], *limit = f->mutator[0].limit[0];
  cr_assert_lt((void *)free, (void *)limit);
  fake_flip(f);
  cr_assert_neq(f->root[0], (void *)old, "what was whole at the flip has moved");
  pair *young = fake_new(f, &type_pair);
  cr_assert_eq((char *)young - 8, free);
  young->key = 2;
  young->left = f->root[0];
  f->root[1] = young;
  fake_finish(f);
  cr_assert_eq(f->root[1], (void *)young);
  cr_assert_eq(young->left->key, 1);
  fake_close(f);
}

// The thread was stopped between the bump and the header of a cell.
static void flight_lands(const char *back_end, bool at_the_end) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  pair *p = fake_new(f, &type_pair);
  fake_mutator *m = &f->mutator[0];
  while (at_the_end && m->free[0] != m->limit[0]) {
    cr_assert(m->limit[0] - m->free[0] >= 48, "pairs fill a buffer exactly");
    p = fake_new(f, &type_pair);
  }
  f->root[0] = fake_array(f, &type_byte, 10);
  uint64_t header = fake_object_header(f, p);
  *(uint64_t volatile *)((char *)p - 8) = 0;
  f->word[0] = (uintptr_t)p; // in a register
  fake_flip(f);
  *(uint64_t volatile *)((char *)p - 8) = header;
  p->left = f->root[0];
  p->key = 17;
  f->root[1] = p;
  fake_finish(f);
  cr_assert_eq(f->root[1], (void *)p);
  cr_assert_eq((void *)p->left, f->root[0]);
  cr_assert_eq(p->key, 17);
  f->word[0] = 0;
  fake_cycle(f); // now it moves like any other
  p = f->root[1];
  cr_assert_eq(p->key, 17);
  cr_assert_eq((void *)p->left, f->root[0]);
  fake_close(f);
}

ON_ALL_BACK_ENDS(floors, an_allocation_in_flight_at_the_flip_lands) { flight_lands(back_end, false); }
ON_ALL_BACK_ENDS(floors, an_allocation_in_flight_that_fills_its_buffer_lands) { flight_lands(back_end, true); }

// A fixed bug: the second flip read the buffer from its very beginning, which had been swept.
ON_ALL_BACK_ENDS(floors, a_buffer_that_is_held_over_many_cycles_stays_in_order) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  for (int cycle = 0; cycle < 20; cycle++) {
    pair *p = fake_new(f, &type_pair);
    p->right = f->root[0];
    p->key = cycle;
    f->root[0] = p;
    pair *garbage = fake_new(f, &type_pair);
    garbage->left = p;
    fake_fill(f->root[1] = fake_array(f, &type_byte, 20), 20, (unsigned)cycle);
    fake_cycle(f); // verifies
    cr_assert(fake_filled(f->root[1], 20, (unsigned)cycle));
    long key = cycle;
    for (p = f->root[0]; p != NULL; p = p->right) {
      cr_assert_eq(p->key, key--);
    }
    cr_assert_eq(key, -1);
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(floors, the_used_part_of_a_buffer_that_is_held_holds_no_garbage_back) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  // Large garbage that only dead pairs of the buffer point to: it must go although the buffer stays.
  for (int cycle = 0; cycle < 5; cycle++) {
    pair *p = fake_new(f, &type_pair);
    p->left = fake_array(f, &type_byte, 1 << 20);
    EXPECT(p->left != NULL);
    fake_cycle(f);
    cr_assert_lt(gc_used_bytes(f->gc), 1 << 20, "cycle %d: %zu bytes in use", cycle, gc_used_bytes(f->gc));
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(floors, the_buffers_of_several_mutators_are_all_kept_apart) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  for (int round = 0; round < 40; round++) {
    for (unsigned m = 0; m < FAKE_MUTATORS; m++) {
      f->now = m;
      for (unsigned i = 0; i < 5 * (m + 1); i++) {
        pair *p = fake_new(f, &type_pair);
        p->key = (long)(round * 1000 + m);
        p->left = f->root[10 + m];
        f->root[10 + m] = p;
      }
    }
    if (round % 2) {
      fake_flip(f);
      for (unsigned m = 0; m < FAKE_MUTATORS; m++) {
        f->now = m;
        pair *p = fake_new(f, &type_pair);
        p->key = (long)(round * 1000 + m);
        p->left = f->root[10 + m];
        f->root[10 + m] = p;
      }
      fake_finish(f);
    }
  }
  for (unsigned m = 0; m < FAKE_MUTATORS; m++) {
    size_t count = 0;
    for (pair *p = f->root[10 + m]; p != NULL; p = p->left, count++) {
      cr_assert_eq((unsigned)(p->key % 1000), m);
    }
    cr_assert_eq(count, 40 * 5 * (m + 1) + 20);
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(floors, a_buffer_in_a_gap_between_pinned_objects_survives_flips) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = (size_t)4 << 20);
  // Every 20th pair of some pages is pinned; then allocation fills the gaps, with flips in between.
  for (int i = 0; i < 2000; i++) {
    pair *p = fake_new(f, &type_pair);
    p->key = i;
    if (i % 20 == 0) {
      f->word[i / 20] = (uintptr_t)p;
    }
  }
  fake_buffers_drop(f);
  fake_cycle(f);
  for (int round = 0; round < 30; round++) {
    for (int i = 0; i < 37; i++) {
      pair *p = fake_new(f, &type_pair);
      EXPECT(p != NULL);
      cr_assert(p->left == NULL && p->right == NULL && p->key == 0);
      p->key = round;
      p->right = f->root[0];
      f->root[0] = p;
    }
    fake_cycle(f);
    for (int i = 0; i < 2000; i += 20) {
      cr_assert_eq(((pair *)f->word[i / 20])->key, i);
    }
  }
  size_t count = 0;
  for (pair *p = f->root[0]; p != NULL; p = p->right) {
    count++;
  }
  cr_assert_eq(count, 30 * 37);
  fake_close(f);
}

ON_ALL_BACK_ENDS(floors, a_mutator_that_leaves_takes_its_floor_with_it) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  fake_new(f, &type_pair);
  fake_cycle(f);
  cr_assert_gt(gc_used_bytes(f->gc), 0);
  fake_buffers_drop(f);
  fake_cycle(f);
  cr_assert_eq(gc_used_bytes(f->gc), 0, "%zu bytes in use", gc_used_bytes(f->gc));
  fake_close(f);
}
