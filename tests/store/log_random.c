// SPDX-License-Identifier: MIT
// log_random.c: a long life of one log, against a model: records of all lengths, full logs, openings without end, new logs that go on with the numbers of old
// ones.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/store/log_trials.h"

enum { LIVE_MOST = 8192 };

typedef struct life {
  disk *d;
  st_log *log;
  random_state random;
  uint64_t bytes;
  struct {
    uint32_t size, seed;
    st_log_place place;
  } record[LIVE_MOST];          // by number
  uint64_t head, last, durable; // numbers; the head's record is the first that is needed
  st_log_place from;            // of the head
  bool grown;                   // the file has other bytes than it should, and that was said
  uint64_t refusals, openings, turns;
} life;

static bool good(veil_status status, const char *what) {
  if (status != VEIL_OK) {
    found("%s: %s", what, veil_error());
  }
  return status == VEIL_OK;
}

// Often so that the record ends where the file does, or a little before, where there is room for a turn's head or none.
static uint32_t size_choose(life *l) {
  uint32_t most = (uint32_t)st_log_most(l->log), left = (uint32_t)(l->bytes - st_log_tail(l->log).offset), less = 8 * (uint32_t)random_below(&l->random, 12);
  if (left >= ST_LOG_RECORD + less && left - ST_LOG_RECORD - less <= most && random_below(&l->random, 2) == 0) {
    return left - ST_LOG_RECORD - less;
  }
  switch (random_below(&l->random, 8)) {
  case 0:
    return 0;
  case 1:
    return most;
  case 2:
    return most - (uint32_t)random_below(&l->random, 100);
  case 3:
    return (uint32_t)random_below(&l->random, most);
  default:
    return (uint32_t)random_below(&l->random, 1200);
  }
}

static void append(life *l) {
  uint32_t size = size_choose(l), need = size + 7 + ST_LOG_RECORD;
  uint64_t used = st_log_used(l->log);
  char *room = st_log_room(l->log, size);
  if (l->last + 1 - l->head >= LIVE_MOST) {
    return;
  }
  if (room == NULL) {
    l->refusals++;
    if (l->bytes - ST_LOG_HEADER - used > 2 * (uint64_t)need + LOG_SPARE) {
      found("no room for %u bytes with %llu of %llu in use", size, (unsigned long long)used, (unsigned long long)l->bytes);
    }
    return;
  }
  if (((uintptr_t)room & 7) != 0) {
    found("room that is not aligned");
  }
  uint32_t less = random_below(&l->random, 5) == 0 ? (uint32_t)random_below(&l->random, size + 1) : size; // what is not used of it does no harm
  memset(room, 0xa5, size);
  l->last++;
  story_fill((uint32_t)l->last * 7, room, less);
  st_log_place before = st_log_tail(l->log), place = st_log_append(l->log, less);
  l->turns += place.offset < before.offset;
  l->record[l->last % LIVE_MOST].size = less;
  l->record[l->last % LIVE_MOST].seed = (uint32_t)l->last * 7;
  l->record[l->last % LIVE_MOST].place = place;
  if (place.sequence != l->last || st_log_tail(l->log).sequence != l->last + 1 || st_log_used(l->log) <= used) {
    found("record %llu has the number %llu", (unsigned long long)l->last, (unsigned long long)place.sequence);
  }
}

static void write_all(life *l) {
  uint64_t upto = 0;
  if (good(st_log_write(l->log, &upto), "writing") && upto != l->last) {
    found("record %llu is the last, and %llu is said to be durable", (unsigned long long)l->last, (unsigned long long)upto);
  }
  l->durable = l->last;
}

static void advance(life *l) {
  uint64_t most = l->durable + 1 - l->head; // records that can go
  uint64_t used = st_log_used(l->log);
  if (most == 0) {
    return;
  }
  uint64_t to = l->head + (random_below(&l->random, 3) == 0 ? most : random_below(&l->random, most + 1));
  l->from = to <= l->last ? l->record[to % LIVE_MOST].place : st_log_tail(l->log);
  l->head = to;
  st_log_advance(l->log, l->from);
  if (st_log_used(l->log) > used || (to > l->last && st_log_used(l->log) != 0)) {
    found("the head went on, and %llu bytes are in use", (unsigned long long)st_log_used(l->log));
  }
}

typedef struct seen {
  life *l;
  uint64_t next;
} seen;

static veil_status record_seen(void *arg, st_log_place place, const char *bytes, size_t size) {
  seen *k = arg;
  life *l = k->l;
  size_t i = k->next % LIVE_MOST;
  if (place.sequence != k->next || k->next > l->last || size != l->record[i].size || memcmp(&place, &l->record[i].place, sizeof place) != 0 ||
      story_bytes_differ(l->record[i].seed, bytes, size) != NULL) {
    found("record %llu is not what was appended", (unsigned long long)place.sequence);
    return VEIL_INVALID;
  }
  k->next++;
  return VEIL_OK;
}

// Closes and opens it; what was not written is lost.
static void reopen(life *l, bool writes) {
  seen k = {l, l->head};
  st_log_close(l->log);
  l->last = l->durable;
  l->openings++;
  if (!good(st_log_open(&l->log, STORY_PATH, story_id, l->from, writes, record_seen, &k, &l->d->io), "opening")) {
    l->log = NULL;
  } else if (k.next != l->last + 1) {
    found("%llu is the last record that is there, and %llu was written", (unsigned long long)k.next - 1, (unsigned long long)l->last);
  }
}

static void create(life *l) {
  st_log_close(l->log);
  l->last = l->durable;
  l->bytes = ST_LOG_MIN + 4096 * random_below(&l->random, 4);
  l->from = (st_log_place){.sequence = l->last + 1, .chain = random_next(&l->random)};
  l->head = l->last + 1;
  if (!good(st_log_create(&l->log, STORY_PATH, story_id, l->bytes - random_below(&l->random, l->bytes == ST_LOG_MIN ? 1 : 4000), &l->from, &l->d->io),
            "creating")) {
    l->log = NULL;
  } else if (st_log_bytes(l->log) != l->bytes) {
    found("a log of %llu bytes has %llu", (unsigned long long)l->bytes, (unsigned long long)st_log_bytes(l->log));
  }
}

static void step(life *l) {
  uint64_t what = random_below(&l->random, 1000);
  if (what < 2) {
    create(l);
  } else if (what < 30) {
    for (uint64_t n = random_below(&l->random, 6); n-- > 0 && l->log != NULL;) {
      reopen(l, true);
    }
  } else if (what < 40) {
    reopen(l, false);
    if (l->log != NULL) {
      reopen(l, true);
    }
  } else if (what < 250) {
    write_all(l);
  } else if (what < 330) {
    advance(l);
  } else {
    append(l);
  }
}

void trial_random(unsigned steps) {
  static life l;
  l.d = disk_new();
  l.random.s = seed;
  create(&l);
  for (unsigned i = 0; i < steps && l.log != NULL && !enough(); i++) {
    step(&l);
    if (disk_find(l.d, STORY_PATH)->bytes != l.bytes && !l.grown) {
      l.grown = true;
      found("the file has %zu bytes, and should have %llu", disk_find(l.d, STORY_PATH)->bytes, (unsigned long long)l.bytes);
    }
    disk_forget(l.d);
  }
  st_log_close(l.log);
  disk_free(l.d);
  printf("random: %llu records, %llu openings, %llu turns, %llu refusals\n", (unsigned long long)l.last, (unsigned long long)l.openings,
         (unsigned long long)l.turns, (unsigned long long)l.refusals);
}
