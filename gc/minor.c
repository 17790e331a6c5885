// SPDX-License-Identifier: MIT
// minor.c: a minor cycle: what survives in the nursery moves, with the world stopped; the rest is gone.
//
// Roots are those of a flip, and the old pages that Dirty names or that are REMEMBERED. What survives its first minor
// cycle is aged and stays in the zone; what survives the second is promoted, into blocks of the space that a major
// cycle copies to: black, if one is under way. What an ambiguous root holds stays in place, and allocation goes around
// it.
//
// The world is stopped. Scanners and a sweep go on meanwhile: they do not touch what is young, since a flip leaves
// nothing young behind, and no grey page holds a pointer to what was born since. What they share with us are the stacks
// of blocks, and pages that are black.

#include "gc/alloc.h"
#include "gc/flip.h"
#include "gc/gc.h"
#include "gc/minor.h"
#include "gc/nursery.h"
#include "gc/outer.h"
#include "gc/pin.h"
#include "gc/scan.h"
#include "gc/sweep.h"

// ---- What the world calls back.

char *gc_minor_buffer(gc_minor *minor, char *start, char *free, char *limit) {
  gc_heap *heap = minor->heap;
  if (start == NULL || !gc_is_young(heap, (uintptr_t)start)) {
    return start;
  }
  return gc_floor_make(heap, heap->young_floors, &heap->young_floor_count, start, free, limit);
}

void gc_minor_lane(gc_minor *minor, gc_alloc_lane *lane) {
  if (lane->block != GC_NONE && lane->block < minor->heap->young_blocks) {
    lane->block = GC_NONE; // it is emptied; the buffer itself stays the thread's (gc.tlab)
  }
}

// Where an ambiguous word points: into a block of young objects, or into a young large object. Not to another's header: a sweep may be freeing that.
static bool may_be_young(const gc_minor *minor, uintptr_t view) {
  const gc_heap *heap = minor->heap;
  if (view - minor->large_base < minor->large_span) {
    uint32_t block = gc_block_of(heap, view);
    return gc_space(heap, block) != 0 && (gc_flags(heap, gc_large_head(heap, block)) & GC_BLOCK_YOUNG);
  }
  return gc_in_young_zone(heap, view) && gc_is_young(heap, view);
}

static void word_pin(gc_minor *minor, uintptr_t word) {
  gc_heap *heap = minor->heap;
  gc_cell cell;
  uint64_t header;
  if (!may_be_young(minor, word - 1) || !gc_find_cell(heap, word, &cell, &header) || gc_minor_is_done(header)) {
    return;
  }
  uint32_t block = gc_block_of(heap, gc_view_of(heap, cell.alias));
  if (!gc_is_large(heap, block)) {
    gc_minor_stay(minor, cell, header);
  } else if (gc_flags(heap, block) & GC_BLOCK_YOUNG) {
    gc_young_large_reach(minor, cell, header);
  }
}

void gc_minor_word(gc_minor *minor, uintptr_t word) {
  word_pin(minor, word);
  if ((word & (GC_UNIT - 1)) == 8) {
    word_pin(minor, word + 1); // as gc_pin_word
  }
}

void gc_minor_touched(gc_minor *minor, uintptr_t base, uintptr_t limit) {
  gc_heap *heap = minor->heap;
  if (gc_is_large(heap, gc_block_of(heap, base))) {
    gc_minor_word(minor, base + 1);
    return;
  }
  for (size_t page = gc_page_at(heap, base); page <= gc_page_at(heap, limit - 1); page++) {
    if (!gc_is_young(heap, (uintptr_t)vm_page_view(heap->region, page)) || gc_top(heap, page) == 0) {
      continue;
    }
    gc_cell at = gc_page_covering(heap, page), cell;
    at = at.alias != NULL ? at : gc_page_first(heap, page);
    char *end = gc_page_alias(heap, page) + gc_top(heap, page);
    uint64_t header;
    for (char *next; (next = gc_cell_next(heap, at, end, &cell, &header)) != NULL; at.alias = next) {
      if (gc_header_type(header) != GC_FILLER) {
        gc_minor_word(minor, gc_cell_ref(heap, cell, header).view);
      }
    }
  }
}

void gc_minor_slots(gc_minor *minor, uintptr_t *slots, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (gc_is_young(minor->heap, slots[i])) {
      slots[i] = gc_minor_forward(minor, slots[i]);
    }
  }
}

// ---- The cycle.

// Blocks that are empty now are free; what something holds in place stays with them, and is eden.
static void zone_sweep(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  uint64_t fresh = at_load(&heap->young_fresh);
  for (uint32_t b = 0; b < fresh && b < heap->young_blocks; b++) {
    uint8_t space = gc_space(heap, b);
    if (space == GC_SURVIVOR) {
      AO_char_store_release((unsigned char volatile *)&heap->space[b], GC_AGED);
    } else if ((space == GC_EDEN || space == GC_AGED) && !(gc_flags(heap, b) & GC_BLOCK_RETAIN)) {
      gc_young_free(heap, b);
    } else if (space == GC_EDEN || space == GC_AGED) {
      gc_sweep_young(heap, b, GC_MINOR_DONE, heap->young_floors, heap->young_floor_count);
    }
  }
}

static void cycle_begin(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  gc_crew_begin(heap);
  gc_births_begin(minor);
  gc_young_large_begin(minor);
  gc_stack_reset(&heap->minor_full);
  heap->young_floor_count = 0;
  gc_stacks_reset(heap->young_partial, GC_SORTS); // they are emptied, too
  heap->pins_scanned = heap->pin_count; // behind those of the flip
}

static void cycle_end(gc_minor *minor, uint64_t began, uint64_t roots, uint64_t zone) {
  gc_heap *heap = minor->heap;
  uint64_t born = 0, aged = 0, promoted = 0;
  for (unsigned i = 0; i < gc_crew_count(heap); i++) {
    gc_minor *worker = &heap->workers[i];
    gc_births_end(worker);
    born += worker->born;
    aged += worker->survived;
    promoted += worker->promoted;
    at_add(&heap->minor_survived_bytes, worker->survived);
    at_add(&heap->minor_promoted_bytes, worker->promoted);
    at_add(&heap->minor_scanned_pages, worker->scanned);
  }
  zone_sweep(minor);
  gc_hot_end(heap);
  gc_young_large_end(minor);
  heap->pin_count = heap->flip_pins;
  // Twice as many blocks as that are to be at hand next time, for the memory of the next may not come in time; what is not needed is less each time. But a
  // small heap keeps no more than half of what it uses for this.
  uint64_t wanted = at_load(&heap->born_wanted), most = at_load(&heap->used_blocks) / 2 + 4;
  born = 2 * born + 4 < most ? 2 * born + 4 : most;
  wanted = born > wanted ? born : wanted - (wanted + 31) / 32;
  at_store(&heap->born_wanted, wanted);
  at_add(&heap->minor_cycles, 1);
  gc_nursery_minor_ended(heap, vm_spent() - began, roots - began, zone, aged, promoted);
  at_store(&heap->young_taken, 0);
}

bool gc_wants_minor(const gc_heap *heap) {
  return gc_young_is_on(heap) && at_load(&heap->young_taken) * GC_BLOCK >= at_load(&heap->nursery);
}

void gc_minor_stopped(gc_heap *heap) {
  if (!gc_young_is_on(heap)) {
    return;
  }
  uint64_t began = vm_spent(); // what others take of the processor meanwhile is no reason for a smaller nursery
  VM_CHECK(gc_phase_now(heap) != GC_FLIPPING, "a minor cycle in a flip");
  gc_copier *copier = gc_copier_take(heap); // services wait for us, as for any collector thread
  gc_copier_enter(copier);
  gc_minor *minor = &heap->workers[0];
  *minor = (gc_minor){.heap = heap, .unheld = !heap->zone_old && gc_young_unhold(heap), .tenure = heap->tenure.now};
  // First, for what it finds may be reason enough to leave all as it is: who has no minor cycles any more need not know what is young.
  uint64_t dirty = at_load(&heap->minor_dirty_pages);
  at_store_release(&heap->harvesting, 1);
  gc_remembered_harvest(minor);
  at_store_release(&heap->harvesting, 0);
  uint64_t harvested = vm_spent();
  if (gc_nursery_gives_up(heap, harvested - began, at_load(&heap->minor_dirty_pages) - dirty)) {
    at_add(&heap->minor_cycles, 1);
    gc_copier_leave(copier);
    gc_copier_give(heap, copier);
    return;
  }
  cycle_begin(minor);
  gc_flip flip = {.heap = heap, .copier = copier, .minor = minor};
  heap->world.buffers(heap->world.arg, &flip);
  heap->world.ambiguous(heap->world.arg, &flip); // all pins before the first object moves (gc.pins)
  if (heap->config.verify && (minor->unheld || heap->zone_old)) {
    uint64_t check = vm_spent();
    gc_remembered_check(heap); // before anything is promoted, and not yet scanned
    began += vm_spent() - check;
  }
  heap->world.precise(heap->world.arg, &flip);
  uint64_t zone = heap->zone_old ? vm_spent() : 0;
  gc_flip_survivors_scan(minor);
  zone = heap->zone_old ? vm_spent() - zone : 0;
  gc_remembered_list(minor);
  gc_outer_minor_begin(minor);
  uint64_t roots = vm_spent();
  gc_crew_work(minor);
  gc_outer_minor_end(minor);
  cycle_end(minor, began, roots, zone);
  gc_copier_leave(copier);
  gc_copier_give(heap, copier);
}
