// SPDX-License-Identifier: MIT
// fold.c: what was committed goes into the image, so that the log's space can be used again.
//
// Neighbours: the store's own thread does it when half of the log is used, whoever commits when there is no room (change.c), open.c at the end. One at a time (`folding`). It also writes the log for those who do not wait
// (veil_store_commit_async).
//
// Pages are put as they are when the fold comes to them, perhaps newer than the place from which the log goes on: st.redo.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include "runtime/described.h"
#include "runtime/error.h"
#include "runtime/store/inner.h"
#include "runtime/store/types.h"

enum { BATCH = 16 }; // pages read at once

void st_fold_begin(veil_store *store) {
  pthread_mutex_lock(&store->lock);
  store->fold_waiters++;
  while (store->folding) {
    pthread_cond_wait(&store->happened, &store->lock);
  }
  store->fold_waiters--;
  store->folding = true;
  pthread_mutex_unlock(&store->lock);
}

void st_fold_end(veil_store *store) {
  pthread_mutex_lock(&store->lock);
  store->folding = false;
  pthread_cond_broadcast(&store->happened);
  pthread_mutex_unlock(&store->lock);
}

bool st_fold_is_due(const veil_store *store) { return store->log != NULL && store->all_read && at_load(&store->log_used) > st_log_bytes(store->log) / 2; }

void st_all_read_wait(veil_store *store) {
  pthread_mutex_lock(&store->lock);
  bool all = store->all_read;
  pthread_mutex_unlock(&store->lock);
  if (!all && store->heap != NULL) {
    veil_source_fetch(store->heap);
  }
  pthread_mutex_lock(&store->lock);
  while (!store->all_read) {
    pthread_cond_wait(&store->happened, &store->lock);
  }
  pthread_mutex_unlock(&store->lock);
}

// ---- Pages.

static bool is_changed(const st_change *change, uint64_t page) {
  size_t low = 0, high = change != NULL ? change->count : 0;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (change->pages[middle] < page) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return change != NULL && low < change->count && change->pages[low] == page;
}

// Those of the list, from *next on, that lie one behind the other, all of them in use or none: how many were read. Where the heap is not as it was committed, what it has in use says nothing of that: then zeros are put.
static size_t batch_read(veil_store *store, const uint64_t *list, size_t count, char *buffer, bool *has, veil_status *status) {
  size_t n = 0;
  pthread_mutex_lock(&store->contents_lock);
  *has = store->moved_away || st_bit(store->has, list[0]);
  while (n < count && n < BATCH && list[n] == list[0] + n && (store->moved_away || st_bit(store->has, list[n]) == *has) && *status == VEIL_OK) {
    *status = *has ? st_contents_read(store->contents, list[n], buffer + n * store->pages.page_size) : VEIL_OK;
    n++;
  }
  pthread_mutex_unlock(&store->contents_lock);
  return n;
}

static veil_status listed_put(veil_store *store, const uint64_t *list, size_t count, const st_change *change, char *buffer) {
  veil_status status = VEIL_OK;
  for (size_t i = 0, n; i < count && status == VEIL_OK; i += n) {
    bool has;
    n = 1;
    if (is_changed(change, list[i])) {
      continue;
    }
    n = batch_read(store, list + i, count - i, buffer, &has, &status);
    if (status == VEIL_OK) {
      status = has ? rt_image_put(store->writer, list[i], n, buffer) : rt_image_remove(store->writer, list[i], n);
    }
    if (status == VEIL_OK) {
      pthread_mutex_lock(&store->lock);
      store->figures.folded_pages += n;
      pthread_mutex_unlock(&store->lock);
    }
  }
  return status;
}

static veil_status changed_put(veil_store *store, const st_change *change) {
  veil_status status = VEIL_OK;
  for (size_t i = 0; i < change->gone_count && status == VEIL_OK && !store->moved_away; i++) {
    status = rt_image_remove(store->writer, change->gone[i].first, change->gone[i].count);
  }
  for (size_t i = 0, n; i < change->count && status == VEIL_OK; i += n) {
    for (n = 1; n < BATCH && i + n < change->count && change->pages[i + n] == change->pages[i] + n; n++) {
    }
    status = rt_image_put(store->writer, change->pages[i], n, st_change_copy(change, i, store->pages.page_size));
  }
  return status;
}

// ---- Sections.

static veil_status types_put(veil_store *store, const st_section *s) {
  size_t count;
  veil_type_described *from = st_types_decode(s->bytes, s->size, &count);
  rt_image_type *types = from != NULL ? rt_types_to_image(from, count) : NULL;
  if (types == NULL) {
    free(from);
    rt_error_set("%s: no memory for a list of types", store->path);
    return VEIL_NO_MEMORY;
  }
  veil_status status = rt_image_put_types(store->writer, types, count);
  free(types);
  free(from);
  return status;
}

static veil_status roots_put(veil_store *store, const st_section *s) {
  size_t count;
  veil_root_described *from = st_roots_decode(s->bytes, s->size, &count);
  rt_image_root *roots = from != NULL ? rt_roots_to_image(from, count) : NULL;
  if (roots == NULL) {
    free(from);
    rt_error_set("%s: no memory for a list of roots", store->path);
    return VEIL_NO_MEMORY;
  }
  veil_status status = rt_image_put_roots(store->writer, roots, count);
  free(roots);
  free(from);
  return status;
}

static veil_status section_put(veil_store *store, const st_section *s) {
  if (strcmp(s->name, "types") == 0) {
    return types_put(store, s);
  }
  if (strcmp(s->name, "roots") == 0) {
    return roots_put(store, s);
  }
  return rt_image_put_section(store->writer, s->name, s->bytes, s->size);
}

static veil_status sections_put(veil_store *store, st_sections *sections) {
  veil_status status = VEIL_OK;
  for (size_t i = 0; i < sections->count && status == VEIL_OK; i++) {
    if (!sections->at[i].folded) {
      status = section_put(store, &sections->at[i]);
      sections->at[i].folded = status == VEIL_OK; // unless it is set again; if the version fails, st_fold takes that back
    }
  }
  return status;
}

// All has been put.
static veil_status mark_put(veil_store *store, st_log_place place, bool closed) {
  pthread_mutex_lock(&store->contents_lock);
  uint64_t upto = store->log != NULL ? st_log_tail(store->log).sequence : place.sequence;
  pthread_mutex_unlock(&store->contents_lock);
  return st_mark_put(store->writer, store->id, place, upto > place.sequence ? upto : place.sequence, closed);
}

// ---- A version.

// In the place of the one that there is; its lock goes, but nobody opens the store without the log's.
static veil_status image_anew(veil_store *store) {
  rt_image_options options = {.io = store->io};
  rt_image_layout layout = {.page_size = (uint32_t)store->pages.page_size, .base = (uint64_t)(uintptr_t)store->pages.base, .span = store->pages.count * store->pages.page_size};
  rt_image_close(store->writer);
  veil_status status = rt_image_create(&store->writer, store->path, &layout, &options);
  if (status != VEIL_OK) {
    store->writer = NULL;
    return status;
  }
  pthread_mutex_lock(&store->contents_lock);
  for (size_t i = 0; i < store->sections.count; i++) {
    store->sections.at[i].folded = false;
  }
  pthread_mutex_unlock(&store->contents_lock);
  return rt_image_begin(store->writer);
}

static veil_status begin(veil_store *store) {
  if (store->writer == NULL) {
    rt_image_options options = {.io = store->io};
    veil_status status = rt_image_append(&store->writer, store->path, &options);
    if (status != VEIL_OK) {
      store->writer = NULL;
      return status;
    }
  }
  return rt_image_begin(store->writer);
}

// The heap is not where the image says, and the change has all of it. What was committed before, without a change, goes into the image that there is.
static bool is_anew(const veil_store *store, const st_change *change) { return store->moved_away && change != NULL; }

// All but the commit. *place: from where on the log counts.
static veil_status version_put(veil_store *store, const st_change *change, bool closed, st_log_place *place) {
  size_t count = 0;
  pthread_mutex_lock(&store->contents_lock);
  if (store->log != NULL) {
    *place = st_log_tail(store->log);
    place->sequence += change != NULL; // st.gap
  }
  uint64_t *list = st_contents_list(store->contents, &count);
  pthread_mutex_unlock(&store->contents_lock);
  char *buffer = malloc(BATCH * store->pages.page_size);
  veil_status status = VEIL_NO_MEMORY;
  if (list == NULL || buffer == NULL) {
    rt_error_set("%s: no memory to fold its log", store->path);
  } else {
    status = is_anew(store, change) ? VEIL_OK : listed_put(store, list, count, change, buffer); // else the change has everything
  }
  free(list);
  free(buffer);
  status = status == VEIL_OK && change != NULL ? changed_put(store, change) : status;
  if (status != VEIL_OK) {
    return status;
  }
  pthread_mutex_lock(&store->contents_lock);
  status = sections_put(store, &store->sections);
  pthread_mutex_unlock(&store->contents_lock);
  status = status == VEIL_OK && change != NULL ? sections_put(store, (st_sections *)&change->sections) : status;
  return status == VEIL_OK ? mark_put(store, *place, closed) : status;
}

static void version_failed(veil_store *store, const st_change *change) {
  rt_image_close(store->writer);
  store->writer = NULL;
  pthread_mutex_lock(&store->contents_lock);
  for (size_t i = 0; i < store->sections.count; i++) {
    store->sections.at[i].folded = false;
  }
  for (size_t i = 0; change != NULL && i < change->sections.count; i++) {
    change->sections.at[i].folded = false;
  }
  pthread_mutex_unlock(&store->contents_lock);
}

// The image's newest version counts from here on.
static void version_use(veil_store *store, rt_image *image, const st_change *change, st_log_place place) {
  pthread_mutex_lock(&store->contents_lock);
  rt_image *before = store->image;
  store->image = image;
  if (change != NULL) { // else nobody else need be kept from reading it
    store->moved_away = false;
  }
  st_contents_folded(store->contents, image, place.sequence);
  if (change != NULL) {
    st_change_apply(store, NULL, 0);
  }
  if (store->log != NULL) {
    if (change != NULL) {
      st_log_skip(store->log);
    }
    st_log_advance(store->log, place);
    at_store(&store->log_used, st_log_used(store->log));
  }
  pthread_mutex_unlock(&store->contents_lock);
  rt_image_free(before);
}

// The one that was committed: where it cannot be read, an older one may open.
veil_status st_version_open(veil_store *store, uint64_t version, rt_image **image) {
  rt_image_options options = {.io = store->io};
  veil_status status = rt_image_open(image, store->path, &options);
  if (status == VEIL_OK && rt_image_info_of(*image)->version != version) {
    rt_error_set("%s: what was folded cannot be read: %s", store->path, rt_image_info_of(*image)->damage);
    rt_image_free(*image);
    status = VEIL_IO;
  }
  return status;
}

static bool image_is_as_before(veil_store *store) {
  rt_image *image;
  rt_image_options options = {.io = store->io};
  if (rt_image_open(&image, store->path, &options) != VEIL_OK) {
    return false;
  }
  const rt_image_info *now = rt_image_info_of(image), *before = store->image != NULL ? rt_image_info_of(store->image) : NULL;
  bool same = before != NULL && now->version == before->version && now->layout.base == before->layout.base;
  rt_image_free(image);
  return same;
}

// Rules that are broken on purpose (STORE_BREAK): as if the image had all that the log has.
void st_fold_pretend(veil_store *store) {
  pthread_mutex_lock(&store->contents_lock);
  st_log_place all = st_log_tail(store->log); // what others commit from here on may not be durable below
  pthread_mutex_unlock(&store->contents_lock);
  if (st_write_all(store) == VEIL_OK) {
    pthread_mutex_lock(&store->contents_lock);
    st_contents_folded(store->contents, store->image, all.sequence);
    st_log_advance(store->log, all);
    pthread_mutex_unlock(&store->contents_lock);
  }
}

// A version that failed. If the image may have it all the same (im.once), no record can follow what was committed before it, and the store is poisoned: st.once. But where all is put anew, it is once more.
static bool version_lost(veil_store *store, const st_change *change, bool commits) {
  char why[ST_ERROR];
  snprintf(why, sizeof why, "%s", veil_error());
  version_failed(store, change);
  if (STORE_BREAK == STORE_BREAK_SPACE && change == NULL) {
    st_fold_pretend(store);
  }
  bool same = !commits || change == NULL || store->moved_away || STORE_BREAK == STORE_BREAK_SURE || image_is_as_before(store);
  rt_error_set("%s", why);
  if (!same) {
    st_poison(store, VEIL_IO);
  }
  return !same;
}

veil_status st_fold(veil_store *store, const st_change *change, bool closed) {
  st_all_read_wait(store);
  st_log_place place = store->first;
  rt_image *image = NULL;
  rt_image_committed committed;
  veil_status status = is_anew(store, change) ? image_anew(store) : begin(store);
  status = status == VEIL_OK ? version_put(store, change, closed, &place) : status;
  if (status == VEIL_OK && store->log != NULL && STORE_BREAK != STORE_BREAK_ORDER) { // st.order
    status = st_write_all(store);
  }
  bool commits = status == VEIL_OK;
  status = commits ? rt_image_commit(store->writer, &committed) : status;
  if (status != VEIL_OK) {
    return version_lost(store, change, commits) ? VEIL_IO : status; // nobody tries again
  }
  status = st_version_open(store, committed.version, &image);
  if (status == VEIL_OK) {
    version_use(store, image, change, place);
    pthread_mutex_lock(&store->lock);
    store->figures.folds++;
    store->figures.image_bytes = committed.file;
    store->figures.image_needed = rt_image_info_of(image)->needed;
    pthread_mutex_unlock(&store->lock);
  } else if (change != NULL) {
    status = VEIL_IO;         // nobody tries again, as for lack of memory
    st_poison(store, status); // it is durable, and not in what we believe of the image
  }
  return status;
}

// ---- The thread.

void *st_folder_main(void *arg) {
  veil_store *store = arg;
  prctl(PR_SET_NAME, "veil-store");
  pthread_mutex_lock(&store->lock);
  while (!store->closing) {
    bool write = store->write_wanted, fold = store->fold_wanted, compact = store->compact_wanted && store->all_read;
    uint64_t appended = store->appended;
    store->write_wanted = store->fold_wanted = false;
    store->compact_wanted = store->compact_wanted && !compact;
    if (!write && !fold && !compact) {
      pthread_cond_wait(&store->folder_wanted, &store->lock);
      continue;
    }
    pthread_mutex_unlock(&store->lock);
    if (write) {
      st_write(store, appended); // who waits for it is told what is wrong
    }
    if (fold || compact) {
      st_fold_begin(store);
      if (!fold || st_fold(store, NULL, false) == VEIL_OK) { // whoever needs the room tries again, and is told why it fails
        st_compact_look(store);
      }
      st_fold_end(store);
    }
    pthread_mutex_lock(&store->lock);
  }
  pthread_mutex_unlock(&store->lock);
  return NULL;
}
