// SPDX-License-Identifier: MIT
// minor.c: a minor cycle: what survives in the nursery moves, with the world stopped; the rest is gone.
//
// Roots are those of a flip, and the old pages that Dirty names or that are REMEMBERED. What survives its first minor cycle is aged and stays in the zone;
// what survives the second is promoted, into blocks of the space that a major cycle copies to: black, if one is under way. What an
// ambiguous root holds stays in place, and allocation goes around it.
//
// One thread, the world stopped. Scanners and a sweep go on meanwhile: they do not touch what is young, since a flip leaves nothing young
// behind, and no grey page holds a pointer to what was born since. What they share with us are the stacks of blocks, and pages that are black:
// there a slot is changed by CAS, for a near copy's slot may be forwarded at any time (near.h), and a system call may be writing (gc.pins).
//
// Scanning follows Cheney (1970): the survivors themselves are the queue.

#include "gc/alloc.h"
#include "gc/copier.h"
#include "gc/flip.h"
#include "gc/gc.h"
#include "gc/minor.h"
#include "gc/pin.h"
#include "gc/scan.h"
#include "gc/sweep.h"

enum { DONE = 1 }; // the epoch of what was moved or pinned in this cycle; all others have 0

// ---- Forwarding.

static inline uint64_t bare(uint64_t header) { return header & ~(GC_PEER_MASK | GC_EPOCH_MASK); }
static inline bool is_done(uint64_t header) { return gc_header_epoch(header) == DONE; }

static void stay(gc_heap *heap, gc_cell cell, uint64_t header) {
  gc_before_write(heap, cell.alias, 8);
  at_store((AO_t volatile *)cell.alias, bare(header) | (uint64_t)DONE << GC_EPOCH_SHIFT | gc_cell_peer(heap, cell));
  uint32_t block = gc_block_of(heap, gc_view_of(heap, cell.alias));
  uint32_t last = gc_block_of(heap, gc_view_of(heap, cell.alias) + gc_cell_size(cell, header) - 1);
  for (; block <= last; block++) {
    gc_flags_set(heap, block, GC_BLOCK_RETAIN);
  }
}

static void pin_remember(gc_heap *heap, gc_cell cell) {
  VM_CHECK(heap->pin_count < heap->pin_limit, "more than %zu pins", heap->pin_limit);
  heap->pins[heap->pin_count++] = cell;
}

// `ref` is that of a young object.
static uintptr_t forward(gc_minor *minor, uintptr_t ref) {
  gc_heap *heap = minor->heap;
  gc_cell cell = gc_ref_cell(heap, (gc_ref){ref});
  uint64_t header = gc_header_read(heap, cell);
  if (is_done(header)) {
    return gc_cell_ref(heap, gc_peer_cell(heap, header), header).view;
  }
  VM_CHECK(header != 0 && gc_header_type(header) >= GC_FIRST_TYPE && gc_type_at(gc_header_type(header)) != NULL,
           "%p is no object: its header is %lx", (void *)ref, (unsigned long)header);
  uint32_t block = gc_block_of(heap, ref);
  bool leaf = (header & GC_LEAF) != 0, promote = minor->zone_full || gc_space(heap, block) == GC_AGED;
  size_t bytes = gc_cell_size(cell, header);
  gc_cell copy = {gc_birth_take(minor, promote ? &heap->promoted[leaf] : &minor->survivors[leaf], leaf, promote, bytes)};
  if (copy.alias == NULL) { // the other kind of memory may be left
    promote = !promote;
    copy.alias = gc_birth_take(minor, promote ? &heap->promoted[leaf] : &minor->survivors[leaf], leaf, promote, bytes);
  }
  if (copy.alias == NULL) {
    stay(heap, cell, header);
    if (!leaf) {
      pin_remember(heap, cell);
    }
    return ref;
  }
  gc_before_read(heap, cell.alias, bytes);
  gc_contents_copy(copy.alias, cell.alias, bytes);
  at_store_release((AO_t volatile *)copy.alias, bare(header));
  gc_before_write(heap, cell.alias, 8);
  at_store((AO_t volatile *)cell.alias, bare(header) | (uint64_t)DONE << GC_EPOCH_SHIFT | gc_cell_peer(heap, copy));
  *(promote ? &minor->promoted : &minor->survived) += bytes;
  return gc_cell_ref(heap, copy, header).view;
}

// ---- Scanning.

// The oldest of the slots that were found.
static inline void ahead_forward(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  gc_seen seen = minor->ahead[minor->ahead_first++ % GC_AHEAD];
  uintptr_t view = forward(minor, seen.word & GC_ADDRESS_MASK);
  uint64_t word = view | (seen.word & ~GC_ADDRESS_MASK);
  if (word != seen.word && minor->fresh) {
    at_store(seen.slot.alias, word);
  } else if (word != seen.word) {
    gc_before_write(heap, (const char *)seen.slot.alias, 8);
    at_cas_full(seen.slot.alias, seen.word, word); // or what stands there now is news to Dirty, and as good
  }
  if (minor->old) {
    gc_remember_slot(heap, seen.slot.alias, view);
  }
}

// Before `old` or `fresh` changes: all that were found.
void gc_minor_drain(gc_minor *minor) {
  while (minor->ahead_first != minor->ahead_last) {
    ahead_forward(minor);
  }
}

// A slot that points into the zone.
static inline void zone_slot(gc_minor *minor, gc_seen seen, uintptr_t view) {
  gc_heap *heap = minor->heap;
  if (!gc_is_young(heap, view)) {
    if (minor->old) {
      gc_remember_slot(heap, seen.slot.alias, view);
    }
    return;
  }
  const char *cell = gc_ref_cell(heap, (gc_ref){view}).alias;
  __builtin_prefetch(cell);
  minor->ahead[minor->ahead_last++ % GC_AHEAD] = seen;
  if (minor->ahead_last - minor->ahead_first == GC_AHEAD) {
    ahead_forward(minor);
  }
}

static void slot_forward(void *arg, gc_seen seen, uintptr_t view) {
  gc_minor *minor = arg;
  view &= GC_ADDRESS_MASK;
  if (gc_in_young_zone(minor->heap, view)) {
    zone_slot(minor, seen, view);
  }
}

static inline void plain_slots(gc_minor *minor, AO_t volatile *at, const AO_t volatile *limit) {
  for (; at < limit; at++) {
    uint64_t word = at_load(at);
    if (gc_in_young_zone(minor->heap, word)) {
      zone_slot(minor, (gc_seen){{at}, word}, word);
    }
  }
}

// The object's slots in [base, limit) of the alias.
void gc_minor_cell(gc_minor *minor, gc_cell cell, uint64_t header, char *base, char *limit) {
  const gc_type *type = gc_type_at(gc_header_type(header));
  if (header & GC_LEAF) {
    return;
  }
  char *data = cell.alias + gc_header_bytes(header);
  if (type->layout == GC_LAYOUT_DENSE) {
    char *end = data + gc_data_bytes(cell, header);
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

void gc_minor_cell_whole(gc_minor *minor, gc_cell cell, uint64_t header) {
  size_t bytes = gc_cell_size(cell, header);
  gc_before_read(minor->heap, cell.alias, bytes);
  gc_minor_cell(minor, cell, header, cell.alias, cell.alias + bytes);
}

// The survivors in [at, end), which are whole. Returns where the last of them ends.
static char *cells_born_scan(gc_minor *minor, char *at, const char *end) {
  unsigned last = 0; // the type that `type` is
  const gc_type *type = NULL;
  do {
    gc_cell cell = {at};
    uint64_t header = gc_header_read(minor->heap, cell);
    unsigned id = gc_header_type(header);
    if (id != last) {
      last = id;
      type = gc_type_at(id);
    }
    if (type->layout == GC_LAYOUT_MAP && !(header & GC_ARRAY)) { // the usual case
      for (uint32_t i = 0; i < type->count; i++) {
        AO_t volatile *slot = (AO_t volatile *)(at + 8 + type->offsets[i]);
        plain_slots(minor, slot, slot + 1);
      }
      at += type->cell;
    } else {
      gc_minor_cell_whole(minor, cell, header);
      at += gc_cell_size(cell, header);
    }
  } while (at < end);
  return at;
}

// What was copied since the last call. False: nothing.
static bool births_scan(gc_minor *minor, gc_birth *birth) {
  bool any = false;
  char *at;
  const char *end;
  for (;;) {
    if (gc_birth_next(minor->heap, birth, &at, &end)) {
      birth->scan = cells_born_scan(minor, at, end);
      any = true;
    } else if (minor->ahead_first != minor->ahead_last) {
      gc_minor_drain(minor); // which may fill more
    } else {
      return any;
    }
  }
}

static void pins_scan(gc_minor *minor, size_t *from) {
  gc_heap *heap = minor->heap;
  minor->fresh = minor->old = false;
  while (*from < heap->pin_count) {
    gc_cell cell = heap->pins[(*from)++];
    gc_minor_cell_whole(minor, cell, gc_header_read(heap, cell));
  }
  gc_minor_drain(minor);
}

static void survivors_scan(gc_minor *minor, size_t *pins) {
  gc_heap *heap = minor->heap;
  bool any = true;
  while (any) {
    pins_scan(minor, pins); // those that stayed for want of memory
    minor->fresh = true;
    minor->old = false;
    any = births_scan(minor, &minor->survivors[0]);
    minor->old = true;
    any = births_scan(minor, &heap->promoted[0]) || any;
    any = any || *pins < heap->pin_count;
  }
}

// ---- What the world calls back.

char *gc_minor_buffer(gc_minor *minor, char *start, char *free, char *limit) {
  gc_heap *heap = minor->heap;
  if (start == NULL || !gc_is_young(heap, (uintptr_t)start)) {
    return start;
  }
  return gc_floor_make(heap, heap->young_floors, &heap->young_floor_count, start, free, limit);
}

void gc_minor_lane(gc_minor *minor, gc_alloc_lane *lane) {
  if (lane->block != GC_NONE && lane->block < minor->heap->young_blocks) {
    lane->block = GC_NONE; // it is emptied; the buffer itself stays the thread's (gc.tlab)
  }
}

static void word_pin(gc_minor *minor, uintptr_t word) {
  gc_heap *heap = minor->heap;
  gc_cell cell;
  uint64_t header;
  if (!gc_is_young(heap, word - 1) || !gc_find_cell(heap, word, &cell, &header) || is_done(header)) {
    return;
  }
  stay(heap, cell, header);
  if (!(header & GC_LEAF)) {
    pin_remember(heap, cell);
  }
}

void gc_minor_word(gc_minor *minor, uintptr_t word) {
  word_pin(minor, word);
  if ((word & (GC_UNIT - 1)) == 8) {
    word_pin(minor, word + 1); // as gc_pin_word
  }
}

void gc_minor_touched(gc_minor *minor, uintptr_t base, uintptr_t limit) {
  gc_heap *heap = minor->heap;
  for (size_t page = gc_page_at(heap, base); page <= gc_page_at(heap, limit - 1); page++) {
    if (!gc_is_young(heap, (uintptr_t)vm_page_view(heap->region, page)) || gc_top(heap, page) == 0) {
      continue;
    }
    gc_cell at = gc_page_covering(heap, page), cell;
    at = at.alias != NULL ? at : gc_page_first(heap, page);
    char *end = gc_page_alias(heap, page) + gc_top(heap, page);
    uint64_t header;
    for (char *next; (next = gc_cell_next(heap, at, end, &cell, &header)) != NULL; at.alias = next) {
      if (gc_header_type(header) != GC_FILLER) {
        gc_minor_word(minor, gc_cell_ref(heap, cell, header).view);
      }
    }
  }
}

void gc_minor_slots(gc_minor *minor, uintptr_t *slots, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (gc_is_young(minor->heap, slots[i])) {
      slots[i] = forward(minor, slots[i]);
    }
  }
}

// ---- The cycle.

// Blocks that are empty now are free; what something holds in place stays with them, and is eden.
static void zone_sweep(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  uint64_t fresh = at_load(&heap->young_fresh);
  for (uint32_t b = 0; b < fresh && b < heap->young_blocks; b++) {
    uint8_t space = gc_space(heap, b);
    if (space == GC_SURVIVOR) {
      AO_char_store_release((unsigned char volatile *)&heap->space[b], GC_AGED);
    } else if ((space == GC_EDEN || space == GC_AGED) && !(gc_flags(heap, b) & GC_BLOCK_RETAIN)) {
      gc_young_free(heap, b);
    } else if (space == GC_EDEN || space == GC_AGED) {
      gc_sweep_young(heap, b, DONE, heap->young_floors, heap->young_floor_count);
    }
  }
}

bool gc_wants_minor(const gc_heap *heap) {
  return gc_has_young(heap) && at_load(&heap->young_taken) * GC_BLOCK >= heap->config.nursery;
}

void gc_minor_stopped(gc_heap *heap) {
  if (!gc_has_young(heap)) {
    return;
  }
  VM_CHECK(gc_phase_now(heap) != GC_FLIPPING, "a minor cycle in a flip");
  gc_copier *copier = gc_copier_take(heap); // services wait for us, as for any collector thread
  gc_copier_enter(copier);
  gc_minor minor = {.heap = heap, .unheld = gc_young_unhold(heap)};
  gc_births_begin(&minor);
  gc_flip flip = {heap, copier, &minor};
  heap->young_floor_count = 0;
  gc_stack_reset(&heap->young_partial[0]); // they are emptied, too
  gc_stack_reset(&heap->young_partial[1]);
  size_t pins = heap->pin_count; // behind those of the flip
  heap->world.buffers(heap->world.arg, &flip);
  heap->world.ambiguous(heap->world.arg, &flip); // all pins before the first object moves (gc.pins)
  gc_remembered_harvest(&minor);
  if (heap->config.verify && minor.unheld) {
    gc_remembered_check(heap); // before anything is promoted, and not yet scanned
  }
  heap->world.precise(heap->world.arg, &flip);
  gc_flip_survivors_scan(&minor);
  gc_remembered_scan(&minor);
  survivors_scan(&minor, &pins);
  gc_births_end(&minor);
  zone_sweep(&minor);
  heap->pin_count = heap->flip_pins;
  at_store(&heap->young_taken, 0);
  gc_copier_leave(copier);
  gc_copier_give(heap, copier);
  // As many blocks as that are to be at hand next time, and some; what is not needed is less each time.
  uint64_t wanted = at_load(&heap->born_wanted);
  wanted = minor.born + minor.born / 4 + 4 > wanted ? minor.born + minor.born / 4 + 4 : wanted - wanted / 32;
  at_store(&heap->born_wanted, wanted);
  at_add(&heap->minor_cycles, 1);
  at_add(&heap->minor_survived_bytes, minor.survived);
  at_add(&heap->minor_promoted_bytes, minor.promoted);
  at_add(&heap->minor_scanned_pages, minor.scanned);
}
