// SPDX-License-Identifier: MIT
// shelf_trap.c: what traps do with a shelf: find an item, hold it, drop it.
//
// Neighbours: shelf.h, shelf_inner.h. In signal handlers: nothing is allocated, and nobody is waited for. Any thread.

#include "runtime/compress/shelf_inner.h"
#include "vm/check.h"

void *cx_shelf_at(const cx_shelf *s, cx_handle handle) { return s->base + cx_handle_place(handle) * 8; }

// The slab and the slot of a place.
static uint32_t place_find(const cx_shelf *s, uint64_t place, uint32_t *slot) {
  uint64_t offset = place * 8;
  uint32_t index = (uint32_t)(offset / FRAME);
  VM_CHECK(index < s->frames && s->slabs[index].class != 0, "there is no item at place %lu", place);
  const size_class *c = slab_class(s, index);
  uint32_t at = (uint32_t)(offset % FRAME) - c->first;
  *slot = at / c->size;
  VM_CHECK(offset % FRAME >= c->first && at % c->size == 0 && *slot < c->slots, "no item begins at place %lu", place);
  return index;
}

// The slab does not go before it is reaped: its slot is used. The queue is pushed one by one and taken as a whole, so no slab is met twice.
void cx_slot_kill(cx_shelf *s, uint32_t index, uint32_t slot) {
  AO_t *word = &slab_dead(s, index)[slot / 64];
  uint64_t bit = 1ull << slot % 64, old;
  do {
    old = at_load(word);
    VM_CHECK(!(old & bit), "an item is dropped twice: slot %u of slab %u", slot, index);
  } while (!at_cas_full(word, old, old | bit)); // release: what was read of the item came before; full: the bit is there before `queued` is looked at
  slab *b = &s->slabs[index];
  if (at32_load(&b->queued) == 0 && at32_cas_full(&b->queued, 0, 1)) {
    uint32_t first;
    do {
      first = at32_load(&s->queue);
      at32_store(&b->queue_next, first);
    } while (!at32_cas_full(&s->queue, first, index + 1));
  }
}

void cx_shelf_foresee(const cx_shelf *s, cx_handle handle) {
  uint32_t index = (uint32_t)(cx_handle_place(handle) * 8 / FRAME);
  __builtin_prefetch(&s->slabs[index]);
  __builtin_prefetch(slab_frame(s, index)); // of most classes all bitmaps
}

void cx_shelf_drop(cx_shelf *s, cx_handle handle) {
  uint32_t slot, index = place_find(s, cx_handle_place(handle), &slot);
  at_add(&s->items, (uint64_t)-1);
  at_add(&s->payload, -(uint64_t)cx_handle_length(handle));
  cx_slot_kill(s, index, slot);
}

// Full: a handle that is read afterwards is read when the count can be seen.
unsigned cx_shelf_enter(cx_shelf *s) {
  unsigned which = at_load(&s->epoch) % 2;
  at_add_full(&s->inside[which].count, 1);
  return which;
}
void cx_shelf_leave(cx_shelf *s, unsigned entered) { at_add_full(&s->inside[entered].count, (uint64_t)-1); }
