// SPDX-License-Identifier: MIT
// requests.c: many threads ask two checkpointers of one heap, by call, by signal, by interval; one is closed while it is at work.

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/checkpoint/trials.h"
#include "veil/events.h"

enum { ASKERS = 4, TIMES = 12 };

typedef struct asking {
  veil_heap *heap;
  veil_checkpointer *c[2];
  uint64_t seed;
  bool attached;
  uint32_t volatile *busy;
} asking;

static AO_t begins, ends, failures, steps;

static void told_begin(void *arg, bool full) { at_add(&begins, 1); }
static void told_progress(void *arg, uint64_t done, uint64_t of) { at_add(&steps, done <= of ? 1 : 1000000); }
static void told_end(void *arg, veil_status status, uint64_t version, uint64_t pages, uint64_t bytes, uint64_t ns) {
  at_add(&ends, 1);
  at_add(&failures, status != VEIL_OK || version == 0 || pages == 0 || bytes == 0 || ns == 0);
}

static void ask(asking *a, random_state *r) {
  veil_checkpointer *c = a->c[random_below(r, 2)];
  unsigned flags = (unsigned)random_below(r, 8) & ~(random_below(r, 3) ? (unsigned)VEIL_CHECKPOINT_FULL : 0u);
  bool to_stream = random_below(r, 6) == 0;
  veil_checkpoint_figures f;
  uint64_t done, of;
  veil_status status;
  if (to_stream) {
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    status = veil_checkpoint_fd(c, fd, flags & ~(unsigned)VEIL_CHECKPOINT_START, &f);
    close(fd);
  } else {
    status = veil_checkpoint(c, flags, &f);
  }
  if (status != VEIL_OK && !(status == VEIL_BUSY && (flags & VEIL_CHECKPOINT_REFUSE))) {
    found("a request with flags %x%s: status %d: %s", flags, to_stream ? ", to a descriptor" : "", (int)status, veil_error());
  }
  at32_add_full(a->busy, status == VEIL_BUSY);
  veil_checkpointing(c, &done, &of);
  if (random_below(r, 4) == 0 && (status = veil_checkpoint_wait(c, NULL)) != VEIL_OK) {
    found("waiting: status %d: %s", (int)status, veil_error());
  }
}

static void *asker(void *arg) {
  asking *a = arg;
  random_state r = {a->seed};
  veil_thread *self = a->attached ? veil_attach(a->heap) : NULL;
  void **table = a->attached ? veil_new_pointers(self, WORLD_SLOTS) : NULL;
  for (int i = 0; i < TIMES && !enough(); i++) {
    ask(a, &r);
    for (int k = 0; table != NULL && k < 50; k++) {
      world_change(self, table, &r, true);
    }
  }
  if (self != NULL) {
    veil_detach(self);
  }
  return NULL;
}

static void many_ask(veil_heap *heap, veil_checkpointer *a, veil_checkpointer *b) {
  pthread_t thread[ASKERS];
  asking of[ASKERS];
  uint32_t volatile busy = 0;
  for (int i = 0; i < ASKERS; i++) {
    of[i] = (asking){heap, {a, b}, trial.seed + (uint64_t)i, i % 2 == 0, &busy};
    MUST(pthread_create(&thread[i], NULL, asker, &of[i]) == 0, "a thread");
  }
  for (int i = 0; i < ASKERS; i++) {
    pthread_join(thread[i], NULL);
  }
  printf("requests: %u of %d were refused\n", at32_load(&busy), ASKERS * TIMES);
}

// Signals and intervals.
static void nobody_asks(veil_heap *heap) {
  char *path = strdup(trial_path("c.veil"));
  oracle o;
  veil_checkpoint_figures f = {0};
  veil_checkpointer *c = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = path, .pool = 1 << 20, .interval_ms = 30, .signal = SIGUSR1});
  MUST(c != NULL, "%s", veil_error());
  oracle_open(&o, c, heap);
  uint64_t until = cp_now() + UINT64_C(20000000000);
  while (f.version < 3 && cp_now() < until) {
    os_nap(2000);
    MUST(veil_checkpoint_wait(c, &f) == VEIL_OK, "%s", veil_error());
  }
  if (f.version < 3) {
    found("an interval of 30 ms has made %llu versions in 20 s", (unsigned long long)f.version);
  }
  veil_checkpointer_close(c);
  const char *wrong = oracle_differs(&o, path, NULL);
  if (wrong != NULL) {
    found("by interval: %s", wrong);
  }
  oracle_close(&o);
  c = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = path, .signal = SIGUSR1});
  MUST(c != NULL, "%s", veil_error());
  f.version = 0;
  for (uint64_t sent = 0; f.version == 0 && cp_now() < until; os_nap(2000)) {
    sent++ == 0 ? kill(getpid(), SIGUSR1) : 0;
    veil_checkpoint_wait(c, &f);
  }
  if (f.version != 1) {
    found("a signal has made version %llu", (unsigned long long)f.version);
  }
  veil_checkpointer_close(c);
  kill(getpid(), SIGUSR1); // nobody's any more, and harmless
  free(path);
}

void trial_requests(void) {
  world w;
  oracle o[2];
  char *path[2] = {strdup(trial_path("a.veil")), strdup(trial_path("b.veil"))};
  veil_checkpointer *c[2];
  veil_heap *heap = world_heap(64 << 20);
  static const veil_events table = {.checkpoint_begin = told_begin, .checkpoint_progress = told_progress, .checkpoint_end = told_end};
  veil_set_events(heap, &table, NULL);
  world_start(&w, heap, 2, trial.seed);
  for (int i = 0; i < 2; i++) {
    c[i] = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = path[i], .pool = 1 << 20, .whole = i == 1});
    MUST(c[i] != NULL, "%s", veil_error());
    oracle_open(&o[i], c[i], heap);
  }
  many_ask(heap, c[0], c[1]);
  nobody_asks(heap);
  for (int i = 0; i < 2; i++) { // closed while it is at work
    MUST(veil_checkpoint(c[i], VEIL_CHECKPOINT_START, NULL) == VEIL_OK, "%s", veil_error());
  }
  for (int i = 0; i < 2; i++) {
    veil_checkpointer_close(c[i]);
    const char *wrong = oracle_differs(&o[i], path[i], NULL);
    if (wrong != NULL) {
      found("checkpointer %d: %s", i, wrong);
    }
    oracle_close(&o[i]);
    free(path[i]);
  }
  world_end(&w);
  if (at_load(&begins) != at_load(&ends) || at_load(&begins) == 0 || at_load(&failures) != 0 || at_load(&steps) >= 1000000) {
    found("events: %llu begins, %llu ends, %llu of them failures, %llu steps", (unsigned long long)at_load(&begins), (unsigned long long)at_load(&ends),
          (unsigned long long)at_load(&failures), (unsigned long long)at_load(&steps));
  }
  veil_close(heap);
}
