// SPDX-License-Identifier: MIT
// parked.h: pages whose contents are away, and what the collector keeps of them (gc.parked).
//
// Bookmarks, after Hertz, Feng and Berger (PLDI 2005): before a service takes a page's contents away, what the page refers to is put down beside it. A cycle
// traces and updates these *notes*, and never has the contents put back. Their memory is the service's; gc_heap.notes says where they are.
//
// A block with parked pages is *cold* for the whole of a cycle, from the flip on: what lives in it stays where it is, and is marked aside.

#ifndef GC_PARKED_H
#define GC_PARKED_H

#include "gc/alloc.h"
#include "gc/block.h"
#include "gc/scan.h"

// In gc_heap.parked, a byte per block: how many of its pages are parked; whether a mutator may be filling it, or a minor cycle; and of this cycle: GC_COLD, and whether
// it waits in the stack of grey blocks.
enum { GC_PARKED_PAGES = 31, GC_FILLED = 32, GC_QUEUED = 128 };

static inline bool gc_is_parked(const gc_heap *heap, size_t page) {
  return __builtin_expect(at_load(&heap->parked_pages) != 0, 0) && at_load_acquire(&heap->notes[page]) != 0;
}

// Of the block a mutator, or a minor cycle, takes what is free: nothing there is going to be parked before the next sweep. False: something is.
bool gc_parked_fill(gc_heap *heap, uint32_t block);
// The same of one page of a leaf block, and of those that it hangs together with (gc.filled). False: one of them is parked, or away for another reason.
bool gc_parked_fill_page(gc_heap *heap, size_t page);
// Whether somebody fills the page, or one that it hangs together with. Asked after the page's ABSENT was laid.
bool gc_is_filled(const gc_heap *heap, size_t page);

// Why a page cannot be parked now.
typedef enum gc_park_refusal {
  GC_PARK_CYCLE,  // a cycle is under way, or about to be
  GC_PARK_HELD,   // the claim has ended, or is being settled
  GC_PARK_YOUNG,  // it is the nursery's, or refers to something young, or into the nursery's zone
  GC_PARK_FRESH,  // its block has not been through a cycle, or that or the page has been filled since (gc.filled)
  GC_PARK_HEAD,   // it holds the header of a large object, or one of the two words of an array's whose other one is on the next page
  GC_PARK_TRACED, // an object has a trace callback
  GC_PARK_TOKEN,  // its words hold each of the numbers of which one is to stand for a reference
  GC_PARK_UNSAVED, // it is to be saved before a header on it is changed
  GC_PARK_ROOM,   // the notes do not fit
  GC_PARK_REFUSALS
} gc_park_refusal;

// Parks a page that carries ABSENT, for which the caller answers, and whose contents are there still. `notes`: `room` bytes, aligned to 8, the collector's from now on. Returns how many it uses; 0: not now, and
// nothing has changed but gc_heap.park_refused. Any thread that may not be stopped meanwhile.
size_t gc_park(gc_heap *heap, size_t page, void *notes, size_t room);
// While ABSENT is being settled, by who does so, when the contents are back: puts the references back. False: it was not parked. Async-signal-safe.
bool gc_unpark(gc_heap *heap, size_t page);
// By who holds the page: puts its references, as they are by now, where tokens stand in `contents`: what gc_park has left of them, or a copy of that, aligned to 8. The page stays parked. False: it is not.
bool gc_parked_put(gc_heap *heap, size_t page, char *contents);
// Moves a parked page's notes to other memory, where there is room for them. False: it is not parked, or not any more. As gc_park.
bool gc_parked_move(gc_heap *heap, size_t page, void *notes);

// In a flip, before the first root is looked at: which blocks are cold. No page is parked from gc_parked_close on until the cycle is over.
void gc_parked_close(gc_heap *heap);
void gc_parked_flip(gc_heap *heap);
// Likewise, when floors are known, in a cycle that moves: blocks that are asleep are cold, too (gc.asleep).
void gc_asleep_flip(gc_heap *heap);
// A service says that what lives in the block is not touched for long. Any thread, at any time.
void gc_asleep(gc_heap *heap, uint32_t block);

// The pages of the block, [*first, *end), that `page` hangs together with, since cells reach from one into the next.
void gc_cold_group(const gc_heap *heap, size_t page, size_t *first, size_t *end);
// Whether anything is marked there.
bool gc_cold_any(const gc_heap *heap, size_t first, size_t end);

// Scans a parked page that is grey by its notes.
typedef enum gc_parked_scanned {
  GC_PARKED_MISSED, // somebody holds it, or it is not grey any more
  GC_PARKED_DONE,   // it is black, and parked still
  GC_PARKED_TAKEN,  // as if vm_take had taken it: it is not parked any more
} gc_parked_scanned;
gc_parked_scanned gc_parked_scan(gc_heap *heap, gc_copier *copier, size_t page);

// Whether the page of this address is parked; then `cell` is where the cell begins that may hold the address, alias NULL if there is none.
bool gc_parked_find(gc_heap *heap, uintptr_t address, gc_cell *cell);

// The page's contents are dead, and so are its notes: nobody is at them.
void gc_parked_drop(gc_heap *heap, size_t page);

// For the verifier: calls `cell` for each cell that begins on the page, fillers apart, and `ref` for each reference. False: the page is not parked.
typedef void gc_parked_cell_fn(void *arg, gc_cell cell);
typedef void gc_parked_ref_fn(void *arg, uintptr_t view);
bool gc_parked_visit(gc_heap *heap, size_t page, gc_parked_cell_fn *cell, gc_parked_ref_fn *ref, void *arg);

// The cell that covers the start of a page, whether its own page is parked or not: `header` 0 if there is none, or the sweep has just cleared it.
typedef struct gc_cover {
  gc_cell cell;
  uint64_t header;
  size_t length; // of an array; else 1
} gc_cover;
gc_cover gc_page_cover_slow(const gc_heap *heap, gc_cell cell);
static inline gc_cover gc_page_cover(const gc_heap *heap, size_t page) {
  gc_cell cell = gc_page_covering(heap, page);
  return cell.alias != NULL ? gc_page_cover_slow(heap, cell) : (gc_cover){cell, 0, 0};
}
// Its slots that lie in [base, limit) of the alias.
void gc_cover_visit(const gc_heap *heap, gc_cover cover, char *base, char *limit, gc_slot_fn *visit, void *arg);
// Bytes of the cell, if there is one.
static inline size_t gc_cover_bytes(gc_cover cover) {
  const gc_type *type = gc_type_at(gc_header_type(cover.header));
  if (gc_header_type(cover.header) == GC_FILLER) {
    return (cover.header & GC_PEER_MASK) * GC_UNIT;
  }
  size_t extra = cover.header & GC_EXTRA ? GC_UNIT : 0;
  return extra + (cover.header & GC_ARRAY ? gc_round_cell(16 + type->fixed + cover.length * type->size) : type->cell);
}

#endif
