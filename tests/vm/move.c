// SPDX-License-Identifier: MIT
// move.c: page tables of a whole region moved away: what is claimed, what Dirty tells afterwards, and to whom.

#include "vm_test.h"
#include "vm/backend.h"

#include <criterion/criterion.h>

enum { CHUNK = VM_HUGE / 4096, PAGES = WORLD_BYTES / 4096 };

static struct world w;
static struct pages got;
static bool busy;

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

// The world is this thread. Lays UNSAVED on [0, claimed) and moves everything but the chunk of `spared`, if it is a page.
static void move_all(size_t claimed, size_t spared, unsigned known) {
  vm_move *move = vm_move_open(w.region, &busy);
  cr_assert_not_null(move);
  if (spared < PAGES) {
    vm_move_spare(move, spared);
  }
  vm_move_plan(move);
  for (size_t page = 0; page < PAGES; page++) {
    if (!vm_moves(move, page)) {
      continue;
    }
    vm_move_lay(move, page, 1, page < claimed ? VM_UNSAVED : 0);
    for (int consumer = 0; consumer < 8; consumer++) {
      if (known & 1u << consumer) {
        vm_move_know(move, page, 1, consumer);
      }
    }
  }
  vm_quiesce(w.region);
  vm_move_run(move, PAGES, known);
  vm_resume(w.region);
  while (vm_move_tell(move)) {
  }
  vm_move_close(move);
}

static void world_fill(const char *back_end) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_open(w.region, 0, PAGES);
  for (size_t page = 0; page < PAGES; page++) {
    *view_word(&w, page) = (long)page + 1;
  }
}

#define ON_BOTH(NAME)                                                                                                  \
  static void NAME(const char *back_end);                                                                              \
  Test(move, NAME##_on_uffd, .timeout = 60) {                                                                          \
    if (!back_end_works("uffd")) {                                                                                     \
      cr_skip_test("the back end does not work here");                                                                 \
    }                                                                                                                  \
    NAME("uffd");                                                                                                      \
  }                                                                                                                    \
  Test(move, NAME##_on_uffd_kernel, .timeout = 60) {                                                                   \
    if (!back_end_works("uffd-kernel")) {                                                                              \
      cr_skip_test("the back end does not work here");                                                                 \
    }                                                                                                                  \
    NAME("uffd-kernel");                                                                                               \
  }                                                                                                                    \
  static void NAME(const char *back_end)

ON_BOTH(each_claimed_page_traps_once_and_others_only_open) {
  world_fill(back_end);
  move_all(PAGES / 2, PAGES, 0);
  for (int round = 0; round < 2; round++) {
    for (size_t page = 0; page < PAGES; page++) {
      cr_assert_eq(*view_word(&w, page), (long)page + 1);
      (*view_word(&w, page))++;
      (*view_word(&w, page))--;
    }
    cr_assert_eq(world_settled(&w, VM_UNSAVED), PAGES / 2);
    cr_assert_eq(world_traps(&w), PAGES);
  }
  world_close(&w);
}

ON_BOTH(a_chunk_that_is_spared_stays_open) {
  world_fill(back_end);
  move_all(PAGES, 3 * CHUNK + 5, 0);
  for (size_t page = 0; page < PAGES; page++) {
    cr_assert_eq(vm_is_open(w.region, page), page / CHUNK == 3);
  }
  cr_assert(os_readable(vm_page_view(w.region, 3 * CHUNK)));
  cr_assert_eq(world_traps(&w), 0);
  world_close(&w);
}

ON_BOTH(what_was_written_before_is_told_to_those_who_do_not_know_it) {
  world_fill(back_end);
  int knows = vm_dirty_open(w.region), asks = vm_dirty_open(w.region);
  ask(knows);
  ask(asks);
  for (size_t page = 10; page < PAGES; page += 100) {
    *view_word(&w, page) = -1;
  }
  move_all(PAGES, PAGES, 1u << knows);
  cr_assert_eq(ask(knows), 0, "%zu pages", got.n);
  cr_assert_eq(ask(asks), (PAGES - 10 + 99) / 100);
  cr_assert(was_told(10) && was_told(110));
  cr_assert_eq(ask(asks), 0);
  (void)*view_word(&w, 20);
  *view_word(&w, 30) = -1;
  *view_word(&w, 10) = -2;
  cr_assert_eq(ask(knows), 2, "%zu pages", got.n);
  cr_assert(was_told(30) && was_told(10));
  cr_assert_eq(ask(asks), 2);
  world_close(&w);
}

ON_BOTH(a_harvest_meanwhile_finds_what_was_moved) {
  world_fill(back_end);
  int consumer = vm_dirty_open(w.region);
  ask(consumer);
  *view_word(&w, 77) = -1;
  vm_move *move = vm_move_open(w.region, &busy);
  cr_assert_not_null(move);
  vm_move_plan(move);
  vm_move_run(move, 0, 0);
  cr_assert(vm_move_open(w.region, &busy) == NULL && busy, "one at a time");
  *view_word(&w, 99) = -1;
  cr_assert_eq(ask(consumer), 2, "%zu pages", got.n);
  cr_assert(was_told(77) && was_told(99));
  cr_assert_eq(ask(consumer), 0);
  while (vm_move_tell(move)) {
  }
  vm_move_close(move);
  cr_assert_eq(ask(consumer), 0);
  world_close(&w);
}

ON_BOTH(pages_that_are_opened_and_veiled_again_lose_no_write) {
  world_fill(back_end);
  int consumer = vm_dirty_open(w.region);
  ask(consumer);
  move_all(PAGES, PAGES, 1u << consumer);
  *view_word(&w, 5) = -1;
  vm_prot(w.region, 0, 10, VM_UNSCANNED, 0);
  cr_assert_eq(ask(consumer), 1, "%zu pages", got.n);
  cr_assert(was_told(5));
  move_all(PAGES, PAGES, 0);
  move_all(PAGES, PAGES, 0); // what was never opened in between
  cr_assert_eq(ask(consumer), 0, "%zu pages", got.n);
  world_close(&w);
}

ON_BOTH(pages_can_be_reopened_without_a_trap) {
  world_fill(back_end);
  move_all(100, PAGES, 0);
  vm_reopen(w.region, 0, PAGES);
  for (size_t page = 100; page < PAGES; page++) {
    cr_assert_eq(*view_word(&w, page), (long)page + 1);
  }
  cr_assert_eq(world_traps(&w), 0);
  cr_assert_not(vm_is_open(w.region, 99));
  world_close(&w);
}

ON_BOTH(released_memory_is_gone_from_what_was_moved_too) {
  world_fill(back_end);
  vm_move *move = vm_move_open(w.region, &busy);
  cr_assert_not_null(move);
  vm_move_plan(move);
  vm_move_run(move, 0, 0);
  vm_release(w.region, 0, PAGES);
  cr_assert_eq(vm_held(w.region), 0);
  cr_assert(vm_commit(w.region, 0, PAGES));
  cr_assert_eq(*view_word(&w, 7), 0);
  while (vm_move_tell(move)) {
  }
  vm_move_close(move);
  world_close(&w);
}

ON_BOTH(a_move_that_is_not_made_changes_nothing) {
  world_fill(back_end);
  vm_move *move = vm_move_open(w.region, &busy);
  cr_assert_not_null(move);
  vm_move_close(move);
  *view_word(&w, 7) = 1;
  cr_assert_eq(world_traps(&w), 0);
  world_close(&w);
}

Test(move, other_back_ends_have_none) {
  static const char *const others[] = {"mprotect", "none"};
  for (int i = 0; i < 2; i++) {
    world_open(&w, others[i]);
    cr_assert_null(vm_move_open(w.region, &busy));
    cr_assert_not(busy);
    world_close(&w);
  }
}

#ifdef VEIL_FULL_CHECKS
// Each call of the system's fails in turn: claims are laid all the same, and no write is lost.
ON_BOTH(the_nth_call_fails) {
  for (unsigned n = 1; n < 40; n++) {
    world_fill(back_end);
    int consumer = vm_dirty_open(w.region);
    ask(consumer);
    *view_word(&w, 50) = -1;
    os_fail_at(n);
    vm_move *move = vm_move_open(w.region, &busy);
    if (move != NULL) {
      vm_move_plan(move);
      vm_move_lay(move, 0, PAGES, VM_UNSAVED);
      vm_move_run(move, PAGES, 0);
      while (vm_move_tell(move)) {
      }
      vm_move_close(move);
    }
    os_fail_at(0);
    ask(consumer);
    cr_assert(was_told(50), "call %u", n);
    *view_word(&w, 60) = -1;
    cr_assert_eq(world_settled(&w, VM_UNSAVED), move != NULL);
    ask(consumer);
    cr_assert(was_told(60), "call %u", n);
    world_close(&w);
  }
}
#endif
