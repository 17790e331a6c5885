// SPDX-License-Identifier: MIT
// record.c: items of records: differences of pages, sections.
//
// Neighbours: record.h. What is read may be anything.

#include "runtime/store/record.h"
#include <string.h>

enum { KIND_BITS = 4, COUNT_BITS = 20, VALUE_BITS = 40, UNIT = 8, LINE = 8, RUN_BYTES = 4 }; // LINE: units compared at once

static uint64_t head_of(st_kind kind, uint64_t count, uint64_t value) { return kind | count << KIND_BITS | value << (KIND_BITS + COUNT_BITS); }
static st_kind kind_of(uint64_t head) { return (st_kind)(head & ((1u << KIND_BITS) - 1)); }
static uint64_t count_of(uint64_t head) { return head >> KIND_BITS & ((1u << COUNT_BITS) - 1); }
static uint64_t value_of(uint64_t head) { return head >> (KIND_BITS + COUNT_BITS); }

static size_t words_of(size_t bytes) { return (bytes + UNIT - 1) / UNIT; }

typedef struct run {
  uint16_t unit, more; // more: units less one
} run;

static run run_at(const uint64_t *item, size_t n) {
  run r;
  memcpy(&r, (const char *)(item + 1) + n * RUN_BYTES, sizeof r);
  return r;
}

// ---- Pages.

size_t st_page_words(size_t page_size) {
  size_t units = page_size / UNIT; // every second one differs, or all do
  return 1 + words_of((units + 1) / 2 * RUN_BYTES) + units;
}

// The first unit from `at` on, a multiple of LINE, in whose line anything differs; or `units`.
static size_t next_line(const uint64_t *old, const uint64_t *new, size_t at, size_t units) {
  for (; at < units; at += LINE) {
    uint64_t differs = 0;
    for (size_t i = 0; i < LINE; i++) {
      differs |= old[at + i] ^ new[at + i];
    }
    if (differs != 0) {
      break;
    }
  }
  return at;
}

size_t st_page_write(uint64_t *to, uint64_t page, const void *was, const void *now, size_t page_size, uint64_t *changed) {
  const uint64_t *old = was, *new = now;
  size_t units = page_size / UNIT, runs = 0, differ = 0;
  char *at = (char *)(to + 1);
  for (size_t i = 0; i < units; i++) {
    if (i % LINE == 0 && (i = next_line(old, new, i, units)) == units) {
      break;
    }
    if (old[i] == new[i]) {
      continue;
    }
    size_t first = i;
    while (i + 1 < units && old[i + 1] != new[i + 1]) {
      i++;
    }
    run r = {(uint16_t)first, (uint16_t)(i - first)};
    memcpy(at + runs++ * RUN_BYTES, &r, sizeof r);
    differ += i - first + 1;
  }
  if (runs == 0) {
    return 0;
  }
  *to = head_of(ST_PAGE, runs, page);
  size_t words = 1 + words_of(runs * RUN_BYTES);
  memset(at + runs * RUN_BYTES, 0, (words - 1) * UNIT - runs * RUN_BYTES);
  for (size_t i = 0; i < runs; i++) {
    run r = run_at(to, i);
    memcpy(to + words, new + r.unit, (r.more + (size_t)1) * UNIT);
    words += r.more + (size_t)1;
  }
  *changed += differ * UNIT;
  return words;
}

void st_page_apply(const uint64_t *item, void *page) {
  size_t runs = count_of(*item);
  const uint64_t *from = item + 1 + words_of(runs * RUN_BYTES);
  for (size_t i = 0; i < runs; i++) {
    run r = run_at(item, i);
    memcpy((uint64_t *)page + r.unit, from, (r.more + (size_t)1) * UNIT);
    from += r.more + (size_t)1;
  }
}

// Its words; 0: it is none.
static size_t page_check(const uint64_t *at, size_t room, size_t page_size, uint64_t pages) {
  size_t runs = count_of(*at), units = page_size / UNIT, words = 1 + words_of(runs * RUN_BYTES), next = 0;
  if (runs == 0 || value_of(*at) >= pages || words > room) {
    return 0;
  }
  for (size_t i = 0; i < runs; i++) {
    run r = run_at(at, i);
    if (r.unit < next || (size_t)r.unit + r.more >= units) {
      return 0;
    }
    next = (size_t)r.unit + r.more + 1;
    words += r.more + (size_t)1;
  }
  return words <= room ? words : 0;
}

// ---- The others.

void st_gone_write(uint64_t *to, uint64_t first, uint64_t count) {
  to[0] = head_of(ST_GONE, 0, first);
  to[1] = count;
}

size_t st_section_words(const char *name, size_t bytes) { return 1 + words_of(strlen(name)) + words_of(bytes); }

static uint64_t *padded_write(uint64_t *to, const void *bytes, size_t size) {
  size_t words = words_of(size);
  if (words != 0) {
    to[words - 1] = 0;
    memcpy(to, bytes, size);
  }
  return to + words;
}

void st_section_write(uint64_t *to, const char *name, const void *bytes, size_t size) {
  to[0] = head_of(bytes != NULL ? ST_SECTION : ST_NO_SECTION, strlen(name), size);
  to = padded_write(to + 1, name, strlen(name));
  if (bytes != NULL) {
    padded_write(to, bytes, size);
  }
}

static size_t section_check(st_item *item, size_t room) {
  item->name_length = item->count;
  item->name = (const char *)(item->at + 1);
  size_t words = 1 + words_of(item->name_length);
  if (item->name_length == 0 || item->name_length > ST_NAME_MOST || memchr(item->name, 0, words <= room ? item->name_length : 0) != NULL || item->value / UNIT > room) {
    return 0;
  }
  item->bytes = item->at + words;
  words += item->kind == ST_SECTION ? words_of(item->value) : 0;
  return words <= room ? words : 0;
}

bool st_item_read(const uint64_t **at, const uint64_t *limit, size_t page_size, uint64_t pages, st_item *out) {
  size_t room = (size_t)(limit - *at), words = 0;
  if (*at >= limit) {
    return false;
  }
  uint64_t head = **at;
  *out = (st_item){.kind = kind_of(head), .value = value_of(head), .count = count_of(head), .at = *at};
  switch (out->kind) {
  case ST_PAGE:
    words = page_check(*at, room, page_size, pages);
    break;
  case ST_GONE:
    if (room >= ST_GONE_WORDS) {
      out->count = (*at)[1];
      words = out->count != 0 && out->value < pages && out->count <= pages - out->value ? ST_GONE_WORDS : 0;
    }
    break;
  case ST_SECTION:
  case ST_NO_SECTION:
    words = section_check(out, room);
    break;
  }
  *at += words;
  return words != 0;
}
