// SPDX-License-Identifier: MIT
// memory_plain.h: the calls of memory.h that are the system's own where nothing moves, and those that cannot be had there. Included by memory_libgc.c and
// memory_malloc.c alone.

#ifndef SCHEME_MEMORY_PLAIN_H
#define SCHEME_MEMORY_PLAIN_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "machine.h"

uint64_t memory_hash(machine *m, value object) {
  uint64_t h = object * 0x9e3779b97f4a7c15u;
  return h ^ h >> 32;
}
uint64_t memory_moves(void) { return 0; }
ptrdiff_t memory_read(machine *m, int fd, void *leaf, size_t bytes) { return read(fd, leaf, bytes); }
ptrdiff_t memory_write(machine *m, int fd, const void *leaf, size_t bytes) { return write(fd, leaf, bytes); }
void memory_lock(memory_self *self, pthread_mutex_t *lock) { pthread_mutex_lock(lock); }
int memory_wait(memory_self *self, pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *until) {
  return until != NULL ? pthread_cond_timedwait(condition, lock, until) : pthread_cond_wait(condition, lock);
}
void memory_sleep(memory_self *self, uint64_t ns) { nanosleep(&(struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)}, NULL); }

const bool memory_weakness = false, memory_saves = false;
void *memory_weak_new(memory_self *self, void *object) { abort(); }
void *memory_weak_get(memory_self *self, void *weak) { abort(); }
void *memory_table_new(memory_self *self, bool weak_values) { abort(); }
void *memory_table_get(memory_self *self, void *table, void *key) { abort(); }
bool memory_table_put(memory_self *self, void *table, void *key, void *item) { abort(); }
bool memory_table_remove(memory_self *self, void *table, void *key) { abort(); }
size_t memory_table_count(memory_self *self, void *table) { abort(); }
void **memory_table_entries(memory_self *self, void *table, size_t *count) { abort(); }
bool memory_finalize(memory_self *self, void *object, memory_finalizer *fn, void *data) { abort(); }
size_t memory_finalizers_run(memory_self *self, size_t most) { return 0; }

static bool refuse(const char *what, char *error, size_t bytes) {
  snprintf(error, bytes, "the heap of this build (%s) cannot %s", memory_name, what);
  return false;
}
bool memory_save(memory_self *self, const char *path, char *error, size_t bytes) { return refuse("be saved", error, bytes); }
bool memory_commit(memory_self *self, char *error, size_t bytes) { return refuse("be in a store", error, bytes); }
bool memory_dump(memory_self *self, const char *path, char *error, size_t bytes) { return refuse("be dumped", error, bytes); }
bool memory_root_set(memory_self *self, const char *name, void *object) { return true; }
void *memory_root_get(memory_self *self, const char *name) { return NULL; }
uint64_t memory_peak(void) { return memory_status("VmHWM:"); }
const char *memory_back_end(void) { return ""; }

#endif
