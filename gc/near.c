// SPDX-License-Identifier: MIT
// near.c: what lies beside an object goes with it.
//
// Referents that lie close to the original in from-space are copied right behind the copy, and their slots forwarded,
// before the scan goes on. So objects that were born together, or were brought together by an earlier cycle, stay
// together, in whatever order pages are scanned. Breadth first, as Cheney has it, tears a cluster apart in one cycle.
// Moon (1984) and Wilson, Lam and Moher (1991) copy some levels of what an object refers to; here its address tells
// what belongs to it, so strangers do not get in between and a random graph pays only the comparison. A page of such
// copies has few slots left to look up when its own turn comes, which is what makes a trap short.
//
// The seed and its cluster have to be neighbours again: no other copy may come between, and a cluster that is cut off
// half-way stays cut.
//
// Run by whoever scans. Waits for nobody.

#include "gc/near.h"

static void word_note(const gc_heap *heap, gc_copier *copier, uintptr_t from, const gc_type *type, char *slot) {
  AO_t volatile *at = (AO_t volatile *)slot;
  uint64_t word = at_load(at), tag;
  gc_near_slot(heap, copier, from, at, word, type != NULL ? gc_word_decode(type, word, &tag) : word);
}

void gc_near_note_rest(const gc_heap *heap, gc_copier *copier, const gc_type *type, uintptr_t from, char *data, size_t length) {
  if (type->layout == GC_LAYOUT_TRACE) {
    return; // only its callback knows
  }
  if (type->layout == GC_LAYOUT_DENSE) { // often: objects of two pointers
    size_t slots = length * type->size / 8;
    for (size_t i = 0; i < slots && i < NEAR_SLOTS; i++) {
      AO_t volatile *at = (AO_t volatile *)data + i;
      uint64_t word = at_load(at);
      gc_near_slot(heap, copier, from, at, word, word);
    }
    return;
  }
  size_t left = NEAR_SLOTS;
  for (size_t i = 0; i < type->fixed_count && left > 0; i++, left--) {
    bool plain = (type->fixed_offsets[i] & GC_FIXED_PLAIN) != 0;
    word_note(heap, copier, from, plain ? NULL : type, data + (type->fixed_offsets[i] & ~(size_t)GC_FIXED_PLAIN));
  }
  data += type->fixed;
  for (size_t e = 0; e < length && left > 0 && type->count != 0; e++, data += type->size) {
    for (size_t i = 0; i < type->count && left > 0; i++, left--) {
      word_note(heap, copier, from, type, data + type->offsets[i]);
    }
  }
}
