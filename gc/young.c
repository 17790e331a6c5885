// SPDX-License-Identifier: MIT
// young.c: the nursery's blocks: where they come from and go to.
//
// Neighbours: alloc.c takes, minor.c empties, flip.c hands over to a major cycle, sweep.c gives back.

#include "gc/young.h"
#include "gc/alloc.h"
#include "gc/block.h"
#include "gc/gc.h"
#include "gc/minor.h"
#include "gc/nursery.h"
#include "gc/parked.h"

enum { CHUNK_BLOCKS = VM_HUGE / GC_BLOCK };

// gc_heap.young_tracking. While nothing is young, writes need not be told: but to lift the protection of all that is
// old takes too long for a pause, and so does to lay it.
enum { TRACKED, TRACKED_IN_VAIN, UNTRACKING, UNTRACKED, PREPARING, OPENED /* some pages are not armed */, PREPARED /* for a trial */ };

enum { ARM_STEP = 1024 }; // blocks: a fork may be waiting


static uint32_t zone_limit(const gc_heap *heap) {
  uint64_t fresh = at_load(&heap->young_fresh);
  return (uint32_t)(fresh < heap->young_blocks ? fresh : heap->young_blocks);
}

void gc_young_size(gc_heap *heap) {
  if (heap->config.generations == GC_GENERATIONS_OFF) {
    return;
  }
  size_t nursery = gc_nursery_limit(&heap->config);
  // What is born, what is aged and what is being copied; and, while a major cycle has them under way, once more what is
  // born and aged.
  size_t zone = (GC_NURSERY_ZONE * nursery + VM_HUGE - 1) / VM_HUGE * VM_HUGE;
  heap->young_blocks = (uint32_t)(zone >> GC_BLOCK_SHIFT);
  heap->young_span = zone;
}

static void births_reset(gc_heap *heap) {
  for (unsigned i = 0; i < GC_WORKERS; i++) {
    for (unsigned sort = 0; sort < GC_SORTS; sort++) {
      heap->promoted[i][sort] = (gc_birth){GC_NONE, NULL, NULL, NULL};
    }
  }
}

// Nothing is young any more, and nothing remembered.
static void zone_reset(gc_heap *heap) {
  gc_stacks_reset(heap->young_partial, GC_SORTS);
  births_reset(heap);
  gc_young_large_flip(heap);
  gc_hot_flip(heap);
  at_store(&heap->young_taken, 0);
  at_store(&heap->zone_left, 0);
  gc_remembered_none(heap);
}

bool gc_young_open(gc_heap *heap) {
  gc_stack_reset(&heap->young_free);
  gc_stacks_reset(heap->young_partial, GC_SORTS);
  gc_stack_reset(&heap->young_large_dead);
  gc_stack_reset(&heap->young_empty);
  births_reset(heap);
  at_store(&heap->fresh, heap->young_blocks);
  if (!gc_has_young(heap)) {
    return true;
  }
  if (!gc_nursery_opens_on(heap)) {
    at_store(&heap->young_tracking, UNTRACKED);
    return true;
  }
  heap->young_consumer = vm_dirty_open(heap->region);
  if (heap->young_consumer < 0) {
    return false;
  }
  at_store(&heap->young_tracking, TRACKED);
  at32_store(&heap->young_mask, 1u << heap->young_consumer);
  return true;
}

void gc_young_untrack(gc_heap *heap) {
  at32_store(&heap->young_mask, 0);
  at_store(&heap->born_wanted, 0);
  at_store_release(&heap->young_tracking, TRACKED_IN_VAIN);
}

// Somebody asks for what was written, again and again: the nursery, or a service.
static bool wants_rest(const gc_heap *heap) {
  return vm_wants_rest(heap->region) && (gc_young_is_on(heap) || at32_load(&heap->dirty_mask) != 0);
}

bool gc_young_unsettled(const gc_heap *heap) { return at_load(&heap->young_tracking) == TRACKED_IN_VAIN || wants_rest(heap); }

static bool track_begin(gc_heap *heap, AO_t then) {
  if (!at_cas_full(&heap->young_tracking, UNTRACKED, PREPARING)) {
    return false;
  }
  uint64_t began = vm_spent();
  at_store(&heap->trial_flip_ns, at_load(&heap->flip_ns));
  at_store(&heap->trial_armed, 0);
  int consumer = vm_dirty_open(heap->region);
  heap->young_consumer = consumer;
  at_store(&heap->trial_armed_ns, vm_spent() - began);
  at_store_release(&heap->young_tracking, consumer >= 0 ? then : UNTRACKED);
  return consumer >= 0;
}

// At a flip no old page is known yet. Before any other time all pages are asked about once, for to a new consumer they are all news. But if there was a
// flip since that began, what has been copied is news, too: then it was in vain.
static bool track_on(gc_heap *heap) {
  if (!at_cas_full(&heap->young_tracking, OPENED, PREPARING)) {
    return false;
  }
  uint64_t began = vm_spent();
  uint32_t next = gc_remembered_arm(heap, (uint32_t)at_load(&heap->trial_armed), ARM_STEP);
  at_store(&heap->trial_armed, next);
  at_add(&heap->trial_armed_ns, vm_spent() - began);
  bool vain = at_load(&heap->trial_flip_ns) != at_load(&heap->flip_ns);
  at_store_release(&heap->young_tracking, vain ? TRACKED_IN_VAIN : next == GC_NONE ? PREPARED : OPENED);
  return true;
}

bool gc_young_rest(gc_heap *heap) {
  if (!wants_rest(heap)) {
    return false;
  }
  gc_harvest_wait(heap);
  return vm_rest(heap->region);
}

bool gc_young_settle(gc_heap *heap) {
  if (gc_young_rest(heap)) {
    return true;
  }
  gc_harvest_wait(heap);
  if (gc_phase_now(heap) != GC_IDLE) {
    return false;
  }
  if (at_cas_full(&heap->young_tracking, TRACKED_IN_VAIN, UNTRACKING)) {
    vm_dirty_close(heap->region, heap->young_consumer);
    at_store_release(&heap->young_tracking, UNTRACKED);
    return true;
  }
  return track_on(heap) || (at_load(&heap->trial_due) != 0 && track_begin(heap, OPENED));
}

void gc_young_prepare(gc_heap *heap) {
  gc_parked_close(heap); // rather here than in the stop
  if (gc_nursery_wants_trial(heap) && !at_cas_full(&heap->young_tracking, TRACKED_IN_VAIN, PREPARED)) {
    track_begin(heap, PREPARED);
  }
}

static bool track(gc_heap *heap) {
  if (!at_cas_full(&heap->young_tracking, PREPARED, TRACKED)) {
    return false;
  }
  at32_store(&heap->young_mask, 1u << heap->young_consumer);
  return true;
}

size_t gc_young_zone_used(const gc_heap *heap) {
  size_t used = 0;
  for (uint32_t b = 0; b < zone_limit(heap); b++) {
    used += gc_space(heap, b) != 0 ? GC_BLOCK : 0;
  }
  return used;
}

bool gc_wants_trial(const gc_heap *heap) { return at_load(&heap->trial_due) != 0 && gc_phase_now(heap) == GC_IDLE; }

bool gc_trial_asks(gc_heap *heap) { return at_cas_full(&heap->trial_due, GC_TRIAL_DUE, GC_TRIAL_ASKED); }

bool gc_trial_prepared(const gc_heap *heap) { return at_load_acquire(&heap->young_tracking) == PREPARED; }

void gc_trial_stopped(gc_heap *heap) {
  if (!gc_wants_trial(heap)) {
    return;
  }
  if (at_load(&heap->trial_flip_ns) != at_load(&heap->flip_ns)) { // all that was copied since would be news
    at_cas_full(&heap->young_tracking, PREPARED, TRACKED_IN_VAIN);
    return;
  }
  if (!track(heap)) {
    return;
  }
  for (uint32_t b = 0; b != GC_NONE; b = gc_remembered_arm(heap, b, GC_NONE)) {
    // once more: most of it is what was born since
  }
  gc_young_unhold(heap);
  // Nobody knows who points to what is there. So it is not young any more.
  for (uint32_t b = 0; b < zone_limit(heap); b++) {
    if (gc_space(heap, b) != 0) {
      uint8_t leaf = gc_flags(heap, b) & GC_BLOCK_LEAF;
      AO_char_store((unsigned char volatile *)&heap->flags[b], leaf ? leaf : GC_BLOCK_MORE);
      AO_char_store_release((unsigned char volatile *)&heap->space[b], GC_HELD);
      heap->zone_old = true;
    }
  }
  zone_reset(heap);
  heap->floor_count = 0; // of the last flip: they are in these blocks, or of no concern
  gc_nursery_try(heap);
}

// Memory that was given back is had block by block.
static uint32_t empty_commit(gc_heap *heap) {
  if (at_load(&heap->young_empty.count) == 0 || !gc_commit_count(heap, GC_BLOCK)) {
    return GC_NONE;
  }
  uint32_t block = gc_stack_pop(heap, &heap->young_empty);
  if (block == GC_NONE || !vm_commit(heap->region, gc_block_page(heap, block), heap->block_pages)) {
    gc_commit_uncount(heap, GC_BLOCK);
    if (block != GC_NONE) {
      gc_stack_push(heap, &heap->young_empty, block);
    }
    return GC_NONE;
  }
  gc_memory_got(heap, GC_BLOCK);
  vm_open(heap->region, gc_block_page(heap, block), heap->block_pages);
  return block;
}

// The zone gets memory as it is needed: a chunk in one huge page, or a block.
static uint32_t fresh_commit(gc_heap *heap) {
  for (;;) {
    uint64_t block = at_load(&heap->young_fresh);
    if (block >= heap->young_blocks) {
      return GC_NONE;
    }
    bool huge = block % CHUNK_BLOCKS == 0 && vm_huge_works(heap->region) && gc_commit_count(heap, VM_HUGE);
    uint32_t count = huge ? CHUNK_BLOCKS : 1;
    if (!huge && !gc_commit_count(heap, GC_BLOCK)) {
      return GC_NONE;
    }
    if (!at_cas_full(&heap->young_fresh, block, block + count)) {
      gc_commit_uncount(heap, count * GC_BLOCK);
      continue;
    }
    size_t page = gc_block_page(heap, (uint32_t)block), pages = (size_t)count * heap->block_pages;
    if (!(huge && vm_commit_huge(heap->region, page)) && !vm_commit(heap->region, page, pages)) {
      gc_commit_uncount(heap, count * GC_BLOCK);
      at_cas_full(&heap->young_fresh, block + count,
                  block); // unless somebody took what comes behind it: then it is lost
      return GC_NONE;
    }
    gc_memory_got(heap, count * GC_BLOCK);
    vm_open(heap->region, page, pages);
    for (uint32_t b = (uint32_t)block + count; b-- > block + 1;) {
      gc_stack_push(heap, &heap->young_free, b);
    }
    return (uint32_t)block;
  }
}

static uint32_t take(gc_heap *heap, unsigned sort, uint8_t space) {
  uint32_t block = gc_stack_pop(heap, &heap->young_free);
  block = block != GC_NONE ? block : empty_commit(heap);
  block = block != GC_NONE ? block : fresh_commit(heap);
  if (block == GC_NONE) {
    return GC_NONE;
  }
  size_t page = gc_block_page(heap, block);
  for (unsigned i = 0; i < heap->block_pages; i++) {
    at32_store(&heap->top[page + i], 0);
    AO_short_store((unsigned short volatile *)&heap->cover[page + i], 0);
  }
  if (VM_FULL_CHECKS) {
    vm_unprot(heap->region, page, heap->block_pages, VM_UNSCANNED);
    vm_open(heap->region, page, heap->block_pages);
  }
  AO_char_store((unsigned char volatile *)&heap->flags[block], 0);
  gc_block_dedicate(heap, block, sort);
  AO_char_store_release((unsigned char volatile *)&heap->space[block], space);
  gc_pages_stir(heap, page, heap->block_pages);
  at_add(&heap->used_blocks, 1);
  return block;
}

uint32_t gc_young_take(gc_heap *heap, unsigned sort, bool partial) {
  uint32_t block = partial ? gc_stack_pop(heap, &heap->young_partial[sort]) : GC_NONE;
  block = block != GC_NONE ? block : take(heap, sort, GC_EDEN);
  if (block != GC_NONE) {
    at_add(&heap->young_taken, 1);
  }
  return block;
}

uint32_t gc_young_take_survivor(gc_heap *heap, unsigned sort) { return take(heap, sort, GC_SURVIVOR); }

void gc_young_free(gc_heap *heap, uint32_t block) {
  size_t page = gc_block_page(heap, block);
  for (unsigned i = 0; i < heap->block_pages; i++) {
    at32_store_release(&heap->top[page + i], 0); // no service may claim the page from here on
  }
  at_fence_full();
  if (at_load(&heap->service_claims) != 0) {
    gc_claims_drop(heap, page, heap->block_pages);
  }
  AO_char_store((unsigned char volatile *)&heap->flags[block], 0);
  AO_char_store_release((unsigned char volatile *)&heap->space[block], 0);
  at32_store(&heap->died[block], heap->cycle);
  at_add(&heap->used_blocks, (uint64_t)-1);
  if (VM_FULL_CHECKS) { // as gc_blocks_free does: a stale pointer is to be noticed
    for (size_t i = 0; i < GC_BLOCK / 8; i++) {
      ((uint64_t volatile *)gc_block_alias(heap, block))[i] = 0xdeadf00ddeadf00dull;
    }
    vm_prot(heap->region, page, heap->block_pages, VM_UNSCANNED, 0);
  }
  gc_stack_push(heap, &heap->young_free, block);
}

bool gc_young_unhold(gc_heap *heap) {
  if (gc_phase_now(heap) != GC_IDLE) {
    return false; // what the cycle pinned is no young object yet
  }
  heap->zone_old = false;
  heap->flip_pins = heap->pin_count = 0;
  for (uint32_t b = 0; b < zone_limit(heap); b++) {
    if (gc_space(heap, b) != GC_HELD) {
      continue;
    }
    uint8_t flags = gc_flags(heap, b);
    AO_char_store((unsigned char volatile *)&heap->flags[b], flags & GC_BLOCK_LEAF);
    AO_char_store_release((unsigned char volatile *)&heap->space[b], GC_EDEN);
    if (flags & GC_BLOCK_GAPS) {
      gc_stack_push(heap, &heap->young_partial[gc_block_sort(heap, b)], b);
    }
  }
  return true;
}

void gc_young_flip(gc_heap *heap) {
  if (!gc_has_young(heap)) {
    return;
  }
  for (uint32_t b = 0; b < zone_limit(heap); b++) {
    if (gc_space(heap, b) != 0) {
      AO_char_store((unsigned char volatile *)&heap->space[b], heap->from_space);
    }
  }
  gc_nursery_flips(heap);
  zone_reset(heap); // all old pages are from-space: their copies, or who scans them, will say what is to be remembered
  if (track(heap)) {
    gc_nursery_try(heap);
  }
}

void gc_young_rollback(gc_heap *heap) {
  heap->zone_old = false;
  heap->flip_pins = heap->pin_count = 0;
  heap->floor_count = 0;
  if (gc_has_young(heap)) {
    zone_reset(heap);
  }
}
