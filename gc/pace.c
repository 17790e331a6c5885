// SPDX-License-Identifier: MIT
// pace.c: numbers in, decision out.
//
// A cycle starts when the garbage born since the last one may be `growth` percent of what lived then, plus `headroom`; what objects own
// outside the heap counts as they do. Earlier if the limit is near, for the copies need room too: used + small blocks <= limit has to hold at the
// flip. Earlier still if a soft limit is near: while it can be held, the copies (as many as lived last time) and what is born in mid-cycle stay below it. When
// it cannot, cycles follow each other with pauses as long as they are, so that mutators have half of the time to themselves, and the heap grows.

#include "gc/pace.h"
#include "gc/alloc.h"
#include "gc/gc.h"
#include "gc/nursery.h"
#include "gc/runs.h"
#include "gc/young.h"

enum {
  YOUNG_GROWTH = 2,      // while generations pay, growth is this part: garbage gets old slowly
  KEEP_LEAST = 64,       // blocks: what scanners hold ready, and a chunk or two
  BUDGET_LEAST = 1 << 20 // bytes
};

static uint64_t min64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t max64(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t above(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

// ---- Decisions, from numbers alone.

uint64_t gc_pace_wish(const gc_pace *in) {
  uint64_t live = in->live + in->external;
  if (live > UINT64_MAX >> 8) {
    return UINT64_MAX; // the program cannot mean it
  }
  return live + live / 100 * in->growth + live % 100 * in->growth / 100 + in->headroom;
}

uint64_t gc_pace_wish_young(const gc_pace *in) {
  gc_pace grows = *in, rests = *in;
  grows.growth /= YOUNG_GROWTH;
  grows.headroom = 0;
  rests.growth = 0;
  return max64(gc_pace_wish(&grows), gc_pace_wish(&rests));
}

uint64_t gc_pace_most(const gc_pace *in) {
  // Leave a sixteenth of what is copied for pages that are not filled, and for what is born in mid-cycle.
  uint64_t room = above(in->limit, in->large);
  // What lives may be more than that already: then not a cycle for each buffer. gc_may_allocate keeps the room for copies.
  return max64(in->large + room * 15 / 32, in->live + room / 64);
}

// What the soft limit leaves beside what lives and its copies.
static uint64_t soft_room(const gc_pace *in) {
  uint64_t copies = above(in->live, in->large);
  return above(in->soft, in->live + copies + copies / 16);
}

static bool has_soft(const gc_pace *in) { return in->soft != 0 && in->soft < in->limit; }

uint64_t gc_pace_soft(const gc_pace *in) {
  return has_soft(in) ? in->live + soft_room(in) / 4 * 3 : UINT64_MAX;
}

bool gc_pace_rested(uint64_t now_ns, uint64_t ended_ns, uint64_t took_ns) { return now_ns - ended_ns >= took_ns; }

uint64_t gc_pace_budget(const gc_pace *in) {
  uint64_t budget = in->live / 5 + in->headroom;
  // Not so little that mutators do nothing but help.
  return has_soft(in) ? min64(budget, max64(soft_room(in) / 4, in->live / 64 + BUDGET_LEAST)) : budget;
}

// ---- The heap's numbers.

size_t gc_used_bytes(const gc_heap *heap) {
  return at_load(&heap->used_blocks) * GC_BLOCK + at_load(&heap->large_bytes);
}

static gc_pace numbers(const gc_heap *heap) {
  return (gc_pace){
      .live = at_load(&heap->live_bytes),
      .large = at_load(&heap->large_live_bytes),
      .external = at_load(&heap->external_base),
      .limit = at_load(&heap->limit),
      .soft = heap->config.soft_limit,
      .headroom = heap->config.headroom,
      .growth = heap->config.growth,
  };
}

static void trigger_set(gc_heap *heap) {
  gc_pace in = numbers(heap);
  at_store(&heap->most_bytes, gc_pace_most(&in));
  at_store(&heap->soft_bytes, gc_pace_soft(&in));
}

void gc_pace_opened(gc_heap *heap) { trigger_set(heap); }

// Pages that are parked cost a cycle little, and whoever has them parked wants less memory in use: they give no right to more garbage (gc.parked-pace).
static uint64_t parked_bytes(const gc_heap *heap) { return at_load(&heap->parked_pages) << heap->page_shift; }

// What is garbage in spared blocks gives no right to more. While generations pay, what was born in the last cycle does not either: it has mostly died.
static uint64_t wish(const gc_heap *heap) {
  gc_pace in = numbers(heap);
  uint64_t parked = min64(parked_bytes(heap), in.live);
  uint64_t survived = at_load(&heap->survived_bytes), reached = min64(at_load(&heap->reached_bytes), survived), garbage = survived - reached;
  if (at_load(&heap->young_pays)) {
    in.live = above(reached, parked);
    return gc_pace_wish_young(&in) + garbage + min64(parked, reached);
  }
  uint64_t live = in.live, least = live + in.external + in.headroom;
  in.live = above(live, garbage + parked);
  return max64(gc_pace_wish(&in) + min64(parked, above(live, garbage)), least);
}

uint64_t gc_pace_slack(const gc_heap *heap) {
  gc_pace in = numbers(heap);
  in.live = above(in.live, parked_bytes(heap));
  return above(gc_pace_wish(&in), in.live + in.external);
}

void gc_pace_flips(gc_heap *heap) {
  at_store(&heap->flip_used, gc_used_bytes(heap));
  at_store(&heap->cycle_began_ns, vm_now());
  at_store(&heap->external_flip, at_load(&heap->external_bytes));
}

void gc_pace_flipped(gc_heap *heap) { at_store(&heap->flip_ns, vm_now()); }

void gc_pace_swept(gc_heap *heap) {
  uint64_t now = vm_now(), took = now - at_load(&heap->cycle_began_ns);
  at_store(&heap->external_base, at_load(&heap->external_bytes));
  trigger_set(heap);
  at_store(&heap->cycle_ended_ns, now);
  at_store(&heap->cycle_took_ns, took);
  gc_nursery_major_ended(heap, took, above(at_load(&heap->flip_used) + at_load(&heap->born_bytes), gc_used_bytes(heap)));
  at_add(&heap->cycle_total_ns, took);
}

void gc_limit_set(gc_heap *heap, size_t bytes) {
  at_store(&heap->limit, bytes);
  trigger_set(heap);
}

static void lower(AO_t volatile *value, uint64_t bytes) {
  for (uint64_t old = at_load(value); old > bytes && !at_cas_full(value, old, bytes); old = at_load(value)) {
    // once more
  }
}

bool gc_external_add(gc_heap *heap, ptrdiff_t bytes) {
  uint64_t less = bytes < 0 ? -(uint64_t)bytes : 0;
  uint64_t old, now;
  do {
    old = at_load(&heap->external_bytes);
    now = old + (uint64_t)bytes;
    if (old < less || now > PTRDIFF_MAX) {
      return false;
    }
  } while (!at_cas_full(&heap->external_bytes, old, now));
  if (less) {
    lower(&heap->external_base, now);
    lower(&heap->external_flip, now);
  }
  return true;
}

bool gc_wants_cycle(const gc_heap *heap) {
  if (gc_phase_now(heap) != GC_IDLE) {
    return false;
  }
  uint64_t used = gc_used_bytes(heap);
  // What fills the nursery is a minor cycle's business.
  uint64_t old = above(used, gc_young_born_bytes(heap));
  if (used >= at_load(&heap->most_bytes) || old + at_load(&heap->external_bytes) >= wish(heap)) {
    return true;
  }
  return used >= at_load(&heap->soft_bytes) &&
         gc_pace_rested(vm_now(), at_load(&heap->cycle_ended_ns), at_load(&heap->cycle_took_ns));
}

void gc_pace_spared(gc_heap *heap, uint64_t emptied, uint64_t dense, uint64_t gaps) {
  enum { LEAST = 16, STAY = 4, COME_BACK = 2 }; // blocks; a part of what is dense that lives: after one more cycle, or after two
  uint64_t survived = at_load(&heap->survived_bytes), spared = at_load(&heap->spared_blocks) * GC_BLOCK;
  uint64_t full = emptied * GC_BLOCK, lived = min64(at_load(&heap->dense_copied), full), dead = 0;
  if (emptied >= LEAST) {
    dead = (uint64_t)((double)spared * (double)(full - lived) / (double)full);
    at8_store(&heap->sparse, lived + dense * GC_BLOCK < (full + dense * GC_BLOCK) / (heap->spares ? STAY : COME_BACK));
  }
  // Where blocks stay still nobody knows what else is dead: but these bytes are free.
  at_store(&heap->reached_bytes, above(survived, heap->stills ? gaps : dead));
}

// What is dead on pages that are scanned whole may hold dead objects of other blocks, and these it, for as long as neither moves. How much that is shows when
// they move: so where more survives than can be explained otherwise, or so many cycles have passed, all moves once. The less that gains, the later is the next time.
void gc_pace_stills(gc_heap *heap, uint64_t emptied) {
  enum { LEAST = 4, FIRST = 16, MOST = 64 }; // cycles
  gc_still_pace *pace = &heap->still_pace;
  uint64_t survived = at_load(&heap->survived_bytes);
  if (heap->stills) {
    pace->cycles++;
    at32_store(&pace->over, survived > pace->most || pace->cycles >= pace->span);
    return;
  }
  uint64_t full = emptied * GC_BLOCK, lived = at_load(&heap->dense_copied);
  if (pace->span == 0) {
    pace->span = FIRST;
  } else if (pace->cycles != 0 && lived < full / 4 * 3) {
    pace->span = pace->span / 2 > LEAST ? pace->span / 2 : LEAST;
  } else if (pace->cycles != 0 && lived >= full / 8 * 7) {
    pace->span = pace->span * 2 < MOST ? pace->span * 2 : MOST;
  }
  pace->cycles = 0;
  pace->most = survived + survived / 4 + heap->config.headroom;
  at32_store(&pace->over, 0);
}

void gc_pace_leaves(gc_heap *heap, uint64_t filled, uint64_t lived) {
  enum { LEAST = 16 * GC_BLOCK }; // bytes that say something
  if (filled >= LEAST) {
    at8_store(&heap->leaves_stay, lived >= filled / 8 * (at8_load(&heap->leaves_stay) ? 5 : 6));
  }
}

void gc_pace_born(gc_heap *heap, uint64_t filled, uint64_t lived) {
  enum { LEAST = 16 * GC_BLOCK };
  if (filled >= LEAST) {
    at8_store(&heap->born_stay, lived >= filled / 8 * (at8_load(&heap->born_stay) ? 5 : 6));
  }
}

bool gc_pace_is_roomy(const gc_heap *heap) {
  gc_pace in = numbers(heap);
  uint64_t used = gc_used_bytes(heap), limit = has_soft(&in) ? in.soft : in.limit;
  return used + at_load(&heap->used_blocks) * GC_BLOCK <= limit / 4 * 3;
}

bool gc_pace_is_roomy_still(const gc_heap *heap) {
  gc_pace in = numbers(heap);
  uint64_t survived = at_load(&heap->survived_bytes), limit = has_soft(&in) ? in.soft : in.limit;
  bool fits = survived + above(survived, in.large) <= limit / 4 * 3;
  return fits && gc_used_bytes(heap) + at_load(&heap->used_blocks) * GC_BLOCK <= in.limit;
}

uint64_t gc_pace_copies(uint64_t blocks) { return blocks + blocks / 32 + 4; }

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
  case GC_FLIPPING:
    rest = above(with_slack(from), at_load(&heap->copied_blocks));
    break;
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
  uint64_t limit = at_load(&heap->limit);
  uint64_t survived = at_load(&heap->survived_bytes);
  uint64_t large = at_load(&heap->large_bytes);
  uint64_t small = survived > large ? survived - large : 0;
  return survived + small + small / 16 + limit / 64 + bytes > limit;
}

bool gc_kept_some(const gc_heap *heap) { return at_load(&heap->kept_blocks) != at_load(&heap->kept_before); }

static uint64_t mid_cycle_budget(const gc_heap *heap, uint64_t live) {
  gc_pace in = numbers(heap);
  in.live = above(live, parked_bytes(heap));
  return gc_pace_budget(&in);
}

// Since the flip, outside of the heap too.
static uint64_t born_bytes(const gc_heap *heap) {
  return at_load(&heap->born_bytes) + above(at_load(&heap->external_bytes), at_load(&heap->external_flip));
}

// More is held than the soft limit allows, although it could be kept. What the large zone keeps without need goes first.
static bool over_soft(const gc_heap *heap) {
  gc_pace in = numbers(heap);
  return has_soft(&in) && soft_room(&in) != 0 &&
         above(at_load(&heap->committed_bytes), gc_kept_bytes(heap)) > in.soft;
}

bool gc_wants_wait(const gc_heap *heap, bool idle) {
  gc_phase phase = gc_phase_now(heap);
  return (phase == GC_SWEEPING || (phase == GC_SCANNING && (idle || gc_scan_finished(heap)))) &&
         (born_bytes(heap) > 2 * mid_cycle_budget(heap, at_load(&heap->live_bytes)) || over_soft(heap));
}

bool gc_may_allocate(const gc_heap *heap, size_t bytes) {
  return gc_used_bytes(heap) + copies_bytes(heap) + bytes <= at_load(&heap->limit);
}

// A mutator may be ahead of the scanners by its share: what is born in the cycle against the budget for that, and what
// has been copied against what lived after the last cycle.
bool gc_wants_assist(const gc_heap *heap) {
  if (gc_phase_now(heap) != GC_SCANNING) {
    return false;
  }
  uint64_t limit = at_load(&heap->limit);
  if (gc_used_bytes(heap) + copies_bytes(heap) + limit / 8 > limit) {
    return true; // near the limit
  }
  if (over_soft(heap)) {
    return true;
  }
  // After the first cycle, or when the data have grown, the last count says little: then half of from-space.
  uint64_t live = at_load(&heap->live_bytes);
  uint64_t half = at_load(&heap->from_blocks) * GC_BLOCK / 2;
  live = live > half ? live : half;
  uint64_t budget = mid_cycle_budget(heap, live);
  uint64_t born = born_bytes(heap);
  if (born * 4 < budget) {
    return false;
  }
  // Nor is what will be marked where it is: as much as last time.
  uint64_t expected = above(live, at_load(&heap->aside_blocks) * GC_BLOCK) + heap->config.headroom / 4;
  uint64_t copied = at_load(&heap->copied_blocks) * GC_BLOCK;
  // born / budget > copied / expected, without division.
  return born / GC_BLOCK * expected > copied * (budget / GC_BLOCK + 1);
}

// Where pages are parked blocks stay in place in most cycles, and what moves is about what moved last time: memory for more copies is had when it is needed (gc.parked-pace).
static uint64_t copies_parked(const gc_heap *heap, uint64_t all) {
  bool still = at_load(&heap->keeps_in_place) != 0 && !at32_load(&heap->still_pace.over) && !at8_load(&heap->sparse) && at_load(&heap->empties) == 0 && gc_pace_is_roomy_still(heap);
  return still && at_load(&heap->parked_pages) != 0 ? min64(all, gc_pace_copies(at_load(&heap->copied_blocks))) : all;
}

// Copies of all that is there. In a cycle of what it has not come to: what it empties does for the next one's.
static uint64_t reserve_most(const gc_heap *heap) {
  uint64_t used = at_load_acquire(&heap->used_blocks), from = at_load(&heap->from_left);
  switch (gc_phase_now(heap)) {
  case GC_FLIPPING:
  case GC_SCANNING:
    return above(with_slack(from), at_load(&heap->copied_blocks));
  case GC_SWEEPING:
    return with_slack(above(used, from));
  default:
    return copies_parked(heap, with_slack(used));
  }
}

// Blocks that the next cycle is likely to leave where they are: those that are dense since the last one, and what was born since then if that stays.
static uint64_t staying(const gc_heap *heap) {
  if (at8_load(&heap->sparse) || !heap->region->traps || at_load(&heap->keeps_in_place) != 0 || at_load(&heap->empties) != 0 || !gc_pace_is_roomy(heap)) {
    return 0;
  }
  uint64_t survived = at_load(&heap->survived_bytes) + at_load(&heap->large_bytes) - at_load(&heap->large_live_bytes);
  return at_load(&heap->staying_blocks) + (at8_load(&heap->born_stay) ? above(gc_used_bytes(heap), survived) / GC_BLOCK : 0);
}

uint64_t gc_pace_reserve(const gc_heap *heap) {
  uint64_t all = reserve_most(heap);
  gc_pace in = numbers(heap);
  if (gc_phase_now(heap) == GC_IDLE) {
    all = above(all, staying(heap));
  }
  if (at_load(&heap->young_pays)) {
    uint64_t last = above(at_load(&heap->survived_bytes), in.large) / GC_BLOCK; // what gets old meanwhile is no more than what dies
    uint64_t copied = gc_phase_now(heap) == GC_SCANNING ? at_load(&heap->copied_blocks) : 0;
    all = min64(all, above(gc_pace_copies(last), copied));
  }
  if (!has_soft(&in) || soft_room(&in) == 0) {
    return all;
  }
  // Within a soft limit that can be held no more than it leaves: most of what was born has died. But for as many copies as last time.
  uint64_t copies = above(in.live, in.large) / GC_BLOCK;
  return min64(all, max64(above(in.soft, gc_used_bytes(heap)) / GC_BLOCK, copies + copies / 16 + 4));
}

// Bytes that are likely to be born before the next flip, and in the cycle before mutators have to help: giving their memory back would only mean
// to ask for it again.
static uint64_t births(const gc_heap *heap) {
  uint64_t wished = above(wish(heap), at_load(&heap->external_bytes));
  return above(min64(min64(wished, at_load(&heap->most_bytes)), at_load(&heap->soft_bytes)), gc_used_bytes(heap));
}

static uint64_t births_in_cycle(const gc_heap *heap) { return mid_cycle_budget(heap, gc_used_bytes(heap)); }

uint64_t gc_pace_kept_room(const gc_heap *heap, uint64_t kept) {
  gc_pace in = numbers(heap);
  uint64_t limit = has_soft(&in) ? in.soft : in.limit;
  // What small blocks hold beside what is kept, or will when they have room for all copies; and a chunk, so that they can go on getting whole ones.
  uint64_t others = max64(above(at_load(&heap->committed_bytes), kept), gc_used_bytes(heap) + copies_bytes(heap));
  return above(limit, others + (vm_huge_works(heap->region) ? VM_HUGE : GC_BLOCK));
}

uint64_t gc_pace_kept(const gc_heap *heap, uint64_t kept) {
  uint64_t nursery = gc_young_is_on(heap) ? at_load(&heap->nursery) : 0; // it may be full of large objects, and they die together
  return min64(births(heap) + births_in_cycle(heap) + nursery, gc_pace_kept_room(heap, kept));
}

uint64_t gc_pace_keep(const gc_heap *heap) {
  uint64_t used = gc_used_bytes(heap);
  gc_pace in = numbers(heap);
  uint64_t in_cycle = births_in_cycle(heap) / (at_load(&heap->young_pays) ? YOUNG_GROWTH : 1); // most of it in the nursery, again and again
  uint64_t keep = gc_pace_reserve(heap) + (births(heap) + in_cycle) / GC_BLOCK + 16;
  // Above a soft limit it is given back all the same.
  uint64_t room = above(has_soft(&in) ? in.soft : in.limit, used) / GC_BLOCK;
  return max64(min64(keep, room), KEEP_LEAST);
}

uint64_t gc_pace_keep_idle(const gc_heap *heap) {
  return min64(KEEP_LEAST + gc_used_bytes(heap) / 8 / GC_BLOCK, gc_pace_keep(heap));
}
