// SPDX-License-Identifier: MIT
// heap_graph.c: what is reached, shortest ways, and dominators: node a dominates b if every way from the root to b
// passes a, so b goes when a does.
//
// Dominators after Lengauer and Tarjan (1979), in the version with simple path compression, O(m log n) whatever the
// graph; the nodes stand in the order of a depth-first search. Nothing recurses: a list is as deep as it is long.

#include <stdlib.h>
#include "runtime/tools/heap.h"

uint32_t heap_paths(const heap_dump *d, uint32_t *before, uint32_t *order) {
  uint32_t *queue = order != NULL ? order : heap_memory(d, d->nodes, sizeof *queue);
  for (uint32_t n = 0; n < d->nodes; n++) {
    before[n] = HEAP_NONE;
  }
  uint32_t head = 0, tail = 0, root = heap_root_node(d);
  queue[tail++] = root;
  before[root] = root;
  while (head < tail) {
    uint32_t n = queue[head++];
    for (uint32_t e = d->first[n]; e < d->first[n + 1]; e++) {
      uint32_t to = d->target[e];
      if (before[to] == HEAP_NONE) {
        before[to] = n;
        queue[tail++] = to;
      }
    }
  }
  before[root] = HEAP_NONE;
  if (order == NULL) {
    free(queue);
  }
  return tail;
}

static void mark(heap_dump *d, uint32_t node, uint32_t *stack, uint32_t *height) {
  if (node >= d->objects) {
    return;
  }
  if (!(d->what[node] & HEAP_REACHED)) {
    d->what[node] |= HEAP_REACHED;
    d->reached++;
    d->reached_bytes += heap_object_bytes(d, node);
    stack[(*height)++] = node;
  }
}

// A table, or what an entry needs, is reached: of the two the last one that comes here finds the other marked.
static void entries_mark(heap_dump *d, uint32_t node, uint32_t *stack, uint32_t *height) {
  for (uint32_t i = heap_entries_needing(d, node); i < d->entry_count && heap_entry_needs(&d->entries[i]) == node;
       i++) {
    if (d->what[d->entries[i].table] & HEAP_REACHED) {
      mark(d, heap_entry_holds(&d->entries[i]), stack, height);
    }
  }
  for (uint32_t i = heap_entries_of(d, node); i < d->entry_count && d->entries[d->entries_of[i]].table == node; i++) {
    const heap_entry *e = &d->entries[d->entries_of[i]];
    uint32_t needs = heap_entry_needs(e);
    if (needs != HEAP_NONE && (d->what[needs] & HEAP_REACHED)) {
      mark(d, heap_entry_holds(e), stack, height);
    }
  }
}

void heap_reach(heap_dump *d) {
  uint32_t *stack = heap_memory(d, d->objects, sizeof *stack),
           height = 0; // nothing that was marked before is marked again
  for (uint32_t i = 0; i < d->root_count; i++) {
    mark(d, d->roots[i].object, stack, &height);
    while (height != 0) {
      uint32_t n = stack[--height];
      for (uint32_t e = d->first[n]; e < d->first[n + 1]; e++) {
        mark(d, d->target[e], stack, &height);
      }
      if (d->what[n] & HEAP_ENTRIES) {
        entries_mark(d, n, stack, &height);
      }
    }
  }
  free(stack);
}

// ---- Dominators. Nodes are named by when the search came to them, from 0, but in `node` and `number`.

// A node in the forest that grows, side by side, since all of it is asked for at once.
typedef struct above {
  uint32_t ancestor;    // HEAP_NONE: a root of it
  uint32_t label, semi; // of the nodes on the compressed way up, that with the least semidominator; that
} above;

typedef struct work {
  heap_dump *d;
  uint32_t count;   // of nodes that the search has found
  uint32_t *number; // by node
  uint32_t *node;   // by number
  uint32_t *parent; // in the tree of the search
  uint32_t *semi;   // semidominator
  above *forest;
  uint32_t *idom;              // while a node waits in a bucket: the next one there
  uint32_t *bucket;            // by semidominator: the first
  uint32_t *from_first, *from; // who refers to it
  uint32_t *way;               // a stack
} work;

enum { AHEAD = 16 }; // so many lines of the cache are fetched while others are waited for

static uint32_t *table(work *w, uint64_t count) { return heap_memory(w->d, count, sizeof(uint32_t)); }

static void node_found(work *w, uint32_t node, uint32_t parent) {
  w->number[node] = w->count;
  w->node[w->count] = node;
  w->parent[w->count++] = parent;
}

// Depth first. `way`: per number, the next reference to look at.
static void search(work *w) {
  const heap_dump *d = w->d;
  for (uint32_t n = 0; n < d->nodes; n++) {
    w->number[n] = HEAP_NONE;
  }
  uint32_t *next = table(w, d->nodes);
  node_found(w, heap_root_node(d), HEAP_NONE);
  next[0] = d->first[heap_root_node(d)];
  for (uint32_t at = 0; at != HEAP_NONE;) {
    uint32_t node = w->node[at];
    if (next[at] == d->first[node + 1]) {
      at = w->parent[at];
      continue;
    }
    uint32_t to = d->target[next[at]++];
    if (w->number[to] == HEAP_NONE) {
      node_found(w, to, at);
      at = w->count - 1;
      next[at] = d->first[to];
      for (uint32_t e = d->first[to], end = d->first[to + 1]; e < end && e < next[at] + AHEAD; e++) {
        __builtin_prefetch(&w->number[d->target[e]]); // all at once: one after the other each would be waited for
      }
    }
  }
  free(next);
}

static void reverse(work *w) {
  const heap_dump *d = w->d;
  w->from_first = table(w, (uint64_t)w->count + 2);
  for (uint32_t n = 0; n < w->count; n++) {
    for (uint32_t e = d->first[w->node[n]]; e < d->first[w->node[n] + 1]; e++) {
      w->from_first[w->number[d->target[e]] + 2]++;
    }
  }
  for (uint32_t n = 2; n < w->count + 2; n++) {
    w->from_first[n] += w->from_first[n - 1];
  }
  w->from = table(w, w->from_first[w->count + 1]);
  for (uint32_t n = 0; n < w->count; n++) {
    for (uint32_t e = d->first[w->node[n]]; e < d->first[w->node[n] + 1]; e++) {
      w->from[w->from_first[w->number[d->target[e]] + 1]++] = n;
    }
  }
}

// The least semidominator on the way up; `label`: whose it is.
static uint32_t eval(work *w, uint32_t v, uint32_t *label) {
  above *forest = w->forest;
  if (forest[v].ancestor != HEAP_NONE) {
    // Up to the node below the forest's root, and down again: each gets that root as its ancestor.
    uint32_t height = 0, at = v;
    while (forest[forest[at].ancestor].ancestor != HEAP_NONE) {
      w->way[height++] = at;
      at = forest[at].ancestor;
    }
    while (height != 0) {
      above *below = &forest[w->way[--height]], *next = &forest[below->ancestor];
      if (next->semi < below->semi) {
        below->semi = next->semi;
        below->label = next->label;
      }
      below->ancestor = next->ancestor;
    }
  }
  *label = forest[v].label;
  return forest[v].semi;
}

static void dominators_find(work *w) {
  uint32_t label;
  for (uint32_t n = 0; n < w->count; n++) {
    w->forest[n] = (above){HEAP_NONE, n, n};
    w->bucket[n] = HEAP_NONE;
  }
  for (uint32_t n = w->count; n-- > 1;) {
    uint32_t parent = w->parent[n], semi = n;
    for (uint32_t e = w->from_first[n]; e < w->from_first[n + 1]; e++) {
      __builtin_prefetch(&w->forest[w->from[e < AHEAD ? 0 : e - AHEAD]]); // of a node that comes soon
      uint32_t u = eval(w, w->from[e], &label);
      semi = u < semi ? u : semi;
    }
    w->semi[n] = semi;
    w->idom[n] = w->bucket[semi];
    w->bucket[semi] = n;
    w->forest[n] = (above){parent, n, semi};
    for (uint32_t v = w->bucket[parent]; v != HEAP_NONE;) { // their semidominator is `parent`
      uint32_t next = w->idom[v];
      w->idom[v] = eval(w, v, &label) < parent ? label : parent;
      v = next;
    }
    w->bucket[parent] = HEAP_NONE;
  }
  for (uint32_t n = 1; n < w->count; n++) {
    if (w->idom[n] != w->semi[n]) {
      w->idom[n] = w->idom[w->idom[n]];
    }
  }
}

static void retained_sum(work *w) {
  heap_dump *d = w->d;
  d->dominator = table(w, d->nodes);
  d->retained = heap_memory(d, d->nodes, sizeof *d->retained);
  d->retained_count = table(w, d->nodes);
  for (uint32_t n = 0; n < d->nodes; n++) {
    d->dominator[n] = HEAP_NONE;
  }
  for (uint32_t n = w->count; n-- > 0;) {
    uint32_t node = w->node[n];
    if (node < d->objects) {
      d->retained[node] += heap_object_bytes(d, node);
      d->retained_count[node]++;
    }
    if (n != 0) {
      uint32_t by = d->dominator[node] = w->node[w->idom[n]];
      d->retained[by] += d->retained[node];
      d->retained_count[by] += d->retained_count[node];
    }
  }
}

void heap_dominate(heap_dump *d) {
  heap_say(d, "finding what holds what: dominators of %u objects", d->reached);
  work w = {.d = d};
  w.number = table(&w, d->nodes);
  w.node = table(&w, d->nodes);
  w.parent = table(&w, d->nodes);
  search(&w);
  reverse(&w);
  free(w.number);
  w.semi = table(&w, w.count);
  w.forest = heap_memory(d, w.count, sizeof *w.forest);
  w.idom = table(&w, w.count);
  w.bucket = table(&w, w.count);
  w.way = table(&w, w.count);
  dominators_find(&w);
  void *const done[] = {w.parent, w.semi, w.forest, w.bucket, w.way, w.from, w.from_first};
  for (size_t i = 0; i < sizeof done / sizeof *done; i++) {
    free(done[i]);
  }
  retained_sum(&w);
  free(w.node);
  free(w.idom);
}
