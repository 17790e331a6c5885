// SPDX-License-Identifier: MIT
// storm.c: random claims, scanners, harvesters and mutators on the same pages for some seconds. A plain program:
//
//   vm_storm [back end] [seconds] [one in]     VEIL_SEED=n repeats a run's choices
//
// With `one in`, and full checks, threads give way at one in that many of the points where another could come between.
//
// What is checked, with the invariant that it would break:
// - a mutator never sees a page grey: grey is written while the page is held under UNSCANNED (vm.derive),
// - nothing is written to a page between a snapshot under UNSAVED and its settling (vm.derive),
// - UNSCANNED is settled exactly as often as it is laid (vm.word),
// - after a pause of the writers each consumer of Dirty has seen each page's last contents (vm.dirty),
// - and whoever asks for idle pages was told of each that a mutator has touched (vm.idle),
// - memory that is committed again is zero, and still veiled when it was veiled.

#include "vm_test.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { PAGES = 512, SHARED = 448, MUTATORS = 4, CONSUMERS = 2 };

// What the first words of each page are.
enum { GREY, SNAPSHOT, SAVING, COUNT }; // COUNT + i: mutator i's

static struct world world;
static vm_region *region;
static pthread_rwlock_t writers = PTHREAD_RWLOCK_INITIALIZER; // held for writing: no mutator writes
static pthread_mutex_t laying = PTHREAD_MUTEX_INITIALIZER;    // one layer at a time: the model, not vm, needs it
static uint32_t volatile stop;
static AO_t laid_total, taken_total, accesses;
static uint32_t volatile touches[SHARED]; // by mutators, of each page
static uint64_t seed;

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static long load(long volatile *p) { return (long)at_load_acquire((AO_t volatile *)p); }
static void store(long volatile *p, long v) { at_store_release((AO_t volatile *)p, (uint64_t)v); }

// A mutator's plain load and store. Not atomic: TSan holds locks of its own over an atomic access, and would meet them
// again in the handler.
static long see_word(size_t page, size_t i) { return view_word(&world, page)[i]; }
static void put_word(size_t page, size_t i, long v) { view_word(&world, page)[i] = v; }

static long written(size_t page) {
  long sum = 0;
  for (int i = 0; i < MUTATORS; i++) {
    sum += load(alias_word(&world, page) + COUNT + i);
  }
  return sum;
}

static void settle(struct world *w, size_t page, unsigned claim, bool write) {
  long volatile *word = alias_word(w, page);
  if (claim == VM_UNSCANNED) {
    store(&word[GREY], 0);
  } else if (claim == VM_UNSAVED && load(&word[SAVING]) != 0) {
    EXPECT(load(&word[SNAPSHOT]) == written(page)); // written under UNSAVED
    store(&word[SAVING], 0);
  }
}

static void *mutate(void *arg) {
  size_t self = (size_t)arg;
  uint64_t state = seed * 31 + self + 1;
  while (!at32_load(&stop)) {
    pthread_rwlock_rdlock(&writers);
    for (int i = 0; i < 32; i++) {
      size_t page = next_random(&state) % SHARED;
      EXPECT(!region->traps || see_word(page, GREY) == 0);
      at32_add(&touches[page], 1);
      if (next_random(&state) % 2 == 0) {
        put_word(page, COUNT + self, see_word(page, COUNT + self) + 1);
      }
    }
    at_add(&accesses, 32);
    pthread_rwlock_unlock(&writers);
  }
  return NULL;
}

// Lays claims on random runs, and writes into pages what no mutator may see before they are settled.
static void *lay(void *arg) {
  uint64_t state = seed * 37 + (size_t)arg;
  while (!at32_load(&stop)) {
    size_t count = 1 + next_random(&state) % 20, page = next_random(&state) % (SHARED - count);
    unsigned claim = 1u << next_random(&state) % 3;
    uint8_t stamp = (uint8_t)(next_random(&state) % 3 == 0 ? 1 + next_random(&state) % 255 : 0);
    pthread_mutex_lock(&laying);
    size_t laid = vm_prot(region, page, count, claim, stamp);
    EXPECT(laid <= count);
    if (claim == VM_UNSCANNED) {
      at_add_full(&laid_total, laid);
    }
    for (size_t i = page; region->traps && i < page + count; i++) {
      if (claim == VM_ABSENT || !vm_take(region, i, claim)) {
        continue;
      }
      if (claim == VM_UNSCANNED) {
        store(&alias_word(&world, i)[GREY], 1);
      } else {
        store(&alias_word(&world, i)[SNAPSHOT], written(i));
        store(&alias_word(&world, i)[SAVING], 1);
      }
      vm_give(region, i, 1); // with the claim still on it
    }
    pthread_mutex_unlock(&laying);
    if (next_random(&state) % 8 == 0) {
      vm_unprot(region, page, count, VM_ABSENT);
    }
    if (next_random(&state) % 4 == 0) {
      usleep(200);
    }
  }
  return NULL;
}

static void *scan(void *arg) {
  uint64_t state = seed * 41 + (size_t)arg;
  while (!at32_load(&stop)) {
    size_t page = next_random(&state) % (SHARED - 16), held = 0;
    switch (next_random(&state) % 4) {
    case 0:
      vm_open(region, page, 16);
      break;
    case 1:
      vm_settle(region, page, (unsigned)(next_random(&state) % 16), next_random(&state) % 2, next_random(&state) % 2);
      break;
    default:
      for (; held < 16 && vm_take(region, page + held, VM_UNSCANNED); held++) {
        settle(&world, page + held, VM_UNSCANNED, false);
        vm_settled(region, page + held, VM_UNSCANNED);
        at_add_full(&taken_total, 1);
      }
      vm_give(region, page, held);
    }
    if (next_random(&state) % 4 == 0) {
      usleep(50);
    }
  }
  return NULL;
}

struct consumer {
  int number;
  long seen[SHARED];
};

static void see(void *arg, size_t page) {
  struct consumer *consumer = arg;
  consumer->seen[page] = written(page);
}

static void *harvest(void *arg) {
  static struct consumer consumers[CONSUMERS];
  struct consumer *consumer = &consumers[(size_t)arg];
  uint64_t state = seed * 43 + (size_t)arg;
  consumer->number = vm_dirty_open(region);
  EXPECT(consumer->number >= 0);
  while (!at32_load(&stop)) {
    size_t page = next_random(&state) % SHARED, count = 1 + next_random(&state) % (SHARED - page);
    vm_dirty(region, consumer->number, page, count, see, consumer);
    if (next_random(&state) % 8 == 0) {
      pthread_rwlock_wrlock(&writers);
      vm_dirty(region, consumer->number, 0, SHARED, see, consumer);
      for (size_t i = 0; i < SHARED; i++) {
        EXPECT(consumer->seen[i] == written(i)); // a write was lost
      }
      pthread_rwlock_unlock(&writers);
    }
    if (next_random(&state) % 64 == 0) {
      vm_dirty_close(region, consumer->number);
      usleep(1000);
      consumer->number = vm_dirty_open(region);
      EXPECT(consumer->number >= 0);
    }
    usleep(300);
  }
  return NULL;
}

static void tell(void *arg, size_t page) { ((bool *)arg)[page] = true; }

// Asks what was touched.
static void *sample(void *arg) {
  static bool told[SHARED];
  static uint32_t known[SHARED];
  uint64_t state = seed * 53;
  while (!at32_load(&stop)) {
    size_t page = next_random(&state) % SHARED;
    vm_idle(region, page, 1 + next_random(&state) % (SHARED - page), NULL, tell, told);
    if (next_random(&state) % 8 == 0) {
      pthread_rwlock_wrlock(&writers);
      vm_idle(region, 0, SHARED, NULL, tell, told);
      for (size_t i = 0; i < SHARED; i++) {
        EXPECT(told[i] || touches[i] == known[i]);
        told[i] = false;
        known[i] = touches[i];
      }
      pthread_rwlock_unlock(&writers);
    }
    usleep(1000);
  }
  return NULL;
}

// Gives memory back and takes it again, in pages of its own.
static void *recycle(void *arg) {
  uint64_t state = seed * 47;
  while (!at32_load(&stop)) {
    size_t count = 1 + next_random(&state) % 16, page = SHARED + next_random(&state) % (PAGES - SHARED - count);
    vm_release(region, page, count);
    EXPECT(vm_commit(region, page, count));
    bool veil = next_random(&state) % 2;
    if (veil) {
      at_add_full(&laid_total, vm_prot(region, page, count, VM_UNSCANNED, 0));
    } else if (next_random(&state) % 2) {
      vm_open(region, page, count);
    }
    for (size_t i = page; i < page + count; i++) {
      EXPECT(see_word(i, 0) == 0);
      EXPECT(!region->traps || !(vm_claims(region, i) & VM_UNSCANNED));
      put_word(i, 0, 1);
      if (!region->traps) {
        at_add_full(&taken_total, vm_claims(region, i) & VM_UNSCANNED ? 1 : 0);
      }
    }
  }
  return NULL;
}

int main(int argc, char **argv) {
  const char *back_end = argc > 1 ? argv[1] : "auto", *given = getenv("VEIL_SEED");
  unsigned seconds = argc > 2 ? (unsigned)atoi(argv[2]) : 3;
  seed = given != NULL ? strtoul(given, NULL, 0) : vm_now() | 1;
  printf("VEIL_SEED=%lu %s\n", seed, back_end);
  fflush(stdout);
  world_open(&world, back_end);
#ifdef VEIL_FULL_CHECKS
  os_torture(argc > 3 ? (unsigned)atoi(argv[3]) : 0, (unsigned)seed);
#endif
  world.also = settle;
  region = world.region;
  EXPECT(vm_commit(region, 0, PAGES));

  pthread_t threads[16];
  size_t n = 0;
  for (size_t i = 0; i < MUTATORS; i++) {
    pthread_create(&threads[n++], NULL, mutate, (void *)i);
  }
  for (size_t i = 0; i < 2; i++) {
    pthread_create(&threads[n++], NULL, lay, (void *)(i + 1));
    pthread_create(&threads[n++], NULL, scan, (void *)(i + 1));
  }
  for (size_t i = 0; i < CONSUMERS; i++) {
    pthread_create(&threads[n++], NULL, harvest, (void *)i);
  }
  pthread_create(&threads[n++], NULL, recycle, NULL);
  pthread_create(&threads[n++], NULL, sample, NULL);
  sleep(seconds);
  at32_store_release(&stop, 1);
#ifdef VEIL_FULL_CHECKS
  os_torture(0, 0);
#endif
  for (size_t i = 0; i < n; i++) {
    pthread_join(threads[i], NULL);
  }
  uint64_t left = 0;
  for (size_t i = 0; i < PAGES; i++) {
    left += (vm_claims(region, i) & VM_UNSCANNED) != 0 && (i < SHARED || region->traps);
    EXPECT(!(at32_load(&region->word[i]) & (VM_BUSY | VM_SETTLED | VM_HELPERS | VM_LAYING)));
  }
  uint64_t settled = world.settled[__builtin_ctz(VM_UNSCANNED)] + at_load(&taken_total);
  printf("laid %lu, settled %lu (%lu by scanners), left %lu, accesses %lu, traps %lu\n", at_load(&laid_total), settled,
         at_load(&taken_total), left, at_load(&accesses), world_traps(&world));
  EXPECT(at_load(&laid_total) == settled + left);
  world_close(&world);
  return 0;
}
