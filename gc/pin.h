// SPDX-License-Identifier: MIT
// pin.h: ambiguous roots hold objects in place (gc.pins).

#ifndef GC_PIN_H
#define GC_PIN_H

#include "gc/scan.h"

// The next cell at or behind `at`, in [at, limit): fills it in and returns where it ends, or NULL if there is none. Fillers are cells.
char *gc_cell_next(const gc_heap *heap, gc_cell at, const char *limit, gc_cell *cell, uint64_t *header);

// Pins what `word` points to, into, or one past the end of, if anything. In the pause, before anything is forwarded.
void gc_pin_word(gc_heap *heap, uintptr_t word);

// Pins every object on the pages of [base, limit), which the kernel uses. In the pause.
void gc_pin_touched(gc_heap *heap, uintptr_t base, uintptr_t limit);

// Scans the pinned objects, so that their pages need no veil. In the pause, after all pins are known.
void gc_pins_scan(gc_heap *heap, gc_copier *copier);

#endif
