// SPDX-License-Identifier: MIT
// birth.c: where a minor cycle's survivors go, and in what order they are scanned.
//
// Each worker fills a block per age and kind, page by page; the part that has not been scanned is the queue (Cheney
// 1970). A block that is full is left to whoever has time for it. Runs in the pause; what is promoted goes on where the
// worker's last minor cycle ended.

#include "gc/alloc.h"
#include "gc/block.h"
#include "gc/copier.h"
#include "gc/minor.h"
#include "gc/parked.h"
#include "gc/still.h"

static uint32_t block_next(gc_minor *minor, unsigned sort, bool promote) {
  gc_heap *heap = minor->heap;
  if (!promote) {
    uint32_t block = minor->zone_full ? GC_NONE : gc_young_take_survivor(heap, sort);
    minor->zone_full = block == GC_NONE; // not again for each object
    return block;
  }
  uint32_t block = gc_block_take_born(heap);
  if (block != GC_NONE) {
    gc_block_spare(heap, block);
    gc_still_set(heap, block, GC_SETTLED);
    (void)gc_parked_fill(heap, block); // nothing is yet
    gc_block_dedicate(heap, block, sort);
  }
  minor->born += block != GC_NONE;
  return block;
}

static size_t page_of(const gc_heap *heap, const char *alias) { return gc_page_at(heap, gc_view_of(heap, alias)); }

// A page is in use from here on. First the claims: who watches writes looks at pages that are in use.
static void page_open(gc_heap *heap, gc_birth *birth, char *at) {
  size_t page = page_of(heap, at);
  char *base = gc_page_alias(heap, page);
  gc_before_write(heap, base, heap->page_size);
  birth->free = at;
  birth->end = base + heap->page_size - 8;
  at32_store_release(&heap->top[page], (uint32_t)(at - base) | GC_CLOSED);
}

// What comes behind a page's top is stale, so that it is closed for ever.
static void page_close(gc_heap *heap, const gc_birth *birth) {
  if (birth->block != GC_NONE) {
    size_t page = page_of(heap, birth->free - 8);
    at32_store_release(&heap->top[page], (uint32_t)(birth->free - gc_page_alias(heap, page)) | GC_CLOSED);
  }
}

// A cell that crosses pages of the block, and where the next one goes; the page it starts on is closed.
static void cell_cross(gc_heap *heap, gc_birth *birth, char *cell, size_t bytes) {
  size_t page = page_of(heap, cell), last = page_of(heap, cell + bytes);
  at32_store_release(&heap->top[page], (uint32_t)heap->page_size | GC_CLOSED);
  for (size_t p = page + 1; p <= last; p++) {
    char *base = gc_page_alias(heap, p);
    gc_before_write(heap, base, heap->page_size);
    AO_short_store((unsigned short volatile *)&heap->cover[p], (unsigned short)((size_t)(base - cell + 8) / GC_UNIT));
    at32_store_release(&heap->top[p],
                       (uint32_t)(p < last ? heap->page_size : (size_t)(cell + bytes - base)) | GC_CLOSED);
  }
  birth->free = cell + bytes;
  birth->end = gc_page_alias(heap, last) + heap->page_size - 8;
}

// The block is full. What of it has not been scanned waits for a worker without work.
static void block_leave(gc_minor *minor, const gc_birth *birth, unsigned sort) {
  gc_heap *heap = minor->heap;
  if (birth->block == GC_NONE || (sort & GC_SORT_LEAF) || birth->scan == birth->free) {
    return;
  }
  at32_store(&heap->scan_from[birth->block], (uint32_t)(birth->scan - gc_block_alias(heap, birth->block)));
  gc_stack_push(heap, &heap->minor_full, birth->block);
  gc_crew_open(minor);
}

// Where the block ends; NULL: there is none.
static char *block_limit(const gc_heap *heap, const gc_birth *birth) {
  return birth->block != GC_NONE ? gc_block_alias(heap, birth->block) + GC_BLOCK : NULL;
}

// Goes on at the beginning of the next page, if a page has room enough, or of another block. False: no memory.
static bool move_on(gc_minor *minor, gc_birth *birth, unsigned sort, bool promote, bool page_will_do) {
  gc_heap *heap = minor->heap;
  char *limit = block_limit(heap, birth);
  page_close(heap, birth);
  if (limit != NULL && page_will_do && birth->end + 8 < limit) {
    page_open(heap, birth, birth->end + 16);
    return true;
  }
  uint32_t next = block_next(minor, sort, promote);
  if (next == GC_NONE) {
    return false;
  }
  block_leave(minor, birth, sort);
  birth->block = next;
  page_open(heap, birth, gc_block_alias(heap, next) + 8);
  birth->scan = birth->free;
  return true;
}

// A cell that crosses into the next page, where the block has room for it.
static char *crossing_take(gc_heap *heap, gc_birth *birth, size_t bytes) {
  char *cell = birth->free;
  gc_cell_fill((gc_cell){cell}, bytes); // until it has its header: other workers walk these pages by their tops
  cell_cross(heap, birth, cell, bytes);
  return cell;
}

char *gc_birth_take_slow(gc_minor *minor, gc_birth *birth, unsigned sort, bool promote, size_t bytes) {
  for (;;) {
    char *limit = block_limit(minor->heap, birth);
    if (limit != NULL && bytes > GC_SMALL_MAX && birth->free + bytes <= limit - 8) {
      return crossing_take(minor->heap, birth, bytes);
    }
    if (!move_on(minor, birth, sort, promote, bytes <= GC_SMALL_MAX)) {
      return NULL;
    }
    if (birth->free + bytes <= birth->end) {
      birth->free += bytes;
      return birth->free - bytes;
    }
  }
}

char *gc_birth_take_aligned(gc_minor *minor, gc_birth *birth, unsigned sort, bool promote, size_t bytes, size_t align) {
  gc_heap *heap = minor->heap;
  bool may_cross = bytes > GC_SMALL_MAX || align >= heap->page_size; // as gc_place_find_aligned
  for (;;) {
    char *limit = block_limit(heap, birth);
    size_t lead = gc_align_lead(birth->free, align);
    if (limit != NULL && birth->free + lead + bytes <= (may_cross ? limit - 8 : birth->end)) {
      if (lead != 0) {
        gc_cell_fill((gc_cell){birth->free}, lead);
        birth->free += lead;
      }
      if (birth->free + bytes > birth->end) {
        return crossing_take(heap, birth, bytes);
      }
      birth->free += bytes;
      return birth->free - bytes;
    }
    if (!move_on(minor, birth, sort, promote, !may_cross)) {
      return NULL;
    }
  }
}

void gc_birth_return(const gc_heap *heap, gc_birth *birth, char *cell, size_t bytes) {
  if (bytes <= GC_SMALL_MAX && birth->free == cell + bytes && page_of(heap, cell) == page_of(heap, birth->free - 8)) {
    birth->free = cell;
  } else {
    gc_cell_fill((gc_cell){cell}, bytes);
  }
}

void gc_births_begin(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  for (unsigned sort = 0; sort < GC_SORTS; sort++) {
    gc_birth *promoted = &heap->promoted[minor->index][sort];
    minor->survivors[sort] = (gc_birth){GC_NONE, NULL, NULL, NULL};
    promoted->scan = promoted->free;
    if (promoted->block != GC_NONE) {
      gc_before_write(heap, gc_page_alias(heap, page_of(heap, promoted->free - 8)), heap->page_size);
    }
  }
}

void gc_births_end(gc_minor *minor) {
  for (unsigned sort = 0; sort < GC_SORTS; sort++) {
    page_close(minor->heap, &minor->survivors[sort]);
    page_close(minor->heap, &minor->heap->promoted[minor->index][sort]);
  }
}

bool gc_birth_next(gc_heap *heap, gc_birth *birth, char **at, const char **end) {
  while (birth->scan != birth->free) {
    size_t page = page_of(heap, birth->scan - 8);
    bool filling = page == page_of(heap, birth->free - 8);
    *at = birth->scan;
    *end = filling ? birth->free : gc_page_alias(heap, page) + gc_top(heap, page);
    if (*at < *end) {
      birth->scan = (char *)*end; // before the caller scans: the block may be left meanwhile
      return true;
    }
    birth->scan = gc_page_first(heap, page + 1).alias;
  }
  return false;
}

bool gc_birth_rest(gc_heap *heap, uint32_t block, char **at, const char **end) {
  for (;;) {
    size_t page = page_of(heap, *at - 8);
    *end = gc_page_alias(heap, page) + gc_top(heap, page);
    if (*at < *end) {
      return true;
    }
    if (page + 1 == gc_block_page(heap, block + 1) || gc_top(heap, page + 1) == 0) {
      return false;
    }
    *at = gc_page_first(heap, page + 1).alias;
  }
}
