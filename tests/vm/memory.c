// SPDX-License-Identifier: MIT
// memory.c: Map2, memory given and given back, finding regions.

#include "vm_test.h"

#include <criterion/criterion.h>
#include <signal.h>

static struct world w;

ON_ALL_BACK_ENDS(memory, view_and_alias_are_the_same_memory) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 8));
  vm_open(w.region, 0, 8);
  for (size_t i = 0; i < 8; i++) {
    *view_word(&w, i) = (long)i;
    cr_assert_eq(*alias_word(&w, i), (long)i);
    *alias_word(&w, i) = (long)i + 100;
    cr_assert_eq(*view_word(&w, i), (long)i + 100);
    cr_assert_eq((char *)vm_alias(w.region, (char *)view_word(&w, i)), (char *)alias_word(&w, i));
  }
  world_close(&w);
}

ON_ALL_BACK_ENDS(memory, committed_memory_is_zero_and_is_given_back_whole) {
  world_open(&w, back_end);
  cr_assert_eq(vm_held(w.region), 0);
  for (int round = 0; round < 3; round++) {
    cr_assert(vm_commit(w.region, 100, 200));
    cr_assert(vm_commit(w.region, 150, 200), "a part has memory already");
    cr_assert_eq(at_load(&w.region->committed), 250 * 4096);
    cr_assert_eq(vm_held(w.region), 250 * 4096);
    vm_open(w.region, 100, 100);
    for (size_t i = 100; i < 350; i++) {
      cr_assert_eq(*view_word(&w, i), 0);
      *view_word(&w, i) = 1;
    }
    vm_prot(w.region, 120, 10, VM_UNSCANNED, 0);
    vm_release(w.region, 100, 250);
    cr_assert_eq(at_load(&w.region->committed), 0);
    cr_assert_eq(vm_held(w.region), 0);
    cr_assert_eq(w.region->word[125], 0);
  }
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), 0, "claims of released pages are dropped");
  world_close(&w);
}

ON_ALL_BACK_ENDS(memory, a_region_is_found_by_the_addresses_of_its_view) {
  static struct world other;
  world_open(&w, back_end);
  world_open(&other, back_end);
  cr_assert_eq(vm_region_find(w.region->base), w.region);
  cr_assert_eq(vm_region_find(w.region->limit - 1), w.region);
  cr_assert_neq(vm_region_find(w.region->limit), w.region);
  cr_assert_eq(vm_region_find(other.region->base + 5000), other.region);
  cr_assert_null(vm_region_find(w.region->base + w.region->delta), "the alias is nobody's");
  cr_assert_null(vm_region_find(NULL));
  cr_assert_null(vm_region_find(&w));
  char *base = other.region->base;
  world_close(&other);
  cr_assert_null(vm_region_find(base));
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(memory, a_touch_of_released_memory_is_reported, .signal = SIGABRT) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 8));
  *view_word(&w, 3) = 1;
  vm_release(w.region, 3, 1);
  *view_word(&w, 4) = 1;
  (void)*view_word(&w, 3);
}

static void on_stray(void *arg, void *address) {
  cr_assert_eq(arg, &w);
  cr_assert_eq(address, (void *)view_word(&w, 9));
  _Exit(0);
}

ON_TRAPPING_BACK_ENDS(memory, a_touch_of_memory_never_committed_is_reported_to_the_owner, .exit_code = 0) {
  world_open(&w, back_end);
  w.region->config.stray = on_stray;
  (void)*view_word(&w, 9);
  _Exit(1);
}

ON_ALL_BACK_ENDS(memory, many_regions_can_be_opened_and_closed) {
  for (int round = 0; round < 50; round++) {
    world_open(&w, back_end);
    cr_assert(vm_commit(w.region, 0, 8));
    vm_prot(w.region, 0, 8, VM_UNSCANNED, 0);
    *view_word(&w, 1) = 1;
    world_close(&w);
  }
}
