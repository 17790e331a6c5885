// SPDX-License-Identifier: MIT
// forward.c: one copy counts (gc.onecopy).
//
// Run by whoever scans: background scanners, traps, assists, the flip. Waits for nobody.

#include "gc/near.h"
#include "gc/alloc.h"

// A header of this cycle, but for the peer.
static inline uint64_t header_bare(const gc_heap *heap, uint64_t header) {
  return (header & ~(GC_PEER_MASK | GC_EPOCH_MASK)) | (uint64_t)heap->epoch << GC_EPOCH_SHIFT;
}

bool gc_mark_in_place(gc_heap *heap, gc_cell cell) {
  gc_still_mix(heap, gc_block_of(heap, gc_view_of(heap, cell.alias)));
  gc_before_write(heap, cell.alias, 8);
  for (;;) {
    uint64_t header = gc_header_load(cell);
    if (gc_is_done(heap, header)) {
      return false;
    }
    if (at_cas_full((AO_t volatile *)cell.alias, header, header_bare(heap, header) | gc_cell_peer(heap, cell))) {
      return true;
    }
  }
}

void gc_veil_once(gc_heap *heap, size_t page, size_t count) {
  size_t limit = page + count;
  for (size_t run = page; page <= limit; page++) {
    // Not what a system call uses, nor what holds no object: nothing is born there before the cycle ends.
    if (page < limit && at32_load(&heap->top[page]) != 0) {
      if (!heap->world.touched(heap->world.arg, page)) {
        continue;
      }
      // All that is on it was scanned when it was pinned: it needs no veil in this cycle, when it is untouched either. Nor could one be laid if the
      // caller itself holds the page, in a run that it has not opened yet.
      vm_stamp(heap->region, page, 1, gc_stamp(heap));
    }
    if (run < page) {
      at_add_full(&heap->opened, page - run); // before a page can be seen grey (gc.count)
      size_t laid = vm_prot(heap->region, run, page - run, VM_UNSCANNED, gc_stamp(heap));
      at_add_full(&heap->cleaned, page - run - laid);
    }
    run = page + 1;
  }
}

// A block is kept from the CAS on its flags on, by whoever does it. The veil follows, and then it is for scanners.
static bool keep_first(gc_heap *heap, uint32_t block) {
  uint8_t old = AO_char_load((unsigned char volatile *)&heap->flags[block]);
  while (!(old & GC_BLOCK_KEPT)) {
    if (AO_char_compare_and_swap_full((unsigned char volatile *)&heap->flags[block], old,
                                      old | GC_BLOCK_KEPT | GC_BLOCK_RETAIN | GC_BLOCK_MORE)) {
      return true;
    }
    old = AO_char_load((unsigned char volatile *)&heap->flags[block]);
  }
  return false;
}

static bool is_run(const gc_heap *heap, uint32_t block) {
  return gc_space(heap, block) == heap->from_space && at32_load(&heap->spared[block]) > heap->cycle && !(gc_flags(heap, block) & (GC_BLOCK_LEAF | GC_BLOCK_KEPT)) &&
         !gc_is_cold(heap, block);
}

// Its neighbours that are spared, too, and nobody has reached yet: to veil them all takes not much longer than to veil one. Not where blocks stay
// still: what is dead there would hold what it refers to not for one cycle, but for many. A block that mutators have filled takes none with it: what was
// born together often dies together, so all of it may be dead, and hold the next, and so on.
static uint32_t keep_run(gc_heap *heap, uint32_t block, uint32_t *first) {
  enum { RUN = 8 };
  uint32_t at = block - block % RUN, limit = at + RUN, end = block + 1;
  *first = block;
  if (!heap->stills && gc_is_spared(heap, block)) {
    while (*first > at && is_run(heap, *first - 1)) {
      --*first;
    }
    while (end < limit && is_run(heap, end)) {
      end++;
    }
  }
  return end;
}

void gc_block_keep(gc_heap *heap, uint32_t block, bool leaf) {
  if (leaf) {
    gc_flags_set(heap, block, GC_BLOCK_RETAIN);
    return;
  }
  if (gc_is_veiled_block(heap, block)) {
    return;
  }
  uint32_t first, end = keep_run(heap, block, &first), mine = 0;
  for (uint32_t b = first; b < end; b++) {
    mine |= (uint32_t)keep_first(heap, b) << (b - first);
  }
  // Not only whose they are: the veil has to be in force before the caller publishes a pointer into the block.
  gc_veil_once(heap, gc_block_page(heap, first), (size_t)(end - first) * heap->block_pages);
  for (uint32_t b = first; b < end; b++) {
    at8_store_release(&heap->veiled[b], gc_stamp(heap));
    if (!(mine >> (b - first) & 1)) {
      continue;
    }
    if (gc_is_spared(heap, b)) {
      at_add(&heap->spared_blocks, 1);
    } else {
      at_add(&heap->kept_blocks, 1);
      if (__builtin_expect(at32_load(&heap->listening) != 0, 0)) {
        heap->world.events->kept(heap->world.arg, gc_block_page(heap, b));
      }
    }
    gc_stack_push(heap, &heap->grey, b);
  }
}

// Where the object is that somebody has marked, copied or kept.
static inline gc_ref done_ref(const gc_heap *heap, gc_cell cell) {
  uint64_t header = gc_header_load(cell);
  return gc_cell_ref(heap, gc_peer_cell(heap, header), header);
}

// It stays where it is (gc.memory, gc.spared).
static inline gc_ref stay(gc_heap *heap, gc_cell cell, uint32_t block, bool leaf) {
  if (leaf ? !(gc_flags(heap, block) & GC_BLOCK_RETAIN) : !gc_is_veiled_block(heap, block)) {
    gc_block_keep(heap, block, leaf);
  }
  if (gc_is_still(heap, block)) { // gc.still: what the flip has copied or pinned carries the epoch, and nobody comes here with it
    gc_ref ref = gc_cell_ref(heap, cell, gc_header_load(cell));
    gc_aside_mark(heap, ref.view);
    return ref;
  }
  gc_mark_in_place(heap, cell);
  return done_ref(heap, cell);
}

// The CAS expects the header that the caller read: had somebody been quicker since then, it fails, and his peer is not replaced (gc.onecopy).
gc_ref gc_forward_slow(gc_heap *heap, gc_copier *copier, gc_ref ref, gc_cell cell, uint64_t header) {
  uint32_t block = gc_block_of(heap, ref.view);
  VM_CHECK(header != 0 && gc_header_type(header) >= GC_FIRST_TYPE && gc_type_at(gc_header_type(header)) != NULL,
           "%p is no object: its header is %lx", (void *)ref.view, (unsigned long)header);
  if (gc_is_large(heap, block)) {
    gc_large_mark(heap, cell, header);
    return ref;
  }
  bool leaf = (header & GC_LEAF) != 0;
  unsigned sort = gc_header_sort(header);
  if ((gc_flags(heap, block) & GC_BLOCK_FLOOR) && gc_floor_at(heap, gc_view_of(heap, cell.alias)) != NULL) {
    // Born since the flip; a page that mutators write to is being scanned (a kept block, a touched page).
    return ref;
  }
  if (gc_is_spared(heap, block)) {
    return stay(heap, cell, block, leaf);
  }
  size_t bytes = gc_cell_size(cell, header), growth = gc_cell_growth(header), room = bytes + growth;
  uint64_t bare = header_bare(heap, header);
  gc_before_read(heap, cell.alias, bytes);
  gc_still_mix(heap, block);
  for (;;) {
    gc_place place;
    bool found = __builtin_expect((header & GC_ALIGN_MASK) != 0, 0)
                     ? gc_place_find_aligned(heap, copier, sort, room, gc_header_align(header), &place)
                     : gc_place_find(heap, copier, sort, room, &place);
    if (!found) {
      return stay(heap, cell, block, leaf);
    }
    gc_before_write(heap, place.cell.alias, room);
    at_store((AO_t volatile *)place.cell.alias, bare | gc_cell_peer(heap, cell) | (growth ? GC_EXTRA : 0));
    gc_contents_copy(place.cell.alias, cell.alias, bytes);
    if (__builtin_expect(growth != 0, 0)) {
      gc_hash_keep(heap, place.cell, room, ref.view);
    }
    if (!gc_cell_claim(heap, copier, sort, &place, room)) {
      continue;
    }
    gc_before_write(heap, cell.alias, 8);
    // Release: who reads the peer sees the copy and the page's top.
    if (at_cas_full((AO_t volatile *)cell.alias, header, bare | gc_cell_peer(heap, place.cell))) {
      copier->copied_bytes += bytes;
      uint32_t spared = at32_load(&heap->spared[block]);
      copier->dense_bytes += spared > GC_SPARSE ? bytes : 0;
      if (spared == 0 && block >= heap->young_blocks) {
        *(leaf ? &copier->leaf_bytes : &copier->born_bytes) += bytes;
      }
      copier->copied_objects++;
      if (!leaf) {
        gc_near_note(heap, copier, cell, place.cell, header, bytes);
      }
      return gc_cell_ref(heap, place.cell, header);
    }
    gc_cell_return(heap, &place, room);
    copier->near_left = 0; // another thread is at these neighbours: side by side both would be slower than one
    header = gc_header_load(cell);
    if (gc_is_done(heap, header)) {
      return done_ref(heap, cell);
    }
  }
}
