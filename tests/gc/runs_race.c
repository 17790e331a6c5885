// SPDX-License-Identifier: MIT
// runs_race.c: several mutators that allocate large objects while a sweeper frees others and memory is given back.
//
//   gc_runs_race BACK_END [SECONDS] [SEED]
//
// Flips happen between rounds, when all threads wait at a barrier: no stops. Each mutator has roots of its own. What it gets has to be zero (or
// raw), is filled, and has to be as it was filled when it is looked at later: so no two objects share memory, and none is cleared or given back in use.

#include <pthread.h>
#include <time.h>
#include "gc/block.h"
#include "tests/gc/fake.h"

enum { MUTATORS = 3, SLOTS = 24, BIRTHS = 20, MIB = 1 << 20 };

static fake *f;
static pthread_barrier_t barrier;
static bool over;
static uint32_t volatile sweeping; // the main thread is at it
static AO_t born, refused;

static struct slot {
  size_t bytes;
  unsigned seed;
} slots[MUTATORS][SLOTS];

static uint64_t random_next(uint64_t *state) {
  *state = *state * 6364136223846793005ull + 1442695040888963407ull;
  return *state >> 20;
}

// Some words, and the ends.
static void words_write(uint64_t *at, size_t words, uint64_t value) {
  for (size_t i = 0; i < words; i += 61) {
    *(uint64_t volatile *)&at[i] = value + i * 2;
  }
  *(uint64_t volatile *)&at[words - 1] = value;
}

static void words_check(const uint64_t *at, size_t words, uint64_t value) {
  EXPECT(*(uint64_t const volatile *)&at[words - 1] == value);
  for (size_t i = 0; i < words - 1; i += 61) {
    EXPECT(*(uint64_t const volatile *)&at[i] == value + i * 2);
  }
}

static void zero_check(const uint64_t *at, size_t words) {
  for (size_t i = 0; i < words; i++) {
    EXPECT(*(uint64_t const volatile *)&at[i] == 0);
  }
}

static uint64_t value_of(const struct slot *slot) { return (uint64_t)slot->seed << 20 | 1; } // odd: no pointer

static void birth(size_t me, uint64_t *random) {
  size_t i = random_next(random) % SLOTS;
  struct slot *slot = &slots[me][i];
  void **root = &f->root[me * SLOTS + i];
  size_t words = 4200 + random_next(random) % (random_next(random) % 8 == 0 ? 120000 : 20000);
  unsigned kind = (unsigned)(random_next(random) % 3);
  uint64_t *at = kind == 0   ? fake_array(f, &type_pointer, words)
                 : kind == 1 ? fake_array(f, &type_byte, words * 8)
                             : fake_array_raw(f, &type_byte, words * 8);
  if (at == NULL) {
    at_add(&refused, 1);
    return;
  }
  at_add(&born, 1);
  if (kind != 2) {
    zero_check(at, words);
  }
  *slot = (struct slot){words * 8, (unsigned)random_next(random)};
  words_write(at, words, value_of(slot));
  *root = at;
}

static void slots_check(size_t me) {
  for (size_t i = 0; i < SLOTS; i++) {
    if (f->root[me * SLOTS + i] != NULL) {
      words_check(f->root[me * SLOTS + i], slots[me][i].bytes / 8, value_of(&slots[me][i]));
    }
  }
}

static void *mutator_main(void *arg) {
  size_t me = (size_t)arg % MUTATORS;
  uint64_t random = (size_t)arg;
  for (;;) {
    pthread_barrier_wait(&barrier); // the flip is over
    if (over) {
      return NULL;
    }
    for (int i = 0; i < BIRTHS || at32_load_acquire(&sweeping); i++) {
      birth(me, &random);
      if (random_next(&random) % 8 == 0) {
        f->root[me * SLOTS + random_next(&random) % SLOTS] = NULL;
      }
      if (random_next(&random) % 16 == 0) {
        gc_kept_yield(f->gc);
      }
      if (i > 10 * BIRTHS) {
        sched_yield();
      }
    }
    slots_check(me);
    pthread_barrier_wait(&barrier);
  }
}

// As fake_finish does, beside mutators.
static void finish(void) {
  while (gc_phase_now(f->gc) == GC_SCANNING) {
    if (!fake_step(f) && gc_sweep_begin(f->gc)) {
      gc_sweep(f->gc);
    }
  }
}

int main(int argc, char **argv) {
  time_t seconds = argc > 2 ? atol(argv[2]) : 4;
  uint64_t random = argc > 3 ? strtoul(argv[3], NULL, 0) : (uint64_t)time(NULL);
  printf("seed %lu\n", (unsigned long)random);
  f = fake_open((fake_options){.back_end = argc > 1 ? argv[1] : "mprotect", .limit = 48 * MIB, .headroom = 8 * MIB});
  if (f == NULL) {
    return 77;
  }
  fake_header(&type_pointer, true); // registered by one thread
  fake_header(&type_byte, true);
  pthread_barrier_init(&barrier, NULL, MUTATORS + 1);
  pthread_t thread[MUTATORS];
  for (size_t i = 0; i < MUTATORS; i++) {
    EXPECT(pthread_create(&thread[i], NULL, mutator_main, (void *)(i + MUTATORS * (random % 1000 + 1))) == 0);
  }
  time_t end = time(NULL) + seconds;
  while (time(NULL) < end) {
    gc_limit_set(f->gc, (random_next(&random) % 32 + 16) * MIB);
    fake_flip(f);
    at32_store_release(&sweeping, 1);
    pthread_barrier_wait(&barrier);
    finish();
    switch (random_next(&random) % 4) { // what scanners, the keeper and mutators do
    case 0:
      gc_trim(f->gc);
      break;
    case 1:
      gc_trim_idle(f->gc);
      break;
    case 2:
      gc_free_memory(f->gc, random_next(&random) % (4 * MIB));
      break;
    default:
      break;
    }
    at32_store_release(&sweeping, 0);
    pthread_barrier_wait(&barrier);
    vm_quiesce(f->gc->region); // nobody works for the mutators any more
    vm_resume(f->gc->region);
    gc_verify_stopped(f->gc, "between rounds");
  }
  over = true;
  pthread_barrier_wait(&barrier);
  for (size_t i = 0; i < MUTATORS; i++) {
    pthread_join(thread[i], NULL);
  }
  memset(f->root, 0, sizeof f->root);
  fake_cycle(f);
  fake_cycle(f);
  gc_limit_set(f->gc, 48 * MIB);
  while (gc_trim_idle(f->gc)) {
  }
  EXPECT(f->gc->large_bytes == 0 && gc_kept_bytes(f->gc) == 0);
  EXPECT(at_load(&f->gc->got_bytes) - at_load(&f->gc->returned_bytes) == at_load(&f->gc->committed_bytes));
  EXPECT(vm_held(f->gc->region) == at_load(&f->gc->committed_bytes));
  printf("%u cycles, %lu objects born, %lu refused, %lu MiB had from the system\n", f->gc->cycle, (unsigned long)at_load(&born),
         (unsigned long)at_load(&refused), (unsigned long)(at_load(&f->gc->got_bytes) / MIB));
  EXPECT(at_load(&born) > 100);
  pthread_barrier_destroy(&barrier);
  fake_close(f);
  return 0;
}
