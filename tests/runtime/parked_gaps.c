// SPDX-License-Identifier: MIT
// parked_gaps.c: mutators fill gaps in leaf blocks beside pages whose contents are away (gc.filled); and what is away asks for no memory (gc.parked-pace). Beside parked.c.

#include <criterion/criterion.h>
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

static atomic_bool texts_end;
static atomic_ulong texts_beside; // made in a gap while a cycle may have been under way

// Holds all it makes for a round, so that cycles begin and end while it has a buffer in a gap.
static void *texts_main(void *unused) {
  veil_thread *t = veil_attach(heap);
  for (int i = 0; !atomic_load(&texts_end); i = (i + 1) % MORE) {
    char *old = ((char *volatile *)*hot)[i];
    EXPECT(old == NULL || text_is(old, TEXTS + i));
    char *text = text_new(t, TEXTS + i);
    atomic_fetch_add(&texts_beside, is_beside_parked(text));
    ((char *volatile *)*hot)[i] = text;
  }
  veil_detach(t);
  return unused;
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
  pthread_t thread = thread_start(texts_main, NULL);
  for (int round = 0; round < 60; round++) {
    collect(1);
  }
  atomic_store(&texts_end, true);
  cr_assert_gt(atomic_load(&texts_beside), MORE, "%lu", atomic_load(&texts_beside));
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  texts_check();
  collect(2);
  texts_check();
  cr_assert(parker_absents(&p) == 0, "%lu came back", parker_absents(&p));
  cr_assert_gt(parker_take_range(&p, parker_page(&p, (*hot)[0]), 1) + parker_is_away(&p, (*hot)[0]), 0, "its page is nobody's any more");
  parked_end();
}
