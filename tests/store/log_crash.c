// SPDX-License-Identifier: MIT
// log_crash.c: all that a crash may leave of a story: what opens has all records that were acknowledged, and of those in flight a beginning, and goes on from
// there, through further crashes.
//
// At each point: every subset of the writes since the last barrier; each of them torn at every sector, with all others there or none; each sector missing; and
// random mixtures, in any order. Of all these one in `one_in` is looked at, and of those some are gone on from: with the records that were lost, so that the
// bytes are the same and stand where they stood; with others of their length; with any.

#include <stdio.h>
#include <string.h>
#include "tests/store/log_trials.h"

enum { PENDING_MOST = 64, DEPTH_MOST = 3, BESIDE_MOST = 10 };

typedef struct crashes {
  const story *s;
  size_t at;
  disk_fate fate[PENDING_MOST];
  size_t pending[PENDING_MOST], count;
  unsigned one_in, follow_in, mixtures, then_one_in; // the last: of the states after another crash; 0: few
  unsigned depth; // crashes before
  random_state random;
} crashes;

static uint64_t states, seen, followed;

static void story_crash(const story *s, size_t from, const crashes *how);

// ---- What is done after a crash.

// Appends what was lost once more, in one of three ways.
static bool lost_again(story *next, const story *s, uint64_t count, unsigned way) {
  for (uint64_t n = 0; n < count; n++) {
    uint64_t i = next->last + 1;
    bool was = i <= s->last;
    uint32_t size = way < 2 && was ? s->record[i].size : (uint32_t)random_below(&next->random, 3000);
    uint32_t with = way < 1 && was ? s->record[i].seed : (uint32_t)random_next(&next->random);
    if (!story_append(next, size, with)) {
      return false;
    }
  }
  return true;
}

static const char *recovers(const crashes *c, disk *d, uint64_t last, unsigned way) {
  static char text[1000];
  static story nexts[DEPTH_MOST];
  story *next = &nexts[c->depth];
  story_follow(next, c->s, d, c->at, last);
  bool good = disk_find(d, STORY_PATH) != NULL ? story_open(next) : story_create(next);
  const char *wrong = good && next->last != last ? "opening for writing finds other records than for reading" : NULL;
  good = good && wrong == NULL && lost_again(next, c->s, 1, way) && story_write(next);
  story_close(next);
  wrong = good ? story_check(next, d, d->notes, &last) : wrong;
  wrong = good && wrong == NULL && last != next->last ? "another record than the last that was appended is the last" : wrong;
  good = good && wrong == NULL && story_open(next) && lost_again(next, c->s, 3, way) && story_write(next);
  if (!good) {
    snprintf(text, sizeof text, "after %u crashes, going on: %s", c->depth + 1, wrong != NULL ? wrong : next->error);
  } else if (c->depth + 1 < DEPTH_MOST) {
    crashes how = {.one_in = c->then_one_in != 0 ? c->then_one_in : long_run ? 10 : 100, .follow_in = c->depth == 0 ? 4 : 20, .mixtures = 10, .depth = c->depth + 1};
    story_crash(next, 0, &how);
  }
  story_close(next);
  return good ? NULL : text;
}

// ---- States.

static void state_look(crashes *c, uint64_t shuffle) {
  uint64_t last;
  states++;
  if (enough() || (c->one_in > 1 && random_below(&c->random, c->one_in) != 0)) {
    return;
  }
  seen++;
  disk *d = disk_crash(c->s->d, c->at, c->fate, shuffle);
  const char *wrong = story_check(c->s, d, c->at, &last);
  if (wrong == NULL && random_below(&c->random, c->follow_in) == 0) {
    followed++;
    wrong = recovers(c, d, last, (unsigned)random_below(&c->random, 3));
  }
  if (wrong != NULL) {
    char fates[PENDING_MOST * 24] = "";
    for (size_t i = 0; i < c->count && strlen(fates) < sizeof fates - 40; i++) {
      static const char *const names[] = {"lost", "whole", "first", "but", "random"};
      snprintf(fates + strlen(fates), 40, " %s:%llu", names[c->fate[i].kind], (unsigned long long)c->fate[i].arg);
    }
    found("a crash before note %zu of %zu (%zu pending:%s; order %llu): %s", c->at, c->s->d->notes, c->count, fates, (unsigned long long)shuffle, wrong);
  }
  disk_free(d);
}

static void all_are(crashes *c, int kind) {
  for (size_t i = 0; i < c->count; i++) {
    c->fate[i] = (disk_fate){kind, 0};
  }
}

static void subsets(crashes *c) {
  for (unsigned set = 0; set < 1u << (c->count < BESIDE_MOST ? c->count : BESIDE_MOST); set++) {
    for (size_t i = 0; i < c->count; i++) {
      c->fate[i] = (disk_fate){i >= BESIDE_MOST || (set >> i & 1) ? FATE_WHOLE : FATE_LOST, 0};
    }
    state_look(c, 0);
  }
}

static void torn(crashes *c, size_t which) {
  const disk_note *n = &c->s->d->note[c->pending[which]];
  for (int others = FATE_LOST; n->kind == DISK_WRITE && others <= FATE_WHOLE; others++) {
    all_are(c, others);
    for (size_t s = 0; s < disk_sectors(n); s++) {
      c->fate[which] = (disk_fate){FATE_FIRST, s};
      state_look(c, 0);
      c->fate[which] = (disk_fate){FATE_BUT_ONE, s};
      state_look(c, 0);
    }
  }
}

static void mixtures(crashes *c) {
  for (unsigned i = 0; i < c->mixtures && c->count != 0; i++) {
    for (size_t k = 0; k < c->count; k++) {
      c->fate[k] = (disk_fate){(int)random_below(&c->random, 5), random_next(&c->random)};
      if (c->fate[k].kind == FATE_FIRST || c->fate[k].kind == FATE_BUT_ONE) {
        c->fate[k].arg %= disk_sectors(&c->s->d->note[c->pending[k]]) + 1;
      }
    }
    state_look(c, random_next(&c->random));
  }
}

static void story_crash(const story *s, size_t from, const crashes *how) {
  crashes c = *how;
  c.s = s;
  c.random.s = s->random.s + from;
  for (c.at = from; c.at <= s->d->notes && !enough(); c.at++) {
    c.count = 0;
    for (size_t i = 0; i < c.at; i++) {
      if (disk_pending(s->d, i, c.at) && c.count < PENDING_MOST) {
        c.pending[c.count++] = i;
      }
    }
    subsets(&c);
    for (size_t i = 0; i < c.count; i++) {
      torn(&c, i);
    }
    mixtures(&c);
  }
}

static void states_say(const char *what) {
  printf("%s: %llu states, %llu looked at, %llu gone on from\n", what, (unsigned long long)states, (unsigned long long)seen, (unsigned long long)followed);
}

void trial_crash(unsigned one_in) {
  static story s;
  for (unsigned i = 0; i < (long_run ? 8u : 3u) && !enough(); i++) {
    story_begin(&s, seed + i);
    if (story_run(&s, 18)) {
      crashes how = {.one_in = one_in, .follow_in = long_run ? 3 : 6, .mixtures = one_in * (long_run ? 300 : 20)};
      story_crash(&s, 0, &how);
    } else {
      found("the story itself failed: %s", s.error);
    }
    story_end(&s);
  }
  states_say("crash");
}

// ---- A turn that is lost and written again, byte by byte the same (log.turn).

// A log whose last record leaves just as much of the file as a turn needs, and `behind` records behind it.
static bool turn_make(story *s, unsigned behind, unsigned left) {
  bool good = story_create(s) && story_append(s, 1000, 1) && story_write(s);
  while (good && STORY_BYTES - st_log_tail(s->log).offset > 9000) {
    good = story_append(s, 5000, 2) && story_write(s);
  }
  good = good && story_advance(s, s->last) && story_append(s, (uint32_t)(STORY_BYTES - st_log_tail(s->log).offset) - ST_LOG_RECORD - left, 3) && story_write(s);
  for (unsigned i = 0; good && i < behind; i++) {
    good = story_append(s, 200 + 500 * i, 4 + i);
  }
  return good && story_write(s);
}

void trial_turn(unsigned one_in) {
  static story s;
  for (unsigned left = 0; left <= ST_LOG_RECORD + 16 && !enough(); left += 8) {
    for (unsigned behind = 1; behind <= 3 && !enough(); behind++) {
      story_begin(&s, seed + left + behind);
      if (turn_make(&s, behind, left)) {
        crashes how = {.one_in = 1, .follow_in = one_in, .mixtures = 10, .then_one_in = one_in};
        story_crash(&s, s.record[s.last].begun, &how);
      } else {
        found("the story itself failed: %s", s.error);
      }
      story_end(&s);
    }
  }
  states_say("turn");
}

// ---- A log in the place of another.

static void new_look(story *before, disk *d, size_t at, bool created) {
  static const uint64_t other[2] = {7, 8};
  uint64_t last;
  st_log *log;
  seen++;
  bool is_new = disk_find(d, STORY_PATH) != NULL && st_log_open(&log, STORY_PATH, other, (st_log_place){0}, true, NULL, NULL, &d->io) == VEIL_OK;
  if (is_new) {
    if (st_log_used(log) != LOG_MARK_BYTES || st_log_tail(log).sequence != 1000) {
      found("the new log is not empty, or does not begin where it should");
    }
    st_log_close(log);
    return;
  }
  const char *wrong = created ? "the new log was acknowledged, and is not there" : story_check(before, d, SIZE_MAX - 1, &last);
  wrong = wrong == NULL && last != before->last ? "the old log has lost records" : wrong;
  if (wrong != NULL) {
    found("a crash before note %zu, with a new log in the place of an old one: %s", at, wrong);
  }
}

void trial_new(unsigned one_in) {
  static story s;
  st_log *log;
  st_log_place first = {.sequence = 1000};
  random_state random = {seed};
  story_begin(&s, seed);
  if (!story_run(&s, 6)) {
    found("the story itself failed: %s", s.error);
  }
  story_close(&s);
  disk_restart(s.d);
  disk_rebase(s.d);
  if (st_log_create(&log, STORY_PATH, (const uint64_t[2]){7, 8}, STORY_BYTES + 4096, &first, &s.d->io) != VEIL_OK) {
    found("a log in the place of another: %s", veil_error());
  } else {
    st_log_close(log);
  }
  size_t created = s.d->notes;
  for (size_t at = 0; at <= created; at++) {
    for (unsigned i = 0; i < 4000 / one_in && !enough(); i++) {
      disk_fate fate[PENDING_MOST];
      for (size_t k = 0; k < PENDING_MOST; k++) {
        fate[k] = i < 2 ? (disk_fate){i == 0 ? FATE_LOST : FATE_WHOLE, 0} : (disk_fate){(int)random_below(&random, 5), random_below(&random, 140)};
      }
      disk *d = disk_crash(s.d, at, fate, i < 2 ? 0 : random_next(&random));
      new_look(&s, d, at, at == created);
      disk_free(d);
    }
  }
  story_end(&s);
  states_say("new");
}

// ---- A process that is killed, and another that goes on from what the system's cache has, before the machine crashes too (log.settle).

static void killed_look(story *s, unsigned one_in) {
  uint64_t last;
  unsigned n = s->d->fail_at;
  story_close(s);
  disk_restart(s->d);
  size_t from = s->d->notes;
  s->status = VEIL_OK;
  const char *wrong = story_check(s, s->d, from, &last);
  bool good = wrong == NULL && (disk_find(s->d, STORY_PATH) != NULL ? story_open(s) : story_create(s));
  good = good && story_append(s, 700, n) && story_append(s, 2000, n + 1) && story_write(s);
  if (good) {
    crashes how = {.one_in = one_in, .follow_in = 10, .mixtures = 10};
    story_crash(s, from, &how);
  } else {
    found("killed at call %u: %s", n, wrong != NULL ? wrong : s->error);
  }
}

void trial_kill(unsigned one_in) {
  static story s;
  bool ended = false;
  for (unsigned n = 1; !ended && !enough(); n++) {
    story_begin(&s, seed);
    s.d->fail_at = n;
    s.d->failure = DISK_DIES;
    ended = story_run(&s, 12);
    if (!ended) {
      killed_look(&s, one_in);
    }
    story_end(&s);
  }
  states_say("kill");
}
