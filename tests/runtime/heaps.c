// SPDX-License-Identifier: MIT
// heaps.c: threads attached to two heaps at once, cycles in both, stops of both: nothing waits in a circle, and each finds its own roots. A plain
// program, for TSan too.
//
//   runtime_heaps BACK_END BACK_END signal|poll signal|poll [SECONDS]

#include "tests/runtime/test.h"
#include <signal.h>

enum { WORKERS = 3 };

static veil_heap *heap[2];
static int volatile over;
static long volatile rounds;
static node *shared[2]; // precise roots, one per heap

static uint64_t random_next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state >> 16;
}

static void *worker(void *seed) {
  uint64_t random = (uint64_t)seed * 0x9e3779b97f4a7c15ull + 1;
  veil_thread *self[2];
  for (int i = 0; i < 2; i++) {
    EXPECT((self[i] = veil_attach(heap[i])) != NULL);
  }
  node *slots[2] = {NULL, NULL};
  node *list[2] = {list_make(self[0], 50), list_make(self[1], 70)};
  for (int i = 0; i < 2; i++) {
    EXPECT(veil_add_roots(heap[i], &slots[i], 1) == VEIL_OK);
    slots[i] = list_make(self[i], 90);
  }
  while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
    int i = (int)(random_next(&random) % 2);
    switch (random_next(&random) % 64) {
    case 0:
      veil_collect(self[i]);
      break;
    case 1:
    case 2:
      veil_collect_start(self[i]);
      break;
    case 3: // come and go in one, while the other may stop us
      veil_remove_roots(heap[i], &slots[i]);
      list[i] = slots[i] = NULL;
      veil_detach(self[i]);
      EXPECT((self[i] = veil_attach(heap[i])) != NULL);
      list[i] = list_make(self[i], i == 0 ? 50 : 70);
      EXPECT(veil_add_roots(heap[i], &slots[i], 1) == VEIL_OK);
      slots[i] = list_make(self[i], 90);
      break;
    case 4: // in brackets for one, a mutator of the other
      veil_block_begin(self[i]);
      EXPECT(list_check(list_make(self[1 - i], 20)) == 20);
      veil_collect_start(self[1 - i]);
      veil_block_end(self[i]);
      break;
    case 5:
      if (random_next(&random) % 16 == 0) {
        veil_verify(self[i]);
      }
      break;
    case 6: {
      char *bytes = veil_new_bytes(self[i], 3000);
      EXPECT(veil_touch(self[i], bytes, 100, true) == VEIL_OK);
      veil_collect_start(self[1 - i]);
      bytes[99] = 1;
      veil_untouch(self[i], bytes);
      break;
    }
    default:
      EXPECT(list_check(list_make(self[i], 30)) == 30);
    }
    EXPECT(list_check(list[0]) == 50 && list_check(list[1]) == 70);
    EXPECT(list_check(slots[0]) == 90 && list_check(slots[1]) == 90);
    EXPECT(list_check(shared[i]) == 200);
    veil_poll(self[0]);
    veil_poll(self[1]);
    __atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED);
  }
  for (int i = 0; i < 2; i++) {
    veil_remove_roots(heap[i], &slots[i]);
  }
  if ((uintptr_t)seed % 2) { // the others just end
    veil_detach(self[0]);
    veil_detach(self[1]);
  }
  return NULL;
}

static void run(char **argv, long seconds, int signo) {
  for (int i = 0; i < 2; i++) {
    heap[i] = heap_open((veil_options){.back_end = argv[1 + i],
                                       .stop = strcmp(argv[3 + i], "poll") == 0 ? VEIL_STOP_POLL : VEIL_STOP_SIGNAL,
                                       .stop_signal = i == 1 ? signo : 0,
                                       .verify = 1});
    if (heap[i] == NULL) {
      exit(77);
    }
  }
  over = 0;
  rounds = 0;
  veil_thread *self[2];
  for (int i = 0; i < 2; i++) {
    self[i] = veil_attach(heap[i]);
    EXPECT(veil_add_roots(heap[i], &shared[i], 1) == VEIL_OK);
    shared[i] = list_make(self[i], 200);
  }
  pthread_t thread[WORKERS];
  for (uintptr_t i = 0; i < WORKERS; i++) {
    thread[i] = thread_start(worker, (void *)(i + 1));
  }
  time_t end = time(NULL) + seconds;
  while (time(NULL) < end || stats_of(heap[0]).major_cycles <= 3 || stats_of(heap[1]).major_cycles <= 3) {
    veil_block_begin(self[0]);
    veil_block_begin(self[1]);
    sleep_ms(20);
    veil_block_end(self[0]);
    veil_block_end(self[1]);
    veil_collect_start(self[1]);
  }
  __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
  veil_block_begin(self[0]);
  veil_block_begin(self[1]);
  for (int i = 0; i < WORKERS; i++) {
    pthread_join(thread[i], NULL);
  }
  veil_block_end(self[1]);
  veil_block_end(self[0]);
  for (int i = 0; i < 2; i++) {
    veil_collect(self[i]);
    EXPECT(list_check(shared[i]) == 200);
    EXPECT(stats_of(heap[i]).threads == 1);
  }
  printf("%ld rounds, %lu and %lu cycles\n", (long)rounds, (unsigned long)stats_of(heap[0]).major_cycles,
         (unsigned long)stats_of(heap[1]).major_cycles);
  for (int i = 0; i < 2; i++) {
    veil_remove_roots(heap[i], &shared[i]);
    veil_detach(self[i]);
    veil_close(heap[i]);
  }
}

int main(int argc, char **argv) {
  if (argc < 5) {
    return 2;
  }
  long seconds = argc > 5 ? atol(argv[5]) : 4;
  run(argv, (seconds + 1) / 2, 0);
  run(argv, seconds / 2, SIGRTMIN + 7); // opened again, each with a signal of its own
  return 0;
}
