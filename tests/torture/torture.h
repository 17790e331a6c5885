// SPDX-License-Identifier: MIT
// torture.h: what the parts of the torture test share.
//
// Every object of the veil heap has a shadow on malloc that says what it must look like. Random programs change both; walks
// compare them. A shadow never holds an address of the heap: objects move, so they are found by the same path in both graphs.

#ifndef TORTURE_H
#define TORTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "veil/hooks.h"
#include "veil/veil.h"

// ---- Random numbers: splitmix64. A run repeats from its seed as far as the scheduler lets it.
typedef struct rng {
  uint64_t state;
} rng;

static inline uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}
static inline uint64_t rng_next(rng *r) { return mix(r->state += 0x9e3779b97f4a7c15ull); }
static inline uint64_t below(rng *r, uint64_t n) { return rng_next(r) % n; }
static inline bool one_in(rng *r, uint64_t n) { return below(r, n) == 0; }
static inline uint64_t between(rng *r, uint64_t low, uint64_t high) { return low + below(r, high - low + 1); }

// ---- config.c: the command line; what it leaves open is derived from the seed.
typedef struct config {
  uint64_t seed;
  double seconds;
  unsigned threads, scanners, verify, collector_torture, growth;
  const char *back_end;
  size_t live, limit, granule, headroom, nursery; // bytes; nursery 0: no generations
  bool auto_generations;                          // while they pay
  bool poll, storm, service, instants, oom_null, churn_threads;
  unsigned sabotage; // self-check: 1 a data word, 2 a slot, 3 a root
  unsigned watchdog; // seconds without progress
} config;
extern config cfg;
void config_read(int argc, char **argv); // prints the configuration; exits on a bad command line
void config_print(void);

// ---- kinds.c: the layouts. Constant after kinds_make.
enum { KINDS = 96 };
typedef struct kind {
  veil_type own;         // the description, unless it is one of veil's
  veil_type *type;
  char name[32];
  unsigned index;
  bool array, tagged, nan_boxing, trace, junk;
  bool sized;            // bytes that are aligned: no array, but with a length
  size_t alignment;      // 0: none was asked for
  // What a flexible array has before its elements: words, 0 if it is none; its slots, their words, and which of them are plain.
  size_t fixed_words, fixed_slots;
  uint16_t fixed_word[32];
  bool fixed_plain[32];
  uint64_t fixed_is_slot; // a bit for each word
  veil_fixed own_fixed;
  veil_type own_element;
  size_t element;        // bytes
  size_t words;          // per element, rounded down
  size_t slots;          // per element
  uint16_t *slot_word;   // which word is the i-th slot
  uint8_t *is_slot;      // per word
  int id_word, stamp_word; // in the first element; -1: none
  size_t length_min, length_max;
  unsigned weight;
} kind;
extern kind kinds[KINDS];
extern unsigned kind_count;
void kinds_make(rng *r);
kind *kind_pick(rng *r);

// ---- model.c: shadows and worlds.
typedef struct shadow shadow;
typedef struct edge {
  shadow *to;    // or NULL
  uint64_t word; // what the word holds if `to` is NULL; else its bits besides the reference
} edge;

struct shadow {
  uint64_t id;
  const kind *kind;
  size_t length;
  uint64_t salt;  // of the contents
  uint64_t stamp; // the last walk that met it; the object's stamp word holds the same
  shadow *next;   // in its world
  uint64_t mark;
  size_t slots;
  edge edges[];
};

enum { ROOTS = 24, HELD = 64 };
typedef enum root_style { ROOTS_PRECISE, ROOTS_CALLBACK, ROOTS_RANGE, ROOTS_OBJECT, ROOTS_STACK, ROOT_STYLES } root_style;

// A graph of its own: no edge leads to another world. Whoever holds the lock may change it.
typedef struct world {
  unsigned index;
  root_style style;
  pthread_mutex_t lock;
  void **roots;         // ROOTS slots: malloc'd, in an object, or on a stack
  void *holder;         // ROOTS_OBJECT: a precise root
  shadow *root_shadow[ROOTS];
  shadow *held[HELD];   // by stacks only
  unsigned held_count;
  shadow *all;
  size_t count, live_count; // shadows now; after the last sweep of them
  size_t bytes, live_bytes;
  uint64_t walks, ops_since_walk, mark;
  size_t budget;        // bytes
  // The walk's work list: precise roots, and the shadows that belong to them.
  void **work;
  shadow **work_shadow;
  size_t work_limit;
} world;

// A mutator.
typedef struct worker {
  unsigned index, generation;
  rng random;
  veil_thread *self;
  pthread_t pthread;
  world *own;
  unsigned depth; // of nested programs
  void *storm_seen;
} worker;

extern veil_heap *heap;
extern atomic_bool finished;
extern atomic_ulong stat_ops, stat_walks, stat_verified, stat_objects, stat_oom, stat_touches, stat_holds, stat_threads;
extern unsigned world_count, shared_first;
extern world worlds[];

// An object and its shadow; obj is NULL if none was found.
typedef struct found {
  void *obj;
  shadow *sh;
} found;

_Noreturn void mismatch(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define REQUIRE(COND, ...)                                                                                              \
  do {                                                                                                                 \
    if (__builtin_expect(!(COND), 0)) {                                                                                \
      mismatch(__VA_ARGS__);                                                                                           \
    }                                                                                                                  \
  } while (0)

void world_open(worker *t, world *w, root_style style);
void world_close(worker *t, world *w); // drops all
void world_lock(worker *t, world *w);
void world_unlock(world *w);
void **world_roots(world *w);
void world_trim(worker *t, world *w); // sweeps shadows, and drops roots while there is too much
void world_walk(worker *t, world *w); // compares everything
found world_find(worker *t, world *w, unsigned depth);
void held_push(world *w, shadow *sh);
void held_pop(world *w, shadow *sh);

// ---- objects.c: one object against its shadow.
found object_new(worker *t, world *w, kind *k); // obj NULL: out of memory
// An object of the kind, of which only the length is in place; `raw`: not zeroed, for kinds that may be.
void *object_allocate(worker *t, const kind *k, size_t length, bool raw);
size_t object_room(const kind *k, size_t length); // what it counts in a critical section
found object_adopt(worker *t, world *w, kind *k, size_t length, bool raw, void *obj); // the shadow of a new object
bool object_may_be_raw(worker *t, const kind *k); // by chance
void object_fill(void *obj, shadow *sh, uint64_t salt);
void object_check(void *obj, const shadow *sh, bool all);
void object_link(void *obj, shadow *sh, size_t slot, void *to, shadow *to_sh, rng *r); // to NULL: clears, or stores an immediate
void object_swap(void *a, shadow *a_sh, size_t a_slot, void *b, shadow *b_sh, size_t b_slot);
void *object_follow(void *obj, const shadow *sh, size_t slot);
size_t object_bytes(const shadow *sh);
size_t slot_word(const kind *k, size_t slot);
bool word_is_slot(const kind *k, size_t word);
bool slot_is_tagged(const kind *k, size_t slot);
uint64_t data_word(const shadow *sh, uint64_t salt, size_t word);

// ---- program.c, hold.c, system.c: what mutators do.
void program_run(worker *t, world *w, unsigned steps);
void hold_random(worker *t, world *w);
void system_random(worker *t, world *w); // system calls into objects
void system_open(void);
void system_close(void); // this thread ends
static inline void breathe(worker *t) {
  if (cfg.poll) {
    veil_poll(t->self);
  }
}
void storm_pause(bool on); // in a bracket
// Inline: a function that returned between the two would give callee-saved registers back to its caller that veil_block_begin has
// not seen there.
static inline __attribute__((always_inline)) void bracket_begin(worker *t) {
  storm_pause(true);
  veil_block_begin(t->self);
}
static inline __attribute__((always_inline)) void bracket_end(worker *t) {
  veil_block_end(t->self);
  storm_pause(false);
}

// ---- links.c
void links_open(worker *t, rng *r);
void links_random(worker *t); // something with a handle, a weak reference or a finalizer
void links_close(worker *t);  // the last thread
unsigned long links_finalized(void);

// ---- storm.c
void storm_start(worker *t);
void storm_enter(worker *t); // this thread is attached
void storm_leave(void);
void storm_step(worker *t); // gives the handler another object to read
void storm_stop(worker *t);
unsigned long storm_count(void);

// ---- service.c
void service_start(uint64_t seed);
void service_stop(void);
void service_report(char *out, size_t bytes);
bool service_has_away(size_t page); // the page does not hold its contents, or is about not to

// ---- system.c, too: whether a system call may be writing in [base, limit) while its thread is blocked.
bool system_writes(const char *base, const char *limit);

// ---- instants.c: the same for claims on all pages at once.
void instants_start(uint64_t seed);
void instants_stop(void);
void instants_report(char *out, size_t bytes);

#endif
