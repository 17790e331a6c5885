// SPDX-License-Identifier: MIT
// store_fail.c: calls to the system that fail: every operation says so, nothing crashes, nothing that was acknowledged is lost, and what goes on goes on rightly.

#include <errno.h>
#include <string.h>
#include "tests/store/store_trials.h"

static const size_t END = SIZE_MAX - 1;

// What is there after all that must be the last state that was acknowledged, or one that was tried since. Its number, or -1.
static int end_look(story *s, shared *on, const char *what) {
  on->d->fail_at = 0;
  shared_full(on, 0);
  disk_restart(on->d);
  if (!story_open(s, on, false)) {
    found("%s: it does not open afterwards: %s", what, veil_error());
    return -1;
  }
  veil_verify(s->self); // which aborts, of a graph that is none
  uint64_t hash = story_hash(s);
  int state = states_find(&s->states, END, hash);
  if (state < 0) {
    found("%s: number %llu is there, which is state %d; %d was acknowledged", what, (unsigned long long)graph_number(s->self), states_ever(&s->states, hash), states_sure(&s->states, END));
  }
  return state;
}

// ---- The n-th call fails.

static bool opened(story *s, shared *on, const char *what) {
  if (story_open(s, on, false)) {
    return true;
  }
  if (!on->d->failed || strlen(veil_error()) < 10) {
    found("%s: it does not open: %s", what, veil_error());
    return false;
  }
  if (!story_open(s, on, false)) {
    found("%s: nor does it open when all is well again: %s", what, veil_error());
    return false;
  }
  return true;
}

static void commits(story *s, const char *what) {
  for (unsigned i = 0; i < 5; i++) {
    bool failed = s->on->d->failed;
    if (story_commit(s, i % 2 == 0 ? 120 : 10, i == 2) != VEIL_OK && ((!failed && !s->on->d->failed) || strlen(veil_error()) < 10)) {
      found("%s: a commit fails without a reason: %s", what, veil_error());
    }
  }
}

// False: there is no call of that number.
static bool try(unsigned n, disk_failure failure, int error, uint64_t dice) {
  static story s;
  s = (story){.dice = dice};
  char what[100];
  shared on;
  snprintf(what, sizeof what, "call %u, %s", n, failure == DISK_SHORT ? "did less" : strerror(error));
  shared_open(&on, disk_new());
  on.d->fail_at = n;
  on.d->failure = failure;
  on.d->error = error;
  shared_reads_may_fail = true;
  bool good = true;
  for (unsigned life = 0; life < 2 && good; life++) {
    good = opened(&s, &on, what);
    if (good) {
      if (s.states.count == 0) {
        s.states.at[s.states.count++] = (state){story_hash(&s), 0, 0};
      } else if (states_find(&s.states, END, story_hash(&s)) < 0) {
        found("%s: another state after it: number %llu", what, (unsigned long long)graph_number(s.self));
      }
      commits(&s, what);
      if (story_close(&s) != VEIL_OK && !on.d->failed) {
        found("%s: it does not close: %s", what, veil_error());
      }
    }
  }
  shared_reads_may_fail = false;
  bool failed = on.d->failed;
  if (failed && failure == DISK_SHORT && good && states_sure(&s.states, END) != s.states.count - 1) {
    found("%s: a call that did less is no failure", what);
  }
  if (good && end_look(&s, &on, what) >= 0) {
    if (story_commit(&s, 20, false) != VEIL_OK || story_close(&s) != VEIL_OK) {
      found("%s: it does not go on afterwards: %s", what, veil_error());
    } else if (end_look(&s, &on, what) >= 0) {
      story_die(&s);
    }
  }
  disk_free(on.d);
  shared_close(&on);
  return failed;
}

void trial_fail(void) {
  static const int errors[] = {EIO, ENOSPC, EINTR, ENOMEM};
  unsigned runs = 0;
  uint64_t dice = seed;
  for (size_t i = 0; i < sizeof errors / sizeof *errors + 1 && !enough(); i++) {
    bool shorter = i == sizeof errors / sizeof *errors;
    unsigned step = long_run ? 1 : i < 2 ? 6 : 25;
    for (unsigned n = 1; !enough() && try(n, shorter ? DISK_SHORT : DISK_FAILS, shorter ? 0 : errors[i], seed); n += 1 + (unsigned)(graph_dice(&dice) % step)) {
      runs++;
    }
  }
  printf("fail: %u runs\n", runs);
}

// ---- The disk is full.

static bool fills(story *s, const char *what) {
  for (int i = 0; i < STATES - 60; i++) {
    if (story_commit(s, 100, true) != VEIL_OK) {
      if (strstr(veil_error(), "full") == NULL && strstr(veil_error(), "No space") == NULL) {
        found("%s: a commit fails, and does not say that the disk is full: %s", what, veil_error());
      }
      return true;
    }
  }
  found("%s: the disk is full, and commits go on and on", what);
  return false;
}

static void full(bool room_again, uint64_t dice) {
  static story s;
  s = (story){.dice = dice};
  const char *what = room_again ? "a full disk, and room again" : "a full disk, and the end";
  shared on;
  shared_open(&on, disk_new());
  MUST(story_open(&s, &on, false), "%s", veil_error());
  s.states.at[s.states.count++] = (state){story_hash(&s), 0, 0};
  for (int i = 0; i < 3; i++) {
    MUST(story_commit(&s, 30, false) == VEIL_OK, "%s", veil_error());
  }
  shared_full(&on, ENOSPC);
  if (fills(&s, what)) {
    for (int i = 0; i < 25; i++) {
      story_commit(&s, 80, true); // may have room, for it has what the others found, and whatever is garbage since has gone
    }
    if (room_again) {
      shared_full(&on, 0);
      for (int i = 0; i < 3; i++) {
        if (story_commit(&s, 10, true) != VEIL_OK) {
          found("%s: a commit fails all the same: %s", what, veil_error());
        }
      }
    }
  }
  story_die(&s);
  int state = end_look(&s, &on, what);
  if (state >= 0 && state != states_sure(&s.states, END)) {
    found("%s: state %d is there, whose commit failed; %d was acknowledged last", what, state, states_sure(&s.states, END));
  }
  if (s.store != NULL) {
    story_die(&s);
  }
  disk_free(on.d);
  shared_close(&on);
}

void trial_full(void) {
  uint64_t dice = seed;
  for (unsigned i = 0; i < (long_run ? 100u : 6u) && !enough(); i++) {
    full(i % 2 == 0, graph_dice(&dice));
  }
}

// ---- A commit that went into the image fails, and it is not known whether the image has it.

enum { BYTES = 1500000, CHANGED = 5000 };

static const char *bytes_wrong(veil_thread *self, int most, int first) {
  static char text[100];
  const char *bytes = veil_root_get(self, "bytes");
  for (int i = 0; bytes != NULL && i < BYTES; i++) {
    if (bytes[i] != (i < CHANGED ? first : most)) {
      snprintf(text, sizeof text, "byte %d is %d, and should be %d", i, bytes[i], i < CHANGED ? first : most);
      return text;
    }
  }
  return bytes == NULL ? "they are not there" : NULL;
}

// The calls that there were.
static unsigned unsure(unsigned n, bool closes, bool elsewhere) {
  static story s;
  s = (story){.dice = seed};
  char what[100];
  shared on;
  snprintf(what, sizeof what, "call %u of a commit into the image fails", n);
  shared_open(&on, disk_new());
  MUST(story_open(&s, &on, false), "%s", veil_error());
  char *bytes = veil_new_bytes(s.self, BYTES);
  MUST(veil_root_set(s.self, "bytes", bytes) == VEIL_OK, "%s", veil_error());
  memset(bytes, 1, BYTES);
  MUST(veil_store_commit(s.store, NULL) == VEIL_OK, "%s", veil_error());
  if (elsewhere) { // so that the image is made anew
    MUST(story_close(&s) == VEIL_OK && story_open(&s, &on, true), "%s", veil_error());
    bytes = veil_root_get(s.self, "bytes");
  }
  memset(bytes, 2, BYTES);
  pthread_mutex_lock(&on.lock);
  on.d->error = EIO;
  on.d->fail_at = on.d->calls + n;
  pthread_mutex_unlock(&on.lock);
  shared_reads_may_fail = true;
  veil_status status = veil_store_commit(s.store, NULL);
  shared_reads_may_fail = false;
  pthread_mutex_lock(&on.lock); // a fold may be under way
  bool failed = on.d->failed;
  unsigned calls = on.d->calls - (on.d->fail_at - n);
  on.d->fail_at = 0;
  pthread_mutex_unlock(&on.lock);
  memset(bytes, 1, BYTES);
  memset(bytes, 3, CHANGED);
  veil_status next = failed ? veil_store_commit(s.store, NULL) : VEIL_OK;
  bytes = NULL;
  if (closes) {
    story_close(&s);
    disk_restart(on.d);
  } else {
    story_die(&s);
  }
  if (failed) {
    on.d->failed = false;
    MUST(story_open(&s, &on, false), "%s", veil_error());
    const char *wrong = bytes_wrong(s.self, 1, 3);
    if (next != VEIL_OK && wrong != NULL) { // it was refused: what is there is the one before, if that is acknowledged, or that or none
      wrong = bytes_wrong(s.self, 2, 2);
      wrong = wrong != NULL && status != VEIL_OK ? bytes_wrong(s.self, 1, 1) : wrong;
    }
    if (wrong != NULL) {
      found("%s, %s: the next one %s, and %s", what, on.d->failed_call, next == VEIL_OK ? "goes well" : "is refused", wrong);
    }
    story_die(&s);
  }
  disk_free(on.d);
  shared_close(&on);
  return calls;
}

void trial_unsure(void) {
  uint64_t dice = seed;
  for (int way = 0; way < 4; way++) {
    bool closes = way % 2, elsewhere = way / 2;
    unsigned calls = unsure(1000000, closes, elsewhere);
    for (unsigned n = 1; n <= calls && !enough(); n += long_run || n + 30 > calls ? 1 : 1 + (unsigned)(graph_dice(&dice) % (calls / 10))) {
      unsure(n, closes, elsewhere);
    }
    printf("unsure: %u calls\n", calls);
  }
}
