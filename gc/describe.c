// SPDX-License-Identifier: MIT
// describe.c: takes down what a heap is beside the contents of its pages, and writes it as sections (describe.h).
//
// In the stop raw tables are copied, 6 bytes a page in use, into memory that was touched before; all else is done when the world runs again. One thread at a time.

#include "gc/describe.h"
#include <stdio.h>
#include <string.h>
#include "gc/alloc.h"
#include "gc/bytes.h"
#include "gc/gc.h"
#include "vm/os.h"

enum { SPARE_BLOCKS = 1024, SPARE_LINKS = 1024 };

struct gc_description {
  gc_heap *heap;
  size_t bytes;   // of the whole
  uint8_t *scratch; // for one section, the largest there may be
  size_t scratch_bytes;
  bool taken, failed;
  // Room for so many.
  size_t small_room, large_room, link_room, pair_room, table_room;
  // Copies; blocks of the large zone are counted from its start.
  uint8_t *space, *flags, *large_space, *large_flags;
  uint32_t *top;
  uint16_t *cover, *large_lead;
  uint64_t *large_size;
  uint32_t *large_head; // blocks of the heap
  gc_link *links;
  gc_pair *pairs;
  gc_table *tables;
  size_t small, large, link_count, pair_count, table_count;
  uint64_t number[GC_NUMBERS];
};

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

static size_t small_used(const gc_heap *heap) { return min_size(at_load(&heap->fresh), heap->small_blocks); }
static size_t large_used(const gc_heap *heap) { return at32_load(&heap->large_high) - heap->small_blocks; }

typedef struct table {
  void *where; // address of the pointer
  size_t bytes;
} table;

// Where each table lies behind `base`; NULL: only how many bytes they take.
static size_t layout(gc_description *d, char *base) {
  size_t pages = d->small_room * d->heap->block_pages;
  table tables[] = {
      {&d->scratch, d->scratch_bytes},
      {&d->space, d->small_room},       {&d->flags, d->small_room},
      {&d->large_space, d->large_room}, {&d->large_flags, d->large_room},
      {&d->top, pages * 4},             {&d->cover, pages * 2},
      {&d->large_lead, d->large_room * 2}, {&d->large_size, d->large_room * 8}, {&d->large_head, d->large_room * 4},
      {&d->links, d->link_room * sizeof *d->links}, {&d->pairs, d->pair_room * sizeof *d->pairs},
      {&d->tables, d->table_room * sizeof *d->tables},
  };
  size_t at = (sizeof *d + 63) & ~(size_t)63;
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
    if (base != NULL) {
      char *table_at = base + at;
      memcpy(tables[i].where, &table_at, sizeof table_at);
    }
    at += (tables[i].bytes + 63) & ~(size_t)63;
  }
  return at;
}

gc_description *gc_description_open(gc_heap *heap) {
  gc_description sizes = {.heap = heap};
  sizes.small_room = min_size(2 * small_used(heap) + SPARE_BLOCKS, heap->small_blocks);
  sizes.large_room = min_size(2 * large_used(heap) + SPARE_BLOCKS, heap->blocks - heap->small_blocks);
  sizes.link_room = min_size(2 * at_load(&heap->links.high) + SPARE_LINKS, heap->links.limit);
  sizes.pair_room = min_size(2 * at_load(&heap->weak.high) + SPARE_LINKS, heap->weak.limit);
  sizes.table_room = min_size(2 * at_load(&heap->weak.table_high) + SPARE_LINKS, heap->weak.table_limit);
  size_t pages = (size_t)GC_PART_BLOCKS * heap->block_pages;
  size_t small = GC_NUMBER_BYTES * (GC_PART_BLOCKS + 4 * pages + 4), links = GC_NUMBER_BYTES * (5 * (size_t)GC_PART_LINKS + 1);
  sizes.scratch_bytes = small > links ? small : links;
  sizes.bytes = layout(&sizes, NULL);
  gc_description *d = os_map_private(sizes.bytes);
  if (d == NULL) {
    return NULL;
  }
  *d = sizes;
  layout(d, (char *)d);
  for (char volatile *at = (char *)d->space; at < (char *)d + d->bytes; at += 4096) {
    *at = 0; // the stop is to meet no fault
  }
  return d;
}

void gc_description_close(gc_description *d) { os_unmap(d, d->bytes); }

// ---- The stop.

static void numbers_take(gc_description *d) {
  const gc_heap *heap = d->heap;
  const uint64_t numbers[] = {
      [GC_NUMBER_FORMAT] = GC_FORMAT,
      [GC_NUMBER_PAGE_SHIFT] = heap->page_shift,
      [GC_NUMBER_BLOCKS] = heap->blocks,
      [GC_NUMBER_SMALL_BLOCKS] = heap->small_blocks,
      [GC_NUMBER_YOUNG_BLOCKS] = heap->young_blocks,
      [GC_NUMBER_RESERVE] = heap->config.reserve > heap->config.limit ? heap->config.reserve : heap->config.limit,
      [GC_NUMBER_CYCLE] = heap->cycle,
      [GC_NUMBER_EPOCH] = (heap->next_epoch + 1) % 3 + 1, // the one that it follows
      [GC_NUMBER_MINOR_CYCLES] = at_load(&heap->minor_cycles),
      [GC_NUMBER_HASH_BASE] = heap->hash_base,
      [GC_NUMBER_SMALL_PARTS] = (d->small + GC_PART_BLOCKS - 1) / GC_PART_BLOCKS,
      [GC_NUMBER_LARGE_PARTS] = (d->large + GC_PART_BLOCKS - 1) / GC_PART_BLOCKS,
      [GC_NUMBER_LINK_PARTS] = (d->link_count + GC_PART_LINKS - 1) / GC_PART_LINKS,
      [GC_NUMBER_PAIR_PARTS] = (d->pair_count + GC_PART_LINKS - 1) / GC_PART_LINKS,
  };
  memset(d->number, 0, sizeof d->number);
  memcpy(d->number, numbers, sizeof numbers);
}

// The next run of blocks from *first on that are in use, among the first `limit` ones. False: there is none.
static bool next_used(const uint8_t *space, size_t *first, size_t *end, size_t limit) {
  while (*first < limit && space[*first] == 0) {
    ++*first;
  }
  for (*end = *first; *end < limit && space[*end] != 0; ++*end) {
  }
  return *first < limit;
}

static void used_blocks_take(gc_description *d) {
  const gc_heap *heap = d->heap;
  size_t block_pages = heap->block_pages;
  for (size_t first = 0, end; next_used(d->space, &first, &end, d->small); first = end) {
    memcpy(&d->top[first * block_pages], (const void *)&heap->top[first * block_pages], (end - first) * block_pages * 4);
    memcpy(&d->cover[first * block_pages], (const void *)&heap->cover[first * block_pages], (end - first) * block_pages * 2);
  }
}

void gc_description_take(gc_description *d) {
  gc_heap *heap = d->heap;
  VM_CHECK(gc_phase_now(heap) == GC_IDLE, "a description in phase %d", (int)gc_phase_now(heap));
  size_t small = small_used(heap), large = large_used(heap);
  size_t links = at_load_acquire(&heap->links.high), pairs = at_load_acquire(&heap->weak.high), tables = at_load_acquire(&heap->weak.table_high);
  d->taken = true;
  d->failed = small > d->small_room || large > d->large_room || links > d->link_room || pairs > d->pair_room || tables > d->table_room;
  if (d->failed) {
    return;
  }
  d->small = small;
  d->large = large;
  d->link_count = links;
  d->pair_count = pairs;
  d->table_count = tables;
  memcpy(d->space, (const void *)heap->space, small);
  memcpy(d->flags, (const void *)heap->flags, small);
  used_blocks_take(d);
  memcpy(d->large_space, (const void *)(heap->space + heap->small_blocks), large);
  memcpy(d->large_flags, (const void *)(heap->flags + heap->small_blocks), large);
  memcpy(d->large_lead, (const void *)heap->large_lead, large * 2);
  memcpy(d->large_size, heap->large_size, large * 8);
  memcpy(d->large_head, (const void *)heap->large_head, large * 4);
  memcpy(d->links, heap->links.at, links * sizeof *d->links);
  memcpy(d->pairs, heap->weak.pairs, pairs * sizeof *d->pairs);
  memcpy(d->tables, heap->weak.tables, tables * sizeof *d->tables);
  numbers_take(d);
}

bool gc_description_is_whole(const gc_description *d) { return d->taken && !d->failed; }

static bool is_large_head(const gc_description *d, size_t block) { return d->large_space[block] != 0 && d->large_size[block] != 0; }

bool gc_description_has(const gc_description *d, size_t page) {
  const gc_heap *heap = d->heap;
  size_t block = gc_page_block(heap, page);
  if (!gc_description_is_whole(d)) {
    return false;
  }
  if (block < d->small) {
    return d->space[block] != 0 && (d->top[page] & GC_TOP_MASK) != 0;
  }
  if (block < heap->small_blocks || (block -= heap->small_blocks) >= d->large || d->large_space[block] == 0) {
    return false;
  }
  size_t head = d->large_head[block] - heap->small_blocks, first = gc_block_page(heap, d->large_head[block]);
  return is_large_head(d, head) && page - first < d->large_size[head] >> heap->page_shift;
}

// ---- Sections, while the world runs.

// A block with nothing on it is as good as a free one: somebody has it set aside.
static gc_block_kind kind_of(const gc_description *d, size_t block) {
  unsigned pages = d->heap->block_pages;
  const uint32_t *top = &d->top[block * pages];
  bool any = false;
  for (unsigned i = 0; i < pages && d->space[block] != 0; i++) {
    any = any || (top[i] & GC_TOP_MASK) != 0;
  }
  return !any ? GC_KIND_FREE : d->flags[block] & GC_BLOCK_LEAF ? GC_KIND_LEAF : GC_KIND_USED;
}

// How many blocks; runs of those of one kind, runs of pages of one top, and covers: how many there are, then each with the distance from the last. Pages of free blocks are passed over.
static void small_put(gc_description *d, gc_bytes_out *out, size_t first) {
  size_t limit = min_size(first + GC_PART_BLOCKS, d->small), pages = d->heap->block_pages;
  size_t used = 0, covers = 0;
  uint8_t kind[GC_PART_BLOCKS];
  for (size_t b = first; b < limit; b++) {
    kind[b - first] = (uint8_t)kind_of(d, b);
  }
  gc_bytes_put(out, limit - first);
  for (size_t b = first, run; b < limit; b += run) {
    for (run = 1; b + run < limit && kind[b + run - first] == kind[b - first]; run++) {
    }
    gc_bytes_put(out, run << 2 | kind[b - first]);
    used += kind[b - first] != 0 ? run : 0;
  }
  uint32_t value = 0;
  size_t count = 0;
  for (size_t p = first * pages; p < limit * pages; p++) {
    if (kind[p / pages - first] == 0) {
      continue;
    }
    uint32_t top = d->top[p] & GC_TOP_MASK;
    if (count != 0 && top != value) {
      gc_bytes_put(out, value);
      gc_bytes_put(out, count);
      count = 0;
    }
    value = top;
    count++;
    covers += top != 0 && d->cover[p] != 0;
    d->number[GC_NUMBER_USED_PAGES] += top != 0;
  }
  if (count != 0) {
    gc_bytes_put(out, value);
    gc_bytes_put(out, count);
  }
  gc_bytes_put(out, covers);
  size_t last = first * pages;
  for (size_t p = first * pages; p < limit * pages; p++) {
    if (kind[p / pages - first] != 0 && (d->top[p] & GC_TOP_MASK) != 0 && d->cover[p] != 0) {
      gc_bytes_put(out, p - last);
      gc_bytes_put(out, d->cover[p]);
      last = p;
    }
  }
  d->number[GC_NUMBER_USED_BLOCKS] += used;
}

// Objects that begin in these blocks: how many; the distance from the last, pages and whether it is a leaf, bytes in front of the cell.
static void large_put(gc_description *d, gc_bytes_out *out, size_t first) {
  size_t limit = min_size(first + GC_PART_BLOCKS, d->large), count = 0, last = first;
  for (size_t b = first; b < limit; b++) {
    count += is_large_head(d, b);
  }
  gc_bytes_put(out, count);
  for (size_t b = first; b < limit; b++) {
    if (is_large_head(d, b)) {
      uint64_t pages = d->large_size[b] >> d->heap->page_shift;
      gc_bytes_put(out, b - last);
      gc_bytes_put(out, pages << 1 | ((d->large_flags[b] & GC_BLOCK_LEAF) != 0));
      gc_bytes_put(out, d->large_lead[b]);
      last = b;
      d->number[GC_NUMBER_LARGE_PAGES] += pages;
    }
  }
  d->number[GC_NUMBER_LARGE_OBJECTS] += count;
}

// A reference as a distance that is not 0; 0: to nothing.
static void reference_put(const gc_description *d, gc_bytes_out *out, uintptr_t view) { gc_bytes_put(out, view != 0 ? (view - d->heap->base) / 8 + 1 : 0); }

static gc_table_kind table_kind(const gc_description *d, uint32_t table) {
  gc_table_kind kind = table < d->table_count ? (gc_table_kind)d->tables[table].kind : GC_TABLE_FREE;
  return kind == GC_TABLE_KEYS || kind == GC_TABLE_VALUES || kind == GC_TABLE_BOTH ? kind : GC_TABLE_FREE;
}

// Whether the link is one of a weak reference, or of a table that is not dead.
static bool is_described(const gc_description *d, size_t link) {
  const gc_link *at = &d->links[link];
  return at->owner != 0 && (at->kind == GC_LINK_WEAK || (at->kind == GC_LINK_TABLE && table_kind(d, (uint32_t)at->data) != GC_TABLE_FREE));
}

// How many; the distance from the last, its owner, and 0 with what a weak reference refers to, or the table's kind with its number.
static void links_put(gc_description *d, gc_bytes_out *out, size_t first) {
  size_t limit = min_size(first + GC_PART_LINKS, d->link_count), count = 0, last = first;
  for (size_t i = first; i < limit; i++) {
    const gc_link *at = &d->links[i];
    count += is_described(d, i);
    d->number[GC_NUMBER_FINALS] += at->kind == GC_LINK_FINAL || at->kind == GC_LINK_READY;
    d->number[GC_NUMBER_HANDLES] += at->kind == GC_LINK_HANDLE;
    d->number[GC_NUMBER_SERIAL] = at->serial >= d->number[GC_NUMBER_SERIAL] ? at->serial + 1ull : d->number[GC_NUMBER_SERIAL];
  }
  gc_bytes_put(out, count);
  for (size_t i = first; i < limit; i++) {
    const gc_link *at = &d->links[i];
    if (!is_described(d, i)) {
      continue;
    }
    gc_bytes_put(out, i - last);
    reference_put(d, out, at->owner);
    if (at->kind == GC_LINK_WEAK) {
      gc_bytes_put(out, 0);
      reference_put(d, out, at->ref);
    } else {
      gc_bytes_put(out, table_kind(d, (uint32_t)at->data));
      gc_bytes_put(out, at->data);
    }
    d->number[at->kind == GC_LINK_WEAK ? GC_NUMBER_WEAKS : GC_NUMBER_TABLES]++;
    last = i;
  }
}

static bool is_entry(const gc_description *d, size_t pair) {
  const gc_pair *at = &d->pairs[pair];
  return at->table != GC_NONE && at->key != 0 && at->value != 0 && table_kind(d, at->table) != GC_TABLE_FREE;
}

// How many; the distance from the last, table, hash, key, value.
static void pairs_put(gc_description *d, gc_bytes_out *out, size_t first) {
  size_t limit = min_size(first + GC_PART_LINKS, d->pair_count), count = 0, last = first;
  for (size_t i = first; i < limit; i++) {
    count += is_entry(d, i);
  }
  gc_bytes_put(out, count);
  for (size_t i = first; i < limit; i++) {
    const gc_pair *at = &d->pairs[i];
    if (is_entry(d, i)) {
      gc_bytes_put(out, i - last);
      gc_bytes_put(out, at->table);
      gc_bytes_put(out, at->hash);
      reference_put(d, out, at->key);
      reference_put(d, out, at->value);
      last = i;
    }
  }
  d->number[GC_NUMBER_PAIRS] += count;
}

static void numbers_put(gc_description *d, gc_bytes_out *out, size_t first) {
  for (size_t i = first; i < GC_NUMBERS; i++) {
    gc_bytes_put(out, d->number[i]);
  }
}

static int section_put(gc_description *d, const char *name, size_t first, void (*encode)(gc_description *d, gc_bytes_out *out, size_t first), gc_put_fn *put, void *arg) {
  gc_bytes_out out = {d->scratch, d->scratch, d->scratch + d->scratch_bytes};
  encode(d, &out, first);
  VM_CHECK(out.at <= out.limit, "section %s takes %zu bytes, and there are %zu", name, (size_t)(out.at - out.start), d->scratch_bytes);
  return put(arg, name, out.start, (size_t)(out.at - out.start));
}

static int parts_put(gc_description *d, const char *kind, size_t count, size_t step, void (*encode)(gc_description *d, gc_bytes_out *out, size_t first), gc_put_fn *put, void *arg) {
  int result = 0;
  for (size_t first = 0; first < count && result == 0; first += step) {
    char name[32];
    snprintf(name, sizeof name, "%s.%04zx", kind, first / step);
    result = section_put(d, name, first, encode, put, arg);
  }
  return result;
}

int gc_description_put(gc_description *d, gc_put_fn *put, void *arg) {
  if (!gc_description_is_whole(d)) {
    return -1;
  }
  for (unsigned i = GC_NUMBER_USED_BLOCKS; i < GC_NUMBERS; i++) {
    d->number[i] = 0; // they are counted anew
  }
  d->number[GC_NUMBER_SERIAL] = 0;
  int result = parts_put(d, "small", d->small, GC_PART_BLOCKS, small_put, put, arg);
  result = result == 0 ? parts_put(d, "large", d->large, GC_PART_BLOCKS, large_put, put, arg) : result;
  result = result == 0 ? parts_put(d, "links", d->link_count, GC_PART_LINKS, links_put, put, arg) : result;
  result = result == 0 ? parts_put(d, "pairs", d->pair_count, GC_PART_LINKS, pairs_put, put, arg) : result;
  return result == 0 ? section_put(d, "heap", 0, numbers_put, put, arg) : result;
}
