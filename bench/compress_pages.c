// SPDX-License-Identifier: MIT
// compress_pages.c: the pages. A page does not depend on those before.

#include "bench/compress_pages.h"

#include <stdio.h>
#include <string.h>

const char *const compress_kind_names[COMPRESS_KINDS] = {"zero", "repeat", "near", "graph", "records", "mixed", "ints", "doubles", "json", "text", "random"};

typedef struct filler {
  uint64_t random;
  char *at, *limit;
} filler;

static uint64_t next(filler *f) { // splitmix64, after Steele, Lea and Flood
  uint64_t z = f->random += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}
static uint64_t below(filler *f, uint64_t n) { return next(f) % n; }
// Small numbers are likelier, as in most programs.
static uint64_t skewed(filler *f, uint64_t n) { return below(f, 1 + below(f, n)); }

static void put(filler *f, const void *bytes, size_t count) {
  size_t room = (size_t)(f->limit - f->at);
  count = count < room ? count : room;
  memcpy(f->at, bytes, count);
  f->at += count;
}
static void put_word(filler *f, uint64_t word) { put(f, &word, 8); }
static void put_half(filler *f, uint32_t half) { put(f, &half, 4); }
static void put_double(filler *f, double value) { put(f, &value, 8); }
static void put_reference(filler *f, unsigned null_in) { put_word(f, below(f, null_in) == 0 ? 0 : COMPRESS_TOKEN); }

// A header: the type, whether an array, a leaf; an age.
static void put_header(filler *f, unsigned type, unsigned array, unsigned leaf) {
  put_word(f, (uint64_t)type << 34 | (uint64_t)array << 50 | (uint64_t)leaf << 51 | (below(f, 16) == 0 ? 1ull : 2ull) << 52);
}

static const char *const words[] = {"the", "of", "and", "to", "in", "that", "it", "is", "was", "page", "for", "on", "are", "as", "with", "his", "they", "at", "be", "this",
  "have", "from", "or", "one", "had", "by", "memory", "but", "not", "what", "all", "were", "when", "we", "there", "can", "an", "your", "which", "their", "said", "if",
  "will", "each", "about", "how", "up", "out", "them", "then", "she", "many", "some", "so", "these", "would", "other", "into", "has", "more", "her", "two", "like", "him",
  "see", "time", "could", "no", "make", "than", "first", "been", "its", "who", "now", "people", "my", "made", "over", "did", "down", "only", "way", "find", "use", "may",
  "water", "long", "little", "very", "after", "called", "just", "where", "most", "know", "collector", "through", "back", "much", "before", "line", "right", "too", "mean",
  "old", "any", "same", "tell", "boy", "follow", "came", "want", "show", "also", "around", "form", "three", "small", "set", "put", "end", "does", "another", "well",
  "large", "must", "big", "even", "such", "because", "turn", "here", "why", "ask", "went", "men", "read", "need", "land", "different", "home", "us", "move", "try", "kind",
  "hand", "picture", "again", "change", "off", "play", "spell", "air", "away", "animal", "house", "point", "mother", "answer", "found", "study", "still", "learn",
  "should", "america", "world", "high", "every", "near", "add", "food", "between", "own", "below", "country", "plant", "last", "school", "father", "keep", "tree",
  "never", "start", "city", "earth", "eye", "light", "thought", "head", "under", "story", "saw", "left", "few", "while", "along", "might", "close", "something",
  "seem", "next", "hard", "open", "example", "begin", "life", "always", "those", "both", "paper", "together", "got", "group", "often", "run", "important", "until"};
enum { WORDS = sizeof words / sizeof words[0] };

static const char *word_any(filler *f) { return words[skewed(f, WORDS)]; }

static void near_fill(filler *f) {
  uint64_t base = 0x700000000000ull + (below(f, 1 << 20) << 20);
  while (f->at < f->limit) {
    put_word(f, base + below(f, 1 << 16) * 16);
  }
}

static void node_put(filler *f) {
  put_header(f, 7, 0, 0);
  for (int i = 0; i < 4; i++) {
    put_reference(f, 16);
  }
  put_word(f, next(f) >> 32);
  put_word(f, skewed(f, 1000));
  put_half(f, (uint32_t)skewed(f, 64));
  put_half(f, 1);
}

static void record_put(filler *f, uint64_t id) {
  static const char *const codes[] = {"DE-100", "DE-101", "FR-220", "US-001", "US-017", "US-900", "GB-44A", "JP-81"};
  put_header(f, 9, 0, 0);
  put_word(f, id);
  put_word(f, 1760000000000ull + id * 1300 + below(f, 1000)); // milliseconds
  put_double(f, (double)skewed(f, 100000) / 100);
  put_half(f, (uint32_t)skewed(f, 100));
  put_half(f, (uint32_t)(1u << below(f, 5)));
  put_reference(f, 1000);
  put_reference(f, 3);
  char code[8] = {0};
  memcpy(code, codes[below(f, 8)], strlen(codes[0]));
  put(f, code, 8);
  put_word(f, below(f, 1 << 24)); // a customer
  put_word(f, 0);
}

static void text_put(filler *f, unsigned count, char *to, size_t room) {
  size_t used = 0;
  for (unsigned i = 0; i < count; i++) {
    used += (size_t)snprintf(to + used, room - used, "%s%s", i == 0 ? "" : " ", word_any(f));
  }
}

static size_t json_text(filler *f, char *text, size_t room) {
  char about[300];
  text_put(f, 3 + (unsigned)below(f, 25), about, sizeof about);
  int n = snprintf(text, room,
                   "{\"id\":%u,\"user\":\"%s.%s%u\",\"email\":\"%s%u@example.org\",\"active\":%s,\"score\":%u.%02u,\"created\":\"2025-%02u-%02uT%02u:%02u:%02uZ\","
                   "\"tags\":[\"%s\",\"%s\"],\"about\":\"%s\"}",
                   (unsigned)below(f, 10000000), word_any(f), word_any(f), (unsigned)below(f, 100), word_any(f), (unsigned)below(f, 1000),
                   below(f, 3) == 0 ? "false" : "true", (unsigned)skewed(f, 1000), (unsigned)below(f, 100), 1 + (unsigned)below(f, 12), 1 + (unsigned)below(f, 28),
                   (unsigned)below(f, 24), (unsigned)below(f, 60), (unsigned)below(f, 60), word_any(f), word_any(f), about);
  return (size_t)n < room ? (size_t)n : room - 1;
}

static void json_put(filler *f) {
  char text[700];
  size_t n = json_text(f, text, sizeof text);
  put_header(f, 12, 1, 1);
  put_word(f, n);
  put(f, text, n);
  static const char zeros[16];
  put(f, zeros, -n & 15);
}

size_t compress_json_write(char *to, size_t room, uint64_t seed) { return json_text(&(filler){.random = seed}, to, room); }

size_t compress_text_write(char *to, size_t room, uint64_t seed) {
  filler f = {.random = seed};
  size_t used = 0;
  while (used + 1 < room) {
    int n = snprintf(to + used, room - used, "%s%s", word_any(&f), below(&f, 12) == 0 ? ".\n" : " ");
    used += (size_t)n < room - used ? (size_t)n : room - used - 1;
  }
  return used;
}

static void mixed_put(filler *f, uint64_t id) {
  switch (below(f, 4)) {
  case 0:
    node_put(f);
    break;
  case 1:
    record_put(f, id);
    break;
  case 2: // an entry of a list
    put_header(f, 13, 0, 0);
    put_reference(f, 8);
    put_reference(f, 8);
    put_word(f, skewed(f, 256));
    break;
  case 3: { // a short string
    char name[32] = {0};
    snprintf(name, sizeof name, "%s-%u", word_any(f), (unsigned)below(f, 10000));
    put_header(f, 14, 1, 1);
    put_word(f, strlen(name));
    put(f, name, (strlen(name) + 15) & ~(size_t)15);
    break;
  }
  }
}

static void doubles_fill(filler *f) {
  int64_t cents = 200000 + (int64_t)below(f, 100000);
  while (f->at < f->limit) {
    cents += (int64_t)below(f, 401) - 200;
    put_double(f, (double)cents / 100);
  }
}

static void ints_fill(filler *f) {
  uint32_t rising = (uint32_t)below(f, 1 << 28);
  while (f->at < f->limit) {
    rising += (uint32_t)below(f, 100);
    put_half(f, rising);
    put_half(f, (uint32_t)skewed(f, 5000));
  }
}

void compress_page_fill(void *page, size_t bytes, compress_kind kind, uint64_t seed, uint64_t number) {
  filler *f = &(filler){.random = seed * 0xd1342543de82ef95u + number * 0xda942042e4dd58b5u + kind, .at = page, .limit = (char *)page + bytes};
  uint64_t id = number * bytes / 64;
  switch (kind) {
  case COMPRESS_NEAR:
    near_fill(f);
    return;
  case COMPRESS_INTS:
    ints_fill(f);
    return;
  case COMPRESS_DOUBLES:
    doubles_fill(f);
    return;
  default:
    break;
  }
  uint64_t word = kind == COMPRESS_ZERO ? 0 : next(f);
  while (f->at < f->limit) {
    switch (kind) {
    case COMPRESS_GRAPH:
      node_put(f);
      break;
    case COMPRESS_RECORDS:
      record_put(f, id++);
      break;
    case COMPRESS_MIXED:
      mixed_put(f, id++);
      break;
    case COMPRESS_JSON:
      json_put(f);
      break;
    case COMPRESS_TEXT: {
      const char *w = word_any(f);
      put(f, w, strlen(w));
      put(f, below(f, 12) == 0 ? ".\n" : " ", 1 + (below(f, 12) == 0));
      break;
    }
    case COMPRESS_RANDOM:
      word = next(f);
      put_word(f, word);
      break;
    default:
      put_word(f, word);
      break;
    }
  }
}
