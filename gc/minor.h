// SPDX-License-Identifier: MIT
// minor.h: what the parts of a minor cycle share: birth.c, where survivors go; minor.c, forwarding and the cycle; remember.c, old pages.

#ifndef GC_MINOR_H
#define GC_MINOR_H

#include "gc/young.h"

enum { GC_AHEAD = 16 }; // slots whose referents are on their way; a power of two

// One cycle, in the pause.
typedef struct gc_minor {
  gc_heap *heap;
  gc_birth survivors[2]; // [1]: leaf objects
  bool old;              // what is being scanned is old: a pointer that stays young is to be remembered
  bool fresh;            // it is a copy that nobody else has seen
  bool zone_full;        // it has no block left for survivors: they are promoted
  unsigned born;         // blocks taken for what is promoted
  bool unheld;           // no major cycle was under way at the beginning; one may have ended since
  gc_seen ahead[GC_AHEAD]; // a ring of slots that hold young pointers
  unsigned ahead_first, ahead_last;
  uint64_t survived, promoted, scanned;
} gc_minor;

// ---- birth.c
// A cell of `bytes` for a survivor, where the page has no room; NULL: no memory.
char *gc_birth_take_slow(gc_minor *minor, gc_birth *birth, bool leaf, bool promote, size_t bytes);
static inline char *gc_birth_take(gc_minor *minor, gc_birth *birth, bool leaf, bool promote, size_t bytes) {
  char *cell = birth->free;
  if (__builtin_expect((size_t)(birth->end - cell) >= bytes, 1)) {
    birth->free = cell + bytes;
    return cell;
  }
  return gc_birth_take_slow(minor, birth, leaf, promote, bytes);
}
// Before the cycle: what was promoted in earlier ones has been scanned. After it: tops are written.
void gc_births_begin(gc_minor *minor);
void gc_births_end(gc_minor *minor);
// Cells that have not been scanned, [*at, *end) of one page, or false. They are the caller's to scan; where they end is birth->scan then.
bool gc_birth_next(gc_heap *heap, gc_birth *birth, char **at, const char **end);

// ---- minor.c
// The object's slots in [base, limit) of the alias; with minor->old, young pointers that stay are remembered. Some may be forwarded later, at gc_minor_drain.
void gc_minor_cell(gc_minor *minor, gc_cell cell, uint64_t header, char *base, char *limit);
void gc_minor_cell_whole(gc_minor *minor, gc_cell cell, uint64_t header);
void gc_minor_drain(gc_minor *minor); // before `old` or `fresh` changes

// ---- remember.c
void gc_remembered_harvest(gc_minor *minor); // Dirty adds to REMEMBERED
void gc_remembered_check(gc_heap *heap);     // gc.remembered; before anything is promoted
void gc_remembered_scan(gc_minor *minor);
void gc_flip_survivors_scan(gc_minor *minor); // gc.zone

#endif
