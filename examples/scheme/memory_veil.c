// SPDX-License-Identifier: MIT
// memory_veil.c: memory.h on veil; see memory_veil.h.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <veil/calls.h>
#include <veil/checkpoint.h>
#include <veil/dump.h>
#include <veil/events.h>
#include <veil/hooks.h>
#include <veil/identity.h>
#include <veil/start.h>
#include <veil/store.h>
#include <veil/table.h>
#include <veil/weak.h>
#include "machine.h"

const char memory_name[] = "veil";
const bool memory_weakness = true, memory_saves = true;
uint64_t memory_cycles;
static veil_heap *heap;
static veil_store *store; // NULL: the heap is in none
static size_t limit;
enum { RESERVE = 16 << 20, PATIENCE_MS = 100 };
// A program that starts from an image often ends before it has used much of it: what is not touched is read later. And its heap wants the addresses that it
// had, or all references would have to be
// changed: so heaps lie where the system, left to itself, puts nothing.
#define PLACE ((void *)0x4000000000) // where ThreadSanitizer, too, has room for a program

// ---- Types. Slots are words that end in 000, 010 or 100 (scheme.h): objects, pairs, flonums.

static const veil_encoding encoding = {.low_tags = 1 << TAG_OBJECT | 1 << TAG_PAIR | 1 << TAG_FLONUM};
static size_t offsets[MEMORY_SMALL];
static const size_t first_slot[] = {0}, after_header[] = {sizeof(uint64_t)};
static veil_type element = {.name = "slot", .size = 8, .pointers = first_slot, .pointer_count = 1, .encoding = &encoding};
static const veil_fixed tail = {after_header, 1, &element};
veil_type memory_small[MEMORY_TYPES][MEMORY_SMALL + 1], memory_large[MEMORY_TYPES], memory_leaf[MEMORY_SMALL_LEAF / 16 + 2];
veil_type memory_flonum = {.name = "flonum", .size = 8};

static void types_describe(void) {
  for (int i = 0; i < MEMORY_SMALL; i++) {
    offsets[i] = 8 + 8 * (size_t)i;
  }
  for (int t = 0; t < MEMORY_TYPES; t++) {
    for (int n = 0; n <= MEMORY_SMALL; n++) {
      memory_small[t][n] = (veil_type){.name = memory_type_names[t], .size = 8 + 8 * (size_t)n, .pointers = offsets, .pointer_count = (size_t)n,
          .encoding = &encoding};
    }
    memory_large[t] = (veil_type){.name = memory_type_names[t], .size = 8, .encoding = &encoding, .fixed = &tail};
  }
  for (size_t i = 0; i < sizeof memory_leaf / sizeof memory_leaf[0]; i++) {
    memory_leaf[i] = (veil_type){.name = "leaf", .size = i * 16 + 8};
  }
}

// ---- The heap.

static void cycle_ended(void *arg, uint64_t cycle, const veil_sizes *sizes) {
  __atomic_fetch_add(&memory_cycles, 1, __ATOMIC_SEQ_CST);
  machines_poke();
}

bool memory_open(const memory_options *options, char *error, size_t bytes) {
  types_describe();
  static const veil_events events = {.cycle_ended = cycle_ended};
  // Interpreters are started often and for little: a small nursery stays in the cache, and a small heap is small. It grows with what is in use.
  veil_options chosen = {.generations = VEIL_GENERATIONS_EARLY, .nursery = 8 << 20, .pause = 1000, .headroom = 4 << 20, .limit = options->limit,
      .reserve = options->limit ? options->limit + RESERVE : 0, .oom = VEIL_OOM_NULL};
  if (options->store != NULL) {
    store = veil_store_open(options->store, &chosen, &(veil_store_options){.drop_finalizers = true});
    heap = store != NULL ? veil_store_heap(store) : NULL;
  } else if (options->image != NULL) {
    heap = veil_restore(options->image, &chosen, &(veil_restore_options){.drop_finalizers = true, .delay_ms = PATIENCE_MS});
  } else {
    heap = veil_open_at(&chosen, PLACE);
  }
  if (heap == NULL) {
    snprintf(error, bytes, "%s", veil_error());
    return false;
  }
  veil_stats stats;
  veil_get_stats(heap, &stats);
  limit = stats.limit_bytes;
  if (options->limit == 0) {
    veil_set_limit(heap, limit -= RESERVE);
  }
  veil_set_events(heap, &events, NULL);
  return true;
}

void memory_close(void) {
  if (store == NULL) {
    veil_close(heap);
  } else if (veil_store_close(store) != VEIL_OK) { // nothing is lost, but the next start takes longer
    fprintf(stderr, "scheme: closing the store: %s\n", veil_error());
  }
}
memory_self *memory_attach(void) { return veil_attach(heap); }
void memory_detach(memory_self *self) { veil_detach(self); }
bool memory_add_roots(memory_self *self, void *slots, size_t count) { return veil_add_thread_roots(self, slots, count) == VEIL_OK; }
void memory_remove_roots(memory_self *self, void *slots) { veil_remove_thread_roots(self, slots); }
void memory_collect(memory_self *self) { veil_collect(self); }
void memory_reserve(bool use) { veil_set_limit(heap, use ? limit + RESERVE : limit); }
uint64_t memory_hash(machine *m, value of) { return veil_hash(m->self, OBJECT_(object, of)); }
uint64_t memory_moves(void) { return veil_moves(heap); }
ptrdiff_t memory_read(machine *m, int fd, void *leaf, size_t bytes) { return veil_read(m->self, fd, leaf, bytes); }
ptrdiff_t memory_write(machine *m, int fd, const void *leaf, size_t bytes) { return veil_write(m->self, fd, leaf, bytes); }

// ---- Threads.

int memory_thread_start(memory_self *self, pthread_t *out, memory_thread_fn *fn, void *object) {
  return veil_thread_start(self, out, NULL, fn, object) == VEIL_OK ? 0 : 11; // EAGAIN
}
int memory_thread_join(memory_self *self, pthread_t thread, void **result) { return veil_thread_join(self, thread, result) == VEIL_OK ? 0 : 22; }
void memory_lock(memory_self *self, pthread_mutex_t *lock) {
  if (pthread_mutex_trylock(lock) != 0) {
    veil_mutex_lock(self, lock);
  }
}
int memory_wait(memory_self *self, pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *until) {
  return until != NULL ? veil_cond_timedwait(self, condition, lock, until) : veil_cond_wait(self, condition, lock);
}
void memory_sleep(memory_self *self, uint64_t ns) {
  veil_nanosleep(self, &(struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)}, NULL);
}

// ---- Weakness.

void *memory_weak_new(memory_self *self, void *object) { return veil_weak_new(self, object); }
void *memory_weak_get(memory_self *self, void *weak) { return veil_weak_get(self, weak); }
void *memory_table_new(memory_self *self, bool weak_values) { return veil_table_new(self, weak_values ? VEIL_WEAK_VALUES : VEIL_WEAK_KEYS); }
void *memory_table_get(memory_self *self, void *table, void *key) { return veil_table_get(self, table, key); }
bool memory_table_put(memory_self *self, void *table, void *key, void *item) { return veil_table_put(self, table, key, item) == VEIL_OK; }
bool memory_table_remove(memory_self *self, void *table, void *key) { return veil_table_remove(self, table, key); }
size_t memory_table_count(memory_self *self, void *table) { return veil_table_count(self, table); }
void **memory_table_entries(memory_self *self, void *table, size_t *count) {
  void **entries = veil_table_entries(self, table);
  *count = entries != NULL ? veil_length(heap, entries) : 0;
  return entries;
}
bool memory_finalize(memory_self *self, void *object, memory_finalizer *fn, void *data) { return veil_finalize(self, object, fn, data) != 0; }
size_t memory_finalizers_run(memory_self *self, size_t most) { return veil_finalizers_due(heap) ? veil_finalizers_run(self, most) : 0; }

// ---- Files.

static bool told(bool fine, char *error, size_t bytes) {
  if (!fine) {
    snprintf(error, bytes, "%s", veil_error());
  }
  return fine;
}
// What nobody refers to any more is not to be saved, and what belongs together is to lie together: the first collection moves it all.
bool memory_save(memory_self *self, const char *path, char *error, size_t bytes) {
  veil_collect(self);
  veil_checkpointer *saver = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = path, .codec = VEIL_CODEC_NONE, .whole = true});
  bool fine = told(saver != NULL && veil_checkpoint(saver, VEIL_CHECKPOINT_FULL, NULL) == VEIL_OK, error, bytes);
  veil_checkpointer_close(saver);
  return fine;
}
bool memory_commit(memory_self *self, char *error, size_t bytes) {
  if (store == NULL) {
    snprintf(error, bytes, "there is no store: start with --store FILE");
    return false;
  }
  return told(veil_store_commit(store, NULL) == VEIL_OK, error, bytes);
}
bool memory_dump(memory_self *self, const char *path, char *error, size_t bytes) { return told(veil_heap_dump(self, path, 0) == VEIL_OK, error, bytes); }
bool memory_root_set(memory_self *self, const char *name, void *object) { return veil_root_set(self, name, object) == VEIL_OK; }
void *memory_root_get(memory_self *self, const char *name) { return veil_root_get(self, name); }

// ---- Figures.

int memory_figures(memory_self *self, memory_figure *out) {
  veil_stats s;
  veil_get_stats(heap, &s);
  const memory_figure all[] = {
      {"major-cycles", s.major_cycles}, {"minor-cycles", s.minor_cycles}, {"allocated-bytes", s.allocated_bytes}, {"live-bytes", s.live_bytes},
      {"held-bytes", s.held_bytes}, {"held-max-bytes", s.held_max_bytes}, {"limit-bytes", s.limit_bytes}, {"flip-max-ns", s.flip_max_ns},
      {"minor-max-ns", s.minor_max_ns}, {"traps", s.traps}, {"trap-max-ns", s.trap_max_ns}, {"copied-bytes", s.copied_bytes},
      {"pinned-objects", s.pinned_objects}, {"stall-ns", s.stall_ns}, {"threads", s.threads}, {"finalizers", s.finalizers}};
  _Static_assert(sizeof all / sizeof all[0] == MEMORY_FIGURES, "all are told");
  memcpy(out, all, sizeof all);
  return MEMORY_FIGURES;
}
uint64_t memory_peak(void) {
  veil_stats s;
  veil_get_stats(heap, &s);
  return s.held_max_bytes + memory_status("RssAnon:");
}
const char *memory_back_end(void) {
  static char name[32];
  snprintf(name, sizeof name, "%s", veil_back_end(heap));
  name[strcspn(name, " :,")] = 0;
  return name;
}
