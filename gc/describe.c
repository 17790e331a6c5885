// SPDX-License-Identifier: MIT
// describe.c: takes down what a heap is beside the contents of its pages (describe.h): all of it, or what has changed. describe_put.c writes it as sections.
//
// In the stop raw tables are copied, 6 bytes a page in use, into memory that was touched before; all else is done when the world runs again. One thread at a time.
//
// Keeps gc.described: what is looked at when it is taken again.

#include <string.h>
#include "gc/alloc.h"
#include "gc/bytes.h"
#include "gc/changed.h"
#include "gc/description.h"
#include "gc/gc.h"
#include "vm/os.h"

enum { SPARE_BLOCKS = 1024, SPARE_LINKS = 1024 };

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
      {&d->space, d->small_room},       {&d->flags, d->small_room}, {&d->transient, d->small_room},
      {&d->large_space, d->large_room}, {&d->large_flags, d->large_room}, {&d->large_transient, d->large_room},
      {&d->top, pages * 4},             {&d->cover, pages * 2},
      {&d->large_lead, d->large_room * 2}, {&d->large_size, d->large_room * 8}, {&d->large_head, d->large_room * 4},
      {&d->links, d->link_room * sizeof *d->links}, {&d->pairs, d->pair_room * sizeof *d->pairs},
      {&d->tables, d->table_room * sizeof *d->tables},
      {&d->part[GC_PART_SMALL], gc_parts(d->small_room, GC_PART_BLOCKS) * sizeof(gc_part)}, {&d->part[GC_PART_LARGE], gc_parts(d->large_room, GC_PART_BLOCKS) * sizeof(gc_part)},
      {&d->part[GC_PART_LINK], gc_parts(d->link_room, GC_PART_LINKS) * sizeof(gc_part)}, {&d->part[GC_PART_PAIR], gc_parts(d->pair_room, GC_PART_LINKS) * sizeof(gc_part)},
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
  ((char volatile *)d)[d->bytes - 1] = 0;
  return d;
}

void gc_description_close(gc_description *d) {
  gc_traced_free(d->heap, &d->traced);
  os_unmap(d, d->bytes);
}

// ---- The stop.

static bool is_cycle_since(const gc_description *d) {
  return d->number[GC_NUMBER_CYCLE] != d->heap->cycle || d->number[GC_NUMBER_MINOR_CYCLES] != at_load(&d->heap->minor_cycles);
}

static void numbers_take(gc_description *d) {
  const gc_heap *heap = d->heap;
  const uint64_t numbers[GC_NUMBERS] = {
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
      [GC_NUMBER_SMALL_PARTS] = gc_parts(d->small, GC_PART_BLOCKS),
      [GC_NUMBER_LARGE_PARTS] = gc_parts(d->large, GC_PART_BLOCKS),
      [GC_NUMBER_LINK_PARTS] = gc_parts(d->link_count, GC_PART_LINKS),
      [GC_NUMBER_PAIR_PARTS] = gc_parts(d->pair_count, GC_PART_LINKS),
  };
  if (memcmp(d->number, numbers, sizeof numbers) != 0) {
    memcpy(d->number, numbers, sizeof numbers);
    d->touched = true;
  }
}

static void touch(gc_description *d, gc_part_kind kind, size_t part) {
  d->part[kind][part].touched = true;
  d->touched = true;
}

// Sections that tell of any of [first, limit).
static void parts_touch(gc_description *d, gc_part_kind kind, size_t first, size_t limit) {
  size_t step = gc_part_step(kind);
  for (size_t part = first / step; part * step < limit && first < limit; part++) {
    touch(d, kind, part);
  }
}

// True: it was other than that.
static bool renew(void *copy, const void volatile *table, size_t bytes) {
  if (memcmp(copy, (const void *)table, bytes) == 0) {
    return false;
  }
  memcpy(copy, (const void *)table, bytes);
  return true;
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

// Blocks [first, limit) of one part. Of those that are free the copies of tops and covers are old, and nobody looks at them.
static void small_renew(gc_description *d, size_t first, size_t limit) {
  const gc_heap *heap = d->heap;
  size_t pages = heap->block_pages;
  bool other = renew(&d->space[first], &heap->space[first], limit - first);
  other |= renew(&d->flags[first], &heap->flags[first], limit - first);
  other |= renew(&d->transient[first], &heap->transient[first], limit - first);
  for (size_t used = first, end; next_used(d->space, &used, &end, limit); used = end) {
    other |= renew(&d->top[used * pages], &heap->top[used * pages], (end - used) * pages * 4);
    other |= renew(&d->cover[used * pages], &heap->cover[used * pages], (end - used) * pages * 2);
  }
  if (other) {
    touch(d, GC_PART_SMALL, first / GC_PART_BLOCKS);
  }
}

static void large_renew(gc_description *d, size_t first, size_t limit) {
  const gc_heap *heap = d->heap;
  size_t count = limit - first;
  bool other = renew(&d->large_space[first], &heap->space[heap->small_blocks + first], count);
  other |= renew(&d->large_flags[first], &heap->flags[heap->small_blocks + first], count);
  other |= renew(&d->large_transient[first], &heap->transient[heap->small_blocks + first], count);
  other |= renew(&d->large_lead[first], &heap->large_lead[first], count * 2);
  other |= renew(&d->large_size[first], &heap->large_size[first], count * 8);
  other |= renew(&d->large_head[first], &heap->large_head[first], count * 4);
  if (other) {
    touch(d, GC_PART_LARGE, first / GC_PART_BLOCKS);
  }
}

static void links_renew(gc_description *d, size_t first, size_t limit) {
  if (renew(&d->links[first], &d->heap->links.at[first], (limit - first) * sizeof *d->links)) {
    touch(d, GC_PART_LINK, first / GC_PART_LINKS);
  }
}

static void pairs_renew(gc_description *d, size_t first, size_t limit) {
  if (renew(&d->pairs[first], &d->heap->weak.pairs[first], (limit - first) * sizeof *d->pairs)) {
    touch(d, GC_PART_PAIR, first / GC_PART_LINKS);
  }
}

// What a table that is none any more had told of is in any part. A new table has a new link, and new entries.
static void tables_renew(gc_description *d, size_t first, size_t limit) {
  for (size_t i = first; i < limit; i++) {
    uint32_t kind = at32_load(&d->heap->weak.tables[i].kind);
    kind = kind != GC_TABLE_DEAD ? kind : GC_TABLE_FREE;
    if (d->tables[i] != kind && d->tables[i] != GC_TABLE_FREE) {
      parts_touch(d, GC_PART_LINK, 0, d->link_count);
      parts_touch(d, GC_PART_PAIR, 0, d->pair_count);
    }
    d->tables[i] = (uint8_t)kind;
  }
}

typedef void renew_fn(gc_description *d, size_t first, size_t limit);

// [first, limit), in pieces that no multiple of `step` lies within.
static void pieces_renew(gc_description *d, size_t first, size_t limit, size_t step, renew_fn *fn) {
  for (size_t next; first < limit; first = next) {
    next = min_size(first - first % step + step, limit);
    fn(d, first, next);
  }
}

// Groups that have changed since (gc.changed).
static void changed_renew(gc_description *d, const gc_changes *changes, size_t count, uint64_t since, renew_fn *fn) {
  for (size_t group = 0; at_load(&changes->last) >= since && group * GC_CHANGES_GROUP < count; group++) {
    if (at_load(&changes->at[group]) >= since) {
      fn(d, group * GC_CHANGES_GROUP, min_size((group + 1) * GC_CHANGES_GROUP, count));
    }
  }
}

// What has grown. False: there is no room for it.
static bool counts_take(gc_description *d) {
  const gc_heap *heap = d->heap;
  size_t small = small_used(heap), large = large_used(heap);
  size_t links = at_load_acquire(&heap->links.high), pairs = at_load_acquire(&heap->weak.high), tables = at_load_acquire(&heap->weak.table_high);
  d->failed = small > d->small_room || large > d->large_room || links > d->link_room || pairs > d->pair_room || tables > d->table_room;
  if (d->failed) {
    return false;
  }
  size_t small_before = d->small, large_before = d->large;
  parts_touch(d, GC_PART_SMALL, small_before != 0 ? small_before - 1 : 0, small != small_before ? small : 0); // the last one says how many blocks it tells of
  d->small = small;
  d->large = large;
  d->link_count = links;
  d->pair_count = pairs;
  d->table_count = tables;
  pieces_renew(d, small_before, small, GC_PART_BLOCKS, small_renew);
  pieces_renew(d, large_before, large, GC_PART_BLOCKS, large_renew);
  return true;
}

// The object that lies in this block of the large zone, if it was not there: between two cycles none goes.
static void object_renew(gc_description *d, size_t block) {
  const gc_heap *heap = d->heap;
  if (block >= d->large || gc_space(heap, (uint32_t)(heap->small_blocks + block)) == 0) {
    return;
  }
  size_t head = at32_load(&heap->large_head[block]) - heap->small_blocks;
  if (!gc_description_is_large_head(d, head) || d->large_size[head] != heap->large_size[head]) {
    pieces_renew(d, head, min_size(head + gc_parts(heap->large_size[head], GC_BLOCK), d->large), GC_PART_BLOCKS, large_renew);
  }
}

// Each page's entries are somewhere else, and nobody has looked at them for long.
static void page_fetch(const gc_description *d, size_t page) {
  const gc_heap *heap = d->heap;
  size_t block = gc_page_block(heap, page), first = gc_block_page(heap, (uint32_t)block);
  if (block < d->small) {
    __builtin_prefetch((const void *)&heap->top[first]);
    __builtin_prefetch(&d->top[first]);
    __builtin_prefetch((const void *)&heap->cover[first]);
    __builtin_prefetch(&d->cover[first]);
  }
}

static void pages_renew(gc_description *d, const size_t *pages, size_t count) {
  enum { AHEAD = 4 };
  const gc_heap *heap = d->heap;
  size_t last = SIZE_MAX;
  for (size_t i = 0; i < count; i++) {
    if (i + AHEAD < count) {
      page_fetch(d, pages[i + AHEAD]);
    }
    size_t block = gc_page_block(heap, pages[i]);
    if (block == last) {
      continue;
    }
    last = block;
    if (block >= heap->small_blocks) {
      object_renew(d, block - heap->small_blocks);
    } else if (block < d->small) {
      small_renew(d, block, block + 1);
    }
  }
}

static void look(gc_description *d, bool all, const size_t *pages, size_t count) {
  gc_heap *heap = d->heap;
  VM_CHECK(gc_phase_now(heap) == GC_IDLE, "a description in phase %d", (int)gc_phase_now(heap));
  if (!counts_take(d)) {
    return;
  }
  if (all) {
    pieces_renew(d, 0, d->small, GC_PART_BLOCKS, small_renew);
    pieces_renew(d, 0, d->large, GC_PART_BLOCKS, large_renew);
    pieces_renew(d, 0, d->table_count, GC_CHANGES_GROUP, tables_renew);
    pieces_renew(d, 0, d->link_count, GC_CHANGES_GROUP, links_renew);
    pieces_renew(d, 0, d->pair_count, GC_CHANGES_GROUP, pairs_renew);
  } else {
    pages_renew(d, pages, count);
    changed_renew(d, &heap->weak.table_changes, d->table_count, d->stamp, tables_renew);
    changed_renew(d, &heap->links.changes, d->link_count, d->stamp, links_renew);
    changed_renew(d, &heap->weak.changes, d->pair_count, d->stamp, pairs_renew);
  }
  numbers_take(d);
  d->stamp = at_load(&heap->described) + 1;
  at_store(&heap->described, d->stamp);
  d->taken = true;
}

void gc_description_take(gc_description *d) { look(d, true, NULL, 0); }

void gc_description_again(gc_description *d, const size_t *pages, size_t count) {
  look(d, !gc_description_is_whole(d) || is_cycle_since(d), pages, count);
}

bool gc_description_tells(const gc_description *d, uintptr_t view) { return gc_description_is_whole(d) && gc_description_holds(d, view); }

bool gc_description_is_whole(const gc_description *d) { return d->taken && !d->failed; }

bool gc_description_has(const gc_description *d, size_t page) {
  const gc_heap *heap = d->heap;
  size_t block = gc_page_block(heap, page);
  if (!gc_description_is_whole(d)) {
    return false;
  }
  if (block < d->small) {
    return d->space[block] != 0 && !d->transient[block] && (d->top[page] & GC_TOP_MASK) != 0;
  }
  if (block < heap->small_blocks || (block -= heap->small_blocks) >= d->large || d->large_space[block] == 0) {
    return false;
  }
  size_t head = d->large_head[block] - heap->small_blocks, first = gc_block_page(heap, d->large_head[block]);
  return gc_description_is_large_head(d, head) && page - first < d->large_size[head] >> heap->page_shift;
}
