// SPDX-License-Identifier: MIT
// callers.c: threads that come in for callbacks, threads that are started with an object and joined, and slots of threads, all at once, while cycles run. A
// plain program, for TSan too.
//
//   runtime_callers BACK_END signal|poll [SECONDS]

#include "tests/runtime/test.h"
#include "veil/start.h"

enum { CALLERS = 3 };

static veil_heap *heap;
static int volatile over;
static long volatile calls;
static _Thread_local node *mine;

static bool is_over(void) { return __atomic_load_n(&over, __ATOMIC_RELAXED); }

static void *calls_back(void *unused) {
  while (!is_over()) {
    veil_thread *self = veil_enter(heap);
    EXPECT(self != NULL);
    EXPECT(veil_add_thread_roots(self, &mine, 1) == VEIL_OK);
    mine = list_make(self, 30);
    EXPECT((void *)veil_enter(heap) == (void *)self);
    veil_poll(self);
    veil_leave(self);
    EXPECT(list_check(mine) == 30);
    veil_block_begin(self);
    veil_thread *again = veil_enter(heap);
    EXPECT(list_check(list_make(again, 10)) == 10);
    veil_leave(again);
    veil_block_end(self);
    mine = NULL;
    veil_leave(self); // the slots go with it
    __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
  }
  return NULL;
}

static void *halves(veil_thread *self, void *object) {
  long length = list_check(object);
  if (length > 4) {
    pthread_t thread;
    void *result;
    EXPECT(veil_thread_start(self, &thread, NULL, halves, list_make(self, length / 2)) == VEIL_OK);
    EXPECT(veil_thread_join(self, thread, &result) == VEIL_OK);
    EXPECT(list_check(result) == length / 2);
  }
  return object;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    return 2;
  }
  long seconds = argc > 3 ? atol(argv[3]) : 3;
  heap = heap_open((veil_options){.back_end = argv[1],
                                  .stop = strcmp(argv[2], "poll") == 0 ? VEIL_STOP_POLL : VEIL_STOP_SIGNAL,
                                  .scanners = 2,
                                  .verify = 1});
  if (heap == NULL) {
    return 77;
  }
  veil_thread *self = veil_attach(heap);
  pthread_t thread[CALLERS];
  for (int i = 0; i < CALLERS; i++) {
    thread[i] = thread_start(calls_back, NULL);
  }
  time_t end = time(NULL) + seconds;
  for (long round = 0; time(NULL) < end || stats_of(heap).major_cycles <= 3; round++) {
    pthread_t half;
    void *result;
    EXPECT(veil_thread_start(self, &half, NULL, halves, list_make(self, 32)) == VEIL_OK);
    if (round % 4 == 0) {
      veil_collect_start(self);
    }
    EXPECT(veil_thread_join(self, half, &result) == VEIL_OK);
    EXPECT(list_check(result) == 32);
  }
  __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
  veil_block_begin(self);
  for (int i = 0; i < CALLERS; i++) {
    pthread_join(thread[i], NULL);
  }
  veil_block_end(self);
  printf("%ld calls, %lu cycles\n", (long)calls, (unsigned long)stats_of(heap).major_cycles);
  EXPECT(stats_of(heap).threads == 1);
  veil_detach(self);
  veil_close(heap);
  return 0;
}
