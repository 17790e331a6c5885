// SPDX-License-Identifier: MIT
// crowd.c: many threads do all at once what a program may do: allocate, share, block, collect, come and go. A plain
// program, for TSan too.
//
//   runtime_crowd BACK_END signal|poll [SECONDS]

#include "tests/runtime/test.h"
#include "veil/dump.h"

enum { WORKERS = 4, TABLE = 512 };

static veil_heap *heap;
static void **table;      // shared: each slot a list, written by plain stores
static int volatile over;
static pthread_mutex_t slot_lock[TABLE]; // what the program shares it synchronizes, as always
static long volatile rounds;

static uint64_t random_next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state >> 16;
}

// Locks without making a stop wait for us.
static void slot_enter(veil_thread *self, size_t slot) {
  if (pthread_mutex_trylock(&slot_lock[slot]) != 0) {
    veil_block_begin(self);
    pthread_mutex_lock(&slot_lock[slot]);
    veil_block_end(self);
  }
}

static void *worker(void *seed) {
  uint64_t random = (uint64_t)seed * 0x9e3779b97f4a7c15ull + 1;
  veil_thread *self = veil_attach(heap);
  EXPECT(self != NULL);
  while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
    size_t slot = random_next(&random) % TABLE;
    switch (random_next(&random) % 16) {
    case 0: // come and go
      veil_detach(self);
      self = veil_attach(heap);
      EXPECT(self != NULL);
      break;
    case 1:
      if (random_next(&random) % 64 == 0) {
        veil_collect_start(self);
      }
      break;
    case 2:
      if (random_next(&random) % 512 == 0) {
        veil_collect(self);
      }
      break;
    case 3:
      veil_block_begin(self);
      sched_yield();
      veil_block_end(self);
      break;
    case 4: {
      size_t length = random_next(&random) % 20000;
      char *bytes = veil_new_bytes(self, length + 1);
      EXPECT(bytes[0] == 0 && bytes[length] == 0);
      bytes[0] = bytes[length] = 1;
      break;
    }
    case 5:
    case 6:
    case 7: {
      node *list = list_make(self, (long)(random_next(&random) % 60));
      slot_enter(self, slot);
      table[slot] = list;
      pthread_mutex_unlock(&slot_lock[slot]);
      break;
    }
    default:
      slot_enter(self, slot);
      list_check(table[slot]);
      pthread_mutex_unlock(&slot_lock[slot]);
    }
    veil_poll(self);
    __atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED);
  }
  if ((uintptr_t)seed % 2) {
    veil_detach(self); // the others just end
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    return 2;
  }
  long seconds = argc > 3 ? atol(argv[3]) : 4;
  veil_options options = {.back_end = argv[1],
                          .stop = strcmp(argv[2], "poll") == 0 ? VEIL_STOP_POLL : VEIL_STOP_SIGNAL,
                          .limit = 32 * MIB,
                          .scanners = 2,
                          .verify = 1};
  heap = heap_open(options);
  if (heap == NULL) {
    return 77;
  }
  veil_thread *self = veil_attach(heap);
  EXPECT(veil_add_roots(heap, &table, 1) == VEIL_OK);
  table = veil_new_pointers(self, TABLE);
  for (size_t i = 0; i < TABLE; i++) {
    pthread_mutex_init(&slot_lock[i], NULL);
  }
  pthread_t thread[WORKERS];
  for (uintptr_t i = 0; i < WORKERS; i++) {
    thread[i] = thread_start(worker, (void *)(i + 1));
  }
  time_t end = time(NULL) + seconds;
  unsigned dumps = 0;
  while (time(NULL) < end || stats_of(heap).major_cycles <= 3) { // longer on a busy machine
    for (size_t i = 0; i < TABLE; i++) {
      slot_enter(self, i);
      list_check(table[i]);
      pthread_mutex_unlock(&slot_lock[i]);
    }
    veil_block_begin(self);
    sleep_ms(20);
    veil_block_end(self);
    veil_collect_start(self);
    if (++dumps % 8 == 0) {
      EXPECT(veil_heap_dump(self, "/dev/null", VEIL_DUMP_AS_IS) == VEIL_OK); // in that cycle
    }
  }
  __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
  for (int i = 0; i < WORKERS; i++) {
    veil_block_begin(self);
    pthread_join(thread[i], NULL);
    veil_block_end(self);
  }
  veil_collect(self);
  veil_stats stats = stats_of(heap);
  printf("%ld rounds, %lu cycles, %lu traps\n", (long)rounds, (unsigned long)stats.major_cycles, (unsigned long)stats.traps);
  EXPECT(stats.threads == 1);
  veil_remove_roots(heap, &table);
  veil_detach(self);
  veil_close(heap);
  return 0;
}
