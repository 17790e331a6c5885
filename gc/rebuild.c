// SPDX-License-Identifier: MIT
// rebuild.c: a heap out of a description (describe.h): the reader of what describe.c writes, which believes nothing.
//
// Neighbours: runtime/restore.c calls, while the heap opens, in one thread. What pages hold is not looked at.
//
// What was in to-space, or in the nursery, is in to-space, or held in the zone, where it counts as old until the next flip (gc.zone). Nobody allocates in blocks that are restored before
// a sweep has seen them: what of them is free is in no stack.

#include <stdio.h>
#include <string.h>
#include "gc/block.h"
#include "gc/bytes.h"
#include "gc/describe.h"
#include "gc/gc.h"
#include "gc/links.h"
#include "gc/pace.h"
#include "gc/rebuild.h"
#include "gc/runs.h"
#include "gc/still.h"
#include "gc/table.h"
#include "gc/young.h"

enum { CHUNK_BLOCKS = VM_HUGE / GC_BLOCK };

typedef struct reader {
  gc_heap *heap;
  const gc_described *from;
  gc_pages_fn *pages;
  void *arg;
  bool again;          // the heap is in use (gc_rebuild_again)
  const char *section; // that is being read
  char *why;
  size_t why_bytes;
  uint32_t high; // blocks of the small zone that there are: one past the last that is used
  uint32_t young_high;
  uint64_t found[GC_NUMBERS]; // sums, as far as it was read
} reader;

static bool bad(const reader *r, const char *what) {
  snprintf(r->why, r->why_bytes, "the section %s is damaged: %s", r->section, what);
  return false;
}

// ---- Numbers.

static bool geometry_fits(const uint64_t *n, size_t span, size_t page_size) {
  uint64_t blocks = n[GC_NUMBER_BLOCKS], small = n[GC_NUMBER_SMALL_BLOCKS], young = n[GC_NUMBER_YOUNG_BLOCKS];
  bool pages = n[GC_NUMBER_PAGE_SHIFT] >= 12 && n[GC_NUMBER_PAGE_SHIFT] <= GC_BLOCK_SHIFT && (uint64_t)1 << n[GC_NUMBER_PAGE_SHIFT] == page_size;
  return pages && blocks <= (uint64_t)1 << 29 && blocks << GC_BLOCK_SHIFT == span && small < blocks && young < small && blocks % CHUNK_BLOCKS == 0 &&
         small % CHUNK_BLOCKS == 0 && young % CHUNK_BLOCKS == 0 && n[GC_NUMBER_RESERVE] <= span;
}

static bool numbers_fit(const uint64_t *n) {
  uint64_t cycle = n[GC_NUMBER_CYCLE];
  return cycle <= UINT32_MAX - 2 && n[GC_NUMBER_EPOCH] - 1 < 3 && n[GC_NUMBER_SERIAL] <= UINT32_MAX / 2 &&
         n[GC_NUMBER_SMALL_PARTS] <= n[GC_NUMBER_SMALL_BLOCKS] / GC_PART_BLOCKS + 1 &&
         n[GC_NUMBER_LARGE_PARTS] <= (n[GC_NUMBER_BLOCKS] - n[GC_NUMBER_SMALL_BLOCKS]) / GC_PART_BLOCKS + 1;
}

bool gc_described_read(gc_described *from, size_t span, size_t page_size, char *why, size_t why_bytes) {
  const void *bytes;
  size_t size;
  reader r = {.section = "heap", .why = why, .why_bytes = why_bytes};
  if (!from->section(from->arg, "heap", &bytes, &size)) {
    return bad(&r, "it is missing");
  }
  gc_bytes_in in = {bytes, (const uint8_t *)bytes + size, false};
  for (unsigned i = 0; i < GC_NUMBERS; i++) {
    from->number[i] = gc_bytes_get(&in, UINT64_MAX);
    if (i == GC_NUMBER_FORMAT && !in.bad && from->number[i] != GC_FORMAT) {
      snprintf(why, why_bytes, "its description is in format %llu, and this is veil for format %d", (unsigned long long)from->number[i], GC_FORMAT);
      return false;
    }
  }
  if (in.bad || in.at != in.limit) {
    return bad(&r, "it has not as many numbers as it should");
  }
  if (!geometry_fits(from->number, span, page_size)) {
    return bad(&r, "blocks and pages do not make up such a view");
  }
  return numbers_fit(from->number) || bad(&r, "a number is impossible");
}

// ---- Sections.

static bool part_open(reader *r, char *name, size_t room, const char *kind, uint64_t part, gc_bytes_in *in) {
  const void *bytes;
  size_t size;
  snprintf(name, room, "%s.%04llx", kind, (unsigned long long)part);
  r->section = name;
  if (!r->from->section(r->from->arg, name, &bytes, &size)) {
    return bad(r, "it is missing");
  }
  *in = (gc_bytes_in){bytes, (const uint8_t *)bytes + size, false};
  return true;
}

static bool part_closed(const reader *r, const gc_bytes_in *in) {
  return !in->bad && in->at == in->limit ? true : bad(r, in->bad ? "a number is impossible, or it is cut off" : "something is left over");
}

static bool parts_read(reader *r, const char *kind, uint64_t count, bool (*read)(reader *r, gc_bytes_in *in, uint64_t part)) {
  for (uint64_t part = 0; part < count; part++) {
    char name[32];
    gc_bytes_in in;
    if (!part_open(r, name, sizeof name, kind, part, &in) || !read(r, &in, part) || !part_closed(r, &in)) {
      return false;
    }
  }
  return true;
}

// ---- Small blocks.

static void block_use(reader *r, uint32_t block, bool leaf) {
  gc_heap *heap = r->heap;
  bool young = block < heap->young_blocks;
  at8_store(&heap->transient[block], 0); // after a rollback
  AO_char_store((unsigned char volatile *)&heap->flags[block], leaf ? GC_BLOCK_LEAF : young ? GC_BLOCK_MORE : 0);
  AO_char_store_release((unsigned char volatile *)&heap->space[block], young ? GC_HELD : heap->to_space);
  at_add(&heap->used_blocks, 1);
  r->found[GC_NUMBER_USED_BLOCKS]++;
  r->high = block + 1;
  if (!young) { // its headers may carry any, but for the next cycle's
    gc_still_set(heap, block, GC_SETTLED | (GC_EPOCHS & ~gc_still_epoch(heap->next_epoch)));
  }
  if (young) {
    r->young_high = block + 1;
    heap->zone_old = true;
  }
}

static bool kinds_read(reader *r, gc_bytes_in *in, uint32_t first, uint32_t limit) {
  gc_heap *heap = r->heap;
  for (uint32_t b = first; b < limit;) {
    uint64_t run = gc_bytes_get(in, UINT32_MAX), kind = run & 3;
    run >>= 2;
    if (in->bad || run == 0 || run > limit - b || kind >= GC_KINDS) {
      return bad(r, "runs of blocks do not add up");
    }
    uint32_t end = b + (uint32_t)run;
    if (kind != GC_KIND_FREE && !r->pages(r->arg, gc_block_page(heap, b), run * heap->block_pages)) {
      return false;
    }
    for (; b < end; b++) {
      if (kind != GC_KIND_FREE) {
        block_use(r, b, kind == GC_KIND_LEAF);
      }
    }
  }
  return true;
}

// Of pages with something behind their top nobody may use the rest before a sweep has cleared it.
static uint32_t top_of(const gc_heap *heap, uint64_t top) { return (uint32_t)top | (top != 0 && top < heap->page_size ? GC_CLOSED : 0); }

static bool tops_read(reader *r, gc_bytes_in *in, uint32_t first, uint32_t limit) {
  gc_heap *heap = r->heap;
  uint64_t top = 0, left = 0;
  for (uint32_t b = first; b < limit; b++) {
    for (size_t p = gc_block_page(heap, b); gc_space(heap, b) != 0 && p < gc_block_page(heap, b + 1); p++) {
      if (left == 0) {
        top = gc_bytes_get(in, heap->page_size);
        left = gc_bytes_get(in, UINT32_MAX);
        if (in->bad || left == 0 || top % 8 != 0) {
          return bad(r, "runs of pages do not add up");
        }
      }
      left--;
      at32_store(&heap->top[p], top_of(heap, top));
      r->found[GC_NUMBER_USED_PAGES] += top != 0;
    }
  }
  return left == 0 ? true : bad(r, "runs of pages do not add up");
}

static bool covers_read(reader *r, gc_bytes_in *in, uint32_t first, uint32_t limit) {
  gc_heap *heap = r->heap;
  size_t begin = gc_block_page(heap, first), end = gc_block_page(heap, limit), page = begin;
  uint64_t count = gc_bytes_get(in, end - begin);
  for (uint64_t i = 0; i < count; i++) {
    page += gc_bytes_get(in, end - begin);
    uint64_t cover = gc_bytes_get(in, UINT16_MAX);
    size_t back = cover * GC_UNIT - 8, in_block = (page % heap->block_pages) << heap->page_shift;
    // The cell that covers it begins in the same block, in a page that is in use.
    if (in->bad || page >= end || cover == 0 || back > in_block || gc_top(heap, page) == 0 ||
        gc_top(heap, page - ((back + heap->page_size - 1) >> heap->page_shift)) == 0) {
      return bad(r, "an object that covers a page begins nowhere");
    }
    AO_short_store((unsigned short volatile *)&heap->cover[page], (unsigned short)cover);
  }
  return true;
}

static bool small_read(reader *r, gc_bytes_in *in, uint64_t part) {
  uint64_t first = part * GC_PART_BLOCKS, count = gc_bytes_get(in, GC_PART_BLOCKS);
  bool last = part + 1 == r->from->number[GC_NUMBER_SMALL_PARTS];
  if (in->bad || (!last && count != GC_PART_BLOCKS) || first + count > r->heap->small_blocks) {
    return bad(r, "it has not as many blocks as it should");
  }
  uint32_t from = (uint32_t)first, limit = (uint32_t)(first + count);
  return kinds_read(r, in, from, limit) && tops_read(r, in, from, limit) && covers_read(r, in, from, limit);
}

// What is not in use between what is has no memory.
static void free_rebuild(const reader *r) {
  gc_heap *heap = r->heap;
  uint32_t fresh = r->high > heap->young_blocks ? (r->high + CHUNK_BLOCKS - 1) / CHUNK_BLOCKS * CHUNK_BLOCKS : heap->young_blocks;
  at_store(&heap->fresh, fresh);
  at_store(&heap->young_fresh, r->young_high);
  for (uint32_t b = fresh; b-- > heap->young_blocks;) {
    if (gc_space(heap, b) == 0) {
      gc_stack_push(heap, &heap->empty, b);
    }
  }
  for (uint32_t b = r->young_high; b-- > 0;) {
    if (gc_space(heap, b) == 0) {
      gc_stack_push(heap, &heap->young_empty, b);
    }
  }
}

// ---- Large objects.

static void large_use(reader *r, uint32_t head, uint64_t pages, bool leaf, uint64_t lead) {
  gc_heap *heap = r->heap;
  uint32_t at = head - heap->small_blocks, blocks = (uint32_t)((pages + heap->block_pages - 1) / heap->block_pages);
  heap->large_size[at] = pages << heap->page_shift;
  AO_short_store((unsigned short volatile *)&heap->large_lead[at], (unsigned short)lead);
  for (uint32_t i = 0; i < blocks; i++) {
    uint64_t left = pages - (uint64_t)i * heap->block_pages;
    heap->large_pages[at + i] = (uint8_t)(left < heap->block_pages ? left : heap->block_pages);
    at32_store(&heap->large_head[at + i], head);
    at8_store(&heap->transient[head + i], 0);
    AO_char_store((unsigned char volatile *)&heap->flags[head + i], leaf ? GC_BLOCK_LEAF : 0);
    AO_char_store_release((unsigned char volatile *)&heap->space[head + i], heap->to_space);
  }
  size_t page = gc_block_page(heap, head);
  for (size_t p = page; p < page + pages; p++) {
    at32_store(&heap->top[p], (uint32_t)heap->page_size);
  }
  at_add(&heap->large_bytes, pages << heap->page_shift);
  at32_store(&heap->large_high, head + blocks);
  r->found[GC_NUMBER_LARGE_OBJECTS]++;
  r->found[GC_NUMBER_LARGE_PAGES] += pages;
}

static bool large_read(reader *r, gc_bytes_in *in, uint64_t part) {
  gc_heap *heap = r->heap;
  uint64_t block = heap->small_blocks + part * GC_PART_BLOCKS, limit = block + GC_PART_BLOCKS;
  limit = limit < heap->blocks ? limit : heap->blocks;
  uint64_t count = gc_bytes_get(in, GC_PART_BLOCKS);
  for (uint64_t i = 0; i < count; i++) {
    block += gc_bytes_get(in, GC_PART_BLOCKS);
    uint64_t pages = gc_bytes_get(in, UINT64_MAX >> 8), lead = gc_bytes_get(in, GC_ALIGN_MOST);
    bool leaf = pages & 1;
    pages >>= 1;
    if (in->bad || block >= limit || block < at32_load(&heap->large_high) || pages == 0 || lead % GC_UNIT != 8 ||
        pages > (heap->blocks - block) * heap->block_pages) {
      return bad(r, "a large object does not fit where it is");
    }
    if (!r->pages(r->arg, gc_block_page(heap, (uint32_t)block), pages)) {
      return false;
    }
    large_use(r, (uint32_t)block, pages, leaf, lead);
  }
  return true;
}

// ---- Links and tables.

// A reference to something in a page that is in use. 0: to nothing, if `none` may be; or it is bad.
static uintptr_t reference_read(reader *r, gc_bytes_in *in, bool none) {
  const gc_heap *heap = r->heap;
  uint64_t distance = gc_bytes_get(in, heap->span / 8);
  uintptr_t view = distance != 0 ? heap->base + (distance - 1) * 8 : 0;
  if (in->bad || (view == 0 ? !none : !gc_in_heap(heap, view) || at32_load(&heap->top[gc_page_at(heap, view)]) == 0)) {
    in->bad = true;
    return 0;
  }
  return view;
}

static bool links_read(reader *r, gc_bytes_in *in, uint64_t part) {
  gc_heap *heap = r->heap;
  uint64_t first = part * GC_PART_LINKS, link = first, count = gc_bytes_get(in, GC_PART_LINKS);
  for (uint64_t i = 0; i < count; i++) {
    link += gc_bytes_get(in, GC_PART_LINKS);
    uintptr_t owner = reference_read(r, in, false);
    uint64_t kind = gc_bytes_get(in, GC_TABLE_BOTH);
    uint64_t table = kind != 0 ? gc_bytes_get(in, UINT32_MAX) : 0;
    uintptr_t ref = kind == 0 ? reference_read(r, in, true) : 0;
    if (in->bad || link >= first + GC_PART_LINKS || !(r->again ? gc_link_restore_again : gc_link_restore)(heap, (uint32_t)link, kind == 0 ? GC_LINK_WEAK : GC_LINK_TABLE, ref, owner, table) ||
        (kind != 0 && !gc_table_restore(heap, (uint32_t)table, (gc_table_kind)kind, (uint32_t)link))) {
      return bad(r, "a weak reference, or a table, cannot be");
    }
    r->found[kind == 0 ? GC_NUMBER_WEAKS : GC_NUMBER_TABLES]++;
  }
  return true;
}

static bool pairs_read(reader *r, gc_bytes_in *in, uint64_t part) {
  (void)part;
  gc_heap *heap = r->heap;
  uint64_t count = gc_bytes_get(in, GC_PART_LINKS);
  for (uint64_t i = 0; i < count; i++) {
    gc_bytes_get(in, GC_PART_LINKS); // numbers of entries are nobody's concern
    uint64_t table = gc_bytes_get(in, UINT32_MAX), hash = gc_bytes_get(in, UINT32_MAX);
    uintptr_t key = reference_read(r, in, false), value = reference_read(r, in, false);
    if (in->bad || table >= at_load(&heap->weak.table_high) || gc_table_kind_of(heap, (uint32_t)table) == GC_TABLE_FREE ||
        !gc_pair_restore(heap, (uint32_t)table, (uint32_t)hash, key, value)) {
      return bad(r, "an entry of a weak table cannot be");
    }
  }
  r->found[GC_NUMBER_PAIRS] += count;
  return true;
}

// ---- The whole.

static void numbers_restore(gc_heap *heap, const gc_described *from) {
  const uint64_t *n = from->number;
  heap->cycle = (uint32_t)n[GC_NUMBER_CYCLE];
  heap->epoch = (unsigned)n[GC_NUMBER_EPOCH];
  heap->next_epoch = heap->epoch % 3 + 1;
  heap->hash_base = n[GC_NUMBER_HASH_BASE];
  heap->links.serial = (uint32_t)n[GC_NUMBER_SERIAL];
  // Elsewhere all addresses are others: who asks whether they have changed is to be told so.
  at_store(&heap->minor_cycles, n[GC_NUMBER_MINOR_CYCLES] + (from->base != heap->base));
  at_store(&heap->outer_frozen, heap->cycle);
  at_store(&heap->outer_settled, heap->cycle);
}

static void pace_restore(gc_heap *heap) {
  uint64_t used = gc_used_bytes(heap), large = at_load(&heap->large_bytes);
  at_store(&heap->live_bytes, used);
  at_store(&heap->survived_bytes, used);
  at_store(&heap->reached_bytes, used);
  at_store(&heap->large_live_bytes, large);
  at_store(&heap->zone_left, gc_young_zone_used(heap));
  gc_pace_opened(heap);
}

static bool limit_holds(reader *r) {
  const uint64_t *n = r->from->number;
  uint64_t limit = at_load(&r->heap->limit);
  bool fits = n[GC_NUMBER_USED_BLOCKS] <= limit >> GC_BLOCK_SHIFT && n[GC_NUMBER_LARGE_PAGES] <= limit >> r->heap->page_shift &&
              gc_commit_count(r->heap, (n[GC_NUMBER_USED_BLOCKS] << GC_BLOCK_SHIFT) + (n[GC_NUMBER_LARGE_PAGES] << r->heap->page_shift));
  if (!fits) {
    snprintf(r->why, r->why_bytes, "it takes %llu MiB, and the limit is %llu MiB",
             (unsigned long long)((n[GC_NUMBER_USED_BLOCKS] << GC_BLOCK_SHIFT) + (n[GC_NUMBER_LARGE_PAGES] << r->heap->page_shift)) >> 20,
             (unsigned long long)limit >> 20);
  }
  return fits;
}

static bool sums_check(reader *r) {
  for (unsigned i = GC_NUMBER_USED_BLOCKS; i <= GC_NUMBER_PAIRS; i++) {
    if (r->found[i] != r->from->number[i]) {
      r->section = "heap";
      return bad(r, "the other sections are not those that it tells of");
    }
  }
  return true;
}

static bool sections_read(reader *r) {
  const uint64_t *n = r->from->number;
  return parts_read(r, "small", n[GC_NUMBER_SMALL_PARTS], small_read) && parts_read(r, "large", n[GC_NUMBER_LARGE_PARTS], large_read) &&
         parts_read(r, "links", n[GC_NUMBER_LINK_PARTS], links_read) && parts_read(r, "pairs", n[GC_NUMBER_PAIR_PARTS], pairs_read) && sums_check(r);
}

bool gc_rebuild(gc_heap *heap, const gc_described *from, gc_pages_fn *pages, void *arg, char *why, size_t why_bytes) {
  reader r = {.heap = heap, .from = from, .pages = pages, .arg = arg, .why = why, .why_bytes = why_bytes};
  numbers_restore(heap, from);
  if (!limit_holds(&r) || !sections_read(&r)) {
    return false;
  }
  gc_tables_restored(heap);
  free_rebuild(&r);
  gc_runs_rebuild(heap);
  pace_restore(heap);
  return true;
}

// ---- In a heap that is in use.

typedef struct uses {
  const gc_heap *heap;
  uint8_t *kind;
  uint64_t *used;
} uses;

static void pages_use(const uses *u, size_t page, size_t count) {
  for (size_t p = page; p < page + count; p++) {
    u->used[p / 64] |= (uint64_t)1 << p % 64;
  }
}

static bool small_uses(reader *r, gc_bytes_in *in, uint64_t part) {
  const uses *u = r->arg;
  const gc_heap *heap = r->heap;
  uint64_t first = part * GC_PART_BLOCKS, count = gc_bytes_get(in, GC_PART_BLOCKS), limit = first + count;
  if (in->bad || limit > heap->small_blocks) {
    return bad(r, "it has not as many blocks as it should");
  }
  for (uint64_t b = first, run; b < limit; b += run) {
    run = gc_bytes_get(in, UINT32_MAX);
    uint8_t kind = run & 3;
    run >>= 2;
    if (in->bad || run == 0 || run > limit - b || kind >= GC_KINDS) {
      return bad(r, "runs of blocks do not add up");
    }
    memset(&u->kind[b], kind, run);
  }
  uint64_t top = 0, left = 0;
  for (uint64_t b = first; b < limit; b++) {
    for (size_t p = gc_block_page(heap, (uint32_t)b); u->kind[b] != GC_KIND_FREE && p < gc_block_page(heap, (uint32_t)b + 1); p++, left--) {
      if (left == 0) {
        top = gc_bytes_get(in, heap->page_size);
        left = gc_bytes_get(in, UINT32_MAX);
      }
      if (in->bad || left == 0) {
        return bad(r, "runs of pages do not add up");
      }
      pages_use(u, p, top != 0);
    }
  }
  in->at = in->limit; // what follows is nobody's concern here
  return true;
}

static bool large_uses(reader *r, gc_bytes_in *in, uint64_t part) {
  const gc_heap *heap = r->heap;
  uint64_t block = heap->small_blocks + part * GC_PART_BLOCKS, count = gc_bytes_get(in, GC_PART_BLOCKS);
  for (uint64_t i = 0; i < count; i++) {
    block += gc_bytes_get(in, GC_PART_BLOCKS);
    uint64_t pages = gc_bytes_get(in, UINT64_MAX >> 8) >> 1;
    gc_bytes_get(in, GC_ALIGN_MOST);
    if (in->bad || block >= heap->blocks || pages > (heap->blocks - block) * heap->block_pages) {
      return bad(r, "a large object does not fit where it is");
    }
    pages_use(r->arg, gc_block_page(heap, (uint32_t)block), pages);
  }
  return true;
}

bool gc_described_uses(const gc_described *from, const gc_heap *heap, uint8_t *kind, uint64_t *used, char *why, size_t why_bytes) {
  uses u = {heap, kind, used};
  reader r = {.heap = (gc_heap *)(uintptr_t)heap, .from = from, .arg = &u, .why = why, .why_bytes = why_bytes};
  return parts_read(&r, "small", from->number[GC_NUMBER_SMALL_PARTS], small_uses) && parts_read(&r, "large", from->number[GC_NUMBER_LARGE_PARTS], large_uses);
}

static bool pages_are(void *arg, size_t page, size_t count) {
  (void)arg, (void)page, (void)count;
  return true;
}

// Numbers of cycles never come again: whoever compares them is to see that all has changed.
static void numbers_again(gc_heap *heap, const gc_described *from) {
  heap->epoch = (unsigned)from->number[GC_NUMBER_EPOCH];
  heap->next_epoch = heap->epoch % 3 + 1;
  at_add(&heap->minor_cycles, 1);
  at_store(&heap->outer_frozen, heap->cycle);
  at_store(&heap->outer_settled, heap->cycle);
}

bool gc_rebuild_again(gc_heap *heap, const gc_described *from, char *why, size_t why_bytes) {
  reader r = {.heap = heap, .from = from, .pages = pages_are, .again = true, .why = why, .why_bytes = why_bytes};
  uint32_t high = at32_load(&heap->large_high);
  numbers_again(heap, from);
  at32_store(&heap->large_high, heap->small_blocks);
  if (!sections_read(&r)) {
    return false;
  }
  if (at32_load(&heap->large_high) < high) {
    at32_store(&heap->large_high, high);
  }
  gc_tables_restored(heap);
  gc_runs_rebuild(heap);
  pace_restore(heap);
  return true;
}
