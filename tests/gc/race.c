// SPDX-License-Identifier: MIT
// race.c: several scanners and several mutators on one grey heap at once: one copy counts, one thread scans a page.
//
//   gc_race BACK_END [SECONDS]
//
// Flips happen between rounds, when all threads wait at a barrier: no stops. Mutators walk a graph in which every object is
// shared by many, so that its forwarding is contended, and check what they read.

#include <pthread.h>
#include <time.h>
#include "tests/gc/fake.h"

enum { SCANNERS = 2, WALKERS = 2, THREADS = SCANNERS + WALKERS, WIDTH = 600, DEPTH = 30 };

static fake *f;
static pthread_barrier_t barrier;
static bool over;
static const char *back_end;

// Layer i's arrays point to all over layer i + 1; in the last slot each has its number.
typedef struct layer {
  void *slot[15];
  uintptr_t number; // odd, so no pointer
} layer;
static const size_t layer_offsets[] = {0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112};
static fake_type type_layer = {
    {.name = "layer", .size = sizeof(layer), .layout = GC_LAYOUT_MAP, .count = 15, .offsets = layer_offsets}, 0};

static void build(void) {
  layer *below[WIDTH] = {0};
  for (size_t d = 0; d < DEPTH; d++) {
    layer *here[WIDTH];
    for (size_t i = 0; i < WIDTH; i++) {
      here[i] = fake_new(f, &type_layer);
      EXPECT(here[i] != NULL);
      here[i]->number = (d * WIDTH + i) * 2 + 1;
      for (size_t s = 0; s < 15 && d > 0; s++) {
        here[i]->slot[s] = below[(i * 7 + s * 41) % WIDTH];
      }
      if (d == 0) { // leaves of several sizes, large ones too
        here[i]->slot[0] = fake_array(f, &type_byte, i * i % 1000 + (i % 200 == 0 ? 50000 : 0));
        here[i]->slot[1] = i % 50 == 0 ? fake_array(f, &type_pointer, 300 + i * 20) : NULL;
        if (here[i]->slot[1] != NULL) {
          ((void **)here[i]->slot[1])[299] = here[i];
        }
      }
    }
    memcpy(below, here, sizeof below);
  }
  for (size_t i = 0; i < WIDTH; i++) {
    f->root[i] = below[i];
  }
}

static uint64_t walk(uint64_t random, size_t paths) {
  for (size_t p = 0; p < paths; p++) {
    random = random * 6364136223846793005ull + 1442695040888963407ull;
    uint64_t r = random >> 20;
    size_t i = r % WIDTH;
    layer *at = f->root[i];
    for (size_t d = DEPTH; d-- > 0;) {
      EXPECT(at->number == (d * WIDTH + i) * 2 + 1);
      if (d == 0) {
        if (at->slot[1] != NULL) {
          EXPECT(((void **)at->slot[1])[299] == at);
        }
        break;
      }
      r = r * 25214903917ull + 11;
      size_t s = (r >> 16) % 15;
      uint32_t block = gc_block_of(f->gc, (uintptr_t)at->slot[s]);
      EXPECT(gc_space(f->gc, block) == f->gc->to_space || gc_is_large(f->gc, block) ||
             (gc_flags(f->gc, block) & GC_BLOCK_RETAIN));
      at = at->slot[s];
      i = (i * 7 + s * 41) % WIDTH;
    }
  }
  return random;
}

// Every object is there once: all edges to it lead to the same address.
static void shape_check(void) {
  static layer *at[DEPTH][WIDTH];
  memset(at, 0, sizeof at);
  for (size_t i = 0; i < WIDTH; i++) {
    at[DEPTH - 1][i] = f->root[i];
  }
  for (size_t d = DEPTH; d-- > 0;) {
    for (size_t i = 0; i < WIDTH; i++) {
      EXPECT(at[d][i] != NULL && at[d][i]->number == (d * WIDTH + i) * 2 + 1);
      for (size_t s = 0; s < 15 && d > 0; s++) {
        layer **below = &at[d - 1][(i * 7 + s * 41) % WIDTH];
        EXPECT(*below == NULL || *below == at[d][i]->slot[s]);
        *below = at[d][i]->slot[s];
      }
    }
  }
}

static void *thread_main(void *arg) {
  size_t me = (size_t)arg;
  uint64_t random = me + 1;
  for (;;) {
    pthread_barrier_wait(&barrier); // the flip is over
    if (over) {
      return NULL;
    }
    if (me < SCANNERS) {
      gc_copier *copier = gc_copier_take(f->gc);
      while (gc_phase_now(f->gc) == GC_SCANNING && !gc_scan_finished(f->gc)) {
        if (!gc_scan_some(f->gc, copier, true)) {
          sched_yield();
        }
      }
      gc_copier_give(f->gc, copier);
    } else {
      while (gc_phase_now(f->gc) == GC_SCANNING && !gc_scan_finished(f->gc)) {
        random = walk(random, 20);
      }
      random = walk(random, 200);
    }
    pthread_barrier_wait(&barrier);
  }
}

int main(int argc, char **argv) {
  back_end = argc > 1 ? argv[1] : "mprotect";
  time_t seconds = argc > 2 ? atol(argv[2]) : 4;
  f = fake_open((fake_options){.back_end = back_end, .limit = (size_t)64 << 20});
  if (f == NULL) {
    return 77;
  }
  build();
  pthread_barrier_init(&barrier, NULL, THREADS + 1);
  pthread_t thread[THREADS];
  for (size_t i = 0; i < THREADS; i++) {
    EXPECT(pthread_create(&thread[i], NULL, thread_main, (void *)i) == 0);
  }
  uint64_t expected = 0;
  time_t end = time(NULL) + seconds;
  while (time(NULL) < end) {
    bool poor = f->gc->cycle % 4 == 3; // some rounds with too little memory: blocks are kept
    uint64_t before = f->gc->copied_objects;
    fake_flip(f);
    if (poor) {
      fake_memory_take(f, 10);
    }
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); // all are done
    vm_quiesce(f->gc->region);      // and nobody works for them any more
    vm_resume(f->gc->region);
    fake_finish(f);
    f->gc->limit = f->gc->config.limit;
    shape_check();
    // Every object that moves is copied exactly once, so as often in each cycle that has memory.
    uint64_t copied = f->gc->copied_objects - before;
    EXPECT(poor || expected == 0 || copied == expected);
    expected = poor ? expected : copied;
    if (poor) {
      fake_cycle(f); // what was taken comes back
    }
    while (gc_trim(f->gc)) {
    }
  }
  over = true;
  pthread_barrier_wait(&barrier);
  for (size_t i = 0; i < THREADS; i++) {
    pthread_join(thread[i], NULL);
  }
  printf("%u cycles, %lu objects copied, %lu blocks kept, %lu traps\n", f->gc->cycle, (unsigned long)at_load(&f->gc->copied_objects),
         (unsigned long)f->gc->kept_blocks, (unsigned long)at_load(&f->gc->region->traps_count));
  pthread_barrier_destroy(&barrier);
  fake_close(f);
  return 0;
}
