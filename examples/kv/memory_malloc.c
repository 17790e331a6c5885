// SPDX-License-Identifier: MIT
// memory_malloc.c: memory.h on malloc; see memory_malloc.h.
//
// What dies and owns something is taken apart at once while that is shallow; else it goes on the thread's list, and kv_reclaim goes on with it between
// commands: so no command frees a million objects.

#include <malloc.h>
#include <stdio.h>
#include "memory.h"
#include "memory_plain.h"

const char kv_memory_name[] = "malloc";
const kv_type kv_type_none = {NULL, false};

struct kv_self {
  void **dead; // owning thread
  size_t count, room;
  unsigned depth;
};
enum { DEEP = 8 };

static const kv_type *type_of(void *object) { return (const kv_type *)((const char *)&kv_type_none + kv_head_of(object)->type); }

static void take_apart(kv_self *self, void *object) {
  self->depth++;
  type_of(object)->drop(self, object);
  self->depth--;
  free(kv_head_of(object));
}

void kv_dead(kv_self *self, void *object) {
  const kv_type *type = type_of(object);
  if (type->drop == NULL) {
    free(kv_head_of(object));
    return;
  }
  if (!type->later && self->depth < DEEP) {
    take_apart(self, object);
    return;
  }
  if (self->count == self->room) {
    size_t room = self->room * 2 + 64;
    void **more = realloc(self->dead, room * sizeof *more);
    if (more == NULL) {
      take_apart(self, object);
      return;
    }
    self->dead = more;
    self->room = room;
  }
  self->dead[self->count++] = object;
}

bool kv_reclaim(kv_self *self, unsigned most) {
  for (; most > 0 && self->count > 0; most--) {
    take_apart(self, self->dead[--self->count]);
  }
  return self->count > 0;
}

bool kv_memory_open(const char *options, const char *file, bool store, char *error, size_t bytes) {
  if (options != NULL) {
    snprintf(error, bytes, "malloc takes no options");
  }
  return options == NULL;
}

void kv_memory_close(void) {}
kv_self *kv_attach(void) { return calloc(1, sizeof(kv_self)); }
void kv_detach(kv_self *self) {
  while (kv_reclaim(self, 1000)) {
  }
  free(self->dead);
  free(self);
}
bool kv_add_roots(kv_self *self, void *slots, size_t count) { return true; }
bool kv_add_thread_roots(kv_self *self, void *slots, size_t count) { return true; }
int kv_thread_start(pthread_t *thread, void *(*run)(void *), void *arg) { return pthread_create(thread, NULL, run, arg); }
void kv_thread_join(kv_self *self, pthread_t thread) { pthread_join(thread, NULL); }

uint64_t kv_memory_resident(void) {
  uint64_t resident, shared;
  kv_memory_status(&resident, &shared);
  return resident;
}

void kv_memory_collect(kv_self *self) { malloc_trim(0); }

size_t kv_memory_report(char *out, size_t room) {
  struct mallinfo2 info = mallinfo2();
  return (size_t)snprintf(out, room, "collector_name:none\r\ncollector_heap_bytes:%zu\r\ncollector_allocated_bytes:%zu\r\n", info.arena + info.hblkhd,
                          info.uordblks + info.hblkhd);
}
