// SPDX-License-Identifier: MIT
// inject.c: the n-th call to the system fails, for every n. No crash, no leak, a clear error.

#include "vm_test.h"

#include <criterion/criterion.h>
#include <dirent.h>

#ifdef VEIL_FULL_CHECKS

static char why[300];

static size_t open_files(void) {
  size_t n = 0;
  DIR *directory = opendir("/proc/self/fd");
  while (readdir(directory) != NULL) {
    n++;
  }
  closedir(directory);
  return n;
}

// Mappings of memory files, which are what a region that was forgotten would leave.
static size_t memory_mappings(void) {
  char line[512];
  size_t n = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  while (fgets(line, sizeof line, maps) != NULL) {
    n += strstr(line, "memfd:veil") != NULL;
  }
  fclose(maps);
  return n;
}

ON_ALL_BACK_ENDS(inject, a_failing_call_while_opening_is_an_error_and_leaks_nothing) {
  size_t files = open_files();
  cr_assert_eq(memory_mappings(), 0);
  unsigned failed = 0, n;
  for (n = 1; n < 1000; n++) {
    vm_region_config config = {.bytes = 2 << 20, .page_shift = 12, .back_end = back_end, .settle = world_settle};
    vm_region *region;
    unsigned before = os_calls();
    os_fail_at(n);
    vm_status status = vm_region_open(&config, &region, why, sizeof why);
    os_fail_at(0);
    if (status == VM_OK) {
      vm_region_close(region);
    } else {
      failed++;
      cr_assert_null(region);
      cr_assert_neq(why[0], 0, "call %u failed without a reason", n);
    }
    cr_assert_eq(open_files(), files, "call %u leaks a file: %s", n, why);
    cr_assert_eq(memory_mappings(), 0, "call %u leaks a mapping: %s", n, why);
    if (os_calls() - before < n) {
      break; // there is no n-th call
    }
  }
  cr_assert(n > 5 && n < 1000 && failed >= 4, "%u calls, %u failures", n, failed);
}

Test(inject, a_failing_call_makes_the_choice_fall_on_another_back_end) {
  unsetenv("VEIL_VM");
  vm_region_config config = {.bytes = 2 << 20, .page_shift = 12, .settle = world_settle};
  vm_region *region;
  if (!back_end_works("uffd")) {
    cr_skip_test("no uffd here");
  }
  for (unsigned n = 1; n < 8; n++) {
    os_fail_at(n);
    cr_assert_eq(vm_region_open(&config, &region, why, sizeof why), VM_OK);
    os_fail_at(0);
    cr_assert_str_neq(vm_region_back_end(region), "uffd");
    cr_assert_neq(why[0], 0);
    vm_region_close(region);
  }
}

static struct world w;
static struct pages got;

// A short life of a region in which the n-th call fails. How many calls there were.
static unsigned live(const char *back_end, unsigned n) {
  world_open(&w, back_end);
  unsigned before = os_calls();
  os_fail_at(n);
  if (!vm_commit(w.region, 0, 32)) {
    cr_assert_eq(vm_held(w.region), 0);
    cr_assert(vm_commit(w.region, 0, 32));
  }
  int c = vm_dirty_open(w.region);
  vm_open(w.region, 0, 16);
  vm_prot(w.region, 4, 8, VM_UNSCANNED, 0);
  vm_prot(w.region, 20, 1, VM_UNSAVED, 0);
  for (size_t i = 0; i < 32; i++) {
    *view_word(&w, i) = (long)i;
  }
  got.n = 0;
  cr_assert_eq(vm_dirty(w.region, c, 0, 32, pages_add, &got), 32);
  *view_word(&w, 9) = 9;
  *view_word(&w, 10) = 10;
  vm_prot(w.region, 8, 2, VM_UNSCANNED, 0);
  (void)*view_word(&w, 9);
  got.n = 0;
  vm_dirty(w.region, c, 0, 32, pages_add, &got);
  bool told[32] = {0};
  for (size_t i = 0; i < got.n; i++) {
    told[got.page[i]] = true;
  }
  cr_assert(told[9] && told[10], "a write was lost");
  vm_unprot(w.region, 8, 2, VM_UNSCANNED);
  for (size_t i = 0; i < 32; i++) {
    cr_assert_eq(*view_word(&w, i), (long)i);
  }
  vm_dirty_close(w.region, c);
  vm_release(w.region, 0, 16);
  unsigned calls = os_calls() - before;
  os_fail_at(0);
  cr_assert(vm_commit(w.region, 0, 16));
  for (size_t i = 0; i < 16; i++) {
    cr_assert_eq(*view_word(&w, i), 0);
  }
  cr_assert(!w.region->traps || w.page_settled[20] == 1);
  world_close(&w);
  return calls;
}

ON_ALL_BACK_ENDS(inject, a_failing_call_later_is_made_good) {
  unsigned n = 0;
  do {
    n++;
  } while (live(back_end, n) >= n);
  cr_assert_gt(n, 2);
}

#endif
