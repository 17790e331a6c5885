// SPDX-License-Identifier: MIT
// random.c: a random program on the collector alone, compared with a shadow in malloc'd memory. One thread, so that a seed
// decides everything: a failure can be stepped through.
//
//   gc_random BACK_END [old|young [SEED [STEPS]]]     prints its seed
//
// `young` is with a nursery, and with minor cycles at any point between two steps, in the middle of major cycles too.

#include <time.h>
#include "gc/nursery.h"
#include "gc/parked.h"
#include "gc/young.h"
#include "tests/gc/fake.h"

// ---- The shadow: for each node its slots, as indices; for each object that the program can reach, its node.

enum { NODES = 3000, SLOTS_MAX = 6000, ROOTS = 200, WORDS = 40, STEPS = 60000 };

typedef struct node {
  bool live;
  bool leaf;
  size_t slots;         // or bytes of a leaf
  unsigned seed;        // of a leaf's contents
  int *child;           // node indices, -1: NULL
} node;
static node nodes[NODES];
static int root_node[ROOTS];   // -1: NULL
static int word_node[WORDS];   // of the ambiguous words
static uint64_t seed_now;
static unsigned minors_in_cycles;
static fake *f;

static uint64_t random_next(void) {
  seed_now ^= seed_now << 13;
  seed_now ^= seed_now >> 7;
  seed_now ^= seed_now << 17;
  return seed_now >> 11;
}
static size_t below(size_t n) { return (size_t)(random_next() % n); }

static void **root_of(size_t r) { return &f->root[r]; }

// ---- Comparing: walks shadow and heap together.

static void *object_of[NODES]; // in this walk
static int *stack;
static size_t stack_top;

static void meet(int n, void *object) {
  if (n < 0) {
    EXPECT(object == NULL);
    return;
  }
  EXPECT(object != NULL);
  if (object_of[n] != NULL) {
    EXPECT(object_of[n] == object); // sharing is kept
    return;
  }
  object_of[n] = object;
  stack[stack_top++] = n;
}

// Also finds out what is reachable, so that the nodes of the rest can be used again.
static void compare(void) {
  memset(object_of, 0, sizeof object_of);
  stack_top = 0;
  for (size_t r = 0; r < ROOTS; r++) {
    meet(root_node[r], *root_of(r));
  }
  for (size_t w = 0; w < WORDS; w++) {
    if (word_node[w] >= 0) {
      uint64_t header;
      gc_cell cell;
      EXPECT(gc_find_cell(f->gc, f->word[w], &cell, &header));
      meet(word_node[w], (void *)gc_cell_ref(f->gc, cell, header).view);
    }
  }
  while (stack_top > 0) {
    node *at = &nodes[stack[--stack_top]];
    void *object = object_of[stack[stack_top]];
    EXPECT(gc_cell_length(fake_cell(f, object)) == at->slots);
    if (at->leaf) {
      EXPECT(fake_filled(object, at->slots, at->seed));
      continue;
    }
    for (size_t i = 0; i < at->slots; i++) {
      meet(at->child[i], ((void **)object)[i]);
    }
  }
  for (int n = 0; n < NODES; n++) {
    if (nodes[n].live && object_of[n] == NULL) {
      free(nodes[n].child);
      nodes[n] = (node){0};
    }
  }
}

// ---- The program's steps.

static size_t size_choose(void) {
  switch (below(20)) {
  case 0:
    return below(SLOTS_MAX); // up to large
  case 1:
  case 2:
    return below(1000);
  default:
    return below(20);
  }
}

static void born(void) {
  int n = -1;
  for (int tries = 0; tries < 20 && n < 0; tries++) {
    int candidate = (int)below(NODES);
    n = nodes[candidate].live ? -1 : candidate;
  }
  if (n < 0) {
    return;
  }
  bool leaf = below(3) == 0;
  size_t slots = size_choose();
  if (leaf) {
    slots *= 8;
  }
  f->now = (unsigned)below(FAKE_MUTATORS);
  void *object = fake_array(f, leaf ? &type_byte : &type_pointer, slots);
  if (object == NULL) {
    return;
  }
  nodes[n] = (node){true, leaf, slots, (unsigned)random_next(), NULL};
  if (leaf) {
    fake_fill(object, slots, nodes[n].seed);
  } else {
    nodes[n].child = malloc((slots + 1) * sizeof(int));
    for (size_t i = 0; i < slots; i++) {
      EXPECT(((void **)object)[i] == NULL);
      nodes[n].child[i] = -1;
    }
  }
  size_t r = below(ROOTS);
  // Link it to what is there, and what is there to it.
  size_t from = below(ROOTS);
  if (!leaf && slots > 0 && root_node[from] >= 0) {
    size_t i = below(slots);
    ((void **)object)[i] = *root_of(from);
    nodes[n].child[i] = root_node[from];
  }
  from = below(ROOTS);
  node *other = root_node[from] >= 0 ? &nodes[root_node[from]] : NULL;
  if (other != NULL && !other->leaf && other->slots > 0) {
    size_t i = below(other->slots);
    ((void **)*root_of(from))[i] = object;
    other->child[i] = n;
  }
  root_node[r] = n;
  *root_of(r) = object;
}

static void move_around(void) {
  size_t r = below(ROOTS), to = below(ROOTS);
  if (root_node[r] < 0) {
    return;
  }
  node *at = &nodes[root_node[r]];
  void **object = *root_of(r);
  if (at->leaf || at->slots == 0) {
    if (at->leaf && at->slots > 0) {
      EXPECT(((unsigned char *)object)[0] == (unsigned char)((at->seed * 31) | 1));
    }
    return;
  }
  size_t i = below(at->slots);
  EXPECT((object[i] == NULL) == (at->child[i] < 0));
  switch (below(3)) {
  case 0: // load
    root_node[to] = at->child[i];
    *root_of(to) = object[i];
    break;
  case 1: // store
    at->child[i] = root_node[to];
    object[i] = *root_of(to);
    break;
  default: // forget
    root_node[to] = -1;
    *root_of(to) = NULL;
  }
}

static void hold_or_let_go(void) {
  size_t w = below(WORDS), r = below(ROOTS);
  word_node[w] = -1;
  f->word[w] = 0;
  if (below(3) > 0 && root_node[r] >= 0) {
    node *at = &nodes[root_node[r]];
    size_t bytes = at->leaf ? at->slots : at->slots * 8;
    // An array of no elements has its end where it begins: one past the end of its header.
    f->word[w] = (uintptr_t)*root_of(r) + below(bytes + 1);
    word_node[w] = root_node[r];
  }
}

static void buffer_drop(void) {
  f->now = (unsigned)below(FAKE_MUTATORS);
  fake_buffers_drop(f);
}

static unsigned trials; // generations were switched on again between two flips

// Before the nursery is full, and at times long after: then what is born is old at once.
static void minor_a_little(void) {
  gc_heap *gc = f->gc;
  if (below(4) == 0) {
    gc_provide_born(gc);
  } else if (below(20) == 0) {
    gc_young_settle(gc);
  }
  if (!gc_young_is_on(gc)) {
    trials += below(8) == 0 && fake_young_on(f);
  } else if (below(400) == 0) {
    fake_young_off(f);
  }
  if (below(gc_wants_minor(gc) ? 8 : 40) != 0) {
    return;
  }
  minors_in_cycles += gc_phase_now(gc) != GC_IDLE;
  for (size_t i = below(3) + 1; i-- > 0;) {
    fake_minor(f);
  }
  if (below(4) == 0) {
    gc_verify_stopped(gc, "after a minor cycle");
  }
}

static bool keeps;
static unsigned stills; // cycles that left blocks in place

// For some cycles, then not for some.
static void keep_in_place_or_not(void) {
  stills += f->gc->stills;
  if (below(8) == 0) {
    keeps = !keeps;
    gc_keep_in_place(f->gc, keeps);
  }
}

// A service may call anything asleep, and be wrong.
static void asleep_or_not(void) {
  for (size_t i = below(3) * below(200); i-- > 0;) {
    uint32_t block = (uint32_t)below(f->gc->region->pages / f->gc->block_pages);
    gc_asleep(f->gc, block);
    EXPECT(block < f->gc->small_blocks || !(at8_load(&f->gc->still[block]) & GC_ASLEEP)); // of large ones there is no byte: that is another table's
    f->gc->still_pace.over |= i == 0 && below(2) == 0; // what is not asleep moves
  }
  for (uint32_t b = 0; b < f->gc->small_blocks && gc_phase_now(f->gc) == GC_IDLE; b++) {
    EXPECT(at32_load(&f->gc->held[b]) == 0); // nothing is held outside of a cycle that has cold blocks
  }
}

static void collect_a_little(void) {
  gc_heap *gc = f->gc;
  if (gc->young_blocks != 0) {
    minor_a_little();
  }
  switch (gc_phase_now(gc)) {
  case GC_IDLE:
    if (below(gc->young_blocks != 0 ? 40 : 10) == 0) { // so that there is time to be promoted, and to be hot
      f->spares = below(4) != 0;
      keep_in_place_or_not();
      asleep_or_not();
      fake_flip(f);
      // Sometimes there is less memory for copies than there should be.
      if (gc_phase_now(gc) == GC_SCANNING && below(4) == 0) {
        fake_memory_take(f, below(12));
      }
    } else if (below(3) == 0) {
      gc_trim(gc);
    } else if (below(3) == 0) {
      gc_provide(gc, 4);
    }
    break;
  case GC_SCANNING:
    if (gc_scan_finished(gc) || below(60) == 0) {
      fake_finish(f);
      gc->limit = gc->config.limit;
    } else {
      fake_step(f);
    }
    break;
  default:
    break;
  }
}

int main(int argc, char **argv) {
  const char *back_end = argc > 1 ? argv[1] : "mprotect";
  bool young = argc > 2 && strcmp(argv[2], "young") == 0;
  uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)time(NULL) * 2654435761u + 1;
  size_t steps = argc > 4 ? strtoull(argv[4], NULL, 10) : STEPS;
  seed_now = seed | 1;
  size_t granule = (size_t)4096 << below(5);
  size_t nursery = young ? (2 + below(3)) * GC_BLOCK : 0;
  // What `verify` finds it finds before the program would: without it, the program has to.
  bool verify = young && below(2) == 0;
  printf("seed %lu, granule %zu, nursery %zu%s\n", (unsigned long)seed, granule, nursery, verify ? ", verified" : "");
  fflush(stdout);
  f = fake_open((fake_options){
      .back_end = back_end, .limit = (size_t)24 << 20, .granule = granule, .nursery = nursery, .verify = verify});
  if (f == NULL) {
    return 77;
  }
  f->gc->wide = f->gc->wide && below(2) == 0; // as on a processor that cannot
  stack = malloc(NODES * sizeof *stack);
  memset(root_node, -1, sizeof root_node);
  memset(word_node, -1, sizeof word_node);
  for (size_t step = 0; step < steps; step++) {
    switch (below(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
      born();
      break;
    case 5:
    case 6:
      collect_a_little();
      break;
    case 7:
      if (below(6) == 0) {
        hold_or_let_go();
      }
      if (below(50) == 0) {
        buffer_drop();
      }
      break;
    default:
      move_around();
    }
    if (step % 1000 == 999) {
      compare();
    }
  }
  if (gc_phase_now(f->gc) != GC_IDLE) {
    fake_finish(f);
    f->gc->limit = f->gc->config.limit;
  }
  compare();
  printf("%u cycles, %lu objects copied, %lu blocks kept, %lu traps\n", f->gc->cycle, (unsigned long)f->gc->copied_objects,
         (unsigned long)f->gc->kept_blocks, (unsigned long)at_load(&f->gc->region->traps_count));
  printf("%u cycles left blocks in place\n", stills);
  EXPECT(steps < STEPS || stills > 0 || !f->gc->region->traps);
  if (young) {
    uint64_t minors = at_load(&f->gc->minor_cycles), promoted = at_load(&f->gc->minor_promoted_bytes);
    printf("%lu minor cycles, %u of them or more in a major one, %lu bytes promoted\n", (unsigned long)minors,
           minors_in_cycles, (unsigned long)promoted);
    printf("%u times switched on between two flips\n", trials);
    EXPECT(steps < STEPS || (promoted > 0 && trials > 0 && (minors_in_cycles > 0 || !f->gc->region->traps)));
  }
  for (int n = 0; n < NODES; n++) {
    free(nodes[n].child);
  }
  free(stack);
  fake_close(f);
  return 0;
}
