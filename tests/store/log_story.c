// SPDX-License-Identifier: MIT
// log_story.c: what happens to one log on a disk in memory, and what must be there afterwards. See log_trials.h.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/store/log_trials.h"

const uint64_t story_id[2] = {0x1234, 0x5678};

// ---- Bytes of records.

static char byte_of(uint32_t seed, size_t i) { return seed % 3 == 0 ? (char)(i < 16 ? seed >> i : 0) : (char)(((seed + i) * 2654435761u) >> 24); }

void story_fill(uint32_t from, char *to, size_t size) {
  for (size_t i = 0; i < size; i++) {
    to[i] = byte_of(from, i);
  }
}

const char *story_bytes_differ(uint32_t from, const char *bytes, size_t size) {
  static char text[100];
  for (size_t i = 0; i < size; i++) {
    if (bytes[i] != byte_of(from, i)) {
      snprintf(text, sizeof text, "byte %zu of %zu is not what was appended", i, size);
      return text;
    }
  }
  return NULL;
}

// ---- Steps.

void story_begin(story *s, uint64_t from) {
  memset(s, 0, sizeof *s);
  s->d = disk_new();
  s->random.s = from;
  s->created = SIZE_MAX;
}

void story_close(story *s) {
  st_log_close(s->log);
  s->log = NULL;
}

void story_end(story *s) {
  story_close(s);
  disk_free(s->d);
}

static bool went(story *s, veil_status status) {
  if (status != VEIL_OK && s->status == VEIL_OK) {
    s->status = status;
    snprintf(s->error, sizeof s->error, "%s", veil_error());
  }
  return status == VEIL_OK;
}

static void head_note(story *s, st_log_place place) {
  s->heads -= s->heads == STORY_HEADS; // the newest is what counts
  s->head[s->heads].notes = s->d->notes;
  s->head[s->heads++].place = place;
}

bool story_create(story *s) {
  st_log_place first = {.sequence = 1, .chain = 99};
  if (!went(s, st_log_create(&s->log, STORY_PATH, story_id, STORY_BYTES, &first, &s->d->io))) {
    return false;
  }
  s->created = s->d->notes;
  head_note(s, first);
  return true;
}

bool story_advance(story *s, uint64_t number) {
  uint64_t head = s->head[s->heads - 1].place.sequence;
  number = number < head ? head : number;
  st_log_place place = number <= s->last ? s->record[number].place : st_log_tail(s->log);
  st_log_advance(s->log, place);
  head_note(s, place);
  return true;
}

bool story_append(story *s, uint32_t size, uint32_t from) {
  char *room = st_log_room(s->log, size);
  if (room == NULL) {
    uint64_t head = s->head[s->heads - 1].place.sequence;
    if (!story_write(s) || !story_advance(s, head + (s->last - head) / 2 + 1)) {
      return false;
    }
    return story_append(s, size, from);
  }
  story_fill(from, room, size);
  s->record[++s->last] = (story_record){.size = size, .seed = from, .place = st_log_append(s->log, size), .begun = SIZE_MAX, .acknowledged = SIZE_MAX};
  if (s->record[s->last].place.sequence != s->last) {
    found("record %llu has the number %llu", (unsigned long long)s->last, (unsigned long long)s->record[s->last].place.sequence);
  }
  return true;
}

bool story_write(story *s) {
  uint64_t upto = 0;
  for (uint64_t i = s->written + 1; i <= s->last; i++) {
    s->record[i].begun = s->d->notes;
  }
  uint64_t before = s->written;
  s->written = s->last;
  if (!went(s, st_log_write(s->log, &upto))) {
    return false;
  }
  for (uint64_t i = before + 1; i <= s->last; i++) {
    s->record[i].acknowledged = s->d->notes;
  }
  if (upto != s->last) {
    found("%llu records were written, and it says %llu", (unsigned long long)s->last, (unsigned long long)upto);
  }
  return true;
}

// ---- What is there.

typedef struct look {
  const story *s;
  size_t at;
  uint64_t next; // the record that comes next
  const char *wrong;
  char text[300];
} look;

static veil_status look_record(void *arg, st_log_place place, const char *bytes, size_t size) {
  look *k = arg;
  const story_record *r = &k->s->record[k->next];
  const char *differs = NULL;
  if (place.sequence != k->next || k->next > k->s->last || r->begun > k->at) {
    snprintf(k->text, sizeof k->text, "record %llu is there, of %llu; number %llu was to be next", (unsigned long long)place.sequence,
             (unsigned long long)k->s->last, (unsigned long long)k->next);
    k->wrong = k->text;
  } else if (size != r->size || (differs = story_bytes_differ(r->seed, bytes, size)) != NULL) {
    snprintf(k->text, sizeof k->text, "record %llu is not whole: %s", (unsigned long long)k->next, differs != NULL ? differs : "its length");
    k->wrong = k->text;
  } else if (place.offset != r->place.offset || place.chain != r->place.chain) {
    snprintf(k->text, sizeof k->text, "record %llu is at another place", (unsigned long long)k->next);
    k->wrong = k->text;
  }
  k->next++;
  return k->wrong != NULL ? VEIL_INVALID : VEIL_OK;
}

static st_log_place head_at(const story *s, size_t at) {
  unsigned i = s->heads;
  while (i > 1 && s->head[i - 1].notes > at) {
    i--;
  }
  return s->head[i - 1].place;
}

// Opens it, from the head that was durable then. NULL, or what is wrong.
static const char *story_look(const story *s, disk *d, size_t at, bool writes, st_log **log, uint64_t *last) {
  static char text[900];
  st_log_place from = s->heads != 0 ? head_at(s, at) : (st_log_place){0};
  look k = {.s = s, .at = at, .next = s->heads != 0 ? from.sequence : 1};
  veil_status status = st_log_open(log, STORY_PATH, story_id, from, writes, look_record, &k, &d->io);
  *last = k.next - 1;
  if (status != VEIL_OK) {
    snprintf(text, sizeof text, "it does not open: %s", k.wrong != NULL ? k.wrong : veil_error());
    return text;
  }
  for (uint64_t i = k.next; i <= s->last; i++) {
    if (s->record[i].acknowledged <= at) {
      snprintf(text, sizeof text, "record %llu was acknowledged, and %llu is the last that is there", (unsigned long long)i, (unsigned long long)*last);
      return text;
    }
  }
  return NULL;
}

const char *story_check(const story *s, disk *d, size_t at, uint64_t *last) {
  st_log *log;
  *last = 0;
  if (disk_find(d, STORY_PATH) == NULL) {
    return s->created <= at ? "the log was acknowledged, and there is none" : NULL;
  }
  const char *wrong = story_look(s, d, at, false, &log, last);
  st_log_close(log);
  return wrong;
}

bool story_open(story *s) {
  uint64_t last;
  const char *wrong = story_look(s, s->d, s->d->notes, true, &s->log, &last);
  if (wrong != NULL) {
    s->status = s->status == VEIL_OK ? VEIL_IO : s->status;
    snprintf(s->error, sizeof s->error, "%s", wrong);
    story_close(s);
    return false;
  }
  for (uint64_t i = 1; i <= last; i++) {
    s->record[i].acknowledged = s->record[i].acknowledged < s->d->notes ? s->record[i].acknowledged : s->d->notes;
  }
  if (s->heads == 0) {
    head_note(s, (st_log_place){1, ST_LOG_HEADER, 99});
    s->created = s->d->notes;
  }
  s->last = s->written = last;
  return true;
}

void story_follow(story *next, const story *s, disk *d, size_t at, uint64_t last) {
  memset(next, 0, sizeof *next);
  next->d = d;
  next->random.s = s->random.s + at * 31 + last;
  disk_restart(d);
  disk_rebase(d);
  memcpy(next->record, s->record, sizeof s->record);
  for (uint64_t i = 1; i <= last; i++) {
    next->record[i].begun = next->record[i].acknowledged = 0;
  }
  if (s->heads != 0) {
    head_note(next, head_at(s, at));
    next->head[0].notes = 0;
  }
  next->last = next->written = last;
}

// ---- A story.

static uint32_t size_random(story *s) {
  static const uint32_t most[] = {40, 400, 3000, 3000, 9000};
  uint32_t left = (uint32_t)(STORY_BYTES - st_log_tail(s->log).offset), less = 8 * (uint32_t)random_below(&s->random, 8);
  if (left < 12000 && left >= ST_LOG_RECORD + less && random_below(&s->random, 2) == 0) {
    return left - ST_LOG_RECORD - less; // to the file's end, or a little less
  }
  return (uint32_t)random_below(&s->random, most[random_below(&s->random, 5)]);
}

bool story_run(story *s, unsigned rounds) {
  if (!story_create(s)) {
    return false;
  }
  for (unsigned i = 0; i < rounds; i++) {
    if (i % 3 == 1) {
      story_close(s);
      if (!story_open(s)) {
        return false;
      }
    }
    for (unsigned n = i % 3 == 1 ? 3 : 1 + (unsigned)random_below(&s->random, 4); n-- > 0;) {
      if (!story_append(s, size_random(s), (uint32_t)random_next(&s->random))) {
        return false;
      }
    }
    if (!story_write(s) || (i % 7 == 6 && !story_advance(s, s->last + 1 - random_below(&s->random, 3)))) {
      return false;
    }
  }
  return true;
}
