// SPDX-License-Identifier: MIT
// races.c: short rounds in which a few writes, harvests, veils and scans race on a few pages; after each round all that
// was written must have been told. In a long storm a write that is lost is soon hidden by the next one to its page. A
// plain program:
//
//   vm_races [back end] [seconds] [one in]     VEIL_SEED=n repeats a run's choices

#include "vm_test.h"

#include <pthread.h>

enum { PAGES = 12, WRITERS = 3, CONSUMERS = 2, LAYERS = 2, THREADS = WRITERS + CONSUMERS + LAYERS };

static struct world w;
static pthread_barrier_t barrier;
static uint32_t volatile stop;
static uint64_t seed;

struct consumer {
  int number;
  long seen[PAGES];
};
static struct consumer consumers[CONSUMERS];

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static long written(size_t page) {
  long sum = 0;
  for (int i = 0; i < WRITERS; i++) {
    sum += (long)at_load_acquire((AO_t volatile *)&alias_word(&w, page)[i]);
  }
  return sum;
}

static void see(void *arg, size_t page) { ((struct consumer *)arg)->seen[page] = written(page); }

static void spin(uint64_t *state) {
  for (uint64_t n = next_random(state) % 2000; n > 0; n--) {
    at_pause();
  }
}

static void write_some(size_t self, uint64_t *state) {
  for (uint64_t n = next_random(state) % 4; n > 0; n--) {
    spin(state);
    view_word(&w, next_random(state) % PAGES)[self]++;
  }
}

static void harvest_some(struct consumer *consumer, uint64_t *state) {
  for (uint64_t n = next_random(state) % 3; n > 0; n--) {
    spin(state);
    size_t page = next_random(state) % PAGES, limit = page + 1 + next_random(state) % (PAGES - page);
    long before[PAGES];
    for (size_t i = page; i < limit; i++) {
      before[i] = written(i);
    }
    vm_dirty(w.region, consumer->number, page, limit - page, see, consumer);
    for (size_t i = page; i < limit; i++) {
      if (consumer->seen[i] < before[i]) {
        vm_fatal("consumer %d was not told in time of a write to page %zu: word %x", consumer->number, i,
                 w.region->word[i]);
      }
    }
  }
}

static void lay_some(uint64_t *state) {
  for (uint64_t n = next_random(state) % 3; n > 0; n--) {
    spin(state);
    size_t page = next_random(state) % PAGES;
    switch (next_random(state) % 4) {
    case 0:
      vm_settle(w.region, page, VM_UNSCANNED, false, true);
      break;
    case 1:
      if (vm_take(w.region, page, VM_UNSCANNED)) {
        vm_settled(w.region, page, VM_UNSCANNED);
        spin(state);
        vm_give(w.region, page, 1);
      }
      break;
    default:
      vm_prot(w.region, page, 1, next_random(state) % 4 ? VM_UNSCANNED : VM_UNSAVED, 0);
    }
  }
}

static void *play(void *arg) {
  size_t self = (size_t)arg;
  uint64_t state = seed * 31 + self + 1;
  for (;;) {
    pthread_barrier_wait(&barrier);
    if (at32_load_acquire(&stop)) {
      return NULL;
    }
    if (self < WRITERS) {
      write_some(self, &state);
    } else if (self < WRITERS + CONSUMERS) {
      harvest_some(&consumers[self - WRITERS], &state);
    } else {
      lay_some(&state);
    }
    pthread_barrier_wait(&barrier);
  }
}

int main(int argc, char **argv) {
  const char *back_end = argc > 1 ? argv[1] : "mprotect", *given = getenv("VEIL_SEED");
  uint64_t seconds = argc > 2 ? (uint64_t)atoi(argv[2]) : 3;
  if (!back_end_works(back_end)) {
    return 77;
  }
  seed = given != NULL ? strtoul(given, NULL, 0) : vm_now() | 1;
  printf("VEIL_SEED=%lu %s\n", seed, back_end);
  fflush(stdout);
  world_open(&w, back_end);
  EXPECT(vm_commit(w.region, 0, PAGES));
  for (int i = 0; i < CONSUMERS; i++) {
    consumers[i].number = vm_dirty_open(w.region);
  }
#ifdef VEIL_FULL_CHECKS
  os_torture(argc > 3 ? (unsigned)atoi(argv[3]) : 0, (unsigned)seed);
#endif
  pthread_barrier_init(&barrier, NULL, THREADS + 1);
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, play, (void *)i);
  }
  uint64_t rounds = 0;
  for (uint64_t end = vm_now() + seconds * 1000000000u; vm_now() < end; rounds++) {
    pthread_barrier_wait(&barrier); // they play
    pthread_barrier_wait(&barrier);
    for (int c = 0; c < CONSUMERS; c++) {
      vm_dirty(w.region, consumers[c].number, 0, PAGES, see, &consumers[c]);
      for (size_t i = 0; i < PAGES; i++) {
        if (consumers[c].seen[i] != written(i)) {
          vm_fatal("consumer %d was not told of a write to page %zu in round %lu: word %x", c, i, rounds,
                   w.region->word[i]);
        }
      }
    }
  }
  at32_store_release(&stop, 1);
  pthread_barrier_wait(&barrier);
  for (size_t i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  printf("%lu rounds, %lu traps\n", rounds, world_traps(&w));
  world_close(&w);
  return 0;
}
