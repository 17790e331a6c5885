// SPDX-License-Identifier: MIT
// backup.c: a copy of a store, as of its last commit, while it is used.
//
// Neighbours: fold.c makes the image whole, runtime/image copies. Nobody takes an instant while that happens, and nobody folds until the copy is made: commits go on, as long as the log has room.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/error.h"
#include "runtime/store/inner.h"

enum { RUN_BYTES = 4 << 20 };

typedef struct backup {
  veil_store *store;
  const char *to;
  veil_status status;
  char why[ST_ERROR];
} backup;

// As if this thread took an instant, so that what the log has does not become more.
static veil_status image_complete(veil_store *store) {
  pthread_mutex_lock(&store->lock);
  while (store->taking) {
    pthread_cond_wait(&store->happened, &store->lock);
  }
  store->taking = true;
  pthread_mutex_unlock(&store->lock);
  veil_status status = VEIL_OK;
  if (store->moved_away) {
    rt_error_set("%s: was opened at another address, and nothing was committed since: commit first", store->path);
    status = VEIL_BUSY;
  } else {
    status = st_fold(store, NULL, false);
  }
  pthread_mutex_lock(&store->lock);
  store->taking = false;
  pthread_mutex_unlock(&store->lock);
  st_wake(store, 0, ST_TURNS - 1);
  return status;
}

static veil_status pages_copy(const rt_image *from, rt_image_writer *to) {
  size_t page_size = rt_image_info_of(from)->layout.page_size;
  uint64_t most = RUN_BYTES / page_size;
  char *buffer = malloc(RUN_BYTES);
  if (buffer == NULL) {
    rt_error_set("veil_store_backup: no memory");
    return VEIL_NO_MEMORY;
  }
  veil_status status = VEIL_OK;
  rt_image_run run;
  for (uint64_t page = 0; status == VEIL_OK && rt_image_next(from, page, &run);) {
    uint64_t count = run.count < most ? run.count : most;
    status = rt_image_read(from, run.first, count, buffer, NULL);
    status = status == VEIL_OK ? rt_image_put(to, run.first, count, buffer) : status;
    page = run.first + count;
  }
  free(buffer);
  return status;
}

static veil_status sections_copy(const veil_store *store, rt_image_writer *to) {
  const rt_image *from = store->image;
  const rt_image_type *types;
  const rt_image_root *roots;
  size_t type_count = rt_image_types(from, &types), root_count = rt_image_roots(from, &roots);
  veil_status status = rt_image_put_types(to, types, type_count);
  status = status == VEIL_OK ? rt_image_put_roots(to, roots, root_count) : status;
  const char *name;
  for (size_t i = 0; status == VEIL_OK && (name = rt_image_section_name(from, i)) != NULL; i++) {
    const void *bytes;
    size_t size;
    if (strcmp(name, "types") != 0 && strcmp(name, "roots") != 0 && strcmp(name, ST_MARK_SECTION) != 0) {
      status = rt_image_section(from, name, &bytes, &size);
      status = status == VEIL_OK ? rt_image_put_section(to, name, bytes, size) : status;
    }
  }
  // A store of its own, which needs no log yet.
  uint64_t id[2];
  if (status == VEIL_OK && !st_mark_new(store->path, id)) {
    return VEIL_IO;
  }
  return status == VEIL_OK ? st_mark_put(to, id, (st_log_place){.sequence = 1}, 1, true) : status;
}

static veil_status copy_make(const veil_store *store, const char *to) {
  uint64_t identity[2];
  if (store->io->identity(store->io->context, to, identity) == 0) {
    rt_error_set("veil_store_backup: %s: there is one already", to);
    return VEIL_INVALID;
  }
  rt_image_options options = {.io = store->io};
  rt_image_writer *writer;
  veil_status status = rt_image_create(&writer, to, &rt_image_info_of(store->image)->layout, &options);
  if (status != VEIL_OK) {
    return status;
  }
  status = rt_image_begin(writer);
  status = status == VEIL_OK ? pages_copy(store->image, writer) : status;
  status = status == VEIL_OK ? sections_copy(store, writer) : status;
  status = status == VEIL_OK ? rt_image_commit(writer, NULL) : status;
  char why[ST_ERROR];
  snprintf(why, sizeof why, "%s", status != VEIL_OK ? veil_error() : "");
  rt_image_close(writer);
  if (status != VEIL_OK) {
    rt_error_set("%s", why);
  }
  return status;
}

// Between brackets.
static void backup_make(void *arg) {
  backup *b = arg;
  st_fold_begin(b->store);
  b->status = image_complete(b->store);
  b->status = b->status == VEIL_OK ? copy_make(b->store, b->to) : b->status;
  snprintf(b->why, sizeof b->why, "%s", b->status != VEIL_OK ? veil_error() : "");
  st_fold_end(b->store);
}

ST_EXPORT veil_status veil_store_backup(veil_store *store, const char *to) {
  veil_status status = st_refused(store, "veil_store_backup");
  if (status != VEIL_OK) {
    return status;
  }
  if (to == NULL || *to == 0) {
    rt_error_set("veil_store_backup: no path");
    return VEIL_INVALID;
  }
  backup b = {.store = store, .to = to};
  veil_service_wait(store->heap, backup_make, &b);
  if (b.status != VEIL_OK) {
    rt_error_set("%s", b.why);
  }
  return b.status;
}
