// SPDX-License-Identifier: MIT
// survive.c: what is reached in a minor cycle is copied once, and what it points to is found.
//
// In the pause, by one worker or by several at a time (crew.c). Once there may be others, a header is changed by CAS,
// and the copy that came too late is taken back: the same protocol as a major cycle's (gc.onecopy). A slot of a copy is
// its scanner's alone; a slot of an old page is changed by CAS, for a near copy's slot may be forwarded at any time
// (near.h), and a system call may be writing (gc.pins).
//
// Scanning follows Cheney (1970): the survivors themselves are the queue.

#include "gc/alloc.h"
#include "gc/block.h"
#include "gc/copier.h"
#include "gc/minor.h"
#include "gc/parked.h"
#include "gc/scan.h"

static inline uint64_t bare(uint64_t header) { return header & ~(GC_PEER_MASK | GC_EPOCH_MASK); }

// Gives the original its last header of this cycle. False: another worker did.
static inline bool header_set(gc_minor *minor, gc_cell cell, uint64_t header, gc_cell peer) {
  gc_heap *heap = minor->heap;
  uint64_t done = bare(header) | (uint64_t)GC_MINOR_DONE << GC_EPOCH_SHIFT | gc_cell_peer(heap, peer);
  gc_before_write(heap, cell.alias, 8);
  if (minor->shared) {
    return at_cas_full((AO_t volatile *)cell.alias, header, done);
  }
  at_store((AO_t volatile *)cell.alias, done);
  return true;
}

bool gc_minor_stay(gc_minor *minor, gc_cell cell, uint64_t header) {
  gc_heap *heap = minor->heap;
  if (!header_set(minor, cell, header, cell)) {
    return false;
  }
  uint32_t block = gc_block_of(heap, gc_view_of(heap, cell.alias));
  uint32_t last = gc_block_of(heap, gc_view_of(heap, cell.alias) + gc_cell_size(cell, header) - 1);
  for (; block <= last; block++) {
    gc_flags_set(heap, block, GC_BLOCK_RETAIN);
  }
  if (!(header & GC_LEAF)) {
    uint64_t i = at_add_full((AO_t volatile *)&heap->pin_count, 1);
    VM_CHECK(i < heap->pin_limit, "more than %zu pins", heap->pin_limit);
    heap->pins[i] = cell;
  }
  return true;
}

static inline uintptr_t moved_to(const gc_heap *heap, uint64_t header) {
  return gc_cell_ref(heap, gc_peer_cell(heap, header), header).view;
}

static inline gc_cell copy_take(gc_minor *minor, bool promote, size_t room, uint64_t header) {
  unsigned sort = gc_header_sort(header);
  gc_birth *lane = &(promote ? minor->heap->promoted[minor->index] : minor->survivors)[sort];
  return (gc_cell){__builtin_expect((header & GC_ALIGN_MASK) != 0, 0)
                       ? gc_birth_take_aligned(minor, lane, sort, promote, room, gc_header_align(header))
                       : gc_birth_take(minor, lane, sort, promote, room)};
}

uintptr_t gc_minor_forward(gc_minor *minor, uintptr_t ref) {
  gc_heap *heap = minor->heap;
  gc_cell cell = gc_ref_cell(heap, (gc_ref){ref});
  uint64_t header = gc_header_read(heap, cell);
  uint32_t block = gc_block_of(heap, ref);
  if (gc_is_large(heap, block)) {
    gc_young_large_reach(minor, cell, header);
    return ref;
  }
  if (gc_minor_is_done(header)) {
    return moved_to(heap, header);
  }
  VM_CHECK(header != 0 && gc_header_type(header) >= GC_FIRST_TYPE && gc_type_at(gc_header_type(header)) != NULL,
           "%p is no object: its header is %lx", (void *)ref, (unsigned long)header);
  bool promote = minor->zone_full || minor->tenure || gc_space(heap, block) == GC_AGED;
  size_t bytes = gc_cell_size(cell, header), growth = gc_cell_growth(header), room = bytes + growth;
  gc_cell copy = copy_take(minor, promote, room, header);
  if (copy.alias == NULL) { // the other kind of memory may be left
    promote = !promote;
    copy = copy_take(minor, promote, room, header);
  }
  if (copy.alias == NULL) {
    return gc_minor_stay(minor, cell, header) ? ref : moved_to(heap, gc_header_load(cell));
  }
  gc_before_read(heap, cell.alias, bytes);
  gc_contents_copy(copy.alias, cell.alias, bytes);
  if (__builtin_expect(growth != 0, 0)) {
    gc_hash_keep(heap, copy, room, ref);
  }
  at_store_release((AO_t volatile *)copy.alias, bare(header) | (growth ? GC_EXTRA : 0));
  if (!header_set(minor, cell, header, copy)) {
    gc_birth_return(heap, &(promote ? heap->promoted[minor->index] : minor->survivors)[gc_header_sort(header)], copy.alias, room);
    return moved_to(heap, gc_header_load(cell));
  }
  *(promote ? &minor->promoted : &minor->survived) += bytes;
  return gc_cell_ref(heap, copy, header).view;
}

// ---- Slots.

// An old object's slot has it: what is young and stays so is looked for there again.
static inline void remember(gc_minor *minor, AO_t volatile *slot, uintptr_t view) {
  gc_heap *heap = minor->heap;
  if (gc_in_young_zone(heap, view) || gc_is_young_large(heap, view)) {
    gc_remember(heap, gc_page_at(heap, gc_view_of(heap, (const void *)slot)));
  }
}

// The oldest of the slots that were found.
static inline void ahead_forward(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  gc_seen seen = minor->ahead[minor->ahead_first++ % GC_AHEAD];
  uintptr_t view = gc_minor_forward(minor, seen.word & GC_ADDRESS_MASK);
  uint64_t word = view | (seen.word & ~GC_ADDRESS_MASK);
  if (word != seen.word && minor->fresh) {
    at_store(seen.slot.alias, word);
  } else if (word != seen.word) {
    gc_before_write(heap, (const char *)seen.slot.alias, 8);
    at_cas_full(seen.slot.alias, seen.word, word); // or what stands there now is news to Dirty, and as good
  }
  if (minor->old) {
    remember(minor, seen.slot.alias, view);
  }
}

void gc_minor_drain(gc_minor *minor) {
  while (minor->ahead_first != minor->ahead_last) {
    ahead_forward(minor);
  }
}

// A slot that points into the zone, or to a large object while there are young ones.
static inline void near_slot(gc_minor *minor, gc_seen seen, uintptr_t view) {
  gc_heap *heap = minor->heap;
  if (!gc_is_young(heap, view)) {
    if (minor->old && gc_in_young_zone(heap, view)) {
      gc_remember(heap, gc_page_at(heap, gc_view_of(heap, (const void *)seen.slot.alias)));
    }
    return;
  }
  __builtin_prefetch(gc_ref_cell(heap, (gc_ref){view}).alias);
  minor->ahead[minor->ahead_last++ % GC_AHEAD] = seen;
  if (minor->ahead_last - minor->ahead_first == GC_AHEAD) {
    ahead_forward(minor);
  }
}

// Cheap, for most slots: whether the word may be a young reference.
static inline bool is_near(const gc_minor *minor, uint64_t word) {
  return gc_in_young_zone(minor->heap, word) || word - minor->large_base < minor->large_span;
}

static void slot_forward(void *arg, gc_seen seen, uintptr_t view) {
  gc_minor *minor = arg;
  view &= GC_ADDRESS_MASK;
  if (is_near(minor, view)) {
    near_slot(minor, seen, view);
  }
}

// Of large old arrays, which are looked at again and again, hardly any slot is near: so many of them are asked about at a time, where the processor can
// compare four words at once. A slot that changes meanwhile is read as it was or as it is.
enum { WIDE = 64 };
typedef uint64_t words __attribute__((vector_size(32), aligned(8), may_alias));

__attribute__((target("avx2"), no_sanitize("thread"))) static bool any_in_zone_wide(const gc_minor *minor, const AO_t volatile *at) {
  const words *next = (const words *)(uintptr_t)at;
  uint64_t base = minor->heap->base, span = minor->heap->young_span;
  words bases = {base, base, base, base}, spans = {span, span, span, span}, any = {0};
  for (int i = 0; i < WIDE / 4; i++) {
    any |= (words)(next[i] - bases < spans);
  }
  return (any[0] | any[1] | any[2] | any[3]) != 0;
}

static bool is_wide(const gc_minor *minor) { return minor->heap->wide && minor->large_span == 0; }

// Few of an old page's slots are: whether any of eight may be a young reference.
static inline bool any_near(const gc_minor *minor, AO_t volatile *at) {
  bool any = false;
  for (int i = 0; i < 8; i++) {
    any |= gc_in_young_zone(minor->heap, at_load(at + i));
  }
  for (int i = 0; i < 8 && minor->large_span != 0; i++) {
    any |= at_load(at + i) - minor->large_base < minor->large_span;
  }
  return any;
}

static inline void few_slots(gc_minor *minor, AO_t volatile *at, const AO_t volatile *limit) {
  while (at < limit) {
    if (limit - at >= 8 && minor->old && !any_near(minor, at)) {
      at += 8;
      continue;
    }
    uint64_t word = at_load(at);
    if (is_near(minor, word)) {
      near_slot(minor, (gc_seen){{at}, word}, word);
    }
    at++;
  }
}

static inline void plain_slots(gc_minor *minor, AO_t volatile *at, const AO_t volatile *limit) {
  if (limit - at >= WIDE && minor->old && is_wide(minor)) {
    for (; limit - at >= WIDE; at += WIDE) {
      if (any_in_zone_wide(minor, at)) {
        few_slots(minor, at, at + WIDE);
      }
    }
  }
  few_slots(minor, at, limit);
}

// ---- Objects.

void gc_minor_cell(gc_minor *minor, gc_cell cell, uint64_t header, char *base, char *limit) {
  if (header & GC_LEAF) { // fillers, too
    return;
  }
  const gc_type *type = gc_type_at(gc_header_type(header));
  char *data = cell.alias + gc_header_bytes(header);
  bool dense = type->layout == GC_LAYOUT_DENSE;
  if (type->layout == GC_LAYOUT_FLEXIBLE && type->dense) {
    gc_fixed_visit(type, data, base, limit, slot_forward, minor);
    data += type->fixed;
    dense = true;
  }
  if (dense) {
    char *end = cell.alias + gc_header_bytes(header) + gc_data_bytes(cell, header);
    data = data > base ? data : base;
    plain_slots(minor, (AO_t volatile *)data, (AO_t volatile *)(end < limit ? end : limit));
  } else if (type->layout == GC_LAYOUT_MAP && !(header & GC_ARRAY) && data >= base && data + type->size <= limit) {
    for (uint32_t i = 0; i < type->count; i++) {
      AO_t volatile *at = (AO_t volatile *)(data + type->offsets[i]);
      plain_slots(minor, at, at + 1);
    }
  } else {
    gc_cell_visit(minor->heap, cell, header, base, limit, slot_forward, minor);
  }
}

void gc_minor_cover(gc_minor *minor, const gc_cover *cover, char *base, char *limit) {
  gc_cover_visit(minor->heap, *cover, base, limit, slot_forward, minor);
}

void gc_minor_cell_whole(gc_minor *minor, gc_cell cell, uint64_t header) {
  size_t bytes = gc_cell_size(cell, header);
  gc_before_read(minor->heap, cell.alias, bytes);
  gc_minor_cell(minor, cell, header, cell.alias, cell.alias + bytes);
}

// ---- Survivors.

// Those that begin in [at, end).
static void cells_born_scan(gc_minor *minor, char *at, const char *end) {
  unsigned last = 0; // the type that `type` is
  const gc_type *type = NULL;
  while (at < end) {
    gc_cell cell = {at};
    uint64_t header = gc_header_read(minor->heap, cell);
    unsigned id = gc_header_type(header);
    if (id != last) {
      last = id;
      type = gc_type_at(id);
    }
    if (type != NULL && type->layout == GC_LAYOUT_MAP && !(header & (GC_ARRAY | GC_EXTRA))) { // the usual case
      for (uint32_t i = 0; i < type->count; i++) {
        AO_t volatile *slot = (AO_t volatile *)(at + 8 + type->offsets[i]);
        plain_slots(minor, slot, slot + 1);
      }
      at += type->cell;
    } else {
      gc_minor_cell_whole(minor, cell, header);
      at += gc_cell_size(cell, header);
    }
  }
}

// What was copied since the last call. False: nothing.
static bool births_scan(gc_minor *minor, gc_birth *birth, bool old) {
  bool any = false;
  char *at;
  const char *end;
  minor->fresh = true;
  minor->old = old;
  for (;;) {
    if (gc_birth_next(minor->heap, birth, &at, &end)) {
      cells_born_scan(minor, at, end);
      any = true;
    } else if (minor->ahead_first != minor->ahead_last) {
      gc_minor_drain(minor); // which may fill more
    } else {
      return any;
    }
  }
}

bool gc_minor_scan_own(gc_minor *minor) {
  bool any = false;
  for (unsigned sort = 0; sort < GC_SORTS; sort += GC_SORT_TRANSIENT) { // leaves apart
    any |= births_scan(minor, &minor->survivors[sort], false);
    any |= births_scan(minor, &minor->heap->promoted[minor->index][sort], true);
  }
  return any;
}

void gc_minor_scan_block(gc_minor *minor, uint32_t block) {
  gc_heap *heap = minor->heap;
  char *at = gc_block_alias(heap, block) + at32_load(&heap->scan_from[block]);
  const char *end;
  minor->fresh = true;
  minor->old = block >= heap->young_blocks;
  while (gc_birth_rest(heap, block, &at, &end)) {
    cells_born_scan(minor, at, end);
    at = (char *)end;
  }
  gc_minor_drain(minor);
}
