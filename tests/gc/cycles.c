// SPDX-License-Identifier: MIT
// cycles.c: what a whole cycle does: phases, spaces, grey pages, traps, epochs, garbage.

#include <criterion/criterion.h>
#include "tests/gc/fake.h"

ON_TRAPPING_BACK_ENDS(cycles, a_cycle_goes_from_idle_through_scanning_and_sweeping_to_idle) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  fake_list(f, 0, 1000);
  cr_assert_eq(gc_phase_now(f->gc), GC_IDLE);
  uint8_t to_space = f->gc->to_space;
  fake_flip(f);
  cr_assert_eq(gc_phase_now(f->gc), GC_SCANNING);
  cr_assert_eq(f->gc->from_space, to_space);
  cr_assert_eq(f->gc->cycle, 1);
  cr_assert_not(gc_sweep_begin(f->gc), "pages are grey");
  while (!gc_scan_finished(f->gc)) {
    cr_assert(fake_step(f));
  }
  cr_assert(gc_sweep_begin(f->gc));
  cr_assert_eq(gc_phase_now(f->gc), GC_SWEEPING);
  cr_assert_not(gc_sweep_begin(f->gc), "only one thread sweeps");
  gc_sweep(f->gc);
  cr_assert_eq(gc_phase_now(f->gc), GC_IDLE);
  cr_assert_eq(fake_list_length(f, 0), 1000);
  fake_close(f);
}

Test(cycles, without_traps_the_whole_cycle_runs_in_the_flip) {
  fake *f = fake_open((fake_options){.back_end = "none"});
  fake_list(f, 0, 1000);
  fake_flip(f);
  cr_assert_eq(gc_phase_now(f->gc), GC_IDLE);
  cr_assert_eq(fake_list_length(f, 0), 1000);
  fake_close(f);
}

ON_ALL_BACK_ENDS(cycles, an_empty_heap_can_be_collected) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  for (int i = 0; i < 5; i++) {
    fake_cycle(f);
  }
  cr_assert_eq(gc_used_bytes(f->gc), 0);
  fake_close(f);
}

ON_ALL_BACK_ENDS(cycles, what_nothing_points_to_is_freed) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  fake_list(f, 0, 100);
  for (int i = 0; i < 30000; i++) {
    EXPECT(fake_new(f, &type_pair) != NULL);
    EXPECT(fake_array(f, &type_byte, 48) != NULL);
  }
  EXPECT(fake_array(f, &type_pointer, 100000) != NULL);
  fake_buffers_drop(f);
  size_t before = gc_used_bytes(f->gc);
  cr_assert_gt(before, 3 << 20);
  fake_cycle(f);
  cr_assert_leq(gc_used_bytes(f->gc), 4 * GC_BLOCK, "%zu bytes in use", gc_used_bytes(f->gc));
  cr_assert_eq(f->gc->copied_objects, 100);
  cr_assert_eq(fake_list_length(f, 0), 100);
  fake_close(f);
}

ON_ALL_BACK_ENDS(cycles, cycles_of_garbage_are_freed_too) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  for (int i = 0; i < 1000; i++) {
    pair *a = fake_new(f, &type_pair), *b = fake_new(f, &type_pair);
    a->left = b;
    b->left = a;
    a->right = a;
  }
  fake_buffers_drop(f);
  fake_cycle(f);
  cr_assert_eq(f->gc->copied_objects, 0);
  fake_close(f);
}

ON_ALL_BACK_ENDS(cycles, sharing_and_rings_keep_their_shape) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  pair *a = f->root[0] = fake_new(f, &type_pair);
  pair *b = fake_new(f, &type_pair), *c = fake_new(f, &type_pair);
  a->left = b;
  a->right = c;
  b->left = c;
  c->left = a;
  c->right = c;
  f->root[1] = c;
  for (int i = 0; i < 5; i++) {
    fake_cycle(f);
    a = f->root[0];
    c = f->root[1];
    cr_assert(a->right == c && a->left->left == c && c->left == a && c->right == c);
  }
  cr_assert_eq(f->gc->copied_objects, 15);
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(cycles, a_touch_of_a_grey_page_scans_it_and_at_most_once) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  fake_list(f, 0, 5000);
  fake_flip(f);
  cr_assert(fake_is_veiled(f, f->root[0]));
  uint64_t traps = f->gc->region->traps_count;
  cr_assert_eq(((pair *)f->root[0])->key, 0);
  cr_assert_eq(f->gc->region->traps_count, traps + 1);
  cr_assert(!fake_is_veiled(f, f->root[0]));
  cr_assert_eq(((pair *)f->root[0])->key, 0);
  cr_assert_eq(f->gc->region->traps_count, traps + 1);
  // Walk it all by traps alone.
  cr_assert_eq(fake_list_length(f, 0), 5000);
  cr_assert_leq(f->gc->region->traps_count, f->gc->opened);
  cr_assert(gc_scan_finished(f->gc), "all that lives was touched");
  uint64_t all = f->gc->region->traps_count;
  fake_finish(f);
  cr_assert_eq(fake_list_length(f, 0), 5000);
  cr_assert_eq(f->gc->region->traps_count, all, "after the cycle nothing traps");
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(cycles, a_mutator_never_sees_a_from_space_pointer) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  fake_list(f, 0, 5000);
  fake_flip(f);
  for (pair *p = f->root[0]; p != NULL; p = p->right) {
    cr_assert_eq(gc_space(f->gc, gc_block_of(f->gc, (uintptr_t)p)), f->gc->to_space);
    if (p->key % 16 == 0) {
      fake_step(f);
    }
  }
  fake_finish(f);
  fake_close(f);
}

ON_ALL_BACK_ENDS(cycles, what_is_born_during_a_cycle_is_black_and_stays) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  fake_list(f, 0, 3000);
  fake_flip(f);
  uint64_t traps = f->gc->region->traps_count;
  for (int i = 0; i < 2000; i++) {
    pair *p = fake_new(f, &type_pair);
    EXPECT(p != NULL);
    cr_assert(!fake_is_veiled(f, p));
    p->key = i;
    p->right = f->root[1];
    f->root[1] = p;
  }
  cr_assert_eq(f->gc->region->traps_count, traps, "allocation never traps");
  void *newest = f->root[1];
  fake_finish(f);
  cr_assert_eq(f->root[1], newest);
  long key = 1999;
  for (pair *p = f->root[1]; p != NULL; p = p->right) {
    cr_assert_eq(p->key, key--);
  }
  cr_assert_eq(key, -1);
  cr_assert_eq(fake_list_length(f, 0), 3000);
  fake_close(f);
}

ON_ALL_BACK_ENDS(cycles, old_and_new_objects_may_point_to_each_other_in_mid_cycle) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  fake_list(f, 0, 3000);
  for (int cycle = 0; cycle < 6; cycle++) {
    fake_flip(f);
    pair *p = f->root[0];
    for (int i = 0; p != NULL; p = p->right, i++) {
      if (i % 10 == cycle) {
        pair *young = fake_new(f, &type_pair);
        young->left = p; // a plain store of a to-space pointer into a black object
        young->key = p->key;
        p->left = young; // and one into a page that was grey before this touch
      }
      if (i % 100 == 0) {
        fake_step(f);
      }
    }
    fake_finish(f);
    for (p = f->root[0]; p != NULL; p = p->right) {
      cr_assert(p->left == NULL || (p->left->left == p && p->left->key == p->key));
    }
  }
  cr_assert_eq(fake_list_length(f, 0), 3000);
  fake_close(f);
}

ON_ALL_BACK_ENDS(cycles, seven_hundred_cycles_wrap_epochs_and_stamps_around) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = (size_t)8 << 20);
  fake_list(f, 0, 500);
  void **large = f->root[1] = fake_array(f, &type_pointer, 6000);
  for (size_t i = 0; i < 6000; i += 500) {
    large[i] = f->root[0];
  }
  f->root[2] = fake_array(f, &type_byte, 2000);
  fake_fill(f->root[2], 2000, 1);
  pair *pinned = fake_new(f, &type_pair);
  f->word[0] = (uintptr_t)pinned;
  pinned->left = f->root[0];
  for (int cycle = 0; cycle < 700; cycle++) {
    fake_flip(f);
    // The list is turned over a little, so that it has old and new objects.
    pair *p = fake_new(f, &type_pair);
    EXPECT(p != NULL);
    *p = *(pair *)f->root[0];
    f->root[0] = p;
    if (cycle % 50 == 0) { // a pin that lasts for a few cycles, then goes
      f->word[1] = (uintptr_t)p->right;
    }
    fake_finish(f);
    large = f->root[1];
    for (size_t i = 500; i < 6000; i += 500) {
      cr_assert_eq(((pair *)large[i])->key, 0);
    }
    cr_assert_eq(pinned->left->key, 0);
  }
  cr_assert_eq(f->gc->cycle, 700);
  cr_assert_eq(fake_list_length(f, 0), 500);
  cr_assert(fake_filled(f->root[2], 2000, 1));
  fake_close(f);
}

ON_ALL_BACK_ENDS(cycles, a_long_list_and_a_wide_array_survive_under_every_granule) {
  static const size_t granules[] = {4096, 8192, 16384, 32768, 65536};
  for (size_t g = 0; g < sizeof granules / sizeof granules[0]; g++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .granule = granules[g]);
    fake_list(f, 0, 20000);
    void **wide = f->root[1] = fake_array(f, &type_pointer, 30000);
    for (size_t i = 0; i < 30000; i++) {
      wide[i] = fake_new(f, &type_pair);
      ((pair *)wide[i])->key = (long)i;
    }
    for (int cycle = 0; cycle < 3; cycle++) {
      fake_flip(f);
      cr_assert_eq(((pair *)((void **)f->root[1])[12345])->key, 12345);
      fake_finish(f);
      wide = f->root[1];
      for (size_t i = 0; i < 30000; i++) {
        cr_assert_eq(((pair *)wide[i])->key, (long)i);
      }
      cr_assert_eq(fake_list_length(f, 0), 20000);
    }
    fake_close(f);
  }
}

ON_TRAPPING_BACK_ENDS(cycles, pages_counted_as_opened_are_all_cleaned_at_the_end) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  fake_list(f, 0, 20000);
  f->root[1] = fake_array(f, &type_pointer, 50000);
  for (int cycle = 0; cycle < 3; cycle++) {
    fake_cycle(f);
    cr_assert_eq(f->gc->opened, f->gc->cleaned);
    for (size_t page = 0; page < f->gc->region->pages; page++) {
      if (gc_page_in_use(f->gc, page)) {
        cr_assert_eq(vm_claims(f->gc->region, page) & VM_UNSCANNED, 0, "page %zu", page);
      }
    }
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(cycles, two_heaps_are_collected_apart) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  fake *g = fake_open((fake_options){.back_end = "none"});
  fake_list(f, 0, 1000);
  fake_list(g, 0, 2000);
  ((pair *)f->root[0])->left = g->root[0]; // a foreign pointer is only a word, to who does not verify (gc.apart)
  f->unverified = true;
  void *foreign = g->root[0];
  fake_cycle(f);
  cr_assert_eq((void *)((pair *)f->root[0])->left, foreign);
  fake_cycle(g);
  cr_assert_eq(fake_list_length(f, 0), 1000);
  cr_assert_eq(fake_list_length(g, 0), 2000);
  fake_close(f);
  fake_close(g);
}

// One flip copies hardly anything, the next one all of it.
ON_TRAPPING_BACK_ENDS(cycles, dense_blocks_are_spared_by_one_flip) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 64 << 20);
  enum { LENGTH = 100000 }; // 3 MiB
  fake_list(f, 0, LENGTH);
  fake_cycle(f);
  cr_assert_eq(f->gc->copied_objects, LENGTH);
  f->spares = true;
  for (int i = 0; i < 4; i++) {
    uint64_t before = f->gc->copied_objects;
    fake_cycle(f);
    uint64_t copied = f->gc->copied_objects - before;
    cr_assert(i % 2 == 0 ? copied < 10 : copied >= LENGTH - 10, "%lu copies in cycle %d", (unsigned long)copied, i);
    cr_assert_eq(fake_list_length(f, 0), LENGTH);
    cr_assert_eq(f->gc->kept_blocks, 0, "it was not for want of memory");
  }
  fake_close(f);
}

// What mutators fill is copied like anything else as long as nobody knows whether it lives; then it stays where it was born, for two cycles.
ON_TRAPPING_BACK_ENDS(cycles, what_mutators_fill_stays_where_most_of_it_lives) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 128 << 20);
  enum { LENGTH = 100000, BLOCK_CELLS = GC_BLOCK / 32 };
  f->spares = true;
  fake_list(f, 0, LENGTH);
  cr_assert_not(f->gc->born_stay);
  fake_cycle(f);
  cr_assert_geq(f->gc->copied_objects, LENGTH);
  cr_assert(f->gc->born_stay, "all of it lived");
  fake_list(f, 1, LENGTH);
  const void *before = f->root[1];
  for (int i = 0; i < 4; i++) {
    uint64_t copied = f->gc->copied_objects;
    fake_cycle(f);
    copied = f->gc->copied_objects - copied;
    // The first list moves in cycles 1 and 3, the second one in cycle 2; but for what a buffer was in, and what roots lead to.
    uint64_t least = i == 0 ? 0 : LENGTH - BLOCK_CELLS, most = least + 2 * BLOCK_CELLS;
    cr_assert(copied >= least && copied <= most, "%lu copies in cycle %d", (unsigned long)copied, i);
    cr_assert_eq(fake_list_length(f, 0), LENGTH);
    cr_assert_eq(fake_list_length(f, 1), LENGTH);
    cr_assert_eq(f->gc->kept_blocks, 0, "it was not for want of memory");
  }
  cr_assert_neq(before, f->root[1]);
  fake_close(f);
}

// A program whose objects begin to die is noticed, and what is dead in blocks that have stayed is gone after them.
ON_TRAPPING_BACK_ENDS(cycles, where_what_mutators_fill_dies_it_is_emptied) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 128 << 20);
  enum { LENGTH = 100000 };
  f->spares = true;
  fake_list(f, 0, LENGTH);
  fake_cycle(f);
  size_t one = gc_used_bytes(f->gc);
  for (int i = 0; i < 3; i++) {
    fake_list(f, 1, LENGTH);
    cr_assert_eq(f->gc->born_stay, i == 0);
    f->root[1] = NULL;
    fake_cycle(f);
    cr_assert_eq(fake_list_length(f, 0), LENGTH);
  }
  cr_assert_not(f->gc->born_stay);
  cr_assert_leq(gc_used_bytes(f->gc), one + one / 4 + 4 * GC_BLOCK, "%zu bytes, %zu of them live", gc_used_bytes(f->gc), one);
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(cycles, garbage_in_spared_blocks_goes_when_all_are_to_be_emptied) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 64 << 20);
  fake_list(f, 0, 100000);
  fake_list(f, 1, 100000);
  fake_cycle(f);
  size_t full = gc_used_bytes(f->gc);
  f->root[1] = NULL;
  f->spares = true;
  fake_cycle(f);
  cr_assert_eq(fake_list_length(f, 0), 100000);
  f->spares = false;
  fake_cycle(f);
  cr_assert_leq(gc_used_bytes(f->gc), full / 2 + 4 * GC_BLOCK, "%zu bytes of %zu in use", gc_used_bytes(f->gc), full);
  cr_assert_eq(fake_list_length(f, 0), 100000);
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(cycles, nothing_is_spared_where_the_limit_is_near) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 64 << 20);
  fake_list(f, 0, 100000);
  fake_cycle(f);
  gc_limit_set(f->gc, 8 << 20);
  f->spares = true;
  fake_cycle(f);
  cr_assert_eq(f->gc->copied_objects, 200000);
  cr_assert_eq(fake_list_length(f, 0), 100000);
  fake_close(f);
}
