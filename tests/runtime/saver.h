// SPDX-License-Identifier: MIT
// saver.h: a service that saves the heap as of an instant, and knows what it has to be. For one file of tests.

#ifndef TESTS_RUNTIME_SAVER_H
#define TESTS_RUNTIME_SAVER_H

#include <sys/mman.h>
#include "tests/runtime/world.h"
#include "veil/hooks.h"

static veil_pages pages;

static bool heap_with_pages(veil_options options) {
  bool works = start(options);
  pages = works ? veil_heap_pages(heap) : pages;
  return works;
}

#define INSTANT_START_OR_SKIP(...)                                                                                     \
  if (!heap_with_pages((veil_options){.back_end = back_end, __VA_ARGS__})) {                                           \
    cr_skip_test("the back end does not work here");                                                                   \
  }

static __attribute__((unused)) size_t page_of(const void *object) { return (size_t)((const char *)object - pages.base) / pages.page_size; }
static __attribute__((unused)) char *alias_of(size_t page) { return pages.base + pages.delta + page * pages.page_size; }

// ---- A service that saves pages, and knows what they have to be.

enum { UNUSED = 0, USED, SAVED };

typedef struct saver {
  veil_service *service;
  char *truth;   // per page: as it was at the instant
  char *image;   // per page: as it was saved last
  char *state;   // per page: at the last instant
  size_t claimed, at_once, saved; // of the last instant
  size_t volatile trapped;
  veil_instant_figures figures;
} saver;

static void *pages_map(size_t bytes) {
  void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  EXPECT(map != MAP_FAILED);
  return map;
}

static char *truth_of(const saver *s, size_t page) { return s->truth + page * pages.page_size; }
static char *image_of(const saver *s, size_t page) { return s->image + page * pages.page_size; }

// Before the instant it may be called for any page; after it for those that were in use, once each.
static void page_save(saver *s, size_t page) {
  EXPECT(page < pages.count);
  memcpy(image_of(s, page), alias_of(page), pages.page_size);
  char was = __atomic_exchange_n(&s->state[page], SAVED, __ATOMIC_SEQ_CST);
  EXPECT(was == USED);
  __atomic_fetch_add(&s->saved, 1, __ATOMIC_SEQ_CST);
}

static void on_unsaved(void *arg, size_t page) {
  saver *s = arg;
  page_save(s, page);
  s->trapped++;
}

static void on_now(void *arg, size_t page, size_t count) {
  saver *s = arg;
  EXPECT(count != 0);
  for (size_t i = page; i < page + count; i++) {
    s->state[i] = USED; // `at` comes later
    page_save(s, i);
  }
  s->at_once += count;
}

static void on_at(void *arg) {
  saver *s = arg;
  for (size_t page = 0; page < pages.count; page++) {
    if (veil_page_in_use(heap, page)) {
      memcpy(truth_of(s, page), alias_of(page), pages.page_size);
      s->state[page] = s->state[page] == SAVED ? SAVED : USED;
    } else {
      s->state[page] = UNUSED;
    }
  }
}

static const veil_service_callbacks saving = {.unsaved = on_unsaved};
static const veil_instant_calls instant_calls = {.now = on_now, .at = on_at};

static __attribute__((unused)) void saver_open(saver *s) {
  *s = (saver){.truth = pages_map(pages.count * pages.page_size), .image = pages_map(pages.count * pages.page_size), .state = pages_map(pages.count)};
  s->service = veil_service_open(heap, "saver", &saving, s);
  EXPECT(s->service != NULL);
}

static __attribute__((unused)) void saver_close(saver *s) {
  veil_service_close(s->service);
  munmap(s->truth, pages.count * pages.page_size);
  munmap(s->image, pages.count * pages.page_size);
  munmap(s->state, pages.count);
}

static __attribute__((unused)) void instant_take(saver *s, unsigned flags) {
  s->saved = s->at_once = s->trapped = 0;
  memset(s->state, UNUSED, pages.count);
  EXPECT(veil_service_instant(s->service, flags, &instant_calls, s, &s->figures) == VEIL_OK);
  EXPECT(s->figures.at_once == s->at_once && s->figures.pause_ns != 0);
}

// Saves what nobody has touched.
static __attribute__((unused)) void instant_save(saver *s) {
  for (size_t page = 0; (page = veil_service_next(s->service, page, VEIL_UNSAVED)) != SIZE_MAX;) {
    if (page % 5 == 0) {
      veil_service_settle(s->service, page, VEIL_UNSAVED);
      page++;
    } else {
      veil_service_settle_some(s->service, page, 40, VEIL_UNSAVED);
      page += page % 3; // what somebody held is found later
    }
    if (page >= pages.count) {
      break;
    }
  }
  for (size_t page = 0; (page = veil_service_next(s->service, page, VEIL_UNSAVED)) != SIZE_MAX; page++) {
    veil_service_settle(s->service, page, VEIL_UNSAVED);
  }
}

// `increment`: what is not saved has not changed since it was.
static __attribute__((unused)) void instant_check(saver *s, bool increment) {
  size_t saved = 0;
  for (size_t page = 0; page < pages.count; page++) {
    if (s->state[page] == UNUSED) {
      continue;
    }
    saved += s->state[page] == SAVED;
    EXPECT(increment || s->state[page] == SAVED);
    if (memcmp(truth_of(s, page), image_of(s, page), pages.page_size) != 0) {
      size_t at = 0;
      while (truth_of(s, page)[at] == image_of(s, page)[at]) {
        at++;
      }
      fprintf(stderr, "page %zu (state %d) differs at byte %zu: %lx, was %lx\n", page, s->state[page], at, *(long *)(image_of(s, page) + at / 8 * 8),
              *(long *)(truth_of(s, page) + at / 8 * 8));
      abort();
    }
  }
  EXPECT(saved == s->saved && saved == s->figures.claimed + s->figures.at_once);
  EXPECT(veil_service_next(s->service, 0, VEIL_UNSAVED) == SIZE_MAX);
}

static __attribute__((unused)) void list_scramble(node *list) {
  for (; list != NULL; list = list->right) {
    list->more = ~list->key;
  }
}

#endif
