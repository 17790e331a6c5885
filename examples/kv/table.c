// SPDX-License-Identifier: MIT
// table.c: pages, the directory, splitting and merging; see table.h. table_walk.c has what goes over many items.
//
// In a page items are found by linear probing. A tag of 8 bits stands beside each slot: 7 bits of the hash, so that other items are seldom looked at; and
// whether the item expires.

#include "table_page.h"

enum { MERGED_MOST = 56 }; // items of two pages that merge: half of what a page takes

KV_DROPS page_drop(kv_self *self, void *object) {
  kv_page *page = object;
  for (unsigned i = 0; i < page->slots; i++) {
    kv_drop(self, page_slots(page)[i]);
  }
}
#define PAGE_TYPE(N) KV_TYPE_SLOTS(page##N, PAGE_BYTES(N), PAGE_FIRST(N), N, page_drop)
PAGE_TYPE(8)
PAGE_TYPE(16)
PAGE_TYPE(32)
PAGE_TYPE(64)
PAGE_TYPE(96)
PAGE_TYPE(128)

// The directory owns each of its pages once, however many entries say it.
KV_DROPS table_drop(kv_self *self, void *object) {
  kv_table *table = object;
  if (table->depth > 0 && table->top != NULL) {
    kv_page **directory = table->top, *last = NULL;
    for (uint64_t i = 0; i < (uint64_t)1 << table->depth; i++) {
      if (directory[i] != last) {
        last = directory[i];
        kv_drop(self, last);
      }
    }
  }
  kv_drop(self, table->top);
}
KV_TYPE(kv_table, table_drop, top);

// ---- Pages.

static unsigned slots_for(unsigned count) { // so that it is 3/4 full at the most
  static const uint8_t sizes[] = {8, 16, 32, 64, 96, 128};
  for (unsigned i = 0; i < sizeof sizes; i++) {
    if (count * 4 <= sizes[i] * 3u) {
      return sizes[i];
    }
  }
  return PAGE_MOST;
}

static kv_page *page_new(kv_self *self, unsigned slots, unsigned depth) {
  kv_page *page = slots == 8    ? kv_new_slots(self, page8)
                  : slots == 16 ? kv_new_slots(self, page16)
                  : slots == 32 ? kv_new_slots(self, page32)
                  : slots == 64 ? kv_new_slots(self, page64)
                  : slots == 96 ? kv_new_slots(self, page96)
                                : kv_new_slots(self, page128);
  if (page != NULL) {
    page->slots = (uint16_t)slots;
    page->depth = (uint16_t)depth;
  }
  return page;
}

static void page_put(kv_page *page, uint64_t hash, kv_item *item) {
  uint8_t *tags = page_tags(page);
  unsigned at = page_home(page, hash);
  while (tags[at] != 0) {
    at = at + 1 == page->slots ? 0 : at + 1;
  }
  tags[at] = page_tag(hash) | (item->timed ? TAG_TIMED : 0);
  page_slots(page)[at] = item;
  page->count++;
}

// Those behind it that it kept from their home move up, so that no probe ends too early.
static void page_remove(kv_page *page, unsigned at) {
  uint8_t *tags = page_tags(page);
  unsigned hole = at, next = at;
  for (;;) {
    next = next + 1 == page->slots ? 0 : next + 1;
    if (tags[next] == 0) {
      break;
    }
    unsigned home = page_home(page, kv_hash(kv_item_key(page_slots(page)[next])));
    unsigned way = next >= home ? next - home : next + page->slots - home;
    unsigned gap = next >= hole ? next - hole : next + page->slots - hole;
    if (way >= gap) {
      page_slots(page)[hole] = page_slots(page)[next];
      tags[hole] = tags[next];
      hole = next;
    }
  }
  page_slots(page)[hole] = NULL;
  tags[hole] = 0;
  page->count--;
}

// Moves all items of `from` to one of two pages, by the bit of the hash; to `zero` if there is one only.
static void page_spread(kv_page *from, kv_page *zero, kv_page *one) {
  for (unsigned i = 0; i < from->slots; i++) {
    if (page_slots(from)[i] != NULL) {
      uint64_t hash = kv_hash(kv_item_key(page_slots(from)[i]));
      page_put(one != NULL && (table_bits(hash) >> (63 - from->depth) & 1) ? one : zero, hash, page_slots(from)[i]);
      page_slots(from)[i] = NULL;
    }
  }
}

static void account(kv_table *table, ptrdiff_t bytes) { table->bytes += (uint64_t)bytes; }

// ---- The directory.

kv_table *kv_table_new(kv_self *self) {
  kv_table *table = kv_new(self, kv_table);
  kv_page *page = table != NULL ? page_new(self, 8, 0) : NULL;
  if (page == NULL) {
    kv_drop(self, table);
    return NULL;
  }
  table->top = page;
  table->deepest = 1;
  account(table, (ptrdiff_t)(sizeof *table + PAGE_BYTES(8)));
  return table;
}

// Puts `page` wherever the directory, which is deeper than it or as deep, has one for these first bits.
static void directory_set(kv_table *table, uint64_t hash, kv_page *page) {
  if (table->depth == 0) {
    table->top = page;
    return;
  }
  kv_page **directory = table->top;
  unsigned below = table->depth - page->depth;
  uint64_t first = table_entry(table, hash) >> below << below;
  for (uint64_t i = 0; i < (uint64_t)1 << below; i++) {
    directory[first + i] = page;
  }
}

static bool directory_resize(kv_self *self, kv_table *table, unsigned depth) {
  uint64_t entries = (uint64_t)1 << depth, had = table->depth > 0 ? (uint64_t)1 << table->depth : 0;
  if (depth == 0) {
    kv_page **old = table->top;
    table->top = old[0];
    kv_drop(self, old);
    entries = 0;
  } else {
    kv_page **made = (kv_page **)kv_new_pointers(self, entries, NULL);
    if (made == NULL) {
      return false;
    }
    for (uint64_t i = 0; i < entries; i++) {
      made[i] = table->depth == 0 ? table->top : ((kv_page **)table->top)[depth > table->depth ? i >> (depth - table->depth) : i << (table->depth - depth)];
    }
    if (table->depth > 0) {
      kv_drop(self, table->top);
    }
    table->top = made;
  }
  account(table, (ptrdiff_t)(entries * 8) - (ptrdiff_t)(had * 8));
  table->depth = depth;
  table->deepest = 0;
  for (uint64_t i = 0; i < (uint64_t)1 << depth; i++) {
    kv_page *page = depth == 0 ? table->top : ((kv_page **)table->top)[i];
    table->deepest += page->depth == depth;
  }
  return true;
}

// The same items in a page of another size.
static bool page_resize(kv_self *self, kv_table *table, uint64_t hash, kv_page *page, unsigned slots) {
  kv_page *made = page_new(self, slots, page->depth);
  if (made == NULL) {
    return false;
  }
  page_spread(page, made, NULL);
  directory_set(table, hash, made);
  account(table, (ptrdiff_t)PAGE_BYTES(slots) - (ptrdiff_t)PAGE_BYTES(page->slots));
  kv_drop(self, page);
  return true;
}

static unsigned page_ones(kv_page *page) {
  unsigned ones = 0;
  for (unsigned i = 0; i < page->slots; i++) {
    ones += page_slots(page)[i] != NULL && (table_bits(kv_hash(kv_item_key(page_slots(page)[i]))) >> (63 - page->depth) & 1);
  }
  return ones;
}

static bool page_split(kv_self *self, kv_table *table, uint64_t hash, kv_page *page) {
  unsigned depth = page->depth, ones = page_ones(page);
  kv_page *zero = page_new(self, slots_for(page->count - ones), depth + 1), *one = page_new(self, slots_for(ones), depth + 1);
  if (zero == NULL || one == NULL || (depth == table->depth && !directory_resize(self, table, depth + 1))) {
    kv_drop(self, zero);
    kv_drop(self, one);
    return false;
  }
  table->deepest += depth + 1 == table->depth ? 2 : 0;
  page_spread(page, zero, one);
  uint64_t bit = (uint64_t)1 << (63 - KV_SHARD_BITS - depth);
  directory_set(table, hash & ~bit, zero);
  directory_set(table, hash | bit, one);
  account(table, (ptrdiff_t)(PAGE_BYTES(zero->slots) + PAGE_BYTES(one->slots)) - (ptrdiff_t)PAGE_BYTES(page->slots));
  kv_drop(self, page);
  return true;
}

// Two half empty pages that were split from one become one again. Nothing happens if memory is out.
static void page_merge(kv_self *self, kv_table *table, uint64_t hash, kv_page *page) {
  uint64_t bit = (uint64_t)1 << (64 - KV_SHARD_BITS - page->depth);
  kv_page *buddy = table_page(table, hash ^ bit);
  if (buddy->depth != page->depth || page->count + buddy->count > MERGED_MOST) {
    return;
  }
  kv_page *made = page_new(self, slots_for(page->count + buddy->count), page->depth - 1u);
  if (made == NULL) {
    return;
  }
  page_spread(page, made, NULL);
  page_spread(buddy, made, NULL);
  directory_set(table, hash, made);
  account(table, (ptrdiff_t)PAGE_BYTES(made->slots) - (ptrdiff_t)(PAGE_BYTES(page->slots) + PAGE_BYTES(buddy->slots)));
  table->deepest -= page->depth == table->depth ? 2 : 0;
  kv_drop(self, page);
  kv_drop(self, buddy);
  if (table->deepest == 0) {
    directory_resize(self, table, table->depth - 1);
  }
}

// ---- Items.

kv_item *kv_table_find(kv_table *table, uint64_t hash, kv_text key, kv_place *place) {
  kv_page *page = table_page(table, hash);
  const uint8_t *tags = page_tags(page);
  uint8_t tag = page_tag(hash);
  for (unsigned at = page_home(page, hash); tags[at] != 0; at = at + 1 == page->slots ? 0 : at + 1) {
    if ((tags[at] & ~TAG_TIMED) == tag && kv_item_is(page_slots(page)[at], key)) {
      if (place != NULL) {
        *place = (kv_place){page, at};
      }
      return page_slots(page)[at];
    }
  }
  return NULL;
}

kv_item *kv_table_by_hash(kv_table *table, uint64_t hash, kv_place *place) {
  kv_page *page = table_page(table, hash);
  const uint8_t *tags = page_tags(page);
  for (unsigned at = page_home(page, hash); tags[at] != 0; at = at + 1 == page->slots ? 0 : at + 1) {
    if ((tags[at] & ~TAG_TIMED) == page_tag(hash) && kv_hash(kv_item_key(page_slots(page)[at])) == hash) {
      *place = (kv_place){page, at};
      return page_slots(page)[at];
    }
  }
  return NULL;
}

bool kv_table_reserve(kv_self *self, kv_table *table, uint64_t hash) {
  for (;;) {
    kv_page *page = table_page(table, hash);
    if ((page->count + 1) * 8 <= page->slots * 7) {
      return true;
    }
    bool done = page->slots < PAGE_MOST ? page_resize(self, table, hash, page, slots_for(page->count + 1u)) : page_split(self, table, hash, page);
    if (!done) {
      return false;
    }
  }
}

void kv_table_put(kv_self *self, kv_table *table, uint64_t hash, kv_item *item) {
  page_put(table_page(table, hash), hash, item);
  table->count++;
  table->timed += item->timed;
  account(table, (ptrdiff_t)kv_item_bytes(item));
}

kv_item *kv_table_exchange(kv_self *self, kv_table *table, kv_place place, kv_item *item) {
  kv_item *old = page_slots(place.page)[place.at];
  uint8_t *tags = page_tags(place.page);
  table->timed += (uint32_t)item->timed - (uint32_t)old->timed;
  tags[place.at] = (uint8_t)((tags[place.at] & ~TAG_TIMED) | (item->timed ? TAG_TIMED : 0));
  account(table, (ptrdiff_t)kv_item_bytes(item) - (ptrdiff_t)kv_item_bytes(old));
  page_slots(place.page)[place.at] = item;
  return old;
}

void kv_table_replace(kv_self *self, kv_table *table, kv_place place, kv_item *item) { kv_drop(self, kv_table_exchange(self, table, place, item)); }

kv_item *kv_table_take(kv_self *self, kv_table *table, uint64_t hash, kv_place place) {
  kv_page *page = place.page;
  kv_item *item = page_slots(page)[place.at];
  page_remove(page, place.at);
  table->count--;
  table->timed -= item->timed;
  account(table, -(ptrdiff_t)kv_item_bytes(item));
  if (page->depth > 0 && page->count <= MERGED_MOST / 2) {
    page_merge(self, table, hash, page);
  } else if (page->slots > 8 && page->count * 4 < page->slots) {
    page_resize(self, table, hash, page, slots_for(page->count + 1u));
  }
  return item;
}
