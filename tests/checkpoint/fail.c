// SPDX-License-Identifier: MIT
// fail.c: the n-th call to the system fails, for every n and each error: the version before stays, the program goes on, the next checkpoint is full, and good.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/checkpoint/trials.h"
#include "tests/image/disk.h"

#define PATH "heap.veil"

typedef struct story {
  disk *d;
  veil_heap *heap;
  veil_thread *self;
  veil_checkpointer *c;
  void **table;
  random_state random;
  oracle now, good; // of the newest instant; of the newest version that was acknowledged
  bool have_good, failed;
  char error[CP_ERROR];
  const char *what;
} story;

static void good_is_now(story *s) {
  if (s->have_good) {
    oracle_drop(&s->good);
  }
  oracle_keep(&s->now, &s->good);
  s->have_good = true;
}

// Looking at the disk counts as no call.
static const char *differs(story *s, const oracle *o) {
  unsigned calls = s->d->calls, fail_at = s->d->fail_at;
  s->d->fail_at = 0;
  const char *wrong = oracle_differs(o, PATH, &s->d->io);
  s->d->calls = calls;
  s->d->fail_at = fail_at;
  return wrong;
}

static void changes(story *s, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    world_change(s->self, s->table, &s->random, false);
  }
}

// What is there must be what was acknowledged last, or the one that failed: after a barrier nobody knows.
static void failure_look(story *s, veil_status status, const veil_checkpoint_figures *f) {
  if (status != VEIL_IO && status != VEIL_NO_MEMORY) {
    found("%s: it failed with status %d: %s", s->what, (int)status, s->error);
  }
  if (strlen(s->error) < 10) {
    found("%s: it failed, and says nothing: %s", s->what, s->error);
  }
  if (f->durable_ns != 0) {
    found("%s: it failed, and was durable after %llu ns", s->what, (unsigned long long)f->durable_ns);
  }
  if (!s->have_good && disk_find(s->d, PATH) == NULL) {
    return;
  }
  const char *old = s->have_good ? differs(s, &s->good) : "there was none";
  if (old != NULL) {
    char text[700];
    snprintf(text, sizeof text, "%s", old);
    const char *new = differs(s, &s->now);
    if (new != NULL) {
      found("%s: what is there is neither the version before (%s) nor the one that failed (%s)", s->what, text, new);
    } else {
      good_is_now(s);
    }
  }
}

static void step(story *s, unsigned flags) {
  veil_checkpoint_figures f = {0};
  changes(s, 60);
  bool before = s->failed, was_to_fail = s->d->failed;
  veil_status status = veil_checkpoint(s->c, flags, &f);
  if (status != VEIL_OK) {
    snprintf(s->error, sizeof s->error, "%s", veil_error());
    if (s->failed || !s->d->failed || was_to_fail) {
      found("%s: it failed once more, or without a reason: %s", s->what, s->error);
    }
    s->failed = true;
    failure_look(s, status, &f);
    return;
  }
  const char *wrong = differs(s, &s->now);
  if (wrong != NULL) {
    found("%s: %s, %s: %s", s->what, before ? "after it" : "before it", f.full ? "full" : "increment", wrong);
  }
  if (before && !s->have_good && !f.full) {
    found("%s: an increment of nothing", s->what);
  }
  good_is_now(s);
}

static void next_is_full(story *s) {
  veil_checkpoint_figures f = {0};
  changes(s, 60);
  veil_status status = veil_checkpoint(s->c, 0, &f);
  const char *wrong = status != VEIL_OK ? veil_error() : differs(s, &s->now);
  if (wrong != NULL || !f.full || f.version != 1) {
    found("%s: the one after it: %s", s->what, wrong != NULL ? wrong : "is no full one");
  }
  if (status == VEIL_OK) {
    good_is_now(s);
  }
}

static void play(story *s) {
  static const unsigned flags[] = {0, 0, 0, VEIL_CHECKPOINT_FULL, 0, 0};
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
    bool before = s->failed;
    step(s, flags[i]);
    if (s->failed && !before) {
      next_is_full(s);
    }
  }
}

// False: there is no call of that number.
static bool try(story *s, unsigned n, disk_failure failure, int error) {
  char what[200];
  s->d = disk_new();
  s->d->fail_at = n;
  s->d->failure = failure;
  s->d->error = error;
  s->failed = s->have_good = false;
  snprintf(what, sizeof what, "call %u, %s", n, failure == DISK_SHORT ? "did less" : strerror(error));
  s->what = what;
  s->c = rt_checkpointer_open(s->heap, &(veil_checkpointer_options){.path = PATH, .pool = 1 << 20}, &s->d->io);
  if (s->c == NULL) { // it looks at what is there
    MUST(s->d->failed, "%s", veil_error());
    disk_free(s->d);
    return true;
  }
  oracle_open(&s->now, s->c, s->heap);
  play(s);
  snprintf(what, sizeof what, "call %u, %s, %s", n, s->d->failed ? s->d->failed_call : "none", failure == DISK_SHORT ? "did less" : strerror(error));
  bool barrier = s->d->failed && (strcmp(s->d->failed_call, "fdatasync") == 0 || strcmp(s->d->failed_call, "fsync") == 0);
  if (barrier && failure == DISK_FAILS && !s->failed) {
    found("%s: a barrier failed, and nobody was told", what);
  }
  bool there = s->d->failed;
  veil_checkpointer_close(s->c);
  oracle_close(&s->now);
  if (s->have_good) {
    oracle_drop(&s->good);
  }
  disk_free(s->d);
  return there;
}

void trial_fail(void) {
#ifdef __SANITIZE_THREAD__ // it takes its time, and errors are the same to threads
  static const int errors[] = {EIO};
#else
  static const int errors[] = {EIO, ENOSPC, EDQUOT, EINTR, ENOMEM};
#endif
  story s = {.random = {trial.seed}};
  unsigned runs = 0;
  s.heap = world_heap(32 << 20);
  s.self = veil_attach(s.heap);
  s.table = world_table(s.self, "table");
  for (size_t i = 0; i < sizeof errors / sizeof *errors + 1 && !enough(); i++) {
    bool shorter = i == sizeof errors / sizeof *errors;
    for (unsigned n = 1; !enough() && try(&s, n, shorter ? DISK_SHORT : DISK_FAILS, shorter ? 0 : errors[i]); n++) {
      runs++;
    }
  }
  veil_detach(s.self);
  veil_close(s.heap);
  printf("fail: %u runs\n", runs);
}
