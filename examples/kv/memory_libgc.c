// SPDX-License-Identifier: MIT
// memory_libgc.c: memory.h on libgc; see memory_libgc.h.

#include <stdio.h>
#include <time.h>
#include "memory.h"
#include "memory_plain.h"

const char kv_memory_name[] = "libgc";
static kv_self any_thread;

bool kv_memory_open(const char *options, const char *file, bool store, char *error, size_t bytes) {
  if (options != NULL) {
    snprintf(error, bytes, "libgc takes no options here, but from the environment (GC_...)");
    return false;
  }
  GC_INIT();
  GC_start_mark_threads();               // by itself it does so with the second thread only
  GC_set_warn_proc(GC_ignore_warn_proc); // it warns of large blocks
  GC_allow_register_threads();
  return true;
}

void kv_memory_close(void) {}
kv_self *kv_attach(void) { return &any_thread; } // GC_INIT registers the first thread, GC_pthread_create the others
void kv_detach(kv_self *self) {}
bool kv_add_roots(kv_self *self, void *slots, size_t count) { return true; } // static memory is scanned anyway
bool kv_add_thread_roots(kv_self *self, void *slots, size_t count) { return true; }
bool kv_reclaim(kv_self *self, unsigned most) { return false; }
int kv_thread_start(pthread_t *thread, void *(*run)(void *), void *arg) { return GC_pthread_create(thread, NULL, run, arg); }
void kv_thread_join(kv_self *self, pthread_t thread) { GC_pthread_join(thread, NULL); }

uint64_t kv_memory_resident(void) {
  uint64_t resident, shared;
  kv_memory_status(&resident, &shared);
  return resident;
}

void kv_memory_collect(kv_self *self) { GC_gcollect(); }

size_t kv_memory_report(char *out, size_t room) {
  return (size_t)snprintf(out, room,
                          "collector_name:libgc\r\ncollector_cycles:%lu\r\ncollector_heap_bytes:%zu\r\ncollector_free_bytes:%zu\r\n"
                          "collector_allocated_bytes:%zu\r\n",
                          (unsigned long)GC_get_gc_no(), GC_get_heap_size(), GC_get_free_bytes(), GC_get_total_bytes());
}
