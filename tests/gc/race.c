// SPDX-License-Identifier: MIT
// race.c: several scanners and several mutators on one grey heap at once: one copy counts, one thread scans a page.
//
//   gc_race BACK_END [old|young [SECONDS]]
//
// Flips happen between rounds, when all threads wait at a barrier: no stops. Mutators walk a graph in which every object
// is shared by many, so that its forwarding is contended, and check what they read.
//
// `young` is with a nursery. The main thread makes the lower layers of the graph anew, again and again, and flips and
// runs minor cycles, for which walkers stop, but scanners do not: they scan, sweep, and help. Two more threads do nothing
// but help.

#include <pthread.h>
#include <semaphore.h>
#include <time.h>
#include "gc/minor.h"
#include "gc/nursery.h"
#include "gc/parked.h"
#include "gc/young.h"
#include "tests/gc/fake.h"

enum {
  SCANNERS = 2,
  WALKERS = 2,
  THREADS = SCANNERS + WALKERS,
  HELPERS = 2,
  WIDTH = 600,
  DEPTH = 30,
  LOWER = 8,  // layers that are made anew
  HELD = 16,  // objects that a walker has in its words
};

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

static uint64_t number_of(size_t d, size_t i) { return (d * WIDTH + i) * 2 + 1; }
static size_t index_below(size_t i, size_t s) { return (i * 7 + s * 41) % WIDTH; }

// Layers [0, depth): the highest is in `below`. False: no memory.
static bool layers_make(size_t depth, layer **below) {
  for (size_t d = 0; d < depth; d++) {
    layer *here[WIDTH];
    for (size_t i = 0; i < WIDTH; i++) {
      here[i] = fake_new(f, &type_layer);
      if (here[i] == NULL) {
        return false;
      }
      here[i]->number = number_of(d, i);
      for (size_t s = 0; s < 15 && d > 0; s++) {
        here[i]->slot[s] = below[index_below(i, s)];
      }
      if (d == 0) { // leaves of several sizes, large ones too
        here[i]->slot[0] = fake_array(f, &type_byte, i * i % 1000 + (i % 200 == 0 ? 50000 : 0));
        here[i]->slot[1] = i % 50 == 0 ? fake_array(f, &type_pointer, 300 + i * 20) : NULL;
        if (here[i]->slot[1] != NULL) {
          ((void **)here[i]->slot[1])[299] = here[i];
        }
      }
    }
    memcpy(below, here, sizeof here);
  }
  return true;
}

static void build(void) {
  layer *top[WIDTH] = {0};
  EXPECT(layers_make(DEPTH, top));
  for (size_t i = 0; i < WIDTH; i++) {
    f->root[i] = top[i];
  }
}

static bool is_there(const gc_heap *gc, const void *object) {
  uint32_t block = gc_block_of(gc, (uintptr_t)object);
  for (int tries = 0; tries < 1000; tries++) {
    uint8_t space = gc_space(gc, block), flags = gc_flags(gc, block);
    if (space == gc->to_space || gc_is_large(gc, block) || (flags & GC_BLOCK_RETAIN) ||
        (block < gc->young_blocks && (space == GC_EDEN || space == GC_AGED || space == GC_HELD))) {
      return true;
    }
    sched_yield(); // between the two a sweep may have changed both
  }
  return false;
}

static void *slot_load(void *const *slot) { return (void *)at_load_acquire((AO_t volatile *)slot); }

// The last object that was met is in *last, its number in *number.
static uint64_t walk(uint64_t random, size_t paths, layer **last) {
  for (size_t p = 0; p < paths; p++) {
    random = random * 6364136223846793005ull + 1442695040888963407ull;
    uint64_t r = random >> 20;
    size_t i = r % WIDTH;
    layer *at = f->root[i];
    for (size_t d = DEPTH; d-- > 0;) {
      EXPECT(at->number == number_of(d, i));
      *last = at;
      if (d == 0) {
        if (at->slot[1] != NULL) {
          EXPECT(((void **)at->slot[1])[299] == at);
        }
        break;
      }
      r = r * 25214903917ull + 11;
      size_t s = (r >> 16) % 15;
      at = slot_load(&at->slot[s]);
      EXPECT(is_there(f->gc, at));
      i = index_below(i, s);
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
      EXPECT(at[d][i] != NULL && at[d][i]->number == number_of(d, i));
      for (size_t s = 0; s < 15 && d > 0; s++) {
        layer **below = &at[d - 1][index_below(i, s)];
        EXPECT(*below == NULL || *below == at[d][i]->slot[s]);
        *below = at[d][i]->slot[s];
      }
    }
  }
}

static void *thread_main(void *arg) {
  size_t me = (size_t)arg;
  uint64_t random = me + 1;
  layer *last;
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
        random = walk(random, 20, &last);
      }
      random = walk(random, 200, &last);
    }
    pthread_barrier_wait(&barrier);
  }
}

static void rounds(time_t seconds) {
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
  pthread_barrier_destroy(&barrier);
}

// ---- With a nursery.

enum { NURSERY = 32 * GC_BLOCK };

static sem_t help_wanted;
static unsigned minors_in_cycles;
static AO_t stop_wanted, ended, scanners_active, shared_cycles, most_workers;

static void help(fake *of) {
  for (int i = 0; i < HELPERS; i++) {
    sem_post(&help_wanted);
  }
  // In half of the cycles somebody has come before the owner goes on, even where there is one processor.
  uint64_t odd = at_load(&of->gc->minor_cycles) % 2;
  for (int i = 0; odd && i < 20000 && gc_crew_count(of->gc) == 1; i++) {
    sched_yield();
  }
}

static void *helper_main(void *arg) {
  gc_heap *gc = arg;
  while (!at_load_acquire(&ended)) {
    sem_wait(&help_wanted);
    while (gc_minor_help(gc)) {
    }
  }
  return NULL;
}

// As the runtime's scanners: they never stop.
static void cycle_scan(gc_heap *gc) {
  gc_copier *copier = gc_copier_take(gc);
  bool swept = false;
  for (unsigned idle = 0; gc_phase_now(gc) == GC_SCANNING && !swept;) {
    gc_provide_born(gc);
    while (gc_minor_help(gc)) {
    }
    if (gc_scan_some(gc, copier, true)) {
      idle = 0;
    } else if (!(swept = gc_sweep_begin(gc))) {
      if (++idle % 100 == 0) {
        gc_scan_anything(gc, copier);
      }
      sched_yield();
    }
  }
  gc_copier_give(gc, copier);
  if (swept) {
    gc_sweep(gc);
  }
}

static void *scanner_main(void *arg) {
  gc_heap *gc = arg;
  while (!at_load_acquire(&ended)) {
    at_add_full(&scanners_active, 1); // before looking: a flip waits for who is, and who comes later sees the phase
    if (gc_phase_now(gc) == GC_SCANNING) {
      cycle_scan(gc);
    }
    at_add_full(&scanners_active, (uint64_t)-1);
    if (!gc_minor_help(gc) && !gc_provide_born(gc) && !gc_young_settle(gc)) {
      sched_yield();
    }
  }
  return NULL;
}

// Holds what it met last in words of its own, as if on its stack, and looks at it now and then: it must not have moved.
static void *walker_main(void *arg) {
  size_t me = (size_t)arg;
  uint64_t random = me + 1, number[HELD] = {0};
  uintptr_t *word = f->word + me * HELD;
  for (unsigned turn = 0;; turn++) {
    layer *last;
    random = walk(random, 10, &last);
    size_t h = turn % HELD;
    if (word[h] != 0) { // or they were all cleared in a stop
      EXPECT(((layer *)word[h])->number == number[h]);
    }
    word[h] = turn % 3 == 0 ? (uintptr_t)last : 0;
    number[h] = last->number;
    if (at_load_acquire(&stop_wanted)) {
      pthread_barrier_wait(&barrier); // it stands
      pthread_barrier_wait(&barrier); // the world runs again
      if (at_load_acquire(&ended)) {
        return NULL;
      }
    }
  }
}

static void world_stop(void) {
  at_store_release(&stop_wanted, 1);
  pthread_barrier_wait(&barrier);
  at_store_release(&stop_wanted, 0);
}
static void world_go(void) { pthread_barrier_wait(&barrier); }

// The layers under those in root[WIDTH …], which are old sooner or later. False: no memory, and nothing has changed.
static bool lower_renew(void) {
  layer *lower[WIDTH] = {0};
  if (!layers_make(LOWER, lower)) {
    return false;
  }
  for (size_t i = 0; i < WIDTH; i++) {
    layer *upper = f->root[WIDTH + i];
    for (size_t s = 0; s < 15; s++) {
      at_store_release((AO_t volatile *)&upper->slot[s], (uint64_t)lower[index_below(i, s)]);
    }
  }
  return true;
}

// Writes to every page that the graph has, and changes nothing.
static void graph_touch(void) {
  layer *at[WIDTH];
  memcpy(at, f->root, sizeof at);
  for (size_t d = DEPTH; d-- > 0;) {
    layer *below[WIDTH] = {0};
    for (size_t i = 0; i < WIDTH; i++) {
      at_store_release((AO_t volatile *)&at[i]->slot[2], (uint64_t)at[i]->slot[2]);
      for (size_t s = 0; s < 15 && d > 0; s++) {
        below[index_below(i, s)] = at[i]->slot[s];
      }
    }
    memcpy(at, below, sizeof at);
  }
}

static void pins_clear(void) { memset(f->word, 0, WALKERS * HELD * sizeof *f->word); }

// Bytes that were copied.
static uint64_t minor(bool pins) {
  gc_heap *gc = f->gc;
  uint64_t before = at_load(&gc->minor_survived_bytes) + at_load(&gc->minor_promoted_bytes);
  world_stop();
  if (!pins) {
    pins_clear();
    gc->tenure = (gc_tenure){0}; // all of it ages, each time
  }
  vm_quiesce(gc->region);
  gc_minor_stopped(gc);
  unsigned workers = gc_crew_count(gc);
  at_add(&shared_cycles, workers > 1);
  if (workers > at_load(&most_workers)) {
    at_store(&most_workers, workers);
  }
  if (at_load(&gc->minor_cycles) % 8 == 0) {
    gc_verify_stopped(gc, "after a minor cycle");
  }
  vm_resume(gc->region);
  world_go();
  gc_minor_free(gc);
  return at_load(&gc->minor_survived_bytes) + at_load(&gc->minor_promoted_bytes) - before;
}

static void flip(bool pins, bool poor) {
  gc_heap *gc = f->gc;
  gc_kept_yield(gc);
  while (at_load_acquire(&scanners_active) != 0 && gc_phase_now(gc) == GC_IDLE) {
    sched_yield();
  }
  world_stop();
  if (!pins) {
    pins_clear();
  }
  if (gc->cycle % 16 == 5 || gc->cycle % 16 == 13) { // blocks stay in place for eight cycles of sixteen
    gc_keep_in_place(gc, gc->cycle % 16 == 5);
  }
  for (uint32_t b = gc->cycle % 3; gc->cycle % 16 >= 8 && b < gc->small_blocks; b += 3) {
    gc_asleep(gc, b);
    gc->still_pace.over = true; // what is not asleep moves
  }
  if (gc->cycle % 4 == 3) { // else dense blocks are spared
    gc_empty_all(gc);
  }
  vm_quiesce(gc->region);
  gc_flip_stopped(gc);
  if (poor) {
    fake_memory_take(f, 10); // before a scanner makes more
  }
  gc_flip_open(gc);
  vm_resume(gc->region);
  world_go();
}

// Without generations for a while; then with them, while nobody knows who points to what was young.
static void young_again(void) {
  gc_heap *gc = f->gc;
  world_stop();
  gc_nursery_switch_off(gc, 0);
  world_go();
  lower_renew(); // as far as there is memory
  while (!gc_trial_prepared(gc)) {
    at_store(&gc->trial_due, GC_TRIAL_DUE);
    sched_yield();
  }
  lower_renew();
  world_stop();
  vm_quiesce(gc->region);
  gc_trial_stopped(gc);
  vm_resume(gc->region);
  world_go();
  EXPECT(gc_young_is_on(gc));
  for (int i = 0; i < 4; i++) {
    lower_renew();
    minor(i % 2 == 0);
  }
  shape_check();
}

static void young_round(unsigned round, uint64_t *expected) {
  bool poor = round % 4 == 1, pins = round % 4 != 3;
  f->gc->config.verify = round / 4 % 2 != 0; // or else the walkers have to find what is wrong
  if (round % 3 == 2) {
    young_again();
  }
  flip(pins, poor);
  while (gc_phase_now(f->gc) != GC_IDLE) {
    lower_renew();
    minors_in_cycles++;
    minor(pins);
  }
  at_store(&f->gc->limit, f->gc->config.limit);
  if (poor) {
    flip(pins, false); // what was taken comes back
    while (gc_phase_now(f->gc) != GC_IDLE) {
      sched_yield();
    }
  }
  shape_check();
  // Without pins everything that lives is copied exactly once, so as much each time. What died in the cycle and was
  // promoted in it holds for two minor cycles what it points to.
  for (int i = 0; i < (pins ? 2 : 5); i++) {
    EXPECT(lower_renew());
    if (i % 2 == 0) {
      graph_touch();
    }
    uint64_t copied = minor(pins);
    if (!pins && i > 2) {
      EXPECT(*expected == 0 || copied == *expected);
      *expected = copied;
    }
  }
  shape_check();
  while (gc_trim(f->gc)) {
  }
}

static void young_rounds(time_t seconds) {
  layer *at[WIDTH];
  memcpy(at, f->root, sizeof at);
  for (size_t d = DEPTH - 1; d > LOWER; d--) {
    layer *below[WIDTH];
    for (size_t i = 0; i < WIDTH; i++) {
      below[index_below(i, 0)] = at[i]->slot[0];
    }
    memcpy(at, below, sizeof at);
  }
  memcpy(f->root + WIDTH, at, sizeof at);
  f->help = help;
  sem_init(&help_wanted, 0, 0);
  pthread_barrier_init(&barrier, NULL, WALKERS + 1);
  pthread_t thread[THREADS + HELPERS];
  for (size_t i = 0; i < THREADS + HELPERS; i++) {
    void *(*then)(void *) = i < SCANNERS ? scanner_main : i < THREADS ? walker_main : helper_main;
    void *arg = then == walker_main ? (void *)(i - SCANNERS) : (void *)f->gc;
    EXPECT(pthread_create(&thread[i], NULL, then, arg) == 0);
  }
  uint64_t expected = 0;
  time_t end = time(NULL) + seconds;
  for (unsigned round = 0; round < 8 || time(NULL) < end; round++) {
    young_round(round, &expected);
  }
  world_stop();
  at_store_release(&ended, 1);
  world_go();
  for (size_t i = 0; i < HELPERS; i++) {
    sem_post(&help_wanted);
  }
  for (size_t i = 0; i < THREADS + HELPERS; i++) {
    pthread_join(thread[i], NULL);
  }
  sem_destroy(&help_wanted);
  pthread_barrier_destroy(&barrier);
  printf("%lu minor cycles, %u of them beside a major one, %lu by several workers, by %lu at most\n",
         (unsigned long)at_load(&f->gc->minor_cycles), minors_in_cycles, (unsigned long)at_load(&shared_cycles),
         (unsigned long)at_load(&most_workers));
  EXPECT(at_load(&shared_cycles) > 0);
}

int main(int argc, char **argv) {
  back_end = argc > 1 ? argv[1] : "mprotect";
  bool young = argc > 2 && strcmp(argv[2], "young") == 0;
  time_t seconds = argc > 3 ? atol(argv[3]) : young ? 2 : 4;
  f = fake_open((fake_options){
      .back_end = back_end, .limit = (size_t)64 << 20, .nursery = young ? NURSERY : 0});
  if (f == NULL) {
    return 77;
  }
  build();
  (young ? young_rounds : rounds)(seconds);
  printf("%u cycles, %lu objects copied, %lu blocks kept, %lu traps\n", f->gc->cycle, (unsigned long)at_load(&f->gc->copied_objects),
         (unsigned long)f->gc->kept_blocks, (unsigned long)at_load(&f->gc->region->traps_count));
  fake_close(f);
  return 0;
}
