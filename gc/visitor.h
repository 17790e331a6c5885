// SPDX-License-Identifier: MIT
// visitor.h: what a trace callback reports to.

#ifndef GC_VISITOR_H
#define GC_VISITOR_H

#include "gc/scan.h"

struct gc_visitor {
  const gc_heap *heap;
  const gc_type *type;
  char *data;         // alias of the object's start
  char *base, *limit; // alias: the slots wanted
  size_t bytes;       // of the object
  gc_slot_fn *visit;
  void *arg;
};

// Reports the slot at byte `offset`; aborts if it is outside the object or not aligned.
void gc_visit(gc_visitor *visitor, size_t offset);

#endif
