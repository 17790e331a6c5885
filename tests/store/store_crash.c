// SPDX-License-Identifier: MIT
// store_crash.c: what a crash may leave on the disk at each point of a story, and another crash while what was left is opened and gone on with: what was acknowledged is there, what was in flight as a whole or not at all.
//
// tests/image/crash.c and log_crash.c enumerate what there may be of each file; here it is sampled.

#include <string.h>
#include "tests/store/store_trials.h"

enum { PENDING = 256 };

static disk *crashed_at(const disk *d, size_t at, uint64_t *dice) {
  disk_fate fate[PENDING];
  size_t n = 0;
  uint64_t kind = graph_dice(dice) % 4; // all lost, all there, mixtures
  for (size_t i = 0; i < at && n < PENDING; i++) {
    if (disk_pending(d, i, at)) {
      fate[n] = (disk_fate){kind == 0 ? FATE_LOST : kind == 1 ? FATE_WHOLE : (int)(graph_dice(dice) % 5), graph_dice(dice)};
      if (fate[n].kind == FATE_FIRST || fate[n].kind == FATE_BUT_ONE) {
        fate[n].arg %= d->note[i].bytes / DISK_SECTOR + 1;
      }
      n++;
    }
  }
  MUST(n < PENDING, "too many notes are pending");
  return disk_crash(d, at, fate, kind < 2 ? 0 : graph_dice(dice));
}

// What is there. False: it has been said what is wrong.
static bool look(const story *s, size_t at, shared *on, story *next, const char *where) {
  bool elsewhere = graph_dice(&next->dice) % 5 == 0;
  if (!story_open(next, on, elsewhere)) {
    found("%s before note %zu of %zu: it does not open: %s", where, at, s->on->d->notes, veil_error());
    return false;
  }
  uint64_t hash = story_hash(next);
  if (story_find(s, at, hash) < 0) {
    int sure = story_sure(s, at), old = -1;
    for (int i = 0; i < s->count; i++) {
      old = s->state[i].hash == hash ? i : old;
    }
    found("%s before note %zu of %zu: number %llu is there, which is state %d; %d was acknowledged", where, at, s->on->d->notes,
          (unsigned long long)graph_number(next->self), old, sure);
    story_die(next);
    return false;
  }
  if (graph_dice(&next->dice) % 8 == 0) {
    veil_collect(next->self);
    veil_verify(next->self);
  }
  next->state[0] = (state){hash, 0, 0};
  next->count = 1;
  return true;
}

static void second_crash(const story *s, const disk *d, uint64_t *dice) {
  story last = {.dice = graph_dice(dice)};
  shared on;
  size_t at = graph_dice(dice) % (d->notes + 1);
  disk *crashed = crashed_at(d, at, dice);
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
  disk *crashed = crashed_at(s->on->d, at, dice);
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
  printf("crash: %d states, %zu notes, %u crashes\n", s.count, on.d->notes, seen);
  disk_free(on.d);
  shared_close(&on);
}
