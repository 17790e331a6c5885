// SPDX-License-Identifier: MIT
// memory_veil.c: memory.h on veil; see memory_veil.h.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <veil/calls.h>
#include <veil/checkpoint.h>
#include <veil/store.h>
#include "memory.h"

const char kv_memory_name[] = "veil";
kv_family kv_family_bytes = {"bytes", NULL, 0, {{0}}};
static veil_heap *heap;
static veil_checkpointer *saver;
static veil_store *store; // NULL: the heap is in none
static bool loaded;
const bool kv_memory_saves = true;

void kv_family_fill(kv_family *family) {
  for (unsigned i = 0; i < KV_CLASSES; i++) {
    size_t size = i < KV_FINE ? i * 16 + 8 : ((size_t)1 << (i - KV_FINE + 10)) - 8;
    family->types[i] = (veil_type){.name = family->name, .size = size, .pointers = family->pointers, .pointer_count = family->count};
    for (size_t p = 0; p < family->count; p++) {
      if (family->pointers[p] + 8 > size) {
        family->types[i].pointer_count = 0; // too small to be one of these
      }
    }
  }
}

void kv_slots_fill(veil_type *type, size_t *offsets, size_t first) {
  for (size_t i = 0; i < type->pointer_count; i++) {
    offsets[i] = first + i * 8;
  }
}

bool kv_memory_open(const char *options, const char *file, bool in_store, char *error, size_t bytes) {
  kv_family_fill(&kv_family_bytes);
  // The environment wins over what the command line says; running out is an answer to a client, not the end.
  const char *given = getenv("VEIL_OPTIONS");
  size_t length = (options ? strlen(options) : 0) + (given ? strlen(given) : 0) + 2;
  char *all = malloc(length);
  if (all == NULL) {
    snprintf(error, bytes, "no memory");
    return false;
  }
  snprintf(all, length, "%s%s%s", options ? options : "", options && given ? "," : "", given ? given : "");
  if (*all) {
    setenv("VEIL_OPTIONS", all, 1);
  }
  free(all);
  // What a server stores stays for a while, and every store dirties a page of a table: minor cycles would look at thousands of those in their pause, and free
  // little. So there are none unless somebody wants them (generations=auto).
  veil_options chosen = {.oom = VEIL_OOM_NULL, .generations = VEIL_GENERATIONS_OFF};
  loaded = file != NULL && access(file, F_OK) == 0;
  if (in_store) {
    store = veil_store_open(file, &chosen, NULL);
    heap = store != NULL ? veil_store_heap(store) : NULL;
  } else {
    heap = loaded ? veil_restore(file, &chosen, NULL) : veil_open(&chosen);
  }
  if (heap == NULL) {
    snprintf(error, bytes, "%s", veil_error());
  }
  return heap != NULL;
}

void kv_memory_close(void) {
  if (store == NULL) {
    veil_close(heap);
  } else if (veil_store_close(store) != VEIL_OK) { // nothing is lost, but the next start takes longer
    fprintf(stderr, "kv: closing the store: %s\n", veil_error());
  }
}
kv_self *kv_attach(void) { return veil_attach(heap); }
void kv_detach(kv_self *self) { veil_detach(self); }
bool kv_add_roots(kv_self *self, void *slots, size_t count) { return veil_add_roots(heap, slots, count) == VEIL_OK; }
bool kv_add_thread_roots(kv_self *self, void *slots, size_t count) { return veil_add_thread_roots(self, slots, count) == VEIL_OK; }
bool kv_reclaim(kv_self *self, unsigned most) { return false; }

int kv_thread_start(pthread_t *thread, void *(*run)(void *), void *arg) { return pthread_create(thread, NULL, run, arg); }
void kv_thread_join(kv_self *self, pthread_t thread) { veil_join(self, thread, NULL); }
int kv_epoll_wait(kv_self *self, int epoll, struct epoll_event *events, int most, int timeout_ms) {
  return veil_epoll_wait(self, epoll, events, most, timeout_ms);
}
void kv_lock_wait(kv_self *self, pthread_mutex_t *lock) { veil_mutex_lock(self, lock); }
void kv_sleep(kv_self *self, uint64_t ns) { veil_nanosleep(self, &(struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)}, NULL); }

// Pages of objects without pointers are never veiled, so a call that does not block needs no brackets; unless a service has a claim on the page. Then
// nothing was done, and veil makes it touchable.
ssize_t kv_recv(kv_self *self, int fd, void *buffer, size_t bytes) {
  ssize_t got = recv(fd, buffer, bytes, MSG_DONTWAIT);
  return got < 0 && errno == EFAULT ? veil_recv(self, fd, buffer, bytes, MSG_DONTWAIT) : got;
}
ssize_t kv_send(kv_self *self, int fd, const void *buffer, size_t bytes) {
  ssize_t sent = send(fd, buffer, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent < 0 && errno == EFAULT ? veil_send(self, fd, buffer, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) : sent;
}
ssize_t kv_writev(kv_self *self, int fd, const struct iovec *iov, int count) {
  ssize_t sent = writev(fd, iov, count);
  return sent < 0 && errno == EFAULT ? veil_writev(self, fd, iov, count) : sent;
}

// ---- Saving.

bool kv_memory_loaded(void) { return loaded; }
void *kv_memory_root(kv_self *self, const char *name) { return veil_root_get(self, name); }
bool kv_memory_root_set(kv_self *self, const char *name, void *object) { return veil_root_set(self, name, object) == VEIL_OK; }

bool kv_memory_saver_open(const char *file, char *error, size_t bytes) {
  saver = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = file});
  if (saver == NULL) {
    snprintf(error, bytes, "%s", veil_error());
  }
  return saver != NULL;
}
void kv_memory_saver_close(void) { veil_checkpointer_close(saver); }

void kv_memory_quiet(kv_self *self) {
  while (veil_collecting(heap)) {
    kv_sleep(self, 200000);
  }
}

bool kv_memory_save_begin(kv_self *self, char *error, size_t bytes) {
  if (veil_checkpoint(saver, VEIL_CHECKPOINT_START | VEIL_CHECKPOINT_REFUSE, NULL) == VEIL_OK) {
    return true;
  }
  snprintf(error, bytes, "%s", veil_error());
  return false;
}

bool kv_memory_saving(void) { return veil_checkpointing(saver, NULL, NULL); }

bool kv_memory_save_end(kv_self *self, kv_memory_saved *out, char *error, size_t bytes) {
  veil_checkpoint_figures figures;
  if (veil_checkpoint_wait(saver, &figures) != VEIL_OK) {
    snprintf(error, bytes, "%s", veil_error());
    return false;
  }
  *out = (kv_memory_saved){figures.version, figures.bytes, figures.pause_ns};
  return true;
}

// ---- Stores.

static bool told(veil_status status, char *error, size_t bytes) {
  if (status != VEIL_OK) {
    snprintf(error, bytes, "%s", veil_error());
  }
  return status == VEIL_OK;
}

bool kv_memory_commit_begin(kv_self *self, uint64_t *ticket, char *error, size_t bytes) { return told(veil_store_commit_async(store, ticket), error, bytes); }
bool kv_memory_commit_wait(kv_self *self, uint64_t ticket, char *error, size_t bytes) { return told(veil_store_wait(store, ticket), error, bytes); }

size_t kv_memory_store_report(char *out, size_t room) {
  veil_store_figures f = veil_store_get_figures(store);
  return (size_t)snprintf(out, room,
                          "store_commits:%llu\r\nstore_barriers:%llu\r\nstore_pages:%llu\r\nstore_changed_bytes:%llu\r\nstore_logged_bytes:%llu\r\nstore_folds:%llu\r\n"
                          "store_log_bytes:%llu\r\nstore_log_used_bytes:%llu\r\nstore_cache_bytes:%llu\r\nstore_commit_waits:%llu\r\n",
                          (unsigned long long)f.commits, (unsigned long long)f.barriers, (unsigned long long)f.pages, (unsigned long long)f.changed, (unsigned long long)f.logged,
                          (unsigned long long)f.folds, (unsigned long long)f.log_bytes, (unsigned long long)f.log_used, (unsigned long long)f.cache_bytes, (unsigned long long)f.commit_waits);
}

uint64_t kv_memory_resident(void) {
  uint64_t resident, shared;
  kv_memory_status(&resident, &shared);
  veil_stats stats;
  veil_get_stats(heap, &stats);
  return resident - shared + stats.held_bytes;
}

void kv_memory_collect(kv_self *self) { veil_collect(self); }

size_t kv_memory_report(char *out, size_t room) {
  veil_stats s;
  veil_get_stats(heap, &s);
  return (size_t)snprintf(out, room,
                          "collector_name:veil\r\ncollector_back_end:%s\r\ncollector_cycles:%llu\r\ncollector_minor_cycles:%llu\r\n"
                          "collector_flip_max_us:%llu\r\ncollector_flip_p99_us:%llu\r\ncollector_minor_max_us:%llu\r\ncollector_minor_p99_us:%llu\r\n"
                          "collector_stop_max_us:%llu\r\ncollector_heap_bytes:%llu\r\ncollector_heap_max_bytes:%llu\r\ncollector_live_bytes:%llu\r\n"
                          "collector_limit_bytes:%llu\r\ncollector_allocated_bytes:%llu\r\ncollector_copied_bytes:%llu\r\ncollector_traps:%llu\r\n"
                          "collector_trap_p99_us:%llu\r\ncollector_trap_max_us:%llu\r\ncollector_pinned_objects:%llu\r\ncollector_stall_us:%llu\r\n"
                          "collector_nursery_bytes:%llu\r\ncollector_cycle_total_us:%llu\r\n",
                          veil_back_end(heap), (unsigned long long)s.major_cycles, (unsigned long long)s.minor_cycles, (unsigned long long)s.flip_max_ns / 1000,
                          (unsigned long long)s.flip_p99_ns / 1000, (unsigned long long)s.minor_max_ns / 1000, (unsigned long long)s.minor_p99_ns / 1000,
                          (unsigned long long)s.stop_max_ns / 1000, (unsigned long long)s.held_bytes, (unsigned long long)s.held_max_bytes,
                          (unsigned long long)s.live_bytes, (unsigned long long)s.limit_bytes, (unsigned long long)s.allocated_bytes,
                          (unsigned long long)s.copied_bytes, (unsigned long long)s.traps, (unsigned long long)s.trap_p99_ns / 1000,
                          (unsigned long long)s.trap_max_ns / 1000, (unsigned long long)s.pinned_objects, (unsigned long long)s.stall_ns / 1000,
                          (unsigned long long)s.nursery_bytes, (unsigned long long)s.cycle_total_ns / 1000);
}
