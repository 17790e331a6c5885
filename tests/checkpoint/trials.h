// SPDX-License-Identifier: MIT
// trials.h: what the trials share: a world of mutators, an oracle that copies the heap in the stop, and a count of what was found.

#ifndef TESTS_CHECKPOINT_TRIALS_H
#define TESTS_CHECKPOINT_TRIALS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include "runtime/checkpoint/inner.h"
#include "veil/checkpoint.h"
#include "veil/veil.h"

// ---- trials.c

typedef struct trial_options {
  const char *back_end;
  veil_stop stop;
  veil_codec codec;
  size_t granule;
  unsigned seconds;
  bool long_run;
  uint64_t seed;
} trial_options;
extern trial_options trial;

// Says what was found, and counts it.
void found(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern unsigned found_count;
enum { FOUND_MOST = 10 };
static inline bool enough(void) { return found_count >= FOUND_MOST; }
// A trial that cannot go on aborts.
#define MUST(CONDITION, ...)                                                                                                                                   \
  ((CONDITION) ? (void)0 : (fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #CONDITION), fprintf(stderr, __VA_ARGS__), fprintf(stderr, "\n"), abort()))
// A path in a folder of this run's own, which is emptied at the end. Of the last four calls.
const char *trial_path(const char *name);

// ---- world.c

typedef struct random_state {
  uint64_t s;
} random_state;
uint64_t random_next(random_state *r);
static inline uint64_t random_below(random_state *r, uint64_t n) { return random_next(r) % n; }

enum { WORLD_THREADS = 3, WORLD_SLOTS = 96 };

// A heap. NULL where the back end does not work here.
veil_heap *world_heap(size_t limit);
// Changes the graph of the table; `self` is stopped in it as anybody is. `collects`: sometimes asks for cycles.
void world_change(veil_thread *self, void **table, random_state *r, bool collects);
// A table of WORLD_SLOTS, with a name.
void **world_table(veil_thread *self, const char *name);
// Threads that change graphs of their own until they are ended.
typedef struct world {
  veil_heap *heap;
  pthread_t thread[WORLD_THREADS];
  unsigned threads;
  uint64_t seed;
  uint32_t volatile ending;
  AO_t changes;
  uint32_t volatile started;
} world;
void world_start(world *w, veil_heap *heap, unsigned threads, uint64_t seed);
void world_end(world *w);

// ---- oracle.c: what the image of a checkpointer's last instant must be.

typedef struct oracle {
  veil_checkpointer *of;
  veil_pages pages;
  char *copy;    // of all pages that were in use
  uint8_t *used; // a bit per page
  size_t top;
  unsigned taken; // how often
} oracle;
// Copies at each instant of the checkpointer, until it is closed. Up to four at a time.
void oracle_open(oracle *o, veil_checkpointer *of, veil_heap *heap);
void oracle_close(oracle *o);
// As much of it as there is, with memory of its own; no instant changes it.
void oracle_keep(const oracle *o, oracle *kept);
void oracle_drop(oracle *kept);
// NULL, or how the newest version of the file differs.
const char *oracle_differs(const oracle *o, const char *path, const rt_image_io *io);

// ---- The trials.

void trial_chains(void);
void trial_fail(void);
void trial_crash(void);
void trial_pool(void);
void trial_requests(void);
void trial_forks(void);
void trial_compact(void);

#endif
