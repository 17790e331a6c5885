// SPDX-License-Identifier: MIT
// memory_libgc.c: memory.h on libgc; see memory_libgc.h.

#include "memory_plain.h"

const char memory_name[] = "libgc";
uint64_t memory_cycles;
static memory_self only;
static size_t limit;
enum { RESERVE = 16 << 20 };

static void collected(GC_EventType event) {
  if (event == GC_EVENT_END) {
    __atomic_fetch_add(&memory_cycles, 1, __ATOMIC_SEQ_CST);
    machines_poke();
  }
}
static void silent(char *message, GC_word arg) {}
static void *none(size_t bytes) { return NULL; }

bool memory_open(const memory_options *options, char *error, size_t bytes) {
  if (options->image != NULL || options->store != NULL) {
    return refuse(options->image != NULL ? "come out of an image" : "be in a store", error, bytes);
  }
  GC_INIT();
  GC_allow_register_threads();
  GC_set_on_collection_event(collected);
  GC_set_warn_proc(silent); // of large blocks
  GC_set_oom_fn(none);
  limit = options->limit;
  if (limit != 0) {
    GC_set_max_heap_size(limit);
  }
  return true;
}
void memory_close(void) {}
memory_self *memory_attach(void) { return &only; }
void memory_detach(memory_self *self) {}
bool memory_add_roots(memory_self *self, void *slots, size_t count) {
  GC_add_roots(slots, (void **)slots + count);
  return true;
}
void memory_remove_roots(memory_self *self, void *slots) { GC_remove_roots(slots, (void **)slots + 2); }
void memory_collect(memory_self *self) { GC_gcollect(); }
void memory_reserve(bool use) {
  if (limit != 0) {
    GC_set_max_heap_size(use ? limit + RESERVE : limit);
  }
}

typedef struct start {
  memory_thread_fn *fn;
  void *object;
} start;
static void *run(void *arg) {
  start *s = arg;
  return s->fn(&only, s->object);
}
int memory_thread_start(memory_self *self, pthread_t *out, memory_thread_fn *fn, void *object) {
  start *s = GC_MALLOC(sizeof *s); // held by the new thread's stack, and until then by GC_pthread_create
  *s = (start){fn, object};
  return GC_pthread_create(out, NULL, run, s);
}
int memory_thread_join(memory_self *self, pthread_t thread, void **result) { return GC_pthread_join(thread, result); }

int memory_figures(memory_self *self, memory_figure *out) {
  out[0] = (memory_figure){"major-cycles", GC_get_gc_no()};
  out[1] = (memory_figure){"allocated-bytes", GC_get_total_bytes()};
  out[2] = (memory_figure){"held-bytes", GC_get_heap_size()};
  out[3] = (memory_figure){"free-bytes", GC_get_free_bytes()};
  return 4;
}
