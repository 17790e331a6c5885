// SPDX-License-Identifier: MIT
// barriers_loops.c: the loops of the workload `barriers`, each written once and compiled with four sets of barriers.
//
// `card` and `read` are constants wherever a loop is instantiated, so plain code holds nothing of either. Which steps
// write, and where, depends on the random numbers alone: all variants do the same. What is left changed is put back by
// `undo`, which is not measured.

#include "bench/barriers.h"

#define INLINE static inline __attribute__((always_inline))

// What a loop keeps in registers, as a compiled program would.
typedef struct barrier {
  bool card, read; // constants
  uint8_t *cards;
  uint64_t bad;
} barrier;

INLINE node *load(barrier b, node **slot) {
  node *ref = *slot;
  if (b.read && __builtin_expect(((uintptr_t)ref & b.bad) != 0, 0)) {
    ref = barriers_read_stub(slot, ref);
  }
  return ref;
}

INLINE void store(barrier b, node **slot, node *ref) {
  *slot = ref;
  if (b.card) {
    b.cards[(uintptr_t)slot >> CARD_SHIFT] = 1;
  }
}

// SplitMix64, as bench_random; it counts, so what comes n steps later is known without the steps between.
INLINE uint64_t random_next(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

INLINE uint32_t below(uint32_t bits, uint32_t limit) { return (uint32_t)((uint64_t)bits * limit >> 32); }

// Two nodes, and whether to write: from one number and, for the latter, another mix of it.
INLINE uint32_t first_of(uint64_t random, uint32_t count) { return below((uint32_t)random, count); }
INLINE uint32_t second_of(uint64_t random, uint32_t count) { return below((uint32_t)(random >> 32), count); }
INLINE uint32_t chance_of(uint64_t random) { return (uint32_t)(random * 0xd6e8feb86659fd93u >> 32); }

// ---- A step each.

INLINE void list_steps(const world *w, walk *k, uint64_t steps, barrier b) {
  node *n = k->at != NULL ? k->at : w->first;
  uint64_t check = k->check;
  for (; steps != 0; steps--) {
    node *next = load(b, &n->next); // first, in all variants: what follows waits for it
    check += n->key;
    n = next;
  }
  k->check = check;
  k->at = n;
}

// Descents from the root to a leaf, one edge to a step.
INLINE void tree_steps(const world *w, walk *k, uint64_t steps, barrier b) {
  node *n = k->at != NULL ? k->at : w->root, *root = w->root;
  uint64_t check = k->check, bits = k->bits, random = k->random;
  for (; steps != 0; steps--) {
    node *child = load(b, &n->child[bits & 1]);
    check += n->key;
    n = child;
    bits >>= 1;
    if (n == NULL) {
      n = root;
      bits = random_next(&random);
    }
  }
  k->check = check;
  k->bits = bits;
  k->random = random;
  k->at = n;
}

// A reference to a random node goes into one of the first `among` nodes; or one is read and followed.
INLINE void stores(const world *w, walk *k, uint64_t steps, barrier b, uint32_t among) {
  node **all = w->all;
  uint64_t check = k->check, random = k->random;
  uint32_t count = w->count, threshold = k->threshold;
  for (; steps != 0; steps--) {
    uint64_t r = random_next(&random);
    node *n = load(b, &all[first_of(r, among)]);
    if (chance_of(r) < threshold) {
      store(b, &n->other, load(b, &all[second_of(r, count)]));
    } else {
      check += load(b, &n->other)->key;
    }
  }
  k->check = check;
  k->random = random;
}

INLINE void stores_undo(const world *w, walk *k, uint64_t steps, uint32_t among) {
  for (; steps != 0; steps--) {
    uint64_t r = random_next(&k->random);
    if (chance_of(r) < k->threshold) {
      node *n = w->all[first_of(r, among)];
      n->other = barriers_partner(w, n->key);
    }
  }
}

INLINE void store_steps(const world *w, walk *k, uint64_t steps, barrier b) { stores(w, k, steps, b, w->count); }
INLINE void store_undo(const world *w, walk *k, uint64_t steps) { stores_undo(w, k, steps, w->count); }

// The same in a few nodes that are written again and again.
INLINE uint32_t hot(const world *w) { return w->count < HOT ? w->count : HOT; }
INLINE void hot_steps(const world *w, walk *k, uint64_t steps, barrier b) { stores(w, k, steps, b, hot(w)); }
INLINE void hot_undo(const world *w, walk *k, uint64_t steps) { stores_undo(w, k, steps, hot(w)); }

// Two random nodes exchange their references; or one is read and followed.
INLINE void swap_steps(const world *w, walk *k, uint64_t steps, barrier b) {
  node **all = w->all;
  uint64_t check = k->check, random = k->random;
  uint32_t count = w->count, threshold = k->threshold;
  for (; steps != 0; steps--) {
    uint64_t r = random_next(&random);
    node *n = load(b, &all[first_of(r, count)]);
    if (chance_of(r) < threshold) {
      node *m = load(b, &all[second_of(r, count)]), *of_n = load(b, &n->other), *of_m = load(b, &m->other);
      store(b, &n->other, of_m);
      store(b, &m->other, of_n);
    } else {
      check += load(b, &n->other)->key;
    }
  }
  k->check = check;
  k->random = random;
}

INLINE void swap_undo(const world *w, walk *k, uint64_t steps) {
  for (; steps != 0; steps--) {
    uint64_t r = random_next(&k->random);
    if (chance_of(r) < k->threshold) {
      node *n = w->all[first_of(r, w->count)], *m = w->all[second_of(r, w->count)];
      n->other = barriers_partner(w, n->key);
      m->other = barriers_partner(w, m->key);
    }
  }
}

// A random key is looked up; a step that writes gives it another value, or puts it in if it is not there and takes it
// out if it is.
INLINE void hash_step(const world *w, uint64_t r, uint32_t threshold, uint64_t *check, barrier b) {
  uint32_t key = first_of(r, w->count), chance = chance_of(r);
  node **link = &w->bucket[barriers_bucket(w, key)], *n;
  while ((n = load(b, link)) != NULL && n->key != key) {
    link = &n->chain;
  }
  if (chance >= threshold) {
    *check += n != NULL ? load(b, &n->value)->key : 1;
  } else if (chance & 1) {
    if (n != NULL) {
      store(b, &n->value, load(b, &w->all[second_of(r, w->count)]));
    }
  } else if (n != NULL) {
    store(b, link, load(b, &n->chain));
  } else {
    n = load(b, &w->all[key]);
    node **head = &w->bucket[barriers_bucket(w, key)];
    store(b, &n->chain, load(b, head));
    store(b, head, n);
  }
}

INLINE void hash_steps(const world *w, walk *k, uint64_t steps, barrier b) {
  world mine = *w; // in registers
  uint64_t check = k->check, random = k->random;
  uint32_t threshold = k->threshold;
  for (; steps != 0; steps--) {
    hash_step(&mine, random_next(&random), threshold, &check, b);
  }
  k->check = check;
  k->random = random;
}

// Even keys are in the table, odd ones are not.
INLINE void hash_undo(const world *w, walk *k, uint64_t steps) {
  for (; steps != 0; steps--) {
    uint64_t r = random_next(&k->random);
    uint32_t chance = chance_of(r), key = first_of(r, w->count);
    if (chance >= k->threshold) {
      continue;
    }
    node *own = w->all[key], **head = &w->bucket[barriers_bucket(w, key)], **link = head;
    if (chance & 1) {
      own->value = barriers_partner(w, key);
      continue;
    }
    while (*link != NULL && *link != own) {
      link = &(*link)->chain;
    }
    if (*link == NULL && key % 2 == 0) {
      own->chain = *head;
      *head = own;
    } else if (*link != NULL && key % 2 != 0) {
      *link = own->chain;
    }
  }
}

// ---- The variants.

#define VARIANT(LOOP, NAME, CARDS, READS)                                                                              \
  static __attribute__((noinline, aligned(64))) void LOOP##_##NAME(const world *w, walk *k, uint64_t steps) {          \
    LOOP##_steps(w, k, steps, (barrier){CARDS, READS, barriers_cards, barriers_bad_bit});                              \
  }
#define ALL_VARIANTS(LOOP)                                                                                             \
  VARIANT(LOOP, plain, false, false)                                                                                   \
  VARIANT(LOOP, card, true, false)                                                                                     \
  VARIANT(LOOP, read, false, true)                                                                                     \
  VARIANT(LOOP, both, true, true)
#define UNDO(LOOP)                                                                                                     \
  static __attribute__((noinline)) void LOOP##_undone(const world *w, walk *k, uint64_t steps) {                       \
    LOOP##_undo(w, k, steps);                                                                                          \
  }

ALL_VARIANTS(list)
ALL_VARIANTS(tree)
ALL_VARIANTS(store)
ALL_VARIANTS(hot)
ALL_VARIANTS(swap)
ALL_VARIANTS(hash)
UNDO(store)
UNDO(hot)
UNDO(swap)
UNDO(hash)

#define LOOP(NAME, WRITES, BESIDE_MAJOR, UNDONE)                                                                       \
  { #NAME, WRITES, BESIDE_MAJOR, {NAME##_plain, NAME##_card, NAME##_read, NAME##_both }, UNDONE }

const loop barriers_loops[LOOPS] = {LOOP(list, false, true, NULL),         LOOP(tree, false, true, NULL),
                                    LOOP(store, true, true, store_undone), LOOP(hot, true, false, hot_undone),
                                    LOOP(swap, true, false, swap_undone),  LOOP(hash, true, true, hash_undone)};
