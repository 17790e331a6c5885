// SPDX-License-Identifier: MIT
// parker.h: a small service written on veil/hooks.h alone that takes pages' contents away, parked or not, gives their memory back to the system, and puts the contents back when they are wanted.
// For one file of tests, which says first what `heap` is: world.h, or store_world.h.

#ifndef TESTS_RUNTIME_PARKER_H
#define TESTS_RUNTIME_PARKER_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include "veil/hooks.h"

// Of a page. Whoever takes it away changes the first two, callbacks lead back to HERE.
enum parker_state { PAGE_HERE = 0, PAGE_PACKING, PAGE_DROPPING, PAGE_AWAY };

typedef struct parker {
  veil_service *service;
  veil_pages pages;
  _Atomic uint8_t *state;
  char *contents, *notes; // a page each, for each page of the heap
  uint32_t *used;         // bytes of notes
  bool control;           // pages are claimed, and not parked
  bool forgets;           // to put references back
  bool fills;             // puts contents and references back by one call
  bool copies;            // tells others what a page holds that is away
  atomic_ulong absents, unparked, discarded, taken, refused, notes_bytes, refs_pages, copied, filled;
} parker;

static char *parker_alias(const parker *p, size_t page) { return p->pages.base + p->pages.delta + page * p->pages.page_size; }
static size_t parker_page(const parker *p, const void *object) { return (size_t)((const char *)object - p->pages.base) / p->pages.page_size; }
static char *parker_notes(const parker *p, size_t page) { return p->notes + page * p->pages.page_size; }

static void *parker_map(size_t bytes) {
  void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  EXPECT(at != MAP_FAILED);
  return at;
}

// Who reads notes that are none any more finds nonsense.
static void parker_notes_spoil(parker *p, size_t page) { memset(parker_notes(p, page), 0xa5, p->used[page]); }

static void parker_absent(void *arg, size_t page) {
  parker *p = arg;
  uint8_t packing = PAGE_PACKING;
  if (!atomic_compare_exchange_strong(&p->state[page], &packing, PAGE_HERE)) { // else the contents are where they were
    while (atomic_load(&p->state[page]) == PAGE_DROPPING) {
    }
    EXPECT(atomic_load(&p->state[page]) == PAGE_AWAY);
    atomic_fetch_add(&p->absents, 1);
    char *contents = p->contents + page * p->pages.page_size;
    if (p->fills) {
      EXPECT(veil_page_fill(p->service, page, contents) == VEIL_OK);
      memset(contents, 0xa5, p->pages.page_size);
      parker_notes_spoil(p, page);
      atomic_fetch_add(&p->filled, 1);
    } else {
      memcpy(parker_alias(p, page), contents, p->pages.page_size);
    }
  }
  if (!p->forgets && veil_page_unpark(p->service, page)) {
    atomic_fetch_add(&p->unparked, 1);
    parker_notes_spoil(p, page);
  }
  atomic_store(&p->state[page], PAGE_HERE);
}

static bool parker_copy(void *arg, size_t page, void *to) {
  parker *p = arg;
  if (!p->copies) {
    return false;
  }
  memcpy(to, atomic_load(&p->state[page]) >= PAGE_DROPPING ? p->contents + page * p->pages.page_size : parker_alias(p, page), p->pages.page_size);
  atomic_fetch_add(&p->copied, 1);
  return true;
}

static void parker_discarded(void *arg, size_t page, size_t count) {
  parker *p = arg;
  for (; count-- > 0; page++) {
    while (atomic_load(&p->state[page]) == PAGE_DROPPING) {
    }
    parker_notes_spoil(p, page);
    atomic_store(&p->state[page], PAGE_HERE);
    atomic_fetch_add(&p->discarded, 1);
  }
}

static __attribute__((unused)) void parker_open(parker *p, veil_heap *of, bool control) {
  static const veil_service_callbacks calls = {.absent = parker_absent, .discarded = parker_discarded, .copy = parker_copy};
  memset(p, 0, sizeof *p);
  p->pages = veil_heap_pages(of);
  p->control = control;
  p->state = parker_map(p->pages.count);
  p->contents = parker_map(p->pages.count * p->pages.page_size);
  p->notes = parker_map(p->pages.count * p->pages.page_size);
  p->used = parker_map(p->pages.count * sizeof *p->used);
  p->service = veil_service_open(of, "parker", &calls, p);
  EXPECT(p->service != NULL);
}

static __attribute__((unused)) void parker_close(parker *p) {
  veil_service_close(p->service);
  for (size_t page = 0; page < p->pages.count; page++) {
    EXPECT(atomic_load(&p->state[page]) == PAGE_HERE);
  }
  munmap(p->contents, p->pages.count * p->pages.page_size);
  munmap(p->notes, p->pages.count * p->pages.page_size);
  munmap(p->used, p->pages.count * sizeof *p->used);
  munmap((void *)p->state, p->pages.count);
}

// Takes one page's contents away. False: it cannot be now.
static bool parker_take(parker *p, size_t page) {
  char *copy = p->contents + page * p->pages.page_size;
  if (atomic_load(&p->state[page]) != PAGE_HERE || !veil_page_in_use(heap, page)) {
    return false;
  }
  p->used[page] = 0;
  atomic_store(&p->state[page], PAGE_PACKING);
  if (veil_service_claim(p->service, page, VEIL_ABSENT) != VEIL_OK) {
    atomic_store(&p->state[page], PAGE_HERE);
    return false;
  }
  size_t bytes = p->control ? 16 : veil_page_park(p->service, page, parker_notes(p, page), p->pages.page_size);
  if (bytes == 0) {
    atomic_fetch_add(&p->refused, 1);
    veil_service_settle(p->service, page, VEIL_ABSENT);
    return false;
  }
  EXPECT(bytes % 8 == 0 && bytes >= 16 && bytes <= p->pages.page_size);
  memcpy(copy, parker_alias(p, page), p->pages.page_size);
  sigset_t all, before; // who waits for the end of PAGE_DROPPING must not wait for a thread that a stop has caught there
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  uint8_t packing = PAGE_PACKING;
  if (!atomic_compare_exchange_strong(&p->state[page], &packing, PAGE_DROPPING)) {
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return false; // somebody wants it: what was copied is nothing
  }
  p->used[page] = p->control ? 0 : (uint32_t)bytes;
  EXPECT(madvise(parker_alias(p, page), p->pages.page_size, MADV_REMOVE) == 0);
  atomic_fetch_add(&p->taken, 1);
  atomic_fetch_add(&p->notes_bytes, bytes);
  atomic_store(&p->state[page], PAGE_AWAY);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return true;
}

static __attribute__((unused)) size_t parker_take_range(parker *p, size_t first, size_t count) {
  size_t taken = 0;
  for (size_t page = first; page < first + count && page < p->pages.count; page++) {
    taken += parker_take(p, page);
  }
  return taken;
}

static __attribute__((unused)) bool parker_is_away(const parker *p, const void *object) { return atomic_load(&p->state[parker_page(p, object)]) == PAGE_AWAY; }
static __attribute__((unused)) unsigned long parker_absents(parker *p) { return atomic_load(&p->absents); }

#endif
