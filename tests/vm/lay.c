// SPDX-License-Identifier: MIT
// lay.c: a claim laid on many runs of pages with everybody stopped: what is claimed, what stays open, and whom Dirty tells what. The world is this thread.

#include "vm_test.h"
#include "vm/backend.h"

#include <criterion/criterion.h>

enum { PAGES = WORLD_BYTES / 4096, EVERY = 3, LAID = (PAGES + EVERY - 1) / EVERY, WATCHED = 600 };

static struct world w;
static struct pages got;
static vm_laying laying;

static bool rests(void *arg, size_t page) { return page % 2 == 0; }

static void world_fill(const char *back_end) {
  world_open(&w, back_end);
  w.region->config.rests = rests;
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_open(w.region, 0, PAGES);
  for (size_t page = 0; page < PAGES; page++) {
    *view_word(&w, page) = (long)page + 1;
  }
}

// Every third page; of the first chunk, runs of two as well.
static bool is_laid(size_t page) { return page % EVERY == 0 || (page < 512 && page % EVERY == 1); }

static size_t lay_some(unsigned claim, unsigned known) {
  size_t laid = 0;
  vm_quiesce(w.region);
  vm_lay_begin(&laying, w.region, claim, known);
  for (size_t page = 0; page < PAGES; page++) {
    laid += is_laid(page) ? vm_lay(&laying, page, 1) : 0;
  }
  vm_lay_end(&laying);
  vm_resume(w.region);
  return laid;
}

static size_t pages_laid(void) {
  size_t laid = 0;
  for (size_t page = 0; page < PAGES; page++) {
    laid += is_laid(page);
  }
  return laid;
}

static size_t ask(int consumer) {
  got.n = 0;
  size_t n = vm_dirty(w.region, consumer, 0, PAGES, pages_add, &got);
  cr_assert_eq(n, got.n);
  return n;
}

static bool was_told(size_t page) {
  for (size_t i = 0; i < got.n; i++) {
    if (got.page[i] == page) {
      return true;
    }
  }
  return false;
}

// What is laid is in the words, and in the view; nothing else is.
static void laid_check(unsigned claim) {
  for (size_t page = 0; page < PAGES; page++) {
    unsigned access = w.region->word[page] & VM_ACCESS;
    cr_assert_eq(vm_claims(w.region, page) & claim, is_laid(page) ? claim : 0, "page %zu", page);
    cr_assert_eq(access & ~vm_claim_allows(w.region, w.region->word[page]), 0, "page %zu", page);
    cr_assert_eq(w.region->word[page] & (VM_BUSY | VM_LAYING | VM_HELPERS | VM_WAIT), 0);
    if (!is_laid(page)) {
      cr_assert_eq(access, VM_ACCESS, "page %zu", page);
    } else if (w.region->traps && !w.region->back_end->pager && (w.region->back_end->forbid_read & claim)) {
      cr_assert_not(os_readable(vm_page_view(w.region, page)), "page %zu", page);
    }
  }
}

static void every_page_traps_once(unsigned claim) {
  for (int round = 0; round < 2; round++) {
    for (size_t page = 0; page < PAGES; page++) {
      cr_assert_eq(*view_word(&w, page), (long)page + 1);
      (*view_word(&w, page))++;
      (*view_word(&w, page))--;
      cr_assert_eq(w.page_settled[page], is_laid(page), "page %zu", page);
    }
    cr_assert_eq(world_settled(&w, claim), pages_laid());
    cr_assert_geq(world_traps(&w), pages_laid());
    cr_assert_leq(world_traps(&w), 2 * pages_laid());
  }
}

ON_TRAPPING_BACK_ENDS(lay, each_unsaved_page_traps_once_and_others_stay_open) {
  world_fill(back_end);
  cr_assert_eq(lay_some(VM_UNSAVED, 0), pages_laid());
  laid_check(VM_UNSAVED);
  every_page_traps_once(VM_UNSAVED);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(lay, each_unscanned_page_traps_once_and_others_stay_open) {
  world_fill(back_end);
  cr_assert_eq(lay_some(VM_UNSCANNED, 0), pages_laid());
  laid_check(VM_UNSCANNED);
  every_page_traps_once(VM_UNSCANNED);
  world_close(&w);
}

ON_ALL_BACK_ENDS(lay, what_carries_the_claim_keeps_it_and_is_not_counted) {
  world_fill(back_end);
  vm_prot(w.region, 0, 12, VM_UNSAVED, 0); // eight of them are laid
  vm_prot(w.region, 100, 100, VM_ABSENT, 0);
  cr_assert_eq(lay_some(VM_UNSAVED, 0), pages_laid() - 8);
  cr_assert_eq(lay_some(VM_UNSAVED, 0), 0);
  for (size_t page = 0; page < PAGES; page++) {
    cr_assert_eq(vm_claims(w.region, page) & VM_UNSAVED, is_laid(page) || page < 12 ? VM_UNSAVED : 0);
    cr_assert_eq(vm_claims(w.region, page) & VM_ABSENT, page >= 100 && page < 200 ? VM_ABSENT : 0);
  }
  vm_settle(w.region, 102, VM_UNSAVED, true, true); // contents come back first
  cr_assert(world_settled(&w, VM_ABSENT) == 1 && world_settled(&w, VM_UNSAVED) == 1);
  world_close(&w);
}

ON_ALL_BACK_ENDS(lay, pages_without_memory_or_never_opened_get_the_claim) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 40));
  vm_open(w.region, 0, 10);
  unsigned calls_before = 0;
#ifdef VEIL_FULL_CHECKS
  calls_before = os_calls();
#endif
  vm_lay_begin(&laying, w.region, VM_UNSAVED, 0);
  cr_assert_eq(vm_lay(&laying, 10, 20), 20);
  cr_assert_eq(vm_lay(&laying, 100, 20), 20);
  vm_lay_end(&laying);
#ifdef VEIL_FULL_CHECKS
  cr_assert_eq(os_calls(), calls_before, "nothing was open");
#endif
  (void)calls_before;
  *view_word(&w, 35) = 1;
  if (w.region->traps) {
    *view_word(&w, 15) = 1;
    cr_assert_eq(world_settled(&w, VM_UNSAVED), 1);
  }
  world_close(&w);
}

// ---- Dirty.

ON_TRAPPING_BACK_ENDS(lay, consumers_are_told_of_what_was_written_before_and_after) {
  world_fill(back_end);
  int saves = vm_dirty_open(w.region), asks = vm_dirty_open(w.region);
  ask(saves);
  ask(asks);
  for (size_t page = 0; page < WATCHED; page++) {
    *view_word(&w, page) = -1;
  }
  cr_assert_eq(ask(saves), WATCHED);
  lay_some(VM_UNSAVED, 1u << saves);
  cr_assert_eq(ask(saves), 0, "%zu pages", got.n);
  size_t perhaps = 0; // those that the system may have written
  for (size_t page = WATCHED; page < PAGES; page++) {
    perhaps += w.region->kernel_dirty && is_laid(page) && !rests(NULL, page);
  }
  cr_assert_eq(ask(asks), WATCHED + perhaps, "%zu pages", got.n);
  cr_assert_eq(ask(asks), 0, "%zu pages", got.n);
  for (size_t page = 0; page < WATCHED; page++) {
    cr_assert_eq(*view_word(&w, page), -1); // opens, and is no write
  }
  cr_assert_eq(ask(saves), 0, "%zu pages", got.n);
  cr_assert_eq(ask(asks), 0, "%zu pages", got.n);
  for (size_t page = 0; page < PAGES; page += 100) {
    *view_word(&w, page) = -2;
  }
  cr_assert_eq(ask(saves), (PAGES + 99) / 100);
  cr_assert_eq(ask(asks), (PAGES + 99) / 100);
  cr_assert(was_told(0) && was_told(100) && was_told(300));
  world_close(&w);
}

// The system may write a page that does not rest at any time: here, between the harvest and the end of access.
ON_TRAPPING_BACK_ENDS(lay, what_the_system_writes_meanwhile_is_told_to_all_who_do_not_save_it) {
  enum { RESTS = 6, WRITTEN_ANYTIME = 9 }; // both are laid
  world_fill(back_end);
  int saves = vm_dirty_open(w.region), asks = vm_dirty_open(w.region);
  ask(asks);
  ask(saves);
  *view_word(&w, WRITTEN_ANYTIME) = -1;
  lay_some(VM_UNSAVED, 1u << saves);
  (void)*view_word(&w, RESTS);
  (void)*view_word(&w, WRITTEN_ANYTIME); // and is mapped armed
  ask(asks);
  cr_assert(was_told(WRITTEN_ANYTIME), "a write was lost");
  cr_assert_not(was_told(RESTS));
  if (w.region->kernel_dirty) {
    cr_assert_eq(ask(saves), 0, "it finds it when it saves the page");
  }
  world_close(&w);
}

// A harvest after the lay is not misled by pages that have no entry in the page tables.
ON_TRAPPING_BACK_ENDS(lay, pages_that_are_released_laid_and_laid_again_tell_no_lies) {
  world_fill(back_end);
  int consumer = vm_dirty_open(w.region);
  ask(consumer);
  lay_some(VM_UNSAVED, 1u << consumer);
  cr_assert_eq(ask(consumer), 0, "%zu pages", got.n);
  vm_unprot(w.region, 0, PAGES, VM_UNSAVED);
  cr_assert_eq(ask(consumer), 0, "%zu pages", got.n);
  *view_word(&w, 3) = -1;
  cr_assert_eq(ask(consumer), 1);
  lay_some(VM_UNSAVED, 1u << consumer);
  cr_assert_eq(ask(consumer), 0, "%zu pages", got.n);
  vm_release(w.region, 0, PAGES);
  cr_assert_eq(vm_held(w.region), 0);
  cr_assert(vm_commit(w.region, 0, PAGES));
  cr_assert_eq(*view_word(&w, 3), 0);
  world_close(&w);
}

// ---- With seals.

Test(lay, what_is_sealed_needs_no_call_and_may_be_read) {
  if (!back_end_works("uffd")) {
    cr_skip_test("no uffd here");
  }
  bool busy;
  world_fill("uffd");
  vm_move *move = vm_move_open(w.region, &busy);
  cr_assert_not_null(move);
  cr_assert(vm_move_seal(move));
  vm_move_plan(move);
  vm_move_lay(move, 0, PAGES, VM_UNSAVED);
  vm_move_run(move, PAGES, 0);
  while (vm_move_tell(move)) {
  }
  vm_move_close(move);
  for (size_t page = 0; page < PAGES; page++) {
    vm_settle(w.region, page, VM_UNSAVED, false, false);
  }
  cr_assert_eq(world_settled(&w, VM_UNSAVED), PAGES);
  cr_assert_eq(lay_some(VM_UNSAVED, 0), pages_laid());
  for (size_t page = 0; page < PAGES; page++) {
    cr_assert_eq(*view_word(&w, page), (long)page + 1);
  }
  cr_assert_eq(world_settled(&w, VM_UNSAVED), PAGES);
  for (size_t page = 0; page < PAGES; page++) {
    *view_word(&w, page) = -1;
    cr_assert_eq(w.page_settled[page], 1 + (uint32_t)is_laid(page));
  }
  vm_unsealing at = {0};
  while (vm_unseal_some(w.region, &at)) {
  }
  cr_assert_not(vm_is_sealed(w.region));
  world_close(&w);
}

// ---- Mistakes, and failures of the system's.

Test(lay, a_claim_that_is_not_one_aborts, .signal = SIGABRT) {
  world_open(&w, "none");
  vm_lay_begin(&laying, w.region, VM_CLEAN, 0);
}

Test(lay, pages_out_of_range_abort, .signal = SIGABRT) {
  world_open(&w, "none");
  vm_lay_begin(&laying, w.region, VM_UNSAVED, 0);
  vm_lay(&laying, PAGES - 1, 2);
}

#ifdef VEIL_FULL_CHECKS
static unsigned calls_of_a_lay(const char *back_end, unsigned n) {
  world_fill(back_end);
  int saves = vm_dirty_open(w.region), asks = vm_dirty_open(w.region);
  ask(asks);
  ask(saves);
  *view_word(&w, 9) = -1;
  unsigned before = os_calls();
  os_fail_at(n);
  lay_some(VM_UNSAVED, 1u << saves);
  unsigned calls = os_calls() - before;
  os_fail_at(0);
  for (size_t page = 0; page < PAGES; page++) {
    cr_assert_eq(vm_claims(w.region, page) & VM_UNSAVED, is_laid(page) ? VM_UNSAVED : 0);
    if (is_laid(page) && !w.region->back_end->pager && (w.region->back_end->forbid_read & VM_UNSAVED)) {
      cr_assert_not(os_readable(vm_page_view(w.region, page)), "page %zu, call %u", page, n);
    }
  }
  for (size_t page = 0; page < PAGES; page++) {
    *view_word(&w, page) = -2;
    cr_assert_eq(w.page_settled[page], is_laid(page), "page %zu, call %u", page, n);
  }
  ask(asks);
  cr_assert(was_told(9) && was_told(0));
  world_close(&w);
  return calls;
}

ON_TRAPPING_BACK_ENDS(lay, the_nth_call_fails) {
  unsigned calls = calls_of_a_lay(back_end, 0), several = pages_laid() / VM_LAY_RUNS;
  if (w.region != NULL && strcmp(back_end, "mprotect") != 0) {
    cr_assert_lt(calls, 8 * several, "%u calls", calls);
  }
  for (unsigned n = 1; n < calls + 2 && n < 40; n++) {
    calls_of_a_lay(back_end, n);
  }
}
#endif
