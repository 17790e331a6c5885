// SPDX-License-Identifier: MIT
// minor.c: how long minor cycles take: with an old space at rest and few survivors, and where all that was born survives.
//
//   bench_minor [--old MIB] [--born MIB] [--cycles N] [--back-end NAME]
//
// First makes --old MiB of old objects (1024), none of which is written afterwards. Then N times (200): --born MiB (4) of garbage with a few objects that survive, and a
// minor cycle; and N times --born MiB of a tree that survives, with a minor cycle that finds it young, and one that promotes it. Prints percentiles of each
// kind, as veil's statistics have them (from the request to stop until the program runs again). VEIL_OPTIONS counts besides.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "veil/veil.h"

enum { MIB = 1 << 20, CYCLES_MOST = 10000, REST = 100 };

typedef struct node {
  struct node *left, *right;
  long key;
} node; // 32 bytes with its header
VEIL_TYPE(node, left, right);

static veil_heap *heap;
static veil_thread *self;
static node *old, *tree, *few[16];

static __attribute__((noinline)) node *tree_make(unsigned depth) {
  node *n = veil_new(self, node);
  if (depth > 0) {
    n->left = tree_make(depth - 1);
    n->right = tree_make(depth - 1);
  }
  return n;
}

static unsigned depth_of(long bytes) {
  unsigned depth = 0;
  while ((32l << (depth + 2)) - 32 <= bytes) {
    depth++;
  }
  return depth;
}

static __attribute__((noinline)) void stack_clear(void) {
  char volatile junk[16384];
  for (size_t i = 0; i < sizeof junk; i++) {
    junk[i] = 0;
  }
}

static __attribute__((noinline)) void old_make(long mib) {
  for (long i = 0; i < mib; i++) {
    node *list = NULL;
    for (long n = 0; n < MIB / 32; n++) {
      node *next = veil_new(self, node);
      next->left = list;
      list = next;
    }
    list->right = old;
    old = list;
  }
}

static __attribute__((noinline)) void garbage_make(long bytes) {
  for (long i = 0; i < bytes / 32; i++) {
    node *n = veil_new(self, node);
    n->key = i;
    if (i % 4096 == 0) {
      few[i / 4096 % 16] = n;
    }
  }
}

static uint64_t minor_total(void) {
  veil_stats s;
  veil_get_stats(heap, &s);
  return s.minor_total_ns;
}

static uint64_t minor_timed(void) {
  stack_clear();
  uint64_t before = minor_total();
  veil_collect_minor(self);
  return minor_total() - before;
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static void report(const char *what, uint64_t *ns, int count) {
  qsort(ns, (size_t)count, sizeof *ns, compare);
  printf("%-28s p50 %8.1f us, p99 %8.1f us, max %8.1f us\n", what, (double)ns[count / 2] / 1e3, (double)ns[(int)(count * 0.99)] / 1e3,
         (double)ns[count - 1] / 1e3);
}

int main(int argc, char **argv) {
  long old_mib = 1024, born_mib = 4;
  int cycles = 200;
  veil_options options = {.generations = VEIL_GENERATIONS_ON, .nursery = (size_t)64 << 20}; // cycles are asked for
  for (int i = 1; i + 1 < argc; i += 2) {
    const char *name = argv[i], *value = argv[i + 1];
    if (strcmp(name, "--old") == 0) {
      old_mib = atol(value);
    } else if (strcmp(name, "--born") == 0) {
      born_mib = atol(value);
    } else if (strcmp(name, "--cycles") == 0) {
      cycles = atoi(value);
    } else if (strcmp(name, "--back-end") == 0) {
      options.back_end = value;
    } else {
      argc = 0;
    }
  }
  if (argc % 2 == 0 || old_mib < 0 || born_mib < 1 || born_mib > 32 || cycles < 1 || cycles > CYCLES_MOST) {
    fprintf(stderr, "usage: bench_minor [--old MIB] [--born MIB (1 to 32)] [--cycles N (1 to %d)] [--back-end NAME]\n", (int)CYCLES_MOST);
    return 2;
  }
  static uint64_t rest[CYCLES_MOST], all[CYCLES_MOST], promoted[CYCLES_MOST];
  heap = veil_open(&options);
  self = heap != NULL ? veil_attach(heap) : NULL;
  if (self == NULL || veil_add_roots(heap, &old, 1) || veil_add_roots(heap, &tree, 1) || veil_add_roots(heap, few, 16)) {
    fprintf(stderr, "bench_minor: %s\n", veil_error());
    return 1;
  }
  printf("%s, %ld MiB old, %ld MiB born in each cycle\n", veil_back_end(heap), old_mib, born_mib);
  old_make(old_mib);
  stack_clear();
  veil_collect(self);
  for (int i = 0; i < REST; i++) { // until it is known to be at rest
    garbage_make(born_mib * MIB);
    minor_timed();
  }
  for (int i = 0; i < cycles; i++) {
    garbage_make(born_mib * MIB);
    rest[i] = minor_timed();
  }
  report("few survivors", rest, cycles);
  for (int i = 0; i < cycles; i++) {
    tree = tree_make(depth_of(born_mib * MIB));
    all[i] = minor_timed();
    promoted[i] = minor_timed();
    tree = NULL;
  }
  report("all survive", all, cycles);
  report("all are promoted", promoted, cycles);
  veil_detach(self);
  veil_close(heap);
  return 0;
}
