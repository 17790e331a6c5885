// SPDX-License-Identifier: MIT
// large.c: objects above 32 KiB: pages of their own, scanned one by one, never moved.

#include <criterion/criterion.h>
#include "tests/gc/fake.h"

ON_ALL_BACK_ENDS(large, a_large_object_does_not_move_and_its_memory_is_zero) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  char *bytes = f->root[0] = fake_array(f, &type_byte, 100000);
  for (size_t i = 0; i < 100000; i++) {
    cr_assert_eq(bytes[i], 0);
  }
  fake_fill(bytes, 100000, 9);
  for (int cycle = 0; cycle < 5; cycle++) {
    fake_cycle(f);
    cr_assert_eq(f->root[0], (void *)bytes);
    cr_assert(fake_filled(bytes, 100000, 9));
  }
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(large, a_large_object_is_scanned_page_by_page) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  enum { LENGTH = 64 * 1024 }; // 512 KiB: 128 pages
  void **array = f->root[0] = fake_array(f, &type_pointer, LENGTH);
  for (size_t i = 0; i < LENGTH; i += 512) {
    array[i] = fake_new(f, &type_pair);
    ((pair *)array[i])->key = (long)i;
  }
  fake_flip(f);
  size_t grey = 0;
  for (size_t i = 0; i < LENGTH; i += 512) {
    grey += fake_is_veiled(f, &array[i]);
  }
  cr_assert_eq(grey, 128);
  uint64_t traps = f->gc->region->traps_count;
  cr_assert_eq(((pair *)array[512 * 60])->key, 512 * 60); // one page of the array, one of the pair
  cr_assert_leq(f->gc->region->traps_count, traps + 2);
  size_t left = 0;
  for (size_t i = 0; i < LENGTH; i += 512) {
    left += fake_is_veiled(f, &array[i]);
  }
  cr_assert_eq(left, 127);
  fake_finish(f);
  for (size_t i = 0; i < LENGTH; i += 512) {
    cr_assert_eq(((pair *)array[i])->key, (long)i);
  }
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(large, a_large_leaf_object_is_never_veiled) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  char *bytes = f->root[0] = fake_array(f, &type_byte, 1 << 20);
  fake_flip(f);
  for (size_t i = 0; i < 1 << 20; i += 4096) {
    cr_assert(!fake_is_veiled(f, bytes + i));
  }
  fake_finish(f);
  fake_close(f);
}

ON_ALL_BACK_ENDS(large, a_pinned_large_object_is_veiled_and_not_scanned_in_the_pause) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  void **array = fake_array(f, &type_pointer, 50000);
  array[40000] = fake_new(f, &type_pair);
  ((pair *)array[40000])->key = 5;
  f->word[0] = (uintptr_t)(array + 77);
  for (int cycle = 0; cycle < 4; cycle++) {
    fake_flip(f);
    cr_assert(!f->gc->region->traps || fake_is_veiled(f, &array[40000]));
    cr_assert_eq(((pair *)array[40000])->key, 5);
    fake_finish(f);
    cr_assert_eq(((pair *)array[40000])->key, 5);
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(large, large_objects_that_die_give_their_memory_back_and_it_can_be_had_again) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = (size_t)16 << 20);
  for (int cycle = 0; cycle < 100; cycle++) {
    for (int i = 0; i < 4; i++) {
      size_t bytes = (size_t)(cycle % 7 + 1) * 200000 + (size_t)i * 4096;
      char *object = fake_array(f, i % 2 ? &type_byte : &type_pointer, i % 2 ? bytes : bytes / 8);
      cr_assert_not_null(object, "cycle %d, object %d: %zu in use", cycle, i, gc_used_bytes(f->gc));
      cr_assert(object[0] == 0 && object[bytes - 8] == 0);
      if (i % 2) {
        memset(object, 0xff, bytes);
      } else {
        memset(object, 1, bytes / 8 * 8); // words that point nowhere
      }
      f->root[i] = cycle % 3 ? object : NULL;
    }
    fake_cycle(f);
    memset(f->root, 0, sizeof f->root);
    fake_cycle(f);
    cr_assert_eq(f->gc->large_bytes, 0);
    cr_assert_leq(vm_held(f->gc->region), (size_t)16 << 20);
    while (cycle % 10 == 0 && gc_trim_idle(f->gc)) {
    }
    cr_assert(cycle % 10 != 0 || vm_held(f->gc->region) <= (size_t)4 << 20);
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(large, a_large_object_born_in_mid_cycle_is_black) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  fake_list(f, 0, 2000);
  fake_flip(f);
  void **array = f->root[1] = fake_array(f, &type_pointer, 20000);
  EXPECT(array != NULL);
  cr_assert(!fake_is_veiled(f, &array[10000]));
  array[10000] = f->root[0];
  fake_finish(f);
  cr_assert_eq(array[10000], f->root[0]);
  fake_cycle(f);
  cr_assert_eq(array[10000], f->root[0]);
  fake_close(f);
}

// A page that a system call used when a cycle veiled the others must be veiled when it no longer does, however many cycles
// later: a stamp is one of 255 only.
ON_ALL_BACK_ENDS(large, a_page_that_was_touched_for_254_cycles_is_veiled_in_the_255th) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = (size_t)8 << 20);
  void **array = f->root[0] = fake_array(f, &type_pointer, 20000);
  array[5000] = fake_new(f, &type_pair);
  ((pair *)array[5000])->key = 3;
  fake_cycle(f); // stamps all pages
  f->touch_base[0] = (uintptr_t)&array[5000];
  f->touch_limit[0] = (uintptr_t)&array[5001];
  for (int cycle = 0; cycle < 254; cycle++) {
    fake_cycle(f);
    cr_assert_eq(((pair *)array[5000])->key, 3);
  }
  f->touch_base[0] = 0;
  fake_flip(f);
  cr_assert(!f->gc->region->traps || fake_is_veiled(f, &array[5000]));
  fake_finish(f);
  cr_assert_eq(((pair *)array[5000])->key, 3);
  fake_close(f);
}

ON_ALL_BACK_ENDS(large, lists_of_large_objects_are_followed) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = (size_t)64 << 20);
  for (int i = 0; i < 100; i++) {
    void **array = fake_array(f, &type_pointer, 5000 + (size_t)i * 100);
    EXPECT(array != NULL);
    array[4999] = f->root[0];
    array[0] = fake_new(f, &type_pair);
    ((pair *)array[0])->key = i;
    f->root[0] = array;
  }
  for (int cycle = 0; cycle < 4; cycle++) {
    fake_flip(f);
    int key = 99;
    for (void **array = f->root[0]; cycle % 2 && array != NULL; array = array[4999]) {
      cr_assert_eq(((pair *)array[0])->key, key--);
    }
    fake_finish(f);
    key = 99;
    for (void **array = f->root[0]; array != NULL; array = array[4999]) {
      cr_assert_eq(((pair *)array[0])->key, key--);
    }
    cr_assert_eq(key, -1);
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(large, an_object_beyond_the_limit_is_refused) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = (size_t)8 << 20);
  cr_assert_null(fake_array(f, &type_byte, (size_t)9 << 20));
  cr_assert_null(fake_array(f, &type_byte, (size_t)1 << 40));
  cr_assert_eq(f->gc->large_bytes, 0);
  void *fits = f->root[0] = fake_array(f, &type_byte, (size_t)7 << 20);
  cr_assert_not_null(fits);
  cr_assert_null(fake_array(f, &type_byte, (size_t)2 << 20));
  fake_cycle(f);
  cr_assert_eq(f->root[0], fits);
  fake_close(f);
}
