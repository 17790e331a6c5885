// SPDX-License-Identifier: MIT
// rest_races.c: short rounds in which writes, touches, harvests, veils and releases race with stretches that are laid to
// rest and woken; after each round all that was written must have been told. A plain program:
//
//   vm_rest_races [back end] [seconds] [one in]     VEIL_SEED=n repeats a run's choices
//
// Chunks are due after one round without a write, so that they are laid and woken all the time.

#include "vm_test.h"
#include "vm/backend.h"

#include <pthread.h>
#include <unistd.h>

enum {
  STRETCHES = 5,
  EACH = 3,
  VEILED = 1, // of EACH, the one that is veiled, but never touched by a system call
  PAGES = STRETCHES * EACH,
  STRETCH = VM_STRETCH / 4096,
  OTHERS = STRETCH / 2 - 5, // places for three pages that nobody writes, before the one in the middle
};
enum { WRITERS = 2, SYSTEM = WRITERS, WORDS, CONSUMERS = 2, LAYERS = 1, THREADS = WORDS + CONSUMERS + LAYERS + 1 };

static struct world w;
static pthread_barrier_t barrier;
static uint32_t volatile stop;
static uint64_t seed;
static AO_t in_use; // a page and 1

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

// The i-th of the pages that are written: some of each stretch, its first and its last among them.
static size_t page_at(size_t i) { return i / EACH * STRETCH + i % EACH * (STRETCH - 1) / (EACH - 1); }

static long written(size_t i) {
  long sum = 0;
  for (int j = 0; j < WORDS; j++) {
    sum += (long)at_load_acquire((AO_t volatile *)&alias_word(&w, page_at(i))[j]);
  }
  return sum;
}

static void see(void *arg, size_t page) {
  for (size_t i = 0; i < PAGES; i++) {
    if (page_at(i) == page) {
      ((struct consumer *)arg)->seen[i] = written(i);
    }
  }
}

static bool touched(void *arg, size_t page) { return at_load_acquire(&in_use) == page + 1; }

static void spin(uint64_t *state) {
  for (uint64_t n = next_random(state) % 3000; n > 0; n--) {
    at_pause();
  }
}

static void write_some(size_t self, uint64_t *state) {
  for (uint64_t n = next_random(state) % 3; n > 0; n--) {
    spin(state);
    view_word(&w, page_at(next_random(state) % PAGES))[self]++;
  }
}

// A system call that writes a page between a touch and its end.
static void touch_some(uint64_t *state, const int *pipes) {
  if (next_random(state) % 2) {
    return;
  }
  spin(state);
  size_t i = next_random(state) % PAGES, page = page_at(i % EACH == VEILED ? i + 1 : i);
  at_store_release(&in_use, page + 1);
  vm_settle(w.region, page, VM_CLAIMS, true, true);
  spin(state);
  long news = (long)at_load((AO_t volatile *)&alias_word(&w, page)[SYSTEM]) + 1;
  EXPECT(write(pipes[1], &news, sizeof news) == sizeof news);
  EXPECT(read(pipes[0], (void *)(uintptr_t)&view_word(&w, page)[SYSTEM], sizeof news) == sizeof news);
  at_store_release(&in_use, 0);
}

static void harvest_some(struct consumer *consumer, uint64_t *state) {
  for (uint64_t n = next_random(state) % 3; n > 0; n--) {
    spin(state);
    bool all = next_random(state) % 2;
    size_t first = all ? 0 : next_random(state) % PAGES,
           last = all ? PAGES - 1 : first + next_random(state) % (PAGES - first);
    long before[PAGES];
    for (size_t i = first; i <= last; i++) {
      before[i] = written(i);
    }
    vm_dirty(w.region, consumer->number, page_at(first), page_at(last) + 1 - page_at(first), see, consumer);
    for (size_t i = first; i <= last; i++) {
      if (consumer->seen[i] < before[i]) {
        vm_fatal("consumer %d was not told in time of a write to page %zu: word %x", consumer->number, page_at(i),
                 w.region->word[page_at(i)]);
      }
    }
  }
}

// Pages of the stretches that nobody writes: they come and go, and are veiled.
static void disturb_some(uint64_t *state) {
  for (uint64_t n = next_random(state) % 2; n > 0; n--) {
    spin(state);
    size_t i = next_random(state) % PAGES, page = page_at(i), other = i / EACH * STRETCH + 1 + next_random(state) % OTHERS;
    switch (next_random(state) % 6) {
    case 0:
      vm_release(w.region, other, 3);
      EXPECT(vm_commit(w.region, other, 3));
      break;
    case 1:
      if (i / EACH + 1 < STRETCHES && next_random(state) % 2) {
        vm_open(w.region, other, STRETCH); // over the seam
      } else {
        vm_open(w.region, other, STRETCH - 2 - OTHERS); // over the one in the middle
      }
      break;
    case 2:
      vm_unprot(w.region, 0, STRETCHES * STRETCH, VM_UNSCANNED);
      break;
    case 3:
      vm_rouse(w.region, page, 1);
      break;
    case 4:
      vm_prot(w.region, other, 3, VM_UNSCANNED, 0);
      break;
    default:
      vm_prot(w.region, page_at(i - i % EACH + VEILED), 1, VM_UNSCANNED, 0);
    }
  }
}

static void *play(void *arg) {
  size_t self = (size_t)arg;
  uint64_t state = seed * 31 + self + 1;
  int pipes[2];
  EXPECT(pipe(pipes) == 0);
  for (;;) {
    pthread_barrier_wait(&barrier);
    if (at32_load_acquire(&stop)) {
      return NULL;
    }
    if (self < WRITERS) {
      write_some(self, &state);
    } else if (self == SYSTEM) {
      touch_some(&state, pipes);
    } else if (self < WORDS + CONSUMERS) {
      harvest_some(&consumers[self - WORDS], &state);
    } else if (self < WORDS + CONSUMERS + LAYERS) {
      for (uint64_t n = next_random(&state) % 4; n > 0; n--) {
        spin(&state);
        vm_rest(w.region);
      }
    } else {
      disturb_some(&state);
    }
    pthread_barrier_wait(&barrier);
  }
}

static void check(uint64_t rounds) {
  for (int c = 0; c < CONSUMERS; c++) {
    vm_dirty(w.region, consumers[c].number, 0, STRETCHES * STRETCH, see, &consumers[c]);
    for (size_t i = 0; i < PAGES; i++) {
      if (consumers[c].seen[i] != written(i)) {
        vm_fatal("consumer %d was not told of a write to page %zu in round %lu: word %x", c, page_at(i), rounds,
                 w.region->word[page_at(i)]);
      }
    }
  }
}

int main(int argc, char **argv) {
  const char *back_end = argc > 1 ? argv[1] : "uffd", *given = getenv("VEIL_SEED");
  uint64_t seconds = argc > 2 ? (uint64_t)atoi(argv[2]) : 3;
  if (!back_end_works(back_end)) {
    return 77;
  }
  seed = given != NULL ? strtoul(given, NULL, 0) : vm_now() | 1;
  printf("VEIL_SEED=%lu %s\n", seed, back_end);
  fflush(stdout);
  world_open(&w, back_end);
  w.region->config.touched = touched;
  EXPECT(vm_commit(w.region, 0, STRETCHES * STRETCH));
  vm_open(w.region, 0, STRETCHES * STRETCH);
  for (int i = 0; i < CONSUMERS; i++) {
    consumers[i].number = vm_dirty_open(w.region);
  }
  if (w.region->rest != NULL) {
    at32_store(&w.region->rest->eager, 1);
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
    check(rounds);
  }
  at32_store_release(&stop, 1);
  pthread_barrier_wait(&barrier);
  for (size_t i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  vm_rest_figures figures;
  vm_rest_figures_get(w.region, &figures);
  printf("%lu rounds, %lu traps, %lu stretches laid, %lu woken\n", rounds, world_traps(&w), figures.laid, figures.woken);
  EXPECT(w.region->rest == NULL || seconds == 0 || (figures.laid > 10 && figures.woken > 10));
  world_close(&w);
  return 0;
}
