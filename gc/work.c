// SPDX-License-Identifier: MIT
// work.c: grey pages, found and scanned: by background scanners and assists in runs, by traps one by one.
//
// Every page passes through vm_take or a trap, so that it is scanned by one thread (gc.onescan). Pages are scanned one at a time and opened in runs.

#include "gc/alloc.h"
#include "gc/defer.h"
#include "gc/gc.h"
#include "gc/links.h"
#include "gc/parked.h"
#include "gc/scan.h"
#include "gc/settle.h"
#include "gc/young.h"

enum { RUN = 16 }; // pages opened by one call to the system

// The processor's own prefetching ends with a page. Only a hint, so whether there is a next page to scan matters little.
static inline void page_prefetch(const gc_heap *heap, size_t page, size_t limit) {
  enum { LINES = 12 }; // then the processor has seen the stream
  const char *at = gc_page_alias(heap, page);
  for (int i = 0; page < limit && i < LINES; i++) {
    __builtin_prefetch(at + 64 * i);
  }
}

// A page whose scan is begun: at most one at a time, so that nobody waits long for it.
typedef struct ahead {
  size_t page; // GC_NONE: none
  uint64_t turns;
} ahead;

static void ahead_finish(gc_heap *heap, gc_copier *copier, ahead *begun) {
  if (begun->page == GC_NONE) {
    return;
  }
  gc_copier_enter(copier);
  gc_page_scan_finish(heap, copier, begun->page, begun->turns);
  gc_copier_leave(copier);
  gc_young_forget(heap, begun->page);
  vm_settled(heap->region, begun->page, VM_UNSCANNED);
  begun->page = GC_NONE;
}

// Takes a grey page; or scans it by its notes, which is counted, and lets it go.
static bool page_take(gc_heap *heap, gc_copier *copier, size_t page, size_t *by_notes) {
  unsigned claims = vm_claims(heap->region, page);
  if (!(claims & VM_UNSCANNED) || at32_load_acquire(&heap->top[page]) == 0) {
    return false;
  }
  if (__builtin_expect((claims & VM_ABSENT) != 0, 0) && gc_is_parked(heap, page)) {
    gc_parked_scanned how = gc_parked_scan(heap, copier, page);
    *by_notes += how == GC_PARKED_DONE;
    return how == GC_PARKED_TAKEN;
  }
  return vm_take(heap->region, page, VM_UNSCANNED);
}

// Scans the grey pages of [page, limit). Those found are opened in runs. Returns how many there were.
static size_t range_scan(gc_heap *heap, gc_copier *copier, size_t page, size_t limit) {
  size_t scanned = 0, by_notes = 0, first = page;
  uint64_t began = __builtin_expect(at32_load(&heap->listening) != 0, 0) ? vm_now() : 0;
  ahead begun = {GC_NONE, 0};
  size_t run = 0; // pages just before `page` that are settled but not given
  for (; page < limit; page++) {
    bool took = page_take(heap, copier, page, &by_notes);
    if (took) {
      page_prefetch(heap, page + 1, limit);
      gc_copier_enter(copier);
      uint64_t turns = gc_page_scan_ahead(heap, copier, page);
      gc_copier_leave(copier);
      ahead_finish(heap, copier, &begun);
      begun = (ahead){page, turns};
      run++;
      scanned++;
    }
    if (run && (!took || run == RUN)) {
      ahead_finish(heap, copier, &begun);
      vm_give(heap->region, page + took - run, run);
      at_add_full(&heap->cleaned, run); // after the pages are given: who sees the end finds none of them held
      run = 0;
    }
  }
  if (run) {
    ahead_finish(heap, copier, &begun);
    vm_give(heap->region, limit - run, run);
    at_add_full(&heap->cleaned, run);
  }
  scanned += by_notes;
  if (__builtin_expect(began != 0, 0) && scanned) {
    heap->world.events->scanned(heap->world.arg, first, limit - first, scanned, copier->background, began);
  }
  return scanned;
}

static size_t large_scan(gc_heap *heap, gc_copier *copier) {
  uint32_t head = gc_stack_pop(heap, &heap->large_grey);
  if (head == GC_NONE) {
    return 0;
  }
  gc_cell cell = gc_large_cell(heap, head);
  gc_copier_enter(copier);
  size_t pages = gc_large_pages(heap, cell, gc_header_read(heap, cell));
  gc_copier_leave(copier);
  // Ours while it is off the stack: take a run, and let others have the rest.
  uint32_t *next = (uint32_t *)&heap->large_scan[head - heap->small_blocks];
  size_t from = at32_load(next);
  size_t to = from + RUN < pages ? from + RUN : pages;
  at32_store(next, (uint32_t)to);
  if (to < pages) {
    gc_stack_push(heap, &heap->large_grey, head);
  }
  size_t page = gc_block_page(heap, head);
  size_t scanned = range_scan(heap, copier, page + from, page + to);
  return scanned ? scanned : 1; // pages that traps have scanned already are progress too
}

static size_t block_scan(gc_heap *heap, gc_copier *copier, uint32_t block) {
  size_t page = gc_block_page(heap, block);
  return range_scan(heap, copier, page, page + heap->block_pages);
}

// The blocks that a copier fills with what has slots. Scanners read, while the holder goes from one to the next.
static size_t lanes_scan(gc_heap *heap, gc_copier *copier, const gc_copier *of) {
  size_t scanned = 0;
  for (unsigned sort = 0; sort < GC_SORTS && scanned == 0; sort += GC_SORT_TRANSIENT) {
    uint32_t block = at32_load_acquire(&of->lane[sort].block); // read once: the sweep may take it away
    scanned = block != GC_NONE ? block_scan(heap, copier, block) : 0;
  }
  return scanned;
}

bool gc_scan_some(gc_heap *heap, gc_copier *copier, bool background) {
  AO_t volatile *count = background ? &heap->scanned_background : &heap->scanned_assist;
  copier->background = background;
  if (gc_links_scan(heap, copier)) {
    return true;
  }
  if (gc_deferred_mark(heap, copier, true)) {
    return true;
  }
  uint32_t block = gc_stack_pop(heap, &heap->grey);
  if (block != GC_NONE && gc_is_cold(heap, block)) { // more pages of it may become grey from here on: then it comes again. Only who has taken it from the stack may say so
    at8_and_full(&heap->parked[block], (uint8_t)~GC_QUEUED);
  }
  size_t scanned = block != GC_NONE ? block_scan(heap, copier, block) : large_scan(heap, copier);
  // Then what nobody has filled yet: our own block first, where the OPEN page is scanned without closing it.
  if (block == GC_NONE && scanned == 0) {
    scanned = lanes_scan(heap, copier, copier);
  }
  // Of the others only what nobody is filling: two threads that scan along one list would close each other's page after every object.
  for (unsigned i = 0; block == GC_NONE && scanned == 0 && i < GC_COPIERS; i++) {
    if (at_load(&heap->copiers[i].taken) == 0) {
      scanned = lanes_scan(heap, copier, &heap->copiers[i]);
    }
  }
  at_add(count, scanned);
  return block != GC_NONE || scanned != 0 || gc_deferred_mark(heap, copier, false); // these last: nobody traps for them
}

bool gc_scan_anything(gc_heap *heap, gc_copier *copier) {
  size_t scanned = 0;
  copier->background = true;
  for (uint32_t b = 0; b < at32_load(&heap->large_high); b++) {
    b = b == at_load(&heap->fresh) ? heap->small_blocks : b;
    if (gc_space(heap, b) != 0) {
      scanned += block_scan(heap, copier, b);
    }
  }
  at_add(&heap->scanned_background, scanned);
  return scanned != 0;
}

bool gc_scan_finished(const gc_heap *heap) {
  uint64_t cleaned = at_load_acquire(&heap->cleaned); // read first (gc.count)
  at_fence_full();
  return cleaned == at_load_acquire(&heap->opened);
}

// The trap path: vm holds the page BUSY and settles its claims one by one.
void gc_settle(void *arg, size_t page, unsigned claim, bool write) {
  gc_heap *heap = arg;
  (void)write;
  switch (claim) {
  case VM_ABSENT:
    if (gc_discarding()) {
      gc_parked_drop(heap, page);
      heap->world.discarded(heap->world.arg, page, 1);
    } else {
      heap->world.absent(heap->world.arg, page);
      VM_CHECK(!gc_is_parked(heap, page), "page %zu is back, and still parked: its service has not put its references back (veil_page_unpark)", page);
    }
    return;
  case VM_UNSAVED:
    heap->world.unsaved(heap->world.arg, page);
    return;
  default:
    break;
  }
  char *view = vm_page_view(heap->region, page);
  uint32_t block = gc_page_block(heap, page);
  if (at32_load_acquire(&heap->top[page]) == 0 || gc_space(heap, block) == 0) {
    vm_fatal("stale pointer into %p: no object is there; the block was freed at the end of cycle %u "
             "(a pointer kept where veil does not look, or used after detaching)",
             view, at32_load(&heap->died[block]));
  }
  gc_copier *copier = gc_copier_take(heap);
  gc_deferred_take(heap, copier);
  gc_copier_enter(copier);
  gc_page_scan(heap, copier, page);
  gc_copier_leave(copier);
  gc_deferred_give(heap, copier);
  gc_copier_give(heap, copier);
  at_add(&heap->scanned_trap, 1);
  gc_young_forget(heap, page);
  vm_settled(heap->region, page, VM_UNSCANNED); // first black, then counted (gc.count)
  at_add_full(&heap->cleaned, 1);
}
