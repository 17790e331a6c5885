// SPDX-License-Identifier: MIT
// save.c: the data in a file: SAVE, BGSAVE, LASTSAVE, saves by time and number of changes, and what is loaded at the start.
//
// Neighbours: memory.h does the saving, where the heap can be saved. The data are two named roots: the tables of the shards, and what belongs to them. Whoever
// asks for a save holds the locks of all shards until the instant has been taken, so no command is in the file by halves; the others run on while the file is written.

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "handlers.h"
#include "root.h"

enum { FORMAT = 1, RETRY_MS = 5000 };

// Beside the tables; an object without pointers.
typedef struct saved {
  uint64_t format;  // FORMAT: what tables and items look like
  uint64_t seed[2]; // of the hashes by which they are in order
} saved;

static struct {
  pthread_mutex_t lock; // of all of this; taken before those of shards
  bool open, under_way, failed;
  int64_t began_ms, saved_ms, tried_ms; // saved_ms: of the last one that is durable, or when the server started
  int64_t took_ms;
  uint64_t at;         // changes when the one under way began …
  uint64_t changes;    // … and when the last one that is durable did
  kv_memory_saved last;
  char error[256];
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t changes_now(void) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < kv_options_now.threads; i++) {
    sum += atomic_load_explicit(&kv_threads[i].changes, memory_order_relaxed);
  }
  return sum;
}

// ---- Loading.

// What a heap that was loaded has. False with a message in `error`.
static bool found(kv_thread *t, void ***tables, char *error, size_t bytes) {
  const saved *s = kv_memory_root(t->self, "kv.saved");
  *tables = kv_memory_root(t->self, "kv.tables");
  if (s == NULL || *tables == NULL) {
    snprintf(error, bytes, "it is a heap, but not one of kv's");
  } else if (s->format != FORMAT) {
    snprintf(error, bytes, "its data have format %llu, and this server knows %d", (unsigned long long)s->format, (int)FORMAT);
  } else {
    kv_hash_seed_set(s->seed);
    return true;
  }
  return false;
}

bool kv_save_load(kv_thread *t, void ***tables, char *error, size_t bytes) {
  *tables = NULL;
  if (kv_options_now.store != NULL && kv_memory_root(t->self, "kv.tables") == NULL) {
    return true; // it was made, and then killed, before the first commit
  }
  return !kv_memory_loaded() || found(t, tables, error, bytes);
}

// The tables and what belongs to them get their names. False: memory is out.
static bool roots_name(kv_thread *t) {
  saved *s = kv_new_bytes(t->self, sizeof *s);
  if (s == NULL) {
    return false;
  }
  s->format = FORMAT;
  kv_hash_seed_get(s->seed);
  return kv_memory_root_set(t->self, "kv.saved", s) && kv_memory_root_set(t->self, "kv.tables", kv_root->tables);
}

bool kv_save_open(kv_thread *t, char *error, size_t bytes) {
  state.saved_ms = kv_now_ms();
  if (!kv_memory_saves) {
    return true;
  }
  if (!roots_name(t)) {
    snprintf(error, bytes, "no memory for the names of what is saved");
    return false;
  }
  if (kv_options_now.store != NULL) {
    kv_store_commit(t);
    return true;
  }
  state.open = kv_memory_saver_open(kv_options_now.file, error, bytes);
  return state.open;
}

void kv_save_close(void) {
  if (state.open) {
    kv_memory_saver_close();
  }
}

// ---- Saving.

// The one under way is over: what became of it. Under the lock.
static void outcome_note(bool good) {
  state.under_way = false;
  state.failed = !good;
  state.took_ms = kv_now_ms() - state.began_ms;
  if (good) {
    state.saved_ms = kv_now_ms();
    state.changes = state.at;
  } else {
    fprintf(stderr, "kv: saving failed: %s\n", state.error);
  }
}

// The instant; when this returns true the file is being written. Under the lock.
static bool begin(kv_thread *t) {
  kv_memory_quiet(t->self); // a cycle under way would have to end before the instant, with all locks held
  for (unsigned i = 0; i < KV_SHARDS; i++) {
    kv_shard_lock(t, i);
  }
  state.at = changes_now();
  state.began_ms = state.tried_ms = kv_now_ms();
  bool begun = kv_memory_save_begin(t->self, state.error, sizeof state.error);
  for (unsigned i = 0; i < KV_SHARDS; i++) {
    kv_shard_unlock(i);
  }
  state.under_way = true;
  if (!begun) {
    outcome_note(false);
  }
  return begun;
}

static void end(kv_thread *t) { outcome_note(kv_memory_save_end(t->self, &state.last, state.error, sizeof state.error)); }

typedef enum began { BEGUN, BUSY, REFUSED, FAILED } began;

// Begins a save, and waits for its end if `wait`. The text of a failure is in `error`.
static began save(kv_thread *t, bool wait, char error[256]) {
  began result = REFUSED;
  if (kv_options_now.store != NULL) { // it is about to be anyway
    kv_store_commit(t);
    return BEGUN;
  }
  kv_lock(t->self, &state.lock);
  if (state.open && state.under_way) {
    result = BUSY;
  } else if (state.open) {
    result = begin(t) ? BEGUN : FAILED;
    if (result == BEGUN && wait) {
      end(t);
      result = state.failed ? FAILED : BEGUN;
    }
    memcpy(error, state.error, sizeof state.error);
  }
  kv_unlock(&state.lock);
  return result;
}

static bool is_due(int64_t now_ms) {
  uint64_t changed = changes_now() - state.changes;
  for (unsigned i = 0; i < kv_options_now.save_points; i++) {
    const kv_save_point *point = &kv_options_now.save_point[i];
    if (changed >= point->changes && now_ms - state.saved_ms >= (int64_t)point->seconds * 1000 && (!state.failed || now_ms - state.tried_ms >= RETRY_MS)) {
      return true;
    }
  }
  return false;
}

void kv_save_cron(kv_thread *t) {
  if (!state.open || pthread_mutex_trylock(&state.lock) != 0) {
    return; // the next look around will do
  }
  if (state.under_way && !kv_memory_saving()) {
    end(t);
  }
  if (!state.under_way && is_due(t->now_ms)) {
    begin(t);
  }
  kv_unlock(&state.lock);
}

bool kv_save_last(kv_thread *t, int wish) {
  char error[256];
  if (kv_options_now.store != NULL) {
    kv_store_commit(t); // what was answered is durable, whatever the wish: what has expired since comes to it
    return true;
  }
  kv_lock(t->self, &state.lock);
  if (state.open && state.under_way) {
    end(t);
  }
  bool due = state.open && (wish > 0 || (wish == 0 && kv_options_now.save_points > 0 && changes_now() != state.changes));
  kv_unlock(&state.lock);
  return !due || save(t, true, error) == BEGUN;
}

// ---- Commands.

static void reply(kv_call *call, began result, const char *error, const char *good) {
  static const char busy[] = "ERR Background save already in progress";
  if (result == BEGUN) {
    kv_reply_simple(call, good);
  } else if (result == BUSY) {
    kv_reply_error(call, busy);
  } else if (result == FAILED) {
    kv_reply_error(call, "ERR %.200s", error);
  } else {
    kv_reply_error(call, "ERR kv on %s cannot save its data", kv_memory_name);
  }
}

void kv_do_save(kv_call *call) {
  char error[256] = "";
  reply(call, save(call->t, true, error), error, "OK");
}

void kv_do_bgsave(kv_call *call) {
  if (call->count > 2 || (call->count == 2 && !kv_text_is(kv_arg(call, 1), "SCHEDULE"))) {
    kv_reply_syntax(call);
    return;
  }
  char error[256] = "";
  reply(call, save(call->t, false, error), error, "Background saving started");
}

void kv_do_lastsave(kv_call *call) {
  kv_lock(call->t->self, &state.lock);
  int64_t saved_ms = kv_options_now.store != NULL ? kv_store_durable_ms() : state.saved_ms;
  kv_unlock(&state.lock);
  kv_reply_integer(call, saved_ms / 1000);
}

size_t kv_save_report(kv_thread *t, char *out, size_t room) {
  if (kv_options_now.store != NULL) {
    return kv_store_report(out, room);
  }
  kv_lock(t->self, &state.lock);
  size_t length = (size_t)snprintf(out, room,
                                   "loading:0\r\nrdb_changes_since_last_save:%llu\r\nrdb_bgsave_in_progress:%d\r\nrdb_last_save_time:%lld\r\n"
                                   "rdb_last_bgsave_status:%s\r\nrdb_last_bgsave_time_sec:%lld\r\nrdb_current_bgsave_time_sec:%lld\r\naof_enabled:0\r\n"
                                   "save_version:%llu\r\nsave_last_pause_us:%llu\r\nsave_last_bytes:%llu\r\nsave_last_ms:%lld\r\n",
                                   (unsigned long long)(changes_now() - state.changes), state.under_way, (long long)state.saved_ms / 1000,
                                   state.failed ? "err" : "ok", (long long)(state.last.version ? state.took_ms / 1000 : -1),
                                   (long long)(state.under_way ? (t->now_ms - state.began_ms) / 1000 : -1), (unsigned long long)state.last.version,
                                   (unsigned long long)state.last.pause_ns / 1000, (unsigned long long)state.last.bytes, (long long)state.took_ms);
  kv_unlock(&state.lock);
  return length;
}
