// SPDX-License-Identifier: MIT
// idle.c: which pages were touched since they were last asked about.

#include "vm_test.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

static struct world w;
static struct pages got;
enum { PAGES = 600 };

static size_t ask(void) {
  got.n = 0;
  size_t n = vm_idle(w.region, 0, PAGES, NULL, pages_add, &got);
  cr_assert_eq(n, got.n);
  return n;
}

static void begin(const char *back_end) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_open(w.region, 0, PAGES);
  cr_assert_eq(ask(), PAGES, "what came into use was touched");
  cr_assert_eq(ask(), 0);
}

ON_TRAPPING_BACK_ENDS(idle, what_was_touched_is_told_once) {
  begin(back_end);
  uint64_t traps = world_traps(&w);
  for (size_t i = 0; i < PAGES; i += 7) {
    *view_word(&w, i) = (long)i;
  }
  (void)*view_word(&w, 3);
  (void)*view_word(&w, 3);
  cr_assert_eq(world_traps(&w) - traps, (PAGES + 6) / 7 + 1, "one trap for each");
  cr_assert_eq(ask(), (PAGES + 6) / 7 + 1);
  cr_assert(got.page[0] == 0 && got.page[1] == 3 && got.page[2] == 7 && got.page[3] == 14);
  cr_assert_eq(ask(), 0);
  for (size_t i = 0; i < PAGES; i += 7) {
    cr_assert_eq(*view_word(&w, i), (long)i);
  }
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), 0);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(idle, a_part_may_be_asked_for) {
  begin(back_end);
  *view_word(&w, 5) = *view_word(&w, 50) = 1;
  got.n = 0;
  cr_assert_eq(vm_idle(w.region, 0, 20, NULL, pages_add, &got), 1);
  cr_assert_eq(vm_idle(w.region, 20, 100, NULL, pages_add, &got), 1);
  cr_assert(got.page[0] == 5 && got.page[1] == 50);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(idle, a_scan_is_no_touch) {
  begin(back_end);
  *view_word(&w, 2) = 1;
  vm_prot(w.region, 0, 8, VM_UNSCANNED, 0);
  for (size_t i = 0; i < 6; i++) {
    cr_assert(vm_take(w.region, i, VM_UNSCANNED));
    vm_settled(w.region, i, VM_UNSCANNED);
  }
  vm_give(w.region, 0, 6);
  vm_unprot(w.region, 6, 1, VM_UNSCANNED);
  cr_assert_eq(ask(), 1);
  cr_assert_eq(got.page[0], 2);
  (void)*view_word(&w, 7); // grey, and idle
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), 1);
  cr_assert_eq(ask(), 1);
  cr_assert_eq(got.page[0], 7);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(idle, other_claims_stay) {
  begin(back_end);
  vm_prot(w.region, 4, 1, VM_UNSAVED, 0);
  vm_prot(w.region, 5, 1, VM_ABSENT, 0);
  (void)*view_word(&w, 5);
  cr_assert_eq(world_settled(&w, VM_ABSENT), 1);
  *view_word(&w, 4) = 1;
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 1);
  cr_assert_eq(ask(), 2);
  world_close(&w);
}

// Where a page can be read though it is to be saved before it is written, it can be read and be idle, too.
ON_TRAPPING_BACK_ENDS(idle, reading_an_idle_page_saves_nothing_where_reading_does_not) {
  begin(back_end);
  vm_prot(w.region, 4, 1, VM_UNSAVED, 0);
  (void)*view_word(&w, 4);
  cr_assert_eq(world_settled(&w, VM_UNSAVED), vm_forbids_read(w.region, VM_UNSAVED) ? 1 : 0);
  *view_word(&w, 4) = 1;
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 1);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(idle, what_comes_into_use_and_what_is_opened_was_touched) {
  begin(back_end);
  vm_release(w.region, 10, 5);
  cr_assert_eq(ask(), 0);
  cr_assert(vm_commit(w.region, 10, 2));
  vm_open(w.region, 100, 3);
  uint64_t traps = world_traps(&w);
  *view_word(&w, 101) = 1;
  cr_assert_eq(world_traps(&w), traps);
  cr_assert_eq(ask(), 5);
  cr_assert(got.page[0] == 10 && got.page[1] == 11 && got.page[2] == 100 && got.page[4] == 102);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(idle, no_write_is_lost_to_dirty) {
  begin(back_end);
  int c = vm_dirty_open(w.region);
  struct pages dirty = {0};
  vm_dirty(w.region, c, 0, PAGES, pages_add, &dirty);
  dirty.n = 0;
  *view_word(&w, 9) = 1;
  cr_assert_eq(ask(), 1); // its entry goes
  cr_assert_eq(vm_dirty(w.region, c, 0, PAGES, pages_add, &dirty), 1);
  cr_assert_eq(dirty.page[0], 9);
  (void)*view_word(&w, 9);
  (void)*view_word(&w, 30);
  cr_assert_eq(vm_dirty(w.region, c, 0, PAGES, pages_add, &dirty), 0, "it was read only");
  *view_word(&w, 9) = 2;
  *view_word(&w, 31) = 2;
  dirty.n = 0;
  cr_assert_eq(vm_dirty(w.region, c, 0, PAGES, pages_add, &dirty), 2);
  cr_assert(dirty.page[0] == 9 && dirty.page[1] == 31);
  world_close(&w);
}

static bool is_touched(void *arg, size_t page) { return page == 12; }

ON_TRAPPING_BACK_ENDS(idle, what_the_system_uses_stays_open) {
  vm_region_config config = {.bytes = WORLD_BYTES, .page_shift = 12, .back_end = back_end, .settle = world_settle, .arg = &w, .touched = is_touched};
  char why[256];
  memset(&w, 0, sizeof w);
  cr_assert_eq(vm_region_open(&config, &w.region, why, sizeof why), VM_OK, "%s", why);
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_open(w.region, 0, PAGES);
  cr_assert_eq(ask(), PAGES);
  cr_assert_eq(ask(), 1, "it may be touched at any time");
  cr_assert_eq(got.page[0], 12);
  int file = open("/dev/zero", O_RDONLY);
  cr_assert_eq(read(file, (char *)view_word(&w, 12), 100), 100);
  if (strcmp(back_end, "uffd-kernel") != 0) {
    cr_assert_eq(read(file, (char *)view_word(&w, 13), 100), -1, "this is what a touch is for");
  }
  vm_settle(w.region, 13, VM_IDLE | VM_CLEAN, true, true);
  cr_assert_eq(read(file, (char *)view_word(&w, 13), 100), 100);
  close(file);
  world_close(&w);
}

Test(idle, with_none_all_is_told, .timeout = 60) {
  world_open(&w, "none");
  cr_assert(vm_commit(w.region, 0, 8));
  cr_assert_eq(ask(), 8);
  cr_assert_eq(ask(), 8);
  world_close(&w);
}
