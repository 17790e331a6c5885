// SPDX-License-Identifier: MIT
// mounted_store.c: the store as a subject. See mounted_trials.h.

#include <stdio.h>
#include <string.h>
#include "runtime/image/inner.h"
#include "runtime/store/inner.h"
#include "runtime/store/log_inner.h"
#include "tests/store/graph.h"
#include "tests/store/mounted_trials.h"

enum log_break st_log_break;
enum store_break rt_store_break;
enum image_break rt_image_break;

static veil_store *store;
static veil_thread *self;

static bool weaken(const char *rule) {
  if (strcmp(rule, "barrier") == 0) {
    st_log_break = LOG_BREAK_BARRIER;
  } else if (strcmp(rule, "sum") == 0) {
    st_log_break = LOG_BREAK_SUM;
  } else if (strcmp(rule, "name") == 0) {
    st_log_break = LOG_BREAK_NAME;
  } else if (strcmp(rule, "zeros") == 0) {
    st_log_break = LOG_BREAK_ZEROS;
  } else if (strcmp(rule, "order") == 0) {
    rt_store_break = STORE_BREAK_ORDER;
  } else if (strcmp(rule, "barrier_data") == 0) {
    rt_image_break = BREAK_BARRIER_DATA;
  } else if (strcmp(rule, "barrier_header") == 0) {
    rt_image_break = BREAK_BARRIER_HEADER;
  } else if (strcmp(rule, "barrier_directory") == 0) {
    rt_image_break = BREAK_BARRIER_DIRECTORY;
  } else {
    return false;
  }
  return true;
}

static bool opens(const char *folder, uint64_t *dice) {
  veil_options options = {.limit = 32 << 20, .headroom = 2 << 20, .nursery = 256 << 10, .stop = VEIL_STOP_POLL};
  veil_store_options wanted = {.types = graph_types,
                               .type_count = GRAPH_TYPES,
                               .log = 1 << 20,
                               .cache = 1 << 20,
                               .elsewhere = graph_dice(dice) % 5 == 0};
  char path[200];
  snprintf(path, sizeof path, "%s/heap.veil", folder);
  store = veil_store_open(path, &options, &wanted);
  if (store != NULL) {
    self = veil_attach(veil_store_heap(store));
  }
  return store != NULL;
}

static void changes(uint64_t *dice) {
  graph_change(self, dice, graph_dice(dice) % 3 == 0 ? 150 : 20, graph_dice(dice) % 2 == 0);
  graph_collect(self, dice);
  graph_number_set(self, graph_number(self) + 1);
}

static uint64_t hash(void) { return graph_hash(self); }

static bool commits(uint64_t *dice) {
  uint64_t ticket;
  if (graph_dice(dice) % 4 != 0) {
    return veil_store_commit(store, NULL) == VEIL_OK;
  }
  return veil_store_commit_async(store, &ticket) == VEIL_OK && veil_store_wait(store, ticket) == VEIL_OK;
}

static bool closes(void) {
  veil_verify(self);
  veil_detach(self);
  return veil_store_close(store) == VEIL_OK;
}

static const char *why(void) { return veil_error(); }

const subject subject_store = {"store", true, weaken, opens, changes, hash, commits, closes, why};
