// SPDX-License-Identifier: MIT
// minor.c: minor cycles, step by step.

#include <criterion/criterion.h>
#include "gc/young.h"
#include "tests/gc/fake.h"

// A page of a kept block is scanned whole, so an object of it may be reached long after. A minor cycle in between must
// not forget that the object points into the zone.
ON_TRAPPING_BACK_ENDS(minor, what_is_reached_late_in_a_kept_block_is_still_remembered) {
  OPEN_OR_SKIP(f, .back_end = back_end, .nursery = 4 * GC_BLOCK);
  pair *late = f->root[0] = fake_new(f, &type_pair);
  f->root[1] = fake_new(f, &type_pair); // beside it
  f->root[2] = fake_array(f, &type_pointer, GC_BLOCK / 8); // large, so that it is veiled by itself
  ((void **)f->root[2])[0] = late;
  fake_cycle(f); // they are old
  late = f->root[0];
  cr_assert_eq(gc_page_at(f->gc, (uintptr_t)late), gc_page_at(f->gc, (uintptr_t)f->root[1]));
  late->left = fake_new(f, &type_pair);
  late->left->key = 17;
  f->root[0] = NULL;
  fake_memory_take(f, 0);
  fake_flip(f);
  pair *beside = f->root[1];
  cr_assert(fake_is_veiled(f, beside), "there was no memory to copy it");
  beside->key = 1; // its page is scanned
  fake_minor(f);
  fake_finish(f); // only now
  fake_minor(f);
  fake_minor(f);
  late = ((void **)f->root[2])[0];
  cr_assert_eq(late->left->key, 17);
  gc_verify_stopped(f->gc, "at the end");
  fake_close(f);
}

// ---- Generations that are switched off and on again between two flips.

static bool young_on(fake *f) {
  for (int i = 0; i < 1000 && !gc_young_is_on(f->gc); i++) {
    fake_young_on(f);
  }
  return gc_young_is_on(f->gc);
}

// Who points to what was young when they were switched off, and to whom it points, nobody knows.
ON_ALL_BACK_ENDS(minor, what_was_young_before_they_were_off_counts_as_old) {
  OPEN_OR_SKIP(f, .back_end = back_end, .nursery = 16 * GC_BLOCK, .verify = true);
  fake_list(f, 0, 100);
  fake_cycle(f);
  fake_list(f, 1, 100); // eden
  pair *old = f->root[0], *was = f->root[1];
  uint8_t space = gc_space(f->gc, gc_block_of(f->gc, (uintptr_t)was));
  cr_assert_eq(space, GC_EDEN);
  fake_young_off(f);
  old->left = was;
  f->root[1] = was->right;
  fake_list(f, 2, 100); // old from the beginning, but for what goes into the rest of the buffer
  ((pair *)f->root[2])->left = was;
  cr_assert(young_on(f));
  cr_assert_eq(f->root[1], was->right, "it stays where it is");
  fake_minor(f); // from here on nobody allocates there
  fake_buffers_drop(f);
  pair *born = fake_new(f, &type_pair);
  born->key = 5;
  cr_assert_eq(gc_space(f->gc, gc_block_of(f->gc, (uintptr_t)born)), GC_EDEN);
  was->left = born; // Dirty does not look there
  old->left->right->left = born;
  for (int i = 0; i < 4; i++) {
    fake_minor(f);
    cr_assert(old->left == was && was->left->key == 5 && was->right->left == was->left);
    cr_assert(was->left != born, "it has moved");
  }
  fake_cycle(f); // and here all of it does
  old = f->root[0];
  cr_assert(old->left == ((pair *)f->root[2])->left && old->left != was && old->left->left->key == 5);
  cr_assert_eq(old->left->right, f->root[1]);
  f->root[3] = fake_new(f, &type_pair);
  ((pair *)f->root[3])->left = fake_new(f, &type_pair);
  fake_minor(f);
  fake_minor(f);
  cr_assert_eq(fake_list_length(f, 2), 100);
  fake_close(f);
}

// What is being prepared when a flip comes is of no use: all that was copied would be news.
ON_TRAPPING_BACK_ENDS(minor, a_flip_in_between_puts_it_off) {
  OPEN_OR_SKIP(f, .back_end = back_end, .nursery = 16 * GC_BLOCK, .verify = true);
  fake_list(f, 0, 100);
  fake_cycle(f);
  fake_young_off(f);
  for (int i = 0; i < 100 && at_load(&f->gc->trial_flip_ns) != at_load(&f->gc->flip_ns); i++) {
    fake_young_on(f);
  }
  cr_assert(!gc_trial_prepared(f->gc));
  fake_cycle(f);
  cr_assert(!gc_young_is_on(f->gc));
  uint64_t flipped = at_load(&f->gc->flip_ns);
  cr_assert(young_on(f));
  cr_assert_eq(at_load(&f->gc->trial_flip_ns), flipped, "it was begun anew");
  // And if all was ready, the flip begins with it.
  fake_young_off(f);
  for (int i = 0; i < 1000 && !gc_trial_prepared(f->gc); i++) {
    fake_young_on(f);
  }
  fake_cycle(f);
  cr_assert(gc_young_is_on(f->gc));
  ((pair *)f->root[0])->left = fake_new(f, &type_pair);
  fake_minor(f);
  cr_assert_eq(fake_list_length(f, 0), 100);
  fake_close(f);
}
