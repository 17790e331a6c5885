// SPDX-License-Identifier: MIT
// claims.c: Trap, Prot1, ProtN, Unprot, stamps, taking and giving, by one thread.

#include "vm_test.h"

#include <criterion/criterion.h>

static struct world w;

ON_TRAPPING_BACK_ENDS(claims, a_touch_of_a_veiled_page_settles_and_opens_it) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 8));
  *alias_word(&w, 3) = 42;
  cr_assert_eq(vm_prot(w.region, 3, 1, VM_UNSCANNED, 0), 1);
  cr_assert_eq(*view_word(&w, 3), 42);
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), 1);
  cr_assert_eq(w.page_settled[3], 1);
  cr_assert_eq(vm_claims(w.region, 3), 0);
  uint64_t traps = world_traps(&w);
  *view_word(&w, 3) = 43;
  cr_assert_eq(world_traps(&w), traps, "the second touch traps too");
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(claims, an_open_page_can_be_veiled_again) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 8));
  for (uint32_t round = 1; round <= 20; round++) {
    *view_word(&w, 2) = round;
    cr_assert_eq(vm_prot(w.region, 2, 1, VM_UNSCANNED, 0), 1);
    cr_assert_eq(vm_prot(w.region, 2, 1, VM_UNSCANNED, 0), 0, "laid twice");
    cr_assert_eq(*view_word(&w, 2), round);
    cr_assert_eq(world_settled(&w, VM_UNSCANNED), round);
  }
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(claims, many_pages_can_be_veiled_at_once) {
  enum { PAGES = 3000 };
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_open(w.region, 0, PAGES);
  cr_assert_eq(vm_prot(w.region, 10, 1, VM_UNSCANNED, 0), 1);
  cr_assert_eq(vm_prot(w.region, 0, PAGES, VM_UNSCANNED, 0), PAGES - 1);
  for (size_t i = 0; i < PAGES; i++) {
    size_t page = i * 1009 % PAGES;
    *view_word(&w, page) = (long)page;
    cr_assert_eq(w.page_settled[page], 1);
  }
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), PAGES);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(claims, an_unveiled_page_opens_without_being_settled) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 8));
  vm_prot(w.region, 0, 8, VM_UNSCANNED, 0);
  vm_prot(w.region, 4, 1, VM_ABSENT, 0);
  vm_unprot(w.region, 0, 8, VM_UNSCANNED);
  for (size_t i = 0; i < 8; i++) {
    *view_word(&w, i) = 1;
  }
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), 0);
  cr_assert_eq(world_traps(&w), 1, "of page 4 alone");
  cr_assert_eq(world_settled(&w, VM_ABSENT), 1);
  world_close(&w);
}

static unsigned order[8];
static size_t orders;
static void note_order(struct world *world, size_t page, unsigned claim, bool write) { order[orders++] = claim; }

ON_TRAPPING_BACK_ENDS(claims, claims_are_settled_in_their_order) {
  world_open(&w, back_end);
  w.also = note_order;
  orders = 0;
  cr_assert(vm_commit(w.region, 0, 1));
  vm_prot(w.region, 0, 1, VM_UNSCANNED, 0);
  vm_prot(w.region, 0, 1, VM_UNSAVED, 0);
  vm_prot(w.region, 0, 1, VM_ABSENT, 0);
  cr_assert_eq(*view_word(&w, 0), 0);
  // Even though the touch is a read: a scan writes, so the page has to be saved before it.
  cr_assert_eq(orders, 3);
  cr_assert(order[0] == VM_ABSENT && order[1] == VM_UNSAVED && order[2] == VM_UNSCANNED);
  world_close(&w);
}

Test(claims, an_unsaved_page_can_be_read_with_mprotect) {
  world_open(&w, "mprotect");
  cr_assert(vm_commit(w.region, 0, 1));
  *view_word(&w, 0) = 7;
  vm_prot(w.region, 0, 1, VM_UNSAVED, 0);
  cr_assert_eq(*view_word(&w, 0), 7);
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 0);
  cr_assert_eq(vm_claims(w.region, 0), VM_UNSAVED);
  *view_word(&w, 0) = 8;
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 1);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(claims, an_unsaved_page_is_saved_before_it_is_written) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 4));
  vm_open(w.region, 0, 4);
  vm_prot(w.region, 0, 4, VM_UNSAVED, 0);
  for (size_t i = 0; i < 4; i++) {
    *view_word(&w, i) = 8;
    cr_assert_eq(world_settled(&w, VM_UNSAVED), i + 1);
  }
  world_close(&w);
}

ON_ALL_BACK_ENDS(claims, a_page_is_laid_once_per_stamp) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 8));
  vm_open(w.region, 0, 8);
  cr_assert_eq(vm_prot(w.region, 0, 4, VM_UNSCANNED, 5), 4);
  cr_assert_eq(vm_prot(w.region, 0, 8, VM_UNSCANNED, 5), 4, "the first four have the stamp");
  vm_settle(w.region, 1, VM_UNSCANNED, false, true);
  cr_assert_eq(vm_prot(w.region, 0, 8, VM_UNSCANNED, 5), 0, "a settled page is not laid again");
  cr_assert_eq(vm_claims(w.region, 1), 0);
  cr_assert_eq(vm_prot(w.region, 0, 8, VM_UNSCANNED, 6), 1, "the next stamp lays it");
  vm_settle(w.region, 2, VM_UNSCANNED, false, true);
  vm_stamp(w.region, 0, 8, 0);
  cr_assert_eq(vm_prot(w.region, 0, 8, VM_UNSCANNED, 6), 1, "a cleared stamp lays again");
  world_close(&w);
}

ON_ALL_BACK_ENDS(claims, a_taken_page_is_settled_by_its_taker) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 8));
  vm_prot(w.region, 0, 8, VM_UNSCANNED, 0);
  vm_prot(w.region, 2, 1, VM_ABSENT, 0);
  vm_prot(w.region, 3, 1, VM_UNSAVED, 0);
  for (size_t i = 0; i < 8; i++) {
    cr_assert(vm_take(w.region, i, VM_UNSCANNED));
    cr_assert_not(vm_take(w.region, i, VM_UNSCANNED), "a held page cannot be taken");
    vm_settled(w.region, i, VM_UNSCANNED);
  }
  vm_give(w.region, 0, 8);
  cr_assert_eq(world_settled(&w, VM_ABSENT), 1);
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 1);
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), 0);
  for (size_t i = 0; i < 8; i++) {
    *view_word(&w, i) = 1;
    cr_assert_not(vm_take(w.region, i, VM_UNSCANNED));
  }
  cr_assert_eq(world_traps(&w), 0);
  world_close(&w);
}

ON_ALL_BACK_ENDS(claims, settling_by_call_does_what_a_trap_does) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 4));
  vm_prot(w.region, 0, 4, VM_UNSCANNED, 0);
  vm_prot(w.region, 0, 4, VM_UNSAVED, 0);
  vm_settle(w.region, 0, VM_UNSAVED, true, true);
  cr_assert_eq(vm_claims(w.region, 0), VM_UNSCANNED);
  vm_settle(w.region, 1, VM_UNSCANNED, false, false);
  cr_assert_eq(vm_claims(w.region, 1), 0, "UNSAVED comes first");
  vm_settle(w.region, 2, VM_CLAIMS, false, true);
  cr_assert_eq(vm_claims(w.region, 2), 0);
  uint64_t traps = world_traps(&w);
  *view_word(&w, 2) = 1;
  cr_assert_eq(world_traps(&w), traps);
  vm_settle(w.region, 2, VM_CLAIMS, false, true);
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), 2, "nothing is settled twice");
  world_close(&w);
}

ON_ALL_BACK_ENDS(claims, pages_may_be_larger_than_the_systems) {
  for (unsigned shift = 13; shift <= 16; shift++) {
    world_open_shift(&w, back_end, shift);
    cr_assert(vm_commit(w.region, 0, 16));
    vm_open(w.region, 0, 8);
    vm_prot(w.region, 0, 16, VM_UNSCANNED, 0);
    for (size_t i = 0; i < 16; i++) {
      for (size_t at = 0; at < w.region->page_size; at += 4096) {
        vm_page_view(w.region, i)[at] = (char)i;
      }
      cr_assert(!w.region->traps || w.page_settled[i] == 1);
    }
    cr_assert(!w.region->traps || world_traps(&w) == 16);
    cr_assert_eq(vm_held(w.region), 16 * w.region->page_size);
    world_close(&w);
  }
}

ON_ALL_BACK_ENDS(claims, claims_survive_a_commit) {
  world_open(&w, back_end);
  vm_prot(w.region, 0, 2, VM_UNSCANNED, 0);
  cr_assert(vm_commit(w.region, 0, 2));
  cr_assert_eq(vm_claims(w.region, 1), VM_UNSCANNED);
  vm_open(w.region, 0, 2);
  *view_word(&w, 1) = 1;
  cr_assert(!w.region->traps || world_settled(&w, VM_UNSCANNED) == 1);
  world_close(&w);
}
