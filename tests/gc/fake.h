// SPDX-License-Identifier: MIT
// fake.h: a world for the collector without the runtime: one thread is mutator, scanner and sweeper in turn.
//
// Tests hold objects in `root` (precise slots) or in `word` (an ambiguous stack); the C stack is not looked at. Every access
// to an object through its own pointer is a mutator's and may trap.

#ifndef TESTS_GC_FAKE_H
#define TESTS_GC_FAKE_H

#include "tests/back_ends.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "gc/alloc.h"
#include "gc/gc.h"
#include "gc/pace.h"
#include "gc/runs.h"
#include "gc/visitor.h"

enum { FAKE_ROOTS = 4096, FAKE_WORDS = 4096, FAKE_MUTATORS = 4, FAKE_TOUCHES = 8 };

// Aborts with the condition: for what runs under Criterion and as a plain program.
#define EXPECT(CONDITION)                                                                                              \
  ((CONDITION) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #CONDITION), abort()))

typedef struct fake_type {
  gc_type type;
  unsigned id; // 0 until it is used
} fake_type;

typedef struct fake_mutator {
  char *start[2], *free[2], *limit[2]; // buffers; [1] leaf
  gc_alloc_lane lane[2], medium[2];
} fake_mutator;

typedef struct fake {
  gc_heap *gc;
  char why[256];
  void *root[FAKE_ROOTS];
  uintptr_t word[FAKE_WORDS];
  uintptr_t touch_base[FAKE_TOUCHES], touch_limit[FAKE_TOUCHES];
  fake_mutator mutator[FAKE_MUTATORS];
  unsigned now; // the mutator that allocates
  // Called in the pause, if set.
  void (*in_pause)(struct fake *f, gc_flip *flip);
  void (*unsaved)(struct fake *f, size_t page);
  void (*absent)(struct fake *f, size_t page);
  void (*help)(struct fake *f); // a minor cycle has work for other threads (gc_minor_help)
  size_t discarded;             // pages
  bool spares;                  // flips may keep dense blocks (gc.spared)
  bool unverified;              // cycles end without a look at everything
} fake;

typedef struct fake_options {
  const char *back_end;
  size_t limit;     // default 32 MiB
  size_t granule;   // default 4 KiB
  unsigned growth;
  size_t headroom;
  size_t soft_limit, reserve;
  size_t nursery; // 0: no generations
  bool verify;    // gc.remembered, at each minor cycle
} fake_options;

// NULL where the system forbids the back end; aborts if opening fails otherwise.
fake *fake_open(fake_options options);
void fake_close(fake *f);

// Allocation as the runtime does it, without its waiting: NULL when there is no memory now.
void *fake_new(fake *f, fake_type *type);
void *fake_array(fake *f, fake_type *type, size_t length);
void *fake_array_raw(fake *f, fake_type *type, size_t length); // a leaf array that is not zeroed
// The header that such an object gets.
uint64_t fake_header(fake_type *type, bool array);

// The steps of a cycle.
void fake_flip(fake *f);
bool fake_step(fake *f);   // scans some; false: found nothing
void fake_finish(fake *f); // scans to the end, sweeps, verifies
void fake_cycle(fake *f);  // all of them
// In any phase between two of these steps.
void fake_minor(fake *f);
// Switches generations off; and on again, between two flips. The background prepares that, which takes it several calls. False: not yet.
void fake_young_off(fake *f);
bool fake_young_on(fake *f);
// Gives the buffers up; the next allocation takes new ones.
void fake_buffers_drop(fake *f);

// In mid-cycle: takes all memory away but for so many blocks, as if others had it. It comes back in the next cycle; until then set
// f->gc->limit back to config.limit after the cycle.
void fake_memory_take(fake *f, size_t spare_blocks);

// No more memory than there is, and so many blocks.
void fake_limit(fake *f, size_t spare_blocks);

// What the collector knows of an object of which the mutator has the address.
gc_cell fake_cell(const fake *f, const void *object);
uint64_t fake_object_header(const fake *f, const void *object);
bool fake_is_veiled(const fake *f, const void *address);

// Bytes that tell where they belong: position and seed.
void fake_fill(void *at, size_t bytes, unsigned seed);
bool fake_filled(const void *at, size_t bytes, unsigned seed);

// Common types.
typedef struct pair {
  struct pair *left, *right;
  long key, more;
} pair;
extern fake_type type_pair;    // left and right, by map
extern fake_type type_pointer; // elements of an array of pointers
extern fake_type type_byte;

// A list of `length` pairs through `right`, keys 0, 1, …, held in f->root[slot] while it grows.
void fake_list(fake *f, size_t slot, size_t length);
// Walks the list in root[slot]: how long it is; aborts if a key is wrong.
size_t fake_list_length(fake *f, size_t slot);

// The usual beginning of a test's body.
#define OPEN_OR_SKIP(F, ...)                                                                                           \
  fake *F = fake_open((fake_options){__VA_ARGS__});                                                                    \
  if (F == NULL) {                                                                                                     \
    cr_skip_test("the back end does not work here");                                                                   \
  }

#endif
