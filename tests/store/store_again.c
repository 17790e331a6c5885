// SPDX-License-Identifier: MIT
// store_again.c: rollbacks while calls to the system fail: either all goes back, or nothing has changed and the error says why; and after commits that failed.

#include <errno.h>
#include <string.h>
#include "tests/store/store_trials.h"
#include "vm/os.h"

// A store with some commits, and changes since the last one, cycles among them. `hash`: of the last commit.
static void story_begin(story *s, shared *on, uint64_t dice, bool reopens, uint64_t *hash) {
  *s = (story){.dice = dice};
  shared_open(on, disk_new());
  MUST(story_open(s, on, false), "%s", veil_error());
  for (int i = 0; i < 4; i++) {
    MUST(story_commit(s, 100, true) == VEIL_OK, "%s", veil_error());
  }
  if (reopens) { // so that pages are read from the image, and put right
    MUST(story_close(s) == VEIL_OK && story_open(s, on, dice % 3 == 0), "%s", veil_error());
  }
  *hash = story_hash(s);
  graph_change(s->self, &s->dice, 300, true);
  if (dice % 2 == 0) {
    veil_collect(s->self);
    graph_change(s->self, &s->dice, 100, true);
  }
}

static void story_end(story *s, shared *on) {
  story_die(s);
  disk_free(on->d);
  shared_close(on);
}

// What there is goes back all the same, is committed, and found again.
static void goes_on(story *s, shared *on, uint64_t hash, const char *what) {
  if (veil_store_rollback(s->store, NULL) != VEIL_OK || story_hash(s) != hash) {
    found("%s: the next rollback: %s", what, story_hash(s) == hash ? veil_error() : "another graph");
    return;
  }
  veil_verify(s->self);
  MUST(story_commit(s, 50, true) == VEIL_OK, "%s", veil_error());
  hash = story_hash(s);
  story_die(s);
  MUST(story_open(s, on, false), "%s", veil_error());
  if (story_hash(s) != hash) {
    found("%s: another graph when it is opened again", what);
  }
}

static void outcome_look(story *s, veil_status status, uint64_t before, uint64_t hash, const char *what) {
  veil_verify(s->self);
  if (status != VEIL_OK && (strlen(veil_error()) < 10 || (status != VEIL_NO_MEMORY && status != VEIL_IO))) {
    found("%s: it fails without a proper reason: %s", what, veil_error());
  } else if (story_hash(s) != (status == VEIL_OK ? hash : before)) {
    found("%s: it has %s, and the graph is another", what, status == VEIL_OK ? "gone back" : "failed");
  }
}

// ---- The system is short of something.

// False: there was no n-th call.
static bool short_of_call(unsigned n, uint64_t dice) {
  static story s;
  shared on;
  uint64_t hash;
  char what[60];
  snprintf(what, sizeof what, "the system's call %u of a rollback fails", n);
  story_begin(&s, &on, dice, dice % 5 == 0, &hash);
  uint64_t before = story_hash(&s);
#ifdef VEIL_FULL_CHECKS
  unsigned calls = os_calls();
  os_fail_at(n);
  veil_status status = veil_store_rollback(s.store, NULL);
  bool enough_calls = os_calls() - calls >= n;
  os_fail_at(0);
#else
  veil_status status = veil_store_rollback(s.store, NULL);
  bool enough_calls = false;
#endif
  outcome_look(&s, status, before, hash, what);
  goes_on(&s, &on, hash, what);
  story_end(&s, &on);
  return enough_calls;
}

// ---- The disk cannot be read.

static bool short_of_read(unsigned n, uint64_t dice) {
  static story s;
  shared on;
  uint64_t hash;
  char what[60];
  snprintf(what, sizeof what, "call %u of the disk in a rollback fails", n);
  story_begin(&s, &on, dice, true, &hash);
  uint64_t before = story_hash(&s);
  pthread_mutex_lock(&on.lock);
  on.d->error = EIO;
  on.d->fail_at = on.d->calls + n;
  pthread_mutex_unlock(&on.lock);
  shared_reads_may_fail = true;
  veil_status status = veil_store_rollback(s.store, NULL);
  shared_reads_may_fail = false;
  pthread_mutex_lock(&on.lock);
  bool failed = on.d->failed;
  on.d->fail_at = 0;
  on.d->failed = false;
  pthread_mutex_unlock(&on.lock);
  if ((status == VEIL_OK) == failed) {
    found("%s: it has failed, and the rollback %s", what, failed ? "has not" : "has all the same");
  }
  outcome_look(&s, status, before, hash, what);
  goes_on(&s, &on, hash, what);
  story_end(&s, &on);
  return failed;
}

// ---- Commits have failed.

static void after_full(uint64_t dice) {
  static story s;
  shared on;
  uint64_t hash;
  const char *what = "after commits that failed";
  story_begin(&s, &on, dice, dice % 5 == 0, &hash);
  shared_full(&on, ENOSPC);
  for (int i = 0; i < STATES - 20 && story_commit(&s, 100, true) == VEIL_OK; i++) {
    hash = s.states.at[s.states.count - 1].hash;
  }
  for (int i = 0; i < 5; i++) {
    hash = story_commit(&s, 80, true) == VEIL_OK ? s.states.at[s.states.count - 1].hash : hash;
  }
  if (veil_store_rollback(s.store, NULL) != VEIL_OK) {
    found("%s: no rollback: %s", what, veil_error());
  } else if (story_hash(&s) != hash) {
    found("%s: another graph", what);
  }
  veil_verify(s.self);
  shared_full(&on, 0);
  graph_change(s.self, &s.dice, 100, true);
  goes_on(&s, &on, hash, what);
  story_end(&s, &on);
}

// It is not known what the disk has.
static void after_poison(uint64_t dice) {
  static story s;
  shared on;
  uint64_t hash;
  story_begin(&s, &on, dice, dice % 5 == 0, &hash);
  uint64_t before = story_hash(&s);
  pthread_mutex_lock(&on.lock);
  on.d->error = EIO;
  on.d->fail_at = on.d->calls + 1;
  pthread_mutex_unlock(&on.lock);
  MUST(veil_store_commit(s.store, NULL) != VEIL_OK, "a commit goes well, and the disk has failed");
  pthread_mutex_lock(&on.lock);
  on.d->fail_at = 0;
  pthread_mutex_unlock(&on.lock);
  if (veil_store_commit(s.store, NULL) == VEIL_OK) { // it was not a write of the log
    story_end(&s, &on);
    return;
  }
  if (veil_store_rollback(s.store, NULL) != VEIL_IO || story_hash(&s) != before) {
    found("a store that is poisoned goes back: %s", veil_error());
  }
  story_end(&s, &on);
}

void trial_back(void) {
  uint64_t dice = seed;
  unsigned calls = 0, reads = 0;
  for (unsigned n = 1; !enough() && short_of_call(n, graph_dice(&dice)); n += long_run || n < 8 ? 1 : 1 + (unsigned)(graph_dice(&dice) % 8)) {
    calls++;
  }
  for (unsigned n = 1; !enough() && short_of_read(n, graph_dice(&dice)); n += long_run || n < 4 ? 1 : 1 + (unsigned)(graph_dice(&dice) % 30)) {
    reads++;
  }
  for (unsigned i = 0; i < (long_run ? 40u : 4u) && !enough(); i++) {
    after_full(graph_dice(&dice));
    after_poison(graph_dice(&dice));
  }
  printf("back: %u calls failed, and %u reads\n", calls, reads);
}
