// SPDX-License-Identifier: MIT
// outer.h: words outside of the heap that refer to objects, of links (links.h) and of weak tables (table.h): how they are read while
// a cycle is under way, and what cycles do about them.

#ifndef GC_OUTER_H
#define GC_OUTER_H

#include "gc/heap.h"

struct gc_minor;

// Where the object is that a word refers to, or 0 if it refers to nothing any more (gc.freeze). The object stays alive as from any other read.
// Mutators that are not stopped meanwhile.
uintptr_t gc_outer_read(gc_heap *heap, AO_t volatile *word);
// The same, but what nothing has reached yet is 0, and is not reached by this.
uintptr_t gc_outer_peek(gc_heap *heap, AO_t volatile *word);

// ---- For cycles (gc/sweep.c, gc/flip.c, gc/minor.c).
void gc_outer_flip(gc_heap *heap); // in the pause
// Nothing is grey: what entries of tables hold, and what is to be finalized, is traced. False: there is more to scan, or somebody else is at it.
bool gc_outer_finish(gc_heap *heap);
// Whether that still holds.
bool gc_outer_finished(const gc_heap *heap);
// The cycle is over, but nothing freed: what refers to what was not reached does so no more. By who sweeps.
void gc_outer_settle(gc_heap *heap);
// In the pause of a minor cycle: what is held, before survivors are scanned; the rest, after that.
void gc_outer_minor_begin(struct gc_minor *minor);
void gc_outer_minor_end(struct gc_minor *minor);

// ---- For links.c and table_cycle.c.
// Where an object of from-space is, if it has been reached; else 0. Between gc_copier_enter and _leave.
uintptr_t gc_outer_resolved(gc_heap *heap, uintptr_t view);
// Forwards it, and the word if it still says so. In GC_SCANNING, by somebody who is counted (gc.count).
uintptr_t gc_outer_forwarded(gc_heap *heap, gc_copier *copier, AO_t volatile *word, uintptr_t view);
// In a minor cycle: where a young object is now; 0: nothing has reached it.
uintptr_t gc_outer_survivor(gc_heap *heap, uintptr_t view);
// Whether a minor cycle may move or free what is there: such words are logged.
bool gc_outer_is_logged(const gc_heap *heap, uintptr_t view);
// The number that says that something is in a log: another after each flip, which empties the logs.
static inline uint32_t gc_outer_stamp(const gc_heap *heap) { return heap->cycle + 1; }

#endif
