// SPDX-License-Identifier: MIT
// rollback.c: the heap goes back to the last commit.
//
// Neighbours: runtime/rollback.c does it, with what contents.h and the sections have. The thread is `taking` meanwhile, so no instant comes between. Keeps st.back.

#include <stdio.h>
#include <stdlib.h>
#include "runtime/error.h"
#include "runtime/store/inner.h"
#include "runtime/store/types.h"

typedef struct back {
  veil_store *store;
  veil_status status;
  char why[ST_ERROR];
} back;

// Between brackets, as what follows. Commits that were begun are durable, or it is not known what the disk has; then none begins, and what is committed stays as it is.
static void turn_take(void *arg) {
  back *b = arg;
  veil_store *store = b->store;
  pthread_mutex_lock(&store->lock);
  while (store->taking) {
    pthread_cond_wait(&store->happened, &store->lock);
  }
  store->taking = true;
  uint64_t appended = store->appended;
  pthread_mutex_unlock(&store->lock);
  b->status = st_write(store, appended);
  if (b->status == VEIL_OK) {
    pthread_mutex_lock(&store->lock);
    b->status = store->poison;
    if (b->status != VEIL_OK) {
      rt_error_set("%s", store->poison_why);
    }
    pthread_mutex_unlock(&store->lock);
  }
  snprintf(b->why, sizeof b->why, "%s", b->status != VEIL_OK ? veil_error() : "");
  if (b->status == VEIL_OK) {
    pthread_mutex_lock(&store->contents_lock); // who waits for it does so between brackets, or is no mutator
  }
}

static void turn_give(void *arg) {
  veil_store *store = ((back *)arg)->store;
  pthread_mutex_lock(&store->lock);
  store->taking = false;
  pthread_mutex_unlock(&store->lock);
  st_wake(store, 0, ST_TURNS - 1);
}

// ---- What was committed.

static veil_status section(void *arg, const char *name, const void **bytes, size_t *size) {
  const st_section *found = st_section_find(&((veil_store *)arg)->sections, name);
  if (found == NULL) {
    return VEIL_INVALID;
  }
  *bytes = found->bytes;
  *size = found->size;
  return VEIL_OK;
}

static bool page_read(void *arg, size_t page, void *to) { return st_contents_read(((veil_store *)arg)->contents, page, to) == VEIL_OK; }

static veil_status committed_use(veil_store *store, veil_past_figures *out) {
  const st_section *named = st_section_find(&store->sections, "roots");
  veil_past past = {.section = section, .read = page_read, .arg = store, .as_opened = store->moved_away, .drop_finalizers = store->options.drop_finalizers};
  veil_root_described *roots = named != NULL ? st_roots_decode(named->bytes, named->size, &past.root_count) : NULL;
  if (named != NULL && roots == NULL) {
    rt_error_set("%s: no memory for a list of roots", store->path);
    return VEIL_NO_MEMORY;
  }
  past.roots = roots;
  veil_status status = veil_service_rollback(store->service, &past, out);
  free(roots);
  return status;
}

// Nothing of what a commit that failed has found is there any more; and all has moved, as after a cycle.
static void owed_forget(veil_store *store) {
  st_change *c = &store->change;
  st_sections_free(&c->sections);
  c->gone_count = 0;
  c->looked = true;
}

ST_EXPORT veil_status veil_store_rollback(veil_store *store, veil_rollback_figures *out) {
  veil_past_figures figures = {0};
  veil_status status = st_refused(store, "veil_store_rollback");
  if (status != VEIL_OK) {
    return status;
  }
  back b = {.store = store};
  veil_service_wait(store->heap, turn_take, &b);
  if (b.status == VEIL_OK) {
    b.status = committed_use(store, &figures);
    if (b.status == VEIL_OK) {
      owed_forget(store);
    } else {
      snprintf(b.why, sizeof b.why, "%s: %s", store->path, veil_error());
    }
    pthread_mutex_unlock(&store->contents_lock);
  }
  if (b.status == VEIL_OK) {
    veil_description_close(store->description); // nothing is believed of it
    store->description = NULL;
  }
  veil_service_wait(store->heap, turn_give, &b);
  if (b.status != VEIL_OK) {
    rt_error_set("%s", b.why);
  }
  if (out != NULL) {
    *out = (veil_rollback_figures){.pages = figures.pages, .came = figures.came, .went = figures.went, .finalizers = figures.finalizers, .pause_ns = figures.pause_ns};
  }
  return b.status;
}
