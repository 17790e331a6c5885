// SPDX-License-Identifier: MIT
// weak.c: what weak references and entries of weak tables add to a flip, and what finalizers cost.
//
//   bench_weak [--weak N] [--finalizers N] [--back-end NAME]
//
// Three heaps hold the same objects; --weak (1,000,000) live weak references refer to those of the second, and a weak table has as many entries for those of the third.
// They are collected in turn; the flips of each, and how long a cycle took. Then a program makes trees for about a second, with no finalizers, and with --finalizers (100,000) of their leaves in that time, which it calls
// as they become due; in turn again. VEIL_OPTIONS counts besides.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "veil/table.h"
#include "veil/veil.h"
#include "veil/weak.h"

enum { ROUNDS = 15, DEPTH = 7 };

typedef enum side_kind { PLAIN, REFERENCES, ENTRIES, SIDES } side_kind;

typedef struct node {
  struct node *left, *right;
  long key;
} node;
VEIL_TYPE(node, left, right);

typedef struct side {
  veil_heap *heap;
  veil_thread *self;
  node *list; // left: the next one; right: the weak reference to it, or something as large
  veil_table *table;
  uint64_t flip[ROUNDS], cycle[ROUNDS]; // ns
} side;

static long weak_count = 1000000, final_count = 100000;
static volatile unsigned long called;

static _Noreturn void fail(const char *why) {
  fprintf(stderr, "bench_weak: %s\n", why);
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void side_open(side *s, const veil_options *options) {
  s->heap = veil_open(options);
  s->self = s->heap != NULL ? veil_attach(s->heap) : NULL;
  if (s->self == NULL || veil_add_roots(s->heap, &s->list, 1) || veil_add_roots(s->heap, &s->table, 1)) {
    fail(veil_error());
  }
}

static __attribute__((noinline)) void side_fill(side *s, side_kind kind) {
  s->table = kind == ENTRIES ? veil_table_new(s->self, VEIL_WEAK_KEYS) : NULL;
  for (long i = 0; i < weak_count; i++) {
    node *n = veil_new(s->self, node);
    n->key = i;
    n->left = s->list;
    s->list = n;
    n->right = kind == REFERENCES ? (void *)veil_weak_new(s->self, n) : veil_new_bytes(s->self, 0);
    if (n->right == NULL || (kind == ENTRIES && veil_table_put(s->self, s->table, n, n->right) != VEIL_OK)) {
      fail(veil_error());
    }
  }
}

static void side_collect(side *s, int round) {
  veil_stats before, after;
  veil_get_stats(s->heap, &before);
  uint64_t began = now_ns();
  veil_collect(s->self);
  s->cycle[round] = now_ns() - began;
  veil_get_stats(s->heap, &after);
  s->flip[round] = after.flip_total_ns - before.flip_total_ns;
}

static __attribute__((noinline)) void side_check(side *s, side_kind kind) {
  for (node *n = s->list; n != NULL && kind != PLAIN; n = n->left) {
    if (kind == REFERENCES ? veil_weak_get(s->self, (veil_weak *)n->right) != n : veil_table_get(s->self, s->table, n) != n->right) {
      fail("a weak reference has lost its object, or an entry its value");
    }
  }
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static uint64_t median(uint64_t *values) {
  qsort(values, ROUNDS, sizeof *values, compare);
  return values[ROUNDS / 2];
}

static void flips_measure(const veil_options *options) {
  static side sides[SIDES];
  static const char *const names[] = {"", "a weak reference to each", "an entry of a weak table for each"};
  for (int i = 0; i < SIDES; i++) {
    side_open(&sides[i], options);
    side_fill(&sides[i], (side_kind)i);
  }
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < SIDES; i++) {
      side_collect(&sides[(round + i) % SIDES], round);
    }
  }
  double without = (double)median(sides[PLAIN].flip) / 1e3;
  printf("%s, %ld objects: flip %.1f us, cycle %.1f ms\n", veil_back_end(sides[0].heap), weak_count, without, (double)median(sides[PLAIN].cycle) / 1e6);
  for (int i = 0; i < SIDES; i++) {
    side_check(&sides[i], (side_kind)i);
    if (i != PLAIN) {
      double with = (double)median(sides[i].flip) / 1e3;
      printf("  with %s: flip %.1f us, so %+.1f us; cycle %.1f ms\n", names[i], with, with - without, (double)median(sides[i].cycle) / 1e6);
    }
  }
  for (int i = 0; i < SIDES; i++) {
    veil_detach(sides[i].self);
    veil_close(sides[i].heap);
  }
}

// ---- Finalizers.

static node *tree_make(veil_thread *self, int depth) {
  node *n = veil_new(self, node);
  if (depth > 0) {
    n->left = tree_make(self, depth - 1);
    n->right = tree_make(self, depth - 1);
  }
  return n;
}

static void count(veil_thread *self, void *object, void *data) {
  (void)self;
  (void)data;
  called += ((node *)object)->key == 0;
}

static node *leaf_of(node *tree, unsigned long path) {
  for (; tree->left != NULL; path /= 2) {
    tree = path % 2 ? tree->right : tree->left;
  }
  return tree;
}

// `trees` trees; `finals` of their leaves, evenly spread, have finalizers.
static __attribute__((noinline)) uint64_t trees_make(veil_thread *self, long trees, long finals) {
  uint64_t began = now_ns();
  for (long i = 0; i < trees; i++) {
    long due = (i + 1) * finals / trees - i * finals / trees;
    node *tree = tree_make(self, DEPTH);
    for (long f = 0; f < due; f++) {
      if (veil_finalize(self, leaf_of(tree, (unsigned long)f), count, NULL) == 0) {
        fail(veil_error());
      }
    }
    if (finals != 0 && i % 16 == 0) {
      veil_finalizers_run(self, SIZE_MAX);
    }
  }
  return now_ns() - began;
}

static void finalizers_measure(const veil_options *options) {
  side s = {0};
  side_open(&s, options);
  long trees = 1000;
  while (trees_make(s.self, trees, 0) < 800000000) { // about a second
    trees *= 2;
  }
  uint64_t ppm[ROUNDS];
  for (int round = 0; round < ROUNDS; round++) {
    double without = (double)trees_make(s.self, trees, 0);
    ppm[round] = (uint64_t)((double)trees_make(s.self, trees, (long)((double)final_count * without / 1e9)) / without * 1e6);
  }
  printf("%ld finalizers a second: time against none %.3f (%lu called)\n", final_count, (double)median(ppm) / 1e6, called);
  veil_detach(s.self);
  veil_close(s.heap);
}

int main(int argc, char **argv) {
  veil_options options = {0};
  for (int i = 1; i + 1 < argc; i += 2) {
    const char *name = argv[i], *value = argv[i + 1];
    if (strcmp(name, "--weak") == 0) {
      weak_count = atol(value);
    } else if (strcmp(name, "--finalizers") == 0) {
      final_count = atol(value);
    } else if (strcmp(name, "--back-end") == 0) {
      options.back_end = value;
    } else {
      argc = 0;
    }
  }
  if (argc % 2 == 0 || weak_count < 1 || weak_count > 60000000 || final_count < 1 || final_count > 100000000) {
    fprintf(stderr, "usage: bench_weak [--weak N] [--finalizers N] [--back-end NAME]\n");
    return 2;
  }
  flips_measure(&options);
  finalizers_measure(&options);
  return 0;
}
