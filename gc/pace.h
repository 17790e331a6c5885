// SPDX-License-Identifier: MIT
// pace.h: when a cycle starts, who helps, what is kept in reserve. Numbers in, decision out.

#ifndef GC_PACE_H
#define GC_PACE_H

#include "gc/heap.h"

// What is decided from, in bytes.
typedef struct gc_pace {
  uint64_t live;     // in use after the last cycle
  uint64_t large;    // of it large objects, which are not copied
  uint64_t external; // owned outside the heap then, and still
  uint64_t limit;
  uint64_t soft;     // soft limit; 0: none
  uint64_t headroom;
  unsigned growth;   // percent
} gc_pace;

// The next cycle is due when what is used and what is owned outside reach this: growth and headroom.
uint64_t gc_pace_wish(const gc_pace *in);
// The same while generations pay, so that little garbage gets old: a part of growth, or the headroom, whichever is more.
uint64_t gc_pace_wish_young(const gc_pace *in);
// … and in any case when what is used reaches this, since the copies need room within the limit.
uint64_t gc_pace_most(const gc_pace *in);
// … and when what is used reaches this and the collector is rested, so that the cycle's copies, and what is born in it, stay below the soft limit.
uint64_t gc_pace_soft(const gc_pace *in);
// Cycles for the soft limit's sake take no more than half of the time: since the last one, which `took` so long, as long has passed.
bool gc_pace_rested(uint64_t now_ns, uint64_t ended_ns, uint64_t took_ns);
// What may be born in a cycle before mutators have to help.
uint64_t gc_pace_budget(const gc_pace *in);

// Bytes that may be born between what lives and the next cycle.
uint64_t gc_pace_slack(const gc_heap *heap);

void gc_pace_opened(gc_heap *heap);
void gc_pace_flips(gc_heap *heap);   // before
void gc_pace_flipped(gc_heap *heap); // after
void gc_pace_swept(gc_heap *heap);

// Blocks that the copies of what fills `blocks` now are likely to need.
uint64_t gc_pace_copies(uint64_t blocks);
// Blocks to hold ready and veiled for copies: of this cycle, or of the next one if none is under way.
uint64_t gc_pace_reserve(const gc_heap *heap);
// Of `kept` bytes that the large zone holds, or would hold, without need: what nobody lacks within the limit or the soft limit (gc.kept).
uint64_t gc_pace_kept_room(const gc_heap *heap, uint64_t kept);
// And of that, what is likely to be born before the end of the next cycle: more is not worth keeping.
uint64_t gc_pace_kept(const gc_heap *heap, uint64_t kept);
// A cycle ends that has emptied so many blocks that had been dense once, and found so many dense still, which stay: from what lived there it is estimated what lives in
// those it has spared, and whether sparing pays. After gc_heap.survived_bytes. `gaps`: bytes that are free in blocks that stay still.
void gc_pace_spared(gc_heap *heap, uint64_t emptied, uint64_t dense, uint64_t gaps);
// And whether the next cycle may leave blocks still (gc.still).
void gc_pace_stills(gc_heap *heap, uint64_t emptied);
// The same for leaf blocks that mutators had filled: bytes of these, and how many of them lived. Whether the next cycle marks there (gc.aside).
void gc_pace_leaves(gc_heap *heap, uint64_t filled, uint64_t lived);
// And for the other blocks that they had filled: whether the next cycle leaves such blocks where they are (gc.born).
void gc_pace_born(gc_heap *heap, uint64_t filled, uint64_t lived);
// At a flip: all that is in use would fit twice, with a quarter of the limit left.
bool gc_pace_is_roomy(const gc_heap *heap);
// The same for a cycle that leaves blocks still: what survived the last one would, for what was born since has gaps or copies of its own.
bool gc_pace_is_roomy_still(const gc_heap *heap);
// Blocks with memory but without objects that are worth keeping, the reserve included.
uint64_t gc_pace_keep(const gc_heap *heap);
// The same for a heap that has not been allocated from for a while.
uint64_t gc_pace_keep_idle(const gc_heap *heap);

#endif
