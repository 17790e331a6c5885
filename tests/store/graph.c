// SPDX-License-Identifier: MIT
// graph.c: see graph.h. One thread at a time.

#include "tests/store/graph.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct item {
  struct item *left, *right;
  char *bytes;
  uint64_t id, key, more[3];
} item;
VEIL_TYPE(item, left, right, bytes);

typedef struct meta {
  uint64_t number, ids;
} meta;
VEIL_LEAF(meta);

veil_type *const graph_types[GRAPH_TYPES] = {&veil_type_item, &veil_type_meta};

enum { TABLES = 4, SLOTS = 24, NAME = 20 };

static void must(bool good, const char *what) {
  if (!good) {
    fprintf(stderr, "graph: %s: %s\n", what, veil_error());
    abort();
  }
}

static uint64_t mix(uint64_t z) {
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

uint64_t graph_dice(uint64_t *state) { return mix(*state += UINT64_C(0x9e3779b97f4a7c15)); }

static meta *meta_of(veil_thread *self) {
  meta *m = veil_root_get(self, "meta");
  if (m == NULL) {
    m = veil_new(self, meta);
    must(veil_root_set(self, "meta", m) == VEIL_OK, "a root");
  }
  return m;
}

uint64_t graph_number(veil_thread *self) { return meta_of(self)->number; }
void graph_number_set(veil_thread *self, uint64_t number) { meta_of(self)->number = number; }

static void table_name(unsigned i, char name[NAME]) { snprintf(name, NAME, "table %u", i); }

// ---- Changes.

static item *tree(veil_thread *self, unsigned depth, uint64_t *state) {
  item *n = veil_new(self, item);
  n->id = ++meta_of(self)->ids;
  n->key = graph_dice(state);
  if (depth > 0) {
    n->left = tree(self, depth - 1, state);
    n->right = tree(self, depth - 1, state);
  }
  return n;
}

static item *walk(item *n, uint64_t *state) {
  while (graph_dice(state) % 4 != 0) {
    item *next = graph_dice(state) % 2 ? n->left : n->right;
    if (next == NULL) {
      break;
    }
    n = next;
  }
  return n;
}

static char *bytes_new(veil_thread *self, uint64_t *state, bool large) {
  uint64_t what = graph_dice(state) % 40, most = what == 0 && large ? 300000 : what < 8 ? 20000 : 300;
  size_t bytes = graph_dice(state) % most + 1;
  char *b = veil_new_bytes(self, bytes);
  if (graph_dice(state) % 8 != 0) { // others are zeros
    memset(b, (int)graph_dice(state), bytes);
  }
  return b;
}

static void change_one(veil_thread *self, void **table, uint64_t *state, bool large) {
  unsigned slot = (unsigned)(graph_dice(state) % SLOTS);
  uint64_t what = graph_dice(state) % 1000;
  item *n = table[slot];
  if (what < 150) {
    table[slot] = tree(self, (unsigned)(graph_dice(state) % 7), state);
  } else if (what < 200) {
    table[slot] = NULL;
  } else if (what < 280 && n != NULL) {
    char *b = bytes_new(self, state, large);
    walk(table[slot], state)->bytes = b;
  } else if (what < 350 && n != NULL) { // shared, a circle, or the rest is let go
    item *at = walk(n, state);
    at->right = graph_dice(state) % 4 == 0 ? NULL : table[graph_dice(state) % SLOTS];
  } else if (n != NULL) {
    item *at = walk(n, state);
    at->key++;
    at->more[what % 3] = what % 5 == 0 ? 0 : at->key;
  }
}

void graph_change(veil_thread *self, uint64_t *state, unsigned changes, bool large) {
  char name[NAME];
  for (unsigned i = 0; i < changes; i++) {
    table_name((unsigned)(graph_dice(state) % TABLES), name);
    void **table = veil_root_get(self, name);
    if (table == NULL || graph_dice(state) % 500 == 0) { // there is none, or another takes its place
      table = veil_new_pointers(self, SLOTS);
      must(veil_root_set(self, name, table) == VEIL_OK, "a root");
    } else if (graph_dice(state) % 500 == 0) {
      must(veil_root_set(self, name, NULL) == VEIL_OK, "no root");
      continue;
    }
    change_one(self, table, state, large);
    veil_poll(self);
  }
}

void graph_collect(veil_thread *self, uint64_t *state) {
  switch (graph_dice(state) % 12) {
  case 0:
    veil_collect(self);
    break;
  case 1:
    veil_collect_start(self);
    break;
  case 2:
  case 3:
    veil_collect_minor(self);
    break;
  default:
    break;
  }
}

// ---- The hash.

typedef struct look {
  veil_heap *heap;
  uint8_t *seen; // by id
  uint64_t ids, hash;
} look;

static void word_add(look *l, uint64_t word) { l->hash = mix(l->hash * 31 + word); }

static void bytes_add(look *l, const char *bytes) {
  size_t length = bytes != NULL ? veil_length(l->heap, bytes) : 0;
  word_add(l, length);
  for (size_t i = 0; i < length; i++) {
    l->hash = l->hash * 1099511628211u + (unsigned char)bytes[i];
  }
}

// What is on the left by recursion, the rest in a row.
static void items_add(look *l, const item *n) {
  for (; n != NULL; n = n->right) {
    if (n->id == 0 || n->id > l->ids) { // no item of ours: it is in the hash, and matches none
      word_add(l, UINT64_MAX);
      return;
    }
    word_add(l, n->id);
    if (l->seen[n->id]) {
      return;
    }
    l->seen[n->id] = 1;
    word_add(l, n->key);
    for (int i = 0; i < 3; i++) {
      word_add(l, n->more[i]);
    }
    bytes_add(l, n->bytes);
    word_add(l, n->left != NULL);
    items_add(l, n->left);
    word_add(l, n->right != NULL);
  }
}

uint64_t graph_hash(veil_thread *self) {
  const meta *m = meta_of(self);
  look l = {.heap = veil_thread_heap(self), .ids = m->ids, .seen = calloc(m->ids + 1, 1)};
  must(l.seen != NULL, "no memory");
  word_add(&l, m->number);
  word_add(&l, m->ids);
  for (unsigned i = 0; i < TABLES; i++) {
    char name[NAME];
    table_name(i, name);
    void **table = veil_root_get(self, name);
    word_add(&l, table != NULL);
    for (unsigned slot = 0; table != NULL && slot < SLOTS; slot++) {
      word_add(&l, slot);
      items_add(&l, table[slot]);
    }
  }
  free(l.seen);
  return l.hash;
}
