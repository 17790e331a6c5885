// SPDX-License-Identifier: MIT
// parked.c: pages whose contents are away: their notes are made, used and undone here (parked.h, gc.parked).
//
// Neighbours: runtime/parks.c parks for services; work.c scans by notes; forward.h, pin.c and touch.c mark what lies in cold blocks, flip.c and sweep.c decide.
//
// Notes are read and written by who holds the page (BUSY) alone. A reference is put down once: its slot gets a token instead, with the tags that it had: a number
// that no other word of the page holds, so that who puts it back finds the slots by looking at the words, and needs to know nothing of objects. References are offsets from the heap's start, in units of 8 bytes, packed: of so many bits that any place where a target may move to fits, unless the heap grows to
// more than twice what it was.

#include "gc/parked.h"
#include <string.h>
#include "gc/alloc.h"
#include "gc/gc.h"
#include "gc/near.h"
#include "gc/scan.h"
#include "gc/wait.h"
#include "gc/young.h"

enum {
  TOKENS = 64, // multiples of GC_UNIT below it are addresses that no object has
  WORDS_MOST = 8192, // of a page
  BATCH = 16,      // references whose targets are asked for at once
};

// What stands for a page. Behind it: a bit for each unit of the page in which a cell begins, unless their distance is always the same; then the references.
typedef struct notes {
  uint32_t sum;         // over all that follows
  uint16_t words;       // of 8 bytes: all of it
  uint16_t count;       // references
  uint16_t top;         // of the page, in words
  uint16_t cells;       // that begin on the page, without fillers
  uint16_t first, step; // in units: where the first one begins, and how far the next; step 0: the bits tell
  uint8_t width;        // of a reference, in bits
  uint8_t token;        // what stands for a reference, in units
} notes;

static notes *notes_of(const gc_heap *heap, size_t page) { return (notes *)at_load_acquire(&heap->notes[page]); }

// Each step is one-to-one, so a single bit that is wrong is always found.
static uint32_t notes_sum(const notes *n) {
  uint64_t sum = 0, word;
  for (unsigned i = 0; i < n->words; i++) {
    memcpy(&word, (const char *)n + (size_t)i * 8, 8);
    sum = (sum ^ (i == 0 ? word >> 32 : word)) * UINT64_C(0x9e3779b97f4a7c15);
    sum ^= sum >> 29;
  }
  return (uint32_t)(sum ^ sum >> 32);
}

// They lie in the service's memory for hours, and what they say of references nobody else knows.
static void notes_check(const gc_heap *heap, size_t page, const notes *n) {
  if ((size_t)n->words * 8 < sizeof *n || (size_t)n->words * 8 > heap->page_size || n->sum != notes_sum(n)) {
    vm_fatal("veil: what was put down of page %zu, which is parked, is damaged: its checksum is wrong [gc.parked]", page);
  }
}

// ---- Packed references.

static size_t map_bytes(const gc_heap *heap, const notes *n) { return n->cells != 0 && n->step == 0 ? heap->page_size / GC_UNIT / 8 : 0; }
static uint8_t *map_of(const notes *n) { return (uint8_t *)(uintptr_t)(n + 1); }
static uint8_t *refs_of(const gc_heap *heap, const notes *n) { return map_of(n) + map_bytes(heap, n); }

static size_t notes_bytes(const gc_heap *heap, const notes *n) {
  size_t refs = n->count != 0 ? (size_t)(n->count - 1) * n->width / 8 + 8 : 0; // each is read with 8 bytes
  return (sizeof *n + map_bytes(heap, n) + refs + 7) & ~(size_t)7;
}

static uintptr_t ref_at(const gc_heap *heap, const notes *n, const uint8_t *refs, unsigned i) {
  size_t bit = (size_t)i * n->width;
  uint64_t word;
  memcpy(&word, refs + bit / 8, 8);
  return heap->base + ((word >> bit % 8 & (((uint64_t)1 << n->width) - 1)) << 3);
}

// False: it does not fit.
static bool ref_put(const gc_heap *heap, const notes *n, uint8_t *refs, unsigned i, uintptr_t view) {
  size_t bit = (size_t)i * n->width;
  uint64_t word, offset = (view - heap->base) >> 3, mask = ((uint64_t)1 << n->width) - 1;
  if (offset > mask) {
    return false;
  }
  memcpy(&word, refs + bit / 8, 8);
  word = (word & ~(mask << bit % 8)) | offset << bit % 8;
  memcpy(refs + bit / 8, &word, 8);
  return true;
}

static uint8_t width_of(const gc_heap *heap, uintptr_t most) {
  uint64_t fresh = at_load(&heap->fresh) * 2, small = fresh < heap->small_blocks ? fresh : heap->small_blocks;
  uint64_t end = small << GC_BLOCK_SHIFT, offset = most != 0 ? most - heap->base : 0;
  return (uint8_t)(64 - __builtin_clzll((end > offset ? end : offset) >> 3 | 1));
}

// ---- What is on a page, in the order of a scan.

static gc_cover cover_of(gc_cell cell, uint64_t header, size_t length) { return (gc_cover){cell, header, length}; }

static gc_crossing *crossing_of(const gc_heap *heap, gc_cell cell) { return &heap->crossing[gc_page_at(heap, gc_view_of(heap, cell.alias))]; }

static gc_cover cover_known(const gc_heap *heap, gc_cell cell) {
  const gc_crossing *at = crossing_of(heap, cell);
  return cover_of(cell, at_load(&at->header), at_load(&at->length));
}

static void cover_keep(const gc_heap *heap, gc_cover cover) {
  gc_crossing *at = crossing_of(heap, cover.cell);
  uint64_t peer = gc_header_type(cover.header) == GC_FILLER ? 0 : GC_PEER_MASK; // a filler's is its size
  at_store(&at->header, cover.header & ~(peer | GC_EPOCH_MASK));
  at_store(&at->length, cover.length);
}

gc_cover gc_page_cover_slow(const gc_heap *heap, gc_cell cell) {
  if (gc_is_parked(heap, gc_page_at(heap, gc_view_of(heap, cell.alias)))) {
    return cover_known(heap, cell); // also if it has just come back
  }
  uint64_t header = gc_header_read(heap, cell);
  return cover_of(cell, header, header & GC_ARRAY ? gc_cell_length(cell) : 1);
}

// The cell that covers the page's start, or of which a page of a large object is a part.
static gc_cell covering(const gc_heap *heap, size_t page) {
  uint32_t block = gc_page_block(heap, page);
  return gc_is_large(heap, block) ? gc_large_cell(heap, gc_large_head(heap, block)) : gc_page_covering(heap, page);
}

typedef bool cell_fn(void *arg, gc_cell cell, uint64_t header); // false: no more

static void slots_of(const gc_heap *heap, gc_cover cover, char *base, gc_slot_fn *slot, void *arg) {
  const gc_type *type = gc_type_at(gc_header_type(cover.header));
  if (!(cover.header & GC_LEAF) && type != NULL) {
    gc_slots_visit(type, cover.length, cover.cell.alias + gc_header_bytes(cover.header), base, base + heap->page_size, slot, arg);
  }
}

// Reads the page, or a copy of it, at `base`, and nothing else. False: `cell` said so.
static bool page_visit(const gc_heap *heap, size_t page, char *base, gc_cover cover, size_t top, cell_fn *cell, gc_slot_fn *slot, void *arg) {
  char *at = base + 8;
  if (cover.header != 0) {
    cover.cell.alias += base - gc_page_alias(heap, page);
    slots_of(heap, cover, base, slot, arg);
    at = cover.cell.alias + gc_cover_bytes(cover);
  }
  while (!gc_is_large(heap, gc_page_block(heap, page)) && at < base + top) {
    gc_cell c = {at};
    uint64_t header = gc_header_load(c);
    if (header == 0) {
      at += GC_UNIT;
      continue;
    }
    if (!cell(arg, c, header)) {
      return false;
    }
    slots_of(heap, cover_of(c, header, header & GC_ARRAY ? gc_cell_length(c) : 1), base, slot, arg);
    at += gc_cell_size(c, header);
  }
  return true;
}

// ---- Parking.

typedef struct parking {
  gc_heap *heap;
  size_t page;
  gc_park_refusal refusal; // GC_PARK_REFUSALS: none
  notes n;
  uintptr_t most;   // the last target
  unsigned last;    // unit of the last cell
  bool even;        // cells so far have the same distance
  bool epochs;      // a header carries one, and is changed
  notes *out;       // the second time
  uint64_t slots[WORDS_MOST / 64]; // words of the page that are references
} parking;

static void refuse(parking *p, gc_park_refusal why) { p->refusal = p->refusal == GC_PARK_REFUSALS ? why : p->refusal; }

static unsigned unit_of(const parking *p, gc_cell cell) { return (unsigned)((size_t)(cell.alias - gc_page_alias(p->heap, p->page) - 8) / GC_UNIT); }

static bool is_traced(uint64_t header) {
  const gc_type *type = gc_type_at(gc_header_type(header));
  return type != NULL && type->layout == GC_LAYOUT_TRACE;
}

static void slot_look(void *arg, gc_seen seen, uintptr_t view) {
  parking *p = arg;
  (void)seen;
  if (gc_in_heap(p->heap, view)) {
    view &= GC_ADDRESS_MASK;
    if (gc_in_young_zone(p->heap, view) || gc_is_young_large(p->heap, view)) {
      refuse(p, GC_PARK_YOUNG);
    }
    p->n.count++;
    p->most = view > p->most ? view : p->most;
  }
}

// An array's length is on the page behind that of its header.
static bool is_split(const parking *p, gc_cell cell, uint64_t header) {
  uintptr_t view = gc_view_of(p->heap, cell.alias);
  return (header & GC_ARRAY) && gc_page_at(p->heap, view) != gc_page_at(p->heap, view + 8);
}

static bool cell_look(void *arg, gc_cell cell, uint64_t header) {
  parking *p = arg;
  if (is_traced(header) || is_split(p, cell, header)) {
    refuse(p, is_traced(header) ? GC_PARK_TRACED : GC_PARK_HEAD);
    return false;
  }
  if (gc_header_type(header) == GC_FILLER) {
    return true;
  }
  p->epochs |= (header & (GC_PEER_MASK | GC_EPOCH_MASK)) != 0;
  unsigned unit = unit_of(p, cell);
  if (p->n.cells == 0) {
    p->n.first = (uint16_t)unit;
    p->n.step = (uint16_t)(gc_cell_size(cell, header) / GC_UNIT); // if there is but one
  } else if (p->n.cells == 1) {
    p->n.step = (uint16_t)(unit - p->last);
  } else {
    p->even &= unit - p->last == p->n.step;
  }
  p->last = unit;
  p->n.cells++;
  return true;
}

static void slot_take(void *arg, gc_seen seen, uintptr_t view) {
  parking *p = arg;
  if (gc_in_heap(p->heap, view)) {
    size_t word = (size_t)((char *)seen.slot.alias - gc_page_alias(p->heap, p->page)) / 8;
    p->slots[word / 64] |= UINT64_C(1) << word % 64;
  }
}

static bool cell_take(void *arg, gc_cell cell, uint64_t header) {
  parking *p = arg;
  char *end = cell.alias + gc_cell_size(cell, header);
  if (end >= gc_page_alias(p->heap, p->page) + p->heap->page_size) { // who needs the next page asks for this one's header
    cover_keep(p->heap, cover_of(cell, header, header & GC_ARRAY ? gc_cell_length(cell) : 1));
  }
  if (gc_header_type(header) == GC_FILLER) {
    return true;
  }
  if (header & (GC_PEER_MASK | GC_EPOCH_MASK)) { // or it would come round again, unseen
    at_store_release((AO_t volatile *)cell.alias, header & ~(GC_PEER_MASK | GC_EPOCH_MASK));
  }
  if (p->n.step == 0) {
    unsigned unit = unit_of(p, cell);
    map_of(p->out)[unit / 8] |= (uint8_t)(1u << unit % 8);
  }
  return true;
}

// A number that no word of the page holds. 0: each is there.
static uint8_t token_find(const parking *p) {
  const char *page = gc_page_alias(p->heap, p->page);
  uint64_t taken = 1;
  for (size_t i = 0; i < p->heap->page_size; i += 8) {
    uint64_t units = (at_load((const AO_t volatile *)(page + i)) & GC_ADDRESS_MASK) / GC_UNIT;
    taken |= units < TOKENS ? UINT64_C(1) << units : 0;
  }
  return ~taken != 0 ? (uint8_t)__builtin_ctzll(~taken) : 0;
}

static void page_look(parking *p, gc_cover cover, size_t top) {
  if (cover.header != 0 && (is_traced(cover.header) || is_split(p, cover.cell, cover.header))) {
    refuse(p, is_traced(cover.header) ? GC_PARK_TRACED : GC_PARK_HEAD);
    return;
  }
  p->even = true;
  page_visit(p->heap, p->page, gc_page_alias(p->heap, p->page), cover, top, cell_look, slot_look, p);
  p->n.step = p->even && p->n.step < 1u << 15 ? p->n.step : 0;
  p->n.width = width_of(p->heap, p->most);
  p->n.top = (uint16_t)(top / 8);
  p->n.words = (uint16_t)(notes_bytes(p->heap, &p->n) / 8);
  p->n.token = token_find(p);
  if (p->n.token == 0) {
    refuse(p, GC_PARK_TOKEN);
  }
}

static gc_park_refusal block_refusal(const gc_heap *heap, size_t page) {
  uint32_t block = gc_page_block(heap, page);
  if (!gc_page_in_use(heap, page)) {
    return GC_PARK_HELD;
  }
  if (block < heap->young_blocks || (gc_is_large(heap, block) && (gc_flags(heap, gc_large_head(heap, block)) & GC_BLOCK_YOUNG))) {
    return GC_PARK_YOUNG;
  }
  if (gc_is_large(heap, block)) {
    gc_cell cell = gc_large_cell(heap, gc_large_head(heap, block));
    return gc_page_at(heap, gc_view_of(heap, cell.alias)) >= page || gc_page_at(heap, gc_view_of(heap, cell.alias) + 8) >= page ? GC_PARK_HEAD : GC_PARK_REFUSALS;
  }
  bool settled = at8_load(&heap->still[block]) & GC_SETTLED, filled = (at8_load(&heap->parked[block]) & GC_FILLED) || gc_is_filled(heap, page);
  return settled && !filled && gc_space(heap, block) == heap->to_space ? GC_PARK_REFUSALS : GC_PARK_FRESH;
}

// The cell that covers the page's start is an array whose length is on this page, which the caller holds: who asks for its header in the usual way would wait for himself.
static bool is_length_here(gc_heap *heap, size_t page, gc_cell cell) {
  if (cell.alias == NULL || cell.alias + 8 != gc_page_alias(heap, page) || gc_is_parked(heap, gc_page_at(heap, gc_view_of(heap, cell.alias)))) {
    return false; // a page with but one of the two words is not parked
  }
  gc_before_read(heap, cell.alias, 8);
  return (gc_header_load(cell) & GC_ARRAY) != 0;
}

static void pages_count(gc_heap *heap, size_t page, int by) {
  uint8_t volatile *at = &heap->parked[gc_page_block(heap, page)];
  uint8_t old;
  do {
    old = at8_load(at);
  } while (!at8_cas_full(at, old, (uint8_t)(old + by)));
  at_add_full(&heap->parked_pages, (uint64_t)(int64_t)by);
}

// In the order of their addresses, in which they are found again; types name theirs in any.
static void refs_take(parking *p) {
  uint8_t *refs = refs_of(p->heap, p->out);
  unsigned next = 0;
  for (size_t i = 0; i < p->heap->page_size / 8; i += 64) {
    AO_t volatile *words = (AO_t volatile *)gc_page_alias(p->heap, p->page) + i;
    for (uint64_t slots = p->slots[i / 64]; slots != 0; slots &= slots - 1, next++) {
      AO_t volatile *at = &words[__builtin_ctzll(slots)];
      uint64_t word = at_load(at);
      VM_CHECK(next < p->n.count && ref_put(p->heap, p->out, refs, next, word & GC_ADDRESS_MASK), "a reference of page %zu does not fit [gc.parked]", p->page);
      at_store(at, p->out->token * (uint64_t)GC_UNIT | (word & ~GC_ADDRESS_MASK));
    }
  }
  VM_CHECK(next == p->n.count, "page %zu had %u references, and then %u [gc.parked]", p->page, p->n.count, next);
}

// The page is held, and counted.
static void held_park(parking *p, void *memory, size_t room) {
  gc_heap *heap = p->heap;
  size_t top = gc_top(heap, p->page);
  p->refusal = block_refusal(heap, p->page);
  gc_cell cell = p->refusal == GC_PARK_REFUSALS ? covering(heap, p->page) : (gc_cell){NULL};
  if (is_length_here(heap, p->page, cell)) {
    refuse(p, GC_PARK_HEAD);
    return;
  }
  gc_cover cover = cell.alias != NULL ? gc_page_cover_slow(heap, cell) : cover_of(cell, 0, 0);
  if (p->refusal == GC_PARK_REFUSALS) {
    page_look(p, cover, top);
  }
  if (p->epochs && (vm_claims(heap->region, p->page) & VM_UNSAVED)) {
    refuse(p, GC_PARK_UNSAVED);
  }
  if (p->refusal == GC_PARK_REFUSALS && notes_bytes(heap, &p->n) > room) {
    refuse(p, GC_PARK_ROOM);
  }
  if (p->refusal != GC_PARK_REFUSALS) {
    return;
  }
  p->out = memory;
  memset(p->out, 0, notes_bytes(heap, &p->n));
  *p->out = p->n;
  if (cover.header != 0) {
    cover_keep(heap, cover);
  }
  page_visit(heap, p->page, gc_page_alias(heap, p->page), cover, top, cell_take, slot_take, p);
  refs_take(p);
  p->out->sum = notes_sum(p->out);
  at_store_release(&heap->notes[p->page], (uint64_t)memory);
  uint32_t consumers = at32_load(&heap->dirty_mask);
  if (p->epochs && consumers != 0) {
    vm_dirty_note(heap->region, p->page, consumers); // what is saved of it may carry an epoch that comes round again
  }
}

size_t gc_park(gc_heap *heap, size_t page, void *memory, size_t room) {
  VM_CHECK(((uintptr_t)memory & 7) == 0, "notes at %p are not aligned to 8", memory);
  parking p = {.heap = heap, .page = page, .refusal = GC_PARK_CYCLE};
  at_add_full(&heap->parking, 1); // then the gate and the phase (gc.parked-flip)
  if (at_load_acquire(&heap->parking_closed) == 0 && gc_phase_now(heap) == GC_IDLE && room >= sizeof(notes)) {
    gc_copier *copier = gc_copier_take(heap); // another service may have the page away that a cell comes from
    gc_copier_enter(copier);
    p.refusal = GC_PARK_HELD;
    if (vm_hold(heap->region, page, VM_ABSENT)) {
      pages_count(heap, page, 1); // then whether somebody fills the block
      if (notes_of(heap, page) == NULL) {
        held_park(&p, memory, room);
      }
      if (p.refusal != GC_PARK_REFUSALS) {
        pages_count(heap, page, -1);
      }
      vm_let(heap->region, page, 0);
    }
    gc_copier_leave(copier);
    gc_copier_give(heap, copier);
  } else if (room < sizeof(notes)) {
    p.refusal = GC_PARK_ROOM;
  }
  at_add_full(&heap->parking, (uint64_t)-1);
  if (p.refusal != GC_PARK_REFUSALS) {
    at_add(&heap->park_refused[p.refusal], 1);
    return 0;
  }
  return (size_t)p.n.words * 8;
}

// ---- Coming back.

// Of 64 words, those that are tokens. Without branches: nobody could foretell them.
static uint64_t tokens_at(const AO_t volatile *words, uint64_t token) {
  uint64_t found = 0;
  for (unsigned i = 0; i < 64; i++) {
    found |= (uint64_t)((at_load(&words[i]) & GC_ADDRESS_MASK) == token) << i;
  }
  return found;
}

void gc_parked_drop(gc_heap *heap, size_t page) {
  if (gc_is_parked(heap, page)) {
    at_store_release(&heap->notes[page], 0); // whoever sees that finds the contents
    pages_count(heap, page, -1);
  }
}

bool gc_parked_put(gc_heap *heap, size_t page, char *contents) {
  const notes *n = gc_is_parked(heap, page) ? notes_of(heap, page) : NULL;
  if (n == NULL) {
    return false;
  }
  notes_check(heap, page, n);
  const uint8_t *refs = refs_of(heap, n);
  unsigned next = 0;
  for (size_t i = 0; i < heap->page_size / 8; i += 64) {
    AO_t volatile *words = (AO_t volatile *)contents + i;
    for (uint64_t found = tokens_at(words, n->token * (uint64_t)GC_UNIT); found != 0; found &= found - 1, next++) {
      AO_t volatile *at = &words[__builtin_ctzll(found)];
      at_store(at, (next < n->count ? ref_at(heap, n, refs, next) : 0) | (at_load(at) & ~GC_ADDRESS_MASK));
    }
  }
  VM_CHECK(next == n->count, "page %zu has %u places for references, but %u were put down when it was parked: these are not its contents [gc.parked]", page,
           next, n->count);
  return true;
}

bool gc_unpark(gc_heap *heap, size_t page) {
  bool parked = gc_parked_put(heap, page, gc_page_alias(heap, page));
  gc_parked_drop(heap, page);
  return parked;
}

// ---- By notes.

// The page is parked, and held by the caller then. Waits for who holds it, which is somebody that settles it.
static notes *notes_hold(gc_heap *heap, size_t page) {
  for (unsigned looks = 0; gc_is_parked(heap, page); gc_wait(&looks)) {
    if (!vm_hold(heap->region, page, VM_ABSENT)) {
      continue;
    }
    notes *n = notes_of(heap, page);
    if (n != NULL) {
      notes_check(heap, page, n);
      return n;
    }
    vm_let(heap->region, page, 0);
  }
  return NULL;
}

bool gc_parked_move(gc_heap *heap, size_t page, void *memory) {
  VM_CHECK(((uintptr_t)memory & 7) == 0, "notes at %p are not aligned to 8", memory);
  notes *n = notes_hold(heap, page);
  if (n != NULL) {
    memcpy(memory, n, (size_t)n->words * 8);
    at_store_release(&heap->notes[page], (uint64_t)memory);
    vm_let(heap->region, page, 0);
  }
  return n != NULL;
}

static unsigned last_cell(const notes *n, unsigned unit) {
  if (n->step != 0) {
    unsigned i = (unit - n->first) / n->step;
    return n->first + (i < n->cells ? i : n->cells - 1u) * n->step;
  }
  while (!(map_of(n)[unit / 8] >> unit % 8 & 1)) {
    unit--;
  }
  return unit;
}

bool gc_parked_find(gc_heap *heap, uintptr_t address, gc_cell *cell) {
  size_t page = gc_page_at(heap, address), offset = address & (heap->page_size - 1);
  const notes *n = notes_hold(heap, page);
  if (n == NULL) {
    return false;
  }
  if (n->cells != 0 && offset >= 8 && (offset - 8) / GC_UNIT >= n->first) {
    unsigned unit = last_cell(n, (unsigned)((offset - 8) / GC_UNIT));
    *cell = (gc_cell){gc_page_alias(heap, page) + 8 + (size_t)unit * GC_UNIT};
  } else {
    *cell = gc_page_covering(heap, page);
  }
  vm_let(heap->region, page, 0);
  return true;
}

bool gc_parked_visit(gc_heap *heap, size_t page, gc_parked_cell_fn *cell, gc_parked_ref_fn *ref, void *arg) {
  const notes *n = notes_hold(heap, page);
  if (n == NULL) {
    return false;
  }
  unsigned units = (unsigned)(heap->page_size / GC_UNIT);
  for (unsigned unit = n->first, left = n->cells; left != 0 && unit < units; unit += n->step != 0 ? n->step : 1) {
    if (n->step != 0 || (map_of(n)[unit / 8] >> unit % 8 & 1)) {
      cell(arg, (gc_cell){gc_page_alias(heap, page) + 8 + (size_t)unit * GC_UNIT});
      left--;
    }
  }
  for (unsigned i = 0; i < n->count; i++) {
    ref(arg, ref_at(heap, n, refs_of(heap, n), i));
  }
  vm_let(heap->region, page, 0);
  return true;
}

static void prefetch(const gc_heap *heap, uintptr_t view) {
  if (gc_is_from(heap, view)) {
    uint32_t block = gc_block_of(heap, view);
    bool aside = gc_is_cold(heap, block) || gc_marks_aside(heap, block);
    __builtin_prefetch(aside ? (const char *)gc_aside_word(heap, view) : gc_ref_cell(heap, (gc_ref){view}).alias);
  }
}

// A target has moved. False: the page has to be saved first, or the reference does not fit.
static bool ref_renew(gc_heap *heap, size_t page, notes *n, unsigned i, uintptr_t view, bool *changed) {
  if (!*changed) {
    if (vm_claims(heap->region, page) & VM_UNSAVED) {
      at_add(&heap->parked_saved, 1);
      return false;
    }
    uint32_t consumers = at32_load(&heap->dirty_mask);
    if (consumers != 0) {
      vm_dirty_note_once(heap->region, page, consumers);
    }
    *changed = true;
  }
  if (!ref_put(heap, n, refs_of(heap, n), i, view)) {
    at_add(&heap->parked_misfits, 1);
    return false;
  }
  return true;
}

// References whose targets are asked for at once: on the way while those before are looked at.
typedef struct wanted {
  uintptr_t view[BATCH];
  unsigned index[BATCH], count;
} wanted;

static bool wanted_forward(gc_heap *heap, gc_copier *copier, size_t page, notes *n, wanted *w, bool *changed) {
  bool fits = true;
  for (unsigned i = 0; fits && i < w->count; i++) {
    uintptr_t was = w->view[i];
    if (gc_is_from(heap, was)) {
      uintptr_t is = gc_forward(heap, copier, (gc_ref){was}).view;
      gc_near_forward(heap, copier);
      fits = is == was || ref_renew(heap, page, n, w->index[i], is, changed);
    }
  }
  w->count = 0;
  return fits;
}

static bool refs_scan(gc_heap *heap, gc_copier *copier, size_t page, notes *n) {
  notes_check(heap, page, n);
  const uint8_t *refs = refs_of(heap, n);
  wanted batch[2] = {{.count = 0}};
  unsigned turn = 0, count = n->count;
  bool changed = false, fits = true;
  copier->near_left = NEAR_BYTES;
  for (unsigned i = 0; fits && i < count; i++) {
    uintptr_t view = ref_at(heap, n, refs, i);
    if (gc_is_held_whole(heap, view)) {
      continue; // most of them: what is cold refers to what is cold
    }
    wanted *w = &batch[turn];
    prefetch(heap, view);
    w->index[w->count] = i;
    w->view[w->count++] = view;
    if (w->count == BATCH) {
      turn ^= 1;
      fits = wanted_forward(heap, copier, page, n, &batch[turn], &changed);
    }
  }
  fits = fits && wanted_forward(heap, copier, page, n, &batch[turn ^ 1], &changed) && wanted_forward(heap, copier, page, n, &batch[turn], &changed);
  copier->near_left = 0;
  n->sum = changed ? notes_sum(n) : n->sum;
  return fits;
}

gc_parked_scanned gc_parked_scan(gc_heap *heap, gc_copier *copier, size_t page) {
  if (!vm_hold(heap->region, page, VM_UNSCANNED)) {
    return GC_PARKED_MISSED;
  }
  notes *n = notes_of(heap, page);
  if (n != NULL && (vm_claims(heap->region, page) & VM_ABSENT)) {
    gc_copier_enter(copier);
    bool done = refs_scan(heap, copier, page, n);
    gc_copier_leave(copier);
    if (done) {
      vm_let(heap->region, page, VM_UNSCANNED);
      at_add(&heap->parked_scanned, 1);
      at_add_full(&heap->cleaned, 1); // after it is let go (gc.count)
      return GC_PARKED_DONE;
    }
  }
  vm_hold_settle(heap->region, page, VM_UNSCANNED);
  return GC_PARKED_TAKEN;
}
