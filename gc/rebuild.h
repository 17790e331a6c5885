// SPDX-License-Identifier: MIT
// rebuild.h: reading a description, for who rolls a heap back (rollback.c).

#ifndef GC_REBUILD_H
#define GC_REBUILD_H

#include "gc/describe.h"


// What was in use: the kind of each small block, and a bit for each page. Both were zeros. Nothing else is looked at, and the heap is not changed. False: the sections are damaged.
bool gc_described_uses(const gc_described *from, const gc_heap *heap, uint8_t *kind, uint64_t *used, char *why, size_t why_bytes);

// As gc_rebuild, in a heap in which nothing is in use any more, but which is in use itself: its cycles are counted on, and memory is where it is. False: the sections are damaged, and so is the heap.
bool gc_rebuild_again(gc_heap *heap, const gc_described *from, char *why, size_t why_bytes);

#endif
