// SPDX-License-Identifier: MIT
// crowd.c: life with no mappings left (vm.max_map_count): veil gets slower, and never fails.

#include "vm_test.h"
#include "vm/backend.h"

#include <criterion/criterion.h>
#include <sys/mman.h>

enum { PAGES = 4096 };

static struct world w;

// Uses up the process's mappings but for about `left`.
static void fill_mappings(size_t left) {
  size_t pages = 2 * os_limit_mappings() + 2, i;
  char *p = mmap(NULL, pages * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  cr_assert_neq((void *)p, MAP_FAILED);
  for (i = 1; i < pages && mprotect(p + i * 4096, 4096, PROT_READ) == 0; i += 2) {
  }
  cr_assert_lt(i, pages, "the system has no limit?");
  munmap(p, left * 4096 + 4096);
}

static void shuffle(size_t *order, size_t n) {
  for (size_t i = 0; i < n; i++) {
    order[i] = i * 1597 % n; // 1597 is prime, so every page comes once
  }
}

static size_t order[PAGES];

Test(crowd, pages_open_without_mappings_by_settling_their_neighbours, .timeout = 60) {
  world_open(&w, "mprotect");
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_prot(w.region, 0, PAGES, VM_UNSCANNED, 0);
  fill_mappings(40);
  shuffle(order, PAGES);
  for (size_t i = 0; i < PAGES; i++) {
    *view_word(&w, order[i]) = (long)order[i];
    cr_assert_eq(w.page_settled[order[i]], 1);
  }
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), PAGES);
  cr_assert_lt(world_traps(&w), PAGES / 2, "windows were opened");
  for (size_t i = 0; i < PAGES; i++) {
    cr_assert_eq(*view_word(&w, i), (long)i);
  }
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(crowd, pages_open_without_mappings_and_without_settling) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_prot(w.region, 0, PAGES, VM_ABSENT, 0);
  fill_mappings(40);
  for (int round = 0; round < 3; round++) {
    for (size_t i = 0; i < PAGES; i += 2) {
      *view_word(&w, i) = (long)i;
      cr_assert_eq(w.page_settled[i], 1);
    }
  }
  for (size_t i = 0; i < PAGES; i++) {
    cr_assert_eq(vm_claims(w.region, i), i % 2 ? VM_ABSENT : 0, "contents that are away stay there");
  }
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(crowd, pages_are_veiled_without_mappings) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_open(w.region, 0, PAGES);
  fill_mappings(40);
  for (uint32_t round = 1; round <= 2; round++) {
    for (size_t i = 0; i < PAGES; i += 2) {
      cr_assert_eq(vm_prot(w.region, i, 1, round == 1 ? VM_ABSENT : VM_UNSAVED, 0), 1);
    }
    for (size_t i = 0; i < PAGES; i++) {
      *view_word(&w, i) = 1;
      cr_assert_eq(w.page_settled[i], i % 2 ? 0 : round);
    }
  }
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(crowd, writes_are_told_without_mappings) {
  static struct pages got;
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_open(w.region, 0, PAGES);
  int c = vm_dirty_open(w.region);
  vm_dirty(w.region, c, 0, PAGES, pages_add, &got);
  fill_mappings(40);
  for (int round = 0; round < 3; round++) {
    bool told[PAGES] = {0};
    for (size_t i = (size_t)round; i < PAGES; i += 7) {
      *view_word(&w, i) = 1;
    }
    got.n = 0;
    vm_dirty(w.region, c, 0, PAGES, pages_add, &got);
    for (size_t i = 0; i < got.n; i++) {
      told[got.page[i]] = true;
    }
    for (size_t i = (size_t)round; i < PAGES; i += 7) {
      cr_assert(told[i]);
    }
  }
  world_close(&w);
}

Test(crowd, it_is_told_before_mappings_run_out) {
  world_open(&w, "mprotect");
  w.region->state->limit = 1000;
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_open(w.region, 0, PAGES);
  for (int i = 0; i < 10000; i++) {
    vm_prot(w.region, 0, 10, VM_UNSCANNED, 0);
    vm_open(w.region, 0, 10);
    vm_settle(w.region, 5, VM_UNSCANNED, false, true);
    cr_assert_not(vm_crowded(w.region), "few mappings, however often they change");
  }
  size_t i;
  for (i = 20; i < PAGES && !vm_crowded(w.region); i += 2) {
    vm_prot(w.region, i, 1, VM_ABSENT, 0);
  }
  cr_assert(i > 200 && i < 600, "told after %zu pages", i);
  vm_unprot(w.region, 0, PAGES, VM_ABSENT);
  vm_open(w.region, 0, PAGES);
  for (int j = 0; j < 1000 && vm_crowded(w.region); j++) {
    vm_prot(w.region, 0, 1, VM_ABSENT, 0);
    vm_unprot(w.region, 0, 1, VM_ABSENT);
  }
  cr_assert_not(vm_crowded(w.region), "and that there is room again");
  world_close(&w);
}

static void is_never_crowded(const char *back_end) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_open(w.region, 0, PAGES);
  fill_mappings(40);
  for (size_t i = 0; i < PAGES; i += 2) {
    vm_prot(w.region, i, 1, VM_UNSCANNED, 0);
  }
  cr_assert_not(vm_crowded(w.region));
  for (size_t i = 0; i < PAGES; i++) {
    *view_word(&w, i) = (long)i;
  }
  cr_assert(!w.region->traps || world_traps(&w) == PAGES / 2, "no window was opened");
  cr_assert_not(vm_crowded(w.region));
  world_close(&w);
}

ON_BACK_END(crowd, is_never_crowded, uffd)
ON_BACK_END(crowd, is_never_crowded, uffd_kernel)
ON_BACK_END(crowd, is_never_crowded, guard)
ON_BACK_END(crowd, is_never_crowded, none)
