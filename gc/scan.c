// SPDX-License-Identifier: MIT
// scan.c: every slot of a page or object, by layout; the prefetch queue between finding and forwarding.
//
// Run by whoever holds the page BUSY: background scanner, trap, assist; and by the flip on pinned objects.

#include "gc/scan.h"
#include "gc/alloc.h"
#include "gc/gc.h"
#include "gc/visitor.h"

// Where a word of a slot points, or 0: the inverse of the encoding. `tag` receives the bits to be kept.
static inline uintptr_t word_decode(const gc_type *type, uint64_t word, uint64_t *tag) {
  if (!type->tagged) {
    *tag = 0;
    return word;
  }
  uint64_t high = word >> 48;
  if (!((type->low_tags >> (word & 7)) & 1) || high < type->high_min || high > type->high_max) {
    return 0;
  }
  *tag = word & ~GC_ADDRESS_MASK;
  return word & GC_ADDRESS_MASK;
}

// Forwards one slot. The tag bits are what does not belong to the reference: its low three bits, and the high 16.
static inline void slot_forward(gc_heap *heap, gc_copier *copier, gc_slot slot) {
  uint64_t word = at_load(slot.alias);
  uint64_t tag = word & ~GC_ADDRESS_MASK;
  gc_ref ref = gc_forward(heap, copier, (gc_ref){word & GC_ADDRESS_MASK});
  if ((ref.view | tag) != word) {
    at_store(slot.alias, ref.view | tag);
  }
}

// Only hints: a service may have a referent's page away, and then what is there is no header. So TSan need not look.
__attribute__((no_sanitize("thread"))) static inline gc_cell referent(const gc_heap *heap, gc_slot slot) {
  return gc_ref_cell(heap, (gc_ref){*slot.alias & GC_ADDRESS_MASK});
}

// The header has arrived by now: if the object is still to be copied, its second line is wanted, too.
__attribute__((no_sanitize("thread"))) static inline void body_prefetch(const gc_heap *heap, gc_cell cell) {
  if (!gc_is_done(heap, *(uint64_t volatile *)cell.alias)) {
    __builtin_prefetch(cell.alias + 64);
  }
}

// The referents of the slots just found are asked for; those that were asked for before have had time to arrive, and are forwarded.
// In batches, not one by one: a prefetch stays in the processor's window until its address is translated, which takes as long as the work on
// many slots, so only prefetches that stand close together overlap (two random accesses in a GiB, with that work between them: 35-67 ns one by
// one, 20-34 in batches). One line, for reading: asking for ownership made it slower by half.
static __attribute__((noinline)) void batch_turn(gc_heap *heap, gc_copier *copier) {
  gc_batch *found = &copier->batch[copier->finding], *fetched = &copier->batch[!copier->finding];
  for (unsigned i = 0; i < found->count; i++) {
    __builtin_prefetch(referent(heap, found->slot[i]).alias);
  }
  for (unsigned i = 0; i < fetched->count; i++) {
    body_prefetch(heap, referent(heap, fetched->slot[i]));
  }
  for (unsigned i = 0; i < fetched->count; i++) {
    slot_forward(heap, copier, fetched->slot[i]);
  }
  fetched->count = 0;
  copier->finding = !copier->finding;
}

static inline void slot_enqueue(gc_heap *heap, gc_copier *copier, gc_slot slot) {
  gc_batch *found = &copier->batch[copier->finding];
  found->slot[found->count++] = slot;
  if (found->count == GC_BATCH) {
    batch_turn(heap, copier);
  }
}

void gc_queue_drain(gc_heap *heap, gc_copier *copier) {
  while (copier->batch[0].count + copier->batch[1].count != 0) {
    batch_turn(heap, copier);
  }
}

static inline void plain_scan(gc_heap *heap, gc_copier *copier, AO_t volatile *word) {
  uintptr_t view = at_load(word);
  if (gc_is_from(heap, view)) {
    slot_enqueue(heap, copier, (gc_slot){word});
  }
}

void gc_visit(gc_visitor *visitor, size_t offset) {
  VM_CHECK(offset % 8 == 0 && offset + 8 <= visitor->bytes,
           "trace callback of type %s reports a slot at %zu of an object of %zu bytes", visitor->type->name, offset,
           visitor->bytes);
  char *at = visitor->data + offset;
  if (at < visitor->base || at >= visitor->limit) {
    return;
  }
  uint64_t tag;
  uintptr_t view = word_decode(visitor->type, at_load((AO_t volatile *)at), &tag);
  visitor->visit(visitor->arg, (gc_slot){(AO_t volatile *)at}, view);
}

// Slots of one object or element at `data`, within [base, limit).
static inline void map_visit(const gc_type *type, char *data, char *base, char *limit, gc_slot_fn *visit, void *arg) {
  for (uint32_t i = 0; i < type->count; i++) {
    char *at = data + type->offsets[i];
    if (at >= base && at < limit) {
      uint64_t tag;
      visit(arg, (gc_slot){(AO_t volatile *)at}, word_decode(type, at_load((AO_t volatile *)at), &tag));
    }
  }
}

static void trace_call(const gc_heap *heap, const gc_type *type, gc_cell cell, uint64_t header, char *base, char *limit,
                       gc_slot_fn *visit, void *arg) {
  char *data = cell.alias + gc_header_bytes(header);
  size_t length = header & GC_ARRAY ? gc_cell_length(cell) : 1;
  gc_before_read((gc_heap *)heap, data, length * type->size + 1); // a callback reads what it likes of its object
  gc_visitor visitor = {heap, type, data, base, limit, length * type->size, visit, arg};
  size_t from = base > data ? (size_t)(base - data) : 0;
  size_t to = limit > data ? (size_t)(limit - data) : 0;
  vm_view_forbid(true);
  type->trace((const void *)gc_view_of(heap, data), data, length, from, to < visitor.bytes ? to : visitor.bytes,
              &visitor);
  vm_view_forbid(false);
}

void gc_cell_visit(const gc_heap *heap, gc_cell cell, uint64_t header, char *base, char *limit, gc_slot_fn *visit,
                   void *arg) {
  const gc_type *type = gc_type_at(gc_header_type(header));
  if ((header & GC_LEAF) || type == NULL) {
    return;
  }
  if (type->layout == GC_LAYOUT_TRACE) {
    trace_call(heap, type, cell, header, base, limit, visit, arg);
    return;
  }
  char *data = cell.alias + gc_header_bytes(header);
  size_t length = header & GC_ARRAY ? gc_cell_length(cell) : 1;
  // The elements that reach into the range.
  size_t first = base > data ? (size_t)(base - data) / type->size : 0;
  for (size_t i = first; i < length && data + i * type->size < limit; i++) {
    map_visit(type, data + i * type->size, base, limit, visit, arg);
  }
}

typedef struct scan_arg {
  gc_heap *heap;
  gc_copier *copier;
} scan_arg;

// For a page that is not held: by CAS, so that nobody's store is lost. If it fails, what stands there is as good.
static void shared_visit(void *arg, gc_slot slot, uintptr_t view) {
  scan_arg *scan = arg;
  uint64_t word = at_load(slot.alias);
  if (gc_is_from(scan->heap, view) && (word & GC_ADDRESS_MASK) == view) {
    gc_ref ref = gc_forward(scan->heap, scan->copier, (gc_ref){view});
    at_cas_full(slot.alias, word, ref.view | (word & ~GC_ADDRESS_MASK));
  }
}

void gc_cell_scan_shared(gc_heap *heap, gc_copier *copier, gc_cell cell, uint64_t header, char *base, char *limit) {
  scan_arg arg = {heap, copier};
  gc_cell_visit(heap, cell, header, base, limit, shared_visit, &arg);
}

static void scan_visit(void *arg, gc_slot slot, uintptr_t view) {
  scan_arg *scan = arg;
  if (gc_is_from(scan->heap, view)) {
    slot_enqueue(scan->heap, scan->copier, slot);
  }
}

void gc_cell_scan(gc_heap *heap, gc_copier *copier, gc_cell cell, uint64_t header, char *base, char *limit) {
  const gc_type *type = gc_type_at(gc_header_type(header));
  if (header & GC_LEAF) {
    return;
  }
  char *data = cell.alias + gc_header_bytes(header);
  if (type->layout == GC_LAYOUT_MAP && !(header & GC_ARRAY) && data >= base && data + type->size <= limit) {
    for (uint32_t i = 0; i < type->count; i++) { // the usual case
      plain_scan(heap, copier, (AO_t volatile *)(data + type->offsets[i]));
    }
    return;
  }
  if (type->layout == GC_LAYOUT_DENSE) {
    char *end = data + (header & GC_ARRAY ? gc_cell_length(cell) : 1) * type->size;
    for (char *at = data > base ? data : base; at < end && at < limit; at += 8) {
      plain_scan(heap, copier, (AO_t volatile *)at);
    }
    return;
  }
  scan_arg arg = {heap, copier};
  gc_cell_visit(heap, cell, header, base, limit, scan_visit, &arg);
}

gc_cell gc_page_first(const gc_heap *heap, size_t page) {
  gc_cell covering = gc_page_covering(heap, page);
  uint64_t header = covering.alias != NULL ? gc_header_read(heap, covering) : 0;
  if (header == 0) { // nothing covers the start, or the sweep has just cleared it
    return (gc_cell){gc_page_alias(heap, page) + 8};
  }
  return (gc_cell){covering.alias + gc_cell_size(covering, header)};
}

// The pages of from-space that are grey are those of kept blocks; there, what was copied away is a corpse.
static inline bool is_corpse(const gc_heap *heap, bool kept, gc_cell cell, uint64_t header) {
  return kept && gc_is_done(heap, header) && (header & GC_PEER_MASK) != gc_cell_peer(heap, cell);
}

// gc.grey, in debug builds: a page that has been scanned holds no from-space pointer.
static void slot_check(void *arg, gc_slot slot, uintptr_t view) {
  gc_heap *heap = arg;
  if (gc_is_from(heap, view)) {
    gc_cell cell = gc_ref_cell(heap, (gc_ref){view});
    uint64_t header = gc_header_read(heap, cell);
    VM_CHECK(gc_is_kept_in_place(heap, cell, header) || gc_floor_at(heap, gc_view_of(heap, cell.alias)) != NULL,
             "slot %p of a scanned page holds the from-space pointer %p [gc.grey]",
             (void *)gc_view_of(heap, (void *)slot.alias), (void *)view);
  }
}

static void page_check(gc_heap *heap, bool kept, size_t page) {
  char *base = gc_page_alias(heap, page);
  char *end = base + gc_top(heap, page);
  for (char *at = gc_page_first(heap, page).alias; at < end;) {
    gc_cell cell = {at};
    uint64_t header = gc_header_read(heap, cell);
    if (header != 0 && !is_corpse(heap, kept, cell, header)) {
      gc_cell_visit(heap, cell, header, base, base + heap->page_size, slot_check, heap);
    }
    at += header ? gc_cell_size(cell, header) : GC_UNIT;
  }
}

// An object of the page, or one that reaches into it.
static inline void page_cell_scan(gc_heap *heap, gc_copier *copier, bool kept, gc_cell cell, uint64_t header, char *base) {
  if (gc_header_type(header) != GC_FILLER && !is_corpse(heap, kept, cell, header)) {
    gc_cell_scan(heap, copier, cell, header, base, base + heap->page_size);
  }
}

void gc_page_scan(gc_heap *heap, gc_copier *copier, size_t page) {
  uint32_t block = gc_page_block(heap, page);
  char *base = gc_page_alias(heap, page);
  if (at32_load(&heap->dirty_mask)) {
    vm_dirty_note(heap->region, page, at32_load(&heap->dirty_mask)); // slots are written through the alias
  }
  if (gc_is_large(heap, block)) {
    gc_cell cell = gc_large_cell(heap, gc_large_head(heap, block));
    gc_cell_scan(heap, copier, cell, gc_header_read(heap, cell), base, base + heap->page_size);
    gc_queue_drain(heap, copier);
    return;
  }
  bool kept = gc_space(heap, block) == heap->from_space;
  // A page that this copier fills itself is scanned while it goes on filling it, as Cheney did; it closes when the scan has
  // caught up. Any other is closed first (edge OPEN → GREY): what would be added behind our back never exists.
  if (kept || at32_load(&copier->lane[0].page) != page) {
    at32_or_full(&heap->top[page], GC_CLOSED);
  }
  gc_cell covering = gc_page_covering(heap, page);
  if (covering.alias != NULL) {
    page_cell_scan(heap, copier, kept, covering, gc_header_read(heap, covering), base);
  }
  char *at = gc_page_first(heap, page).alias;
  for (;;) {
    uint32_t top = at32_load_acquire(&heap->top[page]);
    while (at < base + (top & GC_TOP_MASK)) {
      gc_cell cell = {at};
      uint64_t header = gc_header_read(heap, cell);
      if (header != 0) {
        page_cell_scan(heap, copier, kept, cell, header, base);
      }
      at += header ? gc_cell_size(cell, header) : GC_UNIT;
    }
    gc_queue_drain(heap, copier);
    if (top & GC_CLOSED) {
      break;
    }
    if (at32_load(&heap->top[page]) == top) {
      at32_or_full(&heap->top[page], GC_CLOSED); // caught up; once more round, in vain
    }
  }
  if (VM_FULL_CHECKS) {
    page_check(heap, kept, page);
  }
}
