// SPDX-License-Identifier: MIT
// ref.h: one-word types that cannot be confused: a reference, a cell, a slot.
//
// A gc_ref is an address in the view, as mutators hold it; it is never followed here. A gc_cell and a
// gc_slot are addresses in the alias, where the collector reads and writes (gc.alias).

#ifndef GC_REF_H
#define GC_REF_H

#include "vm/atomic.h"

typedef struct gc_ref {
  uintptr_t view; // the start of an object
} gc_ref;

typedef struct gc_cell {
  char *alias; // its header
} gc_cell;

typedef struct gc_slot {
  AO_t volatile *alias;
} gc_slot;

#endif
