// SPDX-License-Identifier: MIT
// relocate.h: pages that were written in another process: their headers name types by other numbers, their references lead to where the view was, or to what was not saved.

#ifndef GC_RELOCATE_H
#define GC_RELOCATE_H

#include "gc/heap.h"

// The last object with a trace callback that was shown as a copy: its other pages are likely to come next. Who finds it taken makes a copy of his own.
typedef struct gc_traced {
  AO_t taken;         // atomic
  size_t page, count; // by who has it
  char *copy;         // NULL: there is none
} gc_traced;

// Constant while pages are read.
typedef struct gc_relocation {
  gc_heap *heap;
  uintptr_t base; // of the view then
  const uint64_t *held; // a bit per block: objects there were put down. Slots that lead to others, and those that are transient, are made zero. NULL: that is so already
  const uint16_t *types; // by the numbers then, those that are now; NULL: the same. 0: there was none
  // Contents of pages, as they were. False: they cannot be had.
  bool (*read)(void *arg, size_t page, size_t count, void *to);
  void *arg;
  gc_traced *traced; // its owner lets go of it by gc_traced_free, when nothing is read any more
} gc_relocation;

static inline bool gc_relocation_is_needed(const gc_relocation *r) { return r->types != NULL || r->base != r->heap->base || r->held != NULL; }

// The cell that covers a page's start, as far as what is on that page needs to know.
typedef struct gc_covering {
  const gc_type *type; // NULL: none does
  uint64_t header;
  size_t length;
  bool length_here;    // `length` is the page's first word
} gc_covering;

// For the first page of a run that is about to be read. It may use that page's memory. The caller holds the run. Traps too. False: what it needs cannot be had.
bool gc_covering_find(const gc_relocation *r, size_t page, gc_covering *out);

void gc_traced_free(const gc_heap *heap, gc_traced *traced);

// Puts a run of pages right, whose contents have just been read to the alias, and which carry ABSENT still. As above.
bool gc_relocate(const gc_relocation *r, size_t page, size_t count, const gc_covering *first);

#endif
