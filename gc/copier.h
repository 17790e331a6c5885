// SPDX-License-Identifier: MIT
// copier.h: cells for copies, in pages that one copier fills and anybody may close.

#ifndef GC_COPIER_H
#define GC_COPIER_H

#include "gc/block.h"

// Reserves a cell of `bytes` (a multiple of 16) for a copy: fills *cell and *page (where it starts) and *offset.
// The cell exists for others only once gc_cell_claim has succeeded. False: no memory.
typedef struct gc_place {
  gc_cell cell;
  size_t page;
  uint32_t offset;
} gc_place;
bool gc_place_find_slow(gc_heap *heap, gc_copier *copier, unsigned sort, size_t bytes, gc_place *place);
static inline bool gc_place_find(gc_heap *heap, gc_copier *copier, unsigned sort, size_t bytes, gc_place *place) {
  uint32_t page = at32_load(&copier->lane[sort].page);
  if (page != GC_NONE) {
    uint32_t top = at32_load(&heap->top[page]); // closed, it is larger than any page
    if (top + bytes <= heap->page_size - 8) {
      *place = (gc_place){{gc_page_alias(heap, page) + top}, page, top};
      return true;
    }
  }
  return gc_place_find_slow(heap, copier, sort, bytes, place);
}

// The same for an object that is aligned; what has to lie in front of it has become filler.
bool gc_place_find_aligned(gc_heap *heap, gc_copier *copier, unsigned sort, size_t bytes, size_t align, gc_place *place);

// Advances `top` over the cell, whose contents are complete. False: the page was closed meanwhile; the cell is lost, find
// another place (edge OPEN → OPEN, or FREE → GREY for the further pages of a cell that crosses).
bool gc_cell_claim_slow(gc_heap *heap, gc_copier *copier, unsigned sort, const gc_place *place, size_t bytes);
static inline bool gc_cell_claim(gc_heap *heap, gc_copier *copier, unsigned sort, const gc_place *place, size_t bytes) {
  size_t end = place->offset + bytes;
  return end <= heap->page_size - 8 ? at32_cas_full(&heap->top[place->page], place->offset, (uint32_t)end)
                                    : gc_cell_claim_slow(heap, copier, sort, place, bytes);
}

// The copy was not wanted: another thread's counts. Takes the cell back, or makes it filler.
void gc_cell_return(gc_heap *heap, const gc_place *place, size_t bytes);

// From-space is not written any more but for headers, and for slots of kept pages that are being scanned: a copy that takes
// some of these old and some new is as good, since it is scanned again. TSan cannot know that.
__attribute__((no_sanitize("thread"))) static inline void gc_contents_copy(char *to, const char *from, size_t bytes) {
  // Everything behind the header word, two words at a time, which are aligned to 16: a slot is never torn.
  typedef uint64_t pair __attribute__((vector_size(16), may_alias));
  pair *t = (pair *)(to + 8);
  const pair *f = (const pair *)(from + 8), *limit = (const pair *)(from + bytes - 8);
  while (f < limit) {
    *t++ = *f++;
  }
  *(uint64_t *)t = *(const uint64_t *)f;
}

// An object's identity hash, as long as it lies where it was when that was asked for; and a copy's, from then on (object.h).
static inline uint64_t gc_address_hash(uintptr_t address) {
  uint64_t h = address * 0x9e3779b97f4a7c15ull;
  h = (h ^ h >> 32) * 0xd6e8feb86659fd93ull;
  return h ^ h >> 32;
}
static inline uint64_t gc_view_hash(const gc_heap *heap, uintptr_t view) { return gc_address_hash(view - heap->base + heap->hash_base); }
static inline void gc_hash_keep(const gc_heap *heap, gc_cell copy, size_t bytes, uintptr_t view) {
  at_store((AO_t volatile *)(copy.alias + bytes - 8), gc_view_hash(heap, view));
}

// Waits until every copier was outside of objects once: whoever looked at something before the call has acted on it.
void gc_grace_wait(gc_heap *heap);

void gc_copier_reset(gc_copier *copier);
void gc_copier_reset_lane(gc_lane *lane);

#endif
