// SPDX-License-Identifier: MIT
// torture.c: opens a heap, lets mutators run random programs on it, and compares with their shadows.
//
// A plain program, so that it runs under every sanitizer. Exit 0 and a line of figures if all is well; aborts at the first
// difference. The seed is printed first: with it, and the options printed after it, a run can be repeated.

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "tests/back_end_names.h"
#include "torture.h"

enum { WORKERS = 64, SHARED = 2 };

veil_heap *heap;
atomic_bool finished;
atomic_ulong stat_ops, stat_walks, stat_verified, stat_objects, stat_oom, stat_touches, stat_holds, stat_threads;
unsigned world_count, shared_first;
world worlds[WORKERS + SHARED];
static worker workers[WORKERS];
static atomic_uint running;

_Noreturn void mismatch(const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  fprintf(stderr, "torture: mismatch: %s\n", text);
  config_print();
  if (cfg.sabotage) {
    fprintf(stderr, "torture: the self-check was detected\n");
    _exit(3);
  }
  abort();
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void worker_attach(worker *t) {
  t->self = veil_attach(heap);
  REQUIRE(t->self != NULL, "veil_attach: %s", veil_error());
  storm_enter(t);
  atomic_fetch_add_explicit(&stat_threads, 1, memory_order_relaxed);
}

static void worker_detach(worker *t) {
  storm_leave();
  veil_detach(t->self);
  t->self = NULL;
}

// A world whose roots are in this frame.
static __attribute__((noinline)) void stack_world_run(worker *t, unsigned rounds) {
  void *roots[ROOTS] = {0};
  world w = {.index = 1000 + t->index, .roots = roots, .budget = cfg.live / (world_count * 2)};
  world_open(t, &w, ROOTS_STACK);
  for (unsigned i = 0; i < rounds && !atomic_load(&finished); i++) {
    program_run(t, &w, 200);
  }
  world_walk(t, &w);
  for (int i = 0; i < ROOTS; i++) {
    ((void *volatile *)roots)[i] = NULL;
  }
  world_close(t, &w);
}

static void worker_round(worker *t) {
  world *w = one_in(&t->random, 3) ? &worlds[shared_first + below(&t->random, SHARED)] : t->own;
  world_lock(t, w);
  program_run(t, w, (unsigned)between(&t->random, 1, 300));
  world_unlock(w);
  if (one_in(&t->random, 40)) {
    stack_world_run(t, (unsigned)between(&t->random, 1, 10));
  }
  if (one_in(&t->random, 20)) {
    bracket_begin(t);
    usleep((useconds_t)below(&t->random, 3000));
    bracket_end(t);
  }
}

// One thread's life: some threads attach more than once, some end without detaching.
static void *worker_main(void *arg) {
  worker *t = arg;
  bool churn = cfg.churn_threads;
  do {
    worker_attach(t);
    uint64_t rounds = churn ? between(&t->random, 1, 40) : UINT64_MAX;
    for (uint64_t i = 0; i < rounds && !atomic_load(&finished); i++) {
      worker_round(t);
    }
    if (churn && one_in(&t->random, 3)) {
      storm_leave();
      break; // veil finds out
    }
    worker_detach(t);
  } while (!atomic_load(&finished) && one_in(&t->random, 2));
  system_close();
  atomic_fetch_sub(&running, 1);
  return NULL;
}

static void workers_run(void) {
  double end = now() + cfg.seconds, stuck_at = now();
  unsigned long seen = 0;
  pthread_t threads[WORKERS];
  bool alive[WORKERS] = {0};
  atomic_bool *gone = calloc(WORKERS, sizeof *gone);
  (void)gone;
  free(gone);
  while (now() < end) {
    for (unsigned i = 0; i < cfg.threads; i++) {
      if (alive[i] && pthread_tryjoin_np(threads[i], NULL) == 0) {
        alive[i] = false;
      }
      if (!alive[i]) {
        workers[i].generation++;
        atomic_fetch_add(&running, 1);
        REQUIRE(pthread_create(&threads[i], NULL, worker_main, &workers[i]) == 0, "pthread_create failed");
        alive[i] = true;
      }
    }
    usleep(2000);
    unsigned long ops = atomic_load(&stat_ops);
    if (ops != seen) {
      seen = ops;
      stuck_at = now();
    } else if (now() - stuck_at > cfg.watchdog) {
      mismatch("no step in %u s: the mutators hang", cfg.watchdog);
    }
  }
  atomic_store(&finished, true);
  double joining = now();
  for (unsigned i = 0; i < cfg.threads; i++) {
    while (alive[i] && pthread_tryjoin_np(threads[i], NULL) != 0) {
      usleep(1000);
      if (now() - joining > cfg.watchdog) {
        mismatch("worker %u does not end: a hang", i);
      }
    }
  }
}

static void heap_open(void) {
  veil_options o = {
      .limit = cfg.limit,
      .back_end = cfg.back_end,
      .granule = cfg.granule,
      .scanners = cfg.scanners,
      .stop = cfg.poll ? VEIL_STOP_POLL : VEIL_STOP_SIGNAL,
      .oom = cfg.oom_null ? VEIL_OOM_NULL : VEIL_OOM_ABORT,
      .growth = cfg.growth,
      .headroom = cfg.headroom,
      .verify = cfg.verify,
      .torture = cfg.collector_torture,
      .seed = cfg.seed | 1,
      .generations = cfg.nursery == 0 ? VEIL_GENERATIONS_OFF : cfg.auto_generations ? VEIL_GENERATIONS_AUTO : VEIL_GENERATIONS_ON,
      .nursery = cfg.nursery,
  };
  heap = veil_open(&o);
  if (heap == NULL) {
    fprintf(stderr, "torture: veil_open: %s\n", veil_error());
    exit(back_end_is_everywhere(cfg.back_end) ? 2 : 77); // 77: skipped
  }
}

static void worlds_open(worker *t, rng *r) {
  shared_first = cfg.threads;
  world_count = cfg.threads + SHARED;
  for (unsigned i = 0; i < world_count; i++) {
    worlds[i].index = i;
    worlds[i].budget = cfg.live / world_count;
    pthread_mutex_init(&worlds[i].lock, NULL);
    world_open(t, &worlds[i], (root_style)below(r, ROOTS_STACK));
  }
  for (unsigned i = 0; i < cfg.threads; i++) {
    workers[i].index = i;
    workers[i].own = &worlds[i];
    workers[i].random.state = rng_next(r);
  }
}

static void report(void) {
  veil_stats s;
  veil_get_stats(heap, &s);
  char service[512] = "";
  service_report(service, sizeof service);
  instants_report(service + strlen(service), sizeof service - strlen(service));
  printf("torture: ok: %lu steps, %lu objects, %lu walks, %lu verified, %llu cycles, %llu minor, %llu traps, %llu pins (last), %llu kept, "
         "%lu holds, %lu touches, %lu oom, %lu threads, %lu handler runs, %lu finalized, %llu MiB copied%s\n",
         atomic_load(&stat_ops), atomic_load(&stat_objects), atomic_load(&stat_walks), atomic_load(&stat_verified),
         (unsigned long long)s.major_cycles, (unsigned long long)s.minor_cycles, (unsigned long long)s.traps, (unsigned long long)s.pinned_objects,
         (unsigned long long)s.kept_blocks, atomic_load(&stat_holds), atomic_load(&stat_touches), atomic_load(&stat_oom),
         atomic_load(&stat_threads), storm_count(), links_finalized(), (unsigned long long)(s.copied_bytes >> 20), service);
}

// With nothing reachable left, two cycles have to give nearly all of it back: what an ambiguous word or a claim still
// holds is little.
static __attribute__((noinline)) void drain(worker *t) {
  veil_stats s;
  veil_collect(t->self);
  veil_collect(t->self);
  veil_get_stats(heap, &s);
  REQUIRE(s.live_bytes < ((size_t)4 << 20) + cfg.live / 4, "%llu bytes live in an empty heap", (unsigned long long)s.live_bytes);
}

int main(int argc, char **argv) {
  config_read(argc, argv);
  config_print();
  rng r = {cfg.seed};
  kinds_make(&r);
  heap_open();
  printf("torture: back end %s\n", veil_back_end(heap));
  fflush(stdout);
  worker main_worker = {.index = 999, .random = {rng_next(&r)}};
  worker_attach(&main_worker);
  worlds_open(&main_worker, &r);
  links_open(&main_worker, &(rng){cfg.seed ^ 0x6c696e6b73});
  storm_start(&main_worker);
  system_open(); // its thread blocks the storm's signals, as this one does now
  worker_detach(&main_worker);
  if (cfg.service) {
    service_start(rng_next(&r));
  }
  if (cfg.instants) {
    instants_start(cfg.seed ^ 0x696e7374616e74);
  }
  workers_run();
  worker_attach(&main_worker);
  for (unsigned i = 0; i < world_count; i++) {
    world_walk(&main_worker, &worlds[i]);
  }
  veil_collect(main_worker.self);
  for (unsigned i = 0; i < world_count; i++) {
    world_walk(&main_worker, &worlds[i]);
  }
  if (cfg.instants) {
    instants_stop();
  }
  if (cfg.service) {
    service_stop();
  }
  veil_verify(main_worker.self);
  for (unsigned i = 0; i < world_count; i++) {
    world_close(&main_worker, &worlds[i]);
  }
  storm_stop(&main_worker);
  links_close(&main_worker);
  drain(&main_worker);
  veil_verify(main_worker.self);
  if (cfg.sabotage) {
    printf("torture: the self-check was NOT detected\n");
  }
  report();
  worker_detach(&main_worker);
  veil_close(heap);
  return 0;
}
