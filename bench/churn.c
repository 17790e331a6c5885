// SPDX-License-Identifier: MIT
// churn.c: a large table of small trees, one of which is replaced now and then: much garbage beside much that lives.
//
// The table holds trees of 31 nodes, --live MiB of them. Each step builds a tree. One step in ten puts it into the place of a random old
// one; in the others it is garbage at once, or is freed. There are ten steps for each tree in the table, unless --steps says otherwise, so a
// tree is replaced once on the average. A tree that goes is looked at down its left edge, and its root is part of the checksum. When
// the measured phase is over, all trees of the table are counted.
//
// A step is a tree built, and one dropped.

#include "bench/harness.h"

enum { DEPTH = 4, REPLACE_EVERY = 10, STEPS_PER_TREE = 10, STEPS_LEAST = 100 * 1000 };
enum { NODES = (2 << DEPTH) - 1 };

typedef struct tree {
  struct tree *left, *right;
  uint64_t value;
} tree;
BENCH_TYPE(tree, left, right);

static uint32_t table_length(const bench_options *o) {
  double trees = o->live_mib * (1 << 20) / (NODES * bench_cell(sizeof(tree)) + sizeof(tree *));
  return trees < 1 ? 1 : (uint32_t)trees;
}

static double churn_live_mib(const bench_options *o) {
  double length = table_length(o);
  return (length * NODES * bench_cell(sizeof(tree)) + bench_cell((size_t)length * sizeof(tree *))) / (1 << 20);
}

static tree *tree_new(bench_mutator *m, unsigned depth, uint64_t value) {
  tree *t = bench_new(m->self, tree);
  t->value = value;
  if (depth > 0) {
    t->left = tree_new(m, depth - 1, 2 * value);
    t->right = tree_new(m, depth - 1, 2 * value + 1);
  }
  return t;
}

static void tree_free(tree *t) {
  if (!BENCH_FREES || t == NULL) {
    return;
  }
  tree_free(t->left);
  tree_free(t->right);
  bench_free(t);
}

// Down the left edge, where values double.
static uint64_t tree_glance(const tree *t) {
  uint64_t value = t->value;
  for (const tree *left = t->left; left != NULL; left = left->left) {
    value *= 2;
    if (left->value != value) {
      bench_wrong("churn: a tree is damaged");
    }
  }
  return value;
}

static uint64_t tree_sum(const tree *t) { return t == NULL ? 0 : t->value + tree_sum(t->left) + tree_sum(t->right); }

static void churn_step(bench_mutator *m, tree **table, uint32_t length, uint64_t number) {
  uint64_t random = bench_random(&m->random);
  tree *t = tree_new(m, DEPTH, number);
  tree *dropped = t;
  if (random % REPLACE_EVERY == 0) {
    uint32_t place = (uint32_t)(((random >> 32) * length) >> 32);
    dropped = table[place];
    table[place] = t;
  }
  m->check = bench_check_add(m->check, tree_glance(dropped));
  tree_free(dropped);
}

static void churn_run(bench_mutator *m) {
  uint32_t length = table_length(m->options);
  tree **table = (tree **)bench_new_pointers(m->self, length);
  for (uint32_t i = 0; i < length; i++) {
    table[i] = tree_new(m, DEPTH, i);
  }
  uint64_t steps = m->options->steps;
  if (steps == 0) {
    steps = (uint64_t)length * STEPS_PER_TREE;
    steps = steps < STEPS_LEAST ? STEPS_LEAST : steps;
  }
  bench_measure_begin(m);
  for (uint64_t s = 0; s < steps; s++) {
    churn_step(m, table, length, s);
    bench_step(m);
  }
  bench_measure_end(m);
  for (uint32_t i = 0; i < length; i++) {
    m->check = bench_check_add(m->check, tree_sum(table[i]));
    tree_free(table[i]);
  }
  bench_free(table);
}

const bench_workload bench_workloads[] = {
    {"churn", "small trees in a table, one in ten replaces an old one (--live, --steps)", churn_live_mib, churn_run},
    {NULL, NULL, NULL, NULL},
};
