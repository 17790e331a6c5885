// SPDX-License-Identifier: MIT
// verify.c: walks the heap between cycles and re-derives what should hold. World stopped.

#include "gc/alloc.h"
#include "gc/aside.h"
#include "gc/gc.h"
#include "gc/outer.h"
#include "gc/parked.h"
#include "gc/runs.h"
#include "gc/scan.h"
#include "gc/young.h"
#include "vm/os.h"

typedef struct verifier {
  gc_heap *heap;
  const char *when;
  uint8_t *starts; // a bit for each unit of the heap where a cell begins; or NULL: no memory for it
  bool marking;    // the first walk, that fills `starts`
  gc_cell cell;    // the object that is being visited
  const char *type;
  unsigned cells, epochs; // of the block that is looked at; how many of them carry one
} verifier;

static bool is_object(const verifier *v, uintptr_t view) {
  gc_heap *heap = v->heap;
  gc_cell cell;
  uint64_t header;
  if (v->starts == NULL) {
    return gc_find_cell(heap, view, &cell, &header) && gc_cell_ref(heap, cell, header).view == view;
  }
  if (view & 7) {
    return false;
  }
  cell = gc_ref_cell(heap, (gc_ref){view});
  uint64_t unit = gc_cell_peer(heap, cell);
  if ((v->starts[unit / 8] >> unit % 8 & 1) && gc_is_parked(heap, gc_page_at(heap, gc_view_of(heap, cell.alias)))) {
    return true; // its header is away, and the notes do not say what it is
  }
  return (v->starts[unit / 8] >> unit % 8 & 1) && gc_cell_ref(heap, cell, gc_header_load(cell)).view == view;
}

// Between cycles.
static bool is_lived_in(const gc_heap *heap, uint32_t block) {
  uint8_t space = gc_space(heap, block);
  return space == heap->to_space || (block < heap->young_blocks && (space == GC_EDEN || space == GC_AGED || space == GC_HELD));
}

static void slot_verify(void *arg, gc_seen seen, uintptr_t view) {
  verifier *v = arg;
  gc_heap *heap = v->heap;
  void *object = (void *)gc_view_of(heap, v->cell.alias);
  uintptr_t base, limit;
  if (!gc_in_heap(heap, view)) {
    if (vm_region_bounds((const void *)view, &base, &limit)) {
      vm_fatal("verify %s: cell %p (%s) slot %p holds %p, which lies in another heap, whose view is %p to %p [gc.apart]", v->when, object, v->type,
               (void *)gc_view_of(heap, (void *)seen.slot.alias), (void *)view, (void *)base, (void *)limit);
    }
    return;
  }
  uint32_t block = gc_block_of(heap, view);
  if (!is_lived_in(heap, block)) {
    vm_fatal("verify %s: cell %p (%s) slot %p holds %p, in block %u of %s (freed in cycle %u, now cycle %u) [gc.tospace]",
             v->when, object, v->type, (void *)gc_view_of(heap, (void *)seen.slot.alias), (void *)view, block,
             gc_space(heap, block) ? "from-space" : "free memory", at32_load(&heap->died[block]), heap->cycle);
  }
  if (!is_object(v, view)) {
    vm_fatal("verify %s: cell %p (%s) slot %p holds %p, which is not the start of an object", v->when, object, v->type,
             (void *)gc_view_of(heap, (void *)seen.slot.alias), (void *)view);
  }
}

// Before anything else is asked of a header.
static void type_verify(const verifier *v, gc_cell cell, uint64_t header) {
  if (gc_header_type(header) != GC_FILLER && gc_type_at(gc_header_type(header)) == NULL) {
    vm_fatal("verify %s: the header %lx at %p names no type", v->when, (unsigned long)header,
             (void *)gc_view_of(v->heap, cell.alias));
  }
}

static void parked_ref(void *arg, uintptr_t view);
static void parked_cell(void *arg, gc_cell cell);

// Page by page: some may be parked.
static void large_verify(verifier *v, gc_cell cell, uint64_t header) {
  gc_heap *heap = v->heap;
  size_t bytes = gc_cell_size(cell, header), first = gc_page_at(heap, gc_view_of(heap, cell.alias));
  gc_cover cover = {cell, header, header & GC_ARRAY ? gc_cell_length(cell) : 1};
  if (gc_type_at(gc_header_type(header))->layout == GC_LAYOUT_TRACE) {
    gc_before_read(heap, cell.alias, bytes);
    gc_cell_visit(heap, cell, header, cell.alias, cell.alias + bytes, slot_verify, v);
    return;
  }
  for (size_t page = first; gc_page_alias(heap, page) < cell.alias + bytes; page++) {
    if (!(header & GC_LEAF) && !gc_parked_visit(heap, page, parked_cell, parked_ref, v)) {
      gc_before_read(heap, gc_page_alias(heap, page), heap->page_size);
      gc_cover_visit(heap, cover, gc_page_alias(heap, page), gc_page_alias(heap, page + 1), slot_verify, v);
    }
  }
}

static void page_verify(verifier *v, size_t page, bool leaf);

static void cell_verify(verifier *v, gc_cell cell, uint64_t header) {
  gc_heap *heap = v->heap;
  unsigned id = gc_header_type(header);
  if (id == GC_FILLER) {
    return;
  }
  if (v->marking) {
    uint64_t unit = gc_cell_peer(heap, cell);
    if (v->starts != NULL) {
      v->starts[unit / 8] |= (uint8_t)(1u << unit % 8);
    }
    return;
  }
  void *at = (void *)gc_view_of(heap, cell.alias);
  if (((header & GC_LEAF) != 0) != (gc_type_at(id)->layout == GC_LAYOUT_LEAF)) {
    vm_fatal("verify %s: the header %lx at %p and its type %s differ on being a leaf", v->when, (unsigned long)header,
             at, gc_type_at(id)->name);
  }
  uint32_t block = gc_block_of(heap, gc_view_of(heap, cell.alias));
  if (((header & GC_TRANSIENT) != 0) != gc_type_at(id)->transient || ((header & GC_TRANSIENT) != 0) != gc_is_transient(heap, block)) {
    vm_fatal("verify %s: the header %lx at %p, its type %s, and its block %u differ on being transient [gc.transient]", v->when, (unsigned long)header, at,
             gc_type_at(id)->name, block);
  }
  if ((header & (GC_HASHED | GC_EXTRA)) == GC_EXTRA) {
    vm_fatal("verify %s: the header %lx at %p keeps a hash that nobody has asked for", v->when, (unsigned long)header, at);
  }
  if (gc_align_lead(cell.alias, gc_header_align(header)) != 0) {
    vm_fatal("verify %s: the object at %p (%s) is not aligned to %zu bytes [gc.align]", v->when, (void *)gc_cell_ref(heap, cell, header).view,
             gc_type_at(id)->name, gc_header_align(header));
  }
  v->cell = cell;
  v->type = gc_type_at(id)->name;
  size_t bytes = gc_cell_size(cell, header), page = gc_page_at(heap, gc_view_of(heap, cell.alias));
  if (gc_is_large(heap, gc_page_block(heap, page))) {
    large_verify(v, cell, header);
    return;
  }
  char *end = cell.alias + bytes, *limit = gc_page_alias(heap, page + 1);
  bool parks = gc_type_at(id)->layout != GC_LAYOUT_TRACE; // the rest is looked at with the page that it is on
  gc_cell_visit(heap, cell, header, cell.alias, parks && end > limit ? limit : end, slot_verify, v);
}

static void parked_cell(void *arg, gc_cell cell) {
  verifier *v = arg;
  uint64_t unit = gc_cell_peer(v->heap, cell);
  if (v->marking && v->starts != NULL) {
    v->starts[unit / 8] |= (uint8_t)(1u << unit % 8);
  }
  v->cells++;
}

// A reference that notes have: into the nursery's zone none goes.
static void parked_ref(void *arg, uintptr_t view) {
  verifier *v = arg;
  if (v->marking) {
    return;
  }
  if (!is_lived_in(v->heap, gc_block_of(v->heap, view)) || !is_object(v, view) || gc_in_young_zone(v->heap, view) || gc_is_young_large(v->heap, view)) {
    vm_fatal("verify %s: the notes of a parked page refer to %p, which is young, or not the start of an object [gc.parked]", v->when, (void *)view);
  }
}

// What covers the start of a page.
static void cover_verify(verifier *v, size_t page) {
  gc_cover cover = gc_page_cover(v->heap, page);
  const gc_type *type = gc_type_at(gc_header_type(cover.header));
  if (cover.header != 0 && type != NULL && type->layout != GC_LAYOUT_TRACE && !v->marking) {
    v->cell = cover.cell;
    v->type = type->name;
    gc_cover_visit(v->heap, cover, gc_page_alias(v->heap, page), gc_page_alias(v->heap, page + 1), slot_verify, v);
  }
}

static void small_page_verify(verifier *v, size_t page, bool leaf) {
  if (vm_claims(v->heap->region, page) & VM_UNSCANNED) {
    vm_fatal("verify %s: page %zu holds objects and is veiled between cycles [gc.grey]", v->when, page);
  }
  if (gc_parked_visit(v->heap, page, parked_cell, parked_ref, v)) {
    return;
  }
  gc_before_read(v->heap, gc_page_alias(v->heap, page), v->heap->page_size);
  cover_verify(v, page);
  page_verify(v, page, leaf);
}

// What the sweep believes unseen. Of a buffer that is in use the cells have not been counted yet.
static void cells_verify(const verifier *v, uint32_t block) {
  unsigned known = gc_cells_count(v->heap, block);
  bool leaf = (gc_flags(v->heap, block) & GC_BLOCK_LEAF) != 0;
  if (gc_cells_known(v->heap, block) && (known > v->cells || (leaf && v->epochs != 0))) {
    vm_fatal("verify %s: block %u is known to have %u cells, none with an epoch; it has %u, of which %u have one [gc.cells]", v->when, block, known, v->cells,
             v->epochs);
  }
}

// The next cycle believes that nothing carries its epoch.
static void epoch_verify(const verifier *v, uint32_t block, gc_cell cell, uint64_t header) {
  const gc_heap *heap = v->heap;
  unsigned epoch = gc_header_epoch(header);
  unsigned known = gc_is_large(heap, block) ? GC_EPOCHS : at8_load(&heap->still[block]);
  if (block >= heap->young_blocks && epoch != 0 && (epoch == heap->next_epoch || !(known & gc_still_epoch(epoch)))) {
    vm_fatal("verify %s: the header %lx at %p carries epoch %u: the next one is %u, and of its block %x is known [gc.still]", v->when,
             (unsigned long)header, (void *)gc_view_of(heap, cell.alias), epoch, heap->next_epoch, known);
  }
}

static void page_verify(verifier *v, size_t page, bool leaf) {
  gc_heap *heap = v->heap;
  char *base = gc_page_alias(heap, page);
  char *at = gc_page_first(heap, page).alias;
  char *used = base + gc_top(heap, page);
  while (at < used) {
    gc_cell cell = {at};
    uint64_t header = gc_header_load(cell);
    if (header == 0) {
      at += GC_UNIT;
      continue;
    }
    type_verify(v, cell, header);
    cell_verify(v, cell, header);
    if (gc_header_type(header) != GC_FILLER) {
      epoch_verify(v, gc_page_block(heap, page), cell, header);
    }
    v->cells += gc_header_type(header) != GC_FILLER;
    v->epochs += gc_header_type(header) != GC_FILLER && (header & (GC_PEER_MASK | GC_EPOCH_MASK)) != 0;
    if (gc_header_type(header) != GC_FILLER && !v->marking && leaf != ((header & GC_LEAF) != 0)) {
      vm_fatal("verify %s: object %p (%s) is in a block of the wrong kind", v->when,
               (void *)gc_view_of(heap, at), v->type);
    }
    size_t bytes = gc_cell_size(cell, header);
    // One that is aligned to pages does, and so does the filler in the place of a copy of it that came too late.
    bool may_cross = gc_header_type(header) == GC_FILLER || gc_header_align(header) == GC_ALIGN_MOST;
    if (bytes <= GC_SMALL_MAX && at + bytes > base + heap->page_size && !may_cross) {
      vm_fatal("verify %s: the small object at %p crosses its page", v->when, (void *)gc_view_of(heap, at));
    }
    at += bytes;
  }
}

static void heap_walk(verifier *walker) {
  verifier v = *walker;
  gc_heap *heap = v.heap;
  const char *when = v.when;
  for (uint32_t b = 0; b < heap->small_blocks && b < at_load(&heap->fresh); b++) {
    if (gc_space(heap, b) == 0) {
      continue;
    }
    if (!is_lived_in(heap, b)) {
      vm_fatal("verify %s: block %u is in from-space between cycles", when, b);
    }
    v.cells = v.epochs = 0;
    for (size_t page = gc_block_page(heap, b); page < gc_block_page(heap, b + 1); page++) {
      if (at32_load(&heap->top[page]) != 0) {
        small_page_verify(&v, page, (gc_flags(heap, b) & GC_BLOCK_LEAF) != 0);
      }
    }
    cells_verify(&v, b);
  }
  for (uint32_t b = heap->small_blocks; b < at32_load(&heap->large_high); b++) {
    if (gc_space(heap, b) != 0 && gc_large_head(heap, b) == b) {
      gc_cell cell = gc_large_cell(heap, b);
      uint64_t header = gc_header_read(heap, cell);
      if (header == 0) {
        vm_fatal("verify %s: the large object at block %u has no header", when, b);
      }
      type_verify(&v, cell, header);
      cell_verify(&v, cell, header);
      epoch_verify(&v, b, cell, header);
    }
  }
}

// A word outside of the heap refers to an object, and is in the log if a minor cycle could move or free that (gc.links).
static void outer_verify(const verifier *v, const char *what, const char *of, uint32_t number, uintptr_t view, uint32_t logged) {
  gc_heap *heap = v->heap;
  if (view == 0) {
    return;
  }
  if (!gc_in_heap(heap, view) || !is_lived_in(heap, gc_block_of(heap, view)) || !is_object(v, view)) {
    vm_fatal("verify %s: the %s of %s %u is %p, which is not the start of an object [gc.links]", v->when, what, of, number, (void *)view);
  }
  if (gc_is_young(heap, view) && logged != gc_outer_stamp(heap)) {
    vm_fatal("verify %s: the %s of %s %u is %p, which is young, but it is not in the log [gc.links]", v->when, what, of, number,
             (void *)view);
  }
}

static void links_verify(const verifier *v) {
  const gc_links *links = &v->heap->links;
  for (uint32_t i = 0; i < at_load(&links->high); i++) {
    const gc_link *at = &links->at[i];
    uint32_t kind = at32_load(&at->kind);
    if (kind != GC_LINK_FREE) {
      outer_verify(v, "referent", "link", i, at_load(&at->ref), at->logged);
    }
    if (gc_link_is_owned(kind)) {
      outer_verify(v, "owner", "link", i, at_load(&at->owner), at->logged);
    }
  }
}

static void tables_verify(const verifier *v) {
  const gc_weak *weak = &v->heap->weak;
  for (uint32_t i = 0; i < at_load(&weak->high); i++) {
    const gc_pair *pair = &weak->pairs[i];
    if (at32_load(&pair->table) != GC_NONE && at32_load(&weak->tables[pair->table].kind) != GC_TABLE_DEAD) {
      outer_verify(v, "key", "entry", i, at_load(&pair->key), pair->logged);
      outer_verify(v, "value", "entry", i, at_load(&pair->value), pair->logged);
    }
  }
}

void gc_verify_stopped(gc_heap *heap, const char *when) {
  if (gc_phase_now(heap) != GC_IDLE) {
    return;
  }
  gc_runs_verify(heap, when);
  gc_copier *copier = gc_copier_take(heap); // services wait for us, as for any collector thread
  gc_copier_enter(copier);
  size_t bytes = heap->span / GC_UNIT / 8 + 1;
  verifier v = {.heap = heap, .when = when, .starts = os_map_private(bytes), .marking = true};
  heap_walk(&v);
  v.marking = false;
  heap_walk(&v);
  links_verify(&v);
  tables_verify(&v);
  if (v.starts != NULL) {
    os_unmap(v.starts, bytes);
  }
  gc_copier_leave(copier);
  gc_copier_give(heap, copier);
}
