// SPDX-License-Identifier: MIT
// scan.c: every slot of a page or object, by layout.
//
// Run by whoever holds the page BUSY: background scanner, trap, assist; and by the flip on pinned objects.

#include "gc/scan.h"
#include "gc/alloc.h"
#include "gc/gc.h"
#include "gc/near.h"
#include "gc/parked.h"
#include "gc/queue.h"
#include "gc/visitor.h"
#include "gc/young.h"

static inline void plain_scan(gc_heap *heap, gc_copier *copier, AO_t volatile *word) {
  uintptr_t view = at_load(word);
  if (gc_is_from(heap, view)) {
    gc_queue_add(heap, copier, (gc_slot){word}, view);
  }
}

static inline void slot_visit(const gc_type *type, char *at, gc_slot_fn *visit, void *arg) {
  gc_slot slot = {(AO_t volatile *)at};
  uint64_t word = at_load(slot.alias), tag;
  visit(arg, (gc_seen){slot, word}, gc_word_decode(type, word, &tag));
}

void gc_visit(gc_visitor *visitor, size_t offset) {
  VM_CHECK(offset % 8 == 0 && offset + 8 <= visitor->bytes,
           "trace callback of type %s reports a slot at %zu of an object of %zu bytes", visitor->type->name, offset,
           visitor->bytes);
  char *at = visitor->data + offset;
  if (at < visitor->base || at >= visitor->limit) {
    return;
  }
  slot_visit(visitor->type, at, visitor->visit, visitor->arg);
}

// Slots of one object or element at `data`, within [base, limit).
static inline void map_visit(const gc_type *type, char *data, char *base, char *limit, gc_slot_fn *visit, void *arg) {
  for (uint32_t i = 0; i < type->count; i++) {
    char *at = data + type->offsets[i];
    if (at >= base && at < limit) {
      slot_visit(type, at, visit, arg);
    }
  }
}

void gc_fixed_visit(const gc_type *type, char *data, char *base, char *limit, gc_slot_fn *visit, void *arg) {
  for (uint32_t i = 0; i < type->fixed_count; i++) {
    char *at = data + (type->fixed_offsets[i] & ~(size_t)GC_FIXED_PLAIN);
    if (at < base || at >= limit) {
      continue;
    }
    if (type->fixed_offsets[i] & GC_FIXED_PLAIN) {
      uint64_t word = at_load((AO_t volatile *)at);
      visit(arg, (gc_seen){{(AO_t volatile *)at}, word}, word);
    } else {
      slot_visit(type, at, visit, arg);
    }
  }
}

void gc_trace_visit(const gc_heap *heap, const gc_type *type, uintptr_t view, size_t length, char *data, char *base, char *limit,
                    gc_slot_fn *visit, void *arg) {
  gc_visitor visitor = {heap, type, data, base, limit, type->fixed + length * type->size, visit, arg};
  size_t from = base > data ? (size_t)(base - data) : 0;
  size_t to = limit > data ? (size_t)(limit - data) : 0;
  vm_view_forbid(true);
  type->trace((const void *)view, data, length, from, to < visitor.bytes ? to : visitor.bytes, &visitor);
  vm_view_forbid(false);
}

static void trace_call(const gc_heap *heap, const gc_type *type, gc_cell cell, uint64_t header, char *base, char *limit,
                       gc_slot_fn *visit, void *arg) {
  char *data = cell.alias + gc_header_bytes(header);
  size_t length = header & GC_ARRAY ? gc_cell_length(cell) : 1;
  gc_before_read((gc_heap *)heap, data, gc_data_bytes(cell, header) + 1); // a callback reads what it likes of its object
  gc_trace_visit(heap, type, gc_view_of(heap, data), length, data, base, limit, visit, arg);
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
  gc_slots_visit(type, header & GC_ARRAY ? gc_cell_length(cell) : 1, cell.alias + gc_header_bytes(header), base, limit, visit, arg);
}

static void words_clear(const size_t *offsets, uint32_t count, char *data, const char *base, const char *limit) {
  for (uint32_t i = 0; i < count; i++) {
    char *at = data + offsets[i];
    if (at >= base && at < limit) {
      at_store((AO_t volatile *)at, 0);
    }
  }
}

void gc_transient_clear(const gc_type *type, size_t length, char *data, char *base, char *limit) {
  words_clear(type->transient_fixed_offsets, type->transient_fixed_count, data, base, limit);
  data += type->fixed;
  length = type->transient_count != 0 ? length : 0;
  for (size_t i = base > data && length != 0 ? (size_t)(base - data) / type->size : 0; i < length && data + i * type->size < limit; i++) {
    words_clear(type->transient_offsets, type->transient_count, data + i * type->size, base, limit);
  }
}

void gc_slots_visit(const gc_type *type, size_t length, char *data, char *base, char *limit, gc_slot_fn *visit, void *arg) {
  if (type->layout == GC_LAYOUT_FLEXIBLE) {
    gc_fixed_visit(type, data, base, limit, visit, arg);
    data += type->fixed;
    length = type->count != 0 ? length : 0;
  }
  // The elements that reach into the range.
  size_t first = base > data && length != 0 ? (size_t)(base - data) / type->size : 0;
  for (size_t i = first; i < length && data + i * type->size < limit; i++) {
    map_visit(type, data + i * type->size, base, limit, visit, arg);
  }
}

typedef struct scan_arg {
  gc_heap *heap;
  gc_copier *copier;
} scan_arg;

// For a page that is not held: by CAS, so that nobody's store is lost. If it fails, what stands there is as good.
static void shared_visit(void *arg, gc_seen seen, uintptr_t view) {
  scan_arg *scan = arg;
  if (gc_is_from(scan->heap, view)) {
    gc_ref ref = gc_forward(scan->heap, scan->copier, (gc_ref){view & GC_ADDRESS_MASK});
    if (ref.view != (view & GC_ADDRESS_MASK)) {
      at_cas_full(seen.slot.alias, seen.word, ref.view | (seen.word & ~GC_ADDRESS_MASK));
    }
    gc_remember_slot(scan->heap, seen.slot.alias, ref.view);
  }
}

void gc_cell_scan_shared(gc_heap *heap, gc_copier *copier, gc_cell cell, uint64_t header, char *base, char *limit) {
  scan_arg arg = {heap, copier};
  gc_cell_visit(heap, cell, header, base, limit, shared_visit, &arg);
}

static void scan_visit(void *arg, gc_seen seen, uintptr_t view) {
  scan_arg *scan = arg;
  if (gc_is_from(scan->heap, view)) {
    gc_queue_add(scan->heap, scan->copier, seen.slot, seen.word);
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
  scan_arg arg = {heap, copier};
  bool dense = type->layout == GC_LAYOUT_DENSE;
  if (type->layout == GC_LAYOUT_FLEXIBLE && type->dense) {
    gc_fixed_visit(type, data, base, limit, scan_visit, &arg);
    data += type->fixed;
    dense = true;
  }
  if (dense) {
    char *end = data + (header & GC_ARRAY ? gc_cell_length(cell) : 1) * type->size;
    for (char *at = data > base ? data : base; at < end && at < limit; at += 8) {
      plain_scan(heap, copier, (AO_t volatile *)at);
    }
    return;
  }
  gc_cell_visit(heap, cell, header, base, limit, scan_visit, &arg);
}

gc_cell gc_page_first(const gc_heap *heap, size_t page) {
  gc_cover cover = gc_page_cover(heap, page);
  if (cover.header == 0) { // nothing covers the start, or the sweep has just cleared it
    return (gc_cell){gc_page_alias(heap, page) + 8};
  }
  return (gc_cell){cover.cell.alias + gc_cover_bytes(cover)};
}

void gc_cover_visit(const gc_heap *heap, gc_cover cover, char *base, char *limit, gc_slot_fn *visit, void *arg) {
  const gc_type *type = gc_type_at(gc_header_type(cover.header));
  if ((cover.header & GC_LEAF) || type == NULL) {
    return;
  }
  if (type->layout == GC_LAYOUT_TRACE) { // its page cannot be parked
    gc_cell_visit(heap, cover.cell, cover.header, base, limit, visit, arg);
    return;
  }
  gc_slots_visit(type, cover.length, cover.cell.alias + gc_header_bytes(cover.header), base, limit, visit, arg);
}

// The pages of from-space that are grey are those of kept blocks; there, what was copied away is a corpse.
static inline bool is_corpse(const gc_heap *heap, bool kept, gc_cell cell, uint64_t header) {
  return kept && gc_is_done(heap, header) && (header & GC_PEER_MASK) != gc_cell_peer(heap, cell);
}

// gc.grey, in debug builds: a page that has been scanned holds no from-space pointer.
typedef struct check_arg {
  gc_heap *heap;
  const gc_deferred *deferred; // NULL: all is marked
} check_arg;

static bool is_deferred(const check_arg *check, uintptr_t view) {
  for (unsigned i = 0; check->deferred != NULL && i < check->deferred->count; i++) {
    if (check->deferred->view[i] == view) {
      return true;
    }
  }
  return false;
}

static void slot_check(void *arg, gc_seen seen, uintptr_t view) {
  check_arg *check = arg;
  gc_heap *heap = check->heap;
  if (gc_is_from(heap, view) && !is_deferred(check, view & GC_ADDRESS_MASK)) {
    if (gc_is_cold(heap, gc_block_of(heap, view)) || gc_is_aside(heap, gc_block_of(heap, view))) {
      gc_cell cell = gc_ref_cell(heap, (gc_ref){view & GC_ADDRESS_MASK});
      VM_CHECK(gc_aside_is_marked(heap, view & GC_ADDRESS_MASK) || gc_floor_at(heap, gc_view_of(heap, cell.alias)) != NULL, "slot %p of a scanned page holds %p, which is not marked [gc.grey]",
               (void *)gc_view_of(heap, (void *)seen.slot.alias), (void *)view);
      return;
    }
    gc_cell cell = gc_ref_cell(heap, (gc_ref){view});
    uint64_t header = gc_header_read(heap, cell);
    bool stays = gc_is_kept_in_place(heap, cell, header) || gc_still_is_marked(heap, view & GC_ADDRESS_MASK);
    VM_CHECK(stays || gc_floor_at(heap, gc_view_of(heap, cell.alias)) != NULL,
             "slot %p of a scanned page holds the from-space pointer %p [gc.grey]",
             (void *)gc_view_of(heap, (void *)seen.slot.alias), (void *)view);
  }
}

static void page_check(gc_heap *heap, const gc_copier *copier, bool kept, size_t page) {
  check_arg arg = {heap, copier->deferred};
  char *base = gc_page_alias(heap, page);
  char *end = base + gc_top(heap, page);
  for (char *at = gc_page_first(heap, page).alias; at < end;) {
    gc_cell cell = {at};
    uint64_t header = gc_header_read(heap, cell);
    if (header != 0 && !is_corpse(heap, kept, cell, header)) {
      gc_cell_visit(heap, cell, header, base, base + heap->page_size, slot_check, &arg);
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

// What covers the page's start; its own page may be parked.
static void covering_scan(gc_heap *heap, gc_copier *copier, bool kept, size_t page, char *base) {
  gc_cell covering = gc_page_covering(heap, page);
  if (covering.alias == NULL) {
    return;
  }
  if (gc_is_parked(heap, gc_page_at(heap, gc_view_of(heap, covering.alias)))) {
    scan_arg arg = {heap, copier};
    gc_cover_visit(heap, gc_page_cover(heap, page), base, base + heap->page_size, scan_visit, &arg);
  } else {
    page_cell_scan(heap, copier, kept, covering, gc_header_read(heap, covering), base);
  }
}

// What is asked for every slot, in registers: the heap's fields would be read anew after each store.
typedef struct from_test {
  uintptr_t base;
  size_t span;
  uint8_t volatile *space;
  uint8_t from;
} from_test;

static inline bool is_from(from_test test, uintptr_t view) {
  size_t offset = view - test.base;
  return offset < test.span &&
         AO_char_load((unsigned char volatile *)&test.space[offset >> GC_BLOCK_SHIFT]) == test.from;
}

// The cells that begin in [at, end) of a page at `base`. Returns where the last of them ends.
static char *cells_scan(gc_heap *heap, gc_copier *copier, bool kept, char *at, char *end, char *base) {
  const from_test test = {heap->base, heap->span, heap->space, heap->from_space};
  char *limit = base + heap->page_size;
  unsigned last = 0; // the type that `type` is
  const gc_type *type = NULL;
  while (at < end) {
    gc_cell cell = {at};
    uint64_t header = gc_header_read(heap, cell);
    unsigned id = gc_header_type(header);
    if (id != last) {
      last = id;
      type = gc_type_at(id);
      if (type != NULL && type->layout != GC_LAYOUT_MAP && type->layout != GC_LAYOUT_DENSE) {
        type = NULL;
      }
    }
    if (type != NULL && !(header & (GC_ARRAY | GC_EXTRA)) && at + type->cell <= limit && !is_corpse(heap, kept, cell, header)) { // the usual case
      char *data = at + 8;
      for (uint32_t i = 0; i < type->count; i++) {
        AO_t volatile *word = (AO_t volatile *)(data + type->offsets[i]);
        uintptr_t view = at_load(word);
        if (is_from(test, view)) {
          gc_queue_add(heap, copier, (gc_slot){word}, view);
        }
      }
      at += type->cell;
    } else if (header != 0) {
      page_cell_scan(heap, copier, kept, cell, header, base);
      at += gc_cell_size(cell, header);
    } else {
      at += GC_UNIT;
    }
  }
  return at;
}

static void page_scan(gc_heap *heap, gc_copier *copier, size_t page) {
  uint32_t block = gc_page_block(heap, page);
  char *base = gc_page_alias(heap, page);
  if (gc_is_large(heap, block)) {
    gc_cell cell = gc_large_cell(heap, gc_large_head(heap, block));
    gc_cell_scan(heap, copier, cell, gc_header_read(heap, cell), base, base + heap->page_size);
    return;
  }
  bool kept = gc_space(heap, block) == heap->from_space;
  // A page that this copier fills itself is scanned while it goes on filling it, as Cheney did; it closes when the scan has
  // caught up. Any other is closed first (edge OPEN → GREY): what would be added behind our back never exists.
  if (kept || at32_load(&copier->lane[gc_is_transient(heap, block) ? GC_SORT_TRANSIENT : 0].page) != page) {
    at32_or_full(&heap->top[page], GC_CLOSED);
  }
  covering_scan(heap, copier, kept, page, base);
  char *at = gc_page_first(heap, page).alias;
  for (;;) {
    uint32_t top = at32_load_acquire(&heap->top[page]);
    at = cells_scan(heap, copier, kept, at, base + (top & GC_TOP_MASK), base);
    if (top & GC_CLOSED) {
      break;
    }
    gc_queue_drain(heap, copier); // which may fill the page
    if (at32_load(&heap->top[page]) == top) {
      at32_or_full(&heap->top[page], GC_CLOSED); // caught up; once more round, in vain
    }
  }
}

uint64_t gc_page_scan_ahead(gc_heap *heap, gc_copier *copier, size_t page) {
  copier->near_left = NEAR_BYTES;
  page_scan(heap, copier, page);
  copier->near_left = 0; // others, a flip above all, forward single objects
  return copier->turns + 2; // the first fetches what was found last, the second forwards it
}

void gc_page_scan_finish(gc_heap *heap, gc_copier *copier, size_t page, uint64_t turns) {
  copier->near_left = NEAR_BYTES;
  while (copier->turns < turns && !gc_queue_is_empty(copier)) {
    gc_queue_turn(heap, copier);
  }
  copier->near_left = 0;
  if (VM_FULL_CHECKS && !gc_is_large(heap, gc_page_block(heap, page))) {
    page_check(heap, copier, gc_space(heap, gc_page_block(heap, page)) == heap->from_space, page);
  }
}

void gc_page_scan(gc_heap *heap, gc_copier *copier, size_t page) {
  gc_page_scan_finish(heap, copier, page, gc_page_scan_ahead(heap, copier, page));
}
