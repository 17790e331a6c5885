// SPDX-License-Identifier: MIT
// store_crash.c: what a crash may leave on the disk at each point of a story, and another crash while what was left is opened and gone on with: what was acknowledged is there, what was in flight as a whole or not at all.
//
// tests/image/crash.c and log_crash.c enumerate what there may be of each file; here it is sampled.

#include <string.h>
#include "tests/store/store_trials.h"

// What is there. False: it has been said what is wrong.
static bool look(const story *s, size_t at, shared *on, story *next, const char *where) {
  bool elsewhere = graph_dice(&next->dice) % 5 == 0;
  if (!story_open(next, on, elsewhere)) {
    found("%s before note %zu of %zu: it does not open: %s", where, at, s->on->d->notes, veil_error());
    return false;
  }
  uint64_t hash = story_hash(next);
  if (states_find(&s->states, at, hash) < 0) {
    found("%s before note %zu of %zu: number %llu is there, which is state %d; %d was acknowledged", where, at, s->on->d->notes,
          (unsigned long long)graph_number(next->self), states_ever(&s->states, hash), states_sure(&s->states, at));
    story_die(next);
    return false;
  }
  if (graph_dice(&next->dice) % 8 == 0) {
    veil_collect(next->self);
    veil_verify(next->self);
  }
  next->states.at[0] = (state){hash, 0, 0};
  next->states.count = 1;
  return true;
}

static void second_crash(const story *s, const disk *d, uint64_t *dice) {
  story last = {.dice = graph_dice(dice)};
  shared on;
  size_t at = graph_dice(dice) % (d->notes + 1);
  disk *crashed = disk_crash_some(d, at, graph_dice(dice));
  shared_open(&on, crashed);
  if (look(s, at, &on, &last, "a second crash")) {
    story_die(&last);
  }
  shared_close(&on);
  disk_free(crashed);
}

// A crash; what is left is opened and gone on with, and closed or not; and crashes again.
void story_crash(const story *s, size_t at, uint64_t *dice) {
  static story next;
  next = (story){.dice = graph_dice(dice)};
  shared on;
  disk *crashed = disk_crash_some(s->on->d, at, graph_dice(dice));
  disk_rebase(crashed);
  shared_open(&on, crashed);
  if (look(s, at, &on, &next, "a crash")) {
    for (unsigned i = 0, count = (unsigned)(graph_dice(dice) % 3); i < count; i++) {
      if (story_commit(&next, 20, true) != VEIL_OK) {
        found("a crash before note %zu of %zu: no commit after it: %s", at, s->on->d->notes, veil_error());
      }
    }
    bool dies = graph_dice(dice) % 3 == 0;
    if (dies) {
      story_die(&next);
    } else if (story_close(&next) != VEIL_OK) {
      found("a crash before note %zu of %zu: it does not close after it: %s", at, s->on->d->notes, veil_error());
    }
    for (unsigned i = 0; i < 2 && !enough(); i++) {
      second_crash(&next, crashed, dice);
    }
  }
  shared_close(&on);
  disk_free(crashed);
}

void trial_crash(void) {
  static story s;
  s = (story){.dice = seed};
  uint64_t dice = seed + 1;
  shared on;
  shared_open(&on, disk_new());
  story_run(&s, &on, 3, 50);
  unsigned times = long_run ? 20 : 1, seen = 0;
  for (unsigned t = 0; t < times && !enough(); t++) {
    for (size_t at = 0; at <= on.d->notes && !enough(); at += long_run ? 1 : 1 + graph_dice(&dice) % (1 + on.d->notes / 60)) {
      story_crash(&s, at, &dice);
      seen++;
    }
  }
  printf("crash: %d states, %zu notes, %u crashes\n", s.states.count, on.d->notes, seen);
  disk_free(on.d);
  shared_close(&on);
}
