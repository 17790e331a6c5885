// SPDX-License-Identifier: MIT
// gcbench.c: Hans Boehm's GCBench, after John Ellis and Pete Kovac; written anew from its description.
//
// Binary trees, most of them short-lived, beside a long-lived tree and a large array without pointers. Trees are
// built in two ways: top-down, where old objects come to point to new ones, and bottom-up, where they do not.
//
// Scale 1 is the classic size: a stretch tree of depth 18, a long-lived tree of depth 16, an array of 500,000 doubles, temporary
// trees of depth 4, 6 … 16, so many of each that they have as many nodes as two stretch trees. Scale n multiplies the number of
// trees and the array by n and adds log2 n to all depths: scale 2 allocates four times as much as scale 1.
//
// A step is 64 nodes made (or freed), whatever tree they belong to, so that steps are of one size.

#include "bench/harness.h"

typedef struct tree {
  struct tree *left, *right;
  int32_t i, j;
} tree;
BENCH_TYPE(tree, left, right);

enum { STRETCH_DEPTH = 18, LONG_LIVED_DEPTH = 16, LEAST_DEPTH = 4, MOST_DEPTH = 16, ARRAY_LENGTH = 500000 };
enum { NODES_PER_STEP = 64 };

typedef struct bench {
  bench_mutator *m;
  unsigned until_step; // nodes to go in this step
} bench;

static unsigned scale_depth(const bench_options *o) { return 31 - (unsigned)__builtin_clz(o->scale); }
static uint64_t tree_nodes(unsigned depth) { return (2ull << depth) - 1; }

static inline void node_counted(bench *b) {
  if (--b->until_step == 0) {
    b->until_step = NODES_PER_STEP;
    bench_step(b->m);
  }
}

static inline tree *node_new(bench *b) {
  node_counted(b);
  return bench_new(b->m->self, tree);
}

static void populate(bench *b, tree *t, unsigned depth) {
  if (depth == 0) {
    return;
  }
  t->left = node_new(b);
  t->right = node_new(b);
  populate(b, t->left, depth - 1);
  populate(b, t->right, depth - 1);
}

static tree *build_top_down(bench *b, unsigned depth) {
  tree *t = node_new(b);
  populate(b, t, depth);
  return t;
}

static tree *build_bottom_up(bench *b, unsigned depth) {
  if (depth == 0) {
    return node_new(b);
  }
  tree *left = build_bottom_up(b, depth - 1);
  tree *right = build_bottom_up(b, depth - 1);
  tree *t = node_new(b);
  t->left = left;
  t->right = right;
  return t;
}

// What a program does that frees by hand; a collector's program drops the root.
static void discard(bench *b, tree *t) {
  if (!BENCH_FREES || t == NULL) {
    return;
  }
  discard(b, t->left);
  discard(b, t->right);
  node_counted(b);
  bench_free(t);
}

// Down the left edge: cheap, and wrong if the tree is.
static uint64_t left_depth(const tree *t) {
  uint64_t depth = 0;
  for (; t->left != NULL; t = t->left) {
    depth++;
  }
  return depth;
}

static uint64_t count_nodes(const tree *t) {
  return t == NULL ? 0 : 1 + (uint64_t)t->i + count_nodes(t->left) + count_nodes(t->right);
}

static void temporary_trees(bench *b, unsigned depth, tree *(*build)(bench *, unsigned)) {
  const bench_options *o = b->m->options;
  uint64_t count = 2 * tree_nodes(STRETCH_DEPTH + scale_depth(o)) / tree_nodes(depth) * o->scale;
  for (uint64_t i = 0; i < count; i++) {
    tree *t = build(b, depth);
    b->m->check = bench_check_add(b->m->check, left_depth(t));
    discard(b, t);
  }
}

static void gcbench_run(bench_mutator *m) {
  const bench_options *o = m->options;
  unsigned more = scale_depth(o);
  bench b = {m, NODES_PER_STEP};
  bench_measure_begin(m);

  tree *stretch = build_bottom_up(&b, STRETCH_DEPTH + more);
  m->check = left_depth(stretch);
  discard(&b, stretch);
  stretch = NULL;

  tree *long_lived = build_top_down(&b, LONG_LIVED_DEPTH + more);
  size_t length = (size_t)ARRAY_LENGTH * o->scale;
  double *array = bench_new_bytes(m->self, length * sizeof *array);
  for (size_t i = 1; i < length / 2; i++) {
    array[i] = 1.0 / (double)i;
  }

  for (unsigned depth = LEAST_DEPTH + more; depth <= MOST_DEPTH + more; depth += 2) {
    temporary_trees(&b, depth, build_top_down);
    temporary_trees(&b, depth, build_bottom_up);
  }

  m->check = bench_check_add(m->check, count_nodes(long_lived));
  m->check = bench_check_add(m->check, (uint64_t)(1e6 * array[1000]));
  bench_measure_end(m);
}

// The long-lived tree, the array, and the largest temporary tree.
static double gcbench_live_mib(const bench_options *o) {
  unsigned more = scale_depth(o);
  double trees = (double)(tree_nodes(LONG_LIVED_DEPTH + more) + tree_nodes(MOST_DEPTH + more)) * bench_cell(sizeof(tree));
  return (trees + (double)ARRAY_LENGTH * o->scale * sizeof(double)) / (1 << 20);
}

const bench_workload bench_workloads[] = {
    {"gcbench", "trees, most of them short-lived (--scale)", gcbench_live_mib, gcbench_run},
    {NULL, NULL, NULL, NULL},
};
