// SPDX-License-Identifier: MIT
// flip.h: what the world's upcalls get back while it is stopped: for a flip, or for a minor cycle.

#ifndef GC_FLIP_H
#define GC_FLIP_H

#include "gc/heap.h"

struct gc_flip {
  gc_heap *heap;
  gc_copier *copier;
  struct gc_minor *minor; // NULL: a major cycle's flip
  struct gc_roll *roll;   // census.c: roots are only listed; NULL in a flip and in a minor cycle
  bool clears;            // rollback.c: precise roots are to refer to nothing
};

// A buffer's first byte that no object has: where what is whole ends (gc.tlab). The rest becomes a floor, and its block is marked.
char *gc_floor_make(gc_heap *heap, gc_floor *floors, unsigned *count, char *start, char *free, char *limit);

// minor.c: the same for a minor cycle.
char *gc_minor_buffer(struct gc_minor *minor, char *start, char *free, char *limit);
void gc_minor_lane(struct gc_minor *minor, gc_alloc_lane *lane);
void gc_minor_word(struct gc_minor *minor, uintptr_t word);
void gc_minor_touched(struct gc_minor *minor, uintptr_t base, uintptr_t limit);
void gc_minor_slots(struct gc_minor *minor, uintptr_t *slots, size_t count);

// census.c: the same for a list of roots.
void gc_roll_word(struct gc_roll *roll, uintptr_t where, uintptr_t word);
void gc_roll_touched(struct gc_roll *roll, uintptr_t base);
void gc_roll_slots(struct gc_roll *roll, const uintptr_t *slots, size_t count);

#endif
