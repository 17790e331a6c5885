// SPDX-License-Identifier: MIT
// defer.c: marks that traps have put off, from the trap to a scanner (gc.deferred).
//
// Neighbours: queue.h asks for each slot, work.c takes and gives buffers in traps and has scanners look for them. Two stacks without locks, of buffers by
// their index + 1; the heads count in their upper halves, against ABA.

#include "gc/defer.h"
#include "gc/scan.h"

static gc_deferred *pop(gc_heap *heap, AO_t volatile *head) {
  for (;;) {
    uint64_t old = at_load_acquire(head);
    uint32_t at = (uint32_t)old;
    if (at == 0) {
      return NULL;
    }
    uint32_t next = at32_load(&heap->deferred[at - 1].next); // anything, if another takes it first: then the head has changed
    if (at_cas_full(head, old, ((old >> 32) + 1) << 32 | next)) {
      return &heap->deferred[at - 1];
    }
  }
}

static void push(gc_heap *heap, AO_t volatile *head, gc_deferred *d) {
  uint64_t old;
  do {
    old = at_load(head);
    at32_store(&d->next, (uint32_t)old);
  } while (!at_cas_full(head, old, ((old >> 32) + 1) << 32 | (uint32_t)(d - heap->deferred + 1)));
}

void gc_deferred_take(gc_heap *heap, gc_copier *copier) {
  if (!heap->defers) {
    return;
  }
  copier->deferred = pop(heap, &heap->deferred_free);
  if (copier->deferred == NULL && at_load(&heap->deferred_fresh) < GC_DEFERRED) {
    uint64_t at = at_add(&heap->deferred_fresh, 1);
    copier->deferred = at < GC_DEFERRED ? &heap->deferred[at] : NULL;
  }
  if (copier->deferred != NULL) {
    copier->deferred->count = 0;
  }
}

void gc_deferred_give(gc_heap *heap, gc_copier *copier) {
  gc_deferred *d = copier->deferred;
  copier->deferred = NULL;
  if (d == NULL) {
    return;
  }
  if (d->count == 0) {
    push(heap, &heap->deferred_free, d);
    return;
  }
  at_add_full(&heap->opened, 1); // before its page counts as black (gc.count)
  at_add(&heap->deferred_full_count, 1);
  push(heap, &heap->deferred_full, d);
}

static void prefetch(const gc_heap *heap, uintptr_t view) {
  bool aside = gc_marks_aside(heap, gc_block_of(heap, view));
  __builtin_prefetch(aside ? (const char *)gc_aside_word(heap, view) : gc_ref_cell(heap, (gc_ref){view}).alias);
}

bool gc_deferred_mark(gc_heap *heap, gc_copier *copier, bool pressing) {
  enum { AHEAD = 16 };
  if (pressing && at_load(&heap->deferred_full_count) < GC_DEFERRED / 2) {
    return false;
  }
  gc_deferred *d = pop(heap, &heap->deferred_full);
  if (d == NULL) {
    return false;
  }
  at_add(&heap->deferred_full_count, (uint64_t)-1);
  gc_copier_enter(copier);
  for (unsigned first = 0; first < d->count; first += AHEAD) { // in batches, for the same reason as in queue.c
    unsigned limit = first + AHEAD < d->count ? first + AHEAD : d->count;
    for (unsigned i = limit; i < limit + AHEAD && i < d->count; i++) {
      prefetch(heap, d->view[i]);
    }
    for (unsigned i = first; i < limit; i++) {
      gc_ref ref = gc_forward(heap, copier, (gc_ref){d->view[i]});
      VM_CHECK(ref.view == d->view[i], "%p was to stay, and is at %p [gc.deferred]", (void *)d->view[i], (void *)ref.view);
    }
  }
  gc_copier_leave(copier);
  push(heap, &heap->deferred_free, d);
  at_add_full(&heap->cleaned, 1);
  return true;
}
