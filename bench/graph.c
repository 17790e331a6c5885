// SPDX-License-Identifier: MIT
// graph.c: a mutator that walks a large graph at random while cycles are forced: the worst case of the storm.
//
// Nodes are made cluster by cluster, 32 to a cluster. Each has three edges to nodes of its cluster (near), two to nodes
// anywhere (far), one to the next node of a ring through all of them in random order, and one to a record of its own, which has
// no pointers. Far edges and the ring come from random permutations, so neighbours in the graph are not neighbours in memory, and
// a far walk visits all nodes alike. The ring keeps every node alive.
//
// A visit follows an edge; one in 16 also swaps a far edge with that of a node visited some 2000 visits ago, and one in 64 puts
// a new record in the place of the old one: the only garbage. Swaps keep every node's number of in-edges, and a partner of so long ago
// keeps the graph random; with a recent one the walk would soon go in small circles. `graph` follows far edges only, `graph_local`
// near ones in nine visits of ten. A step is 8 visits.
//
// The walk holds one node, and an array of the 128 partners, and nothing else does. The table that the building needs is
// dropped, and a full collection run, before the measured phase. Then mutator 0 starts a cycle whenever less than 40 % of
// the time so far was spent in cycles.

#include "bench/harness.h"

enum { NEAR = 3, FAR = 2, CLUSTER = 32, VISITS_PER_STEP = 8, RECORD_WORDS = 3 };
enum { SWAP_EVERY = 16, PARTNERS = 128, RENEW_EVERY = 64, LOCAL_PERCENT = 90, IN_CYCLE_PERCENT = 40, PACE_STEPS = 256 };
// Steps per MiB of live data, so that a full walk outlasts several cycles.
enum { STEPS_PER_MIB = 4096, STEPS_LEAST = 1 << 19 };

typedef struct record {
  uint64_t word[RECORD_WORDS];
} record;
BENCH_LEAF(record);

typedef struct node {
  struct node *near[NEAR], *far[FAR], *ring;
  record *record;
  uint32_t id, visits;
} node;
BENCH_TYPE(node, near[0], near[1], near[2], far[0], far[1], ring, record);

static uint32_t node_count(const bench_options *o) {
  double bytes = bench_cell(sizeof(node)) + bench_cell(sizeof(record));
  double clusters = o->live_mib * (1 << 20) / bytes / CLUSTER;
  return (uint32_t)(clusters < 1 ? 1 : clusters) * CLUSTER;
}

static double graph_live_mib(const bench_options *o) {
  return node_count(o) * (bench_cell(sizeof(node)) + bench_cell(sizeof(record))) / (1 << 20);
}

static record *record_new(bench_mutator *m, uint64_t value) {
  record *r = bench_new(m->self, record);
  r->word[0] = value;
  return r;
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

static void edges_near(node **table, uint32_t count, uint64_t *random) {
  for (uint32_t i = 0; i < count; i++) {
    uint32_t cluster = i - i % CLUSTER;
    table[i]->near[0] = table[cluster + (i + 1) % CLUSTER]; // A circle, so that the cluster hangs together.
    for (unsigned e = 1; e < NEAR; e++) {
      table[i]->near[e] = table[cluster + bench_random_below(random, CLUSTER)];
    }
  }
}

// The table and the permutations live during the building only. Not inlined, so that their pointers leave the stack with it.
static __attribute__((noinline)) node *graph_build(bench_mutator *m) {
  uint32_t count = node_count(m->options);
  node **table = (node **)bench_new_pointers(m->self, count);
  for (uint32_t i = 0; i < count; i++) {
    node *n = bench_new(m->self, node);
    n->id = i;
    table[i] = n;
    n->record = record_new(m, bench_random(&m->random));
  }
  edges_near(table, count, &m->random);
  uint32_t *order = bench_new_bytes(m->self, (size_t)count * sizeof *order);
  for (unsigned e = 0; e < FAR; e++) {
    permutation_shuffle(order, count, &m->random);
    for (uint32_t i = 0; i < count; i++) {
      table[i]->far[e] = table[order[i]];
    }
  }
  permutation_shuffle(order, count, &m->random);
  for (uint32_t i = 0; i < count; i++) {
    table[order[i]]->ring = table[order[i + 1 == count ? 0 : i + 1]];
  }
  node *root = table[0];
  bench_free(order);
  bench_free(table);
  return root;
}

typedef struct walk {
  bench_mutator *m;
  node *at;
  node **partners; // in the heap; a circular queue
  unsigned next_partner, local_percent;
} walk;

static inline void visit(walk *w) {
  uint64_t random = bench_random(&w->m->random);
  node *n = w->at;
  n->visits++;
  w->m->check = bench_check_add(w->m->check, ((uint64_t)n->visits << 32) | n->id);
  unsigned far = (random >> 32) % FAR;
  if (random % SWAP_EVERY == 0) {
    node **place = &w->partners[w->next_partner++ % PARTNERS];
    node *partner = *place, *mine = n->far[far];
    n->far[far] = partner->far[far];
    partner->far[far] = mine;
    *place = n;
  }
  if ((random >> 8) % RENEW_EVERY == 0) {
    record *old = n->record;
    w->m->check = bench_check_add(w->m->check, old->word[0]);
    record *new_record = record_new(w->m, old->word[0] + 1);
    n->record = new_record;
    bench_free(old);
  }
  bool local = (random >> 40) % 100 < w->local_percent;
  w->at = local ? n->near[(random >> 48) % NEAR] : n->far[far];
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
  node *root = graph_build(m);
  bench_clear_stack();
  bench_collect(m->self);

  uint64_t steps = m->options->steps;
  if (steps == 0) {
    steps = (uint64_t)(m->options->live_mib * STEPS_PER_MIB);
    steps = steps < STEPS_LEAST ? STEPS_LEAST : steps;
  }
  walk w = {m, root, (node **)bench_new_pointers(m->self, PARTNERS), 0, local_percent};
  for (unsigned i = 0; i < PARTNERS; i++) {
    w.partners[i] = root = root->far[0];
  }
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
    {"graph_local", "the same, nine visits of ten within a cluster", graph_live_mib, graph_local_run},
    {NULL, NULL, NULL, NULL},
};
