// SPDX-License-Identifier: MIT
// flip.c: the pause. Swap the spaces, find floors and pins, forward the roots.
//
// One thread, with the world stopped and no cycle under way. What it does is proportional to the roots, not to the heap.

#include <string.h>
#include "gc/alloc.h"
#include "gc/aside.h"
#include "gc/flip.h"
#include "gc/gc.h"
#include "gc/outer.h"
#include "gc/pace.h"
#include "gc/parked.h"
#include "gc/pin.h"
#include "gc/young.h"

char *gc_floor_make(gc_heap *heap, gc_floor *floors, unsigned *count, char *start, char *free, char *limit) {
  // The first zero header ends what is whole: an allocation in flight lies behind it (gc.tlab).
  char *at = start;
  unsigned cells = 0;
  while (at < free) {
    gc_cell cell = {at + heap->delta};
    uint64_t header = gc_header_read(heap, cell);
    if (header == 0) {
      break;
    }
    cells += gc_header_type(header) != GC_FILLER;
    at += gc_cell_size(cell, header);
  }
  if (at == limit) {
    if (at != start) {
      gc_cells_add(heap, gc_block_of(heap, (uintptr_t)start), cells);
    }
    return at; // full, and nothing in flight
  }
  VM_CHECK(*count < GC_FLOORS, "more than %d buffers at a stop", (int)GC_FLOORS);
  floors[(*count)++] = (gc_floor){at, limit};
  gc_flags_set(heap, gc_block_of(heap, (uintptr_t)start), GC_BLOCK_RETAIN | GC_BLOCK_FLOOR);
  gc_cells_set(heap, gc_block_of(heap, (uintptr_t)start), 0); // gc.cells
  return at;
}

char *gc_flip_buffer(gc_flip *flip, char *start, char *free, char *limit) {
  return flip->minor != NULL ? gc_minor_buffer(flip->minor, start, free, limit)
                             : gc_floor_make(flip->heap, flip->heap->floors, &flip->heap->floor_count, start, free, limit);
}

void gc_flip_lane(gc_flip *flip, gc_alloc_lane *lane) {
  if (flip->minor != NULL) {
    gc_minor_lane(flip->minor, lane);
  } else {
    gc_lane_leave(flip->heap, lane);
    lane->block = GC_NONE; // what it had of its block is from-space now. The buffers themselves stay with their threads (gc.tlab)
  }
}

void gc_flip_touched(gc_flip *flip, uintptr_t base, uintptr_t limit) {
  if (flip->roll != NULL) {
    gc_roll_touched(flip->roll, base);
  } else if (flip->minor != NULL) {
    gc_minor_touched(flip->minor, base, limit);
  } else {
    gc_pin_touched(flip->heap, base, limit);
  }
}

static inline void word_pin(gc_flip *flip, const void *at, uintptr_t word) {
  if (flip->roll != NULL) {
    gc_roll_word(flip->roll, (uintptr_t)at, word);
  } else if (flip->minor != NULL) {
    gc_minor_word(flip->minor, word);
  } else {
    gc_pin_word(flip->heap, word);
  }
}

// Stacks of other threads: words that a sanitizer has fenced off are read too.
__attribute__((no_sanitize("address", "thread"))) void gc_flip_range(gc_flip *flip, const void *base,
                                                                     const void *limit) {
  gc_heap *heap = flip->heap;
  // A program that boxes its references may hold nothing else. (Low-bit tags make interior pointers, which are seen anyway.)
  bool boxed = at_load(&gc_types_boxed) != 0;
  const uintptr_t *at = (const uintptr_t *)(((uintptr_t)base + 7) & ~(uintptr_t)7), *first = at;
  for (; (const void *)(at + 1) <= limit; at++) {
    uintptr_t word = *at;
    if (gc_in_heap(heap, word - 1)) {
      word_pin(flip, at, word);
    } else if (boxed && gc_in_heap(heap, (word & GC_ADDRESS_MASK) - 1)) {
      word_pin(flip, at, word & GC_ADDRESS_MASK);
    }
  }
  if (flip->roll == NULL) {
    at_store(&heap->flip_words, at_load(&heap->flip_words) + (uint64_t)(at - first));
  }
}

void gc_flip_slots(gc_flip *flip, uintptr_t *slots, size_t count) {
  if (flip->roll != NULL) {
    gc_roll_slots(flip->roll, slots, count);
    return;
  }
  if (flip->minor != NULL) {
    gc_minor_slots(flip->minor, slots, count);
    return;
  }
  if (flip->clears) {
    for (size_t i = 0; i < count; i++) {
      slots[i] = gc_in_heap(flip->heap, slots[i]) ? 0 : slots[i];
    }
    return;
  }
  at_store(&flip->heap->flip_roots, at_load(&flip->heap->flip_roots) + count);
  for (size_t i = 0; i < count; i++) {
    if (gc_is_from(flip->heap, slots[i])) {
      slots[i] = gc_forward(flip->heap, flip->copier, (gc_ref){slots[i]}).view;
    }
  }
}

// Whether what is dense may stay at all: not if somebody wants to see all garbage gone, nor if most of it would be garbage.
static bool may_stay(gc_heap *heap) {
  bool empties = at_load(&heap->empties) != 0;
  at_store(&heap->empties, 0);
  return !empties && !at8_load(&heap->sparse) && heap->region->traps;
}

static bool may_still(const gc_heap *heap) {
  return at_load(&heap->keeps_in_place) != 0 && !at32_load(&heap->still_pace.over) && gc_pace_is_roomy_still(heap);
}

void gc_empty_all(gc_heap *heap) { at_store(&heap->empties, 1); }

void gc_empty_gladly(gc_heap *heap) {
  if (at_load(&heap->keeps_in_place) == 0) {
    gc_empty_all(heap);
  }
}

void gc_keep_in_place(gc_heap *heap, bool keeps) {
  at_add_full(&heap->keeps_in_place, keeps ? 1 : (uint64_t)-1);
}

void gc_keep_in_place_none(gc_heap *heap) { at_store(&heap->keeps_in_place, 0); }

static void spaces_swap(gc_heap *heap) {
  heap->from_space = heap->to_space;
  heap->to_space = 3 - heap->to_space;
  heap->epoch = heap->next_epoch;
  at32_store(&heap->cycle, heap->cycle + 1); // a service may look at it beside the stop
  heap->floor_count = 0;
  heap->pin_count = heap->flip_pins = 0;
  for (unsigned i = 0; i < GC_COPIERS; i++) {
    gc_copier_reset(&heap->copiers[i]);
  }
  gc_young_flip(heap);
  gc_outer_flip(heap);
  gc_stacks_reset(heap->partial, GC_SORTS); // these blocks are from-space now
  gc_stack_reset(&heap->grey);
  gc_stack_reset(&heap->large_grey);
  VM_CHECK((uint32_t)at_load(&heap->deferred_full) == 0, "marks were put off, and not made when the last cycle ended [gc.deferred]");
  at_store(&heap->deferred_free, 0); // all are free: the first ones are used again
  at_store(&heap->deferred_fresh, 0);
  at_store(&heap->from_blocks, at_load(&heap->used_blocks));
  at_store(&heap->from_left, at_load(&heap->used_blocks));
  at_store(&heap->copied_blocks, 0);
  at_store(&heap->kept_before, at_load(&heap->kept_blocks));
  at_add(&heap->spared_ever, at_load(&heap->spared_blocks));
  at_store(&heap->spared_blocks, 0);
  at_store(&heap->dense_copied, 0);
  heap->spares = heap->asides = heap->stills = heap->mixes = heap->defers = heap->spares_born = false;
  at_store(&heap->leaf_copied, 0);
  at_store(&heap->born_copied, 0);
  at_store(&heap->born_bytes, 0);
  at_store(&heap->pinned_objects, 0);
  at_store(&heap->flip_roots, 0);
  at_store(&heap->flip_words, 0);
}

void gc_flip_stopped(gc_heap *heap) {
  VM_CHECK(gc_phase_now(heap) == GC_IDLE, "a flip in phase %d", (int)gc_phase_now(heap));
  gc_young_unhold(heap);
  bool stays = may_stay(heap), stills = stays && may_still(heap);
  bool spares = stills || (stays && gc_pace_is_roomy(heap)); // gc.spared
  bool sleeps = spares && !stills && at_load(&heap->keeps_in_place) != 0;
  gc_parked_close(heap);
  at_store_release(&heap->phase, GC_FLIPPING);
  at_store_release(&heap->parking_closed, 0); // now the phase says so
  gc_pace_flips(heap);
  spaces_swap(heap);
  gc_parked_flip(heap);
  heap->stills = stills;
  heap->mixes = spares;
  heap->asides = spares; // from the first root on: it takes no veil
  gc_copier *copier = gc_copier_take(heap);
  gc_copier_enter(copier);
  gc_flip flip = {.heap = heap, .copier = copier};
  heap->world.buffers(heap->world.arg, &flip);
  if (sleeps) {
    gc_asleep_flip(heap);
  }
  heap->world.ambiguous(heap->world.arg, &flip); // all pins before the first object moves (gc.pins)
  heap->world.precise(heap->world.arg, &flip);
  gc_pins_scan(heap, copier);
  gc_copier_leave(copier);
  gc_copier_give(heap, copier);
  heap->mixes = stills;
  heap->defers = spares && !gc_young_is_on(heap); // a minor cycle looks at what is marked only
  heap->spares_born = spares && at8_load(&heap->born_stay) && !stills;
  heap->spares = spares; // from here on: a veil for each root would make the pause long
  gc_pace_flipped(heap);
}

void gc_flip_open(gc_heap *heap) {
  VM_CHECK(gc_phase_now(heap) == GC_FLIPPING, "a flip ends in phase %d", (int)gc_phase_now(heap));
  gc_phase_tell(heap, GC_SCANNING); // before anybody can come to the next
  at_store_release(&heap->phase, GC_SCANNING);
  if (heap->region->traps) {
    return;
  }
  gc_copier *copier = gc_copier_take(heap);
  while (!gc_sweep_begin(heap)) {
    gc_scan_some(heap, copier, true);
  }
  gc_copier_give(heap, copier);
  gc_sweep(heap);
}
