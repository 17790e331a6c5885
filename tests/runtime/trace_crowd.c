// SPDX-License-Identifier: MIT
// trace_crowd.c: many threads come and go in two heaps that trace into one file, with tables of callbacks coming and going, too; then the file is
// read. A plain program, for TSan.
//
//   runtime_trace_crowd BACK_END [SECONDS]

#include "tests/runtime/trace_file.h"
#include "veil/events.h"

enum { WORKERS = 4, HEAPS = 2 };

static veil_heap *heap[HEAPS];
static uint64_t brackets[HEAPS], attached[HEAPS], begun, ended;
static int over;

static void *worker(void *which) {
  size_t i = (size_t)which % HEAPS;
  while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
    veil_thread *self = veil_attach(heap[i]);
    EXPECT(self != NULL);
    __atomic_fetch_add(&attached[i], 1, __ATOMIC_RELAXED);
    for (int round = 0; round < 5; round++) {
      node *volatile list = list_make(self, 500);
      if (round == 2) {
        veil_collect_start(self);
      }
      list_check(list);
      veil_block_begin(self);
      sched_yield();
      veil_block_end(self);
      __atomic_fetch_add(&brackets[i], 1, __ATOMIC_RELAXED);
    }
    veil_detach(self);
  }
  return NULL;
}

// New threads, each with a track of its own.
static void *starter(void *which) {
  while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
    size_t i = (size_t)which % HEAPS;
    pthread_t thread;
    veil_thread *self = veil_attach(heap[i]);
    EXPECT(self != NULL);
    __atomic_fetch_add(&attached[i], 1, __ATOMIC_RELAXED);
    veil_detach(self);
    EXPECT(pthread_create(&thread, NULL, (void *(*)(void *))worker, which) == 0);
    sleep_ms(20);
    pthread_join(thread, NULL);
  }
  return NULL;
}

static void on_begin(void *arg) { __atomic_fetch_add(&begun, 1, __ATOMIC_RELAXED); }
static void on_end(void *arg, uint64_t ns) {
  __atomic_fetch_add(&ended, 1, __ATOMIC_RELAXED);
  EXPECT(__atomic_load_n((int *)arg, __ATOMIC_RELAXED) == 1);
}

static void tables_swap(void) {
  static const veil_events table = {.stop_begin = on_begin, .stop_end = on_end, .blocked_begin = on_begin, .blocked_end = on_end};
  for (int i = 0; i < HEAPS; i++) {
    int *alive = malloc(sizeof *alive);
    *alive = 1;
    veil_set_events(heap[i], &table, alive);
    sleep_ms(5);
    veil_set_events(heap[i], NULL, NULL);
    *alive = 0; // a race, if somebody came too late
    free(alive);
  }
}

int main(int argc, char **argv) {
  if (argc < 2) {
    return 2;
  }
  long seconds = argc > 2 ? atol(argv[2]) : 3;
  char path[64];
  snprintf(path, sizeof path, "/tmp/veil-trace-crowd-%s-%d.json", argv[1], (int)getpid());
  for (int i = 0; i < HEAPS; i++) {
    heap[i] = heap_open((veil_options){.back_end = argv[1], .scanners = 2, .trace = path});
    if (heap[i] == NULL) {
      return 77;
    }
  }
  pthread_t thread[2 * WORKERS];
  for (uintptr_t i = 0; i < WORKERS; i++) {
    thread[i] = thread_start(worker, (void *)i);
    thread[WORKERS + i] = thread_start(starter, (void *)i);
  }
  time_t last = time(NULL) + seconds;
  while (time(NULL) < last || __atomic_load_n(&ended, __ATOMIC_RELAXED) == 0) { // longer on a busy machine
    tables_swap();
  }
  __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
  for (int i = 0; i < 2 * WORKERS; i++) {
    pthread_join(thread[i], NULL);
  }
  EXPECT(ended <= begun);
  veil_stats stats[HEAPS];
  for (int i = 0; i < HEAPS; i++) {
    stats[i] = stats_of(heap[i]);
    veil_close(heap[i]);
  }
  trace t = trace_read_whole(path);
  size_t dropped = (size_t)trace_sum(&t, "dropped", 0);
  printf("%zu events, %zu dropped, %llu threads\n", t.count, dropped, (unsigned long long)(stats[0].threads_attached + stats[1].threads_attached));
  for (int i = 0; i < HEAPS; i++) {
    long pid = i + 1;
    EXPECT(stats[i].major_cycles > 0 && stats[i].threads_attached == attached[i]);
    EXPECT(trace_count(&t, "flip", pid) == stats[i].major_cycles);
    EXPECT(trace_count(&t, "stop", pid) == stats[i].stops);
    EXPECT(trace_count(&t, "attached", pid) == attached[i] && trace_count(&t, "detached", pid) == attached[i]);
    EXPECT(trace_count(&t, "trap", pid) <= stats[i].traps && trace_count(&t, "trap", pid) + dropped >= stats[i].traps);
    EXPECT(trace_count(&t, "blocked", pid) <= brackets[i] && trace_count(&t, "blocked", pid) + dropped >= brackets[i]);
  }
  trace_free(&t);
  unlink(path);
  return 0;
}
