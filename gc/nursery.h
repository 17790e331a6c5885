// SPDX-License-Identifier: MIT
// nursery.h: how large the nursery is, and whether there had better be none: numbers in, decision out.

#ifndef GC_NURSERY_H
#define GC_NURSERY_H

#include "gc/heap.h"

// Bytes.
enum { GC_NURSERY_LEAST = 512 << 10, GC_NURSERY_TRIAL = 1 << 20, GC_NURSERY_USUAL = 8 << 20, GC_NURSERY_MOST = 32 << 20 };

enum { GC_NURSERY_ZONE = 5 }; // the zone is so many nurseries

// A minor cycle that is over.
typedef struct gc_nursery_in {
  uint64_t size;        // bytes: the nursery that it emptied
  uint64_t least, most; // bytes
  uint64_t target_ns;   // 0: none
  uint64_t pause_ns;    // what it took
  uint64_t fixed_ns;    // of that, what does not depend on how much was born: roots, harvest
} gc_nursery_in;
// Bytes that may be born until the next one.
uint64_t gc_nursery_next(const gc_nursery_in *in);

// Nanoseconds that what was born, `taken` bytes, would cost with the nursery as large as it may become: its share of what does not depend on it is less then.
uint64_t gc_nursery_share(const gc_nursery_in *in, uint64_t taken);

// What both kinds of cycles cost, and what they freed.
typedef struct gc_yield {
  uint64_t minor_ns, minor_freed;
  uint64_t major_ns, major_freed;
} gc_yield;
// Whether minor cycles free memory for less than major ones do.
bool gc_generations_pay(const gc_yield *in);
// Whether they cannot, not even if all of `most_freed` bytes, which are born while they are judged, were to die.
bool gc_generations_hopeless(const gc_yield *in, uint64_t most_freed);

// Generations were judged once more: do they pay? Whether they are given up: after a trial at once, else when they lose twice running, for a few cycles
// that were disturbed say little. `grew`: the nursery by more than a quarter since the judgement before.
bool gc_nursery_trust(gc_trust *trust, bool pay, bool grew);

// A minor cycle that is over, in bytes: born since the one before, left to age, promoted.
typedef struct gc_minor_out {
  uint64_t taken, aged, promoted;
} gc_minor_out;
// Whether the next minor cycle had better promote what it finds in eden (tenure->now), where nearly all that is born stays, or nearly all that ages is
// promoted after all. What a cycle says by itself may be a passing phase, so it takes several; one that ends is seen at once in the first case, and in the second,
// where nothing ages any more, asked for now and then.
void gc_nursery_tenure(gc_tenure *tenure, const gc_minor_out *out);

// ---- On a heap.

// The largest nursery that there may ever be, from the options: what the zone has room for.
uint64_t gc_nursery_limit(const gc_config *config);
// Whether what is born first is young. By itself not before the first flip: what a program makes first, it keeps. But then a heap grows by its headroom before
// anything is freed, so a small program may ask for it.
bool gc_nursery_opens_on(const gc_heap *heap);
void gc_nursery_open(gc_heap *heap);
// In the pause, after the harvest: whether generations have been switched off, so that there is nothing more to do.
bool gc_nursery_gives_up(gc_heap *heap, uint64_t spent_ns, uint64_t dirty_pages);
// In the pause, at its end. `zone_ns` of `fixed_ns` went into what counts as old in the zone.
void gc_nursery_minor_ended(gc_heap *heap, uint64_t pause_ns, uint64_t fixed_ns, uint64_t zone_ns, uint64_t aged, uint64_t promoted);
// At the end of a major cycle: what it cost, and what it freed.
void gc_nursery_major_ended(gc_heap *heap, uint64_t ns, uint64_t freed);
// Whether the next flip had better switch generations on again. By who flips.
bool gc_nursery_wants_trial(const gc_heap *heap);
// Now and then, by mutators: are they to be switched on between two flips, as soon as writes are tracked (trial_due)?
void gc_nursery_look(gc_heap *heap);
// In a flip's pause: whether there was no minor cycle since the last flip, at which they were switched on: the program hardly allocates, but pays for first
// writes. Then they are off.
void gc_nursery_flips(gc_heap *heap);
// In a pause: they are on.
void gc_nursery_try(gc_heap *heap);
// In a pause: they are off, after minor cycles that cost so much, so that they are tried again some time later.
void gc_nursery_switch_off(gc_heap *heap, uint64_t cost_ns);

#endif
