// SPDX-License-Identifier: MIT
// hash.c: identity hashes: numbers that stay with objects that move.
//
// Who never asks pays nothing for it. The hash is made from the address when it is first asked for, and a bit of the
// header says so. The object's next copy is longer by a unit, where that hash is kept (Agesen, 1999). A header changes
// under a mutator's hands only where the collector uses a CAS; and an original is no mutator's.

#include "gc/copier.h"
#include "gc/gc.h"
#include "gc/scan.h"

uint64_t gc_hash(gc_heap *heap, uintptr_t view) {
  gc_cell cell = gc_ref_cell(heap, (gc_ref){view});
  uint64_t hash = gc_view_hash(heap, view);
  gc_copier *copier = gc_copier_take(heap); // services wait for us, as for any collector thread
  gc_copier_enter(copier);
  for (;;) {
    uint64_t header = gc_header_read(heap, cell);
    if (header & GC_EXTRA) {
      size_t bytes = gc_cell_size(cell, header);
      gc_before_read(heap, cell.alias, bytes);
      hash = at_load((AO_t volatile *)(cell.alias + bytes - 8));
      break;
    }
    gc_before_write(heap, cell.alias, 8);
    if ((header & GC_HASHED) || at_cas_full((AO_t volatile *)cell.alias, header, header | GC_HASHED)) {
      break;
    }
  }
  gc_copier_leave(copier);
  gc_copier_give(heap, copier);
  return hash;
}
