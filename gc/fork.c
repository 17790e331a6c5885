// SPDX-License-Identifier: MIT
// fork.c: what the collector has to put in order in a child of fork, and what need not be frozen for it.
//
// Neighbours: runtime/fork.c calls. gc_fork_spares: any thread; the rest: the child's only thread, with a copy of the memory.

#include <string.h>
#include "gc/aside.h"
#include "gc/block.h"
#include "gc/copier.h"
#include "gc/gc.h"

bool gc_fork_spares(const gc_heap *heap, size_t page) {
  uint32_t block = gc_page_block(heap, page);
  return gc_space(heap, block) != 0 && (gc_flags(heap, block) & GC_BLOCK_LEAF);
}

void gc_fork_child(gc_heap *heap) {
  VM_CHECK(at_load(&heap->large_lock) == 0 && at_load(&heap->links.lock) == 0 && at_load(&heap->weak.lock) == 0 && at_load(&heap->weak.growing) == 0 && at_load(&heap->weak.tracing) == 0 && at_load(&heap->trim_lock) == 0 &&
               (gc_phase_now(heap) == GC_IDLE || gc_phase_now(heap) == GC_SCANNING),
           "the process was forked in the middle of something: phase %d", (int)gc_phase_now(heap));
  // Those of scanners, which were between two units of work: their OPEN pages are scanned like anybody's.
  for (unsigned i = 0; i < GC_COPIERS; i++) {
    VM_CHECK((at_load(&heap->copiers[i].tick) & 1) == 0, "the process was forked while copier %u was at objects", i);
    if (at_load(&heap->copiers[i].taken)) {
      gc_copier_give(heap, &heap->copiers[i]);
    }
  }
}

void gc_fork_buffer(gc_heap *heap, char *start, char *limit) {
  char *at = start;
  unsigned cells = 0;
  while (at < limit) {
    gc_cell cell = {at + heap->delta};
    uint64_t header = gc_header_read(heap, cell);
    if (header == 0) {
      break;
    }
    cells += gc_header_type(header) != GC_FILLER;
    at += gc_cell_size(cell, header);
  }
  gc_cells_add(heap, gc_block_of(heap, (uintptr_t)start), cells);
  if (at < limit) {
    gc_before_write(heap, at + heap->delta, (size_t)(limit - at));
    memset(at + heap->delta, 0, (size_t)(limit - at));
  }
}
