// SPDX-License-Identifier: MIT
// pool.c: mutators that write faster than a slow disk takes it: the pool bounds the memory that is had, whoever finds it full waits, and all is saved.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/checkpoint/trials.h"

enum { POOL = 1 << 20, LEAVES = 24, LEAF = 1 << 20, SLOW_US = 3000, SLACK = 24 << 20 };

// The system's, but each write takes its time.
static ssize_t pwrite_slow(void *context, int fd, const void *from, size_t bytes, uint64_t offset) {
  os_nap(SLOW_US);
  return rt_image_io_system.pwrite(rt_image_io_system.context, fd, from, bytes < 64 << 10 ? bytes : 64 << 10, offset);
}

// Full after so many writes.
static uint32_t volatile room;
static ssize_t pwrite_full(void *context, int fd, const void *from, size_t bytes, uint64_t offset) {
  if (at32_load(&room) == 0) {
    os_nap(50 * SLOW_US); // until the pool is full, too
    return -ENOSPC;
  }
  at32_add_full(&room, (uint32_t)-1);
  return pwrite_slow(context, fd, from, bytes, offset);
}

typedef struct writer {
  veil_heap *heap;
  uint32_t volatile ending, ready;
  AO_t passes;
} writer;

// A word on each page, page after page: as fast as pages can be written.
static void *write_all(void *arg) {
  writer *w = arg;
  veil_thread *self = veil_attach(w->heap);
  void **leaves = veil_new_pointers(self, LEAVES);
  MUST(veil_root_set(self, "leaves", leaves) == VEIL_OK, "%s", veil_error());
  for (int i = 0; i < LEAVES; i++) {
    leaves[i] = veil_new_bytes(self, LEAF);
  }
  at32_store_release(&w->ready, 1);
  for (uint64_t n = 1; !at32_load_acquire(&w->ending); n++) {
    for (int i = 0; i < LEAVES && !at32_load_acquire(&w->ending); i++) {
      char *leaf = leaves[i];
      for (size_t at = 0; at < LEAF; at += 4096) {
        *(uint64_t volatile *)(leaf + at) = n;
      }
      veil_poll(self);
    }
    at_add(&w->passes, 1);
  }
  veil_detach(self);
  return NULL;
}

// Bytes of memory of the process's own; the heap's are a file's.
static uint64_t anonymous_memory(void) {
  char line[200];
  uint64_t kib = 0;
  FILE *f = fopen("/proc/self/status", "r");
  while (f != NULL && fgets(line, sizeof line, f) != NULL) {
    if (strncmp(line, "RssAnon:", 8) == 0) {
      kib = strtoull(line + 8, NULL, 10);
    }
  }
  fclose(f);
  return kib << 10;
}

// cp.fail: whoever waits for a full disk goes on when that refuses.
static void disk_fills(writer *w) {
  rt_image_io io = rt_image_io_system;
  char *path = strdup(trial_path("full.veil"));
  io.pwrite = pwrite_full;
  veil_checkpointer *c = rt_checkpointer_open(w->heap, &(veil_checkpointer_options){.path = path, .pool = POOL}, &io);
  MUST(c != NULL, "%s", veil_error());
  for (unsigned i = 0; i < 3; i++) {
    at32_store(&room, i * 20);
    veil_checkpoint_figures f = {0};
    MUST(veil_checkpoint(c, VEIL_CHECKPOINT_START, NULL) == VEIL_OK, "%s", veil_error());
    uint64_t passes = at_load(&w->passes), until = cp_now() + UINT64_C(10000000000);
    while (at_load(&w->passes) < passes + 3 && cp_now() < until) {
      os_nap(1000);
    }
    if (at_load(&w->passes) < passes + 3) {
      found("the disk is full, and the program stands [cp.fail]");
      printf("pool: ended\n");
      exit(1);
    }
    veil_status status = veil_checkpoint_wait(c, &f);
    if (status != VEIL_IO || strstr(veil_error(), "No space") == NULL || f.version != 0) {
      found("the disk is full: status %d, version %llu: %s", (int)status, (unsigned long long)f.version, veil_error());
    }
  }
  veil_checkpointer_close(c);
  free(path);
}

// A trap that has slots for neighbours may be late: it gives back what it did not need when the next checkpoint has begun. Each slot is there once, then as before.
static void slots_late(void) {
  enum { SLOTS = 16, LATE = 5 };
  cp_pool pool;
  uint32_t late[LATE], slot;
  bool seen[SLOTS + 1] = {false};
  MUST(cp_pool_open(&pool, SLOTS * 4096, 4096), "no memory");
  MUST(cp_pool_take_some_in_trap(&pool, late, LATE) == LATE, "a new pool has no slots");
  cp_pool_reset(&pool);
  cp_pool_ready(&pool, SLOTS * 4096);
  for (unsigned i = 0; i < LATE; i++) {
    cp_pool_give_in_trap(&pool, late[i]);
  }
  at32_store_release(&pool.refusing, 1); // so that nobody waits for one that is not there
  for (unsigned i = 0; i < 2 * SLOTS && (slot = cp_pool_take_in_trap(&pool)) != 0; i++) {
    if (slot > SLOTS || seen[slot]) {
      found("slot %u is had twice [cp.pool]", slot);
      break;
    }
    seen[slot] = true;
    cp_pool_queue_in_trap(&pool, slot, SLOTS - slot);
  }
  if (!enough() && cp_pool_queued(&pool) != SLOTS) {
    found("slots have gone [cp.pool]");
  }
  cp_pool_close(&pool);
}

void trial_pool(void) {
  slots_late();
  pthread_t thread;
  writer w = {.heap = world_heap(96 << 20)};
  rt_image_io io = rt_image_io_system;
  io.pwrite = pwrite_slow;
  bool traps = trial.back_end == NULL || strcmp(trial.back_end, "none") != 0;
  char *path = strdup(trial_path("heap.veil"));
  veil_checkpointer *c = rt_checkpointer_open(w.heap, &(veil_checkpointer_options){.path = path, .pool = POOL}, &io);
  MUST(c != NULL, "%s", veil_error());
  MUST(pthread_create(&thread, NULL, write_all, &w) == 0, "a thread");
  while (!at32_load_acquire(&w.ready)) {
    os_nap(100);
  }
  veil_checkpoint_figures f;
  uint64_t waits = 0;
  for (int i = 0; i < 3; i++) {
    uint64_t before = anonymous_memory(), most = before;
    MUST(veil_checkpoint(c, VEIL_CHECKPOINT_START, NULL) == VEIL_OK, "%s", veil_error());
    while (veil_checkpointing(c, NULL, NULL)) {
      uint64_t now = anonymous_memory();
      most = now > most ? now : most;
      os_nap(1000);
    }
    MUST(veil_checkpoint_wait(c, &f) == VEIL_OK, "%s", veil_error());
    printf("pool: %llu pages, %llu trapped, pool %llu bytes at most, %llu waits, %llu ms; %llu KiB more memory\n", (unsigned long long)f.pages,
           (unsigned long long)f.pages_trapped, (unsigned long long)f.pool_max, (unsigned long long)f.pool_waits, (unsigned long long)f.pool_wait_ns / 1000000,
           (unsigned long long)(most - before) >> 10);
    waits += f.pool_waits;
    if (f.pool_max > POOL || (f.pool_waits != 0) != (f.pool_wait_ns != 0)) {
      found("the pool held %llu bytes, and %llu had to wait for %llu ns", (unsigned long long)f.pool_max, (unsigned long long)f.pool_waits,
            (unsigned long long)f.pool_wait_ns);
    }
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__) // whose shadows are memory, too
    if (traps && most - before > POOL + SLACK) {
      found("%llu KiB of memory beside a pool of %d", (unsigned long long)(most - before) >> 10, POOL >> 10);
    }
#endif
  }
  disk_fills(&w);
  if (traps && waits == 0) {
    found("nobody had to wait");
  }
  at32_store_release(&w.ending, 1);
  pthread_join(thread, NULL);
  veil_checkpointer_close(c);
  veil_close(w.heap);
  free(path);
}
