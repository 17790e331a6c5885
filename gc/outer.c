// SPDX-License-Identifier: MIT
// outer.c: words outside of the heap that refer to objects.
//
// Neighbours: links.c and table_cycle.c have the words; scanners, the sweep and minor cycles call in the order given here. Reading: mutators.
//
// [gc.freeze] A word that is read before the freeze forwards what it refers to, so that lives; after the freeze it is
// NULL if nothing had reached that, for everybody and for ever. The freeze is the end of the scanning, for which nothing
// may be grey, and nobody may be about to forward: who reads what nothing has reached yet counts himself in `opened`
// (gc.count) before he looks at the phase, so either he is in time, or the cycle ends before he forwards. Who sees that
// an end is tried does not know which, and waits for the outcome (`frozen`). What was reached is read without being
// counted: that changes nothing, and tables are traced until nobody was counted meanwhile (gc.pairs).
// [gc.links] From a flip on a word may hold a reference to from-space, until it is forwarded or settled; nobody but
// gc_outer_read shows it to a mutator. When all are settled the sweep waits until whoever looked at a header of
// from-space for a word is done with it (gc_grace_wait), and frees.

#include "gc/outer.h"
#include "gc/alloc.h"
#include "gc/gc.h"
#include "gc/links.h"
#include "gc/minor.h"
#include "gc/near.h"
#include "gc/scan.h"
#include "gc/sweep.h"
#include "gc/table.h"
#include "gc/wait.h"

enum { MINOR_PASSES = 8 }; // over the entries that are young; then those that are left count as reached, for no pause may be as long as a chain

bool gc_outer_is_logged(const gc_heap *heap, uintptr_t view) { return gc_in_young_zone(heap, view) || gc_is_young_large(heap, view); }

// An object that is about to be born behind a floor is no from-space, though its block is (gc.tlab).
static bool is_behind_floor(const gc_heap *heap, uintptr_t view, gc_cell cell) {
  return !gc_is_large(heap, gc_block_of(heap, view)) && (gc_flags(heap, gc_block_of(heap, view)) & GC_BLOCK_FLOOR) &&
         gc_floor_at(heap, gc_view_of(heap, cell.alias)) != NULL;
}

uintptr_t gc_outer_resolved(gc_heap *heap, uintptr_t view) {
  gc_cell cell = gc_ref_cell(heap, (gc_ref){view});
  if (gc_is_cold(heap, gc_block_of(heap, view)) || gc_is_aside(heap, gc_block_of(heap, view))) {
    return gc_aside_is_marked(heap, view) || is_behind_floor(heap, view, cell) ? view : 0;
  }
  uint64_t header = gc_header_read(heap, cell);
  if (gc_is_done(heap, header)) {
    return gc_cell_ref(heap, gc_peer_cell(heap, header), header).view;
  }
  return gc_still_is_marked(heap, view) || is_behind_floor(heap, view, cell) ? view : 0;
}

uintptr_t gc_outer_forwarded(gc_heap *heap, gc_copier *copier, AO_t volatile *word, uintptr_t view) {
  uintptr_t now = gc_forward(heap, copier, (gc_ref){view}).view;
  if (now != view) {
    at_cas_full(word, view, now); // or what stands there now was written since, and is as good
  }
  return now;
}

// Where it is, if it was reached or is no from-space. From-space stays readable until the copier is left (gc.links).
static uintptr_t look(gc_heap *heap, AO_t volatile *word) {
  gc_copier *copier = gc_copier_take(heap);
  gc_copier_enter(copier);
  bool settled = at_load_acquire(&heap->outer_settled) == heap->cycle;
  uintptr_t view = at_load_acquire(word);
  view = !settled && gc_is_from(heap, view) ? gc_outer_resolved(heap, view) : view;
  gc_copier_leave(copier);
  gc_copier_give(heap, copier);
  return view;
}

static uintptr_t forward_now(gc_heap *heap, AO_t volatile *word) {
  sigset_t saved;
  os_signals_block(&saved); // a handler of the program might touch a page that is being veiled, and wait for this thread
  gc_copier *copier = gc_copier_take(heap);
  gc_copier_enter(copier);
  uintptr_t view = at_load_acquire(word);
  view = gc_is_from(heap, view) ? gc_outer_forwarded(heap, copier, word, view) : view;
  gc_copier_leave(copier);
  gc_copier_give(heap, copier);
  os_signals_restore(&saved);
  return view;
}

// In time before the freeze: forwards it. False: it is over, or somebody tries to end it just now.
static bool read_in_time(gc_heap *heap, AO_t volatile *word, uintptr_t *view) {
  at_add_full(&heap->opened, 1); // then the phase (gc.freeze)
  bool in_time = gc_phase_now(heap) == GC_SCANNING;
  if (in_time) {
    *view = forward_now(heap, word);
  }
  at_add_full(&heap->cleaned, 1);
  return in_time;
}

static uintptr_t read_in_cycle(gc_heap *heap, AO_t volatile *word) {
  for (unsigned looks = 0;; gc_wait(&looks)) {
    bool frozen = at_load_acquire(&heap->outer_frozen) == heap->cycle; // asked first: then what was not reached is so for good
    uintptr_t view = look(heap, word);
    if (view != 0 || frozen || at_load_acquire(word) == 0 || read_in_time(heap, word, &view)) {
      return view;
    }
  }
}

// True: the word holds this, and it is no from-space.
static bool is_plain(gc_heap *heap, AO_t volatile *word, uintptr_t *view) {
  for (;;) {
    *view = at_load_acquire(word);
    if (gc_is_from(heap, *view)) {
      return false;
    }
    at_fence_full();
    if (at_load(word) == *view) { // else its block may have been from-space when it was read, and be free by now
      return true;
    }
  }
}

uintptr_t gc_outer_read(gc_heap *heap, AO_t volatile *word) {
  uintptr_t view;
  return is_plain(heap, word, &view) ? view : read_in_cycle(heap, word);
}

uintptr_t gc_outer_peek(gc_heap *heap, AO_t volatile *word) {
  uintptr_t view;
  return is_plain(heap, word, &view) ? view : look(heap, word);
}

// ---- Cycles.

void gc_outer_flip(gc_heap *heap) {
  gc_links_flip(heap);
  gc_tables_flip(heap);
}

bool gc_outer_finish(gc_heap *heap) {
  // What a finalizer's object is the key of comes after it: so tables again.
  return gc_tables_finish(heap) && gc_links_finish(heap) && gc_outer_finished(heap);
}

bool gc_outer_finished(const gc_heap *heap) { return gc_tables_finished(heap); }

void gc_outer_settle(gc_heap *heap) {
  at_store_release(&heap->outer_frozen, heap->cycle);
  bool any = gc_links_settle(heap);
  any = gc_tables_settle(heap) || any; // after links: these know which tables are dead
  at_store_release(&heap->outer_settled, heap->cycle);
  if (any) {
    gc_grace_wait(heap); // gc.links
  }
}

// ---- Minor cycles: the world is stopped, but scanners and a sweep are not.

uintptr_t gc_outer_survivor(gc_heap *heap, uintptr_t view) {
  gc_cell cell = gc_ref_cell(heap, (gc_ref){view});
  uint64_t header = gc_header_read(heap, cell);
  if (!gc_minor_is_done(header)) {
    return 0;
  }
  return gc_is_large(heap, gc_block_of(heap, view)) ? view : gc_cell_ref(heap, gc_peer_cell(heap, header), header).view;
}

void gc_outer_minor_begin(gc_minor *minor) { gc_links_minor_begin(minor); }

static void tables_trace(gc_minor *minor) {
  for (unsigned pass = 1; gc_tables_minor_trace(minor, pass > MINOR_PASSES); pass++) {
    gc_crew_work(minor);
  }
}

void gc_outer_minor_end(gc_minor *minor) {
  minor->listed = false; // all others have left, and nobody may come any more: the crew is closed (gc.crew)
  tables_trace(minor);
  if (gc_links_minor_finals(minor)) {
    gc_crew_work(minor);
    tables_trace(minor);
  }
  gc_links_minor_settle(minor->heap);
  gc_tables_minor_settle(minor->heap);
}
