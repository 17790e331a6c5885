// SPDX-License-Identifier: MIT
// parked_gaps.c: mutators fill gaps in leaf blocks beside pages whose contents are away (gc.filled); and what is away asks for no memory (gc.parked-pace). Beside parked.c.

#include <criterion/criterion.h>
#include <sched.h>
#include "tests/runtime/world.h" // first: parker.h
#include "tests/runtime/parker.h"

static parker p;

// Named roots lead to everything, so that no stack has to: texts, and those that are made beside parked pages.
static char ***cold, ***hot;

static bool parked_start(const char *back_end) {
  if (!start((veil_options){.back_end = back_end, .limit = 128 * MIB, .generations = VEIL_GENERATIONS_OFF, .verify = 2})) {
    return false;
  }
  static char **roots[2];
  memset(roots, 0, sizeof roots);
  cold = &roots[0];
  hot = &roots[1];
  veil_add_roots(heap, (void *)roots, 2);
  parker_open(&p, heap, false);
  return true;
}

static void parked_end(void) {
  parker_close(&p);
  veil_remove_roots(heap, (void *)cold);
  end();
}

static __attribute__((noinline)) void collect(int times) {
  for (int i = 0; i < times; i++) {
    stack_clear();
    veil_collect(self);
  }
}

static bool refuses(const void *object, veil_park_refusal why) {
  uint64_t before = veil_heap_parks(heap).refused[why];
  bool taken = parker_take(&p, parker_page(&p, object));
  return !taken && veil_heap_parks(heap).refused[why] == before + 1;
}

enum { TEXTS = 12000, TEXT = 200, MORE = 3000 };

static char *text_new(veil_thread *t, int i) {
  char *text = veil_new_bytes(t, TEXT);
  memset(text, i % 100, TEXT);
  memcpy(text, &i, sizeof i);
  return text;
}

static bool text_is(const char *text, int i) { return memcmp(text, &i, sizeof i) == 0 && text[sizeof i] == i % 100 && text[TEXT - 1] == i % 100; }

// Of pages with odd numbers one text in sixteen lives, and all others are parked.
static __attribute__((noinline)) void texts_make(void) {
  *cold = (char **)veil_new_pointers(self, TEXTS);
  for (int i = 0; i < TEXTS; i++) {
    (*cold)[i] = text_new(self, i);
  }
}

static __attribute__((noinline)) size_t texts_take(void) {
  size_t taken = 0;
  for (int i = 0; i < TEXTS; i++) {
    size_t page = parker_page(&p, (*cold)[i]);
    if (page % 2 == 0) {
      taken += parker_take(&p, page);
    } else if (i % 16 != 0) {
      (*cold)[i] = NULL;
    }
  }
  return taken;
}

static bool is_beside_parked(const void *object) {
  size_t pages = 65536 / p.pages.page_size, first = parker_page(&p, object) / pages * pages;
  bool any = false;
  for (size_t page = first; page < first + pages; page++) {
    any |= atomic_load(&p.state[page]) == PAGE_AWAY;
  }
  return any;
}

static __attribute__((noinline)) void texts_check(void) {
  for (int i = 0; i < TEXTS; i++) {
    char *text = (*cold)[i];
    cr_assert(text == NULL || parker_is_away(&p, text) || text_is(text, i), "text %d", i);
  }
  for (int i = 0; *hot != NULL && i < MORE; i++) {
    char *text = (*hot)[i];
    cr_assert(text == NULL || text_is(text, TEXTS + i), "new text %d", i);
  }
}

enum { ROUNDS = 40, BORN = 6 };

// Cycles begin while a buffer lies in a gap, and go on while texts are born in the rest of it (gc.tlab).
static __attribute__((noinline)) void texts_meet(void) {
  for (int round = 0; round < ROUNDS; round++) {
    uint64_t cycles = stats_of(heap).major_cycles;
    (*hot)[round * BORN] = text_new(self, TEXTS + round * BORN);
    veil_service_cycle(p.service);
    while (stats_of(heap).major_cycles == cycles) {
      sched_yield();
    }
    for (int i = round * BORN + 1; i < (round + 1) * BORN; i++) {
      (*hot)[i] = text_new(self, TEXTS + i);
    }
    collect(1);
    texts_check();
  }
}

static __attribute__((noinline)) size_t texts_fill(void) {
  size_t beside = 0;
  for (int i = 0; i < MORE; i++) {
    (*hot)[i] = text_new(self, TEXTS + i);
    beside += is_beside_parked((*hot)[i]);
  }
  cr_assert(refuses((*hot)[MORE - 1], VEIL_PARK_FRESH), "somebody fills the page");
  return beside;
}

ON_TRAPPING_BACK_ENDS(parked, gaps_in_leaf_blocks_are_filled_beside_parked_pages) {
  if (!parked_start(back_end)) {
    cr_skip_test("the back end does not work here");
  }
  texts_make();
  *hot = (char **)veil_new_pointers(self, MORE);
  collect(2);
  size_t taken = texts_take();
  cr_assert_gt(taken, TEXTS * TEXT / p.pages.page_size / 3);
  collect(1);
  size_t beside = texts_fill();
  cr_assert_gt(beside, MORE * 3 / 4, "%zu of %d", beside, MORE);
  texts_check();
  texts_meet();
  texts_check();
  collect(2);
  texts_check();
  cr_assert(parker_absents(&p) == 0, "%lu came back", parker_absents(&p));
  cr_assert_gt(parker_take_range(&p, parker_page(&p, (*hot)[0]), 1) + parker_is_away(&p, (*hot)[0]), 0, "its page is nobody's any more");
  parked_end();
}
