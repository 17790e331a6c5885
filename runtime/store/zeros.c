// SPDX-License-Identifier: MIT
// zeros.c: runs of pages that the log says hold zeros, while a store is opened (st.gone).
//
// Neighbours: open.c finds them, source.c tells the heap of them. One thread. A run is 16 bytes of the log, however long it is: so nothing here is had per page of a run, but for pages that the image has, or the heap that was opened.

#include <stdlib.h>
#include "runtime/error.h"
#include "runtime/store/inner.h"

static bool run_add(st_zeros *z, uint64_t first, uint64_t count) {
  if (z->count == z->room) {
    size_t room = 2 * z->room + 64;
    struct st_gone *run = realloc(z->run, room * sizeof *run);
    if (run == NULL) {
      return false;
    }
    z->run = run;
    z->room = room;
  }
  z->run[z->count++] = (struct st_gone){first, count};
  return true;
}

// What the image has of them is hidden; where it has nothing, or zeros, nothing has to be said.
bool st_zeros_found(veil_store *store, uint64_t first, uint64_t count, uint64_t sequence) {
  rt_image_run run;
  st_contents_gone_known(store->contents, first, count, sequence);
  for (uint64_t page = first; rt_image_next(store->image, page, &run) && run.first < first + count; page = run.first + run.count) {
    uint64_t n = first + count - run.first < run.count ? first + count - run.first : run.count;
    if (!run.zero && !st_contents_reserve(store->contents, n)) {
      return false;
    }
    for (uint64_t i = 0; i < n && !run.zero; i++) {
      st_contents_gone(store->contents, run.first + i, sequence);
    }
  }
  return run_add(&store->zeros, first, count);
}

static int run_order(const void *a, const void *b) {
  uint64_t x = ((const struct st_gone *)a)->first, y = ((const struct st_gone *)b)->first;
  return x < y ? -1 : x > y;
}

void st_zeros_sort(st_zeros *z) {
  size_t count = 0;
  if (z->count != 0) {
    qsort(z->run, z->count, sizeof *z->run, run_order);
  }
  for (size_t i = 0; i < z->count; i++) {
    struct st_gone *last = count != 0 ? &z->run[count - 1] : NULL, *now = &z->run[i];
    if (last == NULL || now->first > last->first + last->count) {
      z->run[count++] = *now;
    } else if (now->first + now->count > last->first + last->count) {
      last->count = now->first + now->count - last->first;
    }
  }
  z->count = count;
}

bool st_zeros_next(const st_zeros *z, uint64_t page, rt_image_run *out) {
  size_t low = 0, high = z->count;
  while (low < high) { // the first that ends behind the page
    size_t middle = (low + high) / 2;
    if (z->run[middle].first + z->run[middle].count <= page) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == z->count) {
    return false;
  }
  const struct st_gone *run = &z->run[low];
  uint64_t first = run->first > page ? run->first : page;
  *out = (rt_image_run){first, run->first + run->count - first, true};
  return true;
}

// The next fold puts zeros where the image has nothing, and takes away what is not in use.
static bool page_settle(veil_store *store, uint64_t page, uint64_t sequence) {
  bool zeros, known = st_contents_items(store->contents, page, NULL, 0, &zeros) != 0 || zeros;
  if (known || rt_image_has(store->image, page) == st_bit(store->has, page)) {
    return true;
  }
  if (!st_contents_reserve(store->contents, 1)) {
    return false;
  }
  st_contents_gone(store->contents, page, sequence);
  return true;
}

bool st_zeros_settle(veil_store *store) {
  uint64_t last = st_log_tail(store->log).sequence - 1;
  for (size_t i = 0; i < store->zeros.count; i++) {
    const struct st_gone *run = &store->zeros.run[i];
    for (uint64_t page = run->first; page < run->first + run->count && page < store->has_top; page++) {
      if (!page_settle(store, page, last)) {
        rt_error_set("%s: no memory for what its log has", store->path);
        return false;
      }
    }
  }
  st_zeros_free(&store->zeros);
  return true;
}

void st_zeros_free(st_zeros *z) {
  free(z->run);
  *z = (st_zeros){.run = NULL};
}
