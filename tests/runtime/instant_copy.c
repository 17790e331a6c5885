// SPDX-License-Identifier: MIT
// instant_copy.c: instants that copy (VEIL_INSTANT_COPY): what they tell of is all that has changed since the last one, whatever the program and the collector have done.
//
// A shadow has what was told; in each instant all pages in use are compared with it.

#include <criterion/criterion.h>
#include <sys/mman.h>
#include "runtime/runtime.h"
#include "tests/runtime/world.h"
#include "veil/hooks.h"

enum { ROUNDS = 40, KEPT = 400 };

typedef struct shadow {
  veil_service *service;
  veil_pages pages;
  char *contents;
  size_t told, wrong, wrong_page;
} shadow;

static const char *alias_of(const shadow *s, size_t page) { return s->pages.base + s->pages.delta + page * s->pages.page_size; }
static char *shadow_of(const shadow *s, size_t page) { return s->contents + page * s->pages.page_size; }

static void copy(void *arg, size_t page, size_t count) {
  shadow *s = arg;
  memcpy(shadow_of(s, page), alias_of(s, page), count * s->pages.page_size);
  s->told += count;
}

static void compare(void *arg) {
  shadow *s = arg;
  for (size_t page = 0; page < s->pages.count; page++) {
    if (veil_page_in_use(heap, page) && memcmp(shadow_of(s, page), alias_of(s, page), s->pages.page_size) != 0) {
      s->wrong += 1;
      s->wrong_page = page;
    }
  }
}

static void shadow_open(shadow *s) {
  *s = (shadow){.service = veil_service_open(heap, "shadow", &(veil_service_callbacks){0}, NULL), .pages = veil_heap_pages(heap)};
  cr_assert_not_null(s->service, "%s", veil_error());
  s->contents = mmap(NULL, s->pages.count * s->pages.page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  cr_assert_neq(s->contents, MAP_FAILED);
}

static void not_called(void *arg) {
  (void)arg;
  cr_assert_fail("an instant that is none");
}

static void not_told(void *arg, size_t page, size_t count) {
  (void)page, (void)count;
  not_called(arg);
}

// Those that have no instant if there are many pages come first: nothing of them is lost.
static void instant_of_few(const shadow *s, size_t most) {
  const veil_instant_calls calls = {.now = not_told, .at = not_called, .most = most};
  veil_instant_figures figures;
  cr_assert_eq(veil_service_instant(s->service, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH | VEIL_INSTANT_COPY, &calls, (void *)(uintptr_t)s, &figures), VEIL_BUSY);
  cr_assert(figures.claimed == 0 && figures.at_once == 0 && strstr(veil_error(), "pages were written") != NULL, "%s", veil_error());
}

static void instant(shadow *s, unsigned flags) {
  static const veil_instant_calls calls = {.now = copy, .at = compare};
  veil_instant_figures figures;
  s->told = 0;
  cr_assert_eq(veil_service_instant(s->service, flags, &calls, s, &figures), VEIL_OK, "%s", veil_error());
  cr_assert_eq(s->wrong, 0, "%zu pages have changed, and were not told of: page %zu", s->wrong, s->wrong_page);
  cr_assert(figures.claimed == 0 && figures.at_once == s->told);
}

static void shadow_close(shadow *s) {
  veil_service_close(s->service);
  munmap(s->contents, s->pages.count * s->pages.page_size);
}

typedef struct kept {
  size_t count;
  void *at[];
} kept;
VEIL_TYPE_FLEXIBLE(kept, at);

static uint64_t dice(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return *state >> 33;
}

static void *object_make(veil_thread *me, uint64_t *state) {
  static const size_t sizes[] = {24, 100, 500, 3000, 9000, 40000, 3 * MIB};
  unsigned kind = (unsigned)(dice(state) % 8);
  if (kind < 4) {
    return list_make(me, dice(state) % 50 + 1);
  }
  size_t bytes = sizes[dice(state) % (dice(state) % 10 == 0 ? 7 : 6)];
  char *made = veil_new_bytes(me, bytes);
  if (kind < 7) { // else it stays as it was born
    memset(made + bytes / 2, (int)kind, bytes / 3);
  }
  return made;
}

// What the shadow has of some pages goes, and they are to be told of once more.
static void forget_some(shadow *s, uint64_t *state) {
  size_t count = dice(state) % 5 + 1, page = dice(state) % (s->pages.count - count);
  while (page > 0 && !veil_page_in_use(heap, page)) {
    page--;
  }
  for (size_t i = page; i < page + count && s->told != 0; i++) { // before that nothing was told
    if (veil_page_in_use(heap, i)) {
      shadow_of(s, i)[8] ^= 1;
    }
  }
  veil_service_written(s->service, page, count);
}

static int volatile over;

static void *works_beside(void *arg) {
  veil_thread *me = veil_attach(heap);
  uint64_t state = (uint64_t)(uintptr_t)arg;
  kept *own = veil_new_flexible(me, kept, KEPT);
  own->count = KEPT;
  while (!over) {
    own->at[dice(&state) % KEPT] = dice(&state) % 3 ? object_make(me, &state) : NULL;
    veil_poll(me);
  }
  veil_detach(me);
  return NULL;
}

static void program_run(veil_generations generations, const char *back_end, unsigned threads) {
  START_OR_SKIP(.back_end = back_end, .generations = generations, .limit = 96 * MIB, .headroom = 8 * MIB, .nursery = MIB);
  static shadow s;
  shadow_open(&s);
  uint64_t state = 42;
  kept *all = veil_new_flexible(self, kept, KEPT);
  all->count = KEPT;
  pthread_t beside[4];
  over = 0;
  for (unsigned i = 0; i < threads; i++) {
    beside[i] = thread_start(works_beside, (void *)(uintptr_t)(i + 7));
  }
  for (int round = 0; round < ROUNDS; round++) {
    for (uint64_t n = dice(&state) % 60; n-- > 0;) {
      all->at[dice(&state) % KEPT] = dice(&state) % 3 ? object_make(self, &state) : NULL;
    }
    uint64_t cycle = dice(&state) % 12;
    if (cycle == 0) {
      veil_collect(self);
    } else if (cycle == 1) {
      veil_collect_start(self);
    }
    if (round % 8 == 7) {
      memset(veil_new_bytes(self, 40 * s.pages.page_size), 1, 40 * s.pages.page_size);
      instant_of_few(&s, dice(&state) % 30 + 1);
    }
    forget_some(&s, &state);
    instant(&s, dice(&state) % 16 ? VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH | VEIL_INSTANT_COPY : VEIL_INSTANT_WATCH | VEIL_INSTANT_COPY);
  }
  over = 1;
  for (unsigned i = 0; i < threads; i++) {
    pthread_join(beside[i], NULL);
  }
  shadow_close(&s);
  end();
}

ON_ALL_BACK_ENDS(instant_copy, all_that_has_changed_is_told_of) { program_run(VEIL_GENERATIONS_OFF, back_end, 0); }
ON_ALL_BACK_ENDS(instant_copy, all_that_has_changed_is_told_of_with_generations) { program_run(VEIL_GENERATIONS_ON, back_end, 0); }
ON_ALL_BACK_ENDS(instant_copy, all_that_has_changed_is_told_of_while_threads_work) { program_run(VEIL_GENERATIONS_AUTO, back_end, 3); }

// Writes that the system makes for the program count, into what was touched; and a page that nobody has written is told of once.
ON_ALL_BACK_ENDS(instant_copy, what_nobody_writes_is_told_of_once) {
  START_OR_SKIP(.back_end = back_end, .generations = VEIL_GENERATIONS_OFF, .limit = 64 * MIB);
  static shadow s;
  shadow_open(&s);
  node *list = list_make(self, 50000);
  const unsigned flags = VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH | VEIL_INSTANT_COPY;
  instant(&s, flags);
  cr_assert_gt(s.told, 50000 * 48 / s.pages.page_size);
  for (int i = 0; i < 40; i++) {
    instant(&s, flags);
    cr_assert(strcmp(back_end, "none") == 0 || s.told < 8, "%zu pages", s.told);
  }
  cr_assert_eq(list_check(list), 50000);
  shadow_close(&s);
  end();
}
