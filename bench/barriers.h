// SPDX-License-Identifier: MIT
// barriers.h: what the workload `barriers` is made of: one set of nodes that all its loops use, and the compiled
// barriers.
//
// barriers_loops.c compiles each loop without and with barriers; barriers_memory.c makes the nodes, in veil's heap and
// once more beside it, and does what a collector with cards does; barriers.c measures. One thread runs all of it.

#ifndef BENCH_BARRIERS_H
#define BENCH_BARRIERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <veil/veil.h>

// All nodes are in a list, and in a complete tree; every second one in a hash table. `other` and `value` lead to the
// node itself, but while a loop runs. 64 bytes with the header.
typedef struct node {
  struct node *next;
  struct node *child[2];
  struct node *other;
  struct node *chain, *value; // hash table
  uint64_t key;               // its index
} node;

typedef struct world {
  node **all, **bucket;
  node *first, *root;
  uint32_t count;
  unsigned hash_shift; // there are 2^(64 - hash_shift) buckets
} world;

// Where a loop stands between two calls.
typedef struct walk {
  node *at;
  uint64_t bits;   // the turns that a descent of the tree still has to take
  uint64_t random; // of SplitMix64: a counter
  uint64_t check;
  uint32_t threshold; // a step writes if 32 random bits are below
} walk;

typedef void barriers_loop(const world *w, walk *k, uint64_t steps);

typedef enum variant { PLAIN, CARD, READ, BOTH, VARIANTS } variant;

typedef struct loop {
  const char *name;
  bool writes, beside_major; // it also runs beside major cycles
  barriers_loop *run[VARIANTS];
  barriers_loop *undo; // puts back what the same steps have changed
} loop;

enum { LOOPS = 6, HOT = 4096 };
extern const loop barriers_loops[LOOPS];

// What compiled code knows of its collector. Constant while a loop runs.
enum { CARD_SHIFT = 9 };
extern uint8_t *barriers_cards;   // indexed by address >> CARD_SHIFT
extern uint64_t barriers_bad_bit; // set in a reference that wants the slow path: in none, as between two cycles

// The read barrier's slow path: takes the bit away, in the slot as well. barriers_read_stub, in assembly, calls it, and keeps all registers but
// rax, where the reference is and comes back: a compiler of a collected language does it so, and the loops' registers
// are not the worse for a call that never happens.
node *barriers_read_slow(node **slot, node *ref) __attribute__((target("general-regs-only")));
static inline node *barriers_read_stub(node **slot, node *ref) {
  __asm__ volatile("call barriers_read_stub" : "+a"(ref) : "D"(slot) : "memory", "cc");
  return ref;
}

static inline node *barriers_partner(const world *w, uint64_t key) { return w->all[key * 2654435761u % w->count]; }

static inline uint32_t barriers_bucket(const world *w, uint64_t key) {
  return (uint32_t)(key * 0x9e3779b97f4a7c15u >> w->hash_shift);
}

// ---- Memory.

extern world barriers_veil; // in veil's heap; its references are registered as roots

bool barriers_heap_open(const char *back_end); // says why not
void barriers_heap_close(void);
extern veil_heap *barriers_heap;
extern veil_thread *barriers_self;

// Makes so many nodes in veil's heap, and leaves them old.
void barriers_build(uint32_t count);

// Memory that holds what veil's heap does, each object as far from the next.
typedef struct twin {
  world world;
  char *base; // of `span` bytes, most of which nothing was ever in
  size_t span;
  uint8_t *cards;
  struct {
    uintptr_t base, limit;
  } range[3]; // where there are objects: the nodes, `all`, `bucket`
} twin;

// A copy of the heap as it is now. `huge` asks for huge pages, else there are none. False: no memory.
bool barriers_twin_open(twin *t, bool huge);
void barriers_twin_close(twin *t);

// Reads the first nodes, of so many bytes in all, and their places in `all`.
void barriers_sweep(const world *w, size_t bytes);

// Puts the bad bit into every nth slot of the list; whether none is left.
void barriers_twin_spoil(twin *t, uint32_t nth);
bool barriers_twin_is_healed(const twin *t);

// Whether both hold the same, as far as one node in `stride` tells.
bool barriers_twin_agrees(const twin *t, uint32_t stride);

// What a minor cycle does with cards, if nothing is young: walks the table, and looks at every word of each card that
// is marked. Takes the marks away. The number of them.
size_t barriers_cards_scan(const twin *t);

#endif
