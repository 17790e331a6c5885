// SPDX-License-Identifier: MIT
// world.c: mutators that build trees, write to them, and let them go. See trials.h.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/checkpoint/trials.h"

typedef struct item {
  struct item *left, *right;
  char *bytes;
  long key, more[3];
} item;
VEIL_TYPE(item, left, right, bytes);

uint64_t random_next(random_state *r) {
  uint64_t z = r->s += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

veil_heap *world_heap(size_t limit) {
  veil_options options = {.limit = limit,
                          .back_end = trial.back_end,
                          .stop = trial.stop,
                          .granule = trial.granule,
                          .headroom = 2 << 20,
                          .nursery = 256 << 10,
                          .generations = trial.seed % 2 ? VEIL_GENERATIONS_AUTO : VEIL_GENERATIONS_ON};
  if (trial.back_end != NULL && strcmp(trial.back_end, "none") == 0) {
    options.generations = VEIL_GENERATIONS_AUTO;
  }
  veil_heap *heap = veil_open(&options);
  if (heap == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    MUST(trial.back_end != NULL && strcmp(trial.back_end, "mprotect") != 0 && strcmp(trial.back_end, "none") != 0, "%s", veil_error());
    exit(77);
  }
  return heap;
}

static item *tree(veil_thread *self, unsigned depth, random_state *r) {
  item *n = veil_new(self, item);
  n->key = (long)random_next(r);
  if (depth > 0) {
    n->left = tree(self, depth - 1, r);
    n->right = tree(self, depth - 1, r);
  }
  return n;
}

static item *walk(item *n, random_state *r) {
  while (n != NULL && random_below(r, 4) != 0) {
    item *next = random_below(r, 2) ? n->left : n->right;
    if (next == NULL) {
      break;
    }
    n = next;
  }
  return n;
}

void world_change(veil_thread *self, void **table, random_state *r, bool collects) {
  unsigned slot = (unsigned)random_below(r, WORLD_SLOTS);
  uint64_t what = random_below(r, 1000);
  item *n = table[slot];
  if (what < 250) {
    table[slot] = tree(self, (unsigned)random_below(r, 7), r);
  } else if (what < 270) {
    table[slot] = NULL;
  } else if (what < 300 && n != NULL) {
    size_t bytes = random_below(r, random_below(r, 20) == 0 ? 100000 : 2000);
    char *b = veil_new_bytes(self, bytes);
    memset(b, (int)what, bytes);
    walk(table[slot], r)->bytes = b;
  } else if (what < 350 && n != NULL) {
    item *at = walk(n, r);
    at->right = table[random_below(r, WORLD_SLOTS)]; // shared, or a circle
    if (random_below(r, 4) == 0) {
      at->right = NULL;
    }
  } else if (n != NULL) {
    item *at = walk(n, r);
    at->key++;
    at->more[what % 3] = at->key;
  }
  if (collects && random_below(r, 3000) == 0) {
    veil_collect_start(self);
  } else if (collects && random_below(r, 3000) == 0) {
    veil_collect_minor(self);
  }
  veil_poll(self);
}

void **world_table(veil_thread *self, const char *name) {
  void **table = veil_new_pointers(self, WORLD_SLOTS);
  MUST(veil_root_set(self, name, table) == VEIL_OK, "%s", veil_error());
  return table;
}

static void *mutate(void *arg) {
  world *w = arg;
  unsigned number = at32_add_full(&w->started, 1);
  random_state r = {w->seed + number};
  char name[20];
  snprintf(name, sizeof name, "table %u", number);
  veil_thread *self = veil_attach(w->heap);
  MUST(self != NULL, "%s", veil_error());
  void **table = world_table(self, name);
  while (!at32_load_acquire(&w->ending)) {
    world_change(self, table, &r, true);
    at_add(&w->changes, 1);
  }
  veil_detach(self);
  return NULL;
}

void world_start(world *w, veil_heap *heap, unsigned threads, uint64_t seed) {
  *w = (world){.heap = heap, .threads = threads, .seed = seed};
  for (unsigned i = 0; i < threads; i++) {
    MUST(pthread_create(&w->thread[i], NULL, mutate, w) == 0, "a thread");
  }
  while (at_load(&w->changes) < 1000) {
    os_nap(100);
  }
}

void world_end(world *w) {
  at32_store_release(&w->ending, 1);
  for (unsigned i = 0; i < w->threads; i++) {
    pthread_join(w->thread[i], NULL);
  }
}
