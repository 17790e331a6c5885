// SPDX-License-Identifier: MIT
// table.h: hash tables that grow and shrink a page at a time: extendible hashing. The keyspace's shards, hashes, sets and sorted sets are such tables.
//
// A page holds up to 112 items that share the first `page->depth` bits of their hashes. A full page splits in two; two small ones that belong together merge. A
// directory says which page has which first bits: it is doubled when a page of its own depth splits, and is some 60 to 100 times smaller than the items are
// many. So no operation handles a table as a whole.
//
// The cursor of a scan is where in the order of hashes it stands, so an item that is there all the while is reported exactly once, whatever splits or merges
// meanwhile.

#ifndef KV_TABLE_H
#define KV_TABLE_H

#include "item.h"

typedef struct kv_thread kv_thread;
typedef struct kv_page kv_page;

typedef struct kv_table {
  void *top;        // owned: the only page (depth 0), or the directory, which owns its pages
  uint64_t count;   // of items
  uint64_t bytes;   // of its pages, directory and items
  uint32_t timed;   // items that expire
  uint32_t depth;   // of the directory: 2^depth entries
  uint32_t deepest; // pages as deep as the directory
  uint32_t spare;
  uint64_t inner; // of a shard: bytes of the lists, hashes and sets that its items refer to
} kv_table;

// Where an item is. Good until the table changes.
typedef struct kv_place {
  kv_page *page;
  unsigned at;
} kv_place;

// Walks a table that does not change meanwhile.
typedef struct kv_walk {
  kv_table *table;
  uint64_t entry;
  kv_page *page;
  unsigned at;
} kv_walk;

uint64_t kv_hash(kv_text key);
void kv_hash_seed(void);

kv_table *kv_table_new(kv_self *self); // empty, NULL if memory is out
// What follows keeps `bytes`.
kv_item *kv_table_find(kv_table *table, uint64_t hash, kv_text key, kv_place *place); // NULL: not there; `place` may be NULL
kv_item *kv_table_by_hash(kv_table *table, uint64_t hash, kv_place *place);           // any of this hash
// Makes room, so that the next kv_table_put of this hash cannot fail. False: memory is out, nothing has changed for the reader.
bool kv_table_reserve(kv_self *self, kv_table *table, uint64_t hash);
void kv_table_put(kv_self *self, kv_table *table, uint64_t hash, kv_item *item); // takes over the item
// Puts another item of the same key in its place, and drops what was there.
void kv_table_replace(kv_self *self, kv_table *table, kv_place place, kv_item *item);
// The same, but gives what was there to the caller.
kv_item *kv_table_exchange(kv_self *self, kv_table *table, kv_place place, kv_item *item);
// Takes it out, and gives it to the caller.
kv_item *kv_table_take(kv_self *self, kv_table *table, uint64_t hash, kv_place place);
kv_item *kv_table_random(kv_thread *t, kv_table *table, kv_place *place); // NULL if it is empty

static inline kv_walk kv_walk_begin(kv_table *table) { return (kv_walk){table, 0, NULL, 0}; }
kv_item *kv_walk_next(kv_thread *t, kv_walk *walk); // NULL: the end

// Reports the items of the next part of the table, about `count`, and returns where to go on; 0: that was the end.
typedef void kv_scan_fn(void *arg, kv_item *item);
uint64_t kv_table_scan(kv_thread *t, kv_table *table, uint64_t cursor, uint64_t count, kv_scan_fn *report, void *arg);
// The same for items that expire, a page at a time, which `report` may take out: it returns true if it did.
typedef bool kv_timed_fn(void *arg, kv_place place, kv_item *item);
uint64_t kv_table_timed(kv_table *table, uint64_t cursor, kv_timed_fn *report, void *arg);

#endif
