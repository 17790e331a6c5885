// SPDX-License-Identifier: MIT
// compact.c: the image written anew, without what no version needs (st.compact).
//
// Neighbours: runtime/image copies; fold.c's thread calls it in the background, open.c when the store is closed, programs by veil_store_compact. By who is `folding`: commits go on meanwhile, as long as the log has room.

#include <limits.h>
#include <stdio.h>
#include "runtime/error.h"
#include "runtime/store/inner.h"

enum { PERCENT_DEFAULT = 200, GIVEN_UP_MOST = 2 };

bool st_compact_is_due(const veil_store *store, unsigned times) {
  unsigned percent = store->options.compact != 0 ? store->options.compact : PERCENT_DEFAULT;
  if (percent == UINT_MAX || store->image == NULL || store->log == NULL) {
    return false;
  }
  const rt_image_info *info = rt_image_info_of(store->image);
  uint64_t more = info->file > info->needed ? info->file - info->needed : 0;
  return info->file >= store->compact_next && more / times > st_log_bytes(store->log) && info->file / times > info->needed / 100 * percent;
}

typedef struct compaction {
  veil_store *store;
  bool gives_way;
} compaction;

// Who waits is served first, unless half of it is done, or that has happened too often: a log that is always full would else keep the file from ever becoming shorter.
static bool goes_on(void *arg, uint64_t done, uint64_t of) {
  const compaction *c = arg;
  veil_store *store = c->store;
  pthread_mutex_lock(&store->lock);
  bool on = !c->gives_way || (!store->closing && (store->fold_waiters == 0 || done > of / 2 || store->given_up >= GIVEN_UP_MOST));
  pthread_mutex_unlock(&store->lock);
  return on;
}

// It has what the one before has, so what the log has for pages stays.
static void image_use(veil_store *store, rt_image *image) {
  pthread_mutex_lock(&store->contents_lock);
  rt_image *before = store->image;
  store->image = image;
  st_contents_image(store->contents, image);
  pthread_mutex_unlock(&store->contents_lock);
  rt_image_free(before);
  if (STORE_BREAK == STORE_BREAK_COMPACT) {
    st_fold_pretend(store);
  }
}

static void figures_note(veil_store *store) {
  const rt_image_info *info = rt_image_info_of(store->image);
  pthread_mutex_lock(&store->lock);
  store->given_up = 0;
  store->figures.compactions++;
  store->figures.image_bytes = info->file;
  store->figures.image_needed = info->needed;
  pthread_mutex_unlock(&store->lock);
}

static void failed_note(veil_store *store, veil_status status) {
  const rt_image_info *info = rt_image_info_of(store->image);
  pthread_mutex_lock(&store->lock);
  if (status == VEIL_BUSY) { // it gave way
    store->given_up++;
  } else { // the disk is full, perhaps: a good deal later once more
    store->compact_next = info->file + info->needed / 4 + st_log_bytes(store->log);
  }
  pthread_mutex_unlock(&store->lock);
}

veil_status st_compact(veil_store *store, bool gives_way) {
  compaction c = {store, gives_way};
  rt_image *image;
  st_all_read_wait(store);
  if (store->writer == NULL) {
    rt_error_set("%s: is not open for compaction, after an error; a fold opens it again", store->path);
    return VEIL_IO;
  }
  uint64_t version = rt_image_info_of(store->image)->version + 1;
  veil_status status = rt_image_compact_held(&store->writer, store->image, goes_on, &c);
  if (status == VEIL_OK) {
    store->compact_next = 0;
    status = st_version_open(store, version, &image);
  }
  if (status == VEIL_OK) {
    image_use(store, image);
    figures_note(store);
  } else {
    char why[ST_ERROR];
    snprintf(why, sizeof why, "%s", veil_error());
    failed_note(store, status);
    rt_error_set("%s", why);
  }
  return status;
}

void st_compact_look(veil_store *store) {
  if (store->writer != NULL && st_compact_is_due(store, 1)) {
    st_compact(store, true); // nobody waits for it, and the next fold tries again
  }
}

// ---- The call.

typedef struct asked {
  veil_store *store;
  veil_status status;
  char why[ST_ERROR];
} asked;

// Between brackets. First a fold: what it replaces would be dead at once.
static void compact_make(void *arg) {
  asked *a = arg;
  st_fold_begin(a->store);
  a->status = st_fold(a->store, NULL, false);
  a->status = a->status == VEIL_OK ? st_compact(a->store, false) : a->status;
  snprintf(a->why, sizeof a->why, "%s", a->status != VEIL_OK ? veil_error() : "");
  st_fold_end(a->store);
}

ST_EXPORT veil_status veil_store_compact(veil_store *store) {
  veil_status status = st_refused(store, "veil_store_compact");
  if (status != VEIL_OK) {
    return status;
  }
  asked a = {.store = store};
  veil_service_wait(store->heap, compact_make, &a);
  if (a.status != VEIL_OK) {
    rt_error_set("%s", a.why);
  }
  return a.status;
}
