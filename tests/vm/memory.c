// SPDX-License-Identifier: MIT
// memory.c: Map2, memory given and given back, finding regions.

#include "vm_test.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

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

ON_ALL_BACK_ENDS(memory, memory_for_the_view_is_zero_and_can_be_reached_through_the_alias_too) {
  world_open(&w, back_end);
  for (int round = 0; round < 3; round++) {
    cr_assert(vm_commit(w.region, 100, 10));
    *alias_word(&w, 105) = 7;
    cr_assert(vm_commit_for_view(w.region, 90, 200), "a part has memory already");
    cr_assert_eq(at_load(&w.region->committed), 200 * 4096);
    cr_assert_eq(vm_held(w.region), 200 * 4096);
    vm_open(w.region, 90, 100);
    for (size_t i = 90; i < 290; i++) {
      cr_assert_eq(*(i % 2 ? view_word(&w, i) : alias_word(&w, i)), i == 105 ? 7 : 0);
      *(i % 3 ? view_word(&w, i) : alias_word(&w, i)) = (long)i;
      cr_assert_eq(*alias_word(&w, i), (long)i);
      cr_assert_eq(*view_word(&w, i), (long)i);
    }
    vm_release(w.region, 90, 200);
    cr_assert_eq(vm_held(w.region), 0);
  }
  world_close(&w);
}

static bool huge_open(const char *back_end) {
  memset(&w, 0, sizeof w);
  vm_region_config config = {
      .bytes = WORLD_BYTES, .huge = WORLD_BYTES / 2, .page_shift = 12, .back_end = back_end, .settle = world_settle, .arg = &w};
  char why[256];
  EXPECT(vm_region_open(&config, &w.region, why, sizeof why) == VM_OK);
  if (!vm_commit_huge(w.region, 0)) {
    fprintf(stderr, "the system gives no huge pages\n");
    return false;
  }
  return true;
}

enum { HUGE_PAGES = VM_HUGE / 4096 };

ON_ALL_BACK_ENDS(memory, a_huge_page_is_veiled_and_opened_by_small_ones) {
  if (!huge_open(back_end)) {
    cr_skip_test("no huge pages here");
  }
  cr_assert_eq(vm_held(w.region), VM_HUGE);
  cr_assert_eq(at_load(&w.region->committed), VM_HUGE);
  vm_prot(w.region, 0, HUGE_PAGES, VM_UNSCANNED, 0);
  for (size_t i = 0; i < HUGE_PAGES; i++) {
    cr_assert_eq(*alias_word(&w, i), 0);
    *alias_word(&w, i) = (long)i + 1;
  }
  for (size_t i = 0; i < HUGE_PAGES; i += 7) {
    cr_assert_eq(*view_word(&w, i), (long)i + 1);
    cr_assert_eq(world_settled(&w, VM_UNSCANNED), w.region->traps ? i / 7 + 1 : 0);
  }
  int consumer = vm_dirty_open(w.region);
  static struct pages dirty;
  vm_dirty(w.region, consumer, 0, HUGE_PAGES, pages_add, &dirty);
  *view_word(&w, 14) = 5;
  dirty.n = 0;
  vm_dirty(w.region, consumer, 0, HUGE_PAGES, pages_add, &dirty);
  cr_assert(w.region->traps ? dirty.n == 1 && dirty.page[0] == 14 : dirty.n == HUGE_PAGES);
  vm_dirty_close(w.region, consumer);
  cr_assert(vm_is_huge(w.region, 0) && vm_is_huge(w.region, HUGE_PAGES - 1) && !vm_is_huge(w.region, HUGE_PAGES));
  vm_release(w.region, 0, HUGE_PAGES);
  cr_assert_eq(vm_held(w.region), 0);
  // It comes back zero, by small pages, and may go in parts.
  cr_assert(!vm_is_huge(w.region, 0));
  cr_assert(vm_commit(w.region, 0, HUGE_PAGES));
  for (size_t i = 0; i < HUGE_PAGES; i++) {
    cr_assert_eq(*view_word(&w, i), 0);
  }
  vm_release(w.region, 32, 16);
  cr_assert_eq(vm_held(w.region), VM_HUGE - 16 * 4096);
  world_close(&w);
}

ON_ALL_BACK_ENDS(memory, a_part_of_a_huge_page_cannot_be_released, .signal = SIGABRT) {
  if (!huge_open(back_end)) {
    abort();
  }
  vm_release(w.region, 32, 16);
}

ON_ALL_BACK_ENDS(memory, what_cannot_be_had_in_a_huge_page_is_had_by_small_ones) {
  bool works = huge_open(back_end);
  cr_assert_not(vm_commit_huge(w.region, 0), "it has had memory");
  cr_assert_not(vm_commit_huge(w.region, WORLD_BYTES / 2 / 4096), "not in this part of the region");
  cr_assert(vm_commit(w.region, HUGE_PAGES, HUGE_PAGES));
  cr_assert(vm_commit(w.region, WORLD_BYTES / 2 / 4096 - 8, 16), "across the end of that part");
  for (size_t i = HUGE_PAGES; i < 2 * HUGE_PAGES; i++) {
    cr_assert_eq(*view_word(&w, i), 0);
  }
  *view_word(&w, WORLD_BYTES / 2 / 4096) = 1;
  cr_assert_eq(vm_held(w.region), (works ? VM_HUGE : 0) + VM_HUGE + 16 * 4096);
  world_close(&w);
}

#ifdef VEIL_FULL_CHECKS
ON_ALL_BACK_ENDS(memory, a_failing_huge_page_leaves_nothing_behind) {
  world_open(&w, back_end);
  world_close(&w);
  for (unsigned n = 1; n <= 4; n++) {
    memset(&w, 0, sizeof w);
    vm_region_config config = {
        .bytes = WORLD_BYTES, .huge = WORLD_BYTES, .page_shift = 12, .back_end = back_end, .settle = world_settle, .arg = &w};
    char why[256];
    EXPECT(vm_region_open(&config, &w.region, why, sizeof why) == VM_OK);
    os_fail_at(n);
    bool done = vm_commit_huge(w.region, 0);
    os_fail_at(0);
    cr_assert_eq(vm_held(w.region), done ? VM_HUGE : 0);
    cr_assert_eq(at_load(&w.region->committed), done ? VM_HUGE : 0);
    cr_assert(done || vm_commit(w.region, 0, HUGE_PAGES));
    cr_assert_eq(*view_word(&w, 3), 0);
    world_close(&w);
  }
}
#endif

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

ON_ALL_BACK_ENDS(memory, a_child_of_fork_can_close_what_its_parent_goes_on_using) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 8));
  pid_t child = fork();
  if (child == 0) {
    world_close(&w);
    _exit(0);
  }
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  vm_prot(w.region, 0, 8, VM_UNSCANNED, 0);
  for (size_t i = 0; i < 8; i++) {
    *view_word(&w, i) = (long)i;
  }
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), w.region->traps ? 8 : 0);
  world_close(&w);
}
