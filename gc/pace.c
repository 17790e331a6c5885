// SPDX-License-Identifier: MIT
// pace.c: numbers in, decision out.
//
// A cycle starts when the garbage born since the last one may be `growth` percent of what lived then, plus `headroom`; earlier if
// the limit is near, for the copies need room too: used + small blocks <= limit has to hold at the flip.

#include "gc/pace.h"
#include "gc/alloc.h"
#include "gc/gc.h"

static uint64_t min64(uint64_t a, uint64_t b) { return a < b ? a : b; }

size_t gc_used_bytes(const gc_heap *heap) {
  return at_load(&heap->used_blocks) * GC_BLOCK + at_load(&heap->large_bytes);
}

static void trigger_set(gc_heap *heap) {
  uint64_t live = gc_used_bytes(heap);
  uint64_t large = at_load(&heap->large_bytes);
  uint64_t wish = live + live * heap->config.growth / 100 + heap->config.headroom;
  // Leave a sixteenth of what is copied for pages that are not filled, and for what is born in mid-cycle.
  uint64_t room = heap->limit > large ? heap->limit - large : 0;
  uint64_t most = large + room * 15 / 32;
  at_store(&heap->trigger_bytes, min64(wish, most));
}

void gc_pace_opened(gc_heap *heap) { trigger_set(heap); }
void gc_pace_swept(gc_heap *heap) { trigger_set(heap); }

void gc_pace_flipped(gc_heap *heap) { at_store(&heap->flip_ns, vm_now()); }

bool gc_wants_cycle(const gc_heap *heap) {
  return gc_phase_now(heap) == GC_IDLE && gc_used_bytes(heap) >= at_load(&heap->trigger_bytes);
}

// Copies fill pages a little less well than allocation does, and each copier has a block of its own.
static uint64_t with_slack(uint64_t blocks) { return blocks + blocks / 16 + 2; }

// What has to stay free of what is in use and what is born: for the copies of this cycle and, since what is born in a cycle has to be copied
// by the next one, for those.
static uint64_t copies_bytes(const gc_heap *heap) {
  // In this order: while the sweep counts blocks from one to the other, rather too much.
  uint64_t used = at_load_acquire(&heap->used_blocks), from = at_load(&heap->from_left);
  uint64_t rest = 0; // copies still to be made
  switch (gc_phase_now(heap)) {
  case GC_SCANNING:
  case GC_FLIPPING: {
    uint64_t all = with_slack(from), copied = at_load(&heap->copied_blocks);
    rest = copied < all ? all - copied : 0;
    break;
  }
  case GC_SWEEPING:
    break;
  default:
    from = 0;
    break;
  }
  uint64_t to = (used > from ? used - from : 0) + rest; // in use when this cycle is over
  uint64_t next = to + with_slack(to);
  uint64_t extra = next > used ? next - used : 0;
  return (extra > rest ? extra : rest) * GC_BLOCK;
}

bool gc_exhausted(const gc_heap *heap, size_t bytes) {
  uint64_t survived = at_load(&heap->survived_bytes);
  uint64_t large = at_load(&heap->large_bytes);
  uint64_t small = survived > large ? survived - large : 0;
  return survived + small + small / 16 + heap->limit / 64 + bytes > heap->limit;
}

bool gc_kept_some(const gc_heap *heap) { return at_load(&heap->kept_blocks) != at_load(&heap->kept_before); }

// What may be born in a cycle before mutators have to help.
static uint64_t mid_cycle_budget(const gc_heap *heap, uint64_t live) { return live / 5 + heap->config.headroom; }

bool gc_wants_wait(const gc_heap *heap, bool idle) {
  gc_phase phase = gc_phase_now(heap);
  return (phase == GC_SWEEPING || (phase == GC_SCANNING && (idle || gc_scan_finished(heap)))) &&
         at_load(&heap->born_bytes) > 2 * mid_cycle_budget(heap, at_load(&heap->live_bytes));
}

bool gc_may_allocate(const gc_heap *heap, size_t bytes) {
  return gc_used_bytes(heap) + copies_bytes(heap) + bytes <= heap->limit;
}

// A mutator may be ahead of the scanners by its share: what is born in the cycle against the budget for that, and what
// has been copied against what lived after the last cycle.
bool gc_wants_assist(const gc_heap *heap) {
  if (gc_phase_now(heap) != GC_SCANNING) {
    return false;
  }
  if (gc_used_bytes(heap) + copies_bytes(heap) + heap->limit / 8 > heap->limit) {
    return true; // near the limit
  }
  // After the first cycle, or when the data have grown, the last count says little: then half of from-space.
  uint64_t live = at_load(&heap->live_bytes);
  uint64_t half = at_load(&heap->from_blocks) * GC_BLOCK / 2;
  live = live > half ? live : half;
  uint64_t budget = mid_cycle_budget(heap, live);
  uint64_t born = at_load(&heap->born_bytes);
  if (born * 4 < budget) {
    return false;
  }
  uint64_t expected = live + heap->config.headroom / 4;
  uint64_t copied = at_load(&heap->copied_blocks) * GC_BLOCK;
  // born / budget > copied / expected, without division.
  return born / GC_BLOCK * expected > copied * (budget / GC_BLOCK + 1);
}

uint64_t gc_pace_reserve(const gc_heap *heap) {
  uint64_t live = at_load(&heap->used_blocks);
  return live + live / 16 + 4;
}

uint64_t gc_pace_keep(const gc_heap *heap) {
  uint64_t used = gc_used_bytes(heap);
  uint64_t trigger = at_load(&heap->trigger_bytes);
  uint64_t born = trigger > used ? (trigger - used) / GC_BLOCK : 0;
  // And what is born in mid-cycle, before mutators have to help: giving it back would only mean to ask for it again.
  uint64_t mid_cycle = mid_cycle_budget(heap, used) / GC_BLOCK;
  return gc_pace_reserve(heap) + born + mid_cycle + 16;
}
