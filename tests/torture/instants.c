// SPDX-License-Identifier: MIT
// instants.c: a service that saves the heap as of one instant after the other, full ones and increments, and checks that what it has saved is what there was.
//
// At an instant it copies every page in use (`truth`). Afterwards pages are saved (`image`) by whoever wants to write them, and by its own thread. When all are, each page that was
// in use has to be in the image as it was, whether it was written since the instant before or not. Neighbour of service.c, whose claims are on pages at the same time.

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "torture.h"

// Of one page, at the last instant.
enum state {
  UNUSED = 0,
  USED,    // to be saved, if it was written
  SAVED,
  UNKNOWN, // its contents were away, on their way, or being written by a system call: it is saved, but nobody can say what it should be
};

static veil_service *service;
static veil_pages pages;
static rng dice;
static pthread_t thread;
static atomic_bool stopping;
static char *truth, *image;
static _Atomic uint8_t *state;
static bool traps;
static atomic_ulong saved, instants, claimed, at_once;
static atomic_uint turns; // for callbacks, which have no dice of their own
static bool started;

static char *page_alias(size_t page) { return pages.base + pages.delta + page * pages.page_size; }
static char *truth_of(size_t page) { return truth + page * pages.page_size; }
static char *image_of(size_t page) { return image + page * pages.page_size; }

static __attribute__((no_sanitize("thread"))) void page_copy(char *to, const char *from) {
  for (size_t i = 0; i < pages.page_size / 8; i++) {
    ((volatile uint64_t *)to)[i] = ((const volatile uint64_t *)from)[i];
  }
}

static __attribute__((no_sanitize("thread"))) size_t page_difference(const char *a, const char *b) {
  for (size_t i = 0; i < pages.page_size / 8; i++) {
    if (((const volatile uint64_t *)a)[i] != ((const volatile uint64_t *)b)[i]) {
      return i * 8;
    }
  }
  return pages.page_size;
}

// ---- Callbacks.

static void on_unsaved(void *arg, size_t page) {
  (void)arg;
  uint8_t was = atomic_load(&state[page]);
  REQUIRE(was == USED || was == UNKNOWN, "instants: unsaved of page %zu in state %d", page, (int)was);
  page_copy(image_of(page), page_alias(page));
  REQUIRE(was == UNKNOWN || atomic_compare_exchange_strong(&state[page], &was, SAVED), "instants: page %zu is saved twice", page);
  atomic_fetch_add(&saved, 1);
  // In a trap, those beside it as well; in turn those of these are asked for, which are held.
  if (atomic_fetch_add(&turns, 1) % 4 == 0) {
    veil_service_settle_some(service, page & ~(size_t)15, 16, VEIL_UNSAVED);
  }
}

static void on_now(void *arg, size_t page, size_t count) {
  (void)arg;
  for (size_t i = page; i < page + count; i++) {
    page_copy(image_of(i), page_alias(i));
    atomic_store(&state[i], traps ? UNKNOWN : SAVED);
  }
  atomic_fetch_add(&saved, count);
}

static void on_at(void *arg) {
  (void)arg;
  for (size_t page = 0; page < pages.count; page++) {
    if (!veil_page_in_use(heap, page)) {
      continue;
    }
    const char *view = pages.base + page * pages.page_size;
    if (service_has_away(page) || system_writes(view, view + pages.page_size)) {
      atomic_store(&state[page], UNKNOWN);
    } else if (atomic_load(&state[page]) != UNKNOWN) {
      page_copy(truth_of(page), page_alias(page));
      atomic_store(&state[page], atomic_load(&state[page]) == SAVED ? SAVED : USED);
    }
  }
}

// ---- The thread.

static void save_all(void) {
  for (size_t page = 0; (page = veil_service_next(service, page, VEIL_UNSAVED)) < pages.count; page++) {
    switch (below(&dice, 40)) {
    case 0:
      usleep((useconds_t)below(&dice, 300));
      break;
    case 1:
      sched_yield();
      break;
    default:
      if (one_in(&dice, 3)) {
        veil_service_settle(service, page, VEIL_UNSAVED);
      } else {
        veil_service_settle_some(service, page, below(&dice, 64), VEIL_UNSAVED);
      }
    }
  }
  for (size_t page = 0; (page = veil_service_next(service, page, VEIL_UNSAVED)) < pages.count; page++) {
    veil_service_settle(service, page, VEIL_UNSAVED);
  }
}

static void instant(unsigned flags) {
  static const veil_instant_calls calls = {.now = on_now, .at = on_at};
  veil_instant_figures figures;
  for (size_t page = 0; page < pages.count; page++) {
    atomic_store(&state[page], UNUSED);
  }
  atomic_store(&saved, 0);
  veil_thread *self = one_in(&dice, 4) ? veil_attach(heap) : NULL;
  bool bracketed = self != NULL && one_in(&dice, 2);
  if (bracketed) {
    veil_block_begin(self);
  }
  veil_status status = veil_service_instant(service, flags, &calls, NULL, &figures);
  if (bracketed) {
    veil_block_end(self);
  }
  REQUIRE(status == VEIL_OK, "veil_service_instant: %d %s", (int)status, veil_error());
  if (self != NULL) {
    veil_detach(self);
  }
  save_all();
  size_t wanted = figures.claimed + figures.at_once;
  REQUIRE(atomic_load(&saved) == wanted, "instants: %zu pages claimed, %zu told at once, %lu saved", figures.claimed, figures.at_once, atomic_load(&saved));
  atomic_fetch_add(&instants, 1);
  atomic_fetch_add(&claimed, figures.claimed);
  atomic_fetch_add(&at_once, figures.at_once);
}

static void check(bool increment) {
  for (size_t page = 0; page < pages.count; page++) {
    uint8_t now = atomic_load(&state[page]);
    if (now == SAVED || now == USED) {
      REQUIRE(now == SAVED || increment, "instants: page %zu was never saved", page);
      size_t at = page_difference(truth_of(page), image_of(page));
      REQUIRE(at == pages.page_size, "instants: page %zu was %llx at byte %zu, and was saved %s as %llx", page,
              (unsigned long long)*(uint64_t *)(truth_of(page) + at), at, now == SAVED ? "after that" : "before", (unsigned long long)*(uint64_t *)(image_of(page) + at));
    }
  }
}

static void *instants_main(void *unused) {
  (void)unused;
  bool first = true;
  while (!atomic_load(&stopping)) {
    bool increment = !first && !one_in(&dice, 4), watch = first || !one_in(&dice, 5);
    // One that does not watch is beside the chain: what it saves is in the image, but counts as written for the next one as well.
    instant((increment ? VEIL_INSTANT_DIRTY : 0) | (watch ? VEIL_INSTANT_WATCH : 0));
    check(increment);
    first = false;
    if (one_in(&dice, 6)) { // for some instants blocks stay in place, then for some they do not
      veil_service_keep_in_place(service, !one_in(&dice, 4));
    }
    usleep((useconds_t)below(&dice, 3000));
  }
  return NULL;
}

static void *map(size_t bytes) {
  void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(at != MAP_FAILED, "no memory for instants");
  return at;
}

void instants_start(uint64_t seed) {
  static const veil_service_callbacks callbacks = {.unsaved = on_unsaved};
  dice.state = seed;
  pages = veil_heap_pages(heap);
  truth = map(pages.count * pages.page_size);
  image = map(pages.count * pages.page_size);
  state = map(pages.count);
  traps = strncmp(veil_back_end(heap), "none", 4) != 0;
  service = veil_service_open(heap, "instants", &callbacks, NULL);
  REQUIRE(service != NULL, "veil_service_open: %s", veil_error());
  started = true;
  REQUIRE(pthread_create(&thread, NULL, instants_main, NULL) == 0, "pthread_create failed");
}

void instants_stop(void) {
  atomic_store(&stopping, true);
  pthread_join(thread, NULL);
  veil_service_close(service);
}

void instants_report(char *out, size_t bytes) {
  if (started) {
    snprintf(out, bytes, "; instants: %lu, %lu pages claimed, %lu at once, %u traps", atomic_load(&instants), atomic_load(&claimed), atomic_load(&at_once), atomic_load(&turns));
  }
}
