// SPDX-License-Identifier: MIT
// near.h: the copier's ring of slots whose referents are to be copied next. Why, says near.c.

#ifndef GC_NEAR_H
#define GC_NEAR_H

#include "gc/alloc.h"
#include "gc/forward.h"
#include "gc/young.h"

enum {
  NEAR_DISTANCE = 4096, // bytes, in either direction
  NEAR_SLOTS = 16,      // the first so many of an object
  // Bytes that the scan of a page copies this way: a list whose nodes lie one behind the other would have no end. With
  // 16 KiB, clusters of 2.5 KiB fell apart over some cycles, because pages that refer to many of them are frequent
  // after a flip.
  NEAR_BYTES = 64 << 10,
};

static inline void gc_near_slot(const gc_heap *heap, gc_copier *copier, uintptr_t from, AO_t volatile *at,
                                uint64_t word, uintptr_t view) {
  if (view - from + NEAR_DISTANCE < 2 * NEAR_DISTANCE && copier->near_last - copier->near_first < GC_NEAR) {
    const char *cell = gc_ref_cell(heap, (gc_ref){view}).alias;
    __builtin_prefetch(cell);
    __builtin_prefetch(cell + 64);
    copier->near[copier->near_last++ % GC_NEAR] = (gc_seen){{at}, word};
  }
}

// For other layouts than the usual one. `data` is the copy's start, `length` that of an array.
void gc_near_note_rest(const gc_heap *heap, gc_copier *copier, const gc_type *type, uintptr_t from, char *data, size_t length);

// Notes the slots of a copy whose referents lie beside the original, if the copier's near_left allows. The copy has
// been published.
static inline void gc_near_note(const gc_heap *heap, gc_copier *copier, gc_cell original, gc_cell copy, uint64_t header,
                                size_t bytes) {
  if (copier->near_left <= 0) {
    return;
  }
  copier->near_left -= (ptrdiff_t)bytes;
  const gc_type *type = gc_type_at(gc_header_type(header));
  uintptr_t from = gc_view_of(heap, original.alias);
  char *data = copy.alias + gc_header_bytes(header);
  if (type->layout == GC_LAYOUT_MAP && !(header & GC_ARRAY)) {
    for (uint32_t i = 0; i < type->count; i++) { // the usual case
      AO_t volatile *at = (AO_t volatile *)(data + type->offsets[i]);
      uint64_t word = at_load(at);
      gc_near_slot(heap, copier, from, at, word, word);
    }
  } else if (type->layout == GC_LAYOUT_DENSE || type->layout == GC_LAYOUT_FLEXIBLE || !(header & GC_ARRAY)) {
    gc_near_note_rest(heap, copier, type, from, data, header & GC_ARRAY ? gc_cell_length(copy) : 1);
  }
}

static inline bool gc_near_any(const gc_copier *copier) { return copier->near_first != copier->near_last; }

// Forwards the slots noted, and those noted meanwhile.
static inline void gc_near_forward(gc_heap *heap, gc_copier *copier) {
  while (gc_near_any(copier)) {
    gc_seen near = copier->near[copier->near_first++ % GC_NEAR];
    uintptr_t view = near.word & GC_ADDRESS_MASK;
    // Somebody may have closed and scanned the copy's page, and mutators written there: only the word that was noted
    // may go.
    if (gc_is_from(heap, view) && at_load(near.slot.alias) == near.word) {
      gc_ref ref = gc_forward(heap, copier, (gc_ref){view});
      if (ref.view != view) {
        gc_before_write(heap, (const char *)near.slot.alias, 8);
        at_cas_full(near.slot.alias, near.word, ref.view | (near.word & ~GC_ADDRESS_MASK));
      }
      gc_remember_slot(heap, near.slot.alias, ref.view);
    }
  }
}

#endif
