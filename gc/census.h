// SPDX-License-Identifier: MIT
// census.h: every object, every root and every entry of weak tables, for whoever writes down what there is.
//
// Between cycles (GC_IDLE), with the world stopped.

#ifndef GC_CENSUS_H
#define GC_CENSUS_H

#include "gc/gc.h"

// Called for each object, reached or not; never for a filler. The cell's memory may be read up to its end.
typedef void gc_census_fn(void *arg, gc_cell cell, uint64_t header);

// Shared by all threads that work on one census: the bounds are those of its beginning, for memory may be made ready in
// the background meanwhile.
typedef struct gc_census {
  gc_heap *heap;
  uint32_t small, large; // there are objects below the one, and from heap->small_blocks to the other
  AO_t volatile next;
} gc_census;

void gc_census_begin(gc_heap *heap, gc_census *census);

// Looks at the next few blocks. False: none were left. Objects of a call come in the order of their addresses.
bool gc_census_some(gc_census *census, gc_census_fn *fn, void *arg);

// What holds an object from outside of the heap.
typedef struct gc_root {
  unsigned kind;    // as gc_flip_note was told
  uint64_t owner;
  uintptr_t where;  // the word's address
  uintptr_t word;   // what stands there, without tags; ambiguous words may point into the object, or one past its end
  uintptr_t object; // view
} gc_root;
typedef void gc_root_fn(void *arg, const gc_root *root);

// Asks the world for its roots, as a flip would, and changes nothing. Links (links.h) are not among them.
void gc_roots_list(gc_heap *heap, gc_root_fn *fn, void *arg);

// An entry of a weak table (table.h): views.
typedef struct gc_held {
  gc_table_kind kind;
  uintptr_t table, key, value; // `table`: the object that stands for it
} gc_held;
typedef void gc_held_fn(void *arg, const gc_held *entry);

// Those of tables that are not dead, as far as a collection has noticed.
void gc_entries_list(gc_heap *heap, gc_held_fn *fn, void *arg);

#endif
