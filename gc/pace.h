// SPDX-License-Identifier: MIT
// pace.h: when a cycle starts, who helps, what is kept in reserve. Numbers in, decision out.

#ifndef GC_PACE_H
#define GC_PACE_H

#include "gc/heap.h"

void gc_pace_opened(gc_heap *heap);
void gc_pace_flipped(gc_heap *heap);
void gc_pace_swept(gc_heap *heap);

// Blocks to hold ready and veiled for the copies of the next cycle.
uint64_t gc_pace_reserve(const gc_heap *heap);
// Blocks with memory but without objects that are worth keeping, the reserve included.
uint64_t gc_pace_keep(const gc_heap *heap);

#endif
