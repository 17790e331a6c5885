// SPDX-License-Identifier: MIT
// service.c: a small service written outside the library, on veil/hooks.h alone.
//
// It lays claims on random pages and checks what it is told. ABSENT: it takes the page's contents away, scribbles over the
// page, and puts the contents back when they are wanted; most such pages are parked, if they can be, and their notes are moved about. UNSAVED: it copies the page, and checks when told that it is about to be
// written that nothing has been. Dirty: a page that has changed must have been reported.
//
// One thread works for it, which is no mutator. Callbacks run in whatever thread touches the page, in a signal handler:
// a state per page and kind of claim, changed by atomics, is all they share with it. A callback may come while the thread
// is still taking the contents away: it waits for that. The thread never waits for a callback.

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "torture.h"

enum { SLOTS = 96, WATCHED = 64, PAGES_MAX = 1 << 16, SCRIBBLE = 0x5c };

// Of one page, for one kind of claim. Only the service's thread leaves NONE; callbacks lead back to it.
enum state {
  NONE = 0,
  CLAIMING,  // veil_service_claim runs, or the contents are being taken
  TAKEN,     // the claim stands, the slot holds the contents
  ENDING,    // a callback is at it
};

typedef struct claims {
  veil_claim claim;
  _Atomic uint8_t *state;     // per page
  uint16_t *slot;             // per page: written before CLAIMING, read behind it
  atomic_bool used[SLOTS];    // taken by the thread, given back by callbacks
  char *contents;             // SLOTS pages
  char *notes;                // of parked pages: two pages for each slot, of which the first or the second is in use
  bool parked[SLOTS];         // in the thread's opinion
  unsigned half[SLOTS];
  atomic_ulong laid, refused, ended, discarded, settled, parks, unparked, moved;
} claims;

// Copies of pages as they were after they had been reported last.
typedef struct watched {
  size_t page;
  bool valid, reported;
  char *copy;
} watched;

static claims absent = {.claim = VEIL_ABSENT}, unsaved = {.claim = VEIL_UNSAVED};
static veil_service *service, *rival;
static veil_pages pages;
static rng dice;
static pthread_t thread;
static atomic_bool stopping, in_claim;
static atomic_int flip_state; // 0: idle, 1: before the flip, 2: after it
static atomic_ulong cycle_now, flips, cycles_ended, dirty_calls, dirty_reported, dirty_changed;
static watched watch[WATCHED];
static bool started;

static char *page_alias(size_t page) { return pages.base + pages.delta + page * pages.page_size; }
static char *contents_of(claims *c, size_t page) { return c->contents + (size_t)c->slot[page] * pages.page_size; }

// Another thread may be writing to the page at the same time where the service only looks: TSan is not asked.
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

static void scribble_check(size_t page, const char *when) {
  const volatile char *at = page_alias(page);
  for (size_t i = 0; i < pages.page_size; i++) {
    REQUIRE(at[i] == (char)(SCRIBBLE + page), "service: page %zu was written at byte %zu while it was absent (%s)", page, i, when);
  }
}

// ---- Callbacks.

// Waits until the thread has done its part; then the page is this callback's.
static void claim_take(claims *c, size_t page, const char *what) {
  REQUIRE(page < pages.count, "service: %s of page %zu of %zu", what, page, pages.count);
  for (;;) {
    uint8_t state = atomic_load(&c->state[page]);
    if (state == TAKEN) {
      REQUIRE(atomic_compare_exchange_strong(&c->state[page], &state, ENDING), "service: two callbacks end the claim on page %zu",
              page);
      return;
    }
    REQUIRE(state == CLAIMING, "service: %s of page %zu, which has no claim (state %d)", what, page, (int)state);
    REQUIRE(!(pthread_equal(pthread_self(), thread) && atomic_load(&in_claim)),
            "service: %s of page %zu inside veil_service_claim", what, page);
    sched_yield();
  }
}

static char *notes_of(claims *c, unsigned slot, unsigned half) { return c->notes + (slot * 2ul + half) * pages.page_size; }

// Who goes on with notes that were given back, or moved, finds nonsense. The thread may be at the same.
static __attribute__((no_sanitize("thread"))) void notes_spoil(char *notes) {
  for (size_t i = 0; i < pages.page_size / 8; i++) {
    ((volatile uint64_t *)notes)[i] = 0xa5a5a5a5a5a5a5a5ull;
  }
}

static void claim_drop(claims *c, size_t page) {
  unsigned slot = c->slot[page];
  if (c->notes != NULL) {
    notes_spoil(notes_of(c, slot, 0));
    notes_spoil(notes_of(c, slot, 1));
  }
  atomic_store(&c->state[page], NONE);
  atomic_store(&c->used[slot], false);
}

static void on_absent(void *arg, size_t page) {
  (void)arg;
  claim_take(&absent, page, "absent");
  scribble_check(page, "absent");
  if (page % 2 == 0) {
    page_copy(page_alias(page), contents_of(&absent, page));
    atomic_fetch_add(&absent.unparked, veil_page_unpark(service, page));
  } else {
    REQUIRE(veil_page_fill(service, page, contents_of(&absent, page)) == VEIL_OK, "service: page %zu has no memory", page);
  }
  atomic_fetch_add(&absent.ended, 1);
  claim_drop(&absent, page);
}

static void on_unsaved(void *arg, size_t page) {
  (void)arg;
  claim_take(&unsaved, page, "unsaved");
  REQUIRE(atomic_load(&absent.state[page]) == NONE || atomic_load(&absent.state[page]) == CLAIMING,
          "service: page %zu is to be written while its contents are away", page);
  size_t at = page_difference(page_alias(page), contents_of(&unsaved, page));
  REQUIRE(at == pages.page_size, "service: page %zu was written at byte %zu before `unsaved` was called: %llx, was %llx", page, at,
          (unsigned long long)*(uint64_t *)(page_alias(page) + at),
          (unsigned long long)*(uint64_t *)(contents_of(&unsaved, page) + at));
  atomic_fetch_add(&unsaved.ended, 1);
  claim_drop(&unsaved, page);
}

static void on_discarded(void *arg, size_t page, size_t count) {
  (void)arg;
  for (size_t i = page; i < page + count; i++) {
    claim_take(&absent, i, "discarded");
    scribble_check(i, "discarded");
    atomic_fetch_add(&absent.discarded, 1);
    claim_drop(&absent, i);
  }
}

static void before_flip(void *arg, uint64_t cycle) {
  (void)arg;
  int was = atomic_exchange(&flip_state, 1);
  REQUIRE(was == 0, "service: before_flip of cycle %llu in state %d", (unsigned long long)cycle, was);
  unsigned long last = atomic_exchange(&cycle_now, cycle);
  REQUIRE(last == 0 || cycle == last + 1, "service: before_flip of cycle %llu follows cycle %lu", (unsigned long long)cycle, last);
}

static void after_flip(void *arg, uint64_t cycle) {
  (void)arg;
  int was = atomic_exchange(&flip_state, 2);
  REQUIRE(was == 1 && cycle == atomic_load(&cycle_now), "service: after_flip of cycle %llu in state %d, cycle %lu",
          (unsigned long long)cycle, was, atomic_load(&cycle_now));
  atomic_fetch_add(&flips, 1);
}

static void cycle_ended(void *arg, uint64_t cycle) {
  (void)arg;
  int was = atomic_exchange(&flip_state, 0);
  // Opened in mid-cycle: that one's end is the first that we hear of.
  REQUIRE((was == 2 && cycle == atomic_load(&cycle_now)) || (was == 0 && atomic_load(&cycle_now) == 0),
          "service: cycle_ended of cycle %llu in state %d, cycle %lu", (unsigned long long)cycle, was, atomic_load(&cycle_now));
  atomic_fetch_add(&cycles_ended, 1);
}

// Odd while one is under way.
static atomic_ulong minors;
static void before_minor(void *arg, uint64_t minor) {
  (void)arg;
  unsigned long was = atomic_fetch_add(&minors, 1);
  REQUIRE(was % 2 == 0, "service: before_minor of minor cycle %llu in one", (unsigned long long)minor);
}
static void after_minor(void *arg, uint64_t minor) {
  (void)arg;
  unsigned long was = atomic_fetch_add(&minors, 1);
  REQUIRE(was % 2 == 1, "service: after_minor of minor cycle %llu without one", (unsigned long long)minor);
}

// ---- Laying claims.

static bool is_watched(size_t page) {
  for (int i = 0; i < WATCHED; i++) {
    if (watch[i].valid && watch[i].page == page) {
      return true;
    }
  }
  return false;
}

static int slot_take(claims *c) {
  for (int i = 0; i < SLOTS; i++) {
    if (!atomic_load(&c->used[i])) {
      atomic_store(&c->used[i], true);
      return i;
    }
  }
  return -1;
}

static void claim_lay(claims *c, size_t page) {
  bool away = atomic_load(&absent.state[page]) != NONE;
  if (atomic_load(&c->state[page]) != NONE || (c == &unsaved && away) || (c == &absent && is_watched(page))) {
    return;
  }
  int slot = slot_take(c);
  if (slot < 0) {
    return;
  }
  c->slot[page] = (uint16_t)slot;
  atomic_store(&c->state[page], CLAIMING);
  atomic_store(&in_claim, true);
  veil_status status = veil_service_claim(service, page, c->claim);
  atomic_store(&in_claim, false);
  if (status != VEIL_OK) {
    REQUIRE(status == VEIL_BUSY, "veil_service_claim: %d %s", (int)status, veil_error());
    REQUIRE(atomic_load(&c->state[page]) == CLAIMING, "service: a callback for page %zu, whose claim was refused", page);
    atomic_fetch_add(&c->refused, 1);
    claim_drop(c, page);
    return;
  }
  if (one_in(&dice, 8)) {
    usleep((useconds_t)below(&dice, 200)); // callbacks wait meanwhile
  }
  c->parked[slot] = c->notes != NULL && !one_in(&dice, 8) && veil_page_park(service, page, notes_of(c, (unsigned)slot, 0), pages.page_size) != 0;
  c->half[slot] = 0;
  atomic_fetch_add(&c->parks, c->parked[slot]);
  page_copy(contents_of(c, page), page_alias(page));
  if (c == &absent) {
    for (size_t i = 0; i < pages.page_size; i++) {
      ((volatile char *)page_alias(page))[i] = (char)(SCRIBBLE + page);
    }
  }
  atomic_fetch_add(&c->laid, 1);
  atomic_store(&c->state[page], TAKEN); // from here on a callback may be at it
  if (one_in(&dice, 10)) {
    // Not ours twice, and not another's.
    REQUIRE(!one_in(&dice, 2) || veil_service_claim(rival, page, c->claim) == VEIL_BUSY || atomic_load(&c->state[page]) != TAKEN,
            "service: two claims of one kind on page %zu", page);
    veil_service_settle(rival, page, c->claim);
  }
}

static void notes_move(size_t page) {
  if (atomic_load(&absent.state[page]) != TAKEN) {
    return;
  }
  unsigned slot = absent.slot[page], half = absent.half[slot];
  if (absent.parked[slot] && veil_page_parked_at(service, page, notes_of(&absent, slot, !half))) {
    notes_spoil(notes_of(&absent, slot, half));
    absent.half[slot] = !half;
    atomic_fetch_add(&absent.moved, 1);
  }
}

bool service_has_away(size_t page) { return started && atomic_load(&absent.state[page]) != NONE; }

static size_t used_find(size_t *list) {
  size_t n = 0;
  for (size_t page = 0; page < pages.count && n < PAGES_MAX; page++) {
    if (veil_page_in_use(heap, page)) {
      list[n++] = page;
    }
  }
  return n;
}

// ---- Dirty.

static void dirty_visit(void *arg, size_t page) {
  (void)arg;
  atomic_fetch_add(&dirty_reported, 1);
  for (int i = 0; i < WATCHED; i++) {
    if (watch[i].page == page) {
      watch[i].reported = true;
    }
  }
}

// No page is given back, and none changes its owner, while no cycle is under way.
static bool idle_in(unsigned long cycles, unsigned long minor) {
  return atomic_load(&flip_state) == 0 && atomic_load(&flips) == cycles && minor % 2 == 0 && atomic_load(&minors) == minor;
}

static void dirty_ask(const size_t *list, size_t count) {
  bool changed[WATCHED] = {0};
  unsigned long cycles = atomic_load(&flips), minor = atomic_load(&minors);
  bool idle = idle_in(cycles, minor);
  for (int i = 0; i < WATCHED; i++) {
    watch[i].reported = false;
    changed[i] = watch[i].valid && veil_page_in_use(heap, watch[i].page) &&
                 page_difference(page_alias(watch[i].page), watch[i].copy) != pages.page_size;
  }
  veil_service_dirty(service, dirty_visit, NULL);
  atomic_fetch_add(&dirty_calls, 1);
  idle = idle && idle_in(cycles, minor);
  for (int i = 0; i < WATCHED; i++) {
    if (changed[i] && idle) {
      atomic_fetch_add(&dirty_changed, 1);
      REQUIRE(watch[i].reported, "service: page %zu has changed at byte %zu and was not reported dirty", watch[i].page,
              page_difference(page_alias(watch[i].page), watch[i].copy));
    }
    if (one_in(&dice, 4) || !watch[i].valid) {
      size_t page = count ? list[below(&dice, count)] : 0;
      bool twice = is_watched(page) && watch[i].page != page;
      watch[i].page = page;
      watch[i].valid = count != 0 && !twice && atomic_load(&absent.state[page]) == NONE;
    }
    if (watch[i].valid) {
      // Behind the call: what is written from here on is to be reported.
      page_copy(watch[i].copy, page_alias(watch[i].page));
    }
  }
}

// ---- The thread.

static void *service_main(void *unused) {
  (void)unused;
  size_t *list = malloc(PAGES_MAX * sizeof *list);
  size_t count = used_find(list);
  bool dirty = one_in(&dice, 2);
  for (uint64_t round = 0; !atomic_load(&stopping); round++) {
    if (round % 256 == 0 || count == 0) {
      count = used_find(list);
    }
    size_t page = count ? list[below(&dice, count)] : below(&dice, pages.count);
    if (one_in(&dice, 50)) {
      page = below(&dice, pages.count); // most are free, or no page of ours at all
    }
    claim_lay(one_in(&dice, 2) ? &absent : &unsaved, page);
    if (absent.notes != NULL && one_in(&dice, 8)) {
      notes_move(count ? list[below(&dice, count)] : 0);
    }
    if (one_in(&dice, 20)) {
      page = count ? list[below(&dice, count)] : 0;
      veil_service_settle(service, page, VEIL_ABSENT);
      veil_service_settle(service, page, VEIL_UNSAVED);
    }
    if (dirty && one_in(&dice, 100)) {
      dirty_ask(list, count);
    }
    if (one_in(&dice, 4)) {
      usleep((useconds_t)below(&dice, 500));
    }
  }
  free(list);
  return NULL;
}

static void claims_open(claims *c) {
  c->state = calloc(pages.count, sizeof *c->state);
  c->slot = calloc(pages.count, sizeof *c->slot);
  c->contents = malloc(SLOTS * pages.page_size);
}

void service_start(uint64_t seed) {
  static const veil_service_callbacks callbacks = {on_absent, on_unsaved, on_discarded, before_flip, after_flip, cycle_ended, before_minor, after_minor, .copy = NULL};
  static const veil_service_callbacks nothing;
  dice.state = seed;
  pages = veil_heap_pages(heap);
  claims_open(&absent);
  claims_open(&unsaved);
  absent.notes = one_in(&dice, 6) ? NULL : malloc(SLOTS * 2 * pages.page_size);
  for (int i = 0; i < WATCHED; i++) {
    watch[i].copy = malloc(pages.page_size);
  }
  service = veil_service_open(heap, "torture", &callbacks, NULL);
  rival = veil_service_open(heap, "rival", &nothing, NULL);
  REQUIRE(service != NULL && rival != NULL, "veil_service_open: %s", veil_error());
  started = true;
  REQUIRE(pthread_create(&thread, NULL, service_main, NULL) == 0, "pthread_create failed");
}

// Attached, or not: the caller's thread closes what another one opened.
void service_stop(void) {
  atomic_store(&stopping, true);
  pthread_join(thread, NULL);
  veil_service_close(rival);
  veil_service_close(service);
  for (size_t page = 0; page < pages.count; page++) {
    int away = atomic_load(&absent.state[page]), frozen = atomic_load(&unsaved.state[page]);
    REQUIRE(away == NONE && frozen == NONE,
            "service: a claim on page %zu (%s use, %p) ended without a callback: absent in state %d, unsaved in state %d", page,
            veil_page_in_use(heap, page) ? "in" : "no", (void *)(pages.base + page * pages.page_size), away, frozen);
  }
}

void service_report(char *out, size_t bytes) {
  if (started) {
    veil_parks parks = veil_heap_parks(heap);
    snprintf(out, bytes, "; service: absent %lu (%lu refused, %lu discarded, %lu parked, %lu of them touched, %lu moved, %lu scanned), unsaved %lu (%lu refused), dirty %lu calls, %lu reported, %lu seen to change",
             atomic_load(&absent.laid), atomic_load(&absent.refused), atomic_load(&absent.discarded), atomic_load(&absent.parks),
             atomic_load(&absent.unparked), atomic_load(&absent.moved), (unsigned long)parks.scanned, atomic_load(&unsaved.laid),
             atomic_load(&unsaved.refused), atomic_load(&dirty_calls), atomic_load(&dirty_reported), atomic_load(&dirty_changed));
  }
}
