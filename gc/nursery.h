// SPDX-License-Identifier: MIT
// nursery.h: how large the nursery is, and whether there had better be none: numbers in, decision out.

#ifndef GC_NURSERY_H
#define GC_NURSERY_H

#include "gc/heap.h"

// Bytes.
enum { GC_NURSERY_LEAST = 512 << 10, GC_NURSERY_TRIAL = 1 << 20, GC_NURSERY_USUAL = 8 << 20, GC_NURSERY_MOST = 32 << 20 };

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

// What both kinds of cycles cost, and what they freed.
typedef struct gc_yield {
  uint64_t minor_ns, minor_freed;
  uint64_t major_ns, major_freed;
} gc_yield;
// Whether minor cycles free memory for less than major ones do.
bool gc_generations_pay(const gc_yield *in);
// Whether they cannot, not even if all of `most_freed` bytes, which are born while they are judged, were to die.
bool gc_generations_hopeless(const gc_yield *in, uint64_t most_freed);

// Whether the next minor cycle had better promote what was born since this one, of whose `taken` bytes (of eden) `stayed` were copied: `now` and `stays` (cycles running in
// which nearly all stayed; changed) are what was so until now. What a cycle says by itself may be a passing phase; where it is one that ends, that is seen at once.
bool gc_nursery_tenures(bool now, unsigned *stays, uint64_t taken, uint64_t stayed);

// ---- On a heap.

// The largest nursery that there may ever be, from the options: what the zone has room for.
uint64_t gc_nursery_limit(const gc_config *config);
void gc_nursery_open(gc_heap *heap);
// In the pause, after the harvest: whether generations have been switched off, so that there is nothing more to do.
bool gc_nursery_gives_up(gc_heap *heap, uint64_t spent_ns, uint64_t dirty_pages);
// In the pause, at its end. Bytes: what was copied within the zone, and what out of it.
void gc_nursery_minor_ended(gc_heap *heap, uint64_t pause_ns, uint64_t fixed_ns, uint64_t aged, uint64_t promoted);
// At the end of a major cycle: what it cost, and what it freed.
void gc_nursery_major_ended(gc_heap *heap, uint64_t ns, uint64_t freed);
// Whether the next flip had better switch generations on again.
bool gc_nursery_wants_trial(const gc_heap *heap);
// In a flip's pause, with generations.
void gc_nursery_flip(gc_heap *heap);

#endif
