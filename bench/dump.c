// SPDX-License-Identifier: MIT
// dump.c: what a heap dump costs: how long the program stands, how long it takes in all, processor time of that, and
// how large the file is; beside what fork costs for the same heap.
//
//   bench_dump [trees|graph|bytes [MIB [REPEAT [FILE]]]]
//
// trees: of 31 nodes of 24 bytes, in a table, half of which were replaced at random. graph: nodes of 40 bytes with four
// references to random others, which takes the longest text. bytes: leaf objects of 1000 bytes.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "veil/dump.h"

typedef struct tree {
  struct tree *left, *right;
  uint64_t value;
} tree;
VEIL_TYPE(tree, left, right);

typedef struct vertex {
  struct vertex *to[4];
  uint64_t value;
} vertex;
VEIL_TYPE(vertex, to[0], to[1], to[2], to[3]);

static void **table;
static uint64_t random_state = 1;
static uint64_t random_next(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static tree *tree_new(veil_thread *self, int depth) {
  tree *t = veil_new(self, tree);
  if (depth > 0) {
    t->left = tree_new(self, depth - 1);
    t->right = tree_new(self, depth - 1);
  }
  return t;
}

static void trees_make(veil_thread *self, size_t bytes) {
  size_t n = bytes / (31 * 32 + 8);
  table = veil_new_pointers(self, n);
  for (size_t i = 0; i < n; i++) {
    table[i] = tree_new(self, 4);
  }
  for (size_t i = 0; i < n / 2; i++) {
    table[random_next() % n] = tree_new(self, 4);
  }
}

static void graph_make(veil_thread *self, size_t bytes) {
  size_t n = bytes / (48 + 8);
  table = veil_new_pointers(self, n);
  for (size_t i = 0; i < n; i++) {
    table[i] = veil_new(self, vertex);
  }
  for (size_t i = 0; i < n; i++) {
    vertex *v = table[i];
    for (int k = 0; k < 4; k++) {
      v->to[k] = table[random_next() % n];
    }
  }
}

static void bytes_make(veil_thread *self, size_t bytes) {
  size_t n = bytes / (1016 + 8);
  table = veil_new_pointers(self, n);
  for (size_t i = 0; i < n; i++) {
    table[i] = veil_new_bytes(self, 1000);
  }
}

static double cpu_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double fork_ms(void) {
  double began = now_ms();
  pid_t child = fork();
  if (child == 0) {
    _exit(0);
  }
  double took = now_ms() - began;
  waitpid(child, NULL, 0);
  return took;
}

int main(int argc, char **argv) {
  const char *kind = argc > 1 ? argv[1] : "trees", *path = argc > 4 ? argv[4] : "/tmp/veil-bench-dump";
  size_t mib = argc > 2 ? (size_t)atol(argv[2]) : 1024;
  int repeat = argc > 3 ? atoi(argv[3]) : 5;
  veil_options options = {.limit = mib * 4 << 20};
  veil_heap *heap = veil_open(&options);
  veil_thread *self = heap != NULL ? veil_attach(heap) : NULL;
  if (self == NULL || veil_add_roots(heap, &table, 1) != VEIL_OK) {
    fprintf(stderr, "%s\n", veil_error());
    return 1;
  }
  (strcmp(kind, "graph") == 0 ? graph_make : strcmp(kind, "bytes") == 0 ? bytes_make : trees_make)(self, mib << 20);
  veil_collect(self);
  veil_stats before, after;
  veil_get_stats(heap, &before);
  printf("%s, %lu MiB on %s\n%10s %10s %10s %10s %10s\n", kind, (unsigned long)(before.live_bytes >> 20),
         veil_back_end(heap), "stop ms", "all ms", "cpu ms", "file MiB", "fork ms");
  for (int i = 0; i < repeat; i++) {
    struct stat file = {0};
    veil_get_stats(heap, &before);
    double began = now_ms(), cpu = cpu_ms();
    if (veil_heap_dump(self, path, VEIL_DUMP_AS_IS) != VEIL_OK || stat(path, &file) != 0) {
      fprintf(stderr, "%s\n", veil_error());
      return 1;
    }
    double all = now_ms() - began;
    cpu = cpu_ms() - cpu;
    veil_get_stats(heap, &after);
    printf("%10.1f %10.1f %10.1f %10.1f %10.1f\n", (double)(after.stop_total_ns - before.stop_total_ns) / 1e6, all, cpu,
           (double)file.st_size / (1 << 20), fork_ms());
  }
  if (argc <= 4) {
    unlink(path);
  }
  veil_detach(self);
  veil_close(heap);
  return 0;
}
