// SPDX-License-Identifier: MIT
// compressor_storm.c: threads change a heap whose pages are compressed all the time, at random, while it is collected, saved or committed, forked: and is what it should be.
//
//   compressor_storm BACK_END [SECONDS]        STORM_SEED=n repeats the choices, not the interleaving
//
// Each thread has records of its own, and remembers what they should be; all may be read by all. Exits with 0, 1 (something was wrong), 77 (the back end does not work here).

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "veil/checkpoint.h"
#include "veil/compress.h"
#include "veil/store.h"
#include "veil/veil.h"

enum { THREADS = 4, RECORDS = 4000, ALL = THREADS * RECORDS, TEXT_MOST = 2000, PATIENCE = 60 };

#define EXPECT(CONDITION) ((CONDITION) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #CONDITION), abort()))

typedef struct record {
  struct record *link;
  char *text; // its length is in the record
  uint64_t key, version, length;
} record;
VEIL_TYPE(record, link, text);
typedef struct slot {
  record *to;
} slot;
VEIL_TYPE(slot, to);

typedef struct random_state {
  uint64_t s;
} random_state;

// splitmix64, by Sebastiano Vigna.
static uint64_t random_below(random_state *r, uint64_t n) {
  uint64_t z = r->s += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return (z ^ z >> 31) % n;
}

static uint64_t seed_choose(void) {
  const char *given = getenv("STORM_SEED");
  uint64_t chosen = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 1000 + (uint64_t)getpid();
  printf("%d STORM_SEED=%llu\n", (int)getpid(), (unsigned long long)chosen);
  fflush(stdout);
  return chosen;
}

// What a record should be. The owning thread's; others look while nobody changes anything.
typedef struct truth {
  uint64_t version, length;
  uint32_t link;
} truth;

static veil_heap *heap;
static veil_store *store; // one of the two: by the seed
static veil_checkpointer *saver;
static char path[64], log_path[80];
static slot *all;
static truth should[ALL];
static pthread_rwlock_t changing = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP; // or the one who stops all would never have his turn
static uint32_t volatile ends;
static uint64_t seed;

static char byte_of(uint64_t key, uint64_t version, uint64_t i) { return (char)("abcdefgh"[(i * (1 + key % 5) + version) % 8] + (i % 64 == 0 ? (int)(key % 16) : 0)); }

static void record_check_in(const slot *of, const truth *all_of, uint32_t i) {
  const record *r = of[i].to;
  const truth *t = &all_of[i];
  EXPECT(r->key == i && r->version == t->version && r->length == t->length && r->link == of[t->link].to);
  for (uint64_t k = 0; k < t->length; k += 1 + t->length / 16) {
    if (r->text[k] != byte_of(i, t->version, k)) {
      fprintf(stderr, "%d: record %u, version %llu: byte %llu of %llu at %p is %d, not %d\n", (int)getpid(), i, (unsigned long long)t->version, (unsigned long long)k, (unsigned long long)t->length, (void *)&r->text[k], r->text[k], byte_of(i, t->version, k));
      abort();
    }
  }
}

static void record_check(uint32_t i) { record_check_in(all, should, i); }

static void text_make(veil_thread *self, uint32_t i, uint64_t length) {
  char *text = veil_new_bytes(self, length + 1);
  EXPECT(text != NULL);
  should[i].version++;
  should[i].length = length;
  for (uint64_t k = 0; k < length; k++) {
    text[k] = byte_of(i, should[i].version, k);
  }
  record *r = all[i].to;
  r->text = text;
  r->length = length;
  r->version = should[i].version;
}

// A record in the place of another: those of the same owner that refer to it are told.
static void record_renew(veil_thread *self, uint32_t i, uint32_t first) {
  record *old = all[i].to, *r = veil_new(self, record);
  EXPECT(r != NULL);
  old = all[i].to;
  r->key = i;
  r->version = old->version;
  r->length = old->length;
  r->text = old->text;
  r->link = old->link == old ? r : old->link;
  all[i].to = r;
  for (uint32_t k = first; k < first + RECORDS; k++) {
    if (should[k].link == i) {
      all[k].to->link = r;
    }
  }
}

static void record_change(veil_thread *self, random_state *random, uint32_t i, uint32_t first) {
  unsigned what = (unsigned)random_below(random, 100);
  if (what < 2) {
    record_renew(self, i, first);
  } else if (what < 30) {
    text_make(self, i, random_below(random, TEXT_MOST));
  } else if (what < 60) {
    should[i].link = first + (uint32_t)random_below(random, RECORDS);
    all[i].to->link = all[should[i].link].to;
  }
}

static void *changer(void *arg) {
  uint32_t first = (uint32_t)(uintptr_t)arg * RECORDS;
  veil_thread *self = veil_attach(heap);
  random_state random = {seed + first};
  EXPECT(self != NULL);
  while (!__atomic_load_n(&ends, __ATOMIC_ACQUIRE)) {
    veil_block_begin(self);
    pthread_rwlock_rdlock(&changing);
    veil_block_end(self);
    // Most of what is touched lies together, so that the rest gets cold.
    for (int n = 0; n < 50; n++) {
      uint32_t i = first + (uint32_t)(random_below(&random, 10) == 0 ? random_below(&random, RECORDS) : random_below(&random, RECORDS / 20));
      record_check(i);
      record_change(self, &random, i, first);
      record_check(i);
    }
    pthread_rwlock_unlock(&changing);
    if (random_below(&random, 20) == 0) {
      veil_block_begin(self);
      usleep((useconds_t)random_below(&random, 3000));
      veil_block_end(self);
    }
  }
  veil_detach(self);
  return NULL;
}

static void check_all(void) {
  for (uint32_t i = 0; i < ALL; i++) {
    record_check(i);
  }
}

// Not under sanitizers: their locks do not outlive a fork, and TSan allows a child no threads.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { FORKS = 0 };
#else
enum { FORKS = 1 };
#endif

static void child_look(veil_thread *self, veil_compressor *c, bool closes) {
  pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    check_all();
    if (closes) {
      veil_compressor_close(c);
    }
    veil_collect(self);
    check_all();
    _exit(0);
  }
  int status;
  veil_block_begin(self);
  EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  veil_block_end(self);
}

static veil_compressor *compressor_any(random_state *random) {
  unsigned interval = 10 + (unsigned)random_below(random, 40);
  veil_compressor_options o = {.prefer = random_below(random, 2) ? VEIL_COMPRESS_SPEED : VEIL_COMPRESS_SPACE,
                               .interval_ms = interval,
                               .least_ms = interval * (1 + (unsigned)random_below(random, 3)),
                               .age_ms = random_below(random, 3) == 0 ? 0 : interval * (1 + (unsigned)random_below(random, 3)),
                               .target = random_below(random, 2) ? 1 : 0.01,
                               .threads = 1 + (unsigned)random_below(random, 3)};
  veil_compressor *c = veil_compressor_open(heap, &o);
  if (c == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    abort();
  }
  return c;
}

static uint64_t promoted, compressed, discarded, copied, saves;

// What was saved of an instant is what it was then, whatever the threads have done since.
static truth then[ALL];

static void saved_check(void) {
  static veil_type *const types[] = {&veil_type_record, &veil_type_slot};
  EXPECT(veil_checkpoint_wait(saver, NULL) == VEIL_OK);
  veil_heap *there = veil_restore(path, NULL, &(veil_restore_options){.types = types, .type_count = 2});
  if (there == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    abort();
  }
  veil_thread *me = veil_attach(there);
  const slot *of = veil_root_get(me, "all");
  for (uint32_t i = 0; i < ALL; i++) {
    record_check_in(of, then, i);
  }
  of = NULL;
  veil_detach(me);
  veil_close(there);
  saves++;
}

static void stopped(veil_thread *self, random_state *random, veil_compressor *c) {
  veil_block_begin(self);
  pthread_rwlock_wrlock(&changing);
  veil_block_end(self);
  if (random_below(random, 2) && FORKS) {
    child_look(self, c, random_below(random, 2));
  }
  bool saves_it = store == NULL && random_below(random, 4) != 0;
  if (saves_it) { // before anything is touched
    if (random_below(random, 2)) {
      veil_compress_now(c, 0);
    }
    memcpy(then, should, sizeof then);
    EXPECT(veil_checkpoint(saver, VEIL_CHECKPOINT_START | (random_below(random, 2) ? VEIL_CHECKPOINT_FULL : 0), NULL) == VEIL_OK);
  } else {
    check_all();
  }
  pthread_rwlock_unlock(&changing);
  if (saves_it) {
    saved_check();
  }
}

static void counts_add(veil_compressor *c) {
  veil_compress_stats s;
  veil_compress_get_stats(c, &s);
  promoted += s.promoted + s.fetched + s.taken_back;
  compressed += s.compressed;
  discarded += s.discarded;
  copied += s.copied;
}

// Packers have the lowest priority, and a busy machine hardly any time for them.
static bool any_yet(veil_compressor *c) {
  veil_compress_stats s;
  veil_compress_get_stats(c, &s);
  return compressed + s.compressed != 0 && promoted + s.promoted + s.fetched + s.taken_back != 0;
}

static void save(random_state *random, veil_compressor *c) {
  if (random_below(random, 2)) {
    veil_compress_now(c, 0); // what was written since the last time is away
  }
  unsigned how = (unsigned)random_below(random, 8);
  veil_status status = store == NULL ? veil_checkpoint(saver, how < 3 ? VEIL_CHECKPOINT_FULL : 0, NULL) : how == 0 ? veil_store_compact(store) : veil_store_commit(store, NULL);
  if (status != VEIL_OK) {
    fprintf(stderr, "%s\n", veil_error());
    abort();
  }
}

static void disturb(veil_thread *self, random_state *random, unsigned seconds) {
  time_t until = time(NULL) + seconds;
  veil_compressor *c = compressor_any(random);
  while (time(NULL) < until || (!any_yet(c) && time(NULL) < until + PATIENCE)) {
    switch (random_below(random, 12)) {
    case 0:
    case 1:
      veil_compress_now(c, (unsigned)random_below(random, 2) * 50);
      break;
    case 2:
      veil_collect(self);
      break;
    case 3:
      save(random, c);
      break;
    case 4:
      stopped(self, random, c);
      break;
    case 5:
      if (random_below(random, 5) == 0) {
        counts_add(c);
        veil_compressor_close(c);
        c = compressor_any(random);
      }
      break;
    case 6:
      veil_compress_hint_set(c, all[random_below(random, ALL)].to, 100000, (veil_compress_hint)random_below(random, 3)); // or it is not the heap's
      break;
    default:
      veil_block_begin(self);
      usleep((useconds_t)random_below(random, 20000));
      veil_block_end(self);
    }
  }
  counts_add(c);
  veil_compressor_close(c);
}

// False: the back end does not work here.
static bool heap_open(random_state *random, const char *back_end) {
  static veil_type *const types[] = {&veil_type_record, &veil_type_slot};
  veil_options options = {.back_end = back_end, .limit = 256 << 20, .headroom = 8 << 20, .fork = VEIL_FORK_COPY, .generations = (veil_generations)random_below(random, 3),
                          .granule = random_below(random, 4) == 0 ? 16384 : 0};
  snprintf(path, sizeof path, "/tmp/compressor_storm.%d", (int)getpid());
  snprintf(log_path, sizeof log_path, "%s.log", path);
  if (random_below(random, 3) == 0) {
    store = veil_store_open(path, &options, &(veil_store_options){.types = types, .type_count = 2, .log = 4 << 20});
    heap = store != NULL ? veil_store_heap(store) : NULL;
  } else {
    heap = veil_open(&options);
  }
  return heap != NULL;
}

static void records_make(veil_thread *self, random_state *random) {
  all = veil_new_array(self, slot, ALL);
  EXPECT(all != NULL && veil_add_roots(heap, &all, 1) == VEIL_OK);
  for (uint32_t i = 0; i < ALL; i++) {
    record *r = veil_new(self, record);
    all[i].to = r;
    r->key = i;
    r->link = r;
    should[i].link = i;
    text_make(self, i, random_below(random, TEXT_MOST));
  }
  EXPECT(veil_root_set(self, "all", all) == VEIL_OK);
}

// Everything is in the file, too.
static void reopened(void) {
  static veil_type *const types[] = {&veil_type_record, &veil_type_slot};
  store = veil_store_open(path, NULL, &(veil_store_options){.types = types, .type_count = 2, .mode = VEIL_STORE_READ_ONLY});
  EXPECT(store != NULL);
  heap = veil_store_heap(store);
  veil_thread *self = veil_attach(heap);
  all = veil_root_get(self, "all");
  EXPECT(all != NULL);
  check_all();
  all = NULL;
  veil_detach(self);
  EXPECT(veil_store_close(store) == VEIL_OK);
}

static void heap_close(veil_thread *self) {
  if (store == NULL) {
    veil_checkpointer_close(saver);
    veil_remove_roots(heap, &all);
    veil_detach(self);
    veil_close(heap);
  } else {
    EXPECT(veil_store_commit(store, NULL) == VEIL_OK);
    veil_remove_roots(heap, &all);
    veil_detach(self);
    EXPECT(veil_store_close(store) == VEIL_OK);
    reopened();
    unlink(log_path);
  }
  unlink(path);
}

int main(int argc, char **argv) {
  seed = seed_choose();
  random_state random = {seed};
  if (!heap_open(&random, argc > 1 ? argv[1] : NULL)) {
    fprintf(stderr, "%s\n", veil_error());
    return 77;
  }
  veil_thread *self = veil_attach(heap);
  records_make(self, &random);
  if (store == NULL) {
    saver = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = path});
    EXPECT(saver != NULL);
  }
  pthread_t threads[THREADS];
  for (uintptr_t t = 0; t < THREADS; t++) {
    EXPECT(pthread_create(&threads[t], NULL, changer, (void *)t) == 0);
  }
  disturb(self, &random, argc > 2 ? (unsigned)atoi(argv[2]) : 3);
  __atomic_store_n(&ends, 1, __ATOMIC_RELEASE);
  veil_block_begin(self);
  for (unsigned t = 0; t < THREADS; t++) {
    pthread_join(threads[t], NULL);
  }
  veil_block_end(self);
  check_all();
  heap_close(self);
  printf("%s: %llu pages compressed, %llu wanted back, %llu died, %llu saved without being wanted back, %llu instants restored\n", store == NULL ? "saved" : "a store", (unsigned long long)compressed, (unsigned long long)promoted,
         (unsigned long long)discarded, (unsigned long long)copied, (unsigned long long)saves);
  return compressed == 0 || promoted == 0;
}
