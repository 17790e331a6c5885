// SPDX-License-Identifier: MIT
// graph.c: a mutator that walks a large graph at random while cycles are forced: the worst case of the storm.
//
// Nodes of 64 bytes are made cluster by cluster, 32 to a cluster. Each has three edges, the first of which leads to the next node of a ring
// through all of them and keeps every node alive, some words of its own, and perhaps a note, a small object without pointers. In `graph` all
// edges come from random permutations, so that neighbours in the graph are not neighbours in memory. In `graph_local` nine edges of ten
// stay in the cluster, and the ring goes through the clusters in random order, but through the nodes of a cluster one after the other.
//
// A visit follows one of the edges at random; one in 16 also swaps an edge with that of the next node of the ring, and one in 64 puts a new
// note in the place of the old one: the only garbage. Swaps keep every node's number of in-edges, and leave local edges nearly
// as local as they were. A step is a visit.
//
// The walk holds one node, and nothing else does. The table that the building needs is
// dropped, and a full collection run, before the measured phase. Then mutator 0 starts a cycle whenever less than 40 % of
// the time so far was spent in cycles.

#include "bench/harness.h"

enum { EDGES = 3, CLUSTER = 32, VISITS_PER_STEP = 1, NOTE_WORDS = 3, OWN_WORDS = 3 };
enum { SWAP_EVERY = 16, RENEW_EVERY = 64, LOCAL_PERCENT = 90, IN_CYCLE_PERCENT = 40, PACE_STEPS = 2048 };
// Steps per MiB of live data, so that a full walk outlasts several cycles.
enum { STEPS_PER_MIB = 24576, STEPS_LEAST = 1 << 21 };

typedef struct note {
  uint64_t word[NOTE_WORDS];
} note;
BENCH_LEAF(note);

typedef struct node {
  struct node *edge[EDGES]; // [0]: the ring
  note *note;
  uint32_t id, visits;
  uint64_t own[OWN_WORDS];
} node;
BENCH_TYPE(node, edge[0], edge[1], edge[2], note);

static uint32_t node_count(const bench_options *o) {
  double bytes = bench_cell(sizeof(node));
  double clusters = o->live_mib * (1 << 20) / bytes / CLUSTER;
  return (uint32_t)(clusters < 1 ? 1 : clusters) * CLUSTER;
}

static double graph_live_mib(const bench_options *o) {
  return node_count(o) * bench_cell(sizeof(node)) / (1 << 20);
}

static note *note_new(bench_mutator *m, uint64_t value) {
  note *n = bench_new(m->self, note);
  n->word[0] = value;
  return n;
}

static void permutation_shuffle(uint32_t *order, uint32_t count, uint64_t *random) {
  for (uint32_t i = 0; i < count; i++) {
    order[i] = i;
  }
  for (uint32_t i = count - 1; i > 0; i--) {
    uint32_t k = bench_random_below(random, i + 1), other = order[k];
    order[k] = order[i];
    order[i] = other;
  }
}

// The table and the permutations live during the building only. Not inlined, so that their pointers leave the stack with it.
static __attribute__((noinline)) node *graph_build(bench_mutator *m, unsigned local_percent) {
  uint32_t count = node_count(m->options);
  node **table = (node **)bench_new_pointers(m->self, count);
  for (uint32_t i = 0; i < count; i++) {
    node *n = bench_new(m->self, node);
    n->id = i;
    table[i] = n;
    n->own[0] = bench_random(&m->random);
  }
  uint32_t *order = bench_new_bytes(m->self, (size_t)count * sizeof *order);
  for (unsigned e = 1; e < EDGES; e++) {
    permutation_shuffle(order, count, &m->random);
    for (uint32_t i = 0; i < count; i++) {
      bool local = bench_random_below(&m->random, 100) < local_percent;
      uint32_t near = i - i % CLUSTER + bench_random_below(&m->random, CLUSTER);
      table[i]->edge[e] = table[local ? near : order[i]];
    }
  }
  // The ring: nodes, or whole clusters, in random order.
  uint32_t unit = local_percent ? CLUSTER : 1, units = count / unit;
  permutation_shuffle(order, units, &m->random);
  node *last = table[order[units - 1] * unit + unit - 1];
  for (uint32_t i = 0; i < count; i++) {
    node *n = table[order[i / unit] * unit + i % unit];
    last->edge[0] = n;
    last = n;
  }
  node *root = table[0];
  bench_free(order);
  bench_free(table);
  return root;
}

typedef struct walk {
  bench_mutator *m;
  node *at;
} walk;

static inline void visit(walk *w) {
  uint64_t random = bench_random(&w->m->random);
  node *n = w->at;
  n->visits++;
  w->m->check = bench_check_add(w->m->check, ((uint64_t)n->visits << 32) | n->id);
  unsigned edge = (random >> 32) % EDGES;
  if (random % SWAP_EVERY == 0) {
    unsigned other = 1 + (random >> 36) % (EDGES - 1); // not the ring
    node *partner = n->edge[0], *mine = n->edge[other];
    n->edge[other] = partner->edge[other];
    partner->edge[other] = mine;
  }
  if ((random >> 8) % RENEW_EVERY == 0) {
    note *old = n->note;
    w->m->check = bench_check_add(w->m->check, old ? old->word[0] : n->own[0]);
    note *new_note = note_new(w->m, n->own[0] + n->visits);
    n->note = new_note;
    bench_free(old);
  }
  w->at = n->edge[edge];
}

// Whether cycles have had too little of the time so far.
static bool cycle_due(const bench_mutator *m) {
  const gaps *g = &m->gaps;
  return g->in_cycle_ticks * 100 < (g->last - g->begun) * IN_CYCLE_PERCENT;
}

static void walk_steps(walk *w, uint64_t steps, bool measured) {
  for (uint64_t s = 0; s < steps; s++) {
    for (unsigned v = 0; v < VISITS_PER_STEP; v++) {
      visit(w);
    }
    if (!measured) {
      continue;
    }
    if (!BENCH_FREES && w->m->index == 0 && s % PACE_STEPS == PACE_STEPS - 1 && (bench_phase() & 1) == 0 &&
        cycle_due(w->m)) {
      bench_collect_start(w->m->self);
    }
    bench_step(w->m);
  }
}

static void graph_run(bench_mutator *m, unsigned local_percent) {
  node *root = graph_build(m, local_percent);
  bench_clear_stack();
  bench_collect(m->self);

  uint64_t steps = m->options->steps;
  if (steps == 0) {
    steps = (uint64_t)(m->options->live_mib * STEPS_PER_MIB);
    steps = steps < STEPS_LEAST ? STEPS_LEAST : steps;
  }
  walk w = {m, root};
  root = NULL;
  walk_steps(&w, steps / 16, false); // Caches, page tables and branch predictors.
  bench_measure_begin(m);
  walk_steps(&w, steps, true);
  bench_measure_end(m);
}

static void graph_far_run(bench_mutator *m) { graph_run(m, 0); }
static void graph_local_run(bench_mutator *m) { graph_run(m, LOCAL_PERCENT); }

const bench_workload bench_workloads[] = {
    {"graph", "random walk of a shuffled graph, cycles forced (--live, --steps)", graph_live_mib, graph_far_run},
    {"graph_local", "the same, nine edges of ten within a cluster", graph_live_mib, graph_local_run},
    {NULL, NULL, NULL, NULL},
};
