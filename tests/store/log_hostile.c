// SPDX-License-Identifier: MIT
// log_hostile.c: files that are not what was written: single bits that have changed, and files that somebody has made up, with checksums that are right.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/store/log_trials.h"

static story s; // with a log that is closed

static uint8_t *bytes_of(disk *d) { return disk_find(d, STORY_PATH)->at; }
static st_log_place head(void) { return s.head[s.heads - 1].place; }

static bool story_make(unsigned rounds) {
  story_begin(&s, seed);
  bool good = story_run(&s, rounds);
  if (!good) {
    found("the story itself failed: %s", s.error);
  }
  story_close(&s);
  disk_restart(s.d);
  disk_forget(s.d);
  return good;
}

// ---- Bits.

static void header_flips(unsigned one_in, random_state *random) {
  uint8_t *at = bytes_of(s.d);
  for (size_t bit = 0; bit < 8 * ST_LOG_HEADER && !enough(); bit++) {
    st_log *log;
    if (random_below(random, one_in) != 0) {
      continue;
    }
    at[bit / 8] ^= (uint8_t)(1 << bit % 8);
    veil_status status = st_log_open(&log, STORY_PATH, story_id, head(), false, NULL, NULL, &s.d->io);
    if (status != VEIL_IO && status != VEIL_UNSUPPORTED) {
      found("bit %zu of the header has changed, and it opens with status %d", bit, (int)status);
      st_log_close(log);
    } else if (strstr(veil_error(), "byte 0") == NULL && strstr(veil_error(), "byte order") == NULL) {
      found("bit %zu of the header has changed, and it does not say where: %s", bit, veil_error());
    }
    at[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
}

// The record that the byte is in, or the next one if what is before that; one more than the last: none.
static uint64_t record_of(uint64_t offset) {
  for (uint64_t i = head().sequence; i <= s.last; i++) {
    uint64_t before = i > head().sequence ? s.record[i - 1].place.offset + st_log_whole(s.record[i - 1].size) : head().offset;
    uint64_t limit = s.record[i].place.offset + st_log_whole(s.record[i].size);
    bool turned = before > limit;
    if (turned ? (offset >= before && offset < before + ST_LOG_RECORD && before + ST_LOG_RECORD <= STORY_BYTES) || (offset >= ST_LOG_HEADER && offset < limit)
               : offset >= before && offset < limit) {
      return i;
    }
  }
  return s.last + 1;
}

static void record_flips(unsigned one_in, random_state *random) {
  uint8_t *at = bytes_of(s.d);
  unsigned in_records = 0;
  for (uint64_t bit = 8 * ST_LOG_HEADER; bit < 8 * STORY_BYTES && !enough(); bit++) {
    uint64_t last;
    if (random_below(random, 8 * one_in) != 0) {
      continue;
    }
    at[bit / 8] ^= (uint8_t)(1 << bit % 8);
    uint64_t hit = record_of(bit / 8);
    in_records += hit <= s.last;
    for (uint64_t i = head().sequence; i <= s.last; i++) {
      s.record[i].acknowledged = SIZE_MAX; // so that a log may end early
    }
    const char *wrong = story_check(&s, s.d, SIZE_MAX - 1, &last);
    if (wrong != NULL || last != hit - 1) {
      found("a bit of byte %llu has changed, in record %llu of %llu, and the last that is there is %llu: %s", (unsigned long long)bit / 8,
            (unsigned long long)hit, (unsigned long long)s.last, (unsigned long long)last, wrong != NULL ? wrong : "");
    }
    at[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  printf("flips: %u in records\n", in_records);
}

static void flips(void (*how)(unsigned one_in, random_state *random), unsigned one_in) {
  random_state random = {seed};
  for (unsigned rounds = 5; rounds < 26 && !enough(); rounds += 10) {
    if (story_make(rounds)) {
      how(one_in, &random);
    }
    story_end(&s);
  }
}

void trial_flips(unsigned one_in) { flips(record_flips, one_in); }
void trial_header(unsigned one_in) { flips(header_flips, one_in); }

// ---- Made up.

static void header_refused(const char *what, log_header h, uint64_t file_bytes, const uint64_t id[2], const char *said) {
  st_log *log;
  disk *d = disk_copy(s.d);
  h.sum = rt_image_sum(&h, offsetof(log_header, sum));
  memcpy(bytes_of(d), &h, sizeof h);
  disk_find(d, STORY_PATH)->bytes = file_bytes;
  if (st_log_open(&log, STORY_PATH, id, head(), true, NULL, NULL, &d->io) == VEIL_OK) {
    found("%s: it opens", what);
    st_log_close(log);
  } else if (strstr(veil_error(), said) == NULL) {
    found("%s: it is refused as something else: %s", what, veil_error());
  }
  disk_free(d);
}

static void headers_refused(void) {
  static const uint64_t other[2] = {0x1234, 0x5679}, sizes[] = {0, 1, 4096, ST_LOG_MIN - 4096, ST_LOG_MIN + 1, LOG_MAX + 4096, UINT64_MAX, UINT64_MAX - 4095};
  log_header h, changed;
  memcpy(&h, bytes_of(s.d), sizeof h);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    changed = h;
    changed.bytes = sizes[i];
    header_refused("an impossible size", changed, STORY_BYTES, story_id, "impossible size");
  }
  changed = h;
  changed.bytes = STORY_BYTES + 4096;
  header_refused("more than there is", changed, STORY_BYTES, story_id, "was cut off");
  header_refused("a file that was cut off", h, STORY_BYTES - 1, story_id, "ends at byte 65535");
  header_refused("a file that was cut off in its header", h, 4095, story_id, "ends at byte 4095");
  header_refused("an empty file", h, 0, story_id, "ends at byte 0");
  header_refused("another store's", h, STORY_BYTES, other, "another store");
  changed = h;
  changed.format = 2;
  header_refused("another format", changed, STORY_BYTES, story_id, "version of the format");
  changed = h;
  changed.byte_order = __builtin_bswap32(LOG_BYTE_ORDER);
  header_refused("the other byte order", changed, STORY_BYTES, story_id, "byte order");
  changed = h;
  changed.magic[3] = 'x';
  header_refused("no log", changed, STORY_BYTES, story_id, "no log");
}

static void places_refused(void) {
  static const uint64_t offsets[] = {1, 8, ST_LOG_HEADER - 8, ST_LOG_HEADER + 4, STORY_BYTES, STORY_BYTES + 8, UINT64_MAX - 7, UINT64_MAX};
  for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
    st_log *log;
    st_log_place place = {1, offsets[i], 0};
    if (st_log_open(&log, STORY_PATH, story_id, place, false, NULL, NULL, &s.d->io) != VEIL_IO || strstr(veil_error(), "no record at byte") == NULL) {
      found("byte %llu is no place, and is one: %s", (unsigned long long)offsets[i], veil_error());
    }
  }
}

static void sum_set(uint8_t *file, uint64_t offset) {
  log_record *r = (log_record *)(file + offset);
  uint64_t whole = st_log_whole(r->size);
  if (whole <= STORY_BYTES - offset) {
    r->sum = rt_image_sum(&r->kind, whole - offsetof(log_record, kind));
  }
}

// One field of a record's head is something else, and its checksum is right.
static void record_make(uint8_t *file, uint64_t offset, random_state *random) {
  static const uint32_t sizes[] = {0, 1, 8, 9, 40, 4096, STORY_BYTES / 4, STORY_BYTES / 2, STORY_BYTES, 1u << 31, UINT32_MAX - 7, UINT32_MAX - 31, UINT32_MAX};
  static const uint32_t kinds[] = {LOG_RECORD, LOG_TURN, LOG_MARK, 0};
  log_record *r = (log_record *)(file + offset);
  switch (random_below(random, 4)) {
  case 0:
    r->size = random_below(random, 2) == 0 ? sizes[random_below(random, sizeof sizes / sizeof *sizes)] : (uint32_t)random_below(random, STORY_BYTES);
    break;
  case 1:
    r->kind = kinds[random_below(random, 4)];
    break;
  case 2:
    r->kind = kinds[random_below(random, 4)];
    r->size = sizes[random_below(random, sizeof sizes / sizeof *sizes)];
    break;
  default:
    r->sequence += random_below(random, 3) - 1;
  }
  sum_set(file, offset);
}

static veil_status record_seen(void *arg, st_log_place place, const char *bytes, size_t size) {
  uint64_t *total = arg;
  for (size_t i = 0; i < size; i++) {
    *total += (uint8_t)bytes[i];
  }
  return place.offset + size > STORY_BYTES ? VEIL_INVALID : VEIL_OK;
}

// Turns and marks as many as there is room for, all as they should be but that nobody writes such.
static void chain_make(uint8_t *file, st_log_place place, random_state *random) {
  for (unsigned n = (unsigned)random_below(random, 3000); n-- > 0;) {
    log_record *r = (log_record *)(file + place.offset);
    bool turn = random_below(random, 400) == 0, mark = random_below(random, 3) != 0;
    uint32_t size = turn ? 0 : mark ? 8 : (uint32_t)random_below(random, 60);
    if (st_log_whole(size) > STORY_BYTES - place.offset) {
      place.offset = ST_LOG_HEADER;
      continue;
    }
    *r = (log_record){0, turn ? LOG_TURN : mark ? LOG_MARK : LOG_RECORD, size, place.sequence, place.chain};
    sum_set(file, place.offset);
    place = (st_log_place){place.sequence + (r->kind == LOG_RECORD), turn ? ST_LOG_HEADER : place.offset + st_log_whole(size), r->sum};
  }
}

static void made_up_open(disk *d) {
  st_log *log;
  uint64_t total = 0;
  for (int i = 0; i < 2; i++) {
    veil_status status = st_log_open(&log, STORY_PATH, story_id, head(), i == 1, record_seen, &total, &d->io);
    if (status != VEIL_OK && status != VEIL_IO) {
      found("a file that was made up: status %d: %s", (int)status, veil_error());
    }
    if (status == VEIL_OK && i == 1) {
      char *room = st_log_room(log, 1000);
      if (room != NULL) {
        memset(room, 1, 1000);
        st_log_append(log, 1000);
      }
      if (st_log_write(log, NULL) != VEIL_OK || st_log_used(log) >= STORY_BYTES - ST_LOG_HEADER) {
        found("a file that was made up takes no record: %s", veil_error());
      }
    }
    if (status == VEIL_OK) {
      st_log_close(log);
    }
  }
}

void trial_hostile(unsigned rounds) {
  random_state random = {seed};
  if (story_make(20)) {
    headers_refused();
    places_refused();
  }
  for (unsigned n = 0; n < rounds && !enough(); n++) {
    disk *d = disk_copy(s.d);
    if (n % 8 == 0) {
      chain_make(bytes_of(d), head(), &random);
    } else {
      record_make(bytes_of(d), s.record[head().sequence + random_below(&random, s.last + 1 - head().sequence)].place.offset, &random);
    }
    made_up_open(d);
    disk_free(d);
  }
  story_end(&s);
}
