// SPDX-License-Identifier: MIT
// take.c: the instant of a commit: what was written since the last one is copied in the stop.
//
// Neighbours: commit.c calls it in the thread that is `taking`, change.c looks at what was found. What is called in the stop copies, and does nothing else.

#include <stdlib.h>
#include <string.h>
#include "runtime/error.h"
#include "runtime/store/inner.h"
#include "vm/check.h"
#include "vm/os.h"

enum { KEPT_BYTES = 16 << 20 }; // of buffers, from one commit to the next

// ---- Memory: charged as it is touched.

bool st_change_open(veil_store *store) {
  st_change *c = &store->change;
  size_t bytes = store->pages.count * store->pages.page_size;
  c->record_bytes = bytes + bytes / 4 + ((size_t)64 << 20); // pages of which every second word differs, and sections
  c->pages = os_map_private(store->pages.count * sizeof *c->pages);
  c->places = os_map_private(store->pages.count * sizeof *c->places);
  c->copies = os_map_private(bytes);
  c->record = os_map_private(c->record_bytes);
  store->owed = os_map_private(store->pages.count / 8 + 1);
  return c->pages != NULL && c->places != NULL && c->copies != NULL && c->record != NULL && store->owed != NULL;
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

static void page_copy(veil_store *store, size_t page) {
  st_change *c = &store->change;
  size_t page_size = store->pages.page_size;
  memcpy(c->copies + c->count * page_size, store->pages.base + store->pages.delta + page * page_size, page_size);
  c->pages[c->count++] = page;
}

static void now(void *arg, size_t page, size_t count) {
  for (size_t i = page; i < page + count; i++) {
    page_copy(arg, i);
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

static void owed_copy(veil_store *store) {
  size_t told = store->change.count;
  for (size_t page = 0; page < store->pages.count && store->owed_count != 0; page++) {
    if (page % 8 == 0 && store->owed[page / 8] == 0) {
      page += 7;
    } else if (st_bit(store->owed, page) && veil_page_in_use(store->heap, page) && !is_told(&store->change, told, page)) {
      page_copy(store, page);
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
    owed_copy(store);
  }
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
  static const veil_instant_calls calls = {.now = now, .at = at};
  st_change *c = &store->change;
  memory_trim(store);
  c->count = 0;
  c->words = 0;
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
