// SPDX-License-Identifier: MIT
// store_undo.c: random steps on a store: changes, cycles, commits, rollbacks, checkpoints, other addresses. After a rollback, and when the store is opened again, the graph has the hash that it had at the last commit.
//
//   store_undo [--steps N] [--back-end NAME] [--stop signal|poll]
//
// UNDO_SEED=n repeats the choices of the main thread. Beside it one thread commits, and two make garbage.

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "tests/store/graph.h"
#include "veil/checkpoint.h"
#include "veil/identity.h"
#include "veil/roots.h"
#include "veil/store.h"
#include "veil/table.h"
#include "veil/weak.h"

enum { SKIPPED = 77, LOG = 1 << 20, CACHE = 1 << 20, OTHERS = 3, NAME = 330 };

static veil_options options = {.limit = 96 << 20, .headroom = 2 << 20, .nursery = 256 << 10, .verify = 1};
static uint64_t seed, state;
static char path[300];
static veil_store *store;
static veil_heap *heap;
static veil_thread *self;
static unsigned rollbacks, commits, opens, busy;

// The graph is whole while nobody has it. Who waits for it is between brackets.
static pthread_mutex_t graph = PTHREAD_MUTEX_INITIALIZER;
static uint64_t now, committed; // hashes; under it
static atomic_bool ends;
static pthread_t others[OTHERS];

static _Noreturn void wrong(const char *what, const char *more) {
  printf("FOUND: %s: %s (UNDO_SEED=%" PRIu64 ")\n", what, more, seed);
  fflush(stdout);
  abort();
}

static void must(veil_status status, const char *what) {
  if (status != VEIL_OK) {
    wrong(what, veil_error());
  }
}

static void graph_take(veil_thread *t) {
  veil_block_begin(t);
  pthread_mutex_lock(&graph);
  veil_block_end(t);
}
static void graph_give(void) { pthread_mutex_unlock(&graph); }

// ---- Weak references and tables, under names: part of what is compared.

enum { WEAKS = 8 };

static void weak_name(unsigned i, char *name) { snprintf(name, NAME, "weak %u", i); }

static __attribute__((noinline)) void weaks_change(void) {
  char name[NAME];
  weak_name((unsigned)(graph_dice(&state) % WEAKS), name);
  void *some = veil_root_get(self, "table 0");
  uint64_t what = graph_dice(&state) % 6;
  void *at = veil_root_get(self, name);
  if (at == NULL && what < 3) {
    must(veil_root_set(self, name, veil_weak_new(self, what == 0 ? NULL : some)), "a root");
  } else if (at != NULL && what == 3) {
    must(veil_root_set(self, name, NULL), "no root");
  } else if (at != NULL) {
    veil_weak_set(self, at, what == 4 ? NULL : some);
  }
  veil_table *table = veil_root_get(self, "keys");
  if (table == NULL) {
    table = veil_table_new(self, VEIL_WEAK_KEYS);
    must(veil_root_set(self, "keys", table), "a root");
  }
  some = veil_root_get(self, "table 1");
  if (some != NULL && what % 2 == 0) {
    must(veil_table_put(self, table, some, table), "an entry");
  } else if (some != NULL) {
    veil_table_remove(self, table, some);
  }
}

static __attribute__((noinline)) uint64_t weaks_hash(void) {
  uint64_t hash = 0;
  char name[NAME];
  void *some = veil_root_get(self, "table 0"), *key = veil_root_get(self, "table 1");
  for (unsigned i = 0; i < WEAKS; i++) {
    weak_name(i, name);
    veil_weak *weak = veil_root_get(self, name);
    void *object = weak != NULL ? veil_weak_get(self, weak) : NULL;
    hash = hash * 3 + (weak != NULL) + (weak != NULL && object == some && some != NULL); // others may be dead, or not yet
  }
  veil_table *table = veil_root_get(self, "keys");
  void *value = table != NULL && key != NULL ? veil_table_get(self, table, key) : NULL;
  if (value != NULL && value != table) {
    wrong("an entry", "its value is another");
  }
  return hash * 3 + (table != NULL) + (value != NULL) + (key != NULL ? veil_hash(self, key) : 0);
}

static uint64_t hash_of_all(void) { return graph_hash(self) * 31 + weaks_hash(); }

// ---- Others.

static void *commit_now_and_then(void *arg) {
  veil_thread *t = veil_attach(heap);
  uint64_t dice = seed + (uintptr_t)arg, ticket;
  while (!atomic_load(&ends)) {
    graph_take(t);
    must(veil_store_commit_async(store, &ticket), "a commit of another thread");
    committed = now;
    graph_give();
    if (graph_dice(&dice) % 2 == 0) {
      must(veil_store_wait(store, ticket), "a commit of another thread");
    }
    veil_block_begin(t);
    usleep((useconds_t)(graph_dice(&dice) % 20000));
    veil_block_end(t);
  }
  veil_detach(t);
  return NULL;
}

static void *garbage_make(void *arg) {
  veil_thread *t = veil_attach(heap);
  uint64_t dice = seed + (uintptr_t)arg;
  while (!atomic_load(&ends)) {
    for (unsigned n = (unsigned)(graph_dice(&dice) % 12); n > 0; n--) { // nothing is kept over the poll
      void **p = veil_new_pointers(t, graph_dice(&dice) % 100 + 1);
      p[0] = veil_new_bytes(t, graph_dice(&dice) % (graph_dice(&dice) % 100 == 0 ? 200000 : 500) + 1);
      p[0] = veil_weak_new(t, p);
    }
    veil_poll(t);
    if (graph_dice(&dice) % 4 == 0) {
      veil_block_begin(t);
      usleep(500);
      veil_block_end(t);
    }
  }
  veil_detach(t);
  return NULL;
}

// ---- The store.

static void store_open(void) {
  veil_store_options wanted = {.types = graph_types, .type_count = GRAPH_TYPES, .log = LOG, .cache = CACHE, .elsewhere = graph_dice(&state) % 3 == 0};
  options.generations = (veil_generations)(graph_dice(&state) % 3);
  options.torture = graph_dice(&state) % 4 == 0 ? 60 : 0;
  options.seed = seed;
  if (options.back_end != NULL && strcmp(options.back_end, "none") == 0) {
    options.generations = VEIL_GENERATIONS_AUTO;
  }
  bool there = access(path, F_OK) == 0;
  store = veil_store_open(path, &options, &wanted);
  if (store == NULL && !there && options.back_end != NULL && strcmp(options.back_end, "mprotect") != 0 && strcmp(options.back_end, "none") != 0) {
    fprintf(stderr, "%s\n", veil_error());
    exit(SKIPPED);
  }
  if (store == NULL) {
    wrong("it does not open", veil_error());
  }
  heap = veil_store_heap(store);
  self = veil_attach(heap);
  opens++;
  now = hash_of_all();
  if (there && now != committed) {
    wrong("it was opened", "the hash is another");
  }
  committed = now;
  atomic_store(&ends, false);
  for (uintptr_t i = 0; i < OTHERS; i++) {
    if (pthread_create(&others[i], NULL, i == 0 ? commit_now_and_then : garbage_make, (void *)i) != 0) {
      wrong("no thread", "");
    }
  }
}

static void store_close(void) {
  atomic_store(&ends, true);
  veil_block_begin(self);
  for (int i = 0; i < OTHERS; i++) {
    pthread_join(others[i], NULL);
  }
  veil_block_end(self);
  veil_detach(self);
  must(veil_store_close(store), "it does not close");
}

static void roll_back(void) {
  veil_status status = veil_store_rollback(store, NULL);
  if (status == VEIL_BUSY) { // on a machine that has no time for a thread
    busy++;
    fprintf(stderr, "%s\n", veil_error());
    return;
  }
  must(status, "a rollback");
  rollbacks++;
  now = hash_of_all();
  if (now != committed) {
    wrong("a rollback", "the hash is another");
  }
}

static void step(veil_checkpointer *checkpointer) {
  graph_take(self);
  uint64_t what = graph_dice(&state) % 10;
  if (what < 5) {
    graph_change(self, &state, (unsigned)(graph_dice(&state) % (graph_dice(&state) % 8 == 0 ? 2000 : 100)), true);
    weaks_change();
    graph_collect(self, &state);
    now = hash_of_all();
  } else if (what < 6) {
    must(veil_store_commit(store, NULL), "a commit");
    committed = now;
    commits++;
  } else {
    roll_back();
  }
  graph_give();
  if (graph_dice(&state) % 30 == 0 && checkpointer != NULL) {
    must(veil_checkpoint(checkpointer, VEIL_CHECKPOINT_START, NULL), "a checkpoint");
  }
  veil_poll(self);
}

static void run(unsigned steps) {
  char image[NAME], log[NAME];
  snprintf(image, sizeof image, "%s.image", path);
  snprintf(log, sizeof log, "%s.log", path);
  for (unsigned done = 0; done < steps;) {
    store_open();
    veil_checkpointer *checkpointer = graph_dice(&state) % 2 == 0 ? veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = image, .pool = 1 << 20}) : NULL;
    for (unsigned n = (unsigned)(graph_dice(&state) % 60); n > 0; n--, done++) {
      step(checkpointer);
    }
    if (graph_dice(&state) % 2 == 0) {
      veil_verify(self);
    }
    if (checkpointer != NULL) {
      veil_checkpointer_close(checkpointer);
    }
    store_close();
  }
  unlink(image);
  unlink(path);
  unlink(log);
}

int main(int argc, char **argv) {
  unsigned steps = 300;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--steps") == 0) {
      steps = (unsigned)strtoul(argv[i + 1], NULL, 10);
    } else if (strcmp(argv[i], "--back-end") == 0) {
      options.back_end = argv[i + 1];
    } else if (strcmp(argv[i], "--stop") == 0) {
      options.stop = strcmp(argv[i + 1], "poll") == 0 ? VEIL_STOP_POLL : VEIL_STOP_SIGNAL;
    }
  }
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  seed = getenv("UNDO_SEED") != NULL ? strtoull(getenv("UNDO_SEED"), NULL, 10) : (uint64_t)time.tv_nsec;
  state = seed;
  printf("UNDO_SEED=%" PRIu64 "\n", seed);
  fflush(stdout);
  char folder[200];
  snprintf(folder, sizeof folder, "%s/undo.XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
  if (mkdtemp(folder) == NULL) {
    wrong("no folder", folder);
  }
  snprintf(path, sizeof path, "%s/heap.veil", folder);
  run(steps);
  rmdir(folder);
  printf("%u rollbacks (%u were refused), %u commits, %u opens\n", rollbacks, busy, commits, opens);
  if (rollbacks < steps / 10) {
    wrong("too few rollbacks", "");
  }
  return 0;
}
