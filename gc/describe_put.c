// SPDX-License-Identifier: MIT
// describe_put.c: writes what was taken down of a heap as sections (describe.h): all of them, or those that are other than they were when they were put last.
//
// Neighbours: describe.c takes it down, and touches the parts whose copies have changed. While the world runs, one thread at a time.

#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "gc/bytes.h"
#include "gc/description.h"

// What a part adds to the numbers, by its kind. Where it is the greatest that counts, it is the greatest of the part.
enum {
  SUM_USED_BLOCKS, SUM_USED_PAGES,
  SUM_LARGE_OBJECTS = 0, SUM_LARGE_PAGES,
  SUM_WEAKS = 0, SUM_TABLES, SUM_FINALS, SUM_HANDLES, SUM_SERIAL,
  SUM_PAIRS = 0,
};

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

static size_t parts_now(const gc_description *d, gc_part_kind kind) {
  const size_t count[] = {[GC_PART_SMALL] = d->small, [GC_PART_LARGE] = d->large, [GC_PART_LINK] = d->link_count, [GC_PART_PAIR] = d->pair_count};
  return gc_parts(count[kind], gc_part_step(kind));
}

// Whether any of these tops is not 0, or closed only.
static bool any_top(const uint32_t *top, size_t count) {
  uint32_t all = 0;
  for (size_t i = 0; i < count; i++) {
    all |= top[i];
  }
  return (all & GC_TOP_MASK) != 0;
}

// A block with nothing on it is as good as a free one: somebody has it set aside. So is one with transient objects.
static gc_block_kind kind_of(const gc_description *d, size_t block) {
  unsigned pages = d->heap->block_pages;
  if (d->space[block] == 0 || d->transient[block] || !any_top(&d->top[block * pages], pages)) {
    return GC_KIND_FREE;
  }
  return d->flags[block] & GC_BLOCK_LEAF ? GC_KIND_LEAF : GC_KIND_USED;
}

// How many there are of the same from `first` on. Most are.
static size_t same_tops(const uint32_t *top, size_t first, size_t limit) {
  const uint64_t mask = (uint64_t)GC_TOP_MASK << 32 | GC_TOP_MASK;
  uint32_t value = top[first] & GC_TOP_MASK;
  uint64_t both = (uint64_t)value << 32 | value, two;
  size_t at = first + 1;
  for (; at + 2 <= limit && (memcpy(&two, &top[at], sizeof two), (two & mask) == both); at += 2) {
  }
  for (; at < limit && (top[at] & GC_TOP_MASK) == value; at++) {
  }
  return at - first;
}

// Runs of pages of one top. Pages of free blocks are passed over. Returns how many are in use.
static size_t tops_put(const gc_description *d, gc_bytes_out *out, const uint8_t *kind, size_t first, size_t limit) {
  size_t pages = d->heap->block_pages, count = 0, used = 0;
  uint32_t value = 0;
  for (size_t b = first; b < limit; b++) {
    if (kind[b - first] == GC_KIND_FREE) {
      continue;
    }
    for (size_t p = b * pages, run; p < (b + 1) * pages; p += run) {
      uint32_t top = d->top[p] & GC_TOP_MASK;
      run = same_tops(d->top, p, (b + 1) * pages);
      if (count != 0 && top != value) {
        gc_bytes_put(out, value);
        gc_bytes_put(out, count);
        count = 0;
      }
      value = top;
      count += run;
      used += top != 0 ? run : 0;
    }
  }
  if (count != 0) {
    gc_bytes_put(out, value);
    gc_bytes_put(out, count);
  }
  return used;
}

// The first page in [page, limit) that a cell of another covers; or limit.
static size_t next_cover(const gc_description *d, size_t page, size_t limit) {
  for (uint64_t four; page + 4 <= limit && (memcpy(&four, &d->cover[page], sizeof four), four == 0); page += 4) {
  }
  for (; page < limit && ((d->top[page] & GC_TOP_MASK) == 0 || d->cover[page] == 0); page++) {
  }
  return page;
}

// Covers: how many there are, then each with the distance from the last.
static void covers_put(const gc_description *d, gc_bytes_out *out, const uint8_t *kind, size_t first, size_t limit) {
  size_t pages = d->heap->block_pages, covers = 0, last = first * pages;
  for (int pass = 0; pass < 2; pass++) {
    for (size_t b = first; b < limit; b++) {
      size_t end = (b + 1) * pages;
      for (size_t p = kind[b - first] != GC_KIND_FREE ? next_cover(d, b * pages, end) : end; p < end; p = next_cover(d, p + 1, end)) {
        if (pass == 0) {
          covers++;
          continue;
        }
        gc_bytes_put(out, p - last);
        gc_bytes_put(out, d->cover[p]);
        last = p;
      }
    }
    if (pass == 0) {
      gc_bytes_put(out, covers);
    }
  }
}

// How many blocks; runs of those of one kind; tops; covers.
static void small_put(const gc_description *d, gc_part *part, gc_bytes_out *out, size_t first) {
  size_t limit = min_size(first + GC_PART_BLOCKS, d->small), used = 0;
  uint8_t kind[GC_PART_BLOCKS];
  for (size_t b = first; b < limit; b++) {
    kind[b - first] = (uint8_t)kind_of(d, b);
  }
  gc_bytes_put(out, limit - first);
  for (size_t b = first, run; b < limit; b += run) {
    for (run = 1; b + run < limit && kind[b + run - first] == kind[b - first]; run++) {
    }
    gc_bytes_put(out, run << 2 | kind[b - first]);
    used += kind[b - first] != GC_KIND_FREE ? run : 0;
  }
  part->sums[SUM_USED_BLOCKS] = used;
  part->sums[SUM_USED_PAGES] = tops_put(d, out, kind, first, limit);
  covers_put(d, out, kind, first, limit);
}

// Objects that begin in these blocks: how many; the distance from the last, pages and whether it is a leaf, bytes in front of the cell.
static void large_put(const gc_description *d, gc_part *part, gc_bytes_out *out, size_t first) {
  size_t limit = min_size(first + GC_PART_BLOCKS, d->large), count = 0, last = first, all = 0;
  for (size_t b = first; b < limit; b++) {
    count += gc_description_is_large_head(d, b);
  }
  gc_bytes_put(out, count);
  for (size_t b = first; b < limit; b++) {
    if (gc_description_is_large_head(d, b)) {
      uint64_t pages = d->large_size[b] >> d->heap->page_shift;
      gc_bytes_put(out, b - last);
      gc_bytes_put(out, pages << 1 | ((d->large_flags[b] & GC_BLOCK_LEAF) != 0));
      gc_bytes_put(out, d->large_lead[b]);
      last = b;
      all += pages;
    }
  }
  part->sums[SUM_LARGE_OBJECTS] = count;
  part->sums[SUM_LARGE_PAGES] = all;
}

// A reference as a distance that is not 0; 0: to nothing, or to what is not described.
static void reference_put(const gc_description *d, gc_bytes_out *out, uintptr_t view) {
  gc_bytes_put(out, view != 0 && gc_description_holds(d, view) ? (view - d->heap->base) / 8 + 1 : 0);
}

static gc_table_kind table_kind(const gc_description *d, uint32_t table) {
  return table < d->table_count ? (gc_table_kind)d->tables[table] : GC_TABLE_FREE;
}

// Whether the link is one of a weak reference, or of a table that is not dead.
static bool is_described(const gc_description *d, size_t link) {
  const gc_link *at = &d->links[link];
  return at->owner != 0 && (at->kind == GC_LINK_WEAK || (at->kind == GC_LINK_TABLE && table_kind(d, (uint32_t)at->data) != GC_TABLE_FREE));
}

// How many; the distance from the last, its owner, and 0 with what a weak reference refers to, or the table's kind with its number.
static void links_put(const gc_description *d, gc_part *part, gc_bytes_out *out, size_t first) {
  size_t limit = min_size(first + GC_PART_LINKS, d->link_count), count = 0, last = first;
  memset(part->sums, 0, sizeof part->sums);
  for (size_t i = first; i < limit; i++) {
    const gc_link *at = &d->links[i];
    count += is_described(d, i);
    part->sums[SUM_FINALS] += (at->kind == GC_LINK_FINAL || at->kind == GC_LINK_READY) && gc_description_holds(d, at->ref);
    part->sums[SUM_HANDLES] += at->kind == GC_LINK_HANDLE;
    part->sums[SUM_SERIAL] = at->serial >= part->sums[SUM_SERIAL] ? at->serial + 1ull : part->sums[SUM_SERIAL];
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
    part->sums[at->kind == GC_LINK_WEAK ? SUM_WEAKS : SUM_TABLES]++;
    last = i;
  }
}

static bool is_entry(const gc_description *d, size_t pair) {
  const gc_pair *at = &d->pairs[pair];
  return at->table != GC_NONE && at->key != 0 && at->value != 0 && gc_description_holds(d, at->key) && gc_description_holds(d, at->value) && table_kind(d, at->table) != GC_TABLE_FREE;
}

// How many; the distance from the last, table, hash, key, value.
static void pairs_put(const gc_description *d, gc_part *part, gc_bytes_out *out, size_t first) {
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
  part->sums[SUM_PAIRS] = count;
}

static uint64_t sum_of(const gc_description *d, gc_part_kind kind, unsigned which, bool most) {
  uint64_t sum = 0;
  for (size_t i = 0; i < parts_now(d, kind); i++) {
    uint64_t of = d->part[kind][i].sums[which];
    sum = !most ? sum + of : of > sum ? of : sum;
  }
  return sum;
}

// Of all parts, as they were when they were last encoded.
static void numbers_put(const gc_description *d, gc_part *part, gc_bytes_out *out, size_t first) {
  static const struct {
    gc_number number;
    gc_part_kind kind;
    unsigned which;
  } sums[] = {
      {GC_NUMBER_USED_BLOCKS, GC_PART_SMALL, SUM_USED_BLOCKS}, {GC_NUMBER_USED_PAGES, GC_PART_SMALL, SUM_USED_PAGES},
      {GC_NUMBER_LARGE_OBJECTS, GC_PART_LARGE, SUM_LARGE_OBJECTS}, {GC_NUMBER_LARGE_PAGES, GC_PART_LARGE, SUM_LARGE_PAGES},
      {GC_NUMBER_WEAKS, GC_PART_LINK, SUM_WEAKS}, {GC_NUMBER_TABLES, GC_PART_LINK, SUM_TABLES}, {GC_NUMBER_FINALS, GC_PART_LINK, SUM_FINALS},
      {GC_NUMBER_HANDLES, GC_PART_LINK, SUM_HANDLES}, {GC_NUMBER_SERIAL, GC_PART_LINK, SUM_SERIAL},
      {GC_NUMBER_PAIRS, GC_PART_PAIR, SUM_PAIRS},
  };
  uint64_t number[GC_NUMBERS];
  memcpy(number, d->number, sizeof number);
  for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) {
    number[sums[i].number] = sum_of(d, sums[i].kind, sums[i].which, sums[i].number == GC_NUMBER_SERIAL);
  }
  for (size_t i = first; i < GC_NUMBERS; i++) {
    gc_bytes_put(out, number[i]);
  }
}

// ---- Which of them.

typedef struct putting {
  gc_description *d;
  bool all; // those, too, that have not changed
  gc_put_fn *put;
  void *arg;
} putting;

typedef void encode_fn(const gc_description *d, gc_part *part, gc_bytes_out *out, size_t first);

// If it is put in vain, it stays touched.
static int section_put(const putting *p, const char *name, gc_part *part, encode_fn *encode, size_t first) {
  gc_description *d = p->d;
  gc_bytes_out out = {d->scratch, d->scratch, d->scratch + d->scratch_bytes};
  encode(d, part, &out, first);
  size_t size = (size_t)(out.at - out.start);
  VM_CHECK(out.at <= out.limit, "section %s takes %zu bytes, and there are %zu", name, size, d->scratch_bytes);
  uint64_t sum = XXH3_64bits(out.start, size);
  int result = p->all || !part->there || part->sum != sum ? p->put(p->arg, name, out.start, size) : 0;
  if (result == 0) {
    part->sum = sum;
    part->there = true;
    part->touched = false;
  }
  return result;
}

static int section_drop(const putting *p, const char *name, gc_part *part) {
  int result = p->put(p->arg, name, NULL, 0);
  part->there = result != 0;
  return result;
}

static int parts_put(const putting *p, gc_part_kind kind, const char *called, encode_fn *encode) {
  gc_description *d = p->d;
  size_t now = parts_now(d, kind), limit = now > d->parts_put[kind] ? now : d->parts_put[kind];
  int result = 0;
  for (size_t i = 0; i < limit && result == 0; i++) {
    gc_part *part = &d->part[kind][i];
    bool encodes = i < now && (p->all || part->touched || !part->there), drops = i >= now && part->there;
    char name[32];
    if (encodes || drops) {
      snprintf(name, sizeof name, "%s.%04zx", called, i);
      result = encodes ? section_put(p, name, part, encode, i * gc_part_step(kind)) : section_drop(p, name, part);
    }
  }
  d->parts_put[kind] = limit;
  return result;
}

static int sections_put(const putting *p) {
  gc_description *d = p->d;
  if (!gc_description_is_whole(d)) {
    return -1;
  }
  if (!d->touched && !p->all) {
    return 0;
  }
  int result = parts_put(p, GC_PART_SMALL, "small", small_put);
  result = result == 0 ? parts_put(p, GC_PART_LARGE, "large", large_put) : result;
  result = result == 0 ? parts_put(p, GC_PART_LINK, "links", links_put) : result;
  result = result == 0 ? parts_put(p, GC_PART_PAIR, "pairs", pairs_put) : result;
  result = result == 0 ? section_put(p, "heap", &d->numbers, numbers_put, 0) : result;
  d->touched = result != 0;
  return result;
}

int gc_description_put(gc_description *d, gc_put_fn *put, void *arg) { return sections_put(&(putting){d, true, put, arg}); }

int gc_description_changes(gc_description *d, gc_put_fn *put, void *arg) { return sections_put(&(putting){d, false, put, arg}); }
