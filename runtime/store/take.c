// SPDX-License-Identifier: MIT
// take.c: the instant of a commit: what was written since the last one is compared or copied in the stop.
//
// Neighbours: commit.c calls it in the thread that is `taking`, change.c looks at what was found. What is called in the stop compares and copies, and does nothing else.
//
// A page that has a twin is compared with it in the stop, and what differs goes to the record: to read a page takes as long as to copy it, and nothing is left to be done afterwards. The lock of the twins is only tried: if somebody has it, all is copied.

#include <stdlib.h>
#include <string.h>
#include "runtime/error.h"
#include "runtime/store/inner.h"
#include "vm/os.h"

enum {
  KEPT_BYTES = 16 << 20, // of buffers, from one commit to the next
  SAVED_AT_ONCE = 16,    // pages that somebody may have to wait for
};

// ---- Memory: charged as it is touched.

bool st_change_open(veil_store *store) {
  st_change *c = &store->change;
  size_t bytes = store->pages.count * store->pages.page_size;
  c->record_bytes = bytes + bytes / 4 + ((size_t)64 << 20); // pages of which every second word differs, and sections
  c->pages = os_map_private(store->pages.count * sizeof *c->pages);
  c->places = os_map_private(store->pages.count * sizeof *c->places);
  c->copied = os_map_private(store->pages.count);
  c->copies = os_map_private(bytes);
  c->record = os_map_private(c->record_bytes);
  c->saved = os_map_private(store->pages.count / 8 + 1);
  return c->pages != NULL && c->places != NULL && c->copied != NULL && c->copies != NULL && c->record != NULL && c->saved != NULL;
}

static void map_free(void *at, size_t bytes) {
  if (at != NULL) {
    os_unmap(at, bytes);
  }
}

void st_change_close(veil_store *store) {
  st_change *c = &store->change;
  map_free(c->pages, store->pages.count * sizeof *c->pages);
  map_free(c->places, store->pages.count * sizeof *c->places);
  map_free(c->copied, store->pages.count);
  map_free(c->copies, store->pages.count * store->pages.page_size);
  map_free(c->record, c->record_bytes);
  map_free(c->saved, store->pages.count / 8 + 1);
  free(c->gone);
  st_sections_free(&c->sections);
}

void st_take_trim(veil_store *store) {
  st_change *c = &store->change;
  if (c->claimed || c->count * store->pages.page_size > KEPT_BYTES) {
    os_drop(c->copies, (c->claimed ? store->pages.count : c->count) * store->pages.page_size);
  }
  if (c->words * sizeof *c->record > KEPT_BYTES) {
    os_drop(c->record, c->words * sizeof *c->record);
  }
}

// ---- In the stop.

static size_t stop_most(const veil_store *store) { return store->stop_bytes > store->pages.page_size ? store->stop_bytes / store->pages.page_size : 1; }

static const char *page_at(const veil_store *store, size_t page) { return store->pages.base + store->pages.delta + page * store->pages.page_size; }

static void pages_add(void *arg, size_t page, size_t count) {
  st_change *c = &((veil_store *)arg)->change;
  for (size_t i = page; i < page + count; i++) {
    c->pages[c->count++] = i;
  }
}

// The n-th of the pages differs from its twin by nothing, or by what is added to the record; false: it has none, or it is not clear whether it has just come into use (st.gone).
static bool page_compare(veil_store *store, size_t n) {
  st_change *c = &store->change;
  const void *was = st_contents_twin(store->contents, c->pages[n]);
  if (was == NULL) {
    return false;
  }
  size_t words = st_change_add(c, c->pages[n], was, page_at(store, c->pages[n]), store->pages.page_size);
  c->places[n] = words != 0 ? c->words + 1 - words : 0;
  return words != 0 || st_bit(store->has, c->pages[n]);
}

enum { LINE = 64, LINES = 4, AHEAD = 1, ENTRY_AHEAD = 3, PLACE_AHEAD = 6 }; // pages

// What is needed for the next pages is fetched while one is compared: each page, each twin, and what is known of them is somewhere else in memory, and nobody has looked at it for long.
static void ahead_fetch(veil_store *store, size_t n, bool compares) {
  const st_change *c = &store->change;
  if (compares && n + PLACE_AHEAD < c->count) {
    st_contents_fetch(store->contents, c->pages[n + PLACE_AHEAD], false);
  }
  if (compares && n + ENTRY_AHEAD < c->count) {
    st_contents_fetch(store->contents, c->pages[n + ENTRY_AHEAD], true);
  }
  if (n + AHEAD < c->count) {
    const char *page = page_at(store, c->pages[n + AHEAD]);
    const char *twin = compares ? st_contents_twin(store->contents, c->pages[n + AHEAD]) : NULL;
    for (int i = 0; i < LINES; i++) { // the processor goes on from there
      __builtin_prefetch(page + i * LINE);
      __builtin_prefetch(twin != NULL ? twin + i * LINE : page);
    }
  }
}

// All that were found.
static void pages_take(veil_store *store) {
  st_change *c = &store->change;
  size_t page_size = store->pages.page_size;
  c->blanks = veil_description_blanks();
  bool compares = !store->moved_away && !c->blanks && pthread_mutex_trylock(&store->contents_lock) == 0;
  for (size_t n = 0; n < c->count; n++) {
    ahead_fetch(store, n, compares);
    bool away = veil_page_copy(store->service, c->pages[n], c->copies + n * page_size); // st.away
    c->copied[n] = away || !compares || !page_compare(store, n);
    if (c->copied[n] && !away) {
      memcpy(c->copies + n * page_size, page_at(store, c->pages[n]), page_size);
    }
  }
  if (compares) {
    pthread_mutex_unlock(&store->contents_lock);
  }
}

static void moved_note(veil_store *store) {
  if (at32_load(&store->moved)) {
    at32_store(&store->moved, 0);
    store->change.looked = true;
  }
}

static void at(void *arg) {
  veil_store *store = arg;
  st_change *c = &store->change;
  moved_note(store);
  pages_take(store);
  if (store->described) {
    veil_description_again(store->description, c->pages, c->count);
  } else {
    veil_description_take(store->description);
  }
  store->described = true;
}

// ---- Many pages are claimed in the stop, and saved when the world runs: by whoever wants to write them, and by the thread that commits.

static char *copy_of(const veil_store *store, size_t page) { return store->change.copies + page * store->pages.page_size; }
static void saved_note(veil_store *store, size_t page) { at8_or_full(&store->change.saved[page / 8], (uint8_t)(1u << page % 8)); }

// In the stop: what cannot be claimed. Otherwise a trap, the collector, or st_take_rest. A child of fork has the claims, and memory of its own.
static void unsaved(void *arg, size_t page) {
  veil_store *store = arg;
  memcpy(copy_of(store, page), page_at(store, page), store->pages.page_size);
  saved_note(store, page);
}

static void unsaved_now(void *arg, size_t page, size_t count) {
  for (size_t i = page; i < page + count; i++) {
    if (veil_page_copy(((veil_store *)arg)->service, i, copy_of(arg, i))) {
      saved_note(arg, i);
    } else {
      unsaved(arg, i);
    }
  }
}

static void claimed_at(void *arg) {
  veil_store *store = arg;
  moved_note(store);
  store->change.blanks = veil_description_blanks();
  veil_description_take(store->description); // it is not known in the stop what was claimed
  store->described = true;
}

static void saved_list(veil_store *store) {
  st_change *c = &store->change;
  for (size_t page = 0; page < store->pages.count; page++) {
    if (page % 8 == 0 && c->saved[page / 8] == 0) {
      page += 7;
    } else if (st_bit(c->saved, page)) {
      st_bit_set(c->saved, page, false);
      c->copied[c->count] = true;
      c->pages[c->count++] = page;
    }
  }
  store->many = c->count > stop_most(store);
}

void st_take_rest(veil_store *store) {
  veil_service *s = store->service;
  if (!store->change.claimed) {
    return;
  }
  for (size_t page = 0; (page = veil_service_next(s, page, VEIL_UNSAVED)) != SIZE_MAX; page += SAVED_AT_ONCE) {
    veil_service_settle_some(s, page, SAVED_AT_ONCE, VEIL_UNSAVED);
  }
  for (size_t page = 0; (page = veil_service_next(s, page, VEIL_UNSAVED)) != SIZE_MAX; page++) { // that somebody held, or whose contents are away
    if (veil_page_save(s, page, copy_of(store, page))) {
      saved_note(store, page);
    } else {
      veil_service_settle(s, page, VEIL_UNSAVED);
    }
  }
  veil_service_settle_some(s, 0, 1, VEIL_UNSAVED); // the last may have been a trap's
  saved_list(store);
}

// Pages change places, or go.
static void moves(void *arg, uint64_t number) {
  (void)number;
  at32_store(&((veil_store *)arg)->moved, 1);
}

const veil_service_callbacks st_service = {.before_flip = moves, .before_minor = moves, .unsaved = unsaved};

// ---- Around it.

static bool description_make(veil_store *store) {
  veil_description_close(store->description);
  store->described = false;
  store->description = veil_description_open(store->heap);
  return store->description != NULL;
}

// More than can be copied in the stop, or than was known to be; all, if the heap is not where it was.
static veil_status many_take(veil_store *store, uint64_t *pause_ns) {
  static const veil_instant_calls calls = {.now = unsaved_now, .at = claimed_at, .copies_away = true};
  veil_instant_figures figures = {0};
  store->change.claimed = true;
  veil_status status = veil_service_instant(store->service, VEIL_INSTANT_WATCH | (store->moved_away ? VEIL_INSTANT_ALL : VEIL_INSTANT_DIRTY), &calls, store, &figures);
  *pause_ns += figures.pause_ns;
  return status;
}

static veil_status few_take(veil_store *store, uint64_t *pause_ns) {
  const veil_instant_calls calls = {.now = pages_add, .at = at, .copies_away = true, .most = stop_most(store)};
  veil_instant_figures figures = {0};
  veil_status status = veil_service_instant(store->service, VEIL_INSTANT_WATCH | VEIL_INSTANT_COPY | VEIL_INSTANT_DIRTY, &calls, store, &figures);
  *pause_ns += figures.pause_ns;
  return status;
}

veil_status st_take(veil_store *store, uint64_t *pause_ns) {
  st_change *c = &store->change;
  c->count = 0;
  c->words = 0;
  c->items = 0;
  c->changed = 0;
  c->claimed = false;
  if (store->description == NULL && !description_make(store)) {
    rt_error_set("%s: no memory for a description of the heap", store->path);
    return VEIL_NO_MEMORY;
  }
  if (store->moved_away) {
    veil_source_fetch(store->heap); // else it would be fetched page by page
    c->looked = true;
  }
  veil_status status = store->moved_away || store->many ? VEIL_BUSY : few_take(store, pause_ns);
  return status == VEIL_BUSY ? many_take(store, pause_ns) : status;
}
