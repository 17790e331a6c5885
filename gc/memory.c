// SPDX-License-Identifier: MIT
// memory.c: memory for blocks: counted against the limit, had from the system, given back.
//
// It comes and goes by chunks of 2 MiB where that is possible, in one huge page each (vm.huge): `fresh` chunks, which never had
// memory, first. Blocks of a chunk that wait for their first use are in `ready`; blocks without memory, left from chunks that could not be had
// whole or were given back, in `empty`. A heap with a small limit does without: it may need each block.
//
// Runs in every thread, traps included: lock-free; but giving back, which one thread at a time does, in a scanner, in the keeper or in a mutator's slow half. It
// begins with what large objects have left (kept.c).

#include <sched.h>
#include "gc/alloc.h"
#include "gc/aside.h"
#include "gc/block.h"
#include "gc/gc.h"
#include "gc/pace.h"
#include "gc/runs.h"
#include "gc/wait.h"
#include "gc/young.h"

enum {
  CHUNK_BLOCKS = VM_HUGE / GC_BLOCK,
  TRIM_STEP = 1024, // blocks given back at a time
};

bool gc_commit_count(gc_heap *heap, size_t bytes) {
  size_t now = at_add_full(&heap->committed_bytes, bytes) + bytes;
  if (now > at_load(&heap->limit)) {
    at_add_full(&heap->committed_bytes, -bytes);
    return false;
  }
  for (;;) {
    size_t max = at_load(&heap->committed_max);
    if (now <= max || at_cas_full(&heap->committed_max, max, now)) {
      return true;
    }
  }
}

void gc_commit_uncount(gc_heap *heap, size_t bytes) { at_add_full(&heap->committed_bytes, -bytes); }

static void blocks_push(gc_heap *heap, gc_stack *stack, uint32_t block, uint32_t count) {
  for (uint32_t b = block + count; b > block; b--) { // so that they are popped in order
    gc_stack_push(heap, stack, b - 1);
  }
}

// The first block of a chunk that never had memory, now the caller's; GC_NONE: all have been taken.
static uint32_t chunk_take(gc_heap *heap) {
  for (;;) {
    uint64_t fresh = at_load(&heap->fresh);
    if (fresh + CHUNK_BLOCKS > heap->small_blocks) {
      return GC_NONE;
    }
    if (at_cas_full(&heap->fresh, fresh, fresh + CHUNK_BLOCKS)) {
      return (uint32_t)fresh;
    }
  }
}

void gc_harvest_wait(const gc_heap *heap) {
  for (unsigned looks = 0; at_load_acquire(&heap->harvesting);) {
    gc_wait(&looks);
  }
}

// A block of a chunk that has got memory in one piece; GC_NONE: there is none to be had so.
static uint32_t chunk_commit(gc_heap *heap) {
  if (!vm_huge_works(heap->region) || !gc_commit_count(heap, VM_HUGE)) {
    return GC_NONE;
  }
  uint32_t block = chunk_take(heap);
  if (block != GC_NONE && vm_commit_huge(heap->region, gc_block_page(heap, block))) {
    gc_memory_got(heap, VM_HUGE);
    blocks_push(heap, &heap->ready, block + 1, CHUNK_BLOCKS - 1);
    return block;
  }
  gc_commit_uncount(heap, VM_HUGE);
  if (block != GC_NONE) {
    blocks_push(heap, &heap->empty, block, CHUNK_BLOCKS);
  }
  return GC_NONE;
}

// A block that has no memory yet gets some, alone.
static uint32_t block_commit(gc_heap *heap) {
  if (!gc_commit_count(heap, GC_BLOCK)) {
    return GC_NONE;
  }
  uint32_t block = gc_stack_pop(heap, &heap->empty);
  if (block == GC_NONE) {
    block = chunk_take(heap);
    if (block == GC_NONE) {
      gc_commit_uncount(heap, GC_BLOCK);
      return GC_NONE;
    }
    blocks_push(heap, &heap->empty, block + 1, CHUNK_BLOCKS - 1);
  }
  if (!vm_commit(heap->region, gc_block_page(heap, block), heap->block_pages)) {
    gc_stack_push(heap, &heap->empty, block);
    gc_commit_uncount(heap, GC_BLOCK);
    return GC_NONE;
  }
  gc_memory_got(heap, GC_BLOCK);
  return block;
}

// A block of those that are looked through by whoever gives memory back; GC_NONE: nobody does, or he has been through.
static uint32_t trim_take(gc_heap *heap) {
  uint64_t chunks = at_load_acquire(&heap->trim_chunks), hint = at_load(&heap->trim_hint);
  for (uint64_t i = 0; i < chunks; i++) {
    uint64_t chunk = (hint + i) % chunks;
    if (chunk * CHUNK_BLOCKS < heap->young_blocks) {
      continue; // the zone's: the next trim may be looking through those already
    }
    uint32_t volatile *there = &heap->trim[chunk];
    for (uint32_t mask; (mask = at32_load(there)) != 0;) {
      if (at32_cas_full(there, mask, mask & (mask - 1))) {
        at_store(&heap->trim_hint, chunk);
        return (uint32_t)chunk * CHUNK_BLOCKS + (uint32_t)__builtin_ctz(mask);
      }
    }
  }
  return GC_NONE;
}

// Free blocks, if a trim has them, before memory is had for others.
uint32_t gc_block_commit(gc_heap *heap) {
  uint32_t block = gc_stack_pop(heap, &heap->ready);
  block = block != GC_NONE ? block : trim_take(heap);
  block = block != GC_NONE ? block : chunk_commit(heap);
  block = block != GC_NONE ? block : block_commit(heap);
  if (block != GC_NONE) {
    at_or_full(&heap->aside[(size_t)block * GC_ASIDE_WORDS], 0); // memory: a trap that is the first to mark something would have it by two faults
  }
  return block;
}

static void trim_unlock(gc_heap *heap) {
  at_add_full(&heap->trims, 1);
  at_store_release(&heap->trim_lock, 0);
}

bool gc_trims(const gc_heap *heap, uint64_t *trims) {
  uint64_t before = *trims;
  bool held = at_load_acquire(&heap->trim_lock) != 0;
  at_fence_full();
  *trims = at_load_acquire(&heap->trims);
  return held || *trims != before;
}

static void blocks_empty(gc_heap *heap, uint32_t block, uint32_t count) {
  vm_release(heap->region, gc_block_page(heap, block), (size_t)count * heap->block_pages);
  gc_commit_uncount(heap, (size_t)count * GC_BLOCK);
  gc_memory_returned(heap, (size_t)count * GC_BLOCK);
  blocks_push(heap, block < heap->young_blocks ? &heap->young_empty : &heap->empty, block, count);
}

static uint64_t free_count(const gc_heap *heap) {
  return at_load(&heap->open_free.count) + at_load(&heap->veiled_free.count) + at_load(&heap->ready.count) +
         at_load(&heap->born_ready.count);
}

static void block_put_back(gc_heap *heap, uint32_t block) {
  if (block < heap->young_blocks) {
    gc_stack_push(heap, &heap->young_free, block);
    return;
  }
  // Blocks of `ready` count as veiled from here on; so do those that are.
  size_t page = gc_block_page(heap, block);
  bool open = !(vm_claims(heap->region, page) & VM_UNSCANNED) && vm_is_open(heap->region, page);
  if (!open) {
    vm_prot(heap->region, page, heap->block_pages, VM_UNSCANNED, 0);
  }
  gc_stack_push(heap, open ? &heap->open_free : &heap->veiled_free, block);
}

// Takes all free blocks, of the nursery's zone or of the rest, and marks them in heap->trim. One past the last chunk that has any. Others may take them from there, but
// for the zone's (trim_take): whoever trims may lose the processor for long, and they would have to get memory instead.
static size_t free_mark(gc_heap *heap, bool zone) {
  gc_stack *stacks[] = {&heap->young_free, &heap->open_free, &heap->veiled_free, &heap->ready, &heap->born_ready};
  size_t chunks = 0;
  for (size_t i = zone ? 0 : 1; i < (zone ? 1 : sizeof stacks / sizeof *stacks); i++) {
    for (uint32_t block; (block = gc_stack_pop(heap, stacks[i])) != GC_NONE;) {
      size_t chunk = block / CHUNK_BLOCKS;
      at32_or_full(&heap->trim[chunk], (uint32_t)1 << block % CHUNK_BLOCKS);
      chunks = chunk < chunks ? chunks : chunk + 1;
      if (!zone) {
        at_store_release(&heap->trim_chunks, chunks);
      }
    }
  }
  return chunks;
}

// Gives up to `wanted` free blocks back, and up to a chunk more: whole chunks, and single blocks of those that are no huge page (vm.huge). From
// high addresses on, so that the heap is compact. How many.
static uint64_t free_give_back_locked(gc_heap *heap, uint64_t wanted, bool zone) {
  size_t chunks = free_mark(heap, zone);
  uint64_t freed = 0;
  for (size_t chunk = chunks; chunk-- > 0;) {
    uint32_t first = (uint32_t)chunk * CHUNK_BLOCKS, rest;
    do {
      rest = at32_load(&heap->trim[chunk]);
    } while (rest != 0 && !at32_cas_full(&heap->trim[chunk], rest, 0));
    bool whole = rest == ~(uint32_t)0, small = !vm_is_huge(heap->region, gc_block_page(heap, first));
    if (whole && freed < wanted) {
      blocks_empty(heap, first, CHUNK_BLOCKS);
      freed += CHUNK_BLOCKS;
      continue;
    }
    for (; rest != 0; rest &= rest - 1) {
      uint32_t block = first + (uint32_t)__builtin_ctz(rest);
      if (small && freed < wanted) {
        blocks_empty(heap, block, 1);
        freed++;
      } else {
        block_put_back(heap, block);
      }
    }
  }
  at_store(&heap->trim_chunks, 0);
  return freed;
}

bool gc_free_memory(gc_heap *heap, size_t bytes) {
  while (!at_cas_full(&heap->trim_lock, 0, 1)) {
    sched_yield(); // whoever has it waits for nobody
  }
  size_t freed = gc_kept_release_locked(heap, bytes);
  if (freed < bytes) {
    freed += free_give_back_locked(heap, (bytes - freed) / GC_BLOCK + 1, false) * GC_BLOCK;
  }
  if (freed < bytes) {
    freed += free_give_back_locked(heap, (bytes - freed) / GC_BLOCK + 1, true) * GC_BLOCK;
  }
  trim_unlock(heap);
  return freed != 0;
}

// Free blocks beyond `keep` blocks.
static bool blocks_trim_locked(gc_heap *heap, uint64_t keep) {
  uint64_t there = free_count(heap), wanted = there - keep;
  if (there < keep + (vm_huge_works(heap->region) ? CHUNK_BLOCKS : 1)) {
    return false;
  }
  return free_give_back_locked(heap, wanted < TRIM_STEP ? wanted : TRIM_STEP, false) != 0;
}

// What the large zone keeps beyond `keep` bytes, and what it kept in vain.
static bool kept_trim_locked(gc_heap *heap, uint64_t keep) {
  uint64_t kept = gc_kept_bytes(heap), wanted = kept > keep ? kept - keep : 0, due = at_load(&heap->kept_due);
  wanted = due > wanted ? due : wanted;
  return wanted != 0 && gc_kept_release_locked(heap, wanted < TRIM_STEP * GC_BLOCK ? wanted : TRIM_STEP * GC_BLOCK) != 0;
}

// What is free of the nursery's zone.
static bool zone_trim_locked(gc_heap *heap, uint64_t keep) {
  uint64_t there = at_load(&heap->young_free.count);
  return there > keep && free_give_back_locked(heap, there - keep, true) != 0;
}

static bool trim_to(gc_heap *heap, uint64_t keep_blocks, uint64_t keep_bytes, uint64_t keep_zone) {
  if (gc_phase_now(heap) != GC_IDLE || !at_cas_full(&heap->trim_lock, 0, 1)) {
    return false;
  }
  bool freed = kept_trim_locked(heap, keep_bytes) || blocks_trim_locked(heap, keep_blocks) || zone_trim_locked(heap, keep_zone);
  trim_unlock(heap);
  return freed;
}

bool gc_trim(gc_heap *heap) {
  return trim_to(heap, gc_pace_keep(heap), gc_pace_kept(heap, gc_kept_bytes(heap)), gc_young_is_on(heap) ? UINT64_MAX : 0);
}
bool gc_trim_idle(gc_heap *heap) { return trim_to(heap, gc_pace_keep_idle(heap), 0, 0); }

bool gc_provide(gc_heap *heap, unsigned blocks) {
  gc_harvest_wait(heap);
  if (at_load(&heap->veiled_free.count) >= blocks) {
    return false;
  }
  // Between cycles rather one that is there already: what is had anew a trim would give back, and so on without end.
  bool spare = gc_phase_now(heap) == GC_IDLE && at_load(&heap->ready.count) == 0 && at_load(&heap->open_free.count) >= blocks;
  uint32_t block = spare ? gc_stack_pop(heap, &heap->open_free) : GC_NONE;
  block = block != GC_NONE ? block : gc_block_commit(heap);
  if (block == GC_NONE) {
    return false;
  }
  vm_prot(heap->region, gc_block_page(heap, block), heap->block_pages, VM_UNSCANNED, 0);
  gc_stack_push(heap, &heap->veiled_free, block);
  return true;
}

static bool wants_born(const gc_heap *heap) { return at_load(&heap->born_ready.count) < at_load(&heap->born_wanted); }

// Where nothing is born young, threads take old blocks one after the other: what is at hand for that.
static uint64_t open_count(const gc_heap *heap) {
  uint64_t veiled = at_load(&heap->veiled_free.count), reserve = gc_pace_reserve(heap);
  return at_load(&heap->open_free.count) + at_load(&heap->born_ready.count) + (veiled > reserve ? veiled - reserve : 0);
}

// Blocks that had better be: as many as a program that fills memory as fast as it can takes in the time that the system needs for the next.
static uint64_t open_wanted(const gc_heap *heap) {
  enum { MOST = 2 * CHUNK_BLOCKS, PART = 16 }; // of what is in use: a small program keeps nothing for this
  uint64_t part = at_load(&heap->used_blocks) / PART;
  return at_load(&heap->young_on) ? 0 : part < MOST ? part : MOST;
}

bool gc_wants_open(const gc_heap *heap) {
  uint64_t wanted = open_wanted(heap);
  return wanted != 0 && at_load(&heap->open_free.count) + at_load(&heap->born_ready.count) < wanted / 2 && open_count(heap) < wanted / 2;
}

bool gc_provide_open(gc_heap *heap) {
  // No more than a trim would leave, and nothing on account above a soft limit.
  uint64_t soft = heap->config.soft_limit != 0 ? heap->config.soft_limit : UINT64_MAX;
  if (open_count(heap) >= open_wanted(heap) || free_count(heap) >= gc_pace_keep(heap) || !gc_may_allocate(heap, GC_BLOCK) ||
      at_load(&heap->committed_bytes) + VM_HUGE > soft || !at_cas_full(&heap->trim_lock, 0, 1)) {
    return false;
  }
  uint32_t block = gc_block_commit(heap);
  if (block != GC_NONE) {
    size_t page = gc_block_page(heap, block);
    vm_unprot(heap->region, page, heap->block_pages, VM_UNSCANNED);
    vm_open(heap->region, page, heap->block_pages);
    gc_stack_push(heap, &heap->open_free, block);
  }
  trim_unlock(heap);
  return block != GC_NONE;
}

bool gc_wants_background(const gc_heap *heap) { return wants_born(heap) || gc_young_unsettled(heap); }

bool gc_provide_born(gc_heap *heap) {
  gc_harvest_wait(heap);
  if (!wants_born(heap) || !gc_may_allocate(heap, (at_load(&heap->born_ready.count) + 1) * GC_BLOCK)) {
    return false;
  }
  // Rather one that is accessible already; of those that are veiled, only what the next cycle's copies do not need.
  uint32_t block = gc_stack_pop(heap, &heap->open_free);
  if (block == GC_NONE) {
    bool spare = at_load(&heap->veiled_free.count) > gc_pace_reserve(heap);
    block = spare ? gc_stack_pop(heap, &heap->veiled_free) : gc_block_commit(heap);
    if (block == GC_NONE) {
      return false;
    }
    size_t page = gc_block_page(heap, block);
    vm_unprot(heap->region, page, heap->block_pages, VM_UNSCANNED);
    uint32_t mask = at32_load(&heap->young_mask);
    if (heap->region->kernel_dirty && mask != 0) {
      // Nobody has written there yet, and what a minor cycle writes it remembers. Where a write would trap, it is cheaper to look at the page once.
      vm_dirty_forget(heap->region, page, heap->block_pages, mask);
    }
    vm_open(heap->region, page, heap->block_pages);
  }
  gc_stack_push(heap, &heap->born_ready, block);
  return true;
}
