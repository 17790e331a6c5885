// SPDX-License-Identifier: MIT
// weak.c: what weak references add to a flip, and what finalizers cost.
//
//   bench_weak [--weak N] [--finalizers N] [--back-end NAME]
//
// Two heaps hold the same objects; --weak (1,000,000) live weak references refer to those of the second. Both are collected in turn; the flips of each, and how long a
// cycle took. Then a program makes trees for about a second, with no finalizers, and with --finalizers (100,000) of their leaves in that time, which it calls
// as they become due; in turn again. VEIL_OPTIONS counts besides.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "veil/veil.h"
#include "veil/weak.h"

enum { ROUNDS = 15, DEPTH = 7 };

typedef struct node {
  struct node *left, *right;
  long key;
} node;
VEIL_TYPE(node, left, right);

typedef struct side {
  veil_heap *heap;
  veil_thread *self;
  node *list; // left: the next one; right: the weak reference to it, or something as large
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
  if (s->self == NULL || veil_add_roots(s->heap, &s->list, 1)) {
    fail(veil_error());
  }
}

static __attribute__((noinline)) void side_fill(side *s, bool weak) {
  for (long i = 0; i < weak_count; i++) {
    node *n = veil_new(s->self, node);
    n->key = i;
    n->left = s->list;
    s->list = n;
    n->right = weak ? (void *)veil_weak_new(s->self, n) : veil_new_bytes(s->self, 0);
    if (n->right == NULL) {
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

static __attribute__((noinline)) void side_check(side *s) {
  for (node *n = s->list; n != NULL; n = n->left) {
    if (veil_weak_get(s->self, (veil_weak *)n->right) != n) {
      fail("a weak reference has lost its object");
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
  static side sides[2];
  for (int i = 0; i < 2; i++) {
    side_open(&sides[i], options);
    side_fill(&sides[i], i == 1);
  }
  for (int round = 0; round < ROUNDS; round++) {
    side_collect(&sides[round % 2], round);
    side_collect(&sides[1 - round % 2], round);
  }
  side_check(&sides[1]);
  double without = (double)median(sides[0].flip) / 1e3, with = (double)median(sides[1].flip) / 1e3;
  printf("%s, %ld objects: flip %.1f us; with a weak reference to each %.1f us, so %+.1f us\n", veil_back_end(sides[0].heap), weak_count,
         without, with, with - without);
  printf("the same, a cycle: %.1f ms, %.1f ms\n", (double)median(sides[0].cycle) / 1e6, (double)median(sides[1].cycle) / 1e6);
  for (int i = 0; i < 2; i++) {
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
