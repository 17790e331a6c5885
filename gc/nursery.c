// SPDX-License-Identifier: MIT
// nursery.c: how large the nursery is, and whether there had better be none: numbers in, decision out.
//
// A nursery that is larger costs less for each byte that dies in it, and stops the program for longer. It may be a
// share of what is in use, and is made smaller while minor cycles take longer than they should.
//
// Generations do not pay where most of what is born stays, or where the program writes all over its old objects: then
// minor cycles copy, and look for pointers, for next to nothing. What they cost for each byte that they free is
// compared with the same of major cycles. Who loses is switched off, at once; and on again at a flip, for a trial, when
// the trials' cost is little beside the major cycles'. While they are off nothing young is born, old pages are not
// tracked, and what was young waits for the next flip like everything else.

#include "gc/nursery.h"
#include "gc/alloc.h"
#include "gc/gc.h"
#include "gc/pace.h"
#include "gc/young.h"

enum {
  WINDOW = 8,                // minor cycles that are judged together; of a trial, half as many
  TRIAL_SHARE = 2,           // a trial may cost this part of what major cycles have cost since the last one, …
  TRIALS = 5,                // … and half of that after each that fails, down to so many halves
  SHARE_OF_USED = 32,        // the nursery may be this part of what is in use
  STAYS = 2,                 // cycles running in which nearly all stayed, before it is promoted at once
  LOOK_NS = 700,             // what it takes to look for young references on a page
  WRITE_NS = 1100,           // what the first write to a page costs the program where the kernel tracks it …
  WRITE_TRAP_NS = 7000,      // … and where it traps
  TRAP_NS = 8000,            // a trap of a major cycle
  REUSE_NS_PER_64_BYTES = 8, // what is used again so late has left the caches
  COPY_NS_PER_16_BYTES = 16, // before there was a major cycle to measure
  COPY_NS_PER_16_BYTES_MOST = 48,
};

static uint64_t min64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t max64(uint64_t a, uint64_t b) { return a > b ? a : b; }

// ---- Decisions, from numbers alone.

uint64_t gc_nursery_next(const gc_nursery_in *in) {
  uint64_t size = in->size;
  if (in->target_ns == 0) {
    size = in->most;
  } else {
    // Were less than half of the pause for what was born, a smaller nursery would cost much and gain little.
    uint64_t budget = max64(in->target_ns, 2 * in->fixed_ns);
    if (in->pause_ns > budget) {
      size = max64(size / 8, (uint64_t)((double)size * (double)budget / (double)in->pause_ns));
    } else if (in->pause_ns < budget / 4) {
      size *= 2;
    } else if (in->pause_ns < budget / 4 * 3) {
      size += size / 8;
    }
  }
  return max64(min64(size, in->most), in->least);
}

bool gc_generations_pay(const gc_yield *in) {
  // a / b <= c / d, without division; a quarter more is within what these figures are worth, and pauses are shorter.
  return (double)in->minor_ns * (double)in->major_freed <= 1.25 * (double)in->major_ns * (double)in->minor_freed;
}

bool gc_generations_hopeless(const gc_yield *in, uint64_t most_freed) {
  gc_yield best = *in;
  best.minor_freed = most_freed;
  return !gc_generations_pay(&best);
}

bool gc_nursery_tenures(bool now, unsigned *stays, uint64_t taken, uint64_t stayed) {
  *stays = stayed >= taken / 4 * 3 ? *stays + 1 : 0;
  return now ? stayed >= taken / 2 : *stays >= STAYS;
}

// ---- On a heap.

uint64_t gc_nursery_limit(const gc_config *config) {
  // By itself no more than a heap with that limit can spare.
  return config->nursery != 0 ? config->nursery
                              : min64(GC_NURSERY_MOST, max64(config->limit / 32, 2 * GC_BLOCK) / GC_BLOCK * GC_BLOCK);
}

static uint64_t most(const gc_heap *heap) {
  uint64_t limit = gc_nursery_limit(&heap->config);
  return heap->config.nursery != 0 ? limit : min64(limit, max64(GC_NURSERY_USUAL, gc_used_bytes(heap) / SHARE_OF_USED));
}

// By itself it does without until the first flip: what a program makes first, it keeps.
void gc_nursery_open(gc_heap *heap) {
  if (heap->config.generations == GC_GENERATIONS_ON) {
    at_store(&heap->nursery, most(heap));
    at_store(&heap->young_on, 1);
  }
}

static void window_reset(gc_heap *heap) { heap->judged = (gc_judged){.dirty = at_load(&heap->minor_dirty_pages)}; }

static void switch_off(gc_heap *heap, uint64_t cost_ns) {
  heap->trial_ns = cost_ns;
  heap->trials += heap->trials < TRIALS;
  at_store(&heap->major_ns, 0); // a sweep may be adding to it
  at_add(&heap->young_switches, 1);
  at_store(&heap->young_on, 0);
  gc_young_untrack(heap);
}

// Of the last cycles. What survived once will be copied again; so it does not count as freed yet, nor ever if it stays.
static gc_yield yield_now(const gc_heap *heap) {
  const gc_judged *of = &heap->judged;
  uint64_t writes = at_load(&heap->minor_dirty_pages) - of->dirty;
  uint64_t cost = of->ns + writes * (heap->region->kernel_dirty ? WRITE_NS : heap->region->traps ? WRITE_TRAP_NS : 0);
  // While a heap grows a major cycle frees little, or nothing; but then minor cycles do not either, and the next major one is due only when what
  // it leaves room for has been born.
  gc_yield yield = {cost, of->taken > of->survived ? of->taken - of->survived : 0, at_load(&heap->last_major_ns),
                    max64(at_load(&heap->last_major_freed), gc_pace_slack(heap))};
  if (yield.major_ns == 0) {
    uint64_t used = gc_used_bytes(heap);
    yield.major_ns = used / 16 * COPY_NS_PER_16_BYTES;
  }
  return yield;
}

static void judge(gc_heap *heap) {
  gc_yield yield = yield_now(heap);
  if (gc_generations_pay(&yield)) {
    heap->trials = 0;
    heap->on_trial = false;
  } else {
    switch_off(heap, yield.minor_ns);
  }
  window_reset(heap);
}

static unsigned window(const gc_heap *heap) { return heap->on_trial ? WINDOW / 2 : WINDOW; }

// A window's worth of nurseries at the least.
static uint64_t window_bytes(const gc_heap *heap) {
  return max64(heap->judged.taken, (uint64_t)window(heap) * at_load(&heap->nursery));
}

bool gc_nursery_gives_up(gc_heap *heap, uint64_t spent_ns, uint64_t dirty_pages) {
  if (heap->config.generations != GC_GENERATIONS_AUTO) {
    return false;
  }
  gc_yield yield = yield_now(heap);
  yield.minor_ns += spent_ns + dirty_pages * LOOK_NS;
  if (!gc_generations_hopeless(&yield, window_bytes(heap))) {
    return false;
  }
  switch_off(heap, yield.minor_ns);
  window_reset(heap);
  return true;
}

void gc_nursery_minor_ended(gc_heap *heap, uint64_t pause_ns, uint64_t fixed_ns, uint64_t aged, uint64_t promoted) {
  gc_nursery_in in = {.size = at_load(&heap->nursery),
                      .most = most(heap),
                      .target_ns = heap->config.pause_ns,
                      .pause_ns = pause_ns,
                      .fixed_ns = fixed_ns};
  in.least = min64(GC_NURSERY_LEAST, in.most);
  uint64_t taken = at_load(&heap->young_taken) * GC_BLOCK;
  if (taken >= in.size / 2) { // or it was asked for, and says little
    at_store(&heap->nursery, gc_nursery_next(&in));
    heap->tenure = gc_nursery_tenures(heap->tenure, &heap->stayed, taken, heap->tenure ? promoted : aged);
  }
  if (heap->config.generations != GC_GENERATIONS_AUTO) {
    return;
  }
  gc_judged *of = &heap->judged;
  of->cycles++;
  of->ns += pause_ns;
  of->taken += taken;
  of->survived += aged + promoted;
  gc_yield yield = yield_now(heap);
  if ((of->cycles >= window(heap) && of->taken >= window(heap) / 2 * in.size) || gc_generations_hopeless(&yield, window_bytes(heap))) {
    judge(heap);
  }
}

void gc_nursery_major_ended(gc_heap *heap, uint64_t ns, uint64_t freed) {
  // The scanners may have waited for a processor for most of the time.
  uint64_t copied = at_load(&heap->copied_blocks) * GC_BLOCK, cost = min64(ns, copied / 16 * COPY_NS_PER_16_BYTES_MOST);
  uint64_t traps = at_load(&heap->scanned_trap);
  cost += (traps - at_load(&heap->last_major_traps)) * TRAP_NS + freed / 64 * REUSE_NS_PER_64_BYTES;
  at_store(&heap->last_major_traps, traps);
  at_store(&heap->last_major_ns, cost);
  at_store(&heap->last_major_freed, freed);
  at_add(&heap->major_ns, cost);
}

bool gc_nursery_wants_trial(const gc_heap *heap) {
  // Where no page tells that it was written, each minor cycle looks at all that is old.
  return !at_load(&heap->young_on) && heap->region->traps &&
         (heap->trials == 0 || at_load(&heap->major_ns) >= (heap->trial_ns * TRIAL_SHARE) << (heap->trials - 1));
}

void gc_nursery_flip(gc_heap *heap) {
  if (!gc_nursery_wants_trial(heap) || !gc_young_track(heap)) {
    return;
  }
  at_add(&heap->young_switches, 1);
  at_store(&heap->young_on, 1);
  at_store(&heap->nursery, min64(GC_NURSERY_TRIAL, most(heap)));
  heap->on_trial = true;
  window_reset(heap);
}
