// SPDX-License-Identifier: MIT
// shelf_storm.c [--seconds N] [--threads N]: threads put, read and drop items while others reap and repair: as the owner of a compressed heap does it, by a word per page. What a reader finds is
// whole, and the page's own.

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "runtime/compress/shelf.h"
#include "vm/atomic.h"

enum { PAGES = 3000, THREADS_MOST = 16 };

static cx_shelf *shelf;
static AO_t word[PAGES]; // the handle; 0: none; bit 63: a thread is at it
static const uint64_t taken = 1ull << 63;
static AO_t stop, moves, reads, changes;
static uint64_t seed;

static uint64_t next(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static void failed(const char *what, uint32_t page) {
  fprintf(stderr, "page %u: %s (VEIL_SEED=%" PRIu64 ")\n", page, what, seed);
  abort();
}

static bool moved(void *context, uint32_t page, uint64_t from, uint64_t to) {
  uint64_t h;
  do {
    h = at_load(&word[page]);
    if ((h & ~taken) == 0 || cx_handle_place(h) != from) {
      return false;
    }
  } while (!at_cas_full(&word[page], h, cx_handle_moved(h, to)));
  at_add(&moves, 1);
  return true;
}

// An item: its page, and words that follow from a seed.
static size_t item_fill(uint64_t *item, uint32_t page, uint64_t *state) {
  size_t words = 2 + next(state) % (next(state) % 8 == 0 ? 500 : 60);
  item[0] = page;
  item[1] = next(state);
  for (size_t i = 2; i < words; i++) {
    item[i] = item[1] * i + page;
  }
  return words * 8;
}
static void item_check(const uint64_t *item, size_t bytes, uint32_t page) {
  if (item[0] != page) {
    failed("another page's item", page);
  }
  for (size_t i = 2; i < bytes / 8; i++) {
    if (item[i] != item[1] * i + page) {
      failed("an item that is not whole", page);
    }
  }
}

// Reads without taking the page: the item may be dropped and moved meanwhile.
static void look(uint32_t page) {
  unsigned entered = cx_shelf_enter(shelf);
  uint64_t h = at_load_acquire(&word[page]) & ~taken;
  if (h != 0) {
    item_check(cx_shelf_at(shelf, h), cx_handle_length(h), page);
    at_add(&reads, 1);
  }
  cx_shelf_leave(shelf, entered);
}

// Takes the page, and then it is no other thread's: only the place in its word may change.
static void change(uint32_t page, uint64_t *state) {
  uint64_t h = at_load(&word[page]), item[600];
  if (h & taken || !at_cas_full(&word[page], h, h | taken)) {
    return;
  }
  if (h == 0) {
    size_t bytes = item_fill(item, page, state);
    h = cx_shelf_put(shelf, item, bytes, page);
    if (h == 0) {
      failed("no memory", page);
    }
    at_store_release(&word[page], h);
  } else {
    unsigned entered = cx_shelf_enter(shelf);
    h = at_load_acquire(&word[page]) & ~taken;
    item_check(cx_shelf_at(shelf, h), cx_handle_length(h), page);
    cx_shelf_leave(shelf, entered);
    do {
      h = at_load(&word[page]);
    } while (!at_cas_full(&word[page], h, 0));
    cx_shelf_drop(shelf, h & ~taken);
  }
  at_add(&changes, 1);
}

static void *user(void *arg) {
  uint64_t state = seed * 31 + (uintptr_t)arg;
  while (at_load(&stop) == 0) {
    uint32_t page = (uint32_t)(next(&state) % PAGES);
    if (next(&state) % 4 == 0) {
      change(page, &state);
    } else {
      look(page);
    }
  }
  return NULL;
}

static void *repairer(void *arg) {
  uint64_t state = seed * 37 + (uintptr_t)arg;
  while (at_load(&stop) == 0) {
    if (next(&state) % 3 == 0) {
      cx_shelf_repair(shelf, next(&state) % (1 << 20));
    } else {
      cx_shelf_reap(shelf);
    }
  }
  return NULL;
}

int main(int argc, char **argv) {
  unsigned seconds = 5, threads = 4;
  for (int i = 1; i + 1 < argc; i += 2) {
    *(strcmp(argv[i], "--seconds") == 0 ? &seconds : &threads) = (unsigned)atoi(argv[i + 1]);
  }
  threads = threads < THREADS_MOST ? threads : THREADS_MOST;
  const char *given = getenv("VEIL_SEED");
  seed = given != NULL ? strtoul(given, NULL, 0) : (uint64_t)time(NULL);
  printf("VEIL_SEED=%" PRIu64 "\n", seed);
  shelf = cx_shelf_open(&(cx_shelf_options){.address_bytes = 1ull << 32, .moved = moved});
  pthread_t thread[THREADS_MOST + 2];
  for (unsigned i = 0; i < threads + 2; i++) {
    if (pthread_create(&thread[i], NULL, i < threads ? user : repairer, (void *)(uintptr_t)(i + 1)) != 0) {
      failed("no thread", 0);
    }
  }
  struct timespec pause = {.tv_sec = seconds};
  nanosleep(&pause, NULL);
  at_store(&stop, 1);
  for (unsigned i = 0; i < threads + 2; i++) {
    pthread_join(thread[i], NULL);
  }
  uint64_t items = 0;
  for (uint32_t page = 0; page < PAGES; page++) {
    look(page);
    items += at_load(&word[page]) != 0;
  }
  while (cx_shelf_repair(shelf, SIZE_MAX) > 0) {
  }
  cx_shelf_verify(shelf);
  cx_shelf_figures f = cx_shelf_measure(shelf);
  if (f.items != items) {
    failed("items are not counted right", 0);
  }
  printf("%" PRIu64 " reads, %" PRIu64 " changes, %" PRIu64 " moves; %" PRIu64 " items, %" PRIu64 " bytes in %" PRIu64 "\n", (uint64_t)at_load(&reads), (uint64_t)at_load(&changes),
         (uint64_t)at_load(&moves), f.items, f.payload, f.resident);
  if (at_load(&moves) == 0 || at_load(&changes) < 1000) {
    failed("too little has happened", 0);
  }
  for (uint32_t page = 0; page < PAGES; page++) {
    if (word[page] != 0) {
      cx_shelf_drop(shelf, at_load(&word[page]));
    }
  }
  cx_shelf_reap(shelf);
  if (cx_shelf_measure(shelf).resident != 0) {
    failed("memory is left of nothing", 0);
  }
  cx_shelf_close(shelf);
  return 0;
}
