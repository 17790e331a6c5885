// SPDX-License-Identifier: MIT
// nursery.c: how large the nursery is, and whether there had better be none: numbers in, decision out.
//
// A nursery that is larger costs less for each byte that dies in it, and stops the program for longer. It may be a
// share of what is in use, and is made smaller while minor cycles take longer than they should.
//
// Generations do not pay where most of what is born stays, or where the program writes all over its old objects: then
// minor cycles copy, and look for pointers, for next to nothing. What they cost for each byte that they free is
// compared with the same of major cycles. Who loses is switched off, in a trial at once, later when it loses twice
// running; and on again at a flip, for a trial, when the trials' cost is little beside the major cycles'. While they are
// off nothing young is born, old pages are not tracked, and what was young waits for the next flip like everything else.

#include "gc/nursery.h"
#include "gc/alloc.h"
#include "gc/gc.h"
#include "gc/pace.h"
#include "gc/young.h"

enum {
  WINDOW = 8,                // minor cycles that are judged together; of a trial, half as many
  TRIAL_PAUSE = 32,          // after a trial that failed, so many times as long as it took to the next one, …
  TRIAL_PAUSES = 3,          // … and twice that after each that fails, up to so many
  WRITES_AFTER = 8,          // first writes after such a trial, for each in it
  ARMED_SHARE = 4,           // what a background thread spends for a trial counts so much less than what the program does
  LEFT_MOST = 8 << 20,       // bytes that may be left in the zone for another trial before the next flip
  SHARE_OF_USED = 32,        // the nursery may be this part of what is in use …
  SHARE_OF_SMALL = 4,        // … or this, if the heap is to be small
  STAYS = 2,                 // cycles running in which nearly all stayed, before it is promoted at once
  VAIN = 4,                  // … in which nearly all that had aged was promoted, before nothing ages …
  VAIN_REST = 32,            // … for so many cycles
  VAIN_LEAST = 16 << 10,     // bytes that say something
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

uint64_t gc_nursery_share(const gc_nursery_in *in, uint64_t taken) {
  uint64_t rest = in->pause_ns - in->fixed_ns, most = in->most;
  if (in->target_ns != 0 && rest != 0) {
    uint64_t left = max64(in->target_ns, 2 * in->fixed_ns) - in->fixed_ns;
    most = min64(most, (uint64_t)((double)taken * (double)left / (double)rest));
  }
  return taken < most ? rest + (uint64_t)((double)in->fixed_ns * (double)taken / (double)most) : in->pause_ns;
}

bool gc_generations_pay(const gc_yield *in) {
  // a / b <= c / d, without division; half as much again is within what these figures are worth, and buys shorter pauses and a smaller heap.
  return (double)in->minor_ns * (double)in->major_freed <= 1.5 * (double)in->major_ns * (double)in->minor_freed;
}

bool gc_generations_hopeless(const gc_yield *in, uint64_t most_freed) {
  gc_yield best = *in;
  best.minor_freed = most_freed;
  return !gc_generations_pay(&best);
}

bool gc_nursery_trust(gc_trust *trust, bool pay, bool grew) {
  bool lost = !pay && (trust->lost || trust->on_trial);
  *trust = (gc_trust){.settles = trust->settles && grew, .lost = !pay};
  return lost;
}

void gc_nursery_tenure(gc_tenure *tenure, const gc_minor_out *out) {
  uint64_t stayed = tenure->now ? out->promoted : out->aged;
  tenure->stays = stayed >= out->taken / 4 * 3 ? tenure->stays + 1 : 0;
  bool vain = !tenure->now && tenure->aged >= VAIN_LEAST && out->promoted >= tenure->aged / 16 * 15;
  tenure->vain = vain ? tenure->vain + 1 : 0;
  tenure->aged = tenure->now ? 0 : out->aged;
  if (tenure->rest > 0) {
    tenure->rest--;
    tenure->now = tenure->rest > 0;
  } else if (tenure->vain == VAIN) {
    *tenure = (gc_tenure){.now = true, .rest = VAIN_REST};
  } else {
    tenure->now = tenure->now ? stayed >= out->taken / 2 : tenure->stays >= STAYS;
  }
}

// ---- On a heap.

uint64_t gc_nursery_limit(const gc_config *config) {
  // By itself no more than a heap with that limit can spare.
  uint64_t most = config->nursery != 0 ? config->nursery
                                       : min64(GC_NURSERY_MOST, max64(config->limit / 32, 2 * GC_BLOCK) / GC_BLOCK * GC_BLOCK);
  // Nor more than there is a zone for.
  return config->zone != 0 ? min64(most, max64(config->zone / GC_NURSERY_ZONE / GC_BLOCK, 1) * GC_BLOCK) : most;
}

static uint64_t most(const gc_heap *heap) {
  uint64_t limit = gc_nursery_limit(&heap->config);
  if (heap->config.early) {
    return min64(limit, max64(GC_NURSERY_TRIAL, gc_used_bytes(heap) / SHARE_OF_SMALL));
  }
  return heap->config.nursery != 0 ? limit : min64(limit, max64(GC_NURSERY_USUAL, gc_used_bytes(heap) / SHARE_OF_USED));
}

bool gc_nursery_opens_on(const gc_heap *heap) {
  const gc_config *config = &heap->config;
  return config->generations == GC_GENERATIONS_ON || (config->generations == GC_GENERATIONS_AUTO && config->early && heap->region->traps);
}

void gc_nursery_open(gc_heap *heap) {
  at_store(&heap->trial_due_ns, UINT64_MAX);
  if (gc_nursery_opens_on(heap)) {
    at_store(&heap->nursery, most(heap));
    at_store(&heap->young_on, 1);
  }
}

static void window_reset(gc_heap *heap) {
  heap->judged = (gc_judged){.dirty = at_load(&heap->minor_dirty_pages), .nursery = at_load(&heap->nursery)};
}

static uint64_t write_ns(const gc_heap *heap) {
  return heap->region->kernel_dirty ? WRITE_NS : heap->region->traps ? WRITE_TRAP_NS : 0;
}

void gc_nursery_switch_off(gc_heap *heap, uint64_t cost_ns) {
  uint64_t written = at_load(&heap->minor_dirty_pages) - heap->judged.dirty, pages = gc_used_bytes(heap) >> heap->page_shift;
  // Until the protection is lifted, first writes go on; and where there were many, each page will have one more.
  heap->trial_ns = cost_ns + at_load(&heap->trial_armed_ns) / ARMED_SHARE + min64(pages, WRITES_AFTER * written) * write_ns(heap);
  heap->trials += heap->trials < TRIAL_PAUSES;
  at_store(&heap->trial_due_ns, vm_now() + (heap->trial_ns * TRIAL_PAUSE << (heap->trials - 1)));
  at_store(&heap->zone_left, gc_young_zone_used(heap));
  at_store(&heap->young_pays, 0);
  at_add(&heap->young_switches, 1);
  at_store(&heap->young_on, 0);
  gc_young_untrack(heap);
}

// Of the last cycles. What survived once will be copied again; so it does not count as freed yet, nor ever if it stays.
static gc_yield yield_now(const gc_heap *heap) {
  const gc_judged *of = &heap->judged;
  uint64_t writes = at_load(&heap->minor_dirty_pages) - of->dirty;
  uint64_t cost = of->ns + writes * write_ns(heap);
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

// What began early is not given up before there was a major cycle to compare with: until then the heap is small, and so is what minor cycles cost.
static bool may_give_up(const gc_heap *heap) {
  return heap->config.generations == GC_GENERATIONS_AUTO && (!heap->config.early || at_load(&heap->last_major_ns) != 0);
}

static void judge(gc_heap *heap) {
  gc_yield yield = yield_now(heap);
  bool pay = gc_generations_pay(&yield), lost = gc_nursery_trust(&heap->trust, pay, at_load(&heap->nursery) / 5 * 4 > heap->judged.nursery);
  if (pay) {
    heap->trials = 0;
    at_store(&heap->young_pays, 1);
  } else if (lost && may_give_up(heap)) {
    gc_nursery_switch_off(heap, yield.minor_ns);
  } else if (lost) {
    at_store(&heap->young_pays, 0);
  }
  window_reset(heap);
}

static unsigned window(const gc_heap *heap) { return heap->trust.on_trial ? WINDOW / 2 : WINDOW; }

// A window's worth of nurseries at the least.
static uint64_t window_bytes(const gc_heap *heap) {
  return max64(heap->judged.taken, (uint64_t)window(heap) * at_load(&heap->nursery));
}

bool gc_nursery_gives_up(gc_heap *heap, uint64_t spent_ns, uint64_t dirty_pages) {
  if (!may_give_up(heap)) {
    return false;
  }
  gc_yield yield = yield_now(heap);
  yield.minor_ns += spent_ns + dirty_pages * LOOK_NS;
  if (!gc_generations_hopeless(&yield, window_bytes(heap))) {
    return false;
  }
  gc_nursery_switch_off(heap, yield.minor_ns);
  window_reset(heap);
  return true;
}

void gc_nursery_minor_ended(gc_heap *heap, uint64_t pause_ns, uint64_t fixed_ns, uint64_t zone_ns, uint64_t aged, uint64_t promoted) {
  // What is old in the zone will be gone at the next flip.
  gc_nursery_in in = {.size = at_load(&heap->nursery),
                      .most = most(heap),
                      .target_ns = heap->config.pause_ns,
                      .pause_ns = pause_ns - zone_ns,
                      .fixed_ns = fixed_ns - zone_ns};
  in.least = min64(GC_NURSERY_LEAST, in.most);
  uint64_t taken = at_load(&heap->young_taken) * GC_BLOCK;
  bool nearly_all = heap->trust.on_trial && (heap->tenure.now ? promoted : aged) >= taken / 4 * 3;
  if (taken >= in.size / 2) { // or it was asked for, and says little
    bool tenured = heap->tenure.now;
    gc_nursery_tenure(&heap->tenure, &(gc_minor_out){taken, aged, promoted});
    uint64_t next = gc_nursery_next(&in);
    // What ages is copied twice.
    at_store(&heap->nursery, tenured && !heap->tenure.now ? max64(next / 3 * 2, in.least) : next);
  }
  gc_judged *of = &heap->judged;
  of->cycles++;
  of->ns += heap->trust.settles ? gc_nursery_share(&in, taken) : pause_ns;
  of->taken += taken;
  of->survived += aged + promoted;
  gc_yield yield = yield_now(heap);
  if ((of->cycles >= window(heap) && of->taken >= window(heap) / 2 * in.size) || gc_generations_hopeless(&yield, window_bytes(heap)) || nearly_all) {
    judge(heap);
  }
}

void gc_nursery_major_ended(gc_heap *heap, uint64_t ns, uint64_t freed) {
  // The scanners may have waited for a processor for most of the time.
  // What is spared is marked and scanned: three quarters of the work.
  uint64_t copied = (at_load(&heap->copied_blocks) + at_load(&heap->spared_blocks) / 4 * 3) * GC_BLOCK, cost = min64(ns, copied / 16 * COPY_NS_PER_16_BYTES_MOST);
  uint64_t traps = at_load(&heap->scanned_trap);
  cost += (traps - at_load(&heap->last_major_traps)) * TRAP_NS + freed / 64 * REUSE_NS_PER_64_BYTES;
  at_store(&heap->last_major_traps, traps);
  at_store(&heap->last_major_ns, cost);
  at_store(&heap->last_major_freed, freed);
}

// Where no page tells that it was written, each minor cycle looks at all that is old.
// Nor where most of the heap are large objects: what they cost when they die young is not in what is compared.
static bool may_try(const gc_heap *heap) {
  return gc_has_young(heap) && heap->config.generations != GC_GENERATIONS_OFF && !gc_young_is_on(heap) && heap->region->traps && at_load(&heap->large_bytes) <= gc_used_bytes(heap) / 2;
}

void gc_trial_demand(gc_heap *heap) {
  if (may_try(heap)) {
    at_store(&heap->trial_due, GC_TRIAL_DUE);
  }
}

bool gc_nursery_wants_trial(const gc_heap *heap) {
  return may_try(heap) && heap->trials == 0; // later ones are better begun while nothing else is under way
}

void gc_nursery_look(gc_heap *heap) {
  uint64_t due = at_load(&heap->trial_due_ns);
  if (due != UINT64_MAX && may_try(heap) && gc_phase_now(heap) == GC_IDLE && at_load(&heap->zone_left) <= LEFT_MOST && vm_now() >= due) {
    at_store(&heap->trial_due, GC_TRIAL_DUE);
  }
}

void gc_nursery_flips(gc_heap *heap) {
  if (heap->config.generations == GC_GENERATIONS_AUTO && gc_young_is_on(heap) && heap->trust.on_trial && heap->judged.cycles == 0) {
    gc_nursery_switch_off(heap, (gc_used_bytes(heap) >> heap->page_shift) * write_ns(heap));
  }
}

void gc_nursery_try(gc_heap *heap) {
  at_store(&heap->trial_due, 0);
  at_add(&heap->young_switches, 1);
  at_store(&heap->young_on, 1);
  at_store(&heap->nursery, min64(GC_NURSERY_TRIAL, most(heap)));
  heap->trust = (gc_trust){.on_trial = true, .settles = true};
  window_reset(heap);
}
