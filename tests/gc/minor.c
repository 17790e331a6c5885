// SPDX-License-Identifier: MIT
// minor.c: minor cycles, step by step.

#include <criterion/criterion.h>
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
