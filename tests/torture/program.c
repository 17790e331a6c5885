// SPDX-License-Identifier: MIT
// program.c: the random programs of the mutators.
//
// A step finds objects by random paths and changes the graph and its shadow alike. The caller holds the world's lock.

#include <stdlib.h>
#include "torture.h"
#include "veil/critical.h"

enum { PATH = 12, NESTING = 3 };

static void root_set(world *w, unsigned i, void *obj, shadow *sh) {
  ((void *volatile *)world_roots(w))[i] = obj;
  w->root_shadow[i] = sh;
}

// Somewhere in the graph, or in a root.
static void place(worker *t, world *w, void *obj, shadow *sh) {
  found at = one_in(&t->random, 3) ? (found){NULL, NULL} : world_find(t, w, (unsigned)below(&t->random, PATH));
  if (at.obj != NULL && at.sh->slots != 0) {
    object_link(at.obj, at.sh, below(&t->random, at.sh->slots), obj, sh, &t->random);
  } else {
    root_set(w, (unsigned)below(&t->random, ROOTS), obj, sh);
  }
}

static found tree_build(worker *t, world *w, unsigned depth) {
  breathe(t);
  found node = object_new(t, w, kind_pick(&t->random));
  if (node.obj == NULL) {
    return node;
  }
  size_t children = node.sh->slots < 4 ? node.sh->slots : 1 + below(&t->random, 3);
  for (size_t i = 0; i < children && depth > 0; i++) {
    found child = one_in(&t->random, 6) ? world_find(t, w, PATH) : tree_build(t, w, depth - 1);
    object_link(node.obj, node.sh, below(&t->random, node.sh->slots), child.obj, child.sh, &t->random);
  }
  return node;
}

static void step_tree(worker *t, world *w) {
  found tree = tree_build(t, w, (unsigned)below(&t->random, 6));
  if (tree.obj != NULL) {
    place(t, w, tree.obj, tree.sh);
  }
}

// A chain: no scanner finds the second object before it has scanned the first.
static void step_chain(worker *t, world *w) {
  found head = {NULL, NULL};
  for (uint64_t n = between(&t->random, 10, 400); n > 0; n--) {
    kind *k = &kinds[below(&t->random, 6)];
    found node = object_new(t, w, k->slots ? k : &kinds[0]);
    if (node.obj == NULL) {
      break;
    }
    object_link(node.obj, node.sh, below(&t->random, node.sh->slots), head.obj, head.sh, &t->random);
    head = node;
    breathe(t);
  }
  if (head.obj != NULL) {
    place(t, w, head.obj, head.sh);
  }
}

// Fills many slots of one object.
static void step_fan(worker *t, world *w) {
  found at = world_find(t, w, (unsigned)below(&t->random, PATH));
  if (at.obj == NULL || at.sh->slots < 4) {
    return;
  }
  uint64_t n = between(&t->random, 4, at.sh->slots < 64 ? at.sh->slots : 64);
  for (uint64_t i = 0; i < n; i++) {
    found child = one_in(&t->random, 2) ? world_find(t, w, PATH) : object_new(t, w, kind_pick(&t->random));
    object_link(at.obj, at.sh, below(&t->random, at.sh->slots), child.obj, child.sh, &t->random);
    breathe(t);
  }
}

static void step_relink(worker *t, world *w) {
  found from = world_find(t, w, (unsigned)below(&t->random, PATH));
  found to = world_find(t, w, (unsigned)below(&t->random, PATH));
  if (from.obj != NULL && from.sh->slots != 0) {
    object_link(from.obj, from.sh, below(&t->random, from.sh->slots), to.obj, to.sh, &t->random);
  }
}

static void step_cut(worker *t, world *w) {
  found from = world_find(t, w, (unsigned)below(&t->random, PATH));
  if (from.obj != NULL && from.sh->slots != 0) {
    object_link(from.obj, from.sh, below(&t->random, from.sh->slots), NULL, NULL, &t->random);
  }
}

static void step_swap(worker *t, world *w) {
  found a = world_find(t, w, (unsigned)below(&t->random, PATH));
  found b = world_find(t, w, (unsigned)below(&t->random, PATH));
  if (a.obj == NULL || b.obj == NULL || a.sh->slots == 0 || b.sh->slots == 0) {
    return;
  }
  size_t a_slot = below(&t->random, a.sh->slots), b_slot = below(&t->random, b.sh->slots);
  const kind *a_kind = a.sh->kind, *b_kind = b.sh->kind;
  bool tagged = slot_is_tagged(a_kind, a_slot);
  if (tagged == slot_is_tagged(b_kind, b_slot) && (!tagged || a_kind->nan_boxing == b_kind->nan_boxing)) {
    object_swap(a.obj, a.sh, a_slot, b.obj, b.sh, b_slot);
  }
}

static void step_rewrite(worker *t, world *w) {
  found at = world_find(t, w, (unsigned)below(&t->random, PATH));
  if (at.obj != NULL) {
    object_check(at.obj, at.sh, true);
    object_fill(at.obj, at.sh, rng_next(&t->random));
  }
}

static void step_roots(worker *t, world *w) {
  unsigned i = (unsigned)below(&t->random, ROOTS), j = (unsigned)below(&t->random, ROOTS);
  if (one_in(&t->random, 3)) {
    root_set(w, i, NULL, NULL);
  } else {
    root_set(w, i, world_roots(w)[j], w->root_shadow[j]);
  }
}

static void step_collect(worker *t, world *w) {
  (void)w;
  switch (below(&t->random, 8)) {
  case 0:
    veil_collect(t->self);
    return;
  case 1:
    if (one_in(&t->random, 8)) {
      veil_verify(t->self);
    }
    return;
  default:
    veil_collect_start(t->self);
    return;
  }
}

// Garbage, in the kinds' own proportions: makes the collector run by itself.
static void step_garbage(worker *t, world *w) {
  (void)w;
  for (uint64_t n = between(&t->random, 10, 500); n > 0; n--) {
    kind *k = kind_pick(&t->random);
    size_t length = k->array ? between(&t->random, k->length_min, k->length_max) : 1;
    void *obj = object_allocate(t, k, length, object_may_be_raw(t, k));
    if (obj == NULL) {
      atomic_fetch_add_explicit(&stat_oom, 1, memory_order_relaxed);
      return;
    }
    breathe(t);
  }
}

// Several objects that nothing can come between. Shadows have to wait until it is over: malloc's locks may be held by a thread that stands.
static void step_section(worker *t, world *w) {
  enum { MOST = 24 };
  kind *of[MOST];
  size_t length[MOST], bytes = 0;
  bool raw[MOST];
  void *obj[MOST];
  unsigned n = (unsigned)between(&t->random, 1, MOST);
  for (unsigned i = 0; i < n; i++) {
    of[i] = kind_pick(&t->random);
    length[i] = of[i]->array ? between(&t->random, of[i]->length_min, of[i]->length_max) : 1;
    raw[i] = object_may_be_raw(t, of[i]);
    bytes += object_room(of[i], length[i]);
  }
  if (veil_critical_begin(t->self, bytes) != VEIL_OK) {
    REQUIRE(cfg.oom_null, "no critical section without the option: %s", veil_error());
    atomic_fetch_add_explicit(&stat_oom, 1, memory_order_relaxed);
    return;
  }
  for (unsigned i = 0; i < n; i++) {
    obj[i] = object_allocate(t, of[i], length[i], raw[i]);
    breathe(t);
  }
  veil_critical_end(t->self);
  found last = {NULL, NULL};
  for (unsigned i = 0; i < n; i++) {
    REQUIRE(obj[i] != NULL, "allocation in a critical section returned NULL");
    found at = object_adopt(t, w, of[i], length[i], raw[i], obj[i]);
    if (at.sh->slots != 0) {
      object_link(at.obj, at.sh, below(&t->random, at.sh->slots), last.obj, last.sh, &t->random);
      last = at;
    } else {
      place(t, w, at.obj, at.sh);
    }
  }
  if (last.obj != NULL) {
    place(t, w, last.obj, last.sh);
  }
}

// Makes one thing wrong, and again later: what is made wrong may become garbage, or be overwritten, before it is looked at.
static void sabotage(worker *t, world *w) {
  found at = world_find(t, w, PATH);
  if (at.obj == NULL) {
    return;
  }
  volatile uint64_t *words = at.obj;
  size_t n = object_bytes(at.sh) / 8, word = n ? below(&t->random, n) : 0;
  if (cfg.sabotage == 3) {
    for (unsigned i = 0; i < ROOTS; i++) {
      ((void *volatile *)world_roots(w))[i] = NULL;
    }
  } else if (cfg.sabotage == 2 && at.sh->slots != 0) {
    words[slot_word(at.sh->kind, 0)] = at.sh->edges[0].to ? 0 : (uint64_t)(uintptr_t)at.obj;
  } else if (cfg.sabotage == 1 && n != 0 && !word_is_slot(at.sh->kind, word)) {
    words[word] ^= 1ull << below(&t->random, 64);
  }
}

static void step(worker *t, world *w) {
  if (one_in(&t->random, 25)) {
    links_random(t);
    return;
  }
  uint64_t dice = below(&t->random, 1000);
  if (dice < 200) {
    step_tree(t, w);
  } else if (dice < 220) {
    step_chain(t, w);
  } else if (dice < 280) {
    step_fan(t, w);
  } else if (dice < 480) {
    step_relink(t, w);
  } else if (dice < 600) {
    step_cut(t, w);
  } else if (dice < 720) {
    step_swap(t, w);
  } else if (dice < 850) {
    step_rewrite(t, w);
  } else if (dice < 900) {
    step_roots(t, w);
  } else if (dice < 930) {
    (one_in(&t->random, 3) ? step_section : step_garbage)(t, w);
  } else if (dice < 960) {
    if (t->depth < NESTING) {
      t->depth++;
      hold_random(t, w);
      t->depth--;
    }
  } else if (dice < 990) {
    system_random(t, w);
  } else if (dice < 994) {
    step_collect(t, w);
  } else if (dice < 997) {
    storm_step(t);
  } else if (cfg.sabotage && atomic_load(&stat_walks) > 3) {
    sabotage(t, w);
  }
}

void program_run(worker *t, world *w, unsigned steps) {
  for (unsigned i = 0; i < steps && !atomic_load_explicit(&finished, memory_order_relaxed); i++) {
    step(t, w);
    breathe(t);
    w->ops_since_walk++;
    atomic_fetch_add_explicit(&stat_ops, 1, memory_order_relaxed);
    if (t->depth == 0) {
      world_trim(t, w);
      if (w->ops_since_walk > w->count / 8 + 100) {
        world_walk(t, w);
        w->ops_since_walk = 0;
      }
    }
  }
}
