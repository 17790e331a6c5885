// SPDX-License-Identifier: MIT
// memory_malloc.c: memory.h on malloc; see memory_malloc.h.

#include "memory_plain.h"

const char memory_name[] = "malloc";
uint64_t memory_cycles;
static memory_self only;
size_t memory_malloc_left = SIZE_MAX / 2;
static size_t limit = SIZE_MAX / 2, reserved;
enum { RESERVE = 16 << 20 };

bool memory_open(const memory_options *options, char *error, size_t bytes) {
  if (options->image != NULL || options->store != NULL) {
    return refuse(options->image != NULL ? "come out of an image" : "be in a store", error, bytes);
  }
  if (options->limit != 0) {
    memory_malloc_left = limit = options->limit;
  }
  return true;
}
void memory_close(void) {}
memory_self *memory_attach(void) { return &only; }
void memory_detach(memory_self *self) {}
bool memory_add_roots(memory_self *self, void *slots, size_t count) { return true; }
void memory_remove_roots(memory_self *self, void *slots) {}
void memory_collect(memory_self *self) {}
void memory_reserve(bool use) {
  if (use) {
    memory_malloc_left += RESERVE;
    reserved += RESERVE;
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
  start *s = malloc(sizeof *s); // never freed, as all
  if (s == NULL) {
    return ENOMEM;
  }
  *s = (start){fn, object};
  return pthread_create(out, NULL, run, s);
}
int memory_thread_join(memory_self *self, pthread_t thread, void **result) { return pthread_join(thread, result); }

int memory_figures(memory_self *self, memory_figure *out) {
  out[0] = (memory_figure){"allocated-bytes", limit + reserved - memory_malloc_left};
  return 1;
}
