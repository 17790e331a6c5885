// SPDX-License-Identifier: MIT
// compress_kv.c: the program `kv` of the workload `compress`: a table of values of five types, of customers most of whom sleep.
//
// A customer is a run of keys that were made one after the other, some 8 pages of them. Most values are orders and profiles, small objects that refer to others; then there are JSON, text and series
// of numbers. Customers are awake or asleep; those that are awake are used under a Zipf law, those that sleep are not used at all, and each minute few of them change places (--drift). Nine steps of
// ten read a value; one writes: a new JSON in the place of the old one, all others in place. A value begins with its revision: its version, and a word that follows from the key and the version;
// what else is in it never changes, and its sum is kept outside the heap.
//
// A table leads to customers, and each of these is an array of its entries: so a collector that copies by what refers to what leaves a customer's objects together. The table is open, with the customer's
// number beside it, so that who looks for one touches no other's.

#include <stdlib.h>
#include <string.h>
#include <veil/hooks.h>
#include "bench/compress.h"
#include "bench/compress_pages.h"
#include "bench/kv_load.h"

enum { CUSTOMER_KEYS = 96, MEAN_BYTES = 300, TEXT_MOST = 640, SERIES_MOST = 64, TAGS_MOST = 4, DRAWS = 1 << 20, WRITE_IN = 10 };
typedef enum kind { ORDER, PROFILE, JSON, TEXT, SERIES } kind;
#define ZIPF 0.99

typedef struct order {
  uint64_t revision, id, created;
  double price;
  uint32_t quantity, flags;
  struct order *previous; // the same customer's, or NULL
  char *note;             // words; most have none
  char code[8];
  uint64_t customer;
} order;
VEIL_TYPE(order, previous, note);

typedef struct tag {
  struct tag *next;
  char *word;
  uint64_t count;
} tag;
VEIL_TYPE(tag, next, word);

typedef struct profile {
  uint64_t revision, id;
  char *name;
  tag *tags;
  order *latest; // or NULL
  double balance;
  uint32_t visits, level;
} profile;
VEIL_TYPE(profile, name, tags, latest);

typedef struct entry {
  void *value;
  uint64_t key;
  uint32_t kind, hits;
} entry;
VEIL_TYPE(entry, value);

// In the heap, and roots.
static entry ***table;
static uint32_t *numbers; // of customers, from 1; 0: free
static order *last_order; // while it is built
// Outside of it, constant but for versions and what sleeps.
static uint64_t keys, slots, customers, awake;
static double due; // customers that should have changed places
static uint32_t *versions; // of each key
static uint64_t *sums;     // likewise
static uint32_t *order_of; // customers: the first `awake` are awake, those that are used most first
static double *used_at;    // of each customer
static uint32_t *draws;    // ranks
static uint64_t random_state, read_sum;
static double now_s;

static uint64_t random_next(void) { return compress_random(&random_state); }
static uint64_t key_hash(uint64_t key) { return compress_mix(key, compress_now.seed * 2 + 1); }
static uint64_t revision_of(uint64_t key, uint32_t version) { return compress_mix(key, version) << 32 | version; }

static uint64_t slot_of(uint32_t customer) { // his, or a free one
  uint64_t at = key_hash(customer) & (slots - 1);
  while (numbers[at] != 0 && numbers[at] != customer + 1) {
    at = (at + 1) & (slots - 1);
  }
  return at;
}

static entry *entry_find(uint64_t key) {
  uint64_t at = slot_of((uint32_t)(key / CUSTOMER_KEYS));
  if (numbers[at] == 0 || table[at][key % CUSTOMER_KEYS]->key != key) {
    compress_fail("kv", "a key is missing");
  }
  return table[at][key % CUSTOMER_KEYS];
}

// ---- Values. What is in one follows from its key.

static char *words_new(size_t bytes, uint64_t seed) {
  char text[TEXT_MOST];
  compress_text_write(text, bytes < sizeof text ? bytes : sizeof text, seed);
  char *at = veil_new_bytes(compress_self, bytes);
  memcpy(at, text, bytes < sizeof text ? bytes : sizeof text);
  return at;
}

static void *order_new(uint64_t key, uint64_t seed) {
  static const char *const codes[] = {"DE-100", "DE-101", "FR-220", "US-001", "US-017", "US-900", "GB-44A", "JP-81"};
  order *o = veil_new(compress_self, order);
  o->id = key;
  o->created = 1760000000000u + key * 1300 + seed % 1000;
  o->price = (double)(seed % (1 + (seed >> 20) % 100000)) / 100;
  o->quantity = 1 + (uint32_t)(seed >> 11) % (1 + (uint32_t)(seed >> 40) % 20);
  o->flags = 1u << (seed >> 7) % 5;
  memcpy(o->code, codes[(seed >> 13) % 8], 7);
  o->customer = key / CUSTOMER_KEYS;
  o->previous = key % CUSTOMER_KEYS != 0 ? last_order : NULL;
  last_order = o;
  if ((seed >> 3) % 8 == 0) {
    o->note = words_new(40 + (seed >> 17) % 80, seed);
  }
  return o;
}

static void *profile_new(uint64_t key, uint64_t seed) {
  profile *p = veil_new(compress_self, profile);
  p->id = key;
  p->balance = (double)(seed >> 12 & 0xfffff) / 100;
  p->level = (uint32_t)(seed >> 5) % 4;
  p->latest = key % CUSTOMER_KEYS != 0 ? last_order : NULL;
  p->name = words_new(12 + (seed >> 9) % 12, seed);
  for (unsigned i = 0; i < 1 + (seed >> 33) % TAGS_MOST; i++) {
    tag *t = veil_new(compress_self, tag);
    t->next = p->tags;
    t->count = (seed >> i) % 50;
    t->word = words_new(6 + (seed >> (2 * i)) % 8, seed + i);
    p->tags = t;
  }
  return p;
}

static void *json_new(uint64_t seed) {
  char text[700];
  size_t n = compress_json_write(text, sizeof text, seed);
  char *at = veil_new_bytes(compress_self, 8 + n);
  memcpy(at + 8, text, n);
  return at;
}

static void *text_new(uint64_t seed) {
  char text[TEXT_MOST];
  size_t n = compress_text_write(text, 120 + (seed >> 21) % (TEXT_MOST - 120), seed);
  char *at = veil_new_bytes(compress_self, 8 + n);
  memcpy(at + 8, text, n);
  return at;
}

static void *series_new(uint64_t seed) {
  size_t n = 16 + (seed >> 15) % (SERIES_MOST - 16);
  double *at = (double *)veil_new_bytes(compress_self, 8 * (1 + n));
  int64_t cents = 200000 + (int64_t)(seed % 100000);
  for (size_t i = 1; i <= n; i++) {
    seed = compress_mix(seed, i);
    cents += (int64_t)(seed % 401) - 200;
    at[i] = (double)cents / 100;
  }
  return at;
}

static void *value_new(kind k, uint64_t key, uint32_t version) {
  uint64_t seed = compress_mix(key_hash(key), 3);
  void *value = k == ORDER ? order_new(key, seed) : k == PROFILE ? profile_new(key, seed) : k == JSON ? json_new(seed) : k == TEXT ? text_new(seed) : series_new(seed);
  *(uint64_t *)value = revision_of(key, version);
  return value;
}

static uint64_t bytes_sum(const void *object, size_t from, uint64_t sum) {
  if (object != NULL) {
    size_t n = veil_length(compress_heap, object);
    for (size_t i = from; i + 8 <= n; i += 8) {
      uint64_t word;
      memcpy(&word, (const char *)object + i, 8);
      sum = compress_mix(sum, word);
    }
  }
  return sum;
}

static uint64_t order_sum(const order *o) {
  uint64_t price, sum = compress_mix(o->id, o->created), code;
  memcpy(&price, &o->price, 8);
  memcpy(&code, o->code, 8);
  sum = compress_mix(compress_mix(sum, price), code);
  sum = compress_mix(sum, (uint64_t)o->quantity << 32 | o->flags);
  return bytes_sum(o->note, 0, compress_mix(sum, o->customer + (o->previous != NULL ? o->previous->id : 0)));
}

static uint64_t profile_sum(const profile *p) {
  uint64_t balance, sum = compress_mix(p->id, p->level);
  memcpy(&balance, &p->balance, 8);
  sum = bytes_sum(p->name, 0, compress_mix(sum, balance));
  for (const tag *t = p->tags; t != NULL; t = t->next) {
    sum = bytes_sum(t->word, 0, compress_mix(sum, t->count));
  }
  return compress_mix(sum, p->latest != NULL ? p->latest->id : 0);
}

static uint64_t value_sum(const entry *e) {
  switch ((kind)e->kind) {
  case ORDER:
    return order_sum(e->value);
  case PROFILE:
    return profile_sum(e->value);
  default:
    return bytes_sum(e->value, 8, e->kind);
  }
}

// ---- Building.

static kind kind_of(uint64_t key) {
  unsigned dice = (unsigned)(key_hash(key) >> 8) % 100;
  return dice < 35 ? ORDER : dice < 55 ? PROFILE : dice < 78 ? JSON : dice < 90 ? TEXT : SERIES;
}

static void key_add(entry **entries, uint64_t key) {
  entry *e = veil_new(compress_self, entry);
  e->key = key;
  e->kind = kind_of(key);
  e->value = value_new((kind)e->kind, key, 0);
  entries[key % CUSTOMER_KEYS] = e;
  sums[key] = value_sum(e);
}

static void customers_order(void) {
  order_of = compress_memory(customers, sizeof *order_of);
  used_at = compress_memory(customers, sizeof *used_at);
  for (uint64_t i = 0; i < customers; i++) {
    uint64_t other = random_next() % (i + 1);
    order_of[i] = order_of[other];
    order_of[other] = (uint32_t)i;
    used_at[i] = now_s;
  }
  awake = (uint64_t)((1 - compress_now.cold) * (double)customers);
  awake = awake == 0 ? 1 : awake;
  kv_load_zipf zipf;
  kv_load_zipf_open(&zipf, awake, ZIPF);
  draws = compress_memory(DRAWS, sizeof *draws);
  for (unsigned i = 0; i < DRAWS; i++) {
    draws[i] = (uint32_t)kv_load_zipf_draw(&zipf, &random_state);
  }
}

static __attribute__((noinline)) void customer_add(uint32_t customer) {
  uint64_t at = slot_of(customer);
  table[at] = (entry **)veil_new_pointers(compress_self, CUSTOMER_KEYS);
  numbers[at] = customer + 1;
  for (uint64_t key = (uint64_t)customer * CUSTOMER_KEYS, i = 0; i < CUSTOMER_KEYS; i++) {
    key_add(table[at], key + i);
  }
  last_order = NULL;
}

static void kv_build(void) {
  random_state = compress_now.seed * 77;
  customers = (uint64_t)(compress_now.live_mib * (1 << 20) / MEAN_BYTES / CUSTOMER_KEYS);
  customers = customers < 2 ? 2 : customers;
  keys = customers * CUSTOMER_KEYS;
  for (slots = 256; slots < customers * 3 / 2; slots *= 2) {
  }
  versions = compress_memory(keys, sizeof *versions);
  sums = compress_memory(keys, sizeof *sums);
  veil_add_roots(compress_heap, &table, 1);
  veil_add_roots(compress_heap, &numbers, 1);
  veil_add_roots(compress_heap, &last_order, 1);
  table = (entry ***)veil_new_pointers(compress_self, slots);
  numbers = veil_new_bytes(compress_self, slots * sizeof *numbers);
  for (uint64_t i = 0; i < customers; i++) {
    customer_add((uint32_t)i);
  }
  now_s = compress_now_s();
  customers_order();
}

// ---- The load.

static inline void value_read(const entry *e) {
  const uint64_t *words = e->value;
  read_sum += words[0];
  switch ((kind)e->kind) {
  case ORDER: {
    const order *o = e->value;
    read_sum += o->quantity + (o->previous != NULL ? o->previous->id : 0) + (o->note != NULL ? (uint64_t)o->note[0] : 0);
    break;
  }
  case PROFILE: {
    const profile *p = e->value;
    read_sum += (uint64_t)p->name[0] + p->level;
    for (const tag *t = p->tags; t != NULL; t = t->next) {
      read_sum += t->count + (uint64_t)t->word[0];
    }
    break;
  }
  default: {
    size_t n = veil_length(compress_heap, words) / 8;
    for (size_t i = 1; i < n; i++) {
      read_sum += words[i];
    }
    break;
  }
  }
}

static inline void value_write(entry *e) {
  uint32_t version = ++versions[e->key];
  if (e->kind == JSON) {
    e->value = value_new(JSON, e->key, version);
    return;
  }
  *(uint64_t *)e->value = revision_of(e->key, version);
  if (e->kind == PROFILE) {
    ((profile *)e->value)->visits++;
  }
  e->hits++;
}

static void kv_steps(unsigned count) {
  now_s = compress_now_s();
  for (unsigned i = 0; i < count; i++) {
    uint64_t dice = random_next();
    uint32_t customer = order_of[draws[dice % DRAWS]];
    used_at[customer] = now_s;
    entry *e = entry_find((uint64_t)customer * CUSTOMER_KEYS + (dice >> 40) % CUSTOMER_KEYS);
    if ((dice >> 30) % WRITE_IN == 0) {
      value_write(e);
    } else {
      value_read(e);
    }
  }
}

static void kv_drift(double seconds) {
  due += seconds / 60 * compress_now.drift * (double)awake;
  for (; due >= 1 && awake < customers; due--) {
    uint64_t up = awake + random_next() % (customers - awake), down = random_next() % awake;
    uint32_t customer = order_of[up];
    order_of[up] = order_of[down];
    order_of[down] = customer;
  }
}

// By the share of customers: they are alike.
static double kv_idle_bytes(double seconds) {
  uint64_t idle = 0;
  double from = compress_now_s() - seconds;
  for (uint64_t i = 0; i < customers; i++) {
    idle += used_at[i] < from;
  }
  veil_stats s;
  veil_get_stats(compress_heap, &s);
  return (double)idle / (double)customers * (double)s.live_bytes;
}

static void value_objects(const entry *e, void (*note)(const void *object)) {
  note(e);
  note(e->value);
  if (e->kind == ORDER && ((order *)e->value)->note != NULL) {
    note(((order *)e->value)->note);
  } else if (e->kind == PROFILE) {
    const profile *p = e->value;
    note(p->name);
    for (const tag *t = p->tags; t != NULL; t = t->next) {
      note(t);
      note(t->word);
    }
  }
}

// Of pages: when anything that begins there was used last, or 0.
static double *page_used;
static uintptr_t pages_base;
static double used_last;

static void page_use(const void *object) {
  double *at = &page_used[((uintptr_t)object - pages_base) / COMPRESS_PAGE];
  *at = used_last > *at ? used_last : *at;
}

static double kv_idle_pages(double seconds) {
  veil_pages pages = veil_heap_pages(compress_heap);
  size_t count = pages.count * pages.page_size / COMPRESS_PAGE;
  double from = compress_now_s() - seconds, idle = 0;
  page_used = compress_memory(count, sizeof *page_used);
  pages_base = (uintptr_t)pages.base;
  for (uint64_t key = 0; key < keys; key++) {
    used_last = used_at[key / CUSTOMER_KEYS];
    value_objects(entry_find(key), page_use);
  }
  for (size_t i = 0; i < count; i++) {
    idle += page_used[i] != 0 && page_used[i] < from;
  }
  free(page_used);
  return idle;
}

static void kv_objects(void (*note)(const void *object)) {
  for (uint64_t key = 0; key < keys; key++) {
    value_objects(entry_find(key), note);
  }
}

static uint64_t kv_verify(void) {
  uint64_t sum = 0;
  for (uint64_t key = 0; key < keys; key++) {
    const entry *e = entry_find(key);
    if (*(const uint64_t *)e->value != revision_of(key, versions[key]) || value_sum(e) != sums[key]) {
      compress_fail("kv", "a value is not what was put there");
    }
    sum = compress_mix(sum, sums[key]);
  }
  return sum;
}

const compress_program compress_kv = {"kv", kv_build, kv_steps, kv_drift, kv_idle_bytes, kv_idle_pages, kv_objects, kv_verify};
