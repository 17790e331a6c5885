// SPDX-License-Identifier: MIT
// table_page.h: a page of a table, for table.c and table_walk.c.

#ifndef KV_TABLE_PAGE_H
#define KV_TABLE_PAGE_H

#include "kv.h"

enum { PAGE_MOST = 128, KV_SHARD_BITS = 8, TAG_TIMED = 0x80 };

// The tags stand where the page begins, so that the next cache line or two have all that a search looks at before it knows its slot.
struct kv_page {
  uint16_t slots, count, depth, spare; // slots: constant
  uint8_t tags[];                      // one for each slot; 0: empty. Then the slots, which own their items
};
#define PAGE_FIRST(N) (sizeof(kv_page) + (N))
#define PAGE_BYTES(N) (PAGE_FIRST(N) + 8 * (size_t)(N))

static inline uint8_t *page_tags(kv_page *page) { return page->tags; }
static inline kv_item **page_slots(kv_page *page) { return (kv_item **)(page->tags + page->slots); }
static inline uint8_t page_tag(uint64_t hash) { return (uint8_t)(hash % 127 + 1); }
static inline unsigned page_home(const kv_page *page, uint64_t hash) { return (unsigned)((hash & 0xffffff) * page->slots >> 24); }
// The bits of a hash that the directory goes by: those below the shard's, so that a shard's items are spread over its pages.
static inline uint64_t table_bits(uint64_t hash) { return hash << KV_SHARD_BITS; }
static inline uint64_t table_entry(const kv_table *table, uint64_t hash) { return table_bits(hash) >> (64 - table->depth); }
static inline kv_page *table_page(const kv_table *table, uint64_t hash) {
  return table->depth == 0 ? table->top : ((kv_page **)table->top)[table_entry(table, hash)];
}

#endif
