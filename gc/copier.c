// SPDX-License-Identifier: MIT
// copier.c: where copies are written. A copier fills one OPEN page after the other of its block.
//
// The holder of the copier runs this: scanner, trap, assist, flip. Traps, and scanners without work if nobody holds the copier, scan its OPEN
// page and close it for that, so `top` is the only thing both sides write.

#include "gc/copier.h"
#include <sched.h>
#include "gc/gc.h"
#include "gc/near.h"
#include "gc/queue.h"

static __thread unsigned copier_hint __attribute__((tls_model("initial-exec")));

void gc_copier_reset_lane(gc_lane *lane) {
  at32_store(&lane->block, GC_NONE);
  at32_store(&lane->page, GC_NONE);
}

void gc_copier_reset(gc_copier *copier) {
  for (unsigned sort = 0; sort < GC_SORTS; sort++) {
    gc_copier_reset_lane(&copier->lane[sort]);
  }
}

gc_copier *gc_copier_take(gc_heap *heap) {
  for (unsigned tries = 0;; tries++) {
    gc_copier *copier = &heap->copiers[copier_hint];
    if (at_load(&copier->taken) == 0 && at_cas_full(&copier->taken, 0, 1)) {
      return copier;
    }
    copier_hint = (copier_hint + 1) % GC_COPIERS;
    if (tries >= GC_COPIERS) {
      // All are taken, by threads that wait for nobody who needs one.
      sched_yield();
    }
  }
}

void gc_grace_wait(gc_heap *heap) {
  at_fence_full();
  for (int i = 0; i < GC_COPIERS; i++) {
    uint64_t tick = at_load_acquire(&heap->copiers[i].tick);
    while ((tick & 1) && at_load_acquire(&heap->copiers[i].tick) == tick) {
      sched_yield();
    }
  }
}

void gc_copier_flush(gc_heap *heap, gc_copier *copier) {
  if (copier->dense_bytes) {
    at_add(&heap->dense_copied, copier->dense_bytes);
    copier->dense_bytes = 0;
  }
  if (copier->leaf_bytes) {
    at_add(&heap->leaf_copied, copier->leaf_bytes);
    copier->leaf_bytes = 0;
  }
  if (copier->born_bytes) {
    at_add(&heap->born_copied, copier->born_bytes);
    copier->born_bytes = 0;
  }
  if (copier->copied_objects) {
    at_add(&heap->copied_bytes, copier->copied_bytes);
    at_add(&heap->copied_objects, copier->copied_objects);
    copier->copied_bytes = copier->copied_objects = 0;
  }
}

void gc_copier_give(gc_heap *heap, gc_copier *copier) {
  VM_CHECK(gc_queue_is_empty(copier) && !gc_near_any(copier) && copier->deferred == NULL, "a copier is given back with slots in its queue");
  gc_copier_flush(heap, copier);
  at_store_release(&copier->taken, 0);
}

// FREE → OPEN: the next page of the block, or of the next block.
static bool page_open(gc_heap *heap, gc_lane *lane, unsigned sort, bool new_block) {
  bool leaf = (sort & GC_SORT_LEAF) != 0;
  uint32_t block = lane->block;
  size_t page = (size_t)lane->page + 1;
  if (new_block || block == GC_NONE || page >= gc_block_page(heap, block + 1)) {
    uint32_t next = leaf ? gc_block_take_open(heap) : gc_block_take_veiled(heap);
    if (next == GC_NONE) {
      return false;
    }
    gc_block_dedicate(heap, next, sort);
    gc_block_spare(heap, next);
    gc_still_set(heap, next, GC_SETTLED | gc_still_epoch(heap->epoch)); // before the first copy
    at_add(&heap->copied_blocks, 1);
    at32_store_release(&lane->block, next);
    if (block != GC_NONE && !leaf) {
      gc_stack_push(heap, &heap->grey, block);
    }
    page = gc_block_page(heap, next);
  }
  if (!leaf) {
    at_add_full(&heap->opened, 1); // before the page can be seen (gc.count)
  }
  at32_store_release(&heap->top[page], 8);
  at32_store_release(&lane->page, (uint32_t)page);
  return true;
}

bool gc_place_find_slow(gc_heap *heap, gc_copier *copier, unsigned sort, size_t bytes, gc_place *place) {
  gc_lane *lane = &copier->lane[sort];
  bool new_block = false;
  for (;;) {
    if ((lane->page == GC_NONE || new_block) && !page_open(heap, lane, sort, new_block)) {
      return false;
    }
    new_block = false;
    uint32_t top = at32_load(&heap->top[lane->page]);
    size_t end = (top & GC_TOP_MASK) + bytes;
    if (!(top & GC_CLOSED) && end <= heap->page_size - 8) {
      break;
    }
    if (!(top & GC_CLOSED) && bytes > GC_SMALL_MAX && (top & GC_TOP_MASK) < heap->page_size) {
      size_t block_limit = gc_block_page(heap, lane->block + 1);
      if (lane->page + (end >> heap->page_shift) < block_limit) {
        break; // it crosses into FREE pages of the same block
      }
    }
    if (bytes > heap->page_size - 16) {
      // It wants several pages: from here if the block has room, else from a new block.
      size_t pages = (bytes + 16 + heap->page_size - 1) >> heap->page_shift;
      new_block = lane->page + 1 + pages > gc_block_page(heap, lane->block + 1);
    }
    if (!new_block && !page_open(heap, lane, sort, false)) {
      return false;
    }
  }
  place->page = lane->page;
  place->offset = at32_load(&heap->top[lane->page]) & GC_TOP_MASK;
  place->cell = (gc_cell){gc_page_alias(heap, lane->page) + place->offset};
  return true;
}

bool gc_place_find_aligned(gc_heap *heap, gc_copier *copier, unsigned sort, size_t bytes, size_t align, gc_place *place) {
  // One that is aligned to pages has its header at the end of the page before: it crosses, however small it is.
  size_t room = align >= heap->page_size && bytes <= GC_SMALL_MAX ? GC_SMALL_MAX + GC_UNIT : bytes;
  while (gc_place_find(heap, copier, sort, room, place)) {
    size_t lead = gc_align_lead(place->cell.alias, align);
    if (lead == 0) {
      return true;
    }
    gc_before_write(heap, place->cell.alias, 8);
    gc_cell_fill(place->cell, lead);
    gc_cell_claim(heap, copier, sort, place, lead); // in vain if the page was closed meanwhile: then in the next one
  }
  return false;
}

// It crosses pages.
bool gc_cell_claim_slow(gc_heap *heap, gc_copier *copier, unsigned sort, const gc_place *place, size_t bytes) {
  size_t end = place->offset + bytes;
  // The further pages first: nothing points to the cell yet, and who scans them meanwhile finds it whole.
  size_t last = place->page + (end >> heap->page_shift);
  for (size_t page = place->page + 1; page <= last; page++) {
    size_t back = ((page - place->page) << heap->page_shift) - place->offset;
    AO_short_store((unsigned short volatile *)&heap->cover[page], (unsigned short)((back + 8) / GC_UNIT));
    if (!(sort & GC_SORT_LEAF)) {
      at_add_full(&heap->opened, 1);
    }
    size_t used = page < last ? heap->page_size : end & (heap->page_size - 1);
    at32_store_release(&heap->top[page], (uint32_t)used);
  }
  at32_store_release(&copier->lane[sort].page, (uint32_t)last);
  if (at32_cas_full(&heap->top[place->page], place->offset, (uint32_t)heap->page_size)) {
    return true;
  }
  gc_cell_fill(place->cell, bytes); // what covers the further pages is no object
  return false;
}

void gc_cell_return(gc_heap *heap, const gc_place *place, size_t bytes) {
  size_t end = place->offset + bytes;
  if (end <= heap->page_size - 8 && at32_cas_full(&heap->top[place->page], (uint32_t)end, place->offset)) {
    return;
  }
  gc_cell_fill(place->cell, bytes);
}
