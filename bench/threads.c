// SPDX-License-Identifier: MIT
// threads.c: several mutators that share and exchange structures, each with a fixed amount of work.
//
// They share two things. The *exchange* is an array of slots with --live MiB of trees of 31 nodes in all, however many mutators there
// are. The *shelf* is 256 lists of notes, each under a mutex; a list has 32 notes at most.
//
// A step builds a tree, puts it into a random slot of the exchange by an atomic exchange, and gets what was there: a tree that
// some mutator made, and that nobody else has now. It counts that one and drops it. One step in four puts a new note at the head of a
// random list, reads the list, and takes the last note off if there are too many. Ownership passes with the exchange, and notes are taken off
// under the lock, so a program that frees by hand may free what it got.
//
// All that is ever taken out, and what is left at the end, is summed; the sum does not depend on who met whom, and is the checksum. The work of a
// mutator is --steps steps, so perfect scaling is the same wall time for any number of mutators, each on a core of its own.

#include "bench/harness.h"

enum { DEPTH = 4, LISTS = 256, LIST_LENGTH = 32, NOTE_EVERY = 4, STEPS_DEFAULT = 2000 * 1000 };
enum { NODES = (2 << DEPTH) - 1 };

typedef struct tree {
  struct tree *left, *right;
  uint64_t value;
} tree;
BENCH_TYPE(tree, left, right);

typedef struct note {
  struct note *next;
  uint64_t key, value; // value is note_value(key)
} note;
BENCH_TYPE(note, next);

typedef struct list {
  pthread_mutex_t mutex;
  unsigned length; // under the mutex
} list;

// Roots: written by mutator 0 before the others may look. What they point to is shared.
static struct {
  tree **exchange;
  note **shelf; // the heads of the lists, each under its list's mutex
} shared;
static uint32_t exchange_length;     // constant after exchange_make
static list lists[LISTS];            // not in the heap, because a mutex must not move
static uint64_t everything;          // sum of all that was taken out, atomic

static uint32_t slots_wanted(const bench_options *o) {
  double slots = o->live_mib * (1 << 20) / (NODES * bench_cell(sizeof(tree)) + sizeof(tree *));
  return slots < 1 ? 1 : (uint32_t)slots;
}

// Of all mutators, divided among them.
static double threads_live_mib(const bench_options *o) {
  double slots = slots_wanted(o);
  double bytes = slots * NODES * bench_cell(sizeof(tree)) + bench_cell((size_t)slots * sizeof(tree *)) +
                 LISTS * LIST_LENGTH * bench_cell(sizeof(note));
  return bytes / (1 << 20) / o->threads;
}

static uint64_t note_value(uint64_t key) { return key * 0x9e3779b97f4a7c15u + 1; }

static tree *tree_new(bench_mutator *m, unsigned depth, uint64_t value) {
  tree *t = bench_new(m->self, tree);
  t->value = value;
  if (depth > 0) {
    t->left = tree_new(m, depth - 1, value + 1);
    t->right = tree_new(m, depth - 1, value + 2);
  }
  return t;
}

// The sum of its values; frees it on the way, where that is done by hand.
static uint64_t tree_take(tree *t) {
  if (t == NULL) {
    return 0;
  }
  uint64_t sum = t->value + tree_take(t->left);
  sum += tree_take(t->right);
  bench_free(t);
  return sum;
}

static uint64_t exchange_step(bench_mutator *m, uint64_t number) {
  tree *mine = tree_new(m, DEPTH, number);
  uint32_t slot = bench_random_below(&m->random, exchange_length);
  return tree_take(__atomic_exchange_n(&shared.exchange[slot], mine, __ATOMIC_ACQ_REL));
}

// Reads the list; unlinks and returns its last note if it has become too long.
static note *list_trim_locked(list *l, note *head) {
  note *before = NULL, *n = head;
  for (; n->next != NULL; n = n->next) {
    if (n->value != note_value(n->key)) {
      bench_wrong("threads: a note is damaged");
    }
    before = n;
  }
  if (l->length <= LIST_LENGTH) {
    return NULL;
  }
  l->length--;
  before->next = NULL;
  return n;
}

// Allocates before it locks, so that no mutator waits for a lock whose holder waits for memory.
static uint64_t shelf_step(bench_mutator *m, uint64_t number) {
  note *n = bench_new(m->self, note);
  n->key = number;
  n->value = note_value(number);
  unsigned i = bench_random_below(&m->random, LISTS);
  pthread_mutex_lock(&lists[i].mutex);
  n->next = shared.shelf[i];
  shared.shelf[i] = n;
  lists[i].length++;
  note *taken = list_trim_locked(&lists[i], n);
  pthread_mutex_unlock(&lists[i].mutex);
  uint64_t value = taken != NULL ? taken->value : 0;
  bench_free(taken);
  return value;
}

// Mutator 0 makes what is shared.
static void shared_make(bench_mutator *m) {
  bench_roots_add(m->self, &shared, sizeof shared / sizeof(void *));
  exchange_length = slots_wanted(m->options);
  shared.shelf = (note **)bench_new_pointers(m->self, LISTS);
  shared.exchange = (tree **)bench_new_pointers(m->self, exchange_length);
  for (uint32_t i = 0; i < exchange_length; i++) {
    shared.exchange[i] = tree_new(m, DEPTH, i);
  }
  for (unsigned i = 0; i < LISTS; i++) {
    pthread_mutex_init(&lists[i].mutex, NULL);
  }
}

// Sums what is left, when the others are done.
static uint64_t shared_take(void) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < exchange_length; i++) {
    sum += tree_take(shared.exchange[i]);
  }
  for (unsigned i = 0; i < LISTS; i++) {
    for (note *n = shared.shelf[i], *next; n != NULL; n = next) {
      next = n->next;
      sum += n->value;
      bench_free(n);
    }
  }
  bench_free(shared.exchange);
  bench_free(shared.shelf);
  shared.exchange = NULL;
  shared.shelf = NULL;
  return sum;
}

static void threads_run(bench_mutator *m) {
  if (m->index == 0) {
    shared_make(m);
  }
  uint64_t steps = m->options->steps != 0 ? m->options->steps : STEPS_DEFAULT, sum = 0;
  bench_measure_begin(m); // The others are here before the shared things are there, and go on after.
  for (uint64_t s = 0; s < steps; s++) {
    uint64_t number = s << 8 | m->index;
    sum += exchange_step(m, number);
    if (s % NOTE_EVERY == 0) {
      sum += shelf_step(m, number);
    }
    bench_step(m);
  }
  __atomic_fetch_add(&everything, sum, __ATOMIC_RELAXED);
  bench_measure_end(m);
  if (m->index == 0) { // The barrier orders it after the others' sums.
    m->check = bench_check_add(m->check, everything + shared_take());
  }
}

const bench_workload bench_workloads[] = {
    {"threads", "mutators that exchange trees and share lists (--live, --steps of each)", threads_live_mib, threads_run},
    {NULL, NULL, NULL, NULL},
};
