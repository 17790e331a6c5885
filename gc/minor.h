// SPDX-License-Identifier: MIT
// minor.h: what the parts of a minor cycle share: minor.c, the cycle; survive.c, forwarding and scanning; birth.c,
// where survivors go; crew.c, several threads at it; remember.c, old pages; young_large.c, large objects.

#ifndef GC_MINOR_H
#define GC_MINOR_H

#include "gc/young.h"

enum {
  GC_AHEAD = 16,    // slots whose referents are on their way; a power of two
  GC_MINOR_DONE = 1 // the epoch of what was moved, marked or pinned in this cycle; all others have 0
};

// What one worker has of a minor cycle, in the pause. Its own; the cycle's owner reads the figures when all have ended.
typedef struct gc_minor {
  gc_heap *heap;
  unsigned index;          // among gc_heap.workers
  bool shared;             // there may be other workers
  bool listed;             // of the first worker: the list of pages is made
  bool old;                // what is being scanned is old: a pointer that stays young is to be remembered
  bool fresh;              // it is a copy that nobody else has seen
  bool zone_full;          // it has no block left for survivors: they are promoted
  bool tenure;             // gc_heap.tenure.now, constant
  bool unheld;             // nothing in the zone counts as old. No major cycle was under way at the beginning; one may have ended since
  uintptr_t large_base;    // where large objects lie, if some are young …
  size_t large_span;       // … else 0
  gc_birth survivors[GC_SORTS];
  gc_seen ahead[GC_AHEAD]; // a ring of slots that hold young pointers
  unsigned ahead_first, ahead_last;
  uint32_t written_block; // of the harvest: the block whose written pages are being counted, or GC_NONE
  unsigned written_pages;
  uint64_t born; // blocks taken for what is promoted
  uint64_t survived, promoted, scanned;
  char pad[64];
} gc_minor;

static inline bool gc_minor_is_done(uint64_t header) { return gc_header_epoch(header) == GC_MINOR_DONE; }

// ---- birth.c
// A cell of `bytes` for a survivor, where the page has no room; NULL: no memory.
char *gc_birth_take_slow(gc_minor *minor, gc_birth *birth, unsigned sort, bool promote, size_t bytes);
static inline char *gc_birth_take(gc_minor *minor, gc_birth *birth, unsigned sort, bool promote, size_t bytes) {
  char *cell = birth->free;
  if (__builtin_expect((size_t)(birth->end - cell) >= bytes, 1)) {
    birth->free = cell + bytes;
    __builtin_prefetch(cell + 512, 1); // the atomic operation on the original's header waits for all stores before it
    return cell;
  }
  return gc_birth_take_slow(minor, birth, sort, promote, bytes);
}
// The same for an object that is aligned.
char *gc_birth_take_aligned(gc_minor *minor, gc_birth *birth, unsigned sort, bool promote, size_t bytes, size_t align);
// Another worker was quicker: the cell is none.
void gc_birth_return(const gc_heap *heap, gc_birth *birth, char *cell, size_t bytes);
// Before the worker's first cell: what it promoted in earlier cycles has been scanned. After its last: tops are
// written.
void gc_births_begin(gc_minor *minor);
void gc_births_end(gc_minor *minor);
// Cells that have not been scanned: those that begin in [*at, *end), of one page; or false. They are the caller's to
// scan.
bool gc_birth_next(gc_heap *heap, gc_birth *birth, char **at, const char **end);
// The same for a block that was left: those at or behind *at, which the caller advances to *end.
bool gc_birth_rest(gc_heap *heap, uint32_t block, char **at, const char **end);

// ---- survive.c
// Where the young object is from now on.
uintptr_t gc_minor_forward(gc_minor *minor, uintptr_t ref);
// It stays where it is. False: it was moved, or was to stay already.
bool gc_minor_stay(gc_minor *minor, gc_cell cell, uint64_t header);
// The object's slots in [base, limit) of the alias; with minor->old, young pointers that stay are remembered. Some may
// be forwarded later, at gc_minor_drain.
void gc_minor_cell(gc_minor *minor, gc_cell cell, uint64_t header, char *base, char *limit);
struct gc_cover;
// The same for a cell that covers the start of a page, and whose own page may be parked.
void gc_minor_cover(gc_minor *minor, const struct gc_cover *cover, char *base, char *limit);
void gc_minor_cell_whole(gc_minor *minor, gc_cell cell, uint64_t header);
void gc_minor_drain(gc_minor *minor); // before `old` or `fresh` changes
// Scans what the worker itself has copied, to the end. False: there was nothing.
bool gc_minor_scan_own(gc_minor *minor);
// Scans what is left of a block that somebody has copied to.
void gc_minor_scan_block(gc_minor *minor, uint32_t block);

// ---- crew.c
void gc_crew_begin(gc_heap *heap);     // the caller is the first worker, and alone
void gc_crew_open(gc_minor *minor);    // others may join, if there are any; not before the list of pages is made
void gc_crew_work(gc_minor *minor);    // until nothing is left for anybody; then only the caller works
unsigned gc_crew_count(gc_heap *heap); // who took part, the caller included

// ---- remember.c
void gc_remembered_harvest(gc_minor *minor); // Dirty adds to REMEMBERED
// What was written until now is no news to the next harvest: of `count` blocks, or fewer, from `from` on. Where to go on, or GC_NONE: there are no more. In the
// background, or in the pause.
uint32_t gc_remembered_arm(gc_heap *heap, uint32_t from, uint32_t count);
void gc_remembered_check(gc_heap *heap);     // gc.remembered; before anything is promoted
void gc_remembered_none(gc_heap *heap);      // nothing is
void gc_remembered_list(gc_minor *minor);    // makes the list of pages to scan; they are REMEMBERED no more
void gc_remembered_scan(gc_minor *minor);    // pages of the list, with all other workers
void gc_remembered_page(gc_minor *minor, size_t page);
void gc_flip_survivors_scan(gc_minor *minor); // gc.zone

// ---- hot.c
bool gc_is_hot(const gc_heap *heap, uint32_t block);                // it is not harvested
void gc_hot_written(gc_heap *heap, uint32_t block, unsigned pages); // a harvest found so many of its pages written
void gc_hot_begin(gc_heap *heap);                                   // their pages are REMEMBERED
void gc_hot_end(gc_heap *heap);                                     // after the scan: who is not any more?
void gc_hot_flip(gc_heap *heap);                                    // in a flip: none is

// ---- young_large.c
void gc_young_large_begin(gc_minor *minor);
// The object is reached, from a reference or from an ambiguous root.
void gc_young_large_reach(gc_minor *minor, gc_cell cell, uint64_t header);
bool gc_young_large_scan(gc_minor *minor); // one that was reached. False: none is waiting
void gc_young_large_end(gc_minor *minor);  // who was not reached is dead, who was is older

#endif
