// SPDX-License-Identifier: MIT
// crew.c: several threads at one minor cycle: who takes part, and when they are done.
//
// The thread that stopped the world begins alone, without a single atomic operation more than it needs. When there is
// enough to do it opens the crew: from then on background scanners may join, until all who are there have found nothing
// to do. Work is: a page of the list, a block of survivors that nobody is filling, a large object.
//
// [gc.crew] Whoever is not idle may make work; who is idle has made all of his own work, and found none of the others'.
// So when all are idle there is none, and only the owner of the cycle may end that. A helper that is idle touches
// nothing of the cycle's but `crew`, and leaves when that says that the cycle is another: so its owner need not wait
// for it to get a processor.

#include "gc/block.h"
#include "gc/gc.h"
#include "gc/minor.h"
#include "gc/scan.h"
#include "gc/wait.h"

// gc_heap.crew, from the low bit: idle workers 16, workers 16, open 1, the cycle's number 31.
#define IDLE ((uint64_t)1)
#define JOINED ((uint64_t)1 << 16)
#define OPEN ((uint64_t)1 << 32)
#define CYCLE ((uint64_t)1 << 33)

static unsigned joined(uint64_t crew) { return (unsigned)(crew / JOINED) & 0xffff; }
static bool all_idle(uint64_t crew) { return (crew & 0xffff) == joined(crew); }
static bool is_same(uint64_t crew, uint64_t then) { return (crew & OPEN) && crew / CYCLE == then / CYCLE; }

void gc_crew_begin(gc_heap *heap) {
  at_store_release(&heap->crew, (at_load(&heap->crew) / CYCLE + 1) * CYCLE + JOINED);
}

void gc_crew_open(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  if (minor->shared || !minor->listed || heap->world.help == NULL || !heap->region->traps) {
    return;
  }
  minor->shared = true;
  at_add_full(&heap->crew, OPEN); // release: a helper sees all that was done so far
  heap->world.help(heap->world.arg);
}

unsigned gc_crew_count(gc_heap *heap) { return joined(at_load(&heap->crew)); }

// Pinned objects, and those that stayed for want of memory. The owner's, while nobody else is at work: an entry is made
// before its worker is idle.
static bool pins_scan(gc_minor *minor, size_t limit) {
  gc_heap *heap = minor->heap;
  size_t from = heap->pins_scanned;
  minor->fresh = minor->old = false;
  for (; heap->pins_scanned < limit; heap->pins_scanned++) {
    gc_cell cell = heap->pins[heap->pins_scanned];
    gc_minor_cell_whole(minor, cell, gc_header_read(heap, cell));
  }
  gc_minor_drain(minor);
  return heap->pins_scanned != from;
}

static size_t pin_count(const gc_heap *heap) { return at_load((AO_t volatile *)&heap->pin_count); }

// All that this worker can find to do.
static void work(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  gc_remembered_scan(minor);
  for (;;) {
    if (gc_minor_scan_own(minor)) {
      continue;
    }
    uint32_t block = gc_stack_pop(heap, &heap->minor_full);
    if (block != GC_NONE) {
      gc_minor_scan_block(minor, block);
    } else if (!gc_young_large_scan(minor) && (minor->shared || !pins_scan(minor, pin_count(heap)))) {
      return;
    }
  }
}

// A helper's, or the owner's, while it is idle: something to do may be there.
static bool is_work(const gc_heap *heap) {
  return (uint32_t)at_load(&heap->minor_full.head) != GC_NONE || (uint32_t)at_load(&heap->minor_large.head) != GC_NONE;
}

void gc_crew_work(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  work(minor);
  if (!minor->shared) {
    return;
  }
  at_add_full(&heap->crew, IDLE);
  for (unsigned looks = 0;;) {
    uint64_t crew = at_load_acquire(&heap->crew);
    size_t pins = pin_count(heap);
    bool pinned = heap->pins_scanned < pins;
    if ((is_work(heap) || (pinned && all_idle(crew))) && at_cas_full(&heap->crew, crew, crew - IDLE)) {
      if (all_idle(crew)) {
        pins_scan(minor, pins);
      }
      work(minor);
      at_add_full(&heap->crew, IDLE);
    } else if (all_idle(crew) && !pinned && at_cas_full(&heap->crew, crew, crew - OPEN)) {
      minor->shared = false;
      return;
    } else {
      gc_wait(&looks);
    }
  }
}

bool gc_minor_help(gc_heap *heap) {
  uint64_t crew = at_load_acquire(&heap->crew);
  if (!(crew & OPEN) || joined(crew) == GC_WORKERS) {
    return false;
  }
  if (!at_cas_full(&heap->crew, crew, crew + JOINED)) {
    return true; // look again
  }
  gc_copier *copier = gc_copier_take(heap); // services wait for us, as for any collector thread
  gc_minor *minor = &heap->workers[joined(crew)];
  *minor = (gc_minor){.heap = heap,
                      .index = joined(crew),
                      .shared = true,
                      .tenure = heap->tenure.now,
                      .large_base = heap->workers[0].large_base,
                      .large_span = heap->workers[0].large_span};
  gc_copier_enter(copier);
  gc_births_begin(minor);
  work(minor);
  gc_copier_leave(copier);
  at_add_full(&heap->crew, IDLE);
  unsigned looks = 0;
  for (uint64_t now; is_same(now = at_load_acquire(&heap->crew), crew);) {
    if (is_work(heap) && at_cas_full(&heap->crew, now, now - IDLE)) {
      gc_copier_enter(copier);
      work(minor);
      gc_copier_leave(copier);
      at_add_full(&heap->crew, IDLE);
    } else {
      gc_wait(&looks);
    }
  }
  gc_copier_give(heap, copier);
  return true;
}
