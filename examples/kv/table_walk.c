// SPDX-License-Identifier: MIT
// table_walk.c: what goes over many items of a table: walks, scans, a random one; and the hash.

#include <stdlib.h>
#include <sys/random.h>
#include "table_page.h"

// ---- The hash: SipHash-1-3 (Aumasson and Bernstein), with a key of its own in each process, so that nobody can choose keys that collide.

static uint64_t seed[2];

void kv_hash_seed_get(uint64_t out[2]) { memcpy(out, seed, sizeof seed); }
void kv_hash_seed_set(const uint64_t from[2]) { memcpy(seed, from, sizeof seed); }

void kv_hash_seed(void) {
  if (getrandom(seed, sizeof seed, 0) != sizeof seed) {
    abort();
  }
}

static inline uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }
typedef struct sip {
  uint64_t a, b, c, d;
} sip;
static inline void sip_round(sip *s) {
  s->a += s->b;
  s->c += s->d;
  s->b = rotate(s->b, 13) ^ s->a;
  s->d = rotate(s->d, 16) ^ s->c;
  s->a = rotate(s->a, 32) + s->d;
  s->c += s->b;
  s->d = rotate(s->d, 21) ^ s->a;
  s->b = rotate(s->b, 17) ^ s->c;
  s->c = rotate(s->c, 32);
}

uint64_t kv_hash(kv_text key) {
  sip s = {seed[0] ^ 0x736f6d6570736575u, seed[1] ^ 0x646f72616e646f6du, seed[0] ^ 0x6c7967656e657261u, seed[1] ^ 0x7465646279746573u};
  const char *at = key.at;
  size_t left = key.length;
  uint64_t word;
  for (; left >= 8; left -= 8, at += 8) {
    memcpy(&word, at, 8);
    s.d ^= word;
    sip_round(&s);
    s.a ^= word;
  }
  word = 0;
  memcpy(&word, at, left);
  word |= (uint64_t)key.length << 56;
  s.d ^= word;
  sip_round(&s);
  s.a ^= word;
  s.c ^= 0xff;
  sip_round(&s);
  sip_round(&s);
  sip_round(&s);
  return s.a ^ s.b ^ s.c ^ s.d;
}

// ---- Walks.

kv_item *kv_walk_next(kv_thread *t, kv_walk *walk) {
  for (;;) {
    if (walk->page != NULL) {
      while (walk->at < walk->page->slots) {
        kv_item *item = page_slots(walk->page)[walk->at++];
        if (item != NULL) {
          return item;
        }
      }
    }
    if (walk->entry >= (uint64_t)1 << walk->table->depth) {
      return NULL;
    }
    kv_poll(t->self);
    walk->page = walk->table->depth == 0 ? walk->table->top : ((kv_page **)walk->table->top)[walk->entry];
    walk->entry += (uint64_t)1 << (walk->table->depth - walk->page->depth);
    walk->at = 0;
  }
}

// ---- Scans. A cursor is the lowest 56 bits' worth of hash that has not been reported: table_bits of it, shifted down; so 0 is the beginning, and after the
// last the end.

enum { CURSOR_BITS = 64 - KV_SHARD_BITS };

uint64_t kv_table_scan(kv_thread *t, kv_table *table, uint64_t cursor, uint64_t count, kv_scan_fn *report, void *arg) {
  uint64_t reported = 0;
  cursor &= ((uint64_t)1 << CURSOR_BITS) - 1;
  do {
    kv_page *page = table_page(table, cursor);
    // The part of the page's hashes that has about `count` items: half, a quarter, ... of it. It begins at the cursor, and ends where such a part ends.
    unsigned width = CURSOR_BITS - page->depth;
    for (uint64_t items = page->count; items / 2 >= count - reported && width > 1; items /= 2) {
      width--;
    }
    uint64_t last = cursor | (((uint64_t)1 << width) - 1);
    for (unsigned i = 0; i < page->slots; i++) {
      if (page_slots(page)[i] != NULL) {
        uint64_t hash = kv_hash(kv_item_key(page_slots(page)[i])) & (((uint64_t)1 << CURSOR_BITS) - 1);
        if (hash >= cursor && hash <= last) {
          reported++;
          report(arg, page_slots(page)[i]);
        }
      }
    }
    cursor = (last + 1) & (((uint64_t)1 << CURSOR_BITS) - 1);
    kv_poll(t->self);
  } while (reported < count && cursor != 0);
  return cursor;
}

uint64_t kv_table_timed(kv_table *table, uint64_t cursor, kv_timed_fn *report, void *arg) {
  kv_page *page = table_page(table, cursor);
  uint64_t last = cursor | (((uint64_t)1 << (CURSOR_BITS - page->depth)) - 1);
  for (unsigned i = 0; i < page->slots; i++) {
    if ((page_tags(page)[i] & TAG_TIMED) && report(arg, (kv_place){page, i}, page_slots(page)[i])) {
      page = table_page(table, cursor); // it has changed, and may be another: from its beginning
      i = UINT32_MAX;
    }
  }
  return (last + 1) & (((uint64_t)1 << CURSOR_BITS) - 1);
}

kv_item *kv_table_random(kv_thread *t, kv_table *table, kv_place *place) {
  if (table->count == 0) {
    return NULL;
  }
  // A slot that is empty is another throw, so each item is as likely, nearly.
  for (int tries = 0; tries < 200; tries++) {
    uint64_t random = kv_random(t);
    kv_page *page = table_page(table, random);
    unsigned at = (unsigned)(kv_random(t) % page->slots);
    if (page_slots(page)[at] != NULL) {
      *place = (kv_place){page, at};
      return page_slots(page)[at];
    }
  }
  kv_walk walk = kv_walk_begin(table);
  kv_item *item = kv_walk_next(t, &walk);
  *place = (kv_place){walk.page, walk.at - 1};
  return item;
}
