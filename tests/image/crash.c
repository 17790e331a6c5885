// SPDX-License-Identifier: MIT
// crash.c: all that a crash may leave of a story: what opens is a version that was acknowledged or in flight, whole, and takes the next.
//
// At each point: every subset of the writes since the last barrier; each of them torn at every sector, with all others there or none; each sector missing; and
// random mixtures, in any order. Of all these one in `one_in` is looked at.

#include <stdio.h>
#include <string.h>
#include "tests/image/trials.h"

typedef struct crashes {
  const story *s;
  size_t at;
  disk_fate fate[64];
  size_t pending[64], count;
  unsigned one_in;
  random_state random;
  uint64_t states, seen;
} crashes;

static void state_look(crashes *c, uint64_t shuffle) {
  unsigned version;
  c->states++;
  if (enough() || (c->one_in > 1 && random_below(&c->random, c->one_in) != 0)) {
    return;
  }
  c->seen++;
  disk *d = disk_crash(c->s->d, c->at, c->fate, shuffle);
  const char *wrong = story_check(c->s, d, c->at, &version);
  if (wrong == NULL && random_below(&c->random, 8) == 0) {
    wrong = story_recovers(c->s, d, version);
  }
  if (wrong != NULL) {
    char fates[64 * 24] = "";
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
  if (c->count > 10) {
    all_are(c, FATE_WHOLE);
    state_look(c, 0);
    return;
  }
  for (unsigned set = 0; set < 1u << c->count; set++) {
    for (size_t i = 0; i < c->count; i++) {
      c->fate[i] = (disk_fate){set >> i & 1 ? FATE_WHOLE : FATE_LOST, 0};
    }
    state_look(c, 0);
  }
}

static void torn(crashes *c, size_t which) {
  const disk_note *n = &c->s->d->note[c->pending[which]];
  if (n->kind != DISK_WRITE) {
    return;
  }
  size_t sectors = n->bytes / DISK_SECTOR;
  for (int others = FATE_LOST; others <= FATE_WHOLE; others++) {
    all_are(c, others);
    for (size_t s = 0; s < sectors; s++) {
      c->fate[which] = (disk_fate){FATE_FIRST, s};
      state_look(c, 0);
      c->fate[which] = (disk_fate){FATE_BUT_ONE, s};
      state_look(c, 0);
    }
  }
}

static void mixtures(crashes *c, unsigned count) {
  for (unsigned i = 0; i < count && c->count != 0; i++) {
    for (size_t k = 0; k < c->count; k++) {
      c->fate[k] = (disk_fate){(int)random_below(&c->random, 5), random_next(&c->random)};
      if (c->fate[k].kind == FATE_FIRST || c->fate[k].kind == FATE_BUT_ONE) {
        c->fate[k].arg %= c->s->d->note[c->pending[k]].bytes / DISK_SECTOR + 1;
      }
    }
    state_look(c, random_next(&c->random));
  }
}

static void point_look(crashes *c, size_t at, unsigned random_states) {
  c->at = at;
  c->count = 0;
  for (size_t i = 0; i < at; i++) {
    if (disk_pending(c->s->d, i, at) && c->count < 64) {
      c->pending[c->count++] = i;
    }
  }
  subsets(c);
  for (size_t i = 0; i < c->count; i++) {
    torn(c, i);
  }
  mixtures(c, random_states);
}

static void story_look(const story *s, size_t from, unsigned one_in, unsigned random_states, crashes *total) {
  crashes c = {.s = s, .one_in = one_in, .random = {seed + from}};
  for (size_t at = from; at <= s->d->notes && !enough(); at++) {
    point_look(&c, at, random_states);
  }
  total->states += c.states;
  total->seen += c.seen;
}

void trial_crash(unsigned one_in) {
  static story s;
  crashes total = {0};
  for (int codec = RT_IMAGE_PLAIN; codec <= RT_IMAGE_ZSTD && !enough(); codec++) {
    story_begin(&s, seed + (uint64_t)codec, (rt_image_codec)codec, codec == RT_IMAGE_LZ4 ? 8192 : 4096);
    if (story_run(&s)) {
      story_look(&s, 0, one_in, one_in * (long_run ? 1500 : 20), &total);
    } else {
      found("the story itself failed: %s", s.error);
    }
    story_end(&s);
  }
  printf("crash: %llu states, %llu looked at\n", (unsigned long long)total.states, (unsigned long long)total.seen);
}

// ---- A process that is killed, and another that goes on from what the system's cache has, before the machine crashes too (im.settle).

static void killed_look(story *s, unsigned one_in, crashes *total) {
  story_close(s);
  disk_restart(s->d);
  unsigned version;
  size_t from = s->d->notes;
  const char *wrong = story_check(s, s->d, from, &version);
  if (wrong != NULL) {
    found("killed at call %u: %s", s->d->fail_at, wrong);
    return;
  }
  if (version == 0) {
    return;
  }
  bool unsure = version != s->last; // this version is in the cache, and was acknowledged to nobody
  s->last = version;
  s->status = VEIL_OK;
  if (!story_append(s)) {
    found("killed: it does not open for increments: %s", s->error);
    return;
  }
  if (unsure) {
    s->version[version].acknowledged = s->d->notes; // now it was
  }
  bool good;
  if (s->d->fail_at % 3 == 0) { // over what a compaction that was killed left
    story_close(s);
    good = story_compact(s);
  } else {
    good = story_increment(s, 24);
  }
  if (good) {
    story_look(s, from, one_in, 10, total);
  } else {
    found("killed: it takes no further version: %s", s->error);
  }
}

void trial_kill(unsigned one_in) {
  static story s;
  crashes total = {0};
  unsigned kills = 0;
  for (unsigned n = 1; !enough(); n++) {
    story_begin(&s, seed, RT_IMAGE_PLAIN, 4096);
    s.d->fail_at = n;
    s.d->failure = DISK_DIES;
    bool ended = story_run(&s);
    if (!ended) {
      kills++;
      killed_look(&s, one_in, &total);
    }
    story_end(&s);
    if (ended) {
      break;
    }
  }
  printf("kill: %u kills, %llu states, %llu looked at\n", kills, (unsigned long long)total.states, (unsigned long long)total.seen);
}
