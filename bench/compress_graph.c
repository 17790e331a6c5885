// SPDX-License-Identifier: MIT
// compress_graph.c: the program `graph` of the workload `compress`: a shuffled graph of which a share sleeps.
//
// Nodes of 64 bytes as in graph.c. Those that sleep (--cold, a half) are made first, and all have been through a cycle before edges join them: else the first one would put what the edges
// lead to side by side, and each page would be as awake as the next. A ring and one more edge of each node stay within its half, so that the walk never leaves the half that is awake; the third edge leads anywhere, and is not followed: pages that sleep refer to pages that are moved about, and the other way round. One visit in 16 swaps two edges that stay within, one in 64 gives
// the node a new note.

#include <stdlib.h>
#include "bench/compress.h"

enum { RING, NEAR, FAR, EDGES, SWAP_IN = 16, NOTE_IN = 64, NODE_BYTES = 80 };

typedef struct note {
  uint64_t word[3];
} note;
VEIL_LEAF(note);

typedef struct node {
  struct node *edge[EDGES];
  note *note;
  uint32_t id, visits;
  uint64_t own, more[2]; // which never change
} node;
VEIL_TYPE(node, edge[0], edge[1], edge[2], note);

static node *first[2]; // of the half that sleeps, and of the other: roots
static node *at;       // likewise: where the walk is
static node **table;   // likewise, while it is built
static uint64_t count, asleep, random_state, walk_sum, far_sum;
static double begun_s;

static uint64_t random_next(void) { return compress_random(&random_state); }

static void shuffled(uint32_t *order, uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    uint64_t other = random_next() % (i + 1);
    order[i] = order[other];
    order[other] = (uint32_t)i;
  }
}

// Edges of the nodes [base, base + n).
static void half_join(uint64_t base, uint64_t n) {
  uint32_t *order = compress_memory(n, sizeof *order);
  shuffled(order, n);
  for (uint64_t i = 0; i < n; i++) {
    table[base + order[i]]->edge[RING] = table[base + order[(i + 1) % n]];
  }
  shuffled(order, n);
  for (uint64_t i = 0; i < n; i++) {
    table[base + i]->edge[NEAR] = table[base + order[i]];
    table[base + i]->edge[FAR] = table[random_next() % count];
  }
  free(order);
}

static __attribute__((noinline)) void nodes_make(void) {
  table = (node **)veil_new_pointers(compress_self, count);
  for (uint64_t i = 0; i < count; i++) {
    node *n = veil_new(compress_self, node);
    n->id = (uint32_t)i;
    n->own = compress_mix(i, compress_now.seed) >> 32;
    n->more[0] = n->own % 1000;
    n->more[1] = i / 64;
    table[i] = n;
  }
  veil_collect(compress_self);
  half_join(0, asleep);
  half_join(asleep, count - asleep);
  first[0] = table[0];
  first[1] = at = table[asleep];
  table = NULL;
}

static uint64_t half_sum(const node *from, uint64_t n, uint64_t base) {
  uint64_t sum = 0;
  const node *one = from;
  for (uint64_t i = 0; i < n; i++) {
    if (one->own != compress_mix(one->id, compress_now.seed) >> 32 || one->more[0] != one->own % 1000 || one->more[1] != one->id / 64 || one->id < base || one->id >= base + n) {
      compress_fail("graph", "a node is not what was put there");
    }
    sum += compress_mix(one->id, one->edge[FAR]->id);
    one = one->edge[RING];
  }
  if (one != from) {
    compress_fail("graph", "a ring is broken");
  }
  return sum;
}

static void graph_build(void) {
  random_state = compress_now.seed * 99;
  count = (uint64_t)(compress_now.live_mib * (1 << 20)) / NODE_BYTES;
  asleep = (uint64_t)(compress_now.cold * (double)count);
  asleep = asleep < 1 ? 1 : asleep > count - 1 ? count - 1 : asleep;
  veil_add_roots(compress_heap, first, 2);
  veil_add_roots(compress_heap, &at, 1);
  veil_add_roots(compress_heap, &table, 1);
  nodes_make();
  far_sum = half_sum(first[0], asleep, 0) ^ half_sum(first[1], count - asleep, asleep);
  begun_s = compress_now_s();
}

static void graph_steps(unsigned steps) {
  node *n = at;
  for (unsigned i = 0; i < steps; i++) {
    uint64_t dice = random_next();
    n->visits++;
    walk_sum += n->own;
    if (dice % SWAP_IN == 0) {
      node *partner = n->edge[RING], *mine = n->edge[NEAR];
      n->edge[NEAR] = partner->edge[NEAR];
      partner->edge[NEAR] = mine;
    }
    if ((dice >> 8) % NOTE_IN == 0) {
      note *fresh = veil_new(compress_self, note);
      fresh->word[0] = n->own + n->visits;
      n->note = fresh;
    }
    n = n->edge[dice >> 63];
  }
  at = n;
}

static double graph_idle_bytes(double seconds) {
  veil_stats s;
  veil_get_stats(compress_heap, &s);
  return compress_now_s() - begun_s > seconds ? (double)asleep / (double)count * (double)s.live_bytes : 0; // in the other half all is visited many times a second
}

static double graph_idle_pages(double seconds) { return graph_idle_bytes(seconds) / COMPRESS_PAGE; } // the halves lie apart

static void graph_objects(void (*tell)(const void *object)) {
  for (int half = 0; half < 2; half++) {
    const node *n = first[half];
    do {
      tell(n);
      n = n->edge[RING];
    } while (n != first[half]);
  }
}

static uint64_t graph_verify(void) {
  uint64_t sum = half_sum(first[0], asleep, 0) ^ half_sum(first[1], count - asleep, asleep);
  if (sum != far_sum) {
    compress_fail("graph", "an edge is not what was put there");
  }
  return sum;
}

const compress_program compress_graph = {"graph", graph_build, graph_steps, NULL, graph_idle_bytes, graph_idle_pages, graph_objects, graph_verify};
