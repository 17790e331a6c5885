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

enum { KEPT_BYTES = 16 << 20 }; // of buffers, from one commit to the next

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
  store->owed = os_map_private(store->pages.count / 8 + 1);
  return c->pages != NULL && c->places != NULL && c->copied != NULL && c->copies != NULL && c->record != NULL && store->owed != NULL;
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
  map_free(store->owed, store->pages.count / 8 + 1);
  free(c->gone);
  st_sections_free(&c->sections);
}

// What a large commit has used goes.
static void memory_trim(veil_store *store) {
  st_change *c = &store->change;
  if (c->count * store->pages.page_size > KEPT_BYTES) {
    os_drop(c->copies, c->count * store->pages.page_size);
  }
  if (c->words * sizeof *c->record > KEPT_BYTES) {
    os_drop(c->record, c->words * sizeof *c->record);
  }
}

// ---- In the stop.

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
  bool compares = !store->moved_away && pthread_mutex_trylock(&store->contents_lock) == 0;
  for (size_t n = 0; n < c->count; n++) {
    ahead_fetch(store, n, compares);
    c->copied[n] = !compares || !page_compare(store, n);
    if (c->copied[n]) {
      memcpy(c->copies + n * page_size, page_at(store, c->pages[n]), page_size);
    }
  }
  if (compares) {
    pthread_mutex_unlock(&store->contents_lock);
  }
}

static bool is_told(const st_change *c, size_t count, size_t page) {
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (c->pages[middle] < page) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < count && c->pages[low] == page;
}

static void owed_add(veil_store *store) {
  size_t told = store->change.count;
  for (size_t page = 0; page < store->pages.count && store->owed_count != 0; page++) {
    if (page % 8 == 0 && store->owed[page / 8] == 0) {
      page += 7;
    } else if (st_bit(store->owed, page) && veil_page_in_use(store->heap, page) && !is_told(&store->change, told, page)) {
      pages_add(store, page, 1);
    }
  }
}

static void at(void *arg) {
  veil_store *store = arg;
  st_change *c = &store->change;
  size_t told = c->count;
  if (at32_load(&store->moved)) {
    at32_store(&store->moved, 0);
    c->looked = true;
  }
  if (store->owed_count != 0) {
    owed_add(store);
  }
  pages_take(store);
  if (store->described) {
    veil_description_again(store->description, c->pages, told);
  } else {
    veil_description_take(store->description);
  }
  store->described = true;
}

// Pages change places, or go.
static void moves(void *arg, uint64_t number) {
  (void)number;
  at32_store(&((veil_store *)arg)->moved, 1);
}

const veil_service_callbacks st_service = {.before_flip = moves, .before_minor = moves};

// ---- Around it.

static bool description_make(veil_store *store) {
  veil_description_close(store->description);
  store->described = false;
  store->description = veil_description_open(store->heap);
  return store->description != NULL;
}

veil_status st_take(veil_store *store, uint64_t *pause_ns) {
  static const veil_instant_calls calls = {.now = pages_add, .at = at};
  st_change *c = &store->change;
  memory_trim(store);
  c->count = 0;
  c->words = 0;
  c->items = 0;
  c->changed = 0;
  if (store->description == NULL && !description_make(store)) {
    rt_error_set("%s: no memory for a description of the heap", store->path);
    return VEIL_NO_MEMORY;
  }
  if (store->moved_away) {
    veil_source_fetch(store->heap); // in the stop it would take long
    c->looked = true;
  }
  veil_instant_figures figures = {0};
  unsigned flags = VEIL_INSTANT_WATCH | VEIL_INSTANT_COPY | (store->moved_away ? VEIL_INSTANT_ALL : VEIL_INSTANT_DIRTY);
  veil_status status = veil_service_instant(store->service, flags, &calls, store, &figures);
  *pause_ns += figures.pause_ns;
  return status;
}
