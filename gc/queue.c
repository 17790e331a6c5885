// SPDX-License-Identifier: MIT
// queue.c: the prefetch queue.
//
// In batches, not one by one: a prefetch stays in the processor's window until its address is translated, which takes
// as long as the work on many slots, so only prefetches that stand close together overlap (two random accesses in a
// GiB, with that work between them: 35-67 ns one by one, 20-34 in batches). One line, for reading: asking for ownership
// made it slower by half.
//
// Run by whoever scans.

#include "gc/queue.h"
#include "gc/near.h"
#include "gc/young.h"

static inline gc_ref referent(gc_seen seen) { return (gc_ref){seen.word & GC_ADDRESS_MASK}; }

// The header has arrived by now: if the object is still to be copied, its second line is wanted, too.
// Only a hint: a service may have the page away, and then what is there is no header. So TSan need not look.
__attribute__((no_sanitize("thread"))) static inline void body_prefetch(const gc_heap *heap, gc_ref ref) {
  gc_cell cell = gc_ref_cell(heap, ref);
  uint32_t block = gc_block_of(heap, ref.view);
  if (!gc_is_cold(heap, block) && !gc_marks_aside(heap, block) && !gc_is_done(heap, *(uint64_t volatile *)cell.alias)) {
    __builtin_prefetch(cell.alias + 64);
  }
}

static inline void mark_prefetch(const gc_heap *heap, gc_ref ref) {
  uint32_t block = gc_block_of(heap, ref.view);
  bool aside = gc_is_cold(heap, block) || gc_marks_aside(heap, block);
  __builtin_prefetch(aside ? (const char *)gc_aside_word(heap, ref.view) : gc_ref_cell(heap, ref).alias);
}

// A slot is about to be written through the alias, which nobody sees. Where blocks stay most slots of a page do, too (gc.still): then the
// page is no news.
static inline void slot_note(gc_heap *heap, gc_slot slot) {
  uint32_t consumers = at32_load(&heap->dirty_mask);
  if (__builtin_expect(consumers != 0, 0)) {
    vm_dirty_note_once(heap->region, gc_page_at(heap, gc_view_of(heap, (const char *)slot.alias)), consumers);
  }
}

static inline void seen_forward(gc_heap *heap, gc_copier *copier, gc_seen seen) {
  // The tag bits are what does not belong to the reference: the low three, and the high 16.
  uint64_t word = gc_forward(heap, copier, referent(seen)).view | (seen.word & ~GC_ADDRESS_MASK);
  if (word != seen.word) {
    slot_note(heap, seen.slot);
    at_store(seen.slot.alias, word);
  }
  gc_remember_slot(heap, seen.slot.alias, word & GC_ADDRESS_MASK);
}

void gc_queue_turn(gc_heap *heap, gc_copier *copier) {
  gc_batch *found = &copier->batch[copier->finding], *fetched = &copier->batch[!copier->finding];
  for (unsigned i = 0; i < found->count; i++) {
    mark_prefetch(heap, referent(found->seen[i]));
  }
  for (unsigned i = 0; i < fetched->count; i++) {
    body_prefetch(heap, referent(fetched->seen[i]));
  }
  for (unsigned i = 0; i < fetched->count; i++) {
    seen_forward(heap, copier, fetched->seen[i]);
    gc_near_forward(heap, copier);
  }
  fetched->count = 0;
  copier->finding = !copier->finding;
  copier->turns++;
}

void gc_queue_drain(gc_heap *heap, gc_copier *copier) {
  while (!gc_queue_is_empty(copier)) {
    gc_queue_turn(heap, copier);
  }
}
