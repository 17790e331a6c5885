// SPDX-License-Identifier: MIT
// binary_trees.c: the Computer Language Benchmarks Game's binary-trees, after Hans Boehm's GCBench; written anew from its rules.
//
// Perfect binary trees whose nodes hold nothing but two pointers. A stretch tree of depth D + 1 is made, counted and dropped. A
// long-lived tree of depth D is made. Then, for the depths 4, 6 … D: 2^(D - depth + 4) trees are made, counted and dropped, one after the
// other. At last the long-lived tree is counted. D is --depth, 21 if it is not given.
//
// The trees of one depth do not depend on each other, and the game lets programs make them in several threads: with --threads N each
// mutator makes an Nth of them, and mutator 0 the stretch tree and the long-lived one besides. The work as a whole stays the same.
//
// A step is 64 nodes made, counted or freed.

#include "bench/harness.h"

typedef struct tree {
  struct tree *left, *right;
} tree;
BENCH_TYPE(tree, left, right);

enum { DEFAULT_DEPTH = 21, LEAST_DEPTH = 4, NODES_PER_STEP = 64 };

typedef struct bench {
  bench_mutator *m;
  unsigned until_step; // nodes to go in this step
} bench;

// As in the game, at least two depths are tried.
static unsigned most_depth(const bench_options *o) {
  unsigned depth = o->depth != 0 ? o->depth : DEFAULT_DEPTH;
  return depth > LEAST_DEPTH + 2 ? depth : LEAST_DEPTH + 2;
}

static uint64_t tree_nodes(unsigned depth) { return (2ull << depth) - 1; }

static inline void node_counted(bench *b) {
  if (--b->until_step == 0) {
    b->until_step = NODES_PER_STEP;
    bench_step(b->m);
  }
}

static tree *tree_new(bench *b, unsigned depth) {
  node_counted(b);
  tree *t = bench_new(b->m->self, tree);
  if (depth > 0) {
    t->left = tree_new(b, depth - 1);
    t->right = tree_new(b, depth - 1);
  }
  return t;
}

static uint64_t tree_count(bench *b, const tree *t) {
  node_counted(b);
  return t->left == NULL ? 1 : 1 + tree_count(b, t->left) + tree_count(b, t->right);
}

// What a program does that frees by hand; a collector's program drops the root.
static void tree_discard(bench *b, tree *t) {
  if (!BENCH_FREES || t == NULL) {
    return;
  }
  tree_discard(b, t->left);
  tree_discard(b, t->right);
  node_counted(b);
  bench_free(t);
}

static uint64_t tree_try(bench *b, unsigned depth) {
  tree *t = tree_new(b, depth);
  uint64_t nodes = tree_count(b, t);
  tree_discard(b, t);
  return nodes;
}

// Of the trees of one depth, those that this mutator makes.
static uint64_t share(const bench_mutator *m, uint64_t trees) {
  uint64_t threads = m->options->threads;
  return trees / threads + (m->index < trees % threads);
}

static void binary_trees_run(bench_mutator *m) {
  unsigned most = most_depth(m->options);
  bench b = {m, NODES_PER_STEP};
  bench_measure_begin(m);

  tree *long_lived = NULL;
  if (m->index == 0) {
    m->check = bench_check_add(m->check, tree_try(&b, most + 1));
    bench_clear_stack();
    long_lived = tree_new(&b, most);
  }
  for (unsigned depth = LEAST_DEPTH; depth <= most; depth += 2) {
    uint64_t nodes = 0;
    for (uint64_t i = share(m, 1ull << (most - depth + LEAST_DEPTH)); i > 0; i--) {
      nodes += tree_try(&b, depth);
    }
    m->check = bench_check_add(m->check, nodes);
  }
  if (m->index == 0) {
    m->check = bench_check_add(m->check, tree_count(&b, long_lived));
  }
  bench_measure_end(m);
}

// The long-lived tree, and the largest of the others once per mutator; with one mutator that is as much as the stretch tree. Of all
// mutators, divided among them.
static double binary_trees_live_mib(const bench_options *o) {
  double nodes = (double)tree_nodes(most_depth(o)) * (1 + o->threads);
  return nodes * bench_cell(sizeof(tree)) / (1 << 20) / o->threads;
}

const bench_workload bench_workloads[] = {
    {"binary_trees", "the Benchmarks Game's, made, counted and dropped (--depth)", binary_trees_live_mib, binary_trees_run},
    {NULL, NULL, NULL, NULL},
};
