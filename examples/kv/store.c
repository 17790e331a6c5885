// SPDX-License-Identifier: MIT
// store.c: the data in a store (--store): what a thread's round of commands has done, or seen, is durable before any of it is answered.
//
// Neighbours: loop.c calls this between running what was read and sending replies; memory.h commits. As for a save, the locks of all shards are held until the instant has been taken, so no command is in a commit by halves; the
// disk is waited for without them. Threads whose rounds end at about the same time share an instant: it has all that was done before it began, whoever did it.
//
// A command that writes is counted before it begins and after it has ended. If as many have begun by now as had ended at an instant that is durable, nothing has changed since, and nothing is waited for: so it is with rounds that only
// read, while nobody writes.

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "handlers.h"

static struct {
  pthread_mutex_t lock;      // who takes an instant; taken before those of shards
  _Atomic uint64_t instants; // that have begun: under the lock
  uint64_t ticket, ended;    // of the last instant: writes that had ended. Under the lock
  _Atomic uint64_t durable;  // `ended` of the newest instant that is known to be durable
  _Atomic int64_t durable_ms;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t begun_now(void) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < kv_options_now.threads; i++) {
    sum += atomic_load_explicit(&kv_threads[i].writes_begun, memory_order_relaxed); // of a write whose effect was seen: its lock has passed from there to here
  }
  return sum;
}

static uint64_t ended_now(void) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < kv_options_now.threads; i++) {
    sum += atomic_load_explicit(&kv_threads[i].writes_ended, memory_order_relaxed);
  }
  return sum;
}

// Nothing may be answered that could be lost, and the heap has it already: so the server ends, as if it had been killed.
static void give_up(const char *error) {
  fprintf(stderr, "kv: a commit failed: %s\n", error);
  _exit(1);
}

// Under the lock.
static void instant_take(kv_thread *t) {
  char error[256];
  atomic_fetch_add(&state.instants, 1);
  kv_memory_quiet(t->self); // a cycle under way would have to end before the instant, with all locks held
  for (unsigned i = 0; i < KV_SHARDS; i++) {
    kv_shard_lock(t, i);
  }
  uint64_t ended = ended_now();
  bool taken = kv_memory_commit_begin(t->self, &state.ticket, error, sizeof error);
  for (unsigned i = 0; i < KV_SHARDS; i++) {
    kv_shard_unlock(i);
  }
  if (!taken) {
    give_up(error);
  }
  state.ended = ended;
}

static void commit(kv_thread *t, uint64_t instants) {
  char error[256];
  kv_lock(t->self, &state.lock);
  if (state.instants == instants) { // else one has begun since
    instant_take(t);
  }
  uint64_t ticket = state.ticket, ended = state.ended;
  kv_unlock(&state.lock);
  if (!kv_memory_commit_wait(t->self, ticket, error, sizeof error)) {
    give_up(error);
  }
  for (uint64_t known = state.durable; known < ended && !atomic_compare_exchange_weak(&state.durable, &known, ended);) {
  }
  state.durable_ms = kv_now_ms();
}

void kv_store_settle(kv_thread *t) {
  uint64_t instants = state.instants; // first: what this thread has done came before it
  if (begun_now() != state.durable) {
    commit(t, instants);
  }
}

void kv_store_commit(kv_thread *t) { commit(t, state.instants); }

int64_t kv_store_durable_ms(void) { return state.durable_ms; }

size_t kv_store_report(char *out, size_t room) {
  size_t length = (size_t)snprintf(out, room,
                                   "loading:0\r\nrdb_changes_since_last_save:%llu\r\nrdb_bgsave_in_progress:0\r\nrdb_last_save_time:%lld\r\nrdb_last_bgsave_status:ok\r\n"
                                   "aof_enabled:0\r\nstore_instants:%llu\r\n",
                                   (unsigned long long)(begun_now() - state.durable), (long long)state.durable_ms / 1000, (unsigned long long)state.instants);
  return length + kv_memory_store_report(length < room ? out + length : NULL, length < room ? room - length : 0);
}
